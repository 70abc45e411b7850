//! seccomp filters, as container runtimes install them: each of the six calls refused with `EPERM`
//! or `ENOSYS`. Errors are clear, nothing is lost, and no borrowed buffer is given up. In children,
//! since a filter cannot be taken off.

use crate::common;

use common::child::{Ended, in_child};
use common::files::{Pipe, pipe};
use common::filter::{aio_calls, errno, filters_work, install, waiting_calls};
use common::held::{BYTE, HeldFile};
use common::{Watchdog, context, holds, queue, room, say_skipped, skip};
use core::time::Duration;
use linux_aio::op::{Any, Poll, Read};
use linux_aio::{Errno, IoContext, PollEvents, Queue, SigSet, Slot};
use std::fs::File;
use std::sync::Arc;
use std::thread;

const REFUSALS: [Errno; 2] = [Errno::EPERM, Errno::ENOSYS];

fn refuse(names: &[&str], with: Errno) {
    let calls: Vec<u32> =
        aio_calls().iter().filter(|(name, _)| names.contains(name)).map(|call| call.1).collect();
    assert!(!calls.is_empty());
    install(&calls, errno(with.as_raw()));
}

fn refuse_waiting(with: Errno) {
    install(&waiting_calls(), errno(with.as_raw()));
}

/// Runs `body` in a child for each refusal, and wants it to end well.
fn for_each_refusal(body: impl Fn(Errno)) {
    for refusal in REFUSALS {
        assert_eq!(in_child(|| body(refusal)), Ended::WELL, "{refusal:?}");
    }
}

fn zero() -> Arc<File> {
    Arc::new(File::open("/dev/zero").expect("/dev/zero"))
}

fn poll(pipe: &Pipe) -> Any<Arc<File>, Vec<u8>> {
    Poll::new(Arc::new(pipe.reader.try_clone().expect("a descriptor")), PollEvents::IN).into()
}

/// Goal: where no context can be made, the error tells a filter from a kernel without AIO.
#[test]
fn a_refused_io_setup_says_what_refused_it() {
    let _watchdog = Watchdog::new();
    if !filters_work() {
        skip!("this kernel has no seccomp filters");
    }
    for_each_refusal(|refusal| {
        refuse(&["io_setup"], refusal);
        let error = IoContext::new(8).unwrap_err();
        assert_eq!((error.errno(), error.asked()), (refusal, 8));
        let text = error.to_string();
        let names = if refusal == Errno::EPERM { "seccomp" } else { "no AIO" };
        assert!(text.contains(names) && text.contains("io_setup(8)"), "{text}");
        assert!(Queue::<Read<Arc<File>, Vec<u8>>>::with_capacity(8).is_err());
    });
}

/// Goal: where nothing can be submitted, every operation comes out or stays queued, with its
/// buffer. Method: `ENOSYS` is returned and leaves the operations queued; `EPERM` could be the
/// answer to one operation, so each completes with it.
#[test]
fn a_refused_io_submit_loses_no_operation() {
    let _watchdog = Watchdog::new();
    if !filters_work() {
        skip!("this kernel has no seccomp filters");
    }
    for_each_refusal(|refusal| {
        let mut queue = queue(4);
        refuse(&["io_submit"], refusal);
        for i in 0..4 {
            queue.push(Read::new(zero(), vec![1u8; 16], i)).expect("a slot");
        }
        if refusal == Errno::ENOSYS {
            for _ in 0..2 {
                for error in [queue.submit().map(drop), queue.wait().map(drop)] {
                    let error = error.expect_err("the call is refused");
                    assert_eq!((error.errno(), error.call()), (Errno::ENOSYS, "io_submit"));
                    assert!(error.to_string().contains("seccomp"), "{error}");
                }
                assert_eq!((queue.queued(), queue.in_flight()), (4, 0));
            }
            return;
        }
        let mut offsets = Vec::new();
        while let Some(done) = queue.wait().expect("a wait") {
            assert_eq!((done.result, done.op.buf), (Err(Errno::EPERM), vec![1; 16]));
            offsets.push(done.op.offset);
        }
        assert_eq!(offsets, [0, 1, 2, 3]);
    });
}

