//! [`Pending`], the operations that wait for a submit.

use crate::Iocb;
use crate::slot::Slot;
use core::cell::Cell;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

/// A queue of slots, oldest first, in memory of its owner's. An iocb is the first field of a slot,
/// so the array of pointers to slots is the one that `io_submit` takes.
pub(super) struct Pending<O> {
    first: NonNull<NonNull<Slot<O>>>,
    /// Behind the last entry, and behind the last place.
    end: Cell<NonNull<NonNull<Slot<O>>>>,
    limit: NonNull<NonNull<Slot<O>>>,
}

impl<O> Pending<O> {
    /// An empty queue.
    ///
    /// # Safety
    /// Until the queue is gone, `memory` stays where it is and nobody else uses it.
    pub(super) unsafe fn new(memory: NonNull<[MaybeUninit<NonNull<Slot<O>>>]>) -> Self {
        let first: NonNull<NonNull<Slot<O>>> = memory.cast();
        // SAFETY: One place behind the memory, which begins at `first`.
        let limit = unsafe { first.add(memory.len()) };
        Self { first, end: Cell::new(first), limit }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        // SAFETY: Both lie in the same memory, `end` not before `first`.
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
    /// There is room ([`Pending::is_full`]).
    #[inline]
    pub(super) unsafe fn push(&self, slot: NonNull<Slot<O>>) {
        debug_assert!(!self.is_full());
        let end = self.end.get();
        // SAFETY: `end` is before `limit`, so it is a place of the memory, which is this queue's.
        unsafe { end.write(slot) };
        // SAFETY: At most `limit`, the end of the memory.
        self.end.set(unsafe { end.add(1) });
    }

    /// The slots, oldest first. Not to be held while the queue changes.
    #[inline]
    pub(super) fn slots(&self) -> &[NonNull<Slot<O>>] {
        // SAFETY: `push` has written the entries before `end`, nobody else has pointers to them,
        // and none is written while the slice is used.
        unsafe { core::slice::from_raw_parts(self.first.as_ptr(), self.len()) }
    }

    /// Takes `count` entries out, from the k-th on.
    pub(super) fn remove(&self, k: usize, count: usize) {
        debug_assert!(k + count <= self.len());
        let later = self.len() - k - count;
        // SAFETY: The k-th entry is one, or `end`.
        let to = unsafe { self.first.add(k) };
        // SAFETY: `later` entries lie behind the `count` that go.
        let from = unsafe { to.add(count) };
        // SAFETY: Both ranges lie in what is pending, which is this queue's alone.
        unsafe { to.copy_from(from, later) };
        // SAFETY: What is left ends before the old `end`.
        self.end.set(unsafe { to.add(later) });
    }

    /// Takes all out.
    #[inline]
    pub(super) fn clear(&self) {
        self.end.set(self.first);
    }
}

/// The iocbs of slots, as `io_submit` takes them.
#[inline]
pub(super) fn iocbs_of<O>(slots: &[NonNull<Slot<O>>]) -> &[*mut Iocb] {
    let iocbs = &raw const *slots as *const [*mut Iocb];
    // SAFETY: A slot begins with its iocb (`repr(C)`), so a pointer to one is a pointer to the
    // other, and a `NonNull` has the layout of the pointer.
    unsafe { &*iocbs }
}
