//! A forked child can do no harm, and is told why: its calls fail with `FORKED`, its drops do
//! nothing, the parent loses no event, and the child can make contexts of its own. What each
//! function does there, `fork_complete` tries.

use crate::common;

use common::child::{Ended, in_child, wait_for};
use common::files::{file_with, pipe};
use common::{Watchdog, context, filter, queue, room, skip};
use core::panic::AssertUnwindSafe;
use core::sync::atomic::{AtomicI32, Ordering};
use core::task::{self, Context, Waker};
use core::time::Duration;
use linux_aio::Reactor;
use linux_aio::abi::syscall::NATIVE;
use linux_aio::op::{Any, Poll, Read};
use linux_aio::raw::ForkGuard;
use linux_aio::{
    Driver, DriverStats, Errno, EventFd, IoContext, Iocb, OpFuture, PollEvents, Queue, ScopeError,
    SigSet, Slot,
};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::panic::{catch_unwind, set_hook, take_hook};
use std::sync::{Arc, Mutex};
use std::task::Wake;

fn zero() -> File {
    File::open("/dev/zero").expect("/dev/zero")
}

/// Five reads and a POLL in flight, with all that the kernel has of them.
struct SixInFlight {
    iocbs: Vec<*mut Iocb>,
    file: File,
    /// The POLL is of this one, to which nobody has added yet.
    counter: EventFd,
    _buffers: Vec<[u8; 64]>,
    _operations: Vec<Iocb>,
}

impl SixInFlight {
    fn submit(context: &mut IoContext) -> Self {
        let (file, counter) = (zero(), EventFd::new().expect("a counter"));
        let mut buffers = vec![[1u8; 64]; 5];
        let mut operations: Vec<Iocb> = (0u64..)
            .zip(&mut buffers)
            .map(|(i, buf)| Iocb::pread(file.as_raw_fd(), buf.as_mut_ptr(), 64, 0).user_data(i))
            .collect();
        operations.push(Iocb::poll(counter.fd().as_raw(), PollEvents::IN).user_data(99));
        let iocbs: Vec<*mut Iocb> = operations.iter_mut().map(core::ptr::from_mut).collect();
        // SAFETY: The test keeps what is returned until the events are taken, or the context is
        // gone. So buffers, iocbs and files live that long, and nobody touches them before.
        assert_eq!(unsafe { context.split().0.submit(&iocbs) }, Ok(6));
        Self { iocbs, file, counter, _buffers: buffers, _operations: operations }
    }
}

/// Goal: every call fails in a child with `FORKED`, also after moving the context about, and drops
/// do nothing. Method: five events are on the ring and a POLL is in flight; the child has all it
/// can do with a context tried, by both halves, owned halves, a scope and a queue.
#[test]
fn everything_that_a_child_can_do_with_its_parents_context_fails() {
    let _watchdog = Watchdog::new();
    for ring in [true, false] {
        let mut context = context(16);
        context.use_ring(ring);
        let six = SixInFlight::submit(&mut context);
        let iocbs = &six.iocbs;

        let ended = in_child(|| {
            let mut context = context;
            let (submitter, mut reaper) = context.split();
            let mut events = room::<8>();
            for _ in 0..2 {
                // SAFETY: As in the parent; nothing is accepted here anyway.
                assert_eq!(unsafe { submitter.submit(iocbs) }, Err(Errno::FORKED));
                assert_eq!(submitter.cancel(iocbs[5]), Err(Errno::FORKED));
                assert!(!submitter.is_alive());
                assert_eq!(reaper.reap(&mut events).err(), Some(Errno::FORKED));
                assert_eq!(reaper.wait(1, None, &mut events).err(), Some(Errno::FORKED));
                let masked = reaper.wait_masked(1, None, &SigSet::full(), &mut events);
                assert_eq!(masked.err(), Some(Errno::FORKED));
            }
            let refused = linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
                let _ = io.push(Read::new(&six.file, [0; 1], 0));
            });
            assert_eq!(refused, Err(ScopeError::Forked));
            context.use_ring(true);
            assert!(!context.uses_ring());
            let Err(refused) = Queue::<Read<File, Vec<u8>>>::new(context, 4) else {
                panic!("a queue over the parent's context")
            };
            assert_eq!(refused.errno(), Errno::FORKED);
            let context = refused.context;
            let (submitter, mut reaper) = context.into_split();
            assert_eq!(reaper.reaper().reap(&mut events).err(), Some(Errno::FORKED));
            // SAFETY: As above.
            let refused = unsafe { submitter.submitter().submit(iocbs) };
            assert_eq!(refused, Err(Errno::FORKED));
            drop(submitter);
            drop(reaper.try_into_context().expect("the last half"));
        });
        // Here the closure has been dropped, and with it the parent's context.
        assert_eq!(ended, Ended::WELL);
    }
}

