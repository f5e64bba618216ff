//! What only a server under control can show: replies in pieces, lost sessions, refusals, silence, and what leaves in
//! one write.

use std::{
    io::{Read, Write},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Instant,
};

use super::{
    server::{Client, Handled, ScriptedServer, content, eventually},
    *,
};
use crate::{
    ftp::shortcuts::Technique,
    remote::{Evidence, Phase, gate::AGE_MAX},
};

pub(super) fn usual(_: &mut Client, _: &str) -> Handled {
    Handled::No
}

pub(super) fn connect(server: &ScriptedServer) -> Arc<FtpRemote> {
    connect_with(&config(server.port()))
}

/// Connects and waits for what the background does ahead.
pub(super) fn connect_with(config: &FtpConfig) -> Arc<FtpRemote> {
    let remote = FtpRemote::connect(config).unwrap();
    eventually(|| remote.pool.is_idle());
    remote
}

/// Connects with one session only, so that a second connection means that the first was thrown away.
pub(super) fn connect_single(server: &ScriptedServer) -> Arc<FtpRemote> {
    let config = FtpConfig {
        connections_max: 1,
        ..config(server.port())
    };
    connect_with(&config)
}

/// Connects and waits until the session's next data connection is there.
fn connect_warm(server: &ScriptedServer) -> Arc<FtpRemote> {
    let remote = connect(server);
    remote.list(&RemotePath::root()).unwrap();
    settle_down(&remote);
    server.take_batches();
    remote
}

pub(super) fn settle_down(remote: &FtpRemote) {
    eventually(|| remote.pool.is_idle_and_warm());
}

// SEMANTICS: S-tenet-round-trip
#[test]
fn each_of_the_common_requests_is_one_write_when_warm() {
    let server = ScriptedServer::start(usual);
    let remote = connect_warm(&server);
    let sent = |work: &dyn Fn()| {
        settle_down(&remote);
        server.take_batches();
        work();
        let batches = server.take_batches();
        let count = batches.len();
        (batches.into_iter().next().unwrap_or_default(), count)
    };
    let (batch, count) = sent(&|| {
        let mut download = remote.open_download(&path("f"), 4, Some(8)).unwrap();
        assert_eq!(read_all(&mut *download).unwrap(), content()[4..12]);
    });
    assert_eq!(batch, "REST 4 | RETR /f");
    // The next EPSV belongs to the background.
    assert!(count <= 2);
    let (batch, _) = sent(&|| assert_eq!(remote.list(&path("d")).unwrap().entries.len(), 2));
    assert_eq!(batch, "CWD /d | MLSD | EPSV");
    settle_down(&remote);
    server.take_batches();
    put(&remote, "f", b"content").unwrap();
    // The session has read at an offset before, which some servers would take for this one's. No STOR leaves with that question.
    let batches = server.take_batches();
    let expected = ["REST 0", "STOR /f | SIZE /f | MDTM /f | EPSV"];
    assert_eq!(batches[..2], expected);
    assert_eq!(server.uploaded(), b"content");
    let (batch, count) = sent(&|| drop(remote.rename(&path("f"), made(&path("g"))).unwrap()));
    assert_eq!(
        (batch.as_str(), count),
        ("RNFR /f | RNTO /g | SIZE /f | MDTM /f | CWD /f", 1)
    );
    let (batch, count) = sent(&|| {
        remote.report(&path("f")).unwrap();
    });
    assert_eq!((batch.as_str(), count), ("SIZE /f | MDTM /f", 1));
}

#[test]
fn the_log_in_is_one_write_and_its_banner_may_hold_numbers() {
    let server = ScriptedServer::start(|client, line| {
        if line == "connected" {
            client.say("120 in a minute");
            client.say("220-Welcome\r\n100 users online\r\n220-more\r\n220 ready");
            return Handled::Yes;
        }
        Handled::No
    });
    connect(&server);
    let batches = server.take_batches();
    assert_eq!(
        batches[0],
        "USER user | PASS secret | TYPE I | FEAT | SYST | PWD | EPSV"
    );
    assert_eq!(batches[1], "CWD /");
}

