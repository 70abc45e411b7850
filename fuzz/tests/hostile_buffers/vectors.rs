//! Attacks on the records of a read to several buffers, which are chained.

use crate::kernel::{REFUSES, boot, complete, event, fd, look, next, queue, run, vec, wait, write};
use linux_aio::op::{Buffers, IovecArray, Read, ReadV};
use linux_aio::{
    Errno, Filled, IoContext, Operation, Prepared, ReadTo, Room, Slot, Spare, SpareMemory,
};
use std::mem;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

type Vector = ReadV<BorrowedFd<'static>, Vec<Spare<Vec<u8>>>>;

fn readv(lens: &[usize]) -> Vector {
    ReadV::new(fd(), lens.iter().map(|&len| vec(len)).collect(), 0)
}

/// Returns how much of buffers of these lengths is filled by `count` bytes.
fn split(mut count: usize, lens: &[usize]) -> Vec<usize> {
    let mut fill = |&len| {
        let now = count.min(len);
        count -= now;
        now
    };
    lens.iter().map(&mut fill).collect()
}

#[track_caller]
fn look_at_all<B: SpareMemory>(bufs: &[Spare<B>], expected: &[usize]) {
    assert_eq!(bufs.len(), expected.len());
    bufs.iter().zip(expected).for_each(|(buf, &len)| look(buf.as_ref(), len));
}

/// Goal: of each buffer the bytes that the kernel wrote can be seen, wherever the read ends.
#[test]
fn a_short_count_fills_the_first_buffers() {
    const LENS: [usize; 5] = [3, 0, 8, 1, 4];
    for count in 0..=16 {
        let (result, op) = run(readv(&LENS), count);
        assert_eq!(result, Ok(count as u32));
        look_at_all(&op.bufs, &split(count, &LENS));

        let bufs = [MaybeUninit::<[u8; 8]>::uninit(); 2].map(|_| {
            Spare::new([MaybeUninit::<u8>::uninit(); 8]) // in the operation itself
        });
        let (_, op) = run(ReadV::new(fd(), bufs, 0), count);
        look_at_all(&op.bufs, &split(count, &[8, 8]));
    }
}

/// Goal: a read that is pushed again goes on behind what was read, in each buffer.
#[test]
fn short_reads_add_up() {
    const LENS: [usize; 4] = [3, 0, 8, 5];
    let (mut op, mut sum) = (readv(&LENS), 0);
    for count in [2, 0, 4, 1, 9, 0] {
        (_, op) = run(op, count);
        sum += count;
        look_at_all(&op.bufs, &split(sum, &LENS));
    }
    op.bufs[2].clear();
    (_, op) = run(op, 3);
    look_at_all(&op.bufs, &[3, 0, 3, 5]);
}

/// Memory that is initialised, or is not.
enum Either {
    Plain(Vec<u8>),
    Spare(Spare<Vec<u8>>),
}

impl ReadTo for Either {
    fn lend(&mut self) -> Room<'_> {
        match self {
            Self::Plain(buf) => buf.lend(),
            Self::Spare(buf) => buf.lend(),
        }
    }
}

/// Goal: buffers without a record take their part of the count.
#[test]
fn buffers_that_are_initialised_may_be_among_them() {
    let plain = |len| Either::Plain(vec![0; len]);
    let spare = |len| Either::Spare(vec(len));
    for count in 0..=14 {
        let bufs = vec![plain(2), spare(3), plain(4), plain(0), spare(4), plain(1)];
        let (_, op) = run(ReadV::new(fd(), bufs, 0), count);
        for (buf, filled) in op.bufs.iter().zip(split(count, &[2, 3, 4, 0, 4, 1])) {
            match buf {
                Either::Spare(buf) => look(buf.as_ref(), filled),
                Either::Plain(buf) => look(&buf[..filled], filled),
            }
        }
    }
}

