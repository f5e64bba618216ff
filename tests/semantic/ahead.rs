//! What is fetched before it is asked for.

use std::time::{Duration, SystemTime};

use ftpfs::remote::{Precision, memory::Operation};

use crate::world::{WRITE, World, path, pattern};

/// A tree of directories with one small file each.
fn tree() -> World {
    let world = World::new();
    for index in 0..20 {
        world.put(&format!("/d{index:02}/file"), b"content");
    }
    world
}

// SEMANTICS: S-ahead
#[test]
fn a_walk_over_directories_lists_the_next_ones_before_they_are_opened() {
    let world = tree();
    assert_eq!(world.names("/").unwrap().len(), 20);
    assert_eq!(world.names("/d00").unwrap(), ["file"]);
    world.eventually("the next directories are listed", |world| {
        (1..=18).all(|index| {
            world
                .server
                .calls_on(Operation::List, &path(&format!("/d{index:02}")))
                == 1
        })
    });
    let before = world.calls(Operation::List);
    assert_eq!(world.names("/d01").unwrap(), ["file"]);
    assert_eq!(
        world.server.calls_on(Operation::List, &path("/d01")),
        1,
        "not a second time"
    );
    assert!(
        world.calls(Operation::List) <= before + 2,
        "the walk goes on at its end only"
    );
}

#[test]
fn a_directory_that_is_opened_by_itself_lists_no_other() {
    let world = tree();
    assert_eq!(world.names("/d05").unwrap(), ["file"]);
    let elsewhere = |index| path(&format!("/d{index:02}"));
    std::thread::sleep(Duration::from_millis(50));
    let others = (0..20).filter(|index| *index != 5);
    assert!(
        others
            .map(|index| world.server.calls_on(Operation::List, &elsewhere(index)))
            .all(|calls| calls == 0)
    );
}

#[test]
fn a_walk_over_small_files_downloads_the_next_ones_once() {
    let world = World::new();
    let content = |index: u64| pattern(3000 + index as usize, index);
    for index in 0..30 {
        world.put(&format!("/f{index:02}"), &content(index));
    }
    for index in 0..30 {
        world.ino(&format!("/f{index:02}"));
    }
    for index in 0..30 {
        assert!(
            world.cat(&format!("/f{index:02}")).unwrap() == content(index),
            "{index}"
        );
    }
    let downloads = |index: u64| {
        world
            .server
            .calls_on(Operation::OpenDownload, &path(&format!("/f{index:02}")))
    };
    assert!((0..30).all(|index| downloads(index) == 1), "each file once");
}

// SEMANTICS: S-ahead
#[test]
fn a_walk_in_the_order_of_the_inode_numbers_downloads_the_next_ones_once() {
    let world = World::new();
    let name = |index: usize| format!("/dir/f{index:02}");
    for index in 0..30 {
        world.put(&name(index), &pattern(3000, index as u64));
    }
    let downloads = |world: &World, index: usize| {
        let path = path(&name(index));
        world.server.calls_on(Operation::OpenDownload, &path)
    };
    assert_eq!(world.names("/dir").unwrap().len(), 30);
    let mut order: Vec<_> = (0..30)
        .map(|index| (world.ino(&name(index)), index))
        .collect();
    order.sort_unstable();
    assert!(
        !order.is_sorted_by_key(|(_, index)| *index),
        "another order"
    );
    // Not right after the directory was opened: the second step shows it.
    world.advance(Duration::from_secs(2));
    for (_, index) in &order[..2] {
        assert!(world.cat(&name(*index)).unwrap() == pattern(3000, *index as u64));
    }
    let next = order[2..8].iter().map(|(_, index)| *index);
    world.eventually("the next by number are fetched", |world| {
        next.clone().all(|index| downloads(world, index) == 1)
    });
    for (_, index) in &order[2..] {
        assert!(world.cat(&name(*index)).unwrap() == pattern(3000, *index as u64));
    }
    assert!(
        (0..30).all(|index| downloads(&world, index) == 1),
        "each file once"
    );
}

// SEMANTICS: S-ahead
#[test]
fn names_that_were_read_without_attributes_are_fetched_ahead_too() {
    let world = World::new();
    for index in 0..10 {
        world.put(&format!("/dir/f{index}"), b"content");
    }
    assert_eq!(world.names("/dir").unwrap().len(), 10);
    assert_eq!(world.cat("/dir/f0").unwrap(), b"content");
    let next = |index: usize| path(&format!("/dir/f{index}"));
    world.eventually("those that no look-up has named are fetched", |world| {
        (1..10).all(|index| world.server.calls_on(Operation::OpenDownload, &next(index)) == 1)
    });
    for index in 1..10 {
        assert_eq!(world.cat(&format!("/dir/f{index}")).unwrap(), b"content");
    }
    assert_eq!(world.calls(Operation::OpenDownload), 10, "each file once");
}

