//! One line of the Easily Parsed LIST Format (cr.yp.to/ftp/list/eplf.html): facts, a TAB, the name.
//!
//! ```text
//! +i8388621.48594,m825718503,r,s280,<TAB>djb.html
//! ```
//!
//! Some servers break the line within the facts; the two are joined before they are read.

use super::line::{Line, number, radix};
use crate::remote::{EntryKind, EntryRef, Modified, Precision};

pub(super) fn parse_line(line: &[u8]) -> Line<'_> {
    parse(line).map_or(Line::Reject, Line::of)
}

/// Whether a line is facts without a name, which may come in the next one.
pub(super) fn is_begun(line: &[u8]) -> bool {
    match line {
        [b'+', facts @ ..] => !facts.is_empty() && facts.iter().all(u8::is_ascii_graphic),
        _ => false,
    }
}

fn parse(line: &[u8]) -> Option<EntryRef<'_>> {
    let line = line.strip_prefix(b"+")?;
    let tab = line.iter().position(|byte| *byte == b'\t')?;
    let (facts, name) = line.split_at_checked(tab)?;
    let mut entry = EntryRef::new(name.get(1..)?, EntryKind::File);
    for fact in facts.split(|byte| *byte == b',') {
        match fact {
            [b'/'] => entry.kind = EntryKind::Directory,
            [b's', size @ ..] => entry.size = number(size),
            [b'm', seconds @ ..] => {
                entry.modified = number(seconds).map(|seconds| Modified {
                    precision: Precision::Second,
                    ..Modified::from_seconds(seconds)
                });
            }
            [b'u', b'p', mode @ ..] => {
                let mode = radix(mode, 8).and_then(|mode| u32::try_from(mode & 0o7777).ok());
                entry.mode = mode;
            }
            _ => {}
        }
    }
    Some(entry)
}
