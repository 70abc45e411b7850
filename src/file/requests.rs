//! The reads and writes of a [`File`].

use super::memory::{Fill, FillAll, Give, GiveAll};
use super::{File, FileDriver, Outcome, whole};
use crate::op::Buffers;
use crate::{ReadTo, WriteFrom};

/// Reads and writes.
impl<D: FileDriver> File<D> {
    /// Reads at `offset` to `buf`. Returns the number of bytes, which is the length of `buf` unless
    /// the file ends before.
    ///
    /// A pipe, socket or device gives what one operation gives.
    ///
    /// # Errors
    /// `InvalidInput` for a buffer of length 0, such as `Vec::with_capacity(n)`: a read fills a
    /// buffer's length, and 0 bytes would look like the end of the file. Use
    /// [`Spare::new`](crate::Spare::new), or `vec![0; n]`. Also for a range that ends behind
    /// 2^63 - 1. Otherwise those of `pread(2)`.
    #[doc(alias("pread", "io_prep_pread"))]
    pub fn read_at<B>(&self, buf: B, offset: u64) -> impl Future<Output = Outcome<B>>
    where
        B: ReadTo + Send + 'static,
    {
        let end = |moved, Fill(buf)| (whole::count(moved), buf);
        self.access.transfer(Fill(buf), offset, end)
    }

    /// Reads at `offset` until all of `buf` is full.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before. It is made of an
    /// [`UnexpectedEnd`](crate::UnexpectedEnd), which has the number of bytes that were read.
    /// Otherwise those of [`read_at`](Self::read_at).
    ///
    /// # Examples
    ///
    /// Into memory that is not initialised:
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use linux_aio::{Driver, File, Spare};
    ///
    /// let driver = Driver::on_thread(8)?;
    /// # pollster::block_on(async {
    /// let zero = File::open(&driver, "/dev/zero").await?;
    /// // A vector may have more capacity than it was asked for, hence the limit.
    /// let spare = Spare::with_limit(Vec::with_capacity(100_000), 100_000);
    /// let (result, spare) = zero.read_exact_at(spare, 12_345).await;
    /// result?;
    /// assert_eq!(spare.into_inner(), vec![0; 100_000]);
    /// # Ok(()) }) }
    /// ```
    pub fn read_exact_at<B>(&self, buf: B, offset: u64) -> impl Future<Output = Outcome<B, ()>>
    where
        B: ReadTo + Send + 'static,
    {
        let end = move |moved, Fill(buf)| (whole::exact(moved, offset), buf);
        self.access.transfer(Fill(buf), offset, end)
    }

    /// Reads at `offset` to several buffers, one after the other: an array, a `Vec` or a boxed
    /// slice. Returns the number of bytes, as [`read_at`](Self::read_at) does.
    ///
    /// # Errors
    /// `InvalidInput` if all buffers together have length 0. Otherwise those of
    /// [`read_at`](Self::read_at).
    #[doc(alias("preadv", "preadv2", "io_prep_preadv"))]
    pub fn readv_at<S>(&self, bufs: S, offset: u64) -> impl Future<Output = Outcome<S>>
    where
        S: Buffers<Buffer: ReadTo> + Send + 'static,
    {
        let end = |moved, memory: FillAll<_>| (whole::count(moved), memory.bufs);
        self.access.transfer(FillAll::new(bufs), offset, end)
    }

    /// Reads at `offset` to several buffers, until all of them are full.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use linux_aio::{Driver, File, Spare};
    ///
    /// let driver = Driver::on_thread(8)?;
    /// # pollster::block_on(async {
    /// let file = File::open(&driver, "Cargo.toml").await?;
    /// let (result, bufs) = file.readv_exact_at([vec![0; 1], vec![0; 8]], 0).await;
    /// result?;
    /// assert_eq!(bufs.concat(), b"[workspac");
    ///
    /// // Into memory that is not initialised.
    /// let spares = vec![Spare::new(Vec::with_capacity(16)), Spare::new(Vec::with_capacity(64))];
    /// let (result, spares) = file.readv_exact_at(spares, 0).await;
    /// result?;
    /// assert!(spares[0].as_ref().starts_with(b"[workspace"));
    /// # Ok(()) }) }
    /// ```
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before, made of an
    /// [`UnexpectedEnd`](crate::UnexpectedEnd). `InvalidInput` if all buffers together have length
    /// 0. Otherwise those of [`read_at`](Self::read_at).
    #[doc(alias("preadv", "read_vectored_exact_at"))]
    pub fn readv_exact_at<S>(&self, bufs: S, offset: u64) -> impl Future<Output = Outcome<S, ()>>
    where
        S: Buffers<Buffer: ReadTo> + Send + 'static,
    {
        let end = move |moved, memory: FillAll<_>| (whole::exact(moved, offset), memory.bufs);
        self.access.transfer(FillAll::new(bufs), offset, end)
    }

