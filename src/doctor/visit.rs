//! One examination while it goes on: the settings, the session, and what the checks leave for those after them.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::{problem::Problem, report::Report, scratch::Work};
use crate::{
    config::FtpConfig,
    ftp::{ConnectError, FtpRemote},
    remote::Listing,
};

/// How often, and after which pause, a further login is tried again. 2 s in all: a server that takes few sessions may not have noticed
/// yet that the one before is over.
const RETRIES: (u32, Duration) = (10, Duration::from_millis(200));

/// An examination of one server.
#[derive(Debug)]
pub(super) struct Visit<'a> {
    /// How the server is reached.
    pub(super) config: &'a FtpConfig,
    /// Whether nothing is to be written.
    pub(super) is_read_only: bool,
    /// What was found so far.
    pub(super) report: Report,
    /// The directory, once it was listed.
    pub(super) listing: Listing,
    /// What came of the work on scratch files; `None` where none was made.
    pub(super) work: Option<Work>,
    remote: Option<Arc<FtpRemote>>,
}

impl<'a> Visit<'a> {
    pub(super) fn new(config: &'a FtpConfig, is_read_only: bool) -> Self {
        Self {
            config,
            is_read_only,
            report: Report::new(config),
            listing: Listing::default(),
            work: None,
            remote: None,
        }
    }

    /// Logs in for the first time, without patience; how long that took.
    pub(super) fn log_in(&mut self) -> Result<Duration, ConnectError> {
        let start = Instant::now();
        self.remote = Some(FtpRemote::connect(self.config)?);
        Ok(start.elapsed())
    }

    /// The session that there is, or a new one.
    pub(super) fn session(&mut self) -> Result<Arc<FtpRemote>, Problem> {
        if let Some(remote) = &self.remote {
            return Ok(remote.clone());
        }
        let remote =
            connect(self.config).map_err(|error| Problem::of_connect(&error, self.config))?;
        Ok(self.remote.insert(remote).clone())
    }

    /// Logs out, for checks that log in by themselves: the server may take one session only.
    pub(super) fn leave(&mut self) {
        if let Some(remote) = self.remote.take() {
            remote.shutdown();
        }
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Logs in once more.
pub(super) fn connect(config: &FtpConfig) -> Result<Arc<FtpRemote>, ConnectError> {
    patiently(|| FtpRemote::connect(config))
}

/// Does what opens a session until there is room for it.
pub(super) fn patiently<T>(open: impl Fn() -> Result<T, ConnectError>) -> Result<T, ConnectError> {
    let (mut left, pause) = RETRIES;
    loop {
        match open() {
            Err(error) if error.is_limit() && left > 0 => {
                left -= 1;
                thread::sleep(pause);
            }
            outcome => return outcome,
        }
    }
}
