//! [`IoSlice`] and [`IoSliceMut`], the buffers of a vectored operation. `core` has none.

use crate::abi::iovec;
use core::marker::PhantomData;
use core::ptr;
use core::sync::atomic::AtomicU8;
use static_assertions::assert_eq_size;

assert_eq_size!(IoSlice<'static>, iovec);
assert_eq_size!(IoSliceMut<'static>, iovec);

/// Borrows a buffer to write from, laid out as the kernel's `struct iovec`.
///
/// ```
/// use linux_aio_raw::IoSlice;
///
/// let parts = [IoSlice::new(b"head"), IoSlice::new(b"body")];
/// assert_eq!(parts[1].len(), 4);
/// ```
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct IoSlice<'a> {
    iovec: iovec,
    borrowed: PhantomData<&'a [u8]>,
}

impl<'a> IoSlice<'a> {
    /// Borrows `buf` until the operation has completed.
    pub fn new(buf: &'a [u8]) -> Self {
        let iovec = iovec { iov_base: buf.as_ptr().expose_provenance(), iov_len: buf.len() };
        Self { iovec, borrowed: PhantomData }
    }

    /// Borrows memory that other threads may change meanwhile, until the operation has completed.
    ///
    /// The kernel counts as one more thread that loads each byte, at some time and in any order.
    pub fn shared(bytes: &'a [AtomicU8]) -> Self {
        let iovec = iovec { iov_base: bytes.as_ptr().expose_provenance(), iov_len: bytes.len() };
        Self { iovec, borrowed: PhantomData }
    }

    /// Leaves out the first `count` bytes.
    ///
    /// # Panics
    /// If there are fewer.
    #[track_caller]
    pub fn skip(self, count: usize) -> Self {
        let iovec { iov_base, iov_len } = self.iovec;
        assert!(count <= iov_len, "{count} bytes to skip in a slice of {iov_len}");
        Self { iovec: iovec { iov_base: iov_base + count, iov_len: iov_len - count }, ..self }
    }

    /// Returns the address of the first byte.
    pub fn as_ptr(&self) -> *const u8 {
        ptr::with_exposed_provenance(self.iovec.iov_base)
    }

    /// Returns the number of bytes in the buffer.
    pub const fn len(&self) -> usize {
        self.iovec.iov_len
    }

    /// Returns whether the buffer has length 0.
    pub const fn is_empty(&self) -> bool {
        self.iovec.iov_len == 0
    }
}

/// Borrows a buffer to read into, laid out as the kernel's `struct iovec`.
///
/// ```
/// use linux_aio_raw::IoSliceMut;
///
/// let (mut head, mut body) = ([0; 16], [0; 512]);
/// let parts = [IoSliceMut::new(&mut head), IoSliceMut::new(&mut body)];
/// assert_eq!(parts.iter().map(IoSliceMut::len).sum::<usize>(), 528);
/// ```
#[derive(Debug)]
#[repr(transparent)]
pub struct IoSliceMut<'a> {
    iovec: iovec,
    borrowed: PhantomData<&'a mut [u8]>,
}

impl<'a> IoSliceMut<'a> {
    /// Borrows `buf` until the operation has completed.
    pub fn new(buf: &'a mut [u8]) -> Self {
        let iovec = iovec { iov_base: buf.as_mut_ptr().expose_provenance(), iov_len: buf.len() };
        Self { iovec, borrowed: PhantomData }
    }

    /// Borrows memory that other threads may use meanwhile, until the operation has completed.
    ///
    /// The kernel counts as one more thread that stores each byte, at some time and in any order.
    ///
    /// ```
    /// use linux_aio_raw::IoSliceMut;
    /// use std::sync::atomic::AtomicU8;
    ///
    /// let memory = [const { AtomicU8::new(0) }; 64];
    /// assert_eq!(IoSliceMut::shared(&memory[..32]).len(), 32);
    /// ```
    pub fn shared(bytes: &'a [AtomicU8]) -> Self {
        let iovec = iovec { iov_base: bytes.as_ptr().expose_provenance(), iov_len: bytes.len() };
        Self { iovec, borrowed: PhantomData }
    }

    /// Returns the address of the first byte.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        ptr::with_exposed_provenance_mut(self.iovec.iov_base)
    }

    /// Returns the number of bytes in the buffer.
    pub const fn len(&self) -> usize {
        self.iovec.iov_len
    }

    /// Returns whether the buffer has length 0.
    pub const fn is_empty(&self) -> bool {
        self.iovec.iov_len == 0
    }
}
