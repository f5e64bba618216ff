//! Parts of files, asked for with their end where the server offers that.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    thread,
};

use crate::common::{Kind, Mount, Security, Server, can_mount, give_to_server, pattern};

const LEN: usize = 4 << 20;

const PART: usize = 4096;

/// How many parts are read one after the other, and as many at once.
const PARTS: usize = 12;

/// Reads parts of a file, then all of it; how often the mount's log has each of `texts`.
fn logged_after_reading(security: Security, texts: [&str; 3]) -> Option<[usize; 3]> {
    if !can_mount() {
        return None;
    }
    let server = Server::start_with(Kind::Proftpd, security)?;
    let content = pattern(5, LEN + 100);
    let large = server.root().join("large");
    fs::write(&large, &content).unwrap();
    give_to_server(&large);
    let options = ["connections=3", "verbose"];
    let mut mount = Mount::new(&server, &options);
    let file = File::open(mount.path().join("large")).unwrap();
    let check = |at: usize| {
        let mut part = [0; PART];
        let count = file.read_at(&mut part, at as u64).unwrap();
        let end = content.len().min(at + PART);
        assert!(part[..count] == content[at..end], "at {at}");
    };
    // Its end, and then from there to its beginning.
    check(LEN);
    let places: Vec<usize> = (1..=2 * PARTS)
        .rev()
        .map(|index| index * (LEN / PART / (2 * PARTS + 1)) * PART)
        .collect();
    let (alone, at_once) = places.split_at(PARTS);
    for at in alone {
        check(*at);
    }
    thread::scope(|scope| {
        for at in at_once {
            scope.spawn(|| check(*at));
        }
    });
    drop(file);
    let whole = fs::read(mount.path().join("large")).unwrap();
    assert!(whole == content, "nothing is left of a range");
    assert!(mount.unmount());
    Some(texts.map(|text| mount.logged(text)))
}

// SEMANTICS: S-ranges
#[test]
fn proftpd_sends_the_part_that_was_asked_for_and_no_more() {
    let texts = [
        "> RANG ",
        "< 350 Transferring byte range of 4096 ",
        "< 426 ",
    ];
    for security in [Security::Plain, Security::Tls] {
        if let Some(logged) = logged_after_reading(security, texts) {
            assert_eq!(logged, [2 * PARTS, 2 * PARTS, 0], "{security:?}");
        }
    }
}
