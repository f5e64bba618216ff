//! What lies under suppaftp: it believes to speak to a TLS stream, and what it writes and reads passes through here.
//!
//! suppaftp alone pays four round trips for a read at an offset (EPSV, connect, REST, RETR), waits without limit, and
//! takes a banner line such as "100 users online" for a reply. Through its public `TlsStream` and
//! `TlsConnector` traits the transport makes of it:
//!
//! 1. Each reply is read whole and parsed by [`super::reply`]; suppaftp gets one clean line with the code, the session
//!    gets the whole reply ([`Transport::take_replies`]).
//! 2. suppaftp's `EPSV` never goes out as such: [`Transport::prepare_data`] finds a data connection (the one begun ahead, EPSV,
//!    PASV) and suppaftp is told that all went well; how that is made in no round trip is in `transport/data.rs`.
//! 3. Commands held back ([`Batch`]) leave in one write with the command that follows.
//! 4. A small upload's bytes are written right behind its STOR.
//! 5. Every wait has the deadline of the request ([`super::control`]).
//! 6. The password is put in here: suppaftp, which would log it, never sees it.
//!
//! This relies on suppaftp writing each command line with one `write_all`, so its version is pinned.

mod content;
mod data;
mod inward;
mod protected;
mod silence;
mod wire;

pub(super) use data::Readiness;
pub(super) use wire::{Connector, Wire, data_source};

