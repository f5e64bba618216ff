//! Directory listings, bytes in as they arrive and entries out: MLSD, Unix `ls -l`, DOS.
//!
//! Parsing is total: what cannot be understood is counted and sampled, never an error and never a panic. What makes it hard:
//! 1. names are bytes, and spaces at either end belong to them: each parser finds the one byte at which the name begins
//!    and trims nothing;
//! 2. LIST has no specification: `unix` looks for the size and the time, the only columns that all servers have, and
//!    takes what stands before them as it comes;
//! 3. LIST leaves the year out of recent times: `time::Today` guesses it;
//! 4. LIST tells times of an unknown zone: [`super::zone`] puts them right later.

mod dates;
mod dos;
mod eplf;
mod fields;
mod foreign;
mod format;
mod headings;
mod line;
mod loose;
mod mlsd;
mod months;
mod reading;
mod settle;
mod sizes;
mod time;
mod unix;

pub(super) use format::Format;
pub use mlsd::parse_facts;
pub use reading::{End, Parsed};
pub(super) use reading::{Reading, Shown};
pub use time::parse_time_val;

use std::time::SystemTime;

use crate::budget::Budget;

/// Parses what MLSD sends (RFC 3659 section 7).
pub fn parse_mlsd(bytes: &[u8]) -> Parsed {
    parse(bytes, Format::Mlsd)
}

/// Parses what LIST sends, line by line in Unix or DOS style. `now` serves to guess years.
pub fn parse_list(bytes: &[u8], now: SystemTime) -> Parsed {
    parse(bytes, Format::list(now))
}

fn parse(bytes: &[u8], format: Format) -> Parsed {
    let budget = Budget::new(usize::MAX);
    let mut reading = Reading::new(format, Shown::as_sent(), &budget);
    reading.feed(bytes);
    reading.finish()
}

#[cfg(test)]
mod tests;
