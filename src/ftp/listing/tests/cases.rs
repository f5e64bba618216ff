//! The lines of `tests/cases`, each of them a directory of its own, and what only several lines tell.

use super::*;

/// What `\t`, `\r`, `\n`, `\xNN` stand for.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, behind @ ..] = rest {
        rest = behind;
        if *byte != b'\\' {
            bytes.push(*byte);
            continue;
        }
        let (escaped, used) = match rest {
            [b't', ..] => (b'\t', 1),
            [b'r', ..] => (b'\r', 1),
            [b'n', ..] => (b'\n', 1),
            [b'x', high, low, ..] => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).unwrap();
                (u8::from_str_radix(digits, 16).unwrap(), 3)
            }
            _ => panic!("{text}"),
        };
        bytes.push(escaped);
        rest = &rest[used..];
    }
    bytes
}

/// Whether all lines of a file are read as it says; what is read otherwise.
fn differing(cases: &str, parse: impl Fn(&[u8], usize) -> Parsed) -> Vec<String> {
    let mut differing = Vec::new();
    for case in cases
        .lines()
        .filter(|case| !case.starts_with('#') && !case.is_empty())
    {
        let columns: Vec<_> = case.split('\t').collect();
        let mut text = unescape(columns[3]);
        text.extend(b"\r\n");
        for len in [text.len(), 1, 7] {
            let parsed = parse(&text, len);
            let entry = parsed.entries.iter().next();
            let shown = entry.map(|entry| {
                let kind = match entry.kind {
                    Directory => "d",
                    File => "f",
                    Symlink | Special => "?",
                };
                let size = entry.size.map(|size| size.to_string()).unwrap_or_default();
                // The sizes of directories are of no use.
                let size = if kind == "d" {
                    columns[1].to_owned()
                } else {
                    size
                };
                let time = entry.modified.map(|time| time.seconds);
                (kind, size, entry.name.to_vec(), time)
            });
            let time = match columns.get(4) {
                None => shown.as_ref().and_then(|shown| shown.3),
                Some(&"-") => None,
                Some(time) => Some(seconds(time)),
            };
            let expected = (
                columns[0],
                columns[1].to_owned(),
                unescape(columns[2]),
                time,
            );
            if shown.as_ref() != Some(&expected) || parsed.entries.len() != 1 {
                differing.push(format!("{case}\n    {:?}", parsed.entries));
                break;
            }
        }
    }
    differing
}

// SEMANTICS: S-list-formats
#[test]
fn lines_of_list_from_the_field_are_read() {
    let cases = [
        include_str!("../../../../tests/cases/list-lines.tsv"),
        include_str!("../../../../tests/cases/list-more.tsv"),
    ];
    let differing = differing(&cases.concat(), in_pieces);
    assert!(differing.is_empty(), "\n{}", differing.join("\n"));
}

#[test]
fn lines_of_mlsd_from_the_field_are_read() {
    let cases = [
        include_str!("../../../../tests/cases/mlsd-lines.tsv"),
        include_str!("../../../../tests/cases/mlsd-more.tsv"),
    ];
    let differing = differing(&cases.concat(), |text, _| parse_mlsd(text));
    assert!(differing.is_empty(), "\n{}", differing.join("\n"));
}

fn times(text: &str) -> Vec<(String, Option<i64>)> {
    let parsed = parse_list(text.as_bytes(), now());
    assert_eq!(parsed.rejected.count(), 0, "{parsed:?}");
    let entries = parsed.entries.iter();
    let shown = entries.map(|entry| {
        let name = String::from_utf8_lossy(entry.name).into_owned();
        (name, entry.modified.map(|time| time.seconds))
    });
    shown.collect()
}

fn expected(times: &[(&str, Option<&str>)]) -> Vec<(String, Option<i64>)> {
    let times = times.iter();
    times
        .map(|(name, time)| ((*name).to_owned(), time.map(seconds)))
        .collect()
}

