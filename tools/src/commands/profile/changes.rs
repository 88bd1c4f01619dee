//! What moves between two replays of the same requests.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use serde_json::Value;
use shortlist::eval::{
    self, Estimate, Moves, Resampling, attention, distance, overlap_at, rank_biased_overlap,
};

use crate::commands::replay::results;

/// How far a reader looks down a list, for rank-biased overlap: the first 10 places have 86 % of the weight.
const PERSISTENCE: f64 = 0.9;
/// Items and values that are listed.
const LISTED: usize = 10;
/// An attribute with more values than this is compared only when asked for.
const FEW_VALUES: usize = 20;

/// What an answer's first places hold.
#[derive(Debug, Clone, Default)]
pub struct Replayed {
    pub ids: Vec<String>,
    pub scores: Vec<f64>,
    /// Of each result the values of each attribute.
    pub values: Vec<BTreeMap<String, Vec<String>>>,
    /// Of each result the names of the rules that touched it.
    pub rules: Vec<Vec<String>>,
    /// Shortfalls of the answer.
    pub shortfalls: usize,
}

impl Replayed {
    /// Of an answer, its first k results.
    pub fn of(answer: &Value, k: usize) -> Replayed {
        let mut replayed = Replayed::default();
        for result in results(answer).iter().take(k) {
            replayed.ids.push(result["id"].as_str().unwrap_or_default().to_owned());
            replayed.scores.push(result["score"].as_f64().unwrap_or_default());
            let attributes = result["attributes"].as_object().into_iter().flatten();
            replayed.values.push(attributes.map(|(name, value)| (name.clone(), texts(value))).collect());
            let rules = result["explain"]["rules"].as_array().into_iter().flatten();
            replayed.rules.push(rules.filter_map(|rule| Some(rule["name"].as_str()?.to_owned())).collect());
        }
        replayed.shortfalls = answer["shortfalls"].as_array().map_or(0, Vec::len);
        replayed
    }
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(list) => list.iter().flat_map(texts).collect(),
        Value::String(text) => vec![text.clone()],
        other => vec![other.to_string()],
    }
}

/// All that moves.
#[derive(Debug, Serialize)]
pub struct Changes {
    pub a: String,
    pub b: String,
    pub k: usize,
    pub requests: usize,
    /// Requests whose first k change at all, in items or in order.
    pub changed_lists: usize,
    /// Requests whose first result changes.
    pub changed_first: usize,
    /// Of B's results those that A has not, over all.
    pub changed_results: f64,
    pub overlap: Estimate,
    pub rank_biased_overlap: Estimate,
    /// Places that results in both move, mean over requests.
    pub mean_move: Option<Estimate>,
    /// Answers with a shortfall.
    pub short: (usize, usize),
    pub entered: Vec<Count>,
    pub left: Vec<Count>,
    pub exposure: Vec<Exposure>,
    pub rules: Vec<Touched>,
    /// Requests whose lists change, those that change most first.
    pub most_changed: Vec<Changed>,
}

/// How often an item enters, or leaves.
#[derive(Debug, PartialEq, Serialize)]
pub struct Count {
    pub id: String,
    pub lists: usize,
}

/// Shares of the exposure by an attribute's values.
#[derive(Debug, Serialize)]
pub struct Exposure {
    pub attribute: String,
    pub values: usize,
    /// The share that moves from some values to others.
    pub moved: f64,
    /// Values whose share changes most.
    pub largest: Vec<Share>,
}

#[derive(Debug, Serialize)]
pub struct Share {
    pub value: String,
    pub a: f64,
    pub b: f64,
}

/// How often a rule touches a result among the first k. Items that a `drop` rule takes out are never results.
#[derive(Debug, PartialEq, Serialize)]
pub struct Touched {
    pub rule: String,
    pub a_results: usize,
    pub a_lists: usize,
    pub b_results: usize,
    pub b_lists: usize,
}

#[derive(Debug, Serialize)]
pub struct Changed {
    /// Its place among the requests, from 0.
    pub request: usize,
    pub name: String,
    pub rank_biased_overlap: f64,
}

