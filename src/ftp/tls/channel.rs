//! TLS on one connection: what is written leaves encrypted, what is read was verified, and the socket's time-outs hold.
//!
//! The socket stays with whoever owns the connection; each call borrows it. Three things need care:
//!
//! 1. *The handshake is done ahead as far as the server lets it* ([`Channel::start`], [`Channel::advance`]): most servers
//!    answer a `ClientHello` on a data connection only after the command, and find it waiting then.
//! 2. *Unasked records*: a server of TLS 1.3 sends tickets whenever it likes. They are taken in wherever somebody looks
//!    whether a connection is quiet ([`Channel::is_quiet`]), and before an upload's connection is closed.
//! 3. *The end*: `close_notify` is sent before the socket's own end; an end without it is [`io::ErrorKind::UnexpectedEof`].

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::net::RecvFlags;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, pki_types::ServerName};

use super::{broken::Broken, certificate::Certificate, handshakes::Handshakes};
use crate::ftp::pace::Paced;

/// The most plaintext that is encrypted ahead of the socket: two records. More is no faster, and what waits here
/// is not seen to make progress.
const UNSENT_BYTES_MAX: usize = 32 << 10;

/// What both sides have agreed to.
#[derive(Debug, Clone)]
pub struct Protocol {
    /// Such as `TLSv1.2`.
    pub version: String,
    /// The cipher suite, by its name in the registry of IANA.
    pub cipher: String,
    /// What the server showed.
    pub certificate: Option<Certificate>,
}

/// Which handshakes will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accepted {
    Any,
    /// Those that resume a session.
    Resumed,
}

/// TLS on one connection.
#[derive(Debug)]
pub(in crate::ftp) struct Channel {
    connection: ClientConnection,
    /// Where its handshake counts.
    counter: Option<Arc<Handshakes>>,
    accepted: Accepted,
    /// Whether `close_notify` is to follow our part of the handshake at once.
    ends_early: bool,
    /// Whether we have nothing more to send, and have said so behind what there was.
    is_closed: bool,
    /// Whether the server has sent all that it had to send.
    is_at_end: bool,
}

impl Channel {
    pub(super) fn new(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        counter: Option<Arc<Handshakes>>,
    ) -> Result<Self, Broken> {
        let mut connection = ClientConnection::new(config, name)?;
        connection.set_buffer_limit(Some(UNSENT_BYTES_MAX));
        Ok(Self {
            connection,
            counter,
            accepted: Accepted::Any,
            ends_early: false,
            is_closed: false,
            is_at_end: false,
        })
    }

    /// Refuses any other handshake than one that resumes a session.
    pub(super) fn require_resumption(&mut self) {
        self.accepted = Accepted::Resumed;
    }

    /// Sends the `ClientHello`.
    pub(in crate::ftp) fn start(&mut self, socket: &TcpStream) -> io::Result<()> {
        self.flush(socket)
    }

    /// The `ClientHello`, for a connection of its own.
    pub(in crate::ftp) fn hello(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.connection.write_tls(&mut bytes)?;
        Ok(bytes)
    }

    /// Does as much of the handshake as can be done without waiting; whether it is over.
    pub(in crate::ftp) fn advance(&mut self, socket: &TcpStream) -> Result<bool, Broken> {
        while self.connection.is_handshaking() {
            self.flush(socket).map_err(Broken::Io)?;
            match self.receive(Arrived(socket)) {
                Err(Broken::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(false);
                }
                other => other?,
            };
        }
        self.settle(socket)?;
        Ok(true)
    }

    /// Does the rest of the handshake. Each wait for the server ends with the socket's own timeout.
    fn handshake(&mut self, socket: Paced<'_>) -> Result<(), Broken> {
        while self.connection.is_handshaking() {
            self.flush(socket).map_err(Broken::Io)?;
            self.receive(socket)?;
        }
        self.settle(socket.socket())
    }

    /// Sends the last flight, which in TLS 1.3 and in a resumed session is ours; and our end with it, if there is nothing to say.
    fn settle(&mut self, socket: &TcpStream) -> Result<(), Broken> {
        let is_resumed = self.connection.handshake_kind() == Some(HandshakeKind::Resumed);
        if self.accepted == Accepted::Resumed && !is_resumed {
            return Err(Broken::NotResumed);
        }
        let ends_early = std::mem::take(&mut self.ends_early);
        if ends_early {
            self.connection.send_close_notify();
        }
        self.flush(socket).map_err(Broken::Io)?;
        if ends_early {
            // It may be gone already, and all there was with it.
            let _ = socket.shutdown(Shutdown::Write);
        }
        Ok(())
    }

