//! [`BlockingCall`], a call that blocks, as a future; and the threads that make such calls.

use super::alarm_clock::{Alarm, AlarmClock};
use super::future::in_parent_only;
use super::rounds::Rounds;
use super::thread::{Failure, Thread, ThreadError};
use super::users_code::{catch_and_forget, caught};
use crate::Errno;
use crate::raw::ForkGuard;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::any::Any;
use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use std::panic::resume_unwind;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The thread that makes a call. Each makes its calls in their order.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lane {
    /// Reads that are not in the page cache. The attempt that missed has started the disk already,
    /// so one thread that waits in order is enough.
    Reads,
    /// Writes to the page cache.
    Writes,
    /// Everything else. A file system that is frozen holds this thread, but no read.
    Calls,
}

type Job = Box<dyn FnOnce() + Send>;

/// The threads of a driver for calls that block. Each starts with its first call, and ends when the
/// driver and the last future of a call are gone.
///
/// A forked child leaks every reference: a thread that it does not have may hold a lock.
pub struct BlockingThreads(Arc<Threads>);

struct Threads {
    lanes: [Mutex<Option<Sender<Job>>>; 3],
    closed: AtomicBool,
    under_way: Arc<UnderWay>,
    clock: Arc<AlarmClock>,
    rounds: Rounds,
    process: ForkGuard,
    /// There are no threads: whoever polls a future makes its call.
    in_place: bool,
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.clock.end();
    }
}

impl Clone for BlockingThreads {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl Drop for BlockingThreads {
    fn drop(&mut self) {
        if self.0.process.check_strictly().is_err() {
            mem::forget(Arc::clone(&self.0));
        }
    }
}

/// The calls that have not ended, and who waits until there is none.
#[derive(Default)]
struct UnderWay(Mutex<Calls>);

#[derive(Default)]
struct Calls {
    count: usize,
    /// By the ticket of a caller that closes the driver.
    closers: BTreeMap<u64, Waker>,
}

impl UnderWay {
    fn begin(&self) {
        lock(&self.0).count += 1;
    }

    fn end(&self) {
        let mut calls = lock(&self.0);
        calls.count -= 1;
        let closers = match calls.count {
            0 => mem::take(&mut calls.closers),
            _ => BTreeMap::new(),
        };
        drop(calls);
        for waker in closers.into_values() {
            catch_and_forget(|| waker.wake());
        }
    }

    fn poll_none(&self, closer: u64, cx: &Context<'_>, process: ForkGuard) -> Poll<()> {
        if lock(&self.0).count == 0 {
            return Poll::Ready(());
        }
        // The clone is a user's code. It must not run under the lock, and may fork.
        let waker = cx.waker().clone();
        if process.check_strictly().is_err() {
            mem::forget(waker);
            return Poll::Ready(());
        }
        let mut calls = lock(&self.0);
        let none = calls.count == 0;
        let unused = if none { Some(waker) } else { calls.closers.insert(closer, waker) };
        drop(calls);
        // A waker is a user's code, whose drop may panic.
        catch_and_forget(|| drop(unused));
        if none { Poll::Ready(()) } else { Poll::Pending }
    }

    fn forget(&self, closer: u64) {
        let unused = lock(&self.0).closers.remove(&closer);
        catch_and_forget(|| drop(unused));
    }
}

impl BlockingThreads {
    pub(crate) fn new(process: ForkGuard) -> Self {
        Self::new_with(process, false)
    }

    /// Has each call made by the thread that polls its future.
    pub(crate) fn in_place(process: ForkGuard) -> Self {
        Self::new_with(process, true)
    }

    fn new_with(process: ForkGuard, in_place: bool) -> Self {
        let (lanes, closed, under_way) = Default::default();
        let (clock, rounds) = (AlarmClock::new(process), Rounds::new(process));
        Self(Arc::new(Threads { lanes, closed, under_way, clock, rounds, process, in_place }))
    }

    /// Returns the rounds of the threads that poll the driver's futures.
    pub(crate) fn rounds(&self) -> &Rounds {
        &self.0.rounds
    }

    /// Has a thread make a call that blocks.
    pub(crate) fn call<A, R, C>(&self, lane: Lane, input: A, call: C) -> BlockingCall<A, R, C>
    where
        A: Send + 'static,
        R: Send + 'static,
        C: FnOnce(&mut A) -> R + Send + 'static,
    {
        BlockingCall { threads: self.clone(), lane, phase: Phase::New(input, call) }
    }

    /// Makes an alarm of the driver's clock.
    pub(crate) fn alarm(&self, at: Instant) -> Result<Alarm, ThreadError> {
        self.0.clock.alarm(at)
    }

