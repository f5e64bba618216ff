//! Asking for the checksum of a file or range: by which command, for how long, and what a refusal teaches.

use std::time::Duration;

use super::{
    client::{FtpRemote, Patience},
    hash::METHODS,
};
use crate::{
    config::HASHED_BYTES_PER_SECOND_MIN,
    remote::{Checksum, Part, RemotePath, Result},
};

/// Asks for a checksum, by the first command that the server has and has not refused. The file must be there: a refusal teaches.
pub(super) fn ask(remote: &FtpRemote, path: &RemotePath, part: &Part) -> Result<Option<Checksum>> {
    let host = &remote.pool.host;
    let Some(features) = host.capabilities.features() else {
        return Ok(None);
    };
    let full_path = remote.full_path(path)?;
    let len = part.len();
    let wait = host.config.timeout + time_to_hash(len);
    for (index, method) in METHODS.into_iter().enumerate() {
        if !method.is_offered(features) || host.hashes.limit(index, part) < len {
            continue;
        }
        let Some(line) = method.line(&full_path, part) else {
            continue;
        };
        let verb = method.verb;
        let mut replies = remote.ask_with(path, verb, &[line], Patience::Own(wait))?;
        let Some(reply) = replies.pop() else {
            continue;
        };
        if reply.is_done() && !reply.is_unknown_command() {
            if let Some(checksum) = method.parse(&reply, &full_path) {
                return Ok(Some(checksum));
            }
            log::warn!(
                "{verb} {path}: no checksum can be read from the reply ({reply}); {verb} is not used any more"
            );
            host.hashes.lower(index, part, 0);
            continue;
        }
        if reply.code() / 100 == 4 {
            return Err(reply.to_error(verb).with_path(path));
        }
        // It may be about the quotes.
        if full_path.contains(&b' ') {
            log::debug!("{verb} {path}: {reply}");
            continue;
        }
        // It may be about the size (ProFTPD: DigestMaxSize).
        let bytes_max = if reply.is_unknown_command() {
            0
        } else {
            len.saturating_sub(1)
        };
        if host.hashes.lower(index, part, bytes_max) {
            log::warn!(
                "{verb} {path} is refused ({reply}); uploads of {len} bytes or more are not verified by {verb}"
            );
        }
    }
    Ok(None)
}

/// How long a server may take to hash so many bytes.
fn time_to_hash(len: u64) -> Duration {
    Duration::from_secs(len / HASHED_BYTES_PER_SECOND_MIN)
}
