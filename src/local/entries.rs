//! [`EntryRef`], which leads to an entry, and [`Entries`], those that are vacant.
//!
//! An entry belongs to one driver for good. A future that has one keeps the driver by it, without a
//! pointer of its own.

use super::entry::Entry;
use super::stage::Phase;
use super::{Handle, Inner};
use alloc::boxed::Box;
use alloc::rc::Rc;
use core::cell::Cell;
use core::mem;
use core::ops::Deref;
use core::ptr::NonNull;
use core::task::Waker;

/// Leads to an entry.
///
/// # Invariants
/// The entry was made by [`Entries`], which frees it when it is dropped. Whoever has this is part
/// of the same driver, or keeps it: the slots of its queue, its lists, and futures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct EntryRef(NonNull<Entry>);

impl EntryRef {
    /// Takes a vacant entry of a driver for a future, which keeps the driver from now on.
    #[inline(always)]
    pub(super) fn take(driver: &Rc<Inner>) -> Self {
        let entry = driver.entries.take(driver);
        mem::forget(Rc::clone(driver));
        entry
    }

    /// Returns the driver.
    ///
    /// # Safety
    /// A future has the entry, and does not give it up while the result is used.
    #[inline(always)]
    pub(super) unsafe fn driver<'f>(self) -> &'f Inner {
        // SAFETY: The future has a reference to the driver (invariant of `Entry`), and keeps it
        // (promise of the caller).
        unsafe { &*self.driver }
    }

    /// Gives the entry of a future back, whose operation has been taken.
    ///
    /// # Safety
    /// A future has the entry, and forgets it now. The process is that of the driver.
    #[inline(always)]
    pub(super) unsafe fn give_back(self) {
        // SAFETY: The pointer is that of an `Rc` of this type, one of whose references is the
        // future's (invariant of `Entry`). The future, which forgets the entry, gives it up.
        let driver = unsafe { Rc::from_raw(self.driver) };
        driver.entries.give_back(self);
        if Rc::strong_count(&driver) == 1 {
            // SAFETY: It is the pointer of this `Rc`, whose reference is given up.
            unsafe { drop_last(Rc::into_raw(driver)) };
        }
    }

    /// Returns a handle of the driver.
    ///
    /// # Safety
    /// A future has the entry.
    pub(super) unsafe fn handle(self) -> Handle {
        // SAFETY: The pointer is that of an `Rc` of this type, and the future has one of its
        // references (invariant of `Entry`).
        unsafe { Rc::increment_strong_count(self.driver) };
        // SAFETY: It is the reference that was just added.
        Handle(unsafe { Rc::from_raw(self.driver) })
    }

    /// Gives up a future's reference to the driver. A forked child leaks it, and so drops nothing
    /// of the driver.
    ///
    /// # Safety
    /// A future has had the entry, and forgets it now.
    pub(super) unsafe fn leave(self) {
        // SAFETY: As in `give_back`.
        let driver = unsafe { Rc::from_raw(self.driver) };
        if driver.check_process().is_err() {
            mem::forget(driver);
        }
    }

    /// Keeps the driver for good, in a forked child.
    ///
    /// # Safety
    /// A future has the entry.
    #[cold]
    pub(super) unsafe fn leak_driver(self) {
        // SAFETY: The pointer is that of an `Rc` of this type, and the future has one of its
        // references (invariant of `Entry`).
        unsafe { Rc::increment_strong_count(self.driver) };
    }
}

impl Deref for EntryRef {
    type Target = Entry;

    #[inline(always)]
    fn deref(&self) -> &Entry {
        // SAFETY: The entry is there (invariant), and is borrowed by `&` alone: all that changes
        // lies in cells.
        unsafe { self.0.as_ref() }
    }
}

/// The vacant entries of a driver.
///
/// # Invariants
/// Each is on the list once, and in the phase `Vacant`. What such an entry calls the next one is
/// one, too.
#[derive(Default)]
pub(super) struct Entries {
    first: Cell<Option<EntryRef>>,
}

impl Entries {
    /// Takes a vacant entry, which has no operation yet.
    #[inline(always)]
    fn take(&self, driver: &Rc<Inner>) -> EntryRef {
        let Some(first) = self.first.get() else { return new_entry(driver) };
        self.first.set(first.next.get().map(EntryRef));
        first
    }

    /// Gives an entry back whose operation is gone.
    #[inline(always)]
    pub(super) fn give_back(&self, entry: EntryRef) {
        entry.set_phase(Phase::VACANT);
        entry.next.set(self.first.get().map(|first| first.0));
        self.first.set(Some(entry));
    }

    /// Frees every vacant entry, and returns its waker. There must be no other use of them.
    pub(super) fn free(&mut self) -> impl Iterator<Item = Waker> {
        core::iter::from_fn(|| {
            let entry = self.first.get()?;
            self.first.set(entry.next.get().map(EntryRef));
            // SAFETY: `new_entry` has made it by `Box::leak`. It is on no list any more, and the
            // driver, which alone uses entries that are vacant, is being dropped.
            Some(unsafe { Box::from_raw(entry.0.as_ptr()) }.waker.take())
        })
        .flatten()
    }
}

/// Drops a reference to a driver, the last one. As `extern "C"` it does not unwind, so that its
/// callers need not keep what they would have to drop then in memory. What users' code throws is
/// caught inside.
///
/// # Safety
/// The pointer is that of an `Rc`, one of whose references is given up.
#[cold]
#[inline(never)]
unsafe extern "C" fn drop_last(driver: *const Inner) {
    // SAFETY: The promise of the caller.
    drop(unsafe { Rc::from_raw(driver) });
}

#[cold]
#[inline(never)]
fn new_entry(driver: &Rc<Inner>) -> EntryRef {
    EntryRef(NonNull::from(Box::leak(Box::new(Entry::new(Rc::as_ptr(driver))))))
}
