//! How many round trips each operation costs once a session is warm: what makes the difference on a slow link, and what no
//! test on loopback would notice.
//!
//! A proxy before a real server shows what left together. Each line is one round trip; the numbers are a promise, so a
//! change that adds one fails here.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::FileExt,
    path::Path,
    thread,
    time::Duration,
};

use crate::common::{
    Kind, Mount, Server, can_mount, give_to_server, pattern,
    proxy::{Proxy, await_release},
};

/// Large enough to be patched, appended to and read in part.
const LARGE: usize = 2 << 20;

/// One session, on which nothing can hide.
const ONE: usize = 1;

/// Several: while one opens its next data connection after a transfer, another takes the command that follows.
const SEVERAL: usize = 4;

/// A mount of a real server behind the proxy, with a warm session and the root's listing known.
fn with_warm_mount(kind: Kind, connections: usize, body: impl FnOnce(&Path, &Proxy)) {
    if !can_mount() {
        return;
    }
    let Some(server) = Server::start(kind) else {
        return;
    };
    let put = |name: &str, content: &[u8]| {
        let path = server.root().join(name);
        fs::write(&path, content).unwrap();
        give_to_server(&path);
    };
    put("large", &pattern(1, LARGE));
    put("small", b"four");
    for dir in ["dir", "other"] {
        fs::create_dir(server.root().join(dir)).unwrap();
        give_to_server(&server.root().join(dir));
        put(&format!("{dir}/inside"), b"");
    }
    let (login, address) = server.url().rsplit_once('@').unwrap();
    let proxy = Proxy::start(address.trim_end_matches('/'));
    // A listing that stays fresh however slow the machine is.
    let options = [&*format!("connections={connections}"), "dir-ttl=600"];
    let mount = Mount::of_url(&format!("{login}@{}/", proxy.address()), &options);
    // Whatever is learnt or opened at first use; a listing last, which leaves its session warm.
    let _ = proxy.during(|| {
        fs::read_dir(mount.path()).unwrap().for_each(drop);
        fs::write(mount.path().join("first"), b"first").unwrap();
        await_release();
        fs::remove_file(mount.path().join("first")).unwrap();
    });
    let _ = proxy.during(|| {
        fs::read_dir(mount.path().join("other"))
            .unwrap()
            .for_each(drop);
    });
    body(mount.path(), &proxy);
}

#[test]
fn what_is_known_costs_none() {
    with_warm_mount(Kind::Proftpd, ONE, |dir, proxy| {
        let sent = proxy.during(|| {
            assert_eq!(fs::metadata(dir.join("large")).unwrap().len(), LARGE as u64);
            assert!(fs::metadata(dir.join("absent")).is_err());
            assert_eq!(fs::read_dir(dir).unwrap().count(), 4);
        });
        assert_eq!(sent, [""; 0]);
    });
}

#[test]
fn a_listing_costs_one() {
    with_warm_mount(Kind::Proftpd, ONE, |dir, proxy| {
        let sent = proxy.during(|| assert_eq!(fs::read_dir(dir.join("dir")).unwrap().count(), 1));
        assert_eq!(sent, ["CWD /dir | MLSD | EPSV"]);
    });
    with_warm_mount(Kind::Vsftpd, ONE, |dir, proxy| {
        let sent = proxy.during(|| assert_eq!(fs::read_dir(dir.join("dir")).unwrap().count(), 1));
        assert_eq!(sent, ["CWD /dir | LIST -a | EPSV"]);
    });
}

