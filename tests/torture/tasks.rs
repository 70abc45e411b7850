//! What tasks do to futures.

use crate::world::{Intended, Io, Started, World};
use crate::{common, lock};
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;
use fastrand::Rng;
use linux_aio::op::Read;
use linux_aio::{EventFd, PollEvents};
use std::panic::panic_any;
use std::sync::Arc;
use tokio::time::{sleep, timeout};

/// What one task does to futures.
async fn act(world: Arc<World>, mut rng: Rng) {
    let moment = Duration::from_micros(rng.u64(..800));
    match rng.u32(..17) {
        0 => drop(world.io(&mut rng)),
        1 => drop(world.io(&mut rng).poll_once()),
        2 => lock(&world.held).extend(world.io(&mut rng).poll_once()),
        3 => drop(timeout(moment, world.io(&mut rng).check()).await),
        4 => {
            tokio::select! {
                () = world.io(&mut rng).check() => {}
                () = world.io(&mut rng).check() => {}
                () = sleep(moment) => {}
            }
        }
        5 => {
            let (a, b, c) = (world.io(&mut rng), world.io(&mut rng), world.io(&mut rng));
            tokio::join!(a.check(), b.check(), c.check());
        }
        6 => move_to_another_task(&world, &mut rng).await,
        7 => abort(&world, &mut rng).await,
        8 => panic_in_flight(&world, &mut rng).await,
        9 => panic_in_prepare(&world).await,
        10 => crowd(&world, &mut rng).await,
        11 => wait_for_a_signal(&world, moment).await,
        12 => {
            // Never signalled: dropping it must end it, or the slots run out.
            let silent = Arc::new(EventFd::new().expect("an eventfd"));
            assert!(timeout(moment, world.wait_for(&silent)).await.is_err());
        }
        13 => with_deadline(&world, &mut rng, moment).await,
        _ => world.io(&mut rng).check().await,
    }
}

async fn move_to_another_task(world: &World, rng: &mut Rng) {
    if let Some(started) = world.io(rng).poll_once() {
        tokio::spawn(started.check()).await.expect("the check holds");
    }
}

async fn abort(world: &World, rng: &mut Rng) {
    let task = tokio::spawn(world.io(rng).check());
    if rng.bool() {
        tokio::task::yield_now().await;
    }
    task.abort();
    if let Err(error) = task.await {
        assert!(error.is_cancelled(), "a check failed");
    }
}

/// Ends at its deadline or with its result, whichever comes first. What comes back was never
/// prepared.
async fn with_deadline(world: &World, rng: &mut Rng, moment: Duration) {
    if rng.bool() {
        let Started { future, expected } = world.io(rng);
        match future.timeout(moment).await {
            Ok((result, io)) => expected.check(result, &io.op),
            Err(timed_out) => assert!(timed_out.into_operation().is_none_or(|io| !io.prepared)),
        }
    } else {
        let silent = Arc::new(EventFd::new().expect("an eventfd"));
        let mut poll = world.wait_for(&silent).timeout(moment);
        let pending = poll_fn(|cx| Poll::Ready(pin!(&mut poll).poll(cx).is_pending())).await;
        if pending && rng.bool() {
            assert!(poll.await.is_err());
        }
    }
}

async fn panic_in_flight(world: &World, rng: &mut Rng) {
    let started = world.io(rng);
    let task = tokio::spawn(async move {
        let _unwound = started.poll_once();
        panic_any(Intended);
    });
    let payload = task.await.expect_err("it panics").into_panic();
    assert!(payload.is::<Intended>(), "a check failed instead");
}

async fn panic_in_prepare(world: &World) {
    let zero = Arc::clone(&world.zero);
    let mut op = world.counted(Io::Read(Read::new(zero, world.pool.take(), 0)));
    op.panics = true;
    let task = tokio::spawn(world.driver.perform(op));
    let payload = task.await.err().expect("it panics").into_panic();
    assert!(payload.is::<Intended>());
}

/// Many at once, awaited in the opposite order, some of them dropped.
async fn crowd(world: &World, rng: &mut Rng) {
    let count = rng.usize(1..80);
    let mut crowd: Vec<Started> = (0..count).filter_map(|_| world.io(rng).poll_once()).collect();
    while let Some(started) = crowd.pop() {
        if rng.u32(..4) > 0 {
            started.check().await;
        }
    }
}

async fn wait_for_a_signal(world: &World, moment: Duration) {
    let fd = Arc::new(EventFd::new().expect("an eventfd"));
    let signaller = Arc::clone(&fd);
    tokio::spawn(async move {
        sleep(moment).await;
        signaller.add(1).expect("room in an eventfd");
    });
    let (result, _) = world.wait_for(&fd).await;
    assert!(common::holds(result, PollEvents::IN), "{result:?}");
}

pub(crate) async fn storm(world: Arc<World>, mut rng: Rng, tasks: usize) {
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..tasks {
        if running.len() >= 300 {
            let ended = running.join_next().await.expect("300 are running");
            ended.expect("a task without a failed check");
        }
        running.spawn(act(Arc::clone(&world), rng.fork()));
    }
    while let Some(ended) = running.join_next().await {
        ended.expect("a task without a failed check");
    }
}
