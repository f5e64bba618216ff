//! Memory maps, as linkers, databases and Python's numpy use them.

use crate::common::{Target, for_each_server, pattern};

for_each_server!(&[]; read_mapped, write_mapped, map_and_write, private_map, map_a_new_file);

/// Runs a Python program whose names `f`, `mmap` and `os` are there.
#[track_caller]
fn python(t: &Target, program: &str) -> String {
    std::fs::write(
        t.scratch("program.py"),
        format!("import mmap, os\n{program}\n"),
    )
    .unwrap();
    t.sh("python3 $SCRATCH/program.py")
}

fn read_mapped(t: &Target) {
    let content = pattern(20, 1_000_003);
    t.put_on_disk("f", &content);
    let sum: u64 = content.iter().map(|&byte| u64::from(byte)).sum();
    let said = python(
        t,
        "with open('f', 'rb') as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as m:
    print(len(m), sum(m[:]), m[999_999], m.find(b'not in there'))",
    );
    assert_eq!(said, format!("1000003 {sum} {} -1\n", content[999_999]));
}

// SEMANTICS: S-mmap
pub(crate) fn write_mapped(t: &Target) {
    let mut content = pattern(21, 300_000);
    t.put_on_disk("f", &content);
    python(
        t,
        "with open('f', 'r+b') as f, mmap.mmap(f.fileno(), 0) as m:
    m[5:10] = b'start'
    m[200_000:200_003] = b'mid'
    m[-3:] = b'end'
    m.flush()",
    );
    content[5..10].copy_from_slice(b"start");
    content[200_000..200_003].copy_from_slice(b"mid");
    content[299_997..].copy_from_slice(b"end");
    assert!(t.on_disk("f") == content);
}

fn map_and_write(t: &Target) {
    t.put_on_disk("f", &[b'.'; 8192]);
    // What is written by write(2) is seen in the map and the other way round, all through one file.
    let said = python(
        t,
        "with open('f', 'r+b', buffering=0) as f, mmap.mmap(f.fileno(), 0) as m:
    os.pwrite(f.fileno(), b'written', 4090)
    print(m[4090:4097])
    m[0:6] = b'mapped'
    m.flush()
    print(os.pread(f.fileno(), 6, 0))",
    );
    assert_eq!(said, "b'written'\nb'mapped'\n");
    let content = t.on_disk("f");
    assert_eq!(
        (&content[..6], &content[4090..4097]),
        (&b"mapped"[..], &b"written"[..])
    );
}

fn private_map(t: &Target) {
    t.put_on_disk("f", &[b'.'; 5000]);
    python(
        t,
        "with open('f', 'rb') as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY) as m:
    m[0:4] = b'mine'
    assert m[0:5] == b'mine.'",
    );
    assert_eq!(t.on_disk("f"), [b'.'; 5000]);
}

fn map_a_new_file(t: &Target) {
    python(
        t,
        "with open('f', 'w+b') as f:
    f.truncate(100_000)
    with mmap.mmap(f.fileno(), 0) as m:
        m[50_000:50_005] = b'hello'
    os.fsync(f.fileno())
    f.seek(0, 2)
    f.write(b'tail')",
    );
    let mut expected = vec![0; 100_000];
    expected[50_000..50_005].copy_from_slice(b"hello");
    expected.extend_from_slice(b"tail");
    assert!(t.on_disk("f") == expected);
}
