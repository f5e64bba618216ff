//! Whether data connections are opened ahead: not for a while after that has failed, and no more when it keeps failing.

use std::time::{Duration, Instant};

/// How long nothing is opened ahead after a failure. 1 min: a firewall's or server's hiccup is over by then, and until then each
/// transfer opens its own.
const PAUSE: Duration = Duration::from_mins(1);

/// After how many failures in a row it is left for good. 3: what fails for three minutes is no hiccup.
const FAILURES_MAX: u32 = 3;

/// What came of opening data connections ahead.
#[derive(Debug, Default)]
pub(super) struct Warming {
    /// In a row; those of one pause count once.
    failures: u32,
    paused: Option<Instant>,
}

impl Warming {
    /// Whether it is worth another try.
    pub(super) fn is_on(&self, now: Instant) -> bool {
        self.failures < FAILURES_MAX && !self.is_paused(now)
    }

    /// It worked.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// It failed; `is_final` when the server refuses any data connection outside a transfer.
    pub(super) fn failed(&mut self, now: Instant, is_final: bool) {
        if is_final {
            self.failures = FAILURES_MAX;
        } else if !self.is_paused(now) {
            self.failures += 1;
            self.paused = Some(now);
        }
    }

    fn is_paused(&self, now: Instant) -> bool {
        self.paused
            .is_some_and(|since| now.saturating_duration_since(since) < PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_is_a_pause_and_three_in_a_row_are_the_end() {
        let start = Instant::now();
        let mut warming = Warming::default();
        // Several sessions that meet the same hiccup.
        (0..5).for_each(|_| warming.failed(start, false));
        assert!(!warming.is_on(start));
        assert!(warming.is_on(start + PAUSE));
        warming.failed(start + PAUSE, false);
        assert!(warming.is_on(start + 2 * PAUSE));
        warming.succeeded();
        for count in 2..5 {
            assert!(warming.is_on(start + count * PAUSE), "{count}");
            warming.failed(start + count * PAUSE, false);
        }
        assert!(!warming.is_on(start + 100 * PAUSE));
        let mut refused = Warming::default();
        refused.failed(start, true);
        assert!(!refused.is_on(start + 100 * PAUSE));
    }
}
