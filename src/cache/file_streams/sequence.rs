//! One sequence of reads: how far it has got, and what is to be fetched next by another stream.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::cache::{
    block::BLOCK_BYTES,
    stream::{IDLE_MAX, Part, SKIP_BYTES_MAX, Stream},
    stream_count::{Learnt, Seen, StreamCount, per_stream},
};

/// What a helper fetches at least. 1 MiB: most of it arrives before a new connection's first losses have made it slow, and
/// the round trips between two segments are a small part of its time.
const SEGMENT_BYTES_MIN: u64 = 1 << 20;

/// What a helper fetches at most. 8 MiB: as long as it takes, its reader may have to wait.
const SEGMENT_BYTES_MAX: u64 = 8 << 20;

/// How long a segment is to take. 1.5 s: many round trips for the two or three between segments.
const SEGMENT_TIME: Duration = Duration::from_millis(1500);

/// How far a reader must have come before helpers start. 256 KiB: whoever wants a file's first pages only stops before.
const HELPED_FROM: u64 = 256 << 10;

/// How long there are no new helpers after one gave its session to somebody who waited. 1 s: who wants a session wants
/// another soon.
const PAUSE: Duration = Duration::from_secs(1);

/// A sequence that is read by one stream or several.
#[derive(Debug)]
pub(super) struct Sequence {
    /// What its streams know it by.
    id: u64,
    /// The cursor that reads it.
    owner: u64,
    /// When it was read last.
    last_read: Instant,
    /// Where it began.
    start: u64,
    /// How far it was read.
    front: u64,
    /// Where the next helper starts; `None` while the last stream goes on to the end of the file.
    next: Option<u64>,
    stream_count: StreamCount,
    paused_until: Option<Instant>,
    /// Whether helpers wait for the reader.
    is_blocked: bool,
    /// Whether there were fewer streams than wanted, for whatever reason.
    is_short: bool,
}

