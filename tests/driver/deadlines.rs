//! Deadlines, and the end of a driver whose disk never answers. The disk is a file that a FUSE
//! server holds back (`common::held`).

use crate::common;

use super::each::{AnyDriver, OnThread, on_each_driver};
use super::hooks::WakerCode;
use common::held::HeldFile;
use common::panics::PAYLOADS;
use common::{Watchdog, poll_once, skip};
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::Waker;
use core::time::Duration;
use linux_aio::op::{self, Read};
use linux_aio::{AlignedBuf, Driver, Errno, EventFd, Opcode, Operation, PollEvents, Prepared};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

on_each_driver![
    a_read_that_hangs_times_out_and_keeps_its_buffer,
    an_operation_that_waits_for_a_slot_comes_back,
    a_poll_is_cancelled_at_its_deadline,
    a_deadline_in_the_past_starts_nothing,
    a_result_is_given_even_after_the_deadline,
    others_go_on_beside_an_operation_that_hangs,
    a_thousand_futures_are_dropped_at_once,
    a_panic_of_a_waker_stops_no_other_deadline,
    the_last_waker_is_called_at_the_deadline,
    close_within_gives_up_and_says_why,
    close_within_ends_a_driver_that_can_end,
    close_within_may_be_dropped,
    every_operation_of_a_handle_has_its_deadline,
    thousands_of_deadlines_pass_at_once,
    a_deadline_may_be_changed_after_the_first_poll,
    overdue_tells_the_age_of_each_operation,
    the_drop_after_close_within_does_not_wait,
];

const SOON: Duration = Duration::from_millis(20);
const NEVER: Duration = Duration::from_secs(1_000_000);

fn counter() -> Arc<EventFd> {
    Arc::new(EventFd::new().expect("an eventfd"))
}

fn zero() -> Arc<File> {
    Arc::new(File::open("/dev/zero").expect("/dev/zero"))
}

/// Counts how often an operation is prepared and dropped.
#[derive(Clone, Default)]
struct Counts(Arc<[AtomicUsize; 2]>);

impl Counts {
    fn prepared(&self) -> usize {
        self.0[0].load(Ordering::SeqCst)
    }

    fn dropped(&self) -> usize {
        self.0[1].load(Ordering::SeqCst)
    }
}

struct Counted<O>(O, Counts);

impl<O: Operation> Operation for Counted<O> {
    fn prepare(&mut self) -> Prepared<'_> {
        self.1.0[0].fetch_add(1, Ordering::SeqCst);
        self.0.prepare()
    }
}

impl<O> Drop for Counted<O> {
    fn drop(&mut self) {
        self.1.0[1].fetch_add(1, Ordering::SeqCst);
    }
}

type HeldRead = Counted<Read<File, AlignedBuf>>;

/// A read that ends when the file is released.
fn read_of(held: &HeldFile, offset: u64, counts: &Counts) -> HeldRead {
    let file = held.file().try_clone().expect("a descriptor");
    let buf = AlignedBuf::with_alignment(4096, 4096).expect("memory");
    Counted(Read::new(file, buf, offset), counts.clone())
}

fn silent(counts: &Counts) -> Counted<op::Poll<Arc<EventFd>>> {
    Counted(op::Poll::new(counter(), PollEvents::IN), counts.clone())
}

/// Has an operation time out that the kernel has. On a machine that is busy the time may be up
/// before the operation starts; it is given more then.
fn time_out<O: Operation + Send + 'static>(driver: &impl AnyDriver, mut op: O) -> io::Error {
    let mut time = SOON;
    loop {
        let timed_out = driver.block_on(driver.timeout(op, time)).err().expect("it hangs");
        assert_eq!(timed_out.errno(), Errno::ETIMEDOUT);
        if format!("{timed_out:?}").contains("has_operation: false") {
            return timed_out.into();
        }
        op = timed_out.into_operation().expect("it says so");
        time *= 2;
    }
}

