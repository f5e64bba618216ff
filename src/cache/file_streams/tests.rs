//! Several streams of one file, over a server that is slow for each download or for all together.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    cache::{
        Cursor, FileId, ReadEngine, Reader, Version,
        testing::{content, eventually, the_file},
    },
    clock::{Clock, ManualClock},
    config::CacheConfig,
    remote::{
        RemoteErrorKind,
        memory::{MemoryRemote, Operation, Pace},
    },
};

const KIB: u64 = 1 << 10;
const MIB: usize = 1 << 20;
const READ: usize = 128 << 10;
const TICK: Duration = Duration::from_millis(100);

/// How long all that a tick brings may take to arrive. What takes longer arrives in the next one.
const PATIENCE: Duration = Duration::from_millis(200);

struct Scene {
    server: MemoryRemote,
    engine: Arc<ReadEngine>,
    clock: Arc<ManualClock>,
    content: Vec<u8>,
}

impl Scene {
    fn new(len: usize, config: &CacheConfig) -> Self {
        let content = content(len);
        let clock = Arc::new(ManualClock::new());
        let time = Arc::clone(&clock) as Arc<dyn Clock>;
        let server = MemoryRemote::new(Arc::clone(&time));
        server.write_file(&the_file(), &content);
        let remote = Arc::new(server.clone());
        let engine = Arc::new(ReadEngine::new(remote, config, 7, time));
        Self {
            server,
            engine,
            clock,
            content,
        }
    }

    /// A file of which a tick brings `each` bytes by a stream, and `all` by all streams.
    fn paced(len: usize, streams: Option<usize>, each: u64, all: u64) -> Self {
        let config = CacheConfig {
            streams,
            ..CacheConfig::default()
        };
        let scene = Self::new(len, &config);
        scene.server.set_pace(Some(Pace { each, all }));
        scene
    }

    fn reader(&self, file: u64) -> Reader {
        let version = Version {
            size: self.content.len() as u64,
            ..Version::default()
        };
        Reader::new(&self.engine, FileId(file), the_file(), version)
    }

    #[track_caller]
    fn check(&self, reader: &Reader, cursor: &Cursor, offset: usize) {
        let bytes = reader.read(cursor, offset as u64, READ).unwrap();
        let end = self.content.len().min(offset + READ);
        assert!(bytes == self.content[offset..end], "{offset}");
    }

    /// Reads a whole file while the clock ticks, each time `then` is told how often. Returns how often, and the most streams
    /// that there were at once.
    fn read_all(&self, file: u64, then: impl Fn(usize)) -> (usize, usize) {
        let read = || {
            let (reader, cursor) = (self.reader(file), Cursor::new(&self.engine));
            for offset in (0..self.content.len()).step_by(READ) {
                self.check(&reader, &cursor, offset);
            }
        };
        self.tick_while(read, then)
    }

    /// The same with `count` READs of 1 MiB at once, the last of them first.
    fn read_all_at_once(&self, file: u64, count: usize) -> (usize, usize) {
        let read = || {
            let (reader, cursor) = (self.reader(file), Cursor::new(&self.engine));
            for batch in (0..self.content.len()).step_by(count * MIB) {
                let reads = (0..count).map(|read| batch + read * MIB);
                for offset in reads.clone() {
                    let _ = reader.read_cached(&cursor, offset as u64, MIB);
                }
                thread::scope(|scope| {
                    for offset in reads.rev() {
                        let (reader, cursor) = (&reader, &cursor);
                        scope.spawn(move || {
                            let bytes = reader.read(cursor, offset as u64, MIB).unwrap();
                            assert!(bytes == self.content[offset..offset + MIB], "{offset}");
                        });
                        thread::sleep(Duration::from_millis(1));
                    }
                });
            }
        };
        self.tick_while(read, |_| ())
    }

