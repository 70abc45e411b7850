//! [`FileWriter`], bytes written in order, behind their user.
//!
//! Bytes are copied to a buffer, and a full buffer is written while the next is filled. The place
//! of a byte in its buffer is such that its address and its offset have the same alignment. So a
//! full buffer ends with a whole unit, and is written around the page cache without another copy.
//!
//! A direct write that makes the file longer would be done inside of `io_submit`. So the writer
//! allocates ahead ([`Space`]), and cuts the file to its length at the end.

mod error;
mod options;
mod space;

pub use error::WriterError;
pub use options::WriterOptions;

use super::buffers::{Buffers, HasBuffers, InQueue};
use super::transfer::check_range;
use super::{DirectState, File, FileDriver};
use crate::{Driver, Errno, PoolBuf, RwFlags};
use alloc::collections::VecDeque;
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use space::Space;
use std::io;

/// Writes to a file in order, behind its user. From [`File::writer`].
///
/// With the feature `tokio` it has `AsyncWrite` of tokio, with the feature `futures-io` that of
/// `futures-io`. In both, `flush` is [`flush`](Self::flush), and `shutdown` or `close` is
/// [`finish`](Self::finish).
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use linux_aio::{Driver, File};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("lines");
/// let driver = Driver::on_thread(32)?;
/// pollster::block_on(async {
///     let options = File::options().write(true).create_new(true);
///     let file = options.open(&driver, &path).await?;
///     let mut writer = file.writer(0);
///     for number in 0..1000 {
///         writer.write_all(format!("line {number}\n").as_bytes()).await?;
///     }
///     writer.finish().await?; // durable, and of the exact length
///     assert_eq!(std::fs::read_to_string(&path)?.lines().count(), 1000);
///     Ok(())
/// })
/// # }
/// ```
///
/// # What is in the file when
///
/// | after | the bytes are |
/// |---|---|
/// | [`write_all`](Self::write_all) | in memory, or being written |
/// | [`flush`](Self::flush) | in the file, for every reader; they may be lost in a crash |
/// | `flush`, then [`File::sync_data`] | durable; the file may be longer |
/// | [`finish`](Self::finish) | durable, and the file ends behind them, if it was not longer |
/// | a drop without `finish` | in the file as far as they were flushed; of the others any part |
///
/// A writer that is dropped neither flushes nor cuts the file: that would block, and hide errors.
/// So call `finish`.
///
/// # Length and blocks
///
/// Where a writer makes a direct file longer, it allocates blocks in steps of 64 MiB before it
/// writes to them ([`WriterOptions`]). Until `finish` the file is longer by up to two steps, and
/// ends in zeros. So is a file that is dropped or in a crash before. Write to a file of another
/// name, and rename it after `finish`, if nobody may see that. If another program has made the
/// file longer than the writer did, `finish` leaves its length alone.
///
/// `finish` cuts off what others have written behind the writer within these steps. Several writers
/// may make one file longer, or other requests meanwhile. Then give the file its length before the
/// first of them begins ([`File::set_len`]): a writer never makes a file shorter than it was. Or
/// allocate nothing ahead ([`WriterOptions::allocation_step`]).
///
/// A flush in the middle of a page or block writes that piece through the page cache, as
/// [`File`] says. To flush often is right for a log, and slow for a copy: `tokio::io::copy` flushes
/// whenever its source makes it wait.
///
/// # Errors
///
/// The first error stays: every later call gives it again. It is made of a [`WriterError`], which
/// has the offset up to which everything was written. Of what follows that offset, any part may
/// have been written. Call [`finish`](Self::finish) also then: it gives the error, and cuts what
/// the writer has added behind that offset.
///
/// # Dropped futures
///
/// The futures of a writer may be dropped at any time: what was taken stays in the writer. How much
/// of its bytes a dropped [`write_all`](Self::write_all) has taken, [`position`](Self::position)
/// tells.
#[must_use = "a writer that is not finished may lose what it was given"]
pub struct FileWriter<D: FileDriver = Driver> {
    file: File<D>,
    options: WriterOptions,
    /// What is never written both ways: see `File`.
    unit: usize,
    buffers: Option<Buffers>,
    filling: Option<Filling>,
    writes: VecDeque<Writing<D>>,
    /// The offset of the next byte from the user.
    position: u64,
    space: Space<D>,
    failed: Option<WriterError>,
    end: End<D>,
}

/// A buffer of which the bytes from `start` to `end` are to be written.
struct Filling {
    buf: PoolBuf,
    start: usize,
    end: usize,
}

