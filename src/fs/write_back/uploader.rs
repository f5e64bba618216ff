//! From spool to server: the cheapest plan that cannot lose bytes.
//!
//! | what was changed | plan |
//! |---|---|
//! | everything, in order, and large | the stream that has run meanwhile, then a rename |
//! | a new (or empty) small file | one STOR under its own name |
//! | only bytes behind the old end | APPE of the tail |
//! | some ranges of a large file, none at its start | REST + STOR of these, where the server is known to keep the rest |
//! | mode or time only | these |
//! | anything else | the whole file under a hidden name, then a rename over the old one |
//!
//! Every plan ends with the size that the server reports. The spool keeps the bytes until then.

use std::sync::Arc;

use super::{
    append::append,
    conflict,
    doubt::resolve,
    patch::patch,
    private::close_first,
    put::put,
    replace::{put_in_place, replace},
    store::PUT_BYTES_MAX,
    upload::{Landed, Upload},
};
use crate::{
    cache::{FileId, ReadEngine},
    config::OnConflict,
    fs::{
        error::{FsError, FsErrorKind, Result},
        file::OpenFile,
        inode::Inodes,
        job::{UploadEnd, UploadJob},
        on_server::Base,
        server::Server,
        spool::SpoolLimits,
    },
    remote::{
        EntryKind, Modified, Precision, RemoteEntry, RemoteError, RemoteErrorKind, RemotePath,
        Reported, Settled,
    },
};

/// Smaller files are replaced as a whole, which is safe and as quick.
const PATCH_BYTES_MIN: u64 = 1 << 20;

/// More ranges than this cost more round trips than the whole file.
const PATCH_RANGES_MAX: usize = 64;

#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Attributes,
    Stream,
    Put,
    Append,
    Patch,
    Whole,
}

/// Brings files to the server.
#[derive(Debug)]
pub(super) struct Uploader {
    server: Arc<Server>,
    inodes: Arc<Inodes>,
    engine: Arc<ReadEngine>,
    limits: SpoolLimits,
    on_conflict: OnConflict,
}

impl Uploader {
    /// To `server`; what is read of a file that has changed is forgotten in `engine`.
    pub(super) fn new(
        server: Arc<Server>,
        inodes: Arc<Inodes>,
        engine: Arc<ReadEngine>,
        limits: SpoolLimits,
        on_conflict: OnConflict,
    ) -> Self {
        Self {
            server,
            inodes,
            engine,
            limits,
            on_conflict,
        }
    }

    /// Brings a file to the server, if the server lacks anything of it.
    pub(super) fn upload(&self, file: &Arc<OpenFile>) -> Result<()> {
        let Some(job) = file.begin_upload() else {
            return Ok(());
        };
        let Some(path) = self.inodes.path(file.ino) else {
            file.end_upload(&job, UploadEnd::Failed);
            return Err(FsError::stale());
        };
        let mut upload = Upload::new(&self.server, &self.limits, file, &path, job);
        let (held, moved) = {
            let state = file.lock();
            (state.failure.held().cloned(), state.traffic.moved())
        };
        if let Some(failure) = held {
            return Err(failure);
        }
        self.server.holds().check(&path)?;
        let freed = self.server.room().freed();
        // Before, should this be the last that the program does; and after, should a program have read meanwhile.
        self.engine.forget(&path);
        let landed = match self.run_plan(&mut upload) {
            Err(error) if error.kind() == FsErrorKind::Conflict => {
                conflict::resolve(&mut upload, self.on_conflict, error)
            }
            landed => landed,
        };
        self.engine.forget(&path);
        // A failure is the caller's to log: most answer a program, and `fuse` says it then.
        let landed = match landed {
            Ok(landed) => landed,
            Err(error) => {
                if let Some(error) = error.remote() {
                    // Of a file under a hidden name, that name.
                    self.server
                        .holds()
                        .hold(error, &[error.path().unwrap_or(&path)]);
                }
                let mut state = file.lock();
                let bytes = state.traffic.moved().wrapping_sub(moved);
                state.failure.note(error.clone(), bytes, freed);
                drop(state);
                drop(upload);
                // What is known of the file may not be so any more.
                self.server.kernel().forget_name(&path);
                return Err(error);
            }
        };
        self.engine.invalidate(FileId(file.ino.0));
        if upload.job.len < upload.job.old_len() {
            self.server.room().note_freed();
        }
        let debts = self.server.hidden().debts();
        debts.note_success();
        let done = match landed {
            Landed::There(settled) => {
                if upload.job.is_emptied {
                    debts.note_replaced(&path, upload.job.len);
                }
                Some(self.record(&path, &upload.job, &settled))
            }
            Landed::Taken => {
                self.server.tree().leave(&path);
                None
            }
        };
        upload.end(UploadEnd::Done(done));
        Ok(())
    }

