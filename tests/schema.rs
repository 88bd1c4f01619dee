//! Changes of a schema while a collection serves: what requests see of them, what they refuse, and what is left of them after
//! restarts, failures and crashes.

#![allow(missing_docs, clippy::unwrap_used)]

mod house;
mod shop_house;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use house::{Random, all_found, contents, delete, patch, upsert};
use serde_json::{Value, json};
use shop_house::{House, ITEMS, item, named};
use shortlist::arena::Mode;
use shortlist::collection::{
    Catalogue, CatalogueError, Collection, SearchLimits, WriteBatch, WriteSettings, now_millis,
};
use shortlist::index::{Index, SchemaChange};

fn change(collection: &Collection, document: Value) -> Result<bool, CatalogueError> {
    let change: SchemaChange = serde_json::from_value(document).unwrap();
    collection.change_schema(&change)
}

fn attributes(collection: &Collection) -> Value {
    collection.index().schema().attributes.to_json()
}

/// Opens a directory whose collection is there.
fn open(directory: &Path) -> (Catalogue, Arc<Collection>) {
    let catalogue = Catalogue::open_with(directory, Mode::Mapped, house::settings()).unwrap();
    let collection = catalogue.get("shop").unwrap();
    (catalogue, collection)
}

#[tokio::test]
async fn attributes_come_while_it_serves() {
    let mut house = House::new().await;
    house.fine("POST", "/checkpoint", &Value::Null).await;
    let late: Vec<Value> = (ITEMS..ITEMS + 10).map(item).collect();
    house.fine("POST", "/items", &json!({"items": late})).await;
    house.fine("PATCH", "/items", &json!({"items": [{"id": "i05", "attributes": {"size": 500}}]})).await;
    let before = house.fine("GET", "/items/i05", &Value::Null).await["attributes"].clone();

    let profile = json!({"score": {"terms": [{"attribute": "stock", "weight": 1}]}});
    let stocked = json!({"query": {"item": "i30"}, "filter": {"stock": 3}, "limit": 100, "exact": true});
    let (status, kind, _) = house.refused("PUT", "/profiles/stocked", &profile).await;
    assert_eq!((status, kind.as_str()), (400, "invalid-profile"));
    assert_eq!(house.refused("POST", "/search", &stocked).await.1, "invalid-filter");

    let wanted = json!({"attributes": {"aisle": "keyword", "stock": {"type": "int", "default": 3},
        "zones": {"type": "keywords", "default": ["x", "y"]}, "price": "float"}, "settings": {"ef": 77}});
    let answer = house.fine("PATCH", "", &wanted).await;
    let all = json!({"aisle": "keyword", "stock": {"type": "int", "default": 3}, "price": "float", "section": "keyword",
        "size": "int", "tags": "keywords", "zones": {"type": "keywords", "default": ["x", "y"]}});
    assert_eq!((&answer["schema"]["attributes"], &answer["schema"]["settings"]["ef"]), (&all, &json!(77)));
    assert_eq!(house.fine("GET", "", &Value::Null).await, answer);
    let again = house.fine("PATCH", "", &wanted).await;
    assert_eq!(again, answer, "the same again changes nothing, not even the file");

    // `aisle` is the first by name now: all others have moved.
    house.fine("PUT", "/profiles/stocked", &profile).await;
    let patches = json!({"items": [{"id": "i01", "attributes": {"stock": 9}}, {"id": "i65", "attributes": {"stock": 8}},
        {"id": "i02", "attributes": {"aisle": "a"}}, {"id": "i62", "attributes": {"aisle": "b", "zones": null}}]});
    house.fine("PATCH", "/items", &patches).await;
    let mut put = item(70);
    put["attributes"]["aisle"] = json!("b");
    house.fine("POST", "/items", &json!({"items": [put]})).await;

    for round in 0..4 {
        let item = house.fine("GET", "/items/i05", &Value::Null).await["attributes"].clone();
        let mut with = before.clone();
        (with["stock"], with["zones"]) = (json!(3), json!(["x", "y"]));
        assert_eq!(item, with, "round {round}");
        assert_eq!(house.ids(stocked.clone()).await.len(), 71 - 2 - 1, "all but two, and the query's own");
        let top = json!({"query": {"item": "i30"}, "profile": "stocked", "candidates": 100, "limit": 2});
        assert_eq!(house.ids(top).await, ["i01", "i65"]);
        let groups = json!({"query": {"item": "i30"}, "group_by": {"attribute": "aisle", "size": 5}, "candidates": 100});
        let groups = house.search(groups).await["groups"].clone();
        let values: Vec<&Value> = groups.as_array().unwrap().iter().map(|group| &group["value"]).collect();
        assert_eq!(values.len(), 2, "{groups}");
        let zoned =
            json!({"query": {"order_by": {"attribute": "size"}}, "filter": {"none": [{"zones": "x"}]}});
        assert_eq!(house.ids(zoned).await, ["i62"]);
        let old =
            json!({"query": {"item": "i30"}, "filter": {"section": "s1", "size": {"lt": 30}}, "limit": 100});
        let mut old = house.ids(old).await;
        old.sort();
        let wanted = (0..71).filter(|&i| i % 4 == 1 && i % 10 != 9 && i != 5 && shop_house::size(i) < 30);
        assert_eq!(old, named(wanted), "round {round}");
        // From the log alone, onto a checkpoint of it, and from one.
        match round {
            0 => house = house.reopen(false),
            1 => drop(house.fine("POST", "/checkpoint", &Value::Null).await),
            _ => house = house.reopen(true),
        }
    }
}

