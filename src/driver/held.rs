//! [`Held`], an operation of a driver in memory that is used again.
//!
//! A `Box` for each operation costs 130 instructions for `malloc` and `free`, an eighth of what a
//! driver needs. So operations of up to [`BLOCK`] bytes, which most are, lie in blocks of one size.
//! Each thread keeps some blocks that are free. An operation may end on another thread: a block
//! belongs to nobody but the operation in it.

use super::announced::Announced;
use super::users_code::{Payload, goes_on};
use crate::{EventResult, Operation, Prepared};
use alloc::alloc::{alloc, dealloc, handle_alloc_error};
use alloc::boxed::Box;
use core::alloc::Layout;
use core::any::TypeId;
use core::cell::Cell;
use core::mem;
use core::ops::{Deref, DerefMut};
use core::panic::UnwindSafe;
use core::ptr::NonNull;

/// The size of a block, in bytes.
const BLOCK: usize = 128;

/// The number of free blocks that a thread keeps at most.
const KEPT: usize = 256;

const LAYOUT: Layout = match Layout::from_size_align(BLOCK, 16) {
    Ok(layout) => layout,
    Err(_) => unreachable!(),
};

/// Shows an operation whose type only its future knows.
pub trait Erased: Operation {
    /// Returns the operation's own type.
    fn id(&self) -> TypeId;

    /// Calls [`Announced::prepare`] with the operation's own type.
    fn prepare_or_panics(
        &mut self,
        announced: &mut Announced,
        panic: &mut Option<Box<Payload>>,
    ) -> Prepared<'_>;

    /// Calls [`goes_on`] of the operation's own type.
    fn goes_on_or_panics(&mut self, outcome: EventResult, panic: &mut Option<Payload>) -> bool;
}

impl<O: Operation + 'static> Erased for O {
    #[inline]
    fn id(&self) -> TypeId {
        TypeId::of::<O>()
    }

    fn prepare_or_panics(
        &mut self,
        announced: &mut Announced,
        panic: &mut Option<Box<Payload>>,
    ) -> Prepared<'_> {
        announced.prepare(self, panic)
    }

    fn goes_on_or_panics(&mut self, outcome: EventResult, panic: &mut Option<Payload>) -> bool {
        goes_on(self, outcome, panic)
    }
}

/// Owns an operation, as a `Box` does.
///
/// # Invariants
/// - `value` leads to an initialised value, which belongs to this one alone.
/// - It lies in memory of [`Memory::of`] its layout.
pub struct Held<E: ?Sized> {
    value: NonNull<E>,
}

// SAFETY: It owns the value, and sends nothing else.
unsafe impl<E: ?Sized + Send> Send for Held<E> {}
// SAFETY: A shared reference leads to a shared reference to the value, and to nothing else.
unsafe impl<E: ?Sized + Sync> Sync for Held<E> {}
// As a `Box`.
impl<E: ?Sized + UnwindSafe> UnwindSafe for Held<E> {}

impl<O> Held<O> {
    #[inline]
    pub(crate) fn new(op: O) -> Self {
        Self::new_with(|| op)
    }

    /// Holds what `make` makes, straight in its memory.
    #[inline(always)]
    pub(crate) fn new_with(make: impl FnOnce() -> O) -> Self {
        let memory = Memory::of(Layout::new::<O>());
        let value = memory.allocate().cast::<O>();
        let unfilled = Free(memory, value.cast());
        let op = make();
        mem::forget(unfilled);
        // SAFETY: The memory has the size and the alignment of the type, and is nobody else's.
        unsafe { value.write(op) };
        Self { value }
    }

    /// Moves the operation out.
    #[inline]
    pub(crate) fn into_inner(self) -> O {
        self.take(|op| op)
    }

    /// Moves the operation to where `place` puts it.
    #[inline(always)]
    pub(crate) fn take<T>(self, place: impl FnOnce(O) -> T) -> T {
        let value = self.into_pointer();
        // Freed at the end, when the operation is where the caller wants it.
        let _free = Free(Memory::of(Layout::new::<O>()), value.cast());
        // SAFETY: It is initialised, and read once: nobody has the pointer any more.
        place(unsafe { value.read() })
    }
}

