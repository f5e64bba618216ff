//! A download that is read to its end at once: a listing, or a small file.

use super::{
    capabilities::Capabilities,
    completeness::{Verdict, judge},
    reply::{Failure, Fault, Reply},
    shortcuts::Technique,
    transfer::Transfer,
};
use crate::remote::{Phase, RemoteErrorKind};

/// Reads all the data, up to `bytes_max`, and the server's confirmation.
pub(super) fn read_to_end(
    mut transfer: Transfer,
    verb: &'static str,
    bytes_max: usize,
) -> Result<Whole, Failure> {
    let mut bytes = Vec::with_capacity(16 << 10);
    let mut chunk = vec![0; 64 << 10];
    loop {
        match transfer.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) if count > bytes_max - bytes.len() => {
                transfer.discard();
                let detail = format!("the answer is longer than {bytes_max} bytes");
                return Err(Failure::Broken(
                    verb,
                    Fault::new(RemoteErrorKind::Protocol, detail),
                ));
            }
            Ok(count) => bytes.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            Err(error) => {
                transfer.discard();
                return Err(Failure::Broken(verb, Fault::from_io(&error, Phase::Data)));
            }
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
    Ok(Whole {
        bytes,
        reply,
        verdict,
    })
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

/// All the data of a download.
#[derive(Debug)]
pub(super) struct Whole {
    /// All the data.
    pub(super) bytes: Vec<u8>,
    /// The reply behind it.
    pub(super) reply: Reply,
    /// What its end proves.
    pub(super) verdict: Verdict,
}

impl Whole {
    /// Whether the last line ends, so that the listing was not cut off in the middle of one.
    pub(super) fn ends_a_line(&self) -> bool {
        self.bytes.last().is_none_or(|byte| *byte == b'\n')
    }
}
