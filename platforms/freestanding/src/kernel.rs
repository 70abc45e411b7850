//! The system calls that these programs need beside those of AIO.
//!
//! Each function is one call, and gives its result or its errno. Numbers and flags that differ
//! between architectures are in [`numbers`], the instructions in [`call`].

mod call;
mod numbers;

use core::ffi::CStr;

use call::{Word, syscall};
use numbers as nr;
pub use numbers::O_DIRECT;
use numbers::O_LARGEFILE;

/// An error number of the kernel, positive.
pub type Errno = i32;

/// The errnos that these programs meet.
#[expect(missing_docs, reason = "the kernel's names, which errno(3) explains")]
pub mod errno {
    pub const EINTR: i32 = 4;
    pub const EBADF: i32 = 9;
    pub const EAGAIN: i32 = 11;
    pub const EFAULT: i32 = 14;
    pub const EINVAL: i32 = 22;
    pub const ENOSYS: i32 = 38;
    pub const EOPNOTSUPP: i32 = 95;
    pub const EINPROGRESS: i32 = 115;
}

/// The flags of [`open`] that are the same on every architecture here.
#[expect(missing_docs, reason = "the kernel's names, which open(2) explains")]
pub mod flag {
    pub const O_RDONLY: u32 = 0;
    pub const O_WRONLY: u32 = 1;
    pub const O_RDWR: u32 = 2;
    pub const O_CREAT: u32 = 0o100;
    pub const O_TRUNC: u32 = 0o1000;
    pub const O_NONBLOCK: u32 = 0o4000;
}

const AT_FDCWD: Word = -100_isize as Word;

fn address<T: ?Sized>(pointer: *const T) -> Word {
    pointer.cast::<u8>().expose_provenance() as Word
}

fn result(word: isize) -> Result<usize, Errno> {
    if (-4095..0).contains(&word) { Err(-word as Errno) } else { Ok(word as usize) }
}

/// Ends the process.
pub fn exit(status: i32) -> ! {
    loop {
        // SAFETY: Nothing of this process is used afterwards.
        let _ = unsafe { syscall(nr::EXIT_GROUP, [status as Word, 0, 0, 0, 0]) };
    }
}

/// Turns the machine off, and ends the process where that is not allowed.
pub fn power_off() -> ! {
    const MAGIC: Word = 0xfee1_dead;
    const MAGIC2: Word = 672_274_793;
    const POWER_OFF: Word = 0x4321_fedc;
    // SAFETY: The call touches no memory of this process.
    let _ = unsafe { syscall(nr::REBOOT, [MAGIC, MAGIC2, POWER_OFF, 0, 0]) };
    exit(1)
}

/// The number of the process.
pub fn getpid() -> i32 {
    // SAFETY: The call touches no memory.
    unsafe { syscall(nr::GETPID, [0; 5]) as i32 }
}

/// Opens a file. On 32-bit architectures large files are always allowed.
pub fn open(path: &CStr, flags: u32, mode: u32) -> Result<i32, Errno> {
    let flags = (flags | O_LARGEFILE) as Word;
    let arguments = [AT_FDCWD, address(path.as_ptr()), flags, mode as Word, 0];
    // SAFETY: The path ends in a zero, and is all that the kernel reads.
    result(unsafe { syscall(nr::OPENAT, arguments) }).map(|fd| fd as i32)
}

/// Closes a file.
pub fn close(fd: i32) -> Result<(), Errno> {
    // SAFETY: The call touches no memory.
    result(unsafe { syscall(nr::CLOSE, [fd as Word, 0, 0, 0, 0]) }).map(drop)
}

/// Reads from where the file stands.
pub fn read(fd: i32, buffer: &mut [u8]) -> Result<usize, Errno> {
    let address = address(buffer.as_mut_ptr());
    // SAFETY: The kernel writes to the buffer only, at most its length.
    result(unsafe { syscall(nr::READ, [fd as Word, address, buffer.len() as Word, 0, 0]) })
}

/// Writes where the file stands.
pub fn write(fd: i32, buffer: &[u8]) -> Result<usize, Errno> {
    let address = address(buffer.as_ptr());
    // SAFETY: The kernel reads the buffer only, at most its length.
    result(unsafe { syscall(nr::WRITE, [fd as Word, address, buffer.len() as Word, 0, 0]) })
}

/// Reads from a place in the file. By `preadv`, which takes the offset as two words everywhere.
pub fn read_at(fd: i32, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let vector = [buffer.as_mut_ptr().expose_provenance(), buffer.len()];
    let vector = address(vector.as_ptr());
    let high = if Word::BITS == 32 { (offset >> 32) as Word } else { 0 };
    // SAFETY: The one vector names the buffer, which is all that the kernel writes to.
    result(unsafe { syscall(nr::PREADV, [fd as Word, vector, 1, offset as Word, high]) })
}

