//! The order in which operations that wait for a slot get one.

use crate::common::Watchdog;
use crate::{ALONE, lock};
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use linux_aio::op;
use linux_aio::{EventFd, Operation, PollEvents, Prepared};
use std::fs::File;
use std::sync::{Arc, Mutex};
use tokio::runtime::Builder;

/// Goal: operations get their slots in the order in which they were started. Method: one slot,
/// which a POLL has until all others wait; some of these leave; each says when it is prepared.
#[test]
fn slots_are_given_first_come_first_served() {
    let _alone = lock(&ALONE);
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(queue_for_one_slot());
}

async fn queue_for_one_slot() {
    struct Numbered(op::Read<File, [u8; 8]>, usize, Arc<Mutex<Vec<usize>>>);
    impl Operation for Numbered {
        fn prepare(&mut self) -> Prepared<'_> {
            lock(&self.2).push(self.1);
            self.0.prepare()
        }
    }
    let _watchdog = Watchdog::new();
    let driver = linux_aio::tokio::driver(1).expect("a driver");
    let gate = Arc::new(EventFd::new().expect("an eventfd"));
    let mut first = driver.perform(op::Poll::new(Arc::clone(&gate), PollEvents::IN));
    poll_fn(|cx| {
        assert!(pin!(&mut first).poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;

    let order = Arc::default();
    let mut rest: Vec<_> = (0..200)
        .map(|number| {
            let zero = File::open("/dev/zero").expect("/dev/zero");
            let order = Arc::clone(&order);
            Some(driver.perform(Numbered(op::Read::new(zero, [1; 8], 0), number, order)))
        })
        .collect();
    for future in rest.iter_mut().flatten() {
        poll_fn(|cx| {
            assert!(pin!(&mut *future).poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    }
    // Those who leave the queue do not change the order of the others.
    let left: Vec<usize> = (0..200).filter(|number| number % 3 > 0).collect();
    for future in rest.iter_mut().step_by(3) {
        *future = None;
    }
    assert_eq!(driver.outstanding(), 1 + left.len());
    gate.add(1).expect("room in an eventfd");
    for future in rest.into_iter().flatten() {
        assert_eq!(future.await.0, Ok(8));
    }
    assert_eq!(*lock(&order), left);
}
