//! Kernel types that are not AIO's own: words, times, signal sets and I/O vectors.
//!
//! It must never take a type from a C library: glibc's and musl's `timespec`, `sigset_t` and `long`
//! differ from the kernel's on some targets.

use static_assertions::const_assert_eq;

/// The kernel's `unsigned long` as it crosses the system call boundary
/// (`include/uapi/asm-generic/posix_types.h`).
///
/// It is as wide as a pointer, except on x32, where pointers have 32 bits and this has 64.
#[cfg(not(all(target_arch = "x86_64", target_pointer_width = "32")))]
pub type __kernel_ulong_t = usize;

/// The kernel's `unsigned long` as it crosses the system call boundary
/// (`arch/x86/include/uapi/asm/posix_types_x32.h`).
///
/// It is as wide as a pointer, except on x32, where pointers have 32 bits and this has 64.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "32"))]
pub type __kernel_ulong_t = u64;

/// The kernel's `long` as it crosses the system call boundary: [`__kernel_ulong_t`], signed.
#[cfg(not(all(target_arch = "x86_64", target_pointer_width = "32")))]
pub type __kernel_long_t = isize;

/// The kernel's `long` as it crosses the system call boundary: [`__kernel_ulong_t`], signed.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "32"))]
pub type __kernel_long_t = i64;

/// A time with 64-bit seconds on every architecture (`include/uapi/linux/time_types.h`).
///
/// `io_pgetevents_time64` takes it; so do `io_getevents` and `io_pgetevents` where
/// [`__kernel_long_t`] has 64 bits. See `io_getevents(2)`.
///
/// ```
/// use linux_aio_abi::__kernel_timespec;
/// use std::time::Duration;
///
/// let time = Duration::from_millis(1500);
/// let time = __kernel_timespec {
///     tv_sec: time.as_secs() as i64,
///     tv_nsec: time.subsec_nanos().into(),
/// };
/// assert_eq!((time.tv_sec, time.tv_nsec), (1, 500_000_000));
/// ```
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct __kernel_timespec {
    /// Whole seconds.
    pub tv_sec: i64,
    /// Nanoseconds within the second, 0 to 999,999,999.
    pub tv_nsec: i64,
}

const_assert_eq!(size_of::<__kernel_timespec>(), 16);
const_assert_eq!(align_of::<__kernel_timespec>(), align_of::<i64>());
const_assert_eq!(core::mem::offset_of!(__kernel_timespec, tv_sec), 0);
const_assert_eq!(core::mem::offset_of!(__kernel_timespec, tv_nsec), 8);

/// A time in [`__kernel_long_t`]s (`include/uapi/linux/time_types.h`).
///
/// `io_getevents` and `io_pgetevents` take it. With 32-bit words its seconds end in January 2038,
/// and riscv32 has no call that takes it.
///
/// On x32 the header declares `tv_nsec` as a 32-bit `long` followed by four bytes of padding. The
/// kernel reads 64 bits, and clears the upper half for x32 callers. This declares what the kernel
/// reads.
///
/// ```
/// use linux_aio_abi::__kernel_old_timespec;
///
/// let half_a_second = __kernel_old_timespec { tv_sec: 0, tv_nsec: 500_000_000 };
/// assert_eq!(half_a_second.tv_sec, 0);
/// ```
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct __kernel_old_timespec {
    /// Whole seconds.
    pub tv_sec: __kernel_long_t,
    /// Nanoseconds within the second, 0 to 999,999,999.
    pub tv_nsec: __kernel_long_t,
}

const_assert_eq!(size_of::<__kernel_old_timespec>(), 2 * size_of::<__kernel_long_t>());
const_assert_eq!(align_of::<__kernel_old_timespec>(), align_of::<__kernel_long_t>());
const_assert_eq!(core::mem::offset_of!(__kernel_old_timespec, tv_sec), 0);
const_assert_eq!(
    core::mem::offset_of!(__kernel_old_timespec, tv_nsec),
    size_of::<__kernel_long_t>()
);

/// One buffer of a [`IOCB_CMD_PREADV`](crate::IOCB_CMD_PREADV) or
/// [`IOCB_CMD_PWRITEV`](crate::IOCB_CMD_PWRITEV) (`include/uapi/linux/uio.h`, `readv(2)`).
///
/// The base is an address held as an integer, so that the structure is `Send`, `Sync` and free of
/// lifetimes: it owns and borrows nothing.
///
/// ```
/// use linux_aio_abi::iovec;
///
/// let parts = [b"head", b"body"].map(|part| iovec {
///     iov_base: part.as_ptr().expose_provenance(),
///     iov_len: part.len(),
/// });
/// assert_eq!(parts[1].iov_len, 4);
/// ```
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct iovec {
    /// Address of the first byte.
    pub iov_base: usize,
    /// Length in bytes.
    pub iov_len: usize,
}

const_assert_eq!(size_of::<iovec>(), 2 * size_of::<usize>());
const_assert_eq!(size_of::<iovec>(), 2 * size_of::<*const u8>());
const_assert_eq!(align_of::<iovec>(), align_of::<*const u8>());
const_assert_eq!(core::mem::offset_of!(iovec, iov_base), 0);
const_assert_eq!(core::mem::offset_of!(iovec, iov_len), size_of::<*const u8>());

/// The number of signals that the kernel has (`asm/signal.h`): 64, and 128 on MIPS.
#[cfg(not(any(
    target_arch = "mips",
    target_arch = "mips32r6",
    target_arch = "mips64",
    target_arch = "mips64r6"
)))]
pub const _NSIG: usize = 64;

/// The number of signals that the kernel has (`asm/signal.h`): 64, and 128 on MIPS.
#[cfg(any(
    target_arch = "mips",
    target_arch = "mips32r6",
    target_arch = "mips64",
    target_arch = "mips64r6"
))]
pub const _NSIG: usize = 128;

/// The size in bytes of the kernel's signal set, which `io_pgetevents` wants to be told: 8, and 16
/// on MIPS. Any other value is `EINVAL`.
pub const SIGSET_SIZE: usize = _NSIG / 8;

/// The kernel's signal set: signal `n` is bit `(n - 1) % BITS` of word `(n - 1) / BITS`.
///
/// It is not the C library's `sigset_t`, which has 128 bytes in glibc and musl.
pub type sigset_t = [__kernel_ulong_t; _NSIG / __kernel_ulong_t::BITS as usize];

const_assert_eq!(size_of::<sigset_t>(), SIGSET_SIZE);
