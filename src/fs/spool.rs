//! The spool: what programs wrote to one file and what of it the server does not have yet.
//!
//! A spool lies over the file on the server. Each byte below its length is either local (in the store, or a hole
//! that reads as zero) or remote (not in `local`; always below the length that the server's file has). Local bytes
//! that the server does not have are dirty. The store is memory in pages while it is small and an unnamed sparse
//! file beyond that; or a parked file with a name, while many closed files wait for the server.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{FallocateFlags, fallocate};
use tempfile::TempPath;

use super::{
    error::{FsError, FsErrorKind},
    ranges::RangeSet,
};
use crate::{
    budget::{Budget, Charge},
    local,
    remote::RemotePath,
};

/// Memory is kept in pieces of 64 KiB: small against the limit, large against the cost of a map.
const PAGE_BYTES: u64 = 64 << 10;
/// What a page takes besides its bytes, in the map and for the allocator.
const PAGE_OVERHEAD: u64 = 64;

/// See the module.
#[derive(Debug)]
pub(crate) struct Spool {
    len: u64,
    server_len: u64,
    local: RangeSet,
    dirty: RangeSet,
    /// Zeros that the file has grown by and that the server does not have.
    hole_bytes: u64,
    store: Store,
    limits: SpoolLimits,
}

/// Where a spool may put its bytes.
#[derive(Debug, Clone)]
pub(crate) struct SpoolLimits {
    /// Memory of one spool beyond this moves to a file.
    pub(crate) memory_bytes_max: u64,
    /// The memory of all spools; one for which there is none moves to a file at once.
    pub(crate) budget: Arc<Budget>,
    /// The directory of that file.
    pub(crate) dir: PathBuf,
}

impl SpoolLimits {
    /// The failure of an operation on the file at `path` whose spool has failed.
    pub(crate) fn explain(&self, error: &io::Error, path: Option<&RemotePath>) -> FsError {
        let dir = self.dir.display();
        log::error!("the spool in {dir} failed: {error} (--cache-dir names another place)");
        let kind = match error.kind() {
            io::ErrorKind::StorageFull => FsErrorKind::NoSpace,
            io::ErrorKind::QuotaExceeded => FsErrorKind::QuotaExceeded,
            _ => FsErrorKind::Io,
        };
        FsError::about(kind, path.cloned())
    }
}

impl Spool {
    /// A spool over a file of `server_len` bytes, nothing changed yet.
    pub(crate) fn new(server_len: u64, limits: SpoolLimits) -> Self {
        Self {
            len: server_len,
            server_len,
            local: RangeSet::default(),
            dirty: RangeSet::default(),
            hole_bytes: 0,
            store: Store::Memory(Pages {
                charge: limits.budget.charge(),
                ..Pages::default()
            }),
            limits,
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The length of the file on the server below this spool.
    pub(crate) fn server_len(&self) -> u64 {
        self.server_len
    }

    /// Whether the server's file differs from this.
    pub(crate) fn is_dirty(&self) -> bool {
        self.len != self.server_len || !self.dirty.is_empty()
    }

    /// How many zeros the file has grown by that the server does not have, at most.
    pub(crate) fn hole_bytes(&self) -> u64 {
        self.hole_bytes
    }

    /// The ranges that the server does not have.
    pub(crate) fn dirty(&self) -> &RangeSet {
        &self.dirty
    }

    /// Whether the bytes are in a file rather than in memory.
    pub(crate) fn is_in_file(&self) -> bool {
        !matches!(self.store, Store::Memory(_))
    }

    /// Moves the bytes out of memory, until they are changed.
    pub(crate) fn move_to_file(&mut self) -> io::Result<()> {
        if let Store::Memory(pages) = &self.store {
            self.store = Store::Parked(pages.to_named_file(&self.limits.dir)?);
        }
        Ok(())
    }

    /// How many bytes from the start on are local.
    pub(crate) fn local_prefix(&self) -> u64 {
        self.local.prefix_end().min(self.len)
    }

    /// The parts of the file that lie on the server only.
    pub(crate) fn missing(&self) -> Vec<Range<u64>> {
        self.local.gaps(&(0..self.len))
    }

    /// The part of `range` from its start on that is wholly local or wholly remote, and whether it is local.
    pub(crate) fn run_at(&self, range: Range<u64>) -> (Range<u64>, bool) {
        self.local.run_at(range.start..range.end.min(self.len))
    }

    /// Whether all of `range` (as far as the file goes) is local.
    pub(crate) fn has(&self, range: Range<u64>) -> bool {
        let end = range.end.min(self.len);
        range.start >= end || self.local.covers(range.start..end)
    }

    /// Writes at `offset`; a gap behind the old end reads as zero.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let end = offset + data.len() as u64;
        self.put(offset, data)?;
        if offset > self.len {
            self.hole_bytes += offset - self.len;
            self.mark_written(self.len..offset);
        }
        self.mark_written(offset..end);
        self.len = self.len.max(end);
        Ok(())
    }

    /// Keeps bytes that were fetched from the server, where nothing newer is local.
    pub(crate) fn fill(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let end = (offset + data.len() as u64).min(self.len);
        for gap in self.local.gaps(&(offset..end.max(offset))) {
            let part = index(gap.start - offset)..index(gap.end - offset);
            if let Some(bytes) = data.get(part) {
                self.put(gap.start, bytes)?;
                self.local.insert(gap);
            }
        }
        Ok(())
    }

    /// Drops what was fetched from the server in these ranges, but for what was written there since.
    pub(crate) fn forget_fetched(&mut self, ranges: &[Range<u64>]) {
        for range in ranges {
            for gap in self.dirty.gaps(range) {
                self.local.remove(gap);
            }
        }
    }

    /// Makes a range of the file read as zero, without taking room for it.
    pub(crate) fn zero(&mut self, range: Range<u64>) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        self.store.punch(range.clone())?;
        self.mark_written(range.start.min(self.len)..range.end);
        self.len = self.len.max(range.end);
        Ok(())
    }

