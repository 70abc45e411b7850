//! A ring in memory that loom watches, with the kernel's side of it.
//!
//! [`Memory`] begins as a ring does, so that the code that reads rings runs as it is. But the words
//! are loom's. Loom lets each be seen as late as the memory orders allow, and notices an event that
//! is read while it may be written.

use super::{AtomicU32, Ordering, Ring};
use crate::IoEvent;
use crate::abi::{AIO_RING_MAGIC, aio_context_t, aio_ring};
use alloc::vec::Vec;
use core::cell::Cell;
use core::mem::MaybeUninit;
use loom::cell::UnsafeCell;
use loom::sync::Mutex;

/// The number of events that the ring has room for, and one.
const NR: u32 = 3;

/// A ring, and what its kernel knows. Its threads are loom's, of which one runs at a time.
#[repr(C)]
pub(crate) struct Memory {
    header: aio_ring,
    events: [Cell<IoEvent>; NR as usize],
    /// Watches the reads and writes of each event.
    accesses: [UnsafeCell<()>; NR as usize],
    head: AtomicU32,
    tail: AtomicU32,
    kernel: Mutex<Kernel>,
    /// Of `io_getevents`, which user space cannot take.
    ring_lock: Mutex<()>,
}

// SAFETY: Loom's threads take turns on one thread, and it checks the accesses to the `Cell`s.
unsafe impl Sync for Memory {}
// SAFETY: Its fields may be sent. Loom checks who accesses the cells, and runs all of its threads
// on one.
unsafe impl Send for Memory {}

#[derive(Default)]
struct Kernel {
    /// Its own, whatever the ring says.
    tail: u32,
    in_flight: u32,
}

impl Memory {
    pub(crate) fn new() -> Self {
        let header = aio_ring {
            nr: NR,
            magic: AIO_RING_MAGIC,
            compat_features: 1,
            header_length: 32,
            ..aio_ring::default()
        };
        Self {
            header,
            head: AtomicU32::new(0),
            tail: AtomicU32::new(0),
            events: Default::default(),
            accesses: Default::default(),
            kernel: Mutex::default(),
            ring_lock: Mutex::default(),
        }
    }

    /// The number of the context.
    pub(crate) fn context(&self) -> aio_context_t {
        (&raw const *self).expose_provenance() as aio_context_t
    }

    /// Takes an operation (`get_reqs_available`, which looks at the head); `false` where there is
    /// no room for its event.
    pub(crate) fn accept(&self) -> bool {
        let mut kernel = self.kernel.lock().expect("nothing panics under it");
        let head = self.head.load(Ordering::Acquire);
        let on_ring = (kernel.tail + NR - head) % NR;
        let has_room = on_ring + kernel.in_flight < NR - 1;
        kernel.in_flight += u32::from(has_room);
        has_room
    }

    /// Takes up to `most` events (`aio_read_events_ring`): loads `head` first and stores it last,
    /// even if it takes nothing, unless the ring was empty.
    pub(crate) fn getevents(&self, most: usize) -> Vec<IoEvent> {
        let _ring_lock = self.ring_lock.lock().expect("nothing panics under it");
        let mut head = self.head.load(Ordering::Relaxed);
        let tail = self.tail.load(Ordering::Acquire);
        let mut taken = Vec::new();
        if head == tail {
            return taken;
        }
        while head != tail && taken.len() < most {
            self.read(head);
            taken.push(self.events[head as usize].get());
            head = (head + 1) % NR;
        }
        self.head.store(head, Ordering::Release);
        taken
    }

    /// Has loom know that the event of a place is read.
    pub(super) fn read(&self, place: u32) {
        self.accesses[place as usize].with(|_| ());
    }

    /// Gives the event of an operation that was accepted (`aio_complete`).
    pub(crate) fn complete(&self, event: IoEvent) {
        let mut kernel = self.kernel.lock().expect("nothing panics under it");
        let place = kernel.tail as usize;
        self.accesses[place].with_mut(|_| self.events[place].set(event));
        kernel.tail = (kernel.tail + 1) % NR;
        kernel.in_flight -= 1;
        self.tail.store(kernel.tail, Ordering::Release);
    }
}

/// Finds the words.
impl Ring {
    pub(super) fn head<'a>(self) -> &'a AtomicU32 {
        &self.memory().head
    }

    pub(super) fn tail<'a>(self) -> &'a AtomicU32 {
        &self.memory().tail
    }

    pub(super) fn memory<'a>(self) -> &'a Memory {
        // SAFETY: In models the header is a `Memory`'s first field (`repr(C)`), whose address was
        // exposed whole, and which outlives the ring.
        unsafe { self.header.cast::<Memory>().as_ref() }
    }
}

/// Runs a kernel that gives four events, through two places, against a reader that is called until
/// it has had all of them, with how many it has had.
fn check(reader: impl Fn(Ring, u64) -> u64 + Send + Sync + 'static) {
    const EVENTS: u64 = 4;
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let memory = loom::sync::Arc::new(Memory::new());
        let kernel = loom::thread::spawn({
            let memory = loom::sync::Arc::clone(&memory);
            move || {
                for data in 0..EVENTS {
                    while !memory.accept() {
                        loom::thread::yield_now();
                    }
                    let event = crate::abi::io_event { data, ..crate::abi::io_event::default() };
                    memory.complete(IoEvent::from_raw(event));
                }
            }
        });
        // SAFETY: The memory is laid out as a ring, and outlives it.
        let ring = unsafe { Ring::of_context(memory.context()) }.expect("a good header");
        let mut had = 0;
        while had < EVENTS {
            match reader(ring, had) {
                0 => loom::thread::yield_now(),
                more => had += more,
            }
        }
        kernel.join().expect("no panic");
    });
}

/// Each event is whole when it is read, is read once, and its place is not written before it was
/// given back: as the reaper reads.
#[test]
fn events_taken_against_the_kernel() {
    check(|ring, had| {
        let mut room = [const { MaybeUninit::uninit() }; 2];
        // SAFETY: Nobody else reads this ring, whose memory outlives the call.
        let taken = unsafe { ring.take(&mut room) }.expect("both are in the ring");
        for (number, event) in room[..taken].iter().enumerate() {
            // SAFETY: The first `taken` ones have been written.
            let event: &IoEvent = unsafe { event.assume_init_ref() };
            assert_eq!(event.user_data(), had + number as u64);
        }
        taken as u64
    });
}

/// The same, as the engine reads.
#[test]
fn runs_of_events_against_the_kernel() {
    check(|ring, had| {
        let positions = ring.positions().expect("both are in the ring");
        // SAFETY: Nobody else reads this ring, whose memory outlives the call.
        if let Some(event) = unsafe { ring.take_only(positions) } {
            assert_eq!(event.user_data(), had);
            return 1;
        }
        // SAFETY: The positions are those of this ring.
        let (first, count) = unsafe { ring.batch(positions, 8) };
        let mut next = first;
        for number in 0..u64::from(count) {
            // SAFETY: It points to an event of the ring.
            ring.memory().read(unsafe { ring.position(next) });
            // SAFETY: It is in the batch.
            let event = unsafe { next.read() };
            assert_eq!(event.user_data(), had + number);
            // SAFETY: It is in the batch, so the result is the next event, or behind the last.
            next = unsafe { next.add(1) };
        }
        if count > 0 {
            // SAFETY: It points to an event of the ring, or behind the last.
            let head = unsafe { ring.position(next) };
            // SAFETY: One reader, and no further than the tail that was seen.
            unsafe { ring.advance(head) };
        }
        count.into()
    });
}
