//! A file whose reads and writes stay in flight until the test lets them go: the root of a FUSE
//! mount, served by a child. It is what a slow disk is, without its chances.

use super::child::{Ended, start_child, wait_for};
use super::files::{Pipe, open, pipe, scratch};
use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::thread;

/// What every byte of the file is.
pub(crate) const BYTE: u8 = 0xa5;

/// How large the file is.
pub(crate) const SIZE: u64 = 1 << 20;

pub(crate) struct HeldFile {
    pub(crate) file: Option<File>,
    server: libc::pid_t,
    hold: Option<Hold>,
    /// A byte for each operation that has arrived, which says what it is.
    arrived: File,
}

/// Lets every operation go, present and future, when it is dropped.
///
/// It writes a byte. That its descriptor is closed would not do: a child that another test forks
/// meanwhile has a copy, and two servers that had copies of each other's would wait for ever.
pub(crate) struct Hold(File);

impl Drop for Hold {
    fn drop(&mut self) {
        // A server that is gone holds nothing.
        let _ = self.0.write(&[0]);
    }
}

/// What arrives at the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    Read,
    Write,
    Fsync,
    Fdatasync,
}

impl HeldFile {
    /// The file, or why there is none here. Its operations do not go through the page cache.
    pub(crate) fn new() -> Result<Self, String> {
        Self::mounted(FOPEN_DIRECT_IO, Content::Whole)
    }

    /// One that holds nothing back, and of whose reads each gives half of what it asks for, in
    /// sectors of 512 bytes. What it holds, [`short_content`] says.
    pub(crate) fn short() -> Result<Self, String> {
        let mut held = Self::mounted(FOPEN_DIRECT_IO, Content::Halves)?;
        held.release();
        Ok(held)
    }

    /// The same, but a read gives half of what it asks for in bytes, and at least one.
    pub(crate) fn short_within_blocks() -> Result<Self, String> {
        let mut held = Self::mounted(FOPEN_DIRECT_IO, Content::HalfBytes)?;
        held.release();
        Ok(held)
    }

    /// One whose operations go through the page cache; release it before anything is submitted,
    /// since that waits.
    pub(crate) fn buffered() -> Result<Self, String> {
        Self::mounted(0, Content::Whole)
    }

    fn mounted(open_flags: u32, content: Content) -> Result<Self, String> {
        if !super::is_root() {
            return Err("mounting a FUSE file system needs root".to_owned());
        }
        // A thread of its own, since it leaves for a mount namespace of its own.
        thread::spawn(move || Self::mount(open_flags, content)).join().expect("the mounting thread")
    }

