//! The tree as the server shows it: listings kept in memory, names asked for alone, and our own changes entered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use super::spelling::is_same_spelled_otherwise;
use crate::{
    cache::{CachedListing, ListingCache},
    clock::Clock,
    config::CacheConfig,
    fs::hidden::HiddenNames,
    remote::{self, EntryKind, Evidence, Remote, RemoteEntry, RemoteErrorKind, RemotePath},
};

/// A directory whose listing has more entries than this is not listed to learn of one name. 5000 entries are some 400 KB, what a slow line
/// carries in the time that a user calls immediate.
pub(super) const RELIST_ENTRIES_MAX: usize = 5_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Tree {
    remote: Arc<dyn Remote>,
    listings: ListingCache,
    hidden: Arc<HiddenNames>,
    clock: Arc<dyn Clock>,
    dir_ttl: Duration,
    /// Whether the server was asked in vain for a size that its listing does not show.
    tells_no_sizes: AtomicBool,
}

impl Tree {
    /// Nothing of it is known yet.
    pub(crate) fn new(
        remote: Arc<dyn Remote>,
        hidden: Arc<HiddenNames>,
        config: &CacheConfig,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let budget = Arc::clone(remote.listing_budget());
        Self {
            remote,
            listings: ListingCache::new(config, clock.clone(), budget),
            hidden,
            clock,
            dir_ttl: config.dir_ttl,
            tells_no_sizes: AtomicBool::new(false),
        }
    }

    /// The listings that are kept.
    pub(crate) fn listings(&self) -> &ListingCache {
        &self.listings
    }

    /// How long what the server shows may be relied on.
    pub(crate) fn dir_ttl(&self) -> Duration {
        self.dir_ttl
    }

    /// The present.
    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The same as a time of day.
    pub(crate) fn wall(&self) -> SystemTime {
        self.clock.wall()
    }

    /// A directory's listing, at most the TTL old.
    pub(crate) fn list(&self, dir: &RemotePath) -> remote::Result<Arc<CachedListing>> {
        self.listings.list(&*self.remote, dir)
    }

    /// A directory's listing as it is now.
    pub(crate) fn relist(&self, dir: &RemotePath) -> remote::Result<Arc<CachedListing>> {
        self.listings.refetch(&*self.remote, dir)
    }

    /// The same before anybody asks for it; `None` when it is there or coming.
    pub(crate) fn list_ahead(
        &self,
        remote: &dyn Remote,
        dir: &RemotePath,
    ) -> Option<remote::Result<Arc<CachedListing>>> {
        self.listings.list_ahead(remote, dir)
    }

    /// For how long a listing may still be relied on.
    pub(crate) fn remaining(&self, listing: &CachedListing) -> Duration {
        listing
            .expires()
            .saturating_duration_since(self.clock.now())
    }

    /// The entry at a path as the server shows it; `None` when there is none.
    pub(crate) fn entry(&self, path: &RemotePath) -> remote::Result<Option<Arc<RemoteEntry>>> {
        self.entry_with_ttl(path).map(|(entry, _)| entry)
    }

    /// The same, and for how long it may be relied on.
    pub(crate) fn entry_with_ttl(
        &self,
        path: &RemotePath,
    ) -> remote::Result<(Option<Arc<RemoteEntry>>, Duration)> {
        let (Some(dir), Some(name)) = (path.parent(), path.name()) else {
            let root = RemoteEntry::new(&b"/"[..], EntryKind::Directory);
            return Ok((Some(Arc::new(root)), self.dir_ttl));
        };
        if self.hidden.is_hidden(name) {
            return Ok((None, Duration::ZERO));
        }
        if self.listings.fresh(&dir).is_none()
            && let Some(old) = self.listings.last_known(&dir)
            && old.entries().len() > RELIST_ENTRIES_MAX
        {
            let old = old.find(name);
            // Servers follow a link when they are asked for it alone.
            if let Some(link) = old.clone().filter(|entry| entry.kind == EntryKind::Symlink) {
                return Ok((Some(link), self.dir_ttl));
            }
            return Ok((self.stat(path, old.as_ref())?.map(Arc::new), self.dir_ttl));
        }
        if self.listings.is_too_long(&dir) {
            return Ok((self.stat(path, None)?.map(Arc::new), self.dir_ttl));
        }
        let listing = match self.list(&dir) {
            Ok(listing) => listing,
            // A directory that may be entered and not listed, or is too large for it: its entries can be asked for one by one.
            Err(error)
                if matches!(
                    error.kind(),
                    RemoteErrorKind::Refused | RemoteErrorKind::NoMemory
                ) =>
            {
                return Ok((self.stat(path, None)?.map(Arc::new), self.dir_ttl));
            }
            Err(error) => return Err(error),
        };
        let ttl = self.remaining(&listing);
        match listing.find(name) {
            Some(entry) => Ok((Some(self.sized(&dir, path, entry)?), ttl)),
            None if listing.lacks(name) => Ok((None, ttl)),
            None => {
                let entry = self.stat(path, None)?;
                if let Some(entry) = &entry {
                    self.listings.upsert(&dir, entry.clone());
                }
                Ok((entry.map(Arc::new), ttl))
            }
        }
    }