/// Goal: the future of a read that the disk never answers ends, and its buffer stays. Method: the
/// operation counts its drops; `overdue` describes it until the disk answers after all.
fn a_read_that_hangs_times_out_and_keeps_its_buffer<D: AnyDriver>() {
    let _watchdog = Watchdog::new();
    let driver = D::with_capacity(4);
    let mut held = match HeldFile::new() {
        Ok(held) => held,
        Err(reason) => skip!("{reason}"),
    };
    let counts = Counts::default();
    let error = time_out(&driver, read_of(&held, 8192, &counts));
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(Errno::from_io_error(&error), Some(Errno::ETIMEDOUT));
    drop(error);
    assert_eq!((counts.prepared(), counts.dropped(), driver.outstanding()), (1, 0, 1));

    let overdue = driver.overdue(Duration::ZERO);
    let [late] = overdue[..] else { panic!("{overdue:?}") };
    assert_eq!((late.opcode, late.offset, late.length), (Opcode::PREAD, 8192, 4096));
    assert!(late.abandoned);
    assert!(late.to_string().contains("4096 bytes at offset 8192"), "{late}");
    assert_eq!(driver.overdue(NEVER), []);

    held.release();
    driver.wait_until(|| counts.dropped() == 1);
    driver.wait_until(|| driver.outstanding() == 0);
    assert_eq!(driver.overdue(Duration::ZERO), []);
    driver.block_on(driver.clone().close());
}

/// Goal: an operation that the kernel never had comes back at its deadline, and its place in the
/// queue is free. Method: one slot, which a read has.
fn an_operation_that_waits_for_a_slot_comes_back<D: AnyDriver>() {
    let _watchdog = Watchdog::new();
    let driver = D::with_capacity(1);
    let [first, second] = [Counts::default(), Counts::default()];
    let gate = counter();
    let blocker = Counted(op::Poll::new(Arc::clone(&gate), PollEvents::IN), first.clone());
    let mut blocker = driver.timeout(blocker, NEVER);
    assert!(poll_once(&mut blocker, Waker::noop()).is_pending());
    let timed_out = driver.block_on(driver.timeout(silent(&second), SOON)).err();
    let op = timed_out.expect("no slot is free").into_operation();
    assert_eq!((second.prepared(), second.dropped(), driver.outstanding()), (0, 0, 1));
    drop(op.expect("it waited for a slot"));

    gate.add(1).expect("room in an eventfd");
    let (result, _) = driver.block_on(blocker).expect("its deadline is far away");
    assert!(common::holds(result, PollEvents::IN));
    driver.block_on(driver.clone().close());
}

/// Goal: a POLL is cancelled at its deadline. Method: its descriptor is never ready, and the driver
/// ends.
fn a_poll_is_cancelled_at_its_deadline<D: AnyDriver>() {
    let _watchdog = Watchdog::new();
    let driver = D::with_capacity(1);
    for _ in 0..3 {
        let counts = Counts::default();
        let _ = time_out(&driver, silent(&counts));
        driver.wait_until(|| counts.dropped() == 1);
    }
    driver.block_on(driver.clone().close());
}

/// Goal: an operation whose deadline has passed before the first poll is never started.
fn a_deadline_in_the_past_starts_nothing<D: AnyDriver>() {
    let _watchdog = Watchdog::new();
    let driver = D::with_capacity(1);
    let counts = Counts::default();
    let past = driver.deadline(silent(&counts), Instant::now());
    let op = driver.block_on(past).err().expect("it is past").into_operation();
    assert_eq!((counts.prepared(), counts.dropped()), (0, 0));
    assert_eq!((driver.stats().submitted, driver.outstanding()), (0, 0));
    assert!(op.is_some());
    let late = driver.timeout(silent(&counts), Duration::ZERO);
    assert!(driver.block_on(late).err().expect("it is past").into_operation().is_some());
    // The clock does not reach that far: no deadline.
    let mut far = driver.timeout(silent(&counts), Duration::MAX);
    assert!(poll_once(&mut far, Waker::noop()).is_pending());
}

