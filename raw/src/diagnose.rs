//! [`Diagnosis`], a failed operation with the likely cause of its error.
//!
//! An errno says little: `EINVAL` stands for a dozen conditions. The checks are those of
//! `io_submit_one` and of the functions that it calls in `fs/aio.c`, in the kernel's order. Nothing
//! here asks the kernel. Where the cause is not in the iocb itself, the text names the usual ones.

use crate::abi::{
    IOCB_FLAG_IOPRIO, IOCB_FLAG_RESFD, IOPRIO_CLASS_IDLE, IOPRIO_CLASS_NONE, IOPRIO_CLASS_RT,
    IOPRIO_CLASS_SHIFT, IOPRIO_NR_LEVELS, RWF_SUPPORTED, iocb,
};
use crate::{Errno, Iocb, Opcode, RwFlags};
use core::fmt;

/// Describes a failed operation: its errno, its fields, and the likely cause of the error.
///
/// From [`Iocb::diagnose`], and in `linux-aio` from `Completion::diagnose`. It is an error type,
/// and converts to [`Errno`] and to `std::io::Error`. The methods of `linux_aio::File`
/// return such an `io::Error`; [`Errno::from_io_error`] finds the errno in it again.
///
/// ```
/// use linux_aio_raw::{Errno, Iocb};
///
/// let iocb = Iocb::pread(3, core::ptr::null_mut(), 4096, 100);
/// let diagnosis = iocb.diagnose(Errno::EINVAL);
/// assert_eq!(diagnosis.errno(), Errno::EINVAL);
/// assert!(diagnosis.cause().unwrap().contains("O_DIRECT"));
/// assert!(diagnosis.to_string().starts_with(
///     "PREAD of 4096 bytes at offset 100 of descriptor 3: EINVAL: invalid argument; likely"
/// ));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Diagnosis {
    iocb: Iocb,
    errno: Errno,
}

impl Diagnosis {
    /// Returns the errno with which the operation failed.
    pub fn errno(&self) -> Errno {
        self.errno
    }

    /// Returns the operation as the kernel reads it: opcode, descriptor, offset, length and flags.
    pub fn iocb(&self) -> &Iocb {
        &self.iocb
    }

    /// Returns the likely cause of the error, or `None` if the errno itself says it.
    pub fn cause(&self) -> Option<&'static str> {
        cause(self.errno, self.iocb.opcode(), self.iocb.as_raw())
    }
}

