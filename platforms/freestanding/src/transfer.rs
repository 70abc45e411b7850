//! The work of two of the programs: a file is written and read back through `IoContext::scope`,
//! and every byte is checked.

use core::ffi::CStr;

use linux_aio::{Errno, Fd, IoContext, Operation, Prepared, Slot};

use crate::kernel::{self, O_DIRECT, flag};
use crate::print::{print, print_number};
use crate::{fill, filled_with};

/// How many blocks the file gets.
pub const BLOCKS: u64 = 64;
/// How many of them are under way at once.
const AT_ONCE: usize = 4;
const BLOCK: usize = 4096;

/// Memory that O_DIRECT takes.
#[repr(C, align(4096))]
struct Block([u8; BLOCK]);

/// A block on its way to the file or back.
enum Transfer<'a> {
    Write { file: Fd<'a>, block: &'a mut Block, number: u64 },
    Read { file: Fd<'a>, block: &'a mut Block, number: u64 },
}

impl Operation for Transfer<'_> {
    fn prepare(&mut self) -> Prepared<'_> {
        match self {
            Self::Write { file, block, number } => {
                Prepared::write(*file, &block.0, *number * BLOCK as u64)
            }
            Self::Read { file, block, number } => {
                Prepared::read(*file, &mut block.0, *number * BLOCK as u64)
            }
        }
    }
}

/// Why it did not work.
pub enum Failure {
    /// A call gave this errno.
    System(&'static str, i32),
    /// Something else.
    Wrong(&'static str),
}

impl Failure {
    /// Prints it, on a line.
    pub fn print(&self) {
        match self {
            Self::System(call, errno) => {
                print(call);
                print(": errno ");
                print_number(i64::from(*errno));
            }
            Self::Wrong(what) => print(what),
        }
        print("\n");
    }
}

fn failed(call: &'static str) -> impl Fn(Errno) -> Failure {
    move |errno| Failure::System(call, errno.as_raw())
}

/// Opens a context as large as [`out_and_back`] needs.
pub fn context() -> Result<IoContext, Failure> {
    IoContext::new(AT_ONCE as u32)
        .map_err(|error| Failure::System("io_setup", error.errno().as_raw()))
}

/// Writes [`BLOCKS`] blocks to the file, reads each back, and checks it.
pub fn out_and_back(context: &mut IoContext, path: &CStr) -> Result<(), Failure> {
    let flags = flag::O_RDWR | flag::O_CREAT | flag::O_TRUNC;
    // Not every file system takes O_DIRECT.
    let number = kernel::open(path, flags | O_DIRECT, 0o600)
        .or_else(|_| kernel::open(path, flags, 0o600))
        .map_err(|errno| Failure::System("open", errno))?;
    // SAFETY: Nothing closes the file before the process ends.
    let file = unsafe { Fd::borrow_raw(number) };
    let mut blocks = [const { Block([0; BLOCK]) }; AT_ONCE];
    let slots = &mut [const { Slot::new() }; AT_ONCE];
    let checked = linux_aio::scope(context, slots, |io| {
        let mut next = 0;
        for block in &mut blocks {
            fill(&mut block.0, next);
            io.push(Transfer::Write { file, block, number: next })
                .map_err(|refused| failed("push")(refused.errno()))?;
            next += 1;
        }
        let mut checked = 0;
        while let Some(done) = io.wait().map_err(|error| failed(error.call())(error.errno()))? {
            if done.result.map_err(failed("transfer"))? as usize != BLOCK {
                return Err(Failure::Wrong("a transfer was short"));
            }
            let again = match done.op {
                // The same memory reads back what it has written, once it has been emptied.
                Transfer::Write { file, block, number } => {
                    block.0.fill(0);
                    Transfer::Read { file, block, number }
                }
                Transfer::Read { file, block, number } => {
                    if !filled_with(&block.0, number) {
                        return Err(Failure::Wrong("a block came back changed"));
                    }
                    checked += 1;
                    if next == BLOCKS {
                        continue;
                    }
                    fill(&mut block.0, next);
                    next += 1;
                    Transfer::Write { file, block, number: next - 1 }
                }
            };
            io.push(again).map_err(|refused| failed("push")(refused.errno()))?;
        }
        Ok(checked)
    })
    .map_err(|error| failed("scope")(error.into()))??;
    if checked != BLOCKS {
        return Err(Failure::Wrong("a block is missing"));
    }
    Ok(())
}
