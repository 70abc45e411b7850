//! [`Spare`], a buffer that reads fill although it is not initialised, and [`SpareMemory`], what
//! has such memory.

use crate::{Filled, ReadTo, Room};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::mem::MaybeUninit;
use core::slice;

/// Memory that is not initialised, and how much of it reads have filled.
///
/// A read needs no zeroed buffer: the kernel writes the bytes. A `Spare` is a buffer for reads that
/// begins at the first byte which no read has filled. For a `Vec` that is the memory behind its
/// length. [`into_inner`](Self::into_inner) gives the buffer back with the length set.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Queue, Spare, op::Read};
///
/// let mut queue = Queue::with_capacity(1)?;
/// let buf = Spare::new(Vec::with_capacity(4096));
/// queue.push(Read::new(std::fs::File::open("/etc/os-release")?, buf, 0))?;
/// let done = queue.wait()?.expect("a completion");
/// let count = done.result?;
/// let text: Vec<u8> = done.op.buf.into_inner();
/// assert_eq!(text.len(), count as usize);
/// # Ok(()) }
/// ```
///
/// After a short count, `Read { offset: at + count, ..done.op }` goes on behind the bytes that were
/// read. To read the same memory again, [`clear`](Self::clear) it.
///
/// Several of them can be the buffers of one [`ReadV`](crate::op::ReadV) or
/// [`File::readv_at`](crate::File::readv_at): each has the bytes that were read to it.
///
/// As a buffer of a [`Write`](crate::op::Write), it is the bytes that were read.
///
/// # Limits
///
/// A part of a `Spare` that does not begin at its start would leave a gap; use
/// [`with_limit`](Self::with_limit) for a part at the start.
pub struct Spare<B> {
    buf: B,
    /// The first `filled.count()` bytes of the memory are initialised. Lent only in `lend_again`,
    /// with the whole memory from its start.
    filled: Filled,
    limit: usize,
}

impl<B: SpareMemory> Spare<B> {
    /// Takes all of the spare memory.
    pub const fn new(buf: B) -> Self {
        Self::with_limit(buf, usize::MAX)
    }

    /// Takes the first `limit` bytes of the spare memory, or all if there are fewer.
    ///
    /// A `Vec` may have more capacity than it was asked for, and `O_DIRECT` needs exact lengths.
    pub const fn with_limit(buf: B, limit: usize) -> Self {
        Self { buf, filled: Filled::new(), limit }
    }

    /// Returns how many bytes have been read.
    pub const fn len(&self) -> usize {
        self.filled.count()
    }

    /// Returns whether no byte has been read.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many bytes can still be read.
    pub fn room(&self) -> usize {
        self.buf.spare_len().min(self.limit).saturating_sub(self.len())
    }

    /// Forgets the bytes that have been read: the next read overwrites them.
    pub const fn clear(&mut self) {
        self.filled.clear();
    }

    /// Returns the buffer, in which the bytes that were read are behind those that it had.
    ///
    /// Arrays and boxed slices have no length that could be set: use
    /// [`into_parts`](Self::into_parts).
    pub fn into_inner(mut self) -> B {
        self.commit();
        self.buf
    }

    /// Returns the buffer as it was, and how many bytes of its spare memory have been read.
    ///
    /// ```
    /// use linux_aio::Spare;
    ///
    /// let memory = Box::<[u8]>::new_uninit_slice(4096);
    /// let (memory, count) = Spare::new(memory).into_parts();
    /// assert_eq!((memory.len(), count), (4096, 0));
    /// ```
    pub fn into_parts(self) -> (B, usize) {
        let count = self.len();
        (self.buf, count)
    }

    /// Returns the buffer, in which the bytes that were read are behind those that it had. The next
    /// read goes to the memory that is spare then.
    pub fn get_mut(&mut self) -> &mut B {
        self.commit();
        &mut self.buf
    }

    fn commit(&mut self) {
        let count = self.len();
        // First, so that the bytes are committed once, even if this panics.
        self.filled.clear();
        // SAFETY: The first `count` bytes of the spare memory are initialised, by the invariant of
        // `filled`.
        unsafe { self.buf.commit(count) };
    }
}

