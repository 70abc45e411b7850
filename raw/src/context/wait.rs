//! The waiting system call, whichever this architecture and kernel have.

use super::IoContext;
use crate::abi::{__aio_sigset, __kernel_long_t, SIGSET_SIZE, io_event};
use crate::{Errno, IoEvent, SigSet, sys};
use core::mem::MaybeUninit;
use core::ptr;
use core::time::Duration;

impl IoContext {
    /// Takes events by system call, into `events`, and says how many: no more than find room.
    ///
    /// Without a mask this is `io_getevents`, which filters allow that refuse `io_pgetevents`
    /// (podman's, with `EPERM`) and which is there where the other is not (gVisor, `ENOSYS`).
    ///
    /// # Errors
    /// `EINVAL` where `min` is above the length of `events`, or the context has ended; `EINTR` for
    /// a signal while no event is there; `ENOSYS` or `EPERM` by a filter; [`Errno::FORKED`].
    ///
    /// # Safety
    /// The caller is the context's one reaper: no [`Reaper`](crate::Reaper) of it is in use, and
    /// during the call nobody reads its ring. The events are not counted as reaped.
    pub unsafe fn getevents(
        &self,
        min: usize,
        timeout: Option<Duration>,
        mask: Option<&SigSet>,
        events: &mut [MaybeUninit<IoEvent>],
    ) -> Result<usize, Errno> {
        self.check_process()?;
        let min = clamp(min);
        let room = events.len();
        let events: *mut io_event = events.as_mut_ptr().cast();
        // SAFETY: `events` is valid for `room` of them, and the caller is the one reaper.
        let taken = unsafe { getevents(self.id, min, clamp(room), events, timeout, mask) };
        // What the kernel says is the length of a slice later, without another look.
        Ok(Errno::check(taken)?.min(room))
    }
}

fn clamp(count: usize) -> __kernel_long_t {
    __kernel_long_t::try_from(count).unwrap_or(__kernel_long_t::MAX)
}

/// Runs `call` with the kernel's form of `mask`, or with null.
fn with_sigset<R>(mask: Option<&SigSet>, call: impl FnOnce(*const __aio_sigset) -> R) -> R {
    let Some(mask) = mask else { return call(ptr::null()) };
    let sigset = __aio_sigset {
        sigmask: (&raw const *mask).expose_provenance() as _,
        sigsetsize: SIGSET_SIZE as _,
    };
    call(&raw const sigset)
}

/// Makes the call for a `long` of 64 bits: both calls take times of 64 bits.
///
/// # Safety
/// As [`sys::io_getevents`].
#[cfg(any(target_pointer_width = "64", target_arch = "x86_64"))]
unsafe fn getevents(
    id: crate::abi::aio_context_t,
    min: __kernel_long_t,
    nr: __kernel_long_t,
    events: *mut io_event,
    timeout: Option<Duration>,
    mask: Option<&SigSet>,
) -> isize {
    // A negative time would block for ever, so a long one must not become one.
    let mut time = timeout.map(|timeout| crate::abi::__kernel_old_timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX) as _,
        tv_nsec: timeout.subsec_nanos() as _,
    });
    let time = time.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
    if mask.is_none() {
        // SAFETY: `events` is the caller's promise; `time` is null or points to a local.
        return unsafe { sys::io_getevents(id, min, nr, events, time) };
    }
    with_sigset(mask, |sigset| {
        // SAFETY: As above, and `sigset` lives during the call, as does the mask it names.
        unsafe { sys::io_pgetevents(id, min, nr, events, time, sigset) }
    })
}

