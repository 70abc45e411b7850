//! [`Access`], what a handle of a file has, and the two ways to do a [`Step`].

use super::FileDriver;
use super::drivers::{FileOperation, Place};
use super::memory::Memory;
use super::open::Open;
use super::sides::{Entered, Side};
use super::step::Step;
use crate::driver::Lane;
use crate::{Errno, IoPrio, RwFlags};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::poll_fn;
use std::io;

/// The way to a file: what a handle of it has.
#[derive(Clone, Debug)]
pub struct Access<D> {
    pub(super) open: Arc<Open>,
    pub(super) driver: D,
    pub(super) rw_flags: RwFlags,
    pub(super) ioprio: IoPrio,
}

/// The end of a step, and the step itself, aimed behind what it has moved.
pub(super) type Stepped<M> = (io::Result<()>, Box<Step<M>>);

impl<D: FileDriver> Access<D> {
    /// Returns whether writes of this handle go to the end of the file.
    pub(super) fn appends(&self) -> bool {
        let flags = self.rw_flags;
        flags.contains(RwFlags::APPEND) || self.open.appends && !flags.contains(RwFlags::NOAPPEND)
    }

    /// Waits until a write of a direct file may be on this side of the page cache.
    pub(super) async fn enter(&self, entered: &mut Option<Entered>, side: Side) {
        if entered.as_ref().is_none_or(|entered| entered.side() != side) {
            *entered = None;
            *entered = Some(self.open.sides.enter(side).await);
        }
    }

    /// Performs an operation, which stays in its box.
    pub(super) async fn perform<O: FileOperation>(
        &self,
        op: Box<O>,
    ) -> (Result<u32, Errno>, Box<O>) {
        let mut performed = self.driver.perform(Place::from_box(op));
        let (result, op) = poll_fn(|cx| D::poll(&mut performed, cx)).await;
        (result, op.into_box())
    }

    /// Makes one operation of the rest of a step, by the driver, and goes on behind it.
    pub(super) async fn one<M: Memory>(&self, step: Box<Step<M>>) -> Stepped<M> {
        let (result, mut step) = self.perform(step).await;
        match result {
            Ok(count) => {
                step.advance(count as usize);
                (Ok(()), step)
            }
            Err(errno) => (Err(step.error(errno)), step),
        }
    }

    /// Does the rest of a step by system calls on a thread of the driver.
    pub(super) async fn on_thread<M: Memory>(&self, step: Box<Step<M>>) -> Stepped<M> {
        let lane = if M::WRITES { Lane::Writes } else { Lane::Reads };
        self.call(lane, step, Step::call_to_end).await
    }

    /// Has a thread of the driver make a call.
    pub(super) async fn call<M: Memory>(
        &self,
        lane: Lane,
        step: Box<Step<M>>,
        call: fn(&mut Step<M>) -> Result<(), Errno>,
    ) -> Stepped<M> {
        let call = move |step: &mut Box<Step<M>>| {
            let result = call(step);
            // Its side is free now, whenever the future is polled next.
            step.entered = None;
            result
        };
        let (result, mut step) = self.driver.threads().call(lane, step, call).await;
        let result = result.and_then(|result| Ok(result?));
        (result.map_err(|failure| failure.describe(|errno| step.error(errno))), step)
    }
}
