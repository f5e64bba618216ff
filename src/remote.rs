//! The seam between the filesystem and the server: what a remote can be asked, in filesystem terms.
//!
//! [`Remote`] is implemented by [`crate::ftp`] for real servers and by [`memory`] for tests. Everything above
//! this line knows no FTP; everything below it knows no inodes.

mod checksum;
mod entries;
mod entry;
mod error;
pub mod gate;
pub mod late;
mod listing;
pub mod memory;
pub mod patch_trial;
mod path;

pub use checksum::{Algorithm, Checksum, Hasher, Part};
pub use entries::{Entries, Gathering, TARGET_BYTES_MAX};
pub use entry::{EntryKind, EntryRef, Modified, Permissions, Precision, RemoteEntry};
pub use error::{Phase, RemoteError, RemoteErrorKind};
pub use gate::{Evidence, MadeName, Permit, Reported, Want};
pub use listing::{Listing, Rejected};
pub use path::{InvalidName, RemotePath};

use std::{
    fmt::Debug,
    num::NonZeroU64,
    sync::Arc,
    time::{Instant, SystemTime},
};

use serde::{Deserialize, Serialize};

use self::gate::Change;
use crate::budget::Budget;

/// The result of asking a remote.
pub type Result<T> = std::result::Result<T, RemoteError>;

/// A server, seen as a tree of named entries below the mounted directory.
///
/// Every method blocks, may be called from any thread, and ends: no wait without progress takes longer than
/// the configured timeout, after which the error's kind is [`RemoteErrorKind::TimedOut`].
///
/// # Errors
///
/// An implementation reports what the server said and does not guess: a bare FTP 550 is
/// [`RemoteErrorKind::Refused`], whatever the reason was. The caller finds the reason in a fresh listing. A question
/// has already been repeated on a fresh session when a [`RemoteErrorKind::Disconnected`] arrives here. A change is never
/// repeated by an implementation: it spends its [`Permit`], and the caller looks before it asks again. When a permit was too old by the
/// time a session was there, nothing was sent ([`RemoteErrorKind::Expired`]).
pub trait Remote: Send + Sync + Debug {
    /// The memory that there is for listings; what [`Remote::list`] brings is charged on it.
    fn listing_budget(&self) -> &Arc<Budget>;

    /// Lists a directory: all its entries at one moment, `.` and `..` left out. One that takes more memory than there is for listings is
    /// [`RemoteErrorKind::NoMemory`].
    fn list(&self, dir: &RemotePath) -> Result<Listing>;

    /// Looks one path up without a listing; `None` when the server says that nothing is there.
    ///
    /// The entry may know less than a listing would (a server without MLST tells size and time only).
    fn stat(&self, path: &RemotePath) -> Result<Option<RemoteEntry>>;

    /// The same as evidence, by which the name may be changed.
    fn look(&self, path: &RemotePath) -> Result<Evidence> {
        let asked = Instant::now();
        let entry = self.stat(path)?.map(Arc::new);
        Ok(Evidence::reported(path, entry, asked, Instant::now()))
    }

    /// Starts to read a file at `offset`, up to `len` bytes or its end.
    fn open_download(
        &self,
        path: &RemotePath,
        offset: u64,
        len: Option<u64>,
    ) -> Result<Box<dyn Download>>;

    /// Reads the whole of a file that is expected to be small; one of more than `bytes_max` bytes is cut there, or an error.
    fn read_small(&self, path: &RemotePath, bytes_max: usize) -> Result<Vec<u8>> {
        let mut download = self.open_download(path, 0, None)?;
        let mut content = vec![0; bytes_max];
        let mut len = 0;
        while let Some(free) = content.get_mut(len..).filter(|free| !free.is_empty()) {
            match download.read(free)? {
                0 => break,
                count => len += count,
            }
        }
        content.truncate(len);
        Ok(content)
    }

    /// [`Remote::read_small`], and what [`Remote::report`] told before it: the content is of that version or a newer
    /// one. One exchange where the server takes both together.
    fn read_small_exact(&self, path: &RemotePath, bytes_max: usize) -> Result<(Report, Vec<u8>)> {
        let report = self.report(path)?;
        Ok((report, self.read_small(path, bytes_max)?))
    }

