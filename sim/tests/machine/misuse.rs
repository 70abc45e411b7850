//! What a simulation says to those that use it wrongly.

use crate::local_waker::waker;
use crate::{Outcome, panic_of, read, write};
use linux_aio::op::{Any, Fdsync, Read, Write};
use linux_aio::{Direct, Driver, Errno, LocalDriver, Queue, blocking};
use linux_aio_sim::{Executor, Faults, Sim, check, check_seeds};
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::future::{Future, poll_fn};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

const TIME: Duration = Duration::from_secs(1);

#[test]
fn a_thread_that_has_not_entered_is_told_so() {
    let sim = Sim::new(1, Faults::none());
    {
        let _entered = sim.enter();
        assert_eq!(write(sim.file("log"), b"x", 0), Ok(1));
    }
    let text = panic_of(|| assert_eq!(write(sim.file("log"), b"x", 0), Ok(1)));
    assert!(text.contains("\"log\"") && text.contains("Sim::enter"), "{text}");
}

#[test]
fn a_disk_does_not_change_its_sectors() {
    let sim = Sim::new(1, Faults::none());
    let mut faults = Faults::none();
    faults.sector = 4096;
    let text = panic_of(|| sim.set_faults(faults));
    assert!(text.contains("is 4096") && text.contains("with 512"), "{text}");
    let mut faults = Faults::none();
    faults.sector = 100;
    let text = panic_of(|| sim.set_faults(faults));
    assert!(text.contains("set it to 512 or 4096"), "{text}");
    assert_eq!(sim.now(), Duration::ZERO);
}

#[test]
fn a_file_that_is_not_simulated_is_named() {
    let sim = Sim::new(1, Faults::none());
    let _entered = sim.enter();
    let text = panic_of(|| {
        let file = File::open("/etc/os-release").expect("a file that is everywhere");
        drop(read(file.into(), 10, 0));
    });
    assert!(text.contains("os-release") && text.contains("Sim::file"), "{text}");
}

#[test]
fn a_file_of_another_simulation_is_named() {
    let [first, second] = [1, 2].map(|seed| Sim::new(seed, Faults::none()));
    let _entered = first.enter();
    let text = panic_of(|| drop(read(second.file("log"), 10, 0)));
    assert!(text.contains("\"log\") is of another simulation"), "{text}");
    assert!(text.contains("Sim::file or Sim::path of this one"), "{text}");
}

/// Goal: two machines at once may not be mixed. Method: a file of the first is used while the
/// thread is in the second, by a call and by the executor of the second.
#[test]
fn files_and_drivers_of_two_simulations_are_told_apart() {
    let [first, second] = [1, 2].map(|seed| Sim::new(seed, Faults::none()));
    let _entered = first.enter();
    let driver = LocalDriver::new(1).expect("a context");
    let options = linux_aio::File::options().write(true).create(true);
    let file = driver.block_on(options.open(&driver, first.path("log"))).expect("a file");
    let _entered = second.enter();
    let other = LocalDriver::new(1).expect("a context");
    let text = panic_of(|| drop(other.block_on(file.set_len(1))));
    assert!(text.contains("\"log\") is of another simulation"), "{text}");

    let _entered = first.enter();
    let _executor = Executor::new(&first);
    let driver = Driver::on_thread(1).expect("a context");
    let sync = Fdsync::new(first.file("log"));
    let text = panic_of(|| {
        Executor::new(&second).block_on(async move { driver.perform(sync).await.0 }).expect("0");
    });
    assert!(text.contains("a driver of one simulation is used"), "{text}");
    assert!(text.contains("an Executor of its own"), "{text}");
}

/// Goal: a driver of the process that has ended is named, at its first use. Method: an operation of
/// each driver, after a crash and after a kill.
#[test]
fn a_driver_from_before_a_crash_is_told_so() {
    for end in [Sim::crash, Sim::kill] {
        let sim = Sim::new(1, Faults::none());
        let _entered = sim.enter();
        let local = LocalDriver::new(1).expect("a context");
        let executor = Executor::new(&sim);
        let shared = Driver::on_thread(1).expect("a context");
        end(&sim);
        let sync = local.perform(Fdsync::new(sim.file("log")));
        let texts = [
            panic_of(|| drop(local.block_on(sync))),
            panic_of(|| {
                let sync = shared.perform(Fdsync::new(sim.file("log")));
                drop(executor.block_on(sync));
            }),
        ];
        for text in texts {
            let what = "io_submit to a context from before the last crash or kill";
            assert!(text.contains(what) && text.contains("drop the queue or driver"), "{text}");
        }
        // Another one works.
        let local = LocalDriver::new(1).expect("a context");
        let sync = local.perform(Fdsync::new(sim.file("log")));
        assert_eq!(local.block_on(sync).0, Ok(0));
    }
}

