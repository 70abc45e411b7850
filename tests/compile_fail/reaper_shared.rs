//! E0277: there is one reader of a ring

use linux_aio::Reaper;

fn need<T: Sync>() {}

fn main() {
    need::<Reaper<'static>>(); //~
}
