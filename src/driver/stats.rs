//! [`DriverStats`].

use crate::Stats;
use core::time::Duration;
use std::time::Instant;

/// Counts what a [`Driver`](super::Driver) has done so far.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Driver, op::Read};
///
/// let driver = Driver::on_thread(32)?;
/// let zero = std::fs::File::open("/dev/zero")?;
/// pollster::block_on(driver.perform(Read::new(zero, vec![1; 64], 0))).0?;
/// let stats = driver.stats();
/// assert_eq!((stats.submitted, stats.completed), (1, 1));
/// println!("the longest io_submit took {:?}", stats.longest_submit);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DriverStats {
    /// Operations that futures have started.
    pub submitted: u64,
    /// Operations that have ended: completed, refused by the kernel, or dropped while they waited.
    pub completed: u64,
    /// Calls of `io_submit` that took longer than a millisecond: they held up a thread.
    pub blocked: u64,
    /// Calls of `io_submit` that left operations queued, for which the kernel had no resources
    /// (`EAGAIN`).
    pub stalled: u64,
    /// The longest call of `io_submit`.
    pub longest_submit: Duration,
    /// The calls and events of the driver's queue.
    pub queue: Stats,
}

/// A submit that takes longer has blocked.
const BLOCKED: Duration = Duration::from_millis(1);

/// Counts the submits of an event loop.
#[derive(Default)]
pub(crate) struct SubmitCounts {
    blocked: u64,
    stalled: u64,
    longest: Duration,
    /// A submit that takes longer changes `blocked` or `longest`.
    notable: Duration,
    /// The time of the last submit.
    last: Option<Instant>,
}

impl SubmitCounts {
    /// Notes a submit at `start` that took this time.
    #[inline(always)]
    pub(crate) fn took(&mut self, start: Instant, time: Duration) {
        self.last = Some(start);
        if time > self.notable {
            self.note(time);
        }
    }

    #[cold]
    fn note(&mut self, time: Duration) {
        self.blocked += u64::from(time > BLOCKED);
        self.longest = self.longest.max(time);
        self.notable = self.longest.min(BLOCKED);
    }

    /// Returns the time of the last submit.
    pub(crate) fn last(&self) -> Option<Instant> {
        self.last
    }

    /// Notes that a submit has left operations queued.
    pub(crate) fn stalled(&mut self) {
        self.stalled += 1;
    }

    /// Shows the counts, and those of the queue, in `stats`.
    pub(crate) fn show(&self, queue: Stats, stats: &mut DriverStats) {
        stats.queue = queue;
        stats.blocked = self.blocked;
        stats.stalled = self.stalled;
        stats.longest_submit = self.longest;
    }
}
