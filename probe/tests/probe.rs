//! What `probe` says is so, for the kernel, under filters, of files and directories; and asking
//! changes nothing, hangs nowhere and leaves nothing behind.
#[path = "../../tests/common/mod.rs"]
mod common;

use common::child::{Ended, in_child};
use common::files::{file_with, open_direct, pattern, pipe, scratch};
use common::filter::{self, aio_calls, filters_work};
use common::{Watchdog, is_root, skip};
use core::time::Duration;
use linux_aio::op::Read;
use linux_aio::{AlignedBuf, Errno, EventFd, Opcode, RwFlags, abi};
use linux_aio_probe::{
    self as probe, Access, Availability, Call, DirectIo, Directory, DirectoryError, FileKind,
    FlagSupport, Kernel, Note, RingAccess, Submit, Support, Untried, Unusable,
};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::thread;

// ---- with room in the system: a test that uses up fs.aio-max-nr may be running ----

/// Asks again where the system had no room for a context.
fn with_room<T>(mut ask: impl FnMut() -> T, why_not: impl Fn(&T) -> Option<Unusable>) -> T {
    for _ in 0..300 {
        let answer = ask();
        match why_not(&answer) {
            Some(Unusable::Setup(error)) if error.errno() == Errno::EAGAIN => {
                thread::sleep(Duration::from_millis(100));
            }
            _ => return answer,
        }
    }
    panic!("fs.aio-max-nr has been used up for half a minute");
}

fn kernel() -> Kernel {
    with_room(probe::kernel, |kernel| kernel.usable().err())
}

fn probe_file(fd: impl AsFd) -> probe::File {
    let ask = || probe::file(&fd).expect("an open file");
    with_room(ask, |file| match file.submit {
        Submit::Untried(Untried::NoAio(why)) => Some(why),
        _ => None,
    })
}

fn probe_directory(path: &Path) -> Result<Directory, DirectoryError> {
    let dir = File::open(path).expect("a directory");
    with_room(
        || probe::directory(&dir),
        |answer| match answer {
            Err(DirectoryError::NoAio(why)) => Some(*why),
            _ => None,
        },
    )
}

// ---- the kernel ----

/// Goal: on a kernel that runs these tests, the report says that everything is there. Method: the
/// other tests use all of it.
#[test]
fn everything_is_reported_that_this_kernel_has() {
    let kernel = kernel();
    assert_eq!(kernel.usable(), Ok(()));
    for call in Call::ALL {
        assert_eq!(kernel.call(call), Availability::There, "{call}");
    }
    for (name, opcode, support) in kernel.opcodes() {
        let expected = match opcode {
            Opcode::NOOP => Support::Refused(Errno::EINVAL),
            _ => Support::Accepted,
        };
        assert_eq!(support, expected, "{name}");
        assert_eq!(kernel.opcode(opcode), support);
    }
    assert_eq!(kernel.opcode(Opcode::from_raw(999)), Support::Unknown);
    let ring = kernel.ring.expect("a context was made");
    assert_eq!(ring.access, RingAccess::Direct);
    assert_eq!(ring.header.magic, abi::AIO_RING_MAGIC);
    assert!(ring.header.nr > 1, "{:?}", ring.header);
    assert!(!kernel.is_gvisor());
    let notes = kernel.notes();
    assert!(notes.iter().all(|note| matches!(note, Note::NearLimit(_))), "{notes:?}");
}

/// Goal: release and limit are those of the system. Method: compare with `/proc`.
#[test]
fn release_and_limit_are_those_of_proc() {
    let (Ok(release), Ok(limit)) = (
        std::fs::read_to_string("/proc/sys/kernel/osrelease"),
        std::fs::read_to_string("/proc/sys/fs/aio-max-nr"),
    ) else {
        skip!("/proc is not mounted");
    };
    let kernel = kernel();
    assert_eq!(kernel.release, release.trim_end());
    assert_eq!(kernel.usage.expect("/proc is there").limit.to_string(), limit.trim_end());
}

