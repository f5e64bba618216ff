//! What can be owed for a hidden name.

use crate::remote::RemotePath;

/// What is owed for a hidden name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Debt {
    /// A file that goes up is called so until it takes its place: it has to go.
    Upload,
    /// A directory in which one file goes up that others may not read: it has to go, after the file.
    Room,
    /// A removed or replaced file that a program may still have open, or an old copy of no more use: it has to go.
    Removed,
    /// The only good copy of a file, moved aside while another takes its place: it has to get its name back, or to go when the other is
    /// there.
    Aside {
        /// Its own name.
        of: RemotePath,
        /// What the other file's size will be, if that is known.
        size: Option<u64>,
    },
}
