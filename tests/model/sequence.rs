//! What can happen in one sequence: the server's character, what programs and another client do, and what goes wrong.

use std::time::Duration;

use ftpfs::{
    config::OnConflict,
    remote::{RemoteErrorKind, memory::RenameOver},
};

/// The tiny alphabet; the first ones are files as a rule.
pub(crate) const NAMES: [&str; 9] = ["/a", "/b", "/d/a", "/A", "/d/b", "/e/a", "/d", "/e", "/d/x"];

/// How many of them are files as a rule.
pub(crate) const FILES: usize = 6;

/// An index into [`NAMES`].
pub(crate) type Name = usize;

/// One sequence.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sequence {
    pub(crate) server: Server,
    pub(crate) steps: Vec<Step>,
}

/// The server, the account there, and what the mount was told.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a quirk of its own, in any combination"
)]
pub(crate) struct Server {
    pub(crate) rename_over: RenameOver,
    pub(crate) can_rename: bool,
    pub(crate) may_rename: bool,
    pub(crate) may_remove: bool,
    pub(crate) ignores_case: bool,
    pub(crate) removes_trees: bool,
    pub(crate) can_append: bool,
    pub(crate) can_patch: bool,
    pub(crate) can_set: bool,
    pub(crate) has_coarse_times: bool,
    pub(crate) refuses_dots: bool,
    pub(crate) spool_memory: u64,
    pub(crate) dir_ttl: u64,
    pub(crate) sessions: usize,
    pub(crate) forgets: bool,
    pub(crate) on_conflict: OnConflict,
}

/// A friendly one; what is written in a regression test differs from it.
pub(crate) const FRIENDLY: Server = Server {
    rename_over: RenameOver::Replaces,
    can_rename: true,
    may_rename: true,
    may_remove: true,
    ignores_case: false,
    removes_trees: false,
    can_append: true,
    can_patch: true,
    can_set: true,
    has_coarse_times: false,
    refuses_dots: false,
    spool_memory: 8 << 20,
    dir_ttl: 20,
    sessions: 2,
    forgets: false,
    on_conflict: OnConflict::KeepBoth,
};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub(crate) act: Act,
    /// What happens at which command of the step.
    pub(crate) trouble: Vec<(At, Trouble)>,
}

/// The nth command, from 1, that a step sends ...
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// ... itself;
    Command(u8),
    /// ... on a thread that streams a file up or down.
    Stream(u8),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Act {
    /// A program of this number does something.
    Program(u8, Op),
    /// The other client does something.
    Other(Deed),
    /// So much time passes.
    Wait(Duration),
    /// The server carries out what timed out.
    Wakes,
    /// What is closed and unsent is tried again.
    Retries,
    /// Hidden files are removed or brought back.
    Pays,
    /// ftpfs is killed, and mounted again.
    Dies,
    /// The server's disk is full, or is not any more.
    Full(bool),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Op {
    Open(Name, Mode),
    /// Of the program's nth handle (modulo how many it has): where, and how many bytes.
    Write(u8, Place, usize),
    Read(u8, Place, usize),
    Truncate(u8, Place),
    Fsync(u8),
    Close(u8),
    /// Opens, reads all, closes.
    Cat(Name),
    TruncateName(Name, Place),
    /// From, to, NOREPLACE.
    Rename(Name, Name, bool),
    Unlink(Name),
    Mkdir(Name),
    Rmdir(Name),
    Chmod(Name, u32),
    Utimens(Name, u64),
    /// At, to.
    Symlink(Name, Name),
    Stat(Name),
    List(Name),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Read,
    Write,
    Truncate,
    Append,
    Create,
    CreateTruncate,
    CreateAppend,
    Exclusive,
}

/// A place in a file, by its present size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Start,
    Second,
    Middle,
    End,
    Beyond(usize),
}

/// What the other client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Stores a file of some bytes.
    Stores(Name, usize),
    /// The same by a rename over the old one.
    Replaces(Name, usize),
    Appends(Name, usize),
    /// Cuts a file to half of it.
    Halves(Name),
    Removes(Name),
    Renames(Name, Name),
    Chmods(Name, u32),
    MakesDir(Name),
}

/// What happens to one command.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Trouble {
    /// The server says no.
    Refused(RemoteErrorKind),
    /// The connection breaks before it is read.
    Broken,
    /// The session had died while it was idle.
    Unheard,
    /// It is carried out, and the reply is lost.
    ReplyLost(RemoteErrorKind),
    /// It times out, and is carried out when the server wakes up.
    Late,
    /// The transfer that it begins breaks after so many bytes.
    CutAfter(u64),
    /// The other client does something right before it, and that takes so long.
    Other(Deed, Duration),
    /// ftpfs is killed before it is sent.
    Dies,
}

impl Place {
    /// The offset in a file of `len` bytes.
    pub(crate) fn of(self, len: usize) -> usize {
        match self {
            Self::Start => 0,
            Self::Second => 1.min(len),
            Self::Middle => len / 2,
            Self::End => len,
            Self::Beyond(by) => len + by,
        }
    }
}

impl Mode {
    pub(crate) fn creates(self) -> bool {
        matches!(
            self,
            Self::Create | Self::CreateTruncate | Self::CreateAppend | Self::Exclusive
        )
    }

    pub(crate) fn is_write(self) -> bool {
        self != Self::Read
    }

    pub(crate) fn truncates(self) -> bool {
        matches!(self, Self::Truncate | Self::CreateTruncate)
    }

    pub(crate) fn appends(self) -> bool {
        matches!(self, Self::Append | Self::CreateAppend)
    }
}
