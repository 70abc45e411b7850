//! [`Layer`], a scope or a queue, and [`Run`], the steps of an input on either.

use super::operation::{Ledger, Op};
use super::{Counts, Filters, Kernel, judge, report};
use crate::divergence::{Verdict, ensure};
use crate::input::Source;
use linux_aio::{Completion, Errno, Fd, PushError, Queue, Scope, Stats, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::time::Duration;

type Waited<B> = Result<Option<Completion<Op<B>>>, Errno>;

/// What a [`Scope`] and a [`Queue`] have in common.
pub(super) trait Layer<B> {
    fn push(&mut self, op: Op<B>) -> Result<Token, PushError<Op<B>>>;
    fn submit(&mut self) -> Result<usize, Errno>;
    fn try_next(&mut self) -> Waited<B>;
    fn wait(&mut self) -> Waited<B>;
    fn wait_timeout(&mut self) -> Waited<B>;
    fn cancel(&mut self, token: Token) -> Result<(), Errno>;
    fn completion_fd(&self) -> Result<Fd<'_>, Errno>;
    fn queued(&self) -> usize;
    fn in_flight(&self) -> usize;
    fn capacity(&self) -> usize;
    fn stats(&self) -> Stats;
    /// How many can be queued; a full list is submitted by push.
    const QUEUED: usize;
}

/// A timeout that never comes: it is the simulated kernel that says when time is up.
const A_WHILE: Duration = Duration::from_secs(1);

macro_rules! layer {
    ($type:ty, $queued:expr, [$($generics:tt)*]) => {
        impl<$($generics)*> Layer<B> for $type {
            fn push(&mut self, op: Op<B>) -> Result<Token, PushError<Op<B>>> {
                (**self).push(op)
            }
            fn submit(&mut self) -> Result<usize, Errno> {
                (**self).submit().map_err(Errno::from)
            }
            fn try_next(&mut self) -> Waited<B> {
                (**self).try_next().map_err(Errno::from)
            }
            fn wait(&mut self) -> Waited<B> {
                (**self).wait().map_err(Errno::from)
            }
            fn wait_timeout(&mut self) -> Waited<B> {
                (**self).wait_timeout(A_WHILE).map_err(Errno::from)
            }
            fn cancel(&mut self, token: Token) -> Result<(), Errno> {
                (**self).cancel(token)
            }
            fn completion_fd(&self) -> Result<Fd<'_>, Errno> {
                (**self).completion_fd()
            }
            fn queued(&self) -> usize {
                (**self).queued()
            }
            fn in_flight(&self) -> usize {
                (**self).in_flight()
            }
            fn capacity(&self) -> usize {
                (**self).capacity()
            }
            fn stats(&self) -> Stats {
                (**self).stats()
            }
            const QUEUED: usize = $queued;
        }
    };
}

