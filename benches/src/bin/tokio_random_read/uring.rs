//! The same by io_uring, where it is not blocked: by the runtime tokio-uring, and by a loop on the
//! ring itself, which is what the kernel can do.

use crate::load::{Load, Meter, Outcome, Watch};
use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use io_uring::{IoUring, opcode, types};
use linux_aio::AlignedBuf;
use std::os::fd::AsRawFd;
use tokio_uring::buf::BoundedBuf;

/// Reads by tokio-uring, in tasks, on its runtime of one thread.
pub(crate) fn tokio_uring(load: &Load) -> Result<Outcome> {
    // Its `start` panics where there is no io_uring.
    IoUring::new(8)?;
    let builder = io_uring_builder(load);
    builder.start(async {
        let meter = Meter::start();
        let tasks: Vec<_> =
            (0..load.depth).map(|_| tokio_uring::spawn(read_by_ring(load.clone()))).collect();
        let mut all = crate::load::histogram()?;
        for task in tasks {
            all.add(task.await??)?;
        }
        Ok(meter.stop(all))
    })
}

fn io_uring_builder(load: &Load) -> tokio_uring::Builder {
    let mut builder = tokio_uring::builder();
    builder.entries(load.depth.next_power_of_two().max(8));
    builder
}

async fn read_by_ring(load: Load) -> Result<Histogram<u64>> {
    let file = tokio_uring::fs::File::from_std(load.file.try_clone()?);
    // Its buffers are vectors, of which the aligned part is used.
    let mut whole = vec![0_u8; load.block + load.memory];
    let mut watch = Watch::start(&load)?;
    while let Some(offset) = watch.next_offset()? {
        let from = whole.as_ptr().align_offset(load.memory);
        let (result, slice) = file.read_at(whole.slice(from..from + load.block), offset).await;
        ensure!(result? == load.block, "a short read");
        whole = slice.into_inner();
    }
    Ok(watch.latencies)
}

/// Reads by the crate io-uring, without tasks: a loop that keeps `depth` reads in flight.
pub(crate) fn plain_loop(load: &Load) -> Result<Outcome> {
    let mut ring = IoUring::new(load.depth)?;
    let buffers = (0..load.depth).map(|_| load.buffer()).collect::<Result<Vec<_>>>()?;
    let watches = (0..load.depth).map(|_| Watch::start(load)).collect::<Result<Vec<_>>>()?;
    let mut readers: Vec<_> = watches.into_iter().zip(buffers).collect();
    let meter = Meter::start();
    if let Err(error) = read_in_a_loop(&mut ring, load, &mut readers) {
        // The kernel may be writing to the buffers.
        core::mem::forget(readers);
        return Err(error);
    }
    let mut all = crate::load::histogram()?;
    for (watch, _) in &readers {
        all.add(&watch.latencies)?;
    }
    Ok(meter.stop(all))
}

type Reader = (Watch, AlignedBuf);

fn read_in_a_loop(ring: &mut IoUring, load: &Load, readers: &mut [Reader]) -> Result<()> {
    let mut in_flight = 0;
    for number in 0..readers.len() {
        in_flight += push(ring, load, readers, number)?;
    }
    while in_flight > 0 {
        ring.submit_and_wait(1)?;
        let done: Vec<_> = ring.completion().collect();
        for event in done {
            ensure!(event.result() == load.block as i32, "a result of {}", event.result());
            in_flight -= 1;
            in_flight += push(ring, load, readers, event.user_data() as usize)?;
        }
    }
    Ok(())
}

/// Queues the next read of one reader: 1, or 0 when its time is over.
fn push(ring: &mut IoUring, load: &Load, readers: &mut [Reader], number: usize) -> Result<usize> {
    let (watch, buf) = &mut readers[number];
    let Some(offset) = watch.next_offset()? else { return Ok(0) };
    let fd = types::Fd(load.file.as_raw_fd());
    let read = opcode::Read::new(fd, buf.as_mut_ptr(), load.block as u32);
    let entry = read.offset(offset).build().user_data(number as u64);
    // SAFETY: The buffer is used by this read alone, and freed only when `read_in_a_loop` has seen
    // the end of every read; the file is open as long as `load`.
    unsafe { ring.submission().push(&entry) }?;
    Ok(1)
}