#[test]
fn replies_may_come_in_pieces() {
    let server = ScriptedServer::start(|client, line| {
        if line.starts_with("MLST") {
            for byte in b"250-Listing\r\n type=file;size=7; /f\r\n250 End\r\n" {
                client.send(&[*byte]);
                thread::sleep(Duration::from_millis(2));
            }
            return Handled::Yes;
        }
        Handled::No
    });
    let entry = connect(&server).stat(&path("f")).unwrap().unwrap();
    assert_eq!((entry.size, &*entry.name), (Some(7), &b"f"[..]));
}

#[test]
fn a_session_closed_while_idle_is_replaced_unseen() {
    let server = ScriptedServer::start(|client, line| {
        // Closed behind our back, with a last word.
        if client.number == 1 && line == "CWD /" {
            client.say("250 ok");
            client.say("421 idle for too long");
            return Handled::Close;
        }
        Handled::No
    });
    let remote = connect(&server);
    thread::sleep(Duration::from_millis(50));
    remote.remove_file(made(&path("f"))).unwrap();
    assert_eq!(server.connections(), 2);
}

#[test]
fn a_change_that_meets_421_is_not_repeated_below_the_filesystem() {
    let server = ScriptedServer::start(|client, line| {
        if client.number == 1 && line.starts_with("DELE") {
            client.say("421 too late");
            return Handled::Close;
        }
        Handled::No
    });
    let remote = connect(&server);
    let error = remote.remove_file(made(&path("f"))).unwrap_err();
    assert!(error.is_unheard(), "{error}");
    assert_eq!(server.connections(), 1);
    remote.remove_file(made(&path("f"))).unwrap();
    assert_eq!(server.connections(), 2);
}

#[test]
fn a_permit_that_is_too_old_when_the_session_is_there_sends_nothing() {
    let server = ScriptedServer::start(usual);
    let remote = connect(&server);
    let old = Instant::now().checked_sub(AGE_MAX * 2).unwrap();
    let seen = Evidence::listed(&path("f"), None, old);
    let free = || seen.permit(Want::Absent).unwrap();
    server.take_batches();
    let outcomes = [
        remote.put(free(), b"new", &Attributes::default()).map(drop),
        remote.open_upload(free(), UploadMode::Whole).map(drop),
        remote.rename(&path("d"), free()).map(drop),
    ];
    for outcome in outcomes {
        assert_eq!(outcome.unwrap_err().kind(), RemoteErrorKind::Expired);
    }
    let sent = server.take_batches().concat();
    for verb in ["STOR", "RNFR", "RNTO"] {
        assert!(!sent.contains(verb), "{sent}");
    }
}

#[test]
fn a_change_is_not_repeated_when_the_connection_breaks_in_the_middle() {
    let server = ScriptedServer::start(|client, line| {
        if line.starts_with("RNTO") {
            return Handled::Close;
        }
        let _ = client;
        Handled::No
    });
    let error = connect(&server)
        .rename(&path("f"), made(&path("g")))
        .unwrap_err();
    assert_eq!(error.kind(), RemoteErrorKind::Disconnected);
    assert_eq!(server.connections(), 1);
}

#[test]
fn pasv_is_used_where_epsv_is_refused_and_its_address_is_not_believed() {
    let server = ScriptedServer::start(|client, line| match line {
        "EPSV" => {
            client.say("500 unknown");
            Handled::Yes
        }
        "PASV" => {
            let [high, low] = client.listen().to_be_bytes();
            client.say(&format!("227 Entering Passive Mode 192,0,2,1,{high},{low}"));
            Handled::Yes
        }
        _ => Handled::No,
    });
    let remote = connect(&server);
    for _ in 0..3 {
        assert_eq!(remote.list(&RemotePath::root()).unwrap().entries.len(), 2);
        settle_down(&remote);
    }
    let sent = server.take_batches().join(" | ");
    assert_eq!(sent.matches("EPSV").count(), 1, "{sent}");
}