    /// Asks for a file's size and time.
    fn report(&self, path: &RemotePath) -> Result<Report>;

    /// The same, and the file's mode where the server reports it in the same exchange.
    fn examine(&self, path: &RemotePath) -> Result<(Report, Option<u32>)> {
        Ok((self.report(path)?, None))
    }

    /// Starts to write a file.
    fn open_upload(&self, permit: Permit, mode: UploadMode) -> Result<Box<dyn Upload>> {
        self.open_upload_with(permit, mode, &[])
    }

    /// Starts to write a file of which the first bytes are there; they may leave before the server has agreed, where nothing that is
    /// there can be lost by that.
    fn open_upload_with(
        &self,
        permit: Permit,
        mode: UploadMode,
        first: &[u8],
    ) -> Result<Box<dyn Upload>>;

    /// Uploads a whole small file in as few round trips as the server allows; the completion reply was read. Where the server
    /// takes both in one exchange, the file was settled as well, as by [`Remote::settle`]; else that is still to be done. When it fails,
    /// the error says whether the server had begun.
    ///
    /// `attributes` may reach the file that is there when the upload itself is refused, so that only a permit for a free name, or for one of
    /// ours, comes with any.
    fn put(&self, permit: Permit, data: &[u8], attributes: &Attributes) -> Result<Confirmed>;

    /// Sets what is wanted of a file's mode and time, and reports its size and time as the server sees them
    /// afterwards. One exchange; a refused attribute does not keep the others from being set.
    fn settle(&self, permit: Permit, attributes: &Attributes) -> Result<Settled>;

    /// Settles a file, and asks in the same exchange what is at another path: a file with its size and time as [`Remote::report`] reports
    /// them, a directory, or nothing.
    fn settle_beside(
        &self,
        permit: Permit,
        attributes: &Attributes,
        other: &RemotePath,
    ) -> Result<(Settled, Result<Evidence>)> {
        let settled = self.settle(permit, attributes)?;
        Ok((settled, self.look(other)))
    }

    /// The checksum of a file's content, or of a range of it, as the server computes it; `None` where the server offers no command for
    /// that, or has refused it. The wait for it has a deadline of its own, which grows with the number of bytes.
    fn checksum(&self, path: &RemotePath, part: &Part) -> Result<Option<Checksum>> {
        let _ = (path, part);
        Ok(None)
    }

    /// Gives a file or directory the name that the permit is for. Whether an existing target is replaced, refused or left alone, with a yes
    /// all the same, differs by server. What has the old name then, where that can be asked in the same round trip and is answered.
    fn rename(&self, from: &RemotePath, to: Permit) -> Result<Option<Evidence>>;

    /// Removes a file or a symbolic link.
    fn remove_file(&self, permit: Permit) -> Result<()>;

    /// Makes a directory; that destroys nothing.
    fn make_dir(&self, path: &RemotePath) -> Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, permit: Permit) -> Result<()>;

    /// Makes a symbolic link at `path` that holds `target`; that destroys nothing.
    fn make_symlink(&self, target: &[u8], path: &RemotePath) -> Result<()>;

    /// Where the symbolic link at `path` points: a relative target as the server wrote it; an absolute one as seen
    /// from the mounted directory (`/` is that directory). A target outside it is [`RemoteErrorKind::Refused`].
    ///
    /// The listing that shows the link may not tell the target (MLSD does not on most servers).
    fn read_link(&self, path: &RemotePath) -> Result<Box<[u8]>>;

    /// The free space below `dir`, where the server tells.
    fn space(&self, dir: &RemotePath) -> Result<Option<u64>>;

    /// Whether a trial may show that [`UploadMode::At`] keeps the bytes around the written range ([`patch_trial`]); not on a make of server
    /// that is known to cut the file off there. Costs nothing.
    fn may_patch(&self) -> bool {
        true
    }

    /// How many bytes this name has on the server; `None` when no file there can have it, because the character set in which
    /// the server writes names lacks a character. Costs nothing.
    fn name_len(&self, name: &[u8]) -> Option<usize> {
        Some(name.len())
    }

    /// What an earlier mount has found out of the server, where that was kept.
    fn habits(&self) -> Habits {
        Habits::default()
    }

    /// Keeps what was found out for the next mount.
    fn keep_habits(&self, habits: Habits) {
        let _ = habits;
    }

    /// Whether someone waits for a session at this moment: who holds one without using it should give it up.
    fn is_contended(&self) -> bool {
        false
    }

    /// Does `work`, a guess at what will be wanted next: one request of the remote that it is given, or a few in a row. Waits before it
    /// for a session that is spare, which the first of them uses. False when there was none, and `work` was not done.
    ///
    /// `work` must not wait for what others request: it holds the session.
    fn ahead(&self, work: &mut dyn FnMut(&dyn Remote)) -> bool;

    /// How many more transfers could start at this moment without a wait for a session.
    fn spare_transfers(&self) -> usize {
        usize::MAX
    }
}

