//! How sessions are shared: how many there are, who gets which, who waits.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use super::{
    scripted::{connect, connect_single, connect_with, settle_down, usual},
    server::{Handled, ScriptedServer, content, eventually},
    *,
};
use crate::{ftp::pool::Use, remote::Phase};

// SEMANTICS: S-session-limit
#[test]
fn the_servers_limit_is_learnt_and_one_session_is_enough() {
    let server = ScriptedServer::start(|client, line| {
        if line == "connected" && client.number > 1 {
            client.say("421 too many");
            return Handled::Close;
        }
        Handled::No
    });
    let config = FtpConfig {
        connections_max: 8,
        ..config(server.port())
    };
    let remote = connect_with(&config);
    thread::scope(|scope| {
        for number in 0..6 {
            let remote = &remote;
            scope.spawn(move || {
                let mut download = remote.open_download(&path("f"), number, None).unwrap();
                let offset = usize::try_from(number).unwrap();
                assert!(read_all(&mut *download).unwrap() == content()[offset..]);
            });
        }
    });
}

#[test]
fn the_last_session_that_is_allowed_is_kept_when_it_was_opened_ahead() {
    let server = ScriptedServer::start(usual);
    let remote = connect_with(&FtpConfig {
        connections_max: 2,
        ..config(server.port())
    });
    assert_eq!(remote.pool.open_one_ahead(), 2);
}

#[test]
fn a_session_that_came_back_cold_becomes_warm() {
    let server = ScriptedServer::start(usual);
    let remote = connect_single(&server);
    settle_down(&remote);
    let deadline = remote.pool.host.deadline();
    let mut guard = remote.pool.check_out(Use::Listing, deadline).unwrap();
    guard.session().next_data().start_over();
    guard.check_in();
    settle_down(&remote);
    assert_eq!(server.connections(), 1);
}

// SEMANTICS: S-ahead
#[test]
fn a_second_listing_opens_the_sessions_of_a_walk() {
    let server = ScriptedServer::start(usual);
    let remote = connect_with(&FtpConfig {
        connections_max: 4,
        ..config(server.port())
    });
    remote.list(&RemotePath::root()).unwrap();
    settle_down(&remote);
    assert_eq!(server.connections(), 2);
    remote.list(&path("d")).unwrap();
    eventually(|| server.connections() == 4);
}

// SEMANTICS: S-ahead
#[test]
fn guesses_have_a_session_each_at_once_and_leave_one() {
    let server = ScriptedServer::start(usual);
    let remote = connect_with(&FtpConfig {
        connections_max: 4,
        ..config(server.port())
    });
    let (begun, ended) = (Barrier::new(4), Barrier::new(4));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                assert!(remote.ahead(&mut |remote| {
                    begun.wait();
                    remote.list(&path("d")).unwrap();
                    ended.wait();
                }));
            });
        }
        begun.wait();
        assert!(!remote.is_contended());
        assert_eq!(remote.list(&RemotePath::root()).unwrap().entries.len(), 2);
        ended.wait();
    });
    assert_eq!(server.connections(), 4);
}

// SEMANTICS: S-ahead
#[test]
fn a_guess_waits_until_a_session_is_spare_and_nobody_notices() {
    let server = ScriptedServer::start(usual);
    let remote = connect(&server);
    let download = remote.open_download(&path("f"), 0, None).unwrap();
    let is_run = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            assert!(remote.ahead(&mut |remote| {
                remote.list(&path("guess")).unwrap();
                is_run.fetch_add(1, Ordering::Relaxed);
            }));
        });
        for _ in 0..5 {
            assert_eq!(remote.list(&path("d")).unwrap().entries.len(), 2);
            assert!(!remote.is_contended());
            assert_eq!(is_run.load(Ordering::Relaxed), 0);
        }
        drop(download);
    });
    assert_eq!(is_run.load(Ordering::Relaxed), 1);
}

