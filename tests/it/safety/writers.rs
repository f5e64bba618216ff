//! Many programs write one file: the close of each says what has become of it.

use std::fs;

use super::assert_disk;
use crate::common::{Rig, Target, for_each_rig, pattern};

for_each_rig!(crate::safety::OLD;
    each_of_many_handles_hears_of_a_failure,
    who_opened_a_file_hears_of_a_failure_after_many_have_written,
    many_writers_of_one_file_succeed,
);

/// Runs a Python program in which `errno_of(f, ...)` is the number that a call fails with.
#[track_caller]
fn python(t: &Target, program: &str) -> String {
    let start = "
import os, sys, threading
def errno_of(f, *args):
    try:
        f(*args)
        return 0
    except OSError as e:
        return e.errno
";
    fs::write(t.scratch("program.py"), format!("{start}\n{program}\n")).unwrap();
    t.sh("python3 $SCRATCH/program.py")
}

/// Lets the server refuse every upload.
fn refuse(rig: &mut Rig) {
    rig.site.mount.may_end_badly();
    for verb in ["STOR ", "APPE "] {
        rig.meddler.on(verb).answer("452 No.");
    }
}

/// So many processes with so many handles each; what their closes say.
fn closes_of(t: &Target, name: &str, processes: usize, handles: usize) -> Vec<i32> {
    let said = python(
        t,
        &format!(
            "
for p in range({processes}):
    if os.fork() == 0:
        fds = [os.open('{name}', os.O_WRONLY | os.O_CREAT) for _ in range({handles})]
        for i, fd in enumerate(fds):
            os.pwrite(fd, b'%04d' % (p * {handles} + i), 4 * (p * {handles} + i))
        for fd in fds:
            os.write(1, b'%d\\n' % errno_of(os.close, fd))
        os._exit(0)
for p in range({processes}):
    os.wait()"
        ),
    );
    said.lines().map(|line| line.parse().unwrap()).collect()
}

// SEMANTICS: S-close
fn each_of_many_handles_hears_of_a_failure(rig: &mut Rig) {
    let t = rig.target();
    t.put_on_disk("old", &pattern(1, 1000));
    refuse(rig);
    for (name, processes, handles) in [("new20", 4, 5), ("new100", 5, 20), ("old", 1, 100)] {
        let told = closes_of(&t, name, processes, handles);
        assert_eq!(told, vec![libc::ENOSPC; processes * handles], "{name}");
    }
    assert_disk(&t, "old", &pattern(1, 1000), "refused");
}

/// One descriptor, inherited by many or used by many threads.
// SEMANTICS: S-close
fn who_opened_a_file_hears_of_a_failure_after_many_have_written(rig: &mut Rig) {
    let t = rig.target();
    refuse(rig);
    for writers in [1, 20, 100] {
        let said = python(
            &t,
            &format!(
                "
fd = os.open('inherited{writers}', os.O_WRONLY | os.O_CREAT)
for i in range({writers}):
    if os.fork() == 0:
        os.pwrite(fd, b'%04d' % i, 4 * i)
        os._exit(0)
    os.wait()
print(errno_of(os.close, fd))
fd = os.open('threads{writers}', os.O_WRONLY | os.O_CREAT)
threads = [threading.Thread(target=os.pwrite, args=(fd, b'%04d' % i, 4 * i)) for i in range({writers})]
[t.start() for t in threads]
[t.join() for t in threads]
print(errno_of(os.close, fd))"
            ),
        );
        let enospc = libc::ENOSPC;
        assert_eq!(said, format!("{enospc}\n{enospc}\n"), "{writers}");
    }
}

// SEMANTICS: S-close
fn many_writers_of_one_file_succeed(rig: &mut Rig) {
    let t = rig.target();
    let expected = |count: usize| -> Vec<u8> {
        let pieces = (0..count).map(|number| format!("{number:04}"));
        pieces.collect::<String>().into_bytes()
    };
    let told = closes_of(&t, "f", 4, 10);
    assert_eq!(told, [0; 40]);
    assert_disk(&t, "f", &expected(40), "handles");
    // The opener's close is what publishes it, also after many others.
    let said = python(
        &t,
        "
fd = os.open('g', os.O_WRONLY | os.O_CREAT)
for i in range(40):
    if os.fork() == 0:
        os.pwrite(fd, b'%04d' % i, 4 * i)
        os._exit(0)
    os.wait()
os.pwrite(fd, b'last', 160)
print(errno_of(os.close, fd))",
    );
    assert_eq!(said, "0\n");
    assert_disk(&t, "g", &[expected(40), b"last".to_vec()].concat(), "one");
}
