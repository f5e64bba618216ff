//! What a server can do: what it says (greeting, FEAT, SYST) and what its refusals have taught us.
//!
//! Everything here belongs to the host, not to a session: a refusal is learnt once.

mod batches;
mod features;

pub(super) use features::{Features, Server};

use std::{
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};

use self::batches::Batches;
use super::{
    shortcuts::{Following, Shortcut, Shortcuts, Technique},
    zone::Offset,
};
use crate::remote::Habits;

/// How directories are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Dialect {
    /// Bare `MLSD`.
    Mlsd,
    /// `MLSD .`, where the bare one is refused (some Synology).
    MlsdDot,
    /// `LIST`; with `-a` when true, unknown until probed.
    List(Option<bool>),
}

/// How a mode is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum SetMode {
    /// `SITE CHMOD mode path`.
    SiteChmod,
    /// `MFF UNIX.mode=mode; path`.
    Mff,
    /// Not at all.
    Never,
}

/// How a time is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum SetTime {
    /// `MFMT time path` (draft-somers-ftp-mfxx).
    Mfmt,
    /// `SITE UTIME time path` (`ProFTPD` and others).
    SiteUtime,
    /// `SITE UTIME path atime mtime ctime UTC` (Pure-FTPd and older).
    SiteUtimeFive,
    /// `MDTM time path` (vsftpd).
    Mdtm,
    /// Not at all.
    Never,
}

/// How often in a row what left behind the end of the bytes may overtake it before that is given up. 3: a busy server is late
/// now and then, and each time costs the few milliseconds of [`Following::End`].
const OVERTAKEN_MAX: u32 = 3;

/// What was learnt by trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, not states of one thing"
)]
pub(super) struct Learnt {
    /// The techniques that save round trips.
    pub(super) shortcuts: Shortcuts,
    /// Whether EPSV works; else PASV.
    pub(super) has_epsv: bool,
    /// Whether a transfer is announced (PRET) before its data connection is asked for.
    pub(super) needs_pret: bool,
    /// Whether the last reply to a download that is left early may not come.
    pub(super) may_be_silent: bool,
    /// Whether EPRT works; else PORT.
    pub(super) has_eprt: bool,
    /// Whether the byte 0xFF is doubled in commands.
    pub(super) doubles_iac: bool,
    /// Whether MLST answers.
    pub(super) has_mlst: bool,
    /// Whether MLST has answered once.
    pub(super) is_mlst_proven: bool,
    /// How directories are listed.
    pub(super) dialect: Dialect,
    /// How a mode is set.
    pub(super) set_mode: SetMode,
    /// How a time is set.
    pub(super) set_time: SetTime,
    /// Whether that way to set a time has worked once.
    pub(super) is_set_time_proven: bool,
    /// Whether replies of several lines may end with another code than they began with.
    pub(super) has_loose_ends: bool,
    /// Whether listings show the directory itself, or the one above it: then none is empty.
    pub(super) lists_dots: bool,
    /// Whether AVBL answers.
    pub(super) has_avbl: bool,
    /// Whether SITE SYMLINK answers.
    pub(super) has_symlink: bool,
    /// Whether a download may begin at an offset.
    pub(super) has_rest: bool,
    /// How far the times of LIST are ahead of UTC; unknown until one was compared.
    pub(super) zone_offset: Option<Offset>,
    /// What the filesystem has found out.
    pub(super) habits: Habits,
}

impl Default for Learnt {
    /// The usual is assumed.
    fn default() -> Self {
        Self {
            shortcuts: Shortcuts::default(),
            has_epsv: true,
            needs_pret: false,
            may_be_silent: false,
            has_eprt: true,
            doubles_iac: true,
            has_mlst: false,
            is_mlst_proven: false,
            dialect: Dialect::List(None),
            set_mode: SetMode::SiteChmod,
            set_time: SetTime::Mfmt,
            is_set_time_proven: false,
            has_loose_ends: false,
            lists_dots: false,
            has_avbl: false,
            has_symlink: false,
            has_rest: true,
            zone_offset: None,
            habits: Habits::default(),
        }
    }
}

