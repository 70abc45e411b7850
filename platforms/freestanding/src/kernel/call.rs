//! The instruction that enters the kernel, with its registers, on each architecture.
//!
//! The result is the kernel's word: a value, or a negative errno. No block is `nomem` or
//! `readonly`: the kernel reads and writes memory. All five arguments are always passed; the kernel
//! ignores those that a call does not have.

use core::arch::asm;

/// What fits a register: an address, except on x32, where registers are wider.
#[cfg(not(target_arch = "x86_64"))]
pub(super) type Word = usize;
/// What fits a register: an address, except on x32, where registers are wider.
#[cfg(target_arch = "x86_64")]
pub(super) type Word = u64;

/// Calls the kernel.
///
/// # Safety
/// As the call's manual page says: where an argument is an address, the memory there must be valid
/// for what the call does with it.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn syscall(number: Word, [a, b, c, d, e]: [Word; 5]) -> isize {
    let word: Word;
    // SAFETY: The caller vouches for the memory; the kernel changes only these registers.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => word,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    word as isize
}

/// Calls the kernel.
///
/// # Safety
/// As the call's manual page says: where an argument is an address, the memory there must be valid
/// for what the call does with it.
#[cfg(target_arch = "x86")]
pub(super) unsafe fn syscall(number: Word, [a, b, c, d, e]: [Word; 5]) -> isize {
    let word: isize;
    // `esi` cannot be an operand: LLVM keeps it for itself.
    // SAFETY: The caller vouches for the memory; the kernel changes `eax` only, and `esi` is put
    // back as it was.
    unsafe {
        asm!(
            "xchg esi, {d}",
            "int 0x80",
            "xchg esi, {d}",
            d = inout(reg) d => _,
            inlateout("eax") number => word,
            in("ebx") a,
            in("ecx") b,
            in("edx") c,
            in("edi") e,
            options(nostack),
        );
    }
    word
}

/// Calls the kernel.
///
/// # Safety
/// As the call's manual page says: where an argument is an address, the memory there must be valid
/// for what the call does with it.
#[cfg(target_arch = "arm")]
pub(super) unsafe fn syscall(number: Word, [a, b, c, d, e]: [Word; 5]) -> isize {
    let word: isize;
    // `r7` cannot be an operand in Thumb code, where it is the frame pointer.
    // SAFETY: The caller vouches for the memory; the kernel changes `r0` only, and `r7` is put
    // back as it was.
    unsafe {
        asm!(
            "mov {saved}, r7",
            "mov r7, {number}",
            "svc 0",
            "mov r7, {saved}",
            saved = out(reg) _,
            number = in(reg) number,
            inlateout("r0") a => word,
            in("r1") b,
            in("r2") c,
            in("r3") d,
            in("r4") e,
            options(nostack),
        );
    }
    word
}

/// Calls the kernel.
///
/// # Safety
/// As the call's manual page says: where an argument is an address, the memory there must be valid
/// for what the call does with it.
#[cfg(target_arch = "aarch64")]
pub(super) unsafe fn syscall(number: Word, [a, b, c, d, e]: [Word; 5]) -> isize {
    let word: isize;
    // SAFETY: The caller vouches for the memory; the kernel changes `x0` only.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a => word,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            in("x4") e,
            options(nostack),
        );
    }
    word
}

/// Calls the kernel.
///
/// # Safety
/// As the call's manual page says: where an argument is an address, the memory there must be valid
/// for what the call does with it.
#[cfg(any(target_arch = "riscv32", target_arch = "riscv64"))]
pub(super) unsafe fn syscall(number: Word, [a, b, c, d, e]: [Word; 5]) -> isize {
    let word: isize;
    // SAFETY: The caller vouches for the memory; the kernel changes `a0` only.
    unsafe {
        asm!(
            "ecall",
            in("a7") number,
            inlateout("a0") a => word,
            in("a1") b,
            in("a2") c,
            in("a3") d,
            in("a4") e,
            options(nostack),
        );
    }
    word
}

/// Calls the kernel.
///
/// # Safety
/// As the call's manual page says: where an argument is an address, the memory there must be valid
/// for what the call does with it.
#[cfg(target_arch = "loongarch64")]
pub(super) unsafe fn syscall(number: Word, [a, b, c, d, e]: [Word; 5]) -> isize {
    let word: isize;
    // SAFETY: The caller vouches for the memory; the kernel changes `$a0` and the temporaries.
    unsafe {
        asm!(
            "syscall 0",
            in("$a7") number,
            inlateout("$a0") a => word,
            in("$a1") b,
            in("$a2") c,
            in("$a3") d,
            in("$a4") e,
            lateout("$t0") _,
            lateout("$t1") _,
            lateout("$t2") _,
            lateout("$t3") _,
            lateout("$t4") _,
            lateout("$t5") _,
            lateout("$t6") _,
            lateout("$t7") _,
            lateout("$t8") _,
            options(nostack),
        );
    }
    word
}

/// Calls the kernel.
///
/// # Safety
/// As the call's manual page says: where an argument is an address, the memory there must be valid
/// for what the call does with it.
#[cfg(target_arch = "s390x")]
pub(super) unsafe fn syscall(number: Word, [a, b, c, d, e]: [Word; 5]) -> isize {
    let word: isize;
    // SAFETY: The caller vouches for the memory; the kernel changes `r2` and the condition code.
    unsafe {
        asm!(
            "svc 0",
            in("r1") number,
            inlateout("r2") a => word,
            in("r3") b,
            in("r4") c,
            in("r5") d,
            in("r6") e,
            options(nostack),
        );
    }
    word
}

/// Calls the kernel.
///
/// # Safety
/// As the call's manual page says: where an argument is an address, the memory there must be valid
/// for what the call does with it.
#[cfg(any(target_arch = "powerpc", target_arch = "powerpc64"))]
pub(super) unsafe fn syscall(number: Word, [a, b, c, d, e]: [Word; 5]) -> isize {
    let word: isize;
    // The kernel gives a positive errno and says by the summary overflow bit that it is one.
    // SAFETY: The caller vouches for the memory; the kernel changes the volatile registers only,
    // all of which are named.
    unsafe {
        asm!(
            "sc",
            "bns+ 2f",
            "neg 3, 3",
            "2:",
            inlateout("r0") number => _,
            inlateout("r3") a => word,
            inlateout("r4") b => _,
            inlateout("r5") c => _,
            inlateout("r6") d => _,
            inlateout("r7") e => _,
            lateout("r8") _,
            lateout("r9") _,
            lateout("r10") _,
            lateout("r11") _,
            lateout("r12") _,
            lateout("cr0") _,
            lateout("ctr") _,
            lateout("xer") _,
            options(nostack),
        );
    }
    word
}
