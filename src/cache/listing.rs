//! The listings kept in memory: an LRU with a TTL, one fetch a directory at a time, our own changes patched in.
//!
//! What is hard here, and what answers it:
//! 1. Many callers want one directory at once: the first leads a [`Flight`], the others wait for it.
//! 2. A fetch that runs while we change the directory may or may not show the change: each [`Patch`] made meanwhile
//!    stays with the flight and is applied to what it brings.
//! 3. A fetch that runs while its directory is renamed, removed or found wrong is cut off from the map of
//!    flights: its callers get what it brings, the cache does not, and nobody else joins it.

mod flight;
mod snapshot;

pub use snapshot::{CachedListing, ListingId};

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use lru::LruCache;

use self::{
    flight::{Airborne, COMMAND, Flight},
    snapshot::Patch,
};
use crate::{
    budget::{Budget, Demand},
    clock::Clock,
    config::CacheConfig,
    remote::{Listing, Remote, RemoteEntry, RemoteError, RemoteErrorKind, RemotePath, Result},
};

/// The cached listings, least recently used first out. They take what others leave of the budget: listings that arrive push them out.
pub struct ListingCache {
    clock: Arc<dyn Clock>,
    dir_ttl: Duration,
    budget: Arc<Budget>,
    /// The budget has it too, to evict listings.
    state: Arc<Mutex<State>>,
}

/// Guarded by `ListingCache::state`, which is never held across a call to the remote.
struct State {
    listings: LruCache<RemotePath, Arc<CachedListing>>,
    flights: HashMap<RemotePath, Airborne>,
    /// Directories whose listing did not fit a moment ago.
    too_long: HashMap<RemotePath, Instant>,
    /// The identity of the listing made last.
    last_id: u64,
}

/// How long it is remembered that a listing does not fit. 1 min: each try to find that out carries megabytes, and whoever looks for one name
/// can ask for it alone.
const TOO_LONG_LIFE: Duration = Duration::from_mins(1);

/// How many such directories are remembered. 64: few servers have any.
const TOO_LONG_MAX: usize = 64;

impl ListingCache {
    /// An empty cache of what is charged on that budget.
    pub fn new(config: &CacheConfig, clock: Arc<dyn Clock>, budget: Arc<Budget>) -> Self {
        let state = Arc::new(Mutex::new(State {
            listings: LruCache::unbounded(),
            flights: HashMap::new(),
            too_long: HashMap::new(),
            last_id: 0,
        }));
        let (evicted, now) = (Arc::downgrade(&state), Arc::clone(&clock));
        budget.evict_by(move |demand| {
            let state = Weak::upgrade(&evicted);
            state.is_some_and(|state| lock(&state).evict(demand, now.now()))
        });
        Self {
            clock,
            dir_ttl: config.dir_ttl,
            budget,
            state,
        }
    }

    /// The listing if it is cached and not expired.
    pub fn fresh(&self, dir: &RemotePath) -> Option<Arc<CachedListing>> {
        self.fresh_in(&mut self.lock(), dir)
    }

    /// The listing if it is cached, however old: for while the server does not answer.
    pub fn last_known(&self, dir: &RemotePath) -> Option<Arc<CachedListing>> {
        self.lock().listings.get(dir).cloned()
    }

    /// The listing, cached if fresh, else fetched; callers of one directory share one fetch.
    ///
    /// # Errors
    ///
    /// What [`Remote::list`] reports; all callers that share a fetch get the same.
    pub fn list(&self, remote: &dyn Remote, dir: &RemotePath) -> Result<Arc<CachedListing>> {
        if self.dir_ttl.is_zero() {
            // A fetch that somebody else has started shows a moment before this call: too old already.
            return self.refetch(remote, dir);
        }
        let mut state = self.lock();
        if let Some(listing) = self.fresh_in(&mut state, dir) {
            return Ok(listing);
        }
        let flight = match state.flights.get(dir) {
            Some(airborne) => {
                let flight = Arc::clone(&airborne.running);
                drop(state);
                return match flight.wait(dir) {
                    // A guess gets no more than half of the budget.
                    Err(error) if error.kind() == RemoteErrorKind::NoMemory => {
                        self.refetch(remote, dir)
                    }
                    outcome => outcome,
                };
            }
            None => state.start(dir),
        };
        drop(state);
        Lead::new(self, dir, flight, Demand::Program).fetch(remote)
    }

    /// Fetches the listing if it is neither fresh nor being fetched; waits for no other fetch. `None` when there was nothing to do.
    ///
    /// # Errors
    ///
    /// What [`Remote::list`] reports.
    pub fn list_ahead(
        &self,
        remote: &dyn Remote,
        dir: &RemotePath,
    ) -> Option<Result<Arc<CachedListing>>> {
        let mut state = self.lock();
        if self.is_coming_in(&state, dir) {
            return None;
        }
        let flight = state.start(dir);
        drop(state);
        Some(Lead::new(self, dir, flight, Demand::Guess).fetch(remote))
    }

    /// Whether the listing is fresh or being fetched.
    pub fn is_coming(&self, dir: &RemotePath) -> bool {
        self.is_coming_in(&self.lock(), dir)
    }

