//! The promises of the read engine, over a server in memory and a clock that the test moves.

use std::{thread, time::Duration};

use super::*;
use crate::{
    cache::{
        engine::STREAMS_WAITING_MAX,
        file_streams::LEADS_MAX,
        testing::{content, eventually, the_file},
    },
    clock::{Clock, ManualClock},
    config::CacheConfig,
    remote::{
        RemoteErrorKind,
        memory::{MemoryRemote, Operation},
    },
};

pub(super) const KIB: usize = 1 << 10;
pub(super) const MIB: usize = 1 << 20;

pub(super) struct Scene {
    pub(super) server: MemoryRemote,
    pub(super) engine: Arc<ReadEngine>,
    clock: Arc<ManualClock>,
    content: Vec<u8>,
}

impl Scene {
    pub(super) fn new(len: usize) -> Self {
        Self::with(len, 64 * MIB, 7)
    }

    pub(super) fn with(len: usize, bytes_max: usize, streams_max: usize) -> Self {
        let content = content(len);
        let clock = Arc::new(ManualClock::new());
        let time = Arc::clone(&clock) as Arc<dyn Clock>;
        let server = MemoryRemote::new(Arc::clone(&time));
        server.write_file(&the_file(), &content);
        let config = CacheConfig {
            bytes_max,
            ..CacheConfig::default()
        };
        let remote = Arc::new(server.clone());
        let engine = Arc::new(ReadEngine::new(remote, &config, streams_max, time));
        Self {
            server,
            engine,
            clock,
            content,
        }
    }

    pub(super) fn reader(&self, file: u64) -> Reader {
        self.reader_of(file, self.content.len())
    }

    fn reader_of(&self, file: u64, size: usize) -> Reader {
        let version = Version {
            size: size as u64,
            modified: None,
            epoch: 0,
        };
        Reader::new(&self.engine, FileId(file), the_file(), version)
    }

    pub(super) fn cursor(&self) -> Cursor {
        Cursor::new(&self.engine)
    }

    #[track_caller]
    pub(super) fn check(&self, reader: &Reader, cursor: &Cursor, offset: usize, len: usize) {
        let bytes = reader.read(cursor, offset as u64, len).unwrap();
        let end = self.content.len().min(offset + len);
        assert!(
            bytes == self.content[offset..end],
            "{offset} + {len}: got {}",
            bytes.len()
        );
    }

