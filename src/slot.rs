//! [`Slot`], the place of one operation from push to completion, and what names, refuses
//! and completes it.

use crate::{Diagnosis, Errno, Iocb, Opcode, Operation};
use core::cell::{Cell, UnsafeCell};
use core::fmt;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

/// The place of one operation while the kernel has it. Does not move while a
/// [`Scope`](crate::Scope) or [`Queue`](crate::Queue) uses it.
///
/// Made in arrays, empty: `[const { Slot::new() }; 8]`.
#[repr(C)]
pub struct Slot<O> {
    /// What the kernel reads. A POLL is cancelled by the address, so it stays here until its
    /// event. Its `aio_data` is the slot's [`Token`].
    pub(crate) iocb: UnsafeCell<Iocb>,
    /// The next slot of the list that this one is on: free, or refused.
    pub(crate) next: Cell<Option<NonNull<Slot<O>>>>,
    /// Why the kernel refused the operation.
    pub(crate) refused: Cell<Option<Errno>>,
    /// Whether the slot was on the free list when the engine ended, which is not known before.
    pub(crate) vacant: Cell<bool>,
    /// Initialised unless the slot is on the free list.
    pub(crate) operation: UnsafeCell<MaybeUninit<O>>,
}

// SAFETY: `next` is the engine's, which has pointers to all of its slots and does not let them go
// to another thread one by one; it means nothing to anybody else. The rest moves along with `O`.
unsafe impl<O: Send> Send for Slot<O> {}

impl<O> Slot<O> {
    /// An empty slot.
    pub const fn new() -> Self {
        Self {
            iocb: UnsafeCell::new(Iocb::from_raw(crate::abi::iocb::ZERO)),
            next: Cell::new(None),
            refused: Cell::new(None),
            vacant: Cell::new(true),
            operation: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// The slot's token: that of an operation from push to its event, and in between a dead one.
    #[inline(always)]
    pub(crate) fn token(&self) -> Token {
        // SAFETY: The kernel writes `aio_key` of an iocb and nothing else, and that only inside of
        // `io_submit`; this code writes it only in `set_iocb` and `end_token`.
        Token(unsafe { (*self.iocb.get()).as_raw().aio_data })
    }

    /// Makes a live token a dead one: the operation has ended.
    #[inline(always)]
    pub(crate) fn end_token(&self) {
        let token = self.token().next();
        debug_assert!(!token.is_live());
        // SAFETY: As in `token`; nothing refers to the iocb.
        unsafe { (*self.iocb.get()).as_raw_mut().aio_data = token.0 };
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
    #[inline(always)]
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
        f.debug_struct("Slot").field("token", &self.token()).finish_non_exhaustive()
    }
}

/// Names an operation from push to completion, also in the kernel: it is the `aio_data` of its
/// iocb.
///
/// The slot's index is in the lower 31 bits. The rest counts how often an operation began or ended
/// in the slot, so a later use of it has another token. The lowest bit of that count says which: 0
/// from push to event, 1 otherwise. A dead token therefore looks like one with an index beyond any
/// slot, and to compare the lower half with the number of slots is to check both.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Token(u64);

/// How many engines there have been, which gives each generations of its own to begin with.
static ENGINES: AtomicU32 = AtomicU32::new(1);

/// An odd number with its bits well spread (2³² divided by the golden ratio): multiples of it, by
/// consecutive numbers, lie far from each other.
const SPREAD: u32 = 0x9e37_79b1;

impl Token {
    /// What a beginning or an end adds. It carries into the next generation from a dead token.
    const STEP: u64 = 1 << 31;

    /// One slot more than this could not be named.
    pub(crate) const MAX_SLOTS: usize = Self::STEP as usize;

    /// What the tokens of a new engine begin with, dead, so that a token of one engine is not found
    /// in another by accident.
    pub(crate) fn of_new_engine() -> Self {
        let generation = ENGINES.fetch_add(1, Ordering::Relaxed).wrapping_mul(SPREAD);
        Self(u64::from(generation) << 32 | Self::STEP)
    }

    #[inline(always)]
    pub(crate) fn from_user_data(data: u64) -> Self {
        Self(data)
    }

    #[inline(always)]
    pub(crate) fn user_data(self) -> u64 {
        self.0
    }

    /// The index of a slot; of a dead token, a number above that of any.
    #[inline(always)]
    pub(crate) fn index(self) -> u32 {
        self.0 as u32
    }

    pub(crate) fn is_live(self) -> bool {
        self.0 & Self::STEP == 0
    }

    /// The token of the same generation for the slot `index`, which is below [`Self::MAX_SLOTS`].
    pub(crate) fn at(self, index: u32) -> Self {
        Self(self.0 & !(Self::STEP - 1) | u64::from(index))
    }

    /// The token of the slot after its next beginning or end.
    #[inline(always)]
    pub(crate) fn next(self) -> Self {
        Self(self.0.wrapping_add(Self::STEP))
    }

    /// What a dead token was when it was live.
    #[inline(always)]
    pub(crate) fn last_live(self) -> Self {
        Self(self.0 & !Self::STEP)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let index = self.last_live().index();
        write!(f, "Token({index}.{})", self.0 >> 32)?;
        if self.is_live() { Ok(()) } else { f.write_str(", ended") }
    }
}

/// An operation that has ended, given back whole with its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a completion carries the result and the buffer"]
pub struct Completion<O> {
    /// What push returned for it.
    pub token: Token,
    /// The byte count of a read or write, 0 for FSYNC and FDSYNC, the events of a POLL; or the
    /// error, be it of the submission or of the operation. [`diagnose`](Self::diagnose) says more
    /// of an error.
    pub result: Result<u32, Errno>,
    /// The operation, with its buffer.
    pub op: O,
}

impl<O: Operation> Completion<O> {
    /// Describes the operation and the likely cause of its error. Returns `None` if it succeeded.
    ///
    /// Calls [`Operation::prepare`] again, for the operation's fields.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{Queue, op::Read};
    /// use std::fs::File;
    ///
    /// let mut queue = Queue::with_capacity(1)?;
    /// queue.push(Read::new(File::open("/")?, vec![0; 512], 0))?;
    /// let mut done = queue.wait()?.expect("a completion");
    /// let diagnosis = done.diagnose().expect("a directory cannot be read");
    /// assert!(diagnosis.to_string().contains("a directory"));
    /// # Ok(()) }
    /// ```
    pub fn diagnose(&mut self) -> Option<Diagnosis> {
        let errno = self.result.err()?;
        Some(self.op.prepare().diagnose(errno))
    }
}

/// An operation that was not taken, given back.
///
/// The error holds the operation, and with it what the operation borrows. An error type that asks
/// for `'static` (`anyhow::Error`, `Box<dyn Error>`) cannot take such an error with `?`: the
/// compiler then complains that a buffer must outlive `'static`. Convert it first, as
/// [`Scope::push`](crate::Scope::push) shows: to `std::io::Error`, which keeps the text, or to
/// [`Errno`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PushError<O> {
    /// The operation, with its buffer.
    pub op: O,
    full: Full,
}

/// What has no room for another operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// Every slot has an operation.
    Slots,
    /// The operations that a scope can queue before it submits them.
    Pending,
}

