//! Every kind of buffer that operations take, by each way through a file.

use crate::common;
use crate::drivers::{AnyDriver, on_each_driver};

use common::files::{file_with, pattern};
use core::cell::Cell;
use core::sync::atomic::{AtomicU8, Ordering};
use linux_aio::op::{Buffers, IovecVec};
use linux_aio::{
    AlignedBuf, BufferPool, Direct, File, IoSlice, ReadTo, Room, Shared, Slice, Spare,
    UnexpectedEnd, WriteFrom,
};
use std::io;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

on_each_driver![
    memory_that_is_not_initialised_is_filled,
    a_spare_shows_what_was_read_and_no_more,
    several_spares_are_filled_in_order,
    a_collection_that_changes_its_mind_shows_what_was_read,
    memory_of_other_threads_is_read_and_written,
    pooled_parts_and_aligned_buffers_are_filled,
    a_buffer_of_ones_own_is_read_and_written,
    a_buffer_that_changes_its_mind_moves_no_foreign_byte,
    a_vector_without_a_length_is_refused_with_the_remedy,
];

/// Offsets and lengths that are aligned, and that are not.
const RANGES: [(usize, usize); 6] =
    [(0, 4096), (4096, 65_536), (12_345, 100_000), (1, 1), (511, 4098), (8192, 5000)];

/// A file of the driver, opened with `O_DIRECT` if that can be had, and without.
fn files<D: AnyDriver>(content: &[u8]) -> io::Result<(TempDir, D, [File<D>; 2])> {
    let (dir, path, _) = file_with(content);
    let driver = D::with_capacity(8)?;
    let open = |direct| {
        let options = File::options().read(true).write(true).direct(direct);
        driver.block_on(options.open(&driver, &path))
    };
    let files = [open(Direct::Prefer)?, open(Direct::Never)?];
    Ok((dir, driver, files))
}

fn content_of(dir: &TempDir) -> io::Result<Vec<u8>> {
    let mut entries = std::fs::read_dir(dir.path())?;
    let path: &Path = &entries.next().expect("the file")?.path();
    std::fs::read(path)
}

/// Goal: a read to spare capacity needs no zeroed buffer, and comes back with the length set.
fn memory_that_is_not_initialised_is_filled<D: AnyDriver>() -> io::Result<()> {
    let content = pattern(200_000);
    let (_dir, driver, files) = files::<D>(&content)?;
    for file in files {
        for (offset, len) in RANGES {
            let wanted = &content[offset..][..len];
            let spare = Spare::with_limit(Vec::with_capacity(len), len);
            let (result, spare) = driver.block_on(file.read_exact_at(spare, offset as u64));
            result?;
            assert!(spare.into_inner() == wanted, "{len} at {offset}, {}", file.direct());

            // Behind what a vector has, which stays.
            let mut buf = Vec::with_capacity(len + 3);
            buf.extend_from_slice(b"abc");
            let spare = Spare::with_limit(buf, len);
            let (result, spare) = driver.block_on(file.read_at(spare, offset as u64));
            assert_eq!(result?, len);
            assert_eq!(spare.into_inner(), [b"abc", wanted].concat());

            #[cfg(feature = "bytes")]
            {
                let spare = Spare::with_limit(bytes::BytesMut::with_capacity(len), len);
                let (result, spare) = driver.block_on(file.read_exact_at(spare, offset as u64));
                result?;
                assert!(spare.into_inner() == wanted);
            }
        }
        let spare = Spare::new(Vec::with_capacity(100_000));
        let (result, spare) = driver.block_on(file.read_exact_at(spare, 12_345));
        result?;
        assert!(content[12_345..].starts_with(&spare.into_inner()));
    }
    Ok(())
}

/// Goal: at the end of the file, a `Spare` has the bytes that were read and no others, and a second
/// read goes on behind them.
fn a_spare_shows_what_was_read_and_no_more<D: AnyDriver>() -> io::Result<()> {
    let content = pattern(10_001);
    let (_dir, driver, files) = files::<D>(&content)?;
    for file in files {
        let spare = Spare::with_limit(Vec::with_capacity(9000), 9000);
        let (result, spare) = driver.block_on(file.read_exact_at(spare, 5001));
        let error = result.expect_err("the file has 5000 more");
        let end = error.get_ref().and_then(|error| error.downcast_ref::<UnexpectedEnd>());
        assert_eq!((end.expect("an end").read(), spare.len(), spare.room()), (5000, 5000, 4000));
        let (result, spare) = driver.block_on(file.read_at(spare, 1));
        assert_eq!((result?, spare.room()), (4000, 0));
        assert!(spare.as_ref() == [&content[5001..], &content[1..4001]].concat());
        let (result, spare) = driver.block_on(file.read_at(spare, 0));
        assert_eq!(result.expect_err("no room").kind(), io::ErrorKind::InvalidInput);
        assert_eq!(spare.len(), 9000);
        let (result, spare) = driver.block_on(file.read_at(Spare::new(vec![0; 0]), 0));
        assert_eq!(result.expect_err("no room").kind(), io::ErrorKind::InvalidInput);
        assert_eq!(spare.len(), 0);
    }
    Ok(())
}

