//! Shows Miri what a local driver does with the places of operations, on a simulated kernel:
//! operations that wait, end early, panic, outlive their futures and their driver.

use crate::local_waker::waker;
use crate::users_code::WakerCode;
use linux_aio::op::{self, Fdsync, Read, Write};
use linux_aio::{
    Errno, EventFd, EventResult, LocalDriver, LocalFuture, Operation, PollEvents, Prepared, Reactor,
};
use linux_aio_sim::harness::{Filters, Kernel, Object, Script};
use linux_aio_sim::{Faults, Sim};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

fn poll_once<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// A write of some size in itself, which counts its drops.
struct Counted<const N: usize> {
    write: Write<OwnedFd, [u8; N]>,
    drops: Rc<Cell<u32>>,
    panics: bool,
}

impl<const N: usize> Operation for Counted<N> {
    fn prepare(&mut self) -> Prepared<'_> {
        assert!(!self.panics, "on purpose");
        self.write.prepare()
    }
}

impl<const N: usize> Drop for Counted<N> {
    fn drop(&mut self) {
        self.drops.set(self.drops.get() + 1);
    }
}

#[derive(Clone)]
struct Scene {
    sim: Sim,
    driver: LocalDriver,
    drops: Rc<Cell<u32>>,
}

impl Scene {
    fn op<const N: usize>(&self, panics: bool) -> LocalFuture<Counted<N>> {
        let write = Write::new(self.sim.file("a"), [7; N], 0);
        self.driver.perform(Counted { write, drops: Rc::clone(&self.drops), panics })
    }
}

/// Runs `test` with a driver of two slots.
fn on_two_slots(test: impl FnOnce(&Scene)) {
    let sim = Sim::new(1, Faults::none());
    let scene = {
        let _entered = sim.enter();
        Scene { driver: LocalDriver::new(2).expect("a context"), drops: Rc::default(), sim }
    };
    let sim = scene.sim.clone();
    let _entered = sim.enter();
    test(&scene);
}

/// Goal: operations inside of their entries and in boxes, more than there are slots, come back
/// whole and are dropped once.
#[test]
fn local_operations_of_any_size_wait_for_room() {
    on_two_slots(|scene| {
        for _ in 0..3 {
            let mut small: Vec<_> = (0..5).map(|_| scene.op::<8>(false)).collect();
            let mut large: Vec<_> = (0..5).map(|_| scene.op::<600>(false)).collect();
            scene.driver.block_on(async {
                for op in &mut small {
                    assert!(
                        poll_fn(|cx| Poll::Ready(Pin::new(&mut *op).poll(cx))).await.is_pending()
                    );
                }
                for op in large.drain(..) {
                    let (result, op) = op.await;
                    assert_eq!((result, op.write.buf), (Ok(600), [7; 600]));
                }
                for op in small.drain(..) {
                    assert_eq!(op.await.0, Ok(8));
                }
            });
        }
        assert_eq!((scene.drops.get(), scene.driver.outstanding()), (30, 0));
    });
}

/// Goal: futures that are dropped in each phase leave nothing behind, and a panic of `prepare` is
/// its future's, at the first poll and after a wait.
#[test]
fn local_futures_are_dropped_in_each_phase() {
    on_two_slots(|scene| {
        let noop = Waker::noop();
        drop(scene.op::<8>(false));
        let mut flying = scene.op::<8>(false);
        let _ = poll_once(&mut flying, noop);
        let mut also_flying = scene.op::<600>(false);
        let _ = poll_once(&mut also_flying, noop);
        let mut waits = scene.op::<8>(false);
        let _ = poll_once(&mut waits, noop);
        let mut panics_later = scene.op::<600>(true);
        let _ = poll_once(&mut panics_later, noop);
        drop((waits, flying));
        let first = AssertUnwindSafe(|| scene.driver.block_on(scene.op::<8>(true)));
        assert!(catch_unwind(first).is_err());
        let later = AssertUnwindSafe(|| scene.driver.block_on(panics_later));
        assert!(catch_unwind(later).is_err());
        assert_eq!(scene.driver.block_on(also_flying).0, Ok(600));
        while scene.driver.outstanding() > 0 {
            let sync = scene.driver.perform(Fdsync::new(scene.sim.file("a")));
            assert_eq!(scene.driver.block_on(sync).0, Ok(0));
        }
        assert_eq!(scene.drops.get(), 6);
    });
}

