//! The system calls of this process, as simulations answer them.
//!
//! `io_setup` belongs to the simulation that its thread has entered. Every other call belongs to
//! the simulation of its context, from whichever thread it comes. The rest is left to the running
//! kernel.

use crate::calls::Wait;
use crate::descriptor::{self, name_of_simulated};
use crate::files::name_of_path;
use crate::monitor::Killed;
use crate::shared::Shared;
use crate::watch;
use crate::world::{Stop, World, negative};
use linux_aio::Errno;
use linux_aio::abi::{__kernel_long_t, aio_context_t, io_event, iocb};
use linux_aio::sys::sim::{FileCall, Kernel, Step, install};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::panic::panic_any;
use std::process;
use std::ptr;
use std::sync::{Arc, LazyLock, Once, PoisonError, RwLock};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

/// The time that a thread waits, by the clock of the machine, for another thread to do something.
const PATIENCE: Duration = Duration::from_secs(10);

/// The contexts of all simulations. An entry keeps its simulation, and so the ring, until
/// `io_destroy`.
static CONTEXTS: LazyLock<RwLock<HashMap<aio_context_t, Entry>>> = LazyLock::new(RwLock::default);

#[derive(Clone)]
struct Entry {
    shared: Arc<Shared>,
    number: u64,
}

thread_local! {
    /// The simulations that this thread has entered, the present one last.
    static ENTERED: RefCell<Vec<Arc<Shared>>> = const { RefCell::new(Vec::new()) };
    /// This thread polls a task of an executor.
    static IN_EXECUTOR: Cell<bool> = const { Cell::new(false) };
}

/// Has this thread make its contexts in a simulation.
fn enter(shared: &Arc<Shared>) {
    static INSTALL: Once = Once::new();
    static KERNEL: &'static dyn Kernel = &Simulations;
    INSTALL.call_once(|| {
        assert!(install(&KERNEL), "another simulated kernel is installed in this process");
        watch::start();
    });
    ENTERED.with_borrow_mut(|entered| entered.push(Arc::clone(shared)));
    shared.note_enter();
}

/// Undoes [`enter`].
fn leave(shared: &Arc<Shared>) {
    // Nothing is left to undo where the thread is about to end.
    let _ = ENTERED.try_with(|entered| {
        let mut entered = entered.borrow_mut();
        if let Some(last) = entered.iter().rposition(|it| Arc::ptr_eq(it, shared)) {
            entered.remove(last).note_leave();
        }
    });
}

/// While it lives, its thread makes contexts in a simulation.
pub(crate) struct Entering {
    shared: Arc<Shared>,
    /// The guard belongs to its thread.
    not_send: PhantomData<*const ()>,
}

impl Entering {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        enter(shared);
        Self { shared: Arc::clone(shared), not_send: PhantomData }
    }
}

impl Drop for Entering {
    fn drop(&mut self) {
        leave(&self.shared);
    }
}

impl fmt::Debug for Entering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entering").field("seed", &self.shared.seed).finish()
    }
}

/// Runs a part of a task, which an executor polls.
pub(crate) fn in_executor<R>(part: impl FnOnce() -> R) -> R {
    /// Undoes it, even by a panic.
    struct Leave(bool);
    impl Drop for Leave {
        fn drop(&mut self) {
            let _ = IN_EXECUTOR.try_with(|is_in| is_in.set(self.0));
        }
    }
    let _leave = Leave(IN_EXECUTOR.replace(true));
    part()
}

fn is_in_executor() -> bool {
    IN_EXECUTOR.try_with(Cell::get).unwrap_or(false)
}

fn current() -> Option<Arc<Shared>> {
    ENTERED.try_with(|entered| entered.borrow().last().cloned()).ok().flatten()
}

fn of_context(id: aio_context_t) -> Option<Entry> {
    let entry = CONTEXTS.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()?;
    if entry.shared.process != process::id() {
        // No panic: the child has copies of locks, which other threads of the parent may hold.
        eprintln!("linux-aio-sim: a forked child makes a call on a context of its parent");
        process::abort();
    }
    Some(entry)
}

/// Makes the number of a context unknown. Before its ring is gone, since its address may then be
/// that of another context.
pub(crate) fn forget(id: aio_context_t) {
    CONTEXTS.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
}

impl Shared {
    /// Makes a call, and lets other threads that wait look again.
    fn call<R>(&self, call: impl FnOnce(&mut World) -> Result<R, Stop>) -> Result<R, Stop> {
        let result = call(&mut self.world());
        self.changed.notify_all();
        result
    }

