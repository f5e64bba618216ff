//! Directory listings, bytes in and entries out: MLSD, Unix `ls -l`, DOS.
//!
//! Parsing is total: what cannot be understood is counted and sampled, never an error and never a panic. What makes it hard:
//! 1. names are bytes, and spaces at either end belong to them: each parser finds the one byte at which the name begins
//!    and trims nothing;
//! 2. LIST has no specification: `unix` looks for the size and the time, the only columns that all servers have, and
//!    takes what stands before them as it comes;
//! 3. LIST leaves the year out of recent times: `time::Today` guesses it;
//! 4. LIST tells times of an unknown zone: [`super::zone`] puts them right later.

mod dos;
mod line;
mod mlsd;
mod time;
mod unix;

pub use mlsd::parse_facts;
pub use time::parse_time_val;

use std::time::SystemTime;

use self::{line::Line, time::Today};
use super::zone::Zone;
use crate::remote::{Rejected, RemoteEntry};

/// What a listing held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The entries in the server's order.
    pub entries: Vec<RemoteEntry>,
    /// The lines that are no entries that can be shown.
    pub rejected: Rejected,
    /// Whether names that begin with a dot were among the lines, `.` and `..` too.
    pub has_dot_names: bool,
    /// Whether the directory itself, or the one above it, was among them.
    pub has_dots: bool,
    /// In which time the entries are told.
    pub zone: Zone,
}

/// Parses what MLSD sends (RFC 3659 section 7).
pub fn parse_mlsd(bytes: &[u8]) -> Parsed {
    parse(bytes, Zone::Utc, mlsd::parse_line)
}

/// Parses what LIST sends, line by line in Unix or DOS style. `now` serves to guess years.
pub fn parse_list(bytes: &[u8], now: SystemTime) -> Parsed {
    let today = Today::new(now);
    parse(bytes, Zone::Server, |line| match line {
        [b'0'..=b'9', ..] => dos::parse_line(line),
        _ => unix::parse_line(line, &today),
    })
}

fn parse(bytes: &[u8], zone: Zone, parse_line: impl Fn(&[u8]) -> Line) -> Parsed {
    let mut parsed = Parsed {
        entries: Vec::new(),
        rejected: Rejected::default(),
        has_dot_names: false,
        has_dots: false,
        zone,
    };
    for line in bytes.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        match parse_line(line) {
            Line::Entry(entry) => {
                parsed.has_dot_names |= entry.name.starts_with(b".");
                parsed.entries.push(entry);
            }
            Line::Skip => {}
            Line::Dots => {
                parsed.has_dot_names = true;
                parsed.has_dots = true;
            }
            Line::Reject => parsed.rejected.push(line),
        }
    }
    parsed
}

#[cfg(test)]
mod tests;
