//! The kernel's side: requests are unpacked, handed to [`Filesystem`], and answered. No decision is taken here.
//!
//! fuser calls these methods on its event-loop threads, which must not wait. What can be answered from memory is answered at once; the
//! rest goes, with its reply, to a pool of worker threads. An error is logged here, once, with the operation and the path. A panic is
//! caught for each request, because one that leaves an event loop ends the whole mount.

mod reply;
mod request;
mod workers;

use std::{
    ffi::OsStr,
    io,
    os::unix::ffi::OsStrExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, INodeNo, InitFlags,
    IoctlFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use crate::fs::{Change, Filesystem, FsError, FsErrorKind, HandleId, Ino, RenameMode, Result};
use reply::{GENERATION, Plain, Plus, Refuse, file_attr, open_flags};
use request::{new_time, open_mode, preallocate_mode};
use workers::{Turn, Workers};

/// How many reads the kernel may send ahead at once. 64 of 128 KiB keep 8 MiB under way: 100 ms at 80 MB/s.
const BACKGROUND_MAX: u16 = 64;

/// The largest write that the kernel sends; its own limit unless the administrator raised it.
const WRITE_BYTES_MAX: u32 = 1 << 20;

/// Serves one mount.
#[derive(Debug)]
pub struct FuseServer {
    filesystem: Arc<Filesystem>,
    workers: Workers,
}

impl FuseServer {
    /// A server for `filesystem`; no operation waits for its turn for longer than `timeout` and then for the server.
    pub fn new(filesystem: Arc<Filesystem>, timeout: Duration) -> Self {
        Self {
            filesystem,
            workers: Workers::new(timeout),
        }
    }

    /// Does `work` here and now; it must not wait.
    fn answer<T, R: Refuse>(
        &self,
        request: &Name,
        reply: R,
        work: impl FnOnce(&Filesystem) -> Result<T>,
        send: impl FnOnce(T, R),
    ) {
        answer(&self.filesystem, request, reply, work, send);
    }

    /// Does `work` on a worker thread; what has waited for one too long is refused instead.
    fn wait<T, R: Refuse + Send + 'static>(
        &self,
        request: Name,
        reply: R,
        work: impl FnOnce(&Filesystem) -> Result<T> + Send + 'static,
        send: impl FnOnce(T, R) + Send + 'static,
    ) {
        let filesystem = self.filesystem.clone();
        self.workers.run(move |turn| {
            let work = |filesystem: &Filesystem| match turn {
                Turn::InTime => work(filesystem),
                Turn::TooLate => Err(filesystem.timed_out(request.ino)),
            };
            answer(&filesystem, &request, reply, work, send);
        });
    }

    /// Answers from memory if `cached` can, else waits for `work`.
    fn answer_or_wait<T, R: Refuse + Send + 'static>(
        &self,
        request: Name,
        reply: R,
        cached: impl FnOnce(&Filesystem) -> Option<Result<T>>,
        work: impl FnOnce(&Filesystem) -> Result<T> + Send + 'static,
        send: impl FnOnce(T, R) + Send + 'static,
    ) {
        self.answer_or_wait_for(request, reply, cached, || work, send);
    }

    /// The same; `work` is made only where it is waited for.
    fn answer_or_wait_for<T, R: Refuse + Send + 'static, W>(
        &self,
        request: Name,
        reply: R,
        cached: impl FnOnce(&Filesystem) -> Option<Result<T>>,
        work: impl FnOnce() -> W,
        send: impl FnOnce(T, R) + Send + 'static,
    ) where
        W: FnOnce(&Filesystem) -> Result<T> + Send + 'static,
    {
        let ready = catch_unwind(AssertUnwindSafe(|| cached(&self.filesystem)));
        match ready {
            Ok(Some(result)) => self.answer(&request, reply, |_| result, send),
            Ok(None) => self.wait(request, reply, work(), send),
            Err(_) => reply.refuse(Errno::EIO),
        }
    }
}

/// What a request is called in the log.
#[derive(Debug, Clone)]
struct Name {
    operation: &'static str,
    ino: Ino,
    /// The name in the directory `ino`, for operations on names.
    child: Option<Box<OsStr>>,
}

