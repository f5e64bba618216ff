//! The shortcuts: every technique that saves a round trip, one row each, and whether this server takes it.
//!
//! | technique | what leaves early, and what it saves | shown to work by | shown to fail by | instead |
//! |---|---|---|---|---|
//! | [`Batch`] | commands that belong together, in one write; a round trip each | (assumed) | silence after the first reply, at the login of 4 s; replies in another order there (libunftp) | one command at a time, and no other shortcut but [`Prepare`] and [`EarlyHandshake`] |
//! | [`Prepare`] | EPSV and connecting, while the session is idle; two round trips a transfer | (assumed) | a 5yz to EPSV and PASV outside a transfer; PRET (`Capabilities::learn_pret`); disorder at the login | EPSV, connect, command |
//! | [`AskAtEnd`] | EPSV with the close of a data connection, before the last reply is read; one | a 229 after the last reply | a reply in another order, silence, the connection's end | EPSV after the last reply |
//! | [`Follow`] | commands in one write with a transfer's own: what settles a small upload, the next EPSV; one or two | a TYPE after the first listing, and what settles an upload, answered after the transfer | an answer before the transfer's last reply (pyftpdlib), silence | [`FollowEnd`], or an exchange of its own |
//! | [`FollowEnd`] | what settles a small upload, 2 ms after the end of its bytes; one. pyftpdlib only | a 226 before the 213 | the 213 first three times in a row, a 4yz, silence | an exchange of its own |
//! | [`EarlyCommand`] | a transfer's command, right behind the SYN of its data connection; one | a 150 | a 425 or 426, silence, the connection's end | the command when the connection is there |
//! | [`EarlyEnd`] | our end of a download, before its data has come; half of one. `ProFTPD` only | the first listing comes whole | it breaks; it is fetched again | the end when all has come |
//! | [`EarlyNotice`] | the same under TLS, with `close_notify` before it. vsftpd, `ProFTPD` and Pure-FTPd only | likewise | likewise, or an end without `close_notify` | likewise |
//! | [`EarlyHandshake`] | TLS's handshake on a data connection, before its command; one. pyftpdlib only | the server's half comes | nothing comes for four round trips | the handshake with the command |
//! | [`EarlyPort`] | EPRT or PORT in one write with the command that needs it; one | (an EPRT that was answered alone) | a refusal, when both came together (pyftpdlib) | EPRT, and then the command |
//! | [`Bound`] | RANG in one write with RETR, so that a part of a file ends by itself; the close of the data connection and what was sent too much. `ProFTPD` only | it sends no more than was asked for | it sends more, or hangs up | closing the data connection |
//!
//! A small upload's bytes leave behind its STOR, or behind TLS's handshake, on every server (`session/opening.rs`): what a server
//! refuses it does not read, and no server was seen to mind.
//!
//! What was learnt holds for this mount, and for the next ones as long as the server says the same of itself, for 30 days at most
//! (`profile.rs`). [`Batch`], where silence spoke against it, is tried once more by each mount, on an idle session (`pool/idle.rs`). While [`AskAtEnd`], [`Follow`], [`FollowEnd`] or [`EarlyCommand`] is untried, a wait that it may be the reason
//! for is short (`Control::on_trial`).
//!
//! Those for one server are worth their lines: over 20 ms `cp -r` of 200 files of 4 KiB to pyftpdlib takes 4.8 s with
//! [`FollowEnd`] and 8.75 s without; [`EarlyHandshake`] takes one of three round trips from each download over TLS.

use serde::{Deserialize, Serialize};

use self::Technique::{
    AskAtEnd, Batch, Bound, EarlyCommand, EarlyEnd, EarlyHandshake, EarlyNotice, EarlyPort, Follow,
    FollowEnd, Prepare,
};
use super::capabilities::Server;

/// A technique that saves round trips. The table above says which, and how each shows that it works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Technique {
    /// Commands in one write.
    Batch,
    /// Data connections made while the session is idle.
    Prepare,
    /// EPSV with the end of a transfer's data.
    AskAtEnd,
    /// Commands in one write with a transfer's own.
    Follow,
    /// Commands right after the end of an upload's bytes.
    FollowEnd,
    /// A transfer's command before its data connection is there.
    EarlyCommand,
    /// Our end of a download before its data has come.
    EarlyEnd,
    /// The same under TLS.
    EarlyNotice,
    /// TLS's handshake before the command.
    EarlyHandshake,
    /// EPRT in one write with the command.
    EarlyPort,
    /// RANG.
    Bound,
}

