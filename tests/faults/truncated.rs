//! A file that is truncated and extended while it is read and written, and a buffer whose memory
//! goes away: counts are those of what was there, and every operation comes back once.

use crate::common;

use common::files::{file_with, open_direct, pattern};
use common::{Watchdog, queue, skip};
use core::sync::atomic::{AtomicBool, Ordering};
use linux_aio::op::{Any, Read, Write};
use linux_aio::{AlignedBuf, Errno, Iocb, Operation, Prepared};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::thread;

const BLOCK: usize = 16 << 10;
const BLOCKS: usize = 32;
const ROUNDS: usize = 200;

/// Reads and writes blocks at random until the rounds are over; how many reads were cut short.
fn transfer(file: &Arc<File>, content: &[u8]) -> usize {
    let mut queue = queue(16);
    let mut buffers: Vec<_> = (0..16).map(|_| AlignedBuf::new(BLOCK).expect("memory")).collect();
    let (mut pushed, mut back, mut short) = (0, 0, 0);
    loop {
        while pushed < ROUNDS * 16 {
            let Some(mut buf) = buffers.pop() else { break };
            let offset = fastrand::usize(0..BLOCKS) * BLOCK;
            let file = Arc::clone(file);
            let op: Any<_, _> = if fastrand::bool() {
                buf.fill(0xff);
                Read::new(file, buf, offset as u64).into()
            } else {
                buf.copy_from_slice(&content[offset..][..BLOCK]);
                Write::new(file, buf, offset as u64).into()
            };
            queue.push(op).expect("a slot");
            pushed += 1;
        }
        let Some(done) = queue.wait().expect("a wait") else { break };
        back += 1;
        let count = done.result.unwrap_or_else(|errno| panic!("{errno}")) as usize;
        buffers.push(match done.op {
            Any::Read(read) => {
                short += usize::from(count < BLOCK);
                let there = &content[read.offset as usize..][..count];
                let fits = |(&found, &written)| found == written || found == 0;
                assert!(read.buf[..count].iter().zip(there).all(fits), "at {}", read.offset);
                read.buf
            }
            Any::Write(write) => {
                assert_eq!(count, BLOCK);
                write.buf
            }
            other => panic!("nobody pushed {other:?}"),
        });
    }
    assert_eq!((back, buffers.len()), (pushed, 16));
    short
}

/// Goal: reads are short where the file ends at that moment, and their bytes are what was written
/// or zero; writes are whole; nothing fails. Method: a thread truncates and extends all the while;
/// buffered and with O_DIRECT.
#[test]
fn a_file_truncated_under_its_operations_makes_reads_short() {
    let _watchdog = Watchdog::new();
    let content = pattern(BLOCKS * BLOCK);
    let (_dir, path, buffered) = file_with(&content);
    let mut files = vec![Arc::new(buffered)];
    match open_direct(&path) {
        Some(file) => files.push(Arc::new(file)),
        None => common::say_skipped("the direct part: this file system has no O_DIRECT"),
    }
    for file in &files {
        let stop = AtomicBool::new(false);
        let (short, truncations) = thread::scope(|threads| {
            let truncating = threads.spawn(|| {
                let mut truncations = 0;
                while !stop.load(Ordering::Relaxed) {
                    let blocks = fastrand::usize(0..=BLOCKS);
                    files[0].set_len((blocks * BLOCK) as u64).expect("a truncation");
                    truncations += 1;
                    thread::yield_now();
                }
                truncations
            });
            let short = transfer(file, &content);
            stop.store(true, Ordering::Relaxed);
            (short, truncating.join().expect("the truncating thread"))
        });
        common::say_count(&format!("{truncations} truncations, {short} short reads"));
        assert!(short > 0, "no read met the end of the file");
    }
}

/// A page of a file, as memory.
struct Mapped {
    file: File,
    start: *mut u8,
}

impl Operation for Mapped {
    fn prepare(&mut self) -> Prepared<'_> {
        let iocb = Iocb::pread(self.file.as_raw_fd(), self.start, 4096, 0);
        // SAFETY: The page is mapped for as long as the process lives, and nobody else uses it.
        unsafe { Prepared::from_iocb(iocb) }
    }
}

/// Goal: a buffer that lies in a mapped file which is truncated meanwhile completes with `EFAULT`,
/// as no signal could tell; with the file extended again it is memory again.
#[test]
fn a_buffer_whose_file_is_truncated_completes_with_efault() {
    let _watchdog = Watchdog::new();
    let (_dir, _path, file) = file_with(&pattern(4096));
    let (_memory_dir, _memory_path, memory) = file_with(&[0; 4096]);
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let fd = memory.as_raw_fd();
    // SAFETY: A new mapping at an address of the kernel's choice.
    let start =
        unsafe { libc::mmap(core::ptr::null_mut(), 4096, protection, libc::MAP_SHARED, fd, 0) };
    if start == libc::MAP_FAILED {
        skip!("mmap: {}", std::io::Error::last_os_error());
    }
    let mut queue = queue(1);
    for (len, expected) in [(4096, Ok(4096)), (0, Err(Errno::EFAULT)), (4096, Ok(4096))] {
        memory.set_len(len).expect("a truncation");
        let file = file.try_clone().expect("a descriptor");
        queue
            .push(Mapped { file, start: start.cast() })
            .map_err(|error| error.errno())
            .expect("a slot");
        let done = queue.wait().expect("a wait").expect("a completion");
        assert_eq!(done.result, expected, "with {len} bytes");
    }
    let mut found = [0; 4096];
    memory.read_exact_at(&mut found, 0).expect("the file");
    assert_eq!(found[..], pattern(4096));
}
