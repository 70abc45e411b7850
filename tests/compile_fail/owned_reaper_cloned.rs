//! E0277: there is one reader of a ring

use linux_aio::OwnedReaper;

fn need<T: Clone>() {}

fn main() {
    need::<OwnedReaper>(); //~
}
