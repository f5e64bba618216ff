//! Whether a server takes commands in one write, as far as silence tells: some read one command from what arrives, and drop the rest.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use crate::ftp::deadline::Deadline;

/// How long the next reply to commands that were sent together may take at the login, until that has worked once. 4 s: longer than most servers hold
/// a refused password back, so that it is sent once; and a server that has dropped what came with the first command is mounted within 5 s. A
/// server that is slow with every reply has [`SLOW_RATIO`] times as long as the slowest took.
const BATCH_SILENCE: Duration = Duration::from_secs(4);

/// See there. 3: a login takes longer than a word.
const SLOW_RATIO: u32 = 3;

/// What this mount has seen of commands in one write.
#[derive(Debug, Default)]
pub(in crate::ftp) struct Batches {
    /// Whether a login in one write was answered to its end. After that a silence has another reason.
    is_proven: AtomicBool,
    /// The silence that they were given up for, in milliseconds.
    silence: AtomicU64,
    /// Whether they were tried once more.
    is_retried: AtomicBool,
}

impl Batches {
    /// A login whose commands left in one write was answered to its end.
    pub(in crate::ftp) fn prove(&self) {
        self.is_proven.store(true, Ordering::Relaxed);
    }

    /// Until when the next reply at such a login is waited for, when the slowest so far took so long.
    pub(in crate::ftp) fn until_silent(&self, deadline: Deadline, slowest: Duration) -> Deadline {
        if self.is_proven.load(Ordering::Relaxed) {
            return deadline;
        }
        deadline.capped(BATCH_SILENCE.max(slowest * SLOW_RATIO))
    }

    /// The server has answered the first of several commands, and no more for so long.
    pub(super) fn note_silent(&self, silence: Duration) {
        let millis = u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
        self.silence.store(millis, Ordering::Relaxed);
    }

    /// Whether a single reply that took so long shows that the silence by which this mount has judged proves nothing: it is half of it.
    pub(super) fn is_acquitted_by(&self, taken: Duration) -> bool {
        let silence = Duration::from_millis(self.silence.load(Ordering::Relaxed));
        let is_slow = !silence.is_zero() && taken >= silence / 2;
        if is_slow {
            self.silence.store(0, Ordering::Relaxed);
        }
        is_slow
    }

    /// Whether they were not tried once more yet; they are from now on.
    pub(super) fn take_retry(&self) -> bool {
        !self.is_retried.swap(true, Ordering::Relaxed)
    }
}
