//! Leaving a scope, by return or by panic: the kernel is finished with every borrowed buffer when
//! the call ends, whatever the closure did.

use crate::common;

use common::files::pipe;
use common::held::{BYTE, HeldFile};
use common::signal::Pester;
use common::{Watchdog, context, skip};
use core::cell::Cell;
use core::panic::AssertUnwindSafe;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use linux_aio::op::{Any, Poll, Read};
use linux_aio::{IoContext, Operation, PollEvents, Prepared, Slot};
use std::fs::File;
use std::panic::{catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;

fn works(context: &mut IoContext) -> bool {
    let zero = File::open("/dev/zero").expect("/dev/zero");
    let done = linux_aio::scope(context, &mut [const { Slot::new() }; 1], |io| {
        io.push(Read::new(&zero, [1u8; 8], 0)).expect("a slot");
        let done = io.wait().expect("a wait").expect("a completion");
        (done.result, done.op.buf, io.wait().expect("a wait").is_none(), io.stats().stray_events)
    });
    done == Ok((Ok(8), [0; 8], true, 0))
}

/// Goal: leaving cancels POLLs that nothing else would end, and waits for their events, by return
/// and by panic. Method: POLLs of a silent pipe, in flight and pending; the context goes on.
#[test]
fn leaving_ends_polls_by_return_and_by_panic() {
    let _watchdog = Watchdog::new();
    let pipe = pipe(libc::O_NONBLOCK);
    let mut context = context(8);
    for ring in [true, false] {
        context.use_ring(ring);
        for panics in [false, true] {
            let left = catch_unwind(AssertUnwindSafe(|| {
                linux_aio::scope(&mut context, &mut [const { Slot::new() }; 8], |io| {
                    for i in 0..8 {
                        io.push(Poll::new(&pipe.reader, PollEvents::IN)).expect("a slot");
                        if i == 5 {
                            assert_eq!(io.submit(), Ok(6));
                        }
                    }
                    assert!(io.try_next().expect("a poll").is_none());
                    if panics {
                        resume_unwind(Box::new("out of the scope"));
                    }
                })
            }));
            assert_eq!(left.is_err(), panics);
            assert_eq!(context.in_flight(), 0);
            assert!(works(&mut context), "ring: {ring}, panics: {panics}");
        }
    }
}

/// Goal: leaving waits for what cannot be cancelled; before that, no buffer is free again. Method:
/// held reads into local buffers; a thread lets them go later, and says so first; after the scope,
/// by return and by panic, that has been said and every byte is there.
#[test]
fn leaving_waits_for_reads_in_flight() {
    let _watchdog = Watchdog::new();
    for panics in [false, true] {
        let mut held = match HeldFile::new() {
            Ok(held) => held,
            Err(reason) => skip!("{reason}"),
        };
        let mut context = context(4);
        let mut buffers = [[0u8; 4096]; 4];
        let released = AtomicBool::new(false);
        thread::scope(|threads| {
            let left = catch_unwind(AssertUnwindSafe(|| {
                let file = held.file().try_clone().expect("a descriptor");
                linux_aio::scope(&mut context, &mut [const { Slot::new() }; 4], |io| {
                    for (i, buf) in (0..).zip(&mut buffers) {
                        io.push(Read::new(&file, buf, i * 4096)).expect("a slot");
                    }
                    assert_eq!(io.submit(), Ok(4));
                    held.wait_for_arrival(4);
                    let hold = held.take_hold();
                    threads.spawn(|| {
                        // Gives a scope that does not wait the time to show.
                        thread::sleep(Duration::from_millis(100));
                        released.store(true, Ordering::SeqCst);
                        drop(hold);
                    });
                    if panics {
                        resume_unwind(Box::new("out of the scope"));
                    }
                })
            }));
            assert!(released.load(Ordering::SeqCst), "panics: {panics}");
            assert_eq!(left.is_err(), panics);
            assert!(buffers.as_flattened().iter().all(|&byte| byte == BYTE));
        });
    }
}

/// Goal: signals do not end the wait of leaving, nor do timeouts that the closure used. Method: as
/// above, with a thread that signals this one all the while.
#[test]
fn leaving_waits_through_signals_and_timeouts() {
    let _watchdog = Watchdog::new();
    let mut held = match HeldFile::new() {
        Ok(held) => held,
        Err(reason) => skip!("{reason}"),
    };
    let mut context = context(1);
    let mut buffer = [0u8; 4096];
    let file = held.file().try_clone().expect("a descriptor");
    let pester = Pester::this_thread(libc::SIGUSR1);
    thread::scope(|threads| {
        linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
            io.push(Read::new(&file, &mut buffer[..], 0)).expect("a slot");
            assert_eq!(io.submit(), Ok(1));
            held.wait_for_arrival(1);
            assert!(io.wait_timeout(Duration::from_nanos(1)).is_err());
            let hold = held.take_hold();
            threads.spawn(|| {
                thread::sleep(Duration::from_millis(50));
                drop(hold);
            });
        })
        .expect("a scope");
        assert!(buffer.iter().all(|&byte| byte == BYTE));
    });
    drop(pester);
}

