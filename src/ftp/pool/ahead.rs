//! Requests that nobody waits for yet: guesses at what will be wanted next.
//!
//! A guess must not wait for a session once it has begun, because a program may come to wait for what it brings, and would then
//! wait behind others. So it takes its session first ([`Pool::ahead`]): one that is spare, or a new one while there is room. The session
//! is kept with the thread, and the thread's next request gets it.

use std::{
    cell::{Cell, RefCell},
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use super::{
    guard::{Guard, Slot},
    queue::Use,
    shared::Pool,
    state::{LEFT_MIN, Spare},
};

/// How soon after a listing another one belongs to the same walk. 1 s: slower are people who look around.
const STEP_MAX: Duration = Duration::from_secs(1);

thread_local! {
    /// Whether this thread guesses.
    static IS_AHEAD: Cell<bool> = const { Cell::new(false) };
    /// The session for its next request, unless it was used.
    static RESERVED: RefCell<Option<Guard>> = const { RefCell::new(None) };
}

/// Whether this thread guesses.
pub(super) fn is_ahead() -> bool {
    IS_AHEAD.get()
}

/// The session of `pool` that this thread has reserved.
pub(super) fn take_reserved(pool: &Arc<Pool>) -> Option<Guard> {
    RESERVED.with_borrow_mut(|reserved| reserved.take_if(|guard| Arc::ptr_eq(guard.pool(), pool)))
}

impl Pool {
    /// Waits until a session is spare, or opens one, and does `work`, whose first request on this thread gets that session. False when
    /// none was to be had within the time-out; then `work` was not done.
    pub(in crate::ftp) fn ahead(self: &Arc<Self>, work: &mut dyn FnMut()) -> bool {
        let Some(guard) = self.reserve() else {
            return false;
        };
        RESERVED.set(Some(guard));
        IS_AHEAD.set(true);
        let _returned = Reservation;
        work();
        true
    }

    /// Sees to it that so many sessions are open, in the background and all at once, as far as guesses may go.
    pub(in crate::ftp) fn open_ahead(self: &Arc<Self>, count: usize) {
        self.open_missing(|limit| count.min(limit.saturating_sub(LEFT_MIN)));
    }

    /// A listing is asked for. Two in a row are the first steps of a walk, as a rule, or a program on its way to where it will
    /// work: the sessions that it will want are opened meanwhile.
    pub(in crate::ftp) fn note_listing(self: &Arc<Self>) {
        let now = Instant::now();
        let before = self.lock().listed.replace(now);
        if before.is_some_and(|before| now.duration_since(before) < STEP_MAX) {
            // With fewer nothing is guessed.
            self.open_missing(|limit| if limit > LEFT_MIN + 1 { limit } else { 0 });
        }
    }

    /// The sessions there are do not become warm as fast as they are used: one more is opened in the background, one at a time.
    pub(super) fn open_one_more(self: &Arc<Self>) {
        if !self.is_warming() {
            return;
        }
        let count = {
            let state = self.lock();
            state.open + usize::from(state.opening == 0)
        };
        self.open_ahead(count);
    }

    /// Opens what is missing of the number that `wanted` makes of the limit.
    fn open_missing(self: &Arc<Self>, wanted: impl FnOnce(usize) -> usize) {
        let missing = {
            let mut state = self.lock();
            let missing = wanted(state.limit).saturating_sub(state.open);
            state.open += missing;
            state.opening += missing;
            missing
        };
        for _ in 0..missing {
            self.hand_over(Box::new(Slot::new(Arc::clone(self))));
        }
    }

    fn reserve(self: &Arc<Self>) -> Option<Guard> {
        let deadline = self.host.deadline();
        // Closed when the lock is gone.
        let mut dead = Vec::new();
        let mut state = self.lock();
        while !state.is_closed {
            state.forget_old_limit(self.host.config.connections_max);
            match state.spare(&mut dead) {
                Spare::Idle(session) => {
                    drop(state);
                    return Some(Guard::new(self, *session, Use::Listing, deadline, false));
                }
                Spare::Slot => {
                    drop(state);
                    match self.open(Use::Listing, self.host.deadline()) {
                        Ok(Some(guard)) => return Some(guard),
                        Ok(None) => {}
                        Err(error) => {
                            log::debug!("a session for guesses: {error}");
                            return None;
                        }
                    }
                    state = self.lock();
                }
                Spare::None => {
                    let left = deadline.remaining()?;
                    state = self
                        .changed
                        .wait_timeout(state, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0;
                }
            }
        }
        None
    }
}

/// Ends a thread's guessing: what it has reserved and not used goes back.
struct Reservation;

impl Drop for Reservation {
    fn drop(&mut self) {
        IS_AHEAD.set(false);
        if let Some(guard) = RESERVED.take() {
            guard.check_in();
        }
    }
}
