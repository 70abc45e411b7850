//! `syscall 0` on LoongArch: the number in a7, arguments from a0, result in a0. The kernel may
//! change the temporaries t0 to t8.

use super::Word;
use core::arch::asm;

#[inline(always)]
pub(super) unsafe fn syscall3(number: u32, a: Word, b: Word, c: Word) -> isize {
    let result: Word;
    // SAFETY: The instruction itself is sound; the caller answers for what the call does.
    unsafe {
        asm!(
            "syscall 0",
            in("$a7") number as Word,
            inlateout("$a0") a => result, in("$a1") b, in("$a2") c,
            lateout("$t0") _, lateout("$t1") _, lateout("$t2") _, lateout("$t3") _,
            lateout("$t4") _, lateout("$t5") _, lateout("$t6") _, lateout("$t7") _,
            lateout("$t8") _,
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
            "syscall 0",
            in("$a7") number as Word,
            inlateout("$a0") a => result, in("$a1") b, in("$a2") c, in("$a3") d,
            in("$a4") e, in("$a5") f,
            lateout("$t0") _, lateout("$t1") _, lateout("$t2") _, lateout("$t3") _,
            lateout("$t4") _, lateout("$t5") _, lateout("$t6") _, lateout("$t7") _,
            lateout("$t8") _,
            options(nostack, preserves_flags)
        );
    }
    result as isize
}