/// Goal: no result shows a byte that was not asked for, and an error shows none.
#[test]
fn results_that_cannot_be_show_no_byte_too_many() {
    for (res, sum) in [(-5, 0), (i64::MIN, 0), (12, 12), (13, 12), (i64::MAX, 12), (1 << 32, 12)] {
        let mut queue = queue(1);
        queue.push(readv(&[4, 8])).map_err(drop).expect("a slot");
        queue.submit().expect("a submit");
        let iocb = next();
        write(&iocb, 12);
        event(iocb.aio_data, res);
        // Nobody is here whose event this is.
        event(iocb.aio_data, 12);
        let (_, op) = wait(&mut queue);
        look_at_all(&op.bufs, &split(sum, &[4, 8]));
    }
}

/// Goal: a read that never reaches the kernel, or whose event never comes, shows nothing.
#[test]
fn without_an_event_nothing_is_shown() {
    let mut several = queue(1);
    let token = several.push(readv(&[4, 8])).map_err(drop).expect("a slot");
    assert_eq!(several.cancel(token), Ok(()));
    let (result, op) = wait(&mut several);
    assert_eq!(result, Err(Errno::ECANCELED));
    look_at_all(&op.bufs, &[0, 0]);

    several.push(op).map_err(drop).expect("a slot");
    REFUSES.set(Some(Errno::EBADF));
    let (result, op) = wait(&mut several);
    REFUSES.set(None);
    assert_eq!(result, Err(Errno::EBADF));
    look_at_all(&op.bufs, &[0, 0]);

    several.push(op).map_err(drop).expect("a slot");
    several.submit().expect("a submit");
    let iocb = next();
    mem::forget(several);
    write(&iocb, 12);

    let mut dropped = queue(1);
    dropped.push(readv(&[4, 8])).map_err(drop).expect("a slot");
    dropped.submit().expect("a submit");
    complete(12);
    drop(dropped);
}

/// Goal: a scope that is left by a panic counts what came until then, in memory that it borrows.
#[test]
fn a_scope_may_be_left_by_a_panic() {
    boot();
    let mut memory = [MaybeUninit::uninit(); 12];
    let (first, second) = memory.split_at_mut(4);
    let mut op = ReadV::new(fd(), [Spare::new(first), Spare::new(second)], 0);
    let mut context = IoContext::new(1).expect("a context");
    let left = catch_unwind(AssertUnwindSafe(|| {
        linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
            io.push(&mut op).map_err(drop).expect("a slot");
            io.submit().expect("a submit");
            complete(7);
            panic!("the scope is left");
        })
    }));
    assert!(left.is_err());
    let [first, second] = op.bufs;
    look(first.into_filled(), 4);
    look(second.into_filled(), 3);
}

// ---- safe code that lies ----

/// Goal: a record leads to those that are lent with it, and never to one of a read before. Method:
/// reads to two buffers are prepared by hand, the second buffer is freed, and the first one is
/// read to alone: as one buffer, as a vector of one, and before another one.
#[test]
fn a_record_leads_to_those_that_are_lent_with_it() {
    /// Prepares a read by hand, and then what the function makes of it.
    struct Again(Vector, fn(&mut Vector) -> Prepared<'_>);
    impl Operation for Again {
        fn prepare(&mut self) -> Prepared<'_> {
            let _ = self.0.prepare();
            self.1(&mut self.0)
        }
    }
    fn first(op: &mut Vector) -> Prepared<'_> {
        op.bufs.truncate(1);
        Prepared::read_to(fd().into(), op.bufs[0].lend(), 0)
    }
    let (_, op) = run(Again(readv(&[4, 4]), first), 4);
    look_at_all(&op.0.bufs, &[4]);

    fn fewer(op: &mut Vector) -> Prepared<'_> {
        op.bufs.truncate(1);
        op.prepare()
    }
    let (_, op) = run(Again(readv(&[4, 4]), fewer), 4);
    look_at_all(&op.0.bufs, &[4]);

    fn turned(op: &mut Vector) -> Prepared<'_> {
        op.bufs.reverse();
        op.bufs.truncate(2);
        op.prepare()
    }
    let (_, op) = run(Again(readv(&[4, 5, 6]), turned), 8);
    look_at_all(&op.0.bufs, &[6, 2]);

    // The same between two pushes.
    let (_, mut op) = run(readv(&[4, 4]), 2);
    let _ = op.prepare();
    op.bufs.truncate(1);
    let buf = op.bufs.pop().expect("a buffer");
    let (_, op) = run(Read::new(fd(), buf, 0), 2);
    look(op.buf.as_ref(), 4);
}

