//! URLs: no text panics, what is read comes back from what /proc/mounts shows, and the password is found and never shown.
#![no_main]

use ftpfs::{cli::Target, config::BaseDir};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, &[u8], &[u8])| {
    let (user, password, dir, text) = input;
    any_text(text);
    composed(user, password, dir);
    never_shown(text);
});

/// Whatever is typed.
fn any_text(text: &[u8]) {
    let ranges = Target::password_ranges(text);
    let found: Vec<_> = ranges.iter().map(|range| &text[range.clone()]).collect();
    let Ok(target) = Target::parse(text) else {
        return;
    };
    if let Some(password) = &target.password {
        let is_found = |found: &&[u8]| decoded(found) == password.expose().as_bytes();
        assert!(found.iter().any(is_found), "the password is not wiped");
    }
    comes_back(&target);
}

fn comes_back(target: &Target) {
    let source = target.to_source();
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ',' | '\\');
    assert!(!source.contains(is_odd), "{source}");
    let again =
        Target::parse(source.as_bytes()).unwrap_or_else(|error| panic!("{source}: {error}"));
    assert_eq!(again.scheme, target.scheme, "{source}");
    assert_eq!(again.user, target.user, "{source}");
    assert_eq!(
        (&again.host, again.port),
        (&target.host, target.port),
        "{source}"
    );
    assert_eq!(again.base, target.base, "{source}");
    assert!(again.password.is_none());
}

/// A URL of these parts has these parts.
fn composed(user: &str, password: &str, dir: &[u8]) {
    let url = format!(
        "ftps://{}:{}@[::1]:2121/{}",
        encoded(user.as_bytes()),
        encoded(password.as_bytes()),
        encoded(dir)
    );
    let is_broken = [user.as_bytes(), password.as_bytes(), dir]
        .iter()
        .any(|part| part.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
    let target = match Target::parse(url.as_bytes()) {
        Ok(target) => target,
        Err(error) => return assert!(is_broken || user.is_empty(), "{url}: {error}"),
    };
    assert!(!is_broken);
    assert_eq!(target.user.as_deref(), Some(user));
    assert_eq!(
        target.password.as_ref().map(|it| it.expose()),
        Some(password)
    );
    assert_eq!((target.host.as_str(), target.port), ("::1", 2121));
    let end = dir
        .iter()
        .rposition(|byte| *byte != b'/')
        .map_or(0, |last| last + 1);
    let expected = match (dir.first(), end) {
        (Some(b'/'), 0) => BaseDir::Absolute(b"/".to_vec()),
        (Some(b'/'), _) => BaseDir::Absolute(dir[..end].to_vec()),
        _ => BaseDir::Login(dir[..end].to_vec()),
    };
    assert_eq!(target.base, expected);
    comes_back(&target);
}

/// A mistake in the rest of a URL does not show its password.
fn never_shown(rest: &[u8]) {
    const SECRET: &str = "s3cr3t-Gr8Qm2vXk7";
    if rest
        .windows(SECRET.len())
        .any(|window| window == SECRET.as_bytes())
    {
        return;
    }
    for head in ["ftp://u:", "ftpes://:", "sftp://u:", "x://u:"] {
        let url = [head.as_bytes(), SECRET.as_bytes(), b"@", rest].concat();
        match Target::parse(&url) {
            Ok(target) => {
                assert!(!format!("{target:?} {}", target.to_source()).contains(SECRET));
            }
            Err(error) => assert!(!format!("{error} {error:?}").contains(SECRET)),
        }
    }
}

fn encoded(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02X}")).collect()
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let [first, others @ ..] = rest {
        let digits = (*first == b'%').then(|| others.get(..2)).flatten();
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &others[2..];
            }
            None => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    bytes
}
