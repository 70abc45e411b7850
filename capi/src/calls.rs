//! The six system calls, under their C signatures.
//!
//! It must never interpret a result: what the kernel returns is what C gets.

use core::ffi::{c_int, c_long};

use linux_aio_raw::abi::{
    __aio_sigset, __kernel_long_t, __kernel_ulong_t, SIGSET_SIZE, io_event, iocb, sigset_t,
};
use linux_aio_raw::sys;

use crate::context::{Timespec, id, io_context_t};
use crate::memory_sanitizer as msan;
use crate::{reap, ring, table};

/// `io_setup(3)`: makes a context for at least `maxevents` operations and stores it in `*ctxp`.
///
/// # Safety
/// `ctxp` must be valid for reads and writes.
pub unsafe extern "C" fn io_setup(maxevents: c_int, ctxp: *mut io_context_t) -> c_int {
    // A negative count becomes one that is far too large: EINVAL, as the kernel says it.
    let nr_events = maxevents as u32;
    // SAFETY: The caller answers for `ctxp`. On x32, where `aio_context_t` is wider than a pointer,
    // the kernel reads and writes only the pointer's four bytes.
    let result = unsafe { sys::io_setup(nr_events, ctxp.cast()) as c_int };
    if result == 0 {
        msan::wrote(ctxp, 1);
        // SAFETY: The kernel has just written it; C may have it at any address.
        table::add(unsafe { ctxp.read_unaligned() });
    }
    result
}

/// `io_destroy(3)`: ends a context, waiting for what is in flight.
///
/// # Safety
/// No other thread may be inside a call with a zero timeout, or read the ring of `ctx` itself: it
/// is unmapped.
pub unsafe extern "C" fn io_destroy(ctx: io_context_t) -> c_int {
    // SAFETY: The contract is the same.
    unsafe { reap::destroy(ctx) }
}

/// `io_submit(3)`: starts up to `nr` operations; returns how many.
///
/// # Safety
/// - `ios` must be valid for reads of `nr` pointers, and each iocb they name for writes.
/// - The memory that an iocb names belongs to the kernel until its event.
pub unsafe extern "C" fn io_submit(ctx: io_context_t, nr: c_long, ios: *const *mut iocb) -> c_int {
    if msan::is_there() {
        // SAFETY: The contract is the same.
        return unsafe { submit_under_msan(ctx, nr, ios) };
    }
    // SAFETY: The caller answers for the array, the iocbs and their buffers.
    unsafe { sys::io_submit(id(ctx), nr as __kernel_long_t, ios) as c_int }
}

/// Does the work of [`io_submit`] under MemorySanitizer. It is a function of its own, so that
/// `io_submit` saves no registers.
///
/// # Safety
/// As [`io_submit`].
#[cold]
#[inline(never)]
unsafe fn submit_under_msan(ctx: io_context_t, nr: c_long, ios: *const *mut iocb) -> c_int {
    // SAFETY: The contract is the same.
    unsafe { msan::will_write(nr, ios) };
    // SAFETY: The caller answers for the array, the iocbs and their buffers.
    unsafe { sys::io_submit(id(ctx), nr as __kernel_long_t, ios) as c_int }
}

/// `io_cancel(3)`: asks for an operation to end early; -EINPROGRESS says that it will, and that its
/// event comes by the ring.
///
/// # Safety
/// `evt` must be null or valid for writes.
pub unsafe extern "C" fn io_cancel(
    ctx: io_context_t,
    iocb: *mut iocb,
    evt: *mut io_event,
) -> c_int {
    // SAFETY: The caller answers for `evt`; at `iocb` the kernel reads with checks.
    unsafe { sys::io_cancel(id(ctx), iocb, evt) as c_int }
}

/// `io_getevents(3)`: takes up to `nr` events, waiting for `min_nr` of them until `timeout`.
///
/// # Safety
/// - `events` must be valid for writes of `nr` events.
/// - `timeout` must be null or valid for reads.
/// - With a zero timeout, no other thread may be in `io_destroy` of `ctx`, which unmaps the ring.
pub unsafe extern "C" fn io_getevents(
    ctx: io_context_t,
    min_nr: c_long,
    nr: c_long,
    events: *mut io_event,
    timeout: *mut Timespec,
) -> c_int {
    // SAFETY: The caller answers for `timeout` and `ctx`.
    if unsafe { ring::zero_timeout_and_empty(ctx, timeout) } {
        return 0;
    }
    // SAFETY: The caller answers for `events` and `timeout`.
    let result = unsafe { reap::getevents(ctx, min_nr, nr, events, timeout) };
    msan::wrote(events, result.max(0) as usize);
    result as c_int
}

/// `io_pgetevents(3)`: [`io_getevents`] under another signal mask.
///
/// # Safety
/// As [`io_getevents`]; and `sigmask` must be null or point to a signal set of the C library, which
/// begins with the kernel's.
pub unsafe extern "C" fn io_pgetevents(
    ctx: io_context_t,
    min_nr: c_long,
    nr: c_long,
    events: *mut io_event,
    timeout: *mut Timespec,
    sigmask: *const sigset_t,
) -> c_int {
    // SAFETY: The caller answers for `timeout` and `ctx`.
    if unsafe { ring::zero_timeout_and_empty(ctx, timeout) } {
        return 0;
    }
    let usig = signal_set(sigmask);
    // SAFETY: The caller answers for the pointers that were passed in; `usig` lives during the
    // call.
    let result = unsafe { reap::pgetevents(ctx, min_nr, nr, events, timeout, &usig) };
    msan::wrote(events, result.max(0) as usize);
    result as c_int
}

/// The last argument of the system call, for a mask that may be null.
pub(crate) fn signal_set(sigmask: *const sigset_t) -> __aio_sigset {
    __aio_sigset {
        sigmask: sigmask.expose_provenance() as __kernel_ulong_t,
        sigsetsize: SIGSET_SIZE as __kernel_ulong_t,
    }
}
