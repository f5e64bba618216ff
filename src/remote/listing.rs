//! All lines of one listing: the entries, and those that were not understood.

use super::entries::Entries;

/// All entries of one directory at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The entries, by their names. Of two lines with one name the last one counts.
    pub entries: Entries,
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
    /// One behind the other, each ended by a line feed, which no name holds.
    lines: Vec<u8>,
    count: usize,
    /// Whether some of them are not among `lines`.
    is_partial: bool,
}

impl Rejected {
    /// Takes up one more line.
    pub fn push(&mut self, line: &[u8]) {
        if self.lines.len() + line.len() < REJECTED_BYTES_MAX {
            self.count += 1;
            self.lines.extend_from_slice(line);
            self.lines.push(b'\n');
        } else {
            self.push_unread();
        }
    }

    /// Takes note of a line that is not kept: it may be about any name.
    pub fn push_unread(&mut self) {
        self.count += 1;
        self.is_partial = true;
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The first of them, for a message; empty when none was kept.
    pub fn first(&self) -> &[u8] {
        let mut lines = self.lines.split(|byte| *byte == b'\n');
        lines.next().unwrap_or_default()
    }

    /// Whether one of them may be about this name: it stands in the line, in any case of its letters, or not all lines were kept.
    pub fn may_hold(&self, name: &[u8]) -> bool {
        let mut parts = self.lines.windows(name.len().max(1));
        self.is_partial || parts.any(|part| part.eq_ignore_ascii_case(name))
    }

    /// How much memory they take.
    pub fn bytes(&self) -> usize {
        self.lines.capacity()
    }
}
