//! The futures of a local driver.

use super::abandon::{Leave, abandon};
use super::complete::{ENDED, TakenWaker, drop_caught};
use super::entries::EntryRef;
use super::queued::NoQueue;
use super::stage::{Outcome, Phase};
use super::{Handle, Inner};
use crate::driver::InBox;
use crate::driver::batching::Decision;
use crate::driver::timed_out::TimedOut;
use crate::machine::checked;
use crate::{Errno, Operation, Queue};
use alloc::boxed::Box;
use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::mem::{self, ManuallyDrop};
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::panic::resume_unwind;

/// An operation as a future, from [`LocalDriver::perform`](super::LocalDriver::perform). It gives
/// the result and the operation, with its buffer.
///
/// It starts when it is polled first. Dropped before that, it does nothing; dropped later, it
/// leaves the operation to the driver: a POLL is cancelled, others run to their end, and their
/// buffers are dropped then.
///
/// It stays on its thread:
///
/// ```compile_fail,E0277
/// use linux_aio::{LocalDriver, op::Read};
///
/// let driver = LocalDriver::new(1).unwrap();
/// let file = std::fs::File::open("/dev/zero").unwrap();
/// let read = driver.perform(Read::new(file, vec![1; 64], 0));
/// std::thread::spawn(move || drop(read));
/// ```
///
/// # Panics
///
/// [`poll`](Future::poll) panics if the future has given its result already, or if the future was
/// polled before a fork and is polled again in the child.
#[must_use = "a future does nothing unless it is polled"]
pub struct LocalFuture<O> {
    /// The place of the operation, which keeps the driver. `None` once the future has given the
    /// operation back.
    entry: Option<EntryRef>,
    op: PhantomData<O>,
}

// Nothing is pinned: the operation has a place of its own, where it stays.
impl<O> Unpin for LocalFuture<O> {}

