//! Faults in the six calls themselves, injected by strace: whichever call fails, with whichever
//! error, at whichever of its occurrences or for good, data are right or the error is the injected
//! one, every operation comes back and is dropped once, and nothing hangs or panics.

use crate::common;

use super::injection::{
    Bench, CALLS, Effort, assert_well, each_error, effort, sample, single_strikes,
};
use super::strace::{self, Injection, When};
use super::victim::{self, VICTIMS};
use common::skip;
use linux_aio::Errno;
use std::os::unix::process::ExitStatusExt;

/// The ring is not used, since a forked child would read it, too.
const UNGUARDED: Injection =
    Injection { call: "madvise", error: Some(Errno::EINVAL), when: When::From(1) };

/// Each call of a victim fails once, at each of its occurrences.
fn strike_once(victim: &str) {
    if let Some(reason) = strace::missing() {
        skip!("{reason}");
    }
    let mut bench = Bench::new();
    let command = victim::command(victim);
    for (call, errors) in CALLS {
        let calls = bench.count(&command, call);
        for (error, when) in single_strikes(errors, calls) {
            let injection = [Injection { call, error, when }];
            if let Some(struck) = bench.run(&command, &injection) {
                assert_well(&struck, &injection);
            }
        }
    }
}

#[test]
fn a_queue_survives_any_one_failing_call() {
    strike_once("queue");
}

#[test]
fn a_queue_without_the_ring_survives_any_one_failing_call() {
    strike_once("queue without ring");
}

#[test]
fn a_scope_survives_any_one_failing_call() {
    strike_once("scope");
}

#[test]
fn a_scope_without_the_ring_survives_any_one_failing_call() {
    strike_once("scope without ring");
}

#[test]
fn the_bare_calls_survive_any_one_failing_call() {
    strike_once("raw");
}

#[test]
fn the_bare_calls_without_the_ring_survive_any_one_failing_call() {
    strike_once("raw without ring");
}

#[test]
fn a_driver_survives_any_one_failing_call() {
    strike_once("driver");
}

/// Goal: a call that fails for good, or every second time, is survived as well. EINTR for good is
/// left out: it is answered by trying again.
#[test]
fn everything_survives_a_call_that_fails_for_good() {
    if let Some(reason) = strace::missing() {
        skip!("{reason}");
    }
    let mut bench = Bench::new();
    for (nth, (victim, _)) in VICTIMS.iter().enumerate() {
        let command = victim::command(victim);
        for (call, error) in sample(each_error(), nth) {
            let ways = match error {
                Some(Errno::EINTR) => &[When::EverySecond][..],
                _ if effort() == Effort::All => &[When::From(1), When::From(2), When::EverySecond],
                _ => &[When::From(1)],
            };
            for &when in ways {
                let injection = [Injection { call, error, when }];
                let Some(struck) = bench.run(&command, &injection) else { break };
                assert_well(&struck, &injection);
            }
        }
    }
}

/// Goal: two calls that fail for good are survived, but where nothing proves any more that a
/// borrowed buffer is free: then the process is killed.
#[test]
fn everything_survives_two_calls_that_fail_for_good() {
    if let Some(reason) = strace::missing() {
        skip!("{reason}");
    }
    let mut bench = Bench::new();
    let mut killed = 0;
    let later = CALLS.iter().skip(1);
    let pairs = later.clone().flat_map(|a| later.clone().map(move |b| (a.0, b.0)));
    let pairs = pairs.filter(|(first, second)| first != second);
    for (nth, (victim, _)) in VICTIMS.iter().enumerate() {
        let command = victim::command(victim);
        for (first, second) in sample(pairs.clone(), nth) {
            let ways = [When::From(1), When::From(3)];
            for &when in if effort() == Effort::All { &ways[..] } else { &ways[..1] } {
                let injection = |call| Injection { call, error: Some(Errno::EPERM), when };
                let injections = [injection(first), injection(second)];
                let Some(struck) = bench.run(&command, &injections) else { break };
                let kills = victim.starts_with("scope") && [first, second].contains(&"io_destroy");
                if kills && struck.output.status.signal() == Some(libc::SIGKILL) {
                    killed += 1;
                } else {
                    assert_well(&struck, &injections);
                }
            }
        }
    }
    assert!(killed > 0, "a scope that could prove nothing was left");
}

/// Goal: where events can be taken neither off the ring nor by system call, there is no driver
/// whose futures would never end, but the error. Method: without the fork guard the ring is not
/// used.
#[test]
fn a_driver_that_could_not_reap_is_not_made() {
    if let Some(reason) = strace::missing() {
        skip!("{reason}");
    }
    let mut bench = Bench::new();
    let command = victim::command("driver");
    for error in [Errno::EPERM, Errno::ENOSYS] {
        let refused = Injection { call: "io_getevents", error: Some(error), when: When::From(1) };
        let struck = bench.run(&command, &[refused, UNGUARDED]).expect("it asks");
        assert_well(&struck, &[refused, UNGUARDED]);
        assert_eq!(struck.injected, 1, "{error:?}");
    }
    let submits = Injection { call: "io_submit", error: Some(Errno::EAGAIN), when: When::Only(2) };
    let struck = bench.run(&command, &[submits, UNGUARDED]).expect("it submits");
    assert_well(&struck, &[submits, UNGUARDED]);
}

/// Goal: where events can be taken no longer, every future of a driver ends, with the reason and
/// its buffer. Method: as above, with `io_getevents` refused from a later call on; the context is
/// destroyed while operations are in flight.
#[test]
fn a_driver_that_can_reap_no_longer_ends_its_futures() {
    if let Some(reason) = strace::missing() {
        skip!("{reason}");
    }
    let mut bench = Bench::new();
    let command = victim::command("driver");
    for error in [Errno::EPERM, Errno::ENOSYS] {
        for nth in 2..6 {
            let refused =
                Injection { call: "io_getevents", error: Some(error), when: When::From(nth) };
            let struck = bench.run(&command, &[refused, UNGUARDED]).expect("it asks again");
            assert_well(&struck, &[refused, UNGUARDED]);
        }
    }
}

/// Goal: where the kernel has no resources for a while, a driver retries, and every operation
/// succeeds, though nothing is in flight whose end could be waited for. Method: the first submits
/// give `EAGAIN`, or take none; so does each one of them, and every second.
#[test]
fn a_driver_outlasts_a_kernel_without_resources() {
    if let Some(reason) = strace::missing() {
        skip!("{reason}");
    }
    let mut bench = Bench::new();
    let command = victim::command("patient driver");
    for error in [Some(Errno::EAGAIN), None] {
        for when in [When::UpTo(1), When::UpTo(6), When::Only(2), When::Only(4), When::EverySecond]
        {
            let injection = [Injection { call: "io_submit", error, when }];
            let struck = bench.run(&command, &injection).expect("it submits");
            assert_well(&struck, &injection);
            let all = if let When::UpTo(last) = when { last } else { 1 };
            assert!(struck.injected >= all, "{injection:?}: {} calls failed", struck.injected);
        }
    }
}
