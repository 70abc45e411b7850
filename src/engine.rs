//! [`Engine`], the life of operations in slots. [`Scope`](crate::Scope) and
//! [`Queue`](crate::Queue) are two ways to own one.
//!
//! ```text
//!        push                submit                event                 take
//!  free ──────▶ pending ──────────────▶ in flight ────────▶ done ──────────────────▶ free
//!               prepared, waits         the kernel has it   result known, operation
//!                  │                                          ▲  not given back yet
//!                  └────────── refused by the kernel ─────────┘
//! ```
//!
//! A free slot is on the free list, a pending one in [`Pending`]. From push to event, and only
//! then, a slot's tag is live.
//!
//! # Invariants
//!
//! - The loan that `prepare` gave lasts as long as the tag is live: in between nothing here
//!   touches, moves or drops the operation. An operation is initialised unless its slot is free.
//! - Only an event that carries the live tag of a slot ends an operation. Any other event is
//!   counted as stray and ignored. That such an event means that the kernel has taken the operation
//!   and is finished with it is the one thing that is trusted.
//! - `in_flight` is the number of slots with a live tag that are not pending (and of stray
//!   events that were seen, but not looked at yet).
//! - User code (`prepare`, and drops) runs when every list is whole and nothing is borrowed
//!   mutably, since it may panic or come back in: everything here is `Cell`s and `&self`.
//! - `head` of the ring is stored only in the process that made the context.

mod events;
mod leave;
mod pending;
mod reap;
mod settled;
mod signal;
#[cfg(all(test, not(loom)))]
mod tests;

pub(crate) use events::{Inbox, RUN};
pub(crate) use settled::Settled;

use crate::raw::ForkGuard;
use crate::slot::{Completion, EngineId, PushError, Slot, Tag, Token};
use crate::{Errno, IoContext, Iocb, Opcode, Operation};
use core::cell::Cell;
use core::mem::{self, MaybeUninit};
use core::ptr::NonNull;
use events::Events;
use pending::{Pending, iocbs_of};
use settled::operation_in;
use signal::Signal;

/// What a [`Scope`](crate::Scope) or [`Queue`](crate::Queue) has asked of the kernel so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Operations that the kernel has accepted.
    pub operations: u64,
    /// Calls of `io_submit`.
    pub submit_calls: u64,
    /// Calls of `io_getevents`.
    pub getevents_calls: u64,
    /// Events that came by `io_getevents`.
    pub events_by_call: u64,
    /// Events that were read off the ring, without a system call.
    pub events_by_ring: u64,
    /// Events that belonged to no operation in flight, and were ignored.
    pub stray_events: u64,
}

/// The memory that an engine works in, its owner's.
pub(crate) struct Memory<O> {
    pub(crate) slots: NonNull<[Slot<O>]>,
    /// Room for the operations that wait for a submit; its content does not matter.
    pub(crate) pending: NonNull<[MaybeUninit<NonNull<Slot<O>>>]>,
    /// Its content does not matter.
    pub(crate) inbox: NonNull<Inbox>,
}

/// See the [module](self).
pub(crate) struct Engine<O> {
    id: EngineId,
    slots: NonNull<Slot<O>>,
    capacity: u32,
    /// First of the list of free slots.
    free: Cell<Option<NonNull<Slot<O>>>>,
    pending: Pending<O>,
    /// First and last of the list of refused operations, which are done.
    refused_first: Cell<Option<NonNull<Slot<O>>>>,
    refused_last: Cell<Option<NonNull<Slot<O>>>>,
    events: Events,
    /// What the hot paths check: the guard of the process, or with the eventfd one that always
    /// fails.
    gate: Cell<ForkGuard>,
    signal: Signal,
    /// Why the last look by system call failed.
    look_failure: Cell<Option<Errno>>,
    stats: Cell<Stats>,
}

