//! The ranking layer through the API: pins, newcomers explored by durable counters, `why`, rules counted by name.

#![allow(missing_docs, clippy::unwrap_used)]

mod shop_house;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shop_house::{House, ids, named};
use shortlist::server::{AppState, ServerConfig, router};

/// Why an id is not on the list.
fn because<'a>(answer: &'a Value, id: &str) -> &'a Value {
    let entry = answer["why"].as_array().unwrap().iter().find(|one| one["id"] == id).unwrap();
    &entry["because"]
}

#[tokio::test]
async fn pins_stand_where_they_shall_and_pass_the_filters() {
    let house = House::new().await;
    let pin =
        |name: &str, id: &str, position: u32| json!({"name": name, "pin": {"id": id, "position": position}});
    let profile = json!({"rules": [pin("hero", "i50", 1), pin("late", "i51", 3), pin("hidden", "i01", 2), pin("none", "gone", 2)]});
    house.fine("PUT", "/profiles/home", &profile).await;
    let request = json!({"query": {"item": "i10"}, "profile": "home", "limit": 5, "candidates": 6, "filter": {"section": {"not_in": ["s1"]}}});
    let answer = house.search(request).await;
    let list = ids(&answer);
    assert_eq!((list[0].as_str(), list[2].as_str(), list.len()), ("i50", "i51", 5), "{answer}");
    assert!(!list.contains(&"i01".to_owned()), "it does not pass the filter: {answer}");
    assert_eq!(
        (&answer["results"][0]["pinned"], &answer["results"][1]["pinned"]),
        (&json!("hero"), &Value::Null)
    );
    let similarity = answer["results"][0]["similarity"].as_f64().unwrap() as f32;
    assert!((similarity - shop_house::similarity(10, 50)).abs() < 1e-4, "a pin has its true similarity");
}

