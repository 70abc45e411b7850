//! [`Ring`], the completion ring of a context, as the kernel maps it into the process.
//!
//! The header is `struct aio_ring` of `fs/aio.c`; the events follow it. `head` is where the next
//! event is taken, `tail` where the kernel puts the next one; both are below `nr`, and equal when
//! there is none.
//!
//! # Who writes what, and in which order
//!
//! The kernel (`aio_complete`) writes an event, issues `smp_wmb`, and stores `tail`. The reader
//! here loads `tail` with acquire, which pairs with that barrier: an event below the `tail` that it
//! saw is whole.
//!
//! The reader then copies the events and stores `head` with release. So the copies are done before
//! the kernel can see the room and write there again. In the kernel that is
//! `user_refill_reqs_available`, and then `aio_complete` of a later operation.
//!
//! `io_getevents` moves `head` too, under a mutex that user space cannot take. It loads `head` at
//! its entry and stores `head` at its end, even if it was asked for no events. A store of a reader
//! in between is undone, and events come twice or never. So there must be one reader at a time.
//! This module relies on its callers for that: a [`Reaper`](crate::Reaper) is `&mut`, neither
//! `Clone` nor `Sync`.
//!
//! The kernel keeps a `tail` and an `nr` of its own, and is not misled by what is written there.
//! But a `head` beyond `tail` makes it hand out stale events. So `head` only ever follows a `tail`
//! that was read.

#[cfg(all(test, loom))]
pub(crate) mod model;

use crate::IoEvent;
use crate::abi::{AIO_RING_INCOMPAT_FEATURES, AIO_RING_MAGIC, aio_context_t, aio_ring};
use crate::primitive::{AtomicU32, Ordering};
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};

/// The mapped ring of a live context; or none, which has no places.
///
/// From [`IoContext::ring`](crate::IoContext::ring), whose caller promises to use it neither after
/// the context has ended nor in a forked child.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio_raw::IoContext;
///
/// let context = IoContext::new(1)?;
/// // SAFETY: The context outlives the ring, and this process does not fork.
/// let ring = unsafe { context.ring() };
/// println!("{ring:?}: there: {}, at {:?}", ring.exists(), ring.positions());
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Ring {
    header: NonNull<aio_ring>,
    nr: u32,
}

/// Names two places of the ring: of the next event to take, and of the next one to come.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio_raw::IoContext;
///
/// let context = IoContext::new(1)?;
/// // SAFETY: The context outlives the ring, and this process does not fork.
/// let ring = unsafe { context.ring() };
/// if let Some(before) = ring.positions() {
///     // Nothing was submitted, so nothing has come.
///     assert_eq!(ring.positions(), Some(before));
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Positions {
    head: u32,
    tail: u32,
}

/// The header of no ring: `head` and `tail` are 0, and neither is below its `nr` of 0.
static NOTHING: [core::sync::atomic::AtomicU32; size_of::<aio_ring>() / 4] =
    [const { core::sync::atomic::AtomicU32::new(0) }; size_of::<aio_ring>() / 4];

// SAFETY: A `Ring` is an address of memory that belongs to the process, not to a thread. Its
// methods access the shared words atomically, and events only under the caller's promise to be the
// one reader.
unsafe impl Send for Ring {}
// SAFETY: Its safe methods only load the shared words, atomically. The others have one reader by
// the caller's promise.
unsafe impl Sync for Ring {}

impl Ring {
    /// Returns no ring: [`positions`](Self::positions) gives `None`.
    #[inline]
    pub fn none() -> Self {
        Self { header: NonNull::from(&NOTHING).cast(), nr: 0 }
    }

    /// Returns whether this is a context's ring.
    #[inline]
    pub fn exists(self) -> bool {
        self.nr > 0
    }