/// Goal: nothing that a child does costs the parent an event. Method: as above, but the parent
/// keeps its context, and reaps all six operations afterwards.
#[test]
fn the_parent_reaps_every_event_once_after_a_child_that_tried_everything() {
    let _watchdog = Watchdog::new();
    for ring in [true, false] {
        let mut context = context(16);
        context.use_ring(ring);
        let six = SixInFlight::submit(&mut context);
        let iocbs = &six.iocbs;

        let ended = in_child(|| {
            let mut events = room::<8>();
            let (submitter, mut reaper) = context.split();
            assert_eq!(reaper.reap(&mut events).err(), Some(Errno::FORKED));
            assert_eq!(submitter.cancel(iocbs[5]), Err(Errno::FORKED));
            // SAFETY: The parent's value is not touched: this is the child's copy of it, which is
            // never used again.
            drop(unsafe { core::ptr::read(&raw const context) });
        });
        assert_eq!(ended, Ended::WELL);

        let mut events = room::<8>();
        let (submitter, mut reaper) = context.split();
        assert!(submitter.is_alive());
        let taken = reaper.wait(5, None, &mut events).expect("the five reads");
        let mut seen: Vec<u64> = taken.iter().map(|event| event.user_data()).collect();
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3, 4]);
        six.counter.add(1).expect("room in the counter");
        let taken = reaper.wait(1, None, &mut events).expect("the poll");
        assert_eq!(taken[0].user_data(), 99);
        assert_eq!(context.in_flight(), 0);
        assert_eq!(context.uses_ring(), ring);
    }
}

/// Goal: a queue in a child fails with `FORKED`, gives nothing away and drops without effect.
/// Method: reads that have ended and a POLL in flight; the child tries everything and drops a copy
/// of the queue; the parent then takes every completion.
#[test]
fn a_queue_fails_in_a_child_and_the_parent_takes_every_completion() {
    let _watchdog = Watchdog::new();
    let mut queue: Queue<Any<Arc<File>, Vec<u8>>> = queue(16);
    let mut pipe = pipe(libc::O_NONBLOCK);
    let file = Arc::new(zero());
    for i in 0..6 {
        queue.push(Read::new(Arc::clone(&file), vec![1; 64], i).into()).expect("a slot");
    }
    let reader = Arc::new(pipe.reader.try_clone().expect("a descriptor"));
    let poll = queue.push(Poll::new(reader, PollEvents::IN).into()).expect("a slot");
    assert_eq!(queue.submit(), Ok(7));
    let unsubmitted = Read::new(Arc::clone(&file), vec![1; 64], 6);
    queue.push(unsubmitted.into()).expect("a slot");

    let ended = in_child(|| {
        for _ in 0..2 {
            assert_eq!(queue.submit().map_err(Errno::from), Err(Errno::FORKED));
            assert_eq!(queue.try_next().map_err(Errno::from).err(), Some(Errno::FORKED));
            assert_eq!(queue.ready().map_err(Errno::from).err(), Some(Errno::FORKED));
            assert_eq!(queue.wait().map_err(Errno::from).err(), Some(Errno::FORKED));
            let waited = queue.next_timeout(Duration::from_millis(1));
            assert_eq!(waited.map_err(Errno::from).err(), Some(Errno::FORKED));
            let waited = queue.wait_timeout(Duration::from_millis(1));
            assert_eq!(waited.map_err(Errno::from).err(), Some(Errno::FORKED));
            assert_eq!(queue.cancel(poll), Err(Errno::FORKED));
        }
        assert_eq!((queue.in_flight(), queue.queued()), (7, 1));
        // SAFETY: The child's copy of the value is never used again.
        drop(unsafe { core::ptr::read(&raw const queue) });
    });
    assert_eq!(ended, Ended::WELL);

    pipe.put(1);
    let mut offsets = Vec::new();
    let mut polls = 0;
    while let Some(done) = queue.wait().expect("a wait") {
        match done.op {
            Any::Read(read) => {
                assert_eq!((done.result, read.buf), (Ok(64), vec![0; 64]));
                offsets.push(read.offset);
            }
            Any::Poll(_) => polls += 1,
            _ => panic!("an operation that was not pushed"),
        }
    }
    offsets.sort_unstable();
    assert_eq!((offsets, polls), ((0..7).collect(), 1));
}

