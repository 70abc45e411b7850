//! 32-bit targets: the two functions that take a time, for programs whose `time_t` has 64 bits.
//!
//! It must never hand a 64-bit time to a call that reads a 32-bit one.

use core::ffi::{c_int, c_long};

use linux_aio_raw::abi::{io_event, sigset_t};

use crate::context::io_context_t;

#[cfg(not(any(target_arch = "x86_64", target_arch = "riscv32")))]
use narrow::{getevents, pgetevents};
// Here `time_t` never had 32 bits, and the plain functions are these.
#[cfg(any(target_arch = "x86_64", target_arch = "riscv32"))]
use crate::calls::{io_getevents as getevents, io_pgetevents as pgetevents};

/// `struct timespec` with a 64-bit `time_t`, as the kernel reads it.
#[cfg(not(any(target_arch = "x86_64", target_arch = "riscv32")))]
pub type Timespec64 = linux_aio_raw::abi::__kernel_timespec;

/// `struct timespec`, which has a 64-bit `time_t` here.
#[cfg(any(target_arch = "x86_64", target_arch = "riscv32"))]
pub type Timespec64 = crate::calls::Timespec;

/// [`io_getevents`](crate::calls::io_getevents) with a 64-bit time.
///
/// # Safety
/// As [`io_getevents`](crate::calls::io_getevents).
pub unsafe extern "C" fn io_getevents_time64(
    ctx: io_context_t,
    min_nr: c_long,
    nr: c_long,
    events: *mut io_event,
    timeout: *mut Timespec64,
) -> c_int {
    // SAFETY: The contract is the same.
    unsafe { getevents(ctx, min_nr, nr, events, timeout) }
}

/// [`io_pgetevents`](crate::calls::io_pgetevents) with a 64-bit time.
///
/// # Safety
/// As [`io_pgetevents`](crate::calls::io_pgetevents).
pub unsafe extern "C" fn io_pgetevents_time64(
    ctx: io_context_t,
    min_nr: c_long,
    nr: c_long,
    events: *mut io_event,
    timeout: *mut Timespec64,
    sigmask: *const sigset_t,
) -> c_int {
    // SAFETY: The contract is the same.
    unsafe { pgetevents(ctx, min_nr, nr, events, timeout, sigmask) }
}

/// Targets that have both times.
///
/// The call with the 64-bit one came with Linux 5.1, and some containers' filters refuse it with
/// EPERM although they allow the older ones. Then the older ones do, with the time cut to what 32
/// bits hold: 68 years.
#[cfg(not(any(target_arch = "x86_64", target_arch = "riscv32")))]
mod narrow {
    use core::ffi::{c_int, c_long};
    use core::ptr;

    use linux_aio_raw::abi::{__aio_sigset, __kernel_old_timespec, io_event, sigset_t};
    use linux_aio_raw::{Errno, sys};

    use super::Timespec64;
    use crate::calls::signal_set;
    use crate::context::{id, io_context_t};
    use crate::ring;

    /// # Safety
    /// As [`io_getevents`](crate::calls::io_getevents).
    pub(super) unsafe fn getevents(
        ctx: io_context_t,
        min_nr: c_long,
        nr: c_long,
        events: *mut io_event,
        timeout: *mut Timespec64,
    ) -> c_int {
        let [min, max] = [min_nr, nr].map(|count| count as isize);
        // SAFETY: The contract is the same; a null signal set is allowed.
        let result = unsafe { time64(ctx, min, max, events, timeout, ptr::null()) };
        if !is_missing(result) {
            return result as c_int;
        }
        // SAFETY: Null or valid for reads, says the caller.
        let mut cut = unsafe { cut(timeout) };
        let timeout = cut.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
        // SAFETY: The caller answers for `events`; `timeout` is null or `cut`, which outlives the
        // call.
        unsafe { sys::io_getevents(id(ctx), min, max, events, timeout) as c_int }
    }

    /// # Safety
    /// As [`io_pgetevents`](crate::calls::io_pgetevents).
    pub(super) unsafe fn pgetevents(
        ctx: io_context_t,
        min_nr: c_long,
        nr: c_long,
        events: *mut io_event,
        timeout: *mut Timespec64,
        sigmask: *const sigset_t,
    ) -> c_int {
        let [min, max] = [min_nr, nr].map(|count| count as isize);
        let usig = signal_set(sigmask);
        // SAFETY: The contract is the same; `usig` outlives the call.
        let result = unsafe { time64(ctx, min, max, events, timeout, &usig) };
        if !is_missing(result) {
            return result as c_int;
        }
        // SAFETY: Null or valid for reads, says the caller.
        let mut cut = unsafe { cut(timeout) };
        let timeout = cut.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
        // SAFETY: The caller answers for `events` and the mask; `timeout` is null or `cut`, which,
        // like `usig`, outlives the call.
        unsafe { sys::io_pgetevents(id(ctx), min, max, events, timeout, &usig) as c_int }
    }

    /// The call itself, unless the ring already answers.
    ///
    /// # Safety
    /// As [`io_pgetevents`](crate::calls::io_pgetevents), with `usig` null or valid for reads.
    unsafe fn time64(
        ctx: io_context_t,
        min_nr: isize,
        nr: isize,
        events: *mut io_event,
        timeout: *mut Timespec64,
        usig: *const __aio_sigset,
    ) -> isize {
        // SAFETY: The caller answers for `timeout` and `ctx`.
        if unsafe { ring::zero_timeout_and_empty(ctx, timeout) } {
            return 0;
        }
        // SAFETY: The caller answers for all pointers.
        unsafe { sys::io_pgetevents_time64(id(ctx), min_nr, nr, events, timeout, usig) }
    }

    fn is_missing(result: isize) -> bool {
        let result = result as c_int;
        result == -Errno::ENOSYS.as_raw() || result == -Errno::EPERM.as_raw()
    }

    /// The time in 32 bits, if there is one.
    ///
    /// # Safety
    /// `time` must be null or valid for reads.
    unsafe fn cut(time: *const Timespec64) -> Option<__kernel_old_timespec> {
        if time.is_null() {
            return None;
        }
        // SAFETY: Valid for reads, says the caller; C may have it at any address.
        let time = unsafe { time.read_unaligned() };
        Some(__kernel_old_timespec {
            tv_sec: time.tv_sec.clamp(isize::MIN as i64, isize::MAX as i64) as isize,
            // The other half is padding in C.
            tv_nsec: time.tv_nsec as isize,
        })
    }
}
