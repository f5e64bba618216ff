//! A listing while it arrives: lines are cut out of the pieces and parsed at once, and of the text nothing is kept.

use std::{borrow::Cow, fmt, sync::Arc};

use super::{format::Format, line::Line};
use crate::{
    budget::Budget,
    ftp::{
        encoding::Names,
        zone::{Offset, Zone},
    },
    remote::{Entries, EntryKind, EntryRef, Gathering, Rejected, TARGET_BYTES_MAX},
};

/// The longest name that is shown. 255 bytes: what `struct dirent` holds, and what the file systems beneath all known servers take.
const NAME_BYTES_MAX: usize = 255;

/// The longest line that is read. 8 KiB: the longest target, and as much again for name and facts.
const LINE_BYTES_MAX: usize = 8 << 10;

/// What a listing held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The entries, by their names.
    pub entries: Entries,
    /// How many lines were entries.
    pub count: usize,
    /// The lines that are no entries that can be shown.
    pub rejected: Rejected,
    /// Whether there are lines and not one of them was understood: this is no listing, or one of another format.
    pub is_strange: bool,
    /// Whether names that begin with a dot were among the lines, `.` and `..` too.
    pub has_dot_names: bool,
    /// Whether the directory itself, or the one above it, was among them.
    pub has_dots: bool,
    /// In which time the entries are told.
    pub zone: Zone,
    /// Where its text has ended.
    pub end: End,
}

/// Where the text of a listing has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Where it began: not a byte came.
    AtOnce,
    /// Behind a line.
    BehindLine,
    /// In the middle of a line: it was cut off.
    InLine,
}

/// What is made of an entry before it is kept.
pub(in crate::ftp) struct Shown<'a> {
    /// How the server writes names.
    names: Names,
    /// What its times are to be put right by.
    offset: Option<Offset>,
    targets: Targets<'a>,
}

/// The target of a link as it is shown; `None` for one that leads elsewhere.
type ShowTarget<'a> = dyn Fn(&[u8]) -> Option<Box<[u8]>> + 'a;

enum Targets<'a> {
    AsSent,
    Shown(Box<ShowTarget<'a>>),
    /// As they were sent, and no entries that have none.
    Alone,
}

impl<'a> Shown<'a> {
    /// All as the server writes it.
    pub(in crate::ftp) fn as_sent() -> Self {
        Self {
            names: Names::new(None),
            offset: None,
            targets: Targets::AsSent,
        }
    }

    /// Names, times and targets as programs see them. A link whose target is not to be shown is as good as one whose target was not told:
    /// asked for by itself, it is refused.
    pub(in crate::ftp) fn to_programs(
        names: Names,
        offset: Option<Offset>,
        target: impl Fn(&[u8]) -> Option<Box<[u8]>> + 'a,
    ) -> Self {
        Self {
            names,
            offset,
            targets: Targets::Shown(Box::new(target)),
        }
    }

    /// Nothing but links whose targets are told, these as the server wrote them.
    pub(in crate::ftp) fn only_targets(names: Names) -> Self {
        Self {
            names,
            offset: None,
            targets: Targets::Alone,
        }
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

/// See the module.
#[derive(Debug)]
pub(in crate::ftp) struct Reading<'a> {
    format: Format,
    shown: Shown<'a>,
    /// The beginning of a line whose end has not come yet.
    begun: Begun,
    gathering: Gathering,
    rejected: Rejected,
    has_dot_names: bool,
    has_dots: bool,
    come: Come,
    /// The first line of an entry that takes two, and what is put between them.
    half: Option<(Vec<u8>, &'static [u8])>,
    budget: Arc<Budget>,
}

/// What has come so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Come {
    Nothing,
    /// No line that was understood.
    Text,
    /// One line at least that was understood.
    Understood,
}

/// What has come of a line.
#[derive(Debug)]
enum Begun {
    Line(Vec<u8>),
    /// More than is read; it was dropped.
    TooLong,
}

impl Begun {
    fn is_nothing(&self) -> bool {
        matches!(self, Self::Line(line) if line.is_empty())
    }
}

impl<'a> Reading<'a> {
    /// Nothing has come yet; the entries are charged on a budget.
    pub(in crate::ftp) fn new(format: Format, shown: Shown<'a>, budget: &Arc<Budget>) -> Self {
        Self {
            format,
            shown,
            begun: Begun::Line(Vec::new()),
            gathering: Gathering::in_budget(budget),
            rejected: Rejected::default(),
            has_dot_names: false,
            has_dots: false,
            come: Come::Nothing,
            half: None,
            budget: Arc::clone(budget),
        }
    }