    /// Writes `buf` at `offset`. Returns the number of bytes, which is the length of `buf` unless
    /// an error came after some bytes.
    ///
    /// If the file is open with `O_APPEND`, the kernel ignores the offset and writes at the end of
    /// the file. [`RwFlags::NOAPPEND`](crate::RwFlags::NOAPPEND) makes the offset count (since
    /// Linux 6.9), and [`RwFlags::APPEND`](crate::RwFlags::APPEND) appends to any file.
    ///
    /// # Errors
    /// Those of `pwrite(2)`, if no byte was written; `InvalidInput` for a range that ends behind
    /// 2^63 - 1.
    #[doc(alias("pwrite", "io_prep_pwrite"))]
    pub fn write_at<B>(&self, buf: B, offset: u64) -> impl Future<Output = Outcome<B>>
    where
        B: WriteFrom + Send + 'static,
    {
        let end = |moved, Give(buf)| (whole::some(moved), buf);
        self.access.transfer(Give(buf), offset, end)
    }

    /// Writes all of `buf` at `offset`.
    ///
    /// # Errors
    /// Those of [`write_at`](Self::write_at); any number of bytes may have been written.
    /// `WriteZero` if the file takes no more.
    pub fn write_all_at<B>(&self, buf: B, offset: u64) -> impl Future<Output = Outcome<B, ()>>
    where
        B: WriteFrom + Send + 'static,
    {
        let end = move |moved, Give(buf)| (whole::all(moved, offset), buf);
        self.access.transfer(Give(buf), offset, end)
    }

    /// Writes several buffers, one after the other, at `offset`: an array, a `Vec` or a boxed
    /// slice. Returns the number of bytes, as [`write_at`](Self::write_at) does.
    ///
    /// # Errors
    /// Those of [`write_at`](Self::write_at).
    #[doc(alias("pwritev", "pwritev2", "io_prep_pwritev"))]
    pub fn writev_at<S>(&self, bufs: S, offset: u64) -> impl Future<Output = Outcome<S>>
    where
        S: Buffers<Buffer: WriteFrom> + Send + 'static,
    {
        let end = |moved, memory: GiveAll<_>| (whole::some(moved), memory.bufs);
        self.access.transfer(GiveAll::new(bufs), offset, end)
    }

    /// Writes all of several buffers, one after the other, at `offset`.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use linux_aio::{Driver, File};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("record");
    /// let driver = Driver::on_thread(8)?;
    /// # pollster::block_on(async {
    /// let options = File::options().write(true).create_new(true);
    /// let file = options.open(&driver, &path).await?;
    /// file.writev_all_at(["header: ", "body"], 0).await.0?;
    /// assert_eq!(std::fs::read(&path)?, b"header: body");
    /// # Ok(()) }) }
    /// ```
    ///
    /// # Errors
    /// Those of `pwritev(2)`; any number of bytes may have been written. `WriteZero` if the file
    /// takes no more. `InvalidInput` for a range that ends behind 2^63 - 1.
    #[doc(alias("pwritev", "write_vectored_all_at"))]
    pub fn writev_all_at<S>(&self, bufs: S, offset: u64) -> impl Future<Output = Outcome<S, ()>>
    where
        S: Buffers<Buffer: WriteFrom> + Send + 'static,
    {
        let end = move |moved, memory: GiveAll<_>| (whole::all(moved, offset), memory.bufs);
        self.access.transfer(GiveAll::new(bufs), offset, end)
    }
}
