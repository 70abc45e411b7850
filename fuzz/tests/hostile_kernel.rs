//! What a simulated kernel must do for a promise to be tested, one promise a test.
#![cfg(linux_aio_simulated)]

use linux_aio::op::{Poll, Read};
use linux_aio::{Driver, Errno, IoContext, Operation, PollEvents, Prepared, Queue, Slot};
use linux_aio_fuzz::simulated::memory::{Buffer, Buffers};
use linux_aio_fuzz::simulated::{self, Fault, Filters, Kernel, Killed, Object, Script};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;
use std::time::Duration;

static FILE: LazyLock<File> = LazyLock::new(|| File::open("/dev/null").expect("/dev/null"));
static POLLED: LazyLock<File> = LazyLock::new(|| File::open("/dev/null").expect("/dev/null"));

/// A kernel without faults, and its descriptors.
fn kernel() -> Kernel {
    let kernel = simulated::kernel(Script::from_seed(1).with(&[]));
    kernel.open(FILE.as_fd(), Object::File);
    kernel.open(POLLED.as_fd(), Object::Polled);
    kernel
}

fn read<B>(buf: B) -> Read<BorrowedFd<'static>, B> {
    Read::new(FILE.as_fd(), buf, 0)
}

/// Everything that is refused by `io_submit`, `io_getevents` and `io_destroy`.
fn refuse_all(errno: Errno) -> Filters {
    Filters {
        submit: Some(errno),
        getevents: Some(errno),
        destroy: Some(errno),
        ..Filters::default()
    }
}

/// A queue with `count` reads pushed.
fn queue_with(count: u32, buffers: &Buffers) -> Queue<Read<BorrowedFd<'static>, Buffer>> {
    let mut queue = Queue::with_capacity(count).expect("a queue");
    for _ in 0..count {
        queue.push(read(buffers.make(64))).expect("a free slot");
    }
    queue
}

/// Goal: each way in which `io_setup` fails is told as it is. Method: each errno, through a
/// context, a queue and a driver.
#[test]
fn setup_fails_with_the_errno_that_the_kernel_gave() {
    let kernel = kernel();
    let _entered = kernel.enter();
    let known = [
        (Errno::EAGAIN, "EAGAIN: the system's limit of AIO operations"),
        (Errno::EINVAL, "EINVAL: more operations than a ring can hold"),
        (Errno::ENOMEM, "ENOMEM: no memory for the completion ring"),
        (Errno::ENOSYS, "ENOSYS: this kernel has no AIO"),
        (Errno::EPERM, "EPERM: a seccomp filter"),
        (Errno::EINTR, "EINTR"),
        (Errno::EFAULT, "EFAULT"),
    ];
    for (errno, text) in known {
        kernel.filter(Filters { setup: Some(errno), ..Filters::default() });
        let error = IoContext::new(8).expect_err("no context");
        assert_eq!((error.errno(), error.asked()), (errno, 8));
        assert_eq!(error.aio_max_nr().is_some(), errno == Errno::EAGAIN);
        assert!(error.to_string().starts_with(&format!("io_setup(8): {text}")), "{error}");
        let queue = Queue::<Read<File, Vec<u8>>>::with_capacity(8);
        assert_eq!(queue.map(drop), Err(error));
        let driver = Driver::on_thread(8).expect_err("no driver");
        assert_eq!(driver.kind(), std::io::Error::from(errno).kind());
    }
    assert_eq!(kernel.contexts(), 0);
}

/// Goal: `EAGAIN` with nothing in flight is the caller's to know, with everything still queued and
/// without a loop; so is `ENOSYS`. Method: a kernel that refuses every submit; then one that does
/// not.
#[test]
fn refused_submits_leave_everything_queued() {
    let kernel = kernel();
    let _entered = kernel.enter();
    for errno in [Errno::EAGAIN, Errno::ENOSYS] {
        let buffers = Buffers::default();
        let mut queue = queue_with(3, &buffers);
        kernel.filter(refuse_all(errno));
        assert_eq!(queue.submit().map_err(Errno::from), Err(errno));
        assert_eq!(queue.wait().map(drop).map_err(Errno::from), Err(errno));
        assert_eq!((queue.queued(), queue.in_flight(), queue.stats().submit_calls), (3, 0, 2));
        kernel.filter(Filters::default());
        for _ in 0..3 {
            assert_eq!(queue.wait().expect("a wait").expect("a completion").result, Ok(64));
        }
        drop(queue);
        assert_eq!(buffers.count(), 0);
    }
    kernel.end().expect("nothing wrong");
}

