//! A real FTP server as a child process: started through `scripts/servers`, frozen, killed and started again.

use std::{
    fs,
    io::{BufRead, BufReader},
    ops::RangeInclusive,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{POLL_INTERVAL, available, wait_for};

/// How long a start may take; the first one on a machine installs the servers.
const START_TIMEOUT: Duration = Duration::from_mins(3);

/// How long a killed process may take to be gone.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// What a test works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A local directory: no server, no mount.
    Local,
    /// vsftpd: no MLSD.
    Vsftpd,
    /// `ProFTPD` as Debian ships it.
    Proftpd,
    /// `ProFTPD` with its compiled defaults, which refuse to overwrite and to append.
    ProftpdStrict,
    /// Pure-FTPd.
    PureFtpd,
    /// pyftpdlib.
    Pyftpdlib,
    /// The example server: no SITE CHMOD and no way to set a time.
    Embedded,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Vsftpd => "vsftpd",
            Self::Proftpd => "proftpd",
            Self::ProftpdStrict => "proftpd-strict",
            Self::PureFtpd => "pure-ftpd",
            Self::Pyftpdlib => "pyftpdlib",
            Self::Embedded => "embedded",
        }
    }

    /// Whether the time of a directory can be set: vsftpd and pyftpdlib answer 550.
    pub(crate) fn sets_directory_times(self) -> bool {
        !matches!(self, Self::Vsftpd | Self::Pyftpdlib | Self::Embedded)
    }

    /// Whether SITE SYMLINK is there.
    pub(crate) fn makes_symlinks(self) -> bool {
        matches!(self, Self::Local | Self::Proftpd)
    }
}

/// Whether a server speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Security {
    /// It does not.
    Plain,
    /// It takes nothing without, after `AUTH TLS`.
    Tls,
    /// From the first byte on.
    Implicit,
}

impl Security {
    fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Tls => "-tls",
            Self::Implicit => "-implicit",
        }
    }
}

/// A running server with a directory and a port of its own; its processes end with the value.
#[derive(Debug)]
pub(crate) struct Server {
    kind: Kind,
    security: Security,
    /// The certificate of who signed the server's.
    authority: Option<PathBuf>,
    /// Where it listens; `None` for the usual place.
    address: Option<&'static str>,
    /// Where it listens for data; `None` for any port.
    data_ports: Option<RangeInclusive<u16>>,
    /// Further lines of its configuration.
    extra: Option<String>,
    port: u16,
    url: String,
    log: PathBuf,
    child: Option<Child>,
    root: Root,
}

/// The directory that is served.
#[derive(Debug)]
struct Root {
    /// Unmounted before its directory is removed.
    _disk: Option<SmallDisk>,
    dir: TempDir,
}