/// Goal: completions that the queue knew of before the fork do not come out in a child either.
/// Method: the parent takes the first of eight, so that it has looked at the ring; then the child
/// asks for the others.
#[test]
fn what_a_queue_knew_of_before_the_fork_stays_the_parents() {
    let _watchdog = Watchdog::new();
    let mut queue = queue(8);
    let file = Arc::new(zero());
    for i in 0..8 {
        queue.push(Read::new(Arc::clone(&file), vec![1; 64], i)).expect("a slot");
    }
    let first = queue.wait().expect("a wait").expect("a completion");
    assert_eq!(first.result, Ok(64));
    let ended = in_child(|| {
        assert_eq!(queue.try_next().map_err(Errno::from).err(), Some(Errno::FORKED));
        assert_eq!(queue.wait().map_err(Errno::from).err(), Some(Errno::FORKED));
    });
    let mut rest = 0;
    while let Some(done) = queue.wait().expect("a wait") {
        assert_eq!(done.result, Ok(64));
        rest += 1;
    }
    assert_eq!(rest, 7);
    assert_eq!(ended, Ended::WELL);
}

/// Goal: leaving a scope in a child neither waits nor harms. Method: the closure forks with a POLL
/// and unreaped reads in flight; the child leaves by return, another by panic; in the parent all
/// operations still complete.
#[test]
fn a_child_leaves_a_scope_without_waiting_and_the_parent_completes_it() {
    let _watchdog = Watchdog::new();
    let mut context = context(16);
    let mut pipe = pipe(libc::O_NONBLOCK);
    let reader = pipe.reader.try_clone().expect("a descriptor");
    let file = zero();
    let mut buffers = [[1u8; 64]; 4];
    let mut in_the_child = false;
    // What a child leaves by is the end of `in_child`'s closure, so the fork comes first there.
    for panics in [false, true] {
        let ended = in_child(|| {
            // A context of the child's own, with a scope, in which a grandchild leaves.
            let mut context = common::context(8);
            let mut grandchild = Ended::WELL;
            let completed = linux_aio::scope(&mut context, &mut [const { Slot::new() }; 8], |io| {
                let poll = Poll::new(&reader, PollEvents::IN);
                io.push(Any::Poll(poll)).map_err(drop).expect("a slot");
                for buf in &mut buffers {
                    let read = Read::new(&file, &mut buf[..], 0);
                    io.push(Any::<_, _, &[u8]>::Read(read)).map_err(drop).expect("a slot");
                }
                assert_eq!(io.submit(), Ok(5));
                // SAFETY: The child has this one thread and leaves by `_exit` below.
                let pid = unsafe { libc::fork() };
                assert!(pid >= 0);
                if pid == 0 {
                    // SAFETY: Sets a timer of the grandchild.
                    unsafe { libc::alarm(20) };
                    assert_eq!(io.try_next().map_err(Errno::from).err(), Some(Errno::FORKED));
                    let poll = Poll::new(&reader, PollEvents::IN);
                    io.push(Any::Poll(poll)).map_err(drop).expect("a slot");
                    assert_eq!(io.submit().map_err(Errno::from), Err(Errno::FORKED));
                    assert_eq!(io.wait().map_err(Errno::from).err(), Some(Errno::FORKED));
                    in_the_child = true;
                    assert!(!panics, "leaving by panic");
                    return 0;
                }
                grandchild = common::child::wait_for(pid);
                pipe.put(1);
                let mut completed = 0;
                while let Some(done) = io.wait().expect("a wait") {
                    assert!(done.result.is_ok());
                    completed += 1;
                }
                completed
            });
            if in_the_child {
                // SAFETY: Ends the grandchild.
                unsafe { libc::_exit(7) };
            }
            assert_eq!(completed, Ok(5));
            // By panic the grandchild comes out in `in_child`, which ends it with 101.
            assert_eq!(grandchild, Ended::Exited(if panics { 101 } else { 7 }));
        });
        assert_eq!(ended, Ended::WELL, "panics: {panics}");
        // The byte is in the pipe that both share.
        assert_eq!(pipe.get(), 1);
    }
    assert!(context.split().0.is_alive());
}

