//! How an engine finds what has ended: known events, the ring, the system call; and how it
//! waits.

use super::events::NoRing;
use super::{Engine, Settled};
use crate::slot::{Slot, Tag};
use crate::{CallError, Errno, IoContext, IoEvent};
use core::ptr::NonNull;
use core::time::Duration;

/// How many pending operations make a wait submit them before it looks for events. Below, it
/// drains what is there first, so that one submit serves all; without a bound, a fast device would
/// be kept waiting for the rest.
const PENDING_BEFORE_SUBMIT: usize = 32;

/// How long a wait sleeps at most while operations stand that the kernel did not take. What is in flight
/// need not end (a POLL), and the next submit may succeed all the same: the kernel had no memory.
const RETRY: Duration = Duration::from_millis(10);

impl<O> Engine<O> {
    /// The next operation that has ended, without waiting, and without a system call where the
    /// ring can be read.
    #[inline(always)]
    pub(crate) fn try_settle(&self, context: &IoContext) -> Option<Settled<O>> {
        self.settle_known(context).or_else(|| self.look_and_settle(context))
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
        self.settle(&event).or_else(|| self.look_past_stray(context))
    }

    /// As [`try_settle`](Self::try_settle), where no event is known. What is seldom is called last, so that this keeps
    /// nothing on the stack.
    #[inline(never)]
    fn look_and_settle(&self, context: &IoContext) -> Option<Settled<O>> {
        if self.is_gated() {
            return self.look_past_gate(context);
        }
        // SAFETY: The gate is open, so the process is that of the context; the run is at its end.
        unsafe { self.look(context) }
    }

    /// Looks as [`look_and_settle`](Self::look_and_settle) does.
    ///
    /// # Safety
    /// The run is at its end, and the process is that of the context.
    #[inline(always)]
    pub(super) unsafe fn look(&self, context: &IoContext) -> Option<Settled<O>> {
        if self.refused_first.get().is_some() {
            return self.look_further(context);
        }
        // SAFETY: The caller's promise.
        match unsafe { self.take_from_ring() } {
            Ok(Some(event)) => self.settle(&event).or_else(|| self.look_past_stray(context)),
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
    ) -> Result<Option<Settled<O>>, CallError> {
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
    ) -> Result<Option<Settled<O>>, CallError> {
        // What was refused before a fork is the parent's to complete.
        context.check_process().map_err(CallError::getevents)?;
        let mut left = timeout;
        loop {
            submitted.map_err(CallError::submit)?;
            if self.in_flight() == 0 {
                return Ok(None);
            }
            let sleep = match self.pending.is_empty() {
                true => left,
                false => Some(left.map_or(RETRY, |left| left.min(RETRY))),
            };
            match self.fetch(context, 1, sleep) {
                Ok(0) if sleep != left => left = left.map(|left| left - RETRY),
                Ok(0) => return Err(CallError::getevents(Errno::ETIMEDOUT)),
                Ok(_) => {}
                Err(Errno::EINTR) if timeout.is_none() => {}
                Err(errno) => return Err(CallError::getevents(errno)),
            }
            submitted = self.submit(context);
            if let Some(settled) = self.try_settle(context) {
                return Ok(Some(settled));
            }
        }
    }

    /// Waits until an operation in flight has ended, at most for `timeout`. Submits nothing.
    ///
    /// Returns `None` if nothing is in flight.
    pub(crate) fn next_timeout(
        &self,
        context: &IoContext,
        timeout: Duration,
    ) -> Result<Option<Settled<O>>, CallError> {
        loop {
            if let Some(settled) = self.try_settle(context) {
                return Ok(Some(settled));
            }
            if self.in_flight() == 0 {
                return Ok(None);
            }
            if self.fetch(context, 1, Some(timeout)).map_err(CallError::getevents)? == 0 {
                return Err(CallError::getevents(Errno::ETIMEDOUT));
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
        let pointer = self.live(Tag::from_user_data(event.user_data()))?;
        self.slot(pointer).end_tag();
        Some(Settled { slot: pointer, res: event.as_raw().res })
    }

    /// Takes events by system call, where none is known.
    pub(super) fn fetch(
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
}