impl<O> PushError<O> {
    pub(crate) fn new(full: Full, op: O) -> Self {
        Self { op, full }
    }

    /// Returns `EAGAIN`.
    pub fn errno(&self) -> Errno {
        Errno::EAGAIN
    }
}

impl<O> fmt::Debug for PushError<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushError").field("full", &self.full).finish_non_exhaustive()
    }
}

impl<O> fmt::Display for PushError<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.full {
            Full::Slots => "EAGAIN: every slot is in use: take a completion first",
            Full::Pending => {
                "EAGAIN: the scope can queue no more, and io_submit takes nothing: take a \
                 completion first, or submit, which says why"
            }
        })
    }
}

impl<O> core::error::Error for PushError<O> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&Errno::EAGAIN)
    }
}

impl<O> From<PushError<O>> for Errno {
    fn from(error: PushError<O>) -> Self {
        error.errno()
    }
}

#[cfg(feature = "std")]
impl<O> From<PushError<O>> for std::io::Error {
    fn from(error: PushError<O>) -> Self {
        // Without the operation, whose borrows may end before the `io::Error` does.
        Self::new(Self::from(error.errno()).kind(), PushError::new(error.full, ()))
    }
}

#[cfg(test)]
mod tests {
    use super::Token;

    #[test]
    fn a_token_outlives_no_generation() {
        let dead = Token::of_new_engine().at(5);
        let first = dead.next();
        assert_eq!((dead.is_live(), first.is_live()), (false, true));
        assert_eq!(first.next().last_live(), first);
        assert_ne!(first.next().next(), first);
        assert_eq!(first.next().next().index(), 5);
    }

    #[test]
    fn a_dead_token_names_no_slot() {
        let last = Token::of_new_engine().at(Token::MAX_SLOTS as u32 - 1);
        assert!(last.index() as usize >= Token::MAX_SLOTS);
        assert_eq!(last.next().index() as usize, Token::MAX_SLOTS - 1);
    }

    #[test]
    fn the_last_generation_wraps_without_touching_the_index() {
        let last = Token::from_user_data(u64::MAX).at(7);
        assert_eq!(last.next().user_data(), 7);
    }

    #[test]
    fn a_token_survives_the_kernel() {
        let token = Token::from_user_data(0xabcd_ef00 << 32).at(0x1234_5678);
        let token = Token::from_user_data(token.user_data());
        assert_eq!(token.index(), 0x1234_5678);
        assert_eq!(token.user_data() >> 32, 0xabcd_ef00);
    }
}
