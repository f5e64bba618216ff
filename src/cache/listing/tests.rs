//! The promises of the listing cache, over a server in memory and a clock that the test moves.

use std::{sync::Barrier, thread};

use super::*;
use crate::{
    clock::ManualClock,
    remote::{
        EntryKind, Gathering, RemoteErrorKind,
        memory::{Behaviour, MemoryRemote, Operation},
    },
};

fn path(text: &str) -> RemotePath {
    let names = text.split('/').filter(|name| !name.is_empty());
    names.fold(RemotePath::root(), |dir, name| {
        dir.join(name.as_bytes()).unwrap()
    })
}

fn file(name: &str, size: u64) -> RemoteEntry {
    RemoteEntry {
        size: Some(size),
        ..RemoteEntry::new(name.as_bytes(), EntryKind::File)
    }
}

fn listing(names: &[&str]) -> Listing {
    Listing {
        entries: names.iter().map(|name| file(name, 1)).collect(),
        ..Listing::default()
    }
}

fn names(listing: &CachedListing) -> Vec<String> {
    listing
        .entries()
        .iter()
        .map(|e| String::from_utf8_lossy(e.name).into_owned())
        .collect()
}

fn cache(ttl: u64) -> (Arc<ListingCache>, Arc<ManualClock>) {
    cache_in(&Budget::new(usize::MAX), ttl)
}

fn cache_in(budget: &Arc<Budget>, ttl: u64) -> (Arc<ListingCache>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new());
    let config = CacheConfig {
        dir_ttl: Duration::from_secs(ttl),
        ..CacheConfig::default()
    };
    let cache = ListingCache::new(
        &config,
        Arc::clone(&clock) as Arc<dyn Clock>,
        Arc::clone(budget),
    );
    (Arc::new(cache), clock)
}

/// A server with three files in each of the directories, and the cache of a client that has memory for so many of them and a half.
fn with_memory_for(count: usize, dirs: &[&str]) -> (MemoryRemote, Arc<ListingCache>) {
    let names = ["a", "b", "c"];
    let remote = serving(dirs, &names);
    let (whole, _) = cache(20);
    let one = whole.list(&remote, &path(dirs[0])).unwrap().bytes();
    // Its entries are charged here.
    let behaviour = Behaviour {
        listing_bytes_max: one * count + one / 2,
        ..Behaviour::default()
    };
    let remote = MemoryRemote::with_behaviour(Arc::new(ManualClock::new()), behaviour);
    for (dir, name) in dirs.iter().flat_map(|dir| names.map(|name| (dir, name))) {
        remote.write_file(&path(&format!("{dir}/{name}")), b"x");
    }
    let (cache, _) = cache_in(remote.listing_budget(), 20);
    (remote, cache)
}

/// A server with these files in each of the directories.
fn serving(dirs: &[&str], names: &[&str]) -> MemoryRemote {
    let remote = MemoryRemote::new(Arc::new(ManualClock::new()));
    for dir in dirs {
        for name in names {
            remote.write_file(&path(&format!("{dir}/{name}")), b"x");
        }
    }
    remote
}

/// Where one listing is held: it waits here for the test when it comes, and again to go on.
type Gate = Arc<Barrier>;

fn gate() -> (Gate, impl FnOnce(&MemoryRemote) + Send + 'static) {
    let gate = Arc::new(Barrier::new(2));
    let step = {
        let gate = Arc::clone(&gate);
        move |_: &MemoryRemote| {
            gate.wait();
            gate.wait();
        }
    };
    (gate, step)
}

/// Holds the next listing before it is read.
fn hold_before(remote: &MemoryRemote) -> Gate {
    let (gate, step) = gate();
    remote.before(Operation::List, step);
    gate
}

/// Holds the next listing when it has been read.
fn hold_after(remote: &MemoryRemote) -> Gate {
    let (gate, step) = gate();
    remote.after(Operation::List, step);
    gate
}

