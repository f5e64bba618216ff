//! Why the last upload of a file failed, and whether it is tried again by itself.

use crate::{
    fs::error::{FsError, FsErrorKind},
    remote::{RemoteError, RemoteErrorKind},
};

/// Smaller files may be sent again and again to a server that breaks them off. 1 MiB: seconds on any line, and no disk is full for it.
const COSTLY_BYTES_MIN: u64 = 1 << 20;

/// See the module.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It did not.
    None,
    /// For this reason; it is tried again.
    Retried(FsError, Ended),
    /// For want of space on the server; the file is sent again when there may be some, or when a program changes it or asks.
    Full(FsError, Seen),
    /// For this reason; the file is not sent again until a program asks for it.
    Parked(FsError),
}

/// How the uploads since the last success have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Of themselves, or with the connection.
    Otherwise,
    /// The server has broken one off.
    BrokenOff,
}

/// What was known of the server's space when it had none for a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// How often this mount had made room, when the upload began.
    pub(crate) freed: u64,
    /// What the server has reported to be free since; not asked at once, while it still removes what came of the upload.
    pub(crate) free: Option<u64>,
}

impl Failure {
    /// The reason.
    pub(crate) fn error(&self) -> Option<&FsError> {
        match self {
            Self::None => None,
            Self::Retried(error, _) | Self::Full(error, _) | Self::Parked(error) => Some(error),
        }
    }

    /// The same, if the file is not sent at this time.
    pub(crate) fn held(&self) -> Option<&FsError> {
        match self {
            Self::Full(error, _) | Self::Parked(error) => Some(error),
            Self::None | Self::Retried(..) => None,
        }
    }

    /// What was known of the server's space when it had none for the file.
    pub(crate) fn seen_full(&mut self) -> Option<&mut Seen> {
        match self {
            Self::Full(_, seen) => Some(seen),
            Self::None | Self::Retried(..) | Self::Parked(_) => None,
        }
    }

    /// An upload of `bytes` has failed that began when this mount had made room `freed` times.
    pub(crate) fn note(&mut self, error: FsError, bytes: u64, freed: u64) {
        let is_costly = bytes >= COSTLY_BYTES_MIN && is_broken_off(&error);
        let ended = match self {
            Self::Retried(_, Ended::BrokenOff) | Self::Full(..) => Ended::BrokenOff,
            _ => Ended::Otherwise,
        };
        *self = match self {
            Self::Parked(_) => Self::Parked(error),
            _ if is_full(&error) || (is_costly && ended == Ended::BrokenOff) => {
                Self::Full(error, Seen { freed, free: None })
            }
            _ if is_costly => Self::Retried(error, Ended::BrokenOff),
            _ => Self::Retried(error, ended),
        };
    }

    /// The server may have room now, or the file may need less.
    pub(crate) fn unhold_full(&mut self) {
        if let Self::Full(error, _) = self {
            *self = Self::Retried(error.clone(), Ended::BrokenOff);
        }
    }

    /// A program asks for the file to be sent.
    pub(crate) fn unhold(&mut self) {
        self.unhold_full();
        if let Self::Parked(error) = self {
            *self = Self::Retried(error.clone(), Ended::Otherwise);
        }
    }
}

/// Whether the server has no room for the bytes, and this machine has. What it says of an attribute is no word about them.
fn is_full(error: &FsError) -> bool {
    let is_space = matches!(
        error.kind(),
        FsErrorKind::NoSpace | FsErrorKind::QuotaExceeded
    );
    let is_of_bytes = |error: &RemoteError| matches!(error.command(), "STOR" | "APPE");
    is_space
        && error
            .remote()
            .is_some_and(|error| error.is_answer() && is_of_bytes(error))
}

/// Whether the server has ended an upload that it had begun. vsftpd and Pure-FTPd say 451 and pyftpdlib 426 when their disk is full, and for
/// whatever else may happen to them.
fn is_broken_off(error: &FsError) -> bool {
    error.remote().is_some_and(|error| {
        let is_broken = matches!(
            error.kind(),
            RemoteErrorKind::Failed | RemoteErrorKind::Disconnected
        );
        is_broken && error.is_answer() && error.has_begun()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: RemoteErrorKind) -> FsError {
        RemoteError::new(kind, "STOR").answered().begun().into()
    }

    #[test]
    fn a_full_server_is_believed_at_once_and_one_that_breaks_large_files_off_the_second_time() {
        for (kind, bytes, held) in [
            (RemoteErrorKind::NoSpace, 1, [true, true]),
            (RemoteErrorKind::QuotaExceeded, 1, [true, true]),
            (RemoteErrorKind::Failed, COSTLY_BYTES_MIN, [false, true]),
            (
                RemoteErrorKind::Disconnected,
                COSTLY_BYTES_MIN,
                [false, true],
            ),
            (
                RemoteErrorKind::Failed,
                COSTLY_BYTES_MIN - 1,
                [false, false],
            ),
            (RemoteErrorKind::Busy, COSTLY_BYTES_MIN, [false, false]),
        ] {
            let mut failure = Failure::None;
            let of_time = RemoteError::new(kind, "MFMT").answered();
            failure.note(of_time.into(), bytes, 0);
            assert!(failure.held().is_none(), "{kind:?} of a time");
            for is_held in held {
                failure.note(answer(kind), bytes, 0);
                assert_eq!(failure.held().is_some(), is_held, "{kind:?} of {bytes}");
            }
        }
        let mut failure = Failure::None;
        failure.note(answer(RemoteErrorKind::Failed), COSTLY_BYTES_MIN, 0);
        failure.note(answer(RemoteErrorKind::Busy), 0, 0);
        failure.note(answer(RemoteErrorKind::Failed), COSTLY_BYTES_MIN, 0);
        assert!(failure.held().is_some(), "something else in between");
        let mut failure = Failure::None;
        for _ in 0..3 {
            let lost = RemoteError::new(RemoteErrorKind::Disconnected, "STOR").begun();
            failure.note(lost.into(), COSTLY_BYTES_MIN, 0);
            assert!(failure.held().is_none(), "a broken line is no answer");
        }
    }

    #[test]
    fn what_is_held_for_want_of_space_is_tried_again_when_asked_for_or_changed() {
        let full = || {
            let mut failure = Failure::None;
            failure.note(answer(RemoteErrorKind::NoSpace), 1, 0);
            failure
        };
        let mut failure = full();
        failure.unhold();
        assert!(failure.held().is_none() && failure.error().is_some());
        let mut failure = full();
        failure.unhold_full();
        assert!(failure.held().is_none() && failure.error().is_some());
    }
}
