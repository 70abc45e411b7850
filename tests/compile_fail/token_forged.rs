//! E0423: a token comes from a push

use linux_aio::Token;

fn main() {
    let _ = Token(7); //~
}
