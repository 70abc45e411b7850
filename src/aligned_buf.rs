//! [`AlignedBuf`], memory for `O_DIRECT`.

use crate::Errno;
use crate::abi::helper::MADV_DONTFORK;
use crate::sys::helper;
use core::fmt;
use core::ops::{Deref, DerefMut};
use core::ptr::{self, NonNull};

/// Holds bytes for `O_DIRECT`: zeroed at first, from the start of a page, in pages of their own.
///
/// A pool of them, cut from one mapping, is a [`BufferPool`](crate::BufferPool).
///
/// Every file system and block device accepts page alignment, but for devices with blocks larger
/// than a page; [`with_alignment`](Self::with_alignment) serves those.
///
/// # Forks
///
/// A forked child has a copy of the bytes, and dropping it there frees the copy. After
/// [`dont_fork`](Self::dont_fork) the child has no memory there. An operation that owns the buffer
/// is safe all the same once it was pushed or its future was polled: a child drops none of these.
///
/// ```
/// use linux_aio::AlignedBuf;
///
/// let mut buf = AlignedBuf::new(8192)?;
/// buf[..5].copy_from_slice(b"hello");
/// assert_eq!(buf.as_ptr().addr() % 4096, 0);
/// assert_eq!(&buf[..6], b"hello\0");
/// # Ok::<(), linux_aio::Errno>(())
/// ```
#[doc(alias = "posix_memalign")]
#[doc(alias = "memalign")]
pub struct AlignedBuf {
    start: NonNull<u8>,
    len: usize,
    /// The mapping, in which `start` lies.
    mapping: NonNull<u8>,
    mapping_len: usize,
}

/// `MADV_HUGEPAGE` of `asm-generic/mman-common.h`, the same on every architecture of `abi`.
const MADV_HUGEPAGE: i32 = 14;

/// The smallest page that Linux has; what a mapping is aligned to on every machine.
const SMALLEST_PAGE: usize = 4096;

