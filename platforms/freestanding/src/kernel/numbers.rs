//! What differs between architectures: the numbers of the calls, two flags of `open`, and the
//! record of `rt_sigaction`.

#[cfg(target_arch = "x86_64")]
use core::arch::global_asm;

#[cfg(any(
    target_arch = "aarch64",
    target_arch = "riscv32",
    target_arch = "riscv64",
    target_arch = "loongarch64"
))]
mod table {
    use crate::kernel::call::Word;

    pub const EVENTFD2: Word = 19;
    pub const MOUNT: Word = 40;
    pub const OPENAT: Word = 56;
    pub const CLOSE: Word = 57;
    pub const PIPE2: Word = 59;
    pub const READ: Word = 63;
    pub const WRITE: Word = 64;
    pub const PREADV: Word = 69;
    pub const EXIT_GROUP: Word = 94;
    pub const WAITID: Word = 95;
    pub const SLEEP: Word = if Word::BITS == 32 { 407 } else { 101 };
    pub const SETITIMER: Word = 103;
    pub const KILL: Word = 129;
    pub const RT_SIGACTION: Word = 134;
    pub const RT_SIGPROCMASK: Word = 135;
    pub const REBOOT: Word = 142;
    pub const UNAME: Word = 160;
    pub const GETPID: Word = 172;
    pub const CLONE: Word = 220;
    pub const FINIT_MODULE: Word = 273;
    pub const STATX: Word = 291;
}

#[cfg(target_arch = "x86_64")]
mod table {
    use crate::kernel::call::Word;

    /// x32 calls are those of x86-64 with this bit; a few have numbers of their own.
    const X32: Word = if usize::BITS == 32 { 0x4000_0000 } else { 0 };
    const fn number(x86_64: Word, x32: Word) -> Word {
        if usize::BITS == 32 { X32 | x32 } else { x86_64 }
    }
    pub const READ: Word = number(0, 0);
    pub const WRITE: Word = number(1, 1);
    pub const CLOSE: Word = number(3, 3);
    pub const RT_SIGACTION: Word = number(13, 512);
    pub const RT_SIGPROCMASK: Word = number(14, 14);
    pub const RT_SIGRETURN: Word = number(15, 513);
    pub const SLEEP: Word = number(35, 35);
    pub const SETITIMER: Word = number(38, 38);
    pub const GETPID: Word = number(39, 39);
    pub const CLONE: Word = number(56, 56);
    pub const KILL: Word = number(62, 62);
    pub const UNAME: Word = number(63, 63);
    pub const MOUNT: Word = number(165, 165);
    pub const REBOOT: Word = number(169, 169);
    pub const EXIT_GROUP: Word = number(231, 231);
    pub const WAITID: Word = number(247, 529);
    pub const OPENAT: Word = number(257, 257);
    pub const EVENTFD2: Word = number(290, 290);
    pub const PIPE2: Word = number(293, 293);
    pub const PREADV: Word = number(295, 534);
    pub const FINIT_MODULE: Word = number(313, 313);
    pub const STATX: Word = number(332, 332);
}

#[cfg(target_arch = "x86")]
mod table {
    use crate::kernel::call::Word;

    pub const READ: Word = 3;
    pub const WRITE: Word = 4;
    pub const CLOSE: Word = 6;
    pub const GETPID: Word = 20;
    pub const MOUNT: Word = 21;
    pub const KILL: Word = 37;
    pub const REBOOT: Word = 88;
    pub const SETITIMER: Word = 104;
    pub const CLONE: Word = 120;
    pub const UNAME: Word = 122;
    pub const RT_SIGACTION: Word = 174;
    pub const RT_SIGPROCMASK: Word = 175;
    pub const EXIT_GROUP: Word = 252;
    pub const WAITID: Word = 284;
    pub const OPENAT: Word = 295;
    pub const EVENTFD2: Word = 328;
    pub const PIPE2: Word = 331;
    pub const PREADV: Word = 333;
    pub const FINIT_MODULE: Word = 350;
    pub const STATX: Word = 383;
    pub const SLEEP: Word = 407;
}

#[cfg(target_arch = "arm")]
mod table {
    use crate::kernel::call::Word;

    pub const READ: Word = 3;
    pub const WRITE: Word = 4;
    pub const CLOSE: Word = 6;
    pub const GETPID: Word = 20;
    pub const MOUNT: Word = 21;
    pub const KILL: Word = 37;
    pub const REBOOT: Word = 88;
    pub const SETITIMER: Word = 104;
    pub const CLONE: Word = 120;
    pub const UNAME: Word = 122;
    pub const RT_SIGACTION: Word = 174;
    pub const RT_SIGPROCMASK: Word = 175;
    pub const EXIT_GROUP: Word = 248;
    pub const WAITID: Word = 280;
    pub const OPENAT: Word = 322;
    pub const EVENTFD2: Word = 356;
    pub const PIPE2: Word = 359;
    pub const PREADV: Word = 361;
    pub const FINIT_MODULE: Word = 379;
    pub const STATX: Word = 397;
    pub const SLEEP: Word = 407;
}