/// A vector with spare memory of this length, behind two bytes.
fn spare_behind(len: usize) -> Spare<Vec<u8>> {
    let mut buf = Vec::with_capacity(len + 2);
    buf.extend_from_slice(b"ab");
    Spare::with_limit(buf, len)
}

/// Goal: one request fills several `Spare`s in order, however it is cut into operations, calls and
/// copies, and up to the end of the file; each keeps the bytes that it had. Method: lengths that
/// are aligned, and that are not, also empty ones, and more of them than one call takes; offsets
/// from which the file ends in each of the buffers.
fn several_spares_are_filled_in_order<D: AnyDriver>() -> io::Result<()> {
    let content = pattern(200_000);
    let (_dir, driver, files) = files::<D>(&content)?;
    let many = [vec![0, 3], vec![64; 1500]].concat();
    for file in files {
        for lens in [&[4096, 8192, 4096][..], &[1, 0, 5000, 70_000, 511], &many] {
            let sum: usize = lens.iter().sum();
            let ends = lens.iter().scan(0, |end, len| {
                *end += len;
                Some(content.len() - *end + len / 2)
            });
            for offset in [0, 4096, 12_345].into_iter().chain(ends.take(5)) {
                let bufs: Vec<_> = lens.iter().map(|&len| spare_behind(len)).collect();
                let (result, bufs) = driver.block_on(file.readv_at(bufs, offset as u64));
                let mut rest = &content[offset..][..sum.min(content.len() - offset)];
                assert_eq!(result?, rest.len(), "{sum} at {offset}, {}", file.direct());
                for (buf, len) in bufs.into_iter().zip(lens) {
                    let (now, later) = rest.split_at(rest.len().min(*len));
                    rest = later;
                    assert_eq!((buf.len(), buf.room()), (now.len(), len - now.len()));
                    let buf = buf.into_inner();
                    assert!(buf[..2] == *b"ab" && buf[2..] == *now, "{sum} at {offset}");
                }
            }
        }
        // A request that goes on, at other places of the file.
        let spares = vec![spare_behind(100), spare_behind(9000)];
        let (result, spares) = driver.block_on(file.readv_exact_at(spares, 195_000));
        let error = result.expect_err("the file has 5000 more");
        let end = error.get_ref().and_then(|error| error.downcast_ref::<UnexpectedEnd>());
        assert_eq!(end.map(UnexpectedEnd::read), Some(5000));
        let (result, spares) = driver.block_on(file.readv_exact_at(spares, 7));
        result?;
        let [first, second] = [0, 1].map(|at| &spares[at]);
        assert!(*first.as_ref() == content[195_000..195_100]);
        assert!(*second.as_ref() == [&content[195_100..], &content[7..4107]].concat());
        let (result, _) = driver.block_on(file.readv_at(spares, 7));
        assert_eq!(result.expect_err("no room").kind(), io::ErrorKind::InvalidInput);
    }
    Ok(())
}

/// A collection that has other buffers, and another number of them, each time that it is asked.
struct Unsettled {
    bufs: [Vec<Spare<Vec<u8>>>; 2],
    asked: usize,
}

impl Buffers for Unsettled {
    type Buffer = Spare<Vec<u8>>;
    type Iovecs = IovecVec;

    fn iovecs(&self) -> IovecVec {
        IovecVec::default()
    }
    fn as_buffers(&self) -> &[Spare<Vec<u8>>] {
        &self.bufs[self.asked % 2]
    }
    fn as_buffers_mut(&mut self) -> &mut [Spare<Vec<u8>>] {
        self.asked += 1;
        &mut self.bufs[self.asked % 2]
    }
}

