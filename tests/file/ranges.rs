//! Many ranges of a file against a `Vec<u8>`.

use crate::common;
use crate::reader::{evict, poll_some};

use common::Watchdog;
use common::files::{file_with, open_direct, pattern};
use core::ops::Range;
use core::pin::pin;
use fastrand::Rng;
use linux_aio::{Direct, Driver, File, RangeBytes, RangesOptions};
use pollster::block_on;
use std::io;
use std::path::Path;

const WAYS: [Direct; 2] = [Direct::Prefer, Direct::Never];

fn open(driver: &Driver, path: &Path, direct: Direct) -> File {
    block_on(File::options().read(true).direct(direct).open(driver, path)).expect("a file")
}

fn some_ranges(rng: &mut Rng, end: u64) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for _ in 0..rng.usize(..60) {
        let start = rng.u64(..=end);
        let most = rng.choice([1, 10, 5000, 200_000]).expect("one");
        let len = rng.u64(..most);
        let range = match ranges.get(rng.usize(..ranges.len().max(1))) {
            Some(again) if rng.u8(..3) == 0 => again.clone(),
            _ => start..(start + len).min(end),
        };
        ranges.push(range);
    }
    ranges
}

/// Goal: all ranges come in the order asked for, with their bytes, whatever the limits are.
#[test]
fn ranges_come_in_order() {
    let _watchdog = Watchdog::new();
    let mut rng = Rng::new();
    let driver = Driver::on_thread(8).expect("a driver");
    let content = pattern(3_000_001);
    let (_dir, path, _) = file_with(&content);
    for round in 0..60 {
        let file = open(&driver, &path, WAYS[round % 2]);
        if rng.bool() {
            evict(&path);
        }
        let ranges = some_ranges(&mut rng, content.len() as u64);
        let mut options = RangesOptions::new().depth(rng.usize(1..40));
        options = options.memory_limit([200_000, 300_000, 64 << 20][rng.usize(..3)]);
        if rng.bool() {
            options = options.coalesce(rng.u64(..10_000), rng.u64(..500_000));
        }
        let text = format!("{options:?}");
        let mut read = file.read_ranges_with(ranges.clone(), options).expect("ranges");
        for range in ranges {
            let bytes = block_on(read.next_range()).expect("a read").expect("a range");
            assert_eq!(bytes.range(), range, "{text}");
            assert!(*bytes == content[range.start as usize..range.end as usize], "{text}");
        }
        assert!(block_on(read.next_range()).expect("the end").is_none());
    }
}

/// Goal: a range that cannot be is an error that names it, before anything is read.
#[test]
fn impossible_ranges_are_named() {
    let _watchdog = Watchdog::new();
    let driver = Driver::on_thread(8).expect("a driver");
    let (_dir, path, _) = file_with(&pattern(10_000));
    evict(&path);
    for direct in WAYS {
        let file = open(&driver, &path, direct);
        #[allow(clippy::reversed_empty_ranges, reason = "it is the test")]
        for (range, why) in [
            (9..10_001, "behind the end of the file, which has 10000 bytes"),
            (u64::MAX - 1..u64::MAX, "behind the end"),
            (10_001..10_001, "behind the end"),
            (7..6, "ends before it starts"),
            (u64::MAX..0, "ends before it starts"),
            (0..6000, "larger than the limit on memory, 5000 bytes"),
        ] {
            let options = RangesOptions::new().memory_limit(5000);
            let error = file.read_ranges_with([0..10, range.clone()], options);
            let error = error.expect_err("it cannot be");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            let text = format!("range 1, from {} to {}, ", range.start, range.end);
            assert!(error.to_string().starts_with(&text), "{error}");
            assert!(error.to_string().contains(why), "{error}");
        }
        assert_eq!(driver.stats().submitted, 0);
        assert!(file.read_ranges(vec![10_000..10_000; 2]).is_ok());
    }
}

/// Goal: equal ranges are read once, neighbours are one read if that is asked for, and the memory
/// stays in its limit. Method: what the driver has submitted.
#[test]
fn reads_are_no_more_than_needed() {
    let _watchdog = Watchdog::new();
    let driver = Driver::on_thread(64).expect("a driver");
    let content = pattern(1 << 20);
    let (_dir, path, _) = file_with(&content);
    if open_direct(&path).is_none() {
        return common::say_skipped("no O_DIRECT here");
    }
    evict(&path);
    let file = open(&driver, &path, Direct::Require);
    let read = |ranges: &[Range<u64>], options: RangesOptions| {
        let before = driver.stats().submitted;
        let mut read = file.read_ranges_with(ranges.iter().cloned(), options).expect("ranges");
        let mut most = 0;
        let mut all: Vec<RangeBytes> = Vec::new();
        while let Some(bytes) = block_on(async {
            let bytes = read.next_range().await;
            most = most.max(driver.outstanding());
            bytes.expect("a read")
        }) {
            assert!(*bytes == content[bytes.range().start as usize..bytes.range().end as usize]);
            all.push(bytes);
        }
        assert_eq!(all.len(), ranges.len());
        (driver.stats().submitted - before, most)
    };
    let twice: Vec<_> = (0..10_u64).chain(0..10).map(|at| at * 50_000..at * 50_000 + 99).collect();
    assert_eq!(read(&twice, RangesOptions::new()).0, 10);
    assert_eq!(read(&twice, RangesOptions::new().coalesce(49_901, 1 << 20)).0, 1);
    assert_eq!(read(&twice, RangesOptions::new().coalesce(49_900, 1 << 20)).0, 10);
    // The memory has room for one, so each has to be read again.
    assert_eq!(read(&twice, RangesOptions::new().memory_limit(99)), (20, 0));
}

