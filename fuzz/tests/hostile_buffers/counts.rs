//! Attacks on the count of memory that is not initialised.

use crate::kernel::{
    REFUSES, boot, complete, event, fd, look, next, queue, read, run, vec, wait, write,
};
use bytes::BytesMut;
use linux_aio::op::Read;
use linux_aio::{
    Errno, Filled, IoContext, Operation, Prepared, ReadTo, Room, Slot, Spare, SpareMemory,
};
use std::mem;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Goal: exactly the bytes that the kernel wrote can be seen, in every kind of memory.
#[test]
fn exactly_what_was_written_can_be_seen() {
    for count in [0, 1, 40, 64] {
        let (_, op) = run(Read::new(fd(), vec(64), 0), count);
        look(op.buf.as_ref(), count);
        look(&op.buf.into_inner(), count);

        let mut begun = Vec::with_capacity(100);
        begun.extend([1, 2, 3]);
        let (_, op) = run(Read::new(fd(), Spare::with_limit(begun, 64), 0), count);
        let whole = op.buf.into_inner();
        assert_eq!(whole[..3], [1, 2, 3]);
        look(&whole[3..], count);

        let mut begun = BytesMut::with_capacity(100);
        begun.extend([1, 2, 3]);
        let (_, op) = run(Read::new(fd(), Spare::with_limit(begun, 64), 0), count);
        look(op.buf.as_ref(), count);
        let whole = op.buf.into_inner();
        assert_eq!(whole[..3], [1, 2, 3]);
        look(&whole[3..], count);

        let (_, op) = run(Read::new(fd(), Spare::new(Box::new_uninit_slice(64)), 0), count);
        look(op.buf.as_ref(), count);
        assert_eq!((op.buf.room(), op.buf.into_parts().1), (64 - count, count));
        let (_, op) = run(Read::new(fd(), Spare::new([MaybeUninit::uninit(); 64]), 0), count);
        look(op.buf.as_ref(), count);
        let boxed = Box::new([MaybeUninit::uninit(); 64]);
        let (_, op) = run(Read::new(fd(), Spare::new(boxed), 0), count);
        look(op.buf.as_ref(), count);
        let leaked: &'static mut [MaybeUninit<u8>] = Box::leak(Box::new_uninit_slice(64));
        let (_, op) = run(Read::new(fd(), Spare::new(leaked), 0), count);
        look(op.buf.as_ref(), count);
        look(op.buf.into_filled(), count);
        let leaked: &'static mut Vec<u8> = Box::leak(Box::new(Vec::with_capacity(64)));
        let (_, op) = run(Read::new(fd(), Spare::with_limit(leaked, 64), 0), count);
        look(op.buf.into_inner(), count);
    }
}

/// Goal: a read goes on behind what was read, and `clear` and `get_mut` begin again where they say.
#[test]
fn short_reads_add_up() {
    let mut queue = queue(1);
    queue.push(read(64)).map_err(drop).expect("a slot");
    for (count, sum) in [(10, 10), (0, 10), (4, 14), (50, 64), (0, 64)] {
        queue.submit().expect("a submit");
        complete(count);
        let (_, op) = wait(&mut queue);
        look(op.buf.as_ref(), sum);
        assert_eq!((op.buf.len(), op.buf.room()), (sum, 64 - sum));
        queue.push(op).map_err(drop).expect("a slot");
    }
    queue.submit().expect("a submit");
    complete(0);
    let (_, mut op) = wait(&mut queue);
    op.buf.clear();
    let (_, mut op) = run(op, 5);
    look(op.buf.as_ref(), 5);
    op.buf.get_mut().push(9);
    assert_eq!((op.buf.len(), op.buf.get_mut().len()), (0, 6));
    let bytes = op.buf.into_inner();
    assert_eq!(bytes, [7, 7, 7, 7, 7, 9]);
}

// ---- a kernel that lies ----

