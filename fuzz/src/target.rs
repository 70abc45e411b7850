//! [`Target`], by name, and [`Runner`], which keeps what the inputs of a target share.

use crate::capi::Capi;
use crate::divergence::Verdict;
use crate::layer::Layer;
use crate::queue::Queues;
use crate::ring::Rings;
use crate::scope::Scopes;
#[cfg(linux_aio_simulated)]
use crate::simulated::Simulated;
use crate::submit::Submit;
use crate::watchdog::Watchdog;
use std::cell::RefCell;
use std::io::{self, Read};
use std::path::PathBuf;
use std::str::FromStr;

/// What is fuzzed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// [`crate::submit`]
    Submit,
    /// [`crate::queue`]
    Queue,
    /// [`crate::scope`]
    Scope,
    /// [`crate::ring`]
    Ring,
    /// [`crate::capi`]
    Capi,
    /// Those over a simulated kernel.
    Simulated(Layer),
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Submit,
        Self::Queue,
        Self::Scope,
        Self::Ring,
        Self::Capi,
        Self::Simulated(Layer::Reaper),
        Self::Simulated(Layer::Scope),
        Self::Simulated(Layer::Queue),
        Self::Simulated(Layer::Driver),
    ];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Queue => "queue",
            Self::Scope => "scope",
            Self::Ring => "ring",
            Self::Capi => "capi",
            Self::Simulated(Layer::Reaper) => "reaper_simulated",
            Self::Simulated(Layer::Scope) => "scope_simulated",
            Self::Simulated(Layer::Queue) => "queue_simulated",
            Self::Simulated(Layer::Driver) => "driver_simulated",
        }
    }
}

impl FromStr for Target {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|target| target.name() == name);
        found.ok_or_else(|| format!("no such target; there are {}", names()))
    }
}

/// What the inputs of a target share.
enum Shared {
    Submit(Box<Submit>),
    Queue(Box<Queues>),
    Scope(Box<Scopes>),
    Ring(Box<Rings>),
    Capi(Box<Capi>),
    #[cfg(linux_aio_simulated)]
    Simulated(Simulated),
}

/// Runs inputs of one target, one after the other.
pub struct Runner {
    shared: Shared,
    watchdog: Watchdog,
}

/// Where regular files are made: `LINUX_AIO_FUZZ_DIR`, or the directory for temporary files.
pub fn directory() -> PathBuf {
    std::env::var_os("LINUX_AIO_FUZZ_DIR").map_or_else(std::env::temp_dir, PathBuf::from)
}

impl Runner {
    /// Opens what the target needs.
    pub fn new(target: Target) -> io::Result<Self> {
        // A write to a pipe without reader shall give its error and nothing else.
        // SAFETY: No handler is installed.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
        let directory = directory();
        let shared = match target {
            Target::Submit => Shared::Submit(Box::new(Submit::new(&directory)?)),
            Target::Queue => Shared::Queue(Box::new(Queues::new(&directory)?)),
            Target::Scope => Shared::Scope(Box::new(Scopes::new()?)),
            Target::Ring => Shared::Ring(Box::default()),
            Target::Capi => Shared::Capi(Box::new(Capi::new()?)),
            #[cfg(linux_aio_simulated)]
            Target::Simulated(layer) => Shared::Simulated(Simulated::new(layer)),
            #[cfg(not(linux_aio_simulated))]
            Target::Simulated(_) => {
                return Err(io::Error::other("to be built with --cfg linux_aio_simulated"));
            }
        };
        Ok(Self { shared, watchdog: Watchdog::start(target.name()) })
    }

    /// Runs one input.
    pub fn run(&mut self, data: &[u8]) -> Verdict {
        let _watched = self.watchdog.watch(data);
        match &mut self.shared {
            Shared::Submit(shared) => shared.run(data),
            Shared::Queue(shared) => shared.run(data),
            Shared::Scope(shared) => shared.run(data),
            Shared::Ring(shared) => shared.run(data),
            Shared::Capi(shared) => shared.run(data),
            #[cfg(linux_aio_simulated)]
            Shared::Simulated(shared) => shared.run(data),
        }
    }

    /// How many operations, or calls, the inputs so far have made.
    pub fn operations(&self) -> u64 {
        match &self.shared {
            Shared::Submit(shared) => shared.submissions,
            Shared::Queue(shared) => shared.operations,
            Shared::Scope(shared) => shared.operations,
            Shared::Ring(shared) => shared.events,
            Shared::Capi(shared) => shared.calls,
            #[cfg(linux_aio_simulated)]
            Shared::Simulated(shared) => shared.operations,
        }
    }
}

thread_local! {
    static RUNNER: RefCell<Option<Runner>> = const { RefCell::new(None) };
}

/// Runs one input of a fuzzer's; a divergence is a panic, which is what fuzzers look for.
pub fn check(target: Target, data: &[u8]) {
    RUNNER.with_borrow_mut(|runner| {
        let runner = runner.get_or_insert_with(|| {
            Runner::new(target).unwrap_or_else(|error| panic!("cannot start: {error}"))
        });
        if let Err(divergence) = runner.run(data) {
            panic!("{divergence}");
        }
    });
}

/// The body of a target that is no libFuzzer program: runs the files named as arguments, or
/// standard input where there are none, as AFL++ wants it.
pub fn replay(target: Target) -> io::Result<()> {
    let mut names = std::env::args_os().skip(1).peekable();
    if names.peek().is_none() {
        let mut data = Vec::new();
        io::stdin().read_to_end(&mut data)?;
        check(target, &data);
    }
    for name in names {
        check(target, &std::fs::read(name)?);
    }
    Ok(())
}
