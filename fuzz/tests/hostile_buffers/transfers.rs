//! Attacks on transfers that go on.

use crate::kernel::{
    ON_SUBMIT, REFUSES, boot, complete, event, fd, look, next, queue, read, run, vec, write,
};
use linux_aio::op::{Read, Whole, Write};
use linux_aio::{Errno, EventResult, IoContext, Operation, Prepared, ReadTo, Room, Slot, Spare};
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs a transfer through pieces of these counts, each of which must be asked for. Returns the
/// counts that were asked for, with their offsets.
fn pieces<O: Operation + 'static>(
    op: O,
    counts: &[i64],
) -> (Result<u32, Errno>, O, Vec<(u64, i64)>) {
    let mut queue = queue(1);
    queue.push(op).map_err(drop).expect("a slot");
    let mut asked = Vec::new();
    for &count in counts {
        queue.submit().expect("a submit");
        let iocb = next();
        asked.push((iocb.aio_nbytes, iocb.aio_offset));
        if count > 0 && iocb.aio_lio_opcode == linux_aio::Opcode::PREAD.as_raw() {
            write(&iocb, (count as usize).min(iocb.aio_nbytes as usize));
        }
        event(iocb.aio_data, count);
        // Without a wait, which would ask for the next event.
        if let Some(done) = queue.try_next().expect("a look") {
            assert_eq!(asked.len(), counts.len(), "{counts:?} ended early");
            assert_eq!((queue.in_flight(), queue.queued()), (0, 0));
            return (done.result, done.op, asked);
        }
    }
    panic!("{counts:?} does not end");
}

const PATTERNS: &[(&[i64], usize, bool)] = &[
    (&[100], 100, true),
    (&[60, 40], 100, true),
    (&[90, 10], 100, true),
    (&[1, 99], 100, true),
    (&[36, 36, 28], 100, true),
    (&[99, 1], 100, true),
    (&[0], 0, false),
    (&[70, 0], 70, false),
    (&[30, 30, 0], 60, false),
    (&[50, -5], 50, false),
    (&[-5], 0, false),
    (&[40, 20, -11], 60, false),
    (&[i64::MAX >> 32], 100, true),
];

/// Goal: a transfer goes on until it is whole, at the end, or failed; it asks for the rest each
/// time, and shows what was read. Method: patterns of pieces, for each kind of buffer.
#[test]
fn transfers_go_on_until_they_are_whole() {
    for &(counts, sum, whole) in PATTERNS {
        let result = match counts.last() {
            Some(&count) if count >= 0 => Ok(count as u32),
            Some(&errno) => Err(Errno::from_raw(-errno as i32).expect("an errno")),
            None => panic!("no pattern"),
        };
        let mut starts = vec![0];
        starts.extend(counts.iter().scan(0, |sum, &count| {
            Some({
                *sum += count;
                *sum
            })
        }));
        let rest: Vec<_> = starts[..counts.len()]
            .iter()
            .map(|&start| (100 - start as u64, 1000 + start))
            .collect();

        let read = Read::new(fd(), [0u8; 100], 1000);
        let (got, op, asked) = pieces(Whole::new(read), counts);
        assert_eq!((got, &asked), (result, &rest), "{counts:?}");
        assert_eq!((op.done(), op.is_whole()), (sum, whole), "{counts:?}");
        look(&op.into_inner().buf[..sum], sum);

        let read = Read::new(fd(), vec(100), 1000);
        let (got, op, asked) = pieces(Whole::new(read), counts);
        assert_eq!((got, &asked), (result, &rest), "{counts:?}");
        assert_eq!((op.done(), op.is_whole()), (sum, whole), "{counts:?}");
        look(&op.into_inner().buf.into_inner(), sum);

        let write = Write::new(fd(), vec![1; 100], 1000);
        let (got, op, asked) = pieces((Whole::new(write), "value"), counts);
        assert_eq!((got, &asked), (result, &rest), "{counts:?}");
        assert_eq!((op.0.done(), op.0.is_whole()), (sum, whole), "{counts:?}");
    }
}