// SEMANTICS: S-ahead
#[test]
fn files_opened_in_no_order_fetch_no_others() {
    let world = World::new();
    for index in 0..30 {
        world.put(&format!("/dir/f{index:02}"), b"content");
    }
    assert_eq!(world.names("/dir").unwrap().len(), 30);
    let number = |index: usize| (world.ino(&format!("/dir/f{index:02}")), index);
    let mut order: Vec<_> = (0..30).map(number).collect();
    order.sort_unstable();
    let rank = |index| order.iter().position(|(_, other)| *other == index).unwrap();
    world.advance(Duration::from_secs(2));
    // Every step far from the one before, by name and by number.
    let mut chosen: Vec<usize> = vec![15];
    while chosen.len() < 4 {
        let last = chosen[chosen.len() - 1];
        let is_far =
            |index: &usize| index.abs_diff(last) > 4 && rank(*index).abs_diff(rank(last)) > 4;
        let next = (0..30).filter(|index| !chosen.contains(index)).find(is_far);
        chosen.push(next.unwrap());
    }
    for index in &chosen {
        assert_eq!(world.cat(&format!("/dir/f{index:02}")).unwrap(), b"content");
    }
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(world.calls(Operation::OpenDownload), 4);
}

// SEMANTICS: S-ahead
#[test]
fn a_file_that_changes_while_it_is_fetched_ahead_from_a_coarse_listing_is_read_as_it_is_now() {
    for replacement in [&b"replaced by more"[..], b"CONTENT"] {
        let world = World::on_server(|server| server.list_precision = Precision::Minute);
        let [first, next] = ["/dir/f0", "/dir/f1"];
        world.put(first, b"content");
        world.put(next, b"content");
        assert_eq!(world.names("/dir").unwrap().len(), 2);
        world.ino(first);
        world.ino(next);
        // The first one's version is known from here on, the next one's is asked for when that is fetched.
        world.close(world.open(first, WRITE).unwrap()).unwrap();
        world.server.after(Operation::Settle, move |server| {
            server.write_file(&path(next), replacement);
            let later = SystemTime::now() + Duration::from_hours(1);
            server.touch(&path(next), later);
        });
        assert_eq!(world.cat(first).unwrap(), b"content");
        world.eventually("the next one is fetched", |world| {
            world.server.calls_on(Operation::OpenDownload, &path(next)) == 1
        });
        assert_eq!(world.cat(next).unwrap(), replacement);
        let calls = |operation| world.server.calls_on(operation, &path(next));
        assert_eq!(calls(Operation::Settle), 1, "asked once for both");
        // What was read was kept under the older version, so that the newer one is noticed.
        let before = calls(Operation::OpenDownload);
        world.expire();
        assert_eq!(world.cat(next).unwrap(), replacement);
        assert!(calls(Operation::OpenDownload) > before);
    }
}

// SEMANTICS: S-ahead
#[test]
fn the_first_file_is_a_step_right_after_its_directory_was_opened_and_not_later() {
    let world = World::new();
    for index in 0..6 {
        world.put(&format!("/walked/f{index}"), b"content");
        world.put(&format!("/looked/f{index}"), b"content");
    }
    let downloads = |world: &World, dir: &str| {
        let calls = |index| {
            world
                .server
                .calls_on(Operation::OpenDownload, &path(&format!("/{dir}/f{index}")))
        };
        (1..6).map(calls).sum::<u64>()
    };
    for dir in ["walked", "looked"] {
        assert_eq!(world.names(&format!("/{dir}")).unwrap().len(), 6);
        for index in 0..6 {
            world.ino(&format!("/{dir}/f{index}"));
        }
        if dir == "looked" {
            world.advance(Duration::from_secs(2));
        }
        assert_eq!(world.cat(&format!("/{dir}/f0")).unwrap(), b"content");
    }
    world.eventually("the walked ones are fetched", |world| {
        downloads(world, "walked") == 5
    });
    assert_eq!(downloads(&world, "looked"), 0);
}

// SEMANTICS: S-large-directory
#[test]
fn a_large_directory_is_not_listed_again_for_one_of_its_names() {
    let world = World::new();
    for index in 0..5_001 {
        world.put(&format!("/dir/f{index:04}"), b"");
    }
    assert_eq!(world.size("/dir/f0001"), 0);
    world.put("/dir/f0001", b"longer");
    world.expire();
    assert_eq!(world.size("/dir/f0001"), 6);
    assert_eq!(world.server.calls_on(Operation::List, &path("/dir")), 1);
}
