//! Active mode: we listen, and the server connects to us (PORT of RFC 959, EPRT of RFC 2428).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::{deadline::Deadline, socket};
use crate::config::ActiveConfig;

/// A port of ours that waits for the server.
#[derive(Debug)]
pub(super) struct Listening {
    listener: TcpListener,
    /// Who may connect: whom the commands go to.
    peer: IpAddr,
    /// Where the server is told to connect to.
    told: SocketAddr,
}

/// The data connection that the server is to make for one transfer.
#[derive(Debug)]
pub(super) struct Inward {
    pub(super) listening: Listening,
    /// Which of the replies to come answers EPRT.
    pub(super) told_at: Option<usize>,
}

impl Listening {
    /// Listens where `control` ends, on a free port of those that are allowed.
    ///
    /// # Errors
    ///
    /// `AddrInUse` when none of them is free.
    pub(super) fn begin(control: &TcpStream, config: &ActiveConfig) -> io::Result<Self> {
        let mut address = control.local_addr()?;
        let listener = match &config.ports {
            None => {
                address.set_port(0);
                TcpListener::bind(address)?
            }
            Some(ports) => {
                let (first, last) = (*ports.start(), *ports.end());
                // From anywhere in the range, so that sessions seldom try the same.
                let start = fastrand::u16(first..=last);
                let mut candidates = (start..=last).chain(first..start);
                let bound = candidates.find_map(|port| {
                    address.set_port(port);
                    match TcpListener::bind(address) {
                        Err(error) if error.kind() == io::ErrorKind::AddrInUse => None,
                        bound => Some(bound),
                    }
                });
                bound.unwrap_or_else(|| {
                    let detail = format!("no port of --active-ports {first}-{last} is free");
                    Err(io::Error::new(io::ErrorKind::AddrInUse, detail))
                })?
            }
        };
        // What has gone again between poll and accept is not waited for.
        listener.set_nonblocking(true)?;
        let mut told = listener.local_addr()?;
        told.set_ip(config.address.unwrap_or(told.ip()).to_canonical());
        Ok(Self {
            listener,
            peer: control.peer_addr()?.ip().to_canonical(),
            told,
        })
    }

    /// Whether PORT can tell the address.
    pub(super) fn is_ipv4(&self) -> bool {
        self.told.is_ipv4()
    }

    /// `EPRT`, or `PORT` for IPv4.
    pub(super) fn command(&self, has_eprt: bool) -> Vec<u8> {
        let (ip, port) = (self.told.ip(), self.told.port());
        match ip {
            IpAddr::V4(ip) if !has_eprt => port_command(ip, port),
            IpAddr::V4(_) => format!("EPRT |1|{ip}|{port}|").into_bytes(),
            IpAddr::V6(_) => format!("EPRT |2|{ip}|{port}|").into_bytes(),
        }
    }

    /// Waits for the server; `None` when it has something to say on `control` instead. Whoever else connects is turned away.
    ///
    /// # Errors
    ///
    /// `TimedOut` in words when nobody comes.
    pub(super) fn accept(
        &self,
        control: &TcpStream,
        deadline: Deadline,
    ) -> io::Result<Option<TcpStream>> {
        loop {
            if let Some(socket) = self.accept_now()? {
                return Ok(Some(socket));
            }
            if self.wait(control, deadline)? {
                return Ok(None);
            }
        }
    }

