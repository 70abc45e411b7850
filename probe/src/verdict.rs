//! [`Unusable`] and [`Note`], what a [`Kernel`] lacks, why, and what to do about it.

use super::{AioUsage, Availability, Call, Kernel, RingAccess, Support};
use alloc::vec::Vec;
use core::fmt;
use linux_aio::{Errno, Opcode, SetupError};

/// Says why AIO cannot be used here. Its text names the cause and the cure.
///
/// ```
/// use linux_aio_probe::Unusable;
///
/// match linux_aio_probe::kernel().usable() {
///     Ok(()) => println!("AIO works here"),
///     Err(Unusable::Call(call, is)) => println!("{call} is {is}"),
///     Err(other) => println!("{other}"),
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unusable {
    /// A call without which nothing works is missing or refused.
    Call(Call, Availability),
    /// No context could be made.
    Setup(SetupError),
    /// A context could be made, but there is no memory for a buffer.
    Memory(Errno),
    /// A context could be made, but a read was refused.
    Read(Errno),
}

impl Unusable {
    /// Returns the errno: that of the call that failed or that a filter refuses, or `ENOSYS` for a
    /// call that is missing.
    ///
    /// ```
    /// use linux_aio::Errno;
    /// use linux_aio_probe::{Availability, Call, Unusable};
    ///
    /// let missing = Unusable::Call(Call::IoSetup, Availability::Missing);
    /// assert_eq!(missing.errno(), Errno::ENOSYS);
    /// ```
    pub fn errno(&self) -> Errno {
        match *self {
            Self::Call(_, Availability::Filtered(errno))
            | Self::Memory(errno)
            | Self::Read(errno) => errno,
            Self::Call(..) => Errno::ENOSYS,
            Self::Setup(error) => error.errno(),
        }
    }

    /// Returns the first call without which nothing works and that is not there.
    pub(super) fn missing_call(availability: impl Fn(Call) -> Availability) -> Option<Self> {
        // On 32-bit targets the other waiting call is used where this one is missing.
        let narrow = cfg!(all(target_pointer_width = "32", not(target_arch = "x86_64")));
        let substituted = |call| {
            let other = narrow && call == Call::IoGetevents;
            other && availability(Call::IoPgetevents) == Availability::There
        };
        [Call::IoSetup, Call::IoSubmit, Call::IoGetevents, Call::IoDestroy]
            .into_iter()
            .map(|call| (call, availability(call)))
            .find(|&(call, is)| is != Availability::There && !substituted(call))
            .map(|(call, is)| Self::Call(call, is))
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Call(call, availability) => {
                write!(f, "{call} is {availability}: {}", cure(call, availability))
            }
            Self::Setup(error) => error.fmt(f),
            Self::Memory(errno) => write!(f, "no memory for a buffer: {errno:?}"),
            Self::Read(errno) => write!(
                f,
                "a context can be made, but reads are refused: {errno:?}; this is an emulation, or \
                 a security module forbids it"
            ),
        }
    }
}

impl core::error::Error for Unusable {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(match self {
            Self::Call(_, Availability::Filtered(errno))
            | Self::Memory(errno)
            | Self::Read(errno) => errno,
            Self::Call(..) => &Errno::ENOSYS,
            // The text is that of the error.
            Self::Setup(error) => return error.source(),
        })
    }
}

impl From<Unusable> for Errno {
    fn from(error: Unusable) -> Self {
        error.errno()
    }
}

#[cfg(feature = "std")]
impl From<Unusable> for std::io::Error {
    fn from(error: Unusable) -> Self {
        Self::new(Self::from(error.errno()).kind(), error)
    }
}

/// Says what an administrator can do if a call is not there.
struct Cure {
    call: Call,
    availability: Availability,
}

fn cure(call: Call, availability: Availability) -> Cure {
    Cure { call, availability }
}

