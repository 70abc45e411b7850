//! `int 0x80` on i386: the number in eax, arguments in ebx, ecx, edx, esi, edi and ebp.
//!
//! esi and ebp belong to the compiler and cannot be operands, so a call with six arguments loads
//! them from memory between a push and a pop.

use super::Word;
use core::arch::asm;

#[inline(always)]
pub(super) unsafe fn syscall3(number: u32, a: Word, b: Word, c: Word) -> isize {
    let result: Word;
    // SAFETY: The instruction itself is sound; the caller answers for what the call does.
    unsafe {
        asm!(
            "int 0x80",
            inlateout("eax") number as Word => result,
            in("ebx") a, in("ecx") b, in("edx") c,
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
    let in_memory: [Word; 3] = [number as Word, d, f];
    let result: Word;
    // SAFETY: The instruction itself is sound; the caller answers for what the call does.
    unsafe {
        asm!(
            "push esi",
            "push ebp",
            "mov esi, [eax + 4]",
            "mov ebp, [eax + 8]",
            "mov eax, [eax]",
            "int 0x80",
            "pop ebp",
            "pop esi",
            inlateout("eax") &raw const in_memory => result,
            in("ebx") a, in("ecx") b, in("edx") c, in("edi") e,
            options(preserves_flags)
        );
    }
    result as isize
}