/// A write in flight. It gives the number of bytes that were written.
struct Writing<D: FileDriver> {
    offset: u64,
    future: D::Boxed<(usize, io::Result<()>)>,
    /// What it gave, while writes before it are in flight.
    ended: Option<(usize, io::Result<()>)>,
}

impl<D: FileDriver> Writing<D> {
    fn poll(&mut self, cx: &mut Context<'_>) {
        if self.ended.is_some() {
            return;
        }
        // If a waker panics in the poll, the write is over.
        self.ended = Some((0, Err(Errno::ECANCELED.into())));
        self.ended = match Pin::new(&mut self.future).poll(cx) {
            Poll::Ready(ended) => Some(ended),
            Poll::Pending => None,
        };
    }
}

enum End<D: FileDriver> {
    Open,
    Finishing(D::Boxed<io::Result<()>>),
    Finished,
}

impl<D: FileDriver> File<D> {
    /// Returns a writer that begins at `offset`, with the default [options](WriterOptions). Nothing
    /// is written before it is polled.
    pub fn writer(&self, offset: u64) -> FileWriter<D> {
        self.writer_with(offset, WriterOptions::default())
    }

    /// Returns a writer with options.
    ///
    /// A pool that does not suit the file is an error of the first write, `InvalidInput`.
    pub fn writer_with(&self, offset: u64, options: WriterOptions) -> FileWriter<D> {
        let unit = if self.is_direct() { self.access.open.unit as usize } else { 1 };
        let space = Space::new(self.is_direct(), unit as u64, offset, &options);
        FileWriter {
            // A count that may be short anywhere is no count.
            file: self.clone().without(RwFlags::NOWAIT),
            options,
            unit,
            buffers: None,
            filling: None,
            writes: VecDeque::new(),
            position: offset,
            space,
            failed: None,
            end: End::Open,
        }
    }
}

impl<D: FileDriver> FileWriter<D> {
    /// Takes all of `bytes`. They are in memory or in flight afterwards.
    ///
    /// # Errors
    /// The first error of a write that was made before, as [`FileWriter`] says. `InvalidInput`: the
    /// writer is finished, or its pool does not suit the file. Or the bytes end behind 2^63 - 1, or
    /// the file is open for appending, where offsets do not count.
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let this = InQueue(self);
        while !bytes.is_empty() {
            let count = poll_fn(|cx| this.0.poll_put(cx, bytes)).await?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Writes what was taken, and waits until all of it is in the file. It is not durable then:
    /// call [`File::sync_data`] of a handle of the file for that, or [`finish`](Self::finish).
    ///
    /// # Errors
    /// The first error of a write.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_completed(cx)).await
    }

