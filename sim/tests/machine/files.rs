//! `linux_aio::File` on the simulated disk.

use linux_aio::{
    Direct, DirectState, Driver, Errno, File, FileDriver, LocalDriver, OpenOptions, ReaderOptions,
    RwFlags, Shared, SyncRange,
};
use linux_aio_sim::{Executor, Faults, Sim};
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;

/// The ways to have a file.
const WAYS: [Direct; 2] = [Direct::Prefer, Direct::Never];

fn options() -> OpenOptions {
    File::options().read(true).write(true).create(true)
}

/// Runs a test with each driver on a machine of its own, unless that kernel refuses a context.
/// Gives the machines.
macro_rules! with_each_driver {
    ($seed:expr, $faults:expr, $test:expr) => {{
        let local = Sim::with_trace($seed, $faults);
        let _entered = local.enter();
        if let Ok(driver) = LocalDriver::new(4) {
            driver.block_on($test(driver.clone(), local.clone()));
        }
        let shared = Sim::with_trace($seed, $faults);
        let _entered = shared.enter();
        let executor = Executor::new(&shared);
        if let Ok(driver) = Driver::on_thread(4) {
            executor.block_on($test(driver, shared.clone()));
        }
        [local, shared]
    }};
}

/// Requests of any alignment, compared with a vector.
async fn requests<D: FileDriver>(driver: D, sim: Sim, direct: Direct) {
    let file = options().direct(direct).open(&driver, sim.path("data")).await.expect("a file");
    assert_eq!(file.is_direct(), direct == Direct::Prefer, "{}", file.direct());
    let mut model: Vec<u8> = Vec::new();
    for step in 0..60 {
        let (at, len) = (sim.below(20_000), 1 + sim.below(9000));
        match sim.below(8) {
            0..=2 => {
                let bytes = vec![step; len as usize];
                file.write_all_at(bytes, at).await.0.expect("a write");
                let end = (at + len) as usize;
                model.resize(model.len().max(end), 0);
                model[at as usize..end].fill(step);
            }
            3 | 4 => {
                let (count, buf) = file.read_at(vec![0; len as usize], at).await;
                let count = count.expect("a read");
                let start = model.len().min(at as usize);
                let expected = &model[start..model.len().min((at + len) as usize)];
                assert_eq!(&buf[..count], expected, "{}", sim.trace());
            }
            5 => {
                file.set_len(at).await.expect("a length");
                model.resize(at as usize, 0);
            }
            6 => {
                file.allocate(at, len).await.expect("an allocation");
                model.resize(model.len().max((at + len) as usize), 0);
            }
            _ => {
                file.punch_hole(at, len).await.expect("a hole");
                let (start, end) = (model.len().min(at as usize), (at + len) as usize);
                let end = model.len().min(end);
                model[start..end].fill(0);
            }
        }
        assert_eq!(file.metadata().expect("metadata").len(), model.len() as u64);
    }
    file.sync_all().await.expect("a sync");
    assert_eq!(sim.read("data"), Some(model));
    file.close().await.expect("a close");
}

/// Goal: files work as on a disk, with each driver, each way, and whatever a legal kernel does.
#[test]
fn requests_of_any_alignment_are_done_whole() {
    for seed in 0..if cfg!(miri) { 1 } else { 30 } {
        for direct in WAYS {
            with_each_driver!(seed, Faults::legal(), |driver, sim| requests(driver, sim, direct));
        }
    }
}