/// What is known of one host.
#[derive(Debug)]
pub(super) struct Capabilities {
    told: OnceLock<(Server, Features)>,
    // Guarded by itself; held for a copy and never across the network.
    learnt: Mutex<Learnt>,
    /// How often in a row what left behind the end of an upload has overtaken it.
    overtaken: AtomicU32,
    /// What silence has told of commands in one write.
    pub(super) batches: Batches,
}

impl Capabilities {
    /// Nothing is known yet.
    pub(super) fn new() -> Self {
        Self {
            told: OnceLock::new(),
            learnt: Mutex::default(),
            overtaken: AtomicU32::new(0),
            batches: Batches::default(),
        }
    }

    /// Takes down what the first session was told; later ones change nothing.
    pub(super) fn tell(&self, server: Server, features: Features) {
        let offers_mlst = features.offers("MLST");
        // Some name MLSD alone.
        let offers_mlsd = offers_mlst || features.offers("MLSD");
        let has_mff_mode = features.offers_word("MFF", "UNIX.mode");
        let has_site_chmod = features.offers_word("SITE", "CHMOD");
        let has_avbl = features.offers("AVBL");
        let has_symlink = features.offers_word("SITE", "SYMLINK");
        let set_time = match server {
            _ if features.offers("MFMT") => SetTime::Mfmt,
            Server::Vsftpd => SetTime::Mdtm,
            _ if features.offers_word("SITE", "UTIME") => SetTime::SiteUtime,
            _ => SetTime::Mfmt,
        };
        if self.told.set((server, features)).is_err() {
            return;
        }
        self.learn(|learnt| {
            learnt.doubles_iac = server.doubles_iac();
            learnt.has_mlst = offers_mlst;
            learnt.dialect = if offers_mlsd {
                Dialect::Mlsd
            } else {
                Dialect::List(None)
            };
            learnt.set_time = set_time;
            learnt.has_avbl = has_avbl;
            learnt.has_symlink = has_symlink;
            if has_mff_mode && !has_site_chmod {
                learnt.set_mode = SetMode::Mff;
            }
        });
    }

    /// What the server says that it is.
    pub(super) fn server(&self) -> Server {
        self.told.get().map_or(Server::Other, |(server, _)| *server)
    }

    /// Whether the first session has been told yet.
    pub(super) fn is_told(&self) -> bool {
        self.told.get().is_some()
    }

    /// What the server said it can do.
    pub(super) fn features(&self) -> Option<&Features> {
        self.told.get().map(|(_, features)| features)
    }

