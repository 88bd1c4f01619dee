//! All programs on one data directory: random operations of a running server and of the programs beside it, checked after each
//! against a map.
//!
//! A server serves two or three collections. They are written to, made, deleted, exported, built anew and published, imported,
//! backed up and restored; the server is stopped, killed and started; logs are looked into and truncated. Some of it happens beside
//! a second writer. After each step every collection is exported and compared with the map (see `model`): all that was answered is
//! there, unless a documented act took it away, and nothing else is.
//!
//! A failure prints the seed and what was done. `TOGETHER_SEED=7 cargo test --test together` does the same again: all but what
//! the second writer's luck is. `TOGETHER_STEPS` is the number of steps of a seed, `TOGETHER_SEEDS` how many seeds, from the first on;
//! `TOGETHER_KEEP` a directory that takes a copy of everything when it fails.

#![allow(clippy::unwrap_used, reason = "a test ends where something fails")]

mod beside;
mod check;
#[path = "../common/mod.rs"]
mod common;
mod copies;
mod ends;
#[allow(dead_code, reason = "a part is used")]
#[path = "../live/house.rs"]
mod house;
mod model;
#[path = "../common/random.rs"]
mod random;
mod steps;
mod world;
mod writes;

use random::Random;
use world::World;

/// Steps and seeds of the short form.
const STEPS: u64 = 60;
const SEEDS: u64 = 3;

impl Random {
    /// True once in `times`.
    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize].clone()
    }

    /// Sixteenths from -8 to 8: such vectors and their products are exact in f32. Never all zero.
    fn vector(&mut self, dimension: usize) -> Vec<f32> {
        let mut vector: Vec<f32> = (0..dimension).map(|_| (self.below(257) as f32 - 128.0) / 16.0).collect();
        vector[0] = (1 + self.below(128)) as f32 / 16.0;
        vector
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}, no number")))
}

#[test]
fn nothing_that_was_answered_is_lost_between_the_programs() {
    let first = number("TOGETHER_SEED");
    let seeds = number("TOGETHER_SEEDS").unwrap_or(if first.is_some() { 1 } else { SEEDS });
    let steps = number("TOGETHER_STEPS").unwrap_or(STEPS);
    let first = first.unwrap_or(1);
    let mut counts = std::collections::BTreeMap::new();
    for seed in first..first + seeds {
        let mut world = World::new(seed);
        for _ in 0..steps {
            let step = steps::one(&mut world);
            *counts.entry(step).or_insert(0) += 1;
            check::all(&mut world);
        }
        world.end();
    }
    println!("{seeds} seeds of {steps} steps: {counts:?}");
}
