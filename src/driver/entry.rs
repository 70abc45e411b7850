//! [`Entry`], the one record of an operation of a driver, from [`perform`](super::Driver::perform)
//! until its future has taken it or the kernel is finished, whichever is later.
//!
//! The operation moves once, into its entry, and stays there. What the driver knows of it lies
//! beside it. So every list and every slot of the queue has one pointer, nothing is looked up, and
//! nothing is moved from one table to another.
//!
//! # Whose an entry is
//!
//! | stage | who has the operation | who frees the entry |
//! |---|---|---|
//! | before the first poll | the future, by a [`Held`] | the future |
//! | waits for a slot | nobody | the future, which takes it off the list |
//! | admitted, queued, in the kernel | the event loop, or the kernel | nobody yet |
//! | ended | the future, since `ended` is set | the future |
//! | abandoned by its future | the event loop, or the kernel | the driver, by an [`Orphan`] |
//!
//! The lock of the [`State`](super::state::State) decides between the last two: an entry ends, or
//! is abandoned, under it. A future sees without the lock that its operation has ended.
//!
//! # The memory
//!
//! A `Box` for each operation costs 130 instructions for `malloc` and `free`. All entries have one
//! size, and each thread keeps some that are free. An operation may end on another thread: a free
//! entry belongs to nobody. A free entry keeps what does not matter to its next operation: so not
//! every field is written anew.

use super::announced::{Announced, Kind as Announcement};
use super::overdue::Facts;
use super::tracing::Traced;
use super::users_code::{Payload, goes_on};
use crate::primitive::{AtomicBool, Ordering};
use crate::slot::{Tag, Vacancy};
use crate::{Errno, EventResult, Operation, Prepared};
use alloc::alloc::{alloc, dealloc, handle_alloc_error};
use alloc::boxed::Box;
use core::alloc::Layout;
use core::cell::{Cell, UnsafeCell};
use core::marker::PhantomData;
use core::mem::{self, MaybeUninit};
use core::ops::Deref;
use core::panic::{RefUnwindSafe, UnwindSafe};
use core::ptr::NonNull;
use core::task::Waker;

/// The room for an operation, in bytes. One that is larger has a box of its own.
const ROOM: usize = 128;

/// The number of free entries that a thread keeps at most.
const KEPT: usize = 256;

const LAYOUT: Layout = Layout::new::<Entry>();

/// Writes fields of an entry, which may be uninitialised, through a pointer to it.
macro_rules! write_fields {
    ($entry:ident, $($field:ident: $value:expr,)*) => {
        $(
            // SAFETY: The memory has the layout of an entry, and is the caller's.
            let field = unsafe { &raw mut (*$entry).$field };
            // SAFETY: As above.
            unsafe { field.write($value) };
        )*
    };
}

/// See the [module](self).
///
/// # Invariants
/// - There is an operation in `op`, of the type that `kind` is of.
/// - `waker`, `ticket`, `mark`, `is_measured` and `is_abandoned` are used by the future before its
///   first poll, and then under the driver's lock.
/// - `tag` and `facts` are written by the event loop, which has the operation, before the
///   [`State`](super::state::State) notes its submit. They are read by the event loop, or under the
///   lock from then on. A piece that follows is noted anew.
/// - Everything else belongs to whoever has the operation.
pub(super) struct Entry {
    kind: &'static Kind,
    /// The outcome is there. Set under the driver's lock, after which the driver has forgotten the
    /// entry.
    ended: AtomicBool,
    /// The future is gone.
    pub(super) is_abandoned: Cell<bool>,
    /// The operation never goes on, and need not be asked.
    pub(super) is_plain: Cell<bool>,
    /// The operation is measured, under `mark`.
    pub(super) is_measured: Cell<bool>,
    /// There from the start to the end of the operation, unless its future is gone.
    pub(super) waker: Cell<Option<Waker>>,
    /// The number of the operation. It waits for a slot if this is above
    /// [`State::admitted_to`](super::state::State).
    pub(super) ticket: Cell<u64>,
    pub(super) mark: Cell<usize>,
    /// The tag of its slot; an index above every capacity until it is pushed.
    pub(super) tag: Cell<Tag>,
    /// The facts for the kernel, once the operation is prepared.
    pub(super) facts: Cell<Facts>,
    result: Cell<Result<u32, Errno>>,
    /// The payload, if `prepare` or `goes_on` of the operation panicked.
    panic: Cell<Option<Payload>>,
    traced: UnsafeCell<Traced>,
    op: OpStorage<ROOM>,
}