impl<'a> Spare<&'a mut [MaybeUninit<u8>]> {
    /// Returns the bytes that have been read.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{IoContext, Slot, Spare, op::Read};
    /// use std::mem::MaybeUninit;
    ///
    /// let file = std::fs::File::open("/dev/zero")?;
    /// let mut memory = [MaybeUninit::uninit(); 64];
    /// let mut context = IoContext::new(1)?;
    /// let bytes = linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
    ///     io.push(Read::new(&file, Spare::new(&mut memory[..]), 0))?;
    ///     let done = io.wait()?.expect("a completion");
    ///     std::io::Result::Ok(done.op.buf.into_filled())
    /// })??;
    /// assert_eq!(bytes, [0; 64]);
    /// # Ok(()) }
    /// ```
    pub fn into_filled(self) -> &'a mut [u8] {
        let count = self.len();
        let filled = &mut self.buf[..count];
        // SAFETY: These bytes are initialised, by the invariant of `filled`, and borrowed
        // exclusively for 'a. A `MaybeUninit<u8>` has the layout of a `u8`.
        unsafe { slice::from_raw_parts_mut(filled.as_mut_ptr().cast(), count) }
    }
}

impl<B: SpareMemory> ReadTo for Spare<B> {
    #[inline]
    fn lend(&mut self) -> Room<'_> {
        self.lend_again(0)
    }

    #[inline]
    fn lend_again(&mut self, done: usize) -> Room<'_> {
        let start = self.filled.count().saturating_sub(done);
        let memory = self.buf.spare_mut();
        let len = memory.len().min(self.limit);
        Room::uninit(&mut memory[..len], &mut self.filled).skip(start.min(len))
    }
}

/// The bytes that have been read.
impl<B: SpareMemory> AsRef<[u8]> for Spare<B> {
    fn as_ref(&self) -> &[u8] {
        let count = self.len();
        if count == 0 {
            return &[];
        }
        // SAFETY: The kernel has written the first `count` bytes since `lend_again` lent the slice
        // that `spare_mut` gave it, by the invariant of `filled`. The buffer was not changed since.
        unsafe { self.buf.filled(count) }
    }
}

impl<B: SpareMemory> fmt::Debug for Spare<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spare")
            .field("len", &self.len())
            .field("room", &self.room())
            .finish_non_exhaustive()
    }
}

/// A buffer that has memory which need not be initialised.
///
/// # Safety
///
/// - `spare_mut` returns the same memory each time, whose length `spare_len` returns, until
///   [`commit`](Self::commit) is called or the value is changed by its own methods. A move of the
///   value moves the bytes with it.
/// - Nobody writes to the memory but by `spare_mut`: bytes that were initialised stay so.
/// - `filled` returns these bytes, and `commit` makes no other bytes part of the buffer.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Queue, Spare, SpareMemory, op::Read};
/// use std::mem::MaybeUninit;
///
/// /// Memory for one block.
/// struct Block(Box<[MaybeUninit<u8>]>);
///
/// // SAFETY: The memory is that of the box, of which nothing else is shown. A move of the box
/// // leaves the bytes where they are.
/// unsafe impl SpareMemory for Block {
///     fn spare_len(&self) -> usize {
///         self.0.len()
///     }
///
///     fn spare_mut(&mut self) -> &mut [MaybeUninit<u8>] {
///         &mut self.0
///     }
///
///     unsafe fn filled(&self, count: usize) -> &[u8] {
///         // SAFETY: The caller promises that these bytes of the box are initialised.
///         unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0[..count].len()) }
///     }
///
///     unsafe fn commit(&mut self, _count: usize) {} // A box has no length to set.
/// }
///
/// let mut queue = Queue::with_capacity(1)?;
/// let block = Spare::new(Block(Box::new_uninit_slice(512)));
/// queue.push(Read::new(std::fs::File::open("/dev/zero")?, block, 0))?;
/// let done = queue.wait()?.expect("a completion");
/// assert_eq!((done.result?, done.op.buf.as_ref()), (512, &[0; 512][..]));
/// # Ok(()) }
/// ```
pub unsafe trait SpareMemory {
    /// Returns the length of the memory, in bytes.
    fn spare_len(&self) -> usize;

    /// Returns the memory, to be filled.
    fn spare_mut(&mut self) -> &mut [MaybeUninit<u8>];

    /// Returns the first `count` bytes of the memory.
    ///
    /// # Safety
    /// They have been initialised through the slice that `spare_mut` returned.
    unsafe fn filled(&self, count: usize) -> &[u8];

    /// Makes the first `count` bytes of the memory part of the buffer, if it has a length.
    ///
    /// # Safety
    /// They are initialised, and there are that many.
    unsafe fn commit(&mut self, count: usize);
}

