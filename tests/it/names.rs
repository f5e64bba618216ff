//! Names are bytes: whatever the server's disk can hold arrives there as it was written here, and the other way round.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use crate::common::{Kind, Target, errno, for_each_server, give_to_server, names_in};

for_each_server!(&[];
    as_files,
    as_directories,
    found_on_the_disk,
    the_longest,
    line_ends_are_refused,
    five_hundred,
    upper_and_lower_case,
);

/// Every kind of trouble that a name can make in a command, a glob, an option, a listing or an encoding.
const NAMES: &[&[u8]] = &[
    b"plain",
    b"a space",
    b" leading",
    b"trailing ",
    b"  two  ",
    b"br[ack]et",
    b"st*r",
    b"qu?estion",
    b"quo'te",
    b"double\"quote",
    b"caf\xc3\xa9",
    "日本語".as_bytes(),
    b"e\xcc\x81 decomposed",
    b"latin\xe91",
    b"\xff",
    b"a\xff\xff",
    b"-dash",
    b"--",
    b"back\\slash",
    b"per%41cent",
    b"~tilde",
    b"~",
    b"h#;:ash",
    b"dot.",
    b"...",
    b".hidden",
    b"{b,c}",
    b"$HOME",
    b"a -> b",
    b"tab\there",
    b"(p) & |<>",
    b"`x`!",
    b"=@,;",
    b"type=dir; x",
    b"-rw-r--r-- 1 a b 5 Jan 1 2020 fake",
];

/// What a server makes impossible by itself; the filesystem must refuse such a name or find a way around, and must
/// never leave a file under another name.
fn is_beyond(kind: Kind, name: &[u8]) -> bool {
    match kind {
        // 553 for a backslash; control characters, and spaces at the end of a name, are turned into underscores.
        Kind::PureFtpd => {
            name.contains(&b'\\') || name.ends_with(b" ") || name.iter().any(u8::is_ascii_control)
        }
        // Debian's DenyFilter refuses a slash behind a star, and MKD such a name.
        Kind::Proftpd => name.contains(&b'*'),
        _ => false,
    }
}

/// The names that can be tried on a server. pyftpdlib decodes what it is told and puts U+FFFD for every byte that is
/// not UTF-8, also when it is asked whether the file is there: nothing can be known about such a name.
fn names(kind: Kind) -> impl Iterator<Item = &'static [u8]> {
    let decodes = kind == Kind::Pyftpdlib;
    NAMES
        .iter()
        .copied()
        .filter(move |name| !decodes || std::str::from_utf8(name).is_ok())
}

fn path(name: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(name))
}

// SEMANTICS: S-names, S-names-changed
pub(crate) fn as_files(t: &Target) {
    let mut expected = Vec::new();
    for name in names(t.kind()) {
        let content = [b"content of ", name].concat();
        let written = fs::write(t.path(path(name)), &content);
        if is_beyond(t.kind(), name) && !t.disk(path(name)).exists() {
            assert!(
                written.is_err(),
                "{} was accepted and is not there",
                String::from_utf8_lossy(name)
            );
            continue;
        }
        written.unwrap_or_else(|e| panic!("{}: {e}", String::from_utf8_lossy(name)));
        assert_eq!(t.on_disk(path(name)), content);
        // Through the mount: attributes, content, a rewrite, away and back again.
        assert_eq!(
            fs::metadata(t.path(path(name))).unwrap().len(),
            content.len() as u64
        );
        assert_eq!(fs::read(t.path(path(name))).unwrap(), content);
        fs::write(t.path(path(name)), b"again").unwrap();
        assert_eq!(t.on_disk(path(name)), b"again");
        fs::rename(t.path(path(name)), t.path("away")).unwrap();
        assert!(t.disk("away").exists() && !t.disk(path(name)).exists());
        fs::rename(t.path("away"), t.path(path(name))).unwrap();
        expected.push(name.to_vec());
    }
    expected.sort();
    assert_eq!(names_in(&t.path("")), expected);
    assert_eq!(names_in(&t.disk("")), expected);
    for name in &expected {
        fs::remove_file(t.path(path(name))).unwrap();
    }
    assert!(names_in(&t.disk("")).is_empty());
}

fn as_directories(t: &Target) {
    for name in names(t.kind()) {
        let dir = t.path(path(name));
        let made = fs::create_dir(&dir);
        if is_beyond(t.kind(), name) && !t.disk(path(name)).exists() {
            assert!(
                made.is_err(),
                "{} was accepted and is not there",
                String::from_utf8_lossy(name)
            );
            continue;
        }
        made.unwrap_or_else(|e| panic!("{}: {e}", String::from_utf8_lossy(name)));
        fs::write(dir.join("in side"), name).unwrap();
        assert_eq!(fs::read(t.disk(path(name)).join("in side")).unwrap(), name);
        assert_eq!(names_in(&dir), [b"in side".to_vec()]);
        fs::create_dir(dir.join("deeper")).unwrap();
        fs::rename(dir.join("in side"), dir.join("deeper/moved")).unwrap();
        assert_eq!(fs::read(dir.join("deeper/moved")).unwrap(), name);
        fs::remove_dir_all(&dir)
            .unwrap_or_else(|e| panic!("{}: {e}", String::from_utf8_lossy(name)));
        assert!(!t.disk(path(name)).exists());
    }
    assert!(
        names_in(&t.disk("")).is_empty(),
        "{:?}",
        names_in(&t.disk(""))
    );
}