    /// Whether the directory's listing did not fit when a program asked for it a moment ago.
    pub fn is_too_long(&self, dir: &RemotePath) -> bool {
        let seen = self.lock().too_long.get(dir).copied();
        seen.is_some_and(|seen| self.clock.now() < seen + TOO_LONG_LIFE)
    }

    /// What there is for them and all others.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Fetches the listing anew: the fetch starts after this call, so what it brings is not older. Callers that wait
    /// for such a fetch to start share it.
    ///
    /// # Errors
    ///
    /// What [`Remote::list`] reports. When the fetch before this one found the server dead, its error.
    pub fn refetch(&self, remote: &dyn Remote, dir: &RemotePath) -> Result<Arc<CachedListing>> {
        let mut state = self.lock();
        let Some(airborne) = state.flights.get_mut(dir) else {
            let flight = state.start(dir);
            drop(state);
            return Lead::new(self, dir, flight, Demand::Program).fetch(remote);
        };
        if let Some(queued) = &airborne.queued {
            let queued = Arc::clone(queued);
            drop(state);
            return queued.wait(dir);
        }
        let previous = Arc::clone(&airborne.running);
        let flight = Arc::new(Flight::default());
        airborne.queued = Some(Arc::clone(&flight));
        drop(state);
        let lead = Lead::new(self, dir, flight, Demand::Program);
        match previous.wait(dir) {
            // A second wait for a server that has just used up the first would double the deadline.
            Err(error) if flight::is_dead(error.kind()) => lead.land(Err(error)),
            _ => lead.fetch(remote),
        }
    }

    /// Puts our own new or changed entry into the listing, if the directory is cached or being fetched.
    pub fn upsert(&self, dir: &RemotePath, entry: RemoteEntry) {
        self.patch(dir, Patch::Upsert(Box::new(entry)));
    }

    /// Changes what is known of an entry, everything but its name, if it is cached or being fetched. `change` may run
    /// more than once, on different versions of the entry.
    pub fn update(
        &self,
        dir: &RemotePath,
        name: &[u8],
        change: impl FnMut(&mut RemoteEntry) + Send + 'static,
    ) {
        self.patch(dir, Patch::Update(name.into(), Box::new(change)));
    }

    /// Takes out an entry that we removed, if the directory is cached or being fetched.
    pub fn remove(&self, dir: &RemotePath, name: &[u8]) {
        self.patch(dir, Patch::Remove(name.into()));
    }

    /// Drops a listing that we were told is wrong, and what a running fetch of it brings.
    pub fn invalidate(&self, dir: &RemotePath) {
        let mut state = self.lock();
        state.flights.remove(dir);
        state.take(dir);
    }

    /// Drops the listings of `dir` and of all below it: it was renamed or removed.
    pub fn forget_tree(&self, dir: &RemotePath) {
        let mut state = self.lock();
        state.flights.retain(|path, _| !path.is_within(dir));
        let gone: Vec<RemotePath> = state
            .listings
            .iter()
            .map(|(path, _)| path)
            .filter(|p| p.is_within(dir))
            .cloned()
            .collect();
        for path in &gone {
            state.take(path);
        }
    }

    /// Takes up a directory that we just made: known to be empty without a fetch.
    pub fn made_dir(&self, dir: &RemotePath) {
        let mut state = self.lock();
        state.flights.remove(dir);
        let empty = Listing {
            shows_dot_names: true,
            ..Listing::default()
        };
        let listing = CachedListing::new(empty, self.clock.now(), Duration::ZERO, &self.budget);
        self.store(&mut state, dir, listing);
    }

    fn is_coming_in(&self, state: &State, dir: &RemotePath) -> bool {
        state.flights.contains_key(dir)
            || state
                .listings
                .peek(dir)
                .is_some_and(|listing| self.clock.now() < listing.expires())
    }

    fn fresh_in(&self, state: &mut State, dir: &RemotePath) -> Option<Arc<CachedListing>> {
        // Looked up even with a TTL of zero, where nothing is fresh: `now` is then at or after the expiry.
        let listing = state.listings.peek(dir)?;
        if self.clock.now() >= listing.expires() {
            return None;
        }
        state.listings.get(dir).cloned()
    }

    /// Ends a flight: applies the patches made meanwhile, and caches the result unless it was cut off.
    fn land(
        &self,
        dir: &RemotePath,
        flight: &Arc<Flight>,
        fetched: Result<CachedListing>,
    ) -> Result<Arc<CachedListing>> {
        let mut state = self.lock();
        let outcome = match state.take_flight(dir, flight) {
            None => fetched.map(|listing| state.share(listing, self.expiry())),
            Some(patches) => fetched.map(|mut listing| {
                if let Some(older) = state.listings.peek(dir) {
                    listing.keep_exact_times(older);
                }
                for mut patch in patches {
                    listing.apply(&mut patch);
                }
                self.store(&mut state, dir, listing)
            }),
        };
        drop(state);
        flight.complete(outcome.clone());
        outcome
    }

