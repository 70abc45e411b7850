//! The drivers that a file works with, for tests that run on each.

use core::future::Future;
use core::time::Duration;
use linux_aio::{Driver, DriverWithDeadline, FileDriver, LocalDriver, Operation};
use std::io;

/// A driver, and how a program waits with it.
pub(crate) trait AnyDriver: FileDriver {
    const NAME: &str;

    fn with_capacity(capacity: u32) -> io::Result<Self>;
    fn block_on<F: Future>(&self, future: F) -> F::Output;
    fn close(self) -> impl Future<Output = ()>;
    fn with_deadline(&self, time: Duration) -> DriverWithDeadline<Self>;
    fn start<O: Operation + Send + 'static>(&self, op: O) -> impl Future + Unpin;
}

impl AnyDriver for Driver {
    const NAME: &str = "Driver";

    fn with_capacity(capacity: u32) -> io::Result<Self> {
        Self::on_thread(capacity)
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        pollster::block_on(future)
    }

    fn start<O: Operation + Send + 'static>(&self, op: O) -> impl Future + Unpin {
        self.perform(op)
    }

    fn close(self) -> impl Future<Output = ()> {
        Self::close(self)
    }

    fn with_deadline(&self, time: Duration) -> DriverWithDeadline<Self> {
        Self::with_deadline(self.clone(), time)
    }
}

impl AnyDriver for LocalDriver {
    const NAME: &str = "LocalDriver";

    fn with_capacity(capacity: u32) -> io::Result<Self> {
        Self::new(capacity)
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        Self::block_on(self, future)
    }

    fn start<O: Operation + Send + 'static>(&self, op: O) -> impl Future + Unpin {
        self.perform(op)
    }

    fn close(self) -> impl Future<Output = ()> {
        Self::close(self)
    }

    fn with_deadline(&self, time: Duration) -> DriverWithDeadline<Self> {
        Self::with_deadline(self.clone(), time)
    }
}

/// Makes two tests of each function: one for each driver.
macro_rules! on_each_driver {
    ($($test:ident),* $(,)?) => {
        mod on_driver {
            $(#[test]
            fn $test() -> impl std::process::Termination {
                super::$test::<linux_aio::Driver>()
            })*
        }

        mod on_local_driver {
            $(#[test]
            fn $test() -> impl std::process::Termination {
                super::$test::<linux_aio::LocalDriver>()
            })*
        }
    };
}
pub(crate) use on_each_driver;
