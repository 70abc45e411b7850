//! The tests' own tool: a file whose operations stay in flight until they are let go.

use crate::common;

use common::held::{BYTE, HeldFile};
use common::{Watchdog, queue, skip};
use linux_aio::op::Read;
use std::sync::Arc;

/// Goal: the tests below rely on an operation that is in flight exactly as long as they want.
/// Method: reads of the held file complete after its release and not before, with its bytes.
#[test]
fn an_operation_on_the_held_file_is_in_flight_until_the_release() {
    let _watchdog = Watchdog::new();
    let mut held = match HeldFile::new() {
        Ok(held) => held,
        Err(reason) => skip!("{reason}"),
    };
    let file = Arc::new(held.file().try_clone().expect("a descriptor"));
    let mut queue = queue(64);
    for at in 0..64 {
        queue.push(Read::new(Arc::clone(&file), vec![0; 512], at * 512)).expect("a slot");
    }
    assert_eq!(queue.submit(), Ok(64));
    held.wait_for_arrival(64);
    assert!(queue.try_next().expect("a poll").is_none());
    assert_eq!(queue.in_flight(), 64);
    held.release();
    while let Some(done) = queue.wait().expect("a wait") {
        assert_eq!(done.result, Ok(512));
        assert_eq!(done.op.buf, [BYTE; 512]);
    }
}
