//! [`BufferPool`], equal buffers that are used again and again.

mod places;

#[cfg(all(loom, test))]
mod model;

use crate::raw::ForkGuard;
use crate::{AlignedBuf, Errno};
use alloc::sync::Arc;
use core::fmt;
use core::mem;
use core::ops::{Deref, DerefMut};
use core::pin::Pin;
use core::ptr::NonNull;
use core::task::{Context, Poll};
use places::Places;
use std::io;

/// Holds a fixed number of equal, aligned buffers in one mapping.
///
/// It bounds the memory of a program, and saves two system calls for each buffer. A [`PoolBuf`] is
/// a buffer for all operations of a [`Queue`](crate::Queue), [`Scope`](crate::Scope) and
/// [`Driver`](crate::Driver). It goes back to the pool when it is dropped. Clones are the same
/// pool.
///
/// The bytes are zero at first. A buffer that was used keeps its bytes. To read or write less than
/// a whole buffer, take a part of it, `buf.part(..n)`, by the trait [`Slice`](crate::Slice).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{BufferPool, Queue, op::Read};
///
/// let pool = BufferPool::new(8, 65536, 4096)?; // 8 buffers of 64 KiB, aligned to 4096
/// let mut queue = Queue::with_capacity(8)?;
/// let buf = pool.try_take().ok_or("every buffer is in use")?;
/// queue.push(Read::new(std::fs::File::open("/dev/zero")?, buf, 0))?;
/// assert_eq!(pool.available(), 7);
/// let done = queue.wait()?.expect("a completion");
/// assert_eq!(done.result?, 65536);
/// drop(done.op);
/// assert_eq!(pool.available(), 8);
/// # Ok(()) }
/// ```
///
/// # Forks
///
/// A forked child has a copy of the pool and of the buffers that it can reach. Futures of
/// [`take`](Self::take) that waited at the fork get no buffer there that they had been given
/// already. A future that waits in a child asks to be polled again at once. It has no place in a
/// queue, and so it needs no lock that another thread may have held at the fork.
#[derive(Clone)]
pub struct BufferPool {
    shared: Arc<Shared>,
}

struct Shared {
    memory: AlignedBuf,
    count: usize,
    size: usize,
    /// Counts the bytes from the start of one buffer to the start of the next.
    stride: usize,
    places: Places,
    guard: ForkGuard,
}

impl Shared {
    fn is_forked(&self) -> bool {
        self.guard.check_strictly().is_err()
    }
}

impl BufferPool {
    /// Makes a pool of `count` buffers of `size` bytes, each at a multiple of `align` bytes.
    ///
    /// For `O_DIRECT`, a [`Geometry`](crate::geometry::Geometry) says what alignment and what
    /// multiple of sizes a file needs.
    ///
    /// # Errors
    /// See [`PoolError`]; nothing is mapped then.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{BufferPool, geometry::Geometry};
    ///
    /// let file = std::fs::File::open("Cargo.toml")?;
    /// let align = Geometry::of(&file).direct_io.memory();
    /// let pool = BufferPool::new(32, 65536, align)?;
    /// assert_eq!((pool.capacity(), pool.buffer_len()), (32, 65536));
    /// # Ok(()) }
    /// ```
    pub fn new(count: usize, size: usize, align: usize) -> Result<Self, PoolError> {
        if count == 0 {
            return Err(PoolError::NoBuffers);
        }
        if size == 0 {
            return Err(PoolError::EmptyBuffers);
        }
        if !align.is_power_of_two() {
            return Err(PoolError::Alignment(align));
        }
        let stride = size.checked_next_multiple_of(align);
        let total = stride.and_then(|stride| stride.checked_mul(count));
        let (Some(stride), Some(total)) = (stride, total) else {
            return Err(PoolError::TooLarge { count, size });
        };
        let memory = AlignedBuf::with_alignment(total, align).map_err(|errno| match errno {
            Errno::EINVAL => PoolError::TooLarge { count, size },
            errno => PoolError::Memory(errno),
        })?;
        let (places, guard) = (Places::new(count), ForkGuard::of_this_process());
        Ok(Self { shared: Arc::new(Shared { memory, count, size, stride, places, guard }) })
    }

