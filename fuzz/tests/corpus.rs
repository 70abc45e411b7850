//! Goal: what the fuzzers have found worth keeping stays good. Method: the inputs of each target's corpus,
//! and some random ones from a fixed seed, go through the target.

use linux_aio_fuzz::{Runner, Target};
use std::path::Path;

/// Random inputs beside the corpus.
const RANDOM_INPUTS: usize = 300;

fn corpus(target: Target) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name());
    let mut names: Vec<_> = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.expect("a directory entry").path())
        .collect();
    names.sort();
    names.iter().map(|name| std::fs::read(name).expect("a readable input")).collect()
}

fn run(target: Target) {
    let mut runner = Runner::new(target).expect("what the target needs");
    let corpus = corpus(target);
    assert!(corpus.len() >= 10, "the corpus of {} is not there", target.name());
    let mut random = fastrand::Rng::with_seed(1);
    let random_inputs = (0..RANDOM_INPUTS).map(|_| {
        let mut input = vec![0; random.usize(1..1000)];
        random.fill(&mut input);
        input
    });
    for (i, input) in corpus.into_iter().chain(random_inputs).enumerate() {
        if let Err(divergence) = runner.run(&input) {
            panic!("{} input {i}: {divergence}", target.name());
        }
    }
    assert!(runner.operations() > 0, "the inputs did nothing");
}

#[test]
fn submissions_are_as_the_model_says() {
    run(Target::Submit);
}

#[test]
fn queues_keep_their_promises() {
    run(Target::Queue);
}

#[test]
fn scopes_keep_their_promises() {
    run(Target::Scope);
}

#[test]
fn any_ring_memory_is_read_safely() {
    run(Target::Ring);
}

#[test]
fn the_c_functions_answer_as_the_kernel_does() {
    run(Target::Capi);
}

#[cfg(linux_aio_simulated)]
mod simulated {
    use super::run;
    use linux_aio_fuzz::{Layer, Target};

    #[test]
    fn reapers_give_each_event_once() {
        run(Target::Simulated(Layer::Reaper));
    }

    #[test]
    fn scopes_keep_their_promises() {
        run(Target::Simulated(Layer::Scope));
    }

    #[test]
    fn queues_keep_their_promises() {
        run(Target::Simulated(Layer::Queue));
    }

    #[test]
    fn drivers_keep_their_promises() {
        run(Target::Simulated(Layer::Driver));
    }
}
