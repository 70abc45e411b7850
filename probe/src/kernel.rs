//! [`Kernel`], what the kernel and the process may do.

use super::bench::{Bench, Request};
use super::report::{Grouped, Rows};
use super::{Availability, Call, FlagSupport, Note, Support, Unusable};
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::CStr;
use core::fmt;
use core::ptr;
use linux_aio::abi::{AIO_RING_MAGIC, aio_context_t, aio_ring};
use linux_aio::fd::{AsFd, BorrowedFd, OwnedFd};
use linux_aio::{Errno, EventFd, IoContext, Opcode, RwFlags};
use rustix::fs::{MemfdFlags, Mode, OFlags};

/// Describes what this kernel and this process may do. From [`kernel`].
///
/// ```
/// use linux_aio_probe::Call;
///
/// let kernel = linux_aio_probe::kernel();
/// println!("Linux {} on {}", kernel.release, kernel.machine);
/// println!("io_pgetevents: {}", kernel.call(Call::IoPgetevents));
/// println!("flags: {}", kernel.flags);
/// println!("{kernel}"); // all of it
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kernel {
    /// The kernel's release, as `uname -r` has it. gVisor and others make one up.
    pub release: String,
    /// The machine, as `uname -m` has it.
    pub machine: String,
    /// The system-wide limit, and how much of it is in use; `None` without `/proc`.
    pub usage: Option<AioUsage>,
    /// The completion ring; `None` without a context.
    pub ring: Option<Ring>,
    /// Which per-operation flags the kernel knows: not whether a certain file supports them, which
    /// [`File::flags`](super::File::flags) says. On Linux before 6.9 it may remain unknown whether
    /// the kernel does not know a flag or only the files that it could be tried on.
    pub flags: FlagSupport,
    unusable: Option<Unusable>,
    /// In the order of [`Call::ALL`].
    calls: [Availability; Call::ALL.len()],
    /// In the order of `OPCODES`.
    opcodes: [Support; OPCODES.len()],
}

/// `fs.aio-nr` and `fs.aio-max-nr` (`Documentation/admin-guide/sysctl/fs.rst`).
///
/// ```
/// if let Some(usage) = linux_aio_probe::kernel().usage {
///     println!("{} of {} operations are left", usage.limit - usage.in_use, usage.limit);
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AioUsage {
    /// The operations that all processes of the system together have made contexts for.
    pub in_use: u64,
    /// The limit of that number. In a container, the host's.
    pub limit: u64,
}

/// The completion ring of a context.
///
/// ```
/// if let Some(ring) = linux_aio_probe::kernel().ring {
///     println!("{} events; {}", ring.header.nr, ring.access);
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ring {
    /// The way events are taken off it.
    pub access: RingAccess,
    /// Its first 32 bytes.
    pub header: aio_ring,
}

/// Says whether events are taken off the completion ring without a system call.
///
/// ```
/// use linux_aio_probe::RingAccess;
///
/// match linux_aio_probe::kernel().ring.map(|ring| ring.access) {
///     Some(RingAccess::Direct) => println!("completions need no system call"),
///     Some(other) => println!("each reap calls io_getevents: {other}"),
///     None => println!("no context could be made"),
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RingAccess {
    /// They are.
    Direct,
    /// The kernel shows no ring: the page is zero (gVisor).
    Absent,
    /// The ring is not one that this crate understands: another magic number or feature.
    NotUnderstood,
    /// The kernel refuses `MADV_WIPEONFORK` (before Linux 4.14), so that a forked child would not
    /// be noticed.
    NoForkGuard,
}

const OPCODES: [(&str, Opcode); 8] = [
    ("PREAD", Opcode::PREAD),
    ("PWRITE", Opcode::PWRITE),
    ("PREADV", Opcode::PREADV),
    ("PWRITEV", Opcode::PWRITEV),
    ("FSYNC", Opcode::FSYNC),
    ("FDSYNC", Opcode::FDSYNC),
    ("POLL", Opcode::POLL),
    ("NOOP", Opcode::NOOP),
];

/// Asks the kernel what this process may do.
///
/// Makes each call once, then tries operations without data on a file in memory (`memfd_create(2)`,
/// or else `/dev/zero`). Never fails: what cannot be found out is `Unknown` or `None`. Takes about
/// 30 ms, and one of the system's AIO operations for that time.
///
/// ```
/// use linux_aio::Opcode;
///
/// let kernel = linux_aio_probe::kernel();
/// match kernel.usable() {
///     Ok(()) => println!("POLL is {}", kernel.opcode(Opcode::POLL)),
///     Err(why) => println!("{why}"),
/// }
/// for note in kernel.notes() {
///     println!("note: {note}");
/// }
/// ```
pub fn kernel() -> Kernel {
    let uname = rustix::system::uname();
    let mut kernel = Kernel {
        release: text(uname.release()),
        machine: text(uname.machine()),
        usage: AioUsage::now(),
        calls: Call::ALL.map(Call::ask),
        unusable: None,
        ring: None,
        opcodes: [Support::Unknown; OPCODES.len()],
        flags: FlagSupport::all(Support::Unknown),
    };
    match Bench::new() {
        Ok(bench) => kernel.try_operations(bench),
        Err(error) => kernel.unusable = Some(error),
    }
    kernel
}

