//! `linux_aio::File` on the simulated disk.

use linux_aio::{Direct, Driver, Errno, File, FileDriver, LocalDriver, OpenOptions, RwFlags};
use linux_aio_sim::{Executor, Faults, Sim};
use std::io::ErrorKind;

/// The ways to have a file.
const WAYS: [Direct; 2] = [Direct::Prefer, Direct::Never];

fn options() -> OpenOptions {
    File::options().read(true).write(true).create(true)
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
            let sim = Sim::with_trace(seed, Faults::legal());
            let _entered = sim.enter();
            let Ok(driver) = LocalDriver::new(4) else { continue };
            driver.block_on(requests(driver.clone(), sim.clone(), direct));
            let sim = Sim::with_trace(seed, Faults::legal());
            let executor = Executor::new(&sim);
            let _entered = sim.enter();
            let Ok(driver) = Driver::on_thread(4) else { continue };
            executor.block_on(requests(driver, sim.clone(), direct));
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
