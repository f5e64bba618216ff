//! Opening, creating and closing files.

use std::sync::Arc;

use super::{Filesystem, attr::Attr, removed};
use crate::{
    cache::Cursor,
    fs::{
        error::{FsError, FsErrorKind, Result},
        file::OpenFile,
        handle::{Access, FileHandle},
        number::{HandleId, Ino},
        on_server::Base,
        process::Writers,
        server::{is_ordinary, unknown_size},
        state::SetAsides,
    },
    remote::{EntryKind, RemoteEntry, RemotePath},
};

/// How a program opens a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenMode {
    /// What the program will do with it.
    pub access: Access,
    /// `O_TRUNC`.
    pub is_truncate: bool,
    /// `O_EXCL`, with `O_CREAT`.
    pub is_exclusive: bool,
}

/// An opened file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// The handle's number.
    pub handle: HandleId,
    /// Whether the pages that the kernel still has of this file are of its present content.
    pub is_content_known: bool,
}

impl Filesystem {
    /// Opens a file.
    ///
    /// The program that opens it, by its `thread`, is one whose closing uploads what was written.
    pub fn open_by(&self, ino: Ino, thread: u32, mode: OpenMode) -> Result<Opened> {
        let opened = self.open(ino, mode)?;
        self.handles.file(opened.handle)?.writers.add(thread);
        Ok(opened)
    }

    /// Opens a file for any program.
    pub fn open(&self, ino: Ino, mode: OpenMode) -> Result<Opened> {
        if self
            .inodes
            .file(ino)
            .is_some_and(|file| file.lock().name.is_removed())
        {
            return attach(self, ino, mode, None);
        }
        let path = self.inodes.path_of(ino)?;
        if mode.access.is_write() || mode.is_truncate {
            self.check_writable(Some(&path))?;
        }
        if self
            .inodes
            .file(ino)
            .is_some_and(|file| file.lock().is_ahead())
        {
            return attach(self, ino, mode, None);
        }
        let entry = self
            .server
            .tree()
            .entry(&path)?
            .ok_or_else(|| FsError::new(FsErrorKind::NotFound, &path))?;
        if entry.kind == EntryKind::Directory {
            return Err(FsError::new(FsErrorKind::IsADirectory, &path));
        }
        if entry.kind == EntryKind::Special {
            return Err(FsError::new(FsErrorKind::AccessDenied, &path));
        }
        self.guesses.wait_for(ino);
        let entry = self.server.tree().entry(&path)?.unwrap_or(entry);
        let mut base = base_for(self, &path, &entry, mode)?;
        base.version.adopt_epoch(self.guesses.fetched(ino));
        if !mode.access.is_write() {
            self.guesses.opened_file(ino, &path);
        }
        attach(self, ino, mode, Some(base))
    }