    /// Flushes, cuts the file behind the last byte if the writer has made it longer than that, and
    /// brings the file to stable storage. The writer takes nothing afterwards. A second call
    /// returns at once.
    ///
    /// The name of a new file is durable when its directory was synced, which this does not do.
    ///
    /// # Errors
    /// The first error of a write; otherwise those of [`File::set_len`] and [`File::sync_data`].
    pub async fn finish(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_finish(cx)).await
    }

    /// Returns the offset in the file of the next byte that is taken.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Takes some of `bytes`. Returns how many.
    pub(super) fn poll_put(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        check_range(self.position, bytes.len() as u64)?;
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let room = loop {
            match &mut self.filling {
                Some(filling) if filling.end < self.buffers.as_ref().map_or(0, |it| it.len) => {
                    break filling;
                }
                Some(_) => ready!(self.poll_write(cx, true)),
                None => {
                    let buf = ready!(self.poll_buffer(cx))?;
                    let start = (self.position % self.unit as u64) as usize;
                    self.filling = Some(Filling { buf, start, end: start });
                }
            }
        };
        let len = self.buffers.as_ref().map_or(0, |buffers| buffers.len);
        let count = bytes.len().min(len - room.end);
        room.buf[room.end..][..count].copy_from_slice(&bytes[..count]);
        room.end += count;
        self.position += count as u64;
        if room.end == len {
            // If it has to wait, the next call writes it.
            let _ = self.poll_write(cx, true);
        }
        Poll::Ready(Ok(count))
    }

    /// Writes all that was taken.
    pub(super) fn poll_completed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.end {
            End::Open => self.check(cx)?,
            // The bytes are in the file, unless that has failed.
            End::Finishing(_) | End::Finished => {
                let failed = self.failed.as_ref().map(WriterError::to_io);
                return Poll::Ready(failed.map_or(Ok(()), Err));
            }
        }
        if self.filling.is_some() {
            ready!(self.poll_write(cx, false));
            self.check(cx)?;
        }
        if self.writes.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    pub(super) fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            // If a waker panics in a poll, the next one begins to finish again.
            match core::mem::replace(&mut self.end, End::Open) {
                End::Finished => {
                    self.end = End::Finished;
                    let failed = self.failed.as_ref().map(WriterError::to_io);
                    return Poll::Ready(failed.map_or(Ok(()), Err));
                }
                End::Finishing(mut finishing) => {
                    let Poll::Ready(result) = Pin::new(&mut finishing).poll(cx) else {
                        self.end = End::Finishing(finishing);
                        return Poll::Pending;
                    };
                    self.end = End::Finished;
                    if let Err(error) = result {
                        self.fail(self.position, error);
                    }
                }
                End::Open => {
                    let written = ready!(self.poll_completed(cx));
                    // Writes behind one that failed may be in flight, and allocations.
                    self.collect(cx);
                    if !self.writes.is_empty() {
                        return Poll::Pending;
                    }
                    ready!(self.space.poll_ended(cx));
                    let end = self.failed.as_ref().map_or(self.position, WriterError::offset);
                    let cut = self.space.cut_to(end, self.position);
                    let finishing = D::finish(self.file.clone(), cut, written.is_ok());
                    self.end = End::Finishing(finishing);
                }
            }
        }
    }

    /// Collects the ends of writes, and returns the error that there is.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !matches!(self.end, End::Open) && self.failed.is_none() {
            let text = "the writer is finished, and takes nothing";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        if self.file.access.appends() && self.failed.is_none() {
            let text = "the file is open for appending, where no offset counts: open it without";
            self.fail(self.position, io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.collect(cx);
        self.failed.as_ref().map_or(Ok(()), |failed| Err(failed.to_io()))
    }

    /// Polls the writes. The first that has failed, in the order of the file, is what failed.
    fn collect(&mut self, cx: &mut Context<'_>) {
        for write in &mut self.writes {
            write.poll(cx);
        }
        while self.writes.front().is_some_and(|first| first.ended.is_some()) {
            let first = self.writes.pop_front().and_then(|it| Some((it.offset, it.ended?)));
            if let Some((offset, (done, Err(error)))) = first {
                self.fail(offset + done as u64, error);
            }
        }
    }

    fn fail(&mut self, offset: u64, error: io::Error) {
        self.filling = None;
        self.failed.get_or_insert_with(|| WriterError::new(offset, error));
    }

    /// Starts a write of the buffer that is being filled, when it may be in flight.
    fn poll_write(&mut self, cx: &mut Context<'_>, is_full: bool) -> Poll<()> {
        let Some(filling) = &self.filling else { return Poll::Ready(()) };
        let count = (filling.end - filling.start) as u64;
        let offset = self.position - count;
        ready!(self.space.poll(cx, &self.file, offset..self.position, is_full));
        let depth = match self.file.direct() {
            DirectState::Stream => 1,
            _ => self.options.depth,
        };
        if self.writes.len() >= depth {
            return Poll::Pending;
        }
        if let Some(filling) = self.filling.take() {
            let Filling { buf, start, end } = filling;
            let future = D::write(self.file.clone(), buf, start..end, offset);
            self.writes.push_back(Writing { offset, future, ended: None });
            if let Some(write) = self.writes.back_mut() {
                write.poll(cx);
            }
        }
        Poll::Ready(())
    }

    /// Takes a buffer, and waits for one if there is none.
    fn poll_buffer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<PoolBuf>> {
        if self.buffers.is_none() {
            let WriterOptions { chunk_len, depth, pool, .. } = &self.options;
            let count = depth.saturating_add(1);
            let pool = pool.clone();
            let buffers = Buffers::new(&self.file, self.unit, pool, *chunk_len, count)?;
            self.buffers = Some(buffers);
        }
        let buffers = self.buffers.as_mut().expect("it was made");
        if !self.writes.is_empty() {
            // They have buffers, and wake the task when they end.
            return buffers.try_take()?.map_or(Poll::Pending, |buf| Poll::Ready(Ok(buf)));
        }
        buffers.poll_take(cx)
    }
}

impl<D: FileDriver> HasBuffers for FileWriter<D> {
    fn buffers(&mut self) -> &mut Option<Buffers> {
        &mut self.buffers
    }
}

impl<D: FileDriver> fmt::Debug for FileWriter<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileWriter")
            .field("position", &self.position)
            .field("writes_in_flight", &self.writes.len())
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}
