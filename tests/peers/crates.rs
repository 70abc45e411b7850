//! Defects that other Rust crates for Linux AIO have had, each as a test named after it, which
//! passes here.

use crate::common;

use common::child::{Ended, in_child};
use common::files::{BAD_FD, file_with, open, pattern, pipe};
use common::held::{Arrival, BYTE, HeldFile};
use common::signal::Pester;
use common::{Watchdog, context, holds, queue, room, skip};
use core::mem::{align_of, offset_of, size_of};
use linux_aio::abi::{io_event, iocb};
use linux_aio::op::{Poll, Read, ReadV, Write, WriteV};
use linux_aio::{
    Completion, Errno, Fd, IoPrio, IoSlice, IoSliceMut, Iocb, Operation, PollEvents, Prepared,
    Queue, RwFlags, Slot,
};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;

/// Runs one operation in a queue of its own.
fn run<O: Operation + 'static>(op: O) -> Completion<O> {
    let mut queue = queue(1);
    queue.push(op).map_err(|error| error.errno()).expect("a slot");
    queue.wait().expect("a wait").expect("a completion")
}

fn zero() -> Arc<File> {
    Arc::new(File::open("/dev/zero").expect("/dev/zero"))
}

// ---- linux-aio-tokio 0.4.1, and vmm-sys-util 0.15, which has no flags ----

/// The defect: RWF flags went into `aio_flags`, so that APPEND at offset 0 overwrote byte 0.
/// Method: write with APPEND at offset 0; and look at the fields.
#[test]
fn append_at_offset_0_does_not_overwrite_byte_0() {
    let _watchdog = Watchdog::new();
    let (_dir, path, file) = file_with(b"first");
    let write = Write::new(file, "second", 0);
    let done = run(Write { rw_flags: RwFlags::APPEND, ..write });
    assert_eq!(done.result, Ok(6));
    assert_eq!(std::fs::read(path).expect("the file"), b"firstsecond");
    let iocb = Iocb::fsync(0).rw_flags(RwFlags::HIPRI | RwFlags::DSYNC);
    assert_eq!((iocb.as_raw().aio_rw_flags, iocb.as_raw().aio_flags), (3, 0));
}

/// The defect: SYNC and DSYNC never reached the kernel. Method: the server of a file system sees
/// what the kernel makes of each: nothing, an fdatasync, or an fsync after the write.
#[test]
fn sync_and_dsync_reach_the_kernel() {
    let _watchdog = Watchdog::new();
    let mut held = match HeldFile::buffered() {
        Ok(held) => held,
        Err(reason) => skip!("{reason}"),
    };
    held.release();
    let file = Arc::new(held.file().try_clone().expect("a descriptor"));
    for (rw_flags, sync) in [
        (RwFlags::empty(), None),
        (RwFlags::DSYNC, Some(Arrival::Fdatasync)),
        (RwFlags::SYNC, Some(Arrival::Fsync)),
        (RwFlags::empty(), None),
    ] {
        // Whole pages, or the kernel would read the rest of them first.
        let write = Write::new(Arc::clone(&file), vec![1u8; 65536], 0);
        assert_eq!(run(Write { rw_flags, ..write }).result, Ok(65536));
        let mut arrivals = held.arrived_so_far();
        arrivals.dedup();
        let expected: Vec<_> = [Arrival::Write].into_iter().chain(sync).collect();
        assert_eq!(arrivals, expected, "{rw_flags:?}");
    }
}

