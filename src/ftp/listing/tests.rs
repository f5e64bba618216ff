//! Listings of real servers, and what no server should send.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;
use crate::ftp::zone::Zone;
use crate::remote::{EntryKind, Modified, Precision, RemoteEntry, RemotePath};

/// 2026-03-01 12:00:00 UTC.
const NOW: u64 = 1_772_366_400;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

fn seconds(text: &str) -> i64 {
    parse_time_val(text.as_bytes()).unwrap().seconds
}

fn only(parsed: &Parsed) -> RemoteEntry {
    assert_eq!(parsed.rejected.count(), 0, "{parsed:?}");
    assert_eq!(parsed.entries.len(), 1, "{parsed:?}");
    let entry = parsed.entries.iter().next();
    entry.unwrap().to_entry()
}

fn list(line: &str) -> RemoteEntry {
    only(&parse_list(line.as_bytes(), now()))
}

fn mlsd(line: &str) -> RemoteEntry {
    only(&parse_mlsd(line.as_bytes()))
}

fn at(text: &str, precision: Precision) -> Modified {
    Modified {
        precision,
        ..parse_time_val(text.as_bytes()).unwrap()
    }
}

mod cases;

use EntryKind::{Directory, File, Special, Symlink};
use Precision::{Day, Minute, Second};

/// Line, name, kind, size, mode, time, precision.
type UnixCase = (
    &'static str,
    &'static str,
    EntryKind,
    Option<u64>,
    u32,
    &'static str,
    Precision,
);