#[test]
fn silence_ends_in_time_and_the_session_is_not_used_again() {
    let server = ScriptedServer::start(|client, line| {
        if client.number == 1 && line.starts_with("MKD") {
            Handled::Yes
        } else {
            Handled::No
        }
    });
    let timeout = Duration::from_millis(300);
    let remote = connect_with(&FtpConfig {
        timeout,
        ..config(server.port())
    });
    let start = Instant::now();
    let error = remote.make_dir(&path("d")).unwrap_err();
    assert_eq!(error.kind(), RemoteErrorKind::TimedOut(Phase::Reply));
    assert!(start.elapsed() < timeout * 2, "{:?}", start.elapsed());
    remote.make_dir(&path("e")).unwrap();
    assert_eq!(server.connections(), 2);
}

#[test]
fn data_that_stops_coming_ends_in_time() {
    let server = ScriptedServer::start(|client, line| {
        if line.starts_with("RETR") {
            client.say("150 here it comes");
            let mut data = client.accept();
            data.write_all(b"abc").unwrap();
            thread::sleep(Duration::from_secs(3));
        }
        Handled::No
    });
    let timeout = Duration::from_millis(300);
    let remote = connect_with(&FtpConfig {
        timeout,
        ..config(server.port())
    });
    let mut download = remote.open_download(&path("f"), 0, None).unwrap();
    let mut buffer = [0; 10];
    assert_eq!(download.read(&mut buffer).unwrap(), 3);
    let start = Instant::now();
    let error = download.read(&mut buffer).unwrap_err();
    assert_eq!(error.kind(), RemoteErrorKind::TimedOut(Phase::Data));
    assert!(start.elapsed() < timeout * 2);
    assert_eq!(download.read(&mut buffer).unwrap_err().kind(), error.kind());
}

/// Sends `most` bytes from the wanted offset, then breaks the transfer with this reply.
pub(super) fn break_after(client: &mut Client, most: usize, reply: Option<&str>) -> Handled {
    client.say("150 here it comes");
    let mut data = client.accept();
    let from = std::mem::take(&mut client.rest);
    data.write_all(&content()[from..][..most]).unwrap();
    drop(data);
    match reply {
        Some(reply) => {
            client.say(reply);
            Handled::Yes
        }
        None => Handled::Close,
    }
}

// SEMANTICS: S-read-broken
#[test]
fn a_download_goes_on_where_the_connection_broke() {
    for reply in [Some("426 broken"), None] {
        let broken = AtomicUsize::new(0);
        let server = ScriptedServer::start(move |client, line| {
            if line.starts_with("RETR") && broken.fetch_add(1, Ordering::Relaxed) < 2 {
                return break_after(client, 100_000, reply);
            }
            Handled::No
        });
        let remote = connect(&server);
        let mut download = remote.open_download(&path("f"), 1000, None).unwrap();
        assert!(read_all(&mut *download).unwrap() == content()[1000..]);
    }
}

#[test]
fn a_download_that_gets_no_further_fails() {
    let server = ScriptedServer::start(|client, line| {
        if line.starts_with("RETR") {
            break_after(client, 0, Some("426 broken"))
        } else {
            Handled::No
        }
    });
    let mut download = connect(&server).open_download(&path("f"), 0, None).unwrap();
    let error = download.read(&mut [0; 10]).unwrap_err();
    assert_eq!(error.kind(), RemoteErrorKind::Disconnected);
}

#[test]
fn the_end_of_the_data_is_not_the_end_of_the_file_until_the_server_says_so() {
    let server = ScriptedServer::start(|client, line| {
        if line.starts_with("RETR") {
            return break_after(client, 10, Some("451 disk failed"));
        }
        Handled::No
    });
    let mut download = connect(&server).open_download(&path("f"), 0, None).unwrap();
    let mut buffer = [0; 100];
    assert_eq!(download.read(&mut buffer).unwrap(), 10);
    assert_eq!(
        download.read(&mut buffer).unwrap_err().kind(),
        RemoteErrorKind::Failed
    );
}

