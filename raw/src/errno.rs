//! [`Errno`], the error number of a system call or of an operation.

mod table;

#[cfg(feature = "std")]
use crate::Diagnosis;
use core::fmt;
use core::num::NonZeroU16;
use static_assertions::assert_eq_size;

assert_eq_size!(Result<u32, Errno>, u64);
assert_eq_size!(Option<Errno>, u16);

/// The error number of a system call or of an operation, and two states of our own, [`FORKED`] and
/// [`EXHAUSTED`].
///
/// A plain number: it converts to [`std::io::Error`] (feature `std`) and to
/// `rustix::io::Errno` (feature `alloc`), so `?` works in functions that
/// return either.
///
/// ```
/// use linux_aio_raw::Errno;
///
/// assert_eq!(Errno::EINVAL.as_raw(), 22);
/// assert_eq!(Errno::EINVAL.to_string(), "EINVAL: invalid argument");
/// ```
///
/// [`FORKED`]: Errno::FORKED
/// [`EXHAUSTED`]: Errno::EXHAUSTED
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Errno(NonZeroU16);

/// The largest number that the kernel returns as an error (`MAX_ERRNO`, `include/linux/err.h`).
const MAX_ERRNO: u16 = 4095;

impl Errno {
    /// Returns the error of that number, or `None` for a number that no system call returns as an
    /// error (zero, negative, or above 4095).
    ///
    /// ```
    /// use linux_aio_raw::Errno;
    ///
    /// assert_eq!(Errno::from_raw(Errno::EIO.as_raw()), Some(Errno::EIO));
    /// assert_eq!(Errno::from_raw(0), None);
    /// ```
    pub const fn from_raw(number: i32) -> Option<Self> {
        if number < 1 || number > MAX_ERRNO as i32 {
            return None;
        }
        match NonZeroU16::new(number as u16) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Returns the number, as in `<errno.h>`.
    ///
    /// For [`Errno::FORKED`], which is no kernel error, the number of `EINVAL`: it is what the
    /// kernel says in a child to whoever uses the parent's context. For [`Errno::EXHAUSTED`], the
    /// number of `ENOMEM`: that of `EAGAIN` would say that a retry may succeed at once.
    pub const fn as_raw(self) -> i32 {
        match self {
            Self::FORKED => Self::EINVAL.as_raw(),
            Self::EXHAUSTED => Self::ENOMEM.as_raw(),
            _ => self.0.get() as i32,
        }
    }

    /// Turns what a system call returned into a result. Only -4095 to -1 are errors: a mapping in
    /// the upper half of a 32-bit address space is negative, too.
    ///
    /// # Errors
    /// The error that the call returned.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_aio_raw::{Errno, sys};
    ///
    /// // SAFETY: The call names no context, and reads nothing.
    /// let returned = unsafe { sys::io_submit(0, 0, std::ptr::null()) };
    /// assert_eq!(Errno::check(returned), Err(Errno::EINVAL));
    /// assert_eq!(Errno::check(7), Ok(7));
    /// ```
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

    /// Returns a negative number as an error; one that no kernel gives reads as `EIO`.
    #[cold]
    const fn from_negative(value: i64) -> Self {
        match value.checked_neg() {
            Some(number) if number <= MAX_ERRNO as i64 => Self::constant(number as u16),
            _ => Self::EIO,
        }
    }

    /// Returns the symbolic name and a short text.
    fn describe(self) -> Option<(&'static str, &'static str)> {
        table::describe(self.0.get())
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
            None => write!(f, "errno {}", self.as_raw()),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.describe() {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "Errno({})", self.as_raw()),
        }
    }
}

impl core::error::Error for Errno {}

#[cfg(feature = "alloc")]
impl From<Errno> for rustix::io::Errno {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.as_raw())
    }
}

#[cfg(feature = "alloc")]
impl From<rustix::io::Errno> for Errno {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::from_raw(errno.raw_os_error()).unwrap_or(Self::EIO)
    }
}

