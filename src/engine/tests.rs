//! Tests engines where the numbers of uses start again.
#![cfg(feature = "std")]

use super::{BATCH, BatchBuffer, Engine, Storage};
use crate::slot::{Slot, Tag, Token};
use crate::{Errno, Fd, IoContext, Operation, Prepared};
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use std::fs::File;
use std::os::fd::AsRawFd;

/// A read of one byte of /dev/zero.
struct Read<'f> {
    file: &'f File,
    byte: [u8; 1],
}

impl Operation for Read<'_> {
    fn prepare(&mut self) -> Prepared<'_> {
        // SAFETY: The file is open as long as it is borrowed.
        let fd = unsafe { Fd::borrow_raw(self.file.as_raw_fd()) };
        Prepared::read(fd, &mut self.byte, 0)
    }
}

/// Runs `body` with an engine of two slots.
fn with_engine(body: impl for<'f> FnOnce(&Engine<Read<'f>>, &IoContext, &'f File)) {
    let file = File::open("/dev/zero").expect("/dev/zero");
    let mut context = IoContext::new(2).expect("a context");
    let mut slots = [const { Slot::new() }; 2];
    let mut queued = [const { MaybeUninit::uninit() }; 2];
    let mut buffer: BatchBuffer = [const { MaybeUninit::uninit() }; BATCH];
    let storage = Storage {
        slots: NonNull::from(&mut slots[..]),
        queued: NonNull::from(&mut queued[..]),
        buffer: NonNull::from(&mut buffer),
    };
    // SAFETY: The storage outlives the engine, and nobody else uses it. Should `body` panic, no
    // operation is in flight, since each has ended inside of `io_submit`. The engine gets this
    // context alone, which nobody else uses.
    let mut engine = unsafe { Engine::new(storage, &context) };
    body(&engine, &context, &file);
    engine.drain(&mut context);
}

/// Makes the next use of each slot the one with this number.
fn count_uses_from(engine: &Engine<Read<'_>>, use_number: u32) {
    for (index, slot) in (0..).zip(engine.slots()) {
        let dead = (u64::from(use_number) << 32).wrapping_sub(Tag::STEP);
        let blank = crate::Iocb::from_raw(crate::abi::iocb::ZERO);
        let blank = blank.user_data(Tag::from_user_data(dead).at(index).user_data());
        // SAFETY: The callers have nothing in flight.
        unsafe { slot.set_iocb(blank) };
    }
}

fn push<'f>(engine: &Engine<Read<'f>>, file: &'f File) -> Token {
    engine.push(Read { file, byte: [1] }).expect("a free slot")
}

/// Waits for the next completion, which has read a zero.
fn complete(engine: &Engine<Read<'_>>, context: &IoContext) -> Token {
    let finished = engine.wait(context, None).expect("a wait").expect("an operation in flight");
    let done = finished.take();
    assert_eq!((done.result, done.op.byte), (Ok(1), [0]));
    done.token
}

/// Goal: operations come and go as ever where the number of uses goes from the last to the first,
/// and the tokens of before name nothing. Method: both slots are used from the last number but two
/// on.
#[test]
fn the_number_of_uses_starts_again_in_the_middle_of_operations() {
    with_engine(|engine, context, file| {
        count_uses_from(engine, u32::MAX - 1);
        let mut stale = std::vec::Vec::new();
        for _ in 0..5 {
            let pushed = [push(engine, file), push(engine, file)];
            for token in &stale {
                assert_eq!(engine.cancel(context, *token), Err(Errno::ENOENT), "{token:?}");
            }
            let completed = [complete(engine, context), complete(engine, context)];
            assert_eq!(completed, pushed);
            stale.extend(completed);
        }
        let different: std::collections::HashSet<_> = stale.iter().collect();
        assert_eq!(different.len(), 10);
        assert_eq!(engine.stats().stray_events, 0);
    });
}

/// Goal: a token that was kept for 2³² uses of its slot names the operation that is there then, as
/// the page of `Token` says. It does no more than that one's own token does. Method: the number of
/// uses is set back.
#[test]
fn a_token_names_another_operation_after_exactly_all_uses() {
    with_engine(|engine, context, file| {
        count_uses_from(engine, 7);
        let kept = push(engine, file);
        assert_eq!(complete(engine, context), kept);
        for (use_number, outcome) in [(6, Err(Errno::ENOENT)), (7, Ok(())), (8, Err(Errno::ENOENT))]
        {
            count_uses_from(engine, use_number);
            let own = push(engine, file);
            assert_eq!(engine.cancel(context, kept), outcome);
            if outcome.is_ok() {
                assert_eq!(own, kept);
                let finished = engine.wait(context, None).expect("a wait").expect("it has ended");
                let done = finished.take();
                assert_eq!((done.token, done.result), (own, Err(Errno::ECANCELED)));
            } else {
                assert_eq!(complete(engine, context), own);
            }
        }
    });
}

/// Goal: the slow path is taken while a refused operation is there, and not any longer. Method: two
/// operations are cancelled before they are submitted.
#[test]
fn the_gate_is_closed_until_the_last_refused_operation_is_taken() {
    with_engine(|engine, context, file| {
        for token in [push(engine, file), push(engine, file)] {
            assert_eq!(engine.cancel(context, token), Ok(()));
        }
        for left in (0..2).rev() {
            assert!(engine.is_gated());
            let finished = engine.poll(context).expect("a poll").expect("it has been cancelled");
            assert_eq!(finished.take().result, Err(Errno::ECANCELED));
            assert_eq!(engine.is_gated(), left > 0);
        }
        let token = push(engine, file);
        assert_eq!(complete(engine, context), token);
    });
}
