//! Reading one open file: which stream a read belongs to, when a new one starts, and what is fetched by itself.
//!
//! What is hard here, and what answers it:
//! 1. The kernel sends several READs ahead, in any order: [`Cursor`] takes a read near the last one's end for part of
//!    the same sequence, and a read a little ahead of a stream's window waits for it.
//! 2. A random reader must cost no more than what it asked: a stream starts only where a read continues another.
//! 3. A stream may end, fail or be cancelled while somebody reads: each turn of [`Reader::read`] looks anew at what
//!    is there, and after a few turns without progress fetches the rest by itself.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use bytes::{Bytes, BytesMut};

use super::{
    block::{FileId, Found, Version},
    engine::ReadEngine,
    stream::{Confirmed, End, Source, Stream},
};
use crate::remote::{RemotePath, Result};

/// The most streams of one file. 4: more places at which one file is read on at once are rare.
const STREAMS_MAX: usize = 4;

/// How often a read that got nothing from a stream tries another before it fetches by itself. 3: a stream may be cancelled
/// under it once or twice, not more.
const TURNS_MAX: usize = 3;

/// The most that a read's buffer is made at first, if more is asked. 1 MiB: the kernel's largest READ.
const BUFFER_BYTES_MAX: usize = 1 << 20;

/// One open file, shared by all handles that read it in this version. A file found to have another version gets another
/// reader: this one takes the end that it has seen at `version.size` for the end.
#[derive(Debug)]
pub struct Reader {
    engine: Arc<ReadEngine>,
    file: FileId,
    version: Version,
    path: Mutex<RemotePath>,
    /// The first lock in this room's order.
    streams: Mutex<Vec<Arc<Stream>>>,
}

/// Where a handle's reads have got to.
#[derive(Debug)]
pub struct Cursor {
    /// The end of the furthest read of the present sequence.
    next: AtomicU64,
    /// The stream that was read last.
    stream: AtomicU64,
    id: u64,
}

/// How far down the block cache is looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tier {
    /// What never waits.
    Memory,
    /// The disk too.
    Disk,
}

/// How a read follows the ones before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pattern {
    /// It goes on where another ended, at this offset.
    Continues(u64),
    /// It stands by itself.
    Random,
}

/// What a read does about what it lacks.
enum Next {
    /// It waits for this stream.
    Wait(Arc<Stream>),
    /// It looks again: a stream that has just ended brought it.
    Look,
    /// It fetches that by itself.
    Fetch,
}

impl Cursor {
    /// A handle that has read nothing yet.
    pub fn new(engine: &ReadEngine) -> Self {
        Self {
            next: AtomicU64::new(0),
            stream: AtomicU64::new(0),
            id: engine.next_id(),
        }
    }

    /// Takes note of a read. Claimed before the bytes are there, so that the READ that arrives next is seen to go on
    /// from it.
    fn advance(&self, offset: u64, len: usize) -> Pattern {
        let len = len as u64;
        let end = offset.saturating_add(len);
        let next = self.next.load(Ordering::Relaxed);
        if offset >= next && offset - next <= 2 * len {
            // Right at the end, or a little ahead of one that is still to come.
            self.next.store(end, Ordering::Relaxed);
            Pattern::Continues(next)
        } else if offset < next && next - offset <= 4 * len {
            // One that was overtaken, or read again: the sequence stands where it stood.
            self.next.store(end.max(next), Ordering::Relaxed);
            Pattern::Random
        } else {
            self.next.store(end, Ordering::Relaxed);
            Pattern::Random
        }
    }
}

impl Reader {
    /// A reader of one version of a file.
    pub fn new(engine: &Arc<ReadEngine>, file: FileId, path: RemotePath, version: Version) -> Self {
        let engine = Arc::clone(engine);
        engine.cache().bind(file, &version, &path);
        Self {
            engine,
            file,
            version,
            path: Mutex::new(path),
            streams: Mutex::default(),
        }
    }

    /// The version that it reads.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The file was renamed: what starts from now on uses this path.
    pub fn set_path(&self, path: RemotePath) {
        *self.path.lock().unwrap_or_else(PoisonError::into_inner) = path;
    }

