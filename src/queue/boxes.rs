//! [`Boxes`], the memory of a queue.

use crate::engine::{BATCH, BatchBuffer, Storage};
use crate::slot::Slot;
use alloc::boxed::Box;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

/// The storage of an engine: boxes that may move while the kernel writes into them, and that are
/// freed when this is dropped.
pub(super) struct Boxes<O> {
    slab: NonNull<[Slot<O>]>,
    queued: NonNull<[MaybeUninit<NonNull<Slot<O>>>]>,
    buffer: NonNull<BatchBuffer>,
}

impl<O> Boxes<O> {
    /// Makes free slots, and room in the submit queue for each of them.
    pub(super) fn new(capacity: u32) -> Self {
        let slots: Box<[Slot<O>]> = (0..capacity).map(|_| Slot::new()).collect();
        let queued = Box::new_uninit_slice(capacity as usize);
        let buffer: Box<BatchBuffer> = Box::new([const { MaybeUninit::uninit() }; BATCH]);
        Self {
            slab: NonNull::from(Box::leak(slots)),
            queued: NonNull::from(Box::leak(queued)),
            buffer: NonNull::from(Box::leak(buffer)),
        }
    }

    /// Returns the storage, which lasts until `self` is dropped.
    pub(super) fn storage(&self) -> Storage<O> {
        Storage { slots: self.slab, queued: self.queued, buffer: self.buffer }
    }
}

impl<O> Drop for Boxes<O> {
    fn drop(&mut self) {
        // SAFETY: `new` made it by `Box::leak`, and it is freed once. The owner drops this when
        // nothing refers to the storage any more.
        drop(unsafe { Box::from_raw(self.slab.as_ptr()) });
        // SAFETY: `new` made it by `Box::leak`, it is freed once, and nothing refers to it any
        // more.
        drop(unsafe { Box::from_raw(self.queued.as_ptr()) });
        // SAFETY: `new` made it by `Box::leak`, it is freed once, and nothing refers to it any
        // more.
        drop(unsafe { Box::from_raw(self.buffer.as_ptr()) });
    }
}
