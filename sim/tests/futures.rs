//! Futures of a `Driver` in a simulation: their order follows from the seed, and they crash.

use linux_aio::op::{Fdsync, Read, Write};
use linux_aio::{Driver, Operation, Prepared};
use linux_aio_sim::{Executor, Faults, Sim};
use std::cell::RefCell;
use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// Says how often each task of a run writes, reads and syncs.
const ROUNDS: u64 = if cfg!(miri) { 1 } else { 4 };

/// Tasks that write, read and sync, each several times, and a driver that is closed.
fn run(seed: u64, faults: Faults) -> (String, Duration, Vec<u64>) {
    let sim = Sim::with_trace(seed, faults);
    let _entered = sim.enter();
    let executor = Executor::new(&sim);
    let driver = Driver::on_thread(4).expect("a context");
    let file = Arc::new(sim.file("data"));
    let order = Rc::new(RefCell::new(Vec::new()));
    for task in 0..6 {
        let (driver, file, order) = (driver.clone(), Arc::clone(&file), Rc::clone(&order));
        executor.spawn(async move {
            for round in 0..ROUNDS {
                let at = (task * ROUNDS + round) * 100;
                let bytes = vec![task as u8 + 1; 100];
                let (result, _) = driver.perform(Write::new(Arc::clone(&file), bytes, at)).await;
                let count = result.expect("a write") as usize;
                let read = Read::new(Arc::clone(&file), vec![0; count], at);
                let (result, read) = driver.perform(read).await;
                let count = result.expect("a read") as usize;
                assert!(read.buf[..count].iter().all(|&byte| byte == task as u8 + 1));
                driver.perform(Fdsync::new(Arc::clone(&file))).await.0.expect("a sync");
                order.borrow_mut().push(task);
            }
        });
    }
    executor.run();
    executor.block_on(async move { driver.close().await });
    (sim.trace(), sim.now(), order.take())
}

#[test]
fn the_same_seed_runs_futures_in_the_same_order() {
    let seeds = if cfg!(miri) { 0..1 } else { 0..50 };
    let runs = seeds.map(|seed| {
        let first = run(seed, Faults::legal());
        assert_eq!(first, run(seed, Faults::legal()), "seed {seed}");
        assert_eq!(first.2.len() as u64, 6 * ROUNDS, "every task has come to its end");
        first.2
    });
    let runs: Vec<_> = runs.collect();
    assert!(cfg!(miri) || runs.windows(2).any(|two| two[0] != two[1]), "other seeds, other orders");
}

#[test]
fn a_disk_without_faults_serves_futures() {
    let (trace, _, order) = run(0, Faults::none());
    assert_eq!(order.len() as u64, 6 * ROUNDS, "{trace}");
}

/// Goal: what futures have synced survives, wherever they are dropped.
#[test]
fn synced_writes_of_futures_survive_a_crash() {
    let (mut lost, mut whole) = (0, 0);
    for seed in 0..if cfg!(miri) { 3 } else { 300 } {
        let sim = Sim::with_trace(seed, Faults::legal());
        let _entered = sim.enter();
        let directory = sim.directory();
        let acknowledged = Rc::new(RefCell::new(Vec::new()));
        let executor = Executor::new(&sim);
        let driver = Driver::on_thread(4).expect("a context");
        let file = Arc::new(sim.file("data"));
        executor.block_on({
            let driver = driver.clone();
            async move { driver.perform(Fdsync::new(directory)).await.0.expect("a sync") }
        });
        for task in 0..4_u8 {
            let acknowledged = Rc::clone(&acknowledged);
            let (driver, file) = (driver.clone(), Arc::clone(&file));
            executor.spawn(async move {
                let at = u64::from(task) * 100;
                let write = Write::new(Arc::clone(&file), vec![task + 1; 100], at);
                let count = driver.perform(write).await.0.expect("a write");
                driver.perform(Fdsync::new(file)).await.0.expect("a sync");
                acknowledged.borrow_mut().push((task, count as usize));
            });
        }
        drop((driver, file));
        whole += u32::from(executor.until_end(60));
        let content = sim.read("data").expect("its name is durable");
        for (task, count) in acknowledged.take() {
            let at = usize::from(task) * 100;
            let written = content.get(at..at + count);
            assert_eq!(written, Some(&vec![task + 1; count][..]), "{}", sim.trace());
        }
        lost += u32::from(content.len() < 400);
        // The machine works again, with another driver.
        let (driver, file) = (Driver::on_thread(4).expect("a context"), sim.file("data"));
        let write = async move { driver.perform(Write::new(file, vec![9; 10], 0)).await.0 };
        assert!(executor.block_on(write).is_ok(), "{}", sim.trace());
    }
    assert!(cfg!(miri) || (lost > 0 && whole > 0), "{lost} have lost data, {whole} have ended");
}

