//! The streams of one open file: which one a read waits for, when one starts, and how many read the same sequence at once.
//!
//! ```text
//!              front                                            next
//!   file ---------|-- lead --|-- helper --|-- helper --|-- helper --|------------->
//!                            limit        limit
//! ```
//!
//! One stream reads to the end of the file, as a rule. Where several bring more ([`StreamCount`]), the lead stops at a limit, and
//! helpers fetch a segment each behind it. Helpers are guests: they take only sessions and memory that nobody wants, and go as
//! soon as somebody does. What a helper leaves open is read on by whoever comes there.
//!
//! [`StreamCount`]: super::stream_count::StreamCount

mod sequence;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;

use self::sequence::Sequence;
use super::{
    block::{FileId, Found, Version},
    cursor::Cursor,
    engine::ReadEngine,
    stream::{IDLE_MAX, Part, Source, Stream},
    stream_count::Seen,
    under_way::{Begun, Pattern},
};
use crate::remote::RemotePath;

/// The most places at which one file is read on at once. 4: more are rare.
pub(super) const LEADS_MAX: usize = 4;

/// All streams of one version of a file.
#[derive(Debug)]
pub(super) struct FileStreams {
    engine: Arc<ReadEngine>,
    file: FileId,
    version: Version,
    path: Mutex<RemotePath>,
    is_held: Arc<AtomicBool>,
    has_broken: Arc<AtomicBool>,
    /// The first lock in this room's order.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    streams: Vec<Arc<Stream>>,
    /// The sequence that may be read by several at once.
    sequence: Option<Sequence>,
}

/// What a read does about what it lacks.
pub(super) enum Next {
    /// It waits for this stream.
    Wait(Arc<Stream>),
    /// It looks again: a stream that has just ended brought it.
    Look,
    /// It fetches that by itself.
    Fetch,
}

impl State {
    /// Forgets streams that have ended. A cancelled one holds what has arrived until its thread has moved that to the block
    /// cache; one that gave way holds its place for the one that goes on there.
    fn prune(&mut self, now: Instant) {
        let gave_way = |stream: &Arc<Stream>| stream.is_helper() && stream.gave_way();
        if let Some(sequence) = &mut self.sequence
            && self.streams.iter().any(gave_way)
        {
            sequence.pause(now);
        }
        self.streams
            .retain(|stream| !stream.has_ended() || stream.is_resumable());
    }
}

impl FileStreams {
    pub(super) fn new(
        engine: Arc<ReadEngine>,
        file: FileId,
        path: RemotePath,
        version: Version,
    ) -> Self {
        engine.cache().bind(file, &version, &path);
        Self {
            engine,
            file,
            version,
            path: Mutex::new(path),
            is_held: Arc::default(),
            has_broken: Arc::default(),
            state: Mutex::default(),
        }
    }

    pub(super) fn engine(&self) -> &ReadEngine {
        &self.engine
    }

    pub(super) fn file(&self) -> FileId {
        self.file
    }

    pub(super) fn version(&self) -> &Version {
        &self.version
    }

