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