/// A file that is everywhere, and in no simulation.
fn real_file() -> OwnedFd {
    File::open("/etc/os-release").expect("a file that is everywhere").into()
}

/// Goal: a local driver works on after a system call that has unwound, and the operation that it
/// was about ends. Method: a file that is not simulated, in `block_on` and outside of it.
#[test]
fn a_local_driver_goes_on_after_a_panic_of_a_call() {
    let sim = Sim::new(1, Faults::none());
    let _entered = sim.enter();
    let driver = LocalDriver::new(2).expect("a context");
    let (woken, count) = (Rc::new(Cell::new(0)), || driver.stats().completed);
    let sync = || driver.perform(Fdsync::new(sim.file("log")));
    let text = panic_of(|| drop(driver.block_on(driver.perform(Fdsync::new(real_file())))));
    assert!(text.contains("os-release"), "{text}");
    assert_eq!((driver.outstanding(), count()), (0, 1), "it was dropped, and has ended");
    assert_eq!(driver.block_on(sync()).0, Ok(0));

    let mut wrong = driver.perform(Fdsync::new(real_file()));
    let waker = waker({
        let woken = Rc::clone(&woken);
        move || woken.set(woken.get() + 1)
    });
    let mut poll = || Pin::new(&mut wrong).poll(&mut Context::from_waker(&waker));
    assert!(panic_of(|| drop(poll())).contains("os-release"));
    // It is still queued.
    assert!(panic_of(|| drop(driver.block_on(sync()))).contains("os-release"));
    assert_eq!(woken.get(), 1, "it has ended while the thread unwound");
    assert!(matches!(poll(), Poll::Ready((Err(Errno::EIO), _))));
    assert_eq!(driver.block_on(sync()).0, Ok(0));

    let mut wrong = driver.perform(Fdsync::new(real_file()));
    let text = panic_of(|| drop(driver.block_on(poll_fn(|cx| Pin::new(&mut wrong).poll(cx)))));
    assert!(text.contains("os-release"), "{text}");
    drop(wrong);
    assert_eq!(driver.block_on(sync()).0, Ok(0));
    driver.block_on(driver.clone().close());
}

/// Goal: a shared driver works on as well, once the operation is dropped.
#[test]
fn a_driver_goes_on_after_a_panic_of_a_call() {
    let sim = Sim::new(1, Faults::none());
    let _entered = sim.enter();
    let executor = Executor::new(&sim);
    let [driver, other] = [(); 2].map(|()| Driver::on_thread(2).expect("a context"));
    let sync = |driver: &Driver| {
        let sync = driver.perform(Fdsync::new(sim.file("log")));
        async move { sync.await.0 }
    };
    let wrong = Rc::new(RefCell::new(Some(driver.perform(Fdsync::new(real_file())))));
    let started = Rc::clone(&wrong);
    executor.block_on(poll_fn(move |cx| {
        let polled = started.borrow_mut().as_mut().map(|wrong| Pin::new(wrong).poll(cx));
        assert!(polled.is_some_and(|polled| polled.is_pending()));
        Poll::Ready(())
    }));
    for _ in 0..2 {
        let text = panic_of(|| _ = executor.block_on(sync(&driver)));
        assert!(text.contains("os-release"), "{text}");
    }
    assert_eq!(executor.block_on(sync(&other)), Ok(0), "of another driver of the executor");
    drop(wrong.take());
    assert_eq!(executor.block_on(sync(&driver)), Ok(0));
    executor.block_on(async move { driver.close().await });
}