impl<O> Held<O> {
    /// True if the memory is that of a `Box`.
    const IS_BOXED: bool = match Memory::of(Layout::new::<O>()) {
        Memory::Block => false,
        Memory::Own(_) => size_of::<O>() > 0,
    };

    /// Takes a boxed operation. One that is larger than a block stays where it is.
    #[inline]
    pub(crate) fn from_box(op: Box<O>) -> Self {
        if !Self::IS_BOXED {
            return Self::new(*op);
        }
        Self { value: NonNull::from(Box::leak(op)) }
    }

    /// Gives the operation in a box. One that is larger than a block stays where it is.
    #[inline]
    pub(crate) fn into_box(self) -> Box<O> {
        if !Self::IS_BOXED {
            return Box::new(self.into_inner());
        }
        // SAFETY: The value is initialised, and nobody else has the pointer. Its memory comes from
        // a box, or from the global allocator by the layout of the type, as that of a box does.
        unsafe { Box::from_raw(self.into_pointer().as_ptr()) }
    }
}

impl<O: Operation + 'static> Held<O> {
    /// Forgets the type of the operation.
    #[inline]
    pub(crate) fn erase_sent(self) -> Held<dyn Erased + Send>
    where
        O: Send,
    {
        Held { value: self.into_pointer() }
    }
}

impl<E: ?Sized> Held<E> {
    /// Gives the value up, without dropping it.
    #[inline]
    fn into_pointer(self) -> NonNull<E> {
        let value = self.value;
        mem::forget(self);
        value
    }
}

impl<E: ?Sized + Erased> Held<E> {
    /// Returns the operation in its own type again.
    #[inline]
    pub(crate) fn downcast<O: 'static>(self) -> Held<O> {
        match self.try_downcast() {
            Ok(op) => op,
            Err(_) => unreachable!("an entry belongs to the future that made it"),
        }
    }

    /// Returns the operation in its own type again, if that is `O`.
    #[inline]
    pub(crate) fn try_downcast<O: 'static>(self) -> Result<Held<O>, Self> {
        if self.id() != TypeId::of::<O>() {
            return Err(self);
        }
        let value = self.into_pointer().cast::<O>();
        // The value is of this type, as was checked.
        Ok(Held { value })
    }
}

// As a `Box`: the value has memory of its own.
impl<E: ?Sized> Unpin for Held<E> {}

impl<E: ?Sized> Deref for Held<E> {
    type Target = E;

    #[inline]
    fn deref(&self) -> &E {
        // SAFETY: The value is initialised, and borrowed as this is.
        unsafe { self.value.as_ref() }
    }
}

impl<E: ?Sized> DerefMut for Held<E> {
    #[inline]
    fn deref_mut(&mut self) -> &mut E {
        // SAFETY: The value is initialised, this one's alone, and borrowed as this is.
        unsafe { self.value.as_mut() }
    }
}

impl<E: ?Sized> Drop for Held<E> {
    fn drop(&mut self) {
        // Frees the memory even if the drop of the value panics.
        let _free = Free(Memory::of(Layout::for_value(&**self)), self.value.cast());
        // SAFETY: It is initialised, and dropped once: this is its owner's drop.
        unsafe { self.value.drop_in_place() };
    }
}

/// Frees the memory of a value that was moved out or dropped, or whose drop panics.
///
/// # Invariants
/// The memory came from the same [`Memory`], and is not used any more when this is dropped.
struct Free(Memory, NonNull<u8>);

impl Drop for Free {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: The invariants are what is asked for.
        unsafe { self.0.free(self.1) };
    }
}

/// Says where a value of a layout lies.
#[derive(Clone, Copy)]
enum Memory {
    Block,
    /// It does not fit into a block. The size is not 0.
    Own(Layout),
}

