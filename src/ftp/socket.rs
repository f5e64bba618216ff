//! TCP sockets: connected with the options that all have here, looked at without a wait, and written to while that gets on.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpStream},
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};

use super::deadline::Deadline;

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

pub(super) fn bound(address: SocketAddr, from: Option<IpAddr>) -> io::Result<Socket> {
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
/// The kernel counts its own timeout anew for each call and answers a call that got a single byte away with success, so
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

/// Whether neither data nor an end nor an error waits on an idle socket.
pub(super) fn is_quiet(socket: &TcpStream) -> bool {
    matches!(peek(socket), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// Looks what waits on a socket: `WouldBlock` for nothing, 0 for its end.
pub(super) fn peek(socket: &TcpStream) -> io::Result<usize> {
    let mut byte = [std::mem::MaybeUninit::uninit()];
    SockRef::from(socket).recv_with_flags(&mut byte, libc::MSG_PEEK | libc::MSG_DONTWAIT)
}

/// Whether a wait has ended with nothing.
pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// How many bytes the other side's TCP has not acknowledged yet.
pub(super) fn unsent_bytes(socket: &TcpStream) -> libc::c_int {
    let mut count: libc::c_int = 0;
    // SAFETY: TIOCOUTQ (tcp(7), SIOCOUTQ) writes one int to the address given, which is `count`'s, and the descriptor is
    // open for as long as `socket` is borrowed.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    if result == 0 { count } else { 0 }
}

/// Whether the other side has ended the connection; what arrives meanwhile is passed over. Never waits.
pub(super) fn has_ended(socket: &TcpStream) -> bool {
    let mut passed = [std::mem::MaybeUninit::uninit(); 1024];
    loop {
        match SockRef::from(socket).recv_with_flags(&mut passed, libc::MSG_DONTWAIT) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}
