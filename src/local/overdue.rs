//! Which operations the kernel has had for long, and since when.
//!
//! An operation does not know when it was submitted: to note that for each would cost every program
//! what few ask for. What an operation was asked for is in its iocb, in its slot. Its entry has the
//! number of its submit, and [`Submits`] the times of those that have left operations in the
//! kernel.

use super::entries::EntryRef;
use super::queued::Queued;
use super::stage::Phase;
use super::{Inner, LocalDriver};

use crate::clock;
use crate::driver::overdue::{Facts, Overdue, Submitted, late};
use crate::{Iocb, Queue};
use alloc::vec::Vec;
use core::time::Duration;
use std::time::Instant;

/// The number of submits that are kept at least.
const FEWEST: usize = 32;

/// The submits that have left operations in the kernel: the number of each, and its time.
#[derive(Default)]
pub(super) struct Submits(Vec<(u64, Instant)>);

impl Submits {
    /// Returns when a submit was. `None` if it was not noted.
    fn time_of(&self, batch: u64) -> Option<Instant> {
        let at = self.0.binary_search_by_key(&batch, |&(batch, _)| batch).ok()?;
        Some(self.0[at].1)
    }
}

/// Returns the entries whose operations were submitted and have not completed.
fn submitted(queue: &Queue<Queued>, batch: u64) -> impl Iterator<Item = (EntryRef, Iocb)> {
    queue.live().filter_map(move |(op, iocb)| {
        // SAFETY: The operation of a slot in use is there, and is not changed: the kernel has no
        // part in what is in this slot.
        let Queued(entry) = unsafe { &*op };
        entry.filter(|entry| entry.batch.get() < batch).map(|entry| (entry, iocb))
    })
}

impl LocalDriver {
    /// Lists the operations that the kernel has had for `age` or longer, the oldest first.
    ///
    /// It lists abandoned operations as well: those whose future was dropped or has passed its
    /// deadline. An operation that the kernel has had no resources for counts from its first
    /// submit. One that waits for a slot is not listed. Returns nothing in a forked child, and in
    /// code that the driver calls while it works: wakers, and the
    /// [`prepare`](crate::Operation::prepare) and the drop of operations.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use linux_aio::LocalDriver;
    /// use std::time::Duration;
    ///
    /// let driver = LocalDriver::new(8)?;
    /// for operation in driver.overdue(Duration::from_secs(10)) {
    ///     println!("late: {operation}");
    /// }
    /// # Ok(()) }
    /// ```
    pub fn overdue(&self, age: Duration) -> Vec<Overdue> {
        self.inner.overdue(age)
    }
}

impl Inner {
    /// Notes that the last submit has left operations in the kernel, or in the queue for want of
    /// resources.
    #[cold]
    pub(super) fn note_submit(&self, submits: &mut Submits) {
        let Some(at) = self.counts.borrow().last() else { return };
        let submits = &mut submits.0;
        // As many submits as there are slots can have operations in the kernel.
        if submits.len() >= FEWEST.max(2 * self.capacity) {
            if let Some(queue) = self.queue.get() {
                let mut batches: Vec<_> =
                    submitted(queue, u64::MAX).map(|(entry, _)| entry.batch.get()).collect();
                batches.sort_unstable();
                submits.retain(|(batch, _)| batches.binary_search(batch).is_ok());
            }
        }
        let batch = self.batch.get() - 1;
        if submits.last().is_none_or(|&(before, _)| before < batch) {
            submits.push((batch, at));
        }
    }

    /// Lists the operations that were submitted so long ago, the oldest first.
    pub(super) fn overdue(&self, age: Duration) -> Vec<Overdue> {
        if self.check_process().is_err() {
            return Vec::new();
        }
        // Taken by a turn, if users' code calls this inside of one.
        let Ok(event_loop) = self.event_loop.try_borrow() else { return Vec::new() };
        let Some(queue) = self.queue.get() else { return Vec::new() };
        let (now, last) = (clock::now(), self.counts.borrow().last());
        let submitted = submitted(queue, self.batch.get()).filter_map(|(entry, iocb)| {
            let at = event_loop.submits.time_of(entry.batch.get()).or(last)?;
            let abandoned = entry.phase() == Phase::ABANDONED;
            Some((Submitted { facts: Facts::of(&iocb), at }, abandoned))
        });
        late(submitted, age, now)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Submits;
    use core::time::Duration;
    use std::time::Instant;

    /// Goal: a submit that was noted has its time, and others have none.
    #[test]
    fn a_submit_has_its_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let submits = Submits([(3, at(0)), (4, at(1)), (9, at(2))].into());
        let times = [1, 3, 4, 5, 9, 10].map(|ticket| submits.time_of(ticket));
        let expected = [None, Some(0), Some(1), None, Some(2), None];
        assert_eq!(times, expected.map(|seconds| seconds.map(at)));
    }
}
