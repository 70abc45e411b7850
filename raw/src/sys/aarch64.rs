//! `svc 0` on AArch64, either endianness: the number in x8, arguments from x0, result in x0.

use super::Word;
use core::arch::asm;

#[inline(always)]
pub(super) unsafe fn syscall3(number: u32, a: Word, b: Word, c: Word) -> isize {
    let result: Word;
    // SAFETY: The instruction itself is sound; the caller answers for what the call does.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number as Word,
            inlateout("x0") a => result, in("x1") b, in("x2") c,
            options(nostack, preserves_flags)
        );
    }
    result as isize
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
    let result: Word;
    // SAFETY: The instruction itself is sound; the caller answers for what the call does.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number as Word,
            inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack, preserves_flags)
        );
    }
    result as isize
}
