//! The system calls as they are, in place of [`reap`](crate::reap): where it was left out of the
//! build, and on machines with 32 bits.

#[cfg(target_pointer_width = "64")]
use core::ffi::c_char;
use core::ffi::{c_int, c_long};
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use linux_aio_raw::abi::{__aio_sigset, __kernel_long_t, io_event};
use linux_aio_raw::sys;

use crate::calls::{self, Timespec, id, io_context_t};
use crate::table;

/// What all contexts whose numbers meet in the table share: one of them is known.
///
/// Not every machine has a compare-and-swap, and there is no need of one: whatever threads do here
/// at once, a gate names a context that lives, or none. What is forgotten costs system calls.
///
/// Relaxed, all of it: who looks at a ring has been told of the context, and not that it is ending.
pub(crate) struct Gate(AtomicUsize);

impl Gate {
    /// Whether `context` is the one that is known.
    #[inline]
    pub(crate) fn is_open_for(&self, context: usize) -> bool {
        self.0.load(Relaxed) == context
    }

    /// Remembers `context`, if the place is free.
    pub(crate) fn open(&self, context: usize) {
        if self.is_open_for(0) {
            self.0.store(context, Relaxed);
        }
    }

    /// Forgets `context`.
    fn close(&self, context: usize) {
        if self.is_open_for(context) {
            self.0.store(0, Relaxed);
        }
    }
}

/// There is nothing that could be turned off.
pub(crate) fn is_on() -> bool {
    true
}

/// Reads nothing when the library is loaded.
///
/// # Safety
/// None of its own.
#[cfg(target_pointer_width = "64")]
pub(crate) unsafe fn loaded(_: c_int, _: *const *const c_char, _: *const *const c_char) {}

/// The system call, before which the context is forgotten.
///
/// # Safety
/// As [`calls::io_destroy`].
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
    unsafe { calls::raw_getevents(id(ctx), min_nr, nr, events, timeout) }
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
    unsafe { calls::raw_pgetevents(id(ctx), min_nr, nr, events, timeout, usig) }
}
