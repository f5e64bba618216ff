//! The mounts of one server that still send their last changes: a new mount of the same directory waits for them.
//!
//! umount(8) returns while the process behind the mount still sends. What another mount stores meanwhile could be met by that. So
//! each mount has a small file in the state directory, which it holds by a lock for as long as its process lives, and in which it says
//! when it begins to end.
//!
//! 1. *No moment may be free of both.* The mount is gone from the kernel's table before its process hears of it. So a mount that is held,
//!    not there any more and does not say that it sends is waited for too, for a moment.
//! 2. *A process that was killed must not be waited for.* The kernel takes its lock away. The next mount removes its file.
//! 3. *It is a courtesy.* Without a state directory nothing is written and nobody waits: whatever is sent late finds the version that it
//!    was made for, or is a conflict.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process, thread,
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::table::MountTable;
use crate::{
    config::{BaseDir, Config},
    local, printed,
};

/// How much longer than `--drain-timeout` uploads that do not move are waited for: the drain itself gives up first, unless it hangs.
pub(super) const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// How often it is looked whether the others have ended. Short against what anyone notices.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a mount is waited for that is not there any more and does not say that it sends. 2 s: its process needs milliseconds to hear
/// of its end. One that was unmounted lazily, and is in use, never says so.
const SILENCE_MAX: Duration = Duration::from_secs(2);

/// The longest file that is read: many times a real one.
const BYTES_MAX: u64 = 64 << 10;

/// What a mount says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Account {
    pid: u32,
    mountpoint: PathBuf,
    base: String,
    /// The mount's `major:minor`, and the namespace in which it is to be seen.
    device: String,
    namespace: PathBuf,
    stage: Stage,
}

/// How far its life has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    Serving,
    /// It sends so many files.
    Draining(usize),
}

/// This mount's file, which goes when it is dropped; `None` where there can be none.
#[derive(Debug)]
pub(super) struct Presence(Option<Held>);

#[derive(Debug)]
struct Held {
    /// Locked.
    file: File,
    path: PathBuf,
    account: Account,
}

impl Presence {
    /// Of a mount that is there already, and of which nobody has asked anything.
    pub(super) fn new(config: &Config, mountpoint: &Path, device: &str) -> Self {
        let account = Account {
            pid: process::id(),
            mountpoint: mountpoint.to_owned(),
            base: describe(&config.ftp.base),
            device: device.to_owned(),
            namespace: namespace(),
            stage: Stage::Serving,
        };
        let held = Held::new(&config.mount.presence_dir, account);
        let held = held.inspect_err(|error| {
            let dir = config.mount.presence_dir.display();
            log::debug!("{dir}: {error}; the next mount will not wait for this one");
        });
        Self(held.ok())
    }

    /// Without a file.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// The mount ends, and sends so many files before.
    pub(super) fn note_draining(&mut self, files: usize) {
        let Some(held) = &mut self.0 else { return };
        held.account.stage = Stage::Draining(files);
        if let Err(error) = held.write() {
            log::debug!("{}: {error}", held.path.display());
        }
    }
}

impl Held {
    fn new(dir: &Path, account: Account) -> io::Result<Self> {
        local::private_dir(dir)?;
        // Locked before it has a name that others look at.
        let file = tempfile::Builder::new().prefix(".").tempfile_in(dir)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let path = dir.join(format!("{}-{:08x}", account.pid, fastrand::u32(..)));
        let held = Self {
            file: file.as_file().try_clone()?,
            path,
            account,
        };
        held.write()?;
        file.persist_noclobber(&held.path)?;
        Ok(held)
    }

    fn write(&self) -> io::Result<()> {
        let mut line = serde_json::to_vec(&self.account)?;
        // What was there before may be longer, and is read to the end of the line.
        line.push(b'\n');
        self.file.write_all_at(&line, 0)?;
        self.file.set_len(line.len() as u64)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            log::debug!("{}: {error}", self.path.display());
        }
    }
}