    /// Reads `len` bytes at `offset`; fewer only where the file ends on the server at this moment. Waits for the server
    /// if need be.
    ///
    /// # Errors
    ///
    /// What the download reports. The next read tries afresh.
    pub fn read(&self, cursor: &Cursor, offset: u64, len: usize) -> Result<Bytes> {
        let pattern = cursor.advance(offset, len);
        let wanted_end = offset.saturating_add(len as u64);
        let mut got = Gathered::new(offset, len);
        let mut file_end = None;
        let mut idle_turns = 0;
        while idle_turns < TURNS_MAX {
            let before = got.position();
            if self.gather(cursor, &mut got, Tier::Disk)
                || file_end.is_some_and(|end| got.position() >= end)
            {
                return Ok(got.into_bytes());
            }
            idle_turns = if got.position() > before {
                0
            } else {
                idle_turns + 1
            };
            let position = got.position();
            let stream = match self.stream_for(cursor, pattern, offset, position) {
                Next::Wait(stream) => stream,
                Next::Look => continue,
                Next::Fetch => break,
            };
            match stream.wait(cursor.id, got.position(), wanted_end) {
                Some(End::Failed(error)) => return Err(error),
                Some(End::File(end)) if end <= got.position() => return Ok(got.into_bytes()),
                Some(End::File(end)) => file_end = Some(end),
                // It got somewhere, if not yet here, and another goes on there.
                Some(End::Yielded(_)) => idle_turns = 0,
                Some(End::Cancelled) | None => {}
            }
        }
        self.fetch(&mut got)?;
        Ok(got.into_bytes())
    }

    /// Reads what is there already, or `None` if not all of it is. Never waits for the server.
    pub fn read_cached(&self, cursor: &Cursor, offset: u64, len: usize) -> Option<Bytes> {
        let mut got = Gathered::new(offset, len);
        if !self.gather(cursor, &mut got, Tier::Memory) {
            return None;
        }
        cursor.advance(offset, len);
        Some(got.into_bytes())
    }

    /// Ends its streams: the last handle was closed. What has arrived stays in the block cache.
    pub fn close(&self) {
        for stream in self.lock().drain(..) {
            stream.cancel();
        }
    }

    /// Takes what the streams' windows and the block cache hold; returns whether that is all there is to get.
    fn gather(&self, cursor: &Cursor, got: &mut Gathered, lowest: Tier) -> bool {
        while got.missing() > 0 {
            let (position, missing) = (got.position(), got.missing());
            if let Some(bytes) = self.take_arrived(cursor, position, missing) {
                got.push(bytes);
                continue;
            }
            let cache = self.engine.cache();
            let found = match cache.slice(self.file, &self.version, position, missing) {
                Found::Nothing if lowest == Tier::Disk => {
                    cache.load(self.file, &self.version, position, missing)
                }
                found => found,
            };
            match found {
                Found::Bytes(bytes) => got.push(bytes),
                Found::End => return true,
                Found::Nothing => return false,
            }
        }
        true
    }

    fn take_arrived(&self, cursor: &Cursor, position: u64, len: usize) -> Option<Bytes> {
        let streams = self.lock();
        let (id, bytes) = streams
            .iter()
            .find_map(|stream| Some((stream.id(), stream.take(cursor.id, position, len)?)))?;
        cursor.stream.store(id, Ordering::Relaxed);
        Some(bytes)
    }

    /// The stream to wait for: a running one that gets to `position` soon, or a new one if the reads of this handle are a
    /// sequence.
    fn stream_for(&self, cursor: &Cursor, pattern: Pattern, offset: u64, position: u64) -> Next {
        let mut streams = self.lock();
        // A cancelled one holds what has arrived until its thread has moved that to the block cache.
        // One that gave way holds its place for the one that goes on there.
        streams.retain(|stream| !stream.has_ended() || stream.is_resumable());
        let near = streams
            .iter()
            .filter_map(|stream| Some((stream.distance(position)?, stream)));
        let stream = if let Some((_, stream)) = near.min_by_key(|(distance, _)| *distance) {
            Arc::clone(stream)
        } else if self.has_arrived(&streams, position) {
            return Next::Look;
        } else {
            let left = streams
                .iter()
                .enumerate()
                .find_map(|(index, stream)| Some((index, stream.resumes(position)?)));
            let start = match (left, pattern) {
                // Whichever of several readers comes first, the others find what they wait for in the same stream.
                (Some((index, end)), _) => {
                    streams.swap_remove(index);
                    end
                }
                (None, Pattern::Continues(from)) if position == offset => from.min(position),
                (None, Pattern::Continues(_)) => position,
                (None, Pattern::Random) => return Next::Fetch,
            };
            make_room(cursor, &streams);
            let path = self
                .path
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let source = Source {
                file: self.file,
                version: self.version,
                path,
            };
            let Some(stream) = self.engine.start(source, start) else {
                return Next::Fetch;
            };
            streams.push(Arc::clone(&stream));
            stream
        };
        cursor.stream.store(stream.id(), Ordering::Relaxed);
        Next::Wait(stream)
    }

