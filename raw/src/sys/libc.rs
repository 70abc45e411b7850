//! `libc::syscall`, where stable Rust has no inline assembly: MIPS and SPARC.

use super::Word;
use core::ffi::c_long;

#[inline(always)]
pub(super) unsafe fn syscall3(number: u32, a: Word, b: Word, c: Word) -> isize {
    // SAFETY: The caller answers for what the call does.
    unsafe { syscall6(number, a, b, c, 0, 0, 0) }
}

#[inline(always)]
pub(super) unsafe fn syscall6(
    number: u32,
    a: Word,
    b: Word,
    c: Word,
    d: Word,
    e: Word,
    f: Word,
) -> isize {
    // SAFETY: A variadic function that takes the number and up to six words; the caller answers
    // for what the call does.
    answer(unsafe { libc::syscall(number as c_long, a, b, c, d, e, f) } as isize)
}

/// The call has seven words, the second of which pads.
#[cfg(any(target_arch = "mips", target_arch = "mips32r6"))]
pub(super) unsafe fn sync_file_range(fd: i32, offset: u64, length: u64, flags: u32) -> isize {
    // SAFETY: Four numbers; the caller answers for what the call does.
    answer(unsafe { libc::sync_file_range(fd, offset as _, length as _, flags) } as isize)
}

/// The answer of the kernel, of which the C library has made -1 and `errno`.
fn answer(returned: isize) -> isize {
    if returned != -1 {
        return returned;
    }
    // SAFETY: It returns the address of this thread's errno and has no precondition.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: That address is valid for as long as the thread lives.
    -(unsafe { errno.read() } as isize)
}
