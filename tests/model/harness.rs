//! Does each step on the filesystem and on the reference, and compares.

use std::time::{Duration, SystemTime};

use ftpfs::{
    fs::{
        Access, Attr, Change, Filesystem, HandleId, Ino, NewTime, OpenMode, PreallocateMode,
        RenameMode,
    },
    remote::{EntryKind, Modified, Precision, RemoteErrorKind, memory::Content},
};

use crate::{
    op::{Conditions, Fault, Mode, Op, Scenario, Step, Target},
    reference::{Id, Node, Outcome, Reference, split},
    world::{List, READ, ROOT, World, errno, path, pattern},
};

/// The tiny alphabet.
const PATHS: [&str; 8] = ["/a", "/b", "/c", "/a/a", "/a/b", "/b/a", "/b/b", "/a/a/a"];

struct Handle {
    number: HandleId,
    file: Id,
    access: Access,
}

struct Harness {
    world: World,
    conditions: Conditions,
    reference: Reference,
    handles: Vec<Handle>,
}

/// Runs a scenario; panics where filesystem and reference differ.
pub(crate) fn run(scenario: &Scenario) {
    let mut harness = Harness::new(scenario.conditions);
    for (number, step) in scenario.steps.iter().enumerate() {
        let context = format!("step {number}, {step:?}");
        harness.step(step, &context);
    }
    let has_faults = scenario.steps.iter().any(|step| !step.faults.is_empty());
    harness.finish(has_faults);
}

impl Harness {
    fn new(conditions: Conditions) -> Self {
        let world = World::with(|setup| {
            setup.behaviour.rename_over = conditions.rename_over;
            setup.behaviour.can_append = conditions.can_append;
            setup.behaviour.can_patch = conditions.can_patch;
            setup.behaviour.can_set_mode = conditions.can_set;
            setup.behaviour.can_set_time = conditions.can_set;
            setup.behaviour.can_overwrite = conditions.can_overwrite;
            if conditions.has_coarse_times {
                setup.behaviour.list_precision = Precision::Minute;
            }
            if conditions.refuses_dots {
                setup.behaviour.dot_names_refused = Some(RemoteErrorKind::NameRefused);
            }
            setup.behaviour.list_entries_max = conditions.is_truncated.then_some(2);
            setup.fs.spool_memory_bytes_max = conditions.spool_memory;
            setup.cache.bytes_max = conditions.cache_bytes;
            setup.cache.dir_ttl = Duration::from_secs(conditions.dir_ttl);
            setup.sessions_max = conditions.sessions;
        });
        Self {
            world,
            conditions,
            reference: Reference::new(),
            handles: Vec::new(),
        }
    }

    fn step(&mut self, step: &Step, context: &str) {
        let before = self.reference.clone();
        let handles_before = self.handles.len();
        for fault in &step.faults {
            let server = &self.world.server;
            match *fault {
                Fault::Fails(operation, nth, kind) => server.fail_next(operation, nth, kind),
                Fault::ReplyLost(operation, nth, kind) => server.lose_reply(operation, nth, kind),
                Fault::BreaksAfter(operation, bytes, kind) => {
                    server.fail_after_bytes(operation, bytes, kind);
                }
            }
        }
        let (expected, got) = self.perform(step.op);
        self.world.server.forget_faults();
        if step.faults.is_empty() {
            assert_eq!(got, expected, "{context}");
        } else if got != expected {
            assert!(
                got.is_err(),
                "{context}: succeeded, and should have been {expected:?}"
            );
            assert_eq!(
                self.handles.len(),
                handles_before.min(self.handles.len()),
                "{context}"
            );
            self.settle_on(&before, expected.is_ok(), context);
        }
        self.compare(context);
    }

    /// After a failure the state is the old one or the new one; finds out which.
    fn settle_on(&mut self, before: &Reference, may_be_done: bool, context: &str) {
        // What a lost reply has hidden is seen when the listings are fetched anew.
        self.expire();
        let after = self.reference.clone();
        if may_be_done && self.differs().is_none() {
            return;
        }
        self.reference = before.clone();
        let Some(difference) = self.differs() else {
            return;
        };
        self.reference = after;
        let to_new = self.differs();
        panic!("{context}: neither old ({difference}) nor new ({to_new:?})");
    }