/// Goal: a flag is known since the release that brought it, also where no file at hand supports
/// it. Method: compare with the releases. (A distributor may have brought a flag to an older one.)
#[test]
fn a_flag_is_known_since_the_release_that_brought_it() {
    let kernel = kernel();
    let mut numbers = kernel.release.split(|other: char| !other.is_ascii_digit());
    let mut number = || numbers.next().and_then(|text| text.parse::<u32>().ok()).expect("a number");
    let release = (number(), number());
    let since = [
        (RwFlags::HIPRI, (4, 13)),
        (RwFlags::DSYNC, (4, 13)),
        (RwFlags::SYNC, (4, 13)),
        (RwFlags::APPEND, (4, 16)),
        (RwFlags::NOAPPEND, (6, 9)),
        // Since 4.14; decided for certain since 6.9.
        (RwFlags::NOWAIT, (6, 9)),
        (RwFlags::ATOMIC, (6, 11)),
        (RwFlags::DONTCACHE, (6, 14)),
        (RwFlags::NOSIGNAL, (6, 18)),
    ];
    for (flag, brought_by) in since {
        if release >= brought_by {
            assert_eq!(kernel.flags.of(flag), Support::Accepted, "{flag:?}");
        }
    }
    let unknown = kernel.flags.iter().filter(|(_, _, support)| *support == Support::Ignored);
    assert_eq!(unknown.count(), 0, "this kernel looks at flags");
}

/// Goal: the probe needs no file: it works in a container with nothing in it. Method: a child in
/// an empty root directory, without `/proc` and `/dev`.
#[test]
fn an_empty_container_is_enough() {
    if !is_root() {
        skip!("only root may change its root directory");
    }
    let empty = scratch();
    let (_dir, _path, file) = file_with(&pattern(8192));
    let ended = in_child(|| {
        std::os::unix::fs::chroot(empty.path()).expect("chroot");
        std::env::set_current_dir("/").expect("chdir");
        let kernel = kernel();
        assert_eq!(kernel.usable(), Ok(()));
        assert_eq!(kernel.usage, None);
        assert_eq!(kernel.opcode(Opcode::FSYNC), Support::Accepted);
        assert_eq!(probe_file(&file).submit, Submit::DoesTheWork);
        assert!(probe_directory(Path::new("/")).is_ok());
    });
    assert_eq!(ended, Ended::WELL);
}

// ---- under a filter ----

/// The numbers that a filter must refuse to take a call away.
fn numbers_of(call: Call) -> Vec<u32> {
    let is_it = |name: &str| name.strip_suffix("_time64").unwrap_or(name) == call.name();
    let numbers: Vec<u32> =
        aio_calls().into_iter().filter(|(name, _)| is_it(name)).map(|(_, number)| number).collect();
    assert!(!numbers.is_empty() || cfg!(target_arch = "riscv32"), "{call}");
    numbers
}

/// What the probe must say of a call that a filter answers with an error.
fn expected(errno: Errno) -> Availability {
    if errno == Errno::ENOSYS { Availability::Missing } else { Availability::Filtered(errno) }
}

/// Goal: a filter is found, by call and by answer, and whether AIO is usable without that call; the
/// rest is asked all the same. Method: each call refused with each of three errors, in a child.
#[test]
fn a_call_that_a_filter_refuses_is_named() {
    if !filters_work() {
        skip!("this kernel takes no seccomp filters");
    }
    for call in Call::ALL {
        for errno in [Errno::EPERM, Errno::ENOSYS, Errno::EACCES] {
            let ended = in_child(|| {
                filter::install(&numbers_of(call), filter::errno(errno.as_raw()));
                check_report_without(call, expected(errno));
            });
            assert_eq!(ended, Ended::WELL, "{call} refused with {errno:?}");
        }
    }
}

fn check_report_without(missing: Call, why: Availability) {
    let kernel = kernel();
    for call in Call::ALL {
        let there = if call == missing { why } else { Availability::There };
        assert_eq!(kernel.call(call), there, "{call}");
    }
    let text = kernel.to_string();
    assert!(text.contains(&format!("{missing} is {why}")), "{text}");
    match missing {
        Call::IoCancel | Call::IoPgetevents => {
            assert_eq!(kernel.usable(), Ok(()));
            let notes = kernel.notes();
            let expected = match missing {
                Call::IoCancel => Note::NoCancel(why),
                _ => Note::NoMaskedWait(why),
            };
            assert!(notes.contains(&expected), "{notes:?}");
            assert_eq!(kernel.opcode(Opcode::PREAD), Support::Accepted);
        }
        // 32-bit targets wait by the other call.
        Call::IoGetevents if cfg!(target_pointer_width = "32") => {}
        _ => {
            assert_eq!(kernel.usable(), Err(Unusable::Call(missing, why)));
            assert_eq!(kernel.opcode(Opcode::PREAD), Support::Unknown);
            assert_eq!(kernel.flags.of(RwFlags::DSYNC), Support::Unknown);
        }
    }
}

