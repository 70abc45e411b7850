//! The comparison of `linux-aio` with the other ways to do disk I/O: what is done ([`load`]), the
//! ways to do it ([`ways`]), on what ([`device`]), how it is measured ([`measure`]) and what came
//! of it ([`report`]).

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
