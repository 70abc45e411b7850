//! [`Ring`], the completion ring of a simulated context, in memory of the process.

use linux_aio::abi::{AIO_RING_COMPAT_FEATURES, AIO_RING_MAGIC, aio_ring, io_event};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// A completion ring as the kernel lays it out. User space finds no ring there if it is not
/// readable.
#[derive(Debug)]
pub(crate) struct Ring {
    header: NonNull<aio_ring>,
    bytes: usize,
    nr: u32,
    /// The kernel's own, which user space cannot change.
    tail: u32,
}

// SAFETY: The value owns the memory at `header`. User space shares only the words `head` and
// `tail`, which both sides access atomically, and events between them, which only user space reads.
unsafe impl Send for Ring {}

impl Ring {
    /// Makes a ring with `nr` places for events, one of which is always free.
    pub(crate) fn new(nr: u32, readable: bool) -> Self {
        let bytes = size_of::<aio_ring>() + nr as usize * size_of::<io_event>();
        let header = memory::map(bytes).cast::<aio_ring>();
        if readable {
            let filled = aio_ring {
                nr,
                magic: AIO_RING_MAGIC,
                compat_features: AIO_RING_COMPAT_FEATURES,
                header_length: size_of::<aio_ring>() as u32,
                ..aio_ring::default()
            };
            // SAFETY: The memory is large and aligned enough, and nobody else has it yet.
            unsafe { header.write(filled) };
        }
        Self { header, bytes, nr, tail: 0 }
    }

    /// Returns the number of the context, which is the address of its ring.
    pub(crate) fn address(&self) -> usize {
        self.header.as_ptr().expose_provenance()
    }

    pub(crate) fn nr(&self) -> u32 {
        self.nr
    }

    fn head_word(&self) -> &AtomicU32 {
        // SAFETY: The field lies in the memory of the ring.
        let head = unsafe { &raw mut (*self.header.as_ptr()).head };
        // SAFETY: Aligned, there as long as `self`, and all accesses of both sides are atomic.
        unsafe { AtomicU32::from_ptr(head) }
    }

    fn tail_word(&self) -> &AtomicU32 {
        // SAFETY: The field lies in the memory of the ring.
        let tail = unsafe { &raw mut (*self.header.as_ptr()).tail };
        // SAFETY: Aligned, there as long as `self`, and all accesses of both sides are atomic.
        unsafe { AtomicU32::from_ptr(tail) }
    }

    /// Returns what user space or [`spoil_head`](Self::spoil_head) has stored.
    pub(crate) fn head(&self) -> u32 {
        self.head_word().load(Ordering::Acquire)
    }

    pub(crate) fn set_head(&self, head: u32) {
        self.head_word().store(head, Ordering::Release);
    }

    /// Stores `head`, and returns what was there.
    pub(crate) fn swap_head(&self, head: u32) -> u32 {
        self.head_word().swap(head, Ordering::AcqRel)
    }

    /// Returns what the kernel or [`spoil_tail`](Self::spoil_tail) has stored.
    pub(crate) fn tail(&self) -> u32 {
        self.tail_word().load(Ordering::Acquire)
    }

    /// Moves `head` out of the ring, so that `head % nr` is still right.
    pub(crate) fn spoil_head(&self, times: u32) {
        self.set_head(self.head() % self.nr + self.nr * times);
    }

    /// Moves `tail` out of the ring until the next event.
    pub(crate) fn spoil_tail(&self, times: u32) {
        self.tail_word().store(self.tail + self.nr * times, Ordering::Release);
    }

    fn place(&self, index: u32) -> NonNull<io_event> {
        debug_assert!(index < self.nr, "an index of this ring");
        // SAFETY: The events follow the header, inside of the memory.
        let events = unsafe { self.header.add(1) }.cast::<io_event>();
        // SAFETY: There are `nr` of them, and `index` is below.
        unsafe { events.add(index as usize) }
    }

    /// Returns the event there. The memory of a new ring is zero, which is an event, too.
    pub(crate) fn event(&self, index: u32) -> io_event {
        // SAFETY: `place` lies in the memory of the ring, which is initialised: it was mapped as
        // zeros. Only the kernel, which this is, writes events.
        unsafe { self.place(index).read() }
    }

    /// Writes an event, then the tail, as the kernel does. The caller has seen that there is room.
    pub(crate) fn publish(&mut self, event: io_event) {
        // SAFETY: User space does not read here before `tail` has passed it, and has read what was
        // here before: `head` has passed that, which the caller has loaded with acquire.
        unsafe { self.place(self.tail).write(event) };
        self.tail = (self.tail + 1) % self.nr;
        // Pairs with the reader's acquire load of `tail`.
        self.tail_word().store(self.tail, Ordering::Release);
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: From `map`, with this length. The ring goes with its context, whose ring nobody
        // may read any more.
        unsafe { memory::unmap(self.header.cast(), self.bytes) };
    }
}

/// Mapped as the kernel maps it: forked children see the same memory, and nothing is there
/// afterwards.
#[cfg(not(miri))]
mod memory {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
    use std::ptr::{NonNull, null_mut};

    /// Returns zeros, aligned to a page.
    pub(super) fn map(bytes: usize) -> NonNull<u8> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: A new mapping at an address of the kernel's choice replaces nothing.
        let start = unsafe { mmap_anonymous(null_mut(), bytes, access, MapFlags::SHARED) };
        NonNull::new(start.expect("memory for a ring").cast()).expect("no mapping is at 0")
    }

    /// # Safety
    /// From [`map`] with this length, and used by nobody any more.
    pub(super) unsafe fn unmap(start: NonNull<u8>, bytes: usize) {
        // SAFETY: It is a whole mapping of this length, which nobody uses any more (promise of the
        // caller).
        let unmapped = unsafe { munmap(start.as_ptr().cast(), bytes) };
        debug_assert!(unmapped.is_ok(), "munmap of a mapping");
    }
}

/// Miri maps private memory alone.
#[cfg(miri)]
mod memory {
    use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
    use std::ptr::NonNull;

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, 4096).expect("a ring fits the address space")
    }

    pub(super) fn map(bytes: usize) -> NonNull<u8> {
        // SAFETY: The size is not zero: a ring has a header.
        let start = unsafe { alloc_zeroed(layout(bytes)) };
        NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout(bytes)))
    }

    /// # Safety
    /// From [`map`] with this length, and used by nobody any more.
    pub(super) unsafe fn unmap(start: NonNull<u8>, bytes: usize) {
        // SAFETY: The caller's promise: allocated with this layout.
        unsafe { dealloc(start.as_ptr(), layout(bytes)) };
    }
}