#[test]
fn a_download_left_early_gives_its_session_back() {
    let server = ScriptedServer::start(|client, line| {
        if line.starts_with("RETR") {
            // More than any socket holds, so that the early end is seen.
            client.say("150 here it comes");
            let mut data = client.accept();
            let chunk = vec![0; 1 << 20];
            while data.write_all(&chunk).is_ok() {}
            thread::sleep(Duration::from_millis(100));
            client.say("426 you closed it");
            return Handled::Yes;
        }
        Handled::No
    });
    let config = FtpConfig {
        connections_max: 1,
        ..config(server.port())
    };
    let remote = connect_with(&config);
    let mut download = remote.open_download(&path("f"), 0, None).unwrap();
    assert!(download.read(&mut [0; 10]).unwrap() > 0);
    let start = Instant::now();
    drop(download);
    assert!(start.elapsed() < Duration::from_millis(50));
    remote.make_dir(&path("d")).unwrap();
    assert_eq!(server.connections(), 1);
}

// SEMANTICS: S-tenet-confirmed
#[test]
fn what_the_server_says_at_the_end_of_an_upload_counts() {
    for (reply, kind) in [
        ("552 quota", RemoteErrorKind::QuotaExceeded),
        ("452 full", RemoteErrorKind::NoSpace),
        ("451 failed", RemoteErrorKind::Failed),
    ] {
        let server = ScriptedServer::start(move |client, line| {
            if line.starts_with("STOR") {
                client.say("150 go on");
                client.receive();
                client.say(reply);
                return Handled::Yes;
            }
            Handled::No
        });
        let remote = connect_single(&server);
        let mut upload = remote
            .open_upload(made(&path("f")), UploadMode::Whole)
            .unwrap();
        upload.write_all(b"content").unwrap();
        assert_eq!(upload.finish().unwrap_err().kind(), kind);
        assert_eq!(put(&remote, "f", b"content").unwrap_err().kind(), kind);
        assert_eq!(server.connections(), 1);
    }
}

#[test]
fn a_full_disk_in_the_middle_of_an_upload_is_told_as_such() {
    let server = ScriptedServer::start(|client, line| {
        if line.starts_with("STOR") {
            client.say("150 go on");
            let mut data = client.accept();
            data.read_exact(&mut [0; 1000]).unwrap();
            drop(data);
            client.say("452 full");
            return Handled::Yes;
        }
        Handled::No
    });
    let remote = connect(&server);
    let mut upload = remote
        .open_upload(made(&path("f")), UploadMode::Whole)
        .unwrap();
    let chunk = vec![0; 1 << 20];
    let error = (0..100)
        .find_map(|_| upload.write_all(&chunk).err())
        .unwrap();
    assert_eq!(error.kind(), RemoteErrorKind::NoSpace);
}

#[test]
fn a_small_upload_does_not_wait_for_the_go_ahead() {
    let server = ScriptedServer::start(|client, line| {
        if line.starts_with("STOR") {
            // Nothing is said before all the bytes are there.
            client.receive();
            client.say("150 go on");
            client.say("226 stored");
            return Handled::Yes;
        }
        Handled::No
    });
    let remote = connect(&server);
    put(&remote, "f", &vec![7; 40_000]).unwrap();
    assert_eq!(server.uploaded(), vec![7; 40_000]);
}

#[test]
fn a_stale_data_connection_is_replaced() {
    let refused = AtomicUsize::new(0);
    let server = ScriptedServer::start(move |client, line| {
        if line.starts_with("STOR") && refused.fetch_add(1, Ordering::Relaxed) == 0 {
            client.say("425 no data connection");
            return Handled::Yes;
        }
        Handled::No
    });
    let remote = connect_warm(&server);
    let open = || remote.open_upload(made(&path("f")), UploadMode::Whole);
    // Not by itself: who asked looks first.
    assert_eq!(open().unwrap_err().kind(), RemoteErrorKind::Disconnected);
    let mut upload = open().unwrap();
    upload.write_all(b"content").unwrap();
    upload.finish().unwrap();
    assert_eq!(server.uploaded(), b"content");
    assert_eq!(server.connections(), 1);
}

