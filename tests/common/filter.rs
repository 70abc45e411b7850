//! seccomp filters. They cannot be taken off again: install them in a child.

use linux_aio::abi::syscall::NATIVE;

/// The six calls by name and number; a call that this architecture does not have is left out.
pub(crate) fn aio_calls() -> Vec<(&'static str, u32)> {
    let optional = [
        ("io_getevents", NATIVE.io_getevents),
        ("io_pgetevents", NATIVE.io_pgetevents),
        ("io_pgetevents_time64", NATIVE.io_pgetevents_time64),
    ];
    let mut calls = vec![
        ("io_setup", NATIVE.io_setup),
        ("io_destroy", NATIVE.io_destroy),
        ("io_submit", NATIVE.io_submit),
        ("io_cancel", NATIVE.io_cancel),
    ];
    calls.extend(optional.iter().filter_map(|&(name, number)| Some((name, number?))));
    calls
}

/// Every call that waits for events.
pub(crate) fn waiting_calls() -> Vec<u32> {
    aio_calls().iter().filter(|(name, _)| name.contains("getevents")).map(|call| call.1).collect()
}

/// What a filter does.
pub(crate) fn errno(number: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | number as u32
}

pub(crate) const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;

/// From now on, the calling thread's `calls` meet `action`. Several filters add up; the strictest
/// action wins.
pub(crate) fn install(calls: &[u32], action: u32) {
    divide(calls, action, libc::SECCOMP_RET_ALLOW);
}

/// From now on, all calls of the calling thread but `calls` meet `action`.
pub(crate) fn allow_only(calls: &[u32], action: u32) {
    divide(calls, libc::SECCOMP_RET_ALLOW, action);
}

fn divide(calls: &[u32], action: u32, others: u32) {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    // The number of the call is the first word of `struct seccomp_data`.
    let mut program = vec![step(LOAD, 0, 0, 0)];
    for &call in calls {
        program.push(step(JUMP_IF_EQUAL, 0, 1, call));
        program.push(step(RETURN, 0, 0, action));
    }
    program.push(step(RETURN, 0, 0, others));
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: Numbers only.
    let fixed = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(fixed, 0, "PR_SET_NO_NEW_PRIVS: {}", std::io::Error::last_os_error());
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: The program lives during the call, and the kernel copies it.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) };
    assert_eq!(set, 0, "PR_SET_SECCOMP: {}", std::io::Error::last_os_error());
}

/// Whether this kernel takes filters at all. Asks with a null program, which changes nothing.
pub(crate) fn filters_work() -> bool {
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: The kernel refuses the null pointer.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, core::ptr::null::<u8>()) };
    set == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}
