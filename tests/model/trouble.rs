//! What goes wrong at the nth command of a step: decided as the command reaches the server.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::ThreadId,
};

use ftpfs::{
    clock::{Clock, ManualClock},
    remote::{
        RemoteErrorKind as Kind,
        memory::{Call, MemoryRemote, Operation, Treatment},
    },
};

use crate::{
    ledger::Ledger,
    sequence::{At, Trouble},
    simulation::{Flag, TIMED_OUT, is_set, lock},
    world::World,
};

/// How often a removal may be refused before ftpfs gives up on it.
const REFUSALS_MAX: usize = 2;

#[derive(Debug, Default)]
struct Armed {
    trouble: Vec<(At, Trouble)>,
    commands: u8,
    streams: u8,
    /// Of the whole sequence.
    sent: usize,
    refused_removals: usize,
    has_struck: bool,
    removals: Vec<String>,
    is_off: bool,
    story: Option<Vec<String>>,
}

/// See the module.
pub(crate) struct Troublemaker {
    armed: Arc<Mutex<Armed>>,
    server: MemoryRemote,
    is_dead: Flag,
}

impl Troublemaker {
    /// For commands of the thread that calls this, and of those that stream.
    pub(crate) fn new(world: &World, ledger: &Arc<Mutex<Ledger>>, is_told: bool) -> Self {
        let armed = Armed {
            story: is_told.then(Vec::new),
            ..Armed::default()
        };
        let armed = Arc::new(Mutex::new(armed));
        let is_dead = Flag::new(AtomicBool::new(false));
        let scene = Scene {
            armed: armed.clone(),
            ledger: ledger.clone(),
            clock: world.clock.clone(),
            is_dead: is_dead.clone(),
            thread: std::thread::current().id(),
        };
        world.server.treat_calls(Some(Box::new(move |server, call| {
            scene.treat(server, call)
        })));
        Self {
            armed,
            server: world.server.clone(),
            is_dead,
        }
    }

    /// For the step that begins.
    pub(crate) fn arm(&self, trouble: &[(At, Trouble)]) {
        let mut armed = lock(&self.armed);
        armed.trouble = trouble.to_vec();
        armed.commands = 0;
        armed.streams = 0;
        armed.has_struck = false;
    }

    /// The step is over; whether ftpfs was killed in it.
    pub(crate) fn disarm(&self) -> bool {
        lock(&self.armed).trouble.clear();
        self.server.forget_faults();
        self.is_dead.swap(false, Ordering::SeqCst)
    }

    /// Nothing goes wrong any more.
    pub(crate) fn stop(&self) {
        lock(&self.armed).is_off = true;
    }

    /// Whether ftpfs was killed in this step.
    pub(crate) fn is_dead(&self) -> bool {
        is_set(&self.is_dead)
    }

    /// What was to be removed, and by which thread.
    pub(crate) fn removals(&self) -> Vec<String> {
        lock(&self.armed).removals.clone()
    }

    /// How many commands were sent until now, those of streams left out.
    pub(crate) fn sent(&self) -> usize {
        lock(&self.armed).sent
    }

    /// Whether anything has gone wrong in this step.
    pub(crate) fn has_struck(&self) -> bool {
        lock(&self.armed).has_struck
    }

    /// Whether removals were refused so often that hidden files may stay.
    pub(crate) fn has_refused_removals(&self) -> bool {
        lock(&self.armed).refused_removals > REFUSALS_MAX
    }

    /// What has happened since the last time, in words.
    pub(crate) fn take_story(&self) -> Vec<String> {
        let mut armed = lock(&self.armed);
        armed.story.as_mut().map(std::mem::take).unwrap_or_default()
    }
}

/// What a call meets.
struct Scene {
    armed: Arc<Mutex<Armed>>,
    ledger: Arc<Mutex<Ledger>>,
    clock: Arc<ManualClock>,
    is_dead: Flag,
    thread: ThreadId,
}

impl Scene {
    fn treat(&self, server: &MemoryRemote, call: Call<'_>) -> Treatment {
        let mut armed = lock(&self.armed);
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default();
        if call.operation == Operation::RemoveFile {
            let removal = format!("{} by {name}", call.path);
            armed.removals.push(removal);
        }
        if call.operation == Operation::OpenUpload {
            lock(&self.ledger).upload(&call.path.to_string());
        }
        let at = if thread.id() == self.thread {
            armed.commands = armed.commands.saturating_add(1);
            armed.sent += 1;
            At::Command(armed.commands)
        } else if name.starts_with("ftpfs-stream") || name.starts_with("ftpfs-upload") {
            armed.streams = armed.streams.saturating_add(1);
            At::Stream(armed.streams)
        } else {
            return Treatment::Usual;
        };
        let mut treatment = Treatment::Usual;
        let mut words = Vec::new();
        if armed.is_off {
            armed.trouble.clear();
        }
        for (_, trouble) in armed.trouble.iter().filter(|(of, _)| *of == at) {
            match *trouble {
                Trouble::Refused(kind) => treatment = Treatment::Fails(kind),
                Trouble::Broken => treatment = Treatment::Fails(Kind::Disconnected),
                Trouble::Unheard => treatment = Treatment::Unheard,
                Trouble::ReplyLost(kind) => treatment = Treatment::ReplyLost(kind),
                Trouble::Late => treatment = Treatment::Late(TIMED_OUT),
                Trouble::CutAfter(bytes) => {
                    server.fail_after_bytes(call.operation, bytes, Kind::Disconnected);
                }
                Trouble::Other(deed, time) => {
                    let now = self.clock.now();
                    words.push(lock(&self.ledger).deed(server, deed, now));
                    self.clock.advance(time);
                }
                Trouble::Dies => {
                    server.cut_off();
                    self.is_dead.store(true, Ordering::SeqCst);
                }
            }
            words.push(format!("    {trouble:?}"));
        }
        if treatment == Treatment::Usual
            && matches!(
                call.operation,
                Operation::List | Operation::Stat | Operation::Settle
            )
        {
            let is_list = call.operation == Operation::List;
            lock(&self.ledger).see(&call.path.to_string(), is_list);
        }
        armed.has_struck |= !words.is_empty();
        if call.operation == Operation::RemoveFile && matches!(treatment, Treatment::Fails(_)) {
            armed.refused_removals += 1;
        }
        if let Some(story) = &mut armed.story {
            story.push(format!("    {at:?}: {:?} {}", call.operation, call.path));
            story.extend(words);
        }
        treatment
    }
}
