//! Parts of files: asked for with their end where the server offers that, and right wherever it does not keep its word.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::{
    scripted::{connect_single, connect_with, settle_down},
    server::{Client, Handled, ScriptedServer, content, eventually},
    *,
};
use crate::{ftp::capabilities::Shortcut, remote::Phase};

/// What ProFTPD says of itself.
fn proftpd(client: &mut Client, line: &str) -> Handled {
    match line {
        "connected" => client.say("220 ProFTPD Server ready"),
        "FEAT" => client.say("211-Features:\r\n MLST type*;size*;\r\n RANG STREAM\r\n211 End"),
        _ => return Handled::No,
    }
    Handled::Yes
}

/// Connects with one session, and learns by a listing what may leave together.
fn connect_warm(server: &ScriptedServer) -> Arc<FtpRemote> {
    let remote = connect_single(server);
    remote.list(&RemotePath::root()).unwrap();
    remote
}

/// Reads a part, and compares it; the commands that left for that.
fn read_part(
    server: &ScriptedServer,
    remote: &FtpRemote,
    offset: usize,
    len: usize,
) -> Vec<String> {
    settle_down(remote);
    server.take_batches();
    let mut download = remote
        .open_download(&path("f"), offset as u64, Some(len as u64))
        .unwrap();
    let end = content().len().min(offset + len);
    assert!(read_all(&mut *download).unwrap() == content()[offset..end]);
    drop(download);
    settle_down(remote);
    server.take_batches()
}

fn learnt(remote: &FtpRemote) -> Shortcut {
    remote.pool.host.capabilities.learnt().range
}

// SEMANTICS: S-ranges
#[test]
fn a_part_is_asked_for_with_its_end_and_what_comes_next() {
    let server = ScriptedServer::start(proftpd);
    let remote = connect_warm(&server);
    let sent = read_part(&server, &remote, 4, 8);
    assert_eq!(sent, ["REST 4 | RANG 4 11 | RETR /f | EPSV"]);
    // The session has read at an offset before, which some servers would take for this one's.
    let sent = read_part(&server, &remote, 0, 1);
    assert_eq!(sent, ["REST 0 | RANG 0 0 | RETR /f | EPSV"]);
    let mut whole = remote.open_download(&path("f"), 0, None).unwrap();
    assert!(read_all(&mut *whole).unwrap() == content());
    assert_eq!(server.take_batches()[0], "REST 0 | RETR /f");
    assert_eq!(learnt(&remote), Shortcut::Works);
    assert_eq!(server.connections(), 1, "no session was lost");
}

// SEMANTICS: S-ranges
#[test]
fn a_refused_range_costs_nothing_and_is_not_asked_for_again() {
    for refusal in ["500 RANG?", "552 RANG: no", "200 RANG is fine"] {
        let server = ScriptedServer::start(move |client, line| {
            if line.starts_with("RANG") {
                client.say(refusal);
                return Handled::Yes;
            }
            proftpd(client, line)
        });
        let remote = connect_warm(&server);
        let sent = read_part(&server, &remote, 4, 8);
        assert_eq!(sent[0], "REST 4 | RANG 4 11 | RETR /f | EPSV");
        assert!(!sent[1..].join(" ").contains("RETR"), "{sent:?}");
        assert_eq!(learnt(&remote), Shortcut::Fails);
        let sent = read_part(&server, &remote, 4, 8);
        assert_eq!(sent[0], "REST 4 | RETR /f");
    }
}

// SEMANTICS: S-ranges
#[test]
fn a_range_beyond_the_end_of_the_file_is_read_up_to_there() {
    let len = content().len();
    let server = ScriptedServer::start(move |client, line| {
        // As ProFTPD 1.3.8 does.
        if line.starts_with("RETR") && client.range_end.take_if(|end| *end > len).is_some() {
            client.rest = 0;
            client.say("554 f: invalid RANG argument");
            return Handled::Yes;
        }
        proftpd(client, line)
    });
    let remote = connect_warm(&server);
    let sent = read_part(&server, &remote, len - 10, 20).join(" / ");
    assert!(sent.contains("RANG 399990 400009 | RETR /f"), "{sent}");
    assert!(sent.contains("REST 399990 | RETR /f"), "{sent}");
    assert_eq!(
        learnt(&remote),
        Shortcut::Untried,
        "it says nothing of RANG"
    );
    let sent = read_part(&server, &remote, len - 10, 10).join(" / ");
    assert!(sent.contains("RANG 399990 399999 | RETR /f"), "{sent}");
}