#[rustfmt::skip]
const UNIX: &[UnixCase] = &[
    // vsftpd
    ("-rw-r--r--    1 1000     1000         1024 Feb 27 09:05 small.txt", "small.txt", File, Some(1024), 0o644, "20260227090500", Minute),
    ("drwxr-xr-x    2 0        0            4096 Dec 31 23:59 a b", "a b", Directory, Some(4096), 0o755, "20251231235900", Minute),
    ("-rw-------    1 ftp      ftp      5368709120 Jun 05  2019 big", "big", File, Some(5_368_709_120), 0o600, "20190605000000", Day),
    // ProFTPD
    ("-rw-r--r--   1 alice    users           5 Jan  1 00:00  lead", " lead", File, Some(5), 0o644, "20260101000000", Minute),
    ("drwxrwsr-t   3 alice    users        4096 Mar  2  2024 shared", "shared", Directory, Some(4096), 0o3775, "20240302000000", Day),
    // Pure-FTPd
    ("-rwsr-xr-x    1 1000       1000              102 Mar  1 11:59 set  uid  ", "set  uid  ", File, Some(102), 0o4755, "20260301115900", Minute),
    ("drwx------    2 1000       admins           4096 Oct 10 10:10 d", "d", Directory, Some(4096), 0o700, "20251010101000", Minute),
    // pyftpdlib
    ("-rw-rw-r--   1 root     root          120 Feb 01 10:00 f", "f", File, Some(120), 0o664, "20260201100000", Minute),
    ("-rwSr-Sr-T   1 root     root            0 Nov 22  2016 odd bits", "odd bits", File, Some(0), 0o7644, "20161122000000", Day),
    // FileZilla Server
    ("-rw-rw-rw- 1 ftp ftp       104857600 Dec 01 14:20 100 MB.bin", "100 MB.bin", File, Some(104_857_600), 0o666, "20251201142000", Minute),
    ("drwxr-xr-x 1 ftp ftp               0 Jan 31 2023 incoming", "incoming", Directory, Some(0), 0o755, "20230131000000", Day),
    // busybox
    ("-rw-r--r--    1 0        0              312 Jan  1  1970 .profile", ".profile", File, Some(312), 0o644, "19700101000000", Day),
    ("-rw-r--r--    1 0        0              312 2026-02-28 23:59:59 +0000 full", "full", File, Some(312), 0o644, "20260228235959", Second),
    // IIS in Unix style
    ("-rwxrwxrwx   1 owner    group             619 Sep  9  2004 index.asp", "index.asp", File, Some(619), 0o777, "20040909000000", Day),
    // ACL marks
    ("-rw-r--r--+ 1 u g 1 Jan  1 2020 acl", "acl", File, Some(1), 0o644, "20200101000000", Day),
    ("-rw-r--r--. 1 u g 1 Jan  1 2020 selinux", "selinux", File, Some(1), 0o644, "20200101000000", Day),
    ("-rw-r--r--@ 1 u g 1 Jan  1 2020 xattr", "xattr", File, Some(1), 0o644, "20200101000000", Day),
    // eight columns and fewer
    ("-rw-r--r-- 1 user 7 Jan  1 2020 no group", "no group", File, Some(7), 0o644, "20200101000000", Day),
    ("-rw-r--r-- user group 7 Jan  1 2020 no links", "no links", File, Some(7), 0o644, "20200101000000", Day),
    ("-rw-r--r-- 1 7 Jan  1 2020 links only", "links only", File, Some(7), 0o644, "20200101000000", Day),
    // names of users with spaces
    ("-rw-r--r-- 1 John Doe Domain Users 7 Jan  1 2020 x", "x", File, Some(7), 0o644, "20200101000000", Day),
    // other kinds
    ("prw-r--r-- 1 u g 0 Jan  1 2020 pipe", "pipe", Special, Some(0), 0o644, "20200101000000", Day),
    ("srwxr-xr-x 1 u g 0 Jan  1 2020 socket", "socket", Special, Some(0), 0o755, "20200101000000", Day),
    ("crw-rw-rw- 1 root root 1, 3 Jan  1 2020 null", "null", Special, None, 0o666, "20200101000000", Day),
    ("crw-rw-rw- 1 root root 136,   0 Jan  1 2020 pts", "pts", Special, None, 0o666, "20200101000000", Day),
    ("brw-rw---- 1 root disk 8,1 Jan  1 2020 sda1", "sda1", Special, None, 0o660, "20200101000000", Day),
    // other orders and forms of the time
    ("-rw-r--r-- 1 u g 7 1 jan 2020 x", "x", File, Some(7), 0o644, "20200101000000", Day),
    ("-rw-r--r-- 1 u g 12 05 FEB 9:07 x", "x", File, Some(12), 0o644, "20260205090700", Minute),
    ("-rw-r--r-- 1 u g 7 2026-02-03 04:05 x", "x", File, Some(7), 0o644, "20260203040500", Minute),
    ("-rw-r--r-- 1 u g 7 2026-02-03 04:05:06 x", "x", File, Some(7), 0o644, "20260203040506", Second),
    ("-rw-r--r-- 1 u g 7 2026-02-03 04:05:06.250000000 +0530 x", "x", File, Some(7), 0o644, "20260202223506.25", Second),
    ("-rw-r--r-- 1 u g 7 2026-02-03 04:05:06 -0100 x", "x", File, Some(7), 0o644, "20260203050506", Second),
    // names that look like something else
    ("-rw-r--r-- 1 u g 7 2026-02-03 04:05:06 +0100", "+0100", File, Some(7), 0o644, "20260203040506", Second),
    ("-rw-r--r-- 1 u g 7 Jan  1 2020 5 Jan  1 2020 y", "5 Jan  1 2020 y", File, Some(7), 0o644, "20200101000000", Day),
    ("-rw-r--r-- 1 u g 7 Jan  1 2020 a -> b", "a -> b", File, Some(7), 0o644, "20200101000000", Day),
    ("-rw-r--r-- 1 u g 7 Jan  1 2020   ", "  ", File, Some(7), 0o644, "20200101000000", Day),
    ("-rw-r--r-- 1 12 34 7 Jan  1 2020 total 5", "total 5", File, Some(7), 0o644, "20200101000000", Day),
];

