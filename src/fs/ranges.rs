//! A set of byte ranges: disjoint, sorted, merged where they touch.

use std::{collections::BTreeMap, ops::Range};

/// Which bytes of a file something is true of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RangeSet {
    /// Start to end (exclusive). Ranges never touch or overlap, and none is empty.
    ranges: BTreeMap<u64, u64>,
}

impl RangeSet {
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many bytes the set holds.
    pub(crate) fn bytes(&self) -> u64 {
        self.iter().map(|range| range.end - range.start).sum()
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = Range<u64>> + '_ {
        self.ranges.iter().map(|(start, end)| *start..*end)
    }

    pub(crate) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        // Everything that begins at or before our end and ends at or after our start becomes part of us.
        while let Some((&near, &far)) = self.ranges.range(..=end).next_back() {
            if far < start {
                break;
            }
            start = start.min(near);
            end = end.max(far);
            self.ranges.remove(&near);
        }
        self.ranges.insert(start, end);
    }

    pub(crate) fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        while let Some((&near, &far)) = self.ranges.range(..range.end).next_back() {
            if far <= range.start {
                break;
            }
            self.ranges.remove(&near);
            if far > range.end {
                self.ranges.insert(range.end, far);
            }
            if near < range.start {
                self.ranges.insert(near, range.start);
            }
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
        let before = self.ranges.range(..=range.start).next_back();
        if let Some((_, &end)) = before.filter(|(_, end)| **end > range.start) {
            return (range.start..range.end.min(end), true);
        }
        let next = self
            .ranges
            .range(range.start..)
            .next()
            .map_or(range.end, |(start, _)| *start);
        (range.start..range.end.min(next), false)
    }

    /// The parts of `range` that are not in the set.
    pub(crate) fn gaps(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let (run, is_inside) = self.run_at(at..range.end);
            at = run.end;
            if !is_inside {
                gaps.push(run);
            }
        }
        gaps
    }

    /// Whether all of `range` is in the set.
    pub(crate) fn covers(&self, range: Range<u64>) -> bool {
        range.is_empty() || self.run_at(range.clone()) == (range, true)
    }

    /// The end of the run that begins at 0; 0 when byte 0 is not in the set.
    pub(crate) fn prefix_end(&self) -> u64 {
        self.ranges
            .first_key_value()
            .filter(|(start, _)| **start == 0)
            .map_or(0, |(_, end)| *end)
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
        assert_eq!(ranges.gaps(0..12), [3..6, 10..12]);
        assert_eq!(ranges.prefix_end(), 3);
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
                let gaps: Vec<u64> = ranges.gaps(0..60).into_iter().flatten().collect();
                prop_assert_eq!(gaps, (0..60).filter(|byte| !bytes.contains(byte)).collect::<Vec<_>>());
                let all: Vec<_> = ranges.iter().collect();
                prop_assert!(all.windows(2).all(|pair| pair[0].end < pair[1].start));
            }
        }
    }
}
