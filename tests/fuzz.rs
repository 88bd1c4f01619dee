//! The fuzz targets without a fuzzer: on their seeds, and on seeds with some bytes changed, cut or repeated. The long form,
//! which is guided by coverage, is `fuzz/run` (see docs/testing.md).

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../fuzz/src/lib.rs"]
mod targets;

/// splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    /// A seed, but for up to three changes.
    fn change(&mut self, seed: &[u8]) -> Vec<u8> {
        let mut input = seed.to_vec();
        for _ in 0..self.below(4) {
            let at = self.below(input.len() + 1);
            let byte = b"0129\"{}[],:-e\0\x01\x7f\xff"[self.below(17)];
            match self.below(5) {
                0 => input.truncate(at),
                1 => input.insert(at, byte),
                2 => input.extend_from_within(at..),
                _ if at < input.len() => input[at] = byte,
                _ => input.push(byte),
            }
        }
        input
    }
}

/// What a target does with many inputs.
fn exercise(name: &str, inputs: usize) {
    let (_, run, seeds) = *targets::TARGETS.iter().find(|target| target.0 == name).unwrap();
    let (seeds, mut random) = (seeds(), Random(name.len() as u64));
    assert!(!seeds.is_empty());
    seeds.iter().for_each(|seed| run(seed));
    for _ in 0..inputs {
        let seed = &seeds[random.below(seeds.len())];
        run(&random.change(seed));
    }
}

#[test]
fn logs() {
    exercise("log_open", 2_000);
}

#[test]
fn records() {
    exercise("replay", 100);
}

#[test]
fn index_files() {
    exercise("index_open", 200);
}

#[test]
fn requests() {
    exercise("requests", 5_000);
}

#[test]
fn filters() {
    exercise("filters", 5_000);
}

#[test]
fn profiles() {
    exercise("profiles", 2_000);
}

/// A seed that is refused starts the fuzzer nowhere.
#[test]
fn seeds_are_valid() {
    for seed in targets::filters::seeds() {
        let json = serde_json::from_slice(&seed).unwrap();
        shortlist::attributes::Filter::parse(&json, &targets::schema().attributes).unwrap();
    }
    for seed in targets::profiles::seeds() {
        let json = serde_json::from_slice(&seed).unwrap();
        shortlist::rank::Profile::parse(&json, &targets::schema().attributes).unwrap();
    }
}
