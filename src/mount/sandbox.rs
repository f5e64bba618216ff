//! What the threads that speak with the server and the kernel may still do on this machine: little, should one of them be taken over or
//! go wrong.
//!
//! | they may | where |
//! |---|---|
//! | read and write | the directories of the mount: unsent files, cache, state |
//! | read | what names, certificates and time zones are found by: `/etc`, `/usr`, `/run` and the like; the files of the TLS options |
//! | use | `/dev/fuse`, `/dev/null`, `/dev/tty` |
//! | nothing | everywhere else: no file of the user's is read or written, and no program is started |
//!
//! The kernel's Landlock keeps that, as far as it has it (since Linux 5.13). Besides, no program that they could start would get more
//! rights (`no_new_privs`), and root's capabilities are given up.
//!
//! Landlock restricts a thread and those that it starts, and a restricted one can neither mount nor unmount. So the main thread stays as it
//! is, which mounts, waits, unmounts and keeps what is unsent: it reads nothing that comes from the server but names in messages.

use std::{
    io,
    path::{Path, PathBuf},
    thread,
};

use landlock::{
    ABI, Access, AccessFs, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags, path_beneath_rules,
};
use rustix::{
    process::geteuid,
    thread::{CapabilitySet, CapabilitySets, set_capabilities},
};

use super::error::MountError;
use crate::{config::Config, local};

/// The newest rules of the kernel that these were tried with: devices' ioctls, abstract sockets and signals among them (Linux 6.12).
const RULES: ABI = ABI::V6;

/// Where the system's libraries look things up: names of hosts, certificates, time zones, character sets.
const SYSTEM: [&str; 15] = [
    "/etc",
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/opt",
    "/run",
    "/proc",
    "/sys",
    "/nix",
    "/gnu",
    "/var/run",
    "/var/lib",
    "/var/db",
    "/var/cache",
];

/// Devices that are read, written and controlled.
const DEVICES: [&str; 3] = ["/dev/fuse", "/dev/null", "/dev/tty"];

/// Devices that are read.
const RANDOM: [&str; 2] = ["/dev/random", "/dev/urandom"];

/// What is done in the mount's own directories.
const OWN: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | ReadDir | WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | RemoveDir | Refer
});

const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});

const USE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | WriteFile | IoctlDev});

/// What root keeps: reading files that are another user's, as a key given with `--client-key`, and listening on the ports of `--active-ports`.
const KEPT: CapabilitySet = CapabilitySet::DAC_READ_SEARCH.union(CapabilitySet::NET_BIND_SERVICE);

/// See the module. Made before anything is mounted: a path that leads into the mount would be waited for.
#[derive(Debug)]
pub(super) struct Sandbox {
    rules: Option<RulesetCreated>,
}

impl Sandbox {
    /// As the settings say; without one that the kernel has, the threads are told apart by nothing, which the log says.
    pub(super) fn new(config: &Config) -> Self {
        if config.mount.sandbox.is_none() {
            log::info!("no sandbox, as --no-sandbox says");
            return Self { rules: None };
        }
        let rules = rules(&own_dirs(config), &readable(config));
        let rules = rules
            .inspect_err(|error| log::warn!("no sandbox: {error}"))
            .ok();
        Self { rules }
    }

    /// From now on this thread, and each that it starts, may do no more than the module says.
    pub(super) fn enter(&self) {
        let Some(rules) = &self.rules else { return };
        match restrict(rules) {
            Ok(RulesetStatus::NotEnforced) => {
                log::info!("this kernel has no Landlock: only new privileges are given up");
            }
            Ok(_) => {}
            Err(error) => log::warn!("no sandbox: {error}"),
        }
    }

