//! [`Bench`], on which the probes try one operation at a time.

use super::{Call, Unusable};
use core::mem::{ManuallyDrop, MaybeUninit};
use linux_aio::abi::iovec;
use linux_aio::fd::{AsRawFd, BorrowedFd};
use linux_aio::{AlignedBuf, Errno, IoContext, Iocb, Opcode, PollEvents, RwFlags};

/// Bytes of the buffer; a request lies within. Twice the largest block that Linux has, 64 KiB, so
/// that a block fits wherever in the first half it starts.
pub(super) const BUFFER: usize = 2 * LARGEST_BLOCK;
pub(super) const LARGEST_BLOCK: usize = 64 * 1024;

/// A context and a buffer, for one operation at a time.
pub(super) struct Bench {
    context: IoContext,
    buf: ManuallyDrop<AlignedBuf>,
    /// The event of an operation could not be waited for, for this reason: the kernel may have the
    /// buffer still, and nothing more is tried.
    lost: Option<Errno>,
}

/// One operation to try.
#[derive(Clone, Copy)]
pub(super) struct Request {
    pub(super) opcode: Opcode,
    /// The place in the buffer of the bench, and the number of bytes.
    pub(super) start: usize,
    pub(super) len: usize,
    /// The offset in the file.
    pub(super) offset: u64,
    pub(super) flags: RwFlags,
}

impl Request {
    /// Makes an operation without data, at the start of the file.
    pub(super) const fn empty(opcode: Opcode) -> Self {
        Self { opcode, start: 0, len: 0, offset: 0, flags: RwFlags::empty() }
    }
}

/// Says what came of an operation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// `io_submit` refused it.
    Refused(Errno),
    /// It was accepted and has ended; `in_submit` says whether its event was there when `io_submit`
    /// returned.
    Ended { result: Result<u32, Errno>, in_submit: bool },
    /// It, or one before it, was accepted, and its event cannot be had, for this reason.
    Lost(Errno),
}

impl Outcome {
    /// Returns the result, wherever it came from.
    pub(super) fn result(self) -> Option<Result<u32, Errno>> {
        match self {
            Self::Refused(errno) => Some(Err(errno)),
            Self::Ended { result, .. } => Some(result),
            Self::Lost(_) => None,
        }
    }

    pub(super) fn support(self) -> super::Support {
        self.result().map_or(super::Support::Unknown, Into::into)
    }
}

impl Bench {
    /// Makes a context only where the calls are there that use it and end it.
    pub(super) fn new() -> Result<Self, Unusable> {
        Unusable::missing_call(Call::ask).map_or(Ok(()), Err)?;
        let context = IoContext::new(1).map_err(Unusable::Setup)?;
        let buf = AlignedBuf::with_alignment(BUFFER, LARGEST_BLOCK).map_err(Unusable::Memory)?;
        Ok(Self { context, buf: ManuallyDrop::new(buf), lost: None })
    }

    pub(super) fn context(&self) -> &IoContext {
        &self.context
    }

    /// Runs one operation to its end.
    ///
    /// The file must be one on which this ends: `io_submit` waits on an empty pipe without end.
    pub(super) fn run(&mut self, fd: BorrowedFd<'_>, request: Request) -> Outcome {
        if let Some(errno) = self.lost {
            return Outcome::Lost(errno);
        }
        let data = &mut self.buf[request.start..][..request.len];
        let (start, len) = (data.as_mut_ptr(), data.len());
        let iovec = iovec { iov_base: start.expose_provenance(), iov_len: len };
        let (fd, offset) = (fd.as_raw_fd(), request.offset);
        let iocb = match request.opcode {
            Opcode::PREAD => Iocb::pread(fd, start, len, offset),
            Opcode::PWRITE => Iocb::pwrite(fd, start, len, offset),
            Opcode::PREADV => Iocb::preadv(fd, &raw const iovec, 1, offset),
            Opcode::PWRITEV => Iocb::pwritev(fd, &raw const iovec, 1, offset),
            Opcode::FSYNC => Iocb::fsync(fd),
            Opcode::FDSYNC => Iocb::fdsync(fd),
            Opcode::POLL => Iocb::poll(fd, PollEvents::IN),
            other => without_memory(other, fd),
        };
        let mut iocb = iocb.rw_flags(request.flags);
        let (submitter, _) = self.context.split();
        // SAFETY: `iocb` is a local that is valid during the call, and never cancelled. The data is
        // part of `buf`, which nobody touches before the event: `wait` returns when it has been
        // reaped, or sets `lost`, after which `buf` is not used again and freed only when
        // the context has been destroyed. `iovec` lives during the call, which copies it.
        match unsafe { submitter.submit(&[&raw mut iocb]) } {
            Ok(1) => self.wait(),
            Ok(_) => Outcome::Refused(Errno::EAGAIN),
            Err(errno) => Outcome::Refused(errno),
        }
    }

    /// Takes the event of the one operation in flight.
    fn wait(&mut self) -> Outcome {
        let (_, mut reaper) = self.context.split();
        let mut events = [MaybeUninit::uninit(); 1];
        if let Ok([event]) = reaper.reap(&mut events) {
            return Outcome::Ended { result: event.result(), in_submit: true };
        }
        loop {
            match reaper.wait(1, None, &mut events) {
                Ok([event]) => return Outcome::Ended { result: event.result(), in_submit: false },
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => {
                    self.lost = Some(errno);
                    return Outcome::Lost(errno);
                }
            }
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if self.lost.is_some() && self.context.destroy().is_err() {
            // Nothing proves that the kernel is finished with the buffer: it is leaked.
            return;
        }
        // SAFETY: Nothing uses the buffer after this. The kernel does not have it: nothing is in
        // flight, or the context has been destroyed.
        unsafe { ManuallyDrop::drop(&mut self.buf) };
    }
}

/// Makes an operation of any opcode that names no memory.
fn without_memory(opcode: Opcode, fd: i32) -> Iocb {
    let mut iocb = Iocb::fsync(fd);
    iocb.as_raw_mut().aio_lio_opcode = opcode.as_raw();
    iocb
}
