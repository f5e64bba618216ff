//! The order in which a program goes through the files of a directory: by name, as they are listed, or by inode number.
//!
//! `cat *`, `tar` and `rsync` go by name. `cp -r` sorts what it has read of a directory by inode number, for the sake of
//! disks; numbers are made of the path here, so that order has nothing to do with the names. Which one it is shows in its
//! second step, or its first where that is the first file of the one order and not of the other.

use std::{
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use crate::{
    cache::{CachedListing, ListingId},
    fs::{inode::Inodes, number::Ino},
    remote::{EntryKind, EntryRef, RemotePath},
};

/// How long after a step of a walk the next one still belongs to it. 10 s: programs that look at what they find take their time.
pub(super) const STEP_MAX: Duration = Duration::from_secs(10);

/// How soon after its directory the first file of it is opened by a walk. 1 s: a program's next step, and not a choice of the user's.
const FIRST_STEP_MAX: Duration = Duration::from_secs(1);

/// How far apart in its order two opened files may be to count as a walk: some are passed over for their name or size.
const STRIDE_MAX: usize = 4;

/// In larger directories only walks by name are seen. 10,000: the numbers of so many entries are sorted in 2 ms.
const NUMBERED_MAX: usize = 10_000;

/// A file that was opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step<'a> {
    pub(super) dir: &'a RemotePath,
    /// The directory's number, and the file's.
    pub(super) dir_ino: Ino,
    pub(super) ino: Ino,
    /// The file's place in the listing.
    pub(super) place: usize,
    pub(super) now: Instant,
    /// When its directory was opened.
    pub(super) opened: Option<Instant>,
}

/// How the files of the last directory were opened.
#[derive(Debug, Default)]
pub(super) struct Walk {
    last: Option<Last>,
    numbers: Option<Numbers>,
}

/// The file that was opened last.
#[derive(Debug)]
struct Last {
    dir: RemotePath,
    place: usize,
    ino: Ino,
    when: Instant,
}

/// The entries of one listing by their numbers.
#[derive(Debug)]
struct Numbers {
    dir_ino: Ino,
    listing: ListingId,
    /// Number and place in the listing, in the order of the numbers.
    sorted: Vec<(Ino, usize)>,
}

impl Walk {
    /// Takes note of a step. What comes next in the order that the program follows, at most `count` places of the listing;
    /// none if it follows none.
    pub(super) fn step(
        &mut self,
        step: &Step<'_>,
        listing: &CachedListing,
        inodes: &Inodes,
        count: usize,
    ) -> Vec<usize> {
        let is_soon = |since: Instant, longest| step.now.saturating_duration_since(since) < longest;
        let last = self.last.replace(Last {
            dir: step.dir.clone(),
            place: step.place,
            ino: step.ino,
            when: step.now,
        });
        let last = last.filter(|last| last.dir == *step.dir && is_soon(last.when, STEP_MAX));
        let begins = step
            .opened
            .is_some_and(|opened| is_soon(opened, FIRST_STEP_MAX));
        if last.is_none() && !begins {
            return Vec::new();
        }
        let entries = listing.entries();
        let is_file = |place: usize| entries.get(place).is_some_and(is_file);
        let is_next = last
            .as_ref()
            .is_some_and(|last| strides(last.place).contains(&step.place));
        if is_next || (begins && !(0..step.place).any(is_file)) {
            return (step.place + 1..entries.len()).take(count).collect();
        }
        if entries.len() > NUMBERED_MAX {
            return Vec::new();
        }
        let sorted = self.numbers(step, listing, inodes);
        let rank_of = |ino| {
            sorted
                .binary_search_by_key(&ino, |(number, _)| *number)
                .ok()
        };
        let Some(rank) = rank_of(step.ino) else {
            return Vec::new();
        };
        let is_next = last
            .and_then(|last| rank_of(last.ino))
            .is_some_and(|last| strides(last).contains(&rank));
        let mut before = sorted.iter().take(rank);
        if is_next || (begins && !before.any(|(_, place)| is_file(*place))) {
            let behind = sorted.iter().skip(rank + 1);
            return behind.take(count).map(|(_, place)| *place).collect();
        }
        Vec::new()
    }

    /// The listing's entries in the order of their numbers.
    fn numbers(
        &mut self,
        step: &Step<'_>,
        listing: &CachedListing,
        inodes: &Inodes,
    ) -> &[(Ino, usize)] {
        let key = (step.dir_ino, listing.id());
        let known = self.numbers.take();
        let known = known.filter(|known| (known.dir_ino, known.listing) == key);
        let numbers = known.unwrap_or_else(|| {
            let names = listing.entries().iter().map(|entry| entry.name);
            let numbers = inodes.numbers(step.dir_ino, names);
            let mut sorted: Vec<_> = numbers.into_iter().zip(0..).collect();
            sorted.sort_unstable();
            Numbers {
                dir_ino: step.dir_ino,
                listing: listing.id(),
                sorted,
            }
        });
        &self.numbers.insert(numbers).sorted
    }
}

/// The places in which the step after one in `place` is expected.
fn strides(place: usize) -> RangeInclusive<usize> {
    place + 1..=place + STRIDE_MAX
}

fn is_file(entry: EntryRef<'_>) -> bool {
    entry.kind == EntryKind::File
}