/// The size of a file.
pub fn size_of(fd: i32) -> Result<u64, Errno> {
    const STATX_SIZE: Word = 0x200;
    /// `stx_size` is at byte 40.
    const SIZE: usize = 5;
    Ok(statx(fd, STATX_SIZE)?[SIZE])
}

/// Whether a file is a block device.
pub fn is_block_device(fd: i32) -> Result<bool, Errno> {
    const STATX_TYPE: Word = 1;
    /// `stx_mode`, of 16 bits, is at byte 28, behind the 4 bytes of `stx_gid`.
    const GID_AND_MODE: usize = 3;
    const TYPE: u16 = 0o170_000;
    const BLOCK_DEVICE: u16 = 0o060_000;
    let [.., low, high, _, _] = statx(fd, STATX_TYPE)?[GID_AND_MODE].to_ne_bytes();
    Ok(u16::from_ne_bytes([low, high]) & TYPE == BLOCK_DEVICE)
}

/// The record of `statx`, which is the same everywhere.
fn statx(fd: i32, wanted: Word) -> Result<[u64; 32], Errno> {
    const AT_EMPTY_PATH: Word = 0x1000;
    let mut record = [0_u64; 32];
    let path = address(c"".as_ptr());
    let address = address(record.as_mut_ptr());
    let arguments = [fd as Word, path, AT_EMPTY_PATH, wanted, address];
    // SAFETY: The path ends in a zero, and the record has the 256 bytes that the kernel writes.
    result(unsafe { syscall(nr::STATX, arguments) }).map(|_| record)
}

/// A pipe: the end to read from and the end to write to.
pub fn pipe(flags: u32) -> Result<(i32, i32), Errno> {
    let mut ends = [0_i32; 2];
    let address = address(ends.as_mut_ptr());
    // SAFETY: The kernel writes the two numbers.
    result(unsafe { syscall(nr::PIPE2, [address, flags as Word, 0, 0, 0]) })?;
    Ok((ends[0], ends[1]))
}

/// An eventfd that does not block.
pub fn eventfd() -> Result<i32, Errno> {
    // SAFETY: The call touches no memory.
    result(unsafe { syscall(nr::EVENTFD2, [0, flag::O_NONBLOCK as Word, 0, 0, 0]) })
        .map(|fd| fd as i32)
}

/// An io_uring of one entry, where that is allowed.
pub fn io_uring_setup() -> Result<i32, Errno> {
    let mut parameters = [0_u32; 30];
    let address = address(parameters.as_mut_ptr());
    // SAFETY: The record has the 120 bytes that the kernel reads and writes.
    result(unsafe { syscall(nr::IO_URING_SETUP, [1, address, 0, 0, 0]) }).map(|fd| fd as i32)
}

/// Mounts a file system without a device, such as `proc`.
pub fn mount(kind: &CStr, target: &CStr) -> Result<(), Errno> {
    let kind = address(kind.as_ptr());
    let arguments = [kind, address(target.as_ptr()), kind, 0, 0];
    // SAFETY: The kernel reads the strings, which end in zeros, and no data.
    result(unsafe { syscall(nr::MOUNT, arguments) }).map(drop)
}

/// Loads the kernel module in an open file.
pub fn finit_module(fd: i32, parameters: &CStr) -> Result<(), Errno> {
    let arguments = [fd as Word, address(parameters.as_ptr()), 0, 0, 0];
    // SAFETY: The kernel reads the string, which ends in a zero.
    result(unsafe { syscall(nr::FINIT_MODULE, arguments) }).map(drop)
}

/// What `uname` says: six texts of 65 bytes each.
pub struct Uname([u8; 6 * 65]);

impl Uname {
    /// Asks the kernel.
    pub fn new() -> Result<Self, Errno> {
        let mut name = Self([0; 6 * 65]);
        let address = address(name.0.as_mut_ptr());
        // SAFETY: The kernel writes six texts of 65 bytes.
        result(unsafe { syscall(nr::UNAME, [address, 0, 0, 0, 0]) })?;
        Ok(name)
    }

    /// The kernel's release, such as `6.1.0-50-s390x`.
    pub fn release(&self) -> &str {
        self.text(2)
    }

    /// The architecture as the kernel names it.
    pub fn machine(&self) -> &str {
        self.text(4)
    }

    fn text(&self, index: usize) -> &str {
        CStr::from_bytes_until_nul(&self.0[index * 65..])
            .ok()
            .and_then(|text| text.to_str().ok())
            .unwrap_or("?")
    }
}

/// Sleeps.
pub fn sleep(milliseconds: u32) {
    // Seconds and nanoseconds of 64 bits each: the native record of 64-bit architectures, and that
    // of the `time64` call that the others have.
    let time = [i64::from(milliseconds / 1000), i64::from(milliseconds % 1000 * 1_000_000)];
    let time = address(time.as_ptr());
    let arguments = if Word::BITS == 32 { [1, 0, time, 0, 0] } else { [time, 0, 0, 0, 0] };
    // SAFETY: The kernel reads the record and writes none.
    let _ = unsafe { syscall(nr::SLEEP, arguments) };
}