/// Goal: whatever a collection lends, each buffer shows bytes of the file alone. (Under Miri, on a
/// simulated disk, that they were written: `sim/tests/machine/memory.rs`.)
fn a_collection_that_changes_its_mind_shows_what_was_read<D: AnyDriver>() -> io::Result<()> {
    let content = vec![7; 100_000];
    let (_dir, driver, files) = files::<D>(&content)?;
    for (file, offset) in files.iter().flat_map(|file| [(file, 0), (file, 777)]) {
        for (few, many) in [(1, 9), (9, 1), (0, 3), (3, 3)] {
            let bufs = [few, many].map(|count| (0..count).map(|_| spare_behind(4096)).collect());
            let read = file.readv_at(Unsettled { bufs, asked: 0 }, offset);
            let (_, Unsettled { bufs, .. }) = driver.block_on(read);
            for buf in bufs.into_iter().flatten() {
                assert!(buf.as_ref().iter().all(|&byte| byte == 7));
                assert!(buf.into_inner().starts_with(b"ab"));
            }
        }
    }
    Ok(())
}

/// Goal: memory that other threads use meanwhile is read to and written, aligned or not.
fn memory_of_other_threads_is_read_and_written<D: AnyDriver>() -> io::Result<()> {
    let mut content = pattern(300_000);
    let (dir, driver, files) = files::<D>(&content)?;
    for file in files {
        for (offset, len) in RANGES {
            let memory: Arc<[AtomicU8]> = (0..len + 64).map(|_| AtomicU8::new(0)).collect();
            let shared = Shared(Arc::clone(&memory));
            let (result, shared) = driver.block_on(file.read_exact_at(shared, offset as u64));
            result?;
            let read: Vec<u8> = memory.iter().map(|byte| byte.load(Ordering::Relaxed)).collect();
            assert!(read == content[offset..][..len + 64]);
            memory
                .iter()
                .for_each(|byte| byte.store(!byte.load(Ordering::Relaxed), Ordering::Relaxed));
            driver.block_on(file.write_all_at(shared, offset as u64)).0?;
            content[offset..][..len + 64].iter_mut().for_each(|byte| *byte = !*byte);
            assert!(content_of(&dir)? == content, "{len} at {offset}, {}", file.direct());
            // Several of them.
            let halves = [0, 1].map(|half| {
                Shared((0..len).map(|at| AtomicU8::new(at as u8 ^ half)).collect::<Box<[_]>>())
            });
            let (result, halves) = driver.block_on(file.writev_at(halves, offset as u64));
            assert_eq!(result?, 2 * len);
            let (result, halves) = driver.block_on(file.readv_at(halves, offset as u64));
            assert_eq!(result?, 2 * len);
            for (half, Shared(memory)) in (0..).zip(halves) {
                for (at, byte) in memory.iter().enumerate() {
                    assert_eq!(byte.load(Ordering::Relaxed), at as u8 ^ half);
                }
                let written = (0..len).map(|at| at as u8 ^ half);
                let start = offset + usize::from(half) * len;
                content[start..][..len].iter_mut().zip(written).for_each(|(to, byte)| *to = byte);
            }
        }
    }
    Ok(())
}

/// Goal: parts, buffers of a pool and aligned ones are filled where they are, and nothing beside.
fn pooled_parts_and_aligned_buffers_are_filled<D: AnyDriver>() -> io::Result<()> {
    let content = pattern(200_000);
    let (_dir, driver, files) = files::<D>(&content)?;
    let pool = BufferPool::new(2, 8192, 4096)?;
    for file in files {
        for offset in [0, 4096, 777] {
            let buf = pool.try_take().expect("a buffer");
            let (result, buf) = driver.block_on(file.read_exact_at(buf, offset as u64));
            result?;
            assert!(buf[..] == content[offset..][..8192]);
            let (result, buf) = driver.block_on(file.read_exact_at(buf.part(5..4101), 1));
            result?;
            let whole = buf.into_inner();
            assert!(whole[..5] == content[offset..][..5] && whole[5..4101] == content[1..4097]);
            let (result, buf) =
                driver.block_on(file.read_exact_at(AlignedBuf::new(8192)?, offset as u64));
            result?;
            assert!(buf[..] == content[offset..][..8192]);
        }
    }
    assert_eq!(pool.available(), 2);
    Ok(())
}

/// A record whose first bytes are the program's own.
struct Record([u8; 5000]);

impl ReadTo for Record {
    fn lend(&mut self) -> Room<'_> {
        Room::new(&mut self.0).skip(10)
    }
}

impl WriteFrom for Record {
    fn lend_bytes(&self) -> IoSlice<'_> {
        IoSlice::new(&self.0[10..])
    }
}

