//! Who wants a session, in the order of arrival: nobody who comes later takes the one that another waits for.

use std::collections::VecDeque;

/// What a session is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ftp) enum Use {
    /// Commands without a data connection.
    Command,
    /// A listing: a data connection, for a moment.
    Listing,
    /// A transfer, which may take long.
    Transfer,
}

/// All who want a session at this moment. Each of them is a thread, and those are limited.
#[derive(Debug, Default)]
pub(super) struct Queue {
    members: VecDeque<(Ticket, Use)>,
    last: u64,
}

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket(u64);

impl Queue {
    /// Takes the last place.
    pub(super) fn enter(&mut self, wanted: Use) -> Ticket {
        self.last += 1;
        let ticket = Ticket(self.last);
        self.members.push_back((ticket, wanted));
        ticket
    }

    /// Gives a place up.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        self.members.retain(|(other, _)| *other != ticket);
    }

    /// How many want a session.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody wants one.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// How many sessions those before it may take, when `transfers_left` more transfers are allowed; `None` when it wants a
    /// transfer itself and none is left for it.
    pub(super) fn ahead(&self, ticket: Ticket, transfers_left: usize) -> Option<usize> {
        let mut transfers_left = transfers_left;
        let mut ahead = 0;
        for (other, wanted) in &self.members {
            let is_transfer = *wanted == Use::Transfer;
            let may_start = !is_transfer || transfers_left > 0;
            if *other == ticket {
                return may_start.then_some(ahead);
            }
            // A transfer that has to wait for another's end keeps no command from its turn.
            if may_start {
                ahead += 1;
                transfers_left -= usize::from(is_transfer);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_first_is_served_first_and_a_blocked_transfer_blocks_transfers_only() {
        let mut queue = Queue::default();
        let first = queue.enter(Use::Transfer);
        let second = queue.enter(Use::Transfer);
        let listing = queue.enter(Use::Listing);
        let ahead =
            |queue: &Queue, left| [first, second, listing].map(|ticket| queue.ahead(ticket, left));
        assert_eq!(ahead(&queue, 2), [Some(0), Some(1), Some(2)]);
        assert_eq!(ahead(&queue, 1), [Some(0), None, Some(1)]);
        assert_eq!(ahead(&queue, 0), [None, None, Some(0)]);
        queue.leave(first);
        assert_eq!(ahead(&queue, 1), [None, Some(0), Some(1)]);
        queue.leave(second);
        assert_eq!(queue.len(), 1);
        queue.leave(listing);
        assert!(queue.is_empty());
    }
}
