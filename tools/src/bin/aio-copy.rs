//! A fast file copy: many chunks in flight by one [`LocalDriver`], around the page cache where the
//! file systems allow it.
//!
//! ```text
//! aio-copy SOURCE TARGET --verify
//! ```
//!
//! Under the target's name there is always a whole file: the old one until the copy is complete and
//! on the disk, then the copy. SIGKILL may leave a `.copy-*` beside it: the whole copy, or, where
//! the file system has no files without a name, an unfinished one. Holes stay holes, and the
//! permissions are the source's.
#![forbid(unsafe_code)]

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytesize::ByteSize;
use clap::Parser;
use futures_util::{StreamExt, TryStreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use linux_aio::{BufferPool, Chunk, Direct, File, LocalDriver, ReaderOptions, Slice};
use rustix::fs::{Advice, AtFlags, CWD, OFlags, SeekFrom, linkat, seek};
use rustix::io::{Errno, retry_on_intr};
use signal_hook::{consts, flag};
use std::fs::{Metadata, Permissions};
use std::io::ErrorKind::{UnexpectedEof, Unsupported};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tempfile::{Builder, NamedTempFile, TempPath};

/// The status that shells expect after Ctrl-C: 128 + SIGINT.
const INTERRUPTED: u8 = 130;

/// Copies a file around the page cache, with many blocks in flight.
///
/// The target appears, or is replaced, when the copy is complete and on the disk. Until then, and
/// if anything fails, the old target stays.
///
/// Exit code: 0 the copy is on the disk, 1 it failed, 130 it was interrupted.
///
/// Example: aio-copy --verify disk.img /mnt/backup/disk.img
#[derive(Parser)]
#[command(name = "aio-copy", version, max_term_width = 100)]
struct Args {
    /// A file or block device.
    source: PathBuf,
    /// The name of the copy. An existing file of that name is replaced.
    target: PathBuf,
    /// Read both files from the disk again and compare them, before the target appears.
    #[arg(long)]
    verify: bool,
    /// The number of blocks in flight, up to 4096.
    #[arg(long, value_name = "N", default_value_t = 16,
        value_parser = clap::value_parser!(u32).range(1..=4096))]
    depth: u32,
    /// The size of a block: a multiple of 4 KiB, up to 1 GiB.
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = parse_block)]
    block: usize,
    #[arg(skip)]
    interrupted: Arc<AtomicBool>,
    #[arg(skip = ProgressBar::no_length())]
    progress: ProgressBar,
}

impl Args {
    /// Shows the progress. The first signal asks for an orderly end, the second ends the program.
    fn watch(&self) -> Result<()> {
        let style = "{msg:>9} {wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}";
        self.progress.set_style(ProgressStyle::with_template(style)?);
        for signal in [consts::SIGHUP, consts::SIGINT, consts::SIGTERM] {
            let interrupted = || Arc::clone(&self.interrupted);
            flag::register_conditional_shutdown(signal, INTERRUPTED.into(), interrupted())?;
            flag::register(signal, interrupted())?;
        }
        Ok(())
    }

    fn ensure_not_interrupted(&self) -> Result<()> {
        ensure!(!self.interrupted.load(Relaxed), "interrupted; the target was not touched");
        Ok(())
    }
}

fn parse_block(text: &str) -> Result<usize, String> {
    match text.parse::<ByteSize>()?.as_u64() {
        block if block > 0 && block % 4096 == 0 && block <= 1 << 30 => Ok(block as usize),
        _ => Err("not a multiple of 4 KiB up to 1 GiB, such as 64KiB or 1MiB".into()),
    }
}

struct Source<'a> {
    file: File<LocalDriver>,
    metadata: Metadata,
    size: u64,
    name: String,
    args: &'a Args,
}

impl<'a> Source<'a> {
    async fn open(driver: &LocalDriver, args: &'a Args) -> Result<Self> {
        let name = args.source.display().to_string();
        // Before opening: to open a named pipe would wait for its writer.
        let kind = args.source.metadata().with_context(|| name.clone())?.file_type();
        ensure!(!kind.is_dir(), "{name} is a directory; only files are copied");
        let has_offsets = kind.is_file() || kind.is_block_device();
        ensure!(has_offsets, "{name} is neither a file nor a block device; it has no offsets");
        let file = File::open(driver, &args.source).await.with_context(|| name.clone())?;
        let size = seek(&file, SeekFrom::End(0))?;
        Ok(Self { metadata: file.metadata()?, file, size, name, args })
    }

