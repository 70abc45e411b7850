//! Completions used in place: looked at, changed, pushed again, moved out, dropped or forgotten.

use crate::common;

use common::{Watchdog, queue};
use linux_aio::op::Read;
use linux_aio::{Errno, Queue};
use std::fs::File;
use std::sync::Arc;

type Op = (Read<Arc<File>, Vec<u8>>, Arc<()>);

fn full_queue(capacity: u32, alive: &Arc<()>) -> Queue<Op> {
    let mut queue = queue(capacity);
    let file = Arc::new(File::open("/dev/zero").expect("/dev/zero"));
    for i in 0..capacity.into() {
        let read = Read::new(Arc::clone(&file), vec![1; 16], i);
        queue.push((read, Arc::clone(alive))).expect("a slot");
    }
    queue
}

/// Goal: an operation is pushed again without being moved, with another token and the change that
/// was made. Method: one operation goes round a hundred times; its address stays.
#[test]
fn an_operation_is_pushed_again_from_where_it_is() {
    let _watchdog = Watchdog::new();
    let alive = Arc::new(());
    let mut queue = full_queue(1, &alive);
    let (mut address, mut tokens) = (None, Vec::new());
    for round in 0..100 {
        let mut ready = queue.wait_ready().expect("a wait").expect("a completion");
        assert_eq!(ready.result(), Ok(16));
        let here = core::ptr::from_ref(ready.op());
        assert_eq!(*address.get_or_insert(here), here);
        assert_eq!(ready.op().0.offset, round);
        assert_eq!(ready.op().0.buf, [0; 16]);
        ready.op_mut().0.offset = round + 1;
        ready.op_mut().0.buf.fill(1);
        tokens.push(ready.token());
        let token = ready.push_again();
        assert!(!tokens.contains(&token));
    }
    assert_eq!((queue.queued(), queue.in_flight()), (1, 0));
    let done = queue.wait().expect("a wait").expect("a completion");
    assert_eq!(done.op.0.offset, 100);
    assert!(queue.wait_ready().expect("a wait").is_none());
}

/// Goal: dropping frees the slot and drops the operation once; taking gives it back with its token.
#[test]
fn a_ready_operation_is_dropped_or_taken() {
    let _watchdog = Watchdog::new();
    let alive = Arc::new(());
    let mut queue = full_queue(8, &alive);
    assert_eq!(queue.submit(), Ok(8));
    for left in (0..8).rev() {
        let ready = queue.ready().expect("a poll").expect("a completion");
        assert!(format!("{ready:?}").contains("Ready"));
        if left % 2 == 0 {
            drop(ready);
        } else {
            let token = ready.token();
            let done = ready.take();
            assert_eq!((done.token, done.result), (token, Ok(16)));
            assert_eq!(Arc::strong_count(&alive), 2 + left);
        }
        assert_eq!(Arc::strong_count(&alive), 1 + left);
    }
    assert!(queue.ready().expect("a poll").is_none());
    assert_eq!(queue.in_flight(), 0);
    drop(full_queue(8, &alive));
    assert_eq!(Arc::strong_count(&alive), 1);
}

/// Goal: a forgotten handle keeps its slot, and only that; the operation is dropped with the queue.
/// Method: forget two of four, and push until the queue is full.
#[test]
fn a_forgotten_handle_keeps_its_slot_until_the_queue_is_dropped() {
    let _watchdog = Watchdog::new();
    let alive = Arc::new(());
    let mut queue = full_queue(4, &alive);
    for _ in 0..2 {
        core::mem::forget(queue.wait_ready().expect("a wait").expect("a completion"));
    }
    for _ in 0..2 {
        drop(queue.wait_ready().expect("a wait").expect("a completion"));
    }
    assert!(queue.wait().expect("a wait").is_none());
    assert_eq!(Arc::strong_count(&alive), 1 + 2);
    let file = Arc::new(File::open("/dev/zero").expect("/dev/zero"));
    let read = || (Read::new(Arc::clone(&file), vec![1; 16], 0), Arc::clone(&alive));
    queue.push(read()).expect("the third slot");
    queue.push(read()).expect("the fourth slot");
    assert_eq!(queue.push(read()).unwrap_err().errno(), Errno::EAGAIN);
    let mut completed = 0;
    while let Some(done) = queue.wait().expect("a wait") {
        assert_eq!(done.result, Ok(16));
        completed += 1;
    }
    assert_eq!(completed, 2);
    drop(queue);
    assert_eq!(Arc::strong_count(&alive), 1);
}

/// Goal: a refused operation is ready too, with its error, and can be mended and pushed again.
#[test]
fn a_refused_operation_is_mended_in_place() {
    let _watchdog = Watchdog::new();
    let mut queue = queue(1);
    let null = Arc::new(File::options().write(true).open("/dev/null").expect("/dev/null"));
    queue.push(Read::new(null, vec![1; 16], 0)).expect("a slot");
    let mut ready = queue.wait_ready().expect("a wait").expect("a completion");
    assert_eq!(ready.result(), Err(Errno::EBADF));
    ready.op_mut().fd = Arc::new(File::open("/dev/zero").expect("/dev/zero"));
    ready.push_again();
    let done = queue.wait().expect("a wait").expect("a completion");
    assert_eq!((done.result, done.op.buf), (Ok(16), vec![0; 16]));
}
