//! Lists the ways to do a load: ours, and those of others.

pub mod by_c;
pub mod driver;
pub mod local;
pub mod null;
pub mod pool;
pub mod queue;
pub mod raw;
pub mod scope;
mod shared;
pub mod step;
pub mod tokio_fs;
pub mod tokio_uring;
pub mod uring;

use crate::clock::Latencies;
use crate::load::Load;
use anyhow::Result;
use std::sync::Arc;

/// Does a load, again and again.
pub trait Runner {
    /// Does `operations` of the load, a number that [`Load::round`] gave; all have ended when it
    /// returns. With `latencies`, adds how long each took.
    fn run(&mut self, operations: u64, latencies: Option<&mut Latencies>) -> Result<()>;
}

/// Says whose a way is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// This library.
    Ours,
    /// AIO by C.
    C,
    /// io_uring.
    Uring,
    /// Threads that block.
    Threads,
}

/// Says what decides how many operations are submitted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batching {
    /// The load.
    Chosen,
    /// The way itself: it has tasks or threads that do one operation after the other.
    Tasks,
}

/// Describes a way to do a load.
#[derive(Clone, Copy)]
pub struct Way {
    /// Its name, in reports and on the command line.
    pub name: &'static str,
    /// Whose it is.
    pub family: Family,
    /// The way in which it batches.
    pub batching: Batching,
    /// Gets ready for a load. An error says why that cannot be done here.
    pub prepare: fn(&Arc<Load>) -> Result<Box<dyn Runner>>,
}

/// Names the way by the bare calls, with events off the ring.
pub const RAW: &str = "raw";
/// Names the way in a scope.
pub const SCOPE: &str = "scope";
/// Names the way in a queue.
pub const QUEUE: &str = "queue";
/// Names the way in a queue whose operations stay in their slots.
pub const QUEUE_IN_PLACE: &str = "queue, in place";
/// Names the way by futures on tokio.
pub const DRIVER: &str = "tokio adapter";
/// Names the way by the shared driver's futures of plain operations, as tasks of tokio.
pub const SHARED: &str = "driver";
/// Names the way by futures of one thread, joined, on the own `block_on` of the local driver.
pub const LOCAL: &str = "local, block_on";
/// Names the way by futures of one thread, as tasks of tokio's `LocalSet`.
pub const LOCAL_SET: &str = "local, LocalSet";
/// Names the loop in C that reads the ring.
pub const C_RING: &str = "C, ring";
/// Names the loop in C that calls the kernel for events.
pub const C_CALLS: &str = "C, calls";
/// The distribution's library.
pub const LIBAIO: &str = "libaio";
/// Our drop-in for it.
pub const DROP_IN: &str = "libaio drop-in";
/// io_uring, nothing registered.
pub const URING: &str = "io_uring";
/// io_uring with files and buffers registered.
pub const URING_REGISTERED: &str = "io_uring, registered";
/// Futures on io_uring.
pub const TOKIO_URING: &str = "tokio-uring";
/// Threads that each do their share.
pub const THREADS: &str = "pread threads";
/// Threads that are given one operation after the other.
pub const POOL: &str = "thread pool";
/// Tokio's file, through the page cache.
pub const TOKIO_FS: &str = "tokio::fs";
/// Tokio's threads.
pub const SPAWN_BLOCKING: &str = "spawn_blocking";

/// Lists all of them.
pub const WAYS: [Way; 19] = [
    Way { name: RAW, family: Family::Ours, batching: Batching::Chosen, prepare: raw::prepare },
    Way { name: SCOPE, family: Family::Ours, batching: Batching::Chosen, prepare: scope::prepare },
    Way { name: QUEUE, family: Family::Ours, batching: Batching::Chosen, prepare: queue::prepare },
    Way {
        name: QUEUE_IN_PLACE,
        family: Family::Ours,
        batching: Batching::Chosen,
        prepare: queue::prepare_in_place,
    },
    Way { name: DRIVER, family: Family::Ours, batching: Batching::Tasks, prepare: driver::prepare },
    Way {
        name: SHARED,
        family: Family::Ours,
        batching: Batching::Tasks,
        prepare: driver::prepare_plain,
    },
    Way {
        name: LOCAL,
        family: Family::Ours,
        batching: Batching::Tasks,
        prepare: local::prepare_joined,
    },
    Way {
        name: LOCAL_SET,
        family: Family::Ours,
        batching: Batching::Tasks,
        prepare: local::prepare_on_local_set,
    },
    Way {
        name: DROP_IN,
        family: Family::Ours,
        batching: Batching::Chosen,
        prepare: by_c::prepare_drop_in,
    },
    Way {
        name: LIBAIO,
        family: Family::C,
        batching: Batching::Chosen,
        prepare: by_c::prepare_libaio,
    },
    Way {
        name: C_CALLS,
        family: Family::C,
        batching: Batching::Chosen,
        prepare: by_c::prepare_calls,
    },
    Way {
        name: C_RING,
        family: Family::C,
        batching: Batching::Chosen,
        prepare: by_c::prepare_ring,
    },
    Way { name: URING, family: Family::Uring, batching: Batching::Chosen, prepare: uring::prepare },
    Way {
        name: URING_REGISTERED,
        family: Family::Uring,
        batching: Batching::Chosen,
        prepare: uring::prepare_registered,
    },
    Way {
        name: TOKIO_URING,
        family: Family::Uring,
        batching: Batching::Tasks,
        prepare: tokio_uring::prepare,
    },
    Way {
        name: THREADS,
        family: Family::Threads,
        batching: Batching::Tasks,
        prepare: pool::prepare_threads,
    },
    Way {
        name: POOL,
        family: Family::Threads,
        batching: Batching::Tasks,
        prepare: pool::prepare_pool,
    },
    Way {
        name: TOKIO_FS,
        family: Family::Threads,
        batching: Batching::Tasks,
        prepare: tokio_fs::prepare,
    },
    Way {
        name: SPAWN_BLOCKING,
        family: Family::Threads,
        batching: Batching::Tasks,
        prepare: tokio_fs::prepare_spawn_blocking,
    },
];

/// Returns the way of that name.
pub fn way(name: &str) -> Option<&'static Way> {
    WAYS.iter().find(|way| way.name == name)
}
