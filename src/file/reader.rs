//! [`FileReader`], a range of a file in order, read ahead of its user.
//!
//! The first read is short. With each chunk that is taken the reads become longer, and when they
//! are as long as a buffer, there are more of them in flight. After a seek all of this begins
//! again, with the second chunk. Reads are futures that the reader polls itself, so they belong to
//! the task that reads, and need none of their own.
//!
//! What is in the page cache is not read around it, which would be slower by much. The kernel is
//! asked before each chunk, and such a chunk is copied when it is due. To read it ahead would only
//! take it out of the processor's cache again.

#[cfg(any(feature = "futures-io", feature = "tokio"))]
mod bytes;
mod options;

pub use options::ReaderOptions;

use super::buffers::{Buffers, HasBuffers, InQueue};
use super::cached::PageCache;
use super::chunk::Chunk;
use super::open::DirectState;
use super::work::Work;
use super::{File, FileDriver};
use crate::{Driver, Errno, Part, PoolBuf, RwFlags};
use alloc::collections::VecDeque;
use alloc::format;
use core::fmt;
use core::future::{Future, poll_fn};
use core::ops::{Bound, Range, RangeBounds};
use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;

/// The length of the first read, in bytes.
const FIRST: usize = 64 << 10;

/// The length of a chunk that is copied from the page cache: what the processor's cache holds.
const CACHED: usize = 256 << 10;

/// The largest offset that a file can have.
const LARGEST: u64 = i64::MAX as u64;

/// Reads a range of a file from its start to its end, ahead of its user. From [`File::reader`].
///
/// Take what it has read in one of these ways, or in several:
///
/// - [`next_chunk`](Self::next_chunk) gives the buffers themselves, without a copy. With the
///   feature `stream` a reader is a `futures_core::Stream` of them.
/// - With the feature `tokio` it has `AsyncRead`, `AsyncBufRead` and `AsyncSeek` of tokio; with the
///   feature `futures-io` it has those of `futures-io`.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use linux_aio::{Driver, File};
///
/// let driver = Driver::on_thread(32)?;
/// pollster::block_on(async {
///     let file = File::open(&driver, "Cargo.toml").await?;
///     let mut reader = file.reader(..);
///     let mut lines = 0;
///     while let Some(chunk) = reader.next_chunk().await? {
///         lines += chunk.iter().filter(|byte| **byte == b'\n').count();
///     }
///     println!("{lines} lines");
///     Ok(())
/// })
/// # }
/// ```
///
/// # Memory
///
/// A reader has up to 8 reads of 1 MiB in flight, unless [`ReaderOptions`] say otherwise. It starts
/// with 64 KiB, and reads further ahead the longer it is read from in order. Chunks that the user
/// keeps are the user's memory: the reader takes others, unless its buffers are those of a pool.
///
/// # The end of the file
///
/// A reader ends at the end of its range, or of the file if that comes first. If the file has grown
/// since, the next call goes on. If the file has become shorter than it was when the read-ahead
/// looked, the reader gives what is left, and then the error `UnexpectedEof`, which names the
/// offset. After an error the next call tries to read again from the same position.
///
/// # The page cache
///
/// A reader of a direct file asks the kernel, before it reads a chunk, whether the page cache has
/// all of it, and copies it from there then. That is several times as fast as a direct read. The
/// kernel tells since Linux 6.5, and only if the process may write the file or owns it. Otherwise
/// every chunk is read around the page cache.
///
/// # Dropped futures
///
/// The futures of a reader may be dropped at any time: what was read stays in the reader.
///
/// A reader that nobody polls keeps the buffers that it has read ahead. Behind a trait, where no
/// dropped future is seen, it also keeps its turn if it waits for a buffer of a pool. So drop a
/// reader that is to be idle, or give it a pool of its own.
#[must_use = "a reader does nothing unless it is polled"]
pub struct FileReader<D: FileDriver = Driver> {
    file: File<D>,
    page_cache: PageCache<D>,
    range: Range<u64>,
    /// The offset of the next byte for the user.
    position: u64,
    /// The offset of the next byte to be read.
    next: u64,
    /// The end of the file when it was last looked at. `None` where nobody knows one.
    end: Option<u64>,
    /// The length of the next read, and how many may be in flight.
    piece: usize,
    count: usize,
    /// False after a seek, until a chunk was read.
    is_sequential: bool,
    options: ReaderOptions,
    buffers: Option<Buffers>,
    ahead: VecDeque<Ahead<D>>,
    /// Reads in flight that a seek has made useless. Their buffers come back when they have ended.
    stale: VecDeque<Reading<D>>,
    /// The chunk that is given out by bytes, and how many of it were.
    current: Option<(Chunk, usize)>,
    failed: Option<io::Error>,
}

