//! A context of a C program: its type, the ring at its address, and the system calls that wait for
//! its events.

use core::mem::{offset_of, size_of};
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

#[cfg(target_arch = "riscv32")]
use linux_aio_raw::abi::{__kernel_long_t, io_event};
use linux_aio_raw::abi::{AIO_RING_INCOMPAT_FEATURES, AIO_RING_MAGIC, aio_context_t, aio_ring};
use linux_aio_raw::sys;
use static_assertions::const_assert_eq;

/// [`aio_ring`] as memory that the kernel and other threads write while we read it.
#[repr(C)]
pub struct Header {
    id: AtomicU32,
    pub(crate) nr: AtomicU32,
    pub(crate) head: AtomicU32,
    pub(crate) tail: AtomicU32,
    magic: AtomicU32,
    compat_features: AtomicU32,
    incompat_features: AtomicU32,
    header_length: AtomicU32,
}

const_assert_eq!(size_of::<Header>(), size_of::<aio_ring>());
const_assert_eq!(offset_of!(Header, head), offset_of!(aio_ring, head));
const_assert_eq!(offset_of!(Header, tail), offset_of!(aio_ring, tail));
const_assert_eq!(offset_of!(Header, magic), offset_of!(aio_ring, magic));
const_assert_eq!(offset_of!(Header, incompat_features), offset_of!(aio_ring, incompat_features));

impl Header {
    /// Whether the kernel says that it is a ring, as gVisor does not, and one without features that
    /// are unknown to us.
    ///
    /// The page may be a read-only one, where only relaxed loads are allowed.
    pub(crate) fn is_understood(&self) -> bool {
        self.magic.load(Relaxed) == AIO_RING_MAGIC
            && self.incompat_features.load(Relaxed) == AIO_RING_INCOMPAT_FEATURES
            && self.header_length.load(Relaxed) as usize == size_of::<Self>()
    }
}

/// `io_context_t` of the header: the address of the context's ring, which programs such as QEMU
/// read themselves.
#[allow(non_camel_case_types, reason = "the name that C gives it")]
pub type io_context_t = *mut Header;

/// `struct timespec` of a C program that has a 64-bit `long` or a 32-bit `time_t`. riscv32, which
/// never had such a `time_t`, has the 64-bit one alone.
#[cfg(not(target_arch = "riscv32"))]
pub type Timespec = linux_aio_raw::abi::__kernel_old_timespec;

/// `struct timespec` of a C program on riscv32.
#[cfg(target_arch = "riscv32")]
pub type Timespec = linux_aio_raw::abi::__kernel_timespec;

/// The context as the kernel takes it.
pub(crate) fn id(ctx: io_context_t) -> aio_context_t {
    // On x32 alone the kernel's word is wider than an address.
    ctx.expose_provenance() as aio_context_t
}

/// The system call alone.
#[cfg(not(target_arch = "riscv32"))]
pub(crate) use sys::io_pgetevents as raw_pgetevents;
/// The system call alone.
#[cfg(target_arch = "riscv32")]
pub(crate) use sys::io_pgetevents_time64 as raw_pgetevents;

/// The system call alone.
#[cfg(not(target_arch = "riscv32"))]
pub(crate) use sys::io_getevents as raw_getevents;

/// The system call alone.
///
/// # Safety
/// As `sys::io_pgetevents_time64`.
#[cfg(target_arch = "riscv32")]
#[inline(always)]
pub(crate) unsafe fn raw_getevents(
    ctx_id: aio_context_t,
    min_nr: __kernel_long_t,
    nr: __kernel_long_t,
    events: *mut io_event,
    timeout: *mut Timespec,
) -> isize {
    // SAFETY: The contract is the same; a null signal set is allowed.
    unsafe { raw_pgetevents(ctx_id, min_nr, nr, events, timeout, core::ptr::null()) }
}