    /// Has the driver's clock call the waker at that time.
    pub(crate) fn wake_at(&self, at: Instant, waker: Waker) -> Result<(), ThreadError> {
        self.0.clock.wake_at(at, waker)
    }

    /// Refuses calls from now on. The parent's driver stays open in a forked child.
    pub(crate) fn take_no_calls(&self) {
        if self.0.process.check_strictly().is_ok() {
            self.0.closed.store(true, Ordering::Relaxed);
        }
    }

    /// Ready when the threads have made every call that they had been given; in a forked child,
    /// too. `closer` is the ticket of the caller.
    pub(crate) fn poll_calls(&self, closer: u64, cx: &Context<'_>) -> Poll<()> {
        match self.0.process.check_strictly() {
            Ok(()) => self.0.under_way.poll_none(closer, cx, self.0.process),
            Err(_) => Poll::Ready(()),
        }
    }

    /// Forgets a caller that waited for that.
    pub(crate) fn forget_closer(&self, closer: u64) {
        if self.0.process.check_strictly().is_ok() {
            self.0.under_way.forget(closer);
        }
    }

    /// Returns the number of calls that have not ended. There are none in a forked child.
    pub(crate) fn calls(&self) -> usize {
        self.0.process.check_strictly().map_or(0, |()| lock(&self.0.under_way.0).count)
    }

    /// Returns the errno of a driver that is closed, or the parent's.
    pub(crate) fn check_open(&self) -> Result<(), Errno> {
        self.0.process.check_strictly()?;
        if self.0.closed.load(Ordering::Relaxed) { Err(Errno::ECANCELED) } else { Ok(()) }
    }

    /// Returns the queue of a thread, or the reason if the driver takes no calls or has no thread
    /// for them. `None`: the call is to be made here, as in a simulation, whose time passes
    /// meanwhile.
    fn jobs(&self, lane: Lane) -> Result<Option<Sender<Job>>, Failure> {
        self.check_open()?;
        #[cfg(feature = "sim")]
        if crate::sys::sim::now().is_some() {
            return Ok(None);
        }
        Ok(Some(self.0.jobs(lane)?))
    }
}

impl Threads {
    /// Returns the queue of a thread, and starts the thread if there is none.
    fn jobs(&self, lane: Lane) -> Result<Sender<Job>, ThreadError> {
        let process = self.process;
        let mut jobs = lock(&self.lanes[lane as usize]);
        if let Some(jobs) = &*jobs {
            return Ok(jobs.clone());
        }
        let (sender, receiver) = channel::<Job>();
        let thread = match lane {
            Lane::Reads => Thread::Reads,
            Lane::Writes => Thread::Writes,
            Lane::Calls => Thread::Calls,
        };
        thread.start(move || {
            while let Ok(job) = receiver.recv() {
                job();
                // A buffer is a user's code, which may fork. What is queued is the parent's.
                if process.check_strictly().is_err() {
                    return mem::forget(receiver);
                }
            }
        })?;
        Ok(jobs.insert(sender).clone())
    }
}

/// Locks what is never left in disorder: under it no code of a user runs.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A call on a thread, as a future. It gives the result, and the input that the call has used.
///
/// It starts when it is polled first. A future that is dropped leaves its input to the thread,
/// which drops it: before the call if that has not begun.
#[must_use = "a future does nothing unless it is polled"]
pub(crate) struct BlockingCall<A, R, C> {
    threads: BlockingThreads,
    lane: Lane,
    phase: Phase<A, R, C>,
}

enum Phase<A, R, C> {
    New(A, C),
    Started(Arc<Meeting<A, R>>),
    Finished,
}

/// The meeting point of the future and the thread.
struct Meeting<A, R>(Mutex<Progress<A, R>>);

enum Progress<A, R> {
    Waiting(Waker),
    Abandoned,
    Done(R, A),
    Panicked(Box<dyn Any + Send>, A),
}

impl<A, R> Progress<A, R> {
    /// Drops what nobody takes: users' code, whose panics are caught. Each of two values by itself,
    /// since two panics at once would end the process.
    fn discard(self) {
        match self {
            Self::Panicked(payload, input) => {
                catch_and_forget(|| drop(input));
                catch_and_forget(|| drop(payload));
            }
            one => _ = catch_and_forget(|| drop(one)),
        }
    }
}

impl<A, R> Meeting<A, R> {
    fn is_abandoned(&self) -> bool {
        matches!(*lock(&self.0), Progress::Abandoned)
    }