/// A disk that fills up; gone with the value.
#[derive(Debug)]
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts a disk of `bytes_max` on a directory.
    pub(crate) fn mount(dir: &Path, bytes_max: usize) -> Self {
        Self::mount_with(dir, &format!("size={bytes_max}"))
    }

    /// Mounts a disk with the limits that these options of tmpfs(5) set.
    fn mount_with(dir: &Path, limits: &str) -> Self {
        let options = format!("{limits},mode=755");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(dir)
            .status()
            .unwrap();
        assert!(status.success(), "mount -t tmpfs: {status}");
        Self(dir.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a session may still be about to end.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

impl Server {
    /// Starts a server on an empty directory; `None` where it cannot be had.
    pub(crate) fn start(kind: Kind) -> Option<Self> {
        Self::start_with(kind, Security::Plain)
    }

    /// The same, with TLS.
    pub(crate) fn start_with(kind: Kind, security: Security) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        Self::start_in(kind, security, Root { _disk: None, dir }, None, None)
    }

    /// Starts a server that listens on another address of this machine.
    pub(crate) fn start_at(kind: Kind, address: &'static str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let root = Root { _disk: None, dir };
        Self::start_in(kind, Security::Plain, root, Some(address), None)
    }

    /// Starts a server that listens for data on these ports only.
    pub(crate) fn start_between(
        kind: Kind,
        security: Security,
        data_ports: RangeInclusive<u16>,
    ) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let root = Root { _disk: None, dir };
        Self::start_in(kind, security, root, None, Some(data_ports))
    }

    /// Starts a server on a disk of `bytes_max`, which fills up.
    pub(crate) fn start_small(kind: Kind, bytes_max: usize) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let disk = Some(SmallDisk::mount(dir.path(), bytes_max));
        let root = Root { _disk: disk, dir };
        Self::start_in(kind, Security::Plain, root, None, None)
    }

    /// Starts a server on a disk that takes no more than so many files, itself included.
    pub(crate) fn start_few(kind: Kind, files_max: usize) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let limits = format!("size=64m,nr_inodes={files_max}");
        let disk = Some(SmallDisk::mount_with(dir.path(), &limits));
        let root = Root { _disk: disk, dir };
        Self::start_in(kind, Security::Plain, root, None, None)
    }

    /// Starts vsftpd or `ProFTPD` with further lines in its configuration.
    pub(crate) fn start_limited(kind: Kind, extra: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let root = Root { _disk: None, dir };
        let mut server = Self::new(kind, Security::Plain, root)?;
        server.extra = Some(extra.to_owned());
        server.restart();
        Some(server)
    }

    fn start_in(
        kind: Kind,
        security: Security,
        root: Root,
        address: Option<&'static str>,
        data_ports: Option<RangeInclusive<u16>>,
    ) -> Option<Self> {
        let mut server = Self::new(kind, security, root)?;
        (server.address, server.data_ports) = (address, data_ports);
        server.restart();
        Some(server)
    }

    /// A server that does not run yet.
    fn new(kind: Kind, security: Security, root: Root) -> Option<Self> {
        // SAFETY: geteuid has no preconditions.
        let is_root = unsafe { libc::geteuid() } == 0;
        if !available(
            is_root,
            "FTPFS_REQUIRE_SERVERS",
            "the test servers need root",
        ) {
            return None;
        }
        Some(Self {
            kind,
            security,
            authority: None,
            address: None,
            data_ports: None,
            extra: None,
            port: 0,
            url: String::new(),
            log: PathBuf::new(),
            child: None,
            root,
        })
    }

    /// Starts a server that was killed again, on its port and directory.
    pub(crate) fn restart(&mut self) {
        assert!(self.child.is_none(), "the server still runs");
        let mut child = self.command().spawn().unwrap();
        let lines = lines_of(&mut child);
        self.child = Some(child);
        let told = ready(&lines, &self.name());
        (self.log, self.url, self.authority) = (told.log, told.url, told.authority);
        let port = self.url.trim_end_matches('/').rsplit(':').next().unwrap();
        self.port = port.parse().unwrap();
    }

    fn command(&self) -> Command {
        let mut command = if self.kind == Kind::Embedded {
            let mut command = Command::new(embedded_server());
            command
                .arg("--port")
                .arg(self.port.to_string())
                .arg("--root")
                .arg(self.root());
            command
        } else {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/servers");
            let mut command = Command::new(script);
            command
                .args(["start", &self.name(), &self.port.to_string()])
                .arg(self.root());
            command
        };
        if let Some(address) = self.address {
            command.env("FTPFS_SERVERS_ADDRESS", address);
        }
        if let Some(ports) = &self.data_ports {
            let ports = format!("{}-{}", ports.start(), ports.end());
            command.env("FTPFS_SERVERS_PORTS", ports);
        }
        if let Some(extra) = &self.extra {
            command.env("FTPFS_SERVERS_EXTRA", extra);
        }
        // A group of its own: a Ctrl-C ends the test, which then ends the server.
        command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        command
    }

    fn name(&self) -> String {
        format!("{}{}", self.kind.name(), self.security.suffix())
    }

    /// The certificate of who signed the server's, for `--ca-file`.
    pub(crate) fn authority(&self) -> Option<&Path> {
        self.authority.as_deref()
    }

    /// What kind of server this is.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The port of its control connections.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The directory that it serves, on this machine's disk.
    pub(crate) fn root(&self) -> &Path {
        self.root.dir.path()
    }

    /// Its address with user and password.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Stops every process of the server where it stands, as a machine does that has hung up.
    pub(crate) fn freeze(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// Lets a frozen server go on.
    pub(crate) fn thaw(&self) {
        self.signal(libc::SIGCONT);
    }

    /// Ends the server and all its sessions at once, as a power cut does.
    pub(crate) fn kill(&mut self) {
        // Stopped first, so that no session is born while the list is made.
        let pids = self.signal(libc::SIGSTOP);
        for &pid in &pids {
            send(pid, libc::SIGKILL);
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
        wait_for("the killed server's end", END_TIMEOUT, || {
            pids.iter().all(|&pid| is_gone(pid))
        });
    }

    /// Sends a signal to the server and then to its sessions; returns their process ids.
    fn signal(&self, signal: i32) -> Vec<u32> {
        let mut pids: Vec<u32> = self.child.iter().map(Child::id).collect();
        let mut next = 0;
        while let Some(&pid) = pids.get(next) {
            send(pid, signal);
            pids.extend(children_of(pid));
            next += 1;
        }
        pids
    }

    /// What the server has logged.
    pub(crate) fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of {}:\n{}", self.kind.name(), self.log_text());
        }
        self.kill();
        if let Some(state) = self
            .log
            .parent()
            .filter(|dir| dir.ends_with(state_name(self)))
        {
            let _ = fs::remove_dir_all(state);
        }
    }
}

