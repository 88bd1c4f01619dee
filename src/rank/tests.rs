//! Ranking as a whole: the page's worked example, whole profiles, and that nothing here ever breaks the promises.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::attributes::{AttributeSchema, Columns, parse_time};

/// Items with their attributes and vectors.
pub(super) struct World {
    pub(super) schema: AttributeSchema,
    pub(super) columns: Columns,
    ids: Vec<String>,
    vectors: Vec<Vec<f32>>,
    never: Deadline,
}

impl World {
    /// Items are `(id, attributes, vector)`.
    pub(super) fn new(schema: Json, items: &[(String, Json, Vec<f32>)]) -> World {
        let schema = AttributeSchema::from_json(&schema).expect("schema");
        let mut builder = Columns::builder(&schema, items.len(), 1).expect("builder");
        for (_, attributes, _) in items {
            let row = schema.parse_row(attributes.as_object().expect("object")).expect("row");
            builder.push(&row).expect("push");
        }
        World {
            columns: builder.finish().expect("columns"),
            schema,
            ids: items.iter().map(|(id, ..)| id.clone()).collect(),
            vectors: items.iter().map(|(.., vector)| vector.clone()).collect(),
            never: Deadline::never(),
        }
    }

    pub(super) fn profile(&self, json: &Json) -> Profile {
        Profile::parse(json, &self.schema).expect("profile")
    }

    /// A request with nothing but candidates.
    pub(super) fn input<'a>(
        &'a self,
        candidates: &'a [Candidate],
        context: &'a FilterContext,
        limit: usize,
    ) -> RankInput<'a> {
        RankInput {
            candidates,
            ordered: false,
            newcomers: &[],
            pinned: &[],
            why: &[],
            metric: Metric::Cosine,
            columns: &self.columns,
            facts: self,
            vectors: self,
            context,
            limit,
            seed: 1,
            explain: true,
            deadline: &self.never,
        }
    }

    fn rank(
        &self,
        profile: &Profile,
        candidates: &[Candidate],
        context: &FilterContext,
        limit: usize,
    ) -> (Vec<Ranked>, Vec<Shortfall>) {
        let ranking = rank(profile, &self.input(candidates, context, limit)).expect("rank");
        (ranking.results, ranking.shortfalls)
    }

    pub(super) fn ids(&self, results: &[Ranked]) -> Vec<&str> {
        results.iter().map(|result| self.id(result.item)).collect()
    }
}

impl ItemFacts for World {
    fn items(&self) -> u32 {
        self.ids.len() as u32
    }
    fn id(&self, item: u32) -> &str {
        &self.ids[item as usize]
    }
    fn find(&self, id: &str) -> Option<u32> {
        self.ids.iter().position(|other| other == id).map(|place| place as u32)
    }
    fn inserted_at(&self, item: u32) -> i64 {
        i64::from(item) * 86_400_000
    }
    fn seq(&self, item: u32) -> u64 {
        u64::from(item)
    }
}

impl ItemVectors for World {
    fn vector(&self, item: u32, out: &mut Vec<f32>) {
        out.clone_from(&self.vectors[item as usize]);
    }
}

/// A shop of six, all of the same similarity but one.
fn shop() -> (World, Vec<Candidate>) {
    let schema =
        json!({"brand": "keyword", "tags": "keywords", "price": "float", "stock": "int", "own": "bool"});
    let rows = [
        json!({"brand": "acme", "tags": ["a", "b"], "price": 10.0, "stock": 1, "own": true}),
        json!({"brand": "acme", "tags": ["b"], "price": 20.0, "stock": 2}),
        json!({"brand": "bolt", "tags": ["a"], "price": -5.0, "stock": 3, "own": false}),
        json!({"brand": "bolt", "price": 1e300}),
        json!({"tags": ["c"], "stock": 5, "own": true}),
        json!({}),
    ];
    let items: Vec<_> = (0..).zip(rows).map(|(n, row)| (format!("i{n}"), row, vec![1.0, n as f32])).collect();
    let candidates = (0..6).map(|item| Candidate { item, similarity: if item == 5 { 0.9 } else { 0.5 } });
    (World::new(schema, &items), candidates.collect())
}

