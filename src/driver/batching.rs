//! [`Batching`], which decides when operations that have come are submitted.
//!
//! Three aims pull at this. One call of `io_submit` for many operations is cheaper than many calls.
//! A disk that has nothing to do should not wait for the rest of a batch. And a program that does
//! one read at a time must not pay for a batch that never comes.

/// The number of operations that make a batch full.
const FULL: usize = 32;

/// The least number that makes a batch full, if the kernel has few.
const FEWEST: usize = 4;

/// Every operation of this number that finds the driver idle waits for others all the same. Only so
/// is it seen that others would come: an operation that completes inside of `io_submit` lets no
/// other task start one.
const PROBE: u64 = 64;

/// Names the time at which the waiting operations are submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Now,
    /// Once the tasks that are ready have run.
    AfterReadyTasks,
    /// A step is coming that submits them.
    WithNextStep,
}

/// Remembers how operations have come and ended, and decides by it.
#[derive(Debug, Default)]
pub(crate) struct Batching {
    /// A step was asked for that has not begun.
    asked: bool,
    /// More than one operation waited when one of the last two steps that were asked for began.
    crowded: bool,
    /// Only one waited when the last one began. It may have begun early: who calls it later was
    /// perhaps asked before, by an operation of a batch that has become full meanwhile.
    doubted: bool,
    /// The last submit left operations in the kernel, which works on them while tasks start more.
    overlaps: bool,
}

impl Batching {
    /// Decides for the operation of this number, which now waits with `waiting - 1` others, while
    /// `admitted` are queued or in the kernel. `capacity` of these have slots.
    pub(crate) fn decide(
        &mut self,
        number: u64,
        waiting: usize,
        admitted: usize,
        capacity: usize,
    ) -> Decision {
        if admitted == capacity {
            // Only a completion frees a slot, and brings a step.
            return Decision::WithNextStep;
        }
        let alone = admitted == 0 && !self.crowded && number % PROBE != 0;
        if alone || waiting >= self.full(admitted) {
            Decision::Now
        } else if self.asked {
            Decision::WithNextStep
        } else {
            self.asked = true;
            Decision::AfterReadyTasks
        }
    }

    /// Returns the number of operations that make a batch full: as many as the kernel has. A disk
    /// that has completed everything gets the first few early.
    fn full(&self, admitted: usize) -> usize {
        if self.overlaps { admitted.clamp(FEWEST, FULL) } else { FULL }
    }

    /// Returns how many operations may come, behind those that wait, before there is to be decided
    /// again. Up to then the decision is to wait for the next step.
    pub(crate) fn until_look(&self, waiting: usize, admitted: usize) -> i32 {
        let may_be_alone = admitted == 0 && !self.crowded;
        if !self.asked || may_be_alone {
            return 1;
        }
        self.full(admitted).saturating_sub(waiting).max(1) as i32
    }

    /// Has a step asked for before operations come, since there will be one in any case. Returns
    /// how many may come before there is to be decided.
    pub(crate) fn expect(&mut self, admitted: usize) -> i32 {
        self.asked = admitted > 0 || self.crowded;
        self.until_look(0, admitted) - 1
    }

    /// Notes that the step will not be which was asked for.
    pub(crate) fn expect_none(&mut self) {
        self.asked = false;
    }

    /// Notes that a step begins, and how many operations wait.
    pub(crate) fn note_step(&mut self, waiting: usize) {
        if core::mem::take(&mut self.asked) && waiting > 0 {
            let alone = waiting == 1;
            self.crowded = !alone || self.crowded && !self.doubted;
            self.doubted = alone;
        }
    }

    /// Notes how many operations a submit has left, after those that completed inside of it.
    pub(crate) fn note_submitted(&mut self, admitted: usize) {
        self.overlaps = admitted > 0;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Batching, Decision};

    /// Goal: each rule decides as its reason says. Method: a table of what was seen and what comes.
    #[test]
    fn each_rule_decides() {
        use Decision::{AfterReadyTasks, Now, WithNextStep};
        const QUIET: [bool; 3] = [false; 3];
        const CROWDED: [bool; 3] = [false, true, false];
        const OVERLAPS: [bool; 3] = [false, false, true];
        const ASKED: [bool; 3] = [true, true, false];
        for ([asked, crowded, overlaps], number, waiting, admitted, decision) in [
            // Alone.
            (QUIET, 1, 1, 0, Now),
            (QUIET, 63, 1, 0, Now),
            // The probe.
            (QUIET, 64, 1, 0, AfterReadyTasks),
            // Others have lately come together, or are under way.
            (CROWDED, 1, 1, 0, AfterReadyTasks),
            (QUIET, 1, 1, 1, AfterReadyTasks),
            // A step is coming already.
            (ASKED, 1, 2, 0, WithNextStep),
            (ASKED, 1, 31, 0, WithNextStep),
            // The batch is full.
            (ASKED, 1, 32, 0, Now),
            (CROWDED, 1, 32, 60, Now),
            (CROWDED, 1, 31, 60, AfterReadyTasks),
            // A disk is at work: as many as it has, from 4 to 32.
            (OVERLAPS, 1, 3, 1, AfterReadyTasks),
            (OVERLAPS, 1, 4, 1, Now),
            (OVERLAPS, 1, 9, 10, AfterReadyTasks),
            (OVERLAPS, 1, 10, 10, Now),
            (OVERLAPS, 1, 31, 60, AfterReadyTasks),
            (OVERLAPS, 1, 32, 60, Now),
            // No slot is free.
            (QUIET, 1, 1, 64, WithNextStep),
            (OVERLAPS, 1, 100, 64, WithNextStep),
        ] {
            let mut batching = Batching { asked, crowded, overlaps, doubted: false };
            let case = (asked, crowded, overlaps, number, waiting, admitted);
            assert_eq!(batching.decide(number, waiting, admitted, 64), decision, "{case:?}");
        }
    }

    /// Goal: after a step that was asked for, the next operation asks for one again. Operations
    /// that came one by one twice are submitted at once again, and those of a crowd are not.
    #[test]
    fn a_step_tells_a_crowd_from_single_operations() {
        let mut batching = Batching::default();
        assert_eq!(batching.decide(64, 1, 0, 8), Decision::AfterReadyTasks);
        assert_eq!(batching.decide(65, 2, 0, 8), Decision::Now);
        batching.note_step(2);
        assert_eq!(batching.decide(66, 1, 0, 8), Decision::AfterReadyTasks);
        batching.note_step(1);
        assert_eq!(batching.decide(67, 1, 0, 8), Decision::AfterReadyTasks);
        batching.note_step(2);
        assert_eq!(batching.decide(68, 1, 0, 8), Decision::AfterReadyTasks);
        batching.note_step(1);
        assert_eq!(batching.decide(69, 1, 0, 8), Decision::AfterReadyTasks);
        batching.note_step(1);
        assert_eq!(batching.decide(70, 1, 0, 8), Decision::Now);
    }
}
