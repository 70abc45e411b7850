//! Unaligned writes where there is no second descriptor: blocks that are read, changed and written.

use super::flagged;
use super::memory::Memory;
use super::step::Step;
use crate::raw::ForkGuard;
use crate::{AlignedBuf, Errno, RwFlags};
use alloc::boxed::Box;
use alloc::vec;
use core::hash::{BuildHasher, BuildHasherDefault};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use std::collections::hash_map::DefaultHasher;
use std::io::{IoSlice, IoSliceMut};
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The locks of this process: one for each of some blocks of all files.
struct Locks {
    blocks: [Mutex<()>; 64],
    process: ForkGuard,
}

/// The locks of this process, or of a parent; null until the first write.
static LOCKS: AtomicPtr<Locks> = AtomicPtr::new(ptr::null_mut());

impl Locks {
    /// Returns the locks of this process. A forked child makes its own: a thread of the parent may
    /// have held one of the parent's at the fork, and nobody would unlock it.
    fn of_this_process() -> &'static Self {
        loop {
            let known = LOCKS.load(Ordering::Acquire);
            // SAFETY: Only this function stores to `LOCKS`: null, or a pointer that comes from
            // `Box::into_raw` and is never freed. So it is aligned and points to a value that
            // nobody moves, drops or borrows mutably. The store of the pointer releases that value
            // to this load.
            if let Some(locks) = unsafe { known.as_ref() } {
                if locks.process.check_strictly().is_ok() {
                    return locks;
                }
            }
            let blocks = [const { Mutex::new(()) }; 64];
            let process = ForkGuard::of_this_process();
            let new = Box::into_raw(Box::new(Self { blocks, process }));
            if LOCKS.compare_exchange(known, new, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                // SAFETY: It comes from `Box::into_raw` above, and no other thread has seen it.
                drop(unsafe { Box::from_raw(new) });
            }
        }
    }

    fn lock(&self, device: u64, inode: u64, block: u64) -> MutexGuard<'_, ()> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one((device, inode, block));
        let lock = &self.blocks[(hash % self.blocks.len() as u64) as usize];
        lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the bytes of a step to blocks that the file has. `EINVAL` for a block that it has not, or
/// not all of: a whole one would make the file longer than it is to be.
pub(super) fn write<M: Memory>(step: &mut Step<M>) -> Result<(), Errno> {
    let alignment = step.open.alignment().ok_or(Errno::EINVAL)?;
    let size = alignment.offset as usize;
    let io = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::EIO);
    let metadata = step.open.main.metadata().map_err(io)?;
    // One device may have several nodes.
    let (device, inode) = match step.open.is_block_device {
        true => (metadata.rdev(), 0),
        false => (metadata.dev(), metadata.ino()),
    };
    let mut buf = AlignedBuf::with_alignment(size, alignment.memory as usize)?;
    let mut bytes = vec![0; size];
    while step.span.len > 0 {
        let within = (step.offset % size as u64) as usize;
        let block = step.offset - within as u64;
        let count = step.span.len.min(size - within);
        // Users' code, which may wait for another write, and may fork: before the lock is taken.
        let process = ForkGuard::of_this_process();
        let taken = step.memory.take(step.span.skip, &mut bytes[..count]);
        process.check_strictly()?;
        let count = taken?;
        if count == 0 {
            return Err(Errno::EINVAL);
        }
        let locks = Locks::of_this_process();
        let _locked = locks.lock(device, inode, block);
        let whole = &mut [IoSliceMut::new(&mut buf)];
        if uninterrupted(|| flagged::read(&step.open.main, whole, block, RwFlags::empty()))? < size
        {
            return Err(Errno::EINVAL);
        }
        buf[within..][..count].copy_from_slice(&bytes[..count]);
        let whole = &[IoSlice::new(&buf)];
        if uninterrupted(|| flagged::write(&step.open.main, whole, block, step.rw_flags))? < size {
            return Err(Errno::EIO);
        }
        step.advance(count);
    }
    Ok(())
}

/// Makes a call again for as long as signals interrupt it.
fn uninterrupted(mut call: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Errno> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}
