//! [`Engine`], the life of operations in slots. [`Scope`](crate::Scope) and
//! [`Queue`](crate::Queue) are two ways to own one.
//!
//! # The life of an operation
//!
//! ```text
//!        push              submit               event               take
//!  free ──────▶ queued ─────────────▶ in flight ──────▶ finished ──────────▶ free
//!               prepared, waits       the kernel has it  result known, operation
//!                 │      for submit                       ▲  still in its slot
//!                 └──── refused by the kernel, cancelled ─┘
//! ```
//!
//! - **push** moves the operation into a free slot, calls `prepare` there, and adds the slot to the
//!   [`SubmitQueue`]. From then until its event the slot's tag is live.
//! - **submit** gives the whole submit queue to the kernel by one `io_submit`.
//! - **poll** and **wait** find the next finished operation. The kernel copies the tag of the iocb
//!   into the event, so the event names the slot. [`Engine::end`] makes the tag dead.
//! - **take** moves the operation out of the slot, which becomes free. A [`Finished`] operation can
//!   also be dropped, or pushed again from its slot.
//!
//! Before anybody sees a finished operation, it may go on ([`Operation::goes_on`]): it is prepared
//! again in its slot and queued, with a new tag. By default this is the constant `false`.
//!
//! Where each step is: push, submit and cancel in this file; poll and wait in `completions`; take,
//! and going on, in `finished`. The end of an engine is in `shutdown`, and the eventfd of
//! `completion_fd` in `signal`.
//!
//! # Who calls whom
//!
//! ```text
//!   push ─▶ place_in_slot ─▶ prepare       submit ─▶ submit_one_by_one ─▶ refuse
//!
//!   poll      wait (calls submit) ─▶ sleep (submit, getevents)      wait_in_flight (getevents)
//!    │         │                       │                              │
//!    └─────────┴───────────────── poll_ended ─────────────────────────┘
//!                                  │      │
//!                                  │      ▼  the batch is empty
//!                      next_in_batch   poll_ring ──────────────▶ poll_past_gate ─▶ poll_again
//!                                  │      │  │  gate closed       │                 │
//!                                  │      │  └─ no ring ────────▶ poll_slowly ◀─────┘
//!                                  ▼      ▼                       │  refused operations,
//!                                 end  (event to operation)  ◀────┘  getevents
//! ```
//!
//! `next_in_batch`, `poll_ring` and `end` are the hot path: an operation that finishes passes no
//! other of these functions. `poll_slowly` and everything behind the gate are cold. So is
//! `end_filling_or_next`, which gets an event that `end` does not know. Such an event is of an
//! operation that fills, or it is stray, and `poll_slowly` goes on.
//!
//! # Invariants
//!
//! - The loan that `prepare` gave lasts while the tag is live. Meanwhile nothing here touches,
//!   moves or drops the operation. An operation is initialised unless its slot is free.
//! - Only an event that carries the live tag of a slot ends an operation. Any other event is
//!   counted as stray and ignored. One thing is trusted: the kernel gives such an event only when
//!   it has taken the operation and is finished with it.
//! - Each slot is in one place: on the free list, in the submit queue, in flight, on the refused
//!   list, or in one [`Finished`]. A link ([`Link`]) of these lists leads to a slot of this engine.
//! - `in_flight` is the number of slots with a live tag that are not queued. Stray events in the
//!   batch that nobody has taken yet are counted, too.
//! - An operation may lend a [`Filled`](crate::room::Filled) beside its memory. While its tag is
//!   live, `next` of its slot points to it, and its tag in the iocb has a mark. So its event names
//!   no slot on the hot path. The cold path (`end_filling`) tells it from a stray event, and adds
//!   the count to the record before it makes the tag dead.
//! - User code (`prepare`, `goes_on` and drops) may panic, or call the engine again. So it runs
//!   when every list is whole and nothing is borrowed mutably: everything here is `Cell`s and
//!   `&self`.
//! - The `head` of the ring is stored only in the process that made the context.
//!
//! # The gate
//!
//! The hot path of submit and poll checks one word, the gate. It holds a mark in the process that
//! made the context, and no mark in a forked child. While the engine has an eventfd or refused
//! operations, it uses a word that never holds the mark: the gate is closed. The slow path finds
//! out why. So all three rare cases together cost the common case one comparison.