/// The defect: dropping what waits for an operation gave its buffer back while the kernel still
/// wrote it. Method: a held read; the queue is dropped while another thread releases it; the
/// buffer is looked at when it is freed.
#[test]
fn dropping_does_not_give_the_buffer_back_while_the_kernel_writes_it() {
    struct Checked(Vec<u8>);
    impl AsMut<[u8]> for Checked {
        fn as_mut(&mut self) -> &mut [u8] {
            &mut self.0
        }
    }
    impl Drop for Checked {
        fn drop(&mut self) {
            assert!(self.0.iter().all(|&byte| byte == BYTE), "freed before it was written");
        }
    }
    let _watchdog = Watchdog::new();
    let mut held = match HeldFile::new() {
        Ok(held) => held,
        Err(reason) => skip!("{reason}"),
    };
    let file = Arc::new(held.file().try_clone().expect("a descriptor"));
    let mut queue = queue(1);
    queue.push(Read::new(file, Checked(vec![0; 65536]), 0)).map_err(drop).expect("a slot");
    assert_eq!(queue.submit(), Ok(1));
    held.wait_for_arrival(1);
    let hold = held.take_hold();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(core::time::Duration::from_millis(71));
        drop(hold);
    });
    drop(queue);
    thread.join().expect("the releasing thread");
}

/// The defect: one signal ended the task that reaps, and every future hung. Method: thousands of
/// operations, one after the other through POLLs, while signals come all the time.
#[test]
fn signals_end_nothing_but_a_wait() {
    let _watchdog = Watchdog::new();
    let mut pipe = pipe(libc::O_NONBLOCK);
    let reader = Arc::new(pipe.reader.try_clone().expect("a descriptor"));
    let mut queue = queue(2);
    let pester = Pester::this_thread(libc::SIGUSR1);
    for _ in 0..2_000 {
        queue.push(Poll::new(Arc::clone(&reader), PollEvents::IN)).expect("a slot");
        assert_eq!(queue.submit(), Ok(1));
        pipe.put(1);
        let done = queue.wait().expect("a wait").expect("a completion");
        assert!(holds(done.result, PollEvents::IN));
        assert_eq!(pipe.get(), 1);
    }
    drop(pester);
}

/// The defect: the drop asserted that io_destroy succeeds, and panicked in a forked child. Method:
/// a child drops a context and a queue of its parent's, busy ones.
#[test]
fn dropping_in_a_forked_child_does_not_panic() {
    let _watchdog = Watchdog::new();
    let context = context(4);
    let mut queue = queue(4);
    for i in 0..4 {
        queue.push(Read::new(zero(), vec![1u8; 16], i)).expect("a slot");
    }
    assert_eq!(queue.submit(), Ok(4));
    assert_eq!(in_child(move || drop((context, queue))), Ended::WELL);
}

/// The defect: building needs libclang, or make and a C compiler, or links a library by mistake.
/// Method: there is no build script, and nothing in the manifest that would run or link anything.
#[test]
fn building_runs_and_links_nothing() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert!(!root.join("build.rs").exists());
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).expect("the manifest");
    for line in manifest.lines() {
        let key = line.split(['=', ']']).next().unwrap_or_default().trim();
        assert!(!["build", "links", "[build-dependencies"].contains(&key), "{line}");
    }
}

// ---- tokio-linux-aio 0.1.11 ----

/// The defect: an array as the buffer left the kernel the address of a stack frame that is gone.
/// Method: arrays inside of operations that are moved often before and after the push.
#[test]
fn arrays_are_written_where_they_are_and_not_where_they_were() {
    #[inline(never)]
    fn fill(file: &Arc<File>) -> Queue<Read<Arc<File>, [u8; 512]>> {
        let mut queue = queue(8);
        for i in 0..8 {
            queue.push(Read::new(Arc::clone(file), [0; 512], i * 512)).expect("a slot");
        }
        queue
    }
    #[inline(never)]
    fn write_over_the_stack() {
        core::hint::black_box([0xee_u8; 16384]);
    }
    let _watchdog = Watchdog::new();
    let (_dir, _path, file) = file_with(&pattern(4096));
    let mut queue = Box::new(fill(&Arc::new(file)));
    write_over_the_stack();
    let mut completed = 0;
    while let Some(done) = queue.wait().expect("a wait") {
        write_over_the_stack();
        let at = done.op.offset as usize;
        assert_eq!((done.result, &done.op.buf[..]), (Ok(512), &pattern(4096)[at..at + 512]));
        completed += 1;
    }
    assert_eq!(completed, 8);
}

