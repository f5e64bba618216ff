//! Opening, creating and closing files.

use std::sync::Arc;

use super::{
    Attr, Filesystem, FsError, FsErrorKind, Result,
    doubt::{Told, unknown_size},
    file::{Base, FileState, OpenFile},
    handle::FileHandle,
    lookup::Intent,
    namespace::is_ordinary,
    process::Writers,
};
use crate::{
    cache::{Cursor, Version},
    remote::{EntryKind, RemoteEntry, RemotePath, Settled},
};

/// How a program opens a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "these are the independent flags of open(2)"
)]
pub struct OpenMode {
    /// `O_WRONLY` or `O_RDWR`.
    pub is_write: bool,
    /// `O_TRUNC`.
    pub is_truncate: bool,
    /// `O_APPEND`.
    pub is_append: bool,
    /// `O_EXCL`, with `O_CREAT`.
    pub is_exclusive: bool,
}

/// An opened file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// The handle's number.
    pub handle: u64,
    /// Whether the pages that the kernel still has of this file are of its present content.
    pub is_content_known: bool,
}

impl Filesystem {
    /// Opens a file.
    ///
    /// The program that opens it, by its `thread`, is one whose closing uploads what was written.
    pub fn open_by(&self, ino: u64, thread: u32, mode: OpenMode) -> Result<Opened> {
        let opened = self.open(ino, mode)?;
        self.handles.file(opened.handle)?.writers.add(thread);
        Ok(opened)
    }

    /// Opens a file for any program.
    pub fn open(&self, ino: u64, mode: OpenMode) -> Result<Opened> {
        if self
            .inodes
            .file(ino)
            .is_some_and(|file| file.lock().is_unlinked)
        {
            return self.attach(ino, mode, None);
        }
        let path = self.path(ino)?;
        if mode.is_write || mode.is_truncate {
            self.check_writable(&path)?;
        }
        if self
            .inodes
            .file(ino)
            .is_some_and(|file| file.lock().is_ahead())
        {
            return self.attach(ino, mode, None);
        }
        let entry = self
            .entry(&path)?
            .ok_or_else(|| FsError::new(FsErrorKind::NotFound, &path))?;
        if entry.kind == EntryKind::Directory {
            return Err(FsError::new(FsErrorKind::IsADirectory, &path));
        }
        self.prefetcher.wait_for(ino);
        let entry = self.entry(&path)?.unwrap_or(entry);
        let mut base = self.base_for(&path, &entry, mode)?;
        base.version.adopt_epoch(self.prefetcher.fetched(ino));
        if !mode.is_write {
            self.guess_files(ino, &path);
        }
        self.attach(ino, mode, Some(base))
    }

    /// Creates a file as [`Self::open_by`] opens one.
    pub fn create_by(
        &self,
        parent: u64,
        name: &[u8],
        thread: u32,
        permissions: u32,
        mode: OpenMode,
    ) -> Result<(Attr, Opened)> {
        let (attr, opened) = self.create(parent, name, permissions, mode)?;
        self.handles.file(opened.handle)?.writers.add(thread);
        Ok((attr, opened))
    }

    /// Creates a file, or opens it when it exists already, and looks it up.
    pub fn create(
        &self,
        parent: u64,
        name: &[u8],
        permissions: u32,
        mode: OpenMode,
    ) -> Result<(Attr, Opened)> {
        let path = self.child_path(parent, name)?;
        self.check_writable(&path)?;
        let mut found = self.lookup(parent, name)?;
        // What others have made meanwhile is opened, not overwritten: FTP cannot create a file only if there is none.
        let mut free_at = None;
        if found.attr.is_none() {
            match self.look_when(&path)? {
                (None, asked) => free_at = Some(asked),
                (Some(_), _) => found = self.lookup(parent, name)?,
            }
        }
        if let Some(attr) = found.attr {
            if mode.is_exclusive {
                self.inodes.forget(attr.ino, 1);
                return Err(FsError::new(FsErrorKind::Exists, &path));
            }
            match self.open(attr.ino, mode) {
                Ok(opened) => {
                    // Asking again could fail, and nobody would close the handle.
                    let shown = self.attr_ahead(attr.ino).unwrap_or(attr);
                    return Ok((shown, opened));
                }
                Err(error) => {
                    self.inodes.forget(attr.ino, 1);
                    // Removed elsewhere in the same moment: it is made.
                    if error.kind() != FsErrorKind::Stale || self.look(&path)?.is_some() {
                        return Err(error);
                    }
                }
            }
        }
        if let Some(file) = self.inodes.file_named(parent, name)
            && !file.lock().is_ahead()
        {
            // The file that some program still has open under this name was removed on the server.
            self.inodes.unlink(parent, name);
        }
        // The file comes into being with its first upload, at the latest when it is closed.
        let ino = self.inodes.look_up(parent, name, EntryKind::File);
        let opened = self.attach(ino, mode, None)?;
        if let Some(file) = self.inodes.file(ino) {
            let mut state = file.lock();
            state.free_at = free_at;
            // There is nothing yet that the program could have emptied.
            state.is_emptied &= state.base.is_some();
            if state.base.is_none() && state.wanted.mode.is_none() {
                state.wanted.mode = Some(permissions & 0o7777);
            }
        }
        if !is_ordinary(name) {
            // Whether the server takes such a name is found out now, when the program can still choose another.
            self.flush(opened.handle).inspect_err(|_| {
                if let Some(file) = self.inodes.file(ino) {
                    self.give_up(&file);
                }
                self.release(opened.handle);
                self.inodes.forget(ino, 1);
            })?;
        }
        let (attr, _) = self.getattr(ino)?;
        Ok((attr, opened))
    }

