//! [`LocalMeter`], which takes the times of the operations of a local driver while it measures.
//!
//! While a driver measures it gives no credit, so each operation starts the slow way, where it is
//! marked. Its end is not the common one either, and its phase tells its future to say that it has
//! been polled. So an operation that is not measured pays nothing.

use super::entries::EntryRef;
use super::{Inner, LocalDriver};
use crate::Metrics;
use crate::clock;
use crate::driver::meter::Meter;
use crate::driver::overdue::{Facts, Submitted};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::time::Duration;
use std::time::Instant;

#[derive(Default)]
pub(super) struct LocalMeter(RefCell<Marks>);

#[derive(Default)]
struct Marks {
    meter: Meter,
    /// The number of operations that are measured at once has not been higher.
    count: usize,
    /// The marks below that are in use by no operation.
    vacant: Vec<usize>,
    /// Operations that have been queued since the last submit.
    queued: Vec<(usize, Facts)>,
}

impl LocalMeter {
    pub(super) fn turn(&self, on: bool) {
        self.0.borrow_mut().meter.turn(on);
    }

    pub(super) fn snapshot(&self) -> Metrics {
        self.0.borrow().meter.snapshot()
    }

    /// Marks an operation, whose future is polled first.
    pub(super) fn started(&self, entry: EntryRef) {
        let marks = &mut *self.0.borrow_mut();
        let mark = marks.vacant.pop().unwrap_or_else(|| {
            marks.count += 1;
            marks.count - 1
        });
        marks.meter.started(mark);
        entry.mark.set(mark);
        entry.stage.set(entry.stage.get().measured());
    }

    /// The operations that have been queued were submitted at that time, by a call that took this
    /// long.
    #[cold]
    pub(super) fn submitted(&self, at: Instant, took: Duration) {
        let marks = &mut *self.0.borrow_mut();
        for (mark, facts) in marks.queued.drain(..) {
            marks.meter.submits(mark, &Submitted { facts, at });
        }
        marks.meter.returned(at, took);
    }

    /// The `prepare` of an operation has panicked. It counts as a sync that was submitted and
    /// failed, as in a shared driver, which submits one in its place.
    #[cold]
    pub(super) fn panicked(&self, entry: EntryRef) {
        let marks = &mut *self.0.borrow_mut();
        let at = clock::now();
        marks.meter.submits(entry.mark.get(), &Submitted { facts: Facts::of_sync(), at });
        marks.meter.returned(at, Duration::ZERO);
        marks.meter.completed(entry.mark.get(), None);
    }

    /// An operation has ended, with this count if it has succeeded.
    #[cold]
    pub(super) fn completed(&self, entry: EntryRef, count: Option<u32>) {
        let meter = &mut self.0.borrow_mut().meter;
        meter.step();
        meter.completed(entry.mark.get(), count);
    }

    /// The future of an operation that has ended has been polled; or is gone.
    #[cold]
    pub(super) fn polled(&self, entry: EntryRef, gone: bool) {
        let marks = &mut *self.0.borrow_mut();
        let mark = entry.mark.get();
        if !gone {
            marks.meter.polled(mark);
        }
        marks.queued.retain(|&(queued, _)| queued != mark);
        marks.vacant.push(mark);
    }
}

impl LocalDriver {
    /// Begins to measure where operations spend their time, with counts of zero, or ends it.
    ///
    /// A driver does not measure unless this is called. While it does, it reads the clock some more
    /// times for each operation. It holds for all handles of the driver, and for operations whose
    /// futures are polled first after this call. Does nothing in a forked child.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use linux_aio::LocalDriver;
    ///
    /// let driver = LocalDriver::new(8)?;
    /// driver.measure(true);
    /// // Perform operations, and then:
    /// println!("{}", driver.metrics());
    /// # Ok(()) }
    /// ```
    pub fn measure(&self, on: bool) {
        if self.inner.check_process().is_ok() {
            self.inner.measures.set(on);
            self.inner.meter.turn(on);
            self.inner.revoke_credit();
        }
    }

    /// Returns where operations have spent their time since the driver was told to
    /// [`measure`](Self::measure). The counts stay when measuring ends.
    ///
    /// Returns empty metrics if the driver has not measured, and in a forked child.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{LocalDriver, Opcode, op::Read};
    /// use std::fs::File;
    ///
    /// let driver = LocalDriver::new(8)?;
    /// driver.measure(true);
    /// let zero = File::open("/dev/zero")?;
    /// driver.block_on(driver.perform(Read::new(zero, vec![1; 64], 0))).0?;
    /// let metrics = driver.metrics();
    /// assert_eq!(metrics.of(Opcode::PREAD).expect("one read").bytes, 64);
    /// # Ok(()) }
    /// ```
    pub fn metrics(&self) -> Metrics {
        match self.inner.check_process() {
            Ok(()) => self.inner.meter.snapshot(),
            Err(_) => Metrics::default(),
        }
    }
}

impl Inner {
    /// Notes what an operation that is measured asks for, when it has been queued.
    #[cold]
    pub(super) fn measure_queued(&self, entry: EntryRef) {
        let iocb = self.with_queue(|queue| queue.iocb_of(entry.tag.get())).flatten();
        if let Some(iocb) = iocb {
            self.meter.0.borrow_mut().queued.push((entry.mark.get(), Facts::of(&iocb)));
        }
    }
}
