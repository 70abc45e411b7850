//! Cancelling: what each state of an operation answers, and that a cancelled operation completes
//! exactly once all the same.

use crate::common;

use common::child::{Ended, in_child};
use common::files::{Pipe, pipe};
use common::held::HeldFile;
use common::{Watchdog, context, holds, queue, skip};
use linux_aio::op::{Any, Poll, Read};
use linux_aio::{Errno, PollEvents, Queue, Scope, Slot};
use std::fs::File;
use std::sync::{Arc, LazyLock};

type Op = Any<Arc<File>, Vec<u8>>;

fn read(offset: u64) -> Op {
    static ZERO: LazyLock<Arc<File>> =
        LazyLock::new(|| Arc::new(File::open("/dev/zero").expect("/dev/zero")));
    Read::new(Arc::clone(&ZERO), vec![1; 16], offset).into()
}

fn poll(pipe: &Pipe) -> Op {
    Poll::new(Arc::new(pipe.reader.try_clone().expect("a descriptor")), PollEvents::IN).into()
}

fn offset(op: &Op) -> u64 {
    match op {
        Any::Read(read) => read.offset,
        _ => panic!("not a read"),
    }
}

/// Goal: a pending operation is cancelled without the kernel, completes with `ECANCELED` once, and
/// the others keep their order. Method: cancel each of five in turn; the completions of the rest
/// are those of the rest.
#[test]
fn a_pending_operation_completes_with_ecanceled_and_the_others_go_on() {
    let _watchdog = Watchdog::new();
    for at in 0..5 {
        let mut queue: Queue<Op> = queue(5);
        let tokens: Vec<_> = (0..5).map(|i| queue.push(read(i)).expect("a slot")).collect();
        assert_eq!(queue.cancel(tokens[at]), Ok(()));
        assert_eq!(queue.cancel(tokens[at]), Err(Errno::ENOENT));
        assert_eq!(queue.queued(), 4);
        assert_eq!(queue.submit(), Ok(4));
        let mut seen = Vec::new();
        while let Some(done) = queue.wait().expect("a wait") {
            let cancelled = done.token == tokens[at];
            assert_eq!(done.result, if cancelled { Err(Errno::ECANCELED) } else { Ok(16) });
            assert_eq!(done.token, tokens[offset(&done.op) as usize]);
            seen.push(offset(&done.op));
        }
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3, 4]);
    }
}

/// Goal: cancelling finds a pending operation wherever the pending ones start, and where they go
/// around the end. Method: the kernel takes a part of 3000 operations and has no room for more;
/// the part's slots are used again, behind the others; then every other pending one is cancelled.
#[test]
fn cancelling_pending_operations_is_right_where_they_go_around_the_end() {
    const SLOTS: u64 = 3_000;
    let _watchdog = Watchdog::new();
    let mut queue: Queue<Op> = Queue::new(context(1), SLOTS as u32).expect("a fresh context");
    let mut tokens = Vec::new();
    for i in 0..SLOTS {
        tokens.push(queue.push(read(i)).expect("a slot"));
    }
    let accepted = queue.submit().expect("room for some") as u64;
    assert!((1..SLOTS).contains(&accepted), "room for {accepted}");
    let mut results = vec![];
    while let Some(done) = queue.try_next().expect("a poll") {
        results.push((offset(&done.op), done.result));
    }
    assert_eq!(results.len() as u64, accepted);
    for i in SLOTS..SLOTS + accepted {
        tokens.push(queue.push(read(i)).expect("a slot"));
    }
    assert_eq!(queue.queued() as u64, SLOTS);
    let is_cancelled = |i: u64| i >= accepted && i % 2 == 0;
    for (i, token) in (0..).zip(&tokens) {
        if is_cancelled(i) {
            assert_eq!(queue.cancel(*token), Ok(()));
        }
    }
    while let Some(done) = queue.wait().expect("a wait") {
        results.push((offset(&done.op), done.result));
    }
    results.sort_unstable_by_key(|(i, _)| *i);
    assert_eq!(results.len(), tokens.len());
    for (i, result) in (0..).zip(results) {
        let expected = if is_cancelled(i) { Err(Errno::ECANCELED) } else { Ok(16) };
        assert_eq!(result, (i, expected));
    }
}

