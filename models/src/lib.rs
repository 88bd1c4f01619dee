//! What threads share, under a scheduler that tries many orders of their steps (shuttle).
//!
//! The modules here are the library's own files: only where they say `sync`, the scheduler's atomics and locks take the
//! place of the system's. The tests beside them are the models: publish, reclaim, group commit. The scheduler keeps one
//! order of all atomic steps, as sequential consistency does; weaker orders are miri's part (see docs/testing.md).

pub mod arena;
pub mod collection;
