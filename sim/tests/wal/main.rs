//! A write-ahead log under thousands of crashes: the right one loses nothing, and nine mistakes are
//! found.

mod files;
mod on_file;
mod record;
mod wal;

use linux_aio::Errno;
use linux_aio_sim::{Failure, Faults, Sim, check_seeds};
use record::Mistake;
use std::cell::Cell;
use std::error::Error;
use std::io;
use std::time::Instant;
use wal::Wal;

/// Lives of a log in each run. Each ends with a crash or a kill.
const LIVES: u64 = 5;

/// How many crashes and kills the right log must survive, or the default.
fn crashes(default: u64) -> u64 {
    let text = std::env::var("LINUX_AIO_SIM_CRASHES");
    text.map_or(default, |text| text.parse().expect("LINUX_AIO_SIM_CRASHES is a number"))
}

/// The bytes of a body at most, with which Miri runs in seconds.
const SHORT: u64 = 40;
/// The bytes of a body at most.
const LONG: u64 = if cfg!(miri) { SHORT } else { 1500 };

/// What a log must contain.
struct Model {
    /// Records that are durable: acknowledged, or reported by a recovery.
    durable: Vec<Vec<u8>>,
    /// Records that were not acknowledged, since the last recovery: each may be there if those
    /// before it are.
    attempted: Vec<Vec<u8>>,
    /// Makes each body another one.
    bodies: u64,
    /// The bytes of a body at most.
    longest: u64,
}

/// Why a life ends by itself.
enum Fault {
    /// An error of the log. The process ends, and recovery decides.
    Reported,
    /// The log is wrong.
    Broken(String),
}

impl From<Errno> for Fault {
    fn from(_: Errno) -> Self {
        Self::Reported
    }
}

impl From<io::Error> for Fault {
    fn from(_: io::Error) -> Self {
        Self::Reported
    }
}

impl Model {
    fn new(longest: u64) -> Self {
        Self { durable: Vec::new(), attempted: Vec::new(), bodies: 0, longest }
    }

    /// Makes some records to append.
    fn attempt(&mut self, sim: &Sim) {
        for _ in 0..=sim.below(3) {
            self.bodies += 1;
            let length = 1 + sim.below(self.longest);
            let body = (0..length).map(|at| (self.bodies * 31 + at * 7 % 251) as u8 | 1);
            self.attempted.push(body.collect());
        }
    }

    /// Compares the records of a recovery.
    fn recovered(&mut self, records: Vec<Vec<u8>>) -> Result<(), Fault> {
        let expected: Vec<_> = self.durable.iter().chain(&self.attempted).collect();
        let common = records.iter().zip(&expected).filter(|(is, was)| is == *was).count();
        let all = records.len();
        if all < self.durable.len() || common < all {
            return Err(Fault::Broken(format!(
                "{} records are durable and {} may be there; recovery has found {all}, of which \
                 {common} are right",
                self.durable.len(),
                self.attempted.len(),
            )));
        }
        self.durable = records;
        self.attempted.clear();
        Ok(())
    }

    /// One life of the log.
    fn live(&mut self, sim: &Sim, mistake: Mistake) -> Result<(), Fault> {
        let (mut wal, records) = Wal::open(sim.file("wal"), sim.directory(), mistake)?;
        self.recovered(records)?;
        for _ in 0..8 {
            self.attempt(sim);
            wal.append(&self.attempted)?;
            self.durable.append(&mut self.attempted);
        }
        Ok(())
    }

    /// Lives that end with crashes and kills, and a recovery in peace.
    fn run(sim: &Sim, mistake: Mistake, longest: u64) -> Result<(), Box<dyn Error>> {
        let mut model = Self::new(longest);
        for _ in 0..LIVES {
            match sim.until_end(60, || model.live(sim, mistake)) {
                None => {}
                Some(Ok(())) => sim.crash(),
                Some(Err(Fault::Reported)) => sim.kill(),
                Some(Err(Fault::Broken(text))) => return Err(text.into()),
            }
        }
        for _ in 0..100 {
            let opened = Wal::open(sim.file("wal"), sim.directory(), mistake);
            match opened.map_err(Fault::from).and_then(|(_, records)| model.recovered(records)) {
                Ok(()) => return Ok(()),
                Err(Fault::Reported) => sim.kill(),
                Err(Fault::Broken(text)) => return Err(text.into()),
            }
        }
        Err("a log that cannot be opened a hundred times".into())
    }
}

/// Goal: the tests do not accuse a log that is right.
fn survives(faults: &Faults, default: u64) {
    let seeds = crashes(if cfg!(miri) { 5 } else { default }) / LIVES;
    let start = Instant::now();
    let passed = check_seeds(0..seeds, faults, |sim| Model::run(sim, Mistake::None, LONG));
    assert_eq!(passed.unwrap_or_else(|failure| panic!("{failure}")), seeds);
    println!("{} crashes and kills survived; {:?}", seeds * LIVES, start.elapsed());
}

