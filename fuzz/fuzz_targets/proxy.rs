//! Answers of proxies: only a consent connects, and not a byte that follows it is lost.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, bool, u16, &[u8])| {
    let (is_http, has_login, cut, answer) = input;
    ftpfs::ftp::fuzzing::proxy(is_http, has_login, cut, answer);
});
