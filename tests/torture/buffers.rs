//! Buffers that are watched: before and behind what an operation uses, and after they came back.

use crate::{BLOCK, lock};
use core::sync::atomic::{AtomicUsize, Ordering};
use linux_aio::AlignedBuf;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

const GUARD: u8 = 0xa7;
/// What a buffer is filled with when it has come back.
const RETURNED: u8 = 0xc5;

/// Where buffers are between their uses, and watched.
#[derive(Default)]
pub(crate) struct Pool {
    returned: Mutex<Vec<AlignedBuf>>,
    /// How many are in use.
    out: AtomicUsize,
    /// What was found in buffers that nobody should have touched.
    wrong: Mutex<Vec<String>>,
}

impl Pool {
    pub(crate) fn take(self: &Arc<Self>) -> Watched {
        let returned = lock(&self.returned).pop();
        let mut whole = match returned {
            Some(buf) => {
                self.check(&buf, RETURNED, "after it came back");
                buf
            }
            None => AlignedBuf::with_alignment(3 * BLOCK, BLOCK).expect("memory"),
        };
        whole.fill(GUARD);
        self.out.fetch_add(1, Ordering::Relaxed);
        Watched { whole: Some(whole), pool: Arc::clone(self) }
    }

    fn check(&self, bytes: &[u8], expected: u8, when: &str) {
        if let Some(at) = bytes.iter().position(|&byte| byte != expected) {
            let found = bytes[at];
            lock(&self.wrong).push(format!("{found:#x} at {at} of a buffer, {when}"));
        }
    }

    /// All buffers are back, and none was touched after that.
    pub(crate) fn check_all(&self) {
        assert_eq!(self.out.load(Ordering::Relaxed), 0, "buffers that did not come back");
        for buf in lock(&self.returned).iter() {
            self.check(buf, RETURNED, "after it came back");
        }
        assert!(lock(&self.wrong).is_empty(), "{:#?}", lock(&self.wrong));
    }
}

/// The middle block of a buffer that is watched.
pub(crate) struct Watched {
    whole: Option<AlignedBuf>,
    pool: Arc<Pool>,
}

impl Watched {
    fn whole(&self) -> &AlignedBuf {
        self.whole.as_ref().expect("there until it is dropped")
    }

    pub(crate) fn with(mut self, content: &[u8]) -> Self {
        self.as_mut().copy_from_slice(content);
        self
    }
}

impl AsRef<[u8]> for Watched {
    fn as_ref(&self) -> &[u8] {
        &self.whole()[BLOCK..2 * BLOCK]
    }
}

impl AsMut<[u8]> for Watched {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.whole.as_mut().expect("there until it is dropped")[BLOCK..2 * BLOCK]
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let Some(mut whole) = self.whole.take() else { return };
        self.pool.check(&whole[..BLOCK], GUARD, "before the block");
        self.pool.check(&whole[2 * BLOCK..], GUARD, "behind the block");
        whole.fill(RETURNED);
        lock(&self.pool.returned).push(whole);
        self.pool.out.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Goal: the watch over buffers sees a write after the return. Method: do that.
#[test]
fn the_watch_sees_what_it_is_for() {
    let pool = Arc::new(Pool::default());
    drop(pool.take());
    lock(&pool.returned)[0][BLOCK + 7] = 0;
    let check = AssertUnwindSafe(|| pool.check_all());
    assert!(catch_unwind(check).is_err());
}
