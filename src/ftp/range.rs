//! RANG: a part of a file whose end the server is given, so that the transfer ends by itself (draft-bryan-ftp-range-08).
//!
//! Without it a part is read up to its end, and the rest is cut off by closing the data connection. With it nothing comes that is
//! not wanted, and what is next can be asked for along with it. Only where [`Technique::Bound`] may be used.

use super::{
    capabilities::Capabilities, command::DataCommand, reply::Failure, shortcuts::Technique,
};
use crate::remote::{Phase, RemoteErrorKind, Result};

/// How much is still to come of a part whose end the server has agreed to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    left: Option<u64>,
}

impl Part {
    /// The part that a command wants, if it `is_bounded`.
    pub(super) fn new(wanted: &DataCommand<'_>, is_bounded: bool) -> Self {
        let range = wanted.range.as_ref().filter(|_| is_bounded);
        let left = range.map(|range| (range.end() - range.start()).saturating_add(1));
        Self { left }
    }

    /// So many bytes have come.
    pub(super) fn note(&mut self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.left = self.left.map(|left| left.saturating_sub(count));
    }

    /// Whether all of it has come.
    pub(super) fn is_over(self) -> bool {
        self.left == Some(0)
    }
}

/// Whether a server may be asked for a part in this way: one that offers it, and takes REST too, which goes before it and holds
/// where it is refused.
pub(super) fn may_bound(capabilities: &Capabilities) -> bool {
    let features = capabilities.features();
    let is_offered = features.is_some_and(|features| features.offers_word("RANG", "STREAM"));
    is_offered && capabilities.learnt().has_rest && capabilities.may(Technique::Bound)
}

/// Records whether the server keeps to the end of a part.
pub(super) fn note_kept(capabilities: &Capabilities, is_kept: bool) {
    if is_kept {
        capabilities.prove(Technique::Bound);
    } else if capabilities.may(Technique::Bound) {
        log::info!("the server does not keep to RANG: parts of files are read without it");
        capabilities.give_up(Technique::Bound);
    }
}

/// Whether a file is refused for the sake of the range: `ProFTPD` answers 554 to one with an end behind that of the file, 451 where
/// it allows no offsets.
pub(super) fn is_refused(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused("RETR", reply) if reply.code() != 550)
}

/// Starts a part by `bounded`, and by `plain` where RANG costs the file (`None`) or the session.
pub(super) fn start<T>(
    capabilities: &Capabilities,
    bounded: impl FnOnce() -> Result<Option<T>>,
    plain: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let is_trial = capabilities.is_untried(Technique::Bound);
    match bounded() {
        Ok(Some(started)) => Ok(started),
        Ok(None) => plain(),
        Err(error) if is_trial && error.kind() == RemoteErrorKind::Disconnected => {
            // On a fresh session as well; it may be the server, or the way to it.
            let started = plain()?;
            log::info!("RANG costs the session ({error}): parts of files are read without it");
            capabilities.give_up(Technique::Bound);
            Ok(started)
        }
        Err(error) if is_trial && error.kind() == RemoteErrorKind::TimedOut(Phase::Reply) => {
            // Nobody waits twice as long for that; the next request gets on if it was for RANG.
            capabilities.give_up(Technique::Bound);
            Err(error)
        }
        Err(error) => Err(error),
    }
}
