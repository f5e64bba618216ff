//! Changing attributes: size, mode, time, owner.

use std::time::SystemTime;

use super::{
    Filesystem,
    attr::Attr,
    open::{OpenMode, detach},
};
use crate::{
    fs::{
        error::{FsError, FsErrorKind, Result},
        handle::Access,
        number::{HandleId, Ino},
        server::Intent,
        write_back::forget_emptied,
    },
    remote::{
        Attributes, EntryKind, Evidence, Modified, RemoteError, RemoteErrorKind, RemotePath, Want,
    },
};

/// A time to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewTime {
    /// The present.
    Now,
    /// A certain time.
    At(SystemTime),
}

/// What a program wants changed. Absent is unchanged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change {
    /// Permission bits.
    pub mode: Option<u32>,
    /// The owner.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
    /// The length.
    pub size: Option<u64>,
    /// The time of modification. That of the last access is not kept by FTP and is passed over.
    pub modified: Option<NewTime>,
}

impl Filesystem {
    /// Changes attributes; `handle` when it is done through an open file.
    pub fn setattr(&self, ino: Ino, change: &Change, handle: Option<HandleId>) -> Result<Attr> {
        let path = self.inodes.path(ino);
        self.check_writable(path.as_ref())?;
        if !keeps_owner(self, change) {
            return Err(FsError::about(FsErrorKind::NotPermitted, path));
        }
        if let Some(size) = change.size {
            set_size(self, ino, size, handle)?;
        }
        let attributes = Attributes {
            mode: change.mode.map(|mode| mode & 0o7777),
            modified: change.modified.map(|time| match time {
                NewTime::Now => self.clock.wall(),
                NewTime::At(time) => time,
            }),
        };
        if !attributes.is_empty() {
            set_attributes(self, ino, attributes)?;
        }
        Ok(self.getattr(ino)?.0)
    }
}

/// FTP cannot give files away; to keep the owner that is shown is no change.
fn keeps_owner(fs: &Filesystem, change: &Change) -> bool {
    change.uid.is_none_or(|uid| uid == fs.config.uid)
        && change.gid.is_none_or(|gid| gid == fs.config.gid)
}

fn set_size(fs: &Filesystem, ino: Ino, size: u64, handle: Option<HandleId>) -> Result<()> {
    if let Some(handle) = handle {
        let handle = fs.handles.file(handle)?;
        handle.check_current()?;
        return match fs.write_back.set_len(&handle.file, size) {
            // Who has it open goes on with it.
            Err(error) if error.kind() == FsErrorKind::NotFound => Ok(()),
            cut => cut,
        };
    }
    // truncate(2): no handle will be closed, so it goes up at once.
    let mode = OpenMode {
        access: Access::Write,
        is_truncate: size == 0,
        ..OpenMode::default()
    };
    let handle = fs.open(ino, mode)?.handle;
    let file = fs.handles.file(handle)?.file.clone();
    let cut = if mode.is_truncate {
        // The opening has emptied it.
        Ok(())
    } else {
        fs.write_back.set_len(&file, size)
    };
    let done = cut.and_then(|()| fs.write_back.upload(&file));
    // The program learns how it went; it is tried again later, not now.
    if let Some(file) = detach(fs, handle) {
        forget_emptied(&file);
        fs.inodes.release_if_done(&file);
    }
    done
}

