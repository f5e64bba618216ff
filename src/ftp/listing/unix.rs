//! One line of `ls -l`, in the many ways in which servers write it.
//!
//! ```text
//! -rw-r--r--+  1 owner  group     1024 Jan  5 12:30 name
//! mode      '  links and names    size time        ^ one space, then the name
//!           ACL mark
//! ```
//!
//! Links, owner and group may be missing or hold spaces, so the line is read from the left until a number is followed by a
//! time: these are size and time, and exactly one space behind the time the name begins.

use super::{
    line::{Line, number, radix},
    settle::Doubts,
    time::{Clock, Today, date, digits_up_to_two, month, parse_fraction},
};
use crate::remote::{EntryKind, EntryRef, Modified, Precision};

/// Columns that may stand before the time. Nine are usual at most; two names of four words each fit.
const COLUMNS_MAX: usize = 12;

pub(super) fn parse_line<'a>(line: &'a [u8], today: &Today, doubts: &mut Doubts) -> Line<'a> {
    if is_total(line) {
        return Line::Skip;
    }
    parse(line, today, doubts).map_or(Line::Reject, Line::of)
}

fn parse<'a>(line: &'a [u8], today: &Today, doubts: &mut Doubts) -> Option<EntryRef<'a>> {
    let (kind, mode) = parse_mode(line)?;
    let found = Columns::find(line, today)?;
    let rest = line.get(found.name_at..)?;
    let (name, target) = match kind {
        EntryKind::Symlink => split_target(rest),
        _ => (rest, None),
    };
    let mut entry = EntryRef::new(name, kind);
    entry.mode = Some(mode);
    entry.size = found.size;
    entry.modified = Some(found.modified);
    entry.target = target;
    if found.lacks_year {
        doubts.note_time(entry.modified, name, today);
    }
    Some(entry)
}

/// `total 12`, the first line of `ls -l`.
fn is_total(line: &[u8]) -> bool {
    let rest = line
        .split_at_checked(6)
        .filter(|(word, _)| word.eq_ignore_ascii_case(b"total "));
    rest.is_some_and(|(_, rest)| number::<u64>(rest.trim_ascii()).is_some())
}

/// The kind and the permission bits of `drwxr-sr-x` and the like.
pub(super) fn parse_mode(line: &[u8]) -> Option<(EntryKind, u32)> {
    let (first, letters) = line.get(..10)?.split_first()?;
    let kind = match first {
        b'-' => EntryKind::File,
        b'd' => EntryKind::Directory,
        b'l' => EntryKind::Symlink,
        b'p' | b's' | b'c' | b'b' => EntryKind::Special,
        _ => return None,
    };
    // setuid, setgid and sticky stand in the place of their group's x, a capital where there is no x.
    let mut mode = 0;
    for (letters, special) in letters.chunks(3).zip([0o4000, 0o2000, 0o1000]) {
        let [read, write, execute] = letters else {
            return None;
        };
        let bits = match (read, write, execute) {
            (b'r' | b'-', b'w' | b'-', b'x') => 1,
            (b'r' | b'-', b'w' | b'-', b'-') => 0,
            (b'r' | b'-', b'w' | b'-', b's' | b't') => 1 | special,
            (b'r' | b'-', b'w' | b'-', b'S' | b'T' | b'l' | b'L') => special,
            _ => return None,
        };
        let rights = u32::from(*read == b'r') << 2 | u32::from(*write == b'w') << 1;
        mode = (mode & 0o7000) | (mode & 0o777) << 3 | rights | (bits & 1) | (bits & 0o7000);
    }
    Some((kind, mode))
}

/// Name and target of a symbolic link. Where ` -> ` is there more than once, the line does not tell which one is the
/// link's own. The first is taken: a target is a path of several names, so that one with an arrow in it is likelier than
/// a name with an arrow.
pub(super) fn split_target(rest: &[u8]) -> (&[u8], Option<&[u8]>) {
    const ARROW: &[u8] = b" -> ";
    let arrow = rest.windows(ARROW.len()).position(|part| part == ARROW);
    match arrow.and_then(|at| rest.split_at_checked(at)) {
        Some((name, target)) => (
            name,
            target
                .get(ARROW.len()..)
                .filter(|target| !target.is_empty()),
        ),
        None => (rest, None),
    }
}

/// What stands between mode and name.
struct Columns {
    size: Option<u64>,
    modified: Modified,
    name_at: usize,
    /// Whether the year was guessed.
    lacks_year: bool,
}