    /// Cuts the file off at `len`, or lets it grow with zeros.
    pub(crate) fn set_len(&mut self, len: u64) -> io::Result<()> {
        if len < self.len {
            self.local.remove(len..u64::MAX);
            self.dirty.remove(len..u64::MAX);
            self.store.cut(len)?;
            self.hole_bytes = self.hole_bytes.min(len);
        } else {
            self.hole_bytes += len - self.len;
            self.mark_written(self.len..len);
        }
        self.len = len;
        Ok(())
    }

    /// The server's file ends at `to` and not at `at`, as was believed: what is local from there on moves. Below, only what is dirty stays
    /// local, for the server's file is another.
    ///
    /// # Errors
    ///
    /// Also when something is dirty that would lie beyond the new end.
    pub(crate) fn move_tail(&mut self, at: u64, to: u64) -> io::Result<()> {
        let part = |set: &RangeSet, within: Range<u64>| -> Vec<Range<u64>> {
            let cut = set.iter().map(|range| {
                range.start.max(within.start)..range.end.min(within.end).max(within.start)
            });
            cut.filter(|range| !range.is_empty()).collect()
        };
        let (local, dirty) = (
            part(&self.local, at..u64::MAX),
            part(&self.dirty, at..u64::MAX),
        );
        let below = part(&self.dirty, 0..at);
        if self.len < at || below.iter().any(|range| range.end > to) {
            return Err(io::Error::other(
                "the file was cut off where it was changed here",
            ));
        }
        let mut pieces = Vec::new();
        for range in &local {
            let mut start = range.start;
            while start < range.end {
                let end = range.end.min(start + PAGE_BYTES);
                pieces.push(start..end);
                start = end;
            }
        }
        if to > at {
            // From the end on, because the new place overlaps the old one.
            pieces.reverse();
        }
        for piece in pieces {
            let mut bytes = vec![0; index(piece.end - piece.start)];
            self.store.read(piece.start, &mut bytes)?;
            self.put(piece.start - at + to, &bytes)?;
        }
        (self.local, self.dirty) = (RangeSet::default(), RangeSet::default());
        for range in below {
            self.mark_written(range);
        }
        for (set, ranges) in [(&mut self.local, local), (&mut self.dirty, dirty)] {
            for range in ranges {
                set.insert(range.start - at + to..range.end - at + to);
            }
        }
        self.len = self.len - at + to;
        self.store.cut(self.len)?;
        self.server_len = to;
        Ok(())
    }