/// The defect: the byte counts were lost. Method: a short read and a short vectored read.
#[test]
fn byte_counts_of_short_transfers_come_out() {
    let _watchdog = Watchdog::new();
    let (_dir, _path, file) = file_with(b"seven..");
    let file = Arc::new(file);
    assert_eq!(run(Read::new(Arc::clone(&file), vec![0; 100], 0)).result, Ok(7));
    assert_eq!(run(Read::new(Arc::clone(&file), vec![0; 100], 5)).result, Ok(2));
    assert_eq!(run(ReadV::new(file, [vec![0; 3], vec![0; 100]], 1)).result, Ok(6));
}

/// The defect, also of jsgf's libaio 0.0.1: errors with the wrong sign. Method: an error of the
/// submission and one of the event, as numbers and as `std::io::Error`.
#[test]
fn errors_have_the_right_sign() {
    let _watchdog = Watchdog::new();
    let write_only = open("/dev/null", libc::O_WRONLY);
    let at_submission = run(Read::new(write_only, [0; 4], 0)).result.unwrap_err();
    assert_eq!(at_submission.as_raw(), libc::EBADF);
    let empty = pipe(libc::O_NONBLOCK);
    let in_the_event = run(Read::new(empty.reader, [0; 4], 0)).result.unwrap_err();
    assert_eq!(in_the_event.as_raw(), libc::EAGAIN);
    let error = std::io::Error::from(in_the_event);
    assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
}

// ---- libaio-futures 0.2.3 ----

/// A read by any number.
struct ByNumber {
    number: i32,
    byte: [u8; 1],
}

impl Operation for ByNumber {
    fn prepare(&mut self) -> Prepared<'_> {
        // SAFETY: The numbers of the test are a file's that stays open, or no file's at all.
        let fd = unsafe { Fd::borrow_raw(self.number) };
        Prepared::read(fd, &mut self.byte, 0)
    }
}

/// The defect: one bad descriptor panicked the only I/O thread. Method: bad ones at every place
/// among good ones, then another round.
#[test]
fn a_bad_descriptor_fails_alone() {
    let _watchdog = Watchdog::new();
    let file = zero();
    let mut queue = queue(9);
    for round in 0..3 {
        for i in 0..9 {
            let bad = [BAD_FD, -1, i32::MIN];
            let number = if i % 3 == round { bad[i / 3] } else { file.as_raw_fd() };
            queue.push(ByNumber { number, byte: [1] }).map_err(drop).expect("a slot");
        }
        let (mut good, mut bad) = (0, 0);
        while let Some(done) = queue.wait().expect("a wait") {
            match done.result {
                Ok(count) => good += count,
                Err(errno) => bad += u32::from(errno == Errno::EBADF),
            }
        }
        assert_eq!((good, bad), (6, 3));
    }
}

/// The defect: a priority without IOCB_FLAG_IOPRIO, which the kernel ignores. Method: a class that
/// does not exist is refused only by who reads the field; every setter of ours sets the flag.
#[test]
fn a_priority_is_not_ignored() {
    let _watchdog = Watchdog::new();
    let unknown = IoPrio::from_raw(i16::MIN);
    let read = |ioprio| run(Read { ioprio, ..Read::new(zero(), [0u8; 4], 0) }).result;
    assert_eq!(read(unknown), Err(Errno::EINVAL));
    assert_eq!(read(IoPrio::best_effort(7)), Ok(4));
    // The number alone is what was ignored.
    let mut context = context(1);
    let (submitter, mut reaper) = context.split();
    let file = zero();
    let mut byte = [1u8];
    for (iocb, accepted) in [
        (Iocb::pread(file.as_raw_fd(), byte.as_mut_ptr(), 1, 0).ioprio(unknown), false),
        (Iocb::pread(file.as_raw_fd(), byte.as_mut_ptr(), 1, 0), true),
    ] {
        let mut iocb = iocb;
        iocb.as_raw_mut().aio_reqprio = i16::MIN;
        // SAFETY: The byte and the file outlive the wait below.
        let submitted = unsafe { submitter.submit(&[&raw mut iocb]) };
        assert_eq!(submitted, if accepted { Ok(1) } else { Err(Errno::EINVAL) });
    }
    assert_eq!(reaper.wait(1, None, &mut room::<1>()).map(<[_]>::len), Ok(1));
}

