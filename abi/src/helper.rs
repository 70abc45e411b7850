//! Arguments of the few system calls beside the six that an AIO library makes: eventfd2, mmap,
//! madvise, openat, kill, futex and sync_file_range.
//!
//! It must never grow into a general table of constants. What is here was compared with the
//! kernel's headers of each architecture; where an architecture has a value of its own, the
//! documentation says so.

/// Close the file descriptor on exec (`asm/fcntl.h`, `openat(2)`): 0x80000, but 0x400000 on SPARC.
#[cfg(not(any(target_arch = "sparc", target_arch = "sparc64")))]
pub const O_CLOEXEC: i32 = 0x8_0000;
/// Close the file descriptor on exec (`asm/fcntl.h`, `openat(2)`): 0x80000, but 0x400000 on SPARC.
#[cfg(any(target_arch = "sparc", target_arch = "sparc64"))]
pub const O_CLOEXEC: i32 = 0x40_0000;

/// Open for reading only (`asm/fcntl.h`, `openat(2)`).
pub const O_RDONLY: i32 = 0;
/// The directory argument that stands for the current directory (`linux/fcntl.h`, `openat(2)`).
pub const AT_FDCWD: i32 = -100;

/// Close the eventfd on exec (`linux/eventfd.h`, `eventfd2(2)`): [`O_CLOEXEC`], and with it
/// different on SPARC.
pub const EFD_CLOEXEC: i32 = O_CLOEXEC;

/// `EAGAIN` rather than waiting (`linux/eventfd.h`, `eventfd2(2)`), the `O_NONBLOCK` of the
/// architecture: 0x800, but 0x80 on MIPS and 0x4000 on SPARC.
#[cfg(not(any(
    target_arch = "mips",
    target_arch = "mips32r6",
    target_arch = "mips64",
    target_arch = "mips64r6",
    target_arch = "sparc",
    target_arch = "sparc64"
)))]
pub const EFD_NONBLOCK: i32 = 0x800;
/// `EAGAIN` rather than waiting (`linux/eventfd.h`, `eventfd2(2)`), the `O_NONBLOCK` of the
/// architecture: 0x800, but 0x80 on MIPS and 0x4000 on SPARC.
#[cfg(any(
    target_arch = "mips",
    target_arch = "mips32r6",
    target_arch = "mips64",
    target_arch = "mips64r6"
))]
pub const EFD_NONBLOCK: i32 = 0x80;
/// `EAGAIN` rather than waiting (`linux/eventfd.h`, `eventfd2(2)`), the `O_NONBLOCK` of the
/// architecture: 0x800, but 0x80 on MIPS and 0x4000 on SPARC.
#[cfg(any(target_arch = "sparc", target_arch = "sparc64"))]
pub const EFD_NONBLOCK: i32 = 0x4000;

/// No access (`asm/mman.h`, `mmap(2)`).
pub const PROT_NONE: i32 = 0;
/// The pages can be read (`asm/mman.h`, `mmap(2)`).
pub const PROT_READ: i32 = 1;
/// The pages can be written (`asm/mman.h`, `mmap(2)`).
pub const PROT_WRITE: i32 = 2;
/// Changes are the process's own (`linux/mman.h`, `mmap(2)`).
pub const MAP_PRIVATE: i32 = 2;
/// Zeroed memory without a file (`asm/mman.h`, `mmap(2)`): 0x20, but 0x800 on MIPS.
#[cfg(not(any(
    target_arch = "mips",
    target_arch = "mips32r6",
    target_arch = "mips64",
    target_arch = "mips64r6"
)))]
pub const MAP_ANONYMOUS: i32 = 0x20;
/// Zeroed memory without a file (`asm/mman.h`, `mmap(2)`): 0x20, but 0x800 on MIPS.
#[cfg(any(
    target_arch = "mips",
    target_arch = "mips32r6",
    target_arch = "mips64",
    target_arch = "mips64r6"
))]
pub const MAP_ANONYMOUS: i32 = 0x800;

/// A forked child does not have the pages (`asm/mman.h`, `madvise(2)`).
pub const MADV_DONTFORK: i32 = 10;
/// Undoes [`MADV_DONTFORK`] (`asm/mman.h`, `madvise(2)`).
pub const MADV_DOFORK: i32 = 11;
/// A forked child finds the pages zeroed (`asm/mman.h`, `madvise(2)`, Linux 4.14); private
/// anonymous memory only.
pub const MADV_WIPEONFORK: i32 = 18;
/// Undoes [`MADV_WIPEONFORK`] (`asm/mman.h`, `madvise(2)`, Linux 4.14).
pub const MADV_KEEPONFORK: i32 = 19;

/// Ends a process without asking it (`asm/signal.h`, `kill(2)`).
pub const SIGKILL: i32 = 9;

/// Sleep while the word has the value given (`linux/futex.h`, `futex(2)`).
pub const FUTEX_WAIT: i32 = 0;
/// Wake sleepers on the word (`linux/futex.h`, `futex(2)`).
pub const FUTEX_WAKE: i32 = 1;
/// The word is not shared with another process (`linux/futex.h`, `futex(2)`).
pub const FUTEX_PRIVATE_FLAG: i32 = 128;

/// Wait for the writes of the range's pages that have begun (`linux/fs.h`, `sync_file_range(2)`).
pub const SYNC_FILE_RANGE_WAIT_BEFORE: u32 = 1;
/// Begin to write the range's dirty pages (`linux/fs.h`, `sync_file_range(2)`).
pub const SYNC_FILE_RANGE_WRITE: u32 = 2;
/// Wait for these writes (`linux/fs.h`, `sync_file_range(2)`).
pub const SYNC_FILE_RANGE_WAIT_AFTER: u32 = 4;
