//! How long a stream has had its session, and what it looks after meanwhile.

use std::time::{Duration, Instant};

/// How long a stream may keep its session when somebody else waits for one. 250 ms: several round trips of useful work
/// for the two that it costs to start again, short for one who waits.
const HOLD_MIN: Duration = Duration::from_millis(250);

/// How often a stream looks whether somebody waits for its session, or whether it is idle. 100 ms: a small part of what
/// `ls` waits for anyway.
pub(super) const CONTENTION_CHECK: Duration = Duration::from_millis(100);

/// A stream's hold on its session.
#[derive(Debug)]
pub(super) struct Hold {
    since: Instant,
    /// When it last looked whether others wait for the session.
    looked: Instant,
    /// When its sequence was looked after.
    tended: Instant,
}

impl Hold {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            looked: now,
            tended: now,
        }
    }

    /// Whether it is time to look after the sequence.
    pub(super) fn tends(&mut self, now: Instant) -> bool {
        is_due(&mut self.tended, now)
    }

    /// Whether it is time to look if others wait. A helper has no right to keep its session.
    pub(super) fn looks(&mut self, now: Instant, is_helper: bool) -> bool {
        let has_held = now.saturating_duration_since(self.since) >= HOLD_MIN;
        (has_held || is_helper) && is_due(&mut self.looked, now)
    }
}

fn is_due(last: &mut Instant, now: Instant) -> bool {
    let is_due = now.saturating_duration_since(*last) >= CONTENTION_CHECK;
    if is_due {
        *last = now;
    }
    is_due
}
