//! [`Watchdog`]: an input that hangs ends the process, with the input kept.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// No input takes this long, whatever the machine does meanwhile: most take less than a
/// millisecond.
const LIMIT: Duration = Duration::from_secs(60);

/// What the present input is, and since when.
type Present = Mutex<Option<(Instant, Vec<u8>)>>;

/// A thread that looks at the clock.
pub(crate) struct Watchdog {
    present: Arc<Present>,
}

/// An input that is running.
pub(crate) struct Watched<'a>(&'a Present);

fn set(present: &Present, input: Option<(Instant, Vec<u8>)>) {
    *present.lock().unwrap_or_else(PoisonError::into_inner) = input;
}

impl Watchdog {
    pub(crate) fn start(target: &'static str) -> Self {
        let present = Arc::new(Present::default());
        let weak = Arc::downgrade(&present);
        thread::spawn(move || {
            while let Some(present) = weak.upgrade() {
                bark_if_late(target, &present);
                drop(present);
                thread::sleep(Duration::from_secs(1));
            }
        });
        Self { present }
    }

    /// Watches until the result is dropped.
    pub(crate) fn watch(&self, input: &[u8]) -> Watched<'_> {
        set(&self.present, Some((Instant::now(), input.to_vec())));
        Watched(&self.present)
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        set(self.0, None);
    }
}

fn bark_if_late(target: &str, present: &Present) {
    let present = present.lock().unwrap_or_else(PoisonError::into_inner);
    let Some((since, input)) = &*present else { return };
    if since.elapsed() < LIMIT {
        return;
    }
    let name = format!("hung-{target}-{}", std::process::id());
    let kept = std::fs::write(&name, input);
    eprintln!("an input of target {target} hangs; kept in {name}: {kept:?}");
    std::process::abort();
}
