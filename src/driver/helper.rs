//! The driver's helper thread, which waits where no task may.

use super::after::catch_and_forget;
use super::erased::Tracked;
use super::{Handle, Shared};
use crate::{Errno, EventFd, Queue};
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use rustix::event::{PollFd, PollFlags};
use std::io;
use std::sync::mpsc::{Receiver, RecvError, Sender, TryRecvError, channel};
use std::thread;

/// The thread sleeps until it has a job, and ends with the context.
pub(super) struct Helper {
    jobs: Sender<Job>,
}

enum Job {
    /// Wait for everything in flight, end the context, and tell.
    Destroy(Box<Queue<Tracked>>, Weak<Shared>),
    /// Do what the reactor should: it has gone.
    Drive(Weak<Shared>, Arc<EventFd>),
}

impl Helper {
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, receiver) = channel();
        thread::Builder::new().name("linux-aio".into()).spawn(move || work(&receiver))?;
        Ok(Self { jobs })
    }

    /// Ends the context of `queue` on the thread, and the thread.
    pub(super) fn destroy(&self, queue: Queue<Tracked>, shared: Weak<Shared>) {
        // The thread waits for this. Were it gone, the queue would be dropped here: slow, but
        // right.
        let _ = self.jobs.send(Job::Destroy(Box::new(queue), shared));
    }

    /// From now on the thread watches the eventfd.
    pub(super) fn drive(&self, shared: &Arc<Shared>) {
        let _ = self.jobs.send(Job::Drive(Arc::downgrade(shared), Arc::clone(&shared.eventfd)));
    }
}

fn work(jobs: &Receiver<Job>) {
    let mut driven = None;
    loop {
        let job = match &driven {
            None => jobs.recv().map_err(RecvError::into),
            Some(_) => jobs.try_recv(),
        };
        match job {
            Ok(Job::Drive(shared, eventfd)) => driven = Some((shared, eventfd)),
            Ok(Job::Destroy(queue, shared)) => return destroy(*queue, &shared),
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => {
                if let Some((shared, eventfd)) = &driven {
                    drive(shared, eventfd);
                }
            }
        }
    }
}

/// Waits for everything in flight and ends the context. What has not completed by then ends now, with
/// the reason why its event could not be had.
fn destroy(queue: Queue<Tracked>, shared: &Weak<Shared>) {
    let reason = queue.look_failure().unwrap_or(Errno::ECANCELED);
    let left = queue.into_operations();
    let Some(shared) = Handle::upgrade(shared) else {
        for op in left {
            catch_and_forget(|| drop(op));
        }
        return;
    };
    let _ = shared.with_state(|state, after| {
        for op in left {
            state.complete(op.entry, op.ended(Err(reason)), after);
        }
    });
    // When this is known, operations of nobody have been dropped.
    let _ = shared.with_state(|state, after| state.set_destroyed(after));
}

/// One round of what the reactor would do. A job that comes meanwhile makes the eventfd readable.
fn drive(shared: &Weak<Shared>, eventfd: &EventFd) {
    if let Some(shared) = Handle::upgrade(shared) {
        shared.turn();
    }
    // An error, a signal say, is a round that ends early.
    let _ = rustix::event::poll(&mut [PollFd::new(eventfd, PollFlags::IN)], None);
    let _ = eventfd.take();
}
