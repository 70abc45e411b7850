//! E0616: a token comes from a push

use linux_aio::Token;

/// A token of one queue is not made one of another.
fn of_the_same_queue(token: Token, other: Token) -> Token {
    Token { engine: other.engine, ..token } //~
}

fn main() {
    let _ = of_the_same_queue;
}
