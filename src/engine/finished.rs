//! [`Finished`], an operation that has ended and is still in its slot; whether it goes on; and the
//! way out of a slot.

use super::Engine;
use crate::slot::{Completion, Slot, Token};
use crate::{Errno, EventResult, IoContext, Operation};
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

/// A [`Finished`] without its engine. These are two words, which functions return in registers. The
/// invariants are the same.
#[must_use = "its slot stays in use"]
pub(super) struct Ended<'e, O> {
    slot: &'e Slot<O>,
    /// The result as in an event: a count, or a negative errno.
    res: i64,
}

impl<'e, O> Ended<'e, O> {
    /// # Safety
    /// The invariants of [`Finished`] hold, for the engine that gets this.
    #[inline(always)]
    pub(super) unsafe fn new(slot: &'e Slot<O>, res: i64) -> Self {
        Self { slot, res }
    }

    /// Returns the same once more.
    ///
    /// # Safety
    /// One of the two becomes no [`Finished`], or one that is forgotten.
    #[inline(always)]
    pub(super) unsafe fn again(&self) -> Self {
        Self { slot: self.slot, res: self.res }
    }
}

/// An operation that has finished and is still in its slot.
///
/// Dropping it drops the operation and frees the slot. Forgetting it leaves both until the engine
/// ends.
///
/// # Invariants
/// - The slot is one of the engine, its tag is dead, and it is on no list.
/// - The operation in it is initialised, and the kernel is finished with it.
/// - No other value names this use of the slot: this one is neither `Copy` nor `Clone`. So its
///   borrow is a borrow of the operation.
#[must_use = "to drop it drops the operation"]
pub(crate) struct Finished<'e, O> {
    engine: &'e Engine<O>,
    ended: Ended<'e, O>,
}

impl<'e, O> Finished<'e, O> {
    /// # Safety
    /// `ended` is of this engine.
    #[inline(always)]
    pub(super) unsafe fn new(engine: &'e Engine<O>, ended: Ended<'e, O>) -> Self {
        Self { engine, ended }
    }

    #[inline(always)]
    pub(crate) fn result(&self) -> Result<u32, Errno> {
        Errno::check_result(self.ended.res)
    }

    #[cfg(feature = "std")]
    #[inline(always)]
    pub(crate) fn outcome(&self) -> EventResult {
        EventResult::of_event(self.ended.res)
    }

    /// Returns the token that push gave for the operation.
    #[inline(always)]
    pub(crate) fn token(&self) -> Token {
        self.engine.token(self.ended.slot.tag().last_live())
    }

    #[cfg(feature = "alloc")]
    #[inline(always)]
    pub(crate) fn operation(&self) -> &O {
        // SAFETY: The operation is initialised, and `self`, which is borrowed, is the one way to
        // it.
        unsafe { &*self.ended.slot.operation() }
    }

    #[inline(always)]
    pub(crate) fn operation_mut(&mut self) -> &mut O {
        // SAFETY: The operation is initialised, and `self`, which is borrowed exclusively, is the
        // one way to it.
        unsafe { &mut *self.ended.slot.operation() }
    }

    /// Moves the operation out, and frees its slot.
    #[inline]
    pub(crate) fn take(self) -> Completion<O> {
        let this = ManuallyDrop::new(self);
        let (token, result) = (this.token(), this.result());
        // SAFETY: By the invariants the slot is on no list, and its operation is initialised and
        // not lent. `self` was the one way to the operation and is not dropped.
        let op = unsafe { this.engine.move_out(this.ended.slot) };
        Completion { token, result, op }
    }

    /// Returns whether the operation [goes on](Operation::goes_on).
    ///
    /// Should that panic, the caller's drop of this value drops the operation and frees the slot.
    #[inline(always)]
    pub(crate) fn goes_on(&mut self) -> bool
    where
        O: Operation,
    {
        let outcome = EventResult::of_event(self.ended.res);
        self.operation_mut().goes_on(outcome)
    }

