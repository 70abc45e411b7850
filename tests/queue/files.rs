//! Kinds of files: buffered, O_DIRECT, block devices, pipes, sockets, directories; and what each
//! does with bad buffers, offsets and directions.

use crate::common;

use common::files::{Pages, file_with, open, open_direct, pattern, pipe, scratch};
use common::{Watchdog, holds, is_root, queue, skip};
use linux_aio::op::{Fsync, Poll, Read, Write};
use linux_aio::{AlignedBuf, Completion, Errno, Fd, Iocb, Operation, PollEvents, Prepared};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Arc;

/// Runs one operation in a queue of its own.
fn run<O: Operation + 'static>(op: O) -> Completion<O> {
    let mut queue = queue(1);
    queue.push(op).map_err(|error| error.errno()).expect("a slot");
    queue.wait().expect("a wait").expect("a completion")
}

fn aligned(content: &[u8]) -> AlignedBuf {
    let mut buf = AlignedBuf::new(content.len()).expect("memory");
    buf.copy_from_slice(content);
    buf
}

/// Goal: a file is written and read back whole through the queue, buffered and direct, in any
/// order. Method: 64 blocks of their own content, in a scrambled order.
#[test]
fn what_is_written_is_read_back_buffered_and_direct() {
    const BLOCK: usize = 4096;
    let _watchdog = Watchdog::new();
    let content = pattern(64 * BLOCK);
    let block = |i: usize| &content[i * BLOCK..(i + 1) * BLOCK];
    for direct in [false, true] {
        let (_dir, path, file) = file_with(b"");
        let file = match direct {
            false => file,
            true => match open_direct(&path) {
                Some(file) => file,
                None => skip!("this file system has no O_DIRECT"),
            },
        };
        let file = Arc::new(file);
        let mut writes = queue(64);
        for i in (0..64).map(|i| i * 37 % 64) {
            let at = (i * BLOCK) as u64;
            writes.push(Write::new(Arc::clone(&file), aligned(block(i)), at)).expect("a slot");
        }
        while let Some(done) = writes.wait().expect("a wait") {
            assert_eq!(done.result, Ok(BLOCK as u32));
        }
        assert_eq!(run(Fsync::new(Arc::clone(&file))).result, Ok(0));
        let mut reads = queue(64);
        for i in (0..64).map(|i| i * 23 % 64) {
            let (buf, at) = (AlignedBuf::new(BLOCK).expect("memory"), (i * BLOCK) as u64);
            reads.push(Read::new(Arc::clone(&file), buf, at)).expect("a slot");
        }
        while let Some(done) = reads.wait().expect("a wait") {
            assert_eq!(done.result, Ok(BLOCK as u32));
            assert_eq!(&*done.op.buf, block(done.op.offset as usize / BLOCK), "direct: {direct}");
        }
        assert_eq!(std::fs::read(path).expect("the file"), content);
    }
}

/// Goal: reads at and over the end are short and no error, buffered and direct.
#[test]
fn a_read_over_the_end_is_short() {
    let _watchdog = Watchdog::new();
    let (_dir, path, file) = file_with(&pattern(5000));
    let file = Arc::new(file);
    for (offset, count) in [(4000, 1000), (4999, 1), (5000, 0), (1 << 40, 0)] {
        let done = run(Read::new(Arc::clone(&file), vec![0; 2000], offset));
        assert_eq!(done.result, Ok(count), "at {offset}");
    }
    let Some(direct) = open_direct(&path) else {
        skip!("this file system has no O_DIRECT");
    };
    let done = run(Read::new(direct, AlignedBuf::new(4096).expect("memory"), 4096));
    assert_eq!(done.result, Ok(904));
    assert_eq!(done.op.buf[..904], pattern(5000)[4096..]);
}

