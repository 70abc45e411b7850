//! Checks that the running kernel does what this library takes for granted, and that the library
//! does on this kernel what it promises.
//!
//! ```text
//! conformance FILE
//! ```
//!
//! makes the file, or overwrites it, and uses it; on a block device, whose first blocks it
//! overwrites, it checks what depends on where the data is. As the first process of a machine it
//! uses a file on tmpfs and three kinds of block devices, and turns the machine off at the end. One
//! line a check, `ok PLACE/NAME` or `FAIL PLACE/NAME: WHY`; the last line counts them.
#![no_std]
#![no_main]

mod errors;
mod forks;
mod guest;
mod layout;
mod library;
mod operations;
mod place;
mod polling;
mod raw;
mod report;
mod ring;
mod waiting;

use core::ffi::CStr;

use linux_aio_freestanding::kernel::{self, O_DIRECT, flag};
use linux_aio_freestanding::print::print;
use linux_aio_freestanding::{AT_PAGESZ, Arguments};

use place::{Check, Open, Place};
use report::{Outcome, Report, Why, line};

fn run(report: &mut Report, place: &Place, checks: &[Check]) {
    for (name, check) in checks {
        report.add(place.name, name, check(place));
    }
}

/// Everything that is the same wherever the data is; as a guest, also what others would disturb.
fn run_on_file(report: &mut Report, path: &'static CStr, alone: bool) -> Outcome {
    let file = kernel::open(path, flag::O_RDWR | flag::O_CREAT | flag::O_TRUNC, 0o600)?;
    let place = Place { name: "file", path, file };
    for checks in [
        layout::CHECKS,
        operations::CHECKS,
        errors::CHECKS,
        waiting::CHECKS,
        ring::CHECKS,
        polling::CHECKS,
        forks::CHECKS,
        library::CHECKS,
        library::TRANSFERS,
    ] {
        run(report, &place, checks);
    }
    if alone {
        run(report, &place, errors::ALONE);
    }
    Ok(())
}

/// What depends on where the data is.
fn run_on_device(report: &mut Report, place: Place) {
    for checks in [operations::CHECKS, errors::DIRECT, library::TRANSFERS] {
        run(report, &place, checks);
    }
}

fn facts(arguments: Arguments) -> Outcome {
    let system = kernel::Uname::new()?;
    line(format_args!("fact kernel {}", system.release()));
    line(format_args!("fact machine {}", system.machine()));
    line(format_args!("fact word {}", usize::BITS));
    line(format_args!(
        "fact endian {}",
        if cfg!(target_endian = "big") { "big" } else { "little" }
    ));
    line(format_args!("fact page {}", arguments.auxiliary(AT_PAGESZ)));
    line(format_args!("fact ring {}", ring::entries()?));
    Ok(())
}

fn as_guest(report: &mut Report, arguments: Arguments) -> Outcome {
    guest::mount()?;
    // Firmware and boot loader may have left the console in the middle of a line.
    print("\n");
    facts(arguments)?;
    guest::load_modules(report)?;
    run_on_file(report, guest::FILE, true)?;
    guest::devices(report, run_on_device);
    Ok(())
}

fn as_process(report: &mut Report, arguments: Arguments) -> Outcome {
    let path = arguments.get(1).ok_or_else(|| Why::new(format_args!("usage: conformance FILE")))?;
    facts(arguments)?;
    match device(path)? {
        Some(file) => run_on_device(report, Place { name: "device", path, file }),
        None => run_on_file(report, path, false)?,
    }
    Ok(())
}

/// Opens the block device of that name, if it is one.
fn device(path: &CStr) -> Result<Option<i32>, kernel::Errno> {
    let Ok(found) = kernel::open(path, flag::O_RDONLY, 0).map(Open) else {
        return Ok(None); // It is to be made.
    };
    if !kernel::is_block_device(found.0)? {
        return Ok(None);
    }
    kernel::open(path, flag::O_RDWR | O_DIRECT, 0).map(Some)
}

// SAFETY: The only function of this name, with the signature that the entry point declares.
#[unsafe(no_mangle)]
fn program(arguments: Arguments) -> i32 {
    let mut report = Report::default();
    let guest = kernel::getpid() == 1;
    let run = if guest { as_guest } else { as_process };
    if let Err(why) = run(&mut report, arguments) {
        report.add("conformance", "runs-to-its-end", Err(why));
    }
    let passed = report.finish();
    if guest {
        kernel::power_off();
    }
    i32::from(!passed)
}
