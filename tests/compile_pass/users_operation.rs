//! A user's own operations, and an enum of them, without unsafe code.

#![forbid(unsafe_code)]
#![deny(warnings)]

use linux_aio::op::{Fsync, Write};
use linux_aio::{Fd, IoPrio, Operation, PollEvents, Prepared, Queue, RwFlags};
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;

struct Append {
    log: Arc<File>,
    record: Vec<u8>,
}

impl Operation for Append {
    fn prepare(&mut self) -> Prepared<'_> {
        Prepared::write(self.log.as_fd().into(), &self.record, 0)
            .rw_flags(RwFlags::APPEND)
            .ioprio(IoPrio::idle())
    }
}

enum Job {
    Append(Append),
    Sync(Fsync<Arc<File>>),
    Plain(Write<Arc<File>, &'static str>),
    Ready(Arc<File>),
}

impl Operation for Job {
    fn prepare(&mut self) -> Prepared<'_> {
        match self {
            Self::Append(op) => op.prepare(),
            Self::Sync(op) => op.prepare(),
            Self::Plain(op) => op.prepare(),
            Self::Ready(file) => {
                let file: &File = file;
                Prepared::poll(Fd::from(file.as_fd()), PollEvents::OUT)
            }
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let log = Arc::new(File::options().write(true).open("/dev/null")?);
    let mut queue = Queue::with_capacity(4)?;
    queue.push(Job::Append(Append { log: Arc::clone(&log), record: vec![1] }))?;
    queue.push(Job::Sync(Fsync::new(Arc::clone(&log))))?;
    queue.push(Job::Plain(Write::new(Arc::clone(&log), "text", 0)))?;
    queue.push(Job::Ready(log))?;
    while let Some(done) = queue.wait()? {
        let _ = done.result;
    }
    Ok(())
}
