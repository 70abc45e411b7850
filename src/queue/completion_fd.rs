//! The descriptor by which an event loop waits for a [`Queue`].

use super::Queue;
use crate::{Errno, Fd, Operation};

impl<O: Operation + 'static> Queue<O> {
    /// Returns a descriptor that is readable while [`try_next`](Self::try_next) has a completion to
    /// return. An event loop of your own waits for this queue by it.
    ///
    /// Add it to `epoll`, mio, glib, or any loop that polls descriptors. When it is readable, call
    /// `try_next`, [`ready`](Self::ready) or `dispatch`. It stays readable until one of these finds
    /// no completion, which resets it.
    ///
    /// - **Level-triggered**: take any number of completions for each wake-up.
    /// - **Edge-triggered**: call `try_next` until it returns `None`. Otherwise the next wake-up
    ///   comes only when another operation completes.
    ///
    /// Every completion makes it readable, including those of operations that the kernel refused or
    /// never received. It can also become readable once without a completion, so `None` after a
    /// wake-up is no error. Do not read from it or write to it yourself.
    ///
    /// The descriptor is an eventfd of this queue. The first call creates it, later calls return
    /// the same one, and dropping the queue closes it. It costs each operation about 0.1 to 0.2 µs
    /// in the kernel, and each look that finds nothing a system call. A queue without it pays
    /// nothing.
    ///
    /// # When the kernel has no room
    ///
    /// Operations that the kernel has no room for stay queued at first. When an operation in flight
    /// completes, the descriptor becomes readable, and `try_next` submits them before it returns
    /// `None`. It also submits what you pushed since, and can block as [`submit`](Self::submit)
    /// can.
    ///
    /// If only POLLs are in flight, or nothing is, no wake-up would tell when there is room. These
    /// operations then complete with `EAGAIN`, and `submit` and `wait` do not return that error.
    /// Push them again after a while, by a timer of your loop, or do the I/O by other means. To
    /// push them again at once is a busy loop.
    ///
    /// # Operations with an eventfd of their own
    ///
    /// The kernel signals one eventfd for each operation, and that is now the queue's. An operation
    /// that names another one ([`Prepared::eventfd`](crate::Prepared::eventfd)) completes with
    /// `EINVAL`.
    ///
    /// # Without events
    ///
    /// If events can no longer be taken, as under a filter that was installed since, the descriptor
    /// stays readable, and `try_next` returns the reason.
    ///
    /// # Errors
    /// - `EBUSY`: operations are in flight that would not make it readable. Call this before the
    ///   first submit.
    /// - `EMFILE`, `ENFILE`, `ENOMEM`, `ENODEV`: no eventfd could be made.
    /// - [`Errno::FORKED`]: the descriptor is that of the parent process.
    ///
    /// # Examples
    ///
    /// A loop that waits for a disk and for another descriptor:
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use linux_aio::{EventFd, Queue, op::Read};
    /// use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
    /// use std::{fs::File, mem::MaybeUninit, sync::Arc};
    ///
    /// const DISK: EventData = EventData::new_u64(1);
    /// const OTHER: EventData = EventData::new_u64(2);
    ///
    /// let mut queue = Queue::with_capacity(32)?;
    /// let other = EventFd::new()?;
    /// let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    /// epoll::add(&epoll, queue.completion_fd()?, DISK, EventFlags::IN)?;
    /// epoll::add(&epoll, &other, OTHER, EventFlags::IN)?;
    ///
    /// let file = Arc::new(File::open("/etc/os-release")?);
    /// for i in 0..4 {
    ///     queue.push(Read::new(file.clone(), vec![0; 64], i * 64))?;
    /// }
    /// queue.submit()?;
    /// let mut left = 4;
    /// while left > 0 {
    ///     let mut events = [MaybeUninit::uninit(); 8];
    ///     let (events, _) = epoll::wait(&epoll, &mut events, None)?;
    ///     if events.iter().any(|event| { event.data } == DISK) {
    ///         while let Some(done) = queue.try_next()? {
    ///             println!("{}: {} bytes", done.op.offset, done.result?);
    ///             left -= 1;
    ///         }
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    #[doc(alias = "io_set_eventfd")]
    #[doc(alias = "eventfd")]
    pub fn completion_fd(&self) -> Result<Fd<'_>, Errno> {
        self.engine.completion_fd(&self.context)
    }
}
