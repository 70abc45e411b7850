//! The traits of buffers, [`ReadTo`] and [`WriteFrom`]; and [`Shared`], memory that other threads
//! use as well.

use crate::{IoSlice, Room};
use core::sync::atomic::AtomicU8;

/// A buffer that a read fills.
///
/// Everything that has `AsMut<[u8]>` is one: `Vec<u8>`, `Box<[u8]>`, `[u8; N]`, `&mut [u8]`,
/// [`AlignedBuf`](crate::AlignedBuf), [`Part`](crate::Part) of these. So are [`Shared`] and
/// [`Spare`](crate::Spare), memory that is not initialised.
///
/// Safe to implement: what `lend` returns borrows the buffer, and an operation keeps that borrow
/// until its completion.
///
/// ```
/// use linux_aio::{ReadTo, Room};
///
/// /// A page of a database. Its first bytes are the program's own.
/// struct Page([u8; 4096]);
///
/// impl ReadTo for Page {
///     fn lend(&mut self) -> Room<'_> {
///         Room::new(&mut self.0).skip(16)
///     }
/// }
/// ```
pub trait ReadTo {
    /// Lends the memory to fill. Called once for each time that an operation is pushed. A
    /// `File` calls it several times for a request.
    fn lend(&mut self) -> Room<'_>;

    /// Lends the memory of a transfer that goes on, from where it began, although `done` bytes of
    /// it have been read since. [`op::Whole`](crate::op::Whole) and `File` call it.
    ///
    /// For a buffer that always lends the same memory, this is [`lend`](Self::lend). A buffer whose
    /// `lend` begins behind what has been read goes back by `done` bytes.
    #[inline]
    fn lend_again(&mut self, done: usize) -> Room<'_> {
        let _ = done;
        self.lend()
    }
}

impl<B: AsMut<[u8]>> ReadTo for B {
    #[inline]
    fn lend(&mut self) -> Room<'_> {
        Room::new(self.as_mut())
    }
}

/// A buffer that is written to a file.
///
/// Everything that has `AsRef<[u8]>` is one: the buffers of reads, and `Arc<[u8]>`, `&[u8]`,
/// `&'static str`, `bytes::Bytes`. So is [`Shared`].
///
/// Safe to implement: what `lend_bytes` returns borrows the buffer, and an operation keeps that
/// borrow until its completion.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{IoSlice, Queue, WriteFrom, op::Write};
///
/// /// A record whose length is kept beside it.
/// struct Record {
///     bytes: [u8; 512],
///     used: usize,
/// }
///
/// impl WriteFrom for Record {
///     fn lend_bytes(&self) -> IoSlice<'_> {
///         IoSlice::new(&self.bytes[..self.used])
///     }
/// }
///
/// let mut queue = Queue::with_capacity(1)?;
/// let record = Record { bytes: [7; 512], used: 100 };
/// queue.push(Write::new(tempfile::tempfile()?, record, 0))?;
/// assert_eq!(queue.wait()?.expect("a completion").result?, 100);
/// # Ok(()) }
/// ```
pub trait WriteFrom {
    /// Lends the bytes to write. Called once for each time that an operation is pushed. A
    /// `File` calls it several times for a request.
    fn lend_bytes(&self) -> IoSlice<'_>;

    /// Returns the bytes if no other thread writes to them, so that they can be copied.
    #[doc(hidden)]
    #[inline]
    fn as_plain(&self) -> Option<&[u8]> {
        None
    }
}

impl<B: AsRef<[u8]>> WriteFrom for B {
    #[inline]
    fn lend_bytes(&self) -> IoSlice<'_> {
        IoSlice::new(self.as_ref())
    }

    #[inline]
    fn as_plain(&self) -> Option<&[u8]> {
        Some(self.as_ref())
    }
}

/// Memory that other threads use while the kernel does: the memory of a virtual machine, or a
/// mapping that processes share.
///
/// `T` gives a slice of atomics: `&[AtomicU8]`, `Arc<[AtomicU8]>`, `Box<[AtomicU8]>`. The kernel
/// counts as one more thread that loads or stores each byte, at some time and in any order. The
/// completion orders the bytes of a read before everything that follows it in this thread.
///
/// `&[Cell<u8>]` will not do: its owner could look at a byte while the kernel writes it, which is a
/// data race.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Queue, Shared, op::Read};
/// use std::sync::{Arc, atomic::{AtomicU8, Ordering}};
///
/// let memory: Arc<[AtomicU8]> = (0..64).map(|_| AtomicU8::new(1)).collect();
/// let mut queue = Queue::with_capacity(1)?;
/// let file = std::fs::File::open("/dev/zero")?;
/// queue.push(Read::new(file, Shared(memory.clone()), 0))?;
/// memory[7].store(2, Ordering::Relaxed); // any time
/// assert_eq!(queue.wait()?.expect("a completion").result?, 64);
/// assert_eq!(memory[8].load(Ordering::Relaxed), 0);
/// # Ok(()) }
/// ```
///
/// # The crate `vm-memory`
///
/// A `VolatileSlice<'a, B>` becomes a `&'a [AtomicU8]` by one line, which safe code cannot write:
///
/// ```ignore
/// use std::{slice, sync::atomic::AtomicU8};
///
/// let guard = volatile.ptr_guard_mut();
/// // SAFETY: The guest's memory stays mapped for 'a, and everybody accesses it as by atomics.
/// let bytes = unsafe { slice::from_raw_parts(guard.as_ptr().cast::<AtomicU8>(), guard.len()) };
/// let read = Read::new(file, Shared(bytes), offset);
/// ```
///
/// Mark the bytes in its dirty bitmap after the completion of a read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shared<T>(
    /// Gives the memory.
    pub T,
);

impl<T: AsRef<[AtomicU8]>> ReadTo for Shared<T> {
    #[inline]
    fn lend(&mut self) -> Room<'_> {
        Room::shared(self.0.as_ref())
    }
}

impl<T: AsRef<[AtomicU8]>> WriteFrom for Shared<T> {
    #[inline]
    fn lend_bytes(&self) -> IoSlice<'_> {
        IoSlice::shared(self.0.as_ref())
    }
}