pub(super) fn context(values: Json) -> FilterContext {
    let values = values.as_object().expect("object").clone().into_iter().collect::<BTreeMap<_, _>>();
    FilterContext { now: 10 * 86_400_000, values }
}

fn order(profile: Json, values: Json) -> Vec<String> {
    let (world, candidates) = shop();
    let (results, _) = world.rank(&world.profile(&profile), &candidates, &context(values), 6);
    world.ids(&results).into_iter().map(str::to_owned).collect()
}

const PAGE: &str = include_str!("../../docs/ranking.md");

/// The fenced JSON blocks of a page.
fn blocks(page: &str) -> Vec<Json> {
    let blocks = page.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    blocks.map(|block| serde_json::from_str(block).expect("a JSON block")).collect()
}

fn close(a: &Json, b: f64) -> bool {
    (a.as_f64().expect("a number") - b).abs() < 5e-5
}

#[test]
fn the_page_s_profiles_are_profiles() {
    let schema = json!({"brand": "keyword", "seller": "keyword", "section": "keyword", "tags": "keywords", "own": "bool",
        "sales": "int", "stock": "int", "return_rate": "float"});
    let schema = AttributeSchema::from_json(&schema).expect("schema");
    let profiles = blocks(PAGE.split_once("## A worked example").expect("the example").0);
    assert_eq!(profiles.len(), 7);
    for profile in profiles {
        Profile::parse(&profile, &schema).unwrap_or_else(|error| panic!("{profile}: {error}"));
    }
}

#[test]
fn the_page_s_worked_example() {
    let blocks = blocks(PAGE.split_once("## A worked example").expect("the example").1);
    let [schema, profile, items, results, shortfall] = &blocks[..] else { panic!("{} blocks", blocks.len()) };
    let vector =
        |item: &Json| -> Vec<f32> { serde_json::from_value(item["vector"].clone()).expect("vector") };
    let list = items.as_array().expect("items");
    let rows: Vec<_> = list
        .iter()
        .map(|item| (item["id"].as_str().expect("id").to_owned(), item["attributes"].clone(), vector(item)))
        .collect();
    let world = World::new(schema.clone(), &rows);
    let candidates = (0..).zip(list).map(|(item, json)| Candidate { item, similarity: vector(json)[0] });
    let now = parse_time("2026-12-01T00:00:00Z").expect("time");
    let context = FilterContext { now, values: BTreeMap::new() };
    let (ranked, shortfalls) =
        world.rank(&world.profile(profile), &candidates.collect::<Vec<_>>(), &context, 5);
    let expected = results.as_array().expect("results");
    assert_eq!(ranked.len(), expected.len());
    for (result, expected) in ranked.iter().zip(expected) {
        let explain = result.explain.as_ref().expect("explained");
        assert_eq!(world.id(result.item), expected["id"]);
        assert!(close(&expected["score"], result.score), "{} {}", expected, result.score);
        assert_eq!(explain["position"]["by_score"], expected["by_score"]);
        if let Some(mmr) = expected.get("mmr") {
            assert!(close(mmr, explain["diversity"]["mmr"].as_f64().expect("mmr")), "{expected} {explain}");
            assert_eq!(explain["diversity"]["to"], expected["to"]);
        }
    }
    assert_eq!(serde_json::to_value(&shortfalls[0]).expect("json"), *shortfall);
}

#[test]
fn ties_go_by_u_and_then_by_id() {
    // i5 is nearer; all others tie.
    assert_eq!(order(json!({}), json!({})), ["i5", "i0", "i1", "i2", "i3", "i4"]);
    assert_eq!(order(json!({"score": {"similarity": 0}}), json!({})), ["i5", "i0", "i1", "i2", "i3", "i4"]);
}

