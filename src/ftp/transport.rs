//! What lies under suppaftp: it believes to speak to a TLS stream, and what it writes and reads passes through here.
//!
//! suppaftp alone pays four round trips for a read at an offset (EPSV, connect, REST, RETR), waits without limit, and
//! takes a banner line such as "100 users online" for a reply. Through its public `TlsStream` and
//! `TlsConnector` traits the transport makes of it:
//!
//! 1. Each reply is read whole and parsed by [`super::reply`]; suppaftp gets one clean line with the code, the session
//!    gets the whole reply ([`Transport::take_replies`]).
//! 2. suppaftp's `EPSV` never goes out as such: [`Transport::prepare_data`] finds a data connection (the warm one, EPSV,
//!    PASV) and suppaftp is told that all went well.
//! 3. Commands held back ([`Batch`]) leave in one write with the command that follows.
//! 4. A small upload's bytes are written right behind its STOR.
//! 5. Every wait has the deadline of the request ([`super::control`]).
//! 6. The password is put in here: suppaftp, which would log it, never sees it.
//!
//! This relies on suppaftp writing each command line with one `write_all`, so its version is pinned.

mod wire;

pub(super) use wire::{Connector, Wire, data_source};

use std::{
    collections::VecDeque,
    fmt, io,
    net::TcpStream,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use zeroize::Zeroizing;

use super::{
    capabilities::Capabilities,
    control::Control,
    passive::{self, Announced, Warm},
    reply::{Fault, Reply},
};
use crate::remote::{Phase, RemoteErrorKind};

/// What goes along with the next command that suppaftp sends.
#[derive(Default)]
pub(super) struct Batch {
    /// May leave as soon as anything does: `CWD` goes with an EPSV when there is no warm data connection.
    pub(super) early: Vec<Vec<u8>>,
    /// Leave right before the command: `REST`.
    pub(super) held: Vec<Vec<u8>>,
    /// Leave right behind it; their replies are read by [`Transport::read_followers`].
    pub(super) followers: Vec<Vec<u8>>,
    /// The line that is sent in place of suppaftp's PASS; USER waits for it.
    pub(super) substitute: Option<Zeroizing<Vec<u8>>>,
    /// The whole content of the upload that follows.
    pub(super) content: Option<Vec<u8>>,
}

/// The transport of one session, shared by the session and by what suppaftp holds.
pub(super) struct Transport {
    control: Control,
    capabilities: Arc<Capabilities>,
    /// The longest wait without progress on a data connection.
    timeout: Duration,
    warm: Option<Warm>,
    /// Whether the last EPSV and PASV were refused for good.
    is_data_refused: bool,
    /// Where the server listens for the next data connection, asked for together with the log-in.
    announced: Option<Announced>,
    /// The connection that suppaftp is about to take over.
    data: Option<TcpStream>,
    batch: Batch,
    /// Commands sent, before the one that suppaftp waits for, whose replies are still to be read.
    unread: usize,
    replies: Vec<Reply>,
    fault: Option<Fault>,
    /// What went wrong while the content of a small upload was written.
    content_error: Option<io::Error>,
    for_client: VecDeque<u8>,
    /// How many of suppaftp's next commands belong to its TLS set-up and go nowhere.
    setup_commands: u8,
}

/// A transport where both sides can reach it. The lock is the session's own: only its present user takes it.
pub(super) type Shared = Arc<Mutex<Transport>>;

/// Locks a transport.
pub(super) fn lock(shared: &Shared) -> MutexGuard<'_, Transport> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Transport {
    /// Takes over a control connection whose greeting was read.
    pub(super) fn new(
        control: Control,
        capabilities: Arc<Capabilities>,
        timeout: Duration,
    ) -> Shared {
        Arc::new(Mutex::new(Self {
            control,
            capabilities,
            timeout,
            warm: None,
            is_data_refused: false,
            announced: None,
            data: None,
            batch: Batch::default(),
            unread: 0,
            replies: Vec::new(),
            fault: None,
            content_error: None,
            for_client: VecDeque::new(),
            setup_commands: 0,
        }))
    }

    /// The control connection.
    pub(super) fn control(&mut self) -> &mut Control {
        &mut self.control
    }

    /// Sets what goes along with the next command.
    pub(super) fn set_batch(&mut self, batch: Batch) {
        self.batch = batch;
        self.data = None;
        self.content_error = None;
    }

    /// All replies since this was last asked, in order.
    pub(super) fn take_replies(&mut self) -> Vec<Reply> {
        std::mem::take(&mut self.replies)
    }

    /// Answers the PBSZ and PROT that suppaftp sends once it has put a TLS stream in place.
    pub(super) fn expect_tls_setup(&mut self) {
        self.setup_commands = 2;
    }

    /// What went wrong since this was last asked.
    pub(super) fn take_fault(&mut self) -> Option<Fault> {
        self.fault.take()
    }

    /// What went wrong while the content of a small upload was written, since this was last asked.
    pub(super) fn take_content_error(&mut self) -> Option<io::Error> {
        self.content_error.take()
    }

    /// Whether a data connection waits to be used.
    pub(super) fn is_warm(&self) -> bool {
        self.warm.as_ref().is_some_and(Warm::is_usable)
    }

    /// How long the warm data connection has been waiting; `None` when there is none.
    pub(super) fn warm_age(&self) -> Option<Duration> {
        self.warm.as_ref().map(Warm::age)
    }

    /// Whether the server has refused a data connection for good when it was asked last.
    pub(super) fn is_data_refused(&self) -> bool {
        self.is_data_refused
    }

    /// Closes the warm data connection, if there is one.
    pub(super) fn cool(&mut self) {
        self.warm = None;
    }

    /// Whether the session can take the next command.
    pub(super) fn is_usable(&self) -> bool {
        self.control.is_in_step() && self.unread == 0 && self.for_client.is_empty()
    }

    /// Takes down the answer to an EPSV that was sent along with the log-in.
    pub(super) fn announce(&mut self, reply: &Reply) {
        match passive::epsv_port(reply) {
            Some(port) => self.announced = Some(Announced::new(port)),
            None if reply.code() / 100 == 4 => {}
            None => self.capabilities.learn(|learnt| learnt.has_epsv = false),
        }
    }

    /// Opens a data connection ahead, unless one is waiting. What was held back as `early` goes along.
    pub(super) fn prepare_data(&mut self) -> Result<(), Fault> {
        if self.is_warm() {
            return Ok(());
        }
        self.warm = None;
        self.is_data_refused = false;
        let announced = self.announced.take().filter(Announced::is_usable);
        let port = match announced {
            // What was held back waits for the command itself.
            Some(announced) => announced.port,
            None => self.passive_port()?,
        };
        let deadline = self.control.deadline();
        let address = self.control.socket().peer_addr().and_then(|mut address| {
            address.set_port(port);
            passive::connect_data(address, deadline, self.timeout)
        });
        match address {
            Ok(socket) => self.warm = Some(Warm::new(socket)),
            // The control connection is still in step: nothing is pending there.
            Err(error) => return Err(Fault::from_io(&error, Phase::Connect)),
        }
        Ok(())
    }

    fn passive_port(&mut self) -> Result<u16, Fault> {
        let learnt = self.capabilities.learnt();
        let mut refusal = None;
        if learnt.has_epsv {
            let reply = self.send_early_and(b"EPSV")?;
            if let Some(port) = passive::epsv_port(&reply) {
                return Ok(port);
            }
            if reply.code() / 100 != 4 {
                log::debug!("EPSV is not to be had ({reply}), using PASV");
                self.capabilities.learn(|learnt| learnt.has_epsv = false);
            }
            refusal = Some(reply);
        }
        if self
            .control
            .socket()
            .peer_addr()
            .is_ok_and(|address| address.is_ipv4())
        {
            let reply = self.send_early_and(b"PASV")?;
            if let Some(port) = passive::pasv_port(&reply) {
                return Ok(port);
            }
            refusal = Some(reply);
        }
        self.is_data_refused = refusal
            .as_ref()
            .is_some_and(|reply| reply.code() / 100 == 5);
        let reply = refusal.map(|reply| reply.to_string()).unwrap_or_default();
        Err(Fault::new(
            RemoteErrorKind::Disconnected,
            format!("no data connection: {reply}"),
        ))
    }

    fn send_early_and(&mut self, command: &[u8]) -> Result<Reply, Fault> {
        let mut lines = std::mem::take(&mut self.batch.early);
        lines.push(command.to_vec());
        let before = lines.len() - 1;
        if self.capabilities.learnt().has_pipelining {
            self.control.send(&lines)?;
            for _ in 0..before {
                let reply = self.control.read_reply()?;
                self.replies.push(reply);
            }
            return self.read_behind(before);
        }
        let mut last = None;
        for line in lines {
            self.replies.extend(last.take());
            self.control.send(&[line])?;
            last = Some(self.control.read_reply()?);
        }
        last.ok_or_else(|| Fault::new(RemoteErrorKind::Protocol, "nothing was sent"))
    }

    /// Reads the reply of a command that left behind `before` others. A server that answers the first and then falls
    /// silent cannot take batches, which is remembered.
    fn read_behind(&mut self, before: usize) -> Result<Reply, Fault> {
        let reply = self.control.read_reply();
        if let Err(fault) = &reply
            && before > 0
            && matches!(fault.kind, RemoteErrorKind::TimedOut(_))
        {
            log::warn!("the server does not answer commands sent together; sending one by one");
            self.capabilities
                .learn(|learnt| learnt.has_pipelining = false);
        }
        reply
    }

    /// Whether commands leave together.
    pub(super) fn is_batched(&self) -> bool {
        self.capabilities.learnt().has_pipelining
    }

    /// Reads the replies of the commands that left behind suppaftp's.
    pub(super) fn read_followers(&mut self, count: usize) -> Result<Vec<Reply>, Fault> {
        (0..count).map(|_| self.read_behind(1)).collect()
    }

    /// Handles one command line of suppaftp's.
    fn send_for_client(&mut self, line: &[u8]) -> Result<(), Fault> {
        if let Some(left) = self.setup_commands.checked_sub(1) {
            self.setup_commands = left;
            self.answer(200);
            return Ok(());
        }
        if line == b"EPSV" {
            return self.answer_epsv();
        }
        let is_batched = self.capabilities.learnt().has_pipelining;
        if is_batched && self.batch.substitute.is_some() && line.starts_with(b"USER ") {
            self.batch.held.push(undouble_iac(line));
            self.answer(331);
            return Ok(());
        }
        // suppaftp doubles 0xFF; whether that is right for this server is decided in `Control::send`.
        let mut command = Zeroizing::new(undouble_iac(line));
        if line.starts_with(b"PASS ")
            && let Some(substitute) = self.batch.substitute.take()
        {
            command = substitute;
        }
        let mut lines = std::mem::take(&mut self.batch.early);
        lines.append(&mut self.batch.held);
        let before = lines.len();
        if is_batched {
            let followers = std::mem::take(&mut self.batch.followers);
            let all: Vec<&[u8]> = lines
                .iter()
                .map(Vec::as_slice)
                .chain([command.as_slice()])
                .chain(followers.iter().map(Vec::as_slice))
                .collect();
            self.control.send(&all)?;
            self.unread = before;
            return Ok(());
        }
        for line in lines {
            self.control.send(&[line])?;
            let reply = self.control.read_reply()?;
            let is_refusal = reply.is_refusal();
            self.replies.push(reply.clone());
            if is_refusal {
                // What follows depends on it.
                self.answer(reply.code());
                return Ok(());
            }
        }
        self.control.send(&[command.as_slice()])
    }

    fn answer_epsv(&mut self) -> Result<(), Fault> {
        self.prepare_data()?;
        if let Some(refused) = self.replies.iter().find(|reply| reply.is_refusal()) {
            // The `CWD` that went along failed; the data connection stays for another time.
            let code = refused.code();
            self.answer(code);
            return Ok(());
        }
        self.data = self.warm.take().map(|warm| warm.socket);
        // The port is never used: the connection is there already.
        self.for_client.extend(b"229 ready (|||1|)\r\n");
        Ok(())
    }

    fn answer(&mut self, code: u16) {
        self.for_client
            .extend(format!("{code:03} -\r\n").into_bytes());
    }

    /// Has one reply ready for suppaftp.
    fn read_for_client(&mut self) -> Result<(), Fault> {
        if !self.for_client.is_empty() {
            return Ok(());
        }
        self.send_content();
        let before = std::mem::take(&mut self.unread);
        for index in 0..before {
            let reply = self.read_behind(index)?;
            self.replies.push(reply);
        }
        let reply = self.read_behind(before)?;
        self.answer(reply.code());
        self.replies.push(reply);
        Ok(())
    }

    /// Writes the small upload's bytes behind its STOR. A failure is kept for the end: the reply may tell
    /// more.
    fn send_content(&mut self) {
        let Some(content) = self.batch.content.take() else {
            return;
        };
        let Some(socket) = self.data.take() else {
            return;
        };
        let sent = passive::write_all(&socket, &content, self.timeout, || ())
            .and_then(|()| socket.shutdown(std::net::Shutdown::Write));
        if let Err(error) = sent {
            log::debug!(
                "{}: writing ahead of the reply: {error}",
                self.control.number()
            );
            self.content_error = Some(error);
        }
    }

    /// Hands the data connection to suppaftp; keeps a second handle where the content is to be written from here.
    fn hand_over_data(&mut self) -> io::Result<TcpStream> {
        let socket = self.data.take().ok_or(io::ErrorKind::NotConnected)?;
        if self.batch.content.is_some() {
            self.data = Some(socket.try_clone()?);
        }
        Ok(socket)
    }

    fn note(&mut self, fault: Fault) -> io::Error {
        let error = io::Error::other(fault.detail.clone());
        self.fault = Some(fault);
        error
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("control", &self.control)
            .finish_non_exhaustive()
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