/// Goal: a waker may drop, start and leak futures, and the last handle. Method: it does so inside
/// of the turn that calls it; the operations that are left are dropped with the driver.
#[test]
fn local_wakers_do_what_they_want() {
    let drops = Rc::<Cell<u32>>::default();
    let sim = Sim::new(1, Faults::none());
    let _entered = sim.enter();
    sim.adopt_threads();
    let driver = LocalDriver::new(2).expect("a context");
    let scene = Scene { sim: sim.clone(), driver, drops: Rc::clone(&drops) };
    let others: Vec<_> = (0..4)
        .map(|_| {
            let mut op = scene.op::<8>(false);
            let _ = poll_once(&mut op, Waker::noop());
            op
        })
        .collect();
    let mut first = scene.op::<8>(false);
    let (others, scene) = (RefCell::new(others), RefCell::new(Some(scene)));
    let waker = waker(move || {
        let last = others.borrow_mut().pop();
        drop(last);
        others.borrow_mut().clear();
        if let Some(scene) = scene.borrow_mut().take() {
            let mut started = scene.op::<600>(false);
            let _ = poll_once(&mut started, Waker::noop());
            drop(started);
        }
    });
    let mut polls = 0;
    while poll_once(&mut first, &waker).is_pending() {
        polls += 1;
        assert!(polls < 1000, "a future that nobody but its polls works for");
        sim.sleep(Duration::from_millis(1));
    }
    drop((first, waker));
    assert_eq!(drops.get(), 6);
}

/// Goal: the last reference to the driver may be that of a future, which ends, is dropped, or
/// panics.
#[test]
fn local_futures_are_the_last_to_keep_the_driver() {
    for panics in [false, true] {
        let sim = Sim::new(1, Faults::none());
        let _entered = sim.enter();
        let scene = || {
            let driver = LocalDriver::new(2).expect("a context");
            Scene { driver, sim: sim.clone(), drops: Rc::default() }
        };
        let mut dropped = scene().op::<8>(panics);
        let _ = catch_unwind(AssertUnwindSafe(|| poll_once(&mut dropped, Waker::noop())));
        drop(dropped);
        let mut ends = scene().op::<600>(panics);
        let _ = catch_unwind(AssertUnwindSafe(|| {
            while poll_once(&mut ends, Waker::noop()).is_pending() {
                sim.sleep(Duration::from_millis(1));
            }
        }));
        drop(scene().op::<8>(panics));
    }
}

/// Goal: a read through a driver that measures, with a deadline, is the same.
#[test]
fn local_operations_are_measured_and_given_up() {
    on_two_slots(|scene| {
        scene.driver.measure(true);
        for time in [Duration::ZERO, Duration::MAX] {
            let read = Read::new(scene.sim.file("a"), [0; 8], 0);
            let read = scene.driver.perform(read).timeout(time);
            assert_eq!(scene.driver.block_on(read).is_ok(), time > Duration::ZERO);
        }
        assert_eq!(scene.driver.metrics().kinds().len(), 1);
    });
}

