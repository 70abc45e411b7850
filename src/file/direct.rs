//! Transfers with `O_DIRECT`: whole pages around the page cache, heads and tails through it.
//!
//! No page is written both ways at once. The kernel puts a head or a tail into its page under its
//! own lock, and sets the exact length. A read-modify-write by this library would put back older
//! bytes over those that another process has written meanwhile. A padded block with a truncation
//! after it would destroy what others append.

use super::FileDriver;
use super::access::{Access, Stepped};
use super::memory::{Fill, Give, Memory};
use super::sides::Side;
use super::step::{LARGEST, Step};
use super::whole::takes_no_more;
use super::whole_blocks;
use crate::driver::Lane;
use crate::geometry::Alignment;
use crate::{AlignedBuf, Errno};
use alloc::boxed::Box;
use std::io;

/// A read of so little is done at once, to memory of our own.
const SMALL: u64 = 128 << 10;

/// The number of bytes that are copied at once if the memory is not aligned.
const BOUNCE: u64 = 1 << 20;

/// Ends a transfer of which `done` bytes were moved.
fn end<M: Memory>(mut step: Box<Step<M>>, done: usize, result: io::Result<()>) -> Stepped<M> {
    step.entered = None;
    step.aim(done, 0, 0, true);
    (result, step)
}

/// Reads whole blocks around the wanted bytes. The blocks in the middle go straight to the memory
/// where that is aligned.
pub(super) async fn read<D: FileDriver, M: Memory>(
    access: &Access<D>,
    mut step: Box<Step<M>>,
    alignment: Alignment,
) -> Stepped<M> {
    let mut done = step.span.skip;
    let (offset, len) = (step.offset - done as u64, done + step.span.len);
    let (address, block) = (alignment.memory as usize, u64::from(alignment.read_offset));
    let last = (offset + len as u64).next_multiple_of(block);
    if last > i64::MAX as u64 && access.open.second.is_some() {
        // The kernel refuses a read that ends there, though this one does not.
        step.aim(done, len - done, step.offset, false);
        let (result, step) = access.on_thread(step).await;
        let done = step.span.skip;
        return end(step, done, result);
    }
    while done < len {
        let (at, rest) = (offset + done as u64, len - done);
        let whole = rest - rest % block as usize;
        if at % block == 0
            && whole > 0
            && step.memory.is_straight(done, done, address, block as usize)
        {
            let count = whole.min(LARGEST);
            step.aim(done, count, at, true);
            let mut result;
            (result, step) = access.one(step).await;
            if let Some(end) = end_of_eio(access, &result, at, at + count as u64, block) {
                step.aim(done, (end - at) as usize, at, true);
                (result, step) = access.one(step).await;
            }
            let read = step.span.skip - done;
            done += read;
            if result.is_err() {
                return end(step, done, result);
            }
            if read < count && ends(read, block) {
                step.aim(done, len - done, offset + done as u64, false);
                return after_short(access, step, read as u64 % block).await;
            }
            continue;
        }
        let first = at - at % block;
        let next = first + block;
        let skipped = (next - at) as usize;
        let straight_next = last - first > SMALL
            && skipped < rest
            && step.memory.is_straight(done, done + skipped, address, block as usize);
        let until = if straight_next { next } else { last.min(first + BOUNCE.max(block)) };
        let (mut result, mut buf) = read_blocks(access, first, until, alignment).await;
        if let Some(end) = end_of_eio(access, &result, first, until, block) {
            (result, buf) = read_blocks(access, first, end, alignment).await;
        }
        let read = match result {
            Ok(read) => read,
            Err(error) => return end(step, done, Err(error)),
        };
        let wanted = read.saturating_sub((at - first) as usize).min(rest);
        step.memory.put(done, &buf[(at - first) as usize..][..wanted]);
        done += wanted;
        if wanted == 0 || (read as u64) < until - first && ends(read, block) {
            step.aim(done, len - done, offset + done as u64, false);
            return after_short(access, step, read as u64 % block).await;
        }
    }
    end(step, done, Ok(()))
}

/// Returns where a read may end that gave `EIO`. There is such a place if the read has asked for
/// blocks behind the end of the file. On xfs there are such blocks, without a place on the disk,
/// after a write through the page cache has made the file longer. A direct read that comes to them
/// gives `EIO`.
fn end_of_eio<D: FileDriver, T>(
    access: &Access<D>,
    result: &io::Result<T>,
    first: u64,
    until: u64,
    block: u64,
) -> Option<u64> {
    let error = result.as_ref().err()?;
    if Errno::from_io_error(error) != Some(Errno::EIO) || access.open.is_block_device {
        return None;
    }
    let end = access.open.main.metadata().ok()?.len().next_multiple_of(block);
    (first < end && end < until).then_some(end)
}

