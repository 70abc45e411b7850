//! Many threads submit into one context while one reaps: every operation comes out exactly once.

use crate::common;

use common::{Watchdog, context, queue, room, skip};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use linux_aio::op::Read;
use linux_aio::{Errno, IoContext, Iocb, OwnedReaper, OwnedSubmitter, Queue, Reaper, Submitter};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::{Arc, mpsc};
use std::thread;

const THREADS: usize = 8;
const EACH: usize = 4_000;

/// Submits the operations `base..base + EACH` in batches of changing size, with one buffer for
/// all: what /dev/zero writes to it is of no interest. Retries where the context is full.
fn submit_all(submitter: Submitter<'_>, file: &File, base: usize) {
    let mut next = base;
    let mut batch = 1;
    while next < base + EACH {
        let end = (next + batch).min(base + EACH);
        batch = batch % 13 + 1;
        // Reads of no byte: they complete, and name no memory.
        let dangling = core::ptr::NonNull::<u8>::dangling().as_ptr();
        let mut iocbs: Vec<Iocb> = (next..end)
            .map(|i| Iocb::pread(file.as_raw_fd(), dangling, 0, 0).user_data(i as u64))
            .collect();
        let pointers: Vec<*mut Iocb> = iocbs.iter_mut().map(core::ptr::from_mut).collect();
        let mut rest = &pointers[..];
        while !rest.is_empty() {
            // SAFETY: The iocbs live during the call, are not cancelled, and name no memory.
            match unsafe { submitter.submit(rest) } {
                Ok(accepted) => rest = &rest[accepted..],
                Err(Errno::EAGAIN) => thread::yield_now(),
                Err(errno) => panic!("io_submit: {errno}"),
            }
        }
        next = end;
    }
}

/// Reaps until every operation has been seen, and says how often each was.
fn reap_all(mut reaper: Reaper<'_>, total: usize) -> Vec<u8> {
    let mut seen = vec![0; total];
    let mut left = total;
    let mut events = room::<32>();
    while left > 0 {
        for event in reaper.wait(1, None, &mut events).expect("a wait") {
            assert_eq!(event.result(), Ok(0));
            seen[event.user_data() as usize] += 1;
            left -= 1;
        }
    }
    assert_eq!(reaper.reap(&mut events).map(<[_]>::len), Ok(0));
    seen
}

fn zero() -> File {
    File::open("/dev/zero").expect("/dev/zero")
}

/// Goal: `Submitter` is for any number of threads. Method: eight submit into a context far smaller
/// than the work, one reaps, with the ring and without; every operation is seen once.
#[test]
fn every_operation_of_many_submitters_is_reaped_once() {
    let _watchdog = Watchdog::new();
    for ring in [true, false] {
        let mut context = context(64);
        context.use_ring(ring);
        let file = zero();
        let (submitter, reaper) = context.split();
        let seen = thread::scope(|threads| {
            for thread in 0..THREADS {
                let file = &file;
                threads.spawn(move || submit_all(submitter, file, thread * EACH));
            }
            threads.spawn(|| reap_all(reaper, THREADS * EACH)).join().expect("the reaper")
        });
        assert!(seen.iter().all(|&times| times == 1), "ring: {ring}");
        assert_eq!(context.in_flight(), 0);
    }
}

