//! Defines the work, which is the same for every way to do it.

use anyhow::{Result, ensure};
use linux_aio::AlignedBuf;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

/// The number of steps of a plan; then it begins again. A power of two.
pub const STEPS: usize = 1024;

/// Names the operations of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Two reads and a write, over and over.
    Mixed,
    /// Seven writes and an fdatasync, over and over.
    Sync,
}

impl Kind {
    /// Writes it as in a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "reads",
            Self::Write => "writes",
            Self::Mixed => "mixed",
            Self::Sync => "fdatasync",
        }
    }

    fn action(self, number: usize) -> Action {
        match self {
            Self::Read => Action::Read,
            Self::Write => Action::Write,
            Self::Mixed if number % 3 == 2 => Action::Write,
            Self::Mixed => Action::Read,
            Self::Sync if number % 8 == 7 => Action::Sync,
            Self::Sync => Action::Write,
        }
    }
}

/// Names one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A read.
    Read = 0,
    /// A write.
    Write = 1,
    /// An fdatasync.
    Sync = 2,
}

/// One operation: where, and in the lowest two bits, which are free in an offset, what. As in
/// `loops.c`.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Step(u64);

impl Step {
    /// Returns the operation.
    #[inline]
    pub fn action(self) -> Action {
        match self.0 & 3 {
            0 => Action::Read,
            1 => Action::Write,
            _ => Action::Sync,
        }
    }

    /// Returns the offset in the file.
    #[inline]
    pub fn offset(self) -> u64 {
        self.0 & !3
    }
}

/// Says what the operations read and write.
#[derive(Clone, Debug)]
pub struct Target {
    /// The same file or device opened one or many times, or as many files.
    pub files: Vec<Arc<File>>,
    /// Names another one like it that can be opened, for what goes through the page cache.
    pub cached: PathBuf,
    /// Bytes that may be read and written.
    pub size: u64,
    /// Bytes of an operation.
    pub block: usize,
    /// The count that a read returns: the block, but nothing on /dev/null.
    pub read_returns: usize,
}

/// Operations at random places of a target, a number of them at a time.
#[derive(Debug)]
pub struct Load {
    /// Says what they read and write.
    pub target: Target,
    /// The kind of the operations.
    pub kind: Kind,
    /// The number under way at a time.
    pub depth: u32,
    /// The number that is taken and submitted at a time, by ways that have a say in that.
    pub batch: u32,
    /// The operations, to be taken one after the other and over again.
    pub steps: Box<[Step; STEPS]>,
}

impl Load {
    /// Returns the same operations each time it is called.
    pub fn new(target: Target, kind: Kind, depth: u32, batch: u32) -> Result<Self> {
        ensure!(batch > 0 && depth % batch == 0, "a depth of {depth} is not of batches of {batch}");
        let blocks = target.size / target.block as u64;
        ensure!(blocks > 0, "{} bytes are less than one block", target.size);
        let mut random = fastrand::Rng::with_seed(7);
        let steps = std::array::from_fn(|number| {
            let offset = random.u64(..blocks) * target.block as u64;
            Step(offset | kind.action(number) as u64)
        });
        let steps = Box::new(steps);
        Ok(Self { target, kind, depth, batch, steps })
    }

    /// Returns the nearest number of operations, not below `operations`, that every way can do.
    pub fn round(&self, operations: u64) -> u64 {
        operations.max(1).next_multiple_of(u64::from(self.depth))
    }

    /// A buffer for each operation under way, with random bytes: some devices take a short cut for
    /// zeros.
    pub fn buffers(&self) -> Result<Vec<AlignedBuf>> {
        (0..self.depth).map(|_| self.buffer()).collect()
    }

    /// Returns one buffer.
    pub fn buffer(&self) -> Result<AlignedBuf> {
        let mut buf = AlignedBuf::new(self.target.block)?;
        fastrand::fill(&mut buf);
        Ok(buf)
    }

    /// Returns the count of the operation when all is well.
    #[inline]
    pub fn returns(&self, action: Action) -> usize {
        match action {
            Action::Read => self.target.read_returns,
            Action::Write => self.target.block,
            Action::Sync => 0,
        }
    }

    /// Fails for a result that is not what the operation should return.
    #[inline]
    pub fn check<E: Into<anyhow::Error>>(
        &self,
        action: Action,
        result: Result<usize, E>,
    ) -> Result<()> {
        let count = result.map_err(Into::into)?;
        ensure!(count == self.returns(action), "{action:?} returned {count}");
        Ok(())
    }
}

/// Goes through the steps of a load.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor(usize);

impl Cursor {
    /// Begins at the `number`th step.
    pub fn at(number: usize) -> Self {
        Self(number)
    }

    /// Returns the next step, and its file where that is another one than before.
    #[inline]
    pub fn next<'l>(&mut self, load: &'l Load) -> (Step, Option<&'l Arc<File>>) {
        let number = self.0;
        self.0 = number.wrapping_add(1);
        let files = &load.target.files;
        let other = if files.len() == 1 { None } else { Some(&files[number % files.len()]) };
        (load.steps[number % STEPS], other)
    }

    /// Does the same as [`next`](Self::next), with the file in any case.
    #[inline]
    pub fn next_with_file<'l>(&mut self, load: &'l Load) -> (Step, &'l Arc<File>) {
        let (step, other) = self.next(load);
        (step, other.unwrap_or(&load.target.files[0]))
    }
}
