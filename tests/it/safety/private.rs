//! Files that others may not read, as programs make them: what lies on the server's disk is watched all the while.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use super::{assert_disk, rights::rig_of};
use crate::common::{Kind, Site, Target, for_each_site, pattern};

for_each_site!(crate::safety::OLD;
    secrets_are_never_open_to_others,
    an_open_file_would_be_seen,
);

/// Watches the server's disk until it is dropped.
struct Watch {
    is_over: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<String>>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Watch {
    fn start(root: &Path) -> Self {
        let (is_over, seen) = (
            Arc::<AtomicBool>::default(),
            Arc::<Mutex<Vec<_>>>::default(),
        );
        let (root, over, found) = (root.to_path_buf(), is_over.clone(), seen.clone());
        let thread = thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                look(&root, &found);
            }
        });
        Self {
            is_over,
            seen,
            thread: Some(thread),
        }
    }

    /// The files that held something and let others in.
    fn end(mut self) -> Vec<String> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

/// Looks once at all files below `dir` that others can reach.
fn look(dir: &Path, found: &Mutex<Vec<String>>) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in entries {
        let path: PathBuf = entry.path();
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_dir() {
            if meta.mode() & 0o077 != 0 {
                look(&path, found);
            }
        } else if meta.size() > 0 && meta.mode() & 0o077 != 0 {
            let mut found = found.lock().unwrap();
            found.push(format!("{} {:o}", path.display(), meta.mode()));
        }
    }
}

// SEMANTICS: S-private
fn secrets_are_never_open_to_others(site: &mut Site) {
    never_open(&site.target());
}

fn never_open(t: &Target) {
    fs::write(t.scratch("small"), pattern(1, 300)).unwrap();
    fs::write(t.scratch("large"), pattern(2, 6_000_000)).unwrap();
    t.sh("chmod 600 $SCRATCH/small $SCRATCH/large; mkdir d");
    let watch = Watch::start(&t.disk("d"));
    t.sh("install -m 600 $SCRATCH/small d/installed");
    t.sh("install -m 600 $SCRATCH/large d/installed-large");
    t.sh("cp -p $SCRATCH/small d/copied; cp -p $SCRATCH/large d/copied-large");
    t.sh("umask 077; echo secret > d/echoed; cat $SCRATCH/large > d/cat");
    t.sh("umask 077; ssh-keygen -q -t ed25519 -N '' -f d/key 2>/dev/null || echo secret > d/key; rm -f d/key.pub");
    // Over files that are there, in place and by rename.
    t.sh("cat $SCRATCH/large > d/installed; cat $SCRATCH/small > d/installed-large");
    t.sh("rsync -a --inplace $SCRATCH/large d/echoed; rsync -a $SCRATCH/large d/synced");
    t.sh("printf more >> d/copied");
    let seen = watch.end();
    assert!(
        seen.is_empty(),
        "open to others: {:?}",
        &seen[..seen.len().min(5)]
    );
    let mut copied = pattern(1, 300);
    copied.extend_from_slice(b"more");
    for (name, content) in [
        ("d/installed", pattern(2, 6_000_000)),
        ("d/installed-large", pattern(1, 300)),
        ("d/copied", copied),
        ("d/copied-large", pattern(2, 6_000_000)),
        ("d/cat", pattern(2, 6_000_000)),
        ("d/echoed", pattern(2, 6_000_000)),
        ("d/synced", pattern(2, 6_000_000)),
    ] {
        assert_disk(t, name, &content, "what was written");
        let mode = fs::metadata(t.disk(name)).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}");
    }
    t.wait_until_settled();
}

/// That the watch can see one.
fn an_open_file_would_be_seen(site: &mut Site) {
    let t = site.target();
    t.sh("mkdir d");
    let watch = Watch::start(&t.disk("d"));
    t.sh("head -c 3000000 /dev/zero > d/file; sleep 0.2");
    assert!(!watch.end().is_empty());
}

/// Where nothing can be stored over an empty file, it goes up in a directory that nobody else may enter.
// SEMANTICS: S-private
#[test]
fn secrets_are_never_open_where_no_file_can_be_overwritten() {
    let Some(rig) = rig_of(Kind::Proftpd, "AllowOverwrite off") else {
        return;
    };
    let t = rig.target();
    fs::write(t.scratch("small"), pattern(1, 300)).unwrap();
    fs::write(t.scratch("large"), pattern(2, 6_000_000)).unwrap();
    t.sh("mkdir d");
    let watch = Watch::start(&t.disk("d"));
    t.sh("install -m 600 $SCRATCH/small d/small; install -m 600 $SCRATCH/large d/large");
    t.sh("umask 077; cp $SCRATCH/large d/copied");
    assert_eq!(watch.end(), Vec::<String>::new());
    for (name, content) in [
        ("d/small", pattern(1, 300)),
        ("d/large", pattern(2, 6_000_000)),
        ("d/copied", pattern(2, 6_000_000)),
    ] {
        assert_disk(&t, name, &content, "what was written");
        let mode = fs::metadata(t.disk(name)).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}");
    }
    t.wait_until_settled();
}