#[cfg(target_arch = "s390x")]
mod table {
    use crate::kernel::call::Word;

    pub const READ: Word = 3;
    pub const WRITE: Word = 4;
    pub const CLOSE: Word = 6;
    pub const GETPID: Word = 20;
    pub const MOUNT: Word = 21;
    pub const KILL: Word = 37;
    pub const REBOOT: Word = 88;
    pub const SETITIMER: Word = 104;
    pub const CLONE: Word = 120;
    pub const UNAME: Word = 122;
    pub const SLEEP: Word = 162;
    pub const RT_SIGACTION: Word = 174;
    pub const RT_SIGPROCMASK: Word = 175;
    pub const EXIT_GROUP: Word = 248;
    pub const WAITID: Word = 281;
    pub const OPENAT: Word = 288;
    pub const EVENTFD2: Word = 323;
    pub const PIPE2: Word = 325;
    pub const PREADV: Word = 328;
    pub const FINIT_MODULE: Word = 344;
    pub const STATX: Word = 379;
}

#[cfg(any(target_arch = "powerpc", target_arch = "powerpc64"))]
mod table {
    use crate::kernel::call::Word;

    pub const READ: Word = 3;
    pub const WRITE: Word = 4;
    pub const CLOSE: Word = 6;
    pub const GETPID: Word = 20;
    pub const MOUNT: Word = 21;
    pub const KILL: Word = 37;
    pub const REBOOT: Word = 88;
    pub const SETITIMER: Word = 104;
    pub const CLONE: Word = 120;
    pub const UNAME: Word = 122;
    pub const SLEEP: Word = if Word::BITS == 32 { 407 } else { 162 };
    pub const RT_SIGACTION: Word = 173;
    pub const RT_SIGPROCMASK: Word = 174;
    pub const EXIT_GROUP: Word = 234;
    pub const WAITID: Word = 272;
    pub const OPENAT: Word = 286;
    pub const EVENTFD2: Word = 314;
    pub const PIPE2: Word = 317;
    pub const PREADV: Word = 320;
    pub const FINIT_MODULE: Word = 353;
    pub const STATX: Word = 383;
}

pub(super) use table::*;

use super::call::Word;

/// `io_uring_setup` has the same number everywhere, but for the bit of x32.
pub(super) const IO_URING_SETUP: Word =
    if cfg!(target_arch = "x86_64") && usize::BITS == 32 { 0x4000_0000 | 425 } else { 425 };

/// C's `long` in the records of the kernel.
#[cfg(not(target_arch = "x86_64"))]
pub(super) type Long = isize;
/// C's `long` in the records of the kernel: 64 bits on x32 too.
#[cfg(target_arch = "x86_64")]
pub(super) type Long = i64;

/// Past the caches, straight to the device.
#[cfg(any(target_arch = "arm", target_arch = "aarch64"))]
pub const O_DIRECT: u32 = 0o200_000;
/// Past the caches, straight to the device.
#[cfg(any(target_arch = "powerpc", target_arch = "powerpc64"))]
pub const O_DIRECT: u32 = 0o400_000;
/// Past the caches, straight to the device.
#[cfg(not(any(
    target_arch = "arm",
    target_arch = "aarch64",
    target_arch = "powerpc",
    target_arch = "powerpc64"
)))]
pub const O_DIRECT: u32 = 0o40_000;

/// Allows offsets past 2 GiB; 64-bit architectures always do.
pub(super) const O_LARGEFILE: u32 = if usize::BITS == 64 {
    0
} else if cfg!(target_arch = "arm") {
    0o400_000
} else if cfg!(any(target_arch = "powerpc", target_arch = "powerpc64")) {
    0o200_000
} else {
    0o100_000
};

/// The flags of a signal's action. x86-64 alone asks that the program return from handlers itself.
pub(super) const SA_FLAGS: usize = if cfg!(target_arch = "x86_64") { 0x0400_0000 } else { 0 };

#[cfg(target_arch = "x86_64")]
global_asm!(
    "return_from_handler:",
    "mov eax, {number}",
    "syscall",
    number = const table::RT_SIGRETURN,
);

/// The address of the code that returns from a handler, where the kernel has none of its own.
pub(super) fn restorer() -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        unsafe extern "C" {
            fn return_from_handler();
        }
        (return_from_handler as *const ()).expose_provenance()
    }
    #[cfg(not(target_arch = "x86_64"))]
    0
}
