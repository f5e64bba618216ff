//! Runs one sequence, and checks after each step that nothing was lost and that no program was told otherwise.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ftpfs::{
    config::OnConflict,
    fs::{Access, Change, HandleId, Ino, NewTime, OpenMode, RenameMode},
    remote::{EntryKind, Phase, Precision, RemoteErrorKind as Kind},
};

use crate::{
    files::{File, Files, differs},
    ledger::{Bytes, Ledger, Made, files, is_hidden, short},
    sequence::{Act, FILES, Mode, NAMES, Op, Place, Sequence, Step},
    trouble::Troublemaker,
    world::{List, READ, ROOT, World, errno, path, pattern},
};

/// What is wrong.
pub(crate) type Verdict = Result<(), String>;

type Outcome<T> = Result<T, i32>;

/// An open handle of a program.
#[derive(Debug, Clone, Copy)]
struct Handle {
    program: u8,
    number: HandleId,
    ino: Ino,
    file: usize,
    mode: Mode,
    opened: std::time::Instant,
}

/// See the module.
pub(crate) struct Simulation {
    world: World,
    server: crate::sequence::Server,
    ledger: Arc<Mutex<Ledger>>,
    trouble: Troublemaker,
    files: Files,
    handles: Vec<Handle>,
    /// What was set aside and must be somewhere, and which parts of it were written.
    owed: Vec<(Bytes, File)>,
    waited: Duration,
    step: usize,
    /// What has happened, in words, if anybody wants to know.
    story: Option<Vec<String>>,
}

/// Runs a sequence to its end.
pub(crate) fn run(sequence: &Sequence) -> Verdict {
    Simulation::new(sequence, false).run(sequence)
}

/// The same; what happened, in words.
pub(crate) fn tell(sequence: &Sequence) -> (Vec<String>, Verdict) {
    let mut simulation = Simulation::new(sequence, true);
    let verdict = {
        let run = std::panic::AssertUnwindSafe(|| simulation.run(sequence));
        std::panic::catch_unwind(run).unwrap_or_else(|panic| Err(words(&*panic)))
    };
    simulation.note(String::new);
    (simulation.story.take().unwrap_or_default(), verdict)
}

/// What a panic has said.
pub(crate) fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
    format!("a panic: {}", text.unwrap_or_default())
}

impl Simulation {
    fn new(sequence: &Sequence, is_told: bool) -> Self {
        let server = sequence.server;
        let world = World::with(|setup| {
            let behaviour = &mut setup.behaviour;
            behaviour.rename_over = server.rename_over;
            behaviour.can_rename = server.can_rename;
            behaviour.may_rename = server.may_rename;
            behaviour.may_remove = server.may_remove;
            behaviour.ignores_case = server.ignores_case;
            behaviour.removes_trees = server.removes_trees;
            behaviour.can_append = server.can_append;
            behaviour.can_patch = server.can_patch;
            behaviour.can_set_mode = server.can_set;
            behaviour.can_set_time = server.can_set;
            if server.has_coarse_times {
                behaviour.list_precision = Precision::Minute;
            }
            if server.refuses_dots {
                behaviour.dot_names_refused = Some(Kind::NameRefused);
            }
            setup.fs.spool_memory_bytes_max = server.spool_memory;
            setup.fs.on_conflict = server.on_conflict;
            setup.cache.dir_ttl = Duration::from_secs(server.dir_ttl);
            setup.sessions_max = server.sessions;
        });
        for dir in ["/d", "/e"] {
            world.server.write_dir(&path(dir));
        }
        world.server.keep_losses();
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        lock(&ledger).ignores_case = server.ignores_case;
        let trouble = Troublemaker::new(&world, &ledger, is_told);
        Self {
            world,
            server,
            ledger,
            trouble,
            files: Files::default(),
            handles: Vec::new(),
            owed: Vec::new(),
            waited: Duration::ZERO,
            step: 0,
            story: is_told.then(Vec::new),
        }
    }