type Outcome = thread::JoinHandle<Result<Arc<CachedListing>>>;

fn list_elsewhere(cache: &Arc<ListingCache>, remote: &MemoryRemote, dir: &str) -> Outcome {
    let (cache, remote, dir) = (Arc::clone(cache), remote.clone(), path(dir));
    thread::spawn(move || cache.list(&remote, &dir))
}

fn refetch_elsewhere(cache: &Arc<ListingCache>, remote: &MemoryRemote, dir: &str) -> Outcome {
    let (cache, remote, dir) = (Arc::clone(cache), remote.clone(), path(dir));
    thread::spawn(move || cache.refetch(&remote, &dir))
}

/// Waits until `count` threads besides the leader and the map hold the running or queued flight of `dir`.
fn await_waiters(cache: &ListingCache, dir: &str, is_queued: bool, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let state = cache.lock();
        let airborne = state.flights.get(&path(dir));
        let flight = if is_queued {
            airborne.and_then(|airborne| airborne.queued.as_ref())
        } else {
            airborne.map(|airborne| &airborne.running)
        };
        if flight.is_some_and(|flight| Arc::strong_count(flight) == 2 + count) {
            return;
        }
        drop(state);
        assert!(Instant::now() < deadline, "the waiters never came");
        thread::yield_now();
    }
}

#[test]
fn entries_are_sorted_and_found_and_the_last_of_a_doubled_name_stays() {
    let mut twice = listing(&["b", "a", "c"]);
    let mut entries = Gathering::from(twice.entries);
    entries.push(file("a", 7).as_borrowed());
    twice.entries = entries.finish();
    let budget = Budget::new(usize::MAX);
    let sorted = CachedListing::new(twice, Instant::now(), Duration::ZERO, &budget);
    assert_eq!(names(&sorted), ["a", "b", "c"]);
    assert_eq!(sorted.find(b"a").unwrap().size, Some(7));
    assert!(sorted.find(b"aa").is_none());
}

// SEMANTICS: S-lookup
#[test]
fn expired_listing_is_refetched_and_stays_as_last_known() {
    let (cache, clock) = cache(20);
    let remote = serving(&["/d"], &["a"]);
    let dir = path("/d");
    let first = cache.list(&remote, &dir).unwrap();
    clock.advance(Duration::from_secs(19));
    assert_eq!(cache.list(&remote, &dir).unwrap().id(), first.id());
    assert_eq!(remote.calls(Operation::List), 1);
    clock.advance(Duration::from_secs(1));
    assert!(cache.fresh(&dir).is_none());
    assert_eq!(cache.last_known(&dir).unwrap().id(), first.id());
    let second = cache.list(&remote, &dir).unwrap();
    assert_eq!(remote.calls(Operation::List), 2);
    assert_ne!(first.id(), second.id());
}

// SEMANTICS: S-lookup
#[test]
fn ttl_of_zero_fetches_each_time() {
    let (cache, _) = cache(0);
    let remote = serving(&["/d"], &["a"]);
    for _ in 0..3 {
        cache.list(&remote, &path("/d")).unwrap();
        assert!(cache.fresh(&path("/d")).is_none());
    }
    cache.made_dir(&path("/new"));
    assert!(cache.fresh(&path("/new")).is_none());
    assert_eq!(remote.calls(Operation::List), 3);
}

// SEMANTICS: S-listing-memory
#[test]
fn least_recently_used_listing_makes_room() {
    let (remote, cache) = with_memory_for(2, &["/1", "/2", "/3"]);
    drop(cache.list(&remote, &path("/1")).unwrap());
    drop(cache.list(&remote, &path("/2")).unwrap());
    assert!(cache.fresh(&path("/1")).is_some());
    cache.list(&remote, &path("/3")).unwrap();
    assert!(cache.fresh(&path("/1")).is_some());
    assert!(cache.fresh(&path("/2")).is_none());
    assert!(cache.fresh(&path("/3")).is_some());
}