// SAFETY: The memory behind the length stays where it is until the vector is changed, and only
// `spare_capacity_mut` gives it away.
unsafe impl SpareMemory for Vec<u8> {
    fn spare_len(&self) -> usize {
        self.capacity() - self.len()
    }

    fn spare_mut(&mut self) -> &mut [MaybeUninit<u8>] {
        self.spare_capacity_mut()
    }

    unsafe fn filled(&self, count: usize) -> &[u8] {
        // SAFETY: The length is at most the capacity, so this stays in the allocation, for all of
        // which `Vec::as_ptr` is good.
        let start = unsafe { self.as_ptr().add(self.len()) };
        // SAFETY: The caller promises that these bytes, which are borrowed here, are initialised.
        unsafe { slice::from_raw_parts(start, count) }
    }

    unsafe fn commit(&mut self, count: usize) {
        // SAFETY: The caller promises that the bytes behind the length are initialised, and there.
        unsafe { self.set_len(self.len() + count) };
    }
}

/// Implements the trait for memory without a length, which derefs to a slice.
macro_rules! without_length {
    ($([$($generics:tt)*] $type:ty),*) => {$(
        // SAFETY: The memory is the value itself, or is owned or borrowed exclusively by it, and
        // only `spare_mut` gives it away for writing.
        unsafe impl<$($generics)*> SpareMemory for $type {
            fn spare_len(&self) -> usize {
                self.len()
            }

            fn spare_mut(&mut self) -> &mut [MaybeUninit<u8>] {
                &mut self[..]
            }

            unsafe fn filled(&self, count: usize) -> &[u8] {
                let filled = &self[..count];
                // SAFETY: The caller promises that these bytes, which are borrowed, are
                // initialised. A `MaybeUninit<u8>` has the layout of a `u8`.
                unsafe { slice::from_raw_parts(filled.as_ptr().cast(), count) }
            }

            unsafe fn commit(&mut self, _count: usize) {}
        }
    )*};
}

without_length!(
    [] Box<[MaybeUninit<u8>]>,
    [] &mut [MaybeUninit<u8>],
    [const N: usize] [MaybeUninit<u8>; N],
    [const N: usize] Box<[MaybeUninit<u8>; N]>
);

// SAFETY: It is borrowed exclusively, so nobody else changes the value; the rest is its promise.
unsafe impl<B: SpareMemory> SpareMemory for &mut B {
    fn spare_len(&self) -> usize {
        (**self).spare_len()
    }

    fn spare_mut(&mut self) -> &mut [MaybeUninit<u8>] {
        (**self).spare_mut()
    }

    unsafe fn filled(&self, count: usize) -> &[u8] {
        // SAFETY: The memory is that of the value, so the caller's promise is about it: its first
        // `count` bytes have been initialised.
        unsafe { (**self).filled(count) }
    }

    unsafe fn commit(&mut self, count: usize) {
        // SAFETY: The memory is that of the value, so the caller's promise is about it: its first
        // `count` bytes are there, and initialised.
        unsafe { (**self).commit(count) };
    }
}

// SAFETY: The memory behind the length is the value's alone (`BytesMut` shares it with no other),
// and stays where it is until the value is changed.
#[cfg(feature = "bytes")]
unsafe impl SpareMemory for bytes::BytesMut {
    fn spare_len(&self) -> usize {
        self.capacity() - self.len()
    }

    fn spare_mut(&mut self) -> &mut [MaybeUninit<u8>] {
        let spare = self.spare_capacity_mut();
        let (start, len) = (spare.as_mut_ptr(), spare.len());
        // For `filled`: there is no other way to this memory through a shared reference.
        start.expose_provenance();
        // SAFETY: This is the slice itself, borrowed as before.
        unsafe { slice::from_raw_parts_mut(start, len) }
    }

    unsafe fn filled(&self, count: usize) -> &[u8] {
        // A pointer of `as_ptr` is good for the length alone, and these bytes are behind it.
        let start = self.as_ptr().addr() + self.len();
        let start = core::ptr::with_exposed_provenance::<u8>(start);
        // SAFETY: The caller promises that the bytes were initialised through the slice whose
        // pointer `spare_mut` has exposed. They are borrowed with the value.
        unsafe { slice::from_raw_parts(start, count) }
    }

    unsafe fn commit(&mut self, count: usize) {
        // SAFETY: The caller promises that the bytes behind the length are initialised, and there.
        unsafe { self.set_len(self.len() + count) };
    }
}
