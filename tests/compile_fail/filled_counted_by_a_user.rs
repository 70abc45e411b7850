//! E0624: only the kernel's events count

use linux_aio::Filled;

fn main() {
    let mut filled = Filled::new();
    filled.add(64); //~
}