/// Goal: nothing that a child does with its parent's contexts reads the ring, which newer kernels
/// (7.2) do not map in a child. Method: events are on the rings of a context and a queue, some of
/// them seen by the queue; the child unmaps both rings, and tries both, also when it has contexts
/// of its own, which may come to lie there, and which work when the parent's have been dropped.
#[test]
fn a_child_reads_no_ring_of_its_parent() {
    let _watchdog = Watchdog::new();
    let mut context = context(8);
    let file = Arc::new(zero());
    let mut buf = [1u8; 64];
    let mut read = Iocb::pread(file.as_raw_fd(), buf.as_mut_ptr(), buf.len(), 0);
    // SAFETY: The iocb and its buffer outlive the context's last event, which is taken below.
    assert_eq!(unsafe { context.split().0.submit(&[&raw mut read]) }, Ok(1));
    let of_queue = common::context(8);
    let rings = [context.as_raw(), of_queue.as_raw()];
    let mut queue = Queue::new(of_queue, 8).map_err(drop).expect("a queue");
    for i in 0..4 {
        queue.push(Read::new(Arc::clone(&file), vec![1; 64], i)).expect("a slot");
    }
    assert!(queue.wait().expect("a wait").is_some());

    let ended = in_child(|| {
        for ring in rings {
            #[allow(clippy::unnecessary_cast, reason = "the two types are one except on x32")]
            let ring = core::ptr::with_exposed_provenance_mut(ring as usize);
            // SAFETY: A child has no business with the ring; where it is mapped, nothing reads it.
            unsafe { libc::munmap(ring, 4096) };
        }
        let mut own = Vec::new();
        for contexts in [0, 3] {
            own.extend((0..contexts).map(|_| common::context(8)));
            let mut events = room::<8>();
            assert_eq!(context.split().1.reap(&mut events).err(), Some(Errno::FORKED));
            assert_eq!(context.split().1.wait(1, None, &mut events).err(), Some(Errno::FORKED));
            assert_eq!(queue.try_next().map_err(Errno::from).err(), Some(Errno::FORKED));
            assert_eq!(queue.ready().map_err(Errno::from).err(), Some(Errno::FORKED));
            assert_eq!(queue.wait().map_err(Errno::from).err(), Some(Errno::FORKED));
        }
        // SAFETY: The child's copy of the value is never used again.
        drop(unsafe { core::ptr::read(&raw const context) });
        // SAFETY: As above.
        drop(unsafe { core::ptr::read(&raw const queue) });
        assert!(own.iter_mut().all(works));
    });
    assert_eq!(ended, Ended::WELL);

    assert_eq!(context.split().1.wait(1, None, &mut room::<8>()).map(<[_]>::len), Ok(1));
    let mut left = 0;
    while let Some(done) = queue.wait().expect("a wait") {
        assert_eq!(done.result, Ok(64));
        left += 1;
    }
    assert_eq!(left, 3);
}