impl Name {
    fn new(operation: &'static str, ino: INodeNo) -> Self {
        Self {
            operation,
            ino: Ino(ino.0),
            child: None,
        }
    }

    fn child(operation: &'static str, parent: INodeNo, name: &OsStr) -> Self {
        Self {
            operation,
            ino: Ino(parent.0),
            child: Some(name.into()),
        }
    }
}

fn answer<T, R: Refuse>(
    filesystem: &Filesystem,
    request: &Name,
    reply: R,
    work: impl FnOnce(&Filesystem) -> Result<T>,
    send: impl FnOnce(T, R),
) {
    match catch_unwind(AssertUnwindSafe(|| work(filesystem))) {
        Ok(Ok(value)) => send(value, reply),
        Ok(Err(error)) => {
            log_failure(filesystem, request, &error);
            reply.refuse(Errno::from_i32(error.errno()));
        }
        Err(_) => {
            log::error!("{} of inode {} panicked", request.operation, request.ino);
            reply.refuse(Errno::EIO);
        }
    }
}

fn log_failure(filesystem: &Filesystem, request: &Name, error: &FsError) {
    // That nothing has a name, or that a new one is taken, is an answer and no fault.
    let level = match error.kind() {
        FsErrorKind::NotFound | FsErrorKind::Exists | FsErrorKind::NotEmpty => log::Level::Debug,
        _ => log::Level::Warn,
    };
    if !log::log_enabled!(level) {
        return;
    }
    let path = filesystem.describe(request.ino);
    let child = request
        .child
        .as_deref()
        .map(|name| name.as_bytes().escape_ascii().to_string());
    log::log!(
        level,
        "{} of {path}{}{} (inode {}): errno {}: {error}",
        request.operation,
        if child.is_some() { " entry " } else { "" },
        child.unwrap_or_default(),
        request.ino,
        error.errno(),
    );
}

impl fuser::Filesystem for FuseServer {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let wanted = [
            InitFlags::FUSE_AUTO_INVAL_DATA,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_ATOMIC_O_TRUNC,
            // Not FUSE_ASYNC_DIO: only after a direct write that it has waited for does the kernel drop the pages that others have read
            // meanwhile. They would be shown for as long as size and time, to the second, are the same.
        ];
        for flag in wanted {
            if config.add_capabilities(flag).is_err() {
                log::debug!("the kernel does not offer {flag:?}");
            }
        }
        // Each setter answers with the nearest value that the kernel takes.
        if let Err(nearest) = config.set_max_background(BACKGROUND_MAX) {
            log::debug!("max_background {nearest}");
        }
        if let Err(nearest) = config.set_max_write(WRITE_BYTES_MAX) {
            log::debug!("max_write {nearest}");
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let owned = name.as_bytes().to_vec();
        self.answer_or_wait(
            Name::child("lookup", parent, name),
            reply,
            |fs| fs.lookup_cached(Ino(parent.0), name.as_bytes()),
            move |fs| fs.lookup(Ino(parent.0), &owned),
            |found, reply| reply::found(&found, reply),
        );
    }

    fn forget(&self, _: &Request, ino: INodeNo, count: u64) {
        self.filesystem.forget(Ino(ino.0), count);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.answer_or_wait(
            Name::new("getattr", ino),
            reply,
            |fs| fs.getattr_cached(Ino(ino.0)),
            move |fs| fs.getattr(Ino(ino.0)),
            |(attr, ttl), reply| reply.attr(&ttl, &file_attr(&attr)),
        );
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let change = Change {
            mode,
            uid,
            gid,
            size,
            modified: mtime.map(new_time),
        };
        self.wait(
            Name::new("setattr", ino),
            reply,
            move |fs| fs.setattr(Ino(ino.0), &change, handle.map(|handle| HandleId(handle.0))),
            |attr, reply| reply.attr(&Duration::ZERO, &file_attr(&attr)),
        );
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        self.wait(
            Name::new("readlink", ino),
            reply,
            move |fs| fs.readlink(Ino(ino.0)),
            |target, reply| reply.data(&target),
        );
    }