/// Goal: futures that are run by another executor do not wait for ever.
#[test]
fn a_future_that_another_executor_polls_is_told_so() {
    let sim = Sim::new(1, Faults::none());
    let _entered = sim.enter();
    let executor = Executor::new(&sim);
    let driver = Driver::on_thread(1).expect("a context");
    let sync = driver.perform(Fdsync::new(sim.file("log")));
    let text = panic_of(|| drop(pollster::block_on(sync)));
    assert!(text.contains("run it by Executor::block_on or Executor::spawn"), "{text}");
    // Nor do those that the right one has started, and those that end the driver.
    let sync = started(&executor, driver.perform(Fdsync::new(sim.file("log"))));
    let text = panic_of(|| drop(pollster::block_on(sync)));
    assert!(text.contains("run it by Executor::block_on or Executor::spawn"), "{text}");
    let text = panic_of(|| pollster::block_on(driver.clone().close_within(TIME)).expect("an end"));
    assert!(text.contains("run it by Executor::block_on or Executor::spawn"), "{text}");
    let driver = Driver::on_thread(1).expect("a context");
    // By the right one it runs.
    let sync = driver.perform(Fdsync::new(sim.file("log")));
    assert_eq!(executor.block_on(sync).0, Ok(0));
}

/// Goal: futures of a local driver do not wait for ever where nobody lets time pass. Method: each
/// kind of them in an executor that sleeps by the clock of the machine, and in the `block_on` of
/// another driver.
#[test]
fn a_local_future_that_another_executor_polls_is_told_so() {
    let sim = Sim::new(1, Faults::none());
    let _entered = sim.enter();
    let [driver, other] = [(); 2].map(|()| LocalDriver::new(2).expect("a context"));
    let sync = || driver.perform(Fdsync::new(sim.file("log")));
    let options = linux_aio::File::options().read(true).write(true).create(true);
    let options = options.direct(Direct::Require);
    let file = driver.block_on(options.open(&driver, sim.path("log"))).expect("a file");
    let mut started = sync();
    let check = || {
        for text in [
            panic_of(|| drop(pollster::block_on(sync()))),
            panic_of(|| drop(pollster::block_on(sync().timeout(Duration::MAX)))),
            panic_of(|| drop(pollster::block_on(file.sync_data()))),
            panic_of(|| drop(other.block_on(sync()))),
        ] {
            assert!(text.contains("waits outside of the driver's block_on"), "{text}");
            assert!(text.contains("Sim::park") && text.contains("Sim::adopt_threads"), "{text}");
        }
    };
    check();
    assert!(panic_of(|| drop(pollster::block_on(&mut started))).contains("LocalDriver::block_on"));
    {
        // An executor of this package cannot do it for others either.
        let _executor = Executor::new(&sim);
        check();
    }
    // The operations go on, and the driver with them.
    assert_eq!(driver.block_on(started).0, Ok(0));
    let _ = poll_once(&mut sync());
    let text = panic_of(|| pollster::block_on(driver.clone().close()));
    assert!(text.contains("LocalDriver::block_on"), "{text}");
    driver.block_on(driver.clone().close());
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(std::task::Waker::noop()))
}

/// Goal: no program is told so that does not wait. Method: futures that are ready at once, those
/// that are polled by hand, and those of which a loop takes care that has said so.
#[test]
fn a_local_future_that_does_not_wait_is_left_alone() {
    let sim = Sim::new(1, Faults::none());
    let _entered = sim.enter();
    let driver = LocalDriver::new(1).expect("a context");
    let sync = || driver.perform(Fdsync::new(sim.file("log")));
    // By hand, beside others in its own `block_on`.
    let mut by_hand = sync();
    let mut rounds = 0;
    while poll_once(&mut by_hand).is_pending() {
        sim.run_next();
        rounds += 1;
        assert!(rounds < 100, "a future that does not end");
    }
    let mut first = sync();
    assert!(poll_once(&mut first).is_pending());
    let both = async { (sync().await.0, first.await.0) };
    assert_eq!(driver.block_on(both), (Ok(0), Ok(0)));
    // Calls are made in the poll.
    let options = linux_aio::File::options().read(true).write(true).create(true);
    let options = options.direct(Direct::Never);
    let file = pollster::block_on(options.open(&driver, sim.path("log"))).expect("a file");
    assert_eq!(pollster::block_on(file.write_at("x", 0)).0.expect("a write"), 1);
    // A loop with a waker of its own.
    sim.adopt_threads();
    let woken = Rc::new(Cell::new(false));
    let waker = waker({
        let woken = Rc::clone(&woken);
        move || woken.set(true)
    });
    let mut own = sync();
    let mut poll = || Pin::new(&mut own).poll(&mut Context::from_waker(&waker));
    assert!(poll().is_pending());
    sim.run_next();
    assert!(poll().is_ready());
    // What is refused or has ended never waits.
    driver.block_on(driver.clone().close());
    pollster::block_on(driver.clone().close());
    assert_eq!(pollster::block_on(sync()).0, Err(Errno::ECANCELED));
}