#[test]
fn unix_lines_of_many_servers_are_read() {
    for (line, name, kind, size, mode, time, precision) in UNIX {
        let entry = list(&format!("{line}\r\n"));
        assert_eq!(entry.name.escape_ascii().to_string(), *name, "{line}");
        assert_eq!(
            (entry.kind, entry.size, entry.mode),
            (*kind, *size, Some(*mode)),
            "{line}"
        );
        assert_eq!(entry.modified, Some(at(time, *precision)), "{line}");
        assert_eq!(entry.target, None, "{line}");
    }
}

#[test]
fn owners_may_be_missing_or_hold_spaces() {
    let columns = [
        "3 1000 100",
        "3 alice 100",
        "3 1000",
        "alice 100",
        "3",
        "3 John Doe 100",
    ];
    for columns in columns {
        let entry = list(&format!("-rw-r--r-- {columns} 7 Jan  1 2020 x"));
        assert_eq!(
            (&*entry.name, entry.size),
            (&b"x"[..], Some(7)),
            "{columns}"
        );
    }
    let device = list("crw-rw-rw- 1 5 6 1, 3 Jan  1 2020 null");
    assert_eq!((device.kind, device.size), (Special, None));
}

#[test]
fn symbolic_links_are_split_at_the_first_arrow() {
    let cases = [
        ("a -> b", "a", Some("b")),
        (" a  ->  b ", " a ", Some(" b ")),
        ("a -> b -> c", "a", Some("b -> c")),
        ("a", "a", None),
        ("a ->", "a ->", None),
        ("a -> ", "a", None),
        ("a->b", "a->b", None),
        ("a -> ../x/y", "a", Some("../x/y")),
    ];
    for (shown, name, target) in cases {
        let entry = list(&format!(
            "lrwxrwxrwx    1 0        0               9 Feb 27 09:05 {shown}\r\n"
        ));
        assert_eq!(entry.kind, Symlink);
        assert_eq!(&*entry.name, name.as_bytes(), "{shown}");
        assert_eq!(
            entry.target.as_deref(),
            target.map(str::as_bytes),
            "{shown}"
        );
    }
}

#[test]
fn a_year_left_out_is_the_last_one_that_is_not_in_the_future() {
    let cases = [
        (seconds("20260301120000"), "Mar  1 12:00", "20260301120000"),
        // A day ahead of us is still today somewhere.
        (seconds("20260301120000"), "Mar  2 12:00", "20260302120000"),
        (seconds("20260301120000"), "Mar  2 12:01", "20250302120100"),
        (seconds("20260101000000"), "Dec 31 23:59", "20251231235900"),
        (seconds("20251231230000"), "Jan  1 09:00", "20260101090000"),
        (seconds("20251231230000"), "Jan  2 09:00", "20250102090000"),
        (seconds("20240301000000"), "Feb 29 10:00", "20240229100000"),
        (seconds("20260301000000"), "Feb 29 10:00", "20240229100000"),
        (seconds("20240228120000"), "Feb 29 10:00", "20240229100000"),
        (seconds("20240227120000"), "Feb 29 10:00", "20200229100000"),
        (seconds("19040101000000"), "Feb 29 10:00", "18960229100000"),
    ];
    for (now, shown, expected) in cases {
        let line = format!("-rw-r--r-- 1 u g 7 {shown} x");
        let now = Modified::from_seconds(now).to_system_time();
        let entry = only(&parse_list(line.as_bytes(), now));
        assert_eq!(entry.modified, Some(at(expected, Minute)), "{shown}");
    }
}

