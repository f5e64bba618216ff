//! A directory as it was listed, sorted by name, and the changes of our own that can be made to it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::remote::{Listing, Modified, Precision, Rejected, RemoteEntry};

/// The identity of a listing's content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListingId(pub(super) u64);

/// All entries of one directory, sorted by name, at one moment plus our own changes since.
#[derive(Debug, Clone)]
pub struct CachedListing {
    entries: Vec<Arc<RemoteEntry>>,
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
    /// Sorts a listing that was asked for at that moment and took so long. A name that the server lists twice keeps its last line.
    pub(super) fn new(listing: Listing, asked: Instant, took: Duration) -> Self {
        let Listing {
            mut entries,
            is_truncated,
            rejected,
            shows_dot_names,
        } = listing;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries.dedup_by(|later, kept| {
            let is_same = later.name == kept.name;
            if is_same {
                std::mem::swap(later, kept);
            }
            is_same
        });
        entries.shrink_to_fit();
        Self {
            entries,
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
        for entry in &mut self.entries {
            let Some(coarse) = entry
                .modified
                .filter(|time| time.precision < Precision::Remembered)
            else {
                continue;
            };
            let Some(known) = older
                .find(&entry.name)
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
            Arc::make_mut(entry).modified = Some(remembered);
        }
    }

    /// The entry of that name.
    pub fn find(&self, name: &[u8]) -> Option<&Arc<RemoteEntry>> {
        self.entries.get(self.position(name).ok()?)
    }

    /// All entries, sorted by name.
    pub fn entries(&self) -> &[Arc<RemoteEntry>] {
        &self.entries
    }

    /// Whether it shows that nothing had this name: a name that is not here may exist nevertheless when the listing may have been cut
    /// short, when a line was not understood, and when names with a dot may have been left out.
    pub fn lacks(&self, name: &[u8]) -> bool {
        let may_be_hidden = name.starts_with(b".") && !self.shows_dot_names;
        self.find(name).is_none()
            && !self.is_truncated
            && !may_be_hidden
            && !self.rejected.may_hold(name)
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

    /// What it counts against the cache's bound: its entries, and one for itself, so that empty ones are bounded too.
    pub(super) fn weight(&self) -> usize {
        self.entries.len() + 1
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
                match self.position(&entry.name) {
                    Ok(index) => {
                        if let Some(known) = self.entries.get_mut(index) {
                            *known = Arc::clone(entry);
                        }
                    }
                    Err(index) => self.entries.insert(index, Arc::clone(entry)),
                }
                true
            }
            Patch::Update(name, change) => {
                let position = self.position(name).ok();
                let Some(entry) = position.and_then(|index| self.entries.get_mut(index)) else {
                    return false;
                };
                let entry = Arc::make_mut(entry);
                change(entry);
                assert_eq!(
                    entry.name, *name,
                    "an update changes everything but the name"
                );
                true
            }
            Patch::Remove(name) => match self.position(name) {
                Ok(index) => {
                    self.entries.remove(index);
                    true
                }
                Err(_) => false,
            },
        }
    }

    fn position(&self, name: &[u8]) -> Result<usize, usize> {
        self.entries
            .binary_search_by(|entry| (*entry.name).cmp(name))
    }
}

/// A change of our own to one directory.
pub(super) enum Patch {
    /// The entry is there, and is this.
    Upsert(Arc<RemoteEntry>),
    /// The entry of that name, if it is there, has changed in this way.
    Update(Box<[u8]>, Box<dyn FnMut(&mut RemoteEntry) + Send>),
    /// There is no entry of that name.
    Remove(Box<[u8]>),
}
