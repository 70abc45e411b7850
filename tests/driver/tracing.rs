//! The spans of the feature `tracing`: one for each operation, with what was asked for and the
//! outcome.

use crate::common;

use common::{Watchdog, poll_once};
use core::fmt::Debug;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::task::Waker;
use core::time::Duration;
use linux_aio::op::{Fsync, Poll, Read, ReadV, Whole, Write};
use linux_aio::{Driver, EventFd, Operation, PollEvents};
use smol::future::block_on;
use std::collections::BTreeMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, Once};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Interest, set_global_default, with_default};
use tracing::{Event, Metadata, Subscriber, info_span};

/// What happened to a span.
#[derive(Clone, Debug, Default)]
struct Seen {
    name: &'static str,
    fields: BTreeMap<&'static str, String>,
    /// Each time that a field was recorded.
    records: usize,
    parent: Option<u64>,
    handles: usize,
}

/// Keeps all spans by their numbers, which begin at 1.
#[derive(Clone, Default)]
struct Spans {
    seen: Arc<Mutex<Vec<Seen>>>,
    current: Arc<AtomicU64>,
    panics: Arc<AtomicBool>,
}

impl Spans {
    /// Another thread may come to the place of a span while no subscriber lives, and `tracing` may
    /// then remember for the whole process that nobody wants it. [`Idle`] keeps it from that.
    fn new() -> Self {
        static IDLE: Once = Once::new();
        IDLE.call_once(|| set_global_default(Idle).expect("there is no other"));
        Self::default()
    }

    fn seen(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().expect("nothing panics under it")
    }

    fn with<R>(&self, id: &Id, change: impl FnOnce(&mut Seen) -> R) -> R {
        change(&mut self.seen()[id.into_u64() as usize - 1])
    }

    /// The fields of the only span, which must be closed.
    fn only(&self) -> BTreeMap<&'static str, String> {
        let mut seen = self.seen();
        assert_eq!((seen.len(), seen[0].handles), (1, 0), "{seen:?}");
        seen.remove(0).fields
    }
}

struct Fields<'a>(&'a mut Seen);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.fields.insert(field.name(), format!("{value:?}"));
        self.0.records += 1;
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.fields.insert(field.name(), value.to_owned());
        self.0.records += 1;
    }
}

impl Subscriber for Spans {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let parent = Some(self.current.load(Ordering::SeqCst)).filter(|&current| current > 0);
        let name = span.metadata().name();
        let mut seen = self.seen();
        seen.push(Seen { name, parent, handles: 1, ..Seen::default() });
        Id::from_u64(seen.len() as u64)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        assert!(!self.panics.load(Ordering::SeqCst), "the subscriber panics");
        self.with(span, |seen| values.record(&mut Fields(seen)));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, span: &Id) {
        self.current.store(span.into_u64(), Ordering::SeqCst);
    }

    fn exit(&self, _: &Id) {
        self.current.store(0, Ordering::SeqCst);
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.with(id, |seen| seen.handles += 1);
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        self.with(&id, |seen| {
            seen.handles -= 1;
            seen.handles == 0
        })
    }
}

/// Wants nothing now, and is to be asked again each time.
struct Idle;

impl Subscriber for Idle {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        unreachable!("it is not enabled")
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn driver() -> Driver {
    Driver::on_thread(8).expect("a driver")
}

fn zero() -> Arc<File> {
    Arc::new(File::open("/dev/zero").expect("/dev/zero"))
}

fn silent() -> Poll<EventFd> {
    Poll::new(EventFd::new().expect("an eventfd"), PollEvents::IN)
}

/// Performs an operation, and returns the fields of its span.
fn fields_of<O: Operation + Send + 'static>(op: O) -> BTreeMap<&'static str, String> {
    let spans = Spans::new();
    with_default(spans.clone(), || {
        let driver = driver();
        drop(block_on(driver.perform(op)));
    });
    spans.only()
}

/// Goal: a span names what the kernel was asked for, and the outcome. Method: operations of each
/// kind, of which one fails.
#[test]
fn a_span_has_what_was_asked_for_and_the_outcome() {
    let _watchdog = Watchdog::new();
    let file = Arc::new(tempfile::tempfile().expect("a file"));
    let fd = |fields: &mut BTreeMap<&'static str, String>| fields.remove("fd").is_some();
    let shown = |mut fields: BTreeMap<&'static str, String>| {
        assert!(fd(&mut fields), "{fields:?}");
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        fields.join(" ")
    };
    let write = Write::new(Arc::clone(&file), vec![1; 64], 4096);
    assert_eq!(shown(fields_of(write)), "kind=pwrite length=64 offset=4096 result=64");
    let read = Read::new(Arc::clone(&file), vec![1; 100], 4096);
    assert_eq!(shown(fields_of(read)), "kind=pread length=100 offset=4096 result=64");
    let read = ReadV::new(Arc::clone(&file), [vec![1; 1], vec![1; 1]], 0);
    assert_eq!(shown(fields_of(read)), "kind=preadv length=2 offset=0 result=2");
    assert_eq!(shown(fields_of(Fsync::new(file))), "kind=fsync result=0");
    assert_eq!(shown(fields_of(Fsync::new(zero()))), "error=EINVAL kind=fsync");
}

