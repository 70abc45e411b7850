//! A pool of equal buffers.

use crate::common::child::{Ended, in_child};
use crate::common::files::{file_with, pattern};
use crate::common::panics::{PAYLOADS, Payload, panics};
use crate::common::{Watchdog, poll_once, queue};
use crate::run;
use core::task::{Poll, Waker};
use linux_aio::op::{Read, ReadV, Write};
use linux_aio::{BufferPool, Driver, Errno, IoContext, PoolBuf, PoolError, Slice, Slot, Take};
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Wake;
use std::thread;

fn pool(count: usize) -> BufferPool {
    BufferPool::new(count, 4096, 4096).expect("memory")
}

fn all(pool: &BufferPool) -> Vec<PoolBuf> {
    std::iter::from_fn(|| pool.try_take()).collect()
}

/// Goal: buffers are as many, as long and as aligned as asked for, zeroed, and none shares a byte
/// with another. Method: each is filled with its own number.
#[test]
fn buffers_are_equal_aligned_and_apart() {
    for count in [1, 2, 63, 64, 65, 130] {
        for (size, align) in [(1, 1), (100, 64), (512, 512), (5000, 4096), (100, 16384)] {
            let pool = BufferPool::new(count, size, align).expect("memory");
            let mut bufs = all(&pool);
            assert_eq!((bufs.len(), pool.available(), pool.capacity()), (count, 0, count));
            for (number, buf) in bufs.iter_mut().enumerate() {
                assert_eq!((buf.len(), buf.as_ptr().addr() % align), (size, 0));
                assert!(buf.iter().all(|&byte| byte == 0));
                buf.fill(number as u8);
            }
            for (number, buf) in bufs.iter().enumerate() {
                assert!(buf.iter().all(|&byte| byte == number as u8), "{number} of {count}");
            }
            drop(bufs);
            assert_eq!(all(&pool).len(), count);
        }
    }
}

/// Goal: what cannot be a pool is refused by an error that says why.
#[test]
fn pools_that_cannot_be_are_refused() {
    let refused = |count, size, align| {
        let error = BufferPool::new(count, size, align).expect_err("no pool");
        assert_eq!(Errno::from(error), error.errno());
        assert_eq!(io::Error::from(error).to_string(), error.to_string());
        (error, error.errno())
    };
    assert_eq!(refused(0, 1, 1), (PoolError::NoBuffers, Errno::EINVAL));
    assert_eq!(refused(1, 0, 1), (PoolError::EmptyBuffers, Errno::EINVAL));
    for align in [0, 3, 4097] {
        assert_eq!(refused(1, 1, align), (PoolError::Alignment(align), Errno::EINVAL));
    }
    const HALF: usize = usize::MAX / 2;
    for (count, size, align) in
        [(1, usize::MAX, 2), (3, HALF, 1), (usize::MAX, 2, 1), (1, HALF + 1, 1), (2, 1, HALF + 1)]
    {
        let (error, errno) = refused(count, size, align);
        assert_eq!((error, errno), (PoolError::TooLarge { count, size }, Errno::EINVAL));
    }
    assert_eq!(refused(1, HALF - 4096, 1), (PoolError::Memory(Errno::ENOMEM), Errno::ENOMEM));
}

