//! Whole transfers: what a file does with the bytes of one request.
//!
//! Most requests are one operation of the driver or one copy from the page cache. [`Transfer`] does
//! these alone. What is left goes to a future in a box, which need not be small.

use super::FileDriver;
use super::access::{Access, Stepped};
use super::direct;
use super::drivers::Place;
use super::fair::{self, Turn};
use super::memory::{Memory, Span};
use super::open::DirectState;
use super::sides::Side;
use super::step::{LARGEST, Step};
use super::whole::{self, Moved};
use super::work::Work;
use crate::{Errno, RwFlags};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::{Future, poll_fn};
use core::mem;
use core::pin::Pin;
use core::sync::atomic::Ordering;
use core::task::{Context, Poll};
use std::io;

/// The number of bytes that are copied from the page cache before other tasks run.
const PIECE: usize = 256 << 10;

/// The least cost of a request, in bytes copied. It bounds the requests of a turn: those that
/// are done at once would keep the thread.
const MIN_COST: usize = 512;

/// A request as a future. It gives what `end` makes of the outcome and the memory.
///
/// Most requests are one operation of the driver, which is polled here. What is more is in a box,
/// and need not be small.
#[must_use = "a future does nothing unless it is polled"]
pub(super) struct Transfer<'f, D: FileDriver, M: Memory, E> {
    access: &'f Access<D>,
    stage: Stage<D, M>,
    /// There until the first attempt.
    memory: Option<M>,
    offset: u64,
    turn: Turn,
    end: E,
}

enum Stage<D: FileDriver, M: Memory> {
    /// New, or over.
    Idle,
    /// The driver has the one operation.
    Performed(D::Performed<Step<M>>, Way),
    Rest(D::Boxed<(Moved, M)>),
}

// Nothing is pinned: the memory is moved to a place of its own before it is lent.
impl<D: FileDriver, M: Memory, E> Unpin for Transfer<'_, D, M, E> {}

impl<D: FileDriver, M: Memory, T, E: Fn(Moved, M) -> T> Future for Transfer<'_, D, M, E> {
    type Output = T;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        if let Stage::Idle = this.stage {
            return this.begin(cx);
        }
        if let Stage::Performed(..) = this.stage {
            return this.poll_performed(cx);
        }
        this.poll_rest(cx)
    }
}

impl<D: FileDriver, M: Memory, T, E: Fn(Moved, M) -> T> Transfer<'_, D, M, E> {
    /// Checks a request, and does what can be done at once.
    #[inline(always)]
    fn begin(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        if self.turn.poll(&self.access.driver, cx).is_pending() {
            return Poll::Pending;
        }
        let Some(mut memory) = self.memory.take() else { polled_after_end() };
        let (access, offset, len) = (self.access, self.offset, memory.len());
        let is_direct =
            matches!(access.open.state, DirectState::Stream | DirectState::Direct { .. });
        if !is_direct || is_refused::<M>(len, offset) {
            return self.begin_slowly(memory, len, cx);
        }
        // In its place first, where memory that is in the value itself gets its address.
        let mut step = D::Place::hold(|| access.step(memory, len, offset));
        let way = access.way(step.op_mut());
        if let Way::Around = way {
            return self.go_on(step.into_box(), way, cx);
        }
        let performed = access.driver.perform(step);
        // To assign would also look for what to drop, which is nothing.
        let idle = mem::replace(&mut self.stage, Stage::Performed(performed, way));
        debug_assert!(matches!(idle, Stage::Idle));
        mem::forget(idle);
        let polled = self.poll_performed(cx);
        if polled.is_ready() {
            // If it does not complete at once, the task gives way to others anyhow.
            fair::copied(MIN_COST);
        }
        polled
    }

    /// Polls the one operation, and goes on behind it.
    #[inline(always)]
    fn poll_performed(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        let Stage::Performed(performed, way) = &mut self.stage else { polled_after_end() };
        let way = *way;
        match D::poll(performed, cx) {
            Poll::Ready((result, step)) => self.after(step, way, result, cx),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Does the same for what is refused, or is done in the page cache.
    #[cold]
    fn begin_slowly(&mut self, memory: M, len: usize, cx: &mut Context<'_>) -> Poll<T> {
        match self.access.begin(memory, len, self.offset) {
            Begun::Ended(moved, memory) => Poll::Ready((self.end)(moved, memory)),
            Begun::Step(step, way) => self.go_on(step, way, cx),
        }
    }

    /// Ends the request after its first operation, or goes on.
    #[inline(always)]
    fn after(
        &mut self,
        mut step: D::Place<Step<M>>,
        way: Way,
        result: Result<u32, Errno>,
        cx: &mut Context<'_>,
    ) -> Poll<T> {
        let Some(moved) = self.access.is_over(step.op_mut(), way, result) else {
            return self.go_on(step.into_box(), way, cx);
        };
        if let Stage::Performed(performed, _) = mem::replace(&mut self.stage, Stage::Idle) {
            drop(performed);
        }
        Poll::Ready((self.end)(moved, step.take(|step| step.into_memory())))
    }

    #[cold]
    fn go_on(&mut self, step: Box<Step<M>>, way: Way, cx: &mut Context<'_>) -> Poll<T> {
        self.stage = Stage::Rest(D::go_on(self.access.clone(), step, way));
        self.poll_rest(cx)
    }

    #[cold]
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        let Stage::Rest(rest) = &mut self.stage else { polled_after_end() };
        let Poll::Ready((moved, memory)) = Pin::new(rest).poll(cx) else { return Poll::Pending };
        self.stage = Stage::Idle;
        Poll::Ready((self.end)(moved, memory))
    }
}

