//! What programs have made of a content by which changes, and whether another content may be that.

use std::time::Instant;

use crate::ledger::Bytes;

/// A change that a program has made to a file.
#[derive(Debug, Clone)]
pub(crate) enum Edit {
    Write(usize, Bytes),
    Append(Bytes),
    Resize(usize),
}

/// What a content becomes by these changes.
pub(crate) fn replay(edits: &[Edit], base: &[u8]) -> Vec<u8> {
    let mut content = base.to_vec();
    for edit in edits {
        match edit {
            Edit::Write(at, data) => {
                let end = at + data.len();
                content.resize(content.len().max(end), 0);
                content[*at..end].copy_from_slice(data);
            }
            Edit::Append(data) => content.extend_from_slice(data),
            Edit::Resize(len) => content.resize(*len, 0),
        }
    }
    content
}

/// A content that a program has made, and from what.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) content: Bytes,
    /// The length of what the server had before.
    pub(crate) old: Option<Bytes>,
    /// The changes that have led there.
    pub(crate) edits: Vec<Edit>,
    /// From which of them on it may have been unsent, and how long the file was then.
    pub(crate) starts: Vec<(usize, usize)>,
    /// The names that the file had.
    pub(crate) paths: Vec<String>,
    /// Since when its programs may see what these names show.
    pub(crate) since: Instant,
}

/// Whether a content is what a program has made, or a state on the way to it.
pub(crate) fn is_made(made: &Made, content: &Bytes) -> bool {
    if made.content == *content {
        return true;
    }
    match &made.old {
        None => made.content.starts_with(content),
        Some(old) if old.is_empty() => made.content.starts_with(content),
        // Ranges of a large file.
        Some(old) => {
            is_made_of(made, old, content) || {
                old.len() >= 1 << 20
                    && (old.len()..=made.content.len()).contains(&content.len())
                    && content.iter().enumerate().all(|(at, byte)| {
                        old.get(at) == Some(byte) || made.content.get(at) == Some(byte)
                    })
            }
        }
    }
}

/// Whether a content is this base with a program's changes, all of them or those since it may have been sent.
pub(crate) fn is_made_of(made: &Made, base: &[u8], content: &[u8]) -> bool {
    let mut starts = made.starts.iter();
    let is_replayed = starts.any(|(first, _)| {
        let edits = made.edits.get(*first..).unwrap_or_default();
        !edits.is_empty() && replay(edits, base) == content
    });
    is_replayed || is_behind(made, base, content)
}

/// Whether a content is this base and behind it a beginning of what was written behind the old end.
pub(crate) fn is_behind(made: &Made, base: &[u8], content: &[u8]) -> bool {
    let Some(rest) = content.strip_prefix(base).filter(|rest| !rest.is_empty()) else {
        return false;
    };
    made.starts.iter().any(|(first, len)| {
        let mut edits = made.edits.get(*first..).unwrap_or_default().iter();
        let is_tail = edits.all(|edit| match edit {
            Edit::Write(at, _) => at >= len,
            Edit::Append(_) => true,
            Edit::Resize(to) => to >= len,
        });
        let tail = made.content.get(*len..).unwrap_or_default();
        is_tail && tail.starts_with(rest)
    })
}

/// What was written behind the old end.
pub(crate) fn tail(made: &Made) -> Option<&[u8]> {
    made.content.get(made.old.as_ref()?.len()..)
}

/// Whether a content is this base with a beginning of what was written behind the old end, at this place.
pub(crate) fn is_overlaid(made: &Made, base: &[u8], at: usize, content: &[u8]) -> bool {
    let mut tails = made
        .starts
        .iter()
        .filter_map(|(_, len)| made.content.get(*len..));
    tails.any(|tail| {
        let count = content.len().saturating_sub(at).min(tail.len());
        let edit = Edit::Write(at, std::sync::Arc::new(tail[..count].to_vec()));
        count > 0 && replay(&[edit], base) == content
    })
}
