//! In steady state nothing is allocated: not by push, submit, wait, cancel, nor in place, nor in a
//! scope. A program of its own, since the allocator counts for all of it.
#![cfg(feature = "std")]

mod common;

use common::files::pipe;
use common::{Watchdog, context, queue};
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use linux_aio::op::{Any, Callback, Poll, Read, ReadV};
use linux_aio::{Errno, EventResult, Operation, PollEvents, Prepared, Queue, Slot};
use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::File;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread::LocalKey;

struct Counting;

thread_local! {
    static ALLOCATED: AtomicU64 = const { AtomicU64::new(0) };
    static FREED: AtomicU64 = const { AtomicU64::new(0) };
}

fn count(counter: &'static LocalKey<AtomicU64>) {
    // While a thread ends, its counters may be gone already; nothing is measured then.
    let _ = counter.try_with(|count| count.fetch_add(1, Ordering::Relaxed));
}

// SAFETY: Everything is the system allocator's; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(&ALLOCATED);
        // SAFETY: The caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        count(&FREED);
        // SAFETY: The caller's promise; the memory came from the system allocator.
        unsafe { System.dealloc(start, layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(&ALLOCATED);
        count(&FREED);
        // SAFETY: The caller's promise; the memory came from the system allocator.
        unsafe { System.realloc(start, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often this thread allocates and frees in `body`.
fn counts(body: impl FnOnce()) -> (u64, u64) {
    let now =
        || [&ALLOCATED, &FREED].map(|count| count.with(|count| count.load(Ordering::Relaxed)));
    let before = now();
    body();
    let after = now();
    (after[0] - before[0], after[1] - before[1])
}

/// How often this thread allocates or frees in `body`.
fn allocations(body: impl FnOnce()) -> u64 {
    let (allocated, freed) = counts(body);
    allocated + freed
}

fn zero() -> Arc<File> {
    Arc::new(File::open("/dev/zero").expect("/dev/zero"))
}

/// Goal: the counter counts, or the tests below would show nothing.
#[test]
fn the_counter_sees_an_allocation() {
    let counted = allocations(|| drop(core::hint::black_box(Box::new([0u8; 100]))));
    assert_eq!(counted, 2);
}

/// Goal: a queue frees its memory also if the drop of an operation panics. Method: as many frees as
/// allocations, from making the queue to dropping it.
#[test]
fn a_queue_whose_operation_panics_in_its_drop_frees_its_memory() {
    struct Fragile(bool);
    impl Drop for Fragile {
        fn drop(&mut self) {
            if self.0 {
                resume_unwind(Box::new(()));
            }
        }
    }
    type FragileRead = (Read<Arc<File>, [u8; 8]>, Fragile);

    let _watchdog = Watchdog::new();
    for panics in [false, true] {
        let (allocated, freed) = counts(|| {
            let mut queue: Queue<FragileRead> = queue(4);
            let read = (Read::new(zero(), [1; 8], 0), Fragile(panics));
            assert!(queue.push(read).is_ok());
            let dropped = catch_unwind(AssertUnwindSafe(|| drop(queue)));
            assert_eq!(dropped.is_err(), panics);
        });
        assert!(allocated > 2 && allocated == freed, "{allocated} allocations, {freed} frees");
    }
}

/// Goal: a loop over a queue allocates nothing, by value, with the ring and without. Method: a
/// thousand rounds of eight operations each after one to warm up.
#[test]
fn a_loop_over_a_queue_allocates_nothing() {
    let _watchdog = Watchdog::new();
    for ring in [true, false] {
        let mut context = context(8);
        context.use_ring(ring);
        let mut queue = Queue::new(context, 8).expect("a fresh context");
        for i in 0..8 {
            queue.push(Read::new(zero(), vec![1; 512], i)).expect("a slot");
        }
        let mut left = 8_000;
        let counted = allocations(|| {
            while left > 8 {
                let done = queue.wait().expect("a wait").expect("a completion");
                assert_eq!(done.result, Ok(512));
                queue.push(done.op).expect("the slot that became free");
                left -= 1;
            }
        });
        assert_eq!(counted, 0, "ring: {ring}");
    }
}

/// Goal: nor in place, nor for refused, cancelled and timed-out operations, nor for callbacks.
#[test]
fn the_other_ways_through_a_queue_allocate_nothing() {
    let _watchdog = Watchdog::new();
    type Op = Any<Arc<File>, [u8; 64]>;
    let silent = pipe(libc::O_NONBLOCK);
    let reader = Arc::new(silent.reader);
    let null = Arc::new(File::options().write(true).open("/dev/null").expect("/dev/null"));
    let good = zero();
    let mut queue: Queue<Op> = queue(8);
    let mut round = || {
        let poll = queue.push(Poll::new(Arc::clone(&reader), PollEvents::IN).into());
        let poll = poll.map_err(|error| error.errno()).expect("a slot");
        assert!(queue.push(Read::new(Arc::clone(&null), [1; 64], 0).into()).is_ok());
        let read = queue.push(Read::new(Arc::clone(&good), [1; 64], 0).into());
        assert_eq!(queue.cancel(read.map_err(|error| error.errno()).expect("a slot")), Ok(()));
        for _ in 0..2 {
            drop(queue.wait_ready().expect("a wait").expect("a completion"));
        }
        let waited = queue.wait_timeout(Duration::from_nanos(1));
        assert_eq!(waited.map_err(Errno::from).err(), Some(Errno::ETIMEDOUT));
        assert_eq!(queue.cancel(poll), Ok(()));
        let ready = queue.wait_ready().expect("a wait").expect("a completion");
        let again = ready.push_again();
        assert_eq!(queue.submit(), Ok(1));
        assert!(queue.ready().expect("a poll").is_none());
        assert_eq!(queue.cancel(poll), Err(Errno::ENOENT));
        assert_eq!(queue.cancel(again), Ok(()));
        assert!(queue.wait().expect("a wait").is_some_and(|done| done.token == again));
    };
    round();
    assert_eq!(allocations(|| (0..100).for_each(|_| round())), 0);
}

/// Goal: callbacks allocate nothing: the function is plain and the value is in the operation.
#[test]
fn callbacks_allocate_nothing() {
    let _watchdog = Watchdog::new();
    type Called = Callback<ReadV<Arc<File>, [[u8; 32]; 2]>, u32>;
    let mut queue: Queue<Called> = queue(4);
    let file = zero();
    let mut run = |rounds: u32| {
        for _ in 0..4 {
            let op = ReadV::new(Arc::clone(&file), [[1; 32]; 2], 0);
            let then: fn(&mut Queue<Called>, linux_aio::Completion<Called>) = |queue, mut done| {
                assert_eq!(done.result, Ok(64));
                if done.op.value > 0 {
                    done.op.value -= 1;
                    assert!(queue.push(done.op).is_ok());
                }
            };
            assert!(queue.push(Callback { op, value: rounds, then }).is_ok());
        }
        queue.run().expect("a run");
    };
    run(1);
    assert_eq!(allocations(|| run(1_000)), 0);
}

/// Goal: the table of a vector of buffers is allocated once, and again only for more buffers.
/// Method: an operation is pushed again, in place and by value, with as many, fewer and more.
#[test]
fn a_vector_of_buffers_allocates_its_table_once() {
    let _watchdog = Watchdog::new();
    let mut queue = queue(1);
    assert!(queue.push(ReadV::new(zero(), vec![[1u8; 32]; 4], 0)).is_ok());
    let mut again = |count: usize| {
        let mut ready = queue.wait_ready().expect("a wait").expect("a completion");
        assert!(ready.result().is_ok());
        ready.op_mut().bufs.truncate(count);
        ready.op_mut().bufs.resize(count, [1; 32]);
        ready.push_again();
        let done = queue.wait().expect("a wait").expect("a completion");
        assert_eq!(done.result, Ok(32 * count as u32));
        assert!(queue.push(ReadV { offset: 0, ..done.op }).is_ok());
    };
    again(4);
    assert_eq!(allocations(|| (0..100).for_each(|_| again(4))), 0);
    assert_eq!(allocations(|| (0..100).for_each(|count| again(1 + count % 4))), 0);
    assert_ne!(allocations(|| again(5)), 0);
    assert_eq!(allocations(|| again(5)), 0);
}

/// A read that goes on seven times.
struct Again<'f> {
    zero: &'f File,
    bytes: [u8; 8],
    times: u32,
}

impl Operation for Again<'_> {
    fn prepare(&mut self) -> Prepared<'_> {
        Prepared::read(self.zero.as_fd().into(), &mut self.bytes, 0)
    }

    fn goes_on(&mut self, _: EventResult) -> bool {
        self.times = (self.times + 1) % 8;
        self.times > 0
    }
}

/// Goal: operations that go on allocate nothing, in a queue and in a scope.
#[test]
fn operations_that_go_on_allocate_nothing() {
    let _watchdog = Watchdog::new();
    let zero: &'static File = Box::leak(Box::new(File::open("/dev/zero").expect("/dev/zero")));
    let mut queue = queue(4);
    for _ in 0..4 {
        assert!(queue.push(Again { zero, bytes: [1; 8], times: 0 }).is_ok());
    }
    let mut go_on = |rounds| {
        for _ in 0..rounds {
            let done = queue.wait().expect("a wait").expect("a completion");
            assert_eq!(done.op.times, 0);
            assert!(queue.push(done.op).is_ok());
        }
    };
    go_on(4);
    assert_eq!(allocations(|| go_on(100)), 0);

    let mut context = context(4);
    let counted = allocations(|| {
        let left = linux_aio::scope(&mut context, &mut [const { Slot::new() }; 4], |io| {
            for _ in 0..4 {
                assert!(io.push(Again { zero, bytes: [1; 8], times: 0 }).is_ok());
            }
            while let Some(done) = io.wait().expect("a wait") {
                assert_eq!((done.result, done.op.bytes), (Ok(8), [0; 8]));
            }
        });
        assert!(left.is_ok());
    });
    assert_eq!(counted, 0);
}

/// Goal: a scope allocates nothing at all, from entering to leaving.
#[test]
fn a_scope_allocates_nothing_from_entering_to_leaving() {
    let _watchdog = Watchdog::new();
    let mut context = context(8);
    let file = File::open("/dev/zero").expect("/dev/zero");
    let mut buffers = [[1u8; 64]; 8];
    let counted = allocations(|| {
        let completed = linux_aio::scope(&mut context, &mut [const { Slot::new() }; 8], |io| {
            for buf in &mut buffers {
                io.push(Read::new(&file, &mut buf[..], 0)).expect("a slot");
            }
            let mut completed = 0;
            while let Some(done) = io.wait().expect("a wait") {
                completed += 1;
                if completed < 800 {
                    io.push(done.op).expect("the slot that became free");
                }
            }
            completed
        });
        assert_eq!(completed, Ok(807));
    });
    assert_eq!(counted, 0);
}
