//! E0616: what a slot holds is the engine's

use linux_aio::Slot;

fn main() {
    let slot: Slot<()> = Slot::new();
    let _ = slot.operation; //~
}
