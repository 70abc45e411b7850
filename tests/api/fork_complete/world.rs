//! What a forked child inherits: a value of each type, in each of its states.

use super::common::files::{Pipe, pipe};
use super::common::{self, context, poll_once};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use linux_aio::op::{self, Any, Callback, Read};
use linux_aio::raw::ForkGuard;
use linux_aio::{
    AlignedBuf, Driver, EventFd, IoContext, Iocb, Operation, OwnedReaper, OwnedSubmitter,
    PollEvents, Prepared, Queue, Ready, Reaper, Scope, Slot, Stats, Submitter, Token,
};
use linux_aio::{Close, CloseWithin, OpFuture, Reactor, WithDeadline};
use smol::future::block_on;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Barrier, Mutex};
use std::task::Wake;
use std::thread;

/// Operations, wakers and reactors that were dropped in this process, and calls of the reactors.
static TOLD: AtomicUsize = AtomicUsize::new(0);

pub(crate) fn told() -> usize {
    TOLD.load(Ordering::Relaxed)
}

pub(crate) fn tell() {
    TOLD.fetch_add(1, Ordering::Relaxed);
}

/// An operation that tells of its drop.
#[derive(Debug)]
pub(crate) struct Op(pub(crate) Any<Arc<File>, Vec<u8>>);

impl Operation for Op {
    fn prepare(&mut self) -> Prepared<'_> {
        self.0.prepare()
    }
}

impl Drop for Op {
    fn drop(&mut self) {
        tell();
    }
}

/// A waker that tells of its drop.
struct TellingWaker;

impl Wake for TellingWaker {
    fn wake(self: Arc<Self>) {}
}

impl Drop for TellingWaker {
    fn drop(&mut self) {
        tell();
    }
}

/// A reactor that knows its driver's waker, and tells of each call and of its drop.
pub(crate) struct TellingReactor(Arc<Mutex<Option<Waker>>>);

impl Reactor for TellingReactor {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        tell();
        *self.0.lock().expect("nothing panics under it") = Some(cx.waker().clone());
        Poll::Pending
    }

    fn is_edge_triggered(&self) -> bool {
        tell();
        false
    }

    fn wake_later(&self, _: &Waker) -> bool {
        tell();
        false
    }
}

impl Drop for TellingReactor {
    fn drop(&mut self) {
        tell();
    }
}

/// A deadline that does not come.
pub(crate) const FAR: Duration = Duration::from_secs(1_000_000);

type Submitted = Option<OpFuture<Op>>;

/// Everything. What a child takes out of it, it takes out of its copy.
pub(crate) struct World<'w> {
    pub(crate) file: Arc<File>,
    /// A POLL of it does not end before the parent writes.
    pub(crate) pipe: Pipe,

    /// Other threads use it all the time.
    pub(crate) busy: Option<Driver>,
    pub(crate) fresh: Submitted,
    pub(crate) in_flight: Submitted,
    pub(crate) waiting: Submitted,
    pub(crate) ended: Submitted,
    /// One slot, of `in_flight`. Other threads use it, too.
    pub(crate) full: Option<Driver>,
    /// A driver with one operation in flight and one that waits. Nobody else has a share of it.
    pub(crate) alone: Option<(Driver, Submitted, Submitted)>,
    /// Has a POLL in flight and is closed.
    pub(crate) close: Option<Close>,
    pub(crate) close_within: Option<CloseWithin>,
    /// Waits for the slot of `full`. Its deadline is far away.
    pub(crate) timed: Option<WithDeadline<OpFuture<Op>>>,
    poll_of_closed: Submitted,
    pub(crate) reacting: Option<Driver>,
    pub(crate) waker_of_reacting: Arc<Mutex<Option<Waker>>>,

    pub(crate) guard: ForkGuard,
    /// Nothing is in flight.
    pub(crate) idle: Option<IoContext>,
    /// A POLL is in flight, and a read has ended.
    pub(crate) context: Option<IoContext>,
    pub(crate) submitter: Submitter<'w>,
    pub(crate) reaper: Reaper<'w>,
    pub(crate) owned: Option<(OwnedSubmitter, OwnedReaper)>,
    /// In flight in each of these four.
    pub(crate) iocb: Box<Iocb>,
    pub(crate) scope: &'w Scope<Op>,
    pub(crate) in_scope: State,
    pub(crate) queue: Option<Queue<Op>>,
    pub(crate) in_queue: State,
    pub(crate) callbacks: Option<Queue<Callback<Op, ()>>>,
    pub(crate) ready: Option<Ready<'w, Op>>,

    pub(crate) counter: Option<EventFd>,
    pub(crate) buf: Option<AlignedBuf>,
    pub(crate) files: super::on_file::Inherited,
    pub(crate) local: super::on_local::Inherited,
}

/// A scope or queue at the fork: a POLL is in flight, a read has ended, and another is queued. The
/// queue knows already that the read has ended, and that a fourth operation was refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    pub(crate) poll: Token,
    pub(crate) queued: Token,
    pub(crate) stats: Stats,
}