mod batch;
mod completions;
mod finished;
mod shutdown;
mod signal;
mod submit_queue;
#[cfg(all(test, not(loom)))]
mod tests;

pub(crate) use batch::{BATCH, BatchBuffer};
pub(crate) use finished::Finished;

use crate::raw::{ForkGuard, sys};
use crate::slot::{EngineId, Link, PushError, Slot, Tag, Token};
use crate::{Errno, IoContext, Iocb, Opcode, Operation};
#[cfg(feature = "std")]
use crate::{Prepared, slot::Vacancy};
use batch::Batch;
use core::cell::Cell;
use core::mem::{self, MaybeUninit};
use core::ptr::NonNull;
use core::slice;
use signal::Signal;
use submit_queue::{Gone, SubmitQueue};

/// Counts what a [`Scope`](crate::Scope) or [`Queue`](crate::Queue) has asked of the kernel so far.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Queue, op::Read};
/// use std::{fs::File, sync::Arc};
///
/// let zero = Arc::new(File::open("/dev/zero")?);
/// let mut queue = Queue::with_capacity(8)?;
/// for i in 0..8 {
///     queue.push(Read::new(zero.clone(), vec![1; 64], i * 64))?;
/// }
/// while let Some(done) = queue.wait()? {
///     done.result?;
/// }
/// let stats = queue.stats();
/// assert_eq!((stats.operations, stats.submit_calls, stats.stray_events), (8, 1, 0));
/// # Ok(()) }
/// ```
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

/// The storage that an engine works in. It belongs to the owner of the engine.
pub(crate) struct Storage<O> {
    pub(crate) slots: NonNull<[Slot<O>]>,
    /// Room for the submit queue; its content does not matter.
    pub(crate) queued: NonNull<[MaybeUninit<NonNull<Slot<O>>>]>,
    /// Its content does not matter.
    pub(crate) buffer: NonNull<BatchBuffer>,
}

/// See the [module](self).
pub(crate) struct Engine<O> {
    id: EngineId,
    slots: NonNull<Slot<O>>,
    /// At most [`Tag::MAX_SLOTS`].
    capacity: usize,
    /// The first free slot.
    free: Cell<Link<O>>,
    queued: SubmitQueue<O>,
    /// The first and the last of the refused operations, which have finished.
    refused_first: Cell<Link<O>>,
    refused_last: Cell<Link<O>>,
    batch: Batch,
    /// The word that the hot path checks. See the [module](self).
    gate: Cell<ForkGuard>,
    signal: Signal,
    /// The reason why the last poll could not look for events.
    poll_failure: Cell<Option<Errno>>,
    stats: Cell<Stats>,
}

