//! What is done with the bytes: they are copied, and compared.

use crate::target::Target;
use crate::{Args, Monitor};
use anyhow::{Context, Result, anyhow, bail, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use linux_aio::{BufferPool, Chunk, File, LocalDriver, ReaderOptions, Slice};
use rustix::fs::{Advice, SeekFrom, seek};
use rustix::io::Errno;
use std::fs::{Metadata, Permissions};
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::slice;

pub(crate) struct Copy<'a> {
    pub(crate) metadata: Metadata,
    source: File<LocalDriver>,
    size: u64,
    args: &'a Args,
    monitor: &'a Monitor,
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
        Ok(Self { metadata, source, size, args, monitor })
    }

    /// Copies the ranges that hold data, and brings the target to the disk.
    pub(crate) async fn to(&self, target: &Target) -> Result<()> {
        let (file, data) = (&target.file, self.data()?);
        file.set_len(self.size).await.with_context(|| target.at("extending", 0))?;
        // It shows early whether all fits, and writes that need not allocate are asynchronous.
        for Range { start, end } in &data {
            match file.allocate(*start, end - start).await {
                Err(error) if error.kind() == ErrorKind::Unsupported => break,
                result => result.with_context(|| target.at("reserving space for", *start))?,
            }
        }
        let copy = async |chunk: Chunk| {
            let at = chunk.offset();
            file.write_all_at(chunk, at).await.0.with_context(|| target.at("writing", at))
        };
        self.each_chunk("copying", &data, copy).await?;
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
        let pool = self.pool()?;
        let compare = async |expected: Chunk| {
            let (at, found) = (expected.offset(), pool.take().await.part(..expected.len()));
            let (result, found) = target.file.read_exact_at(found, at).await;
            result.with_context(|| target.at("reading the copy of", at))?;
            let mut pairs = expected.iter().zip(found.as_ref());
            match pairs.position(|(expected, found)| expected != found) {
                Some(same) => bail!(target.at("the copy differs:", at + same as u64)),
                None => Ok(()),
            }
        };
        self.each_chunk("verifying", slice::from_ref(&(0..self.size)), compare).await
    }

    /// Reads the ranges of the source, and does something with as many chunks at once as was asked
    /// for.
    async fn each_chunk(
        &self,
        doing: &'static str,
        ranges: &[Range<u64>],
        chunk: impl AsyncFn(Chunk) -> Result<()>,
    ) -> Result<()> {
        let (progress, depth, name) =
            (&self.monitor.progress, self.args.depth as usize, self.args.source.display());
        let length = ranges.iter().map(|range| range.end - range.start).sum();
        progress.reset();
        progress.set_message(doing);
        progress.set_length(length);
        let options = ReaderOptions::new().pool(self.pool()?).depth(depth);
        let reader = |range: &Range<_>| self.source.reader_with(range.clone(), options.clone());
        let chunks = stream::iter(ranges).map(reader).flatten_unordered(depth);
        let chunks = chunks.map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => self.ended(),
            _ => anyhow::Error::from(error).context(format!("reading {name}")),
        });
        let each = chunks.try_for_each_concurrent(depth, |bytes| {
            let (len, done) = (bytes.len() as u64, chunk(bytes));
            async move {
                done.await?;
                progress.inc(len);
                self.monitor.ensure_not_interrupted()
            }
        });
        each.await?;
        if progress.position() == length { Ok(()) } else { Err(self.ended()) }
    }

    fn ended(&self) -> anyhow::Error {
        let (name, size) = (self.args.source.display(), self.size);
        let end = seek(&self.source, SeekFrom::End(0)).unwrap_or(0);
        anyhow!("{name} ended at {end} while it was copied; it had {size} bytes")
    }

    fn pool(&self) -> Result<BufferPool> {
        let (depth, block) = (u64::from(self.args.depth), self.args.block);
        let count = depth.min(self.size / block as u64) + 2;
        Ok(BufferPool::new(count as usize, block, 4096)?)
    }

    /// Returns where there is data, with holes in between, up to the size.
    fn data(&self) -> Result<Vec<Range<u64>>> {
        let (mut ranges, mut at) = (Vec::new(), 0);
        while at < self.size {
            let start = match seek(&self.source, SeekFrom::Data(at)) {
                Err(Errno::NXIO) => break,
                // It cannot tell.
                Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
                start => start.with_context(|| {
                    format!("looking for data {} at {at}", self.args.source.display())
                })?,
            };
            at = seek(&self.source, SeekFrom::Hole(start)).unwrap_or(self.size).min(self.size);
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
