//! [`ReadRanges`], many ranges of a file in the order in which they were asked for.
//!
//! A plan is made first: which reads there are, and which of them each range lies in. Equal ranges
//! lie in one read, and neighbours in one if the user allows that. Then reads are started in the
//! order in which they are needed, as far as the limits on memory and depth allow. A read that
//! several ranges lie in is kept until the last of them was given out. If the memory is needed
//! before that, it is dropped, and done again.

mod options;
mod plan;

pub use options::RangesOptions;

use super::cached::PageCache;
use super::work::Work;
use super::{DirectState, File, FileDriver};
use crate::{AlignedBuf, Driver, Errno, RwFlags};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::future::{Future, poll_fn};
use core::ops::{Deref, Range};
use core::pin::Pin;
use core::task::{Context, Poll};
use plan::Planned;
use std::io;

/// Reads many ranges of a file, and gives them in the order in which they were asked for. From
/// [`File::read_ranges`].
///
/// With the feature `stream` it is a `futures_core::Stream`.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use linux_aio::{Driver, File};
///
/// let driver = Driver::on_thread(32)?;
/// pollster::block_on(async {
///     let file = File::open(&driver, "Cargo.toml").await?;
///     let whole = std::fs::read("Cargo.toml")?;
///     let mut ranges = file.read_ranges([0..10, 300..317, 0..10])?;
///     while let Some(bytes) = ranges.next_range().await? {
///         let range = bytes.range();
///         assert_eq!(*bytes, whole[range.start as usize..range.end as usize]);
///     }
///     Ok(())
/// })
/// # }
/// ```
///
/// # Memory and reads
///
/// Up to 32 reads are in flight, and up to 64 MiB are read ahead or kept for a range that comes
/// again, unless [`RangesOptions`] say otherwise. What was given out is the user's memory. Each
/// read takes in the whole blocks around its range, and no other byte, unless the options
/// [allow](RangesOptions::coalesce) that.
///
/// # Dropped futures
///
/// The futures may be dropped at any time: what was read stays.
#[must_use = "it reads nothing unless it is polled"]
pub struct ReadRanges<D: FileDriver = Driver> {
    file: File<D>,
    page_cache: PageCache<D>,
    options: RangesOptions,
    /// The memory alignment that the file needs.
    align: usize,
    wanted: Vec<Wanted>,
    /// The index of the range that is given out next.
    next: usize,
    /// The index of the first range whose read may not have been started.
    ahead: usize,
    reads: Vec<Read<D>>,
    /// The indices of the reads in flight.
    in_flight: Vec<usize>,
    /// The memory of reads that are in flight or done, in bytes.
    held: u64,
}

struct Wanted {
    range: Range<u64>,
    /// The index of the read that it lies in. `None` if it is empty.
    read: Option<usize>,
}

struct Read<D: FileDriver> {
    range: Range<u64>,
    /// The indices of the ranges that lie in it and were not given out.
    users: VecDeque<usize>,
    state: State<D>,
}

enum State<D: FileDriver> {
    Idle,
    Reading(<D as Work>::Boxed<(io::Result<usize>, AlignedBuf)>),
    Read(io::Result<usize>, Arc<AlignedBuf>),
}

impl<D: FileDriver> Read<D> {
    fn len(&self) -> u64 {
        self.range.end - self.range.start
    }
}

impl<D: FileDriver> File<D> {
    /// Reads ranges, with the default [options](RangesOptions): each is a read of its own.
    ///
    /// # Errors
    /// `InvalidInput`: a range ends before it starts or behind the end of the file, or is larger
    /// than the limit on memory. The text names the range. Nothing was read then.
    pub fn read_ranges(
        &self,
        ranges: impl IntoIterator<Item = Range<u64>>,
    ) -> io::Result<ReadRanges<D>> {
        self.read_ranges_with(ranges, RangesOptions::default())
    }