    /// What was learnt so far.
    pub(super) fn learnt(&self) -> Learnt {
        *self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server refuses a data connection outside a transfer. Where it offers PRET, it wants to hear of each before: a master that
    /// first picks one of its slaves (`DrFTPD`). Whether that is so; then nothing is opened ahead.
    pub(super) fn learn_pret(&self) -> bool {
        let offers_pret = self
            .features()
            .is_some_and(|features| features.offers("PRET"));
        if offers_pret {
            self.learn(|learnt| learnt.needs_pret = true);
            self.give_up(Technique::Prepare);
        }
        offers_pret
    }

    /// What followed an upload was answered in order.
    pub(super) fn prove_following(&self, following: Following) {
        self.prove(following.technique());
        self.overtaken.store(0, Ordering::Relaxed);
    }

    /// What followed an upload was answered before that was over.
    pub(super) fn note_overtaken(&self, following: Following) {
        match following {
            Following::Command => self.give_up(Technique::Follow),
            Following::End => {
                self.overtaken.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// What is known of a technique on this server.
    pub(super) fn shortcut(&self, technique: Technique) -> Shortcut {
        self.learnt().shortcuts.on(self.server(), technique)
    }

    /// Whether it may be used, be it to try it.
    pub(super) fn may(&self, technique: Technique) -> bool {
        self.shortcut(technique) != Shortcut::Fails
    }

    /// Whether it is known to work.
    pub(super) fn is_proven(&self, technique: Technique) -> bool {
        self.shortcut(technique) == Shortcut::Works
    }

    /// Whether it is still to be tried.
    pub(super) fn is_untried(&self, technique: Technique) -> bool {
        self.shortcut(technique) == Shortcut::Untried
    }

    /// It has worked. What has failed before stays so.
    pub(super) fn prove(&self, technique: Technique) {
        self.learn(|learnt| learnt.shortcuts.prove(technique));
    }

    /// Something has gone wrong that it may be the reason for, if it was never seen to work.
    pub(super) fn doubt(&self, technique: Technique) {
        self.learn(|learnt| learnt.shortcuts.doubt(technique));
    }

    /// It has failed: the plain exchange is used.
    pub(super) fn give_up(&self, technique: Technique) {
        self.learn(|learnt| learnt.shortcuts.set(technique, Shortcut::Fails));
    }

    /// The server has answered the first of several commands that were sent together, and no more for so long. They are sent one by one.
    pub(super) fn note_batch_silent(&self, silence: Duration) {
        log::warn!("the server does not answer commands sent together; sending one by one");
        self.batches.note_silent(silence);
        self.learn(|learnt| learnt.shortcuts.note_batch_silent());
    }

    /// A single command was answered after so long: perhaps the server was slow, and not silent.
    pub(super) fn note_single_reply(&self, taken: Duration) {
        if self.batches.is_acquitted_by(taken) {
            log::info!("the server is slow with all replies: it may be sent commands together");
            self.note_batch_answered();
        }
    }

    /// Whether commands are to be sent together once more, on a session that nobody needs: once a mount, where silence was the reason for not
    /// doing so.
    pub(super) fn is_batch_retried(&self) -> bool {
        self.learnt().shortcuts.is_batch_silent() && self.batches.take_retry()
    }

    /// They were answered after all.
    pub(super) fn note_batch_answered(&self) {
        self.learn(|learnt| learnt.shortcuts.note_batch_answered());
        self.batches.prove();
    }

    /// Whether the next data connection may be asked for in one write with a transfer's command.
    pub(super) fn may_ask_with_transfer(&self) -> bool {
        self.is_proven(Technique::Follow) && self.may(Technique::Prepare)
    }

    /// When what settles a small upload leaves; `None` when it has to wait for the upload's last reply.
    pub(super) fn following(&self) -> Option<Following> {
        let is_late = self.overtaken.load(Ordering::Relaxed) >= OVERTAKEN_MAX;
        let ways = [Following::Command, Following::End];
        ways.into_iter()
            .find(|way| self.may(way.technique()))
            .filter(|way| *way == Following::Command || !is_late)
    }

    /// Learns something.
    pub(super) fn learn(&self, change: impl FnOnce(&mut Learnt)) {
        change(&mut self.learnt.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // SEMANTICS: S-one-command
    #[test]
    fn a_server_that_is_slow_with_all_replies_is_not_taken_for_silent() {
        let seconds = Duration::from_secs;
        for (reply, may) in [(seconds(1), false), (seconds(3), true)] {
            let slow = Capabilities::new();
            slow.note_batch_silent(seconds(4));
            assert!(!slow.may(Technique::Batch));
            slow.note_single_reply(reply);
            assert_eq!(slow.may(Technique::Batch), may);
            // Judged by an earlier mount, it is tried once more by this one.
            assert_eq!(slow.is_batch_retried(), !may);
            assert!(!slow.is_batch_retried());
        }
        // What answers in any order has another reason.
        let disorder = Capabilities::new();
        disorder.give_up(Technique::Batch);
        disorder.note_batch_silent(seconds(4));
        disorder.note_batch_answered();
        assert!(!disorder.may(Technique::Batch) && !disorder.is_batch_retried());
    }

    #[test]
    fn what_the_server_offers_decides_the_first_try() {
        let told = Capabilities::new();
        told.tell(Server::Vsftpd, Features::default());
        let learnt = told.learnt();
        assert_eq!(learnt.set_time, SetTime::Mdtm);
        assert_eq!(learnt.dialect, Dialect::List(None));
        assert!(!learnt.doubles_iac);
    }
}
