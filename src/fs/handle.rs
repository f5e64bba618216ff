//! What programs hold open: numbers to file and directory handles.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    dir_handle::DirHandle,
    error::{FsError, FsErrorKind, Result},
    file::OpenFile,
    number::{HandleId, Ino},
    process::Writers,
    state::SetAsides,
};
use crate::cache::{Cursor, ListingId};

/// What a program may do with an open file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Access {
    /// Read it (`O_RDONLY`).
    #[default]
    Read,
    /// Write anywhere (`O_WRONLY` or `O_RDWR`); closing it uploads what was written.
    Write,
    /// The same, each write at the end (`O_APPEND`).
    Append,
}

impl Access {
    /// Whether it may be written.
    pub fn is_write(self) -> bool {
        self != Self::Read
    }
}

/// An open file of one program.
#[derive(Debug)]
pub(crate) struct FileHandle {
    pub(crate) file: Arc<OpenFile>,
    /// Where this handle reads.
    pub(crate) cursor: Cursor,
    /// What it may be used for.
    pub(crate) access: Access,
    /// Whose closing uploads.
    pub(crate) writers: Writers,
    /// What the file's count was when this was opened.
    pub(crate) set_asides: SetAsides,
}

impl FileHandle {
    /// Fails when others' file has taken the place of the one that was opened to be written: what a program writes next is not meant for it.
    pub(crate) fn check_current(&self) -> Result<()> {
        if !self.access.is_write() || self.file.lock().set_asides() == self.set_asides {
            return Ok(());
        }
        Err(FsError::about(FsErrorKind::Conflict, None))
    }
}

/// The one listing of an open directory that goes through the kernel's pages, and how many handles show it.
#[derive(Debug)]
struct Paged {
    listing: ListingId,
    handles: usize,
}

/// The handles of all programs.
#[derive(Debug, Default)]
pub(crate) struct Handles {
    files: RwLock<HashMap<HandleId, Arc<FileHandle>>>,
    dirs: RwLock<HashMap<HandleId, Arc<DirHandle>>>,
    /// Directories whose names the kernel may have in its pages while they are open.
    paged: Mutex<HashMap<Ino, Paged>>,
    next: AtomicU64,
}

impl Handles {
    pub(crate) fn add_file(&self, handle: FileHandle) -> HandleId {
        let number = HandleId(self.next.fetch_add(1, Ordering::Relaxed));
        write(&self.files).insert(number, Arc::new(handle));
        number
    }

    pub(crate) fn file(&self, number: HandleId) -> Result<Arc<FileHandle>> {
        read(&self.files)
            .get(&number)
            .cloned()
            .ok_or_else(FsError::stale)
    }

    pub(crate) fn remove_file(&self, number: HandleId) -> Option<Arc<FileHandle>> {
        write(&self.files).remove(&number)
    }

    pub(crate) fn add_dir(&self, handle: DirHandle) -> HandleId {
        let number = HandleId(self.next.fetch_add(1, Ordering::Relaxed));
        write(&self.dirs).insert(number, Arc::new(handle));
        number
    }

    pub(crate) fn dir(&self, number: HandleId) -> Result<Arc<DirHandle>> {
        read(&self.dirs)
            .get(&number)
            .cloned()
            .ok_or_else(FsError::stale)
    }

    pub(crate) fn remove_dir(&self, number: HandleId) -> Option<Arc<DirHandle>> {
        write(&self.dirs).remove(&number)
    }

    /// Whether one more handle of the directory `ino` may go through the kernel's pages: only while all that do show the
    /// same `listing`, for each may fill the pages that the others read. Each true needs a [`Self::leave_pages`].
    pub(crate) fn join_pages(&self, ino: Ino, listing: ListingId) -> bool {
        let mut paged = self.paged.lock().unwrap_or_else(PoisonError::into_inner);
        let new = Paged {
            listing,
            handles: 0,
        };
        let paged = paged.entry(ino).or_insert(new);
        let is_same = paged.listing == listing;
        paged.handles += usize::from(is_same);
        is_same
    }

    pub(crate) fn leave_pages(&self, ino: Ino) {
        let mut all = self.paged.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(paged) = all.get_mut(&ino) {
            paged.handles -= 1;
            if paged.handles == 0 {
                all.remove(&ino);
            }
        }
    }
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
