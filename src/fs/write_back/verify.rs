//! `--verify`: the server's checksum of what was sent against that of the bytes here.
//!
//! A size that is right proves little: it is the same after a byte was changed on the way. Where the server computes checksums, one is
//! asked for after each upload. What that says is one of three things:
//!
//! 1. it is that of our bytes: they are there;
//! 2. it is another one, and the bytes differ when they are read back: the upload has failed;
//! 3. there is none, or it is about something else: nothing is known but the size, and the upload counts.

use std::ops::Range;

use super::upload::Upload;
use crate::{
    cache::Version,
    fs::{
        error::{FsError, FsErrorKind, Result},
        on_server::Doubt,
        streaming::CHUNK_BYTES,
    },
    remote::{Algorithm, Checksum, Hasher, Part, RemotePath, Settled},
};

/// What is known of the bytes that were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The server has them.
    Right,
    /// Nothing.
    Unknown,
}

/// Asks what the server has of the whole file, which was sent to `path`.
///
/// # Errors
///
/// It has other bytes.
pub(super) fn whole(upload: &Upload<'_>, path: &RemotePath) -> Result<Verdict> {
    verify(upload, path, &Part::Whole(upload.job.len))
}

/// The same for a range of the file under its own name.
pub(super) fn range(upload: &Upload<'_>, range: Range<u64>) -> Result<Verdict> {
    let part = if range == (0..upload.job.len) {
        Part::Whole(range.end)
    } else {
        Part::Range(range)
    };
    let verdict = verify(upload, upload.path, &part)?;
    let is_all_here = || {
        let state = upload.file.lock();
        let spool = state.changes().spool();
        spool.is_some_and(|spool| spool.has(0..upload.job.len))
    };
    match (verdict, part) {
        // A server may know checksums of whole files only.
        (Verdict::Unknown, Part::Range(_)) if is_all_here() => whole(upload, upload.path),
        _ => Ok(verdict),
    }
}

/// Keeps in mind what has the file's own name after an upload there was found to be wrong: it is this upload's, so the next try may replace it.
pub(super) fn or_doubt<T>(
    upload: &Upload<'_>,
    settled: &Settled,
    verified: Result<T>,
) -> Result<T> {
    if verified.is_err() {
        upload.begin_change(Doubt::Placed(Version {
            size: upload.job.len,
            modified: settled.report.modified,
            epoch: 0,
        }));
    }
    verified
}

fn verify(upload: &Upload<'_>, path: &RemotePath, part: &Part) -> Result<Verdict> {
    let verifier = upload.server.verifier();
    let range = match part {
        Part::Whole(len) => 0..*len,
        Part::Range(range) => range.clone(),
    };
    // What was written there again meanwhile goes up next.
    if !verifier.is_wanted(part) || !is_untouched(upload, &range) {
        return Ok(Verdict::Unknown);
    }
    let theirs = match upload.server.remote().checksum(path, part) {
        Ok(Some(theirs)) => theirs,
        Ok(None) => return Ok(Verdict::Unknown),
        Err(error) => {
            log::warn!("{path} was uploaded, and only its size is verified: {error}");
            if verifier.note_failure(&error) {
                log::warn!("the server takes too long for checksums: no more are asked for");
            }
            return Ok(Verdict::Unknown);
        }
    };
    let ours = checksum(upload, range.clone(), theirs.algorithm());
    if !is_untouched(upload, &range) {
        return Ok(Verdict::Unknown);
    }
    let ours = ours?;
    if ours == theirs {
        log::debug!("{path}: {ours} on both sides");
        verifier.note_right(part);
        return Ok(Verdict::Right);
    }
    let is_right = |part, theirs: &[u8]| Ok(upload.spooled(part)? == theirs);
    let holds_ours = upload.server.versions().compare(path, range, is_right);
    if matches!(holds_ours, Ok(true)) {
        log::warn!(
            "{path}: the server reports {theirs} and not {ours}, but the bytes are right when they are read back"
        );
        if verifier.note_wrong(part) {
            log::warn!("the server's checksums are not those of its files: no more are asked for");
        }
        return Ok(Verdict::Right);
    }
    log::error!(
        "{path}: the server has other bytes than were sent: it reports {theirs}, and ours is {ours}"
    );
    Err(FsError::new(FsErrorKind::Io, upload.path))
}

/// Whether nothing was written there since the upload began.
fn is_untouched(upload: &Upload<'_>, range: &Range<u64>) -> bool {
    let state = upload.file.lock();
    state.changes().spool().is_some_and(|spool| {
        spool.len() >= range.end && spool.dirty().gaps(range) == std::slice::from_ref(range)
    })
}

/// The checksum of the bytes here.
fn checksum(upload: &Upload<'_>, range: Range<u64>, algorithm: Algorithm) -> Result<Checksum> {
    let mut hasher = Hasher::new(algorithm);
    let mut at = range.start;
    while at < range.end {
        let end = range.end.min(at + CHUNK_BYTES as u64);
        hasher.update(&upload.spooled(at..end)?);
        at = end;
    }
    Ok(hasher.finish())
}
