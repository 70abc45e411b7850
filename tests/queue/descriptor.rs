//! Waiting for a queue by its descriptor, in an event loop of the user's own: every completion
//! wakes the loop, nothing else keeps it awake, and no wake-up is lost.

use crate::common;

use common::child::{Ended, in_child};
use common::descriptor::{Loop, TRIGGERS, Trigger, is_readable};
use common::files::{file_with, open_direct, pipe};
use common::{Watchdog, context, holds, queue};
use linux_aio::op::{Any, Callback, Fdsync, Poll, Read};
use linux_aio::{Completion, Errno, EventFd, Operation, PollEvents, Prepared, Queue};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;

pub(crate) type Op = Any<Arc<File>, Vec<u8>>;

pub(crate) fn zero() -> Arc<File> {
    Arc::new(File::open("/dev/zero").expect("/dev/zero"))
}

pub(crate) fn read(file: &Arc<File>, offset: u64) -> Op {
    Read::new(Arc::clone(file), vec![1; 16], offset).into()
}

pub(crate) fn poll(file: &Arc<File>) -> Op {
    Poll::new(Arc::clone(file), PollEvents::IN).into()
}

pub(crate) fn push<O: Operation>(queue: &mut Queue<O>, op: O) -> linux_aio::Token {
    queue.push(op).map_err(|refused| refused.errno()).expect("a slot")
}

/// A read that the kernel refuses.
fn refused() -> Op {
    let null = File::options().write(true).open("/dev/null").expect("/dev/null");
    read(&Arc::new(null), 0)
}

/// One completion, for which the loop is woken; and nothing keeps it awake afterwards.
fn one_wakes(queue: &mut Queue<Op>, trigger: Trigger) -> Result<u32, Errno> {
    let events = Loop::new(queue, trigger);
    events.sleep();
    let done = queue.try_next().expect("a poll").expect("a completion, as the loop was woken");
    assert!(queue.try_next().expect("a poll").is_none(), "one operation, one completion");
    assert!(!events.is_woken() && !is_readable(queue), "there is nothing to be taken");
    done.result
}

/// Goal: each kind of completion wakes a loop, and leaves nothing that keeps it awake. Method: one
/// operation of each kind alone in a queue, level- and edge-triggered.
#[test]
fn every_kind_of_completion_wakes_the_loop() {
    let _watchdog = Watchdog::new();
    for trigger in TRIGGERS {
        let wakes = |queue: &mut Queue<Op>| one_wakes(queue, trigger);
        let new = || {
            let queue: Queue<Op> = queue(4);
            queue.completion_fd().expect("an eventfd");
            queue
        };
        let submitted = |op: Op| {
            let mut queue = new();
            push(&mut queue, op);
            queue.submit().expect("room");
            queue
        };

        assert_eq!(wakes(&mut submitted(read(&zero(), 0))), Ok(16));
        let (_dir, path, file) = file_with(&[7; 5000]);
        let file = Arc::new(file);
        assert_eq!(wakes(&mut submitted(read(&file, 4990))), Ok(10), "short");
        assert_eq!(wakes(&mut submitted(read(&file, 5000))), Ok(0), "at the end");
        let sync = Fdsync::new(Arc::clone(&file)).into();
        assert_eq!(wakes(&mut submitted(sync)), Ok(0), "by a thread of the kernel's");

        if let Some(direct) = open_direct(&path) {
            let mut queue = submitted(read(&Arc::new(direct), 1));
            assert_eq!(wakes(&mut queue), Err(Errno::EINVAL), "an event with an error");
            assert_eq!(queue.stats().operations, 1, "the kernel accepted it");
        }

        let mut queue = submitted(refused());
        assert_eq!(wakes(&mut queue), Err(Errno::EBADF));
        assert_eq!(queue.stats().operations, 0, "the kernel refused it");

        let mut queue = new();
        let token = push(&mut queue, read(&zero(), 0));
        assert_eq!(queue.cancel(token), Ok(()));
        assert_eq!(wakes(&mut queue), Err(Errno::ECANCELED), "never submitted");

        let mut silent = pipe(libc::O_NONBLOCK);
        let reader = Arc::new(silent.reader.try_clone().expect("a descriptor"));
        let mut queue = submitted(poll(&reader));
        assert!(
            queue.try_next().expect("a poll").is_none() && !is_readable(&queue),
            "nothing has ended"
        );
        let result = thread::scope(|threads| {
            threads.spawn(|| silent.put(1));
            wakes(&mut queue)
        });
        assert!(holds(result, PollEvents::IN));
        silent.get();

        let mut queue = new();
        let token = push(&mut queue, poll(&reader));
        assert_eq!(queue.submit(), Ok(1));
        assert_eq!(queue.cancel(token), Ok(()));
        assert_eq!(wakes(&mut queue), Ok(0), "a POLL that was cancelled in flight");
    }
}

