//! The remote over FTP: [`FtpRemote`], the implementation of [`Remote`] for real servers.
//!
//! What makes it hard, and who answers it:
//!
//! 1. a transfer costs four round trips where each step waits for the one before: `session/opening` is one sequence that waits late;
//! 2. a reply read at the wrong place makes every later one wrong: `session` and `transfer` are different types, and a
//!    session is thrown away after anything but a complete reply;
//! 3. sessions die unseen, and servers take only so many: `pool`;
//! 4. servers differ in what they can do: `capabilities` remembers what they say and refuse;
//! 5. making a data connection takes two round trips: `next_data` hides them behind others, `background` does it early.

mod active;
mod background;
mod before;
mod capabilities;
mod command;
mod completeness;
mod connect;
mod control;
mod conversation;
mod data;
mod deadline;
mod dialer;
mod directory;
mod download;
mod encoding;
mod ending;
mod examine;
mod links;
pub mod listing;
mod login;
mod next_data;
mod passive;
mod patch;
mod pool;
mod profile;
mod proxy;
mod range;
mod reply;
mod secure;
mod session;
mod settle;
mod shortcuts;
mod small;
mod socket;
mod stat;
#[cfg(test)]
mod tests;
mod tls;
mod transfer;

mod upload;
mod whole;
pub mod zone;

pub use connect::ConnectError;
pub use examine::{Fact, Identity, Tried, Way, probe_tls};
pub use tls::{Certificate, Protocol, TlsError};

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use self::{
    download::FileDownload,
    encoding::Names,
    links::Links,
    login::Host,
    pool::{Pool, Use},
    reply::{Failure, Reply},
    upload::FileUpload,
};
use crate::{
    config::FtpConfig,
    remote::{
        Attributes, Download, Habits, Listing, Remote, RemoteEntry, RemoteError, RemoteErrorKind,
        RemotePath, Result, Settled, Upload, UploadMode,
    },
};

/// How many sessions a mount begins with. 2: the first file is read while its directory's listing still occupies the first one, and a
/// mount that nobody uses takes no more from the other clients of the server.
const SESSIONS_AT_START: usize = 2;

/// An FTP server, below the directory to mount.
#[derive(Debug)]
pub struct FtpRemote {
    pool: Arc<Pool>,
    links: Links,
    /// Held while the server is probed for patches, so that it is probed once. The one lock that is held across the
    /// network: nobody but another asker of the same question waits for it.
    probing: Mutex<()>,
}

