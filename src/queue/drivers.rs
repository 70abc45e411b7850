//! Gives drivers what they need of a [`Queue`] beside what its users have.

use super::Queue;
use super::ready::Ready;
use crate::engine::Engine;
use crate::slot::{Tag, Vacancy};
use crate::{CallError, Errno, IoContext, Iocb, Operation, Prepared};
use alloc::vec::Vec;

impl<O: Operation + 'static> Queue<O> {
    /// Queues the operation that `make` makes and prepares, straight into the slot. Returns its
    /// tag, or `None` if no slot is free.
    ///
    /// # Safety
    /// `make` returns what [`Vacancy::fill`] has returned, after which it does not unwind.
    #[inline(always)]
    pub(crate) unsafe fn push_made(
        &mut self,
        make: impl FnOnce(Vacancy<'_, O>) -> (O, Tag),
    ) -> Option<Tag> {
        // SAFETY: `Boxes::new` made room for every slot in the submit queue. `make` does not use
        // the engine, which the queue has and which is borrowed exclusively. The rest is the
        // promise of the caller.
        unsafe { self.engine.push_made(make) }
    }

    /// Cancels the operation of a tag, as [`cancel`](Self::cancel) does.
    pub(crate) fn cancel_tag(&mut self, tag: Tag) -> Result<(), Errno> {
        self.engine.cancel(&self.context, self.engine.token(tag))
    }

    /// Returns the next operation that has ended, as [`ready`](Self::ready) does, also if it goes
    /// on. The caller sees to that, and has checked the process since it has run users' code.
    #[inline(always)]
    pub(crate) fn ready_piece(&mut self) -> Result<Option<Ready<'_, O>>, CallError> {
        Ok(self.engine.poll_piece_in_process(&self.context)?.map(Ready::new))
    }

    /// Returns the engine and its context, for an owner that comes back in while users' code runs:
    /// all of an engine is used by `&self`.
    #[inline(always)]
    pub(crate) fn parts(&self) -> (&Engine<O>, &IoContext) {
        (&self.engine, &self.context)
    }

    /// Returns the operation of a tag as it was prepared, if it has not completed.
    pub(crate) fn iocb_of(&self, tag: Tag) -> Option<Iocb> {
        self.engine.iocb(tag)
    }

    /// Returns where the operations lie that have not completed, and how they were prepared.
    pub(crate) fn live(&self) -> impl Iterator<Item = (*mut O, Iocb)> {
        self.engine.live_operations()
    }

    /// Adds an operation that is prepared already. Returns its tag, or `op` if no slot is free.
    ///
    /// # Safety
    /// What `prepared` lends stays lent until the operation has ended: until its
    /// [`Finished`](crate::engine::Finished) is had, or it is taken out.
    #[inline(always)]
    pub(crate) unsafe fn push_prepared(&self, op: O, prepared: Prepared<'_>) -> Result<Tag, O> {
        // SAFETY: `Boxes::new` made room for every slot in the submit queue. The promise about the
        // loan is the caller's.
        unsafe { self.engine.push_prepared(op, prepared) }
    }

    /// Takes an operation out of those that are queued. The one that was pushed last comes first.
    pub(crate) fn take_queued(&mut self) -> Option<O> {
        self.engine.take_queued()
    }

    /// Returns the error of the last [`try_next`](Self::try_next), if it was one.
    pub(crate) fn poll_failure(&self) -> Option<Errno> {
        self.engine.poll_failure()
    }

    /// Ends the context, and gives every operation back whose completion was not taken; none where
    /// nothing proves that the kernel is finished with them.
    pub(crate) fn into_operations(mut self) -> Vec<O> {
        let mut operations = Vec::new();
        if self.context.destroy().is_ok() {
            // SAFETY: The 0 of `io_destroy` proves that the kernel is finished with every
            // operation.
            unsafe { self.engine.take_all(|operation| operations.push(operation)) };
        }
        operations
    }
}
