//! Syncs a [`File`], changes its length and blocks, and closes it.

use super::drivers::FileOperation;
use super::open::Open;
use super::transfer::check_range;
use super::{Access, File, FileDriver, SyncRange, call};
use crate::driver::Lane;
use crate::driver::thread::Failure;
use crate::fd::IntoRawFd;
use crate::op::{Fdsync, Fsync};
use crate::sys::helper;
use crate::{Errno, Operation};
use alloc::boxed::Box;
use alloc::sync::Arc;
use rustix::fs::FallocateFlags;
use std::fs::Metadata;
use std::io;

/// Syncs, lengths, blocks, and the close.
impl<D: FileDriver> File<D> {
    /// Brings the file's data and metadata to stable storage.
    ///
    /// It covers the writes that have completed. It is not ordered with writes in flight: await
    /// them first. To write and make durable in one operation, write with
    /// [`RwFlags::DSYNC`](crate::RwFlags::DSYNC) or [`RwFlags::SYNC`](crate::RwFlags::SYNC), as
    /// [`with_rw_flags`](Self::with_rw_flags) shows.
    ///
    /// # Errors
    /// Those of `fsync(2)`.
    #[doc(alias = "fsync")]
    pub async fn sync_all(&self) -> io::Result<()> {
        self.sync(Fsync::new(self.main()), |file| Ok(call::sync_all(file)?)).await
    }

    /// Brings the file's data, and the metadata needed to read it, to stable storage.
    ///
    /// It covers the writes that have completed, as [`sync_all`](Self::sync_all) does.
    ///
    /// # Errors
    /// Those of `fdatasync(2)`.
    #[doc(alias = "fdatasync")]
    pub async fn sync_data(&self) -> io::Result<()> {
        self.sync(Fdsync::new(self.main()), |file| Ok(call::sync_data(file)?)).await
    }

    async fn sync<O: FileOperation>(
        &self,
        op: O,
        call: fn(&std::fs::File) -> io::Result<()>,
    ) -> io::Result<()> {
        let (result, mut op) = self.access.perform(Box::new(op)).await;
        match result {
            Ok(_) => Ok(()),
            // Before Linux 4.18 no file system had it.
            Err(Errno::EINVAL) => {
                let result = self.call(call).await;
                result.map_err(|failure| failure.describe(|errno| failed(&mut *op, errno)))
            }
            Err(errno) => Err(failed(&mut *op, errno)),
        }
    }

    /// Writes the pages of a range that are in the page cache only to the disk. A length of 0 means
    /// all that is behind `offset`.
    ///
    /// **This makes nothing durable.** The disk may keep the data in a cache of its own, and lose
    /// it when the power fails. Nor does it write the file's metadata, such as its length and the
    /// places of new blocks. Use it to spread the work of a later [`sync_data`](Self::sync_data)
    /// over time. Of a direct file only heads and tails are in the page cache.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use linux_aio::{Direct, Driver, File, SyncRange};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("log");
    /// let driver = Driver::on_thread(8)?;
    /// # pollster::block_on(async {
    /// let options = File::options().write(true).create(true).direct(Direct::Never);
    /// let file = options.open(&driver, path).await?;
    /// for at in 0..4 {
    ///     file.write_all_at(vec![7; 1 << 20], at << 20).await.0?;
    ///     file.sync_range(at << 20, 1 << 20, SyncRange::Start).await?;
    /// }
    /// // Most of the work is done by now.
    /// file.sync_data().await
    /// # }) }
    /// ```
    ///
    /// # Errors
    /// Those of `sync_file_range(2)`; `InvalidInput` for a range that ends behind 2^63 - 1. The
    /// text names the range.
    #[doc(alias = "sync_file_range")]
    pub async fn sync_range(&self, offset: u64, len: u64, how: SyncRange) -> io::Result<()> {
        check_range(offset, len)?;
        let flags = how.flags();
        let call = move |file: &std::fs::File| Ok(call::sync_range(file, offset, len, flags)?);
        self.call(call).await.map_err(|errno| {
            let text = alloc::format!("sync_file_range of {len} bytes at offset {offset}");
            call::failed(&text, errno)
        })
    }