    /// Returns the ring of a context, or `None` if this code does not understand it. The ring of
    /// gVisor is a page of zeros, and a future kernel may announce an incompatible layout.
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
            // One place is always left free.
            && seen.nr > 1;
        understood.then_some(Self { header, nr: seen.nr })
    }

    /// Moves events from the ring to `events`, as many as are there and find room. Returns their
    /// number.
    ///
    /// Returns `None` if there is no ring, or if `head` or `tail` is not below `nr`. No kernel
    /// leaves them so. The ring cannot be trusted then, and the system call must be used.
    ///
    /// # Safety
    /// The caller is the ring's one reader, no thread is in `io_getevents` for this context, and
    /// the process is the one that made it.
    #[inline(always)]
    pub unsafe fn take(self, events: &mut [MaybeUninit<IoEvent>]) -> Option<usize> {
        let Positions { mut head, tail } = self.positions()?;
        let mut taken = 0;
        for place in events {
            if head == tail {
                break;
            }
            // SAFETY: `head` is not yet at the tail that was read, so an event lies there.
            place.write(unsafe { self.event(head) });
            head = self.after(head);
            taken += 1;
        }
        if taken > 0 {
            // SAFETY: The caller is the one reader, in the process of the context, and no thread is
            // in `io_getevents` (promise). `head` went no further than the tail that was read.
            unsafe { self.advance(head) };
        }
        Some(taken)
    }

    /// Returns `head` and `tail`, or `None` as [`Ring::take`] does.
    #[inline]
    pub fn positions(self) -> Option<Positions> {
        #[cfg(all(test, loom))]
        if !self.exists() {
            return None;
        }
        let head = self.head().load(Ordering::Relaxed);
        // Pairs with the kernel's smp_wmb() between an event and `tail`.
        let tail = self.tail().load(Ordering::Acquire);
        #[cfg(feature = "sim")]
        if head == tail && self.exists() {
            if let Some(kernel) = crate::sys::sim::installed() {
                kernel.ring_is_empty(self.header.as_ptr().expose_provenance() as aio_context_t);
            }
        }
        // Two comparisons, since the greater of both takes one instruction more.
        if head < self.nr && tail < self.nr { Some(Positions { head, tail }) } else { None }
    }

    /// Returns the event at `head`, which stays on the ring until [`Ring::advance`].
    ///
    /// # Safety
    /// `head` lies between the ring's head and its tail.
    #[inline]
    unsafe fn event(self, head: u32) -> IoEvent {
        debug_assert!(head < self.nr);
        #[cfg(all(test, loom))]
        self.memory().read(head);
        // SAFETY: `nr` events follow the header, and `head` is below `nr`.
        let event = unsafe { self.events().add(head as usize) };
        // SAFETY: The kernel has written this event and does not write here again before `head`
        // has passed it; the memory is aligned and any bytes are a valid event.
        unsafe { event.read() }
    }

    /// Returns the place after `head`.
    #[inline]
    fn after(self, head: u32) -> u32 {
        let next = head + 1;
        if next == self.nr { 0 } else { next }
    }

    /// Takes the event that is there, where it is the only one.
    ///
    /// # Safety
    /// - The caller is the ring's one reader, no thread is in `io_getevents` for this context, and
    ///   the process is the one that made it.
    /// - The positions were read from this ring, and `head` has not been stored since.
    #[inline]
    pub unsafe fn take_only(self, Positions { head, tail }: Positions) -> Option<IoEvent> {
        let next = self.after(head);
        // Where there is none, `tail` is `head`, and not the next place: there are two at least.
        if next != tail {
            return None;
        }
        // SAFETY: `tail` is the next position, so an event lies at `head`.
        let event = unsafe { self.event(head) };
        // SAFETY: The caller is the one reader, in the process of the context, and no thread is in
        // `io_getevents` (promise). `next` is the tail that was read.
        unsafe { self.advance(next) };
        Some(event)
    }

    /// Returns the first of the events on the ring, and how many of them lie in one piece, up to
    /// `most`. The end of the ring ends a batch.
    ///
    /// # Safety
    /// The positions were read from this ring, whose context has not ended.
    #[inline]
    pub unsafe fn batch(self, positions: Positions, most: u32) -> (*const IoEvent, u32) {
        let Positions { head, tail } = positions;
        let end = if tail >= head { tail } else { self.nr };
        // SAFETY: `nr` events follow the header. `positions` gave the head, so it is below `nr`.
        let first = unsafe { self.events().add(head as usize) };
        (first.as_ptr(), (end - head).min(most))
    }

    /// Returns the position of the event at `next`. Behind the last event is the first.
    ///
    /// # Safety
    /// `next` points to an event of this ring, or behind the last.
    #[inline]
    pub unsafe fn position(self, next: *const IoEvent) -> u32 {
        // SAFETY: Both lie in the ring's events or at their end: one array, in one mapping.
        let position = unsafe { next.offset_from(self.events().as_ptr()) } as u32;
        if position == self.nr { 0 } else { position }
    }

    #[inline]
    fn events(self) -> NonNull<IoEvent> {
        // SAFETY: The result is the end of the header, in the mapping or in `NOTHING`.
        unsafe { self.header.add(1) }.cast()
    }

    /// Gives the events before `head` back to the kernel.
    ///
    /// # Safety
    /// - The caller is the ring's one reader, no thread is in `io_getevents` for this context,
    ///   and the process is the one that made it (a child's store would cost the parent events).
    /// - `head` lies between the present head and the `tail` last seen.
    #[inline]
    pub unsafe fn advance(self, head: u32) {
        debug_assert!(head < self.nr);
        // Orders the reads of the events before the kernel's next writes there.
        self.head().store(head, Ordering::Release);
    }
}

