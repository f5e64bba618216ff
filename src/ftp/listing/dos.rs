//! One line of a DOS listing, as IIS writes it.
//!
//! ```text
//! 01-23-26  03:05PM       <DIR>          a directory
//! 01-23-2026  15:05                12345 a file
//!                         '-- 15 wide ---' the name
//! ```

use chrono::{Datelike, NaiveDate};

use super::{
    dates::{self, any_year},
    fields::is_blank,
    line::Line,
    settle::{Doubts, Order},
    sizes,
    time::{Clock, date, digits_up_to_two},
};
use crate::remote::{EntryKind, EntryRef};

/// The width of `<DIR>` and its like with what pads it.
const KIND_WIDTH: usize = 15;

pub(super) fn parse_line<'a>(line: &'a [u8], doubts: &mut Doubts) -> Line<'a> {
    parse(line, doubts).map_or(Line::Reject, Line::of)
}

fn parse<'a>(line: &'a [u8], doubts: &mut Doubts) -> Option<EntryRef<'a>> {
    let (date, rest) = field(line)?;
    let (time, mut rest) = field(rest)?;
    let (mut clock, precision) = Clock::parse(without_half(time))?;
    let half = match time.get(without_half(time).len()..)? {
        [] => match field(rest) {
            // `03:05 PM`, in two fields.
            Some((word @ [_, _], behind)) if without_half(word).is_empty() => {
                rest = behind;
                word
            }
            _ => b"",
        },
        half => half,
    };
    let is_time = clock
        .in_half(half.first().map(u8::to_ascii_lowercase))
        .is_some();
    let day = match parse_day(date) {
        Some(day) => {
            doubts.note_order(order(day, date, half));
            Some(day)
        }
        None => dates::day(date, doubts)?.0,
    };
    let (what, behind) = field(rest)?;
    let (kind, size) = parse_kind(what)?;
    let name = match kind {
        None => behind.split_at_checked(1)?.1,
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
    entry.modified = day
        .filter(|_| is_time)
        .and_then(|day| clock.on(day, precision));
    Some(entry)
}

/// IIS writes the month first, with AM and PM. Others may not, and other lines show it.
fn order(day: NaiveDate, text: &[u8], half: &[u8]) -> Order {
    match (day.day(), day.month()) {
        (13.., _) => Order::MonthFirst,
        (day, month) if day == month => Order::Either,
        _ if half.is_empty() && text.contains(&b'/') => Order::Open,
        _ => Order::Usual,
    }
}

enum Kind {
    Dir,
    DirLink,
    FileLink,
}

/// `<DIR>` and its like, or a size.
fn parse_kind(text: &[u8]) -> Option<(Option<Kind>, Option<u64>)> {
    let kind = match text {
        b"<DIR>" | b"<dir>" | b"<Dir>" | b"DIR" => Kind::Dir,
        b"<JUNCTION>" | b"<SYMLINKD>" => Kind::DirLink,
        b"<SYMLINK>" => Kind::FileLink,
        _ => return Some((None, sizes::size(text)?.bytes())),
    };
    Some((Some(kind), None))
}

/// The name behind `<DIR>`: it begins where the column ends, so that its own leading spaces stay; where the column is
/// narrower than on IIS, at the first byte that is no space.
fn behind_kind<'a>(what: &[u8], behind: &'a [u8]) -> Option<&'a [u8]> {
    let spaces = behind.iter().position(|byte| !is_blank(*byte))?;
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
    let year = any_year(year)?;
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
    let text = text.get(text.iter().position(|byte| !is_blank(*byte))?..)?;
    let end = text
        .iter()
        .position(|byte| is_blank(*byte))
        .unwrap_or(text.len());
    text.split_at_checked(end)
}
