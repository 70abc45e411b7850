//! Vectored operations whose number of buffers is known at run time.

use crate::common::files::{file_with, pattern};
use crate::common::{Watchdog, queue};
use crate::run;
use linux_aio::op::{Any, Buffers, IovecArray, IovecVec, Read, ReadV, Write, WriteV};
use linux_aio::{Driver, Errno, IoContext, LocalDriver, Slot, Spare};
use std::mem::MaybeUninit;
use std::sync::Arc;

/// Goal: vectors and boxed slices behave as arrays do. Method: the same reads and writes by each.
#[test]
fn every_collection_is_filled_and_drained_in_order() {
    let _watchdog = Watchdog::new();
    let (_dir, path, file) = file_with(&pattern(8192));
    let file = Arc::new(file);
    let bufs = || vec![vec![0u8; 1], vec![], vec![0; 100], vec![0; 4096]];
    let of_vec = run(ReadV::new(Arc::clone(&file), bufs(), 10));
    let of_box = run(ReadV::new(Arc::clone(&file), bufs().into_boxed_slice(), 10));
    assert_eq!((of_vec.result, of_box.result), (Ok(4197), Ok(4197)));
    assert_eq!(of_vec.op.bufs.concat(), pattern(8192)[10..4207]);
    assert_eq!(of_box.op.bufs.concat(), pattern(8192)[10..4207]);

    let texts = vec!["one", "", "three"];
    assert_eq!(run(WriteV::new(Arc::clone(&file), texts, 20)).result, Ok(8));
    assert_eq!(&std::fs::read(path).expect("the file")[20..28], b"onethree");

    let none: Vec<Vec<u8>> = vec![];
    assert_eq!(run(ReadV::new(Arc::clone(&file), none, 0)).result, Ok(0));
    let past_the_end = run(ReadV::new(file, vec![vec![9u8; 4]; 2], 8190));
    assert_eq!(past_the_end.result, Ok(2));
    assert_eq!(past_the_end.op.bufs.concat()[2..], [9; 6]);
}

/// Goal: more buffers than the kernel takes fail alone with its error.
#[test]
fn more_buffers_than_the_kernel_takes_are_refused() {
    let _watchdog = Watchdog::new();
    let (_dir, _path, file) = file_with(&pattern(2048));
    let file = Arc::new(file);
    let most = run(ReadV::new(Arc::clone(&file), vec![[255u8; 1]; 1024], 0));
    assert_eq!((most.result, most.op.bufs.concat()), (Ok(1024), pattern(1024)));
    let more = run(ReadV::new(file, vec![[255u8; 1]; 1025], 0));
    assert_eq!((more.result, more.op.bufs), (Err(Errno::EINVAL), vec![[255; 1]; 1025]));
}

/// Goal: the table follows the buffers, wherever their number changes: the kernel is told of all of
/// them, and of none that has gone. Method: one operation is pushed again with fewer, with more,
/// and with the table of another one.
#[test]
fn the_number_of_buffers_may_change_between_two_pushes() {
    let _watchdog = Watchdog::new();
    let (_dir, _path, file) = file_with(&pattern(4096));
    let mut queue = queue(1);
    queue.push(ReadV::new(file, vec![[0u8; 8]; 3], 0)).map_err(drop).expect("a slot");
    for count in [3, 1, 0, 5, 200, 2] {
        let mut ready = queue.wait_ready().expect("a wait").expect("a completion");
        ready.op_mut().bufs = vec![[255; 8]; count];
        ready.push_again();
        let ready = queue.wait_ready().expect("a wait").expect("a completion");
        assert_eq!(ready.result(), Ok(8 * count as u32), "{count} buffers");
        assert_eq!(ready.op().bufs.concat(), pattern(8 * count));
        ready.push_again();
    }
    let done = queue.wait().expect("a wait").expect("a completion");
    let other = ReadV { iovecs: IovecVec::default(), offset: 8, ..done.op };
    queue.push(other).map_err(drop).expect("a slot");
    let done = queue.wait().expect("a wait").expect("a completion");
    assert_eq!((done.result, done.op.bufs.concat()), (Ok(16), pattern(24)[8..].to_vec()));
}

/// A collection that says different things of itself.
struct Liar {
    few: Vec<[u8; 8]>,
    many: Vec<[u8; 8]>,
}

impl Buffers for Liar {
    type Buffer = [u8; 8];
    type Iovecs = IovecArray<4>;

    fn iovecs(&self) -> IovecArray<4> {
        IovecArray::default()
    }
    fn as_buffers(&self) -> &[[u8; 8]] {
        &self.few
    }
    fn as_buffers_mut(&mut self) -> &mut [[u8; 8]] {
        &mut self.many
    }
}

/// Goal: whatever a collection says, the kernel gets no more than there is room for in the table,
/// and no entry that was not filled.
#[test]
fn a_collection_that_lies_gets_no_more_than_its_table() {
    let _watchdog = Watchdog::new();
    let (_dir, _path, file) = file_with(&pattern(4096));
    let file = Arc::new(file);
    let liar = |few, many| Liar { few: vec![[1; 8]; few], many: vec![[255; 8]; many] };
    let done = run(ReadV::new(Arc::clone(&file), liar(1, 6), 0));
    assert_eq!(done.result, Ok(32));
    assert_eq!(done.op.bufs.many.concat(), [&pattern(32)[..], &[255; 16]].concat());
    let done = run(ReadV::new(Arc::clone(&file), liar(6, 1), 0));
    assert_eq!((done.result, done.op.bufs.many.concat()), (Ok(8), pattern(8)));
    assert_eq!(run(WriteV::new(file, liar(9, 0), 0)).result, Ok(32));
}

