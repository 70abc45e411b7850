//! Models of the halves of a context, which loom runs through every order of their threads'
//! steps. The context, its halves and its ring are the library's own; the kernel is a small one.
//!
//! ```text
//! RUSTFLAGS="--cfg loom --cfg linux_aio_simulated" cargo test --release -p linux-aio-raw --lib
//! model::
//! ```

#![cfg(feature = "alloc")]

use super::{IoContext, OwnedReaper, OwnedSubmitter};
use crate::abi::syscall::NATIVE;
use crate::abi::{aio_context_t, io_event};
use crate::ring::model::Memory;
use crate::sys::simulated;
use crate::{IoEvent, Iocb};
use alloc::vec::Vec;
use core::mem::MaybeUninit;
use core::ptr;
use loom::sync::Arc;
use loom::thread;

/// The kernel: takes one operation at a time, whose event is there when the call returns.
fn answer(number: u32, arguments: &[aio_context_t]) -> Option<isize> {
    if number == NATIVE.io_destroy {
        return Some(0);
    }
    let memory = ptr::with_exposed_provenance::<Memory>(arguments[0] as usize);
    if number == NATIVE.io_submit {
        // SAFETY: Each model's memory outlives its context.
        return Some(submit(unsafe { &*memory }, arguments));
    }
    let waits = [NATIVE.io_getevents, NATIVE.io_pgetevents, NATIVE.io_pgetevents_time64];
    if waits.contains(&Some(number)) {
        // SAFETY: As above.
        return Some(getevents(unsafe { &*memory }, arguments));
    }
    None
}

fn submit(memory: &Memory, arguments: &[aio_context_t]) -> isize {
    if arguments[1] == 0 {
        return 0;
    }
    let iocbs = ptr::with_exposed_provenance::<*mut Iocb>(arguments[2] as usize);
    // SAFETY: The library's contract with the kernel: there is one at least.
    let iocb = unsafe { iocbs.read() };
    // SAFETY: As above, and it is there during the call.
    let data = unsafe { (*iocb).as_raw().aio_data };
    if !memory.accept() {
        return -(crate::Errno::EAGAIN.as_raw() as isize);
    }
    memory.complete(IoEvent::from_raw(io_event { data, ..io_event::default() }));
    1
}

/// Waits until it has taken as many as it must.
fn getevents(memory: &Memory, arguments: &[aio_context_t]) -> isize {
    let [min, nr] = [arguments[1] as usize, arguments[2] as usize];
    let events = ptr::with_exposed_provenance_mut::<IoEvent>(arguments[3] as usize);
    let mut taken = memory.getevents(nr);
    while taken.len() < min {
        thread::yield_now();
        taken.extend(memory.getevents(nr - taken.len()));
    }
    // SAFETY: The library's contract with the kernel: there is room for `nr`.
    unsafe { events.copy_from_nonoverlapping(taken.as_ptr(), taken.len()) };
    taken.len() as isize
}

fn context(memory: &Memory) -> IoContext {
    static ANSWER: simulated::Kernel = answer;
    // SAFETY: The operations of the models name no memory.
    unsafe { simulated::install(&ANSWER) };
    // SAFETY: The memory is the ring of a context that only this `IoContext` uses.
    unsafe { IoContext::from_raw(memory.context()) }
}

/// Submits operations with these numbers, each until there is room.
fn submit_all(submitter: &OwnedSubmitter, numbers: core::ops::Range<u64>) {
    for number in numbers {
        let mut iocb = Iocb::fsync(0).user_data(number);
        // SAFETY: The iocb is there during the call, and names no memory.
        while unsafe { submitter.submitter().submit(&[&raw mut iocb]) }.is_err() {
            thread::yield_now();
        }
    }
}

/// Takes `count` events.
fn reap_all(reaper: &mut OwnedReaper, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        numbers.extend(reap(reaper));
        if numbers.len() < count {
            thread::yield_now();
        }
    }
    numbers.sort_unstable();
    numbers
}

