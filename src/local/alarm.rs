//! [`Alarm`], a thread that makes an eventfd readable at a time. It starts when it is needed first,
//! which is seldom: see [`LocalDriver`](super::LocalDriver#without-an-eventfd).

use crate::EventFd;
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
    Thread::Alarm.start(move || signal(&told, &eventfd)).ok().map(|()| times)
}

/// Makes the eventfd readable at each time that it is told.
fn signal(told: &Receiver<Instant>, eventfd: &EventFd) {
    let mut times: Vec<Instant> = Vec::new();
    loop {
        let next = match times.iter().min() {
            None => told.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(first) => told.recv_timeout(first.saturating_duration_since(Instant::now())),
        };
        match next {
            Ok(time) => times.push(time),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let now = Instant::now();
                times.retain(|&time| time > now);
                // EAGAIN: the count is at its limit, so it is readable as it is.
                let _ = eventfd.add(1);
            }
        }
    }
}
