//! The few other calls that an AIO library without a C library needs, by the same stubs: memory, a
//! descriptor or two, a sleep, and what the page cache has.

use super::{Word, address, syscall3, syscall6};
use crate::abi::helper::{
    AT_FDCWD, MADV_WIPEONFORK, MAP_ANONYMOUS, MAP_PRIVATE, O_CLOEXEC, O_RDONLY, PROT_READ,
    PROT_WRITE, SIGKILL,
};
use crate::abi::syscall::NATIVE;
use core::ffi::CStr;
use core::ptr;

/// `mmap(2)` of private, zeroed, readable and writable memory: its address or a negative errno.
pub fn mmap_anonymous(length: usize) -> isize {
    mmap_anonymous_near(ptr::null(), length)
}

/// [`mmap_anonymous`] at `start` if nothing is mapped there, else wherever the kernel likes.
pub fn mmap_anonymous_near(start: *const u8, length: usize) -> isize {
    const PROTECTION: Word = (PROT_READ | PROT_WRITE) as Word;
    const FLAGS: Word = (MAP_PRIVATE | MAP_ANONYMOUS) as Word;
    const NO_FD: Word = Word::MAX;

    let start = address(start);
    #[cfg(target_arch = "s390x")]
    {
        // This architecture takes the six arguments in memory.
        let arguments: [Word; 6] = [start, length as Word, PROTECTION, FLAGS, NO_FD, 0];
        // SAFETY: Without MAP_FIXED a new mapping touches no memory in use; `arguments` lives
        // during the call.
        unsafe { syscall3(NATIVE.mmap, address(&raw const arguments), 0, 0) }
    }
    #[cfg(not(target_arch = "s390x"))]
    // SAFETY: Without MAP_FIXED a new mapping touches no memory in use.
    unsafe {
        syscall6(NATIVE.mmap, start, length as Word, PROTECTION, FLAGS, NO_FD, 0)
    }
}

/// [`mmap_anonymous`] memory that is zero in every child of `fork` (`MADV_WIPEONFORK`). `None`
/// where the kernel gives none, or cannot wipe it (before 4.14).
pub fn mmap_wiped_on_fork(length: usize) -> Option<*mut u8> {
    let address = mmap_anonymous(length);
    if is_error(address) {
        return None;
    }
    let start = ptr::with_exposed_provenance_mut::<u8>(address as usize);
    // SAFETY: The pages were mapped above and shown to nobody, so a child may find them zeroed.
    if !unsafe { wipe_on_fork(start, length) } {
        // SAFETY: This thread has mapped the pages and shown them to nobody.
        unsafe { munmap(start, length) };
        return None;
    }
    Some(start)
}

/// Makes the kernel zero these pages in every child of `fork`. Returns `false` if the kernel
/// refuses: before 4.14, or if the pages are those of a file.
///
/// # Safety
/// The pages must be the caller's, and code that uses them in a child must expect zeros there.
pub unsafe fn wipe_on_fork(start: *mut u8, length: usize) -> bool {
    // SAFETY: The advice changes only what a child will see, which the caller has arranged for.
    !is_error(unsafe { madvise(start, length, MADV_WIPEONFORK) })
}

/// Returns whether a call has failed, even if it is one that returns an address.
pub fn is_error(result: isize) -> bool {
    (-4095..0).contains(&result)
}

/// `munmap(2)`.
///
/// # Safety
/// Nobody may use the pages any more.
pub unsafe fn munmap(start: *mut u8, length: usize) -> isize {
    // SAFETY: The caller promises that nobody uses the pages any more, so taking them away breaks
    // no reference. The call reads no memory.
    unsafe { syscall3(NATIVE.munmap, address(start), length as Word, 0) }
}

/// `madvise(2)`.
///
/// # Safety
/// The pages must be the caller's, and the advice one that does not take their content away from
/// somebody who relies on it.
pub unsafe fn madvise(start: *mut u8, length: usize, advice: i32) -> isize {
    // SAFETY: The caller vouches for the pages and the advice.
    unsafe { syscall3(NATIVE.madvise, address(start), length as Word, advice as Word) }
}

/// `eventfd2(2)`: the new descriptor or a negative errno.
pub(crate) fn eventfd2(initial: u32, flags: i32) -> isize {
    // SAFETY: The call takes two numbers, touches no memory, and gives a descriptor that nobody
    // else has.
    unsafe { syscall3(NATIVE.eventfd2, initial as Word, flags as Word, 0) }
}

/// `read(2)` into `buffer`.
pub(crate) fn read(fd: i32, buffer: &mut [u8]) -> isize {
    // SAFETY: The memory is borrowed for writing; the callers here read their own descriptors.
    unsafe { read_to(fd, buffer.as_mut_ptr(), buffer.len()) }
}

/// `read(2)` into memory that need not be initialized.
///
/// # Safety
/// `start` must be valid for writes of `length` bytes, and the descriptor one that the caller may
/// read from.
pub unsafe fn read_to(fd: i32, start: *mut u8, length: usize) -> isize {
    // SAFETY: The kernel writes at most `length` bytes, which the caller allows.
    unsafe { syscall3(NATIVE.read, fd as Word, address(start), length as Word) }
}

/// `write(2)` from `buffer`.
pub(crate) fn write(fd: i32, buffer: &[u8]) -> isize {
    let (start, length) = (address(buffer.as_ptr()), buffer.len() as Word);
    // SAFETY: The kernel reads at most `length` bytes of a buffer borrowed for reading.
    unsafe { syscall3(NATIVE.write, fd as Word, start, length) }
}

