//! The system calls as they are, in place of [`reap`](crate::reap): where it was left out of the
//! build, and on machines with 32 bits.

use core::ffi::{c_int, c_long};

use linux_aio_raw::abi::{__aio_sigset, __kernel_long_t, io_event};
use linux_aio_raw::sys;

use crate::context::{Timespec, id, io_context_t, raw_getevents, raw_pgetevents};
use crate::table;

/// The system call, before which the context is forgotten.
///
/// # Safety
/// As [`calls::io_destroy`](crate::calls::io_destroy).
pub(crate) unsafe fn destroy(ctx: io_context_t) -> c_int {
    if let Some(gate) = table::gate_of(ctx) {
        gate.close(ctx.addr());
    }
    // SAFETY: The contract is the same.
    unsafe { sys::io_destroy(id(ctx)) as c_int }
}

/// The system call.
///
/// # Safety
/// `events` must be valid for writes of `nr` events, `timeout` null or valid for reads.
#[inline(always)]
pub(crate) unsafe fn getevents(
    ctx: io_context_t,
    min_nr: c_long,
    nr: c_long,
    events: *mut io_event,
    timeout: *mut Timespec,
) -> isize {
    let (min_nr, nr) = (min_nr as __kernel_long_t, nr as __kernel_long_t);
    // SAFETY: The contract is the same.
    unsafe { raw_getevents(id(ctx), min_nr, nr, events, timeout) }
}

/// The system call.
///
/// # Safety
/// As [`getevents`], and `usig` must be valid for reads, and so the mask it names, or that null.
#[inline(always)]
pub(crate) unsafe fn pgetevents(
    ctx: io_context_t,
    min_nr: c_long,
    nr: c_long,
    events: *mut io_event,
    timeout: *mut Timespec,
    usig: *const __aio_sigset,
) -> isize {
    let (min_nr, nr) = (min_nr as __kernel_long_t, nr as __kernel_long_t);
    // SAFETY: The contract is the same.
    unsafe { raw_pgetevents(id(ctx), min_nr, nr, events, timeout, usig) }
}
