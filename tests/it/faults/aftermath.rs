//! What must be true after the fault: at once, and a little later, when the server is well.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{
    fault::Fault,
    operation::{Operation, pattern},
    trial::{Failed, Found, Trial, check_others, hidden},
    wrong::{Failure, Wrong},
};
use crate::{
    common::{Meddler, Mount, POLL_INTERVAL, names_in},
    safety::store,
};

/// How soon temporary files are gone after the next success, and bytes that the server does not take are set aside.
const SOON: Duration = Duration::from_secs(5);

/// How long a program may wait for its next small file.
const NEXT_MAX: Duration = Duration::from_secs(10);

/// How long nothing is said before something is over.
const QUIET: Duration = Duration::from_millis(60);

/// How long that may take: longer than the proxy keeps anything.
const QUIET_TIMEOUT: Duration = Duration::from_secs(15);

/// How far a time may be off that a server shows: vsftpd shows days.
const TIME_OFF_MAX: i64 = 24 * 60 * 60;

/// The directory of a case, in the mount and on the server's disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) mount: &'a Mount,
    pub(super) meddler: &'a Meddler,
    pub(super) trial: &'a Trial,
    pub(super) dir: &'a Path,
    pub(super) disk: &'a Path,
}

/// What the program may rely on once it has done everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// Its operation has succeeded.
    Done,
    /// It has failed before anything was written.
    Nothing,
    /// It has failed, and what was written is to be kept.
    Unsent,
    /// It went on after the failure, with success.
    Newer,
    /// It went on, and that has failed as well.
    Either,
}

/// One name as programs see it.
#[derive(Debug, PartialEq, Eq)]
enum Node {
    Dir,
    /// To a file of this name: what leads to it is another path inside the mount.
    Link(Option<OsString>),
    File {
        mode: u32,
        content: Vec<u8>,
    },
}

