//! One fetch of one directory, and those who wait for it.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use super::{CachedListing, ListingCache, snapshot::Patch};
use crate::remote::{Phase, Remote, RemoteError, RemoteErrorKind, RemotePath, Result};

/// The longest wait for a fetch led by another thread. The remote ends every wait without progress by itself, so this
/// is only for the case that it breaks its word; 5 minutes: the largest listing over a slow line takes less.
const WAIT_MAX: Duration = Duration::from_mins(5);

/// What stands for the command in errors of the flight itself: a listing is asked by MLSD or LIST.
const COMMAND: &str = "LIST";

/// A fetch that is running or queued; its leader completes it, the others wait.
#[derive(Debug, Default)]
pub(super) struct Flight {
    outcome: Mutex<Option<Result<Arc<CachedListing>>>>,
    landed: Condvar,
}

impl Flight {
    /// What the fetch brought.
    pub(super) fn wait(&self, dir: &RemotePath) -> Result<Arc<CachedListing>> {
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let (outcome, _) = self
            .landed
            .wait_timeout_while(outcome, WAIT_MAX, |outcome| outcome.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        outcome.clone().unwrap_or_else(|| {
            let kind = RemoteErrorKind::TimedOut(Phase::Reply);
            Err(RemoteError::new(kind, COMMAND).with_path(dir))
        })
    }

    pub(super) fn complete(&self, outcome: Result<Arc<CachedListing>>) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        self.landed.notify_all();
    }
}

/// The flights of one directory that are not cut off.
pub(super) struct Airborne {
    pub(super) running: Arc<Flight>,
    /// Starts when `running` has landed.
    pub(super) queued: Option<Arc<Flight>>,
    /// Our own changes since `running` started; few, as each cost a round trip.
    pub(super) patches: Vec<Patch>,
}

impl Airborne {
    pub(super) fn new(running: Arc<Flight>) -> Self {
        Self {
            running,
            queued: None,
            patches: Vec::new(),
        }
    }
}

/// The duty to land a flight; dropped without (a panic), those who wait get an error.
pub(super) struct Lead<'a> {
    cache: &'a ListingCache,
    dir: &'a RemotePath,
    flight: Arc<Flight>,
    has_landed: bool,
}

impl<'a> Lead<'a> {
    pub(super) fn new(cache: &'a ListingCache, dir: &'a RemotePath, flight: Arc<Flight>) -> Self {
        Self {
            cache,
            dir,
            flight,
            has_landed: false,
        }
    }

    pub(super) fn fetch(self, remote: &dyn Remote) -> Result<Arc<CachedListing>> {
        // Sorted here, before the cache's lock is taken: 100 000 names take some 20 ms.
        let asked = self.cache.clock.now();
        let fetched = remote.list(self.dir);
        let took = self.cache.clock.now().saturating_duration_since(asked);
        self.land(fetched.map(|listing| CachedListing::new(listing, asked, took)))
    }

    pub(super) fn land(mut self, fetched: Result<CachedListing>) -> Result<Arc<CachedListing>> {
        let outcome = self.cache.land(self.dir, &self.flight, fetched);
        self.has_landed = true;
        outcome
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        if !self.has_landed {
            let error = RemoteError::new(RemoteErrorKind::Failed, COMMAND)
                .with_path(self.dir)
                .with_source("the thread that fetched the listing panicked");
            let _ = self.cache.land(self.dir, &self.flight, Err(error));
        }
    }
}

/// Whether an error says that the server does not answer, so that asking it again at once is of no use.
pub(super) fn is_dead(kind: RemoteErrorKind) -> bool {
    matches!(
        kind,
        RemoteErrorKind::TimedOut(_) | RemoteErrorKind::Disconnected
    )
}
