//! Parts of files: asked for with their end where the server offers that, and right wherever it does not keep its word.

use std::{
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{
    scripted::{connect_single, connect_with, settle_down},
    server::{Client, Handled, ScriptedServer, content, eventually},
    *,
};
use crate::{
    ftp::shortcuts::{Shortcut, Technique},
    remote::{MadeName, Phase, patch_trial},
};

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
    remote.pool.host.capabilities.shortcut(Technique::Bound)
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

/// What a server says to REST when it does not agree on the offset that was asked for.
const NO_OFFSET: [&str; 8] = [
    "500 unknown",
    "501 no",
    "502 not here",
    "504 not for that",
    "550 no",
    "450 not now",
    "200 superfluous",
    "350 Restarting at 7.",
];

// SEMANTICS: S-patch
#[test]
fn no_upload_follows_an_offset_that_is_not_agreed_on() {
    for reply in NO_OFFSET {
        let server = ScriptedServer::start(move |client, line| {
            if line.starts_with("REST") {
                client.say(reply);
                return Handled::Yes;
            }
            Handled::No
        });
        let remote = connect_with(&config(server.port()));
        let mode = UploadMode::At(NonZeroU64::new(70_000).unwrap());
        let refused = remote.open_upload(made(&path("f")), mode).unwrap_err();
        assert_eq!(refused.command(), "REST", "{reply}");
        let sent = server.take_batches().join(" | ");
        assert!(!sent.contains("STOR"), "{reply}: {sent}");
        let scratch = MadeName::fresh(&RemotePath::root(), "scratch").unwrap();
        let keeps = patch_trial::keeps_rest(&*remote, &scratch);
        assert!(!matches!(keeps, Ok(true)), "{reply}");
        let sent = server.take_batches().join(" | ");
        assert_eq!(sent.matches("STOR").count(), 1, "{reply}: {sent}");
    }
}

// SEMANTICS: S-patch
#[test]
fn an_offset_beyond_31_bits_is_believed_only_where_it_is_quoted() {
    let far = 3_000_000_000;
    for (reply, is_agreed) in [
        ("350 Restart position accepted (3000000000).", true),
        ("350 Restarting at -1294967296.", false),
        ("350 Restarting at 2147483647.", false),
        ("350 Go on.", false),
    ] {
        let server = ScriptedServer::start(move |client, line| {
            if line.starts_with("REST") {
                client.say(reply);
                return Handled::Yes;
            }
            Handled::No
        });
        let remote = connect_with(&config(server.port()));
        let mode = UploadMode::At(NonZeroU64::new(far).unwrap());
        let opened = remote.open_upload(made(&path("f")), mode);
        assert_eq!(opened.is_ok(), is_agreed, "{reply}");
    }
}
