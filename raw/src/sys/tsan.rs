//! With `--cfg linux_aio_tsan` only: tells ThreadSanitizer what the kernel orders.
//!
//! It knows the C library's `mmap` and `munmap`, but not system calls in inline assembly. One
//! thread may give memory up, and the kernel may map the same address for another. The accesses of
//! the first then look like races with those of the second. In fact the kernel changes mappings one
//! after the other, under the lock of the address space, which orders them. This is that lock.
//!
//! It knows which thread uses a descriptor in the C library's calls, too, and takes one that is
//! closed without it for the one that has its number next. So descriptors are closed with it.

use super::{Word, arch};
use crate::abi::syscall::NATIVE;
use core::sync::atomic::{AtomicU32, Ordering};

unsafe extern "C" {
    fn close(fd: i32) -> i32;
    safe fn __errno_location() -> *mut i32;
}

/// `close(2)`, in a way that is noticed.
///
/// # Safety
/// The descriptor must be the caller's own.
unsafe fn noticed_close(fd: i32) -> isize {
    // SAFETY: The caller owns the descriptor, so no other code relies on its staying open.
    match unsafe { close(fd) } {
        // SAFETY: The C library gives each thread an `errno` of its own, aligned and valid for as
        // long as the thread runs.
        -1 => -(unsafe { *__errno_location() } as isize),
        done => done as isize,
    }
}

static MMAP_LOCK: AtomicU32 = AtomicU32::new(0);

/// Orders what this thread has done to memory before all that is done to it once it is mapped
/// again.
fn before(number: u32) {
    if number == NATIVE.io_destroy || number == NATIVE.munmap {
        MMAP_LOCK.fetch_add(1, Ordering::Release);
    }
}

fn after(number: u32) {
    if number == NATIVE.io_setup || number == NATIVE.mmap {
        MMAP_LOCK.load(Ordering::Acquire);
    }
}

pub(super) unsafe fn syscall3(number: u32, a: Word, b: Word, c: Word) -> isize {
    if number == NATIVE.close {
        // SAFETY: The caller owns the descriptor.
        return unsafe { noticed_close(a as i32) };
    }
    before(number);
    // SAFETY: The caller answers for what the call does.
    let result = unsafe { arch::syscall3(number, a, b, c) };
    after(number);
    result
}

pub(super) unsafe fn syscall6(
    number: u32,
    a: Word,
    b: Word,
    c: Word,
    d: Word,
    e: Word,
    f: Word,
) -> isize {
    before(number);
    // SAFETY: The caller answers for what the call does.
    let result = unsafe { arch::syscall6(number, a, b, c, d, e, f) };
    after(number);
    result
}