// The assertion on EINTR is `signals_end_nothing_but_a_wait` above.

// ---- vmm-sys-util 0.15 ----

/// The defect: more than 65536 events were refused by the crate itself. Method: the numbers go to
/// the kernel: it makes the context or says which limit it met; and one wait takes room for more.
#[test]
fn more_than_65536_events_are_the_kernels_to_refuse() {
    let _watchdog = Watchdog::new();
    for count in [65_536, 65_537, 1 << 20] {
        match linux_aio::IoContext::new(count) {
            Ok(context) => drop(context),
            Err(error) => assert_eq!((error.errno(), error.asked()), (Errno::EAGAIN, count)),
        }
    }
    let mut context = context(4);
    let file = zero();
    let mut byte = [1u8];
    let mut iocb = Iocb::pread(file.as_raw_fd(), byte.as_mut_ptr(), 1, 0);
    for ring in [true, false] {
        context.use_ring(ring);
        let (submitter, mut reaper) = context.split();
        // SAFETY: The byte and the file outlive the wait below.
        assert_eq!(unsafe { submitter.submit(&[&raw mut iocb]) }, Ok(1));
        let mut events = vec![core::mem::MaybeUninit::uninit(); 70_000];
        assert_eq!(reaper.wait(1, None, &mut events).map(<[_]>::len), Ok(1));
    }
}

/// The defect: `submit` was a safe function over addresses. Here it is unsafe, which the program
/// `submit_without_unsafe` shows; and a dropped file or buffer cannot be submitted by safe ones,
/// as the other programs that must not compile show. Method: those programs are there.
#[test]
fn submitting_addresses_is_not_safe() {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile_fail");
    for name in ["submit_without_unsafe", "local_buffer_in_a_scope", "queue_of_borrowed_buffers"] {
        assert!(programs.join(name).with_extension("rs").exists(), "{name}");
    }
}

/// The defect: the layout was wrong on big-endian machines, where two fields change places; and in
/// doradb, pointers in iocb and io_event had another size on 32 bits. Method: offsets, and bytes.
#[test]
fn the_layout_is_the_kernels_on_every_machine() {
    assert_eq!((size_of::<iocb>(), size_of::<io_event>()), (64, 32));
    assert_eq!((size_of::<Iocb>(), align_of::<Iocb>()), (64, align_of::<u64>()));
    let (key, rw_flags) = (offset_of!(iocb, aio_key), offset_of!(iocb, aio_rw_flags));
    let expected = if cfg!(target_endian = "little") { (8, 12) } else { (12, 8) };
    assert_eq!((key, rw_flags), expected);
    let bytes = Iocb::fsync(0x0102_0304).user_data(7).to_bytes();
    assert_eq!(bytes[20..24], 0x0102_0304_u32.to_ne_bytes());
    assert_eq!(bytes[..8], 7_u64.to_ne_bytes());
    let wide = Iocb::pread(0, core::ptr::null_mut(), 5, 6).to_bytes();
    assert_eq!(
        (&wide[32..40], &wide[40..48]),
        (&5_u64.to_ne_bytes()[..], &6_i64.to_ne_bytes()[..])
    );
}

// ---- nc 0.9.8 ----

