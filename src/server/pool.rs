//! The threads that search: few, with a bounded queue before them, off the reactor.
//!
//! A job whose client has gone is dropped when its turn comes. A job that panics costs its own answer, not the
//! thread.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::{Kind, Problem};

type Job = Box<dyn FnOnce() + Send>;

/// A fixed number of threads behind a bounded queue. Dropping it ends them after what is queued.
#[derive(Debug)]
pub(super) struct Pool {
    shared: Arc<Shared>,
    capacity: usize,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    ready: Condvar,
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
        let pool = Pool { shared: Arc::default(), capacity: capacity.max(1) };
        for number in 0..threads.max(1) {
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
        receiver
            .await
            .map_err(|_| Problem::new(Kind::Internal, "the search failed; the server's log says how"))
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

    fn work(&self) {
        while let Some(job) = self.next() {
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!("a search panicked");
            }
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            queue = self.ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
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

    /// Polls once.
    async fn futures_pending<F: Future + Unpin>(future: &mut F) -> bool {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())
        })
        .await
    }
}
