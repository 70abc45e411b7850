//! Floor 2: [`Engine`], the life of operations in slots. [`Scope`](crate::Scope) and
//! [`Queue`](crate::Queue) are two ways to own one.
//!
//! ```text
//!        push                submit                event                 take
//!  Free ──────▶ Pending ──────────────▶ InFlight ─────────▶ Done ──────────────────▶ Free
//!               prepared, waits         the kernel has it   result known, operation
//!                  │                                          ▲  not given back yet
//!                  └────────── refused by the kernel ─────────┘
//! ```
//!
//! # Invariants
//!
//! - The loan that `prepare` gave lasts from `Pending` to `Done`: in between nothing here touches,
//!   moves or drops the operation. An operation is initialised in every state but `Free`.
//! - Only an event whose token names a slot that is `InFlight` in that very generation ends an
//!   operation. Any other event is counted as stray and ignored. That an event for a live
//!   operation means that the kernel is finished with it is the one thing that is trusted.
//! - `in_flight` is the number of slots that are `InFlight`.
//! - User code (`prepare`, and drops) runs when every list is whole and nothing is borrowed
//!   mutably, since it may panic or come back in: everything here is `Cell`s and `&self`.
//! - `head` of the ring is stored only in the process that made the context.

use crate::context::IoContext;
use crate::ring::{Available, Ring};
use crate::slot::{Completion, PushError, Slot, State, Token};
use crate::sys::helper;
use crate::{Errno, IoEvent, Iocb, Opcode, Operation};
use core::cell::{Cell, UnsafeCell};
use core::mem::{self, MaybeUninit};
use core::ptr::NonNull;
use core::time::Duration;

/// No slot: the end of a list.
const NONE: u32 = u32::MAX;

/// How many pending operations make a wait submit them before it looks for events. Below, it
/// drains what is there first, so that one submit serves all; without a bound, a fast device would
/// be kept waiting for the rest.
const PENDING_BEFORE_SUBMIT: u32 = 32;

/// How many events one system call takes, at most.
const INBOX: usize = 32;

/// An operation that has ended, still in its slot.
#[derive(Clone, Copy)]
pub(crate) struct Settled {
    pub(crate) index: u32,
    /// As in an event: a count, or a negative errno.
    res: i64,
}

impl Settled {
    #[inline]
    pub(crate) fn result(self) -> Result<u32, Errno> {
        Errno::check_result(self.res)
    }
}

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

/// See the [module](self).
pub(crate) struct Engine<O> {
    slots: NonNull<Slot<O>>,
    capacity: u32,
    /// First of the list of free slots.
    free: Cell<u32>,
    /// The iocbs of the pending operations, oldest first: what `io_submit` takes.
    pending: NonNull<[MaybeUninit<*mut Iocb>]>,
    pending_len: Cell<u32>,
    /// First and last of the list of refused operations, which are `Done`.
    refused_first: Cell<u32>,
    refused_last: Cell<u32>,
    in_flight: Cell<u32>,
    /// The context's ring, until it turns out not to be usable.
    ring: Cell<Option<Ring>>,
    /// Events of the ring that are known to be there: from `head` up to `tail`.
    head: Cell<u32>,
    tail: Cell<u32>,
    /// What the ring's own `head` is, which may be behind this one.
    published_head: Cell<u32>,
    /// Events taken by system call: from `inbox_next` up to `inbox_end`.
    inbox: UnsafeCell<[MaybeUninit<IoEvent>; INBOX]>,
    inbox_next: Cell<u32>,
    inbox_end: Cell<u32>,
    stats: Cell<Stats>,
}