// SEMANTICS: S-ranges
#[test]
fn a_server_that_goes_on_behind_the_range_is_found_out() {
    let server = ScriptedServer::start(|client, line| {
        if line.starts_with("RANG") {
            // It is as if it had not been there.
            client.say("350 ok");
            return Handled::Yes;
        }
        proftpd(client, line)
    });
    let remote = connect_warm(&server);
    read_part(&server, &remote, 4000, 8);
    eventually(|| learnt(&remote) == Shortcut::Fails);
    let sent = read_part(&server, &remote, 4000, 8);
    assert_eq!(sent[0], "REST 4000 | RETR /f");
}

// SEMANTICS: S-ranges
#[test]
fn a_range_that_costs_the_session_is_read_without() {
    let server = ScriptedServer::start(|client, line| {
        if line.starts_with("RANG") {
            return Handled::Close;
        }
        proftpd(client, line)
    });
    let remote = connect_warm(&server);
    read_part(&server, &remote, 4, 8);
    assert_eq!(learnt(&remote), Shortcut::Fails);
}

// SEMANTICS: S-ranges
#[test]
fn silence_over_a_range_fails_one_read() {
    let server = ScriptedServer::start(|client, line| {
        if line.starts_with("RANG") {
            client.pass_over(2);
            return Handled::Yes;
        }
        proftpd(client, line)
    });
    let remote = FtpRemote::connect(&FtpConfig {
        timeout: Duration::from_millis(500),
        ..config(server.port())
    });
    let remote = remote.unwrap();
    remote.list(&RemotePath::root()).unwrap();
    let error = remote.open_download(&path("f"), 0, Some(8)).unwrap_err();
    assert_eq!(error.kind(), RemoteErrorKind::TimedOut(Phase::Reply));
    let mut download = remote.open_download(&path("f"), 0, Some(8)).unwrap();
    assert_eq!(read_all(&mut *download).unwrap(), content()[..8]);
    assert_eq!(learnt(&remote), Shortcut::Fails);
}

// SEMANTICS: S-ranges
#[test]
fn a_session_that_was_lost_by_itself_says_nothing_of_ranges() {
    let asked = AtomicUsize::new(0);
    let server = ScriptedServer::start(move |client, line| {
        if line.starts_with("RANG") && asked.fetch_add(1, Ordering::Relaxed) == 0 {
            return Handled::Close;
        }
        proftpd(client, line)
    });
    let remote = connect_warm(&server);
    read_part(&server, &remote, 4, 8);
    assert_eq!(learnt(&remote), Shortcut::Works);
}

// SEMANTICS: S-ranges
#[test]
fn a_part_that_is_left_early_leaves_the_session_in_step() {
    let server = ScriptedServer::start(proftpd);
    let remote = connect_warm(&server);
    for _ in 0..3 {
        let mut download = remote.open_download(&path("f"), 4, Some(300_000)).unwrap();
        assert!(download.read(&mut [0; 16]).unwrap() > 0);
        drop(download);
        read_part(&server, &remote, 100, 8);
    }
    assert_eq!(learnt(&remote), Shortcut::Works);
    assert_eq!(server.connections(), 1);
}

// SEMANTICS: S-ranges
#[test]
fn only_proftpd_is_asked_for_a_range() {
    for greeting in ["220 ready", "220 SwiFTP 3.1 ready"] {
        let server = ScriptedServer::start(move |client, line| {
            if line == "connected" {
                client.say(greeting);
                return Handled::Yes;
            }
            proftpd(client, line)
        });
        let remote = connect_warm(&server);
        let sent = read_part(&server, &remote, 4, 8);
        assert_eq!(sent[0], "REST 4 | RETR /f", "{greeting}");
    }
}

/// The STOR behind a refused REST makes the file, and would make it again behind its removal.
// SEMANTICS: S-patch
#[test]
fn an_upload_whose_offset_is_refused_is_over_before_the_scratch_file_is_removed() {
    let running = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&running);
    let overtaken = Arc::new(AtomicUsize::new(0));
    let removed = Arc::clone(&overtaken);
    let server = ScriptedServer::start(move |client, line| {
        match line.split(' ').next().unwrap_or_default() {
            "REST" => client.say("500 unknown"),
            "STOR" => {
                seen.fetch_add(1, Ordering::Relaxed);
                client.say("150 go on");
                client.receive();
                thread::sleep(Duration::from_millis(100));
                seen.fetch_sub(1, Ordering::Relaxed);
                client.say("226 stored");
            }
            "DELE" => {
                removed.fetch_add(seen.load(Ordering::Relaxed), Ordering::Relaxed);
                return Handled::No;
            }
            _ => return Handled::No,
        }
        Handled::Yes
    });
    let remote = connect_with(&config(server.port()));
    assert!(!remote.can_patch(&RemotePath::root()));
    let batches = server.take_batches();
    assert!(
        batches.iter().any(|batch| batch.starts_with("DELE")),
        "{batches:?}"
    );
    assert_eq!(overtaken.load(Ordering::Relaxed), 0, "{batches:?}");
    assert_eq!(running.load(Ordering::Relaxed), 0);
}