impl<O> Engine<O> {
    /// Makes an engine whose slots are all free, for a context with nothing in flight.
    ///
    /// # Safety
    /// - Until the engine is gone, its storage stays where it is and nobody else uses it.
    /// - Before the engine goes, [`Engine::drain`] has been called or the context has been
    ///   destroyed.
    /// - Each method that takes a context gets this one, which lives as long as the engine is used.
    ///   Nobody else submits to it or reaps from it.
    pub(crate) unsafe fn new(storage: Storage<O>, context: &IoContext) -> Self {
        let capacity = storage.slots.len().min(Tag::MAX_SLOTS);
        // SAFETY: The first promise of the caller: the room stays and is the queue's alone.
        let queued = unsafe { SubmitQueue::new(storage.queued) };
        // SAFETY: `Batch` reads the ring only where the process has been checked. `end_in_flight`
        // makes the batch give the ring up before it destroys the context; where the owner
        // destroys it, no method that reads the ring is called any more.
        let ring = unsafe { context.ring() };
        // SAFETY: The buffer stays and is the batch's alone by the first promise of the caller. The
        // context lives as long as the ring is read, as above.
        let batch = unsafe { Batch::new(ring, storage.buffer) };
        let engine = Self {
            id: EngineId::of_new_engine(),
            slots: storage.slots.cast(),
            capacity,
            free: Cell::new(None),
            queued,
            refused_first: Cell::new(None),
            refused_last: Cell::new(None),
            batch,
            gate: Cell::new(context.guard()),
            signal: Signal::new(),
            poll_failure: Cell::new(None),
            stats: Cell::new(Stats::default()),
        };
        let first = Tag::first_of(engine.id);
        for (slot, index) in engine.slots().iter().zip(0..capacity as u32).rev() {
            let blank = Iocb::from_raw(crate::abi::iocb::ZERO);
            // SAFETY: The context has nothing in flight, so the kernel does not have the iocb.
            unsafe { slot.set_iocb(blank.user_data(first.at(index).user_data())) };
            slot.vacant.set(false);
            engine.release(slot);
        }
        engine
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Returns the number of operations that the kernel has accepted and whose events have not been
    /// taken.
    pub(crate) fn in_flight(&self) -> usize {
        let Stats { operations, events_by_call, events_by_ring, stray_events, .. } = self.stats();
        // Events of the batch are counted before it is known whether they are stray.
        let known = events_by_call.wrapping_add(events_by_ring).wrapping_sub(stray_events);
        operations.wrapping_sub(known).wrapping_add(self.batch.len() as u64) as usize
    }

    /// Returns the number of operations that were pushed and not submitted.
    pub(crate) fn queued(&self) -> usize {
        self.queued.len()
    }

    /// Returns whether every slot is in use.
    pub(crate) fn is_full(&self) -> bool {
        self.free.get().is_none()
    }

    /// Returns whether the submit queue is full, which it never is if it has room for every slot.
    #[inline]
    pub(crate) fn queue_is_full(&self) -> bool {
        self.queued.is_full()
    }

    pub(crate) fn stats(&self) -> Stats {
        self.stats.get()
    }

    #[inline(always)]
    fn slots(&self) -> &[Slot<O>] {
        // SAFETY: `new` got at least `capacity` slots, which stay while the engine is there. Nobody
        // else uses them, and what the kernel or an operation may write lies in `UnsafeCell`s.
        unsafe { slice::from_raw_parts(self.slots.as_ptr(), self.capacity) }
    }

    /// Returns the slot that a link leads to.
    ///
    /// # Safety
    /// The link is of one of this engine's lists.
    #[inline(always)]
    unsafe fn follow(&self, link: Link<O>) -> Option<&Slot<O>> {
        // SAFETY: By the caller's promise it leads to a slot of this engine, and these are as
        // `slots` says.
        link.map(|slot| unsafe { slot.as_ref() })
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
    /// If `prepare` has come back in and pushed to the last place of the submit queue.
    #[inline]
    pub(crate) fn push(&self, op: O) -> Result<Token, PushError<O>>
    where
        O: Operation,
    {
        if self.queued.is_full() {
            return Err(PushError::new(Errno::EAGAIN, op));
        }
        let (slot, tag) = self.place_in_slot(op)?;
        assert!(!self.queued.is_full(), "more operations are queued than there is room for");
        // SAFETY: The queue is not full, and the slot stays as long as the engine.
        unsafe { self.queued.push(slot) };
        Ok(self.token(tag))
    }

    /// Pushes as [`push`](Self::push) does, without a check for room in the submit queue.
    ///
    /// # Safety
    /// The submit queue has room for every slot.
    #[cfg(feature = "alloc")]
    #[inline]
    pub(crate) unsafe fn push_with_room(&self, op: O) -> Result<Token, PushError<O>>
    where
        O: Operation,
    {
        let (slot, tag) = self.place_in_slot(op)?;
        // SAFETY: No slot is queued twice and there is room for each, so the queue is not full. The
        // slot stays as long as the engine.
        unsafe { self.queued.push(slot) };
        Ok(self.token(tag))
    }

    /// Queues `op`, which is prepared already. Returns its tag, or `op` if no slot is free.
    ///
    /// # Safety
    /// - The submit queue has room for every slot.
    /// - What `prepared` lends stays lent until the operation has ended: until its [`Finished`] is
    ///   had, or it is taken out.
    #[cfg(feature = "std")]
    #[inline(always)]
    pub(crate) unsafe fn push_prepared(&self, op: O, prepared: Prepared<'_>) -> Result<Tag, O> {
        // SAFETY: This is a link of the free list.
        let Some(slot) = (unsafe { self.follow(self.free.get()) }) else { return Err(op) };
        self.free.set(slot.next.get());
        // SAFETY: The slot was free: nothing is in it, and nobody has a pointer into it.
        unsafe { slot.operation().write(op) };
        // SAFETY: The slot is on no list any more, and the kernel does not have its iocb: its last
        // operation has ended. The loan lasts (promise of the caller).
        let tag = unsafe { slot.begin(prepared) };
        // SAFETY: No slot is queued twice and there is room for each, so the queue is not full. The
        // slot stays as long as the engine.
        unsafe { self.queued.push(slot) };
        Ok(tag)
    }

    /// Queues the operation that `make` makes and prepares, straight into the slot. Returns its
    /// tag, or `None` if no slot is free.
    ///
    /// # Safety
    /// - The submit queue has room for every slot.
    /// - `make` does not use the engine. It returns what [`Vacancy::fill`] has returned, after
    ///   which it does not unwind.
    #[cfg(feature = "std")]
    #[inline(always)]
    pub(crate) unsafe fn push_made(
        &self,
        make: impl FnOnce(Vacancy<'_, O>) -> (O, Tag),
    ) -> Option<Tag> {
        // SAFETY: This is a link of the free list.
        let slot = unsafe { self.follow(self.free.get()) }?;
        // To be filled may overwrite it.
        let next = slot.next.get();
        // SAFETY: The slot is on the free list. It comes off below, once it is filled.
        let (op, tag) = make(unsafe { Vacancy::new(slot) });
        self.free.set(next);
        // SAFETY: The slot was free: nothing is in it, and nobody has a pointer into it.
        unsafe { slot.operation().write(op) };
        // SAFETY: No slot is queued twice and there is room for each, so the queue is not full. The
        // slot stays as long as the engine.
        unsafe { self.queued.push(slot) };
        Some(tag)
    }

    /// Moves `op` into a free slot and prepares it there.
    #[inline(always)]
    fn place_in_slot(&self, op: O) -> Result<(&Slot<O>, Tag), PushError<O>>
    where
        O: Operation,
    {
        // SAFETY: This is a link of the free list.
        let Some(slot) = (unsafe { self.follow(self.free.get()) }) else {
            return Err(PushError::new(Errno::EAGAIN, op));
        };
        self.free.set(slot.next.get());
        // SAFETY: The slot was free: nothing is in it, and nobody has a pointer into it.
        unsafe { slot.operation().write(op) };
        // SAFETY: The operation has just been written, and the slot is on no list any more.
        Ok((slot, unsafe { self.prepare(slot) }))
    }

    /// Prepares the operation in a slot, and makes the slot's tag live.
    ///
    /// # Safety
    /// The slot is one of this engine and on no list. Its operation is initialised, not lent to the
    /// kernel and not referred to.
    #[inline(always)]
    unsafe fn prepare(&self, slot: &Slot<O>) -> Tag
    where
        O: Operation,
    {
        let unprepared = Unprepared { engine: self, slot };
        // SAFETY: The operation is initialised and nobody refers to it, as the caller promises.
        let operation = unsafe { &mut *slot.operation() };
        let prepared = operation.prepare();
        mem::forget(unprepared);
        // SAFETY: The slot is on no list and the kernel does not have its iocb, as the caller
        // promises. The operation stays in the slot, lent, while the tag is live.
        unsafe { slot.begin(prepared) }
    }

    // ---- submit ----

    /// Gives the queued operations to the kernel. Returns the number that it accepted.
    ///
    /// An operation that the kernel refuses fails alone: it finishes with the error. `EAGAIN` ends
    /// the attempt and leaves the rest queued. It is returned only if nothing is in flight whose
    /// end could make room.
    ///
    /// This function and its callees are compiled into the caller. The system call replaces the
    /// processor's stack of return addresses, so a `ret` after it is mispredicted, which costs 200
    /// ns on some processors.
    #[inline(always)]
    pub(crate) fn submit(&self, context: &IoContext) -> Result<usize, Errno> {
        if self.queued.is_empty() {
            return Ok(0);
        }
        let queued = self.queued.len();
        // `FORKED` stands for the closed gate, whatever closes it. `submit_one_by_one` finds out,
        // so that this function has one slow path.
        let outcome = if self.is_gated() {
            Err(Errno::FORKED)
        } else {
            // SAFETY: The gate is open, so the process is that of the context.
            unsafe { self.submit_in_process(context, 0) }
        };
        if outcome == Ok(queued) {
            self.count_accepted(queued);
            self.queued.clear();
            return outcome;
        }
        self.submit_one_by_one(context, outcome)
    }

    /// Submits the operations that a first call, whose outcome is given, has left queued. If the
    /// gate was closed, there was no such call, and the outcome is `FORKED`.
    #[cold]
    fn submit_one_by_one(
        &self,
        context: &IoContext,
        mut outcome: Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        if outcome == Err(Errno::FORKED) {
            outcome = self.submit_past_gate(context);
            if self.queued.is_empty() {
                return outcome;
            }
        }
        let (mut gone, mut accepted) = (Gone::new(&self.queued), 0);
        let failure = loop {
            match outcome {
                Ok(0) | Err(Errno::EAGAIN) => break Some(Errno::EAGAIN),
                Ok(count) => {
                    let count = count.min(self.queued.len() - gone.count);
                    self.count_accepted(count);
                    gone.count += count;
                    accepted += count;
                }
                Err(Errno::EINTR) => {}
                Err(errno @ (Errno::ENOSYS | Errno::FORKED)) => break Some(errno),
                Err(errno) => {
                    self.refuse(context, self.queued.get(gone.count), errno);
                    gone.count += 1;
                }
            }
            if gone.count == self.queued.len() {
                break None;
            }
            // SAFETY: The process is that of the context: in another, `FORKED` has ended the loop.
            outcome = unsafe { self.submit_in_process(context, gone.count) };
        };
        drop(gone);
        match failure {
            Some(Errno::EAGAIN) => self.hold_back(context)?,
            Some(errno) => return Err(errno),
            None => {}
        }
        Ok(accepted)
    }

    /// Gives the queued operations from `first` on to the kernel by one call.
    ///
    /// # Safety
    /// The process is that of the context.
    #[inline(always)]
    unsafe fn submit_in_process(&self, context: &IoContext, first: usize) -> Result<usize, Errno> {
        // Until the kernel is told, the events that were taken hold room on the ring.
        // SAFETY: The process is the caller's promise.
        unsafe { self.batch.release_ring_entries() };
        self.count(|stats| stats.submit_calls += 1);
        // SAFETY: No code that queues an operation runs during the call.
        let iocbs = unsafe { self.queued.iocbs(first) };
        let (count, first) = (iocbs.len() as _, iocbs.as_ptr().cast());
        // SAFETY: The slice is valid for its length, and `Iocb` is a transparent `iocb`. The iocbs
        // lie in slots, which stay in place. Each was prepared from an operation whose loan lasts
        // until its event, which the live tag sees to.
        Errno::check(unsafe { sys::io_submit(context.as_raw(), count, first) })
    }

    #[inline]
    fn count_accepted(&self, count: usize) {
        self.count(|stats| stats.operations += count as u64);
    }

    /// Finishes a queued operation, which leaves the submit queue, with an error.
    #[cold]
    fn refuse(&self, context: &IoContext, slot: &Slot<O>, errno: Errno) {
        slot.end_any_tag();
        slot.refused.set(Some(errno));
        slot.next.set(None);
        let link = Some(NonNull::from(slot));
        // The last one counts only while there is a first.
        // SAFETY: These are links of the refused list.
        match unsafe { self.follow(self.refused_first.get().and(self.refused_last.get())) } {
            None => {
                self.refused_first.set(link);
                self.close_gate();
                self.signal.raise(context);
            }
            Some(last) => last.next.set(link),
        }
        self.refused_last.set(link);
    }

    /// Takes the operation that was pushed last out of the submit queue. The kernel never had it.
    #[cfg(feature = "std")]
    pub(crate) fn take_queued(&self) -> Option<O> {
        let last = self.queued.len().checked_sub(1)?;
        let slot = self.queued.get(last);
        self.queued.remove(last, 1);
        slot.end_any_tag();
        // SAFETY: A queued operation is initialised. The loan that `prepare` gave ends with the
        // tag, and the kernel does not have the operation. Its slot is on no list any more, so this
        // is the one time that it is moved out.
        Some(unsafe { self.move_out(slot) })
    }

    // ---- cancel ----

    /// Ends an operation early if that is possible. A queued one finishes with `ECANCELED`; one in
    /// flight is the kernel's to cancel.
    pub(crate) fn cancel(&self, context: &IoContext, token: Token) -> Result<(), Errno> {
        context.check_process()?;
        let tag = token.tag_in(self.id).ok_or(Errno::ENOENT)?;
        let slot = self.named(tag).ok_or(Errno::ENOENT)?;
        match self.queued.position(slot) {
            Some(position) => {
                self.queued.remove(position, 1);
                if self.queued.is_empty() {
                    self.signal.clear_held_back();
                }
                self.refuse(context, slot, Errno::ECANCELED);
                Ok(())
            }
            None => cancel_in_flight(context, slot),
        }
    }

    /// Returns the iocb of a live operation.
    #[cfg(feature = "std")]
    #[inline]
    pub(crate) fn iocb(&self, tag: Tag) -> Option<Iocb> {
        Some(self.named(tag)?.iocb())
    }

    /// Returns where the operations lie that have not ended, and how they were prepared. They are
    /// lent.
    #[cfg(feature = "std")]
    pub(crate) fn live_operations(&self) -> impl Iterator<Item = (*mut O, Iocb)> {
        let live = self.slots().iter().filter(|slot| slot.tag().is_live());
        live.map(|slot| (slot.operation(), slot.iocb()))
    }

    /// Returns the slot of the operation that a token names.
    #[inline]
    fn named(&self, tag: Tag) -> Option<&Slot<O>> {
        let slot = self.slots().get(tag.index() as usize)?;
        if slot.tag().without_fills() == tag { Some(slot) } else { None }
    }

    /// Returns the slot whose live tag this is, which does not fill.
    #[inline(always)]
    fn live(&self, tag: Tag) -> Option<&Slot<O>> {
        // The index of a dead tag is above every capacity (`Tag`), so this finds no slot for it.
        let slot = self.slots().get(tag.index() as usize)?;
        if slot.tag() == tag { Some(slot) } else { None }
    }

    /// Returns the token of the operation whose tag this is.
    #[inline(always)]
    pub(crate) fn token(&self, tag: Tag) -> Token {
        Token::new(self.id, tag)
    }
}

/// Makes the kernel end an operation early. For a POLL, `EINVAL` is no error: its event is on the
/// way.
fn cancel_in_flight<O>(context: &IoContext, slot: &Slot<O>) -> Result<(), Errno> {
    match context.cancel(slot.iocb.get()) {
        Err(Errno::EINVAL) if slot.opcode() == Opcode::POLL => Ok(()),
        result => result,
    }
}

/// Takes an operation whose `prepare` panicked out of its slot.
struct Unprepared<'e, O> {
    engine: &'e Engine<O>,
    slot: &'e Slot<O>,
}

impl<O> Drop for Unprepared<'_, O> {
    fn drop(&mut self) {
        // SAFETY: `Engine::prepare` made this for a slot on no list, with an initialised operation.
        // Its `prepare` did not return, so nothing is lent, and nobody else drops the operation.
        unsafe { self.engine.discard(self.slot) };
    }
}