/// Goal: no result shows a byte that was not asked for, and an error shows none.
#[test]
fn results_that_cannot_be_show_no_byte_too_many() {
    for (res, expected) in
        [(-5, 0), (i64::MIN, 0), (0, 0), (64, 64), (65, 64), (i64::MAX, 64), (1 << 32, 64)]
    {
        let mut queue = queue(1);
        queue.push(read(64)).map_err(drop).expect("a slot");
        queue.submit().expect("a submit");
        let iocb = next();
        write(&iocb, 64);
        event(iocb.aio_data, res);
        let (_, op) = wait(&mut queue);
        look(op.buf.as_ref(), expected);
    }
}

/// Goal: an event counts for the use of the slot that it names, and once. Method: events with the
/// mark and without, of the other slot, of the use before, of none, and twice.
#[test]
fn events_of_others_count_nothing() {
    const MARK: u64 = 1 << 30;
    let mut queue = queue(2);
    let [first, second] = [(); 2].map(|()| queue.push(read(64)).map_err(drop).expect("a slot"));
    assert_ne!(first, second);
    queue.submit().expect("a submit");
    let iocbs = [next(), next()];
    assert!(iocbs.iter().all(|iocb| iocb.aio_data & MARK != 0));
    let strays =
        |data: u64| [data & !MARK, data ^ 1 << 31, data ^ 1 << 32, data ^ 1 << 29, data ^ 4];
    for iocb in &iocbs {
        strays(iocb.aio_data).into_iter().for_each(|data| event(data, 64));
    }
    write(&iocbs[0], 3);
    event(iocbs[0].aio_data, 3);
    event(iocbs[0].aio_data, 64);
    let (_, op) = wait(&mut queue);
    look(op.buf.as_ref(), 3);
    // The same slot again: the events of before are none of its.
    queue.push(op).map_err(drop).expect("a slot");
    queue.submit().expect("a submit");
    let again = next();
    event(iocbs[0].aio_data, 64);
    write(&iocbs[1], 9);
    event(iocbs[1].aio_data, 9);
    let (_, op) = wait(&mut queue);
    look(op.buf.as_ref(), 9);
    event(again.aio_data, -5);
    let (result, op) = wait(&mut queue);
    assert_eq!(result, Err(Errno::EIO));
    look(op.buf.as_ref(), 3);
    assert_eq!(queue.stats().stray_events, 12);
}

/// Goal: an event with the mark ends no operation that does not fill.
#[test]
fn a_marked_event_ends_no_ordinary_operation() {
    let mut queue = queue(1);
    queue.push(Read::new(fd(), [0u8; 64], 0)).map_err(drop).expect("a slot");
    queue.submit().expect("a submit");
    let iocb = next();
    event(iocb.aio_data | 1 << 30, 64);
    event(iocb.aio_data, 5);
    let (result, _) = wait(&mut queue);
    assert_eq!((result, queue.stats().stray_events), (Ok(5), 1));
}

// ---- operations that never reach the kernel ----

