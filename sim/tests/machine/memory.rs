//! Each way by which memory and descriptors are lent to a kernel, on a simulated one. Under Miri,
//! this executes what the logs of `tests/wal` do not.

use crate::Outcome;
use linux_aio::op::{Fdsync, Read, ReadV, Write, WriteV};
use linux_aio::{
    AlignedBuf, Direct, Errno, EventFd, File, IoContext, IoEvent, Iocb, LocalDriver, Queue, Shared,
    SigSet, Slot, Spare, blocking,
};
use linux_aio_sim::{Faults, Sim};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// The ways to have a file.
const WAYS: [Direct; 2] = [Direct::Prefer, Direct::Never];

#[test]
fn several_buffers_are_lent_by_a_queue() -> Outcome {
    let sim = Sim::new(1, Faults::none());
    let _entered = sim.enter();
    let mut writes = Queue::with_capacity(1)?;
    writes.push(WriteV::new(sim.file("a"), [vec![1; 3], vec![2; 5]], 0))?;
    assert_eq!(writes.wait()?.expect("a completion").result, Ok(8));
    let mut reads = Queue::with_capacity(1)?;
    reads.push(ReadV::new(sim.file("a"), [vec![0; 5], vec![0; 3]], 0))?;
    let done = reads.wait()?.expect("a completion");
    assert_eq!(done.result, Ok(8));
    assert_eq!(done.op.bufs, [vec![1, 1, 1, 2, 2], vec![2; 3]]);
    let (mut memory, mut context) = (Vec::with_capacity(8), IoContext::new(1)?);
    let file = sim.file("a");
    let bytes = linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
        io.push(Read::new(&file, Spare::new(&mut memory), 2)).expect("a free slot");
        let done = io.wait().expect("a completion").expect("one operation is in flight");
        done.op.buf.as_ref().to_vec()
    })?;
    assert_eq!(bytes, [1, 2, 2, 2, 2, 2]);
    Ok(())
}

/// Goal: files lend several buffers, and memory that is not initialised, by operations, by calls
/// and by copies. Method: aligned and unaligned requests, direct and through the page cache.
#[test]
fn several_and_spare_buffers_are_lent_by_a_file() -> Outcome {
    for (direct, unit) in WAYS.into_iter().flat_map(|way| [(way, 4096), (way, 700)]) {
        let sim = Sim::new(1, Faults::none());
        let _entered = sim.enter();
        let driver = LocalDriver::new(4)?;
        driver.block_on(async {
            let options = File::options().read(true).write(true).create(true).direct(direct);
            let file = options.open(&driver, sim.path("a")).await?;
            let mut bufs = vec![AlignedBuf::new(unit)?, AlignedBuf::new(unit)?];
            bufs[0].fill(1);
            bufs[1].fill(2);
            let (count, mut bufs) = file.writev_at(bufs, 0).await;
            assert_eq!(count?, 2 * unit, "{direct:?}");
            bufs.swap(0, 1);
            let (count, bufs) = file.readv_at(bufs, 0).await;
            assert_eq!(count?, 2 * unit, "{direct:?}");
            assert!(bufs[0].iter().all(|&byte| byte == 1), "{direct:?}");
            assert!(bufs[1].iter().all(|&byte| byte == 2), "{direct:?}");
            let (count, spare) = file.read_at(Spare::new(Vec::with_capacity(2 * unit)), 0).await;
            let spare = spare.into_inner();
            assert_eq!((count?, spare.len()), (2 * unit, 2 * unit), "{direct:?}");
            assert_eq!((spare[unit - 1], spare[unit]), (1, 2), "{direct:?}");
            // The file ends in the middle of the second.
            let spares = [2, unit, unit].map(|len| Spare::with_limit(Vec::with_capacity(len), len));
            let (count, spares) = file.readv_at(Vec::from(spares), 3 * unit as u64 / 2).await;
            assert_eq!(count?, unit / 2, "{direct:?}");
            let spares: Vec<_> = spares.into_iter().map(Spare::into_inner).collect();
            assert_eq!(spares, [vec![2; 2], vec![2; unit / 2 - 2], vec![]], "{direct:?}");
            // Aligned, so that one operation fills them.
            let page = || {
                let mut buf = Vec::<u8>::with_capacity(2 * 4096);
                buf.resize(buf.as_ptr().align_offset(4096), 0);
                Spare::with_limit(buf, 4096)
            };
            let spares = vec![page(), page()];
            let (count, spares) = file.readv_at(spares, unit as u64).await;
            assert_eq!(count?, unit, "{direct:?}");
            assert_eq!(spares[0].as_ref(), vec![2; unit], "{direct:?}");
            assert_eq!(spares[1].as_ref(), [0u8; 0], "{direct:?}");
            // Memory that other threads may read meanwhile.
            let memory: Arc<[AtomicU8]> = (0..unit).map(|_| AtomicU8::new(0)).collect();
            let (count, _) = file.read_at(Shared(Arc::clone(&memory)), 1).await;
            assert_eq!(count?, unit, "{direct:?}");
            let last = [unit - 2, unit - 1].map(|at| memory[at].load(Ordering::Relaxed));
            assert_eq!(last, [1, 2], "{direct:?}");
            Ok::<(), Box<dyn std::error::Error>>(())
        })?;
    }
    Ok(())
}