/// Goal: deadlines go by the clock of the simulation, so a seed decides which operations are late.
/// Method: a disk that stalls for seconds, and syncs that may take two milliseconds.
#[test]
fn deadlines_go_by_the_clock_of_the_simulation() {
    let run = |seed| {
        let mut faults = Faults::legal();
        faults.stalls = true;
        let sim = Sim::with_trace(seed, faults);
        let _entered = sim.enter();
        let executor = Executor::new(&sim);
        let (driver, file) = (Driver::on_thread(4).expect("a context"), Arc::new(sim.file("a")));
        let late = Rc::new(RefCell::new(Vec::new()));
        for task in 0..4 {
            let (driver, file, late) = (driver.clone(), Arc::clone(&file), Rc::clone(&late));
            executor.spawn(async move {
                for _ in 0..if cfg!(miri) { 2 } else { 30 } {
                    let sync = driver.perform(Fdsync::new(Arc::clone(&file)));
                    let in_time = sync.timeout(Duration::from_millis(2)).await;
                    late.borrow_mut().push((task, in_time.is_err()));
                }
            });
        }
        executor.run();
        let closed = executor.block_on(driver.close_within(Duration::from_secs(3600)));
        assert!(closed.is_ok(), "an hour is enough for every stall");
        (sim.trace(), sim.now(), late.take())
    };
    let (mut late, mut all) = (0, 0);
    for seed in 0..if cfg!(miri) { 1 } else { 20 } {
        let first = run(seed);
        assert_eq!(first, run(seed), "seed {seed}");
        late += first.2.iter().filter(|it| it.1).count();
        all += first.2.len();
    }
    assert!(cfg!(miri) || (late > 0 && late < all), "{late} of {all} are late");
}

fn panic_of(call: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(call)).expect_err("it panics");
    let text = payload.downcast_ref::<&str>().map(|text| String::from(*text));
    text.or_else(|| payload.downcast_ref::<String>().cloned()).expect("a panic with a message")
}

#[test]
fn a_driver_without_an_executor_is_told_so() {
    let sim = Sim::new(1, Faults::none());
    let _entered = sim.enter();
    let text = panic_of(|| drop(Driver::on_thread(4)));
    assert!(text.contains("Executor"), "{text}");
}

#[test]
fn tasks_that_wait_for_ever_are_counted() {
    let sim = Sim::new(1, Faults::none());
    let executor = Executor::new(&sim);
    executor.spawn(pending());
    let text = panic_of(|| executor.run());
    assert!(text.contains("1 tasks wait"), "{text}");
}

#[test]
fn a_task_that_yields_runs_again() {
    let sim = Sim::new(1, Faults::none());
    let executor = Executor::new(&sim);
    let mut times = 0;
    let yields = poll_fn(move |cx| {
        times += 1;
        cx.waker().wake_by_ref();
        if times == 3 { Poll::Ready(times) } else { Poll::Pending }
    });
    assert_eq!(executor.block_on(yields), 3);
}

/// Goal: a test with many seeds does not run out of memory or descriptors.
#[test]
fn an_executor_ends_the_contexts_of_dropped_drivers() {
    let sim = Sim::with_trace(1, Faults::none());
    let _entered = sim.enter();
    let executor = Executor::new(&sim);
    let (driver, file) = (Driver::on_thread(4).expect("a context"), sim.file("data"));
    let sync = async move { driver.perform(Fdsync::new(file)).await.0 };
    assert_eq!(executor.block_on(sync), Ok(0));
    drop(executor);
    assert!(sim.trace().ends_with("io_destroy(context 1)\n"), "{}", sim.trace());
    let text = panic_of(|| drop(Driver::on_thread(4)));
    assert!(text.contains("Executor"), "{text}");
}

/// Goal: the panic of an operation's `prepare` is its future's, and harms no other.
#[test]
fn an_operation_that_panics_ends_alone() {
    struct Panics;
    impl Operation for Panics {
        fn prepare(&mut self) -> Prepared<'_> {
            panic!("on purpose")
        }
    }
    let sim = Sim::new(1, Faults::legal());
    let _entered = sim.enter();
    let executor = Executor::new(&sim);
    let driver = Driver::on_thread(4).expect("a context");
    let sync = driver.perform(Fdsync::new(sim.file("data")));
    let panics = driver.perform(Panics);
    let panic = executor.block_on(async move {
        let mut panics = Box::pin(panics);
        let panic = poll_fn(|cx| {
            match catch_unwind(AssertUnwindSafe(|| panics.as_mut().poll(cx).is_ready())) {
                Ok(is_ready) => {
                    assert!(!is_ready, "it has panicked");
                    Poll::Pending
                }
                Err(payload) => Poll::Ready(payload),
            }
        });
        let panic = panic.await;
        sync.await.0.expect("a sync");
        panic
    });
    assert_eq!(panic.downcast_ref(), Some(&"on purpose"));
    assert_eq!(driver.outstanding(), 0);
}
