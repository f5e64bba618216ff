//! Replacing a file as a whole: an upload to a temporary name, and a rename over the old one.
//!
//! The old file is touched by that rename only, when the temporary file is known to be whole and the old one to be what the new one was
//! made from. A refusal of the temporary name never leads to writing over the old file: it may mean a full disk.

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering},
};

use super::{
    Filesystem, FsError, FsErrorKind, Result,
    doubt::{Told, is_still},
    file::{Doubt, OpenFile, UploadJob, Want},
    lookup::Intent,
    namespace::is_name_refusal,
    put::no_replacing,
    spool::Spool,
    streaming::CHUNK_BYTES,
    upload::{Landed, check_size},
};
use crate::{
    cache::Version,
    remote::{self, RemoteEntry, RemoteError, RemoteErrorKind, RemotePath, Settled, UploadMode},
};

/// What a trial on a file of our own has shown of renaming.
enum Renaming {
    /// It works; the file is called so now.
    Works(RemotePath),
    /// The server knows no renaming.
    Unknown,
    /// It is refused.
    Refused,
}

impl Filesystem {
    /// The whole file, under a temporary name that then takes the old one's place.
    pub(super) fn replace(
        &self,
        file: &Arc<OpenFile>,
        path: &RemotePath,
        job: &mut UploadJob,
    ) -> Result<Landed> {
        let fetched = self.fetch_missing(file, path, job)?;
        let placed = self.replace_by(file, path, job);
        if matches!(&placed, Err(error) if error.kind() == FsErrorKind::Conflict)
            && let Some(spool) = file.lock().spool.as_mut()
        {
            // These are another's, as it turned out.
            spool.forget_fetched(&fetched);
        }
        placed
    }

    /// The same, once all bytes are here.
    fn replace_by(
        &self,
        file: &Arc<OpenFile>,
        path: &RemotePath,
        job: &mut UploadJob,
    ) -> Result<Landed> {
        let Some(dir) = path.parent() else {
            return Err(FsError::new(FsErrorKind::IsADirectory, path));
        };
        if self.learnt.no_rename.load(Ordering::Relaxed) {
            return self.write_in_place(file, path, job);
        }
        let is_shown = !self.account.hides_new_files(&dir);
        if is_shown && (job.want() == Want::Absent || self.look(path)?.is_none()) {
            return self.store(file, path, job);
        }
        if !self.account.may_rename() {
            return Err(no_replacing(path));
        }
        let temporary = self.send_temporary(file, path, &dir, job)?;
        self.put_in_place(file, &temporary, path, job)
    }

    /// Uploads the whole file under a temporary name.
    fn send_temporary(
        &self,
        file: &OpenFile,
        path: &RemotePath,
        dir: &RemotePath,
        job: &UploadJob,
    ) -> Result<RemotePath> {
        let mut was_broken = false;
        let mut refused = None;
        // Once more after a broken connection, once more for a server that forbids names with a dot.
        for _ in 0..3 {
            let has_dot = !self.learnt.no_dot_names.load(Ordering::Relaxed) && refused.is_none();
            let temporary = self
                .temporary_path(dir, has_dot)
                .ok_or_else(|| FsError::new(FsErrorKind::NameTooLong, path))?;
            let upload = match self.remote.open_upload(&temporary, UploadMode::Replace) {
                Ok(upload) => upload,
                Err(error) if is_name_refusal(&error) && has_dot => {
                    refused = Some(error);
                    continue;
                }
                Err(error) if is_name_refusal(&error) => {
                    log::warn!(
                        "{path} is not replaced: no temporary file can be made beside it ({error}); it needs the right to make files in {dir}, and room on the server's disk"
                    );
                    return Err(self.explain(error, path, Intent::Upload));
                }
                Err(error) => {
                    // It may have begun all the same.
                    self.discard(temporary);
                    return Err(error.into());
                }
            };
            if refused.is_some() {
                self.learn(|learnt| &learnt.no_dot_names, true);
            }
            match self.send(file, 0..job.len, upload) {
                Ok(()) => return Ok(temporary),
                Err(error) => {
                    self.discard(temporary);
                    if was_broken || error.kind() != RemoteErrorKind::Disconnected {
                        return Err(error.into());
                    }
                    was_broken = true;
                }
            }
        }
        Err(FsError::new(FsErrorKind::Io, path))
    }