#[tokio::test]
async fn what_cannot_change_is_refused_and_nothing_has_changed() {
    let house = House::new().await;
    let before = house.fine("GET", "", &Value::Null).await;
    let many: BTreeMap<String, &str> = (0..1_021).map(|n| (format!("a{n}"), "int")).collect();
    let long = "a".repeat(65);
    let cases = [
        (json!({"attribute": {}}), 400, "unknown-field", "/attribute", "did you mean `attributes`?"),
        (json!({"settings": {"efs": 1}}), 400, "unknown-field", "/settings/efs", "did you mean `ef`?"),
        (json!({"attributes": ["stock"]}), 400, "invalid-value", "/attributes", "expected a map"),
        (
            json!({"attributes": {"stock": "integer"}}),
            400,
            "invalid-value",
            "/attributes/stock",
            "unknown type \"integer\"",
        ),
        (json!({"attributes": {"stock": null}}), 400, "invalid-value", "/attributes/stock", "not null"),
        (
            json!({"attributes": {"a/b": {"type": "int", "default": "x"}}}),
            400,
            "invalid-value",
            "/attributes/a~1b",
            "default: expected a whole number",
        ),
        (json!({"attributes": {"any": "int"}}), 400, "invalid-value", "/attributes/any", "reserved"),
        (
            json!({"attributes": {long.as_str(): "int"}}),
            400,
            "invalid-value",
            &format!("/attributes/{long}"),
            "1 to 64 bytes, not 65",
        ),
        (
            json!({"attributes": {"ok": "int", "size": "float"}}),
            409,
            "conflict",
            "/attributes/size",
            "\"size\" is int and cannot become float",
        ),
        (
            json!({"attributes": {"size": {"type": "int", "default": 1}}}),
            409,
            "conflict",
            "/attributes/size",
            "has no default and cannot get the default 1",
        ),
        (json!({"attributes": {"size": null}}), 409, "conflict", "/attributes/size", "cannot be removed"),
        (
            json!({"attributes": many}),
            400,
            "limit-exceeded",
            "/attributes",
            "the number of attributes is 1025, allowed is 0 to 1024",
        ),
        (json!({"dimension": 8}), 409, "conflict", "/dimension", "dimension is 4 and cannot become 8"),
        (
            json!({"metric": "l2"}),
            409,
            "conflict",
            "/metric",
            "metric is \"cosine\" and cannot become \"l2\"",
        ),
        (json!({"element": "f16"}), 409, "conflict", "/element", "element is \"f32\""),
        (json!({"hnsw": {"m": 8}}), 409, "conflict", "/hnsw/m", "hnsw.m is 20"),
        (
            json!({"hnsw": {"ef_construction": 0}}),
            400,
            "limit-exceeded",
            "/hnsw/ef_construction",
            "allowed is 1 to 10000",
        ),
        (
            json!({"settings": {"ef": 100_001}}),
            400,
            "limit-exceeded",
            "/settings/ef",
            "settings.ef is 100001",
        ),
        (json!({"settings": {"ef": -1}}), 400, "invalid-value", "/settings/ef", "-1"),
        (json!({"embedding": ""}), 400, "limit-exceeded", "/embedding", "is 0, allowed is 1 to 128"),
        (json!([]), 400, "invalid-value", "", "invalid length"),
    ];
    for (body, status, kind, pointer, words) in cases {
        let (given, problem) = house.call("PATCH", "", &body).await;
        let shown = format!("{:.200}: {problem}", body.to_string());
        assert_eq!((given, &problem["type"]), (status, &json!(format!("/problems/{kind}"))), "{shown}");
        assert_eq!(problem["pointer"].as_str().unwrap_or(""), pointer, "{shown}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{shown}");
        if status == 409 {
            assert!(!problem["value"].is_null() || body["attributes"]["size"].is_null(), "{shown}");
            assert!(!problem["limit"].is_null(), "what stands: {shown}");
        }
    }
    assert_eq!(house.fine("GET", "", &Value::Null).await, before);
    let request =
        axum::http::Request::patch("/v1/collections/nowhere").body(axum::body::Body::from("{}")).unwrap();
    let missing = tower::ServiceExt::oneshot(house.router.clone(), request).await.unwrap();
    assert_eq!(missing.status(), 404);

    house.fine("PATCH", "", &json!({"embedding": "tower-1"})).await;
    house.fine("PATCH", "", &before["schema"]).await;
    let (status, kind, pointer) = house.refused("PATCH", "", &json!({"embedding": "tower-2"})).await;
    assert_eq!((status, kind.as_str(), pointer.as_str()), (409, "conflict", "/embedding"));
    let put = json!({"embedding": "tower-2", "items": [item(1)]});
    assert_eq!(house.refused("POST", "/items", &put).await.1, "embedding-mismatch");
}

