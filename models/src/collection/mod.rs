//! The queue of writes of `src/collection`; what waits in it are numbers here.

use shuttle::sync;

#[path = "../../../src/collection/queue.rs"]
mod queue;

pub use queue::Queue;
pub use write::{WriteBatch, WriteError, Written};

/// As in the library.
pub type Reply = Box<dyn FnOnce(Result<Written, WriteError>) + Send>;

mod write {
    /// A write, by its number.
    #[derive(Debug)]
    pub struct WriteBatch(pub u64);

    /// The sequence number that it was given.
    pub type Written = u64;

    /// Why it was refused.
    #[derive(Debug)]
    pub enum WriteError {
        /// Too many wait.
        Busy {
            /// Writes that wait.
            waiting: usize,
            /// How many may.
            limit: usize,
        },
        /// The queue is closed.
        Closed {
            /// Why.
            reason: String,
        },
    }
}
