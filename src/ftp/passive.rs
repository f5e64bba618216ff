//! Data connections: where the server listens (EPSV of RFC 2428, PASV of RFC 959), and sockets with the right options.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec};
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};

use super::{
    control::{is_timeout, peek},
    deadline::Deadline,
    reply::Reply,
    tls::{Broken, Channel, Session},
};

/// How old a data connection that waits to be used may get. 50 s: all four test servers kept one for 65 s, and NAT boxes forget
/// silent connections after a minute at the earliest.
pub(super) const WARM_AGE_MAX: Duration = Duration::from_secs(50);

/// The longest that one write to a data connection waits in the kernel.
const WRITE_SLICE: Duration = Duration::from_millis(500);

/// A port that the server listens on for us.
#[derive(Debug)]
pub(super) struct Announced {
    /// The port.
    pub(super) port: u16,
    /// The address, where it is another than that of the control connection and is to be believed.
    pub(super) address: Option<Ipv4Addr>,
    told: Instant,
}

impl Announced {
    /// A port just told.
    pub(super) fn new(port: u16, address: Option<Ipv4Addr>) -> Self {
        Self {
            port,
            address,
            told: Instant::now(),
        }
    }

    /// Whether the server may be believed to listen still. Pure-FTPd gives up first, after some minutes.
    pub(super) fn is_usable(&self) -> bool {
        self.told.elapsed() < WARM_AGE_MAX
    }
}

/// A data connection: on its way, or there.
#[derive(Debug)]
pub(super) struct DataConnection {
    socket: TcpStream,
    begun: Instant,
    is_open: bool,
    was_refused: bool,
    /// TLS on it, where that was begun ahead of a command.
    channel: Option<Box<Channel>>,
}

impl DataConnection {
    /// Begins to connect to where the server listens for data, from this address of ours, and does not wait for it. Every
    /// later read there has to make progress within `timeout`; for writes [`write_all`] sees to that.
    pub(super) fn begin(
        address: SocketAddr,
        from: Option<IpAddr>,
        timeout: Duration,
    ) -> io::Result<Self> {
        let socket = bound(address, from)?;
        socket.set_nonblocking(true)?;
        match socket.connect(&address.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            _ => {}
        }
        let socket = with_options(socket.into())?;
        let connection = Self::opened(socket, timeout)?;
        Ok(Self {
            is_open: false,
            ..connection
        })
    }

    /// One that is there, with the same time-outs.
    pub(super) fn opened(socket: TcpStream, timeout: Duration) -> io::Result<Self> {
        socket.set_read_timeout(Some(timeout))?;
        socket.set_write_timeout(Some(WRITE_SLICE.min(timeout)))?;
        Ok(Self {
            socket,
            begun: Instant::now(),
            is_open: true,
            was_refused: false,
            channel: None,
        })
    }

    /// The socket. Until [`DataConnection::finish`] has returned it is only there to be handed on.
    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Whether it was waited for and is there.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Waits until it is there.
    pub(super) fn finish(&mut self, deadline: Deadline) -> io::Result<()> {
        while !self.is_open {
            self.look(None, deadline)?;
        }
        Ok(())
    }

    /// Waits until it is there, or until something can be read from `other`.
    pub(super) fn finish_unless(
        &mut self,
        other: &TcpStream,
        deadline: Deadline,
    ) -> io::Result<()> {
        while !self.is_open {
            if self.look(Some(other), deadline)? {
                break;
            }
        }
        Ok(())
    }