    fn wait(
        &self,
        context: u64,
        bounds: (usize, usize),
        timeout: Option<Duration>,
        events: &mut Vec<io_event>,
    ) -> Result<Result<usize, Errno>, Stop> {
        let mut world = self.world();
        let mut entry = match world.begin_wait(context)? {
            Ok(entry) => Some(entry),
            Err(errno) => return Ok(Err(errno)),
        };
        if world.monitor.as_ref().is_some_and(|monitor| monitor.is_patient) {
            // Others run before `head` is stored.
            drop(world);
            thread::yield_now();
            world = self.world();
        }
        while let Some(monitor) = world.monitor.as_mut().filter(|monitor| monitor.holds_waits) {
            monitor.held_waits += 1;
            world = self.changed.wait(world).unwrap_or_else(PoisonError::into_inner);
            if let Some(monitor) = &mut world.monitor {
                monitor.held_waits -= 1;
            }
        }
        let nanoseconds = |timeout: Duration| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        let deadline = timeout.map(|timeout| world.now.saturating_add(nanoseconds(timeout)));
        let start = Instant::now();
        loop {
            match world.go_on_waiting(context, entry.take(), bounds, deadline, events) {
                Wait::Over(result) => return Ok(result),
                // What has been taken off the ring must come out before the thread stops.
                Wait::ForOthers
                    if !events.is_empty()
                        && (world.is_dead(context)
                            || world.is_down
                            || start.elapsed() > PATIENCE) =>
                {
                    return Ok(Ok(events.len()));
                }
                Wait::ForOthers if world.is_dead(context) => {
                    return Err(Stop::Misuse(
                        "a wait without a timeout for a context from before the last crash or \
                         kill, where nothing is in flight any more"
                            .into(),
                    ));
                }
                Wait::ForOthers if start.elapsed() > PATIENCE => {
                    return Err(Stop::Misuse(
                        "a wait without a timeout: nothing is in flight that could complete, and \
                         no other thread has done anything for ten seconds"
                            .into(),
                    ));
                }
                Wait::ForOthers => {}
            }
            // Nothing of the simulation says when a descriptor of the running kernel is ready.
            let pause = if world.has_polls() { Duration::from_millis(1) } else { PATIENCE };
            let woken = self.changed.wait_timeout(world, pause);
            world = woken.unwrap_or_else(PoisonError::into_inner).0;
            if world.is_down && events.is_empty() && !thread::panicking() {
                return Err(Stop::PowerFails);
            }
        }
    }
}

/// The payload that a thread unwinds with when the power fails.
pub(crate) struct PowerFailure;

/// Ends a call that does not return. A thread that unwinds already gets an error.
fn stop(stop: Stop) -> isize {
    if thread::panicking() {
        return negative(Errno::EIO);
    }
    match stop {
        // Without the panic hook, since nothing is wrong with the program.
        Stop::PowerFails => std::panic::resume_unwind(Box::new(PowerFailure)),
        Stop::Misuse(text) => panic!("linux-aio-sim: {text}"),
    }
}

/// Complains of simulated files in a context that is not simulated.
///
/// # Safety
/// As `sys::io_submit`.
unsafe fn check_real(iocbs: &[*mut iocb]) {
    if thread::panicking() {
        return;
    }
    for &pointer in iocbs {
        // SAFETY: The caller's promise, for pointers that are not null.
        let Some(operation) = (unsafe { pointer.as_ref() }) else { continue };
        if let Some(name) = name_of_simulated(operation.aio_fildes as i32) {
            panic!("linux-aio-sim: {}", in_real_context(&name));
        }
    }
}

fn in_real_context(name: &str) -> String {
    format!(
        "the simulated file {name:?} is used in a context of the running kernel; the thread that \
         makes the context must enter the simulation before, by Sim::enter"
    )
}

/// All simulations of this process, as the library sees them.
struct Simulations;