/// Goal: a file that has become shorter is an error that names the range, and the others come.
#[test]
fn a_file_that_has_shrunk_fails_the_ranges_behind_its_end() {
    let _watchdog = Watchdog::new();
    let driver = Driver::on_thread(8).expect("a driver");
    let content = pattern(100_000);
    for direct in WAYS {
        let (_dir, path, plain) = file_with(&content);
        evict(&path);
        let file = open(&driver, &path, direct);
        let mut read = file.read_ranges([50_000..60_000, 0..10_000]).expect("ranges");
        plain.set_len(55_555).expect("a length");
        let error = block_on(read.next_range()).expect_err("it has shrunk");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let text = error.to_string();
        assert!(text.contains("50000 to 60000") && text.contains("55555"), "{text}");
        let bytes = block_on(read.next_range()).expect("a read").expect("a range");
        assert!(*bytes == content[..10_000]);
        assert!(block_on(read.next_range()).expect("the end").is_none());
    }
}

/// Goal: futures that are dropped at any await lose no range, and the driver ends with all reads
/// of ranges that are dropped.
#[test]
fn ranges_may_be_dropped_at_every_await() {
    let _watchdog = Watchdog::new();
    let driver = Driver::on_thread(8).expect("a driver");
    let content = pattern(500_000);
    let (_dir, path, _) = file_with(&content);
    for direct in WAYS {
        let file = open(&driver, &path, direct);
        for polls in 1..8 {
            evict(&path);
            let ranges: Vec<_> = (0..40).map(|at| at * 10_000..at * 11_000 + 7).collect();
            let mut read = file.read_ranges(ranges.clone()).expect("ranges");
            let mut count = 0;
            while count < ranges.len() {
                let Some(bytes) = poll_some(pin!(read.next_range()), polls) else { continue };
                let bytes = bytes.expect("a read").expect("a range");
                assert_eq!(bytes.range(), ranges[count]);
                let range = ranges[count].start as usize..ranges[count].end as usize;
                assert!(*bytes == content[range]);
                count += 1;
            }
            let mut read = file.read_ranges(ranges).expect("ranges");
            let _ = poll_some(pin!(read.next_range()), polls);
        }
    }
    block_on(driver.close());
}

#[cfg(feature = "stream")]
#[test]
fn ranges_are_a_stream() {
    use smol::stream::StreamExt;
    let _watchdog = Watchdog::new();
    let driver = Driver::on_thread(8).expect("a driver");
    let content = pattern(100_000);
    let (_dir, path, _) = file_with(&content);
    let file = open(&driver, &path, Direct::Prefer);
    let read = file.read_ranges((0..100).map(|at| at * 1000..at * 1000 + 1000)).expect("ranges");
    let all: Vec<_> = block_on(read.map(|bytes| bytes.expect("a read")).collect());
    assert!(all.iter().flat_map(|bytes| bytes.iter()).eq(&content));
}

/// Goal: ranges are one read only if that fits the memory of the machine, whatever the options
/// allow. Method: two short ranges far apart, of a device that has every offset. On 64 bits one
/// read for both would be larger than memory, too.
#[test]
fn ranges_are_not_one_read_that_no_memory_has() {
    let _watchdog = Watchdog::new();
    let driver = Driver::on_thread(4).expect("a driver");
    let zero = std::fs::File::open("/dev/zero").expect("/dev/zero");
    let file = File::from_std(zero, &driver).expect("a file");
    // A multiple of 4 GiB, and so a length of 10 to a machine of 32 bits that cuts it.
    let far = (isize::MAX as u64 / 2 + 1).next_multiple_of(1 << 32);
    let options = RangesOptions::new().coalesce(u64::MAX, u64::MAX).memory_limit(u64::MAX);
    let ranges = [0..10, far..far + 10];
    let mut reads = file.read_ranges_with(ranges.clone(), options).expect("a plan");
    for range in ranges {
        let bytes = block_on(reads.next_range()).expect("a read").expect("a range");
        assert_eq!((bytes.range(), &*bytes), (range, &[0; 10][..]));
    }
}
