//! The usual answer as JSON: its results, which are nearly all of it, are written by hand.
//!
//! Whatever carries more than id and scores goes through serde. The bytes are the same either way.

use super::answer::{Hit, SearchAnswer};

/// What an answer without results begins with.
const EMPTY: &[u8] = br#"{"results":["#;
/// Bytes of a usual result, its id included.
const USUAL: usize = 80;

impl SearchAnswer<'_> {
    /// Appends the answer as JSON.
    pub fn write(&mut self, json: &mut Vec<u8>) -> serde_json::Result<()> {
        let results = std::mem::take(&mut self.results);
        json.reserve(USUAL * (results.len() + 8));
        json.extend_from_slice(EMPTY);
        for (place, hit) in results.iter().enumerate() {
            if place > 0 {
                json.push(b',');
            }
            write_hit(json, hit)?;
        }
        // The rest of the answer is that of one without results.
        let rest = json.len();
        serde_json::to_writer(&mut *json, self)?;
        json.drain(rest..rest + EMPTY.len());
        self.results = results;
        Ok(())
    }
}

fn write_hit(json: &mut Vec<u8>, hit: &Hit<'_>) -> serde_json::Result<()> {
    let (score, Some(similarity), None) = (hit.score as f32, hit.similarity, &hit.beside) else {
        return serde_json::to_writer(json, hit);
    };
    if f64::from(score).to_bits() != hit.score.to_bits()
        || score.to_bits() != similarity.to_bits()
        || !is_plain(hit.id.as_bytes())
    {
        return serde_json::to_writer(json, hit);
    }
    json.extend_from_slice(br#"{"id":""#);
    json.extend_from_slice(hit.id.as_bytes());
    json.extend_from_slice(br#"","score":"#);
    let number = json.len();
    serde_json::to_writer(&mut *json, &score)?;
    let end = json.len();
    json.extend_from_slice(br#","similarity":"#);
    json.extend_from_within(number..end);
    json.push(b'}');
    Ok(())
}

/// Whether bytes are ASCII that needs no escapes.
fn is_plain(bytes: &[u8]) -> bool {
    let plain = |byte: u8| (0x20..0x80).contains(&byte) & (byte != b'"') & (byte != b'\\');
    bytes.iter().fold(true, |all, &byte| all & plain(byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::super::answer::{Beside, Group, Id, Plan};
    use super::*;
    use crate::index::PlanKind;
    use crate::rank::Shortfall;

    fn any_f32() -> impl Strategy<Value = f32> {
        prop_oneof![any::<f32>(), -1.0f32..1.0, Just(0.0), Just(-0.0), Just(1.0), Just(f32::NAN)]
    }

    fn beside() -> impl Strategy<Value = Option<Box<Beside>>> {
        let some = ("\\PC{0,4}", any::<bool>()).prop_map(|(text, bare)| {
            let attributes = Map::from_iter([(text.clone(), Value::from(text.clone()))]);
            let attributes = if bare { None } else { Some(attributes) };
            Beside { attributes, pinned: Some(text), ..Beside::default() }.boxed()
        });
        prop_oneof![4 => Just(None), 1 => some]
    }

    /// An id, a score that may be the similarity, a similarity, and what goes beside.
    type Made = (Vec<u8>, Option<f64>, Option<f32>, Option<Box<Beside>>);

    fn made() -> impl Strategy<Value = Made> {
        let text = prop_oneof!["[a-z0-9+.-]{1,20}", any::<String>(), "[\\x00-\\x22\\\\\\x7f]{0,3}"];
        let id = prop_oneof![9 => text.prop_map(String::into_bytes), 1 => any::<Vec<u8>>()];
        (id, prop::option::weighted(0.3, any::<f64>()), prop::option::weighted(0.8, any_f32()), beside())
    }

    fn hit(made: &Made) -> Hit<'_> {
        let (id, score, similarity, beside) = made;
        let score = score.unwrap_or(f64::from(similarity.unwrap_or(0.5)));
        Hit { id: Id::new(id), score, similarity: *similarity, beside: beside.clone() }
    }

    fn answer<'a>(results: Vec<Hit<'a>>, text: &str, groups: bool) -> SearchAnswer<'a> {
        let shortfall =
            Shortfall { name: text.to_owned(), wanted: 3, got: 1, reason: "results\":[".to_owned() };
        SearchAnswer {
            groups: groups.then(|| vec![Group { value: Value::from(text), results: results.clone() }]),
            results,
            plan: Plan { kind: PlanKind::Graph, matching: 7, ef: 200, visited: 99, interrupted: groups },
            shortfalls: vec![shortfall],
            skipped: vec![text.to_owned()],
            missing_sets: Vec::new(),
            took_us: 123,
            seq: 4,
            build: "b",
            seed: 5,
            now: "2026-01-01T00:00:00Z".to_owned(),
            profile: groups.then(|| text.to_owned()),
            fallback: None,
            why: Vec::new(),
            cursor: None,
        }
    }

    proptest! {
        #[test]
        fn by_hand_as_by_serde(made in prop::collection::vec(made(), 0..12), text: String, groups: bool) {
            let mut answer = answer(made.iter().map(hit).collect(), &text, groups);
            let mut json = b"before".to_vec();
            answer.write(&mut json).unwrap();
            let wanted = format!("before{}", serde_json::to_string(&answer).unwrap());
            prop_assert_eq!(String::from_utf8(json).unwrap(), wanted);
        }
    }
}
