//! Scopes of two contexts, one inside of the other, with loans of the outer in the inner.

#![forbid(unsafe_code)]
#![deny(warnings)]

use linux_aio::op::Read;
use linux_aio::{IoContext, Slot};
use std::fs::File;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = File::open("/dev/zero")?;
    let (mut outer, mut inner) = (IoContext::new(1)?, IoContext::new(1)?);
    let (mut first, mut second) = ([0u8; 64], [0u8; 64]);
    linux_aio::scope(&mut outer, &mut [const { Slot::new() }; 1], |outside| {
        outside.push(Read::new(&file, &mut first[..], 0)).unwrap();
        let done = outside.wait().unwrap().unwrap();
        let mut local = [0u8; 8];
        linux_aio::scope(&mut inner, &mut [const { Slot::new() }; 3], |inside| {
                inside.push(Read::new(&file, &mut second[..], 0)).unwrap();
                inside.push(Read::new(&file, &mut *done.op.buf, 0)).unwrap();
                inside.push(Read::new(&file, &mut local[..], 0)).unwrap();
            })
            .unwrap();
        outside.push(done.op).unwrap();
    })?;
    Ok(())
}
