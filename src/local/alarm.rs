//! [`Alarm`], a thread that makes an eventfd readable at a time. It starts when it is needed first,
//! which is seldom: see [`LocalDriver`](super::LocalDriver#without-an-eventfd).

use crate::EventFd;
use crate::clock;
use crate::driver::thread::Thread;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::OnceCell;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Instant;

/// Tells its thread the times, and ends it. Holds `None` if the thread could not be started.
#[derive(Default)]
pub(super) struct Alarm(OnceCell<Option<Sender<Instant>>>);

impl Alarm {
    /// Makes `eventfd` readable at that time. Returns `false` if there is no thread.
    ///
    /// The first call decides which eventfd that is.
    pub(super) fn set(&self, at: Instant, eventfd: &Arc<EventFd>) -> bool {
        let thread = self.0.get_or_init(|| start(Arc::clone(eventfd)));
        thread.as_ref().is_some_and(|thread| thread.send(at).is_ok())
    }
}

fn start(eventfd: Arc<EventFd>) -> Option<Sender<Instant>> {
    let (times, told) = channel();
    #[cfg(feature = "sim")]
    let mut told = Some(told);
    #[cfg(feature = "sim")]
    let adopted = crate::sys::sim::adopt(|| steps(told.take(), Arc::clone(&eventfd)));
    #[cfg(feature = "sim")]
    let Some(told) = told.filter(|_| !adopted) else { return Some(times) };
    Thread::Alarm.start(move || signal(&told, &eventfd)).ok().map(|()| times)
}

/// Makes the eventfd readable at each time that it is told.
fn signal(told: &Receiver<Instant>, eventfd: &EventFd) {
    let mut times: Vec<Instant> = Vec::new();
    loop {
        let next = match times.iter().min() {
            None => told.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(first) => told.recv_timeout(first.saturating_duration_since(clock::now())),
        };
        match next {
            Ok(time) => times.push(time),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let now = clock::now();
                times.retain(|&time| time > now);
                // EAGAIN: the count is at its limit, so it is readable as it is.
                let _ = eventfd.add(1);
            }
        }
    }
}

/// Returns the same work in steps that do not block, for a simulation.
#[cfg(feature = "sim")]
fn steps(told: Option<Receiver<Instant>>, eventfd: Arc<EventFd>) -> crate::sys::sim::Step {
    use crate::sys::sim::Stepped;
    use std::sync::mpsc::TryRecvError;
    let mut times: Vec<Instant> = Vec::new();
    alloc::boxed::Box::new(move || {
        loop {
            match told.as_ref().map(Receiver::try_recv) {
                Some(Ok(time)) => times.push(time),
                Some(Err(TryRecvError::Empty)) => break,
                Some(Err(TryRecvError::Disconnected)) | None => return Stepped::Over,
            }
        }
        let (now, count) = (clock::now(), times.len());
        times.retain(|&time| time > now);
        if times.len() == count {
            return Stepped::idle_until(times.iter().min().copied());
        }
        let _ = eventfd.add(1);
        Stepped::Busy
    })
}
