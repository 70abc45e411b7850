//! Reads the switch at run time, the environment variable `LINUX_AIO_REAP`, when the library is
//! loaded.
//!
//! Later may be too late. Before its first `io_setup` a program may change its user, enter a chroot
//! without /proc, call `clearenv`, or write its title over the strings.
//!
//! The variable counts in programs with the set-user-ID bit, too. It chooses between two ways to
//! the same events, and gives nobody a privilege.
//!
//! It must never rely on a C library. A program without one has no environment, and gets the
//! default.

use core::arch::global_asm;
use core::ffi::{c_char, c_int};
use core::ptr;
use core::sync::atomic::AtomicU8;
use core::sync::atomic::Ordering::Relaxed;

use super::valgrind;

/// The string that turns reaping off, with its end.
const OFF: &[u8] = b"LINUX_AIO_REAP=0\0";

/// Whether the variable has been read, and what it says.
static SWITCH: AtomicU8 = AtomicU8::new(NOT_READ);
const NOT_READ: u8 = 0;
const READ_ON: u8 = 1;
const READ_OFF: u8 = 2;

/// Returns whether events may be taken without a system call.
///
/// Under valgrind they may not: valgrind marks a buffer as written when it sees the system call
/// that takes its event.
pub(crate) fn is_on() -> bool {
    // The constructor of another library may run before this library's, and make a context.
    if SWITCH.load(Relaxed) == NOT_READ {
        // SAFETY: `environ` of POSIX is an array of strings with a null pointer at its end, or
        // null.
        unsafe { read(c_environment()) };
    }
    SWITCH.load(Relaxed) != READ_OFF && !valgrind::is_running()
}

/// Reads the variable before the program can lose it.
///
/// glibc passes these arguments to constructors. This library does not name the C library as
/// needed, so its constructor may run before glibc has set `environ`. musl sets `environ` first and
/// passes nothing. The arguments are then whatever the registers hold, which is hardly an
/// environment that begins where an argument list ends.
///
/// # Safety
/// If `environment` begins right behind the `count` arguments and their null pointer, it must be
/// that of the process.
pub(crate) unsafe fn loaded(
    count: c_int,
    arguments: *const *const c_char,
    environment: Environment,
) {
    let known = c_environment();
    let behind = arguments.wrapping_offset(count as isize).wrapping_add(1);
    let environment = if known.is_null() && environment == behind { environment } else { known };
    // SAFETY: `environ` of POSIX is an array of strings with a null pointer at its end, or null. So
    // is the environment that the kernel puts behind the arguments.
    unsafe { read(environment) };
}

/// An array of strings with a null pointer at its end, or null.
pub(crate) type Environment = *const *const c_char;

// The address of the C library's variable. It is null in a static program without a C library.
global_asm!(
    ".weak environ",
    ".pushsection .data.rel.ro.linux_aio_environ, \"aw\"",
    ".balign 8",
    "linux_aio_environ: .dc.a environ",
    ".popsection",
);
unsafe extern "C" {
    static linux_aio_environ: *const Environment;
}

/// Returns the value of the C library's `environ`. It is null if there is no such variable, or
/// nobody has set it.
fn c_environment() -> Environment {
    // SAFETY: The static is defined above, and nobody writes it once the dynamic linker is done.
    let variable = unsafe { linux_aio_environ };
    if variable.is_null() {
        return ptr::null();
    }
    // SAFETY: `environ` of POSIX is a variable of this type. POSIX forbids a thread to change it
    // while others may read it.
    unsafe { variable.read() }
}

/// Reads the variable from `environment`. If the variable is there more than once, each string
/// counts.
///
/// # Safety
/// `environment` must be null or an array of strings with a null pointer at its end, which nobody
/// writes to meanwhile.
unsafe fn read(environment: Environment) {
    let mut place = environment;
    let mut switch = READ_ON;
    while !place.is_null() {
        // SAFETY: The loop ends at the null pointer, and the array is valid up to there, says the
        // caller.
        let string = unsafe { place.read() };
        if string.is_null() {
            break;
        }
        // SAFETY: The array holds strings, says the caller.
        if unsafe { is_off(string) } {
            switch = READ_OFF;
        }
        place = place.wrapping_add(1);
    }
    SWITCH.store(switch, Relaxed);
}

/// Returns whether `string` is [`OFF`].
///
/// # Safety
/// `string` must end with a zero byte and be valid for reads up to that.
unsafe fn is_off(string: *const c_char) -> bool {
    let string = string.cast::<u8>();
    // SAFETY: `all` stops at the first byte that differs from `OFF`, whose only zero byte is its
    // last. So it reads no byte behind the end of the string.
    OFF.iter().enumerate().all(|(at, &byte)| unsafe { string.wrapping_add(at).read() } == byte)
}
