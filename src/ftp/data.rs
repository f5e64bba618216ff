//! One data connection: a socket, and TLS on it where the session is protected.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use socket2::SockRef;

use super::tls::Channel;

/// A data connection. Reading and writing do the handshake first, if it is not done yet.
#[derive(Debug)]
pub(super) struct DataSocket {
    socket: TcpStream,
    tls: Option<Box<Channel>>,
}

impl DataSocket {
    /// Takes over a connected socket; a channel has sent its `ClientHello`.
    pub(super) fn new(socket: TcpStream, tls: Option<Channel>) -> Self {
        Self {
            socket,
            tls: tls.map(Box::new),
        }
    }

    /// The socket itself.
    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Whether it is protected.
    pub(super) fn is_protected(&self) -> bool {
        self.tls.is_some()
    }

    /// Says that nothing more will be written, once all that was written has left: within each `timeout` some of it must.
    pub(super) fn end(&mut self, timeout: Duration, on_progress: impl Fn()) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => tls.end(&self.socket, timeout, on_progress),
            None => self.socket.shutdown(Shutdown::Write),
        }
    }
}

impl Read for DataSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => tls.read(&self.socket, buffer),
            None => self.socket.read(buffer),
        }
    }
}

impl Write for DataSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => tls.write(&self.socket, bytes),
            None => self.socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for DataSocket {
    fn drop(&mut self) {
        let Some(tls) = &mut self.tls else { return };
        log::debug!("data connection: {}", tls.description());
        if tls.has_ended() {
            // Tickets that came during an upload are of use, and unread they would make the close a reset.
            tls.is_quiet(&self.socket);
            tls.say_last_words(&self.socket);
        } else {
            // Left early. ProFTPD 1.3.8 takes a reset for an end, answers 426 and goes on; when it writes to a connection that
            // was closed in good order, it drops the whole session. And a broken upload is to be seen as one.
            let _ = SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
        }
    }
}
