//! How many streams of one file pay: found out by trying, as nothing else tells a lossy link or a server's limit for each
//! connection from a link that is full.
//!
//! ```text
//!   streams   1          2          4          7            4          4
//!   time      |--|-------|--|-------|--|-------|--|---------|----------------->
//!             lead measure  1.9 x      1.8 x      1.1 x: back to 4, kept for a while
//! ```

use std::time::{Duration, Instant};

/// What passes before a measurement. 500 ms: connections are opened and leave their slow start.
const LEAD_IN: Duration = Duration::from_millis(500);

/// How long is measured. 1 s: some round trips of a slow link, so that one lost packet does not decide.
const MEASURED_MIN: Duration = Duration::from_secs(1);

/// What more streams must bring of what they would bring if each got as much as those before. 0.25: above what a measurement
/// varies by on a link that is full, below what it does where packets are lost at random.
const GAIN_MIN: f64 = 0.25;

/// How much longer the file must take for a try. 3 s: a try may cost tens of milliseconds.
const REST_MIN: Duration = Duration::from_secs(3);

/// How long nothing is tried after a try that did not pay. 30 s: what was measured may have been somebody else's traffic.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// What is found out is used for the next files for this long. 5 min: links and servers change.
const LEARNT_AGE_MAX: Duration = Duration::from_mins(5);

/// How many streams paid last, for the files that come next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Learnt {
    count: usize,
    at: Instant,
    quiet_until: Instant,
}

/// What is seen at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// All bytes that have arrived, of whatever file.
    pub(super) bytes: u64,
    /// Whether more would have arrived had there been room, or whether others read too: then nothing is measured.
    pub(super) is_held: bool,
    /// What is left of the file.
    pub(super) rest: u64,
}

/// The search for one file.
#[derive(Debug)]
pub(super) struct StreamCount {
    count: usize,
    max: usize,
    is_fixed: bool,
    /// How many there were before the present try, and the bytes a second that they brought.
    before: Option<(usize, f64)>,
    /// Since when it waits for what it measures to settle, or measures, and how many bytes had arrived then.
    since: Instant,
    measured_from: Option<u64>,
    quiet_until: Instant,
    /// Bytes a second, as measured last.
    rate: f64,
}

impl StreamCount {
    /// A search among 1 to `max` streams, from what was learnt lately.
    pub(super) fn new(max: usize, learnt: Option<Learnt>, now: Instant) -> Self {
        let learnt =
            learnt.filter(|learnt| now.saturating_duration_since(learnt.at) < LEARNT_AGE_MAX);
        Self {
            count: learnt.map_or(1, |learnt| learnt.count.min(max)),
            max,
            is_fixed: false,
            before: None,
            since: now,
            measured_from: None,
            quiet_until: learnt.map_or(now, |learnt| learnt.quiet_until),
            rate: 0.0,
        }
    }

    /// No search: so many streams.
    pub(super) fn fixed(count: usize, now: Instant) -> Self {
        Self {
            count,
            is_fixed: true,
            ..Self::new(count, None, now)
        }
    }

    /// How many streams there should be.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Whether it may soon want fewer.
    pub(super) fn is_trying(&self) -> bool {
        self.before.is_some()
    }

    /// Bytes a second of all streams together; 0 as long as nothing was measured.
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// Takes note of what is seen now. Returns what is to be learnt of it, when a try has ended.
    pub(super) fn note(&mut self, seen: Seen, now: Instant) -> Option<Learnt> {
        let passed = now.saturating_duration_since(self.since);
        if self.is_fixed || seen.is_held {
            self.restart(now);
            return None;
        }
        let Some(from) = self.measured_from else {
            if passed >= LEAD_IN {
                self.since = now;
                self.measured_from = Some(seen.bytes);
            }
            return None;
        };
        if passed < MEASURED_MIN {
            return None;
        }
        let rate = per_second(seen.bytes.saturating_sub(from), passed);
        self.restart(now);
        let outcome = self.judge(rate, now);
        let is_worth_it = per_second(seen.rest, REST_MIN) > self.rate;
        if now >= self.quiet_until && self.count < self.max && is_worth_it {
            self.before = Some((self.count, self.rate));
            self.count = (2 * self.count).min(self.max);
        }
        outcome
    }