#[test]
fn dos_lines_are_read() {
    #[rustfmt::skip]
    let cases = [
        ("01-23-26  03:05PM       <DIR>          My Folder", "My Folder", Directory, None, "20260123150500"),
        ("01-23-26  03:05PM                12345 file  two .txt ", "file  two .txt ", File, Some(12_345), "20260123150500"),
        ("01-23-2026  12:00AM                    0 zero", "zero", File, Some(0), "20260123000000"),
        ("12-31-99  12:30PM                    1 y2k", "y2k", File, Some(1), "19991231123000"),
        ("01-23-2026  15:05                12345 24h", "24h", File, Some(12_345), "20260123150500"),
        ("1-3-2026 3:05 am 12345 loose", "loose", File, Some(12_345), "20260103030500"),
        ("01-23-26  03:05PM       <DIR>            two before", "  two before", Directory, None, "20260123150500"),
        ("01-23-26  03:05PM  <DIR> narrow", "narrow", Directory, None, "20260123150500"),
        ("01-23-26  03:05PM                    5  lead", " lead", File, Some(5), "20260123150500"),
        ("01-23-26  03:05PM       <JUNCTION>     Users [C:\\Real Users]", "Users", Directory, None, "20260123150500"),
        ("01-23-26  03:05PM       <SYMLINKD>     d [..\\[x] y]", "d", Directory, None, "20260123150500"),
        ("01-23-26  03:05PM       <SYMLINK>      l [C:\\f]", "l", File, None, "20260123150500"),
        ("01-23-26  03:05PM       <DIR>          [brackets]", "[brackets]", Directory, None, "20260123150500"),
    ];
    for (line, name, kind, size, time) in cases {
        let entry = list(&format!("{line}\r\n"));
        assert_eq!(String::from_utf8_lossy(&entry.name), name, "{line}");
        assert_eq!((entry.kind, entry.size), (kind, size), "{line}");
        assert_eq!(entry.modified, Some(at(time, Minute)), "{line}");
        assert_eq!((entry.mode, entry.target), (None, None));
    }
}

#[test]
fn totals_and_dots_are_passed_over() {
    let text = "total 12\r\nTotal 0\r\n\r\n\
        drwxr-xr-x   2 0 0 4096 Feb 27 09:05 .\r\n\
        drwxr-xr-x   2 0 0 4096 Feb 27 09:05 ..\r\n\
        -rw-r--r--   1 0 0    1 Feb 27 09:05 ...\n";
    let parsed = parse_list(text.as_bytes(), now());
    assert_eq!(
        (parsed.entries.len(), parsed.rejected.count(), parsed.zone),
        (1, 0, Zone::Server)
    );
}

#[test]
fn what_is_no_entry_is_counted_and_sampled() {
    let bad = [
        "-rw-r--r--   1 0 0    1 Feb 27 09:05 a\0b",
        "-rw-r--r--   1 0 0    1 Feb 27 09:05 a\rb",
        "-rw-r--r--   1 0 0    1 Feb 27 09:05 ",
        "-rw-r--r--   1 0 0    1 Feb 27 09:05",
        "-rw-r--r--   1 a b c d e f g h i j k l 1 Feb 27 09:05 x",
        "?rw-r--r--   1 0 0    1 Feb 27 09:05 x",
        "-rw-r--r--   1 0 0    1 Feb 27 09:05 a/b",
        "-rw-r--r--   1 0 0    1 Feb 27 09:05 a/",
        "-rw-r--r-- 1 Feb 27 09:05",
        "-rw-r--r--   1 0 0    x Foo 27 09:05 x",
        "lrwxrwxrwx   1 0 0    1 Feb 27 09:05  -> target",
        "ls: cannot open directory '.': Permission denied",
        "./sub:",
        "total",
        "01-23-26  03:05PM  <WHAT> x",
        "01-23-26  03:05PM  <DIR>",
        "01-23-26  03:05PM  1",
        "99999999999999999999",
    ];
    for line in bad {
        let parsed = parse_list(format!("{line}\r\n").as_bytes(), now());
        assert_eq!(
            (parsed.entries.len(), parsed.rejected.count()),
            (0, 1),
            "{line}"
        );
    }
    let parsed = parse_list(bad.join("\r\n").as_bytes(), now());
    assert_eq!(parsed.rejected.count(), bad.len());
}

