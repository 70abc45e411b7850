//! E0133: that nobody else uses it must be promised

use linux_aio::IoContext;

fn main() {
    let _ = IoContext::from_raw(1); //~
}
