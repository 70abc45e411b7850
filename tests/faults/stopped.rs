//! SIGSTOP and SIGCONT, again and again, at any moment: as with a debugger, a shell's job control
//! or a freezer. The kernel ends a wait for events with `EINTR` then, though no handler runs;
//! nothing is lost by it, and what promises not to end by signals does not.

use crate::common;

use super::stops::{pester, send};
use super::strace::FAULT;
use super::victim::{self, VICTIMS};
use common::child::{Ended, start_child, wait_for};
use common::files::pipe;
use common::{Watchdog, context, holds, queue, raw};
use core::time::Duration;
use linux_aio::op::Poll;
use linux_aio::{Errno, PollEvents, Slot};
use std::fs;
use std::sync::Arc;
use std::thread::sleep;

/// What /proc says of a process: `S` asleep, `T` stopped.
fn state(pid: libc::pid_t) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.trim_start().chars().next()
}

fn wait_for_state(pid: libc::pid_t, wanted: char) {
    while state(pid) != Some(wanted) {
        sleep(Duration::from_micros(100));
    }
}

fn stop_and_continue(pid: libc::pid_t) {
    send(pid, libc::SIGSTOP);
    wait_for_state(pid, 'T');
    send(pid, libc::SIGCONT);
}

/// Goal: it is known that a stop ends `io_getevents` with `EINTR`, without any handler. Method: a
/// child waits for an event that does not come.
#[test]
fn a_stop_ends_io_getevents_with_eintr() {
    let _watchdog = Watchdog::new();
    let child = start_child(|| {
        let context = raw::Context::new(1);
        assert_eq!(context.getevents(1, 1, None).err(), Some(Errno::EINTR));
    });
    wait_for_state(child, 'S');
    stop_and_continue(child);
    assert_eq!(wait_for(child), Ended::WELL);
}

/// Goal: a wait without a timeout goes on after every stop, and one with a timeout says `EINTR` and
/// loses nothing. Method: a POLL that becomes ready only after a hundred stops of the waiting
/// child; a queue and a scope.
#[test]
fn a_hundred_stops_end_no_wait_without_a_timeout() {
    const STOPS: usize = 100;
    let _watchdog = Watchdog::new();
    for in_scope in [false, true] {
        let mut pipe = pipe(libc::O_NONBLOCK);
        let reader = Arc::new(pipe.reader.try_clone().expect("a descriptor"));
        let long = Duration::from_secs(3600);
        let child = start_child(|| {
            let poll = Poll::new(reader, PollEvents::IN);
            let done = if in_scope {
                let mut context = context(1);
                let waited =
                    linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
                        io.push(poll).expect("a slot");
                        assert_eq!(
                            io.wait_timeout(long).map_err(Errno::from).err(),
                            Some(Errno::EINTR)
                        );
                        io.wait().expect("a wait").expect("the POLL").result
                    });
                waited.expect("a fresh context")
            } else {
                let mut queue = queue(1);
                queue.push(poll).expect("a slot");
                assert_eq!(queue.wait_timeout(long).map_err(Errno::from).err(), Some(Errno::EINTR));
                queue.wait().expect("a wait").expect("the POLL").result
            };
            assert!(holds(done, PollEvents::IN), "{done:?}");
        });
        for _ in 0..STOPS {
            wait_for_state(child, 'S');
            stop_and_continue(child);
        }
        pipe.put(1);
        assert_eq!(wait_for(child), Ended::WELL);
    }
    common::say_count(&format!("{} stops", 2 * STOPS));
}

/// Goal: everything that a queue, a scope, a driver and the bare calls do goes on under a storm of
/// stops. Method: the victims of the injected faults, with `EINTR` allowed for the bare calls
/// alone.
#[test]
fn storms_of_stops_lose_nothing() {
    let _watchdog = Watchdog::new();
    let mut stops = 0;
    for (name, _) in VICTIMS {
        for _ in 0..5 {
            let mut command = victim::command(name);
            if name.starts_with("raw") {
                command.env(FAULT, Errno::EINTR.as_raw().to_string());
            }
            let mut child = crate::program::piped(&mut command).spawn().expect("it starts");
            stops += pester(&mut child);
            let output = child.wait_with_output().expect("a child of ours");
            let out = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{name}: {}: {out}", output.status);
        }
    }
    common::say_count(&format!("{stops} stops"));
}
