//! Names on a server that writes them in another character set: shown as UTF-8, and on its disk in that charset.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use crate::common::{Kind, Target, errno, names_in, on};

/// Names as they lie on the server's disk, and as they are shown.
type Samples = &'static [(&'static [u8], &'static str)];

/// With 0xFF, which is a letter, and also what Telnet doubles.
const LATIN1: Samples = &[
    (b"caf\xe9", "café"),
    (b"\xff\xff y", "ÿÿ y"),
    // Bytes of UTF-8 are characters like any others.
    (b"caf\xc3\xa9", "cafÃ©"),
];

/// 0xFF is the last letter of the alphabet.
const WINDOWS_1251: Samples = &[
    (b"\xff\xe1\xeb\xee\xea\xee", "яблоко"),
    (b"\xd1\xf2\xe0\xf2\xfc\xff 1", "Статья 1"),
];

/// Second bytes that are ASCII: a backslash, a bar, a bracket, a brace, a tilde.
const GBK: Samples = &[
    (b"\xc4\xe3\xba\xc3", "你好"),
    (b"\x85\x5c", "匼"),
    (b"\x81\x7c\x81\x5b\x81\x7b\x81\x7e", "亅乕亄亊"),
    // No characters: a lone byte, and a first byte that no second follows.
    (b"\xff", "\u{efff}"),
    (b"\x81 x\xc4\xe3", "\u{ef81} x你"),
];

const SHIFT_JIS: Samples = &[
    (b"\x93\xfa\x96\x7b", "日本"),
    (b"\x83\x5c\x95\x5c", "ソ表"),
    // Read as a character that is written otherwise.
    (b"\xed\x40", "\u{efed}@"),
    (b"\xfa\x5c", "纊"),
];

macro_rules! for_each_charset {
    ($($charset:ident: $option:expr, $samples:expr);+ $(;)?) => { $(
        mod $charset {
            use super::*;
            #[test] fn vsftpd() { on(Kind::Vsftpd, $option, |t| both_ways(t, $samples)); }
            #[test] fn proftpd() { on(Kind::Proftpd, $option, |t| both_ways(t, $samples)); }
            #[test] fn pure_ftpd() { on(Kind::PureFtpd, $option, |t| both_ways(t, $samples)); }
        }
    )+ };
}

for_each_charset! {
    latin1: &["charset=latin1"], LATIN1;
    windows_1251: &["charset=windows-1251"], WINDOWS_1251;
    gbk: &["charset=gbk"], GBK;
    shift_jis: &["charset=shift_jis"], SHIFT_JIS;
}

/// Those of the samples that the server can hold: Pure-FTPd refuses what looks like a backslash.
fn possible(kind: Kind, samples: Samples) -> Vec<(&'static Path, &'static str)> {
    let is_possible = |wire: &[u8]| kind != Kind::PureFtpd || !wire.contains(&b'\\');
    let samples = samples.iter().filter(|(wire, _)| is_possible(wire));
    samples
        .map(|(wire, name)| (Path::new(OsStr::from_bytes(wire)), *name))
        .collect()
}

fn sorted(names: impl Iterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

// SEMANTICS: S-charset, S-charset-raw
fn both_ways(t: &Target, samples: Samples) {
    let samples = possible(t.kind(), samples);
    // What others have put there is found and read.
    t.make_dir_on_disk("theirs");
    for (wire, name) in &samples {
        t.put_on_disk(Path::new("theirs").join(wire), name.as_bytes());
    }
    let shown = sorted(samples.iter().map(|(_, name)| name.as_bytes().to_vec()));
    assert_eq!(names_in(&t.path("theirs")), shown);
    for (_, name) in &samples {
        let read = fs::read(t.path("theirs").join(name)).unwrap();
        assert_eq!(read, name.as_bytes());
        fs::remove_file(t.path("theirs").join(name)).unwrap();
    }
    assert!(names_in(&t.disk("theirs")).is_empty());

    // What is made here lies there in the server's charset.
    for (wire, name) in &samples {
        let dir = t.path(name);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join(name), b"first").unwrap();
        fs::write(dir.join(name), b"second").unwrap();
        assert_eq!(t.on_disk(wire.join(wire)), b"second", "{name}");
        fs::rename(dir.join(name), dir.join("away")).unwrap();
        assert_eq!(names_in(&t.disk(wire)), [b"away".to_vec()]);
        fs::rename(dir.join("away"), dir.join(name)).unwrap();
        assert_eq!(fs::read(dir.join(name)).unwrap(), b"second");
    }
    let on_disk = samples.iter().map(|(wire, _)| wire.as_os_str().as_bytes());
    let on_disk = on_disk.chain([&b"theirs"[..]]).map(<[u8]>::to_vec);
    assert_eq!(names_in(&t.disk("")), sorted(on_disk));
    for (_, name) in &samples {
        fs::remove_dir_all(t.path(name)).unwrap();
    }
}

// SEMANTICS: S-charset-lacks
#[test]
fn what_the_charset_lacks_is_refused_at_once() {
    on(Kind::Vsftpd, &["charset=latin1"], |t| {
        fs::write(t.path("f"), b"x").unwrap();
        for name in ["яблоко", "日本", "f\u{efe9}"] {
            assert_eq!(errno(File::create(t.path(name))), libc::EILSEQ, "{name}");
            assert_eq!(errno(fs::create_dir(t.path(name))), libc::EILSEQ, "{name}");
            assert_eq!(errno(fs::rename(t.path("f"), t.path(name))), libc::EILSEQ);
            assert_eq!(errno(fs::metadata(t.path(name))), libc::ENOENT, "{name}");
        }
        let not_utf8 = t.path(OsStr::from_bytes(b"caf\xe9"));
        assert_eq!(errno(File::create(not_utf8)), libc::EILSEQ);
        assert_eq!(names_in(&t.disk("")), [b"f".to_vec()]);
    });
}

// SEMANTICS: S-names-long
#[test]
fn it_is_the_length_on_the_server_that_counts() {
    on(Kind::Proftpd, &["charset=latin1"], |t| {
        let wire = t.disk(OsStr::from_bytes(&[0xE9; 200]));
        t.put_on_disk(&wire, b"x");
        let name = "é".repeat(200);
        assert_eq!(fs::read(t.path(&name)).unwrap(), b"x");
        assert_eq!(names_in(&t.path("")), [name.clone().into_bytes()]);
        fs::write(t.path(&name), b"y").unwrap();
        assert_eq!(fs::read(wire).unwrap(), b"y");
        fs::remove_file(t.path(name)).unwrap();
        let too_long = t.path("é".repeat(256));
        assert_eq!(errno(File::create(too_long)), libc::ENAMETOOLONG);
    });
}

// SEMANTICS: S-charset, S-readlink
#[test]
fn links_lead_to_names_in_the_charset() {
    for kind in [Kind::Vsftpd, Kind::Proftpd] {
        on(kind, &["charset=windows-1251"], |t| {
            let wire = OsStr::from_bytes(b"\xff\xe1");
            t.put_on_disk(wire, b"content");
            std::os::unix::fs::symlink(wire, t.disk("link")).unwrap();
            assert_eq!(fs::read_link(t.path("link")).unwrap(), Path::new("яб"));
            assert_eq!(fs::read(t.path("link")).unwrap(), b"content");
            fs::remove_file(t.path("link")).unwrap();
            fs::remove_file(t.path("яб")).unwrap();
        });
    }
}
