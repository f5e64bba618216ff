//! The control connection: command lines out in one write, replies in, each wait with a deadline, and the trace.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use zeroize::Zeroizing;

use super::{
    capabilities::Capabilities,
    deadline::Deadline,
    reply::{Fault, Parsed, Reply, without},
    shortcuts::Technique,
    socket::{is_quiet, is_timeout},
    tls::{Broken, Channel, Protocol},
    trace::{SessionNumber, masked},
};
use crate::{
    config::Password,
    remote::{Phase, RemoteErrorKind},
};

/// How long a reply that ends with another code than it began with is left open for more lines. 1 s: longer than
/// lines of one reply are apart, short enough for the few servers that do this.
const STRAGGLER_WAIT: Duration = Duration::from_secs(1);

/// How long a reply may take while a technique is tried for the first time. 10 s: a server that falls silent over it is found
/// out, and there is still time for the plain exchange.
const TRIAL_WAIT: Duration = Duration::from_secs(10);

/// The control connection of one session.
#[derive(Debug)]
pub(super) struct Control {
    socket: Arc<TcpStream>,
    /// What protects it, from `AUTH TLS` on.
    tls: Option<Box<Channel>>,
    number: SessionNumber,
    capabilities: Arc<Capabilities>,
    inbox: Vec<u8>,
    deadline: Deadline,
    phase: Phase,
    pending: usize,
    is_broken: bool,
    slowest: Duration,
    /// The password, from the login on.
    secret: Option<Password>,
}

impl Control {
    /// Takes over a connected socket. `number` tells sessions apart in the trace.
    pub(super) fn new(
        socket: TcpStream,
        number: SessionNumber,
        capabilities: Arc<Capabilities>,
        deadline: Deadline,
    ) -> Self {
        Self {
            socket: Arc::new(socket),
            tls: None,
            number,
            capabilities,
            inbox: Vec::new(),
            deadline,
            phase: Phase::Login,
            pending: 1,
            is_broken: false,
            slowest: Duration::ZERO,
            secret: None,
        }
    }

    /// The socket, for its addresses.
    pub(super) fn socket(&self) -> &Arc<TcpStream> {
        &self.socket
    }

    /// The number in the trace.
    pub(super) fn number(&self) -> SessionNumber {
        self.number
    }

    /// Gives the following waits this deadline.
    pub(super) fn set_deadline(&mut self, deadline: Deadline) {
        self.deadline = deadline;
    }

    /// The deadline of the present request.
    pub(super) fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// Says that the login is over: from now on it is replies that are waited for.
    pub(super) fn set_logged_in(&mut self) {
        self.phase = Phase::Reply;
    }

    /// Leaves the password out of all that is shown of replies.
    pub(super) fn hide(&mut self, password: &Password) {
        self.secret = Some(password.clone());
    }

    /// Whether all replies have been read: the next one will answer the next command.
    pub(super) fn is_in_step(&self) -> bool {
        !self.is_broken && self.pending == 0 && self.inbox.is_empty()
    }

    /// Whether all replies but one have been read.
    pub(super) fn owes_only_one(&self) -> bool {
        !self.is_broken && self.pending == 1
    }

    /// Expects one reply less: the server has shown that it will not come.
    pub(super) fn forgo_reply(&mut self) {
        self.pending = self.pending.saturating_sub(1);
    }

    /// Gives the connection up if more has arrived than what was asked for: which reply belongs to which command is not known then.
    pub(super) fn check_step(&mut self) -> Result<(), Fault> {
        if self.pending > 0 || self.inbox.is_empty() {
            return Ok(());
        }
        self.give_up();
        // A last word shifts nothing.
        if self.inbox.starts_with(b"421") {
            return Ok(());
        }
        Err(Fault::new(
            RemoteErrorKind::Disconnected,
            "the server has sent more replies than commands",
        ))
    }