/// Goal: pieces of an aligned transfer begin at multiples of the alignment; the end of the file is
/// found where a piece brings no byte further; a `Spare` that had bytes before counts them once.
#[test]
fn aligned_transfers_begin_each_piece_at_the_alignment() {
    for (counts, rest, sum) in [
        (&[64, 64][..], &[(128, 0), (64, 64)][..], 128),
        (&[70, 64], &[(128, 0), (64, 64)], 128),
        (&[70, 6], &[(128, 0), (64, 64)], 70),
        (&[70, 10, 10], &[(128, 0), (64, 64), (64, 64)], 74),
        (&[10, 128], &[(128, 0), (128, 0)], 128),
        (&[0], &[(128, 0)], 0),
    ] {
        let (_, op, asked) = pieces(Whole::aligned(Read::new(fd(), vec(128), 0), 64), counts);
        assert_eq!((&asked[..], op.done()), (rest, sum), "{counts:?}");
        look(op.into_inner().buf.as_ref(), sum);

        let (_, begun) = run(Read::new(fd(), vec(192), 0), 64);
        let (_, op, asked) = pieces(Whole::aligned(begun, 64), counts);
        assert_eq!((&asked[..], op.done()), (rest, sum), "{counts:?}");
        look(op.into_inner().buf.as_ref(), 64 + sum);
    }
    assert!(catch_unwind(|| Whole::aligned(read(1), 3)).is_err());
}

/// Goal: a failed transfer that is pushed again goes on where it was, and `restart` begins again.
#[test]
fn a_failed_transfer_can_be_pushed_again() {
    let (result, op, _) = pieces(Whole::new(read(100)), &[40, -4]);
    assert_eq!((result, op.done()), (Err(Errno::EINTR), 40));
    let (_, mut op, asked) = pieces(op, &[60]);
    assert_eq!((asked, op.done(), op.is_whole()), (vec![(60, 40)], 100, true));
    op.restart().buf.clear();
    let (_, op, asked) = pieces(op, &[100]);
    assert_eq!(asked, [(100, 0)]);
    look(op.into_inner().buf.as_ref(), 100);
}

/// Goal: a buffer that is exchanged under a transfer shows no byte that was not read.
#[test]
fn a_buffer_may_be_exchanged_in_the_middle() {
    struct Exchanging(Whole<Read<BorrowedFd<'static>, Spare<Vec<u8>>>>, Option<Spare<Vec<u8>>>);
    impl Operation for Exchanging {
        fn prepare(&mut self) -> Prepared<'_> {
            self.0.prepare()
        }
        fn goes_on(&mut self, outcome: EventResult) -> bool {
            let goes_on = self.0.goes_on(outcome);
            if let Some(other) = self.1.take() {
                // The count of the transfer is lost with it, or not: by a restart.
                self.0 = Whole::new(Read::new(fd(), other, 0));
            }
            goes_on
        }
    }
    let (_, op, _) = pieces(Exchanging(Whole::new(read(100)), Some(vec(100))), &[60, 100]);
    look(op.0.into_inner().buf.as_ref(), 100);

    // Each piece is lent by another buffer, which has not the bytes that are done.
    struct TwoFaced([Spare<Vec<u8>>; 2]);
    impl ReadTo for TwoFaced {
        fn lend(&mut self) -> Room<'_> {
            self.lend_again(0)
        }
        fn lend_again(&mut self, done: usize) -> Room<'_> {
            self.0.swap(0, 1);
            self.0[0].lend_again(done)
        }
    }
    let read = Read::new(fd(), TwoFaced([vec(100), vec(100)]), 0);
    let (_, op, asked) = pieces(Whole::new(read), &[60, 40]);
    assert_eq!((asked, op.done()), (vec![(100, 0), (40, 60)], 100));
    let [second, first] = op.into_inner().buf.0.map(Spare::into_inner);
    assert_eq!((first.len(), second.len()), (60, 0));
    look(&first, 60);
}