    fn mount(open_flags: u32, content: Content) -> Result<Self, String> {
        let failed = |what: &str| Err(format!("{what}: {}", std::io::Error::last_os_error()));
        if !std::path::Path::new("/dev/fuse").exists() {
            return Err("there is no /dev/fuse".to_owned());
        }
        let device = open("/dev/fuse", libc::O_RDWR);
        let dir = scratch();
        let path = dir.path().join("held");
        drop(File::create(&path).expect("a file to mount on"));
        let path = CString::new(path.as_os_str().as_bytes()).expect("no zero byte");
        // SAFETY: A number; concerns this thread alone.
        if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
            return failed("unshare");
        }
        let private = libc::MS_REC | libc::MS_PRIVATE;
        let (none, no_data) = (c"none".as_ptr(), core::ptr::null());
        // SAFETY: Strings that end in a zero byte, and null where that is allowed.
        let made = unsafe { libc::mount(none, c"/".as_ptr(), none, private, no_data) };
        if made != 0 {
            return failed("making the mounts private");
        }
        let fd = device.as_raw_fd();
        let options = format!("fd={fd},rootmode=100000,user_id=0,group_id=0");
        let options = CString::new(options).expect("no zero byte");
        let (kind, source) = (c"fuse".as_ptr(), c"linux-aio-test".as_ptr());
        // SAFETY: Strings that end in a zero byte.
        let made = unsafe { libc::mount(source, path.as_ptr(), kind, 0, options.as_ptr().cast()) };
        if made != 0 {
            return failed("mounting a FUSE file");
        }
        let Pipe { reader: held, writer: hold } = pipe(0);
        let Pipe { reader: arrived, writer: arrivals } = pipe(0);
        let mut buffer = vec![0; 1 << 18];
        let server = start_child(|| {
            close_all_but([&device, &held, &arrivals]);
            serve(&device, &held, &arrivals, &mut buffer, open_flags, content);
        });
        drop(device);
        let path = path.to_str().expect("a path of text");
        let file = open(path, libc::O_RDWR);
        // The kernel asks for the size; until then it takes the file for empty.
        assert_eq!(file.metadata().map(|data| data.len()).ok(), Some(SIZE));
        let path = CString::new(path).expect("no zero byte");
        // SAFETY: A string that ends in a zero byte. The open file keeps the file system.
        let gone = unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
        assert_eq!(gone, 0, "umount2: {}", std::io::Error::last_os_error());
        Ok(Self { file: Some(file), server, hold: Some(Hold(hold)), arrived })
    }

    pub(crate) fn file(&self) -> &File {
        self.file.as_ref().expect("open until the value is dropped")
    }

    /// Waits until the server has got `count` more operations, and says which.
    pub(crate) fn wait_for_arrival(&self, count: usize) -> Vec<Arrival> {
        const ALL: [Arrival; 4] =
            [Arrival::Read, Arrival::Write, Arrival::Fsync, Arrival::Fdatasync];
        let mut bytes = vec![0; count];
        (&self.arrived).read_exact(&mut bytes).expect("the server lives");
        bytes.iter().map(|&byte| ALL[byte as usize]).collect()
    }

    /// What the server has got since it was last asked. Everything that has completed is in it.
    pub(crate) fn arrived_so_far(&self) -> Vec<Arrival> {
        let mut arrivals = Vec::new();
        let fd = self.arrived.as_raw_fd();
        loop {
            let mut ready = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
            // SAFETY: One entry, valid for reads and writes.
            if unsafe { libc::poll(&raw mut ready, 1, 0) } != 1 {
                return arrivals;
            }
            arrivals.extend(self.wait_for_arrival(1));
        }
    }

    /// What lets every operation go when it is dropped.
    pub(crate) fn take_hold(&mut self) -> Hold {
        self.hold.take().expect("it is held once")
    }

    /// Lets every operation go, present and future.
    pub(crate) fn release(&mut self) {
        self.hold = None;
    }
}

impl Drop for HeldFile {
    fn drop(&mut self) {
        self.hold = None;
        self.file = None;
        // SAFETY: The server was started here and has not been waited for.
        unsafe { libc::kill(self.server, libc::SIGKILL) };
        let _: Ended = wait_for(self.server);
    }
}

/// Closes in a child what it does not use: as long as it has the other end of another test's pipe,
/// that test does not see the pipe's end.
fn close_all_but(used: [&File; 3]) {
    for fd in 3..1024 {
        if used.iter().all(|file| file.as_raw_fd() != fd) {
            // SAFETY: Nothing in the child uses it: it leaves by `_exit` and drops nothing.
            unsafe { libc::close(fd) };
        }
    }
}

/// What the file of [`HeldFile::short`] holds.
pub(crate) fn short_content() -> Vec<u8> {
    super::files::pattern(SIZE as usize)
}

/// What a read gives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    /// As many of `BYTE` as it asks for.
    Whole,
    /// Half of what it asks for, in sectors.
    Halves,
    /// Half of what it asks for, in bytes.
    HalfBytes,
}