impl Columns {
    fn find(line: &[u8], today: &Today) -> Option<Self> {
        let is_device = matches!(line.first(), Some(b'c' | b'b'));
        let mut at = 10 + usize::from(matches!(line.get(10), Some(b'+' | b'.' | b'@')));
        let mut last: &[u8] = b"";
        for _ in 0..COLUMNS_MAX {
            let (start, end) = next_field(line, at)?;
            let field = line.get(start..end)?;
            let is_size = number::<u64>(last).is_some() || is_device && is_pair(last);
            if is_size
                && let Some((modified, end, lacks_year)) = parse_time(line, start, end, today)
            {
                let size = number(last).filter(|_| !is_device);
                let name_at = (line.get(end) == Some(&b' ')).then_some(end + 1)?;
                return Some(Self {
                    size,
                    modified,
                    name_at,
                    lacks_year,
                });
            }
            (last, at) = (field, end);
        }
        None
    }
}

/// `major,minor` without a space.
fn is_pair(field: &[u8]) -> bool {
    let mut parts = field.split(|byte| *byte == b',');
    parts
        .by_ref()
        .take(2)
        .all(|part| number::<u64>(part).is_some())
        && field.contains(&b',')
        && parts.next().is_none()
}

/// The next run of bytes that are not spaces.
fn next_field(line: &[u8], at: usize) -> Option<(usize, usize)> {
    let start = at + line.get(at..)?.iter().position(|byte| *byte != b' ')?;
    let rest = line.get(start..)?;
    Some((
        start,
        start
            + rest
                .iter()
                .position(|byte| *byte == b' ')
                .unwrap_or(rest.len()),
    ))
}

/// The time whose first field is given, where its last field ends, and whether its year was guessed.
fn parse_time(
    line: &[u8],
    start: usize,
    end: usize,
    today: &Today,
) -> Option<(Modified, usize, bool)> {
    let first = line.get(start..end)?;
    if first.len() == 10 {
        return parse_iso(line, first, end).map(|(modified, end)| (modified, end, false));
    }
    // `Jan  5` or `5 Jan`.
    if first.len() > 3 {
        return None;
    }
    let (start, end) = next_field(line, end)?;
    let second = line.get(start..end)?;
    let (month, day) = match month(first) {
        Some(month) => (month, digits_up_to_two(second)?),
        None => (month(second)?, digits_up_to_two(first)?),
    };
    let (start, end) = next_field(line, end)?;
    let last = line.get(start..end)?;
    if let Some((clock, precision)) = Clock::parse(last) {
        return Some((today.with_year(month, day, clock, precision)?, end, true));
    }
    let year = number(last).filter(|_| last.len() == 4)?;
    let modified = Clock::default().on(date(year, month, day)?, Precision::Day)?;
    Some((modified, end, false))
}

/// `2026-01-05 12:30`, with `:59`, `.123456789` and ` +0100` where the server has them.
fn parse_iso(line: &[u8], day: &[u8], end: usize) -> Option<(Modified, usize)> {
    let mut parts = day.split(|byte| *byte == b'-');
    let year = number(parts.next().filter(|year| year.len() == 4)?)?;
    let date = date(
        year,
        digits_up_to_two(parts.next()?)?,
        digits_up_to_two(parts.next()?)?,
    )?;
    let (start, end) = next_field(line, end)?;
    let text = line.get(start..end)?;
    let point = text.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = text.split_at_checked(point.unwrap_or(text.len()))?;
    let (clock, precision) = Clock::parse(whole)?;
    let mut modified = clock.on(date, precision)?;
    if let [b'.', digits @ ..] = fraction {
        modified.nanoseconds = parse_fraction(digits).filter(|_| precision == Precision::Second)?;
    }
    // A zone follows seconds only (`ls --full-time`), one space behind. At the end of the line it is a name that looks like a zone.
    let zone = line
        .get(end + 1..end + 6)
        .filter(|_| precision == Precision::Second);
    if let Some(ahead) = zone.and_then(parse_zone)
        && line.get(end + 6) == Some(&b' ')
    {
        modified.seconds -= ahead;
        return Some((modified, end + 6));
    }
    Some((modified, end))
}

/// `+0530` as seconds.
fn parse_zone(text: &[u8]) -> Option<i64> {
    let (sign, digits) = text.split_first()?;
    let (hours, minutes) = digits.split_at_checked(2).filter(|_| digits.len() == 4)?;
    let seconds = i64::try_from(radix(hours, 10)? * 3600 + radix(minutes, 10)? * 60).ok()?;
    match sign {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}
