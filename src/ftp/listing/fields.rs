//! The columns of a line: runs of bytes that are not blank, and where they stand.

/// How many columns are looked at: more than any known server puts before the name.
const FIELDS_MAX: usize = 24;

/// The columns of one line.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    line: &'a [u8],
    spans: Vec<(usize, usize)>,
}

/// What parts the last column from the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gap {
    /// One blank: more of them belong to the name.
    One,
    /// All blanks: the columns are aligned.
    All,
}

impl<'a> Fields<'a> {
    /// Of a line whose columns are parted by spaces and TABs.
    pub(super) fn of(line: &'a [u8]) -> Self {
        let mut spans = Vec::new();
        let mut at = 0;
        while spans.len() < FIELDS_MAX {
            let rest = line.get(at..).unwrap_or_default();
            let Some(start) = rest.iter().position(|byte| !is_blank(*byte)) else {
                break;
            };
            let len = rest.iter().skip(start).position(|byte| is_blank(*byte));
            let end = len.map_or(line.len(), |len| at + start + len);
            spans.push((at + start, end));
            at = end;
        }
        Self { line, spans }
    }

    /// How many there are, the words of the name too.
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// One of them.
    pub(super) fn get(&self, index: usize) -> Option<&'a [u8]> {
        let (start, end) = *self.spans.get(index)?;
        self.line.get(start..end)
    }

    /// All from the first byte of one on.
    pub(super) fn from(&self, index: usize) -> Option<&'a [u8]> {
        self.line.get(self.spans.get(index)?.0..)
    }

    /// All behind one, without the gap; `None` if there is nothing.
    pub(super) fn behind(&self, index: usize, gap: Gap) -> Option<&'a [u8]> {
        let rest = self.line.get(self.spans.get(index)?.1..)?;
        let blanks = rest.iter().position(|byte| !is_blank(*byte));
        let gap = match gap {
            Gap::One => 1,
            Gap::All => blanks?,
        };
        rest.get(gap..).filter(|name| !name.is_empty())
    }
}

pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}
