//! What can happen in one step.

use ftpfs::remote::{
    RemoteErrorKind,
    memory::{Operation, RenameOver},
};

/// Which path is meant: one of those that exist, or one of the tiny alphabet, by index modulo how many there are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    Existing(usize),
    Any(usize),
}

/// How a file is opened.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mode {
    Read,
    Write,
    Truncate,
    Append,
    Create,
    CreateTruncate,
    Exclusive,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    Open(Target, Mode),
    /// Handle, offset, length, seed of the bytes.
    Write(usize, u64, usize, u64),
    Read(usize, u64, usize),
    Fsync(usize),
    Flush(usize),
    Close(usize),
    Truncate(Target, u64),
    TruncateHandle(usize, u64),
    Zero(usize, u64, u64),
    /// From, to, NOREPLACE.
    Rename(Target, Target, bool),
    Unlink(Target),
    Mkdir(Target),
    Rmdir(Target),
    Chmod(Target, u32),
    Utimens(Target, u64),
    /// The clock moves on by so many seconds.
    Advance(u64),
    Retry,
    /// Another client of the server writes a file, ...
    OtherWrites(Target, usize, u64),
    /// ... removes something with all below it, ...
    OtherRemoves(Target),
    /// ... or makes a directory.
    OtherMakesDir(Target),
}

/// What breaks during a step.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// The nth call fails before it has done anything.
    Fails(Operation, u64, RemoteErrorKind),
    /// The nth call's reply is lost.
    ReplyLost(Operation, u64, RemoteErrorKind),
    /// A transfer breaks after so many bytes.
    BreaksAfter(Operation, u64, RemoteErrorKind),
}

#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) op: Op,
    pub(crate) faults: Vec<Fault>,
}

/// The server and the caches.
#[derive(Debug, Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a quirk of its own, in any combination"
)]
pub(crate) struct Conditions {
    pub(crate) rename_over: RenameOver,
    pub(crate) can_append: bool,
    pub(crate) can_patch: bool,
    pub(crate) can_set: bool,
    pub(crate) can_overwrite: bool,
    pub(crate) has_coarse_times: bool,
    pub(crate) refuses_dots: bool,
    pub(crate) is_truncated: bool,
    pub(crate) spool_memory: u64,
    pub(crate) cache_bytes: usize,
    pub(crate) dir_ttl: u64,
    pub(crate) sessions: usize,
    /// Whether the kernel forgets every inode at once.
    pub(crate) forgets: bool,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            rename_over: RenameOver::Replaces,
            can_append: true,
            can_patch: true,
            can_set: true,
            can_overwrite: true,
            has_coarse_times: false,
            refuses_dots: false,
            is_truncated: false,
            spool_memory: 8 << 20,
            cache_bytes: 64 << 20,
            dir_ttl: 20,
            sessions: 8,
            forgets: false,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) conditions: Conditions,
    pub(crate) steps: Vec<Step>,
}