/// Polls a future once by an executor.
fn started<F: Future + Unpin + 'static>(executor: &Executor, future: F) -> F {
    let mut future = Some(future);
    executor.block_on(poll_fn(move |cx| {
        let mut future = future.take().expect("one poll");
        assert!(Pin::new(&mut future).poll(cx).is_pending());
        Poll::Ready(future)
    }))
}

/// Returns the text of the panic of another thread, which enters no simulation.
fn panic_elsewhere(call: impl FnOnce() + Send + 'static) -> String {
    std::thread::spawn(|| panic_of(call)).join().expect("the panic was caught")
}

/// Goal: a future that has gone to another thread does not wait there for ever.
#[test]
fn a_future_in_a_thread_that_has_not_entered_is_told_so() {
    let sim = Sim::new(1, Faults::none());
    let _entered = sim.enter();
    let executor = Executor::new(&sim);
    let driver = Driver::on_thread(2).expect("a context");
    let sync = || driver.perform(Fdsync::new(sim.file("log")));
    let (new, started) = (sync(), started(&executor, sync()));
    let close = driver.clone().close();
    for text in [
        panic_elsewhere(|| drop(pollster::block_on(new))),
        panic_elsewhere(|| drop(pollster::block_on(started))),
        panic_elsewhere(|| pollster::block_on(close)),
    ] {
        assert!(text.contains("a driver of a simulation"), "{text}");
        assert!(text.contains("Sim::enter") && text.contains("Executor::block_on"), "{text}");
    }
}

/// Goal: the same where other threads' work is done for a runtime, which may have several threads.
#[test]
fn a_task_of_a_thread_that_has_not_entered_is_told_so() {
    let sim = Sim::new(1, Faults::none());
    let _entered = sim.enter();
    sim.adopt_threads();
    let driver = Driver::on_thread(1).expect("a context");
    let sync = driver.perform(Fdsync::new(sim.file("log")));
    let text = panic_elsewhere(|| drop(pollster::block_on(sync)));
    assert!(text.contains("a driver of a simulation") && text.contains("Sim::enter"), "{text}");
}

#[test]
fn a_driver_whose_executor_has_gone_is_told_so() {
    let sim = Sim::new(1, Faults::none());
    let _entered = sim.enter();
    let executor = Executor::new(&sim);
    let driver = Driver::on_thread(1).expect("a context");
    drop(executor);
    let sync = driver.perform(Fdsync::new(sim.file("log")));
    let text = panic_of(|| drop(pollster::block_on(sync)));
    assert!(text.contains("whose Executor has been dropped"), "{text}");
    let executor = Executor::new(&sim);
    let sync = driver.perform(Fdsync::new(sim.file("log")));
    let text = panic_of(|| drop(executor.block_on(sync)));
    assert!(text.contains("the end of its Executor"), "{text}");
}

