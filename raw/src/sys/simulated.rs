//! With `--cfg linux_aio_simulated` only: a kernel of the harness's own in front of the
//! running one.
//!
//! Not for programs: there is no other way to see what is made of a kernel that takes half of a
//! submit, loses patience, or refuses `io_destroy`. The kernel itself is in `fuzz/`.

use super::{Word, arch};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

/// Answers a system call, given by its number and its arguments as the kernel gets them, or leaves
/// it to the running kernel. It may unwind.
pub type Kernel = fn(u32, &[Word]) -> Option<isize>;

static KERNEL: AtomicPtr<Kernel> = AtomicPtr::new(ptr::null_mut());

/// Asks `kernel` first from now on, at every system call of every thread.
///
/// # Safety
/// What `kernel` answers must be what a kernel may answer: above all, an event for an operation in
/// flight means that nobody uses its buffers any more.
pub unsafe fn install(kernel: &'static Kernel) {
    KERNEL.store(ptr::from_ref(kernel).cast_mut(), Ordering::Release);
}

fn simulate(number: u32, arguments: &[Word]) -> Option<isize> {
    let kernel = KERNEL.load(Ordering::Acquire);
    // SAFETY: It is null or what `install` has stored: a reference for ever.
    let kernel = unsafe { kernel.as_ref() }?;
    kernel(number, arguments)
}

pub(super) unsafe fn syscall3(number: u32, a: Word, b: Word, c: Word) -> isize {
    // SAFETY: The caller answers for what the call does.
    simulate(number, &[a, b, c]).unwrap_or_else(|| unsafe { arch::syscall3(number, a, b, c) })
}

pub(super) unsafe fn syscall6(
    number: u32,
    a: Word,
    b: Word,
    c: Word,
    d: Word,
    e: Word,
    f: Word,
) -> isize {
    let native = || {
        // SAFETY: The caller answers for what the call does.
        unsafe { arch::syscall6(number, a, b, c, d, e, f) }
    };
    simulate(number, &[a, b, c, d, e, f]).unwrap_or_else(native)
}
