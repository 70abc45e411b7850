//! Reads and writes with flags: `preadv2(2)` and `pwritev2(2)`.

#[cfg(feature = "sim")]
use super::call::simulated;
use crate::{Errno, RwFlags};
use rustix::fd::AsFd;
use std::io::{IoSlice, IoSliceMut};

/// Calls `preadv(2)`, or `preadv2(2)` if there are flags.
pub(super) fn read(
    fd: impl AsFd,
    bufs: &mut [IoSliceMut<'_>],
    offset: u64,
    flags: RwFlags,
) -> Result<usize, Errno> {
    #[cfg(feature = "sim")]
    if let Some(count) = simulated::read(fd.as_fd(), bufs, offset, flags) {
        return count;
    }
    if flags.is_empty() {
        return Ok(rustix::io::preadv(fd, bufs, offset)?);
    }
    // Android's C library has the call since API level 33 only, so `rustix` leaves it out there.
    #[cfg(target_os = "android")]
    return Err(Errno::ENOSYS);
    #[cfg(not(target_os = "android"))]
    Ok(rustix::io::preadv2(fd, bufs, offset, bits(flags))?)
}

/// Calls `pwritev(2)`, or `pwritev2(2)` if there are flags.
pub(super) fn write(
    fd: impl AsFd,
    bufs: &[IoSlice<'_>],
    offset: u64,
    flags: RwFlags,
) -> Result<usize, Errno> {
    #[cfg(feature = "sim")]
    if let Some(count) = simulated::write(fd.as_fd(), bufs, offset, flags) {
        return count;
    }
    if flags.is_empty() {
        return Ok(rustix::io::pwritev(fd, bufs, offset)?);
    }
    #[cfg(target_os = "android")]
    return Err(Errno::ENOSYS);
    #[cfg(not(target_os = "android"))]
    Ok(rustix::io::pwritev2(fd, bufs, offset, bits(flags))?)
}

#[cfg(not(target_os = "android"))]
fn bits(flags: RwFlags) -> rustix::io::ReadWriteFlags {
    rustix::io::ReadWriteFlags::from_bits_retain(flags.bits() as _)
}
