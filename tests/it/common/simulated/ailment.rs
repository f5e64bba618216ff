//! What can be wrong with a server while it runs, and how its sessions show that.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::atomic::Ordering,
    thread,
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use super::{World, lock};

/// How often it is looked whether the server is well again.
const LOOK: Duration = Duration::from_millis(10);

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ailment {
    /// It takes commands and answers none.
    Mute,
    /// The same with passwords.
    Login,
    /// It listens for data and takes no connection.
    Ports,
    /// Such data stands still after its first half.
    Still(Data),
    /// Of such data so many bytes come, or are taken, and then nothing for so long.
    Drip(Data, usize, Duration),
}

/// What a data connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Data {
    Listing,
    Download,
    Upload,
}

impl Data {
    pub(super) fn of(verb: &str) -> Self {
        match verb {
            "RETR" => Self::Download,
            "STOR" | "APPE" => Self::Upload,
            _ => Self::Listing,
        }
    }
}

impl World {
    /// Waits for as long as this is wrong.
    pub(super) fn wait_while(&self, ailment: Ailment) {
        while *lock(&self.ailment) == Some(ailment) && !self.is_over.load(Ordering::SeqCst) {
            thread::sleep(LOOK);
        }
    }

    /// Sends data, as far as the server is well.
    pub(super) fn send(&self, kind: Data, data: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
        let mut left = bytes;
        while let Some((part, wait)) = self.portion(kind, left.len()) {
            let (now, later) = left.split_at(part.min(left.len()));
            data.write_all(now)?;
            left = later;
            if left.is_empty() {
                return Ok(());
            }
            self.rest(kind, wait);
        }
        data.write_all(left)
    }

    /// Takes data to its end, as far as the server is well.
    pub(super) fn take(&self, data: &mut TcpStream) -> io::Result<Vec<u8>> {
        let mut arrived = Vec::new();
        while let Some((part, wait)) = self.portion(Data::Upload, 1 << 10) {
            let mut buffer = vec![0; part];
            let count = data.read(&mut buffer)?;
            arrived.extend_from_slice(&buffer[..count]);
            if count == 0 {
                return Ok(arrived);
            }
            self.rest(Data::Upload, wait);
        }
        data.read_to_end(&mut arrived)?;
        Ok(arrived)
    }

    /// How much moves before the next rest, and how long that is, if it is not for as long as the server is ill.
    fn portion(&self, kind: Data, len: usize) -> Option<(usize, Option<Duration>)> {
        let ailment = *lock(&self.ailment);
        match ailment {
            Some(Ailment::Still(ill)) if ill == kind => Some((len / 2, None)),
            Some(Ailment::Drip(ill, part, wait)) if ill == kind => Some((part, Some(wait))),
            _ => None,
        }
    }

    fn rest(&self, kind: Data, wait: Option<Duration>) {
        match wait {
            Some(wait) => thread::sleep(wait),
            None => self.wait_while(Ailment::Still(kind)),
        }
    }
}

/// Listens, and has no room for a connection: its one place is taken. The connection that takes it comes along.
pub(super) fn listen_full(address: Ipv4Addr) -> (TcpListener, TcpStream) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((address, 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let listener = TcpListener::from(socket);
    let taken = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener, taken)
}
