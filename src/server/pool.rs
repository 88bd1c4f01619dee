//! The threads that search: few, with a bounded queue before them, off the reactor.
//!
//! A job whose client has gone is dropped when its turn comes. A job that panics costs its own answer, not the
//! thread.
//!
//! To hand a job over and its result back wakes two threads, which takes a good part of the processor time of a search. So
//! a job known to be short runs where it came up ([`Pool::here`]), on the reactor, if a thread would have begun it at once:
//! never more jobs run at once than there are threads. When such jobs turn out not to be short (an index that is read from
//! the disk, a processor that others use), they go to the threads until one was short again.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{Kind, Problem};

type Job = Box<dyn FnOnce() + Send>;

/// The reactor can be without one of its threads for so long.
const SHORT: Duration = Duration::from_millis(10);

/// A fixed number of threads behind a bounded queue. Dropping it ends them after what is queued.
#[derive(Debug)]
pub(super) struct Pool {
    shared: Arc<Shared>,
    capacity: usize,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Jobs that run, here and on the threads.
    running: usize,
    closed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    ready: Condvar,
    threads: usize,
    /// Whether the last job that should have been short was.
    short: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

/// Tells a running job whether anybody still waits for its answer.
#[derive(Debug)]
pub(super) struct Reply<T>(oneshot::Sender<T>);

impl<T> Reply<T> {
    /// Whether the client has gone.
    pub fn is_abandoned(&self) -> bool {
        self.0.is_closed()
    }
}

impl Pool {
    /// Starts the threads.
    pub fn new(threads: usize, capacity: usize) -> std::io::Result<Self> {
        let shared = Shared {
            queue: Mutex::default(),
            ready: Condvar::new(),
            threads: threads.max(1),
            short: AtomicBool::new(true),
        };
        let pool = Pool { shared: Arc::new(shared), capacity: capacity.max(1) };
        for number in 0..pool.shared.threads {
            let shared = Arc::clone(&pool.shared);
            std::thread::Builder::new().name(format!("search-{number}")).spawn(move || shared.work())?;
        }
        Ok(pool)
    }

    /// Jobs that wait for a thread.
    pub fn waiting(&self) -> usize {
        self.shared.lock().jobs.len()
    }

    /// Runs a job on a thread of the pool; refused at once when the queue is full. Dropping the future cancels a
    /// job that has not begun.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Reply<T>) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let (sender, receiver) = oneshot::channel();
        let reply = Reply(sender);
        self.push(Box::new(move || {
            if !reply.is_abandoned() {
                let value = job(&reply);
                // The client may have gone while the job ran: nobody is left to tell.
                let _ = reply.0.send(value);
            }
        }))?;
        receiver.await.map_err(|_| failed())
    }

    /// Runs a job that should be short, and gives back the result of `job`; None, and nothing has run, when all threads have
    /// work or such jobs have not been short lately.
    pub fn here<T>(&self, job: impl FnOnce() -> T) -> Option<Result<T, Problem>> {
        if !self.shared.short.load(Relaxed) || !self.shared.begin() {
            return None;
        }
        let result = guarded(|| self.timed(job));
        self.shared.end();
        Some(result.ok_or_else(failed))
    }

    /// Runs a job that should be short, and remembers whether it was.
    pub fn timed<T>(&self, job: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let result = job();
        self.shared.short.store(started.elapsed() < SHORT, Relaxed);
        result
    }

