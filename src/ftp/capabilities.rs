//! What a server can do: what it says (greeting, FEAT, SYST) and what its refusals have taught us.
//!
//! Everything here belongs to the host, not to a session: a refusal is learnt once.

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

use super::{control::Control, reply::Fault, zone::Offset};
use crate::remote::{Habits, Phase, RemoteErrorKind};

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

/// Whether a way to save a round trip works on this server: tried until that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Shortcut {
    /// To be tried.
    Untried,
    /// Seen to work.
    Works,
    /// Not to be used: the plain exchange is.
    Fails,
}

/// When what settles a small upload leaves, without a wait for the upload's last reply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Following {
    /// In one write with its command: the server works on one command after the other.
    #[default]
    Command,
    /// Behind the end of its bytes: the server works on commands while a transfer runs, and sees that end before.
    End,
}

/// How often in a row what left behind the end of the bytes may overtake it before that is given up. 3: a busy server is late
/// now and then, and each time costs the few milliseconds of [`Following::End`].
const OVERTAKEN_MAX: u32 = 3;

/// How long a reply may take while a shortcut is tried for the first time. 10 s: a server that falls silent over it is found
/// out, and there is still time for the plain exchange.
const TRIAL_WAIT: Duration = Duration::from_secs(10);

/// What was learnt by trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, not states of one thing"
)]
pub(super) struct Learnt {
    /// Whether commands may leave in one write.
    pub(super) has_pipelining: bool,
    /// Whether EPSV works; else PASV.
    pub(super) has_epsv: bool,
    /// Whether data connections may be opened ahead.
    pub(super) has_warming: bool,
    /// Whether a transfer is announced (PRET) before its data connection is asked for.
    pub(super) needs_pret: bool,
    /// EPSV (or PASV) at the end of the data, before the transfer's last reply was read.
    pub(super) early_passive: Shortcut,
    /// Commands in one write with a transfer's own: the server works on them when the transfer is over.
    pub(super) followers: Shortcut,
    /// Where those fail: commands right behind the end of a small upload's bytes.
    pub(super) end_followers: Shortcut,
    /// Our end of a download, before its data has come.
    pub(super) early_end: Shortcut,
    /// The same under TLS, with `close_notify` before it.
    pub(super) early_notice: Shortcut,
    /// Whether the last reply to a download that is left early may not come.
    pub(super) may_be_silent: bool,
    /// TLS's handshake on a data connection before its command.
    pub(super) early_handshake: Shortcut,
    /// A transfer's command while its data connection is still being made.
    pub(super) early_command: Shortcut,
    /// Whether EPRT works; else PORT.
    pub(super) has_eprt: bool,
    /// EPRT (or PORT) in one write with the command that needs it.
    pub(super) early_port: Shortcut,
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
    /// Whether AVBL answers.
    pub(super) has_avbl: bool,
    /// Whether SITE SYMLINK answers.
    pub(super) has_symlink: bool,
    /// Whether a download may begin at an offset.
    pub(super) has_rest: bool,
    /// RANG, which tells where a download ends, where [`Capabilities::may_bound`].
    pub(super) range: Shortcut,
    /// Whether REST + STOR keeps what lies around the range; unknown until probed.
    pub(super) has_patch: Option<bool>,
    /// How far the times of LIST are ahead of UTC; unknown until one was compared.
    pub(super) zone_offset: Option<Offset>,
    /// What the filesystem has found out.
    pub(super) habits: Habits,
}

impl Default for Learnt {
    /// The usual is assumed.
    fn default() -> Self {
        Self {
            has_pipelining: true,
            has_epsv: true,
            has_warming: true,
            needs_pret: false,
            early_passive: Shortcut::Untried,
            early_command: Shortcut::Untried,
            followers: Shortcut::Untried,
            end_followers: Shortcut::Untried,
            early_end: Shortcut::Untried,
            early_notice: Shortcut::Untried,
            may_be_silent: false,
            early_handshake: Shortcut::Untried,
            has_eprt: true,
            early_port: Shortcut::Untried,
            doubles_iac: true,
            has_mlst: false,
            is_mlst_proven: false,
            dialect: Dialect::List(None),
            set_mode: SetMode::SiteChmod,
            set_time: SetTime::Mfmt,
            is_set_time_proven: false,
            has_loose_ends: false,
            has_avbl: false,
            has_symlink: false,
            has_rest: true,
            range: Shortcut::Untried,
            has_patch: None,
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
}

impl Capabilities {
    /// Nothing is known yet.
    pub(super) fn new() -> Self {
        Self {
            told: OnceLock::new(),
            learnt: Mutex::default(),
            overtaken: AtomicU32::new(0),
        }
    }

    /// Takes down what the first session was told; later ones change nothing.
    pub(super) fn tell(&self, server: Server, features: Features) {
        let offers_mlst = features.offers("MLST");
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
            learnt.dialect = if offers_mlst {
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
            if server == Server::PureFtpd {
                // It truncates at the offset, and unlinks the file when the data connection fails.
                learnt.has_patch = Some(false);
            }
        });
    }

    /// What the server says that it is.
    pub(super) fn server(&self) -> Server {
        self.told.get().map_or(Server::Other, |(server, _)| *server)
    }

    /// Whether the server does its half of a data connection's handshake before a command.
    pub(super) fn early_handshake(&self) -> Shortcut {
        match self.server() {
            // They accept the connection in the transfer.
            Server::Vsftpd | Server::ProFtpd | Server::PureFtpd => Shortcut::Fails,
            Server::Pyftpdlib | Server::Other => self.learnt().early_handshake,
        }
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
            self.learn(|learnt| (learnt.needs_pret, learnt.has_warming) = (true, false));
        }
        offers_pret
    }