#[cold]
fn polled_after_end() -> ! {
    panic!("a request's future was polled after its end")
}

/// Describes what is left of a transfer after the first attempt.
enum Begun<M> {
    Ended(Moved, M),
    /// To be done by the driver or a thread.
    Step(Box<Step<M>>, Way),
}

/// Lists what a request asks of its driver after the first attempt. Nobody else can implement it.
pub trait GoesOn: Work {
    /// Moves what the first attempt has left.
    fn go_on<M: Memory>(
        access: Access<Self>,
        step: Box<Step<M>>,
        way: Way,
    ) -> Self::Boxed<(Moved, M)>;
}

/// The way in which a transfer is done.
#[derive(Clone, Copy)]
pub enum Way {
    /// By one operation as it is, whatever it moves.
    Single,
    /// With `O_DIRECT`, by one operation if that moves everything.
    Straight,
    /// With `O_DIRECT`, and more.
    Around,
    /// Through the page cache, after an attempt there that found it so.
    Through(Found),
}

/// Says what an attempt to read from the page cache has found.
#[derive(Clone, Copy)]
pub enum Found {
    /// All bytes, or the end of the file.
    Everything,
    /// Some bytes.
    Some,
    /// Bytes that are not there, so that a thread has to wait for the disk.
    Missing,
    /// No reads of this kind.
    Refused,
}

