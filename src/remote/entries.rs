//! All entries of a directory in little memory: sorted by name, packed into segments, about as long as the text that listed them.
//!
//! 1. Listings have a million entries and servers send what they like, so an entry is a record of bytes, as long as what is known of it;
//!    it is read in place ([`EntryRef`]).
//! 2. Some servers sort and some do not: an entry behind the last is appended, any other is put in its place, which moves
//!    the rest of one segment and no more.
//! 3. Snapshots are taken while we change the directory: segments are shared, and a change copies the one that it is in.
//!
//! ```text
//! Entries   segment  segment  segment ...        each begins behind the last name of the one before
//! Segment   record record record ...             (entries/record.rs) and where each of them starts
//! ```

mod record;

pub use record::TARGET_BYTES_MAX;

use std::{fmt, mem::size_of, sync::Arc};

use self::record::{decode, encode, name_of};
use super::entry::{EntryRef, RemoteEntry};
use crate::budget::{Budget, Charge};

/// The most bytes of records in a segment that has more than one. 8 KiB: 150 ordinary entries. To put one between them moves 4 KiB, some 100 ns.
const SEGMENT_BYTES_MAX: usize = 8 << 10;

/// What a segment takes besides its records: itself, its place among the others, and what the allocator adds to each of its three blocks.
const SEGMENT_OVERHEAD: usize = size_of::<Segment>() + size_of::<Slot>() + 5 * size_of::<usize>();

/// The entries of one directory, sorted by name; no name twice. A clone shares them, and costs a counter a segment.
#[derive(Clone, Default)]
pub struct Entries {
    slots: Vec<Slot>,
    /// On what budget new segments are charged.
    charge: Charge,
}

/// The place of a segment.
#[derive(Clone)]
struct Slot {
    /// How many entries stand before it.
    first: usize,
    segment: Arc<Segment>,
}

/// Some entries that follow each other, at least one.
#[derive(Debug, Clone, Default)]
struct Segment {
    records: Vec<u8>,
    starts: Vec<u32>,
    charge: Charge,
}

impl Entries {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots
            .last()
            .map_or(0, |slot| slot.first + slot.segment.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// How much memory they take, what they share with others too.
    pub fn bytes(&self) -> usize {
        let charges = self.slots.iter().map(|slot| slot.segment.charge.bytes());
        charges.sum()
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = EntryRef<'_>> {
        self.slots.iter().flat_map(|slot| slot.segment.iter())
    }

    /// Those from a place on.
    pub fn iter_from(&self, index: usize) -> impl Iterator<Item = EntryRef<'_>> {
        let behind = self.slots.partition_point(|slot| slot.first <= index);
        let slots = self.slots.get(behind.saturating_sub(1)..);
        let slots = slots.unwrap_or_default().iter();
        let skipped = slots
            .as_slice()
            .first()
            .map_or(0, |slot| index - slot.first);
        slots
            .flat_map(|slot| slot.segment.iter_records())
            .skip(skipped)
            .map(decode)
    }

