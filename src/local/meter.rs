//! [`LocalMeter`], which takes the times of the operations of a local driver while it measures.
//!
//! An operation that starts meanwhile is wrapped ([`Measured`]), and the wrapper sees the stretches
//! of its life. So the driver itself knows of no measuring, but for the time of a submit, and an
//! operation that is not measured pays nothing: its start looks at one word for all that is rare.

use crate::driver::held::{Erased, Held};
use crate::driver::meter::Meter;
use crate::driver::overdue::{Facts, Submitted};
use crate::driver::users_code::prepare;
use crate::{EventResult, Metrics, Operation, Prepared};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::mem;
use core::time::Duration;
use std::panic::resume_unwind;
use std::time::Instant;

#[derive(Default)]
pub(super) struct LocalMeter(RefCell<Inner>);

#[derive(Default)]
struct Inner {
    meter: Meter,
    /// The number of operations that are measured at once has not been higher.
    marks: usize,
    /// The marks below that are in use by no operation.
    vacant: Vec<usize>,
    /// Operations that have been prepared since the last submit.
    prepared: Vec<(usize, Facts)>,
}

impl LocalMeter {
    pub(super) fn turn(&self, on: bool) {
        self.0.borrow_mut().meter.turn(on);
    }

    pub(super) fn snapshot(&self) -> Metrics {
        self.0.borrow().meter.snapshot()
    }

    /// Begins to measure an operation, whose future is polled first.
    #[cold]
    pub(super) fn measure<O: Operation + 'static>(
        self: &Rc<Self>,
        op: Held<O>,
    ) -> Held<dyn Erased> {
        let inner = &mut *self.0.borrow_mut();
        let mark = inner.vacant.pop().unwrap_or_else(|| {
            inner.marks += 1;
            inner.marks - 1
        });
        inner.meter.started(mark);
        let meter = Rc::clone(self);
        Held::new(Measured { op: Some(op), mark, meter, completed: false }).erase()
    }

    /// The operations that have been prepared were submitted at that time, by a call that took this
    /// long.
    #[cold]
    pub(super) fn submitted(&self, at: Instant, took: Duration) {
        let inner = &mut *self.0.borrow_mut();
        for (mark, facts) in inner.prepared.drain(..) {
            inner.meter.submits(mark, &Submitted { facts, at });
        }
        inner.meter.returned(at, took);
    }
}

/// An operation that is measured.
struct Measured<O> {
    /// `None` once its future has it.
    op: Option<Held<O>>,
    mark: usize,
    meter: Rc<LocalMeter>,
    completed: bool,
}

impl<O> Measured<O> {
    fn op(&mut self) -> &mut Held<O> {
        self.op.as_mut().expect("the driver has it")
    }

    /// Notes the end, unless it has been noted, and the count if the operation has succeeded.
    fn completed(&mut self, count: Option<u32>) {
        if !mem::replace(&mut self.completed, true) {
            let meter = &mut self.meter.0.borrow_mut().meter;
            meter.step();
            meter.completed(self.mark, count);
        }
    }
}

/// Returns an operation that has ended, for its future.
#[inline(always)]
pub(super) fn downcast<O: 'static>(op: Held<dyn Erased>) -> Held<O> {
    op.try_downcast().unwrap_or_else(downcast_measured)
}

#[cold]
fn downcast_measured<O: 'static>(op: Held<dyn Erased>) -> Held<O> {
    let mut measured = op.downcast::<Measured<O>>().into_inner();
    measured.completed(None);
    measured.meter.0.borrow_mut().meter.polled(measured.mark);
    measured.op.take().expect("the driver had it")
}

impl<O: Operation> Operation for Measured<O> {
    fn prepare(&mut self) -> Prepared<'_> {
        let (mark, meter) = (self.mark, Rc::clone(&self.meter));
        let prepared = prepare(&mut **self.op());
        let facts = match &prepared {
            Ok(prepared) => Facts::of(prepared.iocb()),
            // The driver submits a sync in its place.
            Err(_) => Facts::of_sync(),
        };
        meter.0.borrow_mut().prepared.push((mark, facts));
        prepared.unwrap_or_else(|payload| resume_unwind(payload))
    }

    fn goes_on(&mut self, outcome: EventResult) -> bool {
        let goes_on = self.op().goes_on(outcome);
        if !goes_on {
            self.completed(outcome.result().ok());
        }
        goes_on
    }
}

impl<O> Drop for Measured<O> {
    fn drop(&mut self) {
        // An operation that has never been prepared counts as nothing.
        self.completed(None);
        let inner = &mut *self.meter.0.borrow_mut();
        inner.prepared.retain(|&(mark, _)| mark != self.mark);
        inner.vacant.push(self.mark);
    }
}
