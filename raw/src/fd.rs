//! [`Fd`], a file descriptor that is borrowed for `'a`, which `core` does not have; and the types
//! and traits of descriptors that `std` has, if there is an allocator.

#[cfg(feature = "alloc")]
pub use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use core::fmt;
use core::marker::PhantomData;

/// Borrows a file descriptor, which stays open for `'a`.
///
/// Made from a [`BorrowedFd`] if there is an allocator, and otherwise by the
/// `unsafe` [`Fd::borrow_raw`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio_raw::Fd;
/// use std::os::fd::{AsFd, AsRawFd};
///
/// let file = std::fs::File::open("/dev/zero")?;
/// let fd: Fd<'_> = file.as_fd().into();
/// assert_eq!(fd.as_raw(), file.as_raw_fd());
/// # Ok(()) }
/// ```
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Fd<'a> {
    number: i32,
    open_for: PhantomData<&'a i32>,
}

impl Fd<'_> {
    /// Borrows a descriptor by its number.
    ///
    /// # Safety
    /// For `'a`, the number must stay that of an open file: a number that is closed and used again
    /// may name somebody else's file, which a write would then hit.
    #[inline]
    pub const unsafe fn borrow_raw(number: i32) -> Self {
        Self { number, open_for: PhantomData }
    }

    /// Returns the number.
    #[inline]
    pub const fn as_raw(self) -> i32 {
        self.number
    }
}

impl fmt::Debug for Fd<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fd({})", self.number)
    }
}

#[cfg(feature = "alloc")]
impl<'a> From<crate::fd::BorrowedFd<'a>> for Fd<'a> {
    #[inline]
    fn from(fd: crate::fd::BorrowedFd<'a>) -> Self {
        Self { number: crate::fd::AsRawFd::as_raw_fd(&fd), open_for: PhantomData }
    }
}

#[cfg(feature = "alloc")]
impl crate::fd::AsFd for Fd<'_> {
    fn as_fd(&self) -> crate::fd::BorrowedFd<'_> {
        // SAFETY: The number is that of an open file for `'a` (`Fd::borrow_raw`), which outlives
        // this borrow; and so it is not -1.
        unsafe { crate::fd::BorrowedFd::borrow_raw(self.number) }
    }
}

#[cfg(feature = "alloc")]
impl crate::fd::AsRawFd for Fd<'_> {
    fn as_raw_fd(&self) -> crate::fd::RawFd {
        self.number
    }
}
