//! The command line and the life of a mount: errors, readiness, signals, unmounts, and what is left behind.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests are not recognised as tests"
)]

mod server;

use std::{
    ffi::{CString, OsStr, OsString},
    fs,
    io::Write,
    net::TcpListener,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::common::{self, Kind, Server, mount::binary};
use server::PASSWORD;

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A home, a mountpoint and a server. Whatever is still mounted or running at the end goes away.
struct Ground {
    home: TempDir,
    port: u16,
}

impl Ground {
    /// `None` where nothing can be mounted.
    fn new() -> Option<Self> {
        if !common::can_mount() {
            return None;
        }
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("mnt")).unwrap();
        Some(Self {
            home,
            port: server::start(),
        })
    }

    fn mountpoint(&self) -> PathBuf {
        self.home.path().join("mnt")
    }

    fn url(&self) -> String {
        format!("ftp://anna:{PASSWORD}@127.0.0.1:{}/", self.port)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(binary());
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .current_dir(self.home.path())
            .process_group(0)
            .stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command().args(args).output().unwrap()
    }

    /// Mounts in the background; returns the process that stays.
    #[track_caller]
    fn mount(&self, options: &[&str]) -> u32 {
        let output = self.run(&[options, &[&self.url(), "mnt"]].concat());
        assert!(output.status.success(), "{output:?}");
        let entry = self
            .entry()
            .expect("the command has ended, so the mount is ready");
        assert!(entry.contains(" fuse.ftpfs "), "{entry}");
        let pids = self.processes();
        assert_eq!(pids.len(), 1, "one process stays");
        pids[0]
    }

    /// Mounts in the foreground and waits until the mount is there.
    #[track_caller]
    fn mount_in_foreground(&self, options: &[&str]) -> Child {
        self.mount_url_in_foreground(&self.url(), options)
    }

    #[track_caller]
    fn mount_url_in_foreground(&self, url: &str, options: &[&str]) -> Child {
        let mut command = self.command();
        command.arg("-f").args(options).args([url, "mnt"]);
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_for("the mount", || self.entry().is_some());
        child
    }

    /// The line of /proc/self/mountinfo that is on top of the mountpoint.
    fn entry(&self) -> Option<String> {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let here = |line: &&str| line.split(' ').nth(4) == self.mountpoint().to_str();
        table.lines().rfind(here).map(str::to_owned)
    }

    /// The processes that have our mountpoint on their command line or were started in our home.
    fn processes(&self) -> Vec<u32> {
        let home = self.home.path().as_os_str().as_bytes();
        let is_ours = |pid: &u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            program == binary() && environment.windows(home.len()).any(|window| window == home)
        };
        let pids = fs::read_dir("/proc").unwrap().flatten();
        pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(is_ours)
            .collect()
    }

    #[track_caller]
    fn assert_gone(&self) {
        wait_for("the process to end", || self.processes().is_empty());
        assert_eq!(self.entry(), None, "nothing is left mounted");
    }

    /// Runs a command that must fail, with one line on stderr, and leave nothing behind.
    #[track_caller]
    fn refusal(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let mut stderr = String::from_utf8(output.stderr).unwrap();
        // Of the first log-in there, which comes before the mistake.
        if stderr.contains("in the clear;") {
            stderr = stderr.split_off(stderr.find('\n').unwrap() + 1);
        }
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        assert!(output.stdout.is_empty(), "{args:?}");
        assert!(
            stderr.starts_with("ftpfs: ") && stderr.ends_with('\n'),
            "{stderr:?}"
        );
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(
            self.processes().is_empty() && self.entry().is_none(),
            "{args:?}"
        );
        stderr
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for pid in self.processes() {
            signal(pid, libc::SIGKILL);
        }
        while self.entry().is_some() {
            umount(&self.mountpoint(), libc::MNT_DETACH);
        }
    }
}

#[track_caller]
fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(
            started.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        thread::sleep(Duration::from_millis(10));
    }
}