#[tokio::test]
async fn newcomers_come_from_a_pool_of_their_own_and_grow_out_of_it() {
    let house = House::new().await;
    // Those that were shown often are no newcomers.
    let shown: Vec<Value> = (0..55)
        .flat_map(|i| {
            (0..3).map(
                move |n| json!({"id": format!("{i}-{n}"), "type": "impression", "item": format!("i{i:02}")}),
            )
        })
        .collect();
    house.fine("POST", "/events", &json!({ "events": shown })).await;
    let profile = json!({"explore": {"slots": 1, "positions": [2], "max_impressions": 3, "policy": "uniform", "candidates": 50}});
    house.fine("PUT", "/profiles/home", &profile).await;
    let request = |seed: u32| json!({"query": {"item": "i10"}, "profile": "home", "limit": 4, "candidates": 10, "seed": seed});
    let mut drawn: BTreeMap<String, u32> = BTreeMap::new();
    for seed in 0..200 {
        let answer = house.search(request(seed)).await;
        let slot = &answer["results"][1];
        assert_eq!(
            (&slot["explored"], &slot["propensity"]),
            (&json!({"policy": "uniform", "basis": "exact"}), &json!(0.2)),
            "{answer}"
        );
        *drawn.entry(slot["id"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(
        drawn.keys().cloned().collect::<Vec<_>>(),
        named(55..60),
        "far from the query, and still drawn"
    );
    assert!(drawn.values().all(|&count| (15..=70).contains(&count)), "{drawn:?}");
    let again = house.search(request(7)).await;
    assert_eq!(ids(&house.search(request(7)).await), ids(&again), "the same seed, the same list");

    let more: Vec<Value> = (55..59)
        .flat_map(|i| {
            (0..3).map(
                move |n| json!({"id": format!("{i}-{n}"), "type": "impression", "item": format!("i{i}")}),
            )
        })
        .collect();
    house.fine("POST", "/events", &json!({ "events": more })).await;
    let first = house.search(request(1)).await;
    assert_eq!(first["results"][1]["id"], "i59", "the others have grown out of it: {first}");
    house
        .fine("POST", "/items", &json!({"items": [{"id": "fresh", "vector": shop_house::vector(40)}]}))
        .await;
    let both = house.search(request(1)).await;
    assert_eq!(both["results"][1]["propensity"], 0.5, "one that has just come is new: {both}");
    house.fine("POST", "/items/delete", &json!({"ids": ["fresh"]})).await;
    let house = house.reopen(true);
    let answer = house.search(request(1)).await;
    assert_eq!(
        (&answer["results"][1]["id"], &answer["results"][1]["propensity"]),
        (&json!("i59"), &json!(1.0)),
        "{answer}"
    );
}

#[tokio::test]
async fn why_names_what_kept_an_item_away() {
    let house = House::new().await;
    house.fine("PUT", "/exclude-sets/seen", &json!({"ids": ["i12"]})).await;
    let profile = json!({
        "filter": {"price": {"gt": -9.9}},
        "rules": [{"name": "no-s3", "when": {"section": "s3"}, "drop": true}],
        "diversity": {"limits": [{"name": "section", "attribute": "section", "max": 2}]}});
    house.fine("PUT", "/profiles/home", &profile).await;
    let request = json!({"query": {"item": "i10"}, "profile": "home", "limit": 7, "candidates": 12, "filter": {"size": {"exists": true}},
        "exclude": {"sets": ["seen"]}, "why": ["i10", "gone", "i09", "i00", "i11", "i12", "i40", "i14", "i18", "i08"], "explain": true});
    let answer = house.search(request).await;
    let kind = |id: &str| because(&answer, id)["kind"].as_str().unwrap_or("").to_owned();
    assert_eq!(kind("i10"), "query");
    assert_eq!(kind("gone"), "unknown");
    assert_eq!(because(&answer, "i09"), &json!({"kind": "filter", "clauses": ["/filter/size/exists"]}));
    assert_eq!(
        (kind("i00"), &because(&answer, "i00")["clauses"][0]),
        ("profile".to_owned(), &json!("/filter/price")),
        "{answer}"
    );
    assert_eq!((kind("i11"), &because(&answer, "i11")["rule"]), ("rule".to_owned(), &json!("no-s3")));
    assert_eq!(because(&answer, "i12"), &json!({"kind": "excluded", "set": "seen"}));
    assert_eq!(kind("i40"), "not-a-candidate");
    let listed = ids(&answer);
    let limited: Vec<&str> = ["i14", "i18", "i08"].into_iter().filter(|id| kind(id) == "limit").collect();
    assert!(!limited.is_empty(), "{answer}");
    for id in limited {
        assert!(!listed.contains(&id.to_owned()) && because(&answer, id)["limit"] == "section", "{answer}");
    }
    let answer = house.search(json!({"query": {"item": "i10"}, "limit": 2, "why": ["i30", "i11"]})).await;
    assert_eq!(because(&answer, "i30")["kind"], "not-a-candidate", "{answer}");
    assert_eq!(
        answer["why"][1]["position"]["final"].as_u64().unwrap(),
        ids(&answer).iter().position(|id| id == "i11").unwrap() as u64 + 1
    );
}

#[tokio::test]
async fn rules_of_stored_profiles_are_counted_by_name() {
    let house = House::new().await;
    let profile = json!({"rules": [{"name": "drop-s3", "when": {"section": "s3"}, "drop": true}, {"name": "up-s0", "when": {"section": "s0"}, "add": 1}]});
    house.fine("PUT", "/profiles/home", &profile).await;
    for _ in 0..2 {
        house.search(json!({"query": {"vector": [1, 0, 0.25, 0.5]}, "profile": "home", "candidates": 60, "limit": 5})).await;
    }
    let text = house.text("/metrics").await;
    for (rule, count) in [("drop-s3", 30), ("up-s0", 30)] {
        let line = format!(
            "shortlist_rule_items_total{{collection=\"shop\",profile=\"home\",rule=\"{rule}\"}} {count}"
        );
        assert!(text.contains(&line), "{line} in {text}");
    }
}

/// A grouped request looks for more candidates, and is ranked again, while groups are missing: it counts once.
#[tokio::test]
async fn rules_are_counted_once_a_request() {
    let house = House::new().await;
    let many: Vec<Value> = (0..300)
        .map(|i| {
            let (sin, cos) = (i as f64 * 1.7).sin_cos();
            let vector = [1.0, 0.02 * cos, 0.25 + 0.0001 * i as f64, 0.5 + 0.02 * sin];
            json!({"id": format!("m{i}"), "vector": vector, "attributes": {"section": "many"}})
        })
        .collect();
    house.fine("POST", "/items", &json!({ "items": many })).await;
    let profile = json!({"rules": [
        {"name": "down-many", "when": {"section": "many"}, "multiply": 0.9},
        {"name": "drop-s3", "when": {"section": "s3"}, "drop": true}]});
    house.fine("PUT", "/profiles/home", &profile).await;
    let request = json!({"query": {"vector": [1, 0, 0.25, 0.5]}, "profile": "home",
        "group_by": {"attribute": "section"}, "limit": 4});
    let answer = house.search(request).await;
    assert_eq!(answer["groups"].as_array().unwrap().len(), 4, "{answer}");
    let text = house.text("/metrics").await;
    for (rule, count) in [("down-many", 300), ("drop-s3", 15)] {
        let line = format!(
            "shortlist_rule_items_total{{collection=\"shop\",profile=\"home\",rule=\"{rule}\"}} {count}\n"
        );
        assert!(text.contains(&line), "{line} in {text}");
    }
}

/// A house with 4,000 more items, whose places on the circle differ.
async fn crowded() -> House {
    let house = House::new().await;
    for part in 0..4 {
        let one = |i: usize| {
            let (sin, cos) = (i as f64 * 0.37).sin_cos();
            let attributes = json!({"section": format!("s{}", i % 4), "size": i});
            json!({"id": format!("m{i:04}"), "vector": [cos, sin, 0.25, 0.5], "attributes": attributes})
        };
        let items: Vec<Value> = (part * 1_000..(part + 1) * 1_000).map(one).collect();
        house.fine("POST", "/items", &json!({ "items": items })).await;
    }
    house
}

/// The shortfall of a search that was cut short.
fn cut_short(answer: &Value) -> &str {
    let shortfalls = answer["shortfalls"].as_array().unwrap();
    let said = shortfalls.iter().find(|shortfall| shortfall["name"] == "budget_ms").expect("it says so");
    assert_eq!(answer["plan"]["interrupted"], true, "{answer}");
    said["reason"].as_str().unwrap()
}

#[tokio::test]
async fn a_budget_ends_mmr_and_the_list_is_whole_and_within_its_limits() {
    let house = crowded().await;
    let rank = json!({"diversity": {"mmr": {"diversity": 0.9},
        "limits": [{"name": "spread", "attribute": "section", "window": 3, "max": 1}]}});
    let order = json!({"order_by": {"attribute": "size", "descending": true}});
    let request = json!({"query": order, "rank": rank, "filter": {"size": {"gte": 100}}, "limit": 3_900, "budget_ms": 1});
    let answer = house.search(request).await;
    let reason = cut_short(&answer);
    assert!(reason.contains("ranking was cut short: from position"), "{reason}");
    let list = ids(&answer);
    // A machine that stood still for 30 ms meanwhile is no fault.
    assert!(list.len() == 3_900 || reason.contains("the list was not filled"), "{} {reason}", list.len());
    assert_eq!(list.iter().collect::<std::collections::HashSet<_>>().len(), list.len());
    let number = |id: &String| id[1..].parse::<usize>().unwrap();
    assert!(list.iter().all(|id| id.starts_with('m') && number(id) >= 100), "all pass the filter");
    let crowds = list
        .windows(3)
        .any(|few| (0..3).any(|at| (0..at).any(|before| number(&few[at]) % 4 == number(&few[before]) % 4)));
    assert!(!crowds, "a hard limit was broken");
}

/// A filter of thousands of tests, each of which asks the counters of every item; nothing of it is kept.
fn endless() -> Value {
    let tests: Vec<Value> = (0..2_000).map(|n| json!({"_clicks": {"lt": n + 1}})).collect();
    json!({"section": "s1", "any": tests})
}

#[tokio::test]
async fn a_filter_that_was_not_evaluated_in_time_lets_nothing_through() {
    let house = crowded().await;
    let mut request = json!({"query": {"item": "i10"}, "filter": endless(), "limit": 20, "budget_ms": 1});
    let answer = house.search(request.clone()).await;
    assert_eq!(cut_short(&answer), "filters were not evaluated by then: nothing is known to match");
    assert!(ids(&answer).is_empty() && answer["plan"]["kind"] == "none", "{answer}");
    // The fallback takes the time that it needs, and the filter holds for it too.
    request["rank"] = json!({"fallback": {"query": {"order_by": {"attribute": "size"}}}});
    let answer = house.search(request.clone()).await;
    assert_eq!((&answer["fallback"], ids(&answer).len()), (&json!("budget"), 20), "{answer}");
    assert!(ids(&answer).iter().all(|id| id[1..].parse::<usize>().unwrap() % 4 == 1), "{answer}");
    cut_short(&answer);
    request["budget_ms"] = Value::Null;
    let whole = house.search(request).await;
    assert!(whole["plan"]["interrupted"].is_null() && ids(&whole).len() == 20, "{whole}");
}

#[tokio::test]
async fn the_end_of_a_request_frees_its_thread() {
    let mut house = crowded().await;
    let mut config = ServerConfig { threads: 1, ..ServerConfig::default() };
    config.limits.request_timeout = Duration::from_secs(2);
    house.router = router(AppState::new(config, Arc::clone(&house.catalogue)).unwrap());
    // Each slot would be estimated from four million random numbers.
    let positions: Vec<u32> = (1..=100).collect();
    let explore = json!({"positions": positions, "max_age": "9d", "policy": "thompson", "candidates": 4_000});
    let long = json!({"query": {"item": "i10"}, "limit": 100, "rank": {"explore": explore}});
    let refused = house.refused("POST", "/search", &long).await;
    assert_eq!((refused.0, refused.1.as_str()), (503, "timeout"));
    // The only thread takes the next search, which would be refused too if it had to wait for it.
    let next = json!({"query": {"item": "i10"}, "limit": 3, "filter": {"section": "s1"}});
    assert_eq!(house.ids(next).await.len(), 3);
}
