//! Runs the library on block devices that fail in part, as the first process of a guest.
//!
//! The devices are the device mapper's, over each kind of disk that the guest has: one whose middle
//! third gives an error for everything, and is suspended at times, and one that refuses writes.
//! Each check is run by the bare calls, a scope, a queue and a driver. One line a check, `ok
//! PLACE/NAME` or `FAIL PLACE/NAME: WHY`; the last line counts them.

mod checks;
mod disk;
mod guest;
mod hung;
mod mapper;
mod report;
mod ways;

use report::Report;
use std::process::ExitCode;

/// The disks, as a guest of the matrix has them: one that is done inside of `io_submit`, one that
/// takes a moment, and one with a cache that must be flushed.
const DISKS: [(&str, &str); 3] =
    [("ramdisk", "/dev/ram0"), ("null_blk", "/dev/nullb0"), ("virtio-blk", "/dev/vda")];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [hung::GIVE_UP, path] = arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        return hung::give_up(path);
    }
    if std::process::id() != 1 {
        eprintln!("failing_devices overwrites disks: it runs as the first process of a guest only");
        return ExitCode::FAILURE;
    }
    // Firmware and boot loader may have left the console in the middle of a line.
    println!();
    let mut report = Report::default();
    report.add("guest", "is-set-up", guest::set_up());
    for (name, path) in DISKS {
        checks::run(&mut report, name, path);
    }
    report.finish();
    guest::power_off()
}
