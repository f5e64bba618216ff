//! Replacing a file as a whole: an upload to a temporary name, and a rename over the old one.

use std::sync::atomic::Ordering;

use super::{
    Filesystem, FsError, FsErrorKind, Result,
    file::{OpenFile, UploadJob},
    lookup::Intent,
    namespace::is_name_refusal,
    spool::Spool,
    streaming::CHUNK_BYTES,
    upload::check_size,
};
use crate::remote::{self, RemoteError, RemoteErrorKind, RemotePath, Settled, UploadMode};

impl Filesystem {
    /// The whole file, under a temporary name that then takes the old one's place.
    pub(super) fn replace(
        &self,
        file: &OpenFile,
        path: &RemotePath,
        job: &UploadJob,
    ) -> Result<Settled> {
        self.fetch_missing(file, path)?;
        let Some(dir) = path.parent() else {
            return Err(FsError::new(FsErrorKind::IsADirectory, path));
        };
        if self.learnt.no_rename.load(Ordering::Relaxed) {
            return self.write_in_place(file, path, job);
        }
        let mut was_broken = false;
        // Once more after a broken connection, once more for a server that forbids names with a dot.
        for _ in 0..3 {
            let had_dot = !self.learnt.no_dot_names.load(Ordering::Relaxed);
            let Some(temporary) = self.temporary_path(&dir) else {
                break;
            };
            let upload = match self.remote.open_upload(&temporary, UploadMode::Replace) {
                Ok(upload) => upload,
                Err(error) if is_name_refusal(&error) && had_dot => {
                    self.learn(|learnt| &learnt.no_dot_names, true);
                    continue;
                }
                Err(error) if is_name_refusal(&error) => break,
                Err(error) => {
                    // It may have begun all the same.
                    self.discard(temporary);
                    return Err(error.into());
                }
            };
            match self.send(file, 0..job.len, upload) {
                Ok(()) => return self.put_in_place(file, &temporary, path, job),
                Err(error) => {
                    self.discard(temporary);
                    if was_broken || error.kind() != RemoteErrorKind::Disconnected {
                        return Err(error.into());
                    }
                    was_broken = true;
                }
            }
        }
        self.learn(|learnt| &learnt.no_dot_names, false);
        log::debug!("{path}: no temporary name is allowed beside it; it is written in place");
        self.write_in_place(file, path, job)
    }

    fn write_in_place(
        &self,
        file: &OpenFile,
        path: &RemotePath,
        job: &UploadJob,
    ) -> Result<Settled> {
        let upload = self.remote.open_upload(path, UploadMode::Replace);
        upload
            .and_then(|upload| self.send(file, 0..job.len, upload))
            .map_err(|error| {
                // Unless the server did not let it begin.
                if !is_name_refusal(&error) {
                    file.lock().doubt_server();
                }
                self.explain(error, path, Intent::Upload)
            })?;
        let settled = self.settle(path, job)?;
        check_size(path, &settled, job.len)?;
        Ok(settled)
    }

    /// Gives a complete temporary file its attributes and its real name.
    pub(super) fn put_in_place(
        &self,
        file: &OpenFile,
        temporary: &RemotePath,
        path: &RemotePath,
        job: &UploadJob,
    ) -> Result<Settled> {
        let settled = if job.is_replacing() {
            self.take_place(file, temporary, path, job)
        } else {
            self.take_free_place(file, temporary, path, job)
        };
        let settled = settled.and_then(|settled| {
            self.check_name(path, |stored| self.remote.remove_file(stored))?;
            Ok(settled)
        });
        let Err(error) = settled else { return settled };
        self.discard(temporary.clone());
        if error.kind() == FsErrorKind::Unsupported {
            log::info!("this server does not rename ({error}): files are written in place");
            self.learn(|learnt| &learnt.no_rename, true);
            return self.write_in_place(file, path, job);
        }
        Err(error)
    }

    /// Renames a file over the old one, once it is known to be whole.
    fn take_place(
        &self,
        file: &OpenFile,
        temporary: &RemotePath,
        path: &RemotePath,
        job: &UploadJob,
    ) -> Result<Settled> {
        let settled = self.settle(temporary, job)?;
        check_size(temporary, &settled, job.len)?;
        file.lock().doubt_server();
        self.replace_by_rename(temporary, path, true)?;
        Ok(settled)
    }

    /// Renames a file to what nothing was called, and looks at once whether it is whole.
    fn take_free_place(
        &self,
        file: &OpenFile,
        temporary: &RemotePath,
        path: &RemotePath,
        job: &UploadJob,
    ) -> Result<Settled> {
        file.lock().doubt_server();
        let wanted = self.attributes(job);
        let (settled, renamed) = self.remote.settle_and_rename(temporary, path, &wanted)?;
        let settled = self.note_settled(path, settled);
        if let Err(error) = check_size(path, &settled, job.len) {
            // Here and now: later it could be what the next try has put there.
            if renamed.is_ok()
                && let Err(left) = self.remote.remove_file(path)
            {
                log::warn!("{path} is there in part until it is uploaded again: {left}");
            }
            return Err(error);
        }
        match self.assure_renamed(temporary, path, renamed) {
            Err(error) if error.kind() == RemoteErrorKind::Refused => {
                self.replace_by_rename(temporary, path, false)?;
            }
            renamed => renamed?,
        }
        Ok(settled)
    }

    /// Brings the bytes that only the server has into the spool.
    fn fetch_missing(&self, file: &OpenFile, path: &RemotePath) -> Result<()> {
        let missing = file
            .lock()
            .spool
            .as_ref()
            .map_or_else(Vec::new, Spool::missing);
        for gap in missing {
            let fetch = || -> remote::Result<()> {
                let mut download =
                    self.remote
                        .open_download(path, gap.start, Some(gap.end - gap.start))?;
                let mut buffer = vec![0; CHUNK_BYTES];
                let mut at = gap.start;
                loop {
                    let count = download.read(&mut buffer)?;
                    let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
                        break;
                    };
                    let mut state = file.lock();
                    state.moved = state.moved.wrapping_add(count as u64);
                    if let Some(spool) = state.spool.as_mut() {
                        spool.fill(at, bytes).map_err(|error| {
                            RemoteError::new(RemoteErrorKind::NoSpace, "RETR").with_source(error)
                        })?;
                    }
                    drop(state);
                    at += count as u64;
                }
                if at < gap.end {
                    return Err(RemoteError::new(RemoteErrorKind::Failed, "RETR")
                        .with_path(path)
                        .with_source(
                            "the file became shorter on the server while it was changed here",
                        ));
                }
                Ok(())
            };
            fetch().map_err(|error| self.explain(error, path, Intent::Content))?;
        }
        Ok(())
    }
}