// SEMANTICS: S-ahead
#[test]
fn guesses_stay_below_the_limit_that_they_learn() {
    let server = ScriptedServer::start(|client, line| {
        if line == "connected" && client.number > 3 {
            client.say("421 too many");
            return Handled::Close;
        }
        Handled::No
    });
    let remote = connect_with(&FtpConfig {
        connections_max: 8,
        ..config(server.port())
    });
    thread::scope(|scope| {
        for _ in 0..7 {
            scope.spawn(|| {
                assert!(remote.ahead(&mut |remote| drop(remote.list(&path("d")).unwrap())));
            });
        }
    });
    assert!(!remote.is_contended());
    assert_eq!(remote.list(&RemotePath::root()).unwrap().entries.len(), 2);
}

// SEMANTICS: S-metadata-session
#[test]
fn a_copy_leaves_a_session_for_metadata() {
    let server = ScriptedServer::start(usual);
    let remote = connect_with(&FtpConfig {
        timeout: Duration::from_millis(300),
        ..config(server.port())
    });
    let _upload = remote
        .open_upload(made(&path("f")), UploadMode::Whole)
        .unwrap();
    let error = remote
        .open_upload(made(&path("g")), UploadMode::Whole)
        .unwrap_err();
    assert_eq!(error.kind(), RemoteErrorKind::TimedOut(Phase::Session));
    assert_eq!(remote.list(&RemotePath::root()).unwrap().entries.len(), 2);
    remote.make_dir(&path("d")).unwrap();
}

// SEMANTICS: S-metadata-session
#[test]
fn a_wait_for_the_only_session_lasts_as_long_as_its_transfer_makes_progress() {
    let server = ScriptedServer::start(usual);
    let timeout = Duration::from_millis(400);
    let remote = connect_with(&FtpConfig {
        timeout,
        connections_max: 1,
        ..config(server.port())
    });
    let mut upload = remote
        .open_upload(made(&path("f")), UploadMode::Whole)
        .unwrap();
    thread::scope(|scope| {
        let listing = scope.spawn(|| {
            let start = Instant::now();
            (remote.list(&RemotePath::root()), start.elapsed())
        });
        for _ in 0..15 {
            upload.write_all(b"content").unwrap();
            thread::sleep(timeout / 5);
        }
        upload.finish().unwrap();
        let (listed, waited) = listing.join().unwrap();
        assert_eq!(listed.unwrap().entries.len(), 2);
        assert!(waited > timeout * 2, "{waited:?}");
    });
    // One that stands still is not waited for.
    let _upload = remote
        .open_upload(made(&path("f")), UploadMode::Whole)
        .unwrap();
    let start = Instant::now();
    let error = remote.list(&RemotePath::root()).unwrap_err();
    assert_eq!(error.kind(), RemoteErrorKind::TimedOut(Phase::Session));
    assert!(start.elapsed() < timeout * 2);
}

// SEMANTICS: S-metadata-session
#[test]
fn a_session_given_up_for_others_is_theirs_before_it_is_taken_again() {
    let server = ScriptedServer::start(usual);
    let remote = connect_single(&server);
    for _ in 0..10 {
        let mut download = remote.open_download(&path("f"), 0, None).unwrap();
        assert!(download.read(&mut [0; 10]).unwrap() > 0);
        server.take_batches();
        thread::scope(|scope| {
            let listing = scope.spawn(|| remote.list(&path("d")));
            eventually(|| remote.is_contended());
            drop(download);
            let mut again = remote.open_download(&path("f"), 10, None).unwrap();
            let sent = server.take_batches().join(" | ");
            let place = |verb| sent.find(verb).unwrap_or_else(|| panic!("{verb}: {sent}"));
            assert!(place("MLSD") < place("RETR"), "{sent}");
            assert_eq!(read_all(&mut *again).unwrap(), content()[10..]);
            assert_eq!(listing.join().unwrap().unwrap().entries.len(), 2);
        });
    }
    assert_eq!(server.connections(), 1);
}
