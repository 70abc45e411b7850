//! Every operation, with every kind of buffer and file holder, with flags and priority.

use crate::common;

use common::files::{Pipe, file_with, open, pattern, pipe};
use common::{Watchdog, holds, queue};
use core::fmt::Debug;
use linux_aio::op::{Any, Fdsync, Fsync, Poll, Read, ReadV, Write, WriteV};
use linux_aio::{
    AlignedBuf, Completion, Errno, EventFd, Fd, IoPrio, IoSlice, IoSliceMut, Operation, PollEvents,
    Prepared, Queue, RwFlags,
};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Runs one operation in a queue of its own.
fn run<O: Operation + 'static>(op: O) -> Completion<O> {
    let mut queue = queue(1);
    queue.push(op).map_err(|error| error.errno()).expect("a slot");
    let done = queue.wait().expect("a wait").expect("a completion");
    assert!(queue.wait().expect("a wait").is_none());
    done
}

fn reads_the_pattern<F: AsFd + 'static, B: AsMut<[u8]> + 'static>(fd: F, buf: B) {
    let mut done = run(Read::new(fd, buf, 100));
    let got = done.op.buf.as_mut();
    assert_eq!(done.result, Ok(got.len() as u32));
    assert_eq!(got, &pattern(8192)[100..100 + got.len()]);
}

/// Goal: a read's buffer may be anything that gives out bytes to write. Method: each kind reads
/// the same part of a file.
#[test]
fn a_read_takes_every_kind_of_buffer() {
    let _watchdog = Watchdog::new();
    let (_dir, _path, file) = file_with(&pattern(8192));
    let file = Arc::new(file);
    let file = || Arc::clone(&file);
    reads_the_pattern(file(), vec![0u8; 64]);
    reads_the_pattern(file(), vec![0u8; 64].into_boxed_slice());
    reads_the_pattern(file(), [0u8; 64]);
    reads_the_pattern(file(), AlignedBuf::new(64).expect("memory"));
    reads_the_pattern(file(), &mut *Box::leak(Box::new([0u8; 64])));
    reads_the_pattern(file(), MyBuffer([0; 64]));
}

/// A user's own kind of buffer, inline in the operation.
#[derive(Debug, PartialEq)]
struct MyBuffer([u8; 64]);

impl AsMut<[u8]> for MyBuffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl AsRef<[u8]> for MyBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Goal: whatever keeps a file open may be the file.
#[test]
fn an_operation_takes_every_kind_of_file_holder() {
    let _watchdog = Watchdog::new();
    let (_dir, _path, file) = file_with(&pattern(8192));
    let again = || file.try_clone().expect("a descriptor");
    reads_the_pattern(again(), [0; 64]);
    reads_the_pattern(OwnedFd::from(again()), [0; 64]);
    reads_the_pattern(Arc::new(again()), [0; 64]);
    reads_the_pattern(Arc::new(OwnedFd::from(again())), [0; 64]);
    reads_the_pattern(Box::new(again()), [0; 64]);
    reads_the_pattern(std::rc::Rc::new(again()), [0; 64]);
    let leaked: &'static File = Box::leak(Box::new(again()));
    reads_the_pattern(leaked, [0; 64]);
    let borrowed: BorrowedFd<'static> = leaked.as_fd();
    reads_the_pattern(borrowed, [0; 64]);
}

fn writes<B: AsRef<[u8]> + Debug + 'static>(buf: B) {
    let (_dir, path, file) = file_with(b"................");
    let expected = buf.as_ref().to_vec();
    let done = run(Write::new(file, buf, 4));
    assert_eq!(done.result, Ok(expected.len() as u32));
    assert_eq!(done.op.buf.as_ref(), expected);
    let content = std::fs::read(path).expect("the file");
    assert_eq!(&content[..4], b"....");
    assert_eq!(content[4..4 + expected.len()], expected);
}

/// Goal: a write's buffer may be anything that gives out bytes to read.
#[test]
fn a_write_takes_every_kind_of_buffer() {
    let _watchdog = Watchdog::new();
    writes(b"a vector".to_vec());
    writes(b"a box".to_vec().into_boxed_slice());
    writes(*b"an array");
    writes(Arc::<[u8]>::from(&b"shared"[..]));
    writes("static text");
    writes(&b"static bytes"[..]);
    writes(String::from("text"));
    writes(MyBuffer([b'm'; 64]));
    let mut aligned = AlignedBuf::new(7).expect("memory");
    aligned.copy_from_slice(b"aligned");
    writes(aligned);
}

