//! The lazy fill against the plain greedy one, and limits that never break.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::attributes::FilterContext;
use crate::rank::tests::World;

/// Greedy as the definition reads: every step compares every candidate with every pick.
fn naive(
    pool: &[Scored],
    limits: &mut Limits<'_>,
    vectors: &dyn ItemVectors,
    diversity: f64,
    wanted: usize,
) -> Vec<(usize, f64)> {
    let unit = |place: usize| {
        let mut vector = Vec::new();
        vectors.vector(pool[place].item, &mut vector);
        normalise(&mut vector);
        vector
    };
    let mut picks: Vec<(usize, f64)> = Vec::new();
    while picks.len() < wanted {
        let mut best: Option<(usize, f64)> = None;
        for place in 0..pool.len() {
            if picks.iter().any(|(pick, _)| *pick == place) || !limits.admit(place) {
                continue;
            }
            let cosines = picks.iter().map(|(pick, _)| cosine(&unit(place), &unit(*pick)));
            let nearest = cosines.max_by(f32::total_cmp).unwrap_or(0.0);
            let value = marginal(diversity, scaled(pool[place].score, score_range(pool)), nearest);
            if best.is_none_or(|(_, other)| value > other) {
                best = Some((place, value));
            }
        }
        let Some((place, value)) = best else { break };
        limits.take(place);
        picks.push((place, value));
    }
    picks
}

fn world(items: &[(u8, Vec<u8>, Vec<i8>)]) -> World {
    let rows: Vec<_> = items
        .iter()
        .enumerate()
        .map(|(n, (seller, tags, vector))| {
            let tags: Vec<_> = tags.iter().map(|tag| format!("t{tag}")).collect();
            let own = if *seller == 0 { Json::Null } else { json!(seller % 2 == 0) };
            let attributes =
                json!({"seller": format!("s{seller}"), "tags": tags, "size": seller / 2, "own": own});
            (format!("i{n}"), attributes, vector.iter().map(|x| f32::from(*x)).collect())
        })
        .collect();
    World::new(json!({"seller": "keyword", "tags": "keywords", "size": "int", "own": "bool"}), &rows)
}

fn pool(scores: &[f64]) -> Vec<Scored> {
    let scored = |(item, score): (u32, &f64)| Scored { item, similarity: 0.0, u: 0.0, score: *score };
    let mut pool: Vec<_> = (0..).zip(scores).map(scored).collect();
    pool.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.item.cmp(&b.item)));
    pool
}

/// How often each value of the taken items comes.
fn most(world: &World, picks: &[Pick], pool: &[Scored], attribute: &str) -> usize {
    let (ordinal, _) = world.schema.find(attribute).expect("attribute");
    let mut counts: HashMap<String, usize> = HashMap::new();
    for pick in picks {
        let values: BTreeSet<String> = match world.columns.get(ordinal, pool[pick.place].item) {
            Some(Value::Keywords(list)) => list.into_iter().collect(),
            Some(other) => [format!("{other:?}")].into(),
            None => BTreeSet::new(),
        };
        values.into_iter().for_each(|value| *counts.entry(value).or_default() += 1);
    }
    counts.into_values().max().unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn lazy_is_greedy_and_limits_hold(
        items in prop::collection::vec(
            (0..6u8, prop::collection::vec(0..4u8, 0..4), prop::collection::vec(-2..=2i8, 3), 0..20u8), 0..25),
        diversity in prop_oneof![Just(0.0), Just(1.0), 0.0..=1.0f64], wanted in 0..30usize,
        seller in 1..4usize, tags in 1..4usize, size in 1..6usize, own in 1..9usize,
    ) {
        let scores: Vec<f64> = items.iter().map(|(.., score)| f64::from(*score) / 7.0).collect();
        let rows: Vec<_> = items.into_iter().map(|(seller, tags, vector, _)| (seller, tags, vector)).collect();
        let world = world(&rows);
        let profile = world.profile(&json!({"diversity": {"limits": [
            {"name": "a", "attribute": "seller", "max": seller}, {"name": "b", "attribute": "tags", "max": tags},
            {"name": "c", "attribute": "size", "max": size}, {"name": "d", "attribute": "own", "max": own}]}}));
        let active = || profile.recipe.active_limits(&FilterContext::default()).expect("limits");
        let pool = pool(&scores);
        let (mut limits, mut again) = (Limits::new(active(), &world.columns, &pool), Limits::new(active(), &world.columns, &pool));
        let picks = select(&pool, &mut limits, &world, diversity, wanted);
        let greedy = naive(&pool, &mut again, &world, diversity, wanted);
        let places: Vec<_> = picks.iter().map(|pick| pick.place).collect();
        prop_assert_eq!(places, greedy.iter().map(|(place, _)| *place).collect::<Vec<_>>());
        for (pick, (_, value)) in picks.iter().zip(&greedy) {
            prop_assert!(pick.relevance.as_ref().is_none_or(|relevance| relevance.value == *value));
        }
        for (attribute, max) in [("seller", seller), ("tags", tags), ("size", size), ("own", own)] {
            prop_assert!(most(&world, &picks, &pool, attribute) <= max, "{attribute}");
        }
        // Short only when limits refuse all that is left, and then it says so.
        prop_assert!(picks.len() <= wanted);
        let short = picks.len() < wanted && picks.len() < pool.len();
        prop_assert_eq!(limits.shortfall(wanted, picks.len()).is_some(), short);
        if short {
            let left = (0..pool.len()).filter(|place| picks.iter().all(|pick| pick.place != *place));
            let free: Vec<_> = left.filter(|place| limits.admit(*place)).collect();
            prop_assert_eq!(free, Vec::<usize>::new());
        }
    }
}

#[test]
fn a_limit_on_one_value_leaves_the_others_alone() {
    let world =
        world(&[(1, vec![], vec![1]), (1, vec![], vec![1]), (2, vec![], vec![1]), (2, vec![], vec![1])]);
    for (limit, places) in [
        (json!({"attribute": "seller", "value": "s1", "max": 1}), vec![0, 2, 3]),
        (json!({"attribute": "seller", "value": "nobody", "max": 1}), vec![0, 1, 2, 3]),
        (json!({"attribute": "own", "value": true, "max": 1}), vec![0, 1, 2]),
        (json!({"attribute": "size", "value": 1, "max": 1}), vec![0, 1, 2]),
        (json!({"attribute": "size", "value": 1, "max": 1, "enabled": false}), vec![0, 1, 2, 3]),
    ] {
        let limit = crate::rank::merge_patch(&limit, &json!({"name": "l"}));
        let profile = world.profile(&json!({"diversity": {"limits": [limit]}}));
        let active = profile.recipe.active_limits(&FilterContext::default()).expect("limits");
        let pool = pool(&[4.0, 3.0, 2.0, 1.0]);
        let picks = select(&pool, &mut Limits::new(active, &world.columns, &pool), &world, 0.0, 9);
        assert_eq!(picks.iter().map(|pick| pick.place).collect::<Vec<_>>(), places, "{limit}");
    }
}

#[test]
fn zero_and_huge_vectors_have_cosines() {
    for (vector, length) in [(vec![0.0, 0.0], 0.0), (vec![f32::MAX; 40], 1.0), (vec![f32::NAN, 1.0], 0.0)] {
        let mut unit = vector;
        normalise(&mut unit);
        assert!((cosine(&unit, &unit) - length).abs() < 1e-5);
    }
}