    fn run_plan(&self, upload: &mut Upload<'_>) -> Result<Landed> {
        if let Some(landed) = resolve(upload)? {
            return Ok(landed);
        }
        let plan = self.plan(upload.path, &upload.job);
        log::debug!(
            "upload of {}, {} bytes: {plan:?}",
            upload.path,
            upload.job.len
        );
        if matches!(plan, Plan::Put | Plan::Append | Plan::Patch) {
            close_first(upload)?;
        }
        match plan {
            Plan::Attributes => set_attributes(upload),
            Plan::Stream => finish_stream(upload),
            Plan::Put => put(upload),
            Plan::Append => append(upload),
            Plan::Patch => patch(upload),
            Plan::Whole => replace(upload),
        }
    }

    fn plan(&self, path: &RemotePath, job: &UploadJob) -> Plan {
        let old_len = job.old_len();
        if job.stream.is_some() {
            return Plan::Stream;
        }
        if job.base.is_some() && job.dirty.is_empty() && job.len == old_len {
            return Plan::Attributes;
        }
        if old_len == 0 || job.base.is_none() {
            return if job.len <= PUT_BYTES_MAX {
                Plan::Put
            } else {
                Plan::Whole
            };
        }
        if job.is_emptied {
            return Plan::Whole;
        }
        let is_tail = job.len > old_len && job.dirty.iter().all(|range| range.start >= old_len);
        if is_tail && self.server.learnt().appends() {
            return Plan::Append;
        }
        let is_patch = job.len >= old_len
            && old_len >= PATCH_BYTES_MIN
            && job.dirty.bytes() <= job.len / 2
            && job.dirty.iter().count() <= PATCH_RANGES_MAX
            // FTP has no way to write the first bytes alone.
            && job.dirty.iter().all(|range| range.start > 0);
        if is_patch && self.server.may_patch(path) {
            Plan::Patch
        } else {
            Plan::Whole
        }
    }

    /// Enters what is on the server now into the listing, and returns it.
    fn record(&self, path: &RemotePath, job: &UploadJob, settled: &Settled) -> Base {
        let old_mode = job.base.as_ref().and_then(|base| base.mode);
        let mode = job
            .wanted
            .mode
            .filter(|_| settled.mode.is_ok())
            .or(old_mode);
        let mode = mode
            .filter(|_| self.server.learnt().sets_modes())
            .or(old_mode);
        let shown = settled.report.modified.unwrap_or(Modified {
            precision: Precision::Minute,
            ..self.server.tree().wall().into()
        });
        if let (Some(dir), Some(name)) = (path.parent(), path.name()) {
            let mut entry = RemoteEntry::new(name, EntryKind::File);
            entry.size = Some(job.len);
            entry.modified = Some(shown);
            entry.mode = mode;
            self.server.tree().listings().upsert(&dir, entry);
            if job.base.is_none() {
                self.server.tree().touch_dir(&dir);
            }
        }
        // Not what this machine's clock says: the file is known again by its time.
        let reported = Reported {
            size: job.len,
            modified: settled.report.modified,
        };
        let asked = settled.report.asked;
        self.server.versions().base(reported, asked, mode)
    }
}

/// Mode and time only, of the file that is there now.
fn set_attributes(upload: &Upload<'_>) -> Result<Landed> {
    let evidence = upload.server.evidence().look(upload.path)?;
    if evidence.is_absent() {
        return Err(FsError::new(FsErrorKind::NotFound, upload.path));
    }
    upload.settle_seen(&evidence).map(Landed::There)
}

fn finish_stream(upload: &mut Upload<'_>) -> Result<Landed> {
    let Some(stream) = upload.job.stream.take() else {
        return replace(upload);
    };
    match stream.finish(upload.job.len) {
        Ok(hidden) => put_in_place(upload, &hidden),
        Err(error) if is_out_of_space(&error) || has_timed_out(&error) => Err(error.into()),
        Err(error) => {
            log::debug!("{} goes up again as a whole: {error}", upload.path);
            replace(upload)
        }
    }
}

fn has_timed_out(error: &RemoteError) -> bool {
    matches!(error.kind(), RemoteErrorKind::TimedOut(_))
}

fn is_out_of_space(error: &RemoteError) -> bool {
    matches!(
        error.kind(),
        RemoteErrorKind::NoSpace | RemoteErrorKind::QuotaExceeded
    )
}
