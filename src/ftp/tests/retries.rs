//! How often one request is sent at the most when everything fails, over all the layers that try again (ARCHITECTURE.md), and what must be so
//! for a download to go on.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{
    scripted::{break_after, connect},
    server::{Handled, ScriptedServer, content},
    *,
};
use crate::remote::{Modified, Reported};

/// The most that a server sees one command for one request of the filesystem. Twice for a session that had died, and twice again for a
/// data connection that did not come or a technique that failed.
const SENT_MAX: usize = 4;

/// How a server fails a transfer.
#[derive(Debug, Clone, Copy)]
enum Failing {
    /// It closes the control connection.
    Closes,
    /// It says that there is no data connection.
    NoData,
    /// It breaks the data off, and says so.
    Breaks,
    /// It cannot, for now.
    Busy,
}

/// How often a server that fails `verb` in this way sees it while `work` is done.
fn sent(verb: &'static str, failing: Failing, work: impl Fn(&FtpRemote)) -> usize {
    let is_failing = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&is_failing);
    let server = ScriptedServer::start(move |client, line| {
        if !line.starts_with(verb) || seen.load(Ordering::Relaxed) == 0 {
            return Handled::No;
        }
        seen.fetch_add(1, Ordering::Relaxed);
        match failing {
            Failing::Closes => return Handled::Close,
            Failing::NoData => client.say("425 no data connection"),
            Failing::Busy => client.say("450 busy"),
            Failing::Breaks => {
                client.say("150 here it comes");
                drop(client.accept());
                client.say("426 broken off");
            }
        }
        Handled::Yes
    });
    let remote = connect(&server);
    is_failing.store(1, Ordering::Relaxed);
    work(&remote);
    is_failing.load(Ordering::Relaxed) - 1
}

// SEMANTICS: S-tenet-deadline
#[test]
fn no_request_is_sent_without_end() {
    let list = |remote: &FtpRemote| drop(remote.list(&path("d")).unwrap_err());
    let read = |remote: &FtpRemote| {
        let opened = remote.open_download(&path("f"), 0, None);
        assert!(opened.is_err() || read_all(&mut *opened.unwrap()).is_err());
    };
    let store = |remote: &FtpRemote| drop(put(remote, "f", b"content").unwrap_err());
    let append = |remote: &FtpRemote| {
        let opened = remote.open_upload(made(&path("f")), UploadMode::Append);
        assert!(opened.is_err() || opened.unwrap().finish().is_err());
    };
    let remove = |remote: &FtpRemote| drop(remote.remove_file(made(&path("f"))).unwrap_err());
    for failing in [
        Failing::Closes,
        Failing::NoData,
        Failing::Breaks,
        Failing::Busy,
    ] {
        let most_of_append = match failing {
            Failing::Breaks => 1,
            _ => SENT_MAX,
        };
        let counts = [
            ("MLSD", sent("MLSD", failing, list), SENT_MAX),
            ("RETR", sent("RETR", failing, read), SENT_MAX),
            ("STOR", sent("STOR", failing, store), 1),
            // No byte was sent with it, unless the server had agreed to it.
            ("APPE", sent("APPE", failing, append), most_of_append),
            ("DELE", sent("DELE", failing, remove), 2),
        ];
        for (verb, count, most) in counts {
            assert!((1..=most).contains(&count), "{verb} {failing:?}: {count}");
        }
    }
}

// SEMANTICS: S-read-broken
#[test]
fn a_download_goes_on_only_with_the_version_that_it_began_with() {
    let table = [
        ("213 400000", "213 20260102030405", "502 unknown", true),
        // Another clock in listings than in MDTM.
        (
            "213 400000",
            "213 20260102050405",
            "250-\r\n size=400000;modify=20260102030405; f\r\n250 end",
            true,
        ),
        ("502 unknown", "213 20260102050405", "502 unknown", true),
        ("213 400001", "213 20260102030405", "502 unknown", false),
        ("213 400000", "213 20260102030406", "502 unknown", false),
        (
            "213 400000",
            "213 20260102030406",
            "250-\r\n size=400000;modify=20260102030406; f\r\n250 end",
            false,
        ),
    ];
    for (size, time, facts, goes_on) in table {
        let broken = AtomicUsize::new(0);
        let server = ScriptedServer::start(move |client, line| {
            let verb = line.split(' ').next().unwrap_or_default();
            let has_broken = broken.load(Ordering::Relaxed) > 0;
            match verb {
                "RETR" if broken.fetch_add(1, Ordering::Relaxed) < 1 => {
                    return break_after(client, 100_000, None);
                }
                "SIZE" if has_broken => client.say(size),
                "MDTM" if has_broken => client.say(time),
                "MLST" if has_broken => client.say(facts),
                "MLST" => client.say("250-\r\n size=400000; f\r\n250 end"),
                _ => return Handled::No,
            }
            Handled::Yes
        });
        let remote = connect(&server);
        // Which shows that MLST is answered.
        remote.stat(&path("f")).unwrap();
        let mut download = remote.open_download(&path("f"), 1000, None).unwrap();
        download.expect(Reported {
            size: 400_000,
            modified: Some(Modified::from_seconds(1_767_323_045)),
        });
        match read_all(&mut *download) {
            Ok(all) => assert!(goes_on && all == content()[1000..], "{size} {time}"),
            Err(error) => {
                assert!(!goes_on, "{size} {time}: {error}");
                assert_eq!(error.kind(), RemoteErrorKind::Failed);
            }
        }
    }
}
