//! Compares `linux-aio` with the other ways to do disk I/O.
//!
//! [`load`] is what is done, [`ways`] the ways to do it, and [`device`] what it is done on.
//! [`measure`] measures it, and [`report`] says what came of it.

pub mod clock;
pub mod device;
pub mod grid;
pub mod load;
pub mod measure;
pub mod recorded;
pub mod report;
pub mod statistics;
pub mod subjects;
pub mod system_calls;
pub mod targets;
pub mod ways;