    /// Takes a buffer, if one is free and no future of [`take`](Self::take) waits for it.
    ///
    /// ```
    /// use linux_aio::BufferPool;
    ///
    /// let pool = BufferPool::new(1, 4096, 4096)?;
    /// let buf = pool.try_take().expect("a free buffer");
    /// assert!(pool.try_take().is_none());
    /// drop(buf); // It goes back to the pool.
    /// assert!(pool.try_take().is_some());
    /// # Ok::<(), linux_aio::PoolError>(())
    /// ```
    #[inline]
    pub fn try_take(&self) -> Option<PoolBuf> {
        let places = &self.shared.places;
        if places.is_awaited() && !self.shared.is_forked() {
            return None;
        }
        places.claim().map(|place| self.buf(place))
    }

    /// Takes a buffer, and waits until one is free. Futures get buffers in the order in which they
    /// were polled first.
    ///
    /// A future that is dropped gives up its turn, and loses no buffer. The wait has no deadline: a
    /// buffer whose request was given up comes back when the kernel has finished.
    ///
    /// ```
    /// use linux_aio::BufferPool;
    ///
    /// let pool = BufferPool::new(1, 4096, 4096)?;
    /// pollster::block_on(async {
    ///     let first = pool.take().await;
    ///     drop(first);
    ///     let again = pool.take().await;
    ///     assert_eq!(again.len(), 4096);
    /// });
    /// # Ok::<(), linux_aio::PoolError>(())
    /// ```
    pub fn take(&self) -> Take<'_> {
        Take { pool: self, ticket: None }
    }

    /// Returns how many buffers are in the pool now. Other threads may take them meanwhile.
    pub fn available(&self) -> usize {
        self.shared.places.free()
    }

    /// Returns how many buffers the pool was made with.
    pub fn capacity(&self) -> usize {
        self.shared.count
    }

    /// Returns the length of each buffer, in bytes.
    pub fn buffer_len(&self) -> usize {
        self.shared.size
    }

    /// Asks for huge pages: see [`AlignedBuf::advise_huge_pages`]. Call it before the first use of
    /// a buffer.
    ///
    /// # Errors
    /// `EINVAL`: the kernel was built without transparent huge pages.
    pub fn advise_huge_pages(&self) -> Result<(), Errno> {
        self.shared.memory.advise_huge_pages()
    }

    /// Returns the buffer of a place that the caller has taken.
    #[inline]
    fn buf(&self, place: usize) -> PoolBuf {
        debug_assert!(place < self.shared.count);
        // SAFETY: The memory has `count` strides, and `place` is below `count`.
        let start = unsafe { self.shared.memory.start().add(place * self.shared.stride) };
        PoolBuf { start, place, shared: Arc::clone(&self.shared) }
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferPool")
            .field("capacity", &self.capacity())
            .field("available", &self.available())
            .field("buffer_len", &self.buffer_len())
            .finish_non_exhaustive()
    }
}

/// A buffer of a [`BufferPool`], to which it goes back when it is dropped.
///
/// It keeps the memory of the pool alive, so the pool may be dropped before.
///
/// ```
/// use linux_aio::BufferPool;
///
/// let pool = BufferPool::new(2, 512, 512)?;
/// let mut buf = pool.try_take().expect("a free buffer");
/// buf[..5].copy_from_slice(b"hello");
/// assert_eq!((&buf[..6], buf.len()), (&b"hello\0"[..], 512));
/// # Ok::<(), linux_aio::PoolError>(())
/// ```
pub struct PoolBuf {
    start: NonNull<u8>,
    place: usize,
    shared: Arc<Shared>,
}

// SAFETY: It owns its bytes alone, as a `Box<[u8]>` does, and shares with other threads only
// `Places`, which is `Sync`.
unsafe impl Send for PoolBuf {}
// SAFETY: As above; through `&` the bytes can only be read.
unsafe impl Sync for PoolBuf {}

impl Drop for PoolBuf {
    #[inline]
    fn drop(&mut self) {
        self.shared.places.give(self.place, || self.shared.is_forked());
    }
}

impl Deref for PoolBuf {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: `size` initialised bytes from `start` on are mapped as long as `shared` is there.
        // They are this value's alone: nobody else has the place until the drop.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.shared.size) }
    }
}

