//! The values that options take: sizes with suffixes, seconds with fractions, octal masks.

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};

use crate::config::{Charset, OnConflict, Pin};

/// A number of bytes: `8388608`, `8192K`, `8M`, `8MiB`, `1G`; the suffixes count in 1024s.
///
/// # Errors
///
/// What a size looks like.
pub(super) fn parse_bytes(text: &str) -> Result<u64, String> {
    const FORM: &str =
        "a size is a number of bytes, or one with K, M, G or T behind it, such as 64M";
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let shift = match suffix.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(FORM.to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| FORM.to_owned())?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| FORM.to_owned())
}

/// Seconds, with a fraction if need be; 0 means "not at all".
///
/// # Errors
///
/// What a duration looks like.
pub(super) fn parse_seconds(text: &str) -> Result<Duration, String> {
    /// A year. Longer is a slip of the hand, and an instant that far away need not exist.
    const SECONDS_MAX: f64 = 365.0 * 86_400.0;
    let text = text.strip_suffix('s').unwrap_or(text);
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=SECONDS_MAX).contains(&seconds) => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => Err("a time is a number of seconds, such as 30 or 0.5, and at most a year".to_owned()),
    }
}

/// Seconds, more than none.
///
/// # Errors
///
/// What a duration looks like.
pub(super) fn parse_timeout(text: &str) -> Result<Duration, String> {
    /// Less than this is shorter than a round trip around the earth.
    const TIMEOUT_MIN: Duration = Duration::from_millis(100);
    let timeout = parse_seconds(text)?;
    if timeout < TIMEOUT_MIN {
        return Err("a time-out is at least 0.1 seconds".to_owned());
    }
    Ok(timeout)
}

/// The name of a character set.
///
/// # Errors
///
/// Which names there are.
pub(super) fn parse_charset(text: &str) -> Result<Charset, String> {
    Charset::for_label(text)
}

/// What is done about a conflict.
///
/// # Errors
///
/// Which words there are.
pub(super) fn parse_conflict(text: &str) -> Result<OnConflict, String> {
    match text {
        "keep-both" => Ok(OnConflict::KeepBoth),
        "fail" => Ok(OnConflict::Fail),
        "ours" => Ok(OnConflict::Ours),
        _ => Err("it is keep-both, fail or ours".to_owned()),
    }
}

/// A SHA-256 digest as openssl, browsers and curl show it: 64 hexadecimal digits, with colons or without, or base64;
/// `sha256:`, `sha256//` or `sha256/` may stand before it.
///
/// # Errors
///
/// What a digest looks like.
pub(super) fn parse_pin(text: &str) -> Result<Pin, String> {
    const FORM: &str = "a pin is a SHA-256 digest: 64 hexadecimal digits, with colons or without, or 44 characters of base64";
    let is_prefixed = text
        .get(..7)
        .is_some_and(|prefix| matches!(&*prefix.to_ascii_lowercase(), "sha256:" | "sha256/"));
    let digest = match text.get(7..) {
        Some(rest) if is_prefixed => rest.strip_prefix('/').unwrap_or(rest),
        _ => text,
    };
    let hex: String = digest.chars().filter(|c| *c != ':').collect();
    let bytes = match hex.len() {
        64 => hex_digest(&hex),
        _ => BASE64_STANDARD_NO_PAD
            .decode(digest.trim_end_matches('='))
            .ok()
            .and_then(|bytes| bytes.try_into().ok()),
    };
    bytes.map(Pin).ok_or_else(|| FORM.to_owned())
}

fn hex_digest(hex: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
        let high = char::from(*pair.first()?).to_digit(16)?;
        let low = char::from(*pair.get(1)?).to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(bytes)
}

/// How many streams read one file; found out by measuring if not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Streams(pub(super) Option<usize>);

