//! Many programs at once, over a server that takes its time: nothing hangs, and no byte is lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use ftpfs::{
    fs::RenameMode,
    remote::memory::{Operation, RenameOver},
};

use crate::world::{READ, ROOT, TRUNCATE, WRITE, World, errno, path, pattern};

/// Longer than everything here takes on a busy machine; a test that is not done by then hangs.
const DEADLINE: Duration = Duration::from_mins(1);

const THREADS: u64 = 6;
const ROUNDS: u64 = 25;

/// Makes the next calls wait a little on the server's side, each for another time.
fn slow_down(world: &World, calls: u64) {
    let operations = [
        Operation::List,
        Operation::Put,
        Operation::OpenUpload,
        Operation::Finish,
        Operation::Settle,
        Operation::Rename,
        Operation::RemoveFile,
        Operation::OpenDownload,
    ];
    for operation in operations {
        for call in 0..calls {
            let pause = Duration::from_micros(call * 37 % 700);
            world
                .server
                .before(operation, move |_| thread::sleep(pause));
            world
                .server
                .after(operation, move |_| thread::sleep(pause / 2));
        }
    }
}

/// Runs `work` on several threads; fails when they are not done in time.
fn together(world: World, work: impl Fn(&World, u64) + Send + Sync + 'static) -> World {
    let (world, work) = (Arc::new(world), Arc::new(work));
    let (done, wait) = mpsc::channel();
    for number in 0..THREADS {
        let (world, work, done) = (world.clone(), work.clone(), done.clone());
        thread::spawn(move || {
            let outcome =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&world, number)));
            drop(world);
            let _ = done.send(outcome.is_ok());
        });
    }
    drop(done);
    for _ in 0..THREADS {
        let is_ok = wait.recv_timeout(DEADLINE).expect("a deadlock");
        assert!(is_ok, "a thread has panicked");
    }
    Arc::into_inner(world).expect("all threads have ended")
}

fn worlds() -> impl Iterator<Item = World> {
    [(RenameOver::Replaces, 20), (RenameOver::Refuses, 0)]
        .into_iter()
        .map(|(rename_over, ttl)| {
            let world = World::with(|setup| {
                setup.behaviour.rename_over = rename_over;
                setup.cache.dir_ttl = Duration::from_secs(ttl);
                setup.fs.spool_memory_bytes_max = 100_000;
            });
            slow_down(&world, 300);
            world
        })
}

#[test]
fn programs_with_files_of_their_own_lose_nothing() {
    for world in worlds() {
        let world = together(world, |world, me| {
            for round in 0..ROUNDS {
                let (at, other) = (format!("/file{me}"), format!("/moved{me}"));
                let content = pattern(1000 + (round * 7919 % 90_000) as usize, me * 1000 + round);
                world.save(&at, &content).unwrap();
                assert!(world.cat(&at).unwrap() == content);
                world.rename(&at, &other).unwrap();
                assert!(world.cat(&other).unwrap() == content);
                if round % 5 == 0 {
                    world.unlink(&other).unwrap();
                    assert!(!world.exists(&other));
                }
                world.names("/").unwrap();
            }
        });
        world.drain();
        for me in 0..THREADS {
            let last = ROUNDS - 1;
            let content = pattern(1000 + (last * 7919 % 90_000) as usize, me * 1000 + last);
            assert!(world.on(&format!("/moved{me}")).unwrap() == content);
        }
        world.eventually("nothing else is there", |world| {
            world.server.tree().len() == THREADS as usize
        });
    }
}

#[test]
fn programs_that_write_one_file_at_places_of_their_own_lose_nothing() {
    const PART: u64 = 4096;
    for world in worlds() {
        let world = together(world, |world, me| {
            let handle = world.create("/shared", WRITE).unwrap();
            for round in 0..ROUNDS {
                let at = (round * THREADS + me) * PART;
                world.write(handle, at, &pattern(PART as usize, at));
                match round % 3 {
                    0 => world.fs.fsync(handle).unwrap(),
                    1 => assert!(
                        world.read(handle, at, PART as usize).unwrap()
                            == pattern(PART as usize, at)
                    ),
                    _ => {
                        let other = world.open("/shared", READ).unwrap();
                        assert!(
                            world.read(other, at, PART as usize).unwrap()
                                == pattern(PART as usize, at)
                        );
                        world.close(other).unwrap();
                    }
                }
            }
            world.close(handle).unwrap();
        });
        let content = world.on("/shared").unwrap();
        assert_eq!(content.len() as u64, ROUNDS * THREADS * PART);
        for (index, part) in content.chunks(PART as usize).enumerate() {
            assert!(
                part == pattern(PART as usize, index as u64 * PART),
                "part {index}"
            );
        }
        world.eventually("no temporary file is left", |world| {
            world.leftovers().is_empty()
        });
    }
}

