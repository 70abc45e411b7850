//! [`Any`].

use super::{Fdsync, Fsync, Poll, Read, Write};
use crate::fd::AsFd;
use crate::{Operation, Prepared};

/// Different operations in one queue. `R` is the buffer of reads, `W` that of writes.
///
/// In a scope, where reads borrow `&mut [u8]` and writes `&[u8]`, the two differ.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "each variant is the operation of its name")]
pub enum Any<F, R, W = R> {
    Read(Read<F, R>),
    Write(Write<F, W>),
    Fsync(Fsync<F>),
    Fdsync(Fdsync<F>),
    Poll(Poll<F>),
}

impl<F: AsFd, R: AsMut<[u8]>, W: AsRef<[u8]>> Operation for Any<F, R, W> {
    #[inline]
    fn prepare(&mut self) -> Prepared<'_> {
        match self {
            Self::Read(op) => op.prepare(),
            Self::Write(op) => op.prepare(),
            Self::Fsync(op) => op.prepare(),
            Self::Fdsync(op) => op.prepare(),
            Self::Poll(op) => op.prepare(),
        }
    }
}

impl<F, R, W> From<Read<F, R>> for Any<F, R, W> {
    fn from(op: Read<F, R>) -> Self {
        Self::Read(op)
    }
}

impl<F, R, W> From<Write<F, W>> for Any<F, R, W> {
    fn from(op: Write<F, W>) -> Self {
        Self::Write(op)
    }
}

impl<F, R, W> From<Fsync<F>> for Any<F, R, W> {
    fn from(op: Fsync<F>) -> Self {
        Self::Fsync(op)
    }
}

impl<F, R, W> From<Fdsync<F>> for Any<F, R, W> {
    fn from(op: Fdsync<F>) -> Self {
        Self::Fdsync(op)
    }
}

impl<F, R, W> From<Poll<F>> for Any<F, R, W> {
    fn from(op: Poll<F>) -> Self {
        Self::Poll(op)
    }
}
