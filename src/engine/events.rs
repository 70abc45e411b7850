//! [`Events`], what has arrived and was not looked at yet.
//!
//! Events are taken from one run at a time: an array of them that is known to be whole, either on
//! the ring, where it ends at the ring's end at the latest, or in the inbox, where a system call
//! has put them. So to take one is to read at a pointer and move it, wherever it came from. One that
//! is alone on the ring is taken at once, and never is a run.
//!
//! The kernel has its room on the ring back when `head` is stored ([`Events::publish`]): for a
//! whole run at once, and only in the process that made the context.

use crate::raw::ring::Ring;
use crate::{Errno, IoContext, IoEvent};
use core::cell::Cell;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use core::time::Duration;

/// The most events of a run. After so many, what is pending is submitted, and what was refused
/// comes out, before more are looked at: so a device that is always done keeps neither waiting.
pub(crate) const RUN: usize = 32;

/// Where a system call puts events.
pub(crate) type Inbox = [MaybeUninit<IoEvent>; RUN];

/// There is no ring to be read.
pub(super) struct NoRing;

/// See the [module](self).
pub(super) struct Events {
    /// The present run: from the next event to behind the last.
    next: Cell<*const IoEvent>,
    end: Cell<*const IoEvent>,
    /// `next` as the kernel knows it. Null where the run is none of the ring's.
    published: Cell<*const IoEvent>,
    /// The context's ring, until it turns out not to be usable.
    ring: Cell<Ring>,
    inbox: NonNull<Inbox>,
}

impl Events {
    /// # Safety
    /// Until it is gone, `inbox` stays where it is and nobody else uses it; and either the context
    /// is alive, or [`Events::give_ring_up`] has been called.
    pub(super) unsafe fn new(ring: Ring, inbox: NonNull<Inbox>) -> Self {
        Self {
            next: Cell::new(ptr::null()),
            end: Cell::new(ptr::null()),
            published: Cell::new(ptr::null()),
            ring: Cell::new(ring),
            inbox,
        }
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.next.get() == self.end.get()
    }

    /// Takes the next event of the run.
    ///
    /// # Safety
    /// There is one ([`Events::is_empty`]).
    #[inline(always)]
    pub(super) unsafe fn take(&self) -> IoEvent {
        let next = self.next.get();
        // SAFETY: `next` is in the run, whose end it has not reached.
        self.next.set(unsafe { next.add(1) });
        // SAFETY: The kernel has written the events of the run, and writes there again only when
        // `head` has passed them, or by the next call that fills the inbox.
        unsafe { next.read() }
    }

    /// How many events of the run are left.
    #[inline]
    pub(super) fn len(&self) -> usize {
        // SAFETY: Both lie in the same run, `end` not before `next`; or both are null.
        unsafe { self.end.get().offset_from(self.next.get()) as usize }
    }

    /// Gives what was taken off the ring back, and takes the next event off it. What else is there
    /// becomes the next run. Says how many that is together.
    ///
    /// # Safety
    /// The run is at its end, and the process is that of the context.
    #[inline]
    pub(super) unsafe fn look(&self) -> Result<Option<(IoEvent, u32)>, NoRing> {
        debug_assert!(self.is_empty());
        // SAFETY: The caller's promise.
        unsafe { self.publish() };
        let ring = self.ring.get();
        let positions = ring.positions().ok_or(NoRing)?;
        // The most frequent case: no run begins, and nothing is left to be published.
        // SAFETY: As of `advance` in `publish`.
        if let Some(event) = unsafe { ring.take_only(positions) } {
            return Ok(Some((event, 1)));
        }
        // SAFETY: The positions are those of this ring.
        let (first, count) = unsafe { ring.run(positions, RUN as u32) };
        if count == 0 {
            return Ok(None);
        }
        self.begin(first, count as usize);
        self.published.set(first);
        // SAFETY: There is one.
        Ok(Some((unsafe { self.take() }, count)))
    }

    /// Tells the kernel which events have been taken off the ring.
    ///
    /// # Safety
    /// The process is that of the context.
    #[inline]
    pub(super) unsafe fn publish(&self) {
        let next = self.next.get();
        let published = self.published.get();
        if published == next || published.is_null() {
            return;
        }
        self.published.set(next);
        let ring = self.ring.get();
        // SAFETY: The run is the ring's, since `published` is not null.
        let head = unsafe { ring.position(next) };
        // SAFETY: The engine is the context's one reader and not in a system call; the process is
        // the context's; `head` went no further than the `tail` that was seen.
        unsafe { ring.advance(head) };
    }

    /// Takes events by system call into the inbox, which become the run, and says how many.
    ///
    /// # Safety
    /// The run is at its end, and the process is that of the context.
    pub(super) unsafe fn fetch(
        &self,
        context: &IoContext,
        min: usize,
        timeout: Option<Duration>,
    ) -> Result<usize, Errno> {
        debug_assert!(self.is_empty());
        // SAFETY: The caller's promise.
        unsafe { self.publish() };
        let inbox = self.inbox.as_ptr();
        // SAFETY: The run is at its end, so nothing else looks at the inbox; no user code runs
        // while this borrow lives.
        let room = unsafe { &mut *inbox };
        // SAFETY: The engine is the context's one reader.
        let taken = unsafe { context.getevents(min, timeout, None, room) }?;
        self.published.set(ptr::null());
        self.begin(inbox.cast_const().cast(), taken);
        Ok(taken)
    }

    /// Ends the run and gives the ring up.
    #[cold]
    #[inline(never)]
    pub(super) fn give_ring_up(&self) {
        self.ring.set(Ring::none());
        self.published.set(ptr::null());
        self.begin(ptr::null(), 0);
    }

    #[inline]
    fn begin(&self, first: *const IoEvent, count: usize) {
        self.next.set(first);
        // SAFETY: `count` events lie at `first`.
        self.end.set(unsafe { first.add(count) });
    }
}