    pub(super) fn path(&self) -> RemotePath {
        self.path
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What starts from now on uses this path.
    pub(super) fn set_path(&self, path: RemotePath) {
        *self.path.lock().unwrap_or_else(PoisonError::into_inner) = path;
    }

    /// Whether one has failed since this was asked last.
    pub(super) fn take_broken(&self) -> bool {
        self.has_broken.swap(false, Ordering::Relaxed)
    }

    /// Ends all streams; what has arrived stays in the block cache.
    pub(super) fn close(&self) {
        self.engine.under_way().forget(self.file);
        let mut state = self.lock();
        state.sequence = None;
        for stream in state.streams.drain(..) {
            stream.cancel();
        }
    }

    /// Takes what lies at `position`, at most `len` bytes, from a stream's window or the block cache.
    pub(super) fn take(self: &Arc<Self>, cursor: &Cursor, position: u64, len: usize) -> Found {
        if let Some(bytes) = self.take_arrived(cursor, position, len) {
            return Found::Bytes(bytes);
        }
        self.engine
            .cache()
            .slice(self.file, &self.version, position, len)
    }

    /// Takes what the disk holds. May wait for it.
    pub(super) fn load(&self, position: u64, len: usize) -> Found {
        let cache = self.engine.cache();
        cache.load(self.file, &self.version, position, len)
    }

    /// Lets the disk have what was fetched by itself.
    pub(super) fn offer(&self, start: u64, bytes: &Bytes) {
        let cache = self.engine.cache();
        cache.offer_range(self.file, &self.version, start, bytes);
    }

    fn take_arrived(self: &Arc<Self>, cursor: &Cursor, position: u64, len: usize) -> Option<Bytes> {
        let mut state = self.lock();
        let found = state
            .streams
            .iter()
            .find_map(|stream| Some((stream.id(), stream.take(cursor.id(), position, len)?)));
        let now = self.engine.now();
        if let Some(sequence) = &mut state.sequence
            && sequence.has_read(cursor.id(), position, now)
        {
            self.help(&mut state);
        }
        drop(state);
        let (id, bytes) = found?;
        cursor.set_stream(id);
        Some(bytes)
    }

    /// The stream to wait for: a running one that gets to `position` soon, once it has brought the READs of the same run
    /// before it, or a new one if the READs of this handle are a sequence.
    pub(super) fn stream_for(
        self: &Arc<Self>,
        cursor: &Cursor,
        read: &Begun<'_>,
        position: u64,
    ) -> Next {
        let mut state = self.lock();
        state.prune(self.engine.now());
        let head = read.head().min(position);
        let streams = &mut state.streams;
        let near = streams
            .iter()
            .filter_map(|stream| Some((stream.distance(head, position)?, stream)));
        let stream = if let Some((_, stream)) = near.min_by_key(|(distance, _)| *distance) {
            Arc::clone(stream)
        } else if self.has_arrived(streams, position) {
            return Next::Look;
        } else {
            let left = streams
                .iter()
                .enumerate()
                .find_map(|(index, stream)| Some((index, stream.resumes(head, position)?)));
            let part = match (left, read.pattern()) {
                // Whichever of several readers comes first, the others find what they wait for in the same stream.
                (Some((index, part)), _) => {
                    streams.swap_remove(index);
                    part
                }
                (None, Pattern::Continues(from)) if position == read.offset() => {
                    Part::from(from.min(head))
                }
                (None, Pattern::Continues(_)) => Part::from(position),
                (None, Pattern::Random) => return Next::Fetch,
            };
            let segmented = state
                .sequence
                .as_ref()
                .filter(|sequence| sequence.is_segmented());
            make_room(cursor, &state.streams, segmented.map(Sequence::id));
            let part = self.enter_sequence(&mut state, cursor, part, position);
            let Some(stream) = self.start(&mut state, part) else {
                return Next::Fetch;
            };
            stream
        };
        drop(state);
        cursor.set_stream(stream.id());
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

    /// Begins a sequence with what starts at `part` for a read at `position`, or fits it into the sequence that the cursor is in.
    fn enter_sequence(
        &self,
        state: &mut State,
        cursor: &Cursor,
        part: Part,
        position: u64,
    ) -> Part {
        if !self.engine.may_help() {
            return part;
        }
        let now = self.engine.now();
        if let Some(sequence) = &mut state.sequence {
            if let Some(part) = sequence.fit(part, position, self.version.size) {
                return part;
            }
            let is_idle = !state
                .streams
                .iter()
                .any(|stream| stream.idle().is_none_or(|idle| idle < IDLE_MAX));
            if sequence.owner() != cursor.id() && !is_idle {
                return part;
            }
        }
        for stream in &state.streams {
            if stream.is_helper() {
                stream.cancel();
            }
        }
        let sequence = Sequence::new(
            self.engine.next_id(),
            cursor.id(),
            part.start,
            self.engine.stream_count(),
            now,
        );
        let part = Part {
            sequence: sequence.id(),
            limit: u64::MAX,
            ..part
        };
        state.sequence = Some(sequence);
        part
    }

    fn start(self: &Arc<Self>, state: &mut State, part: Part) -> Option<Arc<Stream>> {
        let source = Source {
            file: self.file,
            version: self.version,
            path: self.path(),
            arrived: self.engine.arrived(),
            is_held: Arc::clone(&self.is_held),
            has_broken: Arc::clone(&self.has_broken),
        };
        let streams = Arc::downgrade(self);
        let tend = move || {
            if let Some(streams) = Weak::upgrade(&streams) {
                streams.tend();
            }
        };
        let stream = self.engine.start(source, part, tend)?;
        state.streams.push(Arc::clone(&stream));
        Some(stream)
    }

    /// Looks after the sequence; called now and then by the streams' threads, and when one ends.
    fn tend(self: &Arc<Self>) {
        let mut state = self.lock();
        let now = self.engine.now();
        state.prune(now);
        let State { streams, sequence } = &mut *state;
        let Some(sequence) = sequence else {
            return;
        };
        sequence.keep_helpers(streams, now);
        let is_held = self.is_held.swap(false, Ordering::Relaxed);
        let seen = Seen {
            bytes: self.engine.arrived().load(Ordering::Relaxed),
            is_held: is_held || !self.engine.is_alone(self.file),
            rest: self.version.size,
        };
        if let Some(learnt) = sequence.note(seen, now) {
            self.engine.learn(learnt);
        }
        self.help(&mut state);
    }

    /// Starts helpers as far as they are wanted.
    fn help(self: &Arc<Self>, state: &mut State) {
        let (now, size) = (self.engine.now(), self.version.size);
        let ahead_max = self.engine.ahead_max();
        while let Some(sequence) = &mut state.sequence
            && let Some(part) = sequence.plan(&state.streams, size, ahead_max, now)
        {
            let has_started = self.start(state, part).is_some();
            let State { streams, sequence } = state;
            if let Some(sequence) = sequence {
                if !has_started {
                    sequence.go_on_alone(streams);
                    return;
                }
                sequence.started(&part, size);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the stream that this handle has left, if no other took it up, and the longest idle of too many. Not one of the sequence
/// `segmented`: there a handle reads in several places at once.
fn make_room(cursor: &Cursor, streams: &[Arc<Stream>], segmented: Option<u64>) {
    let left = cursor.stream();
    let is_left = |stream: &&Arc<Stream>| {
        stream.id() == left && segmented.is_none_or(|sequence| sequence != stream.sequence())
    };
    for stream in streams.iter().filter(is_left) {
        if !stream.is_helper() && stream.last_cursor() == cursor.id() {
            stream.cancel();
        }
    }
    let active = streams
        .iter()
        .filter(|stream| !stream.is_over() && !stream.is_helper());
    if active.clone().count() >= LEADS_MAX {
        let idle = active.filter_map(|stream| Some((stream.idle()?, stream)));
        if let Some((_, stream)) = idle.max_by_key(|(idle, _)| *idle) {
            stream.cancel();
        }
    }
}

#[cfg(test)]
mod tests;