#[test]
fn borrowed_memory_is_lent_by_a_blocking_file() -> Outcome {
    for direct in WAYS {
        let sim = Sim::new(1, Faults::none());
        let _entered = sim.enter();
        let options = File::options().read(true).write(true).create(true).direct(direct);
        let file = options.open_blocking(sim.path("a"))?;
        assert_eq!(file.write_at(&[1; 600], 0)?, 600);
        file.write_all_at(&[2; 600], 600)?;
        assert_eq!(file.writev_at(&[IoSlice::new(&[3; 9]), IoSlice::new(&[4; 9])], 1200)?, 18);
        file.sync_range(0, 0, linux_aio::SyncRange::Wait)?;
        let (mut some, mut exact) = ([0; 600], [0; 600]);
        assert_eq!(file.read_at(&mut some, 0)?, 600);
        file.read_exact_at(&mut exact, 600)?;
        assert_eq!((some, exact), ([1; 600], [2; 600]), "{direct:?}");
        let (mut first, mut second) = ([0; 9], [0; 9]);
        let bufs = &mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        assert_eq!(file.readv_at(bufs, 1200)?, 18);
        assert_eq!((first, second), ([3; 9], [4; 9]), "{direct:?}");
        file.writev_all_at(&[IoSlice::new(&[5; 9]), IoSlice::new(&[6; 9])], 1200)?;
        let bufs = &mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        file.readv_exact_at(bufs, 1200)?;
        assert_eq!((first, second), ([5; 9], [6; 9]), "{direct:?}");
        file.close()?;
    }
    let sim = Sim::new(1, Faults::none());
    let _entered = sim.enter();
    let missing = blocking::File::open(sim.path("b")).expect_err("there is no such file");
    assert_eq!(Errno::from_io_error(&missing), Some(Errno::ENOENT));
    Ok(())
}

/// Goal: the halves of a context work with and without a ring, with a mask, and owned.
#[test]
fn iocbs_are_lent_by_the_halves_of_a_context() -> Outcome {
    let sim = Sim::new(1, Faults::none());
    let _entered = sim.enter();
    let (file, mut bytes) = (sim.file("a"), *b"12");
    let [first, second] = {
        let [first, second] = bytes.each_mut().map(|byte| &raw mut *byte);
        [(first, 0), (second, 1)].map(|(byte, at)| Iocb::pwrite(file.as_raw_fd(), byte, 1, at))
    };
    let mut iocbs = [first, second];
    let [first, second] = iocbs.each_mut().map(|iocb| &raw mut *iocb);
    let mut events = [MaybeUninit::<IoEvent>::uninit(); 2];
    let mut context = IoContext::new(2)?;
    for uses_ring in [true, false] {
        context.use_ring(uses_ring);
        let (submitter, mut reaper) = context.split();
        assert!(submitter.is_alive());
        // SAFETY: The iocbs, the bytes and the file outlive the context.
        unsafe { submitter.submit(&[first, second]) }?;
        assert_eq!(reaper.wait(1, None, &mut events)?[0].result(), Ok(1));
        let rest =
            reaper.wait_masked(1, Some(Duration::from_secs(9)), &SigSet::full(), &mut events);
        assert_eq!(rest.map(<[_]>::len), Ok(1), "with a ring: {uses_ring}");
    }
    let (submitter, mut reaper) = context.into_split();
    // SAFETY: As above.
    unsafe { submitter.submitter().submit(&[first, second]) }?;
    assert_eq!(reaper.reaper().wait(2, None, &mut events)?.len(), 2);
    assert_eq!(sim.read("a").as_deref(), Some(&b"12"[..]));
    Ok(())
}

