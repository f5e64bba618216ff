//! A transfer, from the first question to the server's go-ahead: ask, connect, command, bytes, reply.
//!
//! None of the steps is waited for before the next one needs it, as far as the server takes that (`shortcuts.rs`). The command leaves
//! right behind the SYN of its data connection: a server can send data one round trip after TCP's handshake at the earliest. A small
//! upload's bytes leave behind its STOR, or behind TLS's handshake.

use std::{io, net::Shutdown, time::Duration};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::{Followers, Session};
use crate::{
    ftp::{
        active::Inward,
        before::Before,
        capabilities::Capabilities,
        command::{Answers, DataCommand},
        control::Control,
        conversation::Locked,
        data::{DataConnection, DataStream},
        next_data::NextData,
        pace::Patience,
        passive::Passive,
        reply::{Failure, Fault, Reply},
        shortcuts::{Following, Technique},
        tls,
    },
    remote::{Phase, RemoteErrorKind},
};

/// How long a server may take to say why it has closed a data connection before all was sent. 2 s: it has said so already,
/// or does not know of it (seen on pyftpdlib), and would wait for the data much longer.
const LAST_WORD_WAIT: Duration = Duration::from_secs(2);

/// A transfer that the server has agreed to.
#[derive(Debug)]
pub(in crate::ftp) struct Opened {
    /// Its bytes.
    pub(in crate::ftp) data: DataStream,
    /// What was refused before it: the transfer runs, but in the wrong directory or from the wrong offset.
    pub(in crate::ftp) refused: Option<Failure>,
    /// Whether the server has agreed to the range; else it sends all up to the file's end.
    pub(in crate::ftp) is_bounded: bool,
    /// The answers to the questions that left before it.
    pub(in crate::ftp) told: Vec<Reply>,
    /// What went wrong on its data connection before the go-ahead.
    pub(in crate::ftp) lost: Option<io::Error>,
}

/// A transfer that is being opened.
pub(super) struct Opening<'a> {
    pub(super) control: Locked<'a>,
    pub(super) capabilities: &'a Capabilities,
    pub(super) patience: Patience,
    pub(super) wanted: &'a DataCommand<'a>,
    /// The command itself.
    line: Vec<u8>,
    pub(super) next: &'a mut NextData,
    pub(super) tls: Option<&'a tls::Session>,
    pub(super) before: Before,
    /// The data connection, once it was begun.
    pub(super) data: Option<DataConnection>,
    /// The one that the server is to make, in active mode.
    pub(super) inward: Option<Inward>,
    /// What is left to send of [`DataCommand::content`].
    pub(super) content: Option<&'a [u8]>,
    /// Whether the stream has begun on it, see [`Opening::begin_stream`].
    is_begun: bool,
    /// Whether the command has been sent.
    is_sent: bool,
    /// How many commands left before the command whose replies are still to be read.
    unread: usize,
    /// Whether the command left before its data connection was there.
    was_early: bool,
    pub(super) lost: Option<io::Error>,
    followers: Followers,
}

impl Session {
    /// Starts a transfer. After an `Err` the session is idle again, if it is usable at all.
    ///
    /// # Errors
    ///
    /// A refusal of the directory, the offset or the command itself.
    pub(in crate::ftp) fn open(&mut self, wanted: &DataCommand<'_>) -> Result<Opened, Failure> {
        self.was_early = false;
        let mut wanted = wanted.clone();
        let is_batched = self.capabilities.may(Technique::Batch);
        if !is_batched && let Some(dir) = wanted.cwd.take() {
            // Before EPSV even: libunftp gives a data connection the directory that was current when it was opened.
            let reply = self.command("CWD", &[b"CWD ", dir.as_slice()].concat())?;
            if !reply.is_done() {
                return Err(Failure::Refused("CWD", reply));
            }
        }
        let wanted = &self.settle_offset(&wanted)?;
        let announcement = self.announcement(&wanted.line());
        let is_announced = announcement.is_some();
        let cwd = wanted.cwd.iter();
        let cwd = cwd.map(|dir| [b"CWD ", dir.as_slice()].concat());
        let before = Before::new(cwd.chain(announcement).collect());
        let mut opening = self.opening(wanted, before);
        let outcome = opening.run();
        let end = opening.end();
        self.judge(wanted, is_announced, outcome, end)
    }