impl<O> Engine<O> {
    /// An engine over `slots`, all of which are free, for a context with nothing in flight.
    /// `pending` has room for the operations that wait for a submit; its content does not matter.
    ///
    /// # Safety
    /// Until the engine is gone, the slots and `pending` stay where they are and nobody else uses
    /// them; and before they go, [`Engine::quiesce`] has been called or the context has been
    /// destroyed.
    pub(crate) unsafe fn new(
        slots: NonNull<[Slot<O>]>,
        pending: NonNull<[MaybeUninit<*mut Iocb>]>,
        context: &IoContext,
    ) -> Self {
        let capacity = u32::try_from(slots.len()).unwrap_or(NONE);
        let engine = Self {
            slots: slots.cast(),
            capacity,
            free: Cell::new(NONE),
            pending,
            pending_len: Cell::new(0),
            refused_first: Cell::new(NONE),
            refused_last: Cell::new(NONE),
            in_flight: Cell::new(0),
            ring: Cell::new(context.ring()),
            head: Cell::new(0),
            tail: Cell::new(0),
            published_head: Cell::new(0),
            inbox: UnsafeCell::new([const { MaybeUninit::uninit() }; INBOX]),
            inbox_next: Cell::new(0),
            inbox_end: Cell::new(0),
            stats: Cell::new(Stats::default()),
        };
        let first = Token::of_new_engine();
        for index in (0..capacity).rev() {
            let blank = Iocb::from_raw(crate::abi::iocb::ZERO);
            // SAFETY: The slot is free.
            unsafe { engine.slot(index).set_iocb(blank.user_data(first.at(index).user_data())) };
            engine.release(index);
        }
        engine
    }

    pub(crate) fn capacity(&self) -> u32 {
        self.capacity
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }

    pub(crate) fn pending(&self) -> u32 {
        self.pending_len.get()
    }

    pub(crate) fn stats(&self) -> Stats {
        self.stats.get()
    }

    #[inline]
    fn slot_pointer(&self, index: u32) -> NonNull<Slot<O>> {
        debug_assert!(index < self.capacity);
        // SAFETY: `index` is below the capacity, the number of slots.
        unsafe { self.slots.add(index as usize) }
    }

    #[inline]
    fn slot(&self, index: u32) -> &Slot<O> {
        // SAFETY: The slots are alive while the engine is (`new`); what the kernel or an operation
        // may write lies in `UnsafeCell`s.
        unsafe { self.slot_pointer(index).as_ref() }
    }