/// Goal: what had ended, and what was pushed, before the descriptor was made counts. Method: a
/// refused operation and a pushed one before the first call; with one in flight, that fails.
#[test]
fn what_was_there_before_the_descriptor_wakes_too() {
    let _watchdog = Watchdog::new();
    let silent = pipe(libc::O_NONBLOCK);
    let reader = Arc::new(silent.reader);
    let mut queue: Queue<Op> = queue(4);
    let in_flight = push(&mut queue, poll(&reader));
    assert_eq!(queue.submit(), Ok(1));
    assert_eq!(queue.completion_fd().err(), Some(Errno::EBUSY));
    assert_eq!(queue.cancel(in_flight), Ok(()));
    let _ = queue.wait().expect("a wait").expect("the POLL");

    push(&mut queue, refused());
    assert_eq!(queue.submit(), Ok(0));
    push(&mut queue, read(&zero(), 0));
    let number = queue.completion_fd().expect("nothing is in flight").as_raw_fd();
    assert!(is_readable(&queue), "an operation was refused");
    assert_eq!(queue.submit(), Ok(1));
    let results = [(); 2].map(|()| queue.try_next().expect("a poll").expect("a completion").result);
    assert_eq!(results.iter().filter(|&&result| result == Ok(16)).count(), 1);
    assert_eq!(results.iter().filter(|&&result| result == Err(Errno::EBADF)).count(), 1);
    assert!(queue.try_next().expect("a poll").is_none() && !is_readable(&queue));

    push(&mut queue, poll(&reader));
    assert_eq!(queue.submit(), Ok(1));
    assert_eq!(queue.completion_fd().expect("it is there").as_raw_fd(), number);
}

/// Goal: a level-triggered loop may take one completion for each wake-up, however they came, and is
/// woken once more at most. Method: reads that end in the submit, refused and cancelled ones, more
/// than the engine takes off the ring at once; one `try_next` a wake-up; wake-ups are counted.
#[test]
fn one_completion_for_each_wake_up_is_enough() {
    const COUNT: usize = 100;
    let _watchdog = Watchdog::new();
    for by_wait in [false, true] {
        let mut queue: Queue<Op> = queue(COUNT as u32);
        let events = Loop::new(&queue, Trigger::Level);
        let file = zero();
        let mut cancelled = vec![];
        for i in 0..COUNT {
            let op = if i % 5 == 3 { refused() } else { read(&file, 0) };
            let token = push(&mut queue, op);
            cancelled.extend((i % 10 == 7).then_some(token));
        }
        cancelled.iter().for_each(|&token| assert_eq!(queue.cancel(token), Ok(())));
        let mut completions = 0;
        if by_wait {
            // Submits, and so has operations refused, and takes events off the ring.
            let _ = queue.wait().expect("a wait").expect("a completion");
            completions += 1;
        } else {
            queue.submit().expect("room");
        }
        let mut wake_ups = 0;
        while events.is_woken() {
            wake_ups += 1;
            completions += usize::from(queue.try_next().expect("a poll").is_some());
        }
        assert_eq!(completions, COUNT);
        assert!(wake_ups <= COUNT + 1, "{wake_ups} wake-ups for {COUNT} completions");
        assert_eq!((queue.queued(), queue.in_flight()), (0, 0));
    }
}

