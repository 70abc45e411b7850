//! Unaligned writes where there is no second descriptor: blocks that are read, changed and written.

use super::memory::Memory;
use super::step::Step;
use crate::{AlignedBuf, Errno};
use core::hash::{BuildHasher, BuildHasherDefault};
use rustix::io::ReadWriteFlags;
use std::collections::hash_map::DefaultHasher;
use std::io::IoSlice;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One lock for each of some blocks of all files of this process.
static LOCKS: [Mutex<()>; 64] = [const { Mutex::new(()) }; 64];

fn lock(device: u64, inode: u64, block: u64) -> MutexGuard<'static, ()> {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one((device, inode, block));
    let lock = &LOCKS[(hash % LOCKS.len() as u64) as usize];
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes the bytes of a step to blocks that the file has. `EINVAL` for a block that it has not, or
/// not all of: a whole one would make the file longer than it is to be.
pub(super) fn write<M: Memory>(step: &mut Step<M>) -> Result<(), Errno> {
    let alignment = step.open.alignment().ok_or(Errno::EINVAL)?;
    let size = alignment.offset as usize;
    let io = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::EIO);
    let metadata = step.open.main.metadata().map_err(io)?;
    let mut buf = AlignedBuf::with_alignment(size, alignment.memory as usize)?;
    let flags = ReadWriteFlags::from_bits_retain(step.rw_flags.bits() as _);
    while step.span.len > 0 {
        let within = (step.offset % size as u64) as usize;
        let block = step.offset - within as u64;
        let count = step.span.len.min(size - within);
        let _locked = lock(metadata.dev(), metadata.ino(), block);
        let read =
            rustix::io::retry_on_intr(|| rustix::io::pread(&step.open.main, &mut *buf, block));
        if read? < size {
            return Err(Errno::EINVAL);
        }
        let count = step.memory.take(step.span.skip, &mut buf[within..][..count]);
        if count == 0 {
            return Err(Errno::EINVAL);
        }
        let bytes = [IoSlice::new(&buf)];
        let written = rustix::io::retry_on_intr(|| match flags.is_empty() {
            true => rustix::io::pwritev(&step.open.main, &bytes, block),
            false => rustix::io::pwritev2(&step.open.main, &bytes, block, flags),
        });
        if written? < size {
            return Err(Errno::EIO);
        }
        step.advance(count);
    }
    Ok(())
}
