//! The sessions of one server: checked out one at a time, checked in for reuse, thrown away when in doubt.
//!
//! 1. *How many.* At most `connections_max`, and at most what the server has been seen to take ([`State::limit`]).
//! 2. *Metadata never waits for a copy.* Transfers take all sessions but one ([`Use`]).
//! 3. *Nobody waits for ever.* A wait for a session ends at the request's deadline, or when no transfer on the other sessions
//!    has made progress for as long ([`Progress`]).
//! 4. *Nobody is overtaken.* A session that comes free belongs to whoever has waited longest ([`Queue`]), so that a transfer
//!    that gave it up for others does not take it back before they had it.
//! 5. *No lock across the network.* The state's lock is held to pick a session; opening and closing happen outside.
//! 6. *Guesses cost nobody anything.* They take sessions that are spare, before they begin ([`Pool::ahead`]).
//! 7. *What is idle gets warm*, soon and off everybody's way ([`Pool::warm_idle`]).

mod ahead;
mod guard;
mod idle;
mod progress;
mod queue;
mod warming;

pub(super) use guard::{Guard, Slot};

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use self::{
    guard::Held,
    progress::Progress,
    queue::{Queue, Ticket},
    warming::Warming,
};
use super::{
    background::{Background, Job},
    connect::ConnectError,
    deadline::Deadline,
    login::Host,
    next_data::Readiness,
    reply::Failure,
    session::Session,
    shortcuts::Technique,
};
use crate::remote::{Phase, RemoteError, RemoteErrorKind, RemotePath};

/// How long a limit that a refusal has taught is believed. 3 min: other clients of the server come and go.
const LIMIT_AGE_MAX: Duration = Duration::from_mins(3);

/// What a session is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Commands without a data connection.
    Command,
    /// A listing: a data connection, for a moment.
    Listing,
    /// A transfer, which may take long.
    Transfer,
}

/// All sessions of one server.
#[derive(Debug)]
pub(super) struct Pool {
    /// The server.
    pub(super) host: Arc<Host>,
    state: Mutex<State>,
    changed: Condvar,
    progress: Progress,
    background: Background,
}

#[derive(Debug)]
struct State {
    /// Idle sessions; the last was used last.
    idle: Vec<Session>,
    /// All sessions there are: idle, checked out, being opened or closed.
    open: usize,
    /// How many of them transfer something.
    transfers: usize,
    /// How many are with the background, to come back in a moment.
    recovering: usize,
    /// How many the background opens.
    opening: usize,
    /// All who want one at this moment.
    queue: Queue,
    /// How many of them wait for it, guesses not counted.
    waiting: usize,
    /// How many the server takes, as far as known; never 0.
    limit: usize,
    warming: Warming,
    /// When a listing was asked for last.
    listed: Option<Instant>,
    /// When a refusal taught that limit.
    limited: Option<Instant>,
    is_closed: bool,
}

impl Pool {
    /// A pool, and its first session, checked out.
    pub(super) fn new(host: Arc<Host>, first: Session) -> (Arc<Self>, Guard) {
        let limit = host.config.connections_max.max(1);
        let pool = Arc::new(Self {
            host,
            state: Mutex::new(State {
                idle: Vec::new(),
                open: 1,
                transfers: 0,
                recovering: 0,
                opening: 0,
                queue: Queue::default(),
                waiting: 0,
                limit,
                warming: Warming::default(),
                listed: None,
                limited: None,
                is_closed: false,
            }),
            changed: Condvar::new(),
            progress: Progress::new(),
            background: Background::new(limit),
        });
        pool.background.keep(&pool);
        let guard = pool.guard(first, Use::Listing, pool.host.deadline(), true);
        (pool, guard)
    }

    /// Opens a session ahead here and now, for tests; how many are idle then.
    #[cfg(test)]
    pub(super) fn open_one_ahead(self: &Arc<Self>) -> usize {
        let mut state = self.lock();
        state.open += 1;
        state.opening += 1;
        drop(state);
        Slot::new(Arc::clone(self)).open();
        self.lock().idle.len()
    }