#[test]
fn affinity_decay_and_normalise() {
    let affinity = json!({"context": {"likes": "weights"}, "score": {"similarity": 0, "terms": [
        {"affinity": {"attribute": "tags", "weights": {"context": "likes"}}, "missing": 0.1}]}});
    let likes = json!({"likes": {"a": 1.0, "b": 2.0, "nowhere": 9}});
    assert_eq!(order(affinity.clone(), likes), ["i0", "i1", "i2", "i5", "i3", "i4"]);
    assert_eq!(order(affinity, json!({})), ["i5", "i3", "i0", "i1", "i2", "i4"]);
    let literal = json!({"score": {"terms": [{"affinity": {"attribute": "brand", "weights": {"bolt": 1}}}]}});
    assert_eq!(order(literal, json!({}))[..2], ["i2", "i3"]);
    let newest = json!({"score": {"terms": [{"decay": {"attribute": "_inserted_at", "shape": "exp", "scale": "1d"}}]}});
    assert_eq!(order(newest, json!({}))[..3], ["i5", "i4", "i3"]);
    let normalise = json!({"score": {"terms": [{"attribute": "stock", "transform": "normalise"}]}});
    // i4 0.75 + 1, i2 0.75 + 0.5, i1 0.75 + 0.25, i5 0.95 alone.
    assert_eq!(order(normalise, json!({}))[..4], ["i4", "i2", "i1", "i5"]);
}

#[test]
fn the_base_is_never_negative_so_that_a_boost_does_not_demote() {
    let (world, candidates) = shop();
    let profile = world.profile(&json!({"score": {"terms": [{"attribute": "stock", "weight": -1}]},
        "rules": [{"name": "boost", "when": {"brand": "bolt"}, "multiply": 3}]}));
    let (results, _) = world.rank(&profile, &candidates, &context(json!({})), 6);
    // i2 and i3 are boosted: i3 has no stock, i2's base is 0.75 - 3, held at 0.
    assert_eq!(world.ids(&results), ["i3", "i5", "i0", "i1", "i2", "i4"]);
    assert_eq!(results.iter().map(|result| result.score).fold(9.0, f64::min), 0.0);
}

#[test]
fn rules_act_when_their_gates_are_open() {
    let rule = |extra: Json| {
        let rule = merge_patch(&json!({"name": "r", "when": {"brand": "bolt"}, "multiply": 2}), &extra);
        order(json!({"context": {"minor": "bool"}, "rules": [rule]}), json!({"minor": true}))[0] == "i2"
    };
    assert!(rule(json!({})));
    assert!(!rule(json!({"enabled": false})));
    // now is 1970-01-11.
    assert!(rule(json!({"from": "1970-01-11T00:00:00Z", "until": "1970-01-11T00:00:01Z"})));
    assert!(!rule(json!({"until": "1970-01-11T00:00:00Z"})));
    assert!(!rule(json!({"from": "1970-01-11T00:00:01Z"})));
    assert!(rule(json!({"if": {"minor": true}})));
    assert!(!rule(json!({"if": {"minor": false}})));
}

#[test]
fn drops_leave_the_list_and_are_told_to_the_caller() {
    let (world, candidates) = shop();
    let profile = world.profile(&json!({"context": {"minor": "bool"}, "rules": [
        {"name": "d", "when": {"tags": "b"}, "drop": true, "if": {"minor": true}}]}));
    let minor = context(json!({"minor": true}));
    assert_eq!(profile.drops(&minor).expect("drops").len(), 1);
    assert_eq!(profile.drops(&context(json!({}))).expect("drops").len(), 0);
    assert_eq!(world.ids(&world.rank(&profile, &candidates, &minor, 9).0), ["i5", "i2", "i3", "i4"]);
}

#[test]
fn a_wrong_context_is_an_error_with_its_place_in_the_profile() {
    let (world, candidates) = shop();
    let profile = world.profile(&json!({
        "context": {"likes": "weights", "brand": "keyword"},
        "score": {"terms": [{"affinity": {"attribute": "tags", "weights": {"context": "likes"}}}]},
        "rules": [{"name": "r", "when": {"brand": {"context": "brand"}}, "add": 1}]}));
    let failure = |values: Json| {
        let context = context(values);
        (
            rank(&profile, &world.input(&candidates, &context, 3)).expect_err("refused").pointer,
            profile.check_context(&context).is_err(),
        )
    };
    assert!(failure(json!({})).0.starts_with("/rules/0/when/brand"));
    let (pointer, refused) = failure(json!({"brand": "acme", "likes": {"a": "much"}}));
    assert_eq!((pointer.as_str(), refused), ("/score/terms/0/affinity/weights", true));
}