    #[inline]
    fn count(&self, change: impl FnOnce(&mut Stats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.stats.set(stats);
    }

    // ---- push ----

    /// Moves `op` into a free slot and prepares it there.
    #[inline]
    pub(crate) fn push(&self, op: O) -> Result<Token, PushError<O>>
    where
        O: Operation,
    {
        let index = self.free.get();
        if index == NONE || self.pending_is_full() {
            return Err(PushError { error: Errno::EAGAIN, op });
        }
        let slot = self.slot(index);
        self.free.set(slot.next.get());
        // SAFETY: The slot is free: nothing is in it, and nobody has a pointer into it.
        unsafe { self.operation(index).write(op) };
        // SAFETY: The operation has just been written, and the slot is on no list.
        Ok(unsafe { self.prepare(index) })
    }

    /// Prepares the operation that is in slot `index` and queues it.
    ///
    /// # Safety
    /// The slot's operation is initialised, not lent to the kernel and not referred to; the slot is
    /// on no list.
    #[inline]
    pub(crate) unsafe fn prepare(&self, index: u32) -> Token
    where
        O: Operation,
    {
        let slot = self.slot(index);
        let unprepared = Unprepared { engine: self, index };
        // SAFETY: The caller's promise.
        let operation = unsafe { &mut *self.operation(index) };
        // The loan ends for the compiler here; the states keep it up until `Done`.
        let iocb = operation.prepare().into_iocb();
        mem::forget(unprepared);

        let token = slot.token().next_generation();
        // SAFETY: The kernel does not have this iocb: its last operation has ended.
        unsafe { slot.set_iocb(iocb.user_data(token.user_data())) };
        slot.state.set(State::Pending);
        // By the slot's own pointer, from which `slot_of` can get back to all of the slot.
        self.pending_push(self.slot_pointer(index).as_ptr().cast());
        token
    }

    // ---- the pending queue ----

    /// Whether no more can wait for a submit. Never so where there is room for every slot.
    #[inline]
    pub(crate) fn pending_is_full(&self) -> bool {
        self.pending_len.get() as usize == self.pending.len()
    }

    /// The place of the k-th pending iocb, or the one behind the last.
    #[inline]
    fn pending_entry(&self, k: u32) -> *mut *mut Iocb {
        debug_assert!(k as usize <= self.pending.len());
        // SAFETY: `k` is at most `pending_len`, which is at most the length of `pending`.
        unsafe { self.pending.cast::<*mut Iocb>().add(k as usize) }.as_ptr()
    }

    #[inline]
    fn pending_push(&self, iocb: *mut Iocb) {
        let len = self.pending_len.get();
        // Not only debug: `prepare` runs user code, which may have pushed to the last place.
        assert!((len as usize) < self.pending.len(), "more operations pending than slots");
        // SAFETY: An entry of `pending`, of which only the engine has pointers.
        unsafe { self.pending_entry(len).write(iocb) };
        self.pending_len.set(len + 1);
    }

    /// The pending iocbs, oldest first. Not to be held while the pending queue changes.
    #[inline]
    fn pending_iocbs(&self) -> &[*mut Iocb] {
        let len = self.pending_len.get() as usize;
        // SAFETY: `pending_push` has written these entries, and only the engine has pointers to
        // them, which writes none while the slice is used.
        unsafe { core::slice::from_raw_parts(self.pending_entry(0), len) }
    }

    /// Takes `count` entries out of the pending queue, from the k-th on.
    fn pending_remove(&self, k: u32, count: u32) {
        let later = self.pending_len.get() - k - count;
        if later > 0 {
            let behind = self.pending_entry(k + count);
            // SAFETY: The entries behind the gap move to it; both ranges lie in what is pending,
            // of which only the engine has pointers.
            unsafe { self.pending_entry(k).copy_from(behind, later as usize) };
        }
        self.pending_len.set(k + later);
    }

    /// The slot that a pending iocb lies in.
    #[inline]
    fn slot_of(&self, iocb: *mut Iocb) -> &Slot<O> {
        // SAFETY: The pending queue holds pointers to this engine's slots only, which are alive; the
        // iocb is the first field (`repr(C)`).
        unsafe { &*iocb.cast::<Slot<O>>() }
    }

    // ---- submit ----

    /// Gives the pending operations to the kernel and says how many it accepted.
    ///
    /// One that it refuses fails alone: it becomes `Done` with the error. `EAGAIN` ends the
    /// attempt and leaves the rest pending; it is returned only when nothing is in flight whose
    /// end could make room.
    #[inline]
    pub(crate) fn submit(&self, context: &IoContext) -> Result<usize, Errno> {
        if self.pending_len.get() == 0 {
            return Ok(0);
        }
        // The events behind `head` hold room in the kernel until it is told.
        self.publish_head(context);
        let iocbs = self.pending_iocbs();
        let (mut gone, mut accepted, mut failure) = (0, 0, None);
        while gone < iocbs.len() {
            self.count(|stats| stats.submit_calls += 1);
            // SAFETY: The iocbs lie in slots, which stay in place; each was prepared from an
            // operation whose loan lasts until its event, which is what the states keep.
            let outcome = unsafe { context.submit(&iocbs[gone..]) };
            match outcome.and_then(|count| if count > 0 { Ok(count) } else { Err(Errno::EAGAIN) }) {
                Ok(count) => {
                    let count = count.min(iocbs.len() - gone);
                    self.mark_in_flight(&iocbs[gone..gone + count]);
                    (gone, accepted) = (gone + count, accepted + count);
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if self.in_flight.get() > 0 => break,
                Err(errno @ (Errno::EAGAIN | Errno::ENOSYS | Errno::FORKED)) => {
                    failure = Some(errno);
                    break;
                }
                Err(errno) => {
                    self.refuse(self.slot_of(iocbs[gone]).token().index(), errno);
                    gone += 1;
                }
            }
        }
        self.pending_remove(0, gone as u32);
        match failure {
            Some(errno) => Err(errno),
            None => Ok(accepted),
        }
    }

    #[inline]
    fn mark_in_flight(&self, accepted: &[*mut Iocb]) {
        for &iocb in accepted {
            self.slot_of(iocb).state.set(State::InFlight);
        }
        self.in_flight.set(self.in_flight.get() + accepted.len() as u32);
        self.count(|stats| stats.operations += accepted.len() as u64);
    }

    /// Makes a pending operation that leaves the pending queue `Done` with an error.
    #[cold]
    fn refuse(&self, index: u32, errno: Errno) {
        let slot = self.slot(index);
        slot.state.set(State::Done);
        slot.refused.set(Some(errno));
        slot.next.set(NONE);
        if self.refused_first.get() == NONE {
            self.refused_first.set(index);
        } else {
            self.slot(self.refused_last.get()).next.set(index);
        }
        self.refused_last.set(index);
    }

    // ---- cancel ----

    /// Ends the operation early if it can be: one that is pending completes with `ECANCELED`, one
    /// in flight is the kernel's to cancel.
    pub(crate) fn cancel(&self, context: &IoContext, token: Token) -> Result<(), Errno> {
        let index = token.index();
        if index >= self.capacity || self.slot(index).token() != token {
            return Err(Errno::ENOENT);
        }
        let slot = self.slot(index);
        match slot.state.get() {
            State::Pending => {
                let iocbs = self.pending_iocbs();
                let at = iocbs.iter().position(|&pending| pending == slot.iocb.get());
                self.pending_remove(at.ok_or(Errno::ENOENT)? as u32, 1);
                self.refuse(index, Errno::ECANCELED);
                Ok(())
            }
            State::InFlight => cancel_in_flight(context, slot),
            State::Free | State::Done => Err(Errno::ENOENT),
        }
    }

    // ---- reap ----

    /// The next operation that has ended, without waiting, and without a system call where the
    /// ring can be read.
    #[inline(always)]
    pub(crate) fn try_settle(&self, context: &IoContext) -> Option<Settled> {
        // What was seen on the ring before a fork is the parent's.
        if context.check_process().is_err() {
            return None;
        }
        loop {
            if self.head.get() == self.tail.get() {
                // Between two looks at the ring, so that a device that is always done keeps
                // neither waiting.
                if self.refused_first.get() != NONE {
                    return Some(self.take_refused());
                }
                if let Some(event) = self.take_from_inbox() {
                    match self.settle(&event) {
                        None => continue,
                        settled => return settled,
                    }
                }
                if !self.refill(context) {
                    return self.settle_by_call(context);
                }
            }
            // `head` differs from `tail` only where there is a ring.
            let ring = self.ring.get()?;
            if let Some(settled) = self.settle(&self.take_from(ring)) {
                return Some(settled);
            }
        }
    }

    /// The next operation whose event comes by system call, where there is no ring to be read. The
    /// inbox is empty.
    #[cold]
    #[inline(never)]
    fn settle_by_call(&self, context: &IoContext) -> Option<Settled> {
        if self.ring.get().is_some() {
            return None;
        }
        loop {
            let event = match self.take_from_inbox() {
                Some(event) => event,
                None => {
                    self.fetch(context, 0, Some(Duration::ZERO)).ok()?;
                    self.take_from_inbox()?
                }
            };
            if let Some(settled) = self.settle(&event) {
                return Some(settled);
            }
        }
    }

    /// As [`try_settle`](Self::try_settle), but submits what is pending, and waits if it must.
    /// `None` where there is nothing to wait for.
    ///
    /// Without a timeout, signals do not end the wait; with one, they do (`EINTR`), and so does
    /// the time (`ETIMEDOUT`).
    #[inline]
    pub(crate) fn wait(
        &self,
        context: &IoContext,
        timeout: Option<Duration>,
    ) -> Result<Option<Settled>, Errno> {
        if self.pending_len.get() < PENDING_BEFORE_SUBMIT {
            if let Some(settled) = self.try_settle(context) {
                return Ok(Some(settled));
            }
        }
        self.submit_and_wait(context, timeout)
    }

    #[inline(never)]
    fn submit_and_wait(
        &self,
        context: &IoContext,
        timeout: Option<Duration>,
    ) -> Result<Option<Settled>, Errno> {
        loop {
            let submitted = self.submit(context);
            // What has ended must come out; an error that lasts shows when nothing is left.
            if let Some(settled) = self.try_settle(context) {
                return Ok(Some(settled));
            }
            submitted?;
            if self.in_flight.get() == 0 {
                return Ok(None);
            }
            match self.fetch(context, 1, timeout) {
                Ok(0) => return Err(Errno::ETIMEDOUT),
                Ok(_) => {}
                Err(Errno::EINTR) if timeout.is_none() => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    #[cold]
    fn take_refused(&self) -> Settled {
        let index = self.refused_first.get();
        let slot = self.slot(index);
        self.refused_first.set(slot.next.get());
        let errno = slot.refused.take().unwrap_or(Errno::EIO);
        Settled { index, res: -i64::from(errno.raw()) }
    }

    /// Ends the operation that the event is for. `None` where it is for none.
    #[inline]
    fn settle(&self, event: &IoEvent) -> Option<Settled> {
        let token = Token::from_user_data(event.user_data());
        let index = token.index();
        if index < self.capacity {
            let slot = self.slot(index);
            if slot.token() == token && slot.state.get() == State::InFlight {
                slot.state.set(State::Done);
                self.in_flight.set(self.in_flight.get() - 1);
                return Some(Settled { index, res: event.as_raw().res });
            }
        }
        self.count_stray();
        None
    }

    #[cold]
    fn count_stray(&self) {
        self.count(|stats| stats.stray_events += 1);
    }

    /// Takes the event at `head`, which is known to be there.
    #[inline]
    fn take_from(&self, ring: Ring) -> IoEvent {
        let head = self.head.get();
        // SAFETY: `head` is not `tail`, so it is one of the events that `available` named, and
        // the ring's own head has not passed it.
        let event = unsafe { ring.event(head) };
        self.head.set(ring.after(head));
        event
    }

    /// Gives back what was taken off the ring, and looks for more. `false` where there is none, or
    /// no ring to be read.
    #[inline(never)]
    fn refill(&self, context: &IoContext) -> bool {
        self.publish_head(context);
        let Some(ring) = self.ring.get() else { return false };
        let Some(Available { head, count }) = ring.available() else {
            self.ring.set(None);
            return false;
        };
        self.head.set(head);
        self.published_head.set(head);
        self.tail.set(ring.skip(head, count));
        self.count(|stats| stats.events_by_ring += u64::from(count));
        count > 0
    }

    /// Tells the kernel which events have been taken.
    #[inline]
    fn publish_head(&self, context: &IoContext) {
        let head = self.head.get();
        if head == self.published_head.get() || context.check_process().is_err() {
            return;
        }
        if let Some(ring) = self.ring.get() {
            // SAFETY: The engine is the context's one reader and not in a system call; the process
            // is the context's (checked); `head` went no further than `tail`.
            unsafe { ring.advance(head) };
        }
        self.published_head.set(head);
    }

    /// Takes events by system call into the inbox, which is empty, as is the known part of the
    /// ring: their events come first.
    fn fetch(
        &self,
        context: &IoContext,
        min: usize,
        timeout: Option<Duration>,
    ) -> Result<u32, Errno> {
        context.check_process()?;
        debug_assert_eq!(self.inbox_next.get(), self.inbox_end.get());
        debug_assert_eq!(self.head.get(), self.tail.get());
        self.publish_head(context);
        self.count(|stats| stats.getevents_calls += 1);
        // SAFETY: Nothing else looks at the inbox during the call; no user code runs in it.
        let inbox = unsafe { &mut *self.inbox.get() };
        // SAFETY: The engine is the context's one reader.
        let taken = unsafe { context.getevents(min, timeout, None, inbox) }?;
        let taken = taken.min(INBOX) as u32;
        self.count(|stats| stats.events_by_call += u64::from(taken));
        self.inbox_next.set(0);
        self.inbox_end.set(taken);
        Ok(taken)
    }

    fn take_from_inbox(&self) -> Option<IoEvent> {
        let next = self.inbox_next.get();
        if next == self.inbox_end.get() {
            return None;
        }
        self.inbox_next.set(next + 1);
        // SAFETY: No call that writes the inbox is under way.
        let inbox = unsafe { &*self.inbox.get() };
        // SAFETY: The kernel wrote the events below `inbox_end`.
        Some(unsafe { inbox[next as usize].assume_init() })
    }

    // ---- take ----

    /// The token of the operation in slot `index`.
    #[inline]
    pub(crate) fn token(&self, index: u32) -> Token {
        self.slot(index).token()
    }

    /// Gives the operation of a slot that is `Done` back, and frees the slot.
    #[inline]
    pub(crate) fn take(&self, settled: Settled) -> Completion<O> {
        let index = settled.index;
        let token = self.token(index);
        // SAFETY: The state is `Done`: the operation is initialised and no longer lent. It is read
        // once, since the slot becomes free.
        let op = unsafe { self.operation(index).read() };
        self.release(index);
        Completion { token, result: settled.result(), op }
    }

    /// The operation of slot `index`, in place; initialised unless the slot is `Free`.
    #[inline]
    pub(crate) fn operation(&self, index: u32) -> *mut O {
        self.slot(index).operation.get().cast()
    }

    /// Drops the operation in slot `index` and frees the slot, also if the drop panics.
    ///
    /// # Safety
    /// The slot's operation is initialised, not lent to the kernel, and not used again.
    pub(crate) unsafe fn discard(&self, index: u32) {
        let free = Release { engine: self, index };
        // SAFETY: The caller's promise.
        unsafe { self.operation(index).drop_in_place() };
        drop(free);
    }

    /// Puts a slot whose operation is gone on the free list.
    #[inline]
    fn release(&self, index: u32) {
        let slot = self.slot(index);
        slot.state.set(State::Free);
        slot.next.set(self.free.get());
        self.free.set(index);
    }

    // ---- the end ----

    /// Waits until the kernel has nothing of this engine's any more, and drops every operation
    /// that is still here.
    ///
    /// Cancels every POLL, ignores signals, and takes the time that the slowest operation takes.
    /// Where waiting fails for good, the context is destroyed, since only the 0 of `io_destroy`
    /// proves then that the buffers are free; and where that fails too, the process is killed. In
    /// a forked child it does not wait: what is in flight writes the parent's memory.
    pub(crate) fn quiesce(&self, context: &mut IoContext) {
        if context.check_process().is_ok() {
            self.end_in_flight(context);
        }
        self.discard_all();
    }

    fn end_in_flight(&self, context: &mut IoContext) {
        self.settle_events(context);
        let mut waiting_works = self.cancel_polls(context);
        while waiting_works && self.in_flight.get() > 0 {
            waiting_works = matches!(self.fetch(context, 1, None), Ok(1..) | Err(Errno::EINTR));
            self.settle_events(context);
        }
        self.publish_head(context);
        if self.in_flight.get() > 0 {
            self.ring.set(None);
            destroy_or_die(context);
            self.in_flight.set(0);
        }
    }

    fn settle_events(&self, context: &IoContext) {
        while self.try_settle(context).is_some() {}
    }

    /// Cancels what would not end by itself. `false` where that cannot be done here.
    fn cancel_polls(&self, context: &IoContext) -> bool {
        let in_flight = (0..self.capacity).map(|index| self.slot(index));
        let in_flight = in_flight.filter(|slot| slot.state.get() == State::InFlight);
        for slot in in_flight {
            if slot.opcode() != Opcode::POLL {
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
                    let index = self.next;
                    self.next += 1;
                    if self.engine.slot(index).state.get() != State::Free {
                        // SAFETY: It is initialised, and the kernel has nothing any more (or, in a
                        // forked child, nothing of this memory).
                        unsafe { self.engine.discard(index) };
                    }
                }
            }
        }
        impl<O> Drop for Rest<'_, O> {
            fn drop(&mut self) {
                self.discard();
            }
        }
        Rest { engine: self, next: 0 }.discard();
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
    index: u32,
}

impl<O> Drop for Release<'_, O> {
    fn drop(&mut self) {
        self.engine.release(self.index);
    }
}

/// Takes an operation whose `prepare` panicked out of its slot.
struct Unprepared<'e, O> {
    engine: &'e Engine<O>,
    index: u32,
}

impl<O> Drop for Unprepared<'_, O> {
    fn drop(&mut self) {
        // SAFETY: The operation is initialised; `prepare` did not return, so nothing is lent.
        unsafe { self.engine.discard(self.index) };
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
