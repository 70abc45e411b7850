//! The first process of a machine: it mounts, loads modules, and turns the machine off.

use crate::report::{Outcome, at};
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, finit_module, reboot};
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{Write, stdout};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// Where the list of modules is, each with its parameters, in the order to load them.
const LIST: &str = "/modules/list";

/// Mounts what the checks need, and loads the modules.
pub fn set_up() -> Outcome {
    fs::create_dir_all("/sys").map_err(at("/sys"))?;
    for (kind, target) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        mount(kind, target, kind, MountFlags::empty(), None).map_err(at(target))?;
    }
    let list = fs::read_to_string(LIST).map_err(at(LIST))?;
    list.lines().try_for_each(load)
}

fn load(line: &str) -> Outcome {
    let (name, parameters) = line.split_once(' ').unwrap_or((line, ""));
    let file = File::open(Path::new("/modules").join(name)).map_err(at(name))?;
    let parameters = CString::new(parameters).map_err(at(name))?;
    finit_module(&file, &parameters, 0).map_err(at(name))
}

/// Waits until a device is there: some time after its module was loaded.
pub fn wait_for(path: &str) -> Outcome {
    for _ in 0..200 {
        if Path::new(path).exists() {
            return Ok(());
        }
        sleep(Duration::from_millis(50));
    }
    Err(format!("{path} is not there"))
}

/// Ends the machine.
pub fn power_off() -> ! {
    let _ = stdout().flush();
    let error = reboot(RebootCommand::PowerOff);
    panic!("the machine cannot be turned off: {error:?}");
}
