//! Lists whose deadline came in the middle, or before the first step: valid under their limits, and honest about it.

use std::cell::Cell;

use serde_json::json;

use super::*;
use crate::attributes::FilterContext;
use crate::index::Candidate;
use crate::rank::tests::World;
use crate::rank::{Basis, ItemVectors, RankInput, Ranking, rank};

/// So many items of eight sellers and thirty sections, on a circle; the first has the best similarity.
fn world(items: u32) -> (World, Vec<Candidate>) {
    let row = |n: u32| {
        let angle = f64::from(n * 7 % 1_000) / 159.0;
        let attributes = json!({"seller": format!("s{}", n % 8), "section": format!("c{}", n % 30)});
        (format!("i{n:05}"), attributes, vec![angle.cos() as f32, angle.sin() as f32])
    };
    let rows: Vec<_> = (0..items).map(row).collect();
    let candidate = |item: u32| Candidate { item, similarity: 1.0 - item as f32 / 10_000.0 };
    (
        World::new(json!({"seller": "keyword", "section": "keyword"}), &rows),
        (0..items).map(candidate).collect(),
    )
}

/// Ranks until a deadline.
fn until(deadline: &Deadline, world: &World, input: RankInput<'_>, profile: &Json) -> Ranking {
    rank(&world.profile(profile), &RankInput { deadline, ..input }).expect("ranked")
}

fn items(ranking: &Ranking) -> Vec<u32> {
    ranking.results.iter().map(|result| result.item).collect()
}

/// How many results have the fullest seller.
fn fullest(ranking: &Ranking) -> usize {
    let of = |seller: u32| ranking.results.iter().filter(|result| result.item % 8 == seller).count();
    (0..8).map(of).max().unwrap_or(0)
}

#[test]
fn without_a_deadline_that_comes_everything_is_as_before() {
    let (world, candidates) = world(600);
    let context = FilterContext::default();
    let profile = json!({"diversity": {"mmr": {"diversity": 0.5},
        "limits": [{"name": "seller", "attribute": "seller", "max": 20}], "relax": ["seller"]}});
    let input = world.input(&candidates, &context, 200);
    let whole = until(&Deadline::never(), &world, input, &profile);
    let late = until(&Deadline::after(usize::MAX / 2), &world, input, &profile);
    assert!(whole.cut.is_empty() && late.cut.is_empty());
    assert_eq!(format!("{:?}", whole.results), format!("{:?}", late.results));
    assert_eq!(whole.shortfalls, late.shortfalls);
}

#[test]
fn mmr_goes_on_by_score_under_the_same_limits() {
    let (world, candidates) = world(2_000);
    let context = FilterContext::default();
    let profile = json!({"diversity": {"mmr": {"diversity": 0.9}, "limits": [
        {"name": "seller", "attribute": "seller", "max": 40},
        {"name": "spread", "attribute": "section", "window": 5, "max": 1}]}});
    let input = RankInput { explain: false, ..world.input(&candidates, &context, 300) };
    let whole = until(&Deadline::never(), &world, input, &profile);
    let cut = until(&Deadline::after(2_000_000), &world, input, &profile);
    let words = cut.cut.first().expect("said");
    let from = words
        .strip_prefix("from position ")
        .and_then(|words| words.strip_suffix(" on by score, without mmr"));
    let from: usize = from.expect(words).parse().expect("a number");
    assert!((2..300).contains(&from), "{from}");
    let (whole, got) = (items(&whole), items(&cut));
    assert_eq!(got[..from - 1], whole[..from - 1], "what there was time for is the same");
    assert_eq!(got.len(), 300, "{:?}", cut.shortfalls);
    // By score, as far as the limits let it: items are numbered by score.
    let rest = &got[from - 1..];
    let best = (0..).filter(|item| !got[..from - 1].contains(item)).take(rest.len());
    assert!(rest.iter().sum::<u32>() < 2 * best.sum::<u32>(), "{rest:?}");
    assert!(fullest(&cut) <= 40);
    for window in got.windows(5) {
        let sections: std::collections::HashSet<u32> = window.iter().map(|item| item % 30).collect();
        assert_eq!(sections.len(), 5, "{window:?}");
    }
    assert!(cut.shortfalls.is_empty(), "{:?}", cut.shortfalls);
}