    /// Prepares and queues the operation again, from where it is. If the submit queue stays full,
    /// returns the operation with the error `EAGAIN`.
    ///
    /// # Panics
    /// If `prepare` comes back in and pushes to the last place of the submit queue.
    pub(super) fn go_on(mut self, context: &IoContext) -> Result<(), Self>
    where
        O: Operation,
    {
        if self.engine.queue_is_full() {
            // Whether this fails shows in the queue.
            let _ = self.engine.submit(context);
            if self.engine.queue_is_full() {
                self.ended.res = -i64::from(Errno::EAGAIN.as_raw());
                return Err(self);
            }
        }
        let this = ManuallyDrop::new(self);
        let (engine, slot) = (this.engine, this.ended.slot);
        // SAFETY: By the invariants the slot is on no list, and its operation is initialised and
        // not lent. `self` was the one way to the operation and is not dropped.
        unsafe { engine.prepare(slot) };
        assert!(!engine.queue_is_full(), "more operations are queued than there is room for");
        // SAFETY: The queue is not full, and the slot stays as long as the engine.
        unsafe { engine.queued.push(slot) };
        Ok(())
    }

    /// Pushes the operation again, from where it is.
    ///
    /// # Safety
    /// The submit queue has room for every slot.
    #[cfg(feature = "alloc")]
    #[inline]
    pub(crate) unsafe fn push_again(self) -> Token
    where
        O: Operation,
    {
        let this = ManuallyDrop::new(self);
        let (engine, slot) = (this.engine, this.ended.slot);
        // SAFETY: By the invariants the slot is on no list, and its operation is initialised and
        // not lent. `self` was the one way to the operation and is not dropped.
        let tag = unsafe { engine.prepare(slot) };
        // SAFETY: No slot is queued twice and there is room for each, so the queue is not full. The
        // slot stays as long as the engine.
        unsafe { engine.queued.push(slot) };
        engine.token(tag)
    }
}

impl<O> Drop for Finished<'_, O> {
    fn drop(&mut self) {
        // SAFETY: By the invariants the slot is on no list, and its operation is initialised and
        // not lent. `self` is the one way to the operation, and goes.
        unsafe { self.engine.discard(self.ended.slot) };
    }
}

impl<O> Engine<O> {
    // ---- out of a slot ----

    /// Moves the operation out of a slot, and frees the slot.
    ///
    /// # Safety
    /// The slot is one of this engine and on no list. Its operation is initialised, not lent to the
    /// kernel, and neither referred to nor used again.
    #[inline]
    pub(super) unsafe fn move_out(&self, slot: &Slot<O>) -> O {
        // SAFETY: It is initialised, and read once: by the caller's promise nobody uses it again.
        let operation = unsafe { slot.operation().read() };
        self.release(slot);
        operation
    }

    /// Drops the operation in a slot and frees the slot, even if the drop panics.
    ///
    /// # Safety
    /// As for [`move_out`](Self::move_out).
    pub(super) unsafe fn discard(&self, slot: &Slot<O>) {
        let release = Release { engine: self, slot };
        // SAFETY: It is initialised, and dropped once: by the caller's promise nobody uses it
        // again.
        unsafe { slot.operation().drop_in_place() };
        drop(release);
    }

    /// Puts a slot of this engine whose operation is gone on the free list.
    #[inline]
    pub(super) fn release(&self, slot: &Slot<O>) {
        slot.next.set(self.free.get());
        self.free.set(Some(NonNull::from(slot)));
    }
}

/// Frees a slot whose operation has been dropped.
struct Release<'e, O> {
    engine: &'e Engine<O>,
    slot: &'e Slot<O>,
}

impl<O> Drop for Release<'_, O> {
    fn drop(&mut self) {
        self.engine.release(self.slot);
    }
}
