//! The bytes of one entry, and the entry that lies in them.
//!
//! ```text
//! flags(2) length(2) name  size? seconds? nanoseconds? mode? permissions? target? unique?
//! '-- which of these there are          numbers of 7 bits a byte, the lowest first; lengths before bytes
//! ```

use crate::remote::entry::{EntryKind, EntryRef, Modified, Permissions, Precision};

/// The longest target that is kept: what readlink(2) can bring, a path with its end being 4096 bytes.
pub const TARGET_BYTES_MAX: usize = 4095;

/// The longest identity that is kept. RFC 3659 section 7.5.2 sets no limit; those of servers have some 20 bytes.
pub(super) const UNIQUE_BYTES_MAX: usize = 255;

/// What a record holds: one bit each, but for the kind (three) and the precision (two).
mod flag {
    pub(super) const KIND: u16 = 0b111;
    pub(super) const PRECISION_SHIFT: u32 = 3;
    pub(super) const SIZE: u16 = 1 << 5;
    pub(super) const MODIFIED: u16 = 1 << 6;
    pub(super) const NANOSECONDS: u16 = 1 << 7;
    pub(super) const MODE: u16 = 1 << 8;
    pub(super) const PERMISSIONS: u16 = 1 << 9;
    pub(super) const TARGET: u16 = 1 << 10;
    pub(super) const UNIQUE: u16 = 1 << 11;
}

pub(super) const KINDS: [EntryKind; 4] = [
    EntryKind::File,
    EntryKind::Directory,
    EntryKind::Symlink,
    EntryKind::Special,
];

pub(super) const PRECISIONS: [Precision; 4] = [
    Precision::Day,
    Precision::Minute,
    Precision::Remembered,
    Precision::Second,
];

/// Appends the record of an entry.
pub(super) fn encode(entry: EntryRef<'_>, record: &mut Vec<u8>) {
    let start = record.len();
    let name_len = u16::try_from(entry.name.len()).unwrap_or(u16::MAX);
    record.extend([0, 0]);
    record.extend(name_len.to_le_bytes());
    record.extend_from_slice(entry.name.get(..name_len.into()).unwrap_or(entry.name));
    let kind = KINDS.iter().position(|kind| *kind == entry.kind);
    let mut flags = u16::try_from(kind.unwrap_or(0)).unwrap_or(0);
    if let Some(size) = entry.size {
        flags |= flag::SIZE;
        put_number(size, record);
    }
    if let Some(time) = entry.modified {
        let precision = PRECISIONS.iter().position(|known| *known == time.precision);
        let precision = u16::try_from(precision.unwrap_or(0)).unwrap_or(0);
        flags |= flag::MODIFIED | precision << flag::PRECISION_SHIFT;
        // The sign comes last, so that times before 1970 are short too.
        put_number(
            ((time.seconds << 1) ^ (time.seconds >> 63)).cast_unsigned(),
            record,
        );
        if time.nanoseconds != 0 {
            flags |= flag::NANOSECONDS;
            put_number(time.nanoseconds.into(), record);
        }
    }
    if let Some(mode) = entry.mode {
        flags |= flag::MODE;
        put_number(mode.into(), record);
    }
    if let Some(permissions) = entry.permissions {
        flags |= flag::PERMISSIONS;
        put_number(permissions.to_bits().into(), record);
    }
    let target = entry
        .target
        .filter(|target| target.len() <= TARGET_BYTES_MAX);
    if let Some(target) = target {
        flags |= flag::TARGET;
        put_bytes(target, record);
    }
    let unique = entry
        .unique
        .filter(|unique| unique.len() <= UNIQUE_BYTES_MAX);
    if let Some(unique) = unique {
        flags |= flag::UNIQUE;
        put_bytes(unique, record);
    }
    if let Some(place) = record.get_mut(start..start + 2) {
        place.copy_from_slice(&flags.to_le_bytes());
    }
}

/// The entry that a record is of.
pub(super) fn decode(record: &[u8]) -> EntryRef<'_> {
    let mut rest = Rest(record);
    let flags = rest.short();
    let has = |flag: u16| flags & flag != 0;
    let name_len = rest.short().into();
    let name = rest.bytes(name_len);
    let kind = KINDS.get(usize::from(flags & flag::KIND));
    let size = has(flag::SIZE).then(|| rest.number());
    let modified = has(flag::MODIFIED).then(|| {
        let number = rest.number();
        let seconds = (number >> 1).cast_signed() ^ -(number & 1).cast_signed();
        let nanoseconds = if has(flag::NANOSECONDS) {
            u32::try_from(rest.number()).unwrap_or(0)
        } else {
            0
        };
        let precision = PRECISIONS.get(usize::from(flags >> flag::PRECISION_SHIFT & 0b11));
        Modified {
            seconds,
            nanoseconds,
            precision: precision.copied().unwrap_or(Precision::Day),
        }
    });
    let mode = has(flag::MODE).then(|| u32::try_from(rest.number()).unwrap_or(0));
    let permissions = has(flag::PERMISSIONS)
        .then(|| Permissions::from_bits(u16::try_from(rest.number()).unwrap_or(0)));
    let target = has(flag::TARGET).then(|| rest.counted());
    let unique = has(flag::UNIQUE).then(|| rest.counted());
    EntryRef {
        name,
        kind: kind.copied().unwrap_or(EntryKind::File),
        size,
        modified,
        mode,
        target,
        permissions,
        unique,
    }
}

/// The name in a record, whatever stands behind it.
pub(super) fn name_of(record: &[u8]) -> &[u8] {
    let mut rest = Rest(record.get(2..).unwrap_or_default());
    let len = rest.short().into();
    rest.bytes(len)
}

fn put_number(mut number: u64, record: &mut Vec<u8>) {
    while number >= 0x80 {
        record.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    record.push((number & 0x7F) as u8);
}

fn put_bytes(bytes: &[u8], record: &mut Vec<u8>) {
    put_number(bytes.len() as u64, record);
    record.extend_from_slice(bytes);
}

/// What is left to read of a record. It is one that we have made, so it holds what is read; reading is total all the same.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn counted(&mut self) -> &'a [u8] {
        let len = usize::try_from(self.number()).unwrap_or(0);
        self.bytes(len)
    }

    fn short(&mut self) -> u16 {
        self.bytes(2).try_into().map_or(0, u16::from_le_bytes)
    }

    fn number(&mut self) -> u64 {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let Some((byte, rest)) = self.0.split_first() else {
                break;
            };
            self.0 = rest;
            number |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        number
    }
}
