//! What contexts, descriptors and memory answer in a forked child, and functions that belong to no
//! value.

use super::common::{self, room};
use super::world::{Op, World, read, told};
use core::time::Duration;
use linux_aio::raw::ForkGuard;
use linux_aio::{AlignedBuf, Errno, EventFd, IoContext, Operation, Queue, SigSet};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

pub(crate) type Check = fn(&mut World<'_>);

/// The operations and wakers of the parent are neither run nor dropped.
pub(crate) fn silently<R>(act: impl FnOnce() -> R) -> R {
    let before = told();
    let result = act();
    assert_eq!(told(), before, "users' code has run");
    result
}

pub(crate) const FORKED: Errno = Errno::FORKED;

/// Runs `act`, which panics; not a word of it on standard error.
pub(crate) fn panic_of(act: impl FnOnce()) -> String {
    let usual = take_hook();
    set_hook(Box::new(|_| {}));
    let payload = catch_unwind(AssertUnwindSafe(act)).expect_err("a panic");
    set_hook(usual);
    (*payload.downcast::<&str>().expect("a text")).to_owned()
}

pub(crate) fn queue<'q>(world: &'q mut World<'_>) -> &'q mut Queue<Op> {
    world.queue.as_mut().expect("it")
}

pub(crate) const CONTEXT: &[(&str, Check)] = &[
    ("IoContext::new", |_| assert!(IoContext::new(2).expect("its own").split().0.is_alive())),
    ("IoContext::from_raw", |world| {
        let id = common::context(2).into_raw();
        // SAFETY: It has just been given up, with nothing in flight.
        let mut own = unsafe { IoContext::from_raw(id) };
        assert!(own.split().0.is_alive() && !world.submitter.is_alive());
    }),
    ("IoContext::into_raw", |world| assert_ne!(world.idle.take().expect("it").into_raw(), 0)),
    ("IoContext::as_raw", |world| assert_ne!(world.idle.as_ref().expect("it").as_raw(), 0)),
    ("IoContext::use_ring", |world| {
        let context = world.idle.as_mut().expect("it");
        context.use_ring(true);
        assert!(!context.uses_ring());
    }),
    ("IoContext::uses_ring", |world| {
        let used = world.idle.as_ref().expect("it").uses_ring();
        assert_eq!(used, common::context(2).uses_ring());
    }),
    ("IoContext::in_flight", |world| {
        let both = [&mut world.context, &mut world.idle];
        assert_eq!(both.map(|it| it.as_mut().expect("it").in_flight()), [1, 0]);
    }),
    ("IoContext::split", |world| {
        let (submitter, mut reaper) = world.context.as_mut().expect("it").split();
        assert_eq!(reaper.reap(&mut room::<4>()).err(), Some(FORKED));
        assert_eq!(submitter.cancel(&raw const *world.iocb), Err(FORKED));
    }),
    ("IoContext::into_split", |world| {
        let (submitter, mut reaper) = world.context.take().expect("it").into_split();
        assert_eq!(reaper.reaper().reap(&mut room::<4>()).err(), Some(FORKED));
        assert!(!submitter.submitter().is_alive());
    }),
    ("IoContext::check_process", |world| {
        assert_eq!(world.idle.as_ref().expect("it").check_process(), Err(FORKED));
    }),
    ("IoContext::check_process_strictly", |world| {
        assert_eq!(world.idle.as_ref().expect("it").check_process_strictly(), Err(FORKED));
    }),
    ("IoContext::cancel", |world| {
        let context = world.context.as_ref().expect("it");
        assert_eq!(context.cancel(&raw const *world.iocb), Err(FORKED));
    }),
    ("IoContext::getevents", |world| {
        let context = world.context.as_ref().expect("it");
        // SAFETY: No reaper of this context is used here.
        let taken = unsafe { context.getevents(1, None, None, &mut room::<4>()) };
        assert_eq!(taken.err(), Some(FORKED));
    }),
    ("IoContext::destroy", |world| {
        assert_eq!(world.context.as_mut().expect("it").destroy(), Err(FORKED));
    }),
    ("ForkGuard::of_this_process", |_| {
        assert_eq!(ForkGuard::of_this_process().check(), Ok(()));
    }),
    ("ForkGuard::of_no_process", |_| {
        assert_eq!(ForkGuard::of_no_process().check(), Err(FORKED));
    }),
    ("IoContext::guard", |world| {
        assert_eq!(world.idle.as_ref().expect("it").guard().check(), Err(FORKED));
    }),
    ("ForkGuard::check", |world| assert_eq!(world.guard.check(), Err(FORKED))),
    ("ForkGuard::check_strictly", |world| {
        assert_eq!(world.guard.check_strictly(), Err(FORKED));
    }),
    ("ForkGuard::notices_forks", |world| assert!(world.guard.notices_forks())),
    ("IoContext: Drop", |world| drop((world.context.take(), world.idle.take()))),
    ("IoContext: Debug", |world| assert!(format!("{:?}", world.idle).contains("IoContext"))),
    ("Submitter::submit", |world| {
        let iocb = &raw mut *world.iocb;
        // SAFETY: Nothing is accepted here.
        assert_eq!(unsafe { world.submitter.submit(&[iocb]) }, Err(FORKED));
        // SAFETY: As above.
        assert_eq!(unsafe { world.submitter.submit(&[]) }, Err(FORKED));
    }),
    ("Submitter::cancel", |world| {
        assert_eq!(world.submitter.cancel(&raw const *world.iocb), Err(FORKED));
    }),
    ("Submitter::is_alive", |world| assert!(!world.submitter.is_alive())),
    ("Submitter: Clone", |world| {
        let submitter = world.submitter;
        assert!(!submitter.is_alive());
    }),
    ("Submitter: Debug", |world| assert!(format!("{:?}", world.submitter).contains("Submitter"))),
    ("Reaper::reap", |world| {
        assert_eq!(world.reaper.reap(&mut room::<4>()).err(), Some(FORKED));
    }),
    ("Reaper::wait", |world| {
        for timeout in [None, Some(Duration::ZERO), Some(Duration::MAX)] {
            assert_eq!(world.reaper.wait(1, timeout, &mut room::<4>()).err(), Some(FORKED));
        }
    }),
    ("Reaper::wait_masked", |world| {
        let mut events = room::<4>();
        let waited = world.reaper.wait_masked(1, None, &SigSet::full(), &mut events);
        assert_eq!(waited.err(), Some(FORKED));
    }),
    ("Reaper: Debug", |world| assert!(format!("{:?}", world.reaper).contains("Reaper"))),
    ("Reaper: Drop", |world| {
        // There is nothing in it to be dropped.
        assert_eq!(world.reaper.reap(&mut room::<4>()).err(), Some(FORKED));
    }),
    ("OwnedSubmitter::submitter", |world| {
        assert!(!world.owned.as_ref().expect("both").0.submitter().is_alive());
    }),
    ("OwnedSubmitter: Clone", |world| {
        let (submitter, reaper) = world.owned.take().expect("both");
        let clone = submitter.clone();
        drop((submitter, reaper, clone));
    }),
    ("OwnedSubmitter: Debug", |world| assert!(format!("{:?}", world.owned).contains("OwnedSub"))),
    ("OwnedSubmitter: Drop", |world| drop(world.owned.take())),
    ("OwnedReaper::reaper", |world| {
        let (_, reaper) = world.owned.as_mut().expect("both");
        assert_eq!(reaper.reaper().wait(1, None, &mut room::<4>()).err(), Some(FORKED));
    }),
    ("OwnedReaper::try_into_context", |world| {
        let (submitter, reaper) = world.owned.take().expect("both");
        let reaper = reaper.try_into_context().expect_err("one half is left");
        drop(submitter);
        let context = reaper.try_into_context().expect("the last half");
        assert!(Queue::<Op>::new(context, 1).is_err());
    }),
    ("OwnedReaper: Debug", |world| assert!(format!("{:?}", world.owned).contains("OwnedReaper"))),
    ("OwnedReaper: Drop", |world| drop(world.owned.take().expect("both").1)),
];

// ---- descriptors and memory, and who asks anew ----

fn counter<'c>(world: &'c World<'_>) -> &'c EventFd {
    world.counter.as_ref().expect("it")
}

pub(crate) const OTHERS: &[(&str, Check)] = &[
    ("EventFd::new", |_| assert_eq!(EventFd::new().expect("its own").take(), Ok(None))),
    ("EventFd::take", |world| assert_eq!(counter(world).take(), Ok(None))),
    ("EventFd::add", |world| {
        // It is the same counter in both.
        assert_eq!(counter(world).add(3), Ok(()));
        assert_eq!(counter(world).take(), Ok(Some(3)));
    }),
    ("EventFd::fd", |world| assert_eq!(counter(world).fd().as_raw(), counter(world).as_raw_fd())),
    ("EventFd: AsFd", |world| assert!(counter(world).as_fd().as_raw_fd() >= 0)),
    ("EventFd: AsRawFd", |world| assert!(counter(world).as_raw_fd() >= 0)),
    ("EventFd: Debug", |world| assert!(format!("{:?}", world.counter).contains("EventFd"))),
    ("EventFd: Drop", |world| drop(world.counter.take())),
    ("OwnedFd: From<EventFd>", |world| drop(OwnedFd::from(world.counter.take().expect("it")))),
    ("AlignedBuf::new", |_| assert_eq!(AlignedBuf::new(8).expect("its own").len(), 8)),
    ("AlignedBuf::with_alignment", |_| {
        assert_eq!(AlignedBuf::with_alignment(8, 65536).expect("its own").len(), 8);
    }),
    ("AlignedBuf::dont_fork", |world| {
        // SAFETY: This process has no children.
        assert_eq!(unsafe { world.buf.as_ref().expect("it").dont_fork() }, Ok(()));
    }),
    ("AlignedBuf: Deref", |world| assert_eq!(world.buf.as_ref().expect("it")[..8], [0; 8])),
    ("AlignedBuf: DerefMut", |world| world.buf.as_mut().expect("it").fill(1)),
    ("AlignedBuf: AsRef<[u8]>", |world| {
        assert_eq!(world.buf.as_ref().expect("it").as_ref()[..8], [0; 8]);
    }),
    ("AlignedBuf: AsMut<[u8]>", |world| world.buf.as_mut().expect("it").as_mut().fill(1)),
    ("AlignedBuf: Debug", |world| assert!(format!("{:?}", world.buf).contains("8192"))),
    ("AlignedBuf: Drop", |world| drop(world.buf.take())),
    ("Operation::prepare", |world| {
        let (mut op, queue) = (read(&world.file), queue(world));
        let _ = op.prepare();
        // A queue prepares what is pushed, before it is refused.
        queue.push(op).expect("a slot");
        assert_eq!(queue.submit().map_err(Errno::from), Err(FORKED));
    }),
    ("probe::kernel", |_| assert!(linux_aio_probe::kernel().usable().is_ok())),
    ("probe::Call::ask", |_| {
        use linux_aio_probe::{Availability, Call};
        assert_eq!(Call::IoSetup.ask(), Availability::There);
    }),
    ("Geometry::of", |world| {
        let geometry = linux_aio::geometry::Geometry::of(&*world.file);
        assert!(geometry.direct_io.offset().is_power_of_two());
    }),
    ("probe::file", |world| assert!(linux_aio_probe::file(&*world.file).is_ok())),
    ("probe::directory", |_| {
        let dir = common::files::scratch();
        let opened = std::fs::File::open(dir.path()).expect("it");
        assert!(linux_aio_probe::directory(&opened).is_ok());
    }),
];