#[test]
fn a_file_that_is_renamed_to_and_fro_while_it_is_written_keeps_every_byte() {
    const PART: u64 = 1000;
    for world in worlds() {
        world.save("/a", b"").unwrap();
        let written = AtomicU64::new(0);
        let handle = world.open("/a", WRITE).unwrap();
        let world = together(world, move |world, me| {
            for round in 0..ROUNDS {
                if me == 0 {
                    let (from, to) = if round % 2 == 0 {
                        (b"a", b"b")
                    } else {
                        (b"b", b"a")
                    };
                    let renamed = world
                        .fs
                        .rename((ROOT, from), (ROOT, to), RenameMode::Replace);
                    assert_eq!(renamed.map_err(errno), Ok(()));
                } else {
                    let at = written.fetch_add(1, Ordering::Relaxed) * PART;
                    world.write(handle, at, &pattern(PART as usize, at));
                    world.fs.flush(handle).unwrap();
                }
            }
        });
        world.close(handle).unwrap();
        let leftovers = world.leftovers();
        let names = world.server.tree().into_keys().map(|path| path.to_string());
        let shown: Vec<String> = names.filter(|name| !leftovers.contains(name)).collect();
        assert_eq!(shown, ["/b"], "one name, the last");
        let content = world.server.read_file(&path("/b")).unwrap();
        assert_eq!(content.len() as u64, (THREADS - 1) * ROUNDS * PART);
        for (index, part) in content.chunks(PART as usize).enumerate() {
            assert!(
                part == pattern(PART as usize, index as u64 * PART),
                "part {index}"
            );
        }
    }
}

#[test]
fn programs_that_replace_and_remove_one_name_see_one_whole_content_or_none() {
    for world in worlds() {
        let world = together(world, |world, me| {
            let own = format!("/own{me}");
            for round in 0..ROUNDS {
                match (me + round) % 3 {
                    0 => {
                        world.save(&own, &pattern(5000, me)).unwrap();
                        let _ = world.rename(&own, "/shared");
                    }
                    1 => {
                        // ESTALE: another took the name away between the steps; the kernel asks again.
                        if let Ok(content) = world.cat("/shared") {
                            let is_whole = (0..THREADS).any(|one| content == pattern(5000, one));
                            assert!(is_whole || content.is_empty(), "{} bytes", content.len());
                        }
                    }
                    _ => {
                        let _ = world.unlink("/shared");
                    }
                }
            }
        });
        world.drain();
        world.expire();
        let content = world.on("/shared");
        assert!(
            content.is_none_or(|content| (0..THREADS).any(|one| content == pattern(5000, one)))
        );
    }
}

#[test]
fn large_files_streamed_at_once_arrive_whole() {
    for world in worlds() {
        let world = together(world, |world, me| {
            let content = pattern((2 << 20) + 777 * me as usize, me);
            let handle = world.create(&format!("/large{me}"), TRUNCATE).unwrap();
            for (index, part) in content.chunks(128 << 10).enumerate() {
                world.write(handle, index as u64 * (128 << 10), part);
                if me == 1 && index == 12 {
                    world.write(handle, 5, &content[5..10]);
                }
                if me == 2 && index == 12 {
                    world.fs.fsync(handle).unwrap();
                }
            }
            world.close(handle).unwrap();
            assert!(world.cat(&format!("/large{me}")).unwrap() == content);
        });
        for me in 0..THREADS {
            let content = pattern((2 << 20) + 777 * me as usize, me);
            assert!(world.on(&format!("/large{me}")).unwrap() == content);
        }
        world.eventually("no temporary file is left", |world| {
            world.leftovers().is_empty()
        });
    }
}