/// What a server does not do, as whoever asked for it has found out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent refusals, in any combination"
)]
pub struct Habits {
    /// It sets no modes.
    pub no_mode: bool,
    /// It does not append.
    pub no_append: bool,
    /// It takes no names that begin with a dot.
    pub no_dot_names: bool,
    /// It renames nothing.
    pub no_rename: bool,
    /// It does not rename over a file.
    pub no_rename_over: bool,
    /// It was seen to say yes to a rename and to do nothing.
    pub pretends_to_rename: bool,
    /// How many files were removed, as far as that matters: 2 at most, and none again after a refusal.
    pub removals: u8,
}

/// A running download. Dropped early, it gives its session back without making the caller wait.
pub trait Download: Send + Debug {
    /// Reads what has arrived, at least one byte; 0 means that the file (or the asked length) has ended and the
    /// server has confirmed it.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize>;

    /// The version that is wanted: where the connection breaks, the download goes on only as long as the file is still that one.
    fn expect(&mut self, version: Reported) {
        let _ = version;
    }
}

/// A running upload. Dropped before [`Upload::finish`], it is abandoned: the server may keep what has arrived.
pub trait Upload: Send + Debug {
    /// Sends all of `data`.
    fn write_all(&mut self, data: &[u8]) -> Result<()>;

    /// Ends the upload and waits for the server's completion reply, which is evidence of what has the name now.
    fn finish(self: Box<Self>) -> Result<Evidence>;
}

/// Where an upload puts its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadMode {
    /// STOR under a name that is free or ours, or over a file without a byte.
    Whole,
    /// STOR over a file that others may have use for, where nothing can be renamed: its old content is gone.
    InPlace,
    /// APPE: behind the present end.
    Append,
    /// REST + STOR: over the bytes at this offset, and nothing else. Only where a trial in the same directory has shown that ([`patch_trial`]). Never at offset 0: behind
    /// `REST 0` a STOR is one that empties the file.
    At(NonZeroU64),
}

impl UploadMode {
    /// What it can destroy.
    pub(crate) fn change(self) -> Change {
        match self {
            Self::Whole => Change::Store,
            Self::InPlace => Change::StoreInPlace,
            Self::Append => Change::Append,
            Self::At(_) => Change::Patch,
        }
    }
}

/// What a program has set on a file and the server is to be told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits, `0o7777` at most.
    pub mode: Option<u32>,
    /// Modification time; servers keep whole seconds.
    pub modified: Option<SystemTime>,
}

impl Attributes {
    /// Whether there is nothing to set.
    pub fn is_empty(&self) -> bool {
        self.mode.is_none() && self.modified.is_none()
    }
}

/// Size and time of a file, as far as the server reports them.
#[derive(Debug, Clone)]
pub struct Report {
    /// Its size; `None` when the server does not report sizes at all.
    pub size: Result<Option<u64>>,
    /// Its time, where the server reports it.
    pub modified: Option<Modified>,
    /// When the question left.
    pub asked: Instant,
}

/// What came of [`Remote::settle`].
#[derive(Debug, Clone)]
pub struct Settled {
    /// Whether the mode was set; `Ok` when none was wanted.
    pub mode: Result<()>,
    /// Whether the time was set; `Ok` when none was wanted.
    pub modified: Result<()>,
    /// What the file is afterwards.
    pub report: Report,
}

/// What came of [`Remote::put`].
#[derive(Debug)]
pub struct Confirmed {
    /// That it is there.
    pub evidence: Evidence,
    /// What settling it has come to, where that was done as well.
    pub settled: Option<Settled>,
}
