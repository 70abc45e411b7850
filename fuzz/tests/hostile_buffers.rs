//! Attacks on the count of memory that is not initialised, and on transfers that go on: by the
//! kernel's events and by safe code. Each byte that a program could see is looked at, so that Miri
//! reports a byte that the kernel never wrote:
//!
//! ```text
//! RUSTFLAGS='--cfg linux_aio_simulated' \
//! MIRIFLAGS='-Zmiri-permissive-provenance -Zmiri-disable-isolation -Zmiri-ignore-leaks' \
//!     cargo +nightly miri test --manifest-path fuzz/Cargo.toml --test hostile_buffers
//! ```
//!
//! The kernel here has no ring and does nothing but what a test tells it.
#![cfg(linux_aio_simulated)]

use bytes::BytesMut;
use linux_aio::abi::syscall::NATIVE;
use linux_aio::abi::{io_event, iocb};
use linux_aio::op::{Read, Whole, Write};
use linux_aio::sys::simulated;
use linux_aio::{
    Errno, EventResult, Filled, IoContext, Operation, Prepared, Queue, ReadTo, Room, Slot, Spare,
    SpareMemory,
};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::mem::{self, MaybeUninit};
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

// ---- the kernel ----

thread_local! {
    static IN_FLIGHT: RefCell<VecDeque<iocb>> = const { RefCell::new(VecDeque::new()) };
    static EVENTS: RefCell<VecDeque<io_event>> = const { RefCell::new(VecDeque::new()) };
    /// What `io_submit` answers instead of taking anything.
    static REFUSES: Cell<Option<Errno>> = const { Cell::new(None) };
    /// Operations end inside of `io_submit` with this count.
    static ON_SUBMIT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The byte that the kernel writes.
const WRITTEN: u8 = 7;

fn answer(number: u32, arguments: &[usize]) -> Option<isize> {
    let error = |errno: Errno| -(errno.as_raw() as isize);
    let is = |call: Option<u32>| call == Some(number);
    Some(if number == NATIVE.io_setup {
        let id =
            std::ptr::with_exposed_provenance_mut::<linux_aio::abi::aio_context_t>(arguments[1]);
        // SAFETY: The caller has room for the number of its context.
        unsafe { id.write(1) };
        0
    } else if number == NATIVE.io_submit {
        match REFUSES.get() {
            Some(errno) => error(errno),
            None => submit(arguments[1], arguments[2]),
        }
    } else if is(NATIVE.io_getevents) || is(NATIVE.io_pgetevents) {
        getevents(arguments[1], arguments[2], arguments[3])
    } else if number == NATIVE.io_destroy {
        IN_FLIGHT.take();
        EVENTS.take();
        0
    } else if number == NATIVE.io_cancel {
        error(Errno::EINVAL)
    } else if number == NATIVE.mmap {
        // Without a page that is wiped in children, no ring is looked for.
        error(Errno::ENOMEM)
    } else if number == NATIVE.getpid {
        1
    } else {
        return None;
    })
}

fn submit(count: usize, iocbs: usize) -> isize {
    let iocbs = std::ptr::with_exposed_provenance::<*const iocb>(iocbs);
    for at in 0..count {
        // SAFETY: The caller gives `count` pointers, and `at` is below that.
        let place = unsafe { iocbs.add(at) };
        // SAFETY: It is one of them.
        let pointer = unsafe { place.read() };
        // SAFETY: Each is to an iocb.
        let iocb = unsafe { pointer.read() };
        IN_FLIGHT.with_borrow_mut(|flight| flight.push_back(iocb));
        if let Some(count) = ON_SUBMIT.get() {
            complete(count);
        }
    }
    count as isize
}

fn getevents(min: usize, nr: usize, room: usize) -> isize {
    let room = std::ptr::with_exposed_provenance_mut::<io_event>(room);
    EVENTS.with_borrow_mut(|events| {
        assert!(events.len() >= min, "the test waits for an event that does not come");
        let count = events.len().min(nr);
        for (at, event) in events.drain(..count).enumerate() {
            // SAFETY: The caller has room for `nr` events, and `at` is below that.
            let place = unsafe { room.add(at) };
            // SAFETY: It is a place of that room.
            unsafe { place.write(event) };
        }
        count as isize
    })
}

/// Puts this kernel before the running one.
fn boot() {
    static BOOTED: Once = Once::new();
    static KERNEL: simulated::Kernel = answer;
    BOOTED.call_once(|| {
        // SAFETY: The tests end an operation only when nobody writes to its buffer any more.
        unsafe { simulated::install(&KERNEL) }
    });
}

/// The oldest operation in flight, which ends.
fn next() -> iocb {
    IN_FLIGHT.with_borrow_mut(VecDeque::pop_front).expect("an operation in flight")
}

fn event(data: u64, res: i64) {
    let event = io_event { data, obj: 0, res, res2: 0 };
    EVENTS.with_borrow_mut(|events| events.push_back(event));
}

/// Writes to the buffer of an operation as the kernel does.
fn write(iocb: &iocb, count: usize) {
    assert!(count <= iocb.aio_nbytes as usize);
    let start = std::ptr::with_exposed_provenance_mut::<u8>(iocb.aio_buf as usize);
    // SAFETY: The operation is in flight, so its buffer is the kernel's.
    unsafe { start.write_bytes(WRITTEN, count) };
}

/// Ends the oldest operation with this count, as a kernel does that tells the truth.
fn complete(count: usize) {
    let iocb = next();
    if iocb.aio_lio_opcode == linux_aio::Opcode::PREAD.as_raw() {
        write(&iocb, count);
    }
    event(iocb.aio_data, count as i64);
}

/// Looks at every byte.
#[track_caller]
fn look(bytes: &[u8], expected: usize) {
    assert_eq!(bytes.len(), expected);
    assert!(bytes.iter().all(|&byte| byte == WRITTEN), "{bytes:?}");
}

// ---- operations ----

fn fd() -> BorrowedFd<'static> {
    // SAFETY: Only this kernel gets it.
    unsafe { BorrowedFd::borrow_raw(0) }
}

fn vec(room: usize) -> Spare<Vec<u8>> {
    Spare::with_limit(Vec::with_capacity(room), room)
}

fn read(room: usize) -> Read<BorrowedFd<'static>, Spare<Vec<u8>>> {
    Read::new(fd(), vec(room), 0)
}

fn queue<O: Operation>(capacity: u32) -> Queue<O> {
    boot();
    Queue::with_capacity(capacity).expect("a queue")
}

#[track_caller]
fn wait<O: Operation>(queue: &mut Queue<O>) -> (Result<u32, Errno>, O) {
    let done = queue.wait().expect("a wait").expect("a completion");
    (done.result, done.op)
}

/// Runs one operation, which the kernel ends with this count.
#[track_caller]
fn run<O: Operation + 'static>(op: O, count: usize) -> (Result<u32, Errno>, O) {
    let mut queue = queue(1);
    queue.push(op).map_err(drop).expect("a slot");
    queue.submit().expect("a submit");
    complete(count);
    wait(&mut queue)
}

// ---- memory of every kind ----

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
