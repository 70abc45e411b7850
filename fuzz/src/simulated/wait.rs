//! [`Wait`], `io_getevents` of a simulated kernel, from its entry to its answer.

use super::context::Entry;
use super::script::Fault;
use super::state::{State, negative};
use linux_aio::Errno;
use linux_aio::abi::{aio_context_t, io_event};
use std::ptr;

/// The arguments of a wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    id: aio_context_t,
    min: i64,
    nr: i64,
    events: usize,
    timeout: Option<bool>,
}

impl Wait {
    #[allow(clippy::unnecessary_cast, reason = "the word is not everywhere one of 64 bits")]
    pub(super) fn of(arguments: &[aio_context_t]) -> Self {
        let time = ptr::with_exposed_provenance::<[isize; 2]>(arguments[4] as usize);
        // SAFETY: The library's contract with the kernel: null, or a time.
        let time = unsafe { time.as_ref() };
        Self {
            id: arguments[0],
            min: arguments[1] as isize as i64,
            nr: arguments[2] as isize as i64,
            events: arguments[3] as usize,
            timeout: time.map(|&time| time == [0, 0]),
        }
    }

    fn must_not_wait(&self) -> bool {
        self.timeout == Some(true)
    }
}

/// An answer, or none until something changes.
pub(super) enum Answer {
    Is(isize),
    Later,
}

impl State {
    /// What the first look at the ring finds; `None` where the call fails before that.
    pub(super) fn enter_getevents(&mut self, wait: &Wait) -> Option<Entry> {
        let sound = 0 <= wait.min && wait.min <= wait.nr && self.filters.getevents.is_none();
        if !sound || !self.contexts.contains_key(&wait.id) {
            return None;
        }
        self.look_at_rings();
        self.run(1);
        Some(self.contexts[&wait.id].enter_getevents())
    }

    /// Goes on from [`enter_getevents`](Self::enter_getevents).
    pub(super) fn getevents(&mut self, wait: &Wait, mut entry: Option<Entry>) -> Answer {
        self.counts.waits += 1;
        if entry.is_none() {
            return Answer::Is(negative(self.filters.getevents.unwrap_or(Errno::EINVAL)));
        }
        let mut taken = Vec::new();
        while let Some(context) = self.contexts.get_mut(&wait.id) {
            let entry = entry.take().unwrap_or_else(|| context.enter_getevents());
            let (events, kept) = context.take(entry, wait.nr as usize - taken.len());
            taken.extend(events);
            self.violations.extend(kept.err());
            if taken.len() >= wait.min as usize || wait.must_not_wait() {
                break;
            }
            if self.script.once_in(4, Fault::InterruptedWait) {
                if taken.is_empty() {
                    return Answer::Is(negative(Errno::EINTR));
                }
                break;
            }
            if !self.end_one_of(wait.id) {
                if wait.timeout.is_some() {
                    break;
                }
                // Where something is wrong, the event may never come.
                if self.patient && taken.is_empty() && self.violations.is_empty() {
                    self.counts.waits -= 1;
                    return Answer::Later;
                }
                self.violations.push("a wait without end".into());
                return Answer::Is(negative(Errno::EPERM));
            }
        }
        let events = ptr::with_exposed_provenance_mut::<io_event>(wait.events);
        // SAFETY: The library's contract with the kernel: there is room for `nr`, and no more were
        // taken.
        unsafe { events.copy_from_nonoverlapping(taken.as_ptr(), taken.len()) };
        Answer::Is(taken.len() as isize)
    }
}