/// Goal: a buffer of a pool goes through a queue, a scope and a driver, whole or in parts, and
/// back.
#[test]
fn buffers_go_through_operations_and_back() {
    let _watchdog = Watchdog::new();
    let (_dir, path, file) = file_with(&pattern(8192));
    let file = Arc::new(file);
    let pool = pool(2);
    let take = || pool.try_take().expect("a free buffer");

    let done = run(Read::new(Arc::clone(&file), take(), 5));
    assert_eq!((done.result, &done.op.buf[..]), (Ok(4096), &pattern(8192)[5..4101]));
    drop(done);
    let done = run(Read::new(Arc::clone(&file), take().part(..100), 8));
    assert_eq!(&done.op.buf.into_inner()[..100], &pattern(8192)[8..108]);
    assert_eq!(run(ReadV::new(Arc::clone(&file), [take(), take()], 0)).result, Ok(8192));
    let mut buf = take();
    buf.fill(1);
    assert_eq!(run(Write::new(Arc::clone(&file), buf, 4096)).result, Ok(4096));
    assert_eq!(std::fs::read(path).expect("the file")[4096..], [1; 4096]);

    let mut context = IoContext::new(1).expect("a context");
    linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
        io.push(Read::new(&*file, take(), 4096)).map_err(drop).expect("a slot");
        let done = io.wait().expect("a wait").expect("a completion");
        assert_eq!(&done.op.buf[..], [1; 4096]);
    })
    .expect("a scope");

    let driver = Driver::on_thread(1).expect("a driver");
    let (result, read) = pollster::block_on(driver.perform(Read::new(file, take(), 4096)));
    assert_eq!((result.map_err(drop), &read.buf[..]), (Ok(4096), &[1; 4096][..]));
    drop(read);
    assert_eq!(pool.available(), 2);
}

/// Goal: the memory outlives the pool while a buffer is with the kernel, and a queue that is
/// forgotten keeps its buffer for good.
#[test]
fn buffers_outlive_the_pool_and_a_forgotten_queue_keeps_them() {
    let _watchdog = Watchdog::new();
    let file = Arc::new(File::open("/dev/zero").expect("/dev/zero"));
    let pool = pool(1);
    let mut queue = queue(1);
    let mut buf = pool.try_take().expect("a free buffer");
    drop(pool);
    buf.fill(1);
    queue.push(Read::new(Arc::clone(&file), buf, 0)).map_err(drop).expect("a slot");
    let mut done = queue.wait().expect("a wait").expect("a completion");
    assert_eq!(&done.op.buf[..], [0; 4096]);
    done.op.buf.fill(2);

    let pool = self::pool(2);
    queue.push(Read::new(file, pool.try_take().expect("one"), 0)).map_err(drop).expect("a slot");
    queue.submit().expect("a submit");
    std::mem::forget(queue);
    assert_eq!((pool.available(), all(&pool).len()), (1, 1));
}

/// Says that it was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Woken {
    fn poll(self: &Arc<Self>, take: &mut Take<'_>) -> Option<PoolBuf> {
        match poll_once(take, &Waker::from(Arc::clone(self))) {
            Poll::Ready(buf) => Some(buf),
            Poll::Pending => None,
        }
    }

    fn reset(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }
}

/// Goal: those that wait are served in their order, and nobody who comes later is before them.
#[test]
fn waiting_futures_are_served_in_their_order() {
    let pool = pool(1);
    let held = pool.try_take().expect("a free buffer");
    let wakers = [(); 3].map(|()| Arc::new(Woken::default()));
    let mut takes = [(); 3].map(|()| pool.take());
    for (woken, take) in wakers.iter().zip(&mut takes) {
        assert!(woken.poll(take).is_none());
    }
    assert!(pool.try_take().is_none());
    let mut held = Some(held);
    for at in 0..3 {
        assert_eq!(wakers.each_ref().map(|woken| woken.reset()), [false; 3]);
        drop(held.take());
        assert!(pool.try_take().is_none(), "the buffer is the future's");
        assert!(wakers[at].reset());
        held = wakers[at].poll(&mut takes[at]);
        assert!(held.is_some(), "future {at}");
    }
    drop(held);
    assert_eq!(all(&pool).len(), 1);
}