    /// The one at a place.
    pub fn get(&self, index: usize) -> Option<EntryRef<'_>> {
        self.iter_from(index).next()
    }

    /// The one of that name.
    pub fn find(&self, name: &[u8]) -> Option<EntryRef<'_>> {
        let segment = &self.slots.get(self.slot_of(name))?.segment;
        segment.record(segment.position(name).ok()?).map(decode)
    }

    /// The place of that name.
    pub fn position(&self, name: &[u8]) -> Option<usize> {
        let slot = self.slots.get(self.slot_of(name))?;
        Some(slot.first + slot.segment.position(name).ok()?)
    }

    /// Puts an entry in, in the place of one of that name.
    pub fn upsert(&mut self, entry: EntryRef<'_>) {
        let mut record = Vec::new();
        encode(entry, &mut record);
        let changed = self.place(entry.name, &record);
        self.number_from(changed);
    }

    /// Takes out the entry of that name; returns whether there was one.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let index = self.slot_of(name);
        let Some(slot) = self.slots.get_mut(index) else {
            return false;
        };
        let Ok(place) = slot.segment.position(name) else {
            return false;
        };
        if slot.segment.len() == 1 {
            self.slots.remove(index);
        } else {
            Arc::make_mut(&mut slot.segment).remove(place);
        }
        self.number_from(index);
        true
    }

    /// The same with each changed in all but its name.
    #[must_use]
    pub fn map(self, change: impl Fn(&mut EntryRef<'_>)) -> Self {
        let mut gathering = Gathering::from(Self {
            slots: Vec::new(),
            charge: self.charge.beside(),
        });
        for slot in self.slots {
            for mut entry in slot.segment.iter() {
                change(&mut entry);
                gathering.push(entry);
            }
        }
        gathering.finish()
    }

    /// The segment in which that name is, if it is anywhere.
    fn slot_of(&self, name: &[u8]) -> usize {
        let is_before = |slot: &Slot| slot.segment.name(0) <= name;
        self.slots.partition_point(is_before).saturating_sub(1)
    }

    /// Puts a record in its place; the first segment whose number of entries has changed.
    fn place(&mut self, name: &[u8], record: &[u8]) -> usize {
        let index = self.place_for(name, record.len());
        let Some(slot) = self.slots.get_mut(index) else {
            self.open(index, record);
            return index;
        };
        let segment = Arc::make_mut(&mut slot.segment);
        match segment.position(name) {
            Ok(place) => {
                segment.remove(place);
                segment.insert(place, record);
            }
            Err(place) => segment.insert(place, record),
        }
        if segment.records.len() > SEGMENT_BYTES_MAX && segment.len() > 1 {
            let behind = segment.split();
            self.slots.insert(index + 1, Slot::of(behind));
        }
        index
    }

    /// The segment that a name belongs into; one that is not there yet where it comes last and the last segment is full.
    fn place_for(&self, name: &[u8], len: usize) -> usize {
        let Some(last) = self.slots.last() else {
            return 0;
        };
        if last.segment.name(last.segment.len() - 1) < name {
            let is_full = last.segment.records.len() + len > SEGMENT_BYTES_MAX;
            return self.slots.len() - usize::from(!is_full);
        }
        self.slot_of(name)
    }

    fn open(&mut self, index: usize, record: &[u8]) {
        let mut segment = Segment {
            charge: self.charge.beside(),
            ..Segment::default()
        };
        if index > 0 {
            // Where one was filled, this one will be.
            segment.records.reserve_exact(SEGMENT_BYTES_MAX);
        }
        segment.insert(0, record);
        self.slots.insert(index, Slot::of(segment));
    }

    fn number_from(&mut self, index: usize) {
        let before = index.checked_sub(1).and_then(|at| self.slots.get(at));
        let mut first = before.map_or(0, |slot| slot.first + slot.segment.len());
        for slot in self.slots.iter_mut().skip(index) {
            slot.first = first;
            first += slot.segment.len();
        }
    }
}

impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for Entries {}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl FromIterator<RemoteEntry> for Entries {
    fn from_iter<T: IntoIterator<Item = RemoteEntry>>(entries: T) -> Self {
        let mut gathering = Gathering::default();
        for entry in entries {
            gathering.push(entry.as_borrowed());
        }
        gathering.finish()
    }
}

/// Entries that arrive in any order. Of those with one name the last one stays.
#[derive(Debug, Default)]
pub struct Gathering {
    entries: Entries,
    pushed: usize,
    /// The record that is being made.
    record: Vec<u8>,
}

impl Gathering {
    /// None yet; they are charged on a budget.
    pub fn in_budget(budget: &Arc<Budget>) -> Self {
        Self {
            entries: Entries {
                slots: Vec::new(),
                charge: budget.charge(),
            },
            ..Self::default()
        }
    }

    /// Takes up one more.
    pub fn push(&mut self, entry: EntryRef<'_>) {
        self.pushed += 1;
        self.record.clear();
        encode(entry, &mut self.record);
        self.entries.place(entry.name, &self.record);
    }

