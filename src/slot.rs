//! [`Slot`], the place of one operation from push to completion, and what names, refuses
//! and completes it.

use crate::room::Filled;
use crate::{CallError, Diagnosis, Errno, Iocb, Opcode, Operation, Prepared};
use core::cell::{Cell, UnsafeCell};
use core::fmt;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
#[cfg(any(test, not(target_has_atomic = "64")))]
use core::sync::atomic::{AtomicU32, Ordering};

/// Leads to a slot of an engine's list, or is the end of the list.
pub(crate) type Link<O> = Option<NonNull<Slot<O>>>;

/// Holds one operation while the kernel has it. Does not move while a
/// [`Scope`](crate::Scope) or [`Queue`](crate::Queue) uses it.
///
/// Made in arrays, empty: `[const { Slot::new() }; 8]`.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{IoContext, Slot, op::Read};
///
/// let zero = std::fs::File::open("/dev/zero")?;
/// let mut buf = [1; 64];
/// let mut context = IoContext::new(8)?;
/// // Make the slots in the call, so that they are not borrowed for longer.
/// linux_aio::scope(&mut context, &mut [const { Slot::new() }; 8], |io| {
///     io.push(Read::new(&zero, &mut buf[..], 0)).map_err(|error| error.errno())
/// })??;
/// # Ok(()) }
/// ```
#[repr(C)]
pub struct Slot<O> {
    /// The record that the kernel reads. A POLL is cancelled by the address, so it stays here until
    /// its event. Its `aio_data` is the slot's [`Tag`].
    pub(crate) iocb: UnsafeCell<Iocb>,
    /// The next slot of the list that this one is on: free, or refused. From push to event the slot
    /// is on neither. Then this is the [`Filled`] of an operation that has lent one.
    pub(crate) next: Cell<Link<O>>,
    /// The error of an operation that the kernel refused.
    pub(crate) refused: Cell<Option<Errno>>,
    /// True if the slot was on the free list when the engine ended. Not known before.
    pub(crate) vacant: Cell<bool>,
    /// Initialised unless the slot is on the free list.
    operation: UnsafeCell<MaybeUninit<O>>,
}

// SAFETY: `next` is the engine's, which has pointers to all of its slots and does not let them go
// to another thread one by one; it means nothing to anybody else. A `Filled` is lent by the
// operation and may be sent. The rest moves along with `O`.
unsafe impl<O: Send> Send for Slot<O> {}