/// Goal: vectored operations fill and drain their buffers in order, and the iovecs live where they
/// must: in the slot, through moves of the operation before the push. Method: several buffers of
/// unequal length, empty ones too.
#[test]
fn vectored_operations_go_through_their_buffers_in_order() {
    let _watchdog = Watchdog::new();
    let (_dir, path, file) = file_with(&pattern(8192));
    let file = Arc::new(file);
    let bufs = [vec![0u8; 1], vec![], vec![0; 100], vec![0; 4096]];
    let done = run(ReadV::new(Arc::clone(&file), bufs, 10));
    assert_eq!(done.result, Ok(1 + 100 + 4096));
    assert_eq!(done.op.bufs.concat(), &pattern(8192)[10..10 + 4197]);

    let done = run(WriteV::new(Arc::clone(&file), ["one", "", "three"], 20));
    assert_eq!(done.result, Ok(8));
    let mut expected = pattern(8192);
    expected[20..28].copy_from_slice(b"onethree");
    assert_eq!(std::fs::read(path).expect("the file"), expected);

    let none: [Vec<u8>; 0] = [];
    assert_eq!(run(ReadV::new(Arc::clone(&file), none, 0)).result, Ok(0));
    let past_the_end = run(ReadV::new(file, [vec![9u8; 4], vec![9; 4]], 8190));
    assert_eq!(past_the_end.result, Ok(2));
    assert_eq!(past_the_end.op.bufs.concat()[2..], [9; 6]);
}

/// Goal: more buffers than the kernel takes fail alone with its error.
#[test]
fn more_buffers_than_the_kernel_takes_are_refused() {
    let _watchdog = Watchdog::new();
    let file = Arc::new(File::open("/dev/zero").expect("/dev/zero"));
    let most = run(ReadV::new(Arc::clone(&file), [[1u8; 1]; 1024], 0));
    assert_eq!((most.result, most.op.bufs), (Ok(1024), [[0; 1]; 1024]));
    let more = run(ReadV::new(file, [[1u8; 1]; 1025], 0));
    assert_eq!((more.result, more.op.bufs), (Err(Errno::EINVAL), [[1; 1]; 1025]));
}

/// Goal: the syncs complete with 0, on files that have them, and with the kernel's error on others.
#[test]
fn fsync_and_fdsync_complete_with_zero() {
    let _watchdog = Watchdog::new();
    let (_dir, _path, file) = file_with(b"content");
    let file = Arc::new(file);
    assert_eq!(run(Fsync::new(Arc::clone(&file))).result, Ok(0));
    assert_eq!(run(Fdsync::new(file)).result, Ok(0));
    let pipe = Arc::new(pipe(libc::O_NONBLOCK).reader);
    for result in [run(Fsync::new(Arc::clone(&pipe))).result, run(Fdsync::new(pipe)).result] {
        assert_eq!(result, Err(Errno::EINVAL));
    }
}

/// Goal: a POLL completes with the events that hold, at once or when they come, once.
#[test]
fn a_poll_completes_with_the_events_that_hold() {
    let _watchdog = Watchdog::new();
    let mut pipe = pipe(libc::O_NONBLOCK);
    let writer = Arc::new(pipe.writer.try_clone().expect("a descriptor"));
    let reader = Arc::new(pipe.reader.try_clone().expect("a descriptor"));
    assert!(holds(run(Poll::new(writer, PollEvents::OUT)).result, PollEvents::OUT));
    let mut queue = queue(1);
    queue.push(Poll::new(reader, PollEvents::IN | PollEvents::PRI)).expect("a slot");
    assert_eq!(queue.submit(), Ok(1));
    assert!(queue.try_next().expect("a poll").is_none());
    pipe.put(1);
    let done = queue.wait().expect("a wait").expect("a completion");
    assert!(holds(done.result, PollEvents::IN));
    pipe.put(2);
    assert!(queue.wait().expect("a wait").is_none(), "it is one-shot");
    let Pipe { reader, writer } = pipe;
    drop(writer);
    assert!(holds(run(Poll::new(reader, PollEvents::HUP)).result, PollEvents::HUP));
}

