//! The first process of a machine: it mounts, loads modules and waits for devices.

use core::ffi::CStr;

use linux_aio_freestanding::kernel::{self, Errno, O_DIRECT, errno, flag};

use crate::place::{Open, Place};
use crate::report::{Report, Why};

/// Where the list of modules is, each with its parameters, in the order to load them.
const LIST: &CStr = c"/modules/list";

/// The devices that every guest has; one that is missing is a failure.
const DEVICES: [(&str, &CStr); 3] =
    [("ramdisk", c"/dev/ram0"), ("null_blk", c"/dev/nullb0"), ("virtio-blk", c"/dev/vda")];

/// A file on tmpfs.
pub const FILE: &CStr = c"/tmp/file";

/// Mounts what the checks need, and opens the console where the kernel could not.
pub fn mount() -> Result<(), Errno> {
    kernel::mount(c"devtmpfs", c"/dev")?;
    for _ in 0..3 {
        kernel::open(c"/dev/console", flag::O_RDWR, 0)?;
    }
    kernel::mount(c"proc", c"/proc")?;
    kernel::mount(c"tmpfs", c"/tmp")
}

/// Loads the modules, each as a check.
pub fn load_modules(report: &mut Report) -> Result<(), Why> {
    let mut list = [0; 2048];
    let file = Open(kernel::open(LIST, flag::O_RDONLY, 0)?);
    let length = kernel::read(file.0, &mut list)?;
    let list = str::from_utf8(&list[..length])
        .map_err(|_| Why::new(format_args!("the list of modules is not a text")))?;
    for line in list.lines() {
        let (name, parameters) = line.split_once(' ').unwrap_or((line, ""));
        report.add("module", name, load(name, parameters).map_err(Why::from));
    }
    Ok(())
}

fn load(name: &str, parameters: &str) -> Result<(), Errno> {
    let (mut path, mut text) = ([0; 128], [0; 256]);
    let path = terminated(&mut path, &["/modules/", name])?;
    let file = Open(kernel::open(path, flag::O_RDONLY, 0)?);
    kernel::finit_module(file.0, terminated(&mut text, &[parameters])?)
}

/// The parts in one, with a zero at the end.
fn terminated<'b>(buffer: &'b mut [u8], parts: &[&str]) -> Result<&'b CStr, Errno> {
    let mut length = 0;
    for part in parts {
        let end = length + part.len();
        buffer.get_mut(length..end).ok_or(errno::EINVAL)?.copy_from_slice(part.as_bytes());
        length = end;
    }
    CStr::from_bytes_until_nul(buffer).map_err(|_| errno::EINVAL)
}

/// Opens the devices, each as a check, and gives those that are there to `use_it`.
pub fn devices(report: &mut Report, mut use_it: impl FnMut(&mut Report, Place)) {
    for (name, path) in DEVICES {
        match wait_for(path) {
            Ok(file) => {
                report.add(name, "is-there", Ok(()));
                use_it(report, Place { name, path, file });
            }
            Err(error) => report.add(name, "is-there", Err(error.into())),
        }
    }
}

/// Devices appear some time after their modules were loaded.
fn wait_for(path: &CStr) -> Result<i32, Errno> {
    let mut tries = 0;
    loop {
        match kernel::open(path, flag::O_RDWR | O_DIRECT, 0) {
            Err(_) if tries < 200 => {
                tries += 1;
                kernel::sleep(50);
            }
            result => return result,
        }
    }
}
