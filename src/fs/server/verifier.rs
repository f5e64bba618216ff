//! Whether the server's checksums are asked for and believed: `--verify`, and what this mount has learnt of them.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::remote::{Part, RemoteError, RemoteErrorKind};

/// How many checksums may be late before none is asked for any more. 2: one can be an accident, and each makes a program wait for the timeout.
const LATE_MAX: u32 = 2;

/// How many checksums in a row may be wrong though the bytes are right. 3: `ProFTPD` now and then reports one that it remembers of a file
/// of the same name, size and second; a server that means another range by the same command is wrong each time.
const WRONG_MAX: u32 = 3;

/// See the module.
#[derive(Debug)]
pub(crate) struct Verifier {
    is_wanted: bool,
    late: AtomicU32,
    wrong_of_wholes: AtomicU32,
    wrong_of_ranges: AtomicU32,
}

impl Verifier {
    /// Of a server of which nothing is known yet.
    pub(super) fn new(is_wanted: bool) -> Self {
        Self {
            is_wanted,
            late: AtomicU32::new(0),
            wrong_of_wholes: AtomicU32::new(0),
            wrong_of_ranges: AtomicU32::new(0),
        }
    }

    /// Whether a checksum is to be asked for.
    pub(crate) fn is_wanted(&self, part: &Part) -> bool {
        self.is_wanted
            && !part.is_empty()
            && self.late.load(Ordering::Relaxed) < LATE_MAX
            && self.wrong(part).load(Ordering::Relaxed) < WRONG_MAX
    }

    /// It was that of our bytes.
    pub(crate) fn note_right(&self, part: &Part) {
        self.wrong(part).store(0, Ordering::Relaxed);
    }

    /// It was another one, and the bytes are ours; whether no more are asked for after this one.
    pub(crate) fn note_wrong(&self, part: &Part) -> bool {
        self.wrong(part).fetch_add(1, Ordering::Relaxed) + 1 == WRONG_MAX
    }

    /// There was none; whether no more are asked for after this one.
    pub(crate) fn note_failure(&self, error: &RemoteError) -> bool {
        matches!(error.kind(), RemoteErrorKind::TimedOut(_))
            && self.late.fetch_add(1, Ordering::Relaxed) + 1 == LATE_MAX
    }

    fn wrong(&self, part: &Part) -> &AtomicU32 {
        match part {
            Part::Whole(_) => &self.wrong_of_wholes,
            Part::Range(_) => &self.wrong_of_ranges,
        }
    }
}