    fn expire(&self) {
        self.world
            .clock
            .advance(Duration::from_secs(self.conditions.dir_ttl + 120));
    }

    fn target(&self, target: Target) -> String {
        let all = self.reference.all();
        match target {
            Target::Existing(index) if !all.is_empty() => all[index % all.len()].0.clone(),
            Target::Existing(index) | Target::Any(index) => PATHS[index % PATHS.len()].to_owned(),
        }
    }

    /// Whether the kernel would get as far as asking for this name.
    fn has_parent(&self, at: &str) -> bool {
        self.reference.is_dir(split(at).0)
    }

    /// Performs a step on both; returns what the reference said and what the filesystem said.
    fn perform(&mut self, op: Op) -> (Outcome<()>, Outcome<()>) {
        const NOTHING: (Outcome<()>, Outcome<()>) = (Ok(()), Ok(()));
        match op {
            Op::Open(target, mode) => self.open(&self.target(target), mode),
            Op::Advance(seconds) => {
                self.world.clock.advance(Duration::from_secs(seconds));
                NOTHING
            }
            Op::Retry => {
                self.world.fs.retry();
                NOTHING
            }
            Op::Truncate(target, len) => self.truncate(&self.target(target), len),
            Op::Rename(from, to, is_noreplace) => {
                self.rename(&self.target(from), &self.target(to), is_noreplace)
            }
            Op::Unlink(target) => {
                let at = self.target(target);
                self.in_dir(&at, |reference| reference.unlink(&at), Filesystem::unlink)
            }
            Op::Rmdir(target) => {
                let at = self.target(target);
                // The kernel itself refuses what it knows to be a file.
                if self.reference.find(&at).is_some() && !self.reference.is_dir(&at) {
                    return NOTHING;
                }
                self.in_dir(&at, |reference| reference.rmdir(&at), Filesystem::rmdir)
            }
            Op::Mkdir(target) => {
                let at = self.target(target);
                // The kernel itself refuses a name that it has just looked up.
                if self.reference.find(&at).is_some() && !self.reference.is_dir(&at) {
                    return NOTHING;
                }
                self.in_dir(
                    &at,
                    |reference| reference.mkdir(&at),
                    |fs, dir, name| {
                        let attr = fs.mkdir(dir, name, 0o755)?;
                        fs.forget(attr.ino, 1);
                        Ok(())
                    },
                )
            }
            Op::Chmod(target, mode) => {
                let change = Change {
                    mode: Some(mode),
                    ..Change::default()
                };
                self.setattr(&self.target(target), &change, |file| file.mode = mode)
            }
            Op::Utimens(target, seconds) => {
                let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
                let change = Change {
                    modified: Some(NewTime::At(time)),
                    ..Change::default()
                };
                self.setattr(&self.target(target), &change, |file| {
                    file.time = Some(seconds);
                })
            }
            Op::OtherWrites(..) | Op::OtherRemoves(_) | Op::OtherMakesDir(_) => {
                self.change_behind_our_back(op);
                NOTHING
            }
            Op::Write(index, ..)
            | Op::Read(index, ..)
            | Op::Fsync(index)
            | Op::Flush(index)
            | Op::Close(index)
            | Op::TruncateHandle(index, _)
            | Op::Zero(index, ..) => match self.handles.len() {
                0 => NOTHING,
                count => self.with_handle(index % count, op),
            },
        }
    }

