//! How many round trips things take with TLS and without, on a link that is slow enough to tell.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::FileExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::common::{
    Kind, Mount, Security, Server, can_mount, give_to_server, link::Link, pattern,
};

/// The round trip time. 100 ms: many times what two busy cores add to a request.
const RTT: Duration = Duration::from_millis(100);

/// How long a session rests before it counts as warm: the last reply, EPSV, and a handshake, with time to spare.
const REST: Duration = Duration::from_millis(500);

/// How often each thing is done. The least counts: what else the machine does only adds.
const RUNS: usize = 3;

/// Large enough to be read in part and appended to.
const LARGE: usize = 2 << 20;

/// Round trips from a request to its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Trips {
    /// A small file, on a session that has rested.
    first: u32,
    /// The same and the one after it: what ends the first goes on while the second is asked for.
    both: u32,
    /// A block of a large file, on a session that has rested.
    random: u32,
    /// A small file written and closed, likewise.
    upload: u32,
    /// A line more at the end of a file, likewise.
    append: u32,
}

fn trips(work: impl FnOnce()) -> u32 {
    let started = Instant::now();
    work();
    u32::try_from(started.elapsed().as_millis() / RTT.as_millis()).unwrap()
}

fn least(runs: impl Iterator<Item = u32>) -> u32 {
    runs.min().unwrap()
}

fn rested(work: impl FnOnce()) -> u32 {
    thread::sleep(REST);
    trips(work)
}

fn read(mut file: &File, content: &[u8]) {
    let mut found = Vec::new();
    file.read_to_end(&mut found).unwrap();
    assert!(found == content);
}

fn measure(dir: &Path, large: &[u8]) -> Trips {
    let reads = (0..RUNS).map(|run| {
        // Opened before: vsftpd is asked for their times then.
        let open = |name| File::open(dir.join(format!("{name}{run}"))).unwrap();
        let (a, b, mut first) = (open('a'), open('b'), 0);
        let both = rested(|| {
            first = trips(|| read(&a, b"four"));
            read(&b, b"five");
        });
        (first, both)
    });
    let reads: Vec<_> = reads.collect();
    let file = File::open(dir.join("large")).unwrap();
    let random = (1..=RUNS).map(|run| {
        let (at, mut piece) = (run * LARGE / 4, [0; 4096]);
        let trips = rested(|| file.read_exact_at(&mut piece, at as u64).unwrap());
        assert!(piece == large[at..at + 4096]);
        trips
    });
    let upload = (0..RUNS).map(|run| {
        // Has the directory listed, so that the name that follows is known to be free.
        fs::write(dir.join(format!("before{run}")), b"content").unwrap();
        rested(|| fs::write(dir.join(format!("new{run}")), b"content").unwrap())
    });
    let append = (0..RUNS).map(|_| {
        let path = dir.join("large");
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(b"one line more\n").unwrap();
        rested(|| drop(file))
    });
    Trips {
        first: least(reads.iter().map(|(first, _)| *first)),
        both: least(reads.iter().map(|(_, both)| *both)),
        random: least(random),
        upload: least(upload),
        append: least(append),
    }
}

/// What things take on a mount with one session, on which nothing can hide; `None` where there is no such server.
fn on_link(kind: Kind, security: Security) -> Option<Trips> {
    let link = Link::new(RTT);
    let server = Server::start_between(kind, security, link.ports())?;
    let large = pattern(1, LARGE);
    let put = |name: &str, content: &[u8]| {
        let path = server.root().join(name);
        fs::write(&path, content).unwrap();
        give_to_server(&path);
    };
    put("large", &large);
    for run in 0..RUNS {
        put(&format!("a{run}"), b"four");
        put(&format!("b{run}"), b"five");
    }
    let address = link.open(server.port());
    let (login, _) = server.url().rsplit_once('@').unwrap();
    let mut options = vec!["connections=1", "dir-ttl=600"];
    if security == Security::Tls {
        // Its certificate is not for this end of the link.
        options.push("tls-insecure");
    }
    let mount = Mount::of_url(&format!("{login}@{address}/"), &options);
    // Whatever is learnt at first use.
    fs::read_dir(mount.path()).unwrap().for_each(drop);
    fs::write(mount.path().join("first"), b"first").unwrap();
    Some(measure(mount.path(), &large))
}

/// What TLS may cost: so many round trips `more` for a read on a data connection that is there, one for an upload and for the
/// next data connection, and none for an append, whose bytes wait for the server's go-ahead with TLS or without.
fn handshake_costs_at_most(more: u32, kind: Kind) {
    if !can_mount() {
        return;
    }
    let Some(plain) = on_link(kind, Security::Plain) else {
        return;
    };
    let ones = [plain.first, plain.random, plain.upload];
    assert_eq!(ones, [1; 3], "{plain:?} without TLS");
    let protected = on_link(kind, Security::Tls).unwrap();
    let most = Trips {
        first: plain.first + more,
        both: plain.both + more + 1,
        random: plain.random + more,
        upload: plain.upload + 1,
        append: plain.append,
    };
    let is_right = protected.first <= most.first
        && protected.both <= most.both
        && protected.random <= most.random
        && protected.upload <= most.upload
        && protected.append <= most.append;
    assert!(is_right, "{protected:?} over TLS, {plain:?} without");
}

// SEMANTICS: S-tls-round-trips
#[test]
fn one_more_on_vsftpd() {
    handshake_costs_at_most(1, Kind::Vsftpd);
}

#[test]
fn one_more_on_proftpd() {
    handshake_costs_at_most(1, Kind::Proftpd);
}

#[test]
fn one_more_on_pure_ftpd() {
    handshake_costs_at_most(1, Kind::PureFtpd);
}

#[test]
fn none_more_for_a_read_on_pyftpdlib() {
    handshake_costs_at_most(0, Kind::Pyftpdlib);
}