/// Goal: without AIO a file is described all the same, and a directory says why not. Method: a
/// child in which every AIO call is refused.
#[test]
fn without_aio_a_file_is_still_described() {
    if !filters_work() {
        skip!("this kernel takes no seccomp filters");
    }
    let (dir, _path, file) = file_with(&pattern(8192));
    let ended = in_child(|| {
        let calls: Vec<u32> = aio_calls().into_iter().map(|(_, number)| number).collect();
        filter::install(&calls, filter::errno(libc::EPERM));
        let why = Unusable::Call(Call::IoSetup, Availability::Filtered(Errno::EPERM));
        let report = probe::file(&file).expect("an open file");
        assert_eq!((report.kind, report.size), (FileKind::Regular, Some(8192)));
        assert_eq!(report.submit, Submit::Untried(Untried::NoAio(why)));
        let error = probe_directory(dir.path()).unwrap_err();
        assert_eq!(error, DirectoryError::NoAio(why));
        assert!(error.to_string().contains("allow io_setup in the seccomp profile"), "{error}");
    });
    assert_eq!(ended, Ended::WELL);
}

/// Goal: where the helpers of the probe are refused too, it says less, and nothing wrong. Method: a
/// child without `memfd_create`, `statx` and `fstatfs`.
#[test]
fn without_its_helpers_the_probe_says_less() {
    if !filters_work() {
        skip!("this kernel takes no seccomp filters");
    }
    let (_dir, _path, file) = file_with(&pattern(8192));
    let ended = in_child(|| {
        let helpers = [
            libc::SYS_memfd_create as u32,
            libc::SYS_statx as u32,
            libc::SYS_fstatfs as u32,
            #[cfg(target_pointer_width = "32")]
            (libc::SYS_fstatfs64 as u32),
        ];
        filter::install(&helpers, filter::errno(libc::EPERM));
        let kernel = kernel();
        assert_eq!(kernel.usable(), Ok(()));
        if Path::new("/dev/zero").exists() {
            assert_eq!(kernel.opcode(Opcode::PREAD), Support::Accepted);
        }
        assert_eq!(kernel.opcode(Opcode::FSYNC), Support::Unknown);
        let report = probe_file(&file);
        assert_eq!(report.direct_io, DirectIo::Unreported);
        assert_eq!(report.file_system, None);
        assert_eq!(report.submit, Submit::Untried(Untried::UnknownFileSystem));
    });
    assert_eq!(ended, Ended::WELL);
}

// ---- files ----

