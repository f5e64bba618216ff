//! What is on the server when something breaks: the old content or the new, and the bytes kept for the next try.

use std::time::Duration;

use ftpfs::remote::{
    Phase, Remote, RemoteErrorKind as Kind,
    memory::{Behaviour, Operation, RenameOver},
};

use crate::world::{Outcome, TRUNCATE, WRITE, World, path, pattern};

const MIB: usize = 1 << 20;

/// The errno of each answer, as the table of the design has it.
const TABLE: [(Kind, i32); 11] = [
    (Kind::Refused, libc::EACCES),
    (Kind::Busy, libc::EBUSY),
    (Kind::Failed, libc::EIO),
    (Kind::NoSpace, libc::ENOSPC),
    (Kind::QuotaExceeded, libc::EDQUOT),
    (Kind::NameRefused, libc::EACCES),
    (Kind::LoginRefused, libc::EACCES),
    (Kind::Unsupported, libc::EOPNOTSUPP),
    (Kind::Disconnected, libc::EIO),
    (Kind::TimedOut(Phase::Data), libc::ETIMEDOUT),
    (Kind::Protocol, libc::EIO),
];

/// One way of changing a file, and with it one plan of bringing the change up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    New,
    NewLarge,
    Whole,
    Append,
    Patch,
    Stream,
}

const PLANS: [Plan; 6] = [
    Plan::New,
    Plan::NewLarge,
    Plan::Whole,
    Plan::Append,
    Plan::Patch,
    Plan::Stream,
];

/// The steps at which an upload can fail.
const STEPS: [Operation; 7] = [
    Operation::Put,
    Operation::OpenUpload,
    Operation::WriteAll,
    Operation::Finish,
    Operation::Settle,
    Operation::Rename,
    Operation::Stat,
];

struct Case {
    world: World,
    handle: ftpfs::fs::HandleId,
    old: Option<Vec<u8>>,
    new: Vec<u8>,
    plan: Plan,
}

impl Case {
    fn new(plan: Plan, behaviour: impl FnOnce(&mut Behaviour)) -> Self {
        let world = World::on_server(behaviour);
        let old = match plan {
            Plan::New | Plan::NewLarge | Plan::Stream => None,
            Plan::Whole | Plan::Append => Some(pattern(5000, 1)),
            Plan::Patch => Some(pattern(MIB + MIB / 8, 1)),
        };
        if let Some(old) = &old {
            world.put("/file", old);
        }
        let mode = if plan == Plan::Whole { TRUNCATE } else { WRITE };
        let handle = world.create("/file", mode).unwrap();
        let (at, data) = match plan {
            Plan::New => (0, pattern(3000, 2)),
            Plan::NewLarge => (0, pattern(200 << 10, 2)),
            Plan::Whole => (0, pattern(7000, 2)),
            Plan::Append => (5000, pattern(4096, 2)),
            Plan::Patch => (70_000, pattern(4096, 2)),
            Plan::Stream => (0, pattern(MIB + MIB / 4, 2)),
        };
        let mut new = match plan {
            Plan::Whole => Vec::new(),
            _ => old.clone().unwrap_or_default(),
        };
        new.resize(new.len().max(at + data.len()), 0);
        new[at..at + data.len()].copy_from_slice(&data);
        Self {
            world,
            handle,
            old,
            new,
            plan,
        }
    }

    fn write(&self) {
        let (at, end) = match self.plan {
            Plan::Append => (5000, self.new.len()),
            Plan::Patch => (70_000, 70_000 + 4096),
            _ => (0, self.new.len()),
        };
        for (index, part) in self.new[at..end].chunks(128 << 10).enumerate() {
            self.world
                .write(self.handle, (at + index * (128 << 10)) as u64, part);
        }
    }

    /// Old or new, and never half under its own name. APPE and REST + STOR work on the file itself: there the old bytes stay and the new
    /// ones may have come in part.
    fn assert_old_or_new(&self, context: &str) {
        let seen = self.world.on("/file");
        let is_old = seen == self.old;
        let is_new = seen.as_ref() == Some(&self.new);
        let seen = seen.unwrap_or_default();
        let old = self.old.clone().unwrap_or_default();
        let is_between = match self.plan {
            Plan::Append => seen.starts_with(&old) && self.new.starts_with(&seen),
            Plan::Patch => {
                seen.len() == old.len()
                    && (0..seen.len()).all(|at| seen[at] == old[at] || seen[at] == self.new[at])
            }
            _ => false,
        };
        assert!(
            is_old || is_new || is_between,
            "{context}: {} bytes of {}",
            seen.len(),
            self.new.len()
        );
    }

