//! Random tasks on one file.

use crate::buffers::{Counted, Counts};
use crate::drivers::Drives;
use crate::futures::{Fate, Held, dropped, panicking_waker, poll};
use crate::model::{Byte, End, Model};
use crate::{AREA, STEPS};
use linux_aio::op::{Fdsync, Read, Write};
use linux_aio::{BufferPool, Direct, File, RangesOptions, ReaderOptions, Spare, WriterOptions};
use linux_aio_sim::Sim;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::mem;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

pub(crate) struct World<D: Drives> {
    pub(crate) sim: Sim,
    pub(crate) driver: D,
    pub(crate) file: File<D>,
    /// The same file for operations.
    pub(crate) plain: Arc<OwnedFd>,
    pub(crate) pool: BufferPool,
    pub(crate) counts: Arc<Counts>,
    pub(crate) held: RefCell<Vec<Held>>,
    pub(crate) forgets: bool,
    /// The disk reports errors.
    pub(crate) fails: bool,
    /// A file cannot be opened a second time.
    pub(crate) has_one_descriptor: bool,
    /// The number of files that were made beside it.
    pub(crate) logs: Cell<u64>,
    /// The models of the tasks that have ended.
    pub(crate) done: RefCell<Vec<Model>>,
}

impl<D: Drives> World<D> {
    fn one_in(&self, count: u64) -> bool {
        self.sim.below(count) == 0
    }

    fn buffer(&self, len: u64, value: u8) -> Counted {
        self.counts.made.fetch_add(1, Ordering::Relaxed);
        let patience = if self.one_in(20) { self.sim.below(6) } else { u64::MAX };
        let bytes = vec![value; len as usize];
        Counted { bytes, patience: AtomicU64::new(patience), counts: Arc::clone(&self.counts) }
    }

    fn fate(&self) -> Fate {
        match self.sim.below(16) {
            0..=2 => Fate::Dropped,
            3 if self.forgets => Fate::Forgotten,
            4 => Fate::Held,
            5 | 6 => Fate::Woken(self.sim.below(3)),
            _ => Fate::Awaited,
        }
    }

    /// Has a fate befall a future that has so many buffers. `None` unless it gave its output.
    async fn fated<F>(&self, buffers: u64, future: F) -> Option<F::Output>
    where
        F: Future + 'static,
    {
        let (fate, mut polls) = (self.fate(), self.sim.below(4));
        let mut future = Some(Box::pin(future));
        poll_fn(|cx| {
            let polled = future.as_mut().expect("it is there until the end");
            if let (Fate::Woken(which), 0) = (fate, polls) {
                let waker = panicking_waker(which);
                let woken = poll(polled, &mut Context::from_waker(&waker));
                let _ = catch_unwind(AssertUnwindSafe(|| drop(waker)));
                match woken {
                    Ok(Poll::Ready(output)) => return Poll::Ready(Some(output)),
                    Ok(Poll::Pending) => {}
                    Err(()) => {
                        dropped(future.take());
                        return Poll::Ready(None);
                    }
                }
            }
            match poll(polled, cx) {
                Ok(Poll::Ready(output)) => return Poll::Ready(Some(output)),
                Err(()) => {
                    dropped(future.take());
                    return Poll::Ready(None);
                }
                Ok(Poll::Pending) if polls > 0 => polls -= 1,
                Ok(Poll::Pending) => match (fate, future.take()) {
                    (Fate::Dropped, future) => {
                        dropped(future);
                        return Poll::Ready(None);
                    }
                    (Fate::Forgotten, future) => {
                        mem::forget(future);
                        self.counts.forgotten.fetch_add(buffers, Ordering::Relaxed);
                        return Poll::Ready(None);
                    }
                    (Fate::Held, Some(future)) => {
                        self.held.borrow_mut().push(Box::pin(async { drop(future.await) }));
                        return Poll::Ready(None);
                    }
                    (_, there) => future = there,
                },
            }
            Poll::Pending
        })
        .await
    }

    /// Polls what lies about, and drops some of it.
    async fn poll_held(&self) {
        let mut held = mem::take(&mut *self.held.borrow_mut());
        poll_fn(|cx| {
            held.retain_mut(|future| matches!(poll(future, cx), Ok(Poll::Pending)));
            Poll::Ready(())
        })
        .await;
        if self.one_in(2) {
            dropped(held.pop());
        }
        self.held.borrow_mut().append(&mut held);
    }

    /// Checks an error: a disk that reports none gives none.
    #[track_caller]
    fn allow(&self, error: impl std::fmt::Display) {
        assert!(self.fails, "{error}");
    }