    /// Whether something has arrived and was not read yet.
    pub(super) fn has_inbox(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// Protects it from here on. What came in the clear behind the last reply may be somebody else's, and is refused.
    ///
    /// # Errors
    ///
    /// The connection is given up then.
    pub(super) fn protect(&mut self, mut channel: Channel) -> Result<(), Broken> {
        let outcome = if self.inbox.is_empty() {
            self.shake_hands(&mut channel)
        } else {
            Err(Broken::Injected)
        };
        if outcome.is_err() {
            channel.say_last_words(&self.socket);
            self.give_up();
            return outcome;
        }
        log::debug!("{}: {}", self.number, channel.description());
        self.tls = Some(Box::new(channel));
        Ok(())
    }

    /// What its protection is, if it has one.
    pub(super) fn protocol(&self) -> Option<Protocol> {
        self.tls.as_ref().map(|tls| tls.protocol())
    }

    fn shake_hands(&self, channel: &mut Channel) -> Result<(), Broken> {
        channel.start(&self.socket).map_err(Broken::Io)?;
        while !channel.is_established() {
            let left = self.deadline.remaining();
            let left = left.ok_or_else(|| Broken::Io(io::ErrorKind::TimedOut.into()))?;
            self.socket
                .set_read_timeout(Some(left))
                .and_then(|()| self.socket.set_write_timeout(Some(left)))
                .map_err(Broken::Io)?;
            channel.step(&self.socket)?;
        }
        Ok(())
    }

    /// Gives the connection up. The server sees our end behind all that was sent; its own end then shows that it has done with that.
    pub(super) fn give_up(&mut self) {
        if let (Some(tls), false) = (&mut self.tls, self.is_broken) {
            tls.say_last_words(&self.socket);
        }
        self.is_broken = true;
        // It may be gone already.
        let _ = self.socket.shutdown(std::net::Shutdown::Write);
    }

    /// Whether the server has said or closed anything since the last reply: a 421, or the end.
    pub(super) fn is_alive(&mut self) -> bool {
        self.is_in_step()
            && match &mut self.tls {
                Some(tls) => tls.is_quiet(&self.socket),
                None => is_quiet(&self.socket),
            }
    }

    /// Sends command lines in one write.
    pub(super) fn send<L: AsRef<[u8]>>(&mut self, lines: &[L]) -> Result<(), Fault> {
        let doubles_iac = self.capabilities.learnt().doubles_iac;
        // The batch may hold a password.
        let mut batch = Zeroizing::new(Vec::with_capacity(256));
        for line in lines {
            let line = line.as_ref();
            if line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
                return Err(Fault::new(
                    RemoteErrorKind::InvalidPath,
                    "a line break or NUL",
                ));
            }
            for byte in line {
                batch.push(*byte);
                if *byte == 0xFF && doubles_iac {
                    batch.push(0xFF);
                }
            }
            batch.extend_from_slice(b"\r\n");
            log::trace!("{} > {}", self.number, masked(line).escape_ascii());
        }
        if self.is_broken {
            return Err(Fault::new(
                RemoteErrorKind::Disconnected,
                "the session is closed",
            ));
        }
        if self.phase == Phase::Reply && self.pending == 0 && !self.is_alive() {
            // Read as the answer to this command it would shift all that follow.
            self.give_up();
            return Err(Fault::new(
                RemoteErrorKind::Disconnected,
                "the server has said something that nobody has asked for, or has gone",
            ));
        }
        let left = self.remaining()?;
        let sent = self
            .socket
            .set_write_timeout(Some(left))
            .and_then(|()| match &mut self.tls {
                Some(tls) => tls.write_all(&self.socket, &batch),
                None => (&*self.socket).write_all(&batch),
            });
        sent.map_err(|error| self.broken_by(&error))?;
        self.pending += lines.len();
        Ok(())
    }