/// Returns whether a short count says that the file has ended: it ends within a block, or there is
/// nothing.
pub(super) fn ends(read: usize, block: u64) -> bool {
    read == 0 || read as u64 % block != 0
}

/// Ends a read, or goes on, with a step that is aimed at the rest through the page cache. Some file
/// systems give a count in the middle of a file that is short within a block, as FUSE may. The rest
/// is then read by the other descriptor, which has no blocks.
async fn after_short<D: FileDriver, M: Memory>(
    access: &Access<D>,
    mut step: Box<Step<M>>,
    within_block: u64,
) -> Stepped<M> {
    let is_whole = step.span.len == 0 || within_block == 0;
    let mut result = Ok(());
    if !is_whole && access.open.second.is_some() && !access.is_at_end(&step) {
        (result, step) = access.on_thread(step).await;
    }
    let done = step.span.skip;
    end(step, done, result)
}

async fn read_blocks<D: FileDriver>(
    access: &Access<D>,
    first: u64,
    until: u64,
    alignment: Alignment,
) -> (io::Result<usize>, AlignedBuf) {
    let buf = match AlignedBuf::with_alignment((until - first) as usize, memory(alignment)) {
        Ok(buf) => buf,
        Err(errno) => return (Err(errno.into()), AlignedBuf::default()),
    };
    let len = buf.len();
    let (result, step) = access.one(Box::new(access.step(Fill(buf), len, first))).await;
    (result.map(|()| step.span.skip), step.into_memory().0)
}

/// Writes the whole units around the page cache, and head and tail through it.
pub(super) async fn write<D: FileDriver, M: Memory>(
    access: &Access<D>,
    mut step: Box<Step<M>>,
    alignment: Alignment,
) -> Stepped<M> {
    let mut done = step.span.skip;
    let (offset, len) = (step.offset - done as u64, done + step.span.len);
    let (block, unit) = (u64::from(alignment.offset), access.open.direct_unit());
    let last = offset + len as u64;
    let (first_whole, end_whole) = match (offset.next_multiple_of(unit), last - last % unit) {
        (first, end) if first < end => (first, end),
        _ => (last, last),
    };
    let mut at = step.offset;
    while at < last {
        let is_whole = at >= first_whole && at < end_whole;
        let until = match at {
            _ if at < first_whole => first_whole,
            _ if is_whole => end_whole,
            _ => last,
        };
        let count = (until - at) as usize;
        let result;
        let is_edge = !is_whole || at % block != 0;
        let through = access.open.second.is_some() && is_edge;
        let side = if through { Side::Through } else { Side::Around };
        access.enter(&mut step.entered, side).await;
        if is_edge {
            step.aim(done, count, at, !through);
            (result, step) = edge(access, step).await;
            done = step.span.skip;
        } else if step.memory.is_straight(done, done, alignment.memory as usize, block as usize) {
            step.aim(done, count.min(LARGEST), at, true);
            (result, step) = access.one(step).await;
            done = step.span.skip;
        } else {
            let count = count.min(BOUNCE.max(block) as usize);
            let written;
            (written, step) = write_copy(access, step, done, count, at, alignment).await;
            result = written.map(|count| done += count);
        }
        if let Err(error) = result {
            return end(step, done, Err(error));
        }
        let now = offset + done as u64;
        if now == at {
            return end(step, done, Err(takes_no_more(len - done, at)));
        }
        at = now;
    }
    end(step, done, Ok(()))
}

/// Writes what is no whole unit, on the thread for writes.
async fn edge<D: FileDriver, M: Memory>(access: &Access<D>, step: Box<Step<M>>) -> Stepped<M> {
    if access.open.second.is_some() {
        return access.on_thread(step).await;
    }
    access.call(Lane::Writes, step, whole_blocks::write).await
}

/// Writes whole blocks from an aligned copy.
async fn write_copy<D: FileDriver, M: Memory>(
    access: &Access<D>,
    mut step: Box<Step<M>>,
    done: usize,
    count: usize,
    at: u64,
    alignment: Alignment,
) -> (io::Result<usize>, Box<Step<M>>) {
    let mut buf = match AlignedBuf::with_alignment(count, memory(alignment)) {
        Ok(buf) => buf,
        Err(errno) => return (Err(errno.into()), step),
    };
    match step.memory.take(done, &mut buf) {
        Ok(taken) if taken == count => {}
        Ok(_) => {
            let shrunk = "the buffer has become shorter during the write";
            return (Err(io::Error::new(io::ErrorKind::InvalidInput, shrunk)), step);
        }
        Err(errno) => return (Err(errno.into()), step),
    }
    let mut copy = Box::new(access.step(Give(buf), count, at));
    copy.entered = step.entered.take();
    let (result, mut copy) = access.one(copy).await;
    step.entered = copy.entered.take();
    (result.map(|()| copy.span.skip), step)
}

fn memory(alignment: Alignment) -> usize {
    alignment.memory as usize
}
