//! Operations of any kind behind a pointer, and by reference.

#![forbid(unsafe_code)]
#![deny(warnings)]

use linux_aio::op::{Fsync, Read};
use linux_aio::{IoContext, Operation, Queue, Slot};
use std::fs::File;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut queue: Queue<Box<dyn Operation>> = Queue::with_capacity(2)?;
    queue.push(Box::new(Fsync::new(File::open("/dev/zero")?)))?;
    queue.push(Box::new(Read::new(File::open("/dev/zero")?, [0u8; 64], 0)))?;
    while let Some(done) = queue.wait()? {
        drop(done.op);
    }
    let mut sendable: Queue<Box<dyn Operation + Send>> = Queue::with_capacity(1)?;
    sendable.push(Box::new(Fsync::new(File::open("/dev/zero")?)))?;
    std::thread::spawn(move || drop(sendable)).join().unwrap();

    let file = File::open("/dev/zero")?;
    let (mut buf, mut context) = ([0u8; 64], IoContext::new(1)?);
    let mut read = Read::new(&file, &mut buf[..], 0);
    linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
        io.push(&mut read as &mut dyn Operation).map_err(std::io::Error::from)?;
        io.wait()?;
        std::io::Result::Ok(())
    })??;
    println!("{:?}", read.buf);
    Ok(())
}
