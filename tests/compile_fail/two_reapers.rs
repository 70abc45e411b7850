//! E0499: there is one reader of a ring

use linux_aio::IoContext;

fn main() {
    let mut context = IoContext::new(2).unwrap();
    let (_, first) = context.split();
    let (_, second) = context.split(); //~
    drop((first, second));
}