type Reading<D> = <D as Work>::Boxed<(io::Result<usize>, Part<PoolBuf>)>;

/// A chunk that is being read, or was.
struct Ahead<D: FileDriver> {
    /// The offset of the first byte for the user, and its place in the buffer.
    offset: u64,
    skip: usize,
    wanted: usize,
    state: State<D>,
}

enum State<D: FileDriver> {
    Reading(Reading<D>),
    Read(io::Result<(usize, PoolBuf)>),
}

impl<D: FileDriver> Ahead<D> {
    fn poll(&mut self, cx: &mut Context<'_>) {
        if !matches!(self.state, State::Reading(_)) {
            return;
        }
        // If a waker panics in the poll, the read is over.
        let over = State::Read(Err(Errno::ECANCELED.into()));
        let State::Reading(mut reading) = core::mem::replace(&mut self.state, over) else { return };
        self.state = match Pin::new(&mut reading).poll(cx) {
            Poll::Ready((result, buf)) => {
                State::Read(result.map(|count| (count, buf.into_inner())))
            }
            Poll::Pending => State::Reading(reading),
        };
    }

    fn end(&self) -> u64 {
        self.offset + self.wanted as u64
    }
}

/// Says what stands in the way of another read.
enum Start {
    Started,
    /// Enough is read ahead.
    Enough,
    /// The end, of the range or of the file.
    AtEnd,
    /// All buffers are in use.
    NoBuffer,
}

impl<D: FileDriver> File<D> {
    /// Returns a reader of a range, such as `..` or `4096..8192`, with the default
    /// [options](ReaderOptions). Nothing is read before it is polled.
    pub fn reader(&self, range: impl RangeBounds<u64>) -> FileReader<D> {
        self.reader_with(range, ReaderOptions::default())
    }

    /// Returns a reader of a range with options.
    ///
    /// A pool that does not suit the file is an error of the first read, `InvalidInput`.
    pub fn reader_with(
        &self,
        range: impl RangeBounds<u64>,
        options: ReaderOptions,
    ) -> FileReader<D> {
        let range = range_of(range);
        FileReader {
            // A count that may be short anywhere is no count.
            file: self.clone().without(RwFlags::NOWAIT),
            page_cache: PageCache::new(),
            position: range.start,
            next: range.start,
            range,
            end: Some(0),
            piece: FIRST,
            count: 1,
            is_sequential: true,
            options,
            buffers: None,
            ahead: VecDeque::new(),
            stale: VecDeque::new(),
            current: None,
            failed: None,
        }
    }
}

fn range_of(range: impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(&start) => start,
        Bound::Excluded(&before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&last) => last.saturating_add(1),
        Bound::Excluded(&end) => end,
        Bound::Unbounded => LARGEST,
    };
    start..end.min(LARGEST).max(start)
}

impl<D: FileDriver> FileReader<D> {
    /// Returns the next chunk in order, or `None` at the end. The chunk is a buffer of the reader,
    /// not a copy, and goes back when it is dropped.
    ///
    /// # Errors
    /// `UnexpectedEof`: the file gives fewer bytes than it had. `InvalidInput`: the pool's buffers
    /// do not suit the file. Otherwise those of [`File::read_at`]. The text names the offset.
    pub async fn next_chunk(&mut self) -> io::Result<Option<Chunk>> {
        let this = InQueue(self);
        poll_fn(|cx| this.0.poll_chunk(cx)).await
    }

    /// Returns the number of bytes between the start of the range and the next byte to be given
    /// out.
    pub fn position(&self) -> u64 {
        self.position - self.range.start
    }

