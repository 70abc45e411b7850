//! Under Miri only: the calls of [`helper`](super::helper), by functions of the C library that Miri
//! knows, since it cannot run assembly.
//!
//! It has no AIO: contexts there are those of a simulated kernel, which is asked before. There is
//! no fork either, so every page is wiped in all children.

use super::Word;
use crate::Errno;
use crate::abi::syscall::NATIVE;
use core::ffi::c_void;
use core::ptr;

unsafe extern "C" {
    fn mmap(
        start: *mut c_void,
        length: usize,
        protection: i32,
        flags: i32,
        fd: i32,
        offset: isize,
    ) -> *mut c_void;
    fn munmap(start: *mut c_void, length: usize) -> i32;
    fn read(fd: i32, buffer: *mut c_void, length: usize) -> isize;
    fn write(fd: i32, buffer: *const c_void, length: usize) -> isize;
    fn close(fd: i32) -> i32;
    safe fn eventfd(initial: u32, flags: i32) -> i32;
    safe fn getpid() -> i32;
    safe fn __errno_location() -> *mut i32;
}

/// The pointer that a word is.
fn pointer(word: Word) -> *mut c_void {
    ptr::with_exposed_provenance_mut(word as usize)
}

/// The answer of the kernel, of which the C library has made -1 and `errno`.
fn answer(returned: isize) -> isize {
    if returned != -1 {
        return returned;
    }
    // SAFETY: The thread's own, for as long as it runs.
    -(unsafe { *__errno_location() } as isize)
}

pub(super) unsafe fn syscall3(number: u32, a: Word, b: Word, c: Word) -> isize {
    if number == NATIVE.read {
        // SAFETY: The caller answers for what the call does.
        answer(unsafe { read(a as i32, pointer(b), c as usize) })
    } else if number == NATIVE.write {
        // SAFETY: The caller answers for what the call does.
        answer(unsafe { write(a as i32, pointer(b), c as usize) })
    } else if number == NATIVE.close {
        // SAFETY: The caller answers for what the call does.
        answer(unsafe { close(a as i32) } as isize)
    } else if number == NATIVE.munmap {
        // SAFETY: The caller answers for what the call does.
        answer(unsafe { munmap(pointer(a), b as usize) } as isize)
    } else if number == NATIVE.madvise {
        0
    } else if number == NATIVE.eventfd2 {
        answer(eventfd(a as u32, b as i32) as isize)
    } else if cfg!(target_arch = "s390x") && number == NATIVE.mmap {
        // This architecture takes the six arguments in memory.
        // SAFETY: The caller has put them there, and keeps them during the call.
        let [a, b, c, d, e, f] = unsafe { pointer(a).cast::<[Word; 6]>().read() };
        // SAFETY: The caller answers for what the call does.
        unsafe { syscall6(number, a, b, c, d, e, f) }
    } else if number == NATIVE.getpid {
        answer(getpid() as isize)
    } else {
        -(Errno::ENOSYS.as_raw() as isize)
    }
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
    if number != NATIVE.mmap {
        return -(Errno::ENOSYS.as_raw() as isize);
    }
    let _ = a; // Miri maps where it likes.
    let start = ptr::null_mut();
    // SAFETY: The caller answers for what the call does.
    let mapped = unsafe { mmap(start, b as usize, c as i32, d as i32, e as i32, f as isize) };
    answer(mapped.expose_provenance() as isize)
}