    fn opening<'a>(&'a mut self, wanted: &'a DataCommand<'a>, before: Before) -> Opening<'a> {
        Opening {
            control: self.talk.control(),
            capabilities: &self.capabilities,
            patience: self.patience,
            wanted,
            line: wanted.line(),
            next: &mut self.next,
            tls: self.tls.as_ref(),
            before,
            data: None,
            inward: None,
            content: wanted.content,
            is_begun: false,
            is_sent: false,
            unread: 0,
            was_early: false,
            lost: None,
            followers: Followers::default(),
        }
    }

    /// What came of it.
    fn judge(
        &mut self,
        wanted: &DataCommand<'_>,
        is_announced: bool,
        outcome: Result<Option<Reply>, Fault>,
        end: End,
    ) -> Result<Opened, Failure> {
        let broken = |fault| Failure::Broken(wanted.verb, fault);
        self.was_early = end.was_early;
        self.followers = end.followers;
        let answers = Answers::read(wanted, is_announced, end.before.replies());
        self.has_answered |= !end.before.replies().is_empty() || matches!(outcome, Ok(Some(_)));
        if matches!(answers.refused, Some(Failure::Refused("REST", _))) {
            self.has_offset = false;
        }
        let reply = outcome.map_err(broken)?;
        match (reply, end.data) {
            (Some(reply), Some(data)) if is_go_ahead(&reply) => {
                let data = data.into_stream(self.tls.as_ref()).map_err(|error| {
                    self.give_up();
                    broken(Fault::from_io(&error, Phase::Data))
                })?;
                Ok(Opened {
                    data,
                    refused: answers.refused,
                    is_bounded: answers.is_bounded,
                    told: answers.told,
                    lost: end.lost,
                })
            }
            (reply, data) => {
                drop(data);
                if !wanted.followers.is_empty() {
                    self.read_refused_followers(wanted.verb)?;
                }
                let refused = reply.map(|reply| Failure::Refused(wanted.verb, reply));
                Err(answers
                    .refused
                    .or(refused)
                    .unwrap_or_else(|| broken(Fault::new(RemoteErrorKind::Protocol, "no reply"))))
            }
        }
    }
}

/// Whether the server has agreed to a transfer: 125 or 150 (RFC 959 section 5.4).
fn is_go_ahead(reply: &Reply) -> bool {
    matches!(reply.code(), 125 | 150)
}

/// What is left of it when all steps are done, or one has failed.
struct End {
    before: Before,
    data: Option<DataConnection>,
    was_early: bool,
    lost: Option<io::Error>,
    followers: Followers,
}

