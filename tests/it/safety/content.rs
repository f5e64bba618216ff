//! No program is shown wrong bytes as right ones: what is unknown is an error, what was written is what the next one reads.

use std::{fs, os::unix::fs::FileExt};

use super::{assert_disk, close, open};
use crate::common::{Site, Target, errno, for_each_site, pattern};

for_each_site!(crate::safety::OLD;
    what_is_gone_from_a_changed_file_is_an_error,
    an_asynchronous_direct_write_is_what_others_read,
    a_database_is_shared_by_programs,
);

// SEMANTICS: S-read-unknown
fn what_is_gone_from_a_changed_file_is_an_error(site: &mut Site) {
    const LEN: usize = 600_000;
    site.mount.may_end_badly();
    let t = site.target();
    for at in [0, 300_000, LEN] {
        let name = format!("f{at}");
        t.put_on_disk(&name, &pattern(1, LEN));
        let file = open(&t.path(&name));
        file.write_all_at(b"changed", at as u64).unwrap();
        let disk = fs::OpenOptions::new().write(true).open(t.disk(&name));
        disk.unwrap().set_len(100_000).unwrap();
        let mut page = [0; 4096];
        for start in [102_400, 204_800, 512_000] {
            let read = file.read_at(&mut page, start);
            assert_eq!(errno(read), libc::EIO, "{name} at {start}");
        }
        assert_eq!(errno(fs::read(t.path(&name))), libc::EIO, "{name}");
        let read = file.read_at(&mut page, 40_960).unwrap();
        assert!(page[..read] == pattern(1, LEN)[40_960..][..read] && read > 0);
        // What was made of it on the server is not overwritten; what was written at the end may go behind the present one.
        let told = close(file);
        let theirs = &pattern(1, LEN)[..100_000];
        if at < LEN {
            assert_eq!(errno(told), libc::ESTALE, "{name}");
            assert_disk(&t, &name, theirs, "theirs");
        } else {
            assert!(t.on_disk(&name).starts_with(theirs), "theirs: {told:?}");
        }
    }
}

/// Runs a Python program.
#[track_caller]
fn python(t: &Target, program: &str) {
    fs::write(t.scratch("program.py"), program).unwrap();
    t.sh("python3 $SCRATCH/program.py");
}

/// By `io_submit` past the kernel's pages, while others read the same file through them.
// SEMANTICS: S-read-written
fn an_asynchronous_direct_write_is_what_others_read(site: &mut Site) {
    let t = site.target();
    python(
        &t,
        r"
import ctypes, mmap, os, struct, subprocess, time
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    done = libc.syscall(ctypes.c_long(number), *args)
    if done < 0:
        raise OSError(ctypes.get_errno(), 'syscall %d' % number)
    return done
numbers = {'x86_64': (206, 207, 208, 209), 'aarch64': (0, 1, 4, 2)}
SETUP, DESTROY, GETEVENTS, SUBMIT = numbers[os.uname().machine]
def write_direct(path, data):
    fd = os.open(path, os.O_RDWR | os.O_DIRECT)
    pages = mmap.mmap(-1, len(data))
    pages[:] = data
    address = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    context = ctypes.c_ulong(0)
    call(SETUP, ctypes.c_ulong(8), ctypes.byref(context))
    block = struct.pack('<QIIHhIQQqQII', 1, 0, 0, 1, 0, fd, address, len(data), 0, 0, 0, 0)
    block = ctypes.create_string_buffer(block, 64)
    blocks = (ctypes.c_void_p * 1)(ctypes.addressof(block))
    call(SUBMIT, context, ctypes.c_long(1), blocks)
    event = ctypes.create_string_buffer(32)
    call(GETEVENTS, context, ctypes.c_long(1), ctypes.c_long(1), event, None)
    assert struct.unpack('<QQqq', event.raw)[2] == len(data)
    call(DESTROY, context)
    return fd
def read_for(path, seconds):
    if os.fork() == 0:
        fd, end = os.open(path, os.O_RDONLY), time.time() + seconds
        while time.time() < end:
            for at in range(0, 1 << 21, 1 << 17):
                os.pread(fd, 4096, at)
        os._exit(0)
for number in range(4):
    old, new = bytes([65 + number]) * (1 << 21), bytes([97 + number]) * (1 << 21)
    with open('f', 'wb') as f:
        f.write(old)
    for reader in range(2):
        read_for('f', 0.3)
    time.sleep(0.1)
    fd = write_direct('f', new)
    assert subprocess.run(['cat', 'f'], capture_output=True).stdout == new, 'open'
    os.close(fd)
    assert subprocess.run(['cat', 'f'], capture_output=True).stdout == new, 'closed'
    for reader in range(2):
        os.wait()
    assert subprocess.run(['cat', 'f'], capture_output=True).stdout == new, 'afterwards'
",
    );
    assert_disk(&t, "f", &vec![b'd'; 1 << 21], "the last one");
}

/// One program keeps it open while others open, change and close it.
// SEMANTICS: S-read-written
fn a_database_is_shared_by_programs(site: &mut Site) {
    let t = site.target();
    t.sh(
        "sqlite3 db 'create table t(id integer primary key, v blob); \
          with recursive n(i) as (select 1 union all select i + 1 from n where i < 1500) \
          insert into t(v) select randomblob(1000) from n;'",
    );
    assert!(fs::metadata(t.disk("db")).unwrap().len() > 1 << 20);
    python(
        &t,
        r#"
import sqlite3, subprocess
def other(statements):
    done = subprocess.run(['sqlite3', 'db', statements], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
ours = sqlite3.connect('db', isolation_level=None)
def count():
    return ours.execute('select count(*) from t').fetchone()[0]
assert count() == 1500
for number in range(3):
    other("insert into t(v) values ('other')")
    assert count() == 1501 + 2 * number, 'what the other one has written'
    ours.execute("insert into t(v) values ('ours')")
    assert other('select count(*) from t') == str(1502 + 2 * number), 'what this one has written'
    other("update t set v = randomblob(1000) where id %% 100 = %d" % number)
    assert ours.execute('pragma integrity_check').fetchone()[0] == 'ok'
    ours.execute('delete from t where id = %d' % (number + 1))
    ours.execute("insert into t(id, v) values (%d, 'again')" % (number + 1))
    assert other('pragma integrity_check') == 'ok'
ours.close()
assert other('select count(*) from t') == '1506'
"#,
    );
    let disk = t.disk("db");
    let script = format!(
        "cp {} $SCRATCH/db; sqlite3 $SCRATCH/db 'pragma integrity_check; select count(*) from t;'",
        disk.display()
    );
    assert_eq!(t.sh(&script), "ok\n1506\n", "on the server's disk");
}
