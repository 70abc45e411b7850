//! Runs random inputs of one target until it has made a number of operations, or has found a
//! divergence, which it reports and keeps in a file.

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use linux_aio_fuzz::{Runner, Target};
use std::process::ExitCode;
use std::time::Instant;

/// Random inputs to one fuzz target.
#[derive(Parser)]
struct Arguments {
    /// What to fuzz.
    target: Target,
    /// How many operations to make.
    operations: u64,
    /// Where the random numbers begin; by default somewhere new.
    #[arg(long)]
    seed: Option<u64>,
    /// The longest input, in bytes.
    #[arg(long, default_value_t = 4096)]
    longest: usize,
}

fn progress(operations: u64) -> ProgressBar {
    let bar = ProgressBar::new(operations);
    let template = "{elapsed_precise} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}";
    bar.with_style(ProgressStyle::with_template(template).expect("a constant template"))
}

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    let mut random = fastrand::Rng::with_seed(seed);
    let mut runner = Runner::new(arguments.target)?;
    let (bar, start) = (progress(arguments.operations), Instant::now());
    let (mut inputs, mut input) = (0u64, vec![0; arguments.longest]);
    while runner.operations() < arguments.operations {
        let len = random.usize(1..=arguments.longest);
        random.fill(&mut input[..len]);
        inputs += 1;
        if let Err(divergence) = runner.run(&input[..len]) {
            bar.abandon();
            let name = format!("divergence-{}-{seed:016x}", arguments.target.name());
            std::fs::write(&name, &input[..len])?;
            println!("{divergence}");
            println!("input {inputs} of seed {seed}, kept in {name}");
            return Ok(ExitCode::FAILURE);
        }
        bar.set_position(runner.operations());
    }
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{}: {} operations in {inputs} inputs, {seconds:.1} s, seed {seed}, no divergence",
        arguments.target.name(),
        runner.operations()
    );
    Ok(ExitCode::SUCCESS)
}
