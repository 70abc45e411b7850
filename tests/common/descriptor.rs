//! An event loop of one descriptor: that of a queue.

use linux_aio::{Completion, Operation, Queue};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

/// How `epoll` is asked to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    Level,
    Edge,
}

pub(crate) const TRIGGERS: [Trigger; 2] = [Trigger::Level, Trigger::Edge];

pub(crate) struct Loop {
    epoll: OwnedFd,
    trigger: Trigger,
}

const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

impl Loop {
    /// A loop that waits for a queue, whose descriptor is made if need be.
    pub(crate) fn new<O: Operation>(queue: &Queue<O>, trigger: Trigger) -> Self {
        Self::of(queue.completion_fd().expect("a descriptor"), trigger)
    }

    pub(crate) fn of(fd: impl AsFd, trigger: Trigger) -> Self {
        let epoll = epoll::create(CreateFlags::CLOEXEC).expect("an epoll");
        let flags = match trigger {
            Trigger::Level => EventFlags::IN,
            Trigger::Edge => EventFlags::IN | EventFlags::ET,
        };
        epoll::add(&epoll, fd, EventData::new_u64(0), flags).expect("it can be polled");
        Self { epoll, trigger }
    }

    fn wait(&self, timeout: Option<&Timespec>) -> bool {
        let mut events = [MaybeUninit::uninit(); 4];
        loop {
            match epoll::wait(&self.epoll, &mut events, timeout) {
                Ok((events, _)) => return !events.is_empty(),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("epoll_wait: {error}"),
            }
        }
    }

    /// Sleeps until the loop is woken.
    pub(crate) fn sleep(&self) {
        assert!(self.wait(None));
    }

    /// Whether it would not sleep.
    pub(crate) fn is_woken(&self) -> bool {
        self.wait(Some(&AT_ONCE))
    }

    /// Takes completions, as the trigger allows, until the loop would sleep. Fails if it is woken
    /// more often than there are reasons to.
    pub(crate) fn run<O: Operation>(
        &self,
        queue: &mut Queue<O>,
        mut each: impl FnMut(Completion<O>),
    ) {
        let (mut completions, mut wake_ups) = (0, 0);
        while self.is_woken() {
            wake_ups += 1;
            while let Some(done) = queue.try_next().expect("a poll") {
                completions += 1;
                each(done);
                if self.trigger == Trigger::Level {
                    break;
                }
            }
            assert!(wake_ups <= 3 * completions + 1, "{wake_ups} wake-ups for {completions}");
        }
    }
}

/// Whether the descriptor of a queue is readable.
pub(crate) fn is_readable<O: Operation>(queue: &Queue<O>) -> bool {
    let fd = queue.completion_fd().expect("a descriptor");
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&AT_ONCE)).expect("a poll") > 0
}