/// Goal: what has completed by the time of the poll is given, even after the deadline.
fn a_result_is_given_even_after_the_deadline<D: AnyDriver>() {
    let _watchdog = Watchdog::new();
    let driver = D::with_capacity(1);
    let gate = counter();
    let counts = Counts::default();
    let op = Counted(op::Poll::new(Arc::clone(&gate), PollEvents::IN), counts.clone());
    let mut poll = driver.timeout(op, SOON);
    // It may be past already on a machine that is busy.
    if poll_once(&mut poll, Waker::noop()).is_pending() {
        gate.add(1).expect("room in an eventfd");
        driver.wait_until(|| driver.outstanding() == 0);
        thread::sleep(2 * SOON);
        let (result, _) = driver.block_on(poll).expect("the result, as it has completed");
        assert!(common::holds(result, PollEvents::IN));
    }
}

/// Goal: an operation that hangs delays no other, before and after its deadline. Method: reads of
/// another file, with deadlines that they meet.
fn others_go_on_beside_an_operation_that_hangs<D: AnyDriver>() {
    let _watchdog = Watchdog::new();
    let driver = D::with_capacity(4);
    let mut held = match HeldFile::new() {
        Ok(held) => held,
        Err(reason) => skip!("{reason}"),
    };
    let counts = Counts::default();
    let mut hanging = driver.timeout(read_of(&held, 0, &counts), SOON);
    let mut timed_out = poll_once(&mut hanging, Waker::noop()).is_ready();
    for _ in 0..2 {
        for _ in 0..100 {
            let read = driver.timeout(Read::new(zero(), vec![1; 8], 0), NEVER);
            let (result, read) = driver.block_on(read).expect("it is quick");
            assert_eq!((result, read.buf), (Ok(8), vec![0; 8]));
        }
        if !timed_out {
            assert!(driver.block_on(&mut hanging).is_err());
            timed_out = true;
        }
    }
    assert_eq!(counts.dropped(), 0);
    held.release();
    driver.wait_until(|| counts.dropped() == 1);
}

/// Goal: futures that are dropped at once leave neither operations nor deadlines. Method: a
/// thousand, most of which wait for slots; deadlines come to pass while they are dropped.
fn a_thousand_futures_are_dropped_at_once<D: AnyDriver>() {
    let _watchdog = Watchdog::new();
    let driver = D::with_capacity(8);
    let counts = Counts::default();
    let start = |number: u32| {
        let timeout = if number % 2 == 0 { SOON } else { NEVER };
        let mut poll = driver.timeout(silent(&counts), timeout);
        let _ = poll_once(&mut poll, Waker::noop());
        poll
    };
    let futures: Vec<_> = (0..1000).map(start).collect();
    thread::sleep(SOON);
    drop(futures);
    driver.wait_until(|| counts.dropped() == 1000);
    driver.wait_until(|| driver.outstanding() == 0);
    assert!(driver.block_on(driver.timeout(silent(&counts), SOON)).is_err());
    driver.block_on(driver.clone().close());
}

/// Goal: deadlines fire when the reactor is gone.
#[test]
fn deadlines_fire_without_a_reactor() {
    struct Gone;
    impl linux_aio::Reactor for Gone {
        fn poll_readable(
            &self,
            _: &mut core::task::Context<'_>,
        ) -> core::task::Poll<io::Result<()>> {
            core::task::Poll::Ready(Err(io::ErrorKind::Other.into()))
        }
    }
    let _watchdog = Watchdog::new();
    let driver = OnThread(Driver::new(1, |_| Ok(Gone)).expect("a driver"));
    let counts = Counts::default();
    for _ in 0..3 {
        assert!(driver.block_on(driver.timeout(silent(&counts), SOON)).is_err());
    }
    driver.block_on(driver.clone().close());
    assert_eq!(counts.dropped(), 3);
}