    /// The server's connection, if it is there.
    pub(super) fn accept_now(&self) -> io::Result<Option<TcpStream>> {
        loop {
            match self.listener.accept() {
                Ok((socket, from)) if from.ip().to_canonical() == self.peer => {
                    socket.set_nonblocking(false)?;
                    return socket::with_options(socket).map(Some);
                }
                Ok((_, from)) => log::warn!("a data connection from {from} is turned away"),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits once; whether something came on `control` and nobody connects.
    fn wait(&self, control: &TcpStream, deadline: Deadline) -> io::Result<bool> {
        let Some(left) = deadline.remaining() else {
            let detail = format!(
                "the server makes no data connection to {} (--active); a firewall or NAT on the way needs --active-ports \
                 and --active-address, or passive mode",
                self.told
            );
            return Err(io::Error::new(io::ErrorKind::TimedOut, detail));
        };
        let wait = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut waited = [
            PollFd::new(&self.listener, PollFlags::IN),
            PollFd::new(control, PollFlags::IN),
        ];
        match rustix::event::poll(&mut waited, Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [comes, says] = waited.map(|fd| !fd.revents().is_empty());
        Ok(says && !comes)
    }
}

fn port_command(ip: Ipv4Addr, port: u16) -> Vec<u8> {
    let [a, b, c, d] = ip.octets();
    let [high, low] = port.to_be_bytes();
    format!("PORT {a},{b},{c},{d},{high},{low}").into_bytes()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Both ends of a control connection.
    fn control() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    fn connect_from(ip: [u8; 4], to: SocketAddr) -> TcpStream {
        let from = SocketAddr::from((ip, 0));
        let deadline = Deadline::after(Duration::from_secs(5));
        socket::connect(to, Some(from.ip()), deadline).unwrap()
    }

    // SEMANTICS: S-active
    #[test]
    fn only_the_server_itself_is_let_in() {
        let (client, _server) = control();
        let listening = Listening::begin(&client, &ActiveConfig::default()).unwrap();
        let _stranger = connect_from([127, 0, 0, 2], listening.told);
        let server = connect_from([127, 0, 0, 1], listening.told);
        let deadline = Deadline::after(Duration::from_secs(5));
        let accepted = listening.accept(&client, deadline).unwrap().unwrap();
        assert_eq!(accepted.peer_addr().unwrap(), server.local_addr().unwrap());
    }

    // SEMANTICS: S-active-address
    #[test]
    fn addresses_are_told_in_both_forms() {
        let (client, _server) = control();
        let config = ActiveConfig {
            address: Some("192.0.2.7".parse().unwrap()),
            ..ActiveConfig::default()
        };
        let listening = Listening::begin(&client, &config).unwrap();
        let port = listening.told.port();
        let told = |has_eprt| String::from_utf8(listening.command(has_eprt)).unwrap();
        assert_eq!(told(true), format!("EPRT |1|192.0.2.7|{port}|"));
        let [high, low] = port.to_be_bytes();
        assert_eq!(told(false), format!("PORT 192,0,2,7,{high},{low}"));
        let config = ActiveConfig {
            address: Some("2001:db8::1".parse().unwrap()),
            ..ActiveConfig::default()
        };
        let listening = Listening::begin(&client, &config).unwrap();
        let port = listening.told.port();
        // There is no other form of it.
        for has_eprt in [true, false] {
            let told = String::from_utf8(listening.command(has_eprt)).unwrap();
            assert_eq!(told, format!("EPRT |2|2001:db8::1|{port}|"));
        }
    }

    // SEMANTICS: S-active-address
    #[test]
    fn ports_are_those_that_are_allowed() {
        let (client, _server) = control();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = free.local_addr().unwrap().port();
        let only = |first, last| ActiveConfig {
            ports: Some(first..=last),
            ..ActiveConfig::default()
        };
        let error = Listening::begin(&client, &only(taken, taken)).unwrap_err();
        assert!(error.to_string().contains("--active-ports"), "{error}");
        drop(free);
        let listening = Listening::begin(&client, &only(taken, taken)).unwrap();
        assert_eq!(listening.told.port(), taken);
    }

    // SEMANTICS: S-active, S-tenet-deadline
    #[test]
    fn nobody_is_waited_for_without_end() {
        let (client, mut server) = control();
        let listening = Listening::begin(&client, &ActiveConfig::default()).unwrap();
        let soon = Deadline::after(Duration::from_millis(30));
        let error = listening.accept(&client, soon).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().contains("--active-address"), "{error}");
        // A refusal ends the wait at once.
        io::Write::write_all(&mut server, b"425 no\r\n").unwrap();
        let late = Deadline::after(Duration::from_mins(1));
        assert!(listening.accept(&client, late).unwrap().is_none());
    }
}
