//! Replies: no input panics, a reply takes no more bytes than there are, and bytes that follow one do not change it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| ftpfs::ftp::fuzzing::reply(bytes));
