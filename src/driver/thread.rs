//! [`Thread`], which starts a driver's threads, and [`ThreadError`], which says what is missing if
//! one cannot be started.

use crate::Errno;
use core::error::Error;
use core::fmt;
use std::io;
use std::thread::Builder;

/// A thread that a driver starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thread {
    Helper,
    Timer,
    Reads,
    Writes,
    Calls,
}

impl Thread {
    /// The name that the kernel shows, of up to 15 bytes.
    fn name(self) -> &'static str {
        match self {
            Self::Helper => "linux-aio",
            Self::Timer => "linux-aio-timer",
            Self::Reads => "linux-aio-reads",
            Self::Writes => "linux-aio-write",
            Self::Calls => "linux-aio-calls",
        }
    }

    fn purpose(self) -> &'static str {
        match self {
            Self::Helper => "submits again, ends the context, and stands in for a reactor",
            Self::Timer => "wakes futures at their deadlines",
            Self::Reads => "waits for reads of files that are not in the page cache",
            Self::Writes => "writes files through the page cache",
            Self::Calls => "opens, closes and changes files",
        }
    }

    /// Starts the thread. It ends with `work`.
    pub(crate) fn start(self, work: impl FnOnce() + Send + 'static) -> Result<(), ThreadError> {
        match Builder::new().name(self.name().into()).spawn(work) {
            Ok(_detached) => Ok(()),
            Err(error) => {
                let errno = Errno::from_io_error(&error).unwrap_or(Errno::EAGAIN);
                Err(ThreadError { thread: self, errno })
            }
        }
    }
}

/// A thread that could not be started. Its text says what the thread is for, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadError {
    thread: Thread,
    errno: Errno,
}

impl ThreadError {
    pub(crate) fn errno(self) -> Errno {
        self.errno
    }
}

impl fmt::Display for ThreadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { thread, errno } = *self;
        let (name, purpose) = (thread.name(), thread.purpose());
        write!(
            f,
            "the driver's thread {name}, which {purpose}, could not be started: {errno:?}: "
        )?;
        f.write_str(match errno {
            Errno::EAGAIN | Errno::ENOMEM => {
                "a limit of threads or memory is reached; raise RLIMIT_NPROC (ulimit -u), pids.max \
                 of the cgroup (TasksMax of a service, --pids-limit of a container), \
                 kernel.threads-max or RLIMIT_AS, or make fewer drivers"
            }
            _ => "a seccomp filter or a security module may refuse clone; allow it there",
        })
    }
}

impl Error for ThreadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.errno)
    }
}

impl From<ThreadError> for io::Error {
    fn from(error: ThreadError) -> Self {
        Self::new(Self::from(error.errno).kind(), error)
    }
}

/// Says why a call was not made by a thread, or has failed there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure {
    Errno(Errno),
    NoThread(ThreadError),
}

impl Failure {
    /// Returns the error of a call, which `describe` makes of an errno.
    pub(crate) fn describe(self, describe: impl FnOnce(Errno) -> io::Error) -> io::Error {
        match self {
            Self::Errno(errno) => describe(errno),
            Self::NoThread(error) => error.into(),
        }
    }

    pub(crate) fn errno(self) -> Errno {
        match self {
            Self::Errno(errno) => errno,
            Self::NoThread(error) => error.errno,
        }
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<ThreadError> for Failure {
    fn from(error: ThreadError) -> Self {
        Self::NoThread(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errno(errno) => errno.fmt(f),
            Self::NoThread(error) => error.fmt(f),
        }
    }
}