/// Goal: what the kernel did not take is submitted again by a wait, also where nothing in flight
/// ends. Method: a POLL that does not end is in flight, and every submit gives `EAGAIN`, by a
/// filter that goes while the wait sleeps; a wait with a time gives up when that is over.
#[test]
fn a_wait_submits_again_while_a_poll_is_in_flight() {
    let kernel = kernel();
    kernel.expect_threads();
    let _entered = kernel.enter();
    let buffers = Buffers::default();
    let mut queue = Queue::with_capacity(4).expect("a queue");
    queue.push(Either::Poll(Poll::new(POLLED.as_fd(), PollEvents::IN))).expect("a free slot");
    assert_eq!(queue.submit(), Ok(1));
    kernel.filter(Filters { submit: Some(Errno::EAGAIN), ..Filters::default() });
    queue.push(Either::Read(read(buffers.make(64)))).expect("a free slot");
    let timed = queue.wait_timeout(Duration::from_millis(35));
    assert_eq!(timed.map(drop).map_err(Errno::from), Err(Errno::ETIMEDOUT));
    assert_eq!((queue.queued(), queue.stats().submit_calls), (1, 1 + 4));
    let (before, kernel_of_thread) = (kernel.counts().submits, kernel.clone());
    let done = std::thread::scope(|threads| {
        threads.spawn(move || {
            let kernel = kernel_of_thread;
            while kernel.counts().submits < before + 3 {
                std::thread::yield_now();
            }
            kernel.filter(Filters::default());
        });
        queue.wait().expect("a wait").expect("a completion")
    });
    assert!(matches!(done.op, Either::Read(_)) && done.result == Ok(64));
    assert_eq!((queue.queued(), queue.in_flight()), (0, 1));
    drop(queue);
    kernel.end().expect("nothing wrong");
}

/// Goal: a wait that fails loses no event. Method: waits that are refused, with the ring and
/// without, while operations end; then all complete.
#[test]
fn failed_waits_lose_nothing() {
    let kernel = kernel();
    let _entered = kernel.enter();
    for ring in [true, false] {
        for errno in [Errno::EPERM, Errno::ENOSYS, Errno::EINVAL, Errno::EFAULT] {
            let mut context = IoContext::new(4).expect("a context");
            context.use_ring(ring);
            let buffers = Buffers::default();
            let mut queue = Queue::new(context, 4).expect("nothing outstanding");
            for _ in 0..4 {
                queue.push(read(buffers.make(64))).expect("a free slot");
            }
            assert_eq!(queue.submit(), Ok(4));
            kernel.filter(refuse_all(errno));
            assert_eq!(queue.wait().map(drop).map_err(Errno::from), Err(errno));
            kernel.run_to_the_end();
            let by_ring = std::iter::from_fn(|| queue.try_next().ok().flatten()).count();
            assert_eq!(by_ring, if ring { 4 } else { 0 });
            let polled = queue.try_next().map(drop).map_err(Errno::from);
            assert_eq!(polled, if ring { Ok(()) } else { Err(errno) });
            assert_eq!(
                queue.wait().map(drop).map_err(Errno::from),
                if ring { Ok(()) } else { Err(errno) }
            );
            kernel.filter(Filters::default());
            let mut rest = 0;
            while let Some(done) = queue.wait().expect("a wait") {
                assert_eq!(done.result, Ok(64));
                rest += 1;
            }
            assert_eq!(by_ring + rest, 4);
        }
    }
    kernel.end().expect("nothing wrong");
}

fn is_readable<O: Operation>(queue: &Queue<O>) -> bool {
    let fd = queue.completion_fd().expect("a descriptor");
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).expect("a poll") > 0
}

