//! E0499: two rooms at once would count one memory twice

use linux_aio::{ReadTo, Spare};

fn main() {
    let mut spare = Spare::new(Vec::with_capacity(64));
    let first = spare.lend();
    let second = spare.lend(); //~
    println!("{first:?} {second:?}");
}
