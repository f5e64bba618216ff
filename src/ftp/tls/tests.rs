//! Tests of TLS against a server made of rustls' other half: whom to trust, what is sent before that is clear, resumption,
//! and how connections end. Real servers are for the mount tests.

mod early;
mod server;

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::HandshakeKind;
use tempfile::TempDir;

use self::server::{Ending, Script, TlsServer, Trouble};
use super::super::{ConnectError, FtpRemote, tests::server::content};
use super::*;
use crate::{
    config::{
        BaseDir, FtpConfig, LISTING_BYTES_MAX, NetworkConfig, Password, Pin, TlsIdentity, TlsMode,
    },
    remote::{Attributes, Download, Permit, Remote, RemoteErrorKind, RemotePath, Want},
};

/// The address that the tests' servers listen on.
const HOST: &str = "127.0.0.1";

/// An authority and certificates by it, on disk as a user has them.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    dir: TempDir,
}

/// A certificate and its key, in PEM and DER.
struct Identity {
    pem: String,
    key_pem: String,
    der: Vec<u8>,
    public_key: Vec<u8>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.pem"), certificate.pem()).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            dir,
        }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    fn issue(&self, name: &str, change: impl Fn(&mut CertificateParams)) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            der: certificate.der().to_vec(),
            public_key: rcgen::PublicKeyData::subject_public_key_info(&key),
        }
    }

    fn good(&self) -> Identity {
        self.issue(HOST, |_| ())
    }
}

/// What a NAS makes for itself: signed by its own key, CA:TRUE, and for a name of its own.
fn self_signed(is_expired: bool) -> Identity {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["nas".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    if is_expired {
        (params.not_before, params.not_after) =
            (date_time_ymd(2015, 1, 1), date_time_ymd(2016, 1, 1));
    }
    let certificate = params.self_signed(&key).unwrap();
    Identity {
        pem: certificate.pem(),
        key_pem: key.serialize_pem(),
        der: certificate.der().to_vec(),
        public_key: rcgen::PublicKeyData::subject_public_key_info(&key),
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().try_into().unwrap()
}

fn required(tls: TlsConfig) -> TlsConfig {
    TlsConfig {
        mode: TlsMode::Require,
        ..tls
    }
}

fn trusting(authority: &Authority) -> TlsConfig {
    required(TlsConfig {
        ca_file: Some(authority.file()),
        ..TlsConfig::default()
    })
}

fn pinning(pin: [u8; 32]) -> TlsConfig {
    required(TlsConfig {
        pins: vec![Pin([7; 32]), Pin(pin)],
        ..TlsConfig::default()
    })
}

fn config(server: &TlsServer, tls: TlsConfig) -> FtpConfig {
    FtpConfig {
        min_rate: 100,
        listing_bytes_max: LISTING_BYTES_MAX,
        host: HOST.to_owned(),
        port: server.port(),
        user: "user".to_owned(),
        password: Password::new("secret".to_owned()),
        base: BaseDir::Absolute(b"/".to_vec()),
        charset: None,
        network: NetworkConfig::default(),
        timeout: Duration::from_secs(5),
        connections_max: 1,
        profile_dir: None,
        tls,
    }
}

fn connect(server: &TlsServer, tls: TlsConfig) -> Result<Arc<FtpRemote>, ConnectError> {
    FtpRemote::connect(&config(server, tls))
}

/// Connects to a server that must not be logged in to; the message.
#[track_caller]
fn refusal(server: &TlsServer, tls: TlsConfig) -> String {
    let message = connect(server, tls).unwrap_err().to_string();
    assert_eq!(server.commands(), ["AUTH TLS"], "{message}");
    assert!(!message.contains('\n'), "{message}");
    message
}

fn path(name: &str) -> RemotePath {
    RemotePath::root().join(name.as_bytes()).unwrap()
}

/// The permit for a name of ours.
fn made(path: &RemotePath) -> Permit {
    Permit::granted(path, Want::Made)
}

fn read_all(download: &mut dyn Download) -> crate::remote::Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match download.read(&mut buffer)? {
            0 => return Ok(content),
            count => content.extend_from_slice(&buffer[..count]),
        }
    }
}

