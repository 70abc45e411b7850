//! [`Buffers`], a collection of buffers for a vectored operation.

use crate::abi::iovec;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

/// A collection of buffers for [`ReadV`](super::ReadV) and [`WriteV`](super::WriteV): `[B; N]`,
/// `Vec<B>` or `Box<[B]>`.
///
/// An array costs no allocation. For the others, the operation allocates the table that the kernel
/// reads once, and again only if the number of buffers grows.
///
/// A collection of one's own takes [`IovecVec`]:
///
/// ```
/// use linux_aio::op::{Buffers, IovecVec};
///
/// /// The blocks of a stripe.
/// struct Stripe(Vec<[u8; 512]>);
///
/// impl Buffers for Stripe {
///     type Buffer = [u8; 512];
///     type Iovecs = IovecVec;
///
///     fn iovecs(&self) -> IovecVec {
///         IovecVec::default()
///     }
///     fn as_buffers(&self) -> &[[u8; 512]] {
///         &self.0
///     }
///     fn as_buffers_mut(&mut self) -> &mut [[u8; 512]] {
///         &mut self.0
///     }
/// }
/// ```
pub trait Buffers {
    /// One buffer.
    type Buffer;
    /// Holds what the kernel reads: an address and a length for each buffer.
    type Iovecs: Scratch;

    /// Makes the table for these buffers. Its content does not matter.
    fn iovecs(&self) -> Self::Iovecs;
    /// Returns the buffers, to be written.
    fn as_buffers(&self) -> &[Self::Buffer];
    /// Returns the buffers, to be filled.
    fn as_buffers_mut(&mut self) -> &mut [Self::Buffer];
}

impl<B, const N: usize> Buffers for [B; N] {
    type Buffer = B;
    type Iovecs = IovecArray<N>;

    #[inline]
    fn iovecs(&self) -> IovecArray<N> {
        IovecArray([EMPTY; N])
    }

    #[inline]
    fn as_buffers(&self) -> &[B] {
        self
    }

    #[inline]
    fn as_buffers_mut(&mut self) -> &mut [B] {
        self
    }
}

impl<B> Buffers for Vec<B> {
    type Buffer = B;
    type Iovecs = IovecVec;

    #[inline]
    fn iovecs(&self) -> IovecVec {
        IovecVec::for_count(self.len())
    }

    #[inline]
    fn as_buffers(&self) -> &[B] {
        self
    }

    #[inline]
    fn as_buffers_mut(&mut self) -> &mut [B] {
        self
    }
}

impl<B> Buffers for Box<[B]> {
    type Buffer = B;
    type Iovecs = IovecVec;

    #[inline]
    fn iovecs(&self) -> IovecVec {
        IovecVec::for_count(self.len())
    }

    #[inline]
    fn as_buffers(&self) -> &[B] {
        self
    }

    #[inline]
    fn as_buffers_mut(&mut self) -> &mut [B] {
        self
    }
}

const EMPTY: iovec = iovec { iov_base: 0, iov_len: 0 };

/// Holds the table that the kernel reads. Implemented for [`IovecArray`] and [`IovecVec`].
///
/// Any two tables are equal: what is in one is written anew by each `prepare`.
///
/// ```
/// use linux_aio::op::{IovecArray, IovecVec, Scratch};
///
/// fn is_table<T: Scratch>() {}
///
/// is_table::<IovecArray<2>>(); // for an array of two buffers, without an allocation
/// is_table::<IovecVec>(); // for a vector of buffers
/// ```
pub trait Scratch: Clone + fmt::Debug + Eq + sealed::Sealed {
    /// Returns `count` entries, or as many as there can be.
    #[doc(hidden)]
    fn entries(&mut self, count: usize) -> &mut [iovec];
}

mod sealed {
    pub trait Sealed {}
}

/// Holds the table for an array of `N` buffers.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Queue, op::ReadV};
/// use std::fs::File;
///
/// let mut queue = Queue::with_capacity(1)?;
/// let bufs = [[1; 16], [1; 16]]; // an array: no allocation
/// queue.push(ReadV::new(File::open("/dev/zero")?, bufs, 0))?;
/// assert_eq!(queue.wait()?.expect("a completion").op.bufs, [[0; 16]; 2]);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy)]
pub struct IovecArray<const N: usize>([iovec; N]);

impl<const N: usize> sealed::Sealed for IovecArray<N> {}

impl<const N: usize> Scratch for IovecArray<N> {
    #[inline]
    fn entries(&mut self, _count: usize) -> &mut [iovec] {
        &mut self.0
    }
}

impl<const N: usize> Default for IovecArray<N> {
    fn default() -> Self {
        Self([EMPTY; N])
    }
}

impl<const N: usize> PartialEq for IovecArray<N> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<const N: usize> Eq for IovecArray<N> {}

impl<const N: usize> fmt::Debug for IovecArray<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IovecArray").finish_non_exhaustive()
    }
}

/// Holds the table for any number of buffers.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Queue, op::ReadV};
/// use std::fs::File;
///
/// let mut queue = Queue::with_capacity(1)?;
/// let bufs = vec![[1; 16]; 3]; // the table is allocated once for the operation
/// queue.push(ReadV::new(File::open("/dev/zero")?, bufs, 0))?;
/// let done = queue.wait()?.expect("a completion");
/// assert_eq!(done.result?, 48);
/// queue.push(done.op)?; // with the same table
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct IovecVec(Vec<iovec>);

impl IovecVec {
    fn for_count(count: usize) -> Self {
        let mut entries = Vec::new();
        entries.resize(count, EMPTY);
        Self(entries)
    }
}

impl sealed::Sealed for IovecVec {}

impl Scratch for IovecVec {
    #[inline]
    fn entries(&mut self, count: usize) -> &mut [iovec] {
        if self.0.len() < count {
            self.0.resize(count, EMPTY);
        }
        &mut self.0
    }
}

impl PartialEq for IovecVec {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for IovecVec {}

impl fmt::Debug for IovecVec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IovecVec").finish_non_exhaustive()
    }
}
