//! Buffers that are counted.

use crate::Intended;
use std::panic::panic_any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) made: AtomicU64,
    pub(crate) dropped: AtomicU64,
    /// The buffers that futures had which were forgotten, at most.
    pub(crate) forgotten: AtomicU64,
}

/// A buffer that is counted. It may panic when it is asked for its bytes.
pub(crate) struct Counted {
    pub(crate) bytes: Vec<u8>,
    /// The number of times that it can be asked, and the panic comes then.
    pub(crate) patience: AtomicU64,
    pub(crate) counts: Arc<Counts>,
}

impl Counted {
    fn ask(&self) {
        let before = self.patience.load(Ordering::Relaxed);
        self.patience.store(before.wrapping_sub(1), Ordering::Relaxed);
        if before == 0 {
            panic_any(Intended);
        }
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        self.ask();
        &self.bytes
    }
}

impl AsMut<[u8]> for Counted {
    fn as_mut(&mut self) -> &mut [u8] {
        self.ask();
        &mut self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counts.dropped.fetch_add(1, Ordering::Relaxed);
    }
}
