//! Tests of the disk cache: what comes back after a restart, and what must not.

use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};

use bytes::Bytes;

use super::*;
use crate::{
    cache::{block::BLOCK_BYTES, testing::eventually},
    clock::ManualClock,
    remote::{Modified, Precision},
};

const FILE: FileId = FileId(7);
const BLOCK: u64 = BLOCK_BYTES as u64;

/// A directory for caches, and what they are made with.
struct Place {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
    bytes_max: u64,
    queue_bytes_max: usize,
}

impl Place {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            clock: Arc::new(ManualClock::new()),
            bytes_max: 1 << 30,
            queue_bytes_max: 64 << 20,
        }
    }

    fn try_open(&self) -> Option<Arc<DiskCache>> {
        let config = DiskConfig {
            dir: self.dir.path().join("blocks"),
            server: "me@host:21~/".into(),
            bytes_max: self.bytes_max,
        };
        DiskCache::open(&config, self.queue_bytes_max, self.clock.clone())
    }

    fn open(&self) -> Cache {
        Cache(self.try_open().unwrap())
    }

    /// A version that is old enough to be kept.
    fn version(&self, size: u64) -> Version {
        let modified = Modified::from(self.clock.wall() - Duration::from_secs(100));
        Version {
            size,
            modified: Some(modified),
            epoch: 0,
        }
    }

    fn server_dir(&self) -> PathBuf {
        self.dir
            .path()
            .join("blocks")
            .join(dir_name("me@host:21~/"))
    }

    /// The files that hold blocks.
    fn parts(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.server_dir()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut parts: Vec<_> = paths.filter(|path| path.extension().is_some()).collect();
        parts.sort();
        parts
    }

    /// The only one.
    fn part(&self) -> File {
        let parts = self.parts();
        assert_eq!(parts.len(), 1, "{parts:?}");
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(&parts[0])
            .unwrap()
    }
}

/// A cache that ends with its test, or earlier.
struct Cache(Arc<DiskCache>);

impl Cache {
    fn put(&self, version: &Version, block: &Block) {
        self.0.offer(FILE, version, block);
        self.await_writes();
    }

    fn await_writes(&self) {
        eventually("all is written", || self.0.queue.is_done());
    }

    fn get(&self, version: &Version, index: u64) -> Option<Vec<u8>> {
        let block = self.0.read(FILE, version, index, BytesMut::zeroed)?;
        Some(block.parts().concat())
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}

fn path(text: &str) -> RemotePath {
    text.split('/')
        .filter(|name| !name.is_empty())
        .fold(RemotePath::root(), |dir, name| {
            dir.join(name.as_bytes()).unwrap()
        })
}

fn content(seed: u8, len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| u8::try_from(at % 251).unwrap() ^ seed)
        .collect()
}

fn whole(index: u64, seed: u8) -> Block {
    Block::copy_of(index * BLOCK, &content(seed, BLOCK_BYTES))
}

// SEMANTICS: S-disk-cache
#[test]
fn blocks_survive_a_restart() {
    let place = Place::new();
    let version = place.version(100 * BLOCK + 5);
    {
        let cache = place.open();
        cache.0.bind(FILE, &version, &path("/dir/file"));
        for index in [0, 63, 64, 99] {
            cache.put(&version, &whole(index, u8::try_from(index).unwrap()));
        }
        // In several parts, as streams leave it.
        let mut last = Block::new(100 * BLOCK);
        last.push(Bytes::from_static(b"ab"), 2);
        last.push(Bytes::from_static(b"cde"), 3);
        cache.put(&version, &last);
    }
    let cache = place.open();
    assert_eq!(place.parts().len(), 2);
    assert_eq!(cache.get(&version, 0), None, "not yet said whose file 7 is");
    // Another mount numbers files otherwise, and counts its own changes anew.
    let version = Version {
        epoch: 42,
        ..version
    };
    cache.0.bind(FILE, &version, &path("/dir/file"));
    for index in [0, 63, 64, 99] {
        assert!(
            cache.get(&version, index).unwrap()
                == content(u8::try_from(index).unwrap(), BLOCK_BYTES)
        );
    }
    assert_eq!(cache.get(&version, 1), None);
    assert_eq!(cache.get(&version, 100).unwrap(), b"abcde");
    let used: u64 = place
        .parts()
        .iter()
        .map(|part| fs::metadata(part).unwrap().blocks() * 512)
        .sum();
    assert_eq!(cache.0.bytes(), used);
}