/// Has a batch checked now, to be written later.
fn prepared(collection: &Collection, what: &str, request: Value) -> WriteBatch {
    let index = collection.index();
    match what {
        "put" => WriteBatch::upsert(&index, serde_json::from_value(request).unwrap()),
        "patch" => WriteBatch::patch(&index, serde_json::from_value(request).unwrap()),
        _ => WriteBatch::delete(&index, serde_json::from_value(request).unwrap()),
    }
    .unwrap()
}

#[test]
fn writes_that_were_checked_before_a_change_are_right_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let (_catalogue, collection) = house::open(directory.path(), house::settings());
    let mut random = Random(1);
    let with = |id: &str, n: u64, random: &mut Random| json!({"id": id, "vector": random.vector(), "attributes": {"n": n, "tags": ["t"]}});
    let items: Vec<Value> = ["a", "b", "c"].iter().map(|id| with(id, 1, &mut random)).collect();
    upsert(&collection, json!(items)).unwrap();
    let put = prepared(
        &collection,
        "put",
        json!({"items": [with("d", 2, &mut random), with("a", 3, &mut random)]}),
    );
    let patched =
        prepared(&collection, "patch", json!({"items": [{"id": "b", "attributes": {"n": 4, "tags": null}}]}));
    let gone = prepared(&collection, "delete", json!({"filter": {"colour": "grey", "n": 1}}));
    assert!(
        change(&collection, json!({"attributes": {"aa": {"type": "int", "default": 5}, "m": "bool"}}))
            .unwrap()
    );
    patch(&collection, json!([{"id": "b", "attributes": {"aa": 6, "m": true}}])).unwrap();
    for batch in [put, patched, gone] {
        collection.write_and_wait(batch).unwrap();
    }
    let check = |collection: &Collection| {
        let found = contents(&collection.index()).into_iter().map(|(id, item)| (id, item.1));
        let wanted = json!({
            "a": {"aa": 5, "colour": "grey", "n": 3, "tags": ["t"]},
            "b": {"aa": 6, "colour": "grey", "m": true, "n": 4},
            "d": {"aa": 5, "colour": "grey", "n": 2, "tags": ["t"]},
        });
        assert_eq!(Value::Object(found.collect()), wanted);
    };
    check(&collection);
    drop((_catalogue, collection));
    check(&open(directory.path()).1);
}

