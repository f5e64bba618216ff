//! A download: counts its bytes, goes on by itself where a broken connection left it, and gives its session back early.

use std::{ops::RangeInclusive, sync::Arc};

use super::{
    command::DataCommand,
    completeness::{Verdict, judge, judge_size},
    pool::{Sessions, Use},
    range,
    reply::{Failure, Fault},
    stat::{ask_size, ask_versions},
    transfer::Transfer,
};
use crate::remote::{Download, Phase, RemoteError, RemoteErrorKind, RemotePath, Reported, Result};

/// One file's bytes from an offset on.
#[derive(Debug)]
pub(super) struct FileDownload {
    pool: Arc<Sessions>,
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
    /// The version that is wanted, where that matters.
    expected: Option<Reported>,
    error: Option<RemoteError>,
}

impl FileDownload {
    /// Starts to read. The server's go-ahead was read when this returns.
    pub(super) fn open(
        pool: &Arc<Sessions>,
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
            expected: None,
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
            ends_early: self.pool.host.ends_early()
                && (self.left.is_none() || range.is_some())
                && self.broke_at.is_none(),
            range,
            ..DataCommand::default()
        }
    }

    /// The bytes that are wanted, where the server can be given their end.
    fn range(&self) -> Option<RangeInclusive<u64>> {
        let last = self.position.checked_add(self.left?.checked_sub(1)?)?;
        let may_bound = range::may_bound(&self.pool.host.capabilities);
        may_bound.then_some(self.position..=last)
    }

    /// Starts a transfer; of no more than what is wanted where the server takes that.
    fn request(&self) -> Result<Transfer> {
        let plain = || {
            let wanted = self.wanted(None);
            self.pool.with_session(Use::Transfer, &self.path, |guard| {
                Transfer::open(guard, &wanted)
            })
        };
        let Some(range) = self.range() else {
            return plain();
        };
        let wanted = self.wanted(Some(range));
        let bounded = || {
            self.pool.with_session(Use::Transfer, &self.path, |guard| {
                match Transfer::open(guard, &wanted) {
                    Err(failure) if range::is_refused(&failure) => Ok(None),
                    opened => opened.map(Some),
                }
            })
        };
        range::start(&self.pool.host.capabilities, bounded, plain)
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

    /// The file's size now, where the server has that.
    fn size(&self) -> Option<u64> {
        ask_size(&self.pool, &self.path, &self.full_path)
    }

    /// The data has ended: the server has to say that this was all.
    fn end(&mut self) -> std::result::Result<(), Failure> {
        let Some(transfer) = self.transfer.take() else {
            return Ok(());
        };
        let end = transfer.data_end();
        let (reply, guard) = transfer.finish()?;
        guard.check_in_warm();
        match judge("RETR", end, &reply)? {
            Verdict::Whole => Ok(()),
            Verdict::Unproven => {
                let size = self.size();
                judge_size("RETR", self.position, size, &self.pool.host.notices)
            }
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
        if !self.is_still_wanted()? {
            let error = RemoteError::new(RemoteErrorKind::Failed, "RETR").with_path(&self.path);
            return Err(error.with_source(
                "the connection broke, and others have changed the file since it was looked at",
            ));
        }
        self.start()
    }

    /// Whether the file is still the version that is wanted, as far as the server says. From the beginning on, any will do.
    fn is_still_wanted(&self) -> Result<bool> {
        let Some(expected) = self.expected.filter(|_| self.position > 0) else {
            return Ok(true);
        };
        let now = ask_versions(&self.pool, &self.path, &self.full_path)?;
        Ok(now.is_empty() || now.iter().any(|now| now.agrees_with(&expected)))
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
    fn expect(&mut self, version: Reported) {
        self.expected = Some(version);
    }

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
