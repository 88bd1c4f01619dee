//! What a profile may say, and where its errors point.

use serde_json::json;

use super::*;

fn schema() -> AttributeSchema {
    let schema = json!({"brand": "keyword", "tags": "keywords", "price": "float", "stock": "int", "own": "bool",
        "published": "time"});
    AttributeSchema::from_json(&schema).expect("schema")
}

fn refused(document: Json) -> ProfileError {
    Profile::parse(&document, &schema()).expect_err(&document.to_string())
}

#[test]
fn the_whole_language_is_read() {
    let document = json!({
        "filter": {"stock": {"gt": 0}},
        "context": {"country": "keyword", "brand_affinity": "weights", "minor": "bool"},
        "score": {"similarity": 1.0, "terms": [
            {"attribute": "stock", "transform": "log1p", "weight": 0.05, "missing": 0},
            {"attribute": "price", "transform": "clamp", "min": 1, "max": 10, "weight": -0.1},
            {"attribute": "own"}, {"attribute": "_seq", "transform": "normalise"}, {"attribute": "_clicks", "transform": "sqrt"},
            {"decay": {"attribute": "_inserted_at", "shape": "exp", "origin": "now", "scale": "7d"}, "weight": 0.2},
            {"decay": {"attribute": "published", "shape": "gauss", "origin": "2026-01-01T00:00:00Z", "scale": "7d", "offset": "1d"}},
            {"decay": {"attribute": "price", "shape": "linear", "origin": 20, "scale": 5, "offset": 1}},
            {"affinity": {"attribute": "tags", "weights": {"a": 1, "context": 2}}},
            {"affinity": {"attribute": "brand", "weights": {"context": "brand_affinity"}}, "weight": 0.1}]},
        "rules": [
            {"name": "own", "when": {"brand": "acme"}, "multiply": 1.2, "from": "2026-11-27T00:00:00Z", "until": "2026-11-30T00:00:00Z"},
            {"name": "here", "when": {"tags": {"context": "country"}}, "add": -0.2, "enabled": false},
            {"name": "adult", "when": {"tags": "adult"}, "drop": true, "if": {"minor": true}},
            {"name": "hero", "pin": {"id": "x", "position": 1}}],
        "diversity": {"mmr": {"diversity": 0.3}, "limits": [
            {"name": "seller", "attribute": "brand", "max": 3}, {"name": "section", "attribute": "tags", "max_share": 0.4},
            {"name": "spread", "attribute": "tags", "window": 5, "max": 2}, {"name": "own", "attribute": "own", "value": true, "min": 5}],
            "relax": ["spread", "section"]},
        "explore": {"slots": 2, "positions": [9, 4], "max_age": "7d", "max_impressions": 1000, "policy": "uniform", "candidates": 200},
        "fallback": {"query": {"order_by": {"attribute": "stock", "descending": true}}}, "min_results": 10
    });
    let profile = Profile::parse(&document, &schema()).expect("profile");
    assert!(profile.filter().is_some());
    let recipe = &profile.recipe;
    assert_eq!((recipe.terms.len(), recipe.rules.len(), recipe.limits.len()), (10, 4, 4));
    assert_eq!(recipe.relax, [2, 1]);
    let context = FilterContext { now: 0, values: [("minor".to_owned(), json!(true))].into() };
    let explore = profile.explore(&context).expect("open").expect("explored");
    assert_eq!(
        (explore.candidates, explore.slots, explore.max_age, explore.max_impressions),
        (200, 2, Some(604_800_000), Some(1000))
    );
    assert_eq!(recipe.explore.as_ref().expect("explored").positions, [4, 9]);
    let pin = ActivePin { name: "hero", id: "x", position: 1 };
    assert_eq!(profile.pins(&context).expect("open"), [pin]);
    let drops = profile.drops(&context).expect("open");
    assert_eq!((drops.len(), drops[0].name, drops[0].pointer), (1, "adult", "/rules/2/when"));
    assert_eq!(profile.fallback(), Some(&json!({"order_by": {"attribute": "stock", "descending": true}})));
    assert_eq!(profile.min_results(), Some(10));
    let profile = Profile::parse(&json!({"filter": null}), &schema()).expect("profile");
    assert!(profile.filter().is_none() && profile.recipe.similarity == 1.0 && profile.fallback().is_none());
}

