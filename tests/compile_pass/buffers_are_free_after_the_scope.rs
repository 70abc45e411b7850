//! Borrowed buffers are used before, given back inside, and used after.

#![forbid(unsafe_code)]
#![deny(warnings)]

use linux_aio::op::{Any, Read, Write};
use linux_aio::{IoContext, Slot};
use std::fs::File;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = File::open("/dev/zero")?;
    let null = File::options().write(true).open("/dev/null")?;
    let mut buffers = [[1u8; 64]; 4];
    let text = String::from("text");
    let mut context = IoContext::new(4)?;
    for round in 0..3 {
        buffers[0][0] = round;
        let first = linux_aio::scope(&mut context, &mut [const { Slot::new() }; 4], |io| {
            for buf in &mut buffers {
                io.push(Read::new(&file, &mut buf[..], 0))?;
            }
            let mut first = None;
            while let Some(done) = io.wait()? {
                // A completed buffer is the caller's, and may leave the scope.
                done.op.buf[0] = 7;
                first.get_or_insert(done.op.buf);
            }
            std::io::Result::Ok(first)
        })??;
        println!("{:?}", first.map(|buf| buf[0]));
        println!("{:?}", buffers[3]);
    }
    let (reads, writes) = buffers.split_at_mut(2);
    linux_aio::scope(&mut context, &mut [const { Slot::new() }; 4], |io| {
        for (read, write) in reads.iter_mut().zip(&*writes) {
            io.push(Any::Read(Read::new(&file, &mut read[..], 0))).map_err(|e| e.errno())?;
            io.push(Any::Write(Write::new(&null, &write[..], 0))).map_err(|e| e.errno())?;
        }
        io.push(Any::Write(Write::new(&null, text.as_bytes(), 0))).map_err(|e| e.errno()).ok();
        io.wait().map(drop).map_err(linux_aio::Errno::from)
    })??;
    buffers[0][0] = 1;
    println!("{buffers:?}");
    Ok(())
}