/// Lists what is done with an operation whose type only its future knows.
struct Kind {
    /// See [`EntryRef::prepare`].
    prepare: unsafe fn(&Entry, Announced, Vacancy<'_, QueuedOperation>) -> (Tag, Announcement),
    /// See [`EntryRef::goes_on`].
    goes_on: unsafe fn(&Entry, EventResult) -> bool,
    /// Drops the operation.
    drop: unsafe fn(&Entry),
}

/// Says what is done with an operation of this type.
struct Of<O>(PhantomData<O>);

impl<O: Operation + 'static> Of<O> {
    const KIND: &'static Kind = &Kind {
        prepare: |entry, announced, vacancy| {
            // SAFETY: The entry has the kind of this type, and the caller of `EntryRef::prepare`
            // has the operation.
            let op = unsafe { entry.op.get::<O>() };
            // SAFETY: It belongs to whoever has the operation.
            let traced = unsafe { &mut *entry.traced.get() };
            let (prepared, announcement) = match traced.prepare(op) {
                Ok(prepared) => announced.announce(prepared),
                Err(payload) => {
                    entry.panic.set(Some(payload));
                    Announced::refused()
                }
            };
            entry.facts.set(Facts::of(prepared.iocb()));
            // SAFETY: The caller of `EntryRef::prepare` leaves the operation alone until it has
            // ended.
            (unsafe { vacancy.fill(prepared) }, announcement)
        },
        goes_on: |entry, outcome| {
            let mut panic = None;
            // SAFETY: As above, by the caller of `EntryRef::goes_on`.
            let goes_on = goes_on(unsafe { entry.op.get::<O>() }, outcome, &mut panic);
            if panic.is_some() {
                entry.panic.set(panic);
            }
            goes_on
        },
        // SAFETY: As above, by the one caller, `Orphan::drop`, which drops it once.
        drop: |entry| drop(unsafe { entry.op.take::<O>() }),
    };
}

/// Leads to an entry.
///
/// # Invariants
/// The entry is there: the driver has it on a list or in its queue, or the future has it that keeps
/// this. The [module](self) says who frees it, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntryRef(NonNull<Entry>);

// SAFETY: Its operation may be sent (`Held::share`), as may wakers and payloads. Threads that share
// an entry use its fields as the invariants of `Entry` say.
unsafe impl Send for EntryRef {}
// SAFETY: As above.
unsafe impl Sync for EntryRef {}
// An operation that has panicked is seen by its future alone, which goes on with the panic.
impl UnwindSafe for EntryRef {}
impl RefUnwindSafe for EntryRef {}

impl Deref for EntryRef {
    type Target = Entry;

    #[inline(always)]
    fn deref(&self) -> &Entry {
        // SAFETY: The entry is there (invariant), and is borrowed by `&` alone: all that changes
        // lies in cells.
        unsafe { self.0.as_ref() }
    }
}

