//! [`Pipe`], the content of a pipe by its pages, as `fs/pipe.c` keeps it (of Linux 6.18: older
//! kernels may leave an empty page behind a write that faults).

use super::{Results, Transfer};
use libc::{EAGAIN, EFAULT, EPIPE};
use std::collections::VecDeque;

/// A pipe whose ends do not block.
#[derive(Clone, Debug)]
pub struct Pipe {
    /// First byte and length of what each page holds.
    pages: VecDeque<(usize, usize)>,
    /// How many pages there can be.
    room: usize,
    page: usize,
    has_reader: bool,
    has_writer: bool,
}

impl Pipe {
    /// An empty pipe with both ends.
    pub fn new(capacity: usize, page: usize) -> Self {
        let room = capacity / page;
        Self { pages: VecDeque::new(), room, page, has_reader: true, has_writer: true }
    }

    /// The reading end has been closed.
    #[must_use]
    pub fn without_reader(self) -> Self {
        Self { has_reader: false, ..self }
    }

    /// The writing end has been closed.
    #[must_use]
    pub fn without_writer(self) -> Self {
        Self { has_writer: false, ..self }
    }

    /// It has been filled with whole pages.
    #[must_use]
    pub fn full(mut self) -> Self {
        self.pages.extend(std::iter::repeat_n((0, self.page), self.room));
        self
    }

    /// Somebody has read everything.
    pub fn drain(&mut self) {
        self.pages.clear();
    }

    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// Whether every page is in use.
    pub fn is_full(&self) -> bool {
        self.pages.len() >= self.room
    }

    /// What `poll` says of the reading end.
    pub fn poll_reader(&self) -> u32 {
        let data = if self.is_empty() { 0 } else { libc::POLLIN | libc::POLLRDNORM };
        let gone = if self.has_writer { 0 } else { libc::POLLHUP };
        (data | gone) as u32
    }

    /// What `poll` says of the writing end.
    pub fn poll_writer(&self) -> u32 {
        let room = if self.is_full() { 0 } else { libc::POLLOUT | libc::POLLWRNORM };
        let gone = if self.has_reader { 0 } else { libc::POLLERR };
        (room | gone) as u32
    }

    /// What a read gives, and takes out.
    pub fn read(&mut self, to: &Transfer) -> Results {
        if to.total == 0 {
            return Results::exactly(0);
        }
        let mut done = 0;
        while let Some(&(start, len)) = self.pages.front() {
            let count = len.min(to.total - done);
            if to.reachable(done, count) < count {
                return if done > 0 {
                    Results::exactly(done as i64)
                } else {
                    Results::error(EFAULT)
                };
            }
            done += count;
            self.pages.pop_front();
            if count < len {
                self.pages.push_front((start + count, len - count));
            }
            if done == to.total {
                break;
            }
        }
        match done {
            0 if self.has_writer => Results::error(EAGAIN),
            done => Results::exactly(done as i64),
        }
    }

    /// What a write gives, and puts in.
    pub fn write(&mut self, from: &Transfer) -> Results {
        if from.total == 0 {
            return Results::exactly(0);
        }
        if !self.has_reader {
            return Results::error(EPIPE);
        }
        let mut done = 0;
        let odd = from.total % self.page;
        if let Some((start, len)) = self.pages.back_mut().filter(|_| odd > 0) {
            if *start + *len + odd <= self.page {
                if from.reachable(0, odd) < odd {
                    return Results::error(EFAULT);
                }
                *len += odd;
                done = odd;
            }
        }
        while done < from.total {
            let count = self.page.min(from.total - done);
            let failure = if self.is_full() {
                EAGAIN
            } else if from.reachable(done, count) < count {
                EFAULT
            } else {
                self.pages.push_back((0, count));
                done += count;
                continue;
            };
            return if done > 0 { Results::exactly(done as i64) } else { Results::error(failure) };
        }
        Results::exactly(done as i64)
    }
}
