//! Files, pipes and sockets.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A directory that goes away with the value: where the build is, else where temporary files are.
pub(crate) fn scratch() -> TempDir {
    let near = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"));
    near.or_else(|_| tempfile::tempdir()).expect("a directory for temporary files")
}

/// A new file in a directory of its own, open for reading and writing, with this content.
pub(crate) fn file_with(content: &[u8]) -> (TempDir, PathBuf, File) {
    let dir = scratch();
    let path = dir.path().join("file");
    let mut file =
        OpenOptions::new().read(true).write(true).create_new(true).open(&path).expect("a file");
    file.write_all(content).expect("writing to a new file");
    (dir, path, file)
}

/// Opens with `O_DIRECT`, or `None` where the file system has none.
pub(crate) fn open_direct(path: &Path) -> Option<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_DIRECT);
    match options.open(path) {
        Ok(file) => Some(file),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => None,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

/// Bytes of which no two neighbouring blocks are alike.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8 ^ (at / 4096) as u8 | 1).collect()
}

/// Where the pipe's reads and writes may block, use `pipe(0)`; else `pipe(libc::O_NONBLOCK)`.
pub(crate) struct Pipe {
    pub(crate) reader: File,
    pub(crate) writer: File,
}

pub(crate) fn pipe(flags: i32) -> Pipe {
    let mut fds = [0; 2];
    // SAFETY: `fds` has room for the two descriptors.
    let made = unsafe { libc::pipe2(fds.as_mut_ptr(), flags | libc::O_CLOEXEC) };
    assert_eq!(made, 0, "pipe2: {}", std::io::Error::last_os_error());
    // SAFETY: The kernel has just made it, and nobody else has it.
    let reader = unsafe { File::from_raw_fd(fds[0]) };
    // SAFETY: As above.
    let writer = unsafe { File::from_raw_fd(fds[1]) };
    Pipe { reader, writer }
}

impl Pipe {
    pub(crate) fn put(&mut self, byte: u8) {
        self.writer.write_all(&[byte]).expect("room in the pipe");
    }

    pub(crate) fn get(&mut self) -> u8 {
        let mut byte = [0];
        self.reader.read_exact(&mut byte).expect("a byte in the pipe");
        byte[0]
    }
}

/// The number of a descriptor that is open at no time.
pub(crate) const BAD_FD: i32 = i32::MAX - 7;

/// An open file of that name. A file of its own for each call, as opposed to `File::try_clone`.
pub(crate) fn open(path: &str, flags: i32) -> File {
    let path = CString::new(Path::new(path).as_os_str().as_bytes()).expect("no zero byte");
    // SAFETY: The path ends in a zero byte and lives during the call.
    let fd = unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, 0o600) };
    assert!(fd >= 0, "{path:?}: {}", std::io::Error::last_os_error());
    // SAFETY: The kernel has just made it, and nobody else has it.
    unsafe { File::from_raw_fd(fd) }
}

/// What `path` of /proc shows about a descriptor.
pub(crate) fn is_open(file: &File) -> bool {
    Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())).exists()
}

/// Whole pages from the kernel, with a protection of one's own; unmapped with the value.
pub(crate) struct Pages {
    pub(crate) start: *mut u8,
    pub(crate) len: usize,
}

impl Pages {
    pub(crate) fn new(len: usize, protection: i32) -> Self {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: A new mapping at an address of the kernel's choice.
        let start = unsafe { libc::mmap(core::ptr::null_mut(), len, protection, flags, -1, 0) };
        assert_ne!(start, libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
        Self { start: start.cast(), len }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: The pages are this value's alone.
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}
