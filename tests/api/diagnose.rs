//! A failed operation says what it was and why it failed: by its iocb alone, and as the running
//! kernel refuses it.

use crate::common;

use common::files::{file_with, open_direct};
use common::{Watchdog, context, queue, room, say_skipped};
use linux_aio::op::{Fsync, Poll, Read, Write};
use linux_aio::{
    AlignedBuf, CallError, Diagnosis, Errno, EventFd, IoPrio, Iocb, Operation, PollEvents,
    PushError, Queue, RwFlags, ScopeError, Slot, abi,
};
use rustix::event::epoll::CreateFlags;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

fn with(iocb: Iocb, change: impl FnOnce(&mut abi::iocb)) -> Iocb {
    let mut iocb = iocb;
    change(iocb.as_raw_mut());
    iocb
}

#[track_caller]
fn assert_cause(iocb: Iocb, errno: Errno, part: &str) {
    let diagnosis = iocb.diagnose(errno);
    let cause = diagnosis.cause().unwrap_or_else(|| panic!("{diagnosis} has no cause"));
    assert!(cause.contains(part), "{iocb:?}: {cause:?} lacks {part:?}");
    assert!(diagnosis.to_string().ends_with(cause), "{diagnosis}");
}

/// Goal: a field that the kernel refuses is named, whatever else may be wrong. Method: one bad
/// field at a time.
#[test]
fn each_field_that_the_kernel_refuses_is_named() {
    let read = Iocb::pread(3, core::ptr::null_mut(), 4096, 0);
    let write = Iocb::pwrite(3, core::ptr::null(), 4096, 0);
    let (odd_buf, odd_len) =
        (with(read, |raw| raw.aio_buf = 16), with(read, |raw| raw.aio_nbytes = 100));
    let prio = |class: i16, level| read.ioprio(IoPrio::from_raw(class << 13 | level));
    let einval = [
        (with(read, |raw| raw.aio_reserved2 = 1), "aio_reserved2"),
        (with(read, |raw| raw.aio_nbytes = u64::MAX), "aio_nbytes"),
        (with(read, |raw| raw.aio_lio_opcode = 99), "opcode"),
        (with(read, |raw| raw.aio_offset = -1), "the offset is beyond"),
        (with(read, |raw| raw.aio_offset = i64::MAX), "ends beyond 2^63"),
        (with(read, |raw| raw.aio_buf = 1), "the address of the buffer is no multiple"),
        (with(read, |raw| raw.aio_nbytes = 100), "and the length is no multiple"),
        (with(read, |raw| raw.aio_offset = 1024 + 8), "and the offset is no multiple"),
        (with(odd_buf, |raw| raw.aio_nbytes = 511), "address and length of the buffer are no"),
        (with(odd_buf, |raw| raw.aio_offset = 256), "buffer and the offset are no"),
        (with(odd_len, |raw| raw.aio_offset = 256), "and length and offset are no"),
        (with(odd_len, |raw| (raw.aio_buf, raw.aio_offset) = (1, 1)), "neither address, length"),
        (with(read, |raw| raw.aio_nbytes = 512), "larger than 512"),
        (read, "larger than 4096"),
        (read, "a directory, /proc/self/status"),
        (prio(3, 7), "larger than 4096"),
        (prio(4, 0), "class"),
        (prio(-1, 0), "class"),
        (prio(0, 4), "has a level, but no class"),
        (write.rw_flags(RwFlags::APPEND | RwFlags::NOAPPEND), "exclude each other"),
        (write.rw_flags(RwFlags::ATOMIC), "power of two"),
        (read.eventfd(3), "aio_resfd"),
        (Iocb::preadv(3, core::ptr::null(), 1025, 0), "1024 iovecs"),
        (Iocb::preadv(3, core::ptr::null(), 2, 0), "all buffers"),
        (with(Iocb::fsync(3), |raw| raw.aio_nbytes = 1), "must be 0"),
        (Iocb::fsync(3).eventfd(4), "eventfd"),
        (Iocb::fsync(3), "nothing to synchronize"),
        (Iocb::poll(3, PollEvents::from_bits_retain(1 << 16)), "16 bits"),
        (with(Iocb::poll(3, PollEvents::IN), |raw| raw.aio_offset = 1), "must be 0"),
        (Iocb::poll(3, PollEvents::IN), "two queues"),
    ];
    for (iocb, part) in einval {
        assert_cause(iocb, Errno::EINVAL, part);
    }
    let unknown = RwFlags::from_bits_retain(abi::RWF_SUPPORTED + 1);
    let others = [
        (read.rw_flags(unknown), Errno::EOPNOTSUPP, "a bit that no flag has"),
        (read.rw_flags(RwFlags::ATOMIC), Errno::EOPNOTSUPP, "writes only"),
        (write.rw_flags(RwFlags::ATOMIC), Errno::EOPNOTSUPP, "one of the flags"),
        (write, Errno::EOPNOTSUPP, "does not support the operation"),
        (read, Errno::EBADF, "open for writing alone"),
        (write, Errno::EBADF, "open for reading alone"),
        (Iocb::fsync(3), Errno::EBADF, "closed"),
        (write, Errno::EIO, "each block of the write"),
        (Iocb::fsync(3), Errno::EIO, "write them again"),
        (Iocb::fdsync(3), Errno::ENOSPC, "write them again"),
        (read.eventfd(4), Errno::EBADF, "the eventfd"),
        (read, Errno::EFAULT, "mapped"),
        (read.rw_flags(RwFlags::NOWAIT), Errno::EAGAIN, "NOWAIT"),
        (read, Errno::EAGAIN, "O_NONBLOCK"),
        (Iocb::fsync(3), Errno::EAGAIN, "no memory"),
        (prio(1, 0), Errno::EPERM, "CAP_SYS_NICE"),
        (read, Errno::EPERM, "seccomp"),
        // A priority of FSYNC is ignored.
        (Iocb::fsync(3).ioprio(IoPrio::from_raw(1 << 13)), Errno::EPERM, "seccomp"),
        (write, Errno::EPERM, "sealed"),
        (write, Errno::ENOSPC, "end of a block device"),
        (write, Errno::EFBIG, "RLIMIT_FSIZE"),
        (read, Errno::ENODATA, "medium"),
        (write, Errno::ESPIPE, "socket"),
        (write, Errno::ETXTBSY, "swap"),
        (read, Errno::ENOSYS, "seccomp"),
        (read, Errno::ECANCELED, "before it was submitted"),
    ];
    for (iocb, errno, part) in others {
        assert_cause(iocb, errno, part);
    }
    for errno in [Errno::EIO, Errno::ENOSPC, Errno::EINTR] {
        assert_eq!(read.diagnose(errno).cause(), None, "{errno}");
    }
}

