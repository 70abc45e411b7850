//! [`Entry`], the place of one operation of a local driver, from
//! [`perform`](super::LocalDriver::perform) until its future has taken it.
//!
//! The operation moves once, into its entry, and stays there: a slot of the engine has the entry's
//! address. Entries are used again, the last one first. So a task that awaits one operation after
//! the other gets the same entry, which still has the waker of the task: it need not be cloned.

use super::Inner;
use super::stage::{Note, Outcome, Phase, Stage};
use crate::driver::entry::OpStorage;
use crate::driver::users_code::{Payload, goes_on};
use crate::slot::Tag;
use crate::{EventResult, Operation, Prepared};
use alloc::boxed::Box;
use core::cell::Cell;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use core::task::Waker;

/// The room for an operation, in bytes. One that is larger has a box of its own.
const ROOM: usize = 64;

/// Says what [`Operation::goes_on`] has answered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Over,
    On,
    /// It has panicked, and the entry has the payload.
    Panicked,
}

/// See the [module](self).
///
/// # Invariants
/// - There is an operation in every phase but `Vacant`, of the type that `kind` is of.
/// - Nobody refers to it while it is `Flying` or `Abandoned`, but for what `prepare` has lent; and
///   `prepare` and `goes_on` themselves, which are called for one that the kernel does not have.
/// - `driver` is that of the entry's driver, by `Rc::as_ptr`. A future that has the entry has one
///   of the strong references, so the driver is there.
pub(super) struct Entry {
    pub(super) driver: *const Inner,
    pub(super) stage: Cell<Stage>,
    /// The waker is that of the driver's own `block_on`.
    pub(super) rings: Cell<bool>,
    /// The outcome of an operation that has ended.
    pub(super) outcome: Cell<Outcome>,
    /// The waker of the present or the last future. Out of its place while it is called.
    pub(super) waker: Cell<Option<Waker>>,
    /// The tag of its slot, once it is queued.
    pub(super) tag: Cell<Tag>,
    /// The number of the submit that its operation is part of, once it is queued.
    pub(super) batch: Cell<u64>,
    /// The mark of an operation that is measured.
    pub(super) mark: Cell<usize>,
    /// The ticket of an operation that waits for a slot, behind those with a lower one.
    pub(super) ticket: Cell<u64>,
    /// The next of the vacant entries.
    pub(super) next: Cell<Option<NonNull<Entry>>>,
    panic: Cell<Option<Payload>>,
    kind: Cell<&'static Kind>,
    pub(super) op: OpStorage<ROOM>,
}

/// Lists what is done with an operation whose type only its future knows.
struct Kind {
    /// See [`Entry::prepare`].
    prepare: unsafe fn(&Entry) -> Prepared<'_>,
    /// See [`Entry::goes_on`].
    goes_on: unsafe fn(&Entry, EventResult) -> Answer,
    /// See [`Entry::drop_op`].
    drop: unsafe fn(&Entry),
}

/// Says what is done with an operation of this type.
struct Of<O>(PhantomData<O>);

impl<O: Operation + 'static> Of<O> {
    const KIND: &'static Kind = &Kind {
        prepare: |entry| {
            // SAFETY: The promises of the caller, that of `Entry::prepare`. `Entry::fill` has set
            // the kind of this type.
            unsafe { entry.op.get::<O>() }.prepare()
        },
        goes_on: |entry, outcome| {
            let mut panic = None;
            // SAFETY: As above, by the caller of `Entry::goes_on`.
            let goes_on = goes_on(unsafe { entry.op.get::<O>() }, outcome, &mut panic);
            if panic.is_some() {
                entry.panic.set(panic);
                return Answer::Panicked;
            }
            if goes_on { Answer::On } else { Answer::Over }
        },
        // SAFETY: As above, by the caller of `Entry::drop_op`.
        drop: |entry| drop(unsafe { entry.op.take::<O>() }),
    };
}

