//! Reading one open file: which stream a read belongs to, when a new one starts, and what is fetched by itself.
//!
//! What is hard here, and what answers it:
//! 1. The kernel sends several READs at once, and they come in any order: [`UnderWay`] places each by the READs beside
//!    it, so that those of one sequence wait for one stream.
//! 2. A random reader must cost no more than what it asked: a stream starts only where a read continues another.
//! 3. A stream may end, fail or be cancelled while somebody reads: each turn of [`Reader::read`] looks anew at what
//!    is there, and after a few turns without progress fetches the rest by itself.
//!
//! [`UnderWay`]: super::under_way::UnderWay

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::{
    block::{FileId, Found, Version},
    cursor::Cursor,
    engine::ReadEngine,
    file_streams::{FileStreams, Next},
    stream::{Confirmed, End},
};
use crate::remote::{RemotePath, Result};

/// How often a read that got nothing from a stream tries another before it fetches by itself. 3: a stream may be cancelled
/// under it once or twice, not more.
const TURNS_MAX: usize = 3;

/// The most that a read's buffer is made at first, if more is asked. 1 MiB: the kernel's largest READ.
const BUFFER_BYTES_MAX: usize = 1 << 20;

/// One open file, shared by all handles that read it in this version. A file found to have another version gets another
/// reader: this one takes the end that it has seen at `version.size` for the end.
#[derive(Debug)]
pub struct Reader {
    streams: Arc<FileStreams>,
}

/// How far down the block cache is looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tier {
    /// What never waits.
    Memory,
    /// The disk too.
    Disk,
}

impl Reader {
    /// A reader of one version of a file.
    pub fn new(engine: &Arc<ReadEngine>, file: FileId, path: RemotePath, version: Version) -> Self {
        let engine = Arc::clone(engine);
        let streams = Arc::new(FileStreams::new(engine, file, path, version));
        Self { streams }
    }

    /// The version that it reads.
    pub fn version(&self) -> &Version {
        self.streams.version()
    }

    /// The file was renamed: what starts from now on uses this path.
    pub fn set_path(&self, path: RemotePath) {
        self.streams.set_path(path);
    }

    /// Whether a download of it has broken off since this was asked last, be it one that nobody waited for: what has arrived belongs to the
    /// version, and what comes next may not.
    pub fn take_broken(&self) -> bool {
        self.streams.take_broken()
    }

    /// Reads `len` bytes at `offset`; fewer only where the file ends on the server at this moment. Waits for the server
    /// if need be.
    ///
    /// # Errors
    ///
    /// What the download reports. The next read tries afresh.
    pub fn read(&self, cursor: &Cursor, offset: u64, len: usize) -> Result<Bytes> {
        let under_way = self.streams.engine().under_way();
        let begun = under_way.begin(self.streams.file(), cursor.place(), offset, len);
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
            let stream = match self.streams.stream_for(cursor, &begun, position) {
                Next::Wait(stream) => stream,
                Next::Look => continue,
                Next::Fetch => break,
            };
            match stream.wait(cursor.id(), begun.head(), position..wanted_end) {
                // What goes on there tells whether it is the file or was this connection alone.
                Some(End::Failed(_)) if stream.is_helper() => {}
                Some(End::Failed(error)) => return Err(error),
                Some(End::File(end)) if end <= got.position() => return Ok(got.into_bytes()),
                Some(End::File(end)) => file_end = Some(end),
                // It got somewhere, if not yet here, and another goes on there.
                Some(End::Yielded(_) | End::Limit) => idle_turns = 0,
                Some(End::Cancelled) | None => {}
            }
        }
        begun.fetches();
        self.fetch(&mut got)?;
        Ok(got.into_bytes())
    }

    /// Reads what is there already, or `None` if not all of it is: then [`Self::read`] is to follow. Never waits for the server.
    pub fn read_cached(&self, cursor: &Cursor, offset: u64, len: usize) -> Option<Bytes> {
        let mut got = Gathered::new(offset, len);
        let under_way = self.streams.engine().under_way();
        if !self.gather(cursor, &mut got, Tier::Memory) {
            under_way.arrive(self.streams.file(), cursor.place(), offset, len);
            return None;
        }
        under_way.pass(self.streams.file(), cursor.place(), offset, len);
        Some(got.into_bytes())
    }

    /// Ends its streams: the last handle was closed. What has arrived stays in the block cache.
    pub fn close(&self) {
        self.streams.close();
    }

    /// Takes what the streams' windows and the block cache hold; returns whether that is all there is to get.
    fn gather(&self, cursor: &Cursor, got: &mut Gathered, lowest: Tier) -> bool {
        while got.missing() > 0 {
            let (position, missing) = (got.position(), got.missing());
            let found = match self.streams.take(cursor, position, missing) {
                Found::Nothing if lowest == Tier::Disk => self.streams.load(position, missing),
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

    /// Fetches what is missing, exactly that, by a download of its own.
    fn fetch(&self, got: &mut Gathered) -> Result<()> {
        let path = self.streams.path();
        let missing = got.missing();
        let (remote, len) = (self.streams.engine().remote(), Some(missing as u64));
        let version = self.version().reported();
        let mut download = Confirmed::open(remote, &path, got.position(), len, version)?;
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
        self.streams.offer(start, &bytes);
        got.push(bytes);
        Ok(())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.close();
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
#[cfg(test)]
mod together;
