//! The drivers that tests run on, each with its way to wait.

use super::hooks::ReactorCode;
use core::future::{Future, poll_fn};
use core::task::Poll;
use core::time::Duration;
use linux_aio::{
    CloseWithin, Driver, DriverStats, Errno, LocalClose, LocalDriver, LocalFuture, Metrics,
    OpFuture, Operation, Overdue, Unfinished, WithDeadline,
};
use smol::LocalExecutor;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

type Outcome<O> = (Result<u32, Errno>, O);
type InTime<O> = Result<Outcome<O>, linux_aio::TimedOut<O>>;

/// A driver, and how a program waits with it.
pub(crate) trait AnyDriver: Clone {
    type Performed<O: Operation + Send + 'static>: Future<Output = Outcome<O>> + Unpin + 'static;
    type Timed<O: Operation + Send + 'static>: Future<Output = InTime<O>> + Unpin + 'static;
    type CloseWithin: Future<Output = Result<(), Unfinished>> + Unpin;

    fn with_capacity(capacity: u32) -> Self;
    fn block_on<F: Future>(&self, future: F) -> F::Output;
    fn perform<O: Operation + Send + 'static>(&self, op: O) -> Self::Performed<O>;
    fn timeout<O>(&self, op: O, time: Duration) -> Self::Timed<O>
    where
        O: Operation + Send + 'static;
    fn deadline<O>(&self, op: O, at: Instant) -> Self::Timed<O>
    where
        O: Operation + Send + 'static;
    /// By a handle whose operations all have the deadline.
    fn by_default<O>(&self, op: O, time: Duration) -> Self::Timed<O>
    where
        O: Operation + Send + 'static;
    /// Gives an operation another deadline.
    fn instead<O>(timed: Self::Timed<O>, time: Duration) -> Self::Timed<O>
    where
        O: Operation + Send + 'static;
    fn close(self) -> impl Future<Output = ()>;
    fn close_within(self, time: Duration) -> Self::CloseWithin;
    fn overdue(&self, age: Duration) -> Vec<Overdue>;
    fn outstanding(&self) -> usize;
    fn stats(&self) -> DriverStats;
    fn measure(&self, on: bool);
    fn metrics(&self) -> Metrics;

    /// Waits, and has the driver do its work meanwhile.
    fn wait_until(&self, what: impl Fn() -> bool) {
        self.block_on(poll_fn(|cx| {
            if what() {
                return Poll::Ready(());
            }
            thread::yield_now();
            cx.waker().wake_by_ref();
            Poll::Pending
        }));
    }
}

/// A driver with a reactor.
#[derive(Clone)]
pub(crate) struct OnReactor(Driver);

/// A driver on a thread of its own.
#[derive(Clone)]
pub(crate) struct OnThread(pub(crate) Driver);

/// A local driver that runs in `block_on`.
#[derive(Clone)]
pub(crate) struct Local(LocalDriver);

/// A local driver that a task of an executor runs.
#[derive(Clone)]
pub(crate) struct Hosted(LocalDriver, Rc<LocalExecutor<'static>>);

macro_rules! any_driver {
    ($type:ident, $future:ident, $close:ty, $made:expr, $block_on:expr) => {
        impl AnyDriver for $type {
            type Performed<O: Operation + Send + 'static> = $future<O>;
            type Timed<O: Operation + Send + 'static> = WithDeadline<$future<O>>;
            type CloseWithin = $close;

            fn with_capacity(capacity: u32) -> Self {
                $made(capacity)
            }

            fn block_on<F: Future>(&self, future: F) -> F::Output {
                $block_on(self, future)
            }

            fn perform<O: Operation + Send + 'static>(&self, op: O) -> $future<O> {
                self.0.perform(op)
            }

            fn timeout<O>(&self, op: O, time: Duration) -> Self::Timed<O>
            where
                O: Operation + Send + 'static,
            {
                self.0.perform(op).timeout(time)
            }

            fn deadline<O>(&self, op: O, at: Instant) -> Self::Timed<O>
            where
                O: Operation + Send + 'static,
            {
                self.0.perform(op).deadline(at)
            }

            fn by_default<O>(&self, op: O, time: Duration) -> Self::Timed<O>
            where
                O: Operation + Send + 'static,
            {
                let driver = self.0.clone().with_deadline(time);
                driver.clone().perform(op)
            }

            fn instead<O>(timed: Self::Timed<O>, time: Duration) -> Self::Timed<O>
            where
                O: Operation + Send + 'static,
            {
                timed.timeout(time)
            }

            fn close(self) -> impl Future<Output = ()> {
                self.0.close()
            }

            fn close_within(self, time: Duration) -> $close {
                self.0.close_within(time)
            }

            fn overdue(&self, age: Duration) -> Vec<Overdue> {
                self.0.overdue(age)
            }

            fn outstanding(&self) -> usize {
                self.0.outstanding()
            }

            fn stats(&self) -> DriverStats {
                self.0.stats()
            }

            fn measure(&self, on: bool) {
                self.0.measure(on);
            }

            fn metrics(&self) -> Metrics {
                self.0.metrics()
            }
        }
    };
}

any_driver!(
    OnReactor,
    OpFuture,
    CloseWithin,
    |capacity| Self(Arc::<ReactorCode>::default().working_driver(capacity).0),
    |_: &Self, future| smol::block_on(future)
);
any_driver!(
    OnThread,
    OpFuture,
    CloseWithin,
    |capacity| Self(with_room(|| Driver::on_thread(capacity))),
    |_: &Self, future| smol::block_on(future)
);
any_driver!(
    Local,
    LocalFuture,
    CloseWithin<LocalClose>,
    |capacity| Self(with_room(|| LocalDriver::new(capacity))),
    |this: &Self, future| this.0.block_on(future)
);
any_driver!(
    Hosted,
    LocalFuture,
    CloseWithin<LocalClose>,
    |capacity| {
        let driver = with_room(|| LocalDriver::new(capacity));
        let executor = LocalExecutor::new();
        let code = Arc::<ReactorCode>::default();
        executor.spawn(driver.run_on(|fd| code.reactor(fd)).expect("a task")).detach();
        Self(driver, Rc::new(executor))
    },
    |this: &Self, future| smol::block_on(this.1.run(future))
);

/// Makes a driver. Another test may be using up `fs.aio-max-nr`.
fn with_room<D>(make: impl Fn() -> io::Result<D>) -> D {
    for _ in 0..300 {
        match make() {
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {
                thread::sleep(Duration::from_millis(100));
            }
            made => return made.expect("a driver"),
        }
    }
    panic!("fs.aio-max-nr has been used up for half a minute");
}

/// Makes four tests of each function: one for each driver.
macro_rules! on_each_driver {
    ($($test:ident),* $(,)?) => {
        $crate::each::on_each_driver! { @ on_reactor, OnReactor, $($test),* }
        $crate::each::on_each_driver! { @ on_thread, OnThread, $($test),* }
        $crate::each::on_each_driver! { @ local, Local, $($test),* }
        $crate::each::on_each_driver! { @ hosted, Hosted, $($test),* }
    };
    (@ $module:ident, $driver:ident, $($test:ident),*) => {
        mod $module {
            $(#[test]
            fn $test() {
                super::$test::<$crate::each::$driver>();
            })*
        }
    };
}
pub(crate) use on_each_driver;
