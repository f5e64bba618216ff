//! Hostile and broken servers against the real binary: none of them takes over the terminal, learns the password too early, or shows it.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown, lchown, symlink},
        process::CommandExt,
    },
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use crate::common::mount::command;

/// The password of all these logins.
const PASSWORD: &str = "geheim/9";

/// What a server does with one command line: its answer, or the end of the connection.
type Answer = fn(number: usize, line: &str) -> Option<String>;

/// A server of which only the control connection is played.
struct Scripted {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    fn start(greeting: &'static str, answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&heard);
        thread::spawn(move || {
            for (number, socket) in listener.incoming().flatten().enumerate() {
                let heard = Arc::clone(&shared);
                thread::spawn(move || serve(number, socket, greeting, answer, &heard));
            }
        });
        Self { port, heard }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// What the doctor, or a mount that must fail, says of it, on both outputs.
    fn said(&self, args: &[&str]) -> String {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("mnt")).unwrap();
        let url = format!(
            "ftp://anna:{}@127.0.0.1:{}/",
            PASSWORD.replace('/', "%2F"),
            self.port
        );
        let mut command = command(home.path());
        let url = [url.as_str()];
        let is_doctor = args.first() == Some(&"doctor");
        let end: &[&str] = if is_doctor { &[] } else { &["mnt"] };
        let output = command
            .args([args, &url, end].concat())
            .stdin(Stdio::null())
            .current_dir(home.path())
            .output()
            .unwrap();
        assert!(!output.status.success(), "{output:?}");
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8(text).unwrap()
    }
}

fn serve(
    number: usize,
    mut socket: TcpStream,
    greeting: &str,
    answer: Answer,
    heard: &Mutex<Vec<String>>,
) {
    let _ = write!(socket, "{greeting}\r\n");
    let lines = BufReader::new(socket.try_clone().unwrap()).lines();
    for line in lines.map_while(Result::ok) {
        heard.lock().unwrap().push(line.clone());
        let Some(answer) = answer(number, &line) else {
            return;
        };
        if socket.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn verb(line: &str) -> &str {
    line.split(' ').next().unwrap_or_default()
}

/// What a terminal obeys instead of showing it.
fn escapes(text: &str) -> Vec<char> {
    let is_escape = |c: &char| c.is_control() && *c != '\n';
    text.chars().filter(is_escape).collect()
}

// SEMANTICS: S-printed
#[test]
fn a_terminal_obeys_no_server() {
    const GREETING: &str = "220 \x1b[2J\x1b]0;taken over\x07 welcome";
    let answers: [Answer; 3] = [
        |_, line| {
            Some(match verb(line) {
                "USER" => "331 \x1b[31mpassword\r\n".to_owned(),
                _ => "530 \x1b]52;c;Zm9v\x07 \u{9b}5i no\r\n".to_owned(),
            })
        },
        |_, line| {
            Some(match verb(line) {
                "USER" => "331 go on\r\n".to_owned(),
                "PASS" => "230 in\r\n".to_owned(),
                "SYST" => "215 VMS \x1b[2J\x1b]0;x\x07\r\n".to_owned(),
                _ => "500 \x1b[2J\r\n".to_owned(),
            })
        },
        |_, _| Some("\x1b[2J\x07 no FTP\r\n".to_owned()),
    ];
    for answer in answers {
        let server = Scripted::start(GREETING, answer);
        for args in [&["-f", "-vv"][..], &["doctor"], &["doctor", "--json"]] {
            let said = server.said(args);
            assert!(escapes(&said).is_empty(), "{args:?}: {said}");
            assert!(said.contains("127.0.0.1"), "{args:?}: {said}");
        }
    }
}

// SEMANTICS: S-password
#[test]
fn a_password_that_a_reply_repeats_is_not_shown() {
    let server = Scripted::start("220 ready", |_, line| {
        Some(match verb(line) {
            "USER" => "331 go on\r\n".to_owned(),
            "PASS" => format!("530 {} is wrong for anna ({line})\r\n", &line[5..]),
            _ => "500 no\r\n".to_owned(),
        })
    });
    for args in [&["-f", "-vv"][..], &["doctor"], &["doctor", "--json"]] {
        let said = server.said(args);
        assert!(said.contains("is wrong for anna"), "{said}");
        assert!(!said.contains("eheim"), "{args:?}: {said}");
    }
}

// SEMANTICS: S-password
#[test]
fn no_part_of_a_password_is_shown_whatever_is_mistyped() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("mnt")).unwrap();
    for args in [
        &["ftp://anna:p@geh#eim/w@127.0.0.1:1/", "mnt"][..],
        &["ftp://anna:x@geheim/2024@127.0.0.1:1/", "mnt"],
        &["ftp://anna:x/geheim@127.0.0.1:1/", "mnt"],
        &["ftp://anna:geheim@127.0.0.1:1/", "mnt", "geheim"][..2],
        &["ftp://anna:geheim/x@127.0.0.1:1/", "mnt", "--dir-ttl=x"],
        &["ftp://anna:x@geheim/y@127.0.0.1:1/"],
        &["anna:geheim://x@127.0.0.1:", "mnt"],
        &["-o", "user=anna:geheim", "ftp://127.0.0.1:1/", "mnt"],
        &["-o", "user=anna:geheim", "ftp://bert@127.0.0.1:1/", "mnt"],
        &[
            "-o",
            "user=anna:geheim,user",
            "ftp://a:b@127.0.0.1:1/",
            "mnt",
        ],
        &[
            "-o",
            "user=anna:geheim,dirr-ttl=3",
            "ftp://127.0.0.1:1/",
            "mnt",
        ],
    ] {
        let output = command(home.path())
            .current_dir(home.path())
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!output.status.success(), "{args:?}");
        assert!(said.starts_with("ftpfs: "), "{args:?}: {said}");
        assert!(
            !said.contains("geh") && !said.contains("eim"),
            "{args:?}: {said}"
        );
    }
}