    fn mknod(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        if mode & libc::S_IFMT != libc::S_IFREG {
            return reply.error(Errno::EPERM);
        }
        let owned = name.as_bytes().to_vec();
        self.wait(
            Name::child("mknod", parent, name),
            reply,
            move |fs| fs.make_file(Ino(parent.0), &owned, mode),
            |attr, reply| reply.entry(&Duration::ZERO, &file_attr(&attr), GENERATION),
        );
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let owned = name.as_bytes().to_vec();
        self.wait(
            Name::child("mkdir", parent, name),
            reply,
            move |fs| fs.mkdir(Ino(parent.0), &owned, mode),
            |attr, reply| reply.entry(&Duration::ZERO, &file_attr(&attr), GENERATION),
        );
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let owned = name.as_bytes().to_vec();
        let request = Name::child("unlink", parent, name);
        self.wait(
            request,
            reply,
            move |fs| fs.unlink(Ino(parent.0), &owned),
            |(), reply| reply.ok(),
        );
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let owned = name.as_bytes().to_vec();
        let request = Name::child("rmdir", parent, name);
        self.wait(
            request,
            reply,
            move |fs| fs.rmdir(Ino(parent.0), &owned),
            |(), reply| reply.ok(),
        );
    }

    fn symlink(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let owned = name.as_bytes().to_vec();
        let target = target.as_os_str().as_bytes().to_vec();
        self.wait(
            Name::child("symlink", parent, name),
            reply,
            move |fs| fs.symlink(Ino(parent.0), &owned, &target),
            |attr, reply| reply.entry(&Duration::ZERO, &file_attr(&attr), GENERATION),
        );
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mode = match flags {
            flags if flags.is_empty() => RenameMode::Replace,
            RenameFlags::RENAME_NOREPLACE => RenameMode::NoReplace,
            // FTP cannot exchange two names.
            _ => return reply.error(Errno::EINVAL),
        };
        let (from, to) = (name.as_bytes().to_vec(), new_name.as_bytes().to_vec());
        self.wait(
            Name::child("rename", parent, name),
            reply,
            move |fs| fs.rename((Ino(parent.0), &from), (Ino(new_parent.0), &to), mode),
            |(), reply| reply.ok(),
        );
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let thread = request.pid();
        self.wait(
            Name::new("open", ino),
            reply,
            move |fs| fs.open_by(Ino(ino.0), thread, open_mode(flags.0)),
            |opened, reply| reply.opened(FileHandle(opened.handle.0), open_flags(&opened)),
        );
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let owned = name.as_bytes().to_vec();
        let thread = request.pid();
        self.wait(
            Name::child("create", parent, name),
            reply,
            move |fs| fs.create_by(Ino(parent.0), &owned, thread, mode, open_mode(flags)),
            |(attr, opened), reply| {
                let handle = FileHandle(opened.handle.0);
                let flags = open_flags(&opened);
                reply.created(
                    &Duration::ZERO,
                    &file_attr(&attr),
                    GENERATION,
                    handle,
                    flags,
                );
            },
        );
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let size = size as usize;
        self.answer_or_wait(
            Name::new("read", ino),
            reply,
            |fs| fs.read_cached(HandleId(handle.0), offset, size),
            move |fs| fs.read(HandleId(handle.0), offset, size),
            |bytes, reply| reply.data(&bytes),
        );
    }

    fn write(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let thread = request.pid();
        let written = u32::try_from(data.len()).unwrap_or(u32::MAX);
        // Nearly always here and now: it goes into the spool, which waits for no network, and the data need not be copied for another
        // thread.
        self.answer_or_wait_for(
            Name::new("write", ino),
            reply,
            |fs| fs.write_cached_by(HandleId(handle.0), thread, offset, data),
            || {
                let data = data.to_vec();
                move |fs: &Filesystem| fs.write(HandleId(handle.0), offset, &data)
            },
            move |(), reply| reply.written(written),
        );
    }

