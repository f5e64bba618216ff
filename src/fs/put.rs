//! New files under their own names: small ones in one exchange, and any where no temporary name is of use.
//!
//! A file of that name is never written over: right before, the name must be free, or hold an empty file. When an upload breaks off,
//! nothing is removed, for what is there may be another's; the next try looks ([`super::doubt`]).

use std::sync::Arc;

use super::{
    Filesystem, FsError, FsErrorKind, Result,
    doubt::park,
    file::{Doubt, OpenFile, Stage, UploadJob, Want},
    lookup::Intent,
    namespace::is_name_refusal,
    upload::{Landed, PUT_BYTES_MAX},
};
use crate::remote::{
    Attributes, EntryKind, RemoteError, RemoteErrorKind, RemotePath, Settled, UploadMode,
};

/// How often a small file is sent whose connection breaks before anything has come of it. 3: one for a session that was dead, one for a
/// data connection that was.
const TRIES_MAX: usize = 3;

/// What a name holds for a file that is to be stored under it.
enum Place {
    /// Nothing, or a file without a byte.
    Free,
    /// A file, which is to be replaced.
    Taken,
}

impl Filesystem {
    /// A small file that is new or empty.
    pub(super) fn put(
        &self,
        file: &Arc<OpenFile>,
        path: &RemotePath,
        job: &mut UploadJob,
    ) -> Result<Landed> {
        match self.place(path, job)? {
            Place::Free => {}
            Place::Taken => return self.replace(file, path, job),
        }
        let mut tries = 1;
        loop {
            let error = match self.put_once(file, path, job) {
                Ok(settled) => {
                    self.check_name(path, |stored| self.remote.remove_file(stored))?;
                    match self.settle_stored(path, job, settled) {
                        Ok(landed) => return Ok(landed),
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            if error.kind() == RemoteErrorKind::Disconnected && tries < TRIES_MAX {
                log::debug!("{path}: {error}; looking what has become of it");
                tries += 1;
                match self.look_after(file, path, job, error)? {
                    Some(landed) => return Ok(landed),
                    None => continue,
                }
            }
            // A server that does not let files be overwritten may let them be replaced.
            if error.kind() == RemoteErrorKind::Refused && job.base.is_some() {
                return self.replace(file, path, job);
            }
            return Err(self.put_failed(file, path, job, &error));
        }
    }

    /// Looks what has come of an upload that broke off, and goes on with that; `None` when nothing has, so that it is sent once more.
    fn look_after(
        &self,
        file: &Arc<OpenFile>,
        path: &RemotePath,
        job: &mut UploadJob,
        error: RemoteError,
    ) -> Result<Option<Landed>> {
        let sent = self.note_broken(file, job, &error);
        let Ok(told) = self.ask_version(path) else {
            return Err(error.into());
        };
        let Some(told) = told else {
            let stage = file.lock().doubt.stage();
            return match stage {
                Stage::Unheard => Ok(None),
                Stage::Begun => Err(park(file, path)),
                Stage::Confirmed => Ok(Some(Landed::Taken)),
            };
        };
        if !self.is_new_ours(file, path, told, job, sent.as_deref())? {
            // Before it was begun the name was free, or the file empty.
            return match job.want() {
                Want::Any => self.replace(file, path, job).map(Some),
                Want::Absent | Want::Base => Err(self.conflict(path)),
            };
        }
        job.base = Some(self.base_told(told, None));
        if told.size == job.len && job.dirty.is_empty() {
            let settled = self.settle(path, self.attributes(job))?;
            return Ok(Some(Landed::There(settled)));
        }
        self.replace(file, path, job).map(Some)
    }

    /// Keeps in mind that a part of the file may be there; returns what was sent, if it is small.
    fn note_broken(
        &self,
        file: &OpenFile,
        job: &UploadJob,
        error: &RemoteError,
    ) -> Option<Arc<[u8]>> {
        let (was, sent) = match &file.lock().doubt {
            Doubt::New { stage, sent } => (*stage, sent.clone()),
            _ => (Stage::Unheard, None),
        };
        let stage = match was {
            Stage::Confirmed => Stage::Confirmed,
            _ if error.has_begun() && error.is_reply_lost() => Stage::Begun,
            _ => Stage::Unheard,
        };
        let is_small = job.len <= PUT_BYTES_MAX;
        let copy = || self.spooled(file, 0..job.len).ok().map(Arc::from);
        let sent = sent.or_else(|| is_small.then(copy).flatten());
        file.lock().doubt = Doubt::New {
            stage,
            sent: sent.clone(),
        };
        sent
    }

    /// Sends the file; it may have been settled as well.
    fn put_once(
        &self,
        file: &OpenFile,
        path: &RemotePath,
        job: &UploadJob,
    ) -> std::result::Result<Option<Settled>, RemoteError> {
        let data = self.spooled(file, 0..job.len).map_err(|error| {
            RemoteError::new(RemoteErrorKind::NoSpace, "STOR").with_source(error)
        })?;
        let wanted = self.attributes(job);
        // A refused upload may leave them to the file that is there: never to one that is known to be.
        let along = if job.base.is_none() {
            wanted
        } else {
            Attributes::default()
        };
        let settled = self.remote.put(path, &data, &along)?;
        // Until it is known to be whole.
        let mut state = file.lock();
        state.doubt = Doubt::New {
            stage: Stage::Confirmed,
            sent: Some(data.into()),
        };
        state.note_sent(job.len);
        drop(state);
        Ok(settled.filter(|_| along == wanted))
    }

    fn settle_stored(
        &self,
        path: &RemotePath,
        job: &UploadJob,
        settled: Option<Settled>,
    ) -> std::result::Result<Landed, RemoteError> {
        let settled = match settled {
            Some(settled) => settled,
            None => self.remote.settle(path, &self.attributes(job))?,
        };
        self.confirm(path, job, settled)
    }

    /// Makes sure that a file which the server has confirmed is there under its name and whole, or was taken away.
    fn confirm(
        &self,
        path: &RemotePath,
        job: &UploadJob,
        settled: Settled,
    ) -> std::result::Result<Landed, RemoteError> {
        let settled = self.note_settled(path, settled);
        match &settled.size {
            Err(error) if error.kind() == RemoteErrorKind::Refused => {
                if self.is_gone(path) {
                    if let Some(dir) = path.parent() {
                        self.account.note_taken(&dir);
                    }
                    return Ok(Landed::Taken);
                }
                Err(error.clone())
            }
            Err(error) => Err(error.clone()),
            Ok(Some(size)) if *size != job.len => {
                log::error!("{path}: the server has {size} bytes of {}", job.len);
                Err(RemoteError::new(RemoteErrorKind::Failed, "STOR")
                    .with_path(path)
                    .with_source("the server has another size"))
            }
            Ok(_) => Ok(Landed::There(settled)),
        }
    }

    /// Any new file, under its own name, its bytes after the server's go-ahead.
    pub(super) fn store(
        &self,
        file: &Arc<OpenFile>,
        path: &RemotePath,
        job: &mut UploadJob,
    ) -> Result<Landed> {
        let mut tries = 1;
        let upload = loop {
            if let Place::Taken = self.place(path, job)? {
                return Err(no_replacing(path));
            }
            match self.remote.open_upload(path, UploadMode::New) {
                Ok(upload) => break upload,
                Err(error)
                    if error.kind() == RemoteErrorKind::Disconnected && tries < TRIES_MAX =>
                {
                    // What was asked before it broke counts no more.
                    job.free_at = None;
                    tries += 1;
                }
                Err(error) => return Err(self.put_failed(file, path, job, &error)),
            }
        };
        let begun = |stage| Doubt::New { stage, sent: None };
        file.lock().doubt = begun(Stage::Begun);
        if let Err(error) = self.send(file, 0..job.len, upload) {
            return Err(self.put_failed(file, path, job, &error));
        }
        file.lock().doubt = begun(Stage::Confirmed);
        self.check_name(path, |stored| self.remote.remove_file(stored))?;
        self.settle_stored(path, job, None)
            .map_err(|error| self.put_failed(file, path, job, &error))
    }

    /// What is under the name now.
    fn place(&self, path: &RemotePath, job: &UploadJob) -> Result<Place> {
        if job.base.is_none() && job.free_at.is_some_and(|asked| self.is_evidence(asked)) {
            return Ok(Place::Free);
        }
        let Some(entry) = self.look(path)? else {
            return Ok(Place::Free);
        };
        if entry.kind == EntryKind::Directory {
            return Err(FsError::new(FsErrorKind::IsADirectory, path));
        }
        match job.want() {
            Want::Absent => Err(self.conflict(path)),
            Want::Any | Want::Base if entry.kind == EntryKind::File && entry.size == Some(0) => {
                Ok(Place::Free)
            }
            Want::Any | Want::Base => Ok(Place::Taken),
        }
    }

    /// Keeps in mind that a part of the file may be there, unless the server did not let it begin.
    fn put_failed(
        &self,
        file: &OpenFile,
        path: &RemotePath,
        job: &UploadJob,
        error: &RemoteError,
    ) -> FsError {
        if !is_name_refusal(error) {
            self.note_broken(file, job, error);
        }
        self.explain(error.clone(), path, Intent::Upload)
    }
}

/// The failure of an upload over a file that exists, by an account that may not rename.
pub(super) fn no_replacing(path: &RemotePath) -> FsError {
    log::error!(
        "{path} is not overwritten: this account may not rename, so the old file could be lost (give it that right, or remove the file first)"
    );
    FsError::new(FsErrorKind::AccessDenied, path)
}
