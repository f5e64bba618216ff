//! The shapes in which servers write dates, as a table; the usual ones are read by `unix` and `dos` before these are tried.

use chrono::NaiveDate;

use super::{
    fields::{Fields, Gap},
    line::number,
    months::{self, is_unit},
    settle::{Doubts, Order},
    time::{Clock, Today, date, digits_up_to_two},
};
use crate::remote::{Modified, Precision};

/// What a column of a date may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Weekday,
    /// By its name, or as a number with a unit.
    Month,
    /// A word that may be a month's name in a language that is not known.
    Word,
    /// As a bare number.
    MonthNumber,
    Day,
    Year,
    Clock,
    /// AM or PM.
    Half,
    /// `UTC`, `CET`, `+0100`.
    ZoneName,
    /// `1999/10/12`
    YearMonthDay,
    /// `24-04-2003`, or the month first.
    DayMonthYear,
    /// `01-jun-99`, `Feb-28-1998`
    Named,
    /// `09-26`
    MonthDay,
    /// `2004-07-15T10:20:30`
    Iso,
}

use Part::{
    Clock as C, Day as D, DayMonthYear, Half, Iso, Month as M, MonthDay, MonthNumber, Named,
    Weekday, Word, Year as Y, YearMonthDay, ZoneName,
};

/// A shape, and an example.
type Shape = (&'static [Part], &'static str);

/// Tried in this order, so that longer ones come before their beginnings.
#[rustfmt::skip]
const SHAPES: &[Shape] = &[
    // ctime, `ls -lT` of BSD
    (&[Weekday, M, D, C, ZoneName, Y], "Thu Jan  1 03:05:07 UTC 2004"),
    (&[Weekday, M, D, C, Y], "Thu Jan  1 03:05:07 2004"),
    (&[Weekday, D, M, Y, C], "Thu, 1 Jan 2004 03:05"),
    // VShell
    (&[M, D, Y, C, Half], "Oct 08, 2002 09:47 PM"),
    (&[M, D, Y, C], "Oct 08, 2002 09:47"),
    // `ls -l` in the languages of the world
    (&[M, D, C, Half], "Jan 1 03:05 PM"),
    (&[M, D, C], "8月 15 10:20"),
    (&[M, D, Y], "Dez 15 2024"),
    (&[D, M, Y, C], "15 janv. 2024 10:20"),
    (&[D, M, C, Half], "1 Jan 03:05 PM"),
    (&[D, M, C], "26. Juli, 20:10"),
    (&[D, M, Y], "2.   Okt.  2003"),
    (&[Y, M, D, C], "2005年 1月 6日 10:20"),
    (&[Y, M, D], "2005年  1月  6日"),
    (&[MonthNumber, D, C], "3 29 03:26"),
    (&[MonthNumber, D, Y], "3 29 2003"),
    // in one word
    (&[Iso], "2004-07-15T10:20:30"),
    (&[YearMonthDay, C, Half], "1999/10/12 05:12 PM"),
    (&[YearMonthDay, C], "1999/10/12 17:12"),
    (&[YearMonthDay], "2004.07.15"),
    (&[Named, C, Half], "01-jun-99 05:12 PM"),
    (&[Named, C], "Feb-28-1998  05:23:30"),
    (&[Named], "01-jun-99"),
    (&[DayMonthYear, C, Half], "24-04-2003 05:12 PM"),
    (&[DayMonthYear, Weekday, C], "06/30/04  Thur.   10:20:03"),
    (&[DayMonthYear, C], "24.04.2003 17:12"),
    (&[DayMonthYear], "24-04-2003"),
    (&[MonthDay, C], "09-26 13:45"),
    (&[MonthDay, Y], "09-26 2000"),
];

/// With a month of an unknown language: nothing is known but where the name begins.
#[rustfmt::skip]
const UNKNOWN: &[Shape] = &[
    (&[Word, D, C], "Foo 27 09:05"),
    (&[Word, D, Y], "Foo 27 2004"),
    (&[D, Word, C], "27 Foo 09:05"),
    (&[D, Word, Y], "27 Foo 2004"),
];

/// What must stand before a date that could be something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    Nothing,
    /// The size: these are bare numbers.
    Size,
    /// All columns: the year could be the size.
    Columns,
}

/// A date that was found.
#[derive(Debug)]
pub(super) struct Found {
    /// The time; `None` where the shape is a date's and its values are no time.
    pub(super) modified: Option<Modified>,
    /// Its last column.
    pub(super) last: usize,
    /// What parts it from a name behind it.
    pub(super) gap: Gap,
    /// What must stand before it.
    pub(super) needs: Needs,
    /// Whether the time of day is told and the year is not.
    pub(super) lacks_year: bool,
}