    /// Creates a file as [`Self::open_by`] opens one.
    pub fn create_by(
        &self,
        parent: Ino,
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
        parent: Ino,
        name: &[u8],
        permissions: u32,
        mode: OpenMode,
    ) -> Result<(Attr, Opened)> {
        let path = self.child_path(parent, name)?;
        self.check_writable(Some(&path))?;
        let mut found = self.lookup(parent, name)?;
        // What others have made meanwhile is opened, not overwritten: FTP cannot create a file only if there is none.
        let mut seen = None;
        if found.attr.is_none() {
            // What was seen while a late change could still bring something there is no evidence.
            self.server.holds().check(&path)?;
            let evidence = self.server.evidence().look(&path)?;
            if evidence.is_absent() {
                seen = Some(evidence);
            } else {
                found = self.lookup(parent, name)?;
                if found.attr.is_none() {
                    // Under another spelling, which the server does not tell apart from this one.
                    log::info!("{path} is there under another spelling of its name");
                    return Err(FsError::new(FsErrorKind::Exists, &path));
                }
            }
        }
        if let Some(attr) = found.attr {
            if mode.is_exclusive {
                self.inodes.forget(attr.ino, 1);
                return Err(FsError::new(FsErrorKind::Exists, &path));
            }
            match self.open(attr.ino, mode) {
                Ok(opened) => {
                    // Asking again could fail, and nothing would close the handle.
                    let shown = self.view.attr_ahead(attr.ino).unwrap_or(attr);
                    return Ok((shown, opened));
                }
                Err(error) => {
                    self.inodes.forget(attr.ino, 1);
                    // Removed elsewhere in the same moment: it is made.
                    if error.kind() != FsErrorKind::Stale
                        || !self.server.evidence().look(&path)?.is_absent()
                    {
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
        let opened = attach(self, ino, mode, None)?;
        if let Some(file) = self.inodes.file(ino) {
            file.lock().create(seen, permissions & 0o7777);
        }
        if !is_ordinary(name) {
            // Whether the server takes such a name is found out now, when the program can still choose another.
            self.flush(opened.handle).inspect_err(|_| {
                if let Some(file) = self.inodes.file(ino) {
                    self.write_back.backlog().give_up(&file);
                }
                self.release(opened.handle);
                self.inodes.forget(ino, 1);
            })?;
        }
        let (attr, _) = self.getattr(ino)?;
        Ok((attr, opened))
    }

    /// Closes a handle. The program has learnt from [`Self::flush`] how it went; bytes that came later (through a shared mapping) go up now.
    pub fn release(&self, handle: HandleId) {
        if let Some(file) = detach(self, handle) {
            self.write_back.backlog().upload_or_keep(&file);
            self.inodes.release_if_done(&file);
        }
    }
}

/// Makes a handle on a file; `base` is what the server shows, if it was asked.
fn attach(fs: &Filesystem, ino: Ino, mode: OpenMode, base: Option<Base>) -> Result<Opened> {
    let now = fs.clock.wall();
    let last = fs.inodes.last_version(ino);
    let mut is_content_known = false;
    let mut set_asides = SetAsides::default();
    let file = fs.inodes.open_file(
        ino,
        || OpenFile::new(ino, now),
        |file| {
            let mut state = file.lock();
            is_content_known = match base {
                None => state.on_server().base().is_some() || state.changes().spool().is_some(),
                Some(base) => state.open_as(base, last),
            };
            set_asides = state.add_handle();
        },
    );
    let file = file.ok_or_else(FsError::stale)?;
    let truncated = if mode.is_truncate {
        fs.write_back.set_len(&file, 0)
    } else {
        Ok(())
    };
    let handle = FileHandle {
        file,
        cursor: Cursor::new(&fs.engine),
        access: mode.access,
        writers: Writers::default(),
        set_asides,
    };
    let handle = fs.handles.add_file(handle);
    truncated.map_err(|error| {
        fs.release(handle);
        vanished(error, fs.inodes.path(ino).as_ref())
    })?;
    if !is_content_known && !mode.is_truncate {
        // The length that the kernel knows may be that of other content.
        fs.server.kernel().forget_attributes(ino);
    }
    Ok(Opened {
        handle,
        is_content_known,
    })
}

/// What the file is whose entry this is, as exactly as the way of opening it needs. A listing is not relied on by what will be changed
/// inside or at its end; one that is emptied is replaced whatever it is.
fn base_for(
    fs: &Filesystem,
    path: &RemotePath,
    entry: &RemoteEntry,
    mode: OpenMode,
) -> Result<Base> {
    if mode.is_truncate {
        let size = Some(entry.size.unwrap_or(0));
        let entry = RemoteEntry {
            size,
            ..entry.clone()
        };
        return fs
            .server
            .versions()
            .base_of(&entry)
            .ok_or_else(|| unknown_size(path));
    }
    if mode.access.is_write() {
        return fs
            .server
            .versions()
            .ask_exact(path, entry)
            .map_err(|error| vanished(error, Some(path)));
    }
    let has_broken = fs.server.broken_reads().has(path);
    match fs.server.versions().base_of(entry) {
        Some(base) if entry.has_exact_time() && !has_broken => Ok(base),
        _ => {
            let base = fs.server.versions().ask_exact(path, entry)?;
            fs.server.broken_reads().settle(path);
            Ok(base)
        }
    }
}

/// The failure to open a file that others have removed: the kernel looks the name up again, so that `O_CREAT` makes the file.
fn vanished(error: FsError, path: Option<&RemotePath>) -> FsError {
    match error.kind() {
        FsErrorKind::NotFound => FsError::about(FsErrorKind::Stale, path.cloned()),
        _ => error,
    }
}

/// Takes a handle away. Returns its file when that was the last one and the server lacks something of the file.
pub(super) fn detach(fs: &Filesystem, handle: HandleId) -> Option<Arc<OpenFile>> {
    let file = fs.handles.remove_file(handle)?.file.clone();
    let mut state = file.lock();
    let reader = state.remove_handle();
    let needs_upload = !state.is_open() && state.needs_upload();
    drop(state);
    if let Some(reader) = reader {
        reader.close();
    }
    removed::leave(&fs.server, &file);
    if !needs_upload {
        fs.inodes.release_if_done(&file);
    }
    needs_upload.then_some(file)
}
