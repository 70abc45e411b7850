//! POLLs that take all the room that the kernel gives a context.

use linux_aio::{Errno, EventFd, IoContext, Iocb, Operation, PollEvents, Queue};

/// POLLs, submitted past any queue, that take every slot that the kernel gives a context.
pub(crate) struct Hogs {
    counter: EventFd,
    #[allow(clippy::vec_box, reason = "a POLL's iocb stays where it is until its event")]
    iocbs: Vec<Box<Iocb>>,
}

impl Hogs {
    pub(crate) fn fill(mut context: IoContext) -> (Self, IoContext) {
        let counter = EventFd::new().expect("a counter");
        let submitter = context.split().0;
        let mut iocbs = Vec::new();
        let full = loop {
            let poll = Iocb::poll(counter.fd().as_raw(), PollEvents::IN);
            // What a stray event carries must not matter: also what looks like a slot's number.
            let mut iocb = Box::new(poll.user_data(iocbs.len() as u64));
            // SAFETY: The iocb stays in its box until its event; there is no buffer.
            match unsafe { submitter.submit(&[&raw mut *iocb]) } {
                Ok(_) => iocbs.push(iocb),
                Err(errno) => break errno,
            }
        };
        assert_eq!(full, Errno::EAGAIN);
        assert!(context.in_flight() == iocbs.len() && !iocbs.is_empty());
        (Self { counter, iocbs }, context)
    }

    /// A queue over the full context, which is taken for an empty one, by its number.
    pub(crate) fn queue<O: Operation>(&self, context: IoContext, capacity: u32) -> Queue<O> {
        // SAFETY: It is live, and used by nobody else; the POLLs have no buffers, and what their
        // `aio_data` is taken for is what is tested: no generation is ever 0.
        let context = unsafe { IoContext::from_raw(context.into_raw()) };
        Queue::new(context, capacity).expect("nothing is known to be in flight")
    }

    pub(crate) fn count(&self) -> usize {
        self.iocbs.len()
    }

    /// All of them end at once.
    pub(crate) fn end(&self) {
        self.counter.add(1).expect("room in the counter");
    }
}
