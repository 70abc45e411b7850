//! [`Pump`], which moves operations to the kernel and completions back.

use super::Shared;
use super::erased::{Erased, Tracked};
use super::state::Ended;
use crate::{Completion, Errno, EventFd, Fd, Queue, Token};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;
use std::time::Instant;

/// A submit that takes longer has blocked.
const BLOCKED: Duration = Duration::from_millis(1);

/// The queue, and what only whoever turns needs.
pub(super) struct Pump {
    /// `None` when the driver has been closed.
    queue: Option<Queue<Tracked>>,
    eventfd: Arc<EventFd>,
    /// The token of the last operation of each entry.
    tokens: Vec<Option<Token>>,
    /// Taken from the state, and not pushed yet; its allocation is kept.
    admitted: Vec<(usize, Box<dyn Erased>)>,
    /// Something has left the queue since the completions were looked at.
    submitted: bool,
    /// Why the kernel takes nothing.
    failure: Option<Errno>,
    /// As in [`DriverStats`](super::DriverStats).
    blocked: u64,
    longest_submit: Duration,
}

impl Pump {
    pub(super) fn new(queue: Queue<Tracked>, eventfd: Arc<EventFd>) -> Self {
        Self {
            queue: Some(queue),
            eventfd,
            tokens: Vec::new(),
            admitted: Vec::new(),
            submitted: false,
            failure: None,
            blocked: 0,
            longest_submit: Duration::ZERO,
        }
    }

    /// Takes the completions that are there, gives their slots to those who wait, cancels and
    /// submits. `false` if nothing came of it that asks for another look.
    pub(super) fn round(&mut self, shared: &Arc<Shared>) -> bool {
        let Some(queue) = &mut self.queue else { return false };
        let failure = self.failure.take();
        let looked = shared.with_state(|state, after| {
            while let Some(done) = queue.try_next() {
                state.complete(done.op.entry, ended(done, failure), after);
            }
            if mem::take(&mut self.submitted) {
                state.note_submitted();
            }
            let failed = queue.look_failure();
            if let Some(errno) = failed {
                state.fail(errno, after);
            }
            state.stats.queue = queue.stats();
            state.stats.blocked = self.blocked;
            state.stats.longest_submit = self.longest_submit;
            // With the completions: so an entry that was abandoned is the same operation still when
            // it is cancelled, or has none in the queue.
            let cancels = state.take_cancels();
            state.admit(&mut self.admitted);
            (cancels, failed.is_some() || state.is_drained())
        });
        let Ok((cancels, over)) = looked else { return false };
        if over {
            self.end(shared);
            return false;
        }
        let cancelled = self.cancel(&cancels);
        self.push();
        self.submit() || cancelled
    }

    /// `true` if one was cancelled: it ends without a signal if the kernel did not have it.
    fn cancel(&mut self, entries: &[usize]) -> bool {
        let Some(queue) = &mut self.queue else { return false };
        let tokens = entries.iter().filter_map(|&entry| *self.tokens.get(entry)?);
        // What cannot be cancelled runs to its end.
        tokens.filter(|&token| queue.cancel(token).is_ok()).count() > 0
    }

    fn push(&mut self) {
        let Some(queue) = &mut self.queue else { return };
        // SAFETY: The pump keeps it open, and the queue is submitted by the pump alone.
        let eventfd = unsafe { Fd::<'static>::borrow_raw(self.eventfd.fd().as_raw()) };
        for (entry, op) in self.admitted.drain(..) {
            let pushed = queue.push(Tracked { op, eventfd, entry, panic: None });
            if self.tokens.len() <= entry {
                self.tokens.resize(entry + 1, None);
            }
            match pushed {
                Ok(token) => self.tokens[entry] = Some(token),
                Err(_) => unreachable!("no more are admitted than there are slots"),
            }
        }
    }

    /// `true` if anything left the queue: what the kernel refused ends without a signal, and what it
    /// did inside of the call has ended.
    fn submit(&mut self) -> bool {
        let Some(queue) = &mut self.queue else { return false };
        let queued = queue.queued();
        if queued == 0 {
            return false;
        }
        let start = Instant::now();
        let submitted = queue.submit();
        let took = start.elapsed();
        self.blocked += u64::from(took > BLOCKED);
        self.longest_submit = self.longest_submit.max(took);
        if let Err(error) = submitted {
            // Nothing is in flight whose end could change that: all that is queued fails.
            self.failure = Some(error.errno());
            for token in self.tokens.iter().flatten() {
                let _ = queue.cancel(*token);
            }
        }
        self.submitted = queue.queued() < queued;
        self.submitted
    }

    /// No more operations will come; those that are left end with the context.
    fn end(&mut self, shared: &Arc<Shared>) {
        if let Some(queue) = self.take_queue() {
            shared.destroy(queue, Arc::downgrade(shared));
        }
    }

    /// The queue, to be destroyed.
    pub(super) fn take_queue(&mut self) -> Option<Queue<Tracked>> {
        mem::take(&mut self.queue)
    }
}

/// What has become of an operation; `failure` is why it was cancelled, if it was.
fn ended(done: Completion<Tracked>, failure: Option<Errno>) -> Ended {
    let Completion { result, op, .. } = done;
    match failure {
        Some(errno) if result == Err(Errno::ECANCELED) => op.ended(Err(errno)),
        _ => op.ended(result),
    }
}