impl<D: FileDriver> Access<D> {
    /// Moves all bytes of `memory`, up to the end of the file or an error.
    #[inline(always)]
    pub(super) fn transfer<M: Memory, T, E: Fn(Moved, M) -> T>(
        &self,
        memory: M,
        offset: u64,
        end: E,
    ) -> Transfer<'_, D, M, E> {
        let (stage, memory) = (Stage::Idle, Some(memory));
        Transfer { access: self, stage, memory, offset, turn: Turn::default(), end }
    }

    /// Makes the step that moves all `len` bytes of `memory`.
    #[inline(always)]
    pub(super) fn step<M: Memory>(&self, memory: M, len: usize, offset: u64) -> Step<M> {
        Step {
            open: Arc::clone(&self.open),
            direct: true,
            span: Span { skip: 0, len },
            memory,
            offset,
            rw_flags: self.rw_flags,
            ioprio: self.ioprio,
            entered: None,
        }
    }

    /// Checks a request, and does it if it is in the page cache.
    fn begin<M: Memory>(&self, memory: M, len: usize, offset: u64) -> Begun<M> {
        let mut step = self.step(memory, len, offset);
        let refusal = match (check_range(offset, len as u64), self.driver.threads().check_open()) {
            _ if len == 0 && !M::WRITES => Some(whole::no_room()),
            (Ok(()), Ok(())) => None,
            (Err(error), _) => Some(error),
            (Ok(()), Err(errno)) => Some(step.error(errno)),
        };
        if refusal.is_some() {
            return Begun::Ended(Moved { done: 0, len, error: refusal }, step.memory);
        }
        let without_waiting = self.rw_flags.contains(RwFlags::NOWAIT);
        if (M::WRITES || D::IN_PLACE) && !without_waiting {
            return Begun::Step(Box::new(step), Way::Through(Found::Missing));
        }
        match self.try_page_cache(&mut step) {
            Ok(Found::Everything) => {
                fair::copied(MIN_COST);
                Begun::Ended(Moved { done: step.span.skip, len, error: None }, step.memory)
            }
            Ok(found) => Begun::Step(Box::new(step), Way::Through(found)),
            Err(error) => {
                let moved = Moved { done: step.span.skip, len, error: Some(error) };
                Begun::Ended(moved, step.memory)
            }
        }
    }

    /// Chooses the way of a request that goes to the driver.
    #[inline]
    fn way<M: Memory>(&self, step: &mut Step<M>) -> Way {
        let DirectState::Direct { alignment, .. } = self.open.state else { return Way::Single };
        let as_it_is = self.rw_flags.intersects(RwFlags::ATOMIC.union(RwFlags::NOWAIT));
        if !as_it_is {
            let (address, len) = (alignment.memory as usize, step.span.len);
            let (unit, block) = match M::WRITES {
                true => (self.open.direct_unit(), alignment.offset as usize),
                false => (u64::from(alignment.read_offset), alignment.read_offset as usize),
            };
            let is_straight = (1..=LARGEST).contains(&len)
                && step.offset % unit == 0
                && len as u64 % unit == 0
                && !(M::WRITES && self.appends())
                && step.memory.is_straight(0, 0, address, block);
            if !is_straight {
                return Way::Around;
            }
        }
        if M::WRITES {
            // If it has to wait for its side, it is not so urgent any more.
            step.entered = self.open.sides.try_enter(Side::Around);
            if step.entered.is_none() {
                return Way::Around;
            }
        }
        if as_it_is { Way::Single } else { Way::Straight }
    }

    /// Takes the result of the first operation. Returns `None` if more is to be done.
    #[inline]
    fn is_over<M: Memory>(
        &self,
        step: &mut Step<M>,
        way: Way,
        result: Result<u32, Errno>,
    ) -> Option<Moved> {
        let len = step.span.len;
        match result {
            Ok(count) if count as usize == len => {
                return Some(Moved { done: len, len, error: None });
            }
            Ok(count) => step.advance(count as usize),
            // It may have asked for blocks behind the end of the file.
            Err(Errno::EIO) if !M::WRITES && matches!(way, Way::Straight) => return None,
            Err(errno) => return Some(Moved { done: 0, len, error: Some(step.error(errno)) }),
        }
        let done = step.span.skip;
        let is_over = step.span.len == 0
            || match (way, self.open.state) {
                (Way::Single, _) => true,
                (_, DirectState::Direct { alignment, .. }) if !M::WRITES => {
                    direct::ends(done, u64::from(alignment.read_offset))
                        && (done == 0 || self.open.second.is_none() || self.is_at_end(step))
                }
                _ => false,
            };
        is_over.then_some(Moved { done, len, error: None })
    }

    /// Moves what the first attempt has left.
    pub(super) async fn go_on<M: Memory>(&self, mut step: Box<Step<M>>, way: Way) -> (Moved, M) {
        let without_waiting = self.rw_flags.intersects(RwFlags::ATOMIC.union(RwFlags::NOWAIT));
        let len = step.span.skip + step.span.len;
        let (result, step) = match (self.open.state, way) {
            (_, Way::Through(found)) => self.by_page_cache(step, found).await,
            (DirectState::Direct { .. }, _) if M::WRITES && without_waiting => {
                self.enter(&mut step.entered, Side::Around).await;
                self.one(step).await
            }
            (DirectState::Direct { .. }, _) if M::WRITES && self.appends() => {
                step.direct = self.open.second.is_none();
                let side = if step.direct { Side::Around } else { Side::Through };
                self.enter(&mut step.entered, side).await;
                if step.direct { self.one(step).await } else { self.on_thread(step).await }
            }
            (DirectState::Direct { alignment, .. }, _) if M::WRITES => {
                direct::write(self, step, alignment).await
            }
            (DirectState::Direct { alignment, .. }, _) => direct::read(self, step, alignment).await,
            _ => self.one(step).await,
        };
        fair::copied(MIN_COST);
        (Moved { done: step.span.skip, len, error: result.err() }, step.into_memory())
    }

    /// Does a step by system calls that do not wait, here. What would wait goes to a thread, unless
    /// the handle would rather have the error.
    async fn by_page_cache<M: Memory>(&self, mut step: Box<Step<M>>, found: Found) -> Stepped<M> {
        let mut found = found;
        while let Found::Some = found {
            let mut turn = Turn::default();
            poll_fn(|cx| turn.poll(&self.driver, cx)).await;
            found = match self.try_page_cache(&mut step) {
                Ok(found) => found,
                Err(error) => return (Err(error), step),
            };
        }
        if let Found::Everything = found {
            return (Ok(()), step);
        }
        let (result, step) = self.on_thread(step).await;
        // Otherwise it was not NOWAIT that is not supported, but a flag of the handle.
        if let (Found::Refused, Ok(())) = (found, &result) {
            self.open.nowait_refused.store(true, Ordering::Relaxed);
        }
        (result, step)
    }

    /// Makes one attempt to do a step from the page cache.
    fn try_page_cache<M: Memory>(&self, step: &mut Step<M>) -> io::Result<Found> {
        let own = step.rw_flags.contains(RwFlags::NOWAIT);
        if step.span.len == 0 {
            return Ok(Found::Everything);
        }
        if !own && self.open.nowait_refused.load(Ordering::Relaxed) {
            return Ok(Found::Missing);
        }
        match step.call(RwFlags::NOWAIT, PIECE) {
            // Some kernels and file systems say so in the middle of a file, too.
            Ok(0) if own || self.is_at_end(step) => Ok(Found::Everything),
            Ok(0) | Err(Errno::EAGAIN) if !own => Ok(Found::Missing),
            Ok(count) => {
                fair::copied(count);
                Ok(if step.span.len == 0 { Found::Everything } else { Found::Some })
            }
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) if !own => Ok(Found::Refused),
            Err(Errno::EAGAIN) if step.span.skip > 0 => Ok(Found::Everything),
            Err(errno) => Err(step.error(errno)),
        }
    }

    pub(super) fn is_at_end<M>(&self, step: &Step<M>) -> bool {
        !self.open.is_block_device
            && self.open.main.metadata().is_ok_and(|metadata| step.offset >= metadata.len())
    }
}

/// Returns whether a request is refused at once.
#[inline(always)]
fn is_refused<M: Memory>(len: usize, offset: u64) -> bool {
    let fits = offset.checked_add(len as u64).is_some_and(|end| i64::try_from(end).is_ok());
    !fits || len == 0 && !M::WRITES
}

/// Refuses a range that ends behind the largest offset that a file can have.
#[inline]
pub(super) fn check_range(offset: u64, len: u64) -> io::Result<()> {
    match offset.checked_add(len) {
        Some(end) if i64::try_from(end).is_ok() => Ok(()),
        _ => Err(no_such_range(offset, len)),
    }
}

#[cold]
fn no_such_range(offset: u64, len: u64) -> io::Error {
    let text = alloc::format!("{len} bytes at offset {offset} end behind the largest offset");
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
