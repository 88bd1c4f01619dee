//! What all requests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::docs::Pages;
use super::metrics::Metrics;
use super::pool::{Pool, Reply};
use super::record::Recorder;
use super::{Kind, Problem, ServerConfig, ServerError};
use crate::collection::{Catalogue, Collection, CollectionName};

/// Between two looks at how far an index is.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(16);

/// What all requests share.
#[derive(Debug)]
pub struct AppState {
    pub(super) config: ServerConfig,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) metrics: Metrics,
    pub(super) pages: Pages,
    pub(super) recorder: Option<Recorder>,
    pub(super) pool: Pool,
    copies: Arc<Semaphore>,
    stopping: AtomicBool,
}

impl AppState {
    /// Starts the search threads over an open catalogue.
    pub fn new(config: ServerConfig, catalogue: Arc<Catalogue>) -> Result<Arc<Self>, ServerError> {
        let pool = Pool::new(config.threads, config.limits.queue).map_err(ServerError::Threads)?;
        let pages = Pages::new();
        let recorder = config.record.clone().map(Recorder::new).transpose().map_err(ServerError::Record)?;
        let stopping = AtomicBool::new(false);
        let copies = Arc::new(Semaphore::new(config.limits.copies.clamp(1, Semaphore::MAX_PERMITS)));
        Ok(Arc::new(AppState {
            config,
            catalogue,
            metrics: Metrics::new(),
            pages,
            recorder,
            pool,
            copies,
            stopping,
        }))
    }

    pub(super) fn collection(&self, name: &str) -> Result<Arc<Collection>, Problem> {
        let unknown = |detail| Err(Problem::new(Kind::UnknownCollection, detail));
        match name.parse::<CollectionName>() {
            Err(error) => unknown(error.to_string()),
            Ok(name) => match self.catalogue.get(name.as_str()) {
                Some(collection) => match collection.damage() {
                    None => Ok(collection),
                    Some(damage) => Err(Problem::new(Kind::Damaged, damage)),
                },
                None => unknown(format!("there is no collection {:?}", name.as_str())),
            },
        }
    }

    /// A place for one more export or backup.
    pub(super) fn copy_place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let limit = self.config.limits.copies;
        Arc::clone(&self.copies).try_acquire_owned().map_err(|_| {
            let detail = format!("{limit} exports and backups are under way (setting `limits.copies`)");
            Problem::new(Kind::Overloaded, detail).limit(limit)
        })
    }

    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Reply<T>) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        self.pool.run(job).await
    }

    /// Waits until a collection's index has reached a sequence number, at most `limits.min_seq_wait`: whoever comes back
    /// looks whether it has. Holds no thread.
    pub(super) async fn wait_for(&self, name: &str, seq: u64) -> Result<(), Problem> {
        let until = Instant::now() + self.config.limits.min_seq_wait;
        let mut pause = SHORTEST_PAUSE;
        while self.collection(name)?.index().seq() < seq {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.is_stopping() {
                break;
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
        Ok(())
    }

    pub(super) fn waiting(&self) -> usize {
        self.pool.waiting()
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}