// SEMANTICS: S-tls-trust
#[test]
fn each_bad_certificate_has_its_own_message_before_the_password_is_sent() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let expired = authority.issue(HOST, |params| {
        (params.not_before, params.not_after) =
            (date_time_ymd(2019, 1, 1), date_time_ymd(2020, 2, 3));
    });
    let early = authority.issue(HOST, |params| {
        (params.not_before, params.not_after) =
            (date_time_ymd(2090, 4, 5), date_time_ymd(2095, 1, 1));
    });
    let good = authority.good();
    let fingerprint = fingerprint::Fingerprint(sha256(&good.der)).to_string();
    for (identity, tls, words) in [
        (
            good,
            trusting(&stranger),
            &[
                "signed by nobody that is trusted",
                "--ca-file",
                "--pin",
                &fingerprint,
            ][..],
        ),
        (
            authority.issue("other.example", |_| ()),
            trusting(&authority),
            &["is for", "other.example", "that name in the URL"],
        ),
        (
            expired,
            trusting(&authority),
            &["has expired on 2020-02-03", "renewed"],
        ),
        (
            early,
            trusting(&authority),
            &["is not valid yet before 2090-04-05", "clock"],
        ),
        (
            authority.good(),
            pinning([8; 32]),
            &["another certificate than --pin says"],
        ),
        (self_signed(false), trusting(&authority), &["--pin"]),
    ] {
        let server = TlsServer::start(Script::new(&identity));
        let message = refusal(&server, tls);
        for word in words {
            assert!(message.contains(word), "{word:?}: {message}");
        }
    }
}

// SEMANTICS: S-tls-pin
#[test]
fn a_pinned_certificate_needs_nobody_else_to_trust_it() {
    let identity = self_signed(true);
    let server = TlsServer::start(Script::new(&identity));
    for pin in [sha256(&identity.der), sha256(&identity.public_key)] {
        connect(&server, pinning(pin)).unwrap();
    }
    // That its authority is trusted does not make it a server's.
    let identity = self_signed(false);
    let server = TlsServer::start(Script::new(&identity));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("nas.pem");
    fs::write(&file, &identity.pem).unwrap();
    let tls = TlsConfig {
        ca_file: Some(file),
        ..pinning([0; 32])
    };
    let tls = TlsConfig {
        pins: Vec::new(),
        ..tls
    };
    let message = connect(&server, tls).unwrap_err().to_string();
    assert!(message.contains("only a pin can trust"), "{message}");
}

#[test]
fn an_insecure_mount_trusts_anybody() {
    let server = TlsServer::start(Script::new(&self_signed(true)));
    let tls = required(TlsConfig {
        is_insecure: true,
        ..TlsConfig::default()
    });
    connect(&server, tls).unwrap();
}

// SEMANTICS: S-tls
#[test]
fn everything_behind_auth_tls_is_protected() {
    let authority = Authority::new();
    let server = TlsServer::start(Script::new(&authority.good()));
    connect(&server, trusting(&authority)).unwrap();
    let commands = server.commands();
    assert_eq!(
        commands[..5],
        ["AUTH TLS", "PBSZ 0", "PROT P", "USER user", "PASS secret"]
    );
    assert_eq!(server.in_clear(), ["AUTH TLS"]);
}

#[test]
fn implicit_tls_begins_at_once_and_protects_data_too() {
    let authority = Authority::new();
    let server = TlsServer::start(Script {
        is_implicit: true,
        ..Script::new(&authority.good())
    });
    let tls = TlsConfig {
        mode: TlsMode::Implicit,
        ..trusting(&authority)
    };
    connect(&server, tls).unwrap();
    assert_eq!(server.commands()[..2], ["PBSZ 0", "PROT P"]);
    assert_eq!(server.in_clear(), [""; 0]);
}

