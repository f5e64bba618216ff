//! How fast listings are parsed: 100 000 lines of each kind, the median of eleven runs.
//!
//! `cargo bench --bench listing`

#![allow(clippy::print_stdout, reason = "the figures are the result")]

use std::{
    fmt::Write,
    hint::black_box,
    time::{Duration, Instant, SystemTime},
};

use ftpfs::ftp::listing::{Parsed, parse_list, parse_mlsd};

const LINES: usize = 100_000;
const RUNS: usize = 11;

fn main() {
    let now = SystemTime::now();
    let lines = |line: fn(usize) -> String| {
        (0..LINES).fold(String::new(), |mut all, index| {
            write!(all, "{}\r\n", line(index)).expect("a String takes everything");
            all
        })
    };
    let unix = lines(|index| {
        format!("-rw-r--r--    1 1000     1000     {index:8} Feb 27 09:05 file number {index}.txt")
    });
    let other = lines(|index| {
        format!("-rw-r--r--    1 1000     1000     {index:8} Okt 27 09:05 file number {index}.txt")
    });
    let dos = lines(|index| format!("01-23-26  03:05PM {index:20} file number {index}.txt"));
    let mlsd = lines(|index| {
        format!(
            "modify=20260227090512;perm=adfrw;size={index};type=file;unique=801U{index:X};UNIX.group=100;\
             UNIX.groupname=users;UNIX.mode=0644;UNIX.owner=1000;UNIX.ownername=alice; file number {index}.txt"
        )
    });
    measure("LIST, Unix", &unix, |bytes| parse_list(bytes, now));
    measure("LIST, other", &other, |bytes| parse_list(bytes, now));
    measure("LIST, DOS", &dos, |bytes| parse_list(bytes, now));
    measure("MLSD", &mlsd, parse_mlsd);
}

fn measure(name: &str, text: &str, parse: impl Fn(&[u8]) -> Parsed) {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            let parsed = black_box(parse(black_box(text.as_bytes())));
            let took = start.elapsed();
            assert_eq!((parsed.entries.len(), parsed.rejected.count()), (LINES, 0));
            took
        })
        .collect();
    times.sort_unstable();
    let median = times.get(RUNS / 2).copied().unwrap_or_default();
    println!(
        "{name:<12} {LINES} lines, {:>5} KiB: {median:>8.1?}",
        text.len() / 1024
    );
}
