//! The files that programs have open or that are not on the server yet: what they should hold, as far as that is certain.

use std::{ops::Range, sync::Arc, time::Instant};

use ftpfs::fs::Ino;

use crate::{
    edits::{Edit, Made, replay},
    ledger::{Bytes, moved},
    sequence::Mode,
};

/// One file, of all handles that are open on it.
#[derive(Debug, Clone, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "what is certain of a file, each by itself"
)]
pub(crate) struct File {
    /// The names that it had; the last one is its present one.
    pub(crate) paths: Vec<String>,
    /// Whether it still has that name.
    is_named: bool,
    /// Its inode, once it was opened.
    ino: Option<Ino>,
    pub(crate) handles: usize,
    /// What programs should see; `None` when that is not certain.
    pub(crate) content: Option<Bytes>,
    /// What the server had when it was opened or last sent; `None` for nothing, or when that is not certain.
    pub(crate) base: Option<Bytes>,
    /// Whether something of it may not be on the server.
    pub(crate) is_dirty: bool,
    /// Whether the server had nothing of that name when it was made.
    is_new: bool,
    /// Whether a program has emptied it, so that it replaces whatever is there.
    pub(crate) is_emptied: bool,
    /// Whether all that is not on the server was appended.
    is_appended: bool,
    /// Whether it may have been sent without anybody being told.
    pub(crate) may_be_sent: bool,
    /// Whether an upload of it has failed, of which something may have arrived.
    pub(crate) was_tried: bool,
    /// Whether ftpfs may have given it up.
    pub(crate) is_blurred: bool,
    /// What was written and is not on the server.
    written: Vec<Range<usize>>,
    /// What was written since the first of the handles was opened: it may be kept here for as long as one is open.
    local: Vec<Range<usize>>,
    /// What must not be lost although its file is not certain any more.
    owed: Option<Bytes>,
    /// The changes since the server had all of it.
    edits: Vec<Edit>,
    /// From which of them on it may be unsent, and how long the file was there: at first, and after each time when it may have been sent.
    starts: Vec<(usize, usize)>,
}

/// What the server had, if that is certain; inside, `None` for nothing.
type Before = Option<Option<Bytes>>;

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub(crate) all: Vec<File>,
}

/// Where two contents differ first.
pub(crate) fn differs(one: &[u8], other: &[u8]) -> Option<usize> {
    if one == other {
        return None;
    }
    let place = one.iter().zip(other).position(|(one, other)| one != other);
    Some(place.unwrap_or_else(|| one.len().min(other.len())))
}

impl File {
    /// Its present name.
    pub(crate) fn path(&self) -> Option<&str> {
        self.paths
            .last()
            .filter(|_| self.is_named)
            .map(String::as_str)
    }

    fn is_alive(&self) -> bool {
        self.handles > 0 || self.is_dirty
    }

    /// Whether the server has never had it, as far as its program knows.
    pub(crate) fn is_new(&self) -> bool {
        self.is_new
    }

    /// What it should hold is not certain any more, and was given up on request.
    pub(crate) fn forget(&mut self) {
        self.content = None;
        self.base = None;
        self.owed = None;
        self.may_be_sent = true;
    }

    /// What has become of it is not certain any more.
    pub(crate) fn blur(&mut self) {
        let written = self.content.take().filter(|_| self.is_dirty);
        self.owed = written.or(self.owed.take());
        self.may_be_sent = true;
        self.was_tried = true;
        self.is_blurred = true;
    }

    /// It may have been sent up to here without anybody being told.
    pub(crate) fn may_have_been_sent(&mut self) {
        self.was_tried = true;
        if let Some(content) = &self.content {
            self.starts.push((self.edits.len(), content.len()));
        }
    }

    /// A program has emptied what it was shown, and others have removed in this moment: it is sent, and replaces what they put there.
    pub(crate) fn empty_old(&mut self) {
        self.is_emptied = true;
        self.is_dirty = true;
        self.edits = vec![Edit::Resize(0)];
    }

    /// It has lost against a file of others, which has its name now.
    pub(crate) fn has_lost(&mut self) {
        self.is_new = false;
    }

    /// What programs have made of it.
    pub(crate) fn made(&self, content: Bytes, since: Instant) -> Made {
        Made {
            content,
            old: self.base.clone(),
            edits: self.edits.clone(),
            starts: self.starts.clone(),
            paths: self.paths.clone(),
            since,
        }
    }

    fn see(&mut self, there: Before) {
        self.edits.clear();
        let len = there.iter().flatten().map(|there| there.len()).sum();
        self.starts = vec![(0, len)];
        self.may_be_sent = there.is_none();
        self.was_tried = false;
        self.base = there.clone().flatten();
        self.content = there.map(Option::unwrap_or_default);
        self.written.clear();
        self.is_new = false;
        self.is_appended = false;
        self.is_blurred = false;
    }

