//! What a container lets a program do: whether io_uring is there, whether io_pgetevents is, whether
//! the completion ring can be read; and that asynchronous disk I/O works all the same.
//!
//! ```text
//! contained FILE
//! ```
//!
//! One line each, `NAME: yes` or `NAME: no, errno N`; the last one, `transfer`, also decides the
//! exit status.
#![no_std]
#![no_main]

use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::time::Duration;

use linux_aio::{Errno, IoEvent, SigSet};
use linux_aio_freestanding::print::{print, print_number};
use linux_aio_freestanding::transfer::{Failure, context, out_and_back};
use linux_aio_freestanding::{Arguments, kernel};

fn say(name: &str, result: Result<(), i32>) {
    print(name);
    match result {
        Ok(()) => print(": yes\n"),
        Err(errno) => {
            print(": no, errno ");
            print_number(i64::from(errno));
            print("\n");
        }
    }
}

fn work(path: &CStr) -> Result<(), Failure> {
    say("io_uring", kernel::io_uring_setup().and_then(kernel::close));
    let mut context = context()?;
    print(if context.uses_ring() { "ring: yes\n" } else { "ring: no\n" });
    let (_, mut reaper) = context.split();
    let mut events = [MaybeUninit::<IoEvent>::uninit()];
    let waited = reaper.wait_masked(0, Some(Duration::ZERO), &SigSet::empty(), &mut events);
    say("io_pgetevents", waited.map(drop).map_err(Errno::raw));
    out_and_back(&mut context, path)
}

// SAFETY: The only function of this name, with the signature that the entry point declares.
#[unsafe(no_mangle)]
fn program(arguments: Arguments) -> i32 {
    let Some(path) = arguments.get(1) else {
        print("usage: contained FILE\n");
        return 2;
    };
    if let Err(failure) = work(path) {
        print("transfer: no, ");
        failure.print();
        return 1;
    }
    print("transfer: yes\n");
    0
}
