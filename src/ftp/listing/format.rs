//! Which kind of lines a listing has, and so which parser reads them.

use std::{sync::Arc, time::SystemTime};

use super::{
    dos, eplf, foreign, headings, line::Line, loose, mlsd, settle::Doubts, time::Today, unix,
};
use crate::{
    budget::Budget,
    ftp::zone::{Offset, Zone},
    remote::Entries,
};

/// Which lines a listing has.
#[derive(Debug)]
pub(in crate::ftp) enum Format {
    Mlsd,
    /// Unix, DOS or another, line by line.
    List(Box<List>),
}

/// What is known of the lines of a LIST.
#[derive(Debug)]
pub(in crate::ftp) struct List {
    today: Today,
    doubts: Doubts,
}

impl Format {
    /// What LIST sends. `now` serves to guess years.
    pub(in crate::ftp) fn list(now: SystemTime) -> Self {
        Self::List(Box::new(List {
            today: Today::new(now),
            doubts: Doubts::default(),
        }))
    }

    pub(super) fn zone(&self) -> Zone {
        match self {
            Self::Mlsd => Zone::Utc,
            Self::List(_) => Zone::Server,
        }
    }

    /// Reads a line. The usual formats come first; what they refuse is tried as the others.
    pub(super) fn parse<'a>(&mut self, text: &'a [u8]) -> Line<'a> {
        let Self::List(list) = self else {
            return mlsd::parse_line(text);
        };
        let List { today, doubts } = &mut **list;
        let usual = match text {
            [b'0'..=b'9', ..] => dos::parse_line(text, doubts),
            [b'+', ..] => eplf::parse_line(text),
            _ => unix::parse_line(text, today, doubts),
        };
        if !matches!(usual, Line::Reject) {
            return usual;
        }
        match loose::parse_line(text, today, doubts) {
            Line::Reject if headings::is_heading(text) => Line::Skip,
            Line::Reject => foreign::parse_line(text, today, doubts),
            loose => loose,
        }
    }

    /// Whether a line is the beginning of an entry that goes on in the next one, and what is put between the two.
    pub(super) fn begins(&self, line: &[u8]) -> Option<&'static [u8]> {
        match (self, line) {
            (Self::Mlsd, _) => None,
            (Self::List(_), [b'+', ..]) => eplf::is_begun(line).then_some(b""),
            (Self::List(_), _) => foreign::is_begun(line).then_some(b" "),
        }
    }

    /// The entries as all lines have shown them to be meant.
    pub(super) fn settle(
        &self,
        entries: Entries,
        offset: Option<Offset>,
        budget: &Arc<Budget>,
    ) -> Entries {
        match self {
            Self::Mlsd => entries,
            Self::List(list) => list.doubts.settle(entries, offset, budget),
        }
    }
}
