//! [`Call`], the six system calls, and [`Availability`], whether this process has one.
//!
//! Each is made once with arguments that the kernel refuses before it does anything: there is no
//! context of number 0. `EINVAL` or `EFAULT` is then the kernel's own answer; any other comes from
//! somebody in between.

use core::fmt;
use core::ptr;
use linux_aio::abi::aio_context_t;
use linux_aio::{Errno, sys};

/// One of the six calls.
///
/// ```
/// use linux_aio_probe::Call;
///
/// for call in Call::ALL {
///     println!("{:<14} {}", call.name(), call.ask());
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// `io_setup(2)`: makes a context.
    IoSetup,
    /// `io_submit(2)`: starts operations.
    IoSubmit,
    /// `io_getevents(2)`: waits for events.
    IoGetevents,
    /// `io_pgetevents(2)`: waits for events under a signal mask. Since Linux 4.18. On 32-bit
    /// targets this stands for `io_pgetevents_time64` or the older form, whichever is there.
    IoPgetevents,
    /// `io_cancel(2)`: ends a POLL early.
    IoCancel,
    /// `io_destroy(2)`: ends a context.
    IoDestroy,
}

impl Call {
    /// All six, in the order of use.
    pub const ALL: [Self; 6] = [
        Self::IoSetup,
        Self::IoSubmit,
        Self::IoGetevents,
        Self::IoPgetevents,
        Self::IoCancel,
        Self::IoDestroy,
    ];

    /// Returns the name of its manual page.
    pub const fn name(self) -> &'static str {
        match self {
            Self::IoSetup => "io_setup",
            Self::IoSubmit => "io_submit",
            Self::IoGetevents => "io_getevents",
            Self::IoPgetevents => "io_pgetevents",
            Self::IoCancel => "io_cancel",
            Self::IoDestroy => "io_destroy",
        }
    }

    /// Finds out whether this process has the call. Makes it once, without effect.
    ///
    /// ```
    /// use linux_aio_probe::{Availability, Call};
    ///
    /// match Call::IoPgetevents.ask() {
    ///     Availability::There => println!("waits can swap the signal mask"),
    ///     other => println!("{}: {other}", Call::IoPgetevents),
    /// }
    /// ```
    pub fn ask(self) -> Availability {
        Availability::of(Errno::check(match self {
            Self::IoSetup => io_setup(),
            Self::IoSubmit => io_submit(),
            Self::IoGetevents => io_getevents(),
            Self::IoPgetevents => io_pgetevents(),
            Self::IoCancel => io_cancel(),
            Self::IoDestroy => io_destroy(),
        }))
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Says whether a process has a call.
///
/// ```
/// use linux_aio_probe::{Availability, Call};
///
/// match Call::IoSetup.ask() {
///     Availability::There => println!("the kernel answers"),
///     Availability::Missing => println!("a kernel without AIO, or a filter that hides it"),
///     Availability::Filtered(errno) => println!("a filter answers {errno:?}"),
///     other => println!("{other}"),
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Availability {
    /// The kernel answers.
    There,
    /// `ENOSYS`: the kernel does not have it, or a filter pretends so.
    Missing,
    /// Another answer than the kernel's own: a filter's, nearly always `EPERM`.
    Filtered(Errno),
}

impl Availability {
    fn of(answer: Result<usize, Errno>) -> Self {
        match answer {
            Ok(_) | Err(Errno::EINVAL | Errno::EFAULT) => Self::There,
            Err(Errno::ENOSYS) => Self::Missing,
            Err(errno) => Self::Filtered(errno),
        }
    }
}

impl fmt::Display for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::There => f.write_str("there"),
            Self::Missing => f.write_str("missing (ENOSYS)"),
            Self::Filtered(errno) => write!(f, "refused by a seccomp filter ({errno:?})"),
        }
    }
}

/// The number of no context: contexts are addresses, and the kernel maps none at 0.
const NO_CONTEXT: aio_context_t = 0;

fn io_setup() -> isize {
    let mut context: aio_context_t = 1;
    // SAFETY: `context` is valid for reads and writes. The call makes nothing: it wants a number of
    // events, and a zero in `context`.
    unsafe { sys::io_setup(0, &raw mut context) }
}

fn io_submit() -> isize {
    // SAFETY: An array of no pointers is valid, and names no memory.
    unsafe { sys::io_submit(NO_CONTEXT, 0, ptr::null()) }
}

#[cfg(not(target_arch = "riscv32"))]
fn io_getevents() -> isize {
    // SAFETY: No event is asked for, so none is written; there is no ring that somebody reads.
    unsafe { sys::io_getevents(NO_CONTEXT, 0, 0, ptr::null_mut(), ptr::null_mut()) }
}

/// This architecture has no such call; the one below takes its place everywhere.
#[cfg(target_arch = "riscv32")]
fn io_getevents() -> isize {
    io_pgetevents()
}

#[cfg(any(target_pointer_width = "64", target_arch = "x86_64"))]
fn io_pgetevents() -> isize {
    old_io_pgetevents()
}

#[cfg(all(target_pointer_width = "32", not(target_arch = "x86_64")))]
fn io_pgetevents() -> isize {
    // SAFETY: No event is asked for, so none is written; time and mask are null.
    let returned = unsafe {
        sys::io_pgetevents_time64(NO_CONTEXT, 0, 0, ptr::null_mut(), ptr::null_mut(), ptr::null())
    };
    #[cfg(not(target_arch = "riscv32"))]
    if Availability::of(Errno::check(returned)) != Availability::There {
        return old_io_pgetevents();
    }
    returned
}

#[cfg(not(target_arch = "riscv32"))]
fn old_io_pgetevents() -> isize {
    // SAFETY: No event is asked for, so none is written; time and mask are null; there is no ring
    // that somebody reads.
    unsafe { sys::io_pgetevents(NO_CONTEXT, 0, 0, ptr::null_mut(), ptr::null_mut(), ptr::null()) }
}

fn io_cancel() -> isize {
    // SAFETY: The result may be null, and the operation any address.
    unsafe { sys::io_cancel(NO_CONTEXT, ptr::null(), ptr::null_mut()) }
}

fn io_destroy() -> isize {
    // SAFETY: There is no such context, so there is no ring that somebody reads.
    unsafe { sys::io_destroy(NO_CONTEXT) }
}

#[cfg(test)]
mod tests {
    use super::Availability;
    use linux_aio::Errno;

    #[test]
    fn only_the_kernels_own_answers_count_as_there() {
        assert_eq!(Availability::of(Err(Errno::EINVAL)), Availability::There);
        assert_eq!(Availability::of(Err(Errno::EFAULT)), Availability::There);
        assert_eq!(Availability::of(Err(Errno::ENOSYS)), Availability::Missing);
        for errno in [Errno::EPERM, Errno::EACCES, Errno::EAGAIN] {
            assert_eq!(Availability::of(Err(errno)), Availability::Filtered(errno));
        }
    }
}