    /// How many were taken up, those with one name each.
    pub fn pushed(&self) -> usize {
        self.pushed
    }

    /// All that have arrived.
    pub fn finish(mut self) -> Entries {
        self.entries.number_from(0);
        if let Some(last) = self.entries.slots.last_mut() {
            Arc::make_mut(&mut last.segment).shrink();
        }
        self.entries.slots.shrink_to_fit();
        self.entries
    }
}

impl From<Entries> for Gathering {
    fn from(entries: Entries) -> Self {
        Self {
            entries,
            ..Self::default()
        }
    }
}

impl Slot {
    fn of(segment: Segment) -> Self {
        Self {
            first: 0,
            segment: Arc::new(segment),
        }
    }
}

impl Segment {
    fn len(&self) -> usize {
        self.starts.len()
    }

    fn iter(&self) -> impl Iterator<Item = EntryRef<'_>> {
        self.iter_records().map(decode)
    }

    fn iter_records(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|index| self.record(index))
    }

    fn start(&self, index: usize) -> usize {
        let start = self.starts.get(index).map(|start| *start as usize);
        start.unwrap_or(self.records.len())
    }

    fn record(&self, index: usize) -> Option<&[u8]> {
        self.records
            .get(self.start(index)..self.start(index + 1))
            .filter(|record| !record.is_empty())
    }

    fn name(&self, index: usize) -> &[u8] {
        self.record(index).map_or(b"", name_of)
    }

    fn position(&self, name: &[u8]) -> Result<usize, usize> {
        self.starts.binary_search_by(|start| {
            let records = self.records.get(*start as usize..);
            name_of(records.unwrap_or_default()).cmp(name)
        })
    }

    fn insert(&mut self, index: usize, record: &[u8]) {
        let at = self.start(index);
        self.make_room(record.len());
        self.records.extend_from_slice(record);
        if let Some(behind) = self.records.get_mut(at..) {
            behind.rotate_right(record.len());
        }
        for start in self.starts.iter_mut().skip(index) {
            *start += offset(record.len());
        }
        self.starts.insert(index, offset(at));
        self.count();
    }

    fn remove(&mut self, index: usize) {
        let (start, end) = (self.start(index), self.start(index + 1));
        self.records.drain(start..end);
        self.starts.remove(index);
        for start_behind in self.starts.iter_mut().skip(index) {
            *start_behind -= offset(end - start);
        }
    }

    /// Cuts it in the middle; what is behind.
    fn split(&mut self) -> Self {
        let middle = self.records.len() / 2;
        let index = self
            .starts
            .partition_point(|start| (*start as usize) < middle);
        let index = index.clamp(1, self.len() - 1);
        let at = self.start(index);
        let mut behind = Self {
            records: Vec::with_capacity(SEGMENT_BYTES_MAX),
            starts: self.starts.split_off(index),
            charge: self.charge.beside(),
        };
        behind
            .records
            .extend_from_slice(self.records.get(at..).unwrap_or_default());
        self.records.truncate(at);
        for start in &mut behind.starts {
            *start -= offset(at);
        }
        self.count();
        behind.count();
        behind
    }

    /// Makes room for one more record: twice as much as there is while that is little, else as much as a full segment takes.
    fn make_room(&mut self, len: usize) {
        let needed = self.records.len() + len;
        if needed <= self.records.capacity() {
            return;
        }
        let wanted = match needed * 2 {
            doubled if doubled <= SEGMENT_BYTES_MAX / 2 => doubled,
            _ => SEGMENT_BYTES_MAX.max(needed),
        };
        self.records.reserve_exact(wanted - self.records.len());
    }

    fn shrink(&mut self) {
        self.records.shrink_to_fit();
        self.starts.shrink_to_fit();
        self.count();
    }

    fn count(&mut self) {
        let starts = self.starts.capacity() * size_of::<u32>();
        let bytes = SEGMENT_OVERHEAD + self.records.capacity() + starts;
        if bytes != self.charge.bytes() {
            self.charge.set(bytes);
        }
    }
}

/// A place in a segment, which is far shorter than 4 GiB.
fn offset(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