impl DerefMut for PoolBuf {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: As in `deref`; and this value is borrowed mutably.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.shared.size) }
    }
}

impl AsRef<[u8]> for PoolBuf {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for PoolBuf {
    #[inline]
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl fmt::Debug for PoolBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuf")
            .field("start", &self.start)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// The future of [`BufferPool::take`].
///
/// ```
/// use linux_aio::BufferPool;
/// use std::{pin::pin, task::{Context, Poll, Waker}};
///
/// let pool = BufferPool::new(1, 512, 512)?;
/// let only = pool.try_take().expect("a free buffer");
/// let mut take = pin!(pool.take());
/// let mut context = Context::from_waker(Waker::noop());
/// assert!(take.as_mut().poll(&mut context).is_pending());
/// drop(only);
/// assert!(matches!(take.poll(&mut context), Poll::Ready(_buf)));
/// # Ok::<(), linux_aio::PoolError>(())
/// ```
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Take<'p> {
    pool: &'p BufferPool,
    ticket: Option<u64>,
}

impl Future for Take<'_> {
    type Output = PoolBuf;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<PoolBuf> {
        let Shared { places, .. } = &*self.pool.shared;
        if self.ticket.is_none() {
            if let Some(buf) = self.pool.try_take() {
                return Poll::Ready(buf);
            }
        }
        if self.pool.shared.is_forked() {
            // See `BufferPool`.
            if let Some(place) = places.claim() {
                return Poll::Ready(self.pool.buf(place));
            }
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let waker = cx.waker().clone();
        if self.pool.shared.is_forked() {
            // The clone has forked: it may belong to a runtime of the parent's.
            mem::forget(waker);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let place = match self.ticket {
            Some(ticket) => places.collect(ticket, Some(waker)),
            None => {
                let ticket = places.enqueue(waker);
                self.ticket = Some(ticket);
                places.collect(ticket, None)
            }
        };
        let Some(place) = place else { return Poll::Pending };
        self.ticket = None;
        Poll::Ready(self.pool.buf(place))
    }
}

impl Drop for Take<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        if !self.pool.shared.is_forked() {
            self.pool.shared.places.give_up(ticket);
        }
    }
}

/// Says why a [`BufferPool`] could not be made.
///
/// ```
/// use linux_aio::{BufferPool, Errno, PoolError};
///
/// let error = BufferPool::new(8, 4096, 3).unwrap_err();
/// assert_eq!(error, PoolError::Alignment(3));
/// assert_eq!(error.errno(), Errno::EINVAL);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolError {
    /// A pool of no buffers: nobody could ever take one.
    NoBuffers,
    /// Buffers of no bytes.
    EmptyBuffers,
    /// The alignment is no power of two.
    Alignment(usize),
    /// All buffers together do not fit the address space.
    TooLarge {
        /// The number of buffers that were asked for.
        count: usize,
        /// The length of each, in bytes.
        size: usize,
    },
    /// There is no memory, or a limit forbids it (`RLIMIT_AS`, the number of mappings).
    Memory(Errno),
}

impl PoolError {
    /// Returns the error of the system, or `EINVAL` for a pool that cannot be.
    pub fn errno(&self) -> Errno {
        match self {
            Self::Memory(errno) => *errno,
            _ => Errno::EINVAL,
        }
    }
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBuffers => f.write_str("a pool of 0 buffers: ask for at least 1"),
            Self::EmptyBuffers => f.write_str("buffers of 0 bytes: ask for at least 1 byte each"),
            Self::Alignment(align) => {
                write!(f, "an alignment of {align} bytes, which is no power of two")
            }
            Self::TooLarge { count, size } => {
                write!(f, "{count} buffers of {size} bytes do not fit the address space")
            }
            // The source has its text.
            Self::Memory(errno) => write!(f, "no memory for the pool: {errno:?}"),
        }
    }
}

impl core::error::Error for PoolError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Memory(errno) => Some(errno),
            _ => None,
        }
    }
}

impl From<PoolError> for Errno {
    fn from(error: PoolError) -> Self {
        error.errno()
    }
}

impl From<PoolError> for io::Error {
    fn from(error: PoolError) -> Self {
        Self::new(Self::from(error.errno()).kind(), error)
    }
}
