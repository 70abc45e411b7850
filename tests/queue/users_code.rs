//! Where queues and scopes run users' code: it may come back in, and a panic is the caller's,
//! whatever its payload does. For what panics leave behind, see `queue::panics`, `queue::callbacks`
//! and `scope::leaving`. `ARCHITECTURE.md` lists the places.

use crate::common;

use common::panics::{PAYLOADS, Payload, panics};
use common::{Watchdog, context, queue};
use core::cell::{Cell, RefCell};
use core::panic::AssertUnwindSafe;
use core::{mem, ptr};
use linux_aio::op::{Callback, Read};
use linux_aio::{Completion, Operation, Prepared, Queue, Scope, Slot, Token};
use std::fs::File;
use std::panic::{catch_unwind, resume_unwind};
use std::sync::Arc;

fn zero() -> Arc<File> {
    Arc::new(File::open("/dev/zero").expect("/dev/zero"))
}

// ---- coming back in ----

type ZeroRead = Read<Arc<File>, [u8; 16]>;

type Hook = fn(&Scope<Reentrant>, u32);

/// An operation whose `prepare` and drop may come back into its scope.
struct Reentrant {
    read: ZeroRead,
    number: u32,
    on_prepare: Hook,
    on_drop: Hook,
}

thread_local! {
    /// The scope that this thread is in.
    static SCOPE: Cell<*const Scope<Reentrant>> = const { Cell::new(ptr::null()) };
    /// The numbers of the operations that have been dropped.
    static DROPPED: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

impl Reentrant {
    fn new(number: u32, on_prepare: Hook, on_drop: Hook) -> Self {
        Self { read: Read::new(zero(), [1; 16], 0), number, on_prepare, on_drop }
    }

    fn come_back(&self, hook: Hook) {
        // SAFETY: It is null, or the scope of `in_scope`, in whose body this runs.
        if let Some(scope) = unsafe { SCOPE.get().as_ref() } {
            hook(scope, self.number);
        }
    }
}

impl Operation for Reentrant {
    fn prepare(&mut self) -> Prepared<'_> {
        self.come_back(self.on_prepare);
        self.read.prepare()
    }
}

impl Drop for Reentrant {
    fn drop(&mut self) {
        DROPPED.with_borrow_mut(|dropped| dropped.push(self.number));
        self.come_back(self.on_drop);
    }
}

fn nothing(_: &Scope<Reentrant>, _: u32) {}

fn push(scope: &Scope<Reentrant>, op: Reentrant) -> Token {
    scope.push(op).map_err(|refused| refused.errno()).expect("a slot")
}

/// Runs `body` in a scope with that many slots, then takes every completion. Returns the numbers of
/// the operations that were dropped until the scope has been left, sorted.
fn in_scope(slots: u32, body: impl FnOnce(&Scope<Reentrant>)) -> Vec<u32> {
    let mut context = context(slots);
    let mut slots: Vec<_> = (0..slots).map(|_| Slot::new()).collect();
    DROPPED.take();
    let scoped = linux_aio::scope(&mut context, &mut slots, |scope| {
        SCOPE.set(scope);
        body(scope);
        while let Some(done) = scope.wait().expect("a wait") {
            assert_eq!((done.result, done.op.read.buf), (Ok(16), [0; 16]));
        }
        SCOPE.set(ptr::null());
        assert_eq!((scope.in_flight(), scope.queued()), (0, 0));
        assert_eq!(scope.stats().stray_events, 0);
    });
    scoped.expect("a scope");
    assert_eq!(context.in_flight(), 0);
    let mut dropped = DROPPED.take();
    dropped.sort_unstable();
    dropped
}

/// Goal: `prepare` may come back into its scope by every method. Method: each operation pushes one
/// more there, down to a depth, submits or takes a completion, and pushes and cancels another.
#[test]
fn prepare_may_come_back_into_its_scope() {
    fn deeper(scope: &Scope<Reentrant>, number: u32) {
        if number % 10 == 0 {
            return;
        }
        push(scope, Reentrant::new(number - 1, deeper, nothing));
        match number % 3 {
            0 => drop(scope.submit().expect("a submit")),
            1 => drop(scope.try_next().expect("a poll")),
            _ => drop(scope.wait().expect("a wait").expect("a completion")),
        }
        let token = push(scope, Reentrant::new(100 + number, nothing, nothing));
        assert_eq!(scope.cancel(token), Ok(()));
        while !scope.try_next().expect("a poll").is_some_and(|done| done.token == token) {}
    }
    let _watchdog = Watchdog::new();
    let dropped = in_scope(64, |scope| {
        for tens in 1..=3 {
            push(scope, Reentrant::new(10 * tens + 9, deeper, nothing));
        }
    });
    let cancelled = (10..40).filter(|number| number % 10 > 0).map(|number| 100 + number);
    assert_eq!(dropped, (10..40).chain(cancelled).collect::<Vec<_>>());
}

/// Goal: the drop of an operation whose `prepare` has panicked may come back into the scope.
/// Method: it pushes another, takes what has completed, and finds its own slot still in use.
#[test]
fn a_drop_after_a_panic_in_prepare_may_come_back_into_the_scope() {
    fn explode(_: &Scope<Reentrant>, _: u32) {
        resume_unwind(Box::new("in prepare"));
    }
    fn replace(scope: &Scope<Reentrant>, number: u32) {
        push(scope, Reentrant::new(number + 10, nothing, nothing));
        assert!(scope.push(Reentrant::new(number + 20, nothing, nothing)).is_err());
        drop(scope.wait().expect("a wait").expect("a completion"));
    }
    let _watchdog = Watchdog::new();
    let dropped = in_scope(3, |scope| {
        push(scope, Reentrant::new(0, nothing, nothing));
        for number in 1..=3 {
            assert!(panics(|| push(scope, Reentrant::new(number, explode, replace))));
        }
        push(scope, Reentrant::new(4, nothing, nothing));
        push(scope, Reentrant::new(5, nothing, nothing));
    });
    assert_eq!(dropped, [0, 1, 2, 3, 4, 5, 11, 12, 13, 21, 22, 23]);
}