fn works(context: &mut IoContext) -> bool {
    let (_dir, _path, file) = file_with(b"content");
    let done = linux_aio::scope(context, &mut [const { Slot::new() }; 1], |io| {
        io.push(Read::new(&file, [0; 7], 0)).expect("a slot");
        io.wait().expect("a wait").expect("a completion")
    });
    done.is_ok_and(|done| done.result == Ok(7) && done.op.buf == *b"content")
}

/// Goal: a child makes contexts of its own, whatever it inherited, also inside of a scope of the
/// parent's; and its children find those forked in turn. Method: three generations.
#[test]
fn each_generation_has_contexts_of_its_own_and_none_of_its_parents() {
    let _watchdog = Watchdog::new();
    let mut first = context(4);
    assert!(works(&mut first));
    let inside = linux_aio::scope(
        &mut first,
        &mut [const { Slot::<Read<&File, [u8; 1]>>::new() }; 1],
        |_io| {
            in_child(|| {
                let mut second = context(4);
                assert!(second.uses_ring());
                assert!(works(&mut second));
                let ended = in_child(|| {
                    let mut third = context(4);
                    assert!(works(&mut third));
                    assert_eq!(
                        linux_aio::scope(
                            &mut second,
                            &mut [],
                            |_: &linux_aio::Scope<Read<File, Vec<u8>>>| ()
                        ),
                        Err(ScopeError::Forked)
                    );
                });
                assert_eq!(ended, Ended::WELL);
                assert!(works(&mut second));
            })
        },
    );
    assert_eq!(inside, Ok(Ended::WELL));
    let ended = in_child(|| {
        let mut second = context(4);
        assert!(works(&mut second));
        assert!(!first.split().0.is_alive());
    });
    assert_eq!(ended, Ended::WELL);
    assert!(works(&mut first));
}

/// Goal: where the kernel wipes no page in children, as before Linux 4.14, a child is told by its
/// number: a driver takes no lock, and leaving a scope does not end the process, as it does where
/// buffers are in use and nothing else can be proved. Method: a filter refuses the advice.
#[test]
fn a_child_is_known_by_its_number_where_no_page_is_wiped() {
    let _watchdog = Watchdog::new();
    if !filter::filters_work() {
        skip!("this kernel takes no filters");
    }
    let ended = in_child(|| {
        filter::install(&[NATIVE.madvise], filter::errno(libc::EINVAL));
        let (mut context, of_queue) = (context(4), context(4));
        let guard = ForkGuard::of_this_process();
        assert!(!guard.notices_forks() && !context.uses_ring());
        assert_eq!((guard.check(), guard.check_strictly()), (Ok(()), Ok(())));
        let pipe = pipe(libc::O_NONBLOCK);
        let poll = || Poll::new(pipe.reader.try_clone().expect("a descriptor"), PollEvents::IN);
        let driver = Driver::on_thread(1).expect("a driver");
        let mut in_flight = driver.perform(poll());
        assert!(common::poll_once(&mut in_flight, Waker::noop()).is_pending());
        let mut queue = Queue::new(of_queue, 1).expect("it is fresh");
        queue.push(poll()).expect("a slot");
        assert_eq!(queue.submit(), Ok(1));
        let mut is_the_grandchild = false;
        let slots = &mut [const { Slot::new() }; 1];
        let left = linux_aio::scope(&mut context, slots, |io| {
            io.push(poll()).expect("a slot");
            assert_eq!(io.submit(), Ok(1));
            // SAFETY: The child leaves by `_exit` below.
            let pid = unsafe { libc::fork() };
            if pid > 0 {
                assert_eq!(wait_for(pid), Ended::Exited(7));
                return;
            }
            is_the_grandchild = true;
            // SAFETY: Sets a timer of this process.
            unsafe { libc::alarm(40) };
            assert_eq!((guard.check(), guard.check_strictly()), (Ok(()), Err(Errno::FORKED)));
            assert_eq!(driver.outstanding(), 0);
            let mut close = driver.clone().close();
            assert!(common::poll_once(&mut close, Waker::noop()).is_ready());
            let (result, _) = smol::future::block_on(driver.perform(poll()));
            assert_eq!(result, Err(Errno::FORKED));
        });
        if is_the_grandchild {
            drop((in_flight, driver, queue));
            // SAFETY: Ends the grandchild.
            unsafe { libc::_exit(7) };
        }
        assert_eq!((left, driver.outstanding()), (Ok(()), 1));
    });
    assert_eq!(ended, Ended::WELL);
}

