//! [`SetupError`], why there is no context, and what to do about it.

use crate::Errno;
use crate::sys::helper;
use core::ffi::CStr;
use core::fmt;

/// Says why `io_setup` made no context. Its text names the limit and the cure.
///
/// ```
/// use linux_aio_raw::{Errno, IoContext};
///
/// let error = IoContext::new(0).unwrap_err();
/// assert_eq!(error.errno(), Errno::EINVAL);
/// println!("{error}");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetupError {
    errno: Errno,
    asked: u32,
    usage: Option<Usage>,
}

/// `fs.aio-nr` and `fs.aio-max-nr`, when the call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Usage {
    in_use: u64,
    limit: u64,
}

impl SetupError {
    pub(super) fn new(errno: Errno, asked: u32) -> Self {
        let usage = (errno == Errno::EAGAIN).then(Usage::now).flatten();
        Self { errno, asked, usage }
    }

    /// Returns what the kernel answered.
    pub fn errno(&self) -> Errno {
        self.errno
    }

    /// Returns the number of operations in flight that was asked for.
    pub fn asked(&self) -> u32 {
        self.asked
    }

    /// Returns, for `EAGAIN`, `fs.aio-nr` at that time: what all processes together have asked for.
    pub fn aio_nr(&self) -> Option<u64> {
        self.usage.map(|usage| usage.in_use)
    }

    /// Returns, for `EAGAIN`, `fs.aio-max-nr` at that time: the limit of the system.
    pub fn aio_max_nr(&self) -> Option<u64> {
        self.usage.map(|usage| usage.limit)
    }
}

impl Usage {
    fn now() -> Option<Self> {
        let in_use = read_number(c"/proc/sys/fs/aio-nr")?;
        let limit = read_number(c"/proc/sys/fs/aio-max-nr")?;
        Some(Self { in_use, limit })
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { errno, asked, usage } = *self;
        write!(f, "io_setup({asked}): ")?;
        match (errno, usage) {
            (Errno::EAGAIN, Some(Usage { in_use, limit }))
                if in_use.saturating_add(asked.into()) <= limit =>
            {
                write!(
                    f,
                    "EAGAIN: the system's limit of AIO operations was used up: fs.aio-max-nr is \
                     {limit}, and by now only {in_use} are in use; try again",
                )
            }
            (Errno::EAGAIN, Some(Usage { in_use, limit })) => write!(
                f,
                "EAGAIN: the system's limit of AIO operations is used up: fs.aio-max-nr is \
                 {limit}, {in_use} are in use, {} are free, {asked} were asked for; ask for \
                 fewer, or raise it on the host: sysctl -w fs.aio-max-nr={}",
                limit.saturating_sub(in_use),
                in_use.saturating_add(asked.into()),
            ),
            (Errno::EAGAIN, None) => f.write_str(
                "EAGAIN: the system's limit of AIO operations, fs.aio-max-nr, is used up; ask \
                 for fewer, or raise it on the host with sysctl",
            ),
            (Errno::EINVAL, _) if asked == 0 => {
                f.write_str("EINVAL: a context for no operation; ask for at least 1")
            }
            (Errno::EINVAL, _) => f.write_str("EINVAL: more operations than a ring can hold"),
            (Errno::ENOMEM, _) => f.write_str("ENOMEM: no memory for the completion ring"),
            (Errno::ENOSYS, _) => f.write_str(
                "ENOSYS: this kernel has no AIO: it was built without CONFIG_AIO, or it is an \
                 emulation (qemu user mode has none), or a seccomp filter hides io_setup: then \
                 allow it in the profile of the container or service",
            ),
            (Errno::EPERM, _) => f.write_str(
                "EPERM: a seccomp filter refuses io_setup; allow it in the profile of the \
                 container or service",
            ),
            // The source has its text.
            _ => write!(f, "{errno:?}"),
        }
    }
}

impl core::error::Error for SetupError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.errno)
    }
}

impl From<SetupError> for Errno {
    fn from(error: SetupError) -> Self {
        error.errno
    }
}

#[cfg(feature = "std")]
impl From<SetupError> for std::io::Error {
    fn from(error: SetupError) -> Self {
        Self::new(Self::from(error.errno).kind(), error)
    }
}

/// Returns the number that a file of /proc holds.
fn read_number(path: &CStr) -> Option<u64> {
    let fd = Errno::check(helper::open_for_reading(path)).ok()? as i32;
    let mut text = [0; 24];
    let length = Errno::check(helper::read(fd, &mut text));
    // SAFETY: The descriptor was opened here and is nobody else's.
    unsafe { helper::close(fd) };
    let text = core::str::from_utf8(text.get(..length.ok()?)?).ok()?;
    text.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{SetupError, Usage};
    use crate::Errno;
    use std::string::ToString;

    #[test]
    fn the_message_for_an_exhausted_limit_names_the_numbers_and_the_cure() {
        let usage = Some(Usage { in_use: 65_500, limit: 65_536 });
        let error = SetupError { errno: Errno::EAGAIN, asked: 128, usage };
        let text = error.to_string();
        for part in ["fs.aio-max-nr is 65536", "65500 are in use", "36 are free", "128 were"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(text.ends_with("sysctl -w fs.aio-max-nr=65628"), "{text}");
    }

    #[test]
    fn a_limit_that_is_free_again_is_not_to_be_raised() {
        let usage = Some(Usage { in_use: 0, limit: 65_536 });
        let text = SetupError { errno: Errno::EAGAIN, asked: 128, usage }.to_string();
        assert!(text.ends_with("try again") && !text.contains("sysctl"), "{text}");
    }

    /// The text of an errno is left to the source.
    #[test]
    fn each_cause_has_a_text_of_its_own() {
        for errno in (1..4096).filter_map(Errno::from_raw) {
            let text = SetupError { errno, asked: 1, usage: None }.to_string();
            let start = std::format!("io_setup(1): {errno:?}");
            assert!(text.starts_with(&start), "{text}");
            assert!(!text.contains(&errno.to_string()), "{text}");
        }
    }
}