    pub(crate) fn write(&mut self, at: usize, data: &[u8], is_append: bool) {
        self.is_appended = (self.is_appended || !self.is_dirty) && is_append;
        self.is_dirty = true;
        self.owed = None;
        let bytes = Arc::new(data.to_vec());
        self.edits.push(if is_append {
            Edit::Append(bytes)
        } else {
            Edit::Write(at, bytes)
        });
        let Some(content) = &mut self.content else {
            return;
        };
        let content = Arc::make_mut(content);
        let old = content.len();
        let end = at + data.len();
        if old < end {
            content.resize(end, 0);
        }
        content[at..end].copy_from_slice(data);
        if self.may_be_sent {
            self.written.clear();
        }
        self.written.push(old.min(at)..end);
        self.local.push(old.min(at)..end);
    }

    pub(crate) fn resize(&mut self, len: usize) {
        if len == 0 {
            if self
                .content
                .as_ref()
                .is_some_and(|content| content.is_empty())
            {
                // No change that would be sent; but what may have been sent before is emptied again.
                self.is_emptied |= self.is_new && self.was_tried;
                return;
            }
            self.is_emptied = !self.is_new || self.was_tried;
            self.is_blurred = false;
            if self.content.is_none() {
                // It may have been empty.
                self.content = Some(Bytes::default());
                self.edits = vec![Edit::Resize(0)];
                self.starts = vec![(0, 0)];
                self.written.clear();
                self.owed = None;
                self.is_dirty = true;
                self.is_appended = false;
                return;
            }
        }
        let Some(content) = &mut self.content else {
            self.is_dirty = true;
            // A program has cut it off.
            self.owed = self.owed.take().filter(|owed| owed.len() <= len);
            return;
        };
        let old = content.len();
        if old == len && len > 0 {
            self.edits.push(Edit::Resize(len));
            return;
        }
        Arc::make_mut(content).resize(len, 0);
        self.edits.push(Edit::Resize(len));
        self.owed = None;
        self.is_dirty = true;
        self.is_appended = false;
        self.may_be_sent = false;
        for range in &mut self.written {
            range.end = range.end.min(len);
        }
        self.written.retain(|range| range.start < range.end);
        if old < len {
            self.written.push(old..len);
        }
    }

    /// The server has all of it, and this is what it has.
    pub(crate) fn sent(&mut self, there: Option<Bytes>) {
        self.see(Some(there));
        self.is_dirty = false;
        self.is_emptied = false;
        self.owed = None;
    }

    /// Whether a read of so many bytes may bring this; `shown` is what the server has shown under its names.
    pub(crate) fn reads(&self, at: usize, len: usize, read: &[u8], shown: &[Bytes]) -> bool {
        let fits = |content: &[u8]| {
            let start = at.min(content.len());
            let end = at.saturating_add(len).min(content.len());
            content[start..end] == *read
        };
        let Some(content) = &self.content else {
            return self.is_dirty || shown.iter().any(|shown| fits(shown)) || self.may_be_sent;
        };
        if fits(content) {
            return true;
        }
        if !self.is_dirty || self.may_be_sent || self.was_tried {
            let is_base = self.base.as_ref().is_some_and(|base| fits(base));
            // What was written here is kept while a handle is open, also when it was sent; the rest is read where others may have
            // put another version.
            return is_base
                || shown.iter().any(|shown| fits(shown))
                || self.is_mixed(&self.local, at, len, read, shown)
                || self.is_mixed(&self.written, at, len, read, shown);
        }
        self.is_mixed(&self.written, at, len, read, shown)
            || self.is_mixed(&self.local, at, len, read, shown)
    }

    /// Whether a read brings what was written here in its places, and all else from one version that was shown.
    fn is_mixed(
        &self,
        written: &[Range<usize>],
        at: usize,
        len: usize,
        read: &[u8],
        shown: &[Bytes],
    ) -> bool {
        let Some(content) = &self.content else {
            return false;
        };
        // A file that was clean has taken over another's version, which is longer or shorter.
        let start = |content: &[u8]| at.min(content.len());
        let part = |content: &[u8]| {
            content[start(content)..at.saturating_add(len).min(content.len())] == *read
        };
        if shown.iter().any(|shown| part(&replay(&self.edits, shown))) {
            return true;
        }
        let end = at.saturating_add(len).min(content.len());
        if read.len() != end.saturating_sub(at) {
            return false;
        }
        // What was not written here is on the server, and may be another's by now.
        let is_written = |place: usize| written.iter().any(|range| range.contains(&place));
        let places = || {
            read.iter()
                .enumerate()
                .map(|(index, byte)| (at + index, byte))
        };
        places().all(|(place, byte)| !is_written(place) || content[place] == *byte)
            && shown.iter().any(|shown| {
                places().all(|(place, byte)| is_written(place) || shown.get(place) == Some(byte))
            })
    }

    /// What must be on the server or kept here, if anything.
    pub(crate) fn owed(&self) -> Option<(Bytes, &Self)> {
        let written = self.content.as_ref().filter(|_| self.is_dirty);
        let owed = written.or(self.owed.as_ref()).filter(|_| self.is_named)?;
        (!owed.is_empty() && self.has_written()).then(|| (owed.clone(), self))
    }

