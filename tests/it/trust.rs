//! A certificate that nothing vouches for: asked about once, on a terminal and nowhere else, and remembered.

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

use crate::common::{
    Kind, Security, Server, can_mount,
    mount::{binary, command, is_mounted},
};

/// A server whose certificate an authority has signed that nobody knows, and the home of its user.
struct Ground {
    server: Server,
    home: TempDir,
}

impl Ground {
    fn new() -> Option<Self> {
        if !can_mount() {
            return None;
        }
        let server = Server::start_with(Kind::Vsftpd, Security::Tls)?;
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("mnt")).unwrap();
        Some(Self { server, home })
    }

    fn dir(&self) -> PathBuf {
        self.home.path().join("mnt")
    }

    fn remembered(&self) -> PathBuf {
        let state = self.home.path().join(".local/state/ftpfs");
        state.join("trusted-certificates")
    }

    /// Runs it on a terminal where this is typed; what that shows, and the exit status.
    fn on_terminal(&self, arguments: &str, typed: &str) -> (String, Option<i32>) {
        let line = format!("exec {} {arguments}", binary().display());
        let mut child = Command::new("timeout")
            .args(["60", "script", "-qefc", &line, "/dev/null"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("XDG_CACHE_HOME", self.home.path().join("cache"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut keyboard = child.stdin.take().unwrap();
        let mut screen = child.stdout.take().unwrap();
        let mut shown = Vec::new();
        let mut has_typed = false;
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = screen.read(&mut piece) {
            shown.extend_from_slice(&piece[..count]);
            if !has_typed && String::from_utf8_lossy(&shown).contains("[y/N]") {
                keyboard.write_all(typed.as_bytes()).unwrap();
                has_typed = true;
            }
        }
        let status = child.wait().unwrap().code();
        (String::from_utf8_lossy(&shown).into_owned(), status)
    }

    fn mount_on_terminal(&self, typed: &str) -> (String, Option<i32>) {
        let arguments = format!("{} {}", self.server.url(), self.dir().display());
        self.on_terminal(&arguments, typed)
    }

    /// Mounts where there is no terminal.
    fn mount(&self, options: &[&str]) -> Output {
        let mut command = command(self.home.path());
        command.args(options).arg(self.server.url());
        command.arg(self.dir()).output().unwrap()
    }

    fn unmount(&self) {
        assert!(is_mounted(&self.dir()));
        fs::metadata(self.dir()).unwrap();
        let mut command = Command::new("fusermount3");
        assert!(
            command
                .arg("-u")
                .arg(self.dir())
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let mut command = Command::new("fusermount3");
        let _ = command.args(["-uqz"]).arg(self.dir()).status();
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

// SEMANTICS: S-tls-trust-once
#[test]
fn a_certificate_is_asked_about_once_on_a_terminal() {
    let Some(ground) = Ground::new() else {
        return;
    };
    // Without a terminal nobody is asked.
    let refused = ground.mount(&[]);
    assert_eq!(refused.status.code(), Some(1));
    let message = said(&refused);
    assert!(message.contains("on a terminal"), "{message}");
    assert!(message.contains("--pin"), "{message}");
    assert!(!message.contains("[y/N]") && !is_mounted(&ground.dir()));
    for no in ["\n", "n\n", "\u{4}"] {
        let (shown, status) = ground.mount_on_terminal(no);
        assert_eq!(status, Some(1), "{shown}");
        assert!(!is_mounted(&ground.dir()) && !ground.remembered().exists());
    }
    let (shown, status) = ground.mount_on_terminal("y\n");
    assert_eq!(status, Some(0), "{shown}");
    for part in [
        "cannot be verified",
        "subject",
        "issuer",
        "valid",
        "SHA-256",
    ] {
        assert!(shown.contains(part), "{shown}");
    }
    ground.unmount();
    let mode = fs::metadata(ground.remembered()).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    // From now on without a question, with a terminal or without.
    let (shown, status) = ground.mount_on_terminal("");
    assert_eq!(
        (shown.contains("[y/N]"), status),
        (false, Some(0)),
        "{shown}"
    );
    ground.unmount();
    let mounted = ground.mount(&[]);
    assert!(mounted.status.success(), "{}", said(&mounted));
    ground.unmount();
}

// SEMANTICS: S-tls-trust-once
#[test]
fn another_certificate_than_the_trusted_one_is_not_asked_about() {
    let Some(ground) = Ground::new() else {
        return;
    };
    // The doctor asks as well.
    let arguments = format!("doctor -o ro {}", ground.server.url());
    let (shown, _) = ground.on_terminal(&arguments, "y\n");
    assert!(shown.contains("[y/N]"), "{shown}");
    let file = ground.remembered();
    let line = fs::read_to_string(&file).unwrap();
    let (server, digest) = line.trim_end().split_once(' ').unwrap();
    let other = digest.replace(digest.get(..2).unwrap(), "00");
    assert_ne!(other, digest);
    fs::write(&file, format!("other:21 {digest}\n{server} {other}\n")).unwrap();
    let place = format!("line 2 of {}", file.display());
    let (shown, status) = ground.mount_on_terminal("y\n");
    assert_eq!(status, Some(1));
    for message in [shown, said(&ground.mount(&[]))] {
        assert!(message.contains(&place), "{message}");
        assert!(message.contains("another certificate"), "{message}");
        assert!(!message.contains("[y/N]"), "{message}");
    }
    assert!(!is_mounted(&ground.dir()));
    // An option that says whom to trust comes first, and is not asked about.
    let mounted = ground.mount(&["--pin", digest]);
    assert!(mounted.status.success(), "{}", said(&mounted));
    ground.unmount();
    let pin = format!("--pin {} ", "00".repeat(32));
    let arguments = format!("{pin}{} {}", ground.server.url(), ground.dir().display());
    let (shown, status) = ground.on_terminal(&arguments, "y\n");
    assert_eq!(status, Some(1));
    assert!(
        shown.contains("than --pin says") && !shown.contains("[y/N]"),
        "{shown}"
    );
}
