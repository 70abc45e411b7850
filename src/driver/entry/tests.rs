//! Operations of every size, alignment and drop, in their entries.

use super::{Held, KEPT, Orphan, ROOM};
use crate::{Operation, Prepared};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
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

/// Forgets the type of an operation.
fn orphan<O: Operation + Send + 'static>(held: Held<O>) -> Orphan {
    let entry = held.share();
    mem::forget(held);
    // SAFETY: It has no future, and is held by nobody any more.
    unsafe { entry.orphan() }
}

/// Goal: operations below, at and above the size of an entry come back whole, on any thread,
/// and are dropped once. Method: more than a thread keeps, all ended on another thread.
fn come_back<const N: usize>() {
    let alive = Arc::new(());
    let held: Vec<Held<Sized<N>>> = (0..3 * KEPT)
        .map(|at| Held::new(Sized { _alive: Arc::clone(&alive), bytes: [at as u8; N] }))
        .collect();
    let end = move |held: Vec<Held<Sized<N>>>| {
        for (at, held) in held.into_iter().enumerate() {
            match at % 3 {
                0 => drop(held),
                1 => drop(orphan(held)),
                _ => assert_eq!(held.into_inner().bytes, [at as u8; N]),
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
        let back = Held::from_box(boxed).into_box();
        assert_eq!((back.bytes, Arc::strong_count(&alive)), (bytes, 2));
        (&raw const *back).addr() == place
    }
    through::<8>();
    assert!(through::<{ ROOM + 1 }>());
    assert!(through::<4096>());
    through::<0>();
}

#[test]
fn operations_of_any_size_come_back() {
    come_back::<0>();
    come_back::<{ ROOM - 8 }>();
    come_back::<{ ROOM - 7 }>();
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
    let mut page = Held::new(Page([7; 4096]));
    assert_eq!((&raw const page.op_mut().0).addr() % 4096, 0);
    assert_eq!(page.into_inner().0, [7; 4096]);
    #[repr(align(64))]
    struct Far;
    impl Operation for Far {
        fn prepare(&mut self) -> Prepared<'_> {
            unreachable!("it is not prepared")
        }
    }
    let mut far = Held::new(Far);
    assert_eq!((&raw const *far.op_mut()).addr() % 64, 0);
    let _ = far.into_inner();
    drop(orphan(Held::new(Far)));
    let _ = Held::new(Nothing).into_inner();
    drop(orphan(Held::new(Nothing)));
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
    let drops: [fn(Held<Panics>); 2] = [drop, |held| drop(orphan(held))];
    for drops in drops {
        let mut held = Held::new(Panics);
        let place = (&raw const *held.op_mut()).addr();
        assert!(catch_unwind(AssertUnwindSafe(|| drops(held))).is_err());
        let mut next = Held::new(Sized { _alive: Arc::new(()), bytes: [0; 8] });
        assert_eq!((&raw const *next.op_mut()).addr(), place);
    }
}
