//! `fs.aio-max-nr` used up: the error names the limit, the numbers and the cure. A program of its
//! own, which holds the whole system's share for as short as it can and gives all of it back.
#![cfg(feature = "std")]

mod common;

use common::{Watchdog, skip};
use core::time::Duration;
use linux_aio::{Errno, IoContext, SetupError};
use std::thread;

fn number(name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/sys/fs/{name}")).expect("a file of /proc");
    text.trim().parse().expect("a number")
}

/// Goal: the message tells who meets the limit what to do, with the true numbers. Method: contexts
/// are made until none is left to be had, so the limit is met whatever others do; they are dropped
/// before anything is asserted.
#[test]
fn a_used_up_limit_is_explained_with_numbers_and_a_cure() {
    let _watchdog = Watchdog::new();
    let limit = number("aio-max-nr");
    let free = limit.saturating_sub(number("aio-nr"));
    if free > 1 << 20 {
        skip!("fs.aio-max-nr is {limit}: using it up would take too much memory");
    }
    let error = 'met: {
        for _ in 0..20 {
            if let Some(error) = meet_the_limit() {
                break 'met error;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("others make and drop contexts so fast that the limit is never met");
    };

    assert_eq!((error.errno(), error.asked()), (Errno::EAGAIN, 256));
    assert_eq!(error.aio_max_nr(), Some(limit));
    let in_use = error.aio_nr().expect("a number");
    assert!(in_use <= limit && in_use + 256 > limit, "{in_use} of {limit}");
    let text = error.to_string();
    let cure = format!("sysctl -w fs.aio-max-nr={}", in_use + 256);
    let parts = [
        "io_setup(256): EAGAIN".to_owned(),
        format!("fs.aio-max-nr is {limit}"),
        format!("{in_use} are in use"),
        format!("{} are free", limit - in_use),
        "256 were asked for".to_owned(),
        cure,
    ];
    for part in parts {
        assert!(text.contains(&part), "no {part:?} in {text:?}");
    }
    let io_error = std::io::Error::from(error);
    assert!(io_error.to_string().contains("fs.aio-max-nr"), "{io_error}");
    assert_eq!(io_error.kind(), std::io::ErrorKind::WouldBlock);

    // Everything has been given back: there is room again.
    drop(common::context(256));
}

/// Uses the limit up, meets it once more, and gives everything back. `None` where somebody else
/// gave something back in the middle, so that the numbers of the error are not those of its time.
fn meet_the_limit() -> Option<SetupError> {
    let mut held = Vec::new();
    let mut size = 16_384;
    let error = loop {
        match IoContext::new(size) {
            Ok(context) => held.push(context),
            Err(error) if error.errno() != Errno::EAGAIN => panic!("{error}"),
            Err(error) if size == 256 => break error,
            Err(_) => size /= 4,
        }
    };
    // Each takes about 30 ms to end, all together not much longer.
    thread::scope(|threads| {
        for context in held {
            threads.spawn(move || drop(context));
        }
    });
    let in_use = error.aio_nr()?;
    (in_use + 256 > error.aio_max_nr()?).then_some(error)
}

/// Goal: numbers that no kernel takes are refused with a cause, not with the limit's text.
#[test]
fn numbers_that_no_kernel_takes_are_refused_with_their_cause() {
    let zero = IoContext::new(0).unwrap_err();
    assert_eq!((zero.errno(), zero.aio_nr(), zero.aio_max_nr()), (Errno::EINVAL, None, None));
    assert!(zero.to_string().contains("at least 1"), "{zero}");
    let huge = IoContext::new(u32::MAX).unwrap_err();
    assert_eq!((huge.errno(), huge.aio_nr()), (Errno::EINVAL, None));
    assert!(huge.to_string().contains("more operations than"), "{huge}");
}
