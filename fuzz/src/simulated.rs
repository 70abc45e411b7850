//! A kernel in memory, for layers that must bear more than the running one shows: submits that are
//! taken in part, `EAGAIN`, `EINTR`, late and reordered events, events of nobody, short transfers,
//! a head out of the ring, and calls that a filter refuses, `io_destroy` among them. Only with
//! `--cfg linux_aio_simulated`.
//!
//! [`Kernel`] has contexts of its own, with real rings at the addresses that are their numbers, so
//! the code that reads rings runs as it is. It looks at head and tail by atomics, counts what is in
//! flight and on the ring as the running kernel does, and does the I/O when it delivers the event,
//! in the buffers themselves: one that was given back too early is found out, by its
//! [watch](memory::watch) and by a sanitizer. What it does next is its [`Script`]'s choice, which
//! comes from a seed or from an input: the same script gives the same answers. Each operation
//! carries a number in `aio_rw_flags`, unless that is zero, under which the kernel keeps a
//! [`Record`] of what it made of it.
//!
//! One thing it never does, as nobody can bear it: to give an event for an operation that it still
//! has.

mod context;
pub mod driver;
mod layer;
pub mod memory;
pub mod operation;
pub mod queue;
pub mod reaper;
pub mod scope;
mod script;
mod state;
mod wait;

pub use script::{Fault, Script};
pub use state::{Counts, Filters, Object, Record};

use crate::divergence::{Divergence, Verdict, ensure};
use crate::layer::Layer;
use linux_aio::abi::aio_context_t;
use linux_aio::abi::syscall::NATIVE;
use linux_aio::sys::simulated;
use state::State;
use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, Once, PoisonError, RwLock};
use wait::{Answer, Wait};

/// What the kernel of a context is, for all threads.
static CONTEXTS: LazyLock<RwLock<HashMap<aio_context_t, Kernel>>> = LazyLock::new(RwLock::default);

thread_local! {
    /// Whose contexts this thread makes.
    static CURRENT: RefCell<Option<Kernel>> = const { RefCell::new(None) };
}

/// What a thread unwinds with that kills its process.
#[derive(Debug)]
pub struct Killed;

/// A kernel. A clone is the same one.
#[derive(Clone, Debug)]
pub struct Kernel {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Something has been submitted or destroyed, or may end.
    changed: Condvar,
    process: u32,
    kills_for_real: AtomicBool,
}

/// While it lives, this thread makes contexts of a simulated kernel.
#[derive(Debug)]
pub struct Entered(());

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}

impl Kernel {
    /// A kernel without contexts and files.
    pub fn new(script: Script) -> Self {
        static INSTALLED: Once = Once::new();
        static ANSWER: simulated::Kernel = answer;
        // SAFETY: It answers for contexts of its own alone, and gives an event for an operation
        // only when it has forgotten the operation's buffers.
        INSTALLED.call_once(|| unsafe { simulated::install(&ANSWER) });
        let state = Mutex::new(State::new(script));
        let process = std::process::id();
        let (changed, kills_for_real) = (Condvar::new(), AtomicBool::new(false));
        Self { shared: Arc::new(Shared { state, changed, process, kills_for_real }) }
    }

    /// Makes this kernel the one of which this thread asks contexts.
    pub fn enter(&self) -> Entered {
        CURRENT.set(Some(self.clone()));
        Entered(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and wakes who waits for that.
    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.state());
        self.shared.changed.notify_all();
        result
    }

    /// Names an open descriptor; operations on others are `EBADF`.
    pub fn open(&self, fd: BorrowedFd<'_>, object: Object) {
        self.state().objects.insert(fd.as_raw_fd(), object);
    }

    /// Which calls fail from now on, whatever they ask.
    pub fn filter(&self, filters: Filters) {
        self.state().filters = filters;
    }

    /// From now on, nothing goes wrong.
    pub fn calm(&self) {
        let mut state = self.state();
        state.filters = Filters::default();
        state.script.calm();
    }

    /// A process that kills itself ends by that, and does not only unwind.
    pub fn kill_for_real(&self) {
        self.shared.kills_for_real.store(true, Ordering::Relaxed);
    }

    /// Has waits sleep until another thread changes something, not fail where nothing will end; and
    /// lets others run in the middle of each.
    pub fn expect_threads(&self) {
        self.state().patient = true;
    }

    /// Whether every `io_getevents` is held from now on where it has loaded the ring's `head` and
    /// not stored it yet. Meanwhile the kernel goes on.
    pub fn hold_waits(&self, hold: bool) {
        self.change(|state| state.holds_waits = hold);
    }

    /// How many threads are held there.
    pub fn held_waits(&self) -> usize {
        self.state().held_waits
    }

    /// Time passes: up to `most` operations end, as the script chooses, and strays may arrive.
    pub fn run(&self, most: usize) {
        self.change(|state| state.run(most));
    }

    /// Time passes until every operation has ended that can.
    pub fn run_to_the_end(&self) {
        self.change(State::run_to_the_end);
    }

    /// Whether what is polled is readable.
    pub fn set_readable(&self, readable: bool) {
        self.change(|state| state.readable = readable);
    }

    /// Moves `head` or `tail` of every ring out of it.
    pub fn spoil_rings(&self) {
        self.change(State::spoil_rings);
    }

    /// How many operations it has, in all contexts.
    pub fn in_flight(&self) -> usize {
        self.state().in_flight()
    }

    /// How many contexts there are.
    pub fn contexts(&self) -> usize {
        self.state().contexts.len()
    }

