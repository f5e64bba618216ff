//! Runs one sequence, and checks after each step that nothing was lost and that no program was told otherwise.
//!
//! The reference (`files`, `ledger`) allows what really happened and no more: each leniency has a condition on the commands and deeds of this
//! sequence. Faults of ftpfs that are known and not fixed are tolerated in `known`, each by a function of its own.
//!
//! A reference that finds nothing is worth nothing. So when it or `draw` changes, put faults in on purpose, one at a time, and see after how
//! many sequences each is found (`scripts/faults simulate 20000`):
//!
//! | the fault | where | first found at seed |
//! |---|---|---|
//! | evidence counts for 60 s | `AGE_MAX` of `remote/gate.rs` | 5 |
//! | a target is replaced whatever its version | `Upload::wanted` returns `AnyFile` | 1 |
//! | a directory is removed without a look | `look_empty` returns `listed_empty` | 5 |
//! | the name of a refused upload is removed | `put_failed` calls `remove_file` | 985 |
//! | a retry does not look | `doubt::resolve` sets `is_emptied` and returns | 76 |
//! | names are never on hold | `Holds::check` returns `Ok` | 12 |
//! | an append is repeated without a look | `doubt::resolve` returns at `Doubt::Append` | 494 |
//! | a failed close is confirmed | `upload_as_asked` returns `Ok` | 1 |
//! | the bytes of a failed close are dropped | `send_or_keep` calls `give_up` | 6 |
//! | a conflict takes theirs away | `conflict::resolve` calls `take_place` | 1 |
//! | a conflict drops ours | `conflict::resolve` calls `show_theirs` only | 6 |
//! | `RENAME_NOREPLACE` replaces | `rename` wants `AnyFile` | 496 |

mod changes;
mod end;
mod handles;
mod names;
mod outcomes;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ftpfs::{
    fs::{Change, HandleId, Ino, NewTime},
    remote::{Phase, Precision, RemoteErrorKind as Kind},
};

use crate::{
    files::{File, Files},
    ledger::{Bytes, Ledger},
    sequence::{Act, Mode, NAMES, Op, Sequence, Server, Step},
    trouble::Troublemaker,
    world::{World, path},
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
    opened: Instant,
}

/// See the module.
pub(crate) struct Simulation {
    world: World,
    server: Server,
    ledger: Arc<Mutex<Ledger>>,
    trouble: Troublemaker,
    files: Files,
    handles: Vec<Handle>,
    /// What was set aside and must be somewhere, and which parts of it were written.
    owed: Vec<(Bytes, File)>,
    waited: Duration,
    /// Whether the server's disk is full.
    is_full: bool,
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
        lock(&ledger).writes_in_place = !server.can_rename;
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
            is_full: false,
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

    fn now(&self) -> Instant {
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
        self.trouble.arm(&step.trouble);
        let done = self.act(step.act);
        let is_dead = self.trouble.disarm();
        self.note(String::new);
        if is_dead {
            self.die();
        } else {
            done?;
        }
        self.note_arrived();
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
                self.is_full = is_full;
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
        self.ledger().release_all();
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

    /// How old what is shown may be.
    fn stale(&self) -> Duration {
        Duration::from_secs(self.server.dir_ttl + 3)
    }

    fn world_start(&self) -> Instant {
        let now = self.now();
        now.checked_sub(Duration::from_hours(1)).unwrap_or(now)
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
