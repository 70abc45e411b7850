//! The numbers of the system calls that an AIO library makes, for every Linux architecture that
//! Rust has a target for.
//!
//! It must never hold a number that is not in the kernel's `asm/unistd.h` of that architecture, and
//! never make a call.

/// System call numbers of one architecture.
///
/// `None` means that the architecture has no such call. A number does not mean that the running
/// kernel has it: `io_pgetevents` came with Linux 4.18, `io_pgetevents_time64` and `futex_time64`
/// with Linux 5.1, and a filter can refuse any of them.
///
/// ```
/// use linux_aio_abi::syscall::{AARCH64, RISCV32, X86_64};
///
/// assert_eq!((X86_64.io_submit, AARCH64.io_submit), (209, 2));
/// assert_eq!(RISCV32.io_getevents, None); // It has `io_pgetevents_time64` alone.
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Syscalls {
    /// `io_setup(2)`.
    pub io_setup: u32,
    /// `io_destroy(2)`.
    pub io_destroy: u32,
    /// `io_submit(2)`.
    pub io_submit: u32,
    /// `io_cancel(2)`.
    pub io_cancel: u32,
    /// `io_getevents(2)`, which takes a [`__kernel_old_timespec`](crate::__kernel_old_timespec).
    pub io_getevents: Option<u32>,
    /// `io_pgetevents(2)`, which takes a [`__kernel_old_timespec`](crate::__kernel_old_timespec).
    pub io_pgetevents: Option<u32>,
    /// `io_pgetevents(2)` with a [`__kernel_timespec`](crate::__kernel_timespec), on 32-bit
    /// architectures.
    pub io_pgetevents_time64: Option<u32>,
    /// `eventfd2(2)`.
    pub eventfd2: u32,
    /// `mmap2(2)` where the architecture has it, otherwise `mmap(2)`.
    ///
    /// The unit of the offset differs between them and between architectures. So use it with offset
    /// 0. s390x wants all six arguments in memory, and their address in the first register.
    pub mmap: u32,
    /// `munmap(2)`.
    pub munmap: u32,
    /// `madvise(2)`.
    pub madvise: u32,
    /// `kill(2)`.
    pub kill: u32,
    /// `getpid(2)`.
    pub getpid: u32,
    /// `read(2)`.
    pub read: u32,
    /// `write(2)`.
    pub write: u32,
    /// `close(2)`.
    pub close: u32,
    /// `openat(2)`.
    pub openat: u32,
    /// `sync_file_range(2)`.
    pub sync_file_range: Option<u32>,
    /// `sync_file_range2(2)`, whose flags are the second argument, on architectures that put
    /// 64-bit arguments into pairs of registers.
    pub sync_file_range2: Option<u32>,
    /// `futex(2)` with a [`__kernel_old_timespec`](crate::__kernel_old_timespec).
    pub futex: Option<u32>,
    /// `futex(2)` with a [`__kernel_timespec`](crate::__kernel_timespec), on 32-bit architectures.
    pub futex_time64: Option<u32>,
}

/// x86-64 (`arch/x86/entry/syscalls/syscall_64.tbl`).
pub const X86_64: Syscalls = Syscalls {
    io_setup: 206,
    io_destroy: 207,
    io_submit: 209,
    io_cancel: 210,
    io_getevents: Some(208),
    io_pgetevents: Some(333),
    io_pgetevents_time64: None,
    eventfd2: 290,
    mmap: 9,
    munmap: 11,
    madvise: 28,
    kill: 62,
    getpid: 39,
    read: 0,
    write: 1,
    close: 3,
    openat: 257,
    sync_file_range: Some(277),
    sync_file_range2: None,
    futex: Some(202),
    futex_time64: None,
};

/// x32: 32-bit pointers on x86-64 (`arch/x86/entry/syscalls/syscall_64.tbl`). Each
/// number has bit 30 set.
pub const X32: Syscalls = Syscalls {
    io_setup: 0x4000_0000 + 543,
    io_destroy: 0x4000_0000 + 207,
    io_submit: 0x4000_0000 + 544,
    io_cancel: 0x4000_0000 + 210,
    io_getevents: Some(0x4000_0000 + 208),
    io_pgetevents: Some(0x4000_0000 + 333),
    io_pgetevents_time64: None,
    eventfd2: 0x4000_0000 + 290,
    mmap: 0x4000_0000 + 9,
    munmap: 0x4000_0000 + 11,
    madvise: 0x4000_0000 + 28,
    kill: 0x4000_0000 + 62,
    getpid: 0x4000_0000 + 39,
    read: 0x4000_0000,
    write: 0x4000_0000 + 1,
    close: 0x4000_0000 + 3,
    openat: 0x4000_0000 + 257,
    sync_file_range: Some(0x4000_0000 + 277),
    sync_file_range2: None,
    futex: Some(0x4000_0000 + 202),
    futex_time64: None,
};

