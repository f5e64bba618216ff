//! The conversation on a control connection: single commands by suppaftp, and the connection itself for what suppaftp cannot do.
//!
//! suppaftp's client writes one command and reads one reply. Several commands in one write, transfers, and all that happens before
//! a session is logged in, use [`Control`] directly, between two of its commands.
//!
//! The greeting, TLS and the login are not suppaftp's, for these reasons:
//!
//! 1. its constructors read the greeting without a deadline, take a banner line such as "100 users online" for the end of it,
//!    and fail on a 120 (RFC 959 section 5.4);
//! 2. its `into_secure` takes three round trips before the login (AUTH, PBSZ, PROT), where one is enough, and TLS from the first
//!    byte on is possible only over a connection that it makes itself, without a proxy and without a deadline;
//! 3. its `login` takes two round trips, where one is enough, and writes the password into its log.
//!
//! So the client is made once the greeting was read. It insists on a greeting and, for a stream that is not a `TcpStream`, on an
//! `AUTH`: it gets both from a socket pair ([`Conversation::client`]), and [`Line`] from then on.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use suppaftp::{FtpError, FtpResult, ImplFtpStream, TlsConnector, TlsStream};

use super::{
    control::Control,
    encoding::{Transparent, to_text},
    reply::{Fault, Reply},
};
use crate::remote::RemoteErrorKind;

/// How many commands suppaftp sends over a new stream before it is ready: PBSZ and PROT.
const SETUP_COMMANDS: u8 = 2;

/// A control connection whose greeting was read, and suppaftp's client on it.
pub(super) struct Conversation {
    client: ImplFtpStream<Line>,
    shared: Arc<Mutex<Shared>>,
}

/// What the client's stream and the session both reach.
#[derive(Debug)]
struct Shared {
    control: Control,
    /// What came of the client's last command.
    outcome: Option<Result<Reply, Fault>>,
}

/// The control connection, locked. The lock is the session's own: only the present user of the session takes it.
pub(super) struct Locked<'a>(MutexGuard<'a, Shared>);

impl std::ops::Deref for Locked<'_> {
    type Target = Control;

    fn deref(&self) -> &Control {
        &self.0.control
    }
}

impl std::ops::DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Control {
        &mut self.0.control
    }
}

impl Conversation {
    /// Puts suppaftp's client on top of a control connection.
    pub(super) fn new(control: Control) -> Result<Self, Fault> {
        let socket = Arc::clone(control.socket());
        let shared = Arc::new(Mutex::new(Shared {
            control,
            outcome: None,
        }));
        let line = Line {
            shared: Arc::clone(&shared),
            socket,
            for_client: io::Cursor::default(),
            setup_left: SETUP_COMMANDS,
        };
        let client = Self::client(line)
            .map_err(|error| Fault::new(RemoteErrorKind::Failed, error.to_string()))?;
        Ok(Self { client, shared })
    }

    fn client(line: Line) -> FtpResult<ImplFtpStream<Line>> {
        let (client_end, mut our_end) = UnixStream::pair().map_err(FtpError::ConnectionError)?;
        our_end
            .write_all(b"220 -\r\n234 -\r\n")
            .map_err(FtpError::ConnectionError)?;
        let stand_in = TcpStream::from(OwnedFd::from(client_end));
        let connector = Connector(Mutex::new(Some(line)));
        let mut client =
            ImplFtpStream::<Line>::connect_with_stream(stand_in)?.into_secure(connector, "-")?;
        client.set_encoding(Transparent);
        Ok(client)
    }

    /// The control connection itself.
    pub(super) fn control(&self) -> Locked<'_> {
        Locked(self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends one command and reads its reply.
    pub(super) fn command(&mut self, line: &[u8]) -> Result<Reply, Fault> {
        // With nothing expected, suppaftp returns every reply as an error; what it means is for the caller to say.
        let error = self.client.custom_command(to_text(line), &[]).err();
        let mut locked = self.control();
        match (locked.0.outcome.take(), error) {
            (Some(outcome), _) => outcome,
            (None, error) => {
                locked.give_up();
                let detail = error.map_or_else(|| "out of step".to_owned(), |it| it.to_string());
                Err(Fault::new(RemoteErrorKind::Protocol, detail))
            }
        }
    }
}

/// The control connection as suppaftp's stream: one write is a command line, one read the code of its reply. Each wait has the
/// deadline of the request, and the whole reply is kept for the session.
#[derive(Debug)]
struct Line {
    shared: Arc<Mutex<Shared>>,
    /// For its addresses.
    socket: Arc<TcpStream>,
    for_client: io::Cursor<Vec<u8>>,
    /// How many of the client's commands belong to its set-up and go nowhere.
    setup_left: u8,
}

impl Line {
    fn answer(&mut self, code: u16) {
        self.for_client = io::Cursor::new(format!("{code:03} -\r\n").into_bytes());
    }

    fn note(&self, outcome: Result<Reply, Fault>) -> io::Result<u16> {
        let noted = match &outcome {
            Ok(reply) => Ok(reply.code()),
            Err(fault) => Err(io::Error::other(fault.detail.clone())),
        };
        self.lock().outcome = Some(outcome);
        noted
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Line {
    /// suppaftp writes each command line with one `write_all`, which is why its version is pinned.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = bytes
            .strip_suffix(b"\r\n")
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a whole line"))?;
        if let Some(left) = self.setup_left.checked_sub(1) {
            self.setup_left = left;
            self.answer(200);
            return Ok(bytes.len());
        }
        // suppaftp doubles 0xFF; whether that is right for this server is decided in `Control::send`.
        let sent = self.lock().control.send(&[undouble_iac(line)]);
        match sent {
            Ok(()) => Ok(bytes.len()),
            Err(fault) => self.note(Err(fault)).map(|_| 0),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.for_client.position() >= self.for_client.get_ref().len() as u64 {
            let reply = self.lock().control.read_reply();
            let code = self.note(reply)?;
            self.answer(code);
        }
        self.for_client.read(buffer)
    }
}

impl TlsStream for Line {
    type InnerStream = Self;

    fn tcp_stream(self) -> FtpResult<TcpStream> {
        self.socket.try_clone().map_err(FtpError::ConnectionError)
    }

    fn get_ref(&self) -> &TcpStream {
        &self.socket
    }

    fn mut_ref(&mut self) -> &mut Self {
        self
    }
}

/// Gives suppaftp its stream, once: it never makes a data connection.
#[derive(Debug)]
struct Connector(Mutex<Option<Line>>);

impl TlsConnector for Connector {
    type Stream = Line;

    fn connect(&self, _: &str, _: TcpStream) -> FtpResult<Line> {
        let line = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        line.ok_or_else(|| FtpError::ConnectionError(io::ErrorKind::NotConnected.into()))
    }
}

fn undouble_iac(line: &[u8]) -> Vec<u8> {
    let mut single = Vec::with_capacity(line.len());
    let mut bytes = line.iter().peekable();
    while let Some(byte) = bytes.next() {
        single.push(*byte);
        if *byte == 0xFF && bytes.peek() == Some(&&0xFF) {
            bytes.next();
        }
    }
    single
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubled_bytes_are_undone() {
        assert_eq!(
            undouble_iac(b"a\xff\xffb\xff\xff\xff\xff"),
            b"a\xffb\xff\xff"
        );
    }
}
