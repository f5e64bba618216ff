//! Small files, read whole.

use std::cell::Cell;

use super::{
    client::FtpRemote,
    command::DataCommand,
    completeness::{Verdict, judge_size},
    pool::Use,
    reply::{Fault, Reply},
    settle::{self, Asking},
    shortcuts::Technique,
    stat::ask_size,
    transfer::Transfer,
    whole::read_to_end,
};
use crate::remote::{Attributes, RemoteErrorKind, RemotePath, Report, Result};

/// Reads a whole small file; one that has become larger than `bytes_max` is an error.
pub(super) fn read_small(
    remote: &FtpRemote,
    path: &RemotePath,
    bytes_max: usize,
) -> Result<Vec<u8>> {
    Ok(ask_and_read(remote, path, bytes_max, Vec::new())?.1)
}

/// Asks for a small file's size and time and reads it, in one write where the server takes commands together. In this order: what
/// was read can only be newer than what was told.
pub(super) fn read_small_exact(
    remote: &FtpRemote,
    path: &RemotePath,
    bytes_max: usize,
) -> Result<(Report, Vec<u8>)> {
    let nothing = Attributes::default();
    if remote.pool.host.capabilities.may(Technique::Batch) {
        let mut asking = Asking::new(remote, path, &nothing)?;
        let (told, content) = ask_and_read(remote, path, bytes_max, asking.lines())?;
        if let Some(settled) = asking.judge(told)? {
            return Ok((settled.report, content));
        }
    }
    let report = settle::report(remote, path)?;
    Ok((report, read_small(remote, path, bytes_max)?))
}

/// The answers to `questions`, which leave ahead of the RETR, and the whole file.
fn ask_and_read(
    remote: &FtpRemote,
    path: &RemotePath,
    bytes_max: usize,
    questions: Vec<Vec<u8>>,
) -> Result<(Vec<Reply>, Vec<u8>)> {
    let pool = &remote.pool;
    let wanted = DataCommand {
        questions,
        verb: "RETR",
        argument: remote.full_path(path)?,
        asks_next: pool.host.capabilities.may_ask_with_transfer(),
        ..DataCommand::default()
    };
    let full_path = wanted.argument.clone();
    let has_broken = Cell::new(false);
    let (told, content, verdict) = pool.with_session(Use::Transfer, path, |guard| {
        let wanted = DataCommand {
            // A server may tolerate that in a listing and not here: not again where it broke.
            ends_early: pool.host.ends_early() && !has_broken.replace(true),
            ..wanted.clone()
        };
        let mut transfer = Transfer::open(guard, &wanted)?;
        let told = transfer.take_told();
        let mut content = Vec::new();
        let ended = read_to_end(transfer, "RETR", |piece| {
            if piece.len() > bytes_max - content.len() {
                let detail = format!("the answer is longer than {bytes_max} bytes");
                return Err(Fault::new(RemoteErrorKind::Protocol, detail));
            }
            content.extend_from_slice(piece);
            Ok(())
        })?;
        Ok((told, content, ended.verdict))
    })?;
    if verdict == Verdict::Unproven {
        let size = ask_size(pool, path, &full_path);
        let judged = judge_size("RETR", content.len() as u64, size, &pool.host.notices);
        judged.map_err(|failure| failure.into_error(path))?;
    }
    Ok((told, content))
}