/// Goal: an operation that goes on has one span, with what the first piece asks for. Method: a
/// `Whole` over the end of a file, whose last piece is empty.
#[test]
fn an_operation_that_goes_on_has_one_span() {
    let _watchdog = Watchdog::new();
    let file = tempfile::tempfile().expect("a file");
    file.set_len(100).expect("a length");
    let spans = Spans::new();
    with_default(spans.clone(), || {
        let driver = driver();
        let read = Whole::new(Read::new(file, vec![1; 300], 10));
        let (result, _) = block_on(driver.perform(read));
        assert_eq!(result, Ok(0));
    });
    let records = spans.seen()[0].records;
    let fields = spans.only();
    assert_eq!((&*fields["offset"], &*fields["length"], &*fields["result"]), ("10", "300", "0"));
    assert_eq!(records, 5, "kind, fd, offset, length, result");
}

/// Goal: the span tells that a future has left its operation, and closes once the operation has
/// ended. Method: POLLs that end only when they are cancelled, or never.
#[test]
fn a_span_tells_how_its_future_has_left() {
    let _watchdog = Watchdog::new();
    for (why, give_up) in [
        (
            "deadline",
            (|driver| {
                let poll = driver.perform(silent()).timeout(Duration::from_millis(1));
                block_on(poll).expect_err("nothing happens");
            }) as fn(&Driver),
        ),
        ("dropped", |driver| {
            let mut poll = Box::pin(driver.perform(silent()));
            assert!(poll_once(&mut poll, Waker::noop()).is_pending());
        }),
    ] {
        let spans = Spans::new();
        with_default(spans.clone(), || {
            let driver = driver();
            give_up(&driver);
            block_on(driver.close());
        });
        assert_eq!(spans.only()["left"], why);
    }
}

/// Goal: a span is a child of that in which the future was made, and is entered while it is polled.
#[test]
fn a_span_is_a_child_of_the_caller_s() {
    let _watchdog = Watchdog::new();
    let spans = Spans::new();
    with_default(spans.clone(), || {
        let driver = driver();
        let read = info_span!("request").in_scope(|| driver.perform(Read::new(zero(), [1; 8], 0)));
        assert_eq!(block_on(read).0, Ok(8));
    });
    let seen = spans.seen();
    let names: Vec<_> = seen.iter().map(|seen| (seen.name, seen.parent)).collect();
    assert_eq!(names, [("request", None), ("operation", Some(1))]);
}

/// Goal: a subscriber that panics fails that operation, and the driver goes on. Method: it panics
/// in `prepare`, on the thread of the driver, and its payload comes out of the future.
#[test]
fn a_subscriber_that_panics_fails_its_operation_alone() {
    let _watchdog = Watchdog::new();
    let spans = Spans::new();
    with_default(spans.clone(), || {
        let driver = driver();
        spans.panics.store(true, Ordering::SeqCst);
        let future = driver.perform(Read::new(zero(), [1; 8], 0));
        let panicked = catch_unwind(AssertUnwindSafe(|| block_on(future).0));
        let payload = panicked.expect_err("the payload comes out");
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"the subscriber panics"));
        spans.panics.store(false, Ordering::SeqCst);
        assert_eq!(block_on(driver.perform(Read::new(zero(), [1; 8], 0))).0, Ok(8));
    });
}