layer!(&mut Queue<Op<B>>, usize::MAX, [B: AsRef<[u8]> + AsMut<[u8]> + 'static]);
layer!(&Scope<Op<B>>, 64, [B: AsRef<[u8]> + AsMut<[u8]>]);

/// Where the buffers of a run come from, and where they go.
pub(super) trait Pool<B> {
    fn take(&mut self, source: &mut Source<'_>) -> Option<B>;
    fn give_back(&mut self, buffers: Vec<B>);
}

/// The steps of an input on one scope or queue.
pub(super) struct Run<'a> {
    pub(super) kernel: &'a Kernel,
    pub(super) ledger: &'a mut Ledger,
    filters: Filters,
    /// What the kernel had been asked before.
    before: Counts,
    /// Tokens of operations that are over.
    stale: Vec<Token>,
    /// The scope or queue has a descriptor to wait for.
    has_descriptor: bool,
}

impl<'a> Run<'a> {
    pub(super) fn new(kernel: &'a Kernel, ledger: &'a mut Ledger) -> Self {
        let before = kernel.counts();
        ledger.refusals.clear();
        let (filters, stale, has_descriptor) = (Filters::default(), Vec::new(), false);
        Self { kernel, ledger, filters, before, stale, has_descriptor }
    }

    /// From now on there is a descriptor to wait for. Operations that the kernel has no room for
    /// complete, then.
    pub(super) fn make_descriptor<B, L: Layer<B>>(&mut self, layer: &L) -> Verdict {
        let made = layer.completion_fd().map(drop);
        self.has_descriptor = true;
        self.ledger.refusals.extend([Errno::EAGAIN, Errno::ENOSYS]);
        ensure(made == Ok(()), || format!("no descriptor of what is new: {made:?}"))
    }

    fn is_readable<B, L: Layer<B>>(&self, layer: &L) -> Verdict<bool> {
        let fd =
            layer.completion_fd().map_err(|errno| report(format!("no descriptor: {errno}")))?;
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let ready = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&at_once));
        ready.map(|count| count > 0).map_err(|error| report(format!("poll: {error}")))
    }

    /// A look has found nothing: so a loop that waits for the descriptor sleeps, unless it is to
    /// notice that events cannot be had.
    pub(super) fn found_nothing<B, L: Layer<B>>(&self, layer: &L) -> Verdict {
        let spins = self.has_descriptor && self.filters.getevents.is_none();
        let spins = spins && self.is_readable(layer)?;
        ensure(!spins, || "nothing is there, and the descriptor is readable".into())
    }

    /// A poll has failed: so events cannot be taken by system call.
    pub(super) fn could_not_poll(&self, errno: Errno) -> Verdict {
        let due = self.filters.getevents;
        ensure(due == Some(errno), || format!("a poll gave {errno}, and a filter {due:?}"))
    }

    /// One step, and what must hold after it.
    pub(super) fn step<B: AsRef<[u8]> + AsMut<[u8]>, L: Layer<B>>(
        &mut self,
        source: &mut Source<'_>,
        layer: &mut L,
        pool: &mut impl Pool<B>,
    ) -> Verdict {
        match source.below(24) {
            0..=8 => self.push(source, layer, pool)?,
            9 | 10 => {
                let submitted = layer.submit();
                ensure(!self.has_descriptor || submitted != Err(Errno::EAGAIN), || {
                    "EAGAIN of a submit with a descriptor".into()
                })?;
                self.allow(layer, submitted.err())?;
            }
            11..=13 => match layer.try_next() {
                Ok(Some(done)) => self.complete(done, pool)?,
                Ok(None) => self.found_nothing(layer)?,
                Err(errno) => self.could_not_poll(errno)?,
            },
            14 | 15 => {
                self.kernel.set_readable(true);
                let done = layer.wait();
                self.waited(layer, done, pool)?;
                self.kernel.set_readable(source.once_in(2));
            }
            16 => {
                let done = layer.wait_timeout();
                let timed = matches!(done, Err(Errno::ETIMEDOUT | Errno::EINTR));
                if !timed {
                    self.waited(layer, done, pool)?;
                } else if layer.in_flight() == 0 {
                    return Err(report("time was up for nothing"));
                }
            }
            17 | 18 => self.cancel(source, layer)?,
            19 | 20 => self.kernel.run(8),
            21 => self.kernel.set_readable(source.once_in(2)),
            22 => self.set_filters(source),
            _ if source.once_in(4) => self.kernel.spoil_rings(),
            _ => self.drain(layer, pool)?,
        }
        self.check(layer)
    }

    fn set_filters(&mut self, source: &mut Source<'_>) {
        self.filters = Filters::default();
        match source.below(8) {
            1 => self.filters.submit = Some(Errno::ENOSYS),
            2 => {
                self.filters.submit = Some(Errno::EPERM);
                self.ledger.refusals.push(Errno::EPERM);
            }
            3 => self.filters.getevents = Some(Errno::EPERM),
            4 => self.filters.cancel = Some(Errno::ENOSYS),
            _ => {}
        }
        self.kernel.filter(self.filters);
    }

    fn push<B: AsRef<[u8]> + AsMut<[u8]>, L: Layer<B>>(
        &mut self,
        source: &mut Source<'_>,
        layer: &mut L,
        pool: &mut impl Pool<B>,
    ) -> Verdict {
        let number = self.ledger.number();
        let op = Op::generate(source, number, |source| pool.take(source));
        let full = self.ledger.live().len() == layer.capacity();
        match layer.push(op) {
            Ok(token) => {
                self.ledger.gave(number, Some(token));
                ensure(!full, || "a push into what is full was taken".into())
            }
            Err(refused) => {
                let stuck = layer.queued() == L::QUEUED;
                let errno = refused.errno();
                let of_call = stuck && self.filters.submit == Some(errno);
                let whole = refused.op.number == number && (errno == Errno::EAGAIN || of_call);
                pool.give_back(refused.op.into_buffers());
                ensure(whole && (full || stuck), || format!("a push was refused: {errno}"))
            }
        }
    }

    /// Whether an error is one that may come out now.
    fn allow<B, L: Layer<B>>(&self, layer: &L, error: Option<Errno>) -> Verdict {
        let allowed = match error {
            None => true,
            // Nothing is in flight whose end could make room, and all is still queued.
            Some(Errno::EAGAIN) => layer.queued() > 0 && layer.in_flight() == 0,
            Some(errno) => {
                self.filters.submit == Some(errno) && layer.queued() > 0
                    || self.filters.getevents == Some(errno) && layer.in_flight() > 0
            }
        };
        ensure(allowed, || {
            let (queued, in_flight) = (layer.queued(), layer.in_flight());
            format!("{error:?} with {queued} queued and {in_flight} in flight")
        })
    }

    fn waited<B: AsRef<[u8]> + AsMut<[u8]>, L: Layer<B>>(
        &mut self,
        layer: &L,
        done: Waited<B>,
        pool: &mut impl Pool<B>,
    ) -> Verdict {
        match done {
            Ok(Some(done)) => self.complete(done, pool),
            Ok(None) => ensure(self.ledger.live().len() == 0, || "nothing to wait for?".into()),
            Err(errno) => self.allow(layer, Some(errno)),
        }
    }

    fn complete<B: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        done: Completion<Op<B>>,
        pool: &mut impl Pool<B>,
    ) -> Verdict {
        self.ledger.complete(Some(done.token), done.result, &done.op)?;
        self.over(done.token);
        pool.give_back(done.op.into_buffers());
        Ok(())
    }

    /// The operation of a token is over.
    pub(super) fn over(&mut self, token: Token) {
        if self.stale.len() < 64 {
            self.stale.push(token);
        }
    }

    fn cancel<B, L: Layer<B>>(&mut self, source: &mut Source<'_>, layer: &mut L) -> Verdict {
        if source.once_in(4) && !self.stale.is_empty() {
            let outcome = layer.cancel(source.pick(&self.stale));
            return ensure(outcome == Err(Errno::ENOENT), || {
                format!("cancelling what is over gave {outcome:?}")
            });
        }
        let live: Vec<_> = self.ledger.live().collect();
        if live.is_empty() {
            return Ok(());
        }
        let (number, token) = source.pick(&live);
        let Some(token) = token else { return Ok(()) };
        let queued = layer.queued();
        let outcome = layer.cancel(token);
        if layer.queued() < queued {
            self.ledger.cancelled(number);
            return ensure(outcome == Ok(()), || format!("cancelling what waits: {outcome:?}"));
        }
        let filtered = self.filters.cancel.map(Err);
        let known = [Some(Ok(())), Some(Err(Errno::EINVAL)), Some(Err(Errno::ENOENT)), filtered];
        ensure(known.contains(&Some(outcome)), || format!("cancelling gave {outcome:?}"))
    }

    /// What must hold at any time.
    fn check<B, L: Layer<B>>(&self, layer: &L) -> Verdict {
        judge(self.kernel.check())?;
        let (queued, in_flight) = (layer.queued(), layer.in_flight());
        let (live, held) = (self.ledger.live().len(), self.kernel.in_flight());
        ensure(queued + in_flight <= live && held <= in_flight, || {
            format!("{queued} queued, {in_flight} in flight, {held} in the kernel, {live} live")
        })?;
        let (stats, counts, before) = (layer.stats(), self.kernel.counts(), self.before);
        let said = [stats.operations, stats.submit_calls, stats.getevents_calls];
        let due = [
            counts.accepted - before.accepted,
            counts.submits - before.submits,
            counts.waits - before.waits,
        ];
        ensure(said == due, || format!("{stats:?}, predicted {due:?} calls and operations"))?;
        let sleeps = self.has_descriptor && !self.is_readable(layer)?;
        let ended = self.ledger.live().find(|&(number, _)| self.ledger.has_ended(number));
        ensure(!sleeps || ended.is_none(), || {
            format!("{ended:?} has ended, and the descriptor is not readable")
        })
    }

    /// With a kernel that does nothing wrong any more, everything completes, and no event is left.
    pub(super) fn drain<B: AsRef<[u8]> + AsMut<[u8]>, L: Layer<B>>(
        &mut self,
        layer: &mut L,
        pool: &mut impl Pool<B>,
    ) -> Verdict {
        self.filters = Filters::default();
        self.kernel.filter(self.filters);
        self.kernel.set_readable(true);
        match self.has_descriptor {
            true => self.wait_by_descriptor(layer, pool)?,
            false => self.wait_for_all(layer, pool)?,
        }
        self.kernel.set_readable(false);
        let left = self.ledger.live().len();
        ensure(left == 0, || format!("{left} operations never completed"))?;
        ensure(matches!(layer.try_next(), Ok(None)), || "more came out than went in".into())?;
        let (stats, counts, before) = (layer.stats(), self.kernel.counts(), self.before);
        let said = [stats.events_by_ring + stats.events_by_call, stats.stray_events];
        let due = [counts.taken - before.taken, counts.strays_taken - before.strays_taken];
        ensure(said == due, || format!("{stats:?}, predicted {due:?} events and strays"))
    }

    fn wait_for_all<B: AsRef<[u8]> + AsMut<[u8]>, L: Layer<B>>(
        &mut self,
        layer: &mut L,
        pool: &mut impl Pool<B>,
    ) -> Verdict {
        let mut failures = 0;
        loop {
            match layer.wait() {
                Ok(Some(done)) => self.complete(done, pool)?,
                Ok(None) => return Ok(()),
                Err(Errno::EAGAIN) if failures < 1000 => failures += 1,
                Err(errno) => return Err(report(format!("{errno} of a kernel without filters"))),
            }
        }
    }

    /// As a loop does that submits once, and takes one completion for each wake-up.
    fn wait_by_descriptor<B: AsRef<[u8]> + AsMut<[u8]>, L: Layer<B>>(
        &mut self,
        layer: &mut L,
        pool: &mut impl Pool<B>,
    ) -> Verdict {
        let submitted = layer.submit();
        ensure(submitted.is_ok(), || format!("{submitted:?} of a kernel without filters"))?;
        loop {
            if self.is_readable(layer)? {
                match layer.try_next() {
                    Ok(Some(done)) => self.complete(done, pool)?,
                    Ok(None) => self.found_nothing(layer)?,
                    Err(errno) => self.could_not_poll(errno)?,
                }
            } else if self.kernel.something_ends() {
                self.kernel.run_to_the_end();
            } else {
                return Ok(());
            }
        }
    }
}