/// `close(2)`.
///
/// # Safety
/// The descriptor must be the caller's own.
pub unsafe fn close(fd: i32) -> isize {
    // SAFETY: The caller owns the descriptor and gives it up.
    unsafe { syscall3(NATIVE.close, fd as Word, 0, 0) }
}

/// Counts the pages of a range of a file that are in the page cache, by `cachestat(2)`, which does
/// no I/O. `None` where the kernel does not tell: before 6.5, or without the right to write.
pub fn cached_pages(fd: i32, offset: u64, len: u64) -> Option<u64> {
    /// A call this young has one number everywhere, to which x32 and MIPS add their own.
    const NR: u32 = 451
        + match NATIVE.eventfd2 {
            x32 if x32 >= 0x4000_0000 => 0x4000_0000,
            mips if mips >= 4000 => mips / 1000 * 1000,
            _ => 0,
        };
    if cfg!(miri) {
        return None;
    }
    // `cachestat_range` and `cachestat` of `linux/mman.h`.
    let (range, mut counts) = ([offset, len], [0_u64; 5]);
    let (range, to) = (address(&raw const range), address(&raw mut counts));
    // SAFETY: The kernel reads 16 bytes of `range` and writes 40 bytes to `counts`, both of which
    // live during the call. It uses the descriptor to look only.
    let result = unsafe { syscall6(NR, fd as Word, range, to, 0, 0, 0) };
    (result == 0).then_some(counts[0])
}

/// `openat(2)` for reading, close-on-exec: the new descriptor or a negative errno.
pub fn open_for_reading(path: &CStr) -> isize {
    const FLAGS: Word = (O_RDONLY | O_CLOEXEC) as Word;
    // SAFETY: `path` is a string that ends in a zero byte and lives during the call.
    unsafe { syscall3(NATIVE.openat, AT_FDCWD as Word, address(path.as_ptr()), FLAGS) }
}

/// `sync_file_range(2)`: 0 or a negative errno.
///
/// # Safety
/// The descriptor must be one that the caller may use.
pub unsafe fn sync_file_range(fd: i32, offset: u64, length: u64, flags: u32) -> isize {
    #[cfg(any(target_arch = "mips", target_arch = "mips32r6"))]
    // SAFETY: The caller vouches for the descriptor; the call touches no memory.
    unsafe {
        super::arch::sync_file_range(fd, offset, length, flags)
    }
    #[cfg(not(any(target_arch = "mips", target_arch = "mips32r6")))]
    {
        const NR: u32 = match NATIVE.sync_file_range2 {
            Some(number) => number,
            None => super::number(NATIVE.sync_file_range),
        };
        let (fd, flags) = (fd as Word, flags as Word);
        // Where the flags come second, pairs of registers begin at an even one.
        let flags_second = NATIVE.sync_file_range2.is_some();
        #[cfg(any(target_pointer_width = "64", target_arch = "x86_64"))]
        let [a, b, c, d, e] = match (offset as Word, length as Word) {
            (offset, length) if flags_second => [flags, offset, length, 0, 0],
            (offset, length) => [offset, length, flags, 0, 0],
        };
        #[cfg(not(any(target_pointer_width = "64", target_arch = "x86_64")))]
        let [a, b, c, d, e] = match (words(offset), words(length)) {
            ([a, b], [c, d]) if flags_second => [flags, a, b, c, d],
            ([a, b], [c, d]) => [a, b, c, d, flags],
        };
        // SAFETY: The caller vouches for the descriptor; the call touches no memory.
        unsafe { syscall6(NR, fd, a, b, c, d, e) }
    }
}

/// A number of 64 bits as two words, in the order in which they would lie in memory.
#[cfg(not(any(
    target_pointer_width = "64",
    target_arch = "x86_64",
    target_arch = "mips",
    target_arch = "mips32r6"
)))]
fn words(number: u64) -> [Word; 2] {
    let (low, high) = (number as Word, (number >> 32) as Word);
    if cfg!(target_endian = "big") { [high, low] } else { [low, high] }
}

/// Sleeps for so many nanoseconds, which must be less than a second, or until a signal.
#[cfg(target_pointer_width = "64")]
pub fn sleep(nanoseconds: u32) {
    use crate::abi::__kernel_old_timespec;
    use crate::abi::helper::{FUTEX_PRIVATE_FLAG, FUTEX_WAIT};

    const NR: u32 = super::number(NATIVE.futex);
    const OPERATION: Word = (FUTEX_WAIT | FUTEX_PRIVATE_FLAG) as Word;
    let word = 0_u32;
    let time = __kernel_old_timespec { tv_sec: 0, tv_nsec: nanoseconds as isize };
    let (word, time) = (address(&raw const word), address(&raw const time));
    // SAFETY: The word, which has the value waited on and which nobody wakes, and the time are read
    // during the call only.
    unsafe { syscall6(NR, word, OPERATION, 0, time, 0, 0) };
}

/// `getpid(2)`.
pub(crate) fn getpid() -> isize {
    // SAFETY: No argument, no memory.
    unsafe { syscall3(NATIVE.getpid, 0, 0, 0) }
}

/// `kill(2)` of this process with SIGKILL. Returns only if the kernel refuses.
pub fn kill_self() {
    #[cfg(feature = "sim")]
    if let Some(kernel) = super::sim::installed() {
        kernel.process_is_killed();
    }
    // SAFETY: Two numbers; the process ends, and with it everything that could be unsound.
    unsafe { syscall3(NATIVE.kill, getpid() as Word, SIGKILL as Word, 0) };
}
