//! Floor 2: [`Engine`], the life of operations in slots. [`Scope`](crate::Scope) and
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
//! then, a slot's token is live.
//!
//! # Invariants
//!
//! - The loan that `prepare` gave lasts as long as the token is live: in between nothing here
//!   touches, moves or drops the operation. An operation is initialised unless its slot is free.
//! - Only an event that carries the live token of a slot ends an operation. Any other event is
//!   counted as stray and ignored. That such an event means that the kernel has taken the operation
//!   and is finished with it is the one thing that is trusted.
//! - `in_flight` is the number of slots with a live token that are not pending (and of stray
//!   events that were seen, but not looked at yet).
//! - User code (`prepare`, and drops) runs when every list is whole and nothing is borrowed
//!   mutably, since it may panic or come back in: everything here is `Cell`s and `&self`.
//! - `head` of the ring is stored only in the process that made the context.

mod events;
mod leave;
mod pending;
mod settled;

pub(crate) use events::{Inbox, RUN};
pub(crate) use settled::Settled;

use crate::context::IoContext;
use crate::slot::{Completion, PushError, Slot, Token};
use crate::{Errno, IoEvent, Iocb, Opcode, Operation};
use core::cell::Cell;
use core::mem::{self, MaybeUninit};
use core::ptr::NonNull;
use core::time::Duration;
use events::{Events, NoRing};
use pending::{Pending, iocbs_of};
use settled::operation_in;

/// How many pending operations make a wait submit them before it looks for events. Below, it
/// drains what is there first, so that one submit serves all; without a bound, a fast device would
/// be kept waiting for the rest.
const PENDING_BEFORE_SUBMIT: usize = 32;

