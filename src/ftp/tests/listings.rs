//! Listings that are cut off: a directory is shown whole or not at all.

use std::{
    io::Write,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use socket2::SockRef;

use super::{
    scripted::connect,
    server::{Handled, ScriptedServer},
    *,
};

/// How a data connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// In good order.
    Fin,
    /// By a reset.
    Reset,
}

/// Sends these bytes as every listing, ends the data connection in this way before or behind its 150, and says that all was sent.
fn listing_of(bytes: &'static [u8], end: End, is_early: bool) -> ScriptedServer {
    ScriptedServer::start(move |client, line| {
        if line != "MLSD" {
            return Handled::No;
        }
        if !is_early {
            client.say("150 here it comes");
        }
        let mut data = client.accept();
        data.write_all(bytes).unwrap();
        if end == End::Reset {
            // What was sent arrives first.
            thread::sleep(Duration::from_millis(20));
            SockRef::from(&data)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
        }
        drop(data);
        thread::sleep(Duration::from_millis(20));
        if is_early {
            client.say("150 here it comes");
        }
        client.say("226 done");
        Handled::Yes
    })
}

fn times_asked(server: &ScriptedServer) -> usize {
    server.take_batches().join(" | ").matches("MLSD").count()
}

// SEMANTICS: S-list-cut
#[test]
fn a_listing_that_ends_in_the_middle_of_a_line_is_asked_for_twice_and_then_an_error() {
    for bytes in [
        &b"type=file;size=1; a\r\ntype=file;size=1; longna"[..],
        b"type=file;size=1; a",
        b"t",
    ] {
        let server = listing_of(bytes, End::Fin, false);
        let remote = connect(&server);
        server.take_batches();
        let error = remote.list(&path("d")).unwrap_err();
        assert_eq!(error.kind(), RemoteErrorKind::Failed);
        assert_eq!(times_asked(&server), 2);
    }
}

// SEMANTICS: S-list-cut
#[test]
fn a_listing_whose_data_connection_is_reset_is_an_error() {
    for bytes in [&b""[..], b"type=file;size=1; a\r\n"] {
        for is_early in [false, true] {
            let server = listing_of(bytes, End::Reset, is_early);
            let remote = connect(&server);
            let listed = remote.list(&path("d"));
            assert!(listed.is_err(), "{bytes:?} {is_early}: {listed:?}");
        }
    }
}

/// What a server that lists `.` sends of an empty directory is not nothing.
// SEMANTICS: S-list-cut
#[test]
fn nothing_at_all_is_no_listing_where_others_show_the_directory_itself() {
    let is_cut = AtomicBool::new(false);
    let server = ScriptedServer::start(move |client, line| {
        if line.starts_with("CWD") {
            is_cut.store(line == "CWD /cut", Ordering::SeqCst);
        }
        if line != "MLSD" {
            return Handled::No;
        }
        client.say("150 here it comes");
        let mut data = client.accept();
        if !is_cut.load(Ordering::SeqCst) {
            data.write_all(b"type=cdir;modify=20260101000000; .\r\n")
                .unwrap();
        }
        drop(data);
        client.say("226 done");
        Handled::Yes
    });
    let remote = connect(&server);
    // Nothing is known yet of how it lists.
    assert!(remote.list(&path("cut")).unwrap().entries.is_empty());
    assert!(remote.list(&path("empty")).unwrap().entries.is_empty());
    server.take_batches();
    let error = remote.list(&path("cut")).unwrap_err();
    assert_eq!(error.kind(), RemoteErrorKind::Failed);
    assert_eq!(times_asked(&server), 2);
    assert!(remote.list(&path("empty")).unwrap().entries.is_empty());
}

/// Sends these as the listings of MLSD and LIST.
fn listings_of(mlsd: &'static [u8], list: &'static [u8]) -> ScriptedServer {
    ScriptedServer::start(move |client, line| {
        let bytes = match line {
            "MLSD" => mlsd,
            "LIST" | "LIST -a" => list,
            _ => return Handled::No,
        };
        client.say("150 here it comes");
        let mut data = client.accept();
        data.write_all(bytes).unwrap();
        drop(data);
        client.say("226 done");
        Handled::Yes
    })
}

// SEMANTICS: S-list-strange
#[test]
fn a_listing_of_which_nothing_is_understood_is_tried_the_other_way_and_then_an_error() {
    let line = b"-rw-r--r-- 1 u g 12 Jan  1 2004 x\r\n";
    let remote_of = |mlsd, list| connect(&listings_of(mlsd, list)).list(&path("d"));
    let listing = remote_of(line, line).unwrap();
    assert_eq!(listing.entries.get(0).unwrap().name, b"x");
    for list in [&b"ls: no such thing\r\n"[..], b""] {
        let error = remote_of(b"what is this\r\n", list).unwrap_err();
        assert_eq!(error.kind(), RemoteErrorKind::Failed);
    }
    // Not a line, and a line that is understood.
    for mlsd in [&b""[..], b"type=cdir; .\r\nwhat is this\r\n"] {
        assert_eq!(remote_of(mlsd, line).unwrap().entries.len(), 0);
    }
}
