//! One line of a listing, and all of them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

    /// The bits, for a record.
    pub(super) fn to_bits(self) -> u16 {
        self.0
    }

    /// The same from its bits.
    pub(super) fn from_bits(bits: u16) -> Self {
        Self(bits)
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
            target: None,
            permissions: None,
            unique: None,
        }
    }

    /// The same where it lies.
    pub fn as_borrowed(&self) -> EntryRef<'_> {
        EntryRef {
            name: &self.name,
            kind: self.kind,
            size: self.size,
            modified: self.modified,
            mode: self.mode,
            target: self.target.as_deref(),
            permissions: self.permissions,
            unique: self.unique.as_deref(),
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

/// An entry that lies in a listing, or in a line of one: a [`RemoteEntry`] without bytes of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryRef<'a> {
    /// As in [`RemoteEntry`], and so are the others.
    pub name: &'a [u8],
    /// What it is.
    pub kind: EntryKind,
    /// Size in bytes.
    pub size: Option<u64>,
    /// When it was modified.
    pub modified: Option<Modified>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// Where a symbolic link points.
    pub target: Option<&'a [u8]>,
    /// What we may do with it.
    pub permissions: Option<Permissions>,
    /// The server's own identity of the file.
    pub unique: Option<&'a [u8]>,
}

impl<'a> EntryRef<'a> {
    /// An entry of which nothing but name and kind is known.
    pub fn new(name: &'a [u8], kind: EntryKind) -> Self {
        Self {
            name,
            kind,
            size: None,
            modified: None,
            mode: None,
            target: None,
            permissions: None,
            unique: None,
        }
    }

    /// The same with bytes of its own.
    pub fn to_entry(self) -> RemoteEntry {
        RemoteEntry {
            name: self.name.into(),
            kind: self.kind,
            size: self.size,
            modified: self.modified,
            mode: self.mode,
            target: self.target.map(Into::into),
            permissions: self.permissions,
            unique: self.unique.map(Into::into),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<RemoteEntry>() <= 96);
        assert!(size_of::<EntryRef<'_>>() <= 96);
    }

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
