//! [`Settled`], an operation between its event and its completion.

use crate::Errno;
use crate::slot::Slot;
use core::ptr::NonNull;

/// An operation that has ended, still in its slot: the tag is dead, and the slot on no list.
pub(crate) struct Settled<O> {
    pub(super) slot: NonNull<Slot<O>>,
    /// As in an event: a count, or a negative errno.
    pub(super) res: i64,
}

impl<O> Clone for Settled<O> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<O> Copy for Settled<O> {}

impl<O> Settled<O> {
    #[inline(always)]
    pub(crate) fn result(self) -> Result<u32, Errno> {
        Errno::check_result(self.res)
    }

    /// The operation, in place. It is initialised until it is taken, discarded or prepared.
    ///
    /// # Safety
    /// The engine's slots are alive.
    #[cfg(feature = "alloc")]
    #[inline(always)]
    pub(crate) unsafe fn operation(self) -> *mut O {
        // SAFETY: A slot of the engine, which is alive.
        unsafe { operation_in(self.slot) }
    }
}

/// The operation of a slot, in place.
///
/// # Safety
/// The slot is alive.
#[inline(always)]
pub(super) unsafe fn operation_in<O>(slot: NonNull<Slot<O>>) -> *mut O {
    // SAFETY: The slot is alive; what may be written lies in `UnsafeCell`s.
    unsafe { slot.as_ref() }.operation.get().cast()
}
