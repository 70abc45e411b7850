//! Transfers that go on after a short count, on the running kernel.

use crate::common::files::{file_with, open_direct, pattern, pipe};
use crate::common::{Watchdog, poll_once, queue};
use crate::run;
use core::cell::Cell;
use core::task::Waker;
use core::time::Duration;
use linux_aio::op::{Callback, Read, Whole, Write};
use linux_aio::{
    AlignedBuf, Driver, Errno, EventResult, IoContext, Operation, Prepared, Queue, Slot, Spare,
};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

/// Goal: a read at the end of a file ends there, and says how far it came; one before it is whole.
/// Method: buffered files and `O_DIRECT`, where the last block is read again.
#[test]
fn transfers_end_at_the_end_of_the_file() {
    let _watchdog = Watchdog::new();
    let (_dir, path, file) = file_with(&pattern(10_000));
    let mut files = vec![(Arc::new(file), 1)];
    match open_direct(&path) {
        Some(direct) => files.push((Arc::new(direct), 4096)),
        None => crate::common::say_skipped("O_DIRECT, which the file system has not"),
    }
    for (file, align) in files {
        for (offset, count, whole) in
            [(0, 8192, true), (4096, 5904, false), (8192, 1808, false), (12_288, 0, false)]
        {
            let buf = AlignedBuf::new(8192).expect("memory");
            let done = run(Whole::aligned(Read::new(Arc::clone(&file), buf, offset), align));
            assert!(done.result.is_ok(), "{done:?}");
            assert_eq!((done.op.done(), done.op.is_whole()), (count, whole), "{align} at {offset}");
            let bytes = &pattern(10_000)[(offset as usize).min(10_000)..][..count];
            assert_eq!(&done.op.into_inner().buf[..count], bytes);
        }
    }
}

const CHUNKS: [&[u8]; 4] = [b"0123456789", b"01234567890123456789", b"abcdefghi", b"j"];

/// The reading end of a pipe in which each chunk is a packet: a read gets one of them. The writing
/// end is closed.
fn packets() -> Arc<File> {
    let mut pipe = pipe(libc::O_DIRECT);
    for chunk in CHUNKS {
        pipe.writer.write_all(chunk).expect("room in the pipe");
    }
    Arc::new(pipe.reader)
}

fn read(room: usize) -> Whole<Read<Arc<File>, Spare<Vec<u8>>>> {
    Whole::new(Read::new(packets(), Spare::with_limit(Vec::with_capacity(room), room), 0))
}

/// All four pieces have been read, and perhaps the end of the file.
#[track_caller]
fn assert_read(
    result: Result<u32, Errno>,
    read: Whole<Read<Arc<File>, Spare<Vec<u8>>>>,
    whole: bool,
) {
    assert_eq!((result, read.done()), (Ok(u32::from(whole)), 40));
    assert_eq!(read.is_whole(), whole);
    assert_eq!(read.into_inner().buf.into_inner(), CHUNKS.concat());
}

/// Goal: pieces make a whole, or end at the end of the file, by every way through queue, scope and
/// driver. Method: a pipe of packets, of which each read gets one.
#[test]
fn pieces_make_a_whole_by_every_way() {
    let _watchdog = Watchdog::new();
    for (room, whole) in [(40, true), (100, false)] {
        let done = run(read(room));
        assert_read(done.result, done.op, whole);

        let mut queue = queue(2);
        queue.push(read(room)).map_err(drop).expect("a slot");
        queue.submit().expect("a submit");
        let done = queue.try_next().expect("a look").expect("the packets are there");
        assert_read(done.result, done.op, whole);
        queue.push(read(room)).map_err(drop).expect("a slot");
        let ready = queue.wait_ready().expect("a wait").expect("a completion");
        assert_eq!(ready.op().done(), 40);
        let (result, op) = (ready.result(), ready.take().op);
        assert_read(result, op, whole);
        queue.push(read(room)).map_err(drop).expect("a slot");
        let done = queue.wait_timeout(Duration::from_secs(60)).expect("a wait").expect("it");
        assert_read(done.result, done.op, whole);

        let mut context = IoContext::new(1).expect("a context");
        linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
            io.push(read(room)).map_err(drop).expect("a slot");
            let done = io.wait().expect("a wait").expect("a completion");
            assert_read(done.result, done.op, whole);
        })
        .expect("a scope");

        let driver = Driver::on_thread(2).expect("a driver");
        let (result, op) = pollster::block_on(driver.perform(read(room)));
        assert_read(result, op, whole);
    }
}