    /// Takes what comes next.
    pub(in crate::ftp) fn feed(&mut self, piece: &[u8]) {
        if self.come == Come::Nothing && !piece.is_empty() {
            self.come = Come::Text;
        }
        let mut rest = piece;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, behind) = rest.split_at(end);
            rest = behind.get(1..).unwrap_or_default();
            if !self.begun.is_nothing() || line.len() > LINE_BYTES_MAX {
                self.begin(line);
                self.end_begun();
            } else {
                self.take(line);
            }
        }
        if !rest.is_empty() {
            self.begin(rest);
        }
    }

    /// All that it has come to. A last line that did not end counts as one.
    pub(in crate::ftp) fn finish(mut self) -> Parsed {
        let end = match self.come {
            Come::Nothing => End::AtOnce,
            _ if self.begun.is_nothing() => End::BehindLine,
            _ => End::InLine,
        };
        self.end_begun();
        if let Some((first, _)) = self.half.take() {
            self.reject(&first);
        }
        let count = self.gathering.pushed();
        let entries = self.gathering.finish();
        Parsed {
            count,
            zone: self.format.zone(),
            entries: self.format.settle(entries, self.shown.offset, &self.budget),
            is_strange: self.rejected.count() > 0 && self.come != Come::Understood,
            rejected: self.rejected,
            has_dot_names: self.has_dot_names,
            has_dots: self.has_dots,
            end,
        }
    }

    fn begin(&mut self, part: &[u8]) {
        match &mut self.begun {
            Begun::Line(line) if line.len() + part.len() <= LINE_BYTES_MAX => {
                line.extend_from_slice(part);
            }
            begun => *begun = Begun::TooLong,
        }
    }

    fn end_begun(&mut self) {
        match std::mem::replace(&mut self.begun, Begun::Line(Vec::new())) {
            Begun::TooLong => self.rejected.push_unread(),
            Begun::Line(mut line) => {
                self.take(&line);
                line.clear();
                self.begun = Begun::Line(line);
            }
        }
    }

    fn take(&mut self, line: &[u8]) {
        let line = without_returns(line);
        if line.is_empty() {
            return;
        }
        if let Some((first, between)) = self.half.take() {
            let joined = [&first, between, line].concat();
            if self.take_whole(&joined) {
                return;
            }
            // The two have nothing to do with each other.
            self.reject(&first);
        }
        if self.take_whole(line) {
            return;
        }
        match self.format.begins(line) {
            Some(between) => self.half = Some((line.to_vec(), between)),
            None => self.reject(line),
        }
    }

    /// Takes up a line; whether it was understood.
    fn take_whole(&mut self, line: &[u8]) -> bool {
        let parsed = self.format.parse(line);
        if !matches!(parsed, Line::Reject) {
            self.come = Come::Understood;
        }
        match parsed {
            Line::Entry(entry) => self.keep(entry),
            Line::Skip => true,
            Line::Dots => {
                self.has_dot_names = true;
                self.has_dots = true;
                true
            }
            Line::Reject => false,
        }
    }

    fn reject(&mut self, line: &[u8]) {
        // Names are looked for in them as they are shown.
        self.rejected.push(&self.shown.names.decode(line));
    }

    /// Keeps an entry, unless name or target are longer than they can be shown.
    fn keep(&mut self, entry: EntryRef<'_>) -> bool {
        let name = self.shown.names.decode(entry.name);
        let sent = entry.target.map(Cow::Borrowed);
        let target = match &self.shown.targets {
            Targets::Shown(show) => {
                sent.and_then(|target| show(&target).map(|shown| Cow::Owned(shown.into())))
            }
            Targets::AsSent | Targets::Alone => sent,
        };
        let is_too_long = |target: &Cow<'_, [u8]>| target.len() > TARGET_BYTES_MAX;
        if name.len() > NAME_BYTES_MAX || target.as_ref().is_some_and(is_too_long) {
            return false;
        }
        self.has_dot_names |= name.starts_with(b".");
        let is_wanted = match self.shown.targets {
            Targets::AsSent | Targets::Shown(_) => true,
            Targets::Alone => entry.kind == EntryKind::Symlink && target.is_some(),
        };
        if is_wanted {
            let in_utc = |listed| {
                self.shown
                    .offset
                    .map_or(listed, |offset| offset.apply(listed))
            };
            self.gathering.push(EntryRef {
                name: &name,
                target: target.as_deref(),
                modified: entry.modified.map(in_utc),
                ..entry
            });
        }
        true
    }
}

/// A line without the carriage returns at either end. No name has one: FTP cannot carry it.
fn without_returns(mut line: &[u8]) -> &[u8] {
    while let [rest @ .., b'\r'] | [b'\r', rest @ ..] = line {
        line = rest;
    }
    line
}
