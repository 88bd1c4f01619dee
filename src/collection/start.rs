//! A start in stages: every collection opened and replayed, its file verified, its pages warmed.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use super::startup::{StartPhase, StartProgress};
use super::{Catalogue, CatalogueError, Collection, recent};

impl Catalogue {
    /// Opens every collection, replays its log, verifies its file if `verify`, and warms it. Blocking; returns early, with
    /// an error, after [`Catalogue::stop_start`]. Damage that verifying finds fails the searches of that collection alone.
    pub fn start(&self, verify: bool) -> Result<(), CatalogueError> {
        self.open_all()?;
        for collection in self.all() {
            if verify {
                self.verify(&collection);
            }
            self.warm(&collection);
            self.tell_ready(&collection);
        }
        if self.startup.is_stopped() {
            let reason = "the start was stopped".to_owned();
            return Err(CatalogueError::Replay { directory: self.dir.clone(), reason });
        }
        self.startup.set_ready();
        Ok(())
    }

    /// Where the start is; None when it has ended.
    pub fn starting(&self) -> Option<StartProgress> {
        self.startup.progress()
    }

    /// Asks a start to end early.
    pub fn stop_start(&self) {
        self.startup.stop();
    }

    fn verify(&self, collection: &Collection) {
        let blocks = collection.index().file().blocks();
        self.startup.begin(collection.name().as_str(), StartPhase::Verifying, blocks);
        timed(&collection.inner.verify_us, || collection.verify(&|| !self.startup.step(1)));
        if let Some(damage) = collection.damage() {
            tracing::error!(collection = %collection.name(), damage, "the index file is damaged; searches of it fail");
        }
        if let Some(unread) = collection.unread() {
            tracing::error!(collection = %collection.name(), unread, "blocks of the index file; they are tried again");
        }
    }

    fn warm(&self, collection: &Collection) {
        let index = collection.index();
        let queries = collection.inner.load_recent_queries(&index);
        let steps = recent::steps(&index, &queries);
        self.startup.begin(collection.name().as_str(), StartPhase::Warming, steps);
        timed(&collection.inner.warm_us, || recent::warm(&index, &queries, &|| self.startup.step(1)));
    }

    fn tell_ready(&self, collection: &Collection) {
        let figures = collection.figures();
        tracing::info!(
            collection = %collection.name(), items = collection.index().items(), seq = collection.index().seq(),
            replay_seconds = figures.replay_seconds, verify_seconds = figures.verify_seconds,
            warm_seconds = figures.warm_seconds, "open"
        );
    }
}

/// Runs a job and keeps the microseconds that it took.
fn timed(micros: &AtomicU64, job: impl FnOnce()) {
    let began = Instant::now();
    job();
    micros.store(began.elapsed().as_micros() as u64, Relaxed);
}
