//! One upload's share of an open file's state: what it has to bring to the server, and how that has ended.

use super::{
    changes::Revision,
    on_server::{Base, Doubt},
    ranges::RangeSet,
    streaming::UploadStream,
};
use crate::remote::{Attributes, Evidence};

/// What the name must hold for an upload to take its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// Nothing.
    Absent,
    /// The version that was last seen, or nothing.
    Base,
    /// Anything.
    Any,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct UploadJob {
    /// The file that is there now.
    pub(crate) base: Option<Base>,
    /// The length that the file shall have.
    pub(crate) len: u64,
    /// Which content it brings.
    pub(crate) revision: Revision,
    /// The ranges that the server does not have.
    pub(crate) dirty: RangeSet,
    /// Mode and time that shall be set.
    pub(crate) wanted: Attributes,
    /// A stream that has sent a part of it already.
    pub(crate) stream: Option<UploadStream>,
    /// What the server said of the name of a new file when that was created.
    pub(crate) seen: Option<Evidence>,
    /// A change of ours whose outcome is not known.
    pub(crate) doubt: Option<Doubt>,
    /// Whether a program has had whatever the name holds emptied, so that it may be replaced.
    pub(crate) is_emptied: bool,
}

impl UploadJob {
    /// What the name must hold.
    pub(crate) fn want(&self) -> Want {
        match &self.base {
            _ if self.is_emptied => Want::Any,
            None => Want::Absent,
            Some(_) => Want::Base,
        }
    }

    /// The length of the file on the server, as last seen.
    pub(crate) fn old_len(&self) -> u64 {
        self.base.as_ref().map_or(0, |base| base.version.size)
    }

    /// The file's end on the server is not at `at` any more, as was believed, but at `to`: what was appended moves there.
    pub(super) fn move_tail(&mut self, at: u64, to: u64) {
        let moved = self.dirty.iter().map(|range| {
            if range.start >= at {
                range.start - at + to..range.end - at + to
            } else {
                range
            }
        });
        self.dirty = moved.collect();
        self.len = self.len.saturating_sub(at) + to;
    }
}

/// How an upload has ended.
#[derive(Debug, Default)]
pub(crate) enum UploadEnd {
    /// With nothing achieved, as far as is known.
    #[default]
    Failed,
    /// What was to go up is elsewhere now, and this file of others has the name.
    SetAside(Base),
    /// The server has confirmed it, and the file is this now; `None` when it was taken away.
    Done(Option<Base>),
}
