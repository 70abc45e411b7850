//! Printing, with formatting and without: formatting alone would be half of a small program.

use core::fmt;
use core::panic::PanicInfo;

use crate::kernel;

/// Standard output. What cannot be written is lost.
pub struct Output;

impl fmt::Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        print(text);
        Ok(())
    }
}

/// Writes a text to standard output.
pub fn print(text: &str) {
    let mut left = text.as_bytes();
    while !left.is_empty() {
        match kernel::write(1, left) {
            Ok(written) if written > 0 => left = &left[written..],
            _ => return,
        }
    }
}

/// Writes a number to standard output, in decimal.
pub fn print_number(number: i64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut left = number.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if number < 0 {
        print("-");
    }
    print(str::from_utf8(&digits[at..]).unwrap_or("?"));
}

/// The status with which a program ends that panicked.
const PANICKED: i32 = 101;

#[panic_handler]
fn panicked(panic: &PanicInfo<'_>) -> ! {
    print("panicked");
    if let Some(place) = panic.location() {
        print(" at ");
        print(place.file());
        print(":");
        print_number(i64::from(place.line()));
    }
    if let Some(message) = panic.message().as_str() {
        print(": ");
        print(message);
    }
    print("\n");
    if kernel::getpid() == 1 {
        // The first process of a machine must not end: the kernel would call it a crash of its own.
        kernel::power_off();
    }
    kernel::exit(PANICKED)
}