/// 32-bit x86 (`arch/x86/entry/syscalls/syscall_32.tbl`).
pub const I386: Syscalls = Syscalls {
    io_setup: 245,
    io_destroy: 246,
    io_submit: 248,
    io_cancel: 249,
    io_getevents: Some(247),
    io_pgetevents: Some(385),
    io_pgetevents_time64: Some(416),
    eventfd2: 328,
    mmap: 192,
    munmap: 91,
    madvise: 219,
    kill: 37,
    getpid: 20,
    read: 3,
    write: 4,
    close: 6,
    openat: 295,
    sync_file_range: Some(314),
    sync_file_range2: None,
    futex: Some(240),
    futex_time64: Some(422),
};

/// 32-bit ARM with the EABI (`arch/arm/tools/syscall.tbl`).
pub const ARM: Syscalls = Syscalls {
    io_setup: 243,
    io_destroy: 244,
    io_submit: 246,
    io_cancel: 247,
    io_getevents: Some(245),
    io_pgetevents: Some(399),
    io_pgetevents_time64: Some(416),
    eventfd2: 356,
    mmap: 192,
    munmap: 91,
    madvise: 220,
    kill: 37,
    getpid: 20,
    read: 3,
    write: 4,
    close: 6,
    openat: 322,
    sync_file_range: None,
    sync_file_range2: Some(341),
    futex: Some(240),
    futex_time64: Some(422),
};

/// The numbers for 64 bits in the table that younger architectures share (`scripts/syscall.tbl`).
const GENERIC: Syscalls = Syscalls {
    io_setup: 0,
    io_destroy: 1,
    io_submit: 2,
    io_cancel: 3,
    io_getevents: Some(4),
    io_pgetevents: Some(292),
    io_pgetevents_time64: None,
    eventfd2: 19,
    mmap: 222,
    munmap: 215,
    madvise: 233,
    kill: 129,
    getpid: 172,
    read: 63,
    write: 64,
    close: 57,
    openat: 56,
    sync_file_range: Some(84),
    sync_file_range2: None,
    futex: Some(98),
    futex_time64: None,
};

/// 64-bit ARM (`scripts/syscall.tbl`).
pub const AARCH64: Syscalls = GENERIC;

/// 32-bit RISC-V (`scripts/syscall.tbl`), which has no call with a 32-bit time.
pub const RISCV32: Syscalls = Syscalls {
    io_getevents: None,
    io_pgetevents: None,
    io_pgetevents_time64: Some(416),
    futex: None,
    futex_time64: Some(422),
    ..GENERIC
};

/// 64-bit RISC-V (`scripts/syscall.tbl`).
pub const RISCV64: Syscalls = GENERIC;

/// 64-bit LoongArch (`scripts/syscall.tbl`).
pub const LOONGARCH64: Syscalls = GENERIC;

/// 64-bit s390 (`arch/s390/kernel/syscalls/syscall.tbl`). Its mmap takes one argument, the address
/// of six words.
pub const S390X: Syscalls = Syscalls {
    io_setup: 243,
    io_destroy: 244,
    io_submit: 246,
    io_cancel: 247,
    io_getevents: Some(245),
    io_pgetevents: Some(382),
    io_pgetevents_time64: None,
    eventfd2: 323,
    mmap: 90,
    munmap: 91,
    madvise: 219,
    kill: 37,
    getpid: 20,
    read: 3,
    write: 4,
    close: 6,
    openat: 288,
    sync_file_range: Some(307),
    sync_file_range2: None,
    futex: Some(238),
    futex_time64: None,
};

/// 32-bit PowerPC (`arch/powerpc/kernel/syscalls/syscall.tbl`).
pub const POWERPC: Syscalls = Syscalls {
    io_setup: 227,
    io_destroy: 228,
    io_submit: 230,
    io_cancel: 231,
    io_getevents: Some(229),
    io_pgetevents: Some(388),
    io_pgetevents_time64: Some(416),
    eventfd2: 314,
    mmap: 192,
    munmap: 91,
    madvise: 205,
    kill: 37,
    getpid: 20,
    read: 3,
    write: 4,
    close: 6,
    openat: 286,
    sync_file_range: None,
    sync_file_range2: Some(308),
    futex: Some(221),
    futex_time64: Some(422),
};

/// 64-bit PowerPC of both byte orders (`arch/powerpc/kernel/syscalls/syscall.tbl`).
pub const POWERPC64: Syscalls =
    Syscalls { io_pgetevents_time64: None, mmap: 90, futex_time64: None, ..POWERPC };

/// 32-bit MIPS, the o32 ABI (`arch/mips/kernel/syscalls/syscall_o32.tbl`, from 4000 on).
pub const MIPS: Syscalls = Syscalls {
    io_setup: 4241,
    io_destroy: 4242,
    io_submit: 4244,
    io_cancel: 4245,
    io_getevents: Some(4243),
    io_pgetevents: Some(4368),
    io_pgetevents_time64: Some(4416),
    eventfd2: 4325,
    mmap: 4210,
    munmap: 4091,
    madvise: 4218,
    kill: 4037,
    getpid: 4020,
    read: 4003,
    write: 4004,
    close: 4006,
    openat: 4288,
    sync_file_range: Some(4305),
    sync_file_range2: None,
    futex: Some(4238),
    futex_time64: Some(4422),
};

