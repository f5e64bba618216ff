//! How slow a server may be on a data connection: what every read and write there is measured by, with TLS and without.

use std::{
    cell::Cell,
    fmt,
    io::{self, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use super::socket::is_timeout;
use crate::config::FtpConfig;

/// The rate of which a listing may not stay below, whatever `--min-rate` says, unless that is lower. 100 bytes/s: an entry a second.
const LISTING_RATE_MAX: u64 = 100;

/// The rate by which the time for a listing in all is reckoned, from the most that it may be long. 8,000 bytes/s: a line of 64 kbit/s, on
/// which the largest listing that is taken still arrives whole.
const LISTING_RATE_IN_ALL: u64 = 8_000;

/// What is asked of a server on a data connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// The longest wait for anything at all.
    pub(super) timeout: Duration,
    /// Bytes a second; 0 asks for nothing. A transfer may be behind this rate by the timeout at the most.
    pub(super) min_rate: u64,
}

impl Patience {
    /// As it is set.
    pub(super) fn of(config: &FtpConfig) -> Self {
        Self {
            timeout: config.timeout,
            min_rate: config.min_rate,
        }
    }
}

/// How far a data connection is behind the rate. Only time in which the server was waited for counts: what we do not read, or have not got to
/// send, is not its fault.
///
/// It is an account: it begins with the timeout, each wait is taken from it, each byte adds what it may take at that rate, and it
/// never holds more than the timeout. So a server that wakes up a disk for less than the timeout is as good as any, and one that drips is
/// found out after the timeout.
#[derive(Debug)]
pub(super) struct Pace {
    patience: Cell<Patience>,
    /// How much longer the server may be waited for.
    credit: Cell<Duration>,
    /// How long it may be waited for in all.
    left: Cell<Duration>,
}

/// The server has sent or taken less than it must.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TooSlow {
    /// It has been behind this rate by this time.
    Rate(u64, Duration),
    /// It has taken too long in all.
    InAll,
}

impl Pace {
    /// One of a connection that was not used yet.
    pub(super) fn new(patience: Patience) -> Self {
        Self {
            credit: Cell::new(patience.timeout),
            patience: Cell::new(patience),
            left: Cell::new(Duration::MAX),
        }
    }

    /// Asks what is asked of listings: a rate in any case, and to end in the time that so many bytes take on a slow line.
    pub(super) fn expect_listing(&self, bytes_max: usize) {
        let patience = self.patience.get();
        let min_rate = match patience.min_rate {
            0 => LISTING_RATE_MAX,
            rate => rate.min(LISTING_RATE_MAX),
        };
        self.patience.set(Patience {
            min_rate,
            ..patience
        });
        let seconds = u64::try_from(bytes_max).unwrap_or(u64::MAX) / LISTING_RATE_IN_ALL;
        let in_all = Duration::from_secs(seconds).max(patience.timeout);
        self.left.set(in_all);
    }

    /// Counts a wait, and what it has brought.
    pub(super) fn note(&self, waited: Duration, bytes: usize) -> Result<(), TooSlow> {
        let Patience { timeout, min_rate } = self.patience.get();
        let left = self.left.get().saturating_sub(waited);
        self.left.set(left);
        if left.is_zero() {
            return Err(TooSlow::InAll);
        }
        let nanos = u64::try_from(bytes)
            .unwrap_or(u64::MAX)
            .saturating_mul(1_000_000_000)
            .checked_div(min_rate);
        let Some(nanos) = nanos else { return Ok(()) };
        let credit = self
            .credit
            .get()
            .saturating_add(Duration::from_nanos(nanos));
        let credit = credit.checked_sub(waited);
        self.credit.set(credit.unwrap_or_default().min(timeout));
        credit.map(drop).ok_or(TooSlow::Rate(min_rate, timeout))
    }

    /// The socket, measured by it.
    pub(super) fn of<'a>(&'a self, socket: &'a TcpStream) -> Paced<'a> {
        Paced { socket, pace: self }
    }
}

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rate(rate, timeout) => write!(
                f,
                "the data came or went at less than {rate} bytes/s for {} s (--min-rate, --timeout)",
                timeout.as_secs_f32()
            ),
            Self::InAll => f.write_str(
                "the listing took longer than the longest that --listing-memory allows takes at 64 kbit/s",
            ),
        }
    }
}

