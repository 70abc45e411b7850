//! The kernel: io_submit, what it copies, what it refuses and in which order, and where it blocks.

use crate::common;

use common::files::{BAD_FD, Pages, file_with, open_direct, pattern, pipe};
use common::held::{BYTE, HeldFile};
use common::raw::{Context, check, data_of, iocb_of, poll_of, read_of};
use common::signal::Pester;
use common::{Watchdog, say_skipped, skip};
use linux_aio::abi::{IOCB_FLAG_RESFD, KIOCB_KEY, iocb, iovec};
use linux_aio::{Errno, EventFd, Iocb, Opcode, PollEvents, RwFlags, sys};
use std::fs::File;
use std::os::fd::AsRawFd;

fn zero() -> File {
    File::open("/dev/zero").expect("/dev/zero")
}

/// Goal: what is in an iocb comes back in the event: aio_data, and the iocb's address; aio_key is
/// written into the iocb.
#[test]
fn the_event_names_the_iocb_and_the_key_is_written_back() {
    let context = Context::new(4);
    let (zero, mut buf) = (zero(), [1u8; 16]);
    let mut read = iocb { aio_key: !KIOCB_KEY, ..read_of(zero.as_raw_fd(), &mut buf, 0x1234) };
    let address = (&raw const read).addr() as u64;
    assert_eq!(context.submit(core::slice::from_mut(&mut read)), Ok(1));
    assert_eq!(read.aio_key, KIOCB_KEY);
    let event = context.wait(1, 1)[0];
    assert_eq!((event.data, event.obj, event.res, event.res2), (0x1234, address, 16, 0));
    assert_eq!(buf, [0; 16]);
}

/// Goal: the iocb must be writable, since aio_key is written. Method: one in a read-only page.
#[test]
fn an_iocb_in_read_only_memory_is_efault() {
    let context = Context::new(4);
    let (zero, mut buf) = (zero(), [1u8; 16]);
    let page = Pages::new(4096, libc::PROT_READ | libc::PROT_WRITE);
    let place: *mut iocb = page.start.cast();
    // SAFETY: The page is writable still, and large enough.
    unsafe { place.write(read_of(zero.as_raw_fd(), &mut buf, 0)) };
    // SAFETY: The page is ours.
    let set = unsafe { libc::mprotect(page.start.cast(), page.len, libc::PROT_READ) };
    assert_eq!(set, 0);
    assert_eq!(context.submit_pointers(&[place]), Err(Errno::EFAULT));
    assert_eq!(context.getevents(0, 1, Some((0, 0))), Ok(vec![]));
}

/// Goal: io_submit copies the iocb and the iovecs; only the data must live on. Method: a held
/// vectored read, whose iocb and iovecs are overwritten as soon as it is submitted.
#[test]
fn the_iocb_and_the_iovecs_are_copied() {
    let _watchdog = Watchdog::new();
    let mut held = match HeldFile::new() {
        Ok(held) => held,
        Err(reason) => skip!("{reason}"),
    };
    let context = Context::new(4);
    let mut bufs = [[0u8; 4096]; 2];
    let mut iovecs = bufs
        .each_mut()
        .map(|buf| iovec { iov_base: buf.as_mut_ptr().expose_provenance(), iov_len: buf.len() });
    let fd = held.file().as_raw_fd();
    let mut read = iocb_of(Iocb::preadv(fd, iovecs.as_ptr(), 2, 0).user_data(7));
    assert_eq!(context.submit(core::slice::from_mut(&mut read)), Ok(1));
    iovecs.fill(iovec { iov_base: 0, iov_len: 0 });
    read = iocb::ZERO;
    core::hint::black_box((&mut iovecs, &mut read));
    held.wait_for_arrival(1);
    held.release();
    let event = context.wait(1, 1)[0];
    assert_eq!((event.data, event.res), (7, 8192));
    assert_eq!(bufs, [[BYTE; 4096]; 2]);
}