/// Goal: a queue with a descriptor goes on without a call but `try_next`, which is called when the
/// descriptor is readable.
#[test]
fn an_event_loop_goes_on_by_try_next_alone() {
    let _watchdog = Watchdog::new();
    let mut queue = queue(2);
    let fd = queue.completion_fd().expect("a descriptor").as_raw();
    queue.push(read(40)).map_err(drop).expect("a slot");
    queue.submit().expect("a submit");
    let done = loop {
        wait_readable(fd);
        if let Some(done) = queue.try_next().expect("a look") {
            break done;
        }
    };
    assert_read(done.result, done.op, true);
}

fn wait_readable(fd: i32) {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: One entry, which lives during the call.
    assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 60_000) }, 1);
}

/// Goal: writes go on as reads do, and after an error the count is that of the pieces before.
/// Method: a pipe takes what it has room for, and then nothing.
#[test]
fn a_write_that_fails_says_how_far_it_came() {
    let _watchdog = Watchdog::new();
    let (_dir, path, file) = file_with(b"");
    let done = run(Whole::new(Write::new(Arc::new(file), pattern(9000), 100)));
    assert_eq!((done.result, done.op.done(), done.op.is_whole()), (Ok(9000), 9000, true));
    assert_eq!(std::fs::read(&path).expect("the file")[100..], pattern(9000));

    let pipe = pipe(libc::O_NONBLOCK);
    let mut done = run(Whole::new(Write::new(pipe.writer, pattern(1 << 20), 0)));
    assert_eq!((done.result, done.op.is_whole()), (Err(Errno::EAGAIN), false));
    let written = done.op.done();
    assert!(0 < written && written < 1 << 20 && done.diagnose().is_some());
    let mut bytes = vec![0; written];
    (&pipe.reader).read_exact(&mut bytes).expect("what was written");
    assert_eq!(bytes, pattern(written));
}

/// Goal: callbacks are called once for a transfer, when it is whole.
#[test]
fn a_callback_is_called_once() {
    type Job = Callback<Whole<Read<Arc<File>, Spare<Vec<u8>>>>, Rc<Cell<u32>>>;
    let _watchdog = Watchdog::new();
    let mut queue: Queue<Job> = queue(1);
    let called = Rc::new(Cell::new(0));
    let job = Callback::new(read(40), Rc::clone(&called), |_, done| {
        done.op.value.set(done.op.value.get() + 1);
        assert_read(done.result, done.op.op, true);
    });
    queue.push(job).map_err(drop).expect("a slot");
    queue.run().expect("a run");
    assert_eq!(called.get(), 1);
}

/// An operation that goes on until it panics, or for ever.
struct Hostile {
    zero: File,
    buf: [u8; 1],
    rounds: u32,
    panics: bool,
}

impl Operation for Hostile {
    fn prepare(&mut self) -> Prepared<'_> {
        Prepared::read(self.zero.as_fd().into(), &mut self.buf, 0)
    }

    fn goes_on(&mut self, _: EventResult) -> bool {
        self.rounds += 1;
        assert!(!self.panics || self.rounds < 3, "a hostile operation");
        self.panics || self.rounds < 1000
    }
}

fn hostile(panics: bool) -> Hostile {
    Hostile { zero: File::open("/dev/zero").expect("it"), buf: [1], rounds: 0, panics }
}

/// Goal: a panic of `goes_on` is that of the future, and the driver serves others; an operation
/// whose future is gone does not go on, so that the driver ends.
#[test]
fn a_driver_survives_operations_that_go_on() {
    let _watchdog = Watchdog::new();
    let driver = Driver::on_thread(2).expect("a driver");
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _ = pollster::block_on(driver.perform(hostile(true)));
    }));
    assert!(panicked.is_err());
    let (result, op) = pollster::block_on(driver.perform(hostile(false)));
    assert_eq!((result.map_err(drop), op.rounds), (Ok(1), 1000));
    let mut endless = Box::pin(driver.perform(Hostile { rounds: u32::MAX / 2, ..hostile(false) }));
    let _ = poll_once(&mut endless, Waker::noop());
    drop(endless);
    pollster::block_on(driver.close());
}