impl Opening<'_> {
    fn end(self) -> End {
        End {
            before: self.before,
            data: self.data,
            was_early: self.was_early,
            lost: self.lost,
            followers: self.followers,
        }
    }

    /// All the steps; the reply to the command, `None` when it was not sent because of a refusal before it.
    fn run(&mut self) -> Result<Option<Reply>, Fault> {
        self.ask()?;
        if self.before.refusal().is_some() {
            // What was prepared stays for another time.
            return Ok(None);
        }
        self.connect()?;
        if !self.send_command()? {
            return Ok(None);
        }
        if self.inward.is_none() {
            self.send_plain_content()?;
        }
        let mut reply = self.read_reply()?;
        if reply.is_preliminary() {
            reply = self.accept(reply)?;
        }
        if reply.is_preliminary() {
            self.complete()?;
        }
        Ok(Some(reply))
    }

    /// Asks where the data connection goes, unless that is known; in active mode says where we listen.
    fn ask(&mut self) -> Result<(), Fault> {
        if self.next.is_ours() {
            self.next.begin(&mut self.control, &mut self.before)?;
        } else {
            self.listen()?;
        }
        let wanted = self.wanted;
        self.before.extend(wanted.held());
        Ok(())
    }

    /// Takes the data connection, as far as it has come; waits for it unless the command may leave before.
    fn connect(&mut self) -> Result<(), Fault> {
        let Some((data, is_patient)) = self.next.take() else {
            return Ok(());
        };
        let is_open = data.is_open();
        self.data = Some(data);
        if is_patient && !is_open {
            self.finish_connecting()?;
        }
        self.was_early = self.data.as_ref().is_some_and(|data| !data.is_open());
        self.begin_stream();
        Ok(())
    }

    /// Sends the command and what goes along with it, in one write where the server takes that. `false` when a command before it
    /// was refused, on which it depends.
    fn send_command(&mut self) -> Result<bool, Fault> {
        let before = self.before.take();
        if !self.capabilities.may(Technique::Batch) {
            for line in before {
                self.control.send(&[line])?;
                let reply = self.control.read_reply()?;
                let is_refusal = reply.is_refusal();
                self.before.push(reply);
                if is_refusal {
                    return Ok(false);
                }
            }
            self.control.send(&[&self.line])?;
            self.is_sent = true;
            return Ok(true);
        }
        let wanted = self.wanted;
        let followers = match wanted.following {
            Following::Command => wanted.followers.as_slice(),
            Following::End => &[],
        };
        let asked = self.next.may_ask(&self.control);
        let asked = asked.filter(|_| wanted.asks_next);
        let lines = before.iter().map(Vec::as_slice);
        let lines = lines.chain([self.line.as_slice()]);
        let lines = lines.chain(followers.iter().map(Vec::as_slice));
        let lines: Vec<&[u8]> = lines.chain(asked.map(Passive::command)).collect();
        self.control.send(&lines)?;
        self.is_sent = true;
        self.note_followers(followers.len());
        if let Some(passive) = asked {
            self.next.set_asked(passive);
        }
        self.unread = before.len();
        Ok(true)
    }

    /// Reads the replies to what left before the command, and to the command.
    fn read_reply(&mut self) -> Result<Reply, Fault> {
        let unread = std::mem::take(&mut self.unread);
        for earlier in 0..unread {
            let reply = self.read_next(earlier)?;
            if !self.is_port_reply(earlier, &reply)? {
                self.before.push(reply);
            }
        }
        self.read_next(unread)
    }

    /// Reads the next reply; meanwhile the data connection gets on.
    fn read_next(&mut self, earlier: usize) -> Result<Reply, Fault> {
        const TECHNIQUE: Technique = Technique::EarlyCommand;
        self.await_data()?;
        if self.was_early && self.capabilities.is_untried(TECHNIQUE) {
            return self.control.on_trial(TECHNIQUE, Control::read_reply);
        }
        self.control.read_next(earlier)
    }

    /// Waits until the data connection is there, or the server has something to say.
    fn await_data(&mut self) -> Result<(), Fault> {
        self.accept_early()?;
        if self.control.has_inbox() || self.lost.is_some() {
            return Ok(());
        }
        let deadline = self.control.deadline();
        let Some(data) = &mut self.data else {
            return Ok(());
        };
        let outcome = data.finish_unless(self.control.socket(), deadline);
        self.judge_connecting(outcome)?;
        self.begin_stream();
        self.shake_hands()
    }

    /// Waits until the data connection is there.
    pub(super) fn finish_connecting(&mut self) -> Result<(), Fault> {
        let deadline = self.control.deadline();
        if let Some(data) = &mut self.data
            && self.lost.is_none()
        {
            let outcome = data.finish(deadline);
            self.judge_connecting(outcome)?;
            self.begin_stream();
        }
        Ok(())
    }

    fn judge_connecting(&mut self, outcome: io::Result<()>) -> Result<(), Fault> {
        let Err(error) = outcome else { return Ok(()) };
        let was_there = error.kind() == io::ErrorKind::ConnectionReset;
        if self.was_early && was_there && self.control.wait_readable(LAST_WORD_WAIT)? {
            // Closed by a server that has refused the command: its reply says why. If not, this is reported at the end.
            self.lost = Some(error);
            return Ok(());
        }
        if self.was_early {
            // The command is out, and waits at the server for a connection that does not come.
            self.control.give_up();
        }
        Err(Fault::from_io(&error, Phase::Connect))
    }

    /// Does what is done as soon as the data connection is there: sends the `ClientHello`, or closes our half of a download's,
    /// that not before the command. ProFTPD sends its last reply only when it has seen the end from us, which then is there
    /// already. Under TLS that half is needed for the handshake, and closed behind it.
    pub(super) fn begin_stream(&mut self) {
        let Some(data) = self.data.as_mut().filter(|data| data.is_open()) else {
            return;
        };
        let ends_early = self.wanted.ends_early;
        // pyftpdlib takes an end that comes before the command for the end of all.
        if self.is_begun || (self.tls.is_none() && !self.is_sent) {
            return;
        }
        self.is_begun = true;
        let begun = match self.tls {
            // The first read or write fails as well.
            Some(tls) => data.begin_tls(tls, ends_early),
            None if ends_early => data.socket().shutdown(Shutdown::Write),
            None => Ok(()),
        };
        if let Err(error) = begun {
            log::debug!("{}: beginning a stream: {error}", self.control.number());
        }
    }

    /// Goes on with TLS's handshake until it is over, has failed, or the server says something on the control connection. Once
    /// it is over, a small upload's bytes follow, whatever the server has said; not if it was over before the command, which
    /// pyftpdlib may come to read behind them, and closes the connection then.
    fn shake_hands(&mut self) -> Result<(), Fault> {
        let deadline = self.control.deadline();
        let Some((socket, Some(channel))) = self.data.as_mut().map(DataConnection::parts) else {
            return Ok(());
        };
        let was_over = channel.is_established();
        loop {
            match channel.advance(socket.socket()) {
                Ok(false) => {}
                Ok(true) if was_over => return Ok(()),
                Ok(true) => return self.send_protected_content(),
                // The first read or write fails as well.
                Err(_) => return Ok(()),
            }
            let left = deadline.remaining().map(Timespec::try_from);
            let Some(Ok(left)) = left else { return Ok(()) };
            let control = &**self.control.socket();
            let mut waited = [socket.socket(), control].map(|fd| PollFd::new(fd, PollFlags::IN));
            if rustix::event::poll(&mut waited, Some(&left)).is_err() {
                return Ok(());
            }
            if !matches!(waited, [_, control] if control.revents().is_empty()) {
                return Ok(());
            }
        }
    }

    /// So many commands have left after the transfer's own.
    pub(super) fn note_followers(&mut self, count: usize) {
        self.followers = Followers {
            count,
            following: self.wanted.following,
        };
    }

    /// The transfer is on: what remains of making its data connection is waited for.
    fn complete(&mut self) -> Result<(), Fault> {
        self.finish_connecting()?;
        self.send_protected_content()?;
        if let Some(error) = &self.lost
            && !self.control.wait_readable(LAST_WORD_WAIT)?
        {
            // The server waits for what could not be sent.
            let fault = Fault::from_io(error, Phase::Data);
            self.control.give_up();
            return Err(fault);
        }
        if self.was_early {
            self.capabilities.prove(Technique::EarlyCommand);
        }
        Ok(())
    }
}
