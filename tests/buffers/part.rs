//! Parts of every kind of buffer.

use crate::common::files::{file_with, pattern};
use crate::common::{Watchdog, queue};
use crate::run;
use bytes::{Bytes, BytesMut};
use linux_aio::op::{Read, ReadV, Write};
use linux_aio::{AlignedBuf, Part, Shared, Slice};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Goal: a read fills the part and nothing else, whatever holds the bytes. Method: each type starts
/// with bytes of value 255, which the file does not have.
#[test]
fn a_read_fills_the_part_and_nothing_else() {
    let _watchdog = Watchdog::new();
    let (_dir, _path, file) = file_with(&pattern(4096));
    let file = Arc::new(file);
    let mut expected = [255; 64];
    expected[8..24].copy_from_slice(&pattern(4096)[100..116]);

    macro_rules! fills {
        ($($buf:expr),*) => {$(
            let done = run(Read::new(Arc::clone(&file), $buf.part(8..24), 100));
            assert_eq!(done.result, Ok(16));
            assert_eq!(&done.op.buf.into_inner()[..], expected, "{}", stringify!($buf));
        )*};
    }
    fills!(
        vec![255u8; 64],
        vec![255u8; 64].into_boxed_slice(),
        [255u8; 64],
        BytesMut::from(&[255u8; 64][..]),
        AlignedBuf::from(&[255u8; 64][..]),
        Vec::leak(vec![255u8; 64])
    );

    let atomics: Arc<[AtomicU8]> = (0..64).map(|_| AtomicU8::new(255)).collect();
    let part = Arc::clone(&atomics).part(8..24);
    assert_eq!(run(Read::new(Arc::clone(&file), Shared(part), 100)).result, Ok(16));
    let seen: Vec<_> = atomics.iter().map(|byte| byte.load(Ordering::Relaxed)).collect();
    assert_eq!(seen, expected);

    let bufs = [vec![255u8; 64].part(8..16), vec![255; 64].part(16..24)];
    let [first, second] = run(ReadV::new(file, bufs, 100)).op.bufs.map(Part::into_inner);
    assert_eq!([&first[..16], &second[16..]].concat(), expected);
}

/// Goal: a write takes the part and nothing else, also of buffers that only can be read.
#[test]
fn a_write_takes_the_part_and_nothing_else() {
    let _watchdog = Watchdog::new();
    let (_dir, path, file) = file_with(&[255; 32]);
    let file = Arc::new(file);
    let source = pattern(64);
    let mut expected = [255; 32];
    expected[4..20].copy_from_slice(&source[8..24]);

    macro_rules! takes {
        ($($buf:expr),*) => {$(
            std::fs::write(&path, [255; 32]).expect("the file");
            let done = run(Write::new(Arc::clone(&file), $buf.part(8..24), 4));
            assert_eq!(done.result, Ok(16));
            assert_eq!(&done.op.buf.into_inner()[..], source, "{}", stringify!($buf));
            assert_eq!(std::fs::read(&path).expect("the file"), expected, "{}", stringify!($buf));
        )*};
    }
    takes!(
        source.clone(),
        Arc::<[u8]>::from(&source[..]),
        Bytes::from(source.clone()),
        BytesMut::from(&source[..]),
        AlignedBuf::from(&source[..])
    );
}

/// Goal: a part outside of its buffer panics in the push and costs nothing: the slot is free again,
/// and the queue works. Method: a queue of one slot.
#[test]
fn a_part_outside_of_its_buffer_panics_and_frees_the_slot() {
    let _watchdog = Watchdog::new();
    let file = Arc::new(File::open("/dev/zero").expect("/dev/zero"));
    let mut queue = queue(1);
    for _ in 0..3 {
        let outside = Read::new(Arc::clone(&file), vec![1u8; 8].part(4..9), 0);
        let pushed = catch_unwind(AssertUnwindSafe(|| queue.push(outside).is_ok()));
        assert!(pushed.is_err());
        let inside = Read::new(Arc::clone(&file), vec![1u8; 8].part(4..8), 0);
        queue.push(inside).map_err(|error| error.errno()).expect("the slot is free");
        let done = queue.wait().expect("a wait").expect("a completion");
        assert_eq!((done.result, done.op.buf.into_inner()), (Ok(4), vec![1, 1, 1, 1, 0, 0, 0, 0]));
    }
}

/// Goal: `part` does not change the meaning of calls of `bytes`, as a method `slice` would.
#[test]
fn the_slices_of_bytes_are_their_own_methods() {
    let bytes = Bytes::from_static(b"shared");
    let slice: Bytes = bytes.slice(1..3);
    assert_eq!((&slice[..], bytes.len()), (&b"ha"[..], 6));
}
