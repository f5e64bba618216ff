//! What does not wait for the server's word over TLS: a small upload's bytes, and the end of our half of a download.

use std::{thread, time::Instant};

use super::{
    server::{Accepts, Uploads},
    *,
};
use crate::ftp::shortcuts::{Shortcut, Technique};

fn put(remote: &FtpRemote, content: &[u8]) -> crate::remote::Result<()> {
    let put = remote.put(made(&path("f")), content, &Attributes::default());
    put.map(drop)
}

// SEMANTICS: S-tls-round-trips
#[test]
fn a_small_upload_follows_the_handshake_and_not_the_go_ahead() {
    let authority = Authority::new();
    let server = TlsServer::start(Script {
        uploads: Uploads::Reticent,
        ..Script::new(&authority.good())
    });
    let remote = connect(&server, trusting(&authority)).unwrap();
    for content in [&b"small"[..], b"", &content()[..60 << 10]] {
        put(&remote, content).unwrap();
        assert!(server.uploaded() == content);
        assert!(server.has_been_notified());
    }
    let (control, _) = server.handshakes();
    assert_eq!(control.len(), 1, "one session, kept");
}

#[test]
fn a_refused_upload_is_an_error_at_once_and_costs_no_session() {
    let authority = Authority::new();
    for (reply, kind) in [
        ("550 no", RemoteErrorKind::Refused),
        ("553 no", RemoteErrorKind::NameRefused),
    ] {
        let server = TlsServer::start(Script {
            uploads: Uploads::Refused(reply),
            ..Script::new(&authority.good())
        });
        let remote = connect(&server, trusting(&authority)).unwrap();
        for content in [&b"small"[..], &content()] {
            assert_eq!(put(&remote, content).unwrap_err().kind(), kind);
        }
        assert_eq!(remote.list(&RemotePath::root()).unwrap().entries.len(), 2);
        let (control, _) = server.handshakes();
        assert_eq!(control.len(), 1, "one session, kept");
    }
}

/// vsftpd, `ProFTPD` and Pure-FTPd say 226 only when they have seen our end.
#[test]
fn our_half_of_a_download_ends_with_the_handshake() {
    let authority = Authority::new();
    for is_v13 in [false, true] {
        let server = TlsServer::start(Script {
            is_v13,
            ending: Ending::Answer,
            greeting: "(vsFTPd 3.0.3)",
            ..Script::new(&authority.good())
        });
        let remote = connect(&server, trusting(&authority)).unwrap();
        assert_eq!(remote.list(&RemotePath::root()).unwrap().entries.len(), 2);
        let mut download = remote.open_download(&path("f"), 0, None).unwrap();
        assert!(read_all(&mut *download).unwrap() == content());
        let (control, _) = server.handshakes();
        assert_eq!(control.len(), 1, "one session, kept");
    }
}

// SEMANTICS: S-tls-round-trips
#[test]
fn the_handshake_is_over_before_the_command_where_the_server_does_its_half() {
    let authority = Authority::new();
    for (accepts, expected) in [
        (Accepts::AtOnce, Shortcut::Works),
        (Accepts::Late, Shortcut::Fails),
    ] {
        let server = TlsServer::start(Script {
            accepts,
            greeting: "pyftpdlib 2.2.0 ready.",
            ..Script::new(&authority.good())
        });
        let remote = connect(&server, trusting(&authority)).unwrap();
        let capabilities = &remote.pool.host.capabilities;
        assert_eq!(remote.list(&RemotePath::root()).unwrap().entries.len(), 2);
        let ahead = usize::from(accepts == Accepts::AtOnce);
        let since = Instant::now();
        let is_over = || {
            let learnt = capabilities.shortcut(Technique::EarlyHandshake);
            learnt != Shortcut::Untried && server.handshakes().1.len() == 1 + ahead
        };
        while !is_over() {
            assert!(since.elapsed() < Duration::from_secs(5), "{accepts:?}");
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(capabilities.shortcut(Technique::EarlyHandshake), expected);
        // What has begun ahead is used, whether it was over or not.
        put(&remote, b"small").unwrap();
        assert_eq!(server.uploaded(), b"small");
        let mut download = remote.open_download(&path("f"), 0, None).unwrap();
        assert!(read_all(&mut *download).unwrap() == content());
        let (control, data) = server.handshakes();
        assert_eq!(control.len(), 1, "one session, kept");
        assert!(data.iter().all(|kind| *kind == HandshakeKind::Resumed));
    }
}
