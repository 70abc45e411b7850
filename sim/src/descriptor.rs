//! [`Descriptors`], the descriptors by which programs name simulated files.
//!
//! Each is an `O_PATH` descriptor of a memory file that nobody else has. It can be duplicated and
//! closed, and `fstat` tells its length. Everything that bypasses the simulation gives `EBADF`:
//! reads and writes, also those of a context of the running kernel. A descriptor is known by its
//! inode. Its number would be wrong after `dup`, and after `close` when the kernel gives it again.

use crate::disk::FileNumber;
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::OFlags;
use std::collections::HashMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

/// A simulated file has been opened in this process.
static EXISTS: AtomicBool = AtomicBool::new(false);

/// Returns whether descriptors may be those of simulated files.
pub(crate) fn exists() -> bool {
    EXISTS.load(Ordering::Relaxed)
}

/// Device and inode.
type Key = (u64, u64);

/// The name of each memory file begins so.
const PREFIX: &str = "linux-aio-sim:";

/// Names the object of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// A file, and the flags of `open(2)` that it is open with.
    File {
        file: FileNumber,
        flags: i32,
    },
    Directory,
}

impl Target {
    /// Returns whether the descriptor has a flag of `open(2)`.
    pub(crate) fn has(self, flag: OFlags) -> bool {
        matches!(self, Self::File { flags, .. } if flags & flag.bits() as i32 != 0)
    }

    pub(crate) fn is_readable(self) -> bool {
        !self.has(OFlags::WRONLY)
    }

    pub(crate) fn is_writable(self) -> bool {
        self.has(OFlags::WRONLY | OFlags::RDWR)
    }
}

/// The facts about the descriptor of an operation.
pub(crate) enum Found {
    /// A file of this simulation.
    Target(Target),
    /// One that was opened before the last crash or kill.
    Stale,
    /// An open file that is not simulated, or of another simulation.
    Foreign,
    /// No open file.
    Closed,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Descriptors {
    known: HashMap<Key, (Target, u64)>,
    /// The memory files of the targets that have been opened since the last crash.
    files: HashMap<Target, OwnedFd>,
    /// The number of crashes and kills.
    era: u64,
}

impl Descriptors {
    /// Makes a descriptor for a target, whose length is given.
    pub(crate) fn open(&mut self, target: Target, label: &str, length: u64) -> OwnedFd {
        EXISTS.store(true, Ordering::Relaxed);
        let file = self.files.entry(target);
        let file = file.or_insert_with(|| backend::file(&format!("{PREFIX}{label}"), length));
        let fd = backend::handle(file);
        let key = backend::key(fd.as_raw_fd()).expect("fstat of a descriptor that is open");
        self.known.insert(key, (target, self.era));
        fd
    }

    /// Makes a number that is open name another target.
    pub(crate) fn replace(&mut self, number: i32, target: Target, label: &str, length: u64) {
        let handle = self.open(target, label, length);
        backend::replace(number, &handle);
        if let Some(key) = backend::key(number) {
            self.known.insert(key, (target, self.era));
        }
    }

    /// Returns what a number in an iocb names.
    pub(crate) fn find(&self, number: i32) -> Found {
        let Some(key) = backend::key(number) else { return Found::Closed };
        match self.known.get(&key) {
            Some(&(target, era)) if era == self.era => Found::Target(target),
            Some(_) => Found::Stale,
            None => Found::Foreign,
        }
    }

    /// Makes the length that `fstat` tells that of the file.
    pub(crate) fn set_len(&self, file: FileNumber, length: u64) {
        for (target, fd) in &self.files {
            if matches!(target, Target::File { file: of, .. } if *of == file) {
                backend::set_len(fd, length);
            }
        }
    }