impl std::error::Error for TooSlow {}

impl From<TooSlow> for io::Error {
    /// Of a kind that nothing takes for the end of one wait of several.
    fn from(slow: TooSlow) -> Self {
        Self::other(slow)
    }
}

impl TooSlow {
    /// What is behind an error of a data connection, if it is this.
    pub(super) fn behind(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

/// A data connection's socket. What is read from it and written to it is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paced<'a> {
    socket: &'a TcpStream,
    pace: &'a Pace,
}

impl<'a> Paced<'a> {
    /// The socket itself.
    pub(super) fn socket(self) -> &'a TcpStream {
        self.socket
    }
}

impl Read for Paced<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let since = Instant::now();
        let count = self.socket.read(buffer)?;
        // An end is an end, however late.
        if count > 0 {
            self.pace.note(since.elapsed(), count)?;
        }
        Ok(count)
    }
}

impl Write for Paced<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let since = Instant::now();
        let written = self.socket.write(bytes);
        match &written {
            Ok(count) => self.pace.note(since.elapsed(), *count)?,
            Err(error) if is_timeout(error) => self.pace.note(since.elapsed(), 0)?,
            Err(_) => {}
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn pace(min_rate: u64) -> Pace {
        Pace::new(Patience {
            timeout: TIMEOUT,
            min_rate,
        })
    }

    /// For how long it bears so many bytes every so many seconds, within a day.
    fn borne(pace: &Pace, every: Duration, bytes: usize) -> Option<Duration> {
        let mut waited = Duration::ZERO;
        while waited < Duration::from_hours(24) {
            waited += every;
            if pace.note(every, bytes).is_err() {
                return Some(waited);
            }
        }
        None
    }

    // SEMANTICS: S-min-rate
    #[test]
    fn what_drips_is_borne_for_the_timeout() {
        let borne = |every, bytes| borne(&pace(100), Duration::from_secs(every), bytes);
        assert_eq!(borne(1, 1).unwrap(), Duration::from_secs(31));
        assert!(borne(5, 499).unwrap() < Duration::from_hours(5));
        assert_eq!(borne(5, 500), None);
        // A disk wakes up before each block.
        assert_eq!(borne(20, 2_000), None);
        assert_eq!(borne(29, 1), Some(Duration::from_secs(58)));
    }

    // SEMANTICS: S-min-rate
    #[test]
    fn what_came_fast_is_no_licence_to_drip_later() {
        let pace = pace(100);
        pace.note(Duration::from_secs(1), 1 << 30).unwrap();
        let borne = borne(&pace, Duration::from_secs(1), 1).unwrap();
        assert!(borne <= TIMEOUT + Duration::from_secs(1), "{borne:?}");
    }

    // SEMANTICS: S-min-rate
    #[test]
    fn nothing_is_asked_with_0_but_of_listings() {
        let every = Duration::from_secs(20);
        assert_eq!(borne(&pace(0), every, 1), None);
        for (min_rate, is_borne) in [(0, false), (1_000, false), (1, true)] {
            let listing = pace(min_rate);
            listing.expect_listing(usize::MAX);
            assert_eq!(borne(&listing, every, 20).is_none(), is_borne, "{min_rate}");
        }
    }

    // SEMANTICS: S-min-rate
    #[test]
    fn a_listing_that_never_ends_ends() {
        let listing = pace(100);
        listing.expect_listing(8_000 * 3_600);
        let borne = borne(&listing, Duration::from_secs(1), 7_000);
        assert_eq!(borne, Some(Duration::from_hours(1)));
        // A million entries over a line of 64 kbit/s, with the default of 128 MiB, whose text may be four times as long.
        let large = pace(100);
        large.expect_listing(4 * (128 << 20));
        for _ in 0..100_000_000 / 8_000 {
            large.note(Duration::from_secs(1), 8_000).unwrap();
        }
    }
}
