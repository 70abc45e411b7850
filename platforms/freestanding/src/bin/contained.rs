//! What a container lets a program do: as whom it runs, with which capabilities and how much
//! memory, whether it may write beside its tmpfs, whether io_uring is there, whether io_pgetevents
//! is, whether the completion ring can be read; and that asynchronous disk I/O works all the same.
//!
//! ```text
//! contained FILE
//! ```
//!
//! One line each, most of them `NAME: yes` or `NAME: no, errno N`; the last one, `transfer`, also
//! decides the exit status. Where the root can be written, a file `/made` is left there.
#![no_std]
#![no_main]

use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::time::Duration;

use linux_aio::{Errno, IoEvent, SigSet};
use linux_aio_freestanding::Arguments;
use linux_aio_freestanding::kernel::{self, flag};
use linux_aio_freestanding::print::{print, print_number};
use linux_aio_freestanding::transfer::{Failure, context, out_and_back};

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

/// Prints the words of a text, one space between.
fn say_words(text: &[u8]) {
    let words = text.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
    let mut separator = "";
    for word in words {
        print(separator);
        print(str::from_utf8(word).unwrap_or("?"));
        separator = " ";
    }
    print("\n");
}

fn content<'b>(path: &CStr, buffer: &'b mut [u8]) -> Result<&'b [u8], i32> {
    let file = kernel::open(path, flag::O_RDONLY, 0)?;
    let read = kernel::read(file, buffer);
    kernel::close(file)?;
    read.map(|length| &buffer[..length])
}

/// Prints two lines of `/proc/self/status`: the four numbers of the user, and the capabilities that
/// any program started from here could have.
fn say_who() -> Result<(), i32> {
    let mut buffer = [0; 4096];
    let status = content(c"/proc/self/status", &mut buffer)?;
    for line in status.split(|&byte| byte == b'\n') {
        if line.starts_with(b"Uid:") || line.starts_with(b"CapBnd:") {
            say_words(line);
        }
    }
    Ok(())
}

/// Prints the limit of the container's memory, by the second version of cgroups or the first.
fn say_memory() {
    let mut buffer = [0; 64];
    for path in [c"/sys/fs/cgroup/memory.max", c"/sys/fs/cgroup/memory/memory.limit_in_bytes"] {
        if let Ok(limit) = content(path, &mut buffer) {
            print("memory: ");
            return say_words(limit);
        }
    }
    print("memory: not shown\n");
}

fn work(path: &CStr) -> Result<(), Failure> {
    say_who().map_err(|errno| Failure::System("/proc/self/status", errno))?;
    say_memory();
    let made = kernel::open(c"/made", flag::O_WRONLY | flag::O_CREAT, 0o600);
    say("writable root", made.and_then(kernel::close));
    say("io_uring", kernel::io_uring_setup().and_then(kernel::close));
    let mut context = context()?;
    print(if context.uses_ring() { "ring: yes\n" } else { "ring: no\n" });
    let (_, mut reaper) = context.split();
    let mut events = [MaybeUninit::<IoEvent>::uninit()];
    let waited = reaper.wait_masked(0, Some(Duration::ZERO), &SigSet::empty(), &mut events);
    say("io_pgetevents", waited.map(drop).map_err(Errno::as_raw));
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