#[test]
fn a_name_in_a_line_that_is_not_understood_may_be_there() {
    let parsed = parse_list(b"?rw-r--r-- 1 o g ?? Jan 5 12:30 Report.txt\r\n", now());
    for (name, may_be_there) in [
        (&b"Report.txt"[..], true),
        (b"report.TXT", true),
        (b"Report", true),
        (b"other", false),
        (b"Report.txt.bak", false),
    ] {
        assert_eq!(parsed.rejected.may_hold(name), may_be_there);
    }
    // More than is kept of them: anything may be in the rest.
    let many = b"?\r\n".repeat(100_000);
    let parsed = parse_list(&many, now());
    assert_eq!(parsed.rejected.count(), 100_000);
    assert!(parsed.rejected.may_hold(b"anything"));
}

/// The same text in pieces of one length.
fn in_pieces(text: &[u8], len: usize) -> Parsed {
    let budget = Budget::new(usize::MAX);
    let mut reading = Reading::new(Format::list(now()), Shown::as_sent(), &budget);
    for piece in text.chunks(len) {
        reading.feed(piece);
    }
    reading.finish()
}

#[test]
fn a_listing_is_the_same_in_whatever_pieces_it_arrives() {
    let lines: Vec<&str> = UNIX.iter().map(|case| case.0).collect();
    let mut text = lines.join("\r\n") + "\r\n";
    text.push_str("no line of a listing\r\n\r\n-rw-r--r-- 1 o g 1 Jan  1 2020 cut");
    let whole = parse_list(text.as_bytes(), now());
    assert_eq!(whole.end, End::InLine);
    for len in 1..100 {
        assert_eq!(in_pieces(text.as_bytes(), len), whole, "{len}");
    }
    assert_eq!(parse_list(b"", now()).end, End::AtOnce);
    assert_eq!(parse_list(b"\r\n", now()).end, End::BehindLine);
}

// SEMANTICS: S-list-rejected
#[test]
fn names_and_targets_that_cannot_be_shown_are_not_understood() {
    let line = |name: usize, target: usize| {
        let (name, target) = ("n".repeat(name), "t".repeat(target));
        format!("lrwxrwxrwx 1 o g 1 Jan  1 2020 {name} -> {target}\r\n")
    };
    for (name, target, is_shown) in [
        (255, 4095, true),
        (256, 1, false),
        (1, 4096, false),
        (1, 20_000, false),
    ] {
        let line = line(name, target);
        let parsed = parse_list(line.as_bytes(), now());
        assert_eq!(
            parsed.entries.len(),
            usize::from(is_shown),
            "{name} {target}"
        );
        assert_eq!(parsed.rejected.count(), usize::from(!is_shown));
        assert_eq!(parsed.rejected.may_hold(b"nn"), !is_shown && target != 4096);
        for len in [1, 1000, 4096] {
            assert_eq!(in_pieces(line.as_bytes(), len), parsed);
        }
    }
    // What was not read to its end may be about any name, and the line behind it counts.
    let text = [
        &b"x".repeat(10_000)[..],
        b"\n-rw-r--r-- 1 o g 1 Jan  1 2020 behind\n",
    ]
    .concat();
    let parsed = parse_list(&text, now());
    assert!(parsed.rejected.may_hold(b"any"));
    assert_eq!((parsed.entries.len(), parsed.rejected.count()), (1, 1));
    let endless = in_pieces(&b"x".repeat(10_000), 64);
    assert_eq!((endless.end, endless.rejected.count()), (End::InLine, 1));
}

