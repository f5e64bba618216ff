//! One session: a logged-in control connection that is idle, ready for the next command.
//!
//! A session is good only while every reply has been read ([`Session::is_usable`]); after anything else it is thrown away. While
//! it transfers something it is of another type, [`Transfer`](super::transfer::Transfer), so that no command can be sent
//! meanwhile.

mod active;
mod content;
mod ending;
mod offset;
mod opening;

pub(super) use opening::Opened;

use std::{
    fmt,
    net::TcpStream,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    before::Before,
    capabilities::Capabilities,
    control::Control,
    conversation::{Conversation, Locked},
    deadline::Deadline,
    dialer::Dialer,
    next_data::NextData,
    pace::Patience,
    passive::Passive,
    reply::{Failure, Fault, Reply},
    shortcuts::{Following, Technique},
    tls,
    trace::SessionNumber,
};

/// How long a server may take for two commands at once when nobody waits for it. 5 s: who comes meanwhile and finds no other session waits.
const BATCH_RETRY_WAIT: Duration = Duration::from_secs(5);

/// An idle session.
pub(super) struct Session {
    talk: Conversation,
    next: NextData,
    capabilities: Arc<Capabilities>,
    /// What is asked of its data connections.
    patience: Patience,
    /// What the data connections of a protected session share with its control connection.
    tls: Option<tls::Session>,
    number: SessionNumber,
    /// When the last request on it ended.
    pub(super) used: Instant,
    /// Whether it has answered anything since it was checked out.
    pub(super) has_answered: bool,
    /// Whether the last transfer began at an offset.
    has_offset: bool,
    /// Whether the last transfer's command left before its data connection was there.
    was_early: bool,
    followers: Followers,
}

/// Commands that left after a transfer's own, whose replies are still to be read.
#[derive(Debug, Clone, Copy, Default)]
struct Followers {
    count: usize,
    following: Following,
}

impl Session {
    /// A session on a control connection whose greeting was read.
    pub(super) fn new(
        control: Control,
        capabilities: &Arc<Capabilities>,
        dialer: &Arc<Dialer>,
        patience: Patience,
        tls: Option<tls::Session>,
    ) -> Result<Self, Fault> {
        Ok(Self {
            number: control.number(),
            talk: Conversation::new(control)?,
            next: NextData::new(capabilities, dialer, patience),
            capabilities: Arc::clone(capabilities),
            patience,
            tls,
            used: Instant::now(),
            has_answered: false,
            has_offset: false,
            was_early: false,
            followers: Followers::default(),
        })
    }

    /// The number in the trace.
    pub(super) fn number(&self) -> SessionNumber {
        self.number
    }