/// Goal: a driver keeps to the clock of its own kernel. Method: one of the running kernel in a
/// simulation, where its deadlines would never come; and one of a simulation outside of it, and in
/// another.
#[test]
fn a_driver_on_the_wrong_side_is_told_so() {
    let (shared, local) = (Driver::on_thread(1), LocalDriver::new(1));
    let (shared, local) = (shared.expect("a context"), local.expect("a context"));
    let zero = || Read::new(File::open("/dev/zero").expect("a device"), vec![1; 4], 0);
    let sim = Sim::new(1, Faults::none());
    let entered = sim.enter();
    let executor = Executor::new(&sim);
    let [read, timed] = [(); 2].map(|()| shared.perform(zero()));
    for text in [
        panic_of(|| drop(pollster::block_on(read))),
        panic_of(|| drop(executor.block_on(timed))),
        panic_of(|| drop(local.block_on(local.perform(zero()).timeout(TIME)))),
        panic_of(|| drop(pollster::block_on(local.perform(zero())))),
    ] {
        assert!(text.contains("a driver of the running kernel"), "{text}");
        assert!(text.contains("after Sim::enter"), "{text}");
    }

    let simulated = LocalDriver::new(1).expect("a context");
    let sync = || simulated.perform(Fdsync::new(sim.file("log")));
    let other = Sim::new(2, Faults::none());
    let entered_other = other.enter();
    let text = panic_of(|| drop(simulated.block_on(sync())));
    assert!(text.contains("a driver of one simulation"), "{text}");
    drop((entered_other, entered));
    let text = panic_of(|| drop(simulated.block_on(sync())));
    assert!(text.contains("a driver of a simulation") && text.contains("Sim::enter"), "{text}");
    // Each has stayed whole.
    assert_eq!(local.block_on(local.perform(zero())).0, Ok(4));
    assert_eq!(pollster::block_on(shared.perform(zero())).0, Ok(4));
    let _entered = sim.enter();
    assert_eq!(simulated.block_on(sync()).0, Ok(0));
}

/// Goal: a simulated file in a driver of the running kernel is named where the future is awaited,
/// although another thread submits. Method: each driver, and a read of a real file after it.
#[test]
fn a_simulated_file_in_a_driver_of_the_running_kernel_is_named() {
    let sim = Sim::new(1, Faults::none());
    let (shared, local) = (Driver::on_thread(1), LocalDriver::new(1));
    let (shared, local) = (shared.expect("a context"), local.expect("a context"));
    let sync = || Fdsync::new(sim.file("log"));
    for text in [
        panic_of(|| drop(pollster::block_on(shared.perform(sync())))),
        panic_of(|| drop(local.block_on(local.perform(sync())))),
    ] {
        assert!(text.contains("\"log\"") && text.contains("Sim::enter"), "{text}");
    }
    let zero = || Read::new(File::open("/dev/zero").expect("a device"), vec![1; 4], 0);
    assert_eq!(pollster::block_on(shared.perform(zero())).0, Ok(4));
    assert_eq!(local.block_on(local.perform(zero())).0, Ok(4));
}

/// Goal: what `std` does to the path of a simulated file fails, also where root may make anything.
#[test]
fn nothing_can_be_made_at_the_path_of_a_simulated_file() {
    let sim = Sim::new(1, Faults::none());
    drop(sim.file("log"));
    for made in [
        std::fs::create_dir_all(sim.path("")),
        std::fs::create_dir_all(sim.path("a/b")),
        std::fs::write(sim.path("log"), "x"),
        std::fs::rename(sim.path("log"), sim.path("old")),
    ] {
        assert_eq!(made.expect_err("it fails").kind(), std::io::ErrorKind::NotADirectory);
    }
    assert_eq!(sim.names(), ["log"]);
}

#[test]
fn sectors_of_another_size_are_told() {
    let mut faults = Faults::none();
    faults.sector = 100;
    let text = panic_of(|| drop(Sim::new(1, faults)));
    assert_eq!(text, "linux-aio-sim: Faults::sector is 100; set it to 512 or 4096");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let sim = Sim::new(1, Faults::none());
    for call in [
        |sim: &Sim| sim.rename("log", "old"),
        |sim: &Sim| sim.remove("log"),
        |sim: &Sim| sim.set_len("log", 0),
    ] {
        let text = panic_of(|| call(&sim));
        assert!(text.starts_with("linux-aio-sim: there is no file \"log\""), "{text}");
    }
}

#[test]
fn a_descriptor_from_before_a_crash_is_named() {
    for end in [Sim::crash, Sim::kill] {
        let sim = Sim::new(1, Faults::none());
        let _entered = sim.enter();
        let file = sim.file("log");
        end(&sim);
        let text = panic_of(|| drop(read(file, 10, 0)));
        assert!(text.contains("\"log\"") && text.contains("open the file again"), "{text}");
    }
}

