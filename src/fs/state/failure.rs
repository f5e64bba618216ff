//! Why the last upload of a file failed, and whether it is tried again by itself.

use crate::fs::error::FsError;

/// See the module.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It did not.
    None,
    /// For this reason; it is tried again.
    Retried(FsError),
    /// For this reason; the file is not sent again until a program asks for it.
    Parked(FsError),
}

impl Failure {
    /// The reason.
    pub(crate) fn error(&self) -> Option<&FsError> {
        match self {
            Self::None => None,
            Self::Retried(error) | Self::Parked(error) => Some(error),
        }
    }

    /// The same, if the file is not sent again by itself.
    pub(crate) fn parked(&self) -> Option<&FsError> {
        match self {
            Self::Parked(error) => Some(error),
            Self::None | Self::Retried(_) => None,
        }
    }

    /// An upload has failed.
    pub(crate) fn note(&mut self, error: FsError) {
        *self = match self {
            Self::Parked(_) => Self::Parked(error),
            Self::None | Self::Retried(_) => Self::Retried(error),
        };
    }

    /// A program asks for the file to be sent.
    pub(crate) fn unpark(&mut self) {
        if let Self::Parked(error) = self {
            *self = Self::Retried(error.clone());
        }
    }
}