/// Goal: completions that the closure did not take, or took and forgot, are no reason to wait for
/// ever, and the buffers are free afterwards. Method: eight reads; some taken, some forgotten.
#[test]
fn completions_that_are_left_or_forgotten_keep_nothing() {
    let _watchdog = Watchdog::new();
    let zero = File::open("/dev/zero").expect("/dev/zero");
    let mut context = context(8);
    let alive = Arc::new(());
    let mut buffers = [[1u8; 64]; 8];
    linux_aio::scope(&mut context, &mut [const { Slot::new() }; 8], |io| {
        for buf in &mut buffers {
            let read = Read::new(&zero, &mut buf[..], 0);
            io.push((read, Arc::clone(&alive))).map_err(drop).expect("a slot");
        }
        drop(io.wait().expect("a wait"));
        core::mem::forget(io.wait().expect("a wait"));
        assert_eq!(io.in_flight(), 6);
    })
    .expect("a scope");
    // The forgotten completion's value leaks; every other has been dropped.
    assert_eq!(Arc::strong_count(&alive), 1 + 1);
    assert_eq!(buffers, [[0; 64]; 8]);
    assert!(works(&mut context));
}

/// Panics where it is told to, and counts its drops.
struct Fragile<'a> {
    read: Read<&'a File, [u8; 16]>,
    in_prepare: bool,
    in_drop: bool,
    drops: &'a Cell<u32>,
}

impl Operation for Fragile<'_> {
    fn prepare(&mut self) -> Prepared<'_> {
        if self.in_prepare {
            resume_unwind(Box::new("in prepare"));
        }
        self.read.prepare()
    }
}

impl Drop for Fragile<'_> {
    fn drop(&mut self) {
        self.drops.set(self.drops.get() + 1);
        if self.in_drop {
            resume_unwind(Box::new("in drop"));
        }
    }
}

/// Goal: an operation whose `prepare` or drop panics costs no other operation anything: each is
/// dropped once, after the wait. Method: at each place of five, in `prepare` caught inside or not,
/// and in the drop on leaving.
#[test]
fn operations_that_panic_are_dropped_once_like_all_others() {
    let _watchdog = Watchdog::new();
    let zero = File::open("/dev/zero").expect("/dev/zero");
    let mut context = context(5);
    for at in 0..5 {
        for (in_prepare, caught) in [(true, true), (true, false), (false, false)] {
            let drops = Cell::new(0);
            let fragile = |i| Fragile {
                read: Read::new(&zero, [1; 16], 0),
                in_prepare: in_prepare && i == at,
                in_drop: !in_prepare && i == at,
                drops: &drops,
            };
            let left = catch_unwind(AssertUnwindSafe(|| {
                linux_aio::scope(&mut context, &mut [const { Slot::new() }; 5], |io| {
                    for i in 0..5 {
                        let push = || io.push(fragile(i)).map_err(drop).expect("a slot");
                        if caught {
                            let pushed = catch_unwind(AssertUnwindSafe(push));
                            assert_eq!(pushed.is_err(), i == at);
                        } else {
                            push();
                        }
                        if i == 2 {
                            io.submit().expect("a submit");
                        }
                    }
                    assert_eq!(io.in_flight() + io.queued(), if caught { 4 } else { 5 });
                })
            }));
            assert_eq!(left.is_err(), !caught);
            let expected = if in_prepare && !caught { at + 1 } else { 5 };
            assert_eq!(drops.get(), expected, "at {at}, in prepare: {in_prepare}");
            assert!(works(&mut context));
        }
    }
}

/// Goal: a panic between completions loses nothing that belongs to others. Method: POLLs and reads
/// mixed; the closure panics after some completions; the buffers are whole afterwards.
#[test]
fn a_panic_between_completions_leaves_the_buffers_whole() {
    let _watchdog = Watchdog::new();
    let zero = File::open("/dev/zero").expect("/dev/zero");
    let silent = pipe(libc::O_NONBLOCK);
    let mut context = context(16);
    for taken in 0..8 {
        let mut buffers = [[1u8; 512]; 8];
        let left = catch_unwind(AssertUnwindSafe(|| {
            linux_aio::scope(&mut context, &mut [const { Slot::new() }; 16], |io| {
                for buf in &mut buffers {
                    let poll = Any::Poll(Poll::new(&silent.reader, PollEvents::IN));
                    io.push(poll).map_err(drop).expect("a slot");
                    let read: Any<_, _> = Any::Read(Read::new(&zero, Bytes(&mut buf[..]), 0));
                    io.push(read).map_err(drop).expect("a slot");
                }
                for _ in 0..taken {
                    let done = io.wait().expect("a wait").expect("a completion");
                    assert_eq!(done.result, Ok(512));
                }
                io.submit().expect("a submit");
                resume_unwind(Box::new("between completions"));
            })
        }));
        assert!(left.is_err_and(|panic| panic.is::<&str>()));
        assert_eq!(buffers, [[0; 512]; 8]);
    }
    assert!(works(&mut context));
}

/// `Any` wants its buffers for writing too.
struct Bytes<'a>(&'a mut [u8]);

impl AsMut<[u8]> for Bytes<'_> {
    fn as_mut(&mut self) -> &mut [u8] {
        self.0
    }
}

impl AsRef<[u8]> for Bytes<'_> {
    fn as_ref(&self) -> &[u8] {
        self.0
    }
}