/// Goal: where events cannot be had, the descriptor of a queue stays readable, `try_next` returns
/// the reason, and nothing is lost. Method: `io_getevents` is refused to a queue that does not read
/// its ring, and allowed again.
#[test]
fn a_descriptor_stays_readable_while_events_cannot_be_had() {
    let kernel = kernel();
    let _entered = kernel.enter();
    let buffers = Buffers::default();
    let mut context = IoContext::new(4).expect("a context");
    context.use_ring(false);
    let mut queue = Queue::new(context, 4).expect("nothing outstanding");
    queue.completion_fd().expect("a descriptor");
    for _ in 0..4 {
        queue.push(read(buffers.make(64))).expect("a free slot");
    }
    assert_eq!(queue.submit(), Ok(4));
    assert!(!is_readable(&queue), "nothing has ended");
    kernel.filter(refuse_all(Errno::EPERM));
    for _ in 0..3 {
        assert_eq!(queue.try_next().map(drop).map_err(Errno::from), Err(Errno::EPERM));
        assert!(is_readable(&queue));
        assert_eq!(queue.wait().map(drop).map_err(Errno::from), Err(Errno::EPERM));
    }
    kernel.filter(Filters::default());
    kernel.run_to_the_end();
    for _ in 0..4 {
        assert!(is_readable(&queue));
        assert_eq!(queue.try_next().expect("a poll").expect("a completion").result, Ok(64));
    }
    assert!(queue.try_next().expect("a poll").is_none() && !is_readable(&queue));
    drop(queue);
    kernel.end().expect("nothing wrong");
}

/// Goal: operations that are held back complete with the error of a filter that comes meanwhile,
/// since the errors of `try_next` are those of a poll. Method: reads that meet `EAGAIN` beside one
/// in flight, then `ENOSYS`.
#[test]
fn operations_held_back_complete_with_the_error_of_a_filter() {
    let kernel = kernel();
    let _entered = kernel.enter();
    let buffers = Buffers::default();
    let mut queue = queue_with(4, &buffers);
    queue.completion_fd().expect("a descriptor");
    assert_eq!(queue.submit(), Ok(4));
    kernel.run(1);
    while queue.try_next().expect("a poll").is_none() {
        kernel.run(1);
    }
    kernel.filter(Filters { submit: Some(Errno::EAGAIN), ..Filters::default() });
    queue.push(read(buffers.make(64))).expect("a free slot");
    assert_eq!(queue.submit(), Ok(0));
    kernel.filter(Filters { submit: Some(Errno::ENOSYS), ..Filters::default() });
    kernel.run_to_the_end();
    let mut results = Vec::new();
    while is_readable(&queue) {
        results.extend(queue.try_next().expect("a poll").map(|done| done.result));
    }
    assert_eq!(results.iter().filter(|&&result| result == Ok(64)).count(), 3);
    assert_eq!(results.iter().filter(|&&result| result == Err(Errno::ENOSYS)).count(), 1);
    drop(queue);
    kernel.end().expect("nothing wrong");
}

/// Goal: head or tail out of the ring are not followed; events come by system call. Method: both
/// spoiled at each step, in a scope and in a queue, with strays between.
#[test]
fn a_ring_that_is_wrong_is_left_for_system_calls() {
    for seed in 0..64 {
        let kernel =
            simulated::kernel(Script::from_seed(seed).with(&[Fault::Stray, Fault::Duplicate]));
        kernel.open(FILE.as_fd(), Object::File);
        let _entered = kernel.enter();
        let buffers = Buffers::default();
        let mut queue = queue_with(6, &buffers);
        queue.submit().expect("room");
        let mut done = 0;
        while done < 6 {
            kernel.run(2);
            kernel.spoil_rings();
            done += usize::from(queue.try_next().expect("a poll").is_some());
            kernel.spoil_rings();
            done += usize::from(queue.wait().expect("a wait").is_some());
        }
        assert!(queue.wait().expect("a wait").is_none());
        let stats = queue.stats();
        assert!(stats.getevents_calls > 0, "{stats:?}");
        drop(queue);

        let mut context = IoContext::new(6).expect("a context");
        let mut bytes = [0; 64];
        let _watch = linux_aio_fuzz::simulated::memory::watch(&mut bytes);
        let done = linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
            io.push(read(&mut bytes[..])).expect("a free slot");
            io.submit().expect("room");
            kernel.spoil_rings();
            io.wait().expect("a wait").expect("a completion").result
        });
        assert_eq!(done, Ok(Ok(64)));
        drop(context);
        kernel.end().expect("nothing wrong");
    }
}

