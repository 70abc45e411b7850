//! [`Part`], a range of an owned buffer, and [`Slice`], the method that makes one.

use core::ops::{Bound, RangeBounds};

/// A range of a buffer that keeps the whole buffer.
///
/// Operations own their buffers, so a slice such as `&mut buf[..512]` will not do. A `Part` is a
/// buffer for reads and writes as the whole is, and [`into_inner`](Self::into_inner) gives the
/// whole back. [`Slice::part`] makes one of any buffer.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Queue, Slice, op::Read};
///
/// let mut queue = Queue::with_capacity(1)?;
/// let buf = vec![1; 4096];
/// queue.push(Read::new(std::fs::File::open("/dev/zero")?, buf.part(..512), 0))?;
/// let done = queue.wait()?.expect("a completion");
/// let buf = done.op.buf.into_inner();
/// assert_eq!((buf[511], buf[512], buf.len()), (0, 1, 4096));
/// # Ok(()) }
/// ```
///
/// # Panics
///
/// The range is checked at each use, since the length of a buffer can change. `as_ref` and
/// `as_mut` panic if it does not lie in the buffer, as the slice would. In a push the panic is that
/// of `prepare`: the operation is dropped, and its slot is free again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part<B> {
    whole: B,
    start: usize,
    /// The end of the buffer if `None`.
    end: Option<usize>,
}

impl<B> Part<B> {
    /// Makes a part of `whole`. An open end is the end of the buffer at each use.
    ///
    /// # Panics
    /// If the range ends before it starts, or has a bound beyond `usize::MAX`.
    #[track_caller]
    pub fn new(whole: B, range: impl RangeBounds<usize>) -> Self {
        let after = |at: usize| at.checked_add(1).expect("a part has a bound beyond usize::MAX");
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&start) => after(start),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&end) => Some(after(end)),
            Bound::Excluded(&end) => Some(end),
            Bound::Unbounded => None,
        };
        assert!(end.is_none_or(|end| start <= end), "a part starts at {start} and ends at {end:?}");
        Self { whole, start, end }
    }

    /// Returns the whole buffer.
    ///
    /// ```
    /// use linux_aio::Slice;
    ///
    /// let part = vec![0; 64].part(16..32);
    /// assert_eq!(part.as_ref().len(), 16);
    /// assert_eq!(part.into_inner().len(), 64); // the whole buffer
    /// ```
    pub fn into_inner(self) -> B {
        self.whole
    }

    /// Returns a reference to the whole buffer.
    pub const fn get_ref(&self) -> &B {
        &self.whole
    }

    /// Returns a mutable reference to the whole buffer.
    pub const fn get_mut(&mut self) -> &mut B {
        &mut self.whole
    }
}

impl<T, B: AsRef<[T]>> AsRef<[T]> for Part<B> {
    #[inline]
    fn as_ref(&self) -> &[T] {
        let whole = self.whole.as_ref();
        &whole[self.start..self.end.unwrap_or(whole.len())]
    }
}

impl<T, B: AsMut<[T]>> AsMut<[T]> for Part<B> {
    #[inline]
    fn as_mut(&mut self) -> &mut [T] {
        let whole = self.whole.as_mut();
        let end = self.end.unwrap_or(whole.len());
        &mut whole[self.start..end]
    }
}

/// Adds [`part`](Self::part) to every buffer.
///
/// The method is not called `slice`: `bytes::Bytes` has a method of that name that borrows, and
/// the import of this trait would change the meaning of its calls.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Queue, Slice, op::Read};
///
/// let mut queue = Queue::with_capacity(1)?;
/// queue.push(Read::new(std::fs::File::open("/dev/zero")?, vec![1; 64].part(32..), 0))?;
/// let done = queue.wait()?.expect("a completion");
/// assert_eq!(done.result?, 32);
/// let whole = done.op.buf.into_inner();
/// assert_eq!((whole[31], whole[32]), (1, 0));
/// # Ok(()) }
/// ```
pub trait Slice: Sized {
    /// Makes a [`Part`] of this buffer.
    ///
    /// ```
    /// use linux_aio::Slice;
    ///
    /// let mut part = vec![0; 8].part(2..4);
    /// part.as_mut().fill(1);
    /// assert_eq!(part.into_inner(), [0, 0, 1, 1, 0, 0, 0, 0]);
    /// ```
    ///
    /// # Panics
    /// If the range ends before it starts, or has a bound beyond `usize::MAX`.
    #[track_caller]
    fn part(self, range: impl RangeBounds<usize>) -> Part<Self> {
        Part::new(self, range)
    }
}

impl<B> Slice for B {}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Part, Slice};
    use core::ops::Bound;
    use std::panic::catch_unwind;
    use std::vec;
    use std::vec::Vec;

    /// Goal: every kind of range is the slice's. Method: each is compared with the slice itself.
    #[test]
    fn every_range_is_that_of_the_slice() {
        let whole: Vec<u8> = (0..10).collect();
        macro_rules! compare {
            ($($range:expr),*) => {$(
                assert_eq!(whole.clone().part($range).as_ref(), &whole[$range]);
                assert_eq!(whole.clone().part($range).as_mut(), &whole[$range]);
                assert_eq!(whole.clone().part($range).into_inner(), whole);
            )*};
        }
        compare!(.., 0.., 3.., 10.., ..0, ..7, ..10, ..=6, 2..5, 2..=5, 4..4, 10..10);
        let bounds = (Bound::Excluded(2), Bound::Included(4));
        assert_eq!(whole.clone().part(bounds).as_ref(), [3, 4]);
    }

    /// Goal: a range that is none is refused at once, and one outside of the buffer at each use;
    /// the largest bound does not wrap.
    #[test]
    fn ranges_that_cannot_be_panic() {
        #[allow(clippy::reversed_empty_ranges, reason = "it is the test")]
        let reversed = catch_unwind(|| Part::new([0u8; 8], 3..2));
        assert!(reversed.is_err());
        assert!(catch_unwind(|| Part::new([0u8; 8], ..=usize::MAX)).is_err());
        let start = (Bound::Excluded(usize::MAX), Bound::Unbounded);
        assert!(catch_unwind(|| Part::new([0u8; 8], start)).is_err());
        for (start, end) in [(0, 9), (9, 9), (8, usize::MAX), (usize::MAX, usize::MAX)] {
            let part = Part::new([0u8; 8], start..end);
            assert!(catch_unwind(|| part.as_ref().len()).is_err(), "{start}..{end}");
            assert!(catch_unwind(move || { part }.as_mut().len()).is_err(), "{start}..{end}");
        }
        assert!(catch_unwind(|| Part::new([0u8; 8], 9..).as_ref().len()).is_err());
    }

    /// Goal: an open end follows the buffer, whose length may change between two uses.
    #[test]
    fn an_open_end_is_that_of_the_buffer_at_each_use() {
        let mut part = vec![0u8; 4].part(2..);
        part.get_mut().resize(10, 1);
        assert_eq!((part.as_ref().len(), part.get_ref().len()), (8, 10));
        assert_eq!(Part::<[u8; 3]>::default().as_ref(), [0; 3]);
    }
}