/// How long a wait sleeps at most while operations stand that the kernel did not take. What is in flight
/// need not end (a POLL), and the next submit may succeed all the same: the kernel had no memory.
const RETRY: Duration = Duration::from_millis(10);

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
    slots: NonNull<Slot<O>>,
    capacity: u32,
    /// First of the list of free slots.
    free: Cell<Option<NonNull<Slot<O>>>>,
    pending: Pending<O>,
    /// First and last of the list of refused operations, which are done.
    refused_first: Cell<Option<NonNull<Slot<O>>>>,
    refused_last: Cell<Option<NonNull<Slot<O>>>>,
    events: Events,
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
        let capacity = memory.slots.len().min(Token::MAX_SLOTS) as u32;
        // SAFETY: The caller's promise.
        let pending = unsafe { Pending::new(memory.pending) };
        // SAFETY: The caller's promise; `end_in_flight` ends it before the context.
        let events = unsafe { Events::new(context.ring(), memory.inbox) };
        let engine = Self {
            slots: memory.slots.cast(),
            capacity,
            free: Cell::new(None),
            pending,
            refused_first: Cell::new(None),
            refused_last: Cell::new(None),
            events,
            look_failure: Cell::new(None),
            stats: Cell::new(Stats::default()),
        };
        let first = Token::of_new_engine();
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
            return Err(PushError { error: Errno::EAGAIN, op });
        }
        let (slot, token) = self.house(op)?;
        assert!(!self.pending.is_full(), "more operations pending than there is room for");
        // SAFETY: There is room.
        unsafe { self.pending.push(slot) };
        Ok(token)
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
        let (slot, token) = self.house(op)?;
        // SAFETY: No slot is pending twice, and there is room for each.
        unsafe { self.pending.push(slot) };
        Ok(token)
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
        let token = unsafe { self.prepare(settled.slot) };
        // SAFETY: No slot is pending twice, and there is room for each.
        unsafe { self.pending.push(settled.slot) };
        token
    }

    /// Moves `op` into a free slot and prepares it there.
    #[inline(always)]
    fn house(&self, op: O) -> Result<(NonNull<Slot<O>>, Token), PushError<O>>
    where
        O: Operation,
    {
        let Some(slot) = self.free.get() else {
            return Err(PushError { error: Errno::EAGAIN, op });
        };
        self.free.set(self.slot(slot).next.get());
        // SAFETY: The slot is alive.
        let operation = unsafe { operation_in(slot) };
        // SAFETY: The slot was free: nothing is in it, and nobody has a pointer into it.
        unsafe { operation.write(op) };
        // SAFETY: The operation has just been written, and the slot is on no list.
        Ok((slot, unsafe { self.prepare(slot) }))
    }

    /// Prepares the operation that is in a slot, whose token is live then.
    ///
    /// # Safety
    /// The slot's operation is initialised, not lent to the kernel and not referred to; the slot is
    /// on no list.
    #[inline(always)]
    unsafe fn prepare(&self, pointer: NonNull<Slot<O>>) -> Token
    where
        O: Operation,
    {
        let unprepared = Unprepared { engine: self, slot: pointer };
        // SAFETY: The slot is alive.
        let operation = unsafe { operation_in(pointer) };
        // SAFETY: The caller's promise.
        let operation = unsafe { &mut *operation };
        // The loan ends for the compiler here; the live token keeps it up.
        let iocb = operation.prepare().into_iocb();
        mem::forget(unprepared);

        let slot = self.slot(pointer);
        let token = slot.token().next();
        debug_assert!(token.is_live());
        // SAFETY: The kernel does not have this iocb: its last operation has ended.
        unsafe { slot.set_iocb(iocb.user_data(token.user_data())) };
        token
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
        context.check_process()?;
        // The events that were taken hold room in the kernel until it is told.
        // SAFETY: The process has just been checked.
        unsafe { self.events.publish() };
        let pending = self.pending.slots();
        let outcome = self.call_submit(context, pending);
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
        let pending = self.pending.slots();
        let (mut gone, mut accepted) = (0, 0);
        let failure = loop {
            match outcome {
                Ok(0) | Err(Errno::EAGAIN) => {
                    break (self.in_flight() == 0).then_some(Errno::EAGAIN);
                }
                Ok(count) => {
                    let count = count.min(pending.len() - gone);
                    self.count_accepted(count);
                    (gone, accepted) = (gone + count, accepted + count);
                }
                Err(Errno::EINTR) => {}
                Err(errno @ (Errno::ENOSYS | Errno::FORKED)) => break Some(errno),
                Err(errno) => {
                    self.refuse(pending[gone], errno);
                    gone += 1;
                }
            }
            if gone == pending.len() {
                break None;
            }
            outcome = self.call_submit(context, &pending[gone..]);
        };
        self.pending.remove(0, gone);
        match failure {
            Some(errno) => Err(errno),
            None => Ok(accepted),
        }
    }

    #[inline(always)]
    fn call_submit(
        &self,
        context: &IoContext,
        pending: &[NonNull<Slot<O>>],
    ) -> Result<usize, Errno> {
        self.count(|stats| stats.submit_calls += 1);
        // SAFETY: The iocbs lie in slots, which stay in place; each was prepared from an operation
        // whose loan lasts until its event, which is what the token keeps. The caller has checked
        // the process.
        unsafe { context.submit_in_process(iocbs_of(pending)) }
    }

    #[inline]
    fn count_accepted(&self, count: usize) {
        self.count(|stats| stats.operations += count as u64);
    }

    /// Ends a pending operation, which leaves the pending queue, with an error.
    #[cold]
    fn refuse(&self, pointer: NonNull<Slot<O>>, errno: Errno) {
        let slot = self.slot(pointer);
        slot.end_token();
        slot.refused.set(Some(errno));
        slot.next.set(None);
        // What was last before counts only while there is a first.
        match self.refused_first.get().and(self.refused_last.get()) {
            None => self.refused_first.set(Some(pointer)),
            Some(last) => self.slot(last).next.set(Some(pointer)),
        }
        self.refused_last.set(Some(pointer));
    }

    // ---- cancel ----

    /// Ends the operation early if it can be: one that is pending completes with `ECANCELED`, one
    /// in flight is the kernel's to cancel.
    pub(crate) fn cancel(&self, context: &IoContext, token: Token) -> Result<(), Errno> {
        let pointer = self.live(token).ok_or(Errno::ENOENT)?;
        match self.place_in_pending(pointer) {
            Some(place) => {
                self.pending.remove(place, 1);
                self.refuse(pointer, Errno::ECANCELED);
                Ok(())
            }
            None => cancel_in_flight(context, self.slot(pointer)),
        }
    }

    fn place_in_pending(&self, pointer: NonNull<Slot<O>>) -> Option<usize> {
        self.pending.slots().iter().position(|&slot| slot == pointer)
    }

    /// The slot whose live token this is.
    #[inline(always)]
    fn live(&self, token: Token) -> Option<NonNull<Slot<O>>> {
        // Not so of a dead token (`Token`).
        if token.index() < self.capacity {
            let pointer = self.slot_pointer(token.index());
            if self.slot(pointer).token() == token {
                return Some(pointer);
            }
        }
        None
    }

    // ---- reap ----

    /// The next operation that has ended, without waiting, and without a system call where the
    /// ring can be read.
    #[inline(always)]
    pub(crate) fn try_settle(&self, context: &IoContext) -> Option<Settled<O>> {
        match self.settle_known(context) {
            None => self.look_and_settle(context),
            settled => settled,
        }
    }

    /// The operation of the next event, if one is known. If `None` in the context's process, the run is at its end.
    #[inline(always)]
    fn settle_known(&self, context: &IoContext) -> Option<Settled<O>> {
        // What was seen before a fork is the parent's.
        if self.events.is_empty() || context.check_process().is_err() {
            return None;
        }
        // SAFETY: There is one.
        let event = unsafe { self.events.take() };
        match self.settle(&event) {
            None => self.look_past_stray(context),
            settled => settled,
        }
    }

    /// As [`try_settle`](Self::try_settle), where no event is known. What is seldom is called last, so that this keeps
    /// nothing on the stack.
    #[inline(never)]
    fn look_and_settle(&self, context: &IoContext) -> Option<Settled<O>> {
        if context.check_process().is_err() {
            return None;
        }
        if self.refused_first.get().is_some() {
            return self.look_further(context);
        }
        // SAFETY: The process was checked, and the run is at its end.
        match unsafe { self.take_from_ring() } {
            Ok(Some(event)) => match self.settle(&event) {
                None => self.look_past_stray(context),
                settled => settled,
            },
            Ok(None) => None,
            Err(NoRing) => self.look_further(context),
        }
    }

    /// Counts a stray event, and looks for the next one.
    #[cold]
    #[inline(never)]
    fn look_past_stray(&self, context: &IoContext) -> Option<Settled<O>> {
        self.count(|stats| stats.stray_events += 1);
        self.look_further(context)
    }

    /// As [`look_and_settle`](Self::look_and_settle), whatever is known. The process has been checked.
    #[cold]
    #[inline(never)]
    fn look_further(&self, context: &IoContext) -> Option<Settled<O>> {
        loop {
            let event = if self.events.is_empty() {
                // Between two runs, so that a device that is always done does not keep it waiting.
                if let Some(refused) = self.refused_first.get() {
                    return Some(self.take_refused(refused));
                }
                self.next_event(context)?
            } else {
                // SAFETY: There is one.
                unsafe { self.events.take() }
            };
            match self.settle(&event) {
                None => self.count(|stats| stats.stray_events += 1),
                settled => return settled,
            }
        }
    }

    /// The next event, by system call where there is no ring to be read. The run is at its end, and the process has
    /// been checked.
    fn next_event(&self, context: &IoContext) -> Option<IoEvent> {
        // SAFETY: As above.
        match unsafe { self.take_from_ring() } {
            Ok(event) => event,
            Err(NoRing) => {
                self.events.give_ring_up();
                // SAFETY: There is one.
                self.look_by_call(context).then(|| unsafe { self.events.take() })
            }
        }
    }

    /// Takes the next event off the ring, if one is there.
    ///
    /// # Safety
    /// The run is at its end, and the process is that of the context.
    #[inline]
    unsafe fn take_from_ring(&self) -> Result<Option<IoEvent>, NoRing> {
        // SAFETY: The caller's promise.
        let Some((event, count)) = unsafe { self.events.look() }? else { return Ok(None) };
        self.count(|stats| stats.events_by_ring += u64::from(count));
        Ok(Some(event))
    }

    /// Looks for events by system call, and says whether any are there.
    fn look_by_call(&self, context: &IoContext) -> bool {
        let looked = self.fetch(context, 0, Some(Duration::ZERO));
        self.look_failure.set(looked.err());
        looked.is_ok_and(|count| count > 0)
    }

    /// Why [`try_settle`](Self::try_settle) has found nothing, where it could not look. (A signal is
    /// no reason: nothing was there when it came.)
    #[cfg(feature = "std")]
    pub(crate) fn look_failure(&self) -> Option<Errno> {
        self.look_failure.get().filter(|&errno| errno != Errno::EINTR)
    }

    /// As [`try_settle`](Self::try_settle), but submits what is pending, and waits if it must.
    /// `None` where there is nothing to wait for.
    ///
    /// Without a timeout, signals do not end the wait; with one, they do (`EINTR`), and so does
    /// the time (`ETIMEDOUT`).
    #[inline(always)]
    pub(crate) fn wait(
        &self,
        context: &IoContext,
        timeout: Option<Duration>,
    ) -> Result<Option<Settled<O>>, Errno> {
        if let Some(settled) = self.settle_known(context) {
            return Ok(Some(settled));
        }
        if self.pending.len() < PENDING_BEFORE_SUBMIT {
            if let Some(settled) = self.look_and_settle(context) {
                return Ok(Some(settled));
            }
        }
        let submitted = self.submit(context);
        // What has ended must come out; an error that lasts shows when nothing is left.
        if let Some(settled) = self.look_and_settle(context) {
            return Ok(Some(settled));
        }
        self.sleep(context, submitted, timeout)
    }

    /// As [`wait`](Self::wait), where no event was there after `submitted`.
    #[inline(never)]
    fn sleep(
        &self,
        context: &IoContext,
        mut submitted: Result<usize, Errno>,
        timeout: Option<Duration>,
    ) -> Result<Option<Settled<O>>, Errno> {
        let mut left = timeout;
        loop {
            submitted?;
            if self.in_flight() == 0 {
                return Ok(None);
            }
            let sleep = match self.pending.is_empty() {
                true => left,
                false => Some(left.map_or(RETRY, |left| left.min(RETRY))),
            };
            match self.fetch(context, 1, sleep) {
                Ok(0) if sleep != left => left = left.map(|left| left - RETRY),
                Ok(0) => return Err(Errno::ETIMEDOUT),
                Ok(_) => {}
                Err(Errno::EINTR) if timeout.is_none() => {}
                Err(errno) => return Err(errno),
            }
            submitted = self.submit(context);
            if let Some(settled) = self.try_settle(context) {
                return Ok(Some(settled));
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn take_refused(&self, first: NonNull<Slot<O>>) -> Settled<O> {
        let slot = self.slot(first);
        self.refused_first.set(slot.next.get());
        let errno = slot.refused.take().unwrap_or(Errno::EIO);
        Settled { slot: first, res: -i64::from(errno.raw()) }
    }

    /// Ends the operation that the event is for. `None` where it is for none: it is stray.
    #[inline(always)]
    fn settle(&self, event: &IoEvent) -> Option<Settled<O>> {
        let pointer = self.live(Token::from_user_data(event.user_data()))?;
        self.slot(pointer).end_token();
        Some(Settled { slot: pointer, res: event.as_raw().res })
    }

    /// Takes events by system call, where none is known.
    fn fetch(
        &self,
        context: &IoContext,
        min: usize,
        timeout: Option<Duration>,
    ) -> Result<usize, Errno> {
        context.check_process()?;
        self.count(|stats| stats.getevents_calls += 1);
        // SAFETY: The process has just been checked; no event is known, so the run is at its end.
        let taken = unsafe { self.events.fetch(context, min, timeout) }?;
        self.count(|stats| stats.events_by_call += taken as u64);
        Ok(taken)
    }

    // ---- take ----

    /// Gives the operation back, and frees its slot.
    ///
    /// # Safety
    /// It has been neither taken, discarded nor pushed again, and nobody refers to it.
    #[inline]
    pub(crate) unsafe fn take(&self, settled: Settled<O>) -> Completion<O> {
        let Settled { slot, .. } = settled;
        let token = self.slot(slot).token().last_live();
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