impl<O: Operation + 'static> LocalFuture<O> {
    #[inline(always)]
    pub(super) fn new(inner: &Handle, op: O) -> Self {
        // Not to be dropped if there is no memory for an entry, which would keep it in memory now.
        let op = ManuallyDrop::new(op);
        let entry = EntryRef::take(inner);
        entry.fill(ManuallyDrop::into_inner(op));
        Self { entry: Some(entry), op: PhantomData }
    }

    #[inline]
    pub(super) fn of_boxed(inner: &Handle, op: Box<O>) -> Self {
        let entry = EntryRef::take(inner);
        entry.fill_boxed(op);
        Self { entry: Some(entry), op: PhantomData }
    }

    /// Polls the operation. If it has ended, it is in the entry to be taken, with its outcome.
    #[inline(always)]
    fn poll_entry(&mut self, cx: &mut Context<'_>) -> Poll<EntryRef> {
        let Some(entry) = self.entry else { polled_after_its_end() };
        // SAFETY: This is the future that has the entry.
        let inner = unsafe { entry.driver() };
        inner.machine.check();
        if !(entry.phase() == Phase::ENDED && inner.check_process().is_ok())
            && Self::poll_pending(&mut self.entry, entry, cx.waker()).is_pending()
        {
            // SAFETY: The future has the entry as long as it is pending.
            unsafe { entry.driver() }.check_waits(cx.waker());
            return Poll::Pending;
        }
        Poll::Ready(entry)
    }

    /// Polls an operation that has not been seen to have ended: gives it to the driver, if it is
    /// new.
    ///
    /// The rare cases are called last, and are other functions.
    #[inline(always)]
    fn poll_pending(of: &mut Option<EntryRef>, entry: EntryRef, waker: &Waker) -> Poll<()> {
        if entry.phase() != Phase::NEW {
            return wait(of, entry, waker);
        }
        if !entry.wakes(waker) {
            return Self::start_with(of, entry, waker);
        }
        Self::start(of, entry)
    }

    /// Gives a new operation to the driver, with a waker that it does not have.
    #[cold]
    #[inline(never)]
    fn start_with(of: &mut Option<EntryRef>, entry: EntryRef, waker: &Waker) -> Poll<()> {
        // SAFETY: The future has the entry, and gives it up last.
        let inner = unsafe { entry.driver() };
        // The clone may panic. Until then the future keeps its operation.
        inner.set_waker(entry, waker);
        Self::start(of, entry)
    }

    /// Gives a new operation to the driver.
    #[inline(always)]
    fn start(of: &mut Option<EntryRef>, entry: EntryRef) -> Poll<()> {
        // SAFETY: As in `start_with`.
        let inner = unsafe { entry.driver() };
        if inner.check_process().is_err() {
            return refuse_in_child(entry);
        }
        let credit = inner.credit.get() - 1;
        inner.credit.set(credit);
        if credit < 0 {
            return Self::start_slowly(of, entry);
        }
        // SAFETY: It is the driver of the entry, and this its future.
        match unsafe { Self::queue::<false>(inner, of, entry) } {
            Ok(_) => Poll::Pending,
            Err(NoQueue) => end_unqueued(entry),
        }
    }

    /// Gives a new operation to the driver if there is a free slot, and decides when it is
    /// submitted.
    #[cold]
    #[inline(never)]
    fn start_slowly(of: &mut Option<EntryRef>, entry: EntryRef) -> Poll<()> {
        // SAFETY: As in `start_with`.
        let inner = unsafe { entry.driver() };
        inner.credit.set(0);
        let measures = inner.measures.get() && inner.takes_operations();
        if measures {
            inner.meter.started(entry);
        }
        if inner.room() == 0 {
            return wait_for_room(of, entry);
        }
        inner.note_started();
        // SAFETY: It is the driver of the entry, and this its future.
        match unsafe { Self::queue::<true>(inner, of, entry) } {
            Ok(of) => {
                if measures {
                    inner.measure_queued(entry);
                }
                look_at_batch(of, entry)
            }
            Err(NoQueue) => end_unqueued(entry),
        }
    }

    /// Prepares an operation, for which there is a free slot, and queues it.
    ///
    /// The driver is no reference in the arguments, which would have to be valid until the return:
    /// if `prepare` panics, the driver may end in here.
    ///
    /// # Safety
    /// `inner` is the driver of the entry, which this future has.
    #[inline(always)]
    unsafe fn queue<const MEASURED: bool>(
        inner: *const Inner,
        of: &mut Option<EntryRef>,
        entry: EntryRef,
    ) -> Result<&mut Option<EntryRef>, NoQueue> {
        // SAFETY: The future has the entry, and so a reference to the driver. It is used until
        // `prepare` panics at most.
        let inner = unsafe { &*inner };
        let unprepared = Unprepared { of, entry };
        // SAFETY: There is an operation of this type, as this future has put it there. The kernel
        // does not have it, and nobody refers to it: its future is this one, which does not touch
        // it any more until it has ended, and the driver does nothing with it before.
        let op = unsafe { entry.op.get::<O>() };
        let plain = op.is_plain();
        let prepared = checked(op.prepare());
        let of = unprepared.prepared();
        let prepared = inner.announcing.announce::<MEASURED>(prepared, plain, &entry);
        // SAFETY: As above, the operation is lent until it has ended.
        unsafe { inner.enqueue(entry, prepared) }?;
        Ok(of)
    }

    pub(super) fn is_new(&self) -> bool {
        self.entry.is_some_and(|entry| entry.phase() == Phase::NEW)
    }

    /// Returns a handle of the driver. The future has not given its result.
    pub(super) fn handle(&self) -> Handle {
        let Some(entry) = self.entry else { polled_after_its_end() };
        // SAFETY: This is the future that has the entry.
        unsafe { entry.handle() }
    }

    /// Takes the operation of a future that has not started.
    pub(super) fn take_op(&mut self) -> O {
        let entry = self.entry.take().expect("only the first poll takes it");
        // SAFETY: The operation was not started, so nobody refers to it. It is of this type, and
        // not used again: this future has just given the entry up.
        unsafe { take(entry) }
    }

    /// Leaves the operation to the driver, since its deadline has passed. Returns its outcome if it
    /// has just ended.
    pub(super) fn give_up(&mut self) -> Result<(Result<u32, Errno>, O), TimedOut<O>> {
        let entry = self.entry.expect("a future that is pending has started");
        // SAFETY: This is the future that has the entry, and gives it up below.
        let inner = unsafe { entry.driver() };
        inner.assert_parent();
        if ended(&mut self.entry, entry).is_ready() {
            let result = entry.outcome.get().result();
            self.entry = None;
            // SAFETY: The operation has ended, so nobody refers to it. It is of this type, and not
            // used again.
            return Ok((result, unsafe { take(entry) }));
        }
        self.entry = None;
        if entry.phase() == Phase::WAITING {
            inner.stop_waiting(entry);
            drop_caught(entry.replace_waker(None));
            // SAFETY: The kernel never had the operation, which is on no list any more. It is of
            // this type, and not used again.
            return Err(TimedOut::new(Some(unsafe { take(entry) })));
        }
        let _leave = Leave(entry);
        inner.leave(entry);
        // Not now: the task has asked for a bound, and `io_submit` has none.
        inner.turn_later();
        Err(TimedOut::new(None))
    }

    /// Polls the future, and leaves the operation in its box.
    #[inline]
    pub(crate) fn poll_boxed(&mut self, cx: &mut Context<'_>) -> Poll<InBox<O>> {
        let Poll::Ready(entry) = self.poll_entry(cx) else { return Poll::Pending };
        let result = entry.outcome.get().result();
        // SAFETY: The operation has ended or was not taken, so nobody refers to it. It is of this
        // type, and not used again: this future has just given the entry up.
        let op = unsafe { entry.op.take_box() };
        // SAFETY: The future has had the entry, and has forgotten it. No users' code has run since
        // the process was checked; in a forked child it leaks the driver first.
        unsafe { entry.give_back() };
        self.entry = None;
        Poll::Ready((result, op))
    }
}

