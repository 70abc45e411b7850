//! The driver's helper thread, which waits where no task may.

use super::entry::QueuedOperation;
use super::thread::{Thread, ThreadError};
use super::users_code::catch_and_forget;
use super::{Handle, Shared};
use crate::clock;
use crate::{Errno, EventFd, Queue};
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::time::Duration;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SendError, Sender, channel};
use std::time::Instant;

/// The thread sleeps until it has a job, and ends with the context.
pub(super) struct Helper {
    jobs: Sender<Job>,
    /// A simulation does the work, in steps.
    pub(super) simulated: bool,
}

enum Job {
    /// Wait for everything in flight, end the context, and tell.
    Destroy(Box<Queue<QueuedOperation>>, Weak<Shared>),
    /// Do what the reactor should: it has gone.
    Drive(Weak<Shared>, Arc<EventFd>),
    /// Run the event loop now.
    Run(Weak<Shared>),
    /// Run the event loop at that time.
    RunAt(Weak<Shared>, Instant, Purpose),
}

/// Tells why the event loop is to run at a time. Each purpose has a time of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To submit again what the kernel had no resources for.
    Retry,
    /// To look for operations that nobody announces.
    Look,
}

impl Helper {
    pub(super) fn start() -> Result<Self, ThreadError> {
        let (jobs, receiver) = channel();
        #[cfg(feature = "sim")]
        let mut receiver = Some(receiver);
        #[cfg(feature = "sim")]
        let adopted = crate::sys::sim::adopt(|| steps(receiver.take()));
        #[cfg(feature = "sim")]
        let Some(receiver) = receiver.filter(|_| !adopted) else {
            return Ok(Self { jobs, simulated: true });
        };
        Thread::Helper.start(move || work(&receiver))?;
        Ok(Self { jobs, simulated: false })
    }

    /// Ends the context of `queue` on the thread, and the thread.
    pub(super) fn destroy(&self, queue: Queue<QueuedOperation>, shared: Weak<Shared>) {
        // The thread waits for this. Were it gone, the queue ends here: slow, but right.
        if let Err(SendError(Job::Destroy(queue, shared))) =
            self.jobs.send(Job::Destroy(Box::new(queue), shared))
        {
            destroy(*queue, &shared);
        }
    }

    /// Makes the thread watch the eventfd.
    pub(super) fn drive(&self, shared: &Arc<Shared>) {
        let _ = self.jobs.send(Job::Drive(Arc::downgrade(shared), Arc::clone(&shared.eventfd)));
    }

    /// Has the thread run the event loop now.
    pub(super) fn run(&self, shared: &Arc<Shared>) {
        let _ = self.jobs.send(Job::Run(Arc::downgrade(shared)));
    }

    /// Has the thread run the event loop at that time, and not at one that was named before for the
    /// same purpose.
    pub(super) fn run_at(&self, at: Instant, purpose: Purpose, shared: &Arc<Shared>) {
        let _ = self.jobs.send(Job::RunAt(Arc::downgrade(shared), at, purpose));
    }
}

fn work(jobs: &Receiver<Job>) {
    let mut driven = None;
    let mut later = [None, None];
    loop {
        // While the thread watches the eventfd, it sleeps there.
        let wait = if driven.is_some() { Duration::ZERO } else { until(&later) };
        match jobs.recv_timeout(wait) {
            Ok(Job::Drive(shared, eventfd)) => driven = Some((shared, eventfd)),
            Ok(Job::Run(shared)) => run_event_loop(&shared),
            Ok(Job::RunAt(shared, at, purpose)) => later[purpose as usize] = Some((shared, at)),
            Ok(Job::Destroy(queue, shared)) => return destroy(*queue, &shared),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let due = due(&mut later);
                match (&driven, due) {
                    (Some((shared, eventfd)), _) => drive(shared, eventfd, until(&later)),
                    (None, Some(shared)) => run_event_loop(&shared),
                    (None, None) => {}
                }
            }
        }
    }
}

