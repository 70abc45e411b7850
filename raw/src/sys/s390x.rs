//! `svc 0` on s390x: the number in r1, arguments from r2, result in r2.

use super::Word;
use core::arch::asm;

#[inline(always)]
pub(super) unsafe fn syscall3(number: u32, a: Word, b: Word, c: Word) -> isize {
    let result: Word;
    // SAFETY: The instruction itself is sound; the caller answers for what the call does.
    unsafe {
        asm!(
            "svc 0",
            in("r1") number as Word,
            inlateout("r2") a => result, in("r3") b, in("r4") c,
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
            in("r1") number as Word,
            inlateout("r2") a => result, in("r3") b, in("r4") c, in("r5") d, in("r6") e, in("r7") f,
            options(nostack, preserves_flags)
        );
    }
    result as isize
}
