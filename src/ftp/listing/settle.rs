//! What one line does not tell and all lines together do: whether the day or the month comes first, and whether there is a year
//! behind the time.

use std::sync::Arc;

use chrono::{DateTime, Datelike, NaiveDate};

use super::time::Today;
use crate::{
    budget::Budget,
    ftp::zone::Offset,
    remote::{Entries, Gathering, Modified, Precision, RemotePath},
};

/// How old a file is whose year `ls` tells in the place of the time: half a year of 365.2425 days, and one day for clocks that are wrong.
const RECENT_SECONDS: i64 = 15_778_476 + 86_400;

/// What the two first numbers of a date are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    DayFirst,
    MonthFirst,
    /// Both are the same.
    Either,
    /// It could be either, and was read as the month first.
    Open,
    /// The same, in a line like those of IIS, which writes the month first.
    Usual,
}

/// What dates have shown that can be read in one way only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Shown {
    #[default]
    Nothing,
    Always(Order),
    Both,
}

/// Whether there are dates that can be read in two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Open {
    #[default]
    No,
    /// Where nothing shows otherwise the month comes first.
    MonthFirst,
    /// Nothing but other lines can tell.
    Unknown,
}

/// What the lines of one listing have shown so far.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// What the dates show that can be read in one way only.
    shown: Shown,
    /// The doubt of those that can be read in two.
    open: Open,
    /// Lines that tell the time and no year, and those of them that have what may be a year behind it.
    without_year: usize,
    with_year_behind: usize,
    /// Whether one of them cannot be without: `ls` would have told the year, or never tells seconds without.
    needs_year: bool,
}

impl Doubts {
    pub(super) fn note_order(&mut self, order: Order) {
        match order {
            Order::DayFirst | Order::MonthFirst => {
                self.shown = match self.shown {
                    Shown::Nothing => Shown::Always(order),
                    Shown::Always(other) if other == order => self.shown,
                    Shown::Always(_) | Shown::Both => Shown::Both,
                };
            }
            Order::Open => self.open = Open::Unknown,
            Order::Usual if self.open == Open::No => self.open = Open::MonthFirst,
            Order::Usual | Order::Either => {}
        }
    }

    /// Takes note of a line that tells a time without its year.
    pub(super) fn note_time(&mut self, modified: Option<Modified>, name: &[u8], today: &Today) {
        self.without_year += 1;
        let Some((year, _)) = split_year(name) else {
            return;
        };
        self.with_year_behind += 1;
        self.needs_year |= modified.is_some_and(|modified| {
            let is_old = today.age_seconds(modified) > RECENT_SECONDS;
            (is_old || modified.precision == Precision::Second) && !today.is_before(year)
        });
    }

    /// The entries as all lines have shown them to be meant.
    pub(super) fn settle(
        &self,
        entries: Entries,
        offset: Option<Offset>,
        budget: &Arc<Budget>,
    ) -> Entries {
        let offset = offset.map_or(0, Offset::seconds);
        let entries = self.settle_order(entries, offset);
        if !self.needs_year || self.with_year_behind != self.without_year {
            return entries;
        }
        let mut settled = Gathering::in_budget(budget);
        for mut entry in entries.iter() {
            if let Some((year, name)) = split_year(entry.name) {
                entry.name = name;
                entry.modified = entry
                    .modified
                    .and_then(|time| on_day(time, offset, |day| day.with_year(year)));
            }
            // `2023 .` is the directory itself.
            if RemotePath::check_name(entry.name).is_ok() {
                settled.push(entry);
            }
        }
        settled.finish()
    }

    fn settle_order(&self, entries: Entries, offset: i64) -> Entries {
        let is_known = match (self.shown, self.open) {
            (_, Open::No)
            | (Shown::Always(Order::MonthFirst), _)
            | (Shown::Nothing, Open::MonthFirst) => return entries,
            (Shown::Always(_), _) => true,
            (Shown::Both, _) | (Shown::Nothing, Open::Unknown) => false,
        };
        entries.map(|entry| {
            entry.modified = entry.modified.and_then(|time| {
                let swap = |day: NaiveDate| {
                    if day.day() > 12 || day.day() == day.month() {
                        return Some(day);
                    }
                    let swapped = NaiveDate::from_ymd_opt(day.year(), day.day(), day.month());
                    // A time that may be another is none.
                    swapped.filter(|_| is_known)
                };
                on_day(time, offset, swap)
            });
        })
    }
}

/// A year of four digits, one space and the rest.
fn split_year(name: &[u8]) -> Option<(i32, &[u8])> {
    let (digits, rest) = name.split_at_checked(4)?;
    let rest = rest.strip_prefix(b" ").filter(|rest| !rest.is_empty())?;
    let year = super::line::number(digits)?;
    (1970..2100).contains(&year).then_some((year, rest))
}

/// The same time of day on another day. `offset` is what has been taken off the listed time.
fn on_day(
    modified: Modified,
    offset: i64,
    day: impl Fn(NaiveDate) -> Option<NaiveDate>,
) -> Option<Modified> {
    let listed = DateTime::from_timestamp(modified.seconds.checked_add(offset)?, 0)?.naive_utc();
    let moved = day(listed.date())?.and_time(listed.time());
    Some(Modified {
        seconds: moved.and_utc().timestamp().checked_sub(offset)?,
        ..modified
    })
}
