//! What the server says of a name now: what a change may destroy is decided by nothing older.
//!
//! | evidence | is |
//! |---|---|
//! | a whole listing of the directory, asked for at most 2 s ago | what it shows of the name, or that it lacks it |
//! | the name asked for alone | the answer |
//!
//! A listing shows that a name is free only where it was not cut short and no line that was not understood may be about the name
//! ([`CachedListing::lacks`]).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::tree::{RELIST_ENTRIES_MAX, Tree};
use crate::{
    cache::CachedListing,
    fs::{
        error::{FsError, FsErrorKind, Result},
        hidden::HiddenNames,
    },
    remote::{self, RemoteEntry, RemoteErrorKind, RemotePath},
};

/// How old an answer may be by which something is overwritten, counted from when it was asked for. 2 s: one listing serves many
/// creations in a row (cp, tar and mv), and others have little time to make the same name.
const EVIDENCE_AGE_MAX: Duration = Duration::from_secs(2);

/// A directory whose listing took longer than this is not listed to learn of one name. 1 s: half of the time for which it is evidence, and three round trips of a far link.
const RELIST_TIME_MAX: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(crate) struct Evidence {
    tree: Arc<Tree>,
    hidden: Arc<HiddenNames>,
}

impl Evidence {
    /// Of what the server shows in `tree`.
    pub(super) fn new(tree: Arc<Tree>, hidden: Arc<HiddenNames>) -> Self {
        Self { tree, hidden }
    }

    /// What is at a path, by evidence of at most [`EVIDENCE_AGE_MAX`]; `None` when the server says that nothing is.
    ///
    /// # Errors
    ///
    /// Also when no evidence is available: unknown is not absent.
    pub(crate) fn look(&self, path: &RemotePath) -> Result<Option<Arc<RemoteEntry>>> {
        self.look_when(path).map(|(found, _)| found)
    }

    /// The same, and when that was asked.
    pub(crate) fn look_when(
        &self,
        path: &RemotePath,
    ) -> Result<(Option<Arc<RemoteEntry>>, Instant)> {
        let now = self.tree.now();
        let (Some(dir), Some(name)) = (path.parent(), path.name()) else {
            return Ok((self.tree.entry(path)?, now));
        };
        if let Some(listing) = self.recent_listing(&dir)
            && let Shown::Certain(found) = shown(&listing, name)
        {
            return Ok((found, listing.asked()));
        }
        if self.may_relist(&dir, name) {
            match self.tree.relist(&dir) {
                Ok(listing) => {
                    if let Shown::Certain(found) = shown(&listing, name) {
                        return Ok((found, now));
                    }
                }
                // A directory that may be entered and not listed.
                Err(error) if error.kind() == RemoteErrorKind::Refused => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok((self.look_alone(path, &dir)?, now))
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
    pub(crate) fn look_now(&self, path: &RemotePath) -> Result<Option<Arc<RemoteEntry>>> {
        match path.parent() {
            Some(dir) => self.look_alone(path, &dir),
            None => Ok(self.tree.entry(path)?),
        }
    }

    /// Asks for one path alone.
    fn look_alone(&self, path: &RemotePath, dir: &RemotePath) -> Result<Option<Arc<RemoteEntry>>> {
        match self.tree.stat_now(path, dir) {
            Ok(entry) => Ok(entry),
            // The server knows no way to ask for a name, or its answer says neither.
            Err(error) if error.is_answer() => {
                let listing = self.tree.relist(dir)?;
                match shown(&listing, path.name().unwrap_or_default()) {
                    Shown::Certain(found) => Ok(found),
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
        self.is_recent(listing.asked()).then_some(listing)
    }

    /// Whether what was asked at that moment may still decide what is overwritten.
    pub(crate) fn is_recent(&self, asked: Instant) -> bool {
        self.tree.now().saturating_duration_since(asked) <= EVIDENCE_AGE_MAX
    }

    /// Whether listing the directory anew costs little and would show what is wanted, by what is known of it.
    fn may_relist(&self, dir: &RemotePath, name: &[u8]) -> bool {
        self.tree.listings().last_known(dir).is_none_or(|known| {
            known.entries().len() <= RELIST_ENTRIES_MAX
                && known.took() <= RELIST_TIME_MAX
                && matches!(shown(&known, name), Shown::Certain(_))
        })
    }

    /// Whether a directory holds nothing, by a listing that shows all there is and is recent. This mount's own files with hidden names do
    /// not count.
    pub(super) fn is_empty(&self, dir: &RemotePath) -> remote::Result<bool> {
        let is_empty = |listing: &CachedListing| {
            let mut entries = listing.entries().iter();
            listing.is_whole() && entries.all(|entry| self.hidden.is_hidden(&entry.name))
        };
        if let Some(recent) = self.recent_listing(dir)
            && is_empty(&recent)
        {
            return Ok(true);
        }
        let listing = self.tree.relist(dir)?;
        if !listing.is_whole() {
            log::warn!("{dir} stays: its listing does not show all that is in it");
        }
        Ok(is_empty(&listing))
    }
}

/// What a listing shows of a name.
enum Shown {
    Certain(Option<Arc<RemoteEntry>>),
    Unknown,
}

fn shown(listing: &CachedListing, name: &[u8]) -> Shown {
    match listing.find(name) {
        Some(entry) => Shown::Certain(Some(entry.clone())),
        None if listing.lacks(name) => Shown::Certain(None),
        None => Shown::Unknown,
    }
}
