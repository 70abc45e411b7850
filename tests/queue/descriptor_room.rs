//! Waiting for a queue by its descriptor when the kernel has no room: no operation stays for ever,
//! and the loop neither spins nor sleeps on.

use crate::common;
use crate::descriptor::{Op, poll, push, read, zero};

use common::descriptor::{Loop, TRIGGERS, Trigger, is_readable};
use common::files::pipe;
use common::held::HeldFile;
use common::hogs::Hogs;
use common::{Watchdog, context, holds, skip};
use linux_aio::op::Any;
use linux_aio::{Errno, PollEvents, Queue};
use std::sync::Arc;

/// Goal: operations that the kernel had no room for are submitted by `try_next` as others end, and
/// all complete by wake-ups alone. Method: 3000 operations in the smallest context and one submit;
/// level-triggered with one completion a wake-up, and edge-triggered.
#[test]
fn operations_that_were_held_back_complete_by_wake_ups_alone() {
    const COUNT: usize = 3_000;
    let _watchdog = Watchdog::new();
    for trigger in TRIGGERS {
        let mut queue: Queue<Op> = Queue::new(context(1), COUNT as u32).expect("a fresh context");
        let events = Loop::new(&queue, trigger);
        let file = zero();
        for i in 0..COUNT as u64 {
            push(&mut queue, read(&file, i));
        }
        let accepted = queue.submit().expect("room for some");
        assert!((1..COUNT).contains(&accepted) && queue.queued() == COUNT - accepted);
        let mut seen = vec![0; COUNT];
        let mut wake_ups = 0;
        while seen.iter().sum::<usize>() < COUNT {
            events.sleep();
            wake_ups += 1;
            while let Some(done) = queue.try_next().expect("a poll") {
                assert_eq!(done.result, Ok(16));
                let Any::Read(read) = done.op else { panic!("not a read") };
                seen[read.offset as usize] += 1;
                if trigger == Trigger::Level {
                    break;
                }
            }
        }
        assert!(seen.iter().all(|&times| times == 1));
        assert!(wake_ups <= 2 * COUNT, "{wake_ups} wake-ups");
        assert!(queue.try_next().expect("a poll").is_none() && !is_readable(&queue));
    }
}

/// Goal: while operations are held back and nothing ends, the loop sleeps; as soon as the others
/// end, it is woken, and all complete. Method: reads of a file that is held, in a context that is
/// full of them, and more beside; then it is released.
#[test]
fn a_loop_sleeps_while_the_kernel_has_no_room() {
    const COUNT: usize = 600;
    let mut held = match HeldFile::new() {
        Ok(held) => held,
        Err(reason) => skip!("{reason}"),
    };
    let _watchdog = Watchdog::new();
    let file = Arc::new(held.file().try_clone().expect("a descriptor"));
    let mut queue: Queue<Op> = Queue::new(context(1), COUNT as u32).expect("a fresh context");
    let events = Loop::new(&queue, Trigger::Level);
    for i in 0..COUNT as u64 {
        push(&mut queue, read(&file, i * 512));
    }
    let accepted = queue.submit().expect("room for some");
    assert!((1..COUNT).contains(&accepted), "room for {accepted}");
    for _ in 0..3 {
        assert!(!events.is_woken(), "nothing has ended");
        assert!(queue.try_next().expect("a poll").is_none());
        assert_eq!(queue.queued(), COUNT - accepted);
    }
    held.release();
    let mut completed = 0;
    while completed < COUNT {
        events.sleep();
        if let Some(done) = queue.try_next().expect("a poll") {
            assert_eq!(done.result, Ok(16));
            completed += 1;
        }
    }
    assert!(queue.try_next().expect("a poll").is_none() && !events.is_woken());
}