    /// Whether nobody holds a session, for tests.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        let state = self.lock();
        state.idle.len() == state.open
    }

    /// Whether nobody holds a session and a data connection is open ahead, for tests.
    #[cfg(test)]
    pub(super) fn is_idle_and_warm(&self) -> bool {
        self.is_idle() && self.lock().idle.iter_mut().any(Session::is_warm)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a session, opens one, or waits for one: until the deadline, or longer while transfers on the others make progress.
    /// The guard's own deadline is moved as far.
    ///
    /// # Errors
    ///
    /// What keeps a session from being opened, or [`Phase::Session`] when none came free.
    pub(super) fn check_out(
        self: &Arc<Self>,
        wanted: Use,
        deadline: Deadline,
    ) -> Result<Guard, RemoteError> {
        if let Some(guard) = ahead::take_reserved(self) {
            return Ok(guard.assign(wanted, deadline));
        }
        loop {
            let (picked, deadline) = self.pick(wanted, deadline)?;
            match picked {
                Picked::Idle(mut session) => {
                    if wanted != Use::Command && session.readiness() < Readiness::Warm {
                        self.open_one_more();
                    }
                    return Ok(self.guard(*session, wanted, deadline, false));
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
        self: &Arc<Self>,
        wanted: Use,
        deadline: Deadline,
    ) -> Result<Guard, RemoteError> {
        drop(self.take_suspects());
        self.check_out(wanted, deadline)
    }

    /// Takes all idle sessions out.
    fn take_suspects(&self) -> Vec<Session> {
        let mut state = self.lock();
        state.open -= state.idle.len();
        std::mem::take(&mut state.idle)
    }

    /// Does `work`, which must not be repeated, on a session. When the connection broke, idle ones are not used again: they may be as dead.
    pub(super) fn once<T>(
        self: &Arc<Self>,
        wanted: Use,
        path: &RemotePath,
        work: impl FnOnce(Guard) -> Result<T, Failure>,
    ) -> Result<T, RemoteError> {
        let guard = self.check_out(wanted, self.host.deadline());
        let done = work(guard.map_err(|error| error.with_path(path))?);
        if done.as_ref().is_err_and(Failure::is_disconnected) {
            drop(self.take_suspects());
        }
        done.map_err(|failure| failure.into_error(path))
    }

    /// Does `work`, which is safe to repeat, on a session; once more on a fresh one when the connection broke.
    pub(super) fn with_session<T>(
        self: &Arc<Self>,
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
    fn pick(
        self: &Arc<Self>,
        wanted: Use,
        deadline: Deadline,
    ) -> Result<(Picked, Deadline), RemoteError> {
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
                    self.background
                        .submit(Job::Open(Slot::new(Arc::clone(self))));
                    state = self.lock();
                    continue;
                }
                Served::Wait => {}
            }
            let Some(left) = deadline.remaining() else {
                break Err(RemoteErrorKind::TimedOut(Phase::Session));
            };
            let counted = usize::from(!ahead::is_ahead());
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

    /// Whether data connections are to be opened ahead at this moment.
    pub(super) fn is_warming(&self) -> bool {
        let may_be = self.host.capabilities.may(Technique::Prepare);
        may_be
            && self.host.config.network.active.is_none()
            && self.lock().warming.is_on(Instant::now())
    }

    /// Bytes have moved on some session.
    pub(super) fn note_progress(&self) {
        self.progress.note();
    }

    /// Opens a session in a slot already taken; `None` when the server takes no more and others will come free.
    fn open(
        self: &Arc<Self>,
        wanted: Use,
        deadline: Deadline,
    ) -> Result<Option<Guard>, RemoteError> {
        let opened = self.host.open(deadline);
        match opened {
            Ok(session) => Ok(Some(self.guard(session, wanted, deadline, true))),
            Err(error) => {
                let mut state = self.lock();
                state.open -= 1;
                state.transfers -= usize::from(wanted == Use::Transfer);
                let others = state.open;
                let may_wait = state.learn_limit(&error, others);
                drop(state);
                self.changed.notify_all();
                if may_wait {
                    Ok(None)
                } else {
                    Err(error.into())
                }
            }
        }
    }

    fn guard(
        self: &Arc<Self>,
        mut session: Session,
        wanted: Use,
        deadline: Deadline,
        is_fresh: bool,
    ) -> Guard {
        session.set_deadline(deadline);
        session.has_answered = false;
        Guard::new(session, Arc::clone(self), wanted, deadline, is_fresh)
    }

    /// Hands work to the background; `false` when the pool is closed and nothing more is done.
    pub(super) fn hand_over(self: &Arc<Self>, job: Job) {
        self.background.submit(job);
    }

    /// How many sessions there are.
    pub(super) fn count(&self) -> usize {
        self.lock().open
    }

    /// Whether somebody waits for a session.
    pub(super) fn is_wanted(&self) -> bool {
        self.lock().waiting > 0
    }

    /// Whether no session is given out any more.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Whether more wait than sessions come back in a moment: one transfer that is given up serves one of them, and the others
    /// need not end as well.
    pub(super) fn is_contended(&self) -> bool {
        let state = self.lock();
        state.waiting > state.recovering
    }

    /// How many more transfers there are sessions for, or room to open some, besides those that others wait for.
    pub(super) fn spare_transfers(&self) -> usize {
        let state = self.lock();
        let transfers_max = state.limit.saturating_sub(1).max(1);
        let closed = state.limit.saturating_sub(state.open);
        let sessions = (state.idle.len() + state.recovering + closed).saturating_sub(state.waiting);
        transfers_max.saturating_sub(state.transfers).min(sessions)
    }

    /// Closes the idle sessions with a good-bye, lets no new ones be opened, and ends the background's work.
    pub(super) fn close(&self) {
        let idle = {
            let mut state = self.lock();
            state.is_closed = true;
            let idle = std::mem::take(&mut state.idle);
            state.open -= idle.len();
            idle
        };
        self.changed.notify_all();
        std::thread::scope(|scope| {
            for session in idle {
                scope.spawn(|| session.quit());
            }
        });
        self.background.stop();
    }

    fn put_back(&self, mut session: Session, held: Held) {
        let is_to_warm = !held.was_refreshed && !session.is_warm();
        let mut state = self.lock();
        state.release(held);
        if state.is_closed || state.open > state.limit {
            state.open -= 1;
            drop(state);
            session.quit();
        } else {
            state.idle.push(session);
            drop(state);
            if is_to_warm {
                self.background.warm_soon();
            }
        }
        // All: whoever is woken alone may want a transfer, which may still have to wait.
        self.changed.notify_all();
    }

    fn throw_away(&self, session: Session, held: Held) {
        drop(session);
        let mut state = self.lock();
        state.open -= 1;
        state.release(held);
        drop(state);
        self.changed.notify_all();
    }
}

enum Picked {
    Idle(Box<Session>),
    Slot,
}

enum Served {
    Picked(Picked),
    /// The background is to open a session in the slot just taken.
    OpenAhead,
    Wait,
}

impl State {
    /// What there is for the holder of `ticket` at this moment. Idle sessions found dead go to `dead`.
    fn serve(&mut self, ticket: Ticket, wanted: Use, dead: &mut Vec<Session>) -> Served {
        let transfers_max = self.limit.saturating_sub(1).max(1);
        let transfers_left = transfers_max.saturating_sub(self.transfers);
        let Some(ahead) = self.queue.ahead(ticket, transfers_left) else {
            return Served::Wait;
        };
        while ahead < self.idle.len()
            && let Some(mut session) = self.take_idle(wanted)
        {
            if session.is_alive() {
                self.transfers += usize::from(wanted == Use::Transfer);
                return Served::Picked(Picked::Idle(Box::new(session)));
            }
            log::debug!("{}: closed by the server while idle", session.number());
            dead.push(session);
            self.open -= 1;
        }
        let free = self.limit.saturating_sub(self.open);
        let is_turn = ahead < self.idle.len() + self.recovering + free;
        if free == 0 || !is_turn {
            return Served::Wait;
        }
        // A session that comes back in a moment is there sooner than a log-in. The next one will be wanted too.
        let is_soon = self.recovering > self.waiting;
        if is_soon && self.opening > self.waiting {
            return Served::Wait;
        }
        self.open += 1;
        if is_soon {
            self.opening += 1;
            return Served::OpenAhead;
        }
        self.transfers += usize::from(wanted == Use::Transfer);
        Served::Picked(Picked::Slot)
    }

    fn release(&mut self, held: Held) {
        self.transfers -= usize::from(held.is_transfer);
        self.recovering -= usize::from(held.is_recovering);
    }

    fn take_idle(&mut self, wanted: Use) -> Option<Session> {
        let readiness: Vec<_> = self.idle.iter_mut().map(Session::readiness).collect();
        let index = idle::best(&readiness, wanted)?;
        Some(self.idle.remove(index))
    }

    /// Learns from a refused log-in beside `others` sessions. Whether there is another session to wait for.
    fn learn_limit(&mut self, error: &ConnectError, others: usize) -> bool {
        if !error.is_limit() || others == 0 {
            return false;
        }
        if others < self.limit {
            log::info!("the server takes {others} sessions, no more: {error}");
            self.limit = others;
        }
        self.limited = Some(Instant::now());
        true
    }

    fn forget_old_limit(&mut self, most: usize) {
        if self.limited.is_some_and(|at| at.elapsed() > LIMIT_AGE_MAX) {
            self.limit = (self.limit + 1).min(most.max(1));
            self.limited = (self.limit < most).then(Instant::now);
        }
    }
}