impl<O> Engine<O> {
    /// An engine whose slots are all free, for a context with nothing in flight.
    ///
    /// # Safety
    /// Until the engine is gone, its memory stays where it is and nobody else uses it; and before
    /// it goes, [`Engine::quiesce`] has been called or the context has been destroyed.
    pub(crate) unsafe fn new(memory: Memory<O>, context: &IoContext) -> Self {
        let capacity = memory.slots.len().min(Tag::MAX_SLOTS) as u32;
        // SAFETY: The caller's promise.
        let pending = unsafe { Pending::new(memory.pending) };
        // SAFETY: The events use it only where the process has been checked, and `end_in_flight`
        // gives it up before the context ends.
        let ring = unsafe { context.ring() };
        // SAFETY: The caller's promise; `end_in_flight` ends it before the context.
        let events = unsafe { Events::new(ring, memory.inbox) };
        let engine = Self {
            id: EngineId::of_new_engine(),
            slots: memory.slots.cast(),
            capacity,
            free: Cell::new(None),
            pending,
            refused_first: Cell::new(None),
            refused_last: Cell::new(None),
            events,
            gate: Cell::new(context.guard()),
            signal: Signal::new(),
            look_failure: Cell::new(None),
            stats: Cell::new(Stats::default()),
        };
        let first = Tag::first_of(engine.id);
        for index in (0..capacity).rev() {
            let blank = Iocb::from_raw(crate::abi::iocb::ZERO);
            let slot = engine.slot_pointer(index);
            let blank = blank.user_data(first.at(index).user_data());
            // SAFETY: The slot is free.
            unsafe { engine.slot(slot).set_iocb(blank) };
            engine.slot(slot).vacant.set(false);
            engine.release(slot);
        }
        engine
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// How many operations are with the kernel, as far as events have been looked at.
    pub(crate) fn in_flight(&self) -> usize {
        let Stats { operations, events_by_call, events_by_ring, stray_events, .. } = self.stats();
        // Events of the present run are counted before it is known whether they are stray.
        let known = events_by_call.wrapping_add(events_by_ring).wrapping_sub(stray_events);
        operations.wrapping_sub(known).wrapping_add(self.events.len() as u64) as usize
    }

    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Whether no more can wait for a submit. Never so where there is room for every slot.
    #[inline]
    pub(crate) fn pending_is_full(&self) -> bool {
        self.pending.is_full()
    }

    pub(crate) fn stats(&self) -> Stats {
        self.stats.get()
    }

    #[inline(always)]
    fn slot_pointer(&self, index: u32) -> NonNull<Slot<O>> {
        debug_assert!(index < self.capacity);
        // SAFETY: `index` is below the capacity, at most the number of slots.
        unsafe { self.slots.add(index as usize) }
    }

    /// A slot by its pointer, which is one of this engine's.
    #[inline(always)]
    fn slot(&self, pointer: NonNull<Slot<O>>) -> &Slot<O> {
        debug_assert!(pointer >= self.slots);
        // SAFETY: The slots are alive while the engine is (`new`); what the kernel or an operation
        // may write lies in `UnsafeCell`s.
        unsafe { pointer.as_ref() }
    }

    fn all_slots(&self) -> impl Iterator<Item = NonNull<Slot<O>>> + '_ {
        (0..self.capacity).map(|index| self.slot_pointer(index))
    }