impl EntryRef {
    /// Returns whether the operation has ended. Everything in the entry is the future's then.
    #[inline(always)]
    pub(super) fn has_ended(self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Notes that the operation has ended, whose outcome is there: from now on the entry is its
    /// future's. The driver has forgotten it. Only under the driver's lock.
    #[inline(always)]
    pub(super) fn end(self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Sets the result. That of an operation that has panicked counts for nothing.
    #[inline(always)]
    pub(super) fn set_result(self, result: Result<u32, Errno>) {
        self.result.set(result);
    }

    /// Returns the result.
    #[inline(always)]
    pub(super) fn result(self) -> Result<u32, Errno> {
        self.result.get()
    }

    /// Takes the payload of the operation's panic.
    #[inline(always)]
    pub(super) fn take_panic(self) -> Option<Payload> {
        self.panic.take()
    }

    /// Returns whether the operation has panicked.
    #[inline(always)]
    pub(super) fn has_panicked(self) -> bool {
        // SAFETY: Nobody writes the cell during this statement.
        unsafe { &*self.panic.as_ptr() }.is_some()
    }

    /// Returns the count, unless the operation has failed or panicked.
    pub(super) fn count(self) -> Option<u32> {
        self.result().ok().filter(|_| !self.has_panicked())
    }

    /// Returns whether the entry's waker wakes the same task. Only under the driver's lock.
    #[inline(always)]
    pub(super) fn will_wake(self, waker: &Waker) -> bool {
        // SAFETY: Nobody writes the cell while this is used: pointers are compared, and no code of
        // a user is called.
        unsafe { &*self.waker.as_ptr() }.as_ref().is_some_and(|own| own.will_wake(waker))
    }

    /// Fills the empty place of the waker. To set it would also drop what is in it, which is
    /// nothing.
    #[inline(always)]
    pub(super) fn fill_waker(self, waker: Waker) {
        let empty = self.waker.replace(Some(waker));
        debug_assert!(empty.is_none());
        mem::forget(empty);
    }

    /// Sets the span of the operation for its way through the driver.
    ///
    /// # Safety
    /// The caller has the operation.
    #[inline(always)]
    pub(super) unsafe fn trace(self, traced: Traced) {
        // SAFETY: It belongs to whoever has the operation. A span is dropped here that is disabled.
        unsafe { *self.traced.get() = traced };
    }

    /// Prepares the operation into a slot. Returns what [`Vacancy::fill`] has returned.
    ///
    /// # Safety
    /// The caller has the operation, and leaves it alone until it has ended in the slot.
    #[inline(always)]
    pub(super) unsafe fn prepare(
        self,
        announced: Announced,
        vacancy: Vacancy<'_, QueuedOperation>,
    ) -> (Tag, Announcement) {
        // SAFETY: The promises of the caller.
        unsafe { (self.kind.prepare)(&self, announced, vacancy) }
    }

    /// Asks whether the operation goes on.
    ///
    /// # Safety
    /// The caller has the operation.
    #[inline(always)]
    pub(super) unsafe fn goes_on(self, outcome: EventResult) -> bool {
        // SAFETY: The promise of the caller.
        unsafe { (self.kind.goes_on)(&self, outcome) }
    }

    /// Gives the operation of an entry to its future.
    ///
    /// # Safety
    /// The operation is of this type. It has ended, or was never admitted, and the caller is its
    /// future, which calls this once.
    #[inline(always)]
    pub(super) unsafe fn hold<O>(self) -> Held<O> {
        Held { entry: self, op: PhantomData }
    }

    /// Gives an operation without a future to be dropped.
    ///
    /// # Safety
    /// The operation has ended, or was never admitted. Its future is gone, or is the caller and
    /// forgets it. This is called once.
    pub(super) unsafe fn orphan(self) -> Orphan {
        Orphan(self)
    }
}

/// Leads from a slot of the queue to the entry of an operation.
///
/// It has no drop: the operation is never lost with a slot, since its future may have the entry.
///
/// # Invariants
/// The driver has the operation of the entry.
pub(super) struct QueuedOperation {
    pub(super) entry: EntryRef,
    pub(super) announcement: Announcement,
}

impl Operation for QueuedOperation {
    fn prepare(&mut self) -> Prepared<'_> {
        unreachable!("it is pushed prepared")
    }

    #[inline(always)]
    fn goes_on(&mut self, outcome: EventResult) -> bool {
        // SAFETY: The driver has the operation (invariant), and the kernel is finished with it.
        !self.entry.has_panicked() && unsafe { self.entry.goes_on(outcome) }
    }
}

/// Owns an operation in its entry, as a `Box` does.
///
/// # Invariants
/// The entry has an operation of this type, and belongs to this one alone. It has neither a waker
/// nor the payload of a panic.
pub struct Held<O> {
    entry: EntryRef,
    op: PhantomData<O>,
}

// SAFETY: It owns the operation, and sends nothing else.
unsafe impl<O: Send> Send for Held<O> {}
// SAFETY: A shared reference leads to a shared reference to the operation, and to nothing else.
unsafe impl<O: Sync> Sync for Held<O> {}
// As a `Box`: the operation has memory of its own.
impl<O> Unpin for Held<O> {}

impl<O: Operation + 'static> Held<O> {
    #[inline(always)]
    pub(crate) fn new(op: O) -> Self {
        Self::new_with(|| op)
    }

    /// Holds what `make` makes, straight in its memory.
    #[inline(always)]
    pub(crate) fn new_with(make: impl FnOnce() -> O) -> Self {
        if !OpStorage::<ROOM>::has_room::<O>() {
            return Self::from_box(Box::new(make()));
        }
        let unfilled = allocate();
        let op = make();
        // SAFETY: The entry is free, and this function's alone.
        let storage = unsafe { Self::begin(&unfilled, op.is_plain()) };
        // SAFETY: The storage is empty, and nobody refers to it.
        unsafe { storage.put(op) };
        Self { entry: EntryRef(unfilled.keep()), op: PhantomData }
    }