impl Iocb {
    /// Describes this operation, which failed with `errno`, and the likely cause.
    pub fn diagnose(&self, errno: Errno) -> Diagnosis {
        Diagnosis { iocb: *self, errno }
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (opcode, raw) = (self.iocb.opcode(), self.iocb.as_raw());
        write!(f, "{opcode:?} of ")?;
        match (opcode, raw.aio_nbytes) {
            (Opcode::PREAD | Opcode::PWRITE, 1) => write!(f, "1 byte")?,
            (Opcode::PREAD | Opcode::PWRITE, bytes) => write!(f, "{bytes} bytes")?,
            (Opcode::PREADV | Opcode::PWRITEV, 1) => write!(f, "1 buffer")?,
            (Opcode::PREADV | Opcode::PWRITEV, buffers) => write!(f, "{buffers} buffers")?,
            _ => {}
        }
        if is_transfer(opcode) {
            write!(f, " at offset {} of ", raw.aio_offset as u64)?;
        }
        write!(f, "descriptor {}", raw.aio_fildes as i32)?;
        if raw.aio_rw_flags != 0 {
            write!(f, " with {:?}", RwFlags::from_bits_retain(raw.aio_rw_flags))?;
        }
        write!(f, ": {}", self.errno)?;
        match self.cause() {
            Some(cause) => write!(f, "; likely cause: {cause}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Diagnosis")
            .field("errno", &self.errno)
            .field("iocb", &self.iocb)
            .field("cause", &self.cause())
            .finish()
    }
}

/// The errno is no source: the text says it.
impl core::error::Error for Diagnosis {}

impl From<Diagnosis> for Errno {
    fn from(error: Diagnosis) -> Self {
        error.errno
    }
}

#[cfg(feature = "std")]
impl From<Diagnosis> for std::io::Error {
    fn from(error: Diagnosis) -> Self {
        Self::new(Self::from(error.errno).kind(), error)
    }
}

fn cause(errno: Errno, opcode: Opcode, raw: &iocb) -> Option<&'static str> {
    let transfers = is_transfer(opcode);
    let writes = matches!(opcode, Opcode::PWRITE | Opcode::PWRITEV);
    let syncs = matches!(opcode, Opcode::FSYNC | Opcode::FDSYNC);
    Some(match errno {
        Errno::EINVAL => einval(opcode, raw),
        Errno::EOPNOTSUPP if raw.aio_rw_flags & !RWF_SUPPORTED != 0 => {
            "aio_rw_flags has a bit that no flag has"
        }
        Errno::EOPNOTSUPP if !writes && has(raw, RwFlags::ATOMIC) => "ATOMIC is for writes only",
        Errno::EOPNOTSUPP if raw.aio_rw_flags != 0 => {
            "the file, the file system or the kernel does not support one of the flags"
        }
        Errno::EOPNOTSUPP => "the file system or the device does not support the operation",
        Errno::EBADF if names_eventfd(raw) => {
            "the descriptor, or the eventfd, is not open; or the file is not open in this \
             direction, or with O_PATH"
        }
        Errno::EBADF if writes => {
            "the file is open for reading alone, or with O_PATH; or the descriptor is closed"
        }
        Errno::EBADF if transfers => {
            "the file is open for writing alone, or with O_PATH; or the descriptor is closed"
        }
        Errno::EBADF => "the descriptor is closed, or open with O_PATH",
        Errno::EIO if writes => {
            "the device failed; each block of the write is as it was, or as it was to be"
        }
        Errno::EIO | Errno::ENOSPC if syncs => {
            "writes that were made before are lost: write them again, since another sync does not \
             report them again"
        }
        Errno::EFAULT => "the buffer, or the array of iovecs, is not mapped as it must be",
        Errno::EAGAIN if has(raw, RwFlags::NOWAIT) => {
            "with NOWAIT: the operation would have had to wait"
        }
        Errno::EAGAIN if transfers => {
            "the descriptor is O_NONBLOCK, and there is nothing to read or no room to write; or \
             io_submit had no room in the context or no memory"
        }
        Errno::EAGAIN => "io_submit had no room in the context or no memory",
        Errno::EPERM
            if transfers && priority(raw).is_some_and(|(class, _)| class == IOPRIO_CLASS_RT) =>
        {
            "a real-time priority, without CAP_SYS_ADMIN or CAP_SYS_NICE"
        }
        Errno::EPERM if writes => {
            "the file is immutable, append-only or sealed; or a seccomp filter refuses io_submit \
             or io_getevents"
        }
        Errno::EPERM => "a seccomp filter refuses io_submit or io_getevents",
        Errno::ENOSPC if writes => {
            "the file system is full, or the write begins at the end of a block device"
        }
        Errno::EFBIG if writes => {
            "the write begins at the limit RLIMIT_FSIZE, or beyond the largest file that the file \
             system can have"
        }
        Errno::ENODATA if transfers => "the device could not read its medium there",
        Errno::ESPIPE if transfers => "the file has no offsets (a socket): the offset must be 0",
        Errno::ETXTBSY if writes => "the file is used as swap space",
        Errno::ENOSYS => "a seccomp filter refuses io_submit or io_getevents, or there is no AIO",
        Errno::ECANCELED => "it was cancelled before it was submitted, or its driver is closed",
        _ => return None,
    })
}

/// Follows the order of the kernel's checks.
fn einval(opcode: Opcode, raw: &iocb) -> &'static str {
    if raw.aio_reserved2 != 0 {
        return "aio_reserved2 is not 0";
    }
    if isize::try_from(raw.aio_nbytes).is_err() {
        return "aio_nbytes is more than an address space holds";
    }
    match opcode {
        Opcode::PREAD | Opcode::PWRITE | Opcode::PREADV | Opcode::PWRITEV => {
            einval_of_transfer(opcode, raw)
        }
        Opcode::FSYNC | Opcode::FDSYNC if !is_bare(raw) => {
            "aio_buf, aio_offset, aio_nbytes and aio_rw_flags of FSYNC and FDSYNC must be 0"
        }
        Opcode::POLL if raw.aio_buf > u64::from(u16::MAX) => "the events of POLL have 16 bits",
        Opcode::POLL if !is_bare(&iocb { aio_buf: 0, ..*raw }) => {
            "aio_offset, aio_nbytes and aio_rw_flags of POLL must be 0"
        }
        Opcode::FSYNC | Opcode::FDSYNC | Opcode::POLL if names_eventfd(raw) => {
            "aio_resfd may not be an eventfd, or the file does not support the operation"
        }
        Opcode::FSYNC | Opcode::FDSYNC => {
            "the file has nothing to synchronize (a pipe, a terminal, a file of /proc), or the \
             kernel is too old for the operation"
        }
        Opcode::POLL => {
            "the file waits in two queues, or the kernel has no POLL (gVisor, or an old one)"
        }
        _ => "the opcode is none that the kernel knows",
    }
}