/// Goal: a simulated disk is worth running. Method: each mistake is found with few seeds. Prints
/// how much had to run until then.
fn is_found(mistake: Mistake, faults: &Faults, within: u64) {
    let (start, calls) = (Instant::now(), Cell::new(0));
    let found = check_seeds(0..within, faults, |sim| {
        let result = Model::run(sim, mistake, LONG);
        // Of the run that shows the failure, which has a trace.
        calls.set(calls.get() + sim.trace().lines().count());
        result
    });
    match found {
        Ok(passed) => panic!("{mistake:?}: {passed} seeds have not found it"),
        Err(Failure { seed, error, .. }) => {
            let (lives, calls, time) = ((seed + 1) * LIVES, calls.get(), start.elapsed());
            println!(
                "{mistake:?}: seed {seed}, at most {lives} lives, the last run in {calls} \
                      steps; {time:?}: {error}"
            );
        }
    }
}

#[test]
fn the_right_log_survives_a_legal_disk() {
    survives(&Faults::legal(), 10_000);
}

#[test]
fn the_right_log_survives_a_failing_disk() {
    survives(&Faults::failing(), 5000);
}

#[test]
fn the_right_log_survives_a_disk_with_large_sectors() {
    let mut faults = Faults::legal();
    faults.sector = 4096;
    survives(&faults, 5000);
}

#[test]
fn a_log_without_a_sync_is_found() {
    is_found(Mistake::NoSync, &Faults::legal(), 100);
}

#[test]
fn a_sync_beside_its_writes_is_found() {
    is_found(Mistake::SyncBesideTheWrites, &Faults::legal(), 100);
}

#[test]
fn a_directory_that_is_not_synced_is_found() {
    is_found(Mistake::NoDirectorySync, &Faults::legal(), 100);
}

#[test]
fn a_short_write_taken_for_whole_is_found() {
    is_found(Mistake::ShortWriteTakenForWhole, &Faults::legal(), 100);
}

#[test]
fn a_torn_tail_that_is_trusted_is_found() {
    is_found(Mistake::TornTailTrusted, &Faults::legal(), 100);
}

#[test]
fn a_checksum_that_is_not_checked_is_found() {
    is_found(Mistake::NoChecksum, &Faults::legal(), 200);
}

#[test]
fn a_length_that_is_trusted_is_found() {
    is_found(Mistake::LengthTrusted, &Faults::legal(), 200);
}

#[test]
fn an_error_of_a_sync_that_is_ignored_is_found() {
    is_found(Mistake::SyncErrorIgnored, &Faults::failing(), 100);
}

#[test]
fn a_recovery_that_believes_unsynced_data_is_found() {
    is_found(Mistake::RecoveryWithoutSync, &Faults::legal(), 1000);
}

/// Goal: a failure can be repeated. Method: traces of two runs, byte for byte.
#[test]
fn the_same_seed_gives_the_same_trace() {
    let seeds = if cfg!(miri) { 0..1 } else { 0..20 };
    let traces = seeds.map(|seed| {
        let [first, second] = [(); 2].map(|()| {
            let sim = Sim::with_trace(seed, Faults::hostile());
            let _entered = sim.enter();
            // A disk that corrupts may well break the log, in both runs alike.
            let result = Model::run(&sim, Mistake::None, LONG).map_err(|error| error.to_string());
            (sim.trace(), result)
        });
        assert!(first.0.lines().count() > 20, "{}", first.0);
        assert_eq!(first, second, "seed {seed}");
        first.0
    });
    let traces: Vec<String> = traces.collect();
    assert!(traces.windows(2).all(|two| two[0] != two[1]), "other seeds, other traces");
}

/// Goal: a seed means the same on every machine, in every build, and under Miri. Method: the hash
/// of a trace. It changes whenever the simulation does, and is then written anew. The trace itself
/// goes to the folder that `LINUX_AIO_SIM_TRACES` names, to be compared.
fn means_the_same(seed: u64, faults: Faults, expected: u64) {
    let sim = Sim::with_trace(seed, faults);
    let _entered = sim.enter();
    let result = Model::run(&sim, Mistake::None, SHORT);
    assert!(result.is_ok(), "{result:?}");
    if let Some(folder) = std::env::var_os("LINUX_AIO_SIM_TRACES") {
        let path = std::path::Path::new(&folder).join(format!("seed-{seed}"));
        std::fs::write(path, sim.trace()).expect("a folder");
    }
    let hash = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = sim.trace().bytes().fold(0xcbf2_9ce4_8422_2325, hash);
    assert_eq!(hash, expected, "{hash:#x}");
}

#[test]
fn a_seed_means_the_same_everywhere() {
    means_the_same(1, Faults::legal(), 0x5cd5_7e0f_8551_50b1);
}

#[test]
fn a_seed_means_the_same_everywhere_on_a_failing_disk() {
    means_the_same(2, Faults::failing(), 0x7c44_9d16_92e0_c6bd);
}
