//! What all sessions of one server share: the counts, who waits, and the background.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::{
    progress::Progress,
    state::{Held, State},
};
use crate::ftp::{
    background::{Background, Job},
    host::Host,
    session::Session,
    shortcuts::Technique,
};

/// All sessions of one server.
#[derive(Debug)]
pub(in crate::ftp) struct Pool {
    /// The server.
    pub(in crate::ftp) host: Arc<Host>,
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
    pub(super) progress: Progress,
    pub(super) background: Background,
}

impl Pool {
    /// Whether nobody holds a session, for tests.
    #[cfg(test)]
    pub(in crate::ftp) fn is_idle(&self) -> bool {
        let state = self.lock();
        state.idle.len() == state.open
    }

    /// Whether nobody holds a session and a data connection is open ahead, for tests.
    #[cfg(test)]
    pub(in crate::ftp) fn is_idle_and_warm(&self) -> bool {
        self.is_idle()
            && self
                .lock()
                .idle
                .iter_mut()
                .any(|session| session.next_data().is_warm())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all idle sessions out.
    pub(in crate::ftp) fn take_suspects(&self) -> Vec<Session> {
        let mut state = self.lock();
        state.open -= state.idle.len();
        std::mem::take(&mut state.idle)
    }

    /// Whether data connections are to be opened ahead at this moment.
    pub(in crate::ftp) fn is_warming(&self) -> bool {
        let may_be = self.host.capabilities.may(Technique::Prepare);
        may_be
            && self.host.config.network.active.is_none()
            && self.lock().warming.is_on(Instant::now())
    }

    /// Bytes have moved on some session.
    pub(in crate::ftp) fn note_progress(&self) {
        self.progress.note();
    }

    /// Hands work to the background; when the pool is closed, it is thrown away.
    pub(in crate::ftp) fn hand_over(&self, job: Box<dyn Job>) {
        self.background.submit(job);
    }

    /// How many sessions there are.
    pub(in crate::ftp) fn count(&self) -> usize {
        self.lock().open
    }

    /// Whether somebody waits for a session.
    pub(in crate::ftp) fn is_wanted(&self) -> bool {
        self.lock().waiting > 0
    }

    /// Whether no session is given out any more.
    pub(in crate::ftp) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Whether more wait than sessions come back in a moment: one transfer that is given up serves one of them, and the others
    /// need not end as well.
    pub(in crate::ftp) fn is_contended(&self) -> bool {
        let state = self.lock();
        state.waiting > state.recovering
    }

    /// How many more transfers there are sessions for, or room to open some, besides those that others wait for.
    pub(in crate::ftp) fn spare_transfers(&self) -> usize {
        let state = self.lock();
        let transfers_max = state.limit.saturating_sub(1).max(1);
        let closed = state.limit.saturating_sub(state.open);
        let sessions = (state.idle.len() + state.recovering + closed).saturating_sub(state.waiting);
        transfers_max.saturating_sub(state.transfers).min(sessions)
    }

    /// Closes the idle sessions with a good-bye, lets no new ones be opened, and ends the background's work.
    pub(in crate::ftp) fn close(&self) {
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

    pub(super) fn put_back(&self, mut session: Session, held: Held) {
        let is_to_warm = !held.was_refreshed && !session.next_data().is_warm();
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

    pub(super) fn throw_away(&self, session: Session, held: Held) {
        drop(session);
        let mut state = self.lock();
        state.open -= 1;
        state.release(held);
        drop(state);
        self.changed.notify_all();
    }
}
