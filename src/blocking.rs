//! Files for programs that block: the requests of [`File`](crate::File) as plain functions.

use crate::file::InPlace;
use crate::{Direct, DirectState, OpenOptions, RwFlags, SyncRange};
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use rustix::fd::{AsFd, BorrowedFd};
use static_assertions::assert_impl_all;
use std::fs::Metadata;
use std::io::{self, IoSlice, IoSliceMut};
use std::path::PathBuf;
use std::thread::{self, Thread};

assert_impl_all!(File: Send, Sync);

/// A file whose requests block: any offset, any length, any memory, without futures.
///
/// Buffers are borrowed. The names are those of [`std::os::unix::fs::FileExt`], and mean the same.
/// All else is as [`linux_aio::File`](crate::File) has it, by the same code. Files are
/// [direct](crate::File#direct-and-buffered-files) where they can be. Requests may be
/// [unaligned](crate::File#unaligned-requests-on-a-direct-file), with the five guarantees. Errors
/// name operation, length and offset.
///
/// Threads may share a file and its clones.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use linux_aio::blocking::File;
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("data");
/// let file = File::options().read(true).write(true).create(true).open_blocking(path)?;
/// file.write_all_at(b"any length", 777)?;
/// file.sync_data()?;
/// let mut buf = [0; 6];
/// file.read_exact_at(&mut buf, 781)?;
/// assert_eq!(&buf, b"length");
/// file.close()
/// # }
/// ```
///
/// # One request at a time
///
/// A thread that waits for its request gains nothing by `io_submit`. So each request is made by
/// `preadv2(2)` and `pwritev2(2)` on the calling thread, and needs no context of the kernel's: it
/// works where AIO is refused, too.
///
/// To have many requests in flight, use one of these:
///
/// - a [`LocalDriver`](crate::LocalDriver), with a [`linux_aio::File`](crate::File) of it: one
///   thread, no runtime, and as many futures as requests;
/// - a [`Queue`](crate::Queue), if the requests are aligned;
/// - threads that share this file.
///
/// # Forks
///
/// In a forked child the file belongs to the parent: a thread that the child does not have may have
/// been about to write. Requests give [`Errno::FORKED`](crate::Errno::FORKED). The child may open
/// the file itself.
#[derive(Clone, Debug)]
pub struct File {
    file: crate::File<InPlace>,
}

impl OpenOptions {
    /// Opens the file for requests that block.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use linux_aio::{Direct, blocking::File};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("log");
    /// let options = File::options().write(true).create(true).direct(Direct::Never);
    /// options.open_blocking(path)?.write_all_at(b"line\n", 0)
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of `open(2)`; `Unsupported` if `O_DIRECT` is [required](crate::Direct::Require) and
    /// the file has none; and those of [`blocking::File::from_std`](File::from_std). The text names
    /// the path.
    #[doc(alias = "openat")]
    pub fn open_blocking(&self, path: impl Into<PathBuf>) -> io::Result<File> {
        Ok(File { file: wait(self.open(&InPlace::new(), path))? })
    }
}

impl File {
    /// Returns the options to open a file with. [`OpenOptions::open_blocking`] opens it.
    pub fn options() -> OpenOptions {
        crate::File::options()
    }