impl Changes {
    /// From A's answers to B's, request by request. `by` are attributes, and whether also those of many values.
    pub fn between(
        (a, of_a): (String, &[Replayed]),
        (b, of_b): (String, &[Replayed]),
        names: &[&str],
        (by, all): (&[&str], bool),
        k: usize,
        how: &Resampling,
    ) -> Changes {
        let lists = numbered(of_a, of_b);
        let overlaps: Vec<f64> = lists.iter().map(|(a, b)| overlap_at(a, b, k)).collect();
        let closeness: Vec<f64> = lists.iter().map(|(a, b)| rank_biased_overlap(a, b, PERSISTENCE)).collect();
        let moves: Vec<Moves> = lists.iter().map(|(a, b)| Moves::between(a, b)).collect();
        let mean_moves: Vec<f64> = moves.iter().filter_map(Moves::mean_move).collect();
        let results: usize = of_b.iter().map(|one| one.ids.len()).sum();
        let new: usize = moves.iter().map(|moves| moves.entered.len()).sum();
        let pairs = || of_a.iter().zip(of_b);
        let short = |of: &[Replayed]| of.iter().filter(|one| one.shortfalls > 0).count();
        let none = Estimate { value: 1.0, low: 1.0, high: 1.0 };
        let exposure = by.iter().map(|attribute| exposure(attribute, of_a, of_b));
        Changes {
            a,
            b,
            k,
            requests: names.len(),
            changed_lists: pairs().filter(|(a, b)| a.ids != b.ids).count(),
            changed_first: pairs().filter(|(a, b)| a.ids.first() != b.ids.first()).count(),
            changed_results: new as f64 / results.max(1) as f64,
            overlap: eval::mean(&overlaps, how).unwrap_or(none),
            rank_biased_overlap: eval::mean(&closeness, how).unwrap_or(none),
            mean_move: eval::mean(&mean_moves, how),
            short: (short(of_a), short(of_b)),
            entered: counts(of_b, of_a),
            left: counts(of_a, of_b),
            exposure: exposure.filter(|one| all || one.values <= FEW_VALUES).collect(),
            rules: touched(of_a, of_b),
            most_changed: most_changed(names, &closeness),
        }
    }
}

/// Both lists of each request with one numbering.
fn numbered(of_a: &[Replayed], of_b: &[Replayed]) -> Vec<(Vec<u32>, Vec<u32>)> {
    let mut numbers: HashMap<String, u32> = HashMap::new();
    let mut list = |ids: &[String]| -> Vec<u32> {
        let number = |id: &String| {
            let next = numbers.len() as u32;
            *numbers.entry(id.clone()).or_insert(next)
        };
        ids.iter().map(number).collect()
    };
    of_a.iter().zip(of_b).map(|(a, b)| (list(&a.ids), list(&b.ids))).collect()
}

/// In how many lists an item is that the other side's list for the same request has not; the most frequent.
fn counts(these: &[Replayed], others: &[Replayed]) -> Vec<Count> {
    let mut counts: HashMap<&String, usize> = HashMap::new();
    for (this, other) in these.iter().zip(others) {
        for id in this.ids.iter().filter(|id| !other.ids.contains(id)) {
            *counts.entry(id).or_default() += 1;
        }
    }
    let mut counts: Vec<Count> =
        counts.into_iter().map(|(id, lists)| Count { id: id.clone(), lists }).collect();
    counts.sort_by(|x, y| y.lists.cmp(&x.lists).then_with(|| x.id.cmp(&y.id)));
    counts.truncate(LISTED);
    counts
}

/// Exposure by the values of an attribute; a result shares its attention evenly among its values.
fn exposure(attribute: &str, of_a: &[Replayed], of_b: &[Replayed]) -> Exposure {
    let mut sums: BTreeMap<String, [f64; 2]> = BTreeMap::new();
    for (side, of) in [of_a, of_b].into_iter().enumerate() {
        for one in of {
            for (place, values) in one.values.iter().enumerate() {
                let none = vec!["(none)".to_owned()];
                let values = values.get(attribute).unwrap_or(&none);
                for value in values {
                    sums.entry(value.clone()).or_default()[side] += attention(place) / values.len() as f64;
                }
            }
        }
    }
    let totals = [0, 1].map(|side| sums.values().map(|sum| sum[side]).sum::<f64>().max(f64::MIN_POSITIVE));
    let share =
        |(value, sum): (String, [f64; 2])| Share { value, a: sum[0] / totals[0], b: sum[1] / totals[1] };
    let mut largest: Vec<Share> = sums.into_iter().map(share).collect();
    let (a, b): (Vec<f64>, Vec<f64>) = largest.iter().map(|share| (share.a, share.b)).unzip();
    let values = largest.len();
    // Stable: equal changes stay in the order of the values.
    largest.sort_by(|x, y| (y.b - y.a).abs().total_cmp(&(x.b - x.a).abs()));
    largest.truncate(LISTED);
    Exposure { attribute: attribute.to_owned(), values, moved: distance(&a, &b), largest }
}