    fn open(&mut self, at: &str, mode: Mode) -> (Outcome<()>, Outcome<()>) {
        if !self.has_parent(at) {
            return (Ok(()), Ok(()));
        }
        let flags = OpenMode {
            access: match mode {
                Mode::Read => Access::Read,
                Mode::Append => Access::Append,
                _ => Access::Write,
            },
            is_truncate: matches!(mode, Mode::Truncate | Mode::CreateTruncate),
            is_exclusive: matches!(mode, Mode::Exclusive),
        };
        let creates = matches!(mode, Mode::Create | Mode::CreateTruncate | Mode::Exclusive);
        let expected = self
            .reference
            .open(at, creates, flags.is_exclusive, flags.is_truncate);
        let opened = self.walk(at, |fs, dir, name| {
            if creates {
                let (attr, opened) = fs.create(dir, name, 0o644, flags).map_err(errno)?;
                fs.forget(attr.ino, u64::from(self.conditions.forgets));
                return Ok(opened.handle);
            }
            let found = fs
                .lookup(dir, name)
                .map_err(errno)?
                .attr
                .ok_or(libc::ENOENT)?;
            let opened = fs.open(found.ino, flags).map_err(errno);
            fs.forget(found.ino, u64::from(self.conditions.forgets));
            Ok(opened?.handle)
        });
        if let (Ok(number), Ok(file)) = (opened, expected) {
            self.handles.push(Handle {
                number,
                file,
                access: flags.access,
            });
        }
        (expected.map(drop), opened.map(drop))
    }

    fn with_handle(&mut self, index: usize, op: Op) -> (Outcome<()>, Outcome<()>) {
        const DONE: Outcome<()> = Ok(());
        let Handle {
            number,
            file,
            access,
        } = self.handles[index];
        let is_write = access.is_write();
        let fs = self.world.fs.clone();
        let size = self.reference.file(file).data.len();
        match op {
            Op::Write(_, at, len, seed) if is_write => {
                let data = pattern(len, seed);
                let place = if access == Access::Append {
                    size
                } else {
                    at as usize
                };
                if len > 0 {
                    self.reference.write(file, place, &data);
                }
                // The kernel writes in pieces.
                for (index, part) in data.chunks(128 << 10).enumerate() {
                    let written = fs.write(number, at + (index * (128 << 10)) as u64, part);
                    if let Err(error) = written {
                        return (DONE, Err(error.errno()));
                    }
                }
                (DONE, DONE)
            }
            Op::Read(_, at, len) => {
                let expected = &self.reference.file(file).data;
                let start = (at as usize).min(expected.len());
                let end = (at as usize + len).min(expected.len());
                match self.world.read(number, at, len) {
                    Ok(bytes) => {
                        assert!(
                            bytes == expected[start..end.max(start)],
                            "{op:?} reads something else"
                        );
                        (DONE, DONE)
                    }
                    Err(errno) => (DONE, Err(errno)),
                }
            }
            Op::Fsync(_) => (DONE, fs.fsync(number).map_err(errno)),
            Op::Flush(_) => (DONE, fs.flush(number).map_err(errno)),
            Op::Close(_) => {
                self.handles.remove(index);
                (DONE, self.world.close(number))
            }
            Op::TruncateHandle(_, len) if is_write => {
                let Some(ino) = self.ino_of(file) else {
                    return (DONE, DONE);
                };
                let change = Change {
                    size: Some(len),
                    ..Change::default()
                };
                self.reference.resize(file, len as usize);
                let done = fs
                    .setattr(ino, &change, Some(number))
                    .map(drop)
                    .map_err(errno);
                fs.forget(ino, 1);
                (DONE, done)
            }
            Op::Zero(_, at, len) if is_write => {
                let mode = PreallocateMode::Zero;
                let end = (at + len).min(size as u64);
                if at < end {
                    self.reference
                        .write(file, at as usize, &vec![0; (end - at) as usize]);
                }
                (
                    DONE,
                    fs.fallocate(number, at..at + len, mode).map_err(errno),
                )
            }
            _ => (DONE, DONE),
        }
    }

    /// The inode of a file that still has a name; one look-up to be forgotten.
    fn ino_of(&self, file: Id) -> Option<Ino> {
        let all = self.reference.all();
        let (at, _) = all.into_iter().find(|(_, id)| *id == file)?;
        self.walk(&at, |fs, dir, name| {
            Ok(fs.lookup(dir, name).map_err(errno)?.attr)
        })
        .ok()?
        .map(|attr| attr.ino)
    }

