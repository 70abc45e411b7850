//! Memory that a simulated kernel touches: the [`watch`]ed buffers of operations.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The buffers that there are: where each begins, and its length.
static WATCHED: Mutex<BTreeMap<usize, usize>> = Mutex::new(BTreeMap::new());

fn watched() -> MutexGuard<'static, BTreeMap<usize, usize>> {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While it lives, a simulated kernel may touch these bytes, and no others.
#[derive(Debug)]
pub struct Watch(usize);

/// Says that a buffer is there until the watch is dropped.
pub fn watch(bytes: &mut [u8]) -> Watch {
    let at = bytes.as_mut_ptr().expose_provenance();
    watched().insert(at, bytes.len());
    Watch(at)
}

/// Returns whether so many bytes there are of one buffer.
pub fn is_watched(at: usize, len: usize) -> bool {
    let watched = watched();
    let before = watched.range(..=at).next_back();
    before.is_some_and(|(&start, &length)| at + len <= start + length)
}

impl Drop for Watch {
    fn drop(&mut self) {
        watched().remove(&self.0);
    }
}

/// Makes buffers, and counts those that are there.
#[derive(Debug, Default)]
pub struct Buffers(Arc<()>);

impl Buffers {
    /// A buffer of `len` bytes.
    pub fn make(&self, len: usize) -> Buffer {
        let mut bytes = vec![0xee; len].into_boxed_slice();
        let watch = (len > 0).then(|| watch(&mut bytes));
        Buffer { _watch: watch, bytes, _counted: Arc::clone(&self.0) }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}

/// A buffer that is watched as long as it is there.
#[derive(Debug)]
pub struct Buffer {
    // Ends before the bytes do.
    _watch: Option<Watch>,
    bytes: Box<[u8]>,
    _counted: Arc<()>,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}