    fn run(&mut self, sequence: &Sequence) -> Verdict {
        for (number, step) in sequence.steps.iter().enumerate() {
            self.step = number + 1;
            self.step(step)
                .map_err(|wrong| format!("step {number}, {:?}: {wrong}", step.act))?;
        }
        self.finish()
            .map_err(|wrong| format!("in the end: {wrong}"))
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    fn now(&self) -> std::time::Instant {
        ftpfs::clock::Clock::now(&*self.world.clock)
    }

    fn on_server(&self, at: &str) -> Option<Bytes> {
        self.world.on(at).map(Arc::new)
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        let troubles = self.trouble.take_story();
        if let Some(story) = &mut self.story {
            story.extend(troubles);
            let line = text();
            if !line.is_empty() {
                story.push(line);
            }
        }
    }

    fn step(&mut self, step: &Step) -> Verdict {
        self.ledger().begin_step();
        for path in self.files.emptied() {
            self.ledger().may_replace(&path);
        }
        self.trouble.arm(&step.trouble);
        let done = self.act(step.act);
        let is_dead = self.trouble.disarm();
        self.note(String::new);
        if is_dead {
            self.die();
        } else {
            done?;
        }
        self.look()
    }

    /// What was destroyed, and what is shown now.
    fn look(&mut self) -> Verdict {
        let server = &self.world.server;
        let now = self.now();
        let mut ledger = self.ledger();
        let lost = ledger.judge(server.take_losses(), server);
        let wrong = lost.or_else(|| ledger.look(server, now));
        wrong.map_or(Ok(()), Err)
    }

    fn act(&mut self, act: Act) -> Verdict {
        match act {
            Act::Program(program, op) => return self.program(program, op),
            Act::Other(deed) => {
                let now = self.now();
                let words = lock(&self.ledger).deed(&self.world.server, deed, now);
                self.note(|| words);
            }
            Act::Wait(time) => {
                self.world.advance(time);
                self.waited += time;
                // Names are on hold for 2 minutes at the most.
                if self.waited > Duration::from_mins(1) {
                    self.waited = Duration::ZERO;
                    self.world.server.wake();
                }
                self.note(|| format!("{time:?} pass"));
            }
            Act::Wakes => {
                let count = self.world.server.wake();
                self.note(|| format!("the server wakes up, and does {count} things"));
            }
            Act::Retries => {
                let round = self.world.fs.retry();
                self.files.blur_closed();
                self.note(|| format!("closed files are tried again: {round:?}"));
            }
            Act::Pays => {
                let is_done = self.world.fs.pay_debts();
                self.note(|| format!("debts are paid: {is_done}"));
            }
            Act::Dies => self.die(),
            Act::Full(is_full) => {
                let room = is_full.then_some(0);
                self.world
                    .server
                    .set_behaviour(|behaviour| behaviour.room = room);
                self.note(|| format!("the server's disk is full: {is_full}"));
            }
        }
        Ok(())
    }

    fn die(&mut self) {
        self.world.server.forget_asleep();
        self.world.kill();
        self.files = Files::default();
        self.handles.clear();
        self.note(|| "ftpfs is killed, and mounted again".into());
        self.world.fs.adopt_debts();
        self.world.fs.pay_debts();
    }

    fn program(&mut self, program: u8, op: Op) -> Verdict {
        let outcome = match op {
            Op::Open(name, mode) => self.open(program, NAMES[name], mode),
            Op::Cat(name) => self.cat(NAMES[name]),
            Op::TruncateName(name, place) => self.truncate_name(NAMES[name], place),
            Op::Rename(from, to, is_noreplace) => self.rename(NAMES[from], NAMES[to], is_noreplace),
            Op::Unlink(name) => self.unlink(NAMES[name]),
            Op::Mkdir(name) => self.mkdir(NAMES[name]),
            Op::Rmdir(name) => self.rmdir(NAMES[name]),
            Op::Chmod(name, mode) => {
                let change = Change {
                    mode: Some(mode),
                    ..Change::default()
                };
                Ok(self.setattr(NAMES[name], &change))
            }
            Op::Utimens(name, seconds) => {
                let time = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
                let change = Change {
                    modified: Some(NewTime::At(time)),
                    ..Change::default()
                };
                Ok(self.setattr(NAMES[name], &change))
            }
            Op::Symlink(_, to) => Ok(self.symlink(NAMES[to])),
            Op::Stat(name) => self.stat(NAMES[name]),
            Op::List(name) => Ok(self.list(NAMES[name]).map(drop)),
            Op::Write(nth, ..)
            | Op::Read(nth, ..)
            | Op::Truncate(nth, _)
            | Op::Fsync(nth)
            | Op::Close(nth) => {
                let own = self.handles.iter().enumerate();
                let own: Vec<usize> = own
                    .filter(|(_, handle)| handle.program == program)
                    .map(|(index, _)| index)
                    .collect();
                if own.is_empty() {
                    return Ok(());
                }
                self.with_handle(own[usize::from(nth) % own.len()], op)
            }
        };
        self.note(|| match &outcome {
            Ok(done) => format!("program {program}: {op:?}: {done:?}"),
            Err(_) => format!("program {program}: {op:?}: see below"),
        });
        outcome.map(drop)
    }

    /// Walks to a name as the kernel does, and lets it forget what was looked up.
    fn walk<T>(&self, at: &str, run: impl FnOnce(Ino, &[u8]) -> Outcome<T>) -> Outcome<T> {
        let fs = &self.world.fs;
        let (dir, name) = at.rsplit_once('/').unwrap_or(("", at));
        let mut inodes = vec![ROOT];
        let mut walked = Ok(());
        for part in dir.split('/').filter(|part| !part.is_empty()) {
            let found = fs.lookup(inodes[inodes.len() - 1], part.as_bytes());
            walked = match found.map_err(errno) {
                Ok(found) => match found.attr {
                    Some(attr) if attr.kind == EntryKind::Directory => {
                        inodes.push(attr.ino);
                        continue;
                    }
                    Some(attr) => {
                        inodes.push(attr.ino);
                        Err(libc::ENOTDIR)
                    }
                    None => Err(libc::ENOENT),
                },
                Err(error) => Err(error),
            };
            break;
        }
        let outcome = walked.and_then(|()| run(inodes[inodes.len() - 1], name.as_bytes()));
        if self.server.forgets {
            for ino in inodes.into_iter().skip(1).rev() {
                fs.forget(ino, 1);
            }
        }
        outcome
    }

    /// Walks to what has the name.
    fn on_inode<T>(&self, at: &str, run: impl FnOnce(Ino, EntryKind) -> Outcome<T>) -> Outcome<T> {
        let fs = &self.world.fs;
        self.walk(at, |dir, name| {
            let found = fs.lookup(dir, name).map_err(errno)?;
            let attr = found.attr.ok_or(libc::ENOENT)?;
            let done = run(attr.ino, attr.kind);
            if self.server.forgets {
                fs.forget(attr.ino, 1);
            }
            done
        })
    }

    /// Of what is written in each step, other bytes.
    fn bytes(&self, len: usize) -> Vec<u8> {
        pattern(len, 1_000 + self.step as u64)
    }

    /// Opens a file; the verdict is about what the program was told.
    fn open(&mut self, program: u8, at: &str, mode: Mode) -> Result<Outcome<()>, String> {
        let flags = OpenMode {
            access: match mode {
                Mode::Read => Access::Read,
                _ if mode.appends() => Access::Append,
                _ => Access::Write,
            },
            is_truncate: mode.truncates(),
            is_exclusive: mode == Mode::Exclusive,
        };
        let (now, before) = (self.now(), self.on_server(at));
        let was_settled = self.ledger().is_settled_at(at, now);
        if mode.is_write() && mode != Mode::Exclusive {
            self.ledger().claim_at(at);
            if mode.truncates() {
                self.ledger().may_replace(at);
            }
        }
        let fs = self.world.fs.clone();
        let forgets = u64::from(self.server.forgets);
        let opened = self.walk(at, |dir, name| {
            if mode.creates() {
                let (attr, opened) = fs.create(dir, name, 0o644, flags).map_err(errno)?;
                fs.forget(attr.ino, forgets);
                return Ok((attr.ino, opened.handle));
            }
            let found = fs.lookup(dir, name).map_err(errno)?;
            let attr = found.attr.ok_or(libc::ENOENT)?;
            let opened = match attr.kind {
                EntryKind::File => fs.open(attr.ino, flags).map_err(errno),
                _ => Err(libc::EISDIR),
            };
            fs.forget(attr.ino, forgets);
            Ok((attr.ino, opened?.handle))
        });
        let (ino, number) = match opened {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(error)),
        };
        let is_touched = self.ledger().is_touched(at);
        if mode == Mode::Exclusive && was_settled && !is_touched {
            return Err("O_EXCL made a file where there was one".into());
        }
        if is_touched && mode.is_write() {
            self.ledger().claim_at(at);
        }
        let is_unseen = is_touched || (mode.creates() && self.ledger().is_new_at(at, now));
        let before = if is_unseen { None } else { Some(before) };
        let was_empty = self.was_empty(at);
        let file = self.files.open(at, Some(ino), mode, before);
        // What is shown to be empty is not emptied.
        self.files.all[file].may_be_sent |= mode.truncates() && was_empty;
        self.handles.push(Handle {
            program,
            number,
            ino,
            file,
            mode,
            opened: now,
        });
        Ok(Ok(()))
    }

