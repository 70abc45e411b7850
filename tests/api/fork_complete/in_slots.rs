//! What queues and scopes answer in a forked child.

use super::checks::{Check, FORKED, queue, silently};
use super::common;
use super::world::{Op, World, poll, read, told};
use core::time::Duration;
use linux_aio::op::Callback;
use linux_aio::{Errno, Queue, Scope, ScopeError, Slot};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

pub(crate) const QUEUE: &[(&str, Check)] = &[
    ("Queue::with_capacity", |world| {
        let mut own = Queue::with_capacity(2).expect("a queue of the child's");
        own.push(read(&world.file)).expect("a slot");
        assert_eq!(own.wait().expect("a wait").expect("a completion").result, Ok(8));
    }),
    ("Queue::new", |world| {
        for context in [world.context.take(), world.idle.take()] {
            let refused = Queue::<Op>::new(context.expect("it"), 2).expect_err("a queue");
            assert_eq!(refused.errno(), FORKED);
        }
        let mut own = Queue::new(common::context(2), 2).expect("a queue of the child's");
        own.push(read(&world.file)).expect("a slot");
        assert_eq!(own.wait().expect("a wait").expect("a completion").result, Ok(8));
    }),
    ("Queue::push", |world| {
        let op = read(&world.file);
        let queue = queue(world);
        queue.push(op).expect("a slot");
        assert_eq!((queue.queued(), queue.submit().map_err(Errno::from)), (2, Err(FORKED)));
    }),
    ("Queue::submit", |world| {
        let before = queue(world).stats();
        assert_eq!(queue(world).submit().map_err(Errno::from), Err(FORKED));
        assert_eq!(queue(world).stats(), before);
        // There is nothing to be refused where nothing is queued.
        let callbacks = world.callbacks.as_mut().expect("it");
        assert_eq!(callbacks.submit(), Ok(0));
    }),
    ("Queue::try_next", |world| {
        assert_eq!(queue(world).try_next().map_err(Errno::from).err(), Some(FORKED));
    }),
    ("Queue::ready", |world| {
        assert_eq!(queue(world).ready().map(drop).map_err(Errno::from), Err(FORKED));
    }),
    ("Queue::wait", |world| {
        assert_eq!(queue(world).wait().map_err(Errno::from).err(), Some(FORKED));
        let callbacks = world.callbacks.as_mut().expect("it");
        assert_eq!(callbacks.wait().map_err(Errno::from).err(), Some(FORKED));
    }),
    ("Queue::completion_fd", |world| {
        assert_eq!(queue(world).completion_fd().err(), Some(FORKED));
    }),
    ("Queue::next_timeout", |world| {
        let waited = queue(world).next_timeout(Duration::MAX).map_err(Errno::from);
        assert_eq!(waited.err(), Some(FORKED));
    }),
    ("Queue::wait_timeout", |world| {
        for timeout in [Duration::ZERO, Duration::MAX] {
            assert_eq!(queue(world).wait_timeout(timeout).map_err(Errno::from).err(), Some(FORKED));
        }
    }),
    ("Queue::wait_ready", |world| {
        assert_eq!(queue(world).wait_ready().map_err(Errno::from).err(), Some(FORKED))
    }),
    ("Queue::for_each", |world| {
        assert_eq!(
            queue(world).for_each(|_, _| panic!("a completion")).map_err(Errno::from),
            Err(FORKED)
        );
    }),
    ("Queue::cancel", |world| {
        for token in [world.in_queue.poll, world.in_queue.queued] {
            assert_eq!(queue(world).cancel(token), Err(FORKED));
        }
    }),
    ("Queue::in_flight", |world| assert_eq!(queue(world).in_flight(), 2)),
    ("Queue::is_full", |world| assert!(!queue(world).is_full())),
    ("Queue::queued", |world| assert_eq!(queue(world).queued(), 1)),
    ("Queue::capacity", |world| assert_eq!(queue(world).capacity(), 8)),
    ("Queue::stats", |world| assert_eq!(queue(world).stats(), world.in_queue.stats)),
    ("Queue: Debug", |world| assert!(format!("{:?}", world.queue).contains("queued: 1"))),
    ("Queue: Drop", |world| silently(|| drop((world.queue.take(), world.callbacks.take())))),
    ("op::Queue::run", |world| {
        let callbacks = world.callbacks.as_mut().expect("it");
        assert_eq!(callbacks.run().map_err(Errno::from), Err(FORKED));
        let then = |_: &mut Queue<_>, _| panic!("called");
        callbacks.push(Callback::new(read(&world.file), (), then)).expect("a slot");
        assert_eq!(callbacks.run().map_err(Errno::from), Err(FORKED));
    }),
    ("op::Queue::dispatch", |world| {
        let dispatched = world.callbacks.as_mut().expect("it").dispatch();
        assert_eq!(dispatched.map_err(Errno::from), Err(FORKED));
    }),
    ("Ready::token", |world| {
        let ready = world.ready.as_ref().expect("it");
        assert_eq!(ready.token(), ready.token());
    }),
    ("Ready::result", |world| assert_eq!(world.ready.as_ref().expect("it").result(), Ok(8))),
    ("Ready::op", |world| {
        assert!(format!("{:?}", world.ready.as_ref().expect("it").op()).contains("Read"));
    }),
    ("Ready::op_mut", |world| {
        let op = read(&world.file);
        *world.ready.as_mut().expect("it").op_mut() = op;
    }),
    ("Ready::push_again", |world| {
        // What has ended before the fork is the child's own; the queue is the parent's.
        let ready = world.ready.take().expect("it");
        let old = ready.token();
        assert_ne!(ready.push_again(), old);
    }),
    ("Ready::take", |world| {
        let done = world.ready.take().expect("it").take();
        assert_eq!(done.result, Ok(8));
    }),
    ("Ready: Drop", |world| {
        let before = told();
        drop(world.ready.take());
        assert_eq!(told(), before + 1);
    }),
    ("Ready: Debug", |world| assert!(format!("{:?}", world.ready).contains("Ok(8)"))),
];

