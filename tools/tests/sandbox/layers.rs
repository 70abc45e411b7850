//! Uses one layer of the library, so that its system calls can be recorded and allowed.
//!
//! ```text
//! layers LAYER FILE     none, raw, scope, queue, local-driver, driver, driver-tokio, driver-smol,
//!                       file
//! ```
//!
//! `none` does nothing: its calls are those of the C library and of std. Each layer writes, syncs
//! and reads a block, cancels a POLL, waits for one that does not end, and is dropped with one in
//! flight.

use linux_aio::op::{Any, Fsync, Poll, Read, Write};
use linux_aio::{
    AlignedBuf, Direct, Driver, EventFd, File, IoContext, IoEvent, Iocb, LocalDriver, PollEvents,
    Queue, Reactor, RwFlags, SigSet, Slot, scope,
};
use smol::Async;
use std::env::args;
use std::fs;
use std::future::{Future, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll as Polled};
use std::time::Duration;

const BLOCK: usize = 4096;
/// A time in which nothing happens.
const MOMENT: Duration = Duration::from_millis(2);

fn main() {
    let arguments: Vec<String> = args().skip(1).collect();
    let (layer, path) = (&*arguments[0], &*arguments[1]);
    match layer {
        "none" => {}
        "raw" => raw(&open(path)),
        "scope" => scoped(&open(path)),
        "queue" => queue(&open(path)),
        "local-driver" => local_driver(&open(path)),
        "driver" => driver(open(path)),
        "driver-tokio" => driver_tokio(open(path)),
        "driver-smol" => driver_smol(open(path)),
        "file" => file(path),
        other => panic!("there is no layer {other}"),
    }
}

/// Around the page cache where that is possible, so that operations are in flight for a while.
fn open(path: &str) -> Arc<OwnedFd> {
    let mut options = fs::File::options();
    options.read(true).write(true);
    let direct = options.clone().custom_flags(libc::O_DIRECT).open(path);
    Arc::new(direct.or_else(|_| options.open(path)).expect("the file").into())
}

fn block(byte: u8) -> AlignedBuf {
    let mut block = AlignedBuf::with_alignment(BLOCK, BLOCK).expect("memory");
    block.fill(byte);
    block
}

// ---- raw ----

fn raw(file: &OwnedFd) {
    let mut context = IoContext::new(8).expect("a context");
    let (submitter, mut reaper) = context.split();
    let silent = EventFd::new().expect("an eventfd");
    let mut buf = block(1);
    let mut poll = Iocb::poll(silent.fd().as_raw_fd(), PollEvents::IN);
    for mut iocb in [
        Iocb::pwrite(file.as_raw_fd(), buf.as_ptr(), BLOCK, 0),
        Iocb::fsync(file.as_raw_fd()),
        Iocb::pread(file.as_raw_fd(), buf.as_mut_ptr(), BLOCK, 0),
    ] {
        // SAFETY: The iocb and the buffer stay where they are, and untouched, until the event.
        unsafe { submitter.submit(&[&raw mut iocb]) }.expect("room");
        let mut events = [MaybeUninit::<IoEvent>::uninit()];
        let ended = reaper.wait(1, None, &mut events).expect("an event");
        ended[0].result().expect("a block");
    }
    // SAFETY: The iocb stays where it is until the event.
    unsafe { submitter.submit(&[&raw mut poll]) }.expect("room");
    let mut events = [MaybeUninit::<IoEvent>::uninit()];
    assert!(reaper.wait(1, Some(MOMENT), &mut events).expect("a wait").is_empty());
    let masked = reaper.wait_masked(1, Some(MOMENT), &SigSet::empty(), &mut events);
    assert!(masked.expect("a wait").is_empty());
    submitter.cancel(&raw const poll).expect("a POLL");
    assert_eq!(reaper.wait(1, None, &mut events).expect("an event").len(), 1);
}

// ---- scope, queue ----

fn scoped(file: &OwnedFd) {
    let mut context = IoContext::new(8).expect("a context");
    let mut slots = [const { Slot::new() }; 8];
    let silent = EventFd::new().expect("an eventfd");
    let (write, mut read) = (block(1), block(0));
    scope::<Any<_, &mut [u8], &[u8]>, _>(&mut context, &mut slots, |io| {
        io.completion_fd().expect("an eventfd");
        let push = |op| io.push(op).expect("a free slot");
        push(Write::new(file.as_fd(), &*write, 0).into());
        io.wait().expect("a wait").expect("it").result.expect("a block");
        push(Fsync::new(file.as_fd()).into());
        io.wait().expect("a wait").expect("it").result.expect("a sync");
        push(Read::new(file.as_fd(), &mut *read, 0).into());
        io.wait().expect("a wait").expect("it").result.expect("a block");
        let token = push(Poll::new(silent.as_fd(), PollEvents::IN).into());
        io.wait_timeout(MOMENT).expect_err("nothing happens");
        io.cancel(token).expect("a POLL");
        assert!(io.wait().expect("a wait").is_some());
        // Left in flight.
        push(Poll::new(silent.as_fd(), PollEvents::IN).into());
        io.submit().expect("room");
    })
    .expect("a fresh context");
}

type Owned = Any<Arc<OwnedFd>, AlignedBuf>;