    /// Waits for the server once, and answers it.
    pub(in crate::ftp) fn step(&mut self, socket: &TcpStream) -> Result<(), Broken> {
        self.receive(socket)?;
        self.flush(socket).map_err(Broken::Io)
    }

    /// Whether the handshake is over.
    pub(in crate::ftp) fn is_established(&self) -> bool {
        !self.connection.is_handshaking()
    }

    /// What the handshake came to, for the log.
    pub(in crate::ftp) fn description(&self) -> String {
        let kind = match self.connection.handshake_kind() {
            Some(HandshakeKind::Resumed) => "resumed",
            Some(_) => "full handshake",
            None => "no handshake yet",
        };
        let version = self
            .connection
            .protocol_version()
            .and_then(|version| version.as_str())
            .unwrap_or("TLS");
        format!("{version}, {kind}")
    }

    /// What the handshake came to, for people.
    pub(in crate::ftp) fn protocol(&self) -> Protocol {
        let version = self.connection.protocol_version();
        let version = version.and_then(|version| version.as_str());
        let cipher = self.connection.negotiated_cipher_suite();
        let cipher = cipher.and_then(|suite| suite.suite().as_str());
        let shown = self.connection.peer_certificates().and_then(<[_]>::first);
        Protocol {
            // TLSv1_2 in rustls.
            version: version.unwrap_or_default().replace('_', "."),
            // TLS13_ in rustls.
            cipher: cipher.unwrap_or_default().replace("TLS13_", "TLS_"),
            certificate: shown.map(Certificate::read),
        }
    }

