//! Servers that hang, die, come back and fill up: every operation ends, nothing is lost silently, everything recovers.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

use crate::common::{
    Kind, Mount, Server, Site, can_mount, errno, for_each_site, names_in, pattern, server::pause,
    wait_for,
};

for_each_site!(&["timeout=3"];
    killed_while_idle,
    killed_while_reading,
    killed_while_writing,
    killed_for_good_while_replacing,
    frozen,
    frozen_while_writing,
);

for_each_site!(&["dir-ttl=0", "cache-size=0"]; sessions_ended_by_the_server);

/// The `timeout` of these mounts and the five seconds that are allowed on top of it.
const ENDS_WITHIN: Duration = Duration::from_secs(3 + 5);

/// How soon after the server's return everything must work again.
const RECOVERS_WITHIN: Duration = Duration::from_secs(10);

/// Larger than all socket buffers and caches on the way, so that a transfer stops in its middle.
const LARGE: usize = 24 << 20;

// SEMANTICS: S-reconnect
fn killed_while_idle(site: &mut Site) {
    let t = site.target();
    t.sh("mkdir d; echo before > d/f; cat d/f");
    for i in 0..3 {
        site.server.kill();
        site.server.restart();
        // The very next operation works: the user does not notice.
        match i {
            0 => assert_eq!(t.sh("cat d/f; ls d"), "before\nf\n"),
            1 => assert_eq!(t.sh("echo after > d/g; cat d/g"), "after\n"),
            _ => assert_eq!(t.sh("mv d/g d/h; mkdir e; rm d/f; ls d"), "h\n"),
        }
    }
    site.assert_same();
}

// SEMANTICS: S-read-broken
fn killed_while_reading(site: &mut Site) {
    let t = site.target();
    let content = pattern(40, LARGE);
    t.put_on_disk("large", &content);
    let mut file = File::open(t.path("large")).unwrap();
    let mut seen = vec![0; 1 << 20];
    file.read_exact(&mut seen).unwrap();
    site.server.kill();
    site.server.restart();
    // Goes on where it stood.
    file.read_to_end(&mut seen).unwrap();
    assert!(
        seen == content,
        "the bytes of before and after belong together"
    );
}

fn killed_while_writing(site: &mut Site) {
    let t = site.target();
    let content = pattern(41, LARGE);
    let mut file = File::create(t.path("new")).unwrap();
    file.write_all(&content[..LARGE / 2]).unwrap();
    pause();
    site.server.kill();
    site.server.restart();
    // Either all of it arrives in the end, or the program is told.
    let written = file
        .write_all(&content[LARGE / 2..])
        .and_then(|()| file.sync_all());
    drop(file);
    match written {
        Ok(()) => assert!(t.on_disk("new") == content),
        Err(e) => eprintln!("the program was told: {e}"),
    }
    fs::write(t.path("new"), b"works again").unwrap();
    assert_eq!(t.on_disk("new"), b"works again");
}

// SEMANTICS: S-tenet-whole, S-upload-failed
fn killed_for_good_while_replacing(site: &mut Site) {
    let t = site.target();
    let (old, new) = (pattern(42, 3 << 20), pattern(43, LARGE));
    t.put_on_disk("f", &old);
    let mut file = OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(t.path("f"))
        .unwrap();
    file.write_all(&new[..LARGE / 2]).unwrap();
    pause();
    site.server.kill();
    let started = Instant::now();
    let written = file
        .write_all(&new[LARGE / 2..])
        .and_then(|()| file.sync_all());
    let told = errno(written);
    assert!([libc::EIO, libc::ETIMEDOUT].contains(&told), "{told}");
    assert!(
        started.elapsed() < ENDS_WITHIN * 2,
        "took {:?}",
        started.elapsed()
    );
    assert!(
        t.on_disk("f") == old,
        "a failed upload leaves the old file as it was"
    );
    // The bytes are still here: once the server is back, the next attempt brings them there.
    site.server.restart();
    wait_for("a later fsync to succeed", RECOVERS_WITHIN, || {
        file.sync_all().is_ok()
    });
    drop(file);
    assert!(t.on_disk("f") == new);
}

