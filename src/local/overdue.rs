//! Which operations the kernel has had for long, and since when.
//!
//! An operation does not know when it was submitted: to note that for each would cost every program
//! what few ask for. What an operation was asked for is in its iocb, in its slot. When it was
//! submitted is in [`Submits`], which has one time for each submit. Operations are submitted in the
//! order of their tickets, so the first submit whose last ticket is not below an operation's is the
//! operation's own.

use super::Inner;
use super::state::State;
use crate::clock;
use crate::driver::overdue::{Facts, Overdue, Submitted};
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::time::Duration;
use std::time::Instant;

/// The number of submits that are kept at least.
const FEWEST: usize = 32;

/// The submits that have left operations in the kernel: the last ticket of each, and its time.
#[derive(Default)]
pub(super) struct Submits(Vec<(u64, Instant)>);

impl Submits {
    /// Notes a submit that has left operations in the kernel, or in the queue for want of
    /// resources.
    pub(super) fn note(&mut self, at: Instant, state: &State) {
        let last = state.last_admitted();
        if self.0.last().is_some_and(|&(before, _)| before >= last) {
            // It was a retry.
            return;
        }
        // As many submits as there are slots can have operations in the kernel.
        if self.0.len() >= FEWEST.max(2 * state.capacity()) {
            self.forget_ended(state);
        }
        self.0.push((last, at));
    }

    /// Forgets the submits whose operations have all ended.
    #[cold]
    fn forget_ended(&mut self, state: &State) {
        let mut tickets: Vec<u64> =
            state.admitted_entries().map(|(_, entry)| entry.ticket).collect();
        tickets.sort_unstable();
        let mut before = 0;
        self.0.retain(|&(last, _)| {
            let up_to = tickets.partition_point(|&ticket| ticket <= last);
            core::mem::replace(&mut before, up_to) < up_to
        });
    }

    /// Returns when an operation was submitted. `None` if it belongs to a submit after the last
    /// that was noted.
    fn time_of(&self, ticket: u64) -> Option<Instant> {
        let at = self.0.partition_point(|&(last, _)| last < ticket);
        self.0.get(at).map(|&(_, time)| time)
    }
}

impl Inner {
    /// Lists the operations that were submitted so long ago, the oldest first.
    pub(super) fn overdue(&self, age: Duration) -> Vec<Overdue> {
        if self.check_process().is_err() {
            return Vec::new();
        }
        // Taken by a turn, if users' code calls this inside of one.
        let Ok(event_loop) = self.event_loop.try_borrow() else { return Vec::new() };
        let Some(queue) = &event_loop.queue else { return Vec::new() };
        let (now, state) = (clock::now(), self.state.borrow());
        let overdue = state.admitted_entries().filter_map(|(abandoned, entry)| {
            let facts = Facts::of(&queue.iocb(entry.noted?)?);
            let at = event_loop.submits.time_of(entry.ticket).or(event_loop.counts.last())?;
            let since = now.saturating_duration_since(at);
            (since >= age).then(|| Submitted { facts, at }.overdue(since, abandoned))
        });
        let mut overdue: Vec<_> = overdue.collect();
        overdue.sort_by_key(|operation| Reverse(operation.age));
        overdue
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Submits;
    use core::time::Duration;
    use std::time::Instant;

    /// Goal: each ticket has the time of the first submit that is not before it.
    #[test]
    fn a_ticket_has_the_time_of_its_submit() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let submits = Submits([(3, at(0)), (4, at(1)), (9, at(2))].into());
        let times = [1, 3, 4, 5, 9, 10].map(|ticket| submits.time_of(ticket));
        let expected = [Some(0), Some(0), Some(1), Some(2), Some(2), None];
        assert_eq!(times, expected.map(|seconds| seconds.map(at)));
    }
}
