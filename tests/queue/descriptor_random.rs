//! Waiting for a queue by its descriptor, with random operations and random steps: each operation
//! completes once, woken for, and the loop is not woken for nothing.

use crate::common;

use common::descriptor::{Loop, Trigger, is_readable};
use common::files::{Pipe, file_with, pipe};
use common::{Watchdog, context, holds, say_count};
use core::time::Duration;
use linux_aio::op::{Any, Fdsync, Poll, Read};
use linux_aio::{Completion, Errno, PollEvents, Queue, Token};
use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;
use std::thread;

type Op = Any<Arc<File>, Vec<u8>>;

/// What an operation is, which says how it may complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Ends inside of `io_submit`.
    Read,
    Short,
    Refused,
    /// Ends in a thread of the kernel's.
    Sync,
    /// Ends inside of `io_submit`.
    Ready,
    /// Ends if it is cancelled.
    Silent,
}

const KINDS: [Kind; 6] =
    [Kind::Read, Kind::Short, Kind::Refused, Kind::Sync, Kind::Ready, Kind::Silent];

/// The files of all operations.
struct Files {
    zero: Arc<File>,
    null: Arc<File>,
    small: Arc<File>,
    ready: Arc<File>,
    silent: Arc<File>,
}

impl Files {
    fn operation(&self, kind: Kind) -> Op {
        let read = |file: &Arc<File>| Read::new(Arc::clone(file), vec![1; 16], 0).into();
        let poll = |file: &Arc<File>| Poll::new(Arc::clone(file), PollEvents::IN).into();
        match kind {
            Kind::Read => read(&self.zero),
            Kind::Short => read(&self.small),
            Kind::Refused => read(&self.null),
            Kind::Sync => Fdsync::new(Arc::clone(&self.small)).into(),
            Kind::Ready => poll(&self.ready),
            Kind::Silent => poll(&self.silent),
        }
    }
}

/// What is known of an operation that has not completed.
struct Live {
    kind: Kind,
    /// Cancelled before it was submitted.
    cancelled: bool,
}

struct Model {
    queue: Queue<Op>,
    events: Loop,
    trigger: Trigger,
    live: HashMap<Token, Live>,
    pushed: usize,
    completed: usize,
    wake_ups: usize,
    held_back: usize,
}

impl Model {
    fn new(random: &mut fastrand::Rng) -> Self {
        let capacity = random.u32(1..=400);
        let room = if random.bool() { capacity } else { 1 };
        let queue = Queue::new(context(room), capacity).expect("a fresh context");
        let trigger = if random.bool() { Trigger::Level } else { Trigger::Edge };
        let events = Loop::new(&queue, trigger);
        let live = HashMap::new();
        Self { queue, events, trigger, live, pushed: 0, completed: 0, wake_ups: 0, held_back: 0 }
    }

    fn push(&mut self, random: &mut fastrand::Rng, files: &Files) {
        let kind = random.choice(KINDS).expect("there are some");
        match self.queue.push(files.operation(kind)) {
            Ok(token) => {
                self.pushed += 1;
                assert!(self.live.insert(token, Live { kind, cancelled: false }).is_none());
            }
            Err(_) => assert_eq!(self.live.len(), self.queue.capacity()),
        }
    }

    fn submit(&mut self) {
        self.queue.submit().expect("no error of a submit");
        self.held_back += self.queue.queued();
    }

    fn cancel(&mut self, token: Token) {
        let queued = self.queue.queued();
        let cancelled = self.queue.cancel(token);
        let live = self.live.get_mut(&token).expect("it is live");
        if self.queue.queued() < queued {
            live.cancelled = true;
            assert_eq!(cancelled, Ok(()));
        }
    }

    fn complete(&mut self, done: Completion<Op>) {
        let live = self.live.remove(&done.token).expect("it completes once");
        let as_the_kernel_says = match live.kind {
            Kind::Read => done.result == Ok(16),
            Kind::Short => done.result == Ok(5),
            Kind::Refused => done.result == Err(Errno::EBADF),
            Kind::Sync | Kind::Silent => done.result == Ok(0),
            Kind::Ready => holds(done.result, PollEvents::IN),
        };
        let never_had = done.result == Err(Errno::EAGAIN);
        let right = match live.cancelled {
            true => done.result == Err(Errno::ECANCELED),
            false => as_the_kernel_says || never_had,
        };
        assert!(right, "{:?} of {:?}, cancelled: {}", done.result, live.kind, live.cancelled);
        self.completed += 1;
    }

