//! E0451: a count is made by reading

use linux_aio::Filled;

fn main() {
    let filled = Filled { count: 64, base: 0, before: 0, len: 64, next: None }; //~
    println!("{filled:?}");
}