/// Returns the operations of each of the layers that own, in their order.
fn transfers(file: &Arc<OwnedFd>) -> [Owned; 3] {
    let file = || Arc::clone(file);
    let write = Write::new(file(), block(1), 0);
    [write.into(), Fsync::new(file()).into(), Read::new(file(), block(0), 0).into()]
}

/// A POLL that does not end.
fn silent() -> Owned {
    let silent = OwnedFd::from(EventFd::new().expect("an eventfd"));
    Poll::new(Arc::new(silent), PollEvents::IN).into()
}

fn queue(file: &Arc<OwnedFd>) {
    let mut queue = Queue::<Owned>::with_capacity(8).expect("a queue");
    queue.completion_fd().expect("an eventfd");
    for op in transfers(file) {
        queue.push(op).expect("a free slot");
        queue.wait().expect("a wait").expect("it").result.expect("a block");
    }
    let token = queue.push(silent()).expect("a free slot");
    queue.wait_timeout(MOMENT).expect_err("nothing happens");
    queue.cancel(token).expect("a POLL");
    assert!(queue.wait().expect("a wait").is_some());
    queue.push(silent()).expect("a free slot");
    queue.submit().expect("room");
}

// ---- drivers ----

fn local_driver(file: &Arc<OwnedFd>) {
    let driver = LocalDriver::new(8).expect("a driver");
    driver.block_on(async {
        for op in transfers(file) {
            driver.perform(op).await.0.expect("a block");
        }
        give_up(driver.perform(silent())).await;
        let [.., read] = transfers(file);
        driver.perform(read).await.0.expect("a block");
        // Left in flight.
        give_up(driver.perform(silent())).await;
    });
}

/// Polls a future once, and drops it: a POLL is cancelled.
async fn give_up<F: Future>(future: F) {
    let mut future = pin!(future);
    poll_fn(|cx| {
        assert!(future.as_mut().poll(cx).is_pending());
        Polled::Ready(())
    })
    .await;
}

/// The work of any driver, on any runtime.
async fn with_driver(driver: Driver, file: Arc<OwnedFd>) {
    for _ in 0..4 {
        for op in transfers(&file) {
            driver.perform(op).await.0.expect("a block");
        }
    }
    let mut together: Vec<_> = (0..16).flat_map(|_| transfers(&file)).collect();
    let mut futures: Vec<_> = together.drain(..).map(|op| Box::pin(driver.perform(op))).collect();
    poll_fn(|cx| {
        futures.retain_mut(|future| future.as_mut().poll(cx).is_pending());
        if futures.is_empty() { Polled::Ready(()) } else { Polled::Pending }
    })
    .await;
    driver.perform(silent()).timeout(MOMENT).await.expect_err("nothing happens");
    give_up(driver.perform(silent())).await;
    // The driver has time to cancel it.
    driver.perform(silent()).timeout(MOMENT).await.expect_err("nothing happens");
    driver.close().await;
}

/// One driver that is closed, and one that is dropped with an operation in flight.
async fn with_drivers(driver: impl Fn() -> io::Result<Driver>, file: Arc<OwnedFd>) {
    with_driver(driver().expect("a driver"), file).await;
    let driver = driver().expect("a driver");
    give_up(driver.perform(silent())).await;
}

fn driver(file: Arc<OwnedFd>) {
    pollster::block_on(with_drivers(|| Driver::on_thread(8), file));
}

fn driver_tokio(file: Arc<OwnedFd>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let work = with_drivers(|| linux_aio::tokio::driver(8), file);
    runtime.block_on(async { runtime.spawn(work).await }).expect("no panic");
}

struct SmolReactor(Async<Arc<EventFd>>);

impl Reactor for SmolReactor {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Polled<io::Result<()>> {
        self.0.poll_readable(cx)
    }
}

fn driver_smol(file: Arc<OwnedFd>) {
    let driver = || Driver::new(8, |eventfd| Ok(SmolReactor(Async::new_nonblocking(eventfd)?)));
    smol::block_on(smol::spawn(with_drivers(driver, file)));
}

// ---- file ----

fn file(path: &str) {
    let driver = Driver::on_thread(8).expect("a driver");
    pollster::block_on(async {
        for direct in [Direct::Prefer, Direct::Never] {
            let options = File::options().read(true).write(true).create(true).direct(direct);
            let file = options.open(&driver, path).await?;
            file.write_all_at(vec![1; 10_000], 100).await.0?;
            file.writev_at(vec![block(1), block(2)], 4096).await.0?;
            file.sync_data().await?;
            // Not in the page cache any more.
            rustix::fs::fadvise(file.get_ref(), 0, None, rustix::fs::Advice::DontNeed)?;
            file.read_exact_at(vec![0; 5000], 4000).await.0?;
            file.read_at(vec![0; 5000], 4000).await.0?;
            rustix::fs::fadvise(file.get_ref(), 0, None, rustix::fs::Advice::DontNeed)?;
            file.readv_at(vec![block(0), block(0)], 4096).await.0?;
            let through = file.clone().with_rw_flags(RwFlags::DSYNC);
            through.write_all_at(vec![1; 10_000], 100).await.0?;
            file.allocate(0, 1 << 20).await?;
            file.punch_hole(0, 4096).await?;
            file.set_len(1 << 16).await?;
            file.sync_all().await?;
            assert_eq!(file.metadata()?.len(), 1 << 16);
            file.close().await?;
        }
        driver.close().await;
        io::Result::Ok(())
    })
    .expect("a file");
}
