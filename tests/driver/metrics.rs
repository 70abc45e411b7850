//! What a driver measures: every operation once, in each stretch of its life, and nothing while it
//! does not measure. Times are not tested, as far as they are not ordered.

use crate::common;

use super::each::{AnyDriver, on_each_driver};
use common::held::HeldFile;
use common::{Watchdog, poll_once, skip};
use core::task::Waker;
use core::time::Duration;
use linux_aio::op::{self, Fsync, Read, ReadV, Write};
use linux_aio::{
    Errno, EventFd, Metrics, Opcode, Operation, OperationMetrics, PollEvents, Prepared,
};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

on_each_driver![
    every_operation_is_counted_once_by_its_kind,
    nothing_is_counted_while_the_driver_does_not_measure,
    what_is_abandoned_or_in_flight_is_counted_as_far_as_it_came,
    a_panic_counts_as_a_failure,
    the_export_names_every_number_once,
];

fn zero() -> Arc<File> {
    Arc::new(File::open("/dev/zero").expect("/dev/zero"))
}

fn counts(kind: &OperationMetrics) -> [u64; 4] {
    [&kind.waiting, &kind.submitting, &kind.in_kernel, &kind.until_polled].map(|it| it.count())
}

/// Goal: every operation is counted once in each stretch, by its kind, with its bytes. Method:
/// known numbers of reads, writes, vectors, syncs and POLLs, of which some fail.
fn every_operation_is_counted_once_by_its_kind<D: AnyDriver>() {
    let _watchdog = Watchdog::new();
    let driver = D::with_capacity(8);
    driver.measure(true);
    let file = Arc::new(tempfile::tempfile().expect("a file"));
    let executor = smol::LocalExecutor::new();
    let reads: Vec<_> = (0..100)
        .map(|_| executor.spawn(driver.perform(Read::new(zero(), vec![1; 8], 0))))
        .collect();
    driver.block_on(executor.run(async {
        for read in reads {
            assert_eq!(read.await.0, Ok(8));
        }
    }));
    for _ in 0..3 {
        let write = Write::new(Arc::clone(&file), vec![1; 16], 0);
        assert_eq!(driver.block_on(driver.perform(write)).0, Ok(16));
    }
    // Not open for writing.
    let write = Write::new(zero(), vec![1; 16], 0);
    assert_eq!(driver.block_on(driver.perform(write)).0, Err(Errno::EBADF));
    let vectors = ReadV::new(Arc::clone(&file), [vec![0; 8], vec![0; 4]], 0);
    assert_eq!(driver.block_on(driver.perform(vectors)).0, Ok(12));
    let synced = driver.block_on(driver.perform(Fsync::new(Arc::clone(&file)))).0;
    let ready = Arc::new(EventFd::new().expect("an eventfd"));
    ready.add(1).expect("room in an eventfd");
    let poll = op::Poll::new(ready, PollEvents::IN);
    assert!(common::holds(driver.block_on(driver.perform(poll)).0, PollEvents::IN));

    let metrics = driver.metrics();
    let expected = [
        (Opcode::PREAD, 100, 0, 800),
        (Opcode::PWRITE, 4, 1, 48),
        (Opcode::PREADV, 1, 0, 12),
        (Opcode::FSYNC, 1, u64::from(synced.is_err()), 0),
        (Opcode::POLL, 1, 0, 0),
    ];
    assert_eq!(metrics.kinds().len(), expected.len(), "{metrics}");
    for (opcode, operations, failed, bytes) in expected {
        let kind = metrics.of(opcode).expect("some of the kind");
        let found = (kind.operations, kind.failed, kind.bytes);
        assert_eq!(found, (operations, failed, bytes), "{opcode:?}");
        assert_eq!(counts(kind), [operations; 4], "{opcode:?}");
    }
    assert!(metrics.of(Opcode::FDSYNC).is_none());
    assert!(metrics.to_string().contains("PREAD: 100 operations, 0 failed, 800 bytes"));
}