impl fmt::Display for Cure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let call = self.call;
        match self.availability {
            Availability::There => f.write_str("nothing to do"),
            Availability::Filtered(_) => {
                write!(f, "allow {call} in the seccomp profile of the container or service")
            }
            Availability::Missing if call == Call::IoCancel => f.write_str(
                "the kernel is an emulation (gVisor), or a seccomp filter hides the call: then \
                 allow it in the profile",
            ),
            Availability::Missing if call == Call::IoPgetevents => f.write_str(
                "the kernel is older than 4.18 or an emulation (gVisor, valgrind), or a seccomp \
                 filter hides the call: then allow it in the profile",
            ),
            Availability::Missing => f.write_str(
                "the kernel was built without CONFIG_AIO, or is an emulation (qemu user mode has \
                 no AIO), or a seccomp filter hides the call: then allow it in the profile of the \
                 container or service",
            ),
        }
    }
}

/// Something that is missing or odd and leaves AIO usable. Its text names the consequence, and the
/// cure where there is one.
///
/// ```
/// use linux_aio_probe::Note;
///
/// for note in linux_aio_probe::kernel().notes() {
///     if let Note::NearLimit(usage) = note {
///         println!("raise fs.aio-max-nr soon: {} are in use", usage.in_use);
///     }
///     println!("note: {note}");
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// The kernel is gVisor's.
    Gvisor,
    /// `io_pgetevents` is not there.
    NoMaskedWait(Availability),
    /// `io_cancel` is not there.
    NoCancel(Availability),
    /// Events cannot be taken without a system call.
    NoRing(RingAccess),
    /// Per-operation flags have no effect, and no error says so.
    FlagsIgnored,
    /// An operation is refused.
    Refused(Opcode, Errno),
    /// Less than a quarter of the system's AIO operations is free.
    NearLimit(AioUsage),
}

impl Note {
    pub(super) fn of(kernel: &Kernel) -> Vec<Self> {
        let mut notes = Vec::new();
        if kernel.is_gvisor() {
            notes.push(Self::Gvisor);
        }
        let other_than_there = |call| {
            Some(kernel.call(call)).filter(|&availability| availability != Availability::There)
        };
        notes.extend(other_than_there(Call::IoPgetevents).map(Self::NoMaskedWait));
        notes.extend(other_than_there(Call::IoCancel).map(Self::NoCancel));
        let access = kernel.ring.map(|ring| ring.access);
        notes.extend(access.filter(|&access| access != RingAccess::Direct).map(Self::NoRing));
        if kernel.flags.iter().any(|(_, _, support)| support == Support::Ignored) {
            notes.push(Self::FlagsIgnored);
        }
        notes.extend(kernel.opcodes().filter_map(refused));
        notes.extend(kernel.usage.filter(AioUsage::is_near_limit).map(Self::NearLimit));
        notes
    }
}

/// Returns a note for an operation that Linux has and this kernel refuses. (NOOP is refused by
/// Linux.)
fn refused((_, opcode, support): (&str, Opcode, Support)) -> Option<Note> {
    match support {
        Support::Refused(errno) if opcode != Opcode::NOOP => Some(Note::Refused(opcode, errno)),
        _ => None,
    }
}

