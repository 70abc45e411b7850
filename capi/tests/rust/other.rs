//! Another Rust static library, with std, panics and allocation, to be linked into one program with
//! libaio.a.

/// Adds up the digits of a text; panics, and catches it, on anything else.
///
/// # Safety
/// `text` must be valid for reads of `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn other_digit_sum(text: *const u8, length: usize) -> i32 {
    // SAFETY: Valid for reads, says the caller.
    let bytes = unsafe { core::slice::from_raw_parts(text, length) }.to_vec();
    std::panic::set_hook(Box::new(|_| ()));
    std::panic::catch_unwind(|| {
        let text = String::from_utf8(bytes).unwrap();
        text.chars().map(|c| c.to_digit(10).unwrap() as i32).sum()
    })
    .unwrap_or(-1)
}
