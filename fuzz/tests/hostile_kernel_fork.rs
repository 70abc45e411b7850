//! A simulated kernel and `fork`: what a child may do, and who dies.
#![cfg(linux_aio_simulated)]

use linux_aio::op::Read;
use linux_aio::{Errno, IoContext, Queue, Slot};
use linux_aio_fuzz::simulated::memory::{Buffer, Buffers, watch};
use linux_aio_fuzz::simulated::{self, Filters, Kernel, Object, Script};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{LazyLock, Mutex, PoisonError};

static FILE: LazyLock<File> = LazyLock::new(|| File::open("/dev/null").expect("/dev/null"));

/// A kernel without faults.
fn kernel() -> Kernel {
    let kernel = simulated::kernel(Script::from_seed(1).with(&[]));
    kernel.open(FILE.as_fd(), Object::File);
    kernel
}

fn read<B>(buf: B) -> Read<BorrowedFd<'static>, B> {
    Read::new(FILE.as_fd(), buf, 0)
}

fn queue_of_six(buffers: &Buffers) -> Queue<Read<BorrowedFd<'static>, Buffer>> {
    let mut queue = Queue::with_capacity(6).expect("a queue");
    for _ in 0..6 {
        queue.push(read(buffers.make(64))).expect("a free slot");
    }
    queue
}

/// One test at a time: a child must not inherit what another thread has locked.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs `body` in a child of `fork`, and gives the status that it ended with.
fn in_child(body: impl FnOnce()) -> i32 {
    // SAFETY: The child runs `body` and leaves by `_exit`; `alarm` ends it should another thread of
    // the parent have held a lock.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork");
    if pid == 0 {
        // SAFETY: A number.
        unsafe { libc::alarm(20) };
        let good = catch_unwind(AssertUnwindSafe(body)).is_ok();
        // SAFETY: The child ends.
        unsafe { libc::_exit(if good { 0 } else { 101 }) };
    }
    let mut status = 0;
    // SAFETY: `status` is valid for writes.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    status
}

/// Goal: a scope that cannot be left is left by nobody. Method: a child whose kernel refuses to
/// wait and to destroy leaves a scope, by return and by panic: the signal that it dies of is
/// SIGKILL.
#[test]
fn a_scope_that_cannot_be_left_kills_the_process() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for panics in [false, true] {
        let status = in_child(|| {
            let kernel = kernel();
            kernel.kill_for_real();
            let _entered = kernel.enter();
            let mut context = IoContext::new(1).expect("a context");
            let mut bytes = [0; 64];
            let _watch = watch(&mut bytes);
            let _ = catch_unwind(AssertUnwindSafe(|| {
                linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
                    io.push(read(&mut bytes[..])).expect("a free slot");
                    io.submit().expect("room");
                    let refused = Some(Errno::EPERM);
                    kernel.filter(Filters {
                        getevents: refused,
                        destroy: refused,
                        ..Filters::default()
                    });
                    if panics {
                        resume_unwind(Box::new("out of the scope"));
                    }
                })
            }));
            // Not reached.
        });
        assert!(libc::WIFSIGNALED(status), "status {status:#x}, panics: {panics}");
        assert_eq!(libc::WTERMSIG(status), libc::SIGKILL);
    }
}

/// Goal: a forked child asks nothing of its parent's contexts and takes none of its events. Method:
/// a queue with events on the ring and operations in flight; the child tries everything, and ends
/// with a status of its own where a call reaches the kernel; then the parent gets all.
#[test]
fn a_forked_child_leaves_its_parents_contexts_alone() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let kernel = kernel();
    let _entered = kernel.enter();
    let buffers = Buffers::default();
    let mut queue = queue_of_six(&buffers);
    assert_eq!(queue.submit(), Ok(6));
    kernel.run_to_the_end();
    // The queue has seen six events and given one; another operation is in flight.
    let done = queue.try_next().expect("a poll").expect("a completion");
    let token = queue.push(done.op).expect("a free slot");
    assert_eq!(queue.submit(), Ok(1));
    let mut queue = Some(queue);
    let status = in_child(|| {
        let mut queue = queue.take().expect("a queue");
        assert!(queue.push(read(buffers.make(1))).is_err());
        assert_eq!(queue.try_next().map(drop).map_err(Errno::from), Err(Errno::FORKED));
        assert_eq!(queue.wait().map(drop).map_err(Errno::from), Err(Errno::FORKED));
        assert_eq!(queue.cancel(token), Err(Errno::FORKED));
        drop(queue);
    });
    assert_eq!(status, 0);
    let mut queue = queue.expect("the parent's");
    let mut rest = 0;
    while let Some(done) = queue.wait().expect("a wait") {
        assert_eq!(done.result, Ok(64));
        rest += 1;
    }
    assert_eq!(rest, 6);
    drop(queue);
    kernel.end().expect("nothing wrong");
}