/// Goal: a buffer that panics while it is asked for its memory leaves the others as they were.
#[test]
fn a_panic_in_the_middle_leaves_no_way_to_the_others() {
    struct Bomb(Spare<Vec<u8>>, bool);
    impl ReadTo for Bomb {
        fn lend(&mut self) -> Room<'_> {
            assert!(!self.1, "a bomb");
            self.0.lend()
        }
    }
    let bufs = vec![Bomb(vec(4), false), Bomb(vec(4), false), Bomb(vec(4), true)];
    let mut op = ReadV::new(fd(), bufs, 0);
    let mut queue = queue(1);
    let pushed = catch_unwind(AssertUnwindSafe(|| drop(op.prepare())));
    assert!(pushed.is_err());
    op.bufs.drain(1..);
    queue.push(op).map_err(drop).expect("a slot");
    queue.submit().expect("a submit");
    complete(4);
    let (_, mut op) = wait(&mut queue);
    look(op.bufs[0].0.as_ref(), 4);
    // In a push the operation is dropped, and the slot serves others.
    op.bufs[0].1 = true;
    op.bufs.insert(0, Bomb(vec(4), false));
    let pushed = catch_unwind(AssertUnwindSafe(|| queue.push(op).map_err(drop)));
    assert!(pushed.is_err());
    let op = ReadV::new(fd(), vec![Bomb(vec(4), false), Bomb(vec(4), false)], 0);
    queue.push(op).map_err(drop).expect("a slot");
    queue.submit().expect("a submit");
    complete(6);
    let (_, op) = wait(&mut queue);
    look(op.bufs[0].0.as_ref(), 4);
    look(op.bufs[1].0.as_ref(), 2);
}

/// A buffer that lends another memory each time, and less of it than there is.
struct Shifty {
    bufs: [Spare<Vec<u8>>; 2],
    asked: usize,
    skip: usize,
}

impl ReadTo for Shifty {
    fn lend(&mut self) -> Room<'_> {
        self.asked += 1;
        // By hand, which must not be counted.
        let _ = self.bufs[(self.asked + 1) % 2].lend();
        let room = self.bufs[self.asked % 2].lend();
        let (skip, most) = (self.skip.min(room.len()), room.len() / 2);
        room.first(most.max(skip)).skip(skip)
    }
}

/// Goal: what was lent is counted, and nothing behind a gap, whatever a buffer lends.
#[test]
fn buffers_that_change_their_mind_are_counted_as_they_were_lent() {
    let shifty = |skip| Shifty { bufs: [vec(8), vec(8)], asked: 0, skip };
    let mut op = ReadV::new(fd(), vec![shifty(0), shifty(1), shifty(0)], 0);
    (_, op) = run(op, 4 + 3 + 2);
    look_at_all(&op.bufs[0].bufs, &[0, 4]);
    look_at_all(&op.bufs[1].bufs, &[0, 0]); // It would have a gap at its start.
    look_at_all(&op.bufs[2].bufs, &[0, 2]);
    (_, op) = run(op, 1);
    look_at_all(&op.bufs[0].bufs, &[1, 4]);
    (_, op) = run(op, 2 + 3 + 3);
    look_at_all(&op.bufs[0].bufs, &[1, 6]);
    look_at_all(&op.bufs[1].bufs, &[0, 0]);
    look_at_all(&op.bufs[2].bufs, &[0, 5]);
}

/// A collection with other buffers each time, and a table for two.
struct Liar {
    bufs: [Vec<Spare<Vec<u8>>>; 2],
    asked: usize,
}

impl Buffers for Liar {
    type Buffer = Spare<Vec<u8>>;
    type Iovecs = IovecArray<2>;

    fn iovecs(&self) -> IovecArray<2> {
        IovecArray::default()
    }
    fn as_buffers(&self) -> &[Spare<Vec<u8>>] {
        &[]
    }
    fn as_buffers_mut(&mut self) -> &mut [Spare<Vec<u8>>] {
        self.asked += 1;
        &mut self.bufs[self.asked % 2]
    }
}

