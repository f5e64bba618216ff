//! `ftpfs doctor URL`: connects, tries everything that a mount would do on scratch files of its own, and says what works, how
//! fast, what is wrong, and which option mends it. It leaves nothing behind.
//!
//! Three times it logs in: to see who is there; once for each way to a data connection; and for the work on files.

mod problem;
mod protection;
mod report;
mod scratch;
mod text;
mod ways;

pub use problem::Problem;
pub use report::{Offer, Report};

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use self::{scratch::Scratch, ways::Ways};
use crate::{
    config::FtpConfig,
    ftp::{ConnectError, FtpRemote},
    remote::{EntryKind, Listing, Remote, RemoteErrorKind, RemotePath},
};

/// How many round trips are measured. 5: one that is slow by chance does not count.
const ROUND_TRIPS: usize = 5;

/// The smallest file that tells a bandwidth. 1 MiB: what is smaller is over before the line is full.
const MEASURED_BYTES_MIN: u64 = 1 << 20;

/// How often, and after which pause, a further log-in is tried again. 2 s in all: a server that takes few sessions may not have noticed
/// yet that the one before is over.
const RETRIES: (u32, Duration) = (10, Duration::from_millis(200));

/// Examines a server, below the directory that a mount would show. Nothing is written if the mount would write nothing.
pub fn examine(config: &FtpConfig, is_read_only: bool) -> Report {
    let mut report = Report::new(format!("{}:{}", config.host, config.port));
    let start = Instant::now();
    match FtpRemote::connect(config) {
        Ok(remote) => {
            report.login = Some(start.elapsed());
            identify(&remote, &mut report);
            remote.shutdown();
        }
        Err(error) => {
            protection::diagnose(&error, config, &mut report);
            return report;
        }
    }
    protection::judge(config, &mut report);
    if !Ways::examine(config).judge(config, &mut report) {
        return report;
    }
    match connect(config) {
        Ok(remote) => {
            examine_files(&remote, config, is_read_only, &mut report);
            remote.shutdown();
        }
        Err(error) => report.problems.push(Problem::of_connect(&error, config)),
    }
    report
}

/// Logs in once more.
fn connect(config: &FtpConfig) -> Result<Arc<FtpRemote>, ConnectError> {
    patiently(|| FtpRemote::connect(config))
}

/// Does what opens a session until there is room for it.
fn patiently<T>(open: impl Fn() -> Result<T, ConnectError>) -> Result<T, ConnectError> {
    let (mut left, pause) = RETRIES;
    loop {
        match open() {
            Err(error) if error.is_limit() && left > 0 => {
                left -= 1;
                thread::sleep(pause);
            }
            outcome => return outcome,
        }
    }
}

fn identify(remote: &FtpRemote, report: &mut Report) {
    match remote.identity() {
        Ok(identity) => report.identity = identity,
        Err(error) => {
            let what = format!("the server does not say who it is: {error}");
            report.problem("identity", what, "");
        }
    }
    measure_round_trip(remote, report);
}

fn measure_round_trip(remote: &FtpRemote, report: &mut Report) {
    let mut times = Vec::with_capacity(ROUND_TRIPS);
    for _ in 0..ROUND_TRIPS {
        let start = Instant::now();
        if remote.stat(&RemotePath::root()).is_err() {
            return;
        }
        times.push(start.elapsed());
    }
    times.sort();
    report.round_trip = times.get(ROUND_TRIPS / 2).copied();
}

fn examine_files(remote: &FtpRemote, config: &FtpConfig, is_read_only: bool, report: &mut Report) {
    let Some(listing) = try_listing(remote, config, report) else {
        return;
    };
    report.works = true;
    if !is_read_only {
        try_writing(remote, config, report);
    }
    report.works &= !report.is_interrupted;
    if report.download.is_none() && !report.is_interrupted {
        try_largest(remote, &listing, report);
    }
    report.merge(remote.facts());
    report.resumptions = remote.resumptions();
    if !report.is_interrupted {
        count_sessions(remote, config, report);
    }
}

