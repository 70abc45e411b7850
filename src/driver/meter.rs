//! [`Meter`], which takes the times of operations while a driver measures.
//!
//! The meter of a shared driver lives behind the lock of the [`State`](super::state::State), which
//! is held at each event anyway. It reads the clock twice for each operation, and twice for each
//! step and submit. `local/meter.rs` has that of a local driver.
//! It allocates when it is turned on, and when there are more operations than ever before. While it
//! is off, each event costs one comparison and reads no clock.

use super::announced::transfers;
use super::metrics::{Counts, Metrics};
use super::overdue::Submitted;
use crate::clock;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;
use std::time::Instant;

#[derive(Default)]
pub(crate) struct Meter {
    on: Option<Box<Measured>>,
    /// The counts of the last time that it was on.
    past: Option<Box<Counts>>,
}

/// The counts, and the operations that are on their way.
struct Measured {
    counts: Box<Counts>,
    /// By the number of the operation. Those that were started before the meter was turned on have
    /// none.
    marks: Vec<Mark>,
    /// The numbers of operations whose call of `io_submit` has not returned.
    submitting: Vec<usize>,
    /// The time of the present step.
    step: Instant,
}

/// The facts about an operation.
#[derive(Clone, Copy, Default)]
struct Mark {
    /// The index of its kind.
    kind: Option<usize>,
    /// The beginning of the present stretch.
    since: Option<Instant>,
    /// Its first piece has been submitted, if it goes on.
    submitted: bool,
}

impl Meter {
    /// Turns the meter on, with counts of zero, or off.
    pub(crate) fn turn(&mut self, on: bool) {
        if on && self.on.is_none() {
            self.past = None;
            self.on = Some(Box::new(Measured {
                counts: Box::new(Counts::new()),
                marks: Vec::new(),
                submitting: Vec::new(),
                step: clock::now(),
            }));
        } else if !on {
            self.past = self.on.take().map(|measured| measured.counts).or(self.past.take());
        }
    }

    pub(crate) fn snapshot(&self) -> Metrics {
        let counts = self.on.as_ref().map(|measured| &measured.counts).or(self.past.as_ref());
        counts.map(|counts| counts.snapshot()).unwrap_or_default()
    }

    /// A future was polled first.
    #[inline(always)]
    pub(crate) fn started(&mut self, entry: usize) {
        if let Some(measured) = &mut self.on {
            measured.started(entry);
        }
    }

    /// Its operation is about to be submitted.
    #[cold]
    pub(crate) fn submits(&mut self, entry: usize, submitted: &Submitted) {
        if let Some(measured) = &mut self.on {
            measured.submits(entry, submitted);
        }
    }

    /// A step begins.
    #[inline(always)]
    pub(crate) fn step(&mut self) {
        if let Some(measured) = &mut self.on {
            measured.step = clock::now();
        }
    }

    /// The last call of `io_submit` took this long.
    #[inline(always)]
    pub(crate) fn returned(&mut self, at: Instant, took: Duration) {
        if let Some(measured) = &mut self.on {
            measured.returned(at, took);
        }
    }

    /// Returns whether times are taken. It saves callers to collect what they would tell.
    #[inline(always)]
    pub(crate) fn is_on(&self) -> bool {
        self.on.is_some()
    }

    /// An operation has completed, with this count if it has succeeded.
    #[inline(always)]
    pub(crate) fn completed(&mut self, entry: usize, count: Option<u32>) {
        if let Some(measured) = &mut self.on {
            measured.completed(entry, count);
        }
    }

    /// Its future has given the result.
    #[inline(always)]
    pub(crate) fn polled(&mut self, entry: usize) {
        if let Some(measured) = &mut self.on {
            measured.polled(entry);
        }
    }
}

impl Measured {
    #[cold]
    fn started(&mut self, entry: usize) {
        if self.marks.len() <= entry {
            self.marks.resize(entry + 1, Mark::default());
        }
        self.marks[entry] = Mark { kind: None, since: Some(clock::now()), submitted: false };
    }

    #[cold]
    fn submits(&mut self, entry: usize, submitted: &Submitted) {
        let Some(mark) = self.marks.get_mut(entry) else { return };
        mark.kind = Counts::index(submitted.facts.opcode);
        let goes_on = mem::replace(&mut mark.submitted, true);
        if let Some((kind, time)) = mark.stretch(submitted.at) {
            let kind = self.counts.at(kind);
            // The kernel has had the piece before.
            if goes_on { &mut kind.in_kernel } else { &mut kind.waiting }.record(time);
            self.submitting.push(entry);
        }
    }

    #[cold]
    fn returned(&mut self, at: Instant, took: Duration) {
        while let Some(entry) = self.submitting.pop() {
            if let Some((kind, took)) = self.marks[entry].stretch(at + took) {
                self.counts.at(kind).submitting.record(took);
            }
        }
    }

    #[cold]
    fn completed(&mut self, entry: usize, count: Option<u32>) {
        let Some(mark) = self.marks.get_mut(entry) else { return };
        let Some((index, took)) = mark.stretch(self.step) else { return };
        let kind = self.counts.at(index);
        kind.in_kernel.record(took);
        kind.operations += 1;
        match count {
            Some(count) if transfers(kind.opcode) => kind.bytes += u64::from(count),
            Some(_) => {}
            None => kind.failed += 1,
        }
    }

    #[cold]
    fn polled(&mut self, entry: usize) {
        let Some(mark) = self.marks.get_mut(entry) else { return };
        if let Some((kind, took)) = mark.stretch(clock::now()) {
            self.counts.at(kind).until_polled.record(took);
        }
        *mark = Mark::default();
    }
}

impl Mark {
    /// Ends the present stretch at `now`, and begins the next. Returns the kind and the time.
    fn stretch(&mut self, now: Instant) -> Option<(usize, Duration)> {
        let (kind, since) = (self.kind?, self.since?);
        self.since = Some(now);
        Some((kind, now.saturating_duration_since(since)))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::overdue::{Facts, Submitted};
    use super::Meter;
    use crate::{Opcode, clock};
    use core::time::Duration;

    /// Goal: an operation that goes on waits once, and each of its pieces is submitted and is in
    /// the kernel. Method: three pieces.
    #[test]
    fn an_operation_that_goes_on_waits_once() {
        let mut meter = Meter::default();
        meter.turn(true);
        meter.started(0);
        for _ in 0..3 {
            meter.submits(0, &Submitted { facts: Facts::of_sync(), at: clock::now() });
            meter.returned(clock::now(), Duration::ZERO);
        }
        meter.step();
        meter.completed(0, Some(0));
        meter.polled(0);
        let metrics = meter.snapshot();
        let syncs = metrics.of(Opcode::FSYNC).expect("one sync");
        let stretches = [&syncs.waiting, &syncs.submitting, &syncs.in_kernel, &syncs.until_polled];
        assert_eq!(stretches.map(|stretch| stretch.count()), [1, 3, 3, 1]);
        assert_eq!(syncs.operations, 1);
    }
}
