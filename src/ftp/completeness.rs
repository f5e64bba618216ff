//! Whether what was transferred is whole, as far as the data connection and the last reply show: judged here and nowhere else. Which
//! reply is the last one is sorted out in `whole.rs`, what a listing or a size says besides in `directory.rs` and `upload.rs`.
//!
//! | how the data ended | the last reply | verdict |
//! |---|---|---|
//! | the connection broke, be it before the go-ahead | 2yz | broken: a server takes a lost connection for the end |
//! | closed in good order | 2yz | whole |
//! | TLS without `close_notify` | 2yz | unproven: a file's size decides ([`judge_size`]); of a server that gives it ([`Notices`]), a listing or a file without a size is broken, of others a listing counts as cut |
//! | in any way | 4yz, 5yz | refused |
//!
//! What a reader leaves early is not judged: it has what it wanted.

use std::{
    io,
    sync::{Mutex, PoisonError},
};

use super::reply::{Failure, Fault, Reply};
use crate::remote::{Phase, RemoteErrorKind};

/// How the data of a download has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum DataEnd {
    /// Not yet, as far as was read.
    #[default]
    Open,
    /// The server has closed the connection, or has sent all of a part.
    Closed,
    /// TLS has ended without `close_notify`, which somebody on the way can bring about.
    Unannounced,
}

/// What that proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All of it has come.
    Whole,
    /// The end of it may be missing.
    Unproven,
}

/// Whether a server announces the end of its data in TLS, as it has to and many do not. Who stands in between can take the notice away, but
/// cannot make one: a single one shows that the server gives them.
#[derive(Debug, Default)]
pub(super) struct Notices(Mutex<Habit>);

/// What the server was seen to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Habit {
    #[default]
    Unknown,
    /// It gives them.
    Given,
    /// It has given none, not even when it was asked once more.
    Never,
}

impl Notices {
    /// Data has ended with a notice.
    pub(super) fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Habit::Given;
    }

    /// Data has ended without one twice, and never with one.
    pub(super) fn give_up(&self) {
        let mut habit = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *habit == Habit::Unknown {
            log::info!(
                "the server does not announce the end of data in TLS: names that a listing lacks are asked for"
            );
            *habit = Habit::Never;
        }
    }

    /// Whether the server gives them, so that one that is missing was taken away.
    pub(super) fn are_given(&self) -> bool {
        self.habit() == Habit::Given
    }

    /// Whether it is worth it to ask once more for what has ended without.
    pub(super) fn may_come(&self) -> bool {
        self.habit() != Habit::Never
    }

    fn habit(&self) -> Habit {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a reply confirms when the connection had not broken before.
///
/// # Errors
///
/// [`Failure::Broken`] when it had, and the reply is a 2yz all the same.
pub(super) fn confirm(
    verb: &'static str,
    reply: &Reply,
    broke: Option<io::Error>,
) -> Result<(), Failure> {
    match broke {
        Some(error) if reply.is_done() => {
            Err(Failure::Broken(verb, Fault::from_io(&error, Phase::Data)))
        }
        _ => Ok(()),
    }
}

/// Judges a download by how its data ended and by its last reply.
///
/// # Errors
///
/// [`Failure::Refused`] for any other reply than a 2yz.
pub(super) fn judge(verb: &'static str, end: DataEnd, reply: &Reply) -> Result<Verdict, Failure> {
    if !reply.is_done() {
        return Err(Failure::Refused(verb, reply.clone()));
    }
    Ok(match end {
        DataEnd::Unannounced => Verdict::Unproven,
        DataEnd::Open | DataEnd::Closed => Verdict::Whole,
    })
}

/// Judges a file whose end is unproven by its size, where the server has that.
///
/// # Errors
///
/// [`Failure::Broken`] when more was to come than has come, so that the caller goes on behind that; or when no size is known, of a server that
/// announces ends.
pub(super) fn judge_size(
    verb: &'static str,
    came: u64,
    size: Option<u64>,
    notices: &Notices,
) -> Result<(), Failure> {
    let is_whole = match size {
        Some(size) => size <= came,
        None => !notices.are_given(),
    };
    if is_whole {
        return Ok(());
    }
    let detail = "the data connection ended too early and without notice";
    let fault = Fault::new(RemoteErrorKind::Disconnected, detail);
    Err(Failure::Broken(verb, fault))
}

#[cfg(test)]
mod tests {
    use super::{super::reply::reply, *};

    #[test]
    fn only_a_good_end_and_a_good_reply_are_a_whole_file() {
        let (done, refused) = (reply("226 done"), reply("426 cut off"));
        let judged = |end, reply| judge("RETR", end, reply).ok();
        assert_eq!(judged(DataEnd::Closed, &done), Some(Verdict::Whole));
        assert_eq!(judged(DataEnd::Unannounced, &done), Some(Verdict::Unproven));
        for end in [DataEnd::Closed, DataEnd::Unannounced] {
            assert_eq!(judged(end, &refused), None);
        }
        let notices = Notices::default();
        let judged = |size| judge_size("RETR", 7, size, &notices).is_ok();
        assert!(!judged(Some(8)));
        for size in [None, Some(7), Some(6)] {
            assert!(judged(size));
        }
        notices.give_up();
        assert!(judged(None) && !notices.may_come());
        // One is enough, and nothing takes that back.
        notices.note();
        notices.give_up();
        assert!(!judged(None) && judged(Some(7)) && notices.may_come());
    }

    #[test]
    fn a_reply_confirms_nothing_over_a_broken_connection() {
        let broke = || Some(io::ErrorKind::ConnectionReset.into());
        assert!(confirm("STOR", &reply("226 done"), broke()).is_err());
        assert!(confirm("STOR", &reply("226 done"), None).is_ok());
        // What it says is the better reason.
        assert!(confirm("STOR", &reply("552 full"), broke()).is_ok());
    }
}
