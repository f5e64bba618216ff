//! One line of the servers that write neither `ls -l` nor DOS: what they have in common is a date, and a name before or behind it.
//!
//! The sources are the test tables of other clients, and the manuals of the systems.

use super::{
    dates::{self, Found},
    fields::{Fields, Gap},
    line::{Line, number},
    settle::Doubts,
    sizes,
    time::{Clock, Today, date, digits_up_to_two},
    unix::parse_mode,
};
use crate::remote::{EntryKind, EntryRef, Precision};

/// What the parsers of the families get.
struct Context<'a, 'b> {
    fields: Fields<'a>,
    today: &'b Today,
    doubts: &'b mut Doubts,
}

impl Context<'_, '_> {
    fn date(&mut self, at: usize) -> Option<Found> {
        dates::find(&self.fields, at, self.today, self.doubts)
    }
}

/// Reads a line of one family.
type Parser = for<'a> fn(&mut Context<'a, '_>) -> Option<EntryRef<'a>>;

/// The families in the order in which they are tried, each with a line of it.
#[rustfmt::skip]
const FAMILIES: &[(Parser, &str)] = &[
    (vms, "name.txt;1       155   2-JUL-2003 10:30:13.64"),
    (os9, "20.20 07/03/29 1026 d-ewrewr 2650 85920 name"),
    (size_first, "206876  Apr 04, 2000 21:06 name"),
    (as400, "QSYS            77824 02/23/00 15:09:55 *DIR name/"),
    (mvs, "WYOSPT 3420   2003/05/21  1  200  FB      80  8053  PS  SOME.FILE"),
    (name_first, "name       1014196  06/03/04  Thur.   10:20:03"),
];

pub(super) fn parse_line<'a>(line: &'a [u8], today: &Today, doubts: &mut Doubts) -> Line<'a> {
    let mut context = Context {
        fields: Fields::of(line),
        today,
        doubts,
    };
    FAMILIES
        .iter()
        .find_map(|(parse, _)| parse(&mut context))
        .map_or(Line::Reject, Line::of)
}

/// Whether a line is a name of VMS that was too long for the columns, which follow in the next line.
pub(super) fn is_begun(line: &[u8]) -> bool {
    version_at(line).is_some() && !line.contains(&b' ')
}

/// Where `;12` begins at the end of a name of VMS.
fn version_at(name: &[u8]) -> Option<usize> {
    let at = name.iter().rposition(|byte| *byte == b';')?;
    let version = name.get(at + 1..)?;
    (at > 0 && version.len() <= 5 && number::<u32>(version).is_some()).then_some(at)
}

/// VMS: name and version, blocks, date, owner, rights, some in another order. A size in blocks is not one in bytes.
fn vms<'a>(context: &mut Context<'a, '_>) -> Option<EntryRef<'a>> {
    let name = context.fields.get(0)?;
    let version_at = version_at(name)?;
    let found = (1..context.fields.len()).find_map(|at| context.date(at));
    let is_vms = found.is_some() || context.fields.get(1)?.contains(&b'/');
    let base = name.get(..version_at)?;
    let (stem, extension) = base.split_at_checked(base.len().saturating_sub(4))?;
    let mut entry = if extension.eq_ignore_ascii_case(b".DIR") {
        EntryRef::new(stem, EntryKind::Directory)
    } else {
        EntryRef::new(name, EntryKind::File)
    };
    entry.modified = found.and_then(|found| found.modified);
    is_vms.then_some(entry)
}

/// Microware OS-9: owner, `yy/mm/dd`, `hhmm`, attributes, sector, bytes, name.
fn os9<'a>(context: &mut Context<'a, '_>) -> Option<EntryRef<'a>> {
    let fields = &context.fields;
    let attributes = fields.get(3).filter(|text| text.len() == 8)?;
    let is_attributes = attributes.iter().all(|byte| b"d-sewr".contains(byte));
    let mut day = fields.get(1)?.split(|byte| *byte == b'/');
    let mut part = || digits_up_to_two(day.next()?);
    let (year, month, day) = (part()?, part()?, part()?);
    let (hour, minute) = fields.get(2)?.split_at_checked(2)?;
    let clock = Clock {
        hour: digits_up_to_two(hour)?,
        minute: digits_up_to_two(minute)?,
        second: 0,
    };
    let kind = match attributes.first() {
        Some(b'd') => EntryKind::Directory,
        _ => EntryKind::File,
    };
    let mut entry = EntryRef::new(fields.behind(5, Gap::All)?, kind);
    let century = if year < 70 { 2000 } else { 1900 };
    let day = date(century + i32::try_from(year).ok()?, month, day);
    entry.modified = day.and_then(|day| clock.on(day, Precision::Minute));
    // It may be in hexadecimal digits.
    entry.size = None;
    is_attributes.then_some(entry)
}

