//! Fixtures: servers, mounts, and the ground that a test body works on.

pub(crate) mod link;
pub(crate) mod meddler;
pub(crate) mod mount;
pub(crate) mod proxy;
pub(crate) mod server;
pub(crate) mod simulated;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    io::ErrorKind,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

pub(crate) use self::{
    meddler::{End, Meddler},
    mount::Mount,
    server::{Kind, Security, Server},
};

/// How long one script may take: many times what the slowest takes on two busy cores.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(150);

/// How often a wait looks again.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Makes each body, a `fn(&Target)`, a test on a local directory, which proves the body itself, and on a mount of
/// each server. The mount's options stand in front: `for_each_server!(&["dir-ttl=1"]; seen_in_time)`.
macro_rules! for_each_server {
    ($options:expr; $($body:ident),+ $(,)?) => { $(
        mod $body {
            use crate::common::{Kind, on};
            #[test] fn local() { on(Kind::Local, $options, super::$body); }
            #[test] fn vsftpd() { on(Kind::Vsftpd, $options, super::$body); }
            #[test] fn proftpd() { on(Kind::Proftpd, $options, super::$body); }
            #[test] fn pure_ftpd() { on(Kind::PureFtpd, $options, super::$body); }
            #[test] fn pyftpdlib() { on(Kind::Pyftpdlib, $options, super::$body); }
        }
    )+ };
}

/// Makes each body, a `fn(&mut Site)` that does something to the server, a test on a mount of each server.
macro_rules! for_each_site {
    ($options:expr; $($body:ident),+ $(,)?) => { $(
        mod $body {
            use crate::common::{Kind, on_site};
            #[test] fn vsftpd() { on_site(Kind::Vsftpd, $options, super::$body); }
            #[test] fn proftpd() { on_site(Kind::Proftpd, $options, super::$body); }
            #[test] fn pure_ftpd() { on_site(Kind::PureFtpd, $options, super::$body); }
            #[test] fn pyftpdlib() { on_site(Kind::Pyftpdlib, $options, super::$body); }
        }
    )+ };
}

/// Makes each body, a `fn(Kind)` that starts its servers itself, a test for each server.
macro_rules! for_each_kind {
    ($($body:ident),+ $(,)?) => { $(
        mod $body {
            use crate::common::Kind;
            #[test] fn vsftpd() { super::$body(Kind::Vsftpd); }
            #[test] fn proftpd() { super::$body(Kind::Proftpd); }
            #[test] fn pure_ftpd() { super::$body(Kind::PureFtpd); }
            #[test] fn pyftpdlib() { super::$body(Kind::Pyftpdlib); }
        }
    )+ };
}

/// Makes each body, a `fn(&mut Rig)` that stands between the mount and its server, a test on each server.
macro_rules! for_each_rig {
    ($options:expr; $($body:ident),+ $(,)?) => { $(
        mod $body {
            use crate::common::{Kind, on_rig};
            #[test] fn vsftpd() { on_rig(Kind::Vsftpd, $options, super::$body); }
            #[test] fn proftpd() { on_rig(Kind::Proftpd, $options, super::$body); }
            #[test] fn pure_ftpd() { on_rig(Kind::PureFtpd, $options, super::$body); }
            #[test] fn pyftpdlib() { on_rig(Kind::Pyftpdlib, $options, super::$body); }
        }
    )+ };
}

pub(crate) use {for_each_kind, for_each_rig, for_each_server, for_each_site};

/// Runs a body on a fresh ground and compares what the mount shows with what the server's disk holds.
pub(crate) fn on(kind: Kind, options: &[&str], body: fn(&Target)) {
    if kind == Kind::Local {
        let dir = tempfile::tempdir().unwrap();
        return body(&Target::new(kind, dir.path(), dir.path()));
    }
    on_site(kind, options, |site| {
        body(&site.target());
        site.assert_same();
    });
}

/// Runs a body that needs the server in its hand.
pub(crate) fn on_site(kind: Kind, options: &[&str], body: impl FnOnce(&mut Site)) {
    if let Some(mut site) = Site::start(kind, options) {
        body(&mut site);
    }
}

/// Runs a body that stands between the mount and its server.
pub(crate) fn on_rig(kind: Kind, options: &[&str], body: impl FnOnce(&mut Rig)) {
    if can_mount()
        && let Some(server) = Server::start(kind)
    {
        body(&mut Rig::of(server, options));
    }
}

/// The same as [`on`], on a server that speaks TLS.
pub(crate) fn on_protected(kind: Kind, security: Security, options: &[&str], body: fn(&Target)) {
    if let Some(site) = Site::start_with(kind, security, options) {
        body(&site.target());
        site.assert_same();
    }
}

/// Whether mounts can be made here. Says so where not, and fails where `FTPFS_REQUIRE_FUSE=1` demands them.
pub(crate) fn can_mount() -> bool {
    let opened = fs::File::options().read(true).write(true).open("/dev/fuse");
    available(
        opened.is_ok(),
        "FTPFS_REQUIRE_FUSE",
        "/dev/fuse cannot be opened",
    )
}