    /// Does something within it, and waits for that.
    pub(super) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, MountError> {
        thread::scope(|scope| {
            let thread = thread::Builder::new().name("layers".to_owned());
            let running = thread.spawn_scoped(scope, || {
                self.enter();
                work()
            });
            let running = running
                .map_err(|error| MountError::new(format!("no thread could be started: {error}")))?;
            Ok(running
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    }
}

#[cfg(test)]
impl Sandbox {
    /// No sandbox.
    pub(super) fn none() -> Self {
        Self { rules: None }
    }
}

/// The directories in which a mount makes its own, and files: those come and go.
fn own_dirs(config: &Config) -> Vec<PathBuf> {
    let tls = &config.ftp.tls;
    let inside = [
        Some(&config.fs.spool_dir),
        config.fs.debts_dir.as_ref(),
        config.cache.disk.as_ref().map(|disk| &disk.dir),
        config.ftp.profile_dir.as_ref(),
        Some(&config.mount.presence_dir),
        tls.known_hosts.as_ref(),
        tls.clear_hosts.as_ref(),
    ];
    let dirs = inside
        .into_iter()
        .flatten()
        .filter_map(|path| path.parent());
    dirs.map(Path::to_owned).collect()
}

/// What the user has named to be read.
fn readable(config: &Config) -> Vec<PathBuf> {
    let tls = &config.ftp.tls;
    let identity = tls.identity.iter();
    let identity = identity.flat_map(|identity| [&identity.certificate, &identity.key]);
    let named = config.mount.sandbox.iter();
    let named = named.flat_map(|sandbox| &sandbox.readable);
    let all = tls.ca_file.iter().chain(identity).chain(named);
    all.cloned().collect()
}

fn rules(own: &[PathBuf], readable: &[PathBuf]) -> Result<RulesetCreated, RulesetError> {
    let mut present = Vec::new();
    for dir in own {
        // It would be made later, where nothing could be made any more.
        match local::make_dir(dir).and_then(|()| PathFd::new(dir).map_err(io::Error::other)) {
            Ok(dir) => present.push(Ok::<_, RulesetError>(PathBeneath::new(dir, OWN))),
            Err(error) => log::debug!("{} cannot be made: {error}", dir.display()),
        }
    }
    Ruleset::default()
        .handle_access(AccessFs::from_all(RULES))?
        .scope(Scope::from_all(RULES))?
        .create()?
        .add_rules(path_beneath_rules(SYSTEM, READ))?
        .add_rules(path_beneath_rules(readable, READ))?
        .add_rules(path_beneath_rules(RANDOM, READ))?
        .add_rules(path_beneath_rules(DEVICES, USE))?
        .add_rules(present)
}

/// Restricts this thread.
fn restrict(rules: &RulesetCreated) -> io::Result<RulesetStatus> {
    let status = rules.try_clone()?.restrict_self();
    let status = status.map_err(io::Error::other)?;
    if geteuid().is_root() {
        let kept = rustix::thread::capabilities(None)?.permitted & KEPT;
        let sets = CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, sets)?;
    }
    Ok(status.ruleset)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        io::ErrorKind,
        net::{TcpListener, ToSocketAddrs},
        process::Command,
    };

    use super::*;

    /// What works within the sandbox, and what is denied.
    #[test]
    fn a_thread_within_writes_our_directories_only_reads_no_file_of_a_user_and_starts_nothing() {
        let home = tempfile::tempdir().unwrap();
        let [own, foreign] = ["own", "foreign"].map(|name| home.path().join(name));
        let key = home.path().join("key.pem");
        fs::create_dir(&foreign).unwrap();
        for file in [&key, &foreign.join("secret")] {
            fs::write(file, "content").unwrap();
        }
        let sandbox = Sandbox {
            rules: Some(rules(&[own.join("below")], std::slice::from_ref(&key)).unwrap()),
        };
        // Without it, all of this works.
        let is_denied = |outcome: io::Result<()>| matches!(outcome, Err(error) if error.kind() == ErrorKind::PermissionDenied);
        let attempts = || {
            [
                fs::write(foreign.join("new"), "x"),
                fs::remove_file(foreign.join("new")),
                fs::read(foreign.join("secret")).map(drop),
                fs::read_dir(&foreign).map(drop),
                fs::create_dir(own.join("beside"))
                    .and_then(|()| fs::remove_dir(own.join("beside"))),
                fs::read_dir("/").map(drop),
                Command::new("/bin/true").status().map(drop),
            ]
        };
        assert!(attempts().into_iter().all(|outcome| outcome.is_ok()));
        fs::write(foreign.join("new"), "x").unwrap();
        let (denied, worked) = sandbox
            .run(|| {
                let below = own.join("below");
                let worked = || -> io::Result<()> {
                    fs::create_dir(below.join("dir"))?;
                    fs::write(below.join("dir/file"), "x")?;
                    fs::write(below.join("dir/file"), "y")?;
                    fs::rename(below.join("dir/file"), below.join("moved"))?;
                    fs::remove_dir(below.join("dir"))?;
                    tempfile::tempfile_in(&below)?;
                    let kept = tempfile::NamedTempFile::new_in(&below)?;
                    kept.persist(below.join("kept"))
                        .map_err(|error| error.error)?;
                    fs::read(&key)?;
                    fs::read("/etc/hosts")?;
                    File::options().write(true).open("/dev/null")?;
                    fs::read("/proc/self/status")?;
                    ("localhost", 21).to_socket_addrs()?;
                    TcpListener::bind("127.0.0.1:0")?;
                    // So do the threads that it starts.
                    thread::scope(|scope| scope.spawn(|| fs::read_dir(&foreign)).join())
                        .unwrap()
                        .map_or(Ok(()), |_| Err(io::Error::other("a thread has got out")))
                };
                (attempts().map(is_denied), worked())
            })
            .unwrap();
        worked.unwrap();
        assert_eq!(denied, [true; 7]);
        // The main thread is as it was.
        assert!(attempts().into_iter().all(|outcome| outcome.is_ok()));
    }

    #[test]
    fn what_the_sandbox_cannot_hold_holds_nobody_up() {
        let sandbox = Sandbox {
            rules: Some(rules(&[PathBuf::from("/proc/none")], &["/none".into()]).unwrap()),
        };
        assert_eq!(sandbox.run(|| 7).unwrap(), 7);
        assert_eq!(Sandbox::none().run(|| 7).unwrap(), 7);
    }
}
