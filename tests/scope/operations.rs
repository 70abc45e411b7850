//! Scopes: entering, nesting on two contexts, slots, completions, and waiting.

use crate::common;

use common::files::{file_with, pattern, pipe};
use common::signal::{Pester, handled};
use common::{Watchdog, context, holds, room};
use core::time::Duration;
use linux_aio::op::{Any, Poll, Read, Write};
use linux_aio::{Errno, Iocb, PollEvents, ScopeError, Slot};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::thread;

/// Goal: borrowed buffers are filled, come back through the completions and are free afterwards.
/// Method: four buffers read all blocks of a file of forty.
#[test]
fn a_few_borrowed_buffers_read_a_whole_file() {
    let _watchdog = Watchdog::new();
    let content = pattern(40 * 512);
    let (_dir, _path, file) = file_with(&content);
    let mut buffers = [[0u8; 512]; 4];
    let mut context = context(4);
    for ring in [true, false] {
        context.use_ring(ring);
        let mut got = vec![0u8; content.len()];
        let mut offsets = (0..content.len() as u64).step_by(512);
        let bytes = linux_aio::scope(&mut context, &mut [const { Slot::new() }; 4], |io| {
            for (buf, at) in buffers.iter_mut().zip(&mut offsets) {
                io.push(Read::new(&file, buf, at)).expect("a slot");
            }
            let mut bytes = 0;
            while let Some(done) = io.wait().expect("a wait") {
                bytes += done.result.expect("a read");
                let at = done.op.offset as usize;
                got[at..at + 512].copy_from_slice(done.op.buf);
                if let Some(offset) = offsets.next() {
                    io.push(Read { offset, ..done.op }).expect("the slot that became free");
                }
            }
            bytes as usize
        });
        assert_eq!(bytes, Ok(content.len()));
        assert_eq!(got, content);
    }
    buffers.fill([0; 512]);
    assert_eq!(context.in_flight(), 0);
}

/// Goal: without a free slot, an operation is refused and comes back with its borrowed buffer.
#[test]
fn without_a_free_slot_the_operation_comes_back_with_its_buffer() {
    let _watchdog = Watchdog::new();
    let file = File::open("/dev/zero").expect("/dev/zero");
    let (mut first, mut second) = ([1; 16], [2; 16]);
    let mut context = context(1);
    let results = linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
        io.push(Read::new(&file, &mut first[..], 0)).expect("a slot");
        let refused = io.push(Read::new(&file, &mut second[..], 0)).unwrap_err();
        assert_eq!((refused.errno(), &refused.op.buf[..]), (Errno::EAGAIN, &[2; 16][..]));
        let done = io.wait().expect("a wait").expect("a completion");
        assert_eq!(done.result, Ok(16));
        io.push(refused.op).expect("the slot that became free");
        io.wait().expect("a wait").expect("a completion").result
    });
    assert_eq!((results, first, second), (Ok(Ok(16)), [0; 16], [0; 16]));
    let none = linux_aio::scope(&mut context, &mut [], |io| {
        assert_eq!(io.capacity(), 0);
        let refused = io.push(Read::new(&file, &mut first[..], 0)).is_err();
        (refused, io.submit(), io.wait().map(|done| done.is_none()))
    });
    assert_eq!(none, Ok((true, Ok(0), Ok(true))));
}

