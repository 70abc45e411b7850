//! Makes the file that is written and read. It has no name, so that nothing is left of it.

use crate::{BLOCK, size};
use anyhow::{Context, Result, anyhow, bail};
use linux_aio::op::Read;
use linux_aio::{AlignedBuf, Queue};
use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) struct Scratch {
    pub(crate) file: Arc<File>,
    pub(crate) directory: PathBuf,
    /// Says whether it is open with `O_DIRECT`.
    pub(crate) is_direct: bool,
}

impl Scratch {
    /// Makes a file of `size` bytes at `path`, with `O_DIRECT` where that can be had.
    ///
    /// It is made with `O_TMPFILE`, or where the file system cannot do that, unlinked as soon as it
    /// is there: Ctrl-C, an error, even SIGKILL leave nothing behind.
    pub(crate) fn create(path: &Path, size: u64) -> Result<Self> {
        let directory = directory_of(path)?;
        let file = tempfile::tempfile_in(&directory).with_context(|| {
            let directory = directory.display();
            format!("no file can be made in {directory} (name a directory you may write to)")
        })?;
        allocate(&file, size)?;
        let is_direct = try_direct(&file)?;
        Ok(Self { file: Arc::new(file), directory, is_direct })
    }
}

/// Returns `path` if it is a directory, or that of the file that it would name.
fn directory_of(path: &Path) -> Result<PathBuf> {
    if path.is_dir() {
        return Ok(path.into());
    }
    if path.symlink_metadata().is_ok() {
        bail!("{} is there and will not be touched (name a directory)", path.display());
    }
    match path.parent() {
        Some(parent) if parent.is_dir() => Ok(parent.into()),
        Some(parent) if parent.as_os_str().is_empty() => Ok(".".into()),
        _ => bail!("{} is not there (name a directory)", path.display()),
    }
}

/// Takes the space now: writes that need not allocate are asynchronous on more file systems.
fn allocate(file: &File, size: u64) -> Result<()> {
    let allocate = || rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size);
    match rustix::io::retry_on_intr(allocate) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(file.set_len(size)?),
        Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => Err(anyhow!(errno))
            .with_context(|| {
                let free =
                    free_space(file).map_or("what is".into(), |free| size::text(free) + " are");
                let wanted = size::text(size);
                format!(
                    "{wanted} do not fit, {free} free (name another directory, or less with --size)"
                )
            }),
        Err(errno) => Err(errno).context("reserving space"),
    }
}

fn free_space(file: &File) -> Option<u64> {
    let stats = rustix::fs::fstatvfs(file).ok()?;
    stats.f_bavail.checked_mul(stats.f_frsize)
}

/// Turns `O_DIRECT` on, tries it, and says whether it works.
fn try_direct(file: &File) -> Result<bool> {
    let flags = rustix::fs::fcntl_getfl(file)?;
    match rustix::fs::fcntl_setfl(file, flags | OFlags::DIRECT) {
        Ok(()) => {}
        Err(Errno::INVAL) => return Ok(false),
        Err(errno) => return Err(errno.into()),
    }
    match file.write_all_at(&AlignedBuf::new(BLOCK)?, 0) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            rustix::fs::fcntl_setfl(file, flags)?;
            Ok(false)
        }
        Err(error) => Err(error).context("writing the first block"),
    }
}

/// Says whether reads go on after `submit` has returned. If all are complete by then, time
/// after time, the file system has done the work inside of the call.
pub(crate) fn is_asynchronous(file: &Arc<File>) -> Result<bool> {
    const READS: u64 = 16;
    let mut queue = Queue::with_capacity(READS as u32)?;
    for _ in 0..4 {
        for block in 0..READS {
            let buf = AlignedBuf::new(BLOCK)?;
            queue.push(Read::new(file.clone(), buf, block * BLOCK as u64))?;
        }
        queue.submit()?;
        let mut complete = 0;
        while let Some(done) = queue.try_next()? {
            done.result?;
            complete += 1;
        }
        if complete < READS {
            return Ok(true);
        }
    }
    Ok(false)
}
