//! What can be wrong after a case.

use std::fmt;

/// The kinds of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// The program waited too long.
    Slow,
    /// It read something else, with success.
    Read,
    /// It was told of success, and the disk holds something else.
    Undone,
    /// The disk holds what nobody wrote.
    Mixed,
    /// What was stored later, with success, is gone.
    Overwritten,
    /// What was written is neither on the server nor kept.
    Lost,
    /// Another client's file has changed, or there is a file that no client made.
    Others,
    /// A temporary file stays.
    Left,
    /// What was written is stored beside the file, as if others had changed that.
    Beside,
    /// The mount shows something else than the disk holds.
    Shown,
    /// The next small file does not arrive, or not in time.
    Next,
}

/// One of them, with what was seen.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) wrong: Wrong,
    what: String,
}

impl Wrong {
    /// With what was seen.
    pub(super) fn with(self, what: impl Into<String>) -> Failure {
        let what = what.into();
        Failure { wrong: self, what }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wrong = format!("{:?}", self.wrong).to_uppercase();
        write!(f, "{wrong}: {}", self.what)
    }
}

/// Several of them, in one line.
pub(super) fn line(failures: &[Failure]) -> String {
    let texts: Vec<String> = failures.iter().map(ToString::to_string).collect();
    texts.join("; ")
}
