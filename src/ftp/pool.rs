//! The sessions of one server: checked out one at a time, checked in for reuse, thrown away when in doubt.
//!
//! 1. *How many.* At most `connections_max`, and at most what the server has been seen to take ([`State::limit`]).
//! 2. *Metadata never waits for a copy.* Transfers take all sessions but one ([`Use`]).
//! 3. *Nobody waits for ever.* A wait for a session ends at the request's deadline, or when no transfer on the other sessions
//!    has made progress for as long ([`Progress`]).
//! 4. *Nobody is overtaken.* A session that comes free belongs to whoever has waited longest (`queue`), so that a transfer
//!    that gave it up for others does not take it back before they had it.
//! 5. *No lock across the network.* The state's lock is held to pick a session; opening and closing happen outside.
//! 6. *Guesses cost nobody anything.* They take sessions that are spare, before they begin ([`Sessions::for_guess`]).
//! 7. *What is idle gets warm*, soon and off everybody's way ([`Pool::warm_idle`]).

mod guard;
mod idle;
mod progress;
mod queue;
mod reserve;
mod shared;
mod state;
mod warming;

pub(super) use guard::{Guard, Slot};
pub(super) use queue::Use;

use std::{
    ops::Deref,
    sync::{Arc, Condvar, Mutex, PoisonError},
};

use self::{
    progress::Progress,
    shared::Pool,
    state::{Picked, Served, State},
};
use super::{
    background::{Background, Tend},
    deadline::Deadline,
    host::Host,
    next_data::Readiness,
    reply::Failure,
    session::Session,
};
use crate::remote::{Phase, RemoteError, RemoteErrorKind, RemotePath};

/// Where requests take their sessions: from the pool, and the first request of a guess the one that was reserved for it.
#[derive(Debug)]
pub(super) struct Sessions {
    pool: Arc<Pool>,
    /// Taken by the first request.
    reserved: Mutex<Option<Guard>>,
    is_guess: bool,
}

impl Deref for Sessions {
    type Target = Arc<Pool>;

    fn deref(&self) -> &Arc<Pool> {
        &self.pool
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        if let Some(guard) = self.take_reserved() {
            guard.check_in();
        }
    }
}

impl Sessions {
    /// A pool's, and its first session, checked out.
    pub(super) fn new(host: Arc<Host>, first: Session) -> (Self, Guard) {
        let limit = host.config.connections_max.max(1);
        let pool = Arc::new(Pool {
            host,
            state: Mutex::new(State::new(limit)),
            changed: Condvar::new(),
            progress: Progress::new(),
            background: Background::new(limit),
        });
        let weak = Arc::downgrade(&pool);
        pool.background.keep(move |what| {
            let pool: Arc<Pool> = weak.upgrade()?;
            Some(match what {
                Tend::Cold => pool.warm_idle(),
                Tend::All => pool.tend(),
            })
        });
        let guard = Guard::new(&pool, first, Use::Listing, pool.host.deadline(), true);
        let sessions = Self {
            pool,
            reserved: Mutex::default(),
            is_guess: false,
        };
        (sessions, guard)
    }

    /// Sessions for a guess at what will be wanted next. A guess must not wait for a session once it has begun, because a program
    /// may come to wait for what it brings, and would then wait behind others. So it has its session first: waits until one is
    /// spare, or opens one while there is room. `None` when there was none within the timeout.
    pub(super) fn for_guess(&self) -> Option<Self> {
        let reserved = self.pool.reserve()?;
        Some(Self {
            pool: Arc::clone(&self.pool),
            reserved: Mutex::new(Some(reserved)),
            is_guess: true,
        })
    }

    fn take_reserved(&self) -> Option<Guard> {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        reserved.take()
    }

