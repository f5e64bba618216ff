//! Listings: no input panics, every name that is shown is valid, and every valid name comes back byte for byte.
#![no_main]

use std::time::{Duration, UNIX_EPOCH};

use ftpfs::{
    ftp::listing::{Parsed, parse_facts, parse_list, parse_mlsd},
    remote::RemotePath,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let now = UNIX_EPOCH + Duration::from_secs(1_772_366_400);
    let lines = bytes.split(|byte| *byte == b'\n').count();
    for parsed in [parse_mlsd(bytes), parse_list(bytes, now)] {
        assert!(parsed.entries.len() + parsed.rejected.count() <= lines);
        assert!(
            parsed
                .entries
                .iter()
                .all(|entry| RemotePath::check_name(entry.name).is_ok())
        );
    }
    parse_facts(bytes);

    if RemotePath::check_name(bytes).is_ok() && bytes.len() <= 255 {
        let heads: [&[u8]; 3] = [
            b"type=file;size=1; ",
            b"-rw-r--r-- 1 0 0 1 Jan  1  2020 ",
            b"01-23-26  03:05PM 1 ",
        ];
        for (index, head) in heads.into_iter().enumerate() {
            let line = [head, bytes, b"\r\n"].concat();
            let parsed = if index == 0 {
                parse_mlsd(&line)
            } else {
                parse_list(&line, now)
            };
            let Parsed { entries, .. } = parsed;
            assert_eq!(entries.len(), 1);
            assert_eq!(entries.iter().next().unwrap().name, bytes);
        }
    }
});
