//! By threads that block: each with its share of the load, or given one operation after the other.

use super::Runner;
use super::tokio_fs::block_on_step;
use crate::clock::{Clock, Latencies, NoClock, Watch, record_all};
use crate::load::{Cursor, Load};
use anyhow::{Result, anyhow};
use crossbeam_channel::{Receiver, Sender, bounded};
use linux_aio::AlignedBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

/// Does jobs until nobody can send one: a thread.
fn worker<J: Send + 'static, R: Send + 'static>(
    jobs: Receiver<J>,
    results: Sender<R>,
    mut each: impl FnMut(J) -> R + Send + 'static,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for job in jobs {
            if results.send(each(job)).is_err() {
                return;
            }
        }
    })
}

/// Holds as many threads as operations under way, which hand nothing over: not what a program can
/// do that has other work, but what blocking calls can reach.
struct Threads {
    load: Arc<Load>,
    jobs: Vec<Sender<(u64, bool)>>,
    results: Receiver<Result<Vec<u64>>>,
}

/// Threads that wait for a share.
pub fn prepare_threads(load: &Arc<Load>) -> Result<Box<dyn Runner>> {
    let (done, results) = bounded(load.depth as usize);
    let mut jobs = Vec::new();
    for (number, mut buf) in load.buffers()?.into_iter().enumerate() {
        let (job, waiting) = bounded(1);
        let load = Arc::clone(load);
        let mut cursor = Cursor::at(number * 37);
        worker(waiting, done.clone(), move |(operations, timed)| {
            let mut times = Vec::new();
            if timed {
                share(&load, &mut cursor, &mut buf, operations, Watch(&mut times))?;
            } else {
                share(&load, &mut cursor, &mut buf, operations, NoClock)?;
            }
            Ok(times)
        });
        jobs.push(job);
    }
    Ok(Box::new(Threads { load: Arc::clone(load), jobs, results }))
}

fn share<C: Clock>(
    load: &Load,
    cursor: &mut Cursor,
    buf: &mut [u8],
    operations: u64,
    mut clock: C,
) -> Result<()> {
    for _ in 0..operations {
        let mark = clock.begin();
        block_on_step(load, cursor, buf)?;
        clock.end(mark);
    }
    Ok(())
}

impl Runner for Threads {
    fn run(&mut self, operations: u64, mut latencies: Option<&mut Latencies>) -> Result<()> {
        let each = operations / u64::from(self.load.depth);
        for job in &self.jobs {
            job.send((each, latencies.is_some()))?;
        }
        for _ in &self.jobs {
            let times = self.results.recv()??;
            if let Some(latencies) = &mut latencies {
                record_all(latencies, &times);
            }
        }
        Ok(())
    }
}

/// The most threads of a pool; more only stand in each other's way.
const MOST: u32 = 64;

/// Carries an operation to a thread of the pool and back.
struct Job {
    buf: AlignedBuf,
    cursor: Cursor,
    begun: Option<Instant>,
}

/// A thread that submits, and a pool that does one operation after the other and hands each back.
struct Pool {
    load: Arc<Load>,
    idle: Vec<Job>,
    jobs: Sender<Job>,
    results: Receiver<(Job, Result<()>)>,
}

/// Makes a pool that waits.
pub fn prepare_pool(load: &Arc<Load>) -> Result<Box<dyn Runner>> {
    let depth = load.depth as usize;
    let ((jobs, waiting), (done, results)) = (bounded::<Job>(depth), bounded(depth));
    for _ in 0..load.depth.min(MOST) {
        let load = Arc::clone(load);
        worker(waiting.clone(), done.clone(), move |mut job| {
            let result = block_on_step(&load, &mut job.cursor, &mut job.buf);
            (job, result)
        });
    }
    let jobs_of = |(number, buf)| Job { buf, cursor: Cursor::at(number * 37), begun: None };
    let idle = load.buffers()?.into_iter().enumerate().map(jobs_of).collect();
    Ok(Box::new(Pool { load: Arc::clone(load), idle, jobs, results }))
}

impl Pool {
    fn send(&self, mut job: Job, timed: bool) -> Result<()> {
        job.begun = timed.then(Instant::now);
        self.jobs.send(job).map_err(|_| anyhow!("the pool is gone"))
    }
}

impl Runner for Pool {
    fn run(&mut self, operations: u64, mut latencies: Option<&mut Latencies>) -> Result<()> {
        let timed = latencies.is_some();
        for job in std::mem::take(&mut self.idle) {
            self.send(job, timed)?;
        }
        let mut again = operations - u64::from(self.load.depth);
        for _ in 0..operations {
            let (job, result) = self.results.recv()?;
            result?;
            if let (Some(latencies), Some(begun)) = (&mut latencies, job.begun) {
                Watch(&mut **latencies).end(begun);
            }
            if again > 0 {
                again -= 1;
                self.send(job, timed)?;
            } else {
                self.idle.push(job);
            }
        }
        Ok(())
    }
}