    fn tick_while(&self, read: impl FnOnce() + Send, then: impl Fn(usize)) -> (usize, usize) {
        let (mut ticks, mut most) = (0, 0);
        thread::scope(|scope| {
            let reading = scope.spawn(read);
            while !reading.is_finished() {
                self.clock.advance(TICK);
                self.server.tick();
                ticks += 1;
                then(ticks);
                let started = Instant::now();
                while !self.server.is_used_up(self.engine.streams())
                    && !reading.is_finished()
                    && started.elapsed() < PATIENCE
                {
                    thread::sleep(Duration::from_micros(100));
                }
                most = most.max(self.engine.streams());
            }
            reading.join().unwrap();
        });
        (ticks, most)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.server.set_pace(None);
        self.engine.shutdown();
    }
}

/// How many ticks one stream takes for 32 MiB at 50 KiB a tick.
const ALONE: usize = 32 * MIB / (50 << 10);

// SEMANTICS: S-streams
#[test]
fn where_each_stream_is_slow_several_read_one_file_and_the_next_begins_with_them() {
    let scene = Scene::paced(32 * MIB, None, 50 * KIB, u64::MAX);
    let (ticks, most) = scene.read_all(1, |_| ());
    assert!(most >= 6 && ticks < ALONE / 2, "{ticks} of {ALONE}, {most}");
    let first = scene.server.downloads().len();
    let (_, most) = scene.read_all(2, |_| ());
    assert!(most >= 6, "{most}");
    let opened = scene.server.downloads();
    // The first helpers start as soon as the first window was read: nothing is measured anew.
    let lowest = opened[first..]
        .iter()
        .filter(|(offset, _)| *offset > 0)
        .min();
    let is_early = |(offset, len): &(u64, Option<u64>)| *offset < 8 * MIB as u64 && len.is_some();
    assert!(lowest.is_some_and(is_early), "{opened:?}");
}

// SEMANTICS: S-streams
#[test]
fn where_one_stream_fills_the_link_one_reads_to_the_end() {
    let scene = Scene::paced(32 * MIB, None, 200 * KIB, 200 * KIB);
    let (ticks, most) = scene.read_all(1, |_| ());
    assert!(ticks < ALONE / 4 + 30, "{ticks}");
    assert!(most <= 2, "{most}");
    let opened = scene.server.downloads();
    // One try, of which the last helper went on alone.
    let in_half = |(offset, len): &(u64, Option<u64>)| *offset < 16 * MIB as u64 && len.is_none();
    assert!(opened.iter().all(in_half), "{opened:?}");
}

// SEMANTICS: S-streams
#[test]
fn a_number_that_was_given_is_kept_to() {
    let scene = Scene::paced(16 * MIB, Some(3), 50 * KIB, u64::MAX);
    let (_, most) = scene.read_all(1, |_| ());
    assert_eq!(most, 3);
    let scene = Scene::paced(16 * MIB, Some(1), 50 * KIB, u64::MAX);
    let (_, most) = scene.read_all(1, |_| ());
    assert_eq!(most, 1);
    assert_eq!(scene.server.downloads(), [(0, None)]);
}

// SEMANTICS: S-streams
#[test]
fn helpers_give_their_sessions_to_those_who_wait_and_what_they_left_is_read() {
    let scene = Scene::paced(16 * MIB, Some(7), 50 * KIB, u64::MAX);
    scene.read_all(1, |tick| {
        scene
            .server
            .set_behaviour(|server| server.is_contended = tick % 60 >= 30);
        if tick % 60 == 59 {
            eventually("no helper is left", || scene.server.downloads_open() <= 1);
        }
    });
}

#[test]
fn another_file_ends_helpers_to_be_read() {
    let scene = Scene::paced(16 * MIB, Some(7), 50 * KIB, u64::MAX);
    let (other, cursor) = (scene.reader(2), Cursor::new(&scene.engine));
    thread::scope(|scope| {
        scene.read_all(1, |tick| {
            if tick == 30 {
                scope.spawn(|| scene.check(&other, &cursor, 0));
            }
        });
    });
    assert!(
        other
            .read_cached(&cursor, 0, READ)
            .is_some_and(|bytes| bytes == scene.content[..READ])
    );
}