    /// Opens a file for reading. Short for the [options](Self::options) `read(true)`.
    ///
    /// # Errors
    /// Those of [`OpenOptions::open_blocking`].
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        Self::options().read(true).open_blocking(path)
    }

    /// Takes a file that is open. It is direct if it is open with `O_DIRECT`.
    ///
    /// # Errors
    /// `InvalidInput` for a pipe, socket or terminal that is not set to `O_NONBLOCK`: such a file
    /// has no offsets, and [`std::io::Read`] reads it. Also those of `fstat(2)`, `fcntl(2)` and
    /// `epoll_create1(2)`.
    pub fn from_std(file: std::fs::File) -> io::Result<Self> {
        Ok(Self { file: crate::File::from_std(file, &InPlace::new())? })
    }

    /// Takes a file that is open, and uses `O_DIRECT` as `direct` says:
    /// [`linux_aio::File`](crate::File::from_std_with) tells how.
    ///
    /// # Errors
    /// `Unsupported`:
    /// - `O_DIRECT` is [required](crate::Direct::Require), and the file does not support it or
    ///   could not be opened again.
    /// - [`Direct::Never`] is asked for, and the file could not be opened without `O_DIRECT`.
    ///
    /// Otherwise those of [`from_std`](Self::from_std).
    pub fn from_std_with(file: std::fs::File, direct: Direct) -> io::Result<Self> {
        Ok(Self { file: crate::File::from_std_with(file, &InPlace::new(), direct)? })
    }

    /// Returns whether reads and writes go around the page cache.
    pub fn is_direct(&self) -> bool {
        self.file.is_direct()
    }

    /// Returns how reads and writes are done, and the reason.
    pub fn direct(&self) -> DirectState {
        self.file.direct()
    }

    /// Gives `flags` to every read and write of this handle, instead of those that it had.
    /// [`linux_aio::File`](crate::File::with_rw_flags) tells more.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use linux_aio::{RwFlags, blocking::File};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("log");
    /// let file = File::options().write(true).create_new(true).open_blocking(path)?;
    /// // Each write of this handle is durable when it returns.
    /// file.clone().with_rw_flags(RwFlags::DSYNC).write_all_at(b"committed", 0)
    /// # }
    /// ```
    #[must_use]
    pub fn with_rw_flags(self, flags: RwFlags) -> Self {
        Self { file: self.file.with_rw_flags(flags) }
    }

    /// Reads at `offset` to `buf`. Returns the number of bytes, which is the length of `buf` unless
    /// the file ends before.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let file = linux_aio::blocking::File::open("/dev/zero")?;
    /// let mut buf = [1; 100];
    /// assert_eq!(file.read_at(&mut buf, 3)?, 100);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` for a buffer of length 0, since 0 bytes would look like the end of the file,
    /// and for a range that ends behind 2^63 - 1. Otherwise those of `pread(2)`.
    #[doc(alias = "pread")]
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        // SAFETY: The request ends in `wait`, and gives the slice back or drops it there.
        let buf = unsafe { prolong_mut(buf) };
        wait(self.file.read_at(buf, offset)).0
    }

    /// Reads at `offset` until all of `buf` is full.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before. It is made of an
    /// [`UnexpectedEnd`](crate::UnexpectedEnd), which has the number of bytes that were read.
    /// Otherwise those of [`read_at`](Self::read_at).
    pub fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        // SAFETY: The request ends in `wait`, and gives the slice back or drops it there.
        let buf = unsafe { prolong_mut(buf) };
        wait(self.file.read_exact_at(buf, offset)).0
    }

    /// Reads at `offset` to several buffers, one after the other. Returns the number of bytes, as
    /// [`read_at`](Self::read_at) does.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use std::io::IoSliceMut;
    ///
    /// let file = linux_aio::blocking::File::open("/dev/zero")?;
    /// let (mut head, mut body) = ([1; 10], vec![1; 5000]);
    /// let mut bufs = [IoSliceMut::new(&mut head), IoSliceMut::new(&mut body)];
    /// assert_eq!(file.readv_at(&mut bufs, 0)?, 5010);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` if all buffers together have length 0. Otherwise those of
    /// [`read_at`](Self::read_at).
    #[doc(alias("preadv", "preadv2", "read_vectored_at"))]
    pub fn readv_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<usize> {
        let bufs = bufs.iter_mut();
        // SAFETY: The request ends in `wait`, and gives the slices back or drops them there.
        let bufs: Vec<_> = bufs.map(|buf| unsafe { prolong_mut(buf) }).collect();
        wait(self.file.readv_at(bufs, offset)).0
    }

    /// Reads at `offset` to several buffers, until all of them are full.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before, made of an
    /// [`UnexpectedEnd`](crate::UnexpectedEnd). `InvalidInput` if all buffers together have length
    /// 0. Otherwise those of [`read_at`](Self::read_at).
    #[doc(alias("preadv", "read_vectored_exact_at"))]
    pub fn readv_exact_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<()> {
        let bufs = bufs.iter_mut();
        // SAFETY: The request ends in `wait`, and gives the slices back or drops them there.
        let bufs: Vec<_> = bufs.map(|buf| unsafe { prolong_mut(buf) }).collect();
        wait(self.file.readv_exact_at(bufs, offset)).0
    }

    /// Writes `buf` at `offset`. Returns the number of bytes, which is the length of `buf` unless
    /// an error came after some bytes.
    ///
    /// If the file is open with `O_APPEND`, the kernel ignores the offset and writes at the end of
    /// the file.
    ///
    /// # Errors
    /// Those of `pwrite(2)`, if no byte was written; `InvalidInput` for a range that ends behind
    /// 2^63 - 1.
    #[doc(alias = "pwrite")]
    pub fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        // SAFETY: The request ends in `wait`, and gives the slice back or drops it there.
        let buf = unsafe { prolong(buf) };
        wait(self.file.write_at(buf, offset)).0
    }

    /// Writes all of `buf` at `offset`.
    ///
    /// # Errors
    /// Those of [`write_at`](Self::write_at); any number of bytes may have been written.
    /// `WriteZero` if the file takes no more.
    pub fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        // SAFETY: The request ends in `wait`, and gives the slice back or drops it there.
        let buf = unsafe { prolong(buf) };
        wait(self.file.write_all_at(buf, offset)).0
    }

    /// Writes several buffers, one after the other, at `offset`. Returns the number of bytes, as
    /// [`write_at`](Self::write_at) does.
    ///
    /// # Errors
    /// Those of [`write_at`](Self::write_at).
    #[doc(alias("pwritev", "pwritev2", "write_vectored_at"))]
    pub fn writev_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        // SAFETY: The request ends in `wait`, and gives the slices back or drops them there.
        let bufs: Vec<_> = bufs.iter().map(|buf| unsafe { prolong(buf) }).collect();
        wait(self.file.writev_at(bufs, offset)).0
    }

    /// Writes all of several buffers, one after the other, at `offset`.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use std::io::IoSlice;
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("record");
    /// let options = linux_aio::blocking::File::options().write(true).create(true);
    /// let file = options.open_blocking(&path)?;
    /// file.writev_all_at(&[IoSlice::new(b"header: "), IoSlice::new(b"body")], 0)?;
    /// assert_eq!(std::fs::read(&path)?, b"header: body");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of `pwritev(2)`; any number of bytes may have been written. `WriteZero` if the file
    /// takes no more.
    #[doc(alias("pwritev", "write_vectored_all_at"))]
    pub fn writev_all_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        // SAFETY: The request ends in `wait`, and gives the slices back or drops them there.
        let bufs: Vec<_> = bufs.iter().map(|buf| unsafe { prolong(buf) }).collect();
        wait(self.file.writev_all_at(bufs, offset)).0
    }

    /// Brings the file's data and metadata to stable storage: what was written before.
    ///
    /// # Errors
    /// Those of `fsync(2)`.
    #[doc(alias = "fsync")]
    pub fn sync_all(&self) -> io::Result<()> {
        wait(self.file.sync_all())
    }

    /// Brings the file's data, and the metadata needed to read it, to stable storage: what was
    /// written before.
    ///
    /// # Errors
    /// Those of `fdatasync(2)`.
    #[doc(alias = "fdatasync")]
    pub fn sync_data(&self) -> io::Result<()> {
        wait(self.file.sync_data())
    }

    /// Writes the pages of a range that are in the page cache only to the disk. **This makes
    /// nothing durable**: [`linux_aio::File::sync_range`](crate::File::sync_range) tells why.
    ///
    /// # Errors
    /// Those of `sync_file_range(2)`. The text names the range.
    #[doc(alias = "sync_file_range")]
    pub fn sync_range(&self, offset: u64, len: u64, how: SyncRange) -> io::Result<()> {
        wait(self.file.sync_range(offset, len, how))
    }

    /// Sets the length of the file. What it grows by reads as zeros.
    ///
    /// # Errors
    /// Those of `ftruncate(2)`; `InvalidInput` for more than 2^63 - 1. The text names the length.
    #[doc(alias = "ftruncate")]
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        wait(self.file.set_len(len))
    }

    /// Allocates the blocks of a range, and makes the file as long as that.
    ///
    /// # Errors
    /// `EOPNOTSUPP`: the file system cannot. `ENOSPC`: it has no room. `EINVAL`: `len` is 0.
    /// Otherwise those of `fallocate(2)`. The text names the range.
    #[doc(alias = "fallocate")]
    pub fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        wait(self.file.allocate(offset, len))
    }

    /// Gives back the blocks of a range, which then reads as zeros. The length stays.
    ///
    /// # Errors
    /// Those of [`allocate`](Self::allocate).
    #[doc(alias("fallocate", "FALLOC_FL_PUNCH_HOLE"))]
    pub fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        wait(self.file.punch_hole(offset, len))
    }

    /// Returns metadata of the file.
    ///
    /// # Errors
    /// Those of `fstat(2)`.
    #[doc(alias = "fstat")]
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    /// Closes the file, and tells whether that failed. The descriptor stays open, and the result is
    /// `Ok`, while there are other handles.
    ///
    /// # Errors
    /// Those of `close(2)`.
    pub fn close(self) -> io::Result<()> {
        wait(self.file.close())
    }

    /// Returns the file itself: the descriptor with `O_DIRECT` if the file is direct.
    pub fn get_ref(&self) -> &std::fs::File {
        self.file.get_ref()
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Makes a borrow of memory look as if it never ended.
///
/// # Safety
/// The result must not be used after the lifetime of `bytes`.
///
/// The requests of this file keep to that. The future of a request owns the slice and is pinned in
/// [`wait`], which returns its output or drops it when something unwinds. [`InPlace`] makes each
/// system call inside of a poll, on the same thread, and keeps no memory beyond the poll. So no
/// part of a request is left when `wait` has been left.
unsafe fn prolong<'a>(bytes: &[u8]) -> &'a [u8] {
    // SAFETY: The pointer is that of a slice, so it is valid for the caller's lifetime of it, in
    // which alone the result is used.
    unsafe { &*core::ptr::from_ref(bytes) }
}

/// [`prolong`] for memory that is written.
///
/// # Safety
/// That of [`prolong`]; and `bytes` must not be used before the last use of the result.
unsafe fn prolong_mut<'a>(bytes: &mut [u8]) -> &'a mut [u8] {
    // SAFETY: The pointer is that of an exclusive slice, so it is valid for the caller's lifetime
    // of it, in which alone the result is used, and used alone.
    unsafe { &mut *core::ptr::from_mut(bytes) }
}

/// Ends the sleep of a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls a request until it has ended. It is pending only while a write on the other side of the
/// page cache is under way, on another thread.
fn wait<F: Future>(request: F) -> F::Output {
    let mut request = pin!(request);
    // Hardly any request needs a waker.
    if let Poll::Ready(output) = request.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        return output;
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = request.as_mut().poll(&mut context) {
            return output;
        }
        thread::park();
    }
}
