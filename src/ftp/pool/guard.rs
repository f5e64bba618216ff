//! What is taken out of the pool, each a guard: a session, or the right to open one.

use std::{net::TcpStream, sync::Arc, time::Instant};

use super::{queue::Use, shared::Pool, state::Held};
use crate::ftp::{
    background::Job, deadline::Deadline, next_data::Readiness, session::Session,
    shortcuts::Technique,
};

/// A checked-out session: dropped it is thrown away, checked in it is reused.
#[derive(Debug)]
pub(in crate::ftp) struct Guard {
    /// Only taken out by `check_in` and drop.
    session: Option<Session>,
    pool: Arc<Pool>,
    wanted: Use,
    deadline: Deadline,
    is_fresh: bool,
    /// Whether it is with the background.
    is_recovering: bool,
    /// Whether a data connection was opened for it, or could not be.
    was_refreshed: bool,
}

impl Guard {
    /// Takes charge of a session that `pool` counts.
    pub(super) fn new(
        pool: &Arc<Pool>,
        mut session: Session,
        wanted: Use,
        deadline: Deadline,
        is_fresh: bool,
    ) -> Self {
        session.set_deadline(deadline);
        session.has_answered = false;
        Self {
            session: Some(session),
            pool: Arc::clone(pool),
            wanted,
            deadline,
            is_fresh,
            is_recovering: false,
            was_refreshed: false,
        }
    }

    /// The same session for a request of another kind, with its own deadline.
    pub(super) fn assign(mut self, wanted: Use, deadline: Deadline) -> Self {
        let before = self.held();
        self.wanted = wanted;
        self.deadline = deadline;
        let mut state = self.pool.lock();
        state.transfers -= usize::from(before.is_transfer);
        state.transfers += usize::from(wanted == Use::Transfer);
        drop(state);
        self.session().set_deadline(deadline);
        self
    }

    fn held(&self) -> Held {
        Held {
            is_transfer: self.wanted == Use::Transfer,
            is_recovering: self.is_recovering,
            was_refreshed: self.was_refreshed,
        }
    }

    /// The session's control connection.
    pub(in crate::ftp) fn control_socket(&self) -> Arc<TcpStream> {
        let session = self
            .session
            .as_ref()
            .expect("a guard holds its session until it is consumed");
        session.control_socket()
    }

    /// The session.
    ///
    /// # Panics
    ///
    /// Never: it is there until the guard is consumed.
    pub(in crate::ftp) fn session(&mut self) -> &mut Session {
        self.session
            .as_mut()
            .expect("a guard holds its session until it is consumed")
    }

    /// The pool it came from.
    pub(in crate::ftp) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Whether its session's connections are protected.
    pub(in crate::ftp) fn is_protected(&self) -> bool {
        self.session.as_ref().is_some_and(Session::is_protected)
    }

    /// When the request that checked it out must have ended.
    pub(in crate::ftp) fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// Whether it was opened for this checking out.
    pub(in crate::ftp) fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// Gives the session back: usable ones are kept, others thrown away.
    pub(in crate::ftp) fn check_in(self) {
        self.check_in_as_of(Instant::now());
    }

    /// Gives the session back after commands: when they have asked for a data connection, as after a transfer.
    pub(in crate::ftp) fn check_in_after_commands(mut self) {
        if self.session().next_data().readiness() == Readiness::Asked {
            self.check_in_warm();
        } else {
            self.check_in();
        }
    }

    pub(super) fn check_in_as_of(mut self, used: Instant) {
        if self.session.as_ref().is_some_and(Session::is_usable)
            && let Some(mut session) = self.session.take()
        {
            session.used = used;
            self.pool.put_back(session, self.held());
        }
    }

    /// Gives the session back after a transfer, by way of the background, where its next data connection is begun. When
    /// somebody waits, at once: whoever takes it does what is left of that.
    pub(in crate::ftp) fn check_in_warm(mut self) {
        let is_worth_it = self.pool.is_warming()
            && !self.pool.is_wanted()
            && !self.session().next_data().is_warm();
        if !is_worth_it {
            return self.check_in();
        }
        self.enter_background();
        let pool = Arc::clone(&self.pool);
        pool.hand_over(Box::new(self));
    }

