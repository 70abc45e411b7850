//! How an engine finds the next finished operation: in the batch, on the ring, by system call,
//! among the refused ones; how it waits; and [`Finished`], the operation that it finds.

use super::Engine;
use super::batch::NoRing;
#[cfg(feature = "alloc")]
use crate::Operation;
use crate::slot::{Completion, Slot, Tag, Token};
use crate::{CallError, Errno, IoContext, IoEvent};
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use core::time::Duration;

/// How many queued operations make a wait submit them before it polls. With fewer, it first takes
/// the events that are there, so that one submit serves all. Without this bound, a fast device
/// would be kept waiting for the rest.
const QUEUED_BEFORE_SUBMIT: usize = 32;

/// How long a wait sleeps at most while operations are queued that the kernel did not take. An
/// operation in flight need not end (a POLL), and the next submit may succeed all the same: the
/// kernel had no memory.
const RETRY: Duration = Duration::from_millis(10);

/// An operation that has ended, in two words, which functions return in registers. For the owner of
/// the engine it becomes a [`Finished`], which has the same invariants.
#[must_use = "its slot stays in use"]
pub(super) struct Ended<'e, O> {
    slot: &'e Slot<O>,
    /// As in an event: a count, or a negative errno.
    res: i64,
}

impl<'e, O> Ended<'e, O> {
    /// # Safety
    /// The invariants of [`Finished`] hold, for the engine that gets this.
    #[inline(always)]
    unsafe fn new(slot: &'e Slot<O>, res: i64) -> Self {
        Self { slot, res }
    }
}

/// The two words of an event that matter, which functions take in registers.
#[derive(Clone, Copy)]
struct OfEvent {
    data: u64,
    res: i64,
}

impl OfEvent {
    #[inline(always)]
    fn new(event: &IoEvent) -> Self {
        Self { data: event.user_data(), res: event.as_raw().res }
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
    unsafe fn new(engine: &'e Engine<O>, ended: Ended<'e, O>) -> Self {
        Self { engine, ended }
    }

    #[inline(always)]
    pub(crate) fn result(&self) -> Result<u32, Errno> {
        Errno::check_result(self.ended.res)
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

    #[cfg(feature = "alloc")]
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
    // ---- the three ways in ----

    /// Returns the next finished operation, without waiting. Makes no system call if the ring can
    /// be read.
    ///
    /// # Errors
    /// [`Errno::FORKED`], and those of `io_getevents` under a filter.
    #[inline(always)]
    pub(crate) fn poll(&self, context: &IoContext) -> Result<Option<Finished<'_, O>>, CallError> {
        match self.poll_ended(context) {
            Some(ended) => Ok(Some(self.finished(ended))),
            None => match self.poll_failure.get() {
                None => Ok(None),
                Some(errno) => Err(CallError::getevents(errno)),
            },
        }
    }

    /// Returns the next finished operation. Submits the queued operations, and waits if it must.
    /// Returns `None` if nothing is queued or in flight.
    ///
    /// Without a timeout, signals do not end the wait.
    ///
    /// # Errors
    /// `ETIMEDOUT`; with a timeout, `EINTR`; those of submit and of `io_getevents`.
    #[inline(always)]
    pub(crate) fn wait(
        &self,
        context: &IoContext,
        timeout: Option<Duration>,
    ) -> Result<Option<Finished<'_, O>>, CallError> {
        if let Some(ended) = self.next_in_batch(context) {
            return Ok(Some(self.finished(ended)));
        }
        if self.queued.len() < QUEUED_BEFORE_SUBMIT {
            if let Some(ended) = self.poll_ring(context) {
                return Ok(Some(self.finished(ended)));
            }
        }
        let submitted = self.submit(context);
        // A finished operation comes before an error: an error that lasts shows when none is left.
        if let Some(ended) = self.poll_ring(context) {
            return Ok(Some(self.finished(ended)));
        }
        Ok(self.sleep(context, submitted, timeout)?.map(|ended| self.finished(ended)))
    }

