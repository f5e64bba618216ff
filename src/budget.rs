//! Memory that many things take together, and that has a limit: listings, or spools.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// Lets go of one thing that is kept, for the sake of such a demand; false when there is none to let go of.
type Evict = dyn Fn(Demand) -> bool + Send + Sync;

/// Who wants memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// A program, which waits for it: the whole budget is there for it, and what is kept makes way.
    Program,
    /// A guess at what a program will want: half of the budget is, and only what is too old to be of use makes way.
    Guess,
}

/// How many bytes they may take, and how many they do take.
///
/// Memory is counted as it is taken, and judged afterwards ([`Budget::has_room`]): whoever takes it piece by piece asks after each.
pub struct Budget {
    bytes_max: usize,
    used: AtomicUsize,
    evict: Mutex<Option<Box<Evict>>>,
}

impl Budget {
    /// So many bytes, none of them taken.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes_max,
            used: AtomicUsize::new(0),
            evict: Mutex::default(),
        })
    }

    /// Calls `evict` when there is too little room.
    pub fn evict_by(&self, evict: impl Fn(Demand) -> bool + Send + Sync + 'static) {
        *self.evict.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(evict));
    }

    /// How many bytes there are.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// How many bytes are taken now.
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// Whether what is taken is no more than there is for such a demand.
    pub fn is_enough(&self, demand: Demand) -> bool {
        let there = match demand {
            Demand::Program => self.bytes_max,
            Demand::Guess => self.bytes_max / 2,
        };
        self.used() <= there
    }

    /// The same, after what is kept has made way if need be. Not to be called with a lock that `evict` takes.
    pub fn has_room(&self, demand: Demand) -> bool {
        while !self.is_enough(demand) {
            let evict = self.evict.lock().unwrap_or_else(PoisonError::into_inner);
            let has_evicted = evict.as_ref().is_some_and(|evict| evict(demand));
            if !has_evicted {
                return self.is_enough(demand);
            }
        }
        true
    }

    /// A charge of nothing yet.
    pub fn charge(self: &Arc<Self>) -> Charge {
        Charge {
            budget: Some(Arc::clone(self)),
            bytes: 0,
        }
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget")
            .field("bytes_max", &self.bytes_max)
            .field("used", &self.used())
            .finish_non_exhaustive()
    }
}

/// Bytes that something takes of a budget, given back when it is dropped. One without a budget counts nowhere.
#[derive(Debug, Default)]
pub struct Charge {
    budget: Option<Arc<Budget>>,
    bytes: usize,
}

impl Charge {
    /// From now on it is so many bytes.
    pub fn set(&mut self, bytes: usize) {
        if let Some(budget) = &self.budget {
            budget.used.fetch_add(bytes, Relaxed);
            budget.used.fetch_sub(self.bytes, Relaxed);
        }
        self.bytes = bytes;
    }

    /// The same, unless that is more than there is; whether it is.
    pub fn try_set(&mut self, bytes: usize) -> bool {
        let before = self.bytes;
        self.set(bytes);
        let budget = self.budget.as_ref();
        let is_enough = budget.is_none_or(|budget| budget.is_enough(Demand::Program));
        if !is_enough {
            self.set(before);
        }
        is_enough
    }

    /// How many bytes it is.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A charge of nothing on the same budget.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self {
            budget: self.budget.clone(),
            bytes: 0,
        }
    }
}

impl Clone for Charge {
    fn clone(&self) -> Self {
        let mut charge = self.beside();
        charge.set(self.bytes);
        charge
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_makes_room_and_guesses_get_half() {
        let budget = Budget::new(100);
        let mut one = budget.charge();
        one.set(50);
        assert!(budget.is_enough(Demand::Guess));
        let two = one.clone();
        assert_eq!((budget.used(), two.bytes()), (100, 50));
        assert!(budget.is_enough(Demand::Program) && !budget.is_enough(Demand::Guess));
        one.set(51);
        assert!(!budget.has_room(Demand::Program));
        one.set(0);
        assert!(!one.try_set(51) && one.bytes() == 0);
        assert!(one.try_set(50));
        one.set(51);
        drop(two);
        assert_eq!(budget.used(), 51);
        drop(one);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn kept_listings_make_way_one_by_one_until_there_is_room() {
        let budget = Budget::new(100);
        let mut asked = budget.charge();
        asked.set(90);
        let kept = Mutex::new(vec![budget.charge(), budget.charge(), budget.charge()]);
        for charge in &mut *kept.lock().unwrap() {
            charge.set(10);
        }
        budget.evict_by(move |_| kept.lock().unwrap().pop().is_some());
        assert!(budget.has_room(Demand::Program));
        assert_eq!(budget.used(), 100);
        assert!(!budget.has_room(Demand::Guess), "nothing is left to evict");
        assert_eq!(budget.used(), 90);
    }
}
