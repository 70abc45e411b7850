//! [`SigSet`], the signal mask of a wait.

use crate::abi;

const WORD_BITS: usize = abi::__kernel_ulong_t::BITS as usize;
const WORDS: usize = size_of::<abi::sigset_t>() / (WORD_BITS / 8);

/// Holds a set of signals as the kernel has it: 64 of them, 128 on MIPS.
///
/// ```
/// use linux_aio_raw::SigSet;
///
/// const SIGINT: u32 = 2;
/// let all_but_interrupt = SigSet::full().without(SIGINT);
/// assert!(!all_but_interrupt.contains(SIGINT));
/// ```
#[doc(alias = "sigset_t")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct SigSet(abi::sigset_t);

impl SigSet {
    /// Returns the set without any signal.
    pub const fn empty() -> Self {
        Self([0; WORDS])
    }

    /// Returns the set of every signal. (SIGKILL and SIGSTOP cannot be blocked: the kernel leaves
    /// them out.)
    pub const fn full() -> Self {
        Self([!0; WORDS])
    }

    /// Returns the set and `signal`, a number from 1. A number beyond the last signal changes
    /// nothing.
    ///
    /// ```
    /// use linux_aio_raw::SigSet;
    ///
    /// let set = SigSet::empty().with(2).with(15); // SIGINT and SIGTERM
    /// assert!(set.contains(15) && !set.contains(1));
    /// ```
    #[must_use]
    pub const fn with(mut self, signal: u32) -> Self {
        if let Some((word, bit)) = Self::place(signal) {
            self.0[word] |= bit;
        }
        self
    }

    /// Returns the set but `signal`, a number from 1. A number beyond the last signal changes
    /// nothing.
    #[must_use]
    pub const fn without(mut self, signal: u32) -> Self {
        if let Some((word, bit)) = Self::place(signal) {
            self.0[word] &= !bit;
        }
        self
    }

    /// Returns whether `signal` is in the set.
    pub const fn contains(&self, signal: u32) -> bool {
        match Self::place(signal) {
            Some((word, bit)) => self.0[word] & bit != 0,
            None => false,
        }
    }

    /// Makes a set of the kernel's words, signal 1 in the lowest bit of the first.
    pub const fn from_raw(words: abi::sigset_t) -> Self {
        Self(words)
    }

    /// Returns the kernel's words, signal 1 in the lowest bit of the first.
    pub const fn as_raw(&self) -> &abi::sigset_t {
        &self.0
    }

    const fn place(signal: u32) -> Option<(usize, abi::__kernel_ulong_t)> {
        if signal == 0 || signal as usize > WORDS * WORD_BITS {
            return None;
        }
        let (word, bit) = ((signal as usize - 1) / WORD_BITS, (signal as usize - 1) % WORD_BITS);
        Some((word, 1 << bit))
    }
}

#[cfg(test)]
mod tests {
    use super::SigSet;

    #[test]
    fn a_signal_is_where_the_kernel_looks_for_it() {
        let set = SigSet::empty().with(1).with(64);
        assert!(set.contains(1) && set.contains(64) && !set.contains(2));
        assert_eq!(set.as_raw()[0] & 1, 1);
        assert_eq!(set.without(1).without(64), SigSet::empty());
    }

    #[test]
    fn numbers_that_are_no_signal_change_nothing() {
        for signal in [0, 129, u32::MAX] {
            assert_eq!(SigSet::empty().with(signal), SigSet::empty());
            assert!(!SigSet::full().contains(signal));
        }
    }
}
