//! What chains of errors say, as `anyhow` and others print them: a text, and those of its sources.

use crate::common;

use common::files::{file_with, pipe};
use common::held::HeldFile;
use common::{Watchdog, context, queue, skip};
use linux_aio::op::{Poll, Write};
use linux_aio::{
    AlignedBuf, BufferPool, Driver, Errno, File, IoContext, Iocb, PollEvents, PoolError, Queue,
    ScopeError, Slot,
};
use linux_aio_probe::{Availability, Call, DirectoryError, Unusable};
use smol::future::block_on;
use std::collections::BTreeSet;
use std::error::Error;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

/// Checks that no error of a chain has in its text what a source of it says.
fn assert_no_echo(error: &(dyn Error + 'static)) {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        let echo = texts.iter().find(|above| above.contains(&text));
        assert!(echo.is_none(), "{echo:?} says what its source says: {text:?}");
        texts.push(text);
        source = error.source();
    }
}

/// Checks the error by itself, and as an `io::Error`, which has the errno.
fn check<E: Error + Clone + Into<io::Error> + 'static>(error: E, errno: Errno) {
    assert_no_echo(&error);
    check_io(&error.into(), errno);
}

fn check_io(error: &io::Error, errno: Errno) {
    assert_no_echo(error);
    assert_eq!(Errno::from_io_error(error), Some(errno), "{error}");
    assert_eq!(error.kind(), io::Error::from(errno).kind(), "{error}");
    let names_it = error.to_string().contains(&format!("{errno:?}"));
    assert!(names_it || error.raw_os_error().is_some(), "{error}");
}

/// Goal: no error says twice what went wrong, and each names its errno. Method: an error of each
/// type; the next test says that none is missing. (`CallError` and `SetupError` have tests of each
/// errno beside them.)
#[test]
fn no_error_says_what_its_source_says() {
    let _watchdog = Watchdog::new();
    check(Errno::ENOSPC, Errno::ENOSPC);
    for errno in [Errno::EINVAL, Errno::EIO, Errno::FORKED] {
        check(Iocb::fsync(3).diagnose(errno), errno);
    }
    check(ScopeError::InFlight(2), Errno::EBUSY);
    check(ScopeError::Forked, Errno::FORKED);
    check(IoContext::new(0).expect_err("nothing"), Errno::EINVAL);
    check(PoolError::Memory(Errno::ENOMEM), Errno::ENOMEM);
    let pool = BufferPool::new(0, 1, 1).expect_err("no buffers");
    assert_no_echo(&pool);

    let mut polls = queue(1);
    let pipe = pipe(libc::O_NONBLOCK);
    let reader = Arc::new(pipe.reader);
    let poll = || Poll::new(Arc::clone(&reader), PollEvents::IN);
    polls.push(poll()).expect("a slot");
    let full = polls.push(poll()).expect_err("no slot");
    assert_no_echo(&full);
    check_io(&full.into(), Errno::EAGAIN);
    let timed = polls.wait_timeout(Duration::from_millis(1)).expect_err("nobody writes");
    check(timed, Errno::ETIMEDOUT);

    // An operation that the queue does not know.
    let (zero, mut buf) = (fs::File::open("/dev/zero").expect("/dev/zero"), [1; 8]);
    let mut iocb = Iocb::pread(zero.as_raw_fd(), buf.as_mut_ptr(), buf.len(), 0);
    let mut busy = context(1);
    // SAFETY: The iocb, the buffer and the file outlive the context, which the conversion drops.
    assert_eq!(unsafe { busy.split().0.submit(&[&raw mut iocb]) }, Ok(1));
    let refused = Queue::<Poll<fs::File>>::new(busy, 1).expect_err("an operation is in flight");
    assert_no_echo(&refused);
    check_io(&refused.into(), Errno::EBUSY);

    let mut none: [Slot<Write<&fs::File, &[u8]>>; 0] = [];
    let refused = linux_aio::scope(&mut context(1), &mut none, |io| {
        io::Error::from(io.push(Write::new(&zero, b"text", 0)).expect_err("there is no slot"))
    });
    check_io(&refused.expect("a fresh context"), Errno::EAGAIN);

    let filtered = Availability::Filtered(Errno::EPERM);
    let setup = IoContext::new(0).expect_err("nothing");
    let unusable = [
        (Unusable::Call(Call::IoSetup, filtered), Errno::EPERM),
        (Unusable::Setup(setup), Errno::EINVAL),
        (Unusable::Memory(Errno::ENOMEM), Errno::ENOMEM),
        (Unusable::Read(Errno::EACCES), Errno::EACCES),
    ];
    for (error, errno) in unusable {
        check(error, errno);
        check(DirectoryError::NoAio(error), errno);
    }
    check(DirectoryError::TemporaryFile(Errno::EROFS), Errno::EROFS);
}

