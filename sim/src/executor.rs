//! [`Executor`], which runs futures in an order that follows from the seed.

use crate::Sim;
use crate::seam::in_executor;
use crate::world::End;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Runs futures on one thread, in an order that follows from the seed: also those of a
/// [`Driver`](linux_aio::Driver).
///
/// Make the executor before the driver, and the driver by
/// [`Driver::on_thread`](linux_aio::Driver::on_thread). The driver then starts no thread. The
/// executor does the thread's work between the tasks. When no task can run, time passes until the
/// next operation completes. A clone is another handle of the same executor. Drop drivers before
/// the last handle: nothing does their work afterwards.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Driver, op::{Fdsync, Write}};
/// use linux_aio_sim::{Executor, Faults, Sim};
/// use std::sync::Arc;
///
/// let sim = Sim::new(1, Faults::none());
/// let _entered = sim.enter();
/// let executor = Executor::new(&sim);
/// let driver = Driver::on_thread(8)?;
/// let file = Arc::new(sim.file("data"));
/// executor.block_on(async move {
///     let (result, _) = driver.perform(Write::new(file.clone(), vec![7; 512], 0)).await;
///     assert_eq!(result, Ok(512));
///     let (result, _) = driver.perform(Fdsync::new(file)).await;
///     assert_eq!(result, Ok(0));
/// });
/// assert_eq!(sim.read("data"), Some(vec![7; 512]));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Executor {
    inner: Rc<Inner>,
}

struct Inner {
    sim: Sim,
    /// `None` for a task that has ended, or that is being polled.
    tasks: RefCell<Vec<Option<Task>>>,
    alive: Cell<usize>,
    ready: Arc<Ready>,
}

/// The numbers of the tasks that can run.
#[derive(Default)]
struct Ready(Mutex<Vec<usize>>);

impl Ready {
    fn numbers(&self) -> MutexGuard<'_, Vec<usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, number: usize) {
        let mut numbers = self.numbers();
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
}

struct TaskWaker {
    number: usize,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.add(self.number);
    }
}

impl Executor {
    /// Makes an executor without tasks. Drivers that this simulation makes from now on leave the
    /// work of their threads to it.
    pub fn new(sim: &Sim) -> Self {
        sim.shared.expect_helpers(true);
        let (tasks, alive) = (RefCell::default(), Cell::new(0));
        let (sim, ready) = (sim.clone(), Arc::new(Ready::default()));
        Self { inner: Rc::new(Inner { sim, tasks, alive, ready }) }
    }

    /// Adds a task. It runs in [`run`](Self::run) and the other methods that wait.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let mut tasks = self.inner.tasks.borrow_mut();
        tasks.push(Some(Box::pin(future)));
        self.inner.alive.set(self.inner.alive.get() + 1);
        self.inner.ready.add(tasks.len() - 1);
    }

    /// Runs a future and all tasks until the future is ready, and returns its output.
    ///
    /// # Panics
    /// If the future waits for something that cannot come: no task can run and nothing is in
    /// flight.
    pub fn block_on<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        let output = Rc::new(Cell::new(None));
        let sender = Rc::clone(&output);
        self.spawn(async move { sender.set(Some(future.await)) });
        loop {
            if let Some(output) = output.take() {
                return output;
            }
            self.go_on_or_panic();
        }
    }

    /// Runs all tasks to their ends.
    ///
    /// # Panics
    /// If tasks wait for something that cannot come: no task can run and nothing is in flight.
    pub fn run(&self) {
        while self.inner.alive.get() > 0 {
            self.go_on_or_panic();
        }
    }

    /// Runs all tasks to their ends, or until the power fails after at most `most` steps: then the
    /// tasks are dropped where they are. Returns whether they have ended.
    ///
    /// # Panics
    /// If tasks wait for something that cannot come: no task can run and nothing is in flight.
    pub fn until_crash(&self, most: u64) -> bool {
        self.until(End::Crash, most)
    }

    /// Runs all tasks as [`until_crash`](Self::until_crash) does, with a [crash](Sim::crash) or a
    /// [kill](Sim::kill) at the end, whichever the seed says.
    ///
    /// # Panics
    /// If tasks wait for something that cannot come: no task can run and nothing is in flight.
    pub fn until_end(&self, most: u64) -> bool {
        let is_kill = self.inner.sim.below(2) == 0;
        self.until(if is_kill { End::Kill } else { End::Crash }, most)
    }

    fn until(&self, end: End, most: u64) -> bool {
        for _ in 0..self.inner.sim.below(most) {
            if self.inner.alive.get() == 0 {
                return true;
            }
            self.go_on_or_panic();
        }
        self.end(end);
        false
    }

    /// Ends the process: nothing that the futures do when they are dropped reaches the disk.
    fn end(&self, end: End) {
        let inner = &self.inner;
        inner.sim.end(end);
        inner.sim.shared.world().is_ending = true;
        let tasks = std::mem::take(&mut *inner.tasks.borrow_mut());
        inner.alive.set(0);
        drop(tasks);
        inner.ready.numbers().clear();
        inner.sim.shared.finish_helpers();
        inner.sim.shared.world().is_ending = false;
    }

    fn go_on_or_panic(&self) {
        let alive = self.inner.alive.get();
        assert!(
            self.go_on(),
            "linux-aio-sim: {alive} tasks wait, but no task can run and nothing is in flight. They \
             wait for one another, or for a driver that nobody serves: one that the end of its \
             Executor has stopped, or one with a reactor or a block_on of its own. Make it by \
             Driver::on_thread, after this Executor"
        );
    }

    /// Does one step. `false` if there is none.
    fn go_on(&self) -> bool {
        let inner = &self.inner;
        let count = inner.ready.numbers().len() as u64;
        if count > 0 {
            let chosen = inner.sim.below(count) as usize;
            let number = inner.ready.numbers().remove(chosen);
            self.poll(number);
            return true;
        }
        inner.sim.shared.go_on()
    }

    fn poll(&self, number: usize) {
        let inner = &self.inner;
        let task = inner.tasks.borrow_mut().get_mut(number).and_then(Option::take);
        let Some(mut task) = task else { return };
        let waker = Waker::from(Arc::new(TaskWaker { number, ready: Arc::clone(&inner.ready) }));
        let _entered = inner.sim.enter();
        let _polling = inner.sim.shared.polling();
        match in_executor(|| task.as_mut().poll(&mut Context::from_waker(&waker))) {
            Poll::Ready(()) => inner.alive.set(inner.alive.get() - 1),
            Poll::Pending => inner.tasks.borrow_mut()[number] = Some(task),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.get_mut().clear();
        // Drivers that have been dropped leave a context to be destroyed.
        self.sim.shared.finish_helpers();
        self.sim.shared.forget_helpers();
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").field("tasks", &self.inner.alive.get()).finish()
    }
}
