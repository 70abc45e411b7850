//! Deadlines, and the end of a driver whose disk never answers. The disk is a file that a FUSE
//! server holds back (`common::held`).

use crate::common;

use super::hooks::{ReactorCode, WakerCode};
use common::held::HeldFile;
use common::panics::PAYLOADS;
use common::{Watchdog, poll_once, skip};
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::Waker;
use core::time::Duration;
use linux_aio::op::{self, Read};
use linux_aio::{AlignedBuf, Driver, Errno, EventFd, Opcode, Operation, PollEvents, Prepared};
use smol::future::block_on;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

const SOON: Duration = Duration::from_millis(20);
const NEVER: Duration = Duration::from_secs(1_000_000);

/// A driver with a reactor, and one on a thread of its own.
fn drivers(capacity: u32) -> [Driver; 2] {
    let (on_reactor, _) = Arc::<ReactorCode>::default().working_driver(capacity);
    [on_reactor, Driver::on_thread(capacity).expect("a driver")]
}

fn wait_until(what: impl Fn() -> bool) {
    while !what() {
        thread::yield_now();
    }
}

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
fn time_out<O: Operation + Send + 'static>(driver: &Driver, mut op: O) -> io::Error {
    let mut time = SOON;
    loop {
        let timed_out = block_on(driver.perform(op).timeout(time)).err().expect("it hangs");
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
#[test]
fn a_read_that_hangs_times_out_and_keeps_its_buffer() {
    let _watchdog = Watchdog::new();
    for driver in drivers(4) {
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
        wait_until(|| counts.dropped() == 1);
        wait_until(|| driver.outstanding() == 0);
        assert_eq!(driver.overdue(Duration::ZERO), []);
        block_on(driver.close());
    }
}

/// Goal: an operation that the kernel never had comes back at its deadline, and its place in the
/// queue is free. Method: one slot, which a read has.
#[test]
fn an_operation_that_waits_for_a_slot_comes_back() {
    let _watchdog = Watchdog::new();
    for driver in drivers(1) {
        let [first, second] = [Counts::default(), Counts::default()];
        let gate = counter();
        let blocker = Counted(op::Poll::new(Arc::clone(&gate), PollEvents::IN), first.clone());
        let mut blocker = driver.perform(blocker).timeout(NEVER);
        assert!(poll_once(&mut blocker, Waker::noop()).is_pending());
        let timed_out = block_on(driver.perform(silent(&second)).timeout(SOON)).err();
        let op = timed_out.expect("no slot is free").into_operation();
        assert_eq!((second.prepared(), second.dropped(), driver.outstanding()), (0, 0, 1));
        drop(op.expect("it waited for a slot"));

        gate.add(1).expect("room in an eventfd");
        let (result, _) = block_on(blocker).expect("its deadline is far away");
        assert!(common::holds(result, PollEvents::IN));
        block_on(driver.close());
    }
}

/// Goal: a POLL is cancelled at its deadline. Method: its descriptor is never ready, and the driver
/// ends.
#[test]
fn a_poll_is_cancelled_at_its_deadline() {
    let _watchdog = Watchdog::new();
    for driver in drivers(1) {
        for _ in 0..3 {
            let counts = Counts::default();
            let _ = time_out(&driver, silent(&counts));
            wait_until(|| counts.dropped() == 1);
        }
        block_on(driver.close());
    }
}

/// Goal: an operation whose deadline has passed before the first poll is never started.
#[test]
fn a_deadline_in_the_past_starts_nothing() {
    let _watchdog = Watchdog::new();
    for driver in drivers(1) {
        let counts = Counts::default();
        let past = driver.perform(silent(&counts)).deadline(Instant::now());
        let op = block_on(past).err().expect("it is past").into_operation();
        assert_eq!((counts.prepared(), counts.dropped()), (0, 0));
        assert_eq!((driver.stats().submitted, driver.outstanding()), (0, 0));
        assert!(op.is_some());
        let late = driver.perform(silent(&counts)).timeout(Duration::ZERO);
        assert!(block_on(late).err().expect("it is past").into_operation().is_some());
        // The clock does not reach that far: no deadline.
        let mut far = driver.perform(silent(&counts)).timeout(Duration::MAX);
        assert!(poll_once(&mut far, Waker::noop()).is_pending());
    }
}

/// Goal: what has completed by the time of the poll is given, even after the deadline.
#[test]
fn a_result_is_given_even_after_the_deadline() {
    let _watchdog = Watchdog::new();
    for driver in drivers(1) {
        let gate = counter();
        let counts = Counts::default();
        let op = Counted(op::Poll::new(Arc::clone(&gate), PollEvents::IN), counts.clone());
        let mut poll = driver.perform(op).timeout(SOON);
        // It may be past already on a machine that is busy.
        if poll_once(&mut poll, Waker::noop()).is_pending() {
            gate.add(1).expect("room in an eventfd");
            wait_until(|| driver.outstanding() == 0);
            thread::sleep(2 * SOON);
            let (result, _) = block_on(poll).expect("the result, as it has completed");
            assert!(common::holds(result, PollEvents::IN));
        }
    }
}

/// Goal: an operation that hangs delays no other, before and after its deadline. Method: reads of
/// another file, with deadlines that they meet.
#[test]
fn others_go_on_beside_an_operation_that_hangs() {
    let _watchdog = Watchdog::new();
    for driver in drivers(4) {
        let mut held = match HeldFile::new() {
            Ok(held) => held,
            Err(reason) => skip!("{reason}"),
        };
        let counts = Counts::default();
        let mut hanging = driver.perform(read_of(&held, 0, &counts)).timeout(SOON);
        let mut timed_out = poll_once(&mut hanging, Waker::noop()).is_ready();
        for _ in 0..2 {
            for _ in 0..100 {
                let read = driver.perform(Read::new(zero(), vec![1; 8], 0)).timeout(NEVER);
                let (result, read) = block_on(read).expect("it is quick");
                assert_eq!((result, read.buf), (Ok(8), vec![0; 8]));
            }
            if !timed_out {
                assert!(block_on(&mut hanging).is_err());
                timed_out = true;
            }
        }
        assert_eq!(counts.dropped(), 0);
        held.release();
        wait_until(|| counts.dropped() == 1);
    }
}

/// Goal: futures that are dropped at once leave neither operations nor deadlines. Method: a
/// thousand, most of which wait for slots; deadlines come to pass while they are dropped.
#[test]
fn a_thousand_futures_are_dropped_at_once() {
    let _watchdog = Watchdog::new();
    for driver in drivers(8) {
        let counts = Counts::default();
        let start = |number: u32| {
            let timeout = if number % 2 == 0 { SOON } else { NEVER };
            let mut poll = driver.perform(silent(&counts)).timeout(timeout);
            let _ = poll_once(&mut poll, Waker::noop());
            poll
        };
        let futures: Vec<_> = (0..1000).map(start).collect();
        thread::sleep(SOON);
        drop(futures);
        wait_until(|| counts.dropped() == 1000);
        wait_until(|| driver.outstanding() == 0);
        assert!(block_on(driver.perform(silent(&counts)).timeout(SOON)).is_err());
        block_on(driver.close());
    }
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
    let driver = Driver::new(1, |_| Ok(Gone)).expect("a driver");
    let counts = Counts::default();
    for _ in 0..3 {
        assert!(block_on(driver.perform(silent(&counts)).timeout(SOON)).is_err());
    }
    block_on(driver.close());
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
    let driver = Driver::on_thread(4).expect("a driver");
    let counts = Counts::default();
    let _ = time_out(&driver, read_of(&held, 4096, &counts));
    held.wait_for_arrival(1);
    let overdue = driver.overdue(Duration::ZERO);
    assert_eq!(overdue.iter().map(|late| late.offset).collect::<Vec<_>>(), [4096]);
    // Nothing can be submitted meanwhile, so this one comes back.
    let waiting = driver.perform(read_of(&held, 0, &counts)).timeout(SOON);
    assert!(block_on(waiting).err().expect("it waits").into_operation().is_some());

    let unfinished = block_on(driver.clone().close_within(SOON)).expect_err("it is held");
    assert_eq!(unfinished.operations().len(), 1);
    assert_eq!(counts.dropped(), 1);
    held.release();
    block_on(driver.close());
    assert_eq!(counts.dropped(), 2);
}

/// Goal: a panic of a waker at its deadline hits nobody else. Method: the first of two deadlines
/// panics in its waker, also with a payload that panics when it is dropped.
#[test]
fn a_panic_of_a_waker_stops_no_other_deadline() {
    let _watchdog = Watchdog::new();
    for (payload, driver) in PAYLOADS.into_iter().flat_map(|it| drivers(2).map(|to| (it, to))) {
        let (code, counts) = (Arc::<WakerCode>::default(), Counts::default());
        code.wake.arm(move || payload.throw());
        let mut poll = driver.perform(silent(&counts)).timeout(SOON);
        let waker = code.waker();
        if poll_once(&mut poll, &waker).is_pending() {
            wait_until(|| code.wake.calls() == 1);
            assert!(block_on(driver.perform(silent(&counts)).timeout(SOON)).is_err());
            assert!(poll_once(&mut poll, Waker::noop()).is_ready());
        }
    }
}

/// Goal: a task that moves its future to another waker is woken through the last one. Method: the
/// future is polled with one waker, and then awaited.
#[test]
fn the_last_waker_is_called_at_the_deadline() {
    let _watchdog = Watchdog::new();
    for driver in drivers(1) {
        let counts = Counts::default();
        let mut poll = driver.perform(silent(&counts)).timeout(SOON);
        if poll_once(&mut poll, Waker::noop()).is_pending() {
            assert!(block_on(poll).is_err());
        }
    }
}

/// Goal: `close_within` gives up, says what the kernel still has, ends what waits, and frees
/// nothing early; the driver ends once the disk answers. Method: one slot, which a held read has.
#[test]
fn close_within_gives_up_and_says_why() {
    let _watchdog = Watchdog::new();
    for driver in drivers(1) {
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

        let unfinished = block_on(driver.clone().close_within(SOON)).expect_err("it is held");
        let [late] = unfinished.operations() else { panic!("{unfinished:?}") };
        assert_eq!((late.opcode, late.offset, late.abandoned), (Opcode::PREAD, 512, false));
        assert!(unfinished.to_string().contains("1 operation"), "{unfinished}");
        assert_eq!(io::Error::from(unfinished).kind(), io::ErrorKind::TimedOut);
        let (result, _) = block_on(waiting);
        assert_eq!(result, Err(Errno::ECANCELED));
        assert_eq!((counts.dropped(), waits.prepared()), (0, 0));
        assert!(poll_once(&mut hanging, Waker::noop()).is_pending());

        held.release();
        let (result, _) = block_on(hanging);
        assert_eq!(result, Ok(4096));
        block_on(driver.close());
    }
}

/// Goal: `close_within` of a driver that can end says so, with and without a bound.
#[test]
fn close_within_ends_a_driver_that_can_end() {
    let _watchdog = Watchdog::new();
    for time in [NEVER, Duration::MAX] {
        for driver in drivers(2) {
            let read = block_on(driver.perform(Read::new(zero(), vec![1; 8], 0)));
            assert_eq!(read.0, Ok(8));
            assert_eq!(block_on(driver.clone().close_within(time)), Ok(()));
            let (result, _) = block_on(driver.perform(Read::new(zero(), vec![1; 8], 0)));
            assert_eq!(result, Err(Errno::ECANCELED));
        }
    }
}

/// Goal: dropping `close_within` leaves the driver closed, and no deadline behind.
#[test]
fn close_within_may_be_dropped() {
    let _watchdog = Watchdog::new();
    for driver in drivers(2) {
        let mut close = driver.clone().close_within(SOON);
        let _ = poll_once(&mut close, Waker::noop());
        drop(close);
        drop(driver.clone().close_within(SOON));
        thread::sleep(2 * SOON);
        block_on(driver.close());
    }
}