/// Goal: an offset that is no offset is refused, alone.
#[test]
fn an_offset_beyond_every_file_is_refused() {
    let _watchdog = Watchdog::new();
    let (_dir, path, file) = file_with(b"content");
    let file = Arc::new(file);
    for offset in [1 << 63, u64::MAX, u64::MAX - 5] {
        let read = run(Read::new(Arc::clone(&file), [0; 8], offset)).result;
        let write = run(Write::new(Arc::clone(&file), [0; 8], offset)).result;
        assert_eq!((read, write), (Err(Errno::EINVAL), Err(Errno::EINVAL)), "{offset:#x}");
    }
    assert_eq!(std::fs::read(path).expect("the file"), b"content");
}

/// Goal: with O_DIRECT a misaligned offset, length or address completes with `EINVAL` and touches
/// nothing, beside an aligned read that succeeds.
#[test]
fn misaligned_direct_reads_complete_with_einval() {
    let _watchdog = Watchdog::new();
    let (_dir, path, _file) = file_with(&pattern(16384));
    let Some(file) = open_direct(&path) else {
        skip!("this file system has no O_DIRECT");
    };
    let file = Arc::new(file);
    /// A part of an aligned buffer.
    struct Part(AlignedBuf, core::ops::Range<usize>);
    impl AsMut<[u8]> for Part {
        fn as_mut(&mut self) -> &mut [u8] {
            &mut self.0[self.1.clone()]
        }
    }
    let read = |part: core::ops::Range<usize>, offset| {
        let done = run(Read::new(
            Arc::clone(&file),
            Part(AlignedBuf::new(8192).expect("memory"), part),
            offset,
        ));
        (done.result, done.op.buf.0.iter().any(|&byte| byte != 0))
    };
    assert_eq!(read(0..4096, 4096), (Ok(4096), true));
    for (part, offset) in [(0..4096, 1), (0..511, 0), (1..4097, 0), (1..512, 3)] {
        match read(part.clone(), offset) {
            (Ok(_), _) => skip!("this file system takes misaligned direct reads"),
            other => assert_eq!(other, (Err(Errno::EINVAL), false), "{part:?} at {offset}"),
        }
    }
}

/// Reads to or writes from any address.
struct Anywhere<'a> {
    file: Fd<'a>,
    iocb: fn(i32, *mut u8, usize) -> Iocb,
    start: *mut u8,
}

impl Operation for Anywhere<'_> {
    fn prepare(&mut self) -> Prepared<'_> {
        let iocb = (self.iocb)(self.file.as_raw(), self.start, 4096);
        // SAFETY: The tests give addresses of pages of their own, or such at which nothing is.
        unsafe { Prepared::from_iocb(iocb) }
    }
}

/// Goal: a buffer that the kernel may not touch gives `EFAULT` for that operation, whatever kind
/// of file, and a good one beside it succeeds. Method: pages without access, read-only pages as
/// the target of a read, and an address at which nothing is.
#[test]
fn buffers_that_may_not_be_touched_complete_with_efault() {
    let _watchdog = Watchdog::new();
    let (_dir, path, file) = file_with(&pattern(4096));
    let none = Pages::new(1 << 16, libc::PROT_NONE);
    let read_only = Pages::new(1 << 16, libc::PROT_READ);
    let good = Pages::new(1 << 16, libc::PROT_READ | libc::PROT_WRITE);
    let nowhere = core::ptr::without_provenance_mut(8192);
    let pread: fn(i32, *mut u8, usize) -> Iocb = |fd, start, len| Iocb::pread(fd, start, len, 0);
    let pwrite: fn(i32, *mut u8, usize) -> Iocb = |fd, start, len| Iocb::pwrite(fd, start, len, 0);
    let mut files = vec![file];
    match open_direct(&path) {
        Some(file) => files.push(file),
        None => common::say_skipped("the direct part: this file system has no O_DIRECT"),
    }
    let mut context = common::context(8);
    for file in &files {
        let fd: Fd<'_> = file.as_fd().into();
        let cases = [
            (pread, none.start, Err(Errno::EFAULT)),
            (pread, read_only.start, Err(Errno::EFAULT)),
            (pread, good.start, Ok(4096)),
            (pread, nowhere, Err(Errno::EFAULT)),
            (pwrite, none.start, Err(Errno::EFAULT)),
            (pwrite, nowhere, Err(Errno::EFAULT)),
            (pwrite, good.start, Ok(4096)),
        ];
        for (iocb, start, expected) in cases {
            let result =
                linux_aio::scope(&mut context, &mut [const { linux_aio::Slot::new() }; 1], |io| {
                    let op = Anywhere { file: fd, iocb, start };
                    io.push(op).map_err(drop).expect("a slot");
                    io.wait().expect("a wait").expect("a completion").result
                });
            assert_eq!(result, Ok(expected), "at {start:p}");
        }
    }
    assert_eq!(std::fs::read(path).expect("the file"), pattern(4096));
}

