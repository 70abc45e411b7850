//! [`Signal`], the eventfd of an engine, by which an event loop waits for its completions.
//!
//! The kernel adds one to the eventfd that an iocb names when the event is on the ring. An
//! operation that the kernel refuses has no event, nor has one that is cancelled before it is
//! submitted. For these the engine adds to the eventfd itself.
//!
//! # Why no wake-up is lost
//!
//! While an operation has ended and was not taken, the eventfd is readable, or its signal is on the
//! way. Only [`Engine::look_again`] empties the eventfd, after a look that found nothing. It then
//! looks again. An event whose signal it emptied was on the ring before, so the second look finds
//! that event, and the eventfd is made readable again. An event that the second look does not find
//! signals later.
//!
//! # Operations held back
//!
//! Operations that `io_submit` had no room for (`EAGAIN`) stay pending. There is room when an
//! operation in flight has ended. Its signal wakes the event loop, and [`Engine::look_again`]
//! submits the operations that were held back. A POLL may never end. So if only POLLs are in
//! flight, or nothing is, the eventfd is made readable at once, and operations that find no room
//! once more end with `EAGAIN`.
//!
//! # Cost
//!
//! Without the eventfd: none. Each submit and each look checks the process by one word in memory
//! ([`ForkGuard`]). An engine with the eventfd checks a word that never holds the mark, and so
//! takes the slow paths of this file, which check the process. They make iocbs name the eventfd at
//! submit.

use super::{Engine, Settled};
use crate::abi::IOCB_FLAG_RESFD;
use crate::raw::ForkGuard;
use crate::slot::Slot;
use crate::{Errno, EventFd, Fd, IoContext, Opcode};
use core::cell::{Cell, OnceCell};
use core::ptr::NonNull;

/// See the [module](self).
pub(super) struct Signal {
    eventfd: OnceCell<EventFd>,
    /// The kernel had no room for the pending operations. False without the eventfd.
    held_back: Cell<bool>,
}

impl Signal {
    /// No eventfd yet.
    pub(super) const fn new() -> Self {
        Self { eventfd: OnceCell::new(), held_back: Cell::new(false) }
    }

    fn is_on(&self) -> bool {
        self.eventfd.get().is_some()
    }

    /// Makes the eventfd readable, if there is one. Does nothing in a forked child, since the
    /// eventfd is the parent's, too.
    pub(super) fn raise(&self, context: &IoContext) {
        if let Some(eventfd) = self.eventfd.get() {
            if context.check_process().is_ok() {
                // This fails only if the count is at its limit, and then the eventfd is readable.
                let _ = eventfd.add(1);
            }
        }
    }

    /// Notes that no operation is held back any more.
    pub(super) fn clear_held_back(&self) {
        self.held_back.set(false);
    }
}