    fn truncate(&mut self, at: &str, len: u64) -> (Outcome<()>, Outcome<()>) {
        let Some(id) = self
            .reference
            .find(at)
            .filter(|_| !self.reference.is_dir(at))
        else {
            return (Ok(()), Ok(()));
        };
        self.reference.resize(id, len as usize);
        let change = Change {
            size: Some(len),
            ..Change::default()
        };
        (
            Ok(()),
            self.on_inode(at, |fs, ino| fs.setattr(ino, &change, None).map(drop)),
        )
    }

    fn setattr(
        &mut self,
        at: &str,
        change: &Change,
        set: impl FnOnce(&mut crate::reference::File),
    ) -> (Outcome<()>, Outcome<()>) {
        let file = self
            .reference
            .find(at)
            .filter(|_| !self.reference.is_dir(at));
        let Some(id) = file.filter(|_| self.conditions.can_set) else {
            return (Ok(()), Ok(()));
        };
        set(self.reference.file_mut(id));
        (
            Ok(()),
            self.on_inode(at, |fs, ino| fs.setattr(ino, change, None).map(drop)),
        )
    }

    fn rename(&mut self, from: &str, to: &str, is_noreplace: bool) -> (Outcome<()>, Outcome<()>) {
        let is_below = to
            .strip_prefix(from)
            .is_some_and(|rest| rest.starts_with('/'));
        if !self.has_parent(from) || !self.has_parent(to) || is_below {
            return (Ok(()), Ok(()));
        }
        let expected = self.reference.clone().rename(from, to, is_noreplace);
        let mode = if is_noreplace {
            RenameMode::NoReplace
        } else {
            RenameMode::Replace
        };
        let got = self.walk(from, |fs, from_dir, from_name| {
            self.walk(to, |_, to_dir, to_name| {
                fs.rename((from_dir, from_name), (to_dir, to_name), mode)
                    .map_err(errno)
            })
        });
        let _ = self.reference.rename(from, to, is_noreplace);
        (expected, got)
    }

    /// An operation on a name in a directory.
    fn in_dir(
        &mut self,
        at: &str,
        on_reference: impl FnOnce(&mut Reference) -> Outcome<()>,
        on_filesystem: impl FnOnce(&Filesystem, Ino, &[u8]) -> ftpfs::fs::Result<()>,
    ) -> (Outcome<()>, Outcome<()>) {
        if !self.has_parent(at) {
            return (Ok(()), Ok(()));
        }
        let got = self.walk(at, |fs, dir, name| {
            on_filesystem(fs, dir, name).map_err(errno)
        });
        (on_reference(&mut self.reference), got)
    }

    fn on_inode(
        &self,
        at: &str,
        run: impl FnOnce(&Filesystem, Ino) -> ftpfs::fs::Result<()>,
    ) -> Outcome<()> {
        self.walk(at, |fs, dir, name| {
            let attr = fs
                .lookup(dir, name)
                .map_err(errno)?
                .attr
                .ok_or(libc::ENOENT)?;
            let done = run(fs, attr.ino).map_err(errno);
            fs.forget(attr.ino, u64::from(self.conditions.forgets));
            done
        })
    }

    /// Walks to the directory of a path as the kernel does, runs, and lets the kernel forget what was looked up.
    fn walk<T>(
        &self,
        at: &str,
        run: impl FnOnce(&Filesystem, Ino, &[u8]) -> Outcome<T>,
    ) -> Outcome<T> {
        let fs = &*self.world.fs;
        let (dir, name) = split(at);
        let mut inodes = vec![ROOT];
        let mut walked = Ok(());
        for part in dir.split('/').filter(|part| !part.is_empty()) {
            match fs.lookup(inodes[inodes.len() - 1], part.as_bytes()) {
                Ok(found) => match found.attr {
                    Some(attr) => inodes.push(attr.ino),
                    None => walked = walked.and(Err(libc::ENOENT)),
                },
                Err(error) => walked = Err(error.errno()),
            }
            if walked.is_err() {
                break;
            }
        }
        let outcome = walked.and_then(|()| run(fs, inodes[inodes.len() - 1], name.as_bytes()));
        if self.conditions.forgets {
            for ino in inodes.into_iter().skip(1).rev() {
                fs.forget(ino, 1);
            }
        }
        outcome
    }

