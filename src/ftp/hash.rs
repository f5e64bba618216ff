//! Checksums that the server computes: XCRC, XMD5 and their like, of a file or a range, and HASH, of a file.
//!
//! None of them is a standard. HASH is draft-bryan-ftpext-hash; the others are of many makers, who agree on `VERB path` and mostly on
//! `VERB path start end`, with the byte behind the last one as `end` (measured on `ProFTPD`'s `mod_digest`). `ProFTPD`'s HASH knows no ranges,
//! as it ignores RANG, and may answer with what it has computed while the file arrived. So it comes after those that read the file.

use std::{
    ops::Range,
    sync::{Mutex, PoisonError},
};

use super::{capabilities::Features, reply::Reply};
use crate::remote::{Algorithm, Checksum, Part};

/// A command that asks for a checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Method {
    pub(super) verb: &'static str,
    /// `None` for the one that the server has chosen, and names in its reply.
    algorithm: Option<Algorithm>,
}

/// The commands, in the order in which they are tried: CRC32 is the cheapest for both sides, and shows what goes wrong on the way.
pub(super) const METHODS: [Method; 7] = [
    Method::new("XCRC", Some(Algorithm::Crc32)),
    Method::new("XMD5", Some(Algorithm::Md5)),
    Method::new("HASH", None),
    Method::new("XSHA1", Some(Algorithm::Sha1)),
    Method::new("XSHA", Some(Algorithm::Sha1)),
    Method::new("XSHA256", Some(Algorithm::Sha256)),
    Method::new("XSHA512", Some(Algorithm::Sha512)),
];

/// What this mount has learnt of them.
#[derive(Debug)]
pub(super) struct Hashes {
    // Guarded by itself; a leaf.
    limits: Mutex<[Limit; METHODS.len()]>,
}

/// The most bytes that a command was not refused for.
#[derive(Debug, Clone, Copy)]
struct Limit {
    whole: u64,
    range: u64,
}

impl Method {
    const fn new(verb: &'static str, algorithm: Option<Algorithm>) -> Self {
        Self { verb, algorithm }
    }

    /// Whether the server says that it has it, with an algorithm that is known here.
    pub(super) fn is_offered(self, features: &Features) -> bool {
        if self.algorithm.is_some() {
            return features.offers(self.verb);
        }
        let Some(list) = features.value(self.verb) else {
            return false;
        };
        // The star is at the one in use. Without one, the reply names it.
        let mut names = list.split(';').map(str::trim);
        let chosen = names.find_map(|name| name.strip_suffix('*'));
        chosen.is_none_or(|name| Algorithm::named(name.as_bytes()).is_some())
    }

    /// The command for this part; `None` where it cannot be asked for.
    pub(super) fn line(self, path: &[u8], part: &Part) -> Option<Vec<u8>> {
        let verb = self.verb.as_bytes();
        if self.algorithm.is_none() {
            let is_whole = matches!(part, Part::Whole(_));
            return is_whole.then(|| [verb, b" ", path].concat());
        }
        // ProFTPD and Serv-U take a path with blanks in quotes only, and no quotes in it.
        if path.contains(&b'"') || path.contains(&b'\\') {
            return None;
        }
        let quote: &[u8] = if path.contains(&b' ') { b"\"" } else { b"" };
        let range = match part {
            Part::Whole(_) => String::new(),
            Part::Range(Range { start, end }) => format!(" {start} {end}"),
        };
        Some([verb, b" ", quote, path, quote, range.as_bytes()].concat())
    }

    /// What the reply says; `None` when that cannot be told.
    pub(super) fn parse(self, reply: &Reply, path: &[u8]) -> Option<Checksum> {
        let line = reply.lines().last()?;
        // A path may look like a checksum.
        let line = without(line, path);
        let words = line.split(|byte| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'='));
        let words = words
            .map(|word| word.strip_suffix(b".").unwrap_or(word))
            .map(|word| word.strip_prefix(b"0x").unwrap_or(word))
            .filter(|word| !word.is_empty());
        let words: Vec<_> = words.collect();
        let algorithm = match self.algorithm {
            Some(algorithm) => algorithm,
            None => words.iter().find_map(|word| Algorithm::named(word))?,
        };
        let full = 2 * algorithm.digest_bytes();
        let mut sums: Vec<_> = match words[..] {
            [word] => vec![word],
            // In a sentence, "be" is no number.
            _ => words
                .into_iter()
                .filter(|word| word.len() == full || word.iter().any(u8::is_ascii_digit))
                .filter(|word| Checksum::from_hex(algorithm, word).is_some())
                .collect(),
        };
        if sums.iter().any(|word| word.len() == full) {
            sums.retain(|word| word.len() == full);
        }
        sums.dedup();
        match sums[..] {
            [digits] => Checksum::from_hex(algorithm, digits),
            _ => None,
        }
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self {
            whole: u64::MAX,
            range: u64::MAX,
        }
    }
}

impl Limit {
    fn of(&mut self, part: &Part) -> &mut u64 {
        match part {
            Part::Whole(_) => &mut self.whole,
            Part::Range(_) => &mut self.range,
        }
    }
}

impl Hashes {
    /// Nothing was refused yet.
    pub(super) fn new() -> Self {
        Self {
            limits: Mutex::default(),
        }
    }

    /// The most bytes that a command is asked for, by its place among [`METHODS`].
    pub(super) fn limit(&self, index: usize, part: &Part) -> u64 {
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        limits.get_mut(index).map_or(0, |limit| *limit.of(part))
    }