/// Whether a technique works on a server: tried until that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Shortcut {
    /// To be tried.
    Untried,
    /// Seen to work.
    Works,
    /// Not to be used: the plain exchange is.
    Fails,
}

/// What is known of each technique, by trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Shortcuts {
    batch: Shortcut,
    /// Whether silence is why [`Batch`] fails: it may have had another reason, and is looked at again.
    is_batch_silent: bool,
    prepare: Shortcut,
    ask_at_end: Shortcut,
    follow: Shortcut,
    follow_end: Shortcut,
    early_command: Shortcut,
    early_end: Shortcut,
    early_notice: Shortcut,
    early_handshake: Shortcut,
    early_port: Shortcut,
    bound: Shortcut,
}

impl Default for Shortcuts {
    fn default() -> Self {
        Self {
            batch: Shortcut::Works,
            is_batch_silent: false,
            prepare: Shortcut::Works,
            ask_at_end: Shortcut::Untried,
            follow: Shortcut::Untried,
            follow_end: Shortcut::Untried,
            early_command: Shortcut::Untried,
            early_end: Shortcut::Untried,
            early_notice: Shortcut::Untried,
            early_handshake: Shortcut::Untried,
            early_port: Shortcut::Untried,
            bound: Shortcut::Untried,
        }
    }
}

impl Shortcuts {
    /// What is known of one.
    fn of(&self, technique: Technique) -> Shortcut {
        match technique {
            Batch => self.batch,
            Prepare => self.prepare,
            AskAtEnd => self.ask_at_end,
            Follow => self.follow,
            FollowEnd => self.follow_end,
            EarlyCommand => self.early_command,
            EarlyEnd => self.early_end,
            EarlyNotice => self.early_notice,
            EarlyHandshake => self.early_handshake,
            EarlyPort => self.early_port,
            Bound => self.bound,
        }
    }

    /// Records what is known of one.
    pub(super) fn set(&mut self, technique: Technique, shortcut: Shortcut) {
        *match technique {
            Batch => &mut self.batch,
            Prepare => &mut self.prepare,
            AskAtEnd => &mut self.ask_at_end,
            Follow => &mut self.follow,
            FollowEnd => &mut self.follow_end,
            EarlyCommand => &mut self.early_command,
            EarlyEnd => &mut self.early_end,
            EarlyNotice => &mut self.early_notice,
            EarlyHandshake => &mut self.early_handshake,
            EarlyPort => &mut self.early_port,
            Bound => &mut self.bound,
        } = shortcut;
    }
}

/// When what settles a small upload leaves, without a wait for the upload's last reply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Following {
    /// In one write with its command: the server works on one command after the other.
    #[default]
    Command,
    /// After the end of its bytes: the server works on commands while a transfer runs, and sees that end before.
    End,
}

impl Following {
    /// The technique that this is.
    pub(super) fn technique(self) -> Technique {
        match self {
            Self::Command => Follow,
            Self::End => FollowEnd,
        }
    }
}

impl Technique {
    /// Whether a server of this make may be asked for it: what is of use to one only is tried with that one only.
    fn is_for(self, server: Server) -> bool {
        match self {
            // The others accept a data connection in the transfer, and answer a ClientHello then.
            FollowEnd | EarlyHandshake => server == Server::Pyftpdlib,
            // These read nothing while they send, and then wait for `close_notify`. pyftpdlib reads it while it sends and sends no
            // more; so may others, and a short listing need not show it.
            EarlyNotice => matches!(server, Server::Vsftpd | Server::ProFtpd | Server::PureFtpd),
            // SwiFTP keeps the end of a part for the downloads that follow, and sends more all the same. And pyftpdlib takes an end
            // of ours that overtakes its command, as over a link that loses packets, for the end of all; only `ProFTPD` waits
            // for ours.
            Bound | EarlyEnd => server == Server::ProFtpd,
            Batch | Prepare | AskAtEnd | Follow | EarlyCommand | EarlyPort => true,
        }
    }

    /// Whether it is of use only where commands leave in one write.
    fn needs_batches(self) -> bool {
        !matches!(self, Batch | Prepare | EarlyHandshake)
    }
}

impl Shortcuts {
    /// What is known of a technique on a server of this make.
    pub(super) fn on(&self, server: Server, technique: Technique) -> Shortcut {
        let is_barred = technique.needs_batches() && self.batch == Shortcut::Fails;
        if is_barred || !technique.is_for(server) {
            return Shortcut::Fails;
        }
        self.of(technique)
    }