/// Goal: the flags of an open mean what they mean to a kernel.
#[test]
fn files_are_opened_as_their_options_say() -> std::io::Result<()> {
    let sim = Sim::new(1, Faults::none());
    let _entered = sim.enter();
    let driver = LocalDriver::new(4)?;
    driver.block_on(async {
        let path = sim.path("a");
        let missing = File::open(&driver, path.clone()).await.expect_err("there is no such file");
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        options().open(&driver, path.clone()).await?.write_all_at("12", 0).await.0?;
        let taken = options().create_new(true).open(&driver, path.clone()).await;
        assert_eq!(taken.expect_err("it is there").kind(), ErrorKind::AlreadyExists);
        for direct in WAYS {
            let read_only = File::options().read(true).direct(direct);
            let read_only = read_only.open(&driver, path.clone()).await?;
            let error = read_only.write_at("x", 0).await.0.expect_err("open for reading");
            assert_eq!(Errno::from_io_error(&error), Some(Errno::EBADF));
            let error = read_only.set_len(1).await.expect_err("open for reading");
            assert_eq!(Errno::from_io_error(&error), Some(Errno::EINVAL));
            let error = read_only.allocate(0, 1).await.expect_err("open for reading");
            assert_eq!(Errno::from_io_error(&error), Some(Errno::EBADF));
            let write_only = File::options().write(true).direct(direct);
            let write_only = write_only.open(&driver, path.clone()).await?;
            let error = write_only.read_at([0], 0).await.0.expect_err("open for writing");
            assert_eq!(Errno::from_io_error(&error), Some(Errno::EBADF));
        }
        let appended = File::options().append(true).open(&driver, path.clone()).await?;
        appended.write_all_at("34", 0).await.0?;
        assert_eq!(sim.read("a").as_deref(), Some(&b"1234"[..]));
        options().truncate(true).open(&driver, path).await?;
        assert_eq!(sim.read("a").as_deref(), Some(&b""[..]));
        let directory = File::open(&driver, sim.path("")).await?;
        directory.sync_all().await
    })
}

/// Goal: a write with `DSYNC` is durable, whichever way its parts go.
#[test]
fn dsync_of_a_handle_makes_writes_durable() -> std::io::Result<()> {
    for seed in 0..100 {
        let sim = Sim::new(seed, Faults::legal());
        let _entered = sim.enter();
        let Ok(driver) = LocalDriver::new(4) else { continue };
        driver.block_on(async {
            let file = options().open(&driver, sim.path("a")).await?;
            File::open(&driver, sim.path("")).await?.sync_all().await?;
            let durable = file.with_rw_flags(RwFlags::DSYNC);
            durable.write_all_at(vec![7; 10_000], 100).await.0
        })?;
        drop(driver);
        sim.crash();
        let content = sim.read("a").expect("a durable name");
        assert_eq!(content.get(100..), Some(&[7; 10_000][..]), "seed {seed}");
    }
    Ok(())
}