/// The name of the folder that `scripts/servers` keeps for a running server.
fn state_name(server: &Server) -> String {
    format!("{}-{}", server.name(), server.port)
}

/// The example server, which Cargo builds beside the tests.
fn embedded_server() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    profile.join("examples/embedded_server")
}

/// What a child of `scripts/servers` told when it was ready.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    /// Where its log is.
    pub(crate) log: PathBuf,
    /// Where it listens.
    pub(crate) url: String,
    /// Who signed its certificate.
    pub(crate) authority: Option<PathBuf>,
}

/// Waits until a child of `scripts/servers` is ready.
pub(crate) fn ready(lines: &mpsc::Receiver<String>, name: &str) -> Ready {
    let started = Instant::now();
    let mut ready = Ready::default();
    loop {
        let left = START_TIMEOUT.saturating_sub(started.elapsed());
        let Ok(line) = lines.recv_timeout(left) else {
            let text = fs::read_to_string(&ready.log).unwrap_or_default();
            panic!("{name} has not started:\n{text}");
        };
        if let Some(path) = line.strip_prefix("log ") {
            ready.log = path.into();
        } else if let Some(path) = line.strip_prefix("ca ") {
            ready.authority = Some(path.into());
        } else if let Some(address) = line.strip_prefix("ready ") {
            address.clone_into(&mut ready.url);
            return ready;
        } else if let Some(address) = line.strip_prefix("listening on ") {
            ready.url = format!("ftp://{address}/");
            return ready;
        }
    }
}

/// A child's output, line by line, so that it can be waited for with a deadline.
pub(crate) fn lines_of(child: &mut Child) -> mpsc::Receiver<String> {
    let stdout = child.stdout.take().unwrap();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

fn send(pid: u32, signal: i32) {
    // SAFETY: kill has no preconditions; the process is our child or a descendant of one that has not been waited
    // for, so the number is not another's.
    unsafe { libc::kill(libc::pid_t::try_from(pid).unwrap(), signal) };
}

fn children_of(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|line| {
            line.split_whitespace()
                .filter_map(|n| n.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Whether a process has ended, be it that nobody has asked for its exit status yet.
fn is_gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    matches!(state, None | Some('Z' | 'X'))
}

/// Waits a moment; for tests that let a server get into the middle of something.
pub(crate) fn pause() {
    std::thread::sleep(POLL_INTERVAL * 10);
}