    fn check_all(&self, reader: &Reader, cursor: &Cursor, len: usize) {
        for offset in (0..self.content.len()).step_by(len) {
            self.check(reader, cursor, offset, len);
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.server.hold_from(None);
        self.engine.shutdown();
    }
}

#[test]
fn reading_on_is_one_download_whatever_the_size_of_the_reads() {
    for (len, piece) in [
        (4 * KIB, 3000),
        (128 * KIB, usize::MAX),
        (1000, 777),
        (MIB, 100_000),
    ] {
        let scene = Scene::new(3 * MIB + 123);
        scene
            .server
            .set_behaviour(|server| server.read_bytes_max = Some(piece));
        let (reader, cursor) = (scene.reader(1), scene.cursor());
        scene.check_all(&reader, &cursor, len);
        assert_eq!(scene.server.downloads(), [(0, None)], "reads of {len}");
        eventually("the stream ends by itself", || scene.engine.streams() == 0);
        assert_eq!(scene.server.downloads_open(), 0);
    }
}

#[test]
fn random_reads_fetch_exactly_what_was_asked() {
    let scene = Scene::new(8 * MIB);
    let (reader, cursor) = (scene.reader(1), scene.cursor());
    let places = [5 * MIB, MIB, 7 * MIB + 100, 3 * MIB];
    for offset in places {
        scene.check(&reader, &cursor, offset, 4 * KIB);
    }
    let exact = places.map(|offset| (offset as u64, Some(4 * KIB as u64)));
    assert_eq!(scene.server.downloads(), exact);
    assert_eq!(scene.engine.streams(), 0);
}

#[test]
fn a_read_across_the_end_of_the_file_asks_for_all_that_is_left() {
    let scene = Scene::new(MIB);
    // It has grown from what is known of it; the read gets no more than it asked.
    let (reader, cursor) = (scene.reader_of(1, MIB - 100), scene.cursor());
    scene.check(&reader, &cursor, MIB - 4 * KIB, 4 * KIB - 50);
    assert_eq!(
        scene.server.downloads(),
        [((MIB - 4 * KIB) as u64, None::<u64>)]
    );
}

#[test]
fn the_second_read_at_a_new_place_starts_a_stream_and_ends_the_old_one() {
    let scene = Scene::new(32 * MIB);
    let (reader, cursor) = (scene.reader(1), scene.cursor());
    scene.check(&reader, &cursor, 0, 128 * KIB);
    for step in 0..8 {
        scene.check(&reader, &cursor, 20 * MIB + step * 128 * KIB, 128 * KIB);
    }
    let (place, len) = (20 * MIB as u64, 128 * KIB as u64);
    assert_eq!(
        scene.server.downloads(),
        [(0, None), (place, Some(len)), (place + len, None)]
    );
    eventually("the old stream ends", || scene.server.downloads_open() == 1);
}

#[test]
fn reads_that_overtake_each_other_share_one_download() {
    let scene = Scene::new(8 * MIB);
    let (reader, cursor) = (scene.reader(1), scene.cursor());
    let len = 128 * KIB;
    for pair in 0..scene.content.len() / len / 2 {
        scene.check(&reader, &cursor, (2 * pair + 1) * len, len);
        scene.check(&reader, &cursor, 2 * pair * len, len);
    }
    assert_eq!(scene.server.downloads(), [(0, None)]);
}

// SEMANTICS: S-read
#[test]
fn a_short_seek_forward_reads_on() {
    let scene = Scene::new(16 * MIB);
    let (reader, cursor) = (scene.reader(1), scene.cursor());
    for offset in (0..16 * MIB).step_by(900 * KIB) {
        scene.check(&reader, &cursor, offset, 10 * KIB);
    }
    assert_eq!(scene.server.downloads(), [(0, None)]);
}

#[test]
fn two_readers_share_a_stream_and_what_it_left() {
    let scene = Scene::new(4 * MIB);
    let (reader, first, second) = (scene.reader(1), scene.cursor(), scene.cursor());
    for offset in (0..4 * MIB).step_by(64 * KIB) {
        scene.check(&reader, &first, offset, 64 * KIB);
        scene.check(&reader, &second, offset, 64 * KIB);
    }
    scene.check_all(&reader, &scene.cursor(), 100 * KIB);
    assert_eq!(scene.server.downloads(), [(0, None)]);
}

#[test]
fn the_window_is_bounded_and_grows_with_its_reader() {
    let scene = Scene::new(32 * MIB);
    let (reader, cursor) = (scene.reader(1), scene.cursor());
    scene.check(&reader, &cursor, 0, 4 * KIB);
    let ahead = (4 + 256) * KIB as u64;
    eventually("the window fills", || {
        scene.server.delivered_to() >= ahead - 128 * KIB as u64
    });
    thread::sleep(Duration::from_millis(20));
    assert!(
        scene.server.delivered_to() <= ahead,
        "{}",
        scene.server.delivered_to()
    );
    let mut most = 0;
    for offset in (4 * KIB..24 * MIB).step_by(64 * KIB) {
        scene.check(&reader, &cursor, offset, 64 * KIB);
        let ahead = scene.server.delivered_to() - (offset + 64 * KIB) as u64;
        most = most.max(ahead);
        assert!(scene.engine.cache().bytes() <= 64 * MIB);
    }
    // A seventh of half the budget.
    assert!(most <= 32 * MIB as u64 / 7, "{most}");
}

// SEMANTICS: S-cache-size
#[test]
fn all_files_together_stay_within_the_budget() {
    let budget = 6 * MIB;
    let scene = Scene::with(2 * MIB, budget, 3);
    let readers: Vec<_> = (0..20)
        .map(|file| (scene.reader(file), scene.cursor()))
        .collect();
    for offset in (0..2 * MIB).step_by(128 * KIB) {
        for (reader, cursor) in &readers {
            scene.check(reader, cursor, offset, 128 * KIB);
            assert!(scene.engine.cache().bytes() <= budget);
        }
    }
    eventually("too many streams do not stay", || {
        scene.engine.streams() <= 2 + STREAMS_WAITING_MAX
    });
}

#[test]
fn without_memory_all_is_fetched_as_it_is_asked() {
    let scene = Scene::with(MIB, 0, 7);
    let (reader, cursor) = (scene.reader(1), scene.cursor());
    scene.check_all(&reader, &cursor, 128 * KIB);
    assert_eq!(scene.server.downloads().len(), 8);
    assert!(
        scene
            .server
            .downloads()
            .iter()
            .all(|(_, len)| *len == Some(128 * KIB as u64))
    );
    assert_eq!(scene.engine.cache().bytes(), 0);
}

#[test]
fn a_file_that_grew_is_read_to_its_new_end() {
    let scene = Scene::new(MIB + 500);
    for known in [0, 100, 256 * KIB, MIB] {
        let (reader, cursor) = (scene.reader_of(known as u64, known), scene.cursor());
        scene.check_all(&reader, &cursor, 128 * KIB);
        assert!(
            reader
                .read(&cursor, (MIB + 500) as u64, 4096)
                .unwrap()
                .is_empty()
        );
    }
}

// SEMANTICS: S-growth
#[test]
fn a_file_that_shrank_ends_early() {
    let scene = Scene::new(MIB + 500);
    let (reader, cursor) = (scene.reader_of(1, 3 * MIB), scene.cursor());
    scene.check_all(&reader, &cursor, 128 * KIB);
    let bytes = reader.read(&cursor, 2 * MIB as u64, 4096).unwrap();
    assert!(bytes.is_empty());
}

// SEMANTICS: S-read-broken
#[test]
fn a_download_that_is_called_done_before_its_end_goes_on_or_fails() {
    let cut = 300 * KIB as u64;
    let once = Scene::new(MIB);
    once.server.cut_after_bytes(cut);
    once.check_all(&once.reader(1), &once.cursor(), 128 * KIB);
    assert_eq!(once.server.downloads(), [(0, None), (cut, None)]);
    // What is fetched ahead may have ended twice before the read asks, which then begins anew: that ends at once too.
    let cut_from_then_on = |scene: &Scene, after: u64| {
        for after in [after, 0, 0, 0] {
            scene.server.cut_after_bytes(after);
        }
    };
    let scene = Scene::new(MIB);
    cut_from_then_on(&scene, cut);
    let (reader, cursor) = (scene.reader(2), scene.cursor());
    scene.check(&reader, &cursor, 0, 256 * KIB);
    let error = reader.read(&cursor, 256 * KIB as u64, 128 * KIB);
    assert!(matches!(error, Err(error) if error.kind() == RemoteErrorKind::Disconnected));
    // The same for a read that is fetched by itself.
    let scene = Scene::new(MIB);
    scene.server.cut_after_bytes(10 * KIB as u64);
    let (reader, cursor) = (scene.reader(3), scene.cursor());
    scene.check(&reader, &cursor, 290 * KIB, 128 * KIB);
    cut_from_then_on(&scene, 20 * KIB as u64);
    let error = reader.read(&scene.cursor(), 280 * KIB as u64, 128 * KIB);
    assert!(error.is_err());
}

#[test]
fn the_end_of_a_cached_file_costs_no_request() {
    let scene = Scene::new(5000);
    let (reader, cursor) = (scene.reader(1), scene.cursor());
    scene.check(&reader, &cursor, 0, 8192);
    eventually("the stream ends by itself", || scene.engine.streams() == 0);
    let again = scene.cursor();
    assert_eq!(reader.read_cached(&again, 0, 8192).unwrap().len(), 5000);
    assert!(reader.read_cached(&again, 8192, 10).unwrap().is_empty());
    assert_eq!(scene.server.downloads().len(), 1);
    assert!(
        scene.engine.cache().bytes() < 6000,
        "a small file takes small memory"
    );
    let changed = Version {
        epoch: 1,
        ..*reader.version()
    };
    let newer = Reader::new(&scene.engine, FileId(1), the_file(), changed);
    assert!(newer.read_cached(&again, 0, 1).is_none());
}

#[test]
fn the_end_of_a_file_of_whole_blocks_is_remembered_although_it_was_read_before_it_was_seen() {
    let scene = Scene::new(MIB);
    scene.server.hold_from(Some(MIB as u64));
    let (reader, cursor) = (scene.reader(1), scene.cursor());
    scene.check_all(&reader, &cursor, 128 * KIB);
    scene.server.hold_from(None);
    eventually("the stream ends by itself", || scene.engine.streams() == 0);
    let end = reader.read_cached(&scene.cursor(), MIB as u64, 4096);
    assert!(end.unwrap().is_empty());
    assert_eq!(scene.server.downloads(), [(0, None)]);
}

#[test]
fn bytes_reach_the_reader_before_their_block_is_full() {
    let scene = Scene::new(MIB);
    scene.server.hold_from(Some(100));
    let (reader, cursor) = (scene.reader(1), scene.cursor());
    scene.check(&reader, &cursor, 0, 100);
    assert!(reader.read_cached(&cursor, 100, 1).is_none());
    scene.server.hold_from(None);
    scene.check(&reader, &cursor, 100, 64 * KIB);
}

#[test]
fn what_has_arrived_is_read_without_waiting_and_without_a_copy() {
    let scene = Scene::new(MIB);
    let (reader, cursor) = (scene.reader(1), scene.cursor());
    assert!(reader.read_cached(&cursor, 0, KIB).is_none());
    assert!(
        scene.server.downloads().is_empty(),
        "looking fetches nothing"
    );
    scene.server.hold_from(Some(256 * KIB as u64));
    scene.check(&reader, &cursor, 0, 256 * KIB);
    let one = reader.read_cached(&cursor, 0, 64 * KIB).unwrap();
    let two = reader
        .read_cached(&cursor, 64 * KIB as u64, 64 * KIB)
        .unwrap();
    assert_eq!(one.as_ptr().wrapping_add(64 * KIB), two.as_ptr());
}

#[test]
fn an_error_reaches_its_reader_and_the_next_read_tries_afresh() {
    let scene = Scene::new(MIB);
    let kind = RemoteErrorKind::Disconnected;
    scene
        .server
        .fail_after_bytes(Operation::OpenDownload, 100 * KIB as u64, kind);
    let (reader, cursor) = (scene.reader(1), scene.cursor());
    // It waits before the download begins, so that the error cannot be over by then.
    let error = reader.read(&cursor, 0, 256 * KIB).unwrap_err();
    assert_eq!(error.kind(), kind);
    scene.check(&reader, &cursor, 0, 256 * KIB);
    scene.check(&reader, &cursor, 256 * KIB, 128 * KIB);
    scene.check(&reader, &cursor, 384 * KIB, 128 * KIB);
}

#[test]
fn a_panic_in_the_download_is_an_error_of_the_read() {
    let scene = Scene::new(MIB);
    scene
        .server
        .before(Operation::Read, |_| panic!("on purpose"));
    let (reader, cursor) = (scene.reader(1), scene.cursor());
    let error = reader.read(&cursor, 0, 4096).unwrap_err();
    assert_eq!(error.kind(), RemoteErrorKind::Failed);
    eventually("the stream is gone", || scene.engine.streams() == 0);
    scene.check_all(&reader, &scene.cursor(), 128 * KIB);
}

#[test]
fn close_ends_the_download_and_what_arrived_stays() {
    let scene = Scene::new(32 * MIB);
    let (reader, cursor) = (scene.reader(1), scene.cursor());
    scene.check(&reader, &cursor, 0, 4096);
    assert_eq!(scene.server.downloads_open(), 1);
    reader.close();
    eventually("the download is dropped", || {
        scene.server.downloads_open() == 0
    });
    eventually("the blocks are cached", || {
        reader
            .read_cached(&scene.cursor(), 4096, 100 * KIB)
            .is_some()
    });
    drop(scene.reader(2));
    let other = scene.reader(3);
    scene.check(&other, &scene.cursor(), 0, 4096);
    drop(other);
    eventually("dropping a reader closes it", || {
        scene.server.downloads_open() == 0
    });
}

#[test]
fn an_idle_stream_gives_its_session_back() {
    let scene = Scene::new(32 * MIB);
    let (reader, cursor) = (scene.reader(1), scene.cursor());
    scene.check(&reader, &cursor, 0, 4096);
    scene.clock.advance(Duration::from_millis(4999));
    scene.engine.reap_idle();
    thread::sleep(Duration::from_millis(20));
    assert_eq!(scene.server.downloads_open(), 1);
    scene.clock.advance(Duration::from_millis(1));
    eventually("it sees that it is idle by itself", || {
        scene.server.downloads_open() == 0
    });
    eventually("what it fetched is kept", || {
        reader.read_cached(&cursor, 4096, 100 * KIB).is_some()
    });
    scene.check(&reader, &cursor, 4096 + 100 * KIB, 4 * MIB);
}

// SEMANTICS: S-metadata-session
#[test]
fn a_stream_gives_its_session_to_those_who_wait_and_goes_on_later() {
    let scene = Scene::new(32 * MIB);
    let (reader, cursor) = (scene.reader(1), scene.cursor());
    scene
        .server
        .set_behaviour(|server| server.is_contended = true);
    scene.check(&reader, &cursor, 0, 4096);
    eventually("the window is full", || {
        scene.server.delivered_to() >= 256 * KIB as u64
    });
    scene.clock.advance(Duration::from_millis(249));
    thread::sleep(Duration::from_millis(150));
    assert_eq!(
        scene.server.downloads_open(),
        1,
        "it keeps the session for a while"
    );
    scene.clock.advance(Duration::from_millis(1));
    eventually("the session is given up", || {
        scene.server.downloads_open() == 0
    });
    let end = scene.server.delivered_to();
    for offset in (4096..8 * MIB).step_by(128 * KIB) {
        scene.check(&reader, &cursor, offset, 128 * KIB);
    }
    assert_eq!(scene.server.downloads(), [(0, None), (end, None)]);
}

#[test]
fn all_who_wait_for_a_stream_that_gives_way_go_on_with_one_other() {
    for _ in 0..10 {
        let scene = Scene::new(4 * MIB);
        scene
            .server
            .set_behaviour(|server| server.read_bytes_max = Some(64 * KIB));
        scene.server.hold_from(Some(300 * KIB as u64));
        scene
            .server
            .set_behaviour(|server| server.is_contended = true);
        let (reader, cursor) = (scene.reader(1), scene.cursor());
        scene.check(&reader, &cursor, 0, 256 * KIB);
        // Now and then it gives way before they come.
        scene.clock.advance(Duration::from_millis(300));
        thread::scope(|scope| {
            for offset in [512, 384, 256] {
                let (scene, reader, cursor) = (&scene, &reader, &cursor);
                scope.spawn(move || scene.check(reader, cursor, offset * KIB, 128 * KIB));
            }
            thread::sleep(Duration::from_millis(20));
            scene.server.hold_from(None);
        });
        let opened = scene.server.downloads();
        assert_eq!(opened.len(), 2, "{opened:?}");
        assert!(opened[1].0 >= 256 * KIB as u64 && opened[1].1.is_none());
    }
}

#[test]
fn streams_beyond_the_sessions_wait_for_their_turn_and_end_the_longest_idle() {
    let scene = Scene::with(16 * MIB, 64 * MIB, 2);
    let readers: Vec<_> = (0..4)
        .map(|file| (scene.reader(file), scene.cursor()))
        .collect();
    scene.check(&readers[0].0, &readers[0].1, 0, 4096);
    scene.clock.advance(Duration::from_secs(1));
    scene.check(&readers[1].0, &readers[1].1, 0, 4096);
    scene.check(&readers[2].0, &readers[2].1, 0, 4096);
    eventually("the longest idle has ended", || {
        scene.server.downloads_open() == 2
    });
    scene.check(&readers[3].0, &readers[3].1, 0, 4096);
    assert_eq!(scene.server.downloads()[2..], [(0, None); 2]);
    // The ones left go on.
    scene.check(&readers[1].0, &readers[1].1, 4096, 4 * MIB);
    scene.check(&readers[2].0, &readers[2].1, 4096, 4 * MIB);
    assert_eq!(scene.server.downloads().len(), 4);
}

#[test]
fn one_file_has_a_few_streams_at_most() {
    let scene = Scene::new(64 * MIB);
    let reader = scene.reader(1);
    for place in 0..6 {
        let cursor = scene.cursor();
        for step in 0..2 {
            scene.check(&reader, &cursor, place * 10 * MIB + step * 4096, 4096);
        }
        scene.clock.advance(Duration::from_millis(1));
    }
    eventually("the fifth and sixth ended others", || {
        scene.server.downloads_open() == LEADS_MAX
    });
}

#[test]
fn after_shutdown_no_thread_is_left_and_reads_go_on_without() {
    let scene = Scene::new(16 * MIB);
    let (reader, cursor) = (scene.reader(1), scene.cursor());
    scene.check(&reader, &cursor, 0, 4096);
    scene.engine.shutdown();
    assert_eq!(
        (scene.server.downloads_open(), scene.engine.streams()),
        (0, 0)
    );
    assert_eq!(
        Arc::strong_count(&scene.engine),
        2,
        "the scene and the reader hold it"
    );
    scene.check(&reader, &cursor, 4096, 4 * MIB);
    assert_eq!(scene.engine.streams(), 0);
}

#[test]
fn a_renamed_file_is_fetched_by_its_new_name() {
    let scene = Scene::new(16 * MIB);
    let (reader, cursor) = (scene.reader(1), scene.cursor());
    let name = RemotePath::root().join(b"new").unwrap();
    scene.server.move_path(&the_file(), &name);
    reader.set_path(name);
    scene.check(&reader, &cursor, 0, 4096);
    scene.check(&reader, &cursor, 10 * MIB, 4096);
}

#[test]
fn many_threads_read_what_is_there_under_a_small_budget() {
    let scene = Scene::with(5 * MIB + 77, 4 * MIB, 2);
    scene
        .server
        .set_behaviour(|server| server.read_bytes_max = Some(50_000));
    let (first, second) = (scene.reader(1), scene.reader(2));
    thread::scope(|scope| {
        for seed in 0..6_usize {
            let (scene, reader) = (&scene, if seed % 2 == 0 { &first } else { &second });
            scope.spawn(move || {
                let cursor = scene.cursor();
                let (mut offset, mut state) = (0, seed * 7919 + 1);
                for _ in 0..300 {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(12345);
                    let len = 1 + (state >> 33) % (200 * KIB);
                    if (state >> 20) % 8 == 0 || offset >= scene.content.len() {
                        offset = (state >> 13) % scene.content.len();
                    }
                    if let Some(bytes) = reader.read_cached(&cursor, offset as u64, len) {
                        assert!(bytes == scene.content[offset..][..bytes.len()]);
                    }
                    scene.check(reader, &cursor, offset, len);
                    assert!(scene.engine.cache().bytes() <= 4 * MIB);
                    offset += len;
                }
            });
        }
    });
}
