//! A mount that has ended and still sends: the next one waits, and what it confirms is overwritten by nothing that comes late.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{SIZES, store};
use crate::common::{
    Kind, Meddler, Mount, Server, can_mount, errno, for_each_kind, names_in, pattern,
};

for_each_kind!(
    a_mount_waits_for_what_the_last_one_still_sends,
    what_comes_late_overwrites_nothing_that_the_next_mount_has_confirmed,
    a_mount_waits_for_no_living_one_and_for_no_dead_one,
    without_a_state_directory_nobody_waits,
);

/// A server with a proxy, and what its mounts remember.
struct Place {
    server: Server,
    meddler: Meddler,
    state: TempDir,
}

impl Place {
    fn new(kind: Kind) -> Option<Self> {
        let server = can_mount().then(|| Server::start(kind))??;
        Some(Self {
            meddler: Meddler::start(&server),
            state: tempfile::tempdir().unwrap(),
            server,
        })
    }

    fn mount(&self, options: &[&str]) -> Mount {
        self.mount_with(self.state.path(), options)
    }

    fn mount_with(&self, state: &Path, options: &[&str]) -> Mount {
        let variable = ("XDG_STATE_HOME".to_owned(), state.to_str().unwrap());
        Mount::in_environment(&[variable], &self.meddler.url(&self.server), options)
    }

    /// A mount, with files that the server did not take, that is being unmounted.
    fn ending_mount(&self, sizes: &[usize]) -> Mount {
        let mut mount = self.mount(&["drain-timeout=60", "timeout=10"]);
        mount.may_end_badly();
        self.meddler.on("STOR ").answer("450 The file is busy.");
        for (name, old) in files(sizes, 1) {
            let told = store(&mount.path().join(name), &old);
            assert_eq!(errno(told), libc::EBUSY);
        }
        mount.begin_unmount();
        mount
    }

    fn on_disk(&self, name: &str) -> Vec<u8> {
        let path: PathBuf = self.server.root().join(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

/// A file of each size.
fn files(sizes: &[usize], seed: u64) -> Vec<(String, Vec<u8>)> {
    let files = sizes.iter().enumerate();
    files
        .map(|(number, size)| (format!("f{number}"), pattern(seed + number as u64, *size)))
        .collect()
}

fn signal(mount: &Mount, signal: i32) {
    // SAFETY: kill has no preconditions, and the process is a child that nobody has waited for.
    unsafe { libc::kill(libc::pid_t::try_from(mount.pid()).unwrap(), signal) };
}

// SEMANTICS: S-drain-next
fn a_mount_waits_for_what_the_last_one_still_sends(kind: Kind) {
    let Some(place) = Place::new(kind) else {
        return;
    };
    let mut first = place.ending_mount(&SIZES);
    let started = Instant::now();
    let second = thread::scope(|scope| {
        let second = scope.spawn(|| place.mount(&["drain-timeout=60"]));
        thread::sleep(Duration::from_secs(2));
        assert!(!second.is_finished(), "it waits");
        place.meddler.behave();
        second.join().unwrap()
    });
    assert!(started.elapsed() >= Duration::from_secs(2));
    for (name, old) in files(&SIZES, 1) {
        assert!(place.on_disk(&name) == old, "{name} came before the mount");
    }
    let said = format!("(process {}) to send {} files", first.pid(), SIZES.len());
    assert_eq!(second.logged("waiting for the previous mount of ftp://"), 1);
    assert_eq!(second.logged(&said), 1, "{}", second.log_text());
    let new = files(&SIZES, 100);
    for (name, new) in &new {
        store(&second.path().join(name), new).unwrap();
    }
    assert!(first.unmount(), "it has sent everything");
    for (name, new) in &new {
        assert!(place.on_disk(name) == *new, "{name}");
    }
}

// SEMANTICS: S-drain-next
fn what_comes_late_overwrites_nothing_that_the_next_mount_has_confirmed(kind: Kind) {
    let Some(place) = Place::new(kind) else {
        return;
    };
    let mut first = place.ending_mount(&SIZES);
    thread::sleep(Duration::from_millis(500));
    signal(&first, libc::SIGSTOP);
    place.meddler.behave();
    let second = place.mount(&["drain-timeout=0.5"]);
    let warned = format!("process {} still sends what was written", first.pid());
    assert_eq!(second.logged(&warned), 1, "{}", second.log_text());
    let new = files(&SIZES, 100);
    for (name, new) in &new {
        store(&second.path().join(name), new).unwrap();
    }
    signal(&first, libc::SIGCONT);
    first.unmount();
    for (name, new) in &new {
        assert!(place.on_disk(name) == *new, "{name}");
    }
    // What the first has written is beside it, or on this machine.
    let root = place.server.root();
    let mut beside = Vec::new();
    for name in names_in(root) {
        beside.push(fs::read(root.join(String::from_utf8(name).unwrap())).unwrap());
    }
    for (name, old) in files(&SIZES, 1) {
        let is_kept = beside.contains(&old) || first.kept().contains(&old);
        assert!(is_kept, "{name}: {}", first.log_text());
    }
}

fn a_mount_waits_for_no_living_one_and_for_no_dead_one(kind: Kind) {
    let Some(place) = Place::new(kind) else {
        return;
    };
    let mut first = place.mount(&["drain-timeout=1"]);
    first.may_end_badly();
    place.meddler.on("STOR ").answer("450 The file is busy.");
    assert!(store(&first.path().join("f"), b"unsent").is_err());
    let second = place.mount(&[]);
    assert!(names_in(second.path()).is_empty());
    assert_eq!(
        second.logged("waiting for"),
        0,
        "it serves, and does not end"
    );
    drop(second);
    signal(&first, libc::SIGKILL);
    assert!(!first.unmount(), "it was killed");
    place.meddler.behave();
    let third = place.mount(&[]);
    assert_eq!(third.logged("waiting for"), 0);
    store(&third.path().join("f"), b"new").unwrap();
    assert_eq!(place.on_disk("f"), b"new");
    drop(third);
    let left = place.state.path().join("ftpfs/draining");
    let servers = names_in(&left);
    assert_eq!(servers.len(), 1);
    let server = left.join(String::from_utf8(servers[0].clone()).unwrap());
    assert!(names_in(&server).is_empty(), "nothing is left there");
}

fn without_a_state_directory_nobody_waits(kind: Kind) {
    let Some(place) = Place::new(kind) else {
        return;
    };
    // A home that cannot be written to, for root neither.
    let state = Path::new("/proc/nowhere");
    let first = place.mount_with(state, &[]);
    store(&first.path().join("f"), b"first").unwrap();
    assert_eq!(first.logged("the next mount will not wait for this one"), 1);
    first.begin_unmount();
    let second = place.mount_with(state, &[]);
    store(&second.path().join("f"), b"second").unwrap();
    assert_eq!(place.on_disk("f"), b"second");
}