    /// A transfer's command that left before its data connection was there got no data connection.
    pub(super) fn doubt_early_command(&self) {
        self.learn(|learnt| {
            if learnt.early_command == Shortcut::Untried {
                learnt.early_command = Shortcut::Fails;
            }
        });
    }

    /// Commands behind a transfer are not answered as if they had come after it.
    pub(super) fn fail_followers(&self) {
        self.fail_following(Following::Command);
    }

    /// When what settles a small upload leaves; `None` when it has to wait for the upload's last reply.
    pub(super) fn following(&self) -> Option<Following> {
        let learnt = self.learnt();
        let is_late = self.overtaken.load(Ordering::Relaxed) >= OVERTAKEN_MAX;
        match (learnt.followers, learnt.end_followers) {
            _ if !learnt.has_pipelining => None,
            (Shortcut::Untried | Shortcut::Works, _) => Some(Following::Command),
            (_, Shortcut::Untried | Shortcut::Works) if !is_late => Some(Following::End),
            _ => None,
        }
    }

    /// What followed an upload was answered in order.
    pub(super) fn prove_following(&self, following: Following) {
        self.learn(|learnt| match following {
            Following::Command => learnt.followers = Shortcut::Works,
            Following::End => learnt.end_followers = Shortcut::Works,
        });
        self.overtaken.store(0, Ordering::Relaxed);
    }

    /// What followed an upload was answered before that was over.
    pub(super) fn note_overtaken(&self, following: Following) {
        match following {
            Following::Command => self.fail_followers(),
            Following::End => {
                self.overtaken.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// What follows an upload in this way breaks it, or tells nonsense.
    pub(super) fn fail_following(&self, following: Following) {
        self.learn(|learnt| match following {
            Following::Command => learnt.followers = Shortcut::Fails,
            Following::End => learnt.end_followers = Shortcut::Fails,
        });
    }

    /// Whether the server may be told where a download ends (RANG, draft-bryan-ftp-range-08). Only `ProFTPD`: `SwiFTP`
    /// keeps the end for the downloads that follow, and sends more all the same.
    pub(super) fn may_bound(&self) -> bool {
        let told = self.told.get();
        let is_offered = told.is_some_and(|(server, features)| {
            *server == Server::ProFtpd && features.offers_word("RANG", "STREAM")
        });
        let learnt = self.learnt();
        // In a write of its own it would cost a round trip, and it is no substitute for REST, which goes before it.
        is_offered && learnt.range != Shortcut::Fails && learnt.has_pipelining && learnt.has_rest
    }

    /// Whether the next data connection may be asked for in one write with a transfer's command.
    pub(super) fn may_ask_with_transfer(&self) -> bool {
        let learnt = self.learnt();
        learnt.followers == Shortcut::Works && learnt.has_pipelining && learnt.has_warming
    }

    /// What `work` reads, within a time that leaves enough for the plain exchange while a shortcut is untried. Silence and a
    /// closed connection show that it fails, and count as a broken session, so that the caller takes another.
    pub(super) fn on_trial<T>(
        &self,
        control: &mut Control,
        state: Shortcut,
        fail: fn(&mut Learnt),
        work: impl FnOnce(&mut Control) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        if state != Shortcut::Untried {
            return work(control);
        }
        let deadline = control.deadline();
        control.set_deadline(deadline.capped(TRIAL_WAIT));
        let outcome = work(control);
        control.set_deadline(deadline);
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
            self.learn(fail);
            Fault::new(RemoteErrorKind::Disconnected, fault.detail)
        })
    }

    /// Learns something.
    pub(super) fn learn(&self, change: impl FnOnce(&mut Learnt)) {
        change(&mut self.learnt.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_offers_decides_the_first_try() {
        let told = Capabilities::new();
        told.tell(Server::Vsftpd, Features::default());
        let learnt = told.learnt();
        assert_eq!(learnt.set_time, SetTime::Mdtm);
        assert_eq!(learnt.dialect, Dialect::List(None));
        assert!(!learnt.doubles_iac);
        let pure = Capabilities::new();
        pure.tell(Server::PureFtpd, Features::default());
        assert_eq!(pure.learnt().has_patch, Some(false));
    }
}