#[test]
fn a_queue_from_before_a_crash_is_told_so() -> Outcome {
    let sim = Sim::new(1, Faults::none());
    let _entered = sim.enter();
    let mut queue = Queue::with_capacity(1)?;
    sim.crash();
    let text = panic_of(|| {
        queue.push(Fdsync::new(sim.file("log"))).expect("a free slot");
        let _ = queue.submit();
    });
    assert!(text.contains("before the last crash"), "{text}");
    Ok(())
}

#[test]
fn a_closed_descriptor_is_ebadf() -> Outcome {
    let sim = Sim::new(1, Faults::none());
    let _entered = sim.enter();
    let (mut context, mut byte) = (linux_aio::IoContext::new(1)?, [0; 1]);
    let mut iocb = linux_aio::Iocb::pread(-1, byte.as_mut_ptr(), 1, 0);
    // SAFETY: The iocb and the buffer outlive the call, which starts nothing.
    let submitted = unsafe { context.split().0.submit(&[&raw mut iocb]) };
    assert_eq!(submitted, Err(Errno::EBADF));
    Ok(())
}

#[test]
fn a_test_that_is_not_deterministic_is_told_so() {
    let runs = std::sync::atomic::AtomicU32::new(0);
    let failure = check_seeds(3..4, &Faults::none(), |_| {
        let run = runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if run == 0 { Err("first".into()) } else { Ok(()) }
    });
    let error = failure.expect_err("the first run fails").error;
    assert!(error.contains("the second run of the seed passes"), "{error}");
}

#[test]
#[should_panic(expected = "the test fails with seed 0: of the test")]
fn check_shows_the_seed_of_a_panic() {
    check(|_| panic!("of the test"));
}

/// Goal: an operation in flight is not submitted twice, also if the call after it unwinds.
#[test]
fn a_wrong_operation_leaves_those_before_it_in_flight_once() -> Outcome {
    let sim = Sim::new(1, Faults::none());
    let _entered = sim.enter();
    let mut queue: Queue<Any<OwnedFd, Vec<u8>>> = Queue::with_capacity(4)?;
    queue.push(Write::new(sim.file("a"), b"x".to_vec(), 0).into())?;
    queue.push(Write::new(File::open("/dev/null")?.into(), b"y".to_vec(), 0).into())?;
    let text = panic_of(|| assert_eq!(queue.submit(), Ok(2)));
    assert!(text.contains("/dev/null"), "{text}");
    assert_eq!((queue.in_flight(), queue.queued()), (1, 1));
    let done = queue.next_timeout(Duration::from_secs(1))?.expect("one is in flight");
    assert_eq!(done.result, Ok(1));
    assert!(queue.next_timeout(Duration::from_secs(1))?.is_none());
    Ok(())
}

/// Goal: whoever opens a simulated file outside of its simulation is told what to do.
#[test]
fn a_path_of_a_simulation_in_another_thread_is_named() {
    let sim = Sim::new(1, Faults::none());
    let driver = Driver::on_thread(1).expect("a context of the running kernel");
    let open = linux_aio::File::open(&driver, sim.path("log"));
    let text = panic_of(|| drop(pollster::block_on(open)));
    assert!(text.contains("log is a simulated file") && text.contains("Sim::enter"), "{text}");
}

#[test]
fn a_file_of_a_simulation_in_another_thread_is_named() {
    let sim = Sim::new(1, Faults::none());
    let driver = LocalDriver::new(1).expect("a context of the running kernel");
    let file = File::from(sim.file("log"));
    let text = panic_of(|| drop(linux_aio::File::from_std(file, &driver)));
    assert!(text.contains("\"log\"") && text.contains("Sim::enter"), "{text}");
}

#[test]
fn a_real_path_in_a_simulation_is_named() {
    let sim = Sim::new(1, Faults::none());
    let _entered = sim.enter();
    let driver = LocalDriver::new(1).expect("a context");
    let open = linux_aio::File::open(&driver, "/etc/os-release");
    let text = panic_of(|| drop(driver.block_on(open)));
    assert!(text.contains("os-release") && text.contains("Sim::path"), "{text}");
    let real = File::open("/etc/os-release").expect("a file that is everywhere");
    let text = panic_of(|| drop(linux_aio::File::from_std(real, &driver)));
    assert!(text.contains("os-release") && text.contains("Sim::path"), "{text}");
}