impl<O: Operation + 'static> Future for LocalFuture<O> {
    type Output = (Result<u32, Errno>, O);

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Poll::Ready(entry) = self.poll_entry(cx) else { return Poll::Pending };
        // SAFETY: As in `poll_boxed`.
        let op = unsafe { entry.op.take() };
        let ready = Poll::Ready((entry.outcome.get().result(), op));
        // SAFETY: As in `poll_boxed`.
        unsafe { entry.give_back() };
        self.entry = None;
        ready
    }
}

/// Takes the operation of a future, which has forgotten the entry, and gives the entry back.
///
/// # Safety
/// A future has had the entry. There is an operation, of this type, to which nobody refers.
unsafe fn take<O>(entry: EntryRef) -> O {
    // SAFETY: The promises of the caller; the operation is not used again.
    let op = unsafe { entry.op.take::<O>() };
    // SAFETY: The future has had the entry until now.
    let inner = unsafe { entry.driver() };
    inner.entries.give_back(entry);
    // SAFETY: The future has had the entry, and has forgotten it.
    unsafe { entry.leave() };
    op
}

#[cold]
#[inline(never)]
#[track_caller]
fn polled_after_its_end() -> ! {
    panic!("an operation's future was polled after its end")
}

/// Ends an operation whose `prepare` panics in the first poll of its future, which gives the entry
/// up.
struct Unprepared<'f> {
    of: &'f mut Option<EntryRef>,
    entry: EntryRef,
}

impl<'f> Unprepared<'f> {
    /// Notes that it has not panicked.
    #[inline(always)]
    fn prepared(self) -> &'f mut Option<EntryRef> {
        let this = ManuallyDrop::new(self);
        // SAFETY: It is read once, as this value is not dropped.
        unsafe { (&raw const this.of).read() }
    }
}

impl Drop for Unprepared<'_> {
    #[cold]
    fn drop(&mut self) {
        *self.of = None;
        // SAFETY: The future has the entry until the last statement.
        let inner = unsafe { self.entry.driver() };
        if inner.check_process().is_ok() {
            inner.completed.set(inner.completed.get() + 1);
            if self.entry.stage.get().note().is_measured() {
                inner.meter.panicked(self.entry);
            }
            inner.discard(self.entry);
            if inner.is_drained() {
                inner.turn();
            }
        }
        // SAFETY: The future has had the entry, and has forgotten it.
        unsafe { self.entry.leave() };
    }
}

/// Refuses an operation in a forked child.
#[cold]
#[inline(never)]
fn refuse_in_child(entry: EntryRef) -> Poll<()> {
    // SAFETY: The future has the entry.
    unsafe { entry.leak_driver() };
    entry.outcome.set(Outcome::from(Errno::FORKED));
    Poll::Ready(())
}

/// Takes over an operation that finds no free slot; or says why none are taken.
#[cold]
#[inline(never)]
fn wait_for_room(of: &mut Option<EntryRef>, entry: EntryRef) -> Poll<()> {
    // SAFETY: The future has the entry, and gives it up in `ended` at the earliest.
    let inner = unsafe { entry.driver() };
    {
        let state = &mut *inner.state.borrow_mut();
        if let Some(errno) = state.refusal() {
            entry.outcome.set(Outcome::from(errno));
            return Poll::Ready(());
        }
        state.wait(entry);
    }
    inner.note_started();
    // Only an end frees a slot, and brings a step.
    if inner.turning.get() || inner.is_left_alone() {
        inner.turn();
    }
    ended(of, entry)
}

/// Ends an operation whose `prepare` has ended the driver.
#[cold]
#[inline(never)]
fn end_unqueued(entry: EntryRef) -> Poll<()> {
    // SAFETY: The future has the entry.
    let inner = unsafe { entry.driver() };
    inner.completed.set(inner.completed.get() + 1);
    entry.outcome.set(Outcome::from(inner.refuse(entry)));
    Poll::Ready(())
}

