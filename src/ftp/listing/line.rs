//! What one line of a listing is, and the numbers in it.

use crate::remote::{EntryKind, EntryRef, InvalidName, RemotePath};

/// What one line is.
#[derive(Debug)]
pub(super) enum Line<'a> {
    /// What is shown.
    Entry(EntryRef<'a>),
    /// Rightly there and no entry: `total 12`.
    Skip,
    /// The directory itself, or its parent.
    Dots,
    /// Not understood.
    Reject,
}

impl<'a> Line<'a> {
    /// The entry, if its name is one that can be shown.
    pub(super) fn of(entry: EntryRef<'a>) -> Self {
        match RemotePath::check_name(entry.name) {
            Ok(()) => Self::Entry(entry),
            Err(InvalidName::Dots) => Self::Dots,
            Err(InvalidName::Separator) if entry.name.contains(&b'/') => {
                match last_name(entry.name, entry.kind) {
                    Some(name) => Self::of(EntryRef { name, ..entry }),
                    None => Self::Reject,
                }
            }
            Err(InvalidName::Empty | InvalidName::Separator) => Self::Reject,
        }
    }
}

/// Whether a line is the sum above a listing (in other languages than English too) or the heading of its columns.
pub(super) fn is_heading(line: &[u8]) -> bool {
    /// In UTF-8; GB 18030, Big5 and `Shift_JIS` for the Asian ones.
    const SUMS: [&[u8]; 24] = [
        b"total",
        b"insgesamt",
        b"summe",
        b"totale",
        b"totaal",
        b"razem",
        b"celkem",
        b"totalt",
        b"toplam",
        b"yhteens\xC3\xA4",
        b"\xC3\xB6sszesen",
        "итого".as_bytes(),
        "всего".as_bytes(),
        "总用量".as_bytes(),
        "總計".as_bytes(),
        "总计".as_bytes(),
        "合計".as_bytes(),
        "합계".as_bytes(),
        b"\xD7\xDC\xD3\xC3\xC1\xBF",
        b"\xD7\xDC\xBC\xC6",
        b"\xC1`\xADp",
        b"\x8D\x87\x8Cv",
        b"\xC9\xD4\xCF\xC7\xCF",
        b"\xE8\xF2\xEE\xE3\xEE",
    ];
    const HEADINGS: [&[u8]; 5] = [
        // VMS, MVS, VxWorks
        b"directory ",
        b"volume unit ",
        b"name     vv.mm",
        b"size          date",
        b"--------",
    ];
    let lower = line.trim_ascii().to_ascii_lowercase();
    let is_sum = SUMS.iter().any(|sum| {
        let rest = lower.strip_prefix(*sum).unwrap_or_default();
        let rest = rest.strip_prefix(b":").unwrap_or(rest);
        let size = rest.trim_ascii();
        size.len() < rest.len() && super::sizes::size(size).is_some()
    });
    is_sum
        || HEADINGS.iter().any(|heading| lower.starts_with(heading))
        || lower.starts_with(b"total of ") && lower.contains(&b',')
}

/// The name in a path: some servers tell whole paths, and some put a slash behind directories.
fn last_name(path: &[u8], kind: EntryKind) -> Option<&[u8]> {
    let name = match path {
        [name @ .., b'/'] if matches!(kind, EntryKind::Directory | EntryKind::Symlink) => name,
        [b'/', ..] | [b'.', b'/', ..] => path.rsplit(|byte| *byte == b'/').next()?,
        _ => return None,
    };
    Some(name).filter(|name| !name.is_empty())
}

/// A number of nothing but digits.
pub(super) fn number<T: TryFrom<u64>>(digits: &[u8]) -> Option<T> {
    radix(digits, 10).and_then(|number| T::try_from(number).ok())
}

/// Digits of a radix up to ten.
pub(super) fn radix(digits: &[u8], radix: u8) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < radix)?;
        number.checked_mul(radix.into())?.checked_add(digit.into())
    })
}
