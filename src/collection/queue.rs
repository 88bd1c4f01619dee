//! Writes that wait for the committer: a bounded queue, taken in groups.
//!
//! The model of group commit in `models/` runs this file: what it shares with others comes from `sync`.

use std::collections::VecDeque;

use super::Reply;
use super::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use super::write::{WriteBatch, WriteError};

/// Writes that are synced together, at most.
const GROUP: usize = 256;

/// Writes that wait for the committer.
#[derive(Debug)]
pub struct Queue {
    waiting: Mutex<Waiting>,
    ready: Condvar,
    limit: usize,
}

#[derive(Default)]
struct Waiting {
    writes: VecDeque<(WriteBatch, Reply)>,
    closed: bool,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("writes", &self.writes.len()).field("closed", &self.closed).finish()
    }
}

impl Queue {
    /// An empty queue for at most `limit` writes.
    pub fn new(limit: usize) -> Queue {
        Queue { waiting: Mutex::default(), ready: Condvar::new(), limit }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a write; `reply` is called once, at once if there is no place.
    pub fn push(&self, batch: WriteBatch, reply: Reply) {
        let refused = {
            let mut waiting = self.lock();
            if waiting.closed {
                WriteError::Closed { reason: "the server is stopping".to_owned() }
            } else if waiting.writes.len() >= self.limit {
                WriteError::Busy { waiting: waiting.writes.len(), limit: self.limit }
            } else {
                waiting.writes.push_back((batch, reply));
                self.ready.notify_one();
                return;
            }
        };
        reply(Err(refused));
    }

    /// Writes that wait.
    pub fn waiting(&self) -> usize {
        self.lock().writes.len()
    }

    /// Takes writes again after `close`.
    pub fn open(&self) {
        self.lock().closed = false;
    }

    /// Takes no more; what waits is still taken out.
    pub fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_all();
    }

    /// The next group; None when the queue is closed and empty. Blocking.
    pub fn take(&self) -> Option<Vec<(WriteBatch, Reply)>> {
        let mut waiting = self.lock();
        while waiting.writes.is_empty() {
            if waiting.closed {
                return None;
            }
            waiting = self.ready.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let count = waiting.writes.len().min(GROUP);
        Some(waiting.writes.drain(..count).collect())
    }
}