// SEMANTICS: S-list-dates
#[test]
fn a_number_above_12_tells_of_all_lines_whether_the_day_comes_first() {
    assert_eq!(
        times("01/02/2026  03:05  1 a\r\n13/02/2026  03:05  1 b\r\n"),
        expected(&[("a", Some("20260201030500")), ("b", Some("20260213030500"))])
    );
    assert_eq!(
        times("01/02/2026  03:05  1 a\r\n02/13/2026  03:05  1 b\r\n"),
        expected(&[("a", Some("20260102030500")), ("b", Some("20260213030500"))])
    );
    assert_eq!(
        times("02/13/2026  03:05  1 a\r\n01/02/2026  03:05  1 b\r\n13/02/2026  03:05  1 c\r\n"),
        expected(&[
            ("a", Some("20260213030500")),
            ("b", None),
            ("c", Some("20260213030500"))
        ])
    );
    // IIS has the month first, unless its lines show otherwise.
    assert_eq!(
        times("01-02-26  03:05PM  1 a\r\n02-02-26  03:05PM  1 b\r\n"),
        expected(&[("a", Some("20260102150500")), ("b", Some("20260202150500"))])
    );
    assert_eq!(
        times("01-02-26  03:05PM  1 a\r\n22-02-26  03:05PM  1 b\r\n"),
        expected(&[("a", Some("20260201150500")), ("b", Some("20260222150500"))])
    );
}

// SEMANTICS: S-list-dates
#[test]
fn a_year_behind_the_time_is_known_by_all_lines() {
    let line = |rest: &str| format!("-rw-r--r-- 1 u g 12 {rest}\r\n");
    // `ls` would not tell the time of a file that old.
    assert_eq!(
        times(&(line("May 28 19:50 2023 a") + &line("Feb 28 19:50 2026 b"))),
        expected(&[("a", Some("20230528195000")), ("b", Some("20260228195000"))])
    );
    assert_eq!(
        times(&line("Jan  1 03:05:07 2004 a")),
        expected(&[("a", Some("20040101030507"))])
    );
    // One without a year: they are names.
    assert_eq!(
        times(&(line("May 28 19:50 2023 a") + &line("Feb 28 19:50 b"))),
        expected(&[
            ("2023 a", Some("20250528195000")),
            ("b", Some("20260228195000"))
        ])
    );
    // All could be of this half year.
    assert_eq!(
        times(&line("Feb 28 19:50 2023 a")),
        expected(&[("2023 a", Some("20260228195000"))])
    );
    let parsed = parse_list(line("May 28 19:50 2023 .").as_bytes(), now());
    assert!(parsed.entries.is_empty());
}

#[test]
fn an_entry_in_two_lines_leaves_the_others_alone() {
    let text = "+r,s1234\r\n-rw-r--r-- 1 u g 12 Jan  1 2004 x\r\n+r,s5\r\n,\ty\r\nlong.txt;1\r\n";
    let parsed = parse_list(text.as_bytes(), now());
    let names: Vec<_> = parsed
        .entries
        .iter()
        .map(|entry| entry.name.to_vec())
        .collect();
    assert_eq!(names, [b"x", b"y"]);
    assert_eq!(parsed.rejected.count(), 2);
    for len in 1..text.len() {
        assert_eq!(in_pieces(text.as_bytes(), len), parsed);
    }
}

#[test]
fn sums_and_headings_are_no_entries() {
    let lines = [
        "total 12",
        "insgesamt 12",
        "总用量 12",
        "합계 12K",
        "Total of 3 files, 13/18 blocks.",
        "Directory DISK$USER:[ALICE]",
        "Volume Unit    Referred Ext Used Recfm Lrecl BlkSz Dsorg Dsname",
    ];
    for line in lines {
        let parsed = parse_list(line.as_bytes(), now());
        assert_eq!(
            (parsed.entries.len(), parsed.rejected.count()),
            (0, 0),
            "{line}"
        );
    }
}
