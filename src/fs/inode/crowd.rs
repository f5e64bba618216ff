//! Which inodes the kernel should forget when it knows too many.

use std::collections::{HashSet, VecDeque};

use crate::fs::number::Ino;

/// The most names in doubt that wait for the kernel. 1000: each is a change that failed a moment ago.
pub(super) const DOUBTFUL_MAX: usize = 1_000;

/// How many are offered at once. 1024: the table is locked for a fraction of a millisecond.
const OFFER_MAX: usize = 1024;

/// How many more there must be before what was offered in vain is offered again: a tenth of what there should be.
const GROWTH: usize = 10;

/// All inodes in the order in which they became known; among them those that are gone since.
#[derive(Debug)]
pub(super) struct Crowd {
    known: VecDeque<Ino>,
    count_max: usize,
    /// With more than this many it is time to offer some.
    threshold: usize,
    /// How many of `known` were offered since there were too many.
    offered: usize,
}

impl Crowd {
    /// No inodes; more than `count_max` will be too many.
    pub(super) fn new(count_max: usize) -> Self {
        Self {
            known: VecDeque::new(),
            count_max,
            threshold: count_max,
            offered: 0,
        }
    }

    /// An inode became known.
    pub(super) fn enter(&mut self, ino: Ino, is_there: impl Fn(Ino) -> bool) {
        self.known.push_back(ino);
        // Those that came and went while there were never too many.
        if self.known.len() > 2 * (self.threshold + OFFER_MAX) {
            let mut seen = HashSet::new();
            self.known.retain(|ino| is_there(*ino) && seen.insert(*ino));
            self.offered = 0;
        }
    }

    /// Whether `count` are too many.
    pub(super) fn is_beyond(&self, count: usize) -> bool {
        count > self.threshold
    }

    /// The next that should be forgotten, of `count` that there are.
    pub(super) fn next(&mut self, count: usize, is_there: impl Fn(Ino) -> bool) -> Vec<Ino> {
        let mut offered = Vec::new();
        while offered.len() < OFFER_MAX && self.offered < self.known.len() {
            let Some(ino) = self.known.pop_front() else {
                break;
            };
            if is_there(ino) {
                // It stays known until it is gone.
                self.known.push_back(ino);
                self.offered += 1;
                offered.push(ino);
            }
        }
        if self.offered >= self.known.len() {
            self.offered = 0;
            self.threshold = self.count_max.max(count) + self.count_max / GROWTH;
        } else {
            self.threshold = self.count_max;
        }
        offered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_are_gone_leave_nothing_behind() {
        let mut crowd = Crowd::new(10);
        for ino in 0..100_000 {
            crowd.enter(Ino(ino % 50), |ino| ino < Ino(5));
        }
        assert!(crowd.known.len() <= 2 * (10 + OFFER_MAX) + 1);
        assert_eq!(crowd.next(20, |ino| ino == Ino(3))[0], Ino(3));
    }

    #[test]
    fn what_cannot_be_forgotten_is_offered_again_when_there_are_more() {
        let mut crowd = Crowd::new(10);
        (0..30).for_each(|ino| crowd.enter(Ino(ino), |_| true));
        assert!(crowd.is_beyond(30));
        assert_eq!(
            crowd.next(30, |_| true),
            (0..30).map(Ino).collect::<Vec<_>>()
        );
        assert!(!crowd.is_beyond(31));
        assert!(crowd.is_beyond(32));
    }
}
