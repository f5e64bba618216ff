//! How the memory remote differs from a friendly server: one knob for each quirk seen on a real one.

use std::collections::BTreeSet;

use super::super::{Algorithm, Habits, Precision, Rejected, RemoteErrorKind, RemotePath};

/// What a server allows, refuses and tells. The default is friendly: everything works and everything is told.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a quirk of its own, in any combination"
)]
pub struct Behaviour {
    /// Whether anything can be renamed, else [`RemoteErrorKind::Unsupported`] (uftpd).
    pub can_rename: bool,
    /// Whether this account may rename, else the new name is refused.
    pub may_rename: bool,
    /// Whether this account may remove files, else refused.
    pub may_remove: bool,
    /// What a rename onto an existing name does.
    pub rename_over: RenameOver,
    /// Whether an upload may write a file that exists already, else refused (ProFTPD: `AllowOverwrite off`).
    pub can_overwrite: bool,
    /// Directories in which no new name can be made, else refused; what is there may be written.
    pub closed_dirs: BTreeSet<RemotePath>,
    /// With what new names that start with a dot are refused (Pure-FTPd: 553, vsftpd's `deny_file`: 550).
    pub dot_names_refused: Option<RemoteErrorKind>,
    /// Whether a mode can be set, else [`RemoteErrorKind::Unsupported`].
    pub can_set_mode: bool,
    /// Whether a time can be set, else [`RemoteErrorKind::Unsupported`].
    pub can_set_time: bool,
    /// Whether symbolic links can be made, else [`RemoteErrorKind::Unsupported`].
    pub can_symlink: bool,
    /// Whether files can be appended to, else [`RemoteErrorKind::Unsupported`].
    pub can_append: bool,
    /// Whether bytes inside a file can be written, else [`RemoteErrorKind::Unsupported`].
    pub can_patch: bool,
    /// Whether names that differ in case only are one name (FTP servers on Windows).
    pub ignores_case: bool,
    /// Whether removing a directory removes all that is in it.
    pub removes_trees: bool,
    /// The mode of new files.
    pub file_mode: u32,
    /// The mode of new directories.
    pub dir_mode: u32,
    /// Whether listings and `stat` tell modes.
    pub tells_mode: bool,
    /// Whether listings and `stat` tell where symbolic links point (MLSD of ProFTPD and Pure-FTPd does not).
    pub tells_target: bool,
    /// How exactly listings tell times; `stat` always tells the second.
    pub list_precision: Precision,
    /// A listing ends after so many entries (Pure-FTPd: 10 000, some NAS: 2 000).
    pub list_entries_max: Option<usize>,
    /// The memory that its client has for listings.
    pub listing_bytes_max: usize,
    /// Lines of each listing that are not understood.
    pub rejected: Rejected,
    /// Whether a listing that was cut says so.
    pub tells_truncation: bool,
    /// A read returns no more than this at once.
    pub read_bytes_max: Option<usize>,
    /// The free space, where the server tells.
    pub space: Option<u64>,
    /// How it computes checksums, if it does.
    pub checksum: Option<Algorithm>,
    /// Whether it does of ranges too.
    pub checks_ranges: bool,
    /// How many bytes fit on its disk; no more arrive than that, and the rest is refused with 452.
    pub room: Option<u64>,
    /// Whether somebody waits for a session.
    pub is_contended: bool,
    /// What was found out of it, by an earlier mount or this one.
    pub habits: Habits,
}

/// What a rename onto an existing name does, where the kinds fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenameOver {
    /// The target is replaced, as rename(2) does.
    Replaces,
    /// Refused, both stay (ProFTPD's compiled default, IIS).
    Refuses,
    /// Answers success, both stay (swiftp).
    Lies,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            can_rename: true,
            may_rename: true,
            may_remove: true,
            rename_over: RenameOver::Replaces,
            can_overwrite: true,
            closed_dirs: BTreeSet::new(),
            dot_names_refused: None,
            can_set_mode: true,
            can_set_time: true,
            can_symlink: true,
            can_append: true,
            can_patch: true,
            ignores_case: false,
            removes_trees: false,
            file_mode: 0o644,
            dir_mode: 0o755,
            tells_mode: true,
            tells_target: true,
            list_precision: Precision::Second,
            list_entries_max: None,
            listing_bytes_max: usize::MAX,
            rejected: Rejected::default(),
            tells_truncation: true,
            read_bytes_max: None,
            space: None,
            checksum: None,
            checks_ranges: true,
            room: None,
            is_contended: false,
            habits: Habits::default(),
        }
    }
}
