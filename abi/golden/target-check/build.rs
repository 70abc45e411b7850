//! Turns the golden file of the target into compile-time assertions.
//!
//! It must never leave out a line of the file: a name that `linux-aio-abi` lacks does not compile.

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// The golden file of the target, or `None` for a target that has no Linux system calls.
fn golden_name() -> Option<String> {
    let var = |name: &str| env::var(name).unwrap_or_default();
    let os = var("CARGO_CFG_TARGET_OS");
    if os != "linux" && os != "android" {
        return None;
    }
    let arch = var("CARGO_CFG_TARGET_ARCH");
    let big = var("CARGO_CFG_TARGET_ENDIAN") == "big";
    let wide = var("CARGO_CFG_TARGET_POINTER_WIDTH") == "64";
    let name = match (arch.as_str(), big) {
        ("x86_64", _) if !wide => "x32",
        ("x86", _) => "i386",
        ("arm", true) => "armeb",
        ("aarch64", true) => "aarch64_be",
        ("powerpc64", false) => "powerpc64le",
        ("mips" | "mips32r6", true) => "mips",
        ("mips" | "mips32r6", false) => "mipsel",
        ("mips64" | "mips64r6", true) => "mips64",
        ("mips64" | "mips64r6", false) => "mips64el",
        (same, _) => same,
    };
    Some(name.to_owned())
}

/// The Rust expression, of type i64, that must have the value that the file gives for `name`.
fn expression(name: &str) -> String {
    if let Some(ty) = name.strip_prefix("sizeof.") {
        return format!("size_of::<abi::{ty}>() as i64");
    }
    if let Some(ty) = name.strip_prefix("alignof.") {
        return format!("align_of::<abi::{ty}>() as i64");
    }
    if let Some(field) = name.strip_prefix("offsetof.") {
        let (ty, field) = field.split_once('.').expect("TYPE.FIELD");
        return format!("core::mem::offset_of!(abi::{ty}, {field}) as i64");
    }
    if let Some(call) = name.strip_prefix("syscall.") {
        let number = format!("abi::syscall::NATIVE.{call}");
        return match call {
            "io_getevents"
            | "io_pgetevents"
            | "io_pgetevents_time64"
            | "sync_file_range"
            | "sync_file_range2"
            | "futex"
            | "futex_time64" => {
                format!("(match {number} {{ Some(number) => number as i64, None => -1 }})")
            }
            _ => format!("{number} as i64"),
        };
    }
    // C's int holds the constants, so each goes through i32.
    format!("abi::{} as i32 as i64", name.replace('.', "::"))
}

fn main() {
    let mut assertions = String::new();
    if let Some(golden) = golden_name() {
        let path = Path::new("..").join(format!("{golden}.txt"));
        println!("cargo::rerun-if-changed={}", path.display());
        let text = fs::read_to_string(&path).expect("the golden file of the target");
        for line in text.lines() {
            let (name, value) = line.split_once(' ').expect("NAME VALUE");
            if name == "LINUX_VERSION_CODE" {
                continue;
            }
            let expression = expression(name);
            // gcc aligns nothing to more than 2 bytes on m68k, rustc aligns u64 to 4 there. Sizes
            // and offsets are the same, and to the kernel a stricter alignment is as good.
            let relation =
                if name.starts_with("alignof.") && golden == "m68k" { ">=" } else { "==" };
            writeln!(
                assertions,
                "const _: () = assert!({expression} {relation} {value}, \"{name} is {value}\");"
            )
            .expect("a String takes everything");
        }
    }
    let out = env::var("OUT_DIR").expect("set by cargo");
    fs::write(Path::new(&out).join("assertions.rs"), assertions).expect("write to OUT_DIR");
}
