//! A ring of three places with the kernel's half of the work, and a library's way of using both.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::Mutex;

use crate::gate::{Gate, Ring};
use crate::primitive::{AtomicU32, AtomicU64, Ordering};
use Ordering::{Acquire, Relaxed, Release};

/// The number of the context.
pub(crate) const CONTEXT: usize = 4096;
pub(crate) const ROOM: u32 = 3;

/// What the threads share.
pub(crate) struct Memory {
    pub(crate) gate: Gate,
    head: AtomicU32,
    tail: AtomicU32,
    events: [AtomicU64; ROOM as usize],
    /// The kernel's ring_lock, and whether the context lives.
    lives: Mutex<bool>,
    /// Whether the ring is mapped. Touching the ring reads it; loom finds races between that and
    /// the unmapping.
    mapping: UnsafeCell<bool>,
}

// SAFETY: Loom reports accesses to the cell that are not ordered.
unsafe impl Sync for Memory {}

impl Memory {
    /// An open context with these events in the ring, beginning at the place given.
    pub(crate) fn new(place: u32, events: &[u64]) -> Arc<Self> {
        let memory = Self::new_closed(place, events);
        memory.gate.open(CONTEXT);
        memory
    }

    /// The same, not yet open.
    pub(crate) fn new_closed(place: u32, events: &[u64]) -> Arc<Self> {
        let memory = Self {
            gate: Gate::default(),
            head: AtomicU32::new(place),
            tail: AtomicU32::new(place),
            events: Default::default(),
            lives: Mutex::new(true),
            mapping: UnsafeCell::new(true),
        };
        for &event in events {
            memory.complete(event);
        }
        Arc::new(memory)
    }

    fn touch(&self) {
        // SAFETY: Loom has checked that nobody writes it now.
        self.mapping.with(|mapped| assert!(unsafe { *mapped }, "a ring that is gone"));
    }

    /// `aio_complete`. There is room.
    pub(crate) fn complete(&self, event: u64) {
        let tail = self.tail.load(Relaxed);
        self.events[tail as usize].store(event, Relaxed);
        self.tail.store((tail + 1) % ROOM, Release);
    }

    /// How many places are free, as `user_refill_reqs_available` sees it.
    pub(crate) fn free(&self) -> u32 {
        let head = self.head.load(Acquire) % ROOM;
        (head + ROOM - 1 - self.tail.load(Relaxed)) % ROOM
    }

    /// `aio_read_events_ring`; `None`: no such context.
    ///
    /// The kernel stores head; here it swaps it. Loom does not know that no store can come between
    /// the two halves of another thread's compare-and-swap; and a swap that is made later is as
    /// good as a store that is seen later, since what the thread does next is a release.
    pub(crate) fn system_call(&self, max: u32) -> Option<Vec<u64>> {
        let lives = self.lives.lock().unwrap();
        if !*lives {
            return None;
        }
        let mut taken = Vec::new();
        let (head, tail) = (self.head.load(Relaxed), self.tail.load(Acquire));
        if head != tail {
            let mut head = head % ROOM;
            while head != tail && (taken.len() as u32) < max {
                taken.push(self.events[head as usize].load(Relaxed));
                head = (head + 1) % ROOM;
            }
            self.head.swap(head, Relaxed);
        }
        Some(taken)
    }

    /// `io_getevents` of the library, with `min_nr` 1 and no time.
    pub(crate) fn getevents(&self, max: u32) -> Vec<u64> {
        self.getevents_interrupted(max, || ())
    }

    /// The same, with a signal handler that runs in the middle of the copy.
    pub(crate) fn getevents_interrupted(&self, max: u32, handler: impl FnOnce()) -> Vec<u64> {
        let taking = Taking::new(self, handler);
        match self.gate.take(CONTEXT, &taking, 1, max) {
            Some(count) => {
                let copied = taking.copied.borrow();
                assert_eq!(copied.len(), count as usize);
                copied.clone()
            }
            None => self.getevents_by_call(max),
        }
    }

    /// The way of the library to the system call.
    pub(crate) fn getevents_by_call(&self, max: u32) -> Vec<u64> {
        self.gate.enter_call(CONTEXT, &Taking::new(self, || ()));
        let taken = self.system_call(max).unwrap_or_default();
        self.gate.leave_call();
        taken
    }

    /// Enters a system call, and never leaves.
    pub(crate) fn enter_call_and_stay(&self) {
        self.gate.enter_call(CONTEXT, &Taking::new(self, || ()));
    }

    /// `io_destroy` of the library, with a mapping of the same address afterwards if it is to come
    /// back with an event; `false` if the readers did not leave within the bounds of the model,
    /// which prove nothing.
    pub(crate) fn destroy(&self, then: Option<u64>) -> bool {
        if !self.gate.close(CONTEXT, &Taking::new(self, || ())) {
            return false;
        }
        {
            let mut lives = self.lives.lock().unwrap();
            // SAFETY: Loom has checked that nobody reads it now.
            self.mapping.with_mut(|mapped| unsafe { *mapped = then.is_some() });
            if let Some(event) = then {
                self.head.swap(0, Relaxed);
                self.tail.store(1, Relaxed);
                self.events[0].store(event, Relaxed);
            } else {
                *lives = false;
            }
        }
        self.gate.leave_call();
        if then.is_some() {
            self.gate.open(CONTEXT);
        }
        true
    }

    /// What is left, when all is quiet.
    pub(crate) fn rest(&self) -> Vec<u64> {
        self.system_call(ROOM).unwrap_or_default()
    }
}

/// The ring as one call uses it.
struct Taking<'a, H> {
    memory: &'a Memory,
    handler: Cell<Option<H>>,
    copied: RefCell<Vec<u64>>,
}

impl<'a, H: FnOnce()> Taking<'a, H> {
    fn new(memory: &'a Memory, handler: H) -> Self {
        Self { memory, handler: Cell::new(Some(handler)), copied: RefCell::default() }
    }
}

impl<H: FnOnce()> Ring for Taking<'_, H> {
    fn room(&self) -> u32 {
        self.memory.touch();
        ROOM
    }

    fn head(&self) -> &AtomicU32 {
        self.memory.touch();
        &self.memory.head
    }

    fn tail(&self) -> &AtomicU32 {
        self.memory.touch();
        &self.memory.tail
    }

    fn copy(&self, place: u32, count: u32) {
        self.memory.touch();
        let copied = (place..place + count)
            .map(|place| self.memory.events[(place % ROOM) as usize].load(Relaxed))
            .collect();
        self.copied.replace(copied);
        if let Some(handler) = self.handler.take() {
            handler();
        }
    }
}