fn einval_of_transfer(opcode: Opcode, raw: &iocb) -> &'static str {
    match priority(raw) {
        Some((class, _)) if !(0..=IOPRIO_CLASS_IDLE).contains(&class) => {
            return "the class of the I/O priority is none that the kernel knows";
        }
        Some((IOPRIO_CLASS_NONE, level)) if level != 0 => {
            return "the I/O priority has a level, but no class";
        }
        _ => {}
    }
    if has(raw, RwFlags::APPEND | RwFlags::NOAPPEND) {
        return "APPEND and NOAPPEND exclude each other";
    }
    if raw.aio_offset < 0 {
        return "the offset is beyond 2^63 - 1";
    }
    let vectored = matches!(opcode, Opcode::PREADV | Opcode::PWRITEV);
    let (offset, bytes) = (raw.aio_offset as u64, raw.aio_nbytes);
    if vectored && bytes > 1024 {
        return "more than 1024 iovecs (UIO_MAXIOV)";
    }
    if !vectored && i64::try_from(offset.saturating_add(bytes)).is_err() {
        return "the transfer ends beyond 2^63 - 1";
    }
    if names_eventfd(raw) {
        return "aio_resfd may not be an eventfd, or the file does not support the operation";
    }
    if has(raw, RwFlags::ATOMIC) {
        return "an ATOMIC write is of one buffer, whose length is a power of two within the file's \
                limits, at a multiple of that length";
    }
    if vectored {
        return "O_DIRECT asks for an offset, and for addresses and lengths of all buffers, that \
                are multiples of the file's block; without it, the file takes no asynchronous \
                reads or writes (a directory, /proc/self/status), or a buffer is too long";
    }
    match (raw.aio_buf | offset | bytes).trailing_zeros() {
        // No block is smaller than 512 bytes.
        0..9 => not_aligned([raw.aio_buf, bytes, offset].map(|it| it % 512 != 0)),
        9..12 => {
            "the file takes no asynchronous reads or writes (a directory, /proc/self/status), or \
             its block for O_DIRECT is larger than 512 bytes"
        }
        _ => {
            "the file takes no asynchronous reads or writes (a directory, /proc/self/status), or \
             its block for O_DIRECT is larger than 4096 bytes"
        }
    }
}

/// Says which of address, length and offset are no multiples of 512.
fn not_aligned([address, length, offset]: [bool; 3]) -> &'static str {
    macro_rules! text {
        ($which:literal) => {
            concat!(
                "O_DIRECT asks for multiples of the file's block, which has 512 bytes or more, ",
                "and ",
                $which,
                " of 512; without O_DIRECT, the file takes no asynchronous reads or writes (a ",
                "directory, /proc/self/status), or none as short as this (an eventfd takes 8 ",
                "bytes)"
            )
        };
    }
    match (address, length, offset) {
        (true, false, false) => text!(
            "the address of the buffer is no multiple (those of AlignedBuf and BufferPool are)"
        ),
        (false, true, false) => text!("the length is no multiple"),
        (true, true, false) => text!("address and length of the buffer are no multiples"),
        (true, false, true) => text!("the address of the buffer and the offset are no multiples"),
        (false, true, true) => text!("length and offset are no multiples"),
        (true, true, true) => text!("neither address, length nor offset is a multiple"),
        (false, false, _) => text!("the offset is no multiple"),
    }
}

fn is_transfer(opcode: Opcode) -> bool {
    matches!(opcode, Opcode::PREAD | Opcode::PWRITE | Opcode::PREADV | Opcode::PWRITEV)
}

fn has(raw: &iocb, flags: RwFlags) -> bool {
    RwFlags::from_bits_retain(raw.aio_rw_flags).contains(flags)
}

/// Returns the class and the level of the I/O priority, if there is one.
fn priority(raw: &iocb) -> Option<(i16, i16)> {
    let number = raw.aio_reqprio;
    let given = raw.aio_flags & IOCB_FLAG_IOPRIO != 0;
    given.then_some((number >> IOPRIO_CLASS_SHIFT, number & (IOPRIO_NR_LEVELS - 1)))
}

fn names_eventfd(raw: &iocb) -> bool {
    raw.aio_flags & IOCB_FLAG_RESFD != 0
}

fn is_bare(raw: &iocb) -> bool {
    (raw.aio_buf, raw.aio_offset, raw.aio_nbytes, raw.aio_rw_flags) == (0, 0, 0, 0)
}
