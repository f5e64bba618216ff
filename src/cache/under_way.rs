//! The READs of a mount that are under way: how several that come at once are told apart from seeks.
//!
//! The kernel reads ahead of a program with several READs at once, of up to 1 MiB each. It sends them in order, two
//! event loops take them in turn, and workers look for their bytes in any order:
//!
//! ```text
//!            stream's end                                     front
//!   file ---------|------ A ------|------ B ------|------ C ------|-------------->
//!                 head            any of them may come first
//! ```
//!
//! So a READ is placed not by where it begins but by its *run*: the READs of the file under way that lie side by side.
//! The run goes on where its first READ begins, its *head*. A READ is entered when an event loop has it, which is at most
//! one READ of each other loop too early; [`GAP_READS_MAX`] allows for those.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use super::block::FileId;

/// How wide a gap between two READs still belongs to one sequence, in READs of their size. 2: one is on each other event
/// loop, of which there is one, and a program that skips a little reads on.
const GAP_READS_MAX: u64 = 2;

/// How far behind the front of a sequence a READ was overtaken or repeats one, in READs of its size; from further away it
/// begins another.
const BEHIND_READS_MAX: u64 = 4;

/// The most READs that are remembered. 256: the kernel sends 64 ahead and one for each thread that reads, and those who
/// have a worker are at most 64. What is beyond is placed as if it came alone.
const READS_MAX: usize = 256;

/// How a READ follows the ones before through the same handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pattern {
    /// It goes on where they ended, at this offset.
    Continues(u64),
    /// It stands by itself.
    Random,
}

/// What is done about a READ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// An event loop has it.
    Arrived,
    /// A worker looks for its bytes, or waits for a stream to bring them.
    Begun,
    /// It is fetched by itself.
    Fetched,
}

#[derive(Debug, Clone, Copy)]
struct Read {
    id: u64,
    file: FileId,
    cursor: u64,
    offset: u64,
    len: u64,
    pattern: Pattern,
    stage: Stage,
}

/// All READs that are not answered yet.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    last_id: AtomicU64,
    /// A leaf: no other lock is taken under it.
    reads: Mutex<Vec<Read>>,
}

/// Where a handle's READs have got to.
#[derive(Debug, Default)]
pub(super) struct Front {
    /// The end of the furthest READ of the present sequence. Guarded by `UnderWay::reads`.
    end: AtomicU64,
}

/// A READ that a worker answers; under way until it is dropped.
#[derive(Debug)]
pub(super) struct Begun<'a> {
    under_way: &'a UnderWay,
    id: u64,
    offset: u64,
    pattern: Pattern,
}

impl Read {
    fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }

    /// Whether `later` goes on with it, if only behind another that is still to come.
    fn leads_to(&self, later: &Self) -> bool {
        let gap = later.offset.saturating_sub(self.end());
        gap <= GAP_READS_MAX.saturating_mul(self.len.max(later.len))
    }
}

impl UnderWay {
    /// A READ has come that is not answered yet.
    pub(super) fn arrive(&self, file: FileId, cursor: (u64, &Front), offset: u64, len: usize) {
        self.enter(file, cursor, (offset, len), Stage::Arrived);
    }

    /// A READ has come and is answered already.
    pub(super) fn pass(&self, file: FileId, cursor: (u64, &Front), offset: u64, len: usize) {
        let read = new_read(file, cursor.0, offset, len);
        advance(&self.lock(), &read, cursor.1);
    }