fn open(path: &Path, flags: i32) -> File {
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    opened.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The two ends of a terminal.
fn terminal() -> Option<(OwnedFd, OwnedFd)> {
    let (mut ours, mut theirs) = (-1, -1);
    let (name, modes, size) = (core::ptr::null_mut(), core::ptr::null(), core::ptr::null());
    // SAFETY: The first two are valid for writes, and the others may be null.
    if unsafe { libc::openpty(&raw mut ours, &raw mut theirs, name, modes, size) } < 0 {
        return None;
    }
    // SAFETY: The kernel has just made it, and nobody else has it.
    let ours = unsafe { OwnedFd::from_raw_fd(ours) };
    // SAFETY: As above.
    Some((ours, unsafe { OwnedFd::from_raw_fd(theirs) }))
}

fn eventfd(flags: i32) -> OwnedFd {
    // SAFETY: Two numbers.
    let fd = unsafe { libc::eventfd(0, flags) };
    assert!(fd >= 0, "eventfd: {}", std::io::Error::last_os_error());
    // SAFETY: The kernel has just made it, and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Goal: what could keep `io_submit` for ever is recognised, and nothing is submitted to it; nor to
/// anything else where a read may have effects. Method: a child that is killed when it submits.
#[test]
fn nothing_is_submitted_where_that_may_never_return() {
    let _watchdog = Watchdog::new();
    let mut blocking = pipe(0);
    let nonblocking = pipe(libc::O_NONBLOCK);
    let (stream, _other_end) = UnixStream::pair().expect("sockets");
    let (datagram, _other_end2) = UnixDatagram::pair().expect("sockets");
    datagram.set_nonblocking(true).expect("a socket");
    let (counter, our_counter) = (eventfd(0), EventFd::new().expect("a counter"));
    let terminal = terminal();
    blocking.put(7);
    let ended = in_child(|| {
        if filters_work() {
            filter::install(&numbers_of(Call::IoSubmit), filter::KILL);
        }
        let expect = |fd: BorrowedFd<'_>, kind, submit| {
            let report = probe::file(fd).expect("an open file");
            assert_eq!((report.kind, report.submit), (kind, submit));
            assert_eq!(report.flags.of(RwFlags::DSYNC), Support::Unknown);
            report
        };
        let (waits, gives_eagain) = (Submit::MayNeverReturn, Submit::NeverWaits);
        let text = expect(blocking.reader.as_fd(), FileKind::Pipe, waits).to_string();
        assert!(text.contains("MAY NEVER RETURN") && text.contains("O_NONBLOCK"), "{text}");
        expect(blocking.writer.as_fd(), FileKind::Pipe, waits);
        expect(nonblocking.reader.as_fd(), FileKind::Pipe, gives_eagain);
        expect(stream.as_fd(), FileKind::Socket, waits);
        expect(datagram.as_fd(), FileKind::Socket, gives_eagain);
        expect(counter.as_fd(), FileKind::Anonymous, waits);
        expect(our_counter.as_fd(), FileKind::Anonymous, gives_eagain);
        if let Some((ours, theirs)) = &terminal {
            expect(ours.as_fd(), FileKind::Terminal, waits);
            expect(theirs.as_fd(), FileKind::Terminal, waits);
        }
        for (path, kind, why) in [
            ("/proc/self/mem", FileKind::Regular, Untried::Interface),
            ("/sys/kernel/notes", FileKind::Regular, Untried::Interface),
            ("/dev/urandom", FileKind::CharacterDevice, Untried::Device),
        ] {
            if let Ok(file) = File::open(path) {
                expect(file.as_fd(), kind, Submit::Untried(why));
            }
        }
    });
    assert_eq!(ended, Ended::WELL);
    let mut byte = [0; 1];
    blocking.reader.read_exact(&mut byte).expect("the byte is still there");
    assert_eq!(byte, [7]);
}

/// Goal: kind, way of opening and the answer of `io_submit` are right for what can be tried.
#[test]
fn what_a_descriptor_is_open_for_is_said() {
    let (dir, path, file) = file_with(&pattern(8192));
    let report = probe_file(&file);
    assert_eq!((report.kind, report.access), (FileKind::Regular, Access::ReadWrite));
    assert_eq!((report.size, report.direct, report.append), (Some(8192), false, false));
    assert_eq!(report.submit, Submit::DoesTheWork);
    assert_eq!(report.flags.of(RwFlags::DSYNC), Support::Accepted);

    let write_only = OpenOptions::new().append(true).open(&path).expect("a file");
    let report = probe_file(&write_only);
    assert_eq!((report.access, report.append), (Access::Write, true));
    assert_eq!(report.submit, Submit::DoesTheWork);
    assert_eq!(report.flags.of(RwFlags::DSYNC), Support::Accepted);

    let flags = rustix::fs::OFlags::PATH;
    // Not by `std`, which with musl takes `O_PATH` out of the flags.
    let path_only = rustix::fs::open(&path, flags, rustix::fs::Mode::empty()).expect("a file");
    let report = probe_file(path_only);
    assert_eq!((report.kind, report.access), (FileKind::Regular, Access::Neither));
    assert_eq!(report.submit, Submit::Refused(Errno::EBADF));

    let report = probe_file(open(dir.path(), 0));
    assert_eq!(report.kind, FileKind::Directory);
    assert!(matches!(report.submit, Submit::Refused(Errno::EINVAL | Errno::EISDIR)), "{report}");

    if let Ok(zero) = File::open("/dev/zero") {
        let report = probe_file(zero);
        assert_eq!((report.kind, report.submit), (FileKind::NullDevice, Submit::DoesTheWork));
    }
}

/// Goal: a descriptor that is not open is an error, and no worse.
#[test]
fn a_descriptor_that_is_not_open_is_ebadf() {
    for number in [i32::MAX, 1_000_000] {
        // SAFETY: Nothing is open under such a number, so no file of anybody's is touched.
        let nothing = unsafe { BorrowedFd::borrow_raw(number) };
        assert_eq!(probe::file(nothing), Err(Errno::EBADF));
        let error = DirectoryError::TemporaryFile(Errno::EBADF);
        assert_eq!(probe::directory(nothing), Err(error));
    }
}

/// Goal: reads through `O_DIRECT` are measured where that is possible, and it is said why not where
/// it is not; the alignment that is reported is enough.
#[test]
fn reads_through_o_direct_are_measured() {
    let (dir, path, file) = file_with(&pattern(65536));
    file.sync_all().expect("fsync");
    let Some(direct) = open_direct(&path) else {
        skip!("the file system has no O_DIRECT");
    };
    let report = probe_file(&direct);
    let Submit::Measured(tally) = report.submit else { panic!("{report}") };
    assert!(report.direct);
    assert_eq!((tally.tried, tally.error), (8, None));
    assert_eq!(tally.ended_in_submit + tally.ended_later + tally.would_wait, 8);
    assert!(tally.is_asynchronous().is_some());

    let align = report.direct_io.memory();
    let (at, len) = (report.direct_io.offset(), report.direct_io.offset());
    let mut buf = AlignedBuf::with_alignment(align + len, align.max(4096)).expect("memory");
    let mut context = common::context(1);
    let result = linux_aio::scope(&mut context, &mut [const { linux_aio::Slot::new() }; 1], |io| {
        io.push(Read::new(&direct, &mut buf[align..][..len], at as u64)).expect("a free slot");
        io.wait().expect("a wait").expect("one completion").result
    });
    assert_eq!(result, Ok(Ok(len as u32)));

    let mut options = OpenOptions::new();
    let write_only = options.write(true).custom_flags(libc::O_DIRECT).open(&path).expect("a file");
    assert_eq!(probe_file(&write_only).submit, Submit::Untried(Untried::NotReadable));
    let empty = dir.path().join("empty");
    File::create(&empty).expect("a file");
    assert_eq!(probe_file(open(&empty, libc::O_DIRECT)).submit, Submit::Untried(Untried::Empty));
}

/// Goal: asking changes nothing of a file: content, size, times of writing, blocks, position, flags
/// of the descriptor, pages in memory. Method: compare before and after, for each way of opening.
#[test]
fn asking_changes_nothing_of_a_file() {
    let content = pattern(200_000);
    let (_dir, path, mut file) = file_with(&content);
    file.sync_all().expect("fsync");
    let state = |file: &File| {
        let meta = file.metadata().expect("fstat");
        let modified = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
        // SAFETY: Asks for flags.
        let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) };
        (meta.len(), meta.blocks(), modified, flags)
    };
    file.seek(SeekFrom::Start(12_345)).expect("a position");
    let mut files = vec![file, open(&path, 0)];
    files.extend(open_direct(&path));
    files.push(OpenOptions::new().append(true).open(&path).expect("a file"));
    for file in &mut files {
        let (before, resident) = (state(file), resident_pages(&path));
        let position = file.stream_position().expect("a position");
        probe_file(&*file);
        assert_eq!(state(file), before);
        assert_eq!(file.stream_position().expect("a position"), position);
        assert!(resident_pages(&path) >= resident, "pages were evicted");
    }
    assert_eq!(std::fs::read(&path).expect("a file"), content);
}