    /// Whether a file may be shown to be empty, as it was not long ago.
    fn was_empty(&self, at: &str) -> bool {
        let now = self.now();
        let since = now.checked_sub(self.stale()).unwrap_or(now);
        let shown = self.ledger().shown_since(&[at.to_owned()], since);
        let named = self.files.named(at).map(|file| &self.files.all[file]);
        let is_open = named.is_some_and(|file| {
            let content = file.content.as_ref();
            content.is_none_or(|content| content.is_empty())
        });
        is_open || shown.iter().any(|shown| shown.is_empty())
    }

    fn with_handle(&mut self, index: usize, op: Op) -> Result<Outcome<()>, String> {
        let handle = self.handles[index];
        match op {
            Op::Write(_, place, len) if handle.mode.is_write() => {
                Ok(self.write(handle, place, len))
            }
            Op::Read(_, place, len) => self.read(handle, place, len),
            Op::Truncate(_, place) if handle.mode.is_write() => Ok(self.truncate(handle, place)),
            Op::Fsync(_) => {
                let done = self.world.fs.fsync(handle.number).map_err(errno);
                self.told(handle, done)?;
                Ok(done)
            }
            Op::Close(_) => {
                self.handles.remove(index);
                self.close(handle)
            }
            _ => Ok(Ok(())),
        }
    }

