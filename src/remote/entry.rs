//! One line of a listing, and all of them.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe, a socket or a device of the server's: nothing that could be read here.
    Special,
}

/// How exactly a time is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Precision {
    /// `ls -l` of an old file: the day.
    Day,
    /// `ls -l` of a recent file, or a DOS listing: the minute.
    Minute,
    /// The second, as it was told before; the listing since then tells the minute or day only, and agrees so far.
    Remembered,
    /// MLSD, MLST or MDTM: the second, or better.
    Second,
}

/// A modification time as a server told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Modified {
    /// Seconds since 1970-01-01 00:00:00 UTC; negative before.
    pub seconds: i64,
    /// Nanoseconds within the second, `0..1_000_000_000`.
    pub nanoseconds: u32,
    /// How exactly the server told it.
    pub precision: Precision,
}

impl Modified {
    /// A time known to the second.
    pub fn from_seconds(seconds: i64) -> Self {
        Self {
            seconds,
            nanoseconds: 0,
            precision: Precision::Second,
        }
    }

    /// Whether both can be the same moment: they agree as far as the coarser one was told.
    pub fn agrees_with(self, other: Self) -> bool {
        let unit = match self.precision.min(other.precision) {
            Precision::Day => 86_400,
            Precision::Minute => 60,
            Precision::Remembered | Precision::Second => 1,
        };
        self.seconds.div_euclid(unit) == other.seconds.div_euclid(unit)
    }

    /// The same instant as the system counts it; clamped to what [`SystemTime`] can hold.
    pub fn to_system_time(self) -> SystemTime {
        let part = Duration::from_nanos(u64::from(self.nanoseconds));
        let whole = Duration::from_secs(self.seconds.unsigned_abs());
        let base = if self.seconds >= 0 {
            UNIX_EPOCH.checked_add(whole)
        } else {
            UNIX_EPOCH.checked_sub(whole)
        };
        base.and_then(|time| time.checked_add(part))
            .unwrap_or(UNIX_EPOCH)
    }
}

impl From<SystemTime> for Modified {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(since) => Self {
                seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
                nanoseconds: since.subsec_nanos(),
                precision: Precision::Second,
            },
            Err(error) => {
                let before = error.duration();
                let whole = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
                match before.subsec_nanos() {
                    0 => Self::from_seconds(-whole),
                    part => Self {
                        seconds: -whole - 1,
                        nanoseconds: 1_000_000_000 - part,
                        precision: Precision::Second,
                    },
                }
            }
        }
    }
}

/// What the server says that we may do with an entry: the `perm` fact of RFC 3659 section 7.5.5, one bit a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Permissions(u16);

impl Permissions {
    /// The letters of RFC 3659 section 7.5.5, in the order of their bits.
    const LETTERS: &'static [u8] = b"acdeflmprw";

    /// Reads the fact's value; unknown letters are passed over, case does not count.
    pub fn from_fact(value: &[u8]) -> Self {
        let bits = value
            .iter()
            .filter_map(|letter| Self::bit(letter.to_ascii_lowercase()));
        Self(bits.fold(0, |all, bit| all | bit))
    }

    /// Whether the fact held this letter.
    pub fn allows(self, letter: u8) -> bool {
        Self::bit(letter).is_some_and(|bit| self.0 & bit != 0)
    }

    fn bit(letter: u8) -> Option<u16> {
        Self::LETTERS
            .iter()
            .position(|known| *known == letter)
            .map(|index| 1 << index)
    }
}

/// One entry of a directory, with what the server told of it. Absent facts are `None`, never zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteEntry {
    /// The name as the server sent it, bytes; never empty, `.`, `..`, and never with `/`, NUL, CR or LF.
    pub name: Box<[u8]>,
    /// What it is.
    pub kind: EntryKind,
    /// Size in bytes.
    pub size: Option<u64>,
    /// When it was modified.
    pub modified: Option<Modified>,
    /// Permission bits, `0o7777` at most.
    pub mode: Option<u32>,
    /// The owner's number on the server.
    pub uid: Option<u32>,
    /// The group's number on the server.
    pub gid: Option<u32>,
    /// How many names the file has.
    pub links: Option<u32>,
    /// Where a symbolic link points, as the server wrote it.
    pub target: Option<Box<[u8]>>,
    /// What we may do with it.
    pub permissions: Option<Permissions>,
    /// The server's own identity of the file (RFC 3659 section 7.5.2); of a symbolic link often the target's.
    pub unique: Option<Box<[u8]>>,
}

impl RemoteEntry {
    /// An entry of which nothing but name and kind is known.
    pub fn new(name: impl Into<Box<[u8]>>, kind: EntryKind) -> Self {
        Self {
            name: name.into(),
            kind,
            size: None,
            modified: None,
            mode: None,
            uid: None,
            gid: None,
            links: None,
            target: None,
            permissions: None,
            unique: None,
        }
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == EntryKind::Directory
    }

    /// Whether its modification time is told to the second.
    pub fn has_exact_time(&self) -> bool {
        self.modified
            .is_some_and(|time| time.precision == Precision::Second)
    }
}

/// All entries of one directory at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The entries; shared, so that a snapshot for a directory handle costs a counter each.
    pub entries: Vec<Arc<RemoteEntry>>,
    /// Whether the server said, or the count suggests, that entries are missing: a name that is not here may exist.
    pub is_truncated: bool,
    /// The lines that were not understood, or whose names cannot be shown (with `/`, NUL, CR, LF).
    pub rejected: Rejected,
    /// Whether names that begin with a dot are surely among the entries: LIST leaves them out unless it is asked for them.
    pub shows_dot_names: bool,
}

/// The most bytes kept of lines that were not understood. 64 KiB: hundreds of lines; a listing with more of them is none that
/// anything can be concluded from.
const REJECTED_BYTES_MAX: usize = 64 << 10;

/// Lines of a listing that were not understood: what they may be about is not known to be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejected {
    lines: Vec<Box<[u8]>>,
    bytes: usize,
    count: usize,
}

impl Rejected {
    /// Takes up one more line.
    pub fn push(&mut self, line: &[u8]) {
        self.count += 1;
        if self.bytes + line.len() <= REJECTED_BYTES_MAX {
            self.bytes += line.len();
            self.lines.push(line.into());
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The first of them, for a message.
    pub fn first(&self) -> Option<&[u8]> {
        self.lines.first().map(AsRef::as_ref)
    }

    /// Whether one of them may be about this name: it stands in the line, in any case of its letters, or not all lines were kept.
    pub fn may_hold(&self, name: &[u8]) -> bool {
        let holds = |line: &[u8]| {
            line.windows(name.len().max(1))
                .any(|part| part.eq_ignore_ascii_case(name))
        };
        self.count > self.lines.len() || self.lines.iter().any(|line| holds(line))
    }

    /// The same lines with each changed.
    #[must_use]
    pub fn map(self, change: impl Fn(&[u8]) -> Box<[u8]>) -> Self {
        let lines = self.lines.iter().map(|line| change(line)).collect();
        Self { lines, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_agree_as_far_as_the_coarser_one_was_told() {
        let exact = Modified::from_seconds(1_700_000_047);
        let minute = |seconds| Modified {
            seconds,
            nanoseconds: 0,
            precision: Precision::Minute,
        };
        assert!(exact.agrees_with(minute(exact.seconds - exact.seconds.rem_euclid(60))));
        assert!(!exact.agrees_with(minute(exact.seconds - 120)));
        assert!(!exact.agrees_with(Modified::from_seconds(exact.seconds + 1)));
    }
}