/// Goal: closing the descriptor neither cancels nor breaks a read in flight. Method: a held read
/// whose descriptor is closed and its number used again before the file answers.
#[test]
fn closing_the_descriptor_does_not_end_a_read_in_flight() {
    let _watchdog = Watchdog::new();
    let mut held = match HeldFile::new() {
        Ok(held) => held,
        Err(reason) => skip!("{reason}"),
    };
    let context = Context::new(4);
    let mut buf = [0u8; 4096];
    let file = held.file().try_clone().expect("a descriptor");
    let mut read = read_of(file.as_raw_fd(), &mut buf, 7);
    assert_eq!(context.submit(core::slice::from_mut(&mut read)), Ok(1));
    held.wait_for_arrival(1);
    drop(file);
    let reused = zero();
    held.release();
    let event = context.wait(1, 1)[0];
    assert_eq!((event.data, event.res, buf), (7, 4096, [BYTE; 4096]));
    drop(reused);
}

/// Goal: the count is of those accepted; an error is returned for the first only, and shows when
/// the rest is submitted again. Method: good, bad, good.
#[test]
fn a_bad_iocb_cuts_the_count_and_errs_when_it_comes_first() {
    let context = Context::new(4);
    let (zero, mut bufs) = (zero(), [[1u8; 16]; 3]);
    let [first, second, third] = &mut bufs;
    let mut iocbs = [
        read_of(zero.as_raw_fd(), first, 1),
        read_of(BAD_FD, second, 2),
        read_of(zero.as_raw_fd(), third, 3),
    ];
    assert_eq!(context.submit(&mut iocbs), Ok(1));
    assert_eq!(context.submit(&mut iocbs[1..]), Err(Errno::EBADF));
    assert_eq!(context.submit(&mut iocbs[2..]), Ok(1));
    assert_eq!(data_of(&context.wait(2, 3)), [1, 3]);
}

/// Goal: the order of the checks: EFAULT; EINVAL for aio_reserved2 and an overflowing length;
/// EAGAIN for no room; EBADF; RESFD; the opcode. Method: iocbs that are wrong in two ways at once,
/// in a context with room and in one without.
#[test]
fn checks_are_made_in_a_known_order() {
    let _watchdog = Watchdog::new();
    let counter = EventFd::new().expect("a counter");
    let (zero, mut byte) = (zero(), [0u8]);
    let read = read_of(zero.as_raw_fd(), &mut byte, 0);
    let room = Context::new(1);
    let full = Context::new(1);
    let fill = || {
        let poll = Box::leak(Box::new(poll_of(counter.fd().as_raw(), PollEvents::IN, 0)));
        full.submit(core::slice::from_mut(poll))
    };
    while fill() == Ok(1) {}
    assert_eq!(fill(), Err(Errno::EAGAIN));

    let bad_fd = iocb { aio_fildes: BAD_FD as u32, ..read };
    let resfd = |fd: i32, iocb: iocb| self::iocb {
        aio_flags: IOCB_FLAG_RESFD,
        aio_resfd: fd as u32,
        ..iocb
    };
    let bad_opcode = |iocb: iocb| self::iocb { aio_lio_opcode: 999, ..iocb };
    let einval = Err(Errno::EINVAL);
    let cases = [
        ("reserved2", iocb { aio_reserved2: 1, ..bad_fd }, einval, einval),
        ("length", iocb { aio_nbytes: 1 << 63, ..bad_fd }, einval, einval),
        ("length", iocb { aio_nbytes: u64::MAX, ..bad_fd }, einval, einval),
        ("no room", bad_fd, Err(Errno::EBADF), Err(Errno::EAGAIN)),
        ("fd", bad_opcode(bad_fd), Err(Errno::EBADF), Err(Errno::EAGAIN)),
        ("fd", resfd(zero.as_raw_fd(), bad_fd), Err(Errno::EBADF), Err(Errno::EAGAIN)),
        ("resfd", resfd(zero.as_raw_fd(), read), einval, Err(Errno::EAGAIN)),
        ("resfd", resfd(BAD_FD, bad_opcode(read)), Err(Errno::EBADF), Err(Errno::EAGAIN)),
        ("opcode", bad_opcode(read), einval, Err(Errno::EAGAIN)),
        ("nothing", read, Ok(1), Err(Errno::EAGAIN)),
    ];
    for (what, iocb, with_room, without) in cases {
        let mut iocb = iocb;
        assert_eq!(room.submit(core::slice::from_mut(&mut iocb)), with_room, "{what}");
        assert_eq!(full.submit(core::slice::from_mut(&mut iocb)), without, "{what}, no room");
    }
    let nowhere = core::ptr::without_provenance_mut(8192);
    for context in [&room, &full] {
        assert_eq!(context.submit_pointers(&[nowhere]), Err(Errno::EFAULT));
    }
    counter.add(1).expect("room in the counter");
}