impl AioUsage {
    /// Returns whether less than a quarter is free.
    fn is_near_limit(&self) -> bool {
        self.limit.saturating_sub(self.in_use) < self.limit / 4
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Gvisor => f.write_str("this is gVisor: reads, writes and FSYNC work"),
            Self::NoMaskedWait(is) => write!(
                f,
                "io_pgetevents is {is}: waits cannot swap the signal mask, all else works; {}",
                cure(Call::IoPgetevents, is)
            ),
            Self::NoCancel(is) => write!(
                f,
                "io_cancel is {is}: a POLL cannot be ended before its time; {}",
                cure(Call::IoCancel, is)
            ),
            Self::NoRing(access) => {
                write!(f, "the completion ring is {access}: every reap is a system call")
            }
            Self::FlagsIgnored => f.write_str(
                "per-operation flags have no effect here, without an error: DSYNC and SYNC make \
                 nothing durable (use FSYNC), APPEND does not append",
            ),
            Self::Refused(opcode @ (Opcode::FSYNC | Opcode::FDSYNC), errno) => {
                write!(f, "{opcode:?} is refused ({errno:?}): Linux has it since 4.18")
            }
            Self::Refused(opcode @ Opcode::POLL, errno) => {
                write!(f, "{opcode:?} is refused ({errno:?}): Linux has it since 4.19")
            }
            Self::Refused(opcode, errno) => write!(f, "{opcode:?} is refused ({errno:?})"),
            Self::NearLimit(AioUsage { in_use, limit }) => write!(
                f,
                "{in_use} of the {limit} AIO operations of the system are in use; before contexts \
                 are refused, raise the limit on the host: sysctl -w fs.aio-max-nr={}",
                limit.saturating_mul(2)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{AioUsage, Note, Unusable};
    use crate::{Availability, Call, DirectoryError};
    use linux_aio::{Errno, IoContext, Opcode};
    use std::string::ToString;

    #[test]
    fn a_refused_call_names_the_filter_and_the_cure() {
        let error = Unusable::Call(Call::IoSetup, Availability::Filtered(Errno::EPERM));
        assert_eq!(
            error.to_string(),
            "io_setup is refused by a seccomp filter (EPERM): allow io_setup in the seccomp \
             profile of the container or service"
        );
    }

    /// Goal: each reason has its errno, also as an `Errno`, as an `io::Error`, and below one.
    #[test]
    fn each_reason_keeps_its_errno() {
        let reasons = [
            (Unusable::Call(Call::IoSetup, Availability::Filtered(Errno::EPERM)), Errno::EPERM),
            (Unusable::Call(Call::IoSubmit, Availability::Missing), Errno::ENOSYS),
            (Unusable::Setup(IoContext::new(0).expect_err("no operation")), Errno::EINVAL),
            (Unusable::Memory(Errno::ENOMEM), Errno::ENOMEM),
            (Unusable::Read(Errno::EACCES), Errno::EACCES),
        ];
        for (reason, errno) in reasons {
            assert_eq!((reason.errno(), Errno::from(reason)), (errno, errno));
            let error = std::io::Error::from(reason);
            assert_eq!(error.kind(), std::io::Error::from(errno).kind());
            assert_eq!(Errno::from_io_error(&error), Some(errno), "{error}");
            let error = DirectoryError::NoAio(reason);
            assert_eq!((error.errno(), Errno::from(error)), (errno, errno));
            assert_eq!(Errno::from_io_error(&error.into()), Some(errno));
        }
        let error = DirectoryError::TemporaryFile(Errno::EROFS);
        assert_eq!((error.errno(), Errno::from(error)), (Errno::EROFS, Errno::EROFS));
        assert_eq!(Errno::from_io_error(&error.into()), Some(Errno::EROFS));
    }

    /// Goal: the note names the first Linux that has the operation. Method: FSYNC came with 4.18,
    /// POLL with 4.19.
    #[test]
    fn a_refused_operation_names_the_first_linux_that_has_it() {
        for (opcode, since) in
            [(Opcode::FSYNC, "4.18"), (Opcode::FDSYNC, "4.18"), (Opcode::POLL, "4.19")]
        {
            let note = Note::Refused(opcode, Errno::EINVAL).to_string();
            assert!(note.ends_with(since), "{note}");
        }
    }

    #[test]
    fn the_limit_is_near_when_less_than_a_quarter_is_free() {
        let near = |in_use| AioUsage { in_use, limit: 65_536 }.is_near_limit();
        assert!(!near(0) && !near(49_152) && near(49_153) && near(65_536) && near(70_000));
        let note = Note::NearLimit(AioUsage { in_use: 60_000, limit: 65_536 }).to_string();
        assert!(note.ends_with("sysctl -w fs.aio-max-nr=131072"), "{note}");
    }
}