    /// A worker answers a READ.
    pub(super) fn begin(
        &self,
        file: FileId,
        cursor: (u64, &Front),
        offset: u64,
        len: usize,
    ) -> Begun<'_> {
        let mut reads = self.lock();
        let arrived = reads.iter_mut().find(|read| {
            (read.file, read.cursor, read.offset) == (file, cursor.0, offset)
                && read.stage == Stage::Arrived
        });
        let known = arrived.map(|read| {
            read.stage = Stage::Begun;
            // A part of it may be at hand.
            read.len = len as u64;
            cursor.1.end.fetch_max(read.end(), Ordering::Relaxed);
            (read.id, read.pattern)
        });
        drop(reads);
        let (id, pattern) =
            known.unwrap_or_else(|| self.enter(file, cursor, (offset, len), Stage::Begun));
        Begun {
            under_way: self,
            id,
            offset,
            pattern,
        }
    }

    /// Nobody has the file open any more: what has arrived and was not begun never will be.
    pub(super) fn forget(&self, file: FileId) {
        self.lock()
            .retain(|read| read.file != file || read.stage != Stage::Arrived);
    }

    fn enter(
        &self,
        file: FileId,
        cursor: (u64, &Front),
        (offset, len): (u64, usize),
        stage: Stage,
    ) -> (u64, Pattern) {
        let mut reads = self.lock();
        let mut read = new_read(file, cursor.0, offset, len);
        read.id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        read.pattern = advance(&reads, &read, cursor.1);
        read.stage = stage;
        if reads.len() >= READS_MAX {
            reads.remove(0);
        }
        reads.push(read);
        (read.id, read.pattern)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Read>> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Begun<'_> {
    /// Where it begins.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// How it follows the ones before.
    pub(super) fn pattern(&self) -> Pattern {
        self.pattern
    }

    /// Where its run goes on: the start of the first of the READs side by side with it that wait for a stream.
    pub(super) fn head(&self) -> u64 {
        let reads = self.under_way.lock();
        let Some(own) = reads.iter().find(|read| read.id == self.id) else {
            return self.offset;
        };
        let is_below = |read: &&Read| read.file == own.file && read.offset < own.offset;
        let mut below: Vec<&Read> = reads.iter().filter(is_below).collect();
        below.sort_unstable_by_key(|read| read.offset);
        let (mut last, mut head) = (own, own.offset);
        for read in below.into_iter().rev() {
            if !read.leads_to(last) {
                break;
            }
            last = read;
            if read.stage != Stage::Fetched {
                head = read.offset;
            }
        }
        head
    }

    /// It is fetched by itself: nobody need wait for it.
    pub(super) fn fetches(&self) {
        let mut reads = self.under_way.lock();
        if let Some(own) = reads.iter_mut().find(|read| read.id == self.id) {
            own.stage = Stage::Fetched;
        }
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.under_way.lock().retain(|read| read.id != self.id);
    }
}

fn new_read(file: FileId, cursor: u64, offset: u64, len: usize) -> Read {
    Read {
        id: 0,
        file,
        cursor,
        offset,
        len: len as u64,
        pattern: Pattern::Random,
        stage: Stage::Arrived,
    }
}

/// Takes note of a READ: how it follows the ones before, and those of its handle that are under way.
fn advance(reads: &[Read], read: &Read, front: &Front) -> Pattern {
    let own = || reads.iter().filter(|other| other.cursor == read.cursor);
    let next = front.end.load(Ordering::Relaxed);
    if read.offset >= next {
        front.end.store(read.end(), Ordering::Relaxed);
        let widest = own().fold(read.len, |widest, other| widest.max(other.len));
        // Right at the end, or a little ahead of one that is still to come.
        return if read.offset - next <= GAP_READS_MAX.saturating_mul(widest) {
            Pattern::Continues(next)
        } else {
            Pattern::Random
        };
    }
    if next - read.offset > BEHIND_READS_MAX.saturating_mul(read.len) {
        front.end.store(read.end(), Ordering::Relaxed);
        return Pattern::Random;
    }
    // It was overtaken, or is read again: the sequence stands where it stood.
    front.end.store(read.end().max(next), Ordering::Relaxed);
    let overtaking = own().find_map(|other| match other.pattern {
        Pattern::Continues(from) if other.stage != Stage::Fetched => {
            (from..other.offset).contains(&read.offset).then_some(from)
        }
        _ => None,
    });
    overtaking.map_or(Pattern::Random, Pattern::Continues)
}

#[cfg(test)]
mod tests;
