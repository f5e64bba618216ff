//! A mount made by the real binary, as a child process that is not the one that tests.

use std::{
    fs,
    io::ErrorKind,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{POLL_INTERVAL, Server, wait_for};

/// How long a mount may take to be there.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// How long an unmount may take, which finishes uploads.
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest life of a mount. A test that hangs in a system call cannot give up by itself: the filesystem is
/// killed, and the call fails.
const LIFE_MAX: Duration = Duration::from_secs(150);

/// The most of a log that is shown when a test fails.
const LOG_BYTES_MAX: usize = 64 << 10;

/// A mounted server; unmounted when dropped.
#[derive(Debug)]
pub(crate) struct Mount {
    dir: TempDir,
    /// The filesystem's home: its log, caches and spools.
    home: TempDir,
    child: Child,
    watchdog: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
    /// Whether its end may leave something unsent, which its exit status shows.
    may_end_badly: bool,
}

impl Mount {
    /// Mounts a server, in the foreground, with `-o` options; one with TLS as its authority vouches for it.
    pub(crate) fn new(server: &Server, options: &[&str]) -> Self {
        let authority = server
            .authority()
            .map(|file| format!("ca-file={}", file.display()));
        let options: Vec<&str> = authority
            .as_deref()
            .into_iter()
            .chain(options.iter().copied())
            .collect();
        Self::of_url(server.url(), &options)
    }

    /// Mounts what is at a URL, as above.
    pub(crate) fn of_url(url: &str, options: &[&str]) -> Self {
        Self::in_environment(&[], url, options)
    }

    /// The same, with more variables.
    pub(crate) fn in_environment(
        variables: &[(String, &str)],
        url: &str,
        options: &[&str],
    ) -> Self {
        let (dir, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let child = spawn(variables, url, options, dir.path(), home.path());
        let watchdog = Some(watch(child.id(), dir.path().to_owned()));
        let mut mount = Self {
            dir,
            home,
            child,
            watchdog,
            may_end_badly: false,
        };
        mount.wait_until_ready();
        mount
    }

    /// Unmounts and mounts again, by a new process that finds what the old one has remembered.
    pub(crate) fn again(&mut self, url: &str, options: &[&str]) {
        let has_ended_well = self.unmount();
        assert!(has_ended_well || self.may_end_badly, "{}", self.log_text());
        self.stop_watching();
        self.child = spawn(&[], url, options, self.dir.path(), self.home.path());
        self.watchdog = Some(watch(self.child.id(), self.dir.path().to_owned()));
        self.wait_until_ready();
    }

    /// Kills the filesystem, which has no last word; it may be mounted again.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        detach(self.path());
        self.may_end_badly = true;
    }

    /// Lets the mount end although the server lacks something.
    pub(crate) fn may_end_badly(&mut self) {
        self.may_end_badly = true;
    }

    /// The contents that were kept on this machine, as the server does not take them; without one that goes meanwhile.
    pub(crate) fn kept(&self) -> Vec<Vec<u8>> {
        let dir = self.home.path().join("cache/ftpfs/spool/unsent");
        let files = fs::read_dir(dir).into_iter().flatten().flatten();
        files
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_none_or(|last| last != "ranges"))
            .filter_map(|path| match fs::read(path) {
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                read => Some(read.unwrap()),
            })
            .collect()
    }

    fn stop_watching(&mut self) {
        if let Some((sender, thread)) = self.watchdog.take() {
            drop(sender);
            let _ = thread.join();
        }
    }

    fn wait_until_ready(&mut self) {
        let started = Instant::now();
        while !is_mounted(self.path()) {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "ftpfs has ended: {ended:?}\n{}",
                self.log_text()
            );
            assert!(
                started.elapsed() < START_TIMEOUT,
                "not mounted in time\n{}",
                self.log_text()
            );
            std::thread::sleep(POLL_INTERVAL / 5);
        }
        // The table has it before the kernel and the filesystem have shaken hands; this is answered after that, and asks no server.
        let _ = fs::metadata(self.path());
    }

    /// The mount point.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The filesystem's process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How many lines of the log hold this.
    pub(crate) fn logged(&self, text: &str) -> usize {
        let is_meant = |line: &&str| line.contains(text);
        self.log_whole().lines().filter(is_meant).count()
    }

    /// The log, however long it is.
    pub(crate) fn log_whole(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    /// What the filesystem has logged.
    pub(crate) fn log_text(&self) -> String {
        let log = fs::read(self.home.path().join("log")).unwrap_or_default();
        let start = log.len().saturating_sub(LOG_BYTES_MAX);
        String::from_utf8_lossy(&log[start..]).into_owned()
    }

    /// Unmounts as a user does, and does not wait for the filesystem's end.
    pub(crate) fn begin_unmount(&self) {
        let started = Instant::now();
        while is_mounted(self.path()) && started.elapsed() < END_TIMEOUT {
            let unmounted = Command::new("fusermount3")
                .args(["-u", "-q"])
                .arg(self.path())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success());
            if !unmounted {
                std::thread::sleep(POLL_INTERVAL * 5);
            }
        }
    }

    /// Unmounts and waits for the filesystem's end; whether it was a good one.
    pub(crate) fn unmount(&mut self) -> bool {
        let started = Instant::now();
        self.begin_unmount();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return status.success() && !is_mounted(self.path()),
                Ok(None) if started.elapsed() < END_TIMEOUT => {
                    std::thread::sleep(POLL_INTERVAL / 5);
                }
                _ => return false,
            }
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let is_failing = std::thread::panicking();
        let has_ended_well = !is_failing && self.unmount();
        if !has_ended_well {
            let _ = self.child.kill();
            let _ = self.child.wait();
            detach(self.path());
        }
        self.stop_watching();
        if is_failing {
            eprintln!("--- log of ftpfs:\n{}", self.log_text());
        } else {
            assert!(
                has_ended_well || self.may_end_badly,
                "the mount has not ended well\n{}",
                self.log_text()
            );
        }
    }
}

