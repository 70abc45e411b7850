//! Every event comes out once, whoever meets at the gate, and nobody touches a ring that is gone.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use loom::model::Builder;
use loom::thread;

use crate::ring::{CONTEXT, Memory};
use loom::sync::atomic::AtomicUsize;
use loom::sync::atomic::Ordering::Relaxed;

/// All interleavings with at most so many changes of threads that did not have to be.
fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

fn start(
    memory: &Arc<Memory>,
    f: impl FnOnce(&Memory) -> Vec<u64> + 'static,
) -> thread::JoinHandle<Vec<u64>> {
    let memory = Arc::clone(memory);
    thread::spawn(move || f(&memory))
}

/// What was taken and what is left are those events, each once.
fn check(memory: &Memory, taken: impl IntoIterator<Item = Vec<u64>>, all: &[u64]) {
    let mut seen: Vec<u64> = taken.into_iter().flatten().collect();
    seen.extend(memory.rest());
    seen.sort_unstable();
    assert_eq!(seen, all);
}

#[test]
fn two_readers() {
    explore(3, || {
        let memory = Memory::new(2, &[1, 2]);
        let other = start(&memory, |memory| memory.getevents(2));
        let own = memory.getevents(1);
        check(&memory, [own, other.join().unwrap()], &[1, 2]);
    });
}

#[test]
fn a_reader_and_a_caller() {
    explore(4, || {
        let memory = Memory::new(2, &[1, 2]);
        let other = start(&memory, |memory| memory.getevents_by_call(1));
        let own = memory.getevents(2);
        check(&memory, [own, other.join().unwrap()], &[1, 2]);
    });
}

#[test]
fn two_readers_and_a_caller() {
    explore(2, || {
        let memory = Memory::new(0, &[1, 2]);
        let others = [
            start(&memory, |memory| memory.getevents_by_call(1)),
            start(&memory, |memory| memory.getevents(1)),
        ];
        let own = memory.getevents(2);
        let others = others.map(|other| other.join().unwrap());
        check(&memory, [vec![own], others.into()].concat(), &[1, 2]);
    });
}

/// The kernel writes where a robbed reader may still copy; the ring and the tags come back to where
/// they were.
#[test]
fn the_ring_goes_round_under_a_reader() {
    explore(3, || {
        let memory = Memory::new(0, &[1]);
        let other = start(&memory, |memory| {
            let mut taken = Vec::new();
            for event in 2..=5 {
                taken.extend(memory.getevents(1));
                if memory.free() > 0 {
                    memory.complete(event);
                } else {
                    taken.push(event);
                }
            }
            taken
        });
        let own = memory.getevents(1);
        check(&memory, [own, other.join().unwrap()], &[1, 2, 3, 4, 5]);
    });
}

/// A handler takes events while its own thread copies them, and another thread is there too.
#[test]
fn a_handler_reads_within_a_reader() {
    for by_call in [false, true] {
        explore(3, move || {
            let memory = Memory::new(1, &[1, 2]);
            let other = start(&memory, |memory| memory.getevents(1));
            let mut handled = Vec::new();
            let own = memory.getevents_interrupted(2, || {
                handled = if by_call { memory.getevents_by_call(1) } else { memory.getevents(1) };
            });
            check(&memory, [own, handled, other.join().unwrap()], &[1, 2]);
        });
    }
}

/// A thread jumps out of the copy and never comes back: nothing is lost, and nothing stands still.
#[test]
fn a_reader_jumps_out() {
    explore(3, || {
        let memory = Memory::new(0, &[1, 2]);
        let other = start(&memory, |memory| {
            let jump = AssertUnwindSafe(|| {
                memory.getevents_interrupted(2, || resume_unwind(Box::new(())))
            });
            catch_unwind(jump).unwrap_or_default()
        });
        let own = memory.getevents(1);
        let other = other.join().unwrap();
        check(&memory, [own, other, memory.getevents(1)], &[1, 2]);
    });
}

/// A thread jumps out of the system call: from then on every call is one.
#[test]
fn a_caller_jumps_out() {
    explore(3, || {
        let memory = Memory::new(0, &[1, 2]);
        let other = start(&memory, |memory| {
            memory.enter_call_and_stay();
            memory.system_call(1).unwrap()
        });
        let own = memory.getevents(1);
        check(&memory, [own, other.join().unwrap()], &[1, 2]);
    });
}

/// Nobody touches the ring once it is unmapped. Loom sees to it: see `Memory::mapping`.
#[test]
fn a_context_ends_under_a_reader_and_a_caller() {
    for by_call in [false, true] {
        explore(3, move || {
            let memory = Memory::new(0, &[1]);
            let other = start(&memory, move |memory| {
                if by_call { memory.getevents_by_call(1) } else { memory.getevents(1) }
            });
            memory.destroy(None);
            assert!(other.join().unwrap().len() <= 1);
        });
    }
}

#[test]
fn a_context_ends_under_both() {
    explore(2, || {
        let memory = Memory::new(0, &[1]);
        let others = [
            start(&memory, |memory| memory.getevents_by_call(1)),
            start(&memory, |memory| memory.getevents(1)),
        ];
        memory.destroy(None);
        let taken = others.map(|other| other.join().unwrap());
        assert!(taken.concat().len() <= 1);
    });
}

/// The address of a context that ended is that of a new one: events of either come once at most,
/// and those of the new one are not lost.
#[test]
fn a_context_comes_back_at_the_same_address() {
    explore(3, || {
        let memory = Memory::new(1, &[1]);
        let other = start(&memory, |memory| memory.getevents(1));
        let done = memory.destroy(Some(2));
        let own = memory.getevents(1);
        let other = other.join().unwrap();
        if !done {
            return;
        }
        let mut seen = [own, other, memory.rest()].concat();
        seen.sort_unstable();
        assert!(seen == [2] || seen == [1, 2], "{seen:?}");
    });
}

/// `io_setup` returns, and its thread tells the others of the context in a way that orders nothing.
#[test]
fn a_context_begins_under_a_reader_and_a_caller() {
    explore(3, || {
        let memory = Memory::new_closed(0, &[1, 2]);
        let told = Arc::new(AtomicUsize::new(0));
        let start_when_told = |by_call: bool| {
            let told = Arc::clone(&told);
            start(&memory, move |memory| match (told.load(Relaxed), by_call) {
                (0, _) => Vec::new(),
                (_, false) => memory.getevents(2),
                (_, true) => memory.getevents_by_call(2),
            })
        };
        let others = [start_when_told(false), start_when_told(true)];
        memory.gate.open(CONTEXT);
        told.store(CONTEXT, Relaxed);
        let others = others.map(|other| other.join().unwrap());
        check(&memory, others, &[1, 2]);
    });
}