    /// Copies the ranges that hold data, and brings the target to the disk.
    async fn copy_to(&self, target: &Target) -> Result<()> {
        let (file, data, writing) = (&target.file, self.data()?, || target.text("writing"));
        file.set_len(self.size).await.with_context(writing)?;
        // It shows early whether all fits, and writes that need not allocate are asynchronous.
        for range in &data {
            match file.allocate(range.start, range.end - range.start).await {
                Err(error) if error.kind() == Unsupported => break,
                result => result.with_context(writing)?,
            }
        }
        let copy = async |chunk: Chunk| {
            let at = chunk.offset();
            file.write_all_at(chunk, at).await.0.with_context(writing)
        };
        self.each_chunk("copying", &data, &copy).await?;
        if self.metadata.is_file() {
            // Not set-user-ID and the like: the copy is ours, not the owner's of the source.
            let permissions = Permissions::from_mode(self.metadata.mode() & 0o777);
            file.get_ref().set_permissions(permissions).with_context(writing)?;
        }
        file.sync_all().await.with_context(writing)
    }

    /// Reads both files whole, holes too, and fails where they differ.
    async fn compare_with(&self, target: &Target) -> Result<()> {
        // The next reads come from the disk, should the page cache be used after all.
        for file in [&self.file, &target.file] {
            rustix::fs::fadvise(file, 0, None, Advice::DontNeed)?;
        }
        let pool = self.pool()?;
        let compare = async |expected: Chunk| {
            let (at, found) = (expected.offset(), pool.take().await.part(..expected.len()));
            let (result, found) = target.file.read_exact_at(found, at).await;
            result.with_context(|| target.text("reading"))?;
            let mut pairs = expected.iter().zip(found.as_ref());
            match pairs.position(|(expected, found)| expected != found) {
                Some(same) => bail!("{} at {}", target.text("the copy differs:"), at + same as u64),
                None => Ok(()),
            }
        };
        self.each_chunk("verifying", std::slice::from_ref(&(0..self.size)), &compare).await
    }

    /// Reads the ranges, and does something with as many chunks at once as was asked for.
    async fn each_chunk(
        &self,
        doing: &'static str,
        ranges: &[Range<u64>],
        done_with: &impl AsyncFn(Chunk) -> Result<()>,
    ) -> Result<()> {
        let (progress, depth) = (&self.args.progress, self.args.depth as usize);
        let length = ranges.iter().map(|range| range.end - range.start).sum();
        progress.reset();
        progress.set_message(doing);
        progress.set_length(length);
        let options = ReaderOptions::new().pool(self.pool()?).depth(depth);
        let reader = |range: &Range<_>| self.file.reader_with(range.clone(), options.clone());
        let chunks = stream::iter(ranges).map(reader).flatten_unordered(depth);
        let chunks = chunks.map_err(|error| self.explain(error));
        let each = chunks.try_for_each_concurrent(depth, |chunk| async move {
            let len = chunk.len() as u64;
            done_with(chunk).await?;
            progress.inc(len);
            self.args.ensure_not_interrupted()
        });
        each.await?;
        if progress.position() == length { Ok(()) } else { Err(self.explain(UnexpectedEof.into())) }
    }

    /// A read may give no bytes although the file is as long as before, as of a file of the
    /// kernel's. Then only the error of the read can tell more.
    fn explain(&self, error: std::io::Error) -> anyhow::Error {
        let (name, was) = (&self.name, self.size);
        let is = seek(&self.file, SeekFrom::End(0)).unwrap_or(was);
        if is < was && error.kind() == UnexpectedEof {
            return anyhow!("{name} ended at {is} while it was copied; it had {was} bytes");
        }
        anyhow!(error).context(format!("reading {name}"))
    }

    fn pool(&self) -> Result<BufferPool> {
        let (depth, block) = (u64::from(self.args.depth), self.args.block);
        Ok(BufferPool::new(depth.min(self.size / block as u64) as usize + 2, block, 4096)?)
    }

    /// Returns where there is data, with holes in between, up to the size.
    fn data(&self) -> Result<Vec<Range<u64>>> {
        let (mut ranges, mut at) = (Vec::new(), 0);
        while at < self.size {
            let start = match seek(&self.file, SeekFrom::Data(at)) {
                Err(Errno::NXIO) => break,
                // It cannot tell.
                Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
                start => start.with_context(|| format!("seeking in {} at {at}", self.name))?,
            };
            at = seek(&self.file, SeekFrom::Hole(start)).unwrap_or(self.size).min(self.size);
            ranges.extend((start < at).then_some(start..at));
        }
        Ok(ranges)
    }