/// The date whose first column is given.
pub(super) fn find(
    fields: &Fields<'_>,
    at: usize,
    today: &Today,
    doubts: &mut Doubts,
) -> Option<Found> {
    find_in(SHAPES, fields, at, today, doubts)
}

/// The same, of a month in a language that is not known.
pub(super) fn find_unknown(
    fields: &Fields<'_>,
    at: usize,
    today: &Today,
    doubts: &mut Doubts,
) -> Option<Found> {
    find_in(UNKNOWN, fields, at, today, doubts)
}

/// What a word in the shape of a date stands for: a day, or none that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Day(pub(super) Option<NaiveDate>);

/// The day that one word stands for, if it is a date.
pub(super) fn day(text: &[u8], doubts: &mut Doubts) -> Option<Day> {
    [YearMonthDay, Named, DayMonthYear].iter().find_map(|part| {
        let mut draft = Draft::default();
        draft.take(*part, text)?;
        let day = date(draft.year?, draft.month?, draft.day?);
        if day.is_some() {
            draft.note(doubts);
        }
        Some(Day(day))
    })
}

fn find_in(
    shapes: &[Shape],
    fields: &Fields<'_>,
    at: usize,
    today: &Today,
    doubts: &mut Doubts,
) -> Option<Found> {
    shapes.iter().find_map(|(parts, _)| {
        let mut draft = Draft::default();
        for (index, part) in (at..).zip(*parts) {
            draft.take(*part, fields.get(index)?)?;
        }
        let is_word = matches!(
            parts,
            [Iso | YearMonthDay | Named | DayMonthYear | MonthDay, ..]
        );
        let has_clock = draft.clock.is_some();
        Some(Found {
            modified: draft.time(today, doubts),
            last: at + parts.len() - 1,
            gap: if is_word && !has_clock {
                Gap::All
            } else {
                Gap::One
            },
            needs: match parts {
                [MonthNumber, ..] => Needs::Size,
                [Y, ..] if fields.get(at).is_some_and(|year| year.len() == 4) => Needs::Columns,
                _ => Needs::Nothing,
            },
            lacks_year: has_clock && draft.year.is_none(),
        })
    })
}

/// What is known of a date so far.
#[derive(Debug, Default)]
struct Draft {
    year: Option<i32>,
    month: Option<u32>,
    day: Option<u32>,
    clock: Option<(Clock, Precision)>,
    half: Option<u8>,
    order: Option<Order>,
}

impl Draft {
    fn take(&mut self, part: Part, text: &[u8]) -> Option<()> {
        match part {
            Weekday => is_weekday(text).then_some(()),
            M => {
                self.month = Some(months::month(text)?);
                Some(())
            }
            Word => (text.len() >= 2 && !text.iter().any(u8::is_ascii_digit)).then_some(()),
            MonthNumber => {
                let month = digits_up_to_two(text).filter(|month| (1..=31).contains(month))?;
                self.month = Some(month);
                Some(())
            }
            D => {
                let (number, unit) = split_number(text);
                let day = digits_up_to_two(number)?;
                let is_day = matches!(unit, b"" | b"." | b"," | b".,")
                    || is_unit(unit)
                    || [&b"st"[..], b"nd", b"rd", b"th", b"er"].contains(&unit);
                self.day = is_day.then_some(day);
                if let Some(month) = self.month.filter(|month| *month > 12) {
                    // `29 3 03:26`: the day came first.
                    (self.month, self.day) = (self.day, Some(month));
                }
                self.day.map(|_| ())
            }
            Y => {
                let (number, unit) = split_number(text);
                self.year = Some(four_digits(number)?);
                (matches!(unit, b"" | b"." | b",") || is_unit(unit)).then_some(())
            }
            C => self.take_clock(text),
            Half => {
                self.half = Some(half_of(text)?);
                // `17:12 PM` is no time, and `PM` may begin a name.
                (text.len() == 2 && self.clock?.0.hour <= 12).then_some(())
            }
            ZoneName => (text.len() <= 5
                && (text.iter().all(u8::is_ascii_uppercase) || matches!(text, [b'+' | b'-', ..])))
            .then_some(()),
            YearMonthDay => {
                let [year, month, day] = split_date(text).or_else(|| split_units(text))?;
                self.year = Some(four_digits(year)?);
                (self.month, self.day) =
                    (Some(digits_up_to_two(month)?), Some(digits_up_to_two(day)?));
                Some(())
            }
            DayMonthYear => self.take_numbers(text),
            Named => {
                let [first, second, year] = split_date(text)?;
                let (month, day) = match months::month(second) {
                    Some(month) => (month, first),
                    None => (months::month(first)?, second),
                };
                self.month = Some(month);
                self.day = Some(digits_up_to_two(day)?);
                self.year = Some(any_year(year)?);
                Some(())
            }
            MonthDay => {
                let [first, second] = match text.iter().position(|byte| b"-/".contains(byte)) {
                    Some(at) => [text.get(..at)?, text.get(at + 1..)?],
                    None => split_units(text)?,
                };
                let (first, second) = (digits_up_to_two(first)?, digits_up_to_two(second)?);
                let (month, day) = if first > 12 {
                    (second, first)
                } else {
                    (first, second)
                };
                (self.month, self.day) = (Some(month), Some(day));
                Some(())
            }
            Iso => {
                let at = text.iter().position(|byte| matches!(byte, b'T' | b'_'))?;
                self.take(YearMonthDay, text.get(..at)?)?;
                let clock = text.get(at + 1..)?;
                self.take_clock(clock.strip_suffix(b"Z").unwrap_or(clock))
            }
        }
    }