#[test]
fn writers_and_searchers_notice_nothing() {
    const WRITERS: u64 = 3;
    let directory = tempfile::tempdir().unwrap();
    let settings = WriteSettings { reopen_share: 0.0, ..house::settings() };
    let (catalogue, collection) = house::open(directory.path(), settings);
    let ending = AtomicBool::new(false);
    // From no item on: the first vectors, by which codes are learnt, come during the first change.
    let (mut models, changes, searches) = std::thread::scope(|scope| {
        let (collection, ending) = (&collection, &ending);
        let writers: Vec<_> =
            (0..WRITERS).map(|w| scope.spawn(move || write_until(collection, w, ending))).collect();
        let searchers: Vec<_> =
            (0..2).map(|s| scope.spawn(move || search_until(collection, s, ending))).collect();
        let mut changes = 0;
        for name in ["zz", "aa", "m", "o", "b", "colours", "zzz", "a0"] {
            let kind = ["int", "keyword", "keywords", "bool"][changes % 4];
            let default = [json!(7), json!("k"), json!(["p", "q"]), json!(true)][changes % 4].clone();
            let declared =
                if changes % 3 == 2 { json!(kind) } else { json!({"type": kind, "default": default}) };
            assert!(change(collection, json!({"attributes": {name: declared}})).unwrap());
            changes += 1;
            if changes % 2 == 0 {
                collection.checkpoint().unwrap();
            }
        }
        ending.store(true, SeqCst);
        let models: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        let searches: usize = searchers.into_iter().map(|searcher| searcher.join().unwrap()).sum();
        (models, changes, searches)
    });
    let model: BTreeMap<String, u64> = models.iter_mut().flat_map(std::mem::take).collect();
    println!(
        "{} items, {changes} changes, {searches} searches, seq {}",
        model.len(),
        collection.index().seq()
    );
    assert!(searches > 10 && model.len() > 10);
    check_model(&collection, &model);
    all_found(&collection.index());
    drop((catalogue, collection));
    let (_catalogue, collection) = open(directory.path());
    check_model(&collection, &model);
}

/// Puts, patches and deletes of its own ids, some checked long before they are written; what must be there in the end.
fn write_until(collection: &Collection, writer: u64, ending: &AtomicBool) -> BTreeMap<String, u64> {
    let (mut random, mut model, mut n) = (Random(writer + 10), BTreeMap::new(), 0);
    while !ending.load(SeqCst) || n < 30 {
        n += 1;
        let id = format!("w{writer}-{}", random.below(40));
        let attributes =
            json!({"n": n, "tags": [format!("t{n}")], "price": n as f64, "colour": format!("c{n}")});
        let batch = match random.below(5) {
            0 if model.contains_key(&id) => {
                model.insert(id.clone(), n);
                prepared(collection, "patch", json!({"items": [{"id": id, "attributes": attributes}]}))
            }
            1 => {
                let before = model.get(&id).copied().unwrap_or(0);
                model.remove(&id);
                let colour = format!("c{before}");
                prepared(collection, "delete", json!({"filter": {"_id": id, "n": before, "colour": colour}}))
            }
            _ => {
                model.insert(id.clone(), n);
                let item = json!({"id": id, "vector": random.vector(), "attributes": attributes});
                prepared(collection, "put", json!({"items": [item]}))
            }
        };
        std::thread::sleep(std::time::Duration::from_millis(random.below(8)));
        collection.write_and_wait(batch).unwrap();
    }
    model
}

