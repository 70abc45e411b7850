//! The kernel: io_destroy, and the end of a process. In children: the address of a ring that is
//! gone, which is also the number of its context, is soon that of another thread's mapping or
//! context.

use crate::common;

use common::child::{Ended, in_child};
use common::held::{BYTE, HeldFile};
use common::raw::{Context, is_mapped, poll_of, read_of};
use common::signal::Pester;
use common::{Watchdog, skip};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use linux_aio::{Errno, EventFd, PollEvents};
use std::os::fd::AsRawFd;
use std::thread;

/// Goal: io_destroy cancels POLLs, unmaps the ring, and leaves nothing that could be called; a
/// second one is EINVAL.
#[test]
fn io_destroy_ends_polls_and_everything_else() {
    let _watchdog = Watchdog::new();
    let ended = in_child(|| {
        let mut context = Context::new(16);
        let counter = EventFd::new().expect("a counter");
        let mut polls = [0; 16].map(|_| poll_of(counter.fd().as_raw(), PollEvents::IN, 0));
        assert_eq!(context.submit(&mut polls), Ok(16));
        let ring = context.ring_address().cast::<u8>();
        assert!(is_mapped(ring));
        let id = context.id;
        assert_eq!(context.destroy(), Ok(0));
        context.id = id;
        assert!(!is_mapped(ring));
        assert_eq!(context.destroy(), Err(Errno::EINVAL));
        assert_eq!(context.submit(&mut polls), Err(Errno::EINVAL));
        assert_eq!(context.cancel(&raw const polls[0]), Err(Errno::EINVAL));
        assert_eq!(context.getevents(0, 1, Some((0, 0))), Err(Errno::EINVAL));
    });
    assert_eq!(ended, Ended::WELL);
}

/// Goal: io_destroy waits for reads in flight, through signals, and when it returns 0 the buffers
/// are free; a second one meanwhile is EINVAL and does not wait. Method:
/// a held read; one thread destroys and is signalled, this one looks, then releases the read.
#[test]
fn io_destroy_waits_for_reads_in_flight_and_a_second_one_does_not() {
    let _watchdog = Watchdog::new();
    let ended = in_child(|| {
        let mut held = match HeldFile::new() {
            Ok(held) => held,
            Err(reason) => skip!("{reason}"),
        };
        let context = Context::new(4);
        let mut buf = [0u8; 4096];
        let mut read = read_of(held.file().as_raw_fd(), &mut buf, 5);
        assert_eq!(context.submit(core::slice::from_mut(&mut read)), Ok(1));
        held.wait_for_arrival(1);
        let (id, released) = (context.id, AtomicBool::new(false));
        thread::scope(|threads| {
            let destroyer = threads.spawn(|| {
                let pester = Pester::this_thread(libc::SIGUSR1);
                let mut context = Context { id };
                let destroyed = context.destroy();
                drop(pester);
                (destroyed, released.load(Ordering::SeqCst))
            });
            // Asked by its number: what is mapped at the ring's address may be another thread's by now.
            let mut second = Context { id };
            while second.submit(&mut []) != Err(Errno::EINVAL) {
                thread::yield_now();
            }
            assert_eq!(second.destroy(), Err(Errno::EINVAL));
            thread::sleep(Duration::from_millis(50));
            assert!(!destroyer.is_finished());
            released.store(true, Ordering::SeqCst);
            held.release();
            assert_eq!(destroyer.join().expect("the destroyer"), (Ok(0), true));
        });
        assert_eq!(buf, [BYTE; 4096]);
    });
    assert_eq!(ended, Ended::WELL);
}

/// Goal: a context belongs to the process, not to a thread: another may use and destroy it.
#[test]
fn any_thread_may_use_and_destroy_a_context() {
    let _watchdog = Watchdog::new();
    let ended = in_child(|| {
        let context = thread::spawn(|| Context::new(4)).join().expect("the maker");
        let counter = EventFd::new().expect("a counter");
        let id = context.id;
        thread::scope(|threads| {
            threads.spawn(|| {
                let poll = Box::leak(Box::new(poll_of(counter.fd().as_raw(), PollEvents::IN, 1)));
                assert_eq!(context.submit(core::slice::from_mut(poll)), Ok(1));
            });
            counter.add(1).expect("room in the counter");
            assert_eq!(context.wait(1, 1)[0].data, 1);
        });
        drop(context);
        assert_eq!(Context { id }.destroy(), Err(Errno::EINVAL));
    });
    assert_eq!(ended, Ended::WELL);
}

/// Goal: a process that exits or is killed with operations in flight ends. Method: children with
/// POLLs in flight.
#[test]
fn a_process_ends_with_operations_in_flight() {
    let _watchdog = Watchdog::new();
    for killed in [false, true] {
        let ended = in_child(|| {
            let context = Context::new(4);
            let counter = EventFd::new().expect("a counter");
            let mut poll = poll_of(counter.fd().as_raw(), PollEvents::IN, 1);
            assert_eq!(context.submit(core::slice::from_mut(&mut poll)), Ok(1));
            core::mem::forget(context);
            if killed {
                // SAFETY: Two numbers.
                unsafe { libc::raise(libc::SIGKILL) };
            }
        });
        assert_eq!(ended, if killed { Ended::Killed(libc::SIGKILL) } else { Ended::WELL });
    }
}
