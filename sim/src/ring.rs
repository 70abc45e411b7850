//! [`Ring`], the completion ring of a simulated context, in memory of the process.

use linux_aio::abi::{AIO_RING_COMPAT_FEATURES, AIO_RING_MAGIC, aio_ring, io_event};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::VecDeque;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// A completion ring as the kernel lays it out, or zeros where user space finds none.
#[derive(Debug)]
pub(crate) struct Ring {
    header: NonNull<aio_ring>,
    layout: Layout,
    nr: u32,
    /// The kernel's own, which user space cannot change.
    tail: u32,
    /// The events of a context whose ring user space cannot read.
    hidden: Option<VecDeque<io_event>>,
}

// SAFETY: The value owns the memory at `header`. User space shares only the words `head` and
// `tail`, which both sides access atomically, and events between them, which only user space reads.
unsafe impl Send for Ring {}

impl Ring {
    /// Makes a ring for `capacity` events.
    pub(crate) fn new(capacity: u32, readable: bool) -> Self {
        // One index is always left free.
        let nr = capacity + 1;
        let bytes = size_of::<aio_ring>() + nr as usize * size_of::<io_event>();
        let layout = Layout::from_size_align(bytes, 4096).expect("a ring fits the address space");
        // SAFETY: The size is not zero.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(header) = NonNull::new(memory.cast::<aio_ring>()) else {
            handle_alloc_error(layout)
        };
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
        let hidden = (!readable).then(VecDeque::new);
        Self { header, layout, nr, tail: 0, hidden }
    }

    /// Returns the number of the context, which is the address of its ring.
    pub(crate) fn address(&self) -> usize {
        self.header.as_ptr().expose_provenance()
    }

    fn head_word(&self) -> &AtomicU32 {
        // SAFETY: The field lies in the allocation.
        let head = unsafe { &raw mut (*self.header.as_ptr()).head };
        // SAFETY: Aligned, allocated as long as `self`, and all accesses of both sides are atomic.
        unsafe { AtomicU32::from_ptr(head) }
    }

    fn tail_word(&self) -> &AtomicU32 {
        // SAFETY: The field lies in the allocation.
        let tail = unsafe { &raw mut (*self.header.as_ptr()).tail };
        // SAFETY: As in `head_word`.
        unsafe { AtomicU32::from_ptr(tail) }
    }

    fn event(&self, index: u32) -> NonNull<io_event> {
        debug_assert!(index < self.nr, "an index of this ring");
        // SAFETY: The events follow the header, inside of the allocation.
        let events = unsafe { self.header.add(1) }.cast::<io_event>();
        // SAFETY: There are `nr` of them, and `index` is below.
        unsafe { events.add(index as usize) }
    }

    /// Returns the number of events that have not been taken.
    pub(crate) fn len(&self) -> usize {
        match &self.hidden {
            Some(hidden) => hidden.len(),
            None => {
                let head = self.head_word().load(Ordering::Acquire) % self.nr;
                ((self.tail + self.nr - head) % self.nr) as usize
            }
        }
    }

    /// Adds an event. There is room: operations in flight and events together are no more than the
    /// capacity.
    pub(crate) fn publish(&mut self, event: io_event) {
        assert!(self.len() < self.nr as usize - 1, "the ring has room for every event");
        if let Some(hidden) = &mut self.hidden {
            hidden.push_back(event);
            return;
        }
        // SAFETY: User space does not read here before `tail` has passed it, and has read what was
        // here before: `head` has passed that, which `len` has loaded with acquire.
        unsafe { self.event(self.tail).write(event) };
        self.tail = (self.tail + 1) % self.nr;
        // Pairs with the reader's acquire load of `tail`.
        self.tail_word().store(self.tail, Ordering::Release);
    }

    /// Takes the oldest event, as `io_getevents` does.
    pub(crate) fn take(&mut self) -> Option<io_event> {
        if let Some(hidden) = &mut self.hidden {
            return hidden.pop_front();
        }
        if self.len() == 0 {
            return None;
        }
        let head = self.head_word().load(Ordering::Relaxed) % self.nr;
        // SAFETY: The event lies between head and tail, so `publish` has written it. The caller of
        // `io_getevents` promises that no other reader runs.
        let event = unsafe { self.event(head).read() };
        self.head_word().store((head + 1) % self.nr, Ordering::Release);
        Some(event)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: Allocated in `new` with this layout. The ring goes with its context, whose ring
        // nobody may read any more.
        unsafe { dealloc(self.header.as_ptr().cast(), self.layout) };
    }
}
