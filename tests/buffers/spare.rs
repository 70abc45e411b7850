//! Reads into memory that is not initialised, on the running kernel.
//! (`fuzz/tests/hostile_buffers/` has the attacks.)

use crate::common::files::{file_with, open_direct, pattern};
use crate::common::{Watchdog, queue, skip};
use crate::run;
use linux_aio::op::{Read, Write};
use linux_aio::{Driver, IoContext, Operation, Slot, Spare, SpareMemory};
use std::mem::MaybeUninit;
use std::sync::Arc;

const OFFSETS: [(u64, usize); 5] = [(0, 4096), (904, 4096), (4000, 1000), (5000, 0), (9000, 0)];

/// Goal: the bytes of the file can be seen, up to its end and no further, in every kind of memory.
#[test]
fn reads_end_at_the_end_of_the_file() {
    let _watchdog = Watchdog::new();
    let (_dir, _path, file) = file_with(&pattern(5000));
    let file = Arc::new(file);
    for (offset, count) in OFFSETS {
        let bytes = &pattern(5000)[(offset as usize).min(5000)..][..count];
        macro_rules! reads {
            ($($memory:expr),*) => {$(
                let spare = Spare::with_limit($memory, 4096);
                let done = run(Read::new(Arc::clone(&file), spare, offset));
                assert_eq!((done.result, done.op.buf.as_ref()), (Ok(count as u32), bytes));
                assert_eq!((done.op.buf.len(), done.op.buf.room()), (count, 4096 - count));
                assert_eq!(done.op.buf.into_parts().1, count);
            )*};
        }
        reads!(
            Vec::with_capacity(4096),
            Box::new_uninit_slice(4096),
            Box::new([MaybeUninit::uninit(); 5000]),
            [MaybeUninit::uninit(); 4096],
            Box::leak(Box::<[u8]>::new_uninit_slice(4096)),
            Box::leak(Box::new(Vec::with_capacity(4096)))
        );
        #[cfg(feature = "bytes")]
        reads!(bytes::BytesMut::with_capacity(4096));
    }
}

/// Goal: a buffer that had bytes keeps them, and has those that were read behind them.
#[test]
fn bytes_come_behind_those_that_the_buffer_had() {
    let _watchdog = Watchdog::new();
    let (_dir, path, file) = file_with(&pattern(5000));
    let file = Arc::new(file);
    let mut begun = Vec::with_capacity(8000);
    begun.extend([1, 2]);
    let done = run(Read::new(Arc::clone(&file), Spare::with_limit(begun, 4096), 0));
    let mut spare = done.op.buf;
    assert_eq!(spare.get_mut()[..], [&[1, 2], &pattern(4096)[..]].concat());
    let done = run(Read::new(Arc::clone(&file), spare, 4096));
    assert_eq!(done.result, Ok(904));
    // A write takes what was read.
    let done = run(Write::new(file, done.op.buf, 0));
    assert_eq!(done.result, Ok(904));
    assert_eq!(std::fs::read(path).expect("the file")[..904], pattern(5000)[4096..]);
    assert_eq!(done.op.buf.into_inner(), [&[1, 2], &pattern(5000)[..]].concat());
}

/// Goal: `O_DIRECT` reads to memory that is aligned, up to an end of the file that is not.
#[test]
fn direct_reads_end_where_the_file_does() {
    let _watchdog = Watchdog::new();
    let (_dir, path, _file) = file_with(&pattern(10_000));
    let Some(file) = open_direct(&path) else { skip!("the file system has no O_DIRECT") };
    let file = Arc::new(file);
    for (offset, count) in [(0, 8192), (4096, 5904), (8192, 1808)] {
        #[repr(align(4096))]
        struct Aligned([MaybeUninit<u8>; 8192]);
        let memory = Box::leak(Box::new(Aligned([MaybeUninit::uninit(); 8192])));
        let done = run(Read::new(Arc::clone(&file), Spare::new(&mut memory.0[..]), offset));
        assert_eq!(done.result, Ok(count as u32));
        assert_eq!(done.op.buf.into_filled(), &pattern(10_000)[offset as usize..][..count]);
    }
}