pub(crate) fn read(file: &Arc<File>) -> Op {
    Op(Read::new(Arc::clone(file), vec![1; 8], 0).into())
}

pub(crate) fn poll(pipe: &Pipe) -> Op {
    let reader = pipe.reader.try_clone().expect("a descriptor");
    Op(op::Poll::new(Arc::new(reader), PollEvents::IN).into())
}

/// A future that has been polled once, by a task that tells of its waker's drop.
fn started(driver: &Driver, op: Op) -> Submitted {
    let mut future = driver.perform(op);
    let waker = Waker::from(Arc::new(TellingWaker));
    assert!(poll_once(&mut future, &waker).is_pending());
    // The driver has it still.
    core::mem::forget(waker);
    Some(future)
}

fn wait_until(what: impl Fn() -> bool) {
    while !what() {
        thread::yield_now();
    }
}

/// A context in which `iocb`, a POLL, is in flight.
fn busy_context(iocb: &mut Iocb) -> IoContext {
    let mut context = context(8);
    // SAFETY: The iocb is boxed, and outlives all contexts in `run`.
    assert_eq!(unsafe { context.split().0.submit(&[&raw mut *iocb]) }, Ok(1));
    context
}

/// Runs `locked` with all that there is while other threads use the drivers, and then `rest`.
pub(crate) fn run(locked: impl FnOnce(&mut World<'_>), rest: impl FnOnce(&mut World<'_>)) {
    let file = Arc::new(File::open("/dev/zero").expect("/dev/zero"));
    let pipe = pipe(libc::O_NONBLOCK);
    let mut iocb = Box::new(Iocb::poll(pipe.reader.as_raw_fd(), PollEvents::IN).user_data(7));

    let mut split = busy_context(&mut iocb);
    let (submitter, reaper) = split.split();

    let mut queue = common::queue(8);
    let in_queue = fill(&mut queue, &file, &pipe);
    let mut callbacks = common::queue(8);
    callbacks.push(Callback::new(read(&file), (), |_, _| panic!("called"))).expect("a slot");
    assert_eq!(callbacks.submit(), Ok(1));

    let mut completed = common::queue(2);
    completed.push(read(&file)).expect("a slot");
    let ready = completed.wait_ready().expect("a wait");

    let [busy, closed, ended_on] =
        [8, 2, 2].map(|slots| Driver::on_thread(slots).expect("a driver"));
    let full = Driver::on_thread(1).expect("a driver");
    let in_flight = started(&full, poll(&pipe));
    let waiting = started(&full, read(&file));
    let mut signal = common::files::pipe(libc::O_NONBLOCK);
    let ended = started(&ended_on, poll(&signal));
    signal.put(1);
    wait_until(|| ended_on.outstanding() == 0);
    let alone = Driver::on_thread(1).expect("a driver");
    let of_alone = (started(&alone, poll(&pipe)), started(&alone, read(&file)));
    let poll_of_closed = started(&closed, poll(&pipe));
    let mut timed = full.perform(read(&file)).timeout(FAR);
    assert!(poll_once(&mut timed, &Waker::from(Arc::new(TellingWaker))).is_pending());
    let mut close_within = closed.clone().close_within(FAR);
    assert!(poll_once(&mut close_within, &Waker::from(Arc::new(TellingWaker))).is_pending());
    let mut close = closed.close();
    assert!(poll_once(&mut close, &Waker::from(Arc::new(TellingWaker))).is_pending());
    let waker_of_reacting = Arc::default();
    let reactor = TellingReactor(Arc::clone(&waker_of_reacting));
    let reacting = Driver::new(2, |_| Ok(reactor)).expect("a driver");

    let mut scoped = context(8);
    let left = linux_aio::scope(&mut scoped, &mut [const { Slot::new() }; 8], |io| {
        let in_scope = fill_scope(io, &file, &pipe);
        let mut world = World {
            fresh: Some(busy.perform(read(&file))),
            busy: Some(busy),
            in_flight,
            waiting,
            ended,
            alone: Some((alone, of_alone.0, of_alone.1)),
            close: Some(close),
            close_within: Some(close_within),
            timed: Some(timed),
            poll_of_closed,
            reacting: Some(reacting),
            waker_of_reacting,
            guard: ForkGuard::of_this_process(),
            idle: Some(context(4)),
            context: Some(busy_context(&mut iocb)),
            submitter,
            reaper,
            owned: Some(busy_context(&mut iocb).into_split()),
            iocb,
            scope: io,
            in_scope,
            queue: Some(queue),
            in_queue,
            callbacks: Some(callbacks),
            ready,
            counter: Some(EventFd::new().expect("an eventfd")),
            buf: Some(AlignedBuf::new(8192).expect("memory")),
            files: super::on_file::Inherited::new(&full),
            local: super::on_local::Inherited::new(&file, &pipe),
            full: Some(full),
            file,
            pipe,
        };
        while_others_use_the_drivers(&mut world, locked);
        rest(&mut world);
        world.is_as_it_was();
    });
    assert_eq!(left, Ok(()));
}

