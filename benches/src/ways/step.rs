//! Makes the operations of a scope or queue for a load.

use crate::load::{Action, Step};
use linux_aio::fd::AsFd;
use linux_aio::op::{Read, Write};
use linux_aio::{Operation, Prepared};

/// An operation that can be made from a step of a load, and changed to the next.
pub trait StepOperation: Operation {
    /// The file.
    type File;
    /// The buffer.
    type Buf;
    /// Makes an operation.
    fn new(file: Self::File, buf: Self::Buf, step: Step) -> Self;
    /// Makes another one with the same buffer, and the same file where no other is named.
    fn change(&mut self, file: Option<Self::File>, step: Step);
    /// Returns the operation.
    fn action(&self) -> Action;
    /// Returns the buffer, at the end.
    fn into_buf(self) -> Self::Buf;
}

macro_rules! of_one_action {
    ($action:ident, $bytes:ident) => {
        impl<F: AsFd, B: $bytes<[u8]>> StepOperation for $action<F, B> {
            type File = F;
            type Buf = B;

            #[inline]
            fn new(file: F, buf: B, step: Step) -> Self {
                Self::new(file, buf, step.offset())
            }

            #[inline]
            fn change(&mut self, file: Option<F>, step: Step) {
                if let Some(file) = file {
                    self.fd = file;
                }
                self.offset = step.offset();
            }

            #[inline]
            fn action(&self) -> Action {
                Action::$action
            }

            fn into_buf(self) -> B {
                self.buf
            }
        }
    };
}
of_one_action!(Read, AsMut);
of_one_action!(Write, AsRef);

/// Different actions in one queue, with one buffer.
#[derive(Debug)]
pub struct Varied<F, B> {
    file: F,
    buf: B,
    step: Step,
}

impl<F: AsFd, B: AsMut<[u8]>> Operation for Varied<F, B> {
    #[inline]
    fn prepare(&mut self) -> Prepared<'_> {
        let file = self.file.as_fd().into();
        match self.step.action() {
            Action::Read => Prepared::read(file, self.buf.as_mut(), self.step.offset()),
            Action::Write => Prepared::write(file, self.buf.as_mut(), self.step.offset()),
            Action::Sync => Prepared::fdsync(file),
        }
    }
}

impl<F: AsFd, B: AsMut<[u8]>> StepOperation for Varied<F, B> {
    type File = F;
    type Buf = B;

    #[inline]
    fn new(file: F, buf: B, step: Step) -> Self {
        Self { file, buf, step }
    }

    #[inline]
    fn change(&mut self, file: Option<F>, step: Step) {
        if let Some(file) = file {
            self.file = file;
        }
        self.step = step;
    }

    #[inline]
    fn action(&self) -> Action {
        self.step.action()
    }

    fn into_buf(self) -> B {
        self.buf
    }
}