fn try_listing(remote: &FtpRemote, config: &FtpConfig, report: &mut Report) -> Option<Listing> {
    let listing = match remote.list(&RemotePath::root()) {
        Ok(listing) => listing,
        Err(error) => {
            let what = format!("the directory cannot be listed: {error}");
            report.problem("listing", what, "");
            return None;
        }
    };
    report.entries = Some(listing.entries.len());
    if listing.rejected.count() > 0 {
        let what = format!(
            "{} lines of the listing are not understood; please report one",
            listing.rejected.count()
        );
        report.problem("lines", what, "-v, which shows one");
    }
    if listing.is_truncated {
        let what =
            "the server cuts this listing short; a directory below it may be listed as a whole";
        report.problem("truncated", what, "");
    }
    let is_text = |name: &[u8]| std::str::from_utf8(name).is_ok();
    let names = listing.entries.iter().map(|entry| &entry.name);
    if config.charset.is_none() && names.clone().any(|name| !is_text(name)) {
        let what = "some names are not UTF-8";
        report.problem("names", what, "--charset NAME, such as latin1");
    }
    let mut left = names.filter(|name| name.starts_with(scratch::PREFIX.as_bytes()));
    if let Some(name) = left.next() {
        let what = format!(
            "{} and {} others are left of an examination that was killed; remove them",
            name.escape_ascii(),
            left.count()
        );
        report.problem("left-over", what, "");
    }
    Some(listing)
}

/// Tries what a mount does to files, on scratch files, and measures.
fn try_writing(remote: &FtpRemote, config: &FtpConfig, report: &mut Report) {
    let mut scratch = Scratch::new(remote);
    let outcome = scratch.try_all(report);
    report.is_interrupted = scratch.is_interrupted();
    for name in scratch.clean_up() {
        let what = format!("{name} is left on the server and could not be removed");
        report.problem("left", what, "");
    }
    let Err(error) = outcome else { return };
    if report.is_interrupted {
        return;
    }
    let is_refusal = matches!(
        error.kind(),
        RemoteErrorKind::Refused | RemoteErrorKind::NameRefused | RemoteErrorKind::Unsupported
    );
    let is_first = report.facts.iter().all(|fact| fact.name != "new-files");
    let is_refusal = is_refusal && is_first;
    if is_refusal && error.command() == "DELE" {
        let what = format!("files can be written here and not removed: {error}");
        report.problem("no-removal", what, "-o ro");
    } else if is_refusal {
        let what = format!("the server takes no files here: {error}");
        report.problem("read-only", what, "-o ro");
    } else if is_elsewhere(config) {
        // DrFTPD lists on the machine that the commands go to, and keeps the files on others.
        let what = format!("files are on another machine, whose address PASV tells: {error}");
        report.problem("data-connection", what, "--trust-pasv-address");
        report.works = false;
    } else {
        report.problem("writing", format!("writing fails: {error}"), "");
    }
}

/// Whether a file can be written at the address that PASV tells, where that was not tried yet.
fn is_elsewhere(config: &FtpConfig) -> bool {
    let network = &config.network;
    if network.trusts_pasv_address || network.active.is_some() {
        return false;
    }
    let mut trusting = config.clone();
    trusting.network.trusts_pasv_address = true;
    trusting.profile_dir = None;
    connect(&trusting).is_ok_and(|remote| {
        let mut scratch = Scratch::new(&remote);
        let tried = scratch.try_file(&mut Report::default());
        let is_left = !scratch.clean_up().is_empty();
        remote.shutdown();
        tried.is_ok() && !is_left
    })
}

/// Where nothing can be written, the largest file that is there tells how fast downloads are, if it is large enough.
fn try_largest(remote: &FtpRemote, listing: &Listing, report: &mut Report) {
    let entries = listing.entries.iter();
    let files = entries.filter(|entry| entry.kind == EntryKind::File);
    if let Some(largest) = files.max_by_key(|entry| entry.size)
        && let Ok(path) = RemotePath::root().join(&largest.name)
    {
        if largest.size >= Some(MEASURED_BYTES_MIN) {
            report.download = scratch::measure_download(remote, &path, || false).ok();
        }
        if let Err(error) = scratch::try_tells(remote, &path, "largest file", report) {
            log::debug!("{error}");
        }
    }
}

/// Opens as many sessions as a mount may, last of all: nothing has to log in after that.
fn count_sessions(remote: &FtpRemote, config: &FtpConfig, report: &mut Report) {
    let wanted = config.connections_max;
    let (taken, refusal) = remote.count_sessions();
    report.sessions = Some((taken, wanted));
    if let Some(error) = refusal {
        let what = format!(
            "of the {wanted} sessions that a mount may open, the server takes {taken} at once: {error}"
        );
        report.problem("sessions", what, format!("--connections {taken}"));
    }
}
