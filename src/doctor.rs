//! `ftpfs doctor URL`: connects, tries everything that a mount would do on scratch files of its own, and says what works, how
//! fast, what is wrong, and which option mends it. It leaves nothing behind.

mod report;
mod scratch;

pub use report::{Problem, Report};

use std::time::{Duration, Instant};

use self::scratch::Scratch;
use crate::{
    config::FtpConfig,
    ftp::{FtpRemote, Way},
    remote::{EntryKind, Listing, Remote, RemoteErrorKind, RemotePath},
};

/// How many round trips are measured. 5: one that is slow by chance does not count.
const ROUND_TRIPS: usize = 5;

/// How much is sent and fetched to measure the bandwidth. 4 MiB: beyond what buffers hold, and a few seconds on a slow line.
const TRANSFER_BYTES: usize = 4 << 20;

/// How long each direction is measured at most. 5 s: a user waits for the answer.
const TRANSFER_TIME_MAX: Duration = Duration::from_secs(5);

/// How long active mode is waited for. 5 s: behind most routers nothing will ever come.
const ACTIVE_TIME_MAX: Duration = Duration::from_secs(5);

/// Examines a server, below the directory that a mount would show. Nothing is written if the mount would write nothing.
pub fn examine(config: &FtpConfig, is_read_only: bool) -> Report {
    let mut report = Report::new(format!("{}:{}", config.host, config.port));
    let start = Instant::now();
    let remote = match FtpRemote::connect(config) {
        Ok(remote) => remote,
        Err(error) => {
            report.problem(error.to_string(), "");
            return report;
        }
    };
    report.login = Some(start.elapsed());
    match remote.identity() {
        Ok(identity) => {
            if !identity.is_protected {
                report.problem(
                    "password and files go over the network in the clear",
                    "--tls",
                );
            }
            report.identity = identity;
        }
        Err(error) => report.problem(format!("the server does not say who it is: {error}"), ""),
    }
    try_ways(&remote, &mut report);
    let listing = try_listing(&remote, config, &mut report);
    measure_round_trip(&remote, &mut report);
    if !is_read_only {
        try_writing(&remote, &mut report);
    }
    if let Some(listing) = listing.as_ref().filter(|_| report.download.is_none()) {
        measure_largest(&remote, listing, &mut report);
    }
    report.facts = remote.facts();
    remote.shutdown();
    try_active(config, &mut report);
    report.works = report.login.is_some() && listing.is_some();
    report
}

fn try_ways(remote: &FtpRemote, report: &mut Report) {
    for way in Way::ALL {
        report.ways.push((way.verb(), remote.try_way(way)));
    }
}

/// Tries active mode with a log-in of its own, once the other sessions are closed: the server may take one only.
fn try_active(config: &FtpConfig, report: &mut Report) {
    if config.network.proxy.is_some() {
        // The server cannot connect to us through it.
        return;
    }
    let mut active = config.clone();
    active.network.active.get_or_insert_default();
    active.timeout = active.timeout.min(ACTIVE_TIME_MAX);
    active.profile_dir = None;
    let listed = FtpRemote::connect(&active)
        .map_err(|error| error.to_string())
        .and_then(|remote| {
            let listed = remote.list(&RemotePath::root());
            remote.shutdown();
            listed.map(drop).map_err(|error| error.to_string())
        });
    let is_passive_dead = report.ways.iter().all(|(_, outcome)| outcome.is_err());
    if is_passive_dead && listed.is_ok() && config.network.active.is_none() {
        report.problem("only the server can make data connections", "--active");
    } else if is_passive_dead && listed.is_err() {
        report.problem(
            "no data connection can be had: a firewall may be in the way, or the server listens on an address of its own",
            "--trust-pasv-address",
        );
    }
    report.ways.push(("active", listed));
}

fn try_listing(remote: &FtpRemote, config: &FtpConfig, report: &mut Report) -> Option<Listing> {
    let listing = match remote.list(&RemotePath::root()) {
        Ok(listing) => listing,
        Err(error) => {
            report.problem(format!("the directory cannot be listed: {error}"), "");
            return None;
        }
    };
    report.entries = Some(listing.entries.len());
    if listing.rejected > 0 {
        let lines = listing.rejected;
        report.problem(
            format!("{lines} lines of the listing are not understood"),
            "-vv shows them; please report them",
        );
    }
    if listing.is_truncated {
        report.problem(
            "the server cuts this listing short",
            "mount a directory below it",
        );
    }
    let is_text = |name: &[u8]| std::str::from_utf8(name).is_ok();
    if config.charset.is_none() && listing.entries.iter().any(|entry| !is_text(&entry.name)) {
        report.problem("some names are not UTF-8", "--charset");
    }
    Some(listing)
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

/// Tries what a mount does to files, on scratch files, and measures.
fn try_writing(remote: &FtpRemote, report: &mut Report) {
    let mut scratch = Scratch::new(remote);
    let outcome = scratch.try_all(report, TRANSFER_BYTES, TRANSFER_TIME_MAX);
    for name in scratch.clean_up() {
        let what = format!("{name} is left on the server and could not be removed");
        report.problem(what, "");
    }
    let Err(error) = outcome else { return };
    let is_refusal = matches!(
        error.kind(),
        RemoteErrorKind::Refused | RemoteErrorKind::NameRefused | RemoteErrorKind::Unsupported
    );
    if is_refusal {
        report.problem(format!("the server takes no files here: {error}"), "-o ro");
    } else {
        report.problem(format!("writing fails: {error}"), "");
    }
}

/// Where nothing can be written, the largest file that is there tells how fast downloads are.
fn measure_largest(remote: &FtpRemote, listing: &Listing, report: &mut Report) {
    let entries = listing.entries.iter();
    let files = entries.filter(|entry| entry.kind == EntryKind::File);
    if let Some(largest) = files.max_by_key(|entry| entry.size)
        && let Ok(path) = RemotePath::root().join(&largest.name)
    {
        report.download = scratch::measure_download(remote, &path, TRANSFER_TIME_MAX).ok();
    }
}
