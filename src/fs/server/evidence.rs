//! What the server says of a name now: what a change may destroy is decided by nothing older.
//!
//! | evidence | is |
//! |---|---|
//! | a whole listing of the directory, asked for at most 2 s ago | what it shows of the name, or that it lacks it |
//! | the name asked for alone | the answer |
//!
//! A listing shows that a name is free only where it was not cut short and no line that was not understood may be about the name
//! ([`CachedListing::lacks`]), and where no other spelling of the name is listed: a server may not tell them apart.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    spelling::is_same_spelled_otherwise,
    tree::{RELIST_ENTRIES_MAX, Tree},
};
use crate::{
    cache::CachedListing,
    fs::{
        error::{FsError, FsErrorKind, Result},
        hidden::HiddenNames,
    },
    remote::{self, EntryKind, Evidence, RemoteEntry, RemoteErrorKind, RemotePath, gate::AGE_MAX},
};

/// A directory whose listing took longer than this is not listed to learn of one name. 1 s: half of the time for which it is evidence, and three round trips of a far link.
const RELIST_TIME_MAX: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(crate) struct Observer {
    tree: Arc<Tree>,
    hidden: Arc<HiddenNames>,
}

impl Observer {
    /// Of what the server shows in `tree`.
    pub(super) fn new(tree: Arc<Tree>, hidden: Arc<HiddenNames>) -> Self {
        Self { tree, hidden }
    }

    /// What is at a path, by evidence that is recent.
    ///
    /// # Errors
    ///
    /// Also when no evidence is available: unknown is not absent.
    pub(crate) fn look(&self, path: &RemotePath) -> Result<Evidence> {
        let (Some(dir), Some(name)) = (path.parent(), path.name()) else {
            return self.look_now(path);
        };
        if let Some(listing) = self.recent_listing(&dir)
            && let Shown::Certain(found) = shown(&listing, name)
        {
            return Ok(Evidence::listed(path, found, listing.asked()));
        }
        if self.may_relist(&dir, name) {
            match self.tree.relist(&dir) {
                Ok(listing) => {
                    if let Shown::Certain(found) = shown(&listing, name) {
                        return Ok(Evidence::listed(path, found, listing.asked()));
                    }
                }
                // A directory that may be entered and not listed, or is too large for it.
                Err(error)
                    if matches!(
                        error.kind(),
                        RemoteErrorKind::Refused | RemoteErrorKind::NoMemory
                    ) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.look_alone(path, &dir)
    }

    /// That nothing has the name exactly as it is spelled, by a recent listing: for a file that only changes the spelling of its own name.
    pub(crate) fn look_spelled(&self, path: &RemotePath) -> Result<Evidence> {
        let (Some(dir), Some(name)) = (path.parent(), path.name()) else {
            return self.look_now(path);
        };
        let listing = match self.recent_listing(&dir) {
            Some(listing) => listing,
            None => self.tree.relist(&dir)?,
        };
        if listing.lacks(name) {
            return Ok(Evidence::listed(path, None, listing.asked()));
        }
        self.look(path)
    }

    /// Whether a listing of this moment shows that nothing has the name: a refusal to describe it may have another reason.
    pub(crate) fn is_gone(&self, path: &RemotePath) -> bool {
        let (Some(dir), Some(name)) = (path.parent(), path.name()) else {
            return false;
        };
        match self.tree.relist(&dir) {
            Ok(listing) => listing.lacks(name),
            Err(_) => false,
        }
    }

    /// What is at a path at this moment.
    pub(crate) fn look_now(&self, path: &RemotePath) -> Result<Evidence> {
        if let Some(dir) = path.parent() {
            return self.look_alone(path, &dir);
        }
        let root = RemoteEntry::new(&b"/"[..], EntryKind::Directory);
        let now = self.tree.now();
        Ok(Evidence::listed(path, Some(Arc::new(root)), now))
    }

    /// Asks for one path alone.
    fn look_alone(&self, path: &RemotePath, dir: &RemotePath) -> Result<Evidence> {
        match self.tree.look_now(path, dir) {
            Ok(evidence) => Ok(evidence),
            // The server knows no way to ask for a name, or its answer says neither.
            Err(error) if error.is_answer() => {
                let listing = self.tree.relist(dir)?;
                match shown(&listing, path.name().unwrap_or_default()) {
                    Shown::Certain(found) => Ok(Evidence::listed(path, found, listing.asked())),
                    Shown::Unknown => {
                        log::warn!("{path}: whether it is there cannot be found out: {error}");
                        Err(FsError::new(FsErrorKind::AccessDenied, path))
                    }
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The directory's listing, if it is recent enough to be evidence.
    pub(crate) fn recent_listing(&self, dir: &RemotePath) -> Option<Arc<CachedListing>> {
        let listing = self.tree.listings().last_known(dir)?;
        let age = self.tree.now().saturating_duration_since(listing.asked());
        (age <= AGE_MAX).then_some(listing)
    }

    /// The present.
    pub(crate) fn now(&self) -> Instant {
        self.tree.now()
    }

    /// Whether evidence may still decide what is overwritten.
    pub(crate) fn is_recent(&self, evidence: &Evidence) -> bool {
        evidence.is_recent(self.tree.now())
    }

    /// Whether listing the directory anew costs little and would show what is wanted, by what is known of it.
    fn may_relist(&self, dir: &RemotePath, name: &[u8]) -> bool {
        if self.tree.listings().is_too_long(dir) {
            return false;
        }
        self.tree.listings().last_known(dir).is_none_or(|known| {
            known.entries().len() <= RELIST_ENTRIES_MAX
                && known.took() <= RELIST_TIME_MAX
                && matches!(shown(&known, name), Shown::Certain(_))
        })
    }

    /// That a directory holds nothing, by a listing that shows all there is and is recent. This mount's own files with hidden names do
    /// not count. `None` when it holds something, or that is not known.
    pub(super) fn look_empty(&self, dir: &RemotePath) -> remote::Result<Option<Evidence>> {
        let empty = |listing: &CachedListing| {
            let mut entries = listing.entries().iter();
            let is_empty =
                listing.is_whole() && entries.all(|entry| self.hidden.is_hidden(entry.name));
            is_empty.then(|| Evidence::listed_empty(dir, listing.asked()))
        };
        if let Some(recent) = self.recent_listing(dir)
            && let Some(evidence) = empty(&recent)
        {
            return Ok(Some(evidence));
        }
        let listing = self.tree.relist(dir)?;
        if !listing.is_whole() {
            log::warn!("{dir} stays: its listing does not show all that is in it");
        }
        Ok(empty(&listing))
    }
}

/// What a listing shows of a name.
enum Shown {
    Certain(Option<Arc<RemoteEntry>>),
    Unknown,
}

fn shown(listing: &CachedListing, name: &[u8]) -> Shown {
    match listing.find(name) {
        Some(entry) => Shown::Certain(Some(entry)),
        None if listing.lacks(name) && !is_spelled_otherwise(listing, name) => Shown::Certain(None),
        None => Shown::Unknown,
    }
}

/// Whether another spelling of the name is listed, which may be the same name to the server.
fn is_spelled_otherwise(listing: &CachedListing, name: &[u8]) -> bool {
    let mut entries = listing.entries().iter();
    entries.any(|entry| is_same_spelled_otherwise(entry.name, name))
}