    /// `24-04-2003` and its like: what is first is told by a number above 12, or by the full stops.
    fn take_numbers(&mut self, text: &[u8]) -> Option<()> {
        let [first, second, year] = split_date(text)?;
        let (first, second) = (digits_up_to_two(first)?, digits_up_to_two(second)?);
        self.year = Some(any_year(year)?);
        let order = match (first, second) {
            (13.., _) => Order::DayFirst,
            (_, 13..) => Order::MonthFirst,
            _ if first == second => Order::Either,
            _ if text.contains(&b'.') => Order::DayFirst,
            _ if text.contains(&b'-') && year.len() < 4 => Order::Usual,
            _ => Order::Open,
        };
        self.order = Some(order);
        let (month, day) = match order {
            Order::DayFirst => (second, first),
            _ => (first, second),
        };
        (self.month, self.day) = (Some(month), Some(day));
        Some(())
    }

    fn take_clock(&mut self, text: &[u8]) -> Option<()> {
        let text = text.strip_suffix(b",").unwrap_or(text);
        let half = half_of(text);
        let text = match half {
            Some(_) => text.get(..text.len() - 2)?,
            None => text,
        };
        // `10.20`, as in Denmark and Finland.
        let dotted = match text {
            [hour @ .., b'.', ten, one] if !text.contains(&b':') => {
                [hour, b":", &[*ten, *one]].concat()
            }
            _ => text.to_vec(),
        };
        let text = dotted.as_slice();
        let point = text.iter().position(|byte| *byte == b'.');
        let (whole, fraction) = text.split_at_checked(point.unwrap_or(text.len()))?;
        let (_, digits) = fraction.split_at_checked(1).unwrap_or_default();
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        self.clock = Some(Clock::parse(whole)?);
        self.half = half;
        Some(())
    }

    /// The time, if there is such a day.
    fn time(&self, today: &Today, doubts: &mut Doubts) -> Option<Modified> {
        let (month, day) = (self.month?, self.day?);
        let Some((mut clock, precision)) = self.clock else {
            let modified = Clock::default().on(date(self.year?, month, day)?, Precision::Day)?;
            self.note(doubts);
            return Some(modified);
        };
        clock.in_half(self.half)?;
        // Midnight at the end of the day.
        let is_end = clock.hour == 24 && clock.minute == 0 && clock.second == 0;
        if is_end {
            clock.hour = 0;
        }
        let mut modified = match self.year {
            Some(year) => clock.on(date(year, month, day)?, precision)?,
            None => today.with_year(month, day, clock, precision)?,
        };
        modified.seconds += if is_end { 86_400 } else { 0 };
        self.note(doubts);
        Some(modified)
    }

    /// Which of day and month comes first counts where there is such a day.
    fn note(&self, doubts: &mut Doubts) {
        if let Some(order) = self.order {
            doubts.note_order(order);
        }
    }
}

fn is_weekday(text: &[u8]) -> bool {
    const DAYS: [&[u8; 3]; 7] = [b"mon", b"tue", b"wed", b"thu", b"fri", b"sat", b"sun"];
    let lower = text.to_ascii_lowercase();
    text.len() <= 10 && DAYS.iter().any(|day| lower.starts_with(&day[..]))
}

/// `a` or `p` of `AM`, `PM` at the end.
fn half_of(text: &[u8]) -> Option<u8> {
    match text {
        [.., half @ (b'A' | b'a' | b'P' | b'p'), b'M' | b'm'] => Some(half.to_ascii_lowercase()),
        _ => None,
    }
}

/// The digits that a word begins with, and the rest.
fn split_number(text: &[u8]) -> (&[u8], &[u8]) {
    let digits = text.iter().position(|byte| !byte.is_ascii_digit());
    text.split_at_checked(digits.unwrap_or(text.len()))
        .unwrap_or_default()
}