/// Goal: scopes of two contexts nest, and their operations do not meet. Method: the same buffers'
/// halves, tokens of the same slots.
#[test]
fn scopes_of_two_contexts_nest() {
    let _watchdog = Watchdog::new();
    let (zero, content) = (File::open("/dev/zero").expect("/dev/zero"), pattern(512));
    let (_dir, _path, file) = file_with(&content);
    let (mut outer, mut inner) = (context(4), context(4));
    let mut buffer = vec![1u8; 1024];
    let (low, high) = buffer.split_at_mut(512);
    let results = linux_aio::scope(&mut outer, &mut [const { Slot::new() }; 2], |outside| {
        let token = outside.push(Read::new(&zero, low, 0)).expect("a slot");
        assert_eq!(outside.submit(), Ok(1));
        let inside = linux_aio::scope(&mut inner, &mut [const { Slot::new() }; 2], |inside| {
            inside.push(Read::new(&file, high, 0)).expect("a slot");
            let done = inside.wait().expect("a wait").expect("a completion");
            assert!(inside.wait().expect("a wait").is_none(), "the outer one's does not come here");
            done.result
        });
        let done = outside.wait().expect("a wait").expect("a completion");
        assert_eq!(done.token, token);
        (done.result, inside)
    });
    assert_eq!(results, Ok((Ok(512), Ok(Ok(512)))));
    assert_eq!((&buffer[..512], &buffer[512..]), (&[0; 512][..], &content[..]));
}

/// Goal: a scope is refused while operations that were submitted past it are in flight, since
/// their events would come out in it; it says how many, and is entered when they are reaped.
#[test]
fn a_scope_is_refused_while_operations_are_in_flight() {
    let _watchdog = Watchdog::new();
    let mut context = context(8);
    let file = File::open("/dev/zero").expect("/dev/zero");
    let mut buffers = [[1u8; 16]; 3];
    let mut iocbs =
        buffers.each_mut().map(|buf| Iocb::pread(file.as_raw_fd(), buf.as_mut_ptr(), 16, 0));
    let pointers = iocbs.each_mut().map(core::ptr::from_mut);
    // SAFETY: The buffers and the file outlive the wait below and are not touched before.
    assert_eq!(unsafe { context.split().0.submit(&pointers) }, Ok(3));
    for left in (1..=3).rev() {
        assert_eq!(context.in_flight(), left);
        let mut entered = false;
        let refused = linux_aio::scope(
            &mut context,
            &mut [],
            |_: &linux_aio::Scope<Read<&File, [u8; 1]>>| {
                entered = true;
            },
        );
        assert_eq!((refused, entered), (Err(ScopeError::InFlight(left)), false));
        let text = ScopeError::InFlight(left).to_string();
        assert!(text.starts_with(&format!("EBUSY: {left} operations")), "{text}");
        let mut events = room::<1>();
        let taken = context.split().1.wait(1, None, &mut events).map(<[_]>::len);
        assert_eq!(taken, Ok(1));
    }
    let done = linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
        io.push(Read::new(&file, [1u8; 16], 0)).expect("a slot");
        io.wait().expect("a wait").expect("a completion").result
    });
    assert_eq!(done, Ok(Ok(16)));
}

/// Goal: waiting in a scope behaves as in a queue: time and signals end `wait_timeout` only, and
/// lose nothing.
#[test]
fn time_and_signals_end_only_the_wait_with_a_timeout() {
    let _watchdog = Watchdog::new();
    let mut pipe = pipe(libc::O_NONBLOCK);
    let reader = pipe.reader.try_clone().expect("a descriptor");
    let mut context = context(1);
    let result = linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
        io.push(Poll::new(&reader, PollEvents::IN)).expect("a slot");
        assert!(io.next_timeout(Duration::MAX).expect("a wait").is_none());
        let soon = io.wait_timeout(Duration::from_millis(5));
        assert_eq!(soon.map_err(Errno::from).err(), Some(Errno::ETIMEDOUT));
        let soon = io.next_timeout(Duration::from_millis(5));
        assert_eq!(soon.map_err(Errno::from).err(), Some(Errno::ETIMEDOUT));
        let before = handled(libc::SIGUSR1);
        let pester = Pester::this_thread(libc::SIGUSR1);
        let interrupted = io.wait_timeout(Duration::from_secs(3_600));
        assert_eq!(interrupted.map_err(Errno::from).err(), Some(Errno::EINTR));
        thread::scope(|threads| {
            threads.spawn(|| {
                while handled(libc::SIGUSR1) < before + 10 {
                    thread::sleep(Duration::from_millis(1));
                }
                pipe.put(1);
            });
            let done = io.wait().expect("a wait").expect("a completion");
            drop(pester);
            done.result
        })
    });
    assert!(holds(result.expect("a scope"), PollEvents::IN));
}

