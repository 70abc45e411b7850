//! The way from the kernel to `program`: what `crt1.o` does for C.
//!
//! The kernel enters at `_start` with the stack pointer at `argc`, followed by the arguments, the
//! environment and the auxiliary vector. The assembly passes that address on, aligns the stack as
//! the architecture's calling convention asks, and ends the chain of frames.

use core::arch::global_asm;
use core::ffi::{CStr, c_char};

use crate::kernel;

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {start}",
    start = sym start,
);

#[cfg(target_arch = "x86")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov eax, esp",
    "and esp, -16",
    "sub esp, 12",
    "push eax",
    "call {start}",
    start = sym start,
);

#[cfg(target_arch = "arm")]
global_asm!(
    ".globl _start",
    ".type _start, %function",
    ".arm",
    "_start:",
    "mov r11, #0",
    "mov lr, #0",
    "mov r0, sp",
    "bic r1, r0, #7",
    "mov sp, r1",
    "bl {start}",
    start = sym start,
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, #0",
    "mov x30, #0",
    "mov x0, sp",
    "and sp, x0, #-16",
    "bl {start}",
    start = sym start,
);

#[cfg(any(target_arch = "riscv32", target_arch = "riscv64"))]
global_asm!(
    ".globl _start",
    "_start:",
    "li fp, 0",
    "li ra, 0",
    "mv a0, sp",
    "andi sp, sp, -16",
    "call {start}",
    start = sym start,
);

#[cfg(target_arch = "loongarch64")]
global_asm!(
    ".globl _start",
    "_start:",
    "move $fp, $zero",
    "move $ra, $zero",
    "move $a0, $sp",
    "bstrins.d $sp, $zero, 3, 0",
    "bl {start}",
    start = sym start,
);

// A frame of 160 bytes, its back chain zero, is what the callee may use to save registers.
#[cfg(target_arch = "s390x")]
global_asm!(
    ".globl _start",
    "_start:",
    "lgr %r2, %r15",
    "lghi %r0, -16",
    "ngr %r15, %r0",
    "aghi %r15, -160",
    "lghi %r0, 0",
    "stg %r0, 0(%r15)",
    "brasl %r14, {start}",
    start = sym start,
);

#[cfg(target_arch = "powerpc")]
global_asm!(
    ".globl _start",
    "_start:",
    "mr 3, 1",
    "rlwinm 1, 1, 0, 0, 27",
    "li 0, 0",
    "stwu 0, -16(1)",
    "mtlr 0",
    "bl {start}",
    start = sym start,
);

// The ELFv2 convention. Nothing has set the TOC pointer (r2) yet, so it is taken from where the
// code stands.
#[cfg(target_arch = "powerpc64")]
global_asm!(
    ".globl _start",
    "_start:",
    "bcl 20, 31, 0f",
    "0:",
    "mflr 2",
    "addis 2, 2, (.TOC.-0b)@ha",
    "addi 2, 2, (.TOC.-0b)@l",
    "mr 3, 1",
    "clrrdi 1, 1, 4",
    "li 0, 0",
    "stdu 0, -32(1)",
    "mtlr 0",
    "bl {start}",
    "nop",
    start = sym start,
);

unsafe extern "Rust" {
    safe fn program(arguments: Arguments) -> i32;
}

extern "C" fn start(stack: *const usize) -> ! {
    kernel::exit(program(Arguments { stack }))
}

/// The arguments of the process, and the auxiliary vector, where the kernel left them.
#[derive(Clone, Copy)]
pub struct Arguments {
    stack: *const usize,
}

/// `AT_PAGESZ` of the auxiliary vector: the size of a page.
pub const AT_PAGESZ: usize = 6;

impl Arguments {
    /// How many arguments there are, with the program's own name.
    pub fn count(self) -> usize {
        // SAFETY: Only `start` makes a value of this type, from the stack pointer at entry, where
        // the kernel stores the count.
        unsafe { *self.stack }
    }

    /// The argument of that number; 0 is the program's own name.
    pub fn get(self, index: usize) -> Option<&'static CStr> {
        if index >= self.count() {
            return None;
        }
        // SAFETY: The kernel stores `count` pointers after the count.
        let argument = unsafe { self.word(1 + index) } as *const c_char;
        // SAFETY: Each of them names a string that ends in a zero and that nobody changes or frees.
        Some(unsafe { CStr::from_ptr(argument) })
    }

    /// The value that the auxiliary vector has under `key`, or 0.
    pub fn auxiliary(self, key: usize) -> usize {
        let mut at = 1 + self.count() + 1;
        // SAFETY: The environment follows the arguments and their null pointer, and ends in one.
        while unsafe { self.word(at) } != 0 {
            at += 1;
        }
        at += 1;
        loop {
            // SAFETY: The auxiliary vector follows the environment: pairs of a key and a value,
            // up to the key 0, which is where the loop ends.
            let found = unsafe { self.word(at) };
            if found == key || found == 0 {
                // SAFETY: The second word of the same pair.
                return unsafe { self.word(at + 1) };
            }
            at += 2;
        }
    }

    /// # Safety
    /// `index` must be within the block that ends with the auxiliary vector.
    unsafe fn word(self, index: usize) -> usize {
        // SAFETY: Inside the block, as the caller says.
        let word = unsafe { self.stack.add(index) };
        // SAFETY: The kernel wrote the whole block, and it is aligned as words are.
        unsafe { word.read() }
    }
}
