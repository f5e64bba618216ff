//! Times as listings write them, all read as if they were UTC.

use std::time::SystemTime;

use chrono::{DateTime, Datelike, NaiveDate};

use super::line::number;
use crate::remote::{Modified, Precision};

/// Parses RFC 3659's `time-val`: `YYYYMMDDHHMMSS`, and a fraction where the server tells one. UTC.
pub fn parse_time_val(text: &[u8]) -> Option<Modified> {
    let (whole, fraction) = text.split_at_checked(14)?;
    let part = |from: usize, to: usize| number::<u32>(whole.get(from..to)?);
    let date = date(number(whole.get(..4)?)?, part(4, 6)?, part(6, 8)?)?;
    let clock = Clock {
        hour: part(8, 10)?,
        minute: part(10, 12)?,
        second: part(12, 14)?,
    };
    let nanoseconds = match fraction {
        [] => 0,
        [b'.', digits @ ..] => parse_fraction(digits)?,
        _ => return None,
    };
    Some(Modified {
        nanoseconds,
        ..clock.on(date, Precision::Second)?
    })
}

/// A time of day.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clock {
    pub(super) hour: u32,
    pub(super) minute: u32,
    pub(super) second: u32,
}

impl Clock {
    /// Parses `HH:MM` or `HH:MM:SS`.
    pub(super) fn parse(text: &[u8]) -> Option<(Self, Precision)> {
        let mut parts = text.split(|byte| *byte == b':');
        let hour = digits_up_to_two(parts.next()?)?;
        let minute = digits_up_to_two(parts.next()?)?;
        let (second, precision) = match parts.next() {
            None => (0, Precision::Minute),
            Some(second) => (digits_up_to_two(second)?, Precision::Second),
        };
        parts.next().is_none().then_some((
            Self {
                hour,
                minute,
                second,
            },
            precision,
        ))
    }

    /// Makes it that of the half of the day named by `a` or `p` (AM, PM), if any; `None` where the hour does not fit.
    pub(super) fn in_half(&mut self, half: Option<u8>) -> Option<()> {
        self.hour = match (half, self.hour) {
            (None, hour) => hour,
            (Some(b'a'), 12) => 0,
            (Some(b'a'), hour @ 0..12) | (Some(b'p'), hour @ 12) => hour,
            (Some(b'p'), hour @ 0..12) => hour + 12,
            _ => return None,
        };
        Some(())
    }

    pub(super) fn on(self, date: NaiveDate, precision: Precision) -> Option<Modified> {
        // A leap second counts as the first of the next minute, as in POSIX.
        let (second, leap) = if self.second == 60 {
            (59, 1)
        } else {
            (self.second, 0)
        };
        let seconds = date
            .and_hms_opt(self.hour, self.minute, second)?
            .and_utc()
            .timestamp();
        Some(Modified {
            seconds: seconds + leap,
            nanoseconds: 0,
            precision,
        })
    }
}

pub(super) fn date(year: i32, month: u32, day: u32) -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(year, month, day)
}

/// Digits behind the point of a second, as nanoseconds; further digits are dropped.
pub(super) fn parse_fraction(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let padded = digits
        .iter()
        .copied()
        .chain(std::iter::repeat(b'0'))
        .take(9);
    Some(padded.fold(0, |all, digit| all * 10 + u32::from(digit - b'0')))
}

/// `5`, `05` or `12`.
pub(super) fn digits_up_to_two(text: &[u8]) -> Option<u32> {
    number(text).filter(|_| text.len() <= 2)
}

/// The number of an English month, by three letters in any case.
pub(super) fn month(text: &[u8]) -> Option<u32> {
    const MONTHS: [&[u8; 3]; 12] = [
        b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov",
        b"dec",
    ];
    let letters: [u8; 3] = text.try_into().ok()?;
    let lower = letters.map(|letter| letter.to_ascii_lowercase());
    (1..)
        .zip(MONTHS)
        .find(|(_, month)| **month == lower)
        .map(|(number, _)| number)
}

/// The day on which a listing was made, for the years that it leaves out.
#[derive(Debug)]
pub(in crate::ftp) struct Today {
    /// No entry is later than this.
    latest_seconds: i64,
    year: i32,
}

impl Today {
    pub(super) fn new(now: SystemTime) -> Self {
        // A day more than now: the server's wall clock may be up to 14 hours ahead of UTC.
        let latest_seconds = Modified::from(now).seconds.saturating_add(86_400);
        let year = DateTime::from_timestamp(latest_seconds, 0).map_or(1970, |time| time.year());
        Self {
            latest_seconds,
            year,
        }
    }

    /// The latest year in which the day exists and is not in the future. `ls` leaves the year out for half a year only; the
    /// way back is that long for 29 February, which may be eight years apart (1896, 1904).
    pub(super) fn with_year(
        &self,
        month: u32,
        day: u32,
        clock: Clock,
        precision: Precision,
    ) -> Option<Modified> {
        (0..=8).find_map(|back| {
            let time = clock.on(date(self.year - back, month, day)?, precision)?;
            (time.seconds <= self.latest_seconds).then_some(time)
        })
    }
    /// How long ago a time was.
    pub(super) fn age_seconds(&self, time: Modified) -> i64 {
        self.latest_seconds
            .saturating_sub(86_400)
            .saturating_sub(time.seconds)
    }

    /// Whether a year is still to come.
    pub(super) fn is_before(&self, year: i32) -> bool {
        self.year < year
    }
}
