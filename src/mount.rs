//! Builds the layers, mounts, goes to the background when ready, and ends a mount in good order.
//!
//! What is hard here, and who answers it:
//! 1. The user must see every failure, and the prompt must come back only when the mount works: `daemon`.
//! 2. A mount must never be taken away that is not ours, and ours never left behind: `attach`, `table`.
//! 3. Bytes that were written must reach the server before the process ends: `serve`.

mod attach;
mod daemon;
mod fusermount;
mod layers;
mod mountpoint;
mod names;
mod serve;
mod sys;
mod table;

pub use layers::build;
pub use sys::{forbid_cores, hide_argument, hide_variable};

use std::{
    fmt,
    fs::{self, DirBuilder},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::process::geteuid;

use crate::{config::Config, fs::Ino};
use daemon::Side;

/// Why there is no mount, or why it did not end well: one sentence for the user.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct MountError(String);

impl MountError {
    /// Takes the sentence over; line breaks in it become blanks.
    pub fn new(sentence: impl AsRef<str>) -> Self {
        Self(
            sentence
                .as_ref()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" "),
        )
    }
}

/// How [`run`] ended, as far as the exit status is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The mount is ready in the background, or it has ended in good order.
    Well,
    /// It failed in the background, and the parent process or the log has said so.
    Reported,
}

/// A filesystem that has logged in and can be mounted.
#[derive(Debug)]
pub struct Started<S> {
    /// Answers the kernel.
    pub server: S,
    /// What is left to upload at the end.
    pub uploads: Arc<dyn Drain>,
    /// What the kernel knows too much of.
    pub names: Arc<dyn Names>,
}

/// Names that the kernel is to forget.
pub trait Names: Send + Sync + fmt::Debug {
    /// Has `forget` called for names of a directory (its inode), until the mount ends.
    fn forget_surplus(&self, forget: &dyn Fn(Ino, &[u8]));

    /// Has `forget` called for inodes whose attributes are to be asked for again; it must not wait for an answer of the mount.
    fn forget_attributes_by(&self, forget: Box<dyn Fn(Ino) + Send + Sync>);
}

/// Uploads everything that is unsent, at the end of a mount.
pub trait Drain: Send + Sync + fmt::Debug {
    /// Sends what is unsent at this moment. Ends when that is done (then it is true), when failures have lasted for `limit`, or when
    /// what is left cannot be sent.
    fn drain(&self, limit: Duration) -> bool;

    /// How it goes on; asked while it runs.
    fn progress(&self) -> Progress;

    /// Keeps on this machine what is unsent, without the server; the last thing that is done.
    fn keep(&self) -> Vec<Unsent>;
}

/// How much is left to upload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Files that are not yet on the server.
    pub files_left: usize,
    /// Their unsent bytes.
    pub bytes_left: u64,
    /// Changes while the network works, whatever becomes of it.
    pub bytes_moved: u64,
}

/// A file that could not be uploaded.
#[derive(Debug, Clone)]
pub struct Unsent {
    /// Its path below the mount.
    pub path: String,
    /// What the server or the network said.
    pub error: String,
    /// Where its bytes are kept on this machine, if they are.
    pub kept_in: Option<PathBuf>,
    /// The file that lists which of them were written here, where the server has others.
    pub ranges_in: Option<PathBuf>,
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.error)?;
        match (&self.kept_in, &self.ranges_in) {
            (Some(path), None) => write!(f, " (its bytes are kept in {})", path.display()),
            (Some(path), Some(ranges)) => write!(
                f,
                " (the bytes written here are kept in {}, with holes where the server has others; {} lists them)",
                path.display(),
                ranges.display()
            ),
            (None, _) => write!(f, " (its bytes are lost)"),
        }
    }
}

/// Mounts and serves as `config` says. `start` connects and logs in; it is called in the process that stays.
///
/// In the foreground this returns at the end of the mount. In the background it returns to the process that the user
/// started as soon as the mount is ready, and to the one that stays at the end of the mount.
///
/// # Errors
///
/// Whatever kept the mount from being ready, or from ending well, unless the user has been told already. Nothing is
/// left mounted then, except what the message names.
pub fn run<S, F>(config: &Config, start: F) -> Result<Ending, MountError>
where
    S: fuser::Filesystem,
    F: FnOnce(&Config) -> Result<Started<S>, MountError>,
{
    sys::share_heaps();
    let mountpoint = mountpoint::prepare(&config.mount.mountpoint)?;
    prepare_spool_dir(&config.fs.spool_dir, &mountpoint)?;
    if config.mount.is_foreground {
        return serve::serve(config, &mountpoint, start(config)?, &mut None).map(|()| Ending::Well);
    }
    let side = daemon::split()
        .map_err(|error| MountError::new(format!("cannot go to the background: {error}")))?;
    let announcement = match side {
        Side::Parent(waiting) => return waiting.wait().map(|()| Ending::Well),
        Side::Child(announcement) => announcement,
    };
    let mut announcement = Some(announcement);
    let result = start(config)
        .and_then(|started| serve::serve(config, &mountpoint, started, &mut announcement));
    let Err(error) = result else {
        return Ok(Ending::Well);
    };
    match announcement {
        Some(announcement) => announcement.failed(&error),
        None => log::error!("{error}"),
    }
    Ok(Ending::Reported)
}

/// Makes the directory for spool files, for this user alone.
fn prepare_spool_dir(dir: &Path, mountpoint: &Path) -> Result<(), MountError> {
    let shown = dir.display();
    let refuse = |what: &str| {
        MountError::new(format!(
            "cache directory {shown}: {what}; choose another with --cache-dir"
        ))
    };
    if dir.starts_with(mountpoint) {
        return Err(refuse("it lies below the mountpoint"));
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| refuse(&error.to_string()))?;
    let metadata = fs::metadata(dir).map_err(|error| refuse(&error.to_string()))?;
    if metadata.uid() != geteuid().as_raw() {
        return Err(refuse("it belongs to another user"));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(refuse("other users may write to it"));
    }
    // A full or read-only disk is better found now than at the first write.
    tempfile::tempfile_in(dir)
        .map(drop)
        .map_err(|error| refuse(&error.to_string()))
}
