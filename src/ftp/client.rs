//! [`FtpRemote`]: an FTP server, below the directory to mount. Paths as the server writes them, and commands with their replies.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    connect_error::ConnectError,
    deadline::Deadline,
    encoding::Names,
    host::Host,
    links::Links,
    pool::{Sessions, Use},
    reply::Reply,
};
use crate::{
    budget::{Budget, Demand},
    config::FtpConfig,
    remote::{RemoteError, RemoteErrorKind, RemotePath, Result},
};

/// How many sessions a mount begins with. 2: the first file is read while its directory's listing still occupies the first one, and a
/// mount that nobody uses takes no more from the other clients of the server.
const SESSIONS_AT_START: usize = 2;

/// How long the replies to questions are waited for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Patience {
    /// As long as for anything.
    Usual,
    /// At first no longer than this.
    AtMost(Duration),
    /// So long, once a session is there.
    Own(Duration),
}

/// An FTP server, below the directory to mount.
#[derive(Debug)]
pub struct FtpRemote {
    pub(super) pool: Arc<Sessions>,
    pub(super) links: Arc<Links>,
    /// The memory for listings.
    pub(super) budget: Arc<Budget>,
    /// Whether its end is that of all sessions, and what it fetches no guess.
    is_owner: bool,
}

impl FtpRemote {
    /// Logs in to the server, learns what it can do, and enters the directory to mount.
    ///
    /// # Errors
    ///
    /// What keeps the mount from being made, in one line for the user.
    pub fn connect(config: &FtpConfig) -> std::result::Result<Arc<Self>, ConnectError> {
        let host = Host::new(config.clone());
        let first = host.first_session()?;
        let (pool, mut first) = Sessions::new(Arc::new(host), first);
        // The next one logs in meanwhile.
        pool.open_ahead(SESSIONS_AT_START);
        if let Err(error) = pool.host.enter_base(first.session()) {
            drop(first);
            pool.close();
            return Err(error);
        }
        // The first listing finds its data connection open.
        first.check_in_warm();
        Ok(Arc::new(Self {
            pool: Arc::new(pool),
            links: Arc::default(),
            budget: Budget::new(config.listing_bytes_max),
            is_owner: true,
        }))
    }

    /// The same server for a guess, whose first request has its session already; `None` when none was spare.
    pub(super) fn for_guess(&self) -> Option<Self> {
        Some(Self {
            pool: Arc::new(self.pool.for_guess()?),
            links: Arc::clone(&self.links),
            budget: Arc::clone(&self.budget),
            is_owner: false,
        })
    }

    /// Says good-bye on idle sessions and ends the background's work. What comes later finds no session.
    pub fn shutdown(&self) {
        self.pool.close();
        self.pool.host.save_profile();
    }

    /// Whether what listings take leaves room for what is asked for here.
    pub(super) fn has_room_for_listings(&self) -> bool {
        let demand = if self.is_owner {
            Demand::Program
        } else {
            Demand::Guess
        };
        if self.budget.is_enough(demand) {
            return true;
        }
        self.links.expire(Instant::now());
        self.budget.has_room(demand)
    }

    /// How the server writes names.
    pub(super) fn names(&self) -> Names {
        self.pool.host.names()
    }

    /// The path on the server, as the server writes it.
    pub(super) fn full_path(&self, path: &RemotePath) -> Result<Vec<u8>> {
        let base = self.pool.host.base();
        if path.is_root() {
            return Ok(if base.is_empty() { b"/" } else { base }.to_vec());
        }
        let below = self.names().encode(path.as_bytes());
        let below = below.ok_or_else(|| unencodable(path))?;
        Ok([base, &below].concat())
    }

    /// A link's target, as the server wrote it, as seen from the mounted directory. An absolute one counts from the server's root; only what lies below
    /// the mounted directory can be shown.
    pub(super) fn shown_target(&self, target: &[u8]) -> Option<Box<[u8]>> {
        let seen = if !target.starts_with(b"/") {
            target
        } else {
            match target.strip_prefix(self.pool.host.base())? {
                b"" => b"/",
                below if below.starts_with(b"/") => below,
                _ => return None,
            }
        };
        Some(self.names().decode(seen).into())
    }

    /// A command line about a path; `verb` ends in a space.
    pub(super) fn line(&self, verb: &str, path: &RemotePath) -> Result<Vec<u8>> {
        Ok([verb.as_bytes(), &self.full_path(path)?].concat())
    }

    /// The replies to questions, which are sent in one write, and once more on a fresh session when the connection broke.
    pub(super) fn ask(
        &self,
        path: &RemotePath,
        verb: &'static str,
        lines: &[Vec<u8>],
    ) -> Result<Vec<Reply>> {
        self.ask_with(path, verb, lines, Patience::Usual)
    }

    /// The same, with more or less patience.
    pub(super) fn ask_with(
        &self,
        path: &RemotePath,
        verb: &'static str,
        lines: &[Vec<u8>],
        patience: Patience,
    ) -> Result<Vec<Reply>> {
        let deadline = self.pool.host.deadline();
        let named = |error: RemoteError| error.with_path(path);
        let mut guard = self.pool.check_out(Use::Command, deadline).map_err(named)?;
        let deadline = guard.deadline();
        match patience {
            Patience::Usual => {}
            Patience::AtMost(wait) => guard.session().set_deadline(deadline.capped(wait)),
            Patience::Own(wait) => guard.session().set_deadline(Deadline::after(wait)),
        }
        let failure = match guard.session().exchange(verb, lines) {
            Ok(replies) => {
                guard.check_in_after_commands();
                return Ok(replies);
            }
            Err(failure) => failure,
        };
        drop(guard);
        if !failure.is_disconnected() {
            return Err(failure.into_error(path));
        }
        log::debug!("{verb} {path}: {failure:?}, once more on a fresh session");
        let guard = self.pool.check_out_fresh(Use::Command, deadline);
        let mut guard = guard.map_err(named)?;
        if let Patience::Own(wait) = patience {
            guard.session().set_deadline(Deadline::after(wait));
        }
        let replies = guard.session().exchange(verb, lines);
        guard.check_in_after_commands();
        replies.map_err(|failure| failure.into_error(path))
    }
}

impl Drop for FtpRemote {
    fn drop(&mut self) {
        if self.is_owner {
            self.shutdown();
        }
    }
}

/// The error for a path that the server's charset cannot hold.
pub(super) fn unencodable(path: &RemotePath) -> RemoteError {
    RemoteError::new(RemoteErrorKind::Unencodable, "name").with_path(path)
}
