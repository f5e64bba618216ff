//! A set of byte ranges: disjoint, sorted, merged where they touch.

use std::ops::Range;

/// Which bytes of a file something is true of. An empty range may be given anywhere and changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RangeSet(rangemap::RangeSet<u64>);

impl RangeSet {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes the set holds.
    pub(crate) fn bytes(&self) -> u64 {
        self.iter().map(|range| range.end - range.start).sum()
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = Range<u64>> + '_ {
        self.0.iter().cloned()
    }

    pub(crate) fn insert(&mut self, range: Range<u64>) {
        if !range.is_empty() {
            self.0.insert(range);
        }
    }

    pub(crate) fn remove(&mut self, range: Range<u64>) {
        if !range.is_empty() {
            self.0.remove(range);
        }
    }

    /// Adds all of `other`.
    pub(crate) fn merge(&mut self, other: &Self) {
        for range in other.iter() {
            self.insert(range);
        }
    }

    /// The part of `range` from its start on that is wholly inside or wholly outside the set, and which of both.
    pub(crate) fn run_at(&self, range: Range<u64>) -> (Range<u64>, bool) {
        match self.0.overlapping(&range).next() {
            Some(inside) if inside.start <= range.start => {
                (range.start..range.end.min(inside.end), true)
            }
            Some(next) => (range.start..next.start, false),
            None => (range, false),
        }
    }

    /// The parts of `range` that are not in the set.
    pub(crate) fn gaps(&self, range: &Range<u64>) -> Vec<Range<u64>> {
        self.0.gaps(range).collect()
    }

    /// Whether all of `range` is in the set.
    pub(crate) fn covers(&self, range: Range<u64>) -> bool {
        range.is_empty() || self.run_at(range.clone()) == (range, true)
    }

    /// The end of the run that begins at 0; 0 when byte 0 is not in the set.
    pub(crate) fn prefix_end(&self) -> u64 {
        self.0.get(&0).map_or(0, |range| range.end)
    }
}

impl FromIterator<Range<u64>> for RangeSet {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(ranges: I) -> Self {
        let mut set = Self::default();
        for range in ranges {
            set.insert(range);
        }
        set
    }
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::single_range_in_vec_init,
    reason = "test files fit into memory, and a set of one range is meant"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(ranges: &[Range<u64>]) -> RangeSet {
        let mut set = RangeSet::default();
        for range in ranges {
            set.insert(range.clone());
        }
        set
    }

    #[test]
    fn touching_ranges_become_one() {
        assert_eq!(
            set(&[0..4, 8..12, 4..8]).iter().collect::<Vec<_>>(),
            [0..12]
        );
        assert_eq!(
            set(&[0..4, 10..12, 2..11]).iter().collect::<Vec<_>>(),
            [0..12]
        );
    }

    #[test]
    fn removing_the_middle_leaves_both_ends() {
        let mut ranges = set(&[0..10]);
        ranges.remove(3..6);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [0..3, 6..10]);
        assert_eq!(ranges.gaps(&(0..12)), [3..6, 10..12]);
        assert_eq!(ranges.prefix_end(), 3);
    }

    #[test]
    fn an_empty_range_changes_nothing_and_is_in_every_set() {
        let mut ranges = set(&[2..4, 9..9]);
        ranges.insert(6..6);
        ranges.remove(3..3);
        assert_eq!(ranges, set(&[2..4]));
        for at in 0..6 {
            assert!(ranges.covers(at..at));
            assert!(ranges.gaps(&(at..at)).is_empty());
        }
    }

    proptest! {
        #[test]
        fn it_behaves_as_a_set_of_bytes(ops in prop::collection::vec((any::<bool>(), 0u64..40, 0u64..12), 0..30)) {
            let mut ranges = RangeSet::default();
            let mut bytes = std::collections::BTreeSet::new();
            for (is_insert, start, len) in ops {
                let range = start..start + len;
                if is_insert {
                    ranges.insert(range.clone());
                    bytes.extend(range);
                } else {
                    ranges.remove(range.clone());
                    bytes.retain(|byte| !range.contains(byte));
                }
                prop_assert_eq!(ranges.iter().flatten().collect::<Vec<_>>(), bytes.iter().copied().collect::<Vec<_>>());
                let gaps: Vec<u64> = ranges.gaps(&(0..60)).into_iter().flatten().collect();
                prop_assert_eq!(gaps, (0..60).filter(|byte| !bytes.contains(byte)).collect::<Vec<_>>());
                let all: Vec<_> = ranges.iter().collect();
                prop_assert!(all.windows(2).all(|pair| pair[0].end < pair[1].start));
            }
        }
    }
}
