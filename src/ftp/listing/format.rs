//! Which kind of lines a listing has, and so which parser reads them.

use std::time::SystemTime;

use super::{dos, line::Line, mlsd, time::Today, unix};
use crate::ftp::zone::Zone;

/// Which lines a listing has.
#[derive(Debug)]
pub(in crate::ftp) enum Format {
    Mlsd,
    /// Unix or DOS, line by line.
    List(Today),
}

impl Format {
    /// What LIST sends. `now` serves to guess years.
    pub(in crate::ftp) fn list(now: SystemTime) -> Self {
        Self::List(Today::new(now))
    }

    pub(super) fn zone(&self) -> Zone {
        match self {
            Self::Mlsd => Zone::Utc,
            Self::List(_) => Zone::Server,
        }
    }

    pub(super) fn parse<'a>(&self, line: &'a [u8]) -> Line<'a> {
        match (self, line) {
            (Self::Mlsd, _) => mlsd::parse_line(line),
            (Self::List(_), [b'0'..=b'9', ..]) => dos::parse_line(line),
            (Self::List(today), _) => unix::parse_line(line, today),
        }
    }
}
