//! Goal: every number, size, alignment and offset of this crate is the kernel headers'.
//!
//! Method: `golden/` holds, for each architecture, what a C compiler made of the kernel's own
//! headers (see `golden/generate.sh`). The system call tables and the constants that all
//! architectures share are compared with every file, whatever machine this runs on; the layout and
//! the constants that differ, with the file of this machine. Where a C compiler and kernel headers
//! are installed, this machine's file is made anew and compared too. `golden/target-check` compares
//! the layout and the constants of the other architectures, at compile time.

#![cfg(any(target_os = "linux", target_os = "android"))]
#![allow(clippy::std_instead_of_alloc, reason = "a test has std")]

use core::mem::offset_of;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use linux_aio_abi::syscall::{self, Syscalls};
use linux_aio_abi::{__aio_sigset, __kernel_old_timespec, __kernel_timespec};
use linux_aio_abi::{aio_ring, helper, io_event, iocb, iovec};

type Values = BTreeMap<String, i64>;

/// Each file of `golden/` with the name of its table in [`syscall::TABLES`].
const GOLDEN: &[(&str, &str, &str)] = &[
    ("aarch64", "aarch64", include_str!("../golden/aarch64.txt")),
    ("aarch64_be", "aarch64", include_str!("../golden/aarch64_be.txt")),
    ("arm", "arm", include_str!("../golden/arm.txt")),
    ("armeb", "arm", include_str!("../golden/armeb.txt")),
    ("csky", "csky", include_str!("../golden/csky.txt")),
    ("hexagon", "hexagon", include_str!("../golden/hexagon.txt")),
    ("i386", "i386", include_str!("../golden/i386.txt")),
    ("loongarch64", "loongarch64", include_str!("../golden/loongarch64.txt")),
    ("m68k", "m68k", include_str!("../golden/m68k.txt")),
    ("mips", "mips", include_str!("../golden/mips.txt")),
    ("mips64", "mips64", include_str!("../golden/mips64.txt")),
    ("mips64el", "mips64", include_str!("../golden/mips64el.txt")),
    ("mipsel", "mips", include_str!("../golden/mipsel.txt")),
    ("powerpc", "powerpc", include_str!("../golden/powerpc.txt")),
    ("powerpc64", "powerpc64", include_str!("../golden/powerpc64.txt")),
    ("powerpc64le", "powerpc64", include_str!("../golden/powerpc64le.txt")),
    ("riscv32", "riscv32", include_str!("../golden/riscv32.txt")),
    ("riscv64", "riscv64", include_str!("../golden/riscv64.txt")),
    ("s390x", "s390x", include_str!("../golden/s390x.txt")),
    ("sparc", "sparc", include_str!("../golden/sparc.txt")),
    ("sparc64", "sparc64", include_str!("../golden/sparc64.txt")),
    ("x32", "x32", include_str!("../golden/x32.txt")),
    ("x86_64", "x86_64", include_str!("../golden/x86_64.txt")),
];

/// The golden file of the target that this test is compiled for.
fn native_name() -> &'static str {
    let big = cfg!(target_endian = "big");
    match (std::env::consts::ARCH, big) {
        ("x86_64", _) if size_of::<usize>() == 4 => "x32",
        ("x86", _) => "i386",
        ("arm", true) => "armeb",
        ("aarch64", true) => "aarch64_be",
        ("powerpc64", false) => "powerpc64le",
        ("mips" | "mips32r6", true) => "mips",
        ("mips" | "mips32r6", false) => "mipsel",
        ("mips64" | "mips64r6", true) => "mips64",
        ("mips64" | "mips64r6", false) => "mips64el",
        (same, _) => same,
    }
}

fn parse(text: &str) -> Values {
    let mut values = Values::new();
    for line in text.lines() {
        let (name, value) = line.split_once(' ').expect("NAME VALUE");
        let value = value.parse().expect("an integer");
        let twice = values.insert(name.to_owned(), value);
        assert_eq!(twice, None, "{name} is there twice");
    }
    values
}

fn golden(name: &str) -> Values {
    let (_, _, text) = GOLDEN
        .iter()
        .find(|(golden, ..)| *golden == name)
        .unwrap_or_else(|| panic!("no golden file for {name}"));
    parse(text)
}