    /// Sends commands, in one write where the server takes that, and reads the reply to each. Those read before a fault are in
    /// `replies` too.
    pub(super) fn exchange<L: AsRef<[u8]>>(
        &mut self,
        lines: &[L],
        replies: &mut Vec<Reply>,
    ) -> Result<(), Fault> {
        if self.capabilities.may(Technique::Batch) {
            self.send(lines)?;
            return self.read_replies(0..lines.len(), replies);
        }
        for line in lines {
            self.send(&[line])?;
            replies.push(self.read_reply()?);
        }
        Ok(())
    }

    /// Reads the replies to those of the commands sent together that stand at these places.
    pub(super) fn read_replies(
        &mut self,
        places: Range<usize>,
        replies: &mut Vec<Reply>,
    ) -> Result<(), Fault> {
        for earlier in places {
            replies.push(self.read_next(earlier)?);
        }
        Ok(())
    }

    /// Reads the reply to a command that was sent together with `earlier` ones. A server that answers the first and then falls
    /// silent cannot take commands together, which is remembered.
    pub(super) fn read_next(&mut self, earlier: usize) -> Result<Reply, Fault> {
        let deadline = self.deadline;
        if earlier > 0 && self.phase == Phase::Login {
            let batches = &self.capabilities.batches;
            self.deadline = batches.until_silent(deadline, self.slowest);
        }
        let since = Instant::now();
        let reply = self.read_reply();
        self.slowest = self.slowest.max(since.elapsed());
        self.deadline = deadline;
        if let Err(fault) = &reply
            && earlier > 0
            && matches!(fault.kind, RemoteErrorKind::TimedOut(_))
        {
            self.capabilities.note_batch_silent(self.slowest);
        }
        reply
    }

    /// What `work` reads, within a time that leaves enough for the plain exchange while `technique` is untried. Silence and a
    /// closed connection show that it fails, and count as a broken session, so that the caller takes another.
    pub(super) fn on_trial<T>(
        &mut self,
        technique: Technique,
        work: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        if !self.capabilities.is_untried(technique) {
            return work(self);
        }
        let deadline = self.deadline;
        self.set_deadline(deadline.capped(TRIAL_WAIT));
        let outcome = work(self);
        self.set_deadline(deadline);
        outcome.map_err(|fault| {
            let is_broken = matches!(
                fault.kind,
                RemoteErrorKind::TimedOut(Phase::Reply) | RemoteErrorKind::Disconnected
            );
            if !is_broken {
                return fault;
            }
            log::info!(
                "the server may not take what saves a round trip ({}): it gets the plain exchange",
                fault.detail
            );
            self.capabilities.give_up(technique);
            Fault::new(RemoteErrorKind::Disconnected, fault.detail)
        })
    }

    /// Reads the next reply. A 421 is a fault: the server is closing the connection.
    pub(super) fn read_reply(&mut self) -> Result<Reply, Fault> {
        loop {
            let plausible = match Reply::parse(&self.inbox) {
                Parsed::Complete(reply, used) => {
                    self.inbox.drain(..used);
                    return self.take(reply);
                }
                Parsed::Incomplete(plausible) => plausible,
                Parsed::Malformed => {
                    let text = without(&self.inbox, self.secret.as_ref());
                    let text = text.get(..60).unwrap_or(&text).escape_ascii().to_string();
                    self.give_up();
                    return Err(Fault::new(
                        RemoteErrorKind::Protocol,
                        format!("received {text}"),
                    ));
                }
            };
            if self.is_broken {
                return Err(Fault::new(
                    RemoteErrorKind::Disconnected,
                    "the session is closed",
                ));
            }
            let is_expected =
                self.phase != Phase::Login && self.capabilities.learnt().has_loose_ends;
            let plausible = match plausible {
                Some((reply, used)) if is_expected => {
                    self.inbox.drain(..used);
                    return self.take(reply);
                }
                other => other,
            };
            let left = self.remaining()?;
            let wait = if plausible.is_some() {
                left.min(STRAGGLER_WAIT)
            } else {
                left
            };
            match self.fill(wait) {
                Ok(()) => {}
                Err(error) if is_timeout(&error) && wait < left => {
                    let Some((reply, used)) = plausible else {
                        continue;
                    };
                    log::info!("the server ends replies with another code ({reply})");
                    self.capabilities
                        .learn(|learnt| learnt.has_loose_ends = true);
                    self.inbox.drain(..used);
                    return self.take(reply);
                }
                Err(error) => return Err(self.broken_by(&error)),
            }
        }
    }

