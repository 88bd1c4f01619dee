//! What each write does, seen from outside.

use serde_json::{Value, json};

use crate::house::{Answer, Client, Server, fine, refused, schema};

/// A server with an empty collection of 4 dimensions.
struct House {
    server: Server,
    client: Client,
    data: tempfile::TempDir,
}

impl House {
    fn new() -> House {
        let data = tempfile::tempdir().unwrap();
        let server = Server::start(data.path());
        let client = server.client();
        let (status, document) = client.put("", &schema(4)).unwrap();
        assert_eq!(status, 201, "{document}");
        House { server, client, data }
    }

    /// Ends the server in peace and starts another.
    fn again(self) -> House {
        let House { server, data, .. } = self;
        server.stop();
        let server = Server::start(data.path());
        House { client: server.client(), server, data }
    }

    fn upsert(&self, items: &Value) -> Answer {
        self.client.post("/items", &json!({"items": items}))
    }

    fn patch(&self, items: &Value) -> Answer {
        self.client.patch("/items", &json!({"items": items}))
    }

    /// The item, which must be there.
    #[track_caller]
    fn item(&self, id: &str) -> Value {
        fine(self.client.get(&format!("/items/{id}?vector=true")))
    }

    #[track_caller]
    fn has_no(&self, id: &str) {
        let (status, document) = self.client.get(&format!("/items/{id}")).unwrap();
        assert_eq!(status, 404, "{id}: {document}");
    }