// SEMANTICS: S-listing-memory
#[test]
fn patches_count_against_the_bound() {
    let (remote, cache) = with_memory_for(2, &["/1", "/2"]);
    drop(cache.list(&remote, &path("/1")).unwrap());
    drop(cache.list(&remote, &path("/2")).unwrap());
    for number in 0..100 {
        cache.upsert(&path("/2"), file(&format!("d{number}"), 1));
    }
    assert!(cache.last_known(&path("/1")).is_none());
}

// SEMANTICS: S-listing-memory
#[test]
fn a_listing_that_a_handle_shows_is_not_evicted_and_counts() {
    let (remote, cache) = with_memory_for(2, &["/1", "/2", "/3"]);
    let held = cache.list(&remote, &path("/1")).unwrap();
    drop(cache.list(&remote, &path("/2")).unwrap());
    drop(cache.list(&remote, &path("/3")).unwrap());
    assert!(cache.fresh(&path("/1")).is_some());
    assert!(cache.fresh(&path("/2")).is_none());
    cache.invalidate(&path("/1"));
    let used = cache.budget().used();
    drop(held);
    assert!(cache.budget().used() < used);
}

// SEMANTICS: S-listing-memory
#[test]
fn a_listing_that_does_not_fit_is_an_error_and_remembered() {
    let (remote, cache) = with_memory_for(0, &["/1"]);
    for number in 0..100 {
        remote.write_file(&path(&format!("/1/{number}")), b"x");
    }
    let error = cache.list(&remote, &path("/1")).unwrap_err();
    assert_eq!(error.kind(), RemoteErrorKind::NoMemory);
    assert!(cache.is_too_long(&path("/1")));
    assert_eq!(cache.budget().used(), 0, "nothing is left of it");
}

#[test]
fn patches_show_and_leave_snapshots_alone() {
    let (cache, _) = cache(20);
    let remote = serving(&["/d"], &["a", "c"]);
    let dir = path("/d");
    let before = cache.list(&remote, &dir).unwrap();
    cache.upsert(&dir, file("b", 5));
    cache.update(&dir, b"a", |entry| entry.size = Some(9));
    cache.update(&dir, b"none", |entry| entry.size = Some(9));
    cache.remove(&dir, b"c");
    let after = cache.fresh(&dir).unwrap();
    assert_eq!(names(&before), ["a", "c"]);
    assert_eq!(before.find(b"a").unwrap().size, Some(1));
    assert_eq!(names(&after), ["a", "b"]);
    assert_eq!(after.find(b"a").unwrap().size, Some(9));
    assert_ne!(before.id(), after.id());
    let id = after.id();
    cache.remove(&dir, b"c");
    assert_eq!(
        cache.fresh(&dir).unwrap().id(),
        id,
        "nothing changed, so the id stays"
    );
}

#[test]
fn patching_does_not_make_a_listing_younger() {
    let (cache, clock) = cache(20);
    let remote = serving(&["/d"], &["a"]);
    let dir = path("/d");
    cache.list(&remote, &dir).unwrap();
    clock.advance(Duration::from_secs(19));
    cache.upsert(&dir, file("b", 5));
    clock.advance(Duration::from_secs(1));
    assert!(cache.fresh(&dir).is_none());
}

