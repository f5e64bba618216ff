//! What the tests of this room share: a file to read, and waiting for other threads.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::remote::RemotePath;

/// No wait of a test is longer: what takes so long hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until something holds that other threads bring about.
pub(super) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Bytes that differ from block to block.
pub(super) fn content(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| u8::try_from((i + i / 4096) % 251).unwrap())
        .collect()
}

/// The path of the only file that a test needs.
pub(super) fn the_file() -> RemotePath {
    RemotePath::root().join(b"file").unwrap()
}
