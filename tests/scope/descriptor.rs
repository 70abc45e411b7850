//! Waiting for a scope by its descriptor.

use crate::common;

use common::descriptor::{Loop, Trigger};
use common::files::file_with;
use common::{Watchdog, context};
use linux_aio::op::{Read, Write};
use linux_aio::{Errno, Slot};
use std::fs::File;

/// Goal: the descriptor of a scope wakes a loop for every completion: refused, cancelled, held back
/// and others. Method: 600 reads on borrowed buffers in the smallest context, by more pushes than a
/// scope queues; level-triggered with one completion for each wake-up, and edge-triggered. The
/// descriptor is closed with the scope, and the context goes on.
#[test]
fn every_completion_of_a_scope_wakes_the_loop() {
    const COUNT: usize = 600;
    let _watchdog = Watchdog::new();
    let zero = File::open("/dev/zero").expect("/dev/zero");
    let null = File::options().write(true).open("/dev/null").expect("/dev/null");
    let mut context = context(1);
    for trigger in [Trigger::Level, Trigger::Edge, Trigger::Level] {
        let (mut buffers, mut last) = (vec![[1; 8]; COUNT], [1; 8]);
        let mut slots: Vec<_> = (0..COUNT).map(|_| Slot::new()).collect();
        let events = linux_aio::scope(&mut context, &mut slots, |io| {
            let events = Loop::of(io.completion_fd().expect("an eventfd"), trigger);
            let (mut good, mut refused, mut cancelled) = (0, 0, 0);
            let mut take = || {
                while let Some(done) = io.try_next().expect("a poll") {
                    match done.result {
                        Ok(8) => good += 1,
                        Err(Errno::EBADF) => refused += 1,
                        Err(Errno::ECANCELED) => cancelled += 1,
                        result => panic!("{result:?}"),
                    }
                    if trigger == Trigger::Level {
                        break;
                    }
                }
            };
            for (i, buf) in buffers.iter_mut().enumerate() {
                let file = if i % 10 == 3 { &null } else { &zero };
                let mut read = Read::new(file, &mut buf[..], 0);
                let token = loop {
                    match io.push(read) {
                        Ok(token) => break token,
                        Err(full) => read = full.op,
                    }
                    // As many are queued as a scope queues, and the kernel has no room.
                    events.sleep();
                    take();
                };
                if i % 10 == 7 {
                    assert_eq!(io.cancel(token), Ok(()));
                }
            }
            io.submit().expect("room for some");
            while events.is_woken() {
                take();
            }
            assert_eq!((io.queued(), io.in_flight()), (0, 0));
            assert_eq!([good, refused, cancelled], [480, 60, 60]);
            // One that is not taken.
            io.push(Read::new(&zero, &mut last[..], 0))
                .map_err(|full| full.errno())
                .expect("a slot");
            assert_eq!(io.submit(), Ok(1));
            events
        });
        assert!(!events.expect("nothing outstanding").is_woken(), "the eventfd outlives its scope");
    }
}

/// Goal: operations that are held back when a scope is left are dropped, and not submitted, as any
/// that are pushed only. Method: writes of one byte each, more than the kernel has room for; the
/// length of the file says how many were done.
#[test]
fn leaving_a_scope_submits_no_operation_that_is_held_back() {
    let _watchdog = Watchdog::new();
    let (_dir, _path, file) = file_with(&[]);
    let mut slots: Vec<_> = (0..1_000).map(|_| Slot::new()).collect();
    let accepted = linux_aio::scope(&mut context(1), &mut slots, |io| {
        io.completion_fd().expect("an eventfd");
        let full = (0..1_000).find(|&at| io.push(Write::new(&file, [7], at)).is_err());
        assert!(full.is_some() && io.queued() > 0, "the kernel has room for all");
        io.stats().operations
    });
    assert_eq!(file.metadata().map(|file| file.len()).ok(), accepted.ok());
}