fn search_until(collection: &Collection, searcher: u64, ending: &AtomicBool) -> usize {
    let (mut random, mut searches) = (Random(searcher + 90), 0);
    while !ending.load(SeqCst) {
        let request = json!({"query": {"vector": random.vector()}, "filter": {"price": {"gte": 1}}, "limit": 50,
            "return": {"attributes": ["n", "price", "colour", "tags"]}});
        let request = serde_json::from_value(request).unwrap();
        let found = collection.search(request, &SearchLimits::default(), now_millis(), |answer| {
            serde_json::to_value(&answer).unwrap()["results"].clone()
        });
        for hit in found.unwrap().as_array().unwrap() {
            agrees(&hit["attributes"], hit["attributes"]["n"].as_u64().unwrap());
        }
        searches += 1;
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    searches
}

/// Whether the values of an item come from the same write.
#[track_caller]
fn agrees(attributes: &Value, n: u64) {
    let told = (&attributes["n"], &attributes["price"], &attributes["colour"], &attributes["tags"]);
    let wanted = (&json!(n), &json!(n as f64), &json!(format!("c{n}")), &json!([format!("t{n}")]));
    assert_eq!(told, wanted);
}

fn check_model(collection: &Collection, model: &BTreeMap<String, u64>) {
    let found = contents(&collection.index());
    assert_eq!(found.keys().collect::<Vec<_>>(), model.keys().collect::<Vec<_>>());
    let schema = collection.index().schema().attributes.clone();
    assert_eq!(schema.len(), 4 + 8);
    for (id, n) in model {
        let attributes = &found[id].1;
        agrees(attributes, *n);
        for (name, spec) in schema.iter().filter(|(name, _)| !["n", "price", "colour", "tags"].contains(name))
        {
            let wanted = spec.default.as_ref().map_or(Value::Null, shortlist::attributes::Value::to_json);
            assert_eq!(attributes[name], wanted, "{id}: {name}");
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Attributes of all items, with the defaults of a change added to those that lack them.
fn values(collection: &Collection, defaults: &Value) -> BTreeMap<String, Value> {
    let found = contents(&collection.index()).into_iter();
    let with = |mut attributes: Value| {
        for (name, value) in defaults.as_object().unwrap() {
            attributes.as_object_mut().unwrap().entry(name).or_insert_with(|| value.clone());
        }
        attributes
    };
    found.map(|(id, item)| (id, with(item.1))).collect()
}

#[test]
fn a_crash_leaves_the_old_schema_or_the_new_one() {
    let home = tempfile::tempdir().unwrap();
    let (before, after, state) =
        (home.path().join("before"), home.path().join("after"), home.path().join("state"));
    fs::create_dir(&before).unwrap();
    let (catalogue, collection) = house::open(&before, house::settings());
    let mut random = Random(4);
    house::churn(&collection, &mut random, 40);
    collection.checkpoint().unwrap();
    house::churn(&collection, &mut random, 40);
    drop((catalogue, collection));
    copy(&before, &after);
    let (catalogue, collection) = open(&after);
    let wanted = json!({"attributes": {"aa": {"type": "keyword", "default": "d"}, "o": {"type": "int", "default": 1}, "zz": "bool"}});
    change(&collection, wanted.clone()).unwrap();
    let (file, covers, new) =
        (collection.manifest().file, collection.index().covers(), attributes(&collection));
    drop((catalogue, collection));
    let path = after.join("shop").join(&file);
    assert_eq!(Index::verify(&path, &|_, _| ()).unwrap().schema().attributes.to_json(), new);

    // The log goes on by the old schema while the file is being written and caught up.
    let (catalogue, collection) = open(&before);
    house::churn(&collection, &mut random, 40);
    delete(&collection, json!(["i1", "i2", "i3"])).unwrap();
    upsert(&collection, json!([{"id": "i4", "vector": random.vector()}])).unwrap();
    patch(
        &collection,
        json!([{"id": "i4", "attributes": {"n": 1, "tags": ["z"], "price": 2, "colour": "red"}}]),
    )
    .unwrap();
    let (old, seq) = (attributes(&collection), collection.index().seq());
    let none = json!({});
    let defaults = json!({"aa": "d", "o": 1});
    let (plain, wide) = (values(&collection, &none), values(&collection, &defaults));
    assert!(seq > covers + 40);
    drop((catalogue, collection));

    // Before the renaming: the file is there, whole or in part, and nothing names it.
    for share in [0, 1, 2] {
        fs::remove_dir_all(&state).ok();
        copy(&before, &state);
        let bytes = fs::read(&path).unwrap();
        let name = if share == 2 { file.clone() } else { format!("{file}.tmp") };
        fs::write(state.join("shop").join(name), &bytes[..bytes.len() * share / 2]).unwrap();
        let (_catalogue, collection) = open(&state);
        assert_eq!((attributes(&collection), collection.index().seq()), (old.clone(), seq));
        assert_eq!(values(&collection, &none), plain);
        assert!(
            !state.join("shop").join(&file).exists()
                && !state.join("shop").join(format!("{file}.tmp")).exists()
        );
        change(&collection, wanted.clone()).unwrap();
        assert_eq!((attributes(&collection), values(&collection, &none)), (new.clone(), wide.clone()));
    }
    // After it: the log's records after the file are by the old schema; more come by the new one.
    fs::remove_dir_all(&state).ok();
    copy(&before, &state);
    for name in [&file, "manifest.json"] {
        fs::copy(after.join("shop").join(name), state.join("shop").join(name)).unwrap();
    }
    let mut all = wide;
    for round in 0..2 {
        let (_catalogue, collection) = open(&state);
        assert_eq!(
            (attributes(&collection), values(&collection, &none)),
            (new.clone(), all.clone()),
            "round {round}"
        );
        all_found(&collection.index());
        upsert(
            &collection,
            json!([{"id": "late", "vector": random.vector(), "attributes": {"zz": true, "o": 2}}]),
        )
        .unwrap();
        patch(&collection, json!([{"id": "i4", "attributes": {"o": null, "n": 3}}])).unwrap();
        all = values(&collection, &none);
        assert_eq!(all["late"], json!({"aa": "d", "colour": "grey", "o": 2, "zz": true}));
        assert!(all["i4"].get("o").is_none() && all["i4"]["n"] == 3 && all["i4"]["colour"] == "red");
    }
}

#[test]
fn a_change_that_fails_has_changed_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (catalogue, collection) = house::open(directory.path(), house::settings());
    let mut random = Random(6);
    house::churn(&collection, &mut random, 20);
    let (old, manifest) = (attributes(&collection), collection.manifest());
    let wanted = json!({"attributes": {"aa": {"type": "int", "default": 1}}});
    // A directory where the new manifest is to be written: the failure comes when all else is done.
    let obstacle = directory.path().join("shop/manifest.json.tmp");
    fs::create_dir(&obstacle).unwrap();
    let error = change(&collection, wanted.clone()).unwrap_err();
    assert!(error.to_string().contains("manifest.json"), "{error}");
    assert_eq!((attributes(&collection), collection.manifest()), (old, manifest.clone()));
    let files = fs::read_dir(directory.path().join("shop")).unwrap().map(|entry| entry.unwrap().file_name());
    let indexes = files.filter(|name| name.to_string_lossy().ends_with(".slx")).count();
    assert_eq!(indexes, 1, "the file that nothing names is gone");
    // Writes go on, and the next try succeeds.
    house::churn(&collection, &mut random, 5);
    fs::remove_dir(&obstacle).unwrap();
    let before = values(&collection, &json!({"aa": 1}));
    assert!(change(&collection, wanted.clone()).unwrap() && !change(&collection, wanted.clone()).unwrap());
    assert_eq!(values(&collection, &json!({})), before);
    catalogue.close();
    let error = change(&collection, json!({"attributes": {"b": "int"}})).unwrap_err();
    assert!(matches!(error, CatalogueError::Closed { .. }), "{error}");
    assert!(!change(&collection, wanted).unwrap(), "what is so already needs nothing");
}