impl Memory {
    #[inline(always)]
    const fn of(layout: Layout) -> Self {
        if layout.size() <= BLOCK && layout.align() <= LAYOUT.align() {
            return Self::Block;
        }
        match layout.size() {
            // A type without bytes can ask for any alignment. Its alignment is a valid size.
            0 => match Layout::from_size_align(layout.align(), layout.align()) {
                Ok(layout) => Self::Own(layout),
                Err(_) => unreachable!(),
            },
            _ => Self::Own(layout),
        }
    }

    /// Returns memory for one value.
    #[inline(always)]
    fn allocate(self) -> NonNull<u8> {
        match self {
            Self::Block => SPARE.try_with(Spare::pop).ok().flatten().unwrap_or_else(|| new(LAYOUT)),
            Self::Own(layout) => new(layout),
        }
    }

    /// Frees the memory of one value.
    ///
    /// # Safety
    /// It comes from [`allocate`](Self::allocate) of the same, and is not used any more.
    #[inline(always)]
    unsafe fn free(self, memory: NonNull<u8>) {
        let layout = match self {
            Self::Block if SPARE.try_with(|spare| spare.push(memory)) == Ok(true) => return,
            Self::Block => LAYOUT,
            Self::Own(layout) => layout,
        };
        // SAFETY: `new` allocated it with this layout, and the caller does not use it any more.
        unsafe { dealloc(memory.as_ptr(), layout) };
    }
}

/// Allocates memory of a layout whose size is not 0.
#[cold]
fn new(layout: Layout) -> NonNull<u8> {
    debug_assert!(layout.size() > 0);
    // SAFETY: The size is not 0: `Memory::of` has put those elsewhere.
    let memory = unsafe { alloc(layout) };
    NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
}

std::thread_local! {
    static SPARE: Spare = const { Spare { first: Cell::new(None), count: Cell::new(0) } };
}

/// The free blocks of a thread: a list, whose links lie in the blocks.
///
/// # Invariants
/// Each block has the layout [`LAYOUT`], belongs to the list alone, and begins with the pointer to
/// the next.
struct Spare {
    first: Cell<Option<NonNull<u8>>>,
    count: Cell<usize>,
}

impl Spare {
    /// Takes a block. Returns `None` if there is none.
    #[inline(always)]
    fn pop(&self) -> Option<NonNull<u8>> {
        let first = self.first.get()?;
        // SAFETY: The block is the list's and begins with the pointer to the next, aligned as a
        // block is.
        self.first.set(unsafe { first.cast::<Option<NonNull<u8>>>().read() });
        self.count.set(self.count.get() - 1);
        Some(first)
    }

