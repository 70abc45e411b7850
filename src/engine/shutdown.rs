//! Ends an engine: it waits until the kernel is finished with every operation, and drops those
//! that are left.

use super::{Engine, cancel_in_flight};
use crate::slot::Slot;
use crate::sys::helper;
use crate::{Errno, IoContext, Opcode};
use core::slice;

impl<O> Engine<O> {
    /// Waits until the kernel is finished with every operation, and drops the operations that are
    /// still in slots.
    ///
    /// Cancels every POLL, ignores signals, and takes as long as the slowest operation. If waiting
    /// fails for good, it destroys the context: then only the 0 of `io_destroy` proves that the
    /// buffers are free. If that fails, too, it kills the process.
    ///
    /// A forked child neither waits nor drops anything. Operations in flight end in the parent.
    /// Nothing proves that the kernel writes the parent's memory alone: pages may be shared, or the
    /// kernel may have left the child the page that a device writes to.
    pub(crate) fn drain(&mut self, context: &mut IoContext) {
        if context.check_process_strictly().is_err() {
            return;
        }
        // Operations that are held back are dropped, and not submitted.
        self.signal.clear_held_back();
        self.end_in_flight(context);
        // SAFETY: Nothing is in flight any more, or the context has ended: the kernel is finished.
        unsafe { self.discard_all() };
    }

    fn end_in_flight(&self, context: &mut IoContext) {
        self.end_all(context);
        let mut waiting_works = self.cancel_polls(context);
        while waiting_works && self.in_flight() > 0 {
            waiting_works = matches!(self.getevents(context, 1, None), Ok(1..) | Err(Errno::EINTR));
            self.end_all(context);
        }
        // SAFETY: The process is that of the context: `drain` has checked it, and no user code,
        // which might fork, has run since.
        unsafe { self.batch.release_ring_entries() };
        if self.in_flight() > 0 {
            self.batch.give_ring_up();
            destroy_or_die(context);
        }
    }

    /// Ends every operation whose event is there. They stay in their slots, for `discard_all`.
    fn end_all(&self, context: &IoContext) {
        while let Some(_left_in_its_slot) = self.poll_ended(context) {}
    }

    /// Cancels the operations that would not end by themselves. Returns `false` if that is
    /// impossible here.
    fn cancel_polls(&self, context: &IoContext) -> bool {
        let in_flight =
            |slot: &&Slot<O>| slot.tag().is_live() && self.queued.position(slot).is_none();
        let polls = self.slots().iter().filter(|slot| slot.opcode() == Opcode::POLL);
        polls.filter(in_flight).all(|slot| cancel_in_flight(context, slot).is_ok())
    }

    /// Drops every operation that is still in a slot. One that panics does not keep the others.
    ///
    /// # Safety
    /// The kernel is finished with all of them.
    pub(crate) unsafe fn discard_all(&mut self) {
        struct Rest<'e, O> {
            engine: &'e Engine<O>,
            slots: slice::Iter<'e, Slot<O>>,
        }
        impl<O> Rest<'_, O> {
            fn discard(&mut self) {
                for slot in self.slots.by_ref() {
                    if !slot.vacant.get() {
                        // SAFETY: The slot is not free, so its operation is initialised. The kernel
                        // is finished with it (promise of the caller of `discard_all`). It is not
                        // used again: the engine is borrowed exclusively, so there is no
                        // `Finished`, and no list names the slot.
                        unsafe { self.engine.discard(slot) };
                    }
                }
            }
        }
        impl<O> Drop for Rest<'_, O> {
            fn drop(&mut self) {
                self.discard();
            }
        }
        self.forget_lists();
        Rest { engine: self, slots: self.slots().iter() }.discard();
    }

    /// Moves every operation that is still in a slot out of it.
    ///
    /// # Safety
    /// The kernel is finished with all of them.
    #[cfg(feature = "std")]
    pub(crate) unsafe fn take_all(&mut self, mut each: impl FnMut(O)) {
        self.forget_lists();
        for slot in self.slots().iter().filter(|slot| !slot.vacant.get()) {
            // SAFETY: The slot is not free, so its operation is initialised. The kernel is finished
            // with it (promise of the caller). It is not used again: the engine is borrowed
            // exclusively, so there is no `Finished`, and no list names the slot.
            each(unsafe { self.move_out(slot) });
        }
    }

    /// Notes in each slot of the free list that it is free. Empties the other lists.
    fn forget_lists(&self) {
        self.queued.clear();
        self.refused_first.set(None);
        let mut link = self.free.get();
        // SAFETY: These are links of the free list.
        while let Some(slot) = unsafe { self.follow(link) } {
            slot.vacant.set(true);
            link = slot.next.get();
        }
    }
}

/// Proves that no buffer of the context is in use, or does not return.
#[cold]
fn destroy_or_die(context: &mut IoContext) {
    if context.destroy().is_err() {
        helper::kill_self();
        // The kernel has refused even that. To return would hand out memory that it may write.
        loop {
            core::hint::spin_loop();
        }
    }
}