    /// Writes over the file itself, on a server that cannot rename at all.
    fn write_in_place(
        &self,
        file: &OpenFile,
        path: &RemotePath,
        job: &UploadJob,
    ) -> Result<Landed> {
        if job.want() != Want::Any && !is_still(self.told_now(path, job)?, job) {
            return Err(self.conflict(path));
        }
        // Until all of it has been confirmed, anything may be there.
        let before = std::mem::replace(&mut file.lock().doubt, Doubt::InPlace);
        let upload = match self.remote.open_upload(path, UploadMode::Replace) {
            Ok(upload) => upload,
            Err(error) => {
                if error.is_answer() {
                    file.lock().doubt = before;
                }
                return Err(self.explain(error, path, Intent::Upload));
            }
        };
        self.send(file, 0..job.len, upload)
            .map_err(|error| self.explain(error, path, Intent::Upload))?;
        let settled = self.settle(path, self.attributes(job))?;
        check_size(path, &settled, job.len)?;
        Ok(Landed::There(settled))
    }

    /// Gives a complete temporary file its attributes and its real name.
    pub(super) fn put_in_place(
        &self,
        file: &Arc<OpenFile>,
        temporary: &RemotePath,
        path: &RemotePath,
        job: &mut UploadJob,
    ) -> Result<Landed> {
        let mut temporary = temporary.clone();
        let placed = self.take_place(file, &temporary, path, job);
        let placed = placed.and_then(|landed| {
            self.check_name(path, |stored| self.remote.remove_file(stored))?;
            Ok(landed)
        });
        let error = match placed {
            Ok(Landed::There(settled)) => return Ok(Landed::There(settled)),
            Ok(Landed::Taken) => {
                self.discard(temporary);
                return self.store_where_files_are_taken(file, path, job);
            }
            Err(error) => error,
        };
        let refused = error
            .remote()
            .filter(|error| error.is_answer() && matches!(error.command(), "RNFR" | "RNTO"));
        if refused.is_none() {
            self.discard(temporary);
            return Err(error);
        }
        match self.try_renaming(&temporary) {
            Renaming::Works(path) => temporary = path,
            Renaming::Refused => {
                self.account.note_no_rename();
                self.discard(temporary);
                return match job.want() {
                    Want::Base => Err(no_replacing(path)),
                    Want::Absent | Want::Any => self.store(file, path, job),
                };
            }
            Renaming::Unknown => {
                log::info!("this server does not rename ({error}): files are written in place");
                self.learn(|learnt| &learnt.no_rename, true);
                self.discard(temporary);
                return self.write_in_place(file, path, job);
            }
        }
        self.discard(temporary);
        Err(error)
    }

    /// After the temporary file was taken away: under its own name the file is what the server expects.
    fn store_where_files_are_taken(
        &self,
        file: &Arc<OpenFile>,
        path: &RemotePath,
        job: &mut UploadJob,
    ) -> Result<Landed> {
        let dir = path.parent().unwrap_or_else(RemotePath::root);
        self.account.note_taken(&dir);
        if self.look(path)?.is_some() {
            log::error!("{path} is not replaced: the server takes the temporary file away");
            return Err(FsError::new(FsErrorKind::Unconfirmed, path));
        }
        self.store(file, path, job)
    }

    /// Tries on a temporary file whether anything can be renamed, after a rename of it was refused: that may have had a reason of its own.
    fn try_renaming(&self, temporary: &RemotePath) -> Renaming {
        let dir = temporary.parent().unwrap_or_else(RemotePath::root);
        let has_dot = temporary.name().is_some_and(|name| name.starts_with(b"."));
        let Some(other) = self.temporary_path(&dir, has_dot) else {
            return Renaming::Works(temporary.clone());
        };
        match self.remote.rename(temporary, &other) {
            Ok(()) => Renaming::Works(other),
            Err(error) if !error.is_answer() => Renaming::Works(temporary.clone()),
            Err(error)
                if error.command() == "RNFR" && error.kind() == RemoteErrorKind::Unsupported =>
            {
                Renaming::Unknown
            }
            // Busy, or a failure of the moment.
            Err(error) if !is_name_refusal(&error) => Renaming::Works(temporary.clone()),
            Err(_) => Renaming::Refused,
        }
    }