/// Goal: the call's own arguments: a dead context, a negative count, no count, an array that is
/// not there.
#[test]
fn the_calls_own_arguments_are_checked() {
    let context = Context::new(4);
    let submit = |id, nr, array: *const *mut iocb| {
        // SAFETY: The kernel checks every address; no iocb is accepted.
        check(unsafe { sys::io_submit(id, nr, array) })
    };
    let nowhere = core::ptr::without_provenance(8192);
    let none = core::ptr::null();
    for dead in [0, 1, 4096, context.id + 64, !0] {
        assert_eq!(submit(dead, 0, none), Err(Errno::EINVAL), "{dead:#x}");
    }
    assert_eq!(submit(context.id, -1, none), Err(Errno::EINVAL));
    assert_eq!(submit(context.id, 0, none), Ok(0));
    assert_eq!(submit(context.id, 1, none), Err(Errno::EFAULT));
    assert_eq!(submit(context.id, 1, nowhere), Err(Errno::EFAULT));
}

/// Goal: NOOP and numbers that are no opcode are EINVAL; unknown aio_flags are ignored.
#[test]
fn noop_is_refused_and_unknown_flags_are_ignored() {
    let context = Context::new(64);
    let (zero, mut byte) = (zero(), [0u8]);
    let read = read_of(zero.as_raw_fd(), &mut byte, 0);
    for opcode in [Opcode::NOOP.as_raw(), 4, 9, 10, 255, 256, u16::MAX] {
        let mut iocb = iocb { aio_lio_opcode: opcode, ..read };
        let submitted = context.submit(core::slice::from_mut(&mut iocb));
        assert_eq!(submitted, Err(Errno::EINVAL), "opcode {opcode}");
    }
    for flags in (2..32).map(|bit| 1 << bit).chain([!3]) {
        let mut iocb = iocb { aio_flags: flags, ..read };
        let submitted = context.submit(core::slice::from_mut(&mut iocb));
        assert_eq!(submitted, Ok(1), "flags {flags:#x}");
    }
    assert_eq!(context.wait(31, 64).len(), 31);
}

/// Goal: FSYNC and FDSYNC want buf, offset, nbytes and rw_flags 0.
#[test]
fn the_syncs_want_the_other_fields_to_be_zero() {
    let context = Context::new(8);
    let (_dir, _path, file) = file_with(b"content");
    for good in [Iocb::fsync(file.as_raw_fd()), Iocb::fdsync(file.as_raw_fd())] {
        let good = iocb_of(good);
        let bad = [
            iocb { aio_buf: 1, ..good },
            iocb { aio_nbytes: 1, ..good },
            iocb { aio_offset: 1, ..good },
            iocb { aio_rw_flags: RwFlags::DSYNC.bits(), ..good },
        ];
        for mut iocb in bad {
            assert_eq!(context.submit(core::slice::from_mut(&mut iocb)), Err(Errno::EINVAL));
        }
        assert_eq!(context.submit(&mut [good]), Ok(1));
        assert_eq!(context.wait(1, 1)[0].res, 0);
    }
}