#[test]
fn mlsd_lines_of_many_servers_are_read() {
    // ProFTPD
    let entry = mlsd(
        "modify=20260227090512;perm=adfrw;size=1024;type=file;unique=801U40A2;UNIX.group=100;UNIX.groupname=users;UNIX.mode=0644;UNIX.owner=1000;UNIX.ownername=alice; small.txt\r\n",
    );
    assert_eq!(
        (&*entry.name, entry.kind, entry.size),
        (&b"small.txt"[..], File, Some(1024))
    );
    assert_eq!(entry.modified, Some(at("20260227090512", Second)));
    assert_eq!(entry.mode, Some(0o644));
    assert_eq!(entry.unique.as_deref(), Some(&b"801U40A2"[..]));
    let permissions = entry.permissions.unwrap();
    assert!(permissions.allows(b'w') && !permissions.allows(b'e'));
    let entry = mlsd("modify=20260227090512;perm=flcdmpe;type=dir;UNIX.mode=02775; shared");
    assert_eq!(
        (entry.kind, entry.size, entry.mode),
        (Directory, None, Some(0o2775))
    );
    let entry =
        mlsd("modify=20260227090512;perm=adfr;size=9;type=OS.unix=symlink;UNIX.mode=0777; link");
    assert_eq!((entry.kind, entry.target), (Symlink, None));
    // Pure-FTPd
    let entry = mlsd(
        "type=dir;sizd=4096;modify=20260227090512;UNIX.mode=01777;UNIX.uid=5;UNIX.gid=6;unique=fd01g2a; tmp\r\n",
    );
    assert_eq!(
        (entry.kind, entry.size, entry.mode),
        (Directory, Some(4096), Some(0o1777))
    );
    let entry = mlsd("type=OS.unix=slink:;size=9;modify=20260227090512; l\r\n");
    assert_eq!(
        (entry.kind, entry.target, entry.size),
        (Symlink, None, Some(9))
    );
    // pyftpdlib
    let entry = mlsd("modify=20260227090512;perm=radfwMT;size=5;type=file;unique=fd01g1b; a\r\n");
    assert_eq!((entry.kind, entry.size), (File, Some(5)));
    // FileZilla Server
    let entry =
        mlsd("type=file;size=104857600;modify=20251201142000.123;perm=awrfd; 100 MB.bin\r\n");
    assert_eq!(entry.modified.unwrap().nanoseconds, 123_000_000);
    assert_eq!(&*entry.name, b"100 MB.bin");
    // IIS-like capitals, RFC 3659's own examples
    let entry = mlsd("Type=OS.unix=slink:/foobar;Perm=;Unique=keVO1+4G4; foobar");
    assert_eq!(
        (entry.kind, entry.target.as_deref()),
        (Symlink, Some(&b"/foobar"[..]))
    );
    let entry = mlsd("TYPE=FILE;SIZE=25730;MODIFY=19940728095854;PERM=; cap60.pl198.tar.gz");
    assert_eq!((entry.kind, entry.size), (File, Some(25_730)));
}

#[test]
fn mlsd_types_are_told_apart() {
    let cases = [
        ("type=OS.unix=chr-1/3; x", Special),
        ("type=OS.unix=blk-8/1; x", Special),
        ("type=OS.unix=fifo; x", Special),
        ("type=OS.unix=socket; x", Special),
        ("type=OS.unix=Symlink:t; x", Symlink),
        ("type=OS.plan9=thing; x", File),
        ("perm=el; x", Directory),
        ("perm=r; x", File),
        (" x", File),
        ("size=1 x", File),
    ];
    for (line, kind) in cases {
        let entry = mlsd(line);
        assert_eq!((entry.kind, &*entry.name), (kind, &b"x"[..]), "{line}");
    }
    let entry = mlsd("type=OS.unix=slink:/my target;size=3; a; b");
    assert_eq!(
        (&*entry.name, entry.target.as_deref()),
        (&b"a; b"[..], Some(&b"/my target"[..]))
    );
}

#[test]
fn mlsd_names_are_whole() {
    let names: [&[u8]; 9] = [
        b" lead",
        b"trail ",
        b"dou  ble",
        b"a;b",
        b"c=d; e",
        b" ",
        b"\xff\xfe",
        b"x\t",
        b"-rw",
    ];
    for name in names {
        for end in [&b"\r\n"[..], b"\n", b""] {
            let line = [b"type=file;size=1; ", name, end].concat();
            assert_eq!(&*only(&parse_mlsd(&line)).name, name);
        }
    }
}

