//! A download: counts its bytes, goes on by itself where a broken connection left it, and gives its session back early.

use std::{io, ops::RangeInclusive, sync::Arc};

use super::{
    FtpRemote,
    capabilities::Shortcut,
    command::DataCommand,
    pool::{Pool, Use},
    reply::{Failure, Fault, Reply},
    settle::{self, Asking},
    stat::size_of,
    transfer::Transfer,
};
use crate::remote::{
    Attributes, Download, Phase, RemoteError, RemoteErrorKind, RemotePath, Result, Settled,
};

/// The longest listing that is read. 128 MiB: three times the largest directory promised, 100,000 entries, were all their names
/// 255 bytes long; what is longer is no listing, or more than memory should hold.
const LISTING_BYTES_MAX: usize = 128 << 20;

/// One file's bytes from an offset on.
#[derive(Debug)]
pub(super) struct FileDownload {
    pool: Arc<Pool>,
    path: RemotePath,
    full_path: Vec<u8>,
    position: u64,
    left: Option<u64>,
    /// None when it is over.
    transfer: Option<Transfer>,
    /// How many bytes still come before the position, from a server without REST.
    to_skip: u64,
    /// Where the connection broke last; breaking there again is the end.
    broke_at: Option<u64>,
    error: Option<RemoteError>,
}

impl FileDownload {
    /// Starts to read. The server's go-ahead was read when this returns.
    pub(super) fn open(
        pool: &Arc<Pool>,
        path: &RemotePath,
        full_path: Vec<u8>,
        offset: u64,
        len: Option<u64>,
    ) -> Result<Self> {
        let mut download = Self {
            pool: Arc::clone(pool),
            path: path.clone(),
            full_path,
            position: offset,
            left: len,
            transfer: None,
            to_skip: 0,
            broke_at: None,
            error: None,
        };
        if len != Some(0) {
            download.start()?;
        }
        Ok(download)
    }

