//! What works on a simulated machine.

use crate::{Outcome, panic_of, read, sync, write};
use linux_aio::op::{Any, Fdsync, Poll, Read, Write};
use linux_aio::{AlignedBuf, Errno, PollEvents, Queue, RwFlags};
use linux_aio_sim::{Faults, Sim, check_seeds};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

#[test]
fn what_is_written_can_be_read_and_survives_when_synced() {
    let sim = Sim::new(1, Faults::none());
    let _entered = sim.enter();
    assert_eq!(write(sim.file("a"), b"hello", 3), Ok(5));
    assert_eq!(read(sim.file("a"), 100, 0).as_deref(), Ok(&b"\0\0\0hello"[..]));
    assert_eq!(read(sim.file("a"), 100, 8).as_deref(), Ok(&b""[..]));
    assert_eq!((sync(sim.file("a")), sync(sim.directory())), (Ok(0), Ok(0)));
    sim.crash();
    assert_eq!(read(sim.file("a"), 100, 3).as_deref(), Ok(&b"hello"[..]));
}

/// Goal: data loss is not hidden from a test that forgets to sync.
#[test]
fn a_test_that_forgets_to_sync_loses_data() {
    let lost = check_seeds(0..100, &Faults::legal(), |sim| {
        assert!(write(sim.file("a"), b"1", 0).is_ok());
        sim.crash();
        if sim.read("a").as_deref() == Some(b"1") { Ok(()) } else { Err("lost".into()) }
    });
    let failure = lost.expect_err("some seed loses it");
    assert_eq!(failure.error, "lost");
    assert!(failure.trace.contains("write a 0+1 -> 1"), "{failure}");
    assert!(failure.to_string().contains(&format!("LINUX_AIO_SIM_SEED={}", failure.seed)));
}

#[test]
fn a_kill_keeps_what_is_written_and_it_is_not_durable() {
    let left: Vec<bool> = (0..100)
        .map(|seed| {
            let sim = Sim::new(seed, Faults::legal());
            let _entered = sim.enter();
            assert_eq!(sync(sim.directory()), Ok(0));
            assert!(write(sim.file("a"), b"1", 0).is_ok());
            sim.kill();
            assert_eq!(sim.read("a").as_deref(), Some(&b"1"[..]));
            sim.crash();
            sim.read("a").as_deref() == Some(b"1")
        })
        .collect();
    assert!(left.contains(&true) && left.contains(&false), "{left:?}");
}

/// Goal: a disk that hangs answers nothing, neither what it has nor what comes; then it answers
/// everything. A later end counts, and a crash ends it.
#[test]
fn a_disk_that_hangs_answers_nothing_until_it_is_back() {
    const HOUR: Duration = Duration::from_secs(3600);
    for faults in [Faults::none(), Faults::legal()] {
        for seed in 0..50 {
            let sim = Sim::new(seed, faults.clone());
            let _entered = sim.enter();
            let mut queue = Queue::with_capacity(4).expect("a context");
            let file = Arc::new(sim.file("a"));
            let push = |queue: &mut Queue<_>, at| {
                queue.push(Write::new(Arc::clone(&file), vec![7; 16], at)).expect("a slot");
                while queue.queued() > 0 {
                    queue.submit().expect("a submit");
                }
            };
            push(&mut queue, 0);
            let hangs = sim.now();
            sim.stall(HOUR);
            sim.stall(Duration::from_secs(1));
            push(&mut queue, 16);
            sim.sleep(HOUR / 2);
            sim.stall(HOUR); // Longer: an hour and a half in all.
            push(&mut queue, 32);
            assert!(queue.try_next().expect("a look").is_none());
            for _ in 0..3 {
                queue.wait().expect("a wait").expect("a completion").result.expect("a write");
                assert!(sim.now() >= hangs + HOUR * 3 / 2, "seed {seed}: {:?}", sim.now());
            }
            assert!(sim.now() < hangs + 2 * HOUR, "seed {seed}: {:?}", sim.now());
            drop(queue);
            sim.stall(HOUR);
            sim.crash();
            let restarted = sim.now();
            let _result = write(sim.file("a"), b"x", 0);
            assert!(sim.now() < restarted + HOUR / 2, "seed {seed}: {:?}", sim.now());
        }
    }
}

