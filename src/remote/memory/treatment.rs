//! How a test treats each call that reaches the server, in whatever order they come, and what is carried out late.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    super::{RemoteError, RemoteErrorKind, RemotePath},
    MemoryRemote, Operation,
    fault::Plan,
};

/// A call that has reached the server, and of which nothing has come yet.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// What is asked for.
    pub operation: Operation,
    /// Of which path; for a rename the old one.
    pub path: &'a RemotePath,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// What it asks for.
    Usual,
    /// An error, and the server does nothing.
    Fails(RemoteErrorKind),
    /// The session had died while it was idle, and the server does nothing.
    Unheard,
    /// The server does it, and the caller gets this error.
    ReplyLost(RemoteErrorKind),
    /// The caller gets this error, and what is changed is changed at the next [`MemoryRemote::wake`]; what is only asked for is not answered.
    Late(RemoteErrorKind),
}

/// Decides what becomes of each call. It runs on the caller's thread before anything is done, and may change the server as another client.
pub type Treat = Box<dyn FnMut(&MemoryRemote, Call<'_>) -> Treatment + Send>;

/// The test's treatment of calls.
#[derive(Default)]
pub(super) struct Treatments(Mutex<Option<Treat>>);

impl fmt::Debug for Treatments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Treatments")
    }
}

/// Something that the server does when it wakes up.
pub(super) type Effect = Box<dyn FnOnce(&MemoryRemote) + Send>;

/// What the server will do when it wakes up.
#[derive(Default)]
pub(super) struct Asleep(VecDeque<(Effect, Arc<AtomicBool>)>);

impl fmt::Debug for Asleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Asleep").field(&self.0.len()).finish()
    }
}

impl Asleep {
    /// One more, behind the others; `is_over` once it is done.
    pub(super) fn push(&mut self, effect: Effect, is_over: Arc<AtomicBool>) {
        self.0.push_back((effect, is_over));
    }
}

/// How the server says no, or why there is no answer.
pub(super) fn failure(operation: Operation, kind: RemoteErrorKind) -> RemoteError {
    let command = match (operation, kind) {
        // A server without renaming says so to the first of the two commands.
        (Operation::Rename, RemoteErrorKind::Unsupported) => "RNFR",
        _ => operation.command(),
    };
    let error = RemoteError::new(kind, command);
    match kind {
        RemoteErrorKind::Disconnected
        | RemoteErrorKind::TimedOut(_)
        | RemoteErrorKind::Protocol => error,
        _ => error.answered(),
    }
}

/// When the server does what it is asked for.
pub(super) enum When {
    Now,
    /// When it wakes up, and the caller gets this error; told when it is over.
    Later(RemoteErrorKind, Arc<AtomicBool>),
}

impl MemoryRemote {
    /// Lets `treat` decide what becomes of each call of any client, in the place of the one before. What is planned for a call by
    /// [`MemoryRemote::fail_next`] and its neighbours holds where it says [`Treatment::Usual`].
    pub fn treat_calls(&self, treat: Option<Treat>) {
        *self.treatments() = treat;
    }

    /// Carries out what was left for later, in the order in which it was asked for; how much that was.
    pub fn wake(&self) -> usize {
        let asleep = std::mem::take(&mut self.lock().asleep.0);
        let count = asleep.len();
        for (effect, is_over) in asleep {
            self.lock().losses.is_late = true;
            effect(self);
            self.lock().losses.is_late = false;
            is_over.store(true, Ordering::SeqCst);
        }
        count
    }

    /// Forgets what was left for later: the server has never read it.
    pub fn forget_asleep(&self) {
        self.lock().asleep.0.clear();
    }

    /// Lets the test decide.
    pub(super) fn treat(&self, operation: Operation, path: &RemotePath) -> Treatment {
        let mut treatments = self.treatments();
        let treat = treatments.as_mut();
        treat.map_or(Treatment::Usual, |treat| {
            treat(self, Call { operation, path })
        })
    }

    fn treatments(&self) -> std::sync::MutexGuard<'_, Option<Treat>> {
        let treatments = self.shared.treatments.0.lock();
        treatments.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Treatment {
    /// Enters it into what was planned for the call.
    pub(super) fn enter<R>(self, plan: &mut Plan<R>) {
        match self {
            Self::Usual | Self::Late(_) => {}
            Self::Fails(kind) => plan.fails = Some(kind),
            Self::Unheard => {
                plan.fails = Some(RemoteErrorKind::Disconnected);
                plan.is_unheard = true;
            }
            Self::ReplyLost(kind) => plan.reply_lost = Some(kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::ManualClock,
        remote::{MadeName, Phase, Remote},
    };

    #[test]
    fn what_times_out_is_carried_out_at_the_wake_and_watched_until_then() {
        let server = MemoryRemote::new(Arc::new(ManualClock::new()));
        let name = MadeName::fresh(&RemotePath::root(), "x").unwrap();
        server.write_file(name.path(), b"content");
        let late = RemoteErrorKind::TimedOut(Phase::Reply);
        server.treat_calls(Some(Box::new(move |_, _| Treatment::Late(late))));
        let error = server.remove_file(name.permit()).unwrap_err();
        let watch = error.late().unwrap();
        assert!(!watch.is_over() && server.read_file(name.path()).is_some());
        assert_eq!(server.wake(), 1);
        assert!(watch.is_over() && server.read_file(name.path()).is_none());
    }
}