    fn flush(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        _: LockOwner,
        reply: ReplyEmpty,
    ) {
        let thread = request.pid();
        self.answer_or_wait(
            Name::new("close", ino),
            reply,
            |fs| fs.flush_cached_by(HandleId(handle.0), thread),
            move |fs| fs.flush(HandleId(handle.0)),
            |(), reply| reply.ok(),
        );
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let filesystem = self.filesystem.clone();
        // However late: nobody else would let go of the handle.
        self.workers.run(move |_| {
            let release = |fs: &Filesystem| {
                fs.release(HandleId(handle.0));
                Ok(())
            };
            let request = Name::new("release", ino);
            answer(&filesystem, &request, reply, release, |(), reply| {
                reply.ok();
            });
        });
    }

    fn fsync(&self, _: &Request, ino: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        let request = Name::new("fsync", ino);
        self.wait(
            request,
            reply,
            move |fs| fs.fsync(HandleId(handle.0)),
            |(), reply| reply.ok(),
        );
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let opened = |fs: &Filesystem, handle: HandleId| {
            let flags = reply::dir_flags(fs.dir_pages(handle));
            (FileHandle(handle.0), flags)
        };
        self.answer_or_wait(
            Name::new("opendir", ino),
            reply,
            |fs| Some(Ok(opened(fs, fs.opendir_cached(Ino(ino.0))?))),
            move |fs| Ok(opened(fs, fs.opendir(Ino(ino.0))?)),
            |(handle, flags), reply| reply.opened(handle, flags),
        );
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let filled = catch_unwind(AssertUnwindSafe(|| {
            self.filesystem.readdir(
                Ino(ino.0),
                HandleId(handle.0),
                offset,
                &mut Plain(&mut reply),
            )
        }));
        self.answer(
            &Name::new("readdir", ino),
            reply,
            |_| unwound(filled),
            |(), reply| reply.ok(),
        );
    }

    fn readdirplus(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let filled = catch_unwind(AssertUnwindSafe(|| {
            self.filesystem.readdirplus(
                Ino(ino.0),
                HandleId(handle.0),
                offset,
                &mut Plus(&mut reply),
            )
        }));
        self.answer(
            &Name::new("readdir", ino),
            reply,
            |_| unwound(filled),
            |(), reply| reply.ok(),
        );
    }

    fn releasedir(
        &self,
        _: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.filesystem.releasedir(HandleId(handle.0));
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        // Names are changed on the server before the call that changes them returns.
        reply.ok();
    }

    fn statfs(&self, _: &Request, ino: INodeNo, reply: ReplyStatfs) {
        let send = |space, reply| reply::space(&space, reply);
        self.wait(Name::new("statfs", ino), reply, Filesystem::space, send);
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let Some(mode) = preallocate_mode(mode) else {
            return reply.error(Errno::EOPNOTSUPP);
        };
        let range = offset..offset.saturating_add(length);
        self.wait(
            Name::new("fallocate", ino),
            reply,
            move |fs| fs.fallocate(HandleId(handle.0), range, mode),
            |(), reply| reply.ok(),
        );
    }

    fn link(&self, _: &Request, _: INodeNo, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        // What link(2) says of a filesystem without hard links.
        reply.error(Errno::EPERM);
    }

    // The rest FTP does not have. ENOSYS makes the kernel answer in our place from then on: EOPNOTSUPP for extended attributes, its own
    // emulation for lseek and copy_file_range, "allowed" for access.

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn setxattr(
        &self,
        _: &Request,
        _ino: INodeNo,
        _name: &OsStr,
        _value: &[u8],
        _flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn getxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn listxattr(&self, _: &Request, _: INodeNo, _: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn removexattr(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn ioctl(
        &self,
        _: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        // Not ENOSYS: what isatty(3) and its like expect of a file.
        reply.error(Errno::ENOTTY);
    }

    fn lseek(&self, _: &Request, _: INodeNo, _: FileHandle, _: i64, _: i32, reply: ReplyLseek) {
        reply.error(Errno::ENOSYS);
    }

    fn copy_file_range(
        &self,
        _: &Request,
        _ino_in: INodeNo,
        _handle_in: FileHandle,
        _offset_in: u64,
        _ino_out: INodeNo,
        _handle_out: FileHandle,
        _offset_out: u64,
        _len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        reply.error(Errno::ENOSYS);
    }
}

/// A caught panic goes on in [`answer`], which turns it into EIO.
fn unwound(result: std::thread::Result<Result<()>>) -> Result<()> {
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