/// Goal: a waker may fork, and the driver that it returns to takes no lock in the child, but
/// panics. Method: two threads lock the driver all the time; a read of /dev/zero ends, and calls
/// its waker, inside of the first poll.
#[test]
fn a_child_that_a_waker_forks_comes_out_of_the_driver() {
    struct Deaf;
    impl Reactor for Deaf {
        fn poll_readable(&self, _: &mut Context<'_>) -> task::Poll<std::io::Result<()>> {
            task::Poll::Pending
        }
    }
    #[derive(Default)]
    struct Fork(AtomicI32);
    impl Wake for Fork {
        fn wake(self: Arc<Self>) {
            // SAFETY: The child leaves by `_exit` when the poll that has called this is over.
            self.0.store(unsafe { libc::fork() }, Ordering::Relaxed);
        }
    }
    let _watchdog = Watchdog::new();
    let ended = in_child(|| {
        let driver = Driver::new(8, |_| Ok(Deaf)).expect("a driver");
        let file = Arc::new(zero());
        for _ in 0..2 {
            let driver = driver.clone();
            std::thread::spawn(move || {
                loop {
                    let _ = (driver.outstanding(), driver.stats());
                }
            });
        }
        let this_process = std::process::id();
        let usual = take_hook();
        set_hook(Box::new(move |info| {
            if std::process::id() == this_process {
                usual(info);
            }
        }));
        for _ in 0..20 {
            let fork = Arc::new(Fork::default());
            let mut read = driver.perform(Read::new(Arc::clone(&file), [1; 8], 0));
            let waker = Waker::from(Arc::clone(&fork));
            let poll = AssertUnwindSafe(|| common::poll_once(&mut read, &waker).is_ready());
            let polled = catch_unwind(poll);
            if std::process::id() != this_process {
                drop(read);
                let code = if polled.is_err() { 7 } else { 1 };
                // SAFETY: Ends the child.
                unsafe { libc::_exit(code) };
            }
            assert!(polled.expect("no panic in the parent"));
            assert_eq!(wait_for(fork.0.load(Ordering::Relaxed)), Ended::Exited(7));
        }
    });
    assert_eq!(ended, Ended::WELL);
}

/// A waker that forks when the thread of a timer calls it. The child tries the driver, and returns.
struct ForkAtDeadline {
    driver: Driver,
    started: Mutex<OpFuture<Poll<Arc<EventFd>>>>,
    child: AtomicI32,
}

impl ForkAtDeadline {
    /// Asserts that each function answers at once in the child, as is documented.
    fn try_everything(&self) {
        let driver = &self.driver;
        let op = || Read::new(zero(), [1; 8], 0);
        let counts = (driver.outstanding(), driver.stats(), driver.overdue(Duration::ZERO));
        assert_eq!(counts, (0, DriverStats::default(), Vec::new()));
        assert!(driver.reactor_error().is_none());
        let (result, read) = pollster::block_on(driver.perform(op()));
        assert_eq!((result, read.buf), (Err(Errno::FORKED), [1; 8]));
        let late = pollster::block_on(driver.perform(op()).timeout(Duration::from_secs(60)));
        let (result, read) = late.expect("it is refused before its deadline");
        assert_eq!((result, read.buf), (Err(Errno::FORKED), [1; 8]));
        pollster::block_on(driver.clone().close());
        let closed = pollster::block_on(driver.clone().close_within(Duration::from_secs(60)));
        assert_eq!(closed, Ok(()));
        let mut started = self.started.try_lock().expect("nobody uses it");
        let poll = AssertUnwindSafe(|| common::poll_once(&mut *started, Waker::noop()).is_ready());
        assert!(catch_unwind(poll).is_err(), "the parent's future has no answer");
        drop(driver.clone());
    }
}

