//! Cases that fail for a reason that is known.

use super::plan::Case;
use crate::common::Kind;

/// Cases that fail, and why.
#[derive(Debug)]
pub(super) struct Known {
    /// On which servers.
    kinds: &'static [Kind],
    /// Which always fail, as they are printed: the sample has them. If one passes, the test fails.
    always: &'static [&'static str],
    /// Which may fail: the operation, and the fault.
    sometimes: &'static [(&'static str, &'static str)],
    /// What is in the lines that say what is wrong.
    shows: &'static [&'static str],
    pub(super) reason: &'static str,
}

const ALL: &[Kind] = &[Kind::Vsftpd, Kind::Proftpd, Kind::PureFtpd, Kind::Pyftpdlib];

/// What fails.
pub(super) const KNOWN: &[Known] = &[
    // pyftpdlib does not list the directory itself, so that a cut looks like an empty directory.
    Known {
        kinds: &[Kind::Pyftpdlib],
        always: &[],
        sometimes: &[("list", "close")],
        shows: &["READ 0 bytes", "SHOWN"],
        reason: "a listing without a byte is an empty directory",
    },
    // The proxy ends the mount's connection while the server still works on it, so that the name is not on hold any more.
    Known {
        kinds: ALL,
        always: &[],
        sometimes: &[
            ("append", "late"),
            ("append", "late-again"),
            ("new", "late"),
            ("new", "late-again"),
        ],
        shows: &["after the retry", "LEFT"],
        reason: "an upload that timed out goes on behind a proxy that has ended its connection",
    },
    // Nothing is lost: ours is stored beside it.
    Known {
        kinds: ALL,
        always: &[],
        sometimes: &[
            ("new-large", "duplicate"),
            ("new-large", "early"),
            ("replace", "duplicate"),
            ("replace", "early"),
            ("patch", "late-again"),
        ],
        shows: &["LEFT"],
        reason: "a change of ours whose outcome was not known is taken for another's",
    },
    // Its DELE came before it, and was refused.
    Known {
        kinds: ALL,
        always: &[],
        sometimes: &[
            ("patch", "late"),
            ("patch", "late-again"),
            ("patch-first", "late"),
            ("patch-first", "late-again"),
            ("patch-start", "late"),
            ("patch-start", "late-again"),
            ("replace", "late"),
            ("replace", "late-again"),
            ("replace-large", "late"),
            ("replace-large", "late-again"),
            ("new-large", "late"),
            ("new-large", "late-again"),
        ],
        shows: &["LEFT"],
        reason: "a temporary file whose STOR is late stays",
    },
];

/// Which entry explains what is wrong with a case.
pub(super) fn find(kind: Kind, case: &Case, failures: &[String]) -> Option<usize> {
    let (operation, fault) = (case.operation.to_string(), case.fault.to_string());
    let shows = |known: &Known, line: &String| known.shows.iter().any(|part| line.contains(part));
    let is_meant = |known: &Known| {
        let is_some = known.sometimes.contains(&(&operation, &fault));
        let is_listed = is_some || known.always.contains(&&*case.to_string());
        known.kinds.contains(&kind) && is_listed && failures.iter().all(|line| shows(known, line))
    };
    KNOWN.iter().position(is_meant)
}

/// Whether a case has to fail.
pub(super) fn must_fail(kind: Kind, case: &Case) -> bool {
    let case = case.to_string();
    let is_meant = |known: &&Known| known.kinds.contains(&kind);
    let mut known = KNOWN.iter().filter(is_meant);
    known.any(|known| known.always.contains(&&*case))
}