    /// Returns the next finished operation. Waits for one in flight, at most for `timeout`, and
    /// submits nothing. Returns `None` if nothing is in flight.
    ///
    /// # Errors
    /// `ETIMEDOUT`, `EINTR`, and those of `io_getevents`.
    pub(crate) fn wait_in_flight(
        &self,
        context: &IoContext,
        timeout: Duration,
    ) -> Result<Option<Finished<'_, O>>, CallError> {
        loop {
            if let Some(ended) = self.poll_ended(context) {
                return Ok(Some(self.finished(ended)));
            }
            if self.in_flight() == 0 {
                return Ok(None);
            }
            if self.getevents(context, 1, Some(timeout)).map_err(CallError::getevents)? == 0 {
                return Err(CallError::getevents(Errno::ETIMEDOUT));
            }
        }
    }

    #[inline(always)]
    fn finished<'e>(&'e self, ended: Ended<'e, O>) -> Finished<'e, O> {
        // SAFETY: `poll`, `wait` and `wait_in_flight`, the callers, got it from `self`.
        unsafe { Finished::new(self, ended) }
    }

    // ---- from an event to an operation ----

    /// Ends the operation that an event is for. Returns `None` if it is for none.
    ///
    /// Every event of the kernel passes here. Only [`end_filling`](Self::end_filling) gets those
    /// that end nothing here.
    #[inline(always)]
    fn end(&self, event: &IoEvent) -> Option<Ended<'_, O>> {
        let slot = self.live(Tag::from_user_data(event.user_data()))?;
        slot.end_tag();
        // SAFETY: The tag was live, so the operation is initialised and its slot on no list of
        // finished or free ones. The event, which names this use of the slot, says that the kernel
        // has taken it, so that it is not queued, and is finished with it. The tag is dead now, so
        // no second event ends this operation.
        Some(unsafe { Ended::new(slot, event.as_raw().res) })
    }

    /// Ends the operation that fills and that an event is for. Returns `None` if it is for none.
    fn end_filling(&self, event: OfEvent) -> Option<Ended<'_, O>> {
        let tag = Tag::from_user_data(event.data);
        let slot = self.slots().get(tag.without_fills().index() as usize)?;
        if !tag.fills() || slot.tag() != tag {
            return None;
        }
        if let (Some(mut filled), Ok(count)) = (slot.filled(), u64::try_from(event.res)) {
            // Never more than the kernel was asked for.
            let count = count.min(slot.nbytes()) as usize;
            // SAFETY: The tag is live and marked, so `prepare` has set the pointer, and the slot
            // has been on no list since. The record was lent exclusively for as long as the tag is
            // live, which it is until the next statement, so it is there and nobody else refers to
            // it.
            unsafe { filled.as_mut() }.add(count);
        }
        slot.end_any_tag();
        // SAFETY: As in `end`.
        Some(unsafe { Ended::new(slot, event.res) })
    }

    /// Ends the operation that an event is for, of any kind.
    #[inline]
    fn end_any(&self, event: &IoEvent) -> Option<Ended<'_, O>> {
        self.end(event).or_else(|| self.end_filling(OfEvent::new(event)))
    }

    /// Notes an event that names no operation in flight.
    fn note_stray(&self) {
        self.count(|stats| stats.stray_events += 1);
    }

    // ---- the hot path ----

    /// Ends the operation of the next event, without waiting.
    #[inline(always)]
    pub(super) fn poll_ended(&self, context: &IoContext) -> Option<Ended<'_, O>> {
        self.next_in_batch(context).or_else(|| self.poll_ring(context))
    }

    /// Ends the operation of the next event in the batch. Returns `None` if the batch is empty, and
    /// in a forked child: an event that was seen before the fork is the parent's.
    #[inline(always)]
    fn next_in_batch(&self, context: &IoContext) -> Option<Ended<'_, O>> {
        if self.batch.is_empty() || context.check_process().is_err() {
            return None;
        }
        let event = self.batch.next()?;
        self.end(&event).or_else(|| self.poll_past(context, OfEvent::new(&event)))
    }

    /// Ends the operation of the next event on the ring, whose batch is empty, or in a forked
    /// child.
    ///
    /// The rare cases are called last, so that this function keeps nothing on the stack.
    #[inline(never)]
    fn poll_ring(&self, context: &IoContext) -> Option<Ended<'_, O>> {
        if self.is_gated() {
            return self.poll_past_gate(context);
        }
        // SAFETY: The gate is open, so the process is that of the context.
        let event = match unsafe { self.take_from_ring() } {
            Ok(Some(event)) => event,
            Ok(None) => return None,
            Err(NoRing) => return self.poll_slowly(context),
        };
        match self.end(&event) {
            None => self.poll_past(context, OfEvent::new(&event)),
            ended => ended,
        }
    }

    /// Takes the next event off the ring. The batch must be empty.
    ///
    /// # Safety
    /// The process is that of the context.
    #[inline]
    unsafe fn take_from_ring(&self) -> Result<Option<IoEvent>, NoRing> {
        // SAFETY: The process is the caller's promise.
        let Some((event, count)) = unsafe { self.batch.poll() }? else { return Ok(None) };
        self.count(|stats| stats.events_by_ring += u64::from(count));
        Ok(Some(event))
    }

    // ---- the cold paths ----

    /// Ends the operation of an event that fills. Any other event is stray: notes it, and ends the
    /// operation of the next one.
    #[cold]
    #[inline(never)]
    fn poll_past(&self, context: &IoContext, event: OfEvent) -> Option<Ended<'_, O>> {
        if let Some(ended) = self.end_filling(event) {
            return Some(ended);
        }
        self.note_stray();
        self.poll_slowly(context)
    }

    /// Ends the next operation, wherever it is: in the batch, among the refused ones, on the ring,
    /// or behind the system call if there is no ring. Notes why it could not look, for `poll`.
    #[cold]
    #[inline(never)]
    pub(super) fn poll_slowly(&self, context: &IoContext) -> Option<Ended<'_, O>> {
        if let Err(errno) = context.check_process() {
            self.poll_failure.set(Some(errno));
            return None;
        }
        loop {
            let event = match self.batch.next() {
                Some(event) => event,
                None => {
                    // Between two batches, so that a device that always has events does not keep it
                    // waiting.
                    if let Some(ended) = self.next_refused(context) {
                        return Some(ended);
                    }
                    self.next_event(context)?
                }
            };
            match self.end_any(&event) {
                None => self.note_stray(),
                ended => return ended,
            }
        }
    }

    /// Takes the next event, by system call if there is no ring to be read. The batch must be
    /// empty. To be called in the context's process.
    fn next_event(&self, context: &IoContext) -> Option<IoEvent> {
        // SAFETY: `poll_slowly`, the one caller, has checked the process. No user code, which might
        // fork, has run since.
        match unsafe { self.take_from_ring() } {
            Ok(event) => event,
            Err(NoRing) => {
                self.batch.give_ring_up();
                let looked = self.getevents(context, 0, Some(Duration::ZERO));
                // A signal is no failure: nothing was there when it came.
                self.poll_failure.set(looked.err().filter(|&errno| errno != Errno::EINTR));
                self.batch.next()
            }
        }
    }

    /// Takes the first operation that the kernel refused off their list. The gate is closed as long
    /// as the list has one.
    fn next_refused(&self, context: &IoContext) -> Option<Ended<'_, O>> {
        // SAFETY: This is a link of the refused list.
        let slot = unsafe { self.follow(self.refused_first.get()) }?;
        self.refused_first.set(slot.next.get());
        if slot.next.get().is_none() {
            self.open_gate(context);
        }
        let errno = slot.refused.take().unwrap_or(Errno::EIO);
        // SAFETY: `refuse` made the tag dead. The operation was queued until then, hence
        // initialised, and the kernel does not have it. The slot is on no list any more.
        Some(unsafe { Ended::new(slot, -i64::from(errno.as_raw())) })
    }

    /// Waits as [`wait`](Self::wait) does, if no event was there after `submitted`.
    #[inline(never)]
    fn sleep(
        &self,
        context: &IoContext,
        mut submitted: Result<usize, Errno>,
        timeout: Option<Duration>,
    ) -> Result<Option<Ended<'_, O>>, CallError> {
        // An operation that was refused before a fork is the parent's to finish.
        context.check_process().map_err(CallError::getevents)?;
        let mut left = timeout;
        loop {
            submitted.map_err(CallError::submit)?;
            if self.in_flight() == 0 {
                return Ok(None);
            }
            let sleep = match self.queued.is_empty() {
                true => left,
                false => Some(left.map_or(RETRY, |left| left.min(RETRY))),
            };
            match self.getevents(context, 1, sleep) {
                Ok(0) if sleep != left => left = left.map(|left| left - RETRY),
                Ok(0) => return Err(CallError::getevents(Errno::ETIMEDOUT)),
                Ok(_) => {}
                Err(Errno::EINTR) if timeout.is_none() => {}
                Err(errno) => return Err(CallError::getevents(errno)),
            }
            submitted = self.submit(context);
            if let Some(ended) = self.poll_ended(context) {
                return Ok(Some(ended));
            }
        }
    }

    /// Takes events by system call. The batch must be empty.
    pub(super) fn getevents(
        &self,
        context: &IoContext,
        min: usize,
        timeout: Option<Duration>,
    ) -> Result<usize, Errno> {
        context.check_process()?;
        self.count(|stats| stats.getevents_calls += 1);
        let taken = self.batch.getevents(context, min, timeout)?;
        self.count(|stats| stats.events_by_call += taken as u64);
        Ok(taken)
    }

    /// Returns why the last poll could not look for events. Between polls, `None` says that it
    /// could.
    #[cfg(feature = "std")]
    pub(crate) fn poll_failure(&self) -> Option<Errno> {
        self.poll_failure.get()
    }

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
