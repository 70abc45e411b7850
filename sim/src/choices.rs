//! The simulated kernel without a clock: choices say what ends when.

use crate::context::{InFlight, On};
use crate::memory::gather;
use crate::world::World;
use linux_aio::abi::POLLIN;

impl World {
    /// Does what an operation says, and tells the harness.
    pub(crate) fn carry_out(&mut self, operation: &InFlight) -> i64 {
        let Some(monitor) = &mut self.monitor else { return self.execute(operation) };
        let may_touch = monitor.may_touch(&operation.segments);
        if !may_touch {
            let text = format!("the memory of {:?} is gone before its event", operation.iocb);
            monitor.violations.push(text);
        }
        let res = match operation.on {
            On::Polled(_) if monitor.readable => i64::from(POLLIN),
            On::Polled(_) => 0,
            _ if may_touch => self.execute(operation),
            _ => 0,
        };
        let transfers = !operation.segments.is_empty() && may_touch;
        let count = if transfers { usize::try_from(res).unwrap_or(0) } else { 0 };
        // SAFETY: The operation is in flight, so its buffers are lent, and the harness has said
        // that they are there.
        let bytes = unsafe { gather(&operation.segments, count) };
        if let Some(monitor) = &mut self.monitor {
            monitor.note_ended(operation, res, bytes);
        }
        res
    }

    fn may_end(&self, operation: &InFlight) -> bool {
        let readable = self.monitor.as_ref().is_some_and(|monitor| monitor.readable);
        operation.is_of_disk() || operation.is_cancelled || readable
    }

    pub(crate) fn something_ends(&self) -> bool {
        self.contexts.values().flat_map(|it| &it.in_flight).any(|it| self.may_end(it))
    }

    /// Ends some operations, and gives events of none.
    pub(crate) fn run(&mut self, most: usize) {
        self.look_at_rings();
        let numbers: Vec<u64> = self.contexts.keys().copied().collect();
        for number in numbers {
            self.give_strays(number);
            for _ in 0..self.random.index(most.min(255) + 1) {
                self.end_one_of(number);
            }
        }
    }

    pub(crate) fn run_to_the_end(&mut self) {
        let numbers: Vec<u64> = self.contexts.keys().copied().collect();
        for number in numbers {
            while self.end_one_of(number) {}
        }
    }

    /// Ends one operation of a context. `false` if none can.
    pub(crate) fn end_one_of(&mut self, context: u64) -> bool {
        self.look_at_rings();
        let Some(it) = self.contexts.get(&context) else { return false };
        let operations = it.in_flight.iter().enumerate();
        let can = operations.filter(|(_, operation)| self.may_end(operation));
        let can: Vec<usize> = can.map(|(index, _)| index).collect();
        if can.is_empty() {
            return false;
        }
        let late = self.strikes(self.faults.reordering, 2, 2);
        let chosen = can[if late { self.random.index(can.len().min(256)) } else { 0 }];
        self.end(context, chosen);
        true
    }

    /// Moves `head` or `tail` of every ring out of it.
    pub(crate) fn spoil_rings(&mut self) {
        self.look_at_rings();
        for context in self.contexts.values() {
            let times = 1 + self.random.below(9) as u32;
            match self.random.below(2) {
                0 => context.ring.spoil_head(times),
                _ => context.ring.spoil_tail(times),
            }
        }
    }
}