#[test]
fn a_read_costs_one() {
    with_warm_mount(Kind::Proftpd, ONE, |dir, proxy| {
        let sent = proxy.during(|| {
            let mut content = Vec::new();
            let mut file = File::open(dir.join("small")).unwrap();
            file.read_to_end(&mut content).unwrap();
            assert_eq!(content, b"four");
        });
        assert_eq!(sent, ["RETR /small"]);
        let at = LARGE / 2;
        let sent = proxy.during(|| {
            let mut piece = [0; 4096];
            let file = File::open(dir.join("large")).unwrap();
            file.read_exact_at(&mut piece, at as u64).unwrap();
            assert!(piece == pattern(1, LARGE)[at..at + 4096]);
        });
        let last = at + 4095;
        let part = format!("REST {at} | RANG {at} {last} | RETR /large | EPSV");
        assert_eq!(sent, [part]);
    });
}

#[test]
fn names_cost_one_each() {
    with_warm_mount(Kind::Proftpd, ONE, |dir, proxy| {
        let sent = proxy.during(|| fs::rename(dir.join("small"), dir.join("renamed")).unwrap());
        assert_eq!(sent, ["RNFR /small | RNTO /renamed"]);
        let sent = proxy.during(|| fs::remove_file(dir.join("renamed")).unwrap());
        assert_eq!(sent, ["DELE /renamed"]);
        let sent = proxy.during(|| fs::create_dir(dir.join("made")).unwrap());
        assert_eq!(sent, ["MKD /made"]);
        let sent = proxy.during(|| fs::remove_dir(dir.join("made")).unwrap());
        assert_eq!(sent, ["RMD /made"]);
    });
}

/// One: the bytes, with mode and time, the size as the server tells it, and the next data connection in the same write.
#[test]
fn a_small_new_file_costs_one() {
    for kind in [Kind::Proftpd, Kind::Vsftpd, Kind::PureFtpd] {
        with_warm_mount(kind, SEVERAL, |dir, proxy| {
            let sent = proxy.during(|| {
                fs::write(dir.join("new"), b"content").unwrap();
                await_release();
            });
            assert_eq!(sent.len(), 1, "{sent:?}");
            let sent = &sent[0];
            assert!(sent.starts_with("STOR /new | "), "{sent}");
            assert!(sent.ends_with(" | SIZE /new | MDTM /new | EPSV"), "{sent}");
        });
    }
}

/// Three: the size before, without which a lost reply could double the tail; the tail; the size after.
#[test]
fn a_line_more_costs_three() {
    with_warm_mount(Kind::Proftpd, SEVERAL, |dir, proxy| {
        let sent = proxy.during(|| {
            let mut file = OpenOptions::new()
                .append(true)
                .open(dir.join("large"))
                .unwrap();
            file.write_all(b"one line more\n").unwrap();
            drop(file);
            await_release();
        });
        assert_eq!(sent.len(), 3, "{sent:?}");
        assert_eq!(sent[1], "APPE /large");
    });
}

/// One more: what was asked so long ago decides nothing any more.
// SEMANTICS: S-exclusive, S-rename-noreplace, S-rmdir
#[test]
fn what_was_asked_three_seconds_ago_is_asked_again() {
    with_warm_mount(Kind::Proftpd, SEVERAL, |dir, proxy| {
        let wait = || thread::sleep(Duration::from_secs(3));
        wait();
        let sent = proxy.during(|| {
            fs::write(dir.join("new"), b"content").unwrap();
            await_release();
        });
        assert_eq!(sent.len(), 2, "{sent:?}");
        assert!(sent[0].starts_with("CWD / | MLSD"), "{sent:?}");
        assert!(sent[1].starts_with("STOR /new | "), "{sent:?}");
        wait();
        let sent = proxy.during(|| fs::rename(dir.join("new"), dir.join("named")).unwrap());
        assert_eq!(sent.len(), 2, "{sent:?}");
        assert_eq!(sent[1], "RNFR /new | RNTO /named");
        fs::create_dir(dir.join("made")).unwrap();
        wait();
        let sent = proxy.during(|| fs::remove_dir(dir.join("made")).unwrap());
        assert_eq!(sent.len(), 2, "{sent:?}");
        assert!(sent[0].starts_with("CWD /made | MLSD"), "{sent:?}");
        assert_eq!(sent[1], "RMD /made");
    });
}