fn set_attributes(fs: &Filesystem, ino: Ino, attributes: Attributes) -> Result<()> {
    if ino == Ino::ROOT {
        return Err(FsError::new(FsErrorKind::NotPermitted, &RemotePath::root()));
    }
    if let Some(file) = fs.inodes.file(ino) {
        // What is set while an upload runs would neither go with it nor after it.
        let mut state = file.wait_for_upload();
        if state.is_ahead() {
            state.changes_mut().want(attributes);
            return Ok(());
        }
    }
    let path = fs.inodes.path_of(ino)?;
    let entry = fs
        .server
        .tree()
        .entry(&path)?
        .ok_or_else(|| FsError::new(FsErrorKind::NotFound, &path))?;
    if entry.kind == EntryKind::Symlink {
        // A server would follow it.
        return Err(FsError::new(FsErrorKind::Unsupported, &path));
    }
    // What is so already need not be asked for; programs set the mode that they have just read.
    let shown = fs.view.attr(ino, entry.as_borrowed()).mode;
    let mode = attributes.mode.filter(|mode| *mode != shown);
    // The bits of a directory that are not shown (setgid of a shared one) were not meant.
    let unshown = match entry.kind {
        EntryKind::Directory => entry.mode.unwrap_or(0) & 0o7000,
        _ => 0,
    };
    let mode = mode.map(|mode| mode | unshown);
    let wanted = Attributes { mode, ..attributes };
    let seen = settle_attributes(fs, &path, entry.kind, wanted)?;
    if let Some(file) = fs.inodes.file(ino)
        && let Some(base) = file.lock().on_server_mut().base_mut()
    {
        // Ours, and no sign that others have changed the file.
        base.version.modified = seen.or(base.version.modified);
        base.mode = mode.or(base.mode);
    }
    Ok(())
}

/// Sets them on the server; the time that the file has then, where one was set.
fn settle_attributes(
    fs: &Filesystem,
    path: &RemotePath,
    kind: EntryKind,
    attributes: Attributes,
) -> Result<Option<Modified>> {
    if attributes.is_empty() {
        return Ok(None);
    }
    if attributes.modified.is_some() {
        // The time may be one that other content had.
        fs.engine.forget(path);
    }
    let (evidence, want) = seen_for_attributes(fs, path, kind)?;
    let settled = fs.server.settle(&evidence, want, None, attributes);
    let mut settled = settled.map_err(|error| match error.remote().cloned() {
        Some(refusal) => fs.server.explain(refusal, path, Intent::Attributes),
        None => error,
    })?;
    if kind == EntryKind::Directory
        && let Err(error) = &settled.modified
        && is_impossible(error)
    {
        // vsftpd and pyftpdlib set no time of a directory. It says when names in it changed, which is the server's to say; rsync and tar
        // would fail over it. It is shown until the server's own is listed again.
        log::debug!("{path}: the time of a directory stays the server's: {error}");
        settled.modified = Ok(());
        settled.report.modified = None;
    }
    let seen = settled
        .report
        .modified
        .or(attributes.modified.map(Into::into));
    let (is_mode_set, is_time_set) = (settled.mode.is_ok(), settled.modified.is_ok());
    fs.server.tree().update(path, move |entry| {
        if is_mode_set && attributes.mode.is_some() {
            entry.mode = attributes.mode;
        }
        if is_time_set && attributes.modified.is_some() {
            entry.modified = seen;
        }
    });
    let failed = settled.mode.err().or(settled.modified.err());
    match failed {
        None => Ok(seen.filter(|_| attributes.modified.is_some())),
        Some(error) if error.kind() == RemoteErrorKind::Refused => {
            Err(fs.server.explain(error, path, Intent::Attributes))
        }
        Some(error) => Err(error.into()),
    }
}

/// That the file or directory is there.
fn seen_for_attributes(
    fs: &Filesystem,
    path: &RemotePath,
    kind: EntryKind,
) -> Result<(Evidence, Want)> {
    let evidence = fs.server.evidence().look(path)?;
    let want = if kind == EntryKind::Directory {
        Want::AnyDir
    } else {
        Want::AnyFile
    };
    if evidence.is_absent() || evidence.permit(want).is_err() {
        fs.server.kernel().forget_name(path);
        return Err(FsError::new(FsErrorKind::NotFound, path));
    }
    Ok((evidence, want))
}

fn is_impossible(error: &RemoteError) -> bool {
    matches!(
        error.kind(),
        RemoteErrorKind::Refused | RemoteErrorKind::Unsupported
    )
}
