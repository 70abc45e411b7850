//! Tasks that find everything in the page cache get equally much, on whatever thread they are.

use crate::common;

use common::Watchdog;
use common::files::{file_with, pattern};
use core::cell::Cell;
use core::pin::Pin;
use core::task::{Context, Waker};
use linux_aio::{Direct, Driver, File};
use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Wake;
use std::thread;

/// The queue of what other threads than the two workers wake.
const ELSEWHERE: usize = 2;

thread_local! {
    /// The queue of this thread.
    static QUEUE: Cell<usize> = const { Cell::new(ELSEWHERE) };
}

/// An executor of two workers. A task goes to the queue of the thread that wakes it, and stays
/// there. Nothing depends on time but what the library does.
struct Executor {
    queues: [Mutex<VecDeque<usize>>; 3],
    tasks: Mutex<Vec<Arc<Task>>>,
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Task {
    number: usize,
    executor: Arc<Executor>,
    is_queued: AtomicBool,
    work: Mutex<Option<Work>>,
    reads: Arc<AtomicU64>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::SeqCst) {
            self.executor.queue(QUEUE.get()).push_back(self.number);
        }
    }
}

impl Executor {
    fn new() -> Arc<Self> {
        Arc::new(Self { queues: Default::default(), tasks: Mutex::default() })
    }

    fn queue(&self, number: usize) -> MutexGuard<'_, VecDeque<usize>> {
        self.queues[number].lock().expect("no panic")
    }

    /// Adds a task that reads the first page for ever, to the queue of a worker.
    fn add(self: &Arc<Self>, queue: usize, file: &File) {
        let mut tasks = self.tasks.lock().expect("no panic");
        let (number, file, reads) = (tasks.len(), file.clone(), Arc::<AtomicU64>::default());
        let count = Arc::clone(&reads);
        let work = Box::pin(async move {
            while file.read_exact_at([0; 4096], 0).await.0.is_ok() {
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        let (is_queued, work) = (AtomicBool::new(true), Mutex::new(Some(work as Work)));
        tasks.push(Arc::new(Task { number, executor: Arc::clone(self), is_queued, work, reads }));
        self.queue(queue).push_back(number);
    }

    /// Polls so many tasks of a queue, and those that were woken elsewhere before them.
    fn poll(&self, queue: usize, polls: usize) {
        QUEUE.set(queue);
        for _ in 0..polls {
            let task = loop {
                let next = self.queue(ELSEWHERE).pop_front();
                if let Some(next) = next.or_else(|| self.queue(queue).pop_front()) {
                    break Arc::clone(&self.tasks.lock().expect("no panic")[next]);
                }
                thread::yield_now();
            };
            task.is_queued.store(false, Ordering::SeqCst);
            let before = task.reads.load(Ordering::Relaxed);
            let waker = Waker::from(Arc::clone(&task));
            let mut work = task.work.lock().expect("no panic");
            let work = work.as_mut().expect("it has not ended").as_mut();
            assert!(work.poll(&mut Context::from_waker(&waker)).is_pending());
            let reads = task.reads.load(Ordering::Relaxed) - before;
            assert!(reads <= 2, "{reads} reads of one task while others were ready");
        }
    }

    fn reads(&self) -> Vec<u64> {
        let tasks = self.tasks.lock().expect("no panic");
        tasks.iter().map(|task| task.reads.load(Ordering::Relaxed)).collect()
    }

    /// Drops the work of all tasks, and asserts that nobody has a waker of one any more.
    fn end(&self) {
        for task in self.tasks.lock().expect("no panic").drain(..) {
            *task.work.lock().expect("no panic") = None;
            assert_eq!(Arc::strong_count(&task), 1, "a waker of task {} is kept", task.number);
        }
    }
}

/// Two threads, of which the one runs that is told to.
struct Workers([(Sender<usize>, Receiver<()>); 2]);

impl Workers {
    fn new(executor: &Arc<Executor>) -> Self {
        Self([0, 1].map(|queue| {
            let ((polls, next), (done, ended)) = (channel(), channel());
            let executor = Arc::clone(executor);
            thread::spawn(move || {
                while let Ok(polls) = next.recv() {
                    executor.poll(queue, polls);
                    done.send(()).expect("the test waits");
                }
            });
            (polls, ended)
        }))
    }

    fn poll(&self, queue: usize, polls: usize) {
        let (order, done) = &self.0[queue];
        order.send(polls).expect("a worker");
        done.recv().expect("no panic of a worker");
    }
}

fn hot_file(driver: &Driver) -> (tempfile::TempDir, File) {
    let (dir, path, _) = file_with(&pattern(4096));
    let options = File::options().read(true).direct(Direct::Never);
    (dir, pollster::block_on(options.open(driver, path)).expect("a file"))
}

/// Goal: of tasks that are always ready, none reads more than twice before the others of its
/// thread, and none gets more than 1.3 of what another one gets, however they were spread over
/// threads. Method: an executor that moves no task, and queues of 24 and of 8 tasks.
#[test]
fn tasks_of_a_long_queue_get_as_much_as_those_of_a_short_one() {
    let _watchdog = Watchdog::new();
    let driver = Driver::on_thread(4).expect("a driver");
    let (_dir, file) = hot_file(&driver);
    let executor = Executor::new();
    for number in 0..32 {
        executor.add(usize::from(number % 4 == 0), &file);
    }
    let workers = Workers::new(&executor);
    let mut shares = Vec::new();
    for _ in 0..40 {
        let before = executor.reads();
        for _ in 0..32 {
            workers.poll(0, 128);
            workers.poll(1, 128);
        }
        let reads = executor.reads();
        let counts: Vec<_> = before.iter().zip(&reads).map(|(before, now)| now - before).collect();
        let (least, most) = (counts.iter().min(), counts.iter().max());
        let share = *most.expect("tasks") as f64 / *least.expect("tasks") as f64;
        shares.push(share);
        if share <= 1.3 {
            return executor.end();
        }
    }
    panic!("the most of a task's reads, by the least of another's: {shares:?}");
}

/// Goal: a task that is offered to other threads goes on, even if none of them polls again, and
/// its waker is kept by nobody. Method: a thread with one task has its rounds noted, and stops.
#[test]
fn a_task_that_no_thread_takes_goes_on() {
    let _watchdog = Watchdog::new();
    let driver = Driver::on_thread(4).expect("a driver");
    let (_dir, file) = hot_file(&driver);
    let executor = Executor::new();
    for queue in [0, 0, 0, 1] {
        executor.add(queue, &file);
    }
    let workers = Workers::new(&executor);
    for _ in 0..4 {
        workers.poll(1, 300);
        let before = executor.reads();
        while executor.reads().iter().zip(&before).take(3).any(|(now, before)| *now < before + 600)
        {
            workers.poll(0, 10);
        }
    }
    executor.end();
}