/// Goal: a scope that can queue no more since nothing can be submitted does not say that its slots
/// are in use; it names the call.
#[test]
fn a_push_that_cannot_submit_names_io_submit() {
    let _watchdog = Watchdog::new();
    if !filters_work() {
        skip!("this kernel has no seccomp filters");
    }
    let ended = in_child(|| {
        let mut context = context(65);
        refuse(&["io_submit"], Errno::ENOSYS);
        let mut slots = [const { Slot::new() }; 65];
        let left = linux_aio::scope(&mut context, &mut slots, |io| {
            for _ in 0..64 {
                io.push(Read::new(zero(), vec![1u8; 16], 0)).expect("a slot");
            }
            let refused = io.push(Read::new(zero(), vec![1u8; 16], 0)).expect_err("no room");
            assert!(refused.to_string().starts_with("io_submit: ENOSYS: a seccomp"), "{refused}");
            assert_eq!(refused.errno(), Errno::ENOSYS);
            assert_eq!(io.submit().map_err(Errno::from), Err(Errno::ENOSYS));
        });
        assert_eq!(left, Ok(()));
    });
    assert_eq!(ended, Ended::WELL);
}

/// Goal: where the kernel cannot be waited in, events that are there still come by the ring; a
/// wait says why it cannot, and the operation completes when it ends. Method: reads and a POLL.
#[test]
fn a_refused_io_getevents_leaves_the_ring() {
    let _watchdog = Watchdog::new();
    if !filters_work() {
        skip!("this kernel has no seccomp filters");
    }
    for_each_refusal(|refusal| {
        let mut pipe = pipe(libc::O_NONBLOCK);
        let mut queue = queue(8);
        assert!(queue.push(poll(&pipe)).is_ok());
        for i in 0..4 {
            assert!(queue.push(Read::new(zero(), vec![1u8; 16], i).into()).is_ok());
        }
        refuse_waiting(refusal);
        for _ in 0..4 {
            let done = queue.wait().expect("a wait").expect("a completion");
            assert_eq!(done.result, Ok(16));
        }
        for _ in 0..2 {
            let timed = queue.wait_timeout(Duration::from_secs(60)).map(drop);
            let next = queue.next_timeout(Duration::from_secs(60)).map(drop);
            for error in [queue.wait().map(drop), timed, next] {
                let error = error.expect_err("the call is refused");
                assert_eq!((error.errno(), error.call()), (refusal, "io_getevents"));
                assert!(error.to_string().contains("seccomp"), "{error}");
            }
            assert_eq!(queue.in_flight(), 1);
        }
        pipe.put(1);
        let done = queue.wait().expect("a wait").expect("a completion");
        assert!(holds(done.result, PollEvents::IN));
    });
}

/// Goal: with the ring off as well, the error is there for who can be told, nothing panics, and the
/// queue's drop still ends everything.
#[test]
fn a_refused_io_getevents_without_the_ring_is_an_error() {
    let _watchdog = Watchdog::new();
    if !filters_work() {
        skip!("this kernel has no seccomp filters");
    }
    for_each_refusal(|refusal| {
        let mut without_ring = context(8);
        without_ring.use_ring(false);
        let mut reaped = context(8);
        reaped.use_ring(false);
        let mut queue = Queue::new(without_ring, 8).expect("a fresh context");
        let buffer = Arc::new(());
        for i in 0..4 {
            let op = (Read::new(zero(), vec![1u8; 16], i), Arc::clone(&buffer));
            assert!(queue.push(op).is_ok());
        }
        refuse_waiting(refusal);
        assert_eq!(queue.submit(), Ok(4));
        assert_eq!(queue.try_next().map_err(Errno::from).err(), Some(refusal));
        assert_eq!(queue.ready().map_err(Errno::from).err(), Some(refusal));
        assert_eq!(queue.wait().map_err(Errno::from).err(), Some(refusal));
        assert_eq!(queue.in_flight(), 4);
        drop(queue);
        assert_eq!(Arc::strong_count(&buffer), 1);

        let (_, mut reaper) = reaped.split();
        let mut events = room::<4>();
        assert_eq!(reaper.reap(&mut events).err(), Some(refusal));
        assert_eq!(reaper.wait(1, None, &mut events).err(), Some(refusal));
    });
}