impl Entry {
    pub(super) fn new(driver: *const Inner) -> Self {
        struct Nothing;
        impl Operation for Nothing {
            fn prepare(&mut self) -> Prepared<'_> {
                unreachable!("no entry has this operation")
            }
        }
        Self {
            driver,
            stage: Cell::new(Stage::new(Phase::VACANT, Note::NONE)),
            rings: Cell::new(false),
            outcome: Cell::new(Outcome::NONE),
            waker: Cell::new(None),
            tag: Cell::new(Tag::from_user_data(0)),
            batch: Cell::new(0),
            mark: Cell::new(0),
            ticket: Cell::new(0),
            next: Cell::new(None),
            panic: Cell::new(None),
            kind: Cell::new(Of::<Nothing>::KIND),
            op: OpStorage::new(),
        }
    }

    #[inline(always)]
    pub(super) fn phase(&self) -> Phase {
        self.stage.get().phase()
    }

    /// Sets the phase. The note stays.
    #[inline(always)]
    pub(super) fn set_phase(&self, phase: Phase) {
        self.stage.set(Stage::new(phase, self.stage.get().note()));
    }

    // ---- the operation ----

    /// Moves an operation into a vacant entry.
    #[inline(always)]
    pub(super) fn fill<O: Operation + 'static>(&self, op: O) {
        self.begin::<O>();
        // SAFETY: The entry was vacant, so its storage is empty and nobody refers to it.
        unsafe { self.op.put(op) };
    }

    /// Takes over an operation in a box. One that is larger than the room stays where it is.
    #[inline]
    pub(super) fn fill_boxed<O: Operation + 'static>(&self, op: Box<O>) {
        self.begin::<O>();
        // SAFETY: As in `fill`.
        unsafe { self.op.put_box(op) };
    }

    #[inline(always)]
    fn begin<O: Operation + 'static>(&self) {
        debug_assert_eq!(self.phase(), Phase::VACANT);
        self.stage.set(Stage::new(Phase::NEW, Note::NONE));
        self.kind.set(Of::<O>::KIND);
    }

    /// Prepares the operation.
    ///
    /// # Safety
    /// There is an operation, the kernel does not have it, and nobody refers to it. Nothing but
    /// what the result lends is done with it until the result is not used any more.
    #[inline]
    pub(super) unsafe fn prepare(&self) -> Prepared<'_> {
        // SAFETY: The promises of the caller.
        unsafe { (self.kind.get().prepare)(self) }
    }

    /// Asks whether the operation goes on.
    ///
    /// # Safety
    /// There is an operation, the kernel is finished with it, and nobody refers to it.
    #[inline(always)]
    pub(super) unsafe fn goes_on(&self, outcome: EventResult) -> Answer {
        // SAFETY: The promises of the caller.
        unsafe { (self.kind.get().goes_on)(self, outcome) }
    }

    /// Drops the operation.
    ///
    /// # Safety
    /// As for [`OpStorage::take`].
    pub(super) unsafe fn drop_op(&self) {
        // SAFETY: The promises of the caller.
        unsafe { (self.kind.get().drop)(self) };
    }

    /// Notes that the operation has panicked.
    pub(super) fn set_panic(&self, payload: Payload) {
        self.panic.set(Some(payload));
    }

    pub(super) fn take_panic(&self) -> Option<Payload> {
        self.panic.take()
    }

    // ---- the waker ----

    /// Returns whether the entry's waker wakes the same task.
    #[inline(always)]
    pub(super) fn wakes(&self, waker: &Waker) -> bool {
        // SAFETY: Nobody writes the cell while this is used: pointers are compared, as `will_wake`
        // does, and no code of a user is called.
        let own = unsafe { &*self.waker.as_ptr() };
        // Both at once: one branch is cheaper than two.
        own.as_ref().is_some_and(|own| {
            ptr::eq(own.data(), waker.data()) & ptr::eq(own.vtable(), waker.vtable())
        })
    }

    /// Replaces the waker, and returns the old one.
    #[inline(always)]
    pub(super) fn replace_waker(&self, waker: Option<Waker>) -> Option<Waker> {
        self.waker.replace(waker)
    }

    /// Puts the waker back that was taken to be called. Returns it if there is another one by now.
    #[inline(always)]
    pub(super) fn restore_waker(&self, waker: Waker) -> Option<Waker> {
        // SAFETY: Nobody writes the cell during this statement.
        if unsafe { &*self.waker.as_ptr() }.is_some() {
            return Some(waker);
        }
        // SAFETY: As above. There is no waker to be dropped.
        unsafe { self.waker.as_ptr().write(Some(waker)) };
        None
    }
}
