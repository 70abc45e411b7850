//! By the loops in C (`c/loops.c`): with system calls of their own, or with the functions of a
//! shared library.

use super::Runner;
use crate::clock::{Latencies, record_all};
use crate::load::{Load, Step};
use anyhow::{Context, Result, ensure};
use libloading::Library;
use linux_aio::abi::aio_context_t;
use linux_aio::{AlignedBuf, IoContext, IoEvent, Iocb};
use std::ffi::{c_int, c_long, c_void};
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::{Arc, LazyLock};

/// The library's `io_setup`.
type Setup = unsafe extern "C" fn(c_int, *mut aio_context_t) -> c_int;
/// Its `io_destroy`.
type Destroy = unsafe extern "C" fn(aio_context_t) -> c_int;
/// Its `io_submit`.
type Submit = unsafe extern "C" fn(aio_context_t, c_long, *mut *mut Iocb) -> c_int;
/// Its `io_getevents`.
type Getevents =
    unsafe extern "C" fn(aio_context_t, c_long, c_long, *mut IoEvent, *mut c_void) -> c_int;

/// Has the layout of `struct loop`.
#[repr(C)]
struct Loop {
    context: aio_context_t,
    iocbs: *mut Iocb,
    pending: *mut *mut Iocb,
    events: *mut IoEvent,
    buffers: *const *mut u8,
    files: *const c_int,
    file_count: u64,
    steps: *const Step,
    step_mask: u64,
    next_step: u64,
    depth: u64,
    batch: u64,
    block: u64,
    expected_read: i64,
    starts: *mut u64,
}

unsafe extern "C" {
    fn loop_by_call(this: *mut Loop, operations: u64) -> c_int;
    fn loop_by_call_timed(this: *mut Loop, operations: u64, latencies: *mut u64) -> c_int;
    fn loop_by_ring(this: *mut Loop, operations: u64) -> c_int;
    fn loop_by_ring_timed(this: *mut Loop, operations: u64, latencies: *mut u64) -> c_int;
    fn loop_by_ring_prefilled(this: *mut Loop, operations: u64) -> c_int;
    fn loop_by_library(
        this: *mut Loop,
        operations: u64,
        submit: Submit,
        getevents: Getevents,
    ) -> c_int;
    fn loop_by_library_timed(
        this: *mut Loop,
        operations: u64,
        latencies: *mut u64,
        submit: Submit,
        getevents: Getevents,
    ) -> c_int;
}

/// Says how the loop calls the kernel.
enum Calls {
    /// Submits by `io_submit`, and takes events by `io_getevents`.
    Kernel,
    /// Submits by `io_submit`, and takes events off the ring.
    Ring,
    /// Does the same, with iocbs that are filled once.
    RingPrefilled,
    /// Calls a library's functions, in a context of its own: it may know which those are.
    Library {
        submit: Submit,
        getevents: Getevents,
        setup: Setup,
        destroy: Destroy,
        _library: Arc<Library>,
    },
}

/// Holds a context, and says who ends it.
enum Made {
    ByUs(IoContext),
    ByLibrary(aio_context_t, Destroy),
}

impl Made {
    fn new(calls: &Calls, depth: u32) -> Result<Self> {
        let Calls::Library { setup, destroy, .. } = calls else {
            return Ok(Self::ByUs(IoContext::new(depth)?));
        };
        let mut id = 0;
        // SAFETY: `id` is valid for reads and writes.
        let status = unsafe { setup(depth as c_int, &raw mut id) };
        ensure!(status == 0, "io_setup: {}", std::io::Error::from_raw_os_error(-status));
        Ok(Self::ByLibrary(id, *destroy))
    }

    fn id(&self) -> aio_context_t {
        match self {
            Self::ByUs(context) => context.as_raw(),
            Self::ByLibrary(id, _) => *id,
        }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Self::ByLibrary(id, destroy) = self {
            // SAFETY: The library's own context, which only this value names.
            let _ = unsafe { destroy(*id) };
        }
    }
}

/// Holds a context, and what the loop needs.
pub struct ByC {
    /// Ends before the buffers do.
    context: Made,
    this: Loop,
    calls: Calls,
    _iocbs: Vec<Iocb>,
    _pending: Vec<*mut Iocb>,
    _events: Vec<IoEvent>,
    _starts: Vec<u64>,
    _addresses: Vec<*mut u8>,
    _buffers: Vec<AlignedBuf>,
    _files: Vec<c_int>,
    _load: Arc<Load>,
}

/// Makes two system calls a batch.
pub fn prepare_calls(load: &Arc<Load>) -> Result<Box<dyn Runner>> {
    Ok(Box::new(ByC::new(load, Calls::Kernel)?))
}

/// Makes one system call a batch.
pub fn prepare_ring(load: &Arc<Load>) -> Result<Box<dyn Runner>> {
    Ok(Box::new(ByC::new(load, Calls::Ring)?))
}

/// Makes one system call a batch, with iocbs that are filled once.
pub fn prepare_ring_prefilled(load: &Arc<Load>) -> Result<Box<dyn Runner>> {
    Ok(Box::new(ByC::new(load, Calls::RingPrefilled)?))
}