    /// Keeps a block, which nobody else uses. Returns `false` if there are enough.
    #[inline(always)]
    fn push(&self, block: NonNull<u8>) -> bool {
        if self.count.get() == KEPT {
            return false;
        }
        // SAFETY: The block is the list's now. A pointer fits, and is aligned as a block is.
        unsafe { block.cast::<Option<NonNull<u8>>>().write(self.first.get()) };
        self.first.set(Some(block));
        self.count.set(self.count.get() + 1);
        true
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        while let Some(block) = self.pop() {
            // SAFETY: It was allocated with this layout, and is on the list no longer.
            unsafe { dealloc(block.as_ptr(), LAYOUT) };
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{BLOCK, Erased, Held, KEPT};
    use crate::op::Fsync;
    use crate::{EventFd, Operation, Prepared};
    use alloc::boxed::Box;
    use alloc::sync::Arc;
    use alloc::vec::Vec;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;

    /// An operation of some size, which counts by `Arc` whether it was dropped.
    struct Sized<const N: usize> {
        _alive: Arc<()>,
        bytes: [u8; N],
    }

    impl<const N: usize> Operation for Sized<N> {
        fn prepare(&mut self) -> Prepared<'_> {
            unreachable!("it is not prepared")
        }
    }

    /// Goal: operations below, at and above the size of a block come back whole, on any thread, and
    /// are dropped once. Method: more than a thread keeps, half of them ended on another thread.
    fn come_back<const N: usize>() {
        let alive = Arc::new(());
        let held: Vec<Held<dyn Erased + Send>> = (0..3 * KEPT)
            .map(|at| {
                Held::new(Sized { _alive: Arc::clone(&alive), bytes: [at as u8; N] }).erase_sent()
            })
            .collect();
        let end = move |held: Vec<Held<dyn Erased + Send>>| {
            for (at, held) in held.into_iter().enumerate() {
                if at % 3 != 0 {
                    let Sized { bytes, .. } = held.downcast::<Sized<N>>().into_inner();
                    assert_eq!(bytes, [at as u8; N]);
                }
            }
        };
        thread::spawn(move || end(held)).join().expect("no panic");
        assert_eq!(Arc::strong_count(&alive), 1);
    }

    /// Goal: a boxed operation comes back in a box, and a large one is not moved.
    #[test]
    fn boxed_operations_come_back_in_their_boxes() {
        fn through<const N: usize>() -> bool {
            let (alive, bytes) = (Arc::new(()), [7; N]);
            let boxed = Box::new(Sized { _alive: Arc::clone(&alive), bytes });
            let place = (&raw const *boxed).addr();
            let held = Held::from_box(boxed).erase_sent();
            let back = held.downcast::<Sized<N>>().into_box();
            assert_eq!((back.bytes, Arc::strong_count(&alive)), (bytes, 2));
            (&raw const *back).addr() == place
        }
        through::<8>();
        assert!(through::<BLOCK>());
        assert!(through::<4096>());
        drop(Held::from_box(Box::new([0_u8; 0])).into_box());
    }

    #[test]
    fn operations_of_any_size_come_back() {
        come_back::<0>();
        come_back::<{ BLOCK - 8 }>();
        come_back::<{ BLOCK - 7 }>();
        come_back::<4096>();
    }

    /// Goal: an operation without bytes, or that must lie at a large alignment, has a place,
    /// even one without bytes at a large alignment.
    #[test]
    fn operations_of_any_alignment_have_a_place() {
        #[repr(align(4096))]
        struct Page([u8; 4096]);
        impl Operation for Page {
            fn prepare(&mut self) -> Prepared<'_> {
                unreachable!("it is not prepared")
            }
        }
        struct Nothing;
        impl Operation for Nothing {
            fn prepare(&mut self) -> Prepared<'_> {
                unreachable!("it is not prepared")
            }
        }
        let page = Held::new(Page([7; 4096]));
        assert_eq!((&raw const page.0).addr() % 4096, 0);
        assert_eq!(page.into_inner().0, [7; 4096]);
        #[repr(align(64))]
        struct Far;
        impl Operation for Far {
            fn prepare(&mut self) -> Prepared<'_> {
                unreachable!("it is not prepared")
            }
        }
        let far = Held::new(Far);
        assert_eq!((&raw const *far).addr() % 64, 0);
        let _ = far.erase_sent().downcast::<Far>().into_inner();
        let _ = Held::new(Nothing).erase_sent().downcast::<Nothing>().into_inner();
        drop(Held::new(Nothing).erase_sent());
    }

    #[test]
    #[should_panic = "belongs to the future that made it"]
    fn an_operation_comes_back_in_its_own_type_only() {
        let held = Held::new(Sized { _alive: Arc::new(()), bytes: [0; 8] }).erase_sent();
        let _: Held<Fsync<EventFd>> = held.downcast();
    }

    /// Goal: the memory of an operation whose drop panics is free again. Method: Miri and valgrind
    /// would see a leak; the next operation gets the same block.
    #[test]
    fn a_panic_in_a_drop_frees_the_memory() {
        struct Panics;
        impl Operation for Panics {
            fn prepare(&mut self) -> Prepared<'_> {
                unreachable!("it is not prepared")
            }
        }
        impl Drop for Panics {
            fn drop(&mut self) {
                panic!("intended");
            }
        }
        let held = Held::new((Panics, 1_u64)).erase_sent();
        let place = (&raw const *held).cast::<u8>().addr();
        assert!(catch_unwind(AssertUnwindSafe(|| drop(held))).is_err());
        let next = Held::new(Sized { _alive: Arc::new(()), bytes: [0; 8] });
        assert_eq!((&raw const *next).addr(), place);
    }
}