impl Kernel {
    /// Returns whether the process has the call.
    pub fn call(&self, call: Call) -> Availability {
        let mut calls = Call::ALL.into_iter().zip(self.calls);
        calls.find(|&(known, _)| known == call).map_or(Availability::Missing, |(_, is)| is)
    }

    /// Returns whether the kernel takes the operation. [`Support::Unknown`] for an opcode without a
    /// name.
    pub fn opcode(&self, opcode: Opcode) -> Support {
        let mut opcodes = OPCODES.into_iter().zip(self.opcodes);
        let found = opcodes.find(|&((_, known), _)| known == opcode);
        found.map_or(Support::Unknown, |(_, support)| support)
    }

    /// Iterates over every operation that has a name: the name, its number, and what came of it.
    ///
    /// ```
    /// for (name, _opcode, support) in linux_aio_probe::kernel().opcodes() {
    ///     println!("{name:<8} {support}");
    /// }
    /// ```
    pub fn opcodes(&self) -> impl Iterator<Item = (&'static str, Opcode, Support)> + Clone {
        let opcodes = OPCODES.into_iter().zip(self.opcodes);
        opcodes.map(|((name, opcode), support)| (name, opcode, support))
    }

    /// Returns `Ok` if asynchronous reads can be made here.
    ///
    /// # Errors
    /// What is missing, with its cure.
    ///
    /// # Examples
    ///
    /// ```
    /// match linux_aio_probe::kernel().usable() {
    ///     Ok(()) => println!("AIO works here"),
    ///     Err(why) => println!("{why}"), // the cause and the cure
    /// }
    /// ```
    pub fn usable(&self) -> Result<(), Unusable> {
        self.unusable.map_or(Ok(()), Err)
    }

    /// Returns what is missing or odd and leaves the rest usable.
    pub fn notes(&self) -> Vec<Note> {
        Note::of(self)
    }

    /// Returns whether this is gVisor, by its behaviour: no ring, and NOOP is taken.
    pub fn is_gvisor(&self) -> bool {
        self.ring.is_some_and(|ring| ring.access == RingAccess::Absent)
            && self.opcode(Opcode::NOOP).is_accepted()
    }

    fn try_operations(&mut self, mut bench: Bench) {
        self.ring = Some(Ring::of(bench.context()));
        let Some(scratch) = Scratch::new() else { return };
        self.opcodes = OPCODES.map(|(_, opcode)| try_opcode(&mut bench, &scratch, opcode));
        self.flags = known_flags(&mut bench, scratch.file.as_fd());
        if let Support::Refused(errno) = self.opcode(Opcode::PREAD) {
            self.unusable = Some(Unusable::Read(errno));
        }
    }
}

impl Ring {
    fn of(context: &IoContext) -> Self {
        let id: aio_context_t = context.as_raw();
        let address = ptr::with_exposed_provenance::<aio_ring>(id as usize);
        // SAFETY: The number of a live context is the address of its ring, and a page or more is
        // mapped there for as long as the context lives, which is borrowed. Any 32 bytes are a
        // valid header. The read is volatile, since the kernel writes there too.
        let header = unsafe { address.read_volatile() };
        let access = if context.uses_ring() {
            RingAccess::Direct
        } else if header == aio_ring::default() {
            RingAccess::Absent
        } else if header.magic == AIO_RING_MAGIC && !notices_forks() {
            RingAccess::NoForkGuard
        } else {
            RingAccess::NotUnderstood
        };
        Self { access, header }
    }
}

fn notices_forks() -> bool {
    linux_aio::raw::ForkGuard::of_this_process().notices_forks()
}

impl AioUsage {
    fn now() -> Option<Self> {
        let in_use = read_number("/proc/sys/fs/aio-nr")?;
        let limit = read_number("/proc/sys/fs/aio-max-nr")?;
        Some(Self { in_use, limit })
    }
}

/// Returns the number that a file of `/proc` holds.
fn read_number(path: &str) -> Option<u64> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut text = [0; 24];
    let length = rustix::io::read(file, &mut text).ok()?;
    core::str::from_utf8(text.get(..length)?).ok()?.trim_end().parse().ok()
}

