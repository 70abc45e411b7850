//! [`Any`].

use super::{Fdsync, Fsync, Poll, Read, ReadV, Write, WriteV};
use crate::buffer::{ReadTo, WriteFrom};
use crate::fd::AsFd;
use crate::{Operation, Prepared};
use alloc::vec::Vec;

/// Holds different operations in one queue. `R` is the buffer of reads, `W` that of writes.
///
/// In a scope, where reads borrow `&mut [u8]` and writes `&[u8]`, the two differ.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Queue, op::{Any, Fsync, Write}};
/// use std::{fs::File, sync::Arc};
///
/// let file = Arc::new(tempfile::tempfile()?);
/// let mut queue: Queue<Any<Arc<File>, Vec<u8>>> = Queue::with_capacity(1)?;
/// queue.push(Write::new(file.clone(), vec![1; 64], 0).into())?;
/// assert_eq!(queue.wait()?.expect("a completion").result?, 64);
/// queue.push(Fsync::new(file).into())?;
/// let done = queue.wait()?.expect("a completion");
/// assert!(matches!(done.op, Any::Fsync(_)));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Any<F, R, W = R> {
    /// Reads to a buffer.
    Read(Read<F, R>),
    /// Writes a buffer.
    Write(Write<F, W>),
    /// Reads to several buffers.
    ReadV(ReadV<F, Vec<R>>),
    /// Writes several buffers.
    WriteV(WriteV<F, Vec<W>>),
    /// Brings data and metadata to stable storage.
    Fsync(Fsync<F>),
    /// Brings data to stable storage.
    Fdsync(Fdsync<F>),
    /// Waits until a file is ready.
    Poll(Poll<F>),
}

impl<F: AsFd, R: ReadTo, W: WriteFrom> Operation for Any<F, R, W> {
    #[inline]
    fn prepare(&mut self) -> Prepared<'_> {
        match self {
            Self::Read(op) => op.prepare(),
            Self::Write(op) => op.prepare(),
            Self::ReadV(op) => op.prepare(),
            Self::WriteV(op) => op.prepare(),
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

impl<F, R, W> From<ReadV<F, Vec<R>>> for Any<F, R, W> {
    fn from(op: ReadV<F, Vec<R>>) -> Self {
        Self::ReadV(op)
    }
}

impl<F, R, W> From<WriteV<F, Vec<W>>> for Any<F, R, W> {
    fn from(op: WriteV<F, Vec<W>>) -> Self {
        Self::WriteV(op)
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
