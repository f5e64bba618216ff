//! The server as the filesystem sees it: what it shows, what it was seen to do and refuse, and why it says no.
//!
//! Calls go one way: [`Tree`] and [`Learnt`] know the remote alone; [`Observer`], [`Kernel`], [`Refusals`] and [`Versions`] use what stands
//! before them; [`Server`] holds them all, and [`change`], [`renaming`] and [`repay`] use it.

mod broken;
pub(crate) mod change;
mod evidence;
mod holds;
mod kernel;
mod learnt;
mod patching;
mod privacy;
mod refusal;
pub(crate) mod renaming;
mod repay;
mod room;
mod spelling;
mod tree;
mod verifier;
mod version;

use std::{path::PathBuf, sync::Arc};

use self::{
    broken::BrokenReads, evidence::Observer, holds::Holds, kernel::Kernel, learnt::Learnt,
    patching::Patching, privacy::Privacy, refusal::Refusals, room::Room, tree::Tree,
    verifier::Verifier, version::Versions,
};
pub(crate) use self::{
    privacy::{Begun, is_narrower},
    refusal::Intent,
    repay::{Payer, Payments, Returned, bring_back},
    room::Space,
    version::unknown_size,
};
use super::{
    account::Account,
    error::{FsError, FsErrorKind, NAME_BYTES_MAX, Result},
    hidden::HiddenNames,
    inode::Inodes,
};
use crate::{
    clock::Clock,
    config::CacheConfig,
    remote::{self, Evidence, Remote, RemoteError, RemoteErrorKind, RemotePath, Settled},
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Server {
    remote: Arc<dyn Remote>,
    account: Arc<Account>,
    hidden: Arc<HiddenNames>,
    learnt: Learnt,
    tree: Arc<Tree>,
    evidence: Arc<Observer>,
    kernel: Arc<Kernel>,
    refusals: Arc<Refusals>,
    room: Room,
    holds: Holds,
    versions: Versions,
    broken_reads: BrokenReads,
    patching: Patching,
    privacy: Arc<Privacy>,
    verifier: Verifier,
}

impl Server {
    /// The server that is `remote`; nothing is asked of it yet. What is owed to it is written down below `debts_dir`; its
    /// checksums are asked for if it `is_verified`.
    pub(crate) fn new(
        remote: Arc<dyn Remote>,
        inodes: Arc<Inodes>,
        cache: &CacheConfig,
        clock: Arc<dyn Clock>,
        debts_dir: Option<PathBuf>,
        is_verified: bool,
    ) -> Self {
        let account = Arc::<Account>::default();
        let hidden = HiddenNames::new(remote.clone(), account.clone(), debts_dir, clock.clone());
        let hidden = Arc::new(hidden);
        let tree = Arc::new(Tree::new(
            remote.clone(),
            hidden.clone(),
            cache,
            clock.clone(),
        ));
        let evidence = Arc::new(Observer::new(tree.clone(), hidden.clone()));
        let kernel = Arc::new(Kernel::new(tree.clone(), inodes));
        let refusals = Arc::new(Refusals::new(remote.clone(), tree.clone(), kernel.clone()));
        Self {
            learnt: Learnt::new(remote.clone()),
            patching: Patching::new(remote.clone(), hidden.clone(), account.clone()),
            privacy: Arc::new(Privacy::new(remote.clone(), hidden.clone(), tree.clone())),
            verifier: Verifier::new(is_verified),
            room: Room::new(remote.clone(), tree.clone()),
            versions: Versions::new(
                remote.clone(),
                tree.clone(),
                evidence.clone(),
                refusals.clone(),
                clock.clone(),
            ),
            broken_reads: BrokenReads::default(),
            holds: Holds::new(remote.clone(), kernel.clone(), clock),
            remote,
            account,
            hidden,
            tree,
            evidence,
            kernel,
            refusals,
        }
    }

    pub(crate) fn remote(&self) -> &Arc<dyn Remote> {
        &self.remote
    }

    /// What this account was seen not to be allowed.
    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    pub(crate) fn hidden(&self) -> &Arc<HiddenNames> {
        &self.hidden
    }

    /// Names whose change may still be carried out.
    pub(crate) fn holds(&self) -> &Holds {
        &self.holds
    }

    /// What the server was seen to refuse.
    pub(crate) fn learnt(&self) -> &Learnt {
        &self.learnt
    }

    /// What it shows, as old as the TTL.
    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// What it says of a name now.
    pub(crate) fn evidence(&self) -> &Observer {
        &self.evidence
    }

    /// What the kernel is to ask for again.
    pub(crate) fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// The room that it has.
    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    /// Which versions of files it has.
    pub(crate) fn versions(&self) -> &Versions {
        &self.versions
    }

    /// Files whose last download broke off.
    pub(crate) fn broken_reads(&self) -> &BrokenReads {
        &self.broken_reads
    }

    /// Whether the file of that path can be written inside, as far as its directory goes.
    pub(crate) fn may_patch(&self, path: &RemotePath) -> bool {
        let (Some(dir), Some(name)) = (path.parent(), path.name()) else {
            return false;
        };
        let listing = self.tree.listings().last_known(&dir);
        let entry = listing.as_ref().and_then(|listing| listing.find(name));
        let permissions = entry.and_then(|entry| entry.permissions);
        self.patching.works_in(&dir, &self.learnt, permissions)
    }

    /// How files that others may not read go up.
    pub(crate) fn privacy(&self) -> &Arc<Privacy> {
        &self.privacy
    }

    /// The mode that a new file of `dir` needs before its content, if it is to have this one in the end.
    pub(crate) fn first_mode(&self, dir: &RemotePath, mode: Option<u32>) -> Option<u32> {
        self.privacy.first_mode(dir, &self.learnt, mode)
    }

    /// Whether its checksums are asked for.
    pub(crate) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Why it has said no.
    pub(crate) fn explain(&self, error: RemoteError, path: &RemotePath, intent: Intent) -> FsError {
        self.refusals.explain(error, path, intent)
    }

    /// The path of a name in a directory.
    pub(crate) fn child_path(&self, dir: &RemotePath, name: &[u8]) -> Result<RemotePath> {
        let len = self.remote.name_len(name).unwrap_or(name.len());
        if len > NAME_BYTES_MAX {
            return Err(FsError::new(FsErrorKind::NameTooLong, dir));
        }
        dir.join(name)
            .map_err(|invalid| FsError::new(invalid.into(), dir))
    }

    /// Fails when the character set in which the server writes names lacks a character of this one.
    pub(crate) fn check_encodable(&self, path: &RemotePath) -> Result<()> {
        match path.name() {
            Some(name) if self.remote.name_len(name).is_none() => {
                Err(FsError::new(FsErrorKind::Unencodable, path))
            }
            _ => Ok(()),
        }
    }

    /// That a directory holds nothing, by evidence of now.
    pub(crate) fn look_empty(&self, dir: &RemotePath) -> Result<Evidence> {
        match self.evidence.look_empty(dir) {
            Ok(Some(evidence)) => Ok(evidence),
            Ok(None) => Err(FsError::new(FsErrorKind::NotEmpty, dir)),
            Err(error) => Err(self.explain(error, dir, Intent::RemoveDir)),
        }
    }

    /// Notes what could not be set; a size that SIZE does not report comes from a listing.
    pub(crate) fn note_settled(&self, path: &RemotePath, mut settled: Settled) -> Settled {
        let is_unreadable =
            matches!(&settled.report.size, Err(error) if error.kind() == RemoteErrorKind::Failed);
        if (is_unreadable || matches!(settled.report.size, Ok(None)))
            && let (Some(dir), Some(name)) = (path.parent(), path.name())
            && let Ok(listing) = self.tree.relist(&dir)
            && let Some(size) = listing.find(name).and_then(|entry| entry.size)
        {
            settled.report.size = Ok(Some(size));
        }
        if let Err(error) = &settled.mode {
            if error.kind() == RemoteErrorKind::Unsupported {
                self.learnt.note_no_mode();
            }
            log::info!("{path}: mode not set: {error}");
        }
        if let Err(error) = &settled.modified {
            log::warn!("{path}: time not set: {error}");
        }
        settled
    }

    /// Some servers change a name that they do not like and report success (Pure-FTPd: blanks at the end, control characters): a name
    /// that is out of the ordinary is looked for after it was made, and what is there instead is undone.
    pub(crate) fn check_name(
        &self,
        path: &RemotePath,
        undo: impl FnOnce(Evidence) -> remote::Result<()>,
    ) -> Result<()> {
        let (Some(dir), Some(name)) = (path.parent(), path.name()) else {
            return Ok(());
        };
        if is_ordinary(name) {
            return Ok(());
        }
        // What is undone must be ours: seen not to have been there right before.
        let known = self.evidence.recent_listing(&dir);
        // Not by asking for it alone: the same server would change the name in that command too.
        let listing = self.tree.relist(&dir)?;
        if !listing.lacks(name) {
            return Ok(());
        }
        log::info!(
            "the server has stored {path} under another name, because it does not take this one"
        );
        let was_there = |other: &[u8]| known.as_ref().is_none_or(|known| !known.lacks(other));
        let mut others = listing.entries().iter();
        let stored =
            others.find(|other| is_made_ordinary(name, other.name) && !was_there(other.name));
        if let Some(other) = stored
            && let Ok(stored) = dir.join(other.name)
        {
            let evidence =
                Evidence::listed(&stored, Some(Arc::new(other.to_entry())), listing.asked());
            if let Err(error) = undo(evidence) {
                log::warn!("{stored} stays on the server: {error}");
            }
            self.tree.listings().invalidate(&dir);
        }
        Err(FsError::new(FsErrorKind::Invalid, path))
    }

    /// The failure of an upload over something else than what its bytes were made from.
    pub(crate) fn conflict(&self, path: &RemotePath) -> FsError {
        self.kernel.forget_name(path);
        FsError::new(FsErrorKind::Conflict, path)
    }
}

/// Whether servers take a name as it is, as far as is known.
pub(crate) fn is_ordinary(name: &[u8]) -> bool {
    let has_blank_at_an_end = name.starts_with(b" ") || name.ends_with(b" ");
    !has_blank_at_an_end
        && !name
            .iter()
            .any(|byte| byte.is_ascii_control() || *byte == b'\\')
}

/// Whether `stored` is what Pure-FTPd makes of `name`: underscores in place of what it does not like.
fn is_made_ordinary(name: &[u8], stored: &[u8]) -> bool {
    let is_odd = |byte: u8| byte == b' ' || byte == b'\\' || byte.is_ascii_control();
    name.len() == stored.len()
        && name
            .iter()
            .zip(stored)
            .all(|(ours, theirs)| ours == theirs || (is_odd(*ours) && *theirs == b'_'))
}
