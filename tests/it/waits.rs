//! Nobody waits for ever, and a killed program is gone soon: servers that stand still, drip, take one command at a time or one connection.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::common::{
    Mount, can_mount, errno, pattern,
    simulated::{Ailment, Data, Dialect, Simulated},
    wait_for,
};

/// `--timeout` of these mounts.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How soon a program that was killed must be gone, and one that was not must know.
const GONE_MAX: Duration = Duration::from_secs(5);

/// What does not fit between two programs and the kernel.
const LARGE: usize = 24 << 20;

fn mount(server: &Simulated, options: &[&str]) -> Mount {
    let timeout = format!("timeout={}", TIMEOUT.as_secs());
    Mount::of_url(
        &server.url(),
        &[&[timeout.as_str(), "tls=off", "dir-ttl=0"], options].concat(),
    )
}

/// A server with a large file and a directory.
fn server() -> Simulated {
    let server = Simulated::start(Dialect::default());
    server.tree().put("/large", &pattern(1, LARGE));
    server.tree().put("/small", b"content");
    server.tree().make_dir("/dir");
    server.tree().put("/dir/file", b"content");
    server
}

/// What reads or writes there, as a program of its own.
fn program(script: &str, dir: &Path) -> Child {
    Command::new("sh")
        .args(["-c", &format!("exec {script}")])
        .current_dir(dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What is in a directory.
fn names(dir: &Path) -> std::io::Result<Vec<std::ffi::OsString>> {
    fs::read_dir(dir)?
        .map(|entry| Ok(entry?.file_name()))
        .collect()
}

/// How long it takes for what ends with an error.
#[track_caller]
fn timed_out<T: std::fmt::Debug>(outcome: std::io::Result<T>, since: Instant) {
    assert_eq!(errno(outcome), libc::ETIMEDOUT);
    let waited = since.elapsed();
    assert!(waited < GONE_MAX, "{waited:?}");
}

// SEMANTICS: S-min-rate
#[test]
fn a_listing_that_drips_ends() {
    if !can_mount() {
        return;
    }
    let server = server();
    // Whatever the rate that is asked of files.
    for options in [&[][..], &["min-rate=0"]] {
        let mount = mount(&server, options);
        server.set_ailment(Some(drip(Data::Listing)));
        let since = Instant::now();
        timed_out(names(&mount.path().join("dir")), since);
        assert!(mount.logged("100 bytes/s") > 0, "{}", mount.log_text());
        server.set_ailment(None);
        assert_eq!(fs::read_dir(mount.path().join("dir")).unwrap().count(), 1);
    }
}

fn drip(data: Data) -> Ailment {
    Ailment::Drip(data, 1, Duration::from_millis(200))
}

// SEMANTICS: S-min-rate
#[test]
fn a_download_that_drips_ends() {
    if !can_mount() {
        return;
    }
    let server = server();
    let mount = mount(&server, &[]);
    server.set_ailment(Some(drip(Data::Download)));
    let since = Instant::now();
    timed_out(fs::read(mount.path().join("large")), since);
    assert!(mount.logged("--min-rate") > 0, "{}", mount.log_text());
    server.set_ailment(None);
    assert_eq!(fs::read(mount.path().join("large")).unwrap().len(), LARGE);
}

// SEMANTICS: S-min-rate
#[test]
fn a_download_may_drip_where_no_rate_is_asked_for() {
    if !can_mount() {
        return;
    }
    let server = server();
    let mount = mount(&server, &["min-rate=0"]);
    server.set_ailment(Some(drip(Data::Download)));
    let path = mount.path().join("small");
    let reader = thread::spawn(move || {
        let read = fs::read(path);
        (read, Instant::now())
    });
    let since = Instant::now();
    let (read, ended) = reader.join().unwrap();
    server.set_ailment(None);
    assert_eq!(read.unwrap(), b"content");
    assert!(ended - since > Duration::from_secs(1));
}

// SEMANTICS: S-min-rate
#[test]
fn an_upload_that_drips_ends() {
    if !can_mount() {
        return;
    }
    let server = server();
    // 64 KiB every 100 ms are no drops, but less than this.
    let mut mount = mount(&server, &["min-rate=8M"]);
    server.set_ailment(Some(Ailment::Drip(
        Data::Upload,
        64 << 10,
        Duration::from_millis(100),
    )));
    let mut file = File::create(mount.path().join("new")).unwrap();
    let since = Instant::now();
    let stored = file
        .write_all(&pattern(2, LARGE))
        .and_then(|()| file.sync_all());
    assert_eq!(errno(stored), libc::ETIMEDOUT);
    // The program writes for a while before it waits.
    assert!(since.elapsed() < GONE_MAX * 2, "{:?}", since.elapsed());
    assert!(mount.logged("--min-rate") > 0, "{}", mount.log_text());
    server.set_ailment(None);
    let kept = || file.sync_all();
    wait_for("the upload", Duration::from_secs(20), || kept().is_ok());
    assert_eq!(
        fs::metadata(mount.path().join("new")).unwrap().len(),
        LARGE as u64
    );
    mount.may_end_badly();
}

// SEMANTICS: S-min-rate
#[test]
fn a_program_may_pause_and_a_disk_may_wake_up() {
    if !can_mount() {
        return;
    }
    let server = server();
    let mount = mount(&server, &["min-rate=1M"]);
    // The program does not read for longer than the timeout.
    let mut file = File::open(mount.path().join("large")).unwrap();
    let mut content = vec![0; 1 << 20];
    file.read_exact(&mut content).unwrap();
    thread::sleep(TIMEOUT * 2);
    file.read_to_end(&mut content).unwrap();
    assert_eq!(content.len(), LARGE);
    // Nor does it write.
    let mut file = File::create(mount.path().join("new")).unwrap();
    for part in [&content[..4 << 20], &content[4 << 20..]] {
        file.write_all(part).unwrap();
        thread::sleep(TIMEOUT * 2);
    }
    file.sync_all().unwrap();
    // The server stands still for less than that.
    server.set_ailment(Some(Ailment::Still(Data::Download)));
    let path = mount.path().join("dir/file");
    let reader = thread::spawn(move || fs::read(path));
    thread::sleep(TIMEOUT * 3 / 4);
    server.set_ailment(None);
    assert_eq!(reader.join().unwrap().unwrap(), b"content");
}

// SEMANTICS: S-timeout
#[test]
fn a_killed_program_is_gone_whatever_the_server_does_not_do() {
    if !can_mount() {
        return;
    }
    let cases = [
        (Ailment::Mute, "ls dir", false),
        (Ailment::Mute, "rm small", false),
        (Ailment::Mute, "mkdir new", false),
        (Ailment::Mute, "cp SMALL new", false),
        (Ailment::Still(Data::Listing), "ls dir", false),
        (Ailment::Still(Data::Download), "cat large", false),
        (Ailment::Still(Data::Upload), "cp LARGE new", false),
        (Ailment::Login, "ls dir", true),
        (Ailment::Ports, "ls dir", true),
        (Ailment::Ports, "cat large", true),
    ];
    let home = tempfile::tempdir().unwrap();
    let large = home.path().join("large");
    let small = home.path().join("small");
    fs::write(&large, pattern(3, LARGE)).unwrap();
    fs::write(&small, pattern(4, 1000)).unwrap();
    for (ailment, script, needs_session) in cases {
        let script = script
            .replace("LARGE", large.to_str().unwrap())
            .replace("SMALL", small.to_str().unwrap());
        let server = server();
        let mut mount = mount(&server, &[]);
        server.set_ailment(Some(ailment));
        if needs_session {
            server.drop_sessions();
        }
        let mut child = program(&script, mount.path());
        // It waits by now.
        thread::sleep(Duration::from_millis(500));
        assert!(child.try_wait().unwrap().is_none(), "{ailment:?} {script}");
        let since = Instant::now();
        child.kill().unwrap();
        child.wait().unwrap();
        let waited = since.elapsed();
        assert!(waited < GONE_MAX, "{ailment:?} {script}: {waited:?}");
        server.set_ailment(None);
        let since = Instant::now();
        assert_eq!(
            fs::read(mount.path().join("dir/file")).unwrap(),
            b"content",
            "{ailment:?} {script}"
        );
        assert_eq!(fs::read_dir(mount.path().join("dir")).unwrap().count(), 1);
        fs::write(mount.path().join("after"), b"after").unwrap();
        let waited = since.elapsed();
        assert!(waited < GONE_MAX, "after {ailment:?} {script}: {waited:?}");
        mount.may_end_badly();
    }
}

// SEMANTICS: S-one-command
#[test]
fn a_server_that_takes_one_command_at_a_time_is_mounted_within_seconds() {
    if !can_mount() {
        return;
    }
    let mut dialect = Dialect::default();
    dialect.sessions.one_command = true;
    let server = Simulated::start(dialect);
    server.tree().put("/file", b"content");
    server.tree().make_dir("/dir");
    let since = Instant::now();
    let mut mount = Mount::of_url(&server.url(), &["tls=off"]);
    let waited = since.elapsed();
    assert!(waited < Duration::from_secs(5), "{waited:?}");
    use_all(&mount);
    // Learnt for the next one.
    let since = Instant::now();
    mount.again(&server.url(), &["tls=off"]);
    assert!(
        since.elapsed() < Duration::from_secs(2),
        "{:?}",
        since.elapsed()
    );
    use_all(&mount);
    // That looks once more, while nobody waits, and finds the same.
    server.take_heard();
    wait_for("another look", Duration::from_secs(20), || {
        server.take_heard().iter().any(|line| line == "TYPE I")
    });
    use_all(&mount);
    assert_eq!(mount.logged("after all"), 0);
}

/// Lists, reads, writes and renames, none of which may wait for an answer that does not come.
fn use_all(mount: &Mount) {
    let at = |name: &str| mount.path().join(name);
    let since = Instant::now();
    assert!(fs::read_dir(mount.path()).unwrap().count() >= 2);
    assert_eq!(fs::read_dir(at("dir")).unwrap().count(), 0);
    assert_eq!(fs::read(at("file")).unwrap(), b"content");
    fs::write(at("new"), pattern(1, 100_000)).unwrap();
    fs::rename(at("new"), at("dir/new")).unwrap();
    assert_eq!(fs::read(at("dir/new")).unwrap().len(), 100_000);
    fs::remove_file(at("dir/new")).unwrap();
    let waited = since.elapsed();
    assert!(waited < Duration::from_secs(4), "{waited:?}");
}

// SEMANTICS: S-one-command
#[test]
fn a_slow_server_is_not_taken_for_one_that_takes_one_command_at_a_time() {
    if !can_mount() {
        return;
    }
    let mut dialect = Dialect::default();
    dialect.sessions.slow_milliseconds = 1_500;
    let server = Simulated::start(dialect);
    let mut mount = Mount::of_url(&server.url(), &["tls=off"]);
    assert_eq!(mount.logged("one by one"), 0, "{}", mount.log_text());
    mount.may_end_badly();
}

// SEMANTICS: S-one-command
#[test]
fn a_server_that_was_slow_once_is_sent_commands_together_again() {
    if !can_mount() {
        return;
    }
    let server = server();
    server.set_ailment(Some(Ailment::Login));
    let mount = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_secs(5));
            server.set_ailment(None);
        });
        Mount::of_url(&server.url(), &["tls=off"])
    });
    assert_eq!(mount.logged("one by one"), 1, "{}", mount.log_text());
    wait_for("another look", Duration::from_secs(25), || {
        mount.logged("after all") > 0
    });
    assert_eq!(names(&mount.path().join("dir")).unwrap(), ["file"]);
}