/// Goal: faults begin and end when the test says so.
#[test]
fn faults_can_be_changed_on_the_way() {
    let sim = Sim::new(1, Faults::none());
    let _entered = sim.enter();
    assert_eq!(write(sim.file("a"), b"x", 0), Ok(1));
    let mut full = Faults::none();
    full.capacity = 1;
    sim.set_faults(full);
    assert_eq!(write(sim.file("a"), b"x", 1), Err(Errno::ENOSPC));
    sim.set_faults(Faults::none());
    assert_eq!(write(sim.file("a"), b"x", 1), Ok(1));
}

#[test]
fn fstat_tells_the_length_of_a_file() -> Outcome {
    let sim = Sim::new(1, Faults::none());
    let _entered = sim.enter();
    let file = File::from(sim.file("a"));
    assert_eq!(file.metadata()?.len(), 0);
    assert_eq!(write(sim.file("a"), &[1; 700], 0), Ok(700));
    assert_eq!(file.metadata()?.len(), 700);
    sim.set_len("a", 100);
    assert_eq!(file.metadata()?.len(), 100);
    Ok(())
}

#[test]
fn a_duplicate_names_the_same_file_and_other_uses_fail_aloud() -> Outcome {
    let sim = Sim::new(1, Faults::none());
    let _entered = sim.enter();
    let file = sim.file("a");
    let duplicate = file.try_clone()?;
    drop(file);
    assert_eq!(write(duplicate.try_clone()?, b"x", 0), Ok(1));
    let error = File::from(duplicate).sync_all().expect_err("it bypasses the simulation");
    assert_eq!(Errno::from_io_error(&error), Some(Errno::EBADF));
    Ok(())
}

#[test]
fn direct_files_want_alignment_to_their_sectors() -> Outcome {
    for sector in [512, 4096] {
        let mut faults = Faults::none();
        faults.sector = sector;
        let sim = Sim::new(1, faults);
        let _entered = sim.enter();
        let mut queue = Queue::with_capacity(1)?;
        for (length, at, expected) in [
            (sector, 0, Ok(sector as u32)),
            (sector / 2, 0, Err(Errno::EINVAL)),
            (sector, 1, Err(Errno::EINVAL)),
        ] {
            let buf = AlignedBuf::with_alignment(length, sector)?;
            queue.push(Write::new(sim.direct("a"), buf, at))?;
            let done = queue.wait()?.expect("one operation is queued");
            assert_eq!(done.result, expected, "{length} bytes at {at}, sectors of {sector}");
        }
        assert_eq!(write(sim.file("a"), b"x", 1), Ok(1));
    }
    Ok(())
}

#[test]
fn a_full_disk_takes_a_part_and_then_nothing() {
    let mut faults = Faults::none();
    faults.capacity = 1000;
    let sim = Sim::new(1, faults);
    let _entered = sim.enter();
    assert_eq!(write(sim.file("a"), &[1; 600], 0), Ok(600));
    assert_eq!(write(sim.file("b"), &[1; 600], 0), Ok(400));
    assert_eq!(write(sim.file("b"), &[1; 1], 400), Err(Errno::ENOSPC));
    assert_eq!(write(sim.file("a"), &[2; 600], 0), Ok(600));
}

#[test]
fn dsync_makes_a_write_durable() {
    for seed in 0..100 {
        let sim = Sim::new(seed, Faults::legal());
        let _entered = sim.enter();
        sim.file("a");
        assert_eq!(sync(sim.directory()), Ok(0));
        let mut queue = Queue::with_capacity(1).expect("a context");
        let mut operation = Write::new(sim.file("a"), b"x".to_vec(), 0);
        operation.rw_flags = RwFlags::DSYNC;
        queue.push(operation).expect("a free slot");
        let done = queue.wait().expect("a completion").expect("one operation is queued");
        assert_eq!(done.result, Ok(1));
        drop(queue);
        sim.crash();
        assert_eq!(sim.read("a").as_deref(), Some(&b"x"[..]), "seed {seed}");
    }
}