/// What this crate says of `table`, under the names of the golden files.
fn syscalls(table: &Syscalls) -> Values {
    let Syscalls {
        io_setup,
        io_destroy,
        io_submit,
        io_cancel,
        io_getevents,
        io_pgetevents,
        io_pgetevents_time64,
        eventfd2,
        mmap,
        munmap,
        madvise,
        kill,
        getpid,
        read,
        write,
        close,
        openat,
        sync_file_range,
        sync_file_range2,
        futex,
        futex_time64,
    } = *table;
    let optional = |number: Option<u32>| number.map_or(-1, i64::from);
    [
        ("io_setup", io_setup.into()),
        ("io_destroy", io_destroy.into()),
        ("io_submit", io_submit.into()),
        ("io_cancel", io_cancel.into()),
        ("io_getevents", optional(io_getevents)),
        ("io_pgetevents", optional(io_pgetevents)),
        ("io_pgetevents_time64", optional(io_pgetevents_time64)),
        ("eventfd2", eventfd2.into()),
        ("mmap", mmap.into()),
        ("munmap", munmap.into()),
        ("madvise", madvise.into()),
        ("kill", kill.into()),
        ("getpid", getpid.into()),
        ("read", read.into()),
        ("write", write.into()),
        ("close", close.into()),
        ("openat", openat.into()),
        ("sync_file_range", optional(sync_file_range)),
        ("sync_file_range2", optional(sync_file_range2)),
        ("futex", optional(futex)),
        ("futex_time64", optional(futex_time64)),
    ]
    .into_iter()
    .map(|(name, number)| (format!("syscall.{name}"), number))
    .collect()
}

/// Adds constants under their own names, with an optional prefix. C's `int` holds the values, so
/// each goes through `i32`.
macro_rules! constants {
    ($values:ident, $prefix:literal, $module:ident: $($name:ident)*) => {
        $($values.insert(
            concat!($prefix, stringify!($name)).to_owned(),
            i64::from($module::$name as i32),
        );)*
    };
}

/// Adds size, alignment and offsets of a structure.
macro_rules! layout {
    ($values:ident, $type:ident: $($field:ident)*) => {
        add_type::<$type>(&mut $values, stringify!($type));
        $($values.insert(
            concat!("offsetof.", stringify!($type), ".", stringify!($field)).to_owned(),
            offset_of!($type, $field) as i64,
        );)*
    };
}

fn add_type<T>(values: &mut Values, name: &str) {
    values.insert(format!("sizeof.{name}"), size_of::<T>() as i64);
    values.insert(format!("alignof.{name}"), align_of::<T>() as i64);
}

/// The constants that have one value on all architectures.
fn shared_constants() -> Values {
    let mut values = Values::new();
    constants!(values, "", linux_aio_abi:
        IOCB_CMD_PREAD IOCB_CMD_PWRITE IOCB_CMD_FSYNC IOCB_CMD_FDSYNC IOCB_CMD_POLL IOCB_CMD_NOOP
        IOCB_CMD_PREADV IOCB_CMD_PWRITEV IOCB_FLAG_RESFD IOCB_FLAG_IOPRIO
        KIOCB_KEY AIO_RING_MAGIC AIO_RING_COMPAT_FEATURES AIO_RING_INCOMPAT_FEATURES
        RWF_HIPRI RWF_DSYNC RWF_SYNC RWF_NOWAIT RWF_APPEND RWF_NOAPPEND RWF_ATOMIC RWF_DONTCACHE
        RWF_NOSIGNAL RWF_SUPPORTED
        IOPRIO_CLASS_SHIFT IOPRIO_CLASS_NONE IOPRIO_CLASS_RT IOPRIO_CLASS_BE IOPRIO_CLASS_IDLE
        IOPRIO_NR_LEVELS
        POLLIN POLLPRI POLLOUT POLLERR POLLHUP POLLNVAL POLLRDNORM POLLRDBAND);
    constants!(values, "helper.", helper:
        O_RDONLY AT_FDCWD PROT_NONE PROT_READ PROT_WRITE MAP_PRIVATE
        MADV_DONTFORK MADV_DOFORK MADV_WIPEONFORK MADV_KEEPONFORK
        SIGKILL FUTEX_WAIT FUTEX_WAKE FUTEX_PRIVATE_FLAG
        SYNC_FILE_RANGE_WAIT_BEFORE SYNC_FILE_RANGE_WRITE SYNC_FILE_RANGE_WAIT_AFTER);
    values
}

