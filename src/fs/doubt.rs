//! What has become of a change whose outcome was not known: looked up before anything else is sent.
//!
//! | the change | it is ours, and is gone on with, when the server has |
//! |---|---|
//! | a new file under its own name | a beginning of its bytes |
//! | an append | the old size, then a beginning of the tail |
//! | ranges inside | the old size: they are written once more |
//! | a whole new file that was to take the name | that file, or the one before |
//!
//! Anything else was made by others, and stays.

use std::ops::Range;

use super::{
    Filesystem, FsError, FsErrorKind, Result,
    file::{Base, Doubt, OpenFile, UploadJob},
    lookup::Intent,
    streaming::CHUNK_BYTES,
};
use crate::{
    cache::Version,
    remote::{Attributes, EntryKind, Modified, RemoteErrorKind, RemotePath},
};

/// Size and time of a file, as the server has just told them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) size: u64,
    pub(super) modified: Option<Modified>,
}

impl Told {
    /// Whether this is that version, as far as both are known.
    pub(super) fn is(&self, version: &Version) -> bool {
        let agrees = match (self.modified, version.modified) {
            (Some(one), Some(other)) => one.agrees_with(other),
            _ => true,
        };
        self.size == version.size && agrees
    }
}

impl Filesystem {
    /// Asks for a file's size and time; `None` when it is not there.
    pub(super) fn ask_version(&self, path: &RemotePath) -> Result<Option<Told>> {
        let settled = self.remote.settle(path, &Attributes::default())?;
        match settled.size {
            Ok(Some(size)) => Ok(Some(Told {
                size,
                modified: settled.seen_modified,
            })),
            // The server tells sizes in listings only.
            Ok(None) => {
                if let Some(dir) = path.parent() {
                    self.listings.refetch(&*self.remote, &dir)?;
                }
                let Some(entry) = self.look(path)? else {
                    return Ok(None);
                };
                let size = entry.size.ok_or_else(|| unknown_size(path))?;
                let modified = settled.seen_modified.or(entry.modified);
                Ok(Some(Told { size, modified }))
            }
            Err(error) if error.kind() == RemoteErrorKind::Refused => match self.look_now(path)? {
                None => Ok(None),
                Some(entry) if entry.kind == EntryKind::Directory => {
                    Err(FsError::explained(FsErrorKind::IsADirectory, error))
                }
                Some(_) => Err(self.explain(error, path, Intent::Content)),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Finds out what has become of the change that was under way, and makes the job fit that.
    pub(super) fn resolve(
        &self,
        file: &OpenFile,
        path: &RemotePath,
        job: &mut UploadJob,
    ) -> Result<()> {
        let doubt = std::mem::take(&mut job.doubt);
        let may_be_taken = doubt == Doubt::New { has_begun: true };
        if doubt == Doubt::No || job.is_emptied && !may_be_taken {
            return Ok(());
        }
        let told = self.ask_version(path)?;
        let is_ours = match (doubt, told) {
            (Doubt::No, _) => true,
            (Doubt::New { has_begun: true }, None) => return Err(park(file, path)),
            (_, None) => {
                job.base = None;
                return Ok(());
            }
            _ if job.is_emptied => return Ok(()),
            (Doubt::New { .. }, Some(told)) => {
                let is_ours = self.holds_ours(file, path, 0..told.size, job)?;
                if is_ours {
                    job.dirty.remove(0..told.size);
                }
                is_ours
            }
            (Doubt::Append { at, tail }, Some(told)) if told.size >= at => {
                let range = at..told.size;
                let is_there = self.holds_ours(file, path, range.clone(), job)?;
                if is_there {
                    job.dirty.remove(range.clone());
                }
                let tail = tail.as_deref().unwrap_or_default();
                is_there || self.holds_bytes(path, range, tail)?
            }
            // It was cut off or replaced since: the tail goes behind its present end.
            (Doubt::Append { .. }, Some(_)) => true,
            (Doubt::Patch, Some(told)) => (job.old_len()..=job.len).contains(&told.size),
            (Doubt::Placed(version), Some(told)) => {
                told.is(&version) || job.base.as_ref().is_some_and(|base| told.is(&base.version))
            }
        };
        match told {
            Some(told) if is_ours => {
                let mode = job.base.as_ref().and_then(|base| base.mode);
                job.base = Some(self.base_told(told, mode));
                Ok(())
            }
            _ => Err(self.conflict(path)),
        }
    }

    /// What the server has just told of a file.
    pub(super) fn base_told(&self, told: Told, mode: Option<u32>) -> Base {
        let version = Version {
            size: told.size,
            modified: told.modified,
            epoch: self.next_epoch(),
        };
        Base {
            version,
            mode,
            asked: Some(self.clock.now()),
        }
    }

    /// Whether the server's bytes in this range are those that are here.
    pub(super) fn holds_ours(
        &self,
        file: &OpenFile,
        path: &RemotePath,
        range: Range<u64>,
        job: &UploadJob,
    ) -> Result<bool> {
        if range.end > job.len {
            return Ok(false);
        }
        self.compare(path, range, |part, theirs| {
            Ok(self.spooled(file, part)? == theirs)
        })
    }

    /// Whether the server's bytes in this range are a beginning of these.
    fn holds_bytes(&self, path: &RemotePath, range: Range<u64>, bytes: &[u8]) -> Result<bool> {
        let start = range.start;
        if range.end - start > bytes.len() as u64 {
            return Ok(false);
        }
        let index = |at: u64| usize::try_from(at - start).unwrap_or(usize::MAX);
        self.compare(path, range, |part, theirs| {
            Ok(bytes.get(index(part.start)..index(part.end)) == Some(theirs))
        })
    }

    /// Reads a range of a file on the server, and asks of each piece whether it is the right one.
    pub(super) fn compare(
        &self,
        path: &RemotePath,
        range: Range<u64>,
        is_right: impl Fn(Range<u64>, &[u8]) -> Result<bool>,
    ) -> Result<bool> {
        if range.is_empty() {
            return Ok(true);
        }
        let explain = |error| self.explain(error, path, Intent::Content);
        let len = range.end - range.start;
        let mut download = self
            .remote
            .open_download(path, range.start, Some(len))
            .map_err(explain)?;
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut at = range.start;
        while at < range.end {
            let count = download.read(&mut buffer).map_err(explain)?;
            let theirs = buffer.get(..count).unwrap_or_default();
            let end = at + count as u64;
            if count == 0 || end > range.end || !is_right(at..end, theirs)? {
                return Ok(false);
            }
            at = end;
        }
        Ok(true)
    }

    /// The failure of an upload over something else than what its bytes were made from.
    pub(super) fn conflict(&self, path: &RemotePath) -> FsError {
        log::error!(
            "{path} was changed on the server since it was opened here: that stays, and what was written here is kept on this machine"
        );
        self.forget_name(path);
        FsError::new(FsErrorKind::Conflict, path)
    }
}

/// The failure of what needs the size of a file whose size the server does not tell.
pub(super) fn unknown_size(path: &RemotePath) -> FsError {
    log::warn!("{path}: the server does not tell its size, in a listing or by SIZE");
    FsError::new(FsErrorKind::Io, path)
}

/// A file that was sent, whose confirmation was lost and that is not there: the server may have taken it away, so it is not sent again
/// until a program asks for it.
pub(super) fn park(file: &OpenFile, path: &RemotePath) -> FsError {
    log::error!(
        "{path} was sent, its confirmation was lost, and it is not there: it is not sent again by itself"
    );
    let mut state = file.lock();
    state.is_parked = true;
    state.doubt = Doubt::No;
    drop(state);
    FsError::new(FsErrorKind::Unconfirmed, path)
}

/// The job's file is another on the server than was believed.
pub(super) fn take_base(file: &OpenFile, job: &mut UploadJob, base: Base) {
    file.lock().base = Some(base.clone());
    job.base = Some(base);
}

/// Whether the name holds what the job's bytes were made from, or nothing.
pub(super) fn is_still(told: Option<Told>, job: &UploadJob) -> bool {
    match (told, &job.base) {
        (None, _) => true,
        (Some(told), Some(base)) => told.is(&base.version),
        (Some(_), None) => false,
    }
}
