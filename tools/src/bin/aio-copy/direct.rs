//! The way around the page cache.

use crate::block::ALIGNMENT;
use anyhow::Result;
use rustix::fs::{Advice, AtFlags, OFlags, StatxFlags};
use rustix::io::Errno;
use std::fs::File;

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
