//! [`Signal`], the eventfd of an engine, by which an event loop waits for its completions.
//!
//! The kernel adds one to the eventfd that an iocb names when the event is on the ring. An
//! operation that the kernel refuses has no event, nor has one that is cancelled before it is
//! submitted. For these the engine adds to the eventfd itself.
//!
//! # Why no wake-up is lost
//!
//! While an operation has finished and was not taken, the eventfd is readable, or its signal is on
//! the way. Only [`Engine::poll_again`] empties the eventfd, after a poll that found nothing. It
//! then polls again. An event whose signal it emptied was on the ring before, so the second poll
//! finds that event, and the eventfd is made readable again. An event that the second poll does not
//! find signals later.
//!
//! # Operations held back
//!
//! Operations that `io_submit` had no room for (`EAGAIN`) stay queued. There is room when an
//! operation in flight has ended. Its signal wakes the event loop, and [`Engine::poll_again`]
//! submits the operations that were held back. A POLL may never end. So if only POLLs are in
//! flight, or nothing is, the eventfd is made readable at once, and operations that find no room
//! once more end with `EAGAIN`.
//!
//! # Cost
//!
//! Without the eventfd: none. Each submit and each poll checks the gate, one word in memory
//! ([`ForkGuard`]). An engine with the eventfd checks a word that never holds the mark, and so
//! takes the slow paths of this file, which check the process. They make iocbs name the eventfd at
//! submit.

use super::Engine;
use super::finished::Ended;
use crate::abi::IOCB_FLAG_RESFD;
use crate::raw::ForkGuard;
use crate::slot::Slot;
use crate::{Errno, EventFd, Fd, IoContext, Opcode};
use core::cell::{Cell, OnceCell};

/// See the [module](self).
pub(super) struct Signal {
    eventfd: OnceCell<EventFd>,
    /// The kernel had no room for the queued operations. False without the eventfd.
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
        self.close_gate();
        if self.refused_first.get().is_some() {
            self.signal.raise(context);
        }
        Ok(eventfd.fd())
    }

    /// Returns whether to take the slow path: in a forked child, and while the gate is closed.
    #[inline(always)]
    pub(super) fn is_gated(&self) -> bool {
        self.gate.get().check().is_err()
    }

    /// Makes submit and poll take the slow path.
    pub(super) fn close_gate(&self) {
        self.gate.set(ForkGuard::of_no_process());
    }

    /// Makes submit and poll take the hot path in the process of the context, unless there is the
    /// eventfd.
    pub(super) fn open_gate(&self, context: &IoContext) {
        if !self.signal.is_on() {
            self.gate.set(context.guard());
        }
    }

    /// Gives the queued operations to the kernel by one call, on the slow path. Operations that
    /// name another eventfd are not queued any more then.
    pub(super) fn submit_past_gate(&self, context: &IoContext) -> Result<usize, Errno> {
        context.check_process()?;
        if let Some(eventfd) = self.signal.eventfd.get() {
            self.name_in_queued(context, eventfd.fd());
        }
        if self.queued.is_empty() {
            return Ok(0);
        }
        // SAFETY: The process has just been checked, and no user code, which might fork, has run
        // since.
        unsafe { self.submit_in_process(context, 0) }
    }

    /// Makes every queued operation name the eventfd. An operation that names another one finishes
    /// with `EINVAL`: the kernel signals one eventfd, so a thread that waits for the other would
    /// not wake.
    fn name_in_queued(&self, context: &IoContext, eventfd: Fd<'_>) {
        self.signal.clear_held_back();
        let mut index = 0;
        while index < self.queued.len() {
            let slot = self.queued.get(index);
            // SAFETY: The operation is queued, so the kernel does not have its iocb.
            if unsafe { name_in(slot, eventfd) } {
                index += 1;
            } else {
                self.queued.remove(index, 1);
                self.refuse(context, slot, Errno::EINVAL);
            }
        }
    }

    /// Notes that the kernel has no room for the queued operations.
    ///
    /// With the eventfd, a poll submits them again. Without it, the caller does so when an
    /// operation in flight has ended, and gets `EAGAIN` if none is in flight.
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
    fn awaits_an_end(&self) -> bool {
        let ends = |slot: &&Slot<O>| slot.tag().is_live() && slot.opcode() != Opcode::POLL;
        let queued = self.queued.iter().filter(ends).count();
        self.slots().iter().filter(ends).nth(queued).is_some()
    }

    /// Polls as [`poll_ring`](Self::poll_ring) does, on the slow path.
    #[cold]
    #[inline(never)]
    pub(super) fn poll_past_gate(&self, context: &IoContext) -> Option<Ended<'_, O>> {
        self.poll_slowly(context).or_else(|| self.poll_again(context))
    }

    /// Empties the eventfd, submits operations that are held back, and polls again. Called after a
    /// poll that found nothing.
    fn poll_again(&self, context: &IoContext) -> Option<Ended<'_, O>> {
        // In a forked child the eventfd is the parent's, too.
        context.check_process().ok()?;
        // Only a filter makes this fail, and then the eventfd stays readable.
        let _ = self.signal.eventfd.get()?.take();
        let failure = self.submit_held_back(context);
        let mut ended = self.poll_slowly(context);
        if let (None, Some(errno)) = (&ended, failure) {
            self.refuse_queued(context, errno);
            ended = self.poll_slowly(context);
        }
        // More completions may be there. If events cannot be taken, `poll` returns the reason.
        if ended.is_some() || self.poll_failure.get().is_some() {
            self.signal.raise(context);
        }
        ended
    }

    /// Submits operations that are held back. Returns the error to finish them with if they are
    /// still queued and no end of an operation would tell when to submit them again.
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

    /// Finishes every queued operation with an error.
    fn refuse_queued(&self, context: &IoContext, errno: Errno) {
        self.queued.iter().for_each(|slot| self.refuse(context, slot, errno));
        self.queued.clear();
        self.signal.clear_held_back();
    }
}

/// Makes a queued operation name the eventfd. Returns `false` if it names another one.
///
/// # Safety
/// The kernel does not have the slot's iocb.
unsafe fn name_in<O>(slot: &Slot<O>, eventfd: Fd<'_>) -> bool {
    // SAFETY: The slot is not `Sync`, so only this thread has it; nothing writes to the iocb during
    // the copy, as the kernel does not have it.
    let iocb = unsafe { *slot.iocb.get() };
    let raw = iocb.as_raw();
    if raw.aio_flags & IOCB_FLAG_RESFD != 0 && raw.aio_resfd != eventfd.as_raw() as u32 {
        return false;
    }
    // SAFETY: The kernel does not have the iocb, as the caller promises.
    unsafe { slot.set_iocb(iocb.eventfd(eventfd.as_raw())) };
    true
}