impl<O> Slot<O> {
    /// Makes an empty slot.
    pub const fn new() -> Self {
        Self {
            iocb: UnsafeCell::new(Iocb::from_raw(crate::abi::iocb::ZERO)),
            next: Cell::new(None),
            refused: Cell::new(None),
            vacant: Cell::new(true),
            operation: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// Returns the slot's tag: a live one from push to event, a dead one otherwise. That of an
    /// operation that fills has the mark ([`Tag::fills`]).
    #[inline(always)]
    pub(crate) fn tag(&self) -> Tag {
        // SAFETY: The field is read in place, without a reference. Nobody writes it meanwhile: the
        // slot is not `Sync`, and of an iocb the kernel writes `aio_key` alone, inside of
        // `io_submit`.
        Tag(unsafe { (*self.iocb.get()).as_raw().aio_data })
    }

    /// Makes the live tag a dead one, since the operation has ended.
    #[inline(always)]
    pub(crate) fn end_tag(&self) {
        let tag = self.tag().next();
        debug_assert!(!tag.is_live());
        // SAFETY: The reference that this makes is the only one to the iocb: no function here gives
        // one out, the slot is not `Sync`, and the kernel reads an iocb inside of `io_submit`
        // alone.
        unsafe { (*self.iocb.get()).as_raw_mut().aio_data = tag.0 };
    }

    /// Makes the live tag of any operation a dead one, also of an operation that fills.
    pub(crate) fn end_any_tag(&self) {
        let tag = self.tag().without_fills().next();
        debug_assert!(!tag.is_live());
        // SAFETY: The reference that this makes is the only one to the iocb, as in `end_tag`: no
        // function here gives one out, the slot is not `Sync`, and the operation has ended, so the
        // kernel does not have the iocb.
        unsafe { (*self.iocb.get()).as_raw_mut().aio_data = tag.0 };
    }

    /// Notes the first record that the operation has lent, while it is prepared.
    #[inline(always)]
    pub(crate) fn set_filled(&self, filled: NonNull<Filled>) {
        self.next.set(Some(filled.cast()));
    }

    /// Returns the first record that the operation has lent. Of a live tag that fills, it is there.
    pub(crate) fn filled(&self) -> Option<NonNull<Filled>> {
        self.next.get().map(NonNull::cast)
    }

    /// Returns the address of the operation, which is initialised unless the slot is free.
    #[inline(always)]
    pub(crate) fn operation(&self) -> *mut O {
        self.operation.get().cast()
    }

    /// Returns the opcode of the slot's present or last operation.
    pub(crate) fn opcode(&self) -> Opcode {
        // SAFETY: The reference lasts for this call. Nobody writes the iocb meanwhile: the slot is
        // not `Sync`, and the kernel writes to an iocb inside of `io_submit` alone.
        unsafe { (*self.iocb.get()).opcode() }
    }

    /// Returns a copy of the iocb.
    #[cfg(feature = "std")]
    pub(crate) fn iocb(&self) -> Iocb {
        // SAFETY: The pointer of the cell is valid for reads and aligned, and `Iocb` is `Copy`.
        // Nobody writes the iocb meanwhile: the slot is not `Sync`, and the kernel writes to an
        // iocb inside of `io_submit` alone.
        unsafe { *self.iocb.get() }
    }

    /// Replaces the iocb.
    ///
    /// # Safety
    /// The kernel does not have it.
    #[inline(always)]
    pub(crate) unsafe fn set_iocb(&self, iocb: Iocb) {
        // SAFETY: The cell is valid for writes and aligned. No reference to the iocb is left, and
        // no other thread has the slot, which is not `Sync`. The kernel does not have the iocb
        // (promise of the caller).
        unsafe { self.iocb.get().write(iocb) };
    }

    /// Makes the tag live, for an operation that has been prepared.
    ///
    /// # Safety
    /// - The slot is one of an engine and on no list, or becomes so at once. The kernel does not
    ///   have its iocb.
    /// - What `prepared` lends stays lent while the tag is live.
    #[inline(always)]
    pub(crate) unsafe fn begin(&self, prepared: Prepared<'_>) -> Tag {
        // The loan ends for the compiler here; the live tag keeps it up.
        let tag = self.tag().next();
        debug_assert!(tag.is_live());
        let of_kernel = match prepared.filled() {
            None => tag,
            Some(filled) => {
                self.set_filled(filled);
                tag.with_fills()
            }
        };
        // SAFETY: The kernel does not have this iocb (promise of the caller).
        unsafe { self.set_iocb(prepared.into_iocb().user_data(of_kernel.user_data())) };
        tag
    }
}

/// A free slot, in which a driver prepares an operation.
#[cfg(feature = "std")]
pub(crate) struct Vacancy<'e, O>(&'e Slot<O>);

#[cfg(feature = "std")]
impl<'e, O> Vacancy<'e, O> {
    /// # Safety
    /// The slot is one of an engine. It is on the free list, and comes off it once it is filled.
    #[inline(always)]
    pub(crate) unsafe fn new(slot: &'e Slot<O>) -> Self {
        Self(slot)
    }

    /// Writes the iocb of an operation to the slot, and makes the slot's tag live.
    ///
    /// # Safety
    /// What `prepared` lends stays lent until the operation has ended.
    #[inline(always)]
    pub(crate) unsafe fn fill(self, prepared: Prepared<'_>) -> Tag {
        // SAFETY: The slot comes off the free list now (`new`), and the kernel does not have the
        // iocb of a free slot. The loan lasts (promise of the caller): the tag is live until the
        // operation has ended.
        unsafe { self.0.begin(prepared) }
    }
}

impl<O> Default for Slot<O> {
    fn default() -> Self {
        Self::new()
    }
}

impl<O> fmt::Debug for Slot<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("tag", &self.tag()).finish_non_exhaustive()
    }
}