// SEMANTICS: S-tls-refused
#[test]
fn a_server_without_tls_is_refused_where_tls_is_demanded_and_never_again_gone_without() {
    let authority = Authority::new();
    let without = Script {
        auth: "500 what?",
        ..Script::new(&authority.good())
    };
    let server = TlsServer::start(without.clone());
    let message = refusal(&server, trusting(&authority));
    assert!(
        message.contains("500 what?") && message.contains("--tls off"),
        "{message}"
    );

    let known_hosts = Some(authority.dir.path().join("state/tls-hosts"));
    let preferring = TlsConfig {
        mode: TlsMode::Prefer,
        known_hosts: known_hosts.clone(),
        ..trusting(&authority)
    };
    // Not known: in the clear.
    let server = TlsServer::start(without);
    connect(&server, preferring.clone()).unwrap();
    assert_eq!(
        server.in_clear()[..3],
        ["AUTH TLS", "USER user", "PASS secret"]
    );
    // Known, by another mount: somebody takes the offer away.
    let server = TlsServer::start(Script::new(&authority.good()));
    connect(&server, preferring.clone()).unwrap();
    server.set_auth("502 no such command");
    server.forget();
    let message = refusal(&server, preferring);
    assert!(
        message.contains("has spoken TLS before") && message.contains("tls-hosts"),
        "{message}"
    );
}

#[test]
fn a_session_lost_later_is_not_replaced_by_one_in_the_clear() {
    let authority = Authority::new();
    let server = TlsServer::start(Script::new(&authority.good()));
    let tls = TlsConfig {
        mode: TlsMode::Prefer,
        ..trusting(&authority)
    };
    let remote = connect(&server, tls).unwrap();
    server.set_auth("502 no such command");
    server.close_sessions();
    server.forget();
    assert!(remote.remove_file(made(&path("f"))).is_err());
    assert!(!server.commands().is_empty());
    assert!(server.commands().iter().all(|line| line == "AUTH TLS"));
}

#[test]
fn what_is_said_in_the_clear_behind_the_consent_is_refused() {
    let authority = Authority::new();
    let server = TlsServer::start(Script {
        auth: "234 go on\r\n230 logged in",
        ..Script::new(&authority.good())
    });
    let message = refusal(&server, trusting(&authority));
    assert!(message.contains("in the clear"), "{message}");
}

#[test]
fn data_connections_that_are_not_to_be_protected_are_refused() {
    let authority = Authority::new();
    let server = TlsServer::start(Script {
        prot: "536 not here",
        ..Script::new(&authority.good())
    });
    let message = connect(&server, trusting(&authority))
        .unwrap_err()
        .to_string();
    assert!(message.contains("PROT P: 536"), "{message}");
}

#[test]
fn a_client_shows_its_certificate() {
    let authority = Authority::new();
    let client = authority.issue("anna", |_| ());
    let (certificate, key) = (
        authority.dir.path().join("client.pem"),
        authority.dir.path().join("client.key"),
    );
    fs::write(&certificate, &client.pem).unwrap();
    fs::write(&key, &client.key_pem).unwrap();
    let server = TlsServer::start(Script {
        client_authority: Some(authority.file()),
        ..Script::new(&authority.good())
    });
    assert!(connect(&server, trusting(&authority)).is_err());
    let tls = TlsConfig {
        identity: Some(TlsIdentity {
            certificate: certificate.clone(),
            key,
        }),
        ..trusting(&authority)
    };
    connect(&server, tls).unwrap();
    let tls = TlsConfig {
        identity: Some(TlsIdentity {
            key: certificate.clone(),
            certificate,
        }),
        ..trusting(&authority)
    };
    let message = connect(&server, tls).unwrap_err().to_string();
    assert!(message.contains("--client-key"), "{message}");
}

