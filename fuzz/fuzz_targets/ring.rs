//! See `linux_aio_fuzz::ring`. Under cargo-fuzz a libFuzzer target; otherwise a program that runs
//! the inputs it is given as files, or the one on its standard input.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| linux_aio_fuzz::check(
    linux_aio_fuzz::Target::Ring,
    data
));

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    linux_aio_fuzz::replay(linux_aio_fuzz::Target::Ring)
}
