//! A download that is read to its end at once: a listing, or a small file.

use super::{
    capabilities::Capabilities,
    completeness::{Verdict, judge},
    reply::{Failure, Fault, Reply},
    shortcuts::Technique,
    transfer::Transfer,
};
use crate::remote::Phase;

/// How much is read at once.
const PIECE_BYTES: usize = 64 << 10;

/// Gives all the data to `take`, piece by piece as it arrives, and reads the server's confirmation.
///
/// # Errors
///
/// Also what `take` does not want to go on for; the session is thrown away then.
pub(super) fn read_to_end(
    mut transfer: Transfer,
    verb: &'static str,
    mut take: impl FnMut(&[u8]) -> Result<(), Fault>,
) -> Result<Ended, Failure> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let taken = match transfer.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => take(piece.get(..count).unwrap_or_default()),
            Err(error) => Err(Fault::from_io(&error, Phase::Data)),
        };
        if let Err(fault) = taken {
            transfer.discard();
            return Err(Failure::Broken(verb, fault));
        }
    }
    let end = transfer.data_end();
    let (reply, mut guard) = transfer.finish()?;
    let reply = match guard.session().read_followers() {
        Ok(followers) => judge_order(&guard.pool().host.capabilities, reply, &followers),
        // The data is complete and confirmed; what is wrong with the session ends with it.
        Err(fault) if ends_transfer(&reply) => {
            log::debug!("behind {verb}: {}", fault.detail);
            reply
        }
        Err(fault) => return Err(Failure::Broken(verb, fault)),
    };
    guard.check_in_warm();
    let verdict = judge(verb, end, &reply)?;
    Ok(Ended { reply, verdict })
}

/// The transfer's own last reply, out of it and those to the commands behind it.
fn judge_order(capabilities: &Capabilities, last: Reply, followers: &[Reply]) -> Reply {
    if followers.is_empty() {
        return last;
    }
    let is_own = |reply: &Reply| ends_transfer(reply) || reply.is_refusal();
    let own = match followers.iter().find(|reply| ends_transfer(reply)) {
        // The last one answers the command behind; a refusal among these is the transfer's.
        None if !is_own(&last) => followers.iter().find(|reply| reply.is_refusal()),
        found => found,
    };
    if let Some(own) = own {
        log::info!("the server answers commands while a transfer runs; it gets them one by one");
        capabilities.give_up(Technique::Follow);
        return own.clone();
    }
    if ends_transfer(&last) {
        capabilities.prove(Technique::Follow);
    }
    last
}

/// Whether a reply says that all data was sent, as that to a command behind the transfer never does.
fn ends_transfer(reply: &Reply) -> bool {
    matches!(reply.code(), 226 | 250)
}

/// How a download has ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// The last reply.
    pub(super) reply: Reply,
    /// What its end proves.
    pub(super) verdict: Verdict,
}
