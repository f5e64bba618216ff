//! Idle sessions: each gets its next data connection, keeps it fresh, is taken by whom it suits, and is closed in the end.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{guard::Guard, queue::Use, shared::Pool};
use crate::ftp::session::Session;

/// How long an idle session is kept up. 5 min: vsftpd and pyftpdlib close idle sessions then, and whoever comes back after
/// that can wait for one login.
const IDLE_MAX: Duration = Duration::from_mins(5);

impl Pool {
    /// Does what is to be done for idle sessions: those whose data connection is getting old, to be refreshed, after those idle
    /// for too long have been closed.
    pub(super) fn tend(self: &Arc<Self>) -> bool {
        // A mount that is killed has kept what it learnt.
        self.host.save_profile();
        let (old, stale) = {
            let mut state = self.lock();
            let now = Instant::now();
            let is_warming = state.warming.is_on(now);
            let mut old = Vec::new();
            let mut stale = Vec::new();
            for mut session in std::mem::take(&mut state.idle) {
                if now.duration_since(session.used) > IDLE_MAX || !session.is_alive() {
                    old.push(session);
                } else if session.next_data().is_lukewarm() && is_warming {
                    stale.push(session);
                } else {
                    state.idle.push(session);
                }
            }
            state.open -= old.len();
            (old, stale)
        };
        self.changed.notify_all();
        for session in stale {
            let used = session.used;
            let mut guard = Guard::new(self, session, Use::Command, self.host.deadline(), false);
            guard.refresh();
            guard.check_in_as_of(used);
        }
        old.into_iter().for_each(Session::quit);
        self.retry_batch();
        false
    }

    /// Sends commands in one write once more where silence was the reason for not doing so: it may have had another, such as a disk that
    /// woke up. Only on a session that nobody needs.
    fn retry_batch(self: &Arc<Self>) {
        let capabilities = &self.host.capabilities;
        let session = {
            let mut state = self.lock();
            if state.is_closed || !state.queue.is_empty() {
                return;
            }
            let Some(session) = state.idle.pop() else {
                return;
            };
            if !capabilities.is_batch_retried() {
                state.idle.push(session);
                return;
            }
            session
        };
        let used = session.used;
        let mut guard = Guard::new(self, session, Use::Command, self.host.deadline(), false);
        match guard.session().try_batch() {
            Ok(()) => {
                log::info!("the server takes commands together after all");
                capabilities.note_batch_answered();
            }
            Err(fault) => log::debug!("commands sent together: {}", fault.detail),
        }
        guard.check_in_as_of(used);
        self.changed.notify_all();
    }

    /// Has data connections opened for idle sessions that have none, unless somebody needs the sessions now. One session stays
    /// idle meanwhile, if there are several; it has its turn when the others are back. Whether any is left to do.
    pub(super) fn warm_idle(self: &Arc<Self>) -> bool {
        if !self.is_warming() {
            return false;
        }
        let (cold, is_left) = {
            let mut state = self.lock();
            if state.is_closed || !state.queue.is_empty() {
                return !state.is_closed;
            }
            let idle = std::mem::take(&mut state.idle);
            let mut cold = Vec::new();
            for mut session in idle {
                if session.next_data().is_warm() {
                    state.idle.push(session);
                } else {
                    cold.push(session);
                }
            }
            let is_left = state.idle.is_empty() && cold.len() > 1;
            if is_left {
                state.idle.extend(cold.pop());
            }
            (cold, is_left)
        };
        for session in cold {
            Guard::new(self, session, Use::Command, self.host.deadline(), false).check_in_warm();
        }
        is_left
    }
}