// SEMANTICS: S-disk-version
#[test]
fn other_paths_and_versions_find_nothing() {
    let place = Place::new();
    let cache = place.open();
    let version = place.version(BLOCK);
    cache.0.bind(FILE, &version, &path("/file"));
    cache.put(&version, &whole(0, 1));
    assert!(cache.get(&version, 0).is_some());
    let modified = version.modified.unwrap();
    let changed = [
        Version {
            size: BLOCK + 1,
            ..version
        },
        Version {
            modified: Some(Modified::from_seconds(modified.seconds + 1)),
            ..version
        },
        Version {
            modified: Some(Modified {
                nanoseconds: (modified.nanoseconds + 1) % 1_000_000_000,
                ..modified
            }),
            ..version
        },
    ];
    for other in changed {
        assert_eq!(cache.get(&other, 0), None);
        cache.0.bind(FILE, &other, &path("/file"));
        assert_eq!(cache.get(&other, 0), None, "{other:?}");
    }
    cache.0.bind(FILE, &version, &path("/file2"));
    assert_eq!(cache.get(&version, 0), None);
    cache.0.bind(FILE, &version, &path("/file"));
    assert!(cache.get(&version, 0).is_some());
}

// SEMANTICS: S-disk-version
#[test]
fn a_time_that_is_new_or_not_to_the_second_is_not_trusted() {
    let place = Place::new();
    let cache = place.open();
    let old = place.version(BLOCK);
    let coarse = |precision| Version {
        modified: old.modified.map(|modified| Modified {
            precision,
            ..modified
        }),
        ..old
    };
    let aged = |age| Version {
        modified: Some((place.clock.wall() - Duration::from_millis(age)).into()),
        ..old
    };
    let future = Version {
        modified: Some((place.clock.wall() + Duration::from_secs(9)).into()),
        ..old
    };
    let untrusted = [
        Version {
            modified: None,
            ..old
        },
        coarse(Precision::Minute),
        coarse(Precision::Remembered),
        aged(1999),
        future,
    ];
    for version in untrusted {
        cache.0.bind(FILE, &version, &path("/file"));
        cache.put(&version, &whole(0, 1));
        assert_eq!(cache.get(&version, 0), None, "{version:?}");
    }
    assert!(place.parts().is_empty());
    let version = aged(2000);
    cache.0.bind(FILE, &version, &path("/file"));
    cache.put(&version, &whole(0, 1));
    assert!(cache.get(&version, 0).is_some());
}

// SEMANTICS: S-disk-damage
#[test]
fn every_damage_is_found_and_mended_by_the_next_write() {
    let place = Place::new();
    let cache = place.open();
    let version = place.version(3 * BLOCK);
    cache.0.bind(FILE, &version, &path("/file"));
    let slot = slot::STRIDE;
    let header = slot::HEADER_BYTES as u64;
    // Magic, format, path, time, index, length, checksum, the first byte, the last.
    for at in [0, 4, 9, 33, 48, 69, 72, header, header + BLOCK - 1] {
        cache.put(&version, &whole(0, 1));
        cache.put(&version, &whole(1, 2));
        assert!(cache.get(&version, 1).unwrap() == content(2, BLOCK_BYTES));
        let mut byte = [0];
        let part = place.part();
        part.read_exact_at(&mut byte, slot + at).unwrap();
        part.write_all_at(&[byte[0] ^ 0x10], slot + at).unwrap();
        assert_eq!(cache.get(&version, 1), None, "byte {at}");
        assert!(cache.get(&version, 0).is_some());
    }
    // A write that was cut off, within the content and within the header.
    for len in [slot + header + 1000, slot + 50, 0] {
        cache.put(&version, &whole(1, 2));
        assert!(cache.get(&version, 1).is_some());
        place.part().set_len(len).unwrap();
        assert_eq!(cache.get(&version, 1), None, "cut at {len}");
    }
}