/// The defect: the address of a fat reference was passed, so that three iocbs were submitted as
/// one. Method: three, of which each does its own work.
#[test]
fn three_iocbs_are_submitted_as_three() {
    let _watchdog = Watchdog::new();
    let (_dir, _path, file) = file_with(b"abc");
    let mut context = context(4);
    let (submitter, mut reaper) = context.split();
    let mut bytes = [0u8; 3];
    let mut iocbs: Vec<Iocb> = (0..)
        .zip(&mut bytes)
        .map(|(i, byte)| Iocb::pread(file.as_raw_fd(), byte, 1, i).user_data(10 + i))
        .collect();
    let pointers: Vec<*mut Iocb> = iocbs.iter_mut().map(core::ptr::from_mut).collect();
    // SAFETY: The bytes and the file outlive the wait below and are not touched before.
    assert_eq!(unsafe { submitter.submit(&pointers) }, Ok(3));
    let mut events = room::<4>();
    let taken = reaper.wait(3, None, &mut events).expect("a wait");
    let mut data: Vec<u64> = taken.iter().map(linux_aio::IoEvent::user_data).collect();
    data.sort_unstable();
    assert_eq!((&data[..], &bytes), (&[10, 11, 12][..], b"abc"));
}

// ---- jsgf's libaio 0.0.1 ----

/// The defect: preadv and pwritev left the kernel a pointer to iovecs freed before the submission.
/// Method: vectored operations that wait in the queue and in a scope while memory is used again.
#[test]
fn iovecs_live_until_they_are_submitted() {
    fn use_memory_again() {
        for size in [16, 32, 64, 128, 256] {
            let filled: Vec<Vec<u8>> = (0..50).map(|_| vec![0xee; size]).collect();
            drop(core::hint::black_box(filled));
        }
    }
    struct Slices<'a>(Fd<'a>, Vec<IoSliceMut<'a>>);
    impl Operation for Slices<'_> {
        fn prepare(&mut self) -> Prepared<'_> {
            Prepared::readv(self.0, &mut self.1, 0)
        }
    }
    struct Out<'a>(Fd<'a>, Vec<IoSlice<'a>>);
    impl Operation for Out<'_> {
        fn prepare(&mut self) -> Prepared<'_> {
            Prepared::writev(self.0, &self.1, 0)
        }
    }
    let _watchdog = Watchdog::new();
    let (_dir, path, file) = file_with(b"");
    let file = Arc::new(file);
    let mut writes = queue(4);
    for i in 0..4 {
        let bufs = [vec![i; 10], vec![i + 100; 20]];
        writes.push(WriteV::new(Arc::clone(&file), bufs, u64::from(i) * 30)).expect("a slot");
    }
    use_memory_again();
    while let Some(done) = writes.wait().expect("a wait") {
        assert_eq!(done.result, Ok(30));
    }
    let expected: Vec<u8> =
        (0..4).flat_map(|i| [vec![i; 10], vec![i + 100; 20]].concat()).collect();
    assert_eq!(std::fs::read(&path).expect("the file"), expected);

    let mut reads = queue(1);
    reads.push(ReadV::new(Arc::clone(&file), [vec![9; 50], vec![9; 70]], 0)).expect("a slot");
    use_memory_again();
    let done = reads.wait().expect("a wait").expect("a completion");
    assert_eq!((done.result, done.op.bufs.concat()), (Ok(120), expected.clone()));

    let (mut low, mut high) = ([0u8; 50], [0u8; 70]);
    let mut context = context(1);
    // SAFETY: The file stays open to the end.
    let fd = unsafe { Fd::borrow_raw(file.as_raw_fd()) };
    let read = linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
        let parts = vec![IoSliceMut::new(&mut low), IoSliceMut::new(&mut high)];
        io.push(Slices(fd, parts)).map_err(drop).expect("a slot");
        use_memory_again();
        io.wait().expect("a wait").expect("a completion").result
    });
    assert_eq!((read, [&low[..], &high[..]].concat()), (Ok(Ok(120)), expected));
    let written = linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
        let parts = vec![IoSlice::new(&high), IoSlice::new(&low)];
        io.push(Out(fd, parts)).map_err(drop).expect("a slot");
        use_memory_again();
        io.wait().expect("a wait").expect("a completion").result
    });
    assert_eq!(written, Ok(Ok(120)));
    assert_eq!(std::fs::read(path).expect("the file"), [&high[..], &low[..]].concat());
}