/// Goal: where `prepare` takes the last place among what waits for a submit, the push panics, and
/// no other operation is lost. Method: 63 are queued; the 64th pushes another in its `prepare`.
#[test]
fn a_prepare_that_takes_the_last_place_panics_its_push() {
    fn take_last(scope: &Scope<Reentrant>, number: u32) {
        push(scope, Reentrant::new(number + 1, nothing, nothing));
    }
    let _watchdog = Watchdog::new();
    let dropped = in_scope(66, |scope| {
        for number in 0..63 {
            push(scope, Reentrant::new(number, nothing, nothing));
        }
        let last = AssertUnwindSafe(|| push(scope, Reentrant::new(63, take_last, nothing)));
        let payload = catch_unwind(last).expect_err("no place is left");
        let text = payload.downcast_ref::<&str>().expect("a text");
        assert!(text.contains("more operations are queued"), "{text}");
        assert_eq!(scope.queued(), 64);
    });
    assert_eq!(dropped, (0..=64).collect::<Vec<_>>());
}

type Called = Callback<ZeroRead, u32>;

type Then = fn(&mut Queue<Called>, Completion<Called>);

fn called(value: u32, then: Then) -> Called {
    Callback::new(Read::new(zero(), [1; 16], 0), value, then)
}

thread_local! {
    /// The values of the callbacks that have run.
    static CALLED: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

fn note(_: &mut Queue<Called>, done: Completion<Called>) {
    assert_eq!((done.result, done.op.op.buf), (Ok(16), [0; 16]));
    CALLED.with_borrow_mut(|called| called.push(done.op.value));
}

fn callbacks(ops: impl IntoIterator<Item = Called>) -> Vec<u32> {
    let mut queue = queue(8);
    for op in ops {
        assert!(queue.push(op).is_ok());
    }
    CALLED.take();
    queue.run().expect("a run");
    assert_eq!((queue.queued(), queue.in_flight()), (0, 0));
    let mut called = CALLED.take();
    called.sort_unstable();
    called
}

/// Goal: a callback may run the queue itself, and may put another queue in its place: each
/// operation of both is called once. Method: both, among operations that only take note.
#[test]
fn a_callback_may_run_and_replace_its_queue() {
    fn run(queue: &mut Queue<Called>, done: Completion<Called>) {
        note(queue, done);
        queue.run().expect("a run");
        assert_eq!((queue.queued(), queue.in_flight()), (0, 0));
    }
    fn replace(queue: &mut Queue<Called>, done: Completion<Called>) {
        let mut old = mem::replace(queue, common::queue(2));
        assert!(queue.push(called(done.op.value + 10, note)).is_ok());
        note(queue, done);
        old.run().expect("a run");
    }
    let _watchdog = Watchdog::new();
    for (hostile, replaces) in [(run as Then, false), (replace, true)] {
        for at in 0..4 {
            let then = |value| if value == at { hostile } else { note };
            let values = callbacks((0..4).map(|value| called(value, then(value))));
            let new = replaces.then_some(at + 10);
            assert_eq!(values, (0..4).chain(new).collect::<Vec<_>>());
        }
    }
}

// ---- panics ----

/// Goal: a panic is the caller's, with its payload, whatever that does when it is dropped. Method:
/// in `prepare` in a queue and a scope, in `for_each`, in a callback, and in the body of a scope.
#[test]
fn a_panic_is_the_callers_with_its_payload() {
    struct Thrower(Payload);
    impl Operation for Thrower {
        fn prepare(&mut self) -> Prepared<'_> {
            self.0.throw()
        }
    }
    fn ready() -> Queue<Called> {
        let mut queue = queue(1);
        assert!(queue.push(called(0, note)).is_ok());
        queue
    }
    let _watchdog = Watchdog::new();
    let ways: [&dyn Fn(Payload); 5] = [
        &|payload| drop(queue(1).push(Thrower(payload))),
        &|payload| {
            let mut slots = [Slot::new()];
            let scoped =
                linux_aio::scope(&mut context(1), &mut slots, |io| drop(io.push(Thrower(payload))));
            scoped.expect("a scope");
        },
        &|payload| ready().for_each(|_, _| payload.throw()).expect("a run"),
        &|payload| {
            let mut queue = queue(1);
            let op = Callback::new(Read::new(zero(), [1; 16], 0), payload, |_, done| {
                let payload: Payload = done.op.value;
                payload.throw()
            });
            assert!(queue.push(op).is_ok());
            queue.run().expect("a run");
        },
        &|payload| {
            let body = |io: &Scope<ZeroRead>| {
                io.push(Read::new(zero(), [1; 16], 0)).expect("a slot");
                io.submit().expect("a submit");
                payload.throw()
            };
            linux_aio::scope(&mut context(1), &mut [Slot::new()], body).expect("a scope");
        },
    ];
    for payload in PAYLOADS {
        for way in ways {
            let thrown = catch_unwind(AssertUnwindSafe(|| way(payload)));
            assert!(payload.is(thrown.expect_err("it panics")));
        }
    }
}
