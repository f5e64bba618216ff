//! The values that options take: sizes with suffixes, seconds with fractions, octal masks.

use std::time::Duration;

use crate::config::Charset;

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
    fn masks_are_octal() {
        assert_eq!(parse_mask("022"), Ok(0o22));
        assert_eq!(parse_mask("7"), Ok(7));
        for text in ["", "8", "10000", "0x12", "-1"] {
            assert!(parse_mask(text).is_err(), "{text}");
        }
        assert_eq!(parse_id("1000"), Ok(1000));
        assert!(parse_id("anna").is_err() && parse_id("4294967295").is_err());
    }
}
