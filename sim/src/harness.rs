//! The simulated kernel as the harnesses of this repository use it. Not part of the public
//! interface.
//!
//! [`Kernel`] has no clock. The choices of a [`Script`], from a seed or from a fuzzer's input, say
//! what ends when. It knows one file, a descriptor that can be polled, and filters. Each operation
//! carries a number in `aio_rw_flags`, unless that is zero, under which there is a [`Record`] of
//! what the kernel made of it. What is done wrongly to the kernel is noted. That is memory of an
//! operation that is none of the harness's buffers, an operation that is submitted twice, or a
//! `head` that goes where no event is.
//!
//! One thing it never does, as nobody can bear it: to give an event for an operation that it still
//! has.

use crate::faults::Faults;
pub use crate::monitor::{Counts, Filters, Killed, Object, Record};

use crate::monitor::Monitor;
use crate::random::Random;
use crate::seam::{self, Entering};
use crate::shared::Shared;
use crate::world::World;
use std::collections::HashMap;
use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

/// The number of bytes that the file has.
pub const SIZE: usize = 8192;

/// Something that goes wrong, or otherwise than usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `io_submit` accepts fewer operations than there is room for.
    PartialSubmit,
    /// `io_submit` gives `EAGAIN` although there is room.
    Busy,
    /// `io_submit` gives `EINTR`.
    InterruptedSubmit,
    /// `io_submit` accepts none, and gives no error.
    NothingTaken,
    /// `io_submit` refuses a good operation.
    Refusal,
    /// A transfer ends early.
    Short,
    /// An operation ends with an error.
    Failure,
    /// Operations end in another order than that of their submission.
    Reordered,
    /// Operations end inside of `io_submit`.
    AtOnce,
    /// An event of no operation.
    Stray,
    /// An event that was there before.
    Duplicate,
    /// A wait gives `EINTR`, or ends early with what is there.
    InterruptedWait,
    /// `io_setup` fails.
    Setup,
}

/// The choices of a kernel.
#[derive(Clone, Debug)]
pub struct Script {
    random: Random,
    /// A bit for each fault that there is.
    faults: u32,
}

impl Script {
    /// Takes the choices from the bytes of an input, which also says which faults there are.
    pub fn from_bytes(mut bytes: Vec<u8>) -> Self {
        let faults = bytes.split_off(bytes.len().saturating_sub(2));
        let faults = faults.iter().fold(0, |word, &byte| word << 8 | u32::from(byte));
        Self { random: Random::Bytes(bytes.into_iter()), faults }
    }

    /// Takes the choices from a seed, with every fault but failing setups.
    pub fn from_seed(seed: u64) -> Self {
        Self { random: Random::new(seed), faults: !(1 << Fault::Setup as u32) }
    }

    /// Allows these faults alone.
    #[must_use]
    pub fn with(mut self, faults: &[Fault]) -> Self {
        self.faults = faults.iter().fold(0, |bits, &fault| bits | 1 << fault as u32);
        self
    }

    fn faults(&self) -> Faults {
        let has = |fault: Fault| self.faults >> fault as u32 & 1 == 1;
        Faults {
            partial_submits: has(Fault::PartialSubmit),
            busy: has(Fault::Busy),
            interrupted_submits: has(Fault::InterruptedSubmit),
            empty_submits: has(Fault::NothingTaken),
            refusals: has(Fault::Refusal),
            short_transfers: has(Fault::Short),
            failed_transfers: has(Fault::Failure),
            reordering: has(Fault::Reordered),
            early_ends: has(Fault::AtOnce),
            stray_events: has(Fault::Stray),
            duplicate_events: has(Fault::Duplicate),
            interrupts: has(Fault::InterruptedWait),
            failed_setups: has(Fault::Setup),
            ..Faults::none()
        }
    }
}

/// A kernel. A clone is the same one.
#[derive(Clone)]
pub struct Kernel {
    shared: Arc<Shared>,
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel").finish_non_exhaustive()
    }
}

/// While it lives, its thread makes contexts of a kernel.
#[derive(Debug)]
#[must_use = "the thread leaves the kernel when the guard is dropped"]
pub struct Entered {
    _entering: Entering,
}

impl Kernel {
    /// Makes a kernel without contexts. `is_buffer` says whether it may touch so many bytes at an
    /// address: memory of operations that is none of them is a violation, and left alone.
    pub fn new(script: Script, is_buffer: fn(usize, usize) -> bool) -> Self {
        let mut world = World::new(script.random.clone(), script.faults(), false);
        let file = world.disk.open("file");
        let content: Vec<u8> = (0..SIZE).map(|at| (at / 7) as u8).collect();
        world.disk.inode_mut(file).write(0, &content, world.faults.sector);
        world.monitor = Some(Box::new(Monitor {
            objects: HashMap::new(),
            file,
            filters: Filters::default(),
            readable: false,
            is_patient: false,
            holds_waits: false,
            held_waits: 0,
            records: HashMap::new(),
            violations: Vec::new(),
            counts: Counts::default(),
            past: Vec::new(),
            kills_for_real: false,
            is_buffer,
        }));
        Self { shared: Arc::new(Shared::new(0, world)) }
    }

