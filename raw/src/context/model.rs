//! Models of the halves of a context, which loom runs through every order of their threads'
//! steps. The context, its halves and its ring are the library's own; the kernel is a small one.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --release -p linux-aio-raw --features sim --lib model::
//! ```

#![cfg(feature = "alloc")]

use super::{IoContext, OwnedReaper, OwnedSubmitter};
use crate::abi::{__kernel_long_t, aio_context_t, io_event, iocb};
use crate::ring::model::Memory;
use crate::sys::sim::{Kernel, install};
use crate::{IoEvent, Iocb};
use alloc::vec::Vec;
use core::mem::MaybeUninit;
use core::ptr;
use core::time::Duration;
use loom::sync::Arc;
use loom::thread;

/// The kernel: takes one operation at a time, whose event is there when the call returns. The
/// number of a context is the address of its [`Memory`].
struct Small;

fn memory(ctx_id: aio_context_t) -> &'static Memory {
    let memory = ptr::with_exposed_provenance::<Memory>(ctx_id as usize);
    // SAFETY: Each model's memory outlives its context.
    unsafe { &*memory }
}

// SAFETY: The operations of the models name no memory, an event comes once, and `io_getevents`
// writes what it counts.
unsafe impl Kernel for Small {
    unsafe fn io_setup(&self, _: u32, _: *mut aio_context_t) -> Option<isize> {
        None
    }

    unsafe fn io_destroy(&self, _: aio_context_t) -> Option<isize> {
        Some(0)
    }

    unsafe fn io_submit(
        &self,
        ctx_id: aio_context_t,
        nr: __kernel_long_t,
        iocbpp: *const *mut iocb,
    ) -> Option<isize> {
        if nr == 0 {
            return Some(0);
        }
        // SAFETY: The library's contract with the kernel: there is one at least.
        let place = unsafe { iocbpp.read() };
        // SAFETY: As above, and it is there during the call.
        let data = unsafe { (*place).aio_data };
        if !memory(ctx_id).accept() {
            return Some(-(crate::Errno::EAGAIN.as_raw() as isize));
        }
        memory(ctx_id).complete(IoEvent::from_raw(io_event { data, ..io_event::default() }));
        Some(1)
    }

    unsafe fn io_cancel(&self, _: aio_context_t, _: *const iocb) -> Option<isize> {
        None
    }

    /// Waits until it has taken as many as it must.
    unsafe fn io_getevents(
        &self,
        ctx_id: aio_context_t,
        min_nr: __kernel_long_t,
        nr: __kernel_long_t,
        events: *mut io_event,
        _: Option<Duration>,
    ) -> Option<isize> {
        let [min, nr] = [min_nr as usize, nr as usize];
        let mut taken = memory(ctx_id).getevents(nr);
        while taken.len() < min {
            thread::yield_now();
            taken.extend(memory(ctx_id).getevents(nr - taken.len()));
        }
        let events = events.cast::<IoEvent>();
        // SAFETY: The library's contract with the kernel: there is room for `nr`.
        unsafe { events.copy_from_nonoverlapping(taken.as_ptr(), taken.len()) };
        Some(taken.len() as isize)
    }
}

fn context(memory: &Memory) -> IoContext {
    static SMALL: &'static dyn Kernel = &Small;
    install(&SMALL);
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
