//! The source, and what is done with its blocks: they are copied, and compared.

use crate::target::Target;
use crate::{Args, Monitor};
use anyhow::{Context, Result, bail, ensure};
use futures_util::{TryStreamExt, stream};
use linux_aio::{AlignedBuf, File, LocalDriver, Part, Slice, UnexpectedEnd};
use rustix::fs::{Advice, SeekFrom, seek};
use rustix::io::Errno;
use std::cell::RefCell;
use std::fs::{Metadata, Permissions};
use std::ops::Range;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::{io, slice};

/// tmpfs gives back what it has reserved when a signal comes: so only a part is done again.
const RESERVED_AT_ONCE: u64 = 64 << 20;

pub(crate) struct Copy<'a> {
    pub(crate) metadata: Metadata,
    source: File<LocalDriver>,
    size: u64,
    args: &'a Args,
    monitor: &'a Monitor,
    /// Memory for blocks, which was used before.
    free: RefCell<Vec<AlignedBuf>>,
}

impl<'a> Copy<'a> {
    pub(crate) async fn open(
        driver: &LocalDriver,
        args: &'a Args,
        monitor: &'a Monitor,
    ) -> Result<Self> {
        let name = args.source.display();
        // Before opening: to open a named pipe would wait for its writer.
        let kind = args.source.metadata().with_context(|| name.to_string())?.file_type();
        ensure!(!kind.is_dir(), "{name} is a directory; only files are copied");
        ensure!(
            kind.is_file() || kind.is_block_device(),
            "{name} is neither a file nor a block device; it has no offsets to read at"
        );
        let source = File::open(driver, &args.source).await.with_context(|| name.to_string())?;
        let (metadata, size) = (source.metadata()?, seek(&source, SeekFrom::End(0))?);
        Ok(Self { metadata, source, size, args, monitor, free: RefCell::default() })
    }

    /// Copies the ranges that hold data, and brings the target to the disk.
    pub(crate) async fn to(&self, target: &Target) -> Result<()> {
        let (file, data) = (&target.file, self.data()?);
        file.set_len(self.size).await.with_context(|| target.at("extending", 0))?;
        // It shows early whether all fits, and writes that need not allocate are asynchronous.
        for (at, len) in pieces(&data, RESERVED_AT_ONCE) {
            match file.allocate(at, len).await {
                Err(error) if error.kind() == io::ErrorKind::Unsupported => break,
                result => result.with_context(|| target.at("reserving space for", at))?,
            }
        }
        let copy = async |at, len| {
            let (result, buf) = file.write_all_at(self.read(at, len).await?, at).await;
            self.free.borrow_mut().push(buf.into_inner());
            result.with_context(|| target.at("writing", at))
        };
        self.each_block("copying", &data, copy).await?;
        if self.metadata.is_file() {
            // Not set-user-ID and the like: the copy is ours, not the owner's of the source.
            let permissions = Permissions::from_mode(self.metadata.mode() & 0o777);
            let set = file.get_ref().set_permissions(permissions);
            set.with_context(|| target.at("setting the mode of", 0))?;
        }
        file.sync_all().await.with_context(|| target.at("flushing", 0))
    }

    /// Reads both files whole, holes too, and fails where they differ.
    pub(crate) async fn verify(&self, target: &Target) -> Result<()> {
        // The next reads come from the disk, should the page cache be used after all.
        for file in [&self.source, &target.file] {
            rustix::fs::fadvise(file, 0, None, Advice::DontNeed)?;
        }
        let compare = async |at, len| {
            let expected = self.read(at, len).await?;
            let (result, found) = target.file.read_exact_at(self.memory(len)?, at).await;
            result.with_context(|| target.at("reading the copy of", at))?;
            let mut pairs = expected.as_ref().iter().zip(found.as_ref());
            if let Some(same) = pairs.position(|(expected, found)| expected != found) {
                bail!(target.at("the copy differs:", at + same as u64));
            }
            self.free.borrow_mut().extend([expected, found].map(Part::into_inner));
            Ok(())
        };
        self.each_block("verifying", slice::from_ref(&(0..self.size)), compare).await
    }

    /// Does something with each block of the ranges, with as many at once as was asked for.
    async fn each_block(
        &self,
        doing: &'static str,
        ranges: &[Range<u64>],
        block: impl AsyncFn(u64, usize) -> Result<()>,
    ) -> Result<()> {
        let (progress, block) = (&self.monitor.progress, &block);
        progress.reset();
        progress.set_message(doing);
        progress.set_length(ranges.iter().map(|range| range.end - range.start).sum());
        let pieces = pieces(ranges, self.args.block as u64).map(Ok);
        let each =
            stream::iter(pieces).try_for_each_concurrent(self.args.depth as usize, |piece| {
                let (at, len) = piece;
                async move {
                    block(at, len as usize).await?;
                    progress.inc(len);
                    self.monitor.ensure_not_interrupted()
                }
            });
        each.await
    }

    async fn read(&self, at: u64, len: usize) -> Result<Part<AlignedBuf>> {
        let (result, buf) = self.source.read_exact_at(self.memory(len)?, at).await;
        let name = self.args.source.display();
        if let Err(error) = result {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<UnexpectedEnd>());
            if let Some(end) = inner.map(|end| at + end.read() as u64) {
                bail!("{name} ended at {end} while it was copied; it had {} bytes", self.size);
            }
            return Err(error).with_context(|| format!("reading {name} at {at}"));
        }
        Ok(buf)
    }

    fn memory(&self, len: usize) -> Result<Part<AlignedBuf>> {
        let free = self.free.borrow_mut().pop();
        Ok(free.map_or_else(|| AlignedBuf::new(self.args.block), Ok)?.part(..len))
    }

    /// Returns where there is data, with holes in between, up to the size.
    fn data(&self) -> Result<Vec<Range<u64>>> {
        let (mut ranges, mut at) = (Vec::new(), 0);
        while at < self.size {
            let start = match seek(&self.source, SeekFrom::Data(at)) {
                Ok(start) => start,
                Err(Errno::NXIO) => break,
                // It cannot tell.
                Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
                Err(errno) => {
                    bail!("looking for data {} at {at}: {errno}", self.args.source.display())
                }
            };
            let hole = seek(&self.source, SeekFrom::Hole(start)).unwrap_or(self.size);
            at = hole.min(self.size);
            ranges.push(start..at);
        }
        ranges.retain(|range| !range.is_empty());
        Ok(ranges)
    }

    /// Fails where the file was written, truncated or extended since it was opened.
    pub(crate) fn ensure_unchanged(&self) -> Result<()> {
        let (name, size) = (self.args.source.display(), seek(&self.source, SeekFrom::End(0))?);
        let before = self.size;
        ensure!(size == before, "{name} changed from {before} to {size} bytes while it was copied");
        let same = self.source.metadata()?.modified()? == self.metadata.modified()?;
        ensure!(same, "{name} was written while it was copied");
        Ok(())
    }
}

/// Cuts ranges into pieces of so many bytes or less: their offsets and lengths.
fn pieces(ranges: &[Range<u64>], len: u64) -> impl Iterator<Item = (u64, u64)> {
    let cut = move |range: &Range<u64>| {
        let end = range.end;
        range.clone().step_by(len as usize).map(move |at| (at, len.min(end - at)))
    };
    ranges.iter().flat_map(cut)
}
