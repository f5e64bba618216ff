//! Faults of ftpfs that are known, each a function: it goes when its fault goes.

use std::collections::HashSet;

use ftpfs::remote::memory::{Loss, Operation};

use crate::{
    edits::{Made, is_behind, tail},
    ledger::Ledger,
};

/// An append to a file that others had cut before is repeated, as the file is shorter than it was believed to be.
pub(crate) fn is_doubled_after_a_cut(made: &Made, base: &[u8], content: &[u8]) -> bool {
    let is_cut = made.old.as_ref().is_some_and(|old| base.len() < old.len());
    is_cut
        && tail(made).is_some_and(|tail| {
            let once = content.strip_suffix(tail).filter(|_| !tail.is_empty());
            once.is_some_and(|once| is_behind(made, base, once))
        })
}

/// Where nothing can be renamed, an upload in place that has failed takes the place of whatever has its name when it is tried again.
pub(crate) fn is_written_in_place_again(
    writes_in_place: bool,
    unsure: &HashSet<String>,
    loss: &Loss,
    at: &str,
) -> bool {
    writes_in_place && loss.operation == Operation::OpenUpload && unsure.contains(at)
}

/// A file that was moved aside stays so for good when its removal was not noticed and its name is taken again; if it holds nothing, or what
/// its program has emptied since, that is of no use.
pub(crate) fn is_left_under_a_hidden_name(ledger: &Ledger, content: &[u8]) -> bool {
    content.is_empty() || ledger.was_right(content)
}

/// A beginning of what was sent without a reply is taken for what has arrived of it, also when others have made it.
pub(crate) fn is_taken_for_ours(was_ours: bool, is_unsure: bool) -> bool {
    was_ours && is_unsure
}
