//! Tells MemorySanitizer which memory of a program the kernel and this library write.
//!
//! MemorySanitizer sees neither system calls nor the code of this library. The kernel writes to the
//! buffers of reads while they are in flight. A program may free an iocb as soon as `io_submit` has
//! returned, so its buffers cannot be found at the event: they count as written from `io_submit`
//! on. Only machines with 64 bits have MemorySanitizer.
//!
//! It must never cost `io_submit` of other programs more than a look at one byte.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::ffi::{c_long, c_void};
use core::ptr;

use linux_aio_raw::abi::{IOCB_CMD_PREAD, IOCB_CMD_PREADV, iocb, iovec};

// The addresses of two functions of the sanitizer's runtime. They are null in a program without it.
global_asm!(
    ".weak __msan_unpoison",
    ".weak __msan_unpoison_param",
    ".pushsection .data.rel.ro.linux_aio_msan, \"aw\"",
    ".balign 8",
    "linux_aio_msan_unpoison: .dc.a __msan_unpoison",
    "linux_aio_msan_unpoison_param: .dc.a __msan_unpoison_param",
    ".popsection",
);
unsafe extern "C" {
    static linux_aio_msan_unpoison: Option<unsafe extern "C" fn(*const c_void, usize)>;
    static linux_aio_msan_unpoison_param: Option<unsafe extern "C" fn(usize)>;
}

/// The most vectors of an operation: the kernel refuses more.
const UIO_MAXIOV: usize = 1024;
/// The most bytes of an operation: the kernel transfers no more.
const MAX_RW_COUNT: usize = 0x7fff_f000;

/// Whether the program has the runtime. The byte is not atomic: the compiler makes two instructions
/// of an atomic load and a comparison, and one of a plain one.
static FOUND: Found = Found(UnsafeCell::new(false));

struct Found(UnsafeCell<bool>);

// SAFETY: Only `look` writes it, and its caller promises that no other function has been called.
unsafe impl Sync for Found {}

/// Finds out whether the program has the runtime.
///
/// # Safety
/// No other function of the library may have been called.
pub(crate) unsafe fn look() {
    // SAFETY: The static is defined above, and nobody writes it once the dynamic linker is done.
    let found = unsafe { linux_aio_msan_unpoison }.is_some();
    // SAFETY: Nobody else reads or writes it now, says the caller.
    unsafe { FOUND.0.get().write(found) };
}

/// Returns whether the program has the runtime.
#[inline(always)]
pub(crate) fn is_there() -> bool {
    // SAFETY: `look` was called before, or never is: nobody writes it now.
    unsafe { FOUND.0.get().read() }
}

/// Marks `count` values from `start` on as written.
pub(crate) fn wrote<T>(start: *const T, count: usize) {
    unpoison(start.cast(), count.wrapping_mul(size_of::<T>()));
}

/// Marks the `count` arguments of the next call as written. The caller is about to call a function
/// of the program.
pub(crate) fn will_pass(count: usize) {
    // SAFETY: The static is defined above, and nobody writes it once the dynamic linker is done.
    if let Some(unpoison) = unsafe { linux_aio_msan_unpoison_param } {
        // SAFETY: The function writes only to the runtime's own memory for arguments.
        unsafe { unpoison(count) };
    }
}

fn unpoison(start: *const c_void, length: usize) {
    // SAFETY: The static is defined above, and nobody writes it once the dynamic linker is done.
    if let Some(unpoison) = unsafe { linux_aio_msan_unpoison } {
        // SAFETY: The function takes any range of the program's memory, and writes only to the
        // runtime's own.
        unsafe { unpoison(start, length) };
    }
}

/// Marks the buffers of all reads among the operations as written.
///
/// # Safety
/// As [`io_submit`](crate::calls::io_submit).
pub(crate) unsafe fn will_write(nr: c_long, ios: *const *mut iocb) {
    if ios.is_null() {
        return;
    }
    for at in 0..nr.max(0) as usize {
        // SAFETY: The array has `nr` pointers, says the caller.
        let operation = unsafe { ios.wrapping_add(at).read_unaligned() };
        if operation.is_null() {
            // The kernel stops here, with EFAULT.
            return;
        }
        // SAFETY: The iocb is valid, says the caller; C may have it at any address.
        let operation = unsafe { operation.read_unaligned() };
        let buffer = ptr::with_exposed_provenance::<c_void>(operation.aio_buf as usize);
        let length = operation.aio_nbytes as usize;
        match operation.aio_lio_opcode {
            IOCB_CMD_PREAD => unpoison(buffer, length.min(MAX_RW_COUNT)),
            IOCB_CMD_PREADV if !buffer.is_null() && length <= UIO_MAXIOV => {
                for at in 0..length {
                    let place = buffer.cast::<iovec>().wrapping_add(at);
                    // SAFETY: The operation names `length` vectors, which the kernel reads, too;
                    // the caller answers for them.
                    let vector = unsafe { place.read_unaligned() };
                    let start = ptr::with_exposed_provenance(vector.iov_base);
                    unpoison(start, vector.iov_len.min(MAX_RW_COUNT));
                }
            }
            _ => (),
        }
    }
}
