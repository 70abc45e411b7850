//! The system calls of a file that are no asynchronous operations, and [`FailedCall`], the error of
//! one that is no transfer.
//!
//! A simulation (the feature `sim`) is asked first. What is called elsewhere bypasses it.

use crate::Errno;
use crate::driver::thread::Failure;
use crate::sys::helper;
#[cfg(feature = "sim")]
use crate::sys::sim::FileCall;
use rustix::fd::{AsFd, AsRawFd};
use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::retry_on_intr;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::path::Path;

/// `open(2)`, as `options` say. `flags` are the same options as a simulation takes them.
pub(super) fn open(
    options: &OpenOptions,
    #[cfg(feature = "sim")] flags: OFlags,
    path: &Path,
) -> io::Result<File> {
    #[cfg(feature = "sim")]
    if let Some(file) = simulated::open(path, flags) {
        return file.map_err(io::Error::from);
    }
    options.open(path)
}

/// Opens an open file a second time.
pub(super) fn reopen(file: &File, options: &OpenOptions, flags: OFlags) -> io::Result<File> {
    #[cfg(feature = "sim")]
    if let Some(file) = simulated::reopen(file, flags) {
        return file.map_err(io::Error::from);
    }
    let _ = flags;
    options.open(alloc::format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Returns the flags that a file is open with.
pub(super) fn flags(file: &File) -> Result<OFlags, Errno> {
    #[cfg(feature = "sim")]
    if let Some(flags) = simulated::call(file.as_fd(), FileCall::Flags) {
        return Ok(OFlags::from_bits_retain(flags? as _));
    }
    Ok(rustix::fs::fcntl_getfl(file)?)
}

/// Changes the flags that a file is open with.
pub(super) fn set_flags(file: &File, flags: OFlags) -> Result<(), Errno> {
    #[cfg(feature = "sim")]
    if let Some(done) = simulated::call(file.as_fd(), FileCall::SetFlags(flags.bits() as i32)) {
        return done.map(drop);
    }
    Ok(rustix::fs::fcntl_setfl(file, flags)?)
}

/// Returns whether a file is one of a simulated disk.
pub(super) fn is_simulated(file: &File) -> bool {
    #[cfg(feature = "sim")]
    return simulated::call(file.as_fd(), FileCall::Flags).is_some();
    #[cfg(not(feature = "sim"))]
    {
        let _ = file;
        false
    }
}

/// `fstat(2)`.
pub(super) fn metadata(file: &File) -> io::Result<Metadata> {
    // Its answer is right in a simulation, too, unless the file is from before a crash.
    #[cfg(feature = "sim")]
    let _ = simulated::call(file.as_fd(), FileCall::Flags);
    file.metadata()
}

/// `ftruncate(2)`.
pub(super) fn set_len(file: &File, len: u64) -> io::Result<()> {
    #[cfg(feature = "sim")]
    if let Some(done) = simulated::call(file.as_fd(), FileCall::SetLen(len)) {
        return done.map(drop).map_err(io::Error::from);
    }
    file.set_len(len)
}

/// `fallocate(2)`.
pub(super) fn allocate(file: &File, mode: FallocateFlags, offset: u64, len: u64) -> io::Result<()> {
    #[cfg(feature = "sim")]
    {
        let call = FileCall::Allocate { mode: mode.bits(), offset, len };
        if let Some(done) = simulated::call(file.as_fd(), call) {
            return done.map(drop).map_err(io::Error::from);
        }
    }
    Ok(retry_on_intr(|| rustix::fs::fallocate(file, mode, offset, len))?)
}

/// `fsync(2)`.
pub(super) fn sync_all(file: impl AsFd) -> Result<(), Errno> {
    #[cfg(feature = "sim")]
    if let Some(done) = simulated::call(file.as_fd(), FileCall::Sync(false)) {
        return done.map(drop);
    }
    Ok(retry_on_intr(|| rustix::fs::fsync(&file))?)
}

/// `fdatasync(2)`.
pub(super) fn sync_data(file: impl AsFd) -> Result<(), Errno> {
    #[cfg(feature = "sim")]
    if let Some(done) = simulated::call(file.as_fd(), FileCall::Sync(true)) {
        return done.map(drop);
    }
    Ok(retry_on_intr(|| rustix::fs::fdatasync(&file))?)
}

/// `sync_file_range(2)`, which makes nothing durable.
pub(super) fn sync_range(file: &File, offset: u64, len: u64, flags: u32) -> Result<(), Errno> {
    #[cfg(feature = "sim")]
    if let Some(done) = simulated::call(file.as_fd(), FileCall::SyncRange { offset, len, flags }) {
        return done.map(drop);
    }
    // SAFETY: The descriptor is borrowed from its owner.
    let result = unsafe { helper::sync_file_range(file.as_raw_fd(), offset, len, flags) };
    Errno::check(result).map(drop)
}

/// Counts the pages of a range that are in the page cache. `None` if the kernel does not tell.
pub(super) fn cached_pages(file: impl AsFd, offset: u64, len: u64) -> Option<u64> {
    #[cfg(feature = "sim")]
    if let Some(pages) = simulated::call(file.as_fd(), FileCall::CachedPages { offset, len }) {
        return pages.ok().map(|pages| pages as u64);
    }
    helper::cached_pages(file.as_fd().as_raw_fd(), offset, len)
}

#[cfg(feature = "sim")]
pub(super) mod simulated {
    use super::FileCall;
    use crate::abi::iovec;
    use crate::sys::sim;
    use crate::{Errno, RwFlags};
    use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
    use rustix::fs::OFlags;
    use std::fs::File;
    use std::io::{IoSlice, IoSliceMut};
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    /// Makes a call that names no memory.
    pub(super) fn call(fd: BorrowedFd<'_>, call: FileCall<'_>) -> Option<Result<usize, Errno>> {
        // SAFETY: Each caller's call names no memory, or memory that is borrowed for it.
        let answer = unsafe { sim::file(fd.as_raw_fd(), call) }?;
        Some(Errno::check(answer))
    }

    fn file(number: usize) -> File {
        // SAFETY: The simulation has opened the descriptor for this call alone.
        File::from(unsafe { OwnedFd::from_raw_fd(number as i32) })
    }

    pub(super) fn open(path: &Path, flags: OFlags) -> Option<Result<File, Errno>> {
        let answer = sim::open(path.as_os_str().as_bytes(), flags.bits() as i32)?;
        Some(Errno::check(answer).map(file))
    }

    pub(super) fn reopen(of: &File, flags: OFlags) -> Option<Result<File, Errno>> {
        Some(call(of.as_fd(), FileCall::Reopen(flags.bits() as i32))?.map(file))
    }

    /// Reads to memory that need not be initialised.
    pub(in crate::file) fn read(
        fd: BorrowedFd<'_>,
        bufs: &mut [IoSliceMut<'_>],
        offset: u64,
        flags: RwFlags,
    ) -> Option<Result<usize, Errno>> {
        // SAFETY: An `IoSliceMut` is "ABI compatible with the `iovec` type" on Unix, as
        // `abi::iovec` is. The borrow lasts as long. No byte of the memory is looked at.
        let vectors = unsafe { &*(&raw const *bufs as *const [iovec]) };
        call(fd, FileCall::Read { vectors, offset, flags: flags.bits() })
    }

    pub(in crate::file) fn write(
        fd: BorrowedFd<'_>,
        bufs: &[IoSlice<'_>],
        offset: u64,
        flags: RwFlags,
    ) -> Option<Result<usize, Errno>> {
        // SAFETY: As in `read`: an `IoSlice` is an `iovec`, too.
        let vectors = unsafe { &*(&raw const *bufs as *const [iovec]) };
        call(fd, FileCall::Write { vectors, offset, flags: flags.bits() })
    }
}

/// Returns the error of a system call that failed: what was asked of it, and the reason.
pub(super) fn failed(call: &str, failure: impl Into<Failure>) -> io::Error {
    let failure = failure.into();
    let cause = match failure.errno() {
        // The threads of a driver take every call until it is closed.
        Errno::ECANCELED => "; likely cause: the driver is closed",
        // For a file that is not open for writing, other calls give `EBADF`.
        Errno::EINVAL if call.starts_with("ftruncate") => {
            "; likely cause: the file is not open for writing, or has no length"
        }
        _ => "",
    };
    failure.errno().explained(alloc::format!("{call}: {failure}{cause}"))
}
