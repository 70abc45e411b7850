//! Which reads there are for which ranges.

use super::RangesOptions;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

/// A read, and the indices of the ranges that lie in it, in ascending order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) range: Range<u64>,
    pub(super) users: Vec<usize>,
}

/// Finds one read for each different range, or for several that the options allow to be one. No
/// range may end before it starts; those that are empty need no read.
pub(super) fn plan(ranges: &[Range<u64>], options: &RangesOptions) -> Vec<Planned> {
    let mut order: Vec<_> = (0..ranges.len()).filter(|&index| !ranges[index].is_empty()).collect();
    order.sort_by_key(|&index| (ranges[index].start, ranges[index].end, index));
    let mut reads: Vec<Planned> = Vec::new();
    for index in order {
        let range = &ranges[index];
        match reads.last_mut() {
            Some(last) if is_one(&last.range, range, options) => {
                last.range.end = last.range.end.max(range.end);
                last.users.push(index);
            }
            _ => reads.push(Planned { range: range.clone(), users: vec![index] }),
        }
    }
    for read in &mut reads {
        read.users.sort_unstable();
    }
    reads
}

/// Returns whether a range that does not start before a read may be a part of it.
fn is_one(read: &Range<u64>, range: &Range<u64>, options: &RangesOptions) -> bool {
    let Some(gap) = options.gap else { return read == range };
    let most = options.coalesced_len.min(options.memory_limit);
    range.start <= read.end.saturating_add(gap) && range.end.max(read.end) - read.start <= most
        || read == range
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Planned, RangesOptions, plan};
    use std::vec;

    fn planned(range: core::ops::Range<u64>, users: &[usize]) -> Planned {
        Planned { range, users: users.to_vec() }
    }

    /// Goal: unless they are asked to be, only equal ranges are one read.
    #[test]
    fn equal_ranges_are_one_read() {
        let ranges = [10..20, 0..10, 10..20, 5..5, 10..21, 15..20, 10..20];
        let expected = vec![
            planned(0..10, &[1]),
            planned(10..20, &[0, 2, 6]),
            planned(10..21, &[4]),
            planned(15..20, &[5]),
        ];
        assert_eq!(plan(&ranges, &RangesOptions::new()), expected);
    }

    /// Goal: neighbours are one read up to the gap and the length that are allowed, and no further.
    #[test]
    fn neighbours_are_one_read_within_the_limits() {
        let options = RangesOptions::new().coalesce(5, 40);
        let ranges = [100..110, 0..10, 15..20, 26..30, 31..40, 41..60, 42..43];
        let expected =
            vec![planned(0..20, &[1, 2]), planned(26..60, &[3, 4, 5, 6]), planned(100..110, &[0])];
        assert_eq!(plan(&ranges, &options), expected);
        let large = [0..50, 0..50, 50..60];
        let expected = vec![planned(0..50, &[0, 1]), planned(50..60, &[2])];
        assert_eq!(plan(&large, &options), expected);
    }
}
