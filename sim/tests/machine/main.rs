//! What a simulated machine does for programs, and what it says to those that use it wrongly.

mod driver;
mod files;
mod local;
mod local_storm;
mod memory;
mod misuse;
mod works;

#[path = "../../../tests/common/local_waker.rs"]
mod local_waker;
#[path = "../../../tests/common/users_code.rs"]
mod users_code;

use linux_aio::op::{Fdsync, Read, Write};
use linux_aio::{Errno, Queue};
use std::error::Error;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub(crate) type Outcome = Result<(), Box<dyn Error>>;

/// One operation in a queue of its own.
pub(crate) fn write(fd: OwnedFd, bytes: &[u8], at: u64) -> Result<u32, Errno> {
    let mut queue = Queue::with_capacity(1).expect("a context");
    queue.push(Write::new(fd, bytes.to_vec(), at)).expect("a free slot");
    queue.wait().expect("a completion").expect("one operation is queued").result
}

pub(crate) fn read(fd: OwnedFd, length: usize, at: u64) -> Result<Vec<u8>, Errno> {
    let mut queue = Queue::with_capacity(1).expect("a context");
    queue.push(Read::new(fd, vec![0; length], at)).expect("a free slot");
    let done = queue.wait().expect("a completion").expect("one operation is queued");
    let count = done.result? as usize;
    Ok(done.op.buf[..count].to_vec())
}

pub(crate) fn sync(fd: OwnedFd) -> Result<u32, Errno> {
    let mut queue = Queue::with_capacity(1).expect("a context");
    queue.push(Fdsync::new(fd)).expect("a free slot");
    queue.wait().expect("a completion").expect("one operation is queued").result
}

/// The message of the panic of `call`.
pub(crate) fn panic_of(call: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(call)).expect_err("it panics");
    let text = payload.downcast_ref::<&str>().map(|text| String::from(*text));
    text.or_else(|| payload.downcast_ref().cloned()).expect("a panic with a message")
}