    /// Makes all descriptors those of a process that has ended.
    pub(crate) fn end_era(&mut self) {
        self.era += 1;
        self.files.clear();
    }
}

/// Returns the file that is open under this number, for a text.
pub(crate) fn describe(number: i32) -> String {
    let path = fs::read_link(format!("/proc/self/fd/{number}"));
    let path = path.map_or_else(|_| "unknown".into(), |path| path.display().to_string());
    match simulated_name(&path) {
        Some(name) => format!("{number} (the simulated file {name:?})"),
        None => format!("{number} ({path})"),
    }
}

/// Returns the name of the simulated file that is open under this number.
pub(crate) fn name_of_simulated(number: i32) -> Option<String> {
    let path = fs::read_link(format!("/proc/self/fd/{number}")).ok()?;
    simulated_name(path.to_str()?).map(String::from)
}

fn simulated_name(path: &str) -> Option<&str> {
    let name = path.strip_prefix("/memfd:")?.strip_prefix(PREFIX)?;
    Some(name.strip_suffix(" (deleted)").unwrap_or(name))
}

/// Returns whether an eventfd is open under this number.
pub(crate) fn is_eventfd(number: i32) -> bool {
    if cfg!(miri) {
        return true;
    }
    let path = fs::read_link(format!("/proc/self/fd/{number}"));
    path.is_ok_and(|path| path.as_os_str() == "anon_inode:[eventfd]")
}

/// Adds one to an eventfd, as the kernel does for a completion.
pub(crate) fn signal(number: u32) {
    let Ok(number @ 0..) = i32::try_from(number) else { return };
    // SAFETY: The number is not -1. The program has named the descriptor in an operation, which
    // lends it to the kernel until the event.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    // An eventfd at its limit is readable, and a closed one is nobody's.
    let _ = rustix::io::write(fd, &1_u64.to_ne_bytes());
}

#[cfg(not(miri))]
mod backend {
    use super::Key;
    use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
    use rustix::fs::{MemfdFlags, Mode, OFlags, fstat, ftruncate, memfd_create, open};
    use rustix::io::{DupFlags, dup3};
    use std::mem::ManuallyDrop;

    pub(super) fn file(name: &str, length: u64) -> OwnedFd {
        // The kernel allows names of up to 249 bytes.
        let end = (0..=name.len().min(249)).rfind(|&end| name.is_char_boundary(end));
        let name = name[..end.unwrap_or(0)].replace('\0', "?");
        let file = memfd_create(name, MemfdFlags::CLOEXEC);
        let file = file.expect("a simulated file needs memfd_create and a free descriptor");
        set_len(&file, length);
        file
    }

    pub(super) fn handle(file: &OwnedFd) -> OwnedFd {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let handle = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        handle.expect("a simulated file needs /proc and a free descriptor")
    }

    pub(super) fn replace(number: i32, by: &OwnedFd) {
        // SAFETY: The number is that of an open descriptor, which its owner lends to the call. It
        // is not dropped here.
        let mut number = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(number) });
        dup3(by, &mut number, DupFlags::CLOEXEC).expect("both descriptors are open");
    }

    #[allow(clippy::unnecessary_cast, reason = "the fields are not everywhere as wide")]
    pub(super) fn key(number: i32) -> Option<Key> {
        if number < 0 {
            return None;
        }
        // SAFETY: The number is not -1. The kernel gives an error if it is that of no open file,
        // and the borrow ends with this function.
        let stat = fstat(unsafe { BorrowedFd::borrow_raw(number) }).ok()?;
        Some((stat.st_dev as u64, stat.st_ino as u64))
    }

    pub(super) fn set_len(file: &OwnedFd, length: u64) {
        ftruncate(file, length).expect("a memory file of this length");
    }
}

/// Miri knows neither memory files nor `O_PATH`. A file without a name stands for each.
#[cfg(miri)]
mod backend {
    use super::Key;
    use rustix::fd::{FromRawFd, OwnedFd};
    use std::fs::{File, OpenOptions, remove_file};
    use std::mem::ManuallyDrop;
    use std::os::unix::fs::MetadataExt;
    use std::sync::atomic::{AtomicU64, Ordering};

    pub(super) fn file(_: &str, length: u64) -> OwnedFd {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("linux-aio-sim-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        let file = file.expect("a simulated file needs a folder for temporary files");
        remove_file(path).expect("the file is there");
        let file = OwnedFd::from(file);
        set_len(&file, length);
        file
    }

    pub(super) fn handle(file: &OwnedFd) -> OwnedFd {
        file.try_clone().expect("a free descriptor")
    }

    pub(super) fn replace(number: i32, by: &OwnedFd) {
        // SAFETY: The number is that of an open descriptor, which its owner lends to the call. It
        // is not dropped here.
        let mut number = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(number) });
        rustix::io::dup2(by, &mut number).expect("both descriptors are open");
    }

    /// Miri cannot tell of an eventfd, so it must not be asked about one.
    pub(super) fn key(number: i32) -> Option<Key> {
        if number < 0 {
            return None;
        }
        // SAFETY: The number is not -1. Its owner lends the descriptor to the call. It is not
        // dropped here.
        let file = ManuallyDrop::new(unsafe { File::from_raw_fd(number) });
        let metadata = file.metadata().ok()?;
        Some((metadata.dev(), metadata.ino()))
    }

    pub(super) fn set_len(file: &OwnedFd, length: u64) {
        let file = File::from(file.try_clone().expect("a free descriptor"));
        file.set_len(length).expect("a file of this length");
    }
}