/// Names an operation of a scope or queue, from push to completion.
///
/// Later, and in another scope or queue, a token names nothing: to cancel by it gives `ENOENT`.
///
/// # How long that holds
///
/// A token has two numbers, which start again after the last one:
///
/// - The scope or queue has a number of 64 bits, or 63 on processors without atomic operations of
///   64 bits. A million scopes a second use even 63 bits up in no less than 292,000 years.
/// - The use of the slot has a number of 32 bits. So a token names another operation again after
///   exactly 2³² further operations in the same slot, or a multiple of that. A loop that keeps one
///   operation in flight uses one slot: at 10 µs an operation, that takes 12 hours; at a million
///   operations a second, 72 minutes. So forget the token of an operation that has completed.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Queue, op::Read};
/// use std::{collections::HashMap, fs::File, sync::Arc};
///
/// let zero = Arc::new(File::open("/dev/zero")?);
/// let mut queue = Queue::with_capacity(2)?;
/// let mut names = HashMap::new();
/// for name in ["first", "second"] {
///     let token = queue.push(Read::new(zero.clone(), vec![1; 64], 0))?;
///     names.insert(token, name);
/// }
/// while let Some(done) = queue.wait()? {
///     println!("{} has completed", names.remove(&done.token).expect("its name"));
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token {
    tag: Tag,
    engine: EngineId,
}

impl Token {
    #[inline(always)]
    pub(crate) fn new(engine: EngineId, tag: Tag) -> Self {
        Self { tag, engine }
    }

    /// Returns the operation's tag, if it is one of this engine's.
    pub(crate) fn tag_in(self, engine: EngineId) -> Option<Tag> {
        (self.engine == engine).then_some(self.tag)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}, {:?})", self.engine.0, self.tag)
    }
}

/// Numbers the engines of a process: no two have the same number.
///
/// It is not a `NonZero`: `Option<Completion>` would use that niche, and an operation that is moved
/// out of its slot would cost eight instructions more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EngineId(u64);

impl EngineId {
    /// Returns the number of a new engine.
    pub(crate) fn of_new_engine() -> Self {
        #[cfg(target_has_atomic = "64")]
        let number = {
            use core::sync::atomic::{AtomicU64, Ordering};

            static ENGINES: AtomicU64 = AtomicU64::new(1);
            ENGINES.fetch_add(1, Ordering::Relaxed)
        };
        #[cfg(not(target_has_atomic = "64"))]
        let number = {
            static ENGINES: Counter = Counter::new(1);
            ENGINES.next()
        };
        Self(number)
    }
}

/// Counts by 63 bits, for processors that have no atomic operations of 64 bits.
///
/// The lower 32 bits are counted by one atomic operation, and from the last to the first again. The
/// upper ones say how often half of that range has been passed. So their lowest bit and the highest
/// of the lower ones are the same bit. By it a thread knows whether the upper ones are still to be
/// counted. The thread must not sleep for as long as half of the range takes.
#[cfg(any(test, not(target_has_atomic = "64")))]
struct Counter {
    low: AtomicU32,
    halves: AtomicU32,
}

#[cfg(any(test, not(target_has_atomic = "64")))]
impl Counter {
    const fn new(first: u64) -> Self {
        Self { low: AtomicU32::new(first as u32), halves: AtomicU32::new((first >> 31) as u32) }
    }

    fn next(&self) -> u64 {
        // Acquire pairs with the release below and keeps the draw behind this load: the halves that
        // are seen are never ahead of the number that is drawn.
        let halves = self.halves.load(Ordering::Acquire);
        let low = self.low.fetch_add(1, Ordering::Relaxed);
        let halves = halves.wrapping_add((halves ^ low >> 31) & 1);
        let within_half = low & (u32::MAX >> 1);
        if within_half == 0 {
            self.halves.store(halves, Ordering::Release);
        }
        u64::from(halves) << 31 | u64::from(within_half)
    }
}

/// Names the use of a slot, also in the kernel: it is the `aio_data` of the slot's iocb.
///
/// The slot's index is in the lower 30 bits. The next bit is 0, but for
/// [operations that fill](Self::fills). The rest counts how often an operation began or ended
/// in the slot, so a later use of it has another tag. The lowest bit of that count says which: 0
/// from push to event, 1 otherwise. A dead tag therefore looks like one with an index beyond any
/// slot, and to compare the lower half with the number of slots is to check both.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub(crate) struct Tag(u64);

