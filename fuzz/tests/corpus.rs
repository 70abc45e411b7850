//! Goal: what the fuzzers have found worth keeping stays good. Method: the inputs of each target's
//! corpus, and some random ones from a fixed seed, go through the target.

use linux_aio_fuzz::{Runner, Target};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use zip::ZipArchive;

/// Random inputs beside the corpus.
const RANDOM_INPUTS: usize = 300;

/// The seeds of a target, in the order of their names.
fn corpus(target: Target) -> Vec<Vec<u8>> {
    let name = format!("corpus/{}_seed_corpus.zip", target.name());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let archive = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut archive = ZipArchive::new(archive).expect("an archive of seeds");
    let indices = 0..archive.len();
    let seed = |index| {
        let mut content = Vec::new();
        let mut seed = archive.by_index(index).expect("a seed");
        seed.read_to_end(&mut content).expect("a readable seed");
        content
    };
    indices.map(seed).collect()
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