#[test]
fn hundred_thousand_entries_take_patches_in_place() {
    let (cache, _) = cache(20);
    let all: Vec<String> = (0..100_000).map(|i| format!("file-{i:06}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let remote = serving(&["/d"], &all);
    let dir = path("/d");
    let bytes = cache.list(&remote, &dir).unwrap().bytes();
    for i in 0..2_000 {
        cache.update(&dir, format!("file-{:06}", i * 50).as_bytes(), |entry| {
            entry.size = None;
        });
        cache.remove(&dir, format!("file-{:06}", i * 50 + 1).as_bytes());
    }
    let listing = cache.fresh(&dir).unwrap();
    assert_eq!(listing.entries().len(), 98_000);
    assert!(listing.bytes() <= bytes, "{bytes}");
    assert!(bytes < 45 * 100_000, "{bytes}");
}

#[test]
fn callers_at_once_share_one_fetch() {
    let (cache, _) = cache(20);
    let remote = serving(&["/d"], &["a"]);
    let gate = hold_after(&remote);
    let leader = list_elsewhere(&cache, &remote, "/d");
    gate.wait();
    let others: Vec<_> = (0..3)
        .map(|_| list_elsewhere(&cache, &remote, "/d"))
        .collect();
    await_waiters(&cache, "/d", false, 3);
    gate.wait();
    let id = leader.join().unwrap().unwrap().id();
    for other in others {
        assert_eq!(other.join().unwrap().unwrap().id(), id);
    }
    assert_eq!(remote.calls(Operation::List), 1);
    assert!(cache.lock().flights.is_empty());
}

#[test]
fn all_waiters_get_the_error_and_the_next_call_tries_again() {
    let (cache, _) = cache(20);
    let remote = serving(&["/d"], &["a"]);
    let gate = hold_before(&remote);
    remote.fail_next(Operation::List, 1, RemoteErrorKind::Busy);
    remote.fail_next(Operation::List, 2, RemoteErrorKind::Busy);
    let leader = list_elsewhere(&cache, &remote, "/d");
    gate.wait();
    let other = list_elsewhere(&cache, &remote, "/d");
    await_waiters(&cache, "/d", false, 1);
    gate.wait();
    assert_eq!(
        leader.join().unwrap().unwrap_err().kind(),
        RemoteErrorKind::Busy
    );
    assert_eq!(
        other.join().unwrap().unwrap_err().kind(),
        RemoteErrorKind::Busy
    );
    assert!(cache.list(&remote, &path("/d")).is_err());
    assert_eq!(remote.calls(Operation::List), 2);
}

#[test]
fn a_panicking_leader_leaves_nobody_waiting() {
    let (cache, _) = cache(20);
    let remote = serving(&["/d"], &["a"]);
    let (gate, step) = gate();
    remote.before(Operation::List, |remote| {
        step(remote);
        panic!("on purpose");
    });
    let leader = list_elsewhere(&cache, &remote, "/d");
    gate.wait();
    let other = list_elsewhere(&cache, &remote, "/d");
    await_waiters(&cache, "/d", false, 1);
    gate.wait();
    assert!(leader.join().is_err());
    assert_eq!(
        other.join().unwrap().unwrap_err().kind(),
        RemoteErrorKind::Failed
    );
    assert!(cache.lock().flights.is_empty());
}

// SEMANTICS: S-tenet-fresh
#[test]
fn our_own_changes_outlive_a_fetch_that_raced_with_them() {
    let (cache, _) = cache(20);
    let remote = serving(&["/d"], &["changed", "removed"]);
    let gate = hold_after(&remote);
    let fetch = list_elsewhere(&cache, &remote, "/d");
    gate.wait();
    let dir = path("/d");
    cache.upsert(&dir, file("made", 3));
    cache.update(&dir, b"changed", |entry| entry.size = Some(4));
    cache.update(&dir, b"made", |entry| entry.size = Some(5));
    cache.remove(&dir, b"removed");
    gate.wait();
    let fetched = fetch.join().unwrap().unwrap();
    assert_eq!(names(&fetched), ["changed", "made"]);
    assert_eq!(fetched.find(b"changed").unwrap().size, Some(4));
    assert_eq!(fetched.find(b"made").unwrap().size, Some(5));
    assert_eq!(cache.fresh(&dir).unwrap().id(), fetched.id());
}

#[test]
fn a_fetch_cut_off_by_a_rename_reaches_its_caller_and_not_the_cache() {
    let (cache, _) = cache(20);
    let remote = serving(&["/d/sub"], &["old"]);
    let gate = hold_after(&remote);
    let fetch = list_elsewhere(&cache, &remote, "/d/sub");
    gate.wait();
    cache.upsert(&path("/d/sub"), file("ours", 1));
    cache.forget_tree(&path("/d"));
    remote.move_path(&path("/d/sub/old"), &path("/d/sub/new"));
    let later_gate = hold_after(&remote);
    let later = list_elsewhere(&cache, &remote, "/d/sub");
    later_gate.wait();
    gate.wait();
    later_gate.wait();
    assert!(fetch.join().unwrap().unwrap().find(b"old").is_some());
    assert_eq!(names(&later.join().unwrap().unwrap()), ["new"]);
    assert_eq!(names(&cache.fresh(&path("/d/sub")).unwrap()), ["new"]);
}

#[test]
fn refetch_joins_no_fetch_that_started_before() {
    let (cache, _) = cache(20);
    let remote = serving(&["/d"], &["old"]);
    let gate = hold_after(&remote);
    let early = list_elsewhere(&cache, &remote, "/d");
    gate.wait();
    remote.move_path(&path("/d/old"), &path("/d/new"));
    let first = refetch_elsewhere(&cache, &remote, "/d");
    // The queued flight is held by the map, its leader, and then by the second caller.
    await_waiters(&cache, "/d", true, 0);
    let second = refetch_elsewhere(&cache, &remote, "/d");
    await_waiters(&cache, "/d", true, 1);
    gate.wait();
    assert_eq!(names(&early.join().unwrap().unwrap()), ["old"]);
    assert_eq!(names(&first.join().unwrap().unwrap()), ["new"]);
    assert_eq!(names(&second.join().unwrap().unwrap()), ["new"]);
    assert_eq!(
        remote.calls(Operation::List),
        2,
        "those who refetch share one fetch"
    );
    assert_eq!(names(&cache.fresh(&path("/d")).unwrap()), ["new"]);
}

#[test]
fn refetch_behind_a_dead_server_does_not_wait_twice() {
    let (cache, _) = cache(20);
    let remote = serving(&["/d"], &["a"]);
    let gate = hold_before(&remote);
    remote.fail_next(Operation::List, 1, RemoteErrorKind::Disconnected);
    let early = list_elsewhere(&cache, &remote, "/d");
    gate.wait();
    let late = refetch_elsewhere(&cache, &remote, "/d");
    await_waiters(&cache, "/d", true, 0);
    gate.wait();
    assert!(early.join().unwrap().is_err());
    assert_eq!(
        late.join().unwrap().unwrap_err().kind(),
        RemoteErrorKind::Disconnected
    );
    assert_eq!(remote.calls(Operation::List), 1);
    assert!(cache.lock().flights.is_empty());
}

#[test]
fn invalidate_and_forget_tree_drop_what_they_name_and_no_more() {
    let (cache, _) = cache(20);
    let remote = serving(&["/d", "/d/sub", "/dd", "/e"], &["a"]);
    for dir in ["/d", "/d/sub", "/dd", "/e"] {
        cache.list(&remote, &path(dir)).unwrap();
    }
    cache.forget_tree(&path("/d"));
    cache.invalidate(&path("/e"));
    assert!(cache.last_known(&path("/d")).is_none());
    assert!(cache.last_known(&path("/d/sub")).is_none());
    assert!(cache.last_known(&path("/e")).is_none());
    assert!(cache.last_known(&path("/dd")).is_some());
    assert_eq!(cache.lock().listings.len(), 1);
}

#[test]
fn a_directory_we_made_is_known_to_be_empty() {
    let (cache, _) = cache(20);
    let remote = serving(&["/d"], &["a"]);
    cache.made_dir(&path("/new"));
    cache.upsert(&path("/new"), file("first", 1));
    let listing = cache.list(&remote, &path("/new")).unwrap();
    assert_eq!(names(&listing), ["first"]);
    assert!(listing.lacks(b".second"));
    assert_eq!(remote.calls(Operation::List), 0);
}
