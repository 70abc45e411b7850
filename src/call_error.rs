//! [`CallError`], a system call of a scope or queue that failed.

use crate::Errno;
use core::fmt;
use static_assertions::assert_eq_size;

assert_eq_size!(Result<usize, CallError>, Result<usize, Errno>);

/// Says which system call of a [`Scope`](crate::Scope) or [`Queue`](crate::Queue) failed, and why.
/// Its text names the cause and the cure.
///
/// It converts to [`Errno`] and to `std::io::Error`.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use linux_aio::{Errno, PollEvents, Queue, op::Poll};
/// use std::time::Duration;
///
/// let (reader, _writer) = std::os::unix::net::UnixStream::pair()?;
/// let mut queue = Queue::with_capacity(1)?;
/// queue.push(Poll::new(reader, PollEvents::IN))?;
/// match queue.wait_timeout(Duration::from_millis(1)) {
///     Err(error) if error.errno() == Errno::ETIMEDOUT => println!("no data yet"),
///     other => println!("{:?}", other?),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CallError {
    errno: Errno,
    call: Call,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Submit,
    Getevents,
}

impl CallError {
    pub(crate) fn submit(errno: Errno) -> Self {
        Self { errno, call: Call::Submit }
    }

    pub(crate) fn getevents(errno: Errno) -> Self {
        Self { errno, call: Call::Getevents }
    }

    /// Returns the errno of the call.
    pub fn errno(&self) -> Errno {
        self.errno
    }

    /// Returns the name of the call: `io_submit` or `io_getevents`.
    pub fn call(&self) -> &'static str {
        match self.call {
            Call::Submit => "io_submit",
            Call::Getevents => "io_getevents",
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (call, errno) = (self.call(), self.errno);
        match (self.call, errno) {
            // Found out before the call is made.
            (_, Errno::FORKED) => write!(
                f,
                "FORKED: {call} was not called: the context was made before fork(), by another \
                 process"
            ),
            (Call::Submit, Errno::EAGAIN) => write!(
                f,
                "{call}: EAGAIN: the kernel had no room or no memory for an operation, although \
                 none is in flight; the operations are still queued, submit them later"
            ),
            (Call::Getevents, Errno::ETIMEDOUT) => {
                write!(f, "{call}: ETIMEDOUT: no operation completed before the timeout")
            }
            (Call::Getevents, Errno::EINTR) => {
                write!(f, "{call}: EINTR: a signal was handled before an operation completed")
            }
            (_, Errno::ENOSYS | Errno::EPERM) => write!(
                f,
                "{call}: {errno:?}: a seccomp filter refuses the call: allow {call} in the profile \
                 of the container or service"
            ),
            // The source has its text.
            _ => write!(f, "{call}: {errno:?}"),
        }
    }
}

impl fmt::Debug for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallError")
            .field("call", &format_args!("{}", self.call()))
            .field("errno", &self.errno)
            .finish()
    }
}

impl core::error::Error for CallError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.errno)
    }
}

impl From<CallError> for Errno {
    fn from(error: CallError) -> Self {
        error.errno
    }
}

#[cfg(feature = "std")]
impl From<CallError> for std::io::Error {
    fn from(error: CallError) -> Self {
        Self::new(Self::from(error.errno).kind(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::CallError;
    use crate::Errno;
    use alloc::string::ToString;

    /// Goal: no text has that of its source, the errno, but its name. Method: every errno.
    #[test]
    fn the_text_names_the_errno_and_leaves_its_text_to_the_source() {
        let errnos = (1..4096).filter_map(Errno::from_raw).chain([Errno::FORKED]);
        for errno in errnos {
            for error in [CallError::submit(errno), CallError::getevents(errno)] {
                let text = error.to_string();
                assert!(text.contains(&alloc::format!("{errno:?}")), "{text}");
                assert!(!text.contains(&errno.to_string()), "{text}");
            }
        }
    }
}