    /// Reads ranges, with options.
    ///
    /// # Errors
    /// Those of [`read_ranges`](Self::read_ranges).
    pub fn read_ranges_with(
        &self,
        ranges: impl IntoIterator<Item = Range<u64>>,
        mut options: RangesOptions,
    ) -> io::Result<ReadRanges<D>> {
        let ranges: Vec<_> = ranges.into_iter().collect();
        let metadata = self.metadata()?;
        let end = if metadata.is_file() { metadata.len() } else { i64::MAX as u64 };
        // What is larger fits no memory, also as several ranges in one read.
        let limit = options.memory_limit.min(isize::MAX as u64 / 2);
        options.memory_limit = limit;
        for (index, range) in ranges.iter().enumerate() {
            let why = match range.end.checked_sub(range.start) {
                None => "ends before it starts".into(),
                Some(_) if range.end > end => {
                    format!("ends behind the end of the file, which has {end} bytes")
                }
                Some(len) if len > limit => {
                    format!("is larger than the limit on memory, {limit} bytes: use a reader")
                }
                Some(_) => continue,
            };
            let text = format!("range {index}, from {} to {}, {why}", range.start, range.end);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let (block, align) = match self.direct() {
            DirectState::Direct { alignment, .. } => {
                (u64::from(alignment.read_offset), alignment.memory as usize)
            }
            _ => (1, 1),
        };
        let planned = plan::plan(&ranges, &options);
        let mut wanted: Vec<_> =
            ranges.into_iter().map(|range| Wanted { range, read: None }).collect();
        let reads = planned.into_iter().enumerate().map(|(read, Planned { range, users })| {
            users.iter().for_each(|&user| wanted[user].read = Some(read));
            // Whole blocks around the wanted bytes, so that none is copied.
            let range = range.start - range.start % block..range.end.next_multiple_of(block);
            Read { range, users: users.into(), state: State::Idle }
        });
        Ok(ReadRanges {
            // A count that may be short anywhere is no count.
            file: self.clone().without(RwFlags::NOWAIT),
            page_cache: PageCache::new(),
            options,
            align,
            reads: reads.collect(),
            wanted,
            next: 0,
            ahead: 0,
            in_flight: Vec::new(),
            held: 0,
        })
    }
}

impl<D: FileDriver> ReadRanges<D> {
    /// Returns the bytes of the next range, or `None` behind the last.
    ///
    /// # Errors
    /// `UnexpectedEof`: the file gives fewer bytes than it had. Otherwise those of
    /// [`File::read_at`]. The text names the range. The next call goes on with the next range.
    pub async fn next_range(&mut self) -> io::Result<Option<RangeBytes>> {
        poll_fn(|cx| self.poll_range(cx)).await
    }