#[test]
fn parts_of_another_format_go_and_other_files_stay() {
    let place = Place::new();
    drop(place.open());
    let dir = place.server_dir();
    let name = PartKey::of(FileKey::new(1, &place.version(9)).unwrap(), 0).name();
    let other = name.replace(".v2", ".v1");
    assert_ne!(name, other);
    for name in [&*other, "notes.v2", "README"] {
        fs::write(dir.join(name), b"x").unwrap();
    }
    let _cache = place.open();
    assert!(!dir.join(other).exists());
    assert!(dir.join("notes.v2").exists() && dir.join("README").exists());
}

// SEMANTICS: S-disk-full
#[test]
fn a_full_disk_switches_it_off() {
    let place = Place::new();
    let cache = place.open();
    let version = place.version(BLOCK);
    cache.0.bind(FILE, &version, &path("/good"));
    cache.put(&version, &whole(0, 1));
    assert!(cache.get(&version, 0).is_some());
    let hash = cache.0.lock().trees.hash(&path("/file"));
    let name = PartKey::of(FileKey::new(hash, &version).unwrap(), 0).name();
    symlink("/dev/full", place.server_dir().join(name)).unwrap();
    cache.0.bind(FILE, &version, &path("/file"));
    cache.put(&version, &whole(0, 1));
    assert_eq!(cache.get(&version, 0), None);
    assert!(cache.0.is_off.load(Ordering::Relaxed));
    cache.0.bind(FILE, &version, &path("/good"));
    assert_eq!(cache.get(&version, 0), None, "not read any more either");
    cache.0.forget(&path("/good"));
    assert_eq!(
        place.parts().len(),
        1,
        "what changes is forgotten all the same"
    );
}

#[test]
fn what_somebody_removed_is_absent_and_comes_back() {
    let place = Place::new();
    let cache = place.open();
    let version = place.version(BLOCK);
    cache.0.bind(FILE, &version, &path("/file"));
    cache.put(&version, &whole(0, 1));
    fs::remove_file(&place.parts()[0]).unwrap();
    // As when many others were used since.
    cache.0.lock().index.close_all();
    assert_eq!(cache.get(&version, 0), None);
    assert_eq!(cache.0.bytes(), 0);
    cache.put(&version, &whole(0, 1));
    assert!(cache.get(&version, 0).is_some());
    assert!(!cache.0.is_off.load(Ordering::Relaxed));
}

// SEMANTICS: S-disk-cache
#[test]
fn what_was_used_least_makes_room_also_after_a_restart() {
    let mut place = Place::new();
    let cost = slot::disk_bytes(BLOCK_BYTES);
    place.bytes_max = 4 * cost;
    let version = place.version(BLOCK);
    let name = |number: u64| path(&format!("/file{number}"));
    let has = |cache: &Cache, number| {
        cache.0.bind(FILE, &version, &name(number));
        cache.get(&version, 0).is_some()
    };
    {
        let cache = place.open();
        for number in 0..5 {
            cache.0.bind(FILE, &version, &name(number));
            cache.put(&version, &whole(0, 1));
            if number == 3 {
                assert!(has(&cache, 0));
            }
            assert!(cache.0.bytes() <= place.bytes_max);
        }
        assert!(!has(&cache, 1) && has(&cache, 0) && has(&cache, 4));
    }
    assert_eq!(place.parts().len(), 4);
    // The next mount goes by the files' times.
    for part in place.parts() {
        let file = OpenOptions::new().write(true).open(part).unwrap();
        file.set_modified(place.clock.wall()).unwrap();
    }
    place.clock.advance(Duration::from_mins(1));
    assert!(has(&place.open(), 0));
    place.bytes_max = cost;
    let cache = place.open();
    assert!(cache.0.bytes() <= place.bytes_max);
    assert!(has(&cache, 0) && !has(&cache, 4));
}

// SEMANTICS: S-disk-shared
#[test]
fn only_one_process_has_it() {
    let place = Place::new();
    let first = place.open();
    assert!(place.try_open().is_none());
    drop(first);
    drop(place.open());
    fs::set_permissions(place.server_dir(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(place.try_open().is_none(), "others may have written");
}

#[test]
fn nobody_else_may_read_it() {
    let place = Place::new();
    let cache = place.open();
    let version = place.version(BLOCK);
    cache.0.bind(FILE, &version, &path("/file"));
    cache.put(&version, &whole(0, 1));
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&place.parts()[0]), 0o600);
    assert_eq!(mode(&place.server_dir()), 0o700);
    assert_eq!(mode(place.server_dir().parent().unwrap()), 0o700);
}

