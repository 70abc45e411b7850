//! [`Shared`], which the handles and the contexts of a machine share.

use crate::world::World;
use linux_aio::sys::sim::{Step, Stepped};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::{mem, process};

pub(crate) struct Shared {
    world: Mutex<World>,
    /// Something has been submitted, has completed or has ended.
    pub(crate) changed: Condvar,
    pub(crate) seed: u64,
    /// Tells it from the other simulations of the process.
    pub(crate) number: usize,
    /// The work of threads that the library would have started, where an executor runs it.
    helpers: Mutex<Option<Vec<Step>>>,
    /// Only an executor of this package does that work and lets time pass.
    needs_executor: AtomicBool,
    /// The times that the state was used.
    uses: AtomicUsize,
    /// The times that threads have entered and not left.
    entered: AtomicUsize,
    /// A task of an executor is being polled.
    polls: AtomicBool,
    /// The process that has made the simulation.
    pub(crate) process: u32,
}

/// While it lives, a task is being polled.
pub(crate) struct Polling<'a> {
    polls: &'a AtomicBool,
    /// A task in whose poll this one is polled.
    before: bool,
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        self.polls.store(self.before, Ordering::Relaxed);
    }
}

impl Shared {
    pub(crate) fn new(seed: u64, world: World) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let (world, changed) = (Mutex::new(world), Condvar::new());
        let (helpers, needs_executor) = (Mutex::new(None), AtomicBool::new(false));
        Self {
            world,
            changed,
            seed,
            number,
            helpers,
            needs_executor,
            uses: AtomicUsize::new(0),
            entered: AtomicUsize::new(0),
            polls: AtomicBool::new(false),
            process: process::id(),
        }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.uses.fetch_add(1, Ordering::Relaxed);
        // The state is whole between two calls, and calls do not panic half-way.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a number that changes with every use of the state.
    pub(crate) fn uses(&self) -> usize {
        self.uses.load(Ordering::Relaxed)
    }

    /// Notes that a thread enters.
    pub(crate) fn note_enter(&self) {
        self.entered.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that a thread leaves.
    pub(crate) fn note_leave(&self) {
        self.entered.fetch_sub(1, Ordering::Relaxed);
    }

    /// Notes that a task is being polled, until the result is dropped.
    pub(crate) fn polling(&self) -> Polling<'_> {
        Polling { polls: &self.polls, before: self.polls.swap(true, Ordering::Relaxed) }
    }

    /// Says what waits for time to pass, for a text. A thread that holds the state is at work, and
    /// what nobody is there for may wait for ever.
    pub(crate) fn what_waits(&self) -> Option<String> {
        if self.entered.load(Ordering::Relaxed) == 0 {
            return None;
        }
        if self.polls.load(Ordering::Relaxed) {
            return Some("a task is being polled".into());
        }
        match self.world.try_lock().ok()?.in_flight() {
            0 => None,
            1 => Some("1 operation is in flight".into()),
            count => Some(format!("{count} operations are in flight")),
        }
    }

    fn helpers(&self) -> MutexGuard<'_, Option<Vec<Step>>> {
        self.helpers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over the work of a thread; `false` if no executor would run it.
    pub(crate) fn adopt(&self, step: Step) -> bool {
        self.helpers().as_mut().map(|helpers| helpers.push(step)).is_some()
    }

    /// Has an executor run the work of threads from now on: one of this package, or another
    /// runtime, which makes the calls that let time pass.
    pub(crate) fn expect_helpers(&self, by_executor: bool) {
        let mut helpers = self.helpers();
        let needs = by_executor && (helpers.is_none() || self.needs_executor());
        helpers.get_or_insert_default();
        self.needs_executor.store(needs, Ordering::Relaxed);
    }

    /// Returns whether somebody runs the work of threads.
    pub(crate) fn has_helpers(&self) -> bool {
        self.helpers().is_some()
    }

    pub(crate) fn needs_executor(&self) -> bool {
        self.needs_executor.load(Ordering::Relaxed)
    }

    /// No executor runs the work of threads any more. A driver that is left destroys its context
    /// when it is dropped.
    pub(crate) fn forget_helpers(&self) {
        let helpers = self.helpers().take();
        self.needs_executor.store(false, Ordering::Relaxed);
        // Outside of the lock, since the work may own a queue.
        drop(helpers);
    }

    /// Runs one step of each helper. Returns whether one has done something, and the time at which
    /// the first of the others has something to do.
    pub(crate) fn step_helpers(&self) -> (bool, Option<u64>) {
        /// Helpers that are taken out, since a step may start one. They come back even if a step
        /// unwinds, as a system call in it may.
        struct Taken<'s>(&'s Shared, Vec<Step>);
        impl Drop for Taken<'_> {
            fn drop(&mut self) {
                if let Some(started) = self.0.helpers().as_mut() {
                    self.1.append(started);
                    *started = mem::take(&mut self.1);
                }
            }
        }
        let (mut busy, mut next) = (false, None);
        let taken = self.helpers().as_mut().map(mem::take).unwrap_or_default();
        Taken(self, taken).1.retain_mut(|step| {
            let stepped = step();
            busy |= stepped == Stepped::Busy;
            if let Stepped::Until(at) = stepped {
                let at = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
                next = Some(next.map_or(at, |next: u64| next.min(at)));
            }
            stepped != Stepped::Over
        });
        (busy, next)
    }
}