// SEMANTICS: S-tls-resumption
#[test]
fn data_connections_resume_the_session_of_their_own_control_connection() {
    let authority = Authority::new();
    for is_v13 in [false, true] {
        let server = TlsServer::start(Script {
            is_v13,
            ..Script::new(&authority.good())
        });
        let remote = connect(&server, trusting(&authority)).unwrap();
        for _ in 0..20 {
            remote
                .put(made(&path("f")), b"content", &Attributes::default())
                .unwrap();
            assert_eq!(server.uploaded(), b"content");
            assert_eq!(remote.list(&RemotePath::root()).unwrap().entries.len(), 2);
            let mut download = remote.open_download(&path("f"), 0, None).unwrap();
            assert!(read_all(&mut *download).unwrap() == content());
        }
        let (control, data) = server.handshakes();
        assert_eq!(
            control,
            [HandshakeKind::Full],
            "one session, kept: {is_v13}"
        );
        assert!(data.len() >= 60, "{}", data.len());
        assert!(
            data.iter().all(|kind| *kind == HandshakeKind::Resumed),
            "{data:?}"
        );
        // Another session begins anew.
        let _other = connect(&server, trusting(&authority)).unwrap();
        let (control, _) = server.handshakes();
        assert_eq!(control, [HandshakeKind::Full; 2]);
    }
}

// SEMANTICS: S-tls-resumption
#[test]
fn data_connections_that_resume_no_session_are_refused_on_demand() {
    let authority = Authority::new();
    for (is_v13, resumes) in [(false, false), (true, false), (false, true), (true, true)] {
        let server = TlsServer::start(Script {
            is_v13,
            resumes,
            ..Script::new(&authority.good())
        });
        let tls = TlsConfig {
            requires_resumption: true,
            ..trusting(&authority)
        };
        let remote = connect(&server, tls).unwrap();
        let listed = remote.list(&RemotePath::root());
        let put = remote.put(made(&path("f")), b"content", &Attributes::default());
        let read = remote
            .open_download(&path("f"), 0, None)
            .and_then(|mut download| read_all(&mut *download));
        if resumes {
            assert!(listed.unwrap().entries.len() == 2 && put.is_ok());
            assert!(read.unwrap() == content());
            continue;
        }
        for error in [listed.unwrap_err(), put.unwrap_err(), read.unwrap_err()] {
            let message = format!("{error:?}");
            assert!(message.contains("--tls-require-resumption"), "{message}");
        }
        assert!(server.uploaded().is_empty());
        // Without the option such a server will do.
        let remote = connect(&server, trusting(&authority)).unwrap();
        assert_eq!(remote.list(&RemotePath::root()).unwrap().entries.len(), 2);
    }
}

// SEMANTICS: S-tls-end
#[test]
fn a_download_that_ends_without_notice_must_have_the_right_size() {
    let authority = Authority::new();
    let start = |ending| {
        TlsServer::start(Script {
            ending,
            ..Script::new(&authority.good())
        })
    };
    let read = |server: &TlsServer| {
        let remote = connect(server, trusting(&authority)).unwrap();
        let mut download = remote.open_download(&path("f"), 0, None).unwrap();
        read_all(&mut *download)
    };
    assert!(read(&start(Ending::Abrupt)).unwrap() == content());
    // It goes on where it broke, as often as something comes.
    let broken = read(&start(Ending::Cut)).unwrap_err();
    assert_eq!(broken.kind(), RemoteErrorKind::Disconnected);
    // A listing tells no size: what is missing in it may be there.
    let server = start(Ending::Abrupt);
    let remote = connect(&server, trusting(&authority)).unwrap();
    let listing = remote.list(&RemotePath::root()).unwrap();
    assert_eq!((listing.entries.len(), listing.is_truncated), (2, true));
    // Such a server is asked once more the first time only.
    server.forget();
    assert!(remote.list(&RemotePath::root()).unwrap().is_truncated);
    assert_eq!(listings(&server), 1);
}