use std::{
    collections::VecDeque,
    fmt, io,
    net::TcpStream,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use zeroize::Zeroizing;

use self::{data::Ahead, inward::Inward};
use super::{
    capabilities::{Capabilities, Following, Learnt, Server, Shortcut},
    control::Control,
    dialer::Dialer,
    passive::{DataConnection, Passive},
    reply::{Fault, Reply},
    tls,
};
use crate::remote::RemoteErrorKind;

/// What goes along with the next command that suppaftp sends.
#[derive(Default)]
pub(super) struct Batch {
    /// May leave as soon as anything does: `CWD` goes with an EPSV when there is no warm data connection.
    pub(super) early: Vec<Vec<u8>>,
    /// Leave right before the command: `REST`.
    pub(super) held: Vec<Vec<u8>>,
    /// Leave behind it; their replies are read by [`Transport::read_followers`].
    pub(super) followers: Vec<Vec<u8>>,
    /// When they leave: with it, or behind the end of `content`.
    pub(super) following: Following,
    /// The line that is sent in place of suppaftp's PASS; USER waits for it.
    pub(super) substitute: Option<Zeroizing<Vec<u8>>>,
    /// Whether an EPSV leaves behind those.
    pub(super) asks_next: bool,
    /// Whether our half of the data connection is closed as soon as it is there.
    pub(super) ends_early: bool,
    /// The first bytes of the upload that follows.
    pub(super) content: Option<Vec<u8>>,
    /// Whether they are not all of it.
    pub(super) goes_on: bool,
}

/// The transport of one session, shared by the session and by what suppaftp holds.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, not states of one thing"
)]
pub(super) struct Transport {
    control: Control,
    capabilities: Arc<Capabilities>,
    dialer: Arc<Dialer>,
    /// The longest wait without progress on a data connection.
    timeout: Duration,
    ahead: Ahead,
    /// Whether one begun ahead was refused.
    is_ahead_refused: bool,
    /// Whether the last EPSV and PASV were refused for good.
    is_data_refused: bool,
    /// Whether EPSV is to leave before the next reply is read.
    is_ask_due: bool,
    /// Whether the reply to an EPSV comes before those to the commands sent since.
    is_answer_due: bool,
    /// Whether the next command waits for its data connection.
    is_patient: bool,
    /// Whether the last one did not.
    was_early: bool,
    /// The connection that suppaftp is about to take over, or has taken over before it was there.
    data: Option<DataConnection>,
    /// The data connection that the server is to make, in active mode.
    inward: Option<Inward>,
    /// The one that it has made, to be put in the place of what suppaftp was handed.
    accepted: Option<TcpStream>,
    batch: Batch,
    /// Commands sent, before the one that suppaftp waits for, whose replies are still to be read.
    unread: usize,
    /// How many left behind a transfer's command, with replies still to be read.
    followers_sent: usize,
    replies: Vec<Reply>,
    fault: Option<Fault>,
    /// What went wrong while the first bytes of an upload were written.
    content_error: Option<io::Error>,
    for_client: VecDeque<u8>,
    /// How many of suppaftp's next commands belong to its TLS set-up and go nowhere.
    setup_commands: u8,
    /// What the data connections of a protected session share with its control connection.
    tls: Option<tls::Session>,
    /// Whether the next reply may not come at all.
    is_silence_expected: bool,
    /// TLS on the connection that suppaftp is about to take over.
    channel: Option<tls::Channel>,
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
        dialer: Arc<Dialer>,
        timeout: Duration,
        tls: Option<tls::Session>,
    ) -> Shared {
        Arc::new(Mutex::new(Self {
            control,
            capabilities,
            dialer,
            timeout,
            ahead: Ahead::default(),
            is_ahead_refused: false,
            is_data_refused: false,
            is_ask_due: false,
            is_answer_due: false,
            is_patient: false,
            was_early: false,
            data: None,
            inward: None,
            accepted: None,
            batch: Batch::default(),
            unread: 0,
            followers_sent: 0,
            replies: Vec::new(),
            fault: None,
            content_error: None,
            for_client: VecDeque::new(),
            setup_commands: 0,
            tls,
            is_silence_expected: false,
            channel: None,
        }))
    }

    /// The control connection.
    pub(super) fn control(&mut self) -> &mut Control {
        &mut self.control
    }

    /// Sets what goes along with the next command.
    pub(super) fn set_batch(&mut self, batch: Batch) {
        self.batch = batch;
        self.drop_data();
        self.was_early = false;
        self.is_silence_expected = false;
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

    /// What went wrong while the first bytes of an upload were written, since this was last asked.
    pub(super) fn take_content_error(&mut self) -> Option<io::Error> {
        self.content_error.take()
    }

    fn learnt(&self) -> Learnt {
        self.capabilities.learnt()
    }

    /// Whether the session can take the next command.
    pub(super) fn is_usable(&self) -> bool {
        let is_in_step = match self.ahead {
            Ahead::Asked(_) => self.control.owes_only_one(),
            _ => self.control.is_in_step(),
        };
        is_in_step && self.unread == 0 && self.for_client.is_empty()
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

    /// What has to be said of a transfer before its data connection is asked for, if anything. In active mode nothing is asked for.
    pub(super) fn announcement(&self, command: &[u8]) -> Option<Vec<u8>> {
        self.is_announced().then(|| [b"PRET ", command].concat())
    }

    /// What the server says that it is.
    pub(super) fn server(&self) -> Server {
        self.capabilities.server()
    }

    /// Whether transfers are announced by PRET.
    pub(super) fn is_announced(&self) -> bool {
        self.learnt().needs_pret && self.dialer.active().is_none()
    }

    /// The server's own answer when it is asked to listen in this way, for who wants to see it. The next transfer asks anew.
    pub(super) fn ask_only(&mut self, passive: Passive) -> Result<Reply, Fault> {
        let early = self.announcement(b"LIST").into_iter().collect();
        self.set_batch(Batch {
            early,
            ..Batch::default()
        });
        self.read_answer()?;
        self.cool();
        let reply = self.send_early_and(passive.command());
        self.replies.clear();
        reply
    }

    /// Whether commands leave together.
    pub(super) fn is_batched(&self) -> bool {
        self.capabilities.learnt().has_pipelining
    }

    /// Reads the replies of so many commands that left behind another one.
    pub(super) fn read_all_behind(&mut self, count: usize) -> Result<Vec<Reply>, Fault> {
        (0..count).map(|_| self.read_behind(1)).collect()
    }

    /// Reads the replies to the commands that left behind a transfer's own.
    pub(in crate::ftp) fn read_followers(&mut self) -> Result<Vec<Reply>, Fault> {
        let count = std::mem::take(&mut self.followers_sent);
        let learnt = self.learnt();
        let state = match self.batch.following {
            Following::Command => learnt.followers,
            Following::End => learnt.end_followers,
        };
        // Who is lost over one way is spared the other.
        let fail = |learnt: &mut Learnt| {
            (learnt.followers, learnt.end_followers) = (Shortcut::Fails, Shortcut::Fails);
        };
        self.on_trial(state, fail, |control| {
            (0..count).map(|_| control.read_reply()).collect()
        })
    }

    /// Whether commands left behind the transfer's own whose replies are not read yet.
    pub(in crate::ftp) fn has_followers(&self) -> bool {
        self.followers_sent > 0
    }

    /// The replies have come in an order that makes no sense: the session is given up.
    pub(in crate::ftp) fn fail_followers(&mut self) {
        self.capabilities.fail_followers();
        self.control.give_up();
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
        let is_batched = self.learnt().has_pipelining;
        self.is_answer_due = matches!(self.ahead, Ahead::Asked(_));
        if self.is_answer_due && !is_batched {
            self.read_answer()?;
        }
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
            let followers = match self.batch.following {
                Following::Command => std::mem::take(&mut self.batch.followers),
                Following::End => Vec::new(),
            };
            let asked = self.passive().filter(|_| self.batch.asks_next);
            let all: Vec<&[u8]> = lines
                .iter()
                .map(Vec::as_slice)
                .chain([command.as_slice()])
                .chain(followers.iter().map(Vec::as_slice))
                .chain(asked.map(Passive::command))
                .collect();
            self.control.send(&all)?;
            self.followers_sent = followers.len();
            if let Some(passive) = asked {
                self.ahead = Ahead::Asked(passive);
            }
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
        if self.dialer.active().is_some() {
            self.listen()?;
        } else {
            self.prepare_data()?;
        }
        if let Some(refused) = self.replies.iter().find(|reply| reply.is_refusal()) {
            // The `CWD` that went along failed; the data connection stays for another time.
            let code = refused.code();
            self.answer(code);
            return Ok(());
        }
        self.ready_data()?;
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
        if self.ask()? {
            let reply = self.read_before_answer()?;
            self.answer(reply.code());
            self.replies.push(reply);
            return Ok(());
        }
        if std::mem::take(&mut self.is_silence_expected) {
            let reply = self.read_after_silence()?;
            self.answer(reply.code());
            self.replies.push(reply);
            return Ok(());
        }
        if self.is_answer_due {
            self.read_answer()?;
        }
        if self.inward.is_none() {
            self.send_content()?;
        }
        let before = std::mem::take(&mut self.unread);
        for index in 0..before {
            let reply = self.read_at(index)?;
            self.replies.extend(reply);
        }
        let mut reply = self.read_early(before)?;
        if reply.is_preliminary() {
            reply = self.accept(reply)?;
        }
        if reply.is_preliminary() {
            self.begin_data()?;
        }
        self.answer(reply.code());
        self.replies.push(reply);
        Ok(())
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
