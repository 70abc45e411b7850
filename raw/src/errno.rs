//! [`Errno`], the error number of a system call or of an operation.

use core::fmt;
use core::num::NonZeroU16;
use static_assertions::assert_eq_size;

assert_eq_size!(Result<u32, Errno>, u64);
assert_eq_size!(Option<Errno>, u16);

/// The error number of a system call or of an operation, and one state of our own, [`FORKED`].
///
/// A plain number: it converts to [`std::io::Error`] (feature `std`) and to
/// `rustix::io::Errno` (feature `alloc`), so `?` works in functions that
/// return either.
///
/// ```
/// use linux_aio_raw::Errno;
///
/// assert_eq!(Errno::EINVAL.raw(), 22);
/// assert_eq!(Errno::EINVAL.to_string(), "EINVAL: invalid argument");
/// ```
///
/// [`FORKED`]: Errno::FORKED
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Errno(NonZeroU16);

/// The largest number that the kernel returns as an error (`MAX_ERRNO`, `include/linux/err.h`).
const MAX_ERRNO: u16 = 4095;

/// The number of an error that is not the same everywhere: MIPS and SPARC count differently above
/// 34 (`arch/*/include/uapi/asm/errno.h`).
const fn by_architecture(generic: u16, mips: u16, sparc: u16) -> u16 {
    if cfg!(any(
        target_arch = "mips",
        target_arch = "mips32r6",
        target_arch = "mips64",
        target_arch = "mips64r6"
    )) {
        mips
    } else if cfg!(any(target_arch = "sparc", target_arch = "sparc64")) {
        sparc
    } else {
        generic
    }
}

macro_rules! errnos {
    ($($name:ident = $number:expr, $text:literal;)*) => {
        impl Errno {
            $(
                #[doc = concat!("`", stringify!($name), "`: ", $text, ".")]
                pub const $name: Self = Self::constant($number);
            )*

            /// The symbolic name and a short text, where the number is one that AIO is known to
            /// give.
            const fn describe(self) -> Option<(&'static str, &'static str)> {
                match self {
                    $(Self::$name => Some((stringify!($name), $text)),)*
                    _ => None,
                }
            }
        }
    };
}

errnos! {
    EPERM = 1, "operation not permitted (a filter may refuse the call)";
    ENOENT = 2, "no such file or directory";
    EINTR = 4, "interrupted by a signal";
    EIO = 5, "input/output error";
    ENXIO = 6, "no such device or address";
    EBADF = 9, "bad file descriptor, or not open for this direction";
    EAGAIN = 11, "no room or no data at present, try again";
    ENOMEM = 12, "out of memory";
    EACCES = 13, "permission denied";
    EFAULT = 14, "bad address";
    EBUSY = 16, "device or resource busy";
    ENODEV = 19, "no such device";
    EISDIR = 21, "is a directory";
    EINVAL = 22, "invalid argument";
    ENFILE = 23, "too many open files in the system";
    EMFILE = 24, "too many open files in the process";
    ETXTBSY = 26, "text file busy";
    EFBIG = 27, "file too large";
    ENOSPC = 28, "no space left on device";
    ESPIPE = 29, "the file cannot be positioned";
    EROFS = 30, "read-only file system";
    EPIPE = 32, "broken pipe";
    ENOSYS = by_architecture(38, 89, 90), "the kernel does not have the call";
    ENODATA = by_architecture(61, 61, 111), "no data available";
    EOVERFLOW = by_architecture(75, 79, 92), "value too large";
    EILSEQ = by_architecture(84, 88, 122), "data failed its integrity check";
    EOPNOTSUPP = by_architecture(95, 122, 45), "operation or flag not supported";
    ETIMEDOUT = by_architecture(110, 145, 60), "timed out";
    EINPROGRESS = by_architecture(115, 150, 36), "operation in progress";
    ESTALE = by_architecture(116, 151, 70), "stale file handle";
    EREMOTEIO = by_architecture(121, 140, 110), "remote input/output error";
    EDQUOT = by_architecture(122, 1133, 69), "disk quota exceeded";
    ECANCELED = by_architecture(125, 158, 127), "operation cancelled";
    FORKED = MAX_ERRNO + 1,
        "the context was made before fork() and belongs to the parent; make a new one";
}

impl Errno {
    /// The error of that number, or `None` for a number that no system call returns as an error
    /// (zero, negative, or above 4095).
    pub const fn from_raw(number: i32) -> Option<Self> {
        if number < 1 || number > MAX_ERRNO as i32 {
            return None;
        }
        match NonZeroU16::new(number as u16) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number, as in `<errno.h>`.
    ///
    /// For [`Errno::FORKED`], which is no kernel error, the number of `EINVAL`: it is what the
    /// kernel says in a child to whoever uses the parent's context.
    pub const fn raw(self) -> i32 {
        if self.0.get() > MAX_ERRNO {
            return Self::EINVAL.raw();
        }
        self.0.get() as i32
    }

    /// Turns what a system call returned into a result. Only -4095 to -1 are errors: a mapping in
    /// the upper half of a 32-bit address space is negative, too.
    ///
    /// # Errors
    /// The error that the call returned.
    #[inline]
    pub const fn check(returned: isize) -> Result<usize, Self> {
        if returned as usize <= usize::MAX - MAX_ERRNO as usize {
            return Ok(returned as usize);
        }
        Err(Self::from_negative(returned as i64))
    }

    /// Turns the `res` of an event into a result. A negative number that no kernel gives reads as
    /// `EIO`.
    ///
    /// # Errors
    /// The error that the operation ended with.
    #[inline]
    pub const fn check_result(res: i64) -> Result<u32, Self> {
        if res >= 0 {
            // A transfer is at most 2 GiB (MAX_RW_COUNT), and poll masks have 16 bits.
            return Ok(res as u32);
        }
        Err(Self::from_negative(res))
    }

    /// A negative number as an error; one that no kernel gives reads as `EIO`.
    #[cold]
    const fn from_negative(value: i64) -> Self {
        match value.checked_neg() {
            Some(number) if number <= MAX_ERRNO as i64 => Self::constant(number as u16),
            _ => Self::EIO,
        }
    }

    const fn constant(number: u16) -> Self {
        match NonZeroU16::new(number) {
            Some(number) => Self(number),
            None => panic!("zero is no error"),
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.describe() {
            Some((name, text)) => write!(f, "{name}: {text}"),
            None => write!(f, "errno {}", self.raw()),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.describe() {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "Errno({})", self.raw()),
        }
    }
}

impl core::error::Error for Errno {}

#[cfg(feature = "alloc")]
impl From<Errno> for rustix::io::Errno {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.raw())
    }
}

