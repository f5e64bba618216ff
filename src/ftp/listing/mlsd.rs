//! One line of MLSD or MLST: facts, one space, the name (RFC 3659 section 7.2), and what servers make of it.
//!
//! ```text
//! type=file;size=1024;modify=20260102030405;UNIX.mode=0644; a name; with=everything
//! '-- facts, each with its `;` -------------------------' ^ one space, then the name
//! ```

use super::{
    line::{Line, number, radix},
    time::parse_time_val,
};
use crate::remote::{EntryKind, EntryRef, Permissions, RemoteEntry};

/// The values that start the facts of a symbolic link: RFC 3659's own example and Pure-FTPd say `slink`, ProFTPD says `symlink`.
const LINK_TYPES: [&[u8]; 2] = [b"OS.unix=slink", b"OS.unix=symlink"];

/// The beginnings of the values for pipes, sockets and devices, as ProFTPD and Pure-FTPd have them.
const SPECIAL_TYPES: [&[u8]; 5] = [
    b"OS.unix=chr",
    b"OS.unix=blk",
    b"OS.unix=fifo",
    b"OS.unix=pipe",
    b"OS.unix=sock",
];

/// The `type` fact.
enum Type<'a> {
    Known(EntryKind),
    /// The listed directory itself, or its parent.
    Listed,
    Link(&'a [u8]),
    Unknown,
}

pub(super) fn parse_line(line: &[u8]) -> Line<'_> {
    match parse(line) {
        Some((_, true)) => Line::Dots,
        Some((entry, false)) => Line::of(entry),
        None => Line::Reject,
    }
}

/// Parses the one fact line of an MLST reply; the space that RFC 3659 section 7.2 puts before it may be there or not.
///
/// The entry's name is the path as the server wrote it: the caller sets the name that was asked for.
pub fn parse_facts(line: &[u8]) -> Option<RemoteEntry> {
    let line = match line.strip_prefix(b" ") {
        Some(rest) if parse(rest).is_some() => rest,
        _ => line,
    };
    parse(line).map(|(entry, _)| entry.to_entry())
}

/// The entry, and whether it is the listed directory itself or its parent.
fn parse(line: &[u8]) -> Option<(EntryRef<'_>, bool)> {
    let (facts, name) = split_name(line)?;
    let mut entry = EntryRef::new(name, EntryKind::File);
    let mut kind = Type::Unknown;
    // A server that forgets the last `;` is forgiven, a word without `=` is not: it is no fact line at all.
    for fact in facts
        .split(|byte| *byte == b';')
        .map(<[u8]>::trim_ascii_start)
        .filter(|fact| !fact.is_empty())
    {
        let (key, value) = split_at(fact, b'=')?;
        if key.eq_ignore_ascii_case(b"type") {
            kind = Type::from_fact(value);
        } else {
            set_fact(&mut entry, key, value);
        }
    }
    entry.kind = match kind {
        Type::Known(kind) => kind,
        Type::Listed => EntryKind::Directory,
        Type::Link(target) => {
            entry.target = (!target.is_empty()).then_some(target);
            EntryKind::Symlink
        }
        Type::Unknown if can_be_entered(&entry) => EntryKind::Directory,
        Type::Unknown => EntryKind::File,
    };
    Some((entry, matches!(kind, Type::Listed)))
}

/// Whether the server grants what only a directory has: to be entered, listed or written into.
fn can_be_entered(entry: &EntryRef<'_>) -> bool {
    entry
        .permissions
        .is_some_and(|perm| b"celmp".iter().any(|letter| perm.allows(*letter)))
}

/// Facts and name. The first space ends the facts, for a fact holds none. Some servers do it otherwise:
/// 1. a link's target and the names of owner and group may hold spaces; then the first space behind a `;` ends the facts;
/// 2. the space before the name is left out, or is a TAB: the name begins behind the last known fact;
/// 3. a blank stands behind every fact: known facts behind the first are facts.
fn split_name(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let Some((facts, name)) = split_at(line, b' ') else {
        return split_known(line);
    };
    let last = facts.rsplit(|byte| *byte == b';').next().unwrap_or(facts);
    if last.is_empty() {
        let is_first = facts.iter().position(|byte| *byte == b';') == facts.len().checked_sub(1);
        if is_first && known_fact(name).is_some() {
            return split_spaced(line);
        }
        return Some((facts, name));
    }
    let Some((key, value)) = split_at(last, b'=') else {
        return split_known(line);
    };
    let is_text = if is_key(key, b"type") {
        matches!(Type::from_fact(value), Type::Link(_))
    } else {
        !NUMBERS.iter().any(|known| is_key(key, known))
    };
    match line.windows(2).position(|pair| pair == b"; ") {
        Some(end) if is_text => Some((line.get(..=end)?, line.get(end + 2..)?)),
        _ => Some((facts, name)),
    }
}