/// Goal: a file that is not open in the direction of the operation refuses it, alone.
#[test]
fn the_wrong_direction_is_refused() {
    let _watchdog = Watchdog::new();
    let (_dir, path, _file) = file_with(b"content");
    let path = path.to_str().expect("a path of text");
    let read_only = Arc::new(open(path, libc::O_RDONLY));
    let write_only = Arc::new(open(path, libc::O_WRONLY));
    let path_only = Arc::new(open(path, libc::O_PATH));
    assert_eq!(run(Write::new(read_only, [1; 4], 0)).result, Err(Errno::EBADF));
    assert_eq!(run(Read::new(write_only, [1; 4], 0)).result, Err(Errno::EBADF));
    assert_eq!(run(Read::new(path_only, [1; 4], 0)).result, Err(Errno::EBADF));
    assert_eq!(std::fs::read(path).expect("the file"), b"content");
}

/// Goal: a pipe without O_NONBLOCK is waited for by POLL first and then read; one with it gives
/// `EAGAIN` when empty; one without readers gives `EPIPE`, and without writers its end.
#[test]
fn pipes_are_polled_read_and_written() {
    let _watchdog = Watchdog::new();
    let mut ours = pipe(libc::O_NONBLOCK);
    let reader = Arc::new(ours.reader.try_clone().expect("a descriptor"));
    let writer = Arc::new(ours.writer.try_clone().expect("a descriptor"));
    assert_eq!(run(Read::new(Arc::clone(&reader), [1; 4], 0)).result, Err(Errno::EAGAIN));
    assert_eq!(run(Write::new(Arc::clone(&writer), *b"abcdef", 0)).result, Ok(6));
    let polled = run(Poll::new(Arc::clone(&reader), PollEvents::IN)).result;
    assert!(holds(polled, PollEvents::IN));
    let read = |offset| {
        let done = run(Read::new(Arc::clone(&reader), [1; 4], offset));
        (done.result, done.op.buf)
    };
    // The offset means nothing to a pipe.
    assert_eq!(read(1_000), (Ok(4), *b"abcd"));
    ours.put(b'g');
    assert_eq!(read(0), (Ok(3), *b"efg\x01"));
    drop((reader, ours.reader));
    assert_eq!(run(Write::new(writer, [1; 4], 0)).result, Err(Errno::EPIPE));

    let ended = pipe(0);
    drop(ended.writer);
    let reader = Arc::new(ended.reader);
    assert!(holds(run(Poll::new(Arc::clone(&reader), PollEvents::IN)).result, PollEvents::HUP));
    assert_eq!(run(Read::new(reader, [1; 4], 0)).result, Ok(0));
}

/// Goal: sockets go the same way as pipes.
#[test]
fn sockets_are_polled_read_and_written() {
    let _watchdog = Watchdog::new();
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    for socket in [&ours, &theirs] {
        socket.set_nonblocking(true).expect("O_NONBLOCK");
    }
    let (ours, theirs) = (Arc::new(ours), Arc::new(theirs));
    assert_eq!(run(Read::new(Arc::clone(&theirs), [1; 4], 0)).result, Err(Errno::EAGAIN));
    assert_eq!(run(Write::new(Arc::clone(&ours), *b"abcd", 0)).result, Ok(4));
    let polled = run(Poll::new(Arc::clone(&theirs), PollEvents::IN)).result;
    assert!(holds(polled, PollEvents::IN));
    let done = run(Read::new(Arc::clone(&theirs), [1; 4], 0));
    assert_eq!((done.result, &done.op.buf), (Ok(4), b"abcd"));
    drop(ours);
    let polled = run(Poll::new(theirs, PollEvents::RDHUP)).result;
    assert!(holds(polled, PollEvents::RDHUP));
}