/// Goal: the text says what the operation was, in the words of the kernel's page.
#[test]
fn the_text_names_the_operation_its_place_and_its_flags() {
    let read = Iocb::pread(7, core::ptr::null_mut(), 1, 42).rw_flags(RwFlags::NOWAIT);
    assert_eq!(
        read.diagnose(Errno::EIO).to_string(),
        "PREAD of 1 byte at offset 42 of descriptor 7 with RwFlags(NOWAIT): EIO: input/output error"
    );
    let write = Iocb::pwritev(7, core::ptr::null(), 3, 4096);
    let text = write.diagnose(Errno::EDQUOT).to_string();
    assert!(
        text.starts_with("PWRITEV of 3 buffers at offset 4096 of descriptor 7: EDQUOT"),
        "{text}"
    );
    let text = Iocb::fsync(7).diagnose(Errno::EINTR).to_string();
    assert_eq!(text, "FSYNC of descriptor 7: EINTR: interrupted by a signal");
    let shown = format!("{:?}", read.diagnose(Errno::EBADF));
    assert!(shown.contains("EBADF") && shown.contains("PREAD") && shown.contains("closed"));
}

/// Runs an operation, and returns its errno.
fn errno_of(mut iocb: Iocb) -> Option<Errno> {
    let mut context = context(1);
    let (submitter, mut reaper) = context.split();
    // SAFETY: The iocb, and the buffer that it names, are alive until the event has been reaped, or
    // are addresses where nothing is mapped.
    if let Err(errno) = unsafe { submitter.submit(&[&raw mut iocb]) } {
        return Some(errno);
    }
    let mut events = room::<1>();
    let events = reaper.wait(1, None, &mut events).expect("a wait");
    events[0].result().err()
}

