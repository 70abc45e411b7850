//! The time that each operation took, or no time at all: a loop that is compiled without looking at
//! the clock is the one whose throughput is measured.

use hdrhistogram::Histogram;
use std::time::Instant;

/// Latencies in nanoseconds, to three digits.
pub type Latencies = Histogram<u64>;

/// Returns an empty histogram.
pub fn latencies() -> Latencies {
    Histogram::new(3).expect("three digits can be had")
}

/// Adds what was collected.
pub fn record_all(latencies: &mut Latencies, collected: &[u64]) {
    collected.iter().for_each(|&nanos| latencies.note(nanos));
}

/// Takes the latencies of a [`Watch`].
pub trait Notes {
    /// Adds one, in nanoseconds.
    fn note(&mut self, nanos: u64);
}

impl Notes for Latencies {
    fn note(&mut self, nanos: u64) {
        self.record(nanos).expect("it grows as needed");
    }
}

/// For one of many tasks, whose histograms would take longer to be made than their operations take.
impl Notes for Vec<u64> {
    fn note(&mut self, nanos: u64) {
        self.push(nanos);
    }
}

/// Learns when operations begin and end.
pub trait Clock {
    /// Says whether it looks at a clock.
    const LOOKS: bool;
    /// Rides along with an operation.
    type Mark: Copy + Send + 'static;
    /// Begins an operation.
    fn begin(&self) -> Self::Mark;
    /// Ends the operation that began then.
    fn end(&mut self, mark: Self::Mark);
}

/// Looks at no clock.
#[derive(Clone, Copy, Debug)]
pub struct NoClock;

impl Clock for NoClock {
    const LOOKS: bool = false;
    type Mark = ();
    #[inline]
    fn begin(&self) {}
    #[inline]
    fn end(&mut self, (): ()) {}
}

/// Writes every latency down.
#[derive(Debug)]
pub struct Watch<'n, N>(pub &'n mut N);

impl<N: Notes> Clock for Watch<'_, N> {
    const LOOKS: bool = true;
    type Mark = Instant;

    fn begin(&self) -> Instant {
        Instant::now()
    }

    fn end(&mut self, mark: Instant) {
        self.0.note(u64::try_from(mark.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
}