/// Goal: no more buffers are counted than the kernel was told of.
#[test]
fn a_collection_that_lies_has_counted_what_its_table_holds() {
    let bufs = [vec![], vec![vec(4), vec(4), vec(4), vec(4)]];
    let mut op = ReadV::new(fd(), Liar { bufs, asked: 0 }, 0);
    (_, op) = run(op, 7);
    look_at_all(&op.bufs.bufs[1], &[4, 3, 0, 0]);
    (_, op) = run(op, 0); // of no buffers
    op.bufs.bufs[1].swap(1, 3);
    (_, op) = run(op, 3);
    look_at_all(&op.bufs.bufs[1], &[4, 3, 0, 3]);
}

/// Goal: buffers may go anywhere after the event, each with its record. Method: they are exchanged
/// between the places of two reads, and all are pushed again.
#[test]
fn buffers_may_be_swapped_after_the_event() {
    let mut queue = queue(2);
    for _ in 0..2 {
        queue.push(readv(&[4, 8])).map_err(drop).expect("a slot");
    }
    queue.submit().expect("a submit");
    complete(6);
    complete(10);
    let (_, mut first) = wait(&mut queue);
    let (_, mut second) = wait(&mut queue);
    mem::swap(&mut first.bufs[1], &mut second.bufs[1]);
    second.bufs.swap(0, 1);
    drop(first.bufs.remove(0));
    for op in [first, second] {
        queue.push(op).map_err(drop).expect("a slot");
    }
    queue.submit().expect("a submit");
    complete(1);
    complete(5);
    let (_, first) = wait(&mut queue);
    let (_, second) = wait(&mut queue);
    look_at_all(&first.bufs, &[7]);
    look_at_all(&second.bufs, &[7, 4]);
}

/// Goal: a record of the user's own is a number, also in a chain; to clear, forget and exchange
/// such records frees no way to another.
#[test]
fn records_of_the_users_own_are_numbers() {
    struct Own {
        memory: Box<[MaybeUninit<u8>]>,
        filled: Filled,
    }
    impl ReadTo for Own {
        fn lend(&mut self) -> Room<'_> {
            // Out of a chain that was made by hand, into the next.
            self.filled = mem::take(&mut self.filled);
            Room::uninit(&mut self.memory, &mut self.filled)
        }
    }
    let own = || Own { memory: Box::new_uninit_slice(8), filled: Filled::new() };
    let mut op = ReadV::new(fd(), vec![own(), own(), own()], 0);
    let _ = op.prepare();
    let (first, rest) = op.bufs.split_first_mut().expect("three");
    mem::swap(&mut first.filled, &mut rest[1].filled);
    drop(op.bufs.remove(1));
    let (_, op) = run(op, 11);
    assert_eq!([0, 1].map(|at| op.bufs[at].filled.count()), [8, 3]);
    mem::forget(op);
}

/// Goal: a room that waits in a buffer for its loan is lent once.
#[test]
fn a_room_that_was_made_before_is_lent_once() {
    struct Kept<'m>(Option<Room<'m>>);
    impl ReadTo for Kept<'_> {
        fn lend(&mut self) -> Room<'_> {
            self.0.take().unwrap_or_else(|| Room::new(&mut []))
        }
    }
    boot();
    let [mut first, mut second] = [vec(4), vec(4)];
    let mut op = ReadV::new(fd(), [Kept(Some(first.lend())), Kept(Some(second.lend()))], 0);
    let _ = op.prepare();
    // Both rooms are gone, and nothing is asked for.
    let mut context = IoContext::new(1).expect("a context");
    linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
        io.push(op).map_err(drop).expect("a slot");
        io.submit().expect("a submit");
        let iocb = next();
        event(iocb.aio_data, 8);
        assert_eq!(io.wait().expect("a wait").expect("a completion").result, Ok(8));
    })
    .expect("a scope");
    look(first.as_ref(), 0);
    look(second.as_ref(), 0);
}
