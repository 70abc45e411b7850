//! E0277: a scope belongs to one thread

use linux_aio::Scope;

fn need<T: Send>() {}

fn main() {
    need::<Scope<()>>(); //~
}
