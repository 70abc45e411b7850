//! [`Op`], an operation of a harness, and [`Ledger`], which compares what comes back with what the
//! simulated kernel says that it has done.

use super::{Kernel, Object, report};
use crate::divergence::{Verdict, ensure};
use crate::input::Source;
use linux_aio::abi::iocb;
use linux_aio::op::{Fdsync, Fsync, Poll, Read, ReadV, Write, WriteV};
use linux_aio::{Errno, Opcode, Operation, PollEvents, Prepared, RwFlags, Token};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::LazyLock;

/// Three descriptors, which only the simulated kernel is asked about.
static DESCRIPTORS: LazyLock<[File; 3]> =
    LazyLock::new(|| [(); 3].map(|()| File::open("/dev/null").expect("/dev/null is everywhere")));

type Fd = BorrowedFd<'static>;

pub(super) fn descriptor(object: Object) -> Fd {
    DESCRIPTORS[object as usize].as_fd()
}

/// Names the descriptors that operations use.
pub fn open_all(kernel: &Kernel) {
    for object in [Object::File, Object::Readonly, Object::Polled] {
        kernel.open(descriptor(object), object);
    }
}

/// What an operation does.
#[derive(Debug)]
pub enum What<B> {
    /// Reads to one buffer.
    Read(Read<Fd, B>),
    /// Writes one buffer.
    Write(Write<Fd, B>),
    /// Reads to two buffers.
    ReadV(ReadV<Fd, [B; 2]>),
    /// Writes two buffers.
    WriteV(WriteV<Fd, [B; 2]>),
    /// FSYNC.
    Fsync(Fsync<Fd>),
    /// FDSYNC.
    Fdsync(Fdsync<Fd>),
    /// POLL.
    Poll(Poll<Fd>),
}

