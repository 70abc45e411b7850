//! Finds the next finished operation: in the batch, on the ring, by system call,
//! among the refused ones; and how it waits.

use super::Engine;
use super::batch::NoRing;
use super::finished::{Ended, Finished};
use crate::room::Filled;
use crate::slot::Tag;
use crate::{CallError, Errno, IoContext, IoEvent, Operation};
use core::mem;
use core::time::Duration;

/// The number of queued operations at which a wait submits them before it polls. With fewer, it
/// first takes the events that are there, so that one submit serves all. Without this bound, a fast
/// device would be kept waiting for the rest.
const QUEUED_BEFORE_SUBMIT: usize = 32;

/// The time that a wait sleeps at most while operations are queued that the kernel did not take. An
/// operation in flight need not end (a POLL), and the next submit may succeed all the same: the
/// kernel had no memory.
const RETRY: Duration = Duration::from_millis(10);

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

impl<O> Engine<O> {
    // ---- the three ways in ----

    /// Returns the next finished operation, without waiting. Makes no system call if the ring can
    /// be read.
    ///
    /// # Errors
    /// [`Errno::FORKED`], and those of `io_getevents` under a filter.
    #[inline(always)]
    pub(crate) fn poll(&self, context: &IoContext) -> Result<Option<Finished<'_, O>>, CallError>
    where
        O: Operation,
    {
        match self.poll_ended(context) {
            Some(ended) => {
                if self.goes_on(&ended) {
                    return self.poll_on(context, ended);
                }
                Ok(Some(self.finished(ended)))
            }
            None => self.nothing(),
        }
    }

    /// Says that a poll has found nothing, or why it could not look.
    #[inline(always)]
    fn nothing<T>(&self) -> Result<Option<T>, CallError> {
        match self.poll_failure.get() {
            None => Ok(None),
            Some(errno) => Err(CallError::getevents(errno)),
        }
    }

