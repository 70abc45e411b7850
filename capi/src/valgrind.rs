//! Finds out whether the program runs under valgrind.
//!
//! Valgrind gives a meaning to instructions that do nothing on a processor: four rotations of a
//! register, which together leave it as it was, and a copy of a register to itself. `valgrind.h`
//! fixes the sequence of each architecture.
//!
//! It must never report valgrind where there is none. On an architecture without a sequence here it
//! reports none.

/// The request for the number of valgrinds around the program (`VG_USERREQ__RUNNING_ON_VALGRIND`),
/// and five arguments.
#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "powerpc64",
    target_arch = "s390x",
))]
static REQUEST: [usize; 6] = [0x1001, 0, 0, 0, 0, 0];

/// Returns whether the program runs under valgrind.
#[cfg(target_arch = "x86_64")]
pub(crate) fn is_running() -> bool {
    let count: usize;
    // SAFETY: A processor rotates `rdi` by 128 bits in all. Valgrind reads the request and writes
    // `rdx`.
    unsafe {
        core::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") &raw const REQUEST,
            inout("rdx") 0_usize => count,
            options(nostack),
        );
    }
    count != 0
}

/// Returns whether the program runs under valgrind.
#[cfg(target_arch = "aarch64")]
pub(crate) fn is_running() -> bool {
    let count: usize;
    // SAFETY: A processor rotates `x12` by 128 bits in all. Valgrind reads the request and writes
    // `x3`.
    unsafe {
        core::arch::asm!(
            "ror x12, x12, #3",
            "ror x12, x12, #13",
            "ror x12, x12, #51",
            "ror x12, x12, #61",
            "orr x10, x10, x10",
            inout("x3") 0_usize => count,
            in("x4") &raw const REQUEST,
            options(nostack),
        );
    }
    count != 0
}

/// Returns whether the program runs under valgrind.
#[cfg(target_arch = "powerpc64")]
pub(crate) fn is_running() -> bool {
    let count: usize;
    // SAFETY: A processor rotates `r0` by 128 bits in all. Valgrind reads the request and writes
    // `r3`.
    unsafe {
        core::arch::asm!(
            "rotldi 0, 0, 3",
            "rotldi 0, 0, 13",
            "rotldi 0, 0, 61",
            "rotldi 0, 0, 51",
            "or 1, 1, 1",
            inout("r3") 0_usize => count,
            in("r4") &raw const REQUEST,
            options(nostack),
        );
    }
    count != 0
}

/// Returns whether the program runs under valgrind.
#[cfg(target_arch = "s390x")]
pub(crate) fn is_running() -> bool {
    let count: usize;
    // SAFETY: A processor copies four registers to themselves. Valgrind reads the request and
    // writes `r3`.
    unsafe {
        core::arch::asm!(
            "lr %r15, %r15",
            "lr %r1, %r1",
            "lr %r2, %r2",
            "lr %r3, %r3",
            "lr %r2, %r2",
            in("r2") &raw const REQUEST,
            inout("r3") 0_usize => count,
            options(nostack),
        );
    }
    count != 0
}

/// Returns `false`: this file has no sequence for the architecture.
#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "powerpc64",
    target_arch = "s390x",
)))]
pub(crate) fn is_running() -> bool {
    false
}
