//! What is printed: each cause and each kind has a text of its own that names what it is about, and
//! no error loses its number on the way to another error type.

use crate::common;

use common::texts::{assert_distinct, assert_names};
use common::{Watchdog, context, queue};
use linux_aio::op::{Callback, Fsync, Poll, Read};
use linux_aio::{
    AlignedBuf, Driver, Errno, EventFd, Fd, IoContext, IoPrio, Iocb, Opcode, PollEvents, Queue,
    RwFlags, Scope, ScopeError, Slot,
};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

/// Errors that carry more than a number still give it. (`tests/api/diagnose.rs` has the others.)
#[test]
fn errors_keep_their_number_on_the_way() {
    assert_names(&ScopeError::InFlight(3), &["3 operations", "reap"]);
    assert_names(&ScopeError::Forked, &["fork"]);
    assert_eq!(io::Error::from(Errno::FORKED).kind(), io::ErrorKind::InvalidInput);

    let setup = IoContext::new(0).expect_err("a context for nothing");
    assert_eq!(Errno::from(setup), Errno::EINVAL);
    assert_eq!(io::Error::from(setup).to_string(), setup.to_string());
    for number in [1, 11, 133, 4095] {
        let errno = Errno::from_raw(number).expect("a number of an error");
        assert_eq!(rustix::io::Errno::from(errno).raw_os_error(), number);
        assert_eq!(Errno::from(rustix::io::Errno::from(errno)), errno);
    }
    let unnamed = Errno::from_raw(4095).expect("a number of an error");
    assert_eq!(
        (unnamed.to_string(), format!("{unnamed:?}")),
        ("errno 4095".into(), "Errno(4095)".into())
    );
}

/// The flags and opcodes say their names; what has none, its number.
#[test]
fn flags_and_opcodes_are_printed_by_name() {
    let opcodes = (0..=9).map(Opcode::from_raw).collect::<Vec<_>>();
    assert_distinct(&opcodes, |opcode| format!("{opcode:?}"));
    assert_eq!(format!("{:?} {:?}", Opcode::FDSYNC, Opcode::from_raw(99)), "FDSYNC Opcode(99)");
    let prios = [
        IoPrio::default(),
        IoPrio::from_raw(1 << 13),
        IoPrio::from_raw(2 << 13 | 4),
        IoPrio::from_raw(3 << 13),
        IoPrio::from_raw(-1),
    ];
    assert_distinct(&prios, |prio| format!("{prio:?}"));
    assert_eq!(format!("{:?}", prios[2]), "IoPrio(best effort 4)");

    let mut flags = RwFlags::NOWAIT;
    flags |= RwFlags::SYNC;
    assert!(flags.contains(RwFlags::NOWAIT) && flags.contains(RwFlags::SYNC));
    let mut events = PollEvents::IN;
    events |= PollEvents::OUT;
    assert!(events.contains(PollEvents::IN) && events.contains(PollEvents::OUT));
}

/// What owns memory shows where it is and not what is in it; what is in use shows how much.
#[test]
fn debug_forms_show_state_and_no_content() {
    let _watchdog = Watchdog::new();
    let zero = Arc::new(File::open("/dev/zero").expect("/dev/zero"));
    let mut buf = AlignedBuf::new(4096).expect("memory");
    buf.fill(b'!');
    let text = format!("{buf:?}");
    assert!(text.contains("len: 4096") && !text.contains("33, 33"), "{text}");

    let iocb = Iocb::pread(3, core::ptr::without_provenance_mut(0x1000), 512, 1024).user_data(7);
    assert_eq!(Iocb::from_bytes(iocb.to_bytes()).as_raw(), iocb.as_raw());
    assert_names(
        &format!("{iocb:?}"),
        &["PREAD", "fd: 3", "0x1000", "512", "1024", "user_data: 7"],
    );
    // SAFETY: The file is open until the end of the test.
    let fd = unsafe { Fd::borrow_raw(zero.as_raw_fd()) };
    assert_eq!(format!("{fd:?}"), format!("Fd({})", zero.as_raw_fd()));

    type Called = Callback<Fsync<Arc<File>>, u32>;
    let mut queue: Queue<Called> = queue(2);
    let callback = Callback::new(Fsync::new(Arc::clone(&zero)), 41, |_, _| {});
    assert_names(&format!("{callback:?}"), &["Fsync", "41"]);
    queue.push(callback).map_err(|refused| refused.errno()).expect("a slot");
    assert_names(&format!("{queue:?}"), &["capacity: 2", "queued: 1", "in_flight: 0"]);

    linux_aio::scope(&mut context(1), &mut [Slot::default()], |io: &Scope<Box<Poll<&File>>>| {
        // A boxed operation is an operation.
        io.push(Box::new(Poll::new(&zero, PollEvents::IN))).expect("a slot");
        assert_names(&format!("{io:?}"), &["capacity: 1", "queued: 1", "in_flight: 0"]);
    })
    .expect("a fresh context");
    assert!(format!("{:?}", Slot::<Read<File, Vec<u8>>>::new()).contains("tag"));

    let driver = Driver::on_thread(1).expect("a driver");
    assert_names(&format!("{driver:?}"), &["outstanding: 0"]);
    let mut future = driver.perform(Read::new(zero, vec![0; 8], 0));
    assert_names(&format!("{future:?}"), &["new"]);
    let (result, _) = smol::block_on(&mut future);
    assert_eq!(result, Ok(8));
    assert_names(&format!("{future:?}"), &["finished"]);
    assert_names(&format!("{:?}", driver.close()), &["Close"]);
}

/// An eventfd can be given to whoever wants a descriptor, who closes it.
#[test]
fn an_eventfd_becomes_a_descriptor() {
    let eventfd = EventFd::new().expect("a descriptor");
    eventfd.add(3).expect("room");
    let number = eventfd.as_raw_fd();
    let descriptor = OwnedFd::from(eventfd);
    assert_eq!(descriptor.as_raw_fd(), number);
    let mut count = [0; 8];
    assert_eq!(rustix::io::read(&descriptor, &mut count), Ok(8));
    assert_eq!(u64::from_ne_bytes(count), 3);
}