/// Goal: cancelling in a scope: what is pending, in flight, and done.
#[test]
fn pending_polls_and_polls_in_flight_are_cancelled() {
    let _watchdog = Watchdog::new();
    let pipe = pipe(libc::O_NONBLOCK);
    let mut context = context(2);
    linux_aio::scope(&mut context, &mut [const { Slot::new() }; 2], |io| {
        let in_flight = io.push(Poll::new(&pipe.reader, PollEvents::IN)).expect("a slot");
        assert_eq!(io.submit(), Ok(1));
        let pending = io.push(Poll::new(&pipe.reader, PollEvents::IN)).expect("a slot");
        assert_eq!((io.in_flight(), io.queued(), io.capacity()), (1, 1, 2));
        for token in [in_flight, pending] {
            assert_eq!(io.cancel(token), Ok(()));
        }
        let mut results = Vec::new();
        while let Some(done) = io.wait().expect("a wait") {
            assert_eq!(io.cancel(done.token), Err(Errno::ENOENT));
            results.push((done.token, done.result));
        }
        results.sort_by_key(|(token, _)| *token != in_flight);
        assert_eq!(results, [(in_flight, Ok(0)), (pending, Err(Errno::ECANCELED))]);
    })
    .expect("a scope");
}

/// Goal: a scope's array of slots may be used by one scope after another, also of other contexts.
#[test]
fn slots_serve_one_scope_after_another() {
    let _watchdog = Watchdog::new();
    let (_dir, path, file) = file_with(&[]);
    let mut slots = [const { Slot::new() }; 2];
    for (round, mut context) in [context(2), context(2), context(2)].into_iter().enumerate() {
        for _ in 0..3 {
            let done = linux_aio::scope(&mut context, &mut slots, |io| {
                let text: &'static [u8] = [b"one", b"two", b"six"][round];
                io.push(Any::<_, [u8; 0], _>::Write(Write::new(&file, text, 0)))
                    .map_err(drop)
                    .expect("a slot");
                // This one is left pending.
                io.submit().expect("a submit");
                let pending = Any::Write(Write::new(&file, &b"never"[..], 0));
                io.push(pending).map_err(drop).expect("a slot");
                io.try_next().expect("a poll").map(|done| done.result)
            });
            assert_eq!(done, Ok(Some(Ok(3))));
        }
    }
    assert_eq!(std::fs::read(path).expect("the file"), b"six");
}

/// Goal: one bad operation fails alone, as in a queue.
#[test]
fn one_bad_operation_fails_alone() {
    let _watchdog = Watchdog::new();
    let null = File::options().write(true).open("/dev/null").expect("/dev/null");
    let zero = File::open("/dev/zero").expect("/dev/zero");
    let mut buffers = [[1u8; 8]; 6];
    let mut context = context(6);
    let errors = linux_aio::scope(&mut context, &mut [const { Slot::new() }; 6], |io| {
        for (i, buf) in (0..).zip(&mut buffers) {
            let file = if i % 3 == 1 { &null } else { &zero };
            io.push(Read::new(file, &mut buf[..], i)).expect("a slot");
        }
        let mut errors = 0;
        while let Some(done) = io.wait().expect("a wait") {
            let bad = done.op.offset % 3 == 1;
            assert_eq!(done.result, if bad { Err(Errno::EBADF) } else { Ok(8) });
            errors += u32::from(bad);
        }
        errors
    });
    assert_eq!(errors, Ok(2));
    for (i, buf) in buffers.iter().enumerate() {
        assert_eq!(*buf, [u8::from(i % 3 == 1); 8]);
    }
}
