//! Takes completions, and gives them to their futures.

use super::Inner;
use super::entries::EntryRef;
use super::entry::Answer;
use super::queued::Queued;
use super::stage::{Note, Outcome, Phase, Stage};
use super::turn::BellPoll;
use crate::Errno;
use crate::driver::users_code::{catch_and_forget, caught};
use crate::engine::Finished;
use alloc::vec::Vec;
use core::mem::{self, ManuallyDrop};
use core::task::Waker;

const FLYING: Stage = Stage::new(Phase::FLYING, Note::NONE);
pub(super) const ENDED: Stage = Stage::new(Phase::ENDED, Note::NONE);

/// A waker that is out of its entry for a while. It goes back there, even by a panic.
pub(super) struct TakenWaker {
    waker: ManuallyDrop<Waker>,
    entry: EntryRef,
}

impl TakenWaker {
    #[inline(always)]
    pub(super) fn take(entry: EntryRef) -> Option<Self> {
        let waker = entry.replace_waker(None)?;
        Some(Self { waker: ManuallyDrop::new(waker), entry })
    }

    /// Puts the waker back, unless it was replaced meanwhile.
    #[inline(always)]
    pub(super) fn put_back(self) {
        let mut this = ManuallyDrop::new(self);
        let unused = this.restore();
        if unused.is_some() {
            drop_caught(unused);
        }
    }

    #[inline(always)]
    fn restore(&mut self) -> Option<Waker> {
        // SAFETY: It is taken once: by `put_back`, which does not drop this, or by the drop.
        self.entry.restore_waker(unsafe { ManuallyDrop::take(&mut self.waker) })
    }
}

impl Drop for TakenWaker {
    /// By a panic.
    fn drop(&mut self) {
        // Its drop might panic once more.
        mem::forget(self.restore());
    }
}

impl Inner {
    /// Takes the completions that are there, and wakes their futures. Returns why it could not
    /// look.
    ///
    /// The rare step `INSIDE` of another has one of its own: so this is compiled into the other.
    pub(super) fn reap<const INSIDE: bool>(&self) -> Option<Errno> {
        let (engine, context) = self.queue.get()?.parts();
        let mut failed = None;
        // In a simulation the power may fail in a system call, too, which unwinds like a panic.
        #[cfg(feature = "sim")]
        let calls_users_code = core::cell::Cell::new(false);
        // One call for all of them, as long as no users' code panics.
        let mut take_all = || loop {
            match engine.poll_piece_in_process(context) {
                Ok(Some(finished)) => {
                    #[cfg(feature = "sim")]
                    calls_users_code.set(true);
                    if !self.complete(finished) {
                        break;
                    }
                    #[cfg(feature = "sim")]
                    calls_users_code.set(false);
                }
                Ok(None) => break,
                Err(error) => {
                    failed = Some(error.errno());
                    break;
                }
            }
        };
        while self.check_process().is_ok() {
            match caught(&mut take_all) {
                Ok(()) => break,
                #[cfg(feature = "sim")]
                Err(payload) if !calls_users_code.replace(false) => {
                    std::panic::resume_unwind(payload)
                }
                Err(payload) => _ = catch_and_forget(|| drop(payload)),
            }
        }
        failed
    }

    /// Gives the end of an operation to its future; or queues the operation again, if it goes on.
    /// Returns `false` in a forked child.
    ///
    /// This runs users' code, which may panic: `goes_on`, `prepare`, wakers and drops. Inside of a
    /// turn.
    #[inline(always)]
    pub(super) fn complete(&self, finished: Finished<'_, Queued>) -> bool {
        let Queued(Some(entry)) = *finished.operation() else { return self.end_bell(finished) };
        if entry.stage.get() != FLYING {
            return self.complete_slowly(finished, entry);
        }
        // The common case: a read or a write that names no eventfd and never goes on.
        let outcome = Outcome::of_event(finished.outcome());
        let _ = finished.take();
        self.completed.set(self.completed.get() + 1);
        self.hand_over(entry, outcome)
    }

    /// Does the same in the other cases.
    #[inline(never)]
    fn complete_slowly(&self, finished: Finished<'_, Queued>, entry: EntryRef) -> bool {
        let outcome = finished.outcome();
        let mut answer = Answer::Over;
        if entry.stage.get().note().is_asked() {
            // SAFETY: There is an operation. It has finished, so the kernel does not have it, and
            // neither a future nor another function refers to it in a phase in which it is
            // prepared.
            answer = unsafe { entry.goes_on(outcome) };
        }
        if self.check_process().is_err() {
            // What is in the slot is the parent's.
            mem::forget(finished);
            return false;
        }
        let _ = finished.take();
        self.announcing.forget(&entry);
        match answer {
            Answer::Over => self.finish(entry, Outcome::of_event(outcome)),
            _ => self.go_on(entry, answer),
        }
        self.check_process().is_ok()
    }