    /// Tells the future. Called on the thread.
    fn end(&self, end: Progress<A, R>) {
        let mut progress = lock(&self.0);
        let unused = match mem::replace(&mut *progress, Progress::Abandoned) {
            Progress::Waiting(waker) => {
                *progress = end;
                drop(progress);
                catch_and_forget(|| waker.wake());
                return;
            }
            _ => end,
        };
        drop(progress);
        unused.discard();
    }
}

impl<A, R, C> BlockingCall<A, R, C>
where
    A: Send + 'static,
    R: Send + 'static,
    C: FnOnce(&mut A) -> R + Send + 'static,
{
    fn start(&mut self, waker: Waker, jobs: Option<Sender<Job>>) {
        let Phase::New(mut input, call) = mem::replace(&mut self.phase, Phase::Finished) else {
            unreachable!("only the first poll starts it")
        };
        let meeting = Arc::new(Meeting(Mutex::new(Progress::Waiting(waker))));
        self.phase = Phase::Started(Arc::clone(&meeting));
        let threads = &self.threads.0;
        let (under_way, process) = (Arc::clone(&threads.under_way), threads.process);
        under_way.begin();
        let job = move || {
            if meeting.is_abandoned() {
                catch_and_forget(|| drop((input, call)));
                return under_way.end();
            }
            let result = caught(|| call(&mut input));
            if process.check_strictly().is_err() {
                // The call has forked. The future is the parent's, as is a lock that it may hold.
                return mem::forget((meeting, result, input, under_way));
            }
            meeting.end(match result {
                Ok(result) => Progress::Done(result, input),
                Err(payload) => Progress::Panicked(payload, input),
            });
            under_way.end();
        };
        match jobs {
            // The thread is there for as long as its queue.
            Some(jobs) => drop(jobs.send(Box::new(job))),
            None => job(),
        }
    }
}

// Nothing is pinned: the input moves to the thread.
impl<A, R, C> Unpin for BlockingCall<A, R, C> {}

impl<A, R, C> Future for BlockingCall<A, R, C>
where
    A: Send + 'static,
    R: Send + 'static,
    C: FnOnce(&mut A) -> R + Send + 'static,
{
    type Output = (Result<R, Failure>, A);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.threads.0.in_place {
            let Phase::New(mut input, call) = mem::replace(&mut self.phase, Phase::Finished) else {
                panic!("the future of a call was polled after its end")
            };
            let result = self.threads.check_open().map(|()| call(&mut input));
            return Poll::Ready((result.map_err(Failure::from), input));
        }
        if let Phase::New(..) = self.phase {
            // The clone may panic. Until then the future keeps its input.
            let waker = cx.waker().clone();
            match self.threads.jobs(self.lane) {
                Ok(jobs) => self.start(waker, jobs),
                Err(failure) => {
                    catch_and_forget(|| drop(waker));
                    match mem::replace(&mut self.phase, Phase::Finished) {
                        Phase::New(input, _) => return Poll::Ready((Err(failure), input)),
                        _ => unreachable!("it is new"),
                    }
                }
            }
            return Poll::Pending;
        }
        let Phase::Started(meeting) = &self.phase else {
            panic!("the future of a call was polled after its end")
        };
        let process = self.threads.0.process;
        in_parent_only(process.check_strictly());
        let waker = cx.waker().clone();
        if let Err(errno) = process.check_strictly() {
            // The clone has forked: it may belong to a runtime of the parent's.
            mem::forget(waker);
            return in_parent_only(Err(errno));
        }
        let mut progress = lock(&meeting.0);
        let before = mem::replace(&mut *progress, Progress::Abandoned);
        if let Progress::Waiting(before) = before {
            *progress = Progress::Waiting(waker);
            drop(progress);
            catch_and_forget(|| drop(before));
            return Poll::Pending;
        }
        drop(progress);
        catch_and_forget(|| drop(waker));
        self.phase = Phase::Finished;
        match before {
            Progress::Done(result, input) => Poll::Ready((Ok(result), input)),
            Progress::Panicked(payload, input) => {
                // Its drop must not panic while this one unwinds.
                catch_and_forget(|| drop(input));
                resume_unwind(payload)
            }
            Progress::Waiting(_) | Progress::Abandoned => {
                unreachable!("the future has not been dropped")
            }
        }
    }
}

impl<A, R, C> Drop for BlockingCall<A, R, C> {
    fn drop(&mut self) {
        let Phase::Started(meeting) = &self.phase else { return };
        if self.threads.0.process.check_strictly().is_err() {
            // The parent's thread may have held the lock at the fork, and the input is the
            // parent's.
            mem::forget(Arc::clone(meeting));
            return;
        }
        let before = mem::replace(&mut *lock(&meeting.0), Progress::Abandoned);
        before.discard();
    }
}
