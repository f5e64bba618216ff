//! How many round trips each operation costs once a session is warm: what makes the difference on a slow link, and what no
//! test on loopback would notice.
//!
//! A proxy before a real server shows what left together. Each line is one round trip; the numbers are a promise, so a
//! change that adds one fails here.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    path::Path,
    thread,
    time::Duration,
};

use crate::common::{
    Kind, Mount, Server, can_mount, for_each_kind, give_to_server, pattern,
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
    with_prepared_mount(kind, connections, |_| {}, body);
}

/// The same, with more on the server's disk.
fn with_prepared_mount(
    kind: Kind,
    connections: usize,
    prepare: impl FnOnce(&Path),
    body: impl FnOnce(&Path, &Proxy),
) {
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
    prepare(server.root());
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
        assert_eq!(
            sent,
            ["RNFR /small | RNTO /renamed | SIZE /small | MDTM /small | CWD /small"]
        );
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

/// As many as list nothing ahead of a walk, which would make an answer older than the table says.
const TWO: usize = 2;

/// How old an answer is when the change follows that it is for: it counts (`AGE_MAX`), or the server is asked again.
const AGES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

/// Where the ranges of a patch lie.
const PATCHED: [u64; 3] = [500_000, 1_000_000, 1_500_000];

/// What a program does in a directory that has `file` or `dir` in it.
enum Change {
    /// By name: the directory was listed so long before.
    Name(fn(&Path) -> io::Result<()>),
    /// The file is opened, and so long after it a line is written at its end.
    Append,
    /// The same with so many ranges.
    Patch(usize),
}

/// What is in the directory.
enum There {
    Nothing,
    File(usize),
    Dir,
}

/// One row of the table of costs.
struct Row {
    what: &'static str,
    there: There,
    change: Change,
    /// In round trips, for each of [`AGES`].
    costs: [usize; 2],
    /// Whether it costs as much on pyftpdlib, each time.
    is_steady_on_pyftpdlib: bool,
}

const TABLE: &[Row] = &[
    Row {
        what: "a small new file",
        there: There::Nothing,
        change: Change::Name(|dir| fs::write(dir.join("new"), b"content")),
        costs: [1, 2],
        is_steady_on_pyftpdlib: false,
    },
    Row {
        what: "replace",
        there: There::File(5_000),
        change: Change::Name(|dir| fs::write(dir.join("file"), pattern(2, 4_000))),
        costs: [3, 4],
        is_steady_on_pyftpdlib: true,
    },
    Row {
        what: "append",
        there: There::File(5_000),
        change: Change::Append,
        costs: [3, 4],
        is_steady_on_pyftpdlib: true,
    },
    Row {
        what: "patch of 1 range",
        there: There::File(LARGE),
        change: Change::Patch(1),
        costs: [6, 6],
        is_steady_on_pyftpdlib: false,
    },
    Row {
        what: "patch of 2 ranges",
        there: There::File(LARGE),
        change: Change::Patch(2),
        costs: [9, 9],
        is_steady_on_pyftpdlib: false,
    },
    Row {
        what: "patch of 3 ranges",
        there: There::File(LARGE),
        change: Change::Patch(3),
        costs: [12, 12],
        is_steady_on_pyftpdlib: false,
    },
    Row {
        what: "rename",
        there: There::File(5_000),
        change: Change::Name(|dir| fs::rename(dir.join("file"), dir.join("renamed"))),
        costs: [1, 2],
        is_steady_on_pyftpdlib: true,
    },
    Row {
        what: "unlink",
        there: There::File(5_000),
        change: Change::Name(|dir| fs::remove_file(dir.join("file"))),
        costs: [1, 2],
        is_steady_on_pyftpdlib: true,
    },
    Row {
        what: "rmdir",
        there: There::Dir,
        change: Change::Name(|dir| fs::remove_dir(dir.join("dir"))),
        costs: [1, 2],
        is_steady_on_pyftpdlib: true,
    },
    Row {
        what: "mkdir",
        there: There::Nothing,
        change: Change::Name(|dir| fs::create_dir(dir.join("made"))),
        costs: [1, 1],
        is_steady_on_pyftpdlib: true,
    },
];

for_each_kind!(changes_cost_what_the_table_says);

// SEMANTICS: S-exclusive, S-rename-noreplace, S-rmdir
fn changes_cost_what_the_table_says(kind: Kind) {
    let name = |row: usize, age: usize| format!("row{row}-{age}");
    let prepare = |root: &Path| {
        for (number, row) in TABLE.iter().enumerate() {
            for age in 0..AGES.len() {
                put_row(&root.join(name(number, age)), row);
            }
        }
        put_row(&root.join("learnt"), &TABLE[3]);
    };
    with_prepared_mount(kind, TWO, prepare, |dir, proxy| {
        // What is learnt at the first changes.
        let learnt = dir.join("learnt");
        for change in [Change::Patch(1), Change::Append] {
            let _ = proxy.during(|| make(&learnt, &change, Duration::ZERO));
        }
        for name in ["file", "new", "newer", "newest"] {
            let _ = proxy.during(|| {
                fs::write(learnt.join(name), b"written").unwrap();
                await_release();
            });
        }
        let can = |row: &Row| match kind {
            // It cuts off what follows an offset, so the whole file goes up.
            Kind::PureFtpd => !matches!(row.change, Change::Patch(_)),
            // It drops a data connection on which bytes come before it has read STOR, now and then, which costs a login.
            Kind::Pyftpdlib => row.is_steady_on_pyftpdlib,
            _ => true,
        };
        let mut wrong = Vec::new();
        for (number, row) in TABLE.iter().enumerate().filter(|(_, row)| can(row)) {
            for (age, &time) in AGES.iter().enumerate() {
                let sent = cost(&dir.join(name(number, age)), row, time, proxy);
                println!("{kind:?} {} {time:?} {} {sent:#?}", row.what, sent.len());
                if sent.len() != row.costs[age] {
                    wrong.push(format!("{} after {time:?}: {sent:#?}", row.what));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

/// Makes the directory of a row on the server's disk.
fn put_row(dir: &Path, row: &Row) {
    fs::create_dir(dir).unwrap();
    give_to_server(dir);
    let put = |name: &str, len| {
        fs::write(dir.join(name), pattern(1, len)).unwrap();
        give_to_server(&dir.join(name));
    };
    if matches!(row.change, Change::Patch(_)) {
        put("tried", LARGE);
    }
    match row.there {
        There::Nothing => {}
        There::File(len) => put("file", len),
        There::Dir => {
            fs::create_dir(dir.join("dir")).unwrap();
            give_to_server(&dir.join("dir"));
        }
    }
}

/// What is sent for a change, when what the mount was told before is so old.
fn cost(dir: &Path, row: &Row, age: Duration, proxy: &Proxy) -> Vec<String> {
    fs::read_dir(dir).unwrap().for_each(drop);
    if matches!(row.there, There::Dir) {
        fs::read_dir(dir.join("dir")).unwrap().for_each(drop);
    }
    match row.change {
        Change::Name(_) => thread::sleep(age),
        Change::Append => {}
        // Whether the server keeps the rest is tried once in each directory, on a scratch file.
        Change::Patch(_) => drop(proxy.during(|| {
            let tried = OpenOptions::new()
                .write(true)
                .open(dir.join("tried"))
                .unwrap();
            tried.write_all_at(b"tried", 500_000).unwrap();
        })),
    }
    let mut sent = proxy.during(|| {
        make(dir, &row.change, age);
        await_release();
    });
    // A data connection that is prepared for later.
    sent.retain(|batch| batch != "EPSV");
    sent
}

/// Makes a change; of a file so long after it was opened.
fn make(dir: &Path, change: &Change, age: Duration) {
    let opened = |options: &mut OpenOptions| {
        let file = options.open(dir.join("file")).unwrap();
        thread::sleep(age);
        file
    };
    match change {
        Change::Name(change) => change(dir).unwrap(),
        Change::Append => opened(OpenOptions::new().append(true))
            .write_all(b"one line more\n")
            .unwrap(),
        Change::Patch(ranges) => {
            let file = opened(OpenOptions::new().write(true));
            for at in &PATCHED[..*ranges] {
                file.write_all_at(b"changed", *at).unwrap();
            }
        }
    }
}