    /// Whether a stream that has ended or was cancelled left the byte at `position` behind, or saw the file end before it.
    fn has_arrived(&self, streams: &[Arc<Stream>], position: u64) -> bool {
        let cache = self.engine.cache();
        streams.iter().any(|stream| stream.holds(position))
            || !matches!(
                cache.slice(self.file, &self.version, position, 1),
                Found::Nothing
            )
    }

    /// Fetches what is missing, exactly that, by a download of its own.
    fn fetch(&self, got: &mut Gathered) -> Result<()> {
        let path = self
            .path
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let missing = got.missing();
        let (remote, len) = (self.engine.remote(), Some(missing as u64));
        let size = self.version.size;
        let mut download = Confirmed::open(remote, &path, got.position(), len, size)?;
        let mut buffer = BytesMut::zeroed(missing.min(BUFFER_BYTES_MAX));
        let mut filled = 0;
        while filled < missing {
            if filled == buffer.len() {
                buffer.resize(missing.min(2 * filled), 0);
            }
            match download.read(buffer.get_mut(filled..).unwrap_or_default())? {
                0 => break,
                count => filled = buffer.len().min(filled + count),
            }
        }
        buffer.truncate(filled);
        let (start, bytes) = (got.position(), buffer.freeze());
        let cache = self.engine.cache();
        cache.offer_range(self.file, &self.version, start, &bytes);
        got.push(bytes);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Stream>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.close();
    }
}

/// Ends the stream that this handle has left, if no other took it up, and the longest idle of too many.
fn make_room(cursor: &Cursor, streams: &[Arc<Stream>]) {
    let left = cursor.stream.load(Ordering::Relaxed);
    for stream in streams.iter().filter(|stream| stream.id() == left) {
        if stream.last_cursor() == cursor.id {
            stream.cancel();
        }
    }
    let active = streams.iter().filter(|stream| !stream.is_over());
    if active.clone().count() >= STREAMS_MAX {
        let idle = active.filter_map(|stream| Some((stream.idle()?, stream)));
        if let Some((_, stream)) = idle.max_by_key(|(idle, _)| *idle) {
            stream.cancel();
        }
    }
}

/// What a read has got so far: slices, copied together only if there are several.
#[derive(Debug)]
struct Gathered {
    offset: u64,
    wanted: usize,
    len: usize,
    first: Bytes,
    others: Vec<Bytes>,
}

impl Gathered {
    fn new(offset: u64, wanted: usize) -> Self {
        Self {
            offset,
            wanted,
            len: 0,
            first: Bytes::new(),
            others: Vec::new(),
        }
    }

    fn position(&self) -> u64 {
        self.offset.saturating_add(self.len as u64)
    }

    fn missing(&self) -> usize {
        self.wanted - self.len
    }

    fn push(&mut self, bytes: Bytes) {
        self.len += bytes.len();
        if self.first.is_empty() {
            self.first = bytes;
        } else if !bytes.is_empty() {
            self.others.push(bytes);
        }
    }

    fn into_bytes(self) -> Bytes {
        if self.others.is_empty() {
            return self.first;
        }
        let mut all = BytesMut::with_capacity(self.len);
        all.extend_from_slice(&self.first);
        for part in &self.others {
            all.extend_from_slice(part);
        }
        all.freeze()
    }
}

#[cfg(test)]
mod tests;
