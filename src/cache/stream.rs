//! A stream: one running download that fills a window of blocks ahead of those who read it.
//!
//! ```text
//!            base        consumed          end     filled
//!   file ------|-------------|--------------|---------|--------------->
//!              |   one block |              | on its  |   at most
//!              |   at most   |   arrived    |  way    |   consumed + size
//! ```
//!
//! A thread of its own reads the download into a block's buffer ([`Filling`]) and publishes it when it is full, or
//! as soon as it holds what somebody waits for. Blocks that were consumed retire into the block cache. When the window
//! is full the thread stops reading, and TCP holds the server.

mod confirmed;
mod handover;
mod hold;
mod pace;
mod part;
mod window;

pub(super) use confirmed::Confirmed;
pub(super) use part::{End, Part, Source, WINDOW_BYTES_MIN};

use std::{
    fmt,
    ops::Range,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;

use self::{
    hold::{CONTENTION_CHECK, Hold},
    window::{Filling, Window},
};
use super::block::{BLOCK_BYTES, FileId, index_of};
use super::block_cache::BlockCache;
use crate::{
    clock::Clock,
    remote::{Phase, Remote, RemoteError, RemoteErrorKind, Result},
};

/// What a stream's window takes besides its size: the block that is being consumed, and the one being filled.
pub(super) const WINDOW_OVERHEAD_BYTES: usize = 2 * BLOCK_BYTES;

/// How far ahead of a window a read still waits for the stream to get there, what lies between being skipped. 1 MiB:
/// the kernel's largest READ, several of which arrive in any order; fetched in less than a round trip at 400 Mbit/s
/// and 20 ms.
pub(super) const SKIP_BYTES_MAX: u64 = 1 << 20;

/// How long nobody reads from a stream before it gives its session back. 5 s: a player or pager that pauses longer
/// can afford the round trip that starts another.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(5);

/// The longest wait of a reader for its bytes. The remote ends every wait without progress by itself, so this is only
/// for the case that it breaks its word; 5 minutes: 256 KiB at a thousand bytes a second.
const WAIT_MAX: Duration = Duration::from_mins(5);

/// A buffer for what is expected of a small file has this much more room, so that its end is seen in it.
const END_ROOM: u64 = 16;

/// The buffer for what a file holds beyond its expected size. 64 KiB: a log grows by less, as a rule.
const GROWTH_BYTES: u64 = 64 << 10;

/// What there is in the window for the thread.
enum Room {
    /// So much may be read.
    Free(usize),
    /// To be asked again.
    NoneYet,
    /// A new connection is to go on.
    Elsewhere,
    /// No more is to be read.
    Limit,
    /// Nobody wants more.
    Unwanted,
}

/// One running download and its window, shared by its thread and its readers.
pub(super) struct Stream {
    id: u64,
    source: Source,
    start: u64,
    is_bounded: bool,
    sequence: u64,
    size_max: usize,
    cache: Arc<BlockCache>,
    clock: Arc<dyn Clock>,
    window: Mutex<Window>,
    /// Readers wait here for bytes, or the end.
    arrived: Condvar,
    /// The thread waits here for room.
    room: Condvar,
}

impl Stream {
    /// A stream that is to read `part`; whoever makes it has reserved `window_bytes` and
    /// `WINDOW_OVERHEAD_BYTES` for it, and starts [`Stream::run`] in a thread.
    pub(super) fn new(
        id: u64,
        source: Source,
        part: Part,
        size_max: usize,
        cache: Arc<BlockCache>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let start = part.start;
        let mut window = Window::new(&part, clock.now());
        // Where another ended in the middle of a block, this one completes that block. By itself its part would replace the
        // other in the cache.
        let begun = cache.get(source.file, &source.version, index_of(start));
        window
            .blocks
            .extend(begun.filter(|block| block.end() == start));
        Self {
            id,
            source,
            start,
            is_bounded: part.is_bounded,
            sequence: part.sequence,
            size_max,
            cache,
            clock,
            window: Mutex::new(window),
            arrived: Condvar::new(),
            room: Condvar::new(),
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn file(&self) -> FileId {
        self.source.file
    }

    pub(super) fn start(&self) -> u64 {
        self.start
    }

    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether it fetches ahead of another.
    pub(super) fn is_helper(&self) -> bool {
        self.lock().is_helper
    }

    /// Whether it has ended or was cancelled.
    pub(super) fn is_over(&self) -> bool {
        self.lock().is_over()
    }

    /// Whether its thread is done with it.
    pub(super) fn has_ended(&self) -> bool {
        self.lock().ended.is_some()
    }

    /// Whether it gave its session up so lately that its readers are expected to go on.
    pub(super) fn is_resumable(&self) -> bool {
        let window = self.lock();
        matches!(window.ended, Some(End::Yielded(_))) && !self.is_idle(&window, IDLE_MAX)
    }

    /// Whether it left something open for the sake of another, or failed; tells so once.
    pub(super) fn gave_way(&self) -> bool {
        let mut window = self.lock();
        let gave_way = matches!(window.ended, Some(End::Yielded(_) | End::Failed(_)));
        gave_way && !std::mem::replace(&mut window.is_reported, true)
    }

    /// Keeps it from being idle: it is of use although nobody reads from it.
    pub(super) fn touch(&self) {
        let mut window = self.lock();
        if !window.is_over() {
            window.last_used = self.clock.now();
        }
    }

    /// How far a read at `position` lies ahead of what has arrived, if this stream is the one to wait for it: what is to be
    /// skipped for it ends at `head`, from where on all is wanted.
    pub(super) fn distance(&self, head: u64, position: u64) -> Option<u64> {
        let window = self.lock();
        let is_near = head
            <= window
                .end
                .max(window.consumed)
                .saturating_add(SKIP_BYTES_MAX);
        let is_in_reach = is_near && position < window.limit;
        (!window.is_over() && window.base() <= position && is_in_reach)
            .then(|| position.saturating_sub(window.end))
    }

    /// How long nobody has read from it; `None` while somebody waits for it.
    pub(super) fn idle(&self) -> Option<Duration> {
        let window = self.lock();
        let idle = self.clock.now().saturating_duration_since(window.last_used);
        window.targets.is_empty().then_some(idle)
    }

    /// The cursor that read from it last.
    pub(super) fn last_cursor(&self) -> u64 {
        self.lock().last_cursor
    }

    /// Takes what lies at `position`, at most `len` bytes, if it has arrived. Never waits for the network.
    pub(super) fn take(&self, cursor: u64, position: u64, len: usize) -> Option<Bytes> {
        let mut window = self.lock();
        let bytes = window.slice(position, len)?;
        self.consume(&mut window, cursor, position + bytes.len() as u64);
        Some(bytes)
    }

    /// Whether the byte at `position` lies in its window.
    pub(super) fn holds(&self, position: u64) -> bool {
        self.lock().slice(position, 1).is_some()
    }

    /// Waits until the bytes `wanted` have arrived, or as many of them as the window holds; those from `head` on are wanted
    /// too. Returns how the stream ended if it did before.
    pub(super) fn wait(&self, cursor: u64, head: u64, wanted: Range<u64>) -> Option<End> {
        let mut window = self.lock();
        if wanted.start >= window.end && window.end > self.start {
            self.grow(&mut window);
        }
        self.consume(&mut window, cursor, head.min(wanted.start));
        let wanted_end = wanted.end.min(window.limit);
        self.widen(&mut window, wanted_end);
        let size = window.size as u64;
        let target = wanted_end.min(wanted.start.saturating_add(size));
        // What the window cannot hold of all that is wanted goes through it into the block cache.
        self.consume(&mut window, cursor, target.saturating_sub(size));
        window.targets.push(target);
        self.room.notify_one();
        let (mut window, _) = self
            .arrived
            .wait_timeout_while(window, WAIT_MAX, |window| {
                window.end < target && !window.is_over()
            })
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = window.targets.iter().position(|waiting| *waiting == target) {
            window.targets.swap_remove(index);
        }
        window.last_used = self.clock.now();
        if window.end >= target {
            return None;
        }
        window.ended.clone().or_else(|| {
            Some(if window.is_cancelled {
                End::Cancelled
            } else {
                End::Failed(self.error(RemoteErrorKind::TimedOut(Phase::Data)))
            })
        })
    }

    /// Lets the thread end as soon as it can; what has arrived stays readable.
    pub(super) fn cancel(&self) {
        self.lock().is_cancelled = true;
        self.arrived.notify_all();
        self.room.notify_all();
    }

    /// The life of the thread: downloads until the end of the file, an error, or a cancel, then leaves what has arrived
    /// to the block cache. Calls `tend` now and then, and `ending` when the file's end is near.
    pub(super) fn run(&self, remote: &dyn Remote, tend: &dyn Fn(), ending: &dyn Fn()) {
        // A panic in the remote ends this stream with an error; its readers must not wait for nothing.
        let mut filling = self.filling(self.start);
        let download =
            std::panic::AssertUnwindSafe(|| self.download(remote, tend, ending, &mut filling));
        let end = std::panic::catch_unwind(download).unwrap_or_else(|_| {
            let error = self.error(RemoteErrorKind::Failed);
            Err(error.with_source("the thread of the download panicked"))
        });
        let end = end.unwrap_or_else(End::Failed);
        if matches!(end, End::Failed(_)) {
            self.source.has_broken.store(true, Ordering::Relaxed);
        }
        let mut window = self.lock();
        window.append(&mut filling);
        if matches!(end, End::File(size) if size == self.source.version.size)
            && let Some(last) = window.blocks.back_mut()
        {
            last.set_ends_file();
        }
        let reserved = window.size + WINDOW_OVERHEAD_BYTES;
        let blocks = window.blocks.drain(..);
        self.cache
            .settle(self.source.file, &self.source.version, blocks, reserved);
        window.ended = Some(end);
        drop(window);
        self.arrived.notify_all();
    }

    fn download(
        &self,
        remote: &dyn Remote,
        tend: &dyn Fn(),
        ending: &dyn Fn(),
        filling: &mut Filling,
    ) -> Result<End> {
        let Source { path, version, .. } = &self.source;
        let len = self.is_bounded.then(|| self.lock().limit - self.start);
        let mut download = Confirmed::open(remote, path, self.start, len, version.reported())?;
        let now = self.clock.now();
        self.lock().opened = Some(now);
        let mut hold = Hold::new(now);
        let mut is_ending = false;
        loop {
            if self.must_yield(remote, tend, &mut hold, filling.end()) {
                return Ok(End::Yielded(filling.end()));
            }
            let room = match self.await_room(filling) {
                Room::Free(room) => room,
                Room::NoneYet => continue,
                Room::Elsewhere => return Ok(End::Yielded(filling.end())),
                Room::Limit => return Ok(End::Limit),
                Room::Unwanted => return Ok(End::Cancelled),
            };
            if filling.is_full() {
                *filling = self.filling(filling.end());
                if !is_ending && self.is_ending() {
                    is_ending = true;
                    ending();
                }
            }
            let free = filling.buffer.get_mut(filling.filled..).unwrap_or_default();
            let len = free.len().min(room);
            let free = free.get_mut(..len).unwrap_or_default();
            match download.read(free)? {
                0 => return Ok(End::File(filling.end())),
                count => {
                    let count = count.min(len);
                    filling.filled += count;
                    self.source
                        .arrived
                        .fetch_add(count as u64, Ordering::Relaxed);
                }
            }
        }
    }

    /// Whether it is time to let somebody else have the session. Never before the first byte: streams that take turns all
    /// get on.
    fn must_yield(&self, remote: &dyn Remote, tend: &dyn Fn(), hold: &mut Hold, end: u64) -> bool {
        let now = self.clock.now();
        if hold.tends(now) {
            tend();
        }
        end > self.start && hold.looks(now, self.is_helper()) && remote.is_contended()
    }

    /// Publishes what is due, then waits for a moment until more may be read.
    fn await_room(&self, filling: &mut Filling) -> Room {
        let mut window = self.lock();
        if filling.is_full() || window.is_awaited(filling.end()) {
            self.publish(&mut window, filling);
        }
        if window.is_cancelled {
            return Room::Unwanted;
        }
        if filling.end() >= window.limit {
            return Room::Limit;
        }
        if window.is_to_yield {
            return Room::Elsewhere;
        }
        let room = window.room(filling.end());
        if room > 0 && !window.is_full {
            return Room::Free(room);
        }
        // Once full, it sleeps until there is room for a good piece, or each small READ would wake it.
        let room_min = BLOCK_BYTES.min(window.size / 2);
        if room >= room_min || (room > 0 && window.is_wanted(filling.end())) {
            window.is_full = false;
            return Room::Free(room);
        }
        window.is_full = true;
        self.source.is_held.store(true, Ordering::Relaxed);
        self.publish(&mut window, filling);
        if self.is_idle(&window, IDLE_MAX) {
            window.is_cancelled = true;
            return Room::Unwanted;
        }
        let waited = self.room.wait_timeout(window, CONTENTION_CHECK);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        Room::NoneYet
    }

    fn publish(&self, window: &mut Window, filling: &mut Filling) {
        window.append(filling);
        let end = window.end;
        if window.targets.iter().any(|target| *target <= end) {
            self.arrived.notify_all();
        }
        self.retire(window);
    }

    fn is_idle(&self, window: &Window, longest: Duration) -> bool {
        let idle = self.clock.now().saturating_duration_since(window.last_used);
        window.targets.is_empty() && idle >= longest
    }

    /// A buffer up to the next block's bound, but not much larger than what the file is expected to hold.
    fn filling(&self, start: u64) -> Filling {
        let bound = BLOCK_BYTES as u64 - start % BLOCK_BYTES as u64;
        let expected = match self.source.version.size.checked_sub(start) {
            None | Some(0) => GROWTH_BYTES,
            Some(rest) => rest.saturating_add(END_ROOM),
        };
        let len = usize::try_from(bound.min(expected)).unwrap_or(BLOCK_BYTES);
        Filling::new(start, self.cache.buffer(len))
    }

    fn consume(&self, window: &mut Window, cursor: u64, up_to: u64) {
        let before = window.room(window.end);
        window.consumed = window.consumed.max(up_to);
        window.last_used = self.clock.now();
        window.last_cursor = cursor;
        self.retire(window);
        let room_min = BLOCK_BYTES.min(window.size / 2);
        if before < room_min && window.room(window.end) >= room_min {
            self.room.notify_one();
        }
    }

    /// Moves blocks that were consumed to their last byte into the block cache; not the file's last one, which is still to be
    /// marked as that.
    fn retire(&self, window: &mut Window) {
        while let Some(front) = window.blocks.front() {
            let is_complete = front.end() % BLOCK_BYTES as u64 == 0;
            let is_last = front.end() == window.end && window.end == self.source.version.size;
            if !is_complete || is_last || front.end() > window.consumed {
                return;
            }
            if let Some(block) = window.blocks.pop_front() {
                self.cache
                    .insert(self.source.file, &self.source.version, block);
            }
        }
    }

    /// Doubles the window, as far as the budget allows: the reader has emptied it.
    fn grow(&self, window: &mut Window) {
        let more = window.size.min(self.size_max.saturating_sub(window.size));
        if more > 0 && self.cache.reserve(more) {
            window.size += more;
        }
    }

    /// Makes the window reach to `end`, as far as the budget allows: so much is wanted at once.
    fn widen(&self, window: &mut Window, end: u64) {
        let wanted = end.saturating_sub(window.consumed);
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        let more = wanted.min(self.size_max).saturating_sub(window.size);
        if more > 0 && self.cache.reserve(more) {
            window.size += more;
        }
    }

    fn error(&self, kind: RemoteErrorKind) -> RemoteError {
        RemoteError::new(kind, "RETR").with_path(&self.source.path)
    }

    fn lock(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let window = self.lock();
        f.debug_struct("Stream")
            .field("path", &self.source.path)
            .field("consumed", &window.consumed)
            .field("end", &window.end)
            .field("size", &window.size)
            .field("ended", &window.ended)
            .finish_non_exhaustive()
    }
}