    fn judge(&mut self, rate: f64, now: Instant) -> Option<Learnt> {
        let tried = self.before.take();
        self.rate = rate;
        let (count, rate_before) = tried?;
        let ideal = per_stream(1.0, count) * count_of(self.count) - 1.0;
        if rate < rate_before * (1.0 + GAIN_MIN * ideal) {
            log::debug!(
                "{} streams bring {rate:.0} bytes a second, {count} brought {rate_before:.0}",
                self.count
            );
            self.count = count;
            self.rate = rate_before;
            self.quiet_until = now + TRY_AGAIN;
        } else {
            log::info!(
                "{} streams of one file bring {rate:.0} bytes a second, {count} brought {rate_before:.0}",
                self.count
            );
        }
        Some(Learnt {
            count: self.count,
            at: now,
            quiet_until: self.quiet_until,
        })
    }

    fn restart(&mut self, now: Instant) {
        self.since = now;
        self.measured_from = None;
    }
}

/// A count of streams, for arithmetic with rates.
fn count_of(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

/// The share of each of `count` streams.
pub(super) fn per_stream(rate: f64, count: usize) -> f64 {
    rate / count_of(count.max(1))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a rate needs no more than 52 bits"
)]
fn per_second(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / time.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(100);

    /// Reads `total` bytes where `count` streams together bring `rate(count)`; how many streams there were at each change, and
    /// how long it took.
    fn read(
        search: &mut StreamCount,
        total: u64,
        rate: impl Fn(usize) -> u64,
    ) -> (Vec<usize>, Duration) {
        let start = search.since;
        let (mut now, mut bytes) = (start, 0);
        let mut counts = vec![search.count()];
        while bytes < total {
            now += TICK;
            bytes += rate(search.count()) / 10;
            let seen = Seen {
                bytes,
                is_held: false,
                rest: total.saturating_sub(bytes),
            };
            search.note(seen, now);
            if counts.last() != Some(&search.count()) {
                counts.push(search.count());
            }
        }
        (counts, now - start)
    }

    fn of(max: usize) -> StreamCount {
        StreamCount::new(max, None, Instant::now())
    }

    #[test]
    fn where_each_stream_is_slow_all_are_used_and_soon() {
        let (counts, took) = read(&mut of(7), 64 << 20, |count| count as u64 * 250_000);
        assert_eq!(counts, [1, 2, 4, 7]);
        assert!(took < Duration::from_secs(45), "{took:?}");
    }

    #[test]
    fn a_link_that_one_fills_gets_one_again_and_is_left_alone_for_a_while() {
        let (counts, _) = read(&mut of(7), 500 << 20, |_| 20_000_000);
        assert_eq!(counts, [1, 2, 1]);
    }

    #[test]
    fn it_stops_where_more_bring_nothing() {
        let rate = |count: usize| (count as u64).min(4) * 1_000_000;
        let (counts, _) = read(&mut of(7), 100 << 20, rate);
        assert_eq!(counts, [1, 2, 4, 7, 4]);
    }

    #[test]
    fn what_is_soon_there_is_not_worth_a_try() {
        let (counts, _) = read(&mut of(7), 64 << 20, |count| count as u64 * 16_000_000);
        assert_eq!(counts, [1]);
    }

    #[test]
    fn nothing_is_measured_while_the_reader_is_the_slower_one() {
        let mut search = of(7);
        let mut now = search.since;
        for bytes in 0..600 {
            now += TICK;
            let seen = Seen {
                bytes: bytes * 10_000,
                is_held: bytes % 9 == 0,
                rest: 1 << 40,
            };
            search.note(seen, now);
            assert_eq!(search.count(), 1);
        }
    }

    #[test]
    fn what_was_learnt_holds_for_the_next_file_and_is_forgotten() {
        let mut now = Instant::now();
        let mut search = of(4);
        let mut learnt = None;
        for bytes in 0..100 {
            now += TICK;
            let seen = Seen {
                bytes: bytes * 100_000 * search.count() as u64,
                is_held: false,
                rest: 1 << 40,
            };
            learnt = search.note(seen, now).or(learnt);
        }
        assert_eq!(StreamCount::new(7, learnt, now).count(), 4);
        assert_eq!(StreamCount::new(3, learnt, now).count(), 3);
        assert_eq!(StreamCount::new(7, learnt, now + LEARNT_AGE_MAX).count(), 1);
    }

    #[test]
    fn a_number_that_was_given_is_not_changed() {
        let mut search = StreamCount::fixed(3, Instant::now());
        let (counts, _) = read(&mut search, 64 << 20, |_| 1_000_000);
        assert_eq!(counts, [3]);
    }
}
