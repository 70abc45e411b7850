//! The file that is read.

use crate::block::{ALIGNMENT, Block};
use crate::direct;
use anyhow::{Context, Result, bail, ensure};
use linux_aio::op::Read;
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::fs::{File, Metadata};
use std::ops::Range;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) struct Source {
    pub(crate) file: Arc<File>,
    pub(crate) size: u64,
    pub(crate) metadata: Metadata,
    path: PathBuf,
}

impl Source {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let name = path.display();
        // Before opening: to open a named pipe would wait for its writer.
        let metadata = path.metadata().with_context(|| name.to_string())?;
        let kind = metadata.file_type();
        ensure!(!kind.is_dir(), "{name} is a directory; only files are copied");
        ensure!(
            kind.is_file() || kind.is_block_device(),
            "{name} is neither a file nor a block device; it has no offsets to read at"
        );
        let file = File::open(path).with_context(|| name.to_string())?;
        let metadata = file.metadata()?;
        direct::turn_on(&file)?;
        let size = size_of(&file)?;
        Ok(Self { file: Arc::new(file), size, metadata, path: path.into() })
    }

    /// Where there is data: aligned ranges, with holes in between, up to the size.
    pub(crate) fn data(&self) -> Result<Vec<Range<u64>>> {
        let align = ALIGNMENT as u64;
        let mut ranges = Vec::new();
        let mut at = 0;
        while at < self.size {
            let start = match rustix::fs::seek(&self.file, SeekFrom::Data(at)) {
                Ok(start) => start - start % align,
                Err(Errno::NXIO) => break,
                // It cannot tell.
                Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
                Err(errno) => return Err(errno).context(self.at("looking for data", at)),
            };
            let hole = rustix::fs::seek(&self.file, SeekFrom::Hole(start)).unwrap_or(self.size);
            let end = hole.next_multiple_of(align).min(self.size);
            if start >= end {
                break;
            }
            ranges.push(start..end);
            at = end;
        }
        Ok(ranges)
    }

    /// The read of what `block` is missing.
    pub(crate) fn read(&self, block: Block) -> Read<Arc<File>, Block> {
        let offset = block.position();
        Read::new(Arc::clone(&self.file), block, offset)
    }

    /// Reads what `block` is missing behind the `count` bytes that a read gave.
    pub(crate) fn finish_reading(&self, block: &mut Block, count: u32) -> Result<()> {
        let (bytes, offset) = block.finish_after(count);
        let read = direct::read_buffered(&self.file, bytes, offset);
        let read = read.with_context(|| self.at("reading", offset))?;
        ensure!(read == bytes.len(), self.ended_at(offset + read as u64));
        Ok(())
    }

    /// Fails where the file was written, truncated or extended since it was opened.
    pub(crate) fn ensure_unchanged(&self) -> Result<()> {
        let size = size_of(&self.file)?;
        if size != self.size {
            bail!("{} changed from {} to {size} bytes while it was copied", self.name(), self.size);
        }
        if self.file.metadata()?.modified()? != self.metadata.modified()? {
            bail!("{} was written while it was copied", self.name());
        }
        Ok(())
    }

    /// The error for a file that has no bytes left where there were some.
    pub(crate) fn ended_at(&self, offset: u64) -> String {
        format!("{} ended at {offset} while it was copied; it had {} bytes", self.name(), self.size)
    }

    /// Says where something went wrong.
    pub(crate) fn at(&self, doing: &str, offset: u64) -> String {
        format!("{doing} {} at {offset}", self.name())
    }

    fn name(&self) -> impl std::fmt::Display {
        self.path.display()
    }
}

/// Also of a block device, whose metadata does not tell.
fn size_of(file: &File) -> Result<u64> {
    Ok(rustix::fs::seek(file, SeekFrom::End(0))?)
}