    /// Ids of all items, the nearest to zero first; the graph must find the same.
    #[track_caller]
    fn ids(&self) -> Vec<String> {
        let search = |exact: bool| {
            let search = json!({"query": {"vector": [0, 0, 0, 0]}, "limit": 1_000, "exact": exact});
            let answer = fine(self.client.post("/search", &search));
            let hits = answer["results"].as_array().unwrap().iter();
            hits.map(|hit| hit["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let ids = search(true);
        assert_eq!(search(false), ids, "the graph finds something else");
        assert_eq!(fine(self.client.get("/stats"))["items"], ids.len());
        ids
    }
}

/// Items `a`, `b`, ..: 1, 2, .. in the first dimension and as `n`; `batch` is "odd" or "even".
fn row(count: u8) -> Value {
    let item = |n: u8| {
        let (id, batch) = (char::from(b'a' + n - 1).to_string(), ["even", "odd"][usize::from(n % 2)]);
        json!({"id": id, "vector": [n, 0, 0, 0], "attributes": {"n": n, "batch": batch}})
    };
    (1..=count).map(item).collect()
}

#[test]
fn a_collection_is_made_once_and_deleted_whole() {
    let house = House::new();
    let client = &house.client;
    assert_eq!(fine(client.put("", &schema(4)))["items"], 0);
    let problem = refused(client.put("", &schema(5)), 409, "");
    assert_eq!(problem["type"], "/problems/conflict");
    assert!(problem["detail"].as_str().unwrap().contains("live"), "{problem}");

    fine(house.upsert(&row(3)));
    fine(client.put("", &schema(4)));
    assert_eq!(house.ids(), ["a", "b", "c"], "the same schema again changes nothing");
    fine(client.delete(""));
    assert_eq!(client.get("").unwrap().0, 404);
    assert_eq!(client.delete("").unwrap().0, 404);
    assert_eq!(house.upsert(&row(1)).unwrap().0, 404);

    let (status, document) = client.put("", &schema(5)).unwrap();
    assert_eq!((status, &document["items"]), (201, &json!(0)), "another of the same name begins empty");
    let house = house.again();
    fine(house.upsert(&json!([{"id": "x", "vector": [1, 2, 3, 4, 5]}])));
    house.has_no("a");
}

#[test]
fn a_wrong_schema_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    for (wrong, word) in [
        (json!({"metric": "l2"}), "dimension"),
        (json!({"dimension": 4, "metric": "l3"}), "l3"),
        (json!({"dimension": 0, "metric": "l2"}), "dimension is 0"),
        (json!({"dimension": 4, "metric": "l2", "colour": 1}), "colour"),
        (json!({"dimension": 4, "metric": "l2", "attributes": {"all": "int"}}), "all"),
    ] {
        let (status, problem) = server.client().put("", &wrong).unwrap();
        assert_eq!(status, 400, "{wrong}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(word), "{word:?} is not in {problem}");
    }
    assert_eq!(server.client().get("").unwrap().0, 404);
}

#[test]
fn an_upsert_replaces_whole() {
    let house = House::new();
    let first = fine(house.upsert(&row(2)));
    assert_eq!((&first["upserted"], &first["ignored"]), (&json!(2), &json!(0)));
    let before = house.item("a");
    assert_eq!(before["attributes"], json!({"n": 1, "batch": "odd"}));
    assert_eq!((&before["vector"], &before["seq"]), (&json!([1.0, 0.0, 0.0, 0.0]), &first["seq"]));

    // 0, 1, 0, 0 as f32 in base64; `batch` is left out.
    let changed = json!([{"id": "a", "vector_f32": "AAAAAAAAgD8AAAAAAAAAAA==", "attributes": {"n": 9}}]);
    let second = fine(house.upsert(&changed));
    assert!(second["seq"].as_u64() > first["seq"].as_u64(), "{second}");
    let after = house.item("a");
    assert_eq!(after["attributes"], json!({"n": 9}));
    assert_eq!((&after["vector"], &after["seq"]), (&json!([0.0, 1.0, 0.0, 0.0]), &second["seq"]));
    assert_eq!(after["inserted_at"], before["inserted_at"]);
    assert_eq!(house.ids(), ["a", "b"]);
    let at_the_old_place = json!({"query": {"vector": [1, 0, 0, 0]}, "limit": 1, "filter": {"batch": "odd"}});
    assert_eq!(fine(house.client.post("/search", &at_the_old_place))["results"], json!([]));
}

#[test]
fn a_patch_merges_and_null_removes() {
    let house = House::new();
    fine(house.upsert(&row(3)));
    let patch = json!([{"id": "a", "attributes": {"n": 7}}, {"id": "b", "attributes": {"batch": null}}]);
    let patched = fine(house.patch(&patch));
    assert_eq!((&patched["patched"], &patched["skipped"]), (&json!(2), &json!(0)));
    assert_eq!(house.item("a")["attributes"], json!({"n": 7, "batch": "odd"}));
    assert_eq!(house.item("b")["attributes"], json!({"n": 2}));
    assert_eq!(house.item("b")["vector"], json!([2.0, 0.0, 0.0, 0.0]));
    assert_eq!((&house.item("a")["seq"], house.ids().len()), (&patched["seq"], 3));
    let filter = json!({"query": {"vector": [0, 0, 0, 0]}, "filter": {"n": {"gte": 7}}});
    let found = fine(house.client.post("/search", &filter));
    assert_eq!((&found["results"][0]["id"], &found["results"][1]), (&json!("a"), &Value::Null));
}

#[test]
fn a_patch_of_what_is_not_there_is_refused_or_skipped() {
    let house = House::new();
    fine(house.upsert(&row(1)));
    let items = json!([{"id": "a", "attributes": {"n": 8}}, {"id": "nobody", "attributes": {"n": 8}}]);
    let problem = refused(house.patch(&items), 404, "/items/1/id");
    assert_eq!((&problem["type"], &problem["value"]), (&json!("/problems/unknown-item"), &json!("nobody")));
    assert_eq!(house.item("a")["attributes"]["n"], 1, "nothing of the batch was applied");

    let skipping = json!({"items": items, "missing": "skip"});
    let patched = fine(house.client.patch("/items", &skipping));
    assert_eq!((&patched["patched"], &patched["skipped"]), (&json!(1), &json!(1)));
    assert_eq!(house.item("a")["attributes"]["n"], 8);
    house.has_no("nobody");
}

#[test]
fn deletes_go_by_ids_or_by_filter() {
    let house = House::new();
    fine(house.upsert(&row(9)));
    let delete = |body: Value| house.client.post("/items/delete", &body);
    assert_eq!(fine(delete(json!({"ids": ["a", "nobody"]})))["deleted"], 1);
    assert_eq!(fine(delete(json!({"ids": ["a"]})))["deleted"], 0);
    house.has_no("a");
    assert_eq!(fine(delete(json!({"filter": {"batch": "odd", "n": {"lt": 9}}})))["deleted"], 3);
    assert_eq!(house.ids(), ["b", "d", "f", "h", "i"]);
    refused(delete(json!({"filter": {"colour": "red"}})), 400, "/filter/colour");
    refused(delete(json!({})), 400, "");
    refused(delete(json!({"ids": [], "filter": {"n": 1}})), 400, "");
    assert_eq!(house.ids().len(), 5);

    assert_eq!(fine(delete(json!({"filter": {}})))["deleted"], 5);
    assert_eq!(house.ids(), [""; 0]);
    fine(house.upsert(&row(4)));
    assert_eq!(house.ids(), ["a", "b", "c", "d"], "everything can be deleted and inserted again");
}

#[test]
fn a_lower_version_is_ignored_and_counted() {
    let house = House::new();
    let put = |version: Value, n: u64| {
        let mut item = json!({"id": "a", "vector": [1, 0, 0, 0], "attributes": {"n": n}});
        if !version.is_null() {
            item["version"] = version;
        }
        let answer = fine(house.upsert(&json!([item])));
        (answer["upserted"].as_u64().unwrap(), answer["ignored"].as_u64().unwrap())
    };
    let n = || house.item("a")["attributes"]["n"].as_u64().unwrap();
    assert_eq!((put(json!(5), 1), n()), ((1, 0), 1));
    assert_eq!((put(json!(4), 2), n()), ((0, 1), 1));
    assert_eq!((put(json!(5), 3), n()), ((1, 0), 3));
    assert_eq!((put(Value::Null, 4), n()), ((1, 0), 4));
    assert_eq!((put(json!(4), 5), n()), ((0, 1), 4), "a put without a version keeps the stored one");
    fine(house.client.post("/items/delete", &json!({"ids": ["a"]})));
    assert_eq!(put(json!(4), 6), (0, 1), "a late write does not bring a deleted item back");
    house.has_no("a");
    assert_eq!((put(json!(6), 7), n()), ((1, 0), 7));
}

#[test]
fn a_batch_with_a_wrong_item_changes_nothing() {
    let house = House::new();
    fine(house.upsert(&row(2)));
    let seq = fine(house.client.get("/stats"))["seq"].clone();
    for (wrong, pointer) in [
        (json!({"id": "x", "vector": [1, 2, 3]}), "/items/1/vector"),
        (json!({"id": "x", "vector": [1, 2, 3, "4"]}), "/items/1/vector/3"),
        (json!({"id": "x", "vector_f32": "AAAA"}), "/items/1/vector_f32"),
        (json!({"id": "x"}), "/items/1"),
        (json!({"id": "", "vector": [1, 2, 3, 4]}), "/items/1/id"),
        (json!({"id": "x".repeat(513), "vector": [1, 2, 3, 4]}), "/items/1/id"),
        (json!({"id": "x", "vector": [1, 2, 3, 4], "attributes": {"n": "one"}}), "/items/1/attributes"),
        (json!({"id": "x", "vector": [1, 2, 3, 4], "attributes": {"colour": 1}}), "/items/1/attributes"),
        (json!({"id": "x", "vector": [1, 2, 3, 4], "expires_at": "soon"}), "/items/1/expires_at"),
        (json!({"id": "x", "vector": [1, 2, 3, 4], "colour": 1}), "/items/1/colour"),
    ] {
        let good = |id: &str| json!({"id": id, "vector": [9, 9, 9, 9], "attributes": {"n": 9}});
        let (status, problem) = house.upsert(&json!([good("a"), wrong, good("z")])).unwrap();
        let given = problem["pointer"].as_str().unwrap_or("none");
        assert!(status == 400 && given.starts_with(pointer), "{pointer}: {status} {problem}");
    }
    assert_eq!(house.ids(), ["a", "b"]);
    assert_eq!(house.item("a")["attributes"]["n"], 1);
    assert_eq!(fine(house.client.get("/stats"))["seq"], seq);
}

#[test]
fn an_expired_item_is_never_returned() {
    let house = House::new();
    let item = |id: &str, end: &str| json!({"id": id, "vector": [1, 0, 0, 0], "expires_at": end});
    fine(house.upsert(&json!([
        item("past", "2020-01-01T00:00:00Z"),
        item("future", "2100-01-01T00:00:00Z"),
        {"id": "ever", "vector": [2, 0, 0, 0]}
    ])));
    let check = |house: &House| {
        house.has_no("past");
        for exact in [true, false] {
            let search = json!({"query": {"vector": [1, 0, 0, 0]}, "exact": exact});
            let answer = fine(house.client.post("/search", &search));
            let hits = answer["results"].as_array().unwrap().iter();
            assert_eq!(hits.map(|hit| &hit["id"]).collect::<Vec<_>>(), ["future", "ever"], "{answer}");
        }
        let patch = house.patch(&json!([{"id": "past", "attributes": {"n": 1}}]));
        refused(patch, 404, "/items/0/id");
    };
    check(&house);
    let house = house.again();
    check(&house);
    // Put again without an end it is there for good.
    fine(house.upsert(&json!([{"id": "past", "vector": [1, 0, 0, 0]}])));
    assert_eq!(house.item("past")["vector"], json!([1.0, 0.0, 0.0, 0.0]));
}

#[test]
fn a_search_can_insist_on_a_sequence_number() {
    let house = House::new();
    let seq = fine(house.upsert(&row(2)))["seq"].as_u64().unwrap();
    let search = |min_seq: u64| {
        let search = json!({"query": {"vector": [1, 0, 0, 0]}, "limit": 1, "min_seq": min_seq});
        house.client.post("/search", &search)
    };
    let answer = fine(search(seq));
    assert_eq!((&answer["results"][0]["id"], &answer["seq"]), (&json!("a"), &json!(seq)));
    let problem = refused(search(seq + 1), 503, "/min_seq");
    assert_eq!(problem["type"], "/problems/behind");
}

#[test]
fn everything_is_as_before_after_an_end_in_peace() {
    let mut house = House::new();
    fine(house.upsert(&row(9)));
    for round in 0..3 {
        // Puts, patches and deletes since the last start; the second time there is a checkpoint below them.
        let versioned = json!({"id": "versioned", "vector": [30, 0, 0, 1], "version": 5});
        let mine = json!({"id": format!("of-{round}"), "vector": [40, 0, round, 0], "attributes": {"n": 40}});
        fine(house.upsert(&json!([versioned, mine])));
        fine(house.patch(&json!([{"id": "b", "attributes": {"n": 100 + round, "batch": null}}])));
        fine(house.client.post("/items/delete", &json!({"filter": {"n": 3 + round}})));
        let (before, seq) = (all(&house), fine(house.client.get("/stats"))["seq"].as_u64());

        house = house.again();
        assert_eq!(all(&house), before, "round {round}");
        assert_eq!(fine(house.client.get("/stats"))["seq"].as_u64(), seq);
        let late = json!([{"id": "versioned", "vector": [0, 0, 0, 0], "version": 4}]);
        assert_eq!(fine(house.upsert(&late))["ignored"], 1);
        let next = fine(house.upsert(&json!([{"id": "next", "vector": [50, 0, 0, 0]}])));
        assert!(next["seq"].as_u64() > seq, "{next}");
    }
}

/// Every item as the API tells it, in the order of a search.
fn all(house: &House) -> Vec<Value> {
    house.ids().iter().map(|id| house.item(id)).collect()
}