/// Facts whose values hold no spaces, on any server.
const NUMBERS: [&[u8]; 11] = [
    b"size",
    b"sizd",
    b"modify",
    b"create",
    b"perm",
    b"unique",
    b"UNIX.mode",
    b"UNIX.owner",
    b"UNIX.group",
    b"UNIX.uid",
    b"UNIX.gid",
];

/// The length of the known fact that a text begins with, its `;` too.
fn known_fact(text: &[u8]) -> Option<usize> {
    let end = text.iter().position(|byte| *byte == b';')?;
    let (key, _) = split_at(text.get(..end)?, b'=')?;
    let is_known = is_key(key, b"type") || NUMBERS.iter().any(|known| is_key(key, known));
    let is_owner = [&b"UNIX.ownername"[..], b"UNIX.groupname"];
    let is_owner = is_owner.iter().any(|known| is_key(key, known));
    (is_known || is_owner).then_some(end + 1)
}

/// The known facts that follow each other without a blank, and what is behind them.
fn split_known(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    while let Some(len) = known_fact(line.get(at..)?) {
        at += len;
    }
    let (facts, name) = line.split_at_checked(at).filter(|_| at > 0)?;
    let name = name.strip_prefix(b"\t").unwrap_or(name);
    // A line that was cut off may end in a fact.
    let is_fact = known_fact(&[name, b";"].concat()).is_some();
    (!name.is_empty() && !is_fact).then_some((facts, name))
}

/// The known facts with a space behind each, and what is behind them.
fn split_spaced(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = line.iter().position(|byte| *byte == b' ')? + 1;
    while let Some(len) = known_fact(line.get(at..)?) {
        at += len;
        at += usize::from(line.get(at) == Some(&b' '));
    }
    let (facts, name) = line.split_at_checked(at)?;
    Some((facts, name))
}

fn is_key(key: &[u8], wanted: &[u8]) -> bool {
    key.eq_ignore_ascii_case(wanted)
}

impl<'a> Type<'a> {
    fn from_fact(value: &'a [u8]) -> Self {
        for prefix in LINK_TYPES {
            match strip_prefix_ignore_case(value, prefix) {
                Some([]) => return Self::Link(b""),
                Some([b':', target @ ..]) => return Self::Link(target),
                _ => {}
            }
        }
        let is = |wanted: &[u8]| value.eq_ignore_ascii_case(wanted);
        let starts = |wanted: &[u8]| strip_prefix_ignore_case(value, wanted).is_some();
        if is(b"file") {
            Self::Known(EntryKind::File)
        } else if is(b"dir") {
            Self::Known(EntryKind::Directory)
        } else if is(b"cdir") || is(b"pdir") {
            Self::Listed
        } else if SPECIAL_TYPES.iter().any(|wanted| starts(wanted)) {
            Self::Known(EntryKind::Special)
        } else {
            Self::Unknown
        }
    }
}

/// Facts that are unknown or cannot be read are passed over.
fn set_fact<'a>(entry: &mut EntryRef<'a>, key: &[u8], value: &'a [u8]) {
    let is = |wanted: &[u8]| key.eq_ignore_ascii_case(wanted);
    if is(b"size") || is(b"sizd") {
        // Pure-FTPd tells the size of a directory as `sizd`.
        entry.size = number(value);
    } else if is(b"modify") {
        entry.modified = parse_time_val(value);
    } else if is(b"perm") {
        entry.permissions = Some(Permissions::from_fact(value));
    } else if is(b"unique") {
        entry.unique = (!value.is_empty()).then_some(value);
    } else if is(b"UNIX.mode") {
        // ProFTPD and Pure-FTPd send five digits when a special bit is set.
        // pyftpdlib writes the number as Python does, 0o644.
        let digits = value.strip_prefix(b"0o").unwrap_or(value);
        let mode = radix(digits, 8).filter(|_| digits.len() >= 3);
        entry.mode = mode.and_then(|mode| u32::try_from(mode & 0o7777).ok());
    }
}

fn split_at(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let index = text.iter().position(|byte| *byte == at)?;
    Some((text.get(..index)?, text.get(index + 1..)?))
}

fn strip_prefix_ignore_case<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}