/// Goal: errors come either way. From io_submit: unknown RWF bits, the wrong direction. In the
/// event: a bad buffer, a misaligned O_DIRECT transfer. Either: NOWAIT where a file has none.
#[test]
fn errors_come_from_the_call_or_in_the_event() {
    let _watchdog = Watchdog::new();
    let context = Context::new(8);
    let (_dir, path, file) = file_with(&pattern(8192));
    let fd = file.as_raw_fd();
    let mut buf = [0u8; 512];
    let result = |iocb: iocb| -> (&str, i64) {
        match context.submit(&mut [iocb]) {
            Ok(_) => ("event", context.wait(1, 1)[0].res),
            Err(errno) => ("call", -i64::from(errno.as_raw())),
        }
    };
    let read = read_of(fd, &mut buf, 0);
    assert_eq!(result(read), ("event", 512));
    let unknown = iocb { aio_rw_flags: 1 << 30, ..read };
    assert_eq!(result(unknown), ("call", -i64::from(libc::EOPNOTSUPP)));
    let write_only = common::files::open("/dev/null", libc::O_WRONLY);
    let wrong_way = iocb { aio_fildes: write_only.as_raw_fd() as u32, ..read };
    assert_eq!(result(wrong_way), ("call", -i64::from(libc::EBADF)));
    let bad_buffer = iocb { aio_buf: 8192, ..read };
    assert_eq!(result(bad_buffer), ("event", -i64::from(libc::EFAULT)));

    let write = iocb { aio_lio_opcode: Opcode::PWRITE.as_raw(), ..read };
    let nowait = result(iocb { aio_rw_flags: RwFlags::NOWAIT.bits(), ..write });
    println!("NOWAIT on a buffered write here: {nowait:?}");
    let expected = [512, -i64::from(libc::EOPNOTSUPP), -i64::from(libc::EAGAIN)];
    assert!(expected.contains(&nowait.1), "{nowait:?}");

    let Some(direct) = open_direct(&path) else {
        skip!("the direct part: this file system has no O_DIRECT");
    };
    let aligned = Pages::new(8192, libc::PROT_READ | libc::PROT_WRITE);
    let fd = direct.as_raw_fd();
    let read = |offset, len| iocb_of(Iocb::pread(fd, aligned.start, len, offset));
    assert_eq!(result(read(4096, 4096)), ("event", 4096));
    for misaligned in [read(1, 4096), read(0, 511)] {
        match result(misaligned) {
            ("event", count) if count >= 0 => {
                say_skipped("this file system takes misaligned direct reads");
            }
            other => assert_eq!(other, ("event", -i64::from(libc::EINVAL))),
        }
    }
}

/// Goal: a read of an empty pipe without O_NONBLOCK blocks inside io_submit until a signal, which
/// gives -EINTR in the event; with O_NONBLOCK the event is -EAGAIN at once.
#[test]
fn a_read_of_an_empty_pipe_blocks_in_the_call_until_a_signal() {
    let _watchdog = Watchdog::new();
    let context = Context::new(4);
    let mut byte = [0u8];
    let nonblocking = pipe(libc::O_NONBLOCK);
    let mut read = read_of(nonblocking.reader.as_raw_fd(), &mut byte, 1);
    assert_eq!(context.submit(core::slice::from_mut(&mut read)), Ok(1));
    let event = context.wait(1, 1)[0];
    assert_eq!((event.data, event.res), (1, -i64::from(libc::EAGAIN)));

    let blocking = pipe(0);
    let mut read = read_of(blocking.reader.as_raw_fd(), &mut byte, 2);
    let pester = Pester::this_thread(libc::SIGUSR1);
    assert_eq!(context.submit(core::slice::from_mut(&mut read)), Ok(1));
    drop(pester);
    let events = context.getevents(0, 1, Some((0, 0))).expect("the event is there already");
    assert_eq!((events[0].data, events[0].res), (2, -i64::from(libc::EINTR)));
}

/// Goal: and it blocks until there is data. Method: another thread writes.
#[test]
fn a_read_of_an_empty_pipe_blocks_in_the_call_until_data() {
    let _watchdog = Watchdog::new();
    let context = Context::new(4);
    let mut byte = [0u8];
    let mut pipe = pipe(0);
    let mut read = read_of(pipe.reader.as_raw_fd(), &mut byte, 2);
    std::thread::scope(|threads| {
        let writer = threads.spawn(|| {
            std::thread::sleep(core::time::Duration::from_millis(30));
            pipe.put(9);
        });
        assert_eq!(context.submit(core::slice::from_mut(&mut read)), Ok(1));
        let events = context.getevents(0, 1, Some((0, 0))).expect("the event is there already");
        assert_eq!((events[0].data, events[0].res), (2, 1));
        writer.join().expect("the writer");
    });
    assert_eq!(byte, [9]);
}

/// Goal: a call with more iocbs than the context can ever hold takes what it has room for.
#[test]
fn more_iocbs_than_there_is_room_for_are_taken_in_part() {
    let context = Context::new(1);
    let (zero, mut byte) = (zero(), [0u8]);
    let count = context.ring().nr as usize + 100;
    let mut iocbs: Vec<iocb> =
        (0..count).map(|i| read_of(zero.as_raw_fd(), &mut byte, i as u64)).collect();
    let accepted = context.submit(&mut iocbs).expect("room for some");
    assert!((1..count).contains(&accepted), "{accepted} of {count}");
    let events = context.wait(accepted, count);
    assert!(data_of(&events).into_iter().eq(0..accepted as u64));
}