    /// Copies local bytes out; holes, and what lies behind the end, come as zeros.
    pub(crate) fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.store.read(offset, out)
    }

    /// An upload begins: what is dirty now is on its way, what is written from now on is dirty anew.
    pub(crate) fn take_dirty(&mut self) -> RangeSet {
        std::mem::take(&mut self.dirty)
    }

    /// The upload failed: what was on its way is dirty still.
    pub(crate) fn give_back_dirty(&mut self, ranges: &RangeSet) {
        self.dirty.merge(ranges);
        self.dirty.remove(self.len..u64::MAX);
    }

    /// The upload succeeded: the server's file has `len` bytes.
    pub(crate) fn set_server_len(&mut self, len: u64) {
        self.server_len = len;
        self.hole_bytes = 0;
    }

    fn mark_written(&mut self, range: Range<u64>) {
        self.local.insert(range.clone());
        self.dirty.insert(range);
    }

    fn put(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let len = data.len() as u64;
        if let Store::Memory(pages) = &mut self.store
            && (pages.bytes + len > self.limits.memory_bytes_max
                || !pages.charge.try_set(index(pages.bytes + len)))
        {
            self.store = Store::File(pages.to_file(&self.limits.dir)?);
        }
        self.store.unpark()?;
        match &mut self.store {
            Store::Memory(pages) => pages.write(offset, data),
            Store::File(file) => file.write_all_at(data, offset)?,
            Store::Parked(_) => return Err(still_parked()),
        }
        Ok(())
    }
}

#[derive(Debug)]
enum Store {
    Memory(Pages),
    File(File),
    /// A file that is opened for each read: there may be more of these than a process may have open. It is removed with the spool.
    Parked(TempPath),
}

impl Store {
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Memory(pages) => pages.read(offset, out),
            Self::File(file) => read_file(file, offset, out)?,
            Self::Parked(path) => read_file(&File::open(path)?, offset, out)?,
        }
        Ok(())
    }

    fn punch(&mut self, range: Range<u64>) -> io::Result<()> {
        self.unpark()?;
        match self {
            Self::Parked(_) => return Err(still_parked()),
            Self::Memory(pages) => pages.punch(range),
            Self::File(file) => {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                fallocate(file, flags, range.start, range.end - range.start)?;
            }
        }
        Ok(())
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.unpark()?;
        match self {
            Self::Memory(pages) => pages.cut(len),
            Self::File(file) => {
                if file.metadata()?.len() > len {
                    file.set_len(len)?;
                }
            }
            Self::Parked(_) => return Err(still_parked()),
        }
        Ok(())
    }

    /// Opens a parked file for changes, and removes its name.
    fn unpark(&mut self) -> io::Result<()> {
        if let Self::Parked(path) = self {
            let file = File::options().read(true).write(true).open(path)?;
            *self = Self::File(file);
        }
        Ok(())
    }
}

fn still_parked() -> io::Error {
    io::Error::other("a parked spool was changed")
}

fn read_file(file: &File, offset: u64, out: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while let Some(rest) = out.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + done as u64) {
            Ok(0) => {
                rest.fill(0);
                break;
            }
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Bytes in memory; a page that is missing or short reads as zero.
#[derive(Debug, Default)]
struct Pages {
    by_number: BTreeMap<u64, Vec<u8>>,
    bytes: u64,
    charge: Charge,
}

impl Pages {
    fn write(&mut self, offset: u64, data: &[u8]) {
        for (index, at, part) in parts(offset, data.len()) {
            let Some(bytes) = data.get(part) else {
                continue;
            };
            let is_new = !self.by_number.contains_key(&index);
            self.bytes += u64::from(is_new) * PAGE_OVERHEAD;
            let page = self.by_number.entry(index).or_default();
            let before = page.capacity();
            if page.len() < at {
                page.resize(at, 0);
            }
            let overlap = bytes.len().min(page.len() - at);
            let (over, behind) = bytes.split_at(overlap);
            if let Some(target) = page.get_mut(at..at + overlap) {
                target.copy_from_slice(over);
            }
            page.extend_from_slice(behind);
            self.bytes += (page.capacity() - before) as u64;
        }
        self.charge.set(index(self.bytes));
    }

    fn read(&self, offset: u64, out: &mut [u8]) {
        for (index, at, part) in parts(offset, out.len()) {
            let Some(target) = out.get_mut(part) else {
                continue;
            };
            let page = self.by_number.get(&index).map_or(&[][..], Vec::as_slice);
            let bytes = page.get(at..).unwrap_or_default();
            let count = bytes.len().min(target.len());
            let (copied, zeroed) = target.split_at_mut(count);
            copied.copy_from_slice(bytes.get(..count).unwrap_or_default());
            zeroed.fill(0);
        }
    }

    fn cut(&mut self, len: u64) {
        let kept = self.by_number.split_off(&len.div_ceil(PAGE_BYTES));
        self.bytes -= kept
            .values()
            .map(|page| page.capacity() as u64 + PAGE_OVERHEAD)
            .sum::<u64>();
        self.charge.set(index(self.bytes));
        if let Some(page) = self.by_number.get_mut(&(len / PAGE_BYTES)) {
            page.truncate(index(len % PAGE_BYTES));
        }
    }

    fn punch(&mut self, range: Range<u64>) {
        let touched = range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES);
        for (number, page) in self.by_number.range_mut(touched) {
            let start = number * PAGE_BYTES;
            let from = index(range.start.saturating_sub(start)).min(page.len());
            let to = index((range.end - start).min(PAGE_BYTES)).min(page.len());
            if let Some(bytes) = page.get_mut(from..to) {
                bytes.fill(0);
            }
        }
    }

    fn to_file(&self, dir: &Path) -> io::Result<File> {
        local::make_dir(dir)?;
        let file = tempfile::tempfile_in(dir)?;
        self.write_to(&file)?;
        Ok(file)
    }

    fn to_named_file(&self, dir: &Path) -> io::Result<TempPath> {
        local::make_dir(dir)?;
        let file = tempfile::Builder::new()
            .prefix("parked-")
            .tempfile_in(dir)?;
        self.write_to(file.as_file())?;
        Ok(file.into_temp_path())
    }

    fn write_to(&self, file: &File) -> io::Result<()> {
        for (index, page) in &self.by_number {
            file.write_all_at(page, index * PAGE_BYTES)?;
        }
        Ok(())
    }
}