/// Goal: the running kernel refuses each of these, and the cause that is named is the true one.
///
/// Method: one operation for each cause. An errno that this kernel does not give is skipped.
#[test]
fn the_cause_is_named_as_the_running_kernel_refuses() {
    let _watchdog = Watchdog::new();
    let mut buf = AlignedBuf::new(8192).expect("memory");
    let memory = buf.as_mut_ptr();
    let read = |fd: RawFd, len| Iocb::pread(fd, memory, len, 0);
    let write = |fd: RawFd, len| Iocb::pwrite(fd, memory, len, 0);
    let (dir, path, file) = file_with(&[7; 8192]);
    let fd = file.as_raw_fd();
    let directory = File::open(dir.path()).expect("our directory");
    let status = File::open("/proc/self/status").expect("/proc");
    let path_only = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(&path);
    let path_only = path_only.expect("our file");
    let read_only = File::open(&path).expect("our file");
    let eventfd = EventFd::new().expect("a descriptor");
    eventfd.add(1).expect("room");
    let epoll = rustix::event::epoll::create(CreateFlags::CLOEXEC).expect("a descriptor");
    let memfd = memfd_create("sealed", MemfdFlags::ALLOW_SEALING).expect("a file");
    fcntl_add_seals(&memfd, SealFlags::WRITE).expect("a seal");
    let (socket, _peer) = UnixStream::pair().expect("sockets");
    socket.set_nonblocking(true).expect("a flag");
    let pipe = common::files::pipe(libc::O_NONBLOCK);
    let no_offset = Iocb::pread(socket.as_raw_fd(), memory, 512, 512);
    let both = RwFlags::APPEND | RwFlags::NOAPPEND;
    let unknown = RwFlags::from_bits_retain(1 << 30);
    let unmapped = core::ptr::without_provenance_mut(0xdead_0000);

    let mut cases = vec![
        (read(directory.as_raw_fd(), 4096), Errno::EINVAL, "a directory"),
        (read(status.as_raw_fd(), 4096), Errno::EINVAL, "/proc/self/status"),
        (read(status.as_raw_fd(), 100), Errno::EINVAL, "/proc/self/status"),
        (read(epoll.as_raw_fd(), 4096), Errno::EINVAL, "no asynchronous reads or writes"),
        (read(eventfd.as_raw_fd(), 4), Errno::EINVAL, "an eventfd takes 8 bytes"),
        (Iocb::pread(fd, memory, 512, i64::MAX as u64), Errno::EINVAL, "ends beyond 2^63"),
        (Iocb::fsync(status.as_raw_fd()), Errno::EINVAL, "nothing to synchronize"),
        (write(fd, 512).rw_flags(both), Errno::EINVAL, "exclude each other"),
        (write(fd, 512).rw_flags(unknown), Errno::EOPNOTSUPP, "a bit that no flag has"),
        (read(fd, 512).rw_flags(RwFlags::ATOMIC), Errno::EOPNOTSUPP, "writes only"),
        (read(fd, 512).ioprio(IoPrio::from_raw(4)), Errno::EINVAL, "a level, but no class"),
        (read(path_only.as_raw_fd(), 512), Errno::EBADF, "O_PATH"),
        (write(read_only.as_raw_fd(), 512), Errno::EBADF, "open for reading alone"),
        (read(fd, 512).eventfd(fd), Errno::EINVAL, "aio_resfd"),
        (read(fd, 512).eventfd(i32::MAX), Errno::EBADF, "the eventfd"),
        (write(memfd.as_raw_fd(), 512), Errno::EPERM, "sealed"),
        (read(pipe.reader.as_raw_fd(), 512), Errno::EAGAIN, "O_NONBLOCK"),
        (no_offset, Errno::ESPIPE, "socket"),
        (Iocb::pread(fd, unmapped, 512, 0), Errno::EFAULT, "mapped"),
    ];
    let direct = open_direct(&path);
    if let Some(direct) = &direct {
        // The smallest part of a block, and one byte.
        let offset = Iocb::pread(direct.as_raw_fd(), memory, 4096, 1);
        let address = Iocb::pread(direct.as_raw_fd(), memory.wrapping_add(1), 4096, 0);
        cases.push((read(direct.as_raw_fd(), 100), Errno::EINVAL, "and the length is no"));
        cases.push((offset, Errno::EINVAL, "and the offset is no"));
        cases.push((address, Errno::EINVAL, "and the address of the buffer is no"));
    }
    let (mut named, all) = (0, cases.len());
    for (iocb, errno, part) in cases {
        match errno_of(iocb) {
            Some(given) if given == errno => {
                assert_cause(iocb, errno, part);
                named += 1;
            }
            given => say_skipped(&format!("{iocb:?} gives {given:?}, not {errno:?}")),
        }
    }
    assert!(named * 2 > all, "{named} of {all}");
}

/// Goal: a completion that failed describes itself, in a queue, in its slot and in a scope; one
/// that succeeded does not.
#[test]
fn a_completion_says_what_failed() {
    let _watchdog = Watchdog::new();
    let (_dir, _, file) = file_with(&[7; 512]);
    let directory = File::open(Path::new("/")).expect("/");
    let number = directory.as_raw_fd();
    let text = format!("PREAD of 64 bytes at offset 128 of descriptor {number}: EINVAL");

    let mut queue: Queue<Read<File, Vec<u8>>> = queue(2);
    queue.push(Read::new(directory, vec![0; 64], 128)).expect("a slot");
    let mut ready = queue.wait_ready().expect("a wait").expect("a completion");
    let in_its_slot = ready.diagnose().expect("it failed");
    let mut done = ready.take();
    assert_eq!(done.diagnose(), Some(in_its_slot));
    assert!(in_its_slot.to_string().starts_with(&text), "{in_its_slot}");
    assert_eq!(in_its_slot.iocb().as_raw().aio_offset, 128);
    queue.push(Read::new(file, vec![0; 64], 128)).expect("a slot");
    let mut done_well = queue.wait().expect("a wait").expect("a completion");
    assert_eq!((done_well.result, done_well.diagnose()), (Ok(64), None));

    let (directory, mut buf) = (done.op.fd, [0; 64]);
    let diagnosis = linux_aio::scope(&mut context(1), &mut [const { Slot::new() }; 1], |io| {
        io.push(Read::new(&directory, &mut buf[..], 128)).expect("a slot");
        io.wait().expect("a wait").expect("a completion").diagnose()
    });
    let diagnosis = diagnosis.expect("a fresh context").expect("it failed");
    assert!(diagnosis.to_string().starts_with(&text), "{diagnosis}");
    // And what was made by hand.
    let diagnosis = Fsync::new(&directory).prepare().diagnose(Errno::EIO);
    assert_eq!(diagnosis.errno(), Errno::EIO);
}