/// A number of streams, or `auto`.
///
/// # Errors
///
/// What it may be.
pub(super) fn parse_streams(text: &str) -> Result<Streams, String> {
    /// As many as there can be sessions, less one for listings and commands.
    const STREAMS_MAX: usize = 127;
    if text == "auto" {
        return Ok(Streams(None));
    }
    match text.parse() {
        Ok(count) if (1..=STREAMS_MAX).contains(&count) => Ok(Streams(Some(count))),
        _ => Err(format!("it is a number from 1 to {STREAMS_MAX}, or auto")),
    }
}

/// One port, or the first and the last of several.
///
/// # Errors
///
/// What a range looks like.
pub(super) fn parse_ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if 0 < first && first <= last => Ok(first..=last),
        _ => Err("a range of ports is written 40000-40100".to_owned()),
    }
}

/// Permission bits in octal.
///
/// # Errors
///
/// What a mask looks like.
pub(super) fn parse_mask(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mask) if mask <= 0o7777 => Ok(mask),
        _ => Err("a mask is an octal number such as 022".to_owned()),
    }
}

/// A user's or group's number.
///
/// # Errors
///
/// What a number looks like.
pub(super) fn parse_id(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| "it is a number, as 'id -u' and 'id -g' print it".to_owned())
}

/// A path that holds wherever the program works: the daemon works in `/`, so that it keeps no directory busy.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_suffix() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("64M", 64 << 20),
            ("64m", 64 << 20),
            ("8KiB", 8 << 10),
            ("2gb", 2 << 30),
            ("1T", 1 << 40),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "M",
            "-1",
            "1.5M",
            "64X",
            "64 M",
            "18446744073709551616",
            "99999999999T",
            "１",
        ] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn seconds_may_have_a_fraction_and_no_sign() {
        assert_eq!(parse_seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_seconds("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_seconds("0"), Ok(Duration::ZERO));
        for text in ["", "-1", "NaN", "inf", "1e300", "5m", "1,5"] {
            assert!(parse_seconds(text).is_err(), "{text}");
        }
        assert!(parse_timeout("0").is_err());
        assert!(parse_timeout("0.2").is_ok());
    }

    #[test]
    fn streams_are_a_number_or_found_out() {
        assert_eq!(parse_streams("auto"), Ok(Streams(None)));
        assert_eq!(parse_streams("7"), Ok(Streams(Some(7))));
        for text in ["", "0", "128", "-1", "Auto", "2.5"] {
            assert!(parse_streams(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ports_are_one_or_a_range() {
        assert_eq!(parse_ports("40000-40100"), Ok(40000..=40100));
        assert_eq!(parse_ports("7"), Ok(7..=7));
        for text in ["", "-", "0", "0-7", "8-7", "1-", "65536", "1-2-3"] {
            assert!(parse_ports(text).is_err(), "{text}");
        }
    }

    #[test]
    fn masks_are_octal() {
        assert_eq!(parse_mask("022"), Ok(0o22));
        assert_eq!(parse_mask("7"), Ok(7));
        for text in ["", "8", "10000", "0x12", "-1"] {
            assert!(parse_mask(text).is_err(), "{text}");
        }
        assert_eq!(parse_id("1000"), Ok(1000));
        assert!(parse_id("anna").is_err() && parse_id("4294967295").is_err());
    }

    #[test]
    fn pins_are_hex_or_base64() {
        let digest: [u8; 32] = std::array::from_fn(|index| u8::try_from(index * 8).unwrap());
        let hex: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        // From: printf of these bytes | base64
        let base64 = "AAgQGCAoMDhASFBYYGhweICIkJigqLC4wMjQ2ODo8Pg=";
        for text in [
            hex.concat(),
            hex.join(":").to_uppercase(),
            format!("SHA256:{}", hex.join(":")),
            base64.to_owned(),
            base64.trim_end_matches('=').to_owned(),
            format!("sha256//{base64}"),
        ] {
            assert_eq!(parse_pin(&text), Ok(Pin(digest)), "{text}");
        }
        let nearly = base64.replace("g=", "h=");
        for text in [
            "",
            "abcd",
            &hex.concat()[1..],
            &hex.concat().replace('0', "g"),
            &nearly,
        ] {
            assert!(parse_pin(text).unwrap_err().contains("SHA-256"), "{text}");
        }
    }
}
