//! [`Context`], what a simulated kernel knows of one context.

use super::memory::{Ring, Segment};
use linux_aio::abi::{io_event, iocb};
use std::collections::VecDeque;

/// An operation that the kernel has.
#[derive(Clone, Debug)]
pub(super) struct InFlight {
    pub(super) iocb: iocb,
    /// Where it was submitted from.
    pub(super) address: u64,
    pub(super) segments: Vec<Segment>,
    pub(super) cancelled: bool,
}

/// What `io_getevents` knows of a ring from its entry on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    head: u32,
    tail: u32,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Context {
    pub(super) ring: Ring,
    /// How many operations may be in flight, events that were not taken included.
    capacity: usize,
    pub(super) in_flight: Vec<InFlight>,
    /// Which events on the ring are strays, from the head that was seen last.
    on_ring: VecDeque<bool>,
    /// The head that was seen last.
    head: u32,
    /// Events of the past, to be given again.
    pub(super) past: Vec<io_event>,
    pub(super) taken: u64,
    pub(super) strays_taken: u64,
}

impl Context {
    pub(super) fn new(capacity: usize, nr: u32) -> Self {
        assert!(capacity < nr as usize, "the ring has room for every event");
        Self {
            ring: Ring::new(nr),
            capacity,
            in_flight: Vec::new(),
            on_ring: VecDeque::new(),
            head: 0,
            past: Vec::new(),
            taken: 0,
            strays_taken: 0,
        }
    }

    /// Takes note of where user space has moved `head`. `Err` where that was beyond the tail.
    pub(super) fn look_at_head(&mut self) -> Result<(), String> {
        let (nr, seen) = (self.ring.nr(), self.ring.head());
        let head = seen % nr;
        let passed = ((head + nr - self.head) % nr) as usize;
        if passed > self.on_ring.len() {
            let there = self.on_ring.len();
            self.ring.set_head(self.head);
            return Err(format!(
                "head moved from {} to {seen}, with {there} events there",
                self.head
            ));
        }
        self.head = head;
        self.taken += passed as u64;
        self.strays_taken += self.on_ring.drain(..passed).filter(|&stray| stray).count() as u64;
        Ok(())
    }

    /// How many more operations find room.
    pub(super) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.in_flight.len() + self.on_ring.len())
    }

    pub(super) fn publish(&mut self, event: io_event, stray: bool) {
        self.ring.publish(event);
        self.on_ring.push_back(stray);
    }

    /// Loads `head` and `tail`, as `io_getevents` does at its entry.
    pub(super) fn enter_getevents(&self) -> Entry {
        Entry { head: self.ring.head(), tail: self.ring.tail() }
    }

    /// Takes up to `most` events off the ring, as `io_getevents` does that has entered so: it
    /// stores `head` even if it takes nothing, unless the ring was empty. The second is an error if
    /// another has moved `head` since the entry, which the store undoes.
    pub(super) fn take(
        &mut self,
        entry: Entry,
        most: usize,
    ) -> (Vec<io_event>, Result<(), String>) {
        let Entry { head, tail } = entry;
        if head == tail {
            return (Vec::new(), Ok(()));
        }
        let nr = self.ring.nr();
        let (first, end) = (head % nr, tail % nr);
        let count = ((end + nr - first) % nr).min(most.try_into().unwrap_or(u32::MAX));
        let events = (0..count).map(|i| self.ring.event((first + i) % nr)).collect();
        let found = self.ring.swap_head((first + count) % nr);
        if found != head {
            let undone = format!("io_getevents undid that a reader moved head: {head} to {found}");
            return (events, Err(undone));
        }
        let counted = self.look_at_head();
        assert_eq!(counted, Ok(()), "it moved by what was there");
        (events, Ok(()))
    }
}