    fn close(&mut self, handle: Handle) -> Result<Outcome<()>, String> {
        let done = self.world.close(handle.number);
        self.files.all[handle.file].handles -= 1;
        if handle.mode.is_write() {
            self.told(handle, done)?;
        }
        let file = &mut self.files.all[handle.file];
        if file.handles == 0 {
            file.is_emptied = false;
            if file.is_dirty {
                file.blur();
            }
        }
        Ok(done)
    }

    fn write(&mut self, handle: Handle, place: Place, len: usize) -> Outcome<()> {
        let data = self.bytes(len);
        let file = &mut self.files.all[handle.file];
        let size = file.content.as_ref().map_or(0, |content| content.len());
        let at = if handle.mode.appends() {
            size
        } else {
            place.of(size)
        };
        if let Some(base) = file.base.clone() {
            self.ledger().claim(&base);
        }
        for (index, part) in data.chunks(128 << 10).enumerate() {
            let offset = (at + index * (128 << 10)) as u64;
            if let Err(error) = self.world.fs.write(handle.number, offset, part) {
                if index > 0 {
                    self.files.all[handle.file].forget();
                }
                return Err(error.errno());
            }
        }
        let file = &mut self.files.all[handle.file];
        file.write(at, &data, handle.mode.appends());
        self.made(handle.file);
        Ok(())
    }

    fn truncate(&mut self, handle: Handle, place: Place) -> Outcome<()> {
        let file = &self.files.all[handle.file];
        let Some(content) = file.content.clone() else {
            return Ok(());
        };
        if let Some(base) = file.base.clone() {
            self.ledger().claim(&base);
        }
        let len = place.of(content.len());
        let (is_dirty, at) = (file.is_dirty, file.path().map(ToOwned::to_owned));
        if let (true, false, Some(at)) = (content.is_empty() && len == 0, is_dirty, at) {
            // Nothing is sent for a file that is believed to be empty; what it holds by now may be shown from then on.
            self.ledger().claim_at(&at);
            self.files.all[handle.file].forget();
            return self.set_len(handle, 0);
        }
        let done = self.set_len(handle, len);
        let file = &mut self.files.all[handle.file];
        match done {
            Ok(()) => file.resize(len),
            Err(_) => file.forget(),
        }
        self.made(handle.file);
        done
    }

    fn set_len(&self, handle: Handle, len: usize) -> Outcome<()> {
        let change = Change {
            size: Some(len as u64),
            ..Change::default()
        };
        let fs = &self.world.fs;
        let done = fs.setattr(handle.ino, &change, Some(handle.number));
        done.map(drop).map_err(errno)
    }

    /// A program has given a file another content.
    fn made(&mut self, file: usize) {
        let file = &self.files.all[file];
        match (&file.content, file.path()) {
            (Some(content), _) => {
                let made = Made {
                    content: content.clone(),
                    old: file.base.clone(),
                };
                self.ledger().make(made);
            }
            (None, Some(at)) => self.ledger().doubt(at),
            (None, None) => {}
        }
    }

    /// What fsync or close said of a file.
    fn told(&mut self, handle: Handle, done: Outcome<()>) -> Verdict {
        if self.trouble.is_dead() {
            return Ok(());
        }
        let file = &self.files.all[handle.file];
        if !file.is_dirty {
            return Ok(());
        }
        match done {
            Ok(()) => self.confirmed(handle.file),
            Err(libc::ESTALE) => {
                self.set_aside(handle.file);
                Ok(())
            }
            Err(_) => {
                self.files.all[handle.file].may_be_sent = true;
                Ok(())
            }
        }
    }

