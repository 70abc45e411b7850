//! The progress bar on a terminal, and Ctrl-C.

use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) struct Monitor {
    pub(crate) progress: ProgressBar,
    interrupted: Arc<AtomicBool>,
}

impl Monitor {
    /// Takes over the signals that would end the program: the first asks for an orderly end, the
    /// second ends it at once.
    pub(crate) fn new() -> Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let code = i32::from(Interrupted::EXIT_CODE);
            flag::register_conditional_shutdown(signal, code, Arc::clone(&interrupted))?;
            flag::register(signal, Arc::clone(&interrupted))?;
        }
        let style = "{msg:>9} {wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}";
        let style = ProgressStyle::with_template(style)?;
        Ok(Self { progress: ProgressBar::no_length().with_style(style), interrupted })
    }

    pub(crate) fn ensure_not_interrupted(&self) -> Result<()> {
        if self.interrupted.load(Ordering::Relaxed) {
            bail!(Interrupted);
        }
        Ok(())
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.progress.finish_and_clear();
    }
}

#[derive(Debug)]
pub(crate) struct Interrupted;

impl Interrupted {
    /// The status that shells expect after Ctrl-C: 128 + SIGINT.
    pub(crate) const EXIT_CODE: u8 = 130;
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted; the target was not touched")
    }
}

impl std::error::Error for Interrupted {}