/// How many pages of a file are in memory.
fn resident_pages(path: &Path) -> usize {
    let file = File::open(path).expect("a file");
    let len = file.metadata().expect("fstat").len() as usize;
    let (shared, readable, fd) = (libc::MAP_SHARED, libc::PROT_READ, file.as_raw_fd());
    // SAFETY: A new mapping at an address of the kernel's choice.
    let start = unsafe { libc::mmap(core::ptr::null_mut(), len, readable, shared, fd, 0) };
    assert_ne!(start, libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
    let mut pages = vec![0_u8; len.div_ceil(4096)];
    // SAFETY: The mapping has `len` bytes, and `pages` a byte for each page, which is 4096 bytes or
    // more.
    let asked = unsafe { libc::mincore(start, len, pages.as_mut_ptr()) };
    assert_eq!(asked, 0, "mincore: {}", std::io::Error::last_os_error());
    // SAFETY: The mapping is ours, and nothing refers to it.
    unsafe { libc::munmap(start, len) };
    pages.into_iter().filter(|page| page & 1 == 1).count()
}

/// Goal: neither a file nor the kernel is asked by a write of even one byte. Method: a child that
/// may write nothing and dies by a signal if it does.
#[test]
fn a_process_that_may_write_no_byte_can_ask() {
    let (_dir, path, file) = file_with(&pattern(8192));
    let direct = open_direct(&path);
    let ended = in_child(|| {
        let nothing = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: The limit lives during the call.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const nothing) }, 0);
        assert_eq!(kernel().opcode(Opcode::PWRITE), Support::Accepted);
        assert_eq!(probe_file(&file).submit, Submit::DoesTheWork);
        if let Some(direct) = &direct {
            assert!(matches!(probe_file(direct).submit, Submit::Measured(_)));
        }
    });
    assert_eq!(ended, Ended::WELL);
}

