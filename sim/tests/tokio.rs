//! tokio with a paused clock on a simulated disk, also under Miri.

use linux_aio::op::{Fdsync, Read, Write};
use linux_aio_sim::{Faults, Sim};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, timeout};

/// A runtime whose clock is paused, and whose thread serves the disk before it sleeps.
fn runtime(sim: &Sim) -> Runtime {
    sim.adopt_threads();
    let park = sim.clone();
    let builder = &mut Builder::new_current_thread();
    let builder = builder.enable_all().start_paused(true).on_thread_park(move || park.park());
    builder.build().expect("a runtime")
}

/// Tasks that sleep, write, read and sync. Returns the trace and the order of their rounds.
fn run(seed: u64) -> (String, Duration, Vec<u64>) {
    let sim = Sim::with_trace(seed, Faults::legal());
    let _entered = sim.enter();
    let order = Rc::new(RefCell::new(Vec::new()));
    let tasks = LocalSet::new();
    let (rounds, simulation) = (Rc::clone(&order), sim.clone());
    let took = tasks.block_on(&runtime(&sim), async move {
        let start = Instant::now();
        let driver = linux_aio::tokio::driver(4).expect("a context");
        let file = Arc::new(simulation.file("data"));
        let mut all = Vec::new();
        for task in 0..if cfg!(miri) { 2 } else { 6 } {
            let (driver, file, order) = (driver.clone(), Arc::clone(&file), Rc::clone(&rounds));
            all.push(tokio::task::spawn_local(async move {
                for round in 0..4 {
                    sleep(Duration::from_secs(task)).await;
                    let at = (task * 4 + round) * 100;
                    let write = Write::new(Arc::clone(&file), vec![task as u8; 100], at);
                    let count = driver.perform(write).await.0.expect("a write") as usize;
                    let read = Read::new(Arc::clone(&file), vec![0; count], at);
                    let (result, read) = driver.perform(read).await;
                    let count = result.expect("a read") as usize;
                    assert!(read.buf[..count].iter().all(|&byte| byte == task as u8));
                    driver.perform(Fdsync::new(Arc::clone(&file))).await.0.expect("a sync");
                    order.borrow_mut().push(task);
                }
            }));
        }
        for task in all {
            task.await.expect("no panic");
        }
        driver.close().await;
        start.elapsed()
    });
    assert!(
        took >= Duration::from_secs(if cfg!(miri) { 4 } else { 20 }),
        "{took:?} by tokio's clock"
    );
    (sim.trace(), took, order.take())
}

#[test]
fn the_same_seed_runs_tasks_of_tokio_in_the_same_order() {
    let runs = (0..if cfg!(miri) { 1 } else { 20 }).map(|seed| {
        let first = run(seed);
        assert_eq!(first, run(seed), "seed {seed}");
        assert_eq!(
            first.2.len(),
            if cfg!(miri) { 8 } else { 24 },
            "every task has come to its end"
        );
        first.2
    });
    let runs: Vec<_> = runs.collect();
    assert!(cfg!(miri) || runs.windows(2).any(|two| two[0] != two[1]), "other seeds, other orders");
}

/// Goal: the same for a local driver, whose work is a task of tokio's, and which is told so if the
/// runtime lets no time pass. Method: a runtime that serves the disk, and one that does not.
#[test]
fn a_local_driver_runs_as_a_task_of_tokio() {
    let run = |runtime: Runtime, sim: &Sim| {
        LocalSet::new().block_on(&runtime, async {
            let driver = linux_aio::tokio::local_driver(4).expect("a context");
            let file = Rc::new(sim.file("data"));
            for round in 0..3 {
                sleep(Duration::from_secs(1)).await;
                let write = Write::new(Rc::clone(&file), vec![round; 100], 0);
                let count = driver.perform(write).await.0.expect("a write") as usize;
                let read = Read::new(Rc::clone(&file), vec![9; count], 0);
                let (result, read) = driver.perform(read).await;
                let count = result.expect("a read") as usize;
                assert!(read.buf[..count].iter().all(|&byte| byte == round));
            }
            driver.perform(Fdsync::new(file)).await.0.expect("a sync");
            driver.close().await;
        });
    };
    let sim = Sim::new(1, Faults::legal());
    let _entered = sim.enter();
    run(runtime(&sim), &sim);
    let sim = Sim::new(1, Faults::legal());
    let _entered = sim.enter();
    let without = Builder::new_current_thread().enable_all().start_paused(true).build();
    let waits = || run(without.expect("a runtime"), &sim);
    let payload = catch_unwind(AssertUnwindSafe(waits)).expect_err("it would wait for ever");
    let text = payload.downcast::<&str>().expect("a panic with a message");
    assert!(text.contains("Sim::park") && text.contains("Sim::adopt_threads"), "{text}");
}

/// Goal: a deadline of tokio's fires although operations are in flight that never end.
#[test]
fn a_timeout_of_tokio_ends_a_wait_for_what_never_comes() {
    let sim = Sim::new(1, Faults::legal());
    let _entered = sim.enter();
    runtime(&sim).block_on(async {
        let driver = linux_aio::tokio::driver(4).expect("a context");
        let (silent, _writer) = std::os::unix::net::UnixStream::pair().expect("a socket");
        let events = linux_aio::PollEvents::IN;
        let poll = driver.perform(linux_aio::op::Poll::new(silent, events));
        assert!(timeout(Duration::from_secs(3600), poll).await.is_err());
        driver.close().await;
    });
}
