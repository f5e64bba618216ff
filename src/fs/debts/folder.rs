//! The folders of debts files: one for each server and mounted directory, in it one for each mount, which owns it by a lock.
//!
//! ```text
//! STATE_DIR/USER@HOST:PORT-HASH/MOUNT-ID/lock
//! STATE_DIR/USER@HOST:PORT-HASH/MOUNT-ID/debts
//! ```
//!
//! The lock ends with the process. A folder that nobody owns was left by a mount that was killed, or that could not settle everything.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use crate::local;

/// The file of a mount's debts.
const DEBTS: &str = "debts";

/// The file by whose lock a mount owns its folder.
const LOCK: &str = "lock";

/// How often a name for a new folder is tried. 8: two mounts with one number are rare, and one that cleans up takes a new folder away
/// at most once.
const TRIES_MAX: u32 = 8;

/// The longest debts file of another mount that is read. 64 MiB: some hundred thousand debts, which no mount has.
const BYTES_MAX: u64 = 64 << 20;

/// A folder of which this process holds the lock.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    // Its lock is held for as long as it is open.
    _lock: File,
}

impl Folder {
    /// A new one below the server's, for the mount of this number.
    pub(super) fn make(server_dir: &Path, mount: u32) -> io::Result<Self> {
        local::private_dir(server_dir)?;
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        for number in 0..TRIES_MAX {
            let path = match number {
                0 => server_dir.join(format!("{mount:08x}")),
                _ => server_dir.join(format!("{mount:08x}-{number}")),
            };
            match builder.create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made?,
            }
            // Who looks for folders without an owner may have taken this one away before it was locked.
            if let Some(folder) = Self::own(path)? {
                return Ok(folder);
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Those of this server that nobody owns, by taking their locks.
    pub(super) fn abandoned(server_dir: &Path) -> Vec<Self> {
        let entries = fs::read_dir(server_dir).into_iter().flatten().flatten();
        let owned = entries.filter_map(|entry| match Self::own(entry.path()) {
            Ok(folder) => folder,
            Err(error) => {
                log::debug!("{} is passed over: {error}", entry.path().display());
                None
            }
        });
        owned.collect()
    }

    /// Takes the lock; `None` when another process has it, or has taken the folder away.
    fn own(path: PathBuf) -> io::Result<Option<Self>> {
        let opened = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK));
        let lock = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            locked => locked?,
        }
        let is_there = fs::metadata(path.join(LOCK))
            .is_ok_and(|known| lock.metadata().is_ok_and(|ours| ours.ino() == known.ino()));
        Ok(is_there.then_some(Self { path, _lock: lock }))
    }

    /// What its debts file holds; nothing where there is none.
    pub(super) fn read(&self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        match File::open(self.path.join(DEBTS)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => drop(opened?.take(BYTES_MAX).read_to_end(&mut text)?),
        }
        Ok(text)
    }

    /// The debts file, to append to.
    pub(super) fn open(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        options.open(self.path.join(DEBTS))
    }

    /// Puts another debts file in its place, and returns that, to append to.
    pub(super) fn rewrite(&self, text: &[u8]) -> io::Result<File> {
        let mut file = tempfile::NamedTempFile::new_in(&self.path)?;
        file.write_all(text)?;
        file.persist(self.path.join(DEBTS))?;
        self.open()
    }

    /// Removes it, as nothing is owed any more. The server's folder goes with the last one.
    pub(super) fn remove(self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            log::debug!("{} stays: {error}", self.path.display());
        }
        if let Some(server_dir) = self.path.parent() {
            // Not if it holds others.
            let _ = fs::remove_dir(server_dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_owned_is_not_abandoned() {
        let dir = tempfile::tempdir().unwrap();
        let server_dir = dir.path().join("server");
        assert!(Folder::abandoned(&server_dir).is_empty());
        let first = Folder::make(&server_dir, 1).unwrap();
        first.open().unwrap().write_all(b"text").unwrap();
        let twin = Folder::make(&server_dir, 1).unwrap();
        assert_ne!(first.path, twin.path);
        assert!(Folder::abandoned(&server_dir).is_empty());
        let path = first.path.clone();
        drop(first);
        let left = Folder::abandoned(&server_dir);
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].path, path);
        assert_eq!(left[0].read().unwrap(), b"text");
        assert!(
            Folder::abandoned(&server_dir).is_empty(),
            "adopted by one mount only"
        );
        left.into_iter().for_each(Folder::remove);
        assert!(!path.exists());
        assert!(server_dir.exists());
        twin.remove();
        assert!(!server_dir.exists());
    }

    #[test]
    fn it_is_for_this_user_alone() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::make(&dir.path().join("state/server"), 1).unwrap();
        folder.rewrite(b"x").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&folder.path), 0o700);
        assert_eq!(mode(&folder.path.join(DEBTS)), 0o600);
        assert_eq!(mode(&dir.path().join("state")), 0o700);
    }
}