/// Goal: podman's profile refuses io_pgetevents alone: only the wait with a mask misses it.
#[test]
fn a_refused_io_pgetevents_is_missed_only_by_the_wait_with_a_mask() {
    let _watchdog = Watchdog::new();
    if !filters_work() {
        skip!("this kernel has no seccomp filters");
    }
    if cfg!(target_pointer_width = "32") {
        skip!("32-bit targets wait by io_pgetevents_time64 too");
    }
    for_each_refusal(|refusal| {
        refuse(&["io_pgetevents"], refusal);
        let mut context = context(4);
        context.use_ring(false);
        let mut events = room::<4>();
        let (_, mut reaper) = context.split();
        let masked = reaper.wait_masked(0, Some(Duration::ZERO), &SigSet::full(), &mut events);
        assert_eq!(masked.err(), Some(refusal));
        let plain = reaper.wait(1, Some(Duration::from_millis(1)), &mut events);
        assert_eq!(plain.map(<[_]>::len), Ok(0));
    });
}

/// Goal: where a POLL cannot be cancelled, a scope that leaves with one still ends it: it destroys
/// the context, and later calls say that the context is dead.
#[test]
fn a_refused_io_cancel_makes_leaving_destroy_the_context() {
    let _watchdog = Watchdog::new();
    if !filters_work() {
        skip!("this kernel has no seccomp filters");
    }
    // Whatever the error: the last is one that io_cancel(2) names.
    let cancel_refused = |refusal| {
        let pipe = pipe(libc::O_NONBLOCK);
        let mut context = context(4);
        refuse(&["io_cancel"], refusal);
        let alive = Arc::new(());
        linux_aio::scope(&mut context, &mut [const { Slot::new() }; 4], |io| {
            let op = (Poll::new(&pipe.reader, PollEvents::IN), Arc::clone(&alive));
            let token = io.push(op).map_err(drop).expect("a slot");
            assert_eq!(io.submit(), Ok(1));
            assert_eq!(io.cancel(token), Err(refusal));
            assert_eq!(io.in_flight(), 1);
        })
        .expect("a scope");
        assert_eq!(Arc::strong_count(&alive), 1);
        assert!(!context.split().0.is_alive());
        let zero = zero();
        let after = linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
            io.push(Read::new(&zero, [1u8; 8], 0)).expect("a slot");
            io.wait().expect("a wait").map(|done| (done.result, done.op.buf))
        });
        assert_eq!(after, Ok(Some((Err(Errno::EINVAL), [1; 8]))));
    };
    for refusal in [Errno::EPERM, Errno::ENOSYS, Errno::EAGAIN] {
        assert_eq!(in_child(|| cancel_refused(refusal)), Ended::WELL, "{refusal:?}");
    }
}

/// Goal: where the kernel cannot be waited in, leaving destroys the context, whose 0 is the proof
/// that the buffers are free. Method: held reads, released later by a thread; after the scope every
/// byte is there. And POLLs.
#[test]
fn a_refused_wait_makes_leaving_destroy_the_context_and_wait_in_that() {
    let _watchdog = Watchdog::new();
    if !filters_work() {
        skip!("this kernel has no seccomp filters");
    }
    for_each_refusal(|refusal| {
        let mut held = match HeldFile::new() {
            Ok(held) => held,
            Err(reason) => {
                say_skipped(&reason);
                return;
            }
        };
        let file = held.file().try_clone().expect("a descriptor");
        let mut context = context(4);
        let mut buffers = [[0u8; 4096]; 3];
        linux_aio::scope(&mut context, &mut [const { Slot::new() }; 4], |io| {
            for (i, buf) in (0..).zip(&mut buffers) {
                io.push(Read::new(&file, buf, i * 4096)).expect("a slot");
            }
            assert_eq!(io.submit(), Ok(3));
            held.wait_for_arrival(3);
            let hold = held.take_hold();
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(100));
                drop(hold);
            });
            refuse_waiting(refusal);
        })
        .expect("a scope");
        assert!(buffers.as_flattened().iter().all(|&byte| byte == BYTE));
        assert_eq!(context.in_flight(), 0);
    });
}