    /// What programs have made of a file whose upload has failed.
    pub(crate) fn tried(&self) -> Option<&Bytes> {
        let made = self.content.as_ref().or(self.owed.as_ref());
        made.filter(|made| self.was_tried && self.is_dirty && !made.is_empty())
    }

    /// All of it has arrived after all: others may change it from now on.
    pub(crate) fn has_arrived(&mut self) {
        if self.handles == 0 {
            self.forget();
        }
        self.written.clear();
        self.owed = None;
    }

    /// Whether programs have written something that may not be on the server.
    pub(crate) fn has_written(&self) -> bool {
        // The zeros of a file that was only made longer are nobody's work.
        let mut edits = self.edits.iter();
        !self.written.is_empty() && edits.any(|edit| !matches!(edit, Edit::Resize(_)))
    }

    /// Whether this holds all that was written of a content.
    pub(crate) fn is_in(&self, content: &[u8], there: &[u8]) -> bool {
        if there == content {
            return true;
        }
        let tail = content.get(self.base.as_ref().map_or(0, |base| base.len())..);
        if self.is_appended && tail.is_some_and(|tail| there.ends_with(tail)) {
            return true;
        }
        // The rest may be another version's, which is longer or shorter.
        let mut ranges = self.written.iter();
        !self.written.is_empty()
            && (ranges.all(|range| there.get(range.clone()) == content.get(range.clone()))
                || holds_each(&self.edits, there))
    }
}

/// Whether all that was appended is somewhere in this, behind another version's end, and all else that was written in its place; but for
/// what was written over later.
fn holds_each(edits: &[Edit], there: &[u8]) -> bool {
    let mut later: Vec<Range<usize>> = Vec::new();
    edits.iter().rev().all(|edit| {
        let holds = |at: usize, data: &[u8]| {
            let is_over = |place: usize| later.iter().any(|range| range.contains(&place));
            let mut bytes = data.iter().enumerate();
            bytes.all(|(index, byte)| there.get(at + index) == Some(byte) || is_over(at + index))
        };
        let at = match edit {
            Edit::Append(data) => (0..=there.len().saturating_sub(data.len()))
                .find(|at| holds(*at, data))
                .map(|at| at..at + data.len()),
            Edit::Write(at, data) => holds(*at, data).then(|| *at..at + data.len()),
            Edit::Resize(_) => Some(0..0),
        };
        at.map(|range| later.push(range)).is_some()
    })
}

impl Files {
    /// A program opens a file of which the server had this, if that is certain; which one it is.
    pub(crate) fn open(&mut self, at: &str, ino: Option<Ino>, mode: Mode, before: Before) -> usize {
        if let (Some(ino), Some(named)) = (ino, self.named(at))
            && self.all[named].ino.is_some_and(|other| other != ino)
        {
            // The file of before is not there any more.
            self.unlinked(at);
        }
        let index = self.named(at).unwrap_or_else(|| {
            self.all.push(File {
                paths: vec![at.to_owned()],
                is_named: true,
                ..File::default()
            });
            self.all.len() - 1
        });
        let file = &mut self.all[index];
        let is_new = file.handles == 0 && !file.is_dirty;
        file.handles += 1;
        file.ino = ino.or(file.ino);
        if is_new {
            file.local.clear();
        }
        if is_new || (!file.is_dirty && mode.is_write()) {
            let (is_absent, is_unknown) = (before == Some(None), before.is_none());
            file.see(before);
            file.is_new = is_absent && mode.creates();
            file.is_dirty = file.is_new || (is_unknown && mode.creates());
        } else if !file.is_dirty && before.is_none_or(|before| before != file.base) {
            // Which one it will show is not certain.
            file.forget();
        }
        if mode.truncates() {
            file.resize(0);
        }
        index
    }

    /// The file of that name.
    pub(crate) fn named(&self, at: &str) -> Option<usize> {
        let mut all = self.all.iter();
        all.rposition(|file| file.is_alive() && file.path() == Some(at))
    }

    /// The files of that name and below it.
    pub(crate) fn below(&self, at: &str) -> Vec<usize> {
        let all = self.all.iter().enumerate();
        let below = all.filter(|(_, file)| {
            let path = file.path().filter(|_| file.is_alive());
            path.is_some_and(|path| moved(path, at, "").is_some())
        });
        below.map(|(index, _)| index).collect()
    }

    /// What is closed was tried again, and nobody was told how that went.
    pub(crate) fn blur_closed(&mut self) {
        let closed = self
            .all
            .iter_mut()
            .filter(|file| file.handles == 0 && file.is_dirty);
        closed.for_each(File::blur);
    }

    pub(crate) fn unlinked(&mut self, at: &str) {
        for file in self.all.iter_mut().filter(|file| file.path() == Some(at)) {
            file.is_named = false;
        }
    }

    pub(crate) fn renamed(&mut self, from: &str, to: &str) {
        if from != to {
            self.unlinked(to);
        }
        for file in &mut self.all {
            let Some(path) = file.path().and_then(|path| moved(path, from, to)) else {
                continue;
            };
            file.paths.push(path);
        }
    }
}
