//! What must hold on devices that fail.

use crate::disk::{BLOCK, BLOCKS, Disk};
use crate::guest;
use crate::hung;
use crate::mapper::{Mapped, Target};
use crate::report::{Outcome, Report, at, ensure};
use crate::ways::{Job, Kind, WAYS, Way, given_back, owned};
use linux_aio::{Driver, LocalDriver, Queue};
use std::ops::Range;

/// Sectors of a block.
const SECTORS: u64 = (BLOCK / 512) as u64;
/// The blocks that give errors.
const BAD: Range<usize> = BLOCKS / 3..BLOCKS / 3 * 2;

type Check = fn(&mut Disk, Way) -> Outcome;

/// On the device whose middle third gives an error for everything.
const BROKEN: [(&str, Check); 5] = [
    ("writes", writes),
    ("reads", reads),
    ("reads-writes-and-fsyncs-together", together),
    ("over-the-edge", over_the_edge),
    ("behind-the-end", behind_the_end),
];

/// Runs all of them over a disk.
pub fn run(report: &mut Report, name: &str, path: &str) {
    let there = guest::wait_for(path);
    let missing = there.is_err();
    report.add(name, "is-there", there);
    if missing {
        return;
    }
    let whole = on_broken(report, name, path);
    report.add(name, "broken-device-to-its-end", whole);
    let whole = on_refusing(report, name, path);
    report.add(name, "refusing-device-to-its-end", whole);
}

fn with_each_way(report: &mut Report, place: &str, disk: &mut Disk, checks: &[(&str, Check)]) {
    for (name, check) in checks {
        for (way, run) in WAYS {
            report.add(place, &format!("{name}-by-{way}"), check(disk, run));
        }
    }
}

// ---- tables ----

fn linear(path: &str, blocks: Range<usize>) -> Target {
    let sectors = blocks.len() as u64 * SECTORS;
    let parameters = format!("{path} {}", blocks.start as u64 * SECTORS);
    Target { sectors, kind: "linear", parameters }
}

fn error(blocks: Range<usize>) -> Target {
    let sectors = blocks.len() as u64 * SECTORS;
    Target { sectors, kind: "error", parameters: String::new() }
}

fn broken(path: &str) -> [Target; 3] {
    [linear(path, 0..BAD.start), error(BAD), linear(path, BAD.end..BLOCKS)]
}

/// Reads are done, writes fail, without end.
fn refusing(path: &str) -> [Target; 1] {
    let parameters = format!("{path} {} 0 3600 1 error_writes", BLOCKS as u64 * SECTORS);
    [Target { sectors: BLOCKS as u64 * SECTORS, kind: "flakey", parameters }]
}

// ---- the broken device ----

fn on_broken(report: &mut Report, name: &str, path: &str) -> Outcome {
    let mapped = Mapped::new(format!("broken-{name}"), &broken(path))?;
    let mut disk = Disk::new(&mapped.path, |kind, at| kind != Kind::Fsync && BAD.contains(&at))?;
    with_each_way(report, name, &mut disk, &BROKEN);

    let all_broken = [error(0..BLOCKS)];
    disk.fails = |kind, _| kind != Kind::Fsync;
    report.add(name, "held-until-all-is-broken", held(&mapped, &mut disk, &all_broken));
    let mended = [linear(path, 0..BLOCKS)];
    disk.fails = |_, _| false;
    report.add(name, "held-until-it-is-mended", held(&mapped, &mut disk, &mended));
    with_each_way(report, name, &mut disk, &[("mended", mended_works)]);
    let hung = hung::deadlines::<Driver>(&mapped, &mut disk);
    report.add(name, "deadlines-on-a-hung-device", hung);
    let hung = hung::deadlines::<LocalDriver>(&mapped, &mut disk);
    report.add(name, "local-deadlines-on-a-hung-device", hung);
    let hung = hung::end_of_a_driver(&mapped, &mut disk);
    report.add(name, "driver-ends-on-a-hung-device", hung);
    let hung = hung::end_of_a_local_driver(&mapped, &mut disk);
    report.add(name, "local-driver-ends-on-a-hung-device", hung);
    let hung = hung::end_of_a_process(&mapped);
    report.add(name, "process-ends-on-a-hung-device", hung);
    Ok(())
}

fn each_block(job: impl Fn(Range<usize>) -> Job) -> Vec<Job> {
    (0..BLOCKS).map(|block| job(block..block + 1)).collect()
}

fn expect_errors(found: usize, due: usize) -> Outcome {
    ensure(found == due, || format!("{found} operations gave EIO, not {due}"))
}

/// Each write of a bad block gives `EIO`, and no other.
fn writes(disk: &mut Disk, way: Way) -> Outcome {
    disk.next_version();
    let jobs = each_block(|block| disk.write(block));
    expect_errors(disk.run(way, jobs)?, BAD.len())
}

/// Each read of a bad block gives `EIO`; the others give what was written.
fn reads(disk: &mut Disk, way: Way) -> Outcome {
    let jobs = each_block(|block| disk.read(block));
    expect_errors(disk.run(way, jobs)?, BAD.len())
}

