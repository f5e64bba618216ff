//! What goes over the wire with `--charset`.

use std::io::Write;

use super::{
    server::{Client, Handled, ScriptedServer},
    *,
};
use crate::config::Charset;

/// A server that offers UTF8 all the same, and has one file whose name is a letter of windows-1251.
fn cyrillic(client: &mut Client, line: &str) -> Handled {
    match line {
        "FEAT" => client.say("211-Features:\r\n UTF8\r\n MLST type*;size*;modify*;\r\n211 End"),
        "MLSD" => {
            client.say("150 here it comes");
            let listing = b"type=file;size=5; \xff\r\n";
            client.accept().write_all(listing).unwrap();
            client.say("226 done");
        }
        _ => return Handled::No,
    }
    Handled::Yes
}

fn cyrillic_config(port: u16) -> FtpConfig {
    FtpConfig {
        charset: Some(Charset::for_label("cp1251").unwrap()),
        user: "Анна".to_owned(),
        password: Password::new("секрет".to_owned()),
        base: BaseDir::Absolute("/я".as_bytes().to_vec()),
        ..config(port)
    }
}

/// As it stands in the scripted server's notes: character n is byte n.
fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

// SEMANTICS: S-charset
#[test]
fn all_that_was_typed_is_sent_in_the_charset() {
    let server = ScriptedServer::start(cyrillic);
    let remote = FtpRemote::connect(&cyrillic_config(server.port())).unwrap();
    let listing = remote.list(&RemotePath::root()).unwrap();
    assert_eq!(listing.entries.get(0).unwrap().name, "я".as_bytes());
    remote.remove_file(made(&path("я"))).unwrap();
    let said = server.take_batches().join("\n");
    for expected in [
        &b"USER \xc0\xed\xed\xe0 | PASS \xf1\xe5\xea\xf0\xe5\xf2 |"[..],
        // Telnet's escape is doubled for a server that nothing is known of.
        b"CWD /\xff\xff",
        b"DELE /\xff\xff/\xff\xff",
    ] {
        assert!(said.contains(&latin1(expected)), "{said}");
    }
    assert!(!said.contains("UTF8"), "{said}");
}

// SEMANTICS: S-charset
#[test]
fn utf8_as_the_charset_is_still_asked_for() {
    let server = ScriptedServer::start(cyrillic);
    let config = FtpConfig {
        charset: Some(Charset::for_label("utf-8").unwrap()),
        ..config(server.port())
    };
    let remote = FtpRemote::connect(&config).unwrap();
    let listing = remote.list(&RemotePath::root()).unwrap();
    assert_eq!(listing.entries.get(0).unwrap().name, "\u{efff}".as_bytes());
    assert!(server.take_batches().join("\n").contains("OPTS UTF8 ON"));
}

// SEMANTICS: S-charset-lacks
#[test]
fn nothing_is_sent_for_a_name_that_the_charset_lacks() {
    let server = ScriptedServer::start(cyrillic);
    let remote = FtpRemote::connect(&cyrillic_config(server.port())).unwrap();
    let missing = path("日本");
    assert_eq!(remote.name_len("日本".as_bytes()), None);
    assert_eq!(remote.name_len("я".as_bytes()), Some(1));
    assert!(remote.stat(&missing).unwrap().is_none());
    let refusals = [
        remote.make_dir(&missing),
        remote
            .put(made(&missing), b"x", &Attributes::default())
            .map(drop),
        remote.rename(&path("я"), made(&missing)).map(drop),
        remote.make_symlink("日本".as_bytes(), &path("я")),
        remote.open_download(&missing, 0, None).map(|_| ()),
    ];
    for refusal in refusals {
        let error = refusal.unwrap_err();
        assert_eq!(error.kind(), RemoteErrorKind::Unencodable, "{error}");
        assert!(error.to_string().contains("--charset"), "{error}");
    }
    let said = server.take_batches().join("\n");
    assert!(
        !["MKD", "STOR", "RN", "SITE", "RETR", "MLST"]
            .iter()
            .any(|verb| said.contains(verb) && !said.contains(&format!("{verb} type"))),
        "{said}"
    );
}

// SEMANTICS: S-charset-lacks
#[test]
fn a_directory_that_the_charset_lacks_is_refused_before_anything_is_sent() {
    let server = ScriptedServer::start(cyrillic);
    let wanted = FtpConfig {
        base: BaseDir::Login("日本".as_bytes().to_vec()),
        ..cyrillic_config(server.port())
    };
    let error = FtpRemote::connect(&wanted).unwrap_err().to_string();
    assert!(
        error.contains("windows-1251 (--charset)") && error.contains("日本"),
        "{error}"
    );
    assert_eq!(server.connections(), 0);
    // Bytes in the URL that are no UTF-8 are the server's own.
    let wanted = FtpConfig {
        base: BaseDir::Absolute(b"/\xff".to_vec()),
        ..cyrillic_config(server.port())
    };
    FtpRemote::connect(&wanted).unwrap();
    assert!(server.take_batches().join("\n").contains("CWD /ÿÿ"));
}
