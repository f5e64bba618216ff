//! Cases that fail for a reason that is known.

use super::{
    plan::Case,
    wrong::{Failure, Wrong},
};
use crate::common::Kind;

/// Cases that fail, and why.
#[derive(Debug)]
pub(super) struct Known {
    /// On which servers.
    kinds: &'static [Kind],
    /// Which may fail: the operation (`*` for any), and the fault.
    cases: &'static [(&'static str, &'static str)],
    /// What is wrong then. Anything else is a failure that is not known.
    shows: &'static [Wrong],
    pub(super) reason: &'static str,
}

const ALL: &[Kind] = &[Kind::Vsftpd, Kind::Proftpd, Kind::PureFtpd, Kind::Pyftpdlib];

/// What fails.
pub(super) const KNOWN: &[Known] = &[
    // pyftpdlib does not list the directory itself, so that a cut looks like an empty directory.
    Known {
        kinds: &[Kind::Pyftpdlib],
        cases: &[("*", "close"), ("*", "duplicate")],
        shows: &[Wrong::Read, Wrong::Shown],
        reason: "a listing without a byte is an empty directory",
    },
    // Nothing is lost: ours is stored beside it.
    Known {
        kinds: ALL,
        cases: &[
            ("new-large", "duplicate"),
            ("new-large", "early"),
            ("replace", "duplicate"),
            ("replace", "early"),
        ],
        shows: &[Wrong::Beside],
        reason: "a change of ours whose outcome was not known is taken for another's",
    },
    // What the server has is compared with what is emptied at that moment. Nothing is lost, and the copy is of no use.
    Known {
        kinds: ALL,
        cases: &[
            ("patch", "late-again"),
            ("patch-first", "late-again"),
            ("patch-start", "late-again"),
        ],
        shows: &[Wrong::Beside],
        reason: "a file that is emptied while its last change is looked up is stored beside itself",
    },
    // The reply of another command counts as the refusal of its name, so that nobody removes it.
    Known {
        kinds: ALL,
        cases: &[("replace", "early")],
        shows: &[Wrong::Left],
        reason: "a temporary file whose STOR was answered with another command's reply stays",
    },
    // Its DELE came before it, and was refused.
    Known {
        kinds: ALL,
        cases: &[
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
        shows: &[Wrong::Left],
        reason: "a temporary file whose STOR is late stays",
    },
    // It is removed once, by the mount that has made it.
    Known {
        kinds: ALL,
        cases: &[
            ("patch-first", "421"),
            ("patch-first", "450"),
            ("patch-first", "451"),
            ("patch-first", "452"),
            ("patch-first", "500"),
            ("patch-first", "501"),
            ("patch-first", "550"),
            ("patch-first", "553"),
            ("patch-first", "duplicate"),
        ],
        shows: &[Wrong::Left],
        reason: "the scratch file of the probe stays when its DELE is refused",
    },
];

/// Which entry explains what is wrong with a case.
pub(super) fn find(kind: Kind, case: &Case, failures: &[Failure]) -> Option<usize> {
    let (operation, fault) = (case.operation.to_string(), case.fault.to_string());
    let is_meant = |known: &Known| {
        let mut cases = known.cases.iter();
        let is_listed = cases.any(|(of, by)| ["*", &operation].contains(of) && fault == *by);
        let mut failures = failures.iter();
        let is_kind = known.kinds.contains(&kind);
        is_kind && is_listed && failures.all(|failure| known.shows.contains(&failure.wrong))
    };
    KNOWN.iter().position(is_meant)
}
