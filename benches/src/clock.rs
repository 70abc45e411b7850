//! How long each operation took, or no time at all: a loop that is compiled without looking at the
//! clock is the one whose throughput is measured.

use hdrhistogram::Histogram;
use std::time::Instant;

/// Latencies in nanoseconds, to three digits.
pub type Latencies = Histogram<u64>;

/// An empty histogram.
pub fn latencies() -> Latencies {
    Histogram::new(3).expect("three digits can be had")
}

/// Adds what a task has collected, where that is wanted.
pub fn record_all(latencies: &mut Option<&mut Latencies>, collected: &[u64]) {
    if let Some(latencies) = latencies {
        collected.iter().for_each(|&nanos| record(latencies, nanos));
    }
}

/// Adds one.
pub fn record(latencies: &mut Latencies, nanos: u64) {
    latencies.record(nanos).expect("it grows as needed");
}

/// Learns when operations begin and end.
pub trait Clock {
    /// Whether it looks at a clock.
    const LOOKS: bool;
    /// Rides along with an operation.
    type Mark: Copy + Send + 'static;
    /// An operation begins.
    fn begin(&self) -> Self::Mark;
    /// One that began then has ended.
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
pub struct Watch<'l>(pub &'l mut Latencies);

impl Clock for Watch<'_> {
    const LOOKS: bool = true;
    type Mark = Instant;

    fn begin(&self) -> Instant {
        Instant::now()
    }

    fn end(&mut self, mark: Instant) {
        record(self.0, nanos_since(mark));
    }
}

/// Collects every latency: for one of many tasks, whose histograms would take longer to be made than their
/// operations take.
#[derive(Debug)]
pub struct Collect<'t>(pub &'t mut Vec<u64>);

impl Clock for Collect<'_> {
    const LOOKS: bool = true;
    type Mark = Instant;

    fn begin(&self) -> Instant {
        Instant::now()
    }

    fn end(&mut self, mark: Instant) {
        self.0.push(nanos_since(mark));
    }
}

fn nanos_since(mark: Instant) -> u64 {
    u64::try_from(mark.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