fn touched(of_a: &[Replayed], of_b: &[Replayed]) -> Vec<Touched> {
    let mut counts: BTreeMap<String, [usize; 4]> = BTreeMap::new();
    for (side, of) in [of_a, of_b].into_iter().enumerate() {
        for one in of {
            let mut lists: BTreeMap<&String, usize> = BTreeMap::new();
            one.rules.iter().flatten().for_each(|rule| *lists.entry(rule).or_default() += 1);
            for (rule, results) in lists {
                let count = counts.entry(rule.clone()).or_default();
                count[2 * side] += results;
                count[2 * side + 1] += 1;
            }
        }
    }
    let touched = |(rule, [a_results, a_lists, b_results, b_lists]): (String, [usize; 4])| Touched {
        rule,
        a_results,
        a_lists,
        b_results,
        b_lists,
    };
    counts.into_iter().map(touched).collect()
}

fn most_changed(names: &[&str], closeness: &[f64]) -> Vec<Changed> {
    let all = names.iter().zip(closeness).enumerate();
    let mut changed: Vec<Changed> = all
        .filter(|(_, (_, closeness))| **closeness < 1.0 - 1e-12)
        .map(|(request, (name, closeness))| Changed {
            request,
            name: (*name).to_owned(),
            rank_biased_overlap: *closeness,
        })
        .collect();
    changed.sort_by(|x, y| x.rank_biased_overlap.total_cmp(&y.rank_biased_overlap));
    changed.truncate(LISTED);
    changed
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(results: &[(&str, &str, &[&str])]) -> Replayed {
        let result = |(id, seller, rules): &(&str, &str, &[&str])| {
            let rules: Vec<Value> = rules.iter().map(|name| json!({"name": name, "change": 0.1})).collect();
            json!({"id": id, "score": 0.5, "attributes": {"seller": seller}, "explain": {"rules": rules}})
        };
        Replayed::of(
            &json!({"results": results.iter().map(result).collect::<Vec<_>>(), "shortfalls": []}),
            10,
        )
    }

    #[test]
    fn what_moves_by_hand() {
        let a = [
            answer(&[("x", "north", &[]), ("y", "south", &[]), ("z", "north", &[])]),
            answer(&[("x", "north", &[]), ("y", "south", &[])]),
        ];
        let b = [
            answer(&[("y", "south", &["own"]), ("w", "south", &["own", "sale"]), ("x", "north", &[])]),
            answer(&[("x", "north", &[]), ("y", "south", &["own"])]),
        ];
        let how = Resampling { rounds: 100, ..Resampling::default() };
        let sides = (("plain".to_owned(), &a[..]), ("shop".to_owned(), &b[..]));
        let found = Changes::between(sides.0, sides.1, &["q1", "q2"], (&["seller"], false), 3, &how);
        assert_eq!((found.changed_lists, found.changed_first), (1, 1));
        assert!((found.changed_results - 0.2).abs() < 1e-12);
        assert!((found.overlap.value - (2.0 / 3.0 + 1.0) / 2.0).abs() < 1e-12);
        assert_eq!(found.mean_move.map(|found| found.value), Some(0.75));
        assert_eq!(found.entered, [Count { id: "w".to_owned(), lists: 1 }]);
        assert_eq!(found.left, [Count { id: "z".to_owned(), lists: 1 }]);
        let touched = |rule: &str, b_results, b_lists| Touched {
            rule: rule.to_owned(),
            a_results: 0,
            a_lists: 0,
            b_results,
            b_lists,
        };
        assert_eq!(found.rules, [touched("own", 3, 2), touched("sale", 1, 1)]);
        // North has places 1 and 3, and 1, of A; place 3, and 1, of B.
        let (second, third) = (1.0 / 3_f64.log2(), 0.5);
        let total = 2.0 + 2.0 * second + third;
        let north = found.exposure[0].largest.iter().find(|share| share.value == "north").expect("north");
        assert!((north.a - (2.0 + third) / total).abs() < 1e-12);
        assert!((north.b - (1.0 + third) / total).abs() < 1e-12);
        assert!((found.exposure[0].moved - 1.0 / total).abs() < 1e-12);
        assert_eq!(found.most_changed.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["q1"]);
    }
}
