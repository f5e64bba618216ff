//! One file read by several transfers.

use std::{
    fs::{self, File},
    io::Read,
    thread,
    time::Duration,
};

use crate::common::{Kind, Mount, Server, can_mount, give_to_server, pattern, proxy::Proxy};

const LEN: usize = 24 << 20;

/// How many times the commands were sent that fetch a part of a file that is read slowly with these options.
fn transfers_of_one_file(kind: Kind, options: &[&str]) -> Option<usize> {
    if !can_mount() {
        return None;
    }
    let server = Server::start(kind)?;
    let path = server.root().join("large");
    let content = pattern(3, LEN);
    fs::write(&path, &content).unwrap();
    give_to_server(&path);
    let (login, address) = server.url().rsplit_once('@').unwrap();
    let proxy = Proxy::start(address.trim_end_matches('/'));
    let mount = Mount::of_url(&format!("{login}@{}/", proxy.address()), options);
    let sent = proxy.during(|| {
        let mut file = File::open(mount.path().join("large")).unwrap();
        let mut found = vec![0; LEN];
        for piece in found.chunks_mut(64 << 10) {
            file.read_exact(piece).unwrap();
            // The first transfer alone would have brought all before any other is thought of.
            thread::sleep(Duration::from_millis(3));
        }
        assert!(found == content);
    });
    let transfers = sent.iter().filter(|batch| batch.contains("RETR")).count();
    Some(transfers)
}

// SEMANTICS: S-streams
#[test]
fn several_transfers_bring_one_file() {
    for kind in [Kind::Vsftpd, Kind::Proftpd] {
        if let Some(transfers) = transfers_of_one_file(kind, &["streams=4"]) {
            assert!(transfers >= 4, "{transfers}");
        }
    }
}

// SEMANTICS: S-streams
#[test]
fn one_stream_or_two_sessions_are_one_transfer() {
    for options in [&["streams=1"][..], &["streams=4", "connections=2"]] {
        if let Some(transfers) = transfers_of_one_file(Kind::Vsftpd, options) {
            assert_eq!(transfers, 1, "{options:?}");
        }
    }
}