/// Goal: a directory refuses reads, and can be synced.
#[test]
fn a_directory_cannot_be_read_but_synced() {
    let _watchdog = Watchdog::new();
    let dir = scratch();
    let opened = Arc::new(File::open(dir.path()).expect("the directory"));
    let read = run(Read::new(Arc::clone(&opened), [1; 64], 0));
    assert!(matches!(read.result, Err(Errno::EINVAL | Errno::EISDIR)), "{:?}", read.result);
    assert_eq!(read.op.buf, [1; 64]);
    assert!(matches!(run(Fsync::new(opened)).result, Ok(0) | Err(Errno::EINVAL)));
}

/// Goal: closing the file while an operation is in flight neither cancels nor breaks it. Method: a
/// POLL whose descriptor is closed as soon as it is submitted, and its number used again.
#[test]
fn closing_the_descriptor_in_flight_breaks_nothing() {
    let _watchdog = Watchdog::new();
    let mut pipe = pipe(libc::O_NONBLOCK);
    let mut context = common::context(1);
    let (submitter, mut reaper) = context.split();
    let reader = pipe.reader.try_clone().expect("a descriptor");
    let mut poll = Box::new(Iocb::poll(reader.as_raw_fd(), PollEvents::IN).user_data(7));
    // SAFETY: The iocb stays in its box until its event; the kernel keeps the file itself.
    assert_eq!(unsafe { submitter.submit(&[&raw mut *poll]) }, Ok(1));
    drop(reader);
    let reused = File::open("/dev/null").expect("/dev/null");
    pipe.put(1);
    let mut events = common::room::<1>();
    let taken = reaper.wait(1, None, &mut events).expect("a wait");
    assert_eq!(taken[0].user_data(), 7);
    assert!(holds(taken[0].result(), PollEvents::IN));
    drop(reused);
}

/// Goal: a block device is read and written, direct and buffered, and refuses what is past its
/// end. Method: a loop device over a file of 1 MiB.
#[test]
fn a_block_device_is_read_and_written() {
    let _watchdog = Watchdog::new();
    if !is_root() {
        skip!("making a loop device needs root");
    }
    let (_dir, path, file) = file_with(&pattern(1 << 20));
    file.sync_all().expect("a sync");
    let made = Command::new("losetup").args(["--show", "-f"]).arg(&path).output();
    let device = match made {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout).expect("text"),
        Ok(output) => skip!("losetup: {}", String::from_utf8_lossy(&output.stderr).trim()),
        Err(error) => skip!("losetup: {error}"),
    };
    let device = device.trim();
    for flags in [libc::O_DIRECT, 0] {
        let opened = Arc::new(open(device, libc::O_RDWR | flags));
        let buf = AlignedBuf::new(4096).expect("memory");
        let done = run(Read::new(Arc::clone(&opened), buf, 8192));
        assert_eq!(done.result, Ok(4096));
        assert_eq!(*done.op.buf, pattern(1 << 20)[8192..12288]);
        let done = run(Write::new(Arc::clone(&opened), done.op.buf, 0));
        assert_eq!(done.result, Ok(4096));
        assert_eq!(run(Fsync::new(Arc::clone(&opened))).result, Ok(0));
        let done = run(Read::new(Arc::clone(&opened), done.op.buf, 1 << 20));
        assert_eq!(done.result, Ok(0));
        let done = run(Write::new(opened, done.op.buf, 1 << 20));
        assert_eq!(done.result, Err(Errno::ENOSPC));
    }
    let gone = Command::new("losetup").args(["-d", device]).status();
    assert!(gone.is_ok_and(|status| status.success()));
    let content = std::fs::read(path).expect("the file");
    assert_eq!(content[..4096], pattern(1 << 20)[8192..12288]);
}