/// Passes `is_there` on; what is not there is said, and fails the test if `variable` is 1.
fn available(is_there: bool, variable: &str, reason: &str) -> bool {
    if !is_there {
        let is_required = std::env::var_os(variable).is_some_and(|value| value == "1");
        assert!(!is_required, "{variable}=1, but {reason}");
        eprintln!("SKIPPED: {reason}");
    }
    is_there
}

/// Waits until `condition` holds; fails with `what` if it does not within `timeout`.
#[track_caller]
pub(crate) fn wait_for(what: &str, timeout: Duration, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(
            started.elapsed() < timeout,
            "not within {timeout:?}: {what}"
        );
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Bytes that differ at every offset and between seeds.
pub(crate) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// The errno of a failed call.
#[track_caller]
pub(crate) fn errno<T: std::fmt::Debug>(result: std::io::Result<T>) -> i32 {
    result
        .expect_err("the call should have failed")
        .raw_os_error()
        .expect("an errno")
}

/// A server and a mount of it, ended in the right order.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) mount: Mount,
    pub(crate) server: Server,
}

impl Site {
    /// Starts both; `None` where they cannot be had.
    pub(crate) fn start(kind: Kind, options: &[&str]) -> Option<Self> {
        Self::start_with(kind, Security::Plain, options)
    }

    /// The same, with TLS.
    pub(crate) fn start_with(kind: Kind, security: Security, options: &[&str]) -> Option<Self> {
        if !can_mount() {
            return None;
        }
        let server = Server::start_with(kind, security)?;
        Some(Self {
            mount: Mount::new(&server, options),
            server,
        })
    }

    /// As the ground of a test body.
    pub(crate) fn target(&self) -> Target {
        Target::new(self.server.kind(), self.mount.path(), self.server.root())
    }

    /// Asserts that the mount shows what the server's disk holds.
    #[track_caller]
    pub(crate) fn assert_same(&self) {
        self.target().wait_until_settled();
        assert_same_tree(self.mount.path(), self.server.root());
    }
}

/// A server and a mount of it that leads through a [`Meddler`].
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) site: Site,
    pub(crate) meddler: Meddler,
    url: String,
    options: Vec<String>,
}

impl Rig {
    /// Mounts a server that runs.
    pub(crate) fn of(server: Server, options: &[&str]) -> Self {
        let meddler = Meddler::start(&server);
        let url = meddler.url(&server);
        let mount = Mount::of_url(&url, options);
        Self {
            site: Site { mount, server },
            meddler,
            url,
            options: options.iter().map(|&option| option.to_owned()).collect(),
        }
    }

    /// As the ground of a test body.
    pub(crate) fn target(&self) -> Target {
        self.site.target()
    }

    /// What kind of server this is.
    pub(crate) fn kind(&self) -> Kind {
        self.site.server.kind()
    }

    /// Unmounts and mounts again.
    pub(crate) fn mount_again(&mut self) {
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        self.site.mount.again(&self.url, &options);
    }
}

/// The ground of a test body: a directory to work in, and the place where the result must be seen.
#[derive(Debug)]
pub(crate) struct Target {
    kind: Kind,
    dir: PathBuf,
    disk: PathBuf,
    scratch: TempDir,
}