    fn assert_kept_and_sent_later(&self, context: &str) {
        assert!(
            self.world.read_handle(self.handle).as_ref() == Ok(&self.new),
            "{context}: not readable"
        );
        assert_eq!(self.world.size("/file"), self.new.len() as u64, "{context}");
        let retried = self.world.fs.fsync(self.handle);
        assert!(retried.is_ok(), "{context}: the retry gave {retried:?}");
        self.assert_complete(context);
    }

    fn assert_complete(&self, context: &str) {
        assert!(
            self.world.on("/file").as_ref() == Some(&self.new),
            "{context}: not on the server"
        );
        self.world.fs.release(self.handle);
        self.world.eventually("no temporary file is left", |world| {
            world.leftovers().is_empty()
        });
        assert!(
            self.world.cat("/file").as_ref() == Ok(&self.new),
            "{context}: shown differently"
        );
    }

    fn fsync(&self) -> Outcome<()> {
        self.world
            .fs
            .fsync(self.handle)
            .map_err(|error| error.errno())
    }
}

/// Goes through all steps of all plans with these answers.
fn every_step(kinds: &[(Kind, i32)], name: &str, fail: impl Fn(&World, Operation, u64, Kind)) {
    for plan in PLANS {
        for step in STEPS {
            for nth in 1..=3 {
                // All answers where they come first, then those that differ in what is done about them.
                let kinds = kinds.iter().filter(|(kind, _)| {
                    nth == 1 || matches!(kind, Kind::Refused | Kind::Disconnected)
                });
                for (kind, errno) in kinds {
                    let rename_over = match step {
                        Operation::Rename if nth > 1 => RenameOver::Refuses,
                        _ => RenameOver::Replaces,
                    };
                    let case = Case::new(plan, |server| server.rename_over = rename_over);
                    let context = format!("{plan:?}, {name} {nth}. {step:?} with {kind:?}");
                    fail(&case.world, step, nth, *kind);
                    case.write();
                    let outcome = case.fsync();
                    if outcome.is_ok() {
                        case.assert_complete(&context);
                        continue;
                    }
                    assert_eq!(outcome, Err(*errno), "{context}");
                    case.assert_old_or_new(&context);
                    case.assert_kept_and_sent_later(&context);
                }
            }
        }
    }
}

#[test]
fn an_upload_that_fails_leaves_old_or_new_and_the_bytes_are_kept() {
    every_step(&TABLE, "failing", |world, step, nth, kind| {
        world.server.fail_next(step, nth, kind);
    });
}

#[test]
fn an_upload_whose_reply_is_lost_leaves_old_or_new_and_the_bytes_are_kept() {
    // What a client sees when the reply does not come.
    let kinds = [
        (Kind::Disconnected, libc::EIO),
        (Kind::TimedOut(Phase::Reply), libc::ETIMEDOUT),
        (Kind::Protocol, libc::EIO),
    ];
    every_step(&kinds, "losing", |world, step, nth, kind| {
        world.server.lose_reply(step, nth, kind);
    });
}

#[test]
fn an_upload_that_breaks_in_the_middle_leaves_old_or_new_and_the_bytes_are_kept() {
    for plan in PLANS {
        for operation in [Operation::Put, Operation::OpenUpload] {
            for bytes in [0, 1, 2000, 150_000] {
                for times in 1..=3 {
                    let case = Case::new(plan, |_| {});
                    let context = format!("{plan:?} breaking {times} times after {bytes}");
                    for _ in 0..times {
                        case.world
                            .server
                            .fail_after_bytes(operation, bytes, Kind::Disconnected);
                    }
                    case.write();
                    let mut outcome = case.fsync();
                    for _ in 0..times {
                        if outcome.is_ok() {
                            break;
                        }
                        assert_eq!(outcome, Err(libc::EIO), "{context}");
                        case.assert_old_or_new(&context);
                        assert!(
                            case.world.read_handle(case.handle).as_ref() == Ok(&case.new),
                            "{context}"
                        );
                        outcome = case.fsync();
                    }
                    assert_eq!(outcome, Ok(()), "{context}");
                    case.assert_complete(&context);
                }
            }
        }
    }
}