/// Goal: where nothing proves that the kernel is finished, a queue's buffers stay for ever. Method:
/// `io_destroy` fails; the kernel goes on afterwards, in buffers that it watches.
#[test]
fn a_queue_that_cannot_be_destroyed_leaves_its_buffers_to_the_kernel() {
    for errno in [Errno::EPERM, Errno::ENOSYS, Errno::EINVAL] {
        let kernel = kernel();
        let _entered = kernel.enter();
        let buffers = Buffers::default();
        let mut queue = queue_with(5, &buffers);
        queue.submit().expect("room");
        kernel.filter(refuse_all(errno));
        drop(queue);
        assert_eq!((buffers.count(), kernel.in_flight(), kernel.contexts()), (5, 5, 1));
        kernel.run_to_the_end();
        assert_eq!((buffers.count(), kernel.in_flight()), (5, 0));
        kernel.end().expect("every buffer was there");
    }
}

/// Goal: where waiting fails, a scope destroys its context and is left; where that fails, too, it
/// does not return. Method: each call refused by each errno, with a read or a POLL in flight; the
/// end of the process is seen as a panic.
#[test]
fn a_scope_is_left_when_the_kernel_is_finished_or_not_at_all() {
    // Of a POLL, EINVAL would say that its event is on the way.
    let errnos = [Errno::EPERM, Errno::ENOSYS, Errno::EFAULT];
    for (i, errno) in errnos.into_iter().cycle().take(12).enumerate() {
        let (destroy, polls) = ((i >= 6).then_some(errno), i % 2 == 0);
        let kernel = kernel();
        let _entered = kernel.enter();
        let mut context = IoContext::new(2).expect("a context");
        let mut bytes = [0; 64];
        let _watch = linux_aio_fuzz::simulated::memory::watch(&mut bytes);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            linux_aio::scope(&mut context, &mut [const { Slot::new() }; 2], |io| {
                io.push(Either::Read(read(&mut bytes[..]))).expect("a free slot");
                if polls {
                    io.push(Either::Poll(Poll::new(POLLED.as_fd(), PollEvents::IN)))
                        .expect("a free slot");
                }
                assert_eq!(io.submit(), Ok(1 + usize::from(polls)));
                let filters = Filters { destroy, ..Filters::default() };
                kernel.filter(match polls {
                    true => Filters { cancel: Some(errno), ..filters },
                    false => Filters { getevents: Some(errno), ..filters },
                });
            })
        }));
        match (destroy, outcome) {
            (None, Ok(Ok(()))) => assert_eq!((kernel.in_flight(), kernel.contexts()), (0, 0)),
            (Some(_), Err(payload)) if payload.is::<Killed>() => {
                assert_eq!(kernel.in_flight(), 1 + usize::from(polls));
                context.into_raw();
            }
            (_, outcome) => panic!("{errno}, {destroy:?}, {polls}: {:?}", outcome.map(|_| ())),
        }
        kernel.end().expect("every buffer was there");
    }
}

enum Either<R, P> {
    Read(R),
    Poll(P),
}

impl<R: Operation, P: Operation> Operation for Either<R, P> {
    fn prepare(&mut self) -> Prepared<'_> {
        match self {
            Self::Read(op) => op.prepare(),
            Self::Poll(op) => op.prepare(),
        }
    }
}

/// Goal: to ask whether a context lives leaves the ring to its reader. Method: a thread asks;
/// should that be a call of io_getevents, the kernel holds it between its load and its store of
/// `head`. Meanwhile the reaper takes all events off the ring. They do not come again, and the
/// kernel has nothing to complain of.
#[test]
fn asking_whether_a_context_lives_leaves_the_ring_to_its_reader() {
    use linux_aio::{IoEvent, Iocb};
    use std::mem::MaybeUninit;
    use std::os::fd::AsRawFd;
    let kernel = kernel();
    let _entered = kernel.enter();
    let mut context = IoContext::new(4).expect("a context");
    let (submitter, mut reaper) = context.split();
    let mut iocbs = [1, 2, 3].map(|data| Iocb::fsync(FILE.as_raw_fd()).user_data(data));
    let pointers = iocbs.each_mut().map(std::ptr::from_mut);
    // SAFETY: The iocbs are there during the call, and name no memory.
    assert_eq!(unsafe { submitter.submit(&pointers) }, Ok(3));
    kernel.run_to_the_end();
    let mut reap = || {
        let mut room = [const { MaybeUninit::<IoEvent>::uninit() }; 4];
        let events = reaper.reap(&mut room).expect("the ring is read");
        events.iter().map(IoEvent::user_data).collect::<Vec<_>>()
    };
    kernel.hold_waits(true);
    std::thread::scope(|threads| {
        let asker = threads.spawn(|| submitter.is_alive());
        while !asker.is_finished() && kernel.held_waits() == 0 {
            std::thread::yield_now();
        }
        assert_eq!(reap(), [1, 2, 3]);
        kernel.hold_waits(false);
        assert!(asker.join().expect("no panic"));
    });
    assert_eq!(reap(), [] as [u64; 0]);
    assert_eq!(context.in_flight(), 0);
    drop(context);
    kernel.end().expect("nothing wrong");
}