/// All that this crate says of the target that this is compiled for.
fn native() -> Values {
    let mut values = shared_constants();
    values.extend(syscalls(&syscall::NATIVE));
    constants!(values, "", linux_aio_abi:
        POLLWRNORM POLLWRBAND POLLMSG POLLREMOVE POLLRDHUP _NSIG);
    constants!(values, "helper.", helper: O_CLOEXEC EFD_CLOEXEC EFD_NONBLOCK MAP_ANONYMOUS);
    add_type::<linux_aio_abi::__kernel_ulong_t>(&mut values, "__kernel_ulong_t");
    add_type::<linux_aio_abi::__kernel_rwf_t>(&mut values, "__kernel_rwf_t");
    add_type::<linux_aio_abi::aio_context_t>(&mut values, "aio_context_t");
    add_type::<linux_aio_abi::sigset_t>(&mut values, "sigset_t");
    layout!(values, iocb: aio_data aio_key aio_rw_flags aio_lio_opcode aio_reqprio aio_fildes
        aio_buf aio_nbytes aio_offset aio_reserved2 aio_flags aio_resfd);
    layout!(values, io_event: data obj res res2);
    layout!(values, aio_ring: id nr head tail magic compat_features incompat_features header_length
        io_events);
    layout!(values, __aio_sigset: sigmask sigsetsize);
    layout!(values, __kernel_timespec: tv_sec tv_nsec);
    layout!(values, __kernel_old_timespec: tv_sec tv_nsec);
    layout!(values, iovec: iov_base iov_len);
    values
}

#[test]
fn every_golden_file_is_compared() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let files: BTreeSet<String> = folder
        .read_dir()
        .expect("the folder of the golden files")
        .map(|entry| entry.expect("an entry").file_name().into_string().unwrap())
        .filter_map(|file| file.strip_suffix(".txt").map(str::to_owned))
        .collect();
    let compared: BTreeSet<String> = GOLDEN.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(files, compared);
}

#[test]
fn system_call_numbers_of_every_architecture_are_the_headers() {
    let mut tables: BTreeSet<&str> = syscall::TABLES.iter().map(|(name, _)| *name).collect();
    assert_eq!(tables.len(), syscall::TABLES.len(), "a table is there twice");
    for (name, table_name, text) in GOLDEN {
        let (_, table) = syscall::TABLES
            .iter()
            .find(|(table, _)| table == table_name)
            .unwrap_or_else(|| panic!("no table for {name}"));
        let mut golden = parse(text);
        golden.retain(|key, _| key.starts_with("syscall."));
        assert_eq!(syscalls(table), golden, "{name}");
        tables.remove(table_name);
    }
    assert_eq!(tables, BTreeSet::new(), "tables without a golden file");
}

#[test]
fn shared_constants_are_the_headers_of_every_architecture() {
    for (name, _, text) in GOLDEN {
        let golden = parse(text);
        for (constant, value) in shared_constants() {
            assert_eq!(golden.get(&constant), Some(&value), "{constant} on {name}");
        }
    }
}

/// The offsets of `iocb` and `io_event` are the same everywhere, but for the byte order.
#[test]
fn request_and_event_have_one_layout_on_every_architecture() {
    for (name, _, text) in GOLDEN {
        let golden = parse(text);
        let big = matches!(
            *name,
            "aarch64_be"
                | "armeb"
                | "m68k"
                | "mips"
                | "mips64"
                | "powerpc"
                | "powerpc64"
                | "s390x"
                | "sparc"
                | "sparc64"
        );
        for (key, little, big_value) in [
            ("sizeof.iocb", 64, 64),
            ("offsetof.iocb.aio_key", 8, 12),
            ("offsetof.iocb.aio_rw_flags", 12, 8),
            ("offsetof.iocb.aio_lio_opcode", 16, 16),
            ("offsetof.iocb.aio_buf", 24, 24),
            ("offsetof.iocb.aio_resfd", 60, 60),
            ("sizeof.io_event", 32, 32),
            ("offsetof.io_event.res2", 24, 24),
            ("sizeof.aio_ring", 32, 32),
            ("offsetof.aio_ring.io_events", 32, 32),
        ] {
            let expected = if big { big_value } else { little };
            assert_eq!(golden[key], expected, "{key} on {name}");
        }
    }
}

