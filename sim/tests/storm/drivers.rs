//! Both drivers, each with a way to run tasks.

use crate::futures::Held;
use linux_aio::{Driver, DriverStats, Errno, FileDriver, LocalDriver, Operation};
use linux_aio_sim::{Executor, Sim};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

pub(crate) type Performed<O> = Pin<Box<dyn Future<Output = Option<(Result<u32, Errno>, O)>>>>;

/// Does what this test asks of a driver.
pub(crate) trait Drives: FileDriver {
    type Runner;

    fn runner(sim: &Sim) -> Self::Runner;

    /// Makes a driver of a few slots, unless the kernel refuses the context.
    fn make() -> Option<Self>;

    /// Runs tasks to their ends.
    fn run(&self, runner: &Self::Runner, tasks: Vec<Held>);

    /// Performs an operation. `None` if it was given up at its deadline.
    fn start<O>(&self, op: O, time: Option<Duration>) -> Performed<O>
    where
        O: Operation + Send + 'static;

    fn close(self, time: Option<Duration>) -> Held;
    fn stats(&self) -> (DriverStats, usize);

    /// Asks for all that can be asked, and measures or not from now on.
    fn look(&self, on: bool);
}

macro_rules! drives {
    ($driver:ty, $runner:ty, $runner_of:expr, $make:expr, $run:expr) => {
        impl Drives for $driver {
            type Runner = $runner;

            fn runner(sim: &Sim) -> $runner {
                $runner_of(sim)
            }

            fn make() -> Option<Self> {
                $make.ok()
            }

            fn run(&self, runner: &$runner, tasks: Vec<Held>) {
                $run(self, runner, tasks);
            }

            fn start<O>(&self, op: O, time: Option<Duration>) -> Performed<O>
            where
                O: Operation + Send + 'static,
            {
                let future = self.perform(op);
                match time {
                    Some(time) => {
                        let future = future.timeout(time);
                        Box::pin(async { future.await.ok() })
                    }
                    None => Box::pin(async { Some(future.await) }),
                }
            }

            fn close(self, time: Option<Duration>) -> Held {
                match time {
                    Some(time) => {
                        let close = self.close_within(time);
                        Box::pin(async { drop(close.await) })
                    }
                    None => Box::pin(self.close()),
                }
            }

            fn stats(&self) -> (DriverStats, usize) {
                (self.stats(), self.outstanding())
            }

            fn look(&self, on: bool) {
                self.measure(on);
                let _ = (self.metrics(), self.overdue(Duration::ZERO), format!("{self:?}"));
            }
        }
    };
}

pub(crate) fn run_on_executor(_: &Driver, executor: &Executor, tasks: Vec<Held>) {
    tasks.into_iter().for_each(|task| executor.spawn(task));
    executor.run();
}

pub(crate) fn run_in_block_on(driver: &LocalDriver, (): &(), tasks: Vec<Held>) {
    driver.block_on(All(tasks.into_iter().map(|task| Some((task, Arc::default()))).collect()));
}

drives!(Driver, Executor, Executor::new, Driver::on_thread(4), run_on_executor);
drives!(LocalDriver, (), |_| (), LocalDriver::new(4), run_in_block_on);

/// Tasks of one thread, each of which is polled when its own waker was called.
pub(crate) struct All(Vec<Option<(Held, Arc<Woken>)>>);

pub(crate) struct Woken {
    is_woken: AtomicBool,
    parent: Mutex<Waker>,
}

impl Default for Woken {
    fn default() -> Self {
        let parent = Mutex::new(Waker::noop().clone());
        Self { is_woken: AtomicBool::new(true), parent }
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::Relaxed);
        let parent = self.parent.lock().expect("nothing panics under it").clone();
        parent.wake();
    }
}

impl Future for All {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        for slot in &mut self.0 {
            let Some((task, woken)) = slot else { continue };
            *woken.parent.lock().expect("nothing panics under it") = cx.waker().clone();
            if !woken.is_woken.swap(false, Ordering::Relaxed) {
                continue;
            }
            let waker = Arc::clone(woken).into();
            if task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                *slot = None;
            }
        }
        if self.0.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
    }
}
