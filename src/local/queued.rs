//! [`Queued`], operations of different types in the queue of a local driver.

use crate::abi::IOCB_FLAG_RESFD;
use crate::driver::announced::transfers;
use crate::driver::held::{Erased, Held};
use crate::driver::users_code::{self, Payload, prepare};
use crate::{EventFd, EventResult, Fd, Operation, Prepared};
use alloc::rc::Rc;
use alloc::sync::Arc;
use core::cell::Cell;

/// The end of an operation of a local driver.
pub(super) type Ended = users_code::Ended<Held<dyn Erased>>;

/// Holds an operation in a slot of the queue.
pub(super) enum Queued {
    Operation(Tracked),
    /// The POLL by which other threads end the sleep of `block_on`.
    Bell(Arc<EventFd>),
}

/// An operation of a future.
pub(super) struct Tracked {
    pub(super) op: Held<dyn Erased>,
    /// The index of the future's entry.
    pub(super) entry: usize,
    pub(super) naming: Naming,
    /// The kind of the operation, once it has been prepared. It is in `counts` until it ends.
    kind: Option<Kind>,
    counts: Rc<Counts>,
    /// The payload, if `prepare` or `goes_on` of the operation panicked.
    pub(super) panic: Option<Payload>,
}

/// Which eventfd operations name. Both are open as long as one of them may be submitted.
#[derive(Clone, Copy)]
pub(super) struct Naming {
    /// The one that the reactor watches, if there is a reactor.
    pub(super) watched: Option<Fd<'static>>,
    /// Transfers leave it out: lately all of them have ended inside of `io_submit`.
    pub(super) left_out: bool,
    /// Any eventfd.
    pub(super) some: Fd<'static>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kind {
    /// It is a read or a write, and not something that may take any time.
    pub(super) transfers: bool,
    /// Its end makes the watched eventfd readable.
    pub(super) named: bool,
}

/// The operations that have been prepared and have not ended, by kind.
#[derive(Default)]
pub(super) struct Counts {
    /// Those whose end no eventfd tells.
    pub(super) unnamed: Cell<usize>,
    /// Those that are neither reads nor writes.
    pub(super) lasting: Cell<usize>,
}

impl Counts {
    fn add(&self, kind: Kind) -> Option<Kind> {
        self.unnamed.set(self.unnamed.get() + usize::from(!kind.named));
        self.lasting.set(self.lasting.get() + usize::from(!kind.transfers));
        Some(kind)
    }

    pub(super) fn remove(&self, kind: Kind) {
        self.unnamed.set(self.unnamed.get() - usize::from(!kind.named));
        self.lasting.set(self.lasting.get() - usize::from(!kind.transfers));
    }
}

impl Tracked {
    #[inline(always)]
    pub(super) fn new(
        op: Held<dyn Erased>,
        entry: usize,
        naming: Naming,
        counts: &Rc<Counts>,
    ) -> Self {
        Self { op, entry, naming, kind: None, counts: Rc::clone(counts), panic: None }
    }

    /// Notes that the kernel does not have it any more.
    #[inline(always)]
    pub(super) fn uncount(&mut self, counts: &Counts) {
        if let Some(kind) = self.kind.take() {
            counts.remove(kind);
        }
    }

    /// Returns the operation, and the payload if it panicked.
    #[inline(always)]
    pub(super) fn into_parts(self) -> (Held<dyn Erased>, Option<Payload>) {
        (self.op, self.panic)
    }
}

impl Operation for Queued {
    fn prepare(&mut self) -> Prepared<'_> {
        match self {
            Self::Operation(tracked) => tracked.prepare(),
            Self::Bell(eventfd) => Prepared::poll(eventfd.fd(), crate::PollEvents::IN),
        }
    }

    fn goes_on(&mut self, outcome: EventResult) -> bool {
        match self {
            Self::Operation(tracked) => tracked.goes_on(outcome),
            Self::Bell(_) => false,
        }
    }
}

impl Operation for Tracked {
    #[inline]
    fn prepare(&mut self) -> Prepared<'_> {
        let prepared = match prepare(&mut *self.op) {
            Ok(prepared) => prepared,
            Err(payload) => {
                self.panic = Some(payload);
                self.kind = self.counts.add(Kind::default());
                // An eventfd cannot be synced: the kernel refuses this at once.
                return Prepared::fsync(self.naming.some);
            }
        };
        let transfers = transfers(prepared.iocb().opcode());
        let names_its_own = prepared.iocb().as_raw().aio_flags & IOCB_FLAG_RESFD != 0;
        let Naming { watched, left_out, .. } = self.naming;
        // An eventfd of the operation's own is replaced, as in every driver.
        let watched = watched.filter(|_| !(left_out && transfers) || names_its_own);
        self.kind = self.counts.add(Kind { transfers, named: watched.is_some() });
        match watched {
            Some(watched) => prepared.eventfd(watched),
            None => prepared,
        }
    }

    fn goes_on(&mut self, outcome: EventResult) -> bool {
        self.panic.is_none() && self.op.goes_on_or_panics(outcome, &mut self.panic)
    }
}

impl Queued {
    /// Returns the operation, unless this is the bell's.
    pub(super) fn into_op(self) -> Option<Held<dyn Erased>> {
        match self {
            Self::Operation(tracked) => Some(tracked.op),
            Self::Bell(_) => None,
        }
    }
}