// SAFETY: A ring lives in its context, which `io_destroy` drops after the context has left
// `CONTEXTS`. An operation leaves `in_flight` before its event is published, once, and its memory
// is not used after that. `World::io_destroy` ends every operation that has memory.
// `go_on_waiting` fills `events` with what it counts.
unsafe impl Kernel for Simulations {
    unsafe fn io_setup(&self, nr_events: u32, ctxp: *mut aio_context_t) -> Option<isize> {
        let shared = current()?;
        // SAFETY: The caller promises that it is valid for reads and writes.
        let place = unsafe { &mut *ctxp };
        if *place != 0 {
            return Some(negative(Errno::EINVAL));
        }
        Some(match shared.call(|world| world.io_setup(nr_events)) {
            Ok(Ok((number, address))) => {
                let id = address as aio_context_t;
                let mut contexts = CONTEXTS.write().unwrap_or_else(PoisonError::into_inner);
                contexts.insert(id, Entry { shared, number });
                *place = id;
                0
            }
            Ok(Err(errno)) => negative(errno),
            Err(reason) => stop(reason),
        })
    }

    unsafe fn io_destroy(&self, ctx_id: aio_context_t) -> Option<isize> {
        let Entry { shared, number } = of_context(ctx_id)?;
        let destroyed = shared.world().io_destroy(number);
        shared.changed.notify_all();
        Some(match destroyed {
            Ok(context) => {
                forget(ctx_id);
                drop(context);
                0
            }
            Err(errno) => negative(errno),
        })
    }

    unsafe fn io_submit(
        &self,
        ctx_id: aio_context_t,
        nr: __kernel_long_t,
        iocbpp: *const *mut iocb,
    ) -> Option<isize> {
        let entry = of_context(ctx_id);
        if entry.is_none() && !descriptor::exists() {
            // Nothing of it is simulated, and a kernel bears pointers to nowhere.
            return None;
        }
        let count = usize::try_from(nr).unwrap_or(0);
        let iocbs = match count {
            0 => &[],
            // SAFETY: The caller promises that it is valid for reads of `nr` pointers.
            _ => unsafe { std::slice::from_raw_parts(iocbpp, count) },
        };
        let Some(Entry { shared, number }) = entry else {
            // SAFETY: The caller's promise.
            unsafe { check_real(iocbs) };
            return None;
        };
        if nr < 0 {
            return Some(negative(Errno::EINVAL));
        }
        // SAFETY: The caller's promise.
        let call = |world: &mut World| unsafe { world.io_submit(number, iocbs) };
        Some(shared.call(call).unwrap_or_else(stop))
    }

    unsafe fn io_cancel(&self, ctx_id: aio_context_t, iocb: *const iocb) -> Option<isize> {
        let Entry { shared, number } = of_context(ctx_id)?;
        let address = iocb.addr() as u64;
        Some(shared.call(|world| world.io_cancel(number, address)).unwrap_or_else(stop))
    }

    unsafe fn io_getevents(
        &self,
        ctx_id: aio_context_t,
        min_nr: __kernel_long_t,
        nr: __kernel_long_t,
        events: *mut io_event,
        timeout: Option<Duration>,
    ) -> Option<isize> {
        let Entry { shared, number } = of_context(ctx_id)?;
        let (Ok(min), Ok(most)) = (usize::try_from(min_nr), usize::try_from(nr)) else {
            return Some(negative(Errno::EINVAL));
        };
        if min > most {
            return Some(negative(Errno::EINVAL));
        }
        let mut taken = Vec::new();
        let result = shared.wait(number, (min, most), timeout, &mut taken);
        shared.changed.notify_all();
        Some(match result {
            Ok(Ok(count)) => {
                debug_assert!(count == taken.len() && count <= most, "as many as it says");
                // SAFETY: The caller promises room for `nr`, and no more have been taken.
                unsafe { ptr::copy_nonoverlapping(taken.as_ptr(), events, count) };
                count as isize
            }
            Ok(Err(errno)) => negative(errno),
            Err(reason) => stop(reason),
        })
    }

    fn open(&self, path: &[u8], flags: i32) -> Option<isize> {
        let text = || String::from_utf8_lossy(path).into_owned();
        let stopped = match (current(), name_of_path(path)) {
            (None, None) => return None,
            (Some(shared), Some(name)) => shared.call(|world| world.open_path(name, flags)),
            (Some(_), None) => Err(Stop::Misuse(format!(
                "{} is no file of the simulation that the thread has entered; open the file by the \
                 path that Sim::path gives",
                text(),
            ))),
            (None, Some(_)) => Err(Stop::Misuse(format!(
                "{} is a simulated file, and this thread has entered no simulation; enter it \
                 before, by Sim::enter",
                text(),
            ))),
        };
        Some(stopped.unwrap_or_else(stop))
    }

