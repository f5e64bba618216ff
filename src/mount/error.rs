//! Why there is no mount, or why it did not end well.

/// One sentence for the user.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct MountError(String);

impl MountError {
    /// Takes the sentence over; line breaks in it become blanks.
    pub fn new(sentence: impl AsRef<str>) -> Self {
        Self(
            sentence
                .as_ref()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" "),
        )
    }
}