    /// Takes a boxed operation. One that is larger than the room stays where it is.
    #[inline]
    pub(crate) fn from_box(op: Box<O>) -> Self {
        let unfilled = allocate();
        // SAFETY: The entry is free, and this function's alone.
        let storage = unsafe { Self::begin(&unfilled, op.is_plain()) };
        // SAFETY: The storage is empty, and nobody refers to it.
        unsafe { storage.put_box(op) };
        Self { entry: EntryRef(unfilled.keep()), op: PhantomData }
    }

    /// Writes what a free entry does not have, but the operation. Returns the storage for that.
    ///
    /// # Safety
    /// The entry is free, and nobody else's.
    #[inline(always)]
    unsafe fn begin(memory: &Free, is_plain: bool) -> &OpStorage<ROOM> {
        let entry = memory.0.as_ptr();
        write_fields! { entry,
            kind: Of::<O>::KIND,
            ended: AtomicBool::new(false),
            is_abandoned: Cell::new(false),
            is_plain: Cell::new(is_plain),
            is_measured: Cell::new(false),
            tag: Cell::new(Tag::from_user_data(u64::MAX)),
            traced: UnsafeCell::new(Traced::new()),
        }
        // SAFETY: The entry is the caller's. A storage is valid whatever its bytes are.
        unsafe { &(*entry).op }
    }

    /// Shares the entry with the driver, of which this may be sent to any thread. The future that
    /// forgets this one gets it back by [`EntryRef::hold`].
    #[inline(always)]
    pub(super) fn share(&self) -> EntryRef
    where
        O: Send,
    {
        self.entry
    }
}

impl<O> Held<O> {
    /// Returns the operation.
    #[inline]
    pub(crate) fn op_mut(&mut self) -> &mut O {
        // SAFETY: The operation is of this type, and this one's alone. It is borrowed as this is.
        unsafe { self.entry.op.get() }
    }

    /// Moves the operation out.
    #[inline]
    pub(crate) fn into_inner(self) -> O {
        self.take(|op| op)
    }

    /// Moves the operation to where `place` puts it.
    #[inline(always)]
    pub(crate) fn take<T>(self, place: impl FnOnce(O) -> T) -> T {
        let entry = self.into_entry();
        // Freed at the end, when the operation is where the caller wants it.
        let _emptied = Emptied(entry);
        // SAFETY: The entry was this one's alone, has an operation of this type, and is freed.
        place(unsafe { entry.op.take() })
    }

    /// Gives the operation in a box. One that is larger than the room stays where it is.
    #[inline]
    pub(crate) fn into_box(self) -> Box<O> {
        let entry = self.into_entry();
        let _emptied = Emptied(entry);
        // SAFETY: The entry was this one's alone, has an operation of this type, and is freed.
        unsafe { entry.op.take_box() }
    }

    #[inline(always)]
    fn into_entry(self) -> EntryRef {
        let entry = self.entry;
        mem::forget(self);
        entry
    }
}

impl<O> Drop for Held<O> {
    fn drop(&mut self) {
        // Frees the memory even if the drop of the operation panics.
        let _emptied = Emptied(self.entry);
        // SAFETY: The entry is this one's alone, and is freed.
        drop(unsafe { self.entry.op.take::<O>() });
    }
}

/// Owns an operation whose type nobody knows any more, to drop it.
///
/// # Invariants
/// As for [`Held`].
pub(super) struct Orphan(EntryRef);

impl Drop for Orphan {
    fn drop(&mut self) {
        let _emptied = Emptied(self.0);
        // SAFETY: The entry is this one's alone, and is freed. The kind is that of its operation.
        unsafe { (self.0.kind.drop)(&self.0) };
    }
}

/// An entry whose operation has been taken, or whose operation's drop panics. It is freed when this
/// is dropped.
///
/// # Invariants
/// The entry is this one's alone.
struct Emptied(EntryRef);