/// Goal: any thread may ask at any time whether the context lives; beside the reaper, the question
/// neither repeats nor loses an event. Method: two threads ask without pause while this one submits
/// small batches and reaps them off the ring; each event comes out once, and none is outstanding.
/// (A question that stores the ring's `head` repeats about one event in a thousand here.)
#[test]
fn asking_whether_a_context_lives_leaves_its_events_alone() {
    const COUNT: usize = 200_000;
    const BATCH: usize = 4;
    let _watchdog = Watchdog::new();
    let mut context = context(64);
    if !context.uses_ring() {
        skip!("the ring cannot be read here");
    }
    let file = zero();
    let (submitter, mut reaper) = context.split();
    let (asked, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let mut seen = vec![0_u8; COUNT];
    thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert!(submitter.is_alive());
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // The first batch is submitted when the questions have begun.
        while asked.load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
        let dangling = core::ptr::NonNull::<u8>::dangling().as_ptr();
        for first in (0..COUNT).step_by(BATCH) {
            let mut iocbs: [Iocb; BATCH] = core::array::from_fn(|i| {
                Iocb::pread(file.as_raw_fd(), dangling, 0, 0).user_data((first + i) as u64)
            });
            let pointers = iocbs.each_mut().map(core::ptr::from_mut);
            // SAFETY: The iocbs live during the call, are not cancelled, and name no memory.
            assert_eq!(unsafe { submitter.submit(&pointers) }, Ok(BATCH));
            // They have all ended inside of the call.
            loop {
                let mut events = room::<{ BATCH - 1 }>();
                let taken = reaper.reap(&mut events).expect("a reap");
                if taken.is_empty() {
                    break;
                }
                taken.iter().for_each(|event| seen[event.user_data() as usize] += 1);
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    let wrong: Vec<_> = (0..COUNT).filter(|&i| seen[i] != 1).collect();
    assert!(wrong.is_empty(), "{} of {COUNT} events did not come once", wrong.len());
    assert_eq!(context.in_flight(), 0);
}

/// Goal: the owned halves carry a context over threads, and it comes back whole. Method: as above,
/// with clones of the owned submitter; then the reaper becomes the context again.
#[test]
fn owned_halves_do_the_same_and_become_the_context_again() {
    let _watchdog = Watchdog::new();
    let file = Arc::new(zero());
    let (submitter, mut reaper): (OwnedSubmitter, OwnedReaper) = context(64).into_split();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (submitter, file) = (submitter.clone(), Arc::clone(&file));
            thread::spawn(move || submit_all(submitter.submitter(), &file, thread * EACH))
        })
        .collect();
    let (reaper, seen) = thread::spawn(move || {
        let seen = reap_all(reaper.reaper(), THREADS * EACH);
        (reaper, seen)
    })
    .join()
    .expect("the reaper");
    assert!(seen.iter().all(|&times| times == 1));
    threads.into_iter().for_each(|thread| thread.join().expect("a submitter"));

    let reaper = reaper.try_into_context().expect_err("a submitter is still there");
    drop(submitter);
    let mut context: IoContext = reaper.try_into_context().expect("the last half");
    assert_eq!(context.in_flight(), 0);
    assert!(Queue::<Read<File, Vec<u8>>>::new(context, 4).is_ok());
}

/// Goal: the context lives as long as one half does. Method: drop the reaper with operations on
/// the ring and submit on; then drop the submitter, which ends the context.
#[test]
fn a_submitter_outlives_its_reaper() {
    let _watchdog = Watchdog::new();
    let file = zero();
    let (submitter, reaper) = context(64).into_split();
    drop(reaper);
    let dangling = core::ptr::NonNull::<u8>::dangling().as_ptr();
    let mut iocb = Iocb::pread(file.as_raw_fd(), dangling, 0, 0);
    // SAFETY: The iocb lives during the call, is not cancelled, and names no memory.
    assert_eq!(unsafe { submitter.submitter().submit(&[&raw mut iocb]) }, Ok(1));
    assert!(submitter.submitter().is_alive());
    drop(submitter);
}

/// Goal: a queue moves between threads with operations in flight. Method: push and submit in one,
/// take in another, drop in a third.
#[test]
fn a_queue_is_sent_with_operations_in_flight() {
    let _watchdog = Watchdog::new();
    let mut queue = queue(32);
    let file = Arc::new(zero());
    for i in 0..32 {
        queue.push(Read::new(Arc::clone(&file), vec![1; 64], i)).expect("a slot");
    }
    assert_eq!(queue.submit(), Ok(32));
    let queue = thread::spawn(move || {
        for _ in 0..16 {
            let done = queue.wait().expect("a wait").expect("a completion");
            assert_eq!((done.result, done.op.buf), (Ok(64), vec![0; 64]));
        }
        queue
    })
    .join()
    .expect("the second thread");
    thread::spawn(move || drop(queue)).join().expect("the third thread");
}

/// Goal: contexts do not share anything that threads could race for. Method: threads make, use and
/// drop contexts of their own at once, which also races for the fork guard's page.
#[test]
fn threads_with_contexts_of_their_own_do_not_meet() {
    let _watchdog = Watchdog::new();
    let completed = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|threads| {
        for thread in 0..THREADS {
            let (completed, sender) = (&completed, sender.clone());
            threads.spawn(move || {
                let mut queue = queue(8);
                let file = Arc::new(zero());
                for i in 0..8 {
                    let op = (Read::new(Arc::clone(&file), vec![1; 8], i), thread);
                    queue.push(op).expect("a slot");
                }
                while let Some(done) = queue.wait().expect("a wait") {
                    assert_eq!((done.result, done.op.1), (Ok(8), thread));
                    completed.fetch_add(1, Ordering::Relaxed);
                }
                sender.send(queue).expect("a receiver");
            });
        }
    });
    assert_eq!(completed.into_inner(), THREADS * 8);
    drop(sender);
    assert_eq!(receiver.iter().count(), THREADS);
}