    /// The next reply, if all of it has arrived. Never waits.
    pub(super) fn reply_now(&mut self) -> Result<Option<Reply>, Fault> {
        while let Parsed::Incomplete(_) = Reply::parse(&self.inbox) {
            if self.is_broken {
                return Ok(None);
            }
            let read = self.fill_now();
            if !read.map_err(|error| self.broken_by(&error))? {
                return Ok(None);
            }
        }
        self.read_reply().map(Some)
    }

    /// Takes in what has arrived; whether anything has.
    fn fill_now(&mut self) -> io::Result<bool> {
        match &mut self.tls {
            Some(tls) => {
                let before = self.inbox.len();
                tls.read_arrived(&self.socket, &mut self.inbox)?;
                Ok(self.inbox.len() > before)
            }
            None if is_quiet(&self.socket) => Ok(false),
            None => self.fill(Duration::from_millis(1)).map(|()| true),
        }
    }

    /// The reply that ends a transfer whose data connection is closed, when `reply` is the first that came after that.
    pub(super) fn last_word(&mut self, reply: Reply) -> Result<Reply, Fault> {
        let mut reply = reply;
        // Pure-FTPd 1.0.50 ends a download that we left early with "150 0.001 seconds (measured here), ...": its
        // total has the code of its beginning, and nothing follows.
        let is_total = |reply: &Reply| {
            let text = reply.first_line();
            reply.code() == 150 && text.windows(13).any(|words| words == b"measured here")
        };
        while reply.is_preliminary() {
            if is_total(&reply) {
                self.pending = self.pending.saturating_sub(1);
                break;
            }
            reply = self.read_reply()?;
        }
        Ok(reply)
    }

    /// Waits until a reply begins to arrive, but no longer than `wait`; whether it did.
    pub(super) fn wait_readable(&mut self, wait: Duration) -> Result<bool, Fault> {
        if !self.inbox.is_empty() || self.is_broken {
            return Ok(true);
        }
        match self.fill(wait) {
            Ok(()) => Ok(true),
            Err(error) if is_timeout(&error) => Ok(false),
            Err(error) => Err(self.broken_by(&error)),
        }
    }

    fn take(&mut self, reply: Reply) -> Result<Reply, Fault> {
        let reply = reply.hiding(self.secret.as_ref());
        log::trace!("{} < {reply}", self.number);
        if reply.is_closing() {
            self.give_up();
            return Err(Fault::new(RemoteErrorKind::Disconnected, reply.to_string()));
        }
        if !reply.is_preliminary() {
            self.pending = self.pending.saturating_sub(1);
        }
        Ok(reply)
    }

    /// Waits once for more, which need not be enough for a word: under TLS a record may have come in part.
    fn fill(&mut self, wait: Duration) -> io::Result<()> {
        self.socket.set_read_timeout(Some(wait))?;
        let is_open = match &mut self.tls {
            Some(tls) => tls.read_once(&self.socket, &mut self.inbox)?,
            None => self.read_once()? > 0,
        };
        if is_open {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the server closed the connection",
        ))
    }

    fn read_once(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 4096];
        let count = loop {
            match (&*self.socket).read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.inbox
            .extend_from_slice(chunk.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn remaining(&mut self) -> Result<Duration, Fault> {
        match self.deadline.remaining() {
            Some(left) => Ok(left),
            None => Err(self.broken_by(&io::ErrorKind::TimedOut.into())),
        }
    }

    fn broken_by(&mut self, error: &io::Error) -> Fault {
        self.give_up();
        Fault::from_io(error, self.phase)
    }
}