// SEMANTICS: S-tls
#[test]
fn any_agreement_to_auth_begins_tls() {
    for answer in [
        (|_, line| Some(agree(200, line))) as Answer,
        |_, line| Some(agree(235, line)),
        |_, line| Some(agree(250, line)),
    ] {
        let server = Scripted::start("220 ready", answer);
        server.said(&["-f", "--timeout", "5"]);
        // What comes next is the handshake, which this server does not understand.
        let heard = server.heard();
        assert_eq!(heard.first().map(String::as_str), Some("AUTH TLS"));
        assert!(!heard.iter().any(|line| line.contains("anna")), "{heard:?}");
    }
}

fn agree(code: u16, line: &str) -> String {
    match verb(line) {
        "AUTH" => format!("{code} go on\r\n"),
        "USER" => "331 go on\r\n".to_owned(),
        _ => "530 no\r\n".to_owned(),
    }
}

/// Hangs up on AUTH, and knows logins.
fn hang_up(_: usize, line: &str) -> Option<String> {
    match verb(line) {
        "AUTH" => None,
        "USER" => Some("331 go on\r\n".to_owned()),
        _ => Some("530 no\r\n".to_owned()),
    }
}

/// Never answers AUTH.
fn fall_silent(_: usize, line: &str) -> Option<String> {
    match verb(line) {
        "AUTH" => Some(String::new()),
        _ => hang_up(0, line),
    }
}

// SEMANTICS: S-tls-refused
#[test]
fn a_server_that_hangs_up_on_auth_is_spoken_to_without_tls_only_where_that_is_allowed() {
    for (answer, patience) in [(hang_up as Answer, 8), (fall_silent, 20)] {
        let server = Scripted::start("220 ready", answer);
        let began = Instant::now();
        let said = server.said(&["-f"]);
        assert!(began.elapsed() < Duration::from_secs(patience), "{said}");
        assert!(said.contains("--tls off"), "{said}");
        assert!(said.contains("in the clear"), "{said}");
        assert!(said.contains("refuses the login"), "{said}");
        let server = Scripted::start("220 ready", answer);
        let said = server.said(&["-f", "--tls", "require"]);
        assert!(said.contains("--tls off"), "{said}");
        assert_eq!(server.heard(), ["AUTH TLS"]);
    }
}