    /// Gives up all that leaves before the plain exchange would send it, so that what fails has no such reason.
    pub(super) fn give_up_early(&mut self) {
        for technique in [
            AskAtEnd,
            Follow,
            FollowEnd,
            EarlyCommand,
            EarlyEnd,
            EarlyNotice,
            EarlyHandshake,
        ] {
            self.set(technique, Shortcut::Fails);
        }
    }

    /// Keeps what this mount has found to fail on its way to the login, and did not believe before.
    pub(super) fn keep_failed(&mut self, now: &Self, believed: &Self) {
        for technique in [Batch, Prepare] {
            let has_failed = now.of(technique) == Shortcut::Fails;
            if has_failed && believed.of(technique) != Shortcut::Fails {
                self.set(technique, Shortcut::Fails);
                self.is_batch_silent |= technique == Batch && now.is_batch_silent;
            }
        }
    }

    /// Takes over what can do no harm on any server: that commands are sent one by one, and nothing is prepared.
    pub(super) fn take_slower(&mut self, believed: &Self) {
        self.batch = believed.batch;
        self.is_batch_silent = believed.is_batch_silent;
        self.prepare = believed.prepare;
    }

    /// [`Batch`] fails: nothing came after the first reply. What has failed for another reason stays so.
    pub(super) fn note_batch_silent(&mut self) {
        if self.batch != Shortcut::Fails {
            self.batch = Shortcut::Fails;
            self.is_batch_silent = true;
        }
    }

    /// Whether it fails for that reason.
    pub(super) fn is_batch_silent(&self) -> bool {
        self.is_batch_silent
    }

    /// That was not the reason.
    pub(super) fn note_batch_answered(&mut self) {
        if std::mem::take(&mut self.is_batch_silent) {
            self.batch = Shortcut::Works;
        }
    }

    /// It has worked. What has failed before stays so.
    pub(super) fn prove(&mut self, technique: Technique) {
        if self.of(technique) == Shortcut::Untried {
            self.set(technique, Shortcut::Works);
        }
    }

    /// Something has gone wrong that it may be the reason for, if it was never seen to work.
    pub(super) fn doubt(&mut self, technique: Technique) {
        if self.of(technique) == Shortcut::Untried {
            self.set(technique, Shortcut::Fails);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_batches_only_prepared_data_connections_remain() {
        let mut shortcuts = Shortcuts::default();
        shortcuts.set(Batch, Shortcut::Fails);
        let on = |technique| shortcuts.on(Server::Other, technique);
        let others = [AskAtEnd, Follow, EarlyCommand, EarlyPort];
        assert!(others.map(on).iter().all(|it| *it == Shortcut::Fails));
        assert_eq!(on(Prepare), Shortcut::Works);
    }

    #[test]
    fn what_fails_at_the_log_in_is_not_believed_to_work_again() {
        let believed = Shortcuts::default();
        let mut now = believed;
        now.set(Batch, Shortcut::Fails);
        let mut recalled = believed;
        recalled.keep_failed(&now, &believed);
        assert_eq!(recalled.of(Batch), Shortcut::Fails);
        assert_eq!(recalled.of(Prepare), Shortcut::Works);
        // Of another server, only believed.
        let mut usual = Shortcuts::default();
        usual.keep_failed(&now, &now);
        assert_eq!(usual.of(Batch), Shortcut::Works);
    }

    #[test]
    fn what_helps_one_server_is_tried_with_no_other() {
        let shortcuts = Shortcuts::default();
        for technique in [FollowEnd, EarlyEnd, EarlyNotice, EarlyHandshake, Bound] {
            let on_unknown = shortcuts.on(Server::Other, technique);
            assert_eq!(on_unknown, Shortcut::Fails, "{technique:?}");
        }
        let on_pyftpdlib = shortcuts.on(Server::Pyftpdlib, FollowEnd);
        assert_eq!(on_pyftpdlib, Shortcut::Untried);
    }

    #[test]
    fn what_has_failed_is_not_proven_and_what_has_worked_is_not_doubted() {
        let mut shortcuts = Shortcuts::default();
        shortcuts.doubt(EarlyCommand);
        shortcuts.prove(EarlyCommand);
        assert_eq!(shortcuts.of(EarlyCommand), Shortcut::Fails);
        shortcuts.prove(AskAtEnd);
        shortcuts.doubt(AskAtEnd);
        assert_eq!(shortcuts.of(AskAtEnd), Shortcut::Works);
    }
}