/// Goal: a result that a program makes up shows no byte.
#[test]
fn a_result_that_is_made_up_shows_no_byte() {
    let mut op = Whole::new(read(100));
    let _ = op.prepare();
    assert!(op.goes_on(Ok(60).into()) && !op.goes_on(Ok(40).into()));
    assert_eq!((op.done(), op.is_whole()), (100, true));
    look(op.into_inner().buf.as_ref(), 0);
    let mut op = Whole::new(read(100));
    let _ = op.prepare();
    assert!(op.goes_on(Ok(60).into()));
    let (_, op, asked) = pieces(op, &[40]);
    assert_eq!(asked, [(40, 60)]);
    look(op.into_inner().buf.as_ref(), 0);
}

/// Goal: a panic where an operation decides whether it goes on drops it and frees its slot. Method:
/// a queue of one slot, by wait and without.
#[test]
fn a_panic_in_goes_on_frees_the_slot() {
    struct Panics(Read<BorrowedFd<'static>, Spare<Vec<u8>>>);
    impl Operation for Panics {
        fn prepare(&mut self) -> Prepared<'_> {
            self.0.prepare()
        }
        fn goes_on(&mut self, _: EventResult) -> bool {
            panic!("a hostile operation")
        }
    }
    let mut queue = queue(1);
    for waits in [true, false, true] {
        queue.push(Panics(read(64))).map_err(drop).expect("the slot is free");
        queue.submit().expect("a submit");
        complete(8);
        let taken = catch_unwind(AssertUnwindSafe(|| match waits {
            true => queue.wait().map(drop),
            false => queue.try_next().map(drop),
        }));
        assert!(taken.is_err());
        assert_eq!((queue.in_flight(), queue.queued()), (0, 0));
    }
}

/// Goal: `wait` and `next_timeout` submit what goes on, and a piece has a token of its own.
#[test]
fn every_wait_goes_on() {
    let mut queue = queue(1);
    for round in 0..3 {
        let token = queue.push(Whole::new(read(100))).map_err(drop).expect("a slot");
        queue.submit().expect("a submit");
        complete(60);
        // Such a kernel ends it inside of the next submit.
        ON_SUBMIT.set(Some(40));
        let done = match round {
            0 => queue.wait().expect("a wait"),
            1 => queue.wait_timeout(std::time::Duration::ZERO).expect("a wait"),
            _ => queue.next_timeout(std::time::Duration::ZERO).expect("a wait"),
        };
        ON_SUBMIT.set(None);
        let done = done.expect("a completion");
        assert_ne!(done.token, token);
        assert_eq!((done.result, done.op.done()), (Ok(40), 100));
        look(done.op.into_inner().buf.as_ref(), 100);
    }
}

/// Goal: a scope whose submit queue is full, and stays full, completes a transfer with `EAGAIN` and
/// not as if the file ended. Pushed again, it goes on. Method: 64 operations that the kernel does
/// not take.
#[test]
fn a_full_scope_does_not_end_a_transfer_as_if_it_were_whole() {
    boot();
    let mut context = IoContext::new(80).expect("a context");
    let mut slots: Vec<_> = (0..66).map(|_| Slot::new()).collect();
    linux_aio::scope(&mut context, &mut slots, |io| {
        io.push(Whole::new(read(100))).map_err(drop).expect("a slot");
        io.submit().expect("a submit");
        for _ in 0..64 {
            io.push(Whole::new(read(1))).map_err(drop).expect("a slot");
        }
        complete(60);
        REFUSES.set(Some(Errno::EAGAIN));
        let done = io.try_next().expect("a look").expect("a completion");
        assert_eq!((done.result, done.op.done()), (Err(Errno::EAGAIN), 60));
        REFUSES.set(None);
        io.push(done.op).map_err(drop).expect("a slot");
        io.submit().expect("a submit");
        (0..64).for_each(|_| complete(1));
        complete(40);
        let mut whole = 0;
        while let Some(done) = io.wait().expect("a wait") {
            assert!(done.op.is_whole());
            whole += done.op.done();
            let len = done.op.done();
            look(done.op.into_inner().buf.as_ref(), len);
        }
        assert_eq!(whole, 164);
    })
    .expect("a scope");
}