/// Writes a page, and has the disk begin with it, or wait for it.
async fn write_and_sync_range<D: FileDriver>(driver: D, sim: Sim, how: SyncRange) {
    let file = options().direct(Direct::Never).open(&driver, sim.path("a")).await.expect("a file");
    let directory = File::open(&driver, sim.path("")).await.expect("the directory");
    directory.sync_all().await.expect("a sync");
    file.write_all_at(vec![7; 4096], 0).await.0.expect("a write");
    file.sync_range(0, 4096, how).await.expect("a sync of a range");
    let error = file.sync_range(1, u64::MAX, how).await.expect_err("it ends too far behind");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

/// Goal: an engine that takes `sync_range` for a sync is found out. Method: each driver, each way;
/// some crashes must lose the data, and some must not.
#[test]
fn a_sync_of_a_range_makes_nothing_durable() {
    for how in [SyncRange::Start, SyncRange::Wait] {
        let mut left = Vec::new();
        for seed in 0..100 {
            let sims = with_each_driver!(seed, Faults::legal(), |driver, sim| {
                write_and_sync_range(driver, sim, how)
            });
            for sim in sims {
                assert!(sim.trace().contains("sync_file_range a 0+4096 -> 0"), "{}", sim.trace());
                sim.crash();
                left.push(sim.read("a") == Some(vec![7; 4096]));
            }
        }
        assert!(left.contains(&true) && left.contains(&false), "{how:?}: {left:?}");
    }
}

/// Goal: what a disk fails to write of a range is lost, and nothing else. Method: two pages, of
/// which one is in the range, on a disk that fails.
#[test]
fn a_sync_of_a_range_that_fails_loses_some_of_the_range() {
    let (mut lost, mut failed) = (0, 0);
    for seed in 0..300 {
        let mut faults = Faults::none();
        faults.failed_syncs = true;
        let sim = Sim::new(seed, faults);
        let _entered = sim.enter();
        let driver = LocalDriver::new(4).expect("a context");
        let Err(error) = driver.block_on(async {
            let options = options().direct(Direct::Never);
            let file = options.open(&driver, sim.path("a")).await?;
            file.write_all_at(vec![7; 8192], 0).await.0?;
            file.sync_range(4096, 4096, SyncRange::Wait).await
        }) else {
            continue;
        };
        assert_eq!(Errno::from_io_error(&error), Some(Errno::EIO));
        failed += 1;
        sim.crash();
        let content = sim.read("a").expect("a crash of this disk loses no name");
        assert_eq!(content[..4096], [7; 4096], "it is not in the range");
        lost += u32::from(content[4096..] != [7; 4096]);
    }
    assert!(failed > 10 && lost > 0 && lost <= failed, "{lost} of {failed}");
}

/// Reads a file by a stream and by ranges, both of which look what is in the page cache.
async fn streams<D: FileDriver>(driver: D, sim: Sim, direct: Direct) {
    let length = if cfg!(miri) { 9000 } else { 40_000_u32 };
    let content: Vec<u8> = (0..length).map(|at| (at / 7) as u8).collect();
    let file = options().direct(direct).open(&driver, sim.path("a")).await.expect("a file");
    file.write_all_at(content.clone(), 0).await.0.expect("a write");
    let options = ReaderOptions::new().chunk_len(8192).depth(2);
    let mut reader = file.reader_with(.., options);
    let mut read = Vec::new();
    while let Some(chunk) = reader.next_chunk().await.expect("a read") {
        read.extend_from_slice(&chunk);
    }
    assert!(read == content, "{}", sim.trace());
    let mut ranges = file
        .read_ranges([u64::from(length) - 5000..u64::from(length) - 1, 5..4000])
        .expect("ranges");
    while let Some(bytes) = ranges.next_range().await.expect("a read") {
        let range = bytes.range();
        assert!(*bytes == content[range.start as usize..range.end as usize], "{}", sim.trace());
    }
    assert!(sim.trace().contains("call: cachestat a"), "{}", sim.trace());
}

/// Goal: streams look at the page cache of the simulation, not at that of the machine, and read the
/// same bytes wherever they are.
#[test]
fn streams_read_what_is_cached_and_what_is_not() {
    for seed in 0..if cfg!(miri) { 1 } else { 50 } {
        for direct in WAYS {
            with_each_driver!(seed, Faults::legal(), |driver, sim| streams(driver, sim, direct));
        }
    }
}

/// Writes of any alignment within a file, compared with a vector.
async fn whole_blocks<D: FileDriver>(driver: D, sim: Sim) {
    const SIZE: usize = if cfg!(miri) { 1 << 13 } else { 1 << 16 };
    let file = options().open(&driver, sim.path("a")).await.expect("a file");
    let DirectState::Direct { without_second, .. } = file.direct() else {
        panic!("{}", file.direct())
    };
    assert_eq!(without_second, Some(Errno::ENOENT));
    file.set_len(SIZE as u64).await.expect("a length");
    let mut model = vec![0; SIZE];
    for step in 1..if cfg!(miri) { 6 } else { 40 } {
        let at = sim.below(SIZE as u64);
        let len = 1 + sim.below((SIZE as u64 - at).min(5000));
        file.write_all_at(vec![step; len as usize], at).await.0.expect("a write");
        model[at as usize..][..len as usize].fill(step);
    }
    file.sync_data().await.expect("a sync");
    assert!(sim.read("a").as_ref() == Some(&model), "{}", sim.trace());
    // A whole block would make the file longer than it is to be.
    let error = file.write_all_at("xyz", SIZE as u64 + 1).await.0.expect_err("no such block");
    assert_eq!(Errno::from_io_error(&error), Some(Errno::EINVAL));
    assert!(sim.read("a") == Some(model), "{}", sim.trace());
}

/// Goal: unaligned writes of a direct file without a second descriptor stay in the simulation.
#[test]
fn unaligned_writes_without_a_second_descriptor_go_by_whole_blocks() {
    for seed in 0..if cfg!(miri) { 1 } else { 50 } {
        let mut faults = Faults::legal();
        faults.missing_proc = true;
        with_each_driver!(seed, faults.clone(), whole_blocks);
    }
}

/// Goal: memory that other threads may write to is copied beside the simulation. Method: a write
/// whose memory is not aligned.
#[test]
fn shared_memory_is_written_to_simulated_files() {
    async fn write<D: FileDriver>(driver: D, sim: Sim) {
        let file = options().open(&driver, sim.path("a")).await.expect("a file");
        let memory: Arc<[AtomicU8]> = (0..9000).map(|at| AtomicU8::new(at as u8)).collect();
        file.write_all_at(Shared(memory), 0).await.0.expect("a write");
        let expected: Vec<u8> = (0..9000).map(|at| at as u8).collect();
        assert!(sim.read("a") == Some(expected), "{}", sim.trace());
    }
    for seed in 0..20 {
        with_each_driver!(seed, Faults::legal(), write);
    }
}
