//! Memory that other threads use while the kernel has it.

use crate::common::Watchdog;
use crate::common::files::{file_with, pattern};
use crate::run;
use linux_aio::op::{Read, ReadV, Write, WriteV};
use linux_aio::{IoSlice, IoSliceMut, Room, Shared};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread;

fn atomics(len: usize) -> Arc<[AtomicU8]> {
    (0..len).map(|_| AtomicU8::new(255)).collect()
}

fn bytes(atomics: &[AtomicU8]) -> Vec<u8> {
    atomics.iter().map(|byte| byte.load(Ordering::Relaxed)).collect()
}

/// Goal: reads and writes, with one buffer and several, go through shared memory.
#[test]
fn shared_memory_is_read_to_and_written_from() {
    let _watchdog = Watchdog::new();
    let (_dir, path, file) = file_with(&pattern(4096));
    let file = Arc::new(file);
    let memory = atomics(64);
    let done = run(Read::new(Arc::clone(&file), Shared(Arc::clone(&memory)), 7));
    assert_eq!((done.result, bytes(&memory)), (Ok(64), pattern(4096)[7..71].to_vec()));

    let several = [atomics(3), atomics(0), atomics(61)];
    let bufs: Vec<_> = several.iter().map(|part| Shared(Arc::clone(part))).collect();
    assert_eq!(run(ReadV::new(Arc::clone(&file), bufs.clone(), 9)).result, Ok(64));
    assert_eq!(several.map(|part| bytes(&part)).concat(), pattern(4096)[9..73]);

    assert_eq!(run(Write::new(Arc::clone(&file), Shared(memory), 4000)).result, Ok(64));
    assert_eq!(run(WriteV::new(file, bufs, 100)).result, Ok(64));
    let written = std::fs::read(path).expect("the file");
    assert_eq!(written[4000..4064], pattern(4096)[7..71]);
    assert_eq!(written[100..164], pattern(4096)[9..73]);
}

/// Goal: a thread may load and store while the kernel reads to the same bytes; each byte has a
/// value that somebody stored. Method: the thread stores 1, the file has zeros, the memory began
/// with 255.
#[test]
fn a_thread_may_use_the_memory_meanwhile() {
    let _watchdog = Watchdog::new();
    let memory = atomics(1 << 16);
    let stop = AtomicBool::new(false);
    thread::scope(|threads| {
        let others = threads.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                memory[..256].iter().for_each(|byte| byte.store(1, Ordering::Relaxed));
                assert!(
                    memory.iter().all(|byte| [0, 1, 255].contains(&byte.load(Ordering::Relaxed)))
                );
            }
        });
        for _ in 0..20 {
            let zero = std::fs::File::open("/dev/zero").expect("/dev/zero");
            let done = run(Read::new(zero, Shared(Arc::clone(&memory)), 0));
            assert_eq!(done.result, Ok(1 << 16));
        }
        stop.store(true, Ordering::Relaxed);
        others.join().expect("no panic");
    });
    assert!(bytes(&memory)[256..].iter().all(|&byte| byte == 0));
}

/// Goal: slices for the kernel know the length of what they borrow, of shared memory as well.
#[test]
fn slices_of_shared_memory_have_its_length_and_address() {
    let memory = atomics(40);
    let address = memory.as_ptr().addr();
    assert_eq!(IoSlice::shared(&memory).as_ptr().addr(), address);
    let mut slice = IoSliceMut::shared(&memory[8..]);
    assert_eq!((slice.len(), slice.as_mut_ptr().addr()), (32, address + 8));
    let room = Room::from(slice);
    assert_eq!((room.len(), room.is_empty()), (32, false));
    assert!(Room::shared(&memory).skip(30).first(0).is_empty());
}