// SEMANTICS: S-tls-refused
#[test]
fn a_host_that_has_spoken_tls_is_not_believed_when_it_hangs_up() {
    let server = Scripted::start("220 ready", hang_up);
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join(".local/state/ftpfs");
    fs::create_dir_all(&state).unwrap();
    fs::create_dir(home.path().join("mnt")).unwrap();
    fs::write(
        state.join("tls-hosts"),
        format!("127.0.0.1:{}\n", server.port),
    )
    .unwrap();
    let output = command(home.path())
        .args([
            "-f",
            &format!("ftp://anna:geheim@127.0.0.1:{}/", server.port),
            "mnt",
        ])
        .current_dir(home.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert_eq!(server.heard(), ["AUTH TLS"], "{said}");
    assert!(said.contains("has spoken TLS before"), "{said}");
}

// SEMANTICS: S-clear
#[test]
fn the_first_login_in_the_clear_is_a_warning() {
    let server = Scripted::start("220 ready", |_, line| Some(agree(500, line)));
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("mnt")).unwrap();
    let url = format!("ftp://anna:geheim@127.0.0.1:{}/", server.port);
    let mut warnings = Vec::new();
    for options in [&["--tls", "off"][..], &[], &[]] {
        let output = command(home.path())
            .args(options)
            .args([url.as_str(), "mnt"])
            .current_dir(home.path())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        warnings.push(said.matches("in the clear").count());
    }
    assert_eq!(warnings, [1, 0, 0]);
}

// SEMANTICS: S-password-prompt
#[test]
fn a_signal_at_the_prompt_leaves_the_terminal_as_it_was() {
    for signal in ["INT", "TERM", "HUP"] {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("mnt")).unwrap();
        let binary = command(home.path()).get_program().to_owned();
        let script = format!(
            "cd '{home}'; export HOME='{home}'; stty -g > before
            (until stty -a < /dev/tty | grep -q -- ' -echo '; do sleep 0.05; done
             touch hidden; kill -{signal} $(cat pid)) &
            trap : INT HUP
            sh -c 'echo $$ > pid; exec {binary} -f ftp://anna@127.0.0.1:1/ mnt' 2> said
            echo $? > status; stty -g > after; wait",
            home = home.path().display(),
            binary = binary.display(),
        );
        let status = std::process::Command::new("timeout")
            .args(["20", "script", "-qec", &script, "/dev/null"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        let read = |name: &str| fs::read_to_string(home.path().join(name)).unwrap_or_default();
        assert!(home.path().join("hidden").exists(), "{signal}: {status}");
        assert_eq!(read("before"), read("after"), "{signal}: {}", read("said"));
        assert!(!read("before").is_empty());
        let number = match signal {
            "INT" => 2,
            "HUP" => 1,
            _ => 15,
        };
        assert_eq!(
            read("status").trim(),
            (128 + number).to_string(),
            "{signal}"
        );
    }
}

// SEMANTICS: S-password
#[test]
fn nobody_but_root_may_look_into_the_process() {
    const NOBODY: u32 = 65_534;
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can start a process of another user");
        return;
    }
    let server = Scripted::start("220 ready", fall_silent);
    let home = tempfile::tempdir().unwrap();
    chown(home.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let built = command(home.path());
    let binary = home.path().join("ftpfs");
    fs::copy(built.get_program(), &binary).unwrap();
    let mut child = std::process::Command::new(&binary)
        .args(["doctor", "--tls", "require"])
        .arg(format!("ftp://anna:geheim@127.0.0.1:{}/", server.port))
        .env("HOME", home.path())
        .uid(NOBODY)
        .gid(NOBODY)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    crate::common::wait_for("AUTH", Duration::from_secs(10), || {
        !server.heard().is_empty()
    });
    let mode_of = |file: &str| fs::metadata(format!("/proc/{}/{file}", child.id())).unwrap();
    let owners = ["environ", "mem", "maps"].map(|file| mode_of(file).uid());
    let _ = child.kill();
    let _ = child.wait();
    assert_eq!(owners, [0; 3]);
}

/// What a mount with these options says, and whether it failed within some seconds.
fn refusal(home: &Path, args: &[&str]) -> String {
    let output = std::process::Command::new("timeout")
        .arg("10")
        .arg(command(home).get_program())
        .args(args)
        .args(["-f", "ftp://u:p@127.0.0.1:1/", "mnt"])
        .env("HOME", home)
        .current_dir(home)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

// SEMANTICS: S-local-files
#[test]
fn directories_that_others_can_exchange_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    for name in ["mnt", "open", "theirs"] {
        fs::create_dir(at(name)).unwrap();
    }
    fs::set_permissions(at("open"), fs::Permissions::from_mode(0o777)).unwrap();
    let open = at("open/cache");
    let said = refusal(home.path(), &["--cache-dir", open.to_str().unwrap()]);
    assert!(
        said.contains("--cache-dir") && said.contains("may write"),
        "{said}"
    );
    assert!(!open.exists());
    if rustix::process::geteuid().is_root() {
        chown(at("theirs"), Some(65_534), None).unwrap();
        let theirs = at("theirs/cache");
        let said = refusal(home.path(), &["--cache-dir", theirs.to_str().unwrap()]);
        assert!(said.contains("another user"), "{said}");
    }
    // The state directory too.
    fs::create_dir_all(at(".local/state")).unwrap();
    fs::set_permissions(at(".local/state"), fs::Permissions::from_mode(0o777)).unwrap();
    let said = refusal(home.path(), &[]);
    assert!(said.contains("XDG_STATE_HOME"), "{said}");
}

// SEMANTICS: S-local-files
#[test]
fn a_log_goes_through_no_foreign_link_and_no_pipe_that_nobody_reads() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    fs::create_dir(at("mnt")).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(at("pipe"))
        .status();
    assert!(made.unwrap().success());
    let said = refusal(home.path(), &["--log-file", "pipe"]);
    assert!(said.contains("pipe"), "{said}");
    fs::write(at("victim"), b"victim").unwrap();
    symlink("victim", at("log")).unwrap();
    if rustix::process::geteuid().is_root() {
        lchown(at("log"), Some(65_534), Some(65_534)).unwrap();
        let said = refusal(home.path(), &["--log-file", "log"]);
        assert!(said.contains("link"), "{said}");
        assert_eq!(fs::read(at("victim")).unwrap(), b"victim");
    }
}