/// Vectors that are counted as they are fetched.
struct Counted<'a> {
    world: &'a World,
    fetched: Cell<usize>,
}

impl ItemVectors for Counted<'_> {
    fn vector(&self, item: u32, out: &mut Vec<f32>) {
        self.fetched.set(self.fetched.get() + 1);
        self.world.vector(item, out);
    }
}

#[test]
fn a_deadline_bounds_the_work() {
    let (world, candidates) = world(5_000);
    let context = FilterContext::default();
    let profile = json!({"diversity": {"mmr": {"diversity": 1.0}}});
    let fetched = |deadline: &Deadline| {
        let vectors = Counted { world: &world, fetched: Cell::new(0) };
        let input = RankInput { vectors: &vectors, explain: false, ..world.input(&candidates, &context, 50) };
        let ranking = until(deadline, &world, input, &profile);
        assert_eq!((ranking.results.len(), ranking.cut.is_empty()), (50, !deadline.has_passed()));
        vectors.fetched.get()
    };
    assert_eq!(fetched(&Deadline::never()), 5_000);
    let few = fetched(&Deadline::after(0));
    assert!(few <= Deadline::LOOK / 32, "{few}");
}

#[test]
fn a_list_that_would_be_exchanged_is_valid_and_says_so() {
    // Greedily, the first of each pair takes the room of two others.
    let (world, candidates) = world(4_000);
    let context = FilterContext::default();
    let limit =
        |name: &str, attribute: &str, max: u32| json!({"name": name, "attribute": attribute, "max": max});
    let profile =
        json!({"diversity": {"limits": [limit("seller", "seller", 300), limit("section", "section", 80)]}});
    let input = RankInput { explain: false, ..world.input(&candidates, &context, 2_500) };
    let whole = until(&Deadline::never(), &world, input, &profile);
    assert_eq!(whole.results.len(), 2_400, "every section is full");
    let cut = until(&Deadline::after(0), &world, input, &profile);
    assert_eq!(cut.cut, ["candidates were not exchanged for a longer list"]);
    assert!(fullest(&cut) <= 300 && cut.results.len() <= 2_400);
    let results = cut.shortfalls.iter().find(|shortfall| shortfall.name == "results").expect("short");
    assert_eq!((results.wanted, results.got), (2_500, cut.results.len()));
}

#[test]
fn pins_stay_and_what_cannot_be_finished_ends() {
    let (world, candidates) = world(3_000);
    let context = FilterContext::default();
    // Nobody but the first fits: the others are asked again at every position.
    let profile = json!({"rules": [{"name": "hero", "pin": {"id": "i02999", "position": 3}}], "diversity": {"limits": [
        {"name": "a", "attribute": "section", "window": 10_000, "max": 60}]}});
    let pinned = [candidates[2_999]];
    let input = RankInput { pinned: &pinned, explain: false, ..world.input(&candidates, &context, 2_000) };
    let whole = until(&Deadline::never(), &world, input, &profile);
    let ends = finishing(&Deadline::after(0));
    assert!(!ends.spends(29_000_000) && ends.spends(2_000_000), "30 ms of work");
    let cut = until(&Deadline::after(0), &world, input, &profile);
    assert_eq!(whole.results[2].pinned.as_deref(), Some("hero"));
    assert_eq!(cut.results[2].pinned.as_deref(), Some("hero"));
    for ranking in [&whole, &cut] {
        for section in 0..30 {
            assert!(ranking.results.iter().filter(|result| result.item % 30 == section).count() <= 60);
        }
    }
    // It is all that the limit allows, or it ended before and says so.
    if cut.results.len() < whole.results.len() {
        assert!(cut.cut.contains(&"the list was not filled".to_owned()), "{:?}", cut.cut);
        let short = cut.shortfalls.iter().find(|shortfall| shortfall.name == "results").expect("short");
        assert_eq!(short.reason, "there was no time to fill the list");
    }
}

