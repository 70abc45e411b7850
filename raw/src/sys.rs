//! The six AIO system calls, and the few [helper calls](helper) that an AIO library makes.
//!
//! One `unsafe fn` per call, under its man-page name, with the kernel's own argument types. Each
//! returns what the kernel returns: a count or zero, or a negative errno. Inline assembly lives in
//! the files below this module and nowhere else. This module interprets nothing, retries nothing
//! and keeps no state. In a forked child the kernel knows none of the parent's contexts, and every
//! call that names one gives `EINVAL`.
//!
//! Pointers are passed with their provenance exposed, and no stub is declared `nomem` or
//! `readonly`: the kernel reads and writes memory that Rust code looks at afterwards.

#[cfg(not(target_arch = "riscv32"))]
use crate::abi::__kernel_old_timespec;
#[cfg(all(target_pointer_width = "32", not(target_arch = "x86_64")))]
use crate::abi::__kernel_timespec;
use crate::abi::syscall::NATIVE;
use crate::abi::{__aio_sigset, __kernel_long_t, __kernel_ulong_t, aio_context_t, io_event, iocb};

#[cfg(not(miri))]
#[cfg_attr(target_arch = "x86_64", path = "sys/x86_64.rs")]
#[cfg_attr(target_arch = "x86", path = "sys/x86.rs")]
#[cfg_attr(target_arch = "arm", path = "sys/arm.rs")]
#[cfg_attr(target_arch = "aarch64", path = "sys/aarch64.rs")]
#[cfg_attr(any(target_arch = "riscv32", target_arch = "riscv64"), path = "sys/riscv.rs")]
#[cfg_attr(target_arch = "loongarch64", path = "sys/loongarch64.rs")]
#[cfg_attr(target_arch = "s390x", path = "sys/s390x.rs")]
#[cfg_attr(any(target_arch = "powerpc", target_arch = "powerpc64"), path = "sys/powerpc.rs")]
#[cfg_attr(
    any(
        target_arch = "mips",
        target_arch = "mips32r6",
        target_arch = "mips64",
        target_arch = "mips64r6",
        target_arch = "sparc64"
    ),
    path = "sys/libc.rs"
)]
mod arch;
#[cfg(miri)]
#[path = "sys/miri.rs"]
mod arch;
pub mod helper;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod sim;
#[cfg(linux_aio_tsan)]
mod tsan;

#[cfg(not(linux_aio_tsan))]
use arch::{syscall3, syscall6};
#[cfg(linux_aio_tsan)]
use tsan::{syscall3, syscall6};

#[cfg(feature = "sim")]
use sim::simulated;
/// Expands to nothing: there is no simulated kernel without the feature `sim`.
#[cfg(not(feature = "sim"))]
macro_rules! simulated {
    ($($call:tt)*) => {};
}

/// A word that fits one argument register: 64 bits on x32, where `usize` has 32.
type Word = __kernel_ulong_t;

fn address<T: ?Sized>(pointer: *const T) -> Word {
    #[allow(clippy::unnecessary_cast, reason = "on x32 the word is wider than the address")]
    let word = pointer.cast::<u8>().expose_provenance() as Word;
    word
}

fn signed(value: __kernel_long_t) -> Word {
    value as Word
}

/// Makes a context for at least `nr_events` operations and stores it in `*ctxp` (`io_setup(2)`).
///
/// # Safety
/// `ctxp` must be valid for reads and writes. The kernel maps the completion ring of the new
/// context into the process; the context must end by [`io_destroy`] or with the process.
///
/// # Examples
///
/// ```
/// use linux_aio_raw::{Errno, sys};
///
/// let mut context = 0;
/// // SAFETY: `context` is valid for reads and writes, and nobody reads the ring afterwards.
/// unsafe {
///     Errno::check(sys::io_setup(8, &raw mut context))?;
///     Errno::check(sys::io_destroy(context))?;
/// }
/// # Ok::<(), Errno>(())
/// ```
#[inline(always)]
pub unsafe fn io_setup(nr_events: u32, ctxp: *mut aio_context_t) -> isize {
    simulated!(io_setup(nr_events, ctxp));
    // SAFETY: The caller vouches for `ctxp`, the only memory that the call touches.
    unsafe { syscall3(NATIVE.io_setup, nr_events as Word, address(ctxp), 0) }
}

/// Cancels what can be cancelled, waits for the rest, and unmaps the ring (`io_destroy(2)`).
///
/// # Safety
/// Nobody may read the ring of `ctx_id` any more: it is unmapped first.
#[inline(always)]
pub unsafe fn io_destroy(ctx_id: aio_context_t) -> isize {
    simulated!(io_destroy(ctx_id));
    // SAFETY: The caller vouches that nobody reads the memory that goes away.
    unsafe { syscall3(NATIVE.io_destroy, ctx_id, 0, 0) }
}

