//! [`Script`], what a simulated kernel chooses.

/// What may go wrong, or otherwise than usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `io_submit` takes fewer than there is room for.
    PartialSubmit,
    /// `io_submit` gives `EAGAIN` although there is room.
    Busy,
    /// `io_submit` gives `EINTR`.
    InterruptedSubmit,
    /// `io_submit` takes none, and gives no error.
    NothingTaken,
    /// `io_submit` refuses a good operation.
    Refusal,
    /// A transfer ends early.
    Short,
    /// An operation ends with an error.
    Failure,
    /// Operations end in another order than they were submitted in.
    Reordered,
    /// Operations end inside of `io_submit`.
    AtOnce,
    /// An event for nobody.
    Stray,
    /// An event that was there before.
    Duplicate,
    /// A wait gives `EINTR`, or ends early with what is there.
    InterruptedWait,
    /// `io_setup` fails.
    Setup,
}

/// The choices of a simulated kernel, from bytes or from a seed.
#[derive(Clone, Debug)]
pub struct Script {
    choices: Choices,
    /// Which faults there are, a bit for each.
    faults: u32,
}

#[derive(Clone, Debug)]
enum Choices {
    /// Where they have run out, every choice is the first.
    Bytes(std::vec::IntoIter<u8>),
    Random(fastrand::Rng),
}

/// Every fault.
const ALL: u32 = u32::MAX;

impl Script {
    /// Choices from the bytes of an input, which also says which faults there are.
    pub fn from_bytes(mut bytes: Vec<u8>) -> Self {
        let faults = bytes.split_off(bytes.len().saturating_sub(2));
        let faults = faults.iter().fold(0, |word, &byte| word << 8 | u32::from(byte));
        Self { choices: Choices::Bytes(bytes.into_iter()), faults }
    }

    /// Choices from a seed, with every fault but failing setups.
    pub fn from_seed(seed: u64) -> Self {
        let faults = ALL & !(1 << Fault::Setup as u32);
        Self { choices: Choices::Random(fastrand::Rng::with_seed(seed)), faults }
    }

    /// Only these faults.
    pub fn with(mut self, faults: &[Fault]) -> Self {
        self.faults = faults.iter().fold(0, |bits, &fault| bits | 1 << fault as u32);
        self
    }

    /// No fault any more.
    pub(super) fn calm(&mut self) {
        self.faults = 0;
    }

    /// A number below `limit`, which is at most 256 and not zero.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        match &mut self.choices {
            Choices::Bytes(bytes) => bytes.next().map_or(0, usize::from) % limit,
            Choices::Random(random) => random.usize(..limit),
        }
    }

    /// Whether a fault happens now, which it does once in `times`.
    pub(super) fn once_in(&mut self, times: usize, fault: Fault) -> bool {
        self.faults >> fault as u32 & 1 == 1 && self.below(times) == times - 1
    }
}
