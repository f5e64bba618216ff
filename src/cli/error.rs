//! Why a command line leads to nothing: a mistake, or a text that was asked for.

/// A mistake on the command line: one sentence that names the option and the remedy, and no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

impl UsageError {
    /// Takes the sentence over.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

/// Why the command line leads neither to a mount nor to an examination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// `--help`, `--version`, or mount(8)'s dry run: print this and exit 0.
    Print(String),
    /// A mistake.
    Usage(UsageError),
}

impl From<UsageError> for Stop {
    fn from(error: UsageError) -> Self {
        Self::Usage(error)
    }
}
