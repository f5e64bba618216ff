//! What saves round trips from one transfer to the next, and the servers that do not take it.

use std::{
    io::{Read, Write},
    net::Shutdown,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use rustix::event::{PollFd, PollFlags};

use super::{
    scripted::{connect, connect_single, connect_with, settle_down},
    server::{Client, Handled, ScriptedServer, content, eventually},
    *,
};
use crate::ftp::shortcuts::{Shortcut, Technique};

/// Greets as the server that takes what leaves after the end of an upload.
fn pyftpdlib(client: &mut Client, line: &str) -> Handled {
    greet_as(client, line, "pyftpdlib 2.2.0 ready.")
}

/// Greets as the server that waits for our end of a download.
fn proftpd(client: &mut Client, line: &str) -> Handled {
    greet_as(client, line, "ProFTPD Server ready")
}

fn greet_as(client: &mut Client, line: &str, greeting: &str) -> Handled {
    if line == "connected" {
        client.say(&format!("220 {greeting}"));
        return Handled::Yes;
    }
    Handled::No
}

fn read_whole(remote: &FtpRemote) {
    let mut download = remote.open_download(&path("f"), 0, None).unwrap();
    assert!(read_all(&mut *download).unwrap() == content());
}

fn send_whole(client: &mut Client) {
    client.say("150 here it comes");
    client.accept().write_all(&content()).unwrap();
}

/// The next commands, up to the end of one write.
fn next_batch(client: &mut Client) -> String {
    let mut buffer = [0; 4096];
    let count = client.read(&mut buffer);
    String::from_utf8_lossy(&buffer[..count]).into_owned()
}

// SEMANTICS: S-tenet-round-trip
#[test]
fn the_next_data_connection_is_asked_for_before_the_last_reply() {
    let server = ScriptedServer::start(|client, line| {
        if line.starts_with("RETR") {
            send_whole(client);
            assert_eq!(next_batch(client), "EPSV\r\n");
            client.say("226 done");
            client.answer("EPSV");
            return Handled::Yes;
        }
        Handled::No
    });
    let remote = connect_single(&server);
    for _ in 0..3 {
        read_whole(&remote);
    }
    let learnt = remote.pool.host.capabilities.shortcut(Technique::AskAtEnd);
    assert_eq!(learnt, Shortcut::Works);
    assert_eq!(server.connections(), 1);
}

#[test]
fn commands_and_transfers_find_their_replies_behind_that_of_an_epsv() {
    let server = ScriptedServer::start(|_, line| {
        if line == "EPSV" {
            thread::sleep(Duration::from_millis(30));
        }
        Handled::No
    });
    let remote = connect_single(&server);
    thread::scope(|scope| {
        for worker in 0..4_u32 {
            let remote = &remote;
            scope.spawn(move || {
                for _ in 0..4 {
                    if worker % 2 == 0 {
                        read_whole(remote);
                    } else {
                        remote.make_dir(&path("d")).unwrap();
                        assert_eq!(remote.list(&path("d")).unwrap().entries.len(), 2);
                    }
                }
            });
        }
    });
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_server_that_answers_epsv_before_the_transfer_is_not_asked_that_early_again() {
    let early = AtomicUsize::new(0);
    let server = ScriptedServer::start(move |client, line| {
        if line.starts_with("RETR") {
            send_whole(client);
            if early.fetch_add(1, Ordering::Relaxed) == 0 {
                assert_eq!(next_batch(client), "EPSV\r\n");
                client.answer("EPSV");
            }
            client.say("226 done");
            return Handled::Yes;
        }
        Handled::No
    });
    let remote = connect_single(&server);
    for _ in 0..3 {
        read_whole(&remote);
        settle_down(&remote);
    }
    let learnt = remote.pool.host.capabilities.shortcut(Technique::AskAtEnd);
    assert_eq!(learnt, Shortcut::Fails);
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_transfer_that_failed_is_told_from_an_epsv_that_did() {
    for (last, answer, is_good) in [
        ("451 failed", "229 ok (|||1|)", false),
        ("451 failed", "425 no", false),
        ("226 done", "425 no", true),
        ("425 no", "226 done", true),
    ] {
        let server = ScriptedServer::start(move |client, line| {
            if line.starts_with("RETR") {
                send_whole(client);
                assert_eq!(next_batch(client), "EPSV\r\n");
                client.say(last);
                client.say(answer);
                return Handled::Yes;
            }
            Handled::No
        });
        let remote = connect_single(&server);
        let mut download = remote.open_download(&path("f"), 0, None).unwrap();
        let read = read_all(&mut *download);
        assert_eq!(read.is_ok(), is_good, "{last}, {answer}: {read:?}");
        remote.make_dir(&path("d")).unwrap();
        assert_eq!(server.connections(), 1, "{last}, {answer}");
    }
}

/// One that forgets an EPSV, one that forgets the transfer over it, one that hangs up.
#[test]
fn a_server_that_is_lost_over_an_early_epsv_is_served_without() {
    for replies in [Some("226 done"), Some(""), None] {
        let server = ScriptedServer::start(move |client, line| {
            if line.starts_with("RETR") && client.number == 1 {
                send_whole(client);
                assert_eq!(next_batch(client), "EPSV\r\n");
                match replies {
                    None => return Handled::Close,
                    Some("") => {}
                    Some(last) => client.say(last),
                }
                next_batch(client);
                return Handled::Close;
            }
            if line.starts_with("RETR") && client.rest == content().len() {
                client.say("554 behind the end");
                return Handled::Yes;
            }
            Handled::No
        });
        let remote = connect_with(&FtpConfig {
            timeout: Duration::from_millis(400),
            connections_max: 1,
            ..config(server.port())
        });
        for _ in 0..3 {
            read_whole(&remote);
            eventually(|| remote.pool.is_idle());
        }
        let learnt = remote.pool.host.capabilities.shortcut(Technique::AskAtEnd);
        assert_eq!(learnt, Shortcut::Fails, "{replies:?}");
        assert_eq!(server.connections(), 2, "{replies:?}");
    }
}

// SEMANTICS: S-tenet-round-trip
#[test]
fn a_transfers_command_does_not_wait_for_its_data_connection() {
    let early = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&early);
    let server = ScriptedServer::start(move |client, line| match line.split(' ').next() {
        Some("EPSV") => {
            let port = client.listen_late();
            client.say(&format!("229 ok (|||{port}|)"));
            Handled::Yes
        }
        Some("RETR") => {
            seen.fetch_add(usize::from(client.open_up()), Ordering::Relaxed);
            Handled::No
        }
        _ => Handled::No,
    });
    let remote = connect(&server);
    read_whole(&remote);
    assert_eq!(early.load(Ordering::Relaxed), 1);
    let learnt = remote
        .pool
        .host
        .capabilities
        .shortcut(Technique::EarlyCommand);
    assert_eq!(learnt, Shortcut::Works);
}

#[test]
fn a_server_that_wants_the_data_connection_first_gets_it_first() {
    let is_late = AtomicUsize::new(0);
    let server = ScriptedServer::start(move |client, line| match line.split(' ').next() {
        Some("EPSV") if is_late.fetch_add(1, Ordering::Relaxed) == 0 => {
            let port = client.listen_late();
            client.say(&format!("229 ok (|||{port}|)"));
            Handled::Yes
        }
        Some("RETR") if client.is_late() => {
            client.say("425 no data connection");
            Handled::Yes
        }
        _ => Handled::No,
    });
    let remote = connect_single(&server);
    read_whole(&remote);
    let learnt = remote
        .pool
        .host
        .capabilities
        .shortcut(Technique::EarlyCommand);
    assert_eq!(learnt, Shortcut::Fails);
    assert_eq!(server.connections(), 1);
}

/// What a server sees of the upload of 400,000 or so bytes less: SIZE tells what the last upload had.
fn sizes(client: &mut Client, line: &str) -> Handled {
    if line.starts_with("SIZE") {
        let size = client.kept();
        client.say(&format!("213 {size}"));
        return Handled::Yes;
    }
    Handled::No
}

// SEMANTICS: S-tenet-round-trip
#[test]
fn a_small_upload_and_what_settles_it_are_one_write() {
    let server = ScriptedServer::start(|client, line| {
        if line.starts_with("SITE CHMOD") {
            client.say("200 ok");
            return Handled::Yes;
        }
        sizes(client, line)
    });
    let remote = connect_single(&server);
    let attributes = Attributes {
        mode: Some(0o640),
        ..Attributes::default()
    };
    for expected in [
        "STOR /f | SITE CHMOD 640 /f | SIZE /f | MDTM /f",
        // Now that the server was seen to work on one after the other.
        "STOR /f | SITE CHMOD 640 /f | SIZE /f | MDTM /f | EPSV",
    ] {
        settle_down(&remote);
        server.take_batches();
        let settled = remote
            .put(made(&path("f")), b"content", &attributes)
            .unwrap();
        let settled = settled.settled.unwrap();
        assert_eq!(settled.report.size.unwrap(), Some(7));
        assert!(settled.mode.is_ok() && settled.report.modified.is_some());
        assert_eq!(server.take_batches()[0], expected);
    }
}

// SEMANTICS: S-tenet-confirmed
#[test]
fn replies_that_overtake_an_upload_prove_nothing() {
    for early in [
        &["200 ok", "213 7", "213 20260102030405", "226 stored"][..],
        &["550 no", "213 7", "213 20260102030405", "226 stored"],
        &["250 ok", "213 7", "213 20260102030405", "226 stored"],
        &["213 7", "226 stored", "200 ok", "213 20260102030405"],
    ] {
        let server = ScriptedServer::start(move |client, line| {
            if line.starts_with("STOR") && client.number == 1 && client.has_more() {
                client.say("150 go on");
                client.receive();
                for reply in early {
                    client.say(reply);
                }
                client.pass_over(3);
                return Handled::Yes;
            }
            sizes(client, line)
        });
        let remote = connect_single(&server);
        let attributes = Attributes {
            mode: Some(0o640),
            ..Attributes::default()
        };
        // The second time they leave behind the end of the bytes.
        for _ in 0..2 {
            let confirmed = remote.put(made(&path("f")), b"content", &attributes);
            let settled = confirmed.unwrap().settled;
            assert!(settled.is_none(), "{early:?}: {settled:?}");
            assert_eq!(server.uploaded(), b"content");
        }
        let learnt = remote.pool.host.capabilities.shortcut(Technique::Follow);
        assert_eq!(learnt, Shortcut::Fails, "{early:?}");
    }
}

/// The server is still to say that it has the file when what settles that arrives, so that nobody can have waited for it.
// SEMANTICS: S-tenet-round-trip
#[test]
fn where_commands_do_not_wait_for_an_upload_they_leave_behind_its_end() {
    let server = ScriptedServer::start(|client, line| {
        if line.starts_with("STOR") {
            client.say("150 go on");
            client.receive();
            assert_eq!(next_batch(client), "SIZE /f\r\nMDTM /f\r\n");
            client.say("226 stored\r\n213 7\r\n213 20260102030405");
            return Handled::Yes;
        }
        pyftpdlib(client, line)
    });
    let remote = connect_single(&server);
    let capabilities = &remote.pool.host.capabilities;
    capabilities.give_up(Technique::Follow);
    for _ in 0..2 {
        let settled = put(&remote, "f", b"content").unwrap().unwrap();
        assert_eq!(settled.report.size.unwrap(), Some(7));
        assert_eq!(server.uploaded(), b"content");
    }
    assert_eq!(capabilities.shortcut(Technique::FollowEnd), Shortcut::Works);
}

// SEMANTICS: S-tenet-confirmed
#[test]
fn what_overtakes_an_upload_again_and_again_waits_for_its_reply() {
    let overtaken = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&overtaken);
    let server = ScriptedServer::start(move |client, line| {
        if line.starts_with("STOR") && seen.load(Ordering::Relaxed) < 3 {
            seen.fetch_add(1, Ordering::Relaxed);
            client.say("150 go on");
            client.receive();
            next_batch(client);
            client.say("213 0\r\n213 20260102030405\r\n226 stored");
            return Handled::Yes;
        }
        match pyftpdlib(client, line) {
            Handled::No => sizes(client, line),
            handled => handled,
        }
    });
    let remote = connect_single(&server);
    remote.pool.host.capabilities.give_up(Technique::Follow);
    for _ in 0..5 {
        assert!(put(&remote, "f", b"content").unwrap().is_none());
        assert_eq!(server.uploaded(), b"content");
    }
    assert_eq!(overtaken.load(Ordering::Relaxed), 3);
    assert!(remote.pool.host.capabilities.following().is_none());
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_server_that_breaks_an_upload_off_over_a_command_gets_the_next_without() {
    let broken = AtomicUsize::new(0);
    let server = ScriptedServer::start(move |client, line| {
        if line.starts_with("STOR") && broken.fetch_add(1, Ordering::Relaxed) == 0 {
            client.say("150 go on");
            client.receive();
            next_batch(client);
            client.say("426 what was that\r\n213 0\r\n213 20260102030405");
            return Handled::Yes;
        }
        match pyftpdlib(client, line) {
            Handled::No => sizes(client, line),
            handled => handled,
        }
    });
    let remote = connect_single(&server);
    let capabilities = &remote.pool.host.capabilities;
    capabilities.give_up(Technique::Follow);
    let broken = put(&remote, "f", b"content").unwrap_err();
    // It is the caller's to look what has become of the file, before it is sent again.
    assert!(broken.is_answer() && broken.has_begun());
    assert_eq!(capabilities.shortcut(Technique::FollowEnd), Shortcut::Fails);
    assert!(put(&remote, "f", b"content").unwrap().is_none());
    assert_eq!(server.uploaded(), b"content");
}

/// "200" may say that a file is stored as well as that its mode is set.
// SEMANTICS: S-dialects
#[test]
fn replies_whose_codes_do_not_tell_an_uploads_end_settle_nothing() {
    let uploads = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&uploads);
    let server = ScriptedServer::start(move |client, line| {
        if line.starts_with("STOR") {
            seen.fetch_add(1, Ordering::Relaxed);
            client.say("150 go on");
            client.receive();
            client.say("200 fine");
            return Handled::Yes;
        }
        sizes(client, line)
    });
    let remote = connect_single(&server);
    for _ in 0..3 {
        assert!(put(&remote, "f", b"content").unwrap().is_none());
        assert_eq!(server.uploaded(), b"content");
    }
    assert!(remote.pool.host.capabilities.following().is_none());
    let uploads = uploads.load(Ordering::Relaxed);
    assert_eq!(uploads, 3, "nothing is sent twice");
}

#[test]
fn a_refusal_that_was_not_the_uploads_is_found_out() {
    let server = ScriptedServer::start(|client, line| {
        if line.starts_with("STOR") && client.number == 1 {
            client.say("550 no mode");
            client.say("150 go on");
            client.receive();
            client.say("213 7");
            client.say("226 stored");
            client.pass_over(2);
            return Handled::Yes;
        }
        sizes(client, line)
    });
    let remote = connect_single(&server);
    let lost = put(&remote, "f", b"content").unwrap_err();
    assert!(lost.is_reply_lost());
    put(&remote, "f", b"content").unwrap();
    assert_eq!(server.uploaded(), b"content");
    assert_eq!(server.connections(), 2);
}

#[test]
fn a_refused_upload_leaves_the_session_in_step() {
    for refusal in ["550 no", "452 full"] {
        let server = ScriptedServer::start(move |client, line| {
            if line.starts_with("STOR") {
                client.say(refusal);
                return Handled::Yes;
            }
            Handled::No
        });
        let remote = connect_single(&server);
        for _ in 0..3 {
            assert!(put(&remote, "f", b"content").is_err());
            remote.make_dir(&path("d")).unwrap();
        }
        assert_eq!(server.connections(), 1);
    }
}

#[test]
fn a_size_that_is_wrong_is_not_believed_at_once() {
    let server = ScriptedServer::start(|_, _| Handled::No);
    let remote = connect_single(&server);
    assert!(put(&remote, "f", b"content").unwrap().is_none());
}

// SEMANTICS: S-tenet-round-trip
#[test]
fn a_server_that_answers_while_it_lists_is_asked_for_one_thing_at_a_time() {
    for (early, connections) in [
        (&["150 here it comes", "200 alive"][..], 1),
        // Taken for a refusal of the listing, so that the session is given up.
        (&["200 alive", "150 here it comes"], 2),
    ] {
        let server = ScriptedServer::start(move |client, line| {
            if line == "MLSD" && client.has_more_behind("MLSD") {
                for reply in early {
                    client.say(reply);
                }
                let sent = client.accept().write_all(b"type=file;size=5; a\r\n");
                sent.unwrap();
                client.say("226 done");
                client.pass_over(1);
                return Handled::Yes;
            }
            Handled::No
        });
        let remote = connect_single(&server);
        let first = remote.list(&path("d")).unwrap().entries;
        assert_eq!(first.len(), connections, "each listing has other entries");
        settle_down(&remote);
        server.take_batches();
        assert_eq!(remote.list(&path("d")).unwrap().entries.len(), 2);
        assert_eq!(server.take_batches()[0], "CWD /d | MLSD");
        assert_eq!(server.connections(), connections);
        let learnt = remote.pool.host.capabilities.shortcut(Technique::Follow);
        assert_eq!(learnt, Shortcut::Fails);
    }
}

// SEMANTICS: S-tenet-confirmed
#[test]
fn a_listing_that_broke_behind_an_early_answer_is_not_taken_for_whole() {
    let server = ScriptedServer::start(|client, line| {
        if line == "MLSD" && client.has_more_behind("MLSD") {
            client.say("150 here it comes\r\n200 alive");
            let sent = client.accept().write_all(b"type=file;size=5; a\r\n");
            sent.unwrap();
            client.say("426 it broke");
            client.pass_over(1);
            return Handled::Yes;
        }
        Handled::No
    });
    let remote = connect_single(&server);
    assert_eq!(remote.list(&path("d")).unwrap().entries.len(), 2);
}

// SEMANTICS: S-tenet-round-trip
#[test]
fn a_small_file_brings_the_next_data_connection_along() {
    let server = ScriptedServer::start(|_, _| Handled::No);
    let remote = connect_single(&server);
    let len = content().len();
    for expected in ["RETR /f", "RETR /f | EPSV"] {
        settle_down(&remote);
        server.take_batches();
        assert!(remote.read_small(&path("f"), len + 1).unwrap() == content());
        assert_eq!(server.take_batches()[0], expected);
        // A TYPE behind it shows that the server works on one command after the other.
        remote.list(&path("d")).unwrap();
    }
    assert!(remote.read_small(&path("f"), len - 1).is_err());
    assert!(remote.read_small(&path("f"), len).unwrap() == content());
}

/// The refused question changes nothing about the transfer; one by one, it is asked before the RETR too.
// SEMANTICS: S-ahead
#[test]
fn what_a_small_file_is_leaves_in_one_write_with_its_reading_and_ahead_of_it() {
    let together = &["SIZE /f | MDTM /f | RETR /f"][..];
    let apart = &["SIZE /f", "MDTM /f", "RETR /f"][..];
    for (has_pipelining, sent) in [(true, together), (false, apart)] {
        let server = ScriptedServer::start(|client, line| {
            if line.starts_with("SIZE") {
                client.say("550 not in the mood");
                return Handled::Yes;
            }
            Handled::No
        });
        let remote = connect_single(&server);
        let capabilities = &remote.pool.host.capabilities;
        if !has_pipelining {
            capabilities.give_up(Technique::Batch);
        }
        settle_down(&remote);
        server.take_batches();
        let (told, whole) = remote
            .read_small_exact(&path("f"), content().len())
            .unwrap();
        assert!(whole == content());
        assert_eq!(told.modified.unwrap().seconds, 1_767_323_045);
        assert_eq!(told.size.unwrap_err().kind(), RemoteErrorKind::Refused);
        let mut batches = server.take_batches();
        batches.retain(|batch| batch != "EPSV");
        assert_eq!(batches, sent);
        assert_eq!(server.connections(), 1);
    }
}

// SEMANTICS: S-tenet-round-trip
#[test]
fn our_end_of_a_listing_is_there_before_its_data() {
    for takes_it in [true, false] {
        let server = ScriptedServer::start(move |client, line| {
            if line != "MLSD" {
                return proftpd(client, line);
            }
            client.say("150 here it comes");
            let mut data = client.accept();
            let patience = Some(Duration::from_millis(500));
            data.set_read_timeout(patience).unwrap();
            let has_ended = data.read(&mut [0]).is_ok_and(|count| count == 0);
            if has_ended && !takes_it {
                client.say("426 you closed it");
                return Handled::Yes;
            }
            data.write_all(b"type=file;size=5; a\r\n").unwrap();
            drop(data);
            client.say(if has_ended { "226 at once" } else { "226 done" });
            Handled::Yes
        });
        let remote = connect_single(&server);
        for _ in 0..2 {
            let entries = remote.list(&path("d")).unwrap().entries;
            let sent = server.take_batches();
            assert_eq!(entries.len(), 1, "{takes_it}: {sent:?}");
        }
        let expected = if takes_it {
            Shortcut::Works
        } else {
            Shortcut::Fails
        };
        let learnt = remote.pool.host.capabilities.shortcut(Technique::EarlyEnd);
        assert_eq!(learnt, expected);
    }
}

/// A server may take it for the end of all, and the transfer wait for another data connection until it times out: pyftpdlib does.
#[test]
fn our_end_of_a_listing_never_comes_before_its_command() {
    let too_early = Arc::new(AtomicUsize::new(0));
    let data = Mutex::new(None);
    let early = Arc::clone(&too_early);
    let server = ScriptedServer::start(move |client, line| {
        if line == "EPSV" {
            let port = client.listen();
            client.say(&format!("229 here (|||{port}|)"));
            let stream = client.accept();
            let control = client.control();
            let mut waited = [&control, &stream].map(|socket| PollFd::new(socket, PollFlags::IN));
            rustix::event::poll(&mut waited, None).unwrap();
            let [says, ends] = waited.map(|fd| !fd.revents().is_empty());
            early.fetch_add(usize::from(ends && !says), Ordering::Relaxed);
            *data.lock().unwrap() = Some(stream);
            return Handled::Yes;
        }
        if line != "MLSD" {
            return proftpd(client, line);
        }
        client.say("150 here it comes");
        let mut stream = data.lock().unwrap().take().unwrap();
        stream.write_all(b"type=file;size=5; a\r\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        client.say("226 done");
        Handled::Yes
    });
    let remote = connect_single(&server);
    // The command waits for its data connection.
    remote
        .pool
        .host
        .capabilities
        .give_up(Technique::EarlyCommand);
    for _ in 0..8 {
        assert_eq!(remote.list(&path("d")).unwrap().entries.len(), 1);
    }
    assert_eq!(too_early.load(Ordering::Relaxed), 0);
}

// SEMANTICS: S-tenet-round-trip
#[test]
fn a_server_without_a_last_word_is_asked_at_once_the_next_time() {
    let server = ScriptedServer::start(|client, line| {
        if !line.starts_with("RETR") {
            return Handled::No;
        }
        client.say("150 here it comes");
        let mut data = client.accept();
        data.write_all(&content()[..16]).unwrap();
        // Until the client closes it; and then not a word.
        assert_eq!(data.read(&mut [0]).unwrap_or(0), 0);
        Handled::Yes
    });
    let remote = connect_single(&server);
    let leave_early = || {
        let mut download = remote.open_download(&path("f"), 0, Some(4)).unwrap();
        assert_eq!(read_all(&mut *download).unwrap(), content()[..4]);
        drop(download);
        let start = Instant::now();
        settle_down(&remote);
        start.elapsed()
    };
    let at_first = leave_early();
    assert!(at_first > Duration::from_millis(400), "{at_first:?}");
    let then = leave_early();
    assert!(then < Duration::from_millis(300), "{then:?}");
    assert_eq!(server.connections(), 1);
}

// SEMANTICS: S-tenet-round-trip
#[test]
fn a_long_upload_begins_with_its_command() {
    let server = ScriptedServer::start(|client, line| {
        if !line.starts_with("STOR") {
            return Handled::No;
        }
        // Nothing is said before the first bytes are there.
        let mut data = client.accept();
        let mut uploaded = vec![0; 1000];
        data.read_exact(&mut uploaded).unwrap();
        client.say("150 go on");
        data.read_to_end(&mut uploaded).unwrap();
        client.keep(uploaded);
        client.say("226 stored");
        Handled::Yes
    });
    let remote = connect_single(&server);
    let content = content();
    let (first, rest) = content.split_at(100_000);
    let mode = UploadMode::Whole;
    let mut upload = remote
        .open_upload_with(made(&path("f")), mode, first)
        .unwrap();
    upload.write_all(rest).unwrap();
    upload.finish().unwrap();
    assert!(server.uploaded() == content);
}

// SEMANTICS: S-tenet-round-trip
#[test]
fn a_long_upload_that_is_refused_says_why() {
    let server = ScriptedServer::start(|client, line| {
        if line.starts_with("STOR") {
            client.say("553 not here");
            return Handled::Yes;
        }
        Handled::No
    });
    let remote = connect_single(&server);
    let opened = remote.open_upload_with(made(&path("f")), UploadMode::Whole, &content());
    assert_eq!(opened.unwrap_err().kind(), RemoteErrorKind::NameRefused);
    settle_down(&remote);
    assert_eq!(remote.list(&path("d")).unwrap().entries.len(), 2);
    assert_eq!(server.connections(), 1);
}

// SEMANTICS: S-append
#[test]
fn what_is_appended_waits_for_the_go_ahead() {
    let early = Arc::new(AtomicUsize::new(0));
    let server = ScriptedServer::start({
        let early = Arc::clone(&early);
        move |client, line| {
            if !line.starts_with("APPE") {
                return Handled::No;
            }
            let mut data = client.accept();
            let patience = Some(Duration::from_millis(100));
            data.set_read_timeout(patience).unwrap();
            let count = data.read(&mut [0; 16]).unwrap_or(0);
            early.store(count, Ordering::Relaxed);
            data.set_read_timeout(None).unwrap();
            client.say("150 go on");
            data.read_to_end(&mut Vec::new()).unwrap();
            client.say("226 stored");
            Handled::Yes
        }
    });
    let remote = connect_single(&server);
    let opened = remote.open_upload_with(made(&path("f")), UploadMode::Append, b"more");
    opened.unwrap().finish().unwrap();
    assert_eq!(early.load(Ordering::Relaxed), 0);
}

// SEMANTICS: S-replace
#[test]
fn what_a_file_is_to_replace_is_asked_for_in_the_write_that_settles_it() {
    let server = ScriptedServer::start(|client, line| {
        if line.ends_with("/free") {
            client.say("550 nothing there");
            return Handled::Yes;
        }
        if line == "CWD /taken" {
            client.say("550 no directory");
            return Handled::Yes;
        }
        Handled::No
    });
    let remote = connect_single(&server);
    for (name, size) in [("free", None), ("taken", Some(400_000))] {
        settle_down(&remote);
        server.take_batches();
        let wanted = Attributes::default();
        let outcome = remote.settle_beside(made(&path("t")), &wanted, &path(name));
        let (settled, beside) = outcome.unwrap();
        assert_eq!(settled.report.size.unwrap(), Some(400_000));
        assert_eq!(beside.unwrap().version().map(|version| version.size), size);
        let expected = format!("SIZE /t | MDTM /t | SIZE /{name} | MDTM /{name} | CWD /{name}");
        assert!(server.take_batches()[0].starts_with(&expected));
    }
}
