//! The server's wall clock against UTC: LIST tells local times and does not say of which zone.

use serde::{Deserialize, Serialize};

use crate::remote::{Modified, Precision};

/// In which time the entries of a listing are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Zone {
    /// UTC (MLSD, RFC 3659 section 2.3).
    Utc,
    /// The wall clock of the server (LIST), written down as if it were UTC until an [`Offset`] puts it right.
    Server,
}

/// How far the server's wall clock is ahead of UTC.
///
/// One offset serves all entries. A server that follows summer time shows each file in the time that was valid on that day, so that
/// files of the other half of the year stay one hour off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Offset {
    seconds: i64,
}

/// All offsets in use are multiples of a quarter of an hour (Nepal: +5:45).
const STEP_SECONDS: i64 = 15 * 60;

/// The largest offset in use (Kiribati: +14:00).
const SECONDS_MAX: i64 = 14 * 3600;

/// A listing that rounds the minute up instead of cutting it is still recognised.
const TOLERANCE_SECONDS: i64 = 60;

impl Offset {
    /// The offset that explains why a listing shows `listed` (read as UTC) for a file whose time is `exact_utc` by MDTM.
    ///
    /// `None` when no offset in use explains it: the file changed in between, or the listing tells no more than the day.
    pub fn from_pair(listed: Modified, exact_utc: Modified) -> Option<Self> {
        // `ls` cuts the seconds off, and so must we before we compare: no zone is off by part of a minute.
        let shown = match listed.precision {
            Precision::Day => return None,
            Precision::Minute => exact_utc.seconds - exact_utc.seconds.rem_euclid(60),
            Precision::Remembered | Precision::Second => exact_utc.seconds,
        };
        let difference = listed.seconds.checked_sub(shown)?;
        let steps = difference
            .checked_add(STEP_SECONDS / 2)?
            .div_euclid(STEP_SECONDS);
        let seconds = steps * STEP_SECONDS;
        let is_plausible =
            seconds.abs() <= SECONDS_MAX && (difference - seconds).abs() <= TOLERANCE_SECONDS;
        is_plausible.then_some(Self { seconds })
    }

    /// The UTC time of an entry whose time was `listed` by the server's wall clock.
    #[must_use]
    pub fn apply(self, listed: Modified) -> Modified {
        Modified {
            seconds: listed.seconds.saturating_sub(self.seconds),
            ..listed
        }
    }

    /// Seconds that the server's wall clock is ahead of UTC; negative in the west.
    pub fn seconds(self) -> i64 {
        self.seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXACT: Modified = Modified {
        seconds: 1_700_000_059,
        nanoseconds: 0,
        precision: Precision::Second,
    };

    fn listed(ahead: i64, precision: Precision) -> Modified {
        let seconds = EXACT.seconds + ahead;
        match precision {
            Precision::Second => Modified { seconds, ..EXACT },
            _ => Modified {
                seconds: seconds - seconds.rem_euclid(60),
                nanoseconds: 0,
                precision,
            },
        }
    }

    // SEMANTICS: S-list-times
    #[test]
    fn every_zone_in_use_is_found_and_undone() {
        for quarter in -56..=56 {
            for precision in [Precision::Minute, Precision::Second] {
                let listed = listed(quarter * 900, precision);
                let offset = Offset::from_pair(listed, EXACT).unwrap();
                assert_eq!(offset.seconds(), quarter * 900);
                let undone = offset.apply(listed);
                assert!((0..60).contains(&(EXACT.seconds - undone.seconds)));
                assert_eq!(undone.precision, precision);
            }
        }
    }

    #[test]
    fn what_no_zone_explains_gives_none() {
        for ahead in [7 * 60, 15 * 3600, -57 * 900, 365 * 86_400, 3600 + 120] {
            assert_eq!(
                Offset::from_pair(listed(ahead, Precision::Minute), EXACT),
                None,
                "{ahead}"
            );
        }
        assert_eq!(Offset::from_pair(listed(3600, Precision::Day), EXACT), None);
        let first = Modified::from_seconds(i64::MIN);
        let last = Modified::from_seconds(i64::MAX);
        assert_eq!(Offset::from_pair(first, last), None);
        assert_eq!(Offset::from_pair(last, Modified::from_seconds(0)), None);
    }

    #[test]
    fn a_minute_rounded_up_is_recognised() {
        let up = Modified {
            seconds: EXACT.seconds + 1 + 3600,
            ..listed(0, Precision::Minute)
        };
        assert_eq!(Offset::from_pair(up, EXACT).unwrap().seconds(), 3600);
    }
}
