//! Counts the system calls of this process and its threads, where the kernel lets it.

use anyhow::{Context, Result};
use perf_event::events::Tracepoint;
use perf_event::{Builder, Counter};
use rustix::mount::{MountFlags, UnmountFlags};
use std::path::Path;

/// Counts calls of threads that are started after it is made. While it is there, every system call
/// of the machine is a little slower.
pub struct SystemCalls(Counter);

impl SystemCalls {
    /// Returns a counter at zero.
    pub fn new() -> Result<Self> {
        let mut builder = Builder::new(Tracepoint::with_id(tracepoint()?));
        let counter =
            builder.inherit(true).exclude_kernel(false).build().context("perf_event_open")?;
        Ok(Self(counter))
    }

    /// Returns how many there were while `what` ran.
    pub fn during<R>(&mut self, what: impl FnOnce() -> R) -> Result<(R, u64)> {
        self.0.enable()?;
        let before = self.0.read()?;
        let result = what();
        let after = self.0.read()?;
        self.0.disable()?;
        // The second reading.
        Ok((result, (after - before).saturating_sub(1)))
    }
}

/// Returns the number of the tracepoint that every system call passes.
fn tracepoint() -> Result<u64> {
    let usual = Path::new("/sys/kernel/tracing");
    read_id(usual).or_else(|_| {
        // Not mounted; for long enough to read the number, that is soon done.
        let folder = tempfile::tempdir()?;
        rustix::mount::mount(c"tracefs", folder.path(), c"tracefs", MountFlags::RDONLY, None)
            .context("counting system calls takes root and a kernel with tracefs")?;
        let id = read_id(folder.path());
        rustix::mount::unmount(folder.path(), UnmountFlags::DETACH)?;
        id
    })
}

fn read_id(tracing: &Path) -> Result<u64> {
    let file = tracing.join("events/raw_syscalls/sys_enter/id");
    Ok(std::fs::read_to_string(file)?.trim().parse()?)
}