    /// Takes completions as a loop may that was woken: level-triggered some, edge-triggered all.
    fn take(&mut self, most: usize) {
        for _ in 0..most {
            let was_readable = is_readable(&self.queue);
            let Some(done) = self.queue.try_next().expect("a poll") else { return };
            self.complete(done);
            // A completion that was there before its signal.
            while !(was_readable || is_readable(&self.queue)) {
                thread::yield_now();
            }
        }
    }

    fn most(&self, random: &mut fastrand::Rng) -> usize {
        if self.trigger == Trigger::Level { random.usize(1..4) } else { usize::MAX }
    }

    fn wait(&mut self) {
        match self.queue.wait_timeout(Duration::ZERO) {
            Ok(Some(done)) => self.complete(done),
            Ok(None) => assert!(self.live.is_empty()),
            Err(error) => assert_eq!(error.errno(), Errno::ETIMEDOUT),
        }
    }

    fn step(&mut self, random: &mut fastrand::Rng, files: &Files) {
        match random.u8(..16) {
            0..=7 => self.push(random, files),
            8 => self.submit(),
            9 => {
                let tokens: Vec<_> = self.live.keys().copied().collect();
                if let Some(token) = random.choice(tokens) {
                    self.cancel(token);
                }
            }
            10..=13 if self.events.is_woken() => {
                self.wake_ups += 1;
                self.take(self.most(random));
            }
            // Nobody was woken for these.
            14 => self.take(self.most(random)),
            15 => self.wait(),
            _ => {}
        }
    }

    /// Everything completes, and the loop sleeps for each wake-up.
    fn finish(&mut self, random: &mut fastrand::Rng) {
        let silent = self.live.iter().filter(|(_, live)| live.kind == Kind::Silent);
        let silent: Vec<_> = silent.map(|(&token, _)| token).collect();
        silent.into_iter().for_each(|token| self.cancel(token));
        self.submit();
        while !self.live.is_empty() {
            self.events.sleep();
            self.wake_ups += 1;
            self.take(self.most(random));
        }
        assert!(self.queue.try_next().expect("a poll").is_none());
        assert_eq!((self.queue.queued(), self.queue.in_flight()), (0, 0));
    }
}

/// Goal: whatever is done to a queue, a loop that waits for its descriptor gets every completion,
/// once, and sleeps when there is none. Method: random operations of every kind, steps between them
/// in which the loop is woken, or takes and waits unasked, level- and edge-triggered, with room in
/// the kernel and without; then the loop alone ends it. A lost wake-up is a hang, which the
/// watchdog ends.
#[test]
fn random_operations_all_wake_the_loop() {
    let _watchdog = Watchdog::new();
    let (_dir, _path, small) = file_with(&[7; 5]);
    let Pipe { reader: silent, writer: _open } = pipe(libc::O_NONBLOCK);
    let mut ready = pipe(libc::O_NONBLOCK);
    ready.put(1);
    let files = Files {
        zero: Arc::new(File::open("/dev/zero").expect("/dev/zero")),
        null: Arc::new(File::options().write(true).open("/dev/null").expect("/dev/null")),
        small: Arc::new(small),
        ready: Arc::new(ready.reader.try_clone().expect("a descriptor")),
        silent: Arc::new(silent),
    };
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    say_count(&format!("seed {seed}"));
    let (mut operations, mut held_back, mut refused_early) = (0, 0, 0);
    while operations < 10_000 {
        let mut model = Model::new(&mut random);
        for _ in 0..random.usize(1..2_000) {
            model.step(&mut random, &files);
        }
        model.finish(&mut random);
        assert_eq!(model.completed, model.pushed);
        // A completion makes the descriptor readable by its signal, and once more if it was found
        // before that. Each may wake the loop for nothing when the completion has been taken.
        let most = 3 * model.completed + 1;
        assert!(model.wake_ups <= most, "{} wake-ups, at most {most}", model.wake_ups);
        operations += model.completed;
        held_back += model.held_back;
        refused_early += usize::from(model.queue.stats().operations < model.pushed as u64);
    }
    assert!(held_back > 0 && refused_early > 0, "nothing was held back, or refused");
    say_count(&format!("{operations} operations, held back {held_back} times"));
}