    unsafe fn file(&self, fd: i32, call: FileCall<'_>) -> Option<isize> {
        let Some(shared) = current() else {
            let name = name_of_simulated(fd).filter(|_| !thread::panicking())?;
            panic!(
                "linux-aio-sim: the simulated file {name:?} is used by a thread that has entered \
                 no simulation; enter it before, by Sim::enter"
            );
        };
        if shared.world().monitor.is_some() {
            return None;
        }
        // SAFETY: The caller's promise.
        let called = shared.call(|world| unsafe { world.file_call(fd, call) });
        Some(called.unwrap_or_else(stop))
    }

    fn ring_is_empty(&self, ctx_id: aio_context_t) {
        if let Some(Entry { shared, .. }) = of_context(ctx_id) {
            let mut world = shared.world();
            if !world.is_down {
                world.pass(LOOK);
            }
        }
    }

    fn eventfd_is_read(&self) {
        // Between a look and the call that empties an eventfd, operations may end.
        if let Some(shared) = current() {
            let mut world = shared.world();
            if world.monitor.is_some() {
                world.run(2);
            }
        }
    }

    fn process_is_killed(&self) {
        let Some(shared) = current() else { return };
        let for_real = shared.world().monitor.as_ref().is_none_or(|it| it.kills_for_real);
        if !for_real {
            panic_any(Killed);
        }
    }

    fn now(&self) -> Option<Duration> {
        let shared = current()?;
        let world = shared.world();
        world.monitor.is_none().then(|| Duration::from_nanos(world.now))
    }

    fn machine(&self) -> Option<usize> {
        let shared = current()?;
        let has_clock = shared.world().monitor.is_none();
        has_clock.then_some(shared.number)
    }

    fn driver_is_used(&self, machine: Option<usize>) {
        let why = match (machine, self.machine()) {
            (Some(its), Some(here)) if its != here => {
                "a driver of one simulation is used in a thread that has entered another; each \
                 machine has its own files, contexts and drivers, and an Executor of its own"
            }
            (Some(_), None) => {
                "a driver of a simulation is used in a thread that has entered none; enter it \
                 before, by Sim::enter, or run the future by Executor::block_on or Executor::spawn"
            }
            (None, Some(_)) => {
                "a driver of the running kernel is used in a thread that has entered a simulation; \
                 make the driver after Sim::enter"
            }
            _ => return,
        };
        assert!(thread::panicking(), "linux-aio-sim: {why}");
    }

    fn future_is_polled(&self, machine: Option<usize>) {
        self.driver_is_used(machine);
        if machine.is_none() || thread::panicking() {
            return;
        }
        let Some(shared) = current() else { return };
        assert!(
            is_in_executor() || !shared.needs_executor(),
            "linux-aio-sim: a future of a Driver is polled, but not by the Executor of its \
             simulation, so no time would pass while it waits; run it by Executor::block_on or \
             Executor::spawn"
        );
        assert!(
            shared.has_helpers(),
            "linux-aio-sim: a future of a Driver is polled whose Executor has been dropped, so \
             nobody does the driver's work; keep the Executor for as long as the driver"
        );
    }

    fn future_waits(&self, machine: Option<usize>, waker: &Waker) {
        // A waker without data leads to no task: the future is polled by hand. `Waker::noop` is
        // one, with a table of functions that is not the same everywhere. An Executor says itself
        // that its tasks wait for ever.
        let nobody_sleeps = waker.data().is_null() || is_in_executor();
        if machine.is_none() || nobody_sleeps || thread::panicking() {
            return;
        }
        let Some(shared) = current() else { return };
        assert!(
            shared.has_helpers() && !shared.needs_executor(),
            "linux-aio-sim: a future of a LocalDriver waits outside of the driver's block_on, so \
             no time would pass; run it by LocalDriver::block_on. Where a runtime calls Sim::park \
             before it sleeps, or a loop of the test calls Sim::run_next between the polls, call \
             Sim::adopt_threads first"
        );
    }

    fn operation_is_prepared(&self, fd: i32) {
        if descriptor::exists() && current().is_none() && !thread::panicking() {
            if let Some(name) = name_of_simulated(fd) {
                panic!("linux-aio-sim: {}", in_real_context(&name));
            }
        }
    }

    fn adopt(&self, step: Step) {
        let adopted = current().is_some_and(|shared| shared.adopt(step));
        assert!(
            adopted || thread::panicking(),
            "linux-aio-sim: a Driver in a simulation needs an executor that runs its work; make \
             an Executor of the simulation first, and run the futures by it"
        );
    }
}

/// Nanoseconds that a look at an empty ring takes.
const LOOK: u64 = 100;