    /// Takes a session, opens one, or waits for one: until the deadline, or longer while transfers on the others make progress.
    /// The guard's own deadline is moved as far.
    ///
    /// # Errors
    ///
    /// What keeps a session from being opened, or [`Phase::Session`] when none came free.
    pub(super) fn check_out(&self, wanted: Use, deadline: Deadline) -> Result<Guard, RemoteError> {
        if let Some(guard) = self.take_reserved() {
            return Ok(guard.assign(wanted, deadline));
        }
        loop {
            let (picked, deadline) = self.pick(wanted, deadline)?;
            match picked {
                Picked::Idle(mut session) => {
                    if wanted != Use::Command && session.next_data().readiness() < Readiness::Warm {
                        self.open_one_more();
                    }
                    return Ok(Guard::new(&self.pool, *session, wanted, deadline, false));
                }
                Picked::Slot => {
                    if let Some(guard) = self.open(wanted, deadline)? {
                        return Ok(guard);
                    }
                }
            }
        }
    }

    /// Opens a session even if idle ones are left: they may be as dead as the one that has just failed.
    pub(super) fn check_out_fresh(
        &self,
        wanted: Use,
        deadline: Deadline,
    ) -> Result<Guard, RemoteError> {
        drop(self.take_suspects());
        self.check_out(wanted, deadline)
    }

    /// Does `work`, which must not be repeated, on a session. When the connection broke, idle ones are not used again: they may be as dead.
    pub(super) fn once<T>(
        &self,
        wanted: Use,
        path: &RemotePath,
        work: impl FnOnce(Guard) -> Result<T, Failure>,
    ) -> Result<T, RemoteError> {
        let guard = self.check_out(wanted, self.host.deadline());
        let done = work(guard.map_err(|error| error.with_path(path))?);
        if done.as_ref().is_err_and(Failure::is_session_dead) {
            drop(self.take_suspects());
        }
        done.map_err(|failure| failure.into_error(path))
    }

    /// Does `work`, which is safe to repeat, on a session; once more on a fresh one when the connection broke.
    pub(super) fn with_session<T>(
        &self,
        wanted: Use,
        path: &RemotePath,
        work: impl Fn(Guard) -> Result<T, Failure>,
    ) -> Result<T, RemoteError> {
        let deadline = self.host.deadline();
        let named = |error: RemoteError| error.with_path(path);
        let guard = self.check_out(wanted, deadline).map_err(named)?;
        let deadline = guard.deadline();
        match work(guard) {
            Err(failure) if failure.is_disconnected() => {
                log::debug!("{path}: {failure:?}, once more on a fresh session");
                work(self.check_out_fresh(wanted, deadline).map_err(named)?)
            }
            other => other,
        }
        .map_err(|failure| failure.into_error(path))
    }

    /// Waits for its turn and takes what there is then. The deadline comes back as far as progress elsewhere has moved it.
    fn pick(&self, wanted: Use, deadline: Deadline) -> Result<(Picked, Deadline), RemoteError> {
        let mut deadline = deadline;
        // Closed when the lock is gone.
        let mut dead = Vec::new();
        let mut state = self.lock();
        let ticket = state.queue.enter(wanted);
        let picked = loop {
            if state.is_closed {
                break Err(RemoteErrorKind::Disconnected);
            }
            state.forget_old_limit(self.host.config.connections_max);
            match state.serve(ticket, wanted, &mut dead) {
                Served::Picked(picked) => break Ok(picked),
                Served::OpenAhead => {
                    drop(state);
                    self.hand_over(Box::new(Slot::new(Arc::clone(&self.pool))));
                    state = self.lock();
                    continue;
                }
                Served::Wait => {}
            }
            let Some(left) = deadline.remaining() else {
                break Err(RemoteErrorKind::TimedOut(Phase::Session));
            };
            let counted = usize::from(!self.is_guess);
            state.waiting += counted;
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            state.waiting -= counted;
            deadline = self.progress.extend(deadline, self.host.config.timeout);
        };
        state.queue.leave(ticket);
        drop(state);
        // Whoever stood behind may have a turn now, and then whoever guesses.
        self.changed.notify_all();
        picked
            .map(|picked| (picked, deadline))
            .map_err(|kind| RemoteError::new(kind, "session"))
    }
}