/// When commands may be sent once more after the connection broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// Always: done twice is done once.
    Always,
    /// Only when the session had died while idle, so that the server cannot have seen them.
    IfUnheard,
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
        let (pool, mut first) = Pool::new(Arc::new(host), first);
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
            pool,
            links: Links::default(),
            probing: Mutex::default(),
        }))
    }

    /// Says good-bye on idle sessions and ends the background's work. What comes later finds no session.
    pub fn shutdown(&self) {
        self.pool.close();
        self.pool.host.save_profile();
    }

    /// How the server writes names.
    fn names(&self) -> Names {
        self.pool.host.names()
    }

    /// The path on the server, as the server writes it.
    fn full_path(&self, path: &RemotePath) -> Result<Vec<u8>> {
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
    fn shown_target(&self, target: &[u8]) -> Option<Box<[u8]>> {
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
    fn line(&self, verb: &str, path: &RemotePath) -> Result<Vec<u8>> {
        Ok([verb.as_bytes(), &self.full_path(path)?].concat())
    }

    /// The replies to commands that may be sent twice.
    fn repeatable(
        &self,
        path: &RemotePath,
        verb: &'static str,
        lines: &[Vec<u8>],
    ) -> Result<Vec<Reply>> {
        Ok(self.exchange(path, verb, lines, Repeat::Always, None)?.0)
    }

    /// The replies to commands sent in one write, waited for no longer than `wait` if that is given, and whether they were
    /// sent twice.
    fn exchange(
        &self,
        path: &RemotePath,
        verb: &'static str,
        lines: &[Vec<u8>],
        repeat: Repeat,
        wait: Option<Duration>,
    ) -> Result<(Vec<Reply>, bool)> {
        let deadline = self.pool.host.deadline();
        let named = |error: RemoteError| error.with_path(path);
        let mut guard = self.pool.check_out(Use::Command, deadline).map_err(named)?;
        let deadline = guard.deadline();
        if let Some(wait) = wait {
            guard.session().set_deadline(deadline.capped(wait));
        }
        let failure = match guard.session().exchange(verb, lines) {
            Ok(replies) => {
                guard.check_in_after_commands();
                return Ok((replies, false));
            }
            Err(failure) => failure,
        };
        let was_unheard = !guard.is_fresh() && !guard.session().has_answered;
        drop(guard);
        if !failure.is_disconnected() || (repeat == Repeat::IfUnheard && !was_unheard) {
            return Err(failure.into_error(path));
        }
        log::debug!("{verb} {path}: {failure:?}, once more on a fresh session");
        let mut guard = self
            .pool
            .check_out_fresh(Use::Command, deadline)
            .map_err(named)?;
        let replies = guard.session().exchange(verb, lines);
        guard.check_in_after_commands();
        replies
            .map(|replies| (replies, true))
            .map_err(|failure| failure.into_error(path))
    }

    /// Sends commands that must not be done twice; the last one is `verb`. When they had to be sent twice and are refused, `is_done` looks
    /// whether the first ones were heard after all.
    fn change(
        &self,
        path: &RemotePath,
        verb: &'static str,
        lines: &[Vec<u8>],
        is_done: impl FnOnce() -> Result<bool>,
    ) -> Result<()> {
        self.change_in_steps(path, [verb, verb], lines, is_done)
    }

    /// The same for commands of which the first ones have another verb than the last.
    fn change_in_steps(
        &self,
        path: &RemotePath,
        [first, verb]: [&'static str; 2],
        lines: &[Vec<u8>],
        is_done: impl FnOnce() -> Result<bool>,
    ) -> Result<()> {
        let (replies, is_repeated) = self.exchange(path, first, lines, Repeat::IfUnheard, None)?;
        let (last, before) = match replies.as_slice() {
            [before @ .., last] => (Some(last), before),
            [] => (None, &[][..]),
        };
        let refused_before = before.iter().find(|reply| reply.is_refusal());
        let refused_before = refused_before.map(|reply| (first, reply));
        let refused_last = last.filter(|reply| !reply.is_done());
        let refused = refused_before.or(refused_last.map(|reply| (verb, reply)));
        let Some((verb, reply)) = refused else {
            return Ok(());
        };
        if is_repeated && reply.kind() == RemoteErrorKind::Refused && is_done()? {
            return Ok(());
        }
        Err(Failure::Refused(verb, reply.clone()).into_error(path))
    }
}

/// Where a relative target leads from the directory of its link, by names alone; `None` for one that leads out of the mounted directory.
fn resolved(link: &RemotePath, target: &[u8]) -> Option<RemotePath> {
    let mut at = link.parent()?;
    for name in target.split(|byte| *byte == b'/') {
        at = match name {
            b"" | b"." => at,
            b".." => at.parent()?,
            name => at.join(name).ok()?,
        };
    }
    Some(at)
}

fn unencodable(path: &RemotePath) -> RemoteError {
    RemoteError::new(RemoteErrorKind::Unencodable, "name").with_path(path)
}

impl Remote for FtpRemote {
    fn list(&self, dir: &RemotePath) -> Result<Listing> {
        self.pool.note_listing();
        directory::list(self, dir)
    }

    /// The root's entry is called `/`.
    fn stat(&self, path: &RemotePath) -> Result<Option<RemoteEntry>> {
        stat::stat(self, path)
    }

    fn open_download(
        &self,
        path: &RemotePath,
        offset: u64,
        len: Option<u64>,
    ) -> Result<Box<dyn Download>> {
        let full_path = self.full_path(path)?;
        Ok(Box::new(FileDownload::open(
            &self.pool, path, full_path, offset, len,
        )?))
    }

    fn read_small(&self, path: &RemotePath, bytes_max: usize) -> Result<Vec<u8>> {
        small::read_small(self, path, bytes_max)
    }

    fn read_small_exact(&self, path: &RemotePath, bytes_max: usize) -> Result<(Settled, Vec<u8>)> {
        small::read_small_exact(self, path, bytes_max)
    }

    fn open_upload(&self, path: &RemotePath, mode: UploadMode) -> Result<Box<dyn Upload>> {
        self.open_upload_with(path, mode, &[])
    }

    fn open_upload_with(
        &self,
        path: &RemotePath,
        mode: UploadMode,
        first: &[u8],
    ) -> Result<Box<dyn Upload>> {
        let full_path = self.full_path(path)?;
        let upload = FileUpload::open(&self.pool, path, full_path, mode, first)?;
        Ok(Box::new(upload))
    }

    fn put(
        &self,
        path: &RemotePath,
        data: &[u8],
        attributes: &Attributes,
    ) -> Result<Option<Settled>> {
        upload::put(self, path, data, attributes)
    }

    fn settle(&self, path: &RemotePath, attributes: &Attributes) -> Result<Settled> {
        settle::settle(self, path, attributes)
    }

    fn examine(&self, path: &RemotePath) -> Result<(Settled, Option<u32>)> {
        settle::examine(self, path)
    }

    fn settle_beside(
        &self,
        path: &RemotePath,
        attributes: &Attributes,
        other: &RemotePath,
    ) -> Result<(Settled, Result<Option<RemoteEntry>>)> {
        settle::settle_beside(self, path, attributes, other)
    }

    fn rename(&self, from: &RemotePath, to: &RemotePath) -> Result<()> {
        let lines = [self.line("RNFR ", from)?, self.line("RNTO ", to)?];
        let renamed = self.change_in_steps(from, ["RNFR", "RNTO"], &lines, || {
            Ok(self.stat(from)?.is_none() && self.stat(to)?.is_some())
        });
        self.links.forget();
        renamed.map_err(|error| match error.kind() {
            // Pure-FTPd says 451 to a rename that it does not allow.
            RemoteErrorKind::Failed => error.into_kind(RemoteErrorKind::Refused),
            _ => error,
        })
    }

    fn remove_file(&self, path: &RemotePath) -> Result<()> {
        let is_gone = || Ok(self.stat(path)?.is_none());
        let removed = self.change(path, "DELE", &[self.line("DELE ", path)?], is_gone);
        self.links.forget();
        removed
    }

    fn make_dir(&self, path: &RemotePath) -> Result<()> {
        // Whose directory it is that is there cannot be told.
        self.change(path, "MKD", &[self.line("MKD ", path)?], || Ok(false))
    }

    fn remove_dir(&self, path: &RemotePath) -> Result<()> {
        let is_gone = || Ok(self.stat(path)?.is_none());
        self.change(path, "RMD", &[self.line("RMD ", path)?], is_gone)
    }

    fn make_symlink(&self, target: &[u8], path: &RemotePath) -> Result<()> {
        const VERB: &str = "SITE SYMLINK";
        let capabilities = &self.pool.host.capabilities;
        let full_path = self.full_path(path)?;
        // ProFTPD takes a relative target for one in the session's directory, and not in that of the link.
        let target = if target.starts_with(b"/") {
            let encoded = self.names().encode(target);
            encoded.ok_or_else(|| unencodable(path))?.into_owned()
        } else {
            match resolved(path, target) {
                Some(target) => self.full_path(&target)?,
                None => Vec::new(),
            }
        };
        // ProFTPD splits its arguments at spaces, without any way to quote one.
        let is_sayable = !target.is_empty() && ![&*target, &full_path].concat().contains(&b' ');
        if !capabilities.learnt().has_symlink || !is_sayable {
            return Err(RemoteError::new(RemoteErrorKind::Unsupported, VERB).with_path(path));
        }
        let line = [&b"SITE SYMLINK "[..], &target, b" ", &full_path].concat();
        let made = self.change(path, VERB, &[line], || Ok(false));
        self.links.forget();
        if matches!(&made, Err(error) if error.kind() == RemoteErrorKind::Unsupported) {
            capabilities.learn(|learnt| learnt.has_symlink = false);
        }
        made
    }

    fn read_link(&self, path: &RemotePath) -> Result<Box<[u8]>> {
        directory::read_link(self, path)
    }

    fn space(&self, dir: &RemotePath) -> Result<Option<u64>> {
        let capabilities = &self.pool.host.capabilities;
        if !capabilities.learnt().has_avbl {
            return Ok(None);
        }
        let replies = self.repeatable(dir, "AVBL", &[self.line("AVBL ", dir)?])?;
        let Some(reply) = replies.first() else {
            return Ok(None);
        };
        if reply.is_unknown_command() {
            capabilities.learn(|learnt| learnt.has_avbl = false);
        }
        Ok(stat::size_of(reply))
    }

    fn name_len(&self, name: &[u8]) -> Option<usize> {
        self.names().encode(name).map(|wire| wire.len())
    }

    fn habits(&self) -> Habits {
        self.pool.host.capabilities.learnt().habits
    }

    fn keep_habits(&self, habits: Habits) {
        let capabilities = &self.pool.host.capabilities;
        capabilities.learn(|learnt| learnt.habits = habits);
    }

    fn is_contended(&self) -> bool {
        self.pool.is_contended()
    }

    fn ahead(&self, work: &mut dyn FnMut()) -> bool {
        self.pool.ahead(work)
    }

    fn spare_transfers(&self) -> usize {
        self.pool.spare_transfers()
    }

    fn can_patch(&self, dir: &RemotePath) -> bool {
        let capabilities = &self.pool.host.capabilities;
        let _probing = self.probing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = capabilities.learnt().has_patch {
            return known;
        }
        let found = patch::probe(self, dir);
        if let Some(has_patch) = found {
            log::info!(
                "writing into the middle of files {}",
                if has_patch { "works" } else { "is refused" }
            );
            capabilities.learn(|learnt| learnt.has_patch = Some(has_patch));
        }
        found.unwrap_or(false)
    }
}

impl Drop for FtpRemote {
    fn drop(&mut self) {
        self.shutdown();
    }
}