    /// Another client changes something that has no unsent bytes; it is seen when the listings have expired.
    fn change_behind_our_back(&mut self, op: Op) {
        let server = self.world.server.clone();
        server.forget_faults();
        self.world.drain();
        self.expire();
        match op {
            Op::OtherWrites(target, len, seed) => {
                let at = self.target(target);
                if !self.has_parent(&at) || self.reference.is_dir(&at) {
                    return;
                }
                let data = pattern(len, seed ^ 0xFFFF);
                let opened = self.reference.open(&at, true, false, true);
                self.reference.write(opened.unwrap(), 0, &data);
                server.write_file(&path(&at), &data);
            }
            Op::OtherRemoves(target) => {
                let at = self.target(target);
                if self.reference.find(&at).is_none() || self.is_open_below(&at) {
                    return;
                }
                self.reference.detach(&at);
                server.remove(&path(&at));
            }
            Op::OtherMakesDir(target) => {
                let at = self.target(target);
                if self.has_parent(&at) && self.reference.mkdir(&at).is_ok() {
                    server.write_dir(&path(&at));
                }
            }
            _ => {}
        }
        self.expire();
    }

    fn is_open_below(&self, at: &str) -> bool {
        self.reference.all().into_iter().any(|(path, id)| {
            let is_below = path == at || path.starts_with(&format!("{at}/"));
            is_below && self.handles.iter().any(|handle| handle.file == id)
        })
    }

    fn compare(&self, context: &str) {
        if let Some(difference) = self.differs() {
            panic!("{context}: {difference}");
        }
    }

    /// The first difference between what programs see and the reference.
    fn differs(&self) -> Option<String> {
        self.differs_below(ROOT, "").or_else(|| {
            self.handles
                .iter()
                .find_map(|handle| self.handle_differs(handle))
        })
    }

    fn differs_below(&self, ino: Ino, at: &str) -> Option<String> {
        let fs = &self.world.fs;
        let id = self.reference.find(at)?;
        let Node::Dir(children) = self.reference.node(id) else {
            return None;
        };
        let names = match self.names(ino) {
            Ok(names) => names,
            Err(errno) => return Some(format!("{at}/ cannot be listed: {errno}")),
        };
        let mut expected: Vec<String> = children.keys().cloned().collect();
        if self.conditions.is_truncated {
            expected.retain(|name| names.contains(name));
        }
        if names != expected {
            return Some(format!("{at}/ lists {names:?} and not {expected:?}"));
        }
        for name in ["a", "b", "c"] {
            let path = format!("{at}/{name}");
            let found = match fs.lookup(ino, name.as_bytes()) {
                Ok(found) => found.attr,
                Err(error) => return Some(format!("{path} cannot be looked up: {error}")),
            };
            let difference = match (children.get(name), found) {
                (None, None) => None,
                (None, Some(attr)) => Some(format!("{path} is there: {attr:?}")),
                (Some(_), None) => Some(format!("{path} is not there")),
                (Some(id), Some(attr)) => self.entry_differs(&path, *id, &attr),
            };
            if let Some(attr) = found.filter(|_| self.conditions.forgets) {
                fs.forget(attr.ino, 1);
            }
            if difference.is_some() {
                return difference;
            }
        }
        None
    }

    fn names(&self, ino: Ino) -> Outcome<Vec<String>> {
        let fs = &self.world.fs;
        let handle = fs.opendir(ino).map_err(errno)?;
        let mut list = List::default();
        let read = fs.readdir(ino, handle, 0, &mut list).map_err(errno);
        fs.releasedir(handle);
        read?;
        let mut names = list.names();
        names.retain(|name| name != "." && name != "..");
        names.sort();
        Ok(names)
    }

