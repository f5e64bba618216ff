//! A directory as it was listed, sorted by name, and the changes of our own that can be made to it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    budget::{Budget, Charge},
    remote::{Entries, Listing, Modified, Precision, Rejected, RemoteEntry},
};

/// What a listing counts for besides its entries: itself, its path, and its place in the cache. A thousand bytes: more than that with most paths, so
/// that empty directories are bounded too.
const OVERHEAD: usize = 1000;

/// The identity of a listing's content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListingId(pub(super) u64);

/// All entries of one directory, sorted by name, at one moment plus our own changes since.
#[derive(Debug, Clone)]
pub struct CachedListing {
    entries: Entries,
    /// What it takes besides its entries.
    charge: Charge,
    is_truncated: bool,
    rejected: Rejected,
    shows_dot_names: bool,
    /// When it was asked for: what it says is no newer.
    asked: Instant,
    /// How long the server took to send it.
    took: Duration,
    expires: Instant,
    id: ListingId,
}

impl CachedListing {
    /// A listing that was asked for at that moment and took so long, charged on a budget.
    pub(super) fn new(
        listing: Listing,
        asked: Instant,
        took: Duration,
        budget: &Arc<Budget>,
    ) -> Self {
        let Listing {
            entries,
            is_truncated,
            rejected,
            shows_dot_names,
        } = listing;
        let mut charge = budget.charge();
        charge.set(OVERHEAD + rejected.bytes());
        Self {
            entries,
            charge,
            is_truncated,
            rejected,
            shows_dot_names,
            asked,
            took,
            expires: asked,
            id: ListingId(0),
        }
    }

    /// Takes over from an older listing the times that it knows exactly (we asked for them, or set them ourselves) where this one
    /// tells the same content's time to the minute or day only, as LIST does.
    pub(super) fn keep_exact_times(&mut self, older: &Self) {
        let mut exact_times = Vec::new();
        for entry in self.entries.iter() {
            let Some(coarse) = entry
                .modified
                .filter(|time| time.precision < Precision::Remembered)
            else {
                continue;
            };
            let Some(known) = older
                .entries
                .find(entry.name)
                .filter(|known| known.size == entry.size)
            else {
                continue;
            };
            let Some(exact) = known.modified.filter(|exact| {
                exact.precision >= Precision::Remembered && exact.agrees_with(coarse)
            }) else {
                continue;
            };
            let remembered = Modified {
                precision: Precision::Remembered,
                ..exact
            };
            let mut entry = entry.to_entry();
            entry.modified = Some(remembered);
            exact_times.push(entry);
        }
        for entry in &exact_times {
            self.entries.upsert(entry.as_borrowed());
        }
    }

    /// The entry of that name.
    pub fn find(&self, name: &[u8]) -> Option<Arc<RemoteEntry>> {
        let entry = self.entries.find(name)?;
        Some(Arc::new(entry.to_entry()))
    }

    /// Whether it has an entry of that name.
    pub fn has(&self, name: &[u8]) -> bool {
        self.entries.find(name).is_some()
    }

    /// All entries, sorted by name.
    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    /// Whether it shows that nothing had this name: a name that is not here may exist nevertheless when the listing may have been cut
    /// short, when a line was not understood, and when names with a dot may have been left out.
    pub fn lacks(&self, name: &[u8]) -> bool {
        let may_be_hidden = name.starts_with(b".") && !self.shows_dot_names;
        !self.has(name) && !self.is_truncated && !may_be_hidden && !self.rejected.may_hold(name)
    }

    /// Whether it shows all there was, so that what is not here was not there.
    pub fn is_whole(&self) -> bool {
        !self.is_truncated && self.rejected.count() == 0
    }

    /// When it was asked for.
    pub fn asked(&self) -> Instant {
        self.asked
    }

    /// How long the server took to send it.
    pub fn took(&self) -> Duration {
        self.took
    }

    /// When it becomes too old to be shown.
    pub fn expires(&self) -> Instant {
        self.expires
    }

    /// The identity of this content: it changes with each fetch and with each change of our own, and never returns.
    pub fn id(&self) -> ListingId {
        self.id
    }

    /// How much memory it takes, what it shares with others too.
    pub fn bytes(&self) -> usize {
        self.entries.bytes() + self.charge.bytes()
    }

    pub(super) fn set_id(&mut self, id: ListingId) {
        self.id = id;
    }

    pub(super) fn set_expires(&mut self, expires: Instant) {
        self.expires = expires;
    }

    /// Makes a change; returns whether there was anything to change.
    pub(super) fn apply(&mut self, patch: &mut Patch) -> bool {
        match patch {
            Patch::Upsert(entry) => {
                self.entries.upsert(entry.as_borrowed());
                true
            }
            Patch::Update(name, change) => {
                let Some(entry) = self.entries.find(name) else {
                    return false;
                };
                let mut entry = entry.to_entry();
                change(&mut entry);
                assert_eq!(
                    entry.name, *name,
                    "an update changes everything but the name"
                );
                self.entries.upsert(entry.as_borrowed());
                true
            }
            Patch::Remove(name) => self.entries.remove(name),
        }
    }
}

/// A change of our own to one directory.
pub(super) enum Patch {
    /// The entry is there, and is this.
    Upsert(Box<RemoteEntry>),
    /// The entry of that name, if it is there, has changed in this way.
    Update(Box<[u8]>, Box<dyn FnMut(&mut RemoteEntry) + Send>),
    /// There is no entry of that name.
    Remove(Box<[u8]>),
}