/// Goal: a power failure in any call leaves a driver that answers: a call says that the driver is
/// of the time before, operations that were in flight end, and the driver ends.
#[test]
fn local_drivers_answer_after_a_power_failure() {
    let (mut crashed, mut ended) = (0, 0);
    for seed in 0..if cfg!(miri) { 10 } else { 200 } {
        let sim = Sim::new(seed, Faults::legal());
        let _entered = sim.enter();
        let driver = LocalDriver::new(2).expect("a context");
        let drops = Rc::<Cell<u32>>::default();
        let scene = Scene { sim: sim.clone(), driver, drops: Rc::clone(&drops) };
        let silent = || {
            let eventfd = Arc::new(EventFd::new().expect("an eventfd"));
            scene.driver.perform(op::Poll::new(eventfd, PollEvents::IN))
        };
        let outer = RefCell::new(scene.op::<8>(false));
        let life = sim.until_crash(12, || {
            let _ = poll_once(&mut *outer.borrow_mut(), Waker::noop());
            let mut abandoned = silent();
            let _ = poll_once(&mut abandoned, Waker::noop());
            let late = scene.op::<600>(false).timeout(Duration::from_micros(50));
            drop(scene.driver.block_on(late));
            drop(abandoned);
            scene.driver.block_on(async {
                let (_, _) = (scene.op::<8>(false).await, scene.op::<8>(false).await);
            });
        });
        if life.is_none() {
            crashed += 1;
            let sync = || scene.driver.perform(Fdsync::new(scene.sim.file("a")));
            let text = crate::panic_of(|| drop(scene.driver.block_on(sync())));
            assert!(text.contains("before the last crash or kill"), "seed {seed}: {text}");
            let late = poll_once(&mut *outer.borrow_mut(), Waker::noop());
            ended += u32::from(late.is_ready());
        }
        drop((outer, scene));
        assert_eq!(Rc::strong_count(&drops), 1, "seed {seed}: every operation was dropped");
    }
    assert!(cfg!(miri) || (crashed > 0 && ended > 0), "{crashed} have crashed, {ended} answered");
}

/// Goal: the end of a driver that has a deadline needs no thread in `block_on`, wherever its future
/// was made. Method: a simulation without an executor refuses threads.
#[test]
fn local_drivers_are_closed_in_time_without_a_thread() {
    on_two_slots(|scene| {
        let closed = scene.driver.clone().close_within(Duration::from_secs(1));
        assert_eq!(scene.driver.block_on(closed), Ok(()));
    });
}

/// Goal: an operation that waits for a slot comes back at its deadline. Method: two operations have
/// the slots for longer.
#[test]
fn local_operations_come_back_that_wait_for_room() {
    on_two_slots(|scene| {
        let mut first = [(); 2].map(|()| scene.op::<600>(false));
        let third = scene.op::<8>(false).timeout(Duration::from_micros(1));
        let late = scene.driver.block_on(async {
            for op in &mut first {
                let started = poll_fn(|cx| Poll::Ready(Pin::new(&mut *op).poll(cx))).await;
                assert!(started.is_pending());
            }
            third.await
        });
        let late = late.map(drop).expect_err("two are before it");
        assert!(late.into_operation().is_some(), "the kernel never had it");
        for op in first {
            assert!(scene.driver.block_on(op).0.is_ok());
        }
        assert_eq!(scene.drops.get(), 3);
    });
}

/// Goal: an operation that ends while its future gives it up is not lost. Method: it ends while the
/// future sets its alarm, in the clone of a waker, which polls another future of the driver.
#[test]
fn local_operations_are_given_up_as_they_end() {
    type Other = Pin<Box<dyn Future<Output = ()>>>;
    thread_local! {
        // The code of a waker must be `Send`, and a future is not.
        static OTHER: RefCell<Option<Other>> = const { RefCell::new(None) };
    }
    on_two_slots(|scene| {
        scene.sim.adopt_threads();
        let other = scene.op::<600>(false);
        let mut other: Other = Box::pin(async { drop(other.await) });
        assert!(poll_once(&mut other, Waker::noop()).is_pending());
        OTHER.set(Some(other));
        let mut ends = scene.op::<8>(false).timeout(Duration::from_micros(10));
        assert!(poll_once(&mut ends, Waker::noop()).is_pending());
        let code = Arc::new(WakerCode::default());
        let sim = scene.sim.clone();
        code.clone.arm(move || {
            sim.sleep(Duration::from_millis(1));
            let mut other = OTHER.take().expect("it is there");
            while poll_once(&mut other, Waker::noop()).is_pending() {}
        });
        // The waker of the operation is the first clone.
        code.clone.arm(|| {});
        let Poll::Ready(Ok((result, op))) = poll_once(&mut ends, &code.waker()) else {
            panic!("it has ended, although it is late");
        };
        assert_eq!((result, op.write.buf, code.clone.calls()), (Ok(8), [7; 8], 2));
    });
}

