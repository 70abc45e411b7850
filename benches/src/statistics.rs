//! Medians, and how sure they are.

use serde::{Deserialize, Serialize};

/// Holds a median, with the interval that holds the true one 95 times in 100.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The middle of what was measured.
    pub median: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
}

impl Estimate {
    /// Works it out by the ranks of a sample: nothing is assumed of how the values are distributed.
    pub fn of(sample: &[f64]) -> Self {
        let mut sorted = sample.to_vec();
        sorted.sort_by(f64::total_cmp);
        let outside = ranks_outside(sorted.len());
        Self {
            median: median_of_sorted(&sorted),
            low: sorted[outside],
            high: sorted[sorted.len() - 1 - outside],
        }
    }
}

/// Returns the middle value.
pub fn median(sample: &[f64]) -> f64 {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    median_of_sorted(&sorted)
}

fn median_of_sorted(sorted: &[f64]) -> f64 {
    let (below, above) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
    (below + above) / 2.0
}

/// Returns how many of `n` sorted values can be left out at each end so that the rest spans the
/// true median with 95 %. Each value is below it or above it like a coin's toss. Fewer than six
/// span it with less, all of them taken.
fn ranks_outside(n: usize) -> usize {
    let (mut outside, mut chance, mut tail) = (0, 0.5_f64.powi(n as i32), 0.0);
    loop {
        tail += chance;
        if tail > 0.025 || outside + 1 > (n - 1) / 2 {
            return outside.saturating_sub(1);
        }
        chance *= (n - outside) as f64 / (outside + 1) as f64;
        outside += 1;
    }
}

/// Writes an estimate as "0.71 (0.70 to 0.73)".
pub fn interval(estimate: Estimate) -> String {
    let Estimate { median, low, high } = estimate;
    format!("{median:.3} ({low:.3} to {high:.3})")
}

#[cfg(test)]
mod tests {
    use super::{Estimate, ranks_outside};

    /// Compares with tables of the sign test.
    #[test]
    fn the_interval_is_that_of_the_sign_test() {
        let expected = [(5, 0), (6, 0), (8, 0), (9, 1), (11, 1), (12, 2), (21, 5), (31, 9)];
        for (n, outside) in expected {
            assert_eq!(ranks_outside(n), outside, "of {n}");
        }
    }

    #[test]
    fn the_median_lies_in_the_middle() {
        let sample = [5.0, 1.0, 9.0, 3.0, 7.0, 2.0, 8.0, 4.0, 6.0];
        assert_eq!(Estimate::of(&sample), Estimate { median: 5.0, low: 2.0, high: 8.0 });
        assert_eq!(Estimate::of(&[1.0, 2.0]).median, 1.5);
    }
}