// SEMANTICS: S-names, S-list-hidden
fn found_on_the_disk(t: &Target) {
    let mut expected = Vec::new();
    for name in names(t.kind()) {
        // Pure-FTPd leaves names with control characters out of its listings.
        if t.kind() == Kind::PureFtpd && name.iter().any(u8::is_ascii_control) {
            continue;
        }
        t.put_on_disk(path(name), name);
        expected.push(name.to_vec());
    }
    expected.sort();
    assert_eq!(names_in(&t.path("")), expected);
    for name in &expected {
        let read = fs::read(t.path(path(name)));
        match read {
            Ok(content) => assert_eq!(content, *name),
            // Listed, but the server refuses every command that names it.
            Err(_) if is_beyond(t.kind(), name) => {}
            Err(e) => panic!("{}: {e}", String::from_utf8_lossy(name)),
        }
    }
    // Nothing that the server cannot be asked for is left to the comparison of the trees.
    for name in expected.iter().filter(|name| is_beyond(t.kind(), name)) {
        fs::remove_file(t.disk(path(name))).unwrap();
    }
    for name in names_in(&t.path(""))
        .iter()
        .filter(|name| is_beyond(t.kind(), name))
    {
        // The listing is as old as the TTL allows; removing the name through the mount brings it up to date.
        let _ = fs::remove_file(t.path(path(name)));
    }
}

// SEMANTICS: S-names-long
fn the_longest(t: &Target) {
    let ascii = [b'n'; 255];
    let utf8 = "é".repeat(127);
    for name in [&ascii[..], utf8.as_bytes()] {
        fs::write(t.path(path(name)), b"first").unwrap();
        // Replaced: no temporary name that is longer than the name itself may be.
        fs::write(t.path(path(name)), b"second").unwrap();
        assert_eq!(t.on_disk(path(name)), b"second");
        fs::rename(t.path(path(name)), t.path("short")).unwrap();
        fs::rename(t.path("short"), t.path(path(name))).unwrap();
        assert_eq!(fs::read(t.path(path(name))).unwrap(), b"second");
    }
    let too_long = [b'n'; 256];
    assert_eq!(
        errno(File::create(t.path(path(&too_long)))),
        libc::ENAMETOOLONG
    );
    assert_eq!(
        errno(fs::create_dir(t.path(path(&too_long)))),
        libc::ENAMETOOLONG
    );
    assert_eq!(names_in(&t.disk("")).len(), 2);
}

// SEMANTICS: S-names-line-breaks
fn line_ends_are_refused(t: &Target) {
    if t.kind() == Kind::Local {
        return; // A local disk takes them; a line of the protocol cannot.
    }
    // Where one lies on the disk it is not shown, and the names beside it are.
    let bad = t.disk(path(b"line\nend"));
    fs::write(&bad, b"x").unwrap();
    give_to_server(&bad);
    t.put_on_disk("f", b"x");
    let shown = names_in(&t.path(""));
    assert!(shown.contains(&b"f".to_vec()), "{shown:?}");
    let is_whole = |name: &Vec<u8>| !name.contains(&b'\n') && !name.contains(&b'\r');
    assert!(shown.iter().all(is_whole), "{shown:?}");
    fs::remove_file(bad).unwrap();
    // The two halves of the line may look like entries; they cannot be helped and are not compared.
    for name in shown.iter().filter(|name| name.as_slice() != b"f") {
        let _ = fs::remove_file(t.path(path(name)));
    }

    for name in [&b"a\nb"[..], b"a\rb", b"\n", b"DELE f\r\nDELE f"] {
        assert_eq!(
            errno(File::create(t.path(path(name)))),
            libc::EINVAL,
            "{name:?}"
        );
        assert_eq!(
            errno(fs::create_dir(t.path(path(name)))),
            libc::EINVAL,
            "{name:?}"
        );
        assert_eq!(
            errno(fs::rename(t.path("f"), t.path(path(name)))),
            libc::EINVAL,
            "{name:?}"
        );
        let looked_up = errno(fs::metadata(t.path(path(name))));
        assert!(
            [libc::EINVAL, libc::ENOENT].contains(&looked_up),
            "{name:?}: {looked_up}"
        );
    }
}

fn five_hundred(t: &Target) {
    t.make_dir_on_disk("d");
    for i in 0..500 {
        t.put_on_disk(format!("d/file {i:03}"), format!("{i}").as_bytes());
    }
    assert_eq!(
        t.sh("ls d | wc -l; ls -l d | grep -c ^-; cat 'd/file 499'"),
        "500\n500\n499"
    );
    assert_eq!(names_in(&t.path("d")), names_in(&t.disk("d")));
    t.sh("mkdir e; for i in $(seq 500); do : > e/$i; done; ls e | wc -l | grep -qx 500; rm -r e");
    t.sh("rm d/*7; ls d | wc -l | grep -qx 450");
    assert_eq!(names_in(&t.disk("d")).len(), 450);
}

fn upper_and_lower_case(t: &Target) {
    t.sh("echo a > name; echo b > NAME; echo c > Name; cat name NAME Name | tr -d '\\n' | grep -qx abc; rm NAME");
    assert_eq!(names_in(&t.disk("")), [b"Name".to_vec(), b"name".to_vec()]);
}