#[test]
fn operations_of_the_kernel_are_checked_as_by_the_kernel() {
    let sim = Sim::new(1, Faults::none());
    let _entered = sim.enter();
    assert_eq!(write(sim.directory(), b"x", 0), Err(Errno::EBADF));
    assert_eq!(write(sim.file("a"), b"x", 1 << 40), Err(Errno::EFBIG));
    let mut queue = Queue::with_capacity(1).expect("a context");
    let mut operation = Write::new(sim.file("a"), b"x".to_vec(), 0);
    operation.rw_flags = RwFlags::from_bits_retain(1 << 20);
    queue.push(operation).expect("a free slot");
    let done = queue.wait().expect("a completion").expect("one operation is queued");
    assert_eq!(done.result, Err(Errno::EOPNOTSUPP));
}

#[test]
fn waits_with_a_timeout_move_the_clock() -> Outcome {
    let sim = Sim::new(1, Faults::none());
    let _entered = sim.enter();
    let mut queue = Queue::with_capacity(2)?;
    let (reader, _writer) = std::os::unix::net::UnixStream::pair()?;
    let token = queue.push(Poll::new(reader, PollEvents::IN))?;
    queue.submit()?;
    let start = sim.now();
    let error = queue.next_timeout(Duration::from_secs(3600)).expect_err("nothing comes");
    assert_eq!(error.errno(), Errno::ETIMEDOUT);
    assert!(sim.now() - start >= Duration::from_secs(3600));
    queue.cancel(token)?;
    assert!(queue.wait()?.is_some());
    Ok(())
}

#[test]
fn polling_without_system_calls_lets_time_pass() -> Outcome {
    let sim = Sim::new(1, Faults::none());
    let _entered = sim.enter();
    let mut queue = Queue::with_capacity(2)?;
    queue.push(Fdsync::new(sim.file("a")))?;
    queue.submit()?;
    let found = (0..1_000_000).any(|_| matches!(queue.try_next(), Ok(Some(_))));
    assert!(found, "time passes with each look");
    Ok(())
}

#[test]
fn a_queue_moves_to_another_thread() -> Outcome {
    let sim = Sim::new(1, Faults::legal());
    let _entered = sim.enter();
    let mut queue = Queue::with_capacity(2)?;
    let file = sim.file("a");
    thread::spawn(move || {
        queue.push(Write::new(file, vec![1; 8], 0)).expect("a free slot");
        let done = queue.wait().expect("a completion").expect("one operation is queued");
        assert!(done.result.is_ok());
    })
    .join()
    .expect("no panic");
    assert!(sim.read("a").is_some_and(|content| content.starts_with(&[1])));
    Ok(())
}

#[test]
fn two_simulations_in_two_threads_do_not_meet() {
    let run = |byte: u8| {
        let sim = Sim::with_trace(5, Faults::legal());
        let _entered = sim.enter();
        assert!(write(sim.file("a"), &[byte; 100], 0).is_ok());
        sim.trace()
    };
    thread::scope(|scope| {
        let threads = [1, 2].map(|byte| scope.spawn(move || run(byte)));
        let [first, second] = threads.map(|thread| thread.join().expect("no panic"));
        assert_eq!(first, second);
    });
}

#[test]
fn power_fails_within_the_calls_of_a_life() {
    let mut lives = 0;
    for seed in 0..50 {
        let sim = Sim::new(seed, Faults::legal());
        let _entered = sim.enter();
        let whole = sim.until_crash(40, || {
            for at in 0..10 {
                let _ = write(sim.file("a"), &[1; 10], at * 10);
            }
        });
        lives += u32::from(whole.is_some());
        // The machine works again.
        assert!(write(sim.file("b"), b"x", 0).is_ok());
    }
    assert!((1..50).contains(&lives), "some are cut off, some are not: {lives}");
}

#[test]
fn a_panic_of_the_life_is_not_a_power_failure() {
    let sim = Sim::new(1, Faults::legal());
    let text = panic_of(|| {
        let _ = sim.until_crash(1000, || panic!("{}", "of the program"));
    });
    assert_eq!(text, "of the program");
}

