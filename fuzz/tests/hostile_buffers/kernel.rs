//! A kernel without a ring, which does nothing but what a test tells it. What it tells may be
//! wrong.

use linux_aio::abi::{__kernel_long_t, aio_context_t, aio_ring, io_event, iocb, iovec};
use linux_aio::op::Read;
use linux_aio::sys::sim::{Kernel, install};
use linux_aio::{Errno, Opcode, Operation, Queue, Spare};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::{LazyLock, Once};
use std::time::Duration;

thread_local! {
    pub(crate) static IN_FLIGHT: RefCell<VecDeque<iocb>> = const { RefCell::new(VecDeque::new()) };
    pub(crate) static EVENTS: RefCell<VecDeque<io_event>> = const { RefCell::new(VecDeque::new()) };
    /// What `io_submit` answers instead of taking anything.
    pub(crate) static REFUSES: Cell<Option<Errno>> = const { Cell::new(None) };
    /// Operations end inside of `io_submit` with this count.
    pub(crate) static ON_SUBMIT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The byte that the kernel writes.
pub(crate) const WRITTEN: u8 = 7;

struct Told;

/// What user space finds at the address of a context: no ring.
static NO_RING: LazyLock<aio_ring> = LazyLock::new(aio_ring::default);

fn negative(errno: Errno) -> isize {
    -(errno.as_raw() as isize)
}

// SAFETY: The tests end an operation only when nobody writes to its buffer any more. They give
// results and tags that are wrong, which the library must bear.
unsafe impl Kernel for Told {
    unsafe fn io_setup(&self, _: u32, ctxp: *mut aio_context_t) -> Option<isize> {
        let id = (&raw const *NO_RING).expose_provenance();
        // SAFETY: The caller has room for the number of its context.
        unsafe { ctxp.write(id as aio_context_t) };
        Some(0)
    }

    unsafe fn io_destroy(&self, _: aio_context_t) -> Option<isize> {
        IN_FLIGHT.take();
        EVENTS.take();
        Some(0)
    }

    unsafe fn io_submit(
        &self,
        _: aio_context_t,
        nr: __kernel_long_t,
        iocbpp: *const *mut iocb,
    ) -> Option<isize> {
        if let Some(errno) = REFUSES.get() {
            return Some(negative(errno));
        }
        for at in 0..nr as usize {
            // SAFETY: The caller gives `nr` pointers, and `at` is below that.
            let place = unsafe { iocbpp.add(at) };
            // SAFETY: It is one of them.
            let pointer = unsafe { place.read() };
            // SAFETY: Each is to an iocb.
            let iocb = unsafe { pointer.read() };
            IN_FLIGHT.with_borrow_mut(|flight| flight.push_back(iocb));
            if let Some(count) = ON_SUBMIT.get() {
                complete(count);
            }
        }
        Some(nr)
    }

    unsafe fn io_cancel(&self, _: aio_context_t, _: *const iocb) -> Option<isize> {
        Some(negative(Errno::EINVAL))
    }

    unsafe fn io_getevents(
        &self,
        _: aio_context_t,
        min_nr: __kernel_long_t,
        nr: __kernel_long_t,
        room: *mut io_event,
        _: Option<Duration>,
    ) -> Option<isize> {
        let [min, nr] = [min_nr as usize, nr as usize];
        EVENTS.with_borrow_mut(|events| {
            assert!(events.len() >= min, "the test waits for an event that does not come");
            let count = events.len().min(nr);
            for (at, event) in events.drain(..count).enumerate() {
                // SAFETY: The caller has room for `nr` events, and `at` is below that.
                let place = unsafe { room.add(at) };
                // SAFETY: It is a place of that room.
                unsafe { place.write(event) };
            }
            Some(count as isize)
        })
    }
}

/// Puts this kernel before the running one.
pub(crate) fn boot() {
    static BOOTED: Once = Once::new();
    static KERNEL: &'static dyn Kernel = &Told;
    BOOTED.call_once(|| assert!(install(&KERNEL), "no other kernel is installed"));
}

/// The oldest operation in flight, which ends.
pub(crate) fn next() -> iocb {
    IN_FLIGHT.with_borrow_mut(VecDeque::pop_front).expect("an operation in flight")
}

pub(crate) fn event(data: u64, res: i64) {
    let event = io_event { data, obj: 0, res, res2: 0 };
    EVENTS.with_borrow_mut(|events| events.push_back(event));
}

/// Writes to the buffers of an operation as the kernel does.
pub(crate) fn write(iocb: &iocb, count: usize) {
    let one = iovec { iov_base: iocb.aio_buf as usize, iov_len: iocb.aio_nbytes as usize };
    if iocb.aio_lio_opcode != Opcode::PREADV.as_raw() {
        return write_to(&one, count);
    }
    let mut rest = count;
    for at in 0..one.iov_len {
        let table = std::ptr::with_exposed_provenance::<iovec>(one.iov_base);
        // SAFETY: The table has as many entries as the operation says, and it is in flight.
        let place = unsafe { table.add(at) };
        // SAFETY: It is an entry of that table.
        let entry = unsafe { place.read() };
        write_to(&entry, rest.min(entry.iov_len));
        rest -= rest.min(entry.iov_len);
    }
    assert_eq!(rest, 0);
}

fn write_to(entry: &iovec, count: usize) {
    assert!(count <= entry.iov_len);
    let start = std::ptr::with_exposed_provenance_mut::<u8>(entry.iov_base);
    // SAFETY: The operation is in flight, so its buffer is the kernel's.
    unsafe { start.write_bytes(WRITTEN, count) };
}

/// Ends the oldest operation with this count, as a kernel does that tells the truth.
pub(crate) fn complete(count: usize) {
    let iocb = next();
    if [Opcode::PREAD, Opcode::PREADV].contains(&Opcode::from_raw(iocb.aio_lio_opcode)) {
        write(&iocb, count);
    }
    event(iocb.aio_data, count as i64);
}

/// Looks at every byte.
#[track_caller]
pub(crate) fn look(bytes: &[u8], expected: usize) {
    assert_eq!(bytes.len(), expected);
    assert!(bytes.iter().all(|&byte| byte == WRITTEN), "{bytes:?}");
}

pub(crate) fn fd() -> BorrowedFd<'static> {
    // SAFETY: Only this kernel gets it.
    unsafe { BorrowedFd::borrow_raw(0) }
}

pub(crate) fn vec(room: usize) -> Spare<Vec<u8>> {
    Spare::with_limit(Vec::with_capacity(room), room)
}

pub(crate) fn read(room: usize) -> Read<BorrowedFd<'static>, Spare<Vec<u8>>> {
    Read::new(fd(), vec(room), 0)
}

pub(crate) fn queue<O: Operation>(capacity: u32) -> Queue<O> {
    boot();
    Queue::with_capacity(capacity).expect("a queue")
}

#[track_caller]
pub(crate) fn wait<O: Operation>(queue: &mut Queue<O>) -> (Result<u32, Errno>, O) {
    let done = queue.wait().expect("a wait").expect("a completion");
    (done.result, done.op)
}

/// Runs one operation, which the kernel ends with this count.
#[track_caller]
pub(crate) fn run<O: Operation + 'static>(op: O, count: usize) -> (Result<u32, Errno>, O) {
    let mut queue = queue(1);
    queue.push(op).map_err(drop).expect("a slot");
    queue.submit().expect("a submit");
    complete(count);
    wait(&mut queue)
}