// SEMANTICS: S-disk-version
#[test]
fn what_is_changed_here_is_forgotten_whatever_its_size_and_time() {
    let place = Place::new();
    let version = place.version(BLOCK);
    let file = path("/file");
    {
        let cache = place.open();
        cache.0.bind(FILE, &version, &file);
        cache.put(&version, &whole(0, 1));
        cache.0.forget(&file);
        assert_eq!(cache.get(&version, 0), None);
        // What was fetched before and is written late.
        cache.put(&version, &whole(0, 1));
        assert!(place.parts().is_empty());
        cache.0.bind(FILE, &version, &file);
        assert_eq!(cache.get(&version, 0), None);
        cache.put(&version, &whole(0, 2));
        assert!(cache.get(&version, 0).unwrap() == content(2, BLOCK_BYTES));
        cache.0.forget(&file);
    }
    let cache = place.open();
    cache.0.bind(FILE, &version, &file);
    assert_eq!(cache.get(&version, 0), None);
}

#[test]
fn a_write_that_was_under_way_does_not_come_back() {
    let place = Place::new();
    let cache = place.open();
    let version = place.version(BLOCK);
    cache.0.bind(FILE, &version, &path("/file"));
    let binding = cache.0.binding(FILE, &version).unwrap();
    let part = PartKey::of(binding.key, 0);
    let file = private_file().open(cache.0.path(&part)).unwrap();
    slot::write(&file, &binding.key, &whole(0, 1)).unwrap();
    cache.0.forget(&path("/file"));
    let bytes = slot::disk_bytes(BLOCK_BYTES);
    cache.0.note_written(&binding, part, Arc::new(file), bytes);
    assert!(place.parts().is_empty());
    assert_eq!(cache.0.bytes(), 0);
    cache.0.bind(FILE, &version, &path("/file"));
    assert_eq!(cache.get(&version, 0), None);
}

// SEMANTICS: S-disk-version
#[test]
fn a_renamed_directory_takes_all_below_it_along() {
    let place = Place::new();
    let version = place.version(BLOCK);
    let files = ["/a/b/file", "/a/file", "/ab/file", "/c/file"];
    let has = |cache: &Cache, name| {
        cache.0.bind(FILE, &version, &path(name));
        cache.get(&version, 0).is_some()
    };
    let check = |cache: &Cache| {
        let found: Vec<_> = files.iter().filter(|name| has(cache, name)).collect();
        assert_eq!(found, [&"/ab/file"]);
    };
    {
        let cache = place.open();
        for name in files {
            cache.0.bind(FILE, &version, &path(name));
            cache.put(&version, &whole(0, 1));
        }
        cache.0.bind(FILE, &version, &path("/a/file"));
        cache.0.forget_trees(&[&path("/a"), &path("/c")]);
        cache.put(&version, &whole(0, 1));
        check(&cache);
    }
    check(&place.open());
    // A list that cannot be read: nothing there may be trusted.
    fs::write(place.server_dir().join("trees"), "12 %2Fa").unwrap();
    assert!(!has(&place.open(), "/ab/file"));
    assert_eq!(place.open().0.bytes(), 0);
}

// SEMANTICS: S-disk-cache
#[test]
fn a_server_cannot_know_where_a_path_is_kept() {
    let places = [Place::new(), Place::new()];
    let names = places.each_ref().map(|place| {
        let cache = place.open();
        let version = place.version(BLOCK);
        cache.0.bind(FILE, &version, &path("/file"));
        cache.put(&version, &whole(0, 1));
        let name = place.parts()[0].file_name().unwrap().to_owned();
        name.to_str().unwrap().split('-').next().unwrap().to_owned()
    });
    assert_ne!(names[0], names[1]);
    let key = fs::metadata(places[0].server_dir().join(KEY)).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
}

