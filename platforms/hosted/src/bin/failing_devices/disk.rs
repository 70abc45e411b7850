//! [`Disk`], a device of which is known what each block holds, and which fail.

use crate::report::{Outcome, at, ensure};
use crate::ways::{Job, Kind, Way};
use linux_aio::{AlignedBuf, Errno};
use rustix::fs::OFlags;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of a block.
pub const BLOCK: usize = 16384;
/// Blocks of a disk: more than the 256 pages that one request to it can have.
pub const BLOCKS: usize = 96;

static OPERATIONS: AtomicUsize = AtomicUsize::new(0);
static ERRORS: AtomicUsize = AtomicUsize::new(0);

/// How many operations there were in all, and how many of them ended with an error.
pub fn counts() -> [usize; 2] {
    [&OPERATIONS, &ERRORS].map(|count| count.load(Ordering::Relaxed))
}

/// See the [module](self).
pub struct Disk {
    pub file: Arc<File>,
    /// Which blocks give `EIO`, by what is asked of them; of an fsync, block 0 says it.
    pub fails: fn(Kind, usize) -> bool,
    /// What each block holds: zeros at first, then what was written with that version.
    versions: Vec<u8>,
    /// What is written now.
    version: u8,
}

/// What a block holds.
fn content(block: usize, version: u8) -> [u8; BLOCK] {
    if version == 0 {
        return [0; BLOCK];
    }
    let mut bytes = [version; BLOCK];
    for (at, word) in bytes.chunks_exact_mut(8).enumerate() {
        word[..4].copy_from_slice(&(block as u32).to_ne_bytes());
        word[4..7].copy_from_slice(&(at as u32).to_le_bytes()[..3]);
    }
    bytes
}

/// The blocks of an operation.
fn blocks(job: &Job) -> Range<usize> {
    let first = job.offset as usize / BLOCK;
    first..first + job.buf.len() / BLOCK
}

impl Disk {
    /// The device at that path, all of zeros.
    pub fn new(path: &str, fails: fn(Kind, usize) -> bool) -> Result<Self, String> {
        let direct = OFlags::DIRECT.bits() as i32;
        let file = File::options().read(true).write(true).custom_flags(direct).open(path);
        let file = Arc::new(file.map_err(at(path))?);
        Ok(Self { file, fails, versions: vec![0; BLOCKS], version: 0 })
    }

    /// A read of these blocks.
    pub fn read(&self, blocks: Range<usize>) -> Job {
        let mut buf = AlignedBuf::new(blocks.len() * BLOCK).expect("memory");
        buf.fill(0xee);
        Job { kind: Kind::Read, offset: (blocks.start * BLOCK) as u64, buf }
    }

    /// A write of these blocks, with the present version.
    pub fn write(&self, blocks: Range<usize>) -> Job {
        let (mut job, first) = (self.read(blocks.clone()), blocks.start);
        for (at, bytes) in job.buf.chunks_exact_mut(BLOCK).enumerate() {
            bytes.copy_from_slice(&content(first + at, self.version));
        }
        Job { kind: Kind::Write, ..job }
    }

    /// What is written from now on is new.
    pub fn next_version(&mut self) {
        self.version += 1;
    }

    /// Does these operations, no two of which are about the same block if one of them writes. Each
    /// ends as it must, and reads give what is there. Says how many gave `EIO`.
    pub fn run(&mut self, way: Way, jobs: Vec<Job>) -> Result<usize, String> {
        let (asked, mut failed) = (jobs.len(), 0);
        let ended = way(&self.file, jobs);
        ensure(ended.len() == asked, || format!("{} of {asked} operations ended", ended.len()))?;
        for (result, job) in &ended {
            self.check(*result, job)?;
            failed += usize::from(result.is_err());
        }
        OPERATIONS.fetch_add(asked, Ordering::Relaxed);
        ERRORS.fetch_add(failed, Ordering::Relaxed);
        Ok(failed)
    }

    /// Checks one that has ended, and takes note of what it has written.
    pub fn check(&mut self, result: Result<u32, Errno>, job: &Job) -> Outcome {
        let blocks = blocks(job);
        let fails = match job.kind {
            Kind::Fsync => (self.fails)(job.kind, 0),
            _ => blocks.clone().any(|block| (self.fails)(job.kind, block)),
        };
        // What lies behind the end is not transferred.
        let there = blocks.start.min(BLOCKS)..blocks.end.min(BLOCKS);
        let due = if fails { Err(Errno::EIO) } else { Ok((there.len() * BLOCK) as u32) };
        ensure(result == due, || {
            format!("{:?} of blocks {blocks:?} gave {result:?}, not {due:?}", job.kind)
        })?;
        match job.kind {
            Kind::Write if !fails => self.versions[there].fill(self.version),
            Kind::Read if !fails => {
                for (block, bytes) in there.zip(job.buf.chunks_exact(BLOCK)) {
                    let same = bytes == content(block, self.versions[block]);
                    ensure(same, || format!("block {block} holds something else"))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// After a write of these blocks that failed: each is as it was, or written. Says how many were
    /// written.
    pub fn settle(&mut self, way: Way, blocks: Range<usize>) -> Result<usize, String> {
        let reads = blocks.map(|block| self.read(block..block + 1)).collect();
        let mut written = 0;
        for (result, job) in way(&self.file, reads) {
            let block = job.offset as usize / BLOCK;
            ensure(result == Ok(BLOCK as u32), || format!("block {block} gave {result:?}"))?;
            let is = |version| *job.buf == content(block, version);
            ensure(is(self.version) || is(self.versions[block]), || {
                format!("block {block} is neither as it was nor as it was to be")
            })?;
            if is(self.version) {
                self.versions[block] = self.version;
                written += 1;
            }
        }
        Ok(written)
    }
}
