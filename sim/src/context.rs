//! [`Context`], what the simulated kernel knows of one context.

use crate::descriptor::Target;
use crate::memory::Segment;
use crate::ring::Ring;
use linux_aio::abi::{IOCB_CMD_FDSYNC, IOCB_CMD_FSYNC, io_event, iocb};
use std::collections::VecDeque;

/// An operation that the kernel has.
#[derive(Clone, Debug)]
pub(crate) struct InFlight {
    pub(crate) iocb: iocb,
    /// The address that it was submitted from.
    pub(crate) address: u64,
    pub(crate) on: On,
    pub(crate) segments: Vec<Segment>,
    /// The time at which it completes. A POLL has no such time.
    pub(crate) due: u64,
    /// Its number among all.
    pub(crate) order: u64,
    /// For a sync: the number of the first change that it does not cover.
    pub(crate) covers: u64,
    pub(crate) is_cancelled: bool,
    /// The number by which a harness knows it.
    pub(crate) number: u32,
}

impl InFlight {
    pub(crate) fn is_sync(&self) -> bool {
        matches!(self.iocb.aio_lio_opcode, IOCB_CMD_FSYNC | IOCB_CMD_FDSYNC)
    }

    pub(crate) fn is_of_disk(&self) -> bool {
        matches!(self.on, On::Simulated(_))
    }
}

/// Names the object that an operation works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Simulated(Target),
    /// A POLL of a descriptor of the running kernel, or of a harness.
    Polled(i32),
}

/// The words of a ring that `io_getevents` has loaded at its entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    head: u32,
    tail: u32,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) ring: Ring,
    /// The number of operations that may be in flight, with events that were not taken.
    capacity: usize,
    pub(crate) in_flight: Vec<InFlight>,
    /// For each event on the ring, from the head that was seen last: whether it is of no operation.
    on_ring: VecDeque<bool>,
    /// The head that was seen last.
    head: u32,
    pub(crate) taken: u64,
    pub(crate) strays_taken: u64,
    /// A crash or a kill has ended it.
    pub(crate) is_dead: bool,
}

impl Context {
    pub(crate) fn new(capacity: usize, ring: Ring) -> Self {
        assert!(capacity < ring.nr() as usize, "the ring has room for every event");
        Self {
            ring,
            capacity,
            in_flight: Vec::new(),
            on_ring: VecDeque::new(),
            head: 0,
            taken: 0,
            strays_taken: 0,
            is_dead: false,
        }
    }

    /// Takes note of where user space has moved `head`. The error says that it was beyond the tail.
    pub(crate) fn look_at_head(&mut self) -> Result<(), String> {
        let (nr, seen) = (self.ring.nr(), self.ring.head());
        let head = seen % nr;
        let passed = ((head + nr - self.head) % nr) as usize;
        if passed > self.on_ring.len() {
            let (there, before) = (self.on_ring.len(), self.head);
            self.ring.set_head(before);
            return Err(format!("head moved from {before} to {seen}, with {there} events there"));
        }
        self.head = head;
        self.taken += passed as u64;
        self.strays_taken += self.on_ring.drain(..passed).filter(|&stray| stray).count() as u64;
        Ok(())
    }

    pub(crate) fn has_of_disk(&self) -> bool {
        self.in_flight.iter().any(InFlight::is_of_disk)
    }

    /// Returns how many more operations find room, by the head that was seen last.
    pub(crate) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.in_flight.len() + self.on_ring.len())
    }

    /// Adds an event. There is room: operations in flight and events together are no more than the
    /// capacity.
    pub(crate) fn publish(&mut self, event: io_event, is_stray: bool) {
        assert!(self.on_ring.len() + 1 < self.ring.nr() as usize, "a ring has room for all");
        self.ring.publish(event);
        self.on_ring.push_back(is_stray);
    }

    /// Loads `head` and `tail`, as `io_getevents` does at its entry.
    pub(crate) fn enter_getevents(&self) -> Entry {
        Entry { head: self.ring.head(), tail: self.ring.tail() }
    }

    /// Takes up to `most` events off the ring, as `io_getevents` does that has entered so. It
    /// stores `head` even if it takes nothing, unless the ring was empty. The error says that
    /// another has moved `head` since the entry, which the store undoes.
    pub(crate) fn take(
        &mut self,
        entry: Entry,
        most: usize,
        events: &mut Vec<io_event>,
    ) -> Result<(), String> {
        let Entry { head, tail } = entry;
        if head == tail {
            return Ok(());
        }
        let nr = self.ring.nr();
        let (first, end) = (head % nr, tail % nr);
        let count = ((end + nr - first) % nr).min(most.try_into().unwrap_or(u32::MAX));
        events.extend((0..count).map(|i| self.ring.event((first + i) % nr)));
        let found = self.ring.swap_head((first + count) % nr);
        if found != head {
            return Err(format!("io_getevents undid that a reader moved head: {head} to {found}"));
        }
        self.look_at_head()
    }
}