/// Goal: an operation that is cancelled or refused shows no byte, and its slot serves others.
#[test]
fn cancelled_and_refused_reads_show_nothing() {
    enum Op {
        Spare(Read<BorrowedFd<'static>, Spare<Vec<u8>>>),
        Plain(Read<BorrowedFd<'static>, [u8; 64]>),
    }
    impl Operation for Op {
        fn prepare(&mut self) -> Prepared<'_> {
            match self {
                Self::Spare(op) => op.prepare(),
                Self::Plain(op) => op.prepare(),
            }
        }
    }
    let mut queue = queue(1);
    for refuses in [false, true] {
        let token = queue.push(Op::Spare(read(64))).map_err(drop).expect("a slot");
        if refuses {
            REFUSES.set(Some(Errno::EBADF));
        } else {
            assert_eq!(queue.cancel(token), Ok(()));
        }
        let (result, op) = wait(&mut queue);
        REFUSES.set(None);
        assert_eq!(result, Err(if refuses { Errno::EBADF } else { Errno::ECANCELED }));
        let Op::Spare(op) = op else { panic!("another operation") };
        look(op.buf.as_ref(), 0);
        assert_eq!(queue.cancel(token), Err(Errno::ENOENT));

        queue.push(Op::Plain(Read::new(fd(), [0; 64], 0))).map_err(drop).expect("a slot");
        queue.submit().expect("a submit");
        complete(64);
        assert!(matches!(wait(&mut queue), (Ok(64), Op::Plain(_))));
    }
    // A token names the operation that fills while it is in flight.
    let token = queue.push(Op::Spare(read(64))).map_err(drop).expect("a slot");
    queue.submit().expect("a submit");
    assert_eq!(queue.cancel(token), Err(Errno::EINVAL));
    complete(8);
    let done = queue.wait().expect("a wait").expect("a completion");
    assert_eq!((done.token, done.result), (token, Ok(8)));
}

/// Goal: where no event comes, no byte is shown, and nothing is freed that the kernel may write to.
/// Method: queues that are dropped and forgotten, a `Ready` that is, a scope that is left by a
/// panic.
#[test]
fn queues_and_scopes_may_end_at_the_worst_moment() {
    let mut dropped = queue(2);
    dropped.push(read(64)).map_err(drop).expect("a slot");
    dropped.push(read(64)).map_err(drop).expect("a slot");
    dropped.submit().expect("a submit");
    complete(10);
    drop(dropped);

    let mut forgotten = queue(2);
    forgotten.push(read(64)).map_err(drop).expect("a slot");
    forgotten.submit().expect("a submit");
    let iocb = next();
    mem::forget(forgotten);
    write(&iocb, 64);

    let mut queue = queue(1);
    queue.push(read(64)).map_err(drop).expect("a slot");
    queue.submit().expect("a submit");
    complete(10);
    mem::forget(queue.wait_ready().expect("a wait").expect("a completion"));
    drop(queue);

    let mut memory = [MaybeUninit::uninit(); 64];
    let mut spare = Spare::new(&mut memory[..]);
    let mut context = IoContext::new(1).expect("a context");
    let left = catch_unwind(AssertUnwindSafe(|| {
        linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
            io.push(Read::new(fd(), SpareRef(&mut spare), 0)).map_err(drop).expect("a slot");
            io.submit().expect("a submit");
            complete(12);
            panic!("the scope is left");
        })
    }));
    assert!(left.is_err());
    // The event was taken while the scope was left.
    look(spare.as_ref(), 12);
}

/// A borrowed buffer, by a type of the user's.
struct SpareRef<'a, B>(&'a mut Spare<B>);

impl<B: SpareMemory> ReadTo for SpareRef<'_, B> {
    fn lend(&mut self) -> Room<'_> {
        self.0.lend()
    }
}

// ---- safe code that lies ----

