//! How many items the rules of stored profiles have touched, by name, since the collection was opened.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::rank::RuleCount;

/// Rules that are counted, at most; later names are not.
const RULES: usize = 10_000;

/// By profile and rule.
#[derive(Debug, Default)]
pub(super) struct RuleCounts {
    counts: Mutex<BTreeMap<(String, String), u64>>,
}

impl RuleCounts {
    /// Adds what one search has done.
    pub fn add(&self, profile: &str, rules: impl Iterator<Item = RuleCount>) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for RuleCount { name, touched } in rules {
            let key = (profile.to_owned(), name);
            if counts.len() < RULES || counts.contains_key(&key) {
                *counts.entry(key).or_default() += touched as u64;
            }
        }
    }

    /// Profile, rule and items touched.
    pub fn all(&self) -> Vec<(String, String, u64)> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|((profile, rule), count)| (profile.clone(), rule.clone(), *count)).collect()
    }
}