/// Goal: deadlines fire, and `overdue` answers, while the thread of a driver is blocked in
/// `io_submit`. Method: a read through the page cache of a file that is held.
#[test]
fn deadlines_fire_while_io_submit_blocks() {
    let _watchdog = Watchdog::new();
    let mut held = match HeldFile::buffered() {
        Ok(held) => held,
        Err(reason) => skip!("{reason}"),
    };
    let driver = OnThread::with_capacity(4);
    let counts = Counts::default();
    let _ = time_out(&driver, read_of(&held, 4096, &counts));
    held.wait_for_arrival(1);
    let overdue = driver.overdue(Duration::ZERO);
    assert_eq!(overdue.iter().map(|late| late.offset).collect::<Vec<_>>(), [4096]);
    // Nothing can be submitted meanwhile, so this one comes back.
    let waiting = driver.timeout(read_of(&held, 0, &counts), SOON);
    assert!(driver.block_on(waiting).err().expect("it waits").into_operation().is_some());

    let unfinished = driver.block_on(driver.clone().close_within(SOON)).expect_err("it is held");
    assert_eq!(unfinished.operations().len(), 1);
    assert_eq!(counts.dropped(), 1);
    held.release();
    driver.block_on(driver.clone().close());
    assert_eq!(counts.dropped(), 2);
}

/// Goal: a panic of a waker at its deadline hits nobody else. Method: the first of two deadlines
/// panics in its waker, also with a payload that panics when it is dropped.
fn a_panic_of_a_waker_stops_no_other_deadline<D: AnyDriver>() {
    let _watchdog = Watchdog::new();
    for (payload, driver) in PAYLOADS.map(|it| (it, D::with_capacity(2))) {
        let (code, counts) = (Arc::<WakerCode>::default(), Counts::default());
        code.wake.arm(move || payload.throw());
        let mut poll = driver.timeout(silent(&counts), SOON);
        let waker = code.waker();
        if poll_once(&mut poll, &waker).is_pending() {
            driver.wait_until(|| code.wake.calls() == 1);
            assert!(driver.block_on(driver.timeout(silent(&counts), SOON)).is_err());
            assert!(poll_once(&mut poll, Waker::noop()).is_ready());
        }
    }
}

/// Goal: a task that moves its future to another waker is woken through the last one. Method: the
/// future is polled with one waker, and then awaited.
fn the_last_waker_is_called_at_the_deadline<D: AnyDriver>() {
    let _watchdog = Watchdog::new();
    let driver = D::with_capacity(1);
    let counts = Counts::default();
    let mut poll = driver.timeout(silent(&counts), SOON);
    if poll_once(&mut poll, Waker::noop()).is_pending() {
        assert!(driver.block_on(poll).is_err());
    }
}

/// Goal: `close_within` gives up, says what the kernel still has, ends what waits, and frees
/// nothing early; the driver ends once the disk answers. Method: one slot, which a held read has.
fn close_within_gives_up_and_says_why<D: AnyDriver>() {
    let _watchdog = Watchdog::new();
    let driver = D::with_capacity(1);
    let mut held = match HeldFile::new() {
        Ok(held) => held,
        Err(reason) => skip!("{reason}"),
    };
    let [counts, waits] = [Counts::default(), Counts::default()];
    let mut hanging = driver.perform(read_of(&held, 512, &counts));
    assert!(poll_once(&mut hanging, Waker::noop()).is_pending());
    held.wait_for_arrival(1);
    let mut waiting = driver.perform(silent(&waits));
    assert!(poll_once(&mut waiting, Waker::noop()).is_pending());

    let unfinished = driver.block_on(driver.clone().close_within(SOON)).expect_err("it is held");
    let [late] = unfinished.operations() else { panic!("{unfinished:?}") };
    assert_eq!((late.opcode, late.offset, late.abandoned), (Opcode::PREAD, 512, false));
    assert!(unfinished.to_string().contains("1 operation"), "{unfinished}");
    assert_eq!(io::Error::from(unfinished).kind(), io::ErrorKind::TimedOut);
    let (result, _) = driver.block_on(waiting);
    assert_eq!(result, Err(Errno::ECANCELED));
    assert_eq!((counts.dropped(), waits.prepared()), (0, 0));
    assert!(poll_once(&mut hanging, Waker::noop()).is_pending());

    held.release();
    let (result, _) = driver.block_on(hanging);
    assert_eq!(result, Ok(4096));
    driver.block_on(driver.clone().close());
}

