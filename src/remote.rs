//! The seam between the filesystem and the server: what a remote can be asked, in filesystem terms.
//!
//! [`Remote`] is implemented by [`crate::ftp`] for real servers and by [`memory`] for tests. Everything above
//! this line knows no FTP; everything below it knows no inodes.

mod entry;
mod error;
mod fresh;
pub mod memory;
mod path;

pub use entry::{EntryKind, Listing, Modified, Permissions, Precision, Rejected, RemoteEntry};
pub use error::{Phase, RemoteError, RemoteErrorKind};
pub(crate) use fresh::fresh_bits;
pub use path::{InvalidName, RemotePath};

use std::{fmt::Debug, num::NonZeroU64, time::SystemTime};

use serde::{Deserialize, Serialize};

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
/// [`RemoteErrorKind::Refused`], whatever the reason was. The caller finds the reason in a fresh listing. A request
/// that is safe to repeat has already been repeated on a fresh session when a
/// [`RemoteErrorKind::Disconnected`] arrives here.
pub trait Remote: Send + Sync + Debug {
    /// Lists a directory: all its entries at one moment, `.` and `..` left out, in the server's order.
    fn list(&self, dir: &RemotePath) -> Result<Listing>;

    /// Looks one path up without a listing; `None` when the server says that nothing is there.
    ///
    /// The entry may know less than a listing would (a server without MLST tells size and time only).
    fn stat(&self, path: &RemotePath) -> Result<Option<RemoteEntry>>;

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

    /// [`Remote::read_small`], and what [`Remote::settle`] with no attributes told before it: the content is of that version or a newer
    /// one. One exchange where the server takes both together.
    fn read_small_exact(&self, path: &RemotePath, bytes_max: usize) -> Result<(Settled, Vec<u8>)> {
        let settled = self.settle(path, &Attributes::default())?;
        Ok((settled, self.read_small(path, bytes_max)?))
    }

    /// Starts to write a file.
    fn open_upload(&self, path: &RemotePath, mode: UploadMode) -> Result<Box<dyn Upload>>;

    /// Starts to write a file of which the first bytes are there; they may leave before the server has agreed.
    fn open_upload_with(
        &self,
        path: &RemotePath,
        mode: UploadMode,
        first: &[u8],
    ) -> Result<Box<dyn Upload>> {
        let mut upload = self.open_upload(path, mode)?;
        upload.write_all(first)?;
        Ok(upload)
    }

    /// Uploads a whole small file in as few round trips as the server allows; the completion reply was read. Where the server
    /// takes both in one exchange, the file was settled as well, as by [`Remote::settle`]; else that is still to be done. Never sent
    /// twice: when it fails, the error says whether the server had begun.
    ///
    /// `attributes` may reach the file that is there when the upload itself is refused.
    fn put(
        &self,
        path: &RemotePath,
        data: &[u8],
        _attributes: &Attributes,
    ) -> Result<Option<Settled>> {
        let upload = self.open_upload_with(path, UploadMode::Replace, data)?;
        upload.finish()?;
        Ok(None)
    }

    /// Sets what is wanted of a file's mode and time, and reports its size and time as the server sees them
    /// afterwards. One exchange; a refused attribute does not keep the others from being set.
    fn settle(&self, path: &RemotePath, attributes: &Attributes) -> Result<Settled>;

    /// What [`Remote::settle`] with no attributes reports, and the file's mode where the server reports it in the same exchange.
    fn examine(&self, path: &RemotePath) -> Result<(Settled, Option<u32>)> {
        Ok((self.settle(path, &Attributes::default())?, None))
    }

    /// Settles a file, and asks in the same exchange what is at another path: a file with its size and time as [`Remote::settle`] reports
    /// them, a directory, or nothing.
    fn settle_beside(
        &self,
        path: &RemotePath,
        attributes: &Attributes,
        other: &RemotePath,
    ) -> Result<(Settled, Result<Option<RemoteEntry>>)> {
        let settled = self.settle(path, attributes)?;
        Ok((settled, self.stat(other)))
    }

    /// Renames a file or directory. Whether an existing target is replaced, refused or left alone differs by
    /// server.
    fn rename(&self, from: &RemotePath, to: &RemotePath) -> Result<()>;

    /// Removes a file or a symbolic link.
    fn remove_file(&self, path: &RemotePath) -> Result<()>;

    /// Makes a directory.
    fn make_dir(&self, path: &RemotePath) -> Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, path: &RemotePath) -> Result<()>;

    /// Makes a symbolic link at `path` that holds `target`.
    fn make_symlink(&self, target: &[u8], path: &RemotePath) -> Result<()>;

    /// Where the symbolic link at `path` points: a relative target as the server wrote it; an absolute one as seen
    /// from the mounted directory (`/` is that directory). A target outside it is [`RemoteErrorKind::Refused`].
    ///
    /// The listing that shows the link may not tell the target (MLSD does not on most servers).
    fn read_link(&self, path: &RemotePath) -> Result<Box<[u8]>>;

    /// The free space below `dir`, where the server tells.
    fn space(&self, dir: &RemotePath) -> Result<Option<u64>>;

    /// Whether [`UploadMode::At`] is known to keep the bytes around the written range on this server. May cost a probe
    /// with a scratch file in `dir` the first time; the answer is remembered.
    fn can_patch(&self, dir: &RemotePath) -> bool;

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
}

/// A running download. Dropped early, it gives its session back without making the caller wait.
pub trait Download: Send + Debug {
    /// Reads what has arrived, at least one byte; 0 means that the file (or the asked length) has ended and the
    /// server has confirmed it.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize>;
}

/// A running upload. Dropped before [`Upload::finish`], it is abandoned: the server may keep what has arrived.
pub trait Upload: Send + Debug {
    /// Sends all of `data`.
    fn write_all(&mut self, data: &[u8]) -> Result<()>;

    /// Ends the upload and waits for the server's completion reply.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// Where an upload puts its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadMode {
    /// STOR under a name that is ours alone, or over a file that nobody misses: the file is made, or its old content is gone. Begun again
    /// on another session when the first one turns out to be dead.
    Replace,
    /// STOR under a name that must be free: begun once.
    New,
    /// APPE: behind the present end.
    Append,
    /// REST + STOR: over the bytes at this offset, and nothing else. Only where [`Remote::can_patch`] says so. Never at offset 0: behind
    /// `REST 0` a STOR is one that empties the file.
    At(NonZeroU64),
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

/// What came of [`Remote::settle`].
#[derive(Debug, Clone)]
pub struct Settled {
    /// Whether the mode was set; `Ok` when none was wanted.
    pub mode: Result<()>,
    /// Whether the time was set; `Ok` when none was wanted.
    pub modified: Result<()>,
    /// The file's size afterwards; `None` when the server does not tell sizes at all.
    pub size: Result<Option<u64>>,
    /// The file's time afterwards, where the server tells.
    pub seen_modified: Option<Modified>,
}