    /// Polls on after an operation that goes on. The caller of [`poll`](Self::poll) does not know
    /// of it, so nobody else would submit it.
    #[cold]
    #[inline(never)]
    fn poll_on<'e>(
        &'e self,
        context: &IoContext,
        mut ended: Ended<'e, O>,
    ) -> Result<Option<Finished<'e, O>>, CallError>
    where
        O: Operation,
    {
        loop {
            if let Err(stuck) = self.finished(ended).go_on(context) {
                return Ok(Some(stuck));
            }
            self.submit(context).map_err(CallError::submit)?;
            let Some(next) = self.poll_ended(context) else { return self.nothing() };
            if !self.goes_on(&next) {
                return Ok(Some(self.finished(next)));
            }
            ended = next;
        }
    }

    /// Returns the next operation that has ended, as [`poll_piece`](Self::poll_piece) does, to a
    /// caller that has checked the process since it has run users' code. In a forked child it would
    /// return what the parent is to take.
    ///
    /// # Errors
    /// Those of [`poll`](Self::poll).
    #[cfg(feature = "std")]
    #[inline(always)]
    pub(crate) fn poll_piece_in_process(
        &self,
        context: &IoContext,
    ) -> Result<Option<Finished<'_, O>>, CallError> {
        match self.next_in_batch_in_process(context) {
            Some(ended) => Ok(Some(self.finished(ended))),
            None => self.poll_piece(context),
        }
    }

    /// Returns the next operation that has ended, as [`poll`](Self::poll) does, also if it would go
    /// on. The caller sees to that, by [`Finished::push_again`].
    ///
    /// # Errors
    /// Those of [`poll`](Self::poll).
    #[cfg(feature = "std")]
    #[inline(always)]
    pub(crate) fn poll_piece(
        &self,
        context: &IoContext,
    ) -> Result<Option<Finished<'_, O>>, CallError> {
        // Each way out finishes by itself, so that nothing is merged on the hot path.
        if let Some(ended) = self.next_in_batch(context) {
            return Ok(Some(self.finished(ended)));
        }
        if let Some(ended) = self.poll_ring(context) {
            return Ok(Some(self.finished(ended)));
        }
        self.nothing()
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
    ) -> Result<Option<Finished<'_, O>>, CallError>
    where
        O: Operation,
    {
        // Each way out finishes by itself, so that nothing is merged on the hot path.
        if let Some(ended) = self.next_in_batch(context) {
            return self.end_wait(context, timeout, ended);
        }
        if self.queued.len() < QUEUED_BEFORE_SUBMIT {
            if let Some(ended) = self.poll_ring(context) {
                return self.end_wait(context, timeout, ended);
            }
        }
        let submitted = self.submit(context);
        // A finished operation comes before an error: an error that lasts shows when none is left.
        if let Some(ended) = self.poll_ring(context) {
            return self.end_wait(context, timeout, ended);
        }
        match self.sleep(context, submitted, timeout)? {
            Some(ended) => self.end_wait(context, timeout, ended),
            None => Ok(None),
        }
    }

    /// Ends a wait with an operation that has ended, unless the operation goes on.
    #[inline(always)]
    fn end_wait<'e>(
        &'e self,
        context: &IoContext,
        timeout: Option<Duration>,
        ended: Ended<'e, O>,
    ) -> Result<Option<Finished<'e, O>>, CallError>
    where
        O: Operation,
    {
        if self.goes_on(&ended) {
            return self.wait_on(context, timeout, ended);
        }
        Ok(Some(self.finished(ended)))
    }

    /// Waits on after an operation that goes on.
    #[cold]
    #[inline(never)]
    fn wait_on<'e>(
        &'e self,
        context: &IoContext,
        timeout: Option<Duration>,
        mut ended: Ended<'e, O>,
    ) -> Result<Option<Finished<'e, O>>, CallError>
    where
        O: Operation,
    {
        loop {
            if let Err(stuck) = self.finished(ended).go_on(context) {
                return Ok(Some(stuck));
            }
            let submitted = self.submit(context);
            let next = match self.poll_ended(context) {
                None => self.sleep(context, submitted, timeout)?,
                next => next,
            };
            let Some(next) = next else { return Ok(None) };
            if !self.goes_on(&next) {
                return Ok(Some(self.finished(next)));
            }
            ended = next;
        }
    }

    /// Returns the next finished operation. Waits for one in flight, at most for `timeout`, and
    /// submits nothing, but for operations that go on. Returns `None` if nothing is in flight.
    ///
    /// # Errors
    /// `ETIMEDOUT`, `EINTR`, and those of `io_getevents`.
    pub(crate) fn wait_in_flight(
        &self,
        context: &IoContext,
        timeout: Duration,
    ) -> Result<Option<Finished<'_, O>>, CallError>
    where
        O: Operation,
    {
        loop {
            if let Some(ended) = self.poll_ended(context) {
                if !self.goes_on(&ended) {
                    return Ok(Some(self.finished(ended)));
                }
                if let Err(stuck) = self.finished(ended).go_on(context) {
                    return Ok(Some(stuck));
                }
                self.submit(context).map_err(CallError::submit)?;
                continue;
            }
            if !self.sleep_in_flight(context, timeout)? {
                return Ok(None);
            }
        }
    }

    /// Returns the next operation that has ended, as [`wait_in_flight`](Self::wait_in_flight) does,
    /// also if it would go on.
    ///
    /// # Errors
    /// Those of [`wait_in_flight`](Self::wait_in_flight).
    #[cfg(feature = "std")]
    pub(crate) fn wait_piece(
        &self,
        context: &IoContext,
        timeout: Duration,
    ) -> Result<Option<Finished<'_, O>>, CallError> {
        loop {
            if let Some(finished) = self.poll_piece(context)? {
                return Ok(Some(finished));
            }
            if !self.sleep_in_flight(context, timeout)? {
                return Ok(None);
            }
        }
    }

    /// Sleeps until there is an event, at most for `timeout`. Returns `false` at once if nothing is
    /// in flight.
    fn sleep_in_flight(&self, context: &IoContext, timeout: Duration) -> Result<bool, CallError> {
        if self.in_flight() == 0 {
            return Ok(false);
        }
        match self.getevents(context, 1, Some(timeout)).map_err(CallError::getevents)? {
            0 => Err(CallError::getevents(Errno::ETIMEDOUT)),
            _ => Ok(true),
        }
    }

    /// Returns whether an operation that has ended [goes on](Operation::goes_on).
    ///
    /// It is asked in its slot, before there is a [`Finished`] of it to be moved: so nothing is
    /// left of this for operations that never go on. Should it panic, it is dropped and its slot is
    /// free.
    #[inline(always)]
    fn goes_on(&self, ended: &Ended<'_, O>) -> bool
    where
        O: Operation,
    {
        // SAFETY: It is forgotten below. If it is not, this panics, and `ended`, which drops
        // nothing, goes with the caller's frame.
        let mut finished = self.finished(unsafe { ended.again() });
        let goes_on = finished.goes_on();
        mem::forget(finished);
        goes_on
    }

    #[inline(always)]
    fn finished<'e>(&'e self, ended: Ended<'e, O>) -> Finished<'e, O> {
        // SAFETY: The callers above got it from `self`.
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
        if let (Some(filled), Ok(count)) = (slot.filled(), u64::try_from(event.res)) {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            // SAFETY: The tag is live and marked, so `prepare` has set the pointer, and the slot
            // has been on no list since. The rooms and their records were lent exclusively for as
            // long as the tag is live, which it is until the next statement, so they are there and
            // nobody else refers to them. The event says that the kernel has written that much.
            unsafe { Filled::add_to_all(filled, count) };
        }
        slot.end_any_tag();
        // SAFETY: The tag was live, as that of `end`: the operation is initialised, its slot on no
        // list, and the event says that the kernel is finished with it. The tag is dead now, so no
        // second event ends this operation.
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
        self.next_in_batch_in_process(context)
    }

    /// Ends the operation of the next event in the batch, for a caller that has checked the
    /// process.
    #[inline(always)]
    fn next_in_batch_in_process(&self, context: &IoContext) -> Option<Ended<'_, O>> {
        let event = self.batch.next()?;
        self.end(&event).or_else(|| self.end_filling_or_next(context, OfEvent::new(&event)))
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
            None => self.end_filling_or_next(context, OfEvent::new(&event)),
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
    fn end_filling_or_next(&self, context: &IoContext, event: OfEvent) -> Option<Ended<'_, O>> {
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
}