/// Goal: the same of what drivers and files give.
#[test]
fn no_error_of_a_driver_or_file_says_what_its_source_says() {
    let _watchdog = Watchdog::new();
    let driver = Driver::on_thread(4).expect("a driver");
    let pipe = pipe(libc::O_NONBLOCK);
    let poll = driver.perform(Poll::new(pipe.reader, PollEvents::IN));
    let late = block_on(poll.timeout(Duration::from_millis(1))).expect_err("nobody writes");
    assert_no_echo(&late);
    check_late(&late.into());

    let missing = block_on(File::open(&driver, "/nowhere/at all")).expect_err("no file");
    check_io(&missing, Errno::ENOENT);
    let text = "open of /nowhere/at all: ENOENT: no such file or directory";
    assert_eq!(format!("{:#}", anyhow::Error::from(missing)), text);

    let (_directory, path, _) = file_with(&[7; 100]);
    let file = block_on(File::open(&driver, &path)).expect("a file");
    let error = block_on(file.set_len(5)).expect_err("not open to write");
    check_io(&error, Errno::EINVAL);
    let (result, _) = block_on(file.write_all_at(*b"text", 0));
    check_io(&result.expect_err("not open to write"), Errno::EBADF);
    let (result, _) = block_on(file.read_exact_at([0; 8], 96));
    assert_no_echo(&result.expect_err("4 bytes"));
    let beyond = file.read_ranges(vec![90..110, 0..1]).expect_err("10 bytes");
    assert_no_echo(&beyond);
    let mut writer = file.writer(0);
    let error = block_on(async {
        writer.write_all(b"some bytes").await?;
        writer.finish().await
    });
    check_io(&error.expect_err("not open to write"), Errno::EBADF);

    let write_only = fs::OpenOptions::new().write(true).open(&path).expect("a file");
    let file = File::from_std(write_only, &driver).expect("a file");
    let mut ranges = file.read_ranges(vec![0..10, 20..30]).expect("a range");
    let error = block_on(ranges.next_range()).expect_err("not open to read");
    check_io(&error, Errno::EBADF);
}

/// Goal: the same where a disk never answers. Method: a file that a FUSE server holds back.
#[test]
fn no_error_of_a_deadline_says_what_its_source_says() {
    let _watchdog = Watchdog::new();
    let mut held = match HeldFile::new() {
        Ok(held) => held,
        Err(reason) => skip!("{reason}"),
    };
    let driver = Driver::on_thread(4).expect("a driver");
    let copy = held.file().try_clone().expect("a descriptor");
    let file = File::from_std(copy, &driver).expect("a file");
    let soon = Duration::from_millis(20);
    let buf = AlignedBuf::with_alignment(4096, 4096).expect("memory");
    check_late(&block_on(file.with_deadline(soon).read_at(buf, 0)).expect_err("it is held"));
    let unfinished = block_on(driver.close_within(soon)).expect_err("it is held");
    assert_no_echo(&unfinished);
    check_late(&unfinished.into());
    held.release();
}

/// Goal: no type of errors is forgotten above. Method: what the sources declare is compared.
#[test]
fn every_type_of_errors_is_checked() {
    const CHECKED: &[&str] = &[
        "CallError",
        "Diagnosis",
        "DirectoryError",
        "Errno",
        "Explained",
        "Late",
        "PoolError",
        "PushError",
        "QueueError",
        "ScopeError",
        "SetupError",
        "ThreadError",
        "TimedOut",
        "UnexpectedEnd",
        "Unfinished",
        "Unusable",
        "WriterError",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    let mut folders: Vec<_> = ["src", "raw/src", "probe/src"].map(|name| root.join(name)).into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).expect("a source");
            for line in text.lines().filter(|line| line.starts_with("impl")) {
                if let Some((_, name)) = line.split_once("Error for ") {
                    let is_trait = line.contains(" Error for") || line.contains("error::Error for");
                    let name = name.split(['<', ' ']).next().expect("a name");
                    found.extend(is_trait.then(|| name.to_owned()));
                }
            }
        }
    }
    assert!(found.iter().eq(CHECKED), "{found:#?}");
}

/// Errors of deadlines have no errno in their text, which is for people.
fn check_late(error: &io::Error) {
    assert_no_echo(error);
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(Errno::from_io_error(error), Some(Errno::ETIMEDOUT));
}
