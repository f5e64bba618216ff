//! Names there and back, in every kind of charset.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn names(label: &str) -> Names {
    Names::new(Some(Charset::for_label(label).unwrap()))
}

/// One of each kind: single bytes, double bytes with all sorts of second ones, three and four bytes.
const LABELS: [&str; 11] = [
    "latin1",
    "iso-8859-2",
    "windows-1251",
    "koi8-r",
    "ibm866",
    "gbk",
    "gb18030",
    "big5",
    "shift_jis",
    "euc-jp",
    "utf-8",
];

#[test]
fn every_byte_survives_both_ways() {
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(Transparent.encode(&Transparent.decode(&all)).unwrap(), all);
}

#[test]
fn text_that_is_no_bytes_is_refused() {
    assert!(Transparent.encode("\u{20ac}").is_err());
}

// SEMANTICS: S-charset
#[test]
fn names_are_text_in_the_servers_charset() {
    for (label, wire, name) in [
        ("latin1", &b"caf\xe9 \xff"[..], "café ÿ"),
        ("windows-1251", b"\xff\xe1\xeb\xee\xea\xee", "яблоко"),
        ("gbk", b"\xc4\xe3\xba\xc3", "你好"),
        // The second byte of each is an ASCII character: a backslash, a bar.
        ("shift_jis", b"\x83\x5c\x95\x7c", "ソ怖"),
        ("gbk", b"\x85\x5c\x81\x7c", "匼亅"),
        // NFC and NFD stay what they are.
        ("utf-8", "e\u{301} é".as_bytes(), "e\u{301} é"),
    ] {
        let names = names(label);
        assert_eq!(names.decode(wire), name.as_bytes(), "{label}");
        assert_eq!(
            names.encode(name.as_bytes()).as_deref(),
            Some(wire),
            "{label}"
        );
    }
}

// SEMANTICS: S-charset-raw
#[test]
fn bytes_that_are_no_character_have_their_own() {
    for (label, wire, name) in [
        ("gbk", &b"a\xffb"[..], "a\u{efff}b"),
        ("gbk", b"\x81", "\u{ef81}"),
        // A lead byte and what cannot follow it.
        ("shift_jis", b"\x81 x", "\u{ef81} x"),
        // Two forms of one character: only one of them is written.
        ("shift_jis", b"\xed\x40\xfa\x5c", "\u{efed}@纊"),
        // What looks like the escape is taken apart.
        ("utf-8", "\u{ef81}".as_bytes(), "\u{efee}\u{efbe}\u{ef81}"),
        ("utf-8", b"\xe9", "\u{efe9}"),
    ] {
        let names = names(label);
        assert_eq!(names.decode(wire), name.as_bytes(), "{label}");
        assert_eq!(
            names.encode(name.as_bytes()).as_deref(),
            Some(wire),
            "{label}"
        );
    }
}

// SEMANTICS: S-charset-lacks
#[test]
fn what_the_charset_cannot_hold_is_refused() {
    for (label, name) in [
        ("latin1", "яблоко".as_bytes()),
        ("windows-1251", "日本".as_bytes()),
        ("gbk", "🙂".as_bytes()),
        ("latin1", b"caf\xe9"),
        // Would come back as a backslash.
        ("shift_jis", "a¥b".as_bytes()),
        // Two raw bytes that form a character would come back as that character; a raw byte that is one likewise.
        ("gbk", "\u{efc4}\u{efe3}".as_bytes()),
        ("latin1", "\u{efe9}".as_bytes()),
    ] {
        assert_eq!(names(label).encode(name), None, "{label}");
    }
}

#[test]
fn without_a_charset_names_are_bytes() {
    let names = Names::new(None);
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(*names.decode(&all), all);
    assert_eq!(names.encode(&all).as_deref(), Some(all.as_slice()));
}

#[test]
fn charsets_in_which_a_slash_may_be_half_a_character_are_refused() {
    for label in ["utf-16le", "iso-2022-jp", "replacement", "no-such"] {
        assert!(Charset::for_label(label).is_err(), "{label}");
    }
}

/// Every pair that may be one character: exact, one to one, and no separator comes or goes.
#[test]
fn every_pair_of_bytes_comes_back() {
    for label in ["gbk", "big5", "shift_jis", "euc-jp", "windows-1251"] {
        let names = names(label);
        let mut seen: HashMap<Vec<u8>, [u8; 2]> = HashMap::new();
        for wire in (0x8000..=u16::MAX).map(u16::to_be_bytes) {
            let name = names.decode(&wire).into_owned();
            assert!(std::str::from_utf8(&name).is_ok());
            assert_eq!(names.encode(&name).as_deref(), Some(&wire[..]), "{label}");
            let separators = |bytes: &[u8]| -> Vec<u8> {
                let all = bytes.iter().copied();
                all.filter(|byte| b"/\r\n\0".contains(byte)).collect()
            };
            assert_eq!(separators(&wire), separators(&name), "{label} {wire:x?}");
            if let Some(other) = seen.insert(name, wire) {
                panic!("{label}: {other:x?} and {wire:x?} look the same");
            }
        }
    }
}

proptest! {
    // SEMANTICS: S-charset
    #[test]
    fn every_name_of_a_server_comes_back(wire: Vec<u8>, label in proptest::sample::select(&LABELS[..])) {
        let names = names(label);
        let name = names.decode(&wire).into_owned();
        let back = names.encode(&name);
        prop_assert_eq!(back.as_deref(), Some(wire.as_slice()));
        let charset = Charset::for_label(label).unwrap();
        if let Some(whole) = decode_whole(charset, &wire) {
            prop_assert_eq!(whole, decode_by_character(charset, &wire));
        }
    }

    #[test]
    fn what_is_sent_comes_back(name: String, label in proptest::sample::select(&LABELS[..])) {
        let names = names(label);
        if let Some(wire) = names.encode(name.as_bytes()) {
            prop_assert_eq!(&*names.decode(&wire), name.as_bytes());
        }
    }
}