// SEMANTICS: S-list
#[test]
fn a_missing_directory_is_refused_warm_and_cold() {
    let server = ScriptedServer::start(usual);
    let remote = connect_single(&server);
    for _ in 0..3 {
        let error = remote.list(&path("missing")).unwrap_err();
        assert_eq!(
            (error.kind(), error.command()),
            (RemoteErrorKind::Refused, "CWD")
        );
        assert_eq!(remote.list(&path("d")).unwrap().entries.len(), 2);
        settle_down(&remote);
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_refused_offset_does_not_read_from_the_beginning() {
    let server = ScriptedServer::start(|client, line| {
        if line.starts_with("REST") {
            client.say("501 no");
            return Handled::Yes;
        }
        Handled::No
    });
    let remote = connect(&server);
    let error = remote.open_download(&path("f"), 5, Some(5)).unwrap_err();
    assert_eq!(
        (error.kind(), error.command()),
        (RemoteErrorKind::Refused, "REST")
    );
}

// SEMANTICS: S-growth
#[test]
fn an_offset_behind_the_end_is_the_end() {
    for refused in ["REST", "RETR"] {
        let server = ScriptedServer::start(move |client, line| {
            if line.starts_with(refused) {
                client.say("554 Invalid REST parameter");
                return Handled::Yes;
            }
            Handled::No
        });
        let remote = connect(&server);
        // As SIZE has it.
        for offset in [400_000, 400_001] {
            let mut download = remote.open_download(&path("f"), offset, None).unwrap();
            assert_eq!(read_all(&mut *download).unwrap(), b"");
        }
        let error = remote.open_download(&path("f"), 399_999, None).unwrap_err();
        assert_eq!(error.kind(), RemoteErrorKind::Refused, "{refused}");
    }
}

#[test]
fn a_listing_without_end_is_given_up() {
    let server = ScriptedServer::start(|client, line| {
        if line == "MLSD" {
            client.say("150 here it comes");
            let mut data = client.accept();
            let chunk = b"type=file;size=5; a\r\n".repeat(10_000);
            while data.write_all(&chunk).is_ok() {}
            return Handled::Close;
        }
        Handled::No
    });
    let remote = connect_with(&FtpConfig {
        listing_bytes_max: 100_000,
        ..config(server.port())
    });
    let error = remote.list(&path("d")).unwrap_err();
    assert_eq!(error.kind(), RemoteErrorKind::NoMemory);
    assert_eq!(remote.budget.used(), 0);
}

#[test]
fn a_failed_data_connection_is_a_pause_and_a_refusal_the_end_of_opening_ahead() {
    // Asked for with the login first; the next is asked for ahead.
    for (answer, goes_on) in [
        ("229 ok (|||1|)", true),
        ("425 no", true),
        ("550 no", false),
    ] {
        let server = ScriptedServer::start(move |client, line| {
            if matches!(line, "EPSV" | "PASV") {
                client.say(answer);
                return Handled::Yes;
            }
            Handled::No
        });
        let remote = connect(&server);
        // One that was refused shows when it is wanted.
        assert!(remote.list(&RemotePath::root()).is_err());
        assert!(!remote.pool.is_warming(), "{answer}");
        let is_prepared = remote.pool.host.capabilities.may(Technique::Prepare);
        assert_eq!(is_prepared, goes_on, "{answer}");
    }
}

/// A server with a thousand links in each directory, mounted at its `/srv`.
fn server_of_links(lists_by_mlsd: bool) -> (ScriptedServer, Arc<FtpRemote>) {
    let server = ScriptedServer::start(move |client, line| match line.split(' ').next() {
        Some("MLSD" | "FEAT") if !lists_by_mlsd => {
            client.say("502 unknown");
            Handled::Yes
        }
        // -a is a file's name to it.
        Some("LIST") if line != "LIST" => {
            client.say("150 here it comes");
            drop(client.accept());
            client.say("226 done");
            Handled::Yes
        }
        Some("LIST") => {
            client.say("150 here it comes");
            let links = (0..1001).map(|number| match number {
                0 => "inside -> /srv/a/b".to_owned(),
                1 => "root -> /srv".to_owned(),
                2 => "outside -> /etc/passwd".to_owned(),
                3 => "sibling -> /srvx/a".to_owned(),
                _ => format!("{number} -> target-{number}"),
            });
            let lines = links.map(|link| format!("lrwxrwxrwx 1 0 0 5 Feb 27 2020 {link}\r\n"));
            let lines: String = lines.collect();
            client.accept().write_all(lines.as_bytes()).unwrap();
            client.say("226 done");
            Handled::Yes
        }
        _ => Handled::No,
    });
    let remote = connect_with(&FtpConfig {
        base: BaseDir::Absolute(b"/srv".to_vec()),
        ..config(server.port())
    });
    (server, remote)
}

// SEMANTICS: S-readlink
#[test]
fn the_links_of_a_directory_cost_one_list() {
    let (server, remote) = server_of_links(true);
    server.take_batches();
    let link = |name: &str| remote.read_link(&path(&format!("d/{name}")));
    for number in 4..1001 {
        let target = link(&number.to_string()).unwrap();
        assert_eq!(*target, *format!("target-{number}").as_bytes());
    }
    assert_eq!(*link("inside").unwrap(), *b"/a/b");
    assert_eq!(*link("root").unwrap(), *b"/");
    for outside in ["outside", "sibling"] {
        assert_eq!(link(outside).unwrap_err().kind(), RemoteErrorKind::Refused);
    }
    let count = || server.take_batches().join(" ").matches("LIST").count();
    let lists = count();
    assert!(link("missing").is_err());
    assert!(link("4").is_ok());
    server.take_batches();
    // On a machine that is busy the second may be over before the last one.
    assert!(lists <= 3, "{lists}");
    remote.remove_file(made(&path("d/x"))).unwrap();
    link("4").unwrap();
    assert_eq!(count(), 1, "our own changes are seen at once");
}

// SEMANTICS: S-readlink
#[test]
fn a_listing_tells_targets_as_the_mount_sees_them_or_not_at_all() {
    let (_server, remote) = server_of_links(false);
    let listing = remote.list(&path("d")).unwrap();
    let target = |name: &str| {
        let mut entries = listing.entries.iter();
        let entry = entries.find(|entry| *entry.name == *name.as_bytes());
        entry.unwrap().target
    };
    assert_eq!(target("inside"), Some(&b"/a/b"[..]));
    assert_eq!(target("root"), Some(&b"/"[..]));
    assert_eq!(target("4"), Some(&b"target-4"[..]));
    assert_eq!((target("outside"), target("sibling")), (None, None));
}

#[test]
fn a_server_that_drops_commands_sent_together_gets_them_one_by_one() {
    let server = ScriptedServer::start(|client, line| {
        if line == "connected" {
            client.say("220 ready");
            // Only the first command of each write is heard.
            let mut buffer = [0; 4096];
            loop {
                let count = client.read(&mut buffer);
                let Some(line) = buffer[..count].split(|byte| *byte == b'\r').next() else {
                    break;
                };
                if count == 0 {
                    break;
                }
                client.answer(&String::from_utf8_lossy(line));
            }
            return Handled::Close;
        }
        Handled::No
    });
    let timeout = Duration::from_millis(300);
    let remote = connect_with(&FtpConfig {
        timeout,
        ..config(server.port())
    });
    remote.rename(&path("f"), made(&path("g"))).unwrap();
    assert_eq!(remote.list(&path("d")).unwrap().entries.len(), 2);
    let mut download = remote.open_download(&path("f"), 4, None).unwrap();
    assert!(read_all(&mut *download).unwrap() == content()[4..]);
}

// SEMANTICS: S-list
#[test]
fn mlsd_that_wants_an_argument_gets_one() {
    let server = ScriptedServer::start(|client, line| {
        if line == "MLSD" {
            client.say("501 an argument, please");
            return Handled::Yes;
        }
        Handled::No
    });
    let remote = connect(&server);
    assert_eq!(remote.list(&path("d")).unwrap().entries.len(), 2);
}

// SEMANTICS: S-ready
#[test]
fn what_keeps_a_mount_from_being_made_is_told_in_one_line() {
    let message = |handler: fn(&mut Client, &str) -> Handled, base: BaseDir| {
        let server = ScriptedServer::start(handler);
        let config = FtpConfig {
            base,
            ..config(server.port())
        };
        let error = FtpRemote::connect(&config).unwrap_err();
        (error.to_string(), error)
    };
    let absolute = |dir: &[u8]| BaseDir::Absolute(dir.to_vec());
    let (text, error) = message(
        |client, line| {
            if line.starts_with("PASS") {
                client.say("530 Login incorrect.");
                return Handled::Yes;
            }
            Handled::No
        },
        absolute(b"/"),
    );
    assert!(matches!(error, ConnectError::LoginRefused { .. }), "{text}");
    assert!(
        text.contains("530 Login incorrect.") && !text.contains("secret"),
        "{text}"
    );
    let (text, error) = message(usual, absolute(b"/missing"));
    assert!(matches!(error, ConnectError::BaseMissing { .. }), "{text}");
    assert!(text.contains("/missing"), "{text}");
    let (_, error) = message(
        |client, line| {
            if line == "connected" {
                client.say("SSH-2.0-OpenSSH_9.2");
                return Handled::Yes;
            }
            Handled::No
        },
        absolute(b"/"),
    );
    assert!(matches!(error, ConnectError::NotFtp { .. }), "{error}");
    let (_, error) = message(
        |client, line| {
            if line == "connected" {
                client.say("421 too many");
                return Handled::Close;
            }
            Handled::No
        },
        absolute(b"/"),
    );
    assert!(matches!(error, ConnectError::Busy { .. }), "{error}");
    let (_, error) = message(
        |client, line| {
            if line == "SYST" {
                client.say("215 VMS V8.4");
                return Handled::Yes;
            }
            Handled::No
        },
        absolute(b"/"),
    );
    assert!(
        matches!(error, ConnectError::SystemUnsupported { .. }),
        "{error}"
    );
}

#[test]
fn hosts_that_cannot_be_reached_are_told_apart() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let refused = FtpRemote::connect(&config(port)).unwrap_err();
    assert!(matches!(refused, ConnectError::Refused { .. }), "{refused}");
    let host = "no-such-host.invalid".to_owned();
    let unknown = FtpRemote::connect(&FtpConfig {
        host,
        ..config(port)
    })
    .unwrap_err();
    assert!(
        matches!(unknown, ConnectError::HostUnknown { .. }),
        "{unknown}"
    );
    // The backlog accepts, nobody greets.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let timeout = Duration::from_millis(200);
    let port = silent.local_addr().unwrap().port();
    let start = Instant::now();
    let late = FtpRemote::connect(&FtpConfig {
        timeout,
        ..config(port)
    })
    .unwrap_err();
    assert!(
        matches!(
            late,
            ConnectError::TimedOut {
                phase: Phase::Login,
                ..
            }
        ),
        "{late}"
    );
    assert!(start.elapsed() < timeout * 2);
}

#[test]
fn the_end_does_not_wait_for_a_silent_server() {
    let server = ScriptedServer::start(|client, line| {
        if line.starts_with("RETR") {
            client.say("150 here it comes");
            let data = client.accept();
            thread::sleep(Duration::from_secs(10));
            drop(data);
        }
        Handled::Yes.when(line.starts_with("RETR"))
    });
    let remote = connect(&server);
    let download = remote.open_download(&path("f"), 0, None).unwrap();
    drop(download);
    let start = Instant::now();
    remote.shutdown();
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    assert!(remote.list(&RemotePath::root()).is_err());
}

#[test]
fn a_last_reply_that_comes_before_the_data_is_not_mistaken() {
    let server = ScriptedServer::start(|client, line| {
        if line.starts_with("RETR") {
            client.say("150 here it comes");
            client.say("226 done");
            thread::sleep(Duration::from_millis(50));
            client.accept().write_all(&content()).unwrap();
            return Handled::Yes;
        }
        Handled::No
    });
    let remote = connect_single(&server);
    for _ in 0..2 {
        let mut download = remote.open_download(&path("f"), 0, None).unwrap();
        assert!(read_all(&mut *download).unwrap() == content());
    }
    remote.make_dir(&path("d")).unwrap();
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_total_with_the_code_of_the_beginning_ends_a_download_left_early() {
    let server = ScriptedServer::start(|client, line| {
        if line.starts_with("RETR") {
            client.say("150 Accepted data connection");
            let sent = client.accept().write_all(&vec![0; 64 << 20]);
            assert!(sent.is_err());
            client.say("150 0.001 seconds (measured here), 384.66 Mbytes per second");
            return Handled::Yes;
        }
        Handled::No
    });
    let remote = connect_single(&server);
    let mut download = remote.open_download(&path("f"), 0, Some(10)).unwrap();
    assert_eq!(read_all(&mut *download).unwrap().len(), 10);
    remote.make_dir(&path("d")).unwrap();
    assert_eq!(server.connections(), 1);
}

// SEMANTICS: S-reconnect
#[test]
fn a_reply_that_nobody_asked_for_is_not_taken_for_the_next_one() {
    let server = ScriptedServer::start(|client, line| {
        if line == "SIZE /twice" && client.number == 1 {
            client.say("213 5\r\n213 5");
            return Handled::Yes;
        }
        if line == "SIZE /late" && client.number == 2 {
            client.say("213 6");
            return Handled::Yes;
        }
        Handled::No
    });
    let remote = connect_single(&server);
    // Both replies come before it is known which one answers MDTM: another session says.
    assert!(remote.report(&path("twice")).is_ok());
    assert_eq!(server.connections(), 2);
    remote.remove_file(made(&path("f"))).unwrap();
    assert_eq!(server.connections(), 2);
}

// SEMANTICS: S-rename-over
#[test]
fn a_reply_to_another_command_leaves_the_outcome_of_a_rename_open() {
    let server = ScriptedServer::start(|client, line| {
        if line.starts_with("RNFR") {
            client.say("226 Transfer complete.\r\n350 go on");
            return Handled::Yes;
        }
        if line.starts_with("RNTO") {
            return Handled::Yes;
        }
        Handled::No
    });
    let remote = connect(&server);
    let error = remote.rename(&path("f"), made(&path("g"))).unwrap_err();
    assert!(error.is_reply_lost() && !error.is_answer(), "{error}");
    assert_eq!(error.kind(), RemoteErrorKind::Protocol);
    assert!(remote.stat(&path("f")).is_ok());
    assert_eq!(server.connections(), 2);
}

// SEMANTICS: S-reconnect
#[test]
fn a_change_that_timed_out_is_over_when_the_server_ends_its_connection() {
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let gone = std::sync::Mutex::new(gone);
    let server = ScriptedServer::start(move |client, line| {
        if !line.starts_with("DELE") {
            return Handled::No;
        }
        let _ = gone.lock().unwrap().recv_timeout(Duration::from_secs(10));
        client.say("250 done, late");
        Handled::Close
    });
    let remote = connect_with(&FtpConfig {
        timeout: Duration::from_secs(1),
        ..config(server.port())
    });
    let error = remote.remove_file(made(&path("f"))).unwrap_err();
    assert_eq!(error.kind(), RemoteErrorKind::TimedOut(Phase::Reply));
    let late = error.late().unwrap();
    assert!(!late.is_over());
    go.send(()).unwrap();
    eventually(|| late.is_over());
}