#[test]
fn mlsd_passes_over_the_directory_itself_and_rejects_what_is_no_fact() {
    let text = "type=cdir;perm=el; /home/x\r\ntype=pdir; ..\r\ntype=dir; .\r\ntype=Cdir; .\r\n";
    let parsed = parse_mlsd(text.as_bytes());
    assert_eq!(
        (parsed.entries.len(), parsed.rejected.count(), parsed.zone),
        (0, 0, Zone::Utc)
    );
    for bad in [
        "no facts here",
        "type=file;size=1;",
        "type=file; a/b",
        "type=file; ",
        "x",
        "type; x",
    ] {
        assert_eq!(parse_mlsd(bad.as_bytes()).rejected.count(), 1, "{bad}");
    }
}

#[test]
fn facts_that_cannot_be_read_are_absent() {
    let entry = mlsd("type=file;size=-1;modify=2026;UNIX.mode=9;UNIX.mode=alice;unique=;x.y=z; n");
    let nothing = RemoteEntry::new(&b"n"[..], File);
    assert_eq!(entry, nothing);
    for bad in [
        "20260230000000",
        "20260101250000",
        "2026010100000",
        "20260101000000.",
        "20260101000000.x",
        "20260101000061",
    ] {
        assert_eq!(parse_time_val(bad.as_bytes()), None, "{bad}");
    }
    assert_eq!(seconds("20161231235960"), seconds("20170101000000"));
    assert_eq!(seconds("19691231235959"), -1);
}

#[test]
fn an_mlst_line_is_read_with_and_without_its_space() {
    for line in [
        "type=dir;perm=el; /a b/c",
        " type=dir;perm=el; /a b/c",
        "type=cdir; /a b/c",
    ] {
        let entry = parse_facts(line.as_bytes()).unwrap();
        assert_eq!(
            (entry.kind, &*entry.name),
            (Directory, &b"/a b/c"[..]),
            "{line}"
        );
    }
    assert_eq!(&*parse_facts(b"  /a b").unwrap().name, b"/a b");
    assert_eq!(parse_facts(b"what is this"), None);
    assert_eq!(parse_facts(b""), None);
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        Just(b' '),
        Just(b';'),
        Just(b'='),
        Just(b'-'),
        Just(b'>'),
        Just(b'1'),
        any::<u8>()
    ];
    prop::collection::vec(byte, 1..40).prop_filter("FTP cannot carry it", |name| {
        RemotePath::check_name(name).is_ok()
    })
}

proptest! {
    #[test]
    fn any_bytes_are_parsed(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        parse_mlsd(&bytes);
        parse_list(&bytes, now());
        parse_facts(&bytes);
        parse_time_val(&bytes);
    }

    #[test]
    fn damaged_lines_are_parsed(case in 0..UNIX.len(), at in 0..80_usize, byte: u8, cut in 0..100_usize) {
        let mut line = UNIX[case].0.as_bytes().to_vec();
        if let Some(hit) = line.get_mut(at) {
            *hit = byte;
        }
        line.truncate(cut);
        let parsed = parse_list(&line, now());
        prop_assert!(parsed.entries.len() + parsed.rejected.count() <= 2);
    }

    #[test]
    fn names_come_back_byte_for_byte(name in name(), size: u64, day in 1..=28_u32) {
        let mut line = format!("type=file;size={size};modify=202601{day:02}030405; ").into_bytes();
        line.extend_from_slice(&name);
        let entry = only(&parse_mlsd(&line));
        prop_assert_eq!((&*entry.name, entry.size), (&*name, Some(size)));

        for time in ["03:04", " 2024"] {
            let mut line = format!("-rw-r--r--    1 1000     1000     {size:8} Jan {day:2} {time} ").into_bytes();
            line.extend_from_slice(&name);
            let entry = only(&parse_list(&line, now()));
            prop_assert_eq!((&*entry.name, entry.size), (&*name, Some(size)));
        }

        let mut line = format!("01-{day:02}-26  03:05PM {size:>20} ").into_bytes();
        line.extend_from_slice(&name);
        let entry = only(&parse_list(&line, now()));
        prop_assert_eq!((&*entry.name, entry.size), (&*name, Some(size)));
    }
}
