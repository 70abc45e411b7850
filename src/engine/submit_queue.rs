//! [`SubmitQueue`], the operations that were pushed and not submitted.

use crate::Iocb;
use crate::slot::Slot;
use core::cell::Cell;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::slice;

/// A queue of slots, oldest first, in storage of its owner's.
///
/// An iocb is the first field of a slot. So the array of pointers to slots is also the array of
/// pointers to iocbs that `io_submit` takes.
///
/// # Invariants
/// The entries from `first` to `end` have been written. Each points to a slot that lives as long as
/// the queue is used.
pub(super) struct SubmitQueue<O> {
    first: NonNull<Entry<O>>,
    /// Behind the last entry, and behind the last place.
    end: Cell<NonNull<Entry<O>>>,
    limit: NonNull<Entry<O>>,
}

/// A cell, since an entry may be overwritten while there is a slice of the others.
type Entry<O> = Cell<NonNull<Slot<O>>>;

impl<O> SubmitQueue<O> {
    /// Makes an empty queue.
    ///
    /// # Safety
    /// While the queue is used, `storage` stays where it is and nobody else uses it.
    pub(super) unsafe fn new(storage: NonNull<[MaybeUninit<NonNull<Slot<O>>>]>) -> Self {
        let first: NonNull<Entry<O>> = storage.cast();
        // SAFETY: This is the end of the storage, which begins at `first`. An entry, a cell, has
        // the layout of what is in it.
        let limit = unsafe { first.add(storage.len()) };
        Self { first, end: Cell::new(first), limit }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        // SAFETY: Both lie in the storage, `end` not before `first`.
        unsafe { self.end.get().offset_from(self.first) as usize }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.end.get() == self.first
    }

    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.end.get() == self.limit
    }

    /// Adds a slot behind the others.
    ///
    /// # Safety
    /// - The queue is not full ([`SubmitQueue::is_full`]).
    /// - The slot lives as long as the queue is used.
    #[inline]
    pub(super) unsafe fn push(&self, slot: &Slot<O>) {
        debug_assert!(!self.is_full());
        let end = self.end.get();
        // SAFETY: `end` is before `limit`, so it is a place of the storage, which is this queue's.
        unsafe { end.write(Cell::new(NonNull::from(slot))) };
        // SAFETY: `end` was before `limit`, so the result is at most `limit`, the end of the
        // storage.
        self.end.set(unsafe { end.add(1) });
    }

    #[inline]
    fn entries(&self) -> &[Entry<O>] {
        // SAFETY: The entries have been written, in storage that is this queue's. They are cells,
        // which may be overwritten while the slice is used.
        unsafe { slice::from_raw_parts(self.first.as_ptr(), self.len()) }
    }

    /// Returns the slots, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot<O>> {
        // SAFETY: Each entry points to a slot that lives as long as the queue (invariant). What is
        // written to in a slot lies in cells.
        self.entries().iter().map(|entry| unsafe { entry.get().as_ref() })
    }

    /// Returns the slot at an index.
    ///
    /// # Panics
    /// If there are not so many.
    pub(super) fn get(&self, index: usize) -> &Slot<O> {
        // SAFETY: The entry points to a slot that lives as long as the queue (invariant).
        unsafe { self.entries()[index].get().as_ref() }
    }

    /// Returns the index of a slot.
    pub(super) fn position(&self, slot: &Slot<O>) -> Option<usize> {
        self.entries().iter().position(|entry| entry.get() == NonNull::from(slot))
    }

    /// Returns the iocbs of the slots from `first` on, as `io_submit` takes them.
    ///
    /// # Safety
    /// - `first` is at most the length.
    /// - While the slice is used, the queue is not changed.
    #[inline]
    pub(super) unsafe fn iocbs(&self, first: usize) -> &[*mut Iocb] {
        debug_assert!(first <= self.len());
        // SAFETY: By the caller's promise this is an entry, or `end`.
        let entry = unsafe { self.first.add(first) };
        // SAFETY: So many entries lie from there on. An entry has the layout of the pointer in it,
        // a pointer to a slot, and by `repr(C)` also to the slot's first field, an `UnsafeCell` of
        // an iocb. Nobody writes an entry meanwhile (promise of the caller).
        unsafe { slice::from_raw_parts(entry.as_ptr().cast(), self.len() - first) }
    }

    /// Removes `count` slots, from an index on.
    ///
    /// # Panics
    /// If there are not so many.
    pub(super) fn remove(&self, index: usize, count: usize) {
        let entries = self.entries();
        let later = &entries[index + count..];
        for (to, from) in entries[index..].iter().zip(later) {
            to.set(from.get());
        }
        // SAFETY: `index` and the length of `later` are together at most the old length.
        self.end.set(unsafe { self.first.add(index + later.len()) });
    }

    /// Removes every slot.
    #[inline]
    pub(super) fn clear(&self) {
        self.end.set(self.first);
    }
}

/// Slots at the front of the queue that have left it. The drop removes them, also if a system call
/// unwinds, as those of a simulated kernel may: a slot in flight must not be submitted again.
pub(super) struct Gone<'q, O> {
    queue: &'q SubmitQueue<O>,
    pub(super) count: usize,
}

impl<'q, O> Gone<'q, O> {
    /// None of the slots has left.
    pub(super) fn new(queue: &'q SubmitQueue<O>) -> Self {
        Self { queue, count: 0 }
    }
}

impl<O> Drop for Gone<'_, O> {
    fn drop(&mut self) {
        self.queue.remove(0, self.count);
    }
}