/// Goal: different operations go through one queue, by `Any` and by `Box<dyn Operation>`.
#[test]
fn different_operations_share_a_queue() {
    let _watchdog = Watchdog::new();
    let (_dir, path, file) = file_with(b"");
    let file = Arc::new(file);
    let mut all: Queue<Any<Arc<File>, Vec<u8>, &'static str>> = queue(1);
    let ops: [Any<_, _, _>; 5] = [
        Write::new(Arc::clone(&file), "content", 0).into(),
        Fsync::new(Arc::clone(&file)).into(),
        Fdsync::new(Arc::clone(&file)).into(),
        Read::new(Arc::clone(&file), vec![0; 99], 0).into(),
        Poll::new(Arc::clone(&file), PollEvents::IN).into(),
    ];
    let mut results = Vec::new();
    for op in ops {
        all.push(op).map_err(|error| error.errno()).expect("a slot");
        let done = all.wait().expect("a wait").expect("a completion");
        results.push(done.result.expect("success"));
        if let Any::Read(read) = done.op {
            assert_eq!(&read.buf[..7], b"content");
        }
    }
    assert_eq!(results[..4], [7, 0, 0, 7]);
    assert_eq!(results[4] & PollEvents::IN.bits(), PollEvents::IN.bits());

    let mut boxed: Queue<Box<dyn Operation>> = queue(2);
    boxed.push(Box::new(Write::new(Arc::clone(&file), "boxes", 0))).map_err(drop).expect("a slot");
    boxed.push(Box::new(Fsync::new(file))).map_err(drop).expect("a slot");
    while let Some(done) = boxed.wait().expect("a wait") {
        assert!(done.result.is_ok());
    }
    assert_eq!(std::fs::read(path).expect("the file"), b"boxesnt");
}

/// A user's own operation, with more in it than the kernel gets to see.
struct Record {
    log: File,
    head: [u8; 4],
    body: Vec<u8>,
    eventfd: Arc<EventFd>,
}

impl Operation for Record {
    fn prepare(&mut self) -> Prepared<'_> {
        let at = self.head.len() as u64;
        Prepared::write(self.log.as_fd().into(), &self.body, at).eventfd(self.eventfd.fd())
    }
}

/// Goal: a user's own operation works as ours do, with an eventfd that is signalled.
#[test]
fn a_users_own_operation_signals_its_eventfd() {
    let _watchdog = Watchdog::new();
    let (_dir, path, log) = file_with(b"head");
    let eventfd = Arc::new(EventFd::new().expect("a counter"));
    let (head, body) = (*b"head", b"body".to_vec());
    let record = Record { log, head, body, eventfd: Arc::clone(&eventfd) };
    let done = run(record);
    assert_eq!((done.result, done.op.head), (Ok(4), *b"head"));
    assert_eq!(eventfd.take(), Ok(Some(1)));
    assert_eq!(eventfd.take(), Ok(None));
    assert_eq!(std::fs::read(path).expect("the file"), b"headbody");
}

/// An operation of borrowed slices, for `Prepared`'s own vectored constructors.
struct Slices<'a> {
    fd: Fd<'a>,
    into: [IoSliceMut<'a>; 2],
}

impl Operation for Slices<'_> {
    fn prepare(&mut self) -> Prepared<'_> {
        Prepared::readv(self.fd, &mut self.into, 0)
    }
}

/// Goal: `Prepared::readv` and `Prepared::writev` do what `ReadV` and `WriteV` do, with slices.
#[test]
fn slices_of_borrowed_buffers_are_read_into_and_written() {
    struct Out<'a>(Fd<'a>, [IoSlice<'a>; 2]);
    impl Operation for Out<'_> {
        fn prepare(&mut self) -> Prepared<'_> {
            Prepared::writev(self.0, &self.1, 0)
        }
    }
    let _watchdog = Watchdog::new();
    let (_dir, _path, file) = file_with(b"");
    let mut context = common::context(1);
    let (mut first, mut second) = ([0; 3], [0; 4]);
    let mut slots = [const { linux_aio::Slot::new() }; 1];
    let written = linux_aio::scope(&mut context, &mut slots, |io| {
        let parts = [IoSlice::new(b"abc"), IoSlice::new(b"defg")];
        io.push(Out(file.as_fd().into(), parts)).map_err(drop).expect("a slot");
        io.wait().expect("a wait").map(|done| done.result)
    });
    assert_eq!(written, Ok(Some(Ok(7))));
    let read = linux_aio::scope(&mut context, &mut [const { linux_aio::Slot::new() }; 1], |io| {
        let into = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        io.push(Slices { fd: file.as_fd().into(), into }).map_err(drop).expect("a slot");
        io.wait().expect("a wait").map(|done| done.result)
    });
    assert_eq!(read, Ok(Some(Ok(7))));
    assert_eq!((&first, &second), (b"abc", b"defg"));
}

