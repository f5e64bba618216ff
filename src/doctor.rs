//! `ftpfs doctor URL`: connects, tries everything that a mount would do on scratch files of its own, and says what works, how
//! fast, what is wrong, and which option fixes it. It leaves nothing behind.
//!
//! It is a list of checks. Three times it logs in: to see who is there; once for each way to a data connection; and for the work
//! on files.

mod files;
mod problem;
mod protection;
mod report;
mod scratch;
mod text;
mod visit;
mod ways;

pub use problem::Problem;
pub use report::{DataConnection, Offer, Protection, Rate, Report, Tls};

use std::time::Instant;

use self::visit::Visit;
use crate::{
    config::FtpConfig,
    remote::{Remote, RemotePath},
};

/// How many round trips are measured. 5: one that is slow by chance does not count.
const ROUND_TRIPS: usize = 5;

/// One thing that is looked at.
struct Check {
    /// What it is about, as the log shows it; where it can find one thing wrong, the name of that problem.
    name: &'static str,
    /// Looks at it. What is found goes into the report; an error is what is wrong and what fixes it.
    run: fn(&mut Visit<'_>) -> Result<(), Problem>,
    /// What becomes of the checks after it.
    then: Then,
}

/// What becomes of the checks after one that has found something wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// They are done all the same.
    GoOn,
    /// They make no sense any more.
    End,
}

/// All checks, in their order.
const CHECKS: &[Check] = &[
    needed("log-in", log_in),
    check("identity", identify),
    check("round trip", measure_round_trip),
    check("protection", protection::judge),
    needed("data-connection", ways::examine),
    needed("listing", files::list),
    check("lines", files::judge_lines),
    check("truncated", files::judge_truncation),
    check("names", files::judge_names),
    check("left-over", files::judge_leftovers),
    check("scratch files", files::work),
    check("clock", files::judge_clock),
    check("left", files::judge_left),
    check("writing", files::judge_writing),
    check("largest file", files::read_largest),
    check("capabilities", take_facts),
    check("sessions", count_sessions),
];

const fn check(name: &'static str, run: fn(&mut Visit<'_>) -> Result<(), Problem>) -> Check {
    Check {
        name,
        run,
        then: Then::GoOn,
    }
}

const fn needed(name: &'static str, run: fn(&mut Visit<'_>) -> Result<(), Problem>) -> Check {
    Check {
        name,
        run,
        then: Then::End,
    }
}

/// Examines a server, below the directory that a mount would show. Nothing is written if the mount would write nothing.
pub fn examine(config: &FtpConfig, is_read_only: bool) -> Report {
    let mut visit = Visit::new(config, is_read_only);
    for check in CHECKS {
        log::debug!("checking: {}", check.name);
        let Err(problem) = (check.run)(&mut visit) else {
            continue;
        };
        visit.report.problems.push(problem);
        if check.then == Then::End {
            break;
        }
    }
    std::mem::take(&mut visit.report)
}

fn log_in(visit: &mut Visit<'_>) -> Result<(), Problem> {
    match visit.log_in() {
        Ok(time) => {
            visit.report.login = Some(time);
            Ok(())
        }
        Err(error) => Err(protection::diagnose(&error, visit)),
    }
}

fn identify(visit: &mut Visit<'_>) -> Result<(), Problem> {
    let identity = visit.session()?.identity().map_err(|error| {
        let what = format!("the server does not say who it is: {error}");
        Problem::new("identity", what, "")
    })?;
    let report = &mut visit.report;
    (report.greeting, report.system) = (identity.greeting, identity.system);
    report.features = identity.features;
    if let Some(protocol) = identity.protocol {
        report.tls.protection = Protection::Used {
            protocol,
            is_verified: !visit.config.tls.is_insecure,
        };
    }
    Ok(())
}

fn measure_round_trip(visit: &mut Visit<'_>) -> Result<(), Problem> {
    let remote = visit.session()?;
    let mut times = Vec::with_capacity(ROUND_TRIPS);
    for _ in 0..ROUND_TRIPS {
        let start = Instant::now();
        if remote.stat(&RemotePath::root()).is_err() {
            return Ok(());
        }
        times.push(start.elapsed());
    }
    times.sort();
    visit.report.round_trip = times.get(ROUND_TRIPS / 2).copied();
    Ok(())
}

/// Adds what the session has learnt to what the checks have tried.
fn take_facts(visit: &mut Visit<'_>) -> Result<(), Problem> {
    let remote = visit.session()?;
    visit.report.merge(remote.facts());
    visit.report.tls.resumptions = remote.resumptions();
    Ok(())
}

/// Opens as many sessions as a mount may, last of all: nothing has to log in after that.
fn count_sessions(visit: &mut Visit<'_>) -> Result<(), Problem> {
    if visit.report.is_interrupted {
        return Ok(());
    }
    let wanted = visit.config.connections_max;
    let (taken, refusal) = visit.session()?.count_sessions();
    visit.report.sessions = Some(taken);
    let Some(error) = refusal else {
        return Ok(());
    };
    let what = format!(
        "of the {wanted} sessions that a mount may open, the server takes {taken} at once: {error}"
    );
    Err(Problem::new(
        "sessions",
        what,
        format!("--connections {taken}"),
    ))
}
