//! A searcher: asks without pause while others write, and looks at every answer.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use serde_json::{Value, json};

use crate::Random;
use crate::house::Client;
use crate::writer::DIMENSION;

const LIMIT: usize = 10;

pub struct Searcher {
    random: Random,
    pub answers: usize,
    pub errors: Vec<String>,
}

impl Searcher {
    pub fn new(number: u64) -> Searcher {
        Searcher { random: Random(100 + number), answers: 0, errors: Vec::new() }
    }

    /// Searches until the server is gone; before `ending` is set that is an error.
    pub fn run(&mut self, client: &Client, ending: &AtomicBool) {
        let mut last_seq = 0;
        loop {
            let vector = self.random.vector(DIMENSION);
            let least = self.random.below(2) * self.random.below(100);
            let search = json!({
                "query": {"vector": vector}, "limit": LIMIT, "filter": {"n": {"gte": least}},
                "return": {"attributes": ["n", "batch"], "vector": true}
            });
            match client.post("/search", &search) {
                Ok((200, answer)) => {
                    self.answers += 1;
                    let seq = answer["seq"].as_u64().unwrap_or(0);
                    let fault = fault(&answer, &vector, least);
                    if let Some(fault) = fault.or((seq < last_seq).then_some("goes back in time")) {
                        return self.errors.push(format!("{fault}: {answer}"));
                    }
                    last_seq = seq;
                }
                Err(_) | Ok((503, _)) if ending.load(SeqCst) => return,
                answer => return self.errors.push(format!("{answer:?}")),
            }
        }
    }
}

/// What is wrong with an answer.
fn fault(answer: &Value, query: &[f32], least: u64) -> Option<&'static str> {
    let Some(hits) = answer["results"].as_array() else { return Some("no results") };
    let ids: BTreeSet<_> = hits.iter().map(|hit| hit["id"].as_str().unwrap_or("")).collect();
    let similarities: Vec<f32> = hits.iter().filter_map(|hit| number(&hit["similarity"])).collect();
    if ids.len() != hits.len() || hits.len() > LIMIT {
        return Some("an item twice, or too many");
    }
    if similarities.len() != hits.len() || !similarities.is_sorted_by(|a, b| a >= b) {
        return Some("not in order");
    }
    hits.iter().zip(similarities).find_map(|(hit, similarity)| fault_of_hit(hit, similarity, query, least))
}

/// Vector, attributes and distance must come from one version of the item.
fn fault_of_hit(hit: &Value, similarity: f32, query: &[f32], least: u64) -> Option<&'static str> {
    let Some(n) = hit["attributes"]["n"].as_u64() else { return Some("no attributes") };
    let Some(stored) = hit["vector"].as_array() else { return Some("no vector") };
    let writer = hit["id"].as_str().and_then(|id| id.split('/').next()).unwrap_or("");
    if hit["attributes"]["batch"] != format!("{writer}-{n}") {
        return Some("attributes of two versions");
    }
    if n < least {
        return Some("the filter does not hold");
    }
    let squares = query.iter().zip(stored).map(|(query, stored)| {
        let difference = query - number(stored).unwrap_or(f32::NAN);
        difference * difference
    });
    // All of these are exact, see `Random::vector`.
    (squares.sum::<f32>() != -similarity).then_some("not its distance")
}

/// The f32 that was written.
fn number(value: &Value) -> Option<f32> {
    value.as_f64().map(|number| number as f32)
}