/// Takes the events that are there.
fn reap(reaper: &mut OwnedReaper) -> Vec<u64> {
    let mut room = [const { MaybeUninit::<IoEvent>::uninit() }; 4];
    let events = reaper.reaper().reap(&mut room).expect("the ring is read");
    events.iter().map(IoEvent::user_data).collect()
}

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(model);
}

/// Two threads submit while a third reaps: each event comes out once, and in the end nothing is
/// outstanding.
#[test]
fn two_submitters_and_the_reaper() {
    check(|| {
        let memory = Arc::new(Memory::new());
        let (submitter, mut reaper) = context(&memory).into_split();
        let other = thread::spawn({
            let submitter = submitter.clone();
            move || submit_all(&submitter, 0..1)
        });
        let one = thread::spawn(move || submit_all(&submitter, 1..2));
        assert_eq!(reap_all(&mut reaper, 2), [0, 1]);
        other.join().expect("no panic");
        one.join().expect("no panic");
        let mut context = reaper.try_into_context().expect("no submitter is left");
        assert_eq!(context.in_flight(), 0);
    });
}

/// Whichever half goes last, also without anybody waiting for it, the context that it leaves knows
/// of every operation and of every event.
#[test]
fn a_half_that_goes_while_the_other_asks_for_the_context() {
    check(|| {
        let memory = Arc::new(Memory::new());
        let (submitter, mut reaper) = context(&memory).into_split();
        let one = thread::spawn(move || submit_all(&submitter, 0..1));
        let reaped = reap_all(&mut reaper, 1);
        let mut context = loop {
            match reaper.try_into_context() {
                Ok(context) => break context,
                Err(back) => reaper = back,
            }
            thread::yield_now();
        };
        assert_eq!((reaped, context.in_flight()), (alloc::vec![0], 0));
        one.join().expect("no panic");
    });
}

/// A reaper on a thread of its own, and a context that ends when the last half is dropped.
#[test]
fn halves_that_are_dropped_on_their_threads() {
    check(|| {
        let memory = Arc::new(Memory::new());
        let (submitter, mut reaper) = context(&memory).into_split();
        let reaping = thread::spawn(move || reap_all(&mut reaper, 2));
        submit_all(&submitter, 0..2);
        drop(submitter);
        assert_eq!(reaping.join().expect("no panic"), [0, 1]);
    });
}

/// A thread asks whether the context lives while the reaper takes events off the ring: each comes
/// out once, and in the end nothing is outstanding.
#[test]
fn a_question_beside_the_reaper() {
    check(|| {
        let memory = Arc::new(Memory::new());
        let (submitter, mut reaper) = context(&memory).into_split();
        submit_all(&submitter, 0..2);
        let asking = thread::spawn(move || assert!(submitter.submitter().is_alive()));
        let mut reaped = reap(&mut reaper);
        asking.join().expect("no panic");
        reaped.extend(reap(&mut reaper));
        assert_eq!(reaped, [0, 1]);
        let mut context = reaper.try_into_context().expect("no submitter is left");
        assert_eq!(context.in_flight(), 0);
    });
}

/// A reaper that takes an event off the ring, and the next one by the system call, in which it
/// waits for it.
#[test]
fn a_reaper_that_waits_for_more_than_is_there() {
    check(|| {
        let memory = Arc::new(Memory::new());
        let (submitter, mut reaper) = context(&memory).into_split();
        submit_all(&submitter, 0..1);
        let submitting = thread::spawn(move || submit_all(&submitter, 1..3));
        for due in [&[0, 1][..], &[2]] {
            let mut room = [const { MaybeUninit::<IoEvent>::uninit() }; 2];
            let room = &mut room[..due.len()];
            let events = reaper.reaper().wait(due.len(), None, room).expect("a wait");
            assert!(events.iter().map(IoEvent::user_data).eq(due.iter().copied()));
        }
        submitting.join().expect("no panic");
        assert!(reap(&mut reaper).is_empty());
    });
}
