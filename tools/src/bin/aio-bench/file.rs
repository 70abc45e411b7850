//! The subject of a measurement: a file or device that is there, or a file without a name.

use anyhow::{Context, Result, ensure};
use linux_aio::AlignedBuf;
use linux_aio::geometry::Geometry;
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MIB: u64 = 1 << 20;

pub(crate) struct Measured {
    pub(crate) file: Arc<File>,
    pub(crate) path: PathBuf,
    /// True if a file was made in the directory `path`.
    pub(crate) is_scratch: bool,
    /// True if it is open with `O_DIRECT`.
    pub(crate) is_direct: bool,
    pub(crate) size: u64,
    pub(crate) block: usize,
    /// The address of a buffer is a multiple of this.
    memory: usize,
}

impl Measured {
    /// Opens `path`, or if it is a directory, makes a file of `size` bytes in it; for operations of
    /// `block` bytes.
    pub(crate) fn open(path: &Path, size: u64, block: u64, writes: bool) -> Result<Self> {
        ensure!(block > 0, "a block has at least one byte");
        let is_scratch = path.is_dir();
        let mut file = if is_scratch { make(path, size) } else { open(path) }
            .with_context(|| path.display().to_string())?;
        let is_direct = rustix::fs::fcntl_getfl(&file)?.contains(OFlags::DIRECT);
        let size = file.seek(SeekFrom::End(0))?;
        ensure!(size >= block, "{} has less than one block", path.display());
        let alignment = Geometry::of(&file).direct_io;
        if is_direct {
            let unit = alignment.alignment().map_or(512, |alignment| match writes {
                true => alignment.offset,
                false => alignment.read_offset,
            });
            let fits = block % u64::from(unit) == 0;
            let path = path.display();
            ensure!(fits, "{path} takes multiples of {unit} bytes: try --block {unit}");
        }
        let (file, block, memory) = (Arc::new(file), block as usize, alignment.memory());
        Ok(Self { file, path: path.into(), is_scratch, is_direct, size, block, memory })
    }

    pub(crate) fn random_offset(&self) -> u64 {
        let block = self.block as u64;
        fastrand::u64(..self.size / block) * block
    }

    /// With random bytes, since some disks take a short cut for zeros.
    pub(crate) fn buffer(&self) -> Result<AlignedBuf> {
        let mut buf = AlignedBuf::with_alignment(self.block, self.memory)?;
        fastrand::fill(&mut buf);
        Ok(buf)
    }
}

/// Opens what is there, to read.
fn open(path: &Path) -> Result<File> {
    let direct =
        OpenOptions::new().read(true).custom_flags(OFlags::DIRECT.bits() as i32).open(path);
    match direct {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(File::open(path)?),
        opened => Ok(opened?),
    }
}

/// A file without a name, of random bytes: holes would be read without the disk.
fn make(directory: &Path, size: u64) -> Result<File> {
    let file = tempfile::tempfile_in(directory)?;
    let mut chunk = vec![0; MIB as usize];
    for offset in (0..size).step_by(chunk.len()) {
        let rest = &mut chunk[..MIB.min(size - offset) as usize];
        fastrand::fill(rest);
        file.write_all_at(rest, offset)?;
    }
    file.sync_all()?;
    let flags = rustix::fs::fcntl_getfl(&file)?;
    match rustix::fs::fcntl_setfl(&file, flags | OFlags::DIRECT) {
        // The table says that it goes through the page cache.
        Ok(()) | Err(rustix::io::Errno::INVAL) => Ok(file),
        Err(errno) => Err(errno.into()),
    }
}