/// Goal: where POLLs have all the room, whose end nobody knows, operations complete with `EAGAIN`:
/// the loop neither sleeps on nor spins. Method: more POLLs than the kernel has room for, then a
/// read; then the POLLs end, and there is room again.
#[test]
fn operations_complete_with_eagain_where_only_polls_could_make_room() {
    const COUNT: usize = 600;
    let _watchdog = Watchdog::new();
    for trigger in TRIGGERS {
        let mut silent = pipe(libc::O_NONBLOCK);
        let reader = Arc::new(silent.reader.try_clone().expect("a descriptor"));
        let mut queue: Queue<Op> = Queue::new(context(1), COUNT as u32).expect("a fresh context");
        let events = Loop::new(&queue, trigger);
        for _ in 0..COUNT {
            push(&mut queue, poll(&reader));
        }
        let accepted = queue.submit().expect("room for some");
        assert!((1..COUNT).contains(&accepted), "room for {accepted}");
        let mut refused = 0;
        events.run(&mut queue, |done| {
            assert_eq!(done.result, Err(Errno::EAGAIN));
            refused += 1;
        });
        assert_eq!((refused, queue.queued(), queue.in_flight()), (COUNT - accepted, 0, accepted));

        push(&mut queue, read(&zero(), 0));
        assert_eq!(queue.submit(), Ok(0));
        events.sleep();
        assert_eq!(
            queue.try_next().expect("a poll").map(|done| done.result),
            Some(Err(Errno::EAGAIN))
        );
        assert!(queue.try_next().expect("a poll").is_none() && !events.is_woken());

        silent.put(1);
        let mut ended = 0;
        events.run(&mut queue, |done| {
            assert!(holds(done.result, PollEvents::IN));
            ended += 1;
        });
        assert_eq!(ended, accepted);
        push(&mut queue, read(&zero(), 0));
        assert_eq!(queue.submit(), Ok(1));
        events.sleep();
        assert_eq!(queue.try_next().expect("a poll").map(|done| done.result), Some(Ok(16)));
    }
}

/// Goal: so they do where nothing is in flight, by submit and by wait alike. Method: a context
/// whose room was taken by POLLs past the queue.
#[test]
fn operations_complete_with_eagain_where_nothing_is_in_flight() {
    let _watchdog = Watchdog::new();
    for trigger in TRIGGERS {
        let (hogs, full) = Hogs::fill(context(1));
        let mut queue: Queue<Op> = hogs.queue(full, 8);
        let events = Loop::new(&queue, trigger);
        for by_wait in [false, true] {
            for i in 0..8 {
                push(&mut queue, read(&zero(), i));
            }
            let mut refused = 0;
            if by_wait {
                let done = queue.wait().expect("a wait").expect("a completion");
                assert_eq!(done.result, Err(Errno::EAGAIN));
                refused += 1;
            } else {
                assert_eq!((queue.submit(), queue.queued()), (Ok(0), 8));
            }
            events.run(&mut queue, |done| {
                assert_eq!(done.result, Err(Errno::EAGAIN));
                refused += 1;
            });
            assert_eq!((refused, queue.queued(), queue.in_flight()), (8, 0, 0));
            assert!(queue.wait().expect("a wait").is_none());
        }
        hogs.end();
    }
}

/// Goal: `try_next` submits nothing that nobody submitted, once no operation is held back any more.
/// Method: a full context whose only operation held back is cancelled, and one that takes all of
/// them at last; then another is pushed.
#[test]
fn nothing_is_submitted_unasked_when_nothing_is_held_back() {
    const COUNT: u64 = 1_000;
    let _watchdog = Watchdog::new();
    let stays_queued = |queue: &mut Queue<Op>| {
        let calls = queue.stats().submit_calls;
        push(queue, read(&zero(), 0));
        assert!(queue.try_next().expect("a poll").is_none());
        assert_eq!((queue.queued(), queue.stats().submit_calls), (1, calls));
    };
    let (hogs, full) = Hogs::fill(context(1));
    let mut queue: Queue<Op> = hogs.queue(full, 8);
    queue.completion_fd().expect("an eventfd");
    let held_back = push(&mut queue, read(&zero(), 0));
    assert_eq!(queue.submit(), Ok(0));
    assert_eq!(queue.cancel(held_back), Ok(()));
    let _ = queue.try_next().expect("a poll").expect("the cancelled one");
    stays_queued(&mut queue);
    hogs.end();

    let mut queue: Queue<Op> = Queue::new(context(1), COUNT as u32).expect("a fresh context");
    queue.completion_fd().expect("an eventfd");
    for i in 0..COUNT {
        push(&mut queue, read(&zero(), i));
    }
    queue.submit().expect("room for some");
    assert_ne!(queue.queued(), 0, "some are held back");
    for _ in 0..COUNT {
        let _ = queue.wait().expect("a wait").expect("a completion");
    }
    stays_queued(&mut queue);
}
