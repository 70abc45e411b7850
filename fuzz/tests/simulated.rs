//! Goal: what scopes, queues, reapers and drivers promise holds whatever a kernel does. Method:
//! random steps over a simulated kernel with a random script. A failure prints the smallest input
//! that was found, steps and seed, and keeps it in `proptest-regressions/`, from where it is run
//! again.
#![cfg(linux_aio_simulated)]

use linux_aio_fuzz::divergence::Verdict;
use linux_aio_fuzz::simulated::{Script, driver, queue, reaper, scope};
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy, any, proptest};
use proptest::test_runner::TestCaseError;
use std::fmt;
use std::panic::Location;

/// The bytes of an input, printed as text.
fn steps(most: usize) -> impl Strategy<Value = Steps> {
    vec(any::<u8>(), 0..most).prop_map(Steps)
}

struct Steps(Vec<u8>);

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

/// A divergence as a failure.
#[track_caller]
fn held(verdict: Verdict<u64>) -> Result<(), TestCaseError> {
    let at = Location::caller();
    verdict.map(drop).map_err(|divergence| TestCaseError::fail(format!("{at}: {divergence}")))
}

/// `PROPTEST_CASES` asks for more cases.
fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig { cases: config.cases.max(600), ..config }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn queues_lose_nothing(steps in steps(1500), seed in any::<u64>()) {
        held(queue::run(&steps.0, Script::from_seed(seed)))?;
    }

    #[test]
    fn scopes_keep_their_buffers(steps in steps(1500), seed in any::<u64>()) {
        held(scope::run(&steps.0, Script::from_seed(seed)))?;
    }

    #[test]
    fn reapers_give_each_event_once(steps in steps(800), seed in any::<u64>()) {
        held(reaper::run(&steps.0, Script::from_seed(seed)))?;
    }

    #[test]
    fn futures_are_woken(steps in steps(1000), seed in any::<u64>()) {
        held(driver::run(&steps.0, Script::from_seed(seed)))?;
    }
}