    /// Whether a listing does not show how long a file is, and the server may say so when it is asked.
    pub(crate) fn must_ask_size(&self, kind: EntryKind, size: Option<u64>) -> bool {
        kind == EntryKind::File && size.is_none() && !self.tells_no_sizes.load(Ordering::Relaxed)
    }

    /// The entry of a listing, with the size that it does not show.
    fn sized(
        &self,
        dir: &RemotePath,
        path: &RemotePath,
        entry: Arc<RemoteEntry>,
    ) -> remote::Result<Arc<RemoteEntry>> {
        if !self.must_ask_size(entry.kind, entry.size) {
            return Ok(entry);
        }
        match self.stat(path, Some(&entry)) {
            Ok(Some(found)) if found.kind == entry.kind && found.size.is_some() => {
                self.listings.upsert(dir, found.clone());
                Ok(Arc::new(found))
            }
            Err(error) if !error.is_answer() => Err(error),
            // Gone since, or refused: that may be for the sake of this file.
            Ok(None) | Err(_) => Ok(entry),
            Ok(Some(_)) => {
                log::info!(
                    "{path}: its size is not known; this server is not asked for sizes again"
                );
                self.tells_no_sizes.store(true, Ordering::Relaxed);
                Ok(entry)
            }
        }
    }

    /// One entry asked for alone, with what only a listing shows taken from an older one.
    fn stat(
        &self,
        path: &RemotePath,
        old: Option<&Arc<RemoteEntry>>,
    ) -> remote::Result<Option<RemoteEntry>> {
        let Some(mut entry) = self.remote.stat(path)? else {
            return Ok(None);
        };
        if let Some(old) = old.filter(|old| old.kind == entry.kind) {
            entry.mode = entry.mode.or(old.mode);
            entry.modified = entry.modified.or(old.modified);
            entry.size = entry.size.or(old.size);
        }
        Ok(Some(entry))
    }

    /// What is at a path, asked for alone, at this moment.
    pub(super) fn look_now(&self, path: &RemotePath, dir: &RemotePath) -> remote::Result<Evidence> {
        let evidence = self.remote.look(path)?;
        if let Some(entry) = evidence.entry()
            && !self.is_listed_otherwise(dir, &entry.name)
        {
            self.listings.upsert(dir, (**entry).clone());
        }
        Ok(evidence)
    }

    /// Whether what was found is listed under another spelling of its name.
    fn is_listed_otherwise(&self, dir: &RemotePath, name: &[u8]) -> bool {
        self.listings.last_known(dir).is_some_and(|listing| {
            let mut entries = listing.entries().iter();
            !listing.has(name) && entries.any(|entry| is_same_spelled_otherwise(entry.name, name))
        })
    }

    /// Enters a new name into its directory's listing.
    pub(crate) fn enter(&self, path: &RemotePath, entry: RemoteEntry) {
        if let Some(dir) = path.parent() {
            self.listings.upsert(&dir, entry);
            self.touch_dir(&dir);
            self.hidden.debts().note_success();
        }
    }

    /// Takes a name out of its directory's listing.
    pub(crate) fn leave(&self, path: &RemotePath) {
        if let (Some(dir), Some(name)) = (path.parent(), path.name()) {
            self.listings.remove(&dir, name);
            self.touch_dir(&dir);
            self.hidden.debts().note_success();
        }
    }

    /// Changes what is known of an entry, everything but its name.
    pub(crate) fn update(
        &self,
        path: &RemotePath,
        change: impl FnMut(&mut RemoteEntry) + Send + 'static,
    ) {
        if let (Some(dir), Some(name)) = (path.parent(), path.name()) {
            self.listings.update(&dir, name, change);
        }
    }

    /// A directory's time moves when its names do.
    pub(crate) fn touch_dir(&self, dir: &RemotePath) {
        let now = self.wall().into();
        self.update(dir, move |entry| entry.modified = Some(now));
    }
}
