//! One line of a DOS listing, as IIS writes it.
//!
//! ```text
//! 01-23-26  03:05PM       <DIR>          a directory
//! 01-23-2026  15:05                12345 a file
//!                         '-- 15 wide ---' the name
//! ```

use chrono::NaiveDate;

use super::{
    line::{Line, number},
    time::{Clock, date, digits_up_to_two},
};
use crate::remote::{EntryKind, EntryRef};

/// The width of `<DIR>` and its like with what pads it.
const KIND_WIDTH: usize = 15;

pub(super) fn parse_line(line: &[u8]) -> Line<'_> {
    parse(line).map_or(Line::Reject, Line::of)
}

fn parse(line: &[u8]) -> Option<EntryRef<'_>> {
    let (day, rest) = field(line)?;
    let day = parse_day(day)?;
    let (time, mut rest) = field(rest)?;
    let (mut clock, precision) = Clock::parse(without_half(time))?;
    let half = match time.get(without_half(time).len()..)? {
        [] => match field(rest) {
            // `03:05 PM`, in two fields.
            Some((word, behind)) if without_half(word).is_empty() => {
                rest = behind;
                word
            }
            _ => b"",
        },
        half => half,
    };
    clock.hour = match (half.first().map(u8::to_ascii_lowercase), clock.hour) {
        (None, hour) => hour,
        (Some(b'a'), 12) => 0,
        (Some(b'a'), hour @ 0..12) | (Some(b'p'), hour @ 12) => hour,
        (Some(b'p'), hour @ 0..12) => hour + 12,
        _ => return None,
    };
    let (what, behind) = field(rest)?;
    let (kind, size) = parse_kind(what)?;
    let name = match kind {
        None => behind.strip_prefix(b" ")?,
        Some(_) => behind_kind(what, behind)?,
    };
    let (name, kind) = match kind {
        None => (name, EntryKind::File),
        Some(Kind::Dir) => (name, EntryKind::Directory),
        // Its target is a path of Windows, which means nothing in the tree that the server shows; the server follows it
        // by itself.
        Some(Kind::DirLink) => (without_target(name), EntryKind::Directory),
        Some(Kind::FileLink) => (without_target(name), EntryKind::File),
    };
    let mut entry = EntryRef::new(name, kind);
    entry.size = size;
    entry.modified = clock.on(day, precision);
    entry.modified.is_some().then_some(entry)
}

enum Kind {
    Dir,
    DirLink,
    FileLink,
}

/// `<DIR>` and its like, or a size.
fn parse_kind(text: &[u8]) -> Option<(Option<Kind>, Option<u64>)> {
    let kind = match text {
        b"<DIR>" | b"<dir>" => Kind::Dir,
        b"<JUNCTION>" | b"<SYMLINKD>" => Kind::DirLink,
        b"<SYMLINK>" => Kind::FileLink,
        _ => return Some((None, Some(number(text)?))),
    };
    Some((Some(kind), None))
}

/// The name behind `<DIR>`: it begins where the column ends, so that its own leading spaces stay; where the column is
/// narrower than on IIS, at the first byte that is no space.
fn behind_kind<'a>(what: &[u8], behind: &'a [u8]) -> Option<&'a [u8]> {
    let spaces = behind.iter().position(|byte| *byte != b' ')?;
    behind
        .get(spaces.min(KIND_WIDTH.saturating_sub(what.len()))..)
        .filter(|_| spaces > 0)
}

/// `name [target]` without the target.
fn without_target(name: &[u8]) -> &[u8] {
    if !name.ends_with(b"]") {
        return name;
    }
    let bracket = name.windows(2).rposition(|pair| pair == b" [");
    bracket.and_then(|at| name.get(..at)).unwrap_or(name)
}

/// Month, day and year, the year in two digits or four.
fn parse_day(text: &[u8]) -> Option<NaiveDate> {
    let mut parts = text.split(|byte| matches!(byte, b'-' | b'/'));
    let (month, day, year) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let year = match (year.len(), number::<i32>(year)?) {
        (4, year) => year,
        // No server has a file from before 1970.
        (2, year @ 70..) => 1900 + year,
        (2, year) => 2000 + year,
        _ => return None,
    };
    date(year, digits_up_to_two(month)?, digits_up_to_two(day)?)
}

/// A time without its `AM` or `PM`.
fn without_half(time: &[u8]) -> &[u8] {
    match time {
        [rest @ .., b'A' | b'a' | b'P' | b'p', b'M' | b'm'] => rest,
        _ => time,
    }
}

/// The next run of bytes that are not spaces, and what is behind it.
fn field(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.get(text.iter().position(|byte| *byte != b' ')?..)?;
    let end = text
        .iter()
        .position(|byte| *byte == b' ')
        .unwrap_or(text.len());
    text.split_at_checked(end)
}