/// Goal: each of several `Spare`s has what was read to it, up to the end of the file, by a queue, a
/// scope and both drivers; pushed again, the read goes on behind it.
#[test]
fn several_spares_are_filled_in_order() {
    let _watchdog = Watchdog::new();
    let (_dir, _path, file) = file_with(&pattern(5000));
    let file = Arc::new(file);
    let spares = |lens: &[usize]| -> Vec<_> {
        let spare = |&len: &usize| Spare::with_limit(Vec::with_capacity(len), len);
        lens.iter().map(spare).collect()
    };
    let read = |offset| ReadV::new(Arc::clone(&file), spares(&[1, 0, 1000, 3000, 9]), offset);
    let bytes = |bufs: Vec<Spare<Vec<u8>>>| bufs.into_iter().map(Spare::into_inner).collect();
    let look = |bufs, offset: usize, counts: [usize; 5]| {
        let bufs: Vec<Vec<u8>> = bytes(bufs);
        assert_eq!(bufs.iter().map(Vec::len).collect::<Vec<_>>(), counts);
        let count: usize = counts.iter().sum();
        assert!(bufs.concat() == pattern(5000)[offset..][..count]);
    };
    for (offset, counts) in [
        (0, [1, 0, 1000, 3000, 9]),
        (2000, [1, 0, 1000, 1999, 0]),
        (4500, [1, 0, 499, 0, 0]),
        (5000, [0; 5]),
    ] {
        let at = offset as u64;
        let done = run(read(at));
        assert_eq!(done.result, Ok(counts.iter().sum::<usize>() as u32));
        look(done.op.bufs, offset, counts);

        let mut context = IoContext::new(1).expect("a context");
        let done = linux_aio::scope(&mut context, &mut [const { Slot::new() }; 1], |io| {
            io.push(read(at)).map_err(drop).expect("a slot");
            io.wait().expect("a wait").expect("a completion")
        });
        look(done.expect("a scope").op.bufs, offset, counts);

        let driver = Driver::on_thread(1).expect("a driver");
        let (result, read_again) = pollster::block_on(driver.perform(read(at)));
        assert!(result.is_ok());
        // What is full is asked for nothing, and nothing of it changes.
        let op = ReadV { offset: at + result.map_or(0, u64::from), ..read_again };
        let (result, op) = pollster::block_on(driver.perform(op));
        assert_eq!(result.map_err(drop), Ok(0));
        look(op.bufs, offset, counts);

        let driver = LocalDriver::new(1).expect("a driver");
        let (_, op) = driver.block_on(driver.perform(read(at)));
        look(op.bufs, offset, counts);
    }
    let done = run(ReadV::new(file, [(); 2].map(|()| Spare::new([MaybeUninit::uninit(); 8])), 8));
    let halves = done.op.bufs.each_ref().map(|half| half.as_ref().to_vec());
    assert_eq!(halves.concat(), pattern(24)[8..]);
}

/// Goal: operations are compared by what they are to do, also after the table was filled.
#[test]
fn operations_are_compared_by_their_fields() {
    let _watchdog = Watchdog::new();
    let file = Arc::new(std::fs::File::open("/dev/zero").expect("/dev/zero"));
    let fd = rustix::fd::AsRawFd::as_raw_fd(&*file);
    let read = ReadV::new(fd, vec![vec![0u8; 4]; 2], 8);
    assert_eq!(read, read.clone());
    assert_ne!(read, ReadV { offset: 9, ..read.clone() });
    assert_ne!(read, ReadV::new(fd, vec![vec![0u8; 4]; 3], 8));
    assert_eq!(Read::new(fd, [0u8], 1), Read::new(fd, [0u8], 1));
    assert_ne!(Write::new(fd, "a", 1), Write::new(fd, "b", 1));
    let any: Any<_, Vec<u8>> = read.clone().into();
    assert_eq!(any, Any::ReadV(read));
    let done = run(WriteV::new(Arc::clone(&file), [[1u8; 4]; 2], 0));
    assert!(format!("{:?}", done.op).contains("iovecs: IovecArray { .. }"), "{:?}", done.op);
}

/// Goal: vectored operations share a queue with others.
#[test]
fn any_takes_vectored_operations() {
    let _watchdog = Watchdog::new();
    let (_dir, path, file) = file_with(b"");
    let file = Arc::new(file);
    let mut queue = queue(2);
    let write = WriteV::new(Arc::clone(&file), vec!["ab", "cde"], 0);
    let write: Any<_, Vec<u8>, &str> = write.into();
    queue.push(write).map_err(drop).expect("a slot");
    assert_eq!(queue.wait().expect("a wait").expect("a completion").result, Ok(5));
    let read = ReadV::new(Arc::clone(&file), vec![vec![0; 3], vec![0; 9]], 0);
    queue.push(read.into()).map_err(drop).expect("a slot");
    let done = queue.wait().expect("a wait").expect("a completion");
    let Any::ReadV(read) = done.op else { panic!("another operation") };
    assert_eq!((done.result, read.bufs.concat()), (Ok(5), b"abcde\0\0\0\0\0\0\0".to_vec()));
    assert_eq!(std::fs::read(path).expect("the file"), b"abcde");
}
