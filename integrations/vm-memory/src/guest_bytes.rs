//! [`GuestBytes`], guest memory as a buffer of operations, and [`Pieces`], what a request names.

use std::slice;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use vm_memory::bitmap::Bitmap;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, VolatileSlice};

/// A range of guest memory in one region. `Shared(bytes)` is a buffer for reads and writes.
///
/// It keeps the memory mapped, so that the kernel may use it until the operation completes.
#[derive(Clone, Debug)]
pub struct GuestBytes {
    memory: Arc<GuestMemoryMmap>,
    start: GuestAddress,
    len: usize,
}

impl GuestBytes {
    /// Returns the memory for the copies of `vm-memory`, which mark what they write as dirty.
    pub fn volatile(&self) -> VolatileSlice<'_> {
        let slice = self.memory.get_slice(self.start, self.len);
        slice.expect("a range of guest memory that was checked when it was made")
    }

    /// Notes for a migration that the kernel has written these bytes.
    pub fn mark_dirty(&self) {
        self.volatile().bitmap().mark_dirty(0, self.len);
    }
}

impl AsRef<[AtomicU8]> for GuestBytes {
    fn as_ref(&self) -> &[AtomicU8] {
        let guard = self.volatile().ptr_guard_mut();
        // SAFETY: `get_slice` has checked that these bytes lie in one region, whose mapping lasts
        // as long as `self.memory`, and so as `self`. Such a mapping is readable, writable and
        // initialised. An `AtomicU8` has the layout of a `u8` and is written through a shared
        // reference. Nobody makes a `&[u8]` or `&mut [u8]` of guest memory: `vm-memory` accesses
        // it as volatile, by words that may change at any time.
        unsafe { slice::from_raw_parts(guard.as_ptr().cast::<AtomicU8>(), guard.len()) }
    }
}

/// Guest memory that a request names, in the order in which its bytes are transferred.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pieces(Vec<(GuestAddress, usize)>);

impl FromIterator<(GuestAddress, usize)> for Pieces {
    fn from_iter<I: IntoIterator<Item = (GuestAddress, usize)>>(pieces: I) -> Self {
        Self(pieces.into_iter().filter(|&(_, len)| len > 0).collect())
    }
}

impl Pieces {
    /// Returns the number of bytes. A chain of descriptors has less than 4 GiB.
    pub(crate) fn len(&self) -> u64 {
        self.0.iter().map(|&(_, len)| len as u64).sum()
    }

    /// Cuts off and returns the last byte.
    pub(crate) fn pop_last_byte(&mut self) -> Option<GuestAddress> {
        let (start, len) = self.0.last_mut()?;
        *len -= 1;
        let last = GuestAddress(start.0 + *len as u64);
        if *len == 0 {
            self.0.pop();
        }
        Some(last)
    }

    /// Reads the first `N` bytes and cuts them off.
    pub(crate) fn take<const N: usize>(&mut self, memory: &GuestMemoryMmap) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        let mut done = 0;
        while done < N {
            let (start, len) = self.0.first_mut()?;
            let count = (*len).min(N - done);
            memory.read_slice(&mut bytes[done..done + count], *start).ok()?;
            *len -= count;
            *start = GuestAddress(start.0 + count as u64);
            done += count;
            if *len == 0 {
                self.0.remove(0);
            }
        }
        Some(bytes)
    }

    /// Returns the memory itself, or nothing if a part of it does not exist.
    pub(crate) fn resolve(&self, memory: &Arc<GuestMemoryMmap>) -> Option<Vec<GuestBytes>> {
        let mut found = Vec::with_capacity(self.0.len());
        for &(start, len) in &self.0 {
            let mut at = start;
            for slice in memory.get_slices(start, len) {
                let len = slice.ok()?.len();
                found.push(GuestBytes { memory: Arc::clone(memory), start: at, len });
                at = GuestAddress(at.0.wrapping_add(len as u64));
            }
        }
        Some(found)
    }
}
