//! Callbacks: the CRC-32C of files, each read by a chain of operations, all chains in one queue.
//!
//! The function of [`Callback`] gets the queue and the completion. Here it adds a block to the
//! checksum and pushes the read of the next one. At the end of the file it cancels the chain's
//! other operation, a POLL that waits for Ctrl-C.
//!
//! ```text
//! cargo run --release --example callbacks -- Cargo.toml Cargo.lock
//! cargo run --release --example callbacks -- /dev/zero     # until Ctrl-C
//! ```
#![forbid(unsafe_code)]

use anyhow::{Context, Result, ensure};
use linux_aio::op::{Any, Callback, Poll, Read};
use linux_aio::{Completion, Errno, PollEvents, Queue, Token};
use signal_hook::consts::SIGINT;
use signal_hook::low_level::pipe;
use std::cell::Cell;
use std::env::args_os;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

/// Every operation of the queue: a read or a POLL, the chain that it belongs to, and a function.
type Job = Callback<Any<Arc<OwnedFd>, Vec<u8>>, Rc<Chain>>;

/// The value of a chain's operations. They share it, so it is in cells.
struct Chain {
    path: PathBuf,
    state: Cell<State>,
    /// The POLL for Ctrl-C, until it has completed.
    interrupt: Cell<Option<Token>>,
}

/// Holds how far a chain has come.
#[derive(Clone, Copy)]
enum State {
    Reading { crc: u32 },
    Complete { crc: u32 },
    Failed(Errno),
    Interrupted,
}

impl Chain {
    /// Pushes the first read of a file, and the POLL for Ctrl-C.
    fn start(queue: &mut Queue<Job>, path: PathBuf, interrupt: &Arc<OwnedFd>) -> Result<Rc<Self>> {
        let file = File::open(&path).with_context(|| path.display().to_string())?;
        ensure!(!file.metadata()?.is_dir(), "{} is a directory", path.display());
        let read = Read::new(Arc::new(file.into()), vec![0; 64 << 10], 0);
        let poll = Poll::new(Arc::clone(interrupt), PollEvents::IN);
        let state = Cell::new(State::Reading { crc: 0 });
        let chain = Rc::new(Self { path, state, interrupt: Cell::new(None) });
        let poll = Callback { op: poll.into(), value: Rc::clone(&chain), then: Self::interrupted };
        chain.interrupt.set(Some(queue.push(poll).map_err(Errno::from)?));
        let read = Callback { op: read.into(), value: Rc::clone(&chain), then: Self::block_read };
        queue.push(read).map_err(Errno::from)?;
        Ok(chain)
    }

    /// Adds the bytes of a read that has completed, and pushes the next one, until the file ends.
    fn block_read(queue: &mut Queue<Job>, done: Completion<Job>) {
        let Callback { op: Any::Read(mut read), value: chain, then } = done.op else { return };
        let State::Reading { crc } = chain.state.get() else { return };
        match done.result {
            Err(errno) => chain.end(queue, State::Failed(errno)),
            Ok(0) => chain.end(queue, State::Complete { crc }),
            Ok(count) => {
                let crc = crc32c::crc32c_append(crc, &read.buf[..count as usize]);
                chain.state.set(State::Reading { crc });
                read.offset += u64::from(count);
                let next = Callback { op: read.into(), value: Rc::clone(&chain), then };
                if let Err(refused) = queue.push(next) {
                    chain.end(queue, State::Failed(refused.errno()));
                }
            }
        }
    }

    /// The POLL has completed: Ctrl-C came, or the chain has ended and cancelled it.
    fn interrupted(_: &mut Queue<Job>, done: Completion<Job>) {
        let chain = done.op.value;
        chain.interrupt.set(None);
        if let State::Reading { .. } = chain.state.get() {
            chain.state.set(done.result.map_or_else(State::Failed, |_| State::Interrupted));
        }
    }

    /// Ends the chain, and the wait for Ctrl-C with it.
    fn end(&self, queue: &mut Queue<Job>, state: State) {
        self.state.set(state);
        if let Some(token) = self.interrupt.get() {
            // An error means that it has just completed, and its callback will come anyway.
            let _ = queue.cancel(token);
        }
    }

    /// Prints the checksum, or says why there is none and returns `false`.
    fn report(&self) -> bool {
        let name = self.path.display();
        match self.state.get() {
            State::Complete { crc } => println!("{crc:08x}  {name}"),
            State::Failed(errno) => eprintln!("callbacks: {name}: {errno}"),
            State::Reading { .. } | State::Interrupted => {
                eprintln!("callbacks: {name}: interrupted")
            }
        }
        matches!(self.state.get(), State::Complete { .. })
    }
}

/// Returns a socket that has something to read once Ctrl-C was pressed.
fn interrupt_socket() -> Result<Arc<OwnedFd>> {
    let (reader, writer) = UnixStream::pair()?;
    pipe::register(SIGINT, writer)?;
    Ok(Arc::new(reader.into()))
}

/// Prints the CRC-32C of files, which are read all at the same time.
fn run(files: Vec<PathBuf>) -> Result<bool> {
    ensure!(!files.is_empty(), "which files? Name at least one");
    let interrupt = interrupt_socket()?;
    let operations = u32::try_from(2 * files.len()).context("so many files")?;
    let mut queue = Queue::with_capacity(operations)?;
    let mut chains = Vec::new();
    for path in files {
        chains.push(Chain::start(&mut queue, path, &interrupt)?);
    }
    queue.run()?;
    let failed = chains.iter().filter(|chain| !chain.report()).count();
    Ok(failed == 0)
}

fn main() -> ExitCode {
    match run(args_os().skip(1).map(PathBuf::from).collect()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("callbacks: {error:#}");
            ExitCode::FAILURE
        }
    }
}