/// Goal: where nothing at all can prove that the kernel is finished with a borrowed buffer, the
/// process is killed: it neither returns nor unwinds. Where nothing is in flight, or the events are
/// on the ring, there is nothing to prove and it goes on. Method: the calls are refused inside of
/// the scope; what the child would do after it would be to exit well.
#[test]
fn where_nothing_proves_a_buffer_free_the_process_is_killed() {
    let _watchdog = Watchdog::new();
    if !filters_work() {
        skip!("this kernel has no seccomp filters");
    }
    let pipe = pipe(libc::O_NONBLOCK);
    let zero = zero();
    let leave_with = |poll: bool, refusal, panics: bool| {
        in_child(|| {
            let mut context = context(4);
            let _ = linux_aio::scope(&mut context, &mut [const { Slot::new() }; 4], |io| {
                let read = Read::new(&*zero, vec![1u8; 16], 0);
                io.push(Any::Read(read)).map_err(drop).expect("a slot");
                if poll {
                    let poll = Poll::new(&pipe.reader, PollEvents::IN);
                    io.push(Any::<_, _>::Poll(poll)).map_err(drop).expect("a slot");
                }
                io.submit().expect("a submit");
                refuse_waiting(refusal);
                refuse(&["io_cancel", "io_destroy"], refusal);
                assert!(!panics, "leaving by panic");
            });
        })
    };
    for refusal in REFUSALS {
        for panics in [false, true] {
            let killed = leave_with(true, refusal, panics);
            assert_eq!(killed, Ended::Killed(libc::SIGKILL), "{refusal:?}, panics: {panics}");
        }
        assert_eq!(leave_with(false, refusal, false), Ended::WELL);
    }
}

/// Goal: a queue whose context cannot be destroyed leaks what it owns, rather than freeing what
/// the kernel may write, and its drop does not panic.
#[test]
fn a_refused_io_destroy_makes_a_queue_leak_what_it_owns() {
    let _watchdog = Watchdog::new();
    if !filters_work() {
        skip!("this kernel has no seccomp filters");
    }
    for_each_refusal(|refusal| {
        let pipe = pipe(libc::O_NONBLOCK);
        let alive = Arc::new(());
        let mut queue = queue(4);
        for op in [poll(&pipe), Read::new(zero(), vec![1; 16], 0).into()] {
            assert!(queue.push((op, Arc::clone(&alive))).is_ok());
        }
        assert_eq!(queue.submit(), Ok(2));
        let idle = context(1);
        refuse(&["io_destroy"], refusal);
        drop(queue);
        assert_eq!(Arc::strong_count(&alive), 1 + 2);
        drop(idle);
    });
}

/// Goal: with all six calls refused at once, nothing panics or hangs anywhere. Method: everything
/// that was made before is used and dropped after.
#[test]
fn with_every_call_refused_nothing_panics_or_hangs() {
    let _watchdog = Watchdog::new();
    if !filters_work() {
        skip!("this kernel has no seccomp filters");
    }
    for_each_refusal(|refusal| {
        let mut context = context(4);
        let mut queue = queue(4);
        for i in 0..2 {
            assert!(queue.push(Read::new(zero(), vec![1u8; 16], i)).is_ok());
        }
        assert_eq!(queue.submit(), Ok(2));
        let names: Vec<&str> = aio_calls().iter().map(|call| call.0).collect();
        refuse(&names, refusal);
        assert!(queue.wait().expect("it is on the ring").is_some());
        let (submitter, mut reaper) = context.split();
        assert!(!submitter.is_alive());
        assert_eq!(reaper.reap(&mut room::<1>()).map(<[_]>::len), Ok(0));
        assert_eq!(reaper.wait(1, None, &mut room::<1>()).err(), Some(refusal));
        let _ = context.into_split();
    });
}
