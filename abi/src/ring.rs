//! The structures that `fs/aio.c` shares with user space without a header: the ring, the signal set
//! argument and the key.
//!
//! It must never read or write a ring: that takes atomics and knowledge of the kernel's barriers,
//! which belong to the crates above.

use core::mem::offset_of;

use static_assertions::const_assert_eq;

use crate::{__kernel_ulong_t, io_event};

/// [`aio_ring::magic`] of a ring that the kernel filled in (`fs/aio.c`).
pub const AIO_RING_MAGIC: u32 = 0xa10a_10a1;
/// [`aio_ring::compat_features`] of every kernel so far (`fs/aio.c`).
pub const AIO_RING_COMPAT_FEATURES: u32 = 1;
/// [`aio_ring::incompat_features`] of every kernel so far (`fs/aio.c`).
pub const AIO_RING_INCOMPAT_FEATURES: u32 = 0;

/// The number that `io_submit` writes into [`iocb::aio_key`](crate::iocb::aio_key), and `io_cancel`
/// wants to find there (`fs/aio.c`).
pub const KIOCB_KEY: u32 = 0;

/// The head of the completion ring (`fs/aio.c`): 32 bytes, at the address that
/// [`aio_context_t`](crate::aio_context_t) is.
///
/// `nr` events of type [`io_event`] follow it, from byte `header_length` on: the kernel ends the
/// structure in a flexible array, which the empty `io_events` stands for. The kernel stores `tail`
/// and, under a mutex that user space cannot take, `head` within `io_getevents`; user space stores
/// `head` when it reaps by itself. A ring whose `magic`, `incompat_features` or `header_length` is
/// another must not be used: gVisor's is all zero.
///
/// ```
/// use linux_aio_abi::{AIO_RING_INCOMPAT_FEATURES, AIO_RING_MAGIC, aio_ring};
///
/// fn is_understood(ring: &aio_ring) -> bool {
///     ring.magic == AIO_RING_MAGIC
///         && ring.incompat_features == AIO_RING_INCOMPAT_FEATURES
///         && ring.header_length as usize == size_of::<aio_ring>()
/// }
/// assert!(!is_understood(&aio_ring::default())); // gVisor's
/// ```
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct aio_ring {
    /// The kernel's own index of the context.
    pub id: u32,
    /// The number of events that the ring has room for, which is more than were asked for.
    pub nr: u32,
    /// Index of the oldest event that is not reaped. Equal to `tail` when there is none.
    pub head: u32,
    /// Index of the slot that the next event goes to.
    pub tail: u32,
    /// [`AIO_RING_MAGIC`].
    pub magic: u32,
    /// [`AIO_RING_COMPAT_FEATURES`].
    pub compat_features: u32,
    /// [`AIO_RING_INCOMPAT_FEATURES`].
    pub incompat_features: u32,
    /// Size of this header in bytes: 32.
    pub header_length: u32,
    /// The place where the events begin.
    pub io_events: [io_event; 0],
}

const_assert_eq!(size_of::<aio_ring>(), 32);
const_assert_eq!(align_of::<aio_ring>(), align_of::<io_event>());
const_assert_eq!(offset_of!(aio_ring, id), 0);
const_assert_eq!(offset_of!(aio_ring, nr), 4);
const_assert_eq!(offset_of!(aio_ring, head), 8);
const_assert_eq!(offset_of!(aio_ring, tail), 12);
const_assert_eq!(offset_of!(aio_ring, magic), 16);
const_assert_eq!(offset_of!(aio_ring, compat_features), 20);
const_assert_eq!(offset_of!(aio_ring, incompat_features), 24);
const_assert_eq!(offset_of!(aio_ring, header_length), 28);
const_assert_eq!(offset_of!(aio_ring, io_events), 32);

/// The last argument of `io_pgetevents` points at one (`fs/aio.c`, `io_pgetevents(2)`).
///
/// The fields are as wide as the kernel's own words: on x32, whose `io_pgetevents` is the 64-bit
/// call, that is 64 bits.
///
/// ```
/// use linux_aio_abi::{__aio_sigset, __kernel_ulong_t, SIGSET_SIZE, sigset_t};
///
/// let mask: sigset_t = [1; SIGSET_SIZE / size_of::<__kernel_ulong_t>()];
/// let argument = __aio_sigset {
///     sigmask: mask.as_ptr().expose_provenance() as __kernel_ulong_t,
///     sigsetsize: SIGSET_SIZE as __kernel_ulong_t,
/// };
/// assert_ne!(argument.sigmask, 0);
/// ```
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct __aio_sigset {
    /// Address of a [`sigset_t`](crate::sigset_t), or 0 to leave the signal mask alone.
    pub sigmask: __kernel_ulong_t,
    /// [`SIGSET_SIZE`](crate::SIGSET_SIZE); anything else is `EINVAL` when there is a mask.
    pub sigsetsize: __kernel_ulong_t,
}

const_assert_eq!(size_of::<__aio_sigset>(), 2 * size_of::<__kernel_ulong_t>());
const_assert_eq!(align_of::<__aio_sigset>(), align_of::<__kernel_ulong_t>());
const_assert_eq!(offset_of!(__aio_sigset, sigmask), 0);
const_assert_eq!(offset_of!(__aio_sigset, sigsetsize), size_of::<__kernel_ulong_t>());