    fn push(&self, job: Job) -> Result<(), Problem> {
        let mut queue = self.shared.lock();
        if queue.jobs.len() >= self.capacity {
            let detail = format!("{} searches wait already (setting `limits.queue`)", queue.jobs.len());
            return Err(Problem::new(Kind::Overloaded, detail).limit(self.capacity));
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.shared.ready.notify_one();
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.ready.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more job that runs, if a thread would have nothing else to do.
    fn begin(&self) -> bool {
        let mut queue = self.lock();
        let idle = queue.jobs.is_empty() && queue.running < self.threads;
        queue.running += usize::from(idle);
        idle
    }

    /// Counts one job less, and has a thread begin the next.
    fn end(&self) {
        let mut queue = self.lock();
        queue.running -= 1;
        if !queue.jobs.is_empty() {
            self.ready.notify_one();
        }
    }

    fn work(&self) {
        let mut job = self.next(0);
        while let Some(next) = job {
            guarded(next);
            job = self.next(1);
        }
    }

    /// The next job, counted, when so many of this thread have ended.
    fn next(&self, ended: usize) -> Option<Job> {
        let mut queue = self.lock();
        queue.running -= ended;
        loop {
            if queue.running < self.threads
                && let Some(job) = queue.jobs.pop_front()
            {
                queue.running += 1;
                return Some(job);
            }
            if queue.closed && queue.jobs.is_empty() {
                return None;
            }
            queue = self.ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Runs a job; None when it panicked.
fn guarded<T>(job: impl FnOnce() -> T) -> Option<T> {
    let result = catch_unwind(AssertUnwindSafe(job));
    if result.is_err() {
        tracing::error!("a search panicked");
    }
    result.ok()
}

fn failed() -> Problem {
    Problem::new(Kind::Internal, "the search failed; the server's log says how")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;

    #[tokio::test]
    async fn a_full_queue_refuses_and_a_gone_client_cancels() {
        let pool = Arc::new(Pool::new(1, 1).unwrap());
        let (started, has_started) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let busy = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move {
                pool.run(move |_| {
                    started.send(()).unwrap();
                    released.recv().is_ok()
                })
                .await
            }
        });
        tokio::task::spawn_blocking(move || has_started.recv()).await.unwrap().unwrap();

        static RAN: AtomicBool = AtomicBool::new(false);
        let mut waiting = Box::pin(pool.run(|_| RAN.store(true, Ordering::SeqCst)));
        assert!(futures_pending(&mut waiting).await);
        let refused = pool.run(|_| ()).await.unwrap_err();
        assert_eq!((refused.status, refused.limit), (503, Some(Box::new(1.into()))));

        drop(waiting);
        release.send(()).unwrap();
        assert!(busy.await.unwrap().unwrap());
        while pool.waiting() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.run(|_| 7).await, Ok(7));
        assert!(!RAN.load(Ordering::SeqCst), "a search that nobody waits for must not run");
    }

    #[tokio::test]
    async fn a_panic_costs_one_answer() {
        let pool = Pool::new(1, 4).unwrap();
        let failed = pool.run(|_| -> u8 { panic!("a test's panic") }).await.unwrap_err();
        assert_eq!(failed.status, 500);
        assert_eq!(pool.run(|_| 1_u8).await, Ok(1));
    }

    #[tokio::test]
    async fn here_runs_what_a_thread_would_begin_at_once() {
        let pool = Pool::new(1, 4).unwrap();
        assert_eq!(pool.here(|| 7), Some(Ok(7)));
        assert_eq!(pool.here(|| -> u8 { panic!("a test's panic") }).unwrap().unwrap_err().status, 500);
        let within = pool.here(|| {
            let refused = pool.here(|| 1).is_none();
            // Nor does the pool's thread begin anything meanwhile.
            pool.push(Box::new(|| ())).unwrap();
            std::thread::sleep(SHORT);
            (refused, pool.waiting())
        });
        assert_eq!(within, Some(Ok((true, 1))), "no more jobs run at once than there are threads");
        assert_eq!(pool.run(|_| 8).await, Ok(8));
        assert_eq!(pool.here(|| 9), None, "the last one here was not short");
        pool.timed(|| ());
        while pool.waiting() > 0 || pool.shared.lock().running > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.here(|| 9), Some(Ok(9)));
    }

    /// Polls once.
    async fn futures_pending<F: Future + Unpin>(future: &mut F) -> bool {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())
        })
        .await
    }
}