#[test]
fn a_connection_that_breaks_again_and_again_never_touches_the_old_file() {
    let world = World::new();
    world.put("/file", b"old content");
    let handle = world.open("/file", TRUNCATE).unwrap();
    world.write(handle, 0, b"new");
    for _ in 0..8 {
        world
            .server
            .fail_after_bytes(Operation::OpenUpload, 1, Kind::Disconnected);
    }
    assert_eq!(
        world.fs.flush(handle).map_err(|error| error.errno()),
        Err(libc::EIO)
    );
    assert_eq!(world.on("/file").unwrap(), b"old content");
}

#[test]
fn a_success_means_that_the_server_has_the_bytes() {
    for plan in PLANS {
        let case = Case::new(plan, |_| {});
        case.write();
        case.fsync().unwrap();
        case.assert_complete(&format!("{plan:?}"));
    }
}

#[test]
fn a_new_file_whose_upload_broke_is_gone_when_it_is_removed() {
    let world = World::new();
    let handle = world.create("/file", WRITE).unwrap();
    world.write(handle, 0, b"content");
    world
        .server
        .fail_after_bytes(Operation::Put, 3, Kind::Disconnected);
    // Nor can it be asked what has become of it.
    world
        .server
        .fail_next(Operation::Settle, 1, Kind::Disconnected);
    assert_eq!(
        world.fs.flush(handle).map_err(|error| error.errno()),
        Err(libc::EIO)
    );
    world.unlink("/file").unwrap();
    world.fs.release(handle);
    assert_eq!(world.on("/file"), None);
    world.expire();
    assert!(!world.exists("/file"));
}

#[test]
fn a_server_that_keeps_fewer_bytes_than_it_was_sent_is_noticed() {
    for large in [false, true] {
        let world = World::new();
        let content = pattern(if large { 300_000 } else { 3000 }, 1);
        let handle = world.create("/file", WRITE).unwrap();
        world.write(handle, 0, &content);
        let short = content[..5].to_vec();
        world.server.before(Operation::Settle, move |server| {
            let target = server.tree().into_keys().next().unwrap();
            server.write_file(&target, &short);
        });
        assert_eq!(
            world.fs.fsync(handle).map_err(|error| error.errno()),
            Err(libc::EIO)
        );
        world.close(handle).unwrap();
        assert!(world.on("/file").unwrap() == content);
    }
}

#[test]
fn the_old_file_stays_until_the_new_one_is_whole() {
    let world = World::new();
    let old = pattern(100_000, 1);
    world.put("/file", &old);
    let handle = world.open("/file", TRUNCATE).unwrap();
    world.write(handle, 0, &pattern(100_000, 2));
    let expected = old.clone();
    world.server.before(Operation::Finish, move |server| {
        assert!(server.read_file(&path("/file")).unwrap() == expected);
    });
    world.close(handle).unwrap();
    assert!(world.on("/file").unwrap() == pattern(100_000, 2));
}

// SEMANTICS: S-replace
#[test]
fn a_new_file_that_arrived_short_is_gone_when_close_fails_and_is_sent_again() {
    let world = World::new();
    let content = pattern(2 << 20, 3);
    let handle = world.create("/file", WRITE).unwrap();
    for (index, part) in content.chunks(128 << 10).enumerate() {
        world.write(handle, (index * (128 << 10)) as u64, part);
    }
    world.server.before(Operation::Settle, |server| {
        let entries = server.list(&path("/")).unwrap().entries;
        for entry in entries.iter() {
            server.write_file(&path("/").join(entry.name).unwrap(), b"short");
        }
    });
    assert_eq!(
        world.fs.fsync(handle).map_err(|e| e.errno()),
        Err(libc::EIO)
    );
    assert_eq!(world.on("/file"), None);
    world.fs.fsync(handle).unwrap();
    world.fs.release(handle);
    assert!(world.on("/file").unwrap() == content);
    world.eventually("no temporary file is left", |world| {
        world.leftovers().is_empty()
    });
    assert!(world.on("/file").unwrap() == content);
}

#[test]
fn a_truncate_by_name_is_on_the_server_when_it_returns() {
    let world = World::new();
    world.put("/file", b"0123456789");
    world.truncate("/file", 4).unwrap();
    assert_eq!(world.on("/file").unwrap(), b"0123");
    world.truncate("/file", 6).unwrap();
    assert_eq!(world.on("/file").unwrap(), b"0123\0\0");
    world.server.fail_next(Operation::OpenUpload, 1, Kind::Busy);
    assert_eq!(world.truncate("/file", 2), Err(libc::EBUSY));
    world.clock.advance(Duration::from_mins(1));
    world.drain();
    assert_eq!(world.cat("/file").ok(), world.on("/file"));
}