    /// What is asked of the server. With a range nothing comes that is not wanted, so that the transfer ends by itself, and what
    /// comes next can be asked for along with it.
    fn wanted(&self, range: Option<RangeInclusive<u64>>) -> DataCommand<'static> {
        let capabilities = &self.pool.host.capabilities;
        let has_rest = capabilities.learnt().has_rest;
        DataCommand {
            rest: (self.position > 0 && has_rest).then_some(self.position),
            verb: "RETR",
            argument: self.full_path.clone(),
            asks_next: range.is_some() && capabilities.may_ask_with_transfer(),
            // A server may bear that in a listing and not in a long download: not again where one broke.
            ends_early: self.pool.host.early_end() == Shortcut::Works
                && (self.left.is_none() || range.is_some())
                && self.broke_at.is_none(),
            range,
            ..DataCommand::default()
        }
    }

    /// The bytes that are wanted, where the server can be told.
    fn range(&self) -> Option<RangeInclusive<u64>> {
        let last = self.position.checked_add(self.left?.checked_sub(1)?)?;
        let may_bound = self.pool.host.capabilities.may_bound();
        may_bound.then_some(self.position..=last)
    }

    /// Starts a transfer; of no more than what is wanted where the server takes that.
    fn request(&self) -> Result<Transfer> {
        let Some(range) = self.range() else {
            return self.open_plain();
        };
        let capabilities = &self.pool.host.capabilities;
        let is_trial = capabilities.learnt().range == Shortcut::Untried;
        match self.open_range(&range) {
            Ok(Some(transfer)) => Ok(transfer),
            Ok(None) => self.open_plain(),
            Err(error) if is_trial && error.kind() == RemoteErrorKind::Disconnected => {
                // On a fresh session as well; it may be the server, or the way to it.
                let transfer = self.open_plain()?;
                log::info!("RANG costs the session ({error}): parts of files are read without it");
                capabilities.learn(|learnt| learnt.range = Shortcut::Fails);
                Ok(transfer)
            }
            Err(error) if is_trial && error.kind() == RemoteErrorKind::TimedOut(Phase::Reply) => {
                // Nobody waits twice as long for that; whoever comes next gets on if it was for RANG.
                capabilities.learn(|learnt| learnt.range = Shortcut::Fails);
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    fn open_plain(&self) -> Result<Transfer> {
        let wanted = self.wanted(None);
        self.pool.with_session(Use::Transfer, &self.path, |guard| {
            Transfer::open(guard, &wanted)
        })
    }

    /// `None` when the file is refused for the sake of the range.
    fn open_range(&self, range: &RangeInclusive<u64>) -> Result<Option<Transfer>> {
        let wanted = self.wanted(Some(range.clone()));
        self.pool.with_session(Use::Transfer, &self.path, |guard| {
            match Transfer::open(guard, &wanted) {
                // ProFTPD answers 554 to a range with an end behind that of the file, 451 where it allows no offsets.
                Err(Failure::Refused("RETR", reply)) if reply.code() != 550 => Ok(None),
                opened => opened.map(Some),
            }
        })
    }

    fn start(&mut self) -> Result<()> {
        let capabilities = &self.pool.host.capabilities;
        let has_rest = capabilities.learnt().has_rest;
        match self.request() {
            Ok(transfer) => {
                self.transfer = Some(transfer);
                self.to_skip = if has_rest { 0 } else { self.position };
            }
            Err(error)
                if error.command() == "REST" && error.kind() == RemoteErrorKind::Unsupported =>
            {
                log::info!("the server does not know REST: files are read from their beginning");
                capabilities.learn(|learnt| learnt.has_rest = false);
                return self.start();
            }
            // ProFTPD and pyftpdlib answer 554 to an offset behind the end of a file that shrank: nothing is left to read.
            Err(error) if error.kind() == RemoteErrorKind::Refused && self.is_behind_end() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Whether the server says that the file ends at the position or before it.
    fn is_behind_end(&self) -> bool {
        self.position > 0 && self.size().is_some_and(|size| size <= self.position)
    }

    /// The file's size as the server tells it now.
    fn size(&self) -> Option<u64> {
        let line = [b"SIZE ", self.full_path.as_slice()].concat();
        let asked = self
            .pool
            .with_session(Use::Command, &self.path, |mut guard| {
                let reply = guard.session().command("SIZE", &line)?;
                guard.check_in();
                Ok(reply)
            });
        asked.ok().as_ref().and_then(size_of)
    }

    /// The data has ended: the server has to say that this was all.
    fn end(&mut self) -> std::result::Result<(), Failure> {
        let Some(transfer) = self.transfer.take() else {
            return Ok(());
        };
        let (reply, guard) = transfer.finish()?;
        guard.check_in_warm();
        if reply.is_done() {
            Ok(())
        } else {
            Err(Failure::Refused("RETR", reply))
        }
    }

    /// TLS has ended without `close_notify`: besides the server's word for it, the size has to be right where it is told.
    fn end_unannounced(&mut self) -> std::result::Result<(), Failure> {
        self.end()?;
        match self.size() {
            Some(size) if size > self.position => Err(Failure::Broken(
                "RETR",
                Fault::new(
                    RemoteErrorKind::Disconnected,
                    "the data connection ended too early and without notice",
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Goes on from where the connection broke, if it got any further than the last time.
    fn resume(&mut self, failure: Failure) -> Result<()> {
        let is_stuck = self.broke_at == Some(self.position);
        if !failure.is_disconnected() || is_stuck {
            return Err(failure.into_error(&self.path));
        }
        log::info!(
            "RETR {}: the connection broke at {}, going on",
            self.path,
            self.position
        );
        self.broke_at = Some(self.position);
        self.start()
    }

    fn read_once(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            let Some(transfer) = self.transfer.as_mut() else {
                return Ok(0);
            };
            let most = usize::try_from(self.to_skip).unwrap_or(usize::MAX);
            let skipped = buffer.len().min(most);
            let part = match skipped {
                0 => &mut *buffer,
                _ => buffer.get_mut(..skipped).unwrap_or_default(),
            };
            let failure = match transfer.read(part) {
                Ok(count @ 1..) if skipped > 0 => {
                    self.to_skip -= u64::try_from(count).unwrap_or(self.to_skip);
                    continue;
                }
                Ok(0) => match self.end() {
                    Ok(()) => return Ok(0),
                    Err(failure) => failure,
                },
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    match self.end_unannounced() {
                        Ok(()) => return Ok(0),
                        Err(failure) => failure,
                    }
                }
                Err(error) => {
                    if let Some(transfer) = self.transfer.take() {
                        transfer.discard();
                    }
                    Failure::Broken("RETR", Fault::from_io(&error, Phase::Data))
                }
            };
            self.resume(failure)?;
        }
    }
}

impl Download for FileDownload {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let most = self.left.map_or(usize::MAX, |left| {
            usize::try_from(left).unwrap_or(usize::MAX)
        });
        let wanted = buffer.len().min(most);
        let Some(buffer) = buffer.get_mut(..wanted).filter(|buffer| !buffer.is_empty()) else {
            return Ok(0);
        };
        let count = self
            .read_once(buffer)
            .inspect_err(|error| self.error = Some(error.clone()))?;
        let counted = u64::try_from(count).unwrap_or(u64::MAX);
        self.position += counted;
        self.left = self.left.map(|left| left.saturating_sub(counted));
        if self.left == Some(0) {
            // The rest is the background's business, from this moment on.
            self.transfer = None;
        }
        Ok(count)
    }
}

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
) -> Result<(Settled, Vec<u8>)> {
    let nothing = Attributes::default();
    if remote.pool.host.capabilities.learnt().has_pipelining {
        let mut asking = Asking::new(remote, path, &nothing)?;
        let (told, content) = ask_and_read(remote, path, bytes_max, asking.lines())?;
        if let Some(settled) = asking.judge(told)? {
            return Ok((settled, content));
        }
    }
    let settled = settle::settle(remote, path, &nothing)?;
    Ok((settled, read_small(remote, path, bytes_max)?))
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
        ends_early: pool.host.early_end() == Shortcut::Works,
        ..DataCommand::default()
    };
    pool.with_session(Use::Transfer, path, |guard| {
        let mut transfer = Transfer::open(guard, &wanted)?;
        let told = transfer.take_told();
        Ok((told, read_to_end(transfer, "RETR", bytes_max)?.bytes))
    })
}

/// Reads a whole listing. The next data connection is asked for in the same write where the server works on one command after
/// the other: a TYPE behind the first listing, which changes nothing, shows whether it does. pyftpdlib answers before the listing is over.
pub(super) fn read_listing(
    remote: &FtpRemote,
    dir: &RemotePath,
    wanted: &DataCommand<'_>,
) -> Result<Whole> {
    let host = &remote.pool.host;
    let capabilities = &host.capabilities;
    let fetch = || {
        remote.pool.with_session(Use::Listing, dir, |guard| {
            let learnt = capabilities.learnt();
            let is_trial = learnt.followers == Shortcut::Untried && learnt.has_pipelining;
            let wanted = DataCommand {
                followers: is_trial.then(|| b"TYPE I".to_vec()).into_iter().collect(),
                asks_next: capabilities.may_ask_with_transfer(),
                ends_early: host.early_end() != Shortcut::Fails,
                ..wanted.clone()
            };
            let transfer = Transfer::open(guard, &wanted)?;
            read_to_end(transfer, wanted.verb, LISTING_BYTES_MAX)
        })
    };
    let is_trial = host.early_end() == Shortcut::Untried;
    let outcome = fetch();
    let ended = match &outcome {
        // A server may take our `close_notify` for the end of all, as TLS 1.2 has it.
        Ok(whole) if whole.is_cut => Shortcut::Fails,
        Ok(_) => Shortcut::Works,
        // The data connection broke, or was refused: perhaps because the server took our end for the end of all.
        Err(error) if error.kind() == RemoteErrorKind::Disconnected => Shortcut::Fails,
        Err(_) => return outcome,
    };
    if !is_trial {
        return outcome;
    }
    host.learn_early_end(ended);
    match ended {
        Shortcut::Fails => fetch(),
        _ => outcome,
    }
}

/// Reads all the data, up to `bytes_max`, and the server's confirmation.
fn read_to_end(
    mut transfer: Transfer,
    verb: &'static str,
    bytes_max: usize,
) -> std::result::Result<Whole, Failure> {
    let mut bytes = Vec::with_capacity(16 << 10);
    let mut chunk = vec![0; 64 << 10];
    let mut is_cut = false;
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
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                is_cut = true;
                break;
            }
            Err(error) => {
                transfer.discard();
                return Err(broken(verb, &error));
            }
        }
    }
    let (reply, mut guard) = transfer.finish()?;
    let reply = match guard.session().read_followers() {
        Ok(followers) => judge_order(guard.pool(), reply, &followers),
        // The data is complete and confirmed; what is wrong with the session ends with it.
        Err(fault) if ends_transfer(&reply) => {
            log::debug!("behind {verb}: {}", fault.detail);
            reply
        }
        Err(fault) => return Err(Failure::Broken(verb, fault)),
    };
    guard.check_in_warm();
    if reply.is_done() {
        Ok(Whole {
            bytes,
            reply,
            is_cut,
        })
    } else {
        Err(Failure::Refused(verb, reply))
    }
}

/// The transfer's own last reply, out of it and those to the commands behind it.
fn judge_order(pool: &Pool, last: Reply, followers: &[Reply]) -> Reply {
    if followers.is_empty() {
        return last;
    }
    let capabilities = &pool.host.capabilities;
    let is_own = |reply: &Reply| ends_transfer(reply) || reply.is_refusal();
    let own = match followers.iter().find(|reply| ends_transfer(reply)) {
        // The last one answers the command behind; a refusal among these is the transfer's.
        None if !is_own(&last) => followers.iter().find(|reply| reply.is_refusal()),
        found => found,
    };
    if let Some(own) = own {
        log::info!("the server answers commands while a transfer runs; it gets them one by one");
        capabilities.fail_followers();
        return own.clone();
    }
    if ends_transfer(&last) {
        capabilities.learn(|learnt| {
            if learnt.followers == Shortcut::Untried {
                learnt.followers = Shortcut::Works;
            }
        });
    }
    last
}

/// Whether a reply says that all data was sent, as that to a command behind the transfer never does.
fn ends_transfer(reply: &Reply) -> bool {
    matches!(reply.code(), 226 | 250)
}

/// What [`read_listing`] read.
#[derive(Debug)]
pub(super) struct Whole {
    /// All the data.
    pub(super) bytes: Vec<u8>,
    /// The reply behind it.
    pub(super) reply: Reply,
    /// Whether TLS ended without `close_notify`: some of it may be missing.
    pub(super) is_cut: bool,
}

impl Whole {
    /// Whether the last line ends, so that the listing was not cut off in the middle of one.
    pub(super) fn ends_a_line(&self) -> bool {
        self.bytes.last().is_none_or(|byte| *byte == b'\n')
    }
}

fn broken(verb: &'static str, error: &io::Error) -> Failure {
    Failure::Broken(verb, Fault::from_io(error, Phase::Data))
}