fn text(name: &CStr) -> String {
    String::from_utf8_lossy(name.to_bytes()).into_owned()
}

/// Something to try operations on that is nobody's.
struct Scratch {
    file: OwnedFd,
    /// A file in memory can be synchronised, a device cannot.
    in_memory: bool,
    /// With a count in it: ready to be read.
    readable: Option<EventFd>,
}

impl Scratch {
    fn new() -> Option<Self> {
        let memory = rustix::fs::memfd_create("linux-aio-probe", MemfdFlags::CLOEXEC).ok();
        let in_memory = memory.is_some();
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let file = memory.or_else(|| rustix::fs::open("/dev/zero", flags, Mode::empty()).ok())?;
        let readable = EventFd::new().ok().filter(|eventfd| eventfd.add(1).is_ok());
        Some(Self { file, in_memory, readable })
    }
}

/// Operations without data: nothing is written, so no limit on the size of files is met, which
/// would send a signal.
fn try_opcode(bench: &mut Bench, scratch: &Scratch, opcode: Opcode) -> Support {
    let fd = match opcode {
        Opcode::POLL => scratch.readable.as_ref().map_or(scratch.file.as_fd(), AsFd::as_fd),
        Opcode::FSYNC | Opcode::FDSYNC if !scratch.in_memory => return Support::Unknown,
        _ => scratch.file.as_fd(),
    };
    bench.run(fd, Request::empty(opcode)).support()
}

/// Finds out which flags the kernel knows, whatever the file supports.
///
/// Three flags are refused with the same `EOPNOTSUPP` by a kernel that does not know them and for a
/// file that does not support them. But a kernel looks at the flags themselves before it looks at
/// the file: APPEND and NOAPPEND together are `EINVAL` where every flag is known
/// (`kiocb_set_rw_flags` in `include/linux/fs.h`, since Linux 6.9, which brought NOAPPEND).
fn known_flags(bench: &mut Bench, fd: BorrowedFd<'_>) -> FlagSupport {
    const CONTRADICTION: RwFlags = RwFlags::APPEND.union(RwFlags::NOAPPEND);
    let mut attempt = |flags| bench.run(fd, Request { flags, ..Request::empty(Opcode::PREAD) });
    let mut known = FlagSupport::ask(|flag| attempt(flag).support());
    let decides = attempt(CONTRADICTION).support() == Support::Refused(Errno::EINVAL);
    for flag in [RwFlags::NOWAIT, RwFlags::ATOMIC, RwFlags::DONTCACHE] {
        if known.of(flag) != Support::Refused(Errno::EOPNOTSUPP) {
            continue;
        }
        let amended = match attempt(flag | CONTRADICTION).support() {
            _ if !decides => Support::Unknown,
            Support::Refused(Errno::EINVAL) => Support::Accepted,
            other => other,
        };
        known.amend(flag, |_| amended);
    }
    known
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = Rows::new(f);
        rows.row("kernel", format_args!("{} on {}", self.release, self.machine))?;
        match self.usable() {
            Ok(()) => rows.row("AIO", "usable")?,
            Err(why) => rows.row("AIO", format_args!("not usable: {why}"))?,
        }
        rows.row("calls", CallList(self))?;
        if let Some(AioUsage { in_use, limit }) = self.usage {
            let what = "AIO operations of the whole system in use (fs.aio-nr, fs.aio-max-nr)";
            rows.row("limit", format_args!("{in_use} of {limit} {what}"))?;
        }
        if let Some(ring) = self.ring {
            rows.row("completion ring", ring)?;
        }
        let opcodes = self.opcodes().map(|(name, _, support)| (name, support));
        rows.row("operations", Grouped(opcodes))?;
        rows.row("flags", self.flags)?;
        for note in self.notes() {
            rows.row("note", note)?;
        }
        Ok(())
    }
}

/// The calls that are there, then each other one with its reason.
struct CallList<'a>(&'a Kernel);

impl fmt::Display for CallList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for call in Call::ALL {
            write!(f, "{separator}{call}")?;
            match self.0.call(call) {
                Availability::There => {}
                other => write!(f, " ({other})")?,
            }
            separator = ", ";
        }
        Ok(())
    }
}

impl fmt::Display for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.access {
            RingAccess::Direct => {
                write!(f, "read without a system call; {} events", self.header.nr)
            }
            other => other.fmt(f),
        }
    }
}

impl fmt::Display for RingAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "read without a system call",
            Self::Absent => "not shown by the kernel (a page of zeros)",
            Self::NotUnderstood => "not of the kind that this program understands",
            Self::NoForkGuard => "not used, since the kernel has no MADV_WIPEONFORK",
        })
    }
}
