//! Models of the halves of a context, which loom runs through every order of their threads'
//! steps. The context, its halves and its ring are the library's own; the kernel is a small one.
//!
//! ```text
//! RUSTFLAGS="--cfg loom --cfg linux_aio_simulated" cargo test --release -p linux-aio-raw --lib model::
//! ```

#![cfg(feature = "alloc")]

use super::{IoContext, OwnedReaper, OwnedSubmitter};
use crate::abi::io_event;
use crate::abi::syscall::NATIVE;
use crate::ring::model::Memory;
use crate::sys::simulated;
use crate::{IoEvent, Iocb};
use alloc::vec::Vec;
use core::mem::MaybeUninit;
use core::ptr;
use loom::sync::Arc;
use loom::thread;

/// The kernel: takes one operation at a time, whose event is there when the call returns.
fn answer(number: u32, arguments: &[crate::abi::aio_context_t]) -> Option<isize> {
    if number == NATIVE.io_destroy {
        return Some(0);
    }
    if number != NATIVE.io_submit {
        return None;
    }
    let memory = ptr::with_exposed_provenance::<Memory>(arguments[0] as usize);
    // SAFETY: Each model's memory outlives its context.
    let memory = unsafe { &*memory };
    let iocbs = ptr::with_exposed_provenance::<*mut Iocb>(arguments[2] as usize);
    // SAFETY: The library's contract with the kernel: there is one at least.
    let iocb = unsafe { iocbs.read() };
    // SAFETY: As above, and it is there during the call.
    let data = unsafe { (*iocb).as_raw().aio_data };
    if !memory.accept() {
        return Some(-(crate::Errno::EAGAIN.raw() as isize));
    }
    memory.complete(IoEvent::from_raw(io_event { data, ..io_event::default() }));
    Some(1)
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
        let mut room = [const { MaybeUninit::<IoEvent>::uninit() }; 4];
        let events = reaper.reaper().reap(&mut room).expect("the ring is read");
        numbers.extend(events.iter().map(IoEvent::user_data));
        if numbers.len() < count {
            thread::yield_now();
        }
    }
    numbers.sort_unstable();
    numbers
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
        assert_eq!(context.outstanding(), 0);
    });
}

/// Whichever half goes last, also without anybody waiting for it, the context that it leaves knows of
/// every operation and of every event.
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
        assert_eq!((reaped, context.outstanding()), (alloc::vec![0], 0));
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