impl Wake for ForkAtDeadline {
    fn wake(self: Arc<Self>) {
        assert_eq!(std::thread::current().name(), Some("linux-aio-timer"));
        // SAFETY: The child calls what is under test, and ends with this, its only thread.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: Sets a timer of this process.
            unsafe { libc::alarm(40) };
            set_hook(Box::new(|_| {}));
            if catch_unwind(AssertUnwindSafe(|| self.try_everything())).is_err() {
                // SAFETY: Ends the child.
                unsafe { libc::_exit(1) };
            }
            return;
        }
        self.child.store(pid, Ordering::SeqCst);
    }
}

/// Goal: a waker may fork on the thread of the timer. The child's calls have their answers, and its
/// thread comes to an end; the parent's futures end, and its timer goes on. Method: each deadline
/// forks; meanwhile other threads lock the driver and its timer all the time.
#[test]
fn a_child_that_a_waker_forks_at_its_deadline_gets_answers() {
    let _watchdog = Watchdog::new();
    let ended = in_child(|| {
        let driver = Driver::on_thread(8).expect("a driver");
        let silent = Arc::new(EventFd::new().expect("a counter"));
        let poll = || driver.perform(Poll::new(Arc::clone(&silent), PollEvents::IN));
        for _ in 0..2 {
            let driver = driver.clone();
            let file = Arc::new(zero());
            std::thread::spawn(move || {
                loop {
                    let read = driver.perform(Read::new(Arc::clone(&file), [1; 8], 0));
                    let read = pollster::block_on(read.timeout(Duration::from_secs(600)));
                    assert_eq!(read.expect("in time").0, Ok(8));
                }
            });
        }
        for _ in 0..20 {
            let mut started = poll();
            assert!(common::poll_once(&mut started, Waker::noop()).is_pending());
            let fork = Arc::new(ForkAtDeadline {
                driver: driver.clone(),
                started: Mutex::new(started),
                child: AtomicI32::new(0),
            });
            let waker = Waker::from(Arc::clone(&fork));
            let mut late = poll().timeout(Duration::from_millis(1));
            let mut polled = common::poll_once(&mut late, &waker);
            while polled.is_pending() && fork.child.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            if polled.is_pending() {
                assert_eq!(wait_for(fork.child.load(Ordering::SeqCst)), Ended::WELL);
                polled = common::poll_once(&mut late, &waker);
            }
            let task::Poll::Ready(Err(timed_out)) = polled else { panic!("the time is up") };
            assert_eq!(timed_out.errno(), Errno::ETIMEDOUT);
            let read = driver.perform(Read::new(zero(), [1; 8], 0));
            assert_eq!(pollster::block_on(read).0, Ok(8));
        }
    });
    assert_eq!(ended, Ended::WELL);
}

/// Goal: a context made before many forks works in the parent after each. Method: fork in turn
/// with operations on the ring, and count what the parent reaps.
#[test]
fn the_parent_goes_on_reaping_through_many_forks() {
    let _watchdog = Watchdog::new();
    let mut queue = queue(4);
    let file = Arc::new(zero());
    let mut completed = 0;
    for round in 0..20 {
        for i in 0..4 {
            queue.push(Read::new(Arc::clone(&file), vec![1; 8], i)).expect("a slot");
        }
        assert_eq!(queue.submit(), Ok(4), "round {round}");
        let ended = in_child(|| {
            assert_eq!(queue.try_next().map_err(Errno::from).err(), Some(Errno::FORKED));
        });
        assert_eq!(ended, Ended::WELL);
        while let Some(done) = queue.wait().expect("a wait") {
            assert_eq!(done.result, Ok(8));
            completed += 1;
        }
    }
    assert_eq!((completed, queue.stats().stray_events), (80, 0));
}