/// `VShell`, OS/2, `VxWorks`: the size first, then attributes and the date.
fn size_first<'a>(context: &mut Context<'a, '_>) -> Option<EntryRef<'a>> {
    let size = sizes::size(context.fields.get(0)?)?.bytes();
    let mut kind = EntryKind::File;
    let mut at = 1;
    while let Some(word) = context.fields.get(at).filter(|_| at < 4) {
        match word {
            b"DIR" | b"<DIR>" => kind = EntryKind::Directory,
            _ if word.len() <= 4 && word.iter().all(|byte| b"ARHS-".contains(byte)) => {}
            _ => break,
        }
        at += 1;
    }
    let found = context.date(at)?;
    let mut name = context.fields.behind(found.last, Gap::All)?;
    if let Some(directory) = name.strip_suffix(b"<DIR>") {
        name = directory.trim_ascii_end();
        kind = EntryKind::Directory;
    }
    if name.ends_with(b"/") {
        kind = EntryKind::Directory;
    }
    let mut entry = EntryRef::new(name, kind);
    entry.size = size.filter(|_| kind == EntryKind::File);
    entry.modified = found.modified;
    Some(entry)
}

/// OS/400: owner, size and date where there are any, a type with a star, the name.
fn as400<'a>(context: &mut Context<'a, '_>) -> Option<EntryRef<'a>> {
    let is_type = |text: &[u8]| {
        text.strip_prefix(b"*").is_some_and(|text| {
            text.len() >= 3
                && text
                    .iter()
                    .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        })
    };
    let at = (1..6).find(|at| context.fields.get(*at).is_some_and(is_type))?;
    let kind = match context.fields.get(at)? {
        b"*DIR" | b"*DDIR" | b"*FLR" | b"*LIB" => EntryKind::Directory,
        _ => EntryKind::File,
    };
    let mut name = context.fields.behind(at, Gap::All)?;
    let found = context.date(2).filter(|found| found.last + 1 == at);
    let mut kind = kind;
    if let Some(directory) = name.strip_suffix(b"/") {
        (name, kind) = (directory, EntryKind::Directory);
    }
    let mut entry = EntryRef::new(name, kind);
    if found.is_some() && kind == EntryKind::File {
        entry.size = sizes::size(context.fields.get(1)?)?.bytes();
    }
    entry.modified = found.and_then(|found| found.modified);
    Some(entry)
}

/// Datasets of MVS: `Volume Unit Referred Ext Used Recfm Lrecl BlkSz Dsorg Dsname`; a size in tracks is not one in bytes.
fn mvs<'a>(context: &mut Context<'a, '_>) -> Option<EntryRef<'a>> {
    let fields = &context.fields;
    let last = fields
        .len()
        .checked_sub(1)
        .filter(|last| (3..=9).contains(last))?;
    let unit: u32 =
        number(fields.get(1)?).filter(|_| fields.get(1).is_some_and(|unit| unit.len() == 4))?;
    let organisation = fields.get(last - 1)?;
    let kind = match organisation {
        b"PO" | b"PO-E" => EntryKind::Directory,
        b"PS" | b"DA" | b"VSAM" | b"PS-E" | b"IS" => EntryKind::File,
        _ => return None,
    };
    let name = fields.get(last)?;
    let found = context.date(2);
    let mut entry = EntryRef::new(name, kind);
    entry.modified = found.and_then(|found| found.modified);
    (unit > 0).then_some(entry)
}

/// Routers of Nortel, HP `NonStop`: the name first, the date last or before owner and rights.
fn name_first<'a>(context: &mut Context<'a, '_>) -> Option<EntryRef<'a>> {
    let name = context
        .fields
        .get(0)
        .filter(|name| parse_mode(name).is_none())?;
    let (at, found) = (2..=3).find_map(|at| {
        // Behind a size.
        sizes::size(context.fields.get(at - 1)?)?;
        Some((at, context.date(at)?))
    })?;
    let rest = context.fields.from(found.last + 1).unwrap_or_default();
    let is_end = rest.is_empty() || rest.ends_with(b"\"") && rest.contains(&b',');
    let mut entry = EntryRef::new(name, EntryKind::File);
    entry.size = sizes::size(context.fields.get(at - 1)?)?.bytes();
    entry.modified = found.modified;
    is_end.then_some(entry)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn each_family_reads_its_line() {
        let today = Today::new(UNIX_EPOCH);
        for (index, (_, line)) in FAMILIES.iter().enumerate() {
            let first = FAMILIES.iter().position(|(parse, _)| {
                let mut context = Context {
                    fields: Fields::of(line.as_bytes()),
                    today: &today,
                    doubts: &mut Doubts::default(),
                };
                let entry = parse(&mut context);
                entry.is_some_and(|entry| entry.modified.is_some())
            });
            assert_eq!(first, Some(index), "{line}");
        }
    }
}