/// All kinds at once, good and bad ones side by side: every third is a write, every 32nd an fsync.
fn together(disk: &mut Disk, way: Way) -> Outcome {
    disk.next_version();
    let mut jobs = Vec::new();
    for i in 0..BLOCKS {
        // From one third to the next.
        let block = i % 3 * BAD.len() + i / 3;
        jobs.push(match i % 9 {
            0 | 4 | 8 => disk.write(block..block + 1),
            _ => disk.read(block..block + 1),
        });
        if i % 32 == 0 {
            jobs.push(Job::fsync());
        }
    }
    expect_errors(disk.run(way, jobs)?, BAD.len())
}

/// What is partly bad gives `EIO` as a whole, and is never short, also where it is more than one
/// request; of a write, each good block is written or not.
fn over_the_edge(disk: &mut Disk, way: Way) -> Outcome {
    const LENGTH: usize = 8;
    let starts = [BAD.start - LENGTH..BAD.start + 1, BAD.end - LENGTH..BAD.end + 1];
    let jobs: Vec<_> = starts.into_iter().flatten().map(|at| disk.read(at..at + LENGTH)).collect();
    expect_errors(disk.run(way, jobs)?, 2 * (LENGTH - 1) + 2)?;
    let long = vec![disk.read(0..BLOCKS), disk.read(0..BAD.start + 1)];
    expect_errors(disk.run(way, long)?, 2)?;

    disk.next_version();
    let edges = [BAD.start - 4..BAD.start + 4, BAD.end - 4..BAD.end + 4];
    let jobs = edges.into_iter().map(|blocks| disk.write(blocks)).collect();
    expect_errors(disk.run(way, jobs)?, 2)?;
    let below = disk.settle(way, BAD.start - 4..BAD.start)?;
    let above = disk.settle(way, BAD.end..BAD.end + 4)?;
    println!("fact blocks-written-by-two-failed-writes {}", below + above);
    Ok(())
}

/// The end of the device is not an error: a read is short there, and empty behind it.
fn behind_the_end(disk: &mut Disk, way: Way) -> Outcome {
    let jobs = vec![disk.read(BLOCKS - 1..BLOCKS + 1), disk.read(BLOCKS..BLOCKS + 1)];
    expect_errors(disk.run(way, jobs)?, 0)
}

/// Operations that the device holds up end as it decides then. Method: it is suspended while they
/// are submitted, and resumed with another table.
fn held(mapped: &Mapped, disk: &mut Disk, table: &[Target]) -> Outcome {
    let mut queue = Queue::with_capacity(16).map_err(at("a queue"))?;
    mapped.suspend()?;
    for i in 0..16 {
        let block = i * BLOCKS / 16;
        queue.push(owned(&disk.file, disk.read(block..block + 1))).map_err(at("a push"))?;
    }
    let submitted = queue.submit().map_err(at("a submit"))?;
    ensure(submitted == 16 && queue.try_next().expect("a poll").is_none(), || {
        "they were not held".into()
    })?;
    mapped.load(table)?;
    mapped.resume()?;
    let mut ended = 0;
    while let Some(done) = queue.wait().map_err(at("a wait"))? {
        disk.check(done.result, &given_back(done.op))?;
        ended += 1;
    }
    ensure(ended == 16, || format!("{ended} of 16 ended"))
}

/// On a device that works again everything works, and nothing was written where writes failed.
fn mended_works(disk: &mut Disk, way: Way) -> Outcome {
    let jobs = each_block(|block| disk.read(block));
    expect_errors(disk.run(way, jobs)?, 0)?;
    disk.next_version();
    let mut jobs = each_block(|block| disk.write(block));
    jobs.push(Job::fsync());
    expect_errors(disk.run(way, jobs)?, 0)?;
    let jobs = each_block(|block| disk.read(block));
    expect_errors(disk.run(way, jobs)?, 0)
}

// ---- the refusing device ----

/// Behind the blocks of the other.
fn on_refusing(report: &mut Report, name: &str, path: &str) -> Outcome {
    let whole = [linear(path, BLOCKS..2 * BLOCKS)];
    let mapped = Mapped::new(format!("refusing-{name}"), &whole)?;
    let mut disk = Disk::new(&mapped.path, |_, _| false)?;
    with_each_way(report, name, &mut disk, &[("before", mended_works)]);
    mapped.load(&refusing(path))?;
    mapped.resume()?;
    // A flush is a write; what has no cache is not flushed.
    let cached = mapped.has_cache()?;
    disk.fails = match cached {
        true => |kind, _| kind != Kind::Read,
        false => |kind, _| kind == Kind::Write,
    };
    println!("fact {name} fsync {}", if cached { "EIO" } else { "0" });
    with_each_way(report, name, &mut disk, &[("refused-writes", refused_writes)]);
    Ok(())
}

/// Every write gives `EIO`, and every read what was there before.
fn refused_writes(disk: &mut Disk, way: Way) -> Outcome {
    disk.next_version();
    let mut jobs = Vec::new();
    for block in (0..BLOCKS).step_by(2) {
        jobs.push(disk.write(block..block + 1));
        jobs.push(disk.read(block + 1..block + 2));
    }
    expect_errors(disk.run(way, jobs)?, BLOCKS / 2)?;
    let jobs = each_block(|block| disk.read(block));
    expect_errors(disk.run(way, jobs)?, 0)?;
    let fails = usize::from((disk.fails)(Kind::Fsync, 0));
    expect_errors(disk.run(way, vec![Job::fsync()])?, fails)
}
