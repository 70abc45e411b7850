//! Floor 2: [`Slot`], the place of one operation from push to completion, and what names, refuses
//! and completes it.

use crate::{Errno, Iocb, Opcode};
use core::cell::{Cell, UnsafeCell};
use core::fmt;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU32, Ordering};

/// The place of one operation while the kernel has it. Does not move while a
/// [`Scope`](crate::Scope) or [`Queue`](crate::Queue) uses it.
///
/// Made in arrays, empty: `[const { Slot::new() }; 8]`.
#[repr(C)]
pub struct Slot<O> {
    /// What the kernel reads. A POLL is cancelled by the address, so it stays here until its
    /// event. Its `aio_data` is the [`Token`] of the slot's present or last use.
    pub(crate) iocb: UnsafeCell<Iocb>,
    pub(crate) state: Cell<State>,
    /// The next slot of the list that this one is on: free, or refused.
    pub(crate) next: Cell<u32>,
    /// Why the kernel refused the operation.
    pub(crate) refused: Cell<Option<Errno>>,
    /// Initialised unless the state is [`State::Free`].
    pub(crate) operation: UnsafeCell<MaybeUninit<O>>,
}

impl<O> Slot<O> {
    /// An empty slot.
    pub const fn new() -> Self {
        Self {
            iocb: UnsafeCell::new(Iocb::from_raw(crate::abi::iocb::ZERO)),
            state: Cell::new(State::Free),
            next: Cell::new(0),
            refused: Cell::new(None),
            operation: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// The token of the slot's present or last use.
    #[inline]
    pub(crate) fn token(&self) -> Token {
        // SAFETY: The kernel writes `aio_key` of an iocb and nothing else, and that only inside of
        // `io_submit`; this code writes it only in `set_iocb`.
        Token(unsafe { (*self.iocb.get()).as_raw().aio_data })
    }

    /// What the operation of the slot's present or last use does.
    pub(crate) fn opcode(&self) -> Opcode {
        // SAFETY: As in `token`.
        unsafe { (*self.iocb.get()).opcode() }
    }

    /// Replaces the iocb.
    ///
    /// # Safety
    /// The kernel does not have it.
    #[inline]
    pub(crate) unsafe fn set_iocb(&self, iocb: Iocb) {
        // SAFETY: Only this thread has the slot (it is not `Sync`), and the kernel does not look.
        unsafe { self.iocb.get().write(iocb) };
    }
}

impl<O> Default for Slot<O> {
    fn default() -> Self {
        Self::new()
    }
}

impl<O> fmt::Debug for Slot<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("state", &self.state.get()).finish_non_exhaustive()
    }
}

/// Where an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// No operation here.
    Free,
    /// Prepared; the kernel does not have it yet.
    Pending,
    /// The kernel has it, and with it what it was lent.
    InFlight,
    /// The kernel is finished with it or refused it; the user does not have it back yet.
    Done,
}

/// Names an operation from push to completion, also in the kernel: it is the `aio_data` of its
/// iocb. The slot's index is in the lower half, its generation, which each use makes a new one, in
/// the upper: a later use of the same slot has another token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Token(u64);

/// How many engines there have been, which gives each generations of its own to begin with.
static ENGINES: AtomicU32 = AtomicU32::new(0);

/// An odd number with its bits well spread (2³² divided by the golden ratio): multiples of it, by
/// consecutive numbers, lie far from each other.
const SPREAD: u32 = 0x9e37_79b1;

impl Token {
    /// What the tokens of a new engine begin with, so that a token of one engine is not found in
    /// another by accident.
    pub(crate) fn of_new_engine() -> Self {
        let generation = ENGINES.fetch_add(1, Ordering::Relaxed).wrapping_mul(SPREAD);
        Self(u64::from(generation) << 32)
    }

    #[inline]
    pub(crate) fn from_user_data(data: u64) -> Self {
        Self(data)
    }

    #[inline]
    pub(crate) fn user_data(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) fn index(self) -> u32 {
        self.0 as u32
    }

    /// The token of the same generation in slot `index`.
    pub(crate) fn at(self, index: u32) -> Self {
        Self(self.0 >> 32 << 32 | u64::from(index))
    }

    /// The token of the slot's next use.
    #[inline]
    pub(crate) fn next_generation(self) -> Self {
        Self(self.0.wrapping_add(1 << 32))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}.{})", self.index(), self.0 >> 32)
    }
}

/// An operation that has ended, given back whole with its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a completion carries the result and the buffer"]
pub struct Completion<O> {
    /// What push returned for it.
    pub token: Token,
    /// The byte count of a read or write, 0 for FSYNC and FDSYNC, the events of a POLL; or the
    /// error, be it of the submission or of the operation.
    pub result: Result<u32, Errno>,
    /// The operation, with its buffer.
    pub op: O,
}

/// An operation that was not taken, given back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PushError<O> {
    /// `EAGAIN`: every slot is in use.
    pub error: Errno,
    /// The operation, with its buffer.
    pub op: O,
}

impl<O> fmt::Debug for PushError<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushError").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<O> fmt::Display for PushError<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.error {
            Errno::EAGAIN => f.write_str("every slot is in use: take a completion first"),
            error => write!(f, "{error}"),
        }
    }
}

impl<O> core::error::Error for PushError<O> {}

impl<O> From<PushError<O>> for Errno {
    fn from(error: PushError<O>) -> Self {
        error.error
    }
}

#[cfg(feature = "std")]
impl<O> From<PushError<O>> for std::io::Error {
    fn from(error: PushError<O>) -> Self {
        error.error.into()
    }
}

#[cfg(test)]
mod tests {
    use super::Token;

    #[test]
    fn a_token_outlives_no_generation() {
        let first = Token::from_user_data(0).at(5);
        assert_ne!(first, first.next_generation());
        assert_eq!(first.next_generation().index(), 5);
    }

    #[test]
    fn the_last_generation_wraps_without_touching_the_index() {
        let last = Token::from_user_data(u64::MAX).at(7);
        assert_eq!(last.next_generation().user_data(), 7);
    }

    #[test]
    fn a_token_survives_the_kernel() {
        let token = Token::from_user_data(0xabcd_ef00 << 32).at(0x1234_5678);
        let token = Token::from_user_data(token.user_data());
        assert_eq!(token.index(), 0x1234_5678);
        assert_eq!(token.user_data() >> 32, 0xabcd_ef00);
    }
}