// SEMANTICS: S-disk-damage
#[test]
fn without_the_key_all_is_dropped() {
    let place = Place::new();
    let version = place.version(BLOCK);
    for damage in [
        None,
        Some(""),
        Some("00\n"),
        Some("no key at all, and longer than one\n"),
    ] {
        let cache = place.open();
        cache.0.bind(FILE, &version, &path("/file"));
        cache.put(&version, &whole(0, 1));
        assert!(cache.get(&version, 0).is_some());
        drop(cache);
        let key = place.server_dir().join(KEY);
        match damage {
            None => fs::remove_file(key).unwrap(),
            Some(text) => fs::write(key, text).unwrap(),
        }
        assert_eq!(place.open().0.bytes(), 0, "{damage:?}");
        assert!(place.parts().is_empty());
    }
    // What cannot be a key at all.
    let key = place.server_dir().join(KEY);
    fs::remove_file(&key).unwrap();
    fs::create_dir(&key).unwrap();
    assert!(place.try_open().is_none());
}

#[test]
fn too_many_renamed_directories_drop_everything() {
    let place = Place::new();
    let version = place.version(BLOCK);
    let cache = place.open();
    cache.0.bind(FILE, &version, &path("/file"));
    cache.put(&version, &whole(0, 1));
    let dirs: Vec<_> = (0..1001)
        .map(|number| path(&format!("/{number}")))
        .collect();
    cache
        .0
        .forget_trees(&dirs[..1000].iter().collect::<Vec<_>>());
    cache.0.bind(FILE, &version, &path("/file"));
    assert!(cache.get(&version, 0).is_some());
    cache.0.forget_trees(&[&dirs[1000]]);
    cache.0.bind(FILE, &version, &path("/file"));
    assert_eq!(cache.get(&version, 0), None);
    assert!(place.parts().is_empty());
}

#[test]
fn a_longer_piece_of_a_block_stays() {
    let place = Place::new();
    let cache = place.open();
    let version = place.version(BLOCK);
    cache.0.bind(FILE, &version, &path("/file"));
    let all = content(1, BLOCK_BYTES);
    let check = |offered: std::ops::Range<usize>, stays: std::ops::Range<usize>| {
        let piece = &all[offered.clone()];
        cache.put(&version, &Block::copy_of(offered.start as u64, piece));
        let block = cache.0.read(FILE, &version, 0, BytesMut::zeroed).unwrap();
        assert_eq!(block.start(), stays.start as u64);
        assert!(block.parts().concat() == all[stays]);
    };
    check(100..200, 100..200);
    check(150..160, 100..200);
    check(300..350, 100..200);
    check(300..900, 300..900);
    // Behind the end that the version tells there is another version.
    cache.put(&version, &whole(1, 1));
    assert_eq!(cache.get(&version, 1), None);
}

#[test]
fn what_the_queue_cannot_hold_is_dropped() {
    let mut place = Place::new();
    place.queue_bytes_max = BLOCK_BYTES - 1;
    let cache = place.open();
    let version = place.version(BLOCK + 1);
    cache.0.bind(FILE, &version, &path("/file"));
    cache.put(&version, &whole(0, 1));
    cache.put(&version, &Block::copy_of(BLOCK, b"x"));
    assert_eq!(cache.get(&version, 0), None);
    assert_eq!(cache.get(&version, 1).unwrap(), b"x");
}

#[test]
fn a_queue_that_was_full_takes_nothing_until_half_of_it_is_free() {
    let place = Place::new();
    let cache = place.open();
    let version = place.version(BLOCK);
    cache.0.bind(FILE, &version, &path("/file"));
    let binding = cache.0.binding(FILE, &version).unwrap();
    // One that nobody writes.
    let queue = Queue::new(4 * 100);
    let push = |start| queue.push(binding.clone(), &Block::copy_of(start, &[0; 100]));
    (0..5).for_each(push);
    let mut taken = Vec::new();
    let mut take = |written| taken.push(queue.next(written).unwrap().1.start());
    take(0);
    // What is being written counts until it is: 400, 300, 200, and then 100.
    push(5);
    take(100);
    push(6);
    take(100);
    push(7);
    take(100);
    push(8);
    queue.close();
    take(100);
    assert!(queue.next(100).is_none());
    assert_eq!(taken, [0, 1, 2, 3, 8]);
}
