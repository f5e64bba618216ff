//! What must be true a little later, when the server is well.

use std::{
    fs::{self, OpenOptions},
    io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::operation::{Found, Operation, hidden, pattern};
use crate::{
    common::{Mount, POLL_INTERVAL},
    safety::store,
};

/// How soon temporary files are gone after the next success, and bytes that the server does not take are set aside.
const SOON: Duration = Duration::from_secs(5);

/// How long a program may wait for its next small file.
const NEXT_MAX: Duration = Duration::from_secs(10);

/// The directory of a case, in the mount and on the server's disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) mount: &'a Mount,
    pub(super) operation: Operation,
    pub(super) dir: &'a Path,
    pub(super) disk: &'a Path,
}

impl Scene<'_> {
    /// Checks everything; `is_unsent` when the mount has bytes that the program was told are not on the server.
    pub(super) fn check(self, is_unsent: bool, is_superseded: bool, failures: &mut Vec<String>) {
        let retried = is_unsent.then(|| self.retry());
        self.check_next(failures);
        if let Some(retried) = &retried {
            failures.extend(self.check_kept(retried).err());
        }
        if !is_superseded && !matches!(retried, Some(Err(_))) {
            failures.extend(self.check_shown().err());
        }
        failures.extend(Operation::check_others(self.disk).err());
    }

    /// Asks for what is unsent once more, as fsync does.
    fn retry(self) -> io::Result<()> {
        let retry = || {
            let file = OpenOptions::new().write(true).open(self.dir.join("file"))?;
            file.sync_all()
        };
        match retry() {
            // What was set aside on this machine is not asked for again.
            Err(error) if error.raw_os_error() != Some(libc::ESTALE) => {
                thread::sleep(Duration::from_millis(300));
                retry()
            }
            done => done,
        }
    }

    /// The next small file succeeds, and the temporary files are gone soon.
    fn check_next(self, failures: &mut Vec<String>) {
        let next = || store(&self.dir.join("after"), &pattern(10, 100));
        let started = Instant::now();
        let mut done = next();
        if done.is_err() {
            thread::sleep(Duration::from_millis(500));
            done = next();
        }
        if let Err(error) = done {
            failures.push(format!("the next small file: {error}"));
        }
        if started.elapsed() > NEXT_MAX {
            failures.push(format!("the next small file took {:?}", started.elapsed()));
        }
        wait_soon(|| hidden(self.disk).is_empty());
        let left: Vec<String> = hidden(self.disk)
            .into_iter()
            .map(|(name, found)| format!("{name} ({} bytes)", found.len()))
            .collect();
        if !left.is_empty() {
            failures.push(format!("LEFT {left:?}"));
        }
    }

    /// What was written is on the server, or kept on this machine.
    fn check_kept(self, retried: &io::Result<()>) -> Result<(), String> {
        let is_new = || self.operation.found(self.disk) == Ok(Found::New);
        let is_kept = || self.operation.is_kept(&self.mount.kept());
        let is_stale = matches!(retried, Err(error) if error.raw_os_error() == Some(libc::ESTALE));
        if is_stale {
            wait_soon(|| is_new() || is_kept());
        }
        let is_shown = || {
            let shown = fs::read(self.dir.join("file"));
            shown.is_ok_and(|shown| shown == self.operation.written())
        };
        match self.operation.found(self.disk) {
            Err(what) => Err(format!("after the retry ({retried:?}): {what}")),
            Ok(Found::New) => Ok(()),
            Ok(_) if is_kept() || retried.is_err() && is_shown() => Ok(()),
            Ok(found) => Err(format!("LOST: not kept; {found:?}; the retry: {retried:?}")),
        }
    }

    /// The mount shows what is there.
    fn check_shown(self) -> Result<(), String> {
        let shown = fs::read(self.dir.join("file"));
        let there = fs::read(self.disk.join("file"));
        if shown.as_ref().ok() == there.as_ref().ok() {
            return Ok(());
        }
        let (shown, there) = (shown.map(|it| it.len()), there.map(|it| it.len()));
        Err(format!("SHOWN {shown:?}, on the disk {there:?}"))
    }
}

/// Waits until something is so, not for ever.
fn wait_soon(is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() && started.elapsed() < SOON {
        thread::sleep(POLL_INTERVAL);
    }
}