/// Goal: an event loop hears of completions, and operations that are queued name its eventfd.
/// Method: the eventfd is asked for before and after operations are queued.
#[test]
fn a_completion_fd_is_lent_to_an_event_loop() -> Outcome {
    for early in [true, false] {
        let sim = Sim::new(1, Faults::none());
        let _entered = sim.enter();
        let mut queue = Queue::with_capacity(4)?;
        if early {
            queue.completion_fd()?;
        }
        for at in 0..3 {
            queue.push(Read::new(sim.file("a"), vec![0; 8], at))?;
        }
        let cancelled = queue.push(Read::new(sim.file("a"), vec![0; 8], 3))?;
        queue.cancel(cancelled)?;
        let number = queue.completion_fd()?.as_fd().as_raw_fd();
        queue.submit()?;
        let mut results = Vec::new();
        while results.len() < 4 {
            assert!(sim.run_next() || queue.in_flight() == 0);
            assert_eq!(queue.completion_fd()?.as_raw_fd(), number);
            while let Some(done) = queue.try_next()? {
                results.push(done.result);
            }
        }
        results.sort_by_key(|result| result.is_ok());
        assert_eq!(results, [Err(Errno::ECANCELED), Ok(0), Ok(0), Ok(0)], "early: {early}");
    }
    Ok(())
}

/// Goal: what a busy kernel holds back is submitted when an operation ends. Method: `EAGAIN` while
/// operations are in flight.
#[test]
fn a_queue_with_a_completion_fd_waits_for_a_busy_kernel() -> Outcome {
    let mut busy = 0;
    for seed in if cfg!(miri) { 0..1 } else { 0..50 } {
        let mut faults = Faults::none();
        faults.busy = true;
        let sim = Sim::with_trace(seed, faults);
        let _entered = sim.enter();
        let mut queue = Queue::with_capacity(8)?;
        queue.completion_fd()?;
        let mut left = 8;
        for at in 0..left {
            queue.push(Read::new(sim.file("a"), vec![0; 8], at))?;
            queue.submit()?;
        }
        while left > 0 {
            sim.run_next();
            while queue.try_next()?.is_some() {
                left -= 1;
            }
        }
        busy += u32::from(sim.trace().contains("-> EAGAIN"));
    }
    assert!(busy > 0, "no kernel was busy");
    Ok(())
}

#[test]
fn descriptors_and_buffers_are_given_to_other_crates() -> Outcome {
    let eventfd = EventFd::new()?;
    eventfd.add(3)?;
    let number = eventfd.as_fd().as_raw_fd();
    let owned = OwnedFd::from(eventfd);
    assert_eq!(owned.as_raw_fd(), number);
    let sim = Sim::new(1, Faults::none());
    let _entered = sim.enter();
    let buf = AlignedBuf::new(4096)?;
    // SAFETY: This process does not fork.
    unsafe { buf.dont_fork() }?;
    // A kernel without huge pages refuses the advice.
    let _ = buf.advise_huge_pages();
    let mut queue = Queue::with_capacity(1)?;
    queue.push(Write::new(sim.direct("a"), buf, 0))?;
    assert_eq!(queue.wait()?.expect("a completion").result, Ok(4096));
    let mut queue = Queue::with_capacity(1)?;
    queue.push(Fdsync::new(sim.file("a")))?;
    assert_eq!(queue.wait()?.expect("a completion").result, Ok(0));
    Ok(())
}
