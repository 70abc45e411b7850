//! [`Batch`], the events that have arrived and were not taken yet.
//!
//! A batch is an array of events that lie in one piece. It is either on the ring, where the end of
//! the ring ends it, or in the [`BatchBuffer`], where a system call has put the events. To take an
//! event is to read at a pointer and move the pointer, wherever the batch is. An event that is
//! alone on the ring is taken at once, without a batch.
//!
//! The kernel has its room on the ring back when `head` is stored
//! ([`Batch::release_ring_entries`]). This happens for a whole batch at once, and only in the
//! process that made the context.

use crate::raw::ring::Ring;
use crate::{Errno, IoContext, IoEvent};
use core::cell::Cell;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use core::time::Duration;

/// The most events of a batch. After so many, the engine submits queued operations and finishes
/// refused ones before it polls again. So a device that always has events delays neither.
pub(crate) const BATCH: usize = 32;

/// The buffer that a system call puts events into.
pub(crate) type BatchBuffer = [MaybeUninit<IoEvent>; BATCH];

/// Says that there is no ring to be read.
pub(super) struct NoRing;

/// See the [module](self).
///
/// # Invariants
/// - From `next` to `end` lie events that have been written. Nobody writes there until the batch is
///   replaced: the kernel not before `head` has passed them, and the buffer is this batch's alone.
/// - `released` is null unless the batch is on the ring.
pub(super) struct Batch {
    /// The next event, and the end of the batch.
    next: Cell<*const IoEvent>,
    end: Cell<*const IoEvent>,
    /// `next` as the kernel knows it, by the `head` that was stored last.
    released: Cell<*const IoEvent>,
    /// The context's ring, until it turns out to be unusable.
    ring: Cell<Ring>,
    buffer: NonNull<BatchBuffer>,
}

impl Batch {
    /// Makes an empty batch.
    ///
    /// # Safety
    /// - While the batch is used, `buffer` stays where it is and nobody else uses it.
    /// - While the context of the ring has not ended, it has no other reader than this batch. After
    ///   it has ended, [`Batch::poll`] and [`Batch::release_ring_entries`] are called only if
    ///   [`Batch::give_ring_up`] has been called.
    pub(super) unsafe fn new(ring: Ring, buffer: NonNull<BatchBuffer>) -> Self {
        Self {
            next: Cell::new(ptr::null()),
            end: Cell::new(ptr::null()),
            released: Cell::new(ptr::null()),
            ring: Cell::new(ring),
            buffer,
        }
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.next.get() == self.end.get()
    }

    /// Takes the next event.
    #[inline(always)]
    pub(super) fn next(&self) -> Option<IoEvent> {
        if self.is_empty() {
            return None;
        }
        let next = self.next.get();
        // SAFETY: `next` is before `end`, so the result lies in the same array or at its end.
        self.next.set(unsafe { next.add(1) });
        // SAFETY: `next` was before `end`, where an event has been written that nobody overwrites
        // while the batch lasts (invariant).
        Some(unsafe { next.read() })
    }

    /// Returns the number of events that are left.
    #[inline]
    pub(super) fn len(&self) -> usize {
        // SAFETY: Both lie in the same array, `end` not before `next`; or both are null, whose
        // distance is 0.
        unsafe { self.end.get().offset_from(self.next.get()) as usize }
    }

    /// Releases the events of the last batch, and takes the next event off the ring. Other events
    /// on the ring become the next batch. Also returns how many these are together.
    ///
    /// The batch must be empty.
    ///
    /// # Safety
    /// The process is that of the context.
    #[inline]
    pub(super) unsafe fn poll(&self) -> Result<Option<(IoEvent, u32)>, NoRing> {
        debug_assert!(self.is_empty());
        // SAFETY: The process is the caller's promise.
        unsafe { self.release_ring_entries() };
        let ring = self.ring.get();
        let positions = ring.positions().ok_or(NoRing)?;
        // The most frequent case: no batch begins, and nothing is left to be released.
        // SAFETY: The positions have just been read from this ring. The batch is the one reader of
        // a live ring (`new`), not in a system call, and in the process of the context.
        if let Some(event) = unsafe { ring.take_only(positions) } {
            return Ok(Some((event, 1)));
        }
        // SAFETY: The positions have just been read from this ring, which is live.
        let (first, count) = unsafe { ring.batch(positions, BATCH as u32) };
        if count == 0 {
            return Ok(None);
        }
        // SAFETY: `count` events lie at `first`. They stay until `release_ring_entries` stores a
        // `head` behind them, which it does only with those that were taken.
        unsafe { self.begin(first, count as usize) };
        self.released.set(first);
        Ok(self.next().map(|event| (event, count)))
    }

    /// Tells the kernel which events have been taken off the ring.
    ///
    /// # Safety
    /// The process is that of the context.
    #[inline]
    pub(super) unsafe fn release_ring_entries(&self) {
        let next = self.next.get();
        let released = self.released.get();
        if released == next || released.is_null() {
            return;
        }
        self.released.set(next);
        let ring = self.ring.get();
        // SAFETY: `released` is not null, so the batch is on the ring, and `next` lies in it or at
        // its end.
        let head = unsafe { ring.position(next) };
        // SAFETY: The batch is the one reader of a live ring (`new`) and not in a system call. The
        // process is the caller's promise. `next` went no further than the `tail` that was seen.
        unsafe { ring.advance(head) };
    }

    /// Takes events by system call into the buffer, where they become the batch. Returns their
    /// number.
    ///
    /// The batch must be empty.
    ///
    /// # Errors
    /// Those of [`IoContext::getevents`]; [`Errno::FORKED`].
    pub(super) fn getevents(
        &self,
        context: &IoContext,
        min: usize,
        timeout: Option<Duration>,
    ) -> Result<usize, Errno> {
        debug_assert!(self.is_empty());
        context.check_process()?;
        // SAFETY: The process has just been checked.
        unsafe { self.release_ring_entries() };
        let buffer = self.buffer.as_ptr();
        // An event that was not taken is not to be read while the kernel writes there.
        // SAFETY: No event lies at the null pointer.
        unsafe { self.begin(ptr::null(), 0) };
        self.released.set(ptr::null());
        // SAFETY: The buffer is this batch's alone (`new`), and the batch is empty. Nothing here
        // runs user code while this borrow lives.
        let room = unsafe { &mut *buffer };
        // SAFETY: The batch is the context's one reader (`new`), and reads nothing meanwhile.
        let taken = unsafe { context.getevents(min, timeout, None, room) }?;
        // SAFETY: The kernel has written `taken` events, which `getevents` has cut to the buffer's
        // length. The buffer is overwritten only here, where the batch is replaced.
        unsafe { self.begin(buffer.cast_const().cast(), taken) };
        Ok(taken)
    }

    /// Ends the batch and gives the ring up.
    #[cold]
    #[inline(never)]
    pub(super) fn give_ring_up(&self) {
        self.ring.set(Ring::none());
        self.released.set(ptr::null());
        // SAFETY: No event lies at the null pointer.
        unsafe { self.begin(ptr::null(), 0) };
    }

    /// Replaces the batch.
    ///
    /// # Safety
    /// `count` events lie at `first` and stay there until the batch is replaced again.
    #[inline]
    unsafe fn begin(&self, first: *const IoEvent, count: usize) {
        self.next.set(first);
        // SAFETY: `count` events lie at `first`, so the result is their end; or `count` is 0.
        self.end.set(unsafe { first.add(count) });
    }
}