#[test]
fn slots_are_left_empty_before_they_are_drawn_and_estimated_coarsely_after() {
    let (world, candidates) = world(1_200);
    let context = FilterContext::default();
    let profile = json!({"explore": {"positions": [1, 2, 3, 4], "max_age": "9999d", "policy": "thompson", "candidates": 1_000}});
    let (main, newcomers) = candidates.split_at(200);
    let input = RankInput { newcomers, seed: 7, explain: false, ..world.input(main, &context, 10) };
    let explored = |ranking: &Ranking| -> Vec<(u32, f64)> {
        let all = ranking.results.iter().filter_map(|result| Some((result.item, result.explored?)));
        all.inspect(|(_, explored)| assert_eq!(explored.basis, Basis::Estimated))
            .map(|(item, explored)| (item, explored.propensity))
            .collect()
    };
    let whole = explored(&until(&Deadline::never(), &world, input, &profile));
    assert_eq!(whole.len(), 4);
    // In the middle of the second slot's estimate.
    let cut = until(&Deadline::after(90_000_000), &world, input, &profile);
    let drawn = explored(&cut);
    assert_eq!((drawn.len(), drawn[0]), (2, whole[0]));
    assert_eq!(drawn[1].0, whole[1].0, "who is drawn does not depend on the time");
    assert!(drawn[1].1 != whole[1].1 && (drawn[1].1 / whole[1].1 - 1.0).abs() < 0.5, "{drawn:?} {whole:?}");
    assert_eq!(cut.cut, ["a propensity is from fewer samples", "explore slots were left empty"]);
    let empty = cut.shortfalls.iter().find(|shortfall| shortfall.name == "explore").expect("said");
    assert_eq!((empty.wanted, empty.got, empty.reason.as_str()), (4, 2, "there was no time to draw more"));
    assert_eq!(cut.results.len(), 10);
    let none = until(&Deadline::after(0), &world, input, &profile);
    assert!(explored(&none).is_empty());
    assert_eq!(none.cut, ["explore slots were left empty"]);
}

#[test]
fn explanations_end_and_say_where() {
    let (world, candidates) = world(300);
    let context = FilterContext::default();
    let why = [candidates[299]];
    let input = RankInput { why: &why, ..world.input(&candidates, &context, 100) };
    let past = Deadline::at(Some(std::time::Instant::now()));
    let ranking = until(&past, &world, input, &json!({"score": {"similarity": 2}}));
    assert_eq!(items(&ranking), (0..100).collect::<Vec<u32>>());
    assert!(ranking.results.iter().all(|result| result.explain.is_none()));
    assert_eq!(ranking.cut, ["from position 1 on nothing is explained", "not all of `why` is accounted for"]);
    assert_eq!(ranking.why, [json!({"because": {"kind": "no-time"}})]);
}

#[test]
fn rules_whose_filters_take_too_long_leave_no_list() {
    let (world, candidates) = world(2_000);
    let context = FilterContext::default();
    let tests: Vec<Json> = (0..4_500).map(|n| json!({"section": format!("c{n}")})).collect();
    let rule = |n: usize| json!({"name": format!("r{n}"), "when": {"any": tests}, "multiply": 2});
    let profile = world.profile(&json!({"rules": (0..4).map(rule).collect::<Vec<_>>()}));
    let input = world.input(&candidates, &context, 100);
    let error = rank(&profile, &RankInput { deadline: &Deadline::after(0), ..input }).expect_err("late");
    assert!(error.is_late, "{error}");
}