/// An odd number with its bits well spread (2³² divided by the golden ratio): multiples of it, by
/// consecutive numbers, lie far from each other.
const SPREAD: u32 = 0x9e37_79b1;

impl Tag {
    /// Added at each beginning and end. It carries into the next generation from a dead tag.
    pub(crate) const STEP: u64 = 1 << 31;

    /// Set in the kernel's copy alone, and only for an operation that has lent a [`Filled`]. To the
    /// common path such an event names no slot, so it comes out where stray ones do, and costs the
    /// others nothing.
    const FILLS: u64 = 1 << 30;

    /// One slot more than this could not be named.
    pub(crate) const MAX_SLOTS: usize = Self::FILLS as usize;

    /// Returns the first tag of an engine, dead. The first ones of engines lie far from each
    /// other, so that an event of one is not taken for another's by accident.
    pub(crate) fn first_of(engine: EngineId) -> Self {
        let generation = (engine.0 as u32).wrapping_mul(SPREAD);
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

    /// Returns the index of a slot; of a dead tag, a number above that of any.
    #[inline(always)]
    pub(crate) fn index(self) -> u32 {
        self.0 as u32
    }

    /// True if the operation has lent a [`Filled`].
    pub(crate) fn fills(self) -> bool {
        self.0 & Self::FILLS != 0
    }

    /// The tag of the same use, for the kernel, of an operation that has lent a [`Filled`].
    #[inline(always)]
    pub(crate) fn with_fills(self) -> Self {
        Self(self.0 | Self::FILLS)
    }

    /// The tag by which [`Token`] names the operation.
    pub(crate) fn without_fills(self) -> Self {
        Self(self.0 & !Self::FILLS)
    }

    pub(crate) fn is_live(self) -> bool {
        self.0 & Self::STEP == 0
    }

    /// Returns the tag of the same generation for the slot `index`, which is below
    /// [`Self::MAX_SLOTS`].
    pub(crate) fn at(self, index: u32) -> Self {
        Self(self.0 & !(Self::STEP - 1) | u64::from(index))
    }

    /// Returns the tag of the slot after its next beginning or end.
    #[inline(always)]
    pub(crate) fn next(self) -> Self {
        Self(self.0.wrapping_add(Self::STEP))
    }

    /// Returns the last live tag before this dead one.
    #[inline(always)]
    pub(crate) fn last_live(self) -> Self {
        Self(self.0 & !Self::STEP)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let index = self.last_live().without_fills().index();
        write!(f, "{index}.{}", self.0 >> 32)?;
        if self.is_live() { Ok(()) } else { f.write_str(", ended") }
    }
}

/// Gives an operation that has ended back whole, with its result.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Completion, Queue, op::Read};
/// use std::fs::File;
///
/// let mut queue = Queue::with_capacity(1)?;
/// queue.push(Read::new(File::open("/dev/zero")?, vec![1; 64], 0))?;
/// let Completion { token: _, result, op } = queue.wait()?.expect("a completion");
/// let bytes = &op.buf[..result? as usize];
/// assert_eq!(bytes, [0; 64]);
/// # Ok(()) }
/// ```
#[doc(alias = "io_event")]
#[doc(alias = "aio_return")]
#[doc(alias = "aio_error")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a completion carries the result and the buffer"]
pub struct Completion<O> {
    /// The token that push returned for the operation. An operation that went on has the token of
    /// its last piece.
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

/// Gives back an operation that was not taken.
///
/// The error holds the operation, and with it what the operation borrows. An error type that asks
/// for `'static` (`anyhow::Error`, `Box<dyn Error>`) cannot take such an error with `?`: the
/// compiler then complains that a buffer must outlive `'static`. Convert it first, as
/// [`Scope::push`](crate::Scope::push) shows: to `std::io::Error`, which keeps the text, or to
/// [`Errno`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Errno, Queue, op::Read};
/// use std::fs::File;
///
/// let mut queue = Queue::with_capacity(1)?;
/// queue.push(Read::new(File::open("/dev/zero")?, vec![1; 64], 0))?;
/// let error = queue.push(Read::new(File::open("/dev/zero")?, vec![1; 64], 64)).unwrap_err();
/// assert_eq!(error.errno(), Errno::EAGAIN);
/// assert_eq!(error.op.offset, 64); // The operation is here.
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PushError<O> {
    errno: Errno,
    /// The operation, with its buffer.
    pub op: O,
}

impl<O> PushError<O> {
    pub(crate) fn new(errno: Errno, op: O) -> Self {
        Self { errno, op }
    }

