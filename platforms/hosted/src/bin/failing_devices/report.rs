//! What a check says, and the lines in which all of it is printed.

use std::fmt::Display;

/// How a check ended, with the reason where it failed.
pub type Outcome = Result<(), String>;

/// The reason of a call that failed.
pub fn at<E: Display>(what: &str) -> impl FnOnce(E) -> String {
    move |error| format!("{what}: {error}")
}

/// Fails unless the condition holds.
pub fn ensure(holds: bool, why: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(why()) }
}

/// How many checks passed and failed.
#[derive(Default)]
pub struct Report {
    passed: u32,
    failed: u32,
}

impl Report {
    /// Counts a check and prints its line.
    pub fn add(&mut self, place: &str, name: &str, outcome: Outcome) {
        match outcome {
            Ok(()) => {
                self.passed += 1;
                println!("ok {place}/{name}");
            }
            Err(why) => {
                self.failed += 1;
                println!("FAIL {place}/{name}: {why}");
            }
        }
    }

    /// Prints the last lines.
    pub fn finish(self) {
        let [operations, errors] = crate::disk::counts();
        println!("fact operations {operations}");
        println!("fact errors {errors}");
        println!("result: {} passed, {} failed", self.passed, self.failed);
    }
}
