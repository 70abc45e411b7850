//! The convenience layer that libaio offers above the system calls.
//!
//! It must never hold more than one event: the callback of one may end the operation, the queue or
//! the memory of another.

use core::ffi::{c_int, c_long, c_void};
use core::mem::{self, MaybeUninit};
use core::ptr;

use linux_aio_raw::Errno;
use linux_aio_raw::abi::{io_event, iocb};

use crate::by_name as c;
use crate::context::{Timespec, io_context_t};
use crate::memory_sanitizer as msan;

/// `io_callback_t` of the header: context, iocb, and both results.
type Callback = unsafe extern "C" fn(io_context_t, *mut iocb, c_long, c_long);

/// `io_queue_init(3)`: [`io_setup`](crate::calls::io_setup) that clears `*ctxp` itself.
///
/// # Safety
/// `ctxp` must be valid for writes if `maxevents` is positive.
pub unsafe extern "C" fn io_queue_init(maxevents: c_int, ctxp: *mut io_context_t) -> c_int {
    if maxevents <= 0 {
        return -Errno::EINVAL.as_raw();
    }
    // SAFETY: Valid for writes, says the caller; C may have it at any address.
    unsafe { ctxp.write_unaligned(ptr::null_mut()) };
    msan::wrote(ctxp, 1);
    // SAFETY: Valid for writes, says the caller, and for reads since the line above.
    unsafe { c::io_setup(maxevents, ctxp) }
}

/// `io_queue_release(3)`: [`io_destroy`](crate::calls::io_destroy) under another name.
///
/// # Safety
/// As [`io_destroy`](crate::calls::io_destroy).
pub unsafe extern "C" fn io_queue_release(ctx: io_context_t) -> c_int {
    // SAFETY: The contract is the same.
    unsafe { c::io_destroy(ctx) }
}

/// `io_queue_run(3)`: calls the callback of each event that is there, without waiting; returns 0
/// once there are no more, or the error of the call that takes them.
///
/// Events are taken one at a time, each by `io_getevents`, and nothing is remembered from one to
/// the next. So a callback may free its iocb, submit, take events, run the queue, or destroy the
/// context: then the answer to the next call is -EINVAL.
///
/// # Safety
/// - As [`io_getevents`](crate::calls::io_getevents) with a zero timeout.
/// - The `data` of every iocb whose event may be there must be 0 or the address of a function of
///   the type `io_callback_t`, which may be called with that iocb, and which returns.
pub unsafe extern "C" fn io_queue_run(ctx: io_context_t) -> c_int {
    loop {
        let mut no_wait = Timespec::default();
        // Not a zeroed event: on some targets that would be a call of memset.
        let mut event = MaybeUninit::<io_event>::uninit();
        let place = event.as_mut_ptr();
        // SAFETY: `place` is room for one event and, like `no_wait`, outlives the call. The caller
        // answers for `ctx`.
        let taken = unsafe { c::io_getevents(ctx, 0, 1, place, &mut no_wait) };
        if taken != 1 {
            return taken;
        }
        // SAFETY: The function says that it has written one event, and any bytes are one.
        let event = unsafe { event.assume_init() };
        let function = ptr::with_exposed_provenance::<c_void>(event.data as usize);
        // SAFETY: `Option<fn>` has the size of a pointer and is `None` where it is null; any other
        // value is the address of such a function, says the caller.
        let callback = unsafe { mem::transmute::<*const c_void, Option<Callback>>(function) };
        if let Some(callback) = callback {
            let iocb = ptr::with_exposed_provenance_mut(event.obj as usize);
            msan::will_pass(4);
            // SAFETY: The caller allows it for each event of this context.
            unsafe { callback(ctx, iocb, event.res as c_long, event.res2 as c_long) };
        }
    }
}

/// `io_queue_wait`: says whether `ctx` is a context. It asks for no events, hence never waits.
///
/// # Safety
/// As [`io_getevents`](crate::calls::io_getevents).
pub unsafe extern "C" fn io_queue_wait(ctx: io_context_t, timeout: *mut Timespec) -> c_int {
    // SAFETY: The contract is the same; no event is written, so none need be writable.
    unsafe { c::io_getevents(ctx, 0, 0, ptr::null_mut(), timeout) }
}
