//! One line that begins with a mode and is not quite that of `ls -l`: a date in another language or shape, columns missing, a size that
//! is no number, a mode that is none.
//!
//! A line with a date and a name behind it is an entry; what else is not understood is unknown.

use super::{
    dates::{self, Found, Needs},
    fields::{Fields, Gap},
    line::{Line, number, radix},
    settle::Doubts,
    sizes,
    time::{Clock, Today},
    unix::{parse_mode, split_target},
};
use crate::remote::{EntryKind, EntryRef, Modified, Precision};

/// The last column at which a date may begin: the names of owner and group may be several words.
const DATE_AT_MAX: usize = 13;

pub(super) fn parse_line<'a>(line: &'a [u8], today: &Today, doubts: &mut Doubts) -> Line<'a> {
    let fields = Fields::of(line);
    let entry = with_mode(&fields, today, doubts).or_else(|| with_number(&fields));
    entry.map_or(Line::Reject, Line::of)
}

/// What a mode says.
struct Mode {
    kind: EntryKind,
    bits: Option<u32>,
    /// The column behind it.
    next: usize,
    /// `NetWare` aligns its names.
    is_netware: bool,
}

fn with_mode<'a>(fields: &Fields<'a>, today: &Today, doubts: &mut Doubts) -> Option<EntryRef<'a>> {
    let mode = find_mode(fields)?;
    let Some((at, found)) = find_date(fields, &mode, today, doubts) else {
        return without_date(fields, &mode);
    };
    let gap = if mode.is_netware { Gap::All } else { found.gap };
    let rest = fields.behind(found.last, gap)?;
    let mut entry = named(rest, &mode);
    entry.size = match mode.kind {
        EntryKind::Special => None,
        _ => size_before(fields, &mode, at),
    };
    entry.modified = found.modified;
    if found.lacks_year {
        doubts.note_time(found.modified, entry.name, today);
    }
    Some(entry)
}

fn named<'a>(rest: &'a [u8], mode: &Mode) -> EntryRef<'a> {
    let (name, target) = match mode.kind {
        EntryKind::Symlink => split_target(rest),
        _ => (rest, None),
    };
    let mut entry = EntryRef::new(name, mode.kind);
    entry.mode = mode.bits;
    entry.target = target;
    entry
}

fn find_mode(fields: &Fields<'_>) -> Option<Mode> {
    let first = fields.get(0)?;
    let kind = match first.first()? {
        b'-' => EntryKind::File,
        b'd' | b'D' => EntryKind::Directory,
        b'l' => EntryKind::Symlink,
        b'p' | b's' | b'c' | b'b' => EntryKind::Special,
        _ => return None,
    };
    let second = fields.get(1)?;
    let is_netware = first.len() == 1 && second.starts_with(b"[") && second.ends_with(b"]");
    let rights = first.get(1..10);
    let is_mode = rights.is_some_and(|rights| {
        let is_right = |byte: &u8| byte.is_ascii_alphabetic() || b"-?*".contains(byte);
        rights.iter().all(is_right)
    });
    (is_netware || is_mode).then(|| Mode {
        kind,
        bits: parse_mode(first).map(|(_, bits)| bits),
        next: if is_netware { 2 } else { 1 },
        is_netware,
    })
}

/// The first date, and its column.
fn find_date(
    fields: &Fields<'_>,
    mode: &Mode,
    today: &Today,
    doubts: &mut Doubts,
) -> Option<(usize, Found)> {
    let is_size = |at: usize| {
        let before = at.checked_sub(1).and_then(|at| fields.get(at));
        at > mode.next && before.and_then(sizes::size).is_some()
    };
    let columns = mode.next..DATE_AT_MAX.min(fields.len());
    let known = columns.clone().find_map(|at| {
        let found = dates::find(fields, at, today, doubts)?;
        let is_allowed = match found.needs {
            Needs::Nothing => true,
            Needs::Size => is_size(at),
            Needs::Columns => is_size(at) && at >= mode.next + 4,
        };
        is_allowed.then_some((at, found))
    });
    known.or_else(|| {
        columns
            .filter(|at| is_size(*at))
            .find_map(|at| Some((at, dates::find_unknown(fields, at, today, doubts)?)))
    })
}

/// The size in the column before the date.
fn size_before(fields: &Fields<'_>, mode: &Mode, date_at: usize) -> Option<u64> {
    let column = fields.get(date_at.checked_sub(1).filter(|at| *at >= mode.next)?)?;
    let has_links = fields
        .get(mode.next)
        .is_some_and(|links| number::<u64>(links).is_some());
    let columns = date_at - mode.next;
    if columns == 1 && has_links && mode.kind == EntryKind::Directory {
        // It may be the number of links as well.
        return None;
    }
    match sizes::size(column) {
        Some(size) => size.bytes(),
        None if columns == if has_links { 3 } else { 2 } => sizes::glued(column),
        None => None,
    }
}

/// `drwxr-xr-x 3 owner group 512 name`: as many columns as there are with nothing left out.
fn without_date<'a>(fields: &Fields<'a>, mode: &Mode) -> Option<EntryRef<'a>> {
    let size_at = mode.next + 3;
    number::<u64>(fields.get(mode.next)?)?;
    let size = sizes::size(fields.get(size_at)?)?;
    // Where a time is told the date is one that is not understood, and so is where the name begins.
    let has_time = (size_at + 1..=size_at + 4).any(|at| {
        let field = fields.get(at).unwrap_or_default();
        Clock::parse(field).is_some()
    });
    let rest = fields.behind(size_at, Gap::One).filter(|_| !has_time)?;
    let mut entry = named(rest, mode);
    entry.size = size.bytes();
    Some(entry)
}

/// `0100644   500  101   12345    123456789       name`: the mode in octal digits, the time in seconds.
fn with_number<'a>(fields: &Fields<'a>) -> Option<EntryRef<'a>> {
    let digits = fields
        .get(0)
        .filter(|digits| (6..=7).contains(&digits.len()))?;
    let mode = radix(digits.strip_prefix(b"0")?, 8)?;
    let kind = match mode & 0o170_000 {
        0o100_000 => EntryKind::File,
        0o040_000 => EntryKind::Directory,
        0o120_000 => EntryKind::Symlink,
        0o010_000 | 0o020_000 | 0o060_000 | 0o140_000 => EntryKind::Special,
        _ => return None,
    };
    for owner in 1..=2 {
        number::<u64>(fields.get(owner)?)?;
    }
    let size = number(fields.get(3)?)?;
    let seconds = number(fields.get(4)?)?;
    let mode = Mode {
        kind,
        bits: u32::try_from(mode & 0o7777).ok(),
        next: 1,
        is_netware: false,
    };
    let mut entry = named(fields.behind(4, Gap::All)?, &mode);
    entry.size = Some(size);
    entry.modified = Some(Modified {
        precision: Precision::Second,
        ..Modified::from_seconds(seconds)
    });
    Some(entry)
}
