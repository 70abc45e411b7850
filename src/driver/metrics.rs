//! [`Metrics`], where a driver's operations spend their time.

use crate::Opcode;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

/// The number of buckets of a histogram. The last begins at 2^38 ns, which is 275 seconds.
const BUCKETS: usize = 40;

/// The kinds of operations that are measured. The kernel refuses all others.
const KINDS: [(Opcode, &str); 7] = [
    (Opcode::PREAD, "pread"),
    (Opcode::PWRITE, "pwrite"),
    (Opcode::PREADV, "preadv"),
    (Opcode::PWRITEV, "pwritev"),
    (Opcode::FSYNC, "fsync"),
    (Opcode::FDSYNC, "fdsync"),
    (Opcode::POLL, "poll"),
];

/// Shows where the operations of a driver have spent their time, by kind of operation.
///
/// [`Driver::measure`](super::Driver::measure) begins to measure, and
/// [`Driver::metrics`](super::Driver::metrics) returns the present state. The `Display` form is a
/// table for people. [`for_each_value`](Self::for_each_value) exports named numbers.
///
/// Only operations are measured. What a [`File`](crate::File#direct-and-buffered-files) copies from
/// the page cache, or has a thread do, is none.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Driver, Opcode, op::Read};
/// use std::fs::File;
///
/// let driver = Driver::on_thread(8)?;
/// driver.measure(true);
/// let zero = File::open("/dev/zero")?;
/// pollster::block_on(driver.perform(Read::new(zero, vec![1; 64], 0))).0?;
///
/// let metrics = driver.metrics();
/// let reads = metrics.of(Opcode::PREAD).expect("one read");
/// assert_eq!((reads.operations, reads.bytes, reads.submitting.count()), (1, 64, 1));
/// println!("{metrics}");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    kinds: Vec<OperationMetrics>,
}

impl Metrics {
    /// Returns the kinds of operations that the driver has performed while it measured.
    pub fn kinds(&self) -> &[OperationMetrics] {
        &self.kinds
    }

    /// Returns the operations of one kind. Returns `None` if the driver has performed none.
    pub fn of(&self, opcode: Opcode) -> Option<&OperationMetrics> {
        self.kinds.iter().find(|kind| kind.opcode == opcode)
    }

    /// Calls `each` for every number, with its name and the kind of operation. Use it to hand the
    /// numbers to a registry. The feature `metrics` adds `export`, which does so for the crate
    /// `metrics`.
    ///
    /// Names that end in `_total` are counters. The others are in seconds: for each stretch of time
    /// the sum, the median, the 99th percentile and the maximum.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use linux_aio::{Driver, op::Read};
    /// # let driver = Driver::on_thread(8)?;
    /// # driver.measure(true);
    /// # let zero = std::fs::File::open("/dev/zero")?;
    /// # pollster::block_on(driver.perform(Read::new(zero, vec![1; 64], 0))).0?;
    /// driver.metrics().for_each_value(|name, operation, value| {
    ///     // linux_aio_bytes_total{operation="pread"} 64
    ///     println!("{name}{{operation=\"{operation}\"}} {value}");
    /// });
    /// # Ok(()) }
    /// ```
    pub fn for_each_value(&self, mut each: impl FnMut(&'static str, &'static str, f64)) {
        for kind in &self.kinds {
            let operation = name(kind.opcode);
            each("linux_aio_operations_total", operation, kind.operations as f64);
            each("linux_aio_failed_operations_total", operation, kind.failed as f64);
            each("linux_aio_bytes_total", operation, kind.bytes as f64);
            for ((_, histogram), names) in kind.stretches().into_iter().zip(NAMES) {
                let times = [
                    Duration::from_nanos(histogram.sum),
                    histogram.quantile(0.5),
                    histogram.quantile(0.99),
                    histogram.max(),
                ];
                for (name, time) in names.into_iter().zip(times) {
                    each(name, operation, time.as_secs_f64());
                }
            }
        }
    }
}

/// The names of the numbers of each stretch.
const NAMES: [[&str; 4]; 4] = [
    [
        "linux_aio_waiting_seconds_sum",
        "linux_aio_waiting_seconds_p50",
        "linux_aio_waiting_seconds_p99",
        "linux_aio_waiting_seconds_max",
    ],
    [
        "linux_aio_submitting_seconds_sum",
        "linux_aio_submitting_seconds_p50",
        "linux_aio_submitting_seconds_p99",
        "linux_aio_submitting_seconds_max",
    ],
    [
        "linux_aio_in_kernel_seconds_sum",
        "linux_aio_in_kernel_seconds_p50",
        "linux_aio_in_kernel_seconds_p99",
        "linux_aio_in_kernel_seconds_max",
    ],
    [
        "linux_aio_until_polled_seconds_sum",
        "linux_aio_until_polled_seconds_p50",
        "linux_aio_until_polled_seconds_p99",
        "linux_aio_until_polled_seconds_max",
    ],
];

