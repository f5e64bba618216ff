//! Where the password may be, and where it must not: each source of it, looked for in all that others can read.

use std::{
    fs,
    io::{Read, Seek, SeekFrom},
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::common::{
    can_mount,
    mount::{command, is_mounted},
    simulated::{Dialect, Simulated},
    wait_for,
};

/// A password that nothing else in a process looks like.
const SECRET: &str = "zQ7-korrektes-Pferd-zQ7";

/// How often the password may lie in memory: once for the sessions to come, and once more in what the parser of the command
/// line gave back to the allocator.
const COPIES_MAX: usize = 2;

/// How the password is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Url,
    File,
    Environment,
    Netrc,
}

/// A mount in the foreground.
struct Ground {
    home: TempDir,
    child: Child,
    server: Simulated,
}

impl Ground {
    fn new(source: Source) -> Self {
        let server = Simulated::start(Dialect::parse(&format!("password = \"{SECRET}\"")));
        let home = tempfile::tempdir().unwrap();
        let mountpoint = home.path().join("mnt");
        fs::create_dir(&mountpoint).unwrap();
        let mut command = command(home.path());
        command
            .args(["-f", "-vv", "--log-file"])
            .arg(home.path().join("log"));
        give(&mut command, source, &home);
        let url = server.url();
        let url = match source {
            Source::Url => url.replace(":secret@", &format!(":{SECRET}@")),
            _ => url.replace(":secret@", "@"),
        };
        let output = fs::File::create(home.path().join("output")).unwrap();
        let child = command
            .arg(url)
            .arg(&mountpoint)
            .stdout(output.try_clone().unwrap())
            .stderr(Stdio::from(output))
            .spawn()
            .unwrap();
        let ground = Self {
            home,
            child,
            server,
        };
        wait_for("the mount", Duration::from_secs(20), || {
            is_mounted(&mountpoint)
        });
        ground
    }

    fn process(&self, file: &str) -> Vec<u8> {
        fs::read(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }

    /// How often the password lies in the process's writable memory.
    fn copies(&self) -> usize {
        let maps = String::from_utf8(self.process("maps")).unwrap();
        let mut memory = fs::File::open(format!("/proc/{}/mem", self.child.id())).unwrap();
        let mut count = 0;
        for line in maps.lines() {
            let mut fields = line.split(' ');
            let range = fields.next().unwrap();
            if !fields.next().unwrap().starts_with("rw") {
                continue;
            }
            let (start, end) = range.split_once('-').unwrap();
            let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
            memory.seek(SeekFrom::Start(start)).unwrap();
            let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
            // Some pages are not there to be read.
            if memory.read_exact(&mut bytes).is_ok() {
                count += occurrences(&bytes);
            }
        }
        count
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("-l")
            .arg(self.home.path().join("mnt"))
            .status();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn give(command: &mut Command, source: Source, home: &TempDir) {
    let file = home.path().join("password");
    match source {
        Source::Url => {}
        Source::Environment => drop(command.env("FTPFS_PASSWORD", SECRET)),
        Source::File => {
            fs::write(&file, format!("{SECRET}\n")).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            command.arg("--password-file").arg(file);
        }
        Source::Netrc => {
            let entry = format!("machine 127.0.0.1 login user password {SECRET}\n");
            let file = home.path().join(".netrc");
            fs::write(&file, entry).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

fn occurrences(bytes: &[u8]) -> usize {
    let windows = bytes.windows(SECRET.len());
    windows
        .filter(|window| *window == SECRET.as_bytes())
        .count()
}

// SEMANTICS: S-password
#[test]
fn the_password_is_seen_by_nobody_wherever_it_comes_from() {
    if !can_mount() {
        return;
    }
    for source in [
        Source::Url,
        Source::File,
        Source::Environment,
        Source::Netrc,
    ] {
        let ground = Ground::new(source);
        fs::write(ground.home.path().join("mnt/file"), b"content").unwrap();
        assert!(ground.server.sessions() > 0);
        for file in ["cmdline", "environ", "mountinfo", "status"] {
            assert_eq!(occurrences(&ground.process(file)), 0, "{source:?}: {file}");
        }
        for file in ["log", "output"] {
            let text = fs::read(ground.home.path().join(file)).unwrap();
            assert_eq!(occurrences(&text), 0, "{source:?}: {file}");
        }
        let log = fs::read_to_string(ground.home.path().join("log")).unwrap();
        assert!(log.contains("> PASS ***"), "{log}");
        let limits = String::from_utf8(ground.process("limits")).unwrap();
        let core = limits
            .lines()
            .find(|line| line.starts_with("Max core file size"));
        let core: Vec<_> = core.unwrap().split_whitespace().collect();
        assert_eq!(core[4], "0", "{source:?}: {core:?}");
        let copies = ground.copies();
        assert!(
            (1..=COPIES_MAX).contains(&copies),
            "{source:?}: {copies} copies"
        );
    }
}