    pub(super) fn poll_range(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<RangeBytes>>> {
        let Some(Wanted { range, read }) = self.wanted.get(self.next) else {
            return Poll::Ready(Ok(None));
        };
        let range = range.clone();
        let Some(index) = *read else {
            self.next += 1;
            let data = Arc::new(AlignedBuf::default());
            return Poll::Ready(Ok(Some(RangeBytes { data, start: 0, range })));
        };
        self.collect(cx);
        self.start(cx);
        while matches!(self.reads[index].state, State::Idle) {
            // The memory is in use. What is kept for later is dropped, and read again then.
            if !self.evict() {
                return Poll::Pending;
            }
            self.start(cx);
        }
        let read = &mut self.reads[index];
        let State::Read(result, data) = &mut read.state else { return Poll::Pending };
        let start = (range.start - read.range.start) as usize;
        let result = match core::mem::replace(result, Ok(0)) {
            Ok(count) if start as u64 + (range.end - range.start) <= count as u64 => {
                *result = Ok(count);
                Ok(RangeBytes { data: Arc::clone(data), start, range: range.clone() })
            }
            Ok(count) => Err(ends_at(read.range.start + count as u64)),
            Err(error) => Err(error),
        };
        read.users.pop_front();
        self.next += 1;
        if result.is_err() || read.users.is_empty() {
            // After an error, others that lie in the read try again.
            self.forget(index);
        }
        Poll::Ready(result.map(Some).map_err(|error| of_range(&range, &error)))
    }

    /// Takes the results of reads that have ended.
    fn collect(&mut self, cx: &mut Context<'_>) {
        let reads = &mut self.reads;
        self.in_flight.retain(|&index| {
            let state = &mut reads[index].state;
            if !matches!(state, State::Reading(_)) {
                return false;
            }
            // If a waker panics in the poll, the read is over.
            let over = State::Read(Err(Errno::ECANCELED.into()), Arc::default());
            let State::Reading(mut reading) = core::mem::replace(state, over) else { return false };
            let polled = Pin::new(&mut reading).poll(cx);
            let is_pending = polled.is_pending();
            *state = match polled {
                Poll::Ready((result, buf)) => State::Read(result, Arc::new(buf)),
                Poll::Pending => State::Reading(reading),
            };
            is_pending
        });
    }

    /// Starts reads in the order in which they are needed.
    fn start(&mut self, cx: &mut Context<'_>) {
        self.ahead = self.ahead.max(self.next);
        while self.in_flight.len() < self.options.depth {
            let Some(Wanted { read, .. }) = self.wanted.get(self.ahead) else { return };
            let Some(index) = *read else {
                self.ahead += 1;
                continue;
            };
            let read = &self.reads[index];
            if matches!(read.state, State::Idle) {
                let would_hold = self.held.saturating_add(read.len());
                if self.held > 0 && would_hold > self.options.memory_limit {
                    return;
                }
                self.held = would_hold;
                let range = read.range.clone();
                let buf = AlignedBuf::with_alignment(read.len() as usize, self.align);
                let file = self.page_cache.file(&self.file, &range).clone();
                let reading = buf.map(|buf| D::read(file, buf, range.start));
                // If a waker panics in the poll, the read is over.
                self.reads[index].state = State::Read(Err(Errno::ECANCELED.into()), Arc::default());
                self.reads[index].state = match reading {
                    Ok(mut reading) => match Pin::new(&mut reading).poll(cx) {
                        Poll::Ready((result, buf)) => State::Read(result, Arc::new(buf)),
                        Poll::Pending => {
                            self.in_flight.push(index);
                            State::Reading(reading)
                        }
                    },
                    Err(errno) => State::Read(Err(errno.into()), Arc::default()),
                };
            }
            self.ahead += 1;
        }
    }

    /// Drops the memory of the read that is needed last. Returns `false` if there is none.
    fn evict(&mut self) -> bool {
        let is_read = |&index: &usize| matches!(self.reads[index].state, State::Read(..));
        let kept = (0..self.reads.len()).filter(is_read);
        let last = kept.max_by_key(|&index| self.reads[index].users.front());
        last.inspect(|&index| self.forget(index)).is_some()
    }

    /// Drops the memory of a read that has ended. Ranges that still need it read it again.
    fn forget(&mut self, index: usize) {
        let read = &mut self.reads[index];
        read.state = State::Idle;
        self.held -= read.len();
        if let Some(&user) = read.users.front() {
            self.ahead = self.ahead.min(user);
        }
    }
}

fn ends_at(end: u64) -> io::Error {
    let text = format!("no bytes can be read at offset {end}, though the file went on before");
    io::Error::new(io::ErrorKind::UnexpectedEof, text)
}

/// Returns the error of a range that was not read.
fn of_range(range: &Range<u64>, error: &io::Error) -> io::Error {
    let text = format!("range from {} to {}: {error}", range.start, range.end);
    match Errno::from_io_error(error) {
        Some(errno) => errno.explained(text),
        None => io::Error::new(error.kind(), text),
    }
}

impl<D: FileDriver> fmt::Debug for ReadRanges<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadRanges")
            .field("ranges", &self.wanted.len())
            .field("next", &self.next)
            .field("bytes_held", &self.held)
            .finish_non_exhaustive()
    }
}

/// The bytes of a range. From [`ReadRanges::next_range`].
///
/// Equal ranges share their memory.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use linux_aio::{Driver, File};
///
/// let driver = Driver::on_thread(8)?;
/// # pollster::block_on(async {
/// let file = File::open(&driver, "Cargo.toml").await?;
/// let mut ranges = file.read_ranges([7..20])?;
/// let bytes = ranges.next_range().await?.expect("the only one");
/// assert_eq!((bytes.range(), bytes.len()), (7..20, 13));
/// # Ok(()) }) }
/// ```
#[derive(Clone)]
pub struct RangeBytes {
    data: Arc<AlignedBuf>,
    start: usize,
    range: Range<u64>,
}

impl RangeBytes {
    /// Returns the range, as it was asked for.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }
}

impl Deref for RangeBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.data[self.start..][..(self.range.end - self.range.start) as usize]
    }
}

impl AsRef<[u8]> for RangeBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for RangeBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RangeBytes").field("range", &self.range).finish_non_exhaustive()
    }
}