fn with<F, B>(flags: RwFlags, write: Write<F, B>) -> Write<F, B> {
    Write { rw_flags: flags, ..write }
}

/// Goal: the flags of an operation reach the kernel, each with its effect. Method: APPEND moves
/// the write to the end, the SYNCs leave it where it is, and one that no kernel knows is refused.
#[test]
fn rw_flags_have_their_effect() {
    let _watchdog = Watchdog::new();
    let (_dir, path, file) = file_with(b"12345");
    let file = Arc::new(file);
    let content = || std::fs::read(&path).expect("the file");
    let write = || Write::new(Arc::clone(&file), "six", 0);
    assert_eq!(run(with(RwFlags::APPEND, write())).result, Ok(3));
    assert_eq!(content(), b"12345six");
    for sync in [RwFlags::DSYNC, RwFlags::SYNC, RwFlags::DSYNC | RwFlags::APPEND] {
        assert_eq!(run(with(sync, write())).result, Ok(3));
    }
    assert_eq!(content(), b"six45sixsix");
    let unknown = run(with(RwFlags::from_bits_retain(1 << 30), write()));
    assert_eq!(unknown.result, Err(Errno::EOPNOTSUPP));
    assert_eq!(content(), b"six45sixsix");
    let appending = Arc::new(open(path.to_str().expect("text"), libc::O_WRONLY | libc::O_APPEND));
    let append = run(Write::new(appending, "end", 0));
    assert_eq!(append.result, Ok(3));
    assert_eq!(content(), b"six45sixsixend");
}

/// Goal: a priority reaches the kernel with its flag. Method: a class that does not exist is
/// refused, which only who reads the field can do; the others are accepted.
#[test]
fn a_priority_reaches_the_kernel() {
    let _watchdog = Watchdog::new();
    let (_dir, _path, file) = file_with(&pattern(4096));
    let file = Arc::new(file);
    let read = |ioprio| {
        let read = Read::new(Arc::clone(&file), [0u8; 16], 0);
        run(Read { ioprio, ..read }).result
    };
    let vectored = |ioprio| {
        let mut read = ReadV::new(Arc::clone(&file), [[0u8; 16]; 2], 0);
        read.ioprio = ioprio;
        run(read).result
    };
    for good in [IoPrio::INHERIT, IoPrio::idle(), IoPrio::best_effort(0)] {
        assert_eq!((read(good), vectored(good)), (Ok(16), Ok(32)));
    }
    // The fifth class; there are four.
    let unknown = IoPrio::from_raw(i16::MIN);
    assert_eq!((read(unknown), vectored(unknown)), (Err(Errno::EINVAL), Err(Errno::EINVAL)));
    let real_time = read(IoPrio::real_time(4));
    assert!(matches!(real_time, Ok(16) | Err(Errno::EPERM)), "{real_time:?}");
}

/// Goal: zero bytes are read and written without an error and without a touch.
#[test]
fn transfers_of_no_bytes_complete_with_zero() {
    let _watchdog = Watchdog::new();
    let (_dir, path, file) = file_with(b"content");
    let file = Arc::new(file);
    assert_eq!(run(Read::new(Arc::clone(&file), Vec::new(), 0)).result, Ok(0));
    assert_eq!(run(Write::new(Arc::clone(&file), "", 3)).result, Ok(0));
    assert_eq!(run(Read::new(Arc::clone(&file), [0; 4], 7)).result, Ok(0));
    assert_eq!(std::fs::read(Path::new(&path)).expect("the file"), b"content");
    let mut at_end = [0; 4];
    assert_eq!(file.read_at(&mut at_end, 5).expect("a read"), 2);
    assert_eq!(&at_end[..2], b"nt");
}

/// Goal: a value of the user's rides along and comes back.
#[test]
fn a_pair_brings_its_value_back() {
    let _watchdog = Watchdog::new();
    let file = File::open("/dev/zero").expect("/dev/zero");
    let done = run((Read::new(file, [1; 4], 0), String::from("mine")));
    assert_eq!((done.result, done.op.0.buf, &*done.op.1), (Ok(4), [0; 4], "mine"));
}
