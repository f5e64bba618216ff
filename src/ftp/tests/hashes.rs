//! Checksums that the server computes: which command leaves, and what its refusal or silence teaches.

use std::time::Instant;

use super::{
    scripted::connect_with,
    server::{Client, Handled, ScriptedServer},
    *,
};
use crate::remote::{Checksum, Part, Phase};

const FEATURES: &str = "211-Features:\r\n HASH MD5;SHA-1*\r\n XCRC\r\n XMD5\r\n211 End";
const WHOLE: Part = Part::Whole(9);

/// A server with checksums, which answers to them as `answer` does.
fn start(answer: impl Fn(&mut Client, &str) -> Handled + Send + Sync + 'static) -> ScriptedServer {
    ScriptedServer::start(move |client, line| match line {
        "FEAT" => {
            client.say(FEATURES);
            Handled::Yes
        }
        _ if asks(line) => answer(client, line),
        _ => Handled::No,
    })
}

fn asks(line: &str) -> bool {
    ["XCRC", "XMD5", "HASH"]
        .iter()
        .any(|verb| line.starts_with(verb))
}

fn say(client: &mut Client, text: &str) -> Handled {
    client.say(text);
    Handled::Yes
}

fn text(checksum: Option<Checksum>) -> String {
    checksum.map_or_else(String::new, |checksum| checksum.to_string())
}

/// The questions for checksums that have come.
fn asked(server: &ScriptedServer) -> Vec<String> {
    let mut commands = server.commands(false);
    commands.retain(|line| asks(line));
    server.forget();
    commands
}

fn connect_quickly(server: &ScriptedServer) -> Arc<FtpRemote> {
    connect_with(&FtpConfig {
        timeout: Duration::from_millis(300),
        ..config(server.port())
    })
}

#[test]
fn the_first_command_of_the_server_is_asked_and_others_after_its_refusal() {
    let server = start(|client, line| {
        let verb = line.split(' ').next().unwrap_or_default();
        match verb {
            "XCRC" => say(client, "500 unknown"),
            "XMD5" => say(client, "250 no such thing"),
            _ => say(
                client,
                "213-Computing\r\n213 SHA-1 0-9 f7c3bc1d808e04732adf679965ccc34ca7ae3441 /f",
            ),
        }
    });
    let remote = connect_quickly(&server);
    assert_eq!(remote.offered_hashes(), ["XCRC", "XMD5", "HASH"]);
    for commands in [&["XCRC /f", "XMD5 /f", "HASH /f"][..], &["HASH /f"]] {
        let checksum = remote.checksum(&path("f"), &WHOLE).unwrap();
        let expected = "SHA-1 f7c3bc1d808e04732adf679965ccc34ca7ae3441";
        assert_eq!(text(checksum), expected);
        assert_eq!(asked(&server), commands);
    }
    // Its refusal of whole files says nothing of ranges, and HASH knows none.
    let range = Part::Range(2..5);
    assert_eq!(remote.checksum(&path("f"), &range).unwrap(), None);
    assert_eq!(asked(&server), ["XCRC /f 2 5", "XMD5 /f 2 5"]);
    assert_eq!(remote.checksum(&path("f"), &range).unwrap(), None);
    assert_eq!(asked(&server), [""; 0]);
}

#[test]
fn a_refusal_that_may_be_about_the_size_is_none_of_smaller_files() {
    let server = start(|client, line| {
        if line.ends_with("large") {
            return say(client, "550 /large: Operation not permitted");
        }
        let is_crc = line.starts_with("XCRC");
        say(client, if is_crc { "250 CBF43926" } else { "502 no" })
    });
    let remote = connect_quickly(&server);
    let ask = |name: &str, len: u64| {
        let checksum = remote.checksum(&path(name), &Part::Whole(len));
        text(checksum.unwrap())
    };
    assert_eq!(ask("large", 1000), "");
    assert_eq!(ask("small", 999), "CRC32 cbf43926");
    asked(&server);
    assert_eq!(ask("large", 1000), "");
    assert_eq!(asked(&server), [""; 0]);
}

#[test]
fn a_refusal_for_the_moment_teaches_nothing() {
    let server = start(|client, _| say(client, "450 busy"));
    let remote = connect_quickly(&server);
    for _ in 0..2 {
        let error = remote.checksum(&path("f"), &WHOLE).unwrap_err();
        assert_eq!(error.kind(), RemoteErrorKind::Busy);
        assert_eq!(asked(&server), ["XCRC /f"]);
    }
}

#[test]
fn the_time_for_a_checksum_grows_with_the_size_and_its_session_ends_with_it() {
    let server = start(|client, line| {
        if line.ends_with("slow") {
            std::thread::sleep(Duration::from_millis(700));
            return say(client, "250 CBF43926");
        }
        Handled::Yes
    });
    let remote = connect_quickly(&server);
    // A second more.
    let large = Part::Whole(20_000_000);
    let checksum = remote.checksum(&path("slow"), &large).unwrap();
    assert_eq!(text(checksum), "CRC32 cbf43926");
    let started = Instant::now();
    let error = remote.checksum(&path("silent"), &WHOLE).unwrap_err();
    assert_eq!(error.kind(), RemoteErrorKind::TimedOut(Phase::Reply));
    assert!(started.elapsed() < Duration::from_secs(1));
    asked(&server);
    // What the server says to it later is not taken for a reply to anything else.
    let report = remote.report(&path("f")).unwrap();
    assert_eq!(report.size.unwrap(), Some(400_000));
}

#[test]
fn a_server_without_checksums_is_asked_for_none() {
    let server = ScriptedServer::start(|_, _| Handled::No);
    let remote = connect_quickly(&server);
    assert_eq!(remote.checksum(&path("f"), &WHOLE).unwrap(), None);
    assert_eq!(asked(&server), [""; 0]);
}