// SEMANTICS: S-streams
#[test]
fn a_helper_that_is_refused_is_no_error() {
    let scene = Scene::paced(8 * MIB, Some(4), 50 * KIB, u64::MAX);
    // The file itself is the first.
    for nth in 2..=4 {
        let refused = RemoteErrorKind::Refused;
        scene
            .server
            .fail_next(Operation::OpenDownload, nth, refused);
    }
    scene.read_all(1, |_| ());
}

// SEMANTICS: S-cache-size
#[test]
fn several_streams_stay_within_the_budget() {
    for budget in [2, 5, 9].map(|mib| mib * MIB) {
        let config = CacheConfig {
            streams: Some(7),
            bytes_max: budget,
            ..CacheConfig::default()
        };
        let scene = Scene::new(8 * MIB, &config);
        scene.server.set_pace(Some(Pace {
            each: 50 * KIB,
            all: u64::MAX,
        }));
        scene.read_all(1, |_| assert!(scene.engine.cache().bytes() <= budget));
    }
}

// SEMANTICS: S-streams
#[test]
fn what_lags_goes_on_with_a_new_connection_when_a_faster_one_is_done() {
    let len = 8 * MIB;
    let scene = Scene::paced(len, Some(1), 20 * KIB, u64::MAX);
    let slow = thread::scope(|scope| {
        let read = |file| {
            let (reader, cursor) = (scene.reader(file), Cursor::new(&scene.engine));
            for offset in (0..len).step_by(READ) {
                scene.check(&reader, &cursor, offset);
            }
        };
        let slow = scope.spawn(move || read(1));
        eventually("it runs", || scene.server.downloads_open() == 1);
        // The connections after it are faster.
        scene.server.set_pace(Some(Pace {
            each: 200 * KIB,
            all: u64::MAX,
        }));
        let (ticks, _) = scene.read_all(2, |_| ());
        let mut more = 0;
        while !slow.is_finished() {
            scene.clock.advance(TICK);
            scene.server.tick();
            thread::sleep(Duration::from_millis(1));
            more += 1;
        }
        (ticks, more)
    });
    let opened = scene.server.downloads();
    // The second file went on to its end by its one connection, the first by another from where it was.
    assert!(
        matches!(opened[..], [(0, _), (0, _), (1.., _)]),
        "{opened:?}"
    );
    let (ticks, more) = slow;
    assert!(more < 3 * ticks, "{more} after {ticks}");
}

#[test]
fn a_reader_that_stops_or_goes_elsewhere_is_not_read_for() {
    let scene = Scene::paced(32 * MIB, Some(7), 50 * KIB, u64::MAX);
    let (reader, cursor) = (scene.reader(1), Cursor::new(&scene.engine));
    let tick = || {
        scene.clock.advance(TICK);
        scene.server.tick();
        thread::sleep(Duration::from_millis(2));
    };
    scene.server.set_pace(None);
    for offset in (0..MIB).step_by(READ) {
        scene.check(&reader, &cursor, offset);
    }
    for _ in 0..20 {
        tick();
    }
    // As far ahead as a quarter of the budget, and the segment that is begun.
    assert!(scene.server.delivered_to() <= (1 + 16 + 1) * MIB as u64);
    reader.close();
    eventually("closed, nothing runs", || {
        scene.server.downloads_open() == 0
    });
    tick();
    eventually("and nothing starts", || {
        scene.engine.streams() == 0 && scene.server.downloads_open() == 0
    });
}

#[test]
fn reads_at_once_that_reach_over_several_segments_cost_no_more_downloads() {
    let counts = [1, 4].map(|count| {
        let scene = Scene::paced(32 * MIB, Some(4), 200 * KIB, u64::MAX);
        let (_, most) = scene.read_all_at_once(1, count);
        assert_eq!(most, 4);
        scene.server.downloads().len()
    });
    assert!(counts[1] <= counts[0] + 1, "{counts:?}");
}