pub(super) fn name(opcode: Opcode) -> &'static str {
    KINDS.iter().find(|kind| kind.0 == opcode).map_or("other", |kind| kind.1)
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, kind) in self.kinds.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            let OperationMetrics { operations, failed, bytes, .. } = kind;
            write!(
                f,
                "{:?}: {operations} operations, {failed} failed, {bytes} bytes",
                kind.opcode
            )?;
            for (name, histogram) in kind.stretches() {
                write!(f, "\n  {name:<13} {histogram}")?;
            }
        }
        Ok(())
    }
}

/// Counts the operations of one kind, and shows where they have spent their time.
///
/// The life of an operation has four stretches, each with a [`Histogram`]. Together they are the
/// time from the first poll of its future to the poll that gives the result. An operation that goes
/// on, such as [`op::Whole`](crate::op::Whole), is submitted and in the kernel once for each piece.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Driver, Opcode, op::Read};
///
/// let driver = Driver::on_thread(8)?;
/// driver.measure(true);
/// let zero = std::fs::File::open("/dev/zero")?;
/// pollster::block_on(driver.perform(Read::new(zero, vec![1; 64], 0))).0?;
///
/// let metrics = driver.metrics();
/// let reads = metrics.of(Opcode::PREAD).expect("one read");
/// assert_eq!((reads.operations, reads.failed, reads.bytes), (1, 0, 64));
/// println!("half of the reads were in the kernel for {:?}", reads.in_kernel.quantile(0.5));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OperationMetrics {
    /// The kind of operation.
    pub opcode: Opcode,
    /// Operations that have completed.
    pub operations: u64,
    /// Operations that have completed with an errno. They are among
    /// [`operations`](Self::operations).
    pub failed: u64,
    /// Bytes that were read or written. 0 for a sync and a POLL.
    pub bytes: u64,
    /// From the first poll to the call of `io_submit`: waiting for a slot, and for the batch.
    pub waiting: Histogram,
    /// The call of `io_submit`. It includes the I/O that the kernel does inside of the call.
    pub submitting: Histogram,
    /// From the return of `io_submit` until the driver has seen the completion.
    pub in_kernel: Histogram,
    /// From the completion until the task has polled the future. Futures that are dropped are not
    /// counted.
    pub until_polled: Histogram,
}

impl OperationMetrics {
    fn new(opcode: Opcode) -> Self {
        let [waiting, submitting, in_kernel, until_polled] = [const { Histogram::new() }; 4];
        Self {
            opcode,
            operations: 0,
            failed: 0,
            bytes: 0,
            waiting,
            submitting,
            in_kernel,
            until_polled,
        }
    }

    fn stretches(&self) -> [(&'static str, &Histogram); 4] {
        [
            ("waiting", &self.waiting),
            ("submitting", &self.submitting),
            ("in the kernel", &self.in_kernel),
            ("until polled", &self.until_polled),
        ]
    }
}

/// Counts times in buckets, each twice as wide as the one before.
///
/// A bucket ends at a power of two of nanoseconds. So a [`quantile`](Self::quantile) is exact to a
/// factor of two. Counts, sum and maximum are exact.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use linux_aio::{Driver, Opcode, op::Read};
/// # let driver = Driver::on_thread(8)?;
/// # driver.measure(true);
/// # let zero = std::fs::File::open("/dev/zero")?;
/// # pollster::block_on(driver.perform(Read::new(zero, vec![1; 64], 0))).0?;
/// let metrics = driver.metrics();
/// let histogram = &metrics.of(Opcode::PREAD).expect("one read").submitting;
/// assert!(histogram.mean() <= histogram.max());
/// for (below, count) in histogram.buckets().filter(|bucket| bucket.1 > 0) {
///     println!("{count} took less than {below:?}");
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BUCKETS],
    /// In nanoseconds, as is `max`.
    sum: u64,
    max: u64,
}

impl Histogram {
    const fn new() -> Self {
        Self { buckets: [0; BUCKETS], sum: 0, max: 0 }
    }