impl Target {
    /// A directory that shows what lies in `disk`.
    pub(crate) fn new(kind: Kind, dir: &Path, disk: &Path) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        Self {
            kind,
            dir: dir.to_owned(),
            disk: disk.to_owned(),
            scratch,
        }
    }

    /// What is under the directory.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// A path in the directory to work in.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.join(name)
    }

    /// The same path on the server's disk.
    pub(crate) fn disk(&self, name: impl AsRef<Path>) -> PathBuf {
        self.disk.join(name)
    }

    /// A path in a local directory of the test's own; scripts see the directory as `$SCRATCH`.
    pub(crate) fn scratch(&self, name: impl AsRef<Path>) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// What the server's disk holds under this name.
    #[track_caller]
    pub(crate) fn on_disk(&self, name: impl AsRef<Path>) -> Vec<u8> {
        let path = self.disk(name);
        fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// Puts a file on the server's disk, as another user of the server would. To be seen at once it must come before
    /// the mount has looked into that directory; afterwards the listing may be as old as the TTL.
    pub(crate) fn put_on_disk(&self, name: impl AsRef<Path>, content: &[u8]) {
        let path = self.disk(name);
        fs::write(&path, content).unwrap();
        give_to_server(&path);
    }

    /// Makes a directory on the server's disk.
    pub(crate) fn make_dir_on_disk(&self, name: impl AsRef<Path>) {
        let path = self.disk(name);
        fs::create_dir(&path).unwrap();
        give_to_server(&path);
    }

    /// Waits until the hidden files are gone that stand in for removed ones while somebody has them open: the kernel
    /// tells of the last close only after close(2) has returned.
    #[track_caller]
    pub(crate) fn wait_until_settled(&self) {
        let hidden = || -> Vec<OsString> {
            let is_hidden = |name: &OsString| name.to_string_lossy().contains(".ftpfs-");
            tree(&self.disk).into_keys().filter(is_hidden).collect()
        };
        let started = Instant::now();
        while !hidden().is_empty() {
            assert!(
                started.elapsed() < Duration::from_secs(5),
                "left behind: {:?}",
                hidden()
            );
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Runs a bash script in the directory; it must succeed. Returns what it printed.
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> String {
        let output = self.try_sh(script);
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{}\n$ {script}\n{stdout}\n{stderr}",
            output.status
        );
        stdout
    }

    /// Runs a bash script in the directory.
    #[track_caller]
    pub(crate) fn try_sh(&self, script: &str) -> Output {
        let (out, err) = (self.scratch(".stdout"), self.scratch(".stderr"));
        let mut child = Command::new("bash")
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(&self.dir)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.scratch.path())
            .env("SCRATCH", self.scratch.path())
            .envs([
                ("LC_ALL", "C.UTF-8"),
                ("TZ", "UTC"),
                ("GIT_CONFIG_NOSYSTEM", "1"),
            ])
            .envs([
                ("GIT_AUTHOR_NAME", "A"),
                ("GIT_AUTHOR_EMAIL", "a@example.org"),
            ])
            .envs([
                ("GIT_COMMITTER_NAME", "A"),
                ("GIT_COMMITTER_EMAIL", "a@example.org"),
            ])
            .stdin(Stdio::null())
            .stdout(fs::File::create(&out).unwrap())
            .stderr(fs::File::create(&err).unwrap())
            .spawn()
            .unwrap();
        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if started.elapsed() > SCRIPT_TIMEOUT {
                let _ = child.kill();
                panic!(
                    "no end within {SCRIPT_TIMEOUT:?}: {script}\n{}",
                    fs::read_to_string(&err).unwrap_or_default()
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        Output {
            status,
            stdout: fs::read(out).unwrap(),
            stderr: fs::read(err).unwrap(),
        }
    }
}

/// Gives a path that the test has put on the disk to the user whose files the server serves.
pub(crate) fn give_to_server(path: &Path) {
    let parent = fs::metadata(path.parent().unwrap()).unwrap();
    std::os::unix::fs::lchown(path, Some(parent.uid()), Some(parent.gid())).unwrap();
}

/// What one name is: enough to tell two trees apart.
#[derive(Debug, PartialEq, Eq)]
enum Node {
    Dir,
    File { mode: u32, content: Vec<u8> },
    Link(PathBuf),
}

/// Asserts that two trees have the same names, bytes, permission bits of files and link targets.
#[track_caller]
pub(crate) fn assert_same_tree(shown: &Path, disk: &Path) {
    let (shown, disk) = (tree(shown), tree(disk));
    for (name, node) in &disk {
        let name_shown = name.to_string_lossy();
        match (shown.get(name), node) {
            (None, _) => panic!("on the disk and not in the mount: {name_shown}"),
            (
                Some(Node::File {
                    mode: m1,
                    content: c1,
                }),
                Node::File {
                    mode: m2,
                    content: c2,
                },
            ) => {
                assert_eq!(
                    c1.len(),
                    c2.len(),
                    "size of {name_shown} in the mount and on the disk"
                );
                assert!(
                    c1 == c2,
                    "the bytes of {name_shown} differ in the mount and on the disk"
                );
                assert_eq!(m1, m2, "mode of {name_shown} in the mount and on the disk");
            }
            (Some(other), _) => {
                assert_eq!(other, node, "{name_shown} in the mount and on the disk");
            }
        }
    }
    let surplus: Vec<_> = shown
        .keys()
        .filter(|name| !disk.contains_key(*name))
        .collect();
    assert!(
        surplus.is_empty(),
        "in the mount and not on the disk: {surplus:?}"
    );
}

fn tree(root: &Path) -> BTreeMap<OsString, Node> {
    let mut nodes = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
            let path = entry.unwrap().path();
            let metadata = match fs::symlink_metadata(&path) {
                // A temporary file that is being removed in the background.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                known => known.unwrap(),
            };
            let node = if metadata.is_dir() {
                waiting.push(path.clone());
                Node::Dir
            } else if metadata.is_symlink() {
                Node::Link(fs::read_link(&path).unwrap())
            } else {
                let content = match fs::read(&path) {
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    known => known.unwrap_or_else(|e| panic!("{}: {e}", path.display())),
                };
                Node::File {
                    mode: metadata.permissions().mode() & 0o7777,
                    content,
                }
            };
            let name = path.strip_prefix(root).unwrap().as_os_str().to_owned();
            nodes.insert(name, node);
        }
    }
    nodes
}

/// The names in a directory, sorted.
#[track_caller]
pub(crate) fn names_in(dir: &Path) -> Vec<Vec<u8>> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
        .map(|entry| entry.unwrap().file_name().as_bytes().to_vec())
        .collect();
    names.sort();
    names
}
