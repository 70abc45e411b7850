//! Why the kernel may have refused an operation, read off its iocb.
//!
//! An errno says little: `EINVAL` stands for a dozen conditions. The checks are those of
//! `io_submit_one` and what it calls in `fs/aio.c`, in the kernel's order. This never asks the
//! kernel, so where the cause is not in the iocb itself, it names what is usual.

use crate::abi::{
    IOCB_FLAG_IOPRIO, IOCB_FLAG_RESFD, IOPRIO_CLASS_IDLE, IOPRIO_CLASS_SHIFT, RWF_SUPPORTED, iocb,
};
use crate::{Errno, Iocb, Opcode};

/// What every block device's alignment is a multiple of.
const SECTOR: u64 = 512;

impl Iocb {
    /// The likely cause of `errno` as the answer to this operation, or `None` where the errno says
    /// it all.
    ///
    /// ```
    /// use linux_aio_raw::{Errno, Iocb};
    ///
    /// let iocb = Iocb::pread(3, core::ptr::null_mut(), 4096, 100);
    /// assert!(iocb.explain(Errno::EINVAL).unwrap().contains("O_DIRECT"));
    /// ```
    pub fn explain(&self, errno: Errno) -> Option<&'static str> {
        match errno {
            Errno::EINVAL => Some(explain_einval(self.opcode(), self.as_raw())),
            Errno::EOPNOTSUPP => Some(explain_eopnotsupp(self.as_raw())),
            Errno::EBADF => Some("the file descriptor is not open, or not in this direction"),
            Errno::EFAULT => {
                Some("the buffer, or the array of iovecs, is not mapped as it must be")
            }
            Errno::EAGAIN => Some("RWF_NOWAIT or O_NONBLOCK, and it would have had to wait"),
            Errno::EPERM if self.as_raw().aio_flags & IOCB_FLAG_IOPRIO != 0 => {
                Some("a real-time priority, without CAP_SYS_ADMIN or CAP_SYS_NICE")
            }
            _ => None,
        }
    }
}

fn explain_einval(opcode: Opcode, raw: &iocb) -> &'static str {
    if raw.aio_reserved2 != 0 {
        return "aio_reserved2 is not 0";
    }
    if isize::try_from(raw.aio_nbytes).is_err() {
        return "aio_nbytes is more than an address space holds";
    }
    match opcode {
        Opcode::PREAD | Opcode::PWRITE | Opcode::PREADV | Opcode::PWRITEV => {
            explain_transfer(opcode, raw)
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
        Opcode::FSYNC | Opcode::FDSYNC | Opcode::POLL => "the file does not support the operation",
        _ => "the opcode is none that the kernel knows",
    }
}

fn explain_transfer(opcode: Opcode, raw: &iocb) -> &'static str {
    let class = raw.aio_reqprio >> IOPRIO_CLASS_SHIFT;
    if raw.aio_flags & IOCB_FLAG_IOPRIO != 0 && !(0..=IOPRIO_CLASS_IDLE).contains(&class) {
        return "the class of the I/O priority is none that the kernel knows";
    }
    if raw.aio_offset < 0 {
        return "the offset is beyond 2^63 - 1";
    }
    let vectored = matches!(opcode, Opcode::PREADV | Opcode::PWRITEV);
    if vectored && raw.aio_nbytes > 1024 {
        return "more than 1024 iovecs (UIO_MAXIOV)";
    }
    let aligned = |number: u64| number % SECTOR == 0;
    let buffer_aligned = vectored || aligned(raw.aio_buf) && aligned(raw.aio_nbytes);
    if !buffer_aligned || !aligned(raw.aio_offset as u64) {
        return "with O_DIRECT, address, length and offset must be multiples of the device's block; \
                without, the file (a directory, say) does not support the operation";
    }
    if names_eventfd(raw) {
        return "aio_resfd may not be an eventfd, or the file does not support the operation";
    }
    "the file does not support the operation (a directory, say), or its O_DIRECT alignment is larger"
}

fn explain_eopnotsupp(raw: &iocb) -> &'static str {
    if raw.aio_rw_flags & !RWF_SUPPORTED != 0 {
        return "aio_rw_flags has a bit that no flag has";
    }
    "the kernel or the file does not support a flag in aio_rw_flags"
}

fn names_eventfd(raw: &iocb) -> bool {
    raw.aio_flags & IOCB_FLAG_RESFD != 0
}

fn is_bare(raw: &iocb) -> bool {
    (raw.aio_buf, raw.aio_offset, raw.aio_nbytes, raw.aio_rw_flags) == (0, 0, 0, 0)
}

#[cfg(test)]
mod tests {
    use crate::abi::iocb;
    use crate::{Errno, IoPrio, Iocb, PollEvents};

    fn einval(iocb: Iocb) -> &'static str {
        iocb.explain(Errno::EINVAL).expect("EINVAL always has a cause")
    }

    fn with(iocb: Iocb, change: impl FnOnce(&mut iocb)) -> Iocb {
        let mut iocb = iocb;
        change(iocb.as_raw_mut());
        iocb
    }

    #[test]
    fn each_field_that_the_kernel_refuses_is_named() {
        let read = Iocb::pread(3, core::ptr::null_mut(), 512, 0);
        let cases = [
            (with(read, |raw| raw.aio_reserved2 = 1), "aio_reserved2"),
            (with(read, |raw| raw.aio_nbytes = u64::MAX), "aio_nbytes"),
            (with(read, |raw| raw.aio_lio_opcode = 99), "opcode"),
            (with(read, |raw| raw.aio_offset = -1), "offset"),
            (with(read, |raw| raw.aio_buf = 1), "O_DIRECT"),
            (read.ioprio(IoPrio::from_raw(i16::MAX)), "alignment is larger"),
            (read.ioprio(IoPrio::from_raw(-1)), "priority"),
            (read.eventfd(3), "aio_resfd"),
            (Iocb::preadv(3, core::ptr::null(), 1025, 0), "1024 iovecs"),
            (with(Iocb::fsync(3), |raw| raw.aio_nbytes = 1), "must be 0"),
            (Iocb::poll(3, PollEvents::from_raw(1 << 16)), "16 bits"),
            (with(Iocb::poll(3, PollEvents::IN), |raw| raw.aio_offset = 1), "must be 0"),
        ];
        for (iocb, part) in cases {
            assert!(einval(iocb).contains(part), "{iocb:?}: {}", einval(iocb));
        }
    }

    #[test]
    fn what_says_it_all_is_not_explained() {
        assert_eq!(Iocb::fsync(3).explain(Errno::ENOSPC), None);
        assert_eq!(Iocb::fsync(3).explain(Errno::EPERM), None);
    }
}
