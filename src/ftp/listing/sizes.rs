//! The column of the size, where it is more than digits.

use super::line::number;

/// What a column of a size says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    Bytes(u64),
    /// Negative, rounded, or too large.
    Unknown,
}

impl Size {
    pub(super) fn bytes(self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Unknown => None,
        }
    }
}

/// The size that a word stands for, if for any.
pub(super) fn size(text: &[u8]) -> Option<Size> {
    if let Some(size) = number(text) {
        return Some(Size::Bytes(size));
    }
    let digits = text.iter().filter(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return None;
    }
    if let Some(size) = grouped(text) {
        return Some(Size::Bytes(size));
    }
    if let Some(bytes) = [&b"B"[..], b"b", b"bytes", b"Bytes"]
        .iter()
        .find_map(|unit| text.strip_suffix(*unit))
    {
        return Some(
            number(bytes)
                .or_else(|| grouped(bytes))
                .map_or(Size::Unknown, Size::Bytes),
        );
    }
    // Negative, in brackets, or rounded to a unit: not known.
    let text = text.strip_prefix(b"(").unwrap_or(text);
    let text = text.strip_suffix(b")").unwrap_or(text);
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let end = text
        .iter()
        .position(|byte| !matches!(byte, b'0'..=b'9' | b'.' | b','));
    let (mantissa, unit) = text.split_at_checked(end.unwrap_or(text.len()))?;
    let is_unit = matches!(unit, [] | [_] | [_, b'B' | b'b' | b'i'] | [_, b'i', b'B']);
    let is_known = unit
        .first()
        .is_none_or(|first| b"kKmMgGtTpP".contains(first));
    (!mantissa.is_empty() && is_unit && is_known).then_some(Size::Unknown)
}

/// Digits in groups of three: `1,234,567`, `9.730`, `9'730`, also with a space that does not break.
fn grouped(text: &[u8]) -> Option<u64> {
    const MARKS: [&[u8]; 7] = [
        b",",
        b".",
        b"'",
        b"_",
        b"\xA0",
        b"\xC2\xA0",
        b"\xE2\x80\xAF",
    ];
    let first = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let (head, mut rest) = text.split_at_checked(first)?;
    let mark = MARKS.iter().find(|mark| rest.starts_with(mark))?;
    if head.is_empty() || head.len() > 3 {
        return None;
    }
    let mut digits = head.to_vec();
    while !rest.is_empty() {
        let (group, behind) = rest.strip_prefix(*mark)?.split_at_checked(3)?;
        digits.extend_from_slice(group);
        rest = behind;
    }
    number(&digits)
}

/// The digits at the end of a long word: a group that has filled its column and the size behind it.
pub(super) fn glued(text: &[u8]) -> Option<u64> {
    /// Columns for names are eight wide at least.
    const WORD_BYTES_MIN: usize = 9;
    let letters = text.iter().rposition(|byte| !byte.is_ascii_digit())?;
    let (word, digits) = text.split_at_checked(letters + 1)?;
    number(digits).filter(|_| word.len() >= WORD_BYTES_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_exact_or_unknown() {
        for (text, expected) in [
            ("0", Some(Size::Bytes(0))),
            ("9,730", Some(Size::Bytes(9730))),
            ("1.234.567", Some(Size::Bytes(1_234_567))),
            ("1\u{202F}234", Some(Size::Bytes(1234))),
            ("12'345", Some(Size::Bytes(12_345))),
            ("512B", Some(Size::Bytes(512))),
            ("-1", Some(Size::Unknown)),
            ("(-1)", Some(Size::Unknown)),
            ("(12)", Some(Size::Unknown)),
            ("33.5k", Some(Size::Unknown)),
            ("2KB", Some(Size::Unknown)),
            ("1.5GiB", Some(Size::Unknown)),
            ("4.5", Some(Size::Unknown)),
            ("99999999999999999999", Some(Size::Unknown)),
            ("1,23", Some(Size::Unknown)),
            ("x", None),
            ("group1", None),
            ("1x", None),
        ] {
            assert_eq!(size(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(glued(b"longgroup123456"), Some(123_456));
        assert_eq!(glued(b"group12"), None);
        assert_eq!(glued(b"123456789012"), None);
    }
}
