//! What a queue owns lives until the kernel is finished with it, however the queue goes: dropped or
//! forgotten, with thousands in flight, with operations that nobody submitted or nobody took.

use crate::common;

use common::files::pipe;
use common::held::{BYTE, HeldFile};
use common::{Watchdog, queue, skip};
use core::mem;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;
use linux_aio::op::{Any, Poll, Read};
use linux_aio::{EventFd, PollEvents, Queue};
use std::fs::File;
use std::sync::Arc;
use std::thread;

/// A buffer that counts itself when it is dropped.
struct Counted {
    bytes: Vec<u8>,
    drops: Arc<AtomicUsize>,
}

impl Counted {
    fn new(len: usize, drops: &Arc<AtomicUsize>) -> Self {
        Self { bytes: vec![1; len], drops: Arc::clone(drops) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::Relaxed);
    }
}

impl AsMut<[u8]> for Counted {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

type Mixed = (Any<Arc<File>, Counted>, Arc<()>);

/// A queue with `polls` POLLs that never end by themselves and as many reads, all submitted.
fn busy_queue(polls: u32, drops: &Arc<AtomicUsize>, alive: &Arc<()>) -> Queue<Mixed> {
    let mut queue = queue(2 * polls);
    let zero = Arc::new(File::open("/dev/zero").expect("/dev/zero"));
    // It is never written to; without its writer it would have hung up.
    let silent = pipe(libc::O_NONBLOCK);
    let reader = Arc::new(silent.reader);
    mem::forget(silent.writer);
    for _ in 0..polls {
        let poll = Poll::new(Arc::clone(&reader), PollEvents::IN);
        queue.push((poll.into(), Arc::clone(alive))).expect("a slot");
        let read = Read::new(Arc::clone(&zero), Counted::new(64, drops), 0);
        queue.push((read.into(), Arc::clone(alive))).expect("a slot");
    }
    let mut accepted = 0;
    while queue.queued() > 0 {
        accepted += queue.submit().expect("room for what was asked for");
    }
    assert_eq!(accepted, 2 * polls as usize);
    queue
}

/// Goal: dropping ends every POLL, waits for the rest and drops each operation once. Method:
/// thousands in flight, some completions taken, some known and not taken, most not looked at.
#[test]
fn dropping_with_thousands_in_flight_drops_each_operation_once() {
    let _watchdog = Watchdog::new();
    let (drops, alive) = (Arc::new(AtomicUsize::new(0)), Arc::new(()));
    let mut queue = busy_queue(2_000, &drops, &alive);
    for taken in 0..100 {
        assert_eq!(drops.load(Ordering::Relaxed), taken);
        let done = queue.wait().expect("a wait").expect("a completion");
        assert_eq!(done.result, Ok(64));
    }
    assert_eq!(Arc::strong_count(&alive), 1 + 3_900);
    drop(queue);
    assert_eq!(drops.load(Ordering::Relaxed), 2_000);
    assert_eq!(Arc::strong_count(&alive), 1);
}

/// Goal: forgetting a queue is sound: what it owns stays. Method: as above, and no operation is
/// dropped; another queue works beside it.
#[test]
fn forgetting_with_thousands_in_flight_drops_nothing() {
    let _watchdog = Watchdog::new();
    let (drops, alive) = (Arc::new(AtomicUsize::new(0)), Arc::new(()));
    mem::forget(busy_queue(2_000, &drops, &alive));
    let again = busy_queue(10, &drops, &alive);
    drop(again);
    assert_eq!(drops.load(Ordering::Relaxed), 10);
    assert_eq!(Arc::strong_count(&alive), 1 + 4_000);
}

/// Goal: operations that were pushed and never submitted, and completions that were never taken,
/// are dropped once, with the queue. Method: some of each, and of refused operations.
#[test]
fn dropping_drops_what_was_not_submitted_refused_or_not_taken() {
    let _watchdog = Watchdog::new();
    let drops = Arc::new(AtomicUsize::new(0));
    let mut queue = queue(32);
    let zero = Arc::new(File::open("/dev/zero").expect("/dev/zero"));
    let write_only = Arc::new(File::options().write(true).open("/dev/null").expect("/dev/null"));
    for file in [&zero, &write_only] {
        for _ in 0..8 {
            let read = Read::new(Arc::clone(file), Counted::new(64, &drops), 0);
            queue.push(read).expect("a slot");
        }
    }
    assert_eq!(queue.submit(), Ok(8));
    for _ in 0..8 {
        let read = Read::new(Arc::clone(&zero), Counted::new(64, &drops), 0);
        queue.push(read).expect("a slot");
    }
    assert_eq!((queue.in_flight(), queue.queued()), (8, 8));
    assert_eq!(drops.load(Ordering::Relaxed), 0);
    drop(queue);
    assert_eq!(drops.load(Ordering::Relaxed), 24);
    assert_eq!((Arc::strong_count(&zero), Arc::strong_count(&write_only)), (1, 1));
}

/// A buffer that, when it is dropped, says whether the kernel had been let go and had filled it.
struct Witness {
    bytes: Vec<u8>,
    released: Arc<AtomicBool>,
    early: Arc<AtomicUsize>,
}

impl AsMut<[u8]> for Witness {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let filled = self.bytes.iter().all(|&byte| byte == BYTE);
        if !filled || !self.released.load(Ordering::SeqCst) {
            self.early.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Goal: dropping never gives a buffer back before the kernel is finished with it. Method: reads
/// that are held in flight; another thread releases them when the drop has begun; each buffer
/// looks, when it is dropped, whether that had happened and the bytes were there.
#[test]
fn dropping_waits_for_reads_in_flight_before_it_frees_their_buffers() {
    let _watchdog = Watchdog::new();
    let mut held = match HeldFile::new() {
        Ok(held) => held,
        Err(reason) => skip!("{reason}"),
    };
    let file = Arc::new(held.file().try_clone().expect("a descriptor"));
    let (released, early) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut queue = queue(32);
    for at in 0..32 {
        let (released, early) = (Arc::clone(&released), Arc::clone(&early));
        let buf = Witness { bytes: vec![0; 4096], released, early };
        queue.push(Read::new(Arc::clone(&file), buf, at * 4096)).expect("a slot");
    }
    assert_eq!(queue.submit(), Ok(32));
    held.wait_for_arrival(32);
    let hold = held.take_hold();
    let letting_go = thread::spawn({
        let released = Arc::clone(&released);
        move || {
            // Gives a drop that does not wait the time to show.
            thread::sleep(Duration::from_millis(100));
            released.store(true, Ordering::SeqCst);
            drop(hold);
        }
    });
    drop(queue);
    assert_eq!(early.load(Ordering::SeqCst), 0);
    letting_go.join().expect("the releasing thread");
}

/// Goal: a forgotten queue's buffers stay the kernel's. Method: forget it with held reads in
/// flight, release them, and see the bytes arrive in the leaked buffers.
#[test]
fn a_forgotten_queue_keeps_the_buffers_that_the_kernel_writes() {
    let _watchdog = Watchdog::new();
    let mut held = match HeldFile::new() {
        Ok(held) => held,
        Err(reason) => skip!("{reason}"),
    };
    let file = Arc::new(held.file().try_clone().expect("a descriptor"));
    let mut queue = queue(8);
    let mut starts = Vec::new();
    for at in 0..8 {
        let mut buf = vec![0u8; 4096];
        starts.push(buf.as_mut_ptr());
        queue.push(Read::new(Arc::clone(&file), buf, at * 4096)).expect("a slot");
    }
    assert_eq!(queue.submit(), Ok(8));
    held.wait_for_arrival(8);
    mem::forget(queue);
    held.release();
    for start in starts {
        // SAFETY: In bounds of the buffer, which was leaked with its queue.
        let last = unsafe { start.add(4095) };
        // SAFETY: The buffer is there, and only the kernel writes it.
        while unsafe { last.read_volatile() } != BYTE {
            thread::yield_now();
        }
    }
}

/// Goal: the file stays open while an operation waits to be submitted, so that no other file can
/// have its number. Method: the queue holds the last `Arc`; the number is still this file's when
/// the operation is submitted, and free after the completion is dropped.
#[test]
fn the_descriptor_stays_open_until_the_completion_is_dropped() {
    let _watchdog = Watchdog::new();
    let mut queue = queue(1);
    let counter = Arc::new(EventFd::new().expect("a counter"));
    counter.add(1).expect("room in the counter");
    let weak = Arc::downgrade(&counter);
    queue.push(Poll::new(counter, PollEvents::IN)).expect("a slot");
    assert_eq!(weak.strong_count(), 1);
    let done = queue.wait().expect("a wait").expect("a completion");
    assert_eq!(done.result, Ok(PollEvents::IN.bits()));
    assert_eq!(weak.strong_count(), 1);
    drop(done);
    assert_eq!(weak.strong_count(), 0);
}
