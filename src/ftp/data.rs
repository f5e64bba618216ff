//! Data connections: begun before they are needed, there, and a stream of a transfer's bytes; with TLS on them where the session
//! is protected.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec};
use socket2::SockRef;

use super::{
    deadline::Deadline,
    pace::{Pace, Paced, Patience},
    passive::WARM_AGE_MAX,
    socket::{self, peek},
    tls::{Broken, Channel, Session},
};

/// The longest that one write to a data connection waits in the kernel.
const WRITE_SLICE: Duration = Duration::from_millis(500);

/// A data connection that no transfer uses yet: on its way, or there.
#[derive(Debug)]
pub(super) struct DataConnection {
    socket: TcpStream,
    begun: Instant,
    is_open: bool,
    was_refused: bool,
    /// TLS on it, once that was begun.
    channel: Option<Box<Channel>>,
    pace: Pace,
}

impl DataConnection {
    /// Begins to connect to where the server listens for data, from this address of ours, and does not wait for it. Every
    /// later read there has to make progress within the timeout; for writes [`socket::write_all`] sees to that.
    pub(super) fn begin(
        address: SocketAddr,
        from: Option<IpAddr>,
        patience: Patience,
    ) -> io::Result<Self> {
        let socket = socket::bound(address, from)?;
        socket.set_nonblocking(true)?;
        match socket.connect(&address.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            _ => {}
        }
        let socket = socket::with_options(socket.into())?;
        let connection = Self::opened(socket, patience)?;
        Ok(Self {
            is_open: false,
            ..connection
        })
    }

    /// One that is there, with the same timeouts.
    pub(super) fn opened(socket: TcpStream, patience: Patience) -> io::Result<Self> {
        let timeout = patience.timeout;
        socket.set_read_timeout(Some(timeout))?;
        socket.set_write_timeout(Some(WRITE_SLICE.min(timeout)))?;
        Ok(Self {
            socket,
            begun: Instant::now(),
            is_open: true,
            was_refused: false,
            channel: None,
            pace: Pace::new(patience),
        })
    }

    /// The socket. Until [`DataConnection::is_open`] it is not there yet.
    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// The socket, and TLS on it once that was begun.
    pub(super) fn parts(&mut self) -> (Paced<'_>, Option<&mut Channel>) {
        (self.pace.of(&self.socket), self.channel.as_deref_mut())
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

    /// Sends the `ClientHello`. When our half `ends_early`, its end follows the handshake.
    ///
    /// # Errors
    ///
    /// The first read or write fails as well then.
    pub(super) fn begin_tls(&mut self, session: &Session, ends_early: bool) -> io::Result<()> {
        let channel = match &mut self.channel {
            Some(begun) => begun,
            None => self.channel.insert(Box::new(session.data_channel()?)),
        };
        if ends_early {
            channel.end_early();
        }
        channel.start(&self.socket)
    }

    /// The stream of a transfer, protected in a session that is.
    pub(super) fn into_stream(mut self, session: Option<&Session>) -> io::Result<DataStream> {
        if let (None, Some(session)) = (&self.channel, session) {
            self.begin_tls(session, false)?;
        }
        Ok(DataStream {
            socket: self.socket,
            tls: self.channel,
            pace: self.pace,
        })
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
            // An error is reported once; an earlier look may have had it.
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

/// The bytes of a running transfer. Reading and writing do TLS's handshake first, if it is not done yet.
#[derive(Debug)]
pub(super) struct DataStream {
    socket: TcpStream,
    tls: Option<Box<Channel>>,
    pace: Pace,
}

impl DataStream {
    /// The socket itself.
    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// What its bytes are measured by.
    pub(super) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Whether it is protected.
    pub(super) fn is_protected(&self) -> bool {
        self.tls.is_some()
    }

    /// Says that nothing more will be written, once all that was written has left: within each `timeout` some of it must.
    pub(super) fn end(&mut self, timeout: Duration, on_progress: impl Fn()) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => tls.end(self.pace.of(&self.socket), timeout, on_progress),
            None => self.socket.shutdown(Shutdown::Write),
        }
    }
}

impl Read for DataStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut socket = self.pace.of(&self.socket);
        match &mut self.tls {
            Some(tls) => tls.read(socket, buffer),
            None => socket.read(buffer),
        }
    }
}

impl Write for DataStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut socket = self.pace.of(&self.socket);
        match &mut self.tls {
            Some(tls) => tls.write(socket, bytes),
            None => socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for DataStream {
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