/// The distribution's library, where the dynamic linker finds it. To be loaded before ours, which
/// has its name: who asks for a name is given what has it already.
static LIBAIO: LazyLock<Option<Arc<Library>>> = LazyLock::new(|| {
    // SAFETY: It runs no code when it is loaded.
    let load = |name| unsafe { Library::new(name) }.ok().map(Arc::new);
    ["libaio.so.1t64", "libaio.so.1"].into_iter().find_map(load)
});

/// Calls the distribution's library.
pub fn prepare_libaio(load: &Arc<Load>) -> Result<Box<dyn Runner>> {
    let library = LIBAIO.as_ref().context("package libaio1t64 or libaio1 has it")?;
    Ok(Box::new(ByC::new(load, Calls::of(Arc::clone(library))?)?))
}

/// Ours, as `make -C capi` builds it.
pub fn prepare_drop_in(load: &Arc<Load>) -> Result<Box<dyn Runner>> {
    LazyLock::force(&LIBAIO);
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../capi/target/libaio/libaio.so.1");
    // SAFETY: It runs no code when it is loaded.
    let library = unsafe { Library::new(built) }.context("make -C capi builds it")?;
    Ok(Box::new(ByC::new(load, Calls::of(Arc::new(library))?)?))
}

impl Calls {
    fn of(library: Arc<Library>) -> Result<Self> {
        // SAFETY: This is the function's type, in libaio.h.
        let setup = unsafe { library.get::<Setup>(b"io_setup\0") }.map(|symbol| *symbol)?;
        // SAFETY: As above.
        let destroy = unsafe { library.get::<Destroy>(b"io_destroy\0") }.map(|symbol| *symbol)?;
        // SAFETY: As above.
        let submit = unsafe { library.get::<Submit>(b"io_submit\0") }.map(|symbol| *symbol)?;
        // SAFETY: As above.
        let getevents =
            unsafe { library.get::<Getevents>(b"io_getevents\0") }.map(|symbol| *symbol)?;
        Ok(Self::Library { submit, getevents, setup, destroy, _library: library })
    }
}

impl ByC {
    fn new(load: &Arc<Load>, calls: Calls) -> Result<Self> {
        let context = Made::new(&calls, load.depth)?;
        let (depth, batch) = (load.depth as usize, load.batch as usize);
        let mut buffers = load.buffers()?;
        let addresses: Vec<_> = buffers.iter_mut().map(|buf| buf.as_mut_ptr()).collect();
        let files: Vec<_> = load.target.files.iter().map(|file| file.as_raw_fd()).collect();
        let mut iocbs = vec![Iocb::fsync(-1); depth];
        let mut pending = vec![ptr::null_mut(); batch];
        let mut events = vec![IoEvent::default(); batch];
        let mut starts = vec![0; depth];
        let this = Loop {
            context: context.id(),
            iocbs: iocbs.as_mut_ptr(),
            pending: pending.as_mut_ptr(),
            events: events.as_mut_ptr(),
            buffers: addresses.as_ptr(),
            files: files.as_ptr(),
            file_count: files.len() as u64,
            steps: load.steps.as_ptr(),
            step_mask: load.steps.len() as u64 - 1,
            next_step: 0,
            depth: depth as u64,
            batch: batch as u64,
            block: load.target.block as u64,
            expected_read: load.target.read_returns as i64,
            starts: starts.as_mut_ptr(),
        };
        Ok(Self {
            context,
            this,
            calls,
            _iocbs: iocbs,
            _pending: pending,
            _events: events,
            _starts: starts,
            _addresses: addresses,
            _buffers: buffers,
            _files: files,
            _load: Arc::clone(load),
        })
    }

    /// Runs the C loop; nanoseconds go to `latencies`, which has room for one of each operation, or
    /// is empty.
    fn run_loop(&mut self, operations: u64, latencies: &mut [u64]) -> Result<()> {
        debug_assert_ne!(self.context.id(), 0);
        let this = &raw mut self.this;
        let (timed, at) = (!latencies.is_empty(), latencies.as_mut_ptr());
        // SAFETY: What `this` points to are fields, of the lengths that the loop wants, and the
        // operations' buffers stay until the context is gone; the context is live and nobody else
        // reads its ring; `at` has room for a time of each operation where it is used.
        #[allow(clippy::multiple_unsafe_ops_per_block, reason = "one proof for one of them")]
        let status = unsafe {
            match &self.calls {
                Calls::Kernel if timed => loop_by_call_timed(this, operations, at),
                Calls::Kernel => loop_by_call(this, operations),
                Calls::Ring if timed => loop_by_ring_timed(this, operations, at),
                Calls::Ring => loop_by_ring(this, operations),
                Calls::RingPrefilled => loop_by_ring_prefilled(this, operations),
                Calls::Library { submit, getevents, .. } if timed => {
                    loop_by_library_timed(this, operations, at, *submit, *getevents)
                }
                Calls::Library { submit, getevents, .. } => {
                    loop_by_library(this, operations, *submit, *getevents)
                }
            }
        };
        ensure!(status == 0, "{}", std::io::Error::from_raw_os_error(-status));
        Ok(())
    }
}

impl Runner for ByC {
    fn run(&mut self, operations: u64, latencies: Option<&mut Latencies>) -> Result<()> {
        let Some(latencies) = latencies else { return self.run_loop(operations, &mut []) };
        let mut nanos = vec![0; operations as usize];
        self.run_loop(operations, &mut nanos)?;
        record_all(latencies, &nanos);
        Ok(())
    }
}