/// Goal: no error of this crate loses its text, its kind or its errno on the way to `io::Error`.
#[test]
fn an_io_error_keeps_text_kind_and_errno() {
    fn check<E: Copy + ToString + Into<io::Error> + Into<Errno>>(error: E, errno: Errno) {
        let converted: io::Error = error.into();
        assert_eq!(Errno::from_io_error(&converted), Some(errno), "{converted}");
        assert_eq!(converted.kind(), io::Error::from(errno).kind(), "{converted}");
        assert_eq!(converted.to_string(), error.to_string());
        assert_eq!(Into::<Errno>::into(error), errno);
    }
    let _watchdog = Watchdog::new();
    let diagnosis = Iocb::fsync(3).diagnose(Errno::ENOSPC);
    check::<Diagnosis>(diagnosis, Errno::ENOSPC);
    check::<ScopeError>(ScopeError::InFlight(2), Errno::EBUSY);
    check::<ScopeError>(ScopeError::Forked, Errno::FORKED);
    check(linux_aio::IoContext::new(0).expect_err("nothing"), Errno::EINVAL);

    let pipe = common::files::pipe(libc::O_NONBLOCK);
    let mut queue: Queue<Poll<_>> = queue(1);
    queue.push(Poll::new(pipe.reader, PollEvents::IN)).expect("a slot");
    let timed = queue.wait_timeout(Duration::from_millis(1)).expect_err("nothing comes");
    check::<CallError>(timed, Errno::ETIMEDOUT);
    assert_eq!(timed.call(), "io_getevents");
    assert!(timed.to_string().starts_with("io_getevents: ETIMEDOUT: "), "{timed}");
    assert!(format!("{timed:?}").contains("call: io_getevents"), "{timed:?}");

    // The context does not come along.
    let zero = File::open("/dev/zero").expect("/dev/zero");
    let mut buf = [1; 8];
    let mut iocb = Iocb::pread(zero.as_raw_fd(), buf.as_mut_ptr(), buf.len(), 0);
    let mut busy = context(1);
    // SAFETY: The iocb, the buffer and the file outlive the context, which the conversion drops.
    assert_eq!(unsafe { busy.split().0.submit(&[&raw mut iocb]) }, Ok(1));
    let refused = Queue::<Poll<File>>::new(busy, 1).expect_err("an operation is in flight");
    let text = refused.to_string();
    assert!(text.starts_with("EBUSY: 1 operation") && format!("{refused:?}").contains("InFlight"));
    let refused = io::Error::from(refused);
    assert_eq!(Errno::from_io_error(&refused), Some(Errno::EBUSY));
    assert_eq!((refused.kind(), refused.to_string()), (io::ErrorKind::ResourceBusy, text));

    // What the operation borrows does not come along.
    let mut none: [Slot<_>; 0] = [];
    let text = [1u8; 4];
    let file = File::open("/dev/null").expect("/dev/null");
    let refused = linux_aio::scope(&mut context(1), &mut none, |io| {
        let refused: PushError<Write<_, _>> =
            io.push(Write::new(&file, &text[..], 0)).expect_err("there is no slot");
        assert_eq!(refused.errno(), Errno::EAGAIN);
        assert!(refused.to_string().contains("every slot is in use"), "{refused}");
        assert!(!format!("{refused:?}").contains("[1,"), "{refused:?}");
        io::Error::from(refused)
    });
    let refused = refused.expect("a fresh context");
    assert_eq!(Errno::from_io_error(&refused), Some(Errno::EAGAIN));
    assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    assert!(refused.to_string().contains("every slot is in use"), "{refused}");
    assert_eq!(Errno::from_io_error(&io::Error::from_raw_os_error(5)), Some(Errno::EIO));
    assert_eq!(Errno::from_io_error(&io::ErrorKind::NotFound.into()), None);
}