/// Makes the call for a `long` of 32 bits. `io_getevents` takes a time of 32 bits, and only
/// `io_pgetevents_time64` one of 64. The old call comes first, since old kernels and filters know
/// it; it is not there on riscv32, nor where the kernel leaves the 32-bit times out.
///
/// # Safety
/// As [`sys::io_getevents`].
#[cfg(all(target_pointer_width = "32", not(target_arch = "x86_64")))]
unsafe fn getevents(
    id: crate::abi::aio_context_t,
    min: __kernel_long_t,
    nr: __kernel_long_t,
    events: *mut io_event,
    timeout: Option<Duration>,
    mask: Option<&SigSet>,
) -> isize {
    #[cfg(not(target_arch = "riscv32"))]
    if mask.is_none() && timeout.is_none_or(|timeout| i32::try_from(timeout.as_secs()).is_ok()) {
        // SAFETY: The caller promises room for `nr` events at `events`, all that the call asks for.
        let returned = unsafe { getevents_time32(id, min, nr, events, timeout) };
        if !is_missing(returned) {
            return returned;
        }
    }
    let mut time = timeout.map(|timeout| crate::abi::__kernel_timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(timeout.subsec_nanos()),
    });
    let time = time.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
    let returned = with_sigset(mask, |sigset| {
        // SAFETY: `events` is the caller's promise; `time` and `sigset` are null or point to
        // locals, and the mask lives during the call.
        unsafe { sys::io_pgetevents_time64(id, min, nr, events, time, sigset) }
    });
    #[cfg(not(target_arch = "riscv32"))]
    if is_missing(returned) {
        // SAFETY: The caller promises room for `nr` events at `events`, all that the call asks for.
        return unsafe { old_getevents(id, min, nr, events, timeout, mask) };
    }
    returned
}

/// Waits by the 32-bit calls, if the 64-bit one is missing. Times are cut to 68 years.
///
/// # Safety
/// As [`sys::io_getevents`].
#[cfg(all(target_pointer_width = "32", not(any(target_arch = "x86_64", target_arch = "riscv32"))))]
unsafe fn old_getevents(
    id: crate::abi::aio_context_t,
    min: __kernel_long_t,
    nr: __kernel_long_t,
    events: *mut io_event,
    timeout: Option<Duration>,
    mask: Option<&SigSet>,
) -> isize {
    if mask.is_none() {
        // SAFETY: The caller promises room for `nr` events at `events`, all that the call asks for.
        return unsafe { getevents_time32(id, min, nr, events, timeout) };
    }
    let mut time = timeout.map(time32);
    let time = time.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
    with_sigset(mask, |sigset| {
        // SAFETY: `events` is the caller's promise; `time` is null or points to a local; `sigset`
        // and its mask live during the call.
        unsafe { sys::io_pgetevents(id, min, nr, events, time, sigset) }
    })
}

/// # Safety
/// As [`sys::io_getevents`].
#[cfg(all(target_pointer_width = "32", not(any(target_arch = "x86_64", target_arch = "riscv32"))))]
unsafe fn getevents_time32(
    id: crate::abi::aio_context_t,
    min: __kernel_long_t,
    nr: __kernel_long_t,
    events: *mut io_event,
    timeout: Option<Duration>,
) -> isize {
    let mut time = timeout.map(time32);
    let time = time.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
    // SAFETY: `events` is the caller's promise; `time` is null or points to a local.
    unsafe { sys::io_getevents(id, min, nr, events, time) }
}

#[cfg(all(target_pointer_width = "32", not(any(target_arch = "x86_64", target_arch = "riscv32"))))]
fn time32(timeout: Duration) -> crate::abi::__kernel_old_timespec {
    crate::abi::__kernel_old_timespec {
        tv_sec: i32::try_from(timeout.as_secs()).unwrap_or(i32::MAX) as _,
        tv_nsec: timeout.subsec_nanos() as _,
    }
}

/// Returns whether the kernel lacks the call, or a filter refuses it.
#[cfg(all(target_pointer_width = "32", not(any(target_arch = "x86_64", target_arch = "riscv32"))))]
fn is_missing(returned: isize) -> bool {
    matches!(Errno::check(returned), Err(Errno::ENOSYS | Errno::EPERM))
}