    /// Goes on with what has to be done before bytes of a protected session can be exchanged, for so long at the most; whether
    /// that is all done.
    pub(super) fn shake_hands(
        &mut self,
        session: &Session,
        wait: Duration,
    ) -> Result<bool, Broken> {
        if !self.is_open {
            let looked = self.look(None, Deadline::after(wait));
            looked.map_err(|error| {
                self.was_refused |= error.kind() == io::ErrorKind::ConnectionRefused;
                Broken::Io(error)
            })?;
            return Ok(false);
        }
        let channel = match &mut self.channel {
            Some(begun) => begun,
            None => self.channel.insert(Box::new(session.data_channel()?)),
        };
        if channel.advance(&self.socket)? {
            return Ok(true);
        }
        let wait =
            Timespec::try_from(wait).map_err(|_| Broken::Io(io::ErrorKind::InvalidInput.into()))?;
        // Interrupted is as good as over.
        let _ = rustix::event::poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&wait));
        channel.advance(&self.socket)
    }

    /// TLS on it, as far as that has come, for whoever takes the socket over.
    pub(super) fn take_channel(&mut self) -> Option<Channel> {
        self.channel.take().map(|channel| *channel)
    }

    /// Waits once; whether something can be read from `other`.
    fn look(&mut self, other: Option<&TcpStream>, deadline: Deadline) -> io::Result<bool> {
        let left = deadline.remaining().ok_or(io::ErrorKind::TimedOut)?;
        let wait = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut waited = vec![PollFd::new(&self.socket, PollFlags::OUT)];
        waited.extend(other.map(|other| PollFd::new(other, PollFlags::IN)));
        match rustix::event::poll(&mut waited, Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is_ready = |at: usize| waited.get(at).is_some_and(|fd| !fd.revents().is_empty());
        let (is_over, is_readable) = (is_ready(0), is_ready(1));
        if is_over {
            if let Some(error) = self.socket.take_error()? {
                return Err(error);
            }
            // An error is told once; who has looked before may have had it.
            self.socket.peer_addr()?;
            self.socket.set_nonblocking(false)?;
            self.is_open = true;
        }
        Ok(is_readable)
    }

    /// Whether it can still be used, as far as can be seen from here.
    pub(super) fn is_usable(&mut self) -> bool {
        if let Some(channel) = &mut self.channel {
            return self.begun.elapsed() < WARM_AGE_MAX && channel.is_sound(&self.socket);
        }
        match peek(&self.socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.begun.elapsed() < WARM_AGE_MAX
            }
            Err(error) => {
                self.was_refused |= error.kind() == io::ErrorKind::ConnectionRefused;
                false
            }
            // The server has closed it.
            Ok(_) => false,
        }
    }

    /// Whether nobody listened where the server said.
    pub(super) fn was_refused(&self) -> bool {
        self.was_refused
    }

    /// Whether it is there by now.
    pub(super) fn is_there(&self) -> bool {
        self.is_open || self.socket.peer_addr().is_ok()
    }

    /// How long ago it was begun.
    pub(super) fn age(&self) -> Duration {
        self.begun.elapsed()
    }
}

/// How to ask the server to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passive {
    /// RFC 2428.
    Epsv,
    /// RFC 959, for IPv4 only.
    Pasv,
}

impl Passive {
    /// The command.
    pub(super) fn command(self) -> &'static [u8] {
        match self {
            Self::Epsv => b"EPSV",
            Self::Pasv => b"PASV",
        }
    }

    /// Where the server listens, when `reply` tells.
    pub(super) fn port(self, reply: &Reply) -> Option<u16> {
        match self {
            Self::Epsv => epsv_port(reply),
            Self::Pasv => pasv(reply).map(|(_, port)| port),
        }
    }

    /// The address that `reply` tells; `0.0.0.0` is none.
    pub(super) fn address(self, reply: &Reply) -> Option<Ipv4Addr> {
        match self {
            Self::Epsv => None,
            Self::Pasv => pasv(reply).map(|(address, _)| address),
        }
        .filter(|address| !address.is_unspecified())
    }
}

/// The port in a 229 reply, `(<d><d><d>port<d>)` with any delimiter.
fn epsv_port(reply: &Reply) -> Option<u16> {
    if reply.code() != 229 {
        return None;
    }
    reply.lines().find_map(|line| {
        let open = line.iter().position(|byte| *byte == b'(')?;
        let delimiter = *line.get(open + 1)?;
        let mut parts = line.get(open + 2..)?.split(|byte| *byte == delimiter);
        // The protocol and the address are left out in a reply; the port is the third field.
        let port = parts.nth(2)?;
        parts.next()?;
        number(port).filter(|port| *port != 0)
    })
}

