//! Says so when a simulation stands still: operations are in flight, or a task is being polled, and
//! no thread makes a call by which time could pass.
//!
//! A program that waits in a call of the running kernel waits for ever then, and no code of this
//! package runs that could panic. It may as well be busy with something long, so this is a line on
//! standard error and no panic.

use crate::shared::Shared;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

/// The time between two looks, by the clock of the machine.
const PAUSE: Duration = Duration::from_secs(1);
/// The number of looks between which nothing may have happened.
const LOOKS: u32 = 10;

static WATCHED: Mutex<Vec<Watched>> = Mutex::new(Vec::new());

struct Watched {
    shared: Weak<Shared>,
    uses: usize,
    looks: u32,
}

impl Watched {
    /// Looks again. Returns what is to be said, once for each time that it stands still.
    fn look(&mut self) -> Option<String> {
        let shared = self.shared.upgrade()?;
        let uses = shared.uses();
        if self.uses != uses {
            (self.uses, self.looks) = (uses, 0);
            return None;
        }
        self.looks = self.looks.saturating_add(1);
        let what = if self.looks == LOOKS { shared.what_waits() } else { None };
        what.map(|what| {
            format!(
                "linux-aio-sim: {what}, and nothing has let time pass for ten seconds in the \
                 simulation of seed {}. If the test hangs: futures of a LocalDriver run in its \
                 block_on; a runtime calls Sim::park before it sleeps, and an event loop calls \
                 Sim::run_next; a task of an Executor must not block its thread\n",
                shared.seed,
            )
        })
    }
}

/// Watches a simulation for as long as it is there.
pub(crate) fn watch(shared: &Arc<Shared>) {
    if cfg!(miri) {
        return;
    }
    let watched = Watched { shared: Arc::downgrade(shared), uses: 0, looks: 0 };
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner).push(watched);
}

/// Starts the thread that looks. Miri would complain of a thread that does not end.
pub(crate) fn start() {
    if !cfg!(miri) {
        // Without the thread a hang is silent, and all else is as it was.
        let _ = thread::Builder::new().name("linux-aio-sim".into()).spawn(|| {
            loop {
                thread::sleep(PAUSE);
                look();
            }
        });
    }
}

fn look() {
    let mut said = Vec::new();
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner).retain_mut(|watched| {
        said.extend(watched.look());
        watched.shared.strong_count() > 0
    });
    for text in said {
        // Not by a macro: a test that hangs never shows what was captured.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::{LOOKS, Watched};
    use crate::{Executor, Faults, Sim};
    use linux_aio::op::Fdsync;
    use linux_aio::{LocalDriver, Queue};
    use std::sync::Arc;
    use std::task::{Context, Waker};

    /// Tells what is said while nothing happens for twice as long as it takes.
    fn said(sim: &Sim) -> Vec<String> {
        let mut watched = Watched { shared: Arc::downgrade(&sim.shared), uses: 0, looks: 0 };
        (0..=2 * LOOKS).filter_map(|_| watched.look()).collect()
    }

    #[test]
    fn a_future_that_nobody_serves_is_told_once() {
        let sim = Sim::new(3, Faults::none());
        let entered = sim.enter();
        let driver = LocalDriver::new(1).expect("a context");
        let mut sync = std::pin::pin!(driver.perform(Fdsync::new(sim.file("log"))));
        assert!(said(&sim).is_empty(), "nothing is in flight");
        assert!(sync.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let texts = said(&sim);
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(texts[0].contains("1 operation is in flight"), "{texts:?}");
        assert!(texts[0].contains("seed 3") && texts[0].contains("block_on"), "{texts:?}");
        drop(entered);
        assert!(said(&sim).is_empty(), "no thread is there");
        let _entered = sim.enter();
        assert_eq!(driver.block_on(sync).0, Ok(0));
        assert!(said(&sim).is_empty(), "it has ended");
    }

    #[test]
    fn a_task_that_blocks_is_told() {
        let sim = Sim::new(1, Faults::none());
        let executor = Executor::new(&sim);
        let inside = sim.clone();
        let texts = executor.block_on(async move { said(&inside) });
        assert!(texts[0].contains("a task is being polled"), "{texts:?}");
        assert!(said(&sim).is_empty(), "its poll has ended");
    }

    #[test]
    fn a_call_is_life() {
        let sim = Sim::new(1, Faults::none());
        let _entered = sim.enter();
        let mut queue = Queue::with_capacity(2).expect("a context");
        queue.push(Fdsync::new(sim.file("log"))).expect("a free slot");
        assert_eq!(queue.submit(), Ok(1));
        let mut watched = Watched { shared: Arc::downgrade(&sim.shared), uses: 0, looks: 0 };
        for _ in 0..2 * LOOKS {
            assert_eq!(watched.look(), None);
            queue.push(Fdsync::new(sim.file("log"))).expect("a free slot");
            assert_eq!(queue.submit(), Ok(1));
            assert!(queue.wait().expect("a wait").is_some());
        }
    }
}