#[test]
fn operations_in_flight_at_a_crash_give_their_buffers_back() -> Outcome {
    let sim = Sim::new(1, Faults::none());
    let _entered = sim.enter();
    let file = Arc::new(sim.file("a"));
    let mut queue: Queue<Any<Arc<OwnedFd>, Vec<u8>>> = Queue::with_capacity(4)?;
    for at in 0..4 {
        queue.push(Write::new(file.clone(), vec![1; 100], at * 100).into())?;
    }
    queue.submit()?;
    sim.crash();
    let ends: Vec<_> =
        std::iter::from_fn(|| queue.try_next().ok()?).map(|done| done.result).collect();
    assert_eq!(ends, vec![Err(Errno::EIO); 4]);
    Ok(())
}

#[test]
fn a_real_file_works_beside_a_simulation() -> Outcome {
    let sim = Sim::new(1, Faults::none());
    let entered = sim.enter();
    assert_eq!(write(sim.file("a"), b"x", 0), Ok(1));
    drop(entered);
    let content = read(File::open("/etc/os-release")?.as_fd().try_clone_to_owned()?, 1 << 16, 0)?;
    assert_eq!(content, std::fs::read("/etc/os-release")?);
    Ok(())
}

/// Goal: a scope, which waits for its operations when it is left, is left at once when the power
/// fails, also by unwinding.
#[test]
fn power_fails_inside_of_a_scope() {
    let (mut whole, mut cut) = (0, 0);
    for seed in 0..if cfg!(miri) { 2 } else { 300 } {
        let sim = Sim::new(seed, Faults::legal());
        let _entered = sim.enter();
        let mut buffers = [[1; 600]; 8];
        let ended = sim.until_crash(20, || {
            let file = sim.file("a");
            let mut context = linux_aio::IoContext::new(4).expect("a context");
            let slots = &mut [const { linux_aio::Slot::new() }; 4];
            linux_aio::scope(&mut context, slots, |io| {
                for (at, buffer) in (0..).zip(&mut buffers) {
                    while io.push(Write::new(&file, &buffer[..], at * 600)).is_err() {
                        let _ = io.wait();
                    }
                }
                while let Ok(Some(_)) = io.wait() {}
            })
            .expect("a scope");
        });
        *if ended.is_some() { &mut whole } else { &mut cut } += 1;
        buffers.fill([2; 600]);
    }
    assert!(cfg!(miri) || (whole > 0 && cut > 0), "{whole} have ended, {cut} were cut off");
}

/// Goal: no choice of faults breaks the simulation itself. Method: an engine that bears everything.
#[test]
fn a_hostile_disk_breaks_no_simulation() {
    for seed in 0..if cfg!(miri) { 1 } else { 500 } {
        let mut faults = Faults::hostile();
        faults.sector = if seed % 2 == 0 { 512 } else { 4096 };
        faults.capacity = 40_000;
        let sim = Sim::new(seed, faults);
        let _entered = sim.enter();
        for _ in 0..4 {
            let _ = sim.until_end(80, || {
                let Ok(mut queue) = Queue::<Any<OwnedFd, AlignedBuf>>::with_capacity(4) else {
                    return;
                };
                for _ in 0..40 {
                    let length = 512 * (1 + sim.below(16)) as usize;
                    let buf = AlignedBuf::with_alignment(length, 4096).expect("memory");
                    let at = 512 * sim.below(32);
                    let name = ["a", "b"][sim.below(2) as usize];
                    let direct = sim.below(2) == 0;
                    let file = if direct { sim.direct(name) } else { sim.file(name) };
                    let operation: Any<OwnedFd, AlignedBuf> = match sim.below(4) {
                        0 => Read::new(file, buf, at).into(),
                        1 => Fdsync::new(file).into(),
                        _ => Write::new(file, buf, at).into(),
                    };
                    if queue.push(operation).is_err() {
                        let _ = queue.wait();
                    }
                }
                while let Ok(Some(_)) = queue.wait() {}
            });
            if sim.names().contains(&"a".into()) {
                sim.set_len("a", sim.below(20_000));
            }
        }
    }
}
