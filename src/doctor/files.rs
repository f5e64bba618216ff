//! The directory and its files: listed, tried on scratch files where something may be written, else read.

use super::{
    problem::Problem,
    report::Report,
    scratch::{self, Scratch},
    visit::{Visit, connect},
};
use crate::{
    config::FtpConfig,
    remote::{EntryKind, Remote, RemoteErrorKind, RemotePath},
};

/// The smallest file that shows a bandwidth. 1 MiB: what is smaller is over before the line is full.
const MEASURED_BYTES_MIN: u64 = 1 << 20;

/// With the listing a mount works, unless a later check finds out otherwise.
pub(super) fn list(visit: &mut Visit<'_>) -> Result<(), Problem> {
    let listed = visit.session()?.list(&RemotePath::root());
    visit.listing = listed.map_err(|error| {
        let what = format!("the directory cannot be listed: {error}");
        Problem::new("listing", what, "")
    })?;
    visit.report.entries = Some(visit.listing.entries.len());
    visit.report.works = true;
    Ok(())
}

pub(super) fn judge_lines(visit: &mut Visit<'_>) -> Result<(), Problem> {
    let count = visit.listing.rejected.count();
    if count == 0 {
        return Ok(());
    }
    let what = format!("{count} lines of the listing are not understood; please report one");
    Err(Problem::new("lines", what, "-v, which shows one"))
}

pub(super) fn judge_truncation(visit: &mut Visit<'_>) -> Result<(), Problem> {
    if !visit.listing.is_truncated {
        return Ok(());
    }
    let what = "the server cuts this listing short; a directory below it may be listed as a whole";
    Err(Problem::new("truncated", what, ""))
}

pub(super) fn judge_names(visit: &mut Visit<'_>) -> Result<(), Problem> {
    let is_text = |name: &[u8]| std::str::from_utf8(name).is_ok();
    let mut entries = visit.listing.entries.iter();
    if visit.config.charset.is_some() || entries.all(|entry| is_text(entry.name)) {
        return Ok(());
    }
    let what = "some names are not UTF-8";
    Err(Problem::new(
        "names",
        what,
        "--charset NAME, such as latin1",
    ))
}

pub(super) fn judge_leftovers(visit: &mut Visit<'_>) -> Result<(), Problem> {
    let names = visit.listing.entries.iter().map(|entry| entry.name);
    let mut left = names.filter(|name| name.starts_with(scratch::PREFIX.as_bytes()));
    let Some(name) = left.next() else {
        return Ok(());
    };
    let what = format!(
        "{} and {} others are left of an examination that was killed; remove them",
        name.escape_ascii(),
        left.count()
    );
    Err(Problem::new("left-over", what, ""))
}

/// Tries what a mount does to files, on scratch files, and measures. What came of it is judged by the checks that follow.
pub(super) fn work(visit: &mut Visit<'_>) -> Result<(), Problem> {
    if !visit.is_read_only {
        let scratch = Scratch::new(visit.session()?);
        let work = scratch.try_all(&mut visit.report);
        visit.work = Some(work);
        visit.report.works &= !visit.report.is_interrupted;
    }
    Ok(())
}

pub(super) fn judge_clock(visit: &mut Visit<'_>) -> Result<(), Problem> {
    let clock = visit.work.as_mut().and_then(|work| work.clock.take());
    clock.map_or(Ok(()), Err)
}

pub(super) fn judge_left(visit: &mut Visit<'_>) -> Result<(), Problem> {
    let left = visit.work.as_ref().map_or(&[][..], |work| &work.left);
    let (names, are) = match left {
        [] => return Ok(()),
        [name] => (name.clone(), "is"),
        names => (names.join(", "), "are"),
    };
    let what = format!("{names} {are} left on the server and could not be removed");
    Err(Problem::new("left", what, ""))
}

/// Why nothing could be written, or not everything.
pub(super) fn judge_writing(visit: &mut Visit<'_>) -> Result<(), Problem> {
    let outcome = visit.work.as_ref().map(|work| &work.outcome);
    let Some(Err(error)) = outcome else {
        return Ok(());
    };
    let report = &mut visit.report;
    if report.is_interrupted {
        return Ok(());
    }
    let is_refusal = matches!(
        error.kind(),
        RemoteErrorKind::Refused | RemoteErrorKind::NameRefused | RemoteErrorKind::Unsupported
    );
    let is_first = report.facts.iter().all(|fact| fact.name != "new-files");
    let is_refusal = is_refusal && is_first;
    Err(if is_refusal && error.command() == "DELE" {
        let what = format!("files can be written here and not removed: {error}");
        Problem::new("no-removal", what, "-o ro")
    } else if is_refusal {
        let what = format!("the server takes no files here: {error}");
        Problem::new("read-only", what, "-o ro")
    } else if is_elsewhere(visit.config) {
        // DrFTPD lists on the machine that the commands go to, and keeps the files on others.
        let what = format!("files are on another machine, whose address PASV tells: {error}");
        report.works = false;
        Problem::new("data-connection", what, "--trust-pasv-address")
    } else {
        Problem::new("writing", format!("writing fails: {error}"), "")
    })
}

/// Whether a file can be written at the address that PASV names, where that was not tried yet.
fn is_elsewhere(config: &FtpConfig) -> bool {
    let network = &config.network;
    if network.trusts_pasv_address || network.active.is_some() {
        return false;
    }
    let mut trusting = config.clone();
    trusting.network.trusts_pasv_address = true;
    trusting.profile_dir = None;
    connect(&trusting).is_ok_and(|remote| {
        let mut scratch = Scratch::new(remote.clone());
        let tried = scratch.try_file(&mut Report::default());
        let is_left = !scratch.clean_up().is_empty();
        remote.shutdown();
        tried.is_ok() && !is_left
    })
}

/// Where nothing can be written, the largest file that is there shows how fast downloads are, if it is large enough.
pub(super) fn read_largest(visit: &mut Visit<'_>) -> Result<(), Problem> {
    if visit.report.download.is_some() || visit.report.is_interrupted {
        return Ok(());
    }
    let remote = visit.session()?;
    let entries = visit.listing.entries.iter();
    let files = entries.filter(|entry| entry.kind == EntryKind::File);
    if let Some(largest) = files.max_by_key(|entry| entry.size)
        && let Ok(path) = RemotePath::root().join(largest.name)
    {
        let report = &mut visit.report;
        if largest.size >= Some(MEASURED_BYTES_MIN) {
            report.download = scratch::measure_download(&remote, &path, || false).ok();
        }
        if let Err(error) = scratch::try_tells(&remote, &path, "largest file", report) {
            log::debug!("{error}");
        }
    }
    Ok(())
}