/// Address and port in a 227 reply: six numbers, with or without parentheses. The address is used only where the user says so: a
/// server could make us connect to any host, and behind NAT it is often wrong.
fn pasv(reply: &Reply) -> Option<(Ipv4Addr, u16)> {
    if reply.code() != 227 {
        return None;
    }
    reply.lines().find_map(|line| {
        line.split(|byte| !byte.is_ascii_digit() && *byte != b',')
            .find_map(|run| {
                let fields: Vec<_> = run.split(|byte| *byte == b',').map(number::<u8>).collect();
                let [Some(a), Some(b), Some(c), Some(d), Some(high), Some(low)] =
                    *fields.as_slice()
                else {
                    return None;
                };
                let port = Some(u16::from_be_bytes([high, low])).filter(|port| *port != 0);
                Some((Ipv4Addr::new(a, b, c, d), port?))
            })
    })
}

fn number<N: std::str::FromStr>(digits: &[u8]) -> Option<N> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Connects within the deadline and sets what every socket here has: no Nagle delay (each write is a whole message), and
/// keepalive, so that a NAT box remembers the control connection while a long transfer runs.
/// `from` is the address of ours that it comes from.
///
/// # Errors
///
/// `AddrNotAvailable` when `from` is none of ours.
pub(super) fn connect(
    address: SocketAddr,
    from: Option<IpAddr>,
    deadline: Deadline,
) -> io::Result<TcpStream> {
    let left = deadline.remaining().ok_or(io::ErrorKind::TimedOut)?;
    let socket = bound(address, from)?;
    socket.connect_timeout(&address.into(), left)?;
    with_options(socket.into())
}

fn bound(address: SocketAddr, from: Option<IpAddr>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if let Some(from) = from {
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    Ok(socket)
}

/// Sets what every socket here has.
pub(super) fn with_options(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10))
        .with_retries(3);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

/// Writes all of `data` to a data connection as long as some of it gets away within each `timeout`; says so each time.
///
/// The kernel counts its own time-out anew for each call and answers a call that got a single byte away with success, so
/// that two silent time-outs could pass for one; slices are short enough for that not to matter.
pub(super) fn write_all(
    mut stream: impl io::Write,
    mut data: &[u8],
    timeout: Duration,
    on_progress: impl Fn(),
) -> io::Result<()> {
    let mut progressed = Instant::now();
    while !data.is_empty() {
        match stream.write(data) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                progressed = Instant::now();
                on_progress();
                data = data.get(count..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_timeout(&error) && progressed.elapsed() < timeout => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::reply::Parsed;
    use super::*;

    fn reply(text: &str) -> Reply {
        match Reply::parse(format!("{text}\r\n").as_bytes()) {
            Parsed::Complete(reply, _) => reply,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn epsv_ports_are_read_with_any_delimiter() {
        for (text, port) in [
            ("229 Entering Extended Passive Mode (|||6446|)", Some(6446)),
            ("229 ok (!!!6446!)", Some(6446)),
            ("229 ok (|1|10.0.0.1|6446|)", Some(6446)),
            ("229 ok (|||70000|)", None),
            ("229 ok (|||0|)", None),
            ("229 ok (|||5", None),
            ("229 ok", None),
            ("227 ok (|||6446|)", None),
        ] {
            assert_eq!(epsv_port(&reply(text)), port, "{text}");
        }
    }

    #[test]
    fn pasv_ports_are_read_with_and_without_parentheses() {
        for (text, port) in [
            ("227 Entering Passive Mode (127,0,0,1,4,5).", Some(1029)),
            ("227 Entering Passive Mode 127,0,0,1,4,5", Some(1029)),
            ("227 =127,0,0,1,255,255", Some(65535)),
            ("227 ok (127,0,0,1,4)", None),
            ("227 ok (127,0,0,1,256,5)", None),
            ("227 ok (127,0,0,1,0,0)", None),
            ("227 ok", None),
        ] {
            assert_eq!(Passive::Pasv.port(&reply(text)), port, "{text}");
        }
    }

    #[test]
    fn an_address_that_is_none_is_not_told() {
        let told = |text| Passive::Pasv.address(&reply(text));
        assert_eq!(
            told("227 (192,0,2,7,4,5)"),
            Some(Ipv4Addr::new(192, 0, 2, 7))
        );
        assert_eq!(told("227 (0,0,0,0,4,5)"), None);
    }
}
