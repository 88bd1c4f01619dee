//! Freshness: what was just inserted is found, from another connection, by the next query.

use std::time::Instant;

use serde_json::{Value, json};

use crate::house::{Server, fine, schema};
use crate::{Random, is_long, percentile, take_turn};

const DIMENSION: usize = 16;
const LIMIT: usize = 10;

#[test]
fn single_inserts_are_found_at_once() {
    let _turn = take_turn();
    let count = if is_long() { 10_000 } else { 300 };
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let (inserting, searching) = (server.client(), server.client());
    let (status, document) = inserting.put("", &schema(DIMENSION)).unwrap();
    assert_eq!(status, 201, "{document}");

    let (mut random, mut vector) = (Random(3), Vec::new());
    let (mut answered, mut findable, mut missed) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..count {
        // Every tenth has the vector of the one before it.
        if n % 10 != 9 {
            vector = random.vector(DIMENSION);
        }
        let id = format!("item-{n}");
        let items = json!({"items": [{"id": id, "vector": vector, "attributes": {"n": n}}]});
        let began = Instant::now();
        let seq = fine(inserting.post("/items", &items))["seq"].clone();
        answered.push(began.elapsed());
        let search = json!({"query": {"vector": vector}, "limit": LIMIT});
        let answer = fine(searching.post("/search", &search));
        findable.push(began.elapsed());
        assert!(answer["seq"].as_u64() >= seq.as_u64() && seq.is_u64(), "written {seq}, seen {answer}");
        if !is_found(&answer, &id) {
            missed.push(format!("{id}: {answer}"));
        }
    }
    println!(
        "{count} single inserts: {} found at once; acknowledged p50 {:.2} ms, p99 {:.2} ms; \
         acknowledged and found p50 {:.2} ms, p99 {:.2} ms",
        count - missed.len(),
        percentile(&mut answered, 0.5),
        percentile(&mut answered, 0.99),
        percentile(&mut findable, 0.5),
        percentile(&mut findable, 0.99)
    );
    assert!(missed.is_empty(), "{} were not found: {missed:#?}", missed.len());
    assert_eq!(fine(searching.get("/stats"))["items"], count);
}

/// Whether the item is among the results at distance 0; or cannot be, as more are there than were asked for.
fn is_found(answer: &Value, id: &str) -> bool {
    let hits = answer["results"].as_array().unwrap().iter();
    let ties: Vec<_> = hits.filter(|hit| hit["similarity"].as_f64() == Some(0.0)).collect();
    ties.len() == LIMIT || ties.iter().any(|hit| hit["id"] == id)
}
