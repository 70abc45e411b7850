//! The task of a driver on executors, and when operations name the eventfd.

use crate::common::files::{file_with, open_direct};
use crate::common::{Watchdog, poll_once};
use crate::{assert_read, driver, needs_poll, read};
use core::task::{Context, Poll, Waker};
use linux_aio::op;
use linux_aio::{Errno, EventFd, LocalDriver, PollEvents, Reactor};
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

struct Watched(smol::Async<Arc<EventFd>>);

impl Reactor for Watched {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_readable(cx)
    }
}

fn watch(eventfd: Arc<EventFd>) -> io::Result<Watched> {
    Ok(Watched(smol::Async::new_nonblocking(eventfd)?))
}

/// What the tasks of both executors do: reads that end inside of `io_submit`, until they name no
/// eventfd; then a POLL that another thread ends; then more reads than slots.
async fn work(driver: &LocalDriver) {
    for _ in 0..50 {
        assert_read(read(driver).await);
    }
    let eventfd = Arc::new(EventFd::new().expect("an eventfd"));
    let poll = driver.perform(op::Poll::new(Arc::clone(&eventfd), PollEvents::IN));
    let thread = thread::spawn(move || {
        thread::sleep(core::time::Duration::from_millis(20));
        eventfd.add(1)
    });
    let (result, _) = poll.await;
    assert!(matches!(result, Ok(_) | Err(Errno::EINVAL)), "{result:?}");
    thread.join().expect("no panic").expect("an event");
    for _ in 0..50 {
        assert_read(read(driver).await);
    }
}

#[test]
fn a_local_executor_runs_the_driver() {
    let _watchdog = Watchdog::new();
    let driver = driver(4);
    let executor = smol::LocalExecutor::new();
    let run = executor.spawn(driver.run_on(watch).expect("a task"));
    smol::block_on(executor.run(async {
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let driver = driver.clone();
                executor.spawn(async move { work(&driver).await })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        driver.clone().close().await;
        assert!(run.await.is_ok(), "the task ends with the driver");
    }));
}

#[cfg(feature = "tokio")]
#[test]
fn a_local_set_runs_the_driver() {
    let _watchdog = Watchdog::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let driver = linux_aio::tokio::local_driver(4).expect("a driver");
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let driver = driver.clone();
                tokio::task::spawn_local(async move { work(&driver).await })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
        driver.close().await;
    });
}

/// Goal: the error that ends the detached task of a driver is there to be seen, and `block_on` does
/// the work then. Method: the `LocalSet` goes on in another runtime when its own is gone.
#[cfg(feature = "tokio")]
#[test]
fn a_detached_task_leaves_its_error_with_the_driver() {
    let _watchdog = Watchdog::new();
    let runtime = || {
        let builder = &mut tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().expect("a runtime")
    };
    let (first, set) = (runtime(), tokio::task::LocalSet::new());
    let driver = set.block_on(&first, async {
        let driver = linux_aio::tokio::local_driver(4).expect("a driver");
        assert_read(read(&driver).await);
        assert!(driver.reactor_error().is_none());
        driver
    });
    drop(first);
    set.block_on(&runtime(), async {
        while driver.reactor_error().is_none() {
            tokio::task::yield_now().await;
        }
    });
    let error = driver.reactor_error().expect("it has failed");
    assert!(error.to_string().contains("shut"), "{error}");
    assert_read(driver.block_on(read(&driver)));
}

