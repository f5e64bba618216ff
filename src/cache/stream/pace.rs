//! How fast streams are, beside each other, and which of them a new connection helps.
//!
//! TCP connections that start at the same time overrun the link's queue together, and the one that loses its packets early is left with a
//! small window. While others fill the link that does no harm. Once they are done, congestion avoidance takes seconds to what they
//! leave; a new connection's slow start takes some round trips.

use std::time::Duration;

use super::Stream;

/// How long a stream must have run, and must still have to run, for a new connection to pay. 500 ms: slow start is over by then,
/// and a new one costs a part of it.
const SETTLED: Duration = Duration::from_millis(500);

/// How long before a stream's end another may take its place. 150 ms: a request and the first round trips of a slow start.
const LEAD: Duration = Duration::from_millis(150);

/// How much slower than the one that ends a stream must be. 2: less is how TCP shares a link.
const SLOWER_MIN: u64 = 2;

/// What a stream does.
#[derive(Debug, Clone, Copy)]
pub(in crate::cache) struct Pace {
    age: Duration,
    /// Bytes a second since it began.
    rate: u64,
    /// The bytes that it is still to bring.
    rest: u64,
    /// Whether its reader holds it up and not its connection.
    is_held: bool,
}

impl Pace {
    /// Whether a stream of this pace should go on with a new connection when one of pace `ending` leaves its share.
    pub(in crate::cache) fn is_worth_renewing(&self, ending: &Self) -> bool {
        let takes_long = per_second(self.rest, SETTLED) > self.rate;
        let is_slow = self.rate.saturating_mul(SLOWER_MIN) < ending.rate;
        !self.is_held && self.age >= SETTLED && takes_long && is_slow
    }

    /// Bytes a second.
    pub(in crate::cache) fn rate(&self) -> u64 {
        self.rate
    }
}

impl Stream {
    /// Its pace; `None` before it begins, and for a stream that helps another.
    pub(in crate::cache) fn pace(&self) -> Option<Pace> {
        let now = self.clock.now();
        let window = self.lock();
        let age = now.saturating_duration_since(window.opened?);
        let end = window.limit.min(self.source.version.size);
        (!window.is_helper).then(|| Pace {
            age,
            rate: per_second(window.end - self.start, age),
            rest: end.saturating_sub(window.end),
            is_held: window.is_full,
        })
    }

    /// Whether it comes to the end of the file in a moment.
    pub(super) fn is_ending(&self) -> bool {
        self.pace()
            .is_some_and(|pace| per_second(pace.rest, LEAD) < pace.rate)
    }

    /// Has it give its connection up; whoever reads it goes on with a new one.
    pub(in crate::cache) fn renew(&self) {
        self.lock().is_to_yield = true;
        self.room.notify_all();
    }
}

fn per_second(bytes: u64, time: Duration) -> u64 {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    bytes.saturating_mul(1000) / millis.max(1)
}