/// Serves one regular file of `SIZE` bytes until the file system is gone.
fn serve(
    device: &File,
    held: &File,
    mut arrivals: &File,
    buffer: &mut [u8],
    open_flags: u32,
    content: Content,
) {
    let pattern = short_content();
    let mut waiting: Vec<(u64, Answer)> = Vec::with_capacity(4096);
    let mut released = false;
    loop {
        let mut ready = [device.as_raw_fd(), held.as_raw_fd()].map(|fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        });
        let watched = if released { 1 } else { 2 };
        // SAFETY: `ready` has that many entries.
        unsafe { libc::poll(ready.as_mut_ptr(), watched, -1) };
        if watched == 2 && ready[1].revents != 0 {
            released = true;
            for (unique, answer) in waiting.drain(..) {
                answer.send(device, unique);
            }
        }
        if ready[0].revents == 0 {
            continue;
        }
        let mut device_reader = device;
        let length = match device_reader.read(buffer) {
            Ok(length) => length,
            Err(gone) if gone.raw_os_error() == Some(libc::ENODEV) => return,
            // The request was taken back meanwhile (ENOENT), or a signal came.
            Err(_) => continue,
        };
        let request = &buffer[..length];
        let unique = u64_at(request, 8);
        match u32_at(request, 4) {
            FORGET | BATCH_FORGET | INTERRUPT => {}
            DESTROY => return,
            kind @ (READ | WRITE) => {
                let size = u32_at(request, 40 + 16);
                let answer = match (kind, content) {
                    (READ, Content::Whole) => Answer::Bytes(vec![BYTE; size as usize]),
                    (READ, Content::Halves | Content::HalfBytes) => {
                        let rest =
                            &pattern[(u64_at(request, 40 + 8) as usize).min(pattern.len())..];
                        let unit = if content == Content::Halves { 512 } else { 1 };
                        let half = (size as usize).div_ceil(2).next_multiple_of(unit);
                        let half = half.min(rest.len());
                        Answer::Bytes(rest[..half].to_vec())
                    }
                    _ => Answer::Taken(size),
                };
                let arrival = if kind == READ { Arrival::Read } else { Arrival::Write };
                let _ = arrivals.write(&[arrival as u8]);
                if released {
                    answer.send(device, unique);
                } else {
                    waiting.push((unique, answer));
                }
            }
            FSYNC => {
                let data_only = u32_at(request, 40 + 8) & 1 != 0;
                let arrival = if data_only { Arrival::Fdatasync } else { Arrival::Fsync };
                let _ = arrivals.write(&[arrival as u8]);
                send(device, unique, 0, &[]);
            }
            other => reply(device, unique, other, request, open_flags),
        }
    }
}

// Numbers of include/uapi/linux/fuse.h.
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const RELEASE: u32 = 18;
const FSYNC: u32 = 20;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
const DESTROY: u32 = 38;
const BATCH_FORGET: u32 = 42;
const FUSE_ASYNC_READ: u32 = 1 << 0;
const FUSE_ASYNC_DIO: u32 = 1 << 15;
const FOPEN_DIRECT_IO: u32 = 1 << 0;

enum Answer {
    Bytes(Vec<u8>),
    Taken(u32),
}

impl Answer {
    fn send(&self, device: &File, unique: u64) {
        match self {
            Self::Bytes(bytes) => send(device, unique, 0, bytes),
            // `struct fuse_write_out`: the size, then padding, each of 32 bits.
            Self::Taken(count) => {
                let mut out = [0; 8];
                put(&mut out, 0, *count);
                send(device, unique, 0, &out);
            }
        }
    }
}

fn reply(device: &File, unique: u64, kind: u32, request: &[u8], open_flags: u32) {
    match kind {
        INIT => {
            let minor = u32_at(request, 44);
            let mut out = [0; 64];
            put(&mut out, 0, 7);
            put(&mut out, 4, minor.min(31));
            put(&mut out, 8, 1 << 17);
            put(&mut out, 12, FUSE_ASYNC_READ | FUSE_ASYNC_DIO);
            out[16..18].copy_from_slice(&4096u16.to_ne_bytes());
            out[18..20].copy_from_slice(&4096u16.to_ne_bytes());
            put(&mut out, 20, 1 << 17);
            put(&mut out, 24, 1);
            send(device, unique, 0, &out);
        }
        GETATTR => {
            let mut out = [0; 104];
            out[0..8].copy_from_slice(&3600u64.to_ne_bytes());
            out[16..24].copy_from_slice(&1u64.to_ne_bytes());
            out[24..32].copy_from_slice(&SIZE.to_ne_bytes());
            put(&mut out, 16 + 60, libc::S_IFREG | 0o666);
            put(&mut out, 16 + 64, 1);
            put(&mut out, 16 + 80, 4096);
            send(device, unique, 0, &out);
        }
        OPEN => {
            let mut out = [0; 16];
            put(&mut out, 8, open_flags);
            send(device, unique, 0, &out);
        }
        RELEASE | FLUSH => send(device, unique, 0, &[]),
        _ => send(device, unique, -libc::ENOSYS, &[]),
    }
}

fn send(mut device: &File, unique: u64, error: i32, payload: &[u8]) {
    let mut message = Vec::with_capacity(16 + payload.len());
    message.extend_from_slice(&(16 + payload.len() as u32).to_ne_bytes());
    message.extend_from_slice(&error.to_ne_bytes());
    message.extend_from_slice(&unique.to_ne_bytes());
    message.extend_from_slice(payload);
    // Who asked may be gone.
    let _ = device.write(&message);
}

fn put(out: &mut [u8], at: usize, value: u32) {
    out[at..at + 4].copy_from_slice(&value.to_ne_bytes());
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