    /// Goes to a position, counted from the start of the range. A position behind the end reads as
    /// the end.
    ///
    /// What was read ahead is kept if the position lies in it. Otherwise the reader begins with a
    /// small read again.
    pub fn set_position(&mut self, position: u64) {
        let to = self.range.start.saturating_add(position);
        self.failed = None;
        if let Some((chunk, given)) = &mut self.current {
            let within = to.checked_sub(chunk.offset).filter(|&at| at <= chunk.len() as u64);
            if let Some(at) = within {
                *given = at as usize;
                self.position = to;
                return;
            }
        }
        self.current = None;
        let ahead = self.ahead.front().is_some_and(|first| first.offset <= to) && to < self.next;
        if !ahead {
            self.abandon(to);
            return;
        }
        while self.ahead.front().is_some_and(|first| first.end() <= to) {
            let passed = self.ahead.pop_front();
            self.stale.extend(passed.and_then(Ahead::still_reading));
        }
        if let Some(first) = self.ahead.front_mut() {
            let passed = (to - first.offset) as usize;
            (first.offset, first.skip) = (to, first.skip + passed);
            first.wanted -= passed;
        }
        self.position = to;
    }

    /// Gives up what was read ahead, and begins again at an offset.
    fn abandon(&mut self, at: u64) {
        self.stale.extend(self.ahead.drain(..).filter_map(Ahead::still_reading));
        (self.position, self.next, self.end) = (at, at, Some(0));
        (self.piece, self.count, self.is_sequential) = (FIRST, 1, false);
    }

    /// Gives the rest of the current chunk, or the next one.
    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Chunk>>> {
        if let Some((mut chunk, given)) = self.current.take() {
            if given < chunk.len() {
                chunk.skip(given);
                self.position += chunk.len() as u64;
                return Poll::Ready(Ok(Some(chunk)));
            }
        }
        let next = self.poll_next_chunk(cx);
        if let Poll::Ready(Ok(Some(chunk))) = &next {
            self.position = chunk.offset + chunk.len() as u64;
        }
        next
    }