    /// Reads what has arrived; 0 when the server has said that it was all.
    pub(in crate::ftp) fn read(
        &mut self,
        socket: Paced<'_>,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        self.handshake(socket)?;
        loop {
            match self.connection.reader().read(buffer) {
                Ok(count) => {
                    self.is_at_end = count == 0 && !buffer.is_empty();
                    return Ok(self.read_on(buffer, count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.is_at_end = error.kind() == io::ErrorKind::UnexpectedEof;
                    return Err(error);
                }
            }
            self.flush(socket)?;
            self.receive(socket)?;
        }
    }

    /// Moves what is decrypted already behind what is in `inbox`; else waits for the server once, within the socket's timeout, and moves what it
    /// says: nothing while a record has come in part, so that who drips bytes keeps nobody waiting here. `false` at the end.
    pub(in crate::ftp) fn read_once(
        &mut self,
        socket: &TcpStream,
        inbox: &mut Vec<u8>,
    ) -> io::Result<bool> {
        let before = inbox.len();
        self.read_decrypted(inbox)?;
        if inbox.len() > before {
            return Ok(true);
        }
        self.flush(socket)?;
        if self.receive(socket)? == 0 {
            return Ok(false);
        }
        match self.connection.reader().read_to_end(inbox) {
            Ok(count) => Ok(count > 0),
            Err(error) if is_wait(&error) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Fills the rest of the buffer with what is decrypted already.
    fn read_on(&mut self, buffer: &mut [u8], count: usize) -> usize {
        let mut filled = count;
        while filled > 0
            && let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty())
            && let Ok(more @ 1..) = self.connection.reader().read(rest)
        {
            filled += more;
        }
        filled
    }

    /// Encrypts some of `data` and sends what the socket takes within its timeout; the rest leaves with the next call.
    pub(in crate::ftp) fn write(&mut self, socket: Paced<'_>, data: &[u8]) -> io::Result<usize> {
        self.handshake(socket)?;
        self.flush(socket)?;
        let count = self.connection.writer().write(data)?;
        match self.flush(socket) {
            Err(error) if is_wait(&error) => Ok(count),
            other => other.map(|()| count),
        }
    }

    /// Encrypts and sends all of `data`; a timeout of the socket is the end.
    pub(in crate::ftp) fn write_all(
        &mut self,
        socket: &TcpStream,
        mut data: &[u8],
    ) -> io::Result<()> {
        while !data.is_empty() {
            let count = self.connection.writer().write(data)?;
            self.flush(socket)?;
            data = data.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Takes in what has arrived without waiting, and moves what that says behind what is in `inbox`.
    pub(in crate::ftp) fn read_arrived(
        &mut self,
        socket: &TcpStream,
        inbox: &mut Vec<u8>,
    ) -> io::Result<()> {
        loop {
            match self.receive(Arrived(socket)) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => self.read_decrypted(inbox)?,
                Err(Broken::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.flush(socket);
                }
                Err(broken) => return Err(broken.into()),
            }
        }
    }

    /// Moves all that is decrypted already behind what is in `inbox`.
    pub(in crate::ftp) fn read_decrypted(&mut self, inbox: &mut Vec<u8>) -> io::Result<()> {
        match self.connection.reader().read_to_end(inbox) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            other => other.map(drop),
        }
    }

    /// Sends all that was written. The socket's timeout counts anew whenever some of it has left.
    pub(in crate::ftp) fn flush(&mut self, mut socket: impl Write) -> io::Result<()> {
        let mut has_moved = false;
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => has_moved = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_wait(&error) && has_moved => has_moved = false,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether one side has said, or at least shown, that it has nothing more to send.
    pub(in crate::ftp) fn has_ended(&self) -> bool {
        self.is_closed || self.is_at_end
    }

    /// Has our half end where the handshake does: this is a download, and nothing goes that way in it. OpenSSL goes on to send
    /// all the same, and finds there at the end what it would wait for.
    pub(in crate::ftp) fn end_early(&mut self) {
        self.ends_early = true;
    }

    /// Ends our half, behind all that was written: with `close_notify`, and with the socket's own end. Within each `timeout`
    /// some of it must leave.
    pub(in crate::ftp) fn end(
        &mut self,
        socket: Paced<'_>,
        timeout: Duration,
        on_progress: impl Fn(),
    ) -> io::Result<()> {
        if self.is_closed {
            return Ok(());
        }
        // An upload without content has not come to it yet.
        self.handshake(socket)?;
        self.close();
        let started = Instant::now();
        while let Err(error) = self.flush(socket) {
            if !is_wait(&error) || started.elapsed() > timeout {
                return Err(error);
            }
            on_progress();
        }
        socket.socket().shutdown(Shutdown::Write)
    }

    fn close(&mut self) {
        if !std::mem::replace(&mut self.is_closed, true) {
            self.connection.send_close_notify();
        }
    }

    /// Takes in what has arrived without waiting: tickets, above all. Whether the connection is still open and nothing
    /// else has come.
    pub(in crate::ftp) fn is_quiet(&mut self, socket: &TcpStream) -> bool {
        loop {
            if !self.connection.is_handshaking() {
                let mut byte = [0];
                let read = self.connection.reader().read(&mut byte);
                if !matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
                    return false;
                }
            }
            match self.receive(Arrived(socket)) {
                Ok(_) => {}
                Err(Broken::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    // Our own answer to what came, if it wants one.
                    return self.flush(socket).is_ok();
                }
                Err(_) => return false,
            }
        }
    }

    /// Whether a connection that has not been used yet can be: its handshake goes on, or is over and nothing else has come.
    pub(in crate::ftp) fn is_sound(&mut self, socket: &TcpStream) -> bool {
        match self.advance(socket) {
            Ok(true) => self.is_quiet(socket),
            Ok(false) => true,
            Err(_) => false,
        }
    }

    /// Reads from the socket once and works on it; how many bytes came, 0 at the connection's end.
    fn receive(&mut self, mut socket: impl Read) -> Result<usize, Broken> {
        let count = loop {
            match self.connection.read_tls(&mut socket) {
                Ok(0) if self.connection.is_handshaking() => {
                    return Err(Broken::Io(io::ErrorKind::UnexpectedEof.into()));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Broken::Io(error)),
                Ok(count) => break count,
            }
        };
        self.connection.process_new_packets()?;
        Ok(count)
    }

    /// Tells the server why it is over, as far as it still listens.
    pub(in crate::ftp) fn say_last_words(&mut self, mut socket: &TcpStream) {
        self.close();
        if self.connection.wants_write() {
            // It may be gone.
            let _ = self.connection.write_tls(&mut socket);
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        if let (Some(counter), Some(kind)) = (&self.counter, self.connection.handshake_kind()) {
            counter.note(kind == HandshakeKind::Resumed);
        }
    }
}

/// The time-outs of the kernel come as either.
fn is_wait(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// A socket that is read without waiting.
struct Arrived<'a>(&'a TcpStream);

impl Read for Arrived<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (count, _) = rustix::net::recv(self.0, buffer, RecvFlags::DONTWAIT)?;
        Ok(count)
    }
}