/// Goal: code that a driver calls may wait for operations of the driver, by the `block_on` of
/// another one. Method: a waker; `prepare` in a turn; `goes_on`; the drop of an operation that was
/// given up.
#[test]
fn local_code_waits_for_its_driver() {
    type Code = Option<Box<dyn Fn()>>;
    struct Runs(Counted<600>, [Code; 3]);
    impl Operation for Runs {
        fn prepare(&mut self) -> Prepared<'_> {
            self.1[0].iter().for_each(|run| run());
            self.0.prepare()
        }
        fn goes_on(&mut self, _: EventResult) -> bool {
            self.1[1].take().is_some_and(|run| {
                run();
                true
            })
        }
    }
    impl Drop for Runs {
        fn drop(&mut self) {
            self.1[2].iter().for_each(|run| run());
        }
    }
    on_two_slots(|scene| {
        let runs = Rc::new(Cell::new(0));
        let code = || {
            // The driver keeps wakers, and must not be kept by them.
            let (scene, runs) = (Cell::new(Some(scene.clone())), Rc::clone(&runs));
            move || {
                let Some(scene) = scene.take() else { return };
                LocalDriver::new(1).expect("a context").block_on(async {
                    let mut ops = [(); 3].map(|()| scene.op::<600>(false));
                    for op in &mut ops {
                        let started = poll_fn(|cx| Poll::Ready(Pin::new(&mut *op).poll(cx))).await;
                        assert!(started.is_pending());
                    }
                    for op in ops {
                        assert!(op.await.0.is_ok());
                    }
                });
                runs.set(runs.get() + 1);
            }
        };
        let with = |at: usize| {
            let write = Write::new(scene.sim.file("a"), [7; 600], 0);
            let op = Counted { write, drops: Rc::clone(&scene.drops), panics: false };
            let mut codes = [None, None, None];
            codes[at] = Some(Box::new(code()) as Box<dyn Fn()>);
            scene.driver.perform(Runs(op, codes))
        };
        let waker = waker(code());
        scene.driver.block_on(async {
            let mut first = scene.op::<8>(false);
            assert!(poll_once(&mut first, &waker).is_pending());
            assert!(scene.op::<8>(false).await.0.is_ok());
            assert_eq!(runs.get(), 1);
            assert!(with(1).await.0.is_ok());
            // The third waits for a slot.
            let mut ops = [(); 2].map(|()| scene.op::<8>(false));
            for op in &mut ops {
                let started = poll_fn(|cx| Poll::Ready(Pin::new(&mut *op).poll(cx))).await;
                assert!(started.is_pending());
            }
            assert!(with(0).await.0.is_ok());
            let mut dropped = with(2);
            let started = poll_fn(|cx| Poll::Ready(Pin::new(&mut dropped).poll(cx))).await;
            assert!(started.is_pending());
            drop(dropped);
            while runs.get() < 4 {
                assert!(scene.op::<8>(false).await.0.is_ok());
            }
            for op in ops.into_iter().chain([first]) {
                assert!(op.await.0.is_ok());
            }
        });
        assert_eq!(runs.get(), 4);
    });
}