#[cfg(feature = "alloc")]
impl From<rustix::io::Errno> for Errno {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::from_raw(errno.raw_os_error()).unwrap_or(Self::EIO)
    }
}

#[cfg(feature = "std")]
impl From<Errno> for std::io::Error {
    fn from(errno: Errno) -> Self {
        if errno == Errno::FORKED {
            return Self::new(std::io::ErrorKind::InvalidInput, errno);
        }
        Self::from_raw_os_error(errno.raw())
    }
}

#[cfg(test)]
mod tests {
    use super::Errno;
    use std::string::ToString;

    #[test]
    fn numbers_match_the_c_library() {
        let pairs = [
            (Errno::EPERM, libc::EPERM),
            (Errno::ENOENT, libc::ENOENT),
            (Errno::EINTR, libc::EINTR),
            (Errno::EIO, libc::EIO),
            (Errno::ENXIO, libc::ENXIO),
            (Errno::EBADF, libc::EBADF),
            (Errno::EAGAIN, libc::EAGAIN),
            (Errno::ENOMEM, libc::ENOMEM),
            (Errno::EACCES, libc::EACCES),
            (Errno::EFAULT, libc::EFAULT),
            (Errno::EBUSY, libc::EBUSY),
            (Errno::ENODEV, libc::ENODEV),
            (Errno::EISDIR, libc::EISDIR),
            (Errno::EINVAL, libc::EINVAL),
            (Errno::ENFILE, libc::ENFILE),
            (Errno::EMFILE, libc::EMFILE),
            (Errno::ETXTBSY, libc::ETXTBSY),
            (Errno::EFBIG, libc::EFBIG),
            (Errno::ENOSPC, libc::ENOSPC),
            (Errno::ESPIPE, libc::ESPIPE),
            (Errno::EROFS, libc::EROFS),
            (Errno::EPIPE, libc::EPIPE),
            (Errno::ENOSYS, libc::ENOSYS),
            (Errno::ENODATA, libc::ENODATA),
            (Errno::EOVERFLOW, libc::EOVERFLOW),
            (Errno::EILSEQ, libc::EILSEQ),
            (Errno::EOPNOTSUPP, libc::EOPNOTSUPP),
            (Errno::ETIMEDOUT, libc::ETIMEDOUT),
            (Errno::EINPROGRESS, libc::EINPROGRESS),
            (Errno::ESTALE, libc::ESTALE),
            (Errno::EREMOTEIO, libc::EREMOTEIO),
            (Errno::EDQUOT, libc::EDQUOT),
            (Errno::ECANCELED, libc::ECANCELED),
        ];
        for (ours, theirs) in pairs {
            assert_eq!(ours.raw(), theirs, "{ours}");
        }
    }

    #[test]
    fn only_the_kernels_range_becomes_an_error() {
        for number in [i32::MIN, -1, 0, 4096, i32::MAX] {
            assert_eq!(Errno::from_raw(number), None, "{number}");
        }
        for number in 1..=4095 {
            assert_eq!(Errno::from_raw(number).map(Errno::raw), Some(number));
        }
    }

    #[test]
    fn results_beyond_the_errno_range_are_still_errors() {
        assert_eq!(Errno::check_result(-22), Err(Errno::EINVAL));
        assert_eq!(Errno::check_result(-4096), Err(Errno::EIO));
        assert_eq!(Errno::check_result(i64::MIN), Err(Errno::EIO));
        assert_eq!(Errno::check_result(4096), Ok(4096));
        assert_eq!(Errno::check_result(0x7fff_f000), Ok(0x7fff_f000));
        assert_eq!(Errno::check(-4095).map_err(Errno::raw), Err(4095));
    }

    #[test]
    fn an_address_in_the_upper_half_is_no_error() {
        assert_eq!(Errno::check(-4096), Ok(usize::MAX - 4095));
        assert_eq!(Errno::check(isize::MIN), Ok(isize::MIN as usize));
        assert_eq!(Errno::check(-1), Err(Errno::EPERM));
    }

    #[test]
    fn forked_reads_as_einval_to_who_wants_a_number() {
        assert_ne!(Errno::FORKED, Errno::EINVAL);
        assert_eq!(Errno::FORKED.raw(), Errno::EINVAL.raw());
        assert!(Errno::FORKED.to_string().contains("fork"));
    }
}