    /// Renames a file to the real name, once it is known to be whole, and the name to hold what it may take the place of.
    fn take_place(
        &self,
        file: &OpenFile,
        temporary: &RemotePath,
        path: &RemotePath,
        job: &mut UploadJob,
    ) -> Result<Landed> {
        self.keep_mode(path, job)?;
        let (settled, told) = self.settle_beside(temporary, path, job)?;
        if matches!(&settled.size, Err(error) if error.kind() == RemoteErrorKind::Refused)
            && self.is_gone(temporary)
        {
            return Ok(Landed::Taken);
        }
        check_size(temporary, &settled, job.len)?;
        let is_free = match told {
            Ok(told) if job.want() == Want::Any || is_still(told, job) => told.is_none(),
            Ok(_) => return Err(self.conflict(path)),
            Err(error) => return Err(error),
        };
        file.lock().doubt = Doubt::Placed(Version {
            size: job.len,
            modified: settled.seen_modified,
            epoch: 0,
        });
        self.replace_by_rename(temporary, path, !is_free)?;
        Ok(Landed::There(settled))
    }

    /// The mode that the old file has now is that of the new one, unless a program has set another.
    fn keep_mode(&self, path: &RemotePath, job: &mut UploadJob) -> Result<()> {
        let has_mode = !self.learnt.no_mode.load(Ordering::Relaxed);
        if let Some(base) = job.base.as_mut()
            && job.wanted.mode.is_none()
            && has_mode
            && !(base.is_mode_asked && self.is_recent(base))
            && let Some(entry) = self.look(path)?
        {
            base.mode = entry.mode.or(base.mode);
        }
        Ok(())
    }

    /// Gives the temporary file its attributes, and asks what both names hold, in one exchange where the server takes that.
    fn settle_beside(
        &self,
        temporary: &RemotePath,
        path: &RemotePath,
        job: &UploadJob,
    ) -> Result<(Settled, Result<Option<Told>>)> {
        let attributes = self.attributes_of_new(job);
        let (settled, beside) = self.remote.settle_beside(temporary, &attributes, path)?;
        let settled = self.note_settled(temporary, settled);
        let told = match beside {
            Ok(None) => Ok(None),
            Ok(Some(entry)) if entry.is_dir() => Err(FsError::new(FsErrorKind::IsADirectory, path)),
            Ok(Some(RemoteEntry {
                size: Some(size),
                modified,
                ..
            })) => Ok(Some(Told { size, modified })),
            // It has to be asked in another way.
            Ok(Some(_)) | Err(_) => self.ask_version(path),
        };
        let is_listed = job.base.as_ref().is_some_and(|base| base.asked.is_none());
        let told = match told {
            Ok(Some(_)) if is_listed && job.want() == Want::Base => self.told_now(path, job),
            told => told,
        };
        Ok((settled, told))
    }

    /// Brings the bytes that only the server has into the spool, and returns where they are. They must be those of the version that was
    /// changed here.
    fn fetch_missing(
        &self,
        file: &Arc<OpenFile>,
        path: &RemotePath,
        job: &UploadJob,
    ) -> Result<Vec<Range<u64>>> {
        let missing = file
            .lock()
            .spool
            .as_ref()
            .map_or_else(Vec::new, Spool::missing);
        if missing.is_empty() {
            return Ok(missing);
        }
        if !job.base.as_ref().is_some_and(|base| self.is_recent(base)) {
            let told = self.told_now(path, job)?;
            if told.is_none() {
                return Err(FsError::new(FsErrorKind::NotFound, path));
            }
            if !is_still(told, job) {
                return Err(self.conflict(path));
            }
        }
        for gap in &missing {
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
            if let Err(error) = fetch() {
                let is_other = matches!(self.told_now(path, job), Ok(told) if !is_still(told, job));
                return Err(if is_other {
                    self.conflict(path)
                } else {
                    self.explain(error, path, Intent::Content)
                });
            }
        }
        Ok(missing)
    }
}
