//! The name of the target, which the file has only when it is complete.

use anyhow::{Context, Result, bail, ensure};
use linux_aio::{Direct, File, LocalDriver};
use rustix::fs::{AtFlags, CWD, OFlags, linkat};
use rustix::io::retry_on_intr;
use std::fs::Metadata;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tempfile::TempPath;

pub(crate) struct Target {
    pub(crate) file: File<LocalDriver>,
    /// The name that the file has meanwhile, if it could not be made without one. Goes with this
    /// value.
    temporary: Option<TempPath>,
    directory: PathBuf,
    path: PathBuf,
}

impl Target {
    /// Makes an empty file in the directory of `path`, without a name where the file system can do
    /// that.
    pub(crate) fn create(driver: &LocalDriver, path: &Path, source: &Metadata) -> Result<Self> {
        let path = resolve(path, source)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = parent.unwrap_or(Path::new(".")).to_path_buf();
        let created = create_in(driver, &directory);
        let (file, temporary) =
            created.with_context(|| format!("no file can be made in {}", directory.display()))?;
        Ok(Self { file, temporary, directory, path })
    }

    /// Gives the file its name, in place of what had it before, and makes that last.
    pub(crate) fn publish(self) -> Result<()> {
        let name = || format!("giving the copy its name, {}", self.path.display());
        // A nameless file cannot take the place of a file. So it gets a temporary name first.
        let temporary = self.temporary.map_or_else(|| link(&self.file, &self.directory), Ok);
        let persisted = temporary.with_context(name)?.persist(&self.path);
        persisted.map_err(|error| error.error).with_context(name)?;
        let synced = std::fs::File::open(&self.directory)?.sync_all();
        synced.with_context(|| format!("flushing {}", self.directory.display()))
    }

    /// Says where something went wrong.
    pub(crate) fn at(&self, doing: &str, offset: u64) -> String {
        format!("{doing} {} at {offset}", self.path.display())
    }
}

/// Returns the name to write to: where there is a link, that of the file behind it. Refuses what
/// must not be replaced.
fn resolve(path: &Path, source: &Metadata) -> Result<PathBuf> {
    let name = path.display();
    let existing = match path.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            ensure!(!path.is_symlink(), "{name} is a link to nothing");
            let names_directory = path.as_os_str().as_bytes().ends_with(b"/");
            ensure!(!names_directory && path.file_name().is_some(), "{name} is no name for a file");
            return Ok(path.into());
        }
        existing => existing.with_context(|| name.to_string())?,
    };
    ensure!(!existing.is_dir(), "{name} is a directory; name the file in it");
    ensure!(existing.is_file(), "{name} is not a file; only files are replaced");
    if (existing.dev(), existing.ino()) == (source.dev(), source.ino()) {
        bail!("{name} is the source itself");
    }
    Ok(path.canonicalize()?)
}

/// Makes a file that nobody else may open, without a name or with a temporary one.
fn create_in(
    driver: &LocalDriver,
    directory: &Path,
) -> io::Result<(File<LocalDriver>, Option<TempPath>)> {
    let options = File::options().read(true).write(true).mode(0o600);
    let nameless = options.clone().custom_flags(OFlags::TMPFILE.bits() as i32);
    if let Ok(file) = driver.block_on(nameless.open(driver, directory)) {
        if proc_path(&file).exists() {
            return Ok((file, None));
        }
    }
    let (file, path) = temporary_name().tempfile_in(directory)?.into_parts();
    Ok((File::from_std_with(file, driver, Direct::Prefer)?, Some(path)))
}

/// Gives a nameless file a temporary name.
fn link(file: &File<LocalDriver>, directory: &Path) -> io::Result<TempPath> {
    let linked = temporary_name().make_in(directory, |path| {
        let follow = AtFlags::SYMLINK_FOLLOW;
        Ok(retry_on_intr(|| linkat(CWD, proc_path(file), CWD, path, follow))?)
    })?;
    Ok(linked.into_temp_path())
}

/// Returns a path to an open file, named or not.
fn proc_path(file: &File<LocalDriver>) -> PathBuf {
    format!("/proc/self/fd/{}", file.get_ref().as_raw_fd()).into()
}

fn temporary_name() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".copy-");
    builder
}