/// Waits while others send what was written to the directory to mount, to one above it, or to one below it: at most for `--drain-timeout`,
/// and as long as they may take to see that nothing moves.
pub(super) fn wait_for_others(config: &Config) {
    let limit = config.fs.drain_timeout + DRAIN_GRACE;
    let started = Instant::now();
    let mut is_said = false;
    while let Some((other, files)) = first_of_others(config, started.elapsed() < SILENCE_MAX) {
        if started.elapsed() >= limit {
            log::warn!(
                "process {} still sends what was written to {}; this mount waits no longer for it",
                other.pid,
                other.mountpoint.display()
            );
            return;
        }
        if let Some(files) = files.filter(|_| !is_said) {
            is_said = true;
            printed::complain(format_args!(
                "waiting for the previous mount of {} on {} (process {}) to send {files} {}, for {} seconds at most",
                config.mount.source,
                other.mountpoint.display(),
                other.pid,
                if files == 1 { "file" } else { "files" },
                limit.as_secs()
            ));
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// A mount that is to be waited for, and how many files it sends; `None` as the number of one that has not said so yet, which counts as
/// long as it `may_be_silent`.
fn first_of_others(config: &Config, may_be_silent: bool) -> Option<(Account, Option<usize>)> {
    let ours = describe(&config.ftp.base);
    let others = living(&config.mount.presence_dir).into_iter();
    let mut others = others.filter(|other| may_overlap(&ours, &other.base));
    others.find_map(|other| match other.stage {
        Stage::Draining(files) => Some((other, Some(files))),
        Stage::Serving if may_be_silent && is_gone(&other) => Some((other, None)),
        Stage::Serving => None,
    })
}

/// Whether a mount is not to be seen any more where this process would see it.
fn is_gone(other: &Account) -> bool {
    let table = MountTable::read();
    other.namespace == namespace() && table.is_ok_and(|table| !table.has_device(&other.device))
}

/// What the mounts say whose processes live; the files of others are removed.
fn living(dir: &Path) -> Vec<Account> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let named = entries.filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
    named
        .filter_map(|entry| {
            let path = entry.path();
            account_of_living(&path)
                .inspect_err(|error| log::debug!("{}: {error}", path.display()))
                .ok()?
        })
        .collect()
}

fn account_of_living(path: &Path) -> io::Result<Option<Account>> {
    let file = File::open(path)?;
    // Shared: another mount that looks at the same time is not taken for the owner.
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            fs::remove_file(path)?;
            Ok(None)
        }
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut line = String::new();
            let limited = io::Read::take(file, BYTES_MAX);
            io::BufRead::read_line(&mut io::BufReader::new(limited), &mut line)?;
            Ok(Some(serde_json::from_str(&line)?))
        }
        Err(error) => Err(error.into()),
    }
}

fn namespace() -> PathBuf {
    fs::read_link("/proc/self/ns/mnt").unwrap_or_default()
}

/// A directory of the server in one word; one that counts from the login directory begins with `~`.
fn describe(base: &BaseDir) -> String {
    match base {
        BaseDir::Login(dir) => format!("~/{}", dir.escape_ascii()),
        BaseDir::Absolute(dir) => dir.escape_ascii().to_string(),
    }
}

/// Whether one of two directories is the other, or may lie in it.
fn may_overlap(one: &str, other: &str) -> bool {
    let names = |dir| -> Vec<&str> {
        str::split(dir, '/')
            .filter(|name| !matches!(*name, "" | "."))
            .collect()
    };
    let (one, other) = (names(one), names(other));
    // Which of them the login directory lies in is not known here.
    let is_unclear = one.first().is_some_and(|name| *name == "~")
        != other.first().is_some_and(|name| *name == "~")
        || one.contains(&"..")
        || other.contains(&"..");
    is_unclear || one.iter().zip(&other).all(|(one, other)| one == other)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn account(stage: Stage) -> Account {
        Account {
            pid: 77,
            mountpoint: "/mnt".into(),
            base: "~/dir".into(),
            device: "0:1".into(),
            namespace: namespace(),
            stage,
        }
    }

    #[test]
    fn directories_overlap_that_hold_each_other_or_may() {
        let table = [
            ("~/", "~/", true),
            ("~/", "~/a", true),
            ("~/a/b/", "~/a", true),
            ("~/a", "~/ab", false),
            ("~/a/b", "~/a/c", false),
            ("/", "/a", true),
            ("/a", "/b", false),
            ("/a", "~/b", true),
            ("/", "~/", true),
            ("~/a/../b", "~/b", true),
        ];
        for (one, other, expected) in table {
            assert_eq!(may_overlap(one, other), expected, "{one} {other}");
            assert_eq!(may_overlap(other, one), expected, "{other} {one}");
        }
    }

    #[test]
    fn a_mount_is_seen_while_its_process_holds_its_file() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("a/b");
        assert!(living(&dir).is_empty());
        let held = Held::new(&dir, account(Stage::Draining(300))).unwrap();
        let mode = fs::metadata(&dir).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let mut presence = Presence(Some(held));
        assert_eq!(living(&dir), [account(Stage::Draining(300))]);
        presence.note_draining(2);
        assert_eq!(living(&dir), [account(Stage::Draining(2))]);
        drop(presence);
        assert!(living(&dir).is_empty() && fs::read_dir(&dir).unwrap().next().is_none());
    }

    #[test]
    fn what_a_killed_process_has_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join("77-00000000");
        let text = serde_json::to_string(&account(Stage::Draining(1))).unwrap();
        fs::write(&left, text).unwrap();
        assert!(living(dir.path()).is_empty());
        assert!(!left.exists());
    }

    #[test]
    fn only_a_mount_of_this_namespace_is_known_to_be_gone() {
        let mut other = account(Stage::Serving);
        other.device = "no device".into();
        assert!(is_gone(&other));
        other.namespace = "mnt:[1]".into();
        assert!(!is_gone(&other));
    }
}