#[test]
fn everything_native_is_the_headers() {
    let mut golden = golden(native_name());
    golden.remove("LINUX_VERSION_CODE");
    assert_eq!(native(), golden);
}

/// Linux 5.1: from there on every system call and every structure is in the headers.
const FIRST_COMPLETE_VERSION: i64 = 5 << 16 | 1 << 8;

/// Names that headers may lack, or have another value for, since later kernels brought them.
const OF_LATER_KERNELS: &[&str] = &[
    "LINUX_VERSION_CODE",
    "RWF_NOAPPEND",
    "RWF_ATOMIC",
    "RWF_DONTCACHE",
    "RWF_NOSIGNAL",
    "RWF_SUPPORTED",
    "IOPRIO_CLASS_SHIFT",
    "IOPRIO_CLASS_NONE",
    "IOPRIO_CLASS_RT",
    "IOPRIO_CLASS_BE",
    "IOPRIO_CLASS_IDLE",
    "IOPRIO_NR_LEVELS",
];

/// The flag that makes a compiler for `machine` compile for this target; `None` if it cannot.
fn flag_for_this_target(machine: &str) -> Option<&'static str> {
    let x86 =
        machine.starts_with("x86_64") || (machine.starts_with('i') && machine.contains("86-"));
    match native_name() {
        "x86_64" if x86 => Some("-m64"),
        "x32" if x86 => Some("-mx32"),
        "i386" if x86 => Some("-m32"),
        "mips" | "mipsel" | "mips64" | "mips64el" | "powerpc" | "powerpc64" | "powerpc64le" => {
            let arch = machine.split('-').next().unwrap_or_default();
            (arch == native_name()).then_some("-O1")
        }
        name => machine.starts_with(name).then_some("-O1"),
    }
}

/// This machine's own headers, as the C compiler sees them; or why they cannot be had.
fn regenerate() -> Result<Values, String> {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let machine = Command::new(&compiler)
        .arg("-dumpmachine")
        .output()
        .map_err(|error| format!("no C compiler `{compiler}`: {error}"))?;
    let machine = String::from_utf8_lossy(&machine.stdout).trim().to_owned();
    let flag = flag_for_this_target(&machine)
        .ok_or_else(|| format!("`{compiler}` compiles for {machine}, not {}", native_name()))?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/golden.c");
    let output = Command::new(&compiler)
        .args([flag, "-O1", "-S", "-o", "-"])
        .arg(&source)
        .env("LC_ALL", "C")
        .output()
        .expect("the compiler that ran before");
    let errors = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let no_headers = errors.contains("No such file") || errors.contains("file not found");
        assert!(no_headers, "golden.c does not compile:\n{errors}");
        return Err(format!("no kernel headers for {flag}:\n{errors}"));
    }
    let assembly = String::from_utf8(output.stdout).expect("assembly in ASCII");
    let values: String = assembly
        .lines()
        .filter_map(|line| line.split_once("golden:")?.1.split_once('"'))
        .map(|(value, _)| value.replace('=', " ") + "\n")
        .collect();
    let values = parse(&values);
    if values["LINUX_VERSION_CODE"] < FIRST_COMPLETE_VERSION {
        return Err("the kernel headers are older than Linux 5.1".to_owned());
    }
    Ok(values)
}

#[test]
fn native_golden_file_can_be_made_anew_from_this_machines_headers() {
    let made = match regenerate() {
        Ok(made) => made,
        Err(reason) => {
            eprintln!("SKIPPED: the golden file is not made anew: {reason}");
            return;
        }
    };
    for (name, value) in golden(native_name()) {
        let of_later_kernels = OF_LATER_KERNELS.contains(&name.as_str());
        match made.get(&name) {
            Some(_) if name == "LINUX_VERSION_CODE" => {}
            // Headers of another version say less or more; but no flag may have moved.
            Some(mask) if name == "RWF_SUPPORTED" => {
                let smaller = (mask & value).count_ones();
                assert!(smaller == mask.count_ones() || smaller == value.count_ones());
            }
            Some(made) => assert_eq!(*made, value, "{name}"),
            None => assert!(of_later_kernels, "{name} is not in the headers"),
        }
    }
}