/// A server of which another connection is the end of the first, and which greets late. It knows nobody.
fn one_connection(greeting: Duration) -> (u16, &'static AtomicUsize) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let both: &AtomicUsize = Box::leak(Box::default());
    let open: &AtomicUsize = Box::leak(Box::default());
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            // The end of the one before may not have been read yet.
            thread::sleep(Duration::from_millis(200));
            if open.fetch_add(1, Ordering::SeqCst) > 0 {
                both.fetch_add(1, Ordering::SeqCst);
            }
            thread::spawn(move || {
                greet_and_refuse(socket, greeting);
                open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    (port, both)
}

fn greet_and_refuse(mut socket: TcpStream, greeting: Duration) {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut writer = socket.try_clone().unwrap();
        let is_over = &is_over;
        scope.spawn(move || {
            let since = Instant::now();
            while since.elapsed() < greeting && !is_over.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(10));
            }
            let _ = writer.write_all(b"220 ready\r\n");
        });
        let mut lines = BufReader::new(socket.try_clone().unwrap());
        let mut line = Vec::new();
        while lines
            .read_until(b'\n', &mut line)
            .is_ok_and(|count| count > 0)
        {
            let reply: &[u8] = if line.starts_with(b"USER") {
                b"331 go on\r\n"
            } else {
                b"530 nobody is known\r\n"
            };
            let _ = socket.write_all(reply);
            line.clear();
        }
        is_over.store(true, Ordering::SeqCst);
    });
}

// SEMANTICS: S-strangers
#[test]
fn a_server_of_one_connection_never_sees_two() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("mnt")).unwrap();
    let (port, both) = one_connection(Duration::from_secs(6));
    let output = crate::common::mount::command(home.path())
        .args(["-f", "--tls", "off"])
        .args([&format!("ftp://u:p@127.0.0.1:{port}/"), "mnt"])
        .current_dir(home.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("refuses the login"), "{said}");
    assert_eq!(both.load(Ordering::SeqCst), 0);
}