#[cfg(feature = "std")]
impl Errno {
    /// Returns the errno of an `io::Error`, if it has one. It is the errno of the system, or of an
    /// error of this library that the `io::Error` was made of. An error of this library can also be
    /// a source of it.
    ///
    /// [`raw_os_error`](std::io::Error::raw_os_error) gives `None` for the latter two, since an
    /// `io::Error` holds either a number or an explanation.
    ///
    /// ```
    /// use linux_aio_raw::{Errno, Iocb};
    /// use std::io;
    ///
    /// let failed = io::Error::from(Iocb::fsync(3).diagnose(Errno::ENOSPC));
    /// assert_eq!(failed.kind(), io::ErrorKind::StorageFull);
    /// assert_eq!(failed.raw_os_error(), None);
    /// assert_eq!(Errno::from_io_error(&failed), Some(Errno::ENOSPC));
    /// assert_eq!(Errno::from_io_error(&Errno::ENOSPC.into()), Some(Errno::ENOSPC));
    /// assert_eq!(Errno::from_io_error(&io::Error::other("no errno")), None);
    /// ```
    pub fn from_io_error(error: &std::io::Error) -> Option<Self> {
        if let Some(number) = error.raw_os_error() {
            return Self::from_raw(number);
        }
        let mut cause: Option<&(dyn core::error::Error + 'static)> = Some(error.get_ref()?);
        while let Some(error) = cause {
            if let Some(&errno) = error.downcast_ref() {
                return Some(errno);
            }
            if let Some(error) = error.downcast_ref() {
                return Self::from_io_error(error);
            }
            // These have the errno in their text, and so not as a source.
            if let Some(error) = error.downcast_ref::<Diagnosis>() {
                return Some(error.errno());
            }
            if let Some(error) = error.downcast_ref::<Explained>() {
                return Some(error.errno);
            }
            cause = error.source();
        }
        None
    }

    /// Makes an error of a text that says the errno. For `linux-aio` alone. Not part of the public
    /// interface.
    #[doc(hidden)]
    pub fn explained(self, text: alloc::string::String) -> std::io::Error {
        std::io::Error::new(std::io::Error::from(self).kind(), Explained { errno: self, text })
    }
}

/// An errno and a text that says it. A source would say it again in the texts of chains of errors.
#[cfg(feature = "std")]
#[derive(Debug)]
struct Explained {
    errno: Errno,
    text: alloc::string::String,
}

#[cfg(feature = "std")]
impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(feature = "std")]
impl core::error::Error for Explained {}

#[cfg(feature = "std")]
impl From<Errno> for std::io::Error {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::FORKED => Self::new(std::io::ErrorKind::InvalidInput, errno),
            Errno::EXHAUSTED => Self::new(std::io::ErrorKind::OutOfMemory, errno),
            _ => Self::from_raw_os_error(errno.as_raw()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Errno;
    use std::string::ToString;

    macro_rules! assert_same {
        ($($name:ident)*) => {
            $(assert_eq!(Errno::$name.as_raw(), libc::$name, stringify!($name));)*
        };
    }

    /// Goal: the numbers are those of the C library, as the crate `libc` has them for the target.
    /// (That none is missing, the table's own test says.)
    #[test]
    fn numbers_match_the_c_library() {
        assert_same! {
            EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES
            EFAULT ENOTBLK EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY
            ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK
            ENOSYS ENOTEMPTY ELOOP ENOMSG EIDRM ECHRNG EL2NSYNC EL3HLT EL3RST ELNRNG EUNATCH ENOCSI
            EL2HLT EBADE EBADR EXFULL ENOANO EBADRQC EBADSLT EBFONT ENOSTR ENODATA ETIME ENOSR
            ENONET ENOPKG EREMOTE ENOLINK EADV ESRMNT ECOMM EPROTO EMULTIHOP EDOTDOT EBADMSG
            EOVERFLOW ENOTUNIQ EBADFD EREMCHG ELIBACC ELIBBAD ELIBSCN ELIBMAX ELIBEXEC EILSEQ
            ERESTART ESTRPIPE EUSERS ENOTSOCK EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT
            EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE
            EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN
            ENOTCONN ESHUTDOWN ETOOMANYREFS ETIMEDOUT ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY
            EINPROGRESS ESTALE EUCLEAN ENOTNAM ENAVAIL EISNAM EREMOTEIO EDQUOT ENOMEDIUM EMEDIUMTYPE
            ECANCELED ENOKEY EKEYEXPIRED EKEYREVOKED EKEYREJECTED EOWNERDEAD ENOTRECOVERABLE ERFKILL
            EHWPOISON EWOULDBLOCK ENOTSUP EDEADLOCK
        }
    }

    #[test]
    fn only_the_kernels_range_becomes_an_error() {
        for number in [i32::MIN, -1, 0, 4096, i32::MAX] {
            assert_eq!(Errno::from_raw(number), None, "{number}");
        }
        for number in 1..=4095 {
            assert_eq!(Errno::from_raw(number).map(Errno::as_raw), Some(number));
        }
    }

    #[test]
    fn results_beyond_the_errno_range_are_still_errors() {
        assert_eq!(Errno::check_result(-22), Err(Errno::EINVAL));
        assert_eq!(Errno::check_result(-4096), Err(Errno::EIO));
        assert_eq!(Errno::check_result(i64::MIN), Err(Errno::EIO));
        assert_eq!(Errno::check_result(4096), Ok(4096));
        assert_eq!(Errno::check_result(0x7fff_f000), Ok(0x7fff_f000));
        assert_eq!(Errno::check(-4095).map_err(Errno::as_raw), Err(4095));
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
        assert_eq!(Errno::FORKED.as_raw(), Errno::EINVAL.as_raw());
        assert!(Errno::FORKED.to_string().contains("fork"));
    }

    #[test]
    fn exhausted_reads_as_enomem_and_not_as_would_block() {
        assert_eq!(Errno::EXHAUSTED.as_raw(), Errno::ENOMEM.as_raw());
        assert!(Errno::EXHAUSTED.to_string().contains("start it again"));
        #[cfg(feature = "std")]
        {
            let error = std::io::Error::from(Errno::EXHAUSTED);
            assert_eq!(error.kind(), std::io::ErrorKind::OutOfMemory);
            assert_eq!(error.to_string(), Errno::EXHAUSTED.to_string());
        }
    }
}
