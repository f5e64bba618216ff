//! What the log shows of a session: its number, and its commands without their secrets.

use std::{
    fmt,
    sync::atomic::{AtomicU32, Ordering},
};

/// What a session is called in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SessionNumber(u32);

impl SessionNumber {
    /// The next one of this process.
    pub(super) fn next() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Display for SessionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The line as the trace may show it.
pub(super) fn masked(line: &[u8]) -> &[u8] {
    match line.get(..5) {
        Some(verb) if verb.eq_ignore_ascii_case(b"PASS ") => b"PASS ***",
        Some(verb) if verb.eq_ignore_ascii_case(b"ACCT ") => b"ACCT ***",
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trace_shows_no_secret() {
        assert_eq!(masked(b"PASS secret"), b"PASS ***");
        assert_eq!(masked(b"pass x"), b"PASS ***");
        assert_eq!(masked(b"ACCT x"), b"ACCT ***");
        assert_eq!(masked(b"RETR /PASS x"), b"RETR /PASS x");
    }
}