impl<O> Engine<O> {
    /// Returns the eventfd, and creates it first if there is none.
    pub(crate) fn completion_fd(&self, context: &IoContext) -> Result<Fd<'_>, Errno> {
        context.check_process()?;
        if let Some(eventfd) = self.signal.eventfd.get() {
            return Ok(eventfd.fd());
        }
        if self.in_flight() > 0 {
            return Err(Errno::EBUSY);
        }
        let eventfd = EventFd::new()?;
        let eventfd = self.signal.eventfd.get_or_init(|| eventfd);
        self.gate.set(ForkGuard::of_no_process());
        if self.refused_first.get().is_some() {
            self.signal.raise(context);
        }
        Ok(eventfd.fd())
    }

    /// Returns whether to take the slow path: in a forked child, and if there is the eventfd.
    #[inline(always)]
    pub(super) fn is_gated(&self) -> bool {
        self.gate.get().check().is_err()
    }

    /// Gives the pending operations to the kernel by one call, on the slow path. Operations that name
    /// another eventfd are not pending any more then.
    pub(super) fn submit_past_gate(&self, context: &IoContext) -> Result<usize, Errno> {
        context.check_process()?;
        if let Some(eventfd) = self.signal.eventfd.get() {
            self.name_in_pending(context, eventfd.fd());
        }
        if self.pending.is_empty() {
            return Ok(0);
        }
        // SAFETY: The process has just been checked.
        unsafe { self.submit_in_process(context, self.pending.slots()) }
    }

    /// Makes every pending operation name the eventfd. An operation that names another one ends
    /// with `EINVAL`: the kernel signals one eventfd, so a thread that waits for the other would
    /// not wake.
    fn name_in_pending(&self, context: &IoContext, eventfd: Fd<'_>) {
        self.signal.clear_held_back();
        let mut index = 0;
        while let Some(&pointer) = self.pending.slots().get(index) {
            if name_in(self.slot(pointer), eventfd) {
                index += 1;
            } else {
                self.pending.remove(index, 1);
                self.refuse(context, pointer, Errno::EINVAL);
            }
        }
    }

    /// Notes that the kernel has no room for the pending operations.
    ///
    /// With the eventfd, a look submits them again. Without it the caller does when an operation in
    /// flight has ended, and gets `EAGAIN` if none is in flight.
    #[cold]
    pub(super) fn hold_back(&self, context: &IoContext) -> Result<(), Errno> {
        if self.signal.is_on() {
            self.signal.held_back.set(true);
            if !self.awaits_an_end() {
                self.signal.raise(context);
            }
        } else if self.in_flight() == 0 {
            return Err(Errno::EAGAIN);
        }
        Ok(())
    }

    /// Returns whether an operation other than a POLL is in flight. It ends by itself, and its end
    /// makes room.
    pub(crate) fn awaits_an_end(&self) -> bool {
        let ends = |pointer: &NonNull<Slot<O>>| {
            let slot = self.slot(*pointer);
            slot.tag().is_live() && slot.opcode() != Opcode::POLL
        };
        let pending = self.pending.slots().iter().filter(|&pointer| ends(pointer)).count();
        self.all_slots().filter(ends).nth(pending).is_some()
    }

    /// Looks as [`look_and_settle`](Self::look_and_settle) does, on the slow path.
    #[cold]
    #[inline(never)]
    pub(super) fn look_past_gate(&self, context: &IoContext) -> Option<Settled<O>> {
        context.check_process().ok()?;
        // SAFETY: The process has just been checked. The run is at its end, since a look follows
        // `settle_known`, which has found no event in this process.
        let settled = unsafe { self.look(context) };
        settled.or_else(|| self.look_again(context))
    }

    /// Empties the eventfd, submits operations that are held back, and looks again. Called after a
    /// look in the context's process that found nothing.
    fn look_again(&self, context: &IoContext) -> Option<Settled<O>> {
        // Only a filter makes this fail, and then the eventfd stays readable.
        let _ = self.signal.eventfd.get()?.take();
        let failure = self.submit_held_back(context);
        // SAFETY: The caller has checked the process. It found nothing, so the run is at its end.
        let mut settled = unsafe { self.look(context) };
        if let (None, Some(errno)) = (&settled, failure) {
            self.refuse_pending(context, errno);
            // SAFETY: As above.
            settled = unsafe { self.look(context) };
        }
        // More completions may be there. If events cannot be taken, `wait` returns the reason.
        if settled.is_some() || self.look_failure().is_some() {
            self.signal.raise(context);
        }
        settled
    }

    /// Submits operations that are held back. Returns the error to end them with if they are still
    /// pending and no end of an operation would tell when to submit them again.
    fn submit_held_back(&self, context: &IoContext) -> Option<Errno> {
        if !self.signal.held_back.get() {
            return None;
        }
        if let Err(errno) = self.submit(context) {
            self.signal.held_back.set(true);
            return Some(errno);
        }
        let stuck = self.signal.held_back.get() && !self.awaits_an_end();
        stuck.then_some(Errno::EAGAIN)
    }

    /// Ends every pending operation with an error.
    pub(crate) fn refuse_pending(&self, context: &IoContext, errno: Errno) {
        self.pending.slots().iter().for_each(|&slot| self.refuse(context, slot, errno));
        self.pending.clear();
        self.signal.clear_held_back();
    }
}

/// Makes a pending operation name the eventfd. Returns `false` if it names another one.
fn name_in<O>(slot: &Slot<O>, eventfd: Fd<'_>) -> bool {
    // SAFETY: The slot is alive. The operation is pending, so the kernel does not write to its
    // iocb, and only `set_iocb` and `end_tag` do, which are not running.
    let iocb = unsafe { *slot.iocb.get() };
    let raw = iocb.as_raw();
    if raw.aio_flags & IOCB_FLAG_RESFD != 0 && raw.aio_resfd != eventfd.as_raw() as u32 {
        return false;
    }
    // SAFETY: The operation is pending, so the kernel does not have its iocb.
    unsafe { slot.set_iocb(iocb.eventfd(eventfd.as_raw())) };
    true
}