/// Goal: a future that is dropped before it has a buffer, or with one that it was given, loses
/// none, and the next is served.
#[test]
fn a_dropped_future_loses_no_buffer() {
    let pool = pool(1);
    let held = pool.try_take().expect("a free buffer");
    let (woken, other) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
    let [mut before, mut given, mut last] = [(); 3].map(|()| pool.take());
    for take in [&mut before, &mut given] {
        assert!(woken.poll(take).is_none());
    }
    assert!(other.poll(&mut last).is_none());
    drop(before);
    drop(held);
    assert!(woken.reset() && !other.reset());
    drop(given);
    assert!(other.reset());
    assert!(other.poll(&mut last).is_some());
    assert_eq!(pool.available(), 1);
    drop(pool.take());
    std::mem::forget(pool.take());
    assert_eq!(all(&pool).len(), 1);
}

/// Goal: the waker of the last poll is woken, and a waker that panics costs nobody a buffer, also
/// with a payload that panics when it is dropped.
#[test]
fn wakers_are_replaced_and_may_panic() {
    struct Panics(Payload);
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            self.0.throw();
        }
    }
    for payload in PAYLOADS {
        let pool = pool(1);
        let held = pool.try_take().expect("a free buffer");
        let (first, second) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
        let (mut hostile, mut take) = (pool.take(), pool.take());
        assert!(poll_once(&mut hostile, &Waker::from(Arc::new(Panics(payload)))).is_pending());
        assert!(first.poll(&mut take).is_none());
        assert!(second.poll(&mut take).is_none());
        assert!(!panics(|| drop(held)));
        drop(hostile);
        assert!(!first.reset() && second.reset());
        assert!(second.poll(&mut take).is_some());
    }
}

/// Goal: threads that take in every way never have the same buffer, and none is lost. Method: each
/// marks its buffer and looks whether the mark stays.
#[test]
fn threads_share_a_pool() {
    let _watchdog = Watchdog::new();
    let pool = pool(3);
    let taken = AtomicUsize::new(0);
    thread::scope(|threads| {
        for mark in 1..=6u8 {
            let (pool, taken) = (&pool, &taken);
            threads.spawn(move || {
                for round in 0..2_000 {
                    let buf = match (usize::from(mark) + round) % 3 {
                        0 => pool.try_take(),
                        1 => {
                            let mut take = pin!(pool.take());
                            let woken = Arc::new(Woken::default());
                            woken.poll(&mut take)
                        }
                        _ => Some(pollster::block_on(pool.take())),
                    };
                    let Some(mut buf) = buf else { continue };
                    taken.fetch_add(1, Ordering::Relaxed);
                    buf.fill(mark);
                    thread::yield_now();
                    assert!(buf.iter().all(|&byte| byte == mark));
                }
            });
        }
    });
    assert!(taken.load(Ordering::Relaxed) >= 4_000);
    let addresses: BTreeSet<_> = all(&pool).iter().map(|buf| buf.as_ptr().addr()).collect();
    assert_eq!((addresses.len(), pool.available()), (3, 3));
}

/// Goal: in a forked child every function of the pool returns, also where a thread of the parent
/// held the lock, or waited. Method: threads wait and take all the time; children take, give and
/// wait.
#[test]
fn a_forked_child_does_not_wait_for_the_parents_threads() {
    let _watchdog = Watchdog::new();
    let pool = pool(2);
    let stop = AtomicBool::new(false);
    thread::scope(|threads| {
        let mine = pool.try_take().expect("a free buffer");
        for _ in 0..3 {
            threads.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    drop(pollster::block_on(pool.take()));
                }
            });
        }
        let mut waits = pool.take();
        let polled = Arc::new(Woken::default()).poll(&mut waits);
        let mut held = Some((mine, waits, polled));
        for _ in 0..100 {
            let ended = in_child(|| {
                let (mine, waits, polled) = held.take().expect("a copy");
                drop((mine, polled));
                drop(waits);
                drop(pollster::block_on(pool.take()));
                let _ = (pool.try_take(), pool.available(), pool.clone());
            });
            assert_eq!(ended, Ended::WELL);
        }
        drop(held);
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(all(&pool).len(), 2);
}