// ---- Scope ----

/// Leaves a scope in a child of this process, by return or by panic.
fn leaves_in_a_child(world: &World<'_>, panics: bool) {
    let mut context = common::context(4);
    let (mut is_the_child, mut ended) = (false, None);
    let leave = || {
        let slots = &mut [const { Slot::new() }; 4];
        linux_aio::scope(&mut context, slots, |io: &Scope<Op>| {
            io.push(poll(&world.pipe)).expect("a slot");
            io.push(read(&world.file)).expect("a slot");
            assert_eq!(io.submit(), Ok(2));
            io.push(read(&world.file)).expect("a slot");
            // SAFETY: The child has this one thread and leaves by `_exit` below.
            let pid = unsafe { libc::fork() };
            if pid > 0 {
                ended = Some(common::child::wait_for(pid));
                return;
            }
            // SAFETY: Sets a timer of the child.
            unsafe { libc::alarm(40) };
            is_the_child = true;
            assert!(!panics, "leaving by panic");
        })
    };
    let before = told();
    set_hook(Box::new(|_| {}));
    let _ = catch_unwind(AssertUnwindSafe(leave));
    if is_the_child {
        let code = i32::from(told() != before);
        // SAFETY: Ends the child.
        unsafe { libc::_exit(code) };
    }
    drop(take_hook());
    assert_eq!(ended, Some(common::child::Ended::WELL), "panics: {panics}");
}

pub(crate) const SCOPE: &[(&str, Check)] = &[
    ("scope", |world| {
        for context in [&mut world.context, &mut world.idle] {
            let context = context.as_mut().expect("it");
            let slots = &mut [const { Slot::new() }; 1];
            let entered = linux_aio::scope(context, slots, |_: &Scope<Op>| ());
            assert_eq!(entered, Err(ScopeError::Forked));
        }
        let mut own = common::context(1);
        let done = linux_aio::scope(&mut own, &mut [const { Slot::new() }; 1], |io| {
            io.push(read(&world.file)).expect("a slot");
            io.wait().expect("a wait").expect("a completion").result
        });
        assert_eq!(done, Ok(Ok(8)));
    }),
    ("Scope: Drop", |world| {
        leaves_in_a_child(world, false);
        leaves_in_a_child(world, true);
    }),
    ("Scope::push", |world| {
        for _ in 0..5 {
            world.scope.push(read(&world.file)).expect("a slot");
        }
        let full = world.scope.push(read(&world.file));
        assert_eq!(full.map(drop).expect_err("no slot").errno(), Errno::EAGAIN);
    }),
    ("Scope::submit", |world| assert_eq!(world.scope.submit().map_err(Errno::from), Err(FORKED))),
    ("Scope::try_next", |world| {
        assert_eq!(world.scope.try_next().map_err(Errno::from).err(), Some(FORKED));
    }),
    ("Scope::wait", |world| {
        assert_eq!(world.scope.wait().map_err(Errno::from).err(), Some(FORKED))
    }),
    ("Scope::completion_fd", |world| {
        assert_eq!(world.scope.completion_fd().err(), Some(FORKED));
    }),
    ("Scope::next_timeout", |world| {
        let waited = world.scope.next_timeout(Duration::MAX).map_err(Errno::from);
        assert_eq!(waited.err(), Some(FORKED));
    }),
    ("Scope::wait_timeout", |world| {
        for timeout in [Duration::ZERO, Duration::MAX] {
            assert_eq!(world.scope.wait_timeout(timeout).map_err(Errno::from).err(), Some(FORKED));
        }
    }),
    ("Scope::cancel", |world| {
        for token in [world.in_scope.poll, world.in_scope.queued] {
            assert_eq!(world.scope.cancel(token), Err(FORKED));
        }
    }),
    ("Scope::in_flight", |world| assert_eq!(world.scope.in_flight(), 2)),
    ("Scope::is_full", |world| assert!(!world.scope.is_full())),
    ("Scope::queued", |world| assert_eq!(world.scope.queued(), 1)),
    ("Scope::capacity", |world| assert_eq!(world.scope.capacity(), 8)),
    ("Scope::stats", |world| assert_eq!(world.scope.stats(), world.in_scope.stats)),
    ("Scope: Debug", |world| assert!(format!("{:?}", world.scope).contains("queued: 1"))),
];
