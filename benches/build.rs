//! Compiles the loops in C, optimised also in a debug build: they are what is compared with.

fn main() {
    println!("cargo::rerun-if-changed=c/loops.c");
    cc::Build::new().file("c/loops.c").opt_level(3).warnings(true).compile("loops");
}