/// Decides when the operations that have come are submitted, now that this one has.
#[cold]
#[inline(never)]
fn look_at_batch(of: &mut Option<EntryRef>, entry: EntryRef) -> Poll<()> {
    // SAFETY: As in `start_slowly`.
    let inner = unsafe { entry.driver() };
    // Not to be woken by a turn of its own: it looks itself.
    let taken = if entry.rings.get() { None } else { TakenWaker::take(entry) };
    inner.look_at_batch();
    if let Some(taken) = taken {
        taken.put_back();
    }
    ended(of, entry)
}

/// Has `waker` called when the operation ends. Returns the result if it has ended.
#[inline(never)]
fn wait(of: &mut Option<EntryRef>, entry: EntryRef, waker: &Waker) -> Poll<()> {
    // SAFETY: As in `start_slowly`.
    let inner = unsafe { entry.driver() };
    inner.assert_parent();
    if !matches!(entry.phase(), Phase::ENDED | Phase::MEASURED | Phase::PANICKED) {
        if !entry.wakes(waker) {
            inner.set_waker(entry, waker);
            inner.assert_parent();
        }
        if inner.is_left_alone() {
            inner.turn();
        }
    }
    ended(of, entry)
}

/// Returns the result of an operation if it has ended. Panics as it has.
fn ended(of: &mut Option<EntryRef>, entry: EntryRef) -> Poll<()> {
    // SAFETY: The future has the entry until the last use of this.
    let inner = unsafe { entry.driver() };
    match entry.phase() {
        Phase::ENDED => {
            // Users' code has run since, which may have forked.
            inner.assert_parent();
            Poll::Ready(())
        }
        Phase::MEASURED => {
            inner.assert_parent();
            inner.meter.polled(entry, false);
            entry.stage.set(ENDED);
            Poll::Ready(())
        }
        Phase::PANICKED => {
            inner.assert_parent();
            *of = None;
            let payload = entry.take_panic().expect("the payload of a panic");
            inner.discard(entry);
            // SAFETY: The future has had the entry, and has forgotten it.
            unsafe { entry.leave() };
            resume_unwind(payload)
        }
        _ => Poll::Pending,
    }
}

impl Inner {
    /// Unwinds in a simulation where nobody lets time pass while a future waits.
    #[inline(always)]
    pub(super) fn check_waits(&self, waker: &Waker) {
        if cfg!(feature = "sim") && !self.blocking.get() {
            self.machine.check_waits(waker);
        }
    }

    /// Panics in a forked child.
    ///
    /// There is no better answer there: the kernel may be using the buffer, and nobody in the child
    /// would wake the task.
    #[inline(always)]
    fn assert_parent(&self) {
        assert!(
            self.check_process().is_ok(),
            "the operation was started before fork(): its future completes in the parent only"
        );
    }

    /// Has `waker` called when the operation ends.
    #[inline(never)]
    fn set_waker(&self, entry: EntryRef, waker: &Waker) {
        if self.check_process().is_err() {
            // The old one may belong to a runtime of the parent's.
            return;
        }
        // The clone is users' code. It may turn, and so end the operation.
        let waker = waker.clone();
        if self.check_process().is_err() {
            // It has forked: both may belong to a runtime of the parent's.
            return mem::forget(waker);
        }
        entry.rings.set(waker.will_wake(&self.bell_waker));
        drop_caught(entry.replace_waker(Some(waker)));
    }

    /// Decides when the operations that have come are submitted.
    fn look_at_batch(&self) {
        if self.turning.get() {
            // The step submits them.
            return self.give_credit(i32::MAX);
        }
        let queued = self.with_queue(Queue::queued).unwrap_or(0);
        let in_kernel = self.admitted().saturating_sub(queued);
        let (decision, credit) = {
            let batching = &mut self.state.borrow_mut().batching;
            let decision = batching.decide(self.started(), queued, in_kernel, self.capacity);
            (decision, batching.until_look(queued, in_kernel) - 1)
        };
        self.give_credit(credit);
        match decision {
            Decision::Now => {
                _ = self.turn();
                // Tasks that it has woken start more.
                self.yields.set(true);
            }
            // A step is coming, unless nobody but futures run any.
            Decision::WithNextStep if self.is_hosted() => {}
            Decision::AfterReadyTasks | Decision::WithNextStep => self.turn_later(),
        }
    }
}

impl<O> Drop for LocalFuture<O> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(entry) = self.entry {
            abandon(entry);
        }
    }
}

impl<O> fmt::Debug for LocalFuture<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.entry.map(|entry| entry.phase()) {
            Some(Phase::NEW) => "new",
            Some(_) => "started",
            None => "finished",
        };
        f.debug_struct("LocalFuture").field("phase", &phase).finish_non_exhaustive()
    }
}