    fn entry_differs(&self, at: &str, id: Id, attr: &Attr) -> Option<String> {
        let file = match self.reference.node(id) {
            Node::Dir(_) if attr.kind == EntryKind::Directory => {
                return self.differs_below(attr.ino, at);
            }
            Node::File(file) if attr.kind == EntryKind::File => file,
            _ => return Some(format!("{at} is a {:?}", attr.kind)),
        };
        if attr.size != file.data.len() as u64 {
            return Some(format!(
                "{at} has {} bytes and not {}",
                attr.size,
                file.data.len()
            ));
        }
        if self.conditions.can_set && attr.mode != file.mode {
            return Some(format!(
                "{at} has mode {:o} and not {:o}",
                attr.mode, file.mode
            ));
        }
        let unit = if self.conditions.has_coarse_times {
            60
        } else {
            1
        };
        let shown = Modified::from(attr.modified).seconds.div_euclid(unit);
        if let Some(time) = file
            .time
            .filter(|time| shown != (*time as i64).div_euclid(unit))
        {
            return Some(format!("{at} has the time {shown} and not {time}"));
        }
        let opened = match self.world.fs.open(attr.ino, READ) {
            Ok(opened) => opened,
            Err(error) => return Some(format!("{at} cannot be opened: {error}")),
        };
        let content = self.world.read_handle(opened.handle);
        self.world.fs.release(opened.handle);
        match content {
            Ok(content) if content == file.data => None,
            Ok(content) => Some(difference(at, &content, &file.data)),
            Err(errno) => Some(format!("{at} cannot be read: {errno}")),
        }
    }

    fn handle_differs(&self, handle: &Handle) -> Option<String> {
        let expected = &self.reference.file(handle.file).data;
        match self.world.read_handle(handle.number) {
            Ok(content) if content == *expected => None,
            Ok(content) => Some(difference("a handle", &content, expected)),
            Err(errno) => Some(format!("a handle cannot be read: {errno}")),
        }
    }

    /// Everything closed and drained, the server has what the reference has.
    fn finish(mut self, has_faults: bool) {
        for handle in std::mem::take(&mut self.handles) {
            assert_eq!(self.world.close(handle.number), Ok(()), "the last close");
        }
        self.world.drain();
        if !has_faults {
            self.world.eventually("no temporary file is left", |world| {
                world.leftovers().is_empty()
            });
        }
        let mut tree = self.world.server.tree();
        // One whose removal failed too stays, hidden.
        tree.retain(|path, _| !path.name().is_some_and(|name| name.ends_with(b".tmp")));
        let mut expected = self.reference.all();
        expected.sort();
        let there: Vec<String> = tree.keys().map(ToString::to_string).collect();
        let wanted: Vec<String> = expected.iter().map(|(path, _)| path.clone()).collect();
        assert_eq!(there, wanted, "the server's tree");
        for (at, id) in expected {
            let node = &tree[&path(&at)];
            match (self.reference.node(id), &node.content) {
                (Node::Dir(_), Content::Directory) => {}
                (Node::File(file), Content::File(data)) => {
                    assert!(
                        *data == file.data,
                        "{} on the server",
                        difference(&at, data, &file.data)
                    );
                    if self.conditions.can_set {
                        assert_eq!(node.mode, file.mode, "the mode of {at} on the server");
                    }
                }
                (wanted, found) => panic!("{at} is {found:?} and not {wanted:?}"),
            }
        }
        self.compare("at the end");
        assert!(
            !format!("{:?}", self.world.fs).contains("OpenFile"),
            "a file stays open"
        );
    }
}

fn difference(at: &str, content: &[u8], expected: &[u8]) -> String {
    let place = content
        .iter()
        .zip(expected)
        .position(|(one, other)| one != other);
    format!(
        "{at} has {} bytes and not {}, first different at {place:?}",
        content.len(),
        expected.len()
    )
}
