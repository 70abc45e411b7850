//! Floor 2: [`Ring`], the completion ring of a context, as the kernel maps it into the process.
//!
//! The header is `struct aio_ring` of `fs/aio.c`; the events follow it. `head` is where the next
//! event is taken, `tail` where the kernel puts the next one; both are below `nr`, and equal when
//! there is none.
//!
//! # Who writes what, and in which order
//!
//! The kernel (`aio_complete`) writes an event, issues `smp_wmb`, stores `tail`. The reader here
//! loads `tail` with acquire, which pairs with that barrier: an event below the `tail` it saw is
//! whole. It copies the events and stores `head` with release, so that the copies are done before
//! the kernel (`user_refill_reqs_available`, and then `aio_complete` of a later operation) can see
//! the room and write there again.
//!
//! `io_getevents` moves `head` too, under a mutex that user space cannot take. So there must be
//! one reader at a time, and this module relies on its callers for that: a
//! [`Reaper`](crate::Reaper) is `&mut`, neither `Clone` nor `Sync`. The kernel keeps `tail` and
//! `nr` of its own and is not misled by what is written there; but a `head` beyond `tail` makes it
//! hand out stale events, so `head` only ever follows a `tail` that was read.

#[cfg(loom)]
pub(crate) mod model;

use crate::IoEvent;
use crate::abi::{AIO_RING_INCOMPAT_FEATURES, AIO_RING_MAGIC, aio_context_t, aio_ring};
use crate::primitive::{AtomicU32, Ordering};
use core::ptr::{self, NonNull};

/// The mapped ring of a live context.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring {
    header: NonNull<aio_ring>,
    nr: u32,
}

// SAFETY: A `Ring` is an address of memory that belongs to the process, not to a thread. Its
// methods access the shared words atomically, and events only under the caller's promise to be the
// one reader.
unsafe impl Send for Ring {}
// SAFETY: As above.
unsafe impl Sync for Ring {}

/// Events that are on the ring: where the first one is, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Available {
    pub(crate) head: u32,
    pub(crate) count: u32,
}

impl Ring {
    /// The ring of a context, or `None` where it is not one that this code understands: gVisor's
    /// is a page of zeros, and a future kernel may announce an incompatible layout.
    ///
    /// # Safety
    /// `context` must be a live context of this process (its number is the address of the ring),
    /// and the `Ring` must not be used after the context has ended.
    pub(crate) unsafe fn of_context(context: aio_context_t) -> Option<Self> {
        #[allow(clippy::unnecessary_cast, reason = "the two types are one except on x32")]
        let address = context as usize;
        let header = NonNull::new(ptr::with_exposed_provenance_mut::<aio_ring>(address))?;
        // SAFETY: The kernel maps at least a page at the address of a live context.
        let seen = unsafe { header.read_volatile() };
        let understood = seen.magic == AIO_RING_MAGIC
            && seen.incompat_features == AIO_RING_INCOMPAT_FEATURES
            && seen.header_length as usize == size_of::<aio_ring>()
            && seen.nr > 0;
        understood.then_some(Self { header, nr: seen.nr })
    }

    /// What is there to read. `None` where `head` or `tail` is not below `nr`, as no kernel leaves
    /// them: then the ring cannot be trusted, and the system call must be used.
    #[inline]
    pub(crate) fn available(self) -> Option<Available> {
        let (head, tail) = self.positions()?;
        let count = if tail >= head { tail - head } else { tail + self.nr - head };
        Some(Available { head, count })
    }

    /// `head` and `tail`, where both are below `nr`.
    #[inline]
    fn positions(self) -> Option<(u32, u32)> {
        let head = self.head().load(Ordering::Relaxed);
        // Pairs with the kernel's smp_wmb() between an event and `tail`.
        let tail = self.tail().load(Ordering::Acquire);
        (head.max(tail) < self.nr).then_some((head, tail))
    }

    /// The event at `head`, which stays on the ring until [`Ring::advance`].
    ///
    /// # Safety
    /// `head` must be one of [`Ring::available`]'s, and not yet given up by [`Ring::advance`].
    #[inline]
    pub(crate) unsafe fn event(self, head: u32) -> IoEvent {
        debug_assert!(head < self.nr);
        // SAFETY: `nr` events follow the header, and `head` is below `nr`.
        let event = unsafe { self.events().add(head as usize) };
        // SAFETY: The kernel has written this event and does not write here again before `head`
        // has passed it; the memory is aligned and any bytes are a valid event.
        unsafe { event.read() }
    }

    /// The place after `head`.
    #[inline]
    pub(crate) fn after(self, head: u32) -> u32 {
        let next = head + 1;
        if next == self.nr { 0 } else { next }
    }

    /// The first of the events that are there, and how many of them, up to `most`, lie in one piece:
    /// the ring's end ends it. `None` as for [`Ring::available`].
    #[inline]
    pub(crate) fn run(self, most: u32) -> Option<(*const IoEvent, u32)> {
        let (head, tail) = self.positions()?;
        let end = if tail >= head { tail } else { self.nr };
        // SAFETY: `nr` events follow the header, and `head` is below `nr`.
        let first = unsafe { self.events().add(head as usize) };
        Some((first.as_ptr(), (end - head).min(most)))
    }

