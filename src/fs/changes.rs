//! What programs have changed of a file and the server does not have yet.

use std::{io, ops::Range, time::SystemTime};

use super::{
    ranges::RangeSet,
    spool::{Spool, SpoolLimits},
};
use crate::remote::Attributes;

/// How the bytes were written since the last upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// At offsets of the program's choice.
    Anywhere,
    /// All at the end, through handles that do nothing else.
    Appended,
    /// After the program had whatever the name holds emptied (`O_TRUNC`), so that it may be replaced.
    Emptied,
}

/// Which content a file has here: it grows with each change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Revision(u64);

/// What the server may have of a file whose length is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// Nothing.
    Nothing,
    /// What a change of ours may have brought there.
    Part,
    /// The file.
    File,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Changes {
    /// What was written; `None` when the server has all.
    spool: Option<Spool>,
    way: Way,
    /// When a program wrote last.
    written: SystemTime,
    revision: Revision,
    /// Mode and time that go up with the next upload.
    wanted: Attributes,
}

impl Changes {
    /// None, of a file that was opened `now`.
    pub(super) fn new(now: SystemTime) -> Self {
        Self {
            spool: None,
            way: Way::Anywhere,
            written: now,
            revision: Revision::default(),
            wanted: Attributes::default(),
        }
    }

    pub(crate) fn spool(&self) -> Option<&Spool> {
        self.spool.as_ref()
    }

    /// Whether something was written that the server does not have.
    pub(crate) fn is_dirty(&self) -> bool {
        self.spool.as_ref().is_some_and(Spool::is_dirty)
    }

    /// Whether there is anything that the server does not have. What was set while the file was ahead goes up also when the bytes have become
    /// what they were.
    pub(super) fn is_any(&self) -> bool {
        !self.wanted.is_empty() || self.is_dirty()
    }

    pub(crate) fn wanted(&self) -> Attributes {
        self.wanted
    }

    pub(crate) fn written(&self) -> SystemTime {
        self.written
    }

    /// Which content it is that programs see.
    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    /// Whether all that was written since the last upload was appended, so that it may move with the file's end.
    pub(crate) fn is_appended(&self) -> bool {
        self.way == Way::Appended
    }

    /// Writes at `offset`; the file on the server has `server_len` bytes.
    pub(super) fn write(
        &mut self,
        server_len: u64,
        limits: &SpoolLimits,
        offset: u64,
        data: &[u8],
        is_append: bool,
        now: SystemTime,
    ) -> io::Result<()> {
        self.way = match self.way {
            Way::Emptied => Way::Emptied,
            Way::Appended if is_append => Way::Appended,
            Way::Anywhere | Way::Appended if is_append && !self.is_dirty() => Way::Appended,
            Way::Anywhere | Way::Appended => Way::Anywhere,
        };
        self.spool_or_new(server_len, limits).write(offset, data)?;
        self.note_written(now);
        self.wanted.modified = None;
        Ok(())
    }

    /// Makes a range read as zero.
    pub(super) fn zero(
        &mut self,
        server_len: u64,
        limits: &SpoolLimits,
        range: Range<u64>,
        now: SystemTime,
    ) -> io::Result<()> {
        self.note_anywhere();
        self.spool_or_new(server_len, limits).zero(range)?;
        self.note_written(now);
        Ok(())
    }

    /// Gives the file another length; `before` is what the server may have of it.
    pub(super) fn set_len(
        &mut self,
        server_len: u64,
        limits: &SpoolLimits,
        len: u64,
        before: Before,
        now: SystemTime,
    ) -> io::Result<()> {
        self.note_anywhere();
        let spool = self.spool_or_new(server_len, limits);
        spool.set_len(len)?;
        let is_emptied = match before {
            // Of a new file nothing was emptied that others could have made meanwhile.
            Before::Nothing => false,
            Before::Part => true,
            // An empty file that is emptied is no change that would be sent.
            Before::File => spool.is_dirty(),
        };
        if len == 0 && is_emptied {
            self.way = Way::Emptied;
        }
        self.note_written(now);
        self.wanted.modified = None;
        Ok(())
    }

    /// The program has not emptied anything, after all, or not for this upload.
    pub(crate) fn forget_emptied(&mut self) {
        if self.way == Way::Emptied {
            self.way = Way::Anywhere;
        }
    }

    /// Sets mode and time with the next upload.
    pub(crate) fn want(&mut self, attributes: Attributes) {
        self.wanted.mode = attributes.mode.or(self.wanted.mode);
        self.wanted.modified = attributes.modified.or(self.wanted.modified);
    }

    /// Keeps bytes that were fetched from the server, where nothing newer is here.
    pub(crate) fn fill(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match &mut self.spool {
            Some(spool) => spool.fill(offset, bytes),
            None => Ok(()),
        }
    }

    /// Drops such bytes again.
    pub(crate) fn forget_fetched(&mut self, ranges: &[Range<u64>]) {
        if let Some(spool) = &mut self.spool {
            spool.forget_fetched(ranges);
        }
    }