/// Goal: a file that is kept over a crash is named, by each of its calls.
#[test]
fn a_file_from_before_a_crash_is_named() {
    for end in [Sim::crash, Sim::kill] {
        let sim = Sim::new(1, Faults::none());
        let _entered = sim.enter();
        let driver = LocalDriver::new(1).expect("a context");
        let options = linux_aio::File::options().read(true).write(true).create(true);
        let options = options.direct(Direct::Never);
        let file = driver.block_on(options.open(&driver, sim.path("log"))).expect("a file");
        end(&sim);
        // Another process, which has kept the file.
        let driver = LocalDriver::new(1).expect("a context");
        for call in 0..4 {
            let text = panic_of(|| {
                driver.block_on(async {
                    match call {
                        0 => drop(file.read_at(vec![0; 1], 0).await),
                        1 => drop(file.write_at("x", 0).await),
                        2 => drop(file.metadata()),
                        _ => drop(file.set_len(1).await),
                    }
                });
            });
            assert!(text.contains("\"log\"") && text.contains("open the file again"), "{text}");
        }
    }
}

/// Goal: a file without a driver keeps to its machine, too. Method: each call outside of the
/// simulation, in another one, and after a crash; and a real file.
#[test]
fn a_blocking_file_on_the_wrong_side_is_named() {
    fn calls(file: &blocking::File) -> [String; 4] {
        [
            panic_of(|| drop(file.read_at(&mut [0; 1], 0))),
            panic_of(|| drop(file.write_at(b"x", 0))),
            panic_of(|| drop(file.sync_data())),
            panic_of(|| drop(file.metadata())),
        ]
    }
    let sim = Sim::new(1, Faults::none());
    let entered = sim.enter();
    let options = blocking::File::options().read(true).write(true).create(true);
    let file = options.open_blocking(sim.path("log")).expect("a file");
    drop(entered);
    for text in calls(&file) {
        assert!(text.contains("\"log\"") && text.contains("Sim::enter"), "{text}");
    }
    let text = panic_of(|| drop(options.open_blocking(sim.path("log"))));
    assert!(text.contains("log is a simulated file") && text.contains("Sim::enter"), "{text}");
    let other = Sim::new(2, Faults::none());
    let entered = other.enter();
    for text in calls(&file) {
        assert!(text.contains("\"log\") is of another simulation"), "{text}");
    }
    drop(entered);
    let real = blocking::File::open("/etc/os-release").expect("a file that is everywhere");
    let _entered = sim.enter();
    sim.crash();
    for text in calls(&file) {
        assert!(text.contains("\"log\"") && text.contains("open the file again"), "{text}");
    }
    for text in calls(&real) {
        assert!(text.contains("os-release") && text.contains("Sim::path"), "{text}");
    }
}

/// Goal: the mistake that this package is made for. Method: a file that is written and not synced.
#[test]
fn a_file_that_is_not_synced_is_found() {
    let failure = check_seeds(0..100, &Faults::legal(), |sim| {
        let driver = LocalDriver::new(4)?;
        driver.block_on(async {
            let options = linux_aio::File::options().write(true).create(true);
            let file = options.open(&driver, sim.path("note")).await?;
            linux_aio::File::open(&driver, sim.path("")).await?.sync_all().await?;
            file.write_all_at("milk", 0).await.0
        })?;
        drop(driver);
        sim.crash();
        if sim.read("note").as_deref() == Some(b"milk") { Ok(()) } else { Err("no milk".into()) }
    });
    let failure = failure.expect_err("a seed loses the note");
    assert!(failure.trace.contains("call: write note 0+4"), "{failure}");
    assert!(
        failure.to_string().contains("note: no sync of the file covered 2 changes"),
        "{failure}"
    );
}

#[test]
fn a_directory_that_is_not_synced_is_found() {
    let failure = check_seeds(0..100, &Faults::legal(), |sim| {
        sim.file("note");
        sim.crash();
        if sim.names() == ["note"] { Ok(()) } else { Err("no note".into()) }
    });
    let text = failure.expect_err("a seed loses the name").to_string();
    assert!(text.contains("(no sync of the directory covered them)"), "{text}");
}