    /// Returns `EAGAIN`; or of a scope that could not submit to make room, the errno of
    /// `io_submit`.
    pub fn errno(&self) -> Errno {
        self.errno
    }
}

impl<O> fmt::Debug for PushError<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushError").field("errno", &self.errno).finish_non_exhaustive()
    }
}

impl<O> fmt::Display for PushError<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errno {
            Errno::EAGAIN => f.write_str(
                "EAGAIN: every slot is in use, or the kernel takes no more at present: take a \
                 completion first",
            ),
            errno => CallError::submit(errno).fmt(f),
        }
    }
}

impl<O> core::error::Error for PushError<O> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.errno)
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
        Self::new(Self::from(error.errno()).kind(), PushError::new(error.errno(), ()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Counter, EngineId, Tag};
    use std::format;
    use std::thread;
    use std::vec::Vec;

    fn dead_tag() -> Tag {
        Tag::first_of(EngineId::of_new_engine())
    }

    #[test]
    fn a_tag_outlives_no_generation() {
        let dead = dead_tag().at(5);
        let first = dead.next();
        assert_eq!((dead.is_live(), first.is_live()), (false, true));
        assert_eq!(first.next().last_live(), first);
        assert_ne!(first.next().next(), first);
        assert_eq!(first.next().next().index(), 5);
    }

    #[test]
    fn a_dead_tag_names_no_slot() {
        let last = dead_tag().at(Tag::MAX_SLOTS as u32 - 1);
        assert!(last.index() as usize >= Tag::MAX_SLOTS);
        assert_eq!(last.next().index() as usize, Tag::MAX_SLOTS - 1);
    }

    /// Goal: to the common path the event of an operation that fills names no slot, and without the
    /// mark it is the tag of the token.
    #[test]
    fn a_tag_that_fills_names_no_slot_until_the_mark_is_gone() {
        for index in [0, 5, Tag::MAX_SLOTS as u32 - 1] {
            let live = dead_tag().at(index).next();
            let marked = live.with_fills();
            assert!(marked.index() as usize >= Tag::MAX_SLOTS && marked.is_live());
            assert_eq!((marked.fills(), live.fills()), (true, false));
            assert_eq!(marked.without_fills(), live);
            assert_eq!(format!("{marked:?}"), format!("{live:?}"));
        }
    }

    #[test]
    fn the_last_generation_wraps_without_touching_the_index() {
        let last = Tag::from_user_data(u64::MAX).at(7);
        assert_eq!(last.next().user_data(), 7);
    }

    #[test]
    fn a_tag_survives_the_kernel() {
        let tag = Tag::from_user_data(0xabcd_ef00 << 32).at(0x1234_5678);
        let tag = Tag::from_user_data(tag.user_data());
        assert_eq!(tag.index(), 0x1234_5678);
        assert_eq!(tag.user_data() >> 32, 0xabcd_ef00);
    }

    /// Goal: no number comes twice, and none is left out, where the lower bits and their half start
    /// again. Method: threads draw numbers at each such place.
    #[test]
    fn numbers_come_once_across_the_ends_of_both_words() {
        const EACH: u64 = 1_000;
        for middle in [1 << 31, 1 << 32, 3 << 31, 1 << 33, 0x7fff_ffff << 31] {
            let first = middle - 2 * EACH;
            let counter = Counter::new(first);
            let draw = || (0..EACH).map(|_| counter.next()).collect::<Vec<_>>();
            let mut drawn: Vec<u64> = thread::scope(|threads| {
                let drawing: Vec<_> = (0..4).map(|_| threads.spawn(draw)).collect();
                drawing.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
            });
            drawn.sort_unstable();
            assert!(drawn.into_iter().eq(first..first + 4 * EACH), "around {middle:#x}");
        }
    }
}
