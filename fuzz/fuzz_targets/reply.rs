//! Replies: no input panics, a reply takes no more bytes than there are, and bytes that follow one do not change it.
#![no_main]
#![allow(
    dead_code,
    reason = "the module is taken whole, and only its parser is tried"
)]

// The parser is no part of the library's interface, so its file is taken in here; `crate::remote` is what it imports.
#[path = "../../src/ftp/reply.rs"]
mod reply;

use ftpfs::remote;
use libfuzzer_sys::fuzz_target;
use reply::{Parsed, Reply};

fuzz_target!(|bytes: &[u8]| {
    let Parsed::Complete(reply, used) = Reply::parse(bytes) else {
        return;
    };
    assert!((1..=bytes.len()).contains(&used));
    assert!((100..1000).contains(&reply.code()));
    reply.lines().for_each(drop);
    reply.inner_lines().for_each(drop);
    let _ = (reply.first_line(), reply.kind(), format!("{reply:?}"));
    match Reply::parse(&bytes[..used]) {
        Parsed::Complete(alone, length) => assert!(length == used && alone == reply),
        other => panic!("the reply alone is {other:?}"),
    }
});
