//! [`Expected`]: an operation in flight, and what its event may carry.

use super::generate::Spec;
use crate::model::{Effect, Prediction, Results};
use std::fmt;

/// A POLL that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    /// What it waits for.
    pub(super) events: u32,
    /// The pipe whose end it waits at, and whether that is the one for reading.
    pub(super) pipe: Option<(usize, bool)>,
    /// What it has been woken with; 0 if nothing was.
    pub(super) key: u32,
    /// The kernel has said that it is being cancelled.
    pub(super) cancelled: bool,
}

/// An operation in flight.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) spec: Spec,
    pub(super) at: u64,
    pub(super) data: u64,
    results: Option<Results>,
    asynchronous: bool,
    pub(super) effect: Effect,
    pub(super) wait: Option<Wait>,
}

impl Expected {
    pub(super) fn new(spec: &Spec, prediction: Prediction, pipe: Option<(usize, bool)>) -> Self {
        let (at, data) = (spec.at, spec.iocb.aio_data);
        let (results, asynchronous, effect, wait) = match prediction {
            Prediction::Completes { results, asynchronous, effect } => {
                (Some(results), asynchronous, effect, None)
            }
            Prediction::Waits(events) => {
                (None, true, Effect::None, Some(Wait { events, pipe, key: 0, cancelled: false }))
            }
            Prediction::Refused { .. } => unreachable!("only what is accepted is expected"),
        };
        Self { spec: *spec, at, data, results, asynchronous, effect, wait }
    }

    /// One end of the pipe has woken those who wait for one of `key`.
    pub(super) fn wake(&mut self, woken: usize, key: u32) {
        let of_reader = key & libc::POLLIN as u32 != 0;
        if let Some(Wait { events, pipe: Some(pipe), key: seen, .. }) = &mut self.wait {
            if *pipe == (woken, of_reader) && *events & key & !ALWAYS != 0 {
                *seen |= key;
            }
        }
    }

    pub(super) fn is_woken(&self) -> bool {
        self.wait.is_some_and(|wait| wait.key != 0)
    }

    /// Whether its event is on the ring already.
    pub(super) fn is_there(&self) -> bool {
        self.wait.is_none() && !self.asynchronous
    }

    /// Whether its event can be on the ring.
    pub(super) fn may_be_there(&self) -> bool {
        self.wait.is_none_or(|wait| wait.key != 0 || wait.cancelled)
    }

    /// Whether its event may carry `res`.
    pub(super) fn allows(&self, res: i64) -> bool {
        let Some(wait) = self.wait else {
            return self.results.as_ref().is_some_and(|results| results.allow(res));
        };
        // A wake-up hands over all that it is for, looking again only what was asked for.
        let by_wake = wait.key != 0 && [wait.key, wait.key & wait.events].contains(&(res as u32));
        res >= 0 && by_wake || res == 0 && wait.cancelled
    }
}

/// ERR and HUP, which no pipe here wakes with.
const ALWAYS: u32 = (libc::POLLERR | libc::POLLHUP) as u32;

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.results, &self.wait) {
            (Some(results), _) => write!(f, "res {results}"),
            (None, wait) => write!(f, "{wait:?}"),
        }
    }
}