/// How a child ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// By `exit`, with this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

const SIGCHLD: Word = 17;

/// Runs `child` in a forked process, which ends with the status it returns, and waits for it.
pub fn in_child(child: impl FnOnce() -> i32) -> Result<Ended, Errno> {
    let process = match fork()? {
        0 => exit(child()),
        process => process,
    };
    wait_for(process)
}

/// Forks. 0 in the child, the child's number in the parent.
pub fn fork() -> Result<i32, Errno> {
    // The other arguments, which architectures order differently, are all zero.
    let arguments =
        if cfg!(target_arch = "s390x") { [0, SIGCHLD, 0, 0, 0] } else { [SIGCHLD, 0, 0, 0, 0] };
    // SAFETY: Without CLONE_VM the child has a copy of the memory, and goes on with the same stack.
    result(unsafe { syscall(nr::CLONE, arguments) }).map(|process| process as i32)
}

/// Waits until that child ends.
pub fn wait_for(process: i32) -> Result<Ended, Errno> {
    const P_PID: Word = 1;
    const WEXITED: Word = 4;
    const CLD_EXITED: i32 = 1;
    // si_signo, si_errno, si_code, then a gap where words have 64 bits, si_pid, si_uid, si_status.
    const CODE: usize = 2;
    const STATUS: usize = if usize::BITS == 64 { 6 } else { 5 };
    let mut record = [0_i32; 32];
    let address = address(record.as_mut_ptr());
    loop {
        // SAFETY: The record has the 128 bytes that the kernel writes.
        match result(unsafe { syscall(nr::WAITID, [P_PID, process as Word, address, WEXITED, 0]) })
        {
            Ok(_) if record[CODE] == CLD_EXITED => return Ok(Ended::Exited(record[STATUS])),
            Ok(_) => return Ok(Ended::Killed(record[STATUS])),
            Err(errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// The signal these programs use.
pub const SIGALRM: i32 = 14;

/// A set of signals as the kernel has it on every architecture here: 64 bits.
pub type Signals = u64;

/// The set of that one signal.
pub const fn only(signal: i32) -> Signals {
    let bit = 1_u64 << (signal - 1);
    // An array of words: on a big-endian machine of 32-bit words the halves would swap.
    if usize::BITS == 32 && cfg!(target_endian = "big") { bit.rotate_left(32) } else { bit }
}

/// Sends a signal to the process itself.
pub fn raise(signal: i32) -> Result<(), Errno> {
    // SAFETY: The call touches no memory. What the signal does is up to its handler.
    result(unsafe { syscall(nr::KILL, [getpid() as Word, signal as Word, 0, 0, 0]) }).map(drop)
}

/// Sets the mask of blocked signals and gives the one before.
pub fn set_blocked(signals: Signals) -> Result<Signals, Errno> {
    const SIG_SETMASK: Word = 2;
    let mut old: Signals = 0;
    let new = address(&raw const signals);
    let address = address(&raw mut old);
    // SAFETY: The kernel reads one set and writes the other, 8 bytes each.
    result(unsafe { syscall(nr::RT_SIGPROCMASK, [SIG_SETMASK, new, address, 8, 0]) })?;
    Ok(old)
}

/// Makes a signal do nothing but interrupt a call that waits.
pub fn interrupt_on(signal: i32) -> Result<(), Errno> {
    extern "C" fn nothing(_: i32) {}
    let handler = address(nothing as extern "C" fn(i32) as *const ());
    // The handler, flags, on some architectures a function that returns from it, and the signals to
    // block meanwhile: none.
    let action = [handler as usize, nr::SA_FLAGS, nr::restorer(), 0, 0];
    let address = address(&raw const action);
    // SAFETY: The kernel reads the record, which has the architecture's layout. The handler
    // touches nothing, so that it may run at any moment.
    result(unsafe { syscall(nr::RT_SIGACTION, [signal as Word, address, 0, 8, 0]) }).map(drop)
}

/// Makes SIGALRM arrive every so many milliseconds, or no more for 0.
pub fn alarm_every(milliseconds: u32) -> Result<(), Errno> {
    const ITIMER_REAL: Word = 0;
    let second = (milliseconds / 1000) as nr::Long;
    let micro = (milliseconds % 1000 * 1000) as nr::Long;
    let time = [second, micro, second, micro];
    let address = address(time.as_ptr());
    // SAFETY: The kernel reads the interval and the first time, and writes nothing.
    result(unsafe { syscall(nr::SETITIMER, [ITIMER_REAL, address, 0, 0, 0]) }).map(drop)
}

/// A number that no open file has: far above any limit.
pub const NO_FILE: i32 = 0x7fff_0000;
