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

/// What fails.
pub(super) const KNOWN: &[Known] = &[
    // pyftpdlib does not list the directory itself, so that a cut looks like an empty directory.
    Known {
        kinds: &[Kind::Pyftpdlib],
        cases: &[("*", "close"), ("*", "duplicate")],
        shows: &[Wrong::Read, Wrong::Shown],
        reason: "a listing without a byte is an empty directory",
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