/// Finds the words. In models they are loom's, at another place.
#[cfg(not(all(test, loom)))]
impl Ring {
    #[inline]
    fn head<'a>(self) -> &'a AtomicU32 {
        // SAFETY: The field is within the header, which is mapped while the `Ring` may be used. No
        // reference is made, so nothing is said of what the kernel does meanwhile.
        let head = unsafe { &raw mut (*self.header.as_ptr()).head };
        // SAFETY: Aligned, mapped while the `Ring` may be used, and every access from user space
        // is atomic.
        unsafe { AtomicU32::from_ptr(head) }
    }

    #[inline]
    fn tail<'a>(self) -> &'a AtomicU32 {
        // SAFETY: The field is within the header, which is mapped while the `Ring` may be used. No
        // reference is made, so nothing is said of what the kernel does meanwhile.
        let tail = unsafe { &raw mut (*self.header.as_ptr()).tail };
        // SAFETY: Aligned, mapped while the `Ring` may be used, and every access from user space
        // is atomic.
        unsafe { AtomicU32::from_ptr(tail) }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Positions, Ring};
    use crate::IoEvent;
    use crate::abi::{AIO_RING_MAGIC, aio_context_t, aio_ring, io_event};
    use core::mem::MaybeUninit;
    use std::{vec, vec::Vec};

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
        let spoil: [fn(&mut aio_ring); 5] = [
            |header| header.magic = 0,
            |header| header.incompat_features = 1,
            |header| header.header_length = 64,
            |header| header.nr = 0,
            |header| header.nr = 1,
        ];
        for spoil in spoil {
            let mut memory = Memory::new();
            spoil(&mut memory.header);
            assert!(memory.ring().is_none(), "{:?}", memory.header);
        }
        assert!(Memory::new().ring().is_some());
    }

    /// Returns the numbers of the events that are taken into room for `most`, at most four.
    fn take(ring: Ring, most: usize) -> Option<Vec<u64>> {
        let mut room = [const { MaybeUninit::uninit() }; 4];
        // SAFETY: Nobody else reads this ring, whose memory outlives the call.
        let taken = unsafe { ring.take(&mut room[..most]) }?;
        // SAFETY: The first `taken` ones have been written.
        let number = |event: &MaybeUninit<IoEvent>| unsafe { event.assume_init_ref() }.user_data();
        Some(room[..taken].iter().map(number).collect())
    }

    #[test]
    fn what_is_taken_wraps_around_and_is_given_back() {
        let cases: [(u32, u32, &[u64]); 5] =
            [(0, 0, &[]), (0, 3, &[0, 1, 2]), (3, 0, &[3]), (3, 2, &[3, 0, 1]), (2, 2, &[])];
        for (head, tail, events) in cases {
            let mut memory = Memory::new();
            (memory.header.head, memory.header.tail) = (head, tail);
            let ring = memory.ring().expect("a good header");
            assert_eq!(take(ring, 4).as_deref(), Some(events));
            assert_eq!(ring.positions(), Some(Positions { head: tail, tail }));
        }
    }

    #[test]
    fn the_only_event_is_taken_and_given_back() {
        for (head, tail, event) in [(0, 1, Some(0)), (3, 0, Some(3)), (0, 2, None), (2, 2, None)] {
            let mut memory = Memory::new();
            (memory.header.head, memory.header.tail) = (head, tail);
            let ring = memory.ring().expect("a good header");
            let positions = ring.positions().expect("both are in the ring");
            // SAFETY: Nobody else reads this ring, whose memory outlives the call.
            let taken = unsafe { ring.take_only(positions) };
            assert_eq!(taken.map(|event| event.user_data()), event);
            let head = if event.is_some() { tail } else { head };
            assert_eq!(ring.positions(), Some(Positions { head, tail }));
        }
    }

    #[test]
    fn what_finds_no_room_stays() {
        let mut memory = Memory::new();
        (memory.header.head, memory.header.tail) = (3, 2);
        let ring = memory.ring().expect("a good header");
        let taken = [2, 0, 2].map(|most| take(ring, most));
        assert_eq!(taken, [Some(vec![3, 0]), Some(vec![]), Some(vec![1])]);
    }

    #[test]
    fn a_head_or_tail_outside_the_ring_is_not_followed() {
        for (head, tail) in [(4, 0), (0, 4), (u32::MAX, 1), (1, u32::MAX)] {
            let mut memory = Memory::new();
            (memory.header.head, memory.header.tail) = (head, tail);
            assert_eq!(take(memory.ring().expect("a good header"), 4), None);
        }
    }
}
