//! What a check says, and the lines in which all of it is printed.

use core::fmt::{self, Debug, Write};

use linux_aio::{CallError, Errno, ScopeError, SetupError};
use linux_aio_freestanding::print::print;

/// A short text; what does not fit is cut off.
pub struct Text<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Text<N> {
    /// An empty one.
    pub const fn new() -> Self {
        Self { bytes: [0; N], length: 0 }
    }

    /// What has been written so far.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..self.length]).unwrap_or("(not a text)")
    }
}

impl<const N: usize> Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = text.floor_char_boundary(N - self.length);
        self.bytes[self.length..self.length + end].copy_from_slice(&text.as_bytes()[..end]);
        self.length += end;
        Ok(())
    }
}

/// Prints one line, by one call: nobody else's output comes between.
pub fn line(text: fmt::Arguments<'_>) {
    let mut line = Text::<240>::new();
    // A `Text` never fails.
    let _ = line.write_fmt(text);
    let mut ended = Text::<241>::new();
    let _ = writeln!(ended, "{}", line.as_str());
    print(ended.as_str());
}

/// Why a check failed.
pub struct Why(Text<160>);

impl Why {
    /// Any text.
    pub fn new(text: fmt::Arguments<'_>) -> Self {
        let mut why = Text::new();
        let _ = why.write_fmt(text);
        Self(why)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

/// How a check ended.
pub type Outcome = Result<(), Why>;

/// Fails unless the two are equal.
pub fn equal<T: PartialEq + Debug>(what: &str, got: T, wanted: T) -> Outcome {
    if got == wanted {
        Ok(())
    } else {
        Err(Why::new(format_args!("{what}: {got:?}, not {wanted:?}")))
    }
}

/// Fails unless the condition holds.
pub fn that(what: &str, holds: bool) -> Outcome {
    if holds { Ok(()) } else { Err(Why::new(format_args!("{what}"))) }
}

/// A system call of the test itself failed.
impl From<i32> for Why {
    fn from(errno: i32) -> Self {
        Self::new(format_args!("unexpected errno {errno}"))
    }
}

impl From<Errno> for Why {
    fn from(errno: Errno) -> Self {
        Self::new(format_args!("unexpected {errno:?}"))
    }
}

impl From<CallError> for Why {
    fn from(error: CallError) -> Self {
        Self::new(format_args!("{error}"))
    }
}

impl From<SetupError> for Why {
    fn from(error: SetupError) -> Self {
        Self::new(format_args!("{error}"))
    }
}

impl From<ScopeError> for Why {
    fn from(error: ScopeError) -> Self {
        Self::new(format_args!("{error}"))
    }
}

/// How many checks passed and failed.
#[derive(Default)]
pub struct Report {
    passed: u32,
    failed: u32,
}

impl Report {
    /// Counts a check and prints its line.
    pub fn add(&mut self, place: &str, name: &str, outcome: Outcome) {
        match outcome {
            Ok(()) => {
                self.passed += 1;
                line(format_args!("ok {place}/{name}"));
            }
            Err(why) => {
                self.failed += 1;
                line(format_args!("FAIL {place}/{name}: {why}"));
            }
        }
    }

    /// Prints the last line; whether all is well.
    pub fn finish(self) -> bool {
        line(format_args!("result: {} passed, {} failed", self.passed, self.failed));
        self.failed == 0 && self.passed > 0
    }
}
