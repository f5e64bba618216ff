//! The instant by which one request to the remote must have ended.

use std::time::{Duration, Instant};

/// When waiting ends. One deadline covers everything that a request waits for: a session, the connection, the
/// login, each reply.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline(Instant);

impl Deadline {
    /// A deadline this far ahead.
    pub(super) fn after(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    /// What is left, at least a millisecond (the sockets refuse a timeout of zero); `None` when it is over.
    pub(super) fn remaining(self) -> Option<Duration> {
        let left = self.0.checked_duration_since(Instant::now())?;
        (!left.is_zero()).then(|| left.max(Duration::from_millis(1)))
    }

    /// This deadline or that instant, whichever comes last.
    pub(super) fn or_later(self, instant: Instant) -> Self {
        Self(self.0.max(instant))
    }

    /// This deadline, and so much time more.
    pub(super) fn later_by(self, time: Duration) -> Self {
        Self(self.0 + time)
    }

    /// This deadline or one `time` ahead, whichever comes first.
    pub(super) fn capped(self, time: Duration) -> Self {
        Self(self.0.min(Instant::now() + time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_leaves_nothing() {
        assert!(Deadline::after(Duration::ZERO).remaining().is_none());
        let far = Deadline::after(Duration::from_mins(1));
        assert!(far.remaining().unwrap() > Duration::from_secs(50));
        assert!(far.capped(Duration::from_secs(1)).remaining().unwrap() <= Duration::from_secs(1));
    }
}