/// Three parts with one of `-/.` twice between them.
fn split_date(text: &[u8]) -> Option<[&[u8]; 3]> {
    let separator = *text
        .iter()
        .find(|byte| matches!(byte, b'-' | b'/' | b'.'))?;
    let text = text.strip_suffix(b",").unwrap_or(text);
    let mut parts = text.split(|byte| *byte == separator);
    let three = [parts.next()?, parts.next()?, parts.next()?];
    // `24.04.2003.`, as in Hungary and Croatia.
    let rest = parts.next();
    (rest.is_none_or(<[u8]>::is_empty) && parts.next().is_none()).then_some(three)
}

/// So many numbers with a unit of an Asian language behind each: `2004年7月15日`.
fn split_units<const COUNT: usize>(text: &[u8]) -> Option<[&[u8]; COUNT]> {
    let mut numbers: [&[u8]; COUNT] = [b""; COUNT];
    let mut rest = text;
    for number in &mut numbers {
        let (digits, behind) = split_number(rest);
        let unit = behind.iter().position(u8::is_ascii_digit);
        let (unit, behind) = behind.split_at_checked(unit.unwrap_or(behind.len()))?;
        is_unit(unit).then_some(())?;
        (*number, rest) = (digits, behind);
    }
    rest.is_empty().then_some(numbers)
}

fn four_digits(text: &[u8]) -> Option<i32> {
    number(text).filter(|_| text.len() == 4)
}

/// A year in two or four digits; in three where a server goes on counting from 1900.
pub(super) fn any_year(text: &[u8]) -> Option<i32> {
    match (text.len(), number::<i32>(text)?) {
        (4, year) => Some(year),
        (3, year) => Some(1900 + year),
        // No server has a file from before 1970.
        (2, year @ 70..) => Some(1900 + year),
        (2, year) => Some(2000 + year),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn each_shape_is_that_of_its_example() {
        // 2026-03-01
        let today = Today::new(UNIX_EPOCH + Duration::from_hours(492_324));
        for (parts, example) in SHAPES {
            let line = format!("{example} name");
            let fields = Fields::of(line.as_bytes());
            let found = find(&fields, 0, &today, &mut Doubts::default()).unwrap();
            assert_eq!(found.last + 1, parts.len(), "{example}");
            assert!(found.modified.is_some(), "{example}");
            let first = SHAPES.iter().find(|(parts, _)| {
                let mut draft = Draft::default();
                let mut taken = (0..).zip(*parts);
                taken.all(|(index, part)| {
                    let field = fields.get(index);
                    field.is_some_and(|field| draft.take(*part, field).is_some())
                })
            });
            assert_eq!(first.unwrap().0, *parts, "{example}");
        }
        for (parts, example) in UNKNOWN {
            let fields = Fields::of(example.as_bytes());
            let found = find_unknown(&fields, 0, &today, &mut Doubts::default()).unwrap();
            assert_eq!((found.last + 1, found.modified), (parts.len(), None));
        }
    }

    #[test]
    fn dates_mean_what_they_say() {
        let today = Today::new(UNIX_EPOCH + Duration::from_hours(492_324));
        for (text, expected) in [
            ("Thu Jan  1 03:05:07 2004", "20040101030507"),
            ("Oct 08, 2002 09:47 PM", "20021008214700"),
            ("15 janv. 10:20", "20260115102000"),
            ("26. Juli, 20:10", "20250726201000"),
            ("2005年  1月  6日", "20050106000000"),
            ("2003 3\u{ed}\u{ef} 20", "20030320000000"),
            ("2004年7月15日", "20040715000000"),
            ("7月15日 10:20", "20250715102000"),
            ("15 okt 10.20", "20251015102000"),
            ("3 29 03:26", "20250329032600"),
            ("29 3 03:26", "20250329032600"),
            ("1999/10/12 17:12", "19991012171200"),
            ("01-jun-99", "19990601000000"),
            ("6-Apr-07 14:21:18", "20070406142118"),
            ("24.04.2003 17:12", "20030424171200"),
            ("02-11-103  16:15", "20030211161500"),
            ("09-26 13:45", "20250926134500"),
            ("Apr   4 24:00", "20250405000000"),
            ("01-02-2003 12:30AM", "20030102003000"),
        ] {
            let fields = Fields::of(text.as_bytes());
            let found = find(&fields, 0, &today, &mut Doubts::default()).unwrap();
            let expected = super::super::parse_time_val(expected.as_bytes()).unwrap();
            assert_eq!(found.modified.unwrap().seconds, expected.seconds, "{text}");
        }
        // There is no such day.
        for text in [
            "Jan 00 1980",
            "Nov 31 2009",
            "2004-13-01 10:20",
            "Jan 1 25:00",
        ] {
            let fields = Fields::of(text.as_bytes());
            let found = find(&fields, 0, &today, &mut Doubts::default()).unwrap();
            assert_eq!(found.modified, None, "{text}");
        }
    }
}