    /// A command is asked for no more than `bytes_max` from now on; whether that is the first time that it is limited.
    pub(super) fn lower(&self, index: usize, part: &Part, bytes_max: u64) -> bool {
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(limit) = limits.get_mut(index).map(|limit| limit.of(part)) else {
            return false;
        };
        let is_first = *limit == u64::MAX;
        *limit = bytes_max.min(*limit);
        is_first
    }
}

/// The commands that a server says that it has.
pub(super) fn offered(features: &Features) -> Vec<&'static str> {
    let methods = METHODS.iter().filter(|method| method.is_offered(features));
    methods.map(|method| method.verb).collect()
}

/// The line without each occurrence of the path.
fn without(line: &[u8], path: &[u8]) -> Vec<u8> {
    let mut rest = line;
    let mut kept = Vec::with_capacity(line.len());
    while let Some(first) = rest.first() {
        if let Some(after) = rest.strip_prefix(path).filter(|_| !path.is_empty()) {
            rest = after;
        } else {
            kept.push(*first);
            rest = rest.get(1..).unwrap_or_default();
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::reply::Parsed;

    const MD5: &str = "25f9e794323b453885f5181f1b624d0b";

    fn reply(text: &str) -> Reply {
        match Reply::parse(format!("{text}\r\n").as_bytes()) {
            Parsed::Complete(reply, _) => reply,
            other => panic!("{other:?}"),
        }
    }

    fn method(verb: &str) -> Method {
        METHODS.into_iter().find(|it| it.verb == verb).unwrap()
    }

    fn features(lines: &str) -> Features {
        Features::from_reply(&reply(&format!("211-Features:\r\n{lines}\r\n211 End")))
    }

    #[track_caller]
    fn parsed(verb: &str, text: &str) -> Option<String> {
        let checksum = method(verb).parse(&reply(text), b"/d/cbf43926");
        checksum.map(|checksum| checksum.to_string())
    }

    #[test]
    fn a_crc_is_read_in_every_form_that_servers_write() {
        for text in [
            "250-Computing CRC32 digest\r\n250 CBF43926",
            "250 cbf43926",
            "250 CBF43926.",
            "250 \"cbf43926\"",
            "250 \"/d/cbf43926\" CBF43926",
            "250 /d/cbf43926 CBF43926",
            "213 0xcbf43926",
            "250 XCRC CBF43926",
            "250 CRC=CBF43926",
            "250 The CRC of a file is CBF43926",
            "250 0 1024 CBF43926",
        ] {
            assert_eq!(
                parsed("XCRC", text).as_deref(),
                Some("CRC32 cbf43926"),
                "{text}"
            );
        }
        let short = parsed("XCRC", "250 aae4aae");
        assert_eq!(short.as_deref(), Some("CRC32 0aae4aae"));
        assert_eq!(parsed("XCRC", "250 0").as_deref(), Some("CRC32 00000000"));
    }

    #[test]
    fn what_cannot_be_read_is_no_checksum() {
        for text in [
            "250",
            "250 ok",
            "250 done, it is a bad file",
            "250 3421780262",
            "250 CBF43926 CBF43927",
            "250 1 2",
            "250 /d/cbf43926",
        ] {
            assert_eq!(parsed("XCRC", text), None, "{text}");
        }
        assert_eq!(parsed("XMD5", "250 cbf43926"), None);
        assert_eq!(parsed("HASH", &format!("213 {MD5} /d/cbf43926")), None);
        assert_eq!(parsed("HASH", "213 SHA-3 0-9 00 /d/cbf43926"), None);
    }

    #[test]
    fn the_reply_to_hash_names_its_algorithm() {
        let sum = Some(format!("MD5 {MD5}"));
        for text in [
            format!("213 MD5 0-9 {MD5} /d/cbf43926"),
            format!("213-Computing MD5 digest\r\n213 MD5 0-9 {MD5} /d/cbf43926"),
            format!("213 MD5 0-9 {MD5}"),
            format!("213 MD5 {}", MD5.to_uppercase()),
        ] {
            assert_eq!(parsed("HASH", &text), sum, "{text}");
        }
        assert_eq!(parsed("XMD5", &format!("250 {MD5}")), sum);
    }

    #[test]
    fn features_tell_which_commands_there_are() {
        let proftpd = features(
            " HASH CRC32;MD5;SHA-1*;SHA-256;SHA-512;\r\n MD5\r\n XCRC\r\n XMD5\r\n XSHA\r\n XSHA1",
        );
        let verbs = ["XCRC", "XMD5", "HASH", "XSHA1", "XSHA"];
        assert_eq!(offered(&proftpd), verbs);
        assert_eq!(offered(&features(" XCRC filename;start;end")), ["XCRC"]);
        assert_eq!(offered(&features(" HASH SHA-3*;MD5")), [""; 0]);
        assert_eq!(offered(&features(" HASH MD5")), ["HASH"]);
        assert_eq!(offered(&Features::default()), [""; 0]);
    }

    #[test]
    fn paths_with_blanks_are_quoted_and_hash_takes_no_range() {
        let line = |verb: &str, path: &str, part: &Part| {
            let line = method(verb).line(path.as_bytes(), part);
            line.map(|line| String::from_utf8(line).unwrap())
        };
        let (whole, range) = (Part::Whole(9), Part::Range(2..5));
        assert_eq!(line("XCRC", "/f", &whole).unwrap(), "XCRC /f");
        assert_eq!(line("XMD5", "/f", &range).unwrap(), "XMD5 /f 2 5");
        assert_eq!(line("XCRC", "/a b", &range).unwrap(), "XCRC \"/a b\" 2 5");
        assert_eq!(line("HASH", "/a b", &whole).unwrap(), "HASH /a b");
        assert_eq!(line("HASH", "/f", &range), None);
        assert_eq!(line("XCRC", "/a\"b", &whole), None);
    }
}