/// Goal: a token of another scope or queue names nothing, however many there have been and however
/// often a slot was used. Method: of scopes that come one after the other, the first numbers of
/// uses are spread by a constant, which says how many scopes later a slot begins closest below the
/// number that an early scope began with. That many are made, in a child, where no others are. Then
/// a queue's slot is used up to that number and beyond; the early scope's token never names its
/// operation.
#[test]
fn a_token_of_another_scope_or_queue_names_nothing() {
    const SPREAD: u32 = 0x9e37_79b1;
    let _watchdog = Watchdog::new();
    let distance = |scopes: u32| 0_u32.wrapping_sub(scopes.wrapping_mul(SPREAD));
    let scopes = (1..100_000).min_by_key(|&scopes| distance(scopes)).expect("some");
    let uses = distance(scopes);
    assert!(uses < 50_000, "{uses} uses are too many for a test");
    let ended = in_child(|| {
        let mut context = context(1);
        let mut token = || {
            let push = |io: &Scope<Op>| io.push(read(0)).expect("a slot");
            linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], push).expect("a scope")
        };
        let early = token();
        for _ in 1..scopes {
            token();
        }
        let mut queue: Queue<Op> = queue(1);
        for number in 0..uses + 16 {
            let own = queue.push(read(0)).expect("a slot");
            assert_eq!(queue.cancel(early), Err(Errno::ENOENT), "{early:?} at use {number}");
            assert_eq!(queue.cancel(own), Ok(()));
            assert!(
                queue
                    .try_next()
                    .expect("a poll")
                    .is_some_and(|done| done.result == Err(Errno::ECANCELED))
            );
        }
    });
    assert_eq!(ended, Ended::WELL);
}

/// Goal: a POLL in flight is the kernel's to cancel: it completes once, with no event holding, and
/// a second attempt, while its event is on the way, is no error. Method: POLLs on a silent pipe.
#[test]
fn a_poll_in_flight_is_cancelled_and_completes_once() {
    let _watchdog = Watchdog::new();
    let pipe = pipe(libc::O_NONBLOCK);
    let mut queue: Queue<Op> = queue(8);
    let tokens: Vec<_> = (0..8).map(|_| queue.push(poll(&pipe)).expect("a slot")).collect();
    assert_eq!(queue.submit(), Ok(8));
    for &token in &tokens {
        for _ in 0..3 {
            assert_eq!(queue.cancel(token), Ok(()));
        }
    }
    let mut completed = 0;
    while let Some(done) = queue.wait().expect("a wait") {
        assert_eq!(done.result, Ok(0));
        assert_eq!(queue.cancel(done.token), Err(Errno::ENOENT));
        completed += 1;
    }
    assert_eq!(completed, 8);
}

/// Goal: a token names one use of a slot. Method: cancel by the tokens of earlier uses of a slot
/// that is in use again: the operation there is not touched.
#[test]
fn the_token_of_an_earlier_use_of_the_slot_cancels_nothing() {
    let _watchdog = Watchdog::new();
    let mut pipe = pipe(libc::O_NONBLOCK);
    let mut queue: Queue<Op> = queue(1);
    let mut stale = Vec::new();
    for i in 0..5 {
        stale.push(queue.push(read(i)).expect("a slot"));
        let done = queue.wait().expect("a wait").expect("a completion");
        assert_eq!(Some(&done.token), stale.last());
    }
    let token = queue.push(poll(&pipe)).expect("a slot");
    for submitted in [false, true] {
        for &stale in &stale {
            assert_ne!(stale, token);
            assert_eq!(queue.cancel(stale), Err(Errno::ENOENT), "submitted: {submitted}");
        }
        queue.submit().expect("a submit");
    }
    pipe.put(1);
    let done = queue.wait().expect("a wait").expect("a completion");
    assert_eq!(done.token, token);
    assert!(holds(done.result, PollEvents::IN));
}

