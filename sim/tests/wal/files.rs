//! The log on files, of both drivers: direct ones and buffered ones.

use crate::on_file::FileWal;
use crate::record::Mistake;
use crate::{Fault, LIVES, Model, SHORT};
use linux_aio::{Direct, Driver, FileDriver, LocalDriver};
use linux_aio_sim::{Executor, Failure, Faults, Sim, check_seeds};
use std::cell::RefCell;
use std::error::Error;
use std::rc::Rc;

/// The bytes of a body at most: more than a page.
const LONG: u64 = if cfg!(miri) { SHORT } else { 6000 };

/// The driver of a log, and how its futures are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runs {
    /// A `LocalDriver`, whose `block_on` unwinds when the power fails.
    Local,
    /// A `Driver` with the executor, which drops the futures when the power fails.
    Shared,
}

/// One life of a log.
async fn live<D: FileDriver>(
    driver: D,
    sim: Sim,
    model: Rc<RefCell<Model>>,
    direct: Direct,
    mistake: Mistake,
) -> Result<(), Fault> {
    let (mut wal, records) = FileWal::open(&driver, &sim, direct, mistake).await?;
    model.borrow_mut().recovered(records)?;
    for _ in 0..6 {
        model.borrow_mut().attempt(&sim);
        let bodies = model.borrow().attempted.clone();
        wal.append(&bodies).await?;
        let mut model = model.borrow_mut();
        let mut acknowledged = std::mem::take(&mut model.attempted);
        model.durable.append(&mut acknowledged);
    }
    Ok(())
}

/// Runs a life to its end or to a crash.
fn life(
    sim: &Sim,
    runs: Runs,
    model: &Rc<RefCell<Model>>,
    direct: Direct,
    mistake: Mistake,
) -> Result<(), String> {
    let model = Rc::clone(model);
    let ended = match runs {
        Runs::Local => sim.until_end(80, || {
            let Ok(driver) = LocalDriver::new(8) else { return Err(Fault::Reported) };
            let life = live(driver.clone(), sim.clone(), model, direct, mistake);
            driver.block_on(life)
        }),
        Runs::Shared => {
            let executor = Executor::new(sim);
            let ended = Rc::new(RefCell::new(None));
            if let Ok(driver) = Driver::on_thread(8) {
                let life = live(driver, sim.clone(), model, direct, mistake);
                let sender = Rc::clone(&ended);
                executor.spawn(async move { *sender.borrow_mut() = Some(life.await) });
                executor.until_end(400);
            } else {
                *ended.borrow_mut() = Some(Err(Fault::Reported));
            }
            ended.take()
        }
    };
    match ended {
        None => {}
        Some(Ok(())) => sim.crash(),
        Some(Err(Fault::Reported)) => sim.kill(),
        Some(Err(Fault::Broken(text))) => return Err(text),
    }
    Ok(())
}

fn run(sim: &Sim, runs: Runs, direct: Direct, mistake: Mistake) -> Result<(), Box<dyn Error>> {
    let model = Rc::new(RefCell::new(Model::new(LONG)));
    for _ in 0..LIVES {
        life(sim, runs, &model, direct, mistake)?;
    }
    Ok(())
}

fn seeds(
    count: u64,
    faults: &Faults,
    runs: Runs,
    direct: Direct,
    mistake: Mistake,
) -> Result<u64, Failure> {
    check_seeds(0..count, faults, |sim| run(sim, runs, direct, mistake))
}

/// Goal: the right log survives on files, whichever driver has them, and whichever way they go.
#[test]
fn the_right_log_survives_on_files() {
    let count = if cfg!(miri) { 1 } else { crate::crashes(500) / LIVES };
    for (faults, fails) in [(Faults::legal(), false), (Faults::failing(), true)] {
        for runs in [Runs::Local, Runs::Shared] {
            for direct in [Direct::Prefer, Direct::Never] {
                // Two of the eight take Miri as long as everything else.
                let is_local = matches!(runs, Runs::Local);
                if cfg!(miri) && (is_local != (direct == Direct::Prefer) || fails == is_local) {
                    continue;
                }
                let passed = seeds(count, &faults, runs, direct, Mistake::None);
                assert!(passed.is_ok(), "{runs:?}, {direct:?}: {}", passed.unwrap_err());
            }
        }
    }
}

/// Goal: mistakes are found on files as on a queue. Method: those that can be made there.
#[test]
fn mistakes_on_files_are_found() {
    let mistakes = [
        (Mistake::NoSync, Faults::legal()),
        (Mistake::NoDirectorySync, Faults::legal()),
        (Mistake::TornTailTrusted, Faults::legal()),
        (Mistake::NoChecksum, Faults::legal()),
        (Mistake::LengthTrusted, Faults::legal()),
        (Mistake::SyncErrorIgnored, Faults::failing()),
    ];
    for (mistake, faults) in mistakes {
        for runs in [Runs::Local, Runs::Shared] {
            match seeds(500, &faults, runs, Direct::Never, mistake) {
                Ok(passed) => panic!("{mistake:?}, {runs:?}: {passed} seeds have not found it"),
                Err(found) => println!("{mistake:?}, {runs:?}: seed {}", found.seed),
            }
        }
    }
}

/// Goal: a failure can be repeated, also with calls that block.
#[test]
fn the_same_seed_gives_the_same_trace_on_files() {
    for runs in [Runs::Local, Runs::Shared] {
        for seed in 0..if cfg!(miri) { 1 } else { 20 } {
            let [first, second] = [(); 2].map(|()| {
                let sim = Sim::with_trace(seed, Faults::legal());
                let _entered = sim.enter();
                let result = run(&sim, runs, Direct::Prefer, Mistake::None);
                (sim.trace(), result.map_err(|error| error.to_string()))
            });
            assert!(first.0.contains("call: "), "{}", first.0);
            assert_eq!(first, second, "seed {seed}, {runs:?}");
        }
    }
}