/// Every bad profile with the whole error that it gives.
#[test]
fn bad_profiles_and_their_errors() {
    let term = |term: Json| json!({"score": {"terms": [term]}});
    let decay = |decay: Json| json!({"score": {"terms": [{"decay": decay}]}});
    let affinity =
        |affinity: Json| json!({"context": {"c": "keyword"}, "score": {"terms": [{"affinity": affinity}]}});
    let rule = |rule: Json| json!({"context": {"minor": "bool", "w": "weights"}, "rules": [rule]});
    let limit = |limit: Json| json!({"diversity": {"limits": [limit]}});
    let explore = |explore: Json| json!({"explore": explore});
    for (document, error) in [
        (json!([]), r#": expected an object, not []"#),
        (
            json!({"scores": {}}),
            r#"/scores: unknown field "scores"; allowed are filter, context, score, rules, diversity, explore, fallback, min_results"#,
        ),
        (
            json!({"a/b~": 1}),
            r#"/a~1b~0: unknown field "a/b~"; allowed are filter, context, score, rules, diversity, explore, fallback, min_results"#,
        ),
        (
            json!({"filter": {"brnd": "x"}}),
            r#"/filter/brnd: unknown attribute "brnd"; did you mean "brand"?"#,
        ),
        (
            json!({"filter": {"brand": {"context": "c"}}}),
            r#"/filter/brand/context: "c" is not declared in the profile's context as a value"#,
        ),
        (
            json!({"filter": {"price": {"gt": "cheap"}}}),
            r#"/filter/price/gt: expected a number, not "cheap""#,
        ),
        (
            json!({"context": {"c": "number"}}),
            r#"/context/c: expected one of keyword, keywords, int, float, bool, time and weights, not "number""#,
        ),
        (
            json!({"context": {"all": "int"}}),
            r#"/context/all: attribute "all": the names all, any, none, context and those that begin with _ are reserved"#,
        ),
        (json!({"context": []}), r#"/context: expected an object, not []"#),
        (
            json!({"score": {"similarity": -1}}),
            r#"/score/similarity: similarity is -1, the least is 0: nearer is never worse"#,
        ),
        (json!({"score": {"similarity": "1"}}), r#"/score/similarity: expected a finite number, not "1""#),
        (json!({"score": {"terms": {}}}), r#"/score/terms: expected a list, not {}"#),
        (term(json!({})), r#"/score/terms/0: a term has exactly one of attribute, decay and affinity"#),
        (
            term(json!({"attribute": "price", "weigth": 1})),
            r#"/score/terms/0/weigth: unknown field "weigth"; allowed are attribute, transform, min, max, weight, missing"#,
        ),
        (
            term(json!({"attribute": "prise"})),
            r#"/score/terms/0/attribute: unknown attribute "prise"; did you mean "price"?"#,
        ),
        (
            term(json!({"attribute": "brand"})),
            r#"/score/terms/0/attribute: "brand" has no numbers: allowed are int, float, bool and time"#,
        ),
        (
            term(json!({"attribute": "price", "weight": null, "missing": "0"})),
            r#"/score/terms/0/missing: expected a finite number, not "0""#,
        ),
        (
            term(json!({"attribute": "price", "transform": "exp"})),
            r#"/score/terms/0/transform: "exp" is not one of linear, log1p, sqrt, clamp, normalise"#,
        ),
        (
            term(json!({"attribute": "price", "max": 1})),
            r#"/score/terms/0/max: max goes with the transform clamp, not with linear"#,
        ),
        (
            term(json!({"attribute": "price", "transform": "clamp"})),
            r#"/score/terms/0: clamp needs min, max or both"#,
        ),
        (
            term(json!({"attribute": "price", "transform": "clamp", "min": 2, "max": 1})),
            r#"/score/terms/0/min: min is 2, above max, 1"#,
        ),
        (
            decay(json!({"attribute": "price", "shape": "exp", "origin": 1, "scale": 0})),
            r#"/score/terms/0/decay/scale: scale is 0, it must be above 0"#,
        ),
        (
            decay(json!({"attribute": "price", "shape": "exp", "origin": 1, "scale": 1, "offset": -1})),
            r#"/score/terms/0/decay/offset: offset is -1, the least is 0"#,
        ),
        (
            decay(json!({"attribute": "price", "shape": "exp", "scale": 1})),
            r#"/score/terms/0/decay: origin is missing"#,
        ),
        (
            decay(json!({"attribute": "published", "shape": "exp", "scale": 7})),
            r#"/score/terms/0/decay/scale: expected a duration such as "36h" or "7d", not 7"#,
        ),
        (
            decay(json!({"attribute": "published", "shape": "exp", "scale": "7 days"})),
            r#"/score/terms/0/decay/scale: expected a duration such as 90s, 15m, 36h, 7d or 2w (at most i64 milliseconds), not "7 days""#,
        ),
        (
            decay(json!({"attribute": "published", "shape": "exp", "origin": "then", "scale": "7d"})),
            r#"/score/terms/0/decay/origin: expected an RFC 3339 time such as 2026-01-31T08:00:00Z, not "then"; now works too"#,
        ),
        (
            decay(json!({"attribute": "published", "shape": "cliff", "scale": "7d"})),
            r#"/score/terms/0/decay/shape: "cliff" is not one of exp, gauss, linear"#,
        ),
        (
            decay(json!({"attribute": "own", "shape": "exp", "scale": 1})),
            r#"/score/terms/0/decay/attribute: "own" is no int, float or time"#,
        ),
        (
            affinity(json!({"attribute": "price", "weights": {}})),
            r#"/score/terms/0/affinity/attribute: "price" has no keywords: allowed are keyword and keywords"#,
        ),
        (
            affinity(json!({"attribute": "brand", "weights": {"context": "w"}})),
            r#"/score/terms/0/affinity/weights: "w" is not declared in the profile's context as weights"#,
        ),
        (
            affinity(json!({"attribute": "brand", "weights": {"acme": "much"}})),
            r#"/score/terms/0/affinity/weights: "acme": expected a finite number, not "much""#,
        ),
        (affinity(json!({"attribute": "brand"})), r#"/score/terms/0/affinity: weights is missing"#),
        (
            rule(json!({"name": "r", "when": {}})),
            r#"/rules/0: a rule has exactly one of multiply, add, drop and pin"#,
        ),
        (
            rule(json!({"name": "r", "when": {}, "add": 1, "multiply": 1})),
            r#"/rules/0: a rule has exactly one of multiply, add, drop and pin"#,
        ),
        (rule(json!({"name": "r", "add": 1})), r#"/rules/0: when is missing"#),
        (rule(json!({"when": {}, "add": 1})), r#"/rules/0: name is missing"#),
        (
            rule(json!({"name": "", "when": {}, "add": 1})),
            r#"/rules/0/name: a name has 1 to 128 bytes, this one has 0"#,
        ),
        (
            rule(json!({"name": "r", "when": {}, "multiply": 0})),
            r#"/rules/0/multiply: multiply is 0, it must be above 0"#,
        ),
        (
            rule(json!({"name": "r", "when": {}, "drop": false})),
            r#"/rules/0/drop: drop can only be true; to switch a rule off write "enabled": false"#,
        ),
        (
            rule(json!({"name": "r", "when": {"any": [{"stock": "x"}]}, "add": 1})),
            r#"/rules/0/when/any/0/stock: expected a number, not "x""#,
        ),
        (
            rule(json!({"name": "r", "when": {}, "add": 1, "if": {"country": "DE"}})),
            r#"/rules/0/if/country: "country" is not declared in the profile's context as a value"#,
        ),
        (
            rule(json!({"name": "r", "when": {}, "add": 1, "if": {"any": [{"_id": "x"}]}})),
            r#"/rules/0/if/any/0/_id: "_id" belongs to items; a filter over the context uses its declared names"#,
        ),
        (
            rule(json!({"name": "r", "when": {"brand": {"in": {"context": "w"}}}, "add": 1})),
            r#"/rules/0/when/brand/in/context: "w" is not declared in the profile's context as a value"#,
        ),
        (
            rule(json!({"name": "r", "when": {}, "add": 1, "from": "soon"})),
            r#"/rules/0/from: expected an RFC 3339 time such as 2026-01-31T08:00:00Z, not "soon""#,
        ),
        (
            rule(
                json!({"name": "r", "when": {}, "add": 1, "from": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}),
            ),
            r#"/rules/0/until: 2026-01-01T00:00:00Z is not after from, 2026-01-02T00:00:00Z: never active"#,
        ),
        (
            rule(json!({"name": "r", "when": {}, "add": 1, "enabled": "no"})),
            r#"/rules/0/enabled: expected true or false, not "no""#,
        ),
        (
            rule(json!({"name": "r", "pin": {"id": "x", "position": 0}})),
            r#"/rules/0/pin/position: position is 0, it is a whole number from 1 to 10000"#,
        ),
        (
            rule(json!({"name": "r", "pin": {"id": "", "position": 1}})),
            r#"/rules/0/pin/id: an id has 1 to 512 bytes, this one has 0"#,
        ),
        (rule(json!({"name": "r", "pin": {"id": "x"}})), r#"/rules/0/pin: position is missing"#),
        (
            rule(json!({"name": "r", "when": {}, "pin": {"id": "x", "position": 1}})),
            r#"/rules/0/when: a pin names its item and has no when"#,
        ),
        (
            json!({"diversity": {"mmr": {"diversity": 1.5}}}),
            r#"/diversity/mmr/diversity: diversity is 1.5, allowed is 0 to 1"#,
        ),
        (json!({"diversity": {"mmr": {}}}), r#"/diversity/mmr: diversity is missing"#),
        (
            limit(json!({"name": "l", "attribute": "price", "max": 1})),
            r#"/diversity/limits/0/attribute: "price" cannot be counted: allowed are keyword, keywords, int and bool"#,
        ),
        (
            limit(json!({"name": "l", "attribute": "brandt", "max": 1})),
            r#"/diversity/limits/0/attribute: unknown attribute "brandt"; did you mean "brand"?"#,
        ),
        (
            limit(json!({"name": "l", "attribute": "brand", "max": 0})),
            r#"/diversity/limits/0/max: max is 0, it is a whole number from 1 to 10000"#,
        ),
        (
            limit(json!({"name": "l", "attribute": "brand"})),
            r#"/diversity/limits/0: a limit has exactly one of max, min and max_share, or max with window"#,
        ),
        (
            limit(json!({"name": "l", "attribute": "brand", "max": 3, "max_share": 0.5})),
            r#"/diversity/limits/0: a limit has exactly one of max, min and max_share, or max with window"#,
        ),
        (
            limit(json!({"name": "l", "attribute": "brand", "max_share": 1.5})),
            r#"/diversity/limits/0/max_share: max_share is 1.5, allowed is above 0 to 1"#,
        ),
        (
            limit(json!({"name": "l", "attribute": "brand", "window": 5})),
            r#"/diversity/limits/0/window: a window needs max: how many of its results"#,
        ),
        (
            limit(json!({"name": "l", "attribute": "brand", "window": 3, "max": 3})),
            r#"/diversity/limits/0/window: a window of 3 never holds more than max, 3: the limit limits nothing"#,
        ),
        (
            limit(json!({"name": "l", "attribute": "brand", "min": 3})),
            r#"/diversity/limits/0/min: a min counts the results with one value: name it as value"#,
        ),
        (
            limit(json!({"name": "l", "attribute": "own", "value": "yes", "max": 1})),
            r#"/diversity/limits/0/value: expected true or false (bool), not "yes""#,
        ),
        (
            limit(json!({"name": "l", "attribute": "tags", "value": ["a"], "max": 1})),
            r#"/diversity/limits/0/value: expected a string (keyword), not ["a"]"#,
        ),
        (json!({"diversity": {"relax": ["nobody"]}}), r#"/diversity/relax/0: there is no limit "nobody""#),
        (json!({"diversity": {"relax": "all"}}), r#"/diversity/relax: expected a list, not "all""#),
        (
            json!({"diversity": {"limits": [{"name": "l", "attribute": "brand", "max": 1}], "relax": ["l", "l"]}}),
            r#"/diversity/relax/1: "l" is named twice"#,
        ),
        (
            json!({"diversity": {"limits": [{"name": "l", "attribute": "own", "value": true, "min": 1}], "relax": ["l"]}}),
            r#"/diversity/relax/0: "l" is a min, which is best effort and never makes the list short"#,
        ),
        (
            explore(json!({"positions": [4, 9]})),
            r#"/explore: who is new? Give max_age, max_impressions or both"#,
        ),
        (explore(json!({"max_age": "7d"})), r#"/explore: positions is missing"#),
        (
            explore(json!({"positions": [], "max_age": "7d"})),
            r#"/explore/positions: positions is empty: name at least one"#,
        ),
        (
            explore(json!({"positions": [4, 0], "max_age": "7d"})),
            r#"/explore/positions/1: expected a position from 1 to 10000, not 0"#,
        ),
        (
            explore(json!({"positions": [4, 4], "max_age": "7d"})),
            r#"/explore/positions/1: position 4 is named twice"#,
        ),
        (
            explore(json!({"positions": [4, 9], "slots": 3, "max_age": "7d"})),
            r#"/explore/slots: slots is 3, but 2 positions are named"#,
        ),
        (
            explore(json!({"positions": [4], "max_age": 7})),
            r#"/explore/max_age: expected a duration such as "36h" or "7d", not 7"#,
        ),
        (
            explore(json!({"positions": [4], "max_impressions": -1})),
            r#"/explore/max_impressions: max_impressions is -1, it is a whole number from 1"#,
        ),
        (
            explore(json!({"positions": [4], "max_age": "7d", "policy": "greedy"})),
            r#"/explore/policy: "greedy" is not one of uniform, thompson, ucb"#,
        ),
        (
            explore(json!({"positions": [4], "max_age": "7d", "candidates": 100000})),
            r#"/explore/candidates: candidates is 100000, it is a whole number from 1 to 10000"#,
        ),
        (
            explore(json!({"positions": [4], "max_age": "7d", "counters": {"trials": "stock"}})),
            r#"/explore/counters: counters go with thompson and ucb; uniform looks at none"#,
        ),
        (
            explore(
                json!({"positions": [4], "max_age": "7d", "policy": "ucb", "counters": {"trials": "price"}}),
            ),
            r#"/explore/counters/trials: "price" is no int: counters are whole numbers"#,
        ),
        (json!({"fallback": {}}), r#"/fallback: query is missing"#),
        (json!({"fallback": {"query": {}}}), r#"/fallback/query: expected a search's query, not {}"#),
        (json!({"min_results": 10}), r#"/min_results: min_results says when the fallback serves: give one"#),
        (
            json!({"min_results": 0, "fallback": {"query": {"item": "x"}}}),
            r#"/min_results: min_results is 0, it is a whole number from 1 to 10000"#,
        ),
    ] {
        assert_eq!(refused(document.clone()).to_string(), error, "{document}");
    }
}

#[test]
fn names_are_unique_and_counts_are_limited() {
    let rule = |name: usize| json!({"name": name.to_string(), "when": {}, "add": 1});
    let error = refused(json!({"rules": [rule(1), rule(2), rule(1)]}));
    assert_eq!(error.pointer, "/rules/2/name");
    let rules: Vec<_> = (0..=Profile::MAX_RULES).map(rule).collect();
    let limits = vec![json!({}); Profile::MAX_LIMITS + 1];
    let terms = vec![json!({}); Profile::MAX_TERMS + 1];
    for (document, pointer, limit) in [
        (json!({"rules": rules}), "/rules", "101 rules given; the limit is 100"),
        (json!({"score": {"terms": terms}}), "/score/terms", "21 terms given; the limit is 20"),
        (json!({"diversity": {"limits": limits}}), "/diversity/limits", "11 limits given; the limit is 10"),
    ] {
        assert_eq!(refused(document), ProfileError { pointer: pointer.to_owned(), reason: limit.to_owned() });
    }
}