/// Returns the same work in steps that do not block, for a simulation.
#[cfg(feature = "sim")]
fn steps(mut jobs: Option<Receiver<Job>>) -> crate::sys::sim::Step {
    use crate::sys::sim::Stepped;
    use std::sync::mpsc::TryRecvError;
    let mut driven: Option<(Weak<Shared>, Arc<EventFd>)> = None;
    let mut later = [None, None];
    Box::new(move || {
        match jobs.as_ref().map(Receiver::try_recv) {
            Some(Ok(Job::Drive(shared, eventfd))) => {
                // First, since a system call in the event loop may unwind.
                let (shared, _) = driven.insert((shared, eventfd));
                run_event_loop(shared);
            }
            Some(Ok(Job::Run(shared))) => run_event_loop(&shared),
            Some(Ok(Job::RunAt(shared, at, purpose))) => {
                later[purpose as usize] = Some((shared, at));
            }
            Some(Ok(Job::Destroy(queue, shared))) => {
                jobs = None;
                destroy(*queue, &shared);
            }
            Some(Err(TryRecvError::Disconnected)) | None => return Stepped::Over,
            Some(Err(TryRecvError::Empty)) => match (due(&mut later), &driven) {
                (Some(shared), _) => run_event_loop(&shared),
                (None, Some((shared, eventfd))) if matches!(eventfd.take(), Ok(Some(_))) => {
                    run_event_loop(shared);
                }
                _ => {
                    let first = later.iter().flatten().map(|&(_, at)| at).min();
                    return Stepped::idle_until(first);
                }
            },
        }
        Stepped::Busy
    })
}

/// Takes the event loops that are to run now. They are one, so one run serves all.
fn due(later: &mut [Option<(Weak<Shared>, Instant)>]) -> Option<Weak<Shared>> {
    let now = clock::now();
    let due = later.iter_mut().filter_map(|later| later.take_if(|it| it.1 <= now)).last();
    due.map(|(shared, _)| shared)
}

/// Returns the time until the event loop is to run.
fn until(later: &[Option<(Weak<Shared>, Instant)>]) -> Duration {
    let first = later.iter().flatten().map(|&(_, at)| at).min();
    first.map_or(Duration::MAX, |at| at.saturating_duration_since(clock::now()))
}

fn run_event_loop(shared: &Weak<Shared>) {
    if let Some(shared) = Handle::upgrade(shared) {
        shared.run_event_loop();
    }
}

/// Waits for everything in flight and ends the context. An operation whose event could not be had
/// ends now, with the reason.
fn destroy(queue: Queue<QueuedOperation>, shared: &Weak<Shared>) {
    let reason = queue.poll_failure().unwrap_or(Errno::ECANCELED);
    let mut left: Vec<_> = queue.into_operations().into_iter().map(|op| op.entry).collect();
    left.iter().for_each(|entry| entry.set_result(Err(reason)));
    let Some(shared) = Handle::upgrade(shared) else {
        for entry in left {
            catch_and_forget(|| drop(entry.take_panic()));
            // SAFETY: The kernel is finished with the operation, which has left the queue. Its
            // future is gone: futures keep the driver.
            let orphan = unsafe { entry.orphan() };
            catch_and_forget(|| drop(orphan));
        }
        return;
    };
    let _ = shared.with_state(|state, deferred| {
        state.meter.step();
        state.complete_all(&mut left, deferred);
    });
    // When this is known, operations of nobody have been dropped.
    let _ = shared.with_state(|state, deferred| state.set_destroyed(deferred));
}

/// Does once what the reactor would do. Sleeps for `most` at most: a job that comes meanwhile makes
/// the eventfd readable.
fn drive(shared: &Weak<Shared>, eventfd: &EventFd, most: Duration) {
    run_event_loop(shared);
    // `None` if it does not fit, which is indefinitely.
    let most = Timespec::try_from(most).ok();
    // An error, such as a signal, only ends the sleep early.
    let _ = rustix::event::poll(&mut [PollFd::new(eventfd, PollFlags::IN)], most.as_ref());
    let _ = eventfd.take();
}