/// Goal: nothing is lost or counted wrongly when several threads submit while another reaps.
/// Method: three submitters and the reaper of a context, over a kernel that interrupts, reorders
/// and takes in part, and that has less room than they want; a fourth thread asks all the time
/// whether the context lives.
#[test]
fn several_threads_submit_and_one_reaps() {
    use linux_aio::{IoEvent, Iocb, RwFlags};
    use std::mem::MaybeUninit;
    use std::os::fd::AsRawFd;
    use std::sync::atomic::{AtomicUsize, Ordering};
    const EACH: u32 = 400;
    let faults = [
        Fault::PartialSubmit,
        Fault::Busy,
        Fault::InterruptedSubmit,
        Fault::Reordered,
        Fault::AtOnce,
        Fault::InterruptedWait,
    ];
    for seed in 0..4 {
        let kernel = simulated::kernel(Script::from_seed(seed).with(&faults));
        kernel.expect_threads();
        kernel.open(FILE.as_fd(), Object::File);
        let _entered = kernel.enter();
        let mut context = IoContext::new(8).expect("a context");
        context.use_ring(seed % 2 == 0);
        let reaped = AtomicUsize::new(0);
        let (submitter, mut reaper) = context.split();
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while reaped.load(Ordering::Relaxed) < 3 * EACH as usize {
                    kernel.check().expect("nothing wrong");
                    assert!(submitter.is_alive());
                    std::thread::yield_now();
                }
            });
            for thread in 0..3 {
                let kernel = &kernel;
                threads.spawn(move || {
                    let mut iocbs: Vec<Iocb> = (0..EACH)
                        .map(|i| thread * EACH + i + 1)
                        .map(|number| {
                            let iocb = Iocb::fsync(FILE.as_raw_fd()).user_data(u64::from(number));
                            iocb.rw_flags(RwFlags::from_bits_retain(number as _))
                        })
                        .collect();
                    let iocbs: Vec<*mut Iocb> = iocbs.iter_mut().map(std::ptr::from_mut).collect();
                    let mut rest = &iocbs[..];
                    while !rest.is_empty() {
                        // SAFETY: The iocbs are there during the call, and name no memory.
                        match unsafe { submitter.submit(&rest[..rest.len().min(5)]) } {
                            Ok(count) => rest = &rest[count..],
                            Err(Errno::EAGAIN | Errno::EINTR) => {
                                kernel.check().expect("nothing wrong");
                                std::thread::yield_now();
                            }
                            Err(errno) => panic!("{errno}"),
                        }
                    }
                });
            }
            let mut seen = vec![false; 3 * EACH as usize + 1];
            while reaped.load(Ordering::Relaxed) < 3 * EACH as usize {
                let mut room = [const { MaybeUninit::<IoEvent>::uninit() }; 6];
                match reaper.wait(1, None, &mut room) {
                    Ok(events) => {
                        for event in events {
                            let number = event.user_data() as usize;
                            assert!(!std::mem::replace(&mut seen[number], true), "twice");
                        }
                        reaped.fetch_add(events.len(), Ordering::Relaxed);
                    }
                    Err(Errno::EINTR) => {}
                    Err(errno) => panic!("{errno}"),
                }
            }
        });
        assert_eq!(context.in_flight(), 0);
        drop(context);
        kernel.end().expect("nothing wrong");
    }
}