/// Goal: an operation that has ended and was not taken cannot be cancelled, and keeps its result.
#[test]
fn an_operation_that_was_refused_or_ended_keeps_its_result() {
    let _watchdog = Watchdog::new();
    let mut queue: Queue<Op> = queue(2);
    let null = Arc::new(File::options().write(true).open("/dev/null").expect("/dev/null"));
    let refused = queue.push(Read::new(null, vec![1; 16], 0).into()).expect("a slot");
    assert_eq!(queue.submit(), Ok(0));
    assert_eq!(queue.cancel(refused), Err(Errno::ENOENT));
    let done = queue.wait().expect("a wait").expect("a completion");
    assert_eq!(done.result, Err(Errno::EBADF));

    let token = queue.push(read(0)).expect("a slot");
    assert_eq!(queue.submit(), Ok(1));
    let ready = queue.wait_ready().expect("a wait").expect("a completion");
    assert_eq!(ready.token(), token);
    core::mem::forget(ready);
    assert_eq!(queue.cancel(token), Err(Errno::ENOENT));
}

/// Goal: the token of a queue means nothing to another. Method: cancel one queue's pending and
/// in-flight POLLs by the tokens of another, whose uses of slots were the same.
#[test]
fn the_token_of_another_queue_cancels_nothing() {
    let _watchdog = Watchdog::new();
    let mut pipe = pipe(libc::O_NONBLOCK);
    let (mut ours, mut other): (Queue<Op>, Queue<Op>) = (queue(1), queue(1));
    ours.push(poll(&pipe)).expect("a slot");
    let foreign = other.push(poll(&pipe)).expect("a slot");
    assert_eq!(ours.cancel(foreign), Err(Errno::ENOENT));
    assert_eq!(ours.submit(), Ok(1));
    assert_eq!(ours.cancel(foreign), Err(Errno::ENOENT));
    pipe.put(1);
    let done = ours.wait().expect("a wait").expect("a completion");
    assert!(holds(done.result, PollEvents::IN));
}

/// Goal: a token with a slot number that the queue does not have is no panic.
#[test]
fn the_token_of_a_larger_queue_is_refused_by_a_smaller_one() {
    let _watchdog = Watchdog::new();
    let (mut large, mut small): (Queue<Op>, Queue<Op>) = (queue(9), queue(1));
    let tokens: Vec<_> = (0..9).map(|i| large.push(read(i)).expect("a slot")).collect();
    for token in &tokens[1..] {
        assert_eq!(small.cancel(*token), Err(Errno::ENOENT));
    }
}

/// Goal: a read in flight cannot be cancelled; it says so and completes. Method: held reads.
#[test]
fn a_read_in_flight_says_einval_and_completes_all_the_same() {
    let _watchdog = Watchdog::new();
    let mut held = match HeldFile::new() {
        Ok(held) => held,
        Err(reason) => skip!("{reason}"),
    };
    let file = Arc::new(held.file().try_clone().expect("a descriptor"));
    let mut queue: Queue<Op> = queue(4);
    let tokens: Vec<_> = (0..4)
        .map(|i| Read::new(Arc::clone(&file), vec![0; 512], i * 512).into())
        .map(|op| queue.push(op).expect("a slot"))
        .collect();
    assert_eq!(queue.submit(), Ok(4));
    held.wait_for_arrival(4);
    for &token in &tokens {
        assert_eq!(queue.cancel(token), Err(Errno::EINVAL));
    }
    assert_eq!(queue.in_flight(), 4);
    held.release();
    let mut completed = 0;
    while let Some(done) = queue.wait().expect("a wait") {
        assert_eq!(done.result, Ok(512));
        completed += 1;
    }
    assert_eq!(completed, 4);
}