// SEMANTICS: S-local-files
#[test]
fn what_is_ours_on_this_machine_is_for_us_alone_whatever_the_umask() {
    let server = Scripted::start("220 ready", |_, line| Some(agree(500, line)));
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("mnt")).unwrap();
    let url = format!("ftp://anna:geheim@127.0.0.1:{}/", server.port);
    let script = format!(
        "umask 0; '{}' -f --log-file log --cache-disk-size 1M {url} mnt",
        command(home.path()).get_program().display()
    );
    let ended = std::process::Command::new("sh")
        .args(["-c", &script])
        .env("HOME", home.path())
        .current_dir(home.path())
        .status()
        .unwrap();
    assert!(!ended.success());
    let mut found = 0;
    let mut open = vec![
        home.path().join(".cache/ftpfs"),
        home.path().join(".local/state/ftpfs"),
    ];
    open.push(home.path().join("log"));
    while let Some(path) = open.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        assert_eq!(metadata.mode() & 0o077, 0, "{}", path.display());
        found += 1;
        if metadata.is_dir() {
            open.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
    }
    assert!(found > 4, "{found} files and directories");
}

// SEMANTICS: S-password
#[test]
fn a_netrc_that_others_may_write_is_refused() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("mnt")).unwrap();
    let netrc = home.path().join(".netrc");
    fs::write(&netrc, "machine 127.0.0.1 login u password geheim\n").unwrap();
    fs::set_permissions(&netrc, fs::Permissions::from_mode(0o622)).unwrap();
    let output = command(home.path())
        .args(["-f", "ftp://127.0.0.1:1/", "mnt"])
        .current_dir(home.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("chmod go-w"), "{said}");
}