    /// Makes a handle on a file; `base` is what the server shows, if it was asked.
    fn attach(&self, ino: u64, mode: OpenMode, base: Option<Base>) -> Result<Opened> {
        let now = self.clock.wall();
        let last = self.inodes.last_version(ino);
        let mut is_content_known = false;
        let file = self.inodes.open_file(
            ino,
            || OpenFile::new(ino, None, now),
            |file| {
                let mut state = file.lock();
                is_content_known = match base {
                    None => state.base.is_some() || state.spool.is_some(),
                    Some(base) => take_over(&mut state, base, last),
                };
                state.handles += 1;
            },
        );
        let file = file.ok_or_else(|| FsError::new(FsErrorKind::Stale, &RemotePath::root()))?;
        let truncated = if mode.is_truncate {
            self.truncate_state(&file, 0)
        } else {
            Ok(())
        };
        let handle = FileHandle {
            file,
            cursor: Cursor::new(&self.engine),
            is_append: mode.is_append,
            is_write: mode.is_write,
            writers: Writers::default(),
        };
        let handle = self.handles.add_file(handle);
        truncated.inspect_err(|_| self.release(handle))?;
        if !is_content_known && !mode.is_truncate {
            // The length that the kernel knows may be that of other content.
            self.forget_attributes(ino);
        }
        Ok(Opened {
            handle,
            is_content_known,
        })
    }

    /// What the file is whose entry this is, as exactly as the way of opening it needs. A listing is not relied on by what will be changed
    /// inside or at its end; one that is emptied is replaced whatever it is.
    fn base_for(&self, path: &RemotePath, entry: &RemoteEntry, mode: OpenMode) -> Result<Base> {
        if mode.is_truncate {
            let size = Some(entry.size.unwrap_or(0));
            let entry = RemoteEntry {
                size,
                ..entry.clone()
            };
            return self.base_of(&entry).ok_or_else(|| unknown_size(path));
        }
        if mode.is_write {
            return self
                .ask_exact(path, entry)
                .map_err(|error| match error.kind() {
                    // Has the kernel look the name up again, so that O_CREAT makes the file.
                    FsErrorKind::NotFound => FsError::new(FsErrorKind::Stale, path),
                    _ => error,
                });
        }
        match self.base_of(entry) {
            Some(base) if entry.has_exact_time() => Ok(base),
            _ => self.ask_exact(path, entry),
        }
    }

    /// Asks for a file's size and its time to the second.
    pub(super) fn ask_exact(&self, path: &RemotePath, entry: &RemoteEntry) -> Result<Base> {
        let (settled, mode) = self.remote.examine(path)?;
        let mut base = self.take_exact(path, entry, settled)?;
        base.is_mode_asked = mode.is_some();
        base.mode = mode.or(base.mode);
        Ok(base)
    }

    /// Takes size and time of a file over from what the server says of it.
    pub(super) fn take_exact(
        &self,
        path: &RemotePath,
        entry: &RemoteEntry,
        settled: Settled,
    ) -> Result<Base> {
        let size = match settled.size {
            Ok(size) => size.or(entry.size),
            Err(error) => return Err(self.explain(error, path, Intent::Content)),
        };
        let size = size.ok_or_else(|| unknown_size(path))?;
        let modified = settled.seen_modified.or(entry.modified);
        if let (Some(dir), Some(name)) = (path.parent(), path.name()) {
            self.listings.update(&dir, name, move |entry| {
                entry.size = Some(size);
                entry.modified = modified;
            });
        }
        Ok(self.base_told(Told { size, modified }, entry.mode))
    }

    /// Closes a handle. The program was told by [`Self::flush`] how it went; bytes that came later (through a shared mapping) go up now.
    pub fn release(&self, handle: u64) {
        if let Some(file) = self.detach(handle) {
            self.upload_or_keep(&file);
            self.release_if_done(&file);
        }
    }

    /// Takes a handle away. Returns its file when that was the last one and the server lacks something of the file.
    pub(super) fn detach(&self, handle: u64) -> Option<Arc<OpenFile>> {
        let file = self.handles.remove_file(handle)?.file.clone();
        let mut state = file.lock();
        state.handles = state.handles.saturating_sub(1);
        let is_last = state.handles == 0;
        let needs_upload = is_last && state.needs_upload();
        let reader = if is_last { state.reader.take() } else { None };
        drop(state);
        if let Some(reader) = reader {
            reader.close();
        }
        self.leave_refuge(&file);
        if !needs_upload {
            self.release_if_done(&file);
        }
        needs_upload.then_some(file)
    }

    /// Removes what an unlinked file has left on the server, once its last handle is closed; the close may come before the name is gone.
    pub(super) fn leave_refuge(&self, file: &OpenFile) {
        let refuge = {
            let mut state = file.lock();
            if state.handles > 0 {
                return;
            }
            state.refuge.take()
        };
        if let Some(refuge) = refuge
            && let Err(error) = self.remote.remove_file(&refuge)
        {
            log::warn!(
                "{refuge}, which was removed while it was open, stays on the server: {error}"
            );
        }
    }
}

/// Tells a file what the server shows; true when its content is the one that was last seen here, open or closed.
fn take_over(state: &mut FileState, mut base: Base, last: Option<Version>) -> bool {
    let before = state.base.as_ref().map(|base| base.version).or(last);
    // The epoch tells apart what size and time do not: it changes with our own changes only.
    let is_same = base.version.adopt_epoch(before);
    if state.base.is_none() && state.handles == 0 && state.spool.is_none() {
        state.base = Some(base);
    } else {
        state.rebase(base);
    }
    is_same
}