    /// A program was told that the server has all of a file.
    fn confirmed(&mut self, index: usize) -> Verdict {
        let now = self.now();
        let file = &self.files.all[index];
        let Some(at) = file.path().map(ToOwned::to_owned) else {
            return Ok(());
        };
        let there = self.on_server(&at);
        let is_touched = self.ledger().is_touched(&at);
        // What is as it was is not sent.
        let is_same = file.base.is_some() && file.base == file.content;
        self.files.all[index].may_be_sent |= is_same;
        let file = &self.files.all[index];
        if let Some(content) = &file.content
            && !is_touched
            && !file.may_be_sent
            && there.as_ref() != Some(content)
            && !there
                .as_ref()
                .is_some_and(|there| file.is_appended_to(there))
        {
            let there = there.map_or("nothing".into(), |there| short(&there));
            return Err(format!(
                "a program was told that {at} has its {}, and the server has {there}",
                short(content)
            ));
        }
        let is_sure = !is_touched && !file.may_be_sent;
        let file = &mut self.files.all[index];
        file.sent(there.clone());
        if !is_sure {
            file.forget();
        } else if let Some(content) = there {
            self.ledger().confirm(&at, content, now);
        }
        Ok(())
    }

    /// A program was told that what it has written has lost against a file of others: it must be somewhere.
    fn set_aside(&mut self, index: usize) {
        let there = files(&self.world.server);
        let there: Vec<Vec<u8>> = there.map(|(_, content)| content).collect();
        let file = &mut self.files.all[index];
        if self.server.on_conflict == OnConflict::Fail {
            // It stays as it is until its last close.
            return file.blur();
        }
        let owed = file.content.clone();
        let owed = owed.filter(|content| !content.is_empty() && file.has_written());
        // What has arrived after all may be changed by others from now on.
        let has_arrived = |content: &Bytes| there.iter().any(|there| there == &**content);
        let owed = owed.filter(|content| !has_arrived(content));
        if let Some(content) = owed {
            self.owed.push((content, file.clone()));
        }
        file.forget();
        file.is_dirty = false;
    }

    fn read(&mut self, handle: Handle, place: Place, len: usize) -> Result<Outcome<()>, String> {
        let file = &self.files.all[handle.file];
        let size = file.content.as_ref().map_or(0, |content| content.len());
        let at = place.of(size);
        let read = match self.world.read(handle.number, at as u64, len) {
            Ok(read) => read,
            Err(error) => return Ok(Err(error)),
        };
        let file = &self.files.all[handle.file];
        let is_touched = file.paths.iter().any(|at| self.ledger().is_touched(at));
        if self.trouble.is_dead() || is_touched {
            return Ok(Ok(()));
        }
        let since = handle
            .opened
            .checked_sub(self.stale())
            .unwrap_or(handle.opened);
        let shown = self.ledger().shown_since(&file.paths, since);
        if file.reads(at, len, &read, &shown) {
            Ok(Ok(()))
        } else {
            Err(format!("shows {} at {at} that is not there", short(&read)))
        }
    }

    /// How old what is shown may be.
    fn stale(&self) -> Duration {
        Duration::from_secs(self.server.dir_ttl + 3)
    }

    fn cat(&mut self, at: &str) -> Result<Outcome<()>, String> {
        let fs = self.world.fs.clone();
        let read = self.on_inode(at, |ino, kind| {
            if kind != EntryKind::File {
                return Err(libc::EISDIR);
            }
            let handle = fs.open(ino, READ).map_err(errno)?.handle;
            let read = self.world.read_handle(handle);
            fs.release(handle);
            read
        });
        let read = match read {
            Ok(read) => read,
            Err(error) => return Ok(Err(error)),
        };
        if self.trouble.is_dead() || self.ledger().is_touched(at) {
            return Ok(Ok(()));
        }
        if let Some(file) = self.files.named(at) {
            let file = &self.files.all[file];
            if file.is_dirty {
                let (paths, since) = (file.paths.clone(), self.world_start());
                let shown = self.ledger().shown_since(&paths, since);
                let is_right = file.reads(0, usize::MAX, &read, &shown);
                return if is_right {
                    Ok(Ok(()))
                } else {
                    Err(format!("{at} reads as {}", short(&read)))
                };
            }
        }
        let now = self.now();
        let since = now.checked_sub(self.stale()).unwrap_or(now);
        let shown = self.ledger().shown_since(&[at.to_owned()], since);
        // What is open may have been read before.
        let is_open = self.files.named(at).is_some();
        if is_open || shown.iter().any(|shown| **shown == read) {
            return Ok(Ok(()));
        }
        Err(format!("{at} reads as {}", short(&read)))
    }

