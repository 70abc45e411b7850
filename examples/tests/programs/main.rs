//! The examples as programs: what they print, and how they end.

#[path = "../../../tests/common/mod.rs"]
mod common;
#[path = "../../../tests/example/program.rs"]
mod program;

#[cfg(all(feature = "smol", feature = "tokio"))]
mod asynchronous;
mod callbacks;
mod epoll;
#[cfg(all(feature = "metrics", feature = "tracing"))]
mod observed;
mod poll;
mod quickstart;

const NOT_BUILT: &str = "the examples were not built with this test";
