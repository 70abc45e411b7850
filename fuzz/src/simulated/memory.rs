//! Memory that a simulated kernel touches: the [`watch`]ed buffers of operations, and a [`Ring`].

use linux_aio::abi::{AIO_RING_COMPAT_FEATURES, AIO_RING_MAGIC, aio_ring, io_event};
use std::collections::BTreeMap;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The buffers that there are: where each begins, and its length.
static WATCHED: Mutex<BTreeMap<usize, usize>> = Mutex::new(BTreeMap::new());

fn watched() -> MutexGuard<'static, BTreeMap<usize, usize>> {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While it lives, a simulated kernel may touch these bytes, and no others.
#[derive(Debug)]
pub struct Watch(usize);

/// Says that a buffer is there until the watch is dropped.
pub fn watch(bytes: &mut [u8]) -> Watch {
    let at = bytes.as_mut_ptr().expose_provenance();
    watched().insert(at, bytes.len());
    Watch(at)
}

impl Drop for Watch {
    fn drop(&mut self) {
        watched().remove(&self.0);
    }
}

/// Makes buffers, and counts those that are there.
#[derive(Debug, Default)]
pub struct Buffers(Arc<()>);

impl Buffers {
    /// A buffer of `len` bytes.
    pub fn make(&self, len: usize) -> Buffer {
        let mut bytes = vec![0xee; len].into_boxed_slice();
        let watch = (len > 0).then(|| watch(&mut bytes));
        Buffer { _watch: watch, bytes, _counted: Arc::clone(&self.0) }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}

/// A buffer that is watched as long as it is there.
#[derive(Debug)]
pub struct Buffer {
    // Ends before the bytes do.
    _watch: Option<Watch>,
    bytes: Box<[u8]>,
    _counted: Arc<()>,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

/// A part of a buffer that an operation names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) at: usize,
    pub(super) len: usize,
}

impl Segment {
    pub(super) fn is_watched(self) -> bool {
        let watched = watched();
        let before = watched.range(..=self.at).next_back();
        self.len == 0 || before.is_some_and(|(&at, &len)| self.at + self.len <= at + len)
    }

    /// The bytes, where they may be touched.
    pub(super) fn read(self) -> Option<Vec<u8>> {
        if self.len == 0 || !self.is_watched() {
            return (self.len == 0).then(Vec::new);
        }
        let mut bytes = vec![0; self.len];
        let from = ptr::with_exposed_provenance::<u8>(self.at);
        // SAFETY: A watched buffer is there, and its operation lends it to the kernel, which this
        // is.
        unsafe { from.copy_to_nonoverlapping(bytes.as_mut_ptr(), self.len) };
        Some(bytes)
    }

    /// Writes to the start of it; `false` where it may not be touched.
    pub(super) fn write(self, bytes: &[u8]) -> bool {
        assert!(bytes.len() <= self.len, "no more than there is room for");
        if bytes.is_empty() || !self.is_watched() {
            return bytes.is_empty();
        }
        let to = ptr::with_exposed_provenance_mut::<u8>(self.at);
        // SAFETY: As in `read`.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        true
    }
}

/// A completion ring, as the kernel maps it: shared with children, and gone when the context is.
#[derive(Debug)]
pub(super) struct Ring {
    header: *mut aio_ring,
    nr: u32,
    bytes: usize,
    /// The kernel's own.
    tail: u32,
}

// SAFETY: It is an address of memory of the process; the words are accessed by atomics, the events
// by whoever has the `Ring` exclusively.
unsafe impl Send for Ring {}

impl Ring {
    pub(super) fn new(nr: u32) -> Self {
        let bytes = size_of::<aio_ring>() + nr as usize * size_of::<io_event>();
        let (access, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: A new mapping, not at a fixed address, replaces nothing.
        let header = unsafe { libc::mmap(ptr::null_mut(), bytes, access, flags, -1, 0) };
        assert!(header != libc::MAP_FAILED, "no memory for a ring");
        let header: *mut aio_ring = header.cast();
        let filled = aio_ring {
            nr,
            magic: AIO_RING_MAGIC,
            compat_features: AIO_RING_COMPAT_FEATURES,
            header_length: size_of::<aio_ring>() as u32,
            ..aio_ring::default()
        };
        // SAFETY: The mapping is large enough, writable, and nobody else's so far.
        unsafe { header.write(filled) };
        Self { header, nr, bytes, tail: 0 }
    }

    /// The number of the context.
    pub(super) fn address(&self) -> usize {
        self.header.expose_provenance()
    }

    pub(super) fn nr(&self) -> u32 {
        self.nr
    }

    fn head_word(&self) -> &AtomicU32 {
        // SAFETY: In bounds of the header, which is mapped as long as `self` is there.
        let head = unsafe { &raw mut (*self.header).head };
        // SAFETY: Aligned, and every access is atomic.
        unsafe { AtomicU32::from_ptr(head) }
    }

    fn tail_word(&self) -> &AtomicU32 {
        // SAFETY: In bounds of the header, which is mapped as long as `self` is there.
        let tail = unsafe { &raw mut (*self.header).tail };
        // SAFETY: Aligned, and every access is atomic.
        unsafe { AtomicU32::from_ptr(tail) }
    }

    /// What user space or [`spoil_head`](Self::spoil_head) has stored.
    pub(super) fn head(&self) -> u32 {
        self.head_word().load(Ordering::Acquire)
    }

    pub(super) fn set_head(&self, head: u32) {
        self.head_word().store(head, Ordering::Release);
    }

    /// Stores `head`, and gives what was there.
    pub(super) fn swap_head(&self, head: u32) -> u32 {
        self.head_word().swap(head, Ordering::AcqRel)
    }

    /// What the kernel or [`spoil_tail`](Self::spoil_tail) has stored.
    pub(super) fn tail(&self) -> u32 {
        self.tail_word().load(Ordering::Acquire)
    }

    /// A head out of the ring, from which `head % nr` can still be had.
    pub(super) fn spoil_head(&self, times: u32) {
        self.set_head(self.head() % self.nr + self.nr * times);
    }

    /// A tail out of the ring, until the next event.
    pub(super) fn spoil_tail(&self, times: u32) {
        self.tail_word().store(self.tail + self.nr * times, Ordering::Release);
    }

    fn event_place(&self, at: u32) -> *mut io_event {
        assert!(at < self.nr, "events are in the ring");
        // SAFETY: The events follow the header.
        let events = unsafe { self.header.add(1) }.cast::<io_event>();
        // SAFETY: `at` is below `nr`, and `nr` events are mapped.
        unsafe { events.add(at as usize) }
    }

    pub(super) fn event(&self, at: u32) -> io_event {
        // SAFETY: In the mapping; only the kernel, which this is, writes events.
        unsafe { self.event_place(at).read() }
    }

    /// Writes an event, then the tail, as the kernel does.
    pub(super) fn publish(&mut self, event: io_event) {
        // SAFETY: In the mapping; readers look behind the tail only after it has moved.
        unsafe { self.event_place(self.tail).write(event) };
        self.tail = (self.tail + 1) % self.nr;
        self.tail_word().store(self.tail, Ordering::Release);
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: The context has ended; who reads the ring after that faults, as is right.
        unsafe { libc::munmap(self.header.cast(), self.bytes) };
    }
}