fn fill(queue: &mut Queue<Op>, file: &Arc<File>, pipe: &Pipe) -> State {
    let refused =
        Op(op::Fsync::new(Arc::new(pipe.reader.try_clone().expect("a descriptor"))).into());
    let poll = queue.push(poll(pipe)).expect("a slot");
    let reads = [read(file), read(file)].map(|op| queue.push(op).expect("a slot"));
    assert_eq!(queue.submit(), Ok(3));
    // The first of two events, so that the second is known.
    assert_eq!(queue.try_next().expect("a poll").expect("a completion").token, reads[0]);
    queue.push(refused).expect("a slot");
    assert_eq!(queue.submit(), Ok(0));
    let queued = queue.push(read(file)).expect("a slot");
    State { poll, queued, stats: queue.stats() }
}

fn fill_scope(io: &Scope<Op>, file: &Arc<File>, pipe: &Pipe) -> State {
    let poll = io.push(poll(pipe)).expect("a slot");
    io.push(read(file)).expect("a slot");
    assert_eq!(io.submit(), Ok(2));
    let queued = io.push(read(file)).expect("a slot");
    State { poll, queued, stats: io.stats() }
}

/// Has `full` locked for most of the time: to drop a future of many that wait moves half of the
/// rest under the lock.
fn while_others_use_the_drivers(world: &mut World<'_>, body: impl FnOnce(&mut World<'_>)) {
    const MANY: usize = 50_000;
    static OVER: AtomicBool = AtomicBool::new(false);
    let started = Arc::new(Barrier::new(3));
    let users: Vec<_> = (0..2)
        .map(|_| {
            let [busy, full] = [&world.busy, &world.full].map(|it| it.clone().expect("a driver"));
            let (file, ready) = (Arc::clone(&world.file), Arc::clone(&started));
            thread::spawn(move || {
                let start = |driver: &Driver| {
                    let mut read = driver.perform(Read::new(Arc::clone(&file), [0; 8], 0));
                    let _ = poll_once(&mut read, Waker::noop());
                    read
                };
                let mut waiting: Vec<_> = (0..MANY).map(|_| start(&full)).collect();
                ready.wait();
                while !OVER.load(Ordering::Relaxed) {
                    for _ in 0..50 {
                        drop(waiting.swap_remove(fastrand::usize(..MANY)));
                        waiting.push(start(&full));
                    }
                    drop(start(&busy));
                    let _ = (busy.outstanding(), busy.stats());
                }
            })
        })
        .collect();
    started.wait();
    body(world);
    OVER.store(true, Ordering::Relaxed);
    for user in users {
        user.join().expect("no panic");
    }
}

impl World<'_> {
    /// What the children did has cost the parent nothing: all completes.
    fn is_as_it_was(&mut self) {
        assert!(block_on(self.ended.take().expect("it")).0.is_ok());
        self.pipe.put(1);
        let (_alone, first, second) = self.alone.take().expect("it");
        let futures =
            [&mut self.in_flight, &mut self.waiting, &mut self.fresh, &mut self.poll_of_closed];
        for future in futures.map(Option::take).into_iter().chain([first, second]) {
            assert!(block_on(future.expect("it")).0.is_ok());
        }
        block_on(self.close.take().expect("it"));
        assert_eq!(block_on(self.close_within.take().expect("it")), Ok(()));
        let (result, _) = block_on(self.timed.take().expect("it")).expect("its time is not up");
        assert!(result.is_ok());
        self.files.is_as_it_was();
        self.local.is_as_it_was();
        let mut events = common::room::<4>();
        let (submitter, reaper) = self.owned.as_mut().expect("both");
        assert!(submitter.submitter().is_alive());
        assert_eq!(reaper.reaper().wait(1, None, &mut events).map(<[_]>::len), Ok(1));
        assert_eq!(self.reaper.wait(1, None, &mut events).map(<[_]>::len), Ok(1));
        let context = self.context.as_mut().expect("it");
        assert_eq!(context.split().1.wait(1, None, &mut events).map(<[_]>::len), Ok(1));
        let mut completed = 0;
        while let Some(done) = self.scope.wait().expect("a wait") {
            assert!(done.result.is_ok());
            completed += 1;
        }
        let queue = self.queue.as_mut().expect("it");
        let mut refused = 0;
        while let Some(done) = queue.wait().expect("a wait") {
            completed += usize::from(done.result.is_ok());
            refused += usize::from(done.result.is_err());
        }
        assert_eq!((completed, refused), (6, 1));
        assert_eq!(self.counter.as_ref().expect("it").take(), Ok(None));
        assert!(self.buf.as_ref().expect("it").iter().all(|&byte| byte == 0));
    }
}