fn listings(server: &TlsServer) -> usize {
    let commands = server.commands();
    commands.iter().filter(|command| *command == "MLSD").count()
}

// SEMANTICS: S-tls-end
#[test]
fn a_listing_that_ends_without_the_notice_that_the_server_gives_is_an_error_after_one_repeat() {
    let authority = Authority::new();
    for (ending, cut) in [Ending::Abrupt, Ending::Cut]
        .into_iter()
        .flat_map(|ending| [(ending, 1), (ending, 100)])
    {
        let server = TlsServer::start(Script {
            ending,
            ends_so: 1..1 + cut,
            ..Script::new(&authority.good())
        });
        let remote = connect(&server, trusting(&authority)).unwrap();
        let listing = remote.list(&RemotePath::root()).unwrap();
        assert_eq!((listing.entries.len(), listing.is_truncated), (2, false));
        server.forget();
        let listed = remote.list(&RemotePath::root());
        assert_eq!(listings(&server), 2);
        if cut == 1 {
            let listing = listed.unwrap();
            assert_eq!((listing.entries.len(), listing.is_truncated), (2, false));
        } else {
            let error = listed.unwrap_err();
            assert_eq!(error.kind(), RemoteErrorKind::Failed);
            assert!(
                format!("{error:?}").contains("without the server's notice"),
                "{error:?}"
            );
        }
        // A file of the right size needs no notice; one that is cut goes on where it broke.
        let mut download = remote.open_download(&path("f"), 0, None).unwrap();
        let read = read_all(&mut *download);
        if ending == Ending::Cut && cut > 1 {
            assert_eq!(read.unwrap_err().kind(), RemoteErrorKind::Disconnected);
        } else {
            assert!(read.unwrap() == content());
        }
    }
}

// SEMANTICS: S-tls-end
#[test]
fn an_upload_ends_with_notice() {
    let authority = Authority::new();
    let server = TlsServer::start(Script::new(&authority.good()));
    let remote = connect(&server, trusting(&authority)).unwrap();
    for content in [&b""[..], b"small", &content()] {
        remote
            .put(made(&path("f")), content, &Attributes::default())
            .unwrap();
        assert!(server.uploaded() == content);
        assert!(server.has_been_notified());
    }
}

// SEMANTICS: S-timeout
#[test]
fn a_reply_that_drips_under_tls_is_waited_for_no_longer_than_any_other() {
    let authority = Authority::new();
    let server = TlsServer::start(Script {
        trouble: Trouble::Drips,
        ..Script::new(&authority.good())
    });
    let started = Instant::now();
    let config = FtpConfig {
        timeout: Duration::from_secs(2),
        ..config(&server, trusting(&authority))
    };
    let error = FtpRemote::connect(&config).unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error}");
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn what_is_no_tls_is_said_so() {
    let authority = Authority::new();
    let server = TlsServer::start(Script {
        trouble: Trouble::Garbage,
        ..Script::new(&authority.good())
    });
    let message = refusal(&server, trusting(&authority));
    assert!(message.contains("not TLS"), "{message}");
}

#[test]
fn files_that_are_no_good_are_named_with_their_option() {
    let authority = Authority::new();
    let server = TlsServer::start(Script::new(&authority.good()));
    let empty = authority.dir.path().join("empty");
    fs::write(&empty, "").unwrap();
    for file in [empty, authority.dir.path().join("missing")] {
        let tls = TlsConfig {
            ca_file: Some(file.clone()),
            ..trusting(&authority)
        };
        let message = refusal(&server, tls);
        assert!(message.starts_with("--ca-file"), "{message}");
        assert!(message.contains(file.to_str().unwrap()), "{message}");
        server.forget();
    }
}