#[track_caller]
fn exit_code(child: &mut Child) -> Option<i32> {
    let mut status = None;
    wait_for("the end of ftpfs", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap().code()
}

fn signal(pid: u32, signal: i32) {
    // SAFETY: kill has no preconditions.
    unsafe { libc::kill(libc::pid_t::try_from(pid).unwrap(), signal) };
}

fn umount(path: &Path, flags: i32) -> bool {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: the path ends with a NUL.
    unsafe { libc::umount2(path.as_ptr(), flags) == 0 }
}

fn program(name: &str, args: &[&OsStr]) -> bool {
    Command::new(name)
        .args(args)
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

#[test]
fn help_and_version_exit_with_0() {
    let binary = binary();
    let help = Command::new(&binary).arg("--help").output().unwrap();
    assert!(help.status.success() && help.stderr.is_empty());
    assert!(
        String::from_utf8(help.stdout)
            .unwrap()
            .contains("Usage: ftpfs")
    );
    let doctor = Command::new(&binary)
        .args(["-v", "doctor", "--help"])
        .output()
        .unwrap();
    assert!(doctor.status.success() && doctor.stderr.is_empty());
    assert!(
        String::from_utf8(doctor.stdout)
            .unwrap()
            .contains("Usage: ftpfs doctor")
    );
    let version = Command::new(binary).arg("--version").output().unwrap();
    assert!(version.status.success());
    assert_eq!(
        version.stdout,
        format!("ftpfs {}\n", env!("CARGO_PKG_VERSION")).into_bytes()
    );
}

// SEMANTICS: S-ready
#[test]
fn a_mistake_is_one_line_and_exit_status_1() {
    let Some(ground) = Ground::new() else { return };
    let url = ground.url();
    // A port that nobody listens on any more.
    let refusing = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let refusing = format!("ftp://127.0.0.1:{refusing}/");
    let wrong_password = format!("ftp://anna:wrong-one@127.0.0.1:{}/", ground.port);
    fs::write(ground.home.path().join("file"), "").unwrap();
    for (args, hint) in [
        (
            &["-o", "dir-tll=3", &url, "mnt"][..],
            "unknown option 'dir-tll'; did you mean 'dir-ttl'?",
        ),
        (&["--dir-tll=3", &url, "mnt"], "'--dir-ttl'"),
        (&[&url], "<MOUNTPOINT>"),
        (&["ftpis://anna@host/", "mnt"], "ftps://"),
        (&[&url, "missing"], "missing does not exist"),
        (&[&url, "file"], "file is not a directory"),
        (&["ftp://anna@127.0.0.1/", "mnt"], "no terminal to ask on"),
        (&[&url, "mnt", "--cache-dir", "mnt/cache"], "--cache-dir"),
        (&[&url, "mnt", "--log-file", "missing/log"], "--log-file"),
        (&[&refusing, "mnt"], "refuse"),
        (&["-f", &refusing, "mnt"], "refuse"),
        (&[&wrong_password, "mnt"], "127.0.0.1"),
    ] {
        let message = ground.refusal(args);
        assert!(message.contains(hint), "{args:?}: {message}");
        assert!(
            !message.contains(PASSWORD) && !message.contains("wrong-one"),
            "{message}"
        );
    }
}

// SEMANTICS: S-ready
#[test]
fn a_mount_is_ready_when_the_command_ends_and_goes_away_on_each_signal() {
    let Some(ground) = Ground::new() else { return };
    for number in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        let pid = ground.mount(&[]);
        assert_eq!(fs::read_dir(ground.mountpoint()).unwrap().count(), 0);
        assert_eq!(
            fs::read_link(format!("/proc/{pid}/cwd")).unwrap(),
            Path::new("/")
        );
        signal(pid, number);
        ground.assert_gone();
    }
}

// SEMANTICS: S-password
#[test]
fn the_password_is_nowhere_to_be_seen() {
    let Some(ground) = Ground::new() else { return };
    for options in [&[][..], &["-vv", "--log-file", "log"]] {
        let pid = ground.mount(options);
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        let arguments = String::from_utf8_lossy(&arguments);
        assert!(arguments.contains("anna:******@127.0.0.1"), "{arguments}");
        let entry = ground.entry().unwrap();
        assert!(
            entry.contains(&format!(" ftp://anna@127.0.0.1:{}/ ", ground.port)),
            "{entry}"
        );
        for text in [&arguments, entry.as_str()] {
            assert!(!text.contains(PASSWORD), "{text}");
        }
        signal(pid, libc::SIGTERM);
        ground.assert_gone();
    }
    let log = fs::read_to_string(ground.home.path().join("log")).unwrap();
    assert!(
        log.contains("mounted ftp://anna@") && !log.contains(PASSWORD),
        "{log}"
    );
    let mode = fs::metadata(ground.home.path().join("log"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn each_source_of_the_password_works() {
    let Some(ground) = Ground::new() else { return };
    let url = format!("ftp://anna@127.0.0.1:{}/", ground.port);
    let end = || {
        signal(ground.processes()[0], libc::SIGTERM);
        ground.assert_gone();
    };
    let file = ground.home.path().join("password");
    fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let args = ["-o", "password_file=password", &url, "mnt"];
    assert!(ground.refusal(&args).contains("chmod 600 password"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(ground.run(&args).status.success());
    end();
    let status = ground
        .command()
        .env("FTPFS_PASSWORD", PASSWORD)
        .args([&url, "mnt"])
        .status();
    assert!(status.unwrap().success());
    end();
    fs::write(
        ground.home.path().join(".netrc"),
        format!("machine 127.0.0.1 login anna password {PASSWORD}\n"),
    )
    .unwrap();
    assert!(
        ground
            .run(&[&format!("ftp://127.0.0.1:{}/", ground.port), "mnt"])
            .status
            .success()
    );
    assert!(ground.entry().unwrap().contains(" ftp://anna@127.0.0.1"));
    end();
}

#[test]
fn the_short_form_and_anonymous_logins_are_shown_without_a_user() {
    let Some(ground) = Ground::new() else { return };
    let url = format!("ftp://127.0.0.1:{}/", ground.port);
    assert!(ground.run(&[&url, "mnt"]).status.success());
    assert!(ground.entry().unwrap().contains(&format!(" {url} ")));
    signal(ground.processes()[0], libc::SIGTERM);
    ground.assert_gone();
}

// SEMANTICS: S-access
#[test]
fn mount_options_reach_the_kernel() {
    let Some(ground) = Ground::new() else { return };
    let pid = ground.mount(&[
        "-o",
        "ro,noexec,noatime,allow_other,uid=12,umask=027,x-systemd.automount",
    ]);
    let entry = ground.entry().unwrap();
    for option in [
        "ro,nosuid,nodev,noexec,noatime",
        "default_permissions",
        "allow_other",
        "user_id=0",
    ] {
        assert!(entry.contains(option), "{option}: {entry}");
    }
    let device = entry.split(' ').nth(2).unwrap();
    let read_ahead = fs::read_to_string(format!("/sys/class/bdi/{device}/read_ahead_kb")).unwrap();
    assert_eq!(read_ahead.trim(), "1024");
    signal(pid, libc::SIGTERM);
    ground.assert_gone();
}

#[test]
fn an_unmount_from_outside_ends_the_process() {
    let Some(ground) = Ground::new() else { return };
    for args in [&["fusermount3", "-u"][..], &["umount"], &["umount", "-l"]] {
        let mut child = ground.mount_in_foreground(&[]);
        let mountpoint = ground.mountpoint();
        let rest = args[1..]
            .iter()
            .map(OsStr::new)
            .chain([mountpoint.as_os_str()]);
        assert!(program(args[0], &rest.collect::<Vec<_>>()), "{args:?}");
        assert_eq!(exit_code(&mut child), Some(0), "{args:?}");
        ground.assert_gone();
    }
}

#[test]
fn a_busy_mount_is_detached_at_a_signal() {
    let Some(ground) = Ground::new() else { return };
    let mut child = ground.mount_in_foreground(&[]);
    let open = fs::File::open(ground.mountpoint()).unwrap();
    signal(child.id(), libc::SIGINT);
    assert_eq!(exit_code(&mut child), Some(0));
    ground.assert_gone();
    drop(open);
}

// SEMANTICS: S-ours
#[test]
fn a_dead_mount_of_ours_is_replaced_and_a_live_one_is_not_covered() {
    let Some(ground) = Ground::new() else { return };
    let pid = ground.mount(&[]);
    let message = {
        let output = ground.run(&[&ground.url(), "mnt"]);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(
        message.contains("already mounted") && message.contains("fusermount3 -u"),
        "{message}"
    );
    signal(pid, libc::SIGKILL);
    wait_for("the process to die", || ground.processes().is_empty());
    wait_for("the mount to be dead", || {
        let error = fs::read_dir(ground.mountpoint()).unwrap_err();
        error.raw_os_error() == Some(libc::ENOTCONN)
    });
    for path in ["mnt", "mnt/", "./mnt"] {
        let output = ground.run(&[&ground.url(), path]);
        assert!(output.status.success(), "{path}: {output:?}");
        assert_eq!(fs::read_dir(ground.mountpoint()).unwrap().count(), 0);
        signal(ground.processes()[0], libc::SIGKILL);
        wait_for("the process to die", || ground.processes().is_empty());
    }
    let pid = ground.mount(&[]);
    signal(pid, libc::SIGTERM);
    ground.assert_gone();
}

// SEMANTICS: S-ours
#[test]
fn what_is_mounted_over_ours_or_inside_is_not_touched() {
    let Some(ground) = Ground::new() else { return };
    let mut child = ground.mount_in_foreground(&[]);
    let mountpoint = ground.mountpoint();
    let tmpfs = ["-t", "tmpfs", "tmpfs"].map(OsStr::new);
    assert!(program(
        "mount",
        &[&tmpfs[..], &[mountpoint.as_os_str()]].concat()
    ));
    fs::write(mountpoint.join("precious"), "x").unwrap();
    signal(child.id(), libc::SIGTERM);
    assert_eq!(
        exit_code(&mut child),
        Some(1),
        "it says that something is left"
    );
    assert!(ground.entry().unwrap().contains(" tmpfs "));
    assert_eq!(fs::read(mountpoint.join("precious")).unwrap(), b"x");
    assert!(umount(&mountpoint, 0));
}

// SEMANTICS: S-ours
#[test]
fn what_is_mounted_after_ours_was_unmounted_is_not_touched() {
    let Some(ground) = Ground::new() else { return };
    let mut child = ground.mount_in_foreground(&[]);
    let mountpoint = ground.mountpoint();
    // Keeps the session alive behind the lazy unmount.
    let open = fs::File::open(&mountpoint).unwrap();
    assert!(umount(&mountpoint, libc::MNT_DETACH));
    let tmpfs = ["-t", "tmpfs", "tmpfs"].map(OsStr::new);
    assert!(program(
        "mount",
        &[&tmpfs[..], &[mountpoint.as_os_str()]].concat()
    ));
    signal(child.id(), libc::SIGTERM);
    assert_eq!(exit_code(&mut child), Some(0));
    assert!(ground.entry().unwrap().contains(" tmpfs "));
    drop(open);
    assert!(umount(&mountpoint, 0));
}

#[test]
fn nothing_stays_when_the_command_is_interrupted_while_it_connects() {
    let Some(mut ground) = Ground::new() else {
        return;
    };
    ground.port = server::start_slow(Duration::from_mins(1));
    let mut child = ground
        .command()
        .args([&ground.url(), "mnt"])
        .spawn()
        .unwrap();
    wait_for("the process in the background", || {
        ground.processes().len() == 2
    });
    // Ctrl-C reaches the whole group.
    let group = libc::pid_t::try_from(child.id()).unwrap();
    // SAFETY: kill has no preconditions.
    unsafe { libc::kill(-group, libc::SIGINT) };
    assert_eq!(exit_code(&mut child), None);
    ground.assert_gone();
}

#[test]
fn nothing_stays_when_only_the_command_itself_is_killed() {
    let Some(mut ground) = Ground::new() else {
        return;
    };
    ground.port = server::start_slow(Duration::from_millis(500));
    let mut child = ground
        .command()
        .args([&ground.url(), "mnt"])
        .spawn()
        .unwrap();
    wait_for("the process in the background", || {
        ground.processes().len() == 2
    });
    signal(child.id(), libc::SIGKILL);
    assert_eq!(exit_code(&mut child), None);
    ground.assert_gone();
}

#[test]
fn a_background_process_that_dies_is_told() {
    let Some(mut ground) = Ground::new() else {
        return;
    };
    ground.port = server::start_slow(Duration::from_mins(1));
    let mut command = ground.command();
    let child = command
        .args([&ground.url(), "mnt"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the process in the background", || {
        ground.processes().len() == 2
    });
    let stays = ground
        .processes()
        .into_iter()
        .find(|pid| *pid != child.id())
        .unwrap();
    signal(stays, libc::SIGKILL);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("signal 9") && stderr.lines().count() == 1,
        "{stderr}"
    );
    ground.assert_gone();
}

#[test]
fn the_password_is_asked_for_on_a_terminal() {
    let Some(ground) = Ground::new() else { return };
    let binary = binary();
    let line = format!(
        "{} ftp://anna@127.0.0.1:{}/ mnt",
        binary.display(),
        ground.port
    );
    // script(1) makes the terminal.
    let child = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", ground.home.path())
        .current_dir(ground.home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("SKIPPED: script(1) is not installed");
        return;
    };
    let mut keyboard = child.stdin.take().unwrap();
    keyboard
        .write_all(format!("{PASSWORD}\n").as_bytes())
        .unwrap();
    wait_for("the mount", || ground.entry().is_some());
    drop(keyboard);
    let output = child.wait_with_output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && shown.contains("Password for anna@127.0.0.1:"),
        "{shown}"
    );
    signal(ground.processes()[0], libc::SIGTERM);
    ground.assert_gone();
}

#[test]
fn an_ordinary_user_mounts_by_fusermount3() {
    let Some(ground) = Ground::new() else { return };
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("SKIPPED: only root can become another user");
        return;
    }
    // Where only root may open /dev/fuse, the test runs again with a node of its own, in a namespace of its own.
    let mode = fs::metadata("/dev/fuse").unwrap().permissions().mode();
    if mode & 0o006 != 0o006 {
        let script = "mknod -m 666 fuse c 10 229 && mount --bind fuse /dev/fuse && exec \"$0\" --exact \
                      cli::an_ordinary_user_mounts_by_fusermount3 --nocapture";
        let itself = std::env::current_exe().unwrap();
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", script])
            .arg(itself)
            .current_dir(ground.home.path());
        assert!(command.status().unwrap().success());
        return;
    }
    let nobody = 65534;
    for dir in [ground.home.path(), &ground.mountpoint()] {
        std::os::unix::fs::chown(dir, Some(nobody), Some(nobody)).unwrap();
    }
    let as_nobody = |name: &str| {
        let mut command = if name.is_empty() {
            ground.command()
        } else {
            Command::new(name)
        };
        command
            .current_dir(ground.home.path())
            .uid(nobody)
            .gid(nobody);
        command
    };
    let mount = || {
        let output = as_nobody("")
            .args([&ground.url(), "mnt", "-o", "ro"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let entry = ground.entry().unwrap();
        for part in [
            "ro,nosuid,nodev",
            " fuse.ftpfs ftp://anna@127.0.0.1:",
            "user_id=65534",
        ] {
            assert!(entry.contains(part), "{part}: {entry}");
        }
        ground.processes()[0]
    };
    signal(mount(), libc::SIGTERM);
    ground.assert_gone();
    mount();
    assert!(
        as_nobody("fusermount3")
            .args(["-u", "mnt"])
            .status()
            .unwrap()
            .success()
    );
    ground.assert_gone();
    signal(mount(), libc::SIGKILL);
    wait_for("the process to die", || ground.processes().is_empty());
    // The dead one is replaced; a busy one is detached.
    let pid = mount();
    let mut open = as_nobody("sh")
        .args(["-c", "cd mnt && exec sleep 60"])
        .spawn()
        .unwrap();
    let cwd = format!("/proc/{}/cwd", open.id());
    wait_for("a user of the mount", || {
        fs::read_link(&cwd).is_ok_and(|dir| dir == ground.mountpoint())
    });
    signal(pid, libc::SIGTERM);
    ground.assert_gone();
    open.kill().unwrap();
    open.wait().unwrap();
}

// SEMANTICS: S-drain
#[test]
fn what_is_open_at_a_signal_reaches_the_server() {
    let Some(ground) = Ground::new() else { return };
    let Some(server) = Server::start(Kind::Vsftpd) else {
        return;
    };
    let mut child = ground.mount_url_in_foreground(server.url(), &[]);
    let content = common::pattern(7, 3 << 20);
    let mut open = fs::File::create(ground.mountpoint().join("a b")).unwrap();
    open.write_all(&content).unwrap();
    signal(child.id(), libc::SIGTERM);
    assert_eq!(exit_code(&mut child), Some(0));
    assert!(
        fs::read(server.root().join("a b")).unwrap() == content,
        "every byte is there"
    );
    ground.assert_gone();
    drop(open);
}

// SEMANTICS: S-kept
#[test]
fn what_a_frozen_server_does_not_take_is_named_and_kept() {
    for signals in [1, 2] {
        let Some(ground) = Ground::new() else { return };
        let Some(server) = Server::start(Kind::Vsftpd) else {
            return;
        };
        let drain = if signals == 1 {
            "--drain-timeout=1"
        } else {
            "--drain-timeout=60"
        };
        let child = ground.mount_url_in_foreground(server.url(), &["--timeout=3", drain]);
        let mut open = fs::File::create(ground.mountpoint().join("precious")).unwrap();
        open.write_all(b"not on the server").unwrap();
        server.freeze();
        signal(child.id(), libc::SIGTERM);
        if signals == 2 {
            thread::sleep(Duration::from_millis(300));
            signal(child.id(), libc::SIGTERM);
        }
        let started = Instant::now();
        let output = child.wait_with_output().unwrap();
        server.thaw();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
        let last = stderr.lines().last().unwrap();
        assert!(
            last.starts_with("ftpfs: ") && last.contains("/precious"),
            "{stderr}"
        );
        let kept = last.split("kept in ").nth(1).unwrap().trim_end_matches(')');
        assert_eq!(fs::read(kept).unwrap(), b"not on the server");
        ground.assert_gone();
        drop(open);
    }
}

// SEMANTICS: S-no-rights
#[test]
fn a_mount_by_mount_8_gives_no_rights() {
    const PROGRAM: &str = "/sbin/mount.fuse3";
    let Some(ground) = Ground::new() else { return };
    assert!(Path::new(PROGRAM).exists(), "fuse3 is not installed");
    let mut path = OsString::from(binary().parent().unwrap());
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    // mount.fuse3 adds `dev,suid` to them.
    for options in ["rw", "rw,noauto", "suid,dev", "nodev,ro"] {
        let output = Command::new(PROGRAM)
            .arg(ground.url())
            .arg(ground.mountpoint())
            .args(["-t", "fuse.ftpfs", "-o", options])
            .env("PATH", &path)
            .env("HOME", ground.home.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let entry = ground.entry().unwrap();
        assert!(entry.contains(",nosuid,nodev"), "{options}: {entry}");
        assert!(program("umount", &[ground.mountpoint().as_os_str()]));
        ground.assert_gone();
    }
}

/// mount(8) itself looks for programs in the system's directories only; these are the two ways in which it calls them.
#[test]
fn mount_8_can_call_it_by_type_and_as_a_helper() {
    let Some(ground) = Ground::new() else { return };
    let binary = binary();
    let mut path = OsString::from(binary.parent().unwrap());
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let helper = ground.home.path().join("mount.ftpfs");
    std::os::unix::fs::symlink(&binary, &helper).unwrap();
    let options = "ro,noexec,nosuid,nodev,dir-ttl=5,users,nofail,_netdev";
    let by_type = (
        "/sbin/mount.fuse3".into(),
        vec!["-t", "fuse.ftpfs", "-o", options],
    );
    let as_helper = (helper, vec!["-s", "-n", "-v", "-o", options]);
    for (program_path, args) in [by_type, as_helper] {
        if !program_path.exists() {
            eprintln!("SKIPPED: {} is not installed", program_path.display());
            continue;
        }
        let output = Command::new(&program_path)
            .arg(ground.url())
            .arg(ground.mountpoint())
            .args(args)
            .env("PATH", &path)
            .env("HOME", ground.home.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}: {output:?}",
            program_path.display()
        );
        assert!(ground.entry().unwrap().contains(" ro,"));
        assert!(program("umount", &[ground.mountpoint().as_os_str()]));
        ground.assert_gone();
    }
}
