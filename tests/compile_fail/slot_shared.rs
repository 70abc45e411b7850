//! E0277: a slot is written while its operation runs

use linux_aio::Slot;

fn need<T: Sync>() {}

fn main() {
    need::<Slot<()>>(); //~
}