    fn world_start(&self) -> std::time::Instant {
        let now = self.now();
        now.checked_sub(Duration::from_hours(1)).unwrap_or(now)
    }

    fn stat(&mut self, at: &str) -> Result<Outcome<()>, String> {
        let fs = self.world.fs.clone();
        let attr = self.on_inode(at, |ino, _| fs.getattr(ino).map_err(errno));
        let attr = match attr {
            Ok((attr, _)) => attr,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(file) = self.files.named(at)
            && let File {
                is_dirty: true,
                may_be_sent: false,
                is_blurred: false,
                content: Some(content),
                ..
            } = &self.files.all[file]
            && !self.trouble.is_dead()
            && !self.ledger().is_touched(at)
            && attr.size != content.len() as u64
        {
            return Err(format!("{at} is shown with {} bytes", attr.size));
        }
        Ok(Ok(()))
    }

    fn truncate_name(&mut self, at: &str, place: Place) -> Result<Outcome<()>, String> {
        let known = self.files.named(at).map(|file| &self.files.all[file]);
        let size = match known {
            Some(file) => file.content.as_ref().map_or(0, |content| content.len()),
            None => self.on_server(at).map_or(0, |content| content.len()),
        };
        let before = self.on_server(at);
        self.ledger().claim_at(at);
        let len = place.of(size);
        self.ledger().may_replace(at);
        let was_empty = self.was_empty(at);
        let index = self.files.open(at, None, Mode::Write, Some(before));
        self.files.all[index].resize(len);
        if let Some(base) = self.files.all[index].base.clone() {
            self.ledger().claim(&base);
        }
        self.files.all[index].may_be_sent |= was_empty && len == 0;
        self.made(index);
        let change = Change {
            size: Some(len as u64),
            ..Change::default()
        };
        let fs = self.world.fs.clone();
        let done = self.on_inode(at, |ino, _| {
            fs.setattr(ino, &change, None).map(drop).map_err(errno)
        });
        self.files.all[index].handles -= 1;
        if self.trouble.is_dead() {
            return Ok(done);
        }
        let is_touched = self.ledger().is_touched(at);
        if is_touched {
            self.ledger().doubt(at);
        }
        match done {
            Ok(()) if !is_touched => {
                self.confirmed(index)?;
            }
            _ => self.files.all[index].forget(),
        }
        let file = &mut self.files.all[index];
        file.is_dirty = file.handles > 0 && file.is_dirty;
        Ok(done)
    }

    fn rename(&mut self, from: &str, to: &str, is_noreplace: bool) -> Result<Outcome<()>, String> {
        if crate::ledger::moved(to, from, "").is_some() && from != to {
            return Ok(Err(libc::EINVAL));
        }
        let now = self.now();
        let key = |at| self.ledger().key(at);
        let (from_key, to_key) = (key(from), key(to));
        let is_same = from_key == to_key;
        let was_settled = self.ledger().is_settled_at(to, now);
        if !is_noreplace && !is_same {
            self.ledger().replace(to);
        }
        // A server that lies about a rename over what was made in this moment is believed.
        let was_there =
            self.world.server.node(&path(from)).is_some() && !self.ledger().is_new_at(to, now);
        let fs = self.world.fs.clone();
        let mode = if is_noreplace {
            RenameMode::NoReplace
        } else {
            RenameMode::Replace
        };
        let done = self.walk(from, |from_dir, from_name| {
            self.walk(to, |to_dir, to_name| {
                fs.rename((from_dir, from_name), (to_dir, to_name), mode)
                    .map_err(errno)
            })
        });
        if self.trouble.is_dead() {
            return Ok(done);
        }
        let is_touched = self.ledger().is_touched(from) || self.ledger().is_touched(to);
        match done {
            Ok(()) => {
                if is_noreplace && was_settled && !is_touched && !is_same {
                    return Err("RENAME_NOREPLACE has replaced a file".into());
                }
                if !is_same
                    && !is_touched
                    && was_there
                    && self.world.server.node(&path(from)).is_some()
                {
                    return Err(format!("{from} was renamed, and is still there"));
                }
                self.files.renamed(from, to);
                // What was written is sent before.
                for file in self.files.below(to) {
                    if self.files.all[file].is_dirty {
                        self.confirmed(file)?;
                    }
                }
            }
            Err(libc::ESTALE) => {
                for file in self.files.below(from) {
                    if self.files.all[file].is_dirty {
                        self.set_aside(file);
                    }
                }
            }
            Err(_) => {
                let has_struck = self.trouble.has_struck();
                for at in [from, to] {
                    for file in self.files.below(at) {
                        let file = &mut self.files.all[file];
                        file.may_be_sent = true;
                        if has_struck {
                            file.blur();
                        }
                    }
                }
            }
        }
        Ok(done)
    }

    fn unlink(&mut self, at: &str) -> Result<Outcome<()>, String> {
        let is_own = self.files.named(at).is_some_and(|file| {
            let file = &self.files.all[file];
            file.is_new() || file.content.is_none() || file.may_be_sent
        });
        self.ledger().replace(at);
        let fs = self.world.fs.clone();
        let done = self.walk(at, |dir, name| fs.unlink(dir, name).map_err(errno));
        if self.trouble.is_dead() {
            return Ok(done);
        }
        if done.is_ok() {
            self.files.unlinked(at);
            let is_touched = self.ledger().is_touched(at) || self.server.ignores_case || is_own;
            if !is_touched && self.world.server.node(&path(at)).is_some() {
                return Err(format!("{at} was removed, and is still there"));
            }
        } else if self.trouble.has_struck()
            && let Some(file) = self.files.named(at)
        {
            self.files.all[file].forget();
        }
        Ok(done)
    }

    fn mkdir(&mut self, at: &str) -> Result<Outcome<()>, String> {
        let fs = self.world.fs.clone();
        let forgets = u64::from(self.server.forgets);
        let done = self.walk(at, |dir, name| {
            let attr = fs.mkdir(dir, name, 0o755).map_err(errno)?;
            fs.forget(attr.ino, forgets);
            Ok(())
        });
        let is_there = || self.world.is_dir_on_server(at);
        if done.is_ok() && !self.trouble.is_dead() && !self.ledger().is_touched(at) && !is_there() {
            return Err(format!("{at} was made, and is not there"));
        }
        Ok(done)
    }

    fn rmdir(&mut self, at: &str) -> Result<Outcome<()>, String> {
        let fs = self.world.fs.clone();
        let done = self.walk(at, |dir, name| fs.rmdir(dir, name).map_err(errno));
        let is_there = || self.world.server.node(&path(at)).is_some();
        if done.is_ok() && !self.trouble.is_dead() && !self.ledger().is_touched(at) && is_there() {
            return Err(format!("{at} was removed, and is still there"));
        }
        Ok(done)
    }

    fn setattr(&mut self, at: &str, change: &Change) -> Outcome<()> {
        let fs = self.world.fs.clone();
        self.on_inode(at, |ino, _| {
            fs.setattr(ino, change, None).map(drop).map_err(errno)
        })
    }

    /// Links are made under a name of their own.
    fn symlink(&mut self, to: &str) -> Outcome<()> {
        let fs = self.world.fs.clone();
        let forgets = u64::from(self.server.forgets);
        let attr = fs.symlink(ROOT, b"l", to.trim_start_matches('/').as_bytes());
        let attr = attr.map_err(errno)?;
        fs.forget(attr.ino, forgets);
        Ok(())
    }

    fn list(&self, at: &str) -> Outcome<Vec<String>> {
        let fs = self.world.fs.clone();
        let read = |ino| {
            let handle = fs.opendir(ino).map_err(errno)?;
            let mut list = List::default();
            let read = fs.readdir(ino, handle, 0, &mut list).map_err(errno);
            fs.releasedir(handle);
            read?;
            let mut names = list.names();
            names.retain(|name| name != "." && name != "..");
            Ok(names)
        };
        if at.is_empty() {
            return read(ROOT);
        }
        self.on_inode(at, |ino, _| read(ino))
    }

    /// Everything closed, tried again and drained: what is right is there, and nothing else.
    fn finish(&mut self) -> Verdict {
        self.trouble.stop();
        self.ledger().begin_step();
        for path in self.files.emptied() {
            self.ledger().may_replace(&path);
        }
        self.world.server.wake();
        self.world
            .server
            .set_behaviour(|behaviour| behaviour.room = None);
        self.world
            .advance(Duration::from_secs(self.server.dir_ttl + 130));
        for handle in std::mem::take(&mut self.handles) {
            let done = self.close(handle)?;
            self.note(|| {
                let (program, number) = (handle.program, handle.number);
                format!("in the end program {program} closes {number:?}: {done:?}")
            });
        }
        self.look()?;
        self.ledger().begin_step();
        for _ in 0..4 {
            self.world.advance(Duration::from_secs(130));
            self.world.fs.retry();
            // Threads of the mount before may have had the last ones in hand until now.
            self.world.fs.adopt_debts();
            self.world.fs.pay_debts();
        }
        let is_all_sent = self.world.fs.drain(Duration::ZERO);
        let kept = self.world.fs.keep_unsent();
        self.note(|| format!("drained: {is_all_sent}, kept: {kept:?}"));
        self.await_cleanup()?;
        self.look()?;
        let missing = self.ledger().missing(&self.world.server);
        missing.map_or(Ok(()), Err)?;
        self.check_owed()?;
        self.check_view()
    }

    /// What hidden files are left, once the threads that remove them are done.
    fn await_cleanup(&self) -> Verdict {
        let is_clean = || {
            let left = files(&self.world.server).filter(|(at, _)| is_hidden(at));
            let mut left = left.filter(|(_, content)| !self.ledger().is_kept(content));
            left.next().is_none()
        };
        if !self.server.may_remove || self.trouble.has_refused_removals() {
            return Ok(());
        }
        for round in 0..400 {
            if is_clean() {
                return Ok(());
            }
            if round % 20 == 19 {
                self.world.advance(Duration::from_mins(2));
                self.world.fs.adopt_debts();
                self.world.fs.pay_debts();
            }
            std::thread::sleep(Duration::from_micros(200 + 50 * round));
        }
        Err(format!(
            "hidden files are left: {:?} of {:?}",
            self.world.leftovers(),
            self.trouble.removals()
        ))
    }

    /// What programs have written and the server does not have lies here.
    fn check_owed(&self) -> Verdict {
        let unsent = self.world.spool_dir.path().join("unsent");
        let kept = std::fs::read_dir(unsent).into_iter().flatten().flatten();
        let mut all: Vec<Vec<u8>> = kept
            .filter_map(|entry| std::fs::read(entry.path()).ok())
            .collect();
        all.extend(files(&self.world.server).map(|(_, content)| content));
        let unsent = self.files.all.iter().filter_map(File::owed);
        let owed = self
            .owed
            .iter()
            .map(|(content, file)| (content.clone(), file));
        for (content, file) in owed.chain(unsent) {
            if !all.iter().any(|there| file.is_in(&content, there)) {
                return Err(format!(
                    "{} of {:?} is neither on the server nor kept here",
                    short(&content),
                    file.paths
                ));
            }
        }
        Ok(())
    }

    /// When all has expired, programs see what the server has.
    fn check_view(&mut self) -> Verdict {
        self.world
            .advance(Duration::from_secs(self.server.dir_ttl + 130));
        let is_all_sent = self.world.fs.progress().files_left == 0;
        if !is_all_sent {
            return Ok(());
        }
        for dir in std::iter::once("").chain(NAMES[FILES..].iter().copied()) {
            if !dir.is_empty() && !self.world.is_dir_on_server(dir) {
                continue;
            }
            let names = self.list(dir);
            let there = self
                .world
                .server
                .tree()
                .into_keys()
                .map(|at| at.to_string());
            let prefix = format!("{dir}/");
            let mut expected: Vec<String> = there
                .filter_map(|at| Some(at.strip_prefix(&prefix)?.to_owned()))
                .filter(|name| !name.contains('/') && !is_hidden(name))
                .collect();
            let mut names = names.map_err(|errno| format!("{dir}/ cannot be listed: {errno}"))?;
            names.retain(|name| !is_hidden(name));
            names.sort();
            expected.sort();
            if names != expected {
                return Err(format!("{dir}/ lists {names:?} and not {expected:?}"));
            }
        }
        for (at, content) in files(&self.world.server) {
            if is_hidden(&at) || at == "/l" {
                continue;
            }
            let read = self.world.cat(&at);
            let read = read.map_err(|errno| format!("{at} cannot be read: {errno}"))?;
            if let Some(place) = differs(&read, &content) {
                return Err(format!(
                    "{at} reads as {} and is {}, first different at {place}",
                    short(&read),
                    short(&content)
                ));
            }
        }
        Ok(())
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shared with the thread that a call comes on.
pub(crate) type Flag = Arc<AtomicBool>;

/// How a late change ends for the caller.
pub(crate) const TIMED_OUT: Kind = Kind::TimedOut(Phase::Reply);

pub(crate) fn is_set(flag: &Flag) -> bool {
    flag.load(Ordering::SeqCst)
}