impl Drop for Emptied {
    #[inline(always)]
    fn drop(&mut self) {
        // Taken when it ended or was abandoned.
        debug_assert!(!self.0.has_panicked() && self.0.waker.take().is_none());
        let _free = Free(self.0.0);
        // SAFETY: It is this one's alone, initialised, and dropped once, as the entry is freed.
        unsafe { self.0.traced.get().drop_in_place() };
    }
}

/// The storage of an operation whose type only its future knows. One that does not fit in `ROOM`
/// bytes lies in a box, to which the storage has the pointer.
#[repr(C, align(16))]
pub(crate) struct OpStorage<const ROOM: usize>(UnsafeCell<[MaybeUninit<u8>; ROOM]>);

impl<const ROOM: usize> OpStorage<ROOM> {
    /// Makes an empty storage.
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new([MaybeUninit::uninit(); ROOM]))
    }

    /// Returns whether an operation of the type lies in the storage itself.
    pub(crate) const fn has_room<O>() -> bool {
        size_of::<O>() <= ROOM && align_of::<O>() <= align_of::<Self>()
    }

    /// Moves an operation in.
    ///
    /// # Safety
    /// The storage is empty, and nobody refers to what is in it.
    #[inline(always)]
    pub(crate) unsafe fn put<O>(&self, op: O) {
        if !Self::has_room::<O>() {
            // SAFETY: The promise of the caller.
            return unsafe { self.put_box(Box::new(op)) };
        }
        // SAFETY: The storage has the size and the alignment of the type, and nobody refers to it.
        unsafe { self.0.get().cast::<O>().write(op) };
    }

    /// Moves an operation in. One that has no room stays in its box.
    ///
    /// # Safety
    /// As for [`put`](Self::put).
    #[inline]
    pub(crate) unsafe fn put_box<O>(&self, op: Box<O>) {
        if Self::has_room::<O>() {
            // SAFETY: The promise of the caller.
            return unsafe { self.put(*op) };
        }
        const { assert!(Self::has_room::<*mut ()>()) };
        let op = NonNull::from(Box::leak(op));
        // SAFETY: The storage has the size and the alignment of a pointer, and nobody refers to it.
        unsafe { self.0.get().cast::<NonNull<O>>().write(op) };
    }

    /// Returns the address of the operation.
    ///
    /// # Safety
    /// There is an operation, of this type.
    #[inline(always)]
    unsafe fn place<O>(&self) -> *mut O {
        if Self::has_room::<O>() {
            return self.0.get().cast();
        }
        // SAFETY: An operation of this type is in a box, to which `put_box` has put the pointer
        // there.
        unsafe { self.0.get().cast::<NonNull<O>>().read() }.as_ptr()
    }

    /// Returns the operation.
    ///
    /// # Safety
    /// There is an operation, of this type, to which nobody refers as long as the result is used.
    #[inline(always)]
    pub(crate) unsafe fn get<'op, O>(&self) -> &'op mut O {
        // SAFETY: The promise of the caller.
        let place = unsafe { self.place::<O>() };
        // SAFETY: It is initialised, and nobody else refers to it (promise of the caller).
        unsafe { &mut *place }
    }

    /// Moves the operation out.
    ///
    /// # Safety
    /// There is an operation, of this type. Nobody refers to it, and it is not used again.
    #[inline(always)]
    pub(crate) unsafe fn take<O>(&self) -> O {
        if !Self::has_room::<O>() {
            // SAFETY: The promises of the caller.
            return *unsafe { self.take_box() };
        }
        // SAFETY: There is an operation of this type (promise of the caller).
        let place = unsafe { self.place::<O>() };
        // SAFETY: It is initialised, and read once, as it is not used again (promise of the
        // caller).
        unsafe { place.read() }
    }

    /// Moves the operation out, into a box. One that had no room is in its box already.
    ///
    /// # Safety
    /// As for [`take`](Self::take).
    #[inline]
    pub(crate) unsafe fn take_box<O>(&self) -> Box<O> {
        if Self::has_room::<O>() {
            // SAFETY: The promises of the caller.
            return Box::new(unsafe { self.take() });
        }
        // SAFETY: There is an operation of this type (promise of the caller).
        let place = unsafe { self.place::<O>() };
        // SAFETY: The box was leaked by `put_box`, and nobody else makes one of it: the operation
        // is not used again (promise of the caller).
        unsafe { Box::from_raw(place) }
    }
}