/// Goal: the process keeps its record locks on a file that is probed. Closing any descriptor of
/// the file would lose them. Method: a child asks whether it could have the lock.
#[test]
fn record_locks_survive_the_probe() {
    let (_dir, _path, file) = file_with(&pattern(8192));
    // SAFETY: All zero is a lock of the whole file.
    let mut lock: libc::flock = unsafe { core::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as _;
    // SAFETY: The lock lives during the call.
    let locked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &raw const lock) };
    assert_eq!(locked, 0, "F_SETLK: {}", std::io::Error::last_os_error());
    probe_file(&file);
    let ended = in_child(|| {
        // SAFETY: The lock is valid for reads and writes.
        let asked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &raw mut lock) };
        assert_eq!((asked, lock.l_type), (0, libc::F_WRLCK as _));
    });
    assert_eq!(ended, Ended::WELL);
}

// ---- directories ----

fn names_in(dir: &Path) -> Vec<OsString> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    entries.map(|entry| entry.expect("an entry").file_name()).collect()
}

/// Goal: writes are measured, agree with what the file system does, and leave nothing behind.
/// Method: a directory of the build's file system, and one in memory.
#[test]
fn writes_are_measured_and_nothing_is_left() {
    let mut directories = vec![scratch()];
    directories.extend(tempfile::tempdir_in("/dev/shm"));
    for dir in &directories {
        let report = probe_directory(dir.path()).unwrap_or_else(|error| panic!("{error}"));
        assert!(names_in(dir.path()).is_empty(), "{:?}", names_in(dir.path()));
        let writes = &report.buffered;
        for tally in [writes.extending, writes.overwriting] {
            assert_eq!((tally.tried, tally.error), (4, None), "{report}");
            assert_eq!(tally.ended_in_submit + tally.ended_later, 4, "{report}");
        }
        assert_eq!((writes.fsync, writes.fdsync), (Support::Accepted, Support::Accepted));
        let simple = RwFlags::DSYNC | RwFlags::SYNC | RwFlags::APPEND;
        assert_eq!(writes.flags.of(simple), Support::Accepted, "{report}");

        let name = dir.path().join("file");
        std::fs::write(&name, pattern(8192)).expect("a file");
        let direct = open_direct(&name);
        assert_eq!(report.direct.is_ok(), direct.is_some(), "{report}");
        if let Some(file) = direct {
            let found =
                (report.memory_found.expect("a read"), report.offset_found.expect("a read"));
            let (memory, offset) = (report.direct_io.memory(), report.direct_io.offset());
            assert!(found.0 as usize <= memory && found.1 as usize <= offset, "{report}");
            assert_eq!(probe_file(&file).file_system, report.file_system);
        }
    }
}

/// Goal: a directory that cannot be used says why, and what to do. Method: a file, a directory that
/// is gone, and one without permission.
#[test]
fn a_directory_that_cannot_be_used_says_why() {
    let (dir, path, _file) = file_with(b"content");
    let error = probe_directory(&path).unwrap_err();
    assert!(error.to_string().contains("not a directory"), "{error}");

    let gone = scratch();
    let open_still = File::open(gone.path()).expect("a directory");
    drop(gone);
    let error = probe::directory(&open_still).unwrap_err();
    assert_eq!(error, DirectoryError::TemporaryFile(Errno::ENOENT));

    if is_root() {
        skip!("root may write everywhere: EACCES cannot be shown");
    }
    let read_only = std::os::unix::fs::PermissionsExt::from_mode(0o500);
    std::fs::set_permissions(dir.path(), read_only).expect("permissions");
    let error = probe_directory(dir.path()).unwrap_err();
    assert_eq!(error, DirectoryError::TemporaryFile(Errno::EACCES));
    assert!(error.to_string().contains("permission"), "{error}");
}

/// Goal: of several flags, one that is refused counts.
#[test]
fn flags_are_asked_together() {
    let flags: FlagSupport = kernel().flags;
    let known = flags.iter().filter(|(_, _, support)| support.is_accepted());
    let all_known = known.fold(RwFlags::empty(), |all, (_, flag, _)| all | flag);
    assert_eq!(flags.of(all_known), Support::Accepted);
    assert!(all_known.contains(RwFlags::DSYNC | RwFlags::SYNC), "{flags}");
}