/// Goal: reads of a disk are seen also if the driver has lately named no eventfd. Method: reads of
/// `/dev/zero` first, then of a file that is open with `O_DIRECT`, and both again in turns.
#[test]
fn operations_that_name_nothing_are_seen() {
    let _watchdog = Watchdog::new();
    let (_directory, path, _buffered) = file_with(&[7; 1 << 20]);
    let Some(file) = open_direct(&path) else { crate::skip!("no O_DIRECT here") };
    let file = Rc::new(file);
    let driver = driver(16);
    let executor = smol::LocalExecutor::new();
    executor.spawn(driver.run_on(watch).expect("a task")).detach();
    smol::block_on(executor.run(async {
        for _ in 0..5 {
            for _ in 0..20 {
                assert_read(read(&driver).await);
            }
            let tasks: Vec<_> = (0..32)
                .map(|at| {
                    let buf = linux_aio::AlignedBuf::new(4096).expect("memory");
                    let op = op::Read::new(Rc::clone(&file), buf, at * 4096);
                    executor.spawn(driver.perform(op))
                })
                .collect();
            for task in tasks {
                let (result, read) = task.await;
                assert_eq!((result, read.buf[0]), (Ok(4096), 7));
            }
        }
    }));
}

/// Goal: a POLL names the eventfd also where reads have lately named none: nobody looks at it again
/// and again. Method: the calls of the reactor are counted while it is pending.
#[test]
fn a_poll_is_not_looked_at_again_and_again() {
    struct Counting(Watched, Rc<Cell<u32>>);
    // SAFETY: The test calls and drops it on one thread.
    unsafe impl Send for Counting {}
    // SAFETY: As above.
    unsafe impl Sync for Counting {}
    impl Reactor for Counting {
        fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.1.set(self.1.get() + 1);
            self.0.poll_readable(cx)
        }
    }
    let _watchdog = Watchdog::new();
    let driver = driver(4);
    needs_poll!(driver);
    let calls = Rc::new(Cell::new(0));
    let counting = |eventfd| Ok(Counting(watch(eventfd)?, Rc::clone(&calls)));
    let executor = smol::LocalExecutor::new();
    executor.spawn(driver.run_on(counting).expect("a task")).detach();
    smol::block_on(executor.run(async {
        for _ in 0..50 {
            assert_read(read(&driver).await);
        }
        let eventfd = Arc::new(EventFd::new().expect("an eventfd"));
        let poll = driver.perform(op::Poll::new(Arc::clone(&eventfd), PollEvents::IN));
        let before = calls.get();
        let thread = thread::spawn(move || {
            thread::sleep(core::time::Duration::from_millis(200));
            eventfd.add(1)
        });
        assert!(poll.await.0.is_ok());
        let calls = calls.get() - before;
        assert!(calls < 10, "{calls} calls");
        thread.join().expect("no panic").expect("an event");
    }));
}

/// Goal: there is one task at a time; it ends with the last handle, and another may follow one that
/// was dropped.
#[test]
fn one_task_at_a_time_runs_a_driver() {
    let _watchdog = Watchdog::new();
    let driver = driver(2);
    let mut first = driver.run_on(watch).expect("a task");
    assert!(poll_once(&mut first, Waker::noop()).is_pending());
    let refused = driver.run_on(watch).expect_err("there is one");
    assert_eq!(refused.raw_os_error(), Some(libc::EBUSY));
    drop(first);
    let failed = driver.run_on(|_| Err::<Watched, _>(io::ErrorKind::Other.into()));
    assert_eq!(failed.expect_err("its reactor").kind(), io::ErrorKind::Other);
    let mut second = driver.run_on(watch).expect("a task");
    assert!(poll_once(&mut second, Waker::noop()).is_pending());
    drop(driver);
    assert!(matches!(poll_once(&mut second, Waker::noop()), Poll::Ready(Ok(()))));
}

/// Goal: a reactor that fails ends the task with its error, and the driver is used by `block_on`.
#[test]
fn a_reactor_that_fails_ends_the_task() {
    struct Failing;
    impl Reactor for Failing {
        fn poll_readable(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
        }
    }
    let _watchdog = Watchdog::new();
    let driver = driver(2);
    let mut run = driver.run_on(|_| Ok(Failing)).expect("a task");
    let Poll::Ready(Err(error)) = poll_once(&mut run, Waker::noop()) else { panic!("it fails") };
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    assert_read(driver.block_on(read(&driver)));
}
