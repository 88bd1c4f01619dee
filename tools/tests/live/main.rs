//! Writes over HTTP against the real program: what they do, how soon they are found, and what is left of them
//! when the program is killed, the power cut, or the disk fails or is full.
//!
//! The normal run is short. The long one prints the figures that are worth keeping:
//! `SHORTLIST_LONG=1 cargo test --release -p shortlist-tools --test live -- --nocapture --test-threads 1`

#![allow(clippy::unwrap_used, reason = "a test ends where something fails")]

mod check;
#[path = "../common/mod.rs"]
mod common;
mod crowd;
mod fault;
mod fresh;
mod full;
mod house;
mod kill;
mod mount;
mod plain;
mod power;
#[path = "../common/random.rs"]
mod random;
mod searcher;
mod writer;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use random::Random;

/// Whether the long form of the tests is wanted.
fn is_long() -> bool {
    std::env::var_os("SHORTLIST_LONG").is_some_and(|value| value == "1")
}

/// Tests that measure run one after the other, so that none measures another.
fn take_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The time that this share of the times does not exceed, in milliseconds.
fn percentile(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let rank = (times.len() as f64 * share).ceil() as usize;
    times[rank.clamp(1, times.len()) - 1].as_secs_f64() * 1e3
}

impl Random {
    /// Sixteenths from -8 to 8: such vectors, and the squares of their distances, are exact in f32.
    fn vector(&mut self, dimension: usize) -> Vec<f32> {
        (0..dimension).map(|_| (self.below(257) as f32 - 128.0) / 16.0).collect()
    }
}