    /// Begins the next data connection; run in the background.
    pub(in crate::ftp) fn refresh(&mut self) {
        self.was_refreshed = true;
        let deadline = self.pool.host.deadline();
        let session = self.session();
        session.set_deadline(deadline);
        let outcome = session.warm_up();
        if outcome.is_ok() {
            let pool = Arc::clone(&self.pool);
            self.session()
                .shake_hands_early(|| pool.is_wanted() || pool.is_closed());
        }
        self.note_data_refused();
        let session = self.session();
        let Err(fault) = outcome else { return };
        log::debug!(
            "{}: opening a data connection ahead: {}",
            session.number(),
            fault.detail
        );
        // A session that broke says nothing about data connections.
        if session.is_usable() {
            let is_final = session.next_data().is_unavailable();
            let mut state = self.pool.lock();
            state.warming.failed(Instant::now(), is_final);
            if is_final {
                drop(state);
                // So that the login does not ask for one either.
                let capabilities = &self.pool.host.capabilities;
                capabilities.give_up(Technique::Prepare);
            }
        }
    }

    /// Takes down whether the data connection begun ahead was refused: that shows only when it is looked at.
    pub(in crate::ftp) fn note_data_refused(&mut self) {
        if self.session().next_data().take_refused() {
            self.pool.lock().warming.failed(Instant::now(), false);
        }
    }

    /// Takes down that a data connection begun ahead has served.
    pub(in crate::ftp) fn note_data_used(&self) {
        self.pool.lock().warming.succeeded();
    }

    /// Counts the session as one that comes back soon, no longer as one that transfers something.
    pub(in crate::ftp) fn enter_background(&mut self) {
        let held = self.held();
        self.wanted = Use::Command;
        self.is_recovering = true;
        let mut state = self.pool.lock();
        state.release(held);
        state.recovering += 1;
        drop(state);
        self.pool.changed.notify_all();
    }
}

impl Job for Guard {
    fn socket(&self) -> Option<Arc<TcpStream>> {
        Some(self.control_socket())
    }

    /// Begins its next data connection and checks it in. A request that waits for a session is served before that.
    fn run(mut self: Box<Self>) {
        if !self.pool.is_wanted() && self.pool.is_warming() {
            self.refresh();
        }
        self.check_in();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            log::debug!("{}: thrown away", session.number());
            self.pool.throw_away(session, self.held());
        }
    }
}

/// The right to open one session, taken by the background. Dropped, it is given back.
#[derive(Debug)]
pub(in crate::ftp) struct Slot {
    pool: Arc<Pool>,
    /// Whether the pool's count of open sessions still has this one for its slot alone.
    is_counted: bool,
}

impl Slot {
    /// Takes charge of a slot that `pool` counts.
    pub(super) fn new(pool: Arc<Pool>) -> Self {
        Self {
            pool,
            is_counted: true,
        }
    }

    /// Opens the session, its data connection too, and puts it with the idle ones.
    pub(in crate::ftp) fn open(mut self) {
        let opened = self.pool.host.open(self.pool.host.deadline());
        let mut state = self.pool.lock();
        match opened {
            Ok(session) => {
                drop(state);
                let pool = Arc::clone(&self.pool);
                // The session takes the count over: counted twice, be it for a moment, it would be over the limit and be closed.
                self.is_counted = false;
                drop(self);
                let deadline = pool.host.deadline();
                let mut guard = Guard::new(&pool, session, Use::Command, deadline, true);
                if pool.is_warming() && !pool.is_wanted() {
                    guard.refresh();
                }
                guard.check_in();
            }
            Err(error) => {
                log::debug!("opening another session ahead: {error}");
                let others = state.open - 1;
                state.learn_limit(&error, others);
            }
        }
    }
}

impl Job for Slot {
    fn socket(&self) -> Option<Arc<TcpStream>> {
        None
    }

    fn run(self: Box<Self>) {
        self.open();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        state.open -= usize::from(self.is_counted);
        state.opening -= 1;
        drop(state);
        self.pool.changed.notify_all();
    }
}
