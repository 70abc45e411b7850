//! The way around the page cache, and the way through it for what has no alignment.

use crate::block::ALIGNMENT;
use anyhow::Result;
use rustix::fs::{Advice, AtFlags, OFlags, StatxFlags};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Turns `O_DIRECT` on where the file system has it and our alignment is enough.
pub(crate) fn turn_on(file: &File) -> Result<()> {
    let flags = rustix::fs::fcntl_getfl(file)?;
    if !alignment_is_enough(file) {
        return Ok(());
    }
    match rustix::fs::fcntl_setfl(file, flags | OFlags::DIRECT) {
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// What the file itself says about it (since Linux 6.1). Where it says nothing, ours is the
/// alignment that practically every device takes.
fn alignment_is_enough(file: &File) -> bool {
    const DIOALIGN: StatxFlags = StatxFlags::from_bits_retain(0x2000);
    let Ok(stat) = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, DIOALIGN) else { return true };
    if stat.stx_mask & DIOALIGN.bits() == 0 {
        return true;
    }
    let fits = |align: u32| align != 0 && ALIGNMENT as u32 % align == 0;
    fits(stat.stx_dio_mem_align) && fits(stat.stx_dio_offset_align)
}

/// Asks for the next reads to come from the disk, should the page cache be used after all.
pub(crate) fn drop_cache(file: &File) -> Result<()> {
    Ok(rustix::fs::fadvise(file, 0, None, Advice::DontNeed)?)
}

/// Reads at `offset` through the page cache, until `bytes` is full or the file ends. Returns how
/// many bytes there were.
pub(crate) fn read_buffered(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let buffered = File::open(proc_path(file))?;
    let mut done = 0;
    // More is asked for than is needed, so that only the end of the file gives nothing.
    let mut chunk = [0; 16 * ALIGNMENT];
    while done < bytes.len() {
        match buffered.read_at(&mut chunk, offset + done as u64) {
            Ok(0) => break,
            Ok(count) => {
                let count = count.min(bytes.len() - done);
                bytes[done..][..count].copy_from_slice(&chunk[..count]);
                done += count;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Writes all of `bytes` at `offset` through the page cache.
pub(crate) fn write_buffered(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    OpenOptions::new().write(true).open(proc_path(file))?.write_all_at(bytes, offset)
}

/// A path to an open file, named or not.
pub(crate) fn proc_path(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}
