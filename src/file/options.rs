//! [`OpenOptions`].

use super::FileDriver;
use super::call;
use super::open::{Direct, Open};
use crate::Errno;
use crate::driver::Lane;
use rustix::fs::OFlags;
use std::fs::OpenOptions as StdOptions;
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::PathBuf;

/// Describes how a [`File`](super::File) is opened. From [`File::options`](super::File::options).
///
/// The names are those of [`std::fs::OpenOptions`], and mean the same.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use linux_aio::{Direct, Driver, File};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("log");
/// let driver = Driver::on_thread(8)?;
/// let options = File::options().write(true).create(true).mode(0o600).direct(Direct::Never);
/// let file = pollster::block_on(options.open(&driver, path))?;
/// assert!(!file.is_direct());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "options open nothing unless `open` is called"]
pub struct OpenOptions {
    read: bool,
    write: bool,
    append: bool,
    truncate: bool,
    create: bool,
    create_new: bool,
    mode: u32,
    direct: Direct,
    flags: i32,
}

impl OpenOptions {
    pub(super) fn new() -> Self {
        Self {
            read: false,
            write: false,
            append: false,
            truncate: false,
            create: false,
            create_new: false,
            mode: 0o666,
            direct: Direct::default(),
            flags: 0,
        }
    }

    /// Opens the file for reading.
    pub fn read(mut self, read: bool) -> Self {
        self.read = read;
        self
    }

    /// Opens the file for writing.
    pub fn write(mut self, write: bool) -> Self {
        self.write = write;
        self
    }

    /// Opens the file for writing at its end, wherever that is: the offsets of writes do not count.
    #[doc(alias = "O_APPEND")]
    pub fn append(mut self, append: bool) -> Self {
        self.append = append;
        self
    }

    /// Makes the file empty.
    #[doc(alias = "O_TRUNC")]
    pub fn truncate(mut self, truncate: bool) -> Self {
        self.truncate = truncate;
        self
    }

    /// Creates the file if there is none.
    #[doc(alias = "O_CREAT")]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Creates the file, and fails if there is one.
    #[doc(alias = "O_EXCL")]
    pub fn create_new(mut self, create_new: bool) -> Self {
        self.create_new = create_new;
        self
    }

    /// Sets the permissions of a file that is created; 0o666 unless this is called. The process's
    /// umask is taken from them.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Adds flags of `open(2)`. `O_DIRECT` among them does not count: [`direct`](Self::direct)
    /// decides.
    pub fn custom_flags(mut self, flags: i32) -> Self {
        self.flags = flags;
        self
    }

    /// Says whether to open the file with `O_DIRECT`; [`Direct::Prefer`] unless this is called.
    #[doc(alias = "O_DIRECT")]
    pub fn direct(mut self, direct: Direct) -> Self {
        self.direct = direct;
        self
    }

    fn to_std(&self) -> StdOptions {
        let mut options = StdOptions::new();
        options.read(self.read).write(self.write).append(self.append).truncate(self.truncate);
        options.create(self.create).create_new(self.create_new).mode(self.mode);
        // The file is opened without it first: an open that fails because of `O_DIRECT` leaves a
        // new file behind, which an open with `create_new` would then fail on.
        options.custom_flags(self.flags & !(OFlags::DIRECT.bits() as i32));
        options
    }

    /// Returns the flags that these options are to a simulated kernel.
    #[cfg(feature = "sim")]
    fn to_flags(&self) -> OFlags {
        let flags = OFlags::from_bits_retain(self.flags as _) - OFlags::DIRECT - OFlags::ACCMODE;
        let access = match (self.read, self.write || self.append) {
            (true, true) => OFlags::RDWR,
            (false, true) => OFlags::WRONLY,
            _ => OFlags::RDONLY,
        };
        let more = [
            (self.append, OFlags::APPEND),
            (self.truncate, OFlags::TRUNC),
            (self.create, OFlags::CREATE),
            (self.create_new, OFlags::CREATE | OFlags::EXCL),
        ];
        more.iter().filter(|it| it.0).fold(flags | access, |flags, it| flags | it.1)
    }

    /// Opens the file, on a thread of the driver.
    pub(super) async fn open_file<D: FileDriver>(
        &self,
        driver: &D,
        path: PathBuf,
    ) -> io::Result<Open> {
        let options = self.to_std();
        #[cfg(feature = "sim")]
        let simulated = self.to_flags();
        let Self { direct, flags, .. } = *self;
        let waits = flags & OFlags::NONBLOCK.bits() as i32 == 0;
        let call = driver.threads().call(Lane::Calls, path, move |path| {
            // The open of a pipe waits for its other end, and would hold up every other call.
            let is_pipe = |path| std::fs::metadata(path).is_ok_and(|it| it.file_type().is_fifo());
            if waits && is_pipe(&*path) {
                return Err(super::open::waits_without_end());
            }
            let file = call::open(
                &options,
                #[cfg(feature = "sim")]
                simulated,
                path,
            )?;
            Open::with(file, direct)
        });
        let (result, path) = call.await;
        let name = || alloc::format!("open of {}", path.display());
        match result {
            Ok(Ok(open)) => Ok(open),
            Ok(Err(error)) => match Errno::from_io_error(&error) {
                Some(errno) => Err(call::failed(&name(), errno)),
                None => Err(io::Error::new(error.kind(), alloc::format!("{}: {error}", name()))),
            },
            Err(failure) => Err(call::failed(&name(), failure)),
        }
    }
}