    /// The control connection, for the login and for the wait at the end of an upload.
    pub(super) fn control(&self) -> Locked<'_> {
        self.talk.control()
    }

    /// The control connection's socket.
    pub(super) fn control_socket(&self) -> Arc<TcpStream> {
        Arc::clone(self.control().socket())
    }

    /// Gives the session up: no command is sent on it any more, and nothing waits for it.
    pub(super) fn give_up(&self) {
        self.control().give_up();
    }

    /// Gives what follows on this session this deadline.
    pub(super) fn set_deadline(&self, deadline: Deadline) {
        self.control().set_deadline(deadline);
    }

    /// Whether it is in step: nothing is left unread, the next command gets its own reply.
    pub(super) fn is_usable(&self) -> bool {
        let control = self.control();
        let is_in_step = if self.next.is_asked() {
            control.owes_only_one()
        } else {
            control.is_in_step()
        };
        is_in_step && self.followers.count == 0
    }

    /// Whether the server has neither closed it nor said anything that was not asked for. Never waits.
    pub(super) fn is_alive(&mut self) -> bool {
        self.next.read_arrived_answer(&mut self.talk.control())
    }

    /// Its next data connection.
    pub(super) fn next_data(&mut self) -> &mut NextData {
        &mut self.next
    }

    /// What its protection is, if it has one.
    pub(super) fn protocol(&self) -> Option<tls::Protocol> {
        self.control().protocol()
    }

    /// Whether its connections are protected.
    pub(super) fn is_protected(&self) -> bool {
        self.tls.is_some()
    }

    /// Begins its next data connection.
    pub(super) fn prepare_data(&mut self) -> Result<(), Fault> {
        let mut control = self.talk.control();
        self.next.begin(&mut control, &mut Before::default())
    }

    /// The same, anew when the one there is has got old.
    pub(super) fn warm_up(&mut self) -> Result<(), Fault> {
        if self.next.is_old() {
            self.next.close();
        }
        self.prepare_data()
    }

    /// Does TLS's handshake on it, where it can be done early and until the session `is_wanted`.
    pub(super) fn shake_hands_early(&mut self, is_wanted: impl Fn() -> bool) {
        if let Some(tls) = &self.tls {
            self.next.shake_hands(tls, is_wanted);
        }
    }

    /// The server's own reply when it is asked to listen in this way; its port is not used.
    pub(super) fn ask_passive(&mut self, passive: Passive) -> Result<Reply, Fault> {
        let mut before = Before::new(self.announcement(b"LIST").into_iter().collect());
        let mut control = self.talk.control();
        self.next.ask_only(&mut control, &mut before, passive)
    }

    /// Whether the last transfer's command left before its data connection was there.
    pub(super) fn was_early(&self) -> bool {
        self.was_early
    }

    /// Whether transfers are announced by PRET. In active mode nothing is asked for that needs it.
    fn is_announced(&self) -> bool {
        self.capabilities.learnt().needs_pret && self.next.is_ours()
    }

    /// What has to be said of a transfer before its data connection is asked for, if anything.
    fn announcement(&self, command: &[u8]) -> Option<Vec<u8>> {
        self.is_announced().then(|| [b"PRET ", command].concat())
    }

    /// Sends commands in one write where the server takes that, and reads all their replies. When there is no data connection
    /// for the next transfer yet, it is asked for after them; the reply to that is left for later.
    pub(super) fn exchange<L: AsRef<[u8]>>(
        &mut self,
        verb: &'static str,
        lines: &[L],
    ) -> Result<Vec<Reply>, Failure> {
        let mut replies = Vec::with_capacity(lines.len());
        let outcome = self.send_and_read(lines, &mut replies);
        self.has_answered |= !replies.is_empty();
        let outcome = outcome.and_then(|()| self.talk.control().check_step());
        match outcome {
            Ok(()) => Ok(replies),
            Err(fault) => Err(Failure::Broken(verb, fault)),
        }
    }

    fn send_and_read<L: AsRef<[u8]>>(
        &mut self,
        lines: &[L],
        replies: &mut Vec<Reply>,
    ) -> Result<(), Fault> {
        let control = &mut *self.talk.control();
        let Some(passive) = self.next.may_ask(control) else {
            if !self.capabilities.may(Technique::Batch) {
                self.next.read_answer(control)?;
            }
            if !self.next.is_asked() {
                return control.exchange(lines, replies);
            }
            control.send(lines)?;
            self.next.read_answer(control)?;
            return control.read_replies(0..lines.len(), replies);
        };
        let lines = lines.iter().map(AsRef::as_ref);
        let all: Vec<&[u8]> = lines.chain([passive.command()]).collect();
        control.send(&all)?;
        self.next.set_asked(passive);
        control.read_replies(0..all.len() - 1, replies)
    }

    /// Sends one command and reads its reply.
    pub(super) fn command(&mut self, verb: &'static str, line: &[u8]) -> Result<Reply, Failure> {
        let answered = self.next.read_answer(&mut self.talk.control());
        let replied = answered.and_then(|()| self.talk.command(line));
        let reply = replied.map_err(|fault| Failure::Broken(verb, fault))?;
        self.has_answered = true;
        Ok(reply)
    }

    /// Sends two commands that change nothing in one write. When one is not answered, the session is of no more use.
    pub(super) fn try_batch(&mut self) -> Result<(), Fault> {
        let control = &mut *self.talk.control();
        self.next.read_answer(control)?;
        control.set_deadline(control.deadline().capped(BATCH_RETRY_WAIT));
        control.send(&["TYPE I", "PWD"])?;
        control.read_reply()?;
        control.read_reply()?;
        Ok(())
    }

    /// Says good-bye and does not wait for long.
    pub(super) fn quit(mut self) {
        self.set_deadline(Deadline::after(Duration::from_millis(500)));
        if self.is_alive() {
            let _ = self.command("QUIT", b"QUIT");
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}
