//! The kernel: RWF flags, one by one, on a file, and priorities.

use crate::common;

use common::files::{file_with, open, pattern, pipe};
use common::raw::{Context, iocb_of};
use common::{Watchdog, say_skipped};
use linux_aio::abi::{IOCB_FLAG_IOPRIO, IOCB_FLAG_RESFD, RWF_DSYNC, RWF_HIPRI, iocb};
use linux_aio::{Errno, Iocb, RwFlags};
use std::os::fd::AsRawFd;

/// What the kernel says, by the call or in the event.
fn result(context: &Context, iocb: Iocb) -> Result<u32, Errno> {
    context.submit(&mut [iocb_of(iocb)])?;
    linux_aio::IoEvent::from_raw(context.wait(1, 1)[0]).result()
}

/// Goal: bits above the known ones are EOPNOTSUPP from io_submit, for reads and writes, alone and
/// beside known ones; nothing is transferred.
#[test]
fn unknown_bits_are_eopnotsupp_from_the_call() {
    let _watchdog = Watchdog::new();
    let context = Context::new(4);
    let (_dir, path, file) = file_with(&pattern(64));
    let mut buf = [0u8; 64];
    let known = RwFlags::FLAGS.iter().fold(0, |bits, (_, flag)| bits | flag.bits());
    assert_eq!(known, 0x1ff);
    // The lowest bits above may be known to a kernel that is newer than this list.
    for bit in 16..31 {
        for flags in [1 << bit, 1 << bit | RWF_DSYNC] {
            let flags = RwFlags::from_bits_retain(flags);
            let fd = file.as_raw_fd();
            let read = Iocb::pread(fd, buf.as_mut_ptr(), 64, 0).rw_flags(flags);
            let write = Iocb::pwrite(fd, buf.as_ptr(), 64, 0).rw_flags(flags);
            for iocb in [read, write] {
                let submitted = context.submit(&mut [iocb_of(iocb)]);
                assert_eq!(submitted, Err(Errno::EOPNOTSUPP), "{flags:?}");
            }
        }
    }
    assert_eq!((buf, std::fs::read(path).expect("the file")), ([0; 64], pattern(64)));
}

/// Goal: two flags of each kind have the same value, which is why they are two types here.
#[test]
fn flags_of_the_iocb_and_of_the_transfer_have_the_same_values() {
    assert_eq!(RWF_HIPRI as u32, IOCB_FLAG_RESFD);
    assert_eq!(RWF_DSYNC as u32, IOCB_FLAG_IOPRIO);
}

/// Goal: every flag either works or is refused with an error that says so; never does one destroy
/// data. Method: each on a read and on a write of the same bytes; what this kernel says is printed.
#[test]
fn every_flag_works_or_is_refused() {
    let _watchdog = Watchdog::new();
    let context = Context::new(4);
    for &(name, flag) in RwFlags::FLAGS {
        let content = pattern(4096);
        let (_dir, path, file) = file_with(&content);
        let mut buf = vec![0u8; 4096];
        let fd = file.as_raw_fd();
        let read = result(&context, Iocb::pread(fd, buf.as_mut_ptr(), 4096, 0).rw_flags(flag));
        let write = result(&context, Iocb::pwrite(fd, content.as_ptr(), 4096, 0).rw_flags(flag));
        println!("{name}: read {read:?}, write {write:?}");
        for result in [read, write] {
            let fine =
                matches!(result, Ok(4096) | Err(Errno::EOPNOTSUPP | Errno::EINVAL | Errno::EAGAIN));
            assert!(fine, "{name}: {result:?}");
        }
        assert!(read.is_err() || buf == content);
        let after = std::fs::read(path).expect("the file");
        let appended = write.is_ok() && flag == RwFlags::APPEND;
        assert_eq!(after.len(), if appended { 8192 } else { 4096 }, "{name}");
        assert_eq!(after[..4096], content);
    }
}

/// Goal: APPEND goes to the end, and NOAPPEND honours the offset of a file opened with O_APPEND.
#[test]
fn append_and_noappend_decide_where() {
    let _watchdog = Watchdog::new();
    let context = Context::new(4);
    let (_dir, path, _file) = file_with(b"12345");
    let name = path.to_str().expect("a path of text");
    let (plain, appending) =
        (open(name, libc::O_WRONLY), open(name, libc::O_WRONLY | libc::O_APPEND));
    let write = |file: &std::fs::File, flags| {
        result(&context, Iocb::pwrite(file.as_raw_fd(), b"ab".as_ptr(), 2, 1).rw_flags(flags))
    };
    let content = || std::fs::read(&path).expect("the file");
    assert_eq!(write(&plain, RwFlags::empty()), Ok(2));
    assert_eq!(content(), b"1ab45");
    assert_eq!(write(&plain, RwFlags::APPEND), Ok(2));
    assert_eq!(content(), b"1ab45ab");
    assert_eq!(write(&appending, RwFlags::empty()), Ok(2));
    assert_eq!(content(), b"1ab45abab");
    match write(&appending, RwFlags::NOAPPEND) {
        Ok(2) => assert_eq!(content(), b"1ab45abab"),
        Err(Errno::EOPNOTSUPP) => say_skipped("this kernel has no NOAPPEND"),
        other => panic!("{other:?}"),
    }
    let both = write(&plain, RwFlags::APPEND | RwFlags::NOAPPEND);
    assert!(matches!(both, Err(Errno::EINVAL | Errno::EOPNOTSUPP)), "{both:?}");
    assert_eq!(content(), b"1ab45abab");
}

/// Goal: NOWAIT gives EAGAIN rather than blocking. Method: an empty pipe that would block without
/// end; where the kernel takes the flag for pipes at all.
#[test]
fn nowait_does_not_block_on_an_empty_pipe() {
    let _watchdog = Watchdog::new();
    let context = Context::new(4);
    let pipe = pipe(0);
    let mut byte = [0u8];
    let read = Iocb::pread(pipe.reader.as_raw_fd(), byte.as_mut_ptr(), 1, 0);
    let result = result(&context, read.rw_flags(RwFlags::NOWAIT));
    assert!(matches!(result, Err(Errno::EAGAIN | Errno::EOPNOTSUPP)), "{result:?}");
}

/// Goal: a priority counts only with its flag, and unknown classes are refused by the call.
#[test]
fn a_priority_counts_with_its_flag_alone() {
    let _watchdog = Watchdog::new();
    let context = Context::new(4);
    let (_dir, _path, file) = file_with(&pattern(64));
    let mut buf = [0u8; 64];
    let read = iocb_of(Iocb::pread(file.as_raw_fd(), buf.as_mut_ptr(), 64, 0));
    for class in 0..8_u16 {
        let prio = iocb { aio_reqprio: (class << 13 | 3) as i16, ..read };
        assert_eq!(context.submit(&mut [prio]), Ok(1), "class {class}, no flag");
        assert_eq!(context.wait(1, 1)[0].res, 64);
        let flagged = iocb { aio_flags: IOCB_FLAG_IOPRIO, ..prio };
        let submitted = context.submit(&mut [flagged]);
        println!("class {class}: {submitted:?}");
        match class {
            2 | 3 => assert_eq!(submitted, Ok(1)),
            1 => assert!(matches!(submitted, Ok(1) | Err(Errno::EPERM))),
            0 => assert!(matches!(submitted, Ok(1) | Err(Errno::EINVAL))),
            _ => assert_eq!(submitted, Err(Errno::EINVAL)),
        }
        if submitted == Ok(1) {
            assert_eq!(context.wait(1, 1)[0].res, 64);
        }
    }
}