/// Goal: `close_within` of a driver that can end says so, with and without a bound.
fn close_within_ends_a_driver_that_can_end<D: AnyDriver>() {
    let _watchdog = Watchdog::new();
    for time in [NEVER, Duration::MAX] {
        let driver = D::with_capacity(2);
        let read = driver.block_on(driver.perform(Read::new(zero(), vec![1; 8], 0)));
        assert_eq!(read.0, Ok(8));
        assert_eq!(driver.block_on(driver.clone().close_within(time)), Ok(()));
        let (result, _) = driver.block_on(driver.perform(Read::new(zero(), vec![1; 8], 0)));
        assert_eq!(result, Err(Errno::ECANCELED));
    }
}

/// Goal: dropping `close_within` leaves the driver closed, and no deadline behind.
fn close_within_may_be_dropped<D: AnyDriver>() {
    let _watchdog = Watchdog::new();
    let driver = D::with_capacity(2);
    let mut close = driver.clone().close_within(SOON);
    let _ = poll_once(&mut close, Waker::noop());
    drop(close);
    drop(driver.clone().close_within(SOON));
    thread::sleep(2 * SOON);
    driver.block_on(driver.clone().close());
}

/// Goal: an operation without a deadline of its own has that of its handle, and an own one is
/// stronger, be it earlier or later. Method: POLLs that nothing ends, and others that end later
/// than the deadline of the handle.
fn every_operation_of_a_handle_has_its_deadline<D: AnyDriver>() {
    let _watchdog = Watchdog::new();
    let driver = D::with_capacity(4);
    let counts = Counts::default();
    assert!(driver.block_on(driver.by_default(silent(&counts), SOON)).is_err());
    let past = driver.block_on(driver.by_default(silent(&counts), Duration::ZERO));
    assert!(past.err().expect("it is past").into_operation().is_some());
    let earlier = D::instead(driver.by_default(silent(&counts), NEVER), SOON);
    assert!(driver.block_on(earlier).is_err());
    for time in [NEVER, Duration::MAX] {
        let gate = counter();
        let op = Counted(op::Poll::new(Arc::clone(&gate), PollEvents::IN), counts.clone());
        let mut later = D::instead(driver.by_default(op, SOON), time);
        assert!(poll_once(&mut later, Waker::noop()).is_pending());
        assert!(driver.block_on(driver.timeout(silent(&counts), 2 * SOON)).is_err());
        gate.add(1).expect("room in an eventfd");
        let (result, _) = driver.block_on(later).expect("its own deadline is far away");
        assert!(common::holds(result, PollEvents::IN));
    }
    driver.wait_until(|| counts.dropped() == 7);
    driver.block_on(driver.clone().close());
}

/// Goal: thousands of deadlines that pass at the same time wake all their futures, each once the
/// time is up, and what never started comes back. Method: one task awaits all, most of which wait
/// for slots; some are dropped.
fn thousands_of_deadlines_pass_at_once<D: AnyDriver>() {
    let _watchdog = Watchdog::new();
    let driver = D::with_capacity(8);
    let counts = Counts::default();
    let at = Instant::now() + SOON;
    let mut futures: Vec<_> = (0..5000).map(|_| driver.deadline(silent(&counts), at)).collect();
    // The time may be up for the last ones already.
    futures.retain_mut(|future| poll_once(future, Waker::noop()).is_pending());
    futures.truncate(4000);
    let all = futures_util::future::join_all(futures);
    let ended = driver.block_on(all);
    assert!(at <= Instant::now());
    assert!(ended.iter().all(|it| it.is_err()));
    drop(ended);
    driver.wait_until(|| counts.dropped() == 5000);
    driver.block_on(driver.clone().close());
    assert!(counts.prepared() <= 5000);
}

