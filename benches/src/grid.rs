//! Lists the cells that are measured: devices, operations, and how many at a time.

use crate::device;
use crate::load;
use crate::ways::{self, Batching, Way};
use serde::{Deserialize, Serialize};

/// Says why a cell is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// Compares ways.
    Ways,
    /// Shows whether the cost stays when the depth grows.
    Depths,
    /// Shows whether it stays when there are more files.
    Files,
}

/// Names the work that all ways do, side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cell {
    /// Says why it is measured.
    pub group: Group,
    /// On what.
    pub device: device::Kind,
    /// The operations.
    pub kind: load::Kind,
    /// Operations at a time.
    pub depth: u32,
    /// Those of them that are taken and submitted together.
    pub batch: u32,
    /// Among how many files.
    pub files: usize,
}

impl Cell {
    fn of(device: device::Kind, kind: load::Kind, depth: u32, batch: u32) -> Self {
        Self { group: Group::Ways, device, kind, depth, batch, files: 1 }
    }

    /// Writes it as in a line of a log.
    pub fn name(&self) -> String {
        let Self { device, kind, depth, batch, files, .. } = self;
        let files = if *files == 1 { String::new() } else { format!(", {files} files") };
        format!("{}, {}, depth {depth}, batch {batch}{files}", device.name(), kind.name())
    }

    /// Returns true if the way has something to say here.
    pub fn is_for(&self, way: &Way) -> bool {
        match self.group {
            // Tasks and threads know no batches.
            Group::Ways => {
                way.batching == Batching::Chosen || self.batch == 1 || self.batch == self.depth
            }
            Group::Depths | Group::Files => {
                [ways::RAW, ways::SCOPE, ways::QUEUE, ways::C_RING].contains(&way.name)
            }
        }
    }
}

/// Returns the cells of a device.
pub fn cells(device: device::Kind, quick: bool) -> Vec<Cell> {
    use crate::load::Kind::{Mixed, Read, Sync, Write};
    let of = |kind, shapes: &[(u32, u32)]| {
        let cells = shapes.iter().map(|&(depth, batch)| Cell::of(device, kind, depth, batch));
        cells.collect::<Vec<_>>()
    };
    if quick {
        let kind = if device == device::Kind::Null { Write } else { Read };
        return of(kind, &[(1, 1), (8, 8)]);
    }
    match device {
        device::Kind::Zero => {
            let mut cells = of(Read, &[(1, 1), (8, 8), (32, 32), (256, 1), (256, 32), (256, 256)]);
            let depths = [1, 8, 64, 512, 4096]
                .map(|depth| Cell { group: Group::Depths, ..Cell::of(device, Read, depth, 1) });
            let files = [1, 100, 10_000].map(|files| Cell {
                group: Group::Files,
                files,
                ..Cell::of(device, Read, 32, 1)
            });
            cells.extend(depths);
            cells.extend(files);
            cells
        }
        device::Kind::Null => of(Write, &[(1, 1), (8, 8), (32, 32)]),
        _ => [
            of(Read, &[(1, 1), (8, 1), (32, 1), (128, 1), (256, 1), (8, 8), (32, 8), (32, 32)]),
            of(Write, &[(1, 1), (32, 1), (32, 32)]),
            of(Mixed, &[(32, 1)]),
            of(Sync, &[(32, 1)]),
        ]
        .concat(),
    }
}