    /// Makes this kernel the one of which this thread asks contexts.
    pub fn enter(&self) -> Entered {
        Entered { _entering: Entering::new(&self.shared) }
    }

    /// Changes the state, and wakes who waits for that.
    fn change<R>(&self, change: impl FnOnce(&mut World) -> R) -> R {
        let result = change(&mut self.shared.world());
        self.shared.changed.notify_all();
        result
    }

    fn monitor<R>(&self, with: impl FnOnce(&mut Monitor) -> R) -> R {
        self.change(|world| with(world.monitor.as_mut().expect("each such kernel has one")))
    }

    /// Names an open descriptor. Operations on others are `EBADF`.
    pub fn open(&self, fd: BorrowedFd<'_>, object: Object) {
        self.monitor(|monitor| monitor.objects.insert(fd.as_raw_fd(), object));
    }

    /// Has calls fail from now on, whatever they ask.
    pub fn filter(&self, filters: Filters) {
        self.monitor(|monitor| monitor.filters = filters);
    }

    /// From now on, nothing goes wrong.
    pub fn calm(&self) {
        self.filter(Filters::default());
        self.change(|world| world.faults = Faults::none());
    }

    /// A process that kills itself ends by that, and does not only unwind.
    pub fn kill_for_real(&self) {
        self.monitor(|monitor| monitor.kills_for_real = true);
    }

    /// Has waits sleep until another thread changes something, not fail if nothing will end; and
    /// lets others run in the middle of each.
    pub fn expect_threads(&self) {
        self.monitor(|monitor| monitor.is_patient = true);
    }

    /// Says whether every `io_getevents` is held from now on where it has loaded the ring's `head`
    /// and not stored it yet. Meanwhile the kernel goes on.
    pub fn hold_waits(&self, hold: bool) {
        self.monitor(|monitor| monitor.holds_waits = hold);
    }

    /// Returns the number of threads that are held there.
    pub fn held_waits(&self) -> usize {
        self.monitor(|monitor| monitor.held_waits)
    }

    /// Lets up to `most` operations end, as the script chooses. Events of none may arrive.
    pub fn run(&self, most: usize) {
        self.change(|world| world.run(most));
    }

    /// Lets every operation end that can.
    pub fn run_to_the_end(&self) {
        self.change(World::run_to_the_end);
    }

    /// Says whether what is polled is readable.
    pub fn set_readable(&self, readable: bool) {
        self.monitor(|monitor| monitor.readable = readable);
    }

    /// Moves `head` or `tail` of every ring out of it.
    pub fn spoil_rings(&self) {
        self.change(World::spoil_rings);
    }

    /// Returns the number of operations that the kernel has, in all contexts.
    pub fn in_flight(&self) -> usize {
        self.shared.world().contexts.values().map(|it| it.in_flight.len()).sum()
    }

    /// Returns the number of contexts.
    pub fn contexts(&self) -> usize {
        self.shared.world().contexts.len()
    }

    /// Returns what it was asked by its contexts so far, those that are gone included.
    pub fn counts(&self) -> Counts {
        let mut world = self.shared.world();
        world.look_at_rings();
        let mut counts = world.monitor.as_ref().map_or_else(Counts::default, |it| it.counts);
        for context in world.contexts.values() {
            counts.taken += context.taken;
            counts.strays_taken += context.strays_taken;
        }
        counts
    }

    /// Returns whether an operation that is in flight may end.
    pub fn something_ends(&self) -> bool {
        self.shared.world().something_ends()
    }

    /// Returns what it made of an operation, or `None` if it was never given one of that number.
    pub fn record(&self, number: u32) -> Option<Record> {
        self.monitor(|monitor| monitor.records.get(&number).cloned())
    }

    /// Tells what has been done wrongly to it.
    ///
    /// # Errors
    /// All violations so far.
    pub fn check(&self) -> Result<(), String> {
        self.shared.world().look_at_rings();
        self.monitor(|monitor| match monitor.violations.is_empty() {
            true => Ok(()),
            false => Err(monitor.violations.join("; ")),
        })
    }

    /// Ends every operation and every context, as the end of the process does.
    ///
    /// # Errors
    /// All violations so far.
    pub fn end(&self) -> Result<(), String> {
        self.filter(Filters::default());
        let contexts: Vec<(u64, usize)> = {
            let world = self.shared.world();
            world.contexts.iter().map(|(&number, it)| (number, it.ring.address())).collect()
        };
        for (number, address) in contexts {
            seam::forget(address as _);
            let _ = self.change(|world| world.io_destroy(number));
        }
        self.check()
    }
}