/// A position in a buffer, which is never larger than memory.
fn index(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}

/// Splits `len` bytes from `offset` on at page borders: (page, offset in it, range of the bytes).
fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let position = offset + done as u64;
        let at = index(position % PAGE_BYTES);
        let count = (len - done).min(index(PAGE_BYTES) - at);
        let part = done..done + count;
        done += count;
        Some((position / PAGE_BYTES, at, part))
    })
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::single_range_in_vec_init,
    reason = "test files fit into memory, and a set of one range is meant"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits(memory_bytes_max: u64) -> SpoolLimits {
        SpoolLimits {
            memory_bytes_max,
            budget: Budget::new(usize::MAX),
            dir: std::env::temp_dir(),
        }
    }

    fn content(spool: &Spool, remote: &[u8]) -> Vec<u8> {
        let mut all = vec![0; spool.len() as usize];
        let mut at = 0;
        while at < spool.len() {
            let (run, is_local) = spool.run_at(at..spool.len());
            let part = run.start as usize..run.end as usize;
            if is_local {
                spool.read(run.start, &mut all[part]).unwrap();
            } else {
                all[part.clone()].copy_from_slice(&remote[part]);
            }
            at = run.end;
        }
        all
    }

    #[test]
    fn a_gap_behind_the_end_reads_as_zero_and_is_dirty() {
        let mut spool = Spool::new(4, limits(1 << 20));
        spool.write(8, b"xy").unwrap();
        assert_eq!(content(&spool, b"abcd"), b"abcd\0\0\0\0xy");
        assert_eq!(spool.dirty().iter().collect::<Vec<_>>(), [4..10]);
        assert_eq!(spool.missing(), [0..4]);
    }

    #[test]
    fn an_appended_tail_moves_to_where_the_file_ends_now() {
        for memory in [0, 1 << 20] {
            for (now, is_changed_inside) in [
                (&b"abcdtheirs"[..], true),
                (b"abcdtheirs", false),
                (b"cut", true),
                (b"cut", false),
                (b"", false),
            ] {
                let mut spool = Spool::new(4, limits(memory));
                spool.fill(0, b"abcd").unwrap();
                let tail = pattern(200_000);
                if is_changed_inside {
                    spool.write(1, b"X").unwrap();
                }
                spool.write(4, &tail).unwrap();
                spool.move_tail(4, now.len() as u64).unwrap();
                let mut expected = [now, &tail].concat();
                let end = now.len() as u64;
                let mut dirty = vec![end..end + 200_000];
                if is_changed_inside {
                    expected[1] = b'X';
                    dirty.insert(0, 1..2);
                }
                assert!(content(&spool, now) == expected);
                assert_eq!(spool.dirty().iter().collect::<Vec<_>>(), dirty);
            }
            let mut spool = Spool::new(4, limits(memory));
            spool.write(3, b"X").unwrap();
            assert!(spool.move_tail(4, 2).is_err(), "a change would be lost");
        }
    }

    /// Bytes that differ from place to place.
    fn pattern(len: u32) -> Vec<u8> {
        (0..len).map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn bytes_cut_off_do_not_come_back() {
        let mut spool = Spool::new(0, limits(1 << 20));
        spool.write(0, b"secret").unwrap();
        spool.set_len(2).unwrap();
        spool.set_len(6).unwrap();
        assert_eq!(content(&spool, b""), b"se\0\0\0\0");
    }

    #[test]
    fn fetched_bytes_do_not_cover_newer_ones() {
        let mut spool = Spool::new(6, limits(1 << 20));
        spool.write(2, b"XX").unwrap();
        spool.fill(0, b"abcdef").unwrap();
        assert_eq!(content(&spool, b"??????"), b"abXXef");
        assert_eq!(spool.dirty().iter().collect::<Vec<_>>(), [2..4]);
    }

    #[test]
    fn a_large_spool_moves_to_a_file_and_keeps_its_bytes() {
        let mut spool = Spool::new(0, limits(100_000));
        let data: Vec<u8> = (0..300_000u32).map(|byte| byte as u8).collect();
        for (index, part) in data.chunks(7_000).enumerate() {
            spool.write(index as u64 * 7_000, part).unwrap();
        }
        assert!(spool.is_in_file());
        assert_eq!(content(&spool, b""), data);
    }

    // SEMANTICS: S-write
    #[test]
    fn all_spools_share_their_memory_and_a_further_one_is_a_file_at_once() {
        let limits = SpoolLimits {
            budget: Budget::new(300_000),
            ..limits(200_000)
        };
        let mut spools: Vec<_> = (0..4).map(|_| Spool::new(0, limits.clone())).collect();
        for spool in &mut spools {
            spool.write(0, &pattern(130_000)).unwrap();
        }
        let in_file: Vec<_> = spools.iter().map(Spool::is_in_file).collect();
        assert_eq!(in_file, [false, false, true, true]);
        assert!(limits.budget.used() <= 300_000);
        assert!(
            spools
                .iter()
                .all(|spool| content(spool, b"") == pattern(130_000))
        );
        // A byte in a page of its own takes its share too.
        let mut sparse = Spool::new(0, limits.clone());
        for page in 0..1000 {
            sparse.write(page * PAGE_BYTES, b"x").unwrap();
        }
        assert!(sparse.is_in_file());
        spools.clear();
        assert_eq!(limits.budget.used(), 0);
    }

    #[test]
    fn a_parked_spool_is_read_and_changed_like_any_other_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let files = || std::fs::read_dir(dir.path()).unwrap().count();
        let limits = SpoolLimits {
            memory_bytes_max: 1 << 20,
            budget: Budget::new(1 << 20),
            dir: dir.path().to_path_buf(),
        };
        let mut spool = Spool::new(3, limits.clone());
        spool.write(5, b"written").unwrap();
        assert!(limits.budget.used() > 0);
        spool.move_to_file().unwrap();
        assert_eq!((limits.budget.used(), files()), (0, 1));
        assert_eq!(content(&spool, b"abc"), b"abc\0\0written");
        spool.write(0, b"A").unwrap();
        assert_eq!(files(), 0, "it has no name while it may change");
        assert_eq!(content(&spool, b"abc"), b"Abc\0\0written");

        let mut spool = Spool::new(0, limits);
        spool.write(0, b"secret").unwrap();
        spool.move_to_file().unwrap();
        spool.set_len(2).unwrap();
        spool.set_len(6).unwrap();
        assert_eq!(content(&spool, b""), b"se\0\0\0\0");
        spool.move_to_file().unwrap();
        drop(spool);
        assert_eq!(files(), 0);
    }

    proptest! {
        #[test]
        fn it_holds_what_was_written(
            ops in prop::collection::vec((0u8..5, 0u64..200_000, 0usize..90_000, any::<u8>()), 1..12),
            memory in prop::sample::select(vec![0u64, 70_000, 1 << 30]),
        ) {
            let remote: Vec<u8> = (0..100_000u32).map(|byte| (byte % 251) as u8).collect();
            let mut spool = Spool::new(remote.len() as u64, limits(memory));
            let mut model = remote.clone();
            for (op, offset, len, byte) in ops {
                match op {
                    0 | 1 => {
                        let end = offset as usize + len;
                        spool.write(offset, &vec![byte; len]).unwrap();
                        if model.len() < end { model.resize(end, 0); }
                        model[offset as usize..end].fill(byte);
                    }
                    2 => {
                        spool.set_len(offset).unwrap();
                        model.resize(offset as usize, 0);
                    }
                    3 => {
                        let end = (offset as usize + len).min(model.len());
                        let start = (offset as usize).min(end);
                        spool.zero(start as u64..end as u64).unwrap();
                        model[start..end].fill(0);
                    }
                    _ => {
                        for gap in spool.missing() {
                            spool.fill(gap.start, &remote[gap.start as usize..gap.end as usize]).unwrap();
                        }
                    }
                }
                prop_assert_eq!(spool.len(), model.len() as u64);
            }
            prop_assert!(content(&spool, &remote) == model);
            prop_assert!(spool.is_dirty() || model == remote);
        }
    }
}
