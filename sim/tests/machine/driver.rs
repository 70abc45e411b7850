//! Shows Miri what a driver does with operations whose futures are refused, dropped and given up,
//! on a simulated kernel.

use crate::users_code::WakerCode;
use linux_aio::op::{self, Write};
use linux_aio::{Driver, Errno, EventFd, OpFuture, Operation, PollEvents, Prepared};
use linux_aio_sim::{Executor, Faults, Sim};
use std::future::Future;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The disk of these tests needs 50 µs for a write.
const LESS: Duration = Duration::from_micros(10);

/// A write of some size in itself, which counts by an `Arc` whether it was dropped.
struct Counted<const N: usize> {
    write: Write<OwnedFd, [u8; N]>,
    _alive: Arc<()>,
    panics: bool,
}

impl<const N: usize> Operation for Counted<N> {
    fn prepare(&mut self) -> Prepared<'_> {
        assert!(!self.panics, "on purpose");
        self.write.prepare()
    }
}

#[derive(Clone)]
struct Scene {
    sim: Sim,
    driver: Driver,
    alive: Arc<()>,
}

impl Scene {
    fn op<const N: usize>(&self, panics: bool) -> OpFuture<Counted<N>> {
        let write = Write::new(self.sim.file("a"), [7; N], 0);
        self.driver.perform(Counted { write, _alive: Arc::clone(&self.alive), panics })
    }

    /// Ends the driver. Every operation has been dropped then.
    async fn end(self) {
        self.driver.close().await;
        assert_eq!(Arc::strong_count(&self.alive), 1);
    }
}

/// Runs `test` with a driver of two slots.
fn on_two_slots<F: Future<Output = ()> + 'static>(test: impl FnOnce(Scene) -> F) {
    let sim = Sim::new(1, Faults::none());
    let _entered = sim.enter();
    let executor = Executor::new(&sim);
    let driver = Driver::on_thread(2).expect("a context");
    executor.block_on(test(Scene { sim: sim.clone(), driver, alive: Arc::new(()) }));
}

fn poll_once<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// Goal: operations that never start come back whole. Method: futures that are dropped new, more
/// than a thread keeps entries of, whose deadline has passed, and of a driver that has been closed;
/// inside of their entries and in boxes.
#[test]
fn operations_that_do_not_start_come_back() {
    async fn run<const N: usize>(scene: &Scene, closed: &Scene) {
        drop(scene.op::<N>(false));
        let late = scene.op::<N>(false).timeout(Duration::ZERO).await;
        let op = late.map(drop).expect_err("it is late").into_operation().expect("it is new");
        assert_eq!(op.write.buf, [7; N]);
        let (result, op) = closed.op::<N>(false).await;
        assert_eq!((result, op.write.buf), (Err(Errno::ECANCELED), [7; N]));
    }
    on_two_slots(|scene| async move {
        let driver = Driver::on_thread(2).expect("a context");
        let closed = Scene { driver, ..scene.clone() };
        closed.driver.clone().close().await;
        run::<8>(&scene, &closed).await;
        run::<600>(&scene, &closed).await;
        let eventfd = Arc::new(EventFd::new().expect("an eventfd"));
        let poll = || scene.driver.perform(op::Poll::new(Arc::clone(&eventfd), PollEvents::IN));
        let new: Vec<_> = (0..300).map(|_| poll()).collect();
        drop(new);
        assert_eq!(Arc::strong_count(&eventfd), 1);
        drop(closed);
        scene.end().await;
    });
}

/// Goal: futures that are dropped in each phase leave nothing behind, and a panic of `prepare` is
/// its future's, at the first poll and after a wait.
#[test]
fn futures_are_dropped_in_each_phase() {
    on_two_slots(|scene| async move {
        let [mut flying, mut waits] = [(); 2].map(|()| scene.op::<8>(false));
        let mut also_flying = scene.op::<600>(false);
        let mut panics = scene.op::<600>(true);
        assert!(poll_once(&mut flying, Waker::noop()).is_pending());
        assert!(poll_once(&mut also_flying, Waker::noop()).is_pending());
        assert!(poll_once(&mut waits, Waker::noop()).is_pending());
        assert!(poll_once(&mut panics, Waker::noop()).is_pending());
        drop((flying, waits));
        assert_eq!(also_flying.await.0, Ok(600));
        for mut panics in [panics, scene.op::<600>(true)] {
            let panicked = std::future::poll_fn(|cx| {
                let polled = || Pin::new(&mut panics).poll(cx).is_ready();
                match catch_unwind(AssertUnwindSafe(polled)) {
                    Ok(_) => Poll::Pending,
                    Err(payload) => Poll::Ready(payload.downcast_ref() == Some(&"on purpose")),
                }
            });
            assert!(panicked.await);
        }
        scene.end().await;
    });
}

/// Goal: an operation is given up wherever it is: it stays with the kernel, comes back from those
/// that wait, or has just ended. Method: for the last, the operation ends while the future sets its
/// alarm, in the clone of a waker.
#[test]
fn operations_are_given_up_wherever_they_are() {
    async fn run<const N: usize>(scene: &Scene) {
        let left = scene.op::<N>(false).timeout(LESS).await.map(drop);
        assert!(left.expect_err("it is late").into_operation().is_none(), "the kernel has it");
        let mut first = [(); 2].map(|()| scene.op::<N>(false));
        for op in &mut first {
            assert!(poll_once(op, Waker::noop()).is_pending());
        }
        let waits = scene.op::<N>(false).timeout(LESS).await.map(drop);
        assert!(waits.expect_err("it is late").into_operation().is_some(), "nobody has it");
        for op in first {
            assert_eq!(op.await.0, Ok(N as u32));
        }
        let mut ends = scene.op::<N>(false).timeout(LESS);
        assert!(poll_once(&mut ends, Waker::noop()).is_pending());
        let code = Arc::new(WakerCode::default());
        let sim = scene.sim.clone();
        code.clone.arm(move || while sim.run_next() {});
        // The waker of the operation is the first clone.
        code.clone.arm(|| {});
        let Poll::Ready(Ok((result, op))) = poll_once(&mut ends, &code.waker()) else {
            panic!("it has ended, although it is late");
        };
        assert_eq!((result, op.write.buf, code.clone.calls()), (Ok(N as u32), [7; N], 2));
    }
    on_two_slots(|scene| async move {
        run::<8>(&scene).await;
        run::<600>(&scene).await;
        scene.end().await;
    });
}
