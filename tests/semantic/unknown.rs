//! Bytes that only the server had and that are gone: unknown, and never zeros.

use std::time::Duration;

use ftpfs::remote::memory::Operation;

use crate::world::{APPEND, WRITE, World, pattern};

const LEN: usize = 300_000;

/// A file that was changed here by `change` and then became `len` bytes long on the server.
fn shortened(len: usize, mode: ftpfs::fs::OpenMode, at: u64) -> (World, ftpfs::fs::HandleId) {
    let world = World::new();
    world.put("/file", &pattern(LEN, 1));
    let handle = world.open("/file", mode).unwrap();
    world.write(handle, at, b"changed");
    world.put("/file", &pattern(LEN, 1)[..len]);
    (world, handle)
}

// SEMANTICS: S-read-unknown
#[test]
fn what_the_server_has_no_more_of_a_changed_file_is_an_error() {
    for (mode, at) in [
        (WRITE, 0),
        (WRITE, 200_000),
        (WRITE, LEN as u64),
        (APPEND, 0),
    ] {
        for len in [0, 1, 100_000, 199_999, LEN - 1] {
            let (world, handle) = shortened(len, mode, at);
            let at = if mode == APPEND { LEN as u64 } else { at };
            assert_eq!(world.read(handle, at, 7).unwrap(), b"changed");
            let mut expected = pattern(LEN, 1);
            expected.resize(LEN.max(at as usize + 7), 0);
            expected[at as usize..at as usize + 7].copy_from_slice(b"changed");
            for start in (0..expected.len()).step_by(4096) {
                let end = expected.len().min(start + 4096);
                let is_known =
                    |byte: usize| byte < len || (at as usize..at as usize + 7).contains(&byte);
                let read = world.read(handle, start as u64, 4096);
                if (start..end).all(is_known) {
                    assert_eq!(
                        read.as_deref(),
                        Ok(&expected[start..end]),
                        "{len} {at} {start}"
                    );
                } else {
                    assert_eq!(read, Err(libc::EIO), "{len} {at} {start}");
                }
            }
        }
    }
}

// SEMANTICS: S-read-unknown
#[test]
fn what_others_have_replaced_of_a_changed_file_is_an_error() {
    for (mode, at) in [(WRITE, 0), (WRITE, 200_000), (APPEND, LEN)] {
        let world = World::new();
        world.put("/file", &pattern(LEN, 1));
        let handle = world.open("/file", mode).unwrap();
        world.write(handle, at as u64, b"changed");
        world.advance(Duration::from_secs(3));
        let before = world.calls(Operation::Settle);
        for start in [100_000, 150_000] {
            let same = world.read(handle, start as u64, 1000).unwrap();
            assert!(same == pattern(LEN, 1)[start..start + 1000]);
        }
        assert_eq!(
            world.calls(Operation::Settle) - before,
            1,
            "asked once in 2 s"
        );
        world.put("/file", &pattern(LEN + 1, 2));
        world.advance(Duration::from_secs(3));
        for (start, len) in [(10_000, 1000), (at.saturating_sub(10), 100), (250_000, LEN)] {
            let is_ours = start >= at && start + len <= at + 7;
            let read = world.read(handle, start as u64, len);
            assert_eq!(read.is_ok(), is_ours, "{mode:?} {at} {start}");
            assert!(is_ours || read == Err(libc::EIO));
        }
        assert_eq!(world.read(handle, at as u64, 7).unwrap(), b"changed");
        world.fs.release(handle);
    }
}

// SEMANTICS: S-read-unknown
#[test]
fn what_a_program_has_cut_off_itself_is_no_error() {
    let (world, handle) = shortened(LEN, WRITE, 0);
    let change = ftpfs::fs::Change {
        size: Some(10_000),
        ..Default::default()
    };
    world
        .fs
        .setattr(world.ino("/file"), &change, Some(handle))
        .unwrap();
    assert_eq!(world.read(handle, 0, LEN).unwrap().len(), 10_000);
    world.close(handle).unwrap();
    assert_eq!(world.on("/file").unwrap().len(), 10_000);
}