    /// Fails where the file was written, truncated or extended since it was opened.
    fn ensure_unchanged(&self) -> Result<()> {
        let (name, was, is) = (&self.name, self.size, seek(&self.file, SeekFrom::End(0))?);
        ensure!(is == was, "{name} changed from {was} to {is} bytes while it was copied");
        let same = self.file.metadata()?.modified()? == self.metadata.modified()?;
        ensure!(same, "{name} was written while it was copied");
        Ok(())
    }
}

struct Target {
    file: File<LocalDriver>,
    /// The name that the file has meanwhile, if it could not be made without one. Goes with this
    /// value.
    temporary: Option<TempPath>,
    path: PathBuf,
}

impl Target {
    /// Makes an empty file beside `path`, without a name where the file system can do that. Nobody
    /// else may open it.
    fn create(driver: &LocalDriver, path: PathBuf) -> Result<Self> {
        let flags = OFlags::TMPFILE.bits() as i32;
        let nameless = File::options().read(true).write(true).mode(0o600).custom_flags(flags);
        let nameless = driver.block_on(nameless.open(driver, parent(&path))).ok();
        if let Some(file) = nameless.filter(|file| proc_path(file).exists()) {
            return Ok(Self { file, temporary: None, path });
        }
        let named = Builder::new().prefix(".copy-").tempfile_in(parent(&path));
        let text = || format!("no file can be made in {}", parent(&path).display());
        let (file, name) = named.with_context(text)?.into_parts();
        let file = File::from_std_with(file, driver, Direct::Prefer)?;
        Ok(Self { file, temporary: Some(name), path })
    }

    /// Gives the file its name, in place of what had it before, and makes that last.
    fn publish(mut self) -> Result<()> {
        let (temporary, text) = (self.temporary.take(), || self.text("giving its name to"));
        let link = |path: &Path| {
            let file = proc_path(&self.file);
            Ok(retry_on_intr(|| linkat(CWD, &file, CWD, path, AtFlags::SYMLINK_FOLLOW))?)
        };
        // A nameless file cannot take the place of a file. So it gets a temporary name first.
        let named = || Builder::new().prefix(".copy-").make_in(parent(&self.path), link);
        let named = || named().map(NamedTempFile::into_temp_path);
        let temporary = temporary.map_or_else(named, Ok).with_context(text)?;
        temporary.persist(&self.path).map_err(|error| error.error).with_context(text)?;
        std::fs::File::open(parent(&self.path))?.sync_all().with_context(text)
    }

    fn text(&self, doing: &str) -> String {
        format!("{doing} {}", self.path.display())
    }
}

/// Returns the name to write to: where there is a link, that of the file behind it. Refuses what
/// must not be replaced.
fn resolve(path: &Path, source: &Metadata) -> Result<PathBuf> {
    let name = path.display();
    let Ok(existing) = path.metadata() else {
        ensure!(!path.is_symlink(), "{name} is a link to nothing");
        let names_directory = path.as_os_str().as_bytes().ends_with(b"/");
        ensure!(!names_directory && path.file_name().is_some(), "{name} is no name for a file");
        return Ok(path.into());
    };
    ensure!(!existing.is_dir(), "{name} is a directory; name the file in it");
    ensure!(existing.is_file(), "{name} is not a file; only files are replaced");
    let is_source = (existing.dev(), existing.ino()) == (source.dev(), source.ino());
    ensure!(!is_source, "{name} is the source itself");
    Ok(path.canonicalize()?)
}

fn parent(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// Returns a path to an open file, named or not.
fn proc_path(file: &File<LocalDriver>) -> PathBuf {
    format!("/proc/self/fd/{}", file.get_ref().as_raw_fd()).into()
}

fn run(args: &Args) -> Result<()> {
    args.watch()?;
    let driver = LocalDriver::new(args.depth)?;
    let source = driver.block_on(Source::open(&driver, args))?;
    let target = Target::create(&driver, resolve(&args.target, &source.metadata)?)?;
    driver.block_on(source.copy_to(&target))?;
    if args.verify {
        driver.block_on(source.compare_with(&target))?;
    }
    source.ensure_unchanged()?;
    args.ensure_not_interrupted()?;
    target.publish()
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = run(&args);
    args.progress.finish_and_clear();
    let Err(error) = result else { return ExitCode::SUCCESS };
    eprintln!("aio-copy: {error:#}");
    ExitCode::from(if args.ensure_not_interrupted().is_err() { INTERRUPTED } else { 1 })
}
