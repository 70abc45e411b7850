//! Vectored operations go on at another offset by struct update, as the others do.

#![forbid(unsafe_code)]
#![deny(warnings)]

use linux_aio::Queue;
use linux_aio::op::{Any, ReadV, WriteV};
use std::fs::File;
use std::sync::Arc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = Arc::new(File::open("/dev/zero")?);
    let mut queue = Queue::with_capacity(1)?;
    queue.push(ReadV::new(Arc::clone(&file), [[0u8; 64]; 2], 0))?;
    let done = queue.wait()?.ok_or("nothing")?;
    queue.push(ReadV { offset: 128, ..done.op })?;

    let write = WriteV::new(Arc::clone(&file), vec!["a", "b"], 0);
    let write = WriteV { offset: 2, ..write };
    let any: Any<Arc<File>, Vec<u8>, &str> = write.into();
    match any {
        Any::WriteV(WriteV { bufs, .. }) => println!("{bufs:?}"),
        _ => println!("another operation"),
    }
    Ok(())
}
