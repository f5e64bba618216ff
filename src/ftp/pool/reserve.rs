//! Sessions that are opened before a request waits for them, and those that guesses may take.

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use super::{
    guard::{Guard, Slot},
    queue::Use,
    shared::Pool,
    state::{LEFT_MIN, Spare},
};
use crate::{ftp::deadline::Deadline, remote::RemoteError};

/// How soon after a listing another one belongs to the same walk. 1 s: slower are people who look around.
const STEP_MAX: Duration = Duration::from_secs(1);

impl Pool {
    /// Opens a session ahead here and now, for tests; how many are idle then.
    #[cfg(test)]
    pub(in crate::ftp) fn open_one_ahead(self: &Arc<Self>) -> usize {
        let mut state = self.lock();
        state.open += 1;
        state.opening += 1;
        drop(state);
        Slot::new(Arc::clone(self)).open();
        self.lock().idle.len()
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

    /// Waits until a session is spare, or opens one; `None` when there was none within the timeout.
    pub(super) fn reserve(self: &Arc<Self>) -> Option<Guard> {
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

    /// Opens a session in a slot already taken; `None` when the server takes no more and others will come free.
    pub(super) fn open(
        self: &Arc<Self>,
        wanted: Use,
        deadline: Deadline,
    ) -> Result<Option<Guard>, RemoteError> {
        let opened = self.host.open(deadline);
        match opened {
            Ok(session) => Ok(Some(Guard::new(self, session, wanted, deadline, true))),
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
}
