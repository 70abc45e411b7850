//! How an engine ends: the kernel is done with everything, and what is left is dropped.

use super::{Engine, cancel_in_flight};
use crate::sys::helper;
use crate::{Errno, IoContext, Opcode};

impl<O> Engine<O> {
    /// Waits until the kernel has nothing of this engine's any more, and drops every operation
    /// that is still here.
    ///
    /// Cancels every POLL, ignores signals, and takes the time that the slowest operation takes.
    /// Where waiting fails for good, the context is destroyed, since only the 0 of `io_destroy`
    /// proves then that the buffers are free; and where that fails too, the process is killed.
    ///
    /// A forked child neither waits nor drops anything. What is in flight ends in the parent, and
    /// nothing proves that it writes the parent's memory alone: the pages may be shared, or the
    /// kernel may have left the child the page that a device writes to.
    pub(crate) fn quiesce(&self, context: &mut IoContext) {
        if context.check_process_strictly().is_err() {
            return;
        }
        // Operations that are held back are dropped, and not submitted.
        self.signal.clear_held_back();
        self.end_in_flight(context);
        self.discard_all();
    }

    fn end_in_flight(&self, context: &mut IoContext) {
        self.settle_all(context);
        let mut waiting_works = self.cancel_polls(context);
        while waiting_works && self.in_flight() > 0 {
            waiting_works = matches!(self.fetch(context, 1, None), Ok(1..) | Err(Errno::EINTR));
            self.settle_all(context);
        }
        // SAFETY: The process is that of the context (`quiesce`).
        unsafe { self.events.publish() };
        if self.in_flight() > 0 {
            self.events.give_ring_up();
            destroy_or_die(context);
        }
    }

    /// Ends every operation whose event is there. They stay in their slots.
    fn settle_all(&self, context: &IoContext) {
        while self.try_settle(context).is_some() {}
    }

    /// Cancels what would not end by itself. `false` where that cannot be done here.
    fn cancel_polls(&self, context: &IoContext) -> bool {
        for pointer in self.all_slots() {
            let slot = self.slot(pointer);
            let in_flight = slot.tag().is_live() && self.place_in_pending(pointer).is_none();
            if !in_flight || slot.opcode() != Opcode::POLL {
                continue;
            }
            if cancel_in_flight(context, slot).is_err() {
                return false;
            }
        }
        true
    }

    /// Drops every operation that is still in a slot. One that panics does not keep the others.
    ///
    /// The kernel must be finished with all of them.
    pub(crate) fn discard_all(&self) {
        struct Rest<'e, O> {
            engine: &'e Engine<O>,
            next: u32,
        }
        impl<O> Rest<'_, O> {
            fn discard(&mut self) {
                while self.next < self.engine.capacity {
                    let pointer = self.engine.slot_pointer(self.next);
                    self.next += 1;
                    if !self.engine.slot(pointer).vacant.get() {
                        // SAFETY: It is not free, hence initialised, and the kernel has nothing any
                        // more.
                        unsafe { self.engine.discard(pointer) };
                    }
                }
            }
        }
        impl<O> Drop for Rest<'_, O> {
            fn drop(&mut self) {
                self.discard();
            }
        }
        self.mark_vacant();
        Rest { engine: self, next: 0 }.discard();
    }

    /// Moves every operation that is still in a slot out of it.
    ///
    /// # Safety
    /// The kernel is finished with all of them, and nobody refers to one.
    #[cfg(feature = "std")]
    pub(crate) unsafe fn take_all(&self, mut each: impl FnMut(O)) {
        self.mark_vacant();
        for pointer in self.all_slots().filter(|&pointer| !self.slot(pointer).vacant.get()) {
            // SAFETY: It is not free, hence initialised; the rest is the caller's promise.
            each(unsafe { self.move_out(pointer) });
        }
    }

    fn mark_vacant(&self) {
        let mut free = self.free.get();
        while let Some(pointer) = free {
            let slot = self.slot(pointer);
            slot.vacant.set(true);
            free = slot.next.get();
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