    #[inline]
    fn count(&self, change: impl FnOnce(&mut Stats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.stats.set(stats);
    }

    // ---- push ----

    /// Moves `op` into a free slot, prepares it there and queues it.
    ///
    /// # Panics
    /// Where `prepare`, which may come back in, has pushed to the last place among the pending.
    #[inline]
    pub(crate) fn push(&self, op: O) -> Result<Token, PushError<O>>
    where
        O: Operation,
    {
        if self.pending.is_full() {
            return Err(PushError::new(Errno::EAGAIN, op));
        }
        let (slot, tag) = self.house(op)?;
        assert!(!self.pending.is_full(), "more operations pending than there is room for");
        // SAFETY: There is room.
        unsafe { self.pending.push(slot) };
        Ok(self.token(tag))
    }

    /// As [`push`](Self::push), with less to check.
    ///
    /// # Safety
    /// There is room for every slot among the pending.
    #[cfg(feature = "alloc")]
    #[inline]
    pub(crate) unsafe fn push_with_room(&self, op: O) -> Result<Token, PushError<O>>
    where
        O: Operation,
    {
        let (slot, tag) = self.house(op)?;
        // SAFETY: No slot is pending twice, and there is room for each.
        unsafe { self.pending.push(slot) };
        Ok(self.token(tag))
    }

    /// Pushes the operation again that is still in its slot.
    ///
    /// # Safety
    /// The operation has been neither taken nor discarded, and nobody refers to it. There is room
    /// for every slot among the pending.
    #[cfg(feature = "alloc")]
    #[inline]
    pub(crate) unsafe fn push_again(&self, settled: Settled<O>) -> Token
    where
        O: Operation,
    {
        // SAFETY: A settled slot is on no list; the rest is the caller's promise.
        let tag = unsafe { self.prepare(settled.slot) };
        // SAFETY: No slot is pending twice, and there is room for each.
        unsafe { self.pending.push(settled.slot) };
        self.token(tag)
    }

    /// Moves `op` into a free slot and prepares it there.
    #[inline(always)]
    fn house(&self, op: O) -> Result<(NonNull<Slot<O>>, Tag), PushError<O>>
    where
        O: Operation,
    {
        let Some(slot) = self.free.get() else {
            return Err(PushError::new(Errno::EAGAIN, op));
        };
        self.free.set(self.slot(slot).next.get());
        // SAFETY: The slot is alive.
        let operation = unsafe { operation_in(slot) };
        // SAFETY: The slot was free: nothing is in it, and nobody has a pointer into it.
        unsafe { operation.write(op) };
        // SAFETY: The operation has just been written, and the slot is on no list.
        Ok((slot, unsafe { self.prepare(slot) }))
    }

    /// Prepares the operation that is in a slot, whose tag is live then.
    ///
    /// # Safety
    /// The slot's operation is initialised, not lent to the kernel and not referred to; the slot is
    /// on no list.
    #[inline(always)]
    unsafe fn prepare(&self, pointer: NonNull<Slot<O>>) -> Tag
    where
        O: Operation,
    {
        let unprepared = Unprepared { engine: self, slot: pointer };
        // SAFETY: The slot is alive.
        let operation = unsafe { operation_in(pointer) };
        // SAFETY: The caller's promise.
        let operation = unsafe { &mut *operation };
        // The loan ends for the compiler here; the live tag keeps it up.
        let iocb = operation.prepare().into_iocb();
        mem::forget(unprepared);

        let slot = self.slot(pointer);
        let tag = slot.tag().next();
        debug_assert!(tag.is_live());
        // SAFETY: The kernel does not have this iocb: its last operation has ended.
        unsafe { slot.set_iocb(iocb.user_data(tag.user_data())) };
        tag
    }

    // ---- submit ----

    /// Gives the pending operations to the kernel and says how many it accepted.
    ///
    /// One that it refuses fails alone: it is done, with the error. `EAGAIN` ends the attempt and
    /// leaves the rest pending; it is returned only when nothing is in flight whose end could make
    /// room.
    ///
    /// Compiled into its caller, and so are those that it calls: a `ret` after a system call is predicted by a stack
    /// of return addresses that the kernel's have replaced, which costs 200 ns on some processors.
    #[inline(always)]
    pub(crate) fn submit(&self, context: &IoContext) -> Result<usize, Errno> {
        if self.pending.is_empty() {
            return Ok(0);
        }
        let pending = self.pending.slots();
        // A submit past the gate is begun by `submit_one_by_one`: this has one slow path alone.
        let outcome = if self.is_gated() {
            Err(Errno::FORKED)
        } else {
            // SAFETY: The gate is open, so the process is that of the context.
            unsafe { self.submit_in_process(context, pending) }
        };
        if outcome == Ok(pending.len()) {
            self.count_accepted(pending.len());
            self.pending.clear();
            return outcome;
        }
        self.submit_one_by_one(context, outcome)
    }

    /// Submits what a call, whose outcome is given, has left of the pending operations.
    #[cold]
    fn submit_one_by_one(
        &self,
        context: &IoContext,
        mut outcome: Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        if outcome == Err(Errno::FORKED) {
            outcome = self.submit_past_gate(context);
            if self.pending.is_empty() {
                return outcome;
            }
        }
        let pending = self.pending.slots();
        let (mut gone, mut accepted) = (0, 0);
        let failure = loop {
            match outcome {
                Ok(0) | Err(Errno::EAGAIN) => break Some(Errno::EAGAIN),
                Ok(count) => {
                    let count = count.min(pending.len() - gone);
                    self.count_accepted(count);
                    (gone, accepted) = (gone + count, accepted + count);
                }
                Err(Errno::EINTR) => {}
                Err(errno @ (Errno::ENOSYS | Errno::FORKED)) => break Some(errno),
                Err(errno) => {
                    self.refuse(context, pending[gone], errno);
                    gone += 1;
                }
            }
            if gone == pending.len() {
                break None;
            }
            // SAFETY: The process is that of the context: in another, the loop has ended by `FORKED`.
            outcome = unsafe { self.submit_in_process(context, &pending[gone..]) };
        };
        self.pending.remove(0, gone);
        match failure {
            Some(Errno::EAGAIN) => self.hold_back(context)?,
            Some(errno) => return Err(errno),
            None => {}
        }
        Ok(accepted)
    }

    /// Gives pending operations to the kernel by one call.
    ///
    /// # Safety
    /// The process is that of the context.
    #[inline(always)]
    unsafe fn submit_in_process(
        &self,
        context: &IoContext,
        pending: &[NonNull<Slot<O>>],
    ) -> Result<usize, Errno> {
        // The events that were taken hold room in the kernel until it is told.
        // SAFETY: The caller's promise.
        unsafe { self.events.publish() };
        self.count(|stats| stats.submit_calls += 1);
        // SAFETY: The iocbs lie in slots, which stay in place; each was prepared from an operation
        // whose loan lasts until its event, which is what the tag keeps. The process is the
        // caller's promise.
        unsafe { context.submit_in_process(iocbs_of(pending)) }
    }

    #[inline]
    fn count_accepted(&self, count: usize) {
        self.count(|stats| stats.operations += count as u64);
    }

    /// Ends a pending operation, which leaves the pending queue, with an error.
    #[cold]
    fn refuse(&self, context: &IoContext, pointer: NonNull<Slot<O>>, errno: Errno) {
        let slot = self.slot(pointer);
        slot.end_tag();
        slot.refused.set(Some(errno));
        slot.next.set(None);
        // What was last before counts only while there is a first.
        match self.refused_first.get().and(self.refused_last.get()) {
            None => {
                self.refused_first.set(Some(pointer));
                self.signal.raise(context);
            }
            Some(last) => self.slot(last).next.set(Some(pointer)),
        }
        self.refused_last.set(Some(pointer));
    }

    /// Takes the operation that was pushed last out of those that are pending. The kernel never had it.
    #[cfg(feature = "std")]
    pub(crate) fn take_pending(&self) -> Option<O> {
        let &slot = self.pending.slots().last()?;
        self.pending.remove(self.pending.len() - 1, 1);
        self.slot(slot).end_tag();
        // SAFETY: A pending slot's operation is initialised. The loan that `prepare` gave ends with the
        // token, and the kernel does not have it. The slot is on no list any more.
        Some(unsafe { self.move_out(slot) })
    }

    // ---- cancel ----

    /// Ends the operation early if it can be: one that is pending completes with `ECANCELED`, one
    /// in flight is the kernel's to cancel.
    pub(crate) fn cancel(&self, context: &IoContext, token: Token) -> Result<(), Errno> {
        context.check_process()?;
        let tag = token.tag_in(self.id).ok_or(Errno::ENOENT)?;
        let pointer = self.live(tag).ok_or(Errno::ENOENT)?;
        match self.place_in_pending(pointer) {
            Some(place) => {
                self.pending.remove(place, 1);
                if self.pending.is_empty() {
                    self.signal.clear_held_back();
                }
                self.refuse(context, pointer, Errno::ECANCELED);
                Ok(())
            }
            None => cancel_in_flight(context, self.slot(pointer)),
        }
    }

    fn place_in_pending(&self, pointer: NonNull<Slot<O>>) -> Option<usize> {
        self.pending.slots().iter().position(|&slot| slot == pointer)
    }

    /// The slot whose live tag this is.
    #[inline(always)]
    fn live(&self, tag: Tag) -> Option<NonNull<Slot<O>>> {
        // Not so of a dead tag (`Tag`).
        if tag.index() < self.capacity {
            let pointer = self.slot_pointer(tag.index());
            if self.slot(pointer).tag() == tag {
                return Some(pointer);
            }
        }
        None
    }

    /// The token of the operation whose tag this is.
    #[inline(always)]
    fn token(&self, tag: Tag) -> Token {
        Token::new(self.id, tag)
    }

    // ---- take ----

    /// Returns the token of an operation that has ended and was not pushed again.
    #[inline(always)]
    pub(crate) fn token_of(&self, settled: Settled<O>) -> Token {
        self.token(self.slot(settled.slot).tag().last_live())
    }

    /// Gives the operation back, and frees its slot.
    ///
    /// # Safety
    /// It has been neither taken, discarded nor pushed again, and nobody refers to it.
    #[inline]
    pub(crate) unsafe fn take(&self, settled: Settled<O>) -> Completion<O> {
        let Settled { slot, .. } = settled;
        let token = self.token_of(settled);
        // SAFETY: The operation is initialised and no longer lent, nor used again, says the caller.
        let op = unsafe { self.move_out(slot) };
        Completion { token, result: settled.result(), op }
    }

    /// Moves the operation out of a slot, and frees the slot.
    ///
    /// # Safety
    /// As [`discard`](Self::discard).
    #[inline]
    unsafe fn move_out(&self, slot: NonNull<Slot<O>>) -> O {
        // SAFETY: The slot is alive.
        let operation = unsafe { operation_in(slot) };
        // SAFETY: The caller's promise. It is read once, since the slot becomes free.
        let operation = unsafe { operation.read() };
        self.release(slot);
        operation
    }

    /// Drops the operation and frees its slot.
    ///
    /// # Safety
    /// As [`take`](Self::take).
    #[cfg(feature = "alloc")]
    pub(crate) unsafe fn drop_settled(&self, settled: Settled<O>) {
        // SAFETY: It is initialised and no longer lent.
        unsafe { self.discard(settled.slot) };
    }

    /// Drops the operation in a slot and frees the slot, also if the drop panics.
    ///
    /// # Safety
    /// The slot's operation is initialised, not lent to the kernel, and not used again.
    unsafe fn discard(&self, slot: NonNull<Slot<O>>) {
        let free = Release { engine: self, slot };
        // SAFETY: The slot is alive.
        let operation = unsafe { operation_in(slot) };
        // SAFETY: The caller's promise.
        unsafe { operation.drop_in_place() };
        drop(free);
    }

    /// Puts a slot whose operation is gone on the free list.
    #[inline]
    fn release(&self, slot: NonNull<Slot<O>>) {
        self.slot(slot).next.set(self.free.get());
        self.free.set(Some(slot));
    }
}

/// Has the kernel end an operation early. For a POLL, `EINVAL` is no error: its event is on the way.
fn cancel_in_flight<O>(context: &IoContext, slot: &Slot<O>) -> Result<(), Errno> {
    match context.cancel(slot.iocb.get()) {
        Err(Errno::EINVAL) if slot.opcode() == Opcode::POLL => Ok(()),
        result => result,
    }
}

/// Frees a slot whose operation has been dropped.
struct Release<'e, O> {
    engine: &'e Engine<O>,
    slot: NonNull<Slot<O>>,
}

impl<O> Drop for Release<'_, O> {
    fn drop(&mut self) {
        self.engine.release(self.slot);
    }
}

/// Takes an operation whose `prepare` panicked out of its slot.
struct Unprepared<'e, O> {
    engine: &'e Engine<O>,
    slot: NonNull<Slot<O>>,
}

impl<O> Drop for Unprepared<'_, O> {
    fn drop(&mut self) {
        // SAFETY: The operation is initialised; `prepare` did not return, so nothing is lent.
        unsafe { self.engine.discard(self.slot) };
    }
}