/// Goal: a future that has been polled may be given a deadline, a later one, or none.
fn a_deadline_may_be_changed_after_the_first_poll<D: AnyDriver>() {
    let _watchdog = Watchdog::new();
    let driver = D::with_capacity(4);
    let counts = Counts::default();
    for first in [SOON, NEVER, Duration::MAX] {
        let mut poll = driver.timeout(silent(&counts), first);
        if poll_once(&mut poll, Waker::noop()).is_pending() {
            let mut poll = D::instead(poll, NEVER);
            assert!(poll_once(&mut poll, Waker::noop()).is_pending());
            assert!(driver.block_on(driver.timeout(silent(&counts), 2 * SOON)).is_err());
            assert!(poll_once(&mut poll, Waker::noop()).is_pending());
            assert!(driver.block_on(D::instead(poll, SOON)).is_err());
        }
    }
    driver.block_on(driver.clone().close());
}

/// Goal: each operation has the age of its own submit, the oldest first, however many submits
/// there have been since, and those that have ended are gone. Method: POLLs, between which others
/// end; the ages are compared with each other.
fn overdue_tells_the_age_of_each_operation<D: AnyDriver>() {
    let _watchdog = Watchdog::new();
    let driver = D::with_capacity(16);
    let mut held = Vec::new();
    for round in 0..200 {
        let gate = counter();
        let mut poll = driver.perform(op::Poll::new(Arc::clone(&gate), PollEvents::IN));
        assert!(poll_once(&mut poll, Waker::noop()).is_pending());
        driver.wait_until(|| driver.overdue(Duration::ZERO).len() == held.len() + 1);
        held.push((gate, poll, Instant::now()));
        if held.len() == 16 {
            // One of the middle ends.
            let (gate, poll, _) = held.remove(round % 15);
            gate.add(1).expect("room in an eventfd");
            assert!(driver.block_on(poll).0.is_ok());
        }
    }
    let now = Instant::now();
    let overdue = driver.overdue(Duration::ZERO);
    assert_eq!(overdue.len(), held.len());
    assert!(overdue.windows(2).all(|two| two[0].age >= two[1].age));
    // Each was submitted before the note was taken, and after the one before it.
    for (number, late) in overdue.iter().enumerate() {
        assert!(late.age >= now - held[number].2, "{number}: {late}");
        if number > 0 {
            assert!(late.age <= now.elapsed() + (now - held[number - 1].2), "{number}: {late}");
        }
    }
    let age = overdue[7].age;
    assert!(driver.overdue(age).len() >= 8);
    drop(held);
    driver.block_on(driver.clone().close());
    assert_eq!(driver.overdue(Duration::ZERO), []);
}

/// Goal: once `close_within` has given up, nothing waits for the kernel: neither the drop of the
/// last future nor that of the last handle. The kernel writes to no memory that is free. Method: a
/// read that is held until everything has been dropped.
fn the_drop_after_close_within_does_not_wait<D: AnyDriver>() {
    let _watchdog = Watchdog::new();
    let driver = D::with_capacity(2);
    let mut held = match HeldFile::new() {
        Ok(held) => held,
        Err(reason) => skip!("{reason}"),
    };
    let counts = Counts::default();
    let mut hanging = driver.perform(read_of(&held, 0, &counts));
    assert!(poll_once(&mut hanging, Waker::noop()).is_pending());
    held.wait_for_arrival(1);
    assert!(driver.block_on(driver.clone().close_within(SOON)).is_err());
    drop(hanging);
    drop(driver);
    assert_eq!(counts.dropped(), 0);
    held.release();
}