    pub(super) fn record(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - nanos.leading_zeros()) as usize;
        self.buckets[bucket.min(BUCKETS - 1)] += 1;
        self.sum = self.sum.saturating_add(nanos);
        self.max = self.max.max(nanos);
    }

    /// Returns the number of times that were recorded.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Returns the sum of all times.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum)
    }

    /// Returns the mean. Returns zero if there is no time.
    pub fn mean(&self) -> Duration {
        Duration::from_nanos(self.sum.checked_div(self.count()).unwrap_or(0))
    }

    /// Returns the longest time.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// Returns a time that a share of `quantile` of all times does not exceed: 0.5 for the median,
    /// 0.99 for the 99th percentile. It is at most twice the exact one. Returns zero if there is no
    /// time.
    pub fn quantile(&self, quantile: f64) -> Duration {
        let wanted = (self.count() as f64 * quantile).ceil() as u64;
        let mut seen = 0;
        for (end, count) in self.buckets() {
            seen += count;
            if seen >= wanted {
                return end.min(self.max());
            }
        }
        self.max()
    }

    /// Returns the buckets, the shortest times first: the time that all of its times are below, and
    /// their number. The last bucket has no end, which is [`Duration::MAX`].
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        let end = |index| match index {
            index if index + 1 == BUCKETS => Duration::MAX,
            index => Duration::from_nanos(1u64 << index),
        };
        self.buckets.iter().enumerate().map(move |(index, &count)| (end(index), count))
    }
}

impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mean, max) = (self.mean(), self.max());
        let [median, p99] = [0.5, 0.99].map(|quantile| self.quantile(quantile));
        write!(f, "mean {mean:?}, median {median:?}, p99 {p99:?}, max {max:?}")
    }
}

/// Counts of all kinds, at the indexes of [`KINDS`].
pub(super) struct Counts([OperationMetrics; KINDS.len()]);

impl Counts {
    pub(super) fn new() -> Self {
        Self(KINDS.map(|(opcode, _)| OperationMetrics::new(opcode)))
    }

    /// Returns the index of a kind, if it is measured.
    pub(super) fn index(opcode: Opcode) -> Option<usize> {
        KINDS.iter().position(|kind| kind.0 == opcode)
    }

    pub(super) fn at(&mut self, index: usize) -> &mut OperationMetrics {
        &mut self.0[index]
    }

    pub(super) fn snapshot(&self) -> Metrics {
        let seen = |kind: &&OperationMetrics| kind.waiting.count() > 0;
        Metrics { kinds: self.0.iter().filter(seen).cloned().collect() }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{BUCKETS, Histogram};
    use core::time::Duration;

    /// Goal: each time is in the bucket whose end is above it, at the borders, too. Method: powers
    /// of two, and their neighbours, which a bucket of `buckets` must enclose.
    #[test]
    fn each_time_is_below_the_end_of_its_bucket() {
        for power in 0..64 {
            for nanos in [(1u64 << power) - 1, 1 << power, (1 << power) + 1] {
                let mut histogram = Histogram::new();
                let time = Duration::from_nanos(nanos);
                histogram.record(time);
                let at = histogram.buckets().position(|bucket| bucket.1 == 1).expect("recorded");
                let (end, _) = histogram.buckets().nth(at).expect("it is there");
                assert!(time < end, "{nanos}");
                if at > 0 {
                    let (before, _) = histogram.buckets().nth(at - 1).expect("it is there");
                    assert!(time >= before, "{nanos}");
                }
                assert_eq!((histogram.count(), histogram.max(), histogram.mean()), (1, time, time));
                assert_eq!(histogram.quantile(0.5), time);
            }
        }
        let mut histogram = Histogram::new();
        histogram.record(Duration::MAX);
        assert_eq!(histogram.buckets().nth(BUCKETS - 1), Some((Duration::MAX, 1)));
    }

    #[test]
    fn quantiles_are_at_most_twice_the_exact_ones() {
        let mut histogram = Histogram::new();
        assert_eq!((histogram.quantile(0.5), histogram.mean()), (Duration::ZERO, Duration::ZERO));
        (1..=1000).for_each(|micros| histogram.record(Duration::from_micros(micros)));
        for (quantile, exact) in [(0.01, 10), (0.5, 500), (0.99, 990), (1.0, 1000)] {
            let exact = Duration::from_micros(exact);
            let found = histogram.quantile(quantile);
            assert!(exact <= found && found <= 2 * exact, "{quantile}: {found:?}");
        }
    }
}