/// Goal: an operation comes back whose `prepare` ends its driver. Method: events can be taken no
/// longer, which a turn inside of it finds.
#[test]
fn local_operations_come_back_whose_prepare_ends_the_driver() {
    struct Ends<O, F>(O, Option<F>);
    impl<O: Operation, F: FnOnce()> Operation for Ends<O, F> {
        fn prepare(&mut self) -> Prepared<'_> {
            if let Some(end) = self.1.take() {
                end();
            }
            self.0.prepare()
        }
    }
    let kernel = Kernel::new(Script::from_seed(1).with(&[]), |_, _| true);
    let _entered = kernel.enter();
    let driver = LocalDriver::new(4).expect("a context");
    let eventfd = Arc::new(EventFd::new().expect("an eventfd"));
    kernel.open(eventfd.as_fd(), Object::Polled);
    let poll = || op::Poll::new(Arc::clone(&eventfd), PollEvents::IN);
    let mut other = driver.perform(poll());
    assert!(poll_once(&mut other, Waker::noop()).is_pending());
    let filtered = kernel.clone();
    let ends = move || {
        // Without its ring, a context is asked for events by a call.
        filtered.spoil_rings();
        filtered.filter(Filters { getevents: Some(Errno::EPERM), ..Filters::default() });
        assert!(poll_once(&mut other, Waker::noop()).is_ready(), "the driver has ended");
    };
    let mut ends = driver.perform(Ends(poll(), Some(ends)));
    let Poll::Ready((result, op)) = poll_once(&mut ends, Waker::noop()) else {
        panic!("nobody would end it");
    };
    assert_eq!((result, op.1.is_none()), (Err(Errno::EPERM), true));
    drop((op, ends, driver));
    assert_eq!(Arc::strong_count(&eventfd), 1);
    kernel.end().expect("nothing was done wrongly");
}

/// Goal: a driver that is closed ends its operations, and drops each once. Method: some that the
/// kernel has and one that waits, awaited and left.
#[test]
fn local_drivers_end_what_they_have() {
    on_two_slots(|scene| {
        let [mut held, mut left, mut waiting] = [(); 3].map(|()| scene.op::<600>(false));
        let driver = scene.driver.clone();
        scene.driver.block_on(async {
            for op in [&mut held, &mut left, &mut waiting] {
                let started = poll_fn(|cx| Poll::Ready(Pin::new(&mut *op).poll(cx))).await;
                assert!(started.is_pending());
            }
            drop(left);
            driver.close().await;
        });
        assert!(scene.driver.block_on(held).0.is_ok());
        assert!(scene.driver.block_on(waiting).0.is_ok());
        assert_eq!(scene.driver.block_on(scene.op::<8>(false)).0, Err(Errno::ECANCELED));
        assert_eq!(scene.drops.get(), 4);
    });
}

/// Goal: a task of an executor does the work. Method: the executor is a loop, and the reactor looks
/// at the eventfd.
#[test]
fn local_drivers_run_as_a_task() {
    struct Looks(Arc<EventFd>);
    impl Reactor for Looks {
        fn poll_readable(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.0.take()?.map_or(Poll::Pending, |_| Poll::Ready(Ok(())))
        }
    }
    on_two_slots(|scene| {
        let run = || scene.driver.run_on(|eventfd| Ok(Looks(eventfd))).expect("an eventfd");
        // The second task finds the eventfd of the first.
        for _ in 0..2 {
            let mut run = run();
            let mut ops: Vec<_> = (0..4).map(|_| scene.op::<8>(false)).collect();
            let mut rounds = 0;
            while !ops.is_empty() {
                ops.retain_mut(|op| poll_once(op, Waker::noop()).is_pending());
                assert!(poll_once(&mut run, Waker::noop()).is_pending());
                scene.sim.run_next();
                rounds += 1;
                assert!(rounds < 100, "a task that does nothing");
            }
        }
        assert_eq!(scene.drops.get(), 8);
    });
}
