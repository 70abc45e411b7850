//! Writes the results: as JSON, as a page, and as pictures.

mod page;
mod pictures;

pub use page::page;
pub use pictures::draw;

use crate::device;
use crate::grid::{Cell, Group};
use crate::load;
use crate::measure::{Measured, Outcome};
use serde::{Deserialize, Serialize};

/// Says whether a target was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Yes, by the median.
    Met,
    /// No.
    Missed,
    /// It was not measured.
    Unknown,
}

/// Holds a target, and what was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// The target.
    pub target: String,
    /// The answer.
    pub answer: Answer,
    /// The numbers.
    pub found: String,
}

/// Holds all of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// The machine, line by line.
    pub machine: Vec<String>,
    /// The devices that were used.
    pub devices: Vec<(device::Kind, String)>,
    /// The cells that could not be measured, with the reasons.
    pub skipped: Vec<String>,
    /// The measurements.
    pub cells: Vec<Measured>,
    /// Says whether it is as it should be.
    #[serde(default)]
    pub verdicts: Vec<Verdict>,
}

impl Report {
    /// Returns the cell that compares ways.
    pub fn cell(
        &self,
        device: device::Kind,
        kind: load::Kind,
        depth: u32,
        batch: u32,
    ) -> Option<&Measured> {
        let wanted = Cell { group: Group::Ways, device, kind, depth, batch, files: 1 };
        self.cells.iter().find(|measured| measured.cell == wanted)
    }

    /// Returns the cells of a group.
    pub fn group(&self, group: Group) -> impl Iterator<Item = &Measured> {
        self.cells.iter().filter(move |measured| measured.cell.group == group)
    }

    /// Returns the results of a way at each depth with a batch of one: depth and outcome.
    pub fn by_depth<'r>(
        &'r self,
        device: device::Kind,
        kind: load::Kind,
        way: &'r str,
    ) -> impl Iterator<Item = (u32, &'r Outcome)> {
        let cells = self.group(Group::Ways);
        cells
            .filter(move |m| m.cell.device == device && m.cell.kind == kind && m.cell.batch == 1)
            .filter_map(move |m| Some((m.cell.depth, m.of(way)?)))
    }
}
