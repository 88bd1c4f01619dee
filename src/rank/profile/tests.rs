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
            {"attribute": "own"}, {"attribute": "_seq", "transform": "normalise"},
            {"decay": {"attribute": "_inserted_at", "shape": "exp", "origin": "now", "scale": "7d"}, "weight": 0.2},
            {"decay": {"attribute": "published", "shape": "gauss", "origin": "2026-01-01T00:00:00Z", "scale": "7d", "offset": "1d"}},
            {"decay": {"attribute": "price", "shape": "linear", "origin": 20, "scale": 5, "offset": 1}},
            {"affinity": {"attribute": "tags", "weights": {"a": 1, "context": 2}}},
            {"affinity": {"attribute": "brand", "weights": {"context": "brand_affinity"}}, "weight": 0.1}]},
        "rules": [
            {"name": "own", "when": {"brand": "acme"}, "multiply": 1.2, "from": "2026-11-27T00:00:00Z", "until": "2026-11-30T00:00:00Z"},
            {"name": "here", "when": {"tags": {"context": "country"}}, "add": -0.2, "enabled": false},
            {"name": "adult", "when": {"tags": "adult"}, "drop": true, "if": {"minor": true}}],
        "diversity": {"mmr": {"diversity": 0.3}, "limits": [
            {"name": "brand", "attribute": "brand", "max": 3}, {"name": "own", "attribute": "own", "value": true, "max": 5}]}
    });
    let profile = Profile::parse(&document, &schema()).expect("profile");
    assert!(profile.filter().is_some());
    assert_eq!(
        (profile.recipe.terms.len(), profile.recipe.rules.len(), profile.recipe.limits.len()),
        (9, 3, 2)
    );
    let profile = Profile::parse(&json!({"filter": null}), &schema()).expect("profile");
    assert!(profile.filter().is_none() && profile.recipe.similarity == 1.0);
}

#[test]
fn errors_point_at_the_place_and_say_the_value_and_the_limit() {
    let term = |term: Json| json!({"score": {"terms": [term]}});
    let rule = |rule: Json| json!({"context": {"minor": "bool", "w": "weights"}, "rules": [rule]});
    let limit = |limit: Json| json!({"diversity": {"limits": [limit]}});
    for (document, pointer, words) in [
        (json!([]), "", "expected an object"),
        (json!({"scores": {}}), "/scores", "unknown field \"scores\""),
        (json!({"a/b~": 1}), "/a~1b~0", "unknown field"),
        (json!({"filter": {"brnd": "x"}}), "/filter/brnd", "brnd"),
        (json!({"filter": {"brand": {"context": "c"}}}), "/filter/brand/context", "\"c\" is not declared"),
        (json!({"context": {"c": "number"}}), "/context/c", "\"number\""),
        (json!({"context": {"all": "int"}}), "/context/all", "all"),
        (json!({"score": {"similarity": -1}}), "/score/similarity", "-1"),
        (json!({"score": {"similarity": "1"}}), "/score/similarity", "\"1\""),
        (term(json!({})), "/score/terms/0", "exactly one"),
        (term(json!({"attribute": "price", "weigth": 1})), "/score/terms/0/weigth", "unknown field"),
        (term(json!({"attribute": "brand"})), "/score/terms/0/attribute", "no numbers"),
        (term(json!({"attribute": "price", "transform": "exp"})), "/score/terms/0/transform", "\"exp\""),
        (term(json!({"attribute": "price", "max": 1})), "/score/terms/0/max", "clamp"),
        (
            term(json!({"attribute": "price", "transform": "clamp", "min": 2, "max": 1})),
            "/score/terms/0/min",
            "above max, 1",
        ),
        (
            term(json!({"decay": {"attribute": "price", "shape": "exp", "origin": 1, "scale": 0}})),
            "/score/terms/0/decay/scale",
            "above 0",
        ),
        (
            term(json!({"decay": {"attribute": "published", "shape": "exp", "scale": 7}})),
            "/score/terms/0/decay/scale",
            "7",
        ),
        (
            term(json!({"decay": {"attribute": "published", "shape": "cliff", "scale": "7d"}})),
            "/score/terms/0/decay/shape",
            "cliff",
        ),
        (
            term(json!({"decay": {"attribute": "price", "shape": "exp", "scale": 1}})),
            "/score/terms/0/decay",
            "origin is missing",
        ),
        (
            term(json!({"affinity": {"attribute": "price", "weights": {}}})),
            "/score/terms/0/affinity/attribute",
            "no keywords",
        ),
        (
            term(json!({"affinity": {"attribute": "brand", "weights": {"context": "w"}}})),
            "/score/terms/0/affinity/weights",
            "not declared",
        ),
        (rule(json!({"name": "r", "when": {}})), "/rules/0", "exactly one"),
        (rule(json!({"name": "r", "when": {}, "add": 1, "multiply": 1})), "/rules/0", "exactly one"),
        (rule(json!({"name": "r", "add": 1})), "/rules/0", "when is missing"),
        (rule(json!({"name": "", "when": {}, "add": 1})), "/rules/0/name", "1 to 128"),
        (rule(json!({"name": "r", "when": {}, "multiply": 0})), "/rules/0/multiply", "above 0"),
        (rule(json!({"name": "r", "when": {}, "drop": false})), "/rules/0/drop", "enabled"),
        (
            rule(json!({"name": "r", "when": {"any": [{"stock": "x"}]}, "add": 1})),
            "/rules/0/when/any/0/stock",
            "\"x\"",
        ),
        (
            rule(json!({"name": "r", "when": {}, "add": 1, "if": {"country": "DE"}})),
            "/rules/0/if/country",
            "country",
        ),
        (
            rule(json!({"name": "r", "when": {}, "add": 1, "if": {"any": [{"_id": "x"}]}})),
            "/rules/0/if/any/0/_id",
            "belongs to items",
        ),
        (
            rule(json!({"name": "r", "when": {"brand": {"in": {"context": "w"}}}, "add": 1})),
            "/rules/0/when/brand/in/context",
            "\"w\"",
        ),
        (rule(json!({"name": "r", "when": {}, "add": 1, "from": "soon"})), "/rules/0/from", "soon"),
        (
            rule(
                json!({"name": "r", "when": {}, "add": 1, "from": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}),
            ),
            "/rules/0/until",
            "never active",
        ),
        (json!({"diversity": {"mmr": {"diversity": 1.5}}}), "/diversity/mmr/diversity", "1.5"),
        (json!({"diversity": {"mmr": {}}}), "/diversity/mmr", "diversity is missing"),
        (
            limit(json!({"name": "l", "attribute": "price", "max": 1})),
            "/diversity/limits/0/attribute",
            "cannot be counted",
        ),
        (limit(json!({"name": "l", "attribute": "brand", "max": 0})), "/diversity/limits/0/max", "max is 0"),
        (limit(json!({"name": "l", "attribute": "brand"})), "/diversity/limits/0", "max is missing"),
        (
            limit(json!({"name": "l", "attribute": "own", "value": "yes", "max": 1})),
            "/diversity/limits/0/value",
            "yes",
        ),
        (
            limit(json!({"name": "l", "attribute": "tags", "value": ["a"], "max": 1})),
            "/diversity/limits/0/value",
            "[\"a\"]",
        ),
    ] {
        let error = refused(document.clone());
        assert_eq!(error.pointer, pointer, "{document}: {error}");
        assert!(error.reason.contains(words), "{document}: {error}");
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