// SAFETY: It owns its memory alone, as a `Box<[u8]>` does, and bytes may be sent.
unsafe impl Send for AlignedBuf {}
// SAFETY: Through `&` it gives out `&[u8]` alone, and a `[u8]` is `Sync`.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// Maps `len` zeroed bytes that start at a page.
    ///
    /// # Errors
    /// `ENOMEM`: no memory, or a limit (`RLIMIT_AS`, the number of mappings). `EINVAL`: `len` does
    /// not fit an address space.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_aio::AlignedBuf;
    ///
    /// let buf = AlignedBuf::new(65536)?;
    /// assert_eq!((buf.len(), buf.as_ptr().addr() % 4096), (65536, 0));
    /// # Ok::<(), linux_aio::Errno>(())
    /// ```
    pub fn new(len: usize) -> Result<Self, Errno> {
        Self::with_alignment(len, SMALLEST_PAGE)
    }

    /// Maps `len` zeroed bytes that start at a page and at a multiple of `align`.
    ///
    /// # Errors
    /// `ENOMEM`: no memory, or a limit (`RLIMIT_AS`, the number of mappings). `EINVAL`: `align` is
    /// no power of two, or `len` does not fit an address space.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_aio::{AlignedBuf, Errno};
    ///
    /// let buf = AlignedBuf::with_alignment(65536, 16384)?; // for a device with blocks of 16 KiB
    /// assert_eq!(buf.as_ptr().addr() % 16384, 0);
    /// assert_eq!(AlignedBuf::with_alignment(1, 3).unwrap_err(), Errno::EINVAL);
    /// # Ok::<(), Errno>(())
    /// ```
    pub fn with_alignment(len: usize, align: usize) -> Result<Self, Errno> {
        if !align.is_power_of_two() {
            return Err(Errno::EINVAL);
        }
        let spare = if align > SMALLEST_PAGE { align } else { 0 };
        // A mapping has at least one byte, and an object at most isize::MAX.
        let mapping_len = len.max(1).checked_add(spare).ok_or(Errno::EINVAL)?;
        if isize::try_from(mapping_len).is_err() {
            return Err(Errno::EINVAL);
        }
        let address = Errno::check(helper::mmap_anonymous(mapping_len))?;
        let mapping = ptr::with_exposed_provenance_mut::<u8>(address);
        let skipped = address.next_multiple_of(align) - address;
        // SAFETY: `skipped` is at most `spare`, so it is inside of the mapping.
        let start = unsafe { mapping.add(skipped) };
        let pointers = NonNull::new(start).zip(NonNull::new(mapping));
        let (start, mapping) = pointers.ok_or(Errno::ENOMEM)?;
        Ok(Self { start, len, mapping, mapping_len })
    }

    /// Copies the bytes to a new buffer of the same alignment.
    ///
    /// # Errors
    /// `ENOMEM`: no memory, or a limit (`RLIMIT_AS`, the number of mappings).
    pub fn try_clone(&self) -> Result<Self, Errno> {
        if self.mapping_len == 0 {
            return Ok(Self::EMPTY);
        }
        // `with_alignment` maps that much more than the bytes where the page is not enough.
        let spare = self.mapping_len - self.len.max(1);
        let mut copy = Self::with_alignment(self.len, spare.max(SMALLEST_PAGE))?;
        copy.copy_from_slice(self);
        Ok(copy)
    }

    /// No bytes, and no mapping.
    const EMPTY: Self = {
        let start = NonNull::new(ptr::without_provenance_mut(SMALLEST_PAGE)).unwrap();
        Self { start, len: 0, mapping: start, mapping_len: 0 }
    };

    /// Returns a pointer to the first byte, good for all of them as long as the buffer is there.
    #[cfg(feature = "std")]
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Asks for huge pages (`MADV_HUGEPAGE`), which take the kernel less time to look up.
    ///
    /// Ask before the first use of the memory, with an alignment and a length that are multiples of
    /// a huge page (2 MiB on x86-64). The kernel gives them if it has some, and says nothing if
    /// not.
    ///
    /// # Errors
    /// `EINVAL`: the kernel was built without transparent huge pages.
    ///
    /// # Examples
    ///
    /// ```
    /// use linux_aio::AlignedBuf;
    ///
    /// const HUGE: usize = 2 << 20;
    /// let buf = AlignedBuf::with_alignment(8 * HUGE, HUGE)?;
    /// if let Err(errno) = buf.advise_huge_pages() {
    ///     println!("no huge pages: {errno}"); // The buffer works all the same.
    /// }
    /// # Ok::<(), linux_aio::Errno>(())
    /// ```
    pub fn advise_huge_pages(&self) -> Result<(), Errno> {
        // SAFETY: The pages are ours alone. The advice does not change what is in them.
        let advised =
            unsafe { helper::madvise(self.mapping.as_ptr(), self.mapping_len, MADV_HUGEPAGE) };
        Errno::check(advised).map(drop)
    }

    /// Leaves the memory out of forked children (`MADV_DONTFORK`).
    ///
    /// `open(2)` warns that `O_DIRECT` on private memory and `fork` do not go together: older
    /// kernels may lose data that a read delivers while a child shares the page. This rules it out.
    ///
    /// # Errors
    /// `ENOMEM`: the number of mappings would pass its limit.
    ///
    /// # Safety
    /// In a forked child the buffer must be neither used nor dropped: there is no memory behind it,
    /// or somebody else's.
    pub unsafe fn dont_fork(&self) -> Result<(), Errno> {
        // SAFETY: The pages are ours alone, and this process keeps them.
        let advised =
            unsafe { helper::madvise(self.mapping.as_ptr(), self.mapping_len, MADV_DONTFORK) };
        Errno::check(advised).map(drop)
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        if self.mapping_len == 0 {
            return;
        }
        // SAFETY: The mapping is ours alone, and nothing borrows it any more.
        unsafe { helper::munmap(self.mapping.as_ptr(), self.mapping_len) };
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `len` initialised bytes from `start` on are mapped and ours.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: `len` initialised bytes from `start` on are mapped and ours alone.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for AlignedBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for AlignedBuf {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

/// An empty buffer, which has no mapping.
impl Default for AlignedBuf {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// Copies the bytes to a new buffer of the same alignment.
///
/// # Panics
/// If there is no memory, as with [`AlignedBuf::try_clone`].
impl Clone for AlignedBuf {
    fn clone(&self) -> Self {
        self.try_clone().unwrap_or_else(|errno| panic!("no memory for an AlignedBuf: {errno}"))
    }
}

/// Copies the bytes to a new buffer that starts at a page.
///
/// # Panics
/// If there is no memory, as with [`AlignedBuf::new`].
impl From<&[u8]> for AlignedBuf {
    fn from(bytes: &[u8]) -> Self {
        let buf = Self::new(bytes.len());
        let mut buf = buf.unwrap_or_else(|errno| panic!("no memory for an AlignedBuf: {errno}"));
        buf.copy_from_slice(bytes);
        buf
    }
}

/// Compares the bytes.
impl PartialEq for AlignedBuf {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for AlignedBuf {}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedBuf")
            .field("start", &self.start)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::AlignedBuf;
    use crate::Errno;

    #[test]
    fn every_alignment_is_kept_and_every_byte_is_zero() {
        for align in (0..22).map(|bits| 1usize << bits) {
            for len in [0, 1, 4095, 4096, 4097, 100_000] {
                let mut buf = AlignedBuf::with_alignment(len, align).expect("memory");
                assert_eq!(buf.as_ptr().addr() % align.max(4096), 0, "{len} at {align}");
                assert_eq!(buf.len(), len);
                assert!(buf.iter().all(|&byte| byte == 0));
                buf.fill(0xff);
            }
        }
    }

    /// Goal: a copy has the bytes and the alignment, in memory of its own.
    #[test]
    fn a_copy_has_the_bytes_and_the_alignment() {
        for align in [1, 512, 4096, 8192, 1 << 21] {
            for len in [0, 1, 4096, 100_000] {
                let mut buf = AlignedBuf::with_alignment(len, align).expect("memory");
                buf.fill(7);
                let mut copy = buf.clone();
                assert_eq!(copy, buf, "{len} at {align}");
                assert_eq!(copy.as_ptr().addr() % align.max(4096), 0, "{len} at {align}");
                copy.fill(8);
                assert_eq!((copy == buf, buf.iter().all(|&byte| byte == 7)), (len == 0, true));
            }
        }
        assert_eq!(&AlignedBuf::from(&b"bytes"[..])[..], b"bytes");
    }

    /// Goal: an empty buffer is a buffer: it can be written, compared, copied, advised of, dropped.
    #[test]
    fn an_empty_buffer_needs_no_mapping() {
        let mut empty = AlignedBuf::default();
        empty.fill(1);
        assert_eq!((empty.len(), empty.as_ptr().addr() % 4096), (0, 0));
        assert_eq!(empty.clone(), AlignedBuf::new(0).expect("memory"));
        assert_eq!(AlignedBuf::from(&[][..]), core::mem::take(&mut empty));
        // SAFETY: This process does not fork.
        assert_eq!(unsafe { empty.dont_fork() }, Ok(()));
        assert!(matches!(empty.advise_huge_pages(), Ok(()) | Err(Errno::EINVAL)));
    }

    #[test]
    fn sizes_and_alignments_that_cannot_be_are_refused() {
        for align in [0, 3, 4097] {
            assert_eq!(AlignedBuf::with_alignment(1, align).err(), Some(Errno::EINVAL));
        }
        for len in [usize::MAX, isize::MAX as usize + 1] {
            assert_eq!(AlignedBuf::new(len).err(), Some(Errno::EINVAL));
        }
        assert_eq!(AlignedBuf::new(isize::MAX as usize).err(), Some(Errno::ENOMEM));
    }
}
