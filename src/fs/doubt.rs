//! What has become of a change whose outcome was not known: looked up before anything else is sent.
//!
//! | the change | it is ours, and is gone on with, when the server has |
//! |---|---|
//! | a new file under its own name | a beginning of its bytes |
//! | an append | the old size, then a beginning of the tail |
//! | ranges inside | the version of before, or the first of the new bytes: they are written once more |
//! | a whole new file that was to take the name | that file, or the one before |
//!
//! Anything else was made by others, and stays.

use std::ops::Range;

use super::{
    Filesystem, FsError, FsErrorKind, Result,
    file::{Base, Doubt, OpenFile, Stage, UploadJob},
    lookup::Intent,
    streaming::CHUNK_BYTES,
    upload::Landed,
};
use crate::{
    cache::Version,
    remote::{Attributes, EntryKind, Modified, RemoteErrorKind, RemotePath},
};

/// How much of a range is compared to see whether it was written. 4 KiB: by chance no other file has the same there.
const FIRST_BYTES_MAX: u64 = 4 << 10;

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
            // Only listings show sizes on this server.
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

    /// Finds out what has become of the change that was under way, and makes the job fit that; how it has ended, if nothing is left to do.
    pub(super) fn resolve(
        &self,
        file: &OpenFile,
        path: &RemotePath,
        job: &mut UploadJob,
    ) -> Result<Option<Landed>> {
        let doubt = std::mem::take(&mut job.doubt);
        let is_new = matches!(doubt, Doubt::New { .. });
        if doubt == Doubt::InPlace {
            job.is_emptied = true;
        }
        if doubt == Doubt::No || job.is_emptied && !is_new {
            return Ok(None);
        }
        if let Doubt::Append { at, .. } = doubt
            && job.base.is_none()
        {
            let gone = Told {
                size: at,
                modified: None,
            };
            job.base = Some(self.base_told(gone, None));
        }
        let Some(told) = self.ask_version(path)? else {
            return resolve_absent(&doubt, file, path, job);
        };
        if job.is_emptied {
            return Ok(None);
        }
        let is_ours = match doubt {
            Doubt::No | Doubt::InPlace => true,
            Doubt::New { sent, .. } => self.is_new_ours(file, path, told, job, sent.as_deref())?,
            Doubt::Append { at, .. } if told.size < at => {
                // It was cut off or replaced since: where it ends is asked for again.
                if let Some(base) = job.base.as_mut() {
                    base.asked = None;
                }
                return Ok(None);
            }
            Doubt::Append { at, tail } => {
                let range = at..told.size;
                let is_there = self.holds_ours(file, path, range.clone(), job)?;
                if is_there {
                    job.dirty.remove(range.clone());
                }
                let tail = tail.as_deref().unwrap_or_default();
                is_there || self.holds_bytes(path, range, tail)?
            }
            Doubt::Patch(before) => {
                told.is(&before) || self.holds_first_range(file, path, told, job)?
            }
            Doubt::Placed(version) => {
                told.is(&version) || job.base.as_ref().is_some_and(|base| told.is(&base.version))
            }
        };
        if !is_ours {
            return Err(self.conflict(path));
        }
        let mode = job.base.as_ref().and_then(|base| base.mode);
        job.base = Some(self.base_told(told, mode));
        Ok(None)
    }

    /// Whether what is there is a beginning of a new file that was being stored.
    pub(super) fn is_new_ours(
        &self,
        file: &OpenFile,
        path: &RemotePath,
        told: Told,
        job: &mut UploadJob,
        sent: Option<&[u8]>,
    ) -> Result<bool> {
        let range = 0..told.size;
        let is_there = self.holds_ours(file, path, range.clone(), job)?;
        if is_there {
            job.dirty.remove(range.clone());
        }
        Ok(is_there || self.holds_bytes(path, range, sent.unwrap_or_default())?)
    }

    /// Whether a file of the right size holds what was to be written first: the change had begun, and others have not replaced the file.
    fn holds_first_range(
        &self,
        file: &OpenFile,
        path: &RemotePath,
        told: Told,
        job: &UploadJob,
    ) -> Result<bool> {
        let first = job.dirty.iter().next();
        let Some(first) = first.filter(|_| (job.old_len()..=job.len).contains(&told.size)) else {
            return Ok(false);
        };
        let end = first.end.min(first.start + FIRST_BYTES_MAX).min(told.size);
        self.holds_ours(file, path, first.start..end, job)
    }

    /// What the name holds now, told in the way in which the job's base was: times of listings and of MDTM may differ.
    pub(super) fn told_now(&self, path: &RemotePath, job: &UploadJob) -> Result<Option<Told>> {
        let is_listed = job.base.as_ref().is_some_and(|base| base.asked.is_none());
        if !is_listed {
            return self.ask_version(path);
        }
        if let Some(dir) = path.parent() {
            self.listings.refetch(&*self.remote, &dir)?;
        }
        let Some(entry) = self.look(path)? else {
            return Ok(None);
        };
        let size = entry.size.ok_or_else(|| unknown_size(path))?;
        let modified = entry.modified;
        Ok(Some(Told { size, modified }))
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
            is_mode_asked: false,
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
    pub(super) fn holds_bytes(
        &self,
        path: &RemotePath,
        range: Range<u64>,
        bytes: &[u8],
    ) -> Result<bool> {
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

/// What has become of a change when nothing has the name.
fn resolve_absent(
    doubt: &Doubt,
    file: &OpenFile,
    path: &RemotePath,
    job: &mut UploadJob,
) -> Result<Option<Landed>> {
    match doubt {
        Doubt::New {
            stage: Stage::Confirmed,
            ..
        } => return Ok(Some(Landed::Taken)),
        Doubt::New {
            stage: Stage::Begun,
            ..
        } => return Err(park(file, path)),
        // What was only appended may begin a new file; that is found out when it is asked for again.
        Doubt::Append { .. } => {
            if let Some(base) = job.base.as_mut() {
                base.asked = None;
            }
        }
        _ => job.base = None,
    }
    Ok(None)
}