    #[track_caller]
    fn end<T>(&self, outcome: Option<std::io::Result<T>>) -> End {
        match outcome {
            Some(Ok(_)) => End::Done,
            Some(Err(error)) => {
                self.allow(error);
                End::Failed
            }
            None => End::Left,
        }
    }

    /// A range of an area.
    fn range(&self, model: &Model, most: u64) -> (u64, u64) {
        let (at, len) = (self.sim.below(AREA), 1 + self.sim.below(most));
        (model.base + at, len.min(AREA - at))
    }

    // ---- what tasks do ----

    async fn write(&self, model: &mut Model) {
        let ((at, len), value) = (self.range(model, 9000), self.sim.below(64) as u8);
        let (file, buf) = (self.file.clone(), self.buffer(len, value));
        let time = Duration::from_micros(self.sim.below(3000));
        let outcome = match self.sim.below(4) {
            0 => self.fated(1, async move { file.write_all_at(buf, at).await.0 }).await,
            1 => {
                let first = len.min(self.sim.below(5000));
                let bufs = [self.buffer(first, value), self.buffer(len - first, value)];
                self.fated(3, async move { file.writev_all_at(bufs, at).await.0 }).await
            }
            2 => {
                let file = file.with_deadline(time);
                let write = async move { file.write_all_at(buf, at).await };
                self.fated(1, write).await.and_then(|in_time| in_time.ok().map(|outcome| outcome.0))
            }
            _ => self.fated(1, async move { file.write_all_at(buf, at).await.0 }).await,
        };
        let end = self.end(outcome);
        model.wrote(at, len, value, end);
    }

    async fn read(&self, model: &Model) {
        let ((at, len), file) = (self.range(model, 9000), self.file.clone());
        let buf = self.buffer(len, 0);
        match self.sim.below(4) {
            0 => {
                let read = async move { file.read_exact_at(buf, at).await };
                if let Some((result, buf)) = self.fated(1, read).await {
                    self.check(model, at, result.map(|()| len), &buf.bytes);
                }
            }
            1 => {
                drop(buf);
                let spare = Spare::new(Vec::with_capacity(len as usize));
                let read = async move { file.read_exact_at(spare, at).await };
                if let Some((result, spare)) = self.fated(0, read).await {
                    self.check(model, at, result.map(|()| len), spare.as_ref());
                }
            }
            2 => {
                let first = len.min(self.sim.below(5000));
                let bufs = [self.buffer(first, 0), self.buffer(len - first, 0)];
                let read = async move { file.readv_exact_at(bufs, at).await };
                if let Some((result, bufs)) = self.fated(2, read).await {
                    let bytes = [&bufs[0].bytes[..], &bufs[1].bytes].concat();
                    self.check(model, at, result.map(|()| len), &bytes);
                }
            }
            _ => {
                let Some(pooled) = self.pool.try_take() else { return };
                let len = len.min(pooled.len() as u64);
                let part = linux_aio::Part::new(pooled, ..len as usize);
                let read = async move { file.read_at(part, at).await };
                if let Some((result, part)) = self.fated(0, read).await {
                    self.check(model, at, result.map(|count| count as u64), part.as_ref());
                }
            }
        }
    }

    #[track_caller]
    fn check(&self, model: &Model, at: u64, result: std::io::Result<u64>, bytes: &[u8]) {
        match result {
            Ok(count) => model.check(at, &bytes[..count as usize]),
            Err(error) => self.allow(error),
        }
    }

    async fn perform(&self, model: &mut Model) {
        let ((at, len), value) = (self.range(model, 3000), self.sim.below(64) as u8);
        let time = self.one_in(3).then(|| Duration::from_micros(self.sim.below(2000)));
        let (buf, plain) = (self.buffer(len, value), Arc::clone(&self.plain));
        match self.sim.below(5) {
            0 | 1 => {
                let write = self.driver.start(Write::new(plain, buf, at), time);
                match self.fated(1, write).await.flatten() {
                    Some((Ok(count), _)) => model.wrote(at, count.into(), value, End::Done),
                    Some((Err(errno), _)) => {
                        self.allow(errno);
                        model.wrote(at, len, value, End::Failed);
                    }
                    None => model.wrote(at, len, value, End::Left),
                }
            }
            2 | 3 => {
                let read = self.driver.start(Read::new(plain, buf, at), time);
                if let Some((result, read)) = self.fated(1, read).await.flatten() {
                    let result = result.map(u64::from).map_err(Into::into);
                    self.check(model, at, result, &read.buf.bytes);
                }
            }
            _ => {
                let sync = self.driver.start(Fdsync::new(plain), time);
                if let Some((Err(errno), _)) = self.fated(0, sync).await.flatten() {
                    self.allow(errno);
                }
            }
        }
    }