// SEMANTICS: S-timeout, S-tenet-deadline
fn frozen(site: &mut Site) {
    let t = site.target();
    t.put_on_disk("unread", &pattern(44, 1 << 20));
    t.sh("mkdir d; echo cached > d/f; cat d/f; ls -l d");
    assert_eq!(names_in(&t.path("d")), [b"f".to_vec()]);
    let open = File::open(t.path("d/f")).unwrap();

    site.server.freeze();
    // What is known needs no server.
    let started = Instant::now();
    assert_eq!(fs::metadata(t.path("d/f")).unwrap().len(), 7);
    let mut seen = [0; 7];
    open.read_exact_at(&mut seen, 0).unwrap();
    assert_eq!(&seen, b"cached\n");
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "took {:?}",
        started.elapsed()
    );
    // What is not ends in time.
    let attempts: [(&str, &dyn Fn() -> io::Result<()>); 4] = [
        ("read", &|| fs::read(t.path("unread")).map(drop)),
        ("write", &|| {
            File::create(t.path("new")).and_then(|mut f| {
                f.write_all(b"x")?;
                f.sync_all()
            })
        }),
        ("mkdir", &|| fs::create_dir(t.path("e"))),
        ("rename", &|| fs::rename(t.path("d/f"), t.path("d/g"))),
    ];
    for (what, attempt) in attempts {
        let started = Instant::now();
        assert_eq!(errno(attempt()), libc::ETIMEDOUT, "{what}");
        assert!(
            started.elapsed() < ENDS_WITHIN,
            "{what} took {:?}",
            started.elapsed()
        );
    }

    site.server.thaw();
    wait_for("the recovery", RECOVERS_WITHIN, || {
        fs::write(t.path("after"), b"works").is_ok()
    });
    assert_eq!(t.on_disk("after"), b"works");
    assert!(fs::read(t.path("unread")).unwrap() == pattern(44, 1 << 20));
    t.sh("ls; rm -f d/f d/g; echo x > d/h; cat d/h");
    assert_eq!(t.on_disk("d/h"), b"x\n");
}

fn frozen_while_writing(site: &mut Site) {
    let t = site.target();
    let (old, new) = (pattern(45, 1 << 20), pattern(46, LARGE));
    t.put_on_disk("f", &old);
    let mut file = OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(t.path("f"))
        .unwrap();
    file.write_all(&new[..LARGE / 2]).unwrap();
    site.server.freeze();
    let started = Instant::now();
    let told = errno(
        file.write_all(&new[LARGE / 2..])
            .and_then(|()| file.sync_all()),
    );
    assert!([libc::ETIMEDOUT, libc::EIO].contains(&told), "{told}");
    assert!(
        started.elapsed() < ENDS_WITHIN * 2,
        "took {:?}",
        started.elapsed()
    );
    assert!(
        t.on_disk("f") == old,
        "a failed upload leaves the old file as it was"
    );
    site.server.thaw();
    wait_for("a later fsync to succeed", RECOVERS_WITHIN, || {
        file.sync_all().is_ok()
    });
    drop(file);
    assert!(t.on_disk("f") == new);
}

/// Nothing is cached here, so that each operation needs a session that lives.
fn sessions_ended_by_the_server(site: &mut Site) {
    let t = site.target();
    for i in 0..4 {
        let name = format!("f{i}");
        fs::write(t.path(&name), name.as_bytes()).unwrap();
        site.server.kill();
        site.server.restart();
        assert_eq!(fs::read(t.path(&name)).unwrap(), name.as_bytes());
        assert_eq!(names_in(&t.path("")).len(), i + 1);
    }
    site.assert_same();
}

// SEMANTICS: S-upload-failed
/// The server's disk is full: the program hears of it, the old file stays, and there is room again afterwards.
fn disk_full(kind: Kind) {
    if !can_mount() {
        return;
    }
    let Some(server) = Server::start_small(kind, 4 << 20) else {
        return;
    };
    let mount = Mount::new(&server, &["timeout=10"]);
    let site = Site { mount, server };
    let t = site.target();
    let old = pattern(47, 1 << 20);
    t.put_on_disk("old", &old);
    for name in ["new", "old"] {
        let mut file = File::create(t.path(name)).unwrap();
        let told = errno(
            file.write_all(&pattern(48, 8 << 20))
                .and_then(|()| file.sync_all()),
        );
        let expected = [libc::ENOSPC, libc::EDQUOT, libc::EIO];
        assert!(expected.contains(&told), "{name}: {told}");
        if name == "old" {
            assert!(t.on_disk("old") == old, "the old file stays as it was");
        }
        // Given up and removed, so that the end of the mount has nothing left to bring there.
        drop(file);
        let _ = fs::remove_file(t.path(name));
    }
    wait_for("room again", RECOVERS_WITHIN, || {
        fs::write(t.path("small"), b"fits").is_ok()
    });
    assert_eq!(t.on_disk("small"), b"fits");
    site.assert_same();
}

#[test]
fn disk_full_vsftpd() {
    disk_full(Kind::Vsftpd);
}

#[test]
fn disk_full_proftpd() {
    disk_full(Kind::Proftpd);
}

#[test]
fn disk_full_pure_ftpd() {
    disk_full(Kind::PureFtpd);
}

#[test]
fn disk_full_pyftpdlib() {
    disk_full(Kind::Pyftpdlib);
}
