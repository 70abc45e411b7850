//! `svc 0` on ARM (EABI): the number in r7, arguments from r0, result in r0.
//!
//! r7 is the frame pointer of Thumb code and cannot be an operand there, so it is swapped in by
//! hand.

use super::Word;
use core::arch::asm;

#[inline(always)]
pub(super) unsafe fn syscall3(number: u32, a: Word, b: Word, c: Word) -> isize {
    let result: Word;
    // SAFETY: The instruction itself is sound; the caller answers for what the call does.
    unsafe {
        asm!(
            "mov {keep}, r7",
            "mov r7, {number}",
            "svc 0",
            "mov r7, {keep}",
            keep = out(reg) _, number = in(reg) number,
            inlateout("r0") a => result, in("r1") b, in("r2") c,
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
            "mov {keep}, r7",
            "mov r7, {number}",
            "svc 0",
            "mov r7, {keep}",
            keep = out(reg) _, number = in(reg) number,
            inlateout("r0") a => result, in("r1") b, in("r2") c, in("r3") d, in("r4") e, in("r5") f,
            options(nostack, preserves_flags)
        );
    }
    result as isize
}
