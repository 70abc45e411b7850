//! [`Transfer`], the operation of a request.

use crate::GuestBytes;
use linux_aio::op::{Fdsync, Read, ReadV, Write, WriteV};
use linux_aio::{AlignedBuf, Operation, Prepared, Shared};
use std::fs::File;
use std::sync::Arc;

type Direct = Vec<Shared<GuestBytes>>;

/// What the kernel is asked to do for a request.
#[derive(Debug)]
pub(crate) enum Transfer {
    /// From the disk to guest memory.
    In(ReadV<Arc<File>, Direct>),
    /// From guest memory to the disk.
    Out(WriteV<Arc<File>, Direct>),
    /// As `In`, for guest memory that is not aligned: copied when the read has completed.
    CopyIn(Read<Arc<File>, AlignedBuf>, Vec<GuestBytes>),
    /// As `Out`, for guest memory that is not aligned: copied already.
    CopyOut(Write<Arc<File>, AlignedBuf>),
    Flush(Fdsync<Arc<File>>),
}

impl Operation for Transfer {
    fn prepare(&mut self) -> Prepared<'_> {
        match self {
            Self::In(op) => op.prepare(),
            Self::Out(op) => op.prepare(),
            Self::CopyIn(op, _) => op.prepare(),
            Self::CopyOut(op) => op.prepare(),
            Self::Flush(op) => op.prepare(),
        }
    }
}

/// The alignment that the image asks for with `O_DIRECT`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alignment {
    pub(crate) memory: usize,
    pub(crate) len: usize,
}

impl Alignment {
    fn fits(self, bytes: &GuestBytes) -> bool {
        let memory: &[_] = bytes.as_ref();
        memory.as_ptr().addr() % self.memory == 0 && memory.len() % self.len == 0
    }
}

impl Transfer {
    /// Makes a read. Returns nothing if there is no memory for a copy.
    pub(crate) fn read(
        file: Arc<File>,
        to: Vec<GuestBytes>,
        offset: u64,
        align: Alignment,
    ) -> Option<Self> {
        if to.iter().all(|bytes| align.fits(bytes)) {
            let to: Direct = to.into_iter().map(Shared).collect();
            return Some(Self::In(ReadV::new(file, to, offset)));
        }
        let copy = copy_for(&to, align)?;
        Some(Self::CopyIn(Read::new(file, copy, offset), to))
    }

    /// Makes a write, as [`read`](Self::read) does.
    pub(crate) fn write(
        file: Arc<File>,
        from: Vec<GuestBytes>,
        offset: u64,
        align: Alignment,
    ) -> Option<Self> {
        if from.iter().all(|bytes| align.fits(bytes)) {
            let from: Direct = from.into_iter().map(Shared).collect();
            return Some(Self::Out(WriteV::new(file, from, offset)));
        }
        let mut copy = copy_for(&from, align)?;
        let mut rest = &mut copy[..];
        for bytes in &from {
            let count = bytes.volatile().copy_to(rest);
            rest = &mut rest[count..];
        }
        Some(Self::CopyOut(Write::new(file, copy, offset)))
    }

    /// Brings what was read to the guest.
    pub(crate) fn finish(self) {
        match self {
            Self::In(op) => op.bufs.iter().for_each(|bytes| bytes.0.mark_dirty()),
            Self::CopyIn(op, to) => {
                let mut rest = &op.buf[..];
                for bytes in &to {
                    let volatile = bytes.volatile();
                    volatile.copy_from(&rest[..volatile.len()]);
                    rest = &rest[volatile.len()..];
                }
            }
            Self::Out(_) | Self::CopyOut(_) | Self::Flush(_) => {}
        }
    }
}

fn copy_for(bytes: &[GuestBytes], align: Alignment) -> Option<AlignedBuf> {
    let len = bytes.iter().map(|bytes| bytes.volatile().len()).sum();
    AlignedBuf::with_alignment(len, align.memory).ok()
}