    /// Gives an outcome to a future, and wakes it. Returns `false` in a forked child.
    #[inline(always)]
    fn hand_over(&self, entry: EntryRef, outcome: Outcome) -> bool {
        entry.outcome.set(outcome);
        entry.stage.set(ENDED);
        self.wake(entry)
    }

    /// Ends the operation of an entry that the queue does not have any more, and wakes its future.
    #[inline(never)]
    pub(super) fn finish(&self, entry: EntryRef, outcome: Outcome) {
        self.completed.set(self.completed.get() + 1);
        let measured = entry.stage.get().note().is_measured();
        if measured {
            self.meter.completed(entry, outcome.result().ok());
        }
        match entry.phase() {
            Phase::FLYING if measured => {
                entry.outcome.set(outcome);
                entry.set_phase(Phase::MEASURED);
                let _ = self.wake(entry);
            }
            Phase::FLYING => _ = self.hand_over(entry, outcome),
            _ => self.discard(entry),
        }
    }

    /// Wakes the future of an operation that has ended. Returns `false` in a forked child.
    #[inline(always)]
    fn wake(&self, entry: EntryRef) -> bool {
        if entry.rings.get() {
            self.rung.set(true);
            return true;
        }
        // Out of its place: the call may poll the future with another one, which drops it there.
        let Some(taken) = TakenWaker::take(entry) else { return true };
        taken.waker.wake_by_ref();
        taken.put_back();
        self.check_process().is_ok()
    }

    /// Queues an operation again, or ends it by its panic.
    #[cold]
    #[inline(never)]
    pub(super) fn go_on(&self, entry: EntryRef, answer: Answer) {
        match answer {
            Answer::On if entry.phase() == Phase::FLYING => self.push(entry),
            Answer::Panicked => self.end_by_panic(entry),
            // Its future is gone.
            _ => {
                self.completed.set(self.completed.get() + 1);
                self.discard(entry);
            }
        }
    }

    /// Gives the panic of an operation to its future.
    #[cold]
    pub(super) fn end_by_panic(&self, entry: EntryRef) {
        self.completed.set(self.completed.get() + 1);
        if entry.stage.get().note().is_measured() {
            self.meter.completed(entry, None);
        }
        if entry.phase() != Phase::FLYING {
            return self.discard(entry);
        }
        entry.set_phase(Phase::PANICKED);
        let _ = self.wake(entry);
    }

    /// Drops an operation whose future is gone, and gives its entry back.
    #[cold]
    #[inline(never)]
    pub(super) fn discard(&self, entry: EntryRef) {
        if entry.stage.get().note().is_measured() {
            self.meter.polled(entry, true);
        }
        drop_in(entry);
        self.entries.give_back(entry);
    }

    /// Notes that the POLL of the bell has ended.
    #[cold]
    fn end_bell(&self, finished: Finished<'_, Queued>) -> bool {
        if self.check_process().is_err() {
            mem::forget(finished);
            return false;
        }
        let result = finished.result();
        let _ = finished.take();
        self.bell_poll.set(BellPoll::after(result, self.bell.eventfd()));
        true
    }

    /// Ends operations that were taken out of the queue.
    #[cold]
    pub(super) fn finish_all(&self, taken: Vec<Queued>, errno: Errno) {
        for Queued(entry) in taken {
            if self.check_process().is_err() {
                return;
            }
            match entry {
                Some(entry) => {
                    self.announcing.forget(&entry);
                    catch_and_forget(|| self.finish(entry, Outcome::from(errno)));
                }
                None => {
                    self.bell_poll.set(BellPoll::after(Err(errno), self.bell.eventfd()));
                }
            }
        }
    }
}

/// Drops all that is in an entry, whose future takes nothing of it.
pub(super) fn drop_in(entry: EntryRef) {
    let panic = entry.take_panic();
    // SAFETY: There is an operation: the entry is not vacant. It has ended or was never prepared,
    // so nobody refers to it, and its future, which might take it, does not.
    catch_and_forget(|| unsafe { entry.drop_op() });
    catch_and_forget(|| drop(panic));
    drop_caught(entry.replace_waker(None));
    entry.rings.set(false);
}

/// Drops a waker, whose drop is users' code.
pub(super) fn drop_caught(waker: Option<Waker>) {
    if waker.is_some() {
        catch_and_forget(|| drop(waker));
    }
}