/// An operation that names an eventfd.
struct Signalled {
    op: Op,
    eventfd: Option<Arc<EventFd>>,
}

impl Operation for Signalled {
    fn prepare(&mut self) -> Prepared<'_> {
        let prepared = self.op.prepare();
        match &self.eventfd {
            Some(eventfd) => prepared.eventfd(eventfd.fd()),
            None => prepared,
        }
    }
}

/// Goal: an operation that names another eventfd fails alone, with `EINVAL`, and its eventfd is
/// left alone; without a descriptor of the queue's it is signalled. Method: at each index of a
/// batch.
#[test]
fn an_eventfd_of_an_operations_own_is_refused() {
    let _watchdog = Watchdog::new();
    let own = Arc::new(EventFd::new().expect("an eventfd"));
    for bad in [vec![], vec![0], vec![3], vec![7], vec![0, 1, 6], (0..8).collect()] {
        let mut queue: Queue<Signalled> = queue(8);
        for with_descriptor in [false, true] {
            if with_descriptor {
                queue.completion_fd().expect("an eventfd");
            }
            for i in 0..8 {
                let eventfd = bad.contains(&i).then(|| Arc::clone(&own));
                push(&mut queue, Signalled { op: read(&zero(), i), eventfd });
            }
            let accepted = if with_descriptor { 8 - bad.len() } else { 8 };
            assert_eq!(queue.submit(), Ok(accepted));
            assert!(!with_descriptor || is_readable(&queue));
            for _ in 0..8 {
                let done = queue.try_next().expect("a poll").expect("a completion");
                let is_refused = with_descriptor && done.op.eventfd.is_some();
                assert_eq!(done.result, if is_refused { Err(Errno::EINVAL) } else { Ok(16) });
            }
            let signals = if with_descriptor { None } else { Some(bad.len() as u64) };
            assert_eq!(own.take(), Ok(signals.filter(|&signals| signals > 0)));
        }
        assert!(queue.try_next().expect("a poll").is_none() && !is_readable(&queue));
    }
}

/// Goal: completions that are looked at in their slots count as others do. Method: one `ready` for
/// each wake-up, which is pushed again, taken or dropped in turn.
#[test]
fn completions_in_their_slots_wake_the_loop() {
    let _watchdog = Watchdog::new();
    let mut queue: Queue<Op> = queue(8);
    let events = Loop::new(&queue, Trigger::Level);
    for i in 0..8 {
        push(&mut queue, read(&zero(), i));
    }
    let (mut seen, mut again) = (0, 0);
    while seen < 8 + again {
        queue.submit().expect("room");
        events.sleep();
        let Some(ready) = queue.ready().expect("a poll") else { continue };
        assert_eq!(ready.result(), Ok(16));
        seen += 1;
        match seen % 3 {
            0 if again < 50 => {
                again += 1;
                ready.push_again();
            }
            1 => drop(ready),
            _ => drop(ready.take()),
        }
    }
    assert!(queue.ready().expect("a poll").is_none() && !events.is_woken());
}

type Called = Callback<Op, Arc<std::sync::Mutex<Vec<Result<u32, Errno>>>>>;

