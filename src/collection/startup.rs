//! How far a start is: what `/readyz` and the log tell while collections are opened, their logs replayed, their files
//! verified and their pages warmed, one collection after the other.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use utoipa::ToSchema;

/// Time between two lines of the log in one phase.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// What a start does with a collection, in this order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StartPhase {
    /// The index file is mapped, the log read and checked.
    #[default]
    Opening,
    /// Records after the index file are applied; steps are records.
    Replaying,
    /// The index file's blocks are compared with their checksums; steps are blocks.
    Verifying,
    /// Recent queries run, so that the first real ones find pages in memory; steps are queries.
    Warming,
}

/// Where a start is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct StartProgress {
    /// Collections there are.
    pub collections: usize,
    /// The one that is being worked on.
    pub collection: String,
    /// What is being done.
    pub phase: StartPhase,
    /// Steps of the phase that are done.
    pub done: u64,
    /// Steps that there are, 0 where that is not known.
    pub total: u64,
}

/// Told by those who start, asked by those who wait.
#[derive(Debug, Default)]
pub(super) struct Startup {
    current: Mutex<Current>,
    done: AtomicU64,
    stopped: AtomicBool,
    ready: AtomicBool,
}

#[derive(Debug, Default)]
struct Current {
    progress: StartProgress,
    told: Option<Instant>,
}

impl Startup {
    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many collections there will be.
    pub fn announce(&self, collections: usize) {
        self.current().progress.collections = collections;
    }

    /// A phase begins.
    pub fn begin(&self, collection: &str, phase: StartPhase, total: u64) {
        let mut current = self.current();
        self.done.store(0, Relaxed);
        let collections = current.progress.collections;
        current.progress =
            StartProgress { collections, collection: collection.to_owned(), phase, done: 0, total };
        current.told = Some(Instant::now());
    }

    /// Steps were done. False when the start shall end.
    pub fn step(&self, steps: u64) -> bool {
        let done = self.done.fetch_add(steps, Relaxed) + steps;
        // Whoever asks now tells nothing new.
        if let Ok(mut current) = self.current.try_lock()
            && current.told.is_some_and(|told| told.elapsed() >= LINE_EVERY)
        {
            current.told = Some(Instant::now());
            let StartProgress { collection, phase, total, .. } = &current.progress;
            tracing::info!(%collection, ?phase, done, total, "not ready yet");
        }
        !self.is_stopped()
    }

    /// Asks the start to end early.
    pub fn stop(&self) {
        self.stopped.store(true, SeqCst);
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(SeqCst)
    }

    pub fn set_ready(&self) {
        self.ready.store(true, SeqCst);
    }

    /// None when it has ended.
    pub fn progress(&self) -> Option<StartProgress> {
        if self.ready.load(SeqCst) {
            return None;
        }
        // While this is held no other phase begins, so the count is that of this one.
        let current = self.current();
        Some(StartProgress { done: self.done.load(Relaxed), ..current.progress.clone() })
    }
}