/// Starts the filesystem in the foreground.
fn spawn(
    variables: &[(String, &str)],
    url: &str,
    options: &[&str],
    dir: &Path,
    home: &Path,
) -> Child {
    let mut log = fs::File::options();
    let log = log
        .create(true)
        .append(true)
        .open(home.join("log"))
        .unwrap();
    let mut command = command(home);
    command.args(["-f", "-v"]).envs(variables.iter().cloned());
    for option in options {
        command.args(["-o", option]);
    }
    command.arg(url).arg(dir);
    command.stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().unwrap()
}

/// The binary, with an environment that is the same on every machine.
pub(crate) fn command(home: &Path) -> Command {
    let mut command = Command::new(binary());
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("XDG_CACHE_HOME", home.join("cache"))
        .env("RUST_BACKTRACE", "1")
        .stdin(Stdio::null())
        .process_group(0);
    command
}

/// The binary under test; `FTPFS_BIN` names another one, an optimised build for instance.
pub(crate) fn binary() -> PathBuf {
    let built = || PathBuf::from(env!("CARGO_BIN_EXE_ftpfs"));
    std::env::var_os("FTPFS_BIN").map_or_else(built, PathBuf::from)
}

/// Whether something is mounted on a directory. Asks the kernel's table, which no hanging filesystem can block.
pub(crate) fn is_mounted(dir: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table
        .lines()
        .any(|line| line.split(' ').nth(4) == dir.to_str())
}

/// Takes a mount out of the tree whatever state it is in.
fn detach(dir: &Path) {
    if is_mounted(dir) {
        let _ = Command::new("umount")
            .arg("-l")
            .arg(dir)
            .stderr(Stdio::null())
            .status();
        wait_for("the detached mount to vanish", END_TIMEOUT, || {
            !is_mounted(dir)
        });
    }
}

/// Kills the filesystem when its time is over.
fn watch(pid: u32, dir: PathBuf) -> (mpsc::Sender<()>, JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        if receiver.recv_timeout(LIFE_MAX) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!(
                "the test has taken {LIFE_MAX:?}: killing the filesystem on {}",
                dir.display()
            );
            // SAFETY: kill has no preconditions; the number is the child's for as long as the test is stuck.
            unsafe { libc::kill(libc::pid_t::try_from(pid).unwrap(), libc::SIGKILL) };
        }
    });
    (sender, thread)
}
