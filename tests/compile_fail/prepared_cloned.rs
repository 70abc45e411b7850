//! E0277: a loan is given once

use linux_aio::Prepared;

fn need<T: Clone>() {}

fn main() {
    need::<Prepared<'static>>(); //~
}
