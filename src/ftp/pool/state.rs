//! What the pool counts, and what there is for a request at a moment. Nothing here waits.

use std::{
    cmp::Reverse,
    time::{Duration, Instant},
};

use super::{
    queue::{Queue, Ticket, Use},
    warming::Warming,
};
use crate::ftp::{connect_error::ConnectError, next_data::Readiness, session::Session};

/// How long a limit that a refusal has taught is believed. 3 min: other clients of the server come and go.
const LIMIT_AGE_MAX: Duration = Duration::from_mins(3);

/// How many sessions guesses leave to those who come with requests of their own.
pub(super) const LEFT_MIN: usize = 1;

/// What the pool counts, and its idle sessions.
#[derive(Debug)]
pub(super) struct State {
    /// Idle sessions; the last was used last.
    pub(super) idle: Vec<Session>,
    /// All sessions there are: idle, checked out, being opened or closed.
    pub(super) open: usize,
    /// How many of them transfer something.
    pub(super) transfers: usize,
    /// How many are with the background, to come back in a moment.
    pub(super) recovering: usize,
    /// How many the background opens.
    pub(super) opening: usize,
    /// All who want one at this moment.
    pub(super) queue: Queue,
    /// How many of them wait for it, guesses not counted.
    pub(super) waiting: usize,
    /// How many the server takes, as far as known; never 0.
    pub(super) limit: usize,
    pub(super) warming: Warming,
    /// When a listing was asked for last.
    pub(super) listed: Option<Instant>,
    /// When a refusal taught that limit.
    pub(super) limited: Option<Instant>,
    pub(super) is_closed: bool,
}

/// How a guard's session is counted.
#[derive(Clone, Copy)]
pub(super) struct Held {
    pub(super) is_transfer: bool,
    pub(super) is_recovering: bool,
    pub(super) was_refreshed: bool,
}

impl State {
    /// One session, checked out; at most `limit` of them.
    pub(super) fn new(limit: usize) -> Self {
        Self {
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
        }
    }
}

/// What there is for a guess at a moment.
pub(super) enum Spare {
    /// A session.
    Idle(Box<Session>),
    /// The right to open one, already counted.
    Slot,
    /// Nothing yet.
    None,
}

/// What a request gets.
pub(super) enum Picked {
    /// A session.
    Idle(Box<Session>),
    /// The right to open one, already counted.
    Slot,
}

/// What there is for a request at a moment.
pub(super) enum Served {
    /// This.
    Picked(Picked),
    /// The background is to open a session in the slot just taken.
    OpenAhead,
    /// Nothing yet.
    Wait,
}

impl State {
    /// What there is for the holder of `ticket` at this moment. Idle sessions found dead go to `dead`.
    pub(super) fn serve(&mut self, ticket: Ticket, wanted: Use, dead: &mut Vec<Session>) -> Served {
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
        // A session that comes back in a moment is there sooner than a login. The next one will be wanted too.
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

    pub(super) fn release(&mut self, held: Held) {
        self.transfers -= usize::from(held.is_transfer);
        self.recovering -= usize::from(held.is_recovering);
    }

    pub(super) fn take_idle(&mut self, wanted: Use) -> Option<Session> {
        let idle = self.idle.iter_mut();
        let readiness: Vec<_> = idle
            .map(|session| session.next_data().readiness())
            .collect();
        let index = best(&readiness, wanted)?;
        Some(self.idle.remove(index))
    }

    /// Learns from a refused login beside `others` sessions. Whether there is another session to wait for.
    pub(super) fn learn_limit(&mut self, error: &ConnectError, others: usize) -> bool {
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

    pub(super) fn forget_old_limit(&mut self, most: usize) {
        if self.limited.is_some_and(|at| at.elapsed() > LIMIT_AGE_MAX) {
            self.limit = (self.limit + 1).min(most.max(1));
            self.limited = (self.limit < most).then(Instant::now);
        }
    }

    /// What is left when everybody who wants a session has one, and one more is free.
    pub(super) fn spare(&mut self, dead: &mut Vec<Session>) -> Spare {
        loop {
            let free = self.limit.saturating_sub(self.open);
            if self.idle.len() + free <= self.queue.len() + LEFT_MIN {
                return Spare::None;
            }
            let Some(mut session) = self.take_idle(Use::Listing) else {
                self.open += 1;
                return Spare::Slot;
            };
            if session.is_alive() {
                return Spare::Idle(Box::new(session));
            }
            dead.push(session);
            self.open -= 1;
        }
    }
}

/// Which of the idle sessions, in the order of their return, suits best: the one whose data connection has come furthest for data,
/// the least far for commands; of several the one used last. Of several that are being opened the first is there first.
fn best(idle: &[Readiness], wanted: Use) -> Option<usize> {
    let idle = idle.iter().enumerate();
    let (index, _) = match wanted {
        // The one that has just ended an upload: what settles the file brings its next data connection along.
        Use::Command => idle.rev().min_by_key(|(_, readiness)| **readiness),
        Use::Listing | Use::Transfer => idle.max_by_key(|(index, readiness)| {
            let begun = (**readiness == Readiness::Opening).then_some(Reverse(*index));
            (**readiness, begun)
        }),
    }?;
    Some(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Readiness::{Announced, Cold, Opening, Warm};

    #[test]
    fn data_takes_what_is_there_first_and_commands_what_is_missed_least() {
        for wanted in [Use::Listing, Use::Transfer] {
            assert_eq!(best(&[Warm, Warm, Opening], wanted), Some(1));
            assert_eq!(best(&[Cold, Opening, Opening, Announced], wanted), Some(1));
            assert_eq!(best(&[Cold, Cold], wanted), Some(1));
        }
        assert_eq!(best(&[Cold, Warm, Cold, Opening], Use::Command), Some(2));
        assert_eq!(best(&[], Use::Transfer), None);
    }
}
