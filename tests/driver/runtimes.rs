//! The driver away from tokio: on smol, on an executor and a reactor of a few lines, on its own
//! thread, and on a reactor that fails.

use crate::common;

use common::Watchdog;
use core::future::Future;
use core::pin::pin;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker};
use linux_aio::Reactor;
use linux_aio::fd::AsFd;
use linux_aio::op::Read;
use linux_aio::{Driver, EventFd};
use rustix::event::{PollFd, PollFlags};
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex};
use std::task::Wake;
use std::thread::{self, Thread};

/// An executor: one future, on this thread.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

/// Reads one after the other and at the same time, more than there are slots.
async fn reads(driver: Driver) {
    let zero = Arc::new(File::open("/dev/zero").expect("/dev/zero"));
    let read = |length| driver.perform(Read::new(Arc::clone(&zero), vec![1; length], 0));
    for length in 1..100 {
        let (result, read) = read(length).await;
        assert_eq!((result, read.buf), (Ok(length as u32), vec![0; length]));
    }
    let mut many: Vec<_> = (1..100).map(read).collect();
    core::future::poll_fn(|cx| {
        many.retain_mut(|future| pin!(future).poll(cx).is_pending());
        if many.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    assert_eq!(driver.outstanding(), 0);
    driver.close().await;
}

// ---- smol ----

struct SmolReactor(smol::Async<Arc<EventFd>>);

impl Reactor for SmolReactor {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_readable(cx)
    }
}

/// Goal: smol's reactor drives. Method: reads, by its executor and by one that knows nothing of it.
#[test]
fn smol_drives() {
    let _watchdog = Watchdog::new();
    for run in [smol::block_on::<()> as fn(_) -> _, |future| smol::future::block_on(future)] {
        let reactor = |eventfd| Ok(SmolReactor(smol::Async::new_nonblocking(eventfd)?));
        run(Box::pin(reads(Driver::new(8, reactor).expect("a driver"))));
    }
}

// ---- a reactor of a few lines ----

/// A thread that watches one eventfd.
struct SmallReactor(Arc<Watch>);

#[derive(Default)]
struct Watch {
    readable: AtomicBool,
    waker: Mutex<Option<Waker>>,
    ended: AtomicBool,
    polls: AtomicUsize,
}

impl SmallReactor {
    fn new(eventfd: Arc<EventFd>) -> Self {
        let watch = Arc::new(Watch::default());
        let watched = Arc::clone(&watch);
        thread::spawn(move || {
            while !watched.ended.load(Ordering::SeqCst) {
                let fd = eventfd.as_fd();
                let tick = rustix::event::Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
                let ready =
                    rustix::event::poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&tick));
                if ready.is_ok_and(|count| count > 0) {
                    watched.readable.store(true, Ordering::SeqCst);
                    let waker = watched.waker.lock().expect("no panic under it").take();
                    waker.inspect(Waker::wake_by_ref);
                }
            }
        });
        Self(watch)
    }
}

impl Drop for SmallReactor {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::SeqCst);
    }
}

impl Reactor for SmallReactor {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.polls.fetch_add(1, Ordering::SeqCst);
        *self.0.waker.lock().expect("no panic under it") = Some(cx.waker().clone());
        if self.0.readable.swap(false, Ordering::SeqCst) {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }
}

/// Goal: any executor and any reactor will do. Method: the smallest of each.
#[test]
fn a_small_executor_and_reactor_drive() {
    let _watchdog = Watchdog::new();
    let driver = Driver::new(8, |eventfd| Ok(SmallReactor::new(eventfd))).expect("a driver");
    block_on(reads(driver));
}

/// Goal: without a reactor, the thread of the driver does it all. Method: reads.
#[test]
fn a_driver_on_its_own_thread_drives() {
    let _watchdog = Watchdog::new();
    block_on(reads(Driver::on_thread(8).expect("a driver")));
}

// ---- reactors that wake later ----

/// How one has the waker called.
#[derive(Clone, Copy)]
enum Later {
    ByAThread,
    AtOnce,
    NotAtAll,
    Panics,
}

struct Waking {
    inner: SmallReactor,
    later: Later,
    asked: Arc<AtomicUsize>,
}

impl Reactor for Waking {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_readable(cx)
    }

    fn wake_later(&self, waker: &Waker) -> bool {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match self.later {
            Later::ByAThread => {
                let waker = waker.clone();
                thread::spawn(move || waker.wake());
                true
            }
            Later::AtOnce => {
                waker.wake_by_ref();
                true
            }
            Later::NotAtAll => false,
            Later::Panics => panic!("a reactor that panics"),
        }
    }
}

/// Goal: a reactor may call the waker whenever it likes, or say that it will not. Method: each way,
/// with more reads at a time than there are slots, so that the driver asks.
#[test]
fn a_reactor_may_wake_later() {
    let _watchdog = Watchdog::new();
    for later in [Later::ByAThread, Later::AtOnce, Later::NotAtAll, Later::Panics] {
        let asked = Arc::new(AtomicUsize::new(0));
        let reactor = |eventfd| {
            let inner = SmallReactor::new(eventfd);
            Ok(Waking { inner, later, asked: Arc::clone(&asked) })
        };
        block_on(reads(Driver::new(8, reactor).expect("a driver")));
        assert!(asked.load(Ordering::SeqCst) > 0, "it was not asked");
    }
}

// ---- reactors that fail ----

/// Works for some polls, then fails in one way or another.
struct Failing {
    inner: SmallReactor,
    good_polls: usize,
    panics: bool,
}

impl Reactor for Failing {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = self.inner.poll_readable(cx);
        if self.inner.0.polls.load(Ordering::SeqCst) <= self.good_polls {
            return poll;
        }
        assert!(!self.panics, "a reactor that panics");
        Poll::Ready(Err(io::Error::other("a reactor that fails")))
    }
}

/// Goal: when the reactor fails, at whatever time, the helper thread takes over and nothing is
/// lost. Method: reactors that fail at their n-th poll, by an error or a panic; they are not polled
/// again.
#[test]
fn the_helper_thread_takes_over_from_a_reactor_that_fails() {
    let _watchdog = Watchdog::new();
    for good_polls in [0, 1, 2, 3, 10, 50] {
        for panics in [false, true] {
            let mut watch = None;
            let reactor = |eventfd| {
                let inner = SmallReactor::new(eventfd);
                watch = Some(Arc::clone(&inner.0));
                Ok(Failing { inner, good_polls, panics })
            };
            let driver = Driver::new(8, reactor).expect("a driver");
            block_on(reads(driver));
            let polls = watch.expect("the reactor was made").polls.load(Ordering::SeqCst);
            assert!(polls <= good_polls + 1, "{polls} polls");
        }
    }
}

/// Goal: the error of the closure that makes the reactor is the driver's. Method: one that fails.
#[test]
fn a_reactor_that_cannot_be_made_is_an_error() {
    let made = Driver::new(8, |_| Err::<SmallReactor, _>(io::Error::other("no reactor")));
    assert_eq!(made.err().map(|error| error.to_string()).as_deref(), Some("no reactor"));
}