/// An operation with its number, which the kernel sees as its flags.
#[derive(Debug)]
pub struct Op<B> {
    /// What it does.
    pub what: What<B>,
    /// Names it to the kernel.
    pub number: u32,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Operation for Op<B> {
    fn prepare(&mut self) -> Prepared<'_> {
        let prepared = match &mut self.what {
            What::Read(op) => op.prepare(),
            What::Write(op) => op.prepare(),
            What::ReadV(op) => op.prepare(),
            What::WriteV(op) => op.prepare(),
            What::Fsync(op) => op.prepare(),
            What::Fdsync(op) => op.prepare(),
            What::Poll(op) => op.prepare(),
        };
        prepared.rw_flags(RwFlags::from_bits_retain(self.number as _))
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Op<B> {
    /// Some operation, on the buffers that `buffer` has.
    pub fn generate(
        source: &mut Source<'_>,
        number: u32,
        mut buffer: impl FnMut(&mut Source<'_>) -> Option<B>,
    ) -> Self {
        let far = if source.once_in(8) { 1 << 32 } else { 0 };
        let at = source.below(linux_aio_sim::harness::SIZE + 100) as u64;
        let fd = descriptor(if source.once_in(16) { Object::Readonly } else { Object::File });
        let mut filled = |source: &mut Source<'_>| {
            let mut buffer = buffer(source)?;
            let bytes = buffer.as_mut().iter_mut().zip(number..);
            bytes.for_each(|(byte, value)| *byte = (value % 251) as u8);
            Some(buffer)
        };
        let what = match source.below(12) {
            0..=2 => filled(source).map(|buf| What::Read(Read::new(fd, buf, at | far))),
            3..=5 => filled(source).map(|buf| What::Write(Write::new(fd, buf, at))),
            6 => filled(source)
                .zip(filled(source))
                .map(|(first, second)| What::ReadV(ReadV::new(fd, [first, second], at))),
            7 => filled(source)
                .zip(filled(source))
                .map(|(first, second)| What::WriteV(WriteV::new(fd, [first, second], at))),
            8 => Some(What::Fdsync(Fdsync::new(fd))),
            9 => None,
            _ => Some(What::Poll(Poll::new(descriptor(Object::Polled), PollEvents::IN))),
        };
        Self { what: what.unwrap_or(What::Fsync(Fsync::new(fd))), number }
    }

    /// What the kernel must have seen: opcode, descriptor, offset, and buffers.
    fn seen(&self) -> (Opcode, Fd, u64, Vec<&[u8]>) {
        match &self.what {
            What::Read(op) => (Opcode::PREAD, op.fd, op.offset, vec![op.buf.as_ref()]),
            What::Write(op) => (Opcode::PWRITE, op.fd, op.offset, vec![op.buf.as_ref()]),
            What::ReadV(op) => {
                (Opcode::PREADV, op.fd, op.offset, op.bufs.iter().map(AsRef::as_ref).collect())
            }
            What::WriteV(op) => {
                (Opcode::PWRITEV, op.fd, op.offset, op.bufs.iter().map(AsRef::as_ref).collect())
            }
            What::Fsync(op) => (Opcode::FSYNC, op.fd, 0, vec![]),
            What::Fdsync(op) => (Opcode::FDSYNC, op.fd, 0, vec![]),
            What::Poll(op) => (Opcode::POLL, op.fd, 0, vec![]),
        }
    }

    /// Its buffers, to be used again.
    pub fn into_buffers(self) -> Vec<B> {
        match self.what {
            What::Read(op) => vec![op.buf],
            What::Write(op) => vec![op.buf],
            What::ReadV(op) => op.bufs.into(),
            What::WriteV(op) => op.bufs.into(),
            What::Fsync(_) | What::Fdsync(_) | What::Poll(_) => vec![],
        }
    }

    fn is_as_submitted(&self, iocb: &iocb) -> bool {
        let (opcode, fd, offset, buffers) = self.seen();
        let nbytes = match opcode {
            Opcode::PREADV | Opcode::PWRITEV => buffers.len(),
            _ => buffers.first().map_or(0, |buffer| buffer.len()),
        };
        iocb.aio_lio_opcode == opcode.as_raw()
            && iocb.aio_fildes as i32 == fd.as_raw_fd()
            && iocb.aio_offset as u64 == offset
            && iocb.aio_nbytes == nbytes as u64
    }
}

/// What a harness knows of an operation that has not come back.
#[derive(Debug)]
struct Live {
    token: Option<Token>,
    /// Cancelled before the kernel had it.
    cancelled: bool,
}

/// What a harness has given away and not got back.
#[derive(Debug)]
pub struct Ledger {
    kernel: Kernel,
    live: BTreeMap<u32, Live>,
    last: u32,
    /// By what operations may fail that the kernel has not looked at.
    pub refusals: Vec<Errno>,
    /// By what operations may fail whose events could not be had.
    pub unknown: Option<Errno>,
    /// Operations so far.
    pub operations: u64,
}

impl Ledger {
    /// Nothing is known yet.
    pub fn new(kernel: Kernel) -> Self {
        open_all(&kernel);
        let (refusals, unknown) = (Vec::new(), None);
        Self { kernel, live: BTreeMap::new(), last: 0, refusals, unknown, operations: 0 }
    }

    /// The number of a new operation.
    pub fn number(&mut self) -> u32 {
        self.last += 1;
        self.last
    }

    /// An operation has been given away.
    pub fn gave(&mut self, number: u32, token: Option<Token>) {
        self.operations += 1;
        self.live.insert(number, Live { token, cancelled: false });
    }

    /// The kernel does not have it, and is not to have it.
    pub fn cancelled(&mut self, number: u32) {
        if let Some(live) = self.live.get_mut(&number) {
            live.cancelled = self.kernel.record(number).is_none();
        }
    }

    /// Those that have not come back, in the order in which they were given away.
    pub fn live(&self) -> impl ExactSizeIterator<Item = (u32, Option<Token>)> {
        self.live.iter().map(|(&number, live)| (number, live.token))
    }

    /// Whether an operation that has not come back is to do so: it has an event, was refused, or
    /// cancelled before the kernel had it.
    pub fn has_ended(&self, number: u32) -> bool {
        match self.kernel.record(number) {
            Some(record) => record.res.is_some(),
            None => self.live.get(&number).is_some_and(|live| live.cancelled),
        }
    }

    /// This one does not come back.
    pub fn lost(&mut self, number: u32) {
        self.live.remove(&number);
    }

    /// Nothing comes back any more.
    pub fn forget(&mut self) {
        self.live.clear();
    }

    /// An operation has come back: once, whole, with what the kernel has given, and not while the
    /// kernel has it.
    pub fn complete<B: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        token: Option<Token>,
        result: Result<u32, Errno>,
        op: &Op<B>,
    ) -> Verdict {
        let number = op.number;
        let Some(live) = self.live.remove(&number) else {
            return Err(report(format!("operation {number} came back twice, or never was")));
        };
        ensure(live.token == token, || format!("{token:?}, predicted {:?}", live.token))?;
        let Some(record) = self.kernel.record(number) else {
            let cancelled = live.cancelled && result == Err(Errno::ECANCELED);
            let mut refusals = self.refusals.iter().chain(&self.unknown);
            let refused = result.is_err_and(|errno| refusals.any(|&refusal| refusal == errno));
            return ensure(cancelled || refused, || {
                format!("operation {number} never reached the kernel and gave {result:?}")
            });
        };
        let Some(res) = record.res else {
            return Err(report(format!("operation {number} came back while the kernel has it")));
        };
        let due = match u32::try_from(res) {
            Ok(count) => Ok(count),
            Err(_) => Err(Errno::from_raw(-res as i32)),
        };
        let unknown = result.is_err() && result.err() == self.unknown;
        let same = unknown || due == result.map_err(Some);
        ensure(same && op.is_as_submitted(&record.iocb), || {
            format!("{result:?} of {:?}, predicted {due:?} of {:?}", op.seen().0, record.iocb)
        })?;
        let bytes = op.seen().3.concat();
        ensure(bytes.get(..record.bytes.len()) == Some(&record.bytes), || {
            format!("operation {number} has other bytes than the kernel")
        })
    }
}