impl Scene<'_> {
    /// What the program does next while what is late is still on its way, and what it may rely on then.
    pub(super) fn go_on(self, fault: Fault, told: &Result<Vec<u8>, Failed>) -> Claim {
        let operation = self.trial.operation;
        match told {
            Ok(_) => Claim::Done,
            Err(_) if fault == Fault::LateAgain && operation.has_name() => {
                match self.trial.store_newer(self.dir) {
                    Ok(()) => Claim::Newer,
                    Err(_) => Claim::Either,
                }
            }
            Err(Failed::Opening(_)) => Claim::Nothing,
            Err(Failed::Writing(_)) => {
                if fault == Fault::Late {
                    let _ = self.sync();
                }
                Claim::Unsent
            }
        }
    }

    /// Checks the disk against what the program was told; what was found.
    pub(super) fn check_disk(self, claim: Claim) -> Result<Found, Failure> {
        match claim {
            Claim::Newer => self.trial.check_newer(self.disk).map(|()| Found::Old),
            Claim::Either => self.trial.check_either(self.disk).map(|()| Found::Part),
            Claim::Nothing | Claim::Unsent => self.trial.found(self.disk),
            Claim::Done => match self.trial.found(self.disk)? {
                found if found != Found::New && self.trial.operation.changes() => {
                    Err(Wrong::Undone.with(format!("success, but the disk holds {found:?}")))
                }
                found => Ok(found),
            },
        }
    }

    /// Checks everything once the server is well: what is unsent, the next file, the disk and what is shown of it.
    pub(super) fn check(self, claim: Claim, failures: &mut Vec<Failure>) {
        let is_unsent = matches!(claim, Claim::Unsent | Claim::Either);
        let retried = is_unsent.then(|| self.retry());
        self.check_next(failures);
        settle(self.meddler);
        failures.extend(self.check_disk(claim).err());
        let is_newer = claim == Claim::Either;
        if let Some(retried) = &retried {
            failures.extend(self.check_kept(retried, is_newer).err());
        }
        let is_pending = matches!(retried, Some(Err(_)));
        let pending = is_pending.then(|| self.trial.written(is_newer));
        failures.extend(self.check_shown(pending).err());
        failures.extend(check_others(self.disk).err());
    }

    /// Asks for what is unsent, as fsync does.
    fn sync(self) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(self.dir.join("file"))?;
        file.sync_all()
    }

    /// The same, once more if it fails.
    fn retry(self) -> io::Result<()> {
        match self.sync() {
            // What was set aside on this machine is not asked for again.
            Err(error) if error.raw_os_error() != Some(libc::ESTALE) => {
                thread::sleep(Duration::from_millis(300));
                self.sync()
            }
            done => done,
        }
    }

    /// The next small file succeeds, and the temporary files are gone soon.
    fn check_next(self, failures: &mut Vec<Failure>) {
        let next = || store(&self.dir.join("after"), &pattern(10, 100));
        let started = Instant::now();
        let mut done = next();
        if done.is_err() {
            thread::sleep(Duration::from_millis(500));
            done = next();
        }
        if let Err(error) = done {
            failures.push(Wrong::Next.with(error.to_string()));
        }
        if started.elapsed() > NEXT_MAX {
            failures.push(Wrong::Next.with(format!("took {:?}", started.elapsed())));
        }
        wait_soon(|| hidden(self.disk).is_empty());
        failures.extend(hidden(self.disk).into_iter().map(|(name, found)| {
            let wrong = if name.contains("ftpfs-conflict") {
                Wrong::Beside
            } else {
                Wrong::Left
            };
            let trial = self.trial;
            let what = match found {
                _ if found == trial.written(false) => "ours",
                _ if found == trial.written(true) => "newer",
                _ if found == trial.operation.old() => "old",
                _ => "something else",
            };
            wrong.with(format!("{name} ({} bytes, {what})", found.len()))
        }));
    }

    /// What was written is on the server, or kept on this machine, or beside the file.
    fn check_kept(self, retried: &io::Result<()>, is_newer: bool) -> Result<(), Failure> {
        let written = self.trial.written(is_newer);
        let is = |name: &str| fs::read(self.disk.join(name)).is_ok_and(|file| file == written);
        let is_there = || is("file") || is_newer && is("renamed");
        let is_kept = || {
            let mut kept = self.mount.kept().into_iter();
            let mut beside = hidden(self.disk).into_iter().map(|(_, content)| content);
            let is_ours = |content: Vec<u8>| self.trial.is_in(&content, is_newer);
            kept.any(is_ours) || beside.any(is_ours)
        };
        let is_stale = matches!(retried, Err(error) if error.raw_os_error() == Some(libc::ESTALE));
        if is_stale {
            wait_soon(|| is_there() || is_kept());
        }
        let is_shown = || fs::read(self.dir.join("file")).is_ok_and(|shown| shown == written);
        if is_there() || is_kept() || retried.is_err() && is_shown() {
            return Ok(());
        }
        match self.trial.found(self.disk) {
            // That is said already.
            Err(_) if !is_newer => Ok(()),
            found => Err(Wrong::Lost.with(format!("not kept; {found:?}; the retry: {retried:?}"))),
        }
    }

    /// The mount shows what is there: all names, their kinds, modes and contents. Of a file with bytes that the server
    /// does not take it shows these.
    fn check_shown(self, pending: Option<&[u8]>) -> Result<(), Failure> {
        let mut differ = self.differences(pending);
        let started = Instant::now();
        while !differ.is_empty() && started.elapsed() < SOON {
            thread::sleep(10 * POLL_INTERVAL);
            differ = self.differences(pending);
        }
        if differ.is_empty() {
            return Ok(());
        }
        Err(Wrong::Shown.with(differ.join(", ")))
    }

    fn differences(self, pending: Option<&[u8]>) -> Vec<String> {
        let (shown, there) = match (nodes(self.dir), nodes(self.disk)) {
            (Ok(shown), Ok(there)) => (shown, there),
            (shown, there) => return vec![format!("{:?}, {:?}", shown.err(), there.err())],
        };
        let mut names: Vec<&String> = shown.keys().chain(there.keys()).collect();
        names.sort();
        names.dedup();
        let is_ours = |name: &str| match (shown.get(name), pending) {
            (Some(Node::File { content, .. }), Some(ours)) => name == "file" && content == ours,
            _ => false,
        };
        let mut differ: Vec<String> = names
            .into_iter()
            .filter(|name| shown.get(*name) != there.get(*name) && !is_ours(name))
            .map(|name| {
                let (shown, there) = (brief(shown.get(name)), brief(there.get(name)));
                format!("{name}: {shown}, on the disk {there}")
            })
            .collect();
        if self.trial.operation == Operation::Utimens {
            differ.extend(self.time_difference());
        }
        differ
    }

    fn time_difference(self) -> Option<String> {
        let time = |dir: &Path| fs::metadata(dir.join("file")).map(|known| known.mtime());
        let (shown, there) = (time(self.dir).ok()?, time(self.disk).ok()?);
        let is_off = (shown - there).abs() > TIME_OFF_MAX;
        is_off.then(|| format!("time {shown}, on the disk {there}"))
    }
}

/// Waits until nothing is said any more, and nothing is late.
pub(super) fn settle(meddler: &Meddler) {
    let started = Instant::now();
    while !meddler.is_quiet_for(QUIET) && started.elapsed() < QUIET_TIMEOUT {
        thread::sleep(POLL_INTERVAL / 2);
    }
}

/// What is in a directory, without temporary files.
fn nodes(dir: &Path) -> io::Result<BTreeMap<String, Node>> {
    let names = names_in(dir);
    let names = names
        .iter()
        .map(|name| String::from_utf8_lossy(name).into_owned());
    let is_hidden = |name: &str| name.trim_start_matches('.').starts_with("ftpfs-");
    let mut nodes = BTreeMap::new();
    for name in names.filter(|name| !is_hidden(name)) {
        let path = dir.join(&name);
        let known = fs::symlink_metadata(&path)?;
        let node = if known.is_dir() {
            Node::Dir
        } else if known.is_symlink() {
            Node::Link(fs::read_link(&path)?.file_name().map(OsStr::to_owned))
        } else {
            Node::File {
                mode: known.permissions().mode() & 0o7777,
                content: fs::read(&path)?,
            }
        };
        nodes.insert(name, node);
    }
    Ok(nodes)
}

fn brief(node: Option<&Node>) -> String {
    match node {
        None => "absent".to_owned(),
        Some(Node::File { mode, content }) => format!("{} bytes, mode {mode:o}", content.len()),
        Some(node) => format!("{node:?}"),
    }
}

/// Waits until something is so, not for ever.
fn wait_soon(is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() && started.elapsed() < SOON {
        thread::sleep(POLL_INTERVAL);
    }
}