/// Goal: users' own types are buffers, without a copy of theirs.
fn a_buffer_of_ones_own_is_read_and_written<D: AnyDriver>() -> io::Result<()> {
    let mut content = pattern(200_000);
    let (dir, driver, files) = files::<D>(&content)?;
    for file in files {
        for offset in [0, 8192, 12_345] {
            let (result, mut record) =
                driver.block_on(file.read_exact_at(Record([7; 5000]), offset as u64));
            result?;
            assert!(record.0[..10] == [7; 10] && record.0[10..] == content[offset..][..4990]);
            record.0.iter_mut().for_each(|byte| *byte = byte.wrapping_mul(3));
            content[offset..][..4990].copy_from_slice(&record.0[10..]);
            driver.block_on(file.write_all_at(record, offset as u64)).0?;
            assert!(content_of(&dir)? == content);
        }
    }
    Ok(())
}

/// Lends another part of its memory each time that it is asked.
struct Fickle {
    memory: Vec<u8>,
    asked: Cell<usize>,
}

impl Fickle {
    fn new(seed: usize) -> Self {
        Self { memory: vec![0xa7; 20_000], asked: Cell::new(seed) }
    }

    fn next(&self) -> core::ops::Range<usize> {
        let asked = self.asked.get() + 1;
        self.asked.set(asked);
        match asked % 7 {
            0 => 0..20_000,
            1 => 5000..5000,
            2 => 4097..16_000,
            3 => 1..2,
            4 => 512..9000,
            5 => 19_999..20_000,
            _ => 100..18_000,
        }
    }
}

impl ReadTo for Fickle {
    fn lend(&mut self) -> Room<'_> {
        let part = self.next();
        Room::new(&mut self.memory[part])
    }
}

impl WriteFrom for Fickle {
    fn lend_bytes(&self) -> IoSlice<'_> {
        IoSlice::new(&self.memory[self.next()])
    }
}

/// Lends the memory of a `Spare` from other places than it should.
struct Displaced {
    spare: Spare<Vec<u8>>,
    asked: usize,
}

impl ReadTo for Displaced {
    fn lend(&mut self) -> Room<'_> {
        self.lend_again(0)
    }

    fn lend_again(&mut self, done: usize) -> Room<'_> {
        self.asked += 1;
        let room = self.spare.lend_again([done, 0, 5, usize::MAX][self.asked % 4]);
        let (len, asked) = (room.len(), self.asked);
        let room = if asked % 3 == 0 { room.skip(len.min(asked)) } else { room };
        let len = room.len();
        if asked % 5 == 0 { room.first(len / 2) } else { room }
    }
}

/// Goal: a buffer that lends something else each time is a misfortune of its owner's: no panic of
/// the library's, no byte outside of its memory, and none that was not read is shown.
/// Method: the bytes of a `Spare` are either the file's or were never shown.
fn a_buffer_that_changes_its_mind_moves_no_foreign_byte<D: AnyDriver>() -> io::Result<()> {
    let content = vec![0x5c; 100_000];
    let (dir, driver, files) = files::<D>(&content)?;
    for file in files {
        for seed in 0..40 {
            let offset = [0, 4096, 777][seed % 3];
            let (result, buf) = driver.block_on(file.read_at(Fickle::new(seed), offset));
            assert!(buf.memory.iter().all(|byte| [0xa7, 0x5c].contains(byte)), "{result:?}");
            let bufs = Shared(Vec::<AtomicU8>::new());
            assert!(driver.block_on(file.read_at(bufs, offset)).0.is_err());

            let spare = Spare::with_limit(Vec::with_capacity(20_000), 20_000);
            let displaced = Displaced { spare, asked: seed };
            let (_result, displaced) = driver.block_on(file.read_at(displaced, offset));
            let shown = displaced.spare.into_inner();
            assert!(shown.iter().all(|byte| *byte == 0x5c), "{} bytes", shown.len());

            let _result = driver.block_on(file.write_at(Fickle::new(seed), offset)).0;
            let written = content_of(&dir)?;
            assert!(written.iter().all(|byte| [0xa7, 0x5c].contains(byte)));
            assert_eq!(written.len(), content.len());
            driver.block_on(file.write_all_at(content.clone(), 0)).0?;
        }
    }
    Ok(())
}

/// Goal: `Vec::with_capacity` as a buffer has no length to fill. The error names what has.
fn a_vector_without_a_length_is_refused_with_the_remedy<D: AnyDriver>() -> io::Result<()> {
    let (_dir, driver, files) = files::<D>(b"content")?;
    for file in files {
        let (result, buf) = driver.block_on(file.read_exact_at(Vec::with_capacity(7), 0));
        let error = result.expect_err("there is nothing to fill");
        assert_eq!((error.kind(), buf.capacity()), (io::ErrorKind::InvalidInput, 7));
        assert!(error.to_string().contains("Spare::new(buffer)"), "{error}");
    }
    Ok(())
}
