//! What the server has of a file under its name, as far as is known.

use std::{sync::Arc, time::Instant};

use super::changes::Revision;
use crate::{cache::Version, remote::Evidence};

/// The file on the server, as last seen.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    /// Which content it is.
    pub(crate) version: Version,
    /// Its permission bits, where known.
    pub(crate) mode: Option<u32>,
    /// When the server was asked for this file's size and time; `None` when they come from a listing.
    pub(crate) asked: Option<Instant>,
    /// Whether the mode was asked for with them.
    pub(crate) is_mode_asked: bool,
}

/// A change of ours to the file itself whose outcome is not known. The next upload looks what has become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// A new file was being stored under its own name.
    New {
        /// How far the server had come with it.
        stage: Stage,
        /// Which content it was.
        revision: Revision,
        /// What was sent, if it is small: a program may change it before it is known what has become of it.
        sent: Option<Arc<[u8]>>,
    },
    /// The file itself was being written over, on a server that cannot rename: whatever is there is to be replaced.
    InPlace,
    /// A tail was being appended.
    Append {
        /// Where the file ended before.
        at: u64,
        /// The tail, unless it is large: a program may take it back before it is known what has become of it.
        tail: Option<Arc<[u8]>>,
    },
    /// Ranges inside the file were being written.
    Patch {
        /// Which version the file was before.
        before: Version,
        /// How long it was to be after.
        len: u64,
        /// Where the first range begins, and its first bytes: a program may write others before it is known what has become of them.
        first: (u64, Arc<[u8]>),
    },
    /// A whole new file of this version was about to take the name.
    Placed(Version),
}

impl Doubt {
    /// How far the server had come with a new file.
    pub(crate) fn stage(&self) -> Stage {
        match self {
            Self::New { stage, .. } => *stage,
            Self::InPlace | Self::Append { .. } | Self::Patch { .. } | Self::Placed(_) => {
                Stage::Unheard
            }
        }
    }
}

/// How far the server had come with a new file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It has said nothing.
    #[default]
    Unheard,
    /// It had begun to take it.
    Begun,
    /// It has confirmed all of it.
    Confirmed,
}

/// See the module.
#[derive(Debug)]
pub(crate) enum OnServer {
    /// Nothing.
    Absent {
        /// What the server said of the name of a new file when that was created.
        seen: Option<Evidence>,
    },
    /// Nothing that was seen, but something of a change of ours may be there.
    Maybe(Doubt),
    /// This file.
    Known(Base),
    /// This file, or what a change of ours has made of it.
    Doubtful(Base, Doubt),
    /// Nothing: it had all of the file, and has taken it away.
    Taken,
}

impl OnServer {
    /// The file that was last seen there.
    pub(crate) fn base(&self) -> Option<&Base> {
        match self {
            Self::Known(base) | Self::Doubtful(base, _) => Some(base),
            Self::Absent { .. } | Self::Maybe(_) | Self::Taken => None,
        }
    }

    /// The same, for what was seen of it since.
    pub(crate) fn base_mut(&mut self) -> Option<&mut Base> {
        match self {
            Self::Known(base) | Self::Doubtful(base, _) => Some(base),
            Self::Absent { .. } | Self::Maybe(_) | Self::Taken => None,
        }
    }

    /// The length of the file that was last seen there.
    pub(crate) fn len(&self) -> u64 {
        self.base().map_or(0, |base| base.version.size)
    }

    /// The change of ours whose outcome is not known.
    pub(crate) fn doubt(&self) -> Option<&Doubt> {
        match self {
            Self::Maybe(doubt) | Self::Doubtful(_, doubt) => Some(doubt),
            Self::Absent { .. } | Self::Known(_) | Self::Taken => None,
        }
    }

    /// Another file was seen there; what is not known of a change of ours stays unknown.
    pub(crate) fn see(&mut self, base: Base) {
        *self = match self.take() {
            Self::Maybe(doubt) | Self::Doubtful(_, doubt) => Self::Doubtful(base, doubt),
            Self::Absent { .. } | Self::Known(_) | Self::Taken => Self::Known(base),
        };
    }

    /// A change of ours begins, or its outcome has become known (`None`).
    pub(crate) fn set_doubt(&mut self, doubt: Option<Doubt>) {
        *self = match (self.take(), doubt) {
            (Self::Known(base) | Self::Doubtful(base, _), Some(doubt)) => {
                Self::Doubtful(base, doubt)
            }
            (Self::Known(base) | Self::Doubtful(base, _), None) => Self::Known(base),
            (Self::Absent { .. } | Self::Maybe(_) | Self::Taken, Some(doubt)) => Self::Maybe(doubt),
            (Self::Maybe(_), None) => Self::Absent { seen: None },
            (none @ (Self::Absent { .. } | Self::Taken), None) => none,
        };
    }

    /// The server was asked about the name of a new file, and had nothing there.
    pub(crate) fn note_free(&mut self, evidence: Option<Evidence>) {
        if let Self::Absent { seen } = self {
            *seen = evidence;
        }
    }

    /// What was said then; it counts for one upload.
    pub(crate) fn take_seen(&mut self) -> Option<Evidence> {
        match self {
            Self::Absent { seen } => seen.take(),
            Self::Maybe(_) | Self::Known(_) | Self::Doubtful(..) | Self::Taken => None,
        }
    }

    fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Absent { seen: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::RemotePath;

    fn base(size: u64) -> Base {
        Base {
            version: Version {
                size,
                ..Version::default()
            },
            mode: None,
            asked: None,
            is_mode_asked: false,
        }
    }

    #[test]
    fn a_doubt_stays_when_the_file_is_seen_and_ends_with_its_outcome() {
        let mut on_server = OnServer::Absent { seen: None };
        on_server.set_doubt(Some(Doubt::InPlace));
        assert!(on_server.base().is_none());
        on_server.see(base(3));
        assert_eq!(on_server.doubt(), Some(&Doubt::InPlace));
        on_server.set_doubt(None);
        assert!(matches!(on_server, OnServer::Known(_)));
        assert_eq!(on_server.len(), 3);
    }

    #[test]
    fn a_file_that_was_taken_away_is_missing_again_only_through_a_change() {
        let mut on_server = OnServer::Taken;
        on_server.set_doubt(None);
        assert!(matches!(on_server, OnServer::Taken));
        on_server.set_doubt(Some(Doubt::InPlace));
        on_server.set_doubt(None);
        assert!(matches!(on_server, OnServer::Absent { .. }));
    }

    #[test]
    fn that_a_name_was_free_counts_for_one_upload_of_a_file_that_is_not_there() {
        let free = || {
            let path = RemotePath::root().join(b"f").unwrap();
            Some(Evidence::listed(&path, None, Instant::now()))
        };
        let mut on_server = OnServer::Absent { seen: None };
        on_server.note_free(free());
        assert!(on_server.take_seen().is_some());
        assert!(on_server.take_seen().is_none());
        on_server.see(base(1));
        on_server.note_free(free());
        assert!(on_server.take_seen().is_none());
    }
}