/// 64-bit MIPS, the n64 ABI (`arch/mips/kernel/syscalls/syscall_n64.tbl`, from 5000 on).
pub const MIPS64: Syscalls = Syscalls {
    io_setup: 5200,
    io_destroy: 5201,
    io_submit: 5203,
    io_cancel: 5204,
    io_getevents: Some(5202),
    io_pgetevents: Some(5328),
    io_pgetevents_time64: None,
    eventfd2: 5284,
    mmap: 5009,
    munmap: 5011,
    madvise: 5027,
    kill: 5060,
    getpid: 5038,
    read: 5000,
    write: 5001,
    close: 5003,
    openat: 5247,
    sync_file_range: Some(5264),
    sync_file_range2: None,
    futex: Some(5194),
    futex_time64: None,
};

/// 32-bit SPARC (`arch/sparc/kernel/syscalls/syscall.tbl`).
pub const SPARC: Syscalls = Syscalls {
    io_setup: 268,
    io_destroy: 269,
    io_submit: 270,
    io_cancel: 271,
    io_getevents: Some(272),
    io_pgetevents: Some(361),
    io_pgetevents_time64: Some(416),
    eventfd2: 318,
    mmap: 56,
    munmap: 73,
    madvise: 75,
    kill: 37,
    getpid: 20,
    read: 3,
    write: 4,
    close: 6,
    openat: 284,
    sync_file_range: Some(255),
    sync_file_range2: None,
    futex: Some(142),
    futex_time64: Some(422),
};

/// 64-bit SPARC (`arch/sparc/kernel/syscalls/syscall.tbl`).
pub const SPARC64: Syscalls =
    Syscalls { io_pgetevents_time64: None, mmap: 71, futex_time64: None, ..SPARC };

/// Motorola 68000 (`arch/m68k/kernel/syscalls/syscall.tbl`), which has io_pgetevents_time64 but not
/// io_pgetevents.
pub const M68K: Syscalls = Syscalls {
    io_setup: 241,
    io_destroy: 242,
    io_submit: 244,
    io_cancel: 245,
    io_getevents: Some(243),
    io_pgetevents: None,
    io_pgetevents_time64: Some(416),
    eventfd2: 324,
    mmap: 192,
    munmap: 91,
    madvise: 238,
    kill: 37,
    getpid: 20,
    read: 3,
    write: 4,
    close: 6,
    openat: 288,
    sync_file_range: Some(307),
    sync_file_range2: None,
    futex: Some(235),
    futex_time64: Some(422),
};

/// C-SKY (`scripts/syscall.tbl`).
pub const CSKY: Syscalls = Syscalls {
    io_pgetevents_time64: Some(416),
    sync_file_range: None,
    sync_file_range2: Some(84),
    futex_time64: Some(422),
    ..GENERIC
};

/// Hexagon (`scripts/syscall.tbl`).
pub const HEXAGON: Syscalls = CSKY;

/// Every table with its name, which is the architecture's in this crate's golden files.
pub const TABLES: &[(&str, &Syscalls)] = &[
    ("x86_64", &X86_64),
    ("x32", &X32),
    ("i386", &I386),
    ("arm", &ARM),
    ("aarch64", &AARCH64),
    ("riscv32", &RISCV32),
    ("riscv64", &RISCV64),
    ("loongarch64", &LOONGARCH64),
    ("s390x", &S390X),
    ("powerpc", &POWERPC),
    ("powerpc64", &POWERPC64),
    ("mips", &MIPS),
    ("mips64", &MIPS64),
    ("sparc", &SPARC),
    ("sparc64", &SPARC64),
    ("m68k", &M68K),
    ("csky", &CSKY),
    ("hexagon", &HEXAGON),
];

/// Declares `NATIVE`, the table of the target: of each table, the condition for that.
macro_rules! native {
    ($($table:ident: $target:meta,)*) => {$(
        #[doc = concat!(
            "The numbers of the architecture that this is compiled for: [`",
            stringify!($table),
            "`]."
        )]
        #[cfg(all(any(target_os = "linux", target_os = "android"), $target))]
        pub const NATIVE: Syscalls = $table;
    )*};
}

native! {
    X86_64: all(target_arch = "x86_64", target_pointer_width = "64"),
    X32: all(target_arch = "x86_64", target_pointer_width = "32"),
    I386: target_arch = "x86",
    ARM: target_arch = "arm",
    AARCH64: all(target_arch = "aarch64", target_pointer_width = "64"),
    RISCV32: target_arch = "riscv32",
    RISCV64: target_arch = "riscv64",
    LOONGARCH64: target_arch = "loongarch64",
    S390X: target_arch = "s390x",
    POWERPC: target_arch = "powerpc",
    POWERPC64: target_arch = "powerpc64",
    MIPS: any(target_arch = "mips", target_arch = "mips32r6"),
    MIPS64: all(
        any(target_arch = "mips64", target_arch = "mips64r6"),
        target_pointer_width = "64"
    ),
    SPARC: target_arch = "sparc",
    SPARC64: target_arch = "sparc64",
    M68K: target_arch = "m68k",
    CSKY: target_arch = "csky",
    HEXAGON: target_arch = "hexagon",
}
