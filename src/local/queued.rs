//! [`Queued`], what a slot of a local driver's queue has, [`QueueCell`], the queue, and
//! [`Announcing`], which eventfd operations name.

use super::Inner;
use super::entries::EntryRef;
use super::entry::Entry;
use super::stage::{Note, Phase, Stage};
use crate::abi::IOCB_FLAG_RESFD;
use crate::driver::announced::transfers;
use crate::{Errno, Fd, Operation, Prepared, Queue};
use core::cell::{Cell, UnsafeCell};

/// The operation in a slot: that of an entry, where it lies. `None` is the POLL by which other
/// threads end the sleep of `block_on`.
pub(super) struct Queued(pub(super) Option<EntryRef>);

impl Operation for Queued {
    fn prepare(&mut self) -> Prepared<'_> {
        unreachable!("it is pushed prepared")
    }
}

/// Has the queue of a driver, until the driver ends.
pub(super) struct QueueCell(UnsafeCell<Option<Queue<Queued>>>);

impl QueueCell {
    pub(super) fn new(queue: Queue<Queued>) -> Self {
        Self(UnsafeCell::new(Some(queue)))
    }

    /// Returns the queue, if the driver has not ended.
    #[inline(always)]
    pub(super) fn get(&self) -> Option<&Queue<Queued>> {
        // SAFETY: `take` has the only mutable reference, for a moment in which there is no other.
        unsafe { &*self.0.get() }.as_ref()
    }

    /// Takes the queue, as the driver ends.
    ///
    /// # Safety
    /// No reference from `get` is used any more.
    pub(super) unsafe fn take(&self) -> Option<Queue<Queued>> {
        // SAFETY: There is no other reference (promise of the caller), and this one lasts for a
        // moment in which no other code runs.
        unsafe { &mut *self.0.get() }.take()
    }

    pub(super) fn get_mut(&mut self) -> &mut Option<Queue<Queued>> {
        self.0.get_mut()
    }
}

/// Says that the driver has ended.
pub(super) struct NoQueue;

impl Inner {
    /// Calls `f` with the queue, if the driver has not ended.
    #[inline(always)]
    pub(super) fn with_queue<R>(&self, f: impl FnOnce(&Queue<Queued>) -> R) -> Option<R> {
        self.queue.get().map(f)
    }

    /// Queues a prepared operation.
    ///
    /// # Safety
    /// What `prepared` lends stays lent until the operation has ended.
    #[inline(always)]
    pub(super) unsafe fn enqueue(
        &self,
        entry: EntryRef,
        prepared: Prepared<'_>,
    ) -> Result<(), NoQueue> {
        let Some(queue) = self.queue.get() else { return Err(NoQueue) };
        // SAFETY: The promise of the caller.
        match unsafe { queue.push_prepared(Queued(Some(entry)), prepared) } {
            Ok(tag) => {
                entry.tag.set(tag);
                entry.batch.set(self.batch.get());
            }
            Err(_) => unreachable!("no more are admitted than there are slots"),
        }
        Ok(())
    }

    /// Says why an operation is not taken whose `prepare` has ended the driver, by a turn in it
    /// that could take no events.
    #[cold]
    pub(super) fn refuse(&self, entry: EntryRef) -> Errno {
        self.announcing.forget(&entry);
        self.state.borrow().refusal().unwrap_or(Errno::ECANCELED)
    }
}

/// Says which eventfd operations name, and counts those that are prepared and have not ended.
#[derive(Default)]
pub(super) struct Announcing {
    /// The eventfd that reads and writes name, and that all others name. Both are that of the
    /// driver, which stays open as long as an operation may be submitted.
    transfers: Cell<Option<Fd<'static>>>,
    others: Cell<Option<Fd<'static>>>,
    /// Reads and writes leave it out: lately all of them have ended inside of `io_submit`.
    left_out: Cell<bool>,
    /// The operations that name it.
    named: Cell<usize>,
    /// Those that are neither reads nor writes.
    lasting: Cell<usize>,
}

impl Announcing {
    /// Sets the eventfd that is watched.
    pub(super) fn set_watched(&self, watched: Option<Fd<'static>>) {
        self.others.set(watched);
        self.leave_out(self.left_out.get());
    }

    /// Says whether reads and writes leave it out.
    pub(super) fn leave_out(&self, left_out: bool) {
        self.left_out.set(left_out);
        self.transfers.set(self.others.get().filter(|_| !left_out));
    }

    pub(super) fn named(&self) -> usize {
        self.named.get()
    }

    pub(super) fn lasting(&self) -> usize {
        self.lasting.get()
    }

    /// Makes an operation, which is about to fly, name its eventfd, and counts it. `plain` is
    /// what [`Operation::is_plain`] says.
    #[inline(always)]
    pub(super) fn announce<'op, const MEASURED: bool>(
        &self,
        prepared: Prepared<'op>,
        plain: bool,
        entry: &Entry,
    ) -> Prepared<'op> {
        let lasting = !transfers(prepared.iocb().opcode());
        let names_its_own = !plain && prepared.iocb().as_raw().aio_flags & IOCB_FLAG_RESFD != 0;
        // An eventfd of the operation's own is replaced, as in every driver.
        let others = lasting || names_its_own;
        let watched = if others { self.others.get() } else { self.transfers.get() };
        let mut note = if plain { 0 } else { Note::ASKED };
        if lasting {
            note |= Note::LASTING;
            self.lasting.set(self.lasting.get() + 1);
        }
        let prepared = match watched {
            Some(watched) => {
                note |= Note::NAMED;
                self.named.set(self.named.get() + 1);
                prepared.eventfd(watched)
            }
            None => prepared,
        };
        if MEASURED {
            note |= entry.stage.get().note().0 & Note::MEASURED;
        }
        entry.stage.set(Stage::new(Phase::FLYING, Note(note)));
        prepared
    }

    /// Notes that the kernel does not have an operation any more.
    pub(super) fn forget(&self, entry: &Entry) {
        let Note(note) = entry.stage.get().note();
        self.named.set(self.named.get() - usize::from(note & Note::NAMED));
        self.lasting.set(self.lasting.get() - usize::from(note & Note::LASTING != 0));
        entry.stage.set(Stage::new(entry.phase(), Note(note & Note::MEASURED)));
    }
}
