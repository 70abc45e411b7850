//! [`Room`], the memory that a read fills.

use crate::IoSliceMut;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU8;

/// Lends memory to a read for `'op`.
///
/// [`Prepared::read_to`](crate::Prepared::read_to) takes it. A buffer type of one's own makes one
/// in [`ReadTo::lend`](crate::ReadTo::lend).
///
/// ```
/// use linux_aio::Room;
///
/// let mut bytes = [0; 64];
/// let room = Room::new(&mut bytes).skip(16).first(32);
/// assert_eq!(room.len(), 32);
/// ```
pub struct Room<'op> {
    start: NonNull<u8>,
    len: usize,
    loan: PhantomData<&'op mut [u8]>,
}

// SAFETY: It is a mutable borrow of bytes, which may be sent, or a shared one of atomics, which
// may, too.
unsafe impl Send for Room<'_> {}
// SAFETY: Through `&` only the length can be had, which nothing changes while it is borrowed.
unsafe impl Sync for Room<'_> {}

impl<'op> Room<'op> {
    /// Lends all of `bytes`.
    #[inline]
    pub fn new(bytes: &'op mut [u8]) -> Self {
        let len = bytes.len();
        Self { start: NonNull::from(bytes).cast(), len, loan: PhantomData }
    }

    /// Lends memory that other threads may use meanwhile.
    ///
    /// The kernel counts as one more thread that stores each byte, at some time and in any order.
    ///
    /// ```
    /// use linux_aio::Room;
    /// use std::sync::atomic::AtomicU8;
    ///
    /// let memory = [const { AtomicU8::new(0) }; 64];
    /// assert_eq!(Room::shared(&memory).len(), 64);
    /// ```
    #[inline]
    pub fn shared(bytes: &'op [AtomicU8]) -> Self {
        // An atomic may be written through a shared reference, so this pointer may be written, too.
        Self { start: NonNull::from(bytes).cast(), len: bytes.len(), loan: PhantomData }
    }

    /// Returns the number of bytes.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there is no byte.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Leaves out the first `count` bytes.
    ///
    /// # Panics
    /// If there are fewer.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_aio::Room;
    ///
    /// let mut frame = [0; 4096];
    /// let room = Room::new(&mut frame).skip(16).first(512); // bytes 16 to 527
    /// assert_eq!(room.len(), 512);
    /// ```
    #[inline]
    #[track_caller]
    pub fn skip(self, count: usize) -> Self {
        assert!(count <= self.len, "{count} bytes to skip in a room of {}", self.len);
        // SAFETY: `count` is at most the length, so this stays in the memory or at its end.
        let start = unsafe { self.start.add(count) };
        Self { start, len: self.len - count, ..self }
    }

    /// Keeps the first `count` bytes alone.
    ///
    /// # Panics
    /// If there are fewer.
    #[inline]
    #[track_caller]
    pub fn first(self, count: usize) -> Self {
        assert!(count <= self.len, "the first {count} bytes of a room of {}", self.len);
        Self { len: count, ..self }
    }

    #[inline]
    pub(crate) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }
}

impl<'op> From<&'op mut [u8]> for Room<'op> {
    fn from(bytes: &'op mut [u8]) -> Self {
        Self::new(bytes)
    }
}

impl<'op> From<IoSliceMut<'op>> for Room<'op> {
    fn from(mut slice: IoSliceMut<'op>) -> Self {
        let start = NonNull::new(slice.as_mut_ptr()).unwrap_or(NonNull::dangling());
        Self { start, len: slice.len(), loan: PhantomData }
    }
}

impl fmt::Debug for Room<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").field("len", &self.len).finish_non_exhaustive()
    }
}