/// Goal: each operation's callback is called, also that of one which the kernel refused, never had,
/// or had no room for. Method: `dispatch` whenever the loop is woken, in a context that is too
/// small; then `run`, in a queue without a descriptor.
#[test]
fn every_callback_is_called() {
    const COUNT: usize = 1_000;
    let _watchdog = Watchdog::new();
    fn note(_: &mut Queue<Called>, done: Completion<Called>) {
        done.op.value.lock().expect("no panic").push(done.result);
    }
    for by_loop in [true, false] {
        let results = Arc::default();
        let mut queue: Queue<Called> = Queue::new(context(1), COUNT as u32).expect("fresh");
        let events = by_loop.then(|| Loop::new(&queue, Trigger::Edge));
        let file = zero();
        for i in 0..COUNT {
            let op = if i % 10 == 3 { refused() } else { read(&file, 0) };
            let token = push(&mut queue, Callback::new(op, Arc::clone(&results), note));
            if i % 10 == 7 {
                assert_eq!(queue.cancel(token), Ok(()));
            }
        }
        match events {
            None => queue.run().expect("a run"),
            Some(events) => {
                let accepted = queue.submit().expect("room for some");
                assert!((1..8 * COUNT / 10).contains(&accepted), "some are held back");
                while results.lock().expect("no panic").len() < COUNT {
                    events.sleep();
                    queue.dispatch().expect("a poll");
                }
            }
        }
        let results = results.lock().expect("no panic");
        let count = |result| results.iter().filter(|&&other| other == result).count();
        let counts = [Ok(16), Err(Errno::EBADF), Err(Errno::ECANCELED)].map(count);
        assert_eq!(counts, [8 * COUNT / 10, COUNT / 10, COUNT / 10]);
    }
}

/// Goal: a forked child gets no descriptor, and neither takes the parent's signals nor gives it
/// any. Method: the child tries all; before and after, the parent's descriptor is readable, or is
/// not.
#[test]
fn a_forked_child_leaves_the_parents_descriptor_alone() {
    let _watchdog = Watchdog::new();
    for readable in [true, false] {
        let mut queue: Queue<Op> = queue(8);
        let events = Loop::new(&queue, Trigger::Level);
        push(&mut queue, read(&zero(), 0));
        if readable {
            assert_eq!(queue.submit(), Ok(1));
        }
        let queued = push(&mut queue, read(&zero(), 1));
        let mut queue = Some(queue);
        let ended = in_child(|| {
            let mut queue = queue.take().expect("a queue");
            assert_eq!(queue.completion_fd().err(), Some(Errno::FORKED));
            assert_eq!(queue.try_next().map_err(Errno::from).err(), Some(Errno::FORKED));
            assert_eq!(queue.ready().map_err(Errno::from).err(), Some(Errno::FORKED));
            assert_eq!(queue.cancel(queued), Err(Errno::FORKED));
            assert_eq!(queue.submit().map_err(Errno::from), Err(Errno::FORKED));
            assert_eq!(queue.try_next().map_err(Errno::from).err(), Some(Errno::FORKED));
            drop(queue);
        });
        assert_eq!(ended, Ended::WELL);
        let mut queue = queue.expect("the parent's");
        assert_eq!(events.is_woken(), readable);
        queue.submit().expect("room");
        let mut completed = 0;
        events.run(&mut queue, |done| {
            assert_eq!(done.result, Ok(16));
            completed += 1;
        });
        assert_eq!(completed, 2);
    }
}

/// Goal: the queue may go to another thread, whose loop is woken as well; when it is dropped, the
/// loop hears of it no more. Method: pushed and submitted here, awaited there.
#[test]
fn a_queue_wakes_the_loop_of_the_thread_that_has_it() {
    let _watchdog = Watchdog::new();
    let mut queue: Queue<Op> = queue(4);
    let events = Loop::new(&queue, Trigger::Edge);
    let mut silent = pipe(libc::O_NONBLOCK);
    push(&mut queue, poll(&Arc::new(silent.reader.try_clone().expect("a descriptor"))));
    assert_eq!(queue.submit(), Ok(1));
    let thread = thread::spawn(move || {
        events.sleep();
        assert!(holds(queue.try_next().expect("a poll").expect("the POLL").result, PollEvents::IN));
        push(&mut queue, read(&zero(), 0));
        assert_eq!(queue.submit(), Ok(1));
        assert!(events.is_woken());
        drop(queue);
        assert!(!events.is_woken());
    });
    silent.put(1);
    thread.join().expect("no panic");
}