    /// What it was asked by its contexts so far, those that are gone included.
    pub fn counts(&self) -> Counts {
        self.state().counts()
    }

    /// Whether an operation that is in flight may end.
    pub fn something_ends(&self) -> bool {
        self.state().something_ends()
    }

    /// What it made of an operation; `None` where it was never given one of that number.
    pub fn record(&self, number: u32) -> Option<Record> {
        self.state().records.get(&number).cloned()
    }

    /// The last error other than `EINTR` by which `io_submit` refused everything.
    pub fn last_failure(&self) -> Option<linux_aio::Errno> {
        self.state().last_failure
    }

    /// Whether all that was done to it was right.
    pub fn check(&self) -> Verdict {
        let mut state = self.state();
        state.look_at_rings();
        ensure(state.violations.is_empty(), || state.violations.join("; "))
    }

    /// Ends every operation and every context, as the end of the process does.
    pub fn end(&self) -> Verdict {
        let ids: Vec<_> = self.state().contexts.keys().copied().collect();
        for id in ids {
            forget(id);
            self.state().end_context(id);
        }
        self.check()
    }

    fn wait(&self, arguments: &Wait) -> isize {
        let mut state = self.state();
        loop {
            let entry = state.enter_getevents(arguments);
            if entry.is_some() && state.patient {
                // Others run before `head` is stored.
                drop(state);
                std::thread::yield_now();
                state = self.state();
            }
            while entry.is_some() && state.holds_waits {
                state.held_waits += 1;
                state = self.sleep(state);
                state.held_waits -= 1;
            }
            match state.getevents(arguments, entry) {
                Answer::Is(returned) => return returned,
                Answer::Later => state = self.sleep(state),
            }
        }
    }

    /// Sleeps until another thread changes something.
    fn sleep<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget(id: aio_context_t) {
    CONTEXTS.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
}

/// Before the ring is unmapped, since then its address may be another context's.
fn destroy(state: &mut State, id: aio_context_t) -> isize {
    if let Some(errno) = state.filters.destroy {
        return state::negative(errno);
    }
    forget(id);
    state.end_context(id);
    0
}

fn kernel_of(id: aio_context_t) -> Option<Kernel> {
    let contexts = CONTEXTS.read().unwrap_or_else(PoisonError::into_inner);
    let kernel = contexts.get(&id).cloned()?;
    if kernel.shared.process != std::process::id() {
        // In a forked child nothing may be asked of the parent's contexts. (No panic: the child has
        // copies of locks.)
        // SAFETY: The process ends.
        unsafe { libc::_exit(CALLED_IN_A_CHILD) };
    }
    Some(kernel)
}

/// How a forked child ends that makes a call on a context of its parent's.
pub const CALLED_IN_A_CHILD: i32 = 99;

/// Answers for simulated contexts; anything else is the running kernel's.
fn answer(number: u32, arguments: &[aio_context_t]) -> Option<isize> {
    let current = || CURRENT.try_with(|current| current.borrow().clone()).ok().flatten();
    if number == NATIVE.io_setup {
        let kernel = current()?;
        let made = kernel.state().setup(arguments);
        return Some(made.map_or_else(state::negative, |id| {
            let mut contexts = CONTEXTS.write().unwrap_or_else(PoisonError::into_inner);
            contexts.insert(id, kernel.clone());
            0
        }));
    }
    if number == NATIVE.kill {
        if current()?.shared.kills_for_real.load(Ordering::Relaxed) {
            return None;
        }
        std::panic::panic_any(Killed);
    }
    if number == NATIVE.read {
        // Between a look and the call that empties an eventfd, operations may end.
        current()?.run(2);
        return None;
    }
    let is = |entry: Option<u32>| entry == Some(number);
    let waits = is(NATIVE.io_getevents) || is(NATIVE.io_pgetevents);
    let waits = waits || is(NATIVE.io_pgetevents_time64);
    let others = [NATIVE.io_submit, NATIVE.io_cancel, NATIVE.io_destroy];
    if !waits && !others.contains(&number) {
        return None;
    }
    let kernel = kernel_of(arguments[0])?;
    if waits {
        return Some(kernel.wait(&Wait::of(arguments)));
    }
    Some(kernel.change(|state| {
        if number == NATIVE.io_submit {
            state.submit(arguments)
        } else if number == NATIVE.io_cancel {
            state.cancel(arguments)
        } else {
            destroy(state, arguments[0])
        }
    }))
}

/// Runs the inputs of one target.
#[derive(Debug)]
pub struct Simulated {
    layer: Layer,
    /// Operations so far.
    pub operations: u64,
}

impl Simulated {
    /// A target over that layer.
    pub fn new(layer: Layer) -> Self {
        scope::hide_panics();
        Self { layer, operations: 0 }
    }

    /// Runs one input: two bytes say how many belong to the kernel's script, which follows; the
    /// rest are the steps.
    pub fn run(&mut self, data: &[u8]) -> Verdict {
        let (length, rest) = data.split_at(data.len().min(2));
        let length = length.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
        let (script, steps) = rest.split_at(length % (rest.len() + 1));
        let script = Script::from_bytes(script.to_vec());
        self.operations += match self.layer {
            Layer::Reaper => reaper::run(steps, script),
            Layer::Scope => scope::run(steps, script),
            Layer::Queue => queue::run(steps, script),
            Layer::Driver => driver::run(steps, script),
        }?;
        Ok(())
    }
}

fn report(text: impl Into<String>) -> Divergence {
    Divergence(text.into())
}