#[test]
fn explanations_add_up() {
    let (world, candidates) = shop();
    let profile = world.profile(&json!({
        "score": {"similarity": 2, "terms": [{"attribute": "stock", "weight": 0.5, "missing": 1}]},
        "rules": [{"name": "m", "when": {"brand": "acme"}, "multiply": 1.5}, {"name": "a", "when": {}, "add": -1}],
        "diversity": {"limits": [{"name": "brand", "attribute": "brand", "max": 1}]}}));
    let (results, shortfalls) = world.rank(&profile, &candidates, &context(json!({})), 6);
    // u is 0.75: i4 1.5 + 2.5 - 1; i1 (1.5 + 1) x 1.5 - 1; i2 1.5 + 1.5 - 1; i0 (1.5 + 0.5) x 1.5 - 1; i5 1.9 + 0.5 - 1.
    assert_eq!(world.ids(&results), ["i4", "i1", "i2", "i5"]);
    let explain = results[1].explain.as_ref().expect("explained");
    assert_eq!((explain["base"].as_f64(), explain["score"].as_f64()), (Some(2.5), Some(2.75)));
    assert_eq!(explain["rules"][0], json!({"name": "m", "multiply": 1.5, "change": 1.25}));
    assert_eq!(explain["rules"][1], json!({"name": "a", "add": -1.0, "change": -1.0}));
    let explain = results[3].explain.as_ref().expect("explained");
    assert_eq!(explain["position"], json!({"by_score": 5, "final": 4}));
    assert_eq!(explain["diversity"], json!({"gained": 1, "held_back_above": 1}));
    assert_eq!(explain["terms"][0]["missing"], json!(true));
    assert_eq!((shortfalls[0].wanted, shortfalls[0].got), (6, 4));
    assert!(
        shortfalls[0].reason.contains("\"brand\" (max 1 by brand) held back 2"),
        "{}",
        shortfalls[0].reason
    );
}

fn any_number() -> impl Strategy<Value = f64> {
    prop_oneof![
        -10.0..10.0f64,
        Just(0.0),
        Just(f64::MAX),
        Just(f64::MIN),
        any::<f64>().prop_filter("finite", |x| x.is_finite())
    ]
}

proptest! {
    /// Whatever a profile says: finite scores, in order when nothing diversifies, the same for any order of the
    /// candidates and of the rules.
    #[test]
    fn any_profile_ranks(
        weights in prop::collection::vec((any_number(), any_number(), 0..5usize), 0..5),
        effects in prop::collection::vec((any_number(), any::<bool>()), 0..8),
        similarity in any_number(), diversity in prop_oneof![Just(0.0), 0.0..=1.0f64], turn in 0..6usize,
    ) {
        let terms: Vec<_> = weights.iter().map(|(weight, missing, kind)| {
            let transform = ["linear", "log1p", "sqrt", "normalise", "clamp"][*kind];
            let mut term = json!({"attribute": "price", "transform": transform, "weight": weight, "missing": missing});
            if transform == "clamp" {
                term["max"] = json!(missing);
            }
            term
        }).collect();
        let rules: Vec<_> = effects.iter().enumerate().map(|(n, (value, multiply))| match multiply {
            true => json!({"name": n.to_string(), "when": {}, "multiply": value.abs().max(f64::MIN_POSITIVE)}),
            false => json!({"name": n.to_string(), "when": {"brand": "acme"}, "add": value}),
        }).collect();
        let document = |rules: &[Json]| json!({"score": {"similarity": similarity.abs(), "terms": terms},
            "rules": rules, "diversity": {"mmr": {"diversity": diversity}}});
        let (world, mut candidates) = shop();
        let rank = |rules: &[Json], candidates: &[Candidate]| {
            let results = world.rank(&world.profile(&document(rules)), candidates, &context(json!({})), 6).0;
            results.iter().map(|result| (result.item, result.score.to_bits())).collect::<Vec<_>>()
        };
        let first = rank(&rules, &candidates);
        prop_assert_eq!(first.len(), 6);
        let scores: Vec<f64> = first.iter().map(|(_, bits)| f64::from_bits(*bits)).collect();
        prop_assert!(scores.iter().all(|score| score.is_finite()));
        prop_assert!(diversity > 0.0 || scores.is_sorted_by(|a, b| a >= b));
        candidates.rotate_left(turn);
        let reversed: Vec<_> = rules.iter().rev().cloned().collect();
        prop_assert_eq!(rank(&reversed, &candidates), first);
    }
}