    /// Sets the length of the file. What it grows by reads as zeros.
    ///
    /// # Errors
    /// Those of `ftruncate(2)`; `InvalidInput` for more than 2^63 - 1. The text names the length.
    #[doc(alias = "ftruncate")]
    pub async fn set_len(&self, len: u64) -> io::Result<()> {
        check_range(0, len)?;
        let result = self.call(move |file| call::set_len(file, len)).await;
        result.map_err(|why| call::failed(&alloc::format!("ftruncate to {len} bytes"), why))
    }

    /// Allocates the blocks of a range, and makes the file as long as that. Writes to them then
    /// need no allocation, so `io_submit` does not wait for it.
    ///
    /// # Errors
    /// `EOPNOTSUPP`: the file system cannot. `ENOSPC`: it has no room. `EINVAL`: `len` is 0.
    /// Otherwise those of `fallocate(2)`. The text names the range.
    #[doc(alias = "fallocate")]
    pub async fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.fallocate(FallocateFlags::empty(), offset, len).await
    }

    /// Gives back the blocks of a range, which then reads as zeros. The length stays.
    ///
    /// # Errors
    /// Those of [`allocate`](Self::allocate).
    #[doc(alias("fallocate", "FALLOC_FL_PUNCH_HOLE"))]
    pub async fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        self.fallocate(FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len).await
    }

    async fn fallocate(&self, mode: FallocateFlags, offset: u64, len: u64) -> io::Result<()> {
        check_range(offset, len)?;
        let call = move |file: &std::fs::File| call::allocate(file, mode, offset, len);
        self.call(call).await.map_err(|why| {
            let hole = if mode.is_empty() { "" } else { " of a hole" };
            let text = alloc::format!("fallocate{hole} of {len} bytes at offset {offset}");
            call::failed(&text, why)
        })
    }

    /// Returns metadata of the file. It is answered from memory for an open file, so not as a
    /// future. (A network or FUSE file system may ask its server.)
    ///
    /// # Errors
    /// Those of `fstat(2)`.
    #[doc(alias = "fstat")]
    pub fn metadata(&self) -> io::Result<Metadata> {
        call::metadata(self.get_ref())
    }

    /// Closes the file on a thread of the driver, and tells whether that failed.
    ///
    /// A driver that is closed has no such thread, and the file is closed on the spot.
    ///
    /// The descriptor stays open, and the result is `Ok`, while there are other handles, or
    /// operations of futures that were dropped. A network file system may tell here that writes
    /// have failed; for others [`sync_data`](Self::sync_data) does.
    ///
    /// # Errors
    /// Those of `close(2)`.
    pub async fn close(self) -> io::Result<()> {
        let Access { open, driver, .. } = self.access;
        let (result, open) = driver.threads().call(Lane::Calls, Some(open), close).await;
        // A driver that is closed has no thread for it.
        let result = result.unwrap_or_else(|_| close(&mut { open }));
        result.map_err(|errno| call::failed("close", errno))
    }

    fn main(&self) -> Arc<Open> {
        Arc::clone(&self.access.open)
    }

    /// Makes a call on the driver's thread for calls.
    async fn call<R: Send + 'static>(
        &self,
        call: impl FnOnce(&std::fs::File) -> io::Result<R> + Send + 'static,
    ) -> Result<R, Failure> {
        let driver = &self.access.driver;
        let result =
            driver.threads().call(Lane::Calls, self.main(), |open| call(&open.main)).await.0?;
        Ok(result.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::EIO))?)
    }
}

/// Closes the descriptors if nobody else has them.
fn close(open: &mut Option<Arc<Open>>) -> Result<(), Errno> {
    let Some(open) = open.take().and_then(Arc::into_inner) else { return Ok(()) };
    drop(open.second);
    // SAFETY: The number is of a descriptor that nobody else has.
    Errno::check(unsafe { helper::close(open.main.into_raw_fd()) }).map(drop)
}

impl FileOperation for Fsync<Arc<Open>> {
    fn call(&mut self) -> Result<u32, Errno> {
        call::sync_all(&self.fd).map(|()| 0)
    }
}

impl FileOperation for Fdsync<Arc<Open>> {
    fn call(&mut self) -> Result<u32, Errno> {
        call::sync_data(&self.fd).map(|()| 0)
    }
}

fn failed<O: Operation>(op: &mut O, errno: Errno) -> io::Error {
    op.prepare().diagnose(errno).into()
}