/// Starts up to `nr` operations, and returns how many were accepted (`io_submit(2)`).
///
/// # Safety
/// - `iocbpp` must be valid for reads of `nr` pointers.
/// - Each pointer among them that is valid must be writable during the call: the kernel stores
///   `aio_key` there. (One that is not valid gives `EFAULT`, and is safe.)
/// - The memory that an iocb names belongs to the kernel from this call until its event.
#[inline(always)]
pub unsafe fn io_submit(
    ctx_id: aio_context_t,
    nr: __kernel_long_t,
    iocbpp: *const *mut iocb,
) -> isize {
    simulated!(io_submit(ctx_id, nr, iocbpp));
    // SAFETY: The caller vouches for the array, the iocbs and the buffers they name.
    unsafe { syscall3(NATIVE.io_submit, ctx_id, signed(nr), address(iocbpp)) }
}

/// Asks for the operation that was submitted from the address `iocb` to end early
/// (`io_cancel(2)`).
///
/// `-EINPROGRESS` is success: the event still arrives on the ring. `result` is never written.
///
/// # Safety
/// `result` must be null or valid for writes. `iocb` may be any address; the kernel reads
/// `aio_key` there and answers `EFAULT` where it cannot.
#[inline(always)]
pub unsafe fn io_cancel(ctx_id: aio_context_t, iocb: *const iocb, result: *mut io_event) -> isize {
    simulated!(io_cancel(ctx_id, iocb));
    // SAFETY: The caller vouches for `result`; the kernel only reads at `iocb`, with checks.
    unsafe { syscall3(NATIVE.io_cancel, ctx_id, address(iocb), address(result)) }
}

/// Waits for at least `min_nr` events and takes up to `nr` off the ring (`io_getevents(2)`).
///
/// The time is relative and as wide as the kernel's `long`. Absent on riscv32, which has
/// `io_pgetevents_time64` only.
///
/// # Safety
/// `events` must be valid for writes of `nr` events, and `timeout` null or valid for reads. No
/// user-space reader of the same ring may run at the same time, even if `nr` is 0: the call stores
/// `head` all the same.
#[cfg(not(target_arch = "riscv32"))]
#[inline(always)]
pub unsafe fn io_getevents(
    ctx_id: aio_context_t,
    min_nr: __kernel_long_t,
    nr: __kernel_long_t,
    events: *mut io_event,
    timeout: *mut __kernel_old_timespec,
) -> isize {
    simulated!(io_getevents(ctx_id, min_nr, nr, events; timeout));
    const NR: u32 = number(NATIVE.io_getevents);
    // SAFETY: The caller vouches for `events`, `timeout` and being the ring's only reader.
    unsafe {
        syscall6(NR, ctx_id, signed(min_nr), signed(nr), address(events), address(timeout), 0)
    }
}

/// Waits as [`io_getevents`] does, under a signal mask that is swapped in atomically
/// (`io_pgetevents(2)`).
///
/// Absent on riscv32, which has `io_pgetevents_time64` only.
///
/// # Safety
/// As [`io_getevents`]; and `usig` must be null or valid for reads, and so the mask it names.
#[cfg(not(target_arch = "riscv32"))]
#[inline(always)]
pub unsafe fn io_pgetevents(
    ctx_id: aio_context_t,
    min_nr: __kernel_long_t,
    nr: __kernel_long_t,
    events: *mut io_event,
    timeout: *mut __kernel_old_timespec,
    usig: *const __aio_sigset,
) -> isize {
    simulated!(io_getevents(ctx_id, min_nr, nr, events; timeout));
    const NR: u32 = number(NATIVE.io_pgetevents);
    let (events, timeout, usig) = (address(events), address(timeout), address(usig));
    // SAFETY: The caller vouches for the three pointers and being the ring's only reader.
    unsafe { syscall6(NR, ctx_id, signed(min_nr), signed(nr), events, timeout, usig) }
}

/// Waits as `io_pgetevents` does, with a 64-bit time, on 32-bit targets (`io_pgetevents_time64`).
///
/// # Safety
/// `events` must be valid for writes of `nr` events; `timeout` and `usig` null or valid for
/// reads, and so the mask that `usig` names. No user-space reader of the same ring may run at the
/// same time, even if `nr` is 0: the call stores `head` all the same.
#[cfg(all(target_pointer_width = "32", not(target_arch = "x86_64")))]
#[inline(always)]
pub unsafe fn io_pgetevents_time64(
    ctx_id: aio_context_t,
    min_nr: __kernel_long_t,
    nr: __kernel_long_t,
    events: *mut io_event,
    timeout: *mut __kernel_timespec,
    usig: *const __aio_sigset,
) -> isize {
    simulated!(io_getevents(ctx_id, min_nr, nr, events; timeout));
    const NR: u32 = number(NATIVE.io_pgetevents_time64);
    let (events, timeout, usig) = (address(events), address(timeout), address(usig));
    // SAFETY: The caller vouches for the three pointers and being the ring's only reader.
    unsafe { syscall6(NR, ctx_id, signed(min_nr), signed(nr), events, timeout, usig) }
}

/// Returns the number of a call that every target compiled here has.
const fn number(entry: Option<u32>) -> u32 {
    match entry {
        Some(number) => number,
        None => panic!("this architecture does not have the call"),
    }
}