    /// Moves what was appended, as the server's file ends at `to` and not at `at`.
    pub(super) fn move_tail(&mut self, at: u64, to: u64) -> io::Result<()> {
        match &mut self.spool {
            Some(spool) => spool.move_tail(at, to),
            None => Ok(()),
        }
    }

    /// How many zeros stand in them for bytes that no program has written.
    pub(crate) fn hole_bytes(&self) -> u64 {
        self.spool.as_ref().map_or(0, Spool::hole_bytes)
    }

    /// Moves them out of memory.
    pub(crate) fn move_to_file(&mut self) -> io::Result<()> {
        match &mut self.spool {
            Some(spool) => spool.move_to_file(),
            None => Ok(()),
        }
    }

    /// An upload begins: what is changed from now on is a change anew. The ranges that it sends, and whether what the name holds was emptied.
    pub(super) fn take(&mut self) -> (RangeSet, bool) {
        let dirty = self.spool.as_mut().map(Spool::take_dirty);
        let is_emptied = self.way == Way::Emptied;
        self.forget_emptied();
        (dirty.unwrap_or_default(), is_emptied)
    }

    /// Whether nothing was changed since it took the file, which had `len` bytes.
    pub(super) fn is_as_taken(&self, len: u64) -> bool {
        let is_same = |spool: &Spool| spool.dirty().is_empty() && spool.len() == len;
        self.way != Way::Emptied && self.spool.as_ref().is_none_or(is_same)
    }

    /// It has failed: what it was to bring to the server is missing there still.
    pub(super) fn give_back(&mut self, dirty: &RangeSet, is_emptied: bool, wanted: Attributes) {
        if is_emptied {
            self.way = Way::Emptied;
        }
        if let Some(spool) = &mut self.spool {
            spool.give_back_dirty(dirty);
        }
        self.wanted.mode = self.wanted.mode.or(wanted.mode);
        self.wanted.modified = self.wanted.modified.or(wanted.modified);
    }

    /// It has succeeded: the server's file has `len` bytes, unless it was taken away.
    pub(super) fn sent(&mut self, len: u64, is_taken: bool) {
        if let Some(spool) = &mut self.spool {
            spool.set_server_len(len);
            // Memory stays, for the reads and the changes that often follow; a file would hold disk space.
            if spool.is_in_file() && !spool.is_dirty() && !is_taken {
                self.spool = None;
            }
        }
        // Nothing was added meanwhile: to set attributes waits for the upload's end.
        self.wanted = Attributes::default();
    }

    /// What is here of the bytes is of no use any more.
    pub(super) fn drop_spool(&mut self) {
        self.spool = None;
    }

    /// Forgets all of them.
    pub(super) fn give_up(&mut self) {
        self.spool = None;
        self.wanted = Attributes::default();
    }

    fn note_written(&mut self, now: SystemTime) {
        self.written = now;
        self.revision.0 += 1;
    }

    fn note_anywhere(&mut self) {
        if self.way == Way::Appended {
            self.way = Way::Anywhere;
        }
    }

    fn spool_or_new(&mut self, server_len: u64, limits: &SpoolLimits) -> &mut Spool {
        self.spool
            .get_or_insert_with(|| Spool::new(server_len, limits.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn limits() -> SpoolLimits {
        SpoolLimits {
            memory_bytes_max: 1 << 20,
            budget: Budget::new(1 << 20),
            dir: std::env::temp_dir(),
        }
    }

    #[test]
    fn only_what_was_all_appended_since_the_last_upload_is_appended() {
        let mut changes = Changes::new(NOW);
        changes.write(3, &limits(), 3, b"x", true, NOW).unwrap();
        assert!(changes.is_appended());
        changes.write(3, &limits(), 0, b"x", false, NOW).unwrap();
        assert!(!changes.is_appended());
        changes.write(3, &limits(), 4, b"x", true, NOW).unwrap();
        assert!(!changes.is_appended());
        changes.take();
        changes.sent(5, false);
        changes.write(5, &limits(), 5, b"x", true, NOW).unwrap();
        assert!(changes.is_appended());
    }

    #[test]
    fn a_new_file_that_is_emptied_takes_no_place() {
        for (before, is_emptied) in [(Before::Nothing, false), (Before::Part, true)] {
            let mut changes = Changes::new(NOW);
            changes.write(0, &limits(), 0, b"x", false, NOW).unwrap();
            changes.set_len(0, &limits(), 0, before, NOW).unwrap();
            assert_eq!(changes.take().1, is_emptied);
        }
    }

    #[test]
    fn what_was_emptied_stays_so_until_it_is_sent_or_forgotten() {
        let mut changes = Changes::new(NOW);
        changes.set_len(3, &limits(), 0, Before::File, NOW).unwrap();
        changes.write(3, &limits(), 0, b"new", true, NOW).unwrap();
        let (dirty, is_emptied) = changes.take();
        assert!(is_emptied);
        changes.give_back(&dirty, is_emptied, Attributes::default());
        assert!(changes.take().1);
        changes.give_back(&dirty, true, Attributes::default());
        changes.forget_emptied();
        assert!(!changes.take().1);
    }
}