/// Goal: the record that was lent is counted, whoever prepares. Method: an operation that prepares
/// one buffer by hand and lends the other.
#[test]
fn an_operation_that_prepares_another_one_counts_that_one() {
    struct Other([Read<BorrowedFd<'static>, Spare<Vec<u8>>>; 2]);
    impl Operation for Other {
        fn prepare(&mut self) -> Prepared<'_> {
            let [first, second] = &mut self.0;
            let _ = first.prepare();
            let _ = second.prepare();
            second.prepare()
        }
    }
    let (_, op) = run(Other([read(64), read(64)]), 20);
    look(op.0[0].buf.as_ref(), 0);
    look(op.0[1].buf.as_ref(), 20);
    // By hand between two pushes, as `diagnose` does.
    let mut op = op;
    let _ = op.0[1].prepare().rw_flags(linux_aio::RwFlags::NOWAIT);
    let (_, op) = run(op, 30);
    look(op.0[1].buf.as_ref(), 50);
}

/// Goal: rooms that are cut count what was written from the start without a gap, and nothing else.
#[test]
fn rooms_that_are_cut_leave_no_gap() {
    struct Cut {
        buf: Spare<Vec<u8>>,
        skip: usize,
        first: usize,
    }
    impl ReadTo for Cut {
        fn lend(&mut self) -> Room<'_> {
            self.buf.lend().skip(self.skip).first(self.first)
        }
    }
    let cut = |buf, skip, first| Read::new(fd(), Cut { buf, skip, first }, 0);
    let (_, op) = run(cut(vec(64), 1, 10), 10);
    look(op.buf.buf.as_ref(), 0);
    let (_, op) = run(cut(vec(64), 0, 10), 10);
    look(op.buf.buf.as_ref(), 10);
    let (_, op) = run(cut(op.buf.buf, 0, 20), 20);
    look(op.buf.buf.as_ref(), 30);
    let (_, op) = run(cut(op.buf.buf, 5, 29), 29);
    look(op.buf.buf.as_ref(), 30);
    // The gap is no matter once it has been filled, and what is behind it was not counted.
    let (_, op) = run(cut(op.buf.buf, 0, 5), 5);
    look(op.buf.buf.as_ref(), 35);

    // A transfer that claims more than was read goes back no further than to the start.
    struct Back(Spare<Vec<u8>>);
    impl ReadTo for Back {
        fn lend(&mut self) -> Room<'_> {
            self.0.lend_again(1000).skip(2)
        }
    }
    let (_, op) = run(Read::new(fd(), Back(vec(64)), 0), 3);
    look(op.buf.0.as_ref(), 0);
}

/// Goal: a record and its memory stay together, wherever they go between two operations. Method:
/// buffers are swapped, replaced and moved out in a completed operation.
#[test]
fn buffers_may_be_swapped_after_the_event() {
    let mut queue = queue(2);
    for _ in 0..2 {
        queue.push(read(64)).map_err(drop).expect("a slot");
    }
    queue.submit().expect("a submit");
    complete(10);
    complete(20);
    let mut elsewhere = vec(8);
    let mut ready = queue.wait_ready().expect("a wait").expect("a completion");
    mem::swap(&mut ready.op_mut().buf, &mut elsewhere);
    look(ready.op().buf.as_ref(), 0);
    look(elsewhere.as_ref(), 10);
    ready.push_again();
    let (_, other) = wait(&mut queue);
    look(other.buf.as_ref(), 20);
    queue.submit().expect("a submit");
    complete(8);
    let (_, op) = wait(&mut queue);
    look(op.buf.as_ref(), 8);
}

/// Goal: a record of the user's own is a number, and shows no byte of a buffer of the library's.
#[test]
fn a_record_of_the_users_own_is_a_number() {
    struct Own {
        memory: Box<[MaybeUninit<u8>]>,
        filled: Filled,
    }
    impl ReadTo for Own {
        fn lend(&mut self) -> Room<'_> {
            Room::uninit(&mut self.memory, &mut self.filled)
        }
    }
    let own = Own { memory: Box::new_uninit_slice(64), filled: Filled::new() };
    let (_, op) = run(Read::new(fd(), own, 0), 9);
    assert_eq!(op.buf.filled.count(), 9);
}

/// Goal: operations behind pointers, in pairs and in scopes count as others do.
#[test]
fn operations_behind_pointers_count() {
    let (_, op) = run((read(64), "value"), 11);
    look(op.0.buf.as_ref(), 11);
    let (_, op) = run(Box::new(read(64)), 12);
    look(op.buf.as_ref(), 12);
    let erased: Box<dyn Operation> = Box::new(read(64));
    let (result, _) = run(erased, 13);
    assert_eq!(result, Ok(13));

    boot();
    let mut context = IoContext::new(1).expect("a context");
    let mut op = read(64);
    linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
        io.push(&mut op as &mut dyn Operation).map_err(drop).expect("a slot");
        io.submit().expect("a submit");
        complete(14);
        assert_eq!(io.wait().expect("a wait").expect("a completion").result, Ok(14));
    })
    .expect("a scope");
    look(op.buf.as_ref(), 14);
}

// ---- transfers that go on ----