    async fn stream(&self, model: &Model) {
        let options = ReaderOptions::new().chunk_len(4096).depth(1 + self.sim.below(3) as usize);
        let range = model.base..model.base + AREA;
        let mut reader = self.file.reader_with(range, options);
        for _ in 0..self.sim.below(8) {
            if self.one_in(3) {
                reader.set_position(self.sim.below(AREA));
            }
            let reader_and_chunk = async move {
                let chunk = reader.next_chunk().await;
                (reader, chunk)
            };
            let Some((back, chunk)) = self.fated(0, reader_and_chunk).await else { return };
            reader = back;
            match chunk {
                Ok(Some(chunk)) => model.check(chunk.offset(), &chunk),
                Ok(None) => assert_eq!(reader.position(), AREA),
                Err(error) => self.allow(error),
            }
        }
    }

    async fn ranges(&self, model: &Model) {
        let ranges: Vec<_> = (0..self.sim.below(12))
            .map(|_| {
                let (at, len) = self.range(model, 3000);
                at..at + len
            })
            .collect();
        let options = RangesOptions::new().depth(1 + self.sim.below(3) as usize);
        let options = options.coalesce(self.sim.below(2000), 1 + self.sim.below(8000));
        let options = options.memory_limit(3000 + self.sim.below(6000));
        let wanted = ranges.clone();
        let mut reads = self.file.read_ranges_with(ranges, options).expect("ranges of the file");
        for range in wanted {
            let next = async move {
                let bytes = reads.next_range().await;
                (reads, bytes)
            };
            let Some((back, bytes)) = self.fated(0, next).await else { return };
            reads = back;
            match bytes {
                Ok(bytes) => {
                    let bytes = bytes.expect("a range is left");
                    assert_eq!(
                        (bytes.range(), bytes.len() as u64),
                        (range.clone(), range.end - range.start)
                    );
                    model.check(range.start, &bytes);
                }
                Err(error) => self.allow(error),
            }
        }
    }

    /// A file of its own, by a writer. It has what was given, if everything went well.
    async fn log(&self) {
        self.logs.set(self.logs.get() + 1);
        let name = format!("log{}", self.logs.get());
        let options = File::options().create(true).write(true).read(true);
        // Without a second descriptor a direct file does not grow by less than a block.
        let is_direct = self.one_in(2) && !self.has_one_descriptor;
        let options = options.direct(if is_direct { Direct::Prefer } else { Direct::Never });
        let file = match options.open(&self.driver, self.sim.path(&name)).await {
            Ok(file) => file,
            Err(error) => return self.allow(error),
        };
        let options = WriterOptions::new().chunk_len(4096).depth(1 + self.sim.below(3) as usize);
        let mut writer = file.writer_with(0, options.allocation_step(self.sim.below(20_000)));
        let mut given: Vec<u8> = Vec::new();
        let mut is_whole = true;
        for _ in 0..self.sim.below(6) {
            let bytes = vec![self.sim.below(64) as u8; self.sim.below(9000) as usize];
            let before = given.clone();
            given.extend(&bytes);
            let flushes = self.one_in(3);
            let write = async move {
                let mut result = writer.write_all(&bytes).await;
                if flushes && result.is_ok() {
                    result = writer.flush().await;
                }
                (writer, result)
            };
            let Some((back, result)) = self.fated(0, write).await else { return };
            writer = back;
            match result {
                Ok(()) => assert_eq!(writer.position(), given.len() as u64),
                Err(error) => {
                    self.allow(error);
                    (given, is_whole) = (before, false);
                }
            }
        }
        let finish = async move { writer.finish().await };
        match self.fated(0, finish).await {
            Some(Ok(())) => {
                assert!(is_whole, "an error is forgotten");
                assert!(self.sim.read(&name).is_some_and(|found| found == given), "{name}");
            }
            Some(Err(error)) => self.allow(error),
            None => {}
        }
    }

    pub(crate) async fn task(self: Rc<Self>, number: u64) {
        let zeros = vec![Byte { now: 1, late: 0 }; AREA as usize];
        let mut model = Model { base: number * AREA, bytes: zeros };
        for _ in 0..STEPS {
            match self.sim.below(16) {
                0..=4 => self.write(&mut model).await,
                5..=7 => self.read(&model).await,
                8..=10 => self.perform(&mut model).await,
                11 => self.stream(&model).await,
                12 => self.ranges(&model).await,
                13 => self.log().await,
                14 => self.poll_held().await,
                _ => self.driver.look(self.one_in(2)),
            }
        }
        self.done.borrow_mut().push(model);
    }
}