/// Goal: scopes and drivers count as queues do, and a failed read shows nothing.
#[test]
fn scopes_and_drivers_count_as_queues_do() {
    let _watchdog = Watchdog::new();
    let (_dir, path, file) = file_with(&pattern(5000));
    let mut memory = [MaybeUninit::uninit(); 600];
    let mut context = IoContext::new(2).expect("a context");
    let bytes = linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
        io.push(Read::new(&file, Spare::new(&mut memory[..]), 4500)).map_err(drop).expect("a slot");
        let done = io.wait().expect("a wait").expect("a completion");
        done.op.buf.into_filled()
    });
    assert_eq!(bytes.expect("a scope"), &pattern(5000)[4500..]);

    let mut read = Read::new(&file, Spare::with_limit(Vec::with_capacity(100), 100), 10);
    linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
        io.push(&mut read as &mut dyn Operation).map_err(drop).expect("a slot");
        assert_eq!(io.wait().expect("a wait").expect("a completion").result, Ok(100));
    })
    .expect("a scope");
    assert_eq!(read.buf.into_inner(), &pattern(5000)[10..110]);

    let driver = Driver::on_thread(2).expect("a driver");
    let spare = Spare::with_limit(Vec::with_capacity(4096), 4096);
    let (result, read) = pollster::block_on(driver.perform(Read::new(file, spare, 1000)));
    assert_eq!(result.map_err(drop), Ok(4000));
    assert_eq!(read.buf.into_inner(), pattern(5000)[1000..]);
    let directory = std::fs::File::open(path.parent().expect("a directory")).expect("it");
    let spare = Spare::with_limit(Vec::with_capacity(64), 64);
    let (result, read) = pollster::block_on(driver.perform(Read::new(directory, spare, 0)));
    assert!(result.is_err());
    assert_eq!(read.buf.into_inner(), []);
}

/// Goal: many reads in flight count in their own buffers alone.
#[test]
fn many_reads_in_flight_count_in_their_own_buffers() {
    let _watchdog = Watchdog::new();
    let (_dir, _path, file) = file_with(&pattern(5000));
    let file = Arc::new(file);
    let mut queue = queue(32);
    let spare = |room| Spare::with_limit(Vec::with_capacity(room), room);
    for at in 0..32 {
        let read = Read::new(Arc::clone(&file), spare(100 + at), at as u64 * 160);
        queue.push(read).map_err(drop).expect("a slot");
    }
    let mut count = 0;
    while let Some(done) = queue.wait().expect("a wait") {
        let from = (done.op.offset as usize).min(5000);
        let n = done.result.expect("success") as usize;
        assert_eq!(n, done.op.buf.len());
        assert_eq!(done.op.buf.as_ref(), &pattern(5000)[from..from + n]);
        count += 1;
        if count < 500 {
            let offset = (done.op.offset + 777) % 5200;
            queue
                .push(Read { offset, buf: spare(n + 1), ..done.op })
                .map_err(drop)
                .expect("a slot");
        }
    }
    assert_eq!(count, 531);
}

/// Goal: what a program sees of a `Spare` before any read is nothing.
#[test]
fn a_new_spare_has_nothing_to_show() {
    fn nothing<B: SpareMemory>(spare: Spare<B>) {
        assert_eq!((spare.as_ref(), spare.is_empty(), spare.len()), (&[][..], true, 0));
        assert!(format!("{spare:?}").starts_with("Spare { len: 0, room: "));
    }
    nothing(Spare::new(Vec::with_capacity(64)));
    nothing(Spare::new(Vec::new()));
    nothing(Spare::new([MaybeUninit::uninit(); 8]));
    assert_eq!(Spare::new(vec![1, 2]).into_inner(), [1, 2]);
}