    /// The place of the event at `next`; behind the last is the first.
    ///
    /// # Safety
    /// `next` points to an event of this ring, or behind the last.
    #[inline]
    pub(crate) unsafe fn position(self, next: *const IoEvent) -> u32 {
        // SAFETY: Both lie in the ring's events, or at their end; the caller's promise.
        let position = unsafe { next.offset_from(self.events().as_ptr()) } as u32;
        if position == self.nr { 0 } else { position }
    }

    #[inline]
    fn events(self) -> NonNull<IoEvent> {
        // SAFETY: The events follow the header, which the kernel has mapped with them.
        unsafe { self.header.add(1) }.cast()
    }

    /// Gives the events before `head` back to the kernel.
    ///
    /// # Safety
    /// - The caller is the ring's one reader, no thread is in `io_getevents` for this context,
    ///   and the process is the one that made it (a child's store would cost the parent events).
    /// - `head` lies between the present head and the `tail` last seen.
    #[inline]
    pub(crate) unsafe fn advance(self, head: u32) {
        debug_assert!(head < self.nr);
        // Orders the reads of the events before the kernel's next writes there.
        self.head().store(head, Ordering::Release);
    }
}

/// Where the words are. In models they are loom's, at another place.
#[cfg(not(loom))]
impl Ring {
    #[inline]
    fn head<'a>(self) -> &'a AtomicU32 {
        // SAFETY: In bounds of the header, which is mapped.
        let head = unsafe { &raw mut (*self.header.as_ptr()).head };
        // SAFETY: Aligned, mapped while the `Ring` may be used, and every access from user space
        // is atomic.
        unsafe { AtomicU32::from_ptr(head) }
    }

    #[inline]
    fn tail<'a>(self) -> &'a AtomicU32 {
        // SAFETY: In bounds of the header, which is mapped.
        let tail = unsafe { &raw mut (*self.header.as_ptr()).tail };
        // SAFETY: Aligned, mapped while the `Ring` may be used, and every access from user space
        // is atomic.
        unsafe { AtomicU32::from_ptr(tail) }
    }
}

#[cfg(not(loom))]
#[cfg(test)]
mod tests {
    use super::{Available, Ring};
    use crate::IoEvent;
    use crate::abi::{AIO_RING_MAGIC, aio_context_t, aio_ring, io_event};

    /// A ring of four events in ordinary memory, event `n` with user data `n`.
    #[repr(C)]
    struct Memory {
        header: aio_ring,
        events: [io_event; 4],
    }

    impl Memory {
        fn new() -> Self {
            let header = aio_ring {
                nr: 4,
                magic: AIO_RING_MAGIC,
                compat_features: 1,
                header_length: 32,
                ..aio_ring::default()
            };
            let mut number = 0;
            let events = [(); 4].map(|()| {
                number += 1;
                io_event { data: number - 1, ..io_event::default() }
            });
            Self { header, events }
        }

        fn ring(&mut self) -> Option<Ring> {
            let address = (&raw mut *self).expose_provenance() as aio_context_t;
            // SAFETY: The memory is laid out as a ring, and outlives it in these tests.
            unsafe { Ring::of_context(address) }
        }
    }

    #[test]
    fn a_ring_that_is_not_understood_is_refused() {
        let spoil: [fn(&mut aio_ring); 4] = [
            |header| header.magic = 0,
            |header| header.incompat_features = 1,
            |header| header.header_length = 64,
            |header| header.nr = 0,
        ];
        for spoil in spoil {
            let mut memory = Memory::new();
            spoil(&mut memory.header);
            assert!(memory.ring().is_none(), "{:?}", memory.header);
        }
        assert!(Memory::new().ring().is_some());
    }

    #[test]
    fn what_is_available_wraps_around() {
        let cases = [(0, 0, 0), (0, 3, 3), (3, 0, 1), (3, 2, 3), (2, 2, 0)];
        for (head, tail, count) in cases {
            let mut memory = Memory::new();
            (memory.header.head, memory.header.tail) = (head, tail);
            let ring = memory.ring().expect("a good header");
            assert_eq!(ring.available(), Some(Available { head, count }));
        }
    }

    #[test]
    fn a_head_or_tail_outside_the_ring_is_not_followed() {
        for (head, tail) in [(4, 0), (0, 4), (u32::MAX, 1), (1, u32::MAX)] {
            let mut memory = Memory::new();
            (memory.header.head, memory.header.tail) = (head, tail);
            assert_eq!(memory.ring().expect("a good header").available(), None);
        }
    }

    #[test]
    fn events_are_read_in_place_and_given_back() {
        let mut memory = Memory::new();
        (memory.header.head, memory.header.tail) = (3, 1);
        let ring = memory.ring().expect("a good header");
        // SAFETY: Both lie between head and tail.
        let seen = [3, ring.after(3)].map(|at| unsafe { ring.event(at) });
        assert_eq!(seen.map(|event: IoEvent| event.user_data()), [3, 0]);
        // SAFETY: One reader, and 1 is the tail.
        unsafe { ring.advance(1) };
        assert_eq!(ring.available(), Some(Available { head: 1, count: 0 }));
    }
}
