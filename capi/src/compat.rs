//! Three functions as LIBAIO_0.1 had them. Programs linked then ask for them by that version; a
//! linker never offers them to new ones.
//!
//! It must never grow: these are for programs of before 2003.

use core::ffi::{c_int, c_long};
use core::mem::MaybeUninit;
use core::ptr;

use linux_aio_raw::abi::{io_event, iocb};

use crate::by_name as c;
use crate::context::{Timespec, io_context_t};

/// `io_cancel` without a place for the event, which kernels of those days wrote.
///
/// # Safety
/// None of its own: the kernel checks `ctx`, and reads at `iocb` with checks.
pub unsafe extern "C" fn io_cancel(ctx: io_context_t, iocb: *mut iocb) -> c_int {
    let mut event = MaybeUninit::<io_event>::uninit();
    // SAFETY: `event` is room for one event and outlives the call.
    unsafe { c::io_cancel(ctx, iocb, event.as_mut_ptr()) }
}

/// `io_getevents` that waits for one event.
///
/// # Safety
/// As [`io_getevents`](crate::calls::io_getevents).
pub unsafe extern "C" fn io_getevents(
    ctx: io_context_t,
    nr: c_long,
    events: *mut io_event,
    timeout: *const Timespec,
) -> c_int {
    // SAFETY: The contract is the same; no kernel writes the timeout.
    unsafe { c::io_getevents(ctx, 1, nr, events, timeout.cast_mut()) }
}

/// `io_queue_wait`, which has not changed.
///
/// # Safety
/// As [`io_getevents`](crate::calls::io_getevents).
pub unsafe extern "C" fn io_queue_wait(ctx: io_context_t, timeout: *mut Timespec) -> c_int {
    // SAFETY: The contract is the same; no event is written, so none need be writable.
    unsafe { c::io_getevents(ctx, 0, 0, ptr::null_mut(), timeout) }
}
