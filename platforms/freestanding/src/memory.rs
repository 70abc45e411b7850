//! The functions that compiled code calls for copying, filling and comparing memory.
//!
//! Every loop reads or writes volatile, since the compiler recognises a plain one as the very
//! function that it is in and would make it call itself.
//!
//! # Safety
//! As in C: the memory named must be valid for what the function does with it, `n` bytes long, and
//! the two blocks of `memcpy` must not overlap.

/// C's `memcpy`.
///
/// # Safety
/// See the module.
// SAFETY: The name and the signature are those of C's function, and so is the behaviour.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    for at in 0..n {
        // SAFETY: `at` is below `n`, and the caller vouches for `n` bytes to read.
        let byte = unsafe { from.wrapping_add(at).read_volatile() };
        // SAFETY: `at` is below `n`, and the caller vouches for `n` bytes to write.
        unsafe { to.wrapping_add(at).write(byte) };
    }
    to
}

/// C's `memmove`.
///
/// # Safety
/// See the module.
// SAFETY: The name and the signature are those of C's function, and so is the behaviour.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    if to.addr() <= from.addr() {
        // SAFETY: As the caller says; overlapping blocks are right too, since `memcpy` goes
        // upwards byte by byte, and so reads each byte before it is overwritten.
        return unsafe { memcpy(to, from, n) };
    }
    for at in (0..n).rev() {
        // SAFETY: `at` is below `n`, and the caller vouches for `n` bytes to read.
        let byte = unsafe { from.wrapping_add(at).read_volatile() };
        // SAFETY: `at` is below `n`, and the caller vouches for `n` bytes to write.
        unsafe { to.wrapping_add(at).write(byte) };
    }
    to
}

/// C's `memset`.
///
/// # Safety
/// See the module.
// SAFETY: The name and the signature are those of C's function, and so is the behaviour.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, n: usize) -> *mut u8 {
    for at in 0..n {
        // SAFETY: `at` is below `n`, and the caller vouches for `n` bytes to write.
        unsafe { to.wrapping_add(at).write_volatile(value as u8) };
    }
    to
}

/// C's `memcmp`.
///
/// # Safety
/// See the module.
// SAFETY: The name and the signature are those of C's function, and so is the behaviour.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, n: usize) -> i32 {
    for at in 0..n {
        // SAFETY: `at` is below `n`, and the caller vouches for `n` bytes to read.
        let one = unsafe { left.wrapping_add(at).read_volatile() };
        // SAFETY: As for the other block.
        let other = unsafe { right.wrapping_add(at).read_volatile() };
        if one != other {
            return i32::from(one) - i32::from(other);
        }
    }
    0
}

/// BSD's `bcmp`, which compilers call where only equality matters.
///
/// # Safety
/// See the module.
// SAFETY: The name and the signature are those of C's function, and so is the behaviour.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, n: usize) -> i32 {
    // SAFETY: As the caller says.
    unsafe { memcmp(left, right, n) }
}

/// C's `strlen`, which `CStr` calls.
///
/// # Safety
/// There must be a zero at `text` or after it, and everything up to it must be valid for reads.
// SAFETY: The name and the signature are those of C's function, and so is the behaviour.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: No byte before this one was zero, so that it is one that the caller vouches for.
    while unsafe { text.wrapping_add(length).read_volatile() } != 0 {
        length += 1;
    }
    length
}