impl Sequence {
    /// What `owner` begins to read at `start`.
    pub(super) fn new(
        id: u64,
        owner: u64,
        start: u64,
        stream_count: StreamCount,
        now: Instant,
    ) -> Self {
        Self {
            id,
            owner,
            last_read: now,
            start,
            front: start,
            next: None,
            stream_count,
            paused_until: None,
            is_blocked: false,
            is_short: true,
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn owner(&self) -> u64 {
        self.owner
    }

    /// No helpers start for a while.
    pub(super) fn pause(&mut self, now: Instant) {
        self.paused_until = Some(now + PAUSE);
    }

    /// A cursor has come to `position`. Whether helpers waited for that.
    pub(super) fn has_read(&mut self, cursor: u64, position: u64, now: Instant) -> bool {
        if cursor != self.owner {
            return false;
        }
        self.front = self.front.max(position);
        self.last_read = now;
        self.is_blocked
    }

    /// Whether the lead stops before the end of the file, where others go on.
    pub(super) fn is_segmented(&self) -> bool {
        self.next.is_some()
    }

    /// Fits a stream in that a read at `position` needs, from `part.start` on: up to where others go on, or as the last one.
    /// `None` if it belongs elsewhere.
    pub(super) fn fit(&mut self, part: Part, position: u64, size: u64) -> Option<Part> {
        let part = Part {
            sequence: self.id,
            ..part
        };
        let is_inside = part.start >= self.start;
        match self.next {
            // What a helper left open; the next ones lie behind it.
            Some(next) if is_inside && position < next => {
                // What lies further before the read is brought by others.
                let is_near = position - part.start <= SKIP_BYTES_MAX;
                let start = if is_near { part.start } else { position };
                let bound = BLOCK_BYTES as u64;
                let end = (start + SEGMENT_BYTES_MIN).div_ceil(bound) * bound;
                let limit = part.limit.min(end).min(next);
                Some(Part {
                    start,
                    limit,
                    ..part
                })
            }
            // Its run leads from what others read to what nobody does.
            Some(next) if is_inside && part.start <= next && next < size => {
                self.next = None;
                Some(Part {
                    start: next,
                    ..part
                })
            }
            None if is_inside && part.start <= self.front.saturating_add(SKIP_BYTES_MAX) => {
                Some(part)
            }
            _ => None,
        }
    }

    /// As long as anybody reads here, those ahead are of use.
    pub(super) fn keep_helpers(&self, streams: &[Arc<Stream>], now: Instant) {
        let is_awaited = |stream: &Arc<Stream>| stream.idle().is_none();
        let since = now.saturating_duration_since(self.last_read);
        if since < IDLE_MAX || streams.iter().any(is_awaited) {
            let helpers = streams.iter().filter(|stream| stream.is_helper());
            helpers.for_each(|stream| stream.touch());
        }
    }

    /// Measures; `seen.rest` is the size of the file. Returns what is to be learnt.
    pub(super) fn note(&mut self, seen: Seen, now: Instant) -> Option<Learnt> {
        let seen = Seen {
            is_held: seen.is_held || self.is_short,
            rest: seen.rest.saturating_sub(self.front),
            ..seen
        };
        self.stream_count.note(seen, now)
    }

    /// What is to be fetched by one more helper, of a file of `size` bytes and at most `ahead_max` ahead of the reader. `None`
    /// if there are enough, or one must wait.
    pub(super) fn plan(
        &mut self,
        streams: &[Arc<Stream>],
        size: u64,
        ahead_max: u64,
        now: Instant,
    ) -> Option<Part> {
        let wanted = self.stream_count.count();
        if wanted == 1 {
            self.go_on_alone(streams);
        }
        let is_paused = self.paused_until.is_some_and(|until| now < until);
        let is_early = self.front < self.start.saturating_add(HELPED_FROM);
        let count = self.active(streams).count();
        self.is_blocked = false;
        self.is_short = is_early || count < wanted;
        if count >= wanted || is_early || is_paused || wanted == 1 {
            return None;
        }
        let rate = per_stream(self.stream_count.rate(), wanted);
        let segment = segment_bytes(rate, ahead_max / (wanted as u64 + 1));
        let start = match self.next {
            Some(next) => next,
            None => self.last(streams)?.set_limit_ahead(segment)?,
        };
        self.next = Some(start);
        self.is_blocked = start.saturating_add(segment) > self.front.saturating_add(ahead_max);
        if start >= size || self.is_blocked {
            return None;
        }
        let limit = start + segment;
        let is_last = limit >= size;
        Some(Part {
            start,
            limit: if is_last { u64::MAX } else { limit },
            // The last one of a try may have to go on alone.
            is_bounded: !is_last && !self.stream_count.is_trying(),
            is_helper: true,
            sequence: self.id,
            window_bytes: usize::try_from(segment).unwrap_or(usize::MAX),
        })
    }

    /// The helper that was planned runs.
    pub(super) fn started(&mut self, part: &Part, size: u64) {
        self.next = Some(part.limit.min(size));
    }

    /// Lets the last stream go on to the end of the file, if it can.
    pub(super) fn go_on_alone(&mut self, streams: &[Arc<Stream>]) {
        if let (Some(next), Some(last)) = (self.next, self.last(streams))
            && last.unlimit(next)
        {
            self.next = None;
        }
    }

    fn active<'a>(&self, streams: &'a [Arc<Stream>]) -> impl Iterator<Item = &'a Arc<Stream>> {
        let id = self.id;
        let is_ours = move |stream: &&Arc<Stream>| stream.sequence() == id && !stream.is_over();
        streams.iter().filter(is_ours)
    }

    fn last<'a>(&self, streams: &'a [Arc<Stream>]) -> Option<&'a Arc<Stream>> {
        self.active(streams).max_by_key(|stream| stream.start())
    }
}

/// How much a helper fetches at this rate in bytes a second: whole blocks.
fn segment_bytes(rate: f64, most: u64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is positive, and the cast saturates"
    )]
    let bytes = (rate * SEGMENT_TIME.as_secs_f64()) as u64;
    let bytes = bytes.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX).min(most);
    (bytes / BLOCK_BYTES as u64).max(1) * BLOCK_BYTES as u64
}
