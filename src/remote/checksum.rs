//! Checksums of content: those that servers compute, and the same of our own bytes.

use std::{fmt, ops::Range};

use md5::Md5;
use sha1::Sha1;
use sha2::{Sha256, Sha512, digest::DynDigest};

/// How a checksum is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// That of ISO 3309, as zip and Ethernet have it.
    Crc32,
    /// RFC 1321.
    Md5,
    /// RFC 3174.
    Sha1,
    /// RFC 6234.
    Sha256,
    /// RFC 6234.
    Sha512,
}

/// The bytes that a checksum is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The whole file, which has so many.
    Whole(u64),
    /// These.
    Range(Range<u64>),
}

/// A checksum of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    algorithm: Algorithm,
    digest: Box<[u8]>,
}

/// Computes a checksum piece by piece.
pub struct Hasher {
    algorithm: Algorithm,
    state: State,
}

enum State {
    Crc32(crc32fast::Hasher),
    Digest(Box<dyn DynDigest>),
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Crc32,
        Self::Md5,
        Self::Sha1,
        Self::Sha256,
        Self::Sha512,
    ];

    /// The name that draft-bryan-ftpext-hash gives it, from IANA's registry.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Md5 => "MD5",
            Self::Sha1 => "SHA-1",
            Self::Sha256 => "SHA-256",
            Self::Sha512 => "SHA-512",
        }
    }

    /// The one of this name, with or without its hyphen, in whatever case.
    pub fn named(name: &[u8]) -> Option<Self> {
        let plain = |name: &[u8]| {
            let kept = name.iter().filter(|byte| **byte != b'-');
            kept.map(u8::to_ascii_uppercase).collect::<Vec<_>>()
        };
        let name = plain(name);
        let mut all = Self::ALL.into_iter();
        all.find(|algorithm| plain(algorithm.name().as_bytes()) == name)
    }

    /// How many bytes a checksum has.
    pub fn digest_bytes(self) -> usize {
        match self {
            Self::Crc32 => 4,
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

impl Part {
    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        match self {
            Self::Whole(len) => *len,
            Self::Range(range) => range.end.saturating_sub(range.start),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Checksum {
    /// What these hexadecimal digits say. A CRC may lack zeros at its beginning (Titan FTP).
    pub fn from_hex(algorithm: Algorithm, digits: &[u8]) -> Option<Self> {
        let wanted = 2 * algorithm.digest_bytes();
        let missing = wanted.checked_sub(digits.len())?;
        if digits.is_empty() || (missing > 0 && algorithm != Algorithm::Crc32) {
            return None;
        }
        let padded = [vec![b'0'; missing], digits.to_vec()].concat();
        let digest = padded.chunks(2).map(|pair| {
            let pair = std::str::from_utf8(pair).ok()?;
            // A sign would be taken for a part of the number.
            let is_hex = pair.bytes().all(|byte| byte.is_ascii_hexdigit());
            u8::from_str_radix(pair, 16).ok().filter(|_| is_hex)
        });
        Some(Self {
            algorithm,
            digest: digest.collect::<Option<_>>()?,
        })
    }

    /// How it was computed.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// Algorithm and digits, in lower case.
impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.algorithm.name())?;
        self.digest
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Hasher {
    /// Has seen no bytes yet.
    pub fn new(algorithm: Algorithm) -> Self {
        let state = match algorithm {
            Algorithm::Crc32 => State::Crc32(crc32fast::Hasher::new()),
            Algorithm::Md5 => State::Digest(Box::new(Md5::default())),
            Algorithm::Sha1 => State::Digest(Box::new(Sha1::default())),
            Algorithm::Sha256 => State::Digest(Box::new(Sha256::default())),
            Algorithm::Sha512 => State::Digest(Box::new(Sha512::default())),
        };
        Self { algorithm, state }
    }

    /// Goes on with these.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Crc32(crc) => crc.update(bytes),
            State::Digest(digest) => digest.update(bytes),
        }
    }

    /// The checksum of all of them.
    pub fn finish(self) -> Checksum {
        Checksum {
            algorithm: self.algorithm,
            digest: match self.state {
                State::Crc32(crc) => Box::new(crc.finalize().to_be_bytes()),
                State::Digest(digest) => digest.finalize(),
            },
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksums_are_those_that_everybody_computes() {
        // Of "123456789", by zlib and coreutils.
        let table = [
            (Algorithm::Crc32, "cbf43926"),
            (Algorithm::Md5, "25f9e794323b453885f5181f1b624d0b"),
            (Algorithm::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
            (
                Algorithm::Sha256,
                "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
            ),
            (
                Algorithm::Sha512,
                "d9e6762dd1c8eaf6d61b3c6192fc408d4d6d5f1176d0c29169bc24e71c3f274ad27fcd5811b313d681f7e55ec02d73d499c95455b6b5bb503acf574fba8ffe85",
            ),
        ];
        for (algorithm, digits) in table {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(b"1234");
            hasher.update(b"56789");
            let ours = hasher.finish();
            assert_eq!(ours.to_string(), format!("{} {digits}", algorithm.name()));
            let upper = digits.to_ascii_uppercase();
            let theirs = Checksum::from_hex(algorithm, upper.as_bytes());
            assert_eq!(theirs, Some(ours));
        }
    }

    #[test]
    fn digits_are_as_many_as_they_must_be() {
        let crc = |digits: &str| Checksum::from_hex(Algorithm::Crc32, digits.as_bytes());
        assert_eq!(crc("aae4aae"), crc("0AAE4AAE"));
        for wrong in ["", "123456789", "1234567g", "+1234567", "-1"] {
            assert_eq!(crc(wrong), None, "{wrong}");
        }
        let short = Checksum::from_hex(Algorithm::Md5, b"25f9e794323b453885f5181f1b624d0");
        assert_eq!(short, None);
    }

    #[test]
    fn algorithms_are_known_by_any_spelling() {
        assert_eq!(Algorithm::named(b"sha1"), Some(Algorithm::Sha1));
        assert_eq!(Algorithm::named(b"SHA-256"), Some(Algorithm::Sha256));
        assert_eq!(Algorithm::named(b"crc32"), Some(Algorithm::Crc32));
        assert_eq!(Algorithm::named(b"SHA-3"), None);
    }
}