    fn poll_next_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Chunk>>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        for _ in 0..self.stale.len() {
            // If a waker panics in the poll, the read is dropped.
            let Some(mut reading) = self.stale.pop_front() else { break };
            if Pin::new(&mut reading).poll(cx).is_pending() {
                self.stale.push_back(reading);
            }
        }
        for ahead in &mut self.ahead {
            ahead.poll(cx);
        }
        let blocked = match self.read_ahead(cx, true) {
            Ok(blocked) => blocked,
            Err(error) if self.ahead.is_empty() => return Poll::Ready(Err(error)),
            // It comes again when what is there was given out.
            Err(_) => Start::Enough,
        };
        match self.ahead.front() {
            None if matches!(blocked, Start::AtEnd) => return Poll::Ready(Ok(None)),
            // Others have the buffers, or stale reads.
            None => return Poll::Pending,
            Some(Ahead { state: State::Reading(_), .. }) => return Poll::Pending,
            Some(_) => {}
        }
        let Some(Ahead { offset, skip, wanted, state: State::Read(result) }) =
            self.ahead.pop_front()
        else {
            unreachable!("the first was read")
        };
        let (count, buf) = match result {
            Ok((count, buf)) => (count.saturating_sub(skip).min(wanted), buf),
            Err(error) => {
                self.abandon(offset);
                return Poll::Ready(Err(error));
            }
        };
        if count < wanted {
            self.ends_early(offset + count as u64);
            if count == 0 {
                return Poll::Ready(self.failed.take().map_or(Ok(None), Err));
            }
        }
        let mut chunk = Some((Chunk { buf, start: skip, end: skip + count, offset }, 0));
        if self.is_sequential {
            self.grow();
            // The user is busy with the chunk for some time, in which the disk should be busy, too.
            // An error comes again when that chunk is due. If a waker panics, the next call gives
            // the chunk.
            self.current = chunk;
            let _ = self.read_ahead(cx, false);
            chunk = self.current.take();
        }
        self.is_sequential = true;
        Poll::Ready(Ok(chunk.map(|(chunk, _)| chunk)))
    }

    /// The file has no bytes from `at` on, though more were asked for.
    fn ends_early(&mut self, at: u64) {
        let end = self.end.filter(|&end| at < end);
        let position = self.position;
        self.abandon(at);
        self.position = position;
        self.failed = end.map(|end| {
            let text = format!(
                "no bytes can be read at offset {at}, though the file went on to {end} before"
            );
            io::Error::new(io::ErrorKind::UnexpectedEof, text)
        });
    }

    fn grow(&mut self) {
        let most = self.buffers.as_ref().map_or(0, |buffers| buffers.len);
        if self.piece < most {
            self.piece *= 2;
        } else {
            self.count = self.count.saturating_mul(2).min(self.options.depth);
        }
    }

    /// Starts reads until enough are in flight. If the next chunk is due, one at least.
    fn read_ahead(&mut self, cx: &mut Context<'_>, due: bool) -> io::Result<Start> {
        loop {
            match self.start_one(cx, due && self.ahead.is_empty())? {
                Start::Started => {}
                blocked => return Ok(blocked),
            }
        }
    }

    fn start_one(&mut self, cx: &mut Context<'_>, due: bool) -> io::Result<Start> {
        let state = self.file.direct();
        let most = if state == DirectState::Stream { 1 } else { self.count };
        if self.ahead.len() >= most {
            return Ok(Start::Enough);
        }
        let Some(end) = self.end_for_reads() else { return Ok(Start::AtEnd) };
        let block = match state {
            DirectState::Direct { alignment, .. } => u64::from(alignment.read_offset),
            _ => 1,
        };
        let buffers = self.buffers(block as usize)?;
        let usable = buffers.len as u64;

        // Whole blocks around the wanted bytes, so that none is copied.
        let start = self.next - self.next % block;
        let piece = (self.piece as u64).next_multiple_of(block).clamp(block, usable);
        let mut until = end.min(start + piece);
        let cached = self.page_cache.cached(&self.file, &(self.next..until)).cloned();
        if cached.is_some() {
            if !due {
                return Ok(Start::Enough);
            }
            until = end.min(start + piece.min((CACHED as u64).next_multiple_of(block)));
        }
        let Some(buf) = self.buffer(cx, due)? else { return Ok(Start::NoBuffer) };
        let (skip, wanted) = ((self.next - start) as usize, (until - self.next) as usize);
        let len = (until - start).next_multiple_of(block) as usize;
        let file = cached.unwrap_or_else(|| self.file.clone());
        let state = State::Reading(D::read(file, Part::new(buf, ..len), start));
        let mut ahead = Ahead { offset: self.next, skip, wanted, state };
        ahead.poll(cx);
        self.next = until;
        self.ahead.push_back(ahead);
        Ok(Start::Started)
    }

    /// Returns where reads end, or `None` if there is nothing to read.
    fn end_for_reads(&mut self) -> Option<u64> {
        let is_first = self.ahead.is_empty();
        if self.next >= self.range.end {
            return None;
        }
        if is_first && self.end.is_some_and(|end| self.next >= end) {
            let file = self.file.metadata();
            self.end = file.ok().filter(|it| it.is_file()).map(|it| it.len());
        }
        // Files of /proc say so, and have content all the same.
        if is_first && self.end == Some(0) {
            self.end = None;
        }
        let end = self.end.unwrap_or(self.range.end).min(self.range.end);
        (self.next < end).then_some(end)
    }

    fn buffers(&mut self, block: usize) -> io::Result<&Buffers> {
        if self.buffers.is_none() {
            let ReaderOptions { chunk_len, depth, pool } = &self.options;
            // One more than are in flight: the user has one.
            let count = depth.saturating_add(1);
            let buffers = Buffers::new(&self.file, block, pool.clone(), *chunk_len, count)?;
            self.buffers = Some(buffers);
        }
        Ok(self.buffers.as_ref().expect("it was made"))
    }

    /// Takes a buffer. For a chunk that is due it is waited for.
    fn buffer(&mut self, cx: &mut Context<'_>, due: bool) -> io::Result<Option<PoolBuf>> {
        let buffers = self.buffers.as_mut().expect("it was made");
        if !due || !self.stale.is_empty() {
            return buffers.try_take();
        }
        match buffers.poll_take(cx) {
            Poll::Ready(buf) => buf.map(Some),
            Poll::Pending => Ok(None),
        }
    }
}

impl<D: FileDriver> HasBuffers for FileReader<D> {
    fn buffers(&mut self) -> &mut Option<Buffers> {
        &mut self.buffers
    }
}

impl<D: FileDriver> Ahead<D> {
    fn still_reading(self) -> Option<Reading<D>> {
        match self.state {
            State::Reading(reading) => Some(reading),
            State::Read(..) => None,
        }
    }
}

impl<D: FileDriver> fmt::Debug for FileReader<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileReader")
            .field("range", &self.range)
            .field("position", &self.position())
            .field("chunks_ahead", &self.ahead.len())
            .finish_non_exhaustive()
    }
}