/// Goal: a driver that does not measure counts nothing; the counts stay when it ends, and begin at
/// zero again; operations that are on their way at a change count in nothing by halves.
fn nothing_is_counted_while_the_driver_does_not_measure<D: AnyDriver>() {
    let _watchdog = Watchdog::new();
    let driver = D::with_capacity(8);
    let read =
        || assert_eq!(driver.block_on(driver.perform(Read::new(zero(), [1; 8], 0))).0, Ok(8));
    let gate = Arc::new(EventFd::new().expect("an eventfd"));
    let silent = || {
        let poll = op::Poll::new(Arc::clone(&gate), PollEvents::IN);
        let mut poll = driver.perform(poll);
        assert!(poll_once(&mut poll, Waker::noop()).is_pending());
        poll
    };
    read();
    driver.measure(false);
    assert_eq!(driver.metrics(), Metrics::default());

    let across = silent();
    driver.measure(true);
    (0..3).for_each(|_| read());
    driver.measure(true);
    assert_eq!(driver.metrics().of(Opcode::PREAD).map(counts), Some([3; 4]));
    gate.add(1).expect("room in an eventfd");
    assert!(driver.block_on(across).0.is_ok());
    assert!(driver.metrics().of(Opcode::POLL).is_none_or(|it| counts(it) == [0; 4]));

    assert_eq!(gate.take(), Ok(Some(1)));
    let across = silent();
    driver.measure(false);
    let kept = driver.metrics();
    assert_eq!(kept.of(Opcode::PREAD).map(counts), Some([3; 4]));
    read();
    gate.add(1).expect("room in an eventfd");
    assert!(driver.block_on(across).0.is_ok());
    driver.measure(false);
    assert_eq!(driver.metrics(), kept);
    driver.measure(true);
    assert_eq!(driver.metrics(), Metrics::default());
    read();
    assert_eq!(driver.metrics().of(Opcode::PREAD).map(counts), Some([1; 4]));
}

/// Goal: an operation of nobody is counted, but for the poll that never comes; one that the kernel
/// has is counted as waiting and submitted.
fn what_is_abandoned_or_in_flight_is_counted_as_far_as_it_came<D: AnyDriver>() {
    let _watchdog = Watchdog::new();
    let driver = D::with_capacity(8);
    let mut held = match HeldFile::new() {
        Ok(held) => held,
        Err(reason) => skip!("{reason}"),
    };
    driver.measure(true);
    let file = held.file().try_clone().expect("a descriptor");
    let mut read = driver.perform(Read::new(file, vec![0; 512], 0));
    assert!(poll_once(&mut read, Waker::noop()).is_pending());
    held.wait_for_arrival(1);
    // Another step, after the submit.
    assert_eq!(driver.block_on(driver.perform(Read::new(zero(), [1; 8], 0))).0, Ok(8));
    assert_eq!(driver.metrics().of(Opcode::PREAD).map(counts), Some([2, 2, 1, 1]));
    drop(read);
    held.release();
    driver.wait_until(|| driver.outstanding() == 0);
    let metrics = driver.metrics();
    let reads = metrics.of(Opcode::PREAD).expect("two");
    assert_eq!((counts(reads), reads.operations, reads.bytes), ([2, 2, 2, 1], 2, 520));
}

/// Goal: a panic in `prepare` is a failure.
fn a_panic_counts_as_a_failure<D: AnyDriver>() {
    struct Panics;
    impl Operation for Panics {
        fn prepare(&mut self) -> Prepared<'_> {
            panic!("intended")
        }
    }
    let _watchdog = Watchdog::new();
    let driver = D::with_capacity(8);
    driver.measure(true);
    let read = AssertUnwindSafe(|| driver.block_on(driver.perform(Panics)).0);
    assert!(catch_unwind(read).is_err());
    let metrics = driver.metrics();
    assert_eq!(metrics.kinds().iter().map(|it| it.failed).sum::<u64>(), 1);
}

/// Goal: the export names every number of every kind once, and agrees with the fields.
fn the_export_names_every_number_once<D: AnyDriver>() {
    let _watchdog = Watchdog::new();
    let driver = D::with_capacity(8);
    driver.measure(true);
    for _ in 0..5 {
        assert_eq!(driver.block_on(driver.perform(Read::new(zero(), [1; 8], 0))).0, Ok(8));
    }
    let metrics = driver.metrics();
    let mut values = Vec::new();
    metrics.for_each_value(|name, operation, value| values.push((name, operation, value)));
    let mut names: Vec<_> = values.iter().map(|value| value.0).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!((names.len(), values.len()), (19, 19));
    assert!(values.iter().all(|value| value.1 == "pread"));
    assert!(values.contains(&("linux_aio_operations_total", "pread", 5.0)));
    assert!(values.contains(&("linux_aio_bytes_total", "pread", 40.0)));
    let reads = metrics.of(Opcode::PREAD).expect("five");
    let longest = reads.submitting.max().as_secs_f64();
    assert!(values.contains(&("linux_aio_submitting_seconds_max", "pread", longest)));
    assert!(reads.submitting.max() > Duration::ZERO);
}
