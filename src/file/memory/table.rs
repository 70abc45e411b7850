//! The table of memory that the kernel reads, and the system calls that take one.

use super::super::flagged;
use crate::abi::iovec;
use crate::op::{IovecVec, Scratch};
use crate::{Errno, RwFlags};
use rustix::fd::BorrowedFd;
use static_assertions::{assert_eq_align, assert_eq_size};
use std::io::{IoSlice, IoSliceMut};

assert_eq_size!(iovec, IoSlice<'static>, IoSliceMut<'static>);
assert_eq_align!(iovec, IoSlice<'static>, IoSliceMut<'static>);

/// Returns the entry for `len` bytes at an address.
pub(super) fn entry(start: *const u8, len: usize) -> iovec {
    iovec { iov_base: start.expose_provenance(), iov_len: len }
}

/// Writes a table. Returns its entries.
pub(super) fn fill(table: &mut IovecVec, entries: impl Iterator<Item = iovec>) -> &mut [iovec] {
    let mut count = 0;
    for entry in entries {
        table.entries(count + 1)[count] = entry;
        count += 1;
    }
    &mut table.entries(count)[..count]
}

/// Reads to the memory of a table.
///
/// # Safety
/// The kernel may write to all of the memory until the call returns.
pub(super) unsafe fn read(
    fd: BorrowedFd<'_>,
    table: &mut [iovec],
    offset: u64,
    flags: RwFlags,
) -> Result<usize, Errno> {
    // SAFETY: On Unix a std `IoSliceMut` "is guaranteed to be ABI compatible with the `iovec`
    // type", which `abi::iovec` is as well; size and alignment are asserted. The entries are
    // borrowed exclusively. The call hands the table on to the kernel and looks at no byte, so it
    // does not matter whether the memory is initialised, or shared with other threads.
    let slices = unsafe { &mut *(&raw mut *table as *mut [IoSliceMut<'_>]) };
    flagged::read(fd, slices, offset, flags)
}

/// Writes the memory of a table.
///
/// # Safety
/// The kernel may read all of the memory until the call returns.
pub(super) unsafe fn write(
    fd: BorrowedFd<'_>,
    table: &[iovec],
    offset: u64,
    flags: RwFlags,
) -> Result<usize, Errno> {
    // SAFETY: The kernel may read the memory until the call returns (promise of the caller). The
    // slices go to the call alone, which looks at no byte itself.
    flagged::write(fd, unsafe { slices(table) }, offset, flags)
}

/// Writes the memory of a table to a memory file of this library's own, which no simulation has.
///
/// # Safety
/// The kernel may read all of the memory until the call returns.
pub(super) unsafe fn write_to_own(fd: BorrowedFd<'_>, table: &[iovec]) -> Result<usize, Errno> {
    // SAFETY: The kernel may read the memory until the call returns (promise of the caller). The
    // slices go to the call alone, which looks at no byte itself.
    Ok(rustix::io::pwritev(fd, unsafe { slices(table) }, 0)?)
}

/// Returns a table as the type that `rustix` takes.
///
/// # Safety
/// The kernel may read all of the memory while the result is used, and nobody else looks at it.
unsafe fn slices(table: &[iovec]) -> &[IoSlice<'_>] {
    // SAFETY: On Unix a std `IoSlice` "is guaranteed to be ABI compatible with the `iovec` type",
    // as in `read`. The entries are borrowed for as long as the slices. By the caller's promise
    // only the kernel looks at the memory that they name.
    unsafe { &*(&raw const *table as *const [IoSlice<'_>]) }
}