/// A free entry. Gives it back when it is dropped.
///
/// # Invariants
/// The entry is this one's alone. Its `waker` and its `panic` are there and `None`. Its `ticket`,
/// `mark`, `facts` and `result` are there, whatever they are.
struct Free(NonNull<Entry>);

impl Free {
    /// Keeps the entry, for the operation that is there now.
    #[inline(always)]
    fn keep(self) -> NonNull<Entry> {
        let entry = self.0;
        mem::forget(self);
        entry
    }
}

impl Drop for Free {
    #[inline(always)]
    fn drop(&mut self) {
        if !SPARE.with(|spare| spare.push(self.0)) {
            // SAFETY: The entry is this one's alone, and goes.
            unsafe { free(self.0) };
        }
    }
}

/// Returns a free entry.
#[inline(always)]
fn allocate() -> Free {
    Free(SPARE.with(Spare::pop).unwrap_or_else(|| new()))
}

/// Does not unwind, which `extern "C"` tells the compiler. Otherwise it would keep the operation in
/// memory, to drop it then.
#[cold]
extern "C" fn new() -> NonNull<Entry> {
    // SAFETY: The size is not 0.
    let memory = unsafe { alloc(LAYOUT) };
    let Some(memory) = NonNull::new(memory) else { handle_alloc_error(LAYOUT) };
    let entry = memory.cast::<Entry>().as_ptr();
    write_fields! { entry,
        waker: Cell::new(None),
        ticket: Cell::new(0),
        mark: Cell::new(0),
        facts: Cell::new(Facts::of_sync()),
        result: Cell::new(Ok(0)),
        panic: Cell::new(None),
    }
    memory.cast()
}

/// Frees the memory of a free entry, which has nothing to be dropped.
///
/// # Safety
/// The entry is the caller's alone, and is not used again.
#[cold]
unsafe fn free(entry: NonNull<Entry>) {
    // SAFETY: `new` allocated it with this layout, and nobody uses it any more.
    unsafe { dealloc(entry.as_ptr().cast(), LAYOUT) };
}

std::thread_local! {
    /// Has no drop, so that it is there without being looked at.
    static SPARE: Spare = const { Spare { first: Cell::new(None), count: Cell::new(0) } };
    static EMPTIES: Empties = const { Empties };
}

/// Frees the entries of [`SPARE`] when the thread ends.
struct Empties;

impl Drop for Empties {
    fn drop(&mut self) {
        SPARE.with(Spare::clear);
    }
}

/// The free entries of a thread: a list, whose links lie where the operations do.
///
/// # Invariants
/// Each entry belongs to the list alone, and is as [`Free`] says. In the place of its operation is
/// the [`Link`] to the next.
struct Spare {
    first: Cell<Link>,
    count: Cell<usize>,
}

type Link = Option<NonNull<Entry>>;

impl Spare {
    /// Takes an entry. Returns `None` if there is none.
    #[inline(always)]
    fn pop(&self) -> Link {
        let first = self.first.get()?;
        // SAFETY: The entry is the list's alone. A storage is valid whatever its bytes are.
        let storage = unsafe { &(*first.as_ptr()).op };
        // SAFETY: A link is in it (invariant), which is taken once.
        self.first.set(unsafe { storage.take::<Link>() });
        self.count.set(self.count.get() - 1);
        Some(first)
    }

    /// Keeps an entry, which is free and nobody else's. Returns `false` if there are enough.
    #[inline(always)]
    fn push(&self, entry: NonNull<Entry>) -> bool {
        let count = self.count.get();
        if count.wrapping_sub(1) >= KEPT - 1 && !keeps(count) {
            return false;
        }
        // SAFETY: The entry is the list's now. A storage is valid whatever its bytes are.
        let storage = unsafe { &(*entry.as_ptr()).op };
        // SAFETY: No operation is in it, and nobody refers to it.
        unsafe { storage.put::<Link>(self.first.get()) };
        self.first.set(Some(entry));
        self.count.set(count + 1);
        true
    }

    fn clear(&self) {
        while let Some(entry) = self.pop() {
            // SAFETY: It is on the list no longer.
            unsafe { free(entry) };
        }
    }
}

/// Returns whether one more entry is kept beside so many: not if there are enough, nor when the
/// thread ends. With the first one, sees to it that all are freed then.
#[cold]
fn keeps(count: usize) -> bool {
    count < KEPT && EMPTIES.try_with(|_| ()).is_ok()
}

#[cfg(all(test, not(loom)))]
mod tests;