    /// Takes note of whether the directory's listing did not fit.
    fn note_length(&self, dir: &RemotePath, error: Option<&RemoteError>) {
        let mut state = self.lock();
        if error.is_some_and(|error| error.kind() == RemoteErrorKind::NoMemory) {
            if state.too_long.len() >= TOO_LONG_MAX {
                state.too_long.clear();
            }
            state.too_long.insert(dir.clone(), self.clock.now());
        } else {
            state.too_long.remove(dir);
        }
    }

    fn patch(&self, dir: &RemotePath, mut patch: Patch) {
        let mut guard = self.lock();
        let state = &mut *guard;
        if let Some(listing) = state.listings.peek_mut(dir) {
            let listing = Arc::make_mut(listing);
            if listing.apply(&mut patch) {
                state.last_id += 1;
                listing.set_id(ListingId(state.last_id));
            }
        }
        if let Some(airborne) = state.flights.get_mut(dir) {
            airborne.patches.push(patch);
        }
        self.make_room(state);
    }

    fn store(
        &self,
        state: &mut State,
        dir: &RemotePath,
        listing: CachedListing,
    ) -> Arc<CachedListing> {
        let listing = state.share(listing, self.expiry());
        state.take(dir);
        state.listings.put(dir.clone(), Arc::clone(&listing));
        self.make_room(state);
        listing
    }

    fn make_room(&self, state: &mut State) {
        while !self.budget.is_enough(Demand::Program)
            && state.evict(Demand::Program, self.clock.now())
        {}
    }

    /// Counted from the arrival: a listing that takes longer than the TTL to fetch would never be of use otherwise.
    fn expiry(&self) -> Instant {
        let now = self.clock.now();
        now.checked_add(self.dir_ttl).unwrap_or(now)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn start(&mut self, dir: &RemotePath) -> Arc<Flight> {
        let flight = Arc::new(Flight::default());
        self.flights
            .insert(dir.clone(), Airborne::new(Arc::clone(&flight)));
        flight
    }

    /// Takes a flight out of the map, with the patches made while it ran, and lets the one queued behind it be the
    /// running one. `None` when it was cut off before.
    fn take_flight(&mut self, dir: &RemotePath, flight: &Arc<Flight>) -> Option<Vec<Patch>> {
        let airborne = self.flights.get_mut(dir)?;
        if airborne
            .queued
            .as_ref()
            .is_some_and(|queued| Arc::ptr_eq(queued, flight))
        {
            // It never started (its leader panicked while it waited).
            airborne.queued = None;
            return None;
        }
        if !Arc::ptr_eq(&airborne.running, flight) {
            return None;
        }
        let landed = self.flights.remove(dir)?;
        if let Some(queued) = landed.queued {
            self.flights.insert(dir.clone(), Airborne::new(queued));
        }
        Some(landed.patches)
    }

    fn share(&mut self, mut listing: CachedListing, expires: Instant) -> Arc<CachedListing> {
        self.last_id += 1;
        listing.set_id(ListingId(self.last_id));
        listing.set_expires(expires);
        Arc::new(listing)
    }

    fn take(&mut self, dir: &RemotePath) {
        self.listings.pop(dir);
    }

    /// Lets go of the listing that was used least recently, of those that nobody else holds; for a guess only of one that may not be shown any
    /// more. Whether there was one.
    fn evict(&mut self, demand: Demand, now: Instant) -> bool {
        let may_go = |listing: &Arc<CachedListing>| {
            Arc::strong_count(listing) == 1
                && (demand == Demand::Program || listing.expires() <= now)
        };
        let mut oldest_first = self.listings.iter().rev();
        let found = oldest_first.find(|(_, listing)| may_go(listing));
        let Some(dir) = found.map(|(dir, _)| dir.clone()) else {
            return false;
        };
        self.take(&dir);
        true
    }
}

/// The duty to land a flight; dropped without (a panic), those who wait get an error.
struct Lead<'a> {
    cache: &'a ListingCache,
    dir: &'a RemotePath,
    flight: Arc<Flight>,
    demand: Demand,
    has_landed: bool,
}

impl<'a> Lead<'a> {
    fn new(
        cache: &'a ListingCache,
        dir: &'a RemotePath,
        flight: Arc<Flight>,
        demand: Demand,
    ) -> Self {
        Self {
            cache,
            dir,
            flight,
            demand,
            has_landed: false,
        }
    }

    fn fetch(self, remote: &dyn Remote) -> Result<Arc<CachedListing>> {
        let asked = self.cache.clock.now();
        let fetched = remote.list(self.dir);
        let took = self.cache.clock.now().saturating_duration_since(asked);
        if self.demand == Demand::Program {
            self.cache.note_length(self.dir, fetched.as_ref().err());
        }
        let budget = &self.cache.budget;
        self.land(fetched.map(|listing| CachedListing::new(listing, asked, took, budget)))
    }

    fn land(mut self, fetched: Result<CachedListing>) -> Result<Arc<CachedListing>> {
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

impl fmt::Debug for ListingCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("ListingCache")
            .field("listings", &state.listings.len())
            .field("flights", &state.flights.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
