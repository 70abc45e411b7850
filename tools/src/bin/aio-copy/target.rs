//! The file that is written, which has the target's name only when it is complete.

use crate::block::{ALIGNMENT, Block, pieces};
use crate::direct::{self, proc_path};
use crate::source::Source;
use anyhow::{Context, Result, bail, ensure};
use linux_aio::op::{Read, Write};
use rustix::fs::{AtFlags, CWD, FallocateFlags, fallocate, linkat};
use rustix::io::{Errno, retry_on_intr};
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempPath;

/// tmpfs gives back what it has reserved when a signal comes: so only a part is done again.
const RESERVED_AT_ONCE: usize = 64 << 20;

pub(crate) struct Target {
    pub(crate) file: Arc<File>,
    /// The name that the file has meanwhile, if it could not be made without one. Goes with this
    /// value.
    temporary: Option<TempPath>,
    directory: PathBuf,
    path: PathBuf,
}

impl Target {
    /// An empty file, without a name where the file system can do that, in the directory of `path`.
    pub(crate) fn create(path: &Path, source: &Source) -> Result<Self> {
        let path = resolve(path, source)?;
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let created = create_in(&directory);
        let (file, temporary) =
            created.with_context(|| format!("no file can be made in {}", directory.display()))?;
        direct::turn_on(&file)?;
        Ok(Self { file: Arc::new(file), temporary, directory, path })
    }

    /// Takes the size and the space now: it shows early whether all fits, and writes that need not
    /// allocate are asynchronous on more file systems.
    pub(crate) fn reserve(&mut self, size: u64, data: &[Range<u64>]) -> Result<()> {
        let align = ALIGNMENT as u64;
        self.file.set_len(size.next_multiple_of(align)).context(self.at("extending", 0))?;
        for piece in pieces(data.iter().cloned(), RESERVED_AT_ONCE) {
            let len = (piece.len as u64).next_multiple_of(align);
            let reserve = || fallocate(&self.file, FallocateFlags::empty(), piece.offset, len);
            match retry_on_intr(reserve) {
                Ok(()) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => break,
                Err(errno) => {
                    return Err(errno).context(self.at("reserving space for", piece.offset));
                }
            }
        }
        Ok(())
    }

    /// The write of what `block` has left.
    pub(crate) fn write(&self, block: Block) -> Write<Arc<File>, Block> {
        let offset = block.position();
        Write::new(Arc::clone(&self.file), block, offset)
    }

    /// The read of what `block` is missing.
    pub(crate) fn read(&self, block: Block) -> Read<Arc<File>, Block> {
        let offset = block.position();
        Read::new(Arc::clone(&self.file), block, offset)
    }

    /// Writes what `block` has left behind the `count` bytes that a write took.
    pub(crate) fn finish_writing(&self, block: &mut Block, count: u32) -> Result<()> {
        let (bytes, offset) = block.finish_after(count);
        let written = direct::write_buffered(&self.file, bytes, offset);
        written.with_context(|| self.at("writing", offset))
    }

    /// Reads what `block` is missing behind the `count` bytes that a read gave.
    pub(crate) fn finish_reading(&self, block: &mut Block, count: u32) -> Result<()> {
        let (bytes, offset) = block.finish_after(count);
        let read = direct::read_buffered(&self.file, bytes, offset);
        let read = read.with_context(|| self.at("reading the copy of", offset))?;
        ensure!(read == bytes.len(), self.at("the copy ended:", offset + read as u64));
        Ok(())
    }

    /// Cuts off what the last block had too much, and brings all to the disk.
    pub(crate) fn complete(&self, source: &Source) -> Result<()> {
        self.file.set_len(source.size).context(self.at("truncating", source.size))?;
        if source.metadata.is_file() {
            // Not set-user-ID and the like: the copy is ours, not the owner's of the source.
            let permissions = Permissions::from_mode(source.metadata.mode() & 0o777);
            self.file.set_permissions(permissions).context(self.at("setting the mode of", 0))?;
        }
        self.file.sync_all().context(self.at("flushing", 0))
    }

    /// Gives the file its name, in place of what had it before, and makes that last.
    pub(crate) fn publish(self) -> Result<()> {
        let name = || format!("giving the copy its name, {}", self.path.display());
        let temporary = match self.temporary {
            Some(temporary) => temporary,
            None => link(&self.file, &self.directory).with_context(name)?,
        };
        temporary.persist(&self.path).map_err(|error| error.error).with_context(name)?;
        let directory = File::open(&self.directory)?;
        directory.sync_all().with_context(|| format!("flushing {}", self.directory.display()))
    }

    /// Says where something went wrong.
    pub(crate) fn at(&self, doing: &str, offset: u64) -> String {
        format!("{doing} {} at {offset}", self.path.display())
    }
}

/// The name to write to: where there is a link, that of the file behind it. Refuses what must not
/// be replaced.
fn resolve(path: &Path, source: &Source) -> Result<PathBuf> {
    let name = path.display();
    let existing = match path.metadata() {
        Ok(existing) => existing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            ensure!(!path.is_symlink(), "{name} is a link to nothing");
            let names_directory = path.as_os_str().as_bytes().ends_with(b"/");
            ensure!(!names_directory && path.file_name().is_some(), "{name} is no name for a file");
            return Ok(path.into());
        }
        Err(error) => return Err(error).context(name.to_string()),
    };
    ensure!(!existing.is_dir(), "{name} is a directory; name the file in it");
    ensure!(existing.is_file(), "{name} is not a file; only files are replaced");
    let ids = |metadata: &std::fs::Metadata| (metadata.dev(), metadata.ino());
    if ids(&existing) == ids(&source.metadata) {
        bail!("{name} is the source itself");
    }
    Ok(path.canonicalize()?)
}

/// A file that nobody else may open, without a name or with a temporary one.
///
/// Of a nameless file not even SIGKILL leaves anything. It cannot take the place of a file, so it
/// gets a temporary name all the same, but only at the end.
fn create_in(directory: &Path) -> io::Result<(File, Option<TempPath>)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    let nameless = rustix::fs::OFlags::TMPFILE.bits() as i32;
    if let Ok(file) = options.clone().custom_flags(nameless).open(directory) {
        if proc_path(&file).exists() {
            return Ok((file, None));
        }
    }
    let created =
        temporary_name().make_in(directory, |path| options.clone().create_new(true).open(path))?;
    let (file, temporary) = created.into_parts();
    Ok((file, Some(temporary)))
}

/// Gives a nameless file a temporary name.
fn link(file: &File, directory: &Path) -> io::Result<TempPath> {
    let linked = temporary_name().make_in(directory, |path| {
        let follow = AtFlags::SYMLINK_FOLLOW;
        Ok(retry_on_intr(|| linkat(CWD, proc_path(file), CWD, path, follow))?)
    })?;
    Ok(linked.into_temp_path())
}

fn temporary_name() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".copy-");
    builder
}
