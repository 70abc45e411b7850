//! E0133: that the number stays that file's must be promised

use linux_aio::Fd;

fn main() {
    let _ = Fd::borrow_raw(1); //~
}
