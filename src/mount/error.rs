//! Why there is no mount, or why it did not end well.

/// One sentence for the user.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{sentence}")]
pub struct MountError {
    sentence: String,
    cause: Cause,
}

/// Whether the user can do something about it at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The server shows a certificate that the user may trust.
    Untrusted,
    /// Anything else.
    Other,
}

impl MountError {
    /// Takes the sentence over; line breaks in it become blanks.
    pub fn new(sentence: impl AsRef<str>) -> Self {
        let words: Vec<_> = sentence.as_ref().split_whitespace().collect();
        Self {
            sentence: words.join(" "),
            cause: Cause::Other,
        }
    }

    /// The same with a cause.
    pub(super) fn caused_by(self, cause: Cause) -> Self {
        Self { cause, ..self }
    }

    pub(super) fn cause(&self) -> Cause {
        self.cause
    }

    /// Whether the server shows a certificate that the user may trust.
    pub fn is_untrusted(&self) -> bool {
        self.cause == Cause::Untrusted
    }
}
